#!/usr/bin/python3
"""Drives the demo: a cluster, pages of known text, three nodes lost on the way, and an account of it.

Called by scripts/demo.  Everything is measured from outside: which node answered which request and when.
"""
import argparse
import http.client
import json
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import Levenshtein
from PIL import Image, ImageDraw, ImageFont

# Comes with every Debian machine (base-files), so the truth to compare with is always there.
TEXT = Path("/usr/share/common-licenses/GPL-3")
LINES_PER_PAGE = 24
FONT = "/usr/share/fonts/truetype/dejavu/DejaVuSansMono.ttf"
CORES = [1, 1, 2, 2, 3, 3]
REPLICAS = 12


def fail(text):
    print(f"demo: {text}", file=sys.stderr)
    sys.exit(1)


def render(directory, count):
    """Renders `count` pages; returns a list of (png bytes, text).  Fewer different pages than asked are repeated."""
    lines = [line.rstrip() for line in TEXT.read_text(encoding="ascii", errors="ignore").splitlines()]
    lines = [line.strip() for line in lines if line.strip()]
    texts = ["\n".join(lines[i : i + LINES_PER_PAGE]) for i in range(0, len(lines), LINES_PER_PAGE)]
    texts = [text for text in texts if text.count("\n") >= LINES_PER_PAGE // 2]
    texts = texts[: min(count, len(texts))]

    font = ImageFont.truetype(FONT, 20)

    def one(item):
        index, text = item
        left, top, right, bottom = ImageDraw.Draw(Image.new("L", (1, 1))).multiline_textbbox((0, 0), text, font, spacing=8)
        page = Image.new("L", (right - left + 80, bottom - top + 80), color=255)
        ImageDraw.Draw(page).multiline_text((40, 40), text, fill=0, font=font, spacing=8)
        path = directory / f"page-{index:03}.png"
        page.save(path, dpi=(150, 150))
        bar("rendering pages", index + 1, len(texts))
        return path.read_bytes(), text

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        pages = list(pool.map(one, enumerate(texts)))
    bar("rendering pages", len(texts), len(texts), end=True)
    return [pages[i % len(pages)] for i in range(count)]


bar_lock = threading.Lock()


def bar(title, done, total, note="", end=False):
    tty = sys.stdout.isatty()
    if not tty and not end:
        return
    width = 32
    filled = width * done // max(1, total)
    with bar_lock:
        print(f"{chr(13) if tty else ''}{title:<16} [{'#' * filled}{'.' * (width - filled)}] {done}/{total} {note:<44}",
              end="\n" if end else "", flush=True)


class Cluster:
    def __init__(self, astra, directory):
        self.astra = str(Path(astra).resolve())
        self.directory = directory / "cluster"
        self.output = open(directory / "dev.log", "w+")
        # A session of its own: it outlives this script with --keep.
        self.dev = subprocess.Popen(
            [self.astra, "dev", "--nodes", "6", "--resources", "3", "--cores", ",".join(map(str, CORES)),
             "--dir", str(self.directory)],
            stdout=self.output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True)
        listing = self.directory / "cluster.json"
        deadline = time.monotonic() + 60
        while not listing.exists():
            if self.dev.poll() is not None or time.monotonic() > deadline:
                self.output.seek(0)
                fail("the cluster did not come up:\n" + self.output.read())
            time.sleep(0.05)
        info = json.loads(listing.read_text())
        self.gateway = info["gateway"]
        self.pids = {p["name"]: p["pid"] for p in info["processes"]}

    def call(self, method, path, body=None, timeout=120.0, headers=None):
        host, port = self.gateway.rsplit(":", 1)
        connection = http.client.HTTPConnection(host, int(port), timeout=timeout)
        try:
            connection.request(method, path, body=body, headers=headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read(), answer.headers
        finally:
            connection.close()

    def get(self, path):
        status, body, _ = self.call("GET", path, timeout=5.0)
        if status != 200:
            raise RuntimeError(f"GET {path}: {status} {body[:200]!r}")
        return json.loads(body)

    def cli(self, *arguments):
        return subprocess.run([self.astra, "--gateway", self.gateway, *arguments], check=False, capture_output=True,
                              text=True)

    def end(self):
        if self.dev.poll() is None:
            self.dev.terminate()
            try:
                self.dev.wait(30)
            except subprocess.TimeoutExpired:
                self.dev.kill()
                self.dev.wait()
        self.output.close()


class Event:
    """One node taken away on purpose, and what was seen of it afterwards."""

    def __init__(self, kind, node):
        self.kind, self.node = kind, node
        self.at = None
        self.out = None
        self.reason = ""


def in_rotation(cluster, node):
    """Why the router leaves the node out; empty while it is in its rotation."""
    for row in cluster.get("/v1/routers/ocr")["rows"]:
        if row["name"] == node:
            return row["out_reason"]
    return "not in the table"


def take_away(cluster, event):
    event.at = time.monotonic()
    if event.kind == "kill -9":
        os.kill(cluster.pids[event.node], signal.SIGKILL)
    elif event.kind == "SIGSTOP":
        os.kill(cluster.pids[event.node], signal.SIGSTOP)
    else:
        status, body, _ = cluster.call("POST", f"/v1/nodes/{event.node}/drain", timeout=5.0)
        if status != 200:
            fail(f"drain of {event.node}: {status} {body[:300]!r}")
    while event.out is None and time.monotonic() < event.at + 15:
        reason = in_rotation(cluster, event.node)
        if reason:
            event.out, event.reason = time.monotonic(), reason
        else:
            time.sleep(0.02)


def run(cluster, pages, clients):
    work = queue.Queue()
    for number, page in enumerate(pages):
        work.put((number, page))
    results = []
    lock = threading.Lock()
    total = len(pages)
    busiest = ["node-6", "node-4", "node-3"]
    events = [Event("kill -9", busiest[0]), Event("SIGSTOP", busiest[1]), Event("drain", busiest[2])]

    def client():
        while True:
            try:
                number, (png, text) = work.get_nowait()
            except queue.Empty:
                return
            began = time.monotonic()
            try:
                status, body, headers = cluster.call("POST", "/v1/apps/ocr/invoke", body=png,
                                                     headers={"Content-Type": "image/png"})
                result = {"status": status, "body": body, "node": headers.get("Astra-Node", ""),
                          "service": float(headers.get("Astra-Service-Ms", "0")) / 1000,
                          "tries": headers.get("Astra-Tries", "?"), "starts": int(headers.get("Astra-Starts", "0"))}
            except (OSError, http.client.HTTPException) as problem:
                result = {"status": 0, "body": repr(problem).encode(), "node": "", "service": 0, "tries": "?",
                          "starts": 0}
            result.update(number=number, text=text, began=began, end=time.monotonic())
            with lock:
                results.append(result)
                bad = sum(1 for r in results if r["status"] != 200)
                note = ", ".join(f"{e.kind} {e.node}" for e in events if e.at)
                bar("reading pages", len(results), total, f"{bad} failed  {note}")

    threads = [threading.Thread(target=client, daemon=True) for _ in range(clients)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for share, event in zip((0.2, 0.4, 0.6), events):
        while len(results) < share * total and any(t.is_alive() for t in threads):
            time.sleep(0.05)
        take_away(cluster, event)
    for thread in threads:
        thread.join()
    bar("reading pages", len(results), total, f"{sum(1 for r in results if r['status'] != 200)} failed", end=True)
    return results, events, time.monotonic() - began


def plain(text):
    return re.sub(r"\s+", " ", text).strip()


def report(results, events, took, setup_seconds):
    good = [r for r in results if r["status"] == 200]
    failed = [r for r in results if r["status"] != 200]
    errors = letters = 0
    for r in good:
        truth = plain(r["text"])
        errors += Levenshtein.distance(truth, plain(r["body"].decode("utf-8", "replace")))
        letters += len(truth)
    accuracy = 100.0 * (1 - errors / max(1, letters))
    print(f"\npages            {len(results)} read in {took:.1f} s ({len(results) / took:.2f} per second)")
    print(f"accuracy         {accuracy:.2f} % of {letters} characters, against the known text")
    print(f"failed requests  {len(failed)}")
    again = sum(1 for r in good if r["starts"] > 1)
    print(f"started again    {again} (their node was lost while it worked on them)")
    for r in failed[:5]:
        print(f"  page {r['number']}: status {r['status']} {r['body'][:200]!r}")
    gone = {e.node: e.kind for e in events}
    print("\nnode     cores  pages  share of pages  share of cores")
    for index, cores in enumerate(CORES):
        name = f"node-{index + 1}"
        count = sum(1 for r in good if r["node"] == name)
        print(f"{name}   {cores:>5}  {count:>5}  {100 * count / max(1, len(good)):>13.0f}%  "
              f"{100 * cores / sum(CORES):>13.0f}%  {gone.get(name, '')}")
    print("\nevent    node    out of routing after  last start there after  router's reason")
    late = False
    for e in events:
        # A request that ended there began there at most its service time earlier.
        starts = [r["end"] - r["service"] - e.at for r in good if r["node"] == e.node]
        last = max([s for s in starts if s > 0], default=0.0)
        out = (e.out - e.at) if e.out else float("inf")
        bound = 0.5 if e.kind == "drain" else 4.0
        late = late or out > bound or last > bound
        print(f"{e.kind:<8} {e.node}  {out:>17.2f} s  {last:>20.2f} s  {e.reason}")
    if setup_seconds:
        print(f"\nset-up and build took {setup_seconds} s before this.")
    if failed or late or accuracy < 95:
        print("\nNot as it should be: " + "; ".join(
            reason for bad, reason in ((failed, "requests failed"), (late, "a node stayed in routing too long"),
                                       (accuracy < 95, "the text was read badly")) if bad))
        return 1
    return 0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--astra", required=True)
    parser.add_argument("--pages", type=int, default=60)
    parser.add_argument("--clients", type=int, default=10)
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--setup-seconds", type=int, default=0)
    arguments = parser.parse_args()
    if not TEXT.exists():
        fail(f"{TEXT} is missing; it comes with Debian's base-files")
    directory = Path(tempfile.mkdtemp(prefix="astra-demo-"))
    cluster = None
    keep = False
    try:
        pages = render(directory, arguments.pages)
        cluster = Cluster(arguments.astra, directory)
        print(f"cluster          3 Resources, 6 nodes with {CORES} cores, gateway http://{cluster.gateway}")
        app = Path(__file__).parent.parent / "config/examples/apps/ocr.toml"
        spec = re.sub(r"(?m)^replicas *=.*$", f"replicas = {REPLICAS}", app.read_text())
        (directory / "ocr.toml").write_text(spec)
        applied = cluster.cli("app", "apply", str(directory / "ocr.toml"), "--wait", "30s")
        if applied.returncode != 0:
            fail(f"astra app apply: exit {applied.returncode}\n{applied.stdout}{applied.stderr}")
        print(f"app              ocr (tesseract), {REPLICAS} replicas ready")
        results, events, took = run(cluster, pages, arguments.clients)
        code = report(results, events, took, arguments.setup_seconds)
        keep = arguments.keep
        if keep:
            page = directory / "page-000.png"
            print(f"\nThe cluster stays up.  Try:\n"
                  f"  export ASTRA_GATEWAY={cluster.gateway}\n"
                  f"  {arguments.astra} status\n"
                  f"  {arguments.astra} node list\n"
                  f"  {arguments.astra} app show ocr\n"
                  f"  {arguments.astra} invoke ocr < {page}\n"
                  f"  kill -CONT {cluster.pids['node-4']}     # the frozen node comes back\n"
                  f"End it with: kill {cluster.dev.pid}; rm -r {directory}")
        return code
    finally:
        if not keep:
            if cluster:
                cluster.end()
            shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("\ndemo: stopped; the cluster was ended")
        sys.exit(130)
