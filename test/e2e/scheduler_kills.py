#!/usr/bin/env python3
"""Kills the scheduler process of a real cluster again and again, at random moments, while apps are changed.

    test/e2e/scheduler_kills.py --astra build/release/runtime/astra [--kills 200] [--standby] [--nodes 4] [--seed 1]

Real processes on loopback: a Resource, a gateway, --nodes nodes, a scheduler process and, with --standby, a second one that
takes over.  Two apps, one of actors and one of server processes, are scaled and get another environment all the time over
the API.  Each round kills a scheduler process with SIGKILL after a random while, starts it again (with --standby not before
a random while of its own, so that some apps are taken over and others are not), and then waits until

  - every apply that was answered is there: number of replicas and spec are those of the last one, or of one behind it that
    was not answered;
  - as many replicas are ready as are wanted, by the gateway's record and by what the nodes list, each index once;
  - as many processes of the app run as it has replicas, and none of an earlier spec.

At the end the claim logs must verify.  Leaves no process and no file behind.  Exit code 1 when a round is not in order
within --deadline seconds.
"""
import argparse
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from real_cluster import RealCluster, call, put_app

SERVER = ("import socket,os; s=socket.socket(); s.setsockopt(socket.SOL_SOCKET,socket.SO_REUSEADDR,1); "
          "s.bind((\"127.0.0.1\",int(os.environ[\"PORT\"]))); s.listen(); [s.accept()[0].close() for _ in iter(int,1)]")


def marker(value):
    """How a spec is known in the text of one and in a command line."""
    return f"7{value:06d}7"


class Cluster(RealCluster):
    def __init__(self, args):
        super().__init__(args.astra, "kills")
        self.args = args
        self.mark = f"astra-kills-{os.getpid()}-{random.randrange(1 << 40):x}"
        self.schedulers = ["s1", "s2"] if args.standby else ["s1"]
        self.nodes = self.first = [f"n{i + 1}" for i in range(args.nodes)]

    def build(self):
        beat = '[node]\nheartbeat = "250ms"\n'
        self.configure("r1", "resource", beat + '[resource]\nsuspect_after = "400ms"\nevict_after = "1500ms"\n',
                       self.addresses[0])
        self.start("r1")
        self.told("r1", "address")
        for name in self.schedulers:
            self.configure(name, "scheduler", beat + '[scheduler]\nclaim_timeout = "3s"\nclaim_log = "64KiB"\n'
                           'takeover_after = "500ms"\n' + ("standby = true\n" if self.args.standby else ""))
        self.configure("g1", "gateway", '[gateway]\nlisten = "127.0.0.1:0"\n')
        for name in self.nodes:
            self.configure(name, "node", '[node]\nheartbeat = "250ms"\nhome_silence = "2s"\n'
                           '[capacity]\ncores = 8\nmemory = "2GiB"\n')
        for name in (*self.nodes, *self.schedulers, "g1"):
            self.start(name)
        self.gateway = self.told("g1", "gateway")
        for name in (*self.nodes, *self.schedulers):
            self.told(name, "address")

    def __exit__(self, *_):
        super().__exit__()
        for pid in self.marked():
            os.kill(pid, signal.SIGKILL)

    def marked(self, text=""):
        """Processes of this cluster's server app whose command line has this, too."""
        result = []
        for entry in pathlib.Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                line = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            except OSError:
                continue
            if self.mark in line and (not text or text in line):
                result.append(int(entry.name))
        return result


class Wish:
    """What one app is to be like, and what it may be like: applies that nobody answered may or may not have happened."""

    def __init__(self, cluster, name, spec):
        self.cluster, self.name, self.spec = cluster, name, spec
        self.lock, self.may = threading.Lock(), []
        self.answered = self.lost = self.refused = 0

    def apply(self, replicas, value):
        with self.lock:
            status, _ = put_app(self.cluster.gateway, self.name, self.spec(replicas, value), 3.0)
            if status == 200:
                self.may = [(replicas, value)]
                self.answered += 1
            elif status in (400, 409, 404):
                self.refused += 1
            else:
                # 503 is what a gateway says, too, that has lost its scheduler in the middle of the question.
                self.may.append((replicas, value))
                self.lost += 1
            return status

    def problem(self):
        """What is not in order; empty: nothing."""
        cluster = self.cluster
        with self.lock:
            status, text = call(cluster.gateway, "GET", f"/v1/apps/{self.name}")
            if status != 200:
                return f"{self.name}: {status} {text[:200]}"
            app = json.loads(text)
            spec = json.dumps(app.get("spec", app))
            there = [(n, v) for n, v in self.may if n == app["replicas"] and marker(v) in spec]
            if not there:
                return f"{self.name} has {app['replicas']} replicas in {spec[:600]}; may be {self.may}"
            replicas, value = there[-1]
            if app["ready"] != replicas:
                return f"{self.name}: {app['ready']} of {replicas} ready: {app.get('reason')}"
            held = {}
            for node in cluster.nodes:
                status, text = call(cluster.gateway, "GET", f"/v1/nodes/{node}")
                if status != 200:
                    return f"node {node}: {status}"
                for replica in json.loads(text)["replicas"]:
                    if replica["app"] == self.name and replica["state"] != "stopped":
                        held.setdefault(replica["index"], []).append((node, replica["state"]))
            if sorted(held) != list(range(replicas)) or any(len(all_) != 1 or all_[0][1] != "ready" for all_ in held.values()):
                return f"{self.name}: wants {replicas}, nodes hold {held}"
            if self.name == "server":
                pids, current = cluster.marked(), cluster.marked(marker(value))
                if len(pids) != replicas or len(current) != replicas:
                    return f"server: wants {replicas}, {len(pids)} processes run, {len(current)} of the current spec"
            # What was lost is decided now.
            self.may = [(replicas, value)]
            return ""


class Changes(threading.Thread):
    """Scales and updates the apps, all the time."""

    def __init__(self, wishes, draw):
        super().__init__(daemon=True)
        self.wishes, self.draw, self.over, self.pause = wishes, draw, False, threading.Event()
        self.resting = threading.Event()

    def run(self):
        number = 0
        while not self.over:
            if self.pause.is_set():
                self.resting.set()
                time.sleep(0.02)
                continue
            self.resting.clear()
            wish = self.draw.choice(self.wishes)
            number += self.draw.random() < 0.4
            wish.apply(self.draw.randrange(1, 7 if wish.name == "actors" else 4), number)
            time.sleep(self.draw.uniform(0.02, 0.4))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--astra", required=True)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--nodes", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--standby", action="store_true", help="a second scheduler process that takes over")
    parser.add_argument("--deadline", type=float, default=60)
    parser.add_argument("--keep", action="store_true", help="keep the directory with the logs")
    args = parser.parse_args()
    draw = random.Random(args.seed)
    slowest, waits, moved = 0.0, [], 0
    with Cluster(args) as up:
        up.keep = args.keep
        command = json.dumps([sys.executable, "-S", "-E", "-c", SERVER, up.mark])

        def actors(replicas, value):
            return (f'name = "actors"\nreplicas = {replicas}\nkind = "actor"\nqueue_limit = 64\n'
                    f'[actor]\ntype = "counter"\nargs = {{ init = "{marker(value)}" }}\n'
                    '[resources]\ncpu = 0.1\nmemory = "16MiB"\n')

        def server(replicas, value):
            return (f'name = "server"\nreplicas = {replicas}\nkind = "process"\nmode = "server"\n'
                    f'command = {command[:-1]}, "{marker(value)}"]\ntimeout = "1s"\n'
                    '[resources]\ncpu = 0.1\nmemory = "64MiB"\n')

        wishes = [Wish(up, "actors", actors), Wish(up, "server", server)]
        for wish in wishes:
            deadline = time.monotonic() + 60
            while wish.apply(2, 0) != 200:
                if time.monotonic() > deadline:
                    up.keep = True
                    print("the apps cannot be applied:", put_app(up.gateway, wish.name, wish.spec(2, 0)))
                    return 1
                time.sleep(0.2)

        def in_order():
            """Seconds until all is in order; else what is not."""
            began, problem = time.monotonic(), ""
            while time.monotonic() - began < args.deadline:
                problem = next(filter(None, (wish.problem() for wish in wishes)), "")
                if not problem:
                    return time.monotonic() - began
                time.sleep(0.05)
            return problem

        first = in_order()
        if isinstance(first, str):
            up.keep = True
            print("before any kill:", first)
            return 1
        changes = Changes(wishes, random.Random(args.seed + 1))
        changes.start()
        began = time.monotonic()

        def owners():
            apps = json.loads(call(up.gateway, "GET", "/v1/apps")[1]).get("apps", [])
            return {app["name"]: app.get("scheduler") for app in apps}

        for kill in range(args.kills):
            changes.pause.clear()
            before = owners() if args.standby else {}
            time.sleep(draw.uniform(0.0, 1.2))
            victim = draw.choice(up.schedulers)
            up.processes[victim].send_signal(signal.SIGKILL)
            up.processes[victim].wait()
            time.sleep(draw.uniform(0.0, 5.0 if args.standby else 0.3))
            up.start(victim)
            time.sleep(draw.uniform(0.0, 0.5))
            changes.pause.set()
            changes.resting.wait(10)
            took = in_order()
            if isinstance(took, str):
                up.keep = True
                print(f"kill {kill + 1} (of {victim}): after {args.deadline:.0f} s: {took}")
                return 1
            waits.append(took)
            if args.standby:
                after = owners()
                moved += sum(after.get(app) != owner for app, owner in before.items())
            if (kill + 1) % 10 == 0:
                print(f"{kill + 1} kills in {time.monotonic() - began:.0f} s; in order again after at most "
                      f"{max(waits):.2f} s", flush=True)
        changes.over = True
        changes.join(10)
        waits.sort()
        answered = sum(wish.answered for wish in wishes)
        lost = sum(wish.lost for wish in wishes)
        print(f"{args.kills} kills in {time.monotonic() - began:.0f} s: 0 replicas doubled, 0 orphaned, 0 of {answered} "
              f"answered applies lost ({lost} not answered); in order again after {waits[len(waits) // 2]:.2f} s (median), "
              f"{waits[-1]:.2f} s (longest)" + (f"; {moved} times an app changed its scheduler process" if args.standby else ""))
        for name in up.schedulers:
            for wish in wishes:
                log = up.dir / name / "claims" / f"{wish.name}.log"
                files = [str(path) for path in (log.with_name(log.name + ".1"), log) if path.exists()]
                if not files:
                    continue
                checked = subprocess.run([up.astra, "claims", "verify", *files], capture_output=True, text=True)
                print(checked.stdout.strip().replace(str(up.dir), "") or checked.stderr.strip())
                if checked.returncode != 0:
                    up.keep = True
                    return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
