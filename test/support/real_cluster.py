"""A cluster of real Astra processes on loopback, for scripts that break it or measure it."""
import http.client
import json
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile
import time


def hold_port():
    """A port of the kernel's choice that stays ours until a child listens on it, as runtime/dev/port_holder does."""
    holder = socket.socket()
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.bind(("127.0.0.1", 0))
    return holder


def call(address, method, path, body=None, timeout=5.0, headers=None):
    """Status and body; status 0: no answer, and nobody knows whether it was heard."""
    host, port = address.rsplit(":", 1)
    connection = http.client.HTTPConnection(host, int(port), timeout=timeout)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read().decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        return 0, repr(error)
    finally:
        connection.close()


def put_app(gateway, name, text, timeout=5.0):
    """Applies an app file."""
    return call(gateway, "PUT", f"/v1/apps/{name}", text, timeout, {"Content-Type": "application/toml"})


def until(condition, limit=60.0, pause=0.02):
    """Seconds until it holds; None when it never does."""
    began = time.monotonic()
    while time.monotonic() - began < limit:
        if condition():
            return time.monotonic() - began
        time.sleep(pause)
    return None


def cpu_seconds(pid):
    """What a process has used of the processor, in user and kernel mode."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class RealCluster:
    """Processes by name, each with its file, its log and its state directory in one temporary directory.

    Ends them all when its `with` block ends, those in `first` first: nodes end their replicas while they can.  `build`, which
    subclasses define, starts them.
    """

    def __init__(self, astra, purpose, resources=1, keep=False):
        self.astra, self.keep = os.path.abspath(astra), keep
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix=f"astra-{purpose}-"))
        self.processes, self.first = {}, []
        self.holders = [hold_port() for _ in range(resources)]
        self.addresses = [f"127.0.0.1:{holder.getsockname()[1]}" for holder in self.holders]

    def configure(self, name, role, more="", listen="127.0.0.1:0"):
        (self.dir / f"{name}.toml").write_text(
            f'name = "{name}"\nroles = ["{role}"]\nstate_dir = "{self.dir}/{name}"\n'
            f'resources = {json.dumps(self.addresses)}\n[net]\nlisten = "{listen}"\n{more}')

    def start(self, name, prefix=()):
        """@param prefix Words before the command, such as those of taskset."""
        with open(self.dir / f"{name}.log", "a") as log:
            self.processes[name] = subprocess.Popen([*prefix, self.astra, "run", "-c", str(self.dir / f"{name}.toml")],
                                                    stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def kill(self, name):
        self.processes[name].kill()
        self.processes[name].wait()

    def told(self, name, key):
        """What the process's run file says, once it is ready."""
        found = {}

        def ready():
            try:
                run = json.loads((self.dir / name / "run.json").read_text())
                if run["pid"] == self.processes[name].pid:
                    found["value"] = run[key]
            except (OSError, ValueError, KeyError):
                pass
            return "value" in found

        if until(ready) is None:
            self.keep = True
            raise RuntimeError(f"{name} did not come up; see {self.dir}")
        return found["value"]

    def build(self):
        raise NotImplementedError

    def before_end(self):
        """What else is to be stopped."""

    def __enter__(self):
        try:
            self.build()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.before_end()
        for names in (self.first, list(self.processes)):
            for name in names:
                if name in self.processes:
                    self.processes[name].terminate()
            for name in names:
                if name in self.processes:
                    try:
                        self.processes[name].wait(20)
                    except subprocess.TimeoutExpired:
                        self.processes[name].kill()
                        self.processes[name].wait()
        for holder in self.holders:
            holder.close()
        if self.keep:
            print(f"logs: {self.dir}")
        else:
            shutil.rmtree(self.dir, ignore_errors=True)


class NodesCluster(RealCluster):
    """A Resource, a scheduler, a gateway, and nodes "node-1", "node-2" and so on."""

    def __init__(self, astra, purpose, nodes, keep=False):
        super().__init__(astra, purpose, keep=keep)
        self.nodes = [f"node-{i + 1}" for i in range(nodes)]

    def about_node(self, name):
        """The rest of a node's file."""
        return '[capacity]\ncores = 4\nmemory = "2GiB"\n'

    def build(self):
        self.first = list(self.nodes)
        self.configure("resource", "resource", listen=self.addresses[0])
        self.configure("scheduler", "scheduler")
        self.configure("gateway", "gateway", '[gateway]\nlisten = "127.0.0.1:0"\n')
        for name in self.nodes:
            self.configure(name, "node", self.about_node(name))
        for name in ["resource", "scheduler", "gateway", *self.nodes]:
            self.start(name)
        self.address = self.told("gateway", "gateway")
