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

    def __init__(self, case, *arguments, command="shell", term="xterm", columns=200, variables=()):
        environment = {**os.environ, "HOME": str(case.home), "TERM": term, "LC_ALL": "C.UTF-8", "NO_COLOR": "1",
                       "ASTRA_GATEWAY": case.gateway}
        for name in ("XDG_STATE_HOME", "XDG_CONFIG_HOME"):
            environment.pop(name, None)
        environment.update(variables)
        if term is None:
            environment.pop("TERM")
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

    def interrupt(self, text):
        """Types ^C until the shell says so: before a statement runs the terminal or the line eats it."""
        began = time.monotonic()
        while text not in self.seen[self.at:]:
            assert time.monotonic() - began < LIMIT_S, f"never saw {text!r}; since then: {self.seen[self.at:]!r}"
            self.type("\x03")
            pause = time.monotonic() + 1.0
            while time.monotonic() < pause and text not in self.seen[self.at:] and self.read():
                pass
        self.expect(text)

    def leave(self, key="\x04"):
        """Ends it and gives its exit code.  A ^D is a key only at the prompt: before it the terminal eats it."""
        began = time.monotonic()
        while key and not self.seen.endswith("]> "):
            if not self.read() or time.monotonic() - began > LIMIT_S:
                raise AssertionError(f"no prompt to leave at; since then: {self.seen[self.at:]!r}")
        self.type(key)
        typed = time.monotonic()
        while self.read():
            if time.monotonic() - began > LIMIT_S:
                raise AssertionError(f"does not end; since then: {self.seen[self.at:]!r}")
            # It may have been typed while the terminal was between two modes.
            if key == "\x04" and time.monotonic() - typed > 5.0:
                self.type(key)
                typed = time.monotonic()
        return self.wait()

    def leave_at_more(self):
        """As leave, from within a block."""
        self.type("\x04")
        began = time.monotonic()
        while self.read():
            assert time.monotonic() - began < LIMIT_S, f"does not end; since then: {self.seen[self.at:]!r}"
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

    spawned = set()

    def spawn(self, name, what="counter"):
        """An app for this case and all behind it."""
        if name in self.spawned:
            return
        self.spawned.add(name)
        done = self.run("--rw", "test", "-c", f"spawn {what} name={name} as a", "-c", "await @a ready 60s")
        assert done.returncode == 0, done.stderr

    def history(self):
        """The lines that the shells have read, as they were when Enter was pressed."""
        return (self.home / ".local/state/astra/history").read_text().splitlines()

    def end(self):
        for shell in self.shells:
            shell.end()
        shutil.rmtree(self.home, ignore_errors=True)


CASES = []


def case(function):
    CASES.append(function)
    return function


def cases(rows):
    """One case for each row: (name, arguments...)."""
    def add(function):
        for name, *arguments in rows:
            def one(it, arguments=arguments):
                function(it, *arguments)
            one.__name__ = f"{function.__name__}_{name}"
            CASES.append(one)
        return function
    return add


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


# Keys and the line that they make.  A comment does nothing, so what was read is seen in the history alone.
@cases([
    ("home_and_end", "bc\x01# a\x05d", "# abcd"),
    ("home_and_end_keys_of_applications", "bc\x1bOH# a\x1bOFd", "# abcd"),
    ("home_and_end_keys_of_terminals", "bc\x1b[H# a\x1b[Fd", "# abcd"),
    ("home_and_end_keys_of_consoles", "bc\x1b[1~# a\x1b[4~d", "# abcd"),
    ("arrows", "# ac\x1b[Db\x1b[Cd", "# abcd"),
    ("ctrl_b_and_f", "# ac\x02b\x06d", "# abcd"),
    ("left_of_the_beginning", "a\x1b[D\x1b[D\x1b[D# ", "# a"),
    ("right_of_the_end", "# a\x1b[C\x1b[Cb", "# ab"),
    ("ctrl_k", "# abcd\x02\x02\x0b", "# ab"),
    ("ctrl_u", "something else\x15# this", "# this"),
    ("ctrl_w", "# one two\x17three", "# one three"),
    ("ctrl_y_behind_ctrl_w", "# one two\x17\x19", "# one two"),
    ("ctrl_y_behind_ctrl_k", "ab# cd\x01\x06\x06\x0b\x01\x19", "# cdab"),
    ("ctrl_y_twice", "# ab\x17\x19\x19", "# abab"),
    ("ctrl_t", "# ab\x14", "# ba"),
    ("alt_b_and_f", "# one three\x1bbtwo \x1bf!", "# one two three!"),
    ("alt_d", "# one two three\x1bb\x1bb\x1bd", "# one  three"),
    ("alt_backspace", "# one two\x1b\x7fthree", "# one three"),
    ("ctrl_arrows", "# one three\x1b[1;5Dtwo \x1b[1;5C!", "# one two three!"),
    ("delete", "# abxc\x02\x02\x1b[3~", "# abc"),
    ("ctrl_d_within_a_line", "# abxc\x02\x02\x04", "# abc"),
    ("backspace", "# abx\x7fc", "# abc"),
    ("ctrl_h", "# abx\x08c", "# abc"),
    ("backspace_at_the_beginning", "\x7f\x7f# a", "# a"),
    ("ctrl_l", "# ab\x0cc", "# abc"),
    ("an_unknown_key", "# ab\x1b[15~c", "# abc"),
    ("utf8_deleted", "# äö\x7fü", "# äü"),
    ("utf8_transposed", "# äö\x14", "# öä"),
    ("utf8_words", "# grüße welt\x1bbschöne ", "# grüße schöne welt"),
    ("wide_characters_deleted", "# 你好\x7f吗", "# 你吗"),
    ("wide_characters_moved_over", "# 你好\x1b[D\x1b[D世", "# 世你好"),
    ("wide_characters_killed", "# 你好吗\x02\x02\x0b!", "# 你!"),
    ("characters_of_four_bytes", "# 🙂x\x7f\x7fy", "# y"),
    ("a_combining_character", "# e\u0301x\x7f", "# e\u0301"),
    ("bracketed_paste", "\x1b[200~# pasted\x1b[201~ and typed", "# pasted and typed"),
    ("a_very_long_line", "# " + "x" * 5000, "# " + "x" * 5000),
    ("a_very_long_line_changed_at_its_beginning", "x" * 3000 + "\x01# ", "# " + "x" * 3000),
    ("a_very_long_line_of_wide_characters", "# " + "你" * 1000 + "\x7f", "# " + "你" * 999),
])
def keys(it, typed, line):
    shell = it.shell(columns=80)
    shell.expect(PROMPT)
    shell.type(typed + "\n# the next one\n")
    shell.line("version")
    shell.expect("astra 0")
    assert shell.leave() == 0
    assert it.history() == [line, "# the next one", "version"], it.history()


@case
def pasted_escape_codes_do_not_reach_the_terminal_or_the_line(it):
    shell = it.shell()
    shell.expect(PROMPT)
    shell.type("# \x1b[31mred\x1b[0m \x1b]0;title\x07 end\n")
    shell.line("version")
    shell.expect("astra 0")
    assert shell.leave() == 0
    assert b"\x1b[31m" not in shell.raw and b"\x1b]0;" not in shell.raw, shell.raw
    assert "\x1b" not in "".join(it.history()), it.history()


@case
def what_an_app_answers_cannot_move_the_cursor(it):
    it.spawn("mirror", "echo")
    shell = it.shell()
    shell.line('ask mirror "a\\u001b[2Jb"')
    shell.expect("a\\x1b[2Jb")
    assert shell.leave() == 0


# -- history -----------------------------------------------------------------------------------------------------------------

UP, DOWN = "\x1b[A", "\x1b[B"


@cases([
    ("up", UP, "# three"),
    ("up_up", UP + UP, "# two"),
    ("up_up_down", UP + UP + DOWN, "# three"),
    ("ctrl_p_and_n", "\x10\x10\x10\x0e", "# two"),
    ("up_beyond_the_oldest", UP * 9, "# one"),
    ("up_and_changed", UP + UP + " and a half", "# two and a half"),
    ("down_gives_the_line_back", UP + DOWN + "# new", "# new"),
    ("ctrl_r", "\x12wo\x1b", "# two"),
    ("ctrl_r_the_newest_of_several", "\x12# t\x1b", "# three"),
    ("ctrl_r_the_next_of_several", "\x12# t\x12\x1b", "# two"),
    ("ctrl_r_and_changed", "\x12# o\x1b\x05 more", "# one more"),
    ("ctrl_r_without_a_match", "\x12nothing like it\x07\x15# typed", "# typed"),
])
def history(it, typed, line):
    shell = it.shell()
    for text in ("# one", "# two", "# three"):
        shell.line(text)
    shell.expect(PROMPT)
    shell.type(typed + "\n")
    shell.line("version")
    shell.expect("astra 0")
    assert shell.leave() == 0
    assert it.history()[3] == line, it.history()


@case
def history_has_a_line_once_that_was_typed_twice(it):
    shell = it.shell()
    for text in ("# one", "# two", "# two"):
        shell.line(text)
    shell.expect(PROMPT)
    shell.type(UP + UP + "\n")
    shell.line("version")
    shell.expect("astra 0")
    assert shell.leave() == 0
    assert it.history()[-2] == "# one", it.history()


@case
def history_is_private_whatever_mode_the_file_had(it):
    kept = it.home / ".local/state/astra/history"
    kept.parent.mkdir(parents=True)
    kept.write_text("# before\n")
    kept.chmod(0o644)
    shell = it.shell()
    shell.expect(PROMPT)
    shell.type(UP + " and now\n")
    shell.expect(PROMPT)
    assert shell.leave() == 0
    assert it.history() == ["# before", "# before and now"] and kept.stat().st_mode & 0o777 == 0o600, it.history()


@case
def history_leaves_out_blank_lines_and_keeps_those_of_blocks(it):
    shell = it.shell()
    shell.line("")
    shell.line("   ")
    shell.line("for i in 1..1 {")
    shell.line("expect $i == 1", MORE)
    shell.line("}", MORE)
    shell.expect(PROMPT)
    assert shell.leave() == 0
    assert it.history() == ["for i in 1..1 {", "expect $i == 1", "}"], it.history()


@case
def history_of_two_sessions_at_once_is_that_of_both(it):
    one, two = it.shell(), it.shell()
    one.line("# from one")
    one.expect(PROMPT)
    two.line("# from two")
    two.expect(PROMPT)
    assert one.leave() == 0 and two.leave() == 0
    assert it.history() == ["# from one", "# from two"], it.history()


@case
def history_is_where_xdg_state_home_says(it):
    shell = it.shell(variables={"XDG_STATE_HOME": str(it.home / "state")})
    shell.line("# kept")
    shell.expect(PROMPT)
    assert shell.leave() == 0
    assert (it.home / "state/astra/history").read_text() == "# kept\n"


@case
def without_a_place_for_its_history_the_shell_works(it):
    (it.home / ".local").write_text("no directory")
    shell = it.shell()
    shell.line("# one")
    shell.expect(PROMPT)
    shell.type(UP + " more\n")
    shell.expect("# one more")
    shell.line("version")
    shell.expect("astra 0")
    assert shell.leave() == 0


# -- completion --------------------------------------------------------------------------------------------------------------


@cases([
    ("a_verb", "sta\t", "status "),
    ("a_verb_of_the_shell", ":mo\t", ":mode "),
    ("a_subcommand", "app hi\t", "app history "),
    ("an_option", "node list --li\t", "node list --limit "),
    ("a_node", "drain no\t1", "drain node-1"),
    ("a_node_behind_an_option", "events --node no\t2", "events --node node-2"),
    ("a_target_of_why", "why no\tno\t", "why node/node-"),
    ("a_stage", "ps | wh\t", "ps | where "),
    ("a_stage_behind_a_stage", "ps | count | sel\t", "ps | count | select "),
    ("a_key_behind_where", "ps | where rest\t", "ps | where restarts "),
    ("a_key_behind_and", "app list | where ready == 1 and schedu\t", "app list | where ready == 1 and scheduler "),
    ("a_key_behind_sort", "task list | sort -crea\t", "task list | sort -created "),
    ("a_key_behind_select", "model list | select name, pub\t", "model list | select name, publishe"),
    ("a_key_of_nodes", "node list | where utili\t", "node list | where utilisation "),
    ("the_topic_of_help", "help rout\tta\t", "help router table "),
    ("nothing_inside_quotes", "ask x 'sta\t'", "ask x 'sta'"),
    ("nothing_when_nothing_fits", "nonsen\tse", "nonsense"),
    ("in_the_second_statement", "version; sta\t", "version; status "),
    ("within_a_block", "for i in 1..1 { sta\t }", "for i in 1..1 { status  }"),
    ("a_file", "config check lone\t", "config check lonely.toml "),
    ("a_directory", "config check dire\tin\t", "config check directory/inner.toml "),
    ("a_hidden_file", "config check .hid\t", "config check .hidden.toml "),
])
def completion(it, typed, line):
    (it.home / "lonely.toml").write_text("")
    (it.home / ".hidden.toml").write_text("")
    (it.home / "directory").mkdir()
    (it.home / "directory/inner.toml").write_text("")
    shell = it.shell()
    shell.expect(PROMPT)
    # The line is kept as a comment, so that nothing is done; the # goes in front when all is typed.
    shell.type(typed + "\x01#\n")
    shell.line("version")
    shell.expect("astra 0")
    assert shell.leave() == 0
    assert it.history()[0].rstrip() == ("#" + line).rstrip(), it.history()


@case
def completion_lists_what_is_ambiguous_and_keeps_the_line(it):
    shell = it.shell()
    shell.expect(PROMPT)
    shell.type("context \t")
    shell.expect("list  show  use")
    shell.expect("context ")
    shell.type("list\n")
    shell.expect("no contexts")
    assert shell.leave() == 0


@case
def completion_knows_variables(it):
    shell = it.shell()
    shell.line("node list | count as quantity")
    shell.expect(PROMPT)
    shell.type("$quan\t\n")
    shell.expect("\n2\n")
    assert shell.leave() == 0


@case
def completion_knows_the_keys_of_a_variable(it):
    shell = it.shell()
    shell.line("node list as all")
    shell.expect(PROMPT)
    shell.type("$all | select na\t| limit 1 | count\n")
    shell.expect("\n1\n")
    assert shell.leave() == 0


# -- ^C and ^D elsewhere -------------------------------------------------------------------------------------------------------


@case
def ctrl_c_at_an_empty_line(it):
    shell = it.shell()
    shell.expect(PROMPT)
    shell.type("\x03")
    shell.expect("^C")
    shell.line("version")
    shell.expect("astra 0")
    assert shell.leave() == 0


@case
def ctrl_c_ends_await(it):
    shell = it.shell()
    shell.line("await nobody ready 600s")
    shell.interrupt("interrupted")
    shell.line("version")
    shell.expect("astra 0")
    assert shell.leave() == 0


@case
def ctrl_c_ends_a_loop(it):
    shell = it.shell()
    shell.line("for i in 1..1000000 { node list | count }")
    shell.expect("2\n")
    shell.type("\x03")
    shell.expect("interrupted")
    shell.line("version")
    shell.expect("astra 0")
    assert shell.leave() == 0


@case
def ctrl_c_ends_watch_of_an_app(it):
    it.spawn("watched", "echo")
    shell = it.shell()
    shell.line("watch watched")
    shell.expect("app watched: ready")
    shell.type("\x03")
    shell.line("version")
    shell.expect("astra 0")
    assert shell.leave() == 0


@case
def ctrl_c_ends_a_list_that_is_watched(it):
    shell = it.shell()
    shell.line("node list -o name --watch 100ms")
    for _ in range(3):
        shell.expect("node-1")
    shell.type("\x03")
    shell.line("version")
    shell.expect("astra 0")
    assert shell.leave() == 0


@case
def ctrl_c_leaves_the_search(it):
    shell = it.shell()
    shell.line("# first")
    shell.expect(PROMPT)
    shell.type("\x12fir\x03")
    shell.type("version\n")
    shell.expect("astra 0")
    assert shell.leave() == 0


@case
def ctrl_d_within_a_block_ends_the_shell(it):
    shell = it.shell()
    shell.line("for i in 1..3 {")
    shell.expect(MORE)
    assert shell.leave_at_more() == 0


@case
def exit_leaves(it):
    shell = it.shell()
    shell.line("exit")
    assert shell.leave("") == 0


@case
def quit_leaves_out_what_stands_behind_it(it):
    shell = it.shell()
    shell.line("quit; version")
    assert shell.leave("") == 0
    assert "astra 0" not in shell.seen


@case
def a_terminal_that_goes_away_ends_the_shell(it):
    shell = it.shell()
    shell.expect(PROMPT)
    os.close(shell.fd)
    _, status = os.waitpid(shell.pid, 0)
    shell.code = os.waitstatus_to_exitcode(status)


# -- blocks --------------------------------------------------------------------------------------------------------------------


@cases([
    ("a_pipe_at_the_end", ["node list |", "count"], "2"),
    ("a_backslash_at_the_end", ["node list \\", "| count"], "2"),
    ("blocks_in_blocks", ["for i in 1..1 {", "for j in 2..2 {", "node list | count", "}", "}"], "2"),
    ("json_over_lines", ["ask mirror [1,", "2]"], "\n1\n2\n"),
    ("braces_in_quotes_and_comments", ["for i in 1..1 {", "# }", "ask mirror 'a } b'", "}"], "a } b"),
])
def lines(it, typed, answer):
    it.spawn("mirror", "echo")
    shell = it.shell("-o", "ndjson")
    shell.line(typed[0])
    for text in typed[1:]:
        shell.line(text, MORE)
    shell.expect(answer)
    shell.expect(PROMPT)
    assert shell.leave() == 0


@case
def a_mistake_in_a_block_is_told_with_its_line(it):
    shell = it.shell()
    shell.line("for i in 1..3 {")
    shell.line("  ps | wher x == 1", MORE)
    shell.line("}", MORE)
    shell.expect("2:8: expected where, sort, top, limit, select or count")
    assert shell.leave() == 0


@case
def a_paste_with_tabs_and_carriage_returns(it):
    shell = it.shell()
    shell.expect(PROMPT)
    shell.type("for i in 1..2 {\r\tnode list | count\r\t# done\r}\rversion\r")
    shell.expect("2\n")
    shell.expect("2\n")
    shell.expect("astra 0")
    assert shell.leave() == 0


@case
def a_bracketed_paste_of_1000_lines(it):
    shell = it.shell()
    shell.expect(PROMPT)
    shell.type("\x1b[200~for i in 1..1 {\n" + "expect $i == 1\n" * 1000 + "}\n\x1b[201~version\n")
    shell.expect("astra 0")
    # What comes while a line is worked on the terminal itself shows; none of it gets into a line.
    assert "no verb" not in shell.seen and not re.search("> [^\n]*~", shell.seen), shell.seen[-400:]
    assert shell.leave() == 0


# -- terminals -----------------------------------------------------------------------------------------------------------------


@cases([("unset", None), ("empty", ""), ("unknown", "nonesuch"), ("vt100", "vt100"), ("screen", "screen"), ("linux", "linux")])
def term(it, name):
    shell = it.shell(term=name)
    shell.line("node list | count")
    shell.expect("\n2\n")
    shell.expect(PROMPT)
    shell.type("versionn\x7f\n")
    shell.expect("astra 0")
    shell.expect(PROMPT)
    assert shell.leave() == 0


@cases([("10_columns", 10), ("1_column", 1), ("none_said", 0), ("1000_columns", 1000)])
def width(it, columns):
    shell = it.shell(columns=columns)
    shell.expect("]")
    shell.type("version\n")
    shell.expect("astra")
    shell.type("quit\n")
    assert shell.leave("") == 0


@case
def a_window_changes_its_size_again_and_again(it):
    shell = it.shell()
    shell.expect(PROMPT)
    for columns in (20, 200, 5, 80, 40, 120):
        fcntl.ioctl(shell.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 20, columns, 0, 0))
        shell.type("# ")
    shell.type("end\n")
    shell.line("version")
    shell.expect("astra 0")
    assert shell.leave() == 0
    assert it.history()[0] == "# " * 6 + "end", it.history()


@case
def a_window_changes_its_size_while_a_request_runs(it):
    shell = it.shell()
    shell.line("every 20ms 20 times { node list | count }")
    shell.expect("2\n")
    for columns in (50, 100, 150):
        fcntl.ioctl(shell.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 20, columns, 0, 0))
    for _ in range(19):
        shell.expect("2\n")
    shell.line("version")
    shell.expect("astra 0")
    assert shell.leave() == 0


@case
def a_locale_without_utf8_does(it):
    it.spawn("mirror", "echo")
    shell = it.shell(variables={"LC_ALL": "C"})
    shell.line("ask mirror 'äöü'")
    shell.expect("äöü   (")
    assert shell.leave() == 0


# -- statements ----------------------------------------------------------------------------------------------------------------


@cases([
    ("a_word_that_is_no_verb", "stauts", "no verb 'stauts'; did you mean 'status'?"),
    ("an_open_quote", "ask x 'abc", "expected the closing '"),
    ("a_stage_that_is_none", "ps | foo", "1:6: expected where, sort, top, limit, select or count"),
    ("a_condition_that_ends", "ps | where a ==", "1:16: expected a value"),
    ("a_loop_without_a_range", "for i in x { ps }", "expected a range"),
    ("every_without_a_duration", "every x { ps }", "expected a duration"),
    ("a_closing_bracket_alone", "}", "1:1: expected"),
    ("a_key_that_no_row_has", "node list | where stat == online", "no row has a key 'stat'; did you mean 'state'?"),
    ("a_result_that_is_not_there", "$99", "99"),
    ("a_variable_that_is_not_there", "$nothing", "nothing"),
    ("a_count_of_no_list", "version | count", "is no list"),
    ("a_column_behind_wide_characters", "ask 'ä你' a=", "1:12: expected a value after ="),
    ("a_mode_that_is_none", ":mode xml", "write it as :mode table|json|ndjson|csv|line"),
    ("expect_that_does_not_hold", "expect 1 == 2", "expected"),
    ("an_await_that_ends", "await nobody ready 300ms", "300ms"),
])
def mistake(it, typed, message):
    shell = it.shell()
    shell.line(typed)
    shell.expect(message)
    shell.line("version")
    shell.expect("astra 0")
    assert shell.leave() == 0


@cases([
    ("results", ["node list | count", "expect $1 == 2", "$1"], "2\n2\n"),
    ("parts_of_results", ["node list | sort name | limit 1 | select name as n", "expect $n.0.name == node-1"],
     '{"name":"node-1"}\n'),
    ("texts_with_values", ["for i in 1..2 { node list | where name == \"node-${i}\" | count }"], "1\n1\n"),
    ("the_last_result", ["node list | count", "expect $ == 2 and $ > 1 and not $ == 3"], "2\n"),
    ("loops", ["for i in 2..4 { node list | limit 1 | count }"], "1\n1\n1\n"),
    ("loops_backwards_or_never", ["for i in 3..2 { version }"], ""),
    ("every", ["every 1ms 3 times { node list | count }"], "2\n2\n2\n"),
    ("top", ["node list | top 1 name | select name"], '{"name":"node-2"}\n'),
    ("several_on_one_line", ["node list | count; node list | limit 1 | count"], "2\n1\n"),
    ("comments", ["# nothing", "node list | count # all"], "2\n"),
    ("globs_and_sets", ["node list | where name =~ 'node-*' and name in (node-1, node-9) | count"], "1\n"),
    ("a_very_long_one", ["node list | where " + " and ".join(f"name != x{n}" for n in range(2000)) + " | count"], "2\n"),
    ("lists_of_commands", ["node list --where 'name == \"node-1\"' -o name"], "node-1\n"),
])
def script(it, statements, out):
    done = it.run("-o", "ndjson", *[word for text in statements for word in ("-c", text)])
    assert (done.returncode, done.stdout, done.stderr) == (0, out, ""), done


@cases([
    ("the_end_within_a_block", "version\nfor i in 1..2 {\n version\n", "stdin:4:1: expected a statement or }"),
    ("the_end_behind_a_pipe", "ps |\n", "expected where"),
    ("a_change", "kill nobody\n", "stdin:1: this would change the cluster"),
    ("an_unknown_verb", "\n\nstauts\n", "stdin:3: no verb 'stauts'; did you mean 'status'?"),
])
def stdin_with(it, text, message):
    done = it.run(text=text)
    assert done.returncode == 3 and message in done.stderr, done


@case
def files_and_statements_do_not_go_together(it):
    done = it.run("-c", "ps", "-f", "x.astra")
    assert done.returncode == 2 and "-c and -f do not go together" in done.stderr, done
    done = it.run("-f", "nowhere.astra")
    assert done.returncode == 1 and "cannot read nowhere.astra" in done.stderr, done
    done = it.run("--rw", "two\nlines", "-c", "ps")
    assert done.returncode == 2 and "must fit on one line" in done.stderr, done


@case
def with_stdout_elsewhere_there_is_no_prompt(it):
    environment = {**os.environ, "HOME": str(it.home), "TERM": "xterm", "ASTRA_GATEWAY": it.gateway}
    ours, theirs = pty.openpty()
    shell = subprocess.Popen([it.astra, "shell"], stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
    os.close(theirs)
    os.write(ours, b"node list | count\nquit\n")
    out, err = shell.communicate(timeout=LIMIT_S)
    os.close(ours)
    assert (shell.returncode, out, err) == (0, b"2\n", b""), (out, err)


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
