#include "actors/scheduler/planner.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <limits>
#include <tuple>
#include <utility>

namespace astra {
namespace {

/// Most apps that share out the nodes between them; with more, several apps have the same home.
constexpr std::size_t partitions_max = 64;

/// Resources as numbers that can be added and compared.
struct amounts {
  std::uint64_t cpu_milli = 0;
  std::uint64_t memory_bytes = 0;
  std::map<std::string, std::uint64_t> accelerators;
};

amounts amounts_of(const pb::Resources& resources) {
  amounts result{resources.cpu_milli(), resources.memory_bytes(), {}};
  for (auto& accelerator : resources.accelerators())
    result.accelerators[accelerator.kind()] += accelerator.count();
  return result;
}

void add(amounts& to, const amounts& what, std::uint64_t times) {
  to.cpu_milli += what.cpu_milli * times;
  to.memory_bytes += what.memory_bytes * times;
  for (auto& [kind, count] : what.accelerators)
    to.accelerators[kind] += count * times;
}

void subtract(amounts& from, const amounts& what) {
  auto less = [](std::uint64_t& value, std::uint64_t by) { value -= std::min(value, by); };
  less(from.cpu_milli, what.cpu_milli);
  less(from.memory_bytes, what.memory_bytes);
  for (auto& [kind, count] : what.accelerators)
    if (auto found = from.accelerators.find(kind); found != from.accelerators.end())
      less(found->second, count);
}

void raise_to(amounts& to, const amounts& other) {
  to.cpu_milli = std::max(to.cpu_milli, other.cpu_milli);
  to.memory_bytes = std::max(to.memory_bytes, other.memory_bytes);
  for (auto& [kind, count] : other.accelerators)
    to.accelerators[kind] = std::max(to.accelerators[kind], count);
}

std::uint64_t count_of(const amounts& of, const std::string& kind) {
  auto found = of.accelerators.find(kind);
  return found == of.accelerators.end() ? 0 : found->second;
}

bool fits(const amounts& need, const amounts& free) {
  return need.cpu_milli <= free.cpu_milli && need.memory_bytes <= free.memory_bytes
         && std::all_of(need.accelerators.begin(), need.accelerators.end(),
                        [&](auto& entry) { return entry.second <= count_of(free, entry.first); });
}

amounts free_on(const node_row& row, const amounts& need, std::uint32_t claimed) {
  auto free = amounts_of(row.shape().capacity());
  for (auto& replica : row.shape().replicas())
    if (replica.state() != pb::REPLICA_STOPPED)
      subtract(free, amounts_of(replica.resources()));
  // A claim of ours is in `held` as soon as the Resource has heard of it: counting both would double it.
  auto held = amounts_of(row.held());
  amounts own;
  add(own, need, claimed);
  raise_to(held, own);
  subtract(free, held);
  return free;
}

std::string cores(std::uint64_t cpu_milli) {
  auto number = fmt::format("{:g}", static_cast<double>(cpu_milli) / 1000.0);
  return number + (cpu_milli == 1000 ? " core" : " cores");
}

std::string bytes(std::uint64_t value) {
  static constexpr const char* units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  auto scaled = static_cast<double>(value);
  std::size_t unit = 0;
  while (scaled >= 1024.0 && unit + 1 < std::size(units)) {
    scaled /= 1024.0;
    ++unit;
  }
  return fmt::format("{:.4g} {}", scaled, units[unit]);
}

/// Counts why nodes do not fit, and remembers of each cause the node that came closest.
class misses {
public:
  /// @param cause What follows the number of nodes, such as "lack memory (8 GiB needed".
  void add(const std::string& cause, std::uint64_t available, std::string nearest = {}) {
    auto& entry = entries_[cause];
    if (entry.nodes++ == 0 || available > entry.available) {
      entry.available = available;
      entry.nearest = std::move(nearest);
    }
  }

  std::string text(std::size_t nodes) const {
    if (nodes == 0)
      return "no node is known yet";
    std::vector<std::pair<std::string, const entry*>> sorted;
    for (auto& [cause, entry] : entries_)
      sorted.emplace_back(cause, &entry);
    std::stable_sort(sorted.begin(), sorted.end(), [](auto& a, auto& b) { return a.second->nodes > b.second->nodes; });
    std::string result = fmt::format("0 of {} {}", nodes, nodes == 1 ? "node fits" : "nodes fit");
    auto separator = ": ";
    for (auto& [cause, entry] : sorted) {
      result += fmt::format("{}{} {}{}", separator, entry->nodes, cause, entry->nearest);
      separator = ", ";
    }
    return result;
  }

private:
  struct entry {
    std::size_t nodes = 0;
    std::uint64_t available = 0;
    std::string nearest;
  };
  std::map<std::string, entry> entries_;
};

/// End of the text of a miss: "8 GiB needed, at most 6 GiB free, on n3)".
std::string nearest_miss(std::uint64_t available, const std::string& amount, const std::string& node) {
  return available == 0 ? ", none free)" : fmt::format(", at most {} free, on {})", amount, node);
}

/// Notes what of `need` is missing in `free`, the scarcest kind of resource first.
void note_lack(misses& out, const amounts& need, const amounts& free, const std::string& node) {
  for (auto& [kind, count] : need.accelerators) {
    auto available = count_of(free, kind);
    if (count > available) {
      out.add(fmt::format("lack {} accelerators ({} needed", kind, count), available,
              nearest_miss(available, std::to_string(available), node));
      return;
    }
  }
  if (need.memory_bytes > free.memory_bytes)
    out.add(fmt::format("lack memory ({} needed", bytes(need.memory_bytes)), free.memory_bytes,
            nearest_miss(free.memory_bytes, bytes(free.memory_bytes), node));
  else
    out.add(fmt::format("lack cores ({} needed", cores(need.cpu_milli)), free.cpu_milli,
            nearest_miss(free.cpu_milli, cores(free.cpu_milli), node));
}

const pb::Label* missing_label(const pb::AppSpec& spec, const pb::NodeProfile& profile) {
  for (auto& wanted : spec.require()) {
    auto has = std::any_of(profile.labels().begin(), profile.labels().end(),
                           [&](auto& label) { return label.key() == wanted.key() && label.value() == wanted.value(); });
    if (!has)
      return &wanted;
  }
  return nullptr;
}

struct candidate {
  node_id node;
  const std::string* name = nullptr;
  amounts free;
  amounts capacity;
  bool suspect = false;
  bool away = false;
  /// Accelerators free here that the app has no use for: other apps will want them.
  std::uint64_t idle_accelerators = 0;
  std::uint32_t placed = 0;

  /// Smaller is better, and must be exhausted before the next.
  auto tier() const { return std::tuple{suspect, placed, idle_accelerators != 0, away}; }

  /// Larger is better: the share left of what is scarcest here.  Requests share the machine whatever was reserved,
  /// so emptier nodes serve faster.
  double left() const {
    auto share = [](std::uint64_t part, std::uint64_t all) {
      return all == 0 ? 1.0 : static_cast<double>(part) / static_cast<double>(all);
    };
    return std::min(share(free.cpu_milli, capacity.cpu_milli), share(free.memory_bytes, capacity.memory_bytes));
  }
};

const node_row& row_of(const plan_input& input, const node_entry& entry) {
  auto found = input.corrections.find(entry.id());
  return found == input.corrections.end() ? entry.row : found->second;
}

/// Why a node is no candidate at all, whatever is free on it; empty: it is one.
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
    return "of the Resource group " + found->second + ", which is not the app's";
  if (input.reachable.count(entry.origin) == 0)
    return "cut off: the home Resource does not answer";
  if (auto found = input.excluded.find(entry.id()); found != input.excluded.end())
    return found->second;
  return {};
}

/// The shortest list of nodes that no candidate can be missing in; null: there is none.
const posting_list* shortest_list(const plan_input& input, const amounts& need) {
  if (!input.index)
    return nullptr;
  const posting_list* best = nullptr;
  auto consider = [&](const posting_list& list) {
    if (!best || list.size() < best->size())
      best = &list;
  };
  for (auto& label : input.spec.require())
    consider(view_index::list(input.index->label(label.key()), label.value()));
  // Whoever has no card of the first kind is said to lack that one, whatever other kinds it has.
  if (!need.accelerators.empty() && need.accelerators.begin()->second > 0)
    consider(view_index::list(input.index->accelerators(), need.accelerators.begin()->first));
  return best;
}

std::uint32_t value_or_zero(const std::map<node_id, std::uint32_t>& counts, node_id id) {
  auto found = counts.find(id);
  return found == counts.end() ? 0 : found->second;
}

} // namespace

std::uint32_t room_for(const pb::AppSpec& spec, const node_row& row, std::uint32_t claimed) {
  auto need = amounts_of(spec.per_replica());
  auto free = free_on(row, need, claimed);
  std::uint64_t room = std::numeric_limits<std::uint32_t>::max();
  auto limit = [&room](std::uint64_t want, std::uint64_t have) {
    if (want != 0)
      room = std::min(room, have / want);
  };
  limit(need.cpu_milli, free.cpu_milli);
  limit(need.memory_bytes, free.memory_bytes);
  for (auto& [kind, count] : need.accelerators)
    limit(count, count_of(free, kind));
  return static_cast<std::uint32_t>(room);
}

std::set<std::string> groups_of(const pb::AppSpec& spec, const std::string& home) {
  if (spec.groups().empty())
    return {home};
  return {spec.groups().begin(), spec.groups().end()};
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
  auto need = amounts_of(input.spec.per_replica());
  // Nodes that can take at least one replica, by tier; and the others, with the reason.
  std::map<decltype(std::declval<candidate>().tier()), std::vector<candidate>> tiers;
  misses out;
  auto look_at = [&](node_id id, const node_entry& entry) {
    if (auto why = unusable_because(input, entry); !why.empty()) {
      out.add(why, 0);
      return;
    }
    auto& row = row_of(input, entry);
    if (auto label = missing_label(input.spec, entry.row.shape())) {
      out.add(fmt::format("lack the label {}={}", label->key(), label->value()), 0);
      return;
    }
    candidate here;
    here.node = id;
    here.name = &entry.name();
    here.free = free_on(row, need, value_or_zero(input.claimed, id));
    if (!fits(need, here.free)) {
      note_lack(out, need, here.free, *here.name);
      return;
    }
    here.capacity = amounts_of(row.shape().capacity());
    here.suspect = entry.row.liveness() == pb::LIVENESS_SUSPECT;
    here.away = id.value() % input.partitions != input.partition;
    here.placed = value_or_zero(input.placed, id);
    for (auto& [kind, count] : here.free.accelerators)
      here.idle_accelerators += need.accelerators.count(kind) == 0 ? count : 0;
    tiers[here.tier()].push_back(std::move(here));
  };
  auto listed = shortest_list(input, need);
  posting_union likely;
  if (listed) {
    likely.add(*listed);
    // A row that is newer than the index may have what the index does not know of.
    for (auto& [id, row] : input.corrections)
      likely.add(id);
    for (auto id = likely.next({}); id; id = likely.next(id))
      if (auto found = input.nodes.find(id); found != input.nodes.end())
        look_at(id, found->second);
  } else {
    for (auto& [id, entry] : input.nodes)
      look_at(id, entry);
  }
  auto next = input.missing.begin();
  for (; next != input.missing.end() && !tiers.empty(); ++next) {
    auto& [tier, best] = *tiers.begin();
    auto chosen = random.below(best.size());
    if (auto other = random.below(best.size()); best[other].left() > best[chosen].left())
      chosen = other;
    auto here = std::move(best[chosen]);
    best[chosen] = std::move(best.back());
    best.pop_back();
    if (best.empty())
      tiers.erase(tiers.begin());
    result.placements.push_back({*next, here.node});
    subtract(here.free, need);
    ++here.placed;
    if (fits(need, here.free))
      tiers[here.tier()].push_back(std::move(here));
    else
      note_lack(out, need, here.free, *here.name);
  }
  result.unplaced.assign(next, input.missing.end());
  if (!result.unplaced.empty()) {
    // Why not on the others either is said only where somebody asks.
    for (auto& [id, entry] : input.nodes)
      if (listed && !listed->contains(id) && input.corrections.count(id) == 0)
        look_at(id, entry);
    result.reason = out.text(input.nodes.size());
  }
  return result;
}

} // namespace astra
