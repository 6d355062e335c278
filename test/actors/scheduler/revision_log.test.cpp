#include "actors/scheduler/revision_log.hpp"

#include "test/actors/scheduler/model_cluster.hpp"
#include "test/support/fake_platform.hpp"
#include "test/support/kept_revisions.hpp"

#include <doctest/doctest.h>

using namespace astra;
using namespace astra::test;

TEST_CASE("the last 50 revisions of an app are kept and their numbers go on, also over its deletion") {
  revision_log log;
  for (std::uint32_t i = 1; i <= 60; ++i)
    CHECK(log.save(small_app("ocr", i), {"alice", "", std::chrono::milliseconds{i}}) == i);
  CHECK(log.history("ocr").size() == 50);
  CHECK(log.history("ocr").front().number() == 11);
  CHECK(log.specs().at("ocr").replicas() == 60);
  log.remove("ocr");
  CHECK(log.specs().empty());
  CHECK(log.history("ocr").size() == 50);
  CHECK(log.save(small_app("ocr", 1), {}) == 61);
  CHECK(log.history("echo").empty());
}

TEST_CASE("the newest revision that tells who has the app stays, however many follow") {
  fake_app_store store;
  check_kept_revisions(store);
}

TEST_CASE("of apps that are gone the 256 that changed last keep their history") {
  revision_log log;
  for (std::uint32_t i = 0; i < 300; ++i) {
    auto name = "app" + std::to_string(i);
    log.save(small_app(name, 1), {"", "", std::chrono::milliseconds{i}});
    if (i != 3)
      log.remove(name);
  }
  CHECK(log.history("app3").size() == 1);
  CHECK(log.history("app43").empty());
  CHECK(log.history("app44").size() == 1);
}
