#!/usr/bin/env python3
"""Contents on their way through a cluster of real processes, while it is broken or at work.

    test/perf/models.py kills  [--nodes 5] [--mib 256] [--limit 60]    SIGKILL of a random node every second, back 0.3 s later
    test/perf/models.py seed   [--nodes 4] [--mib 128] [--limit 40]    whoever published is killed at 50 %, and comes back
    test/perf/models.py beside [--mib 512] [--limit 0] [--seconds 20]  latency of requests with and without a transfer
    test/perf/models.py stalls [--runs 200] [--mib 32] [--burners 8]   longest time without a new piece, beside burners

--limit is that over all nodes in MB/s; 0: none.  All nodes share this machine's cores and its loopback, so rates say nothing
about a network; what is told is whether everybody finishes with the right bytes, and what it costs the others.
Exit code 1 when somebody does not finish or has other bytes.
"""
import argparse
import hashlib
import json
import os
import pathlib
import random
import re
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "support"))
from real_cluster import NodesCluster, call, put_app, until  # noqa: E402

APP = """
name = "work"
kind = "process"
mode = "per-request"
command = ["/bin/sh", "-c", "i=0; while [ $i -lt 3000 ]; do i=$((i+1)); done; cat"]
replicas = 1
concurrency = 1
timeout = "30s"
queue_limit = 512
[resources]
cpu = 0.5
memory = "64MiB"
[require]
labels = { rack = "r1" }
"""


class Cluster(NodesCluster):
    def about_node(self, name):
        return (f'{super().about_node(name)}[metrics]\nlisten = "127.0.0.1:0"\n'
                f'[node]\nlabels = {{ rack = "r{name.removeprefix("node-")}" }}\n')

    def received(self, node):
        """Bytes that came to it from other nodes in this life; the last ones may be missing."""
        found = re.findall(r"metrics.listen address=(\S+)", (self.dir / f"{node}.log").read_text())
        try:
            status, body = call(found[-1], "GET", "/metrics", timeout=2.0)
        except (OSError, IndexError):
            return 0  # it has just begun
        told = re.search(r"^astra_contents_received_bytes_total (\d+)", body, re.M)
        return int(told[1]) if status == 200 and told else 0

    def build(self):
        super().build()
        if until(lambda: len(self.ask("GET", "/v1/nodes")[1].splitlines()) > 0, 20) is None:
            raise RuntimeError("no node joined")
        if until(lambda: self.models().get("members", 0) == len(self.nodes), 20) is None:
            raise RuntimeError(f"not all nodes report to the tracker: {self.models()}")

    def ask(self, method, path, body=None, timeout=20.0):
        return call(self.address, method, path, json.dumps(body) if body is not None else None, timeout,
                    {"Content-Type": "application/json"})

    def models(self):
        status, body = self.ask("GET", "/v1/models")
        return json.loads(body) if status == 200 else {}

    def who_holds(self, name):
        status, body = self.ask("GET", f"/v1/models/{name}")
        if status != 200:
            return {}
        return {holder["node"]: holder for version in json.loads(body)["versions"] for holder in version["holders"]}

    def publish(self, name, path, node):
        status, body = self.ask("POST", f"/v1/models/{name}", {"path": str(path), "node": node})
        if status != 202:
            raise RuntimeError(f"publish: {status} {body}")
        job = json.loads(body)["job"]
        done = until(lambda: json.loads(self.ask("GET", f"/v1/model-jobs/{job}")[1]).get("state") != "running", 120, 0.1)
        told = self.ask("GET", f"/v1/model-jobs/{job}")[1]
        if done is None or json.loads(told)["state"] != "done":
            raise RuntimeError(f"publish: {told}")

    def fetch(self, name, nodes):
        status, body = self.ask("POST", f"/v1/models/{name}/fetch", {"nodes": nodes})
        if status not in (200, 202):
            raise RuntimeError(f"fetch: {status} {body}")

    def limit(self, mb):
        self.ask("PUT", "/v1/model-limit", {"bytes_per_s": int(mb * 1e6)})

    def complete(self, name):
        return sum(1 for holder in self.who_holds(name).values() if holder["state"] == "ready")

    def wrong(self, digest):
        """Nodes that do not show exactly these bytes."""
        result = []
        for node in self.nodes:
            shown = list((self.dir / node / "store" / "contents").glob("*/weights.bin"))
            if digest not in [hashlib.sha256(path.read_bytes()).hexdigest() for path in shown]:
                result.append(node)
        return result


def make_source(directory, mib, seed):
    path = pathlib.Path(directory)
    path.mkdir(parents=True, exist_ok=True)
    chance = random.Random(seed)
    data = b"".join(chance.randbytes(1 << 20) for _ in range(mib))
    (path / "weights.bin").write_bytes(data)
    (path / "config.json").write_text(json.dumps({"seed": seed}))
    return hashlib.sha256(data).hexdigest()


def tell(cluster, name, digest, began):
    wrong = cluster.wrong(digest)
    print(f"all {len(cluster.nodes)} nodes have it after {time.monotonic() - began:.1f} s; other bytes at: {wrong or 'none'}")
    return not wrong


def kills(args, cluster, source, digest):
    cluster.publish("m", source, "node-1")
    cluster.limit(args.limit)
    began = time.monotonic()
    cluster.fetch("m", cluster.nodes[1:])
    chance = random.Random(args.seed)
    count, due, received = 0, time.monotonic() + 1, 0
    while cluster.complete("m") < len(cluster.nodes):
        if time.monotonic() - began > args.patience:
            print(f"not finished after {args.patience} s: {json.dumps(cluster.who_holds('m'), indent=1)}")
            return False
        if time.monotonic() < due:
            time.sleep(0.05)
            continue
        due = time.monotonic() + 1
        victim = chance.choice(cluster.nodes[1:])
        received += cluster.received(victim)
        cluster.kill(victim)
        time.sleep(0.3)
        cluster.start(victim)
        count += 1
    time.sleep(1.0)
    received += sum(cluster.received(node) for node in cluster.nodes[1:])
    needed = (len(cluster.nodes) - 1) * args.mib << 20
    print(f"{count} kills; received {received / needed:.3f} of what was needed")
    return tell(cluster, "m", digest, began)


def seed_dies(args, cluster, source, digest):
    cluster.publish("m", source, "node-1")
    cluster.limit(args.limit)
    began = time.monotonic()
    cluster.fetch("m", cluster.nodes[1:])
    size = args.mib << 20

    def share():
        others = [holder["bytes_done"] / size for node, holder in cluster.who_holds("m").items() if node != "node-1"]
        return sum(others) / max(1, len(others))

    until(lambda: share() >= 0.5, args.patience)
    cluster.kill("node-1")
    at = time.monotonic()
    until(lambda: cluster.complete("m") >= len(cluster.nodes) - 1, 15, 0.2)
    without = cluster.complete("m")
    missing = max((version["missing"] for version in json.loads(cluster.ask("GET", "/v1/models/m")[1])["versions"]), default=0)
    print(f"seed killed at {share():.0%} on average; {time.monotonic() - at:.1f} s later {without} of {len(cluster.nodes) - 1} "
          f"others are complete, {missing} pieces are on no node")
    cluster.start("node-1")
    if until(lambda: cluster.complete("m") >= len(cluster.nodes), args.patience, 0.2) is None:
        print(f"not finished: {json.dumps(cluster.who_holds('m'), indent=1)}")
        return False
    time.sleep(1.0)
    return tell(cluster, "m", digest, began)


def latencies(address, seconds, rate):
    """Of requests that begin at a fixed rate, in ms."""
    result, threads, lock = [], [], threading.Lock()

    def one():
        began = time.monotonic()
        status, _ = call(address, "POST", "/v1/apps/work/invoke", "x", 30.0)
        with lock:
            result.append(((time.monotonic() - began) * 1e3, status))

    end = time.monotonic() + seconds
    due = time.monotonic()
    while due < end:
        time.sleep(max(0.0, due - time.monotonic()))
        threads.append(threading.Thread(target=one))
        threads[-1].start()
        due += 1.0 / rate
    for thread in threads:
        thread.join()
    good = sorted(ms for ms, status in result if status == 200)
    return good, len(result) - len(good)


def at(values, share):
    return values[min(len(values) - 1, int(len(values) * share))] if values else float("nan")


def beside(args, cluster, source, digest):
    cluster.publish("m", source, "node-2")
    if put_app(cluster.address, "work", APP)[0] not in (200, 201):
        raise RuntimeError("the app was refused")
    until(lambda: call(cluster.address, "POST", "/v1/apps/work/invoke", "x")[0] == 200, 20)
    cluster.limit(args.limit)
    latencies(cluster.address, 3, args.rate)
    rows = []
    for turn in range(args.rounds):
        quiet, bad = latencies(cluster.address, args.seconds, args.rate)
        # The node that serves fetches it, again and again.
        stop, moved = threading.Event(), [0]

        def transfer(turn=turn):
            number = 0
            while not stop.is_set():
                number += 1
                digest_of_this = f"{turn}-{number}"
                (pathlib.Path(source) / "config.json").write_text(digest_of_this)
                chance = random.Random(digest_of_this)
                with open(pathlib.Path(source) / "weights.bin", "r+b") as file:
                    for piece in range(args.mib):
                        file.seek(piece << 20)
                        file.write(chance.randbytes(64))
                cluster.publish("m", source, "node-2")
                # Its pieces differ from the last version's: all of it is fetched.
                cluster.fetch("m", ["node-1"])
                while not stop.is_set():
                    version = json.loads(cluster.ask("GET", "/v1/models/m")[1])["versions"][-1]
                    mine = [h for h in version["holders"] if h["node"] == "node-1"]
                    part = mine[0]["bytes_done"] if mine else 0
                    if mine and mine[0]["state"] == "ready":
                        moved[0], part = moved[0] + args.mib, 0
                        break
                    time.sleep(0.2)
                moved[0] += part >> 20

        mover = threading.Thread(target=transfer)
        mover.start()
        time.sleep(1.0)
        busy, bad_busy = latencies(cluster.address, args.seconds, args.rate)
        stop.set()
        mover.join()
        rows.append((quiet, busy))
        print(f"round {turn + 1}: without p50 {at(quiet, .5):.1f} p99 {at(quiet, .99):.1f} ms ({len(quiet)}, {bad} failed); "
              f"with p50 {at(busy, .5):.1f} p99 {at(busy, .99):.1f} ms ({len(busy)}, {bad_busy} failed), {moved[0]} MiB fetched; "
              f"p99 ratio {at(busy, .99) / at(quiet, .99):.2f}")
    quiet = sorted(ms for row in rows for ms in row[0])
    busy = sorted(ms for row in rows for ms in row[1])
    print(f"all: p50 {at(quiet, .5):.1f} -> {at(busy, .5):.1f} ms, p99 {at(quiet, .99):.1f} -> {at(busy, .99):.1f} ms, "
          f"ratio {at(busy, .99) / at(quiet, .99):.2f}")
    return True


def stalls(args, cluster, source, digest):
    burners = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(args.burners)]
    worst, slow, times = 0.0, 0, []
    try:
        for run in range(args.runs):
            digest = make_source(source, args.mib, run + 1000)
            name = f"m{run}"
            cluster.publish(name, source, "node-1")
            began = time.monotonic()
            cluster.fetch(name, cluster.nodes[1:])
            done, changed, longest = -1, began, 0.0
            while True:
                holders = cluster.who_holds(name)
                now = time.monotonic()
                moved = sum(holder["bytes_done"] for holder in holders.values())
                if moved != done:
                    longest, done, changed = max(longest, now - changed), moved, now
                longest = max(longest, now - changed)
                if sum(1 for holder in holders.values() if holder["state"] == "ready") == len(cluster.nodes):
                    break
                if now - began > args.patience:
                    print(f"run {run} did not finish: {json.dumps(holders, indent=1)}")
                    return False
                time.sleep(0.1)
            times.append(time.monotonic() - began)
            worst = max(worst, longest)
            slow += longest > 5.0
            wrong = cluster.wrong(digest)
            if wrong:
                print(f"run {run}: other bytes at {wrong}")
                return False
            cluster.ask("DELETE", f"/v1/models/{name}@1")
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()
    times.sort()
    print(f"{args.runs} runs beside {args.burners} burners on {os.cpu_count()} cores: {slow} with a stall over 5 s, longest "
          f"{worst:.1f} s; time p50 {at(times, .5):.1f}, p99 {at(times, .99):.1f}, max {times[-1]:.1f} s")
    return slow == 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["kills", "seed", "beside", "stalls"])
    parser.add_argument("--astra", default="build/release/runtime/astra")
    parser.add_argument("--nodes", type=int, default=0)
    parser.add_argument("--mib", type=int, default=0)
    parser.add_argument("--limit", type=float, default=-1)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--rate", type=float, default=20)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--burners", type=int, default=8)
    parser.add_argument("--patience", type=float, default=180)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", action="store_true", help="leave files and logs behind")
    args = parser.parse_args()
    usual = {"kills": (5, 256, 60), "seed": (4, 128, 40), "beside": (2, 512, 0), "stalls": (4, 32, 0)}[args.what]
    args.nodes, args.mib = args.nodes or usual[0], args.mib or usual[1]
    args.limit = usual[2] if args.limit < 0 else args.limit
    with Cluster(args.astra, "models", args.nodes, args.keep) as cluster:
        source = cluster.dir / "source"
        digest = make_source(source, args.mib, args.seed)
        run = {"kills": kills, "seed": seed_dies, "beside": beside, "stalls": stalls}[args.what]
        good = run(args, cluster, source, digest)
        if not good:
            cluster.keep = True
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
