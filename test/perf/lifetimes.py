#!/usr/bin/env python3
"""Requests that fail while nodes come and go, with real processes.

Nodes live --lifetime seconds on average (exponentially distributed).  A --silent share of them ends without notice (SIGKILL, the
replicas with it); the others are told to drain, end by themselves and are followed by a new process of the same name, as a
machine that was evicted and comes back.  Meanwhile an open stream of requests of --work seconds of service goes through one
gateway, as idempotent work (one that is lost is started a second time) and as work that is not.

    test/perf/lifetimes.py --astra build/release/runtime/astra [--seconds 300] [--lifetime 30] [--silent 0.3]

Aims: 0 failed of 10,000 for idempotent work, and 0 of those that were on nodes which announced their end.  A request fails
when its answer is anything but 200; 429 (all places taken) is counted apart, as the client is told to come back.
"""
import argparse
import collections
import json
import pathlib
import random
import re
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "support"))
from real_cluster import NodesCluster, call, put_app, until  # noqa: E402

APP = """
name = "{name}"
kind = "process"
mode = "per-request"
command = ["/bin/sh", "-c", "sleep {work}; cat"]
replicas = {nodes}
concurrency = 8
timeout = "30s"
idempotent = {idempotent}
queue_limit = 512
[resources]
cpu = 0.5
memory = "64MiB"
[placement]
anti_affinity = [{{ app = "{name}" }}]
"""


class Run:
    def __init__(self, cluster, args):
        self.cluster, self.args = cluster, args
        self.random = random.Random(args.seed)
        self.over = threading.Event()
        self.lock = threading.Lock()
        self.answers = {app: collections.Counter() for app in APPS}
        self.starts = {app: collections.Counter() for app in APPS}
        self.reasons = collections.Counter()
        self.ends = collections.Counter()
        self.last_end = {}
        self.failed_at = collections.Counter()

    def live(self, name):
        """One machine: lives, ends, comes back."""
        draw = random.Random(f"{self.args.seed}/{name}")
        while not self.over.wait(draw.expovariate(1 / self.args.lifetime)):
            process = self.cluster.processes[name]
            kind = "without notice" if draw.random() < self.args.silent else "announced"
            with self.lock:
                self.ends[kind] += 1
                self.last_end[name] = kind
            if kind == "announced":
                process.terminate()
            else:
                process.kill()
            process.wait()
            self.cluster.start(name)

    def ask(self, app, number):
        body = f"{app} {number}"
        host = self.cluster.address
        status, answer = call(host, "POST", f"/v1/apps/{app}/invoke", body, timeout=40.0)
        good = status == 200 and answer == body
        with self.lock:
            self.answers[app]["ok" if good else status or "no answer"] += 1
            if not good:
                try:
                    reason = json.loads(answer)["error"]["message"]
                except (ValueError, KeyError):
                    reason = answer[:100]
                named = re.search(r"node-\d+", reason)
                self.failed_at[self.last_end.get(named.group(), "no end") if named else "no node named"] += 1
                words = "".join(c if not c.isdigit() else "#" for c in reason)
                self.reasons[f"{app} {status}: {words[:110]}"] += 1

    def send(self):
        began, number, threads = time.monotonic(), 0, []
        while time.monotonic() - began < self.args.seconds:
            time.sleep(self.random.expovariate(self.args.rate))
            app = APPS[number % len(APPS)]
            threads.append(threading.Thread(target=self.ask, args=(app, number)))
            threads[-1].start()
            number += 1
            if number % 500 == 0:
                threads = [thread for thread in threads if thread.is_alive()]
                print(f"{number} requests, {sum(self.ends.values())} nodes ended", file=sys.stderr, flush=True)
        for thread in threads:
            thread.join()

    def go(self):
        lives = [threading.Thread(target=self.live, args=(name,)) for name in self.cluster.nodes]
        for life in lives:
            life.start()
        self.send()
        self.over.set()
        for life in lives:
            life.join()


APPS = ["again", "once"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--astra", required=True)
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--lifetime", type=float, default=30.0)
    parser.add_argument("--silent", type=float, default=0.3)
    parser.add_argument("--nodes", type=int, default=8)
    parser.add_argument("--rate", type=float, default=40.0)
    parser.add_argument("--work", type=float, default=0.3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", action="store_true", help="keep the logs")
    args = parser.parse_args()
    threading.stack_size(256 * 1024)
    with NodesCluster(args.astra, "lifetimes", args.nodes, args.keep) as cluster:
        for app in APPS:
            text = APP.format(name=app, nodes=args.nodes, work=args.work, idempotent="true" if app == "again" else "false")
            if until(lambda text=text, app=app: put_app(cluster.address, app, text)[0] == 200, 30, 0.2) is None:
                sys.exit("the app was refused")
        if until(lambda: all(call(cluster.address, "GET", f"/v1/apps/{app}")[1].count('"ready"') >= args.nodes for app in APPS),
                 30) is None:
            sys.exit("the apps did not become ready")
        run = Run(cluster, args)
        run.go()
        print(f"{dict(run.ends)} of nodes that live {args.lifetime:.0f} s, work of {args.work} s")
        failed = 0
        for app in APPS:
            total = sum(run.answers[app].values())
            bad = {status: count for status, count in run.answers[app].items() if status not in ("ok", 429)}
            share = 1e4 * sum(bad.values()) / total
            print(f"{'idempotent' if app == 'again' else 'not idempotent':16}{total} requests: {sum(bad.values())} failed "
                  f"({share:.1f} per 10,000) {bad or ''}, {run.answers[app][429]} times 429")
            failed += sum(bad.values()) if app == "again" else 0
        print(f"failed requests, by how the last end of the node they were at came: {dict(run.failed_at) or 'none'}")
        for reason, count in run.reasons.most_common(8):
            print(f"  {count} x {reason}")
        return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
