#include "runtime/cli/human.hpp"

#include <doctest/doctest.h>

using namespace astra;
using namespace std::chrono_literals;

TEST_CASE("durations take the two units that matter") {
  CHECK(human_duration(0ms) == "0ms");
  CHECK(human_duration(999ms) == "999ms");
  CHECK(human_duration(1s) == "1s");
  CHECK(human_duration(3250ms) == "3.2s");
  CHECK(human_duration(59'999ms) == "59.9s");
  CHECK(human_duration(192s) == "3m12s");
  CHECK(human_duration(5h + 2min) == "5h02m");
  CHECK(human_duration(76h) == "3d04h");
  CHECK(human_duration(-5s) == "-5s");
}

TEST_CASE("sizes have one decimal at most and never show 1024 of a unit") {
  CHECK(human_bytes(0) == "0 B");
  CHECK(human_bytes(1023) == "1023 B");
  CHECK(human_bytes(1024) == "1 KiB");
  CHECK(human_bytes(2254857830) == "2.1 GiB");
  CHECK(human_bytes(1024ull * 1024 * 1024 - 1) == "1 GiB");
  CHECK(human_bytes(UINT64_MAX) == "16 EiB");
}

TEST_CASE("numbers lose the zeros behind their decimals") {
  CHECK(human_number(4.0) == "4");
  CHECK(human_number(1.5) == "1.5");
  CHECK(human_number(0.25) == "0.25");
  CHECK(human_number(100.0) == "100");
  CHECK(human_number(-0.001) == "0");
  CHECK(human_share(0.345) == "34 %");
  CHECK(human_share(1.0) == "100 %");
}
