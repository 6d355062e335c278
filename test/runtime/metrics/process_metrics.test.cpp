#include "runtime/metrics/process_metrics.hpp"

#include "test/runtime/process/fake_tree.hpp"
#include "test/support/prometheus_text.hpp"

#include <doctest/doctest.h>
#include <unistd.h>

#include <string>

using namespace astra;

TEST_CASE("a process is told by the names that Prometheus' own clients use") {
  test::fake_tree tree;
  tree.write("/proc/self/stat",
             "4242 (a b) S 17 4242 4200 0 -1 4194560 100 0 0 0 150 50 33 44 20 0 9 0 5000 1000000 77 "
             "18446744073709551615 1 1 0\n");
  tree.write("/proc/self/statm", "1000 77 20 1 0 30 0\n");
  tree.write("/proc/self/limits", "Limit                     Soft Limit           Hard Limit           Units     \n"
                                  "Max open files            1024                 524288               files     \n");
  tree.write("/proc/self/fd/0", "");
  tree.write("/proc/self/fd/1", "");
  tree.write("/proc/stat", "cpu  1 2 3 4\nbtime 1700000000\nprocesses 1\n");
  metrics_text text;
  add_process_metrics(text, tree.root());
  test::prometheus_text read{text.str()};
  CHECK_MESSAGE(read.problems.empty(), read.all_problems());
  auto hz = ::sysconf(_SC_CLK_TCK);
  REQUIRE(hz == 100);
  CHECK(read.value("process_cpu_seconds_total") == "2");
  CHECK(read.value("process_resident_memory_bytes") == std::to_string(77 * ::sysconf(_SC_PAGESIZE)));
  CHECK(read.value("process_virtual_memory_bytes") == std::to_string(1000 * ::sysconf(_SC_PAGESIZE)));
  CHECK(read.value("process_open_fds") == "2");
  CHECK(read.value("process_max_fds") == "1024");
  CHECK(read.value("process_threads") == "9");
  CHECK(std::stod(read.value("process_start_time_seconds")) == 1700000050.0);
}

TEST_CASE("what cannot be read is left out, and this process tells all") {
  test::fake_tree tree;
  metrics_text none;
  add_process_metrics(none, tree.root() + "/nothing");
  CHECK(none.str() == "");
  metrics_text text;
  add_process_metrics(text);
  test::prometheus_text read{text.str()};
  CHECK(read.problems.empty());
  CHECK(read.families.size() == 7);
  CHECK(std::stod(read.value("process_open_fds")) >= 3);
}
