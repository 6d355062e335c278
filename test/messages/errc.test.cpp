#include "messages/errc.hpp"

#include <doctest/doctest.h>

using namespace astra;

TEST_CASE("every error code survives code -> name -> code") {
  for (std::uint8_t i = 0; i < static_cast<std::uint8_t>(errc::count_); ++i) {
    auto code = static_cast<errc>(i);
    errc parsed = errc::none;
    CHECK(from_string(to_string(code), parsed));
    CHECK(parsed == code);
  }
  errc parsed = errc::none;
  CHECK_FALSE(from_string("no_such_code", parsed));
  CHECK_FALSE(from_integer(static_cast<std::uint8_t>(errc::count_), parsed));
}
