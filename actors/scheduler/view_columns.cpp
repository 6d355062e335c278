#include "actors/scheduler/view_columns.hpp"

#include "actors/scheduler/placement_rules.hpp"

#include <algorithm>
#include <string_view>
#include <utility>

namespace astra {
namespace {

void append(std::string& key, std::uint64_t number) {
  key.append(reinterpret_cast<const char*>(&number), sizeof(number));
}

void append(std::string& key, std::string_view text) {
  append(key, static_cast<std::uint64_t>(text.size()));
  key += text;
}

template <class Labels>
void append_labels(std::string& key, const Labels& labels) {
  append(key, static_cast<std::uint64_t>(labels.size()));
  for (auto& label : labels) {
    append(key, std::string_view{label.key()});
    append(key, std::string_view{label.value()});
  }
}

/// Equal for equal kinds only; within this process.
std::string key_of(const pb::NodeProfile& shape) {
  std::string key;
  key.reserve(128);
  append(key, std::uint64_t{shape.capacity().cpu_milli()});
  append(key, std::uint64_t{shape.capacity().memory_bytes()});
  append(key, static_cast<std::uint64_t>(shape.capacity().accelerators_size()));
  for (auto& card : shape.capacity().accelerators()) {
    append(key, std::string_view{card.kind()});
    append(key, std::uint64_t{card.count()});
  }
  append_labels(key, shape.labels());
  append_labels(key, shape.taints());
  return key;
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

view_columns::view_columns() : kinds_(1) {}

view_columns::view_columns(const std::map<node_id, node_entry>& nodes) : view_columns() {
  auto count = nodes.size();
  ids_.resize(count);
  states_.resize(count, state::undescribed);
  kind_of_.resize(count);
  home_of_.resize(count);
  cpu_free_.resize(count);
  memory_free_.resize(count);
  cards_free_.resize(count);
  largest_cpu_.resize(count);
  largest_memory_.resize(count);
  places_.reserve(count);
  shape_cache known;
  std::size_t place = 0;
  for (auto& [id, entry] : nodes) {
    ids_[place] = id;
    places_.emplace(id, place);
    write(place++, entry, &known);
  }
}

void view_columns::update(const node_entry& entry) {
  auto [found, added] = places_.try_emplace(entry.id(), ids_.size());
  if (added) {
    ids_.push_back(entry.id());
    states_.push_back(state::undescribed);
    kind_of_.push_back(no_kind);
    home_of_.push_back(0);
    cpu_free_.push_back(0);
    memory_free_.push_back(0);
    cards_free_.emplace_back();
    largest_cpu_.push_back(0);
    largest_memory_.push_back(0);
  }
  write(found->second, entry, nullptr);
}

void view_columns::erase(node_id node) {
  auto found = places_.find(node);
  if (found == places_.end())
    return;
  auto place = found->second;
  places_.erase(found);
  if (states_[place] == state::usable)
    --kinds_[kind_of_[place]].usable;
  auto last = ids_.size() - 1;
  auto close = [&](auto& column) {
    if (place != last)
      column[place] = std::move(column[last]);
    column.pop_back();
  };
  if (place != last)
    places_[ids_[last]] = place;
  close(ids_);
  close(states_);
  close(kind_of_);
  close(home_of_);
  close(cpu_free_);
  close(memory_free_);
  close(cards_free_);
  close(largest_cpu_);
  close(largest_memory_);
}

std::size_t view_columns::find(node_id node) const {
  auto found = places_.find(node);
  return found == places_.end() ? nowhere : found->second;
}

void view_columns::write(std::size_t place, const node_entry& entry, shape_cache* known) {
  if (states_[place] == state::usable)
    --kinds_[kind_of_[place]].usable;
  states_[place] = ::astra::state_of(entry);
  home_of_[place] = home_for(entry.origin);
  if (!entry.row.has_profile()) {
    kind_of_[place] = no_kind;
    cards_free_[place].reset();
    cpu_free_[place] = memory_free_[place] = largest_cpu_[place] = largest_memory_[place] = 0;
    return;
  }
  auto& shape = entry.row.shape();
  // Only a shape without replicas is shared.
  if (known && shape.replicas().empty()) {
    auto [kind, added] = known->try_emplace(&shape, no_kind);
    if (added)
      kind->second = kind_for(shape);
    kind_of_[place] = kind->second;
  } else {
    kind_of_[place] = kind_for(shape);
  }
  auto& kind = kinds_[kind_of_[place]];
  if (states_[place] == state::usable)
    ++kind.usable;
  std::int64_t cpu = shape.capacity().cpu_milli();
  auto memory = static_cast<std::int64_t>(shape.capacity().memory_bytes());
  std::int64_t most_cpu = 0;
  std::int64_t most_memory = 0;
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
  }
  cpu_free_[place] = cpu;
  memory_free_[place] = memory;
  largest_cpu_[place] = most_cpu;
  largest_memory_[place] = most_memory;
  if (kind.cards.empty()) {
    cards_free_[place].reset();
    return;
  }
  cards_free_[place] = std::make_unique<std::int64_t[]>(kind.cards.size());
  for (std::size_t i = 0; i < kind.cards.size(); ++i)
    cards_free_[place][i] = cards_free_in(shape, held, kind.cards[i]);
}

std::uint32_t view_columns::kind_for(const pb::NodeProfile& shape) {
  auto [found, added] = kind_by_key_.try_emplace(key_of(shape), static_cast<std::uint32_t>(kinds_.size()));
  if (added) {
    auto& kind = kinds_.emplace_back();
    *kind.profile.mutable_capacity() = shape.capacity();
    *kind.profile.mutable_labels() = shape.labels();
    *kind.profile.mutable_taints() = shape.taints();
    for (auto& card : shape.capacity().accelerators())
      kind.cards.push_back(card.kind());
    std::sort(kind.cards.begin(), kind.cards.end());
    kind.cards.erase(std::unique(kind.cards.begin(), kind.cards.end()), kind.cards.end());
  }
  return found->second;
}

std::uint32_t view_columns::home_for(resource_id home) {
  auto found = std::find(homes_.begin(), homes_.end(), home);
  if (found == homes_.end())
    found = homes_.insert(homes_.end(), home);
  return static_cast<std::uint32_t>(found - homes_.begin());
}

} // namespace astra
