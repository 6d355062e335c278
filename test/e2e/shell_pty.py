#!/usr/bin/env python3
"""Types into a real `astra shell` in a pseudo-terminal, against a real cluster.

    test/e2e/shell_pty.py --astra build/release/runtime/astra [-k NAME]

One cluster of `astra dev` for all cases; each case has a shell, a home directory and a history of its own.  A case waits for
what it wants to see and never for an amount of time: the limit, after which it fails, is only there for what never comes.
Leaves no process and no file behind.  Exit code 1 when a case fails.
"""
import argparse
import json
import os
import pathlib
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import fcntl
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from real_cluster import until

LIMIT_S = 60.0  # for what never comes
PROMPT = "astra:local[ro]> "
RW_PROMPT = "astra:local[rw]> "
DEV_PROMPT = "astra:dev[rw]> "
MORE = "...> "
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]|\x1b\([AB0]|\r|\x07")


class Shell:
    """A shell in a terminal of its own.  `seen` is all that it has written, without escape sequences."""

    def __init__(self, case, *arguments, command="shell", term="xterm", columns=200):
        environment = {**os.environ, "HOME": str(case.home), "TERM": term, "LC_ALL": "C.UTF-8", "NO_COLOR": "1",
                       "ASTRA_GATEWAY": case.gateway}
        for name in ("XDG_STATE_HOME", "XDG_CONFIG_HOME"):
            environment.pop(name, None)
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(case.home)
            os.execve(case.astra, [case.astra, command, *arguments], environment)
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
        self.raw, self.at, self.code = b"", 0, None

    @property
    def seen(self):
        return ESCAPES.sub("", self.raw.decode(errors="replace"))

    def read(self, wait=0.1):
        """False: the other side has closed."""
        if not select.select([self.fd], [], [], wait)[0]:
            return True
        try:
            piece = os.read(self.fd, 65536)
        except OSError:
            return False
        self.raw += piece
        return bool(piece)

    def expect(self, text):
        """Waits for a text behind what was expected last."""
        began = time.monotonic()
        while True:
            found = self.seen.find(text, self.at)
            if found >= 0:
                self.at = found + len(text)
                return
            if not self.read() or time.monotonic() - began > LIMIT_S:
                raise AssertionError(f"never saw {text!r}; since then: {self.seen[self.at:]!r}")

    def type(self, text):
        """Writes without ever waiting for a reader who waits for us."""
        data = text.encode()
        while data:
            readable, writable, _ = select.select([self.fd], [self.fd], [], LIMIT_S)
            if readable:
                self.read(0)
            if writable:
                data = data[os.write(self.fd, data[:512]):]
            if not readable and not writable:
                raise AssertionError("the shell takes no input")

    def line(self, text, prompt=PROMPT):
        """Waits for the prompt and types a line."""
        self.expect(prompt)
        self.type(text + "\n")

    def leave(self, key="\x04"):
        """Ends it and gives its exit code.  A ^D is a key only at the prompt: before it the terminal eats it."""
        began = time.monotonic()
        while key and not self.seen.endswith("]> "):
            if not self.read() or time.monotonic() - began > LIMIT_S:
                raise AssertionError(f"no prompt to leave at; since then: {self.seen[self.at:]!r}")
        self.type(key)
        while self.read():
            if time.monotonic() - began > LIMIT_S:
                raise AssertionError(f"does not end; since then: {self.seen[self.at:]!r}")
        return self.wait()

    def wait(self):
        if self.code is None:
            _, status = os.waitpid(self.pid, 0)
            self.code = os.waitstatus_to_exitcode(status)
            os.close(self.fd)
        return self.code

    def end(self):
        if self.code is None:
            os.kill(self.pid, signal.SIGKILL)
            self.wait()


class Case:
    def __init__(self, astra, gateway):
        self.astra, self.gateway = astra, gateway
        self.home = pathlib.Path(tempfile.mkdtemp(prefix="astra-pty-"))
        self.shells = []

    def shell(self, *arguments, **more):
        self.shells.append(Shell(self, *arguments, **more))
        return self.shells[-1]

    def run(self, *arguments, text="", gateway=None):
        """Without a terminal."""
        return subprocess.run([self.astra, "--gateway", gateway or self.gateway, "shell", *arguments], input=text, text=True,
                              capture_output=True, timeout=LIMIT_S, cwd=self.home,
                              env={**os.environ, "HOME": str(self.home), "LC_ALL": "C.UTF-8"})

    def spawn(self, name, what="counter"):
        done = self.run("--rw", "test", "-c", f"spawn {what} name={name} as a", "-c", "await @a ready 60s")
        assert done.returncode == 0, done.stderr

    def end(self):
        for shell in self.shells:
            shell.end()
        shutil.rmtree(self.home, ignore_errors=True)


CASES = []


def case(function):
    CASES.append(function)
    return function


# -- typing ---------------------------------------------------------------------------------------------------------------


@case
def a_line_is_run_and_ctrl_d_leaves(it):
    shell = it.shell()
    shell.line("node list | count")
    shell.expect("\n2\n")
    shell.expect(PROMPT)
    assert shell.leave() == 0


@case
def quit_leaves(it):
    shell = it.shell()
    shell.line("quit")
    assert shell.leave("") == 0


@case
def mistakes_are_told_and_the_shell_goes_on(it):
    shell = it.shell()
    shell.line("ask @c a=")
    shell.expect("1:10: expected a value after =")
    shell.line("stauts")
    shell.expect("no verb 'stauts'; did you mean 'status'?")
    shell.line("node list | count")
    shell.expect("\n2\n")
    assert shell.leave() == 0


@case
def every_command_is_a_verb(it):
    shell = it.shell()
    for words in ("status", "node list", "app list", "events", "version", "model list", "help node list", "quota list"):
        shell.line(words)
        shell.expect("\n")
        shell.expect("\n")
    shell.expect(PROMPT)
    assert "astra:" not in shell.seen.replace("astra:local", ""), shell.seen
    assert shell.leave() == 0


@case
def backspace_and_arrows_edit_the_line(it):
    shell = it.shell()
    shell.expect(PROMPT)
    shell.type("node lisst\x7f\x7ft | counq\x7ft\x01\x05\n")
    shell.expect("\n2\n")
    assert shell.leave() == 0


@case
def utf8_is_typed_edited_and_shown(it):
    it.spawn("parrot", "echo")
    shell = it.shell()
    shell.expect(PROMPT)
    shell.type("ask parrot 'Grüße 你好吗'\x1b[D\x7f朋友\n")
    shell.expect("Grüße 你好朋友   (")
    shell.expect(PROMPT)
    assert shell.leave() == 0


@case
def a_long_line_wraps_and_still_works(it):
    shell = it.shell(columns=40)
    shell.line("node list | where name != '" + "x" * 200 + "' | count")
    shell.expect("\n2\n")
    assert shell.leave() == 0


# -- reading only, and changing --------------------------------------------------------------------------------------------


@case
def without_rw_nothing_is_changed(it):
    shell = it.shell()
    for words in ("spawn counter", "kill nobody", "drain node-1", "app delete nobody", "node drain node-1"):
        shell.line(words)
        shell.expect("the shell may only read; say ':rw REASON'")
    shell.line("app list | where name == counter | count")
    assert shell.leave() == 0


@case
def with_rw_an_app_is_spawned_asked_scaled_and_killed(it):
    shell = it.shell("--rw", "test of the shell")
    shell.line("spawn counter init=40 name=life as c", RW_PROMPT)
    shell.line("await @c ready 60s", RW_PROMPT)
    shell.line("ask @c 2", RW_PROMPT)
    shell.expect("\n42   (")
    shell.line("expect $ == 42", RW_PROMPT)
    shell.line("scale @c 2", RW_PROMPT)
    shell.line("await @c ready 60s", RW_PROMPT)
    shell.line("ps @c | where state == ready | count", RW_PROMPT)
    shell.expect("\n2\n")
    shell.line("kill @c", RW_PROMPT)
    shell.line("await @c gone 60s", RW_PROMPT)
    shell.line(":ro", RW_PROMPT)
    shell.expect(PROMPT)
    assert shell.leave() == 0
    log = pathlib.Path(it.gateway_log).read_text()
    assert re.search(r'audit\.mutation .*what=apply object=life reason="test of the shell" result=ok', log), log[-2000:]


@case
def rw_inside_the_shell_changes_the_prompt(it):
    shell = it.shell()
    shell.line(":rw ticket 4711")
    shell.line(":ro", RW_PROMPT)
    shell.line(":rw")
    shell.expect("say why")
    assert shell.leave() == 0


# -- ^C ----------------------------------------------------------------------------------------------------------------------


@case
def ctrl_c_clears_the_line(it):
    shell = it.shell()
    shell.expect(PROMPT)
    shell.type("this is not what I meant\x03")
    shell.expect("^C")
    shell.line("node list | count")
    shell.expect("\n2\n")
    assert "no verb" not in shell.seen
    assert shell.leave() == 0


@case
def ctrl_c_leaves_a_block(it):
    shell = it.shell()
    shell.line("for i in 1..3 {")
    shell.expect(MORE)
    shell.type("\x03")
    shell.line("node list | count")
    shell.expect("\n2\n")
    assert shell.leave() == 0


@case
def ctrl_c_ends_a_slow_ask_and_not_the_shell(it):
    it.spawn("slow", "burn")
    shell = it.shell()
    shell.line("ask slow 3000000")
    # It is under way once the cluster says so.
    assert until(lambda: "1" in it.run("-c", "router table slow | where in_flight > 0 | count").stdout.split(), LIMIT_S)
    shell.type("\x03")
    shell.expect("interrupted")
    shell.line("node list | count")
    shell.expect("\n2\n")
    assert shell.leave() == 0


@case
def ctrl_c_ends_every_and_watch(it):
    shell = it.shell()
    shell.line("every 10ms { node list | count }")
    for _ in range(3):
        shell.expect("2\n")
    shell.type("\x03")
    shell.line("events -f")
    shell.expect("TIME (UTC)")
    shell.type("\x03")
    shell.line("version")
    shell.expect("astra 0")
    assert shell.leave() == 0


@case
def ctrl_c_many_times_is_survived(it):
    shell = it.shell()
    shell.expect(PROMPT)
    for _ in range(20):
        shell.type("x\x03")
    shell.type("node list | count\n")
    shell.expect("\n2\n")
    assert shell.leave() == 0


# -- completion and history --------------------------------------------------------------------------------------------------


@case
def tab_completes_verbs_commands_options_and_names(it):
    shell = it.shell()
    shell.expect(PROMPT)
    shell.type("stat\t")
    shell.expect("status ")
    shell.type("\x15node li\t--wh\t")
    shell.expect("node list --where ")
    shell.type("\x15drain no\t")
    shell.expect("drain node-")
    shell.type("\t")
    shell.expect("node-1  node-2")
    shell.type("\x15node list | co\t\n")
    shell.expect("\n2\n")
    assert shell.leave() == 0


@case
def tab_completes_apps_and_files(it):
    it.spawn("tabulator", "echo")
    (it.home / "lonely.toml").write_text("")
    shell = it.shell()
    shell.expect(PROMPT)
    shell.type("ask @tabu\thello\n")
    shell.expect("\nhello   (")
    shell.expect(PROMPT)
    shell.type("app apply lone\t")
    shell.expect("app apply lonely.toml ")
    shell.type("\x03")
    assert shell.leave() == 0


@case
def tab_does_not_hang_without_a_gateway(it):
    it.gateway = "127.0.0.1:1"
    shell = it.shell()
    shell.expect(PROMPT)
    shell.type("ask @x\t\x15version\n")
    shell.expect("astra 0")
    assert shell.leave() == 0


@case
def history_is_found_in_the_next_session(it):
    first = it.shell()
    first.line("node list | where name != nobody | count")
    first.expect("\n2\n")
    assert first.leave() == 0
    kept = it.home / ".local/state/astra/history"
    assert kept.stat().st_mode & 0o777 == 0o600
    second = it.shell()
    second.expect(PROMPT)
    second.type("\x12nobody\x1b\n")
    second.expect("\n2\n")
    second.expect(PROMPT)
    second.type("\x1b[A\n")
    second.expect("\n2\n")
    assert second.leave() == 0


# -- blocks and pastes ---------------------------------------------------------------------------------------------------------


@case
def a_block_has_a_prompt_of_its_own(it):
    shell = it.shell()
    shell.line("for i in 1..3 {")
    shell.line("  node list | count", MORE)
    shell.line("}", MORE)
    for _ in range(3):
        shell.expect("2\n")
    assert shell.leave() == 0


@case
def a_paste_of_10000_lines_inside_a_block(it):
    shell = it.shell()
    shell.expect(PROMPT)
    shell.type("for i in 1..1 {\n" + "\n".join(f"  expect $i < {n}" for n in range(2, 10_001)) + "\n}\nversion\n")
    shell.expect("astra 0")
    assert "expected" not in shell.seen
    assert shell.leave() == 0


@case
def a_paste_of_10000_lines(it):
    shell = it.shell()
    shell.expect(PROMPT)
    shell.type(":mode json\n" + "# a comment\nexpect $ != 5\n" * 5000 + "version\n")
    shell.expect("astra 0")
    assert "expected" not in shell.seen
    assert shell.leave() == 0


# -- terminals that can do less -------------------------------------------------------------------------------------------------


@case
def a_dumb_terminal_does(it):
    shell = it.shell(term="dumb")
    shell.line("node list | count")
    shell.expect("\n2\n")
    shell.expect(PROMPT)
    assert b"\x1b" not in shell.raw
    shell.type("half a li")
    shell.expect("half a li")
    shell.type("\x03")
    shell.line("version")
    shell.expect("astra 0")
    shell.expect(PROMPT)
    assert shell.leave() == 0


@case
def a_window_changes_its_size(it):
    shell = it.shell()
    shell.expect(PROMPT)
    shell.type("node li")
    fcntl.ioctl(shell.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 20, 60, 0, 0))
    os.kill(shell.pid, signal.SIGWINCH)
    shell.type("st | count\n")
    shell.expect("\n2\n")
    assert shell.leave() == 0


# -- scripts ---------------------------------------------------------------------------------------------------------------------


@case
def c_runs_statements_in_order(it):
    done = it.run("-c", "node list | count as n", "-c", "expect $n == 2; $n")
    assert (done.returncode, done.stdout, done.stderr) == (0, "2\n2\n", ""), done


@case
def stdin_without_a_terminal_has_no_prompt(it):
    done = it.run(text="node list | count\nfor i in 1..2 {\n  node list | count\n}\n")
    assert (done.returncode, done.stdout, done.stderr) == (0, "2\n2\n2\n", ""), done


@case
def a_script_with_a_mistake_in_line_3_ends_with_its_place_and_code_3(it):
    script = it.home / "check.astra"
    script.write_text("node list | count\n\nexpect $ == 3\nversion\n")
    done = it.run("-f", str(script))
    assert done.returncode == 3 and done.stdout == "2\n", done
    assert done.stderr == f"{script}:3: expected $ == 3; $ is 2\n", done
    script.write_text("node list | count\n\nask @c a=\n")
    done = it.run("-f", str(script))
    # Nothing is begun of what cannot be read to its end.
    assert (done.returncode, done.stdout) == (3, ""), done
    assert done.stderr == f"{script}:3:10: expected a value after =\n", done


@case
def stdin_stops_at_the_first_failure(it):
    done = it.run(text="node list | count\nnode show nobody\nversion\n")
    assert done.returncode == 3 and done.stdout == "2\n", done
    assert done.stderr.startswith("stdin:2: ") and "nobody" in done.stderr, done


@case
def modes_are_for_programs(it):
    for words in (["-o", "ndjson", "-c", "node list | select name, state"],
                  ["-c", ":mode ndjson", "-c", "node list | select name, state"]):
        done = it.run(*words)
        rows = [json.loads(line) for line in done.stdout.splitlines()]
        assert sorted(row["name"] for row in rows) == ["node-1", "node-2"], done
    done = it.run("-o", "csv", "-c", "node list | sort name | select name, state")
    assert done.stdout.splitlines() == ["name,state", "node-1,online", "node-2,online"], done
    done = it.run("-o", "json", "-c", "status")
    assert json.loads(done.stdout)["nodes"]["online"] == 2, done


# -- a cluster of one's own -----------------------------------------------------------------------------------------------


def alive(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def own_cluster(it, *arguments):
    """A shell of astra dev, and what cluster.json says."""
    directory = it.home / "cluster"
    shell = it.shell("--nodes", "2", "--cores", "4", "--listen", "127.0.0.1:0", "--dir", str(directory), *arguments,
                     command="dev")
    shell.expect(DEV_PROMPT if not arguments else "^C ends the cluster")
    return shell, directory


def processes(directory):
    return {one["name"]: one["pid"] for one in json.loads((directory / "cluster.json").read_text())["processes"]}


@case
def dev_ends_in_a_shell_that_may_change(it):
    shell, directory = own_cluster(it)
    pids = processes(directory)
    shell.type("spawn counter init=40 as c\n")
    shell.line("await @c ready 60s", DEV_PROMPT)
    shell.line("ask @c 2", DEV_PROMPT)
    shell.expect("\n42   (")
    shell.expect(DEV_PROMPT)
    shell.type("half a li\x03")
    shell.line("node list | count", DEV_PROMPT)
    shell.expect("\n2\n")
    shell.expect(DEV_PROMPT)
    shell.type("\x04")
    shell.expect("ending the cluster")
    assert shell.leave("") == 0
    assert len(pids) == 5 and not any(alive(pid) for pid in pids.values()), pids


@case
def dev_ends_by_quit_and_by_a_signal_with_the_terminal_as_it_was(it):
    shell, directory = own_cluster(it)
    pids = processes(directory)
    shell.type("quit\n")
    assert shell.leave("") == 0
    assert not any(alive(pid) for pid in pids.values()), pids
    shutil.rmtree(directory)
    shell, directory = own_cluster(it)
    pids = processes(directory)
    shell.type("half a li")
    shell.expect("half a li")
    os.kill(shell.pid, signal.SIGTERM)
    shell.expect("ending the cluster")
    # Echo and whole lines, as before; on the pty both sides have the same.
    flags = termios.tcgetattr(shell.fd)[3]
    assert flags & termios.ECHO and flags & termios.ICANON, flags
    assert shell.leave("") == 0
    assert not any(alive(pid) for pid in pids.values()), pids


@case
def dev_takes_faults_and_the_prompt_stays_clean(it):
    shell, directory = own_cluster(it)
    before = processes(directory)
    shell.type("fault kill node-2 1s\n")
    shell.expect("fault    kill")
    shell.expect(DEV_PROMPT)
    assert not alive(before["node-2"])
    assert until(lambda: processes(directory)["node-2"] != before["node-2"], 60)
    shell.type("fault kil node-2\n")
    shell.expect("astra dev has no fault 'kil'; did you mean 'kill'?")
    shell.line("fault stall nod-1 1s", DEV_PROMPT)
    shell.expect("no process 'nod-1'; did you mean 'node-1'?")
    shell.line("fault stop node-1 100ms", DEV_PROMPT)
    shell.expect("fault    stop")
    shell.expect(DEV_PROMPT)
    # Another one dies unasked: that is told when the terminal is free again.
    os.kill(processes(directory)["scheduler-1"], signal.SIGKILL)
    shell.type("status | select gateway\n")
    shell.expect(DEV_PROMPT)
    assert "scheduler-1 (pid" not in shell.seen, shell.seen
    shell.type("\x04")
    shell.expect("scheduler-1 (pid")
    shell.expect("killed by signal 9")
    assert shell.leave("") == 0


@case
def dev_without_a_shell_runs_until_ctrl_c(it):
    shell, directory = own_cluster(it, "--no-shell")
    pids = processes(directory)
    assert "astra:dev" not in shell.seen
    shell.type("\x03")
    shell.expect("ending the cluster")
    assert shell.leave("") == 0
    assert not any(alive(pid) for pid in pids.values()), pids


@case
def dev_runs_a_script_and_ends_with_its_code(it):
    def dev(*words):
        return subprocess.run([it.astra, "dev", "--listen", "127.0.0.1:0", *words], stdin=subprocess.DEVNULL, text=True,
                              capture_output=True, timeout=LIMIT_S, cwd=it.home, env={**os.environ, "HOME": str(it.home)})

    good, bad, wrong = it.home / "good.astra", it.home / "bad.astra", it.home / "wrong.astra"
    good.write_text("cluster nodes=4\nnode list | count\n")
    done = dev("-o", "ndjson", "-f", "good.astra")
    assert (done.returncode, done.stdout, done.stderr) == (0, '{"nodes":4,"resources":1}\n4\n', ""), done
    bad.write_text("ps\nexpect $ == 17\n")
    done = dev("-f", "bad.astra")
    assert (done.returncode, done.stderr) == (3, "bad.astra:2: expected $ == 17; $ is []\n"), done
    wrong.write_text("cluster nodes=4\nps | wher\n")
    done = dev("-f", "wrong.astra")
    assert (done.returncode, done.stdout) == (3, ""), done
    assert done.stderr == "wrong.astra:2:6: expected where, sort, top, limit, select or count\n", done
    # What the command line says goes before, and the script says what it lacks.
    done = dev("--nodes", "1", "-f", "good.astra")
    assert done.returncode == 3 and "good.astra:1: this cluster has 1 node, and the script is for 4" in done.stderr, done
    done = dev("-c", "cluster nodes=2", "-c", "node list | count", "-o", "csv")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "2"), done


@case
def a_session_is_recorded_and_does_the_same_again(it):
    shell = it.shell("--rw", "test")
    shell.line("spawn counter init=40 name=recorded as c", RW_PROMPT)
    shell.line(":record", RW_PROMPT)
    shell.expect("nothing is recorded; begin with :record FILE")
    shell.line(":record again.astra", RW_PROMPT)
    shell.line("await @c ready 60s", RW_PROMPT)
    shell.line("ask @c nonsense", RW_PROMPT)
    shell.line("ask @c 2", RW_PROMPT)
    shell.expect("\n42   (")
    shell.line("expect $ == 42", RW_PROMPT)
    shell.line("kill @c", RW_PROMPT)
    shell.line("await @c gone 60s", RW_PROMPT)
    shell.line(":record", RW_PROMPT)
    shell.expect("again.astra: 6 statements so far")
    shell.line(":record stop", RW_PROMPT)
    shell.expect("again.astra: 6 statements")
    shell.line(":record again.astra", RW_PROMPT)
    shell.expect("again.astra is there already; name a new file")
    shell.expect(RW_PROMPT)
    assert shell.leave() == 0
    lines = (it.home / "again.astra").read_text().splitlines()
    assert lines[1:3] == ["spawn counter init=40 name=recorded as c", "await @c ready 1m"], lines
    assert lines[3] == "# failed: ask @c nonsense" and lines[-4:] == ["ask @c 2", "expect $ == 42", "kill @c", "await @c gone 1m"], lines
    done = it.run("--rw", "test", "-o", "ndjson", "-f", "again.astra")
    assert done.returncode == 0 and "\n42\n" in done.stdout, done
    done = it.run("-c", ":record x.astra")
    assert done.returncode == 3 and "only what is typed at a terminal is recorded" in done.stderr, done


@case
def without_a_gateway_a_script_says_so(it):
    done = it.run("-c", "ps", gateway="127.0.0.1:1")
    assert done.returncode == 3 and "cannot reach the gateway" in done.stderr, done


@case
def a_context_names_the_cluster(it):
    directory = it.home / ".config/astra"
    directory.mkdir(parents=True)
    (directory / "contexts.toml").write_text(f'current = "here"\n[contexts.here]\ngateway = "{it.gateway}"\n')
    environment = {**os.environ, "HOME": str(it.home)}
    for name in ("ASTRA_GATEWAY", "XDG_CONFIG_HOME"):
        environment.pop(name, None)
    done = subprocess.run([it.astra, "shell", "-c", "node list | count"], env=environment, capture_output=True, text=True)
    assert done.stdout == "2\n", done
    done = subprocess.run([it.astra, "--context", "hre", "status"], env=environment, capture_output=True, text=True)
    assert done.returncode == 2 and "did you mean 'here'?" in done.stderr, done
    (directory / "contexts.toml").write_text('current = "here"\n[contexts.here]\ngatway = "x"\n')
    done = subprocess.run([it.astra, "status"], env=environment, capture_output=True, text=True)
    assert done.returncode != 0 and "contexts.toml:3:1: contexts.here.gatway: unknown key" in done.stderr, done


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--astra", required=True)
    parser.add_argument("-k", default="", help="only cases whose name contains this")
    arguments = parser.parse_args()
    astra = os.path.abspath(arguments.astra)
    work = pathlib.Path(tempfile.mkdtemp(prefix="astra-pty-cluster-"))
    directory = work / "cluster"
    with open(work / "dev.log", "w") as log:
        dev = subprocess.Popen([astra, "dev", "--nodes", "2", "--cores", "4", "--listen", "127.0.0.1:0", "--dir", str(directory)],
                               stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    failed = 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        listing = directory / "cluster.json"
        if until(lambda: listing.exists() or dev.poll() is not None, 120) is None or dev.poll() is not None:
            print((work / "dev.log").read_text())
            return 1
        cluster = json.loads(listing.read_text())
        logs = [one["log"] for one in cluster["processes"] if "gateway" in one["name"]]
        for function in CASES:
            if arguments.k not in function.__name__:
                continue
            it = Case(astra, cluster["gateway"])
            it.gateway_log = logs[0]
            try:
                function(it)
                print(f"ok    {function.__name__}", flush=True)
            except (AssertionError, subprocess.TimeoutExpired, OSError) as error:
                failed += 1
                print(f"FAIL  {function.__name__}: {error}", flush=True)
            finally:
                it.end()
    finally:
        dev.terminate()
        dev.wait()
        shutil.rmtree(work, ignore_errors=True)
    print(f"{failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
