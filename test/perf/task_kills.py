#!/usr/bin/env python3
"""Tasks while processes are killed: none is lost, each ends once, and every result is right.

Submits N tasks to one gateway, each with a key of its own, while at random a node, the gateway, the scheduler or the
Resource is killed with SIGKILL and started again.  A submission whose answer was lost is sent again under the same key.
Then every result is fetched and compared.  The app writes down each start, so that work done twice is counted: tasks are
worked on at least once, and how much more is what the kills cost.

    test/perf/task_kills.py --astra build/release/runtime/astra --tasks 2000
    test/perf/task_kills.py --astra build/release/runtime/astra --tasks 100000 --server

--server: replicas are servers instead of a process for each task, which costs a machine with version 1 control groups tens of
milliseconds.
"""
import argparse
import hashlib
import json
import pathlib
import random
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "support"))
from real_cluster import NodesCluster, call, put_app, until  # noqa: E402

# Answers with the SHA-256 of the body, and leaves a line with it for each start.
APP = """
name = "digest"
kind = "process"
mode = "per-request"
command = ["/bin/sh", "-c", "set -- $(sha256sum); echo $1 >> {starts}; sleep {work}; echo $1"]
replicas = {replicas}
concurrency = {concurrency}
timeout = "30s"
idempotent = false
queue_limit = 64
[resources]
cpu = 0.1
memory = "64MiB"
[restart]
backoff_max = "1s"
"""


# The same as a server.
SERVER = """
import hashlib, http.server, sys, time
starts = open(sys.argv[2], "a")
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        digest = hashlib.sha256(self.rfile.read(int(self.headers["Content-Length"]))).hexdigest()
        starts.write(digest + "\\n")
        starts.flush()
        time.sleep(float(sys.argv[3]))
        self.send_response(200)
        self.send_header("Content-Length", "65")
        self.end_headers()
        self.wfile.write(digest.encode() + b"\\n")
    def log_message(self, *_):
        pass
class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 64
Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def as_server(app, directory, starts, work):
    program = directory / "server.py"
    program.write_text(SERVER)
    lines = [line for line in app.splitlines() if not line.startswith("command")]
    command = json.dumps([sys.executable, str(program), "{port}", str(starts), str(work)])
    return "\n".join(lines).replace('mode = "per-request"', f'mode = "server"\ncommand = {command}')


class Cluster(NodesCluster):
    def gateway(self):
        """Where it listens now."""
        return self.told("gateway", "gateway")


class Run:
    def __init__(self, cluster, count, seed, clients, every):
        self.cluster, self.count, self.every = cluster, count, every
        self.random = random.Random(seed)
        self.lock = threading.Lock()
        self.address = cluster.gateway()
        self.next, self.over = 0, threading.Event()
        self.ids, self.kills, self.resent, self.refused, self.problems = {}, {}, 0, 0, []
        self.clients = [threading.Thread(target=self.submit_some) for _ in range(clients)]
        self.killer = threading.Thread(target=self.kill_some)

    @staticmethod
    def body(number):
        return f"task {number}\n".encode() * (1 + number % 200)

    def submit_some(self):
        while True:
            with self.lock:
                number, self.next = self.next, self.next + 1
            if number >= self.count:
                return
            self.submit(number)

    def submit(self, number):
        headers = {"Idempotency-Key": f"task-{number}", "Content-Type": "text/plain", "Astra-Deadline": "6h",
                   "Astra-Priority": str(number % 10)}
        for attempt in range(100_000):
            status, text = call(self.address, "POST", "/v1/apps/digest/tasks", self.body(number), 10.0, headers)
            if status in (200, 202):
                with self.lock:
                    self.ids[number] = json.loads(text)["id"]
                    self.resent += attempt > 0
                return
            if status not in (0, 404, 429, 503):
                with self.lock:
                    self.problems.append(f"task {number}: refused with {status}: {text}")
                return
            with self.lock:
                self.refused += 1
            time.sleep(0.1)

    def kill_some(self):
        while not self.over.wait(self.random.uniform(0.3, 1.7) * self.every):
            name = self.random.choice(["gateway", "gateway", *self.cluster.first, "scheduler", "resource"])
            self.cluster.kill(name)
            self.kills[name] = self.kills.get(name, 0) + 1
            time.sleep(self.random.uniform(0.0, 0.5))
            self.cluster.start(name)
            if name == "gateway":
                self.address = self.cluster.gateway()

    def wait_for(self, number):
        """The task as its gateway tells it when it has ended."""
        until_then = time.monotonic() + 3600
        while time.monotonic() < until_then:
            status, text = call(self.address, "GET", f"/v1/tasks/{self.ids[number]}?wait=30s", timeout=40.0)
            if status == 200:
                task = json.loads(text)
                if task["state"] not in ("queued", "running"):
                    return task
            elif status not in (0, 503):
                return {"state": f"HTTP {status}: {text}"}
            else:
                time.sleep(0.2)
        return {"state": "still not ended after an hour"}

    def result_of(self, number):
        for _ in range(600):
            status, text = call(self.address, "GET", f"/v1/tasks/{self.ids[number]}/result", timeout=10.0)
            if status not in (0, 503):
                return status, text
            time.sleep(0.1)
        return 0, "no answer"

    def check(self, numbers):
        for number in numbers:
            if number not in self.ids:
                continue
            task = self.wait_for(number)
            if task["state"] != "done":
                problem = f"task {number}: {task['state']}: {task.get('reason', '')}"
            else:
                status, text = self.result_of(number)
                right = hashlib.sha256(self.body(number)).hexdigest()
                problem = "" if (status, text.strip()) == (200, right) else f"task {number}: {status}: {text[:200]}"
            if problem:
                with self.lock:
                    self.problems.append(problem)

    def go(self):
        began = time.monotonic()
        self.killer.start()
        for one in self.clients:
            one.start()
        for one in self.clients:
            one.join()
        taken = time.monotonic() - began
        # Killing goes on until most of the work is done; the checks live with it, too.
        checkers = [threading.Thread(target=self.check, args=(range(i, self.count, 4),)) for i in range(4)]
        for one in checkers:
            one.start()
        for one in checkers:
            one.join()
        self.over.set()
        self.killer.join()
        return taken, time.monotonic() - began


def main():
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("--astra", default="build/release/runtime/astra")
    parse.add_argument("--tasks", type=int, default=2000)
    parse.add_argument("--nodes", type=int, default=3)
    parse.add_argument("--replicas", type=int, default=6)
    parse.add_argument("--concurrency", type=int, default=4)
    parse.add_argument("--work", default="0.02", help="seconds that each task sleeps")
    parse.add_argument("--clients", type=int, default=8)
    parse.add_argument("--every", type=float, default=4.0, help="seconds between two kills, on average")
    parse.add_argument("--server", action="store_true", help="replicas are servers")
    parse.add_argument("--seed", type=int, default=1)
    parse.add_argument("--keep", action="store_true", help="leave files and logs behind")
    options = parse.parse_args()
    with Cluster(options.astra, "tasks", options.nodes, options.keep) as cluster:
        starts = cluster.dir / "starts"
        starts.touch()
        app = APP.format(starts=starts, work=options.work, replicas=options.replicas, concurrency=options.concurrency)
        if options.server:
            app = as_server(app, cluster.dir, starts, options.work)
        answer = 0, ""

        def applied():
            nonlocal answer
            answer = put_app(cluster.gateway(), "digest", app)
            return answer[0] not in (0, 503)

        if until(applied) is None or answer[0] != 200:
            sys.exit(f"the app cannot be applied: {answer}")

        def ready():
            status, text = call(cluster.gateway(), "GET", "/v1/apps/digest")
            return status == 200 and json.loads(text).get("ready", 0) == options.replicas

        if until(ready) is None:
            cluster.keep = True
            sys.exit("the app does not get ready: " + call(cluster.gateway(), "GET", "/v1/apps/digest")[1])
        run = Run(cluster, options.tasks, options.seed, options.clients, options.every)
        taken, all_done = run.go()
        lines = starts.read_text().split()
        again = len(lines) - len(set(lines))
        kills = ", ".join(f"{name} {count}" for name, count in sorted(run.kills.items()))
        print(f"{len(run.ids)} of {options.tasks} tasks taken in {taken:.1f} s ({len(run.ids) / taken:.0f} per second), all "
              f"ended after {all_done:.1f} s")
        print(f"{sum(run.kills.values())} kills: {kills}")
        print(f"{run.resent} submissions sent again under their key, {run.refused} answers that were no or none")
        print(f"{len(lines)} starts of work, {again} of them again ({100.0 * again / max(1, len(run.ids)):.2f} %)")
        missing = {hashlib.sha256(Run.body(n)).hexdigest() for n in range(options.tasks)} - set(lines)
        if missing:
            run.problems.append(f"{len(missing)} tasks were never started")
        if run.problems or len(run.ids) != options.tasks:
            cluster.keep = True
            print("\n".join(run.problems[:20]))
            sys.exit(f"FAILED with {len(run.problems)} problems, seed {options.seed}")
        print("every task ended as done with the right result, none was lost")


if __name__ == "__main__":
    main()
