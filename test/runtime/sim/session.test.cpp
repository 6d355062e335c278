#include "runtime/sim/session.hpp"

#include "messages/wire/app.pb.h"
#include "runtime/sim/check.hpp"
#include "runtime/sim/snapshot.hpp"

#include <doctest/doctest.h>
#include <fmt/format.h>
#include <unistd.h>

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

using namespace astra;
using namespace astra::sim;
using namespace std::chrono_literals;

namespace {

std::shared_ptr<const scenario> small(const std::string& more = {}, const std::string& head = {}) {
  auto config = parse_scenario(head + R"(
name = "small"
about = "For the tests of sessions."
horizon = "10s"
quiet = "5s"
step_max = "100us"
[[machines]]
name = "resource"
roles = ["resource"]
[[machines]]
name = "node"
roles = ["node"]
count = 2
[[machines]]
name = "control"
roles = ["scheduler", "gateway"]
[[apps]]
name = "ocr"
command = ["ocr"]
[[load]]
app = "ocr"
per_s = 4
)" + more,
                               "small.toml");
  for (auto& problem : config.problems)
    MESSAGE(to_string(problem));
  REQUIRE(config.value);
  return std::move(config.value);
}

/// A check that fails as soon as a Resource gives a node up, and no other: what else may be wrong with the product is
/// for other tests.
const std::string no_eviction = [] {
  std::string text = "[[checks]]\ninvariant = \"eviction-bound\"\nbound = \"1ns\"\n";
  for (auto& check : all_checks())
    if (check.name != "eviction-bound")
      text += fmt::format("[[checks]]\ninvariant = \"{}\"\noff = true\nwhy = \"not tested here\"\n", check.name);
  return text;
}();

/// What the sessions below do by hand at 2 s.
const std::string power_failure = "[[faults]]\nkind = \"power\"\nat = \"2000000001ns\"\nduration = \"8s\"\n"
                                  "targets = [\"node-2\"]\n";

/// A seed with which the Resource's ticks fall such that it is later than that.
std::uint64_t failing_seed() {
  static const auto found = [] {
    auto what = small(no_eviction + power_failure);
    for (std::uint64_t seed = 1; seed <= 50; ++seed)
      if (run_world_apart(what, seed, 60s).check == "eviction-bound")
        return seed;
    return std::uint64_t{0};
  }();
  REQUIRE(found != 0);
  return found;
}

struct talk {
  explicit talk(std::shared_ptr<const scenario> what = small(), std::uint64_t seed = 7)
    : session(std::move(what), seed, {}) {}

  std::string good(const std::string& line) {
    auto answer = session.execute(line);
    CAPTURE(line);
    CHECK_MESSAGE(answer.good, answer.text);
    CHECK_FALSE(answer.ended);
    return answer.text;
  }

  std::string bad(const std::string& line) {
    auto answer = session.execute(line);
    CAPTURE(line);
    CHECK_FALSE_MESSAGE(answer.good, answer.text);
    CHECK_FALSE(answer.ended);
    return answer.text;
  }

  /// "hash 0123...": of all events so far.
  std::string hash() {
    auto text = good("time");
    auto at = text.find("hash ");
    REQUIRE(at != std::string::npos);
    return text.substr(at, 21);
  }

  sim::session session;
};

bool has(const std::string& text, const std::string& part) {
  auto found = text.find(part) != std::string::npos;
  if (!found)
    MESSAGE(text, " lacks ", part);
  return found;
}

} // namespace

TEST_CASE("a session steps, runs and looks without changing the run") {
  talk straight;
  straight.good("run 3s");
  talk looking;
  CHECK(has(looking.good("seed"), "7"));
  CHECK(has(looking.good("step"), "#"));
  looking.good("step 20");
  CHECK(has(looking.good("machines"), "control-1"));
  CHECK(has(looking.good("machines node-*"), "node-2"));
  CHECK(has(looking.good("next node-1"), "node-1/"));
  auto text = looking.good("peek node-1");
  CHECK(has(text, "up"));
  CHECK(has(text, "astra.node#"));
  CHECK(has(looking.good("until 2s"), "2.000000000s"));
  CHECK(looking.session.now() == 2s);
  text = looking.good("peek resource-1");
  CHECK(has(text, "connections: node-1, node-2"));
  CHECK(has(looking.good("log 3"), "log"));
  CHECK(has(looking.good("events 4"), "#"));
  CHECK(has(looking.good("events 2 boot"), "boot"));
  CHECK(has(looking.good("why"), "#"));
  CHECK(has(looking.good("help"), "timeline"));
  CHECK(has(looking.good("help back"), "snapshot"));
  CHECK(looking.good("").empty());
  CHECK(looking.good("# a note").empty());
  CHECK(has(looking.good("run 1s"), "3.000000000s"));
  CHECK(looking.hash() == straight.hash());
  auto end = looking.session.execute("quit");
  CHECK(end.ended);
  CHECK(end.good);
}

TEST_CASE("what is wrong is told with what is right, and changes nothing") {
  talk it;
  it.good("run 1s");
  auto before = it.hash();
  CHECK(has(it.bad("stpe"), "did you mean 'step'?"));
  CHECK(has(it.bad("crsh node-1"), "did you mean 'crash'?"));
  CHECK(has(it.bad("peek nod-1"), "did you mean 'node-1'?"));
  CHECK(has(it.bad("crash node-9"), "node-9"));
  CHECK(has(it.bad("stall node-1"), "duration"));
  CHECK(has(it.bad("cut node-1 8s"), "others"));
  CHECK(has(it.bad("fault"), "Usage: fault"));
  CHECK(has(it.bad("fault explode node-1"), "There are: crash"));
  CHECK(has(it.bad("run fast"), "Usage: run"));
  CHECK(has(it.bad("run 1s 2s"), "'2s' is too much"));
  CHECK(has(it.bad("back"), "Usage: back"));
  CHECK(has(it.bad("why #999999"), "no event 999999"));
  CHECK(has(it.bad("save /nowhere/x.toml"), "cannot be written"));
  CHECK(has(it.bad("until 500ms"), "is over"));
  CHECK(it.hash() == before);
}

TEST_CASE("going back and forward again is the same run, from time, from events and from beyond the end") {
  talk straight;
  straight.good("run 4s");
  auto at_4s = straight.hash();
  straight.good("run");
  auto at_end = straight.hash();

  talk it;
  it.good("run 4s");
  CHECK(it.hash() == at_4s);
  it.good("run 1500ms");
  CHECK(has(it.good("back 1500ms"), "from the snapshot of 4.000000000s"));
  CHECK(it.session.now() == 4s);
  CHECK(it.hash() == at_4s);
  // A snapshot can be used again, and one before it as well.
  it.good("run 300ms");
  it.good("back 300ms");
  CHECK(it.hash() == at_4s);
  it.good("back 2500ms");
  CHECK(it.session.now() == 1500ms);
  it.good("run 2500ms");
  CHECK(it.hash() == at_4s);
  it.good("step 7");
  auto here = it.hash();
  it.good("run 2s");
  it.good("back 100 events");
  it.good("back 3s");
  it.good("run 10s");
  it.good("run");
  CHECK(it.hash() == at_end);
  CHECK(has(it.bad("run 1s"), "'back 1s'"));
  it.good("back 100s");
  CHECK(it.session.now() == 0s);
  it.good("run 4s");
  CHECK(it.hash() == at_4s);
  it.good("step 7");
  CHECK(it.hash() == here);
}

TEST_CASE("with two snapshots going back is a run from the beginning, to the same state") {
  session_options options;
  options.snapshots = 2;
  session it{small(), 7, options};
  CHECK(it.execute("run 4s").good);
  auto text = it.execute("time").text;
  CHECK(has(text, " 2 snapshots"));
  CHECK(it.execute("run 3s").good);
  auto answer = it.execute("back 3s");
  CHECK(answer.good);
  CHECK(has(answer.text, "from the snapshot of 0.000000000s"));
  CHECK(answer.now == 4s);
  auto again = it.execute("time").text;
  CHECK(again.substr(0, again.find("hash") + 21) == text.substr(0, text.find("hash") + 21));
}

TEST_CASE("injected faults happen, survive going back to after them, and are undone by going back to before") {
  talk it;
  it.good("run 2300ms");
  auto before = it.hash();
  CHECK(has(it.good("crash node-1 2s"), "crash node-1 for 2s"));
  it.good("run 100ms");
  CHECK(has(it.good("peek node-1"), "down"));
  CHECK(has(it.good("events 5 crash"), "node-1"));
  it.good("run 2s");
  CHECK(has(it.good("peek node-1"), "boot 2"));
  auto after = it.hash();
  // The snapshot of 2 s does not know of the crash.
  it.good("back 1900ms");
  CHECK(it.session.now() == 2500ms);
  CHECK(has(it.good("peek node-1"), "down"));
  it.good("run 1900ms");
  CHECK(it.hash() == after);
  CHECK(has(it.good("back 2100ms"), "1 of your faults not yet there"));
  CHECK(it.hash() == before);
  it.good("run 100ms");
  CHECK(has(it.good("peek node-1"), " up "));
}

TEST_CASE("a saved session is a scenario that repeats it to the last event") {
  auto path = (std::filesystem::temp_directory_path() / fmt::format("astra-session-{}.toml", ::getpid())).string();
  std::string hash;
  {
    talk it{
        small("[[faults]]\nkind = \"drift\"\nat = \"3s\"\nduration = \"2s\"\namount = 300\ntargets = [\"node-1\"]\n",
              "swarm = [\"stall\", \"crash\"]\n")};
    it.good("run 1s");
    it.good("cut node-1 resource-1 1500ms");
    it.good("stall node-2 2s");
    it.good("step 30");
    it.good("fault slow_link node-2 -> role:resource for 1s amount 20");
    it.good("run 1500ms");
    it.good("drift node-2 200 5s");
    it.good("scale ocr 2");
    it.good("run 1s");
    it.good("process_crash node-*");
    it.good("partition resource-1 | role:node for 700ms");
    it.good("run 500ms");
    it.good("back 200ms");
    it.good("stop node-1 1s");
    CHECK(has(it.good("save " + path), "seed 7"));
    it.good("run");
    hash = it.hash();
  }
  auto config = load_scenario(path, {});
  for (auto& problem : config.problems)
    MESSAGE(to_string(problem));
  REQUIRE(config.value);
  CHECK(config.value->faults.size() >= 9);
  CHECK(config.value->swarm.empty());
  auto again = run_world_apart(std::move(config.value), 7, 60s);
  CHECK(fmt::format("hash {:016x}", again.trace_hash) == hash);
  std::filesystem::remove(path);
}

TEST_CASE("a failure ends the run, is explained, and can be gone back from") {
  talk it{small(no_eviction), failing_seed()};
  it.good("run 2s");
  it.good("power node-2 8s");
  CHECK(has(it.good("until fail"), "FAILED eviction-bound"));
  auto failed_at = it.session.now();
  CHECK(has(it.bad("step"), "has failed eviction-bound"));
  auto why = it.good("why");
  CHECK(has(why, "eviction-bound"));
  CHECK(has(why, "resource-1"));
  CHECK(has(it.good("time"), "FAILED"));
  CHECK(has(it.good("back 200ms"), "Back at"));
  CHECK(it.session.now() < failed_at);
  CHECK(has(it.good("run"), "FAILED eviction-bound"));
  CHECK(it.session.now() == failed_at);
}

TEST_CASE("branches are many futures of one moment, and leave it as it is") {
  talk it{small(no_eviction), failing_seed()};
  it.good("run 2s");
  CHECK(has(it.good("branch 6"), "0 of 6 futures fail"));
  it.good("power node-2 8s");
  it.good("run 1500ms");
  auto before = it.hash();
  auto text = it.good("branch 6");
  CHECK(has(text, "6 of 6 futures fail (1.00)"));
  CHECK(has(text, "6 eviction-bound"));
  CHECK(it.hash() == before);
}

TEST_CASE("reseeded futures differ from the run and from each other; the same future is the same") {
  auto what = small();
  auto tail = [&](std::optional<std::uint64_t> seed) {
    auto work = [&] {
      world run{what, 7, {}};
      run.run_until(3s);
      if (seed)
        run.reseed(*seed);
      return encode_result(run.run());
    };
    return to_result(run_apart({work}, 1, 60s).front()).trace_hash;
  };
  auto straight = run_world_apart(what, 7, 60s).trace_hash;
  CHECK(tail(std::nullopt) == straight);
  CHECK(tail(1) != straight);
  CHECK(tail(1) != tail(2));
  CHECK(tail(1) == tail(1));
}

TEST_CASE("a timeline has the share of failing futures at each moment up to the failure") {
  talk it{small(no_eviction), failing_seed()};
  it.good("run 2s");
  it.good("power node-2 8s");
  auto text = it.good("timeline 8 4");
  CHECK(has(text, "fails eviction-bound"));
  CHECK(has(text, "1.00"));
  // The fault is part of the scenario, so every future has it.
  auto report = timeline(small(no_eviction + power_failure), failing_seed(), 5, {.branches = 4, .jobs = 2});
  CHECK(report.run.check == "eviction-bound");
  REQUIRE(report.points.size() == 5);
  for (auto& point : report.points) {
    CHECK(point.branches == 4);
    CHECK(point.at < report.run.at);
  }
  CHECK(report.points.back().failed == 4);
}
