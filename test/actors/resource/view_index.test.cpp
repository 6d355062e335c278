#include "actors/resource/view_index.hpp"

#include "actors/resource/cluster_view.hpp"

#include <doctest/doctest.h>
#include <rapidcheck.h>

#include <map>
#include <set>
#include <string>
#include <vector>

using namespace astra;
using namespace std::chrono_literals;

namespace {

constexpr std::uint64_t node_count = 12;

/// A profile as a number says.
pb::NodeProfile drawn_profile(std::uint64_t draw) {
  pb::NodeProfile profile;
  auto label = [&](const std::string& key, const std::string& value) {
    auto& entry = *profile.add_labels();
    entry.set_key(key);
    entry.set_value(value);
  };
  if (draw % 4 != 0)
    label("zone", std::string(1, static_cast<char>('a' + draw % 3)));
  if (draw % 7 == 0)
    label("disk", "ssd");
  if (draw % 5 != 0) {
    auto& card = *profile.add_accelerators();
    card.set_kind(draw % 2 == 0 ? "t4" : "a100");
    card.set_count(draw % 3 == 0 ? 0 : 2);
  }
  for (std::uint64_t i = 0; i < draw % 4; ++i) {
    auto& replica = *profile.add_replicas();
    replica.set_app("app-" + std::to_string((draw + i) % 3));
    replica.set_index(static_cast<std::uint32_t>(i));
  }
  return profile;
}

using found_nodes = std::map<std::string, std::set<std::uint64_t>>;

/// Everything that an index could be asked, by looking at every node.
found_nodes scan(const cluster_view& view) {
  found_nodes result;
  for (auto& [id, entry] : view.nodes()) {
    auto& profile = entry.row.profile();
    for (auto& label : profile.labels())
      result["label " + label.key() + "=" + label.value()].insert(id.value());
    for (auto& card : profile.accelerators())
      if (card.count() > 0)
        result["card " + card.kind()].insert(id.value());
    for (auto& replica : profile.replicas())
      result["app " + replica.app()].insert(id.value());
  }
  return result;
}

found_nodes all_of(const view_index& index) {
  found_nodes result;
  auto take = [&](const std::string& what, const view_index::by_value& values) {
    for (auto& [value, list] : values) {
      node_id last;
      std::size_t count = 0;
      list.each([&](node_id id) {
        RC_ASSERT(last < id);
        RC_ASSERT(list.contains(id));
        RC_ASSERT(list.next(last) == id);
        last = id;
        ++count;
        result[what + value].insert(id.value());
      });
      RC_ASSERT(count == list.size());
      RC_ASSERT(count > 0);
      RC_ASSERT(!list.next(last));
    }
  };
  for (auto& [key, values] : index.labels()) {
    RC_ASSERT(!values.empty());
    take("label " + key + "=", values);
  }
  take("card ", index.accelerators());
  take("app ", index.apps());
  return result;
}

} // namespace

TEST_CASE("a list holds what was put in and not taken out, in order, however long it is") {
  CHECK(rc::check([] {
    posting_list list;
    std::set<std::uint64_t> model;
    auto seed = *rc::gen::inRange<std::uint64_t>(1, 1'000'000);
    auto steps = *rc::gen::inRange(0, 6000);
    auto ordered = *rc::gen::arbitrary<bool>();
    for (auto i = 0; i < steps; ++i) {
      seed = seed * 6364136223846793005U + 1442695040888963407U;
      auto id = ordered ? static_cast<std::uint64_t>(i) + 1 : (seed >> 40U) % 4000 + 1;
      if ((seed >> 20U) % 4 == 0)
        RC_ASSERT(list.erase(node_id{id}) == (model.erase(id) > 0));
      else
        RC_ASSERT(list.insert(node_id{id}) == model.insert(id).second);
    }
    std::set<std::uint64_t> held;
    for (auto id = list.next({}); id; id = list.next(id))
      held.insert(id.value());
    RC_ASSERT(held == model);
    RC_ASSERT(list.size() == model.size());
    for (std::uint64_t id = 0; id < 4002; id += 7) {
      RC_ASSERT(list.contains(node_id{id}) == (model.count(id) > 0));
      auto behind = model.upper_bound(id);
      RC_ASSERT(list.next(node_id{id}) == (behind == model.end() ? node_id{} : node_id{*behind}));
    }
  }));
}

TEST_CASE("a union tells every node of its lists once, in order") {
  posting_list odd;
  posting_list small;
  for (std::uint64_t id = 1; id < 10; ++id) {
    if (id % 2 == 1)
      odd.insert(node_id{id});
    if (id < 4)
      small.insert(node_id{id});
  }
  posting_union both;
  both.add(odd);
  both.add(small);
  both.add(node_id{8});
  std::vector<std::uint64_t> told;
  for (auto id = both.next({}); id; id = both.next(id))
    told.push_back(id.value());
  CHECK(told == std::vector<std::uint64_t>{1, 2, 3, 5, 7, 8, 9});
}

TEST_CASE("indices find what a scan finds, whatever joins, changes, moves, restarts and leaves") {
  CHECK(rc::check([] {
    struct node_state {
      std::uint64_t incarnation = 1;
      std::uint64_t home_epoch = 1;
      std::uint64_t sequence = 0;
    };
    std::map<std::uint64_t, node_state> nodes;
    struct shard_state {
      std::uint64_t version = 0;
      std::map<std::uint64_t, pb::NodeRow> rows;
    };
    std::vector<shard_state> shards(3);
    cluster_view view;
    auto apply = [&](const pb::ViewDelta& change) {
      view_changes changes;
      view.apply(change, cluster_view::time_point{1000s}, changes);
    };
    auto header = [&](std::size_t which, bool snapshot) {
      auto& shard = shards[which];
      pb::ViewDelta change;
      change.set_origin(which + 1);
      change.set_epoch(1);
      change.set_base(snapshot ? 0 : shard.version);
      change.set_version(++shard.version);
      return change;
    };
    for (std::size_t which = 0; which < shards.size(); ++which)
      apply(header(which, true));
    auto steps = *rc::gen::container<std::vector<std::pair<int, std::uint64_t>>>(
        rc::gen::pair(rc::gen::inRange(0, 8), rc::gen::inRange<std::uint64_t>(0, 100'000)));
    for (auto [what, draw] : steps) {
      auto id = draw % node_count + 1;
      auto which = static_cast<std::size_t>(draw / 13 % shards.size());
      auto& shard = shards[which];
      auto& node = nodes[id];
      switch (what) {
      case 0: { // leaves this shard
        auto change = header(which, false);
        shard.rows.erase(id);
        change.add_removed_nodes(id);
        apply(change);
        break;
      }
      case 1: { // the whole shard, some of it forgotten
        std::erase_if(shard.rows, [&](auto& entry) { return (entry.first + draw) % 3 == 0; });
        auto change = header(which, true);
        for (auto& [known, row] : shard.rows)
          *change.add_nodes() = row;
        apply(change);
        break;
      }
      case 2: { // the origin leaves the mesh, and comes back with nothing
        auto gone = header(which, false);
        gone.set_origin_removed(true);
        apply(gone);
        shard.rows.clear();
        apply(header(which, true));
        break;
      }
      default: { // a word about the node, from the home that it has or moves to
        if (what == 3)
          node = {node.incarnation + 1, 1, 0};
        if (what == 4)
          ++node.home_epoch;
        auto change = header(which, false);
        auto& row = *change.add_nodes();
        row.set_node(id);
        row.set_incarnation(node.incarnation);
        row.set_home_epoch(node.home_epoch);
        row.set_sequence(++node.sequence);
        row.set_liveness(draw % 5 == 0 ? pb::LIVENESS_OFFLINE : pb::LIVENESS_ONLINE);
        if (what >= 5)
          *row.mutable_profile() = drawn_profile(draw / 7);
        auto& known = shard.rows[id];
        if (known.incarnation() == row.incarnation() && !row.has_profile() && known.has_profile()) {
          auto profile = known.profile();
          known = row;
          *known.mutable_profile() = profile;
        } else {
          known = row;
        }
        apply(change);
        break;
      }
      }
      RC_ASSERT(all_of(view.index()) == scan(view));
    }
  }));
}
