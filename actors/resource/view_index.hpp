#pragma once

#include "actors/resource/posting_list.hpp"
#include "messages/ids.hpp"
#include "messages/wire/membership.pb.h"

#include <functional>
#include <map>
#include <string>
#include <string_view>

namespace astra {

/// The nodes of a view by what their profiles say: secondary indices over labels, kinds of accelerator and apps with
/// replicas there.  A value that no node has any more is gone.
/// A plain class; whoever owns the profiles tells it of every change.
class view_index {
public:
  /// By value, sorted.
  using by_value = std::map<std::string, posting_list, std::less<>>;

  void add(node_id node, const pb::NodeProfile& profile) {
    replace(node, pb::NodeProfile::default_instance(), profile);
  }
  void remove(node_id node, const pb::NodeProfile& profile) {
    replace(node, profile, pb::NodeProfile::default_instance());
  }
  /// @param before What was told of the node last; an empty one for a node that is new.
  void replace(node_id node, const pb::NodeProfile& before, const pb::NodeProfile& after);

  /// Every value of a label; empty when no node has it.
  const by_value& label(std::string_view key) const;
  /// By key, sorted.
  const std::map<std::string, by_value, std::less<>>& labels() const { return labels_; }
  /// Kinds of which a node has at least one card.
  const by_value& accelerators() const { return accelerators_; }
  /// Apps of which a node has replicas, in whatever state.
  const by_value& apps() const { return apps_; }

  /// The list of a value; an empty one when no node has it.
  static const posting_list& list(const by_value& values, std::string_view value);

private:
  std::map<std::string, by_value, std::less<>> labels_;
  by_value accelerators_;
  by_value apps_;
};

} // namespace astra
