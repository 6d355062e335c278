#include "actors/resource/view_report.hpp"

#include "actors/resource/node_facts.hpp"

#include <algorithm>
#include <chrono>

namespace astra {

using std::chrono::milliseconds;

void report_shards(const cluster_view& view, cluster_view::time_point now, pb::ResourceReport& into) {
  for (auto& [origin, shard] : view.shards()) {
    auto& entry = *into.add_shards();
    entry.set_origin(origin.value());
    entry.set_name(resource_name(view, origin));
    entry.set_epoch(shard.epoch);
    entry.set_version(shard.version);
    auto age = std::chrono::duration_cast<milliseconds>(now - shard.last_delta);
    entry.set_age_ms(static_cast<std::uint64_t>(std::max(milliseconds{0}, age).count()));
    entry.set_lost(shard.lost);
    // Rows that somebody kept for a lost origin are nobody's word.
    if (!shard.lost && !shard.edited)
      entry.set_liveness_hash(view.digest(origin).hash);
    auto rows = view.rows(origin);
    entry.set_nodes(rows ? rows->nodes.size() : 0);
  }
}

} // namespace astra
