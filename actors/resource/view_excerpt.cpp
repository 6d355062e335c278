#include "actors/resource/view_excerpt.hpp"

#include "actors/resource/load_columns.hpp"
#include "actors/resource/subscriber_list.hpp"

#include <algorithm>
#include <limits>
#include <utility>

namespace astra {
namespace {

/// Around each row on the wire, its mention among the kept ones included.
constexpr std::size_t frame_bytes = 16;
/// With less room than this the next part begins.
constexpr std::size_t room_min = 4096;

/// All of a delta but nodes, loads and digest.
pb::ViewDelta frame_of(const pb::ViewDelta& delta) {
  pb::ViewDelta result;
  result.set_origin(delta.origin());
  result.set_epoch(delta.epoch());
  result.set_base(delta.base());
  result.set_version(delta.version());
  result.set_origin_name(delta.origin_name());
  result.set_origin_group(delta.origin_group());
  *result.mutable_apps() = delta.apps();
  *result.mutable_removed_apps() = delta.removed_apps();
  *result.mutable_schedulers() = delta.schedulers();
  *result.mutable_removed_schedulers() = delta.removed_schedulers();
  result.set_origin_lost(delta.origin_lost());
  result.set_origin_removed(delta.origin_removed());
  *result.mutable_kept_apps() = delta.kept_apps();
  *result.mutable_kept_schedulers() = delta.kept_schedulers();
  result.set_transfer(delta.transfer());
  result.set_part(delta.part());
  result.set_more(delta.more());
  result.set_ahead(delta.ahead());
  result.set_edited(delta.edited());
  result.set_heard_within_ms(delta.heard_within_ms());
  return result;
}

/// Leads from a version to that of a delta, and says nothing.
pb::ViewDelta bridge(const pb::ViewDelta& delta, std::uint64_t from) {
  pb::ViewDelta result;
  result.set_origin(delta.origin());
  result.set_epoch(delta.epoch());
  result.set_base(from);
  result.set_version(delta.version());
  result.set_origin_name(delta.origin_name());
  result.set_origin_group(delta.origin_group());
  result.set_origin_lost(delta.origin_lost());
  result.set_heard_within_ms(delta.heard_within_ms());
  return result;
}

bool says_something(const pb::ViewDelta& delta) {
  return delta.nodes_size() + delta.removed_nodes_size() + delta.apps_size() + delta.removed_apps_size()
             + delta.schedulers_size() + delta.removed_schedulers_size() + delta.loads_size()
         > 0;
}

template <class T>
bool has(const std::vector<T>& sorted, const T& value) {
  return std::binary_search(sorted.begin(), sorted.end(), value);
}

void sort_unique(std::vector<node_id>& ids) {
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
}

} // namespace

/// @param held What the subscriber has: of a node that is not described nothing else tells whether it is in.
bool view_excerpt::in(node_id id, const cluster_view& view, const posting_list& held) const {
  auto shown = view.find(id);
  if (shown == nullptr)
    return false;
  return shown->row.has_profile() ? filter_.matches(shown->row.shape()) : held.contains(id);
}

void view_excerpt::write_whole(pb::NodeRow& row, const node_entry& entry, const cluster_view& view,
                               time_point now) const {
  entry.row.write_state(row);
  entry.row.write_held(row);
  row.set_slot(entry.slot);
  auto age = std::chrono::duration_cast<std::chrono::milliseconds>(now - entry.last_beat).count();
  row.set_age_ms(static_cast<std::uint64_t>(std::max<std::int64_t>(age, 0)));
  // What a new home has not told yet is known from the former one.
  auto shown = view.find(entry.id());
  auto& described = entry.row.has_profile() || shown == nullptr ? entry : *shown;
  described.row.write_profile(row);
  *row.mutable_load() = view.load(shown == nullptr ? entry : *shown).to_pb();
}

view_excerpt::piece view_excerpt::of(const pb::ViewDelta& delta, const cluster_view& view, time_point now) const {
  static const shard nothing_told;
  resource_id origin{delta.origin()};
  auto found = shards_.find(origin);
  auto& known = found == shards_.end() ? nothing_told : found->second;
  piece result;
  result.delta = frame_of(delta);
  auto& out = result.delta;
  auto snapshot = delta.base() == 0;
  auto edit = !snapshot && !delta.ahead() && delta.base() == delta.version() && says_something(delta);
  if (!snapshot && !delta.ahead() && known.epoch == delta.epoch()) {
    if (!edit)
      out.set_base(std::min(delta.base(), known.version));
    else if (known.version < delta.version())
      result.before = bridge(delta, known.version);
  }
  auto rows = view.rows(origin);
  for (auto& row : delta.nodes()) {
    if (rows == nullptr)
      break; // the shard has left meanwhile, which is told next
    node_id id{row.node()};
    auto whole_there = known.nodes.contains(id);
    auto there = whole_there || known.strays.contains(id);
    if (!in(id, view, known.nodes)) {
      // Rows before their turn take nothing away: that comes with the version that they belong to.
      if (there && !snapshot && !delta.ahead())
        result.left.push_back(id);
      continue;
    }
    if (snapshot || whole_there) {
      *out.add_nodes() = row;
    } else {
      auto entry = rows->nodes.find(id);
      if (entry == rows->nodes.end())
        continue;
      write_whole(*out.add_nodes(), entry->second, view, now);
    }
    if (snapshot || !whole_there)
      result.entered.push_back(id);
  }
  sort_unique(result.entered);
  for (auto removed : delta.removed_nodes()) {
    node_id id{removed};
    // The word that a snapshot is not its origin's names no node.
    if (removed == no_node)
      out.add_removed_nodes(no_node);
    else if (!has(result.entered, id) && (known.nodes.contains(id) || known.strays.contains(id)))
      result.left.push_back(id);
  }
  sort_unique(result.left);
  for (auto id : result.left)
    out.add_removed_nodes(id.value());
  for (auto id : delta.kept_nodes())
    if (has(result.entered, node_id{id}))
      out.add_kept_nodes(id);
  auto told = [&](node_id id) {
    return has(result.entered, id) || (!snapshot && known.nodes.contains(id) && !has(result.left, id));
  };
  for (auto& columns : delta.loads()) {
    load_columns_reader reader{columns};
    load_columns_writer writer;
    told_load load;
    while (rows && reader.valid() && reader.next(load))
      if (load.slot != 0 && load.slot <= rows->loads.size() && told(rows->loads[load.slot - 1].owner))
        writer.add(load.slot, load.values, load.columns);
    if (writer.size() > 0)
      *out.add_loads() = writer.finish();
  }
  // That rows of the shard are not the origin's word counts, whoever's they are.
  if (edit && !says_something(out))
    out.add_removed_nodes(no_node);
  result.nothing = delta.ahead() ? out.nodes_size() == 0
                                 : !snapshot && !delta.origin_removed() && delta.origin_lost() == known.lost
                                       && says_something(delta) && !says_something(out);
  return result;
}

void view_excerpt::told(const piece& what, bool whole) {
  auto& delta = what.delta;
  resource_id origin{delta.origin()};
  if (delta.origin_removed()) {
    shards_.erase(origin);
    return;
  }
  auto& shard = shards_[origin];
  if (delta.base() == 0 && !delta.ahead()) {
    shard.nodes = {};
    shard.strays = {};
    shard.coming.reset();
  }
  for (auto id : what.left) {
    shard.nodes.erase(id);
    shard.strays.erase(id);
  }
  for (auto id : what.entered) {
    shard.nodes.insert(id);
    shard.strays.erase(id);
  }
  if (!whole || delta.ahead())
    return;
  shard.epoch = delta.epoch();
  shard.version = delta.version();
  shard.lost = delta.origin_lost();
}

view_excerpt::piece view_excerpt::next_part(shard_cursor& cursor, const view_keeper& keeper, std::size_t limit_bytes,
                                            time_point now) {
  using section = shard_cursor::section;
  auto& view = keeper.view();
  if (cursor.base != 0) {
    auto result = of(keeper.next_part(cursor, limit_bytes, now), view, now);
    told(result, cursor.at == section::done);
    return result;
  }
  auto& shard = shards_[cursor.origin];
  piece result;
  auto& out = result.delta;
  out = keeper.edit_of(cursor.origin);
  out.set_base(0);
  out.set_version(cursor.version);
  auto size = out.ByteSizeLong();
  if (cursor.at == section::nodes) {
    if (!cursor.node) {
      shard.coming.emplace();
      shard.strays = {};
    }
    auto& rows = view.rows(cursor.origin)->nodes;
    auto candidates = filter_.candidates(view.index());
    candidates.add(shard.nodes);
    auto room = true;
    for (auto id = candidates.next(cursor.node); id; id = candidates.next(id)) {
      auto entry = rows.find(id);
      if (entry == rows.end() || !in(id, view, shard.nodes))
        continue;
      auto& row = *out.add_nodes();
      write_whole(row, entry->second, view, now);
      auto bytes = row.ByteSizeLong() + frame_bytes;
      // Any one of them fits into a part of its own, however large it is.
      if (out.nodes_size() > 1 && size + bytes > limit_bytes) {
        out.mutable_nodes()->RemoveLast();
        room = false;
        break;
      }
      size += bytes;
      cursor.node = id;
      shard.coming->insert(id);
    }
    keeper.name_kept_nodes(cursor.origin, out);
    if (!room)
      return result;
    // The loads came with their rows.
    cursor.at = section::apps;
    if (out.nodes_size() > 0 && limit_bytes - std::min(limit_bytes, size) < room_min)
      return result;
  }
  out.MergeFrom(keeper.next_part(cursor, limit_bytes - std::min(limit_bytes, size), now));
  if (cursor.at == section::done) {
    shard.nodes = std::move(*shard.coming);
    shard.coming.reset();
    shard.epoch = cursor.epoch;
    shard.version = cursor.version;
    shard.lost = out.origin_lost();
  }
  return result;
}

pb::ViewDelta view_excerpt::snapshot(resource_id origin, const view_keeper& keeper, time_point now) {
  if (keeper.view().shards().count(origin) == 0) {
    shards_.erase(origin);
    return keeper.snapshot(origin, now);
  }
  auto whole = keeper.view().cursor(origin, 0, 0);
  return next_part(whole, keeper, std::numeric_limits<std::size_t>::max(), now).delta;
}

void view_excerpt::narrow_turns(pb::ViewDelta& turns, const cluster_view& view) {
  auto& shard = shards_[resource_id{turns.origin()}];
  auto& rows = *turns.mutable_nodes();
  auto unwanted = [&](const pb::NodeRow& row) {
    node_id id{row.node()};
    auto will_be_there = shard.coming && shard.coming->contains(id);
    if (!in(id, view, shard.nodes) || (!will_be_there && !shard.nodes.contains(id)))
      return true;
    // Of the snapshot that is on its way it will be a part, even if no part of ours has it.
    if (shard.coming && !will_be_there)
      shard.strays.insert(id);
    return false;
  };
  rows.erase(std::remove_if(rows.begin(), rows.end(), unwanted), rows.end());
}

} // namespace astra
