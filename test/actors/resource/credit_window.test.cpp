#include "actors/resource/credit_window.hpp"

#include <doctest/doctest.h>

using namespace astra;
using kind = credit_window::kind;

namespace {

constexpr std::size_t chunk = 1024;
constexpr std::size_t full = chunk - credit_window::overhead_bytes;

} // namespace

TEST_CASE("four chunks may be unacknowledged, and each acknowledgement makes room for what came before it") {
  credit_window window{chunk};
  for (std::uint64_t i = 1; i <= 4; ++i) {
    CHECK(window.fits(full, kind::bulk));
    CHECK(window.sent(full, kind::bulk) == i);
  }
  CHECK_FALSE(window.fits(full, kind::bulk));
  CHECK_FALSE(window.fits(1, kind::bulk));
  window.acknowledged(3);
  CHECK(window.unacknowledged_bytes() == chunk);
  CHECK(window.fits(full, kind::bulk));
  window.acknowledged(2); // late
  CHECK(window.unacknowledged_bytes() == chunk);
}

TEST_CASE("of a transfer one chunk is under way, in four parts, and none beside as much of anything else") {
  constexpr std::size_t large = 16 * chunk;
  credit_window window{large};
  CHECK(window.part_bytes() == 4 * chunk);
  auto part = window.part_bytes() - credit_window::overhead_bytes;
  for (std::uint64_t i = 1; i <= 4; ++i) {
    CHECK(window.fits_part());
    CHECK(window.sent(part, kind::bulk) == i);
  }
  CHECK_FALSE(window.fits_part());
  CHECK(window.fits(large, kind::bulk));
  window.acknowledged(2);
  CHECK(window.fits_part());
  window.sent(large, kind::bulk);
  CHECK_FALSE(window.fits_part());
  window.acknowledged(5);
  for (auto number : {3u, 4u})
    window.failed(number);
  CHECK(window.fits_part());
  // Where a part is a whole chunk, what is not asked about does not hold it up for ever.
  credit_window small{chunk};
  CHECK(small.part_bytes() == chunk);
  CHECK_FALSE(small.sent(chunk / 4 - credit_window::overhead_bytes - 1, kind::bulk));
  CHECK(small.fits_part());
}

TEST_CASE("small messages are acknowledged together, once per quarter of a chunk") {
  credit_window window{chunk};
  CHECK_FALSE(window.sent(10, kind::bulk));
  CHECK(window.sent(10, kind::bulk) == 1);
  CHECK_FALSE(window.sent(10, kind::bulk));
  window.acknowledged(1);
  CHECK(window.unacknowledged_bytes() == 10 + credit_window::overhead_bytes);
}

TEST_CASE("what cannot wait has a credit of its own, which is bounded too") {
  credit_window window{chunk};
  for (auto i = 0; i < 4; ++i)
    window.sent(full, kind::bulk);
  CHECK(window.fits(full, kind::urgent));
  window.sent(full, kind::urgent);
  CHECK_FALSE(window.fits(1, kind::urgent));
  window.acknowledged(4);
  CHECK(window.fits(full, kind::bulk));
  CHECK_FALSE(window.fits(1, kind::urgent));
  window.acknowledged(5);
  CHECK(window.unacknowledged_bytes() == 0);
}

TEST_CASE("an acknowledgement that is lost waits for the next, and when none will come the window is stuck") {
  credit_window window{chunk};
  for (auto i = 0; i < 4; ++i)
    window.sent(full, kind::bulk);
  window.failed(1);
  CHECK_FALSE(window.stuck());
  window.acknowledged(2);
  CHECK(window.unacknowledged_bytes() == 2 * chunk);
  window.sent(full, kind::bulk);
  window.sent(full, kind::bulk);
  for (auto number : {3u, 4u, 5u, 6u})
    window.failed(number);
  CHECK(window.stuck());
  CHECK(window.unacknowledged_bytes() == 4 * chunk);
  auto last = window.sent_and_asked(20, kind::bulk);
  CHECK_FALSE(window.stuck());
  window.acknowledged(last);
  CHECK(window.unacknowledged_bytes() == 0);
}

TEST_CASE("what is larger than the window goes alone") {
  credit_window window{chunk};
  CHECK(window.fits(10 * chunk, kind::bulk));
  auto number = window.sent(10 * chunk, kind::bulk);
  REQUIRE(number);
  CHECK_FALSE(window.fits(1, kind::bulk));
  window.acknowledged(*number);
  CHECK(window.fits(full, kind::bulk));
}
