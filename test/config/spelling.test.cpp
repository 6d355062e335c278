#include "config/spelling.hpp"

#include <doctest/doctest.h>
#include <rapidcheck.h>

using namespace astra;

TEST_CASE("an edit counts two, a change of case or of '-' counts one") {
  CHECK(half_edits("heartbeat", "heartbeat") == 0);
  CHECK(half_edits("hearbeat", "heartbeat") == 2);
  CHECK(half_edits("heartbaet", "heartbeat") == 2);
  CHECK(half_edits("Heartbeat", "heartbeat") == 1);
  CHECK(half_edits("queue-limit", "queue_limit") == 1);
  CHECK(half_edits("", "abc") == 6);
  CHECK(half_edits("abc", "") == 6);
}

TEST_CASE("the nearest word is proposed, and none when all are far") {
  std::vector<std::string> words{"name", "roles", "net", "node", "resource"};
  CHECK(closest("nmae", words) == "name");
  CHECK(closest("rols", words) == "roles");
  CHECK(closest("resorce", words) == "resource");
  CHECK_FALSE(closest("gpu", words));
  CHECK_FALSE(closest("x", words));
  CHECK_FALSE(closest("", words));
  CHECK_FALSE(closest("name", {}));
}

TEST_CASE("the distance is the same both ways and zero only for equal words") {
  CHECK(rc::check([](const std::string& a, const std::string& b) {
    RC_ASSERT(half_edits(a, b) == half_edits(b, a));
    RC_ASSERT((half_edits(a, b) == 0) == (a == b));
    RC_ASSERT(half_edits(a, b) <= 2 * std::max(a.size(), b.size()));
  }));
}
