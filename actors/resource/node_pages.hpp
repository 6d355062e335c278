#pragma once

#include "actors/resource/cluster_view.hpp"
#include "messages/wire/inspection.pb.h"

#include <cstddef>

namespace astra {

struct page_limits {
  /// Most bytes of a page, but for its one node.
  std::size_t bytes = 256 * 1024;
  /// Most rows that one page looks at: a filter that few nodes pass must not hold its Resource up.
  std::size_t rows = 5000;
};

/// One page of the nodes that a query asks for: those with larger ids than its cursor, until the page is full.  Whoever
/// asks page by page until there is no more gets every node that was in the view all the while exactly once, and of
/// those that come or go meanwhile none twice.  A page may hold no node and yet have more after it.
pb::NodePage list_nodes(const cluster_view& view, const pb::NodeQuery& query, cluster_view::time_point now,
                        const page_limits& limits = {});

} // namespace astra
