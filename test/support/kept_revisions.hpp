#pragma once

#include "actors/platform.hpp"
#include "actors/scheduler/standby.hpp"

#include <doctest/doctest.h>

#include <string>
#include <vector>

namespace astra::test {

/// What every app store must do with revisions that tell who has an app.
inline void check_kept_revisions(app_store& store) {
  pb::AppSpec spec;
  spec.set_name("web");
  auto save = [&](const std::string& note) {
    spec.set_replicas(spec.replicas() + 1);
    REQUIRE(store.save(spec, {"alice", note, std::chrono::milliseconds{1}}));
  };
  auto numbers = [&] {
    std::vector<std::uint64_t> result;
    auto history = store.history("web");
    REQUIRE(history);
    for (auto& revision : *history)
      result.push_back(revision.number());
    return result;
  };
  save("");
  save(taken_over_note("s1", 5));
  save("rollback to 1; " + taken_over_note("s2", 9));
  for (auto i = 0; i < 100; ++i)
    save("");
  auto kept = numbers();
  REQUIRE(kept.size() == app_store::revisions_kept + 1);
  CHECK(kept[0] == 3);
  CHECK(kept[1] == 54);
  CHECK(kept.back() == 103);
  CHECK(noted_epoch(*store.history("web")) == 9);
  // One that is newer takes its place.
  save(given_up_note("s1", 12));
  CHECK(numbers().front() == 55);
  for (auto i = 0; i < 60; ++i)
    save("");
  kept = numbers();
  CHECK(kept[0] == 104);
  CHECK(kept[1] == 115);
  CHECK(noted_epoch(*store.history("web")) == 12);
}

} // namespace astra::test
