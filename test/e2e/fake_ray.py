#!/usr/bin/env python3
"""Stands in for the `ray` command: checks the flags of `ray start`, and is a head that workers connect to, or a worker.

With --block it runs until it is told to end; a worker also ends when its head is gone.
"""
import argparse
import os
import signal
import socket
import sys
import threading


def fail(text):
    print("fake ray: " + text, file=sys.stderr, flush=True)
    sys.exit(2)


def port(text):
    number = int(text)
    if not 1 <= number <= 65535:
        raise argparse.ArgumentTypeError("not a port")
    return number


parser = argparse.ArgumentParser(prog="ray start", allow_abbrev=False)
parser.add_argument("--head", action="store_true")
parser.add_argument("--block", action="store_true")
parser.add_argument("--address")
parser.add_argument("--port", type=port)
parser.add_argument("--node-ip-address", required=True)
parser.add_argument("--object-manager-port", type=port, required=True)
parser.add_argument("--node-manager-port", type=port, required=True)
parser.add_argument("--ray-client-server-port", type=port)
parser.add_argument("--num-cpus", type=int, required=True)
parser.add_argument("--num-gpus", type=int, required=True)
parser.add_argument("--temp-dir")
parser.add_argument("--include-dashboard", choices=["true", "false"])
parser.add_argument("--disable-usage-stats", action="store_true")

if sys.argv[1:2] != ["start"]:
    fail("only 'start' is there")
flags = parser.parse_args(sys.argv[2:])
if not flags.block:
    fail("--block is missing: its end would not be noticed")
ports = [x for x in (flags.port, flags.object_manager_port, flags.node_manager_port, flags.ray_client_server_port) if x]
if len(set(ports)) != len(ports):
    fail("two ports are the same")
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
workers = 0

if flags.head:
    if flags.address or not flags.port or not flags.ray_client_server_port:
        fail("a head has --port and --ray-client-server-port, and no --address")
    if not flags.temp_dir or not os.path.isdir(flags.temp_dir):
        fail("--temp-dir is not there")
    listener = socket.create_server((flags.node_ip_address, flags.port))
    print("Ray runtime started.", flush=True)

    def serve(peer):
        global workers
        word = peer.recv(6)
        if word == b"worker":
            workers += 1
            peer.recv(1)
            workers -= 1
        elif word == b"count?":
            peer.sendall(str(workers).encode())
        peer.close()

    while True:
        threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

if not flags.address or flags.port:
    fail("a worker has --address and no --port")
if "RAY_gcs_rpc_server_reconnect_timeout_s" not in os.environ:
    fail("a worker would wait for its head too long")
host, number = flags.address.rsplit(":", 1)
head = socket.create_connection((host, int(number)))
head.sendall(b"worker")
print("Ray runtime started.", flush=True)
head.recv(1)
fail("the head is gone")
