#include "config/units.hpp"

#include <doctest/doctest.h>
#include <rapidcheck.h>

#include <limits>
#include <string>

using namespace astra;
using namespace std::chrono_literals;

TEST_CASE("durations are read in seven units, whole or with a fraction") {
  CHECK(parse_duration("1s").value == 1s);
  CHECK(parse_duration("200ms").value == 200ms);
  CHECK(parse_duration("2m").value == 2min);
  CHECK(parse_duration("2min").value == 2min);
  CHECK(parse_duration("3h").value == 3h);
  CHECK(parse_duration("1d").value == 24h);
  CHECK(parse_duration("5000us").value == 5ms);
  CHECK(parse_duration("1.5s").value == 1500ms);
  CHECK(parse_duration("0.25m").value == 15s);
  CHECK(parse_duration("1.500000000000s").value == 1500ms);
  CHECK(parse_duration("0s").value == 0ms);
}

TEST_CASE("a bad duration says what is wrong and the cure") {
  auto problem = [](std::string_view text) {
    auto result = parse_duration(text);
    CHECK_FALSE(result.value);
    return result.problem;
  };
  CHECK(problem("5") == "'5' has no unit; write \"5s\" or another of d, h, m, min, s, ms, us");
  CHECK(problem("-5s") == "'-5s' is negative; write a duration such as \"200ms\"");
  CHECK(problem("5sec").find("unknown unit 'sec' in '5sec'; use one of d, h") == 0);
  CHECK(problem("5S") == "unknown unit 'S' in '5S'; did you mean '5s'?");
  CHECK(problem("5Ms") == "unknown unit 'Ms' in '5Ms'; did you mean '5ms'?");
  CHECK(problem("5 s").find("unknown unit ' s'") == 0);
  CHECK(problem("soon").find("'soon' is not a duration") == 0);
  CHECK(problem("").find("'' is not a duration") == 0);
  CHECK(problem("s").find("not a duration") != std::string::npos);
  CHECK(problem("1.s").find("unknown unit '.s'") == 0);
  CHECK(problem("100us") == "'100us' is finer than a millisecond; write at least \"1ms\"");
  CHECK(problem("0.0001s").find("finer than a millisecond") != std::string::npos);
  CHECK(problem("0.000000001s").find("finer than us") != std::string::npos);
  CHECK(problem("300000d").find("too large") != std::string::npos);
  CHECK(problem("99999999999999999999999999s").find("too large") != std::string::npos);
}

TEST_CASE("sizes are read in decimal and binary units") {
  CHECK(parse_size("8GiB").value == 8ull << 30);
  CHECK(parse_size("500MB").value == 500'000'000);
  CHECK(parse_size("64KiB").value == 65536);
  CHECK(parse_size("1.5GiB").value == 3ull << 29);
  CHECK(parse_size("2kB").value == 2000);
  CHECK(parse_size("7B").value == 7);
  CHECK(parse_size("16777215TiB").value == 16777215ull << 40);
}

TEST_CASE("a bad size says what is wrong and the cure") {
  auto problem = [](std::string_view text) {
    auto result = parse_size(text);
    CHECK_FALSE(result.value);
    return result.problem;
  };
  CHECK(problem("8").find("'8' has no unit") == 0);
  CHECK(problem("8gib") == "unknown unit 'gib' in '8gib'; did you mean '8GiB'?");
  CHECK(problem("8Gi") == "unknown unit 'Gi' in '8Gi'; did you mean '8GiB'?");
  CHECK(problem("8KB") == "unknown unit 'KB' in '8KB'; did you mean '8kB'?");
  CHECK(problem("-1GiB").find("negative") != std::string::npos);
  CHECK(problem("0.3B").find("finer than B") != std::string::npos);
  CHECK(problem("16777216TiB").find("too large") != std::string::npos);
  CHECK(problem("18446744073709551616B").find("too large") != std::string::npos);
}

TEST_CASE("every duration and every size survives value -> text -> value") {
  CHECK(rc::check([] {
    const auto any = *rc::gen::inRange<std::int64_t>(0, std::numeric_limits<std::int64_t>::max() / 1000 / 1000);
    for (std::int64_t ms : {any, any % 100'000, any % 1000 * 1000, any % 100 * 3'600'000})
      RC_ASSERT(parse_duration(format_duration(std::chrono::milliseconds{ms})).value == std::chrono::milliseconds{ms});
  }));
  CHECK(rc::check([](std::uint64_t bytes, std::uint8_t shift) {
    auto size = bytes >> (shift % 64);
    RC_ASSERT(parse_size(format_size(size)).value == size);
    size = (size & 0xffff) << (shift % 48);
    RC_ASSERT(parse_size(format_size(size)).value == size);
  }));
  CHECK(format_duration(90s) == "90s");
  CHECK(format_duration(60s) == "1m");
  CHECK(format_duration(1500ms) == "1500ms");
  CHECK(format_size(16 * 1024) == "16KiB");
  CHECK(format_size(500'000'000) == "500MB");
}

TEST_CASE("any text at all is read or refused with a reason") {
  CHECK(rc::check([](const std::string& text) {
    auto duration = parse_duration(text);
    RC_ASSERT(duration.value.has_value() == duration.problem.empty());
    auto size = parse_size("9" + text);
    RC_ASSERT(size.value.has_value() == size.problem.empty());
  }));
}

TEST_CASE("cores are kept in thousandths") {
  CHECK(parse_cores(4).value == 4000);
  CHECK(parse_cores(0.5).value == 500);
  CHECK(parse_cores(0.1).value == 100);
  CHECK_FALSE(parse_cores(0).value);
  CHECK_FALSE(parse_cores(-1).value);
  CHECK_FALSE(parse_cores(1e9).value);
  CHECK_FALSE(parse_cores(std::numeric_limits<double>::quiet_NaN()).value);
  CHECK(format_cores(500) == "0.5");
  CHECK(format_cores(4000) == "4");
  CHECK(format_cores(1001) == "1.001");
}

TEST_CASE("fine durations are read and written down to a nanosecond") {
  CHECK(parse_fine_duration("200us").value == 200us);
  CHECK(parse_fine_duration("20ns").value == 20ns);
  CHECK(parse_fine_duration("1.000000001s").value == 1'000'000'001ns);
  CHECK(parse_fine_duration("0.123456789d").value == 10'666'666'569'600ns);
  CHECK(parse_fine_duration("0.5m").value == 30s);
  CHECK(parse_fine_duration("0s").value == 0ns);
  CHECK(format_fine_duration(200us) == "200us");
  CHECK(format_fine_duration(1500ms) == "1500ms");
  CHECK(format_fine_duration(1'000'000'001ns) == "1000000001ns");
  CHECK(format_fine_duration(0ns) == "0s");
  CHECK(parse_fine_duration("0.5ns").problem == "'0.5ns' is finer than ns; round it");
  CHECK(parse_fine_duration("1.0000000001s").problem == "'1.0000000001s' is finer than ns; round it");
  CHECK(parse_fine_duration("107000d").problem == "'107000d' is too large; a duration ends at 292 years");
  CHECK(parse_fine_duration("300000d").problem == "'300000d' is too large");
  CHECK(parse_fine_duration("5").problem == "'5' has no unit; write \"5s\" or another of d, h, m, min, s, ms, us, ns");
  // The files of processes know no ns, and nothing finer than a millisecond.
  CHECK(parse_duration("5000000ns").problem.find("unknown unit 'ns'") == 0);
  CHECK(parse_duration("200us").problem.find("finer than a millisecond") != std::string::npos);
  CHECK(rc::check([](std::int64_t any, std::uint8_t shift) {
    std::chrono::nanoseconds value{(any & INT64_MAX) >> (shift % 63)};
    RC_ASSERT(parse_fine_duration(format_fine_duration(value)).value == value);
  }));
}
