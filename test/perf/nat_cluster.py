#!/usr/bin/env python3
"""A model from a site behind one NAT to a site behind another, with real processes in network namespaces.

    test/perf/nat_cluster.py [--kinds restricted,restricted] [--mib 64]

    hub    Resource, scheduler and a node that everybody reaches; on the public network
    a, b   each a node and a gateway behind a NAT of its own; a publishes, b fetches

Kinds: restricted (masquerading that keeps the port; nothing unsolicited comes in), symmetric (another port for each peer), open
(no NAT).  Tells how each node is seen, how long the fetch took, and which nodes had the bytes in the end: `hub` only when a and b
cannot meet.  Needs root, iproute2 and iptables.  Exit code 1: b does not have the right bytes.
"""
import argparse
import hashlib
import json
import pathlib
import shutil
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "support"))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from models import make_source  # noqa: E402
from real_cluster import RealCluster, until  # noqa: E402

HUB = "198.18.0.1"


def sh(*words):
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(words)}: {done.stderr.strip()}")


class Network:
    """Namespaces `<prefix>hub`, and per site `<prefix>X` behind `<prefix>natX`, joined by a bridge in `<prefix>hub`."""

    def __init__(self, prefix):
        self.prefix, self.spaces = prefix, []

    def build(self, kinds):
        self.space("hub")
        self.within("hub", "ip", "link", "add", "net", "type", "bridge")
        self.within("hub", "ip", "addr", "add", f"{HUB}/24", "dev", "net")
        self.within("hub", "ip", "link", "set", "dev", "net", "up")
        for number, (site, kind) in enumerate(kinds.items(), start=1):
            public = f"198.18.0.{10 + number}"
            if kind == "open":
                self.space(site)
                self.plug(site, public)
                continue
            self.space(f"nat{site}")
            self.plug(f"nat{site}", public)
            self.space(site)
            # The same private addresses at each site, as at home.
            self.wire(site, f"nat{site}", "192.168.1.2", "192.168.1.1")
            self.within(site, "ip", "route", "add", "default", "via", "192.168.1.1")
            nat = f"nat{site}"
            self.within(nat, "sysctl", "-qw", "net.ipv4.ip_forward=1")
            rule = ["iptables", "-t", "nat", "-A", "POSTROUTING", "-o", "wan", "-j", "MASQUERADE"]
            self.within(nat, *rule, *(["--random-fully"] if kind == "symmetric" else []))
            for chain, interface in (("FORWARD", "wan"), ("INPUT", "wan")):
                self.within(nat, "iptables", "-A", chain, "-i", interface, "-m", "conntrack", "--ctstate",
                            "ESTABLISHED,RELATED", "-j", "ACCEPT")
                self.within(nat, "iptables", "-A", chain, "-i", interface, "-j", "DROP")

    def space(self, name):
        sh("ip", "netns", "add", self.prefix + name)
        self.spaces.append(self.prefix + name)
        self.within(name, "ip", "link", "set", "dev", "lo", "up")

    def within(self, name, *words):
        sh("ip", "netns", "exec", self.prefix + name, *words)

    def plug(self, name, address):
        port = f"to{name}"
        sh("ip", "link", "add", port, "netns", self.prefix + "hub", "type", "veth", "peer", "name", "wan", "netns",
           self.prefix + name)
        self.within("hub", "ip", "link", "set", "dev", port, "master", "net", "up")
        self.within(name, "ip", "addr", "add", f"{address}/24", "dev", "wan")
        self.within(name, "ip", "link", "set", "dev", "wan", "up")

    def wire(self, inner, outer, inner_address, outer_address):
        sh("ip", "link", "add", "wan", "netns", self.prefix + inner, "type", "veth", "peer", "name", "lan", "netns",
           self.prefix + outer)
        for name, port, address in ((inner, "wan", inner_address), (outer, "lan", outer_address)):
            self.within(name, "ip", "addr", "add", f"{address}/24", "dev", port)
            self.within(name, "ip", "link", "set", "dev", port, "up")

    def end(self):
        for name in self.spaces:
            subprocess.run(["ip", "netns", "del", name], capture_output=True)


class Sites(RealCluster):
    def __init__(self, astra, network, keep):
        super().__init__(astra, "nat", keep=keep)
        self.network = network
        self.addresses = [f"{HUB}:9700"]

    def begin(self, site, roles, listen):
        gateway = '[gateway]\nlisten = "127.0.0.1:0"\n' if "gateway" in roles else ""
        (self.dir / f"{site}.toml").write_text(
            f'name = "{site}"\nroles = {json.dumps(roles)}\nstate_dir = "{self.dir}/{site}"\n'
            f'resources = {json.dumps(self.addresses)}\n[net]\nlisten = "{listen}"\n'
            f'insecure = "anyone who can connect may command this cluster"\n{gateway}')
        self.start(site, prefix=("ip", "netns", "exec", self.network.prefix + site))

    def build(self):
        self.begin("hub", ["resource", "scheduler", "node"], f"{HUB}:9700")
        self.told("hub", "pid")
        for site in ("a", "b"):
            address = subprocess.run(["ip", "netns", "exec", self.network.prefix + site, "hostname", "-I"],
                                     capture_output=True, text=True, check=True).stdout.split()[0]
            self.begin(site, ["node", "gateway"], f"{address}:9700")
        for site in ("a", "b"):
            self.told(site, "pid")

    def cli(self, site, *words, timeout=300):
        return subprocess.run(["ip", "netns", "exec", self.network.prefix + site, self.astra, *words, "--gateway",
                               f"unix:{self.dir}/{site}/gateway.sock"], capture_output=True, text=True, timeout=timeout)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--astra", default="build/release/runtime/astra")
    parser.add_argument("--kinds", default="restricted,restricted", help="of a and b")
    parser.add_argument("--mib", type=int, default=64)
    parser.add_argument("--keep", action="store_true", help="leave logs and files")
    args = parser.parse_args()
    for tool in ("ip", "iptables"):
        if shutil.which(tool) is None:
            sys.exit(f"needs {tool}: apt-get install iproute2 iptables")
    kinds = dict(zip("ab", args.kinds.split(",")))
    network = Network("astra-nat-")
    try:
        network.build(kinds)
        with Sites(args.astra, network, args.keep) as sites:
            digest = make_source(sites.dir / "source", args.mib, 1)

            def reached():
                nodes = json.loads(sites.cli("a", "model", "nodes", "-o", "json").stdout or "{}").get("nodes", [])
                return {node["node"]: node["reachability"] for node in nodes}

            known = until(lambda: len([kind for kind in reached().values() if kind not in ("", "unknown")]) == 3, 60, 0.5)
            print(sites.cli("a", "model", "nodes").stdout + ("" if known else "not all are known\n"), end="")
            told = sites.cli("a", "model", "publish", "m", str(sites.dir / "source"))
            if told.returncode != 0:
                print(told.stdout + told.stderr)
                return 1
            began = time.monotonic()
            told = sites.cli("b", "model", "fetch", "m", "--node", "b")
            took = time.monotonic() - began
            shown = list((sites.dir / "b" / "store" / "contents").glob("*/weights.bin"))
            right = any(hashlib.sha256(path.read_bytes()).hexdigest() == digest for path in shown)
            print(told.stdout + told.stderr, end="")
            print(sites.cli("a", "model", "show", "m").stdout, end="")
            print(f"{args.kinds}: {args.mib} MiB in {took:.1f} s, {'right' if right else 'WRONG'} bytes")
            return 0 if right else 1
    finally:
        network.end()


if __name__ == "__main__":
    sys.exit(main())
