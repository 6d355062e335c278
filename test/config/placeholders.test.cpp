#include "config/placeholders.hpp"

#include <doctest/doctest.h>

using namespace astra;

TEST_CASE("a placeholder is a name in braces, and nothing else is") {
  using names = std::vector<std::string>;
  CHECK(placeholders_in("tcp://{head_ip}:{head.port.s}") == names{"head_ip", "head.port.s"});
  CHECK(placeholders_in("{a}{a}{b-1}") == names{"a", "b-1"});
  CHECK(placeholders_in("{\"key\": {\"x\": 1}}") == names{});
  CHECK(placeholders_in("{} {1} { a } {a b} {a") == names{});
  CHECK(placeholders_in("{{slot}} {slot") == names{});
}

TEST_CASE("placeholders are replaced once, and what has no value stays") {
  std::map<std::string, std::string> values{{"slot", "3"}, {"scratch", "{slot}"}};
  CHECK(expand_placeholders("w-{slot}", values) == "w-3");
  CHECK(expand_placeholders("{scratch}", values) == "{slot}");
  CHECK(expand_placeholders("{{slot}} {other} {\"a\":1}", values) == "{slot} {other} {\"a\":1}");
  CHECK(expand_placeholders("{slot}{slot}", values) == "33");
  CHECK(expand_placeholders("{{{slot}}}", values) == "{{slot}}");
}
