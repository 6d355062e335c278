#!/usr/bin/env python3
"""How long a process takes to end, at random moments and in random states of the network.

    test/perf/shutdowns.py --astra build/release/runtime/astra --trials 1000 [--parallel 4]

Each trial starts one process of a random role whose peers are, at random: well, frozen (SIGSTOP), killed, a port that
never answers (full backlog: SYNs are dropped), a port that accepts and stays silent, or gone; waits for 0 to 1.5 s, sends
SIGTERM and measures until the process is gone.  Prints the distribution and every trial above the limit.
"""
import argparse
import concurrent.futures
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

ROLES = ("node", "resource", "scheduler", "gateway")
STATES = ("well", "frozen", "killed", "dropping", "silent", "gone")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Trial:
    def __init__(self, astra, seed, root):
        self.astra, self.random = astra, random.Random(seed)
        self.dir = pathlib.Path(tempfile.mkdtemp(dir=root))
        self.processes, self.sockets = [], []

    def start(self, name, role, listen, resources):
        file = self.dir / f"{name}.toml"
        text = f'name = "{name}"\nroles = ["{role}"]\nstate_dir = "{self.dir}/{name}"\n'
        text += f"resources = {resources!r}\n".replace("'", '"')
        text += f'[net]\nlisten = "127.0.0.1:{listen}"\n'
        if role == "gateway":
            text += '[gateway]\nlisten = "127.0.0.1:0"\n'
        file.write_text(text)
        log = open(self.dir / f"{name}.log", "w")
        process = subprocess.Popen([self.astra, "run", "-c", str(file)], stderr=log, stdout=log, stdin=subprocess.DEVNULL)
        self.processes.append(process)
        return process

    def run(self):
        role = self.random.choice(ROLES)
        states = [self.random.choice(STATES) for _ in range(2)]
        addresses, peers = [], []
        for i, state in enumerate(states):
            if state in ("dropping", "silent"):
                s = socket.socket()
                s.bind(("127.0.0.1", 0))
                s.listen(0 if state == "dropping" else 64)
                self.sockets.append(s)
                addresses.append(f"127.0.0.1:{s.getsockname()[1]}")
                if state == "dropping":
                    for _ in range(3):
                        c = socket.socket()
                        c.setblocking(False)
                        c.connect_ex(s.getsockname())
                        self.sockets.append(c)
            elif state == "gone":
                addresses.append(f"127.0.0.1:{free_port()}")
            else:
                port = free_port()
                addresses.append(f"127.0.0.1:{port}")
                peers.append((state, self.start(f"peer-{i}", "resource", port, [])))
        victim = self.start("victim", role, 0, addresses)
        time.sleep(self.random.uniform(0.25, 1.5))
        for state, peer in peers:
            if state == "frozen":
                peer.send_signal(signal.SIGSTOP)
            elif state == "killed":
                peer.kill()
        time.sleep(self.random.uniform(0, 0.7))
        if victim.poll() is not None:
            return role, states, -1.0
        began = time.monotonic()
        victim.terminate()
        try:
            victim.wait(10)
        except subprocess.TimeoutExpired:
            pass
        return role, states, time.monotonic() - began

    def clean(self):
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.wait()
        for s in self.sockets:
            s.close()
        shutil.rmtree(self.dir, ignore_errors=True)


def one(astra, seed, root):
    trial = Trial(astra, seed, root)
    try:
        return (seed, *trial.run())
    finally:
        trial.clean()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--astra", required=True)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--parallel", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--limit", type=float, default=0.5, help="seconds")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="astra-shutdowns-") as root:
        with concurrent.futures.ThreadPoolExecutor(args.parallel) as pool:
            jobs = [pool.submit(one, os.path.abspath(args.astra), args.seed + i, root) for i in range(args.trials)]
            results = []
            for job in concurrent.futures.as_completed(jobs):
                results.append(job.result())
                if len(results) % 50 == 0:
                    print(f"{len(results)} of {args.trials}", file=sys.stderr)
    times = sorted(r[3] for r in results if r[3] >= 0)
    early = [r for r in results if r[3] < 0]
    late = [r for r in results if r[3] > args.limit]
    for seed, role, states, took in late + early:
        what = "ended before it was told to" if took < 0 else f"{took * 1000:.0f} ms"
        print(f"seed {seed}: {role} with peers {', '.join(states)}: {what}")
    at = lambda share: times[int(share * (len(times) - 1))] * 1000
    print(f"{len(times)} shutdowns: p50 {at(0.5):.0f} ms, p99 {at(0.99):.0f} ms, max {times[-1] * 1000:.0f} ms; "
          f"{len(late)} above {args.limit * 1000:.0f} ms, {len(early)} ended too early")
    return 1 if late or early else 0


if __name__ == "__main__":
    sys.exit(main())
