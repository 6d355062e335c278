#include "runtime/sim/checks/history.hpp"
#include "runtime/sim/sim_store.hpp"
#include "runtime/sim/swarm.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <set>
#include <utility>

// Contents: what apps see of them, who gets them, and how much all nodes together send.

namespace astra::sim {
namespace {

class content_whole : public named_check<content_whole> {
public:
  static constexpr const char* label = "content-whole";
  static constexpr const char* about = "No store shows a content of which a piece is missing or wrong.";
  static constexpr nanoseconds default_bound{0};

  using named_check::named_check;

  topics wants() const override { return topics{}.add(event_kind::log).add(event_kind::boot); }

  void on_event(const event& what, const world_facts& facts) override {
    if (what.kind == event_kind::boot || what.text.starts_with("contents."))
      look(facts);
  }

  void at_quiet(const final_state&, const world_facts& facts) override { look(facts); }

private:
  void look(const world_facts& facts) {
    if (facts.what().contents.empty())
      return;
    for (auto& one : facts.contents())
      if (one.visible && !one.whole)
        fail(fmt::format("{} shows content {} to apps, and pieces of it are missing", facts_of(one.machine, facts).name,
                         one.address));
  }
};

class content_arrives : public named_check<content_arrives> {
public:
  static constexpr const char* label = "content-arrives";
  static constexpr const char* about =
      "At the end of the quiet phase every node that was to fetch a content has it, and shows it to apps.";
  static constexpr nanoseconds default_bound{0};

  using named_check::named_check;

  topics wants() const override { return {}; }

  void at_quiet(const final_state&, const world_facts& facts) override {
    auto& scenario = facts.what();
    if (scenario.contents.empty())
      return;
    std::set<std::pair<machine_id, std::string>> there;
    for (auto& one : facts.contents())
      if (one.visible)
        there.emplace(one.machine, one.address);
    auto named = machines_of(scenario);
    for (auto& content : scenario.contents) {
      auto made = make_sim_content(sim_content_path(content.name, content.bytes));
      if (!made)
        continue;
      auto address = to_string(made->address);
      for (auto& target : content.fetch)
        for (auto place : resolve_target(target, named)) {
          auto machine = *facts.find(named[place].name);
          auto& known = facts_of(machine, facts);
          if (known.up && known.node && !there.contains({machine, address}))
            fail(fmt::format("node {} was to fetch {} and does not have it", known.name, content.name));
        }
    }
  }
};

class content_limit : public named_check<content_limit> {
public:
  static constexpr const char* label = "content-limit";
  static constexpr const char* about = "Within no second do all nodes together send a twentieth more of contents than "
                                       "an operator allows, once they know.";
  /// From the first publication on: until every node has heard of the limit and of its share.
  static constexpr nanoseconds default_bound{std::chrono::seconds{5}};

  using named_check::named_check;

  /// Something is always on its way.
  topics wants() const override { return topics{}.add(event_kind::arrive); }

  void on_event(const event& what, const world_facts& facts) override {
    if (what.at < next_)
      return;
    auto& scenario = facts.what();
    auto limit = scenario.network.content_limit_bytes_per_s;
    if (scenario.contents.empty() || limit == 0) {
      next_ = instant::max();
      return;
    }
    if (next_ == instant{0}) {
      next_ = scenario.contents.front().at + bound();
      return;
    }
    next_ = what.at + look_interval;
    sent_.emplace_back(what.at, facts.sent_bytes());
    while (what.at - sent_.front().first > std::chrono::seconds{1})
      sent_.pop_front();
    // A share that was lowered is in force when the word of it has come: for so long another one may have grown.
    auto within = sent_.back().second - sent_.front().second;
    if (within > limit + limit / on_its_way)
      fail(fmt::format(
          "all nodes together sent {} bytes of contents in {:.3f} s before {}, and {} per second are allowed", within,
          std::chrono::duration<double>(what.at - sent_.front().first).count(), seconds_text(what.at), limit));
  }

private:
  static constexpr nanoseconds look_interval{std::chrono::milliseconds{20}};
  /// A twentieth of the limit.
  static constexpr std::uint64_t on_its_way = 20;

  instant next_{0};
  std::deque<std::pair<instant, std::uint64_t>> sent_;
};

} // namespace

void add_content_checks(std::vector<check_kind>& all) {
  all.push_back(kind_of_check<content_arrives>());
  all.push_back(kind_of_check<content_limit>());
  all.push_back(kind_of_check<content_whole>());
}

} // namespace astra::sim
