#include "actors/resource/subscriber_watch.hpp"

#include <doctest/doctest.h>

using namespace astra;
using namespace std::chrono_literals;

namespace {

const auto own = make_resource_id("r1");

pb::Subscribe renewal(const std::string& name, std::uint64_t version, std::uint64_t epoch = 7) {
  pb::Subscribe result;
  result.set_subscriber(name);
  auto& other = *result.add_have();
  other.set_origin(make_resource_id("r2").value());
  other.set_version(1);
  auto& have = *result.add_have();
  have.set_origin(own.value());
  have.set_epoch(epoch);
  have.set_version(version);
  return result;
}

} // namespace

TEST_CASE("who is behind is told by versions and by the time since what it lacks began, the furthest first") {
  subscriber_watch watch{own, 7, 3s};
  subscriber_watch::time_point t{1h};
  watch.renewed(renewal("early", 0), t);
  CHECK(watch.slowest(8, t).front().versions_behind() == 0);
  for (std::uint64_t version = 1; version <= 10; ++version)
    watch.published(version, t + 100ms * version);
  watch.published(10, t + 2s); // A keep-alive is no news.
  watch.renewed(renewal("in-step", 10), t + 2s);
  watch.renewed(renewal("slow", 4), t + 2s);
  watch.renewed(renewal("slowest", 2), t + 2s);
  watch.renewed(renewal("of-another-life", 10, 6), t + 2s);
  auto all = watch.slowest(8, t + 2500ms);
  REQUIRE(all.size() == 5);
  CHECK(all[0].name() == "of-another-life");
  CHECK(all[0].versions_behind() == 10);
  CHECK(all[1].name() == "slowest");
  CHECK(all[1].versions_behind() == 8);
  CHECK(all[1].behind_ms() == 1700); // Version 3 began at 300 ms.
  CHECK(all[1].renewed_ms_ago() == 500);
  CHECK(all[2].name() == "slow");
  CHECK(all[2].behind_ms() == 1500);
  CHECK(all[3].behind_ms() == 0);
  CHECK(watch.slowest(1, t + 2500ms).size() == 1);
}

TEST_CASE("a subscriber that does not renew is forgotten") {
  subscriber_watch watch{own, 7, 3s};
  subscriber_watch::time_point t{1h};
  watch.renewed(renewal("a", 0), t);
  CHECK(watch.slowest(8, t + 2999ms).size() == 1);
  CHECK(watch.slowest(8, t + 3s).empty());
}
