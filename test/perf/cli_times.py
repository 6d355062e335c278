#!/usr/bin/env python3
"""How long the command line takes, beside other programs, and against a view of a million nodes.

    test/perf/cli_times.py --astra build/release/runtime/astra [--nodes 1000000] [--times 20] [-o json]

One Resource and one gateway, and `astra bench view` that speaks for the nodes.  Everything on this machine, so what is measured
shares it with a million heartbeats per second; --calm stops the nodes' process (SIGSTOP) while a command is measured, which is
what a machine of its own would see (for less than two seconds at a time, so that nobody falls silent).
Times are from fork to exit, or to the first row; memory is the largest resident size of the command, CPU its user and system time,
which other work on the machine changes less than the time on the clock.
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

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from real_cluster import call, hold_port, until


def measure(words, environment):
    """Milliseconds to the first line and to the end, lines, exit code, MiB."""
    began = time.monotonic()
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, env=environment)
    first, lines, peak_kib = None, 0, 0
    status_file = pathlib.Path(f"/proc/{process.pid}/status")
    while piece := os.read(process.stdout.fileno(), 1 << 20):
        # The title of a table is no row.
        if first is None and lines + piece.count(b"\n") >= 2:
            first = time.monotonic()
        lines += piece.count(b"\n")
        # The peak of getrusage() is also that of the process that forked it.
        try:
            peak_kib = max([peak_kib] + [int(line.split()[1]) for line in status_file.read_text().split("\n") if "VmHWM" in line])
        except OSError:
            pass
    process.stdout.close()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    ended = time.monotonic()
    return {"first_ms": ((first or ended) - began) * 1e3, "ms": (ended - began) * 1e3, "lines": lines, "code": process.returncode,
            "mib": peak_kib / 1024, "cpu_ms": (usage.ru_utime + usage.ru_stime) * 1e3}


def repeated(name, words, times, environment, stopped=None):
    runs = []
    for _ in range(times):
        if stopped:
            os.kill(stopped, signal.SIGSTOP)
        try:
            runs.append(measure(words, environment))
        finally:
            if stopped:
                os.kill(stopped, signal.SIGCONT)
                time.sleep(1.0)
    bad = [one for one in runs if one["code"] != 0]
    result = {"what": name, "command": " ".join(words), "runs": len(runs), "failed": len(bad), "lines": runs[-1]["lines"]}
    for key in ("first_ms", "ms", "mib", "cpu_ms"):
        values = sorted(one[key] for one in runs)
        result[key] = {"min": values[0], "median": statistics.median(values), "max": values[-1]}
    return result


def show(one):
    print(f"{one['what']:<44} {one['ms']['min']:9.1f} {one['ms']['median']:9.1f} {one['ms']['max']:9.1f}"
          f" {one['first_ms']['min']:9.1f} {one['first_ms']['median']:9.1f} {one['cpu_ms']['median']:9.1f} {one['mib']['max']:8.1f}"
          f" {one['lines']:9d}"
          + (f"  {one['failed']} failed" if one["failed"] else ""), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--astra", required=True)
    parser.add_argument("--nodes", type=int, default=1_000_000)
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--join-rate", type=int, default=20_000)
    parser.add_argument("--calm", action="store_true", help="the nodes' process stands still while a command is measured")
    parser.add_argument("-o", choices=["table", "json"], default="table")
    arguments = parser.parse_args()
    astra = os.path.abspath(arguments.astra)
    environment = {**os.environ, "ASTRA_GATEWAY": "127.0.0.1:1"}
    results = []

    def add(name, words, times=arguments.times, stopped=None):
        results.append(repeated(name, words, times, environment, stopped))
        if arguments.o == "table":
            show(results[-1])

    if arguments.o == "table":
        print(f"{'':<44} {'min ms':>9} {'median':>9} {'max':>9} {'row min':>9} {'median':>9} {'CPU ms':>9} {'max MiB':>8}"
              f" {'lines':>9}")
    add("astra --version", [astra, "--version"])
    for name, words in (("true", ["true"]), ("bash -c true", ["bash", "-c", "true"]), ("git --version", ["git", "--version"]),
                        ("python3 --version", ["python3", "--version"]), ("python3 -c 0", ["python3", "-c", "0"]),
                        ("kubectl version --client", ["kubectl", "version", "--client"])):
        if path := shutil.which(words[0]):
            add(name, [os.path.realpath(path), *words[1:]])
    work = pathlib.Path(tempfile.mkdtemp(prefix="astra-cli-times-"))
    processes = []
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        holders = [hold_port() for _ in range(2)]
        resource, gateway = (f"127.0.0.1:{holder.getsockname()[1]}" for holder in holders)
        files = {
            "resource": f'name = "resource-1"\nroles = ["resource"]\nresources = ["{resource}"]\nstate_dir = "{work}/r"\n'
                        f'[net]\nlisten = "{resource}"\n',
            "gateway": f'name = "gateway-1"\nroles = ["gateway"]\nresources = ["{resource}"]\nstate_dir = "{work}/g"\n'
                       f'[net]\nlisten = "127.0.0.1:0"\n[gateway]\nlisten = "{gateway}"\n',
        }
        for name, text in files.items():
            (work / f"{name}.toml").write_text(text)
            processes.append(subprocess.Popen([astra, "run", "-c", str(work / f"{name}.toml")], stdin=subprocess.DEVNULL,
                                              stdout=open(work / f"{name}.log", "w"), stderr=subprocess.STDOUT))
        if until(lambda: call(gateway, "GET", "/readyz")[0] == 200, 60) is None:
            print((work / "gateway.log").read_text(), (work / "resource.log").read_text())
            return 1
        environment["ASTRA_GATEWAY"] = gateway
        bench = subprocess.Popen([astra, "bench", "view", "--nodes", str(arguments.nodes), "--resources", resource,
                                  "--subscribers", "1", "--seconds", "3600", "--join-rate", str(arguments.join_rate)],
                                 stdin=subprocess.DEVNULL, stdout=open(work / "bench.log", "w"), stderr=subprocess.STDOUT)
        processes.append(bench)

        def online():
            status, body = call(gateway, "GET", "/v1/status", timeout=30)
            return json.loads(body)["nodes"]["online"] if status == 200 else 0

        began = time.monotonic()
        if until(lambda: online() >= arguments.nodes or bench.poll() is not None, 900, 2.0) is None or bench.poll() is not None:
            print(f"only {online()} nodes came", (work / "bench.log").read_text())
            return 1
        print(f"{online()} nodes are in the gateway's view, {time.monotonic() - began:.0f} s after the first began", file=sys.stderr)
        swarm = None
        if arguments.calm:
            # The bench's children: the one that speaks for the nodes is the largest user of the processor.
            children = [int(pid) for pid in pathlib.Path(f"/proc/{bench.pid}/task/{bench.pid}/children").read_text().split()]
            swarm = next(pid for pid in children if b"swarm" in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes())
        few = max(3, arguments.times // 4)
        add("astra status", [astra, "status"], arguments.times, swarm)
        add("astra node list --limit 10", [astra, "node", "list", "--limit", "10"], arguments.times, swarm)
        add("astra node list --limit 2000", [astra, "node", "list", "--limit", "2000"], arguments.times, swarm)
        add("astra node list", [astra, "node", "list"], few)
        add("astra node list -o name", [astra, "node", "list", "-o", "name"], few)
        add("astra node list -o ndjson", [astra, "node", "list", "-o", "ndjson"], few)
    finally:
        for process in reversed(processes):
            if process.poll() is None:
                process.terminate()
        for process in processes:
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for holder in holders:
            holder.close()
        shutil.rmtree(work, ignore_errors=True)
    if arguments.o == "json":
        print(json.dumps(results, indent=2))
    return 1 if any(one["failed"] for one in results) else 0


if __name__ == "__main__":
    sys.exit(main())
