#pragma once

#include "actors/resource/cluster_view.hpp"
#include "messages/wire/inspection.pb.h"

namespace astra {

/// What is known of each shard, for comparing one Resource's view with another's: version, age, how many nodes.  Two
/// views with the same versions hold the same rows.
/// The hash of a shard's liveness is left at 0, "not known": it belongs to whoever keeps the shard and can bring it up
/// to date with each row, so that asking costs nothing.
void report_shards(const cluster_view& view, cluster_view::time_point now, pb::ResourceReport& into);

} // namespace astra
