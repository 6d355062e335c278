#include "actors/scheduler/placement_rules.hpp"

#include "actors/scheduler/planner.hpp"
#include "actors/scheduler/view_columns.hpp"
#include "config/label_expression.hpp"

#include <algorithm>
#include <cmath>

namespace astra {
namespace {

const std::string* label_of(const pb::NodeProfile& profile, const std::string& key) {
  for (auto& label : profile.labels())
    if (label.key() == key)
      return &label.value();
  return nullptr;
}

bool meets(const pb::LabelExpression& expression, const pb::NodeProfile& profile) {
  auto value = label_of(profile, expression.key());
  auto listed = [&] {
    auto& values = expression.values();
    return value && std::find(values.begin(), values.end(), *value) != values.end();
  };
  switch (expression.operation()) {
  case pb::LABEL_EQUALS:
  case pb::LABEL_IN:
    return listed();
  case pb::LABEL_NOT_EQUALS:
  case pb::LABEL_NOT_IN:
    return !listed();
  case pb::LABEL_EXISTS:
    return value;
  case pb::LABEL_NOT_EXISTS:
    return !value;
  default:
    return false;
  }
}

bool has_card(const pb::NodeProfile& profile, const std::string& kind) {
  auto& cards = profile.capacity().accelerators();
  return std::any_of(cards.begin(), cards.end(), [&](auto& card) { return card.kind() == kind && card.count() > 0; });
}

std::string taint_text(const pb::Label& taint) {
  return taint.key() + (taint.value().empty() ? "" : "=" + taint.value());
}

std::int64_t count_in(const pb::Resources& resources, const std::string& kind) {
  std::int64_t result = 0;
  for (auto& card : resources.accelerators())
    if (card.kind() == kind)
      result += card.count();
  return result;
}

std::int64_t memory_of(const pb::Resources& resources) {
  return static_cast<std::int64_t>(resources.memory_bytes());
}

/// In the capacity and not in a replica.
std::int64_t unused_cards(const pb::NodeProfile& shape, const std::string& kind) {
  auto result = count_in(shape.capacity(), kind);
  for (auto& replica : shape.replicas())
    if (replica.state() != pb::REPLICA_STOPPED)
      result -= count_in(replica.resources(), kind);
  return result;
}

} // namespace

bool works(const pb::ReplicaStatus& replica) {
  return replica.state() != pb::REPLICA_STOPPED && replica.state() != pb::REPLICA_FAILED;
}

demand::demand(const pb::Resources& resources) : cpu_milli(resources.cpu_milli()), memory_bytes(memory_of(resources)) {
  std::map<std::string, std::int64_t> counts;
  for (auto& card : resources.accelerators())
    counts[card.kind()] += card.count();
  std::erase_if(counts, [](auto& entry) { return entry.second == 0; });
  cards.assign(counts.begin(), counts.end());
}

bool free_amounts::fits(const demand& need) const {
  if (cpu_milli < need.cpu_milli || memory_bytes < need.memory_bytes)
    return false;
  for (std::size_t i = 0; i < cards.size(); ++i)
    if (cards[i] < need.cards[i].second)
      return false;
  return true;
}

void free_amounts::take(const demand& need) {
  cpu_milli -= need.cpu_milli;
  memory_bytes -= need.memory_bytes;
  for (std::size_t i = 0; i < cards.size(); ++i)
    cards[i] -= need.cards[i].second;
}

free_amounts free_on(const node_row& row, const demand& need, std::uint32_t claimed) {
  auto& shape = row.shape();
  auto& held = row.held();
  free_amounts result;
  result.cpu_milli = shape.capacity().cpu_milli();
  result.memory_bytes = memory_of(shape.capacity());
  for (auto& replica : shape.replicas())
    if (replica.state() != pb::REPLICA_STOPPED) {
      result.cpu_milli -= replica.resources().cpu_milli();
      result.memory_bytes -= memory_of(replica.resources());
    }
  // A claim of ours is in `held` as soon as the Resource has heard of it: counting both would double it.
  result.cpu_milli -= std::max<std::int64_t>(held.cpu_milli(), claimed * need.cpu_milli);
  result.memory_bytes -= std::max<std::int64_t>(memory_of(held), claimed * need.memory_bytes);
  for (auto& [kind, count] : need.cards)
    result.cards.push_back(unused_cards(shape, kind) - std::max<std::int64_t>(count_in(held, kind), claimed * count));
  std::vector<const std::string*> idle;
  for (auto& card : shape.capacity().accelerators()) {
    auto& kind = card.kind();
    auto same = [&](auto& other) { return *other == kind; };
    if (std::any_of(need.cards.begin(), need.cards.end(), [&](auto& wanted) { return wanted.first == kind; })
        || std::any_of(idle.begin(), idle.end(), same))
      continue;
    idle.push_back(&kind);
    result.idle_cards += std::max<std::int64_t>(cards_free_in(shape, held, kind), 0);
  }
  return result;
}

std::int64_t cards_free_in(const pb::NodeProfile& shape, const pb::Resources& held, const std::string& kind) {
  return unused_cards(shape, kind) - count_in(held, kind);
}

std::string elsewhere_text(const std::string& group) {
  return "of the Resource group " + group + ", which is not the app's";
}

std::string unusable_because(const plan_input& input, const node_entry& entry) {
  switch (entry.row.liveness()) {
  case pb::LIVENESS_OFFLINE:
    return "offline";
  case pb::LIVENESS_DRAINING:
    return "draining";
  default:
    break;
  }
  if (!entry.usable())
    return "not described yet";
  if (auto found = input.elsewhere.find(entry.origin); found != input.elsewhere.end())
    return elsewhere_text(found->second);
  if (input.reachable.count(entry.origin) == 0)
    return "cut off: the home Resource does not answer";
  if (auto found = input.excluded.find(entry.id()); found != input.excluded.end())
    return found->second;
  return {};
}

const node_row& newest_row(const plan_input& input, const node_entry& entry) {
  auto found = input.corrections.find(entry.id());
  return found == input.corrections.end() ? entry.row : found->second;
}

placement_rules::placement_rules(const plan_input& input)
  : input_(input), spec_(input.spec), need_(input.spec.per_replica()) {
  read_spec();
  count_own(input);
  for (auto& rule : affinities_)
    if (rule.app != spec_.name())
      find_others(input, rule);
}

placement_rules::placement_rules(const plan_input& input, const view_columns& columns)
  : input_(input), spec_(input.spec), need_(input.spec.per_replica()) {
  read_spec();
  count_own(input);
  for (auto& rule : affinities_)
    if (rule.app != spec_.name() && !rule.label.empty())
      find_values(columns, rule);
}

void placement_rules::read_spec() {
  auto add = [this](condition::what type, int position, std::string text) {
    conditions_.push_back({type, position, std::move(text)});
  };
  for (std::size_t i = 0; i < need_.cards.size(); ++i)
    add(condition::what::card, static_cast<int>(i), need_.cards[i].first);
  for (int i = 0; i < spec_.require_size(); ++i)
    add(condition::what::label, i, spec_.require(i).key() + "=" + spec_.require(i).value());
  auto& placement = spec_.placement();
  for (int i = 0; i < placement.require_size(); ++i)
    add(condition::what::expression, i, to_text(placement.require(i)));
  for (int i = 0; i < placement.spread_size(); ++i) {
    add(condition::what::spread_label, i, placement.spread(i).label());
    spreads_.push_back({placement.spread(i).label(), placement.spread(i).max_skew(), {}});
  }
  for (int i = 0; i < placement.affinity_size(); ++i)
    affinities_.push_back({placement.affinity(i).app(), placement.affinity(i).label(), false, i, {}, {}});
  for (int i = 0; i < placement.anti_affinity_size(); ++i)
    affinities_.push_back({placement.anti_affinity(i).app(), placement.anti_affinity(i).label(), true, i, {}, {}});
}

/// Whether there are some, not how many: only of its own replicas do more come.
void placement_rules::find_values(const view_columns& columns, affinity_rule& rule) {
  auto number = columns.number_of(rule.app);
  if (!number)
    return;
  std::vector<std::uint8_t> there;
  for (auto& company : columns.companies())
    there.push_back(std::binary_search(company.begin(), company.end(), *number));
  for (auto& group : columns.groups()) {
    if (group.condition == view_columns::state::offline)
      continue;
    auto value = label_of(columns.kinds()[group.kind].profile, rule.label);
    if (value && rule.values.count(*value) == 0
        && std::any_of(group.companies.begin(), group.companies.end(), [&](auto company) { return there[company]; }))
      rule.values[*value] = 1;
  }
}

void placement_rules::count_own(const plan_input& input) {
  if (spreads_.empty() && affinities_.empty())
    return;
  auto count_all = [&](const std::map<node_id, std::uint32_t>& placed) {
    for (auto& [id, count] : placed) {
      auto entry = input.nodes.find(id);
      if (entry == input.nodes.end() || count == 0)
        continue;
      auto& profile = entry->second.row.shape();
      for (auto& rule : spreads_)
        if (auto value = label_of(profile, rule.label))
          rule.counts[*value] += count;
      for (auto& rule : affinities_) {
        if (rule.app != spec_.name())
          continue;
        rule.nodes.insert(id);
        if (auto value = label_of(profile, rule.label))
          rule.values[*value] += count;
      }
    }
  };
  count_all(input.placed);
  if (input.also_placed)
    count_all(*input.also_placed);
}

void placement_rules::find_others(const plan_input& input, affinity_rule& rule) {
  auto look_at = [&](const node_entry& entry) {
    auto& profile = entry.row.shape();
    auto& replicas = profile.replicas();
    if (entry.row.liveness() == pb::LIVENESS_OFFLINE
        || std::none_of(replicas.begin(), replicas.end(),
                        [&](auto& replica) { return replica.app() == rule.app && works(replica); }))
      return;
    rule.nodes.insert(entry.id());
    if (auto value = label_of(profile, rule.label))
      ++rule.values[*value];
  };
  if (!input.index) {
    for (auto& [id, entry] : input.nodes)
      look_at(entry);
    return;
  }
  view_index::list(input.index->apps(), rule.app).each([&](node_id id) {
    if (auto found = input.nodes.find(id); found != input.nodes.end())
      look_at(found->second);
  });
}

bool placement_rules::tolerates(const pb::Label& taint) const {
  auto& tolerated = spec_.placement().tolerate();
  return std::any_of(tolerated.begin(), tolerated.end(), [&](auto& toleration) {
    return toleration.key() == taint.key() && (!toleration.has_value() || toleration.value() == taint.value());
  });
}

std::uint32_t placement_rules::taint_condition(const pb::Label& taint) {
  auto text = taint_text(taint);
  auto [found, added] = taints_.try_emplace(text, static_cast<std::uint32_t>(conditions_.size()));
  if (added)
    conditions_.push_back({condition::what::taint, 0, std::move(text)});
  return found->second;
}

placement_rules::verdict placement_rules::judge(const pb::NodeProfile& profile) {
  verdict result;
  auto fixed = static_cast<std::uint32_t>(conditions_.size() - taints_.size());
  for (std::uint32_t i = 0; i < fixed; ++i) {
    auto& wanted = conditions_[i];
    auto met = true;
    switch (wanted.type) {
    case condition::what::card:
      met = has_card(profile, wanted.text);
      break;
    case condition::what::label: {
      auto value = label_of(profile, spec_.require(wanted.position).key());
      met = value && *value == spec_.require(wanted.position).value();
      break;
    }
    case condition::what::expression:
      met = meets(spec_.placement().require(wanted.position), profile);
      break;
    case condition::what::spread_label:
      result.spread_values.push_back(label_of(profile, wanted.text));
      met = result.spread_values.back();
      break;
    case condition::what::taint:
      break;
    }
    if (!met)
      result.failing.push_back(i);
  }
  for (auto& taint : profile.taints())
    if (!tolerates(taint))
      result.failing.push_back(taint_condition(taint));
  std::sort(result.failing.begin(), result.failing.end());
  result.failing.erase(std::unique(result.failing.begin(), result.failing.end()), result.failing.end());
  for (auto& rule : affinities_)
    result.affinity_values.push_back(rule.label.empty() ? nullptr : label_of(profile, rule.label));
  if (!input_.hazard.per_hour.empty()) {
    auto pool = label_of(profile, input_.hazard.label);
    if (auto found = input_.hazard.per_hour.find(pool ? *pool : std::string{}); found != input_.hazard.per_hour.end())
      result.survival = std::exp(-found->second);
  }
  return result;
}

bool placement_rules::broken_by_value(const affinity_rule& rule, const std::string* value) {
  if (rule.label.empty())
    return false;
  auto together = value && rule.values.find(*value) != rule.values.end();
  return together == rule.anti;
}

bool placement_rules::broken_on_node(const affinity_rule& rule, node_id node) {
  return rule.label.empty() && (rule.nodes.count(node) != 0) == rule.anti;
}

bool placement_rules::any_affinity_broken(const verdict& about, node_id node) const {
  for (std::size_t i = 0; i < affinities_.size(); ++i)
    if (broken_by_value(affinities_[i], about.affinity_values[i]) || broken_on_node(affinities_[i], node))
      return true;
  return false;
}

void placement_rules::place(const verdict& about, node_id node) {
  for (std::size_t i = 0; i < spreads_.size(); ++i)
    if (auto value = about.spread_values[i])
      ++spreads_[i].counts[*value];
  for (std::size_t i = 0; i < affinities_.size(); ++i) {
    auto& rule = affinities_[i];
    if (rule.app != spec_.name())
      continue;
    rule.nodes.insert(node);
    if (auto value = about.affinity_values[i])
      ++rule.values[*value];
  }
}

} // namespace astra
