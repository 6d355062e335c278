#include "runtime/cli/rate.hpp"

#include <doctest/doctest.h>

using namespace astra;

TEST_CASE("rates are read in bytes and bits, decimal and binary, and none is 0") {
  struct row {
    const char* text;
    std::uint64_t value;
  };
  for (auto& row : {row{"10GB/s", 10'000'000'000}, row{"800Mbit/s", 100'000'000}, row{"1.5GiB/s", 1'610'612'736},
                    row{"64kbit/s", 8000}, row{"8bit/s", 1}, row{"none", 0}}) {
    CAPTURE(row.text);
    CHECK(parse_rate(row.text).value == row.value);
  }
}

TEST_CASE("what is no rate is refused with examples") {
  for (auto text : {"", "10", "10GB", "10/s", "GB/s", "-1MB/s", "10 furlongs/s", "no", "bit/s", "1.5B/s"}) {
    CAPTURE(text);
    auto read = parse_rate(text);
    CHECK_FALSE(read.value);
    CHECK(read.problem
          == "'" + std::string{text} + "' is not a rate; write such as 10GB/s, 800Mbit/s, 1.5GiB/s or none");
  }
  CHECK(parse_rate("0MB/s").problem.find("would let nothing through") != std::string::npos);
  CHECK(parse_rate("4bit/s").problem.find("would let nothing through") != std::string::npos);
}

TEST_CASE("a rate is written as it is read") {
  for (auto text : {"10GB/s", "100MB/s", "1536MiB/s", "none"})
    CHECK(format_rate(*parse_rate(text).value) == text);
  CHECK(human_rate(0) == "0 B/s");
  CHECK(human_rate(999) == "999 B/s");
  CHECK(human_rate(3'140'000) == "3.1 MB/s");
  CHECK(human_rate(112'400'000) == "112 MB/s");
  CHECK(human_rate(999'999'999) == "1.0 GB/s");
}
