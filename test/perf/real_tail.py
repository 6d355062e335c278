#!/usr/bin/env python3
"""The tail of real requests on uneven machines: Astra's gateway beside HAProxy and nginx, in front of the same replicas.

    test/perf/real_tail.py --astra build/release/runtime/astra [--seconds 60] [--load 0.6] [--only astra-fast,haproxy-leastconn]

A real cluster on loopback: one process that is Resource, scheduler and gateway, and a node process for each of --quotas.
Each node is in a cgroup of its own, together with the replica that it starts, and has that many percent of a core.  The app
has one replica on each node, in server mode: a small HTTP server that works on --concurrency requests at a time and on the
others in the order in which they came.  A request says how much work it is: rounds of SHA-256 of lognormal number, calibrated
at the start so that a mean request is --mean ms of processor time, or with `--work tesseract` a page of so many lines to read.

The same arrivals (Poisson, so many that they ask for --load of all quotas together) with the same sizes go one after the
other through

    astra-seed, -flat, -fast, -even    the gateway, with that `weight` in the app's file
    haproxy-leastconn, -random, -roundrobin               `balance leastconn`, `random(2)`, `roundrobin`
    haproxy-leastconn-maxconn, -random-maxconn, ...       the same, with at most --concurrency requests at a server at a time
    nginx-roundrobin, nginx-leastconn

HAProxy and nginx go directly to the replicas' ports and are told nothing of the quotas (no `weight` at a server); Astra's
nodes find theirs in their cgroups, as they do on any machine, and report them as their cores.  Before each row the replicas
finish what they have, and the first --warm-up seconds are not counted.

A request's latency is from the moment when it was to be sent, whatever was in the way.  One that failed, or was not answered
within --limit seconds, counts as slower than all others: a percentile that falls on it is printed as "never".  "used" is the
processor time of all nodes by their quotas, replicas and node processes together, and "spread" the coefficient of variation
of the nodes' own shares, which stand at the end.  "late" is by how much this script itself sent too late, in ms (99th
percentile), and "else" how many cores all that is no node used: who is in front, this script, and whatever else runs on the
machine.  A row counts only when nothing else does: nodes are the first to suffer, and a note says when hardly a core was idle.

Needs root, cgroups (version 1 or 2) with the processor controller, and Debian's packages haproxy and nginx-light
(apt-get install --no-install-recommends haproxy nginx-light); without them those rows are left out.  Leaves no process,
cgroup or file behind.
"""
import argparse
import asyncio
import collections
import contextlib
import functools
import hashlib
import json
import math
import os
import pathlib
import random
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from real_cluster import RealCluster, call, hold_port, put_app, until

INSTALL = "apt-get install --no-install-recommends haproxy nginx-light"
APP = "tail"
# Nodes get out of the way of whoever is in front of them, as if they were other machines.
NODE_SHARES, NODE_WEIGHT = 128, 12
CONNECTIONS = 8192
NEVER = math.inf
# Less of the machine than this: not only the quotas bind.
IDLE_MIN = 0.15

SERVER = '''
import hashlib, http.server, os, queue, subprocess, sys, threading

BLOCK = bytes(16384)

def burn(units):
    for _ in range(units):
        hashlib.sha256(BLOCK).digest()

def read_page(lines):
    subprocess.run(["tesseract", f"{os.path.dirname(os.path.abspath(__file__))}/page-{lines}.tif", "-", "-l", "eng"],
                   check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                   env={**os.environ, "OMP_THREAD_LIMIT": "1"})

def work_off(waiting, work):
    for size, done in iter(waiting.get, None):
        try:
            work(size)
            done.put(b"done")
        except Exception as error:
            done.put(repr(error).encode())

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # The answer leaves at once and in one piece.
    disable_nagle_algorithm, wbufsize = True, -1

    def do_POST(self):
        done = queue.SimpleQueue()
        self.server.waiting.put((int(self.rfile.read(int(self.headers["Content-Length"]))), done))
        answer = done.get()
        self.send_response(200 if answer == b"done" else 500)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *args):
        pass

class Server(http.server.ThreadingHTTPServer):
    daemon_threads, request_queue_size = True, 4096

if __name__ == "__main__":
    server = Server(("127.0.0.1", int(os.environ["PORT"])), Handler)
    server.waiting = queue.SimpleQueue()
    for _ in range(int(sys.argv[1])):
        threading.Thread(target=work_off, args=(server.waiting, globals()[sys.argv[2]]), daemon=True).start()
    server.serve_forever()
'''

HAPROXY = """global
    maxconn {connections}
defaults
    mode http
    timeout connect 10s
    timeout client {limit}s
    timeout server {limit}s
    timeout queue {limit}s
    timeout http-keep-alive {limit}s
    option abortonclose
frontend front
    bind 127.0.0.1:{port}
    default_backend replicas
backend replicas
    balance {balance}
{servers}
"""

NGINX = """daemon off;
user root;
worker_processes 1;
pid {dir}/nginx.pid;
events {{ worker_connections {connections}; }}
http {{
    access_log off;
    client_body_temp_path {dir}/nginx-body;
    proxy_temp_path {dir}/nginx-proxy;
    fastcgi_temp_path {dir}/nginx-fastcgi;
    uwsgi_temp_path {dir}/nginx-uwsgi;
    scgi_temp_path {dir}/nginx-scgi;
    keepalive_requests 1000000;
    keepalive_timeout {limit}s;
    upstream replicas {{
{method}
{servers}
        keepalive 256;
        keepalive_requests 1000000;
    }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://replicas;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_next_upstream off;
            proxy_read_timeout {limit}s;
        }}
    }}
}}
"""


def percentile(values, share):
    """The smallest value that at least this share of them does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * share) - 1)] if ordered else NEVER


def find_program(name):
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin")


def machine_busy():
    """Seconds that the machine's cores have worked so far."""
    user, nice, system, _, _, irq, softirq, steal = map(int, pathlib.Path("/proc/stat").read_text().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def mounts(kind):
    """Mount points of this type, each with its options."""
    lines = [line.split() for line in pathlib.Path("/proc/mounts").read_text().splitlines()]
    return [(pathlib.Path(fields[1]), fields[3].split(",")) for fields in lines if fields[2] == kind]


class Group:
    """A cgroup with a quota of processor time."""

    def __init__(self, name, percent, period_us):
        self.quota_us, self.period_us = round(percent / 100 * period_us), period_us
        self.cores = self.quota_us / period_us
        self.find(name)

    def make(self):
        for directory in self.directories:
            directory.mkdir()

    def joins(self):
        """Where a process writes its id to come in."""
        return [directory / "cgroup.procs" for directory in self.directories]

    def below(self):
        """Its directories and those that others made in them, the lowest first."""
        return [pathlib.Path(path) for directory in self.directories for path, _, _ in os.walk(directory, topdown=False)]

    def pids(self):
        found = set()
        for directory in self.below():
            with contextlib.suppress(OSError):
                found.update(int(pid) for pid in (directory / "cgroup.procs").read_text().split())
        return found

    def end(self):
        """Ends whoever is still in it."""

        def empty():
            for pid in self.pids():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            for directory in self.below():
                with contextlib.suppress(OSError):
                    directory.rmdir()
            return not any(directory.exists() for directory in self.directories)

        if until(empty, 20) is None:
            print(f"cannot remove {', '.join(map(str, self.directories))}", file=sys.stderr)


class Group1(Group):
    """Version 1: the quota and the account are in two hierarchies, which may be mounted as one."""

    def find(self, name):
        roots = [next((path for path, options in mounts("cgroup") if controller in options), None)
                 for controller in ("cpu", "cpuacct")]
        if None in roots:
            raise RuntimeError("no cgroups with cpu and cpuacct are mounted")
        self.quota, self.account = (root / name for root in roots)
        self.directories = list(dict.fromkeys([self.quota, self.account]))

    def limit(self, on):
        (self.quota / "cpu.shares").write_text(str(NODE_SHARES))
        (self.quota / "cpu.cfs_period_us").write_text(str(self.period_us))
        (self.quota / "cpu.cfs_quota_us").write_text(str(self.quota_us if on else -1))

    def used(self):
        return int((self.account / "cpuacct.usage").read_text()) / 1e9


class Group2(Group):
    def find(self, name):
        root = mounts("cgroup2")[0][0]
        if "cpu" not in (root / "cgroup.subtree_control").read_text().split():
            (root / "cgroup.subtree_control").write_text("+cpu")
        self.directories = [root / name]

    def limit(self, on):
        (self.directories[0] / "cpu.weight").write_text(str(NODE_WEIGHT))
        (self.directories[0] / "cpu.max").write_text(f"{self.quota_us if on else 'max'} {self.period_us}")

    def used(self):
        lines = (self.directories[0] / "cpu.stat").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("usage_usec ")) / 1e6


def group_kind():
    for path, _ in mounts("cgroup2"):
        if "cpu" in (path / "cgroup.controllers").read_text().split():
            return Group2
    return Group1


class Burn:
    """Rounds of SHA-256."""
    name = "burn"

    def __init__(self, args, _):
        self.mean, self.sigma = args.mean / 1000, args.sigma
        self.unit = min(self.sample(2000) for _ in range(8))

    def sample(self, units):
        code = {"__name__": "calibration"}
        exec(SERVER, code)
        began = time.process_time()
        code["burn"](units)
        return (time.process_time() - began) / units

    def draw(self, chance):
        return max(1, round(self.mean / self.unit * chance.lognormvariate(-self.sigma**2 / 2, self.sigma)))

    def cost(self, size):
        return size * self.unit

    def __str__(self):
        return f"SHA-256, {1e6 * self.unit:.1f} us each"


class Tesseract:
    """Pages of so many lines to read."""
    name = "read_page"
    MEAN_LINES, LINES_MAX = 5, 20
    TEXT = pathlib.Path("/usr/share/common-licenses/GPL-3")

    def __init__(self, args, directory):
        self.sigma = args.sigma
        lines = [line.strip() for line in self.TEXT.read_text(errors="replace").splitlines() if line.strip()]
        self.costs = {}
        for count in range(1, self.LINES_MAX + 1):
            self.render(directory, count, lines[10:10 + count])
            self.costs[count] = min(self.read(directory, count) for _ in range(2))

    def render(self, directory, count, lines):
        (directory / "page.txt").write_text("\n".join(lines) + "\n")
        drawn = subprocess.run(["text2image", f"--text={directory}/page.txt", f"--outputbase={directory}/page-{count}",
                                "--font=DejaVu Sans Mono", "--fonts_dir=/usr/share/fonts", "--ptsize=11", "--resolution=150",
                                "--xsize=1400", f"--ysize={80 + 40 * count}", "--margin=40",
                                f"--fontconfig_tmpdir={directory}"], capture_output=True, text=True)
        if not (directory / f"page-{count}.tif").exists():
            raise RuntimeError(f"text2image drew nothing (is fonts-dejavu-core installed?): {drawn.stderr[-500:]}")

    def read(self, directory, count):
        code = {"__name__": "calibration", "__file__": str(directory / "server.py")}
        exec(SERVER, code)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        code["read_page"](count)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    def draw(self, chance):
        return min(self.LINES_MAX, max(1, round(self.MEAN_LINES * chance.lognormvariate(-self.sigma**2 / 2, self.sigma))))

    def cost(self, size):
        return self.costs[size]

    def __str__(self):
        first, last = (1000 * self.costs[count] for count in (1, self.LINES_MAX))
        return f"tesseract, {first:.0f} ms for a line, {last:.0f} ms for {self.LINES_MAX}"


WORKS = {"burn": Burn, "tesseract": Tesseract}


def draw_arrivals(args, work, cores):
    """When each request comes, in seconds from the start, and its size."""
    sizes, times = random.Random(args.seed), random.Random(args.seed + 1)
    mean = statistics.fmean(work.cost(work.draw(sizes)) for _ in range(20000))
    rate, at, arrivals = args.load * cores / mean, 0.0, []
    while (at := at + times.expovariate(rate)) < args.warm_up + args.seconds:
        arrivals.append((at, work.draw(sizes)))
    return arrivals


class Cluster(RealCluster):
    def __init__(self, args):
        super().__init__(args.astra, "tail", keep=args.keep)
        self.args, self.groups = args, {}
        self.nodes = self.first = [f"n{i + 1}" for i in range(len(args.quotas))]

    def build(self):
        (self.dir / "server.py").write_text(SERVER)
        kind, tag = group_kind(), f"astra-tail-{os.getpid()}"
        for name, percent in zip(self.nodes, self.args.quotas):
            self.groups[name] = kind(f"{tag}-{name}", percent, round(self.args.period * 1000))
        (self.dir / "front.toml").write_text(
            f'name = "front"\nroles = ["resource", "scheduler", "gateway"]\nstate_dir = "{self.dir}/front"\n'
            f'[net]\nlisten = "{self.addresses[0]}"\n'
            f'[gateway]\nlisten = "127.0.0.1:0"\nconnections_max = {CONNECTIONS}\nidle_timeout = "{self.args.limit + 60:.0f}s"\n')
        self.start("front")
        self.gateway = self.told("front", "gateway")
        for name, group in self.groups.items():
            # A node asks its cgroup how many cores it has, once: when it starts.
            group.make()
            group.limit(True)
            self.configure(name, "node")
            self.start(name, ("sh", "-c", 'for file in ' + " ".join(map(str, group.joins()))
                              + '; do echo $$ > $file || exit 1; done; exec "$@"', "sh"))
        for name in self.nodes:
            self.told(name, "address")

    @property
    def cores(self):
        return sum(group.cores for group in self.groups.values())

    def limit(self, on):
        for group in self.groups.values():
            group.limit(on)

    def used(self):
        return [group.used() for group in self.groups.values()]

    def get(self, path):
        try:
            return json.loads(call(self.gateway, "GET", path)[1])
        except ValueError:
            return {}

    def apply(self, work, weight=None):
        command = json.dumps([sys.executable, "-S", "-E", str(self.dir / "server.py"), str(self.args.concurrency), work.name])
        text = (f'name = "{APP}"\nreplicas = {len(self.nodes)}\nkind = "process"\nmode = "server"\ncommand = {command}\n'
                f'concurrency = {self.args.concurrency}\ntimeout = "{self.args.limit + 5:.0f}s"\nqueue_limit = 100000\n'
                + (f'weight = "{weight}"\n' if weight else "") +
                f'[placement]\nanti_affinity = [{{ app = "{APP}" }}]\n[resources]\ncpu = 0.01\nmemory = "512MiB"\n')
        answer = (0, "")

        def heard():
            nonlocal answer
            answer = put_app(self.gateway, APP, text)
            return answer[0] in (200, 400)

        if until(heard, 30, 0.2) is None or answer[0] != 200:
            raise RuntimeError(f"the app cannot be applied: {answer}")
        if until(lambda: self.serves(weight), 90, 0.1) is None:
            self.keep = True
            raise RuntimeError(f"the app is not ready: {self.get(f'/v1/apps/{APP}')} {self.get(f'/v1/routers/{APP}')}")

    def serves(self, weight):
        """Every node has its replica and is in the router's rotation, with this formula."""
        rows = self.get(f"/v1/routers/{APP}").get("rows", [])
        return (self.get(f"/v1/apps/{APP}").get("ready") == len(self.nodes)
                and sum(row["out_reason"] == "" for row in rows) == len(self.nodes)
                and weight in (None, self.get(f"/v1/routers/{APP}").get("formula")))

    def ports(self):
        """Each node's replica's port."""
        result = {}
        for name, group in self.groups.items():
            for pid in group.pids():
                with contextlib.suppress(OSError):
                    if str(self.dir / "server.py").encode() in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
                        words = pathlib.Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0")
                        result[name] = next(int(word[5:]) for word in words if word.startswith("PORT="))
        if len(result) != len(self.nodes):
            raise RuntimeError(f"not every node has a replica: {result}")
        return result

    def settle(self):
        """Lets the replicas finish what they still have, without quotas, and then gives the nodes their quotas back."""
        self.limit(False)

        def idle():
            before = self.used()
            time.sleep(0.5)
            return all(after - then < 0.05 for then, after in zip(before, self.used()))

        if until(idle, 300) is None:
            raise RuntimeError("the nodes do not come to rest")
        self.limit(True)
        # What the last one left of a period's quota is gone after a few periods.
        time.sleep(1.0)

    def before_end(self):
        # Who is throttled cannot end in time.
        for group in self.groups.values():
            with contextlib.suppress(OSError):
                group.limit(False)

    def __exit__(self, *_):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        try:
            super().__exit__()
        finally:
            for group in self.groups.values():
                group.end()


@contextlib.contextmanager
def astra(up, work, weight):
    up.apply(work, weight)
    yield int(up.gateway.rsplit(":", 1)[1]), f"/v1/apps/{APP}/invoke"


@contextlib.contextmanager
def proxy(up, port, *words):
    """Runs it until the block ends; if that fails, until the cluster ends."""

    def listens():
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 1).close()
            return True
        return process.poll() is not None

    log = up.dir / "proxy.log"
    with open(log, "w") as output:
        up.processes["proxy"] = process = subprocess.Popen(words, stdout=output, stderr=output, stdin=subprocess.DEVNULL)
    if until(listens, 10) is None or process.poll() is not None:
        raise RuntimeError(f"{words[0]} does not come up: {log.read_text()[-1000:]}")
    yield port, "/"
    process.terminate()
    process.wait()
    del up.processes["proxy"]


@contextlib.contextmanager
def haproxy(up, work, balance, maxconn):
    up.apply(work)
    most = f" maxconn {up.args.concurrency}" if maxconn else ""
    servers = "\n".join(f"    server {name} 127.0.0.1:{port}{most}" for name, port in up.ports().items())
    with contextlib.closing(hold_port()) as holder:
        port = holder.getsockname()[1]
        (up.dir / "haproxy.cfg").write_text(HAPROXY.format(connections=CONNECTIONS, limit=int(up.args.limit) + 60, port=port,
                                                           balance=balance, servers=servers))
        with proxy(up, port, find_program("haproxy"), "-db", "-f", str(up.dir / "haproxy.cfg")) as where:
            yield where


@contextlib.contextmanager
def nginx(up, work, method):
    up.apply(work)
    servers = "\n".join(f"        server 127.0.0.1:{port} max_fails=0;" for port in up.ports().values())
    with contextlib.closing(hold_port()) as holder:
        port = holder.getsockname()[1]
        (up.dir / "nginx.conf").write_text(NGINX.format(connections=CONNECTIONS, limit=int(up.args.limit) + 60, port=port,
                                                        dir=up.dir, method=method, servers=servers))
        with proxy(up, port, find_program("nginx"), "-e", "stderr", "-p", str(up.dir), "-c", "nginx.conf") as where:
            yield where


FRONTS = {f"astra-{weight}": functools.partial(astra, weight=weight) for weight in ("seed", "flat", "fast", "even")}
for suffix, bounded in (("", False), ("-maxconn", True)):
    for title, balance in (("leastconn", "leastconn"), ("random", "random(2)"), ("roundrobin", "roundrobin")):
        FRONTS[f"haproxy-{title}{suffix}"] = functools.partial(haproxy, balance=balance, maxconn=bounded)
FRONTS["nginx-roundrobin"] = functools.partial(nginx, method="")
FRONTS["nginx-leastconn"] = functools.partial(nginx, method="        least_conn;")


class Client:
    """POSTs over connections that are kept; as many of them as there are requests at the same time."""

    def __init__(self, port, path):
        self.port, self.path, self.idle = port, path, []

    async def connection(self):
        while self.idle:
            reader, writer = self.idle.pop()
            if not reader.at_eof() and not writer.is_closing():
                return reader, writer
            writer.close()
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def post(self, body):
        """Status and body of the answer."""
        reader, writer = await self.connection()
        try:
            writer.write(f"POST {self.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: text/plain\r\n"
                         f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
            status, answer, stays = await self.read(reader)
        except BaseException:
            # Whatever comes now would be taken for the answer to the next request.
            writer.close()
            raise
        if stays:
            self.idle.append((reader, writer))
        else:
            writer.close()
        return status, answer

    @staticmethod
    async def read(reader):
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[:-2]
        headers = {name.lower(): value.strip() for name, value in (line.split(":", 1) for line in lines)}
        answer = await reader.readexactly(int(headers["content-length"]))
        return int(first.split()[1]), answer, headers.get("connection", "").lower() != "close"

    def close(self):
        for _, writer in self.idle:
            writer.close()


async def sleep_until(moment):
    await asyncio.sleep(max(0.0, moment - time.monotonic()))


async def ask(client, due, size, limit):
    """Seconds from `due` to the answer, seconds by which it was sent too late, and why it failed or nothing."""
    await sleep_until(due)
    late = time.monotonic() - due
    try:
        status, answer = await asyncio.wait_for(client.post(str(size).encode()), limit - late)
    except TimeoutError:
        return NEVER, late, f"no answer within {limit:.0f} s"
    except (OSError, EOFError, ValueError, LookupError) as error:
        return NEVER, late, f"connection: {error!r}"
    if status != 200 or answer != b"done":
        return NEVER, late, f"status {status}: {answer[:200].decode(errors='replace')}"
    return time.monotonic() - due, late, None


async def watch(up, begin, end):
    """How many cores each node used between the two, and all else together."""
    await sleep_until(begin)
    before, busy, began = up.used(), machine_busy(), time.monotonic()
    await sleep_until(end)
    after, busy, took = up.used(), machine_busy() - busy, time.monotonic() - began
    nodes = [(now - then) / took for now, then in zip(after, before)]
    return nodes, busy / took - sum(nodes)


async def offer(up, where, arrivals):
    """What became of each request that counts, and what nodes and all else used meanwhile."""
    args, client, began = up.args, Client(*where), time.monotonic() + 0.2
    watched = asyncio.create_task(watch(up, began + args.warm_up, began + args.warm_up + args.seconds))
    outcomes = await asyncio.gather(*(ask(client, began + at, size, args.limit) for at, size in arrivals))
    client.close()
    return [outcome for outcome, (at, _) in zip(outcomes, arrivals) if at >= args.warm_up], *await watched


def measure(up, name, work, arrivals):
    with FRONTS[name](up, work) as where:
        up.settle()
        outcomes, cores, others = asyncio.run(offer(up, where, arrivals))
    seconds = [took for took, _, _ in outcomes]
    nodes = [used / group.cores for used, group in zip(cores, up.groups.values())]
    in_ms = lambda value: None if value == NEVER else round(1000 * value, 1)
    return {
        "front": name,
        **{f"p{share}_ms": in_ms(percentile(seconds, share / 100)) for share in (50, 95, 99)},
        "sent": len(outcomes),
        "failed": seconds.count(NEVER),
        "used": round(sum(cores) / up.cores, 4),
        "spread": round(statistics.pstdev(nodes) / statistics.fmean(nodes), 4),
        "nodes": [round(share, 4) for share in nodes],
        "else_cores": round(others, 3),
        "idle": round(1 - (sum(cores) + others) / os.cpu_count(), 3),
        "late_p99_ms": in_ms(percentile([late for _, late, _ in outcomes], 0.99)),
        "reasons": dict(collections.Counter(why for _, _, why in outcomes if why).most_common(5)),
    }


def settings(args, work, arrivals, cores):
    """What was the same for all rows."""
    counted = [size for at, size in arrivals if at >= args.warm_up]
    asked = sum(map(work.cost, counted))
    return {
        "work": args.work, "mean_ms": round(1000 * asked / max(1, len(counted)), 2), "sigma": args.sigma,
        "quotas": args.quotas, "period_ms": args.period, "concurrency": args.concurrency, "load": args.load,
        "offered": round(asked / args.seconds / cores, 4), "seconds": args.seconds, "warm_up": args.warm_up,
        "limit": args.limit, "seed": args.seed,
        "sequence": hashlib.sha256(repr(arrivals).encode()).hexdigest()[:16],
    }


def cells(row):
    ms = lambda key: "never" if row[key] is None else f"{row[key]:.0f}"
    return [row["front"], ms("p50_ms"), ms("p95_ms"), ms("p99_ms"), str(row["failed"]), f"{row['used']:.2f}",
            f"{row['spread']:.2f}", f"{row['late_p99_ms']:.1f}", f"{row['else_cores']:.2f}",
            " ".join(f"{100 * share:3.0f}" for share in row["nodes"])]


def tell(rows):
    titles = ["front", "p50 ms", "p95", "p99", "failed", "used", "spread", "late", "else", "of each node's quota %"]
    table = [titles] + [cells(row) for row in rows]
    widths = [max(len(line[i]) for line in table) for i in range(len(titles))]
    for line in table:
        print(line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:])), sep="  ")
    for row in rows:
        if row["idle"] < IDLE_MIN:
            print(f"note: {row['front']}: only {100 * row['idle']:.0f} % of the machine was idle, so not only the quotas bound")
        for why, count in row["reasons"].items():
            print(f"note: {row['front']}: {count} times {why}")


def measure_all(args, fronts):
    rows = []
    with Cluster(args) as up:
        work = WORKS[args.work](args, up.dir)
        arrivals = draw_arrivals(args, work, up.cores)
        same = settings(args, work, arrivals, up.cores)
        print(f"{len(arrivals) / (args.warm_up + args.seconds):.1f} requests/s of {same['mean_ms']:.1f} ms ({work}), "
              f"{100 * same['offered']:.0f} % of {up.cores:.2f} cores on {len(up.nodes)} nodes of "
              f"{', '.join(f'{quota:g}' for quota in args.quotas)} %; {args.seconds:.0f} s after {args.warm_up:.0f} s",
              flush=True)
        try:
            for name in fronts:
                rows.append(measure(up, name, work, arrivals))
                print(f"  {name}: p99 in ms {cells(rows[-1])[3]}", flush=True)
                if args.json:
                    with open(args.json, "a") as out:
                        print(json.dumps({**rows[-1], **same}), file=out)
        finally:
            if rows:
                tell(rows)


def able(parser, args):
    """Those of the chosen ones whose programs are there."""
    missing = {name for name in ("haproxy", "nginx") if find_program(name) is None}
    left_out = [front for front in args.only if front.split("-")[0] in missing]
    if left_out:
        print(f"left out, as {' and '.join(sorted(missing))} is missing: {', '.join(left_out)}\n  {INSTALL}", file=sys.stderr)
    if args.work == "tesseract" and None in (find_program("tesseract"), find_program("text2image")):
        print("tesseract is missing: apt-get install --no-install-recommends tesseract-ocr tesseract-ocr-eng fonts-dejavu-core",
              file=sys.stderr)
        return []
    if os.geteuid() != 0:
        parser.error("cgroups need root")
    return [front for front in args.only if front not in left_out]


def read_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words = lambda text: text.split(",")
    parser.add_argument("--astra", required=True)
    parser.add_argument("--only", type=words, default=list(FRONTS), help=f"some of {', '.join(FRONTS)}")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--warm-up", type=float, default=20, help="seconds of load before those that count")
    parser.add_argument("--load", type=float, default=0.6, help="share of all quotas together that requests ask for")
    parser.add_argument("--quotas", type=lambda text: [float(word) for word in words(text)],
                        default=[5, 8, 10, 15, 20, 25, 30, 40], help="percent of a core, per node")
    parser.add_argument("--period", type=float, default=100, help="ms after which a node has its quota anew")
    parser.add_argument("--concurrency", type=int, default=1, help="requests that a replica works on at a time")
    parser.add_argument("--work", choices=list(WORKS), default="burn")
    parser.add_argument("--mean", type=float, default=30, help="ms of processor time of a request, with --work burn")
    parser.add_argument("--sigma", type=float, default=1.0, help="of the lognormal sizes")
    parser.add_argument("--limit", type=float, default=60, help="seconds after which a request has failed")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", metavar="FILE", help="a line per row is appended")
    parser.add_argument("--keep", action="store_true", help="keep the directory with the logs")
    args = parser.parse_args()
    if unknown := [front for front in args.only if front not in FRONTS]:
        parser.error(f"--only: {', '.join(unknown)}; there are {', '.join(FRONTS)}")
    if any(quota * args.period < 100 for quota in args.quotas):
        parser.error("--quotas: the kernel gives no less than 1 ms per --period")
    if sum(args.quotas) > 85 * os.cpu_count():
        print(f"--quotas: together nearly the machine's {os.cpu_count()} cores or more: not only the quotas will bind",
              file=sys.stderr)
    return parser, args


def main():
    parser, args = read_arguments()
    fronts = able(parser, args)
    if not fronts:
        return 1
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    try:
        measure_all(args, fronts)
    except KeyboardInterrupt:
        return 130
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
