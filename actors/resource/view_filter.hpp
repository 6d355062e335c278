#pragma once

#include "actors/resource/posting_list.hpp"
#include "actors/resource/view_index.hpp"
#include "messages/wire/view.pb.h"

#include <string>
#include <utility>
#include <vector>

namespace astra {

/// Whether the node has each of these labels with that value.
bool carries_all(const pb::NodeProfile& profile, const std::vector<std::pair<std::string, std::string>>& labels);

/// Which nodes of a view a subscriber wants.  A plain class.
class view_filter {
public:
  /// Every node.
  view_filter() = default;
  explicit view_filter(const pb::ViewFilter& wish);

  /// False: it lets everything through.
  bool narrows() const { return !apps_.empty() || !labels_.empty(); }

  bool matches(const pb::NodeProfile& profile) const;

  /// The nodes that match may be looked for here.  @pre it narrows
  posting_union candidates(const view_index& index) const;

  bool operator==(const view_filter&) const = default;

private:
  /// Sorted, as the labels.
  std::vector<std::string> apps_;
  std::vector<std::pair<std::string, std::string>> labels_;
};

} // namespace astra
