#include "runtime/metrics/metrics_text.hpp"

#include "test/support/prometheus_text.hpp"

#include <caf/span.hpp>
#include <caf/telemetry/histogram.hpp>
#include <caf/telemetry/label_view.hpp>
#include <caf/telemetry/metric_registry.hpp>
#include <doctest/doctest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <limits>
#include <unistd.h>

using namespace astra;
using test::prometheus_text;

namespace {

/// What promtool says of a text; nothing when it is not installed or finds nothing.
std::string promtool(const std::string& text) {
  if (std::system("command -v promtool > /dev/null 2>&1") != 0)
    return {};
  auto path = std::filesystem::temp_directory_path() / ("astra-promtool-" + std::to_string(::getpid()));
  std::ofstream{path} << text;
  auto said = path.string() + ".said";
  std::string result;
  if (std::system(("promtool check metrics < " + path.string() + " > " + said + " 2>&1").c_str()) != 0) {
    std::ifstream in{said};
    result.assign(std::istreambuf_iterator<char>{in}, {});
  }
  std::filesystem::remove(path);
  std::filesystem::remove(said);
  return result;
}

} // namespace

TEST_CASE("a registry becomes text: names, units, totals, labels, one header per family, sorted") {
  caf::telemetry::metric_registry registry;
  registry
      .counter_instance("astra.resource", "nodes-evicted", {{"resource", "r2"}}, "Nodes that went offline.", "1", true)
      ->inc(3);
  registry
      .counter_instance("astra.resource", "nodes-evicted", {{"resource", "r1"}}, "Nodes that went offline.", "1", true)
      ->inc();
  registry.gauge_instance("astra.resource", "nodes", {{"resource", "r1"}}, "Nodes at home here.")->value(-7);
  registry.counter_instance<double>("astra", "busy", {}, "Time spent.", "seconds", true)->inc(1.5);
  registry.gauge_singleton("astra", "memory-bytes", "Memory.", "bytes")
      ->value(std::numeric_limits<std::int64_t>::max());
  metrics_text text;
  text.add_all(registry);
  CHECK(text.str()
        == "# HELP astra_busy_seconds_total Time spent.\n"
           "# TYPE astra_busy_seconds_total counter\n"
           "astra_busy_seconds_total 1.5\n"
           "# HELP astra_memory_bytes Memory.\n"
           "# TYPE astra_memory_bytes gauge\n"
           "astra_memory_bytes 9223372036854775807\n"
           "# HELP astra_resource_nodes Nodes at home here.\n"
           "# TYPE astra_resource_nodes gauge\n"
           "astra_resource_nodes{resource=\"r1\"} -7\n"
           "# HELP astra_resource_nodes_evicted_total Nodes that went offline.\n"
           "# TYPE astra_resource_nodes_evicted_total counter\n"
           "astra_resource_nodes_evicted_total{resource=\"r1\"} 1\n"
           "astra_resource_nodes_evicted_total{resource=\"r2\"} 3\n");
  prometheus_text read{text.str()};
  CHECK_MESSAGE(read.problems.empty(), read.all_problems());
  CHECK(promtool(text.str()) == "");
}

TEST_CASE("histograms are cumulative, end in +Inf, and their count is that of +Inf") {
  caf::telemetry::metric_registry registry;
  std::vector<double> bounds{0.1, 1.0};
  caf::span<const double> bounds_span{bounds.data(), bounds.size()};
  auto waits = registry.histogram_family<double>("astra", "wait", {"app"}, bounds_span, "Waits.", "seconds")
                   ->get_or_add({{"app", "ocr"}});
  for (auto value : {0.05, 0.1, 0.5, 7.0})
    waits->observe(value);
  std::vector<std::int64_t> sizes{10};
  registry
      .histogram_singleton<std::int64_t>("astra", "batch", caf::span<const std::int64_t>{sizes.data(), sizes.size()},
                                         "Batches.")
      ->observe(11);
  metrics_text text;
  text.add_all(registry);
  CHECK(text.str()
        == "# HELP astra_batch Batches.\n"
           "# TYPE astra_batch histogram\n"
           "astra_batch_bucket{le=\"10\"} 0\n"
           "astra_batch_bucket{le=\"+Inf\"} 1\n"
           "astra_batch_sum 11\n"
           "astra_batch_count 1\n"
           "# HELP astra_wait_seconds Waits.\n"
           "# TYPE astra_wait_seconds histogram\n"
           "astra_wait_seconds_bucket{app=\"ocr\",le=\"0.1\"} 2\n"
           "astra_wait_seconds_bucket{app=\"ocr\",le=\"1\"} 3\n"
           "astra_wait_seconds_bucket{app=\"ocr\",le=\"+Inf\"} 4\n"
           "astra_wait_seconds_sum{app=\"ocr\"} 7.65\n"
           "astra_wait_seconds_count{app=\"ocr\"} 4\n");
  prometheus_text read{text.str()};
  CHECK_MESSAGE(read.problems.empty(), read.all_problems());
  CHECK(promtool(text.str()) == "");
}

TEST_CASE("what users named cannot break a line: quotes, backslashes, line ends, bytes that are not UTF-8") {
  metrics_text text;
  text.describe("9lives of.a-cat", "1", metric_kind::gauge, "One line\nand a \\ in \"quotes\".");
  text.add({{"na me", "a\"b\\c\nd"}, {"__name__", "x"}, {"0", "\xff"}}, std::int64_t{1});
  text.add({{"na-me", "y"}, {"na me", "z"}}, std::numeric_limits<double>::quiet_NaN());
  text.add({}, -std::numeric_limits<double>::infinity());
  CHECK(text.str()
        == "# HELP _9lives_of_a_cat One line\\nand a \\\\ in \"quotes\".\n"
           "# TYPE _9lives_of_a_cat gauge\n"
           "_9lives_of_a_cat -Inf\n"
           "_9lives_of_a_cat{_0=\"\xef\xbf\xbd\",label__name__=\"x\",na_me=\"a\\\"b\\\\c\\nd\"} 1\n"
           "_9lives_of_a_cat{na_me=\"y\"} NaN\n");
  prometheus_text read{text.str()};
  CHECK_MESSAGE(read.problems.empty(), read.all_problems());
  CHECK(read.value("_9lives_of_a_cat", {{"_0", "\xef\xbf\xbd"}, {"label__name__", "x"}, {"na_me", "a\"b\\c\nd"}})
        == "1");
  CHECK(promtool(text.str()) == "");
}

TEST_CASE("families whose names become the same share a header, or get another name when they are of another kind") {
  metrics_text text;
  text.describe("a.b", "", metric_kind::gauge, "First.");
  text.add({{"x", "1"}}, std::int64_t{1});
  text.describe("a-b", "", metric_kind::gauge, "Second.");
  text.add({{"x", "1"}}, std::int64_t{2});
  text.add({{"x", "2"}}, std::int64_t{3});
  text.describe("a/b", "", metric_kind::histogram, "Third.");
  text.add({{"le", "own"}}, std::vector<metrics_text::bucket>{{std::int64_t{1}, 5}}, std::int64_t{4});
  text.describe("nothing", "", metric_kind::gauge, "Has no samples.");
  CHECK(text.str()
        == "# HELP a_b First.\n# TYPE a_b gauge\na_b{x=\"1\"} 1\na_b{x=\"2\"} 3\n"
           "# HELP a_b_histogram Third.\n# TYPE a_b_histogram histogram\n"
           "a_b_histogram_bucket{exported_le=\"own\",le=\"1\"} 5\n"
           "a_b_histogram_bucket{exported_le=\"own\",le=\"+Inf\"} 5\n"
           "a_b_histogram_sum{exported_le=\"own\"} 4\na_b_histogram_count{exported_le=\"own\"} 5\n");
  CHECK(prometheus_text{text.str()}.problems.empty());
}

TEST_CASE("units and totals that a name has already are not said twice") {
  metrics_text text;
  for (auto name : {"requests-total", "requests"}) {
    text.describe(name, "1", metric_kind::counter, "Requests.");
    text.add({{"from", name}}, std::int64_t{1});
  }
  text.describe("wait-seconds", "seconds", metric_kind::counter, "Waits.");
  text.add({}, 1.0);
  text.describe("sent_total", "bytes", metric_kind::counter, "Bytes.");
  text.add({}, std::int64_t{1});
  prometheus_text read{text.str()};
  CHECK(read.families.size() == 3);
  CHECK(read.families.count("requests_total") == 1);
  CHECK(read.families.count("wait_seconds_total") == 1);
  CHECK(read.families.count("sent_bytes_total") == 1);
}

TEST_CASE("the strict reader refuses what is wrong") {
  for (auto bad :
       {"a 1", "# HELP a x\n# TYPE a gauge\na 1 1700000000\n", "# HELP a x\n# TYPE a gauge\na{b=\"c} 1\n",
        "# HELP a x\n# TYPE a counter\na 1\n", "# HELP a x\n# TYPE a gauge\na 1\na 1\n", "# HELP a x\n# TYPE a gauge\n",
        "# HELP a x\n# TYPE a histogram\na_bucket{le=\"1\"} 1\na_sum 1\na_count 1\n",
        "# HELP b x\n# TYPE b gauge\nb 1\n# HELP a x\n# TYPE a gauge\na 1\n"}) {
    CAPTURE(bad);
    CHECK_FALSE(prometheus_text{bad}.problems.empty());
  }
}
