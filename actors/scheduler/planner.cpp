#include "actors/scheduler/planner.hpp"

#include "actors/scheduler/explain.hpp"
#include "actors/scheduler/placement_rules.hpp"

#include <algorithm>
#include <cassert>
#include <functional>
#include <limits>
#include <optional>
#include <tuple>
#include <unordered_map>
#include <utility>

namespace astra {
namespace {

/// Most apps that share out the nodes between them; with more, several apps have the same home.
constexpr std::size_t partitions_max = 64;

/// A plan without rules that compare nodes ends its search when it has found so many nodes of the best kind, and so
/// many for each replica: two of them, drawn at random, are looked at closely.
constexpr std::size_t sample_min = 1024;
constexpr std::size_t sample_per_replica = 4;
/// For an app that needs contents all nodes are looked at, where there are not more than these.
constexpr std::size_t whole_look_max = 50'000;

/// Steps in which nodes of an app that is to be packed are filled: within one they are as good as each other.
constexpr double pack_steps = 8.0;

/// Smaller is better, and must be exhausted before the next.
using tier = std::tuple<bool, std::uint32_t, std::uint32_t, bool, bool, std::uint32_t>;

struct candidate {
  node_id node;
  free_amounts free;
  std::int64_t cpu_capacity = 0;
  std::int64_t memory_capacity = 0;
  double survival = 1.0;
  bool suspect = false;
  bool away = false;
  std::uint32_t placed = 0;
  /// Contents of the app that would have to be fetched first.
  std::uint32_t lacks = 0;

  /// The share left of what is scarcest here.
  double left() const {
    auto share = [](std::int64_t part, std::int64_t all) {
      return all <= 0 ? 1.0 : static_cast<double>(std::max<std::int64_t>(part, 0)) / static_cast<double>(all);
    };
    return std::min(share(free.cpu_milli, cpu_capacity), share(free.memory_bytes, memory_capacity));
  }

  tier in(pb::PlacementStrategy strategy) const {
    // Other apps will want accelerators that this one has no use for.
    auto idle = free.idle_cards != 0;
    if (strategy == pb::PLACEMENT_PACK)
      return {suspect, 0, lacks, idle, away, static_cast<std::uint32_t>(left() * pack_steps)};
    return {suspect, placed, lacks, idle, away, 0};
  }

  /// Larger is better.  Requests share the machine whatever was reserved, so emptier nodes serve faster.
  double score(pb::PlacementStrategy strategy) const {
    return (strategy == pb::PLACEMENT_PACK ? 1.0 - left() : left()) * survival;
  }
};

/// Candidates that are the same to every rule that looks at where the app already is.
struct cell {
  placement_rules::verdict about;
  std::map<tier, std::vector<candidate>> tiers;
};

/// The candidates of a plan, and which of them comes next.
class candidate_pool {
public:
  candidate_pool(const plan_input& input, placement_rules& rules, random_source& random)
    : input_(input), rules_(rules), random_(random), strategy_(input.spec.placement().strategy()),
      values_(rules.spreads().size()) {}

  /// A node with these labels could take a replica if it had room.
  void admit(const placement_rules::verdict& about) {
    for (std::size_t i = 0; i < values_.size(); ++i)
      if (values_[i].by_value.emplace(*about.spread_values[i], 0).second)
        ++values_[i].replicas[count_at(i, *about.spread_values[i])];
  }

  void add(const placement_rules::verdict& about, candidate what) {
    auto [found, added] = cells_.try_emplace(key_of(about));
    if (added)
      found->second.about = about;
    found->second.tiers[what.in(strategy_)].push_back(std::move(what));
  }

  /// Takes the next one out; none: there is none that may be used now.
  std::optional<std::pair<candidate, cell*>> next() {
    std::vector<cell*> best;
    rank best_rank{};
    std::uint64_t choices = 0;
    for (auto& [key, cell] : cells_) {
      if (cell.tiers.empty() || !allowed(cell.about))
        continue;
      auto here = rank_of(cell);
      if (best.empty() || here < best_rank) {
        best.clear();
        choices = 0;
        best_rank = here;
      }
      if (here == best_rank) {
        best.push_back(&cell);
        choices += cell.tiers.begin()->second.size();
      }
    }
    if (best.empty())
      return std::nullopt;
    auto chosen = at(best, random_.below(choices));
    auto other = at(best, random_.below(choices));
    if (other.second->score(strategy_) > chosen.second->score(strategy_))
      chosen = other;
    auto [where, what] = chosen;
    auto& list = where->tiers.begin()->second;
    auto result = std::move(*what);
    *what = std::move(list.back());
    list.pop_back();
    if (list.empty())
      where->tiers.erase(where->tiers.begin());
    return std::pair{std::move(result), where};
  }

  /// Puts the candidate to use.
  /// @param last_one The node gets no other one.
  void place(candidate what, cell& where, bool last_one) {
    for (std::size_t i = 0; i < values_.size(); ++i) {
      auto count = count_at(i, *where.about.spread_values[i]);
      auto& replicas = values_[i].replicas;
      if (--replicas[count] == 0)
        replicas.erase(count);
      ++replicas[count + 1];
    }
    rules_.place(where.about, what.node);
    what.free.take(rules_.need());
    ++what.placed;
    if (!last_one && what.free.fits(rules_.need()))
      where.tiers[what.in(strategy_)].push_back(std::move(what));
  }

private:
  /// Values of the label of a spread, and how many of them have so many replicas.
  struct spread_values {
    std::map<std::string, int, std::less<>> by_value;
    std::map<std::uint32_t, std::size_t> replicas;
  };
  using rank = std::tuple<bool, std::uint64_t, tier>;
  using choice = std::pair<cell*, candidate*>;

  std::vector<std::string> key_of(const placement_rules::verdict& about) const {
    std::vector<std::string> result;
    for (auto value : about.spread_values)
      result.push_back(*value);
    for (std::size_t i = 0; i < rules_.affinities().size(); ++i)
      if (rules_.affinities()[i].app == input_.spec.name()) {
        auto value = about.affinity_values[i];
        result.push_back(value ? "=" + *value : "");
      }
    return result;
  }

  std::uint32_t count_at(std::size_t rule, const std::string& value) const {
    auto& counts = rules_.spreads()[rule].counts;
    auto found = counts.find(value);
    return found == counts.end() ? 0 : found->second;
  }

  /// Whether one more may go where the labels are like this.
  bool allowed(const placement_rules::verdict& about) const {
    for (std::size_t i = 0; i < values_.size(); ++i)
      if (count_at(i, *about.spread_values[i]) + 1 > values_[i].replicas.begin()->first + rules_.spreads()[i].max_skew)
        return false;
    for (std::size_t i = 0; i < rules_.affinities().size(); ++i)
      if (placement_rules::broken_by_value(rules_.affinities()[i], about.affinity_values[i]))
        return false;
    return true;
  }

  rank rank_of(const cell& of) const {
    std::uint64_t load = 0;
    for (std::size_t i = 0; i < values_.size(); ++i)
      load += count_at(i, *of.about.spread_values[i]);
    auto& best = of.tiers.begin()->first;
    return {std::get<0>(best), load, best};
  }

  static choice at(const std::vector<cell*>& cells, std::uint64_t place) {
    for (auto cell : cells) {
      auto& list = cell->tiers.begin()->second;
      if (place < list.size())
        return {cell, &list[place]};
      place -= list.size();
    }
    assert(false);
    return {};
  }

  const plan_input& input_;
  placement_rules& rules_;
  random_source& random_;
  pb::PlacementStrategy strategy_;
  std::vector<spread_values> values_;
  std::map<std::vector<std::string>, cell> cells_;
};

/// The fewest nodes that no candidate can be missing in; none: all nodes.
std::optional<posting_union> likely_nodes(const plan_input& input, const demand& need) {
  if (!input.index)
    return std::nullopt;
  std::optional<posting_union> best;
  auto consider = [&](posting_union nodes) {
    if (!best || nodes.size_max() < best->size_max())
      best = std::move(nodes);
  };
  auto list = [](const posting_list& nodes) {
    posting_union result;
    result.add(nodes);
    return result;
  };
  for (auto& label : input.spec.require())
    consider(list(view_index::list(input.index->label(label.key()), label.value())));
  for (auto& expression : input.spec.placement().require()) {
    if (expression.operation() != pb::LABEL_EQUALS && expression.operation() != pb::LABEL_IN)
      continue;
    posting_union nodes;
    for (auto& value : expression.values())
      nodes.add(view_index::list(input.index->label(expression.key()), value));
    consider(std::move(nodes));
  }
  for (auto& [kind, count] : need.cards)
    consider(list(view_index::list(input.index->accelerators(), kind)));
  // A row that is newer than the index may have what the index does not know of.
  if (best)
    for (auto& [id, row] : input.corrections)
      best->add(id);
  return best;
}

std::uint32_t value_or_zero(const std::map<node_id, std::uint32_t>& counts, node_id id) {
  auto found = counts.find(id);
  return found == counts.end() ? 0 : found->second;
}

} // namespace

std::uint32_t placed_on(const plan_input& input, node_id node) {
  return value_or_zero(input.placed, node) + (input.also_placed ? value_or_zero(*input.also_placed, node) : 0);
}

std::uint32_t room_for(const pb::AppSpec& spec, const node_row& row, std::uint32_t claimed) {
  demand need{spec.per_replica()};
  auto free = free_on(row, need, claimed);
  std::int64_t room = std::numeric_limits<std::uint32_t>::max();
  auto limit = [&room](std::int64_t want, std::int64_t have) {
    if (want != 0)
      room = std::min(room, std::max<std::int64_t>(have, 0) / want);
  };
  limit(need.cpu_milli, free.cpu_milli);
  limit(need.memory_bytes, free.memory_bytes);
  for (std::size_t i = 0; i < need.cards.size(); ++i)
    limit(need.cards[i].second, free.cards[i]);
  return static_cast<std::uint32_t>(room);
}

std::set<std::string> groups_of(const pb::AppSpec& spec, const std::string& home) {
  if (spec.groups().empty())
    return {home};
  return {spec.groups().begin(), spec.groups().end()};
}

std::map<resource_id, std::string> elsewhere_for(const pb::AppSpec& spec, const std::string& home,
                                                 const cluster_view& view) {
  auto groups = groups_of(spec, home);
  std::map<resource_id, std::string> result;
  for (auto& [origin, shard] : view.shards())
    if (groups.count(shard.group) == 0)
      result[origin] = shard.group;
  return result;
}

std::pair<std::uint32_t, std::uint32_t> home_partition(const std::string& app,
                                                       const std::map<std::string, app_entry>& apps) {
  auto known = apps.count(app) != 0;
  auto count = std::clamp<std::size_t>(apps.size() + (known ? 0 : 1), 1, partitions_max);
  auto rank = static_cast<std::size_t>(std::distance(apps.begin(), apps.lower_bound(app)));
  return {static_cast<std::uint32_t>(rank % count), static_cast<std::uint32_t>(count)};
}

plan_result plan(const plan_input& input, random_source& random) {
  assert(input.partitions > 0);
  plan_result result;
  if (input.missing.empty())
    return result;
  if (input.columns) {
    // That nothing fits is found much sooner than what fits.
    placement_rules rules{input, *input.columns};
    auto counted = count_reasons(input, rules, {});
    if (counted.fitting == 0) {
      result.unplaced = input.missing;
      result.reason = to_text(counted);
      return result;
    }
  }
  placement_rules rules{input};
  auto& need = rules.need();
  candidate_pool pool{input, rules, random};
  auto only_one_each = std::any_of(rules.affinities().begin(), rules.affinities().end(), [&](auto& rule) {
    return rule.anti && rule.label.empty() && rule.app == input.spec.name();
  });
  // Nodes without replicas share what they are.
  std::unordered_map<const pb::NodeProfile*, placement_rules::verdict> known;
  placement_rules::verdict fresh;
  std::vector<std::uint64_t> contents;
  for (auto& content : input.spec.contents())
    contents.push_back(name_hash(content));
  auto away = [&](node_id id) { return id.value() % input.partitions != input.partition; };
  /// Candidates that are taken before any others, once each.
  std::size_t first_choice = 0;
  auto look_at = [&](node_id id, const node_entry& entry) {
    if (!entry.usable())
      return;
    auto& shape = entry.row.shape();
    const placement_rules::verdict* about = &fresh;
    if (shape.replicas().empty()) {
      auto [found, added] = known.try_emplace(&shape);
      if (added)
        found->second = rules.judge(shape);
      about = &found->second;
    } else {
      fresh = rules.judge(shape);
    }
    if (!about->failing.empty())
      return;
    // Nodes that are not the app's have no part in its spread either.
    if (input.elsewhere.count(entry.origin) != 0)
      return;
    pool.admit(*about);
    if (!unusable_because(input, entry).empty())
      return;
    auto& row = newest_row(input, entry);
    candidate here;
    here.free = free_on(row, need, value_or_zero(input.claimed, id));
    if (!here.free.fits(need) || rules.any_affinity_broken(*about, id))
      return;
    here.node = id;
    here.cpu_capacity = row.shape().capacity().cpu_milli();
    here.memory_capacity = static_cast<std::int64_t>(row.shape().capacity().memory_bytes());
    here.survival = about->survival;
    here.suspect = entry.row.liveness() == pb::LIVENESS_SUSPECT;
    here.away = away(id);
    here.placed = placed_on(input, id);
    for (auto hash : contents)
      here.lacks += std::binary_search(row.shape().contents().begin(), row.shape().contents().end(), hash) ? 0 : 1;
    first_choice += !here.suspect && here.placed == 0 && here.free.idle_cards == 0 ? 1 : 0;
    pool.add(*about, std::move(here));
  };
  auto likely = likely_nodes(input, need);
  // No rule compares nodes with each other.
  auto alone = rules.spreads().empty() && rules.affinities().empty();
  // Ids are hashes: from wherever one begins, the next so many are a random sample.
  // A sample of very many would miss the few that have what the app needs, of fewer all are looked at.
  auto sampled = alone && input.spec.placement().strategy() == pb::PLACEMENT_SPREAD
                 && input.nodes.size() > (contents.empty() ? sample_min : whole_look_max);
  auto enough = std::max(sample_min, sample_per_replica * input.missing.size());
  auto begin = sampled ? node_id{random.next()} : node_id{};
  auto look_around = [&](auto wanted) {
    // To the end, and then from the beginning to where it began.
    for (auto wrapped : {false, true}) {
      auto last = wrapped ? begin : node_id{std::numeric_limits<std::uint64_t>::max()};
      auto go_on = [&](node_id id) { return id <= last && (!sampled || first_choice < enough); };
      if (likely) {
        for (auto id = likely->next(wrapped ? node_id{} : begin); id && go_on(id); id = likely->next(id))
          if (auto found = wanted(id) ? input.nodes.find(id) : input.nodes.end(); found != input.nodes.end())
            look_at(id, found->second);
      } else {
        for (auto at = wrapped ? input.nodes.begin() : input.nodes.upper_bound(begin);
             at != input.nodes.end() && go_on(at->first); ++at)
          if (wanted(at->first))
            look_at(at->first, at->second);
      }
    }
  };
  // Nodes of others come after all of the app's own part, but for those that save a transfer.
  if (input.partitions > 1 && alone && (contents.empty() || sampled)) {
    look_around([&](node_id id) { return !away(id); });
    if (first_choice < input.missing.size())
      look_around(away);
  } else {
    look_around([](node_id) { return true; });
  }
  std::map<node_id, std::uint32_t> planned;
  auto next = input.missing.begin();
  for (; next != input.missing.end(); ++next) {
    auto chosen = pool.next();
    if (!chosen)
      break;
    auto& [here, where] = *chosen;
    auto node = here.node;
    result.placements.push_back({*next, node});
    ++planned[node];
    pool.place(std::move(here), *where, only_one_each);
  }
  result.unplaced.assign(next, input.missing.end());
  if (!result.unplaced.empty())
    result.reason = to_text(count_reasons(input, rules, planned));
  return result;
}

} // namespace astra
