#include "runtime/process/process_fate.hpp"

#include <doctest/doctest.h>

#include <chrono>

using namespace astra;
using namespace std::chrono_literals;
using action = process_fate::action;

namespace {

const process_fate::time_point start{100s};

} // namespace

TEST_CASE("a process that exits is reported with its code, and what it leaves is killed") {
  process_fate fate{start, {}};
  CHECK_FALSE(fate.next_deadline());
  CHECK(fate.on_exit(3) == action::kill);
  CHECK(fate.end() == process_end::exited);
  CHECK(fate.code() == 3);
  CHECK(fate.reason() == "exited with code 3");
  CHECK(fate.on_kill(0s, "late", start + 1s) == action::none);
  CHECK(fate.end() == process_end::exited);
}

TEST_CASE("a signal of nobody's is reported by number and name") {
  process_fate fate{start, {}};
  fate.on_exit(-11);
  CHECK(fate.end() == process_end::signalled);
  CHECK(fate.code() == -11);
  CHECK(fate.reason() == "ended by signal 11 (Segmentation fault)");
}

TEST_CASE("the time limit kills the tree at its instant, and the signal of that kill is not the reason") {
  process_fate fate{start, {.time = 2s}};
  CHECK(fate.next_deadline() == start + 2s);
  CHECK(fate.on_time(start + 1999ms) == action::none);
  CHECK(fate.on_time(start + 2s) == action::kill);
  CHECK(fate.on_time(start + 3s) == action::none);
  CHECK_FALSE(fate.next_deadline());
  fate.on_exit(-9);
  CHECK(fate.end() == process_end::time_limit);
  CHECK(fate.code() == -9);
  CHECK(fate.reason() == "killed after 2 s (time limit)");
}

TEST_CASE("a kill with grace terminates first and kills when the grace is over") {
  process_fate fate{start, {}};
  CHECK(fate.on_kill(5s, "released", start) == action::terminate);
  CHECK(fate.next_deadline() == start + 5s);
  CHECK(fate.on_time(start + 4s) == action::none);
  CHECK(fate.on_time(start + 5s) == action::kill);
  fate.on_exit(-9);
  CHECK(fate.end() == process_end::killed);
  CHECK(fate.reason() == "killed: released");
}

TEST_CASE("a second kill can only shorten the grace of the first") {
  process_fate fate{start, {}};
  fate.on_kill(5s, "first", start);
  CHECK(fate.on_kill(9s, "longer", start) == action::none);
  CHECK(fate.next_deadline() == start + 5s);
  CHECK(fate.on_kill(1s, "shorter", start) == action::none);
  CHECK(fate.next_deadline() == start + 1s);
  CHECK(fate.on_kill(0s, "at once", start) == action::kill);
  CHECK(fate.reason() == "killed: first");
}

TEST_CASE("the time limit ends the grace of a kill") {
  process_fate fate{start, {.time = 2s}};
  fate.on_kill(60s, "released", start + 1s);
  CHECK(fate.next_deadline() == start + 2s);
  CHECK(fate.on_time(start + 2s) == action::kill);
  CHECK(fate.end() == process_end::killed);
}

TEST_CASE("a process that obeys SIGTERM is killed, not signalled") {
  process_fate fate{start, {}};
  fate.on_kill(5s, {}, start);
  CHECK(fate.on_exit(-15) == action::kill);
  CHECK(fate.end() == process_end::killed);
  CHECK(fate.code() == -15);
  CHECK(fate.reason() == "killed");
}

TEST_CASE("memory is compared with the limit, and 0 is none") {
  process_fate limited{start, {.memory_bytes = 1 << 20}};
  CHECK(limited.on_memory(1 << 20) == action::none);
  CHECK(limited.on_memory((1 << 20) + 512 * 1024) == action::kill);
  CHECK(limited.end() == process_end::memory_limit);
  CHECK(limited.reason() == "killed at 1.5 MiB of resident memory (memory limit 1 MiB)");
  process_fate free{start, {}};
  CHECK(free.on_memory(~std::uint64_t{0}) == action::none);
}

TEST_CASE("the kernel's kill for memory is the memory limit's") {
  process_fate fate{start, {.memory_bytes = 1 << 20}};
  CHECK(fate.on_out_of_memory() == action::kill);
  fate.on_exit(-9);
  CHECK(fate.end() == process_end::memory_limit);
}

TEST_CASE("too much output is an error also when it is found after the exit") {
  process_fate running{start, {.output_bytes = 10}};
  CHECK(running.on_output(10) == action::none);
  CHECK(running.on_output(11) == action::kill);
  CHECK(running.end() == process_end::output_limit);
  process_fate ended{start, {.output_bytes = 10}};
  ended.on_exit(0);
  ended.on_output(11);
  CHECK(ended.end() == process_end::output_limit);
  CHECK(ended.code() == 0);
  CHECK(ended.reason() == "wrote more than 10 bytes to stdout (output limit)");
}

TEST_CASE("a command that never ran is not an exit") {
  process_fate fate{start, {}};
  CHECK(fate.on_spawn_failed("x: command not found") == action::kill);
  CHECK(fate.exited());
  CHECK(fate.end() == process_end::spawn_failed);
}

TEST_CASE("durations and sizes read well") {
  CHECK(format_duration(20ms) == "20 ms");
  CHECK(format_duration(1500ms) == "1.5 s");
  CHECK(format_bytes(12) == "12 bytes");
  CHECK(format_bytes(256 * 1024 * 1024) == "256 MiB");
}
