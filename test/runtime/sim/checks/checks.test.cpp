#include "test/runtime/sim/checks/staged_history.hpp"

#include <algorithm>
#include <set>

namespace astra::sim::test {
namespace {

TEST_CASE("checks: each has a name of its own, a sentence, and its place in the order") {
  auto& all = all_checks();
  CHECK(all.size() >= 25);
  std::set<std::string> names;
  for (auto& info : all) {
    CHECK(names.insert(info.name).second);
    CHECK(info.about.ends_with('.'));
    CHECK(info.bound >= nanoseconds{0});
  }
  CHECK(std::is_sorted(all.begin(), all.end(), [](auto& a, auto& b) { return a.name < b.name; }));
  auto made = make_checks(scenario{});
  REQUIRE(made.size() == all.size());
  for (std::size_t i = 0; i < all.size(); ++i)
    CHECK(made[i]->name() == all[i].name);
}

TEST_CASE("checks: a scenario turns one off, or moves its bound") {
  scenario script;
  script.checks.push_back({"silent", {}, true, "half of the cluster is dead"});
  auto made = make_checks(script);
  CHECK(made.size() == all_checks().size() - 1);
  CHECK(std::none_of(made.begin(), made.end(), [](auto& entry) { return entry->name() == "silent"; }));

  staged_history strict{"no-route-to-dead", 1s};
  auto gate = strict.machine("gateway-1", {process_role::gateway});
  auto worker = strict.machine("node-1", {process_role::node});
  auto router = strict.actor(gate, "router");
  auto node = strict.actor(worker, "node");
  strict.at(1s).happen(event_kind::crash, worker);
  strict.at(3s).tell(router, node, reserve{});
  CHECK(!strict.good());
}

TEST_CASE("checks: events reach those who want them, and the first failure stays") {
  struct listener : check {
    explicit listener(topics what) : what_(what) {}
    std::string_view name() const override { return "listener"; }
    topics wants() const override { return what_; }
    void on_event(const event& what, const world_facts&) override {
      seen.push_back(what.number);
      if (what.text == "fail")
        fail(std::to_string(what.number));
    }
    std::vector<std::uint64_t> seen;

  private:
    topics what_;
  };
  auto beats = std::make_unique<listener>(topics{}.add(event_kind::step, {message_kind::heartbeat}));
  auto logs = std::make_unique<listener>(topics{}.add(event_kind::log));
  auto& first = *beats;
  auto& second = *logs;
  std::vector<std::unique_ptr<check>> both;
  both.push_back(std::move(beats));
  both.push_back(std::move(logs));
  check_set set{std::move(both)};
  staged_world world;
  auto content = caf::make_message(heartbeat{});
  auto other = caf::make_message(subscribe{});
  auto feed = [&](std::uint64_t number, event_kind kind, const caf::message* message, std::string_view text) {
    event what;
    what.number = number;
    what.kind = kind;
    what.content = message;
    what.text = text;
    return set.on_event(what, world);
  };
  CHECK(feed(1, event_kind::step, &content, {}));
  CHECK(feed(2, event_kind::send, &content, {}));
  CHECK(feed(3, event_kind::step, &other, {}));
  CHECK(feed(4, event_kind::log, nullptr, "fine"));
  CHECK(first.seen == std::vector<std::uint64_t>{1});
  CHECK(second.seen == std::vector<std::uint64_t>{4});
  CHECK(set.failed() == nullptr);
  CHECK(!feed(5, event_kind::log, nullptr, "fail"));
  CHECK(!feed(6, event_kind::log, nullptr, "fail"));
  REQUIRE(set.failed() == &second);
  CHECK(second.failure() == "5");
}

TEST_CASE("checks: a step whose sender was seen on another machine is heard, not said") {
  struct listener : check {
    std::string_view name() const override { return "listener"; }
    void on_event(const event& what, const world_facts&) override { said_here = said(what); }
    bool said_here = false;
  };
  std::vector<std::unique_ptr<check>> one;
  one.push_back(std::make_unique<listener>());
  auto& ears = static_cast<listener&>(*one.front());
  check_set set{std::move(one)};
  staged_world world;
  auto step = [&](std::uint32_t machine, std::uint64_t actor, std::uint64_t sender) {
    event what;
    what.machine = machine_id{machine};
    what.actor = actor;
    what.sender = sender;
    set.on_event(what, world);
    return ears.said_here;
  };
  CHECK(step(1, 7, 0));
  CHECK(step(1, 8, 7));
  CHECK(!step(2, 9, 7));
  CHECK(step(2, 10, 9));
}

TEST_CASE("checks: words, fields and numbers of log lines") {
  std::string_view line = "node.claim node=n1 token=00000000000000ff reason=\"needs 4 cores\" empty=";
  CHECK(first_word(line) == "node.claim");
  CHECK(field(line, "node=") == "n1");
  CHECK(field(line, "reason=") == "needs 4 cores");
  CHECK(field(line, "empty=") == "");
  CHECK(field(line, "missing=") == "");
  CHECK(hex_number(field(line, "token=")) == 255);
  CHECK(number("12") == 12);
  CHECK(!number("12a"));
  CHECK(!number(""));
}

TEST_CASE("checks: tables keep every id") {
  id_table<std::uint64_t> table;
  CHECK(table.find(0) == nullptr);
  for (std::uint64_t id = 0; id < 1000; ++id)
    table[id * 977] = id;
  CHECK(table.size() == 1000);
  for (std::uint64_t id = 0; id < 1000; ++id)
    CHECK(*table.find(id * 977) == id);
  CHECK(!table.has(1));
}

} // namespace
} // namespace astra::sim::test
