#include "runtime/process/machine_probe.hpp"

#include "test/runtime/process/fake_tree.hpp"

#include <doctest/doctest.h>

#include <unistd.h>

#include <string>

using namespace astra;

namespace {

std::string stat_line(int pid, int parent, int own, int children) {
  auto text = [](int value) { return std::to_string(value); };
  return text(pid) + " (x) S " + text(parent) + " 1 1 0 -1 0 0 0 0 0 " + text(own) + " 0 " + text(children)
         + " 0 20 0 1 0 5 0 1 0\n";
}

struct machine : test::fake_tree {
  machine() {
    write("/proc/stat", "cpu  100 10 50 1000 30 5 5 20 7 7\ncpu0 1 2 3 4\n");
    write("/proc/meminfo", "MemTotal: 1000 kB\nMemFree: 100 kB\nMemAvailable: 400 kB\n");
    write("/proc/self/cgroup", "0::/pod\n");
    write("/proc/self/mountinfo", "41 31 0:38 / /cg rw - cgroup2 cgroup2 rw\n");
  }
  void process(int pid, int parent, int own, int children) {
    write("/proc/" + std::to_string(pid) + "/stat", stat_line(pid, parent, own, children));
  }
  void children(int pid, const std::string& list) {
    auto name = std::to_string(pid);
    write("/proc/" + name + "/task/" + name + "/children", list);
  }
  double tick = 1.0 / static_cast<double>(::sysconf(_SC_CLK_TCK));
};

} // namespace

TEST_CASE("busy time is all but idle and waiting; guests are not counted twice") {
  CHECK(parse_busy_ticks("cpu  100 10 50 1000 30 5 5 20 7 7\n") == 190u);
  CHECK(parse_busy_ticks("cpu  100 10 50 1000\n") == 160u);
  CHECK_FALSE(parse_busy_ticks("cpu0 1 2 3 4\n"));
  CHECK_FALSE(parse_busy_ticks("cpu  1 x\n"));
  CHECK_FALSE(parse_busy_ticks(""));
}

TEST_CASE_FIXTURE(machine, "without limits the machine is measured") {
  auto probe = make_machine_probe([] { return 0; }, root());
  auto sample = probe->sample();
  CHECK(sample.host_busy_core_s == doctest::Approx(190 * tick));
  CHECK(sample.memory_used_bytes == 600 * 1024);
  CHECK(sample.own_busy_core_s == 0.0);
}

TEST_CASE_FIXTURE(machine, "with limits the group is measured, file cache excluded") {
  write("/cg/pod/cpu.max", "100000 100000\n");
  write("/cg/pod/cpu.stat", "usage_usec 2500000\nuser_usec 1\n");
  write("/cg/pod/memory.max", "100000\n");
  write("/cg/pod/memory.current", "50000\n");
  write("/cg/pod/memory.stat", "anon 20000\nfile 30000\nactive_file 10000\ninactive_file 15000\nshmem 5000\n");
  auto probe = make_machine_probe([] { return 0; }, root());
  auto sample = probe->sample();
  CHECK(sample.host_busy_core_s == doctest::Approx(2.5));
  CHECK(sample.memory_used_bytes == 25000);
}

TEST_CASE_FIXTURE(machine, "version 1 groups are measured as well") {
  write("/proc/self/cgroup", "4:memory:/pod\n2:cpu,cpuacct:/pod\n");
  write("/proc/self/mountinfo", "32 31 0:29 / /one/cpu rw - cgroup cgroup rw,cpu,cpuacct\n"
                                "35 31 0:32 / /one/memory rw - cgroup cgroup rw,memory\n");
  write("/one/cpu/pod/cpu.cfs_quota_us", "100000\n");
  write("/one/cpu/pod/cpu.cfs_period_us", "100000\n");
  write("/one/cpu/pod/cpuacct.usage", "3500000000\n");
  write("/one/memory/pod/memory.limit_in_bytes", "100000\n");
  write("/one/memory/pod/memory.usage_in_bytes", "50000\n");
  write("/one/memory/pod/memory.stat", "active_file 1\ntotal_active_file 10000\ntotal_inactive_file 20000\n");
  auto probe = make_machine_probe([] { return 0; }, root());
  auto sample = probe->sample();
  CHECK(sample.host_busy_core_s == doctest::Approx(3.5));
  CHECK(sample.memory_used_bytes == 20000);
}

TEST_CASE_FIXTURE(machine, "a counter that cannot be read, or runs backwards, stays") {
  auto probe = make_machine_probe([] { return 0; }, root());
  auto before = probe->sample();
  write("/proc/stat", "");
  write("/proc/meminfo", "");
  CHECK(probe->sample().host_busy_core_s == before.host_busy_core_s);
  CHECK(probe->sample().memory_used_bytes == before.memory_used_bytes);
  write("/proc/stat", "cpu  1 1 1 1\n");
  CHECK(probe->sample().host_busy_core_s == before.host_busy_core_s);
}

TEST_CASE_FIXTURE(machine, "own time is the launcher's tree, ended children included") {
  process(50, 1, 5, 100);
  process(51, 50, 20, 0);
  process(52, 51, 30, 7);
  process(60, 1, 1000, 1000);
  children(50, "51 ");
  children(51, "52 ");
  children(52, "");
  CHECK(tree_ticks(root() + "/proc", 50) == 162);
}

TEST_CASE_FIXTURE(machine, "own time is the same on kernels that do not list children") {
  process(50, 1, 5, 100);
  process(51, 50, 20, 0);
  process(52, 51, 30, 7);
  process(60, 1, 1000, 1000);
  CHECK(tree_ticks(root() + "/proc", 50) == 162);
}

TEST_CASE_FIXTURE(machine, "own time goes on growing when the launcher is replaced") {
  process(50, 1, 100, 0);
  children(50, "");
  pid_t launcher = 50;
  auto probe = make_machine_probe([&launcher] { return launcher; }, root());
  CHECK(probe->sample().own_busy_core_s == doctest::Approx(100 * tick));
  process(70, 1, 10, 0);
  children(70, "");
  launcher = 70;
  CHECK(probe->sample().own_busy_core_s == doctest::Approx(110 * tick));
}

TEST_CASE("this machine's counters grow while it works") {
  auto probe = make_machine_probe([] { return ::getpid(); });
  auto before = probe->sample();
  volatile double sink = 0.0;
  auto after = before;
  auto grown = [&] {
    return after.own_busy_core_s > before.own_busy_core_s && after.host_busy_core_s > before.host_busy_core_s;
  };
  for (int round = 0; round < 10'000 && !grown(); ++round) {
    for (int i = 0; i < 1'000'000; ++i)
      sink = sink + 1.0;
    after = probe->sample();
  }
  CHECK(grown());
  CHECK(after.memory_used_bytes > 0);
}
