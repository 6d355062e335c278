#include "actors/scheduler/explain.hpp"

#include "actors/scheduler/placement_rules.hpp"
#include "actors/scheduler/view_columns.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <map>
#include <optional>
#include <string_view>
#include <tuple>
#include <utility>

namespace astra {
namespace {

using condition = placement_rules::condition;
using what = placement_change::what;

/// The smallest demands that an app may have.
constexpr std::int64_t cpu_milli_min = 1;
constexpr std::int64_t memory_bytes_min = 1 << 20;

constexpr double cost_of_taint = 0.5;
constexpr double cost_of_skew = 0.25;
constexpr double cost_of_requirement = 1.0;
constexpr double cost_of_replica = 1.0;

/// More than sums of costs differ by when they are added up in another order.
constexpr double rounding = 1e-9;

/// Rules about single nodes that are looked at; more than anybody writes.
constexpr std::size_t node_rules_max = 32;

constexpr std::uint32_t none = std::numeric_limits<std::uint32_t>::max();

std::string cores(std::uint64_t cpu_milli) {
  auto number = fmt::format("{:g}", static_cast<double>(cpu_milli) / 1000.0);
  return number + (cpu_milli == 1000 ? " core" : " cores");
}

/// Four digits, rounded down: nobody shall count on what is not there.
std::string bytes(std::uint64_t value) {
  static constexpr const char* units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  auto scaled = static_cast<double>(value);
  std::size_t unit = 0;
  while (scaled >= 1024.0 && unit + 1 < std::size(units)) {
    scaled /= 1024.0;
    ++unit;
  }
  auto decimals = scaled < 10.0 ? 1000.0 : scaled < 100.0 ? 100.0 : scaled < 1000.0 ? 10.0 : 1.0;
  return fmt::format("{:.4g} {}", std::floor(scaled * decimals) / decimals, units[unit]);
}

/// What can be written into an app file, and is not more.
std::string size_down(std::uint64_t value) {
  constexpr std::uint64_t mebibyte = 1024 * 1024;
  if (value < mebibyte)
    return fmt::format("{} B", value);
  auto whole = value / mebibyte;
  return whole % 1024 == 0 ? fmt::format("{} GiB", whole / 1024) : fmt::format("{} MiB", whole);
}

/// One of several nodes: the one with the larger amount, or, of equals, the smaller id.
struct most {
  std::size_t nodes = 0;
  std::int64_t amount = std::numeric_limits<std::int64_t>::min();
  node_id node;

  void note(std::int64_t available, node_id id) {
    ++nodes;
    if (available > amount || (available == amount && id < node)) {
      amount = available;
      node = id;
    }
  }
};

/// What is known of all nodes of a kind.
struct kind_facts {
  placement_rules::verdict about;
  /// Conditions that the kind fails, cards apart; and the first of them.
  std::vector<std::uint32_t> failing;
  std::uint32_t first = none;
  /// Numbers of affinity rules that its labels break.
  std::vector<std::uint32_t> apart;
  /// Where in its list of cards those of the demand are; -1: nowhere.
  std::vector<int> card_at;
  /// How many cards of the demand it has none of, and whether the first is one of them.
  std::uint32_t cards_missing = 0;
  bool first_card_missing = false;
  /// Changes that every node of the kind needs, and their cost, when no card is dropped from the demand; and when those
  /// are that it has none of.
  std::uint32_t plain_changes = 0;
  double plain_cost = 0.0;
  std::uint32_t changes = 0;
  double cost = 0.0;
  /// The part of both costs that does not come from spreads.
  double least_cost = 0.0;

  // Nodes by what is first in their way.
  most by_condition;
  most by_affinity;
  most by_spread;
  /// Cores, memory, then each card of the demand.
  std::vector<most> by_lack;
};

/// What is asked of one node.
struct node_facts {
  node_id id;
  std::uint32_t kind = 0;
  std::int64_t cpu = 0;
  std::int64_t memory = 0;
  /// As the cards of the kind; null: none.
  const std::int64_t* cards = nullptr;
  std::int64_t largest_cpu = 0;
  std::int64_t largest_memory = 0;
  /// Rules about single nodes that it breaks, as bits.
  std::uint32_t apart = 0;
};

/// A way to make room on a node.
struct remedy {
  std::uint32_t changes = none;
  double cost = 0.0;
  node_id node;
  /// Which of the node's replicas is freed; -1: none.
  int replica = -1;

  bool operator<(const remedy& other) const {
    return std::tie(changes, cost, node, replica) < std::tie(other.changes, other.cost, other.node, other.replica);
  }
};

class survey {
public:
  survey(const plan_input& input, placement_rules& rules, const view_columns& columns,
         const std::map<node_id, std::uint32_t>& planned, bool seek)
    : input_(input), rules_(rules), columns_(columns), planned_(planned), seek_(seek), need_(rules.need()) {}

  explanation run() {
    judge_kinds();
    mark_nodes();
    look_at_all();
    explanation result;
    result.nodes = columns_.size();
    result.fitting = fitting_;
    result.reasons = reasons();
    if (seek_ && fitting_ == 0 && best_.changes != none)
      describe_best(result);
    return result;
  }

private:
  // -- kinds -----------------------------------------------------------------

  void judge_kinds() {
    auto& kinds = columns_.kinds();
    kinds_.resize(kinds.size());
    for (std::size_t i = 0; i < kinds.size(); ++i) {
      auto& facts = kinds_[i];
      facts.about = rules_.judge(kinds[i].profile);
      for (auto number : facts.about.failing)
        if (rules_.conditions()[number].type != condition::what::card)
          facts.failing.push_back(number);
      facts.first = facts.failing.empty() ? none : in_order(facts.failing).front();
      for (std::uint32_t rule = 0; rule < rules_.affinities().size(); ++rule)
        if (placement_rules::broken_by_value(rules_.affinities()[rule], facts.about.affinity_values[rule]))
          facts.apart.push_back(rule);
      for (auto& [card, count] : need_.cards) {
        auto& cards = kinds[i].cards;
        auto found = std::lower_bound(cards.begin(), cards.end(), card);
        facts.card_at.push_back(found != cards.end() && *found == card ? static_cast<int>(found - cards.begin()) : -1);
        if (facts.card_at.back() < 0 && count > 0)
          ++facts.cards_missing;
      }
      facts.first_card_missing = !facts.card_at.empty() && facts.card_at.front() < 0 && need_.cards.front().second > 0;
      facts.by_lack.resize(2 + need_.cards.size());
    }
    for (auto& facts : kinds_) {
      auto changes = static_cast<std::uint32_t>(facts.failing.size() + facts.apart.size());
      auto cost = static_cast<double>(facts.apart.size()) * cost_of_requirement;
      for (auto number : facts.failing)
        cost += rules_.conditions()[number].type == condition::what::taint ? cost_of_taint : cost_of_requirement;
      facts.plain_changes = facts.changes = changes;
      facts.plain_cost = facts.cost = facts.least_cost = cost;
      if (rules_.spreads().empty())
        continue;
      auto add = [&](const std::vector<std::uint32_t>& dropped, std::uint32_t& number, double& price) {
        for (auto& [rule, skew] : skews(facts, dropped)) {
          ++number;
          price += cost_of_skew * (skew - rules_.spreads()[rule].max_skew);
        }
      };
      add(facts.failing, facts.plain_changes, facts.plain_cost);
      add(facts.about.failing, facts.changes, facts.cost);
    }
  }

  /// Taints have numbers by who was looked at first; for readers they are in order of their text.
  std::vector<std::uint32_t> in_order(std::vector<std::uint32_t> numbers) const {
    auto& conditions = rules_.conditions();
    auto is_taint = [&](std::uint32_t number) { return conditions[number].type == condition::what::taint; };
    std::sort(std::find_if(numbers.begin(), numbers.end(), is_taint), numbers.end(),
              [&](auto a, auto b) { return conditions[a].text < conditions[b].text; });
    return numbers;
  }

  /// Of each spread, the fewest replicas in a value of its label, when these conditions are dropped.
  const std::vector<std::uint32_t>& minima(const std::vector<std::uint32_t>& dropped) {
    auto [found, added] = minima_.try_emplace(dropped);
    if (!added)
      return found->second;
    auto& result = found->second;
    result.assign(rules_.spreads().size(), none);
    if (of_the_app_.empty()) {
      of_the_app_.resize(kinds_.size());
      for (auto& nodes : columns_.groups())
        if (nodes.condition == view_columns::state::usable && input_.elsewhere.count(columns_.homes()[nodes.home]) == 0)
          of_the_app_[nodes.kind] += nodes.size();
    }
    for (std::size_t i = 0; i < kinds_.size(); ++i) {
      auto& about = kinds_[i].about;
      if (of_the_app_[i] == 0
          || !std::includes(dropped.begin(), dropped.end(), about.failing.begin(), about.failing.end()))
        continue;
      for (std::size_t rule = 0; rule < result.size(); ++rule)
        if (auto value = about.spread_values[rule])
          result[rule] = std::min(result[rule], count_at(rule, *value));
    }
    return result;
  }

  std::uint32_t count_at(std::size_t rule, const std::string& value) const {
    auto& counts = rules_.spreads()[rule].counts;
    auto found = counts.find(value);
    return found == counts.end() ? 0 : found->second;
  }

  /// Spreads whose max_skew is too small for one more on a node of the kind, and what it would have to be.
  std::vector<std::pair<std::size_t, std::uint32_t>> skews(const kind_facts& kind,
                                                           const std::vector<std::uint32_t>& dropped) {
    std::vector<std::pair<std::size_t, std::uint32_t>> result;
    if (rules_.spreads().empty())
      return result;
    auto& least = minima(dropped);
    for (std::size_t rule = 0; rule < least.size(); ++rule) {
      auto value = kind.about.spread_values[rule];
      // Without the label the whole rule is dropped.
      if (!value || least[rule] == none)
        continue;
      auto skew = count_at(rule, *value) + 1 - std::min(least[rule], count_at(rule, *value));
      if (skew > rules_.spreads()[rule].max_skew)
        result.emplace_back(rule, skew);
    }
    return result;
  }

  // -- nodes -----------------------------------------------------------------

  using place = view_columns::place;
  using group = view_columns::group;

  /// Nodes of which more is to be known than stands in the columns.
  void mark_nodes() {
    auto& groups = columns_.groups();
    specials_.resize(groups.size());
    auto mark = [&](const auto& nodes) {
      for (auto& [id, value] : nodes)
        if (auto at = columns_.find(id))
          specials_[at->group].push_back(at->offset);
    };
    mark(input_.corrections);
    mark(input_.claimed);
    mark(input_.excluded);
    mark(planned_);
    for (auto& offsets : specials_) {
      std::sort(offsets.begin(), offsets.end());
      offsets.erase(std::unique(offsets.begin(), offsets.end()), offsets.end());
    }
    auto& rules = rules_.affinities();
    apart_of_company_.resize(columns_.companies().size());
    for (std::uint32_t rule = 0; rule < rules.size(); ++rule) {
      if (!rules[rule].label.empty() || node_rules_.size() == node_rules_max)
        continue;
      auto bit = std::uint32_t{1} << node_rules_.size();
      node_rules_.push_back(rule);
      if (!rules[rule].anti)
        everywhere_ |= bit;
      if (rules[rule].app == input_.spec.name())
        mark_own(rules[rule], bit);
      else if (auto number = columns_.number_of(rules[rule].app))
        for (std::size_t i = 0; i < apart_of_company_.size(); ++i) {
          auto& company = columns_.companies()[i];
          if (std::binary_search(company.begin(), company.end(), *number))
            apart_of_company_[i] |= bit;
        }
    }
    for (auto home : columns_.homes()) {
      reachable_.push_back(input_.reachable.count(home) != 0);
      auto other = input_.elsewhere.find(home);
      elsewhere_.push_back(other == input_.elsewhere.end() ? nullptr : &other->second);
    }
  }

  /// Where the app itself is, which the plan knows better than the view.
  void mark_own(const placement_rules::affinity_rule& rule, std::uint32_t bit) {
    own_.resize(columns_.groups().size());
    for (auto id : rule.nodes)
      if (auto at = columns_.find(id)) {
        auto& marks = own_[at->group];
        marks.resize(columns_.groups()[at->group].size());
        marks[at->offset] |= bit;
      }
  }

  /// Per node of a group what `mark_own` said; null: nothing.
  const std::uint32_t* own_marks(std::size_t number) const {
    return own_.empty() || own_[number].empty() ? nullptr : own_[number].data();
  }

  /// An affinity is broken where the bit is not set, an anti-affinity where it is.
  std::uint32_t apart_at(const group& nodes, const std::uint32_t* own, std::size_t offset) const {
    return (apart_of_company_[nodes.companies[offset]] | (own ? own[offset] : 0)) ^ everywhere_;
  }

  node_facts facts_at(const group& nodes, const std::uint32_t* own, std::size_t offset) const {
    node_facts node;
    node.id = nodes.ids[offset];
    node.kind = nodes.kind;
    node.cpu = nodes.cpu_free[offset];
    node.memory = nodes.memory_free[offset];
    node.cards = nodes.cards_free.data() + offset * columns_.kinds()[nodes.kind].cards.size();
    node.largest_cpu = nodes.largest_cpu[offset];
    node.largest_memory = nodes.largest_memory[offset];
    node.apart = node_rules_.empty() ? 0 : apart_at(nodes, own, offset);
    return node;
  }

  node_facts facts_at(place where) const {
    return facts_at(columns_.groups()[where.group], own_marks(where.group), where.offset);
  }

  void look_at_all() {
    auto& groups = columns_.groups();
    std::vector<std::size_t> with_cards;
    std::vector<std::size_t> without;
    for (std::size_t i = 0; i < groups.size(); ++i)
      if (usable(groups[i]))
        (kinds_[groups[i].kind].cards_missing == 0 ? with_cards : without).push_back(i);
    // When the best of those is known, there is little to see at the others.
    for (auto i : with_cards)
      look_at_group(i);
    for (auto i : without)
      look_at_group(i);
  }

  void look_at_group(std::size_t number) {
    auto& nodes = columns_.groups()[number];
    // What is special is left out here.
    std::size_t begin = 0;
    for (auto offset : specials_[number]) {
      scan(nodes, own_marks(number), begin, offset);
      begin = offset + 1;
    }
    scan(nodes, own_marks(number), begin, nodes.size());
    for (auto offset : specials_[number])
      look_at_special({static_cast<std::uint32_t>(number), offset});
  }

  /// Counts the nodes when nothing can be had of them.
  bool usable(const group& nodes) {
    if (nodes.condition != view_columns::state::usable) {
      in_state_[static_cast<std::size_t>(nodes.condition)] += nodes.size();
      return false;
    }
    if (auto name = elsewhere_[nodes.home]) {
      if (nodes.size() > 0)
        in_group_[*name] += nodes.size();
      return false;
    }
    if (!reachable_[nodes.home]) {
      cut_off_ += nodes.size();
      return false;
    }
    return true;
  }

  void scan(const group& nodes, const std::uint32_t* own, std::size_t begin, std::size_t end) {
    auto& kind = kinds_[nodes.kind];
    if (hopeless(kind)) {
      for (auto i = begin; i < end; ++i)
        kind.by_lack[2].note(0, nodes.ids[i]);
      return;
    }
    if (node_rules_.empty())
      need_.cards.empty() ? scan_with<false, false>(nodes, kind, own, begin, end)
                          : scan_with<false, true>(nodes, kind, own, begin, end);
    else
      need_.cards.empty() ? scan_with<true, false>(nodes, kind, own, begin, end)
                          : scan_with<true, true>(nodes, kind, own, begin, end);
  }

  /// It has none of a card, and nothing that is done about its nodes can be the best.
  bool hopeless(const kind_facts& kind) const {
    // What its nodes lack first is the demand's first card then.
    if (!kind.first_card_missing || kind.first != none)
      return false;
    auto changes = kind.changes + kind.cards_missing;
    return !seek_ || changes > best_.changes
           || (changes == best_.changes && kind.least_cost + kind.cards_missing > best_.cost + rounding);
  }

  /// The same as `look_at` for each of them, in a loop that a million nodes go through.
  template <bool WithApart, bool WithCards>
  void scan_with(const group& nodes, kind_facts& kind, const std::uint32_t* own, std::size_t begin, std::size_t end) {
    auto cards = columns_.kinds()[nodes.kind].cards.size();
    auto unlike = kind.first != none;
    auto base = static_cast<std::int64_t>(kind.changes);
    // Locals stay in registers.
    auto need_cpu = need_.cpu_milli;
    auto need_memory = need_.memory_bytes;
    auto ids = nodes.ids.data();
    auto cpus = nodes.cpu_free.data();
    auto memories = nodes.memory_free.data();
    for (auto i = begin; i < end; ++i) {
      auto cpu = cpus[i];
      auto memory = memories[i];
      auto short_of_cpu = cpu < need_cpu;
      auto short_of_memory = memory < need_memory;
      auto lacks = static_cast<std::uint32_t>(short_of_cpu) + static_cast<std::uint32_t>(short_of_memory);
      std::size_t first = short_of_memory ? 1 : 0;
      auto available = short_of_memory ? memory : cpu;
      auto cost_of_cards = 0.0;
      if constexpr (WithCards)
        for (auto card = need_.cards.size(); card-- > 0;) {
          auto at = kind.card_at[card];
          auto free = at < 0 ? 0 : nodes.cards_free[i * cards + static_cast<std::size_t>(at)];
          if (free < need_.cards[card].second) {
            ++lacks;
            first = 2 + card;
            available = free;
            cost_of_cards += static_cast<double>(need_.cards[card].second - std::max<std::int64_t>(free, 0))
                             / static_cast<double>(need_.cards[card].second);
          }
        }
      std::uint32_t apart_bits = 0;
      std::uint32_t apart = 0;
      if constexpr (WithApart) {
        apart_bits = apart_at(nodes, own, i);
        // Most of the time there is one rule.
        apart = apart_bits <= 1 ? apart_bits : static_cast<std::uint32_t>(std::popcount(apart_bits));
      }
      auto changes = base + lacks + apart;
      if (unlike)
        kind.by_condition.note(-changes, ids[i]);
      else if (lacks > 0)
        kind.by_lack[first].note(std::max<std::int64_t>(available, 0), ids[i]);
      else
        note_whole(kind, changes, apart_bits, ids[i]);
      if (!seek_ || changes == 0)
        continue;
      auto least_cost = kind.least_cost + apart * cost_of_requirement + cost_of_cards;
      if (changes <= static_cast<std::int64_t>(best_.changes)
          && may_be_better(static_cast<std::uint32_t>(changes), least_cost, lacks, cpu, memory, ids[i]))
        try_without_freeing(facts_at(nodes, own, i), kind, lacks, apart);
      if (lacks > 0 && kind.plain_changes + apart < best_.changes)
        try_freeing_at(nodes, kind, own, i, apart);
    }
  }

  void look_at_special(place where) {
    auto node = facts_at(where);
    if (auto found = input_.excluded.find(node.id); found != input_.excluded.end()) {
      ++excluded_[found->second];
      return;
    }
    auto& row = newest_row(input_, input_.nodes.find(node.id)->second);
    auto count_in = [](const std::map<node_id, std::uint32_t>& counts, node_id id) {
      auto found = counts.find(id);
      return found == counts.end() ? 0 : found->second;
    };
    auto free = free_on(row, need_, count_in(input_.claimed, node.id));
    for (auto n = count_in(planned_, node.id); n > 0; --n)
      free.take(need_);
    node.cpu = free.cpu_milli;
    node.memory = free.memory_bytes;
    // What the kind does not have a newer row may have: but a plan goes by the kind.
    std::vector<std::int64_t> cards(columns_.kinds()[node.kind].cards.size());
    for (std::size_t i = 0; i < free.cards.size(); ++i)
      if (auto at = kinds_[node.kind].card_at[i]; at >= 0)
        cards[static_cast<std::size_t>(at)] = free.cards[i];
    node.cards = cards.data();
    for (auto& replica : row.shape().replicas()) {
      auto& size = replica.resources();
      node.largest_cpu = std::max<std::int64_t>(node.largest_cpu, size.cpu_milli());
      node.largest_memory = std::max(node.largest_memory, static_cast<std::int64_t>(size.memory_bytes()));
    }
    look_at(node);
  }

  std::int64_t card_free(const node_facts& node, std::size_t card) const {
    auto at = kinds_[node.kind].card_at[card];
    return at < 0 ? 0 : node.cards[at];
  }

  void look_at(const node_facts& node) {
    auto& kind = kinds_[node.kind];
    std::uint32_t lacks = 0;
    std::size_t first = none;
    std::int64_t available = 0;
    if (node.cpu < need_.cpu_milli) {
      ++lacks;
      first = 0;
      available = node.cpu;
    }
    if (node.memory < need_.memory_bytes) {
      ++lacks;
      first = 1;
      available = node.memory;
    }
    for (auto card = need_.cards.size(); card-- > 0;)
      if (auto free = card_free(node, card); free < need_.cards[card].second) {
        ++lacks;
        first = 2 + card;
        available = free;
      }
    auto apart = static_cast<std::uint32_t>(std::popcount(node.apart));
    auto changes = kind.changes + lacks + apart;
    if (kind.first != none)
      kind.by_condition.note(-static_cast<std::int64_t>(changes), node.id);
    else if (lacks > 0)
      kind.by_lack[first].note(std::max<std::int64_t>(available, 0), node.id);
    else
      note_whole(kind, changes, node.apart, node.id);
    if (!seek_ || changes == 0)
      return;
    if (changes <= best_.changes)
      try_without_freeing(node, kind, lacks, apart);
    if (lacks > 0 && node.largest_cpu + node.largest_memory > 0 && kind.plain_changes + apart < best_.changes)
      try_freeing(node, kind, apart);
  }

  /// A node that lacks nothing, of a kind that meets all conditions.
  void note_whole(kind_facts& kind, std::int64_t changes, std::uint32_t apart, node_id id) {
    if (!kind.apart.empty())
      kind.by_affinity.note(-changes, id);
    else if (apart != 0)
      by_node_rule_[node_rules_[static_cast<std::size_t>(std::countr_zero(apart))]].note(-changes, id);
    else if (changes > 0)
      kind.by_spread.note(-changes, id);
    else
      ++fitting_;
  }

  /// False when what a node lacks, and cutting the demand costs, is too much for the best remedy.
  /// @param cost Without that of less memory and fewer cores.
  bool may_be_better(std::uint32_t changes, double cost, std::uint32_t lacks, std::int64_t cpu, std::int64_t memory,
                     node_id id) const {
    if (changes < best_.changes)
      return true;
    if (lacks == 0 && rules_.spreads().empty())
      return cost < best_.cost || (cost == best_.cost && id < best_.node);
    cost += static_cast<double>(std::max<std::int64_t>(need_.cpu_milli - cpu, 0)) * per_cpu_
            + static_cast<double>(std::max<std::int64_t>(need_.memory_bytes - memory, 0)) * per_memory_;
    return beats_best(cost, id);
  }

  /// Of ways that cost the same, the one at the smallest id is told: most nodes of a kind cost the same.
  bool beats_best(double cost, node_id id) const {
    return cost < best_.cost - rounding || (cost <= best_.cost + rounding && id <= best_.node);
  }

  /// Calls `try_freeing` when that may lead to something better.
  void try_freeing_at(const group& nodes, const kind_facts& kind, const std::uint32_t* own, std::size_t offset,
                      std::uint32_t apart) {
    auto largest_cpu = nodes.largest_cpu[offset];
    auto largest_memory = nodes.largest_memory[offset];
    if (largest_cpu + largest_memory == 0)
      return;
    auto lack_of_cpu = need_.cpu_milli - nodes.cpu_free[offset];
    auto lack_of_memory = need_.memory_bytes - nodes.memory_free[offset];
    auto more = static_cast<std::uint32_t>(lack_of_cpu > largest_cpu)
                + static_cast<std::uint32_t>(lack_of_memory > largest_memory);
    auto changes = kind.plain_changes + apart + 1 + more;
    if (changes > best_.changes)
      return;
    if (changes == best_.changes) {
      auto cost = kind.least_cost + apart * cost_of_requirement + cost_of_replica;
      if (more == 0)
        cost +=
            std::max(static_cast<double>(lack_of_cpu) * per_cpu_, static_cast<double>(lack_of_memory) * per_memory_);
      if (!beats_best(cost, nodes.ids[offset]))
        return;
    }
    try_freeing(facts_at(nodes, own, offset), kind, apart);
  }

  // -- remedies --------------------------------------------------------------

  /// Cuts the demand to what is free; nullopt: there is not enough for any demand.
  /// @param dropped Numbers of cards of which none is left in the demand are added.
  std::optional<std::pair<std::uint32_t, double>> cut(const free_amounts& free,
                                                      std::vector<std::uint32_t>* dropped) const {
    std::pair<std::uint32_t, double> result{0, 0.0};
    auto reduce = [&result](std::int64_t from, std::int64_t to) {
      ++result.first;
      result.second += static_cast<double>(from - to) / static_cast<double>(from);
    };
    if (free.cpu_milli < need_.cpu_milli) {
      if (free.cpu_milli < cpu_milli_min)
        return std::nullopt;
      reduce(need_.cpu_milli, free.cpu_milli);
    }
    if (free.memory_bytes < need_.memory_bytes) {
      if (free.memory_bytes < memory_bytes_min)
        return std::nullopt;
      reduce(need_.memory_bytes, free.memory_bytes);
    }
    for (std::size_t card = 0; card < need_.cards.size(); ++card) {
      if (free.cards[card] >= need_.cards[card].second)
        continue;
      reduce(need_.cards[card].second, std::max<std::int64_t>(free.cards[card], 0));
      if (free.cards[card] <= 0 && dropped)
        dropped->push_back(static_cast<std::uint32_t>(card));
    }
    return result;
  }

  /// The whole remedy for a node, when so much is free there.
  std::optional<remedy> remedy_with(const node_facts& node, const kind_facts& kind, const free_amounts& free,
                                    std::uint32_t apart) {
    std::vector<std::uint32_t> dropped;
    auto cuts = cut(free, rules_.spreads().empty() ? nullptr : &dropped);
    if (!cuts)
      return std::nullopt;
    remedy result;
    result.node = node.id;
    if (rules_.spreads().empty()) {
      result.changes = kind.plain_changes;
      result.cost = kind.plain_cost;
    } else {
      // Cards come first among the conditions.
      dropped.insert(dropped.end(), kind.failing.begin(), kind.failing.end());
      result.changes = static_cast<std::uint32_t>(kind.failing.size() + kind.apart.size());
      result.cost = static_cast<double>(kind.apart.size()) * cost_of_requirement;
      for (auto number : kind.failing)
        result.cost += rules_.conditions()[number].type == condition::what::taint ? cost_of_taint : cost_of_requirement;
      for (auto& [rule, skew] : skews(kind, dropped)) {
        ++result.changes;
        result.cost += cost_of_skew * (skew - rules_.spreads()[rule].max_skew);
      }
    }
    result.changes += cuts->first + apart;
    result.cost += cuts->second + apart * cost_of_requirement;
    return result;
  }

  void try_without_freeing(const node_facts& node, const kind_facts& kind, std::uint32_t lacks, std::uint32_t apart) {
    if (lacks == 0 || (need_.cards.empty() && rules_.spreads().empty())) {
      // What most nodes are like, without a detour.
      remedy here{kind.changes + lacks + apart, kind.cost + apart * cost_of_requirement, node.id, -1};
      if (node.cpu < need_.cpu_milli) {
        if (node.cpu < cpu_milli_min)
          return;
        here.cost += static_cast<double>(need_.cpu_milli - node.cpu) / static_cast<double>(need_.cpu_milli);
      }
      if (node.memory < need_.memory_bytes) {
        if (node.memory < memory_bytes_min)
          return;
        here.cost += static_cast<double>(need_.memory_bytes - node.memory) / static_cast<double>(need_.memory_bytes);
      }
      best_ = std::min(best_, here);
      return;
    }
    if (auto here = remedy_with(node, kind, free_at(node), apart); here)
      best_ = std::min(best_, *here);
  }

  free_amounts free_at(const node_facts& node) const {
    free_amounts result;
    result.cpu_milli = node.cpu;
    result.memory_bytes = node.memory;
    for (std::size_t card = 0; card < need_.cards.size(); ++card)
      result.cards.push_back(card_free(node, card));
    return result;
  }

  /// A replica less, and the demand cut if that is not enough.
  void try_freeing(const node_facts& node, const kind_facts& kind, std::uint32_t apart) {
    // Nothing that is freed here can be better than this.
    remedy hope{kind.plain_changes + apart + 1, kind.plain_cost + apart * cost_of_requirement + cost_of_replica,
                node.id, -1};
    auto lack_of = [](std::int64_t need, std::int64_t free) {
      return need > free ? static_cast<double>(need - free) / static_cast<double>(need) : 0.0;
    };
    auto short_of_cpu = node.cpu + node.largest_cpu < need_.cpu_milli;
    auto short_of_memory = node.memory + node.largest_memory < need_.memory_bytes;
    if (short_of_cpu || short_of_memory) {
      if (node.cpu + node.largest_cpu < cpu_milli_min || node.memory + node.largest_memory < memory_bytes_min)
        return;
      hope.changes += (short_of_cpu ? 1U : 0U) + (short_of_memory ? 1U : 0U);
    } else {
      hope.cost += std::max(lack_of(need_.cpu_milli, node.cpu), lack_of(need_.memory_bytes, node.memory));
    }
    if (best_ < hope)
      return;
    auto& row = newest_row(input_, input_.nodes.find(node.id)->second);
    auto& replicas = row.shape().replicas();
    for (int i = 0; i < replicas.size(); ++i) {
      auto& replica = replicas[i];
      if (!may_be_freed(replica))
        continue;
      demand size{replica.resources()};
      auto free = free_at(node);
      free.cpu_milli += size.cpu_milli;
      free.memory_bytes += size.memory_bytes;
      for (std::size_t card = 0; card < need_.cards.size(); ++card)
        if (kind.card_at[card] >= 0)
          for (auto& [name, count] : size.cards)
            if (name == need_.cards[card].first)
              free.cards[card] += count;
      auto here = remedy_with(node, kind, free, apart);
      if (!here)
        continue;
      ++here->changes;
      here->cost += cost_of_replica + share_of(size);
      here->replica = i;
      best_ = std::min(best_, *here);
    }
  }

  /// How large something is beside the demand.
  double share_of(const demand& size) const {
    auto share = [](std::int64_t part, std::int64_t all) {
      return all <= 0 ? 0.0 : static_cast<double>(part) / static_cast<double>(all);
    };
    return std::max(share(size.cpu_milli, need_.cpu_milli), share(size.memory_bytes, need_.memory_bytes));
  }

  bool may_be_freed(const pb::ReplicaStatus& replica) const {
    if (replica.app() == input_.spec.name() || replica.state() == pb::REPLICA_STOPPED)
      return false;
    // The app wants to be where that one is.
    return std::none_of(rules_.affinities().begin(), rules_.affinities().end(),
                        [&](auto& rule) { return !rule.anti && rule.app == replica.app(); });
  }

  // -- what is told ----------------------------------------------------------

  std::string name_of(node_id id) const {
    auto found = input_.nodes.find(id);
    return found == input_.nodes.end() || found->second.name().empty() ? to_string(id) : found->second.name();
  }

  /// Reasons of several kinds with the same words are one.
  class reason_list {
  public:
    void add(const std::string& text, const most& nodes) {
      if (nodes.nodes == 0)
        return;
      auto& entry = entries_[text];
      auto count = entry.nodes + nodes.nodes;
      entry.note(nodes.amount, nodes.node);
      entry.nodes = count;
    }

    const std::map<std::string, most>& entries() const { return entries_; }

  private:
    std::map<std::string, most> entries_;
  };

  static std::string condition_text(const condition& failed) {
    switch (failed.type) {
    case condition::what::label:
      return "lack the label " + failed.text;
    case condition::what::expression:
      return "do not meet " + failed.text;
    case condition::what::spread_label:
      return "lack the label " + failed.text + " that it is spread over";
    default:
      return "have the taint " + failed.text;
    }
  }

  static std::string affinity_text(const placement_rules::affinity_rule& rule) {
    auto where = rule.label.empty() ? std::string{} : " in their " + rule.label;
    return (rule.anti ? "have a replica of " : "have no replica of ") + rule.app + where;
  }

  std::vector<explanation::reason> reasons() {
    std::vector<explanation::reason> result;
    auto add_plain = [&](std::string text, std::size_t nodes) {
      if (nodes > 0)
        result.push_back({std::move(text), nodes, {}, {}});
    };
    add_plain("offline", in_state_[static_cast<std::size_t>(view_columns::state::offline)]);
    add_plain("draining", in_state_[static_cast<std::size_t>(view_columns::state::draining)]);
    add_plain("not described yet", in_state_[static_cast<std::size_t>(view_columns::state::undescribed)]);
    for (auto& [group, nodes] : in_group_)
      add_plain(elsewhere_text(group), nodes);
    add_plain("cut off: the home Resource does not answer", cut_off_);
    for (auto& [text, nodes] : excluded_)
      add_plain(text, nodes);
    reason_list qualities;
    std::vector<most> lacks(2 + need_.cards.size());
    for (auto& kind : kinds_) {
      if (kind.first != none)
        qualities.add(condition_text(rules_.conditions()[kind.first]), kind.by_condition);
      if (!kind.apart.empty())
        qualities.add(affinity_text(rules_.affinities()[kind.apart.front()]), kind.by_affinity);
      if (kind.by_spread.nodes > 0)
        for (auto& [rule, skew] : skews(kind, {})) {
          auto& spread = rules_.spreads()[rule];
          qualities.add(fmt::format("have too many of it in their {} (max_skew {})", spread.label, spread.max_skew),
                        kind.by_spread);
          break;
        }
      for (std::size_t i = 0; i < lacks.size(); ++i)
        if (kind.by_lack[i].nodes > 0) {
          auto count = lacks[i].nodes + kind.by_lack[i].nodes;
          lacks[i].note(kind.by_lack[i].amount, kind.by_lack[i].node);
          lacks[i].nodes = count;
        }
    }
    for (auto& [rule, nodes] : by_node_rule_)
      qualities.add(affinity_text(rules_.affinities()[rule]), nodes);
    for (auto& [text, nodes] : qualities.entries())
      result.push_back({text, nodes.nodes, nodes.node, name_of(nodes.node)});
    for (std::size_t i = 0; i < lacks.size(); ++i)
      if (lacks[i].nodes > 0)
        result.push_back(lack(i, lacks[i]));
    std::sort(result.begin(), result.end(), [](auto& a, auto& b) {
      return std::tuple{b.nodes, std::string_view{a.text}} < std::tuple{a.nodes, std::string_view{b.text}};
    });
    return result;
  }

  explanation::reason lack(std::size_t which, const most& nodes) const {
    auto available = static_cast<std::uint64_t>(nodes.amount);
    std::string text;
    std::string amount;
    if (which == 0) {
      text = "lack cores (" + cores(static_cast<std::uint64_t>(need_.cpu_milli)) + " needed";
      amount = cores(available);
    } else if (which == 1) {
      text = "lack memory (" + bytes(static_cast<std::uint64_t>(need_.memory_bytes)) + " needed";
      amount = bytes(available);
    } else {
      auto& [kind, count] = need_.cards[which - 2];
      text = fmt::format("lack {} accelerators ({} needed", kind, count);
      amount = std::to_string(available);
    }
    auto name = name_of(nodes.node);
    text += available == 0 ? ", none free)" : fmt::format(", at most {} free, on {})", amount, name);
    return {std::move(text), nodes.nodes, nodes.node, std::move(name)};
  }

  void describe_best(explanation& result) {
    result.node = best_.node;
    result.node_name = name_of(best_.node);
    auto node = facts_at(*columns_.find(best_.node));
    auto& kind = kinds_[node.kind];
    auto& row = newest_row(input_, input_.nodes.find(best_.node)->second);
    auto claimed = input_.claimed.find(best_.node);
    auto free = free_on(row, need_, claimed == input_.claimed.end() ? 0 : claimed->second);
    for (std::size_t card = 0; card < free.cards.size(); ++card)
      if (kind.card_at[card] < 0)
        free.cards[card] = 0;
    auto add = [&](what type, std::string subject, std::uint64_t value = 0, int position = 0) {
      result.changes.push_back({type, std::move(subject), value, position, {}});
    };
    if (best_.replica >= 0) {
      auto& replica = row.shape().replicas(best_.replica);
      demand size{replica.resources()};
      free.cpu_milli += size.cpu_milli;
      free.memory_bytes += size.memory_bytes;
      for (std::size_t card = 0; card < need_.cards.size(); ++card)
        for (auto& [name, count] : size.cards)
          if (name == need_.cards[card].first && kind.card_at[card] >= 0)
            free.cards[card] += count;
      add(what::free_replica, replica.app(), replica.index());
      result.changes.back().token = claim_token{replica.token()};
    }
    if (free.cpu_milli < need_.cpu_milli)
      add(what::cpu, {}, static_cast<std::uint64_t>(free.cpu_milli));
    if (free.memory_bytes < need_.memory_bytes)
      add(what::memory, {}, static_cast<std::uint64_t>(free.memory_bytes));
    std::vector<std::uint32_t> dropped;
    for (std::size_t card = 0; card < need_.cards.size(); ++card) {
      if (free.cards[card] >= need_.cards[card].second)
        continue;
      add(what::accelerators, need_.cards[card].first,
          static_cast<std::uint64_t>(std::max<std::int64_t>(free.cards[card], 0)));
      if (free.cards[card] <= 0)
        dropped.push_back(static_cast<std::uint32_t>(card));
    }
    for (auto number : in_order(kind.failing)) {
      auto& failed = rules_.conditions()[number];
      auto type = failed.type == condition::what::label          ? what::require_label
                  : failed.type == condition::what::expression   ? what::require_expression
                  : failed.type == condition::what::spread_label ? what::spread
                                                                 : what::tolerate;
      add(type, failed.text, 0, failed.position);
    }
    auto drop = [&](std::uint32_t rule) {
      auto& affinity = rules_.affinities()[rule];
      add(affinity.anti ? what::anti_affinity : what::affinity, affinity.app, 0, affinity.position);
    };
    for (auto rule : kind.apart)
      drop(rule);
    for (std::size_t bit = 0; bit < node_rules_.size(); ++bit)
      if ((node.apart >> bit & 1U) != 0)
        drop(node_rules_[bit]);
    dropped.insert(dropped.end(), kind.failing.begin(), kind.failing.end());
    for (auto& [rule, skew] : skews(kind, dropped))
      add(what::max_skew, rules_.spreads()[rule].label, skew, static_cast<int>(rule));
  }

  const plan_input& input_;
  placement_rules& rules_;
  const view_columns& columns_;
  const std::map<node_id, std::uint32_t>& planned_;
  bool seek_;
  const demand& need_;
  /// What a thousandth of a core, and a byte, less of the demand cost.
  double per_cpu_ = need_.cpu_milli > 0 ? 1.0 / static_cast<double>(need_.cpu_milli) : 0.0;
  double per_memory_ = need_.memory_bytes > 0 ? 1.0 / static_cast<double>(need_.memory_bytes) : 0.0;
  std::vector<kind_facts> kinds_;
  std::map<std::vector<std::uint32_t>, std::vector<std::uint32_t>> minima_;
  /// By group, the offsets of such nodes, ascending.
  std::vector<std::vector<std::uint32_t>> specials_;
  std::vector<std::uint8_t> reachable_;
  /// By home, the Resource group when it is not the app's.
  std::vector<const std::string*> elsewhere_;
  /// By kind: usable nodes of the app's Resource groups.
  std::vector<std::size_t> of_the_app_;
  std::map<std::string, std::size_t> in_group_;
  /// Numbers of the rules about single nodes.  There is a bit for each: those whose app is there, by company and, of
  /// the app itself, by group and offset; and those that are affinities.
  std::vector<std::uint32_t> node_rules_;
  std::vector<std::uint32_t> apart_of_company_;
  std::vector<std::vector<std::uint32_t>> own_;
  std::uint32_t everywhere_ = 0;

  std::size_t fitting_ = 0;
  std::size_t in_state_[4] = {};
  std::size_t cut_off_ = 0;
  std::map<std::string, std::size_t> excluded_;
  std::map<std::uint32_t, most> by_node_rule_;
  remedy best_;
};

/// Those of the input, or new ones.
const view_columns& columns_for(const plan_input& input, std::optional<view_columns>& own) {
  if (input.columns)
    return *input.columns;
  return (input.made_columns ? *input.made_columns : own).emplace(input.nodes);
}

} // namespace

explanation explain(const plan_input& input) {
  std::optional<view_columns> own;
  auto& columns = columns_for(input, own);
  placement_rules rules{input, columns};
  return survey{input, rules, columns, {}, true}.run();
}

explanation count_reasons(const plan_input& input, placement_rules& rules,
                          const std::map<node_id, std::uint32_t>& planned) {
  std::optional<view_columns> own;
  return survey{input, rules, columns_for(input, own), planned, false}.run();
}

std::string to_text(const explanation& about) {
  if (about.nodes == 0)
    return "no node is known yet";
  auto result = fmt::format("{} of {} {}", about.fitting, about.nodes, about.nodes == 1 ? "node fits" : "nodes fit");
  auto separator = ": ";
  for (auto& reason : about.reasons) {
    result += fmt::format("{}{} {}", separator, reason.nodes, reason.text);
    separator = ", ";
  }
  return result;
}

std::string to_text(const placement_change& change) {
  switch (change.type) {
  case what::cpu:
    return "resources.cpu down to " + cores(change.value);
  case what::memory:
    return "resources.memory down to " + size_down(change.value);
  case what::accelerators:
    return change.value == 0 ? "resources.accelerators without " + change.subject
                             : fmt::format("resources.accelerators.{} down to {}", change.subject, change.value);
  case what::require_label:
    return "require.labels without " + change.subject;
  case what::require_expression:
    return "placement.require without " + change.subject;
  case what::spread:
    return "placement.spread without " + change.subject;
  case what::affinity:
    return "placement.affinity without " + change.subject;
  case what::anti_affinity:
    return "placement.anti_affinity without " + change.subject;
  case what::tolerate:
    return "placement.tolerate with " + change.subject;
  case what::max_skew:
    return fmt::format("placement.spread over {} with max_skew = {}", change.subject, change.value);
  case what::free_replica:
    return fmt::format("replica {} of {} freed", change.value, change.subject);
  }
  return {};
}

} // namespace astra
