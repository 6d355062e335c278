#pragma once

#include "actors/resource/cluster_view.hpp"
#include "messages/ids.hpp"
#include "messages/wire/membership.pb.h"

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

namespace astra {

/// The nodes of a view in columns: what a question to every one of them needs, next to each other.  Who has the same
/// capacity, labels and taints is of one kind, about which such a question is answered once.
/// A plain class; about 100 bytes per node.
class view_columns {
public:
  /// Of a node that has not described itself.
  static constexpr std::uint32_t no_kind = 0;
  static constexpr std::size_t nowhere = static_cast<std::size_t>(-1);

  /// Whether a node may get anything.
  enum class state : std::uint8_t { usable, offline, draining, undescribed };

  struct kind {
    /// Capacity, labels and taints only.
    pb::NodeProfile profile;
    /// Names of its accelerators, sorted.
    std::vector<std::string> cards;
    /// How many nodes of it are usable.
    std::size_t usable = 0;
  };

  view_columns();
  /// Everything at once: cheaper than one by one.
  explicit view_columns(const std::map<node_id, node_entry>& nodes);

  /// A node's row is new or changed.
  void update(const node_entry& entry);
  void erase(node_id node);

  std::size_t size() const { return ids_.size(); }
  std::size_t find(node_id node) const;

  const std::vector<kind>& kinds() const { return kinds_; }
  /// Home Resources; a node's home is an index into it.
  const std::vector<resource_id>& homes() const { return homes_; }

  // By place, in [0, size()): in no order.
  node_id id(std::size_t place) const { return ids_[place]; }
  state state_of(std::size_t place) const { return states_[place]; }
  std::uint32_t kind_of(std::size_t place) const { return kind_of_[place]; }
  std::uint32_t home_of(std::size_t place) const { return home_of_[place]; }
  // What replicas and claims under way have left; less than nothing when they have more than there is.
  std::int64_t cpu_free(std::size_t place) const { return cpu_free_[place]; }
  std::int64_t memory_free(std::size_t place) const { return memory_free_[place]; }
  /// As the kind's `cards`; null when it has none.
  const std::int64_t* cards_free(std::size_t place) const { return cards_free_[place].get(); }
  // At most this is freed by the end of one replica; 0: there is none.
  std::int64_t largest_cpu(std::size_t place) const { return largest_cpu_[place]; }
  std::int64_t largest_memory(std::size_t place) const { return largest_memory_[place]; }

private:
  using shape_cache = std::unordered_map<const pb::NodeProfile*, std::uint32_t>;

  void write(std::size_t place, const node_entry& entry, shape_cache* known);
  std::uint32_t kind_for(const pb::NodeProfile& shape);
  std::uint32_t home_for(resource_id home);

  std::vector<node_id> ids_;
  std::vector<state> states_;
  std::vector<std::uint32_t> kind_of_;
  std::vector<std::uint32_t> home_of_;
  std::vector<std::int64_t> cpu_free_;
  std::vector<std::int64_t> memory_free_;
  std::vector<std::unique_ptr<std::int64_t[]>> cards_free_;
  std::vector<std::int64_t> largest_cpu_;
  std::vector<std::int64_t> largest_memory_;
  /// For look-ups only, as the next.
  std::unordered_map<node_id, std::size_t> places_;
  std::unordered_map<std::string, std::uint32_t> kind_by_key_;
  std::vector<kind> kinds_;
  std::vector<resource_id> homes_;
};

} // namespace astra
