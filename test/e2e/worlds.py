#!/usr/bin/env python3
"""Runs every .astra file of the repository in all three worlds: a cluster that is there, one of astra dev, a simulated one.

    test/e2e/worlds.py --astra build/release/runtime/astra [-k NAME]

Each file must pass everywhere.  What a file without faults prints must be the same in all worlds, but for what depends on
where and when something ran (MASKED).  A simulated run must be the same twice, to its trace.  A file with faults runs in the
cluster that is there by way of its directory, and without that it is refused at the fault's line.
Leaves no process and no file behind.  Exit code 1 when a file fails.
"""
import argparse
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from real_cluster import until

SOURCE = pathlib.Path(__file__).resolve().parents[2]
LIMIT_S = 120  # for what never comes
# Places, moments and identities; the size of a cluster that is larger than the script wants.
MASKED = {"node", "nodes", "resources", "task", "id", "in_state_ms", "restarts", "after_ms", "what"}


def masked(value):
    if isinstance(value, dict):
        return {key: "*" if key in MASKED else masked(one) for key, one in value.items()}
    return [masked(one) for one in value] if isinstance(value, list) else value


def results(done):
    return [masked(json.loads(line)) for line in done.stdout.splitlines()]


class Worlds:
    def __init__(self, astra, work, directory, gateway):
        self.astra, self.work, self.directory, self.gateway = astra, work, directory, gateway

    def run(self, *words):
        environment = {**os.environ, "HOME": str(self.work), "NO_COLOR": "1"}
        for name in ("XDG_STATE_HOME", "XDG_CONFIG_HOME", "ASTRA_GATEWAY"):
            environment.pop(name, None)
        return subprocess.run([self.astra, *map(str, words)], env=environment, cwd=self.work, capture_output=True,
                              text=True, stdin=subprocess.DEVNULL, timeout=LIMIT_S)

    def passed(self, *words):
        done = self.run(*words)
        assert done.returncode == 0, done
        return done

    def sweep(self):
        """A script that stopped in the middle leaves its apps behind."""
        listed = json.loads(self.passed("--gateway", self.gateway, "-o", "json", "app", "list").stdout)
        for app in listed["apps"]:
            self.run("--gateway", self.gateway, "app", "delete", app["name"])
            self.passed("--gateway", self.gateway, "wait", f"app/{app['name']}", "--for", "gone", "--timeout", "60s")

    def check(self, file):
        fault = [number for number, line in enumerate(file.read_text().splitlines(), 1) if line.startswith("fault ")]
        live = ["--gateway", self.gateway, "shell", "--rw", "all worlds", "-o", "ndjson", "-f", file]
        if fault:
            refused = self.run(*live)
            assert refused.returncode == 3, refused
            assert f"{file}:{fault[0]}: a live cluster takes no faults" in refused.stderr, refused
            self.sweep()
            live = ["shell", "--dev", self.directory, "--rw", "all worlds", "-o", "ndjson", "-f", file]
        by_world = {"live": self.passed(*live),
                    "dev": self.passed("dev", "--listen", "127.0.0.1:0", "-o", "ndjson", "-f", file)}
        simulated = [self.passed("sim", "run", file, "--seed", seed, "-o", "ndjson") for seed in (1, 1, 2, 3)]
        by_world["sim"] = simulated[0]
        assert (simulated[0].stdout, simulated[0].stderr) == (simulated[1].stdout, simulated[1].stderr), simulated
        traces = [re.search(r"^passed  seed \d+  .* trace ([0-9a-f]{16})$", one.stderr, re.M).group(1) for one in simulated]
        assert traces[0] == traces[1] and len(set(traces)) == 3, traces
        self.sweep()
        if not fault:
            seen = {world: results(done) for world, done in by_world.items()}
            assert seen["live"] == seen["dev"] == seen["sim"], json.dumps(seen, indent=1)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--astra", required=True)
    parser.add_argument("-k", default="", help="only files whose name contains this")
    arguments = parser.parse_args()
    astra = os.path.abspath(arguments.astra)
    files = sorted(one for one in SOURCE.rglob("*.astra")
                   if not {"build", ".git"} & set(one.relative_to(SOURCE).parts) and arguments.k in one.name)
    work = pathlib.Path(tempfile.mkdtemp(prefix="astra-worlds-"))
    directory = work / "cluster"
    with open(work / "dev.log", "w") as log:
        dev = subprocess.Popen([astra, "dev", "--nodes", "5", "--cores", "4", "--listen", "127.0.0.1:0", "--dir",
                                str(directory)], stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    failed = 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        listing = directory / "cluster.json"
        if until(lambda: listing.exists() or dev.poll() is not None, 120) is None or dev.poll() is not None:
            print((work / "dev.log").read_text())
            return 1
        worlds = Worlds(astra, work, directory, json.loads(listing.read_text())["gateway"])
        for file in files:
            try:
                worlds.check(file)
                print(f"ok    {file.relative_to(SOURCE)}", flush=True)
            except (AssertionError, subprocess.TimeoutExpired, OSError) as error:
                failed += 1
                print(f"FAIL  {file.relative_to(SOURCE)}: {error}", flush=True)
    finally:
        dev.terminate()
        dev.wait()
        shutil.rmtree(work, ignore_errors=True)
    print(f"{len(files)} files, {failed} failed")
    return 1 if failed or not files else 0


if __name__ == "__main__":
    sys.exit(main())
