#include "runtime/gateway/view_comparison.hpp"

#include <doctest/doctest.h>

#include <map>
#include <string>

using namespace astra;

namespace {

struct shard {
  std::uint64_t epoch = 1;
  std::uint64_t version = 10;
  std::uint64_t nodes = 5;
  std::uint64_t hash = 0;
  bool lost = false;
};

/// Resource number n is named "rn".
pb::ResourceReport report(std::uint64_t resource, const std::map<std::uint64_t, shard>& shards) {
  pb::ResourceReport result;
  result.set_resource(resource);
  result.set_name("r" + std::to_string(resource));
  for (auto& [origin, seen] : shards) {
    auto& entry = *result.add_shards();
    entry.set_origin(origin);
    entry.set_name("r" + std::to_string(origin));
    entry.set_epoch(seen.epoch);
    entry.set_version(seen.version);
    entry.set_nodes(seen.nodes);
    entry.set_liveness_hash(seen.hash);
    entry.set_lost(seen.lost);
  }
  return result;
}

std::vector<std::string> lines(const std::vector<pb::ResourceReport>& reports) {
  std::vector<std::string> result;
  for (auto& one : compare_views(reports))
    result.push_back(one.resource + " of " + one.shard + ": " + one.detail);
  return result;
}

} // namespace

TEST_CASE("equal views have no difference, nor those that were asked a moment later") {
  CHECK(lines({}).empty());
  CHECK(lines({report(1, {{1, {}}, {2, {}}}), report(2, {{1, {}}, {2, {}}})}).empty());
  CHECK(lines({report(1, {{1, {}}}), report(2, {{1, {.version = 11}}})}).empty());
}

TEST_CASE("who has an older version is behind by so many") {
  auto found = compare_views({report(1, {{1, {.version = 12}}}), report(2, {{1, {.version = 9}}})});
  REQUIRE(found.size() == 1);
  CHECK(found[0].what == view_difference::kind::behind);
  CHECK(found[0].behind == 3);
  CHECK(found[0].detail == "3 versions behind");
}

TEST_CASE("the same version with other rows is a contradiction, by number or by hash, and comes first") {
  auto found =
      compare_views({report(1, {{1, {.hash = 7}}, {2, {}}}), report(2, {{1, {.hash = 8}}, {2, {.version = 11}}}),
                     report(3, {{1, {.nodes = 4}}, {2, {.version = 11}}})});
  REQUIRE(found.size() == 3);
  CHECK(found[0].what == view_difference::kind::contradiction);
  CHECK(found[0].detail == "has other states of nodes at version 10 than r1");
  CHECK(found[1].detail == "has 4 nodes at version 10, r1 has 5");
  CHECK(found[2].what == view_difference::kind::behind);
  // A hash that nobody knows says nothing.
  CHECK(lines({report(1, {{1, {.hash = 7}}}), report(2, {{1, {}}})}).empty());
}

TEST_CASE("a shard of a former life, one that is lost to somebody or not known at all is told") {
  CHECK(lines({report(1, {{1, {.epoch = 2, .version = 3}}}), report(2, {{1, {.epoch = 1, .version = 99}}}),
               report(3, {{1, {.epoch = 2, .version = 3, .lost = true}}}), report(4, {})})
        == std::vector<std::string>{"r2 of r1: holds the rows of its former life", "r3 of r1: has lost its Resource",
                                    "r4 of r1: does not know the shard"});
}

TEST_CASE("a shard whose Resource says nothing is compared with the newest that anybody has") {
  CHECK(lines({report(2, {{1, {.version = 5, .lost = true}}}), report(3, {{1, {.version = 7, .lost = true}}}),
               report(4, {})})
        == std::vector<std::string>{"r2 of r1: 2 versions behind"});
}

TEST_CASE("groups are not compared with each other") {
  auto other = report(3, {{3, {}}});
  other.set_group("vision");
  auto lost = report(4, {{4, {}}});
  lost.set_group("vision");
  CHECK(lines({report(1, {{1, {}}}), other}).empty());
  CHECK(lines({report(1, {{1, {}}}), other, lost}).size() == 2);
}
