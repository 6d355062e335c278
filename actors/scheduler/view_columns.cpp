#include "actors/scheduler/view_columns.hpp"

#include "actors/scheduler/placement_rules.hpp"

#include <algorithm>
#include <functional>
#include <string_view>
#include <utility>

namespace astra {
namespace {

void mix(std::uint64_t& hash, std::uint64_t number) {
  hash = (hash ^ number) * 0x9e3779b97f4a7c15U;
  hash ^= hash >> 32;
}

void mix(std::uint64_t& hash, const std::string& text) {
  mix(hash, std::hash<std::string_view>{}(text));
}

template <class Labels>
void mix_labels(std::uint64_t& hash, const Labels& labels) {
  mix(hash, static_cast<std::uint64_t>(labels.size()));
  for (auto& label : labels) {
    mix(hash, label.key());
    mix(hash, label.value());
  }
}

/// Equal for equal kinds; within this process.
std::uint64_t kind_hash(const pb::NodeProfile& shape) {
  std::uint64_t hash = 1;
  auto& capacity = shape.capacity();
  mix(hash, std::uint64_t{capacity.cpu_milli()});
  mix(hash, std::uint64_t{capacity.memory_bytes()});
  mix(hash, static_cast<std::uint64_t>(capacity.accelerators_size()));
  for (auto& card : capacity.accelerators()) {
    mix(hash, card.kind());
    mix(hash, std::uint64_t{card.count()});
  }
  mix_labels(hash, shape.labels());
  mix_labels(hash, shape.taints());
  return hash;
}

template <class List, class Equal>
bool same_list(const List& a, const List& b, Equal equal) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), equal);
}

bool same_kind(const pb::NodeProfile& a, const pb::NodeProfile& b) {
  auto same_label = [](auto& one, auto& other) { return one.key() == other.key() && one.value() == other.value(); };
  auto same_card = [](auto& one, auto& other) { return one.kind() == other.kind() && one.count() == other.count(); };
  return a.capacity().cpu_milli() == b.capacity().cpu_milli()
         && a.capacity().memory_bytes() == b.capacity().memory_bytes()
         && same_list(a.capacity().accelerators(), b.capacity().accelerators(), same_card)
         && same_list(a.labels(), b.labels(), same_label) && same_list(a.taints(), b.taints(), same_label);
}

/// Nodes that are fetched together.
constexpr std::size_t batch_size = 64;

void prefetch(const void* address) {
  __builtin_prefetch(address);
}

/// Gets into the cache what is read of these: one after the other each would wait for a dozen misses in a row.  Step by
/// step, so that what a step follows is there by then.
void fetch(const std::vector<const node_entry*>& entries) {
  auto each = [&](auto step) {
    for (auto entry : entries)
      if (entry->row.has_profile())
        step(entry->row.shape());
  };
  auto each_part = [&](auto step) {
    each([&](auto& shape) {
      for (auto& label : shape.labels())
        step(label);
      for (auto& replica : shape.replicas())
        step(replica);
    });
  };
  for (auto entry : entries)
    prefetch(&entry->row);
  each([](auto& shape) {
    prefetch(&shape);
    prefetch(reinterpret_cast<const char*>(&shape) + 64);
  });
  each([](auto& shape) {
    prefetch(&shape.capacity());
    prefetch(shape.labels().data());
    prefetch(shape.replicas().data());
  });
  each_part([](auto& part) { prefetch(&part); });
  each([](auto& shape) {
    for (auto& label : shape.labels()) {
      prefetch(&label.key());
      prefetch(&label.value());
    }
    for (auto& replica : shape.replicas()) {
      prefetch(reinterpret_cast<const char*>(&replica) + 64);
      prefetch(&replica.app());
      prefetch(&replica.resources());
    }
  });
}

view_columns::state state_of(const node_entry& entry) {
  switch (entry.row.liveness()) {
  case pb::LIVENESS_OFFLINE:
    return view_columns::state::offline;
  case pb::LIVENESS_DRAINING:
    return view_columns::state::draining;
  default:
    return entry.usable() ? view_columns::state::usable : view_columns::state::undescribed;
  }
}

} // namespace

view_columns::view_columns() : kinds_(1), companies_(1) {
  company_numbers_.emplace(companies_.front(), 0);
}

view_columns::view_columns(const std::map<node_id, node_entry>& nodes) : view_columns() {
  places_.reserve(nodes.size());
  shape_cache known;
  std::vector<const node_entry*> batch;
  auto write_batch = [&] {
    fetch(batch);
    for (auto entry : batch)
      write(*entry, &known);
    batch.clear();
  };
  for (auto& [id, entry] : nodes) {
    batch.push_back(&entry);
    if (batch.size() == batch_size)
      write_batch();
  }
  write_batch();
}

void view_columns::update(const node_entry& entry) {
  write(entry, nullptr);
}

void view_columns::erase(node_id node) {
  auto found = places_.find(node);
  if (found == places_.end())
    return;
  auto where = found->second;
  places_.erase(found);
  take_out(where);
}

/// Fills the gap with the last one of the group.
void view_columns::take_out(place where) {
  auto& from = groups_[where.group];
  if (from.condition == state::usable)
    --kinds_[from.kind].usable;
  auto last = from.size() - 1;
  if (where.offset != last)
    places_[from.ids[last]] = where;
  auto close = [&](auto& column) {
    column[where.offset] = column[last];
    column.pop_back();
  };
  close(from.ids);
  close(from.cpu_free);
  close(from.memory_free);
  close(from.largest_cpu);
  close(from.largest_memory);
  close(from.least_priority);
  close(from.companies);
  auto cards = kinds_[from.kind].cards.size();
  for (std::size_t i = 0; i < cards; ++i)
    from.cards_free[where.offset * cards + i] = from.cards_free[last * cards + i];
  from.cards_free.resize(last * cards);
}

std::optional<view_columns::place> view_columns::find(node_id node) const {
  auto found = places_.find(node);
  return found == places_.end() ? std::nullopt : std::optional{found->second};
}

std::optional<std::uint32_t> view_columns::number_of(const std::string& app) const {
  auto found = app_numbers_.find(app);
  return found == app_numbers_.end() ? std::nullopt : std::optional{found->second};
}

void view_columns::write(const node_entry& entry, shape_cache* known) {
  auto number = group_for(entry, known);
  auto& into = groups_[number];
  auto& kind = kinds_[into.kind];
  auto cards = kind.cards.size();
  auto [found, added] = places_.try_emplace(entry.id());
  auto& where = found->second;
  if (added || where.group != number) {
    if (!added)
      take_out(where);
    where = {number, static_cast<std::uint32_t>(into.size())};
    into.ids.push_back(entry.id());
    into.cpu_free.push_back(0);
    into.memory_free.push_back(0);
    into.largest_cpu.push_back(0);
    into.largest_memory.push_back(0);
    into.least_priority.push_back(no_priority);
    into.companies.push_back(0);
    into.cards_free.resize(into.cards_free.size() + cards);
    if (into.condition == state::usable)
      ++kind.usable;
  }
  if (!entry.row.has_profile())
    return;
  auto& shape = entry.row.shape();
  std::int64_t cpu = shape.capacity().cpu_milli();
  auto memory = static_cast<std::int64_t>(shape.capacity().memory_bytes());
  std::int64_t most_cpu = 0;
  std::int64_t most_memory = 0;
  auto least_priority = no_priority;
  auto& held = entry.row.held();
  cpu -= held.cpu_milli();
  memory -= static_cast<std::int64_t>(held.memory_bytes());
  for (auto& replica : shape.replicas()) {
    if (replica.state() == pb::REPLICA_STOPPED)
      continue;
    std::int64_t replica_cpu = replica.resources().cpu_milli();
    auto replica_memory = static_cast<std::int64_t>(replica.resources().memory_bytes());
    cpu -= replica_cpu;
    memory -= replica_memory;
    most_cpu = std::max(most_cpu, replica_cpu);
    most_memory = std::max(most_memory, replica_memory);
    if (replica.state() != pb::REPLICA_FAILED && replica.state() != pb::REPLICA_DRAINING)
      least_priority = std::min(least_priority, replica.priority());
  }
  into.cpu_free[where.offset] = cpu;
  into.memory_free[where.offset] = memory;
  into.largest_cpu[where.offset] = most_cpu;
  into.largest_memory[where.offset] = most_memory;
  into.least_priority[where.offset] = least_priority;
  into.companies[where.offset] = shape.replicas().empty() ? 0 : company_for(shape);
  for (std::size_t i = 0; i < cards; ++i)
    into.cards_free[where.offset * cards + i] = cards_free_in(shape, held, kind.cards[i]);
}

std::uint32_t view_columns::group_for(const node_entry& entry, shape_cache* known) {
  auto kind = no_kind;
  if (entry.row.has_profile()) {
    auto& shape = entry.row.shape();
    // Only a shape without replicas is shared.
    if (known && shape.replicas().empty()) {
      auto [found, added] = known->try_emplace(&shape, no_kind);
      if (added)
        found->second = kind_for(shape);
      kind = found->second;
    } else {
      kind = kind_for(shape);
    }
  }
  auto condition = state_of(entry);
  auto home = home_for(entry.origin);
  auto [found, added] = group_numbers_.try_emplace({kind, home, condition}, static_cast<std::uint32_t>(groups_.size()));
  if (added) {
    auto& made = groups_.emplace_back();
    made.kind = kind;
    made.home = home;
    made.condition = condition;
  }
  return found->second;
}

std::uint32_t view_columns::kind_for(const pb::NodeProfile& shape) {
  auto hash = kind_hash(shape);
  auto [first, last] = kind_by_hash_.equal_range(hash);
  for (auto found = first; found != last; ++found)
    if (same_kind(kinds_[found->second].profile, shape))
      return found->second;
  auto number = static_cast<std::uint32_t>(kinds_.size());
  kind_by_hash_.emplace(hash, number);
  auto& kind = kinds_.emplace_back();
  *kind.profile.mutable_capacity() = shape.capacity();
  *kind.profile.mutable_labels() = shape.labels();
  *kind.profile.mutable_taints() = shape.taints();
  for (auto& card : shape.capacity().accelerators())
    kind.cards.push_back(card.kind());
  std::sort(kind.cards.begin(), kind.cards.end());
  kind.cards.erase(std::unique(kind.cards.begin(), kind.cards.end()), kind.cards.end());
  return number;
}

std::uint32_t view_columns::home_for(resource_id home) {
  auto found = std::find(homes_.begin(), homes_.end(), home);
  if (found == homes_.end())
    found = homes_.insert(homes_.end(), home);
  return static_cast<std::uint32_t>(found - homes_.begin());
}

std::uint32_t view_columns::number_for(const std::string& app) {
  return app_numbers_.try_emplace(app, static_cast<std::uint32_t>(app_numbers_.size())).first->second;
}

std::uint32_t view_columns::company_for(const pb::NodeProfile& shape) {
  apps_here_.clear();
  for (auto& replica : shape.replicas())
    if (works(replica))
      apps_here_.push_back(number_for(replica.app()));
  std::sort(apps_here_.begin(), apps_here_.end());
  apps_here_.erase(std::unique(apps_here_.begin(), apps_here_.end()), apps_here_.end());
  auto [found, added] = company_numbers_.try_emplace(apps_here_, static_cast<std::uint32_t>(companies_.size()));
  if (added)
    companies_.push_back(apps_here_);
  return found->second;
}

} // namespace astra
