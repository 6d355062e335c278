#!/usr/bin/env python3
"""What a cluster notices of a broken network, and when: real processes in two network namespaces.

    test/perf/net_faults.py --astra build/release/runtime/astra [--rounds 5] [--cut 30] [--cycles 100]

Namespace `a` holds two Resources, a scheduler and a gateway, namespace `b` a node; between them a virtual cable whose
packets iptables drops.  For each fault: seconds until the gateway lists the node as offline, and from its end until the
node is online again and answers a request.  Needs root, iproute2 and iptables.  Sessions are plain TCP between
namespaces, which the files allow in words.
"""
import argparse
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
import urllib.request

A, B = "astra-a", "astra-b"
SENTENCE = "anyone who can connect may command this cluster"


def sh(*words, check=True):
    return subprocess.run(words, check=check, capture_output=True, text=True)


class Cluster:
    def __init__(self, astra):
        self.astra, self.dir, self.processes = os.path.abspath(astra), pathlib.Path(tempfile.mkdtemp()), {}

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
        for i in (0, 1):
            self.start(f"r{i}", A, "resource", f"10.77.0.1:970{i}", resources)
        self.start("s1", A, "scheduler", "10.77.0.1:9710", resources)
        self.start("g1", A, "gateway", "10.77.0.1:9720", resources)
        self.start("n1", B, "node", "10.77.0.2:9730", resources)
        app = self.dir / "echo.toml"
        app.write_text('name = "echo"\nkind = "process"\ncommand = ["cat"]\nper_request = true\nreplicas = 1\n')
        return self

    def start(self, name, space, role, listen, resources):
        text = f'name = "{name}"\nroles = ["{role}"]\nstate_dir = "{self.dir}/{name}"\nresources = {json.dumps(resources)}\n'
        text += f'[net]\nlisten = "{listen}"\ninsecure = "{SENTENCE}"\n[gateway]\nlisten = "127.0.0.1:9750"\n'
        if role != "gateway":
            text = text[: text.index("[gateway]")]
        file = self.dir / f"{name}.toml"
        file.write_text(text)
        log = open(self.dir / f"{name}.log", "a")
        self.processes[name] = subprocess.Popen(["ip", "netns", "exec", space, self.astra, "run", "-c", str(file)],
                                                stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def get(self, path):
        out = sh("ip", "netns", "exec", A, self.astra, *path, "--timeout", "1s", "-o", "json", check=False)
        return json.loads(out.stdout) if out.returncode == 0 and out.stdout.strip() else None

    def state(self):
        nodes = self.get(["node", "list"])
        nodes = nodes if isinstance(nodes, list) else (nodes or {}).get("nodes", [])
        return next((n["state"] for n in nodes if n["name"] == "n1"), None)

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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--astra", required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cut", type=float, default=30)
    parser.add_argument("--cycles", type=int, default=100)
    args = parser.parse_args()
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
        # Short cuts of every length around the timeouts: none may leave a session that does not work.
        lost = []
        for cycle in range(args.cycles):
            up.drop("both", True)
            time.sleep(0.05 * (cycle % 60))
            up.drop("both", False)
            took = up.until("online", 20)
            if took is None:
                lost.append(cycle)
            time.sleep(0.2)
        time.sleep(3)
        print(f"{args.cycles} short cuts: {len(lost)} without recovery; the node is {up.state()} at the end")
    return 1 if bad or lost else 0


if __name__ == "__main__":
    sys.exit(main())
