#pragma once

#include "actors/resource/cluster_view.hpp"
#include "messages/ids.hpp"
#include "messages/wire/membership.pb.h"

#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <unordered_map>
#include <vector>

namespace astra {

/// The nodes of a view in columns: what a question to every one of them needs, next to each other.  Who has the same
/// capacity, labels and taints is of one kind, about which such a question is answered once; and nodes of a kind with
/// one home, in the same state, are a group that lies together.
/// A plain class; about 90 bytes per node.
class view_columns {
public:
  /// Of a node that has not described itself.
  static constexpr std::uint32_t no_kind = 0;
  static constexpr std::uint32_t no_priority = std::numeric_limits<std::uint32_t>::max();

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

  /// Each column in the same order, which means nothing.
  struct group {
    std::uint32_t kind = no_kind;
    std::uint32_t home = 0;
    state condition = state::undescribed;
    std::vector<node_id> ids;
    // What replicas and claims under way have left; less than nothing when they have more than there is.
    std::vector<std::int64_t> cpu_free;
    std::vector<std::int64_t> memory_free;
    /// For each node as many as the kind has `cards`, in that order.
    std::vector<std::int64_t> cards_free;
    // At most this is freed by the end of one replica; 0: there is none.
    std::vector<std::int64_t> largest_cpu;
    std::vector<std::int64_t> largest_memory;
    /// Of the replicas that work, and do not drain; no_priority: there is none.
    std::vector<std::uint32_t> least_priority;
    /// Which apps have replicas there that work.
    std::vector<std::uint32_t> companies;

    std::size_t size() const { return ids.size(); }
  };

  struct place {
    std::uint32_t group = 0;
    std::uint32_t offset = 0;
  };

  view_columns();
  /// Everything at once: cheaper than one by one.
  explicit view_columns(const std::map<node_id, node_entry>& nodes);

  /// A node's row is new or changed.
  void update(const node_entry& entry);
  void erase(node_id node);

  std::size_t size() const { return places_.size(); }
  std::optional<place> find(node_id node) const;

  const std::vector<kind>& kinds() const { return kinds_; }
  /// Home Resources; a group's home is an index into it.
  const std::vector<resource_id>& homes() const { return homes_; }
  const std::vector<group>& groups() const { return groups_; }
  /// Numbers of apps, sorted; a node's company is an index into it.
  const std::vector<std::vector<std::uint32_t>>& companies() const { return companies_; }
  /// None: no node has ever had a replica of it.
  std::optional<std::uint32_t> number_of(const std::string& app) const;

private:
  using shape_cache = std::unordered_map<const pb::NodeProfile*, std::uint32_t>;

  void write(const node_entry& entry, shape_cache* known);
  void take_out(place where);
  std::uint32_t group_for(const node_entry& entry, shape_cache* known);
  std::uint32_t kind_for(const pb::NodeProfile& shape);
  std::uint32_t home_for(resource_id home);
  std::uint32_t number_for(const std::string& app);
  std::uint32_t company_for(const pb::NodeProfile& shape);

  std::vector<group> groups_;
  /// By kind, home and condition.
  std::map<std::tuple<std::uint32_t, std::uint32_t, state>, std::uint32_t> group_numbers_;
  /// For look-ups only, as the next ones.
  std::unordered_map<node_id, place> places_;
  /// By a hash of what makes a kind.
  std::unordered_multimap<std::uint64_t, std::uint32_t> kind_by_hash_;
  std::unordered_map<std::string, std::uint32_t> app_numbers_;
  std::map<std::vector<std::uint32_t>, std::uint32_t> company_numbers_;
  std::vector<kind> kinds_;
  std::vector<resource_id> homes_;
  std::vector<std::vector<std::uint32_t>> companies_;
  /// Scratch of company_for.
  std::vector<std::uint32_t> apps_here_;
};

} // namespace astra
