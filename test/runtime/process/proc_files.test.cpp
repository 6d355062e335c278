#include "runtime/process/proc_files.hpp"

#include <doctest/doctest.h>

#include <unistd.h>

#include <algorithm>
#include <string>

using namespace astra;

TEST_CASE("a stat line is read, whatever the process calls itself") {
  auto stat = parse_process_stat("4242 (evil) R 1 (x) S 17 4242 4200 0 -1 4194560 100 0 0 0 11 22 33 44 20 0 1 0 5555 "
                                 "1000000 77 18446744073709551615 1 1 0\n");
  REQUIRE(stat);
  CHECK(stat->pid == 4242);
  CHECK(stat->state == 'S');
  CHECK(stat->parent == 17);
  CHECK(stat->session == 4200);
  CHECK(stat->own_ticks == 33);
  CHECK(stat->children_ticks == 77);
  CHECK(stat->threads == 1);
  CHECK(stat->start_ticks == 5555);
  CHECK(stat->resident_pages == 77);
  CHECK_FALSE(stat->ended());
}

TEST_CASE("a stat line that is cut short is refused") {
  CHECK_FALSE(parse_process_stat(""));
  CHECK_FALSE(parse_process_stat("12 (sleep) S 1"));
  CHECK_FALSE(parse_process_stat("sleep S 1 2 3"));
}

TEST_CASE("this process finds itself") {
  auto stat = read_process_stat("/proc", ::getpid());
  REQUIRE(stat);
  CHECK(stat->parent == ::getppid());
  auto all = scan_processes("/proc");
  CHECK(std::any_of(all.begin(), all.end(), [](auto& entry) { return entry.pid == ::getpid(); }));
}

TEST_CASE("numbers are found by key in both spellings") {
  std::string text = "MemTotal:       2048 kB\noom_kill_disable 0\noom_kill 3\n";
  CHECK(find_number(text, "MemTotal") == 2048u);
  CHECK(find_number(text, "oom_kill") == 3u);
  CHECK_FALSE(find_number(text, "oom"));
  CHECK_FALSE(find_number("memory max\n", "memory"));
}

TEST_CASE("variables are found in an environment block by their whole name") {
  std::string block{"XASTRA_TASK=no\0ASTRA_TASK=7-8/0a\0EMPTY=\0", 41};
  CHECK(find_variable(block, "ASTRA_TASK") == "7-8/0a");
  CHECK(find_variable(block, "EMPTY") == "");
  CHECK_FALSE(find_variable(block, "ASTRA"));
}

TEST_CASE("control groups are found where both versions are mounted") {
  auto dirs = parse_cgroup_dirs("4:memory:/pods/a\n2:cpu,cpuacct:/\n0::/own\n",
                                "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n"
                                "35 31 0:32 / /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory\n"
                                "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
                                "/root");
  CHECK(dirs.unified == "/root/sys/fs/cgroup/unified/own");
  CHECK(dirs.unified_top == "/root/sys/fs/cgroup/unified");
  CHECK(dirs.memory == "/root/sys/fs/cgroup/memory/pods/a");
  CHECK(dirs.cpu == "/root/sys/fs/cgroup/cpu");
  CHECK(dirs.cpuacct == "/root/sys/fs/cgroup/cpu");
}

TEST_CASE("in a container the mount shows the own group as its root") {
  auto dirs = parse_cgroup_dirs("4:memory:/docker/abc\n0::/../other\n",
                                "35 31 0:32 /docker/abc /sys/fs/cgroup/me\\040mory ro - cgroup cgroup rw,memory\n"
                                "41 31 0:38 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
                                "");
  CHECK(dirs.memory == "/sys/fs/cgroup/me mory");
  CHECK(dirs.unified == "/sys/fs/cgroup");
  CHECK(dirs.cpu.empty());
}
