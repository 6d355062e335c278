#include "runtime/sim/shrink.hpp"

#include "messages/wire/app.pb.h"
#include "runtime/sim/check.hpp"
#include "runtime/sim/snapshot.hpp"
#include "runtime/sim/swarm.hpp"

#include <doctest/doctest.h>
#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <vector>

using namespace astra;
using namespace astra::sim;
using namespace std::chrono_literals;

namespace {

scenario parse(const std::string& text) {
  auto config = parse_scenario(text, "test.toml");
  for (auto& problem : config.problems)
    MESSAGE(to_string(problem));
  REQUIRE(config.value);
  return *config.value;
}

const char* const machines = R"(
name = "planted"
about = "For the tests of shrinking."
horizon = "20s"
quiet = "10s"
step_max = "100us"
[[machines]]
name = "resource"
roles = ["resource"]
count = 2
[[machines]]
name = "node"
roles = ["node"]
count = 5
[[machines]]
name = "scheduler"
roles = ["scheduler"]
[[machines]]
name = "gateway"
roles = ["gateway"]
[[apps]]
name = "ocr"
command = ["ocr"]
[[apps]]
name = "asr"
command = ["asr"]
[[load]]
app = "ocr"
per_s = 2
[[load]]
app = "asr"
per_s = 2
)";

std::string fault_text(const std::string& kind, int at_s, const std::string& target, int duration_s) {
  return fmt::format("[[faults]]\nkind = \"{}\"\nat = \"{}s\"\ntargets = [\"{}\"]\nduration = \"{}s\"\n", kind, at_s,
                     target, duration_s);
}

/// Sixteen faults of two kinds.
std::string many_faults() {
  std::string text;
  for (auto i = 1; i <= 16; ++i)
    text += fault_text(i % 2 == 0 ? "stall" : "crash", i, fmt::format("node-{}", i % 5 + 1), 2);
  return text;
}

bool has_fault(const scenario& what, const std::string& kind, nanoseconds at, nanoseconds least) {
  return std::any_of(what.faults.begin(), what.faults.end(), [&](auto& fault) {
    return fault.kind == kind && fault.at > at - 500ms && fault.at < at + 500ms && fault.duration >= least;
  });
}

run_result failing(const std::string& check, nanoseconds at) {
  run_result result;
  result.check = check;
  result.failure = "planted";
  result.at = at;
  return result;
}

run_result passing() {
  run_result result;
  result.passed = true;
  return result;
}

} // namespace

TEST_CASE("of sixteen faults the two that matter remain, at half their length, in at most 120 runs") {
  shrink_options options;
  options.run = [](const scenario& what, std::uint64_t) {
    return has_fault(what, "crash", 5s, 600ms) && has_fault(what, "stall", 12s, 0s) ? failing("two", 12s) : passing();
  };
  auto what = parse(machines + many_faults());
  auto result = shrink(what, 1, options);
  CHECK_FALSE(result.failure.passed);
  CHECK(result.failure.check == "two");
  REQUIRE(result.smallest.faults.size() == 2);
  CHECK(result.smallest.faults[0].kind == "crash");
  CHECK(result.smallest.faults[0].duration == 1s);
  CHECK(result.smallest.faults[1].kind == "stall");
  CHECK(result.smallest.faults[1].duration < 2ms);
  CHECK(result.minimal);
  CHECK(result.trials <= 120);
  CHECK(result.before.faults == 16);
  CHECK(result.after.faults == 2);
  CHECK(result.before.machines == 9);
  // A Resource, which every scenario needs, and nodes up to the third.
  CHECK(result.after.machines == 4);
  CHECK(result.after.loads == 0);
  CHECK(result.after.apps == 0);
  // Nothing after the failure is left.
  CHECK(result.after.length < 12100ms);
  CHECK(validate(result.smallest).empty());
}

TEST_CASE("the fewest machines that fail remain, and faults of those that are gone go too") {
  shrink_options options;
  options.run = [](const scenario& what, std::uint64_t) {
    auto nodes = std::find_if(what.machines.begin(), what.machines.end(), [](auto& one) { return one.name == "node"; });
    return nodes != what.machines.end() && nodes->count >= 3 && !what.load.empty() ? failing("crowded", 3s) : passing();
  };
  auto result = shrink(parse(machines + many_faults()), 1, options);
  CHECK(result.after.faults == 0);
  CHECK(result.after.loads == 1);
  CHECK(result.after.apps == 1);
  auto& groups = result.smallest.machines;
  auto nodes = std::find_if(groups.begin(), groups.end(), [](auto& one) { return one.name == "node"; });
  REQUIRE(nodes != groups.end());
  CHECK(nodes->count == 3);
  CHECK(result.after.machines <= 6);
}

TEST_CASE("a candidate that fails another invariant is not taken for the failure") {
  shrink_options options;
  options.run = [](const scenario& what, std::uint64_t) {
    return has_fault(what, "stall", 4s, 0s) ? failing("wanted", 5s) : failing("another", 1s);
  };
  auto result = shrink(parse(machines + many_faults()), 1, options);
  CHECK(result.failure.check == "wanted");
  REQUIRE(result.smallest.faults.size() == 1);
  CHECK(result.smallest.faults[0].kind == "stall");
}

TEST_CASE("a scenario that passes is not shrunk, and takes one run") {
  shrink_options options;
  options.run = [](const scenario&, std::uint64_t) { return passing(); };
  auto result = shrink(parse(machines + many_faults()), 1, options);
  CHECK(result.failure.passed);
  CHECK(result.trials == 1);
  CHECK(result.after.faults == 16);
}

TEST_CASE("shrinking stops when the runs are used up, with what it has") {
  shrink_options options;
  options.trials = 7;
  std::uint64_t runs = 0;
  options.run = [&](const scenario& what, std::uint64_t) {
    ++runs;
    return has_fault(what, "crash", 5s, 1ms) ? failing("one", 6s) : passing();
  };
  auto result = shrink(parse(machines + many_faults()), 1, options);
  CHECK(runs == 7);
  CHECK(result.trials == 7);
  CHECK_FALSE(result.minimal);
  CHECK(has_fault(result.smallest, "crash", 5s, 1ms));
}

TEST_CASE("what a seed draws can be written down: 200 seeds of smoke give valid files with the same faults") {
  auto config = load_scenario(ASTRA_SOURCE_DIR "/config/scenarios/smoke.toml", {});
  REQUIRE(config.value);
  std::size_t faults = 0;
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    auto written = make_explicit(*config.value, seed);
    for (auto& rule : validate(written))
      FAIL_CHECK(fmt::format("seed {}: {}: {}", seed, rule.key, rule.message));
    CHECK(written.swarm.empty());
    faults += written.faults.size();
    auto back = parse(write_scenario(written));
    CHECK(write_scenario(back) == write_scenario(written));
    CHECK(draw_faults(back, draws{seed}).size() == draw_faults(*config.value, draws{seed}).size());
  }
  CHECK(faults > 400);
}

TEST_CASE("an explicit scenario runs as the one it was drawn from") {
  auto config = load_scenario(ASTRA_SOURCE_DIR "/config/scenarios/smoke.toml", {});
  REQUIRE(config.value);
  config.value->horizon = 6s;
  config.value->quiet = 4s;
  std::shared_ptr<const scenario> drawn{std::move(config.value)};
  for (std::uint64_t seed : {3, 4}) {
    auto written = std::make_shared<const scenario>(parse(write_scenario(make_explicit(*drawn, seed))));
    auto limit = 60s;
    auto first = run_world_apart(drawn, seed, limit);
    auto second = run_world_apart(written, seed, limit);
    CHECK(first.events > 1000);
    CHECK(first.check != "crash");
    CHECK(first.trace_hash == second.trace_hash);
  }
}

TEST_CASE("a crash in a run apart is a result, and so is a hang") {
  auto crash = run_apart({[]() -> std::string {
                           ::dprintf(STDERR_FILENO, "broken invariant\n");
                           ::raise(SIGABRT);
                           return {};
                         }},
                         1, 10s);
  CHECK(to_result(crash[0]).check == "crash");
  CHECK(to_result(crash[0]).failure.find("broken invariant") != std::string::npos);
  auto hang = run_apart({[]() -> std::string {
                           for (;;)
                             ::pause();
                         },
                         [] { return std::string{"done"}; }},
                        2, 300ms);
  CHECK(to_result(hang[0]).check == "hang");
  CHECK(hang[1].how == apart_end::way::finished);
  CHECK(hang[1].bytes == "done");
}

TEST_CASE("a real failure shrinks to one fault: an eviction bound of 1 ns that no Resource can keep") {
  std::string text = machines;
  text += "[[checks]]\ninvariant = \"eviction-bound\"\nbound = \"1ns\"\n";
  for (auto& check : all_checks())
    if (check.name != "eviction-bound")
      text += fmt::format("[[checks]]\ninvariant = \"{}\"\noff = true\nwhy = \"not tested here\"\n", check.name);
  text += fault_text("slow_disk", 1, "scheduler-1", 3) + "amount = 5\n";
  text += fault_text("stall", 2, "gateway-1", 1);
  text += fault_text("power", 4, "node-3", 9);
  text += fault_text("stall", 6, "scheduler-1", 1);
  shrink_options options;
  options.trials = 100;
  // Not with every seed is the Resource's tick that late.
  auto what = std::make_shared<const scenario>(parse(text));
  std::uint64_t seed = 1;
  while (seed < 50 && run_world_apart(what, seed, 60s).passed)
    ++seed;
  auto result = shrink(*what, seed, options);
  INFO(result.failure.failure);
  CHECK(result.failure.check == "eviction-bound");
  CHECK(result.before.faults == 4);
  REQUIRE(result.after.faults == 1);
  CHECK(result.smallest.faults[0].kind == "power");
  CHECK(result.after.machines <= 5);
  CHECK(result.after.loads == 0);
  CHECK(result.after.length < result.before.length / 2);
}
