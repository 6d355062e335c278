#!/usr/bin/env python3
"""What becomes of thousands of nodes when their Resource is killed, and when all Resources are.

    test/perf/resource_loss.py --astra build/release/runtime/astra --sessions build/release/test/perf_sessions
        [--nodes 5000] [--resources 4] [--rounds 3] [--dark 3]

Real processes: Resources, a scheduler, a gateway, two node agents with the replicas of an app, and perf_sessions with
--nodes more nodes, each over a session of its own, which turn to their next choice as a node agent does.

First, --rounds times, SIGKILL to one Resource: seconds until the others are home to every node (by their own metric
astra_resource_nodes, so up to one sweep of 100 ms late), the nodes that anybody evicted, and until every Resource holds
the same.  It is started again before the next round.  Then SIGKILL to all of them at once, and after --dark seconds they are
started again with nothing: seconds until the view is whole again, from the moment they were started.  All the while a
client asks the app for an answer every 20 ms: neither replicas nor requests may suffer.

Leaves no process and no file behind.  Exit code 1 when a node was evicted, a view differs, a replica was touched or a round
took longer than 3 s.
"""
import argparse
import http.client
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from real_cluster import RealCluster, call, until

# A replica that answers with its process's id.
SERVER = """
import http.server, os, sys
class Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def do_POST(self):
        self.rfile.read(int(self.headers.get('Content-Length', 0)))
        body = str(os.getpid()).encode()
        self.send_response(200)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    do_GET = do_POST
    def log_message(self, *_): pass
http.server.ThreadingHTTPServer(('127.0.0.1', int(os.environ['PORT'])), Answer).serve_forever()
"""


class Client(threading.Thread):
    """Asks the app again and again and keeps which processes answered, and what went wrong."""

    def __init__(self, gateway):
        super().__init__(daemon=True)
        self.gateway, self.over, self.answers, self.failures, self.pids = gateway, False, 0, [], set()

    def run(self):
        host, port = self.gateway.rsplit(":", 1)
        connection = None
        while not self.over:
            try:
                connection = connection or http.client.HTTPConnection(host, int(port), timeout=30)
                connection.request("POST", "/v1/apps/who/invoke", b"x")
                answer = connection.getresponse()
                body = answer.read()
                if answer.status == 200:
                    self.answers += 1
                    self.pids.add(int(body))
                else:
                    self.failures.append(f"{answer.status} {body[:150].decode(errors='replace')}")
            except (OSError, ValueError, http.client.HTTPException) as error:
                connection = None
                self.failures.append(repr(error))
            time.sleep(0.02)


class Cluster(RealCluster):
    def __init__(self, args):
        super().__init__(args.astra, "resource-loss", args.resources, args.keep)
        self.args, self.crowd, self.client = args, None, None
        self.resources = [f"r{i + 1}" for i in range(args.resources)]
        self.first = ["host-1", "host-2"]

    def build(self):
        for name, address in zip(self.resources, self.addresses):
            self.configure(name, "resource", '[metrics]\nlisten = "127.0.0.1:0"\n', address)
            self.start(name)
        self.configure("s1", "scheduler")
        self.configure("g1", "gateway", more='[gateway]\nlisten = "127.0.0.1:0"\n')
        for name in ("host-1", "host-2"):
            self.configure(name, "node", more='[capacity]\ncores = 2\nmemory = "1GiB"\n')
        for name in ("s1", "g1", "host-1", "host-2"):
            self.start(name)
        self.gateway = self.told("g1", "gateway")
        app = self.dir / "who.toml"
        app.write_text('name = "who"\nkind = "process"\nmode = "server"\n'
                       f"command = ['python3', '-c', '''{SERVER}''']\nreplicas = 4\nidempotent = true\n"
                       '[resources]\ncpu = 0.5\nmemory = "64MiB"\n')
        deadline = time.monotonic() + 60
        while True:
            applied = subprocess.run([self.astra, "--gateway", self.gateway, "app", "apply", str(app), "--wait", "30s"],
                                     capture_output=True, text=True)
            if applied.returncode == 0:
                break
            if time.monotonic() > deadline:
                raise RuntimeError(f"the app never came up: {applied.stderr}")
            time.sleep(0.2)
        self.client = Client(self.gateway)
        self.client.start()
        with open(self.dir / "crowd.log", "w") as log:
            self.crowd = subprocess.Popen(
                [os.path.abspath(self.args.sessions), "--target", ",".join(self.addresses), "--sessions",
                 str(self.args.nodes), "--seconds", "86400", "--joins", "900"], stdout=log, stderr=log)

    def before_end(self):
        if self.client:
            self.client.over = True
            self.client.join(10)
        if self.crowd:
            self.crowd.kill()
            self.crowd.wait()

    def metric(self, name, metric):
        """The sum of a metric of a process; None when it does not answer."""
        try:
            address = json.loads((self.dir / name / "run.json").read_text())["metrics"]
        except (OSError, ValueError, KeyError):
            return None
        status, text = call(address, "GET", "/metrics", timeout=2.0)
        found = re.findall(rf"^{metric}(?:{{[^}}]*}})? (\S+)$", text, re.M)
        return sum(float(value) for value in found) if status == 200 else None

    def at_home(self, names):
        return sum(self.metric(name, "astra_resource_nodes") or 0 for name in names)

    def everywhere(self, metric):
        return sum(self.metric(name, metric) or 0 for name in self.resources if self.processes[name].poll() is None)

    def status(self):
        try:
            return json.loads(call(self.gateway, "GET", "/v1/status")[1])
        except ValueError:
            return {}

    def agreed(self):
        """Every Resource answers and holds the same as the others: no version with other rows, none of another life."""
        views = self.status().get("views", {})
        bad = [difference for difference in views.get("differences", []) if difference.get("kind") != "behind"]
        return len(views.get("reports", [])) == len(self.resources) and not views.get("unreachable") and not bad


def show(seconds):
    return "never" if seconds is None else f"{seconds:.2f} s"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--astra", required=True)
    parser.add_argument("--sessions", required=True, help="the program perf_sessions")
    parser.add_argument("--nodes", type=int, default=5000)
    parser.add_argument("--resources", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dark", type=float, default=3, help="seconds without any Resource")
    parser.add_argument("--keep", action="store_true", help="keep the directory with the logs")
    args = parser.parse_args()
    bad = []
    with Cluster(args) as up:
        everybody = args.nodes + 2
        joined = until(lambda: up.at_home(up.resources) >= everybody, 30 + args.nodes / 300)
        if joined is None:
            up.keep = True
            print(f"{up.at_home(up.resources):.0f} of {everybody} nodes joined; see {up.dir}")
            return 1
        print(f"{everybody} nodes at {args.resources} Resources, joined in {joined:.1f} s; load average "
              f"{os.getloadavg()[0]:.1f} on {os.cpu_count()} cores", flush=True)
        until(up.agreed)
        before = set(up.client.pids)
        offline = 0
        for number in range(args.rounds):
            name = up.resources[number % len(up.resources)]
            had = up.metric(name, "astra_resource_nodes") or 0
            others = [other for other in up.resources if other != name]
            evicted = up.everywhere("astra_resource_nodes_evicted_total")
            up.processes[name].kill()
            up.processes[name].wait()
            moved = until(lambda: up.at_home(others) >= everybody)
            ends = time.monotonic() + 4
            while time.monotonic() < ends:
                nodes = up.status().get("nodes", {})
                offline = max(offline, nodes.get("offline", 0))
                time.sleep(0.1)
            evicted = sum(up.metric(other, "astra_resource_nodes_evicted_total") or 0 for other in others) - evicted
            up.start(name)
            up.told(name, "address")
            same = until(up.agreed)
            diverged = up.everywhere("astra_resource_shards_diverged_total")
            print(f"kill of {name}, home of {had:.0f}: all have another home after {show(moved)}; evicted {evicted:.0f}, "
                  f"offline in the gateway's view at most {offline}; it is back and all views agree {show(same)} after its "
                  f"start; diverged shards {diverged:.0f}", flush=True)
            if moved is None or moved > 3 or evicted > 0 or offline > 0 or same is None or diverged > 0:
                bad.append(name)
        for name in up.resources:
            up.processes[name].kill()
        for name in up.resources:
            up.processes[name].wait()
        time.sleep(args.dark)
        for name in up.resources:
            up.start(name)
        for name in up.resources:
            up.told(name, "address")
        began = time.monotonic()
        whole = until(lambda: up.at_home(up.resources) >= everybody)
        shown = until(lambda: up.status().get("nodes", {}).get("online") == everybody and up.agreed())
        shown = None if shown is None else time.monotonic() - began
        evicted = up.everywhere("astra_resource_nodes_evicted_total")
        diverged = up.everywhere("astra_resource_shards_diverged_total")
        print(f"kill of all {args.resources}, {args.dark:.0f} s without any: every node has a home {show(whole)} after they are "
              f"up again, the gateway shows all online and all views agree after {show(shown)}; evicted {evicted:.0f}, "
              f"diverged shards {diverged:.0f}", flush=True)
        time.sleep(1)
        touched = up.client.pids != before
        print(f"replicas: processes {'CHANGED: ' if touched else 'unchanged: '}{len(before)} before, "
              f"{len(up.client.pids)} answered in all; requests {up.client.answers} answered, {len(up.client.failures)} failed")
        for failure in up.client.failures[:3]:
            print("note:", failure)
        if whole is None or shown is None or evicted > 0 or diverged > 0 or touched or up.client.failures:
            bad.append("all")
        lines = (up.dir / "crowd.log").read_text().splitlines()
        print("crowd:", next((line.strip() for line in reversed(lines) if "live" in line), "no report yet"))
        if bad:
            up.keep = True
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
