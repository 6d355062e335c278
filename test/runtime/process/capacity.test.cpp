#include "runtime/process/capacity.hpp"

#include "test/runtime/process/fake_tree.hpp"

#include <doctest/doctest.h>

#include <string>

using namespace astra;

namespace {

constexpr std::uint64_t gib = std::uint64_t{1} << 30;

/// Eight cores, 32 GiB, both versions of control groups mounted, no limit.
struct machine : test::fake_tree {
  machine() {
    write("/sys/devices/system/cpu/online", "0-7\n");
    write("/proc/meminfo", "MemTotal:       33554432 kB\nMemAvailable:   16777216 kB\n");
    write("/proc/self/status", "Name:\tastra\nCpus_allowed:\tff\nCpus_allowed_list:\t0-7\n");
    write("/proc/self/mountinfo", "32 31 0:29 / /cg/cpu rw - cgroup cgroup rw,cpu,cpuacct\n"
                                  "35 31 0:32 / /cg/memory rw - cgroup cgroup rw,memory\n"
                                  "41 31 0:38 / /cg/two rw - cgroup2 cgroup2 rw\n");
    write("/proc/self/cgroup", "4:memory:/pod\n2:cpu,cpuacct:/pod\n0::/slice/pod\n");
    write("/cg/two/slice/pod/cpu.max", "max 100000\n");
    write("/cg/two/slice/pod/memory.max", "max\n");
    write("/cg/cpu/pod/cpu.cfs_quota_us", "-1\n");
    write("/cg/cpu/pod/cpu.cfs_period_us", "100000\n");
    write("/cg/memory/pod/memory.limit_in_bytes", "9223372036854771712\n");
  }
};

} // namespace

TEST_CASE_FIXTURE(machine, "without limits the hardware counts") {
  auto capacity = detect_capacity(root());
  CHECK(capacity.cpu_milli == 8000);
  CHECK(capacity.memory_bytes == 32 * gib);
  CHECK(capacity.origin() == "cpu: hardware; memory: hardware");
}

TEST_CASE_FIXTURE(machine, "a version 2 limit of a group above is found") {
  write("/cg/two/slice/cpu.max", "250000 100000\n");
  write("/cg/two/slice/pod/cpu.max", "400000 100000\n");
  write("/cg/two/slice/memory.max", std::to_string(4 * gib) + "\n");
  auto capacity = detect_capacity(root());
  CHECK(capacity.cpu_milli == 2500);
  CHECK(capacity.memory_bytes == 4 * gib);
  CHECK(capacity.cpu_origin == "cpu.max of " + root() + "/cg/two/slice");
  CHECK(capacity.memory_origin == "memory.max of " + root() + "/cg/two/slice");
}

TEST_CASE_FIXTURE(machine, "version 1 limits are found, and the smallest of all wins") {
  write("/cg/cpu/pod/cpu.cfs_quota_us", "50000\n");
  write("/cg/memory/pod/memory.limit_in_bytes", std::to_string(2 * gib) + "\n");
  write("/cg/two/slice/memory.max", std::to_string(4 * gib) + "\n");
  auto capacity = detect_capacity(root());
  CHECK(capacity.cpu_milli == 500);
  CHECK(capacity.memory_bytes == 2 * gib);
  CHECK(capacity.memory_origin == "memory.limit_in_bytes of " + root() + "/cg/memory/pod");
}

TEST_CASE_FIXTURE(machine, "the cores that may be used are fewer than those there are") {
  write("/proc/self/status", "Cpus_allowed_list:\t0-1,4\n");
  auto capacity = detect_capacity(root());
  CHECK(capacity.cpu_milli == 3000);
  CHECK(capacity.cpu_origin == "affinity (3 of 8 cores)");
}

TEST_CASE_FIXTURE(machine, "a limit above the hardware is none") {
  write("/cg/two/slice/pod/cpu.max", "6400000 100000\n");
  write("/cg/two/slice/pod/memory.max", std::to_string(64 * gib) + "\n");
  auto capacity = detect_capacity(root());
  CHECK(capacity.cpu_milli == 8000);
  CHECK(capacity.memory_bytes == 32 * gib);
}

TEST_CASE_FIXTURE(machine, "files full of nonsense are no limits") {
  for (auto* text : {"", "garbage\n", "0 0\n", "-5 100000\n", "100000\n"})
    for (auto* file : {"/cg/two/slice/pod/cpu.max", "/cg/cpu/pod/cpu.cfs_quota_us"}) {
      write("/cg/two/slice/pod/cpu.max", "max 100000\n");
      write("/cg/cpu/pod/cpu.cfs_quota_us", "-1\n");
      if (std::string{file}.ends_with("quota_us") && std::string{text} == "100000\n")
        continue;
      write(file, text);
      CHECK(detect_capacity(root()).cpu_milli == 8000);
    }
}

TEST_CASE("this machine has at least one core and some memory") {
  auto capacity = detect_capacity();
  CHECK(capacity.cpu_milli >= 1);
  CHECK(capacity.memory_bytes > 1 << 20);
}

TEST_CASE("lists of cores are counted") {
  CHECK(count_cores("0\n") == 1);
  CHECK(count_cores("0-3,8,10-11") == 7);
  CHECK(count_cores("") == 0);
  CHECK(count_cores("a-b") == 0);
  CHECK(count_cores("3-1") == 0);
}

TEST_CASE_FIXTURE(machine, "a machine without accelerators has none") {
  CHECK(detect_accelerators(root()).empty());
}

TEST_CASE_FIXTURE(machine, "only accelerators whose device is there are counted, by model") {
  auto card = [this](const std::string& bus, const std::string& model, int minor) {
    write("/proc/driver/nvidia/gpus/" + bus + "/information",
          "Model: \t\t " + model + "\nIRQ:   \t\t 30\nDevice Minor: \t " + std::to_string(minor) + "\n");
  };
  card("0000:00:1e.0", "NVIDIA A10", 0);
  card("0000:00:1f.0", "NVIDIA A10", 1);
  card("0000:00:20.0", "Tesla T4", 2);
  card("0000:00:21.0", "NVIDIA A10", 3);
  write("/dev/nvidia0", "");
  write("/dev/nvidia1", "");
  write("/dev/nvidia2", "");
  write("/dev/nvidiactl", "");
  auto cards = detect_accelerators(root());
  REQUIRE(cards.size() == 2);
  CHECK(cards[0].kind == "nvidia-a10");
  CHECK(cards[0].count == 2);
  CHECK(cards[1].kind == "tesla-t4");
  CHECK(cards[1].count == 1);
}
