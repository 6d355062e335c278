#!/usr/bin/env python3
"""Runs the sessions that the documentation shows, against real clusters, and compares what comes.

    test/e2e/docs_sessions.py --astra build/release/runtime/astra [-k TEXT] [--list]

A session is a fenced block with lines that begin with "$ ".  Each gets a cluster of `astra dev` of its own, a fresh directory, and
what PREPARED makes there before; one of `astra dev` itself makes its own.  A session with a prompt of the shell is typed into a
pseudo-terminal.  What differs from run to run (times, ids, ports, sizes, which node) is masked on both sides, and lines are compared
in their order, but for the commands in UNORDERED.
A block that cannot be run stands in EXEMPT with the reason; one that is there and is not shown any more is an error, too.
Leaves no process and no file behind.  Exit code 1 when a session is not as shown.
"""
import argparse
import csv
import difflib
import json
import os
import pathlib
import re
import select
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "test/support"))
sys.path.insert(0, str(REPOSITORY / "test/e2e"))
from real_cluster import until
import shell_pty

LIMIT_S = 300.0  # for what never comes
ENDS_S = 60.0  # for a cluster to end
SETTLES_S = 20.0  # for what a cluster needs some moments for

# Its limit is for a machine that does nothing else.
shell_pty.LIMIT_S = LIMIT_S

# The usual one of astra dev may be another cluster's.
ANY_PORT = ["--listen", "127.0.0.1:0"]

# Document and beginning of the first command: why it is not run.
EXEMPT = {
    ("docs/cli.md", "astra man app apply"): "shows a page in a pager; manual.test reads every page",
    ("docs/models.md", "astra model publish ocr-det models"): "needs a model of 25 MB; test.e2e.models",
    ("docs/models.md", "echo '{"): "goes on where the one above ends",
    ("docs/models.md", "astra model limit 30MB/s"): "shows the middle of a transfer of 1 GB; test/perf/models.py",
    ("docs/models.md", "astra model limit 2MB/s"): "shows the middle of a transfer of 256 MB; test/perf/models.py",
    ("docs/models.md", "astra model publish llama"): "needs an HTTP server of files; test.e2e.model_origins",
    ("docs/models.md", "astra model nodes"): "needs nodes behind NATs; test/perf/nat_cluster.py",
    ("docs/observing.md", "astra events -f"): "goes on until ^C; test.e2e.observe",
    ("docs/observing.md", "astra quota list"): "needs Resources with quotas; test.e2e.sharing",
    ("docs/observing.md", "curl"): "needs promtool; metrics.test checks the format",
    ("docs/security.md", "astra ca init"): "part of one account on a cluster with certificates; test.e2e.security",
    ("docs/security.md", "export ASTRA_GATEWAY"): "goes on where the one above ends",
    ("docs/security.md", "astra ca join-token"): "goes on where the one above ends",
    ("docs/security.md", "astra ca revoke"): "goes on where the one above ends",
    ("docs/security.md", "astra --gateway unix:"): "goes on where the one above ends",
    ("docs/simulation.md", "astra sim lint"): "of a file that is not shown; sim commands.test",
    ("docs/simulation.md", "astra sim run strict.toml --seed 1"): "the events of a seed change with every actor; sim tests",
    ("docs/simulation.md", "astra sim replay"): "the events of a seed change with every actor; sim tests",
    ("docs/simulation.md", "printf"): "the events of a seed change with every actor; sim tests",
    ("docs/simulation.md", "astra sim bench"): "measures this machine",
    ("docs/tasks.md", "echo hello"): "kills a gateway that is not of astra dev; test.e2e.tasks",
    ("docs/view.md", "astra bench view"): "takes a machine of 500,000 nodes; test/perf/view_bench.cpp",
}

# What is there before a session: options of its cluster, and commands of a shell.  `EXAMPLES` are config/examples.
ECHO = "cp $EXAMPLES/apps/echo.toml echo.toml"
WIDE = r"""printf 'name = "wide"\nreplicas = 4\nkind = "actor"\n[actor]\ntype = "echo"\n[resources]\ncpu = 3\nmemory = "64MiB"\n' > wide.toml"""
APPS = ["astra app apply $EXAMPLES/apps/echo.toml --wait", "astra app apply $EXAMPLES/apps/ocr.toml --wait"]
LOST = ["kill -9 $(jq '.processes[] | select(.name == \"node-2\").pid' $CLUSTER/cluster.json)",
        "astra wait node/node-2 --for offline", "astra node drain node-3"]
# What `cmake --build build` makes of it with an installed Astra, which test.e2e.actors does.
TALLY = ["astra app new tally .", "mkdir build",
         "${CXX:-c++} -std=c++20 -shared -fPIC -I$ACTOR_HEADERS -o build/libtally_actor.so tally.cpp"]
PREPARED = {
    ("docs/actors.md", "astra app apply tally.toml"): ([], TALLY),
    ("docs/actors.md", "astra model publish tally-actor"): ([], TALLY),
    ("docs/actors.md", "astra worker"): ([], TALLY),
    ("docs/cli.md", "astra app apply echo.toml"): ([], [ECHO, WIDE, "mkdir tiny; head -c 1000 /dev/zero > tiny/weights",
                                                        "astra model publish tiny tiny"]),
    ("docs/cli.md", "astra app list --where"): ([], [ECHO, WIDE, "astra app apply echo.toml --wait",
                                                     "astra node drain node-3", "astra app apply wide.toml",
                                                     "until astra app list -o json | jq -e '.apps[] | select(.ready == 2)'; do sleep 0.1; done"]),
    ("docs/cli.md", "astra debug bundle"): ([], [ECHO, "astra app apply echo.toml --wait"]),
    ("docs/shell.md", "astra shell --rw 'trying' -f five.astra"): ([], [r"printf 'cluster nodes=5\nps\n' > five.astra"]),
    ("docs/observing.md", "astra status"): (["--resources", "3"], APPS),
    ("docs/observing.md", "astra node list --where 'state"): (["--resources", "3"], APPS + LOST),
    ("docs/observing.md", "astra node show"): (["--resources", "3"], APPS + LOST),
}

# Instead of what a reader types.
TYPED = {
    "pkill -9 -f node-2.toml": "kill -9 $(jq '.processes[] | select(.name == \"node-2\").pid' $CLUSTER/cluster.json)",
}

# Reads that a cluster answers as shown only after some moments.
SETTLING = re.compile(r"astra (status|node list|node show|app list|app show|router|events|why|model show|task list)")

# Rows that come in an order of their own.
UNORDERED = re.compile(r"astra status$")

# What names the columns that rows are sorted by.
SORTED = re.compile(r"--sort[ =](\S+)")

# Of the shell, and what is typed behind it.
PROMPTS = re.compile(r"(astra:\S+\[r[ow]\]> |   \.\.\.> )(.*)")

# Masked unless rows are sorted by it.
NODES = (r"\b(node|resource)-\d\b", r"\1-N")

MASKS = [
    (r"\x1b\[[0-9;]*m", ""),
    (r"\b\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+)?Z?", "<time>"),
    (r"\bgateway-\d+\.\d+\.[0-9a-f]{16}\b", "<task>"),
    (r"astra-bundle-\d{8}T\d{6}Z", "astra-bundle-<time>"),
    (r"\b0\.\d{4,}\b", "<number>"),
    (r"\b([0-9a-f]{16}|[0-9a-f]{64})\b|\b\d{13,}\b", "<id>"),
    (r"/tmp/astra-dev-\w+", "<directory>"),
    (r"\b127\.0\.0\.1:\d+", "<address>"),
    (r"\b\d+(\.\d+)? ?(ms|us|s|m|h|d)\b", "<duration>"),
    (r"\b\d+(\.\d+)? (B|[KMGT]i?B)\b", "<size>"),
    (r"\b\d+(\.\d+)? ?%", "<share>"),
    (r"\bnode-\d:\d", "node-N:J"),
    NODES,
    (r"-?\b\d+\.\d+(e[+-]?\d+)?\b|-?\b\d+e[+-]?\d+\b", "<number>"),
    (r"\b(beat|profile|home epoch) \d+", r"\1 <n>"),
    (r"\b\d+ events\b", "<n> events"),
    (r"\b\d{7,}\b", "<n>"),
    # A cluster of astra dev that does not listen at the usual port says so in what it has one try.
    (r"astra --gateway <address> ", "astra "),
    (r"\((\d+)x\)", "(<n>x)"),
    # Which node has how much of what there is.
    (r"(<number>|\d)/4 +<size>", "<n>/4 <size>"),
    (r"(<size> / <size>) +(<share>) +0 +0 +\d", r"\1 \2 0 0 <n>"),
    (r"in view +<duration> +\d +\d", "in view <duration> <n> <n>"),
    (r"(<number>|\d)/4 reserved", "<n> of 4 kept"),
    (r"(<number>|\d+) (busy|reserved)\b", r"<n> \2"),
    (r"\b(ocr|echo)/\d (?= *ready)", "APP/N "),
    (r"node-N,<number>,<n>,.*", "node-N,<number>,<n>,APPS"),
    (r", replica \d\)", ", replica K)"),
    (r"\b\d+ secrets? taken", "<n> secrets taken"),
    (r"\s+", " "),
    # How far a job is by the time that somebody asks.
    (r"node-N (node-N:J) (queued|running|done)$", r"node-N \1 <progress>"),
    # A row of a router's table: weight, terms, slots and counts.
    (r"node-N(?: (?:<number>|-?\d+)){13,}", "node-N <terms>"),
]


def masked(text, names=False):
    """@param names Which node it is does not differ from run to run."""
    for mask in MASKS:
        if not (names and mask is NODES):
            text = re.sub(*mask, text)
    return text.strip()


def masked_lines(lines, names=False):
    """Without those that are empty, without all but one of replicas beside each other, and without what a slow machine tells
    while it waits."""
    result = []
    for line in lines:
        line = masked(line, names)
        waits = re.match(r"app \S+: (\d+/\d+ ready, |the scheduler has not taken it over yet)|publish \S+ <share> ", line)
        if line and not waits and not (line == "APP/N ready" and result[-1:] == [line]):
            result.append(line)
    return result


def sort_keys(text):
    found = SORTED.search(text)
    return found[1].split(",") if found else []


def disorder(text, seen):
    """What is wrong with the order of rows that are sorted: in CSV every value can be read."""
    keys = sort_keys(text)
    if not keys or "-o csv" not in text:
        return None
    key, falls = keys[0].lstrip("-"), keys[0].startswith("-")
    # Lines behind the rows, such as how many are shown, have no such column.
    values = [row[key] for row in csv.DictReader(seen) if None not in row.values() and None not in row]
    if all(re.fullmatch(r"-?\d+(\.\d+)?(e[+-]?\d+)?", value) for value in values):
        values = list(map(float, values))
    if len(values) < 2:
        return f"fewer than two rows have the key {key}"
    return None if values == sorted(values, reverse=falls) else f"not sorted by {keys[0]}: {values}"


class Session:
    def __init__(self, document, number, lines):
        self.document, self.number, self.lines = document, number, lines
        self.commands = [line[2:].split("   #")[0].rstrip() for line in lines if line.startswith("$ ")]

    @property
    def place(self):
        return f"{self.document}:{self.number}"

    def entry(self, table):
        """The key of the table that means this session."""
        for document, begin in table:
            if document == self.document and self.commands[0].startswith(begin):
                return document, begin
        return None

    def is_shell(self):
        return any(PROMPTS.match(line) for line in self.lines)

    def parts(self):
        """Commands, each with the lines that it prints."""
        result = []
        for line in self.lines:
            if line.startswith("$ "):
                result.append((line[2:].split("   #")[0].rstrip(), []))
            elif result:
                result[-1][1].append(line)
        return result


def sessions():
    for path in [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]:
        lines = path.read_text().split("\n")
        begin = None
        for number, line in enumerate(lines):
            if not line.startswith("```"):
                continue
            if begin is None:
                begin = number + 1
                continue
            block = lines[begin:number]
            if any(one.startswith("$ ") for one in block):
                yield Session(str(path.relative_to(REPOSITORY)), begin + 1, block)
            begin = None


class Run:
    """One session in a directory with a cluster of its own."""

    def __init__(self, astra, session):
        self.session = session
        self.work = pathlib.Path(tempfile.mkdtemp(prefix="astra-docs-"))
        self.here = self.work / "here"
        self.here.mkdir()
        binaries = self.work / "bin"
        binaries.mkdir()
        (binaries / "astra").symlink_to(astra)
        # So that paths from the root of the repository are as a reader has them.
        (self.here / "config").symlink_to(REPOSITORY / "config")
        self.environment = {**os.environ, "PATH": f"{binaries}:{os.environ['PATH']}", "HOME": str(self.work), "NO_COLOR": "1",
                            "LC_ALL": "C.UTF-8", "TERM": "xterm", "EXAMPLES": str(REPOSITORY / "config/examples"),
                            "ACTOR_HEADERS": str(REPOSITORY / "actors/sdk/include"),
                            "CLUSTER": str(self.work / "cluster")}
        for name in list(self.environment):
            if name.startswith(("ASTRA_", "XDG_")):
                self.environment.pop(name)
        self.astra, self.dev = astra, None

    def start_cluster(self, options):
        log = open(self.work / "dev.log", "w")
        self.dev = subprocess.Popen(
            [self.astra, "dev", "--nodes", "3", "--cores", "4", "--listen", "127.0.0.1:0", "--dir", self.environment["CLUSTER"],
             *options], stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=self.environment)
        listing = self.work / "cluster/cluster.json"
        if until(lambda: listing.exists() or self.dev.poll() is not None, 120) is None or self.dev.poll() is not None:
            raise AssertionError("no cluster: " + (self.work / "dev.log").read_text())
        self.environment["ASTRA_GATEWAY"] = json.loads(listing.read_text())["gateway"]

    def bash(self, text):
        """Exit code, and what came on both streams."""
        done = subprocess.Popen(["bash", "-c", text], cwd=self.here, env=self.environment, stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            written, _ = done.communicate(timeout=LIMIT_S)
        except subprocess.TimeoutExpired:
            # Its children, too: they would go on.
            os.killpg(done.pid, signal.SIGKILL)
            done.communicate()
            raise
        return done.returncode, written.decode(errors="replace")

    def command(self, text):
        """All that it prints, on both streams, as a terminal shows it."""
        return self.bash(TYPED.get(text, text))[1].splitlines()

    def prepare(self, commands):
        for text in commands:
            code, written = self.bash(text)
            if code != 0:
                raise AssertionError(f"cannot prepare it: {text}: {written}")

    def check(self, parts):
        for text, shown in parts:
            names = any(key.lstrip("-") == "name" for key in sort_keys(text))

            def lines(which):
                result = masked_lines(which, names)
                return sorted(result) if UNORDERED.match(text) else result

            wanted = lines(shown)
            began = time.monotonic()
            while True:
                seen = self.command(text)
                got = lines(seen)
                if got == wanted or not SETTLING.match(text) or time.monotonic() - began > SETTLES_S:
                    break
                time.sleep(0.2)
            wrong = difference(wanted, got) if got != wanted else disorder(text, seen)
            if wrong:
                raise AssertionError(f"$ {text}\n{wrong}\nas it came:\n" + "\n".join(seen))

    def check_shell(self):
        """What is typed into a shell in a terminal, and all that it writes; then the commands behind it."""
        class Home:
            home, gateway, astra = self.here, self.environment.get("ASTRA_GATEWAY", "127.0.0.1:1"), self.astra
        (text, shown), *rest = self.session.parts()
        name, command, *arguments = shlex.split(text)
        if name != "astra" or command not in ("shell", "dev"):
            raise AssertionError(f"$ {text}: neither astra shell nor astra dev")
        if command == "dev":
            arguments += ANY_PORT
        shell = shell_pty.Shell(Home, *arguments, command=command)
        try:
            for line in shown:
                prompt = PROMPTS.match(line)
                if not prompt:
                    continue
                shell.expect(prompt[1])
                if prompt[2] == "^D":
                    break
                shell.type(prompt[2] + "\n")
            shell.leave()
            got, wanted = (masked_lines([line.replace("^D", "").rstrip("\b") for line in text])
                           for text in (on_screen(shell), shown))
            if got != wanted:
                raise AssertionError(difference(wanted, got) + "\nas it came:\n" + shell.seen)
        finally:
            if shell.code is None:
                # astra dev ends its processes and removes its directory when it is asked to.
                os.kill(shell.pid, signal.SIGTERM)
                until(lambda: not shell.read(), ENDS_S)
            shell.end()
        self.check(rest)

    def check_dev(self):
        """`astra dev` itself without a shell, which stays until ^C."""
        (text, shown), = self.session.parts()
        words = [self.astra if word == "astra" else word for word in shlex.split(text)]
        dev = subprocess.Popen([*words, *ANY_PORT], cwd=self.here, env=self.environment, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        written, began = b"", time.monotonic()
        try:
            while written.count(b"\n") < len(shown) and time.monotonic() - began < LIMIT_S:
                if not select.select([dev.stdout], [], [], 0.1)[0]:
                    continue
                piece = os.read(dev.stdout.fileno(), 65536)
                if not piece:
                    break
                written += piece
            dev.send_signal(signal.SIGINT)
            # What it says while it ends is not shown.
            dev.communicate(timeout=ENDS_S)
        finally:
            dev.kill()
            dev.wait()
            dev.stdout.close()
        seen = written.decode(errors="replace").splitlines()
        if masked_lines(seen) != masked_lines(shown):
            raise AssertionError(difference(masked_lines(shown), masked_lines(seen)) + "\nas it came:\n" + "\n".join(seen))

    def run(self):
        options, commands = PREPARED.get(self.session.entry(PREPARED), ([], []))
        first = self.session.commands[0]
        if not any(re.search(r"astra (dev|sim)\b", text) for text in self.session.commands):
            self.start_cluster(options)
        self.prepare(commands)
        if self.session.is_shell():
            self.check_shell()
        elif first.startswith("astra dev"):
            self.check_dev()
        else:
            self.check(self.session.parts())

    def end(self):
        if self.dev is not None and self.dev.poll() is None:
            self.dev.terminate()
            try:
                self.dev.wait(ENDS_S)
            except subprocess.TimeoutExpired:
                self.dev.kill()
                self.dev.wait()
        shutil.rmtree(self.work, ignore_errors=True)


def on_screen(shell):
    """Its lines, without what was written over."""
    return shell_pty.ESCAPES.sub("", re.sub(r"[^\n]*\r\x1b\[K", "", shell.raw.decode(errors="replace"))).split("\n")


def difference(wanted, got):
    return "\n".join(difflib.unified_diff(wanted, got, "shown", "seen", lineterm="", n=1))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--astra", required=True)
    parser.add_argument("-k", default="", help="only sessions whose place or first command contains this")
    parser.add_argument("--list", action="store_true", help="name the sessions and whether they are run")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    failed, ran, shown = 0, 0, set()
    for session in sessions():
        exempt = session.entry(EXEMPT)
        shown.add(exempt)
        shown.add(session.entry(PREPARED))
        name = f"{session.place}  {session.commands[0][:70]}"
        if arguments.k not in name:
            continue
        if arguments.list or exempt:
            print(f"{'not   ' if exempt else 'run   '}{name}" + (f"  ({EXEMPT[exempt]})" if exempt else ""))
            continue
        ran += 1
        run = Run(os.path.abspath(arguments.astra), session)
        try:
            run.run()
            print(f"ok    {name}", flush=True)
        except (AssertionError, subprocess.TimeoutExpired, OSError) as error:
            failed += 1
            print(f"FAIL  {name}\n{error}", flush=True)
        finally:
            run.end()
    for key in [*EXEMPT, *PREPARED]:
        if key not in shown:
            failed += 1
            print(f"FAIL  {key[0]} shows no session that begins with {key[1]!r} any more")
    if not arguments.list:
        print(f"{ran} sessions, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
