#!/usr/bin/env python3
"""Who is alive, kept by Astra and by what one could take instead: etcd leases, Redis keys that expire, serf.

    test/perf/compare_liveness.py --astra build/release/runtime/astra --sessions build/release/test/perf_sessions
        [--members 20000] [--deaths 10] [--only astra,etcd,redis,serf]

In one run, one after the other, on this machine.  Wants the Debian packages etcd-server, redis-server (with
redis-tools) and serf; what is not installed is left out, and said so.  Everything listens on the loopback interface,
at ports of the kernel's choice, and keeps its data in memory (/dev/shm).

    etcd    one server; a lease and a key per member; a renewal is LeaseKeepAlive through its JSON gateway, one request
            each over 16 connections.  The gateway's part of the CPU time is in it.
    redis   one server, no persistence; a key with a time to live per member; a renewal is PEXPIRE, by redis-benchmark
            over 50 connections without pipelining.
    astra   one Resource; a renewal is a heartbeat with its load, answered, and every member has a session (a TCP
            connection with a checked identity) of its own, which neither etcd nor Redis was made to hold here.
    serf    every member is an agent that probes the others; there is no server, so only detection is compared.

Renewal: CPU time of the server process per renewal, and what that makes per second and core, whatever the client did.
Memory: growth of the server's resident memory per member.  Detection: a member renews once per second with a time to
live of 3 s, as Astra's nodes do, and its process is killed at a random moment; until a watcher hears of it.  For etcd
and Redis death is silence; Astra sees the end of the connection too: "no new work" is when the member is not online any
more in a gateway's view, "gone" is when it is offline there.
"""
import argparse
import base64
import collections
import http.client
import json
import os
import pathlib
import random
import re
import resource as resource_limits
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

TTL = 3
TICK = os.sysconf("SC_CLK_TCK")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def cpu_s(pid):
    """CPU time of a process in seconds, all of its threads."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def memory(pid):
    """Resident memory in bytes."""
    return int(re.search(r"VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text())[1]) * 1024


def until(condition, limit, pause=0.02):
    end = time.monotonic() + limit
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(pause)
    return False


def middle(values):
    return sorted(values)[len(values) // 2] if values else None


class Processes:
    """Children of one measurement, all gone at its end, and a directory in memory for them."""

    def __enter__(self):
        root = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self.dir, self.all = pathlib.Path(tempfile.mkdtemp(prefix="astra-compare-", dir=root)), []
        return self

    def start(self, *words, name="log"):
        with open(self.dir / f"{name}.log", "a") as log:
            process = subprocess.Popen([str(word) for word in words], stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        self.all.append(process)
        return process

    def __exit__(self, *_):
        for process in self.all:
            if process.poll() is None:
                process.terminate()
        for process in self.all:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self.dir, ignore_errors=True)


def post_all(port, requests, connections=16):
    """POSTs (path, body), each connection one after the other.  Returns the bodies of the answers, in any order."""
    waiting, answers, selector = collections.deque(requests), [], selectors.DefaultSelector()

    def feed(connection):
        if not waiting:
            selector.unregister(connection)
            connection.close()
            return
        path, body = waiting.popleft()
        connection.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())

    for _ in range(min(connections, len(waiting))):
        connection = socket.create_connection(("127.0.0.1", port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        selector.register(connection, selectors.EVENT_READ, bytearray())
        feed(connection)
    while selector.get_map():
        for key, _ in selector.select(10):
            got = key.fileobj.recv(65536)
            if not got:
                raise RuntimeError("the server closed the connection")
            key.data.extend(got)
            head = key.data.find(b"\r\n\r\n")
            if head < 0:
                continue
            if b"chunked" in key.data[:head]:
                if not key.data.endswith(b"0\r\n\r\n"):
                    continue
                body = key.data[head + 4:].split(b"\r\n")[1]
            else:
                length = re.search(rb"(?i)content-length: (\d+)", key.data[:head])
                if len(key.data) < head + 4 + int(length[1]):
                    continue
                body = key.data[head + 4:]
            answers.append(bytes(body))
            key.data.clear()
            feed(key.fileobj)
    return answers


class Renewals:
    """Members that renew once per second, each until it is killed; the watcher tells when it was missed."""

    def __init__(self, renew):
        self.renew, self.alive, self.over = renew, {}, False
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def add(self, member):
        self.alive[member] = time.monotonic() + random.random()

    def kill(self, member):
        del self.alive[member]

    def run(self):
        while not self.over:
            now = time.monotonic()
            for member, due in list(self.alive.items()):
                if due <= now and member in self.alive:
                    self.alive[member] = due + 1
                    self.renew(member)
            time.sleep(0.002)


def deaths(count, renewals, members, heard):
    """Kills one member after the other; seconds until each was heard of."""
    took = []
    for member in members[:count]:
        time.sleep(random.uniform(0.1, 1.1))
        began = time.monotonic()
        renewals.kill(member)
        if until(lambda: member in heard, 30, 0.002):
            took.append(heard[member] - began)
    renewals.over = True
    renewals.thread.join()
    return took


def etcd(args):
    b64 = lambda text: base64.b64encode(text.encode()).decode()
    with Processes() as these:
        port, peer = free_port(), free_port()
        server = these.start("etcd", "--data-dir", these.dir / "data", "--listen-client-urls", f"http://127.0.0.1:{port}",
                             "--advertise-client-urls", f"http://127.0.0.1:{port}", "--listen-peer-urls",
                             f"http://127.0.0.1:{peer}", "--initial-advertise-peer-urls", f"http://127.0.0.1:{peer}",
                             "--initial-cluster", f"default=http://127.0.0.1:{peer}", "--log-level", "error")

        def up():
            try:
                return b"revision" in post_all(port, [("/v3/kv/range", json.dumps({"key": b64("x")}))])[0]
            except (OSError, RuntimeError):
                return False
        if not until(up, 30):
            raise RuntimeError("etcd did not come up")
        before = memory(server.pid)
        grant = lambda i, ttl: ("/v3/lease/grant", json.dumps({"ID": i, "TTL": ttl}))
        put = lambda i: ("/v3/kv/put", json.dumps({"key": b64(f"member/{i}"), "value": b64("127.0.0.1:9700"), "lease": i}))
        post_all(port, [grant(i + 1, 3600) for i in range(args.members)], 64)
        post_all(port, [put(i + 1) for i in range(args.members)], 64)
        per_member = (memory(server.pid) - before) / args.members
        began, used = time.monotonic(), cpu_s(server.pid)
        answers = post_all(port, [("/v3/lease/keepalive", json.dumps({"ID": i + 1})) for i in range(args.members)])
        assert all(b"TTL" in answer for answer in answers)
        used, took = cpu_s(server.pid) - used, time.monotonic() - began
        # Detection: members of their own, and a watch of their keys.
        heard = {}
        watch = http.client.HTTPConnection("127.0.0.1", port)
        watch.request("POST", "/v3/watch", json.dumps({"create_request": {"key": b64("dying/"), "range_end": b64("dying0")}}))
        stream = watch.getresponse()

        def listen():
            try:
                for line in stream:
                    for event in json.loads(line).get("result", {}).get("events", []):
                        if event.get("type") == "DELETE":
                            heard[int(base64.b64decode(event["kv"]["key"]).decode().split("/")[1])] = time.monotonic()
            except (OSError, ValueError, AttributeError, http.client.HTTPException):
                pass
        threading.Thread(target=listen, daemon=True).start()
        members = [args.members + 1 + i for i in range(args.deaths)]
        renewals = Renewals(lambda i: post_all(port, [("/v3/lease/keepalive", json.dumps({"ID": i}))]))
        for i in members:
            post_all(port, [grant(i, TTL), ("/v3/kv/put", json.dumps(
                {"key": b64(f"dying/{i}"), "value": b64("x"), "lease": i}))], 1)
            renewals.add(i)
        found = deaths(args.deaths, renewals, members, heard)
    return {"cpu_us": used / args.members * 1e6, "rate": args.members / took, "memory": per_member, "gone": found}


def redis(args):
    with Processes() as these:
        port = free_port()
        server = these.start("redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
                             "--notify-keyspace-events", "Ex", "--dir", these.dir)
        connect = lambda: socket.create_connection(("127.0.0.1", port))

        def up():
            try:
                connect().close()
                return True
            except OSError:
                return False
        if not until(up, 20):
            raise RuntimeError("redis did not come up")

        def ask(connection, *words):
            connection.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words))
            return connection.recv(4096)
        client = connect()
        before = memory(server.pid)
        for i in range(args.members):
            ask(client, b"SET", b"member:%012d" % i, b"127.0.0.1:9700", b"PX", b"3600000")
        per_member = (memory(server.pid) - before) / args.members
        count = max(200_000, args.members)
        used = cpu_s(server.pid)
        told = subprocess.run(["redis-benchmark", "-p", str(port), "-c", "50", "-n", str(count), "-r", str(args.members), "-q",
                               "PEXPIRE", "member:__rand_int__", "3600000"], capture_output=True, text=True, check=True).stdout
        used = cpu_s(server.pid) - used
        rate = float(re.findall(r"([\d.]+) requests per second", told.replace("\r", "\n"))[-1])
        heard = {}
        listener = connect()
        ask(listener, b"SUBSCRIBE", b"__keyevent@0__:expired")

        def listen():
            try:
                while got := listener.recv(4096):
                    for number in re.findall(rb"dying:(\d+)", got):
                        heard[int(number)] = time.monotonic()
            except OSError:
                pass
        threading.Thread(target=listen, daemon=True).start()
        members = list(range(args.deaths))
        renew = lambda i: ask(client, b"SET", b"dying:%d" % i, b"x", b"PX", b"%d" % (TTL * 1000))
        renewals = Renewals(renew)
        for i in members:
            renew(i)
            renewals.add(i)
        found = deaths(args.deaths, renewals, members, heard)
    return {"cpu_us": used / count * 1e6, "rate": rate, "memory": per_member, "gone": found}


def serf(args):
    """Seven agents with serf's defaults for a local network; one after the other is killed and started again."""
    with Processes() as these:
        agents, ports = {}, {}

        def start(number):
            ports[number] = ports.get(number) or (free_port(), free_port())
            bind, rpc = ports[number]
            words = ["serf", "agent", "-node", f"m{number}", "-bind", f"127.0.0.1:{bind}", "-rpc-addr", f"127.0.0.1:{rpc}"]
            if number > 0:
                words += ["-join", f"127.0.0.1:{ports[0][0]}"]
            agents[number] = these.start(*words, name=f"m{number}")
        for number in range(7):
            start(number)
            time.sleep(0.3)

        def states():
            told = subprocess.run(["serf", "members", "-rpc-addr", f"127.0.0.1:{ports[0][1]}", "-format", "json"],
                                  capture_output=True, text=True).stdout
            try:
                return {member["name"]: member["status"] for member in json.loads(told)["members"]}
            except ValueError:
                return {}
        everybody = lambda: list(states().values()).count("alive") == 7
        if not until(everybody, 30, 0.1):
            raise RuntimeError(f"serf: {states()}")
        time.sleep(5)
        used = sum(cpu_s(agent.pid) for agent in agents.values())
        time.sleep(10)
        used = sum(cpu_s(agent.pid) for agent in agents.values()) - used
        resident = sum(memory(agent.pid) for agent in agents.values()) / 7
        found = []
        for number in range(min(args.deaths, 10)):
            victim = 1 + number % 6
            time.sleep(random.uniform(0.1, 1.1))
            began = time.monotonic()
            agents[victim].kill()
            agents[victim].wait()
            if until(lambda: states().get(f"m{victim}") == "failed", 60, 0.02):
                found.append(time.monotonic() - began)
            start(victim)
            until(everybody, 30, 0.1)
    return {"gone": found, "memory": resident, "cpu_us": used / 70 * 1e6}


def astra(args):
    program = os.path.abspath(args.astra)
    with Processes() as these:
        def configure(name, role, address, more=""):
            (these.dir / f"{name}.toml").write_text(
                f'name = "{name}"\nroles = ["{role}"]\nstate_dir = "{these.dir}/{name}"\nresources = ["{resource}"]\n'
                f'[net]\nlisten = "{address}"\nsessions_max = 30000\n{more}')

        def start(name):
            return these.start(program, "run", "-c", these.dir / f"{name}.toml", name=name)

        def told(name, key, process):
            def ready():
                try:
                    return json.loads((these.dir / name / "run.json").read_text())["pid"] == process.pid
                except (OSError, ValueError, KeyError):
                    return False
            if not until(ready, 30):
                raise RuntimeError(f"{name} did not come up")
            return json.loads((these.dir / name / "run.json").read_text())[key]
        resource = f"127.0.0.1:{free_port()}"
        configure("r1", "resource", resource)
        server = start("r1")
        told("r1", "address", server)
        # Each has a socket here and one there.
        members = min(args.members, resource_limits.getrlimit(resource_limits.RLIMIT_NOFILE)[1] - 2000)
        if members < args.members:
            print(f"astra: {members} members, a process may not have more sockets here (ulimit -Hn)")
        before = memory(server.pid)
        crowd = these.start(os.path.abspath(args.sessions), "--target", resource, "--sessions", members, "--seconds",
                            members / 900 + 60, "--pid", server.pid, name="crowd")
        lines = lambda: (these.dir / "crowd.log").read_text().splitlines()

        def live():
            found = [re.search(r"live (\d+) lost (\d+)  beats (\d+) acks (\d+)", line) for line in lines()]
            found = [tuple(map(int, one.groups())) for one in found if one]
            return found[-1] if found else (0, 0, 0, 0)
        if not until(lambda: live()[0] == members, members / 900 + 40, 0.1):
            raise RuntimeError(f"only {live()[0]} sessions")
        time.sleep(3)
        per_member = (memory(server.pid) - before) / members
        # Its reports come every 5 s: from one to another.
        last = live()
        until(lambda: live() != last, 10, 0.005)
        last, began, used = live(), time.monotonic(), cpu_s(server.pid)
        for _ in range(3):
            then = live()
            until(lambda: live() != then, 10, 0.005)
        beats, took, used = live()[3] - last[3], time.monotonic() - began, cpu_s(server.pid) - used
        crowd.terminate()
        crowd.wait()
    with Processes() as these:
        resource = f"127.0.0.1:{free_port()}"
        configure("r1", "resource", resource)
        configure("g1", "gateway", "127.0.0.1:0", '[gateway]\nlisten = "127.0.0.1:0"\n')
        names = [f"n{i}" for i in range(4)]
        for name in names:
            configure(name, "node", "127.0.0.1:0", '[capacity]\ncores = 1\nmemory = "64MiB"\n')
        start("r1")
        gateway = start("g1")
        host, port = told("g1", "gateway", gateway).rsplit(":", 1)
        nodes = {name: start(name) for name in names}
        connection = http.client.HTTPConnection(host, int(port), timeout=10)

        def state(name):
            connection.request("GET", f"/v1/nodes/{name}")
            return json.loads(connection.getresponse().read()).get("state")
        if not until(lambda: all(state(name) == "online" for name in names), 30):
            raise RuntimeError("the nodes did not come up")
        doubted, gone = [], []
        for number in range(args.deaths):
            name = names[number % len(names)]
            time.sleep(random.uniform(0.1, 1.1))
            began = time.monotonic()
            nodes[name].kill()
            nodes[name].wait()
            if until(lambda: state(name) != "online", 30, 0.002):
                doubted.append(time.monotonic() - began)
            if until(lambda: state(name) == "offline", 30, 0.002):
                gone.append(time.monotonic() - began)
            nodes[name] = start(name)
            until(lambda: state(name) == "online", 30)
            # One that comes and goes too often is damped, which is another thing.
            time.sleep(2)
    return {"cpu_us": used / beats * 1e6, "rate": beats / took, "memory": per_member, "doubted": doubted, "gone": gone}


PROGRAMS = {"astra": "sh", "etcd": "etcd", "redis": "redis-server", "serf": "serf"}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--astra", required=True)
    parser.add_argument("--sessions", required=True, help="the program perf_sessions")
    parser.add_argument("--members", type=int, default=20000)
    parser.add_argument("--deaths", type=int, default=10)
    parser.add_argument("--only", default="astra,etcd,redis,serf")
    args = parser.parse_args()
    found = {}
    for name in args.only.split(","):
        if shutil.which(PROGRAMS[name]) is None:
            print(f"{name}: left out, {PROGRAMS[name]} is not installed")
            continue
        print(f"{name} ...", flush=True)
        found[name] = globals()[name](args)
    print(f"\n{args.members} members; load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    titles = ["", "CPU per renewal", "per second and core", "seen in this run", "memory per member", "no new work p50",
              "gone p50", "gone max", "deaths heard of", "CPU against astra"]
    rows = []
    own = found.get("astra", {}).get("cpu_us")
    for name, one in found.items():
        renews = name != "serf"
        seconds = lambda value: "" if value is None else f"{value:.2f} s"
        rows.append([name, f"{one['cpu_us']:.1f} us" if renews else f"({one['cpu_us']:.0f} us per member and second)",
                     f"{1e6 / one['cpu_us']:,.0f}" if renews else "", f"{one['rate']:,.0f}/s" if renews else "",
                     f"{one['memory'] / 1024:.1f} KiB" + ("" if renews else " (an agent)"),
                     seconds(middle(one.get("doubted", one["gone"]))), seconds(middle(one["gone"])),
                     seconds(max(one["gone"], default=None)), f"{len(one['gone'])}",
                     f"{one['cpu_us'] / own:.2f} x" if renews and own else ""])
    widths = [max(len(row[i]) for row in [titles] + rows) for i in range(len(titles))]
    for row in [titles] + rows:
        print("  ".join(cell.rjust(width) for cell, width in zip(row, widths)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
