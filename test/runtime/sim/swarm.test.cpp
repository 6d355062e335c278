#include "runtime/sim/swarm.hpp"

#include "config/scenario.hpp"
#include "test/support/sim_fixture.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

namespace astra::sim {
namespace {

using namespace std::chrono_literals;
using test::read_scenario;

std::shared_ptr<const scenario> small(const std::string& swarm) {
  return read_scenario(R"(
name = "small"
about = "Every group has a zone or two."
seeds = 1
horizon = "30s"
swarm = )" + swarm + R"(

[[machines]]
name = "resource"
roles = ["resource"]
count = 2
zones = ["a", "b"]

[[machines]]
name = "node"
roles = ["node"]
count = 3
zones = ["a", "b"]

[[machines]]
name = "front"
roles = ["scheduler", "gateway"]

[[apps]]
file = "config/examples/apps/echo.toml"
)");
}

std::vector<std::string> hit(const std::string& target) {
  auto what = small("[]");
  auto machines = machines_of(*what);
  std::vector<std::string> result;
  for (auto place : resolve_target(target, machines))
    result.push_back(machines[place].name);
  return result;
}

TEST_CASE("a target is a machine, a group, a role, a zone or everything") {
  using names = std::vector<std::string>;
  CHECK(hit("node-2") == names{"node-2"});
  CHECK(hit("node-*") == names{"node-1", "node-2", "node-3"});
  CHECK(hit("role:gateway") == names{"front-1"});
  CHECK(hit("role:node") == names{"node-1", "node-2", "node-3"});
  CHECK(hit("zone:a") == names{"resource-1", "node-1", "node-3"});
  CHECK(hit("*").size() == 6);
  CHECK(hit("node-4").empty());
  CHECK(hit("zone:c").empty());
  CHECK(hit("node").empty());
}

TEST_CASE("the faults of a seed are its own, in the order of their start, within the horizon") {
  auto what = small(R"(["all"])");
  std::set<std::string> kinds;
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    auto faults = draw_faults(*what, draws{seed});
    auto again = draw_faults(*what, draws{seed});
    REQUIRE(faults.size() == again.size());
    CHECK(faults.size() <= what->swarm_faults);
    for (std::size_t i = 0; i < faults.size(); ++i) {
      CHECK(faults[i].at == again[i].at);
      CHECK(faults[i].kind == again[i].kind);
      CHECK(faults[i].targets == again[i].targets);
      CHECK(faults[i].at + faults[i].duration <= what->horizon);
      if (i > 0)
        CHECK(faults[i - 1].at <= faults[i].at);
      kinds.insert(faults[i].kind);
    }
  }
  // Nothing is left out for ever.
  CHECK(kinds == std::set<std::string>(what->swarm.begin(), what->swarm.end()));
}

TEST_CASE("twins are drawn for machines with a name to fight for: nodes and, as often, schedulers") {
  auto what = small(R"(["twin"])");
  std::map<std::string, int> hits;
  for (std::uint64_t seed = 1; seed <= 300; ++seed)
    for (auto& fault : draw_faults(*what, draws{seed})) {
      REQUIRE(fault.targets.size() == 1);
      ++hits[fault.targets.front()];
    }
  CHECK(hits.size() == 4);
  CHECK(hits.count("resource-1") + hits.count("resource-2") == 0);
  CHECK(hits["front-1"] > hits["node-1"] + hits["node-2"]);
}

TEST_CASE("each kind is absent in about half of the seeds") {
  auto what = small(R"(["crash", "stall"])");
  std::map<std::string, int> seeds_with;
  auto without_any = 0;
  for (std::uint64_t seed = 1; seed <= 1000; ++seed) {
    std::set<std::string> kinds;
    for (auto& fault : draw_faults(*what, draws{seed}))
      kinds.insert(fault.kind);
    without_any += kinds.empty() ? 1 : 0;
    for (auto& kind : kinds)
      ++seeds_with[kind];
  }
  CHECK(without_any > 200);
  CHECK(without_any < 300);
  for (auto& [kind, times] : seeds_with) {
    CAPTURE(kind);
    CHECK(times > 400);
    CHECK(times < 530);
  }
}

TEST_CASE("taking a fault that always happens away changes no drawn fault") {
  auto with = *small(R"(["crash", "cut", "stall"])");
  auto without = with;
  scenario_fault fixed;
  fixed.kind = "power";
  fixed.at = 10s;
  fixed.targets = {"node-1"};
  with.faults.push_back(fixed);
  for (std::uint64_t seed = 1; seed <= 100; ++seed) {
    auto longer = draw_faults(with, draws{seed});
    auto shorter = draw_faults(without, draws{seed});
    std::erase_if(longer, [](auto& fault) { return fault.kind == "power"; });
    REQUIRE(longer.size() == shorter.size());
    for (std::size_t i = 0; i < longer.size(); ++i) {
      CHECK(longer[i].kind == shorter[i].kind);
      CHECK(longer[i].at == shorter[i].at);
      CHECK(longer[i].duration == shorter[i].duration);
      CHECK(longer[i].targets == shorter[i].targets);
    }
  }
}

TEST_CASE("a kind that is left out of the swarm moves the start and the length of no other fault") {
  // The last of the list, so that the others keep their places.
  auto with = small(R"(["crash", "cut", "stall"])");
  auto without = small(R"(["crash", "cut"])");
  auto compared = 0;
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    std::set<std::pair<nanoseconds, nanoseconds>> all;
    for (auto& fault : draw_faults(*with, draws{seed}))
      all.emplace(fault.at, fault.duration);
    if (all.empty())
      continue;
    for (auto& fault : draw_faults(*without, draws{seed})) {
      CHECK(all.contains({fault.at, fault.duration}));
      ++compared;
    }
  }
  CHECK(compared > 100);
}

TEST_CASE("lengths reach from a tenth to three times the protocol's timers") {
  auto what = small(R"(["crash", "stall", "cut"])");
  auto& options = what->options;
  nanoseconds shortest{1h};
  nanoseconds longest{0};
  auto undercut = 0;
  auto outlasted = 0;
  for (std::uint64_t seed = 1; seed <= 2000; ++seed)
    for (auto& fault : draw_faults(*what, draws{seed})) {
      shortest = std::min(shortest, fault.duration);
      longest = std::max(longest, fault.duration);
      undercut += fault.duration < options.resource.suspect_after ? 1 : 0;
      outlasted += fault.duration > options.resource.evict_after ? 1 : 0;
    }
  CHECK(shortest < options.resource.liveness_tick / 5);
  CHECK(longest > nanoseconds{options.resource.evict_after} * 2);
  CHECK(undercut > 500);
  CHECK(outlasted > 500);
}

} // namespace
} // namespace astra::sim
