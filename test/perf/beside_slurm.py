#!/usr/bin/env python3
"""Placements per second and processor time per placement, beside Slurm on the same machine.

    test/perf/beside_slurm.py --astra build/release/runtime/astra [--nodes 4] [--cores 60] [--placements 240] [--rounds 3]

Slurm: slurmctld and --nodes slurmd of --cores cores each on loopback, and one job array of --placements jobs that sleep, one
core each; the time is from its submission until all jobs run.  Astra: a Resource, a scheduler, a gateway and as many nodes of
as many cores; one app of --placements actors; the time is from the apply until the gateway says that all are ready.  The
processor time is that of those who place: slurmctld; scheduler and Resource.  Slurm starts a process per job, and Astra an
actor per replica: the times to start are not the same thing, the processor time of those who place is.

Needs root and Debian's packages slurmctld, slurmd, slurm-client (apt-get install --no-install-recommends); Slurm runs with its
own files in a temporary directory and no authentication.  Leaves nothing behind.
"""
import argparse
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from real_cluster import RealCluster, call, cpu_seconds, hold_port, put_app, until


class Slurm:
    def __init__(self, args):
        self.args, self.children = args, []
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="astra-beside-slurm-"))
        self.environment = {**os.environ, "SLURM_CONF": str(self.dir / "slurm.conf")}

    def __enter__(self):
        try:
            self.build()
        except BaseException:
            self.__exit__()
            raise
        return self

    def build(self):
        holders = [hold_port() for _ in range(self.args.nodes + 1)]
        ports = [holder.getsockname()[1] for holder in holders]
        # slurmd and slurmctld do not share a port with its holder.
        for holder in holders:
            holder.close()
        host = os.uname().nodename
        lines = [
            "ClusterName=beside", f"SlurmctldHost={host}(127.0.0.1)", "AuthType=auth/none", "CredType=cred/none", "SlurmUser=root", "SlurmdUser=root", f"SlurmctldPort={ports[0]}",
            f"StateSaveLocation={self.dir}/state", f"SlurmdSpoolDir={self.dir}/spool-%n",
            f"SlurmctldPidFile={self.dir}/slurmctld.pid", f"SlurmdPidFile={self.dir}/slurmd-%n.pid",
            f"SlurmctldLogFile={self.dir}/slurmctld.log", f"SlurmdLogFile={self.dir}/slurmd-%n.log",
            "SlurmdParameters=config_overrides", "SelectType=select/cons_tres", "SelectTypeParameters=CR_Core",
            "ProctrackType=proctrack/pgid", "TaskPlugin=task/none", "SwitchType=switch/none", "MpiDefault=none",
            "SchedulerType=sched/backfill", "SchedulerParameters=sched_min_interval=0,bf_interval=1",
            "ReturnToService=2", "JobAcctGatherType=jobacct_gather/none", "MaxJobCount=100000", "MaxArraySize=100001",
        ]
        for number, port in enumerate(ports[1:], 1):
            lines.append(f"NodeName=n{number} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={self.args.cores} "
                         f"RealMemory=4096 State=UNKNOWN")
        lines.append(f"PartitionName=all Nodes=n[1-{self.args.nodes}] Default=YES MaxTime=INFINITE State=UP")
        (self.dir / "state").mkdir()
        (self.dir / "slurm.conf").write_text("\n".join(lines) + "\n")
        self.run("slurmctld", "-D", "-c")
        for number in range(1, self.args.nodes + 1):
            (self.dir / f"spool-n{number}").mkdir()
            self.run("slurmd", "-D", "-N", f"n{number}")
        if until(lambda: self.ask("sinfo", "-h", "-t", "idle", "-o", "%D").strip() == str(self.args.nodes), 60, 0.1) is None:
            raise RuntimeError(f"Slurm's nodes did not come up: {self.ask('sinfo')} see {self.keep()}")

    def keep(self):
        kept = f"{self.dir}-kept"
        shutil.copytree(self.dir, kept, dirs_exist_ok=True)
        return kept

    def run(self, *words):
        with open(self.dir / "output.log", "a") as log:
            self.children.append(subprocess.Popen(words, env=self.environment, stdout=log, stderr=log,
                                                  stdin=subprocess.DEVNULL, start_new_session=True))

    def ask(self, *words):
        return subprocess.run(words, env=self.environment, capture_output=True, text=True).stdout

    def place(self):
        """Seconds until all jobs run, and the processor time of slurmctld for that."""
        controller = self.children[0].pid
        before, began = cpu_seconds(controller), time.monotonic()
        job = self.ask("sbatch", "--parsable", "-n1", "-c1", f"--array=1-{self.args.placements}", "-o", "/dev/null",
                       "--wrap", "sleep 600").strip()
        wanted = str(self.args.placements)
        took = until(lambda: str(self.ask("squeue", "-h", "-r", "-t", "R", "-o", "%A").count("\n")) == wanted, 300, 0.05)
        used = cpu_seconds(controller) - before
        self.ask("scancel", job)
        until(lambda: not self.ask("squeue", "-h", "-o", "%A").strip(), 120, 0.1)
        return took, used

    def __exit__(self, *_):
        for child in reversed(self.children):
            child.terminate()
        for child in reversed(self.children):
            try:
                child.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
        shutil.rmtree(self.dir, ignore_errors=True)


class Astra(RealCluster):
    def __init__(self, args):
        super().__init__(args.astra, "beside-slurm")
        self.args = args
        self.first = [f"n{i + 1}" for i in range(args.nodes)]

    def build(self):
        self.configure("r1", "resource", listen=self.addresses[0])
        self.configure("s1", "scheduler")
        self.configure("g1", "gateway", '[gateway]\nlisten = "127.0.0.1:0"\n')
        for name in self.first:
            self.configure(name, "node", f'[capacity]\ncores = {self.args.cores}\nmemory = "4GiB"\n')
        for name in ("r1", "s1", "g1", *self.first):
            self.start(name)
        self.gateway = self.told("g1", "gateway")
        until(lambda: self.get("/v1/status").get("nodes", {}).get("online") == self.args.nodes)

    def get(self, path):
        try:
            return json.loads(call(self.gateway, "GET", path)[1])
        except ValueError:
            return {}

    def used(self):
        return sum(cpu_seconds(self.processes[name].pid) for name in ("r1", "s1"))

    def place(self):
        before, began = self.used(), time.monotonic()
        text = (f'name = "jobs"\nreplicas = {self.args.placements}\nkind = "actor"\n[actor]\ntype = "echo"\n'
                '[resources]\ncpu = 1\nmemory = "1MiB"\n')
        if until(lambda: put_app(self.gateway, "jobs", text)[0] == 200, 30, 0.05) is None:
            raise RuntimeError(f"the app cannot be applied: {put_app(self.gateway, 'jobs', text)}")
        ready = lambda: self.get("/v1/apps/jobs").get("ready") == self.args.placements
        took = None if until(ready, 300, 0.02) is None else time.monotonic() - began
        used = self.used() - before
        call(self.gateway, "DELETE", "/v1/apps/jobs")
        until(lambda: call(self.gateway, "GET", "/v1/apps/jobs")[0] == 404, 120, 0.1)
        return took, used


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--astra", required=True)
    parser.add_argument("--nodes", type=int, default=4)
    parser.add_argument("--cores", type=int, default=60)
    parser.add_argument("--placements", type=int, default=240)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    if shutil.which("slurmctld") is None:
        print("slurmctld is missing: apt-get install --no-install-recommends slurmctld slurmd slurm-client", file=sys.stderr)
        return 1
    print(f"{args.placements} placements at once on {args.nodes} nodes of {args.cores} cores, {args.rounds} rounds, best round")
    for title, kind in (("Slurm", Slurm), ("Astra", Astra)):
        with kind(args) as up:
            rounds = [up.place() for _ in range(args.rounds)]
        if any(took is None for took, _ in rounds):
            print(f"{title}: not all ran within 300 s")
            return 1
        took, used = min(took for took, _ in rounds), min(used for _, used in rounds)
        print(f"{title}: all run after {took:.2f} s, {args.placements / took:.0f} per second; "
              f"{1000 * used / args.placements:.2f} ms of processor time per placement")
    return 0


if __name__ == "__main__":
    sys.exit(main())
