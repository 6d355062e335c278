#include "actors/scheduler/preemption.hpp"

#include "actors/mutant.hpp"
#include "actors/scheduler/placement_rules.hpp"
#include "actors/scheduler/view_columns.hpp"

#include <algorithm>
#include <cstddef>
#include <set>
#include <string>
#include <tuple>
#include <utility>

namespace astra {
namespace {

struct option {
  node_id node;
  std::vector<std::uint64_t> victims;
  std::uint32_t highest = 0;
  std::uint64_t draw = 0;
  placement_rules::verdict about;

  auto rank() const { return std::tuple{victims.size(), highest, draw}; }
};

void add(free_amounts& free, const demand& need, const pb::Resources& resources) {
  demand freed{resources};
  free.cpu_milli += freed.cpu_milli;
  free.memory_bytes += freed.memory_bytes;
  for (std::size_t i = 0; i < need.cards.size(); ++i)
    for (auto& [kind, count] : freed.cards)
      if (kind == need.cards[i].first)
        free.cards[i] += count;
}

/// Whether the app has room when these have gone.
bool enough(free_amounts free, const demand& need, const std::vector<const pb::ReplicaStatus*>& victims) {
  for (auto victim : victims)
    add(free, need, victim->resources());
  return free.fits(need);
}

/// The lowest and, of these, the fewest replicas whose end makes room; empty: there are none.
std::vector<const pb::ReplicaStatus*> victims_on(const node_row& row, const pb::AppSpec& spec, const demand& need,
                                                 const free_amounts& free) {
  std::vector<const pb::ReplicaStatus*> lower;
  for (auto& replica : row.shape().replicas())
    if (replica.app() != spec.name() && replica.state() != pb::REPLICA_STOPPED && replica.state() != pb::REPLICA_FAILED
        && replica.state() != pb::REPLICA_DRAINING
        && (replica.priority() < spec.priority() || MUTANT(preempted_by_lower)))
      lower.push_back(&replica);
  std::sort(lower.begin(), lower.end(), [](auto a, auto b) {
    return std::tuple{a->priority(), a->token()} < std::tuple{b->priority(), b->token()};
  });
  for (auto one : lower)
    if (enough(free, need, {one}))
      return {one};
  std::vector<const pb::ReplicaStatus*> chosen;
  for (auto next : lower) {
    chosen.push_back(next);
    if (!enough(free, need, chosen))
      continue;
    // Those that turn out not to be needed stay, of the highest priority first.
    for (auto i = chosen.size(); i-- > 0;) {
      auto without = chosen;
      without.erase(without.begin() + static_cast<std::ptrdiff_t>(i));
      if (enough(free, need, without))
        chosen = std::move(without);
    }
    return chosen;
  }
  return {};
}

/// Nodes that may be an option, and others, ascending.
std::vector<node_id> nodes_with_victims(const plan_input& input, placement_rules& rules) {
  auto& columns = *input.columns;
  auto& need = rules.need();
  std::vector<std::uint8_t> kind_may;
  for (auto& kind : columns.kinds()) {
    auto& capacity = kind.profile.capacity();
    kind_may.push_back(need.cpu_milli <= capacity.cpu_milli()
                       && need.memory_bytes <= static_cast<std::int64_t>(capacity.memory_bytes())
                       && rules.judge(kind.profile).failing.empty());
  }
  std::vector<node_id> result;
  for (auto& group : columns.groups()) {
    if (group.condition != view_columns::state::usable || !kind_may[group.kind]
        || input.reachable.count(columns.homes()[group.home]) == 0)
      continue;
    for (std::size_t i = 0; i < group.size(); ++i)
      if (group.least_priority[i] < input.spec.priority())
        result.push_back(group.ids[i]);
  }
  // A newer row may have what the columns do not know of.
  for (auto& [id, row] : input.corrections)
    if (input.nodes.count(id) != 0)
      result.push_back(id);
  std::sort(result.begin(), result.end());
  result.erase(std::unique(result.begin(), result.end()), result.end());
  return result;
}

/// Whether one more replica there breaks a spread.
bool too_uneven(const placement_rules& rules, const std::vector<std::set<std::string>>& values,
                const placement_rules::verdict& about) {
  for (std::size_t i = 0; i < values.size(); ++i) {
    auto& rule = rules.spreads()[i];
    auto count = [&](const std::string& value) {
      auto found = rule.counts.find(value);
      return found == rule.counts.end() ? 0 : found->second;
    };
    auto least = count(*about.spread_values[i]);
    for (auto& value : values[i])
      least = std::min(least, count(value));
    if (count(*about.spread_values[i]) + 1 > least + rule.max_skew)
      return true;
  }
  return false;
}

} // namespace

std::vector<preempting_placement> plan_preemption(const plan_input& input, random_source& random) {
  placement_rules rules{input};
  auto& need = rules.need();
  std::vector<option> options;
  // Values of the label of each spread that are part of it, as in a plan.
  std::vector<std::set<std::string>> values(rules.spreads().size());
  auto look_at = [&](node_id id, const node_entry& entry) {
    if (!entry.usable())
      return;
    auto about = rules.judge(entry.row.shape());
    if (!about.failing.empty() || input.elsewhere.count(entry.origin) != 0)
      return;
    for (std::size_t i = 0; i < values.size(); ++i)
      values[i].insert(*about.spread_values[i]);
    auto& row = newest_row(input, entry);
    if (!unusable_because(input, entry).empty() || input.claimed.count(id) != 0 || row.shape().replicas().empty()
        || rules.any_affinity_broken(about, id))
      return;
    auto victims = victims_on(row, input.spec, need, free_on(row, need, 0));
    if (victims.empty())
      return;
    option found{id, {}, 0, random.next(), std::move(about)};
    for (auto victim : victims) {
      found.victims.push_back(victim->token());
      found.highest = std::max(found.highest, victim->priority());
    }
    options.push_back(std::move(found));
  };
  if (input.columns) {
    auto& columns = *input.columns;
    for (auto& group : columns.groups()) {
      if (values.empty() || group.size() == 0 || group.condition != view_columns::state::usable
          || input.elsewhere.count(columns.homes()[group.home]) != 0)
        continue;
      auto about = rules.judge(columns.kinds()[group.kind].profile);
      if (about.failing.empty())
        for (std::size_t i = 0; i < values.size(); ++i)
          values[i].insert(*about.spread_values[i]);
    }
    for (auto id : nodes_with_victims(input, rules))
      look_at(id, input.nodes.at(id));
  } else {
    for (auto& [id, entry] : input.nodes)
      look_at(id, entry);
  }
  std::sort(options.begin(), options.end(), [](auto& a, auto& b) { return a.rank() < b.rank(); });
  std::vector<preempting_placement> result;
  auto missing = input.missing.begin();
  for (auto& chosen : options) {
    if (missing == input.missing.end())
      break;
    // A rule may be broken by what was placed just before.
    if (rules.any_affinity_broken(chosen.about, chosen.node))
      continue;
    if (too_uneven(rules, values, chosen.about))
      continue;
    rules.place(chosen.about, chosen.node);
    result.push_back({*missing++, chosen.node, std::move(chosen.victims)});
  }
  return result;
}

} // namespace astra
