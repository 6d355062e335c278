#!/usr/bin/env python3
"""Records what real processes of a cluster say to each other: how the files beside this were made.

    test/runtime/net/captured/record.py --astra build/release/runtime/astra [--out DIR]

Starts two Resources, a scheduler, a gateway and two nodes on the loopback interface, each behind a proxy that it names as
its address; places an app, sends requests to it, lists, drains a node, deletes the app and ends.  Each session becomes
one file: a line per frame with the milliseconds since its beginning, `>` for what the dialler says and `<` for what it
hears, the kind (`hello` or `basp`), and the bytes.  Of what repeats each second only the first few are kept.
"""
import argparse
import asyncio
import collections
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time

ROLES = {"r1": "resource", "r2": "resource", "s1": "scheduler", "g1": "gateway", "n1": "node", "n2": "node"}
KEPT = 4
RESPONSE, REQUEST_BITS = 1 << 63, (1 << 60) - 1


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Side:
    """Cuts one direction into frames: greetings first, then CAF's."""

    def __init__(self):
        self.bytes, self.basp = b"", False

    def take(self, data):
        self.bytes += data
        while True:
            head = 8 if self.bytes[:3] == b"AST" and not self.basp else 32
            if len(self.bytes) < head:
                return
            size = int.from_bytes(self.bytes[4:8], "big")
            if len(self.bytes) < head + size:
                return
            frame, self.bytes = self.bytes[: head + size], self.bytes[head + size :]
            self.basp = self.basp or head == 32
            yield ("basp" if head == 32 else "hello"), frame


class Session:
    def __init__(self, number, to):
        self.number, self.to, self.began, self.frames = number, to, time.monotonic(), []

    def add(self, way, kind, frame):
        self.frames.append((int((time.monotonic() - self.began) * 1000), way, kind, frame))

    def kept(self):
        """Without most of the beats and renewals, and their answers."""
        seen, dropped = collections.Counter(), set()
        for ms, way, kind, frame in self.frames:
            if kind == "basp" and frame[0] == 2:
                data, source, to = (int.from_bytes(frame[i : i + 8], "big") for i in (8, 16, 24))
                identity = data & REQUEST_BITS
                if data & RESPONSE:
                    if (way == ">", to, identity) in dropped:
                        continue
                else:
                    what = (way, source, frame[34:36])
                    seen[what] += 1
                    if seen[what] > KEPT:
                        if identity:
                            dropped.add((way != ">", source, identity))
                        continue
            elif kind == "basp" and frame[0] == 6:
                seen[way] += 1
                if seen[way] > KEPT:
                    continue
            yield ms, way, kind, frame


async def pump(reader, writer, session, way):
    side = Side()
    try:
        while data := await reader.read(65536):
            for kind, frame in side.take(data):
                session.add(way, kind, frame)
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


async def proxy(port, target, name, sessions):
    async def serve(reader, writer):
        try:
            there = await asyncio.open_connection("127.0.0.1", target)
        except OSError:
            writer.close()
            return
        session = Session(len(sessions), name)
        sessions.append(session)
        await asyncio.gather(pump(reader, there[1], session, ">"), pump(there[0], writer, session, "<"))

    return await asyncio.start_server(serve, "127.0.0.1", port)


async def record(astra, out):
    work = pathlib.Path(tempfile.mkdtemp(prefix="astra-record-"))
    processes, sessions, servers = [], [], []
    try:
        ports = {name: (free_port(), free_port()) for name in ROLES}
        resources = [f"127.0.0.1:{ports[name][1]}" for name, role in ROLES.items() if role == "resource"]
        http = free_port()
        for name, role in ROLES.items():
            real, shown = ports[name]
            servers.append(await proxy(shown, real, name, sessions))
            text = f'name = "{name}"\nroles = ["{role}"]\nstate_dir = "{work}/{name}"\nresources = {json.dumps(resources)}\n'
            text += f'[net]\nlisten = "127.0.0.1:{real}"\nadvertise = "127.0.0.1:{shown}"\n'
            text += f'[gateway]\nlisten = "127.0.0.1:{http}"\n' if role == "gateway" else ""
            text += '[node]\nlabels = { zone = "a" }\n' if role == "node" else ""
            (work / f"{name}.toml").write_text(text)
            log = open(work / f"{name}.log", "w")
            processes.append(subprocess.Popen([astra, "run", "-c", str(work / f"{name}.toml")], stdout=log, stderr=log,
                                              stdin=subprocess.DEVNULL))

        async def do(*words, data=b""):
            run = await asyncio.create_subprocess_exec(astra, "--gateway", f"127.0.0.1:{http}", *words,
                                                       stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
                                                       stderr=asyncio.subprocess.PIPE)
            said = await run.communicate(data)
            return run.returncode, b"".join(said).decode(errors="replace")

        until = time.monotonic() + 30
        while (await do("node", "list"))[1].count("online") < 2 and time.monotonic() < until:
            await asyncio.sleep(0.1)
        (work / "echo.toml").write_text('name = "echo"\nkind = "actor"\nreplicas = 2\n[actor]\ntype = "echo"\n')
        (work / "cat.toml").write_text('name = "cat"\nkind = "process"\ncommand = ["cat"]\nmode = "per-request"\nreplicas = 1\n')
        for words, data in ((("app", "apply", str(work / "echo.toml"), "--wait", "20s"), b""),
                            (("app", "apply", str(work / "cat.toml"), "--wait", "20s"), b""),
                            (("invoke", "echo", "--in", "-"), b"hello"), (("invoke", "cat", "--in", "-"), b"a body"),
                            (("invoke", "echo", "--in", "-"), bytes(range(256))), (("app", "show", "echo"), b""),
                            (("router", "table", "echo"), b""), (("node", "drain", "n2"), b""),
                            (("app", "delete", "cat"), b""), (("app", "delete", "nothing"), b"")):
            print(" ".join(words[:2]), await do(*words, data=data))
        await asyncio.sleep(3)
    finally:
        for process in processes:
            process.send_signal(signal.SIGTERM)
        for process in processes:
            try:
                await asyncio.to_thread(process.wait, 10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for server in servers:
            server.close()
        shutil.rmtree(work, ignore_errors=True)
    best = {}
    for session in sessions:
        frames = list(session.kept())
        greeting = next((f for _, way, kind, f in frames if way == ">" and kind == "hello"), b"")
        who = next((name for name in ROLES if b"\x22\x02" + name.encode() in greeting), None)
        if who is None or not any(kind == "basp" for _, _, kind, _ in frames):
            continue
        key = f"{who}-to-{session.to}"
        if key not in best or len(best[key]) < len(frames):
            best[key] = frames
    for key, frames in sorted(best.items()):
        lines = [f"{ms} {way} {kind} {frame.hex()}" for ms, way, kind, frame in frames]
        (out / f"{key}.txt").write_text("\n".join(lines) + "\n")
        print(key, len(frames), "frames")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--astra", required=True)
    parser.add_argument("--out", default=os.path.dirname(os.path.abspath(__file__)))
    args = parser.parse_args()
    asyncio.run(record(os.path.abspath(args.astra), pathlib.Path(args.out)))


if __name__ == "__main__":
    main()
