#include "actors/resource/part_collector.hpp"

#include <doctest/doctest.h>

#include <vector>

using namespace astra;
using outcome = part_collector::outcome;

namespace {

pb::ViewDelta part(std::uint64_t transfer, std::uint32_t number, bool more, std::uint64_t node) {
  pb::ViewDelta result;
  result.set_origin(1);
  result.set_epoch(1);
  result.set_version(7);
  result.set_transfer(transfer);
  result.set_part(number);
  result.set_more(more);
  auto& row = *result.add_nodes();
  row.set_node(node);
  row.set_incarnation(1);
  row.set_liveness(pb::LIVENESS_ONLINE);
  row.mutable_profile()->set_name("n");
  return result;
}

pb::ViewDelta ahead(std::uint64_t node, pb::Liveness liveness) {
  auto result = part(0, 0, false, node);
  result.set_base(9);
  result.set_version(9);
  result.set_ahead(true);
  result.mutable_nodes(0)->clear_profile();
  result.mutable_nodes(0)->set_liveness(liveness);
  return result;
}

outcome add(part_collector& parts, const pb::ViewDelta& delta) {
  std::vector<pb::ViewDelta> ready;
  return parts.add(delta, ready);
}

/// @pre it is the last part.
std::vector<pb::ViewDelta> finish(part_collector& parts, const pb::ViewDelta& delta) {
  std::vector<pb::ViewDelta> ready;
  REQUIRE(parts.add(delta, ready) == outcome::whole);
  return ready;
}

} // namespace

TEST_CASE("three parts are one delta once the last is there") {
  part_collector parts;
  CHECK(add(parts, part(5, 0, true, 1)) == outcome::partial);
  CHECK(add(parts, part(5, 1, true, 2)) == outcome::partial);
  CHECK(add(parts, part(5, 1, true, 2)) == outcome::partial); // said twice
  auto ready = finish(parts, part(5, 2, false, 3));
  REQUIRE(ready.size() == 1);
  auto& last = ready.front();
  CHECK(last.nodes_size() == 3);
  CHECK(last.transfer() == 0);
  CHECK(last.part() == 0);
  CHECK(last.version() == 7);
  CHECK_FALSE(parts.collecting());
}

TEST_CASE("a part that is missing, of another transfer or without a beginning is a gap") {
  part_collector parts;
  CHECK(add(parts, part(5, 1, false, 1)) == outcome::gap);
  add(parts, part(5, 0, true, 1));
  SUBCASE("missing") {
    CHECK(add(parts, part(5, 2, false, 3)) == outcome::gap);
  }
  SUBCASE("of another transfer") {
    CHECK(add(parts, part(6, 1, false, 2)) == outcome::gap);
  }
  CHECK_FALSE(parts.collecting());
  CHECK(add(parts, part(7, 0, true, 1)) == outcome::partial);
}

TEST_CASE("a transfer that begins anew forgets what came before") {
  part_collector parts;
  add(parts, part(5, 0, true, 1));
  add(parts, part(6, 0, true, 2));
  auto last = finish(parts, part(6, 1, false, 3)).at(0);
  CHECK(last.nodes_size() == 2);
  CHECK(last.nodes(0).node() == 2);
}

TEST_CASE("a row before its turn wins over the parts before it, and not over those after it") {
  part_collector parts;
  add(parts, part(5, 0, true, 1));
  CHECK(add(parts, ahead(1, pb::LIVENESS_OFFLINE)) == outcome::whole);
  CHECK(add(parts, ahead(2, pb::LIVENESS_SUSPECT)) == outcome::whole);
  auto last = finish(parts, part(5, 1, false, 2)).at(0);
  // In this order they are applied.
  REQUIRE(last.nodes_size() == 4);
  CHECK(last.nodes(1).node() == 1);
  CHECK(last.nodes(1).liveness() == pb::LIVENESS_OFFLINE);
  CHECK(last.nodes(3).node() == 2);
  CHECK(last.nodes(3).liveness() == pb::LIVENESS_ONLINE);
  CHECK(last.ahead_of() == ahead(1, pb::LIVENESS_OFFLINE).version());
}

TEST_CASE("what comes of several shards counts together, first what is new and then what is gone") {
  part_collector parts;
  auto left = part(5, 0, true, 1);
  left.set_base(3);
  left.add_removed_nodes(2);
  CHECK(add(parts, left) == outcome::partial);
  auto came_to = part(5, 1, false, 2);
  came_to.set_origin(2);
  came_to.set_base(4);
  auto ready = finish(parts, came_to);
  REQUIRE(ready.size() == 4);
  for (auto i : {0u, 1u}) {
    CHECK(ready[i].ahead());
    CHECK(ready[i].nodes_size() == 1);
    CHECK(ready[i].removed_nodes_size() == 0);
    CHECK(ready[i].base() == ready[i].version());
  }
  CHECK(ready[2].origin() == 1);
  CHECK(ready[2].base() == 3);
  CHECK(ready[2].removed_nodes_size() == 1);
  CHECK(ready[3].origin() == 2);
}
