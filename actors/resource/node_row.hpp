#pragma once

#include "messages/ids.hpp"
#include "messages/wire/membership.pb.h"
#include "messages/wire/view.pb.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>

namespace astra {

/// What a profile says of a node apart from who it is: capacity, labels, cards, replicas.  In it `node`, `incarnation`,
/// `version`, `name` and `address` are empty.
using node_shape = std::shared_ptr<const pb::NodeProfile>;

/// Nodes of a kind have the same shape until they run something: each is kept once.
class shape_pool {
public:
  node_shape intern(const pb::NodeProfile& profile);

private:
  /// By the shape's bytes; of shapes that somebody still has, and some that nobody has.
  std::unordered_map<std::string, std::weak_ptr<const pb::NodeProfile>> shapes_;
  std::size_t tidy_at_ = 1024;
};

/// What a view holds of one node, its load apart.  Takes a tenth of the memory of a pb::NodeRow, and is copied in no
/// time: the long parts do not change once they are there and are shared by all copies.
class node_row {
public:
  node_row() = default;
  /// Without slot, age and load.
  node_row(const pb::NodeRow& row); // NOLINT: the same row

  std::uint64_t node() const { return node_; }
  std::uint64_t incarnation() const { return incarnation_; }
  std::uint64_t home_epoch() const { return home_epoch_; }
  std::uint64_t sequence() const { return sequence_; }
  pb::Liveness liveness() const { return liveness_; }
  const std::string& reason() const;
  bool has_profile() const { return shape_ != nullptr; }
  // Empty without a profile, as the next three.
  const std::string& name() const;
  /// Where the node's process takes sessions, host:port.
  const std::string& address() const;
  std::uint64_t profile_version() const { return profile_version_; }
  const pb::NodeProfile& shape() const { return shape_ ? *shape_ : pb::NodeProfile::default_instance(); }
  bool has_held() const { return has_held_; }
  const pb::Resources& held() const { return held_ ? *held_ : pb::Resources::default_instance(); }

  void set_node(std::uint64_t value) { node_ = value; }
  void set_incarnation(std::uint64_t value) { incarnation_ = value; }
  void set_home_epoch(std::uint64_t value) { home_epoch_ = value; }
  void set_sequence(std::uint64_t value) { sequence_ = value; }
  void set_liveness(pb::Liveness value) { liveness_ = value; }
  void set_reason(const std::string& text);
  void set_profile(const pb::NodeProfile& profile);
  /// The same, with a shape that others may have, too.
  void set_profile(const pb::NodeProfile& profile, shape_pool& pool);
  void set_profile(const std::string& name, const std::string& address, std::uint64_t version, node_shape shape);
  /// Shares it.
  void set_profile(const node_row& other);
  void clear_profile();
  void set_held(const pb::Resources& held);

  /// Writes all but profile and held into a row.
  void write_state(pb::NodeRow& row) const;
  void write_profile(pb::NodeRow& row) const;
  void write_held(pb::NodeRow& row) const;
  /// The profile without its shape; `shape` is for the reader to find that.
  void write_profile(pb::NodeRow& row, std::uint32_t shape) const;
  /// Everything.
  pb::NodeRow to_pb() const;

  /// Whose address says whether two rows share it; null without a profile.
  const pb::NodeProfile* shared_shape() const { return shape_.get(); }

private:
  struct names {
    std::string name;
    std::string address;
  };

  std::uint64_t node_ = 0;
  std::uint64_t incarnation_ = 0;
  std::uint64_t home_epoch_ = 0;
  std::uint64_t sequence_ = 0;
  std::uint64_t profile_version_ = 0;
  /// Null: empty.
  std::shared_ptr<const std::string> reason_;
  /// Null: both empty.
  std::shared_ptr<const names> names_;
  node_shape shape_;
  /// Null: nothing.
  std::shared_ptr<const pb::Resources> held_;
  pb::Liveness liveness_ = pb::LIVENESS_UNKNOWN;
  bool has_held_ = false;
};

} // namespace astra
