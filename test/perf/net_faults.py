#!/usr/bin/env python3
"""What a cluster notices of a broken network, and when: real processes in two network namespaces.

    test/perf/net_faults.py --astra build/release/runtime/astra [--rounds 5] [--cut 30] [--cycles 1000]

Namespace `a` holds two Resources, a scheduler and a gateway, namespace `b` a node; between them a virtual cable whose
packets iptables drops.  For each fault: seconds until the gateway lists the node as offline, and from its end until the
node is online again.  Then short cuts, one after another, in a cluster whose timeouts are a fraction of the usual ones
and with six nodes and a third Resource on their side: sessions of nodes and of Resources break in most of them.  After each
heal all nodes must be online again; now and then, and at the end, sockets are counted: a session that the other side no
longer has, or a second one between the same processes, is a zombie.  Needs root, iproute2 and iptables.  Sessions are
plain TCP between namespaces, which the files allow in words.
"""
import argparse
import collections
import ctypes
import http.client
import json
import os
import pathlib
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

A, B = "astra-a", "astra-b"
SENTENCE = "anyone who can connect may command this cluster"


def sh(*words, check=True):
    return subprocess.run(words, check=check, capture_output=True, text=True)


class Cluster:
    def __init__(self, astra, quick=False):
        self.astra, self.dir, self.processes = os.path.abspath(astra), pathlib.Path(tempfile.mkdtemp()), {}
        self.quick, self.watcher = quick, None

    def __enter__(self):
        self.__exit__(keep=True)
        for name in (A, B):
            sh("ip", "netns", "add", name)
            sh("ip", "-n", name, "link", "set", "lo", "up")
        sh("ip", "link", "add", "va", "netns", A, "type", "veth", "peer", "name", "vb", "netns", B)
        for name, link, address in ((A, "va", "10.77.0.1/24"), (B, "vb", "10.77.0.2/24")):
            sh("ip", "-n", name, "addr", "add", address, "dev", link)
            sh("ip", "-n", name, "link", "set", link, "up")
        resources = ["10.77.0.1:9700", "10.77.0.1:9701"]
        beyond = ["10.77.0.2:9702"] if self.quick else []
        for i, listen in enumerate(resources + beyond):
            self.start(f"r{i}", B if listen in beyond else A, "resource", listen, resources + beyond)
        self.start("s1", A, "scheduler", "10.77.0.1:9710", resources)
        self.start("g1", A, "gateway", "10.77.0.1:9720", resources)
        self.nodes = [f"n{i + 1}" for i in range(6 if self.quick else 1)]
        for i, name in enumerate(self.nodes):
            self.start(name, B, "node", f"10.77.0.2:{9730 + i}", resources)
        app = self.dir / "echo.toml"
        app.write_text('name = "echo"\nkind = "process"\ncommand = ["cat"]\nper_request = true\nreplicas = 1\n')
        return self

    def start(self, name, space, role, listen, resources):
        text = f'name = "{name}"\nroles = ["{role}"]\nstate_dir = "{self.dir}/{name}"\nresources = {json.dumps(resources)}\n'
        text += f'[net]\nlisten = "{listen}"\ninsecure = "{SENTENCE}"\n[gateway]\nlisten = "127.0.0.1:9750"\n'
        if role != "gateway":
            text = text[: text.index("[gateway]")]
        if self.quick:
            text = text.replace("[net]\n", '[net]\nheartbeat = "100ms"\ntimeout = "500ms"\nedge_timeout = "500ms"\n')
            text += '[node]\nheartbeat = "250ms"\nhome_silence = "600ms"\n' if role == "node" else ""
        file = self.dir / f"{name}.toml"
        file.write_text(text)
        log = open(self.dir / f"{name}.log", "a")
        self.processes[name] = subprocess.Popen(["ip", "netns", "exec", space, self.astra, "run", "-c", str(file)],
                                                stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def watch(self):
        """A connection to the gateway, made inside of its namespace: a socket stays in the one it was made in."""
        libc = ctypes.CDLL(None, use_errno=True)
        with open("/proc/self/ns/net") as own, open(f"/run/netns/{A}") as theirs:
            assert libc.setns(theirs.fileno(), 0) == 0, os.strerror(ctypes.get_errno())
            try:
                connection = http.client.HTTPConnection("127.0.0.1", 9750, timeout=1)
                connection.connect()
                return connection
            finally:
                assert libc.setns(own.fileno(), 0) == 0

    def get(self, path):
        try:
            self.watcher = self.watcher or self.watch()
            self.watcher.request("GET", path)
            return json.loads(self.watcher.getresponse().read())
        except (OSError, ValueError, http.client.HTTPException):
            self.watcher = None
            return {}

    def state(self):
        """The worst that is said of a node."""
        states = [n["state"] for n in self.get("/v1/nodes").get("nodes", []) if n["name"] in self.nodes]
        worse = [state for state in states if state != "online"]
        return None if len(states) < len(self.nodes) else worse[0] if worse else "online"

    def zombies(self):
        """Sockets across the cable whose other half is gone, and sessions too many between the same two processes."""
        sides = []
        for space in (A, B):
            found = {}
            for line in sh("ip", "netns", "exec", space, "ss", "-Htnp", "state", "established").stdout.splitlines():
                words = line.split()
                owner = line.split("pid=")[1].split(",")[0] if "pid=" in line else "none"
                if words[2].startswith("10.77.") and words[3].startswith("10.77."):
                    found[(words[2], words[3])] = owner
            sides.append(found)
        here, there = sides
        crossing = [pair for side in sides for pair in side if pair[0].split(":")[0] != pair[1].split(":")[0]]
        other = lambda pair: (here if pair[0].startswith("10.77.0.2") else there)
        half = [pair for pair in crossing if (pair[1], pair[0]) not in other(pair)]
        peers = collections.Counter()
        for side in sides:
            for (a, b), owner in side.items():
                to = side.get((b, a)) or (there if side is here else here).get((b, a), "none")
                peers[(owner, to)] += 1
        double = {pair: n for pair, n in peers.items() if n > 1}
        return len(half), len(double), len(crossing) // 2

    def until(self, wanted, limit=60):
        began = time.monotonic()
        while time.monotonic() - began < limit:
            if self.state() == wanted:
                return time.monotonic() - began
            time.sleep(0.02)
        return None

    def drop(self, way, on):
        action = "-I" if on else "-D"
        if way in ("both", "in"):
            sh("ip", "netns", "exec", B, "iptables", action, "INPUT", "-i", "vb", "-j", "DROP")
        if way in ("both", "out"):
            sh("ip", "netns", "exec", B, "iptables", action, "OUTPUT", "-o", "vb", "-j", "DROP")

    def pid(self, name):
        return int(sh("pgrep", "-f", f"run -c {self.dir}/{name}.toml").stdout.split()[-1])

    def lasting_zombies(self):
        """TCP needs a while to tell the other half of an end: what is there for longer stays."""
        for _ in range(20):
            time.sleep(1)
            found = self.zombies()
            if found[:2] == (0, 0):
                break
        return found

    def __exit__(self, *_, keep=False):
        for process in self.processes.values():
            process.kill()
            process.wait()
        for name in (A, B):
            pids = sh("ip", "netns", "pids", name, check=False).stdout.split()
            for pid in pids:
                os.kill(int(pid), signal.SIGKILL)
            sh("ip", "netns", "del", name, check=False)
        if not keep:
            shutil.rmtree(self.dir, ignore_errors=True)


def faults(args):
    bad = 0
    with Cluster(args.astra) as up:
        if up.until("online") is None:
            print("the node never came up; see", up.dir)
            os._exit(1)
        for what in ("cut", "one-way cut, node deaf", "one-way cut, node mute", "freeze", "kill"):
            gone, back = [], []
            for _ in range(args.rounds):
                way = {"cut": "both", "one-way cut, node deaf": "in", "one-way cut, node mute": "out"}.get(what)
                begin = time.monotonic()
                if way:
                    up.drop(way, True)
                elif what == "freeze":
                    os.kill(up.pid("n1"), signal.SIGSTOP)
                else:
                    os.kill(up.pid("n1"), signal.SIGKILL)
                gone.append(up.until("offline"))
                time.sleep(max(0, (args.cut if what == "cut" else 6) - (time.monotonic() - begin)))
                if way:
                    up.drop(way, False)
                elif what == "freeze":
                    os.kill(up.pid("n1"), signal.SIGCONT)
                else:
                    up.start("n1", B, "node", "10.77.0.2:9730", ["10.77.0.1:9700", "10.77.0.1:9701"])
                back.append(up.until("online"))
                time.sleep(1)
            show = lambda times: ", ".join("never" if t is None else f"{t:.2f}" for t in times)
            bad += gone.count(None) + back.count(None)
            print(f"{what}: offline after {show(gone)} s; online again after {show(back)} s", flush=True)
    return 1 if bad else 0


def short_cuts(args):
    """Cuts of every length around the timeouts: none may leave a session that does not work."""
    lost, took, zombies, broken = [], [], 0, 0
    with Cluster(args.astra, quick=True) as up:
        if up.until("online") is None:
            print("the node never came up; see", up.dir)
            os._exit(1)
        began = time.monotonic()
        for cycle in range(args.cycles):
            up.drop(("both", "in", "out")[cycle % 3], True)
            time.sleep(0.04 * (cycle % 38))
            broken += up.state() != "online"
            up.drop(("both", "in", "out")[cycle % 3], False)
            back = up.until("online", 20)
            took.append(back)
            if back is None:
                lost.append(cycle)
            time.sleep(0.1)
            if cycle % 50 == 49:
                half, double, sessions = up.lasting_zombies()
                zombies += half + double
                print(f"{cycle + 1} cuts in {time.monotonic() - began:.0f} s: {len(lost)} without recovery, a node away in "
                      f"{broken}; {sessions} sessions across the cable, half open {half}, double {double}", flush=True)
        half, double, sessions = up.lasting_zombies()
        zombies += half + double
        times = sorted(t for t in took if t is not None)
        at = lambda share: times[int(share * (len(times) - 1))]
        closed = sum(open(up.dir / f"{name}.log").read().count("node.rehome") for name in up.nodes)
        print(f"{args.cycles} short cuts: {len(lost)} without recovery {lost[:10]}; online again after p50 {at(0.5):.2f} s, "
              f"p99 {at(0.99):.2f} s, most {times[-1]:.2f} s; nodes changed their home {closed} times; zombies {zombies}; "
              f"{sessions} sessions across the cable at the end, nodes are {up.state()}")
    return 1 if lost or zombies else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--astra", required=True)
    parser.add_argument("--rounds", type=int, default=3, help="of each fault; 0: none")
    parser.add_argument("--cut", type=float, default=30)
    parser.add_argument("--cycles", type=int, default=1000, help="0: none")
    args = parser.parse_args()
    return (faults(args) if args.rounds else 0) | (short_cuts(args) if args.cycles else 0)


if __name__ == "__main__":
    sys.exit(main())
