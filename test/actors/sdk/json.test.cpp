#include <astra/json.hpp>

#include <doctest/doctest.h>

#include <cstdint>
#include <limits>
#include <string>

using namespace astra;

namespace {

std::string again(std::string_view text) {
  std::string problem;
  auto value = parse_json(text, problem);
  return value ? to_json(*value) : "? " + problem;
}

} // namespace

TEST_CASE("what is read is written again, with exact integers and the order of members") {
  for (auto text :
       {"null", "true", "false", "0", "-1", "9223372036854775807", "-9223372036854775808", "1.5", "0.1", "1e+300",
        "\"\"", "\"a\"", "[]", "{}", "[1,[2,{\"b\":null,\"a\":[]}]]", "{\"z\":1,\"a\":{\"c\":\"d\"}}"})
    CHECK(again(text) == text);
  CHECK(again(" { \"a\" : [ 1 , 2.0 ] } \n") == "{\"a\":[1,2.0]}");
  CHECK(again("1e2") == "100.0");
  // Beyond 64 bits it is a double.
  CHECK(again("9223372036854775808") == "9223372036854775808.0");
  CHECK(to_json(json_value{std::numeric_limits<double>::infinity()}) == "null");
  CHECK(to_json(json_value{std::uint64_t{1} << 63}) == "9223372036854775808.0");
  CHECK(to_json(json_value{std::numeric_limits<std::uint64_t>::max() >> 1}) == "9223372036854775807");
}

TEST_CASE("texts keep every character, and what is no UTF-8 never comes out") {
  CHECK(again(R"("\u00e9\ud83d\ude00\n\t\"\\\/")") == "\"é😀\\n\\u0009\\\"\\\\/\"");
  CHECK(again("\"\xc3\xa9\"") == "\"é\"");
  CHECK(to_json(json_value{"a\xff\x7f"}) == "\"a\xef\xbf\xbd\\u007f\"");
  for (auto bad : {"\"\xff\"", "\"\xc0\x80\"", "\"\xed\xa0\x80\"", "\"\xf4\x90\x80\x80\"", "\"\xc3\""})
    CHECK(again(bad) == "? no UTF-8 at byte 2");
  CHECK(again(R"("\ud800")") == "? half of a character at byte 8");
  CHECK(again(R"("\udc00")") == "? half of a character at byte 8");
}

TEST_CASE("what is no JSON is refused with the place") {
  for (auto [text, problem] : {std::pair{"", "? a value is missing at byte 1"},
                               {"tru", "? no value of JSON at byte 1"},
                               {"1 2", "? something follows the value at byte 3"},
                               {"[1,]", "? no value of JSON at byte 4"},
                               {"[1", "? a ',' or ']' is missing at byte 3"},
                               {"{\"a\"}", "? a ':' is missing at byte 5"},
                               {"{a:1}", "? a name in \"\" is missing at byte 2"},
                               {"{\"a\":1,\"a\":2}", "? a name is there twice at byte 11"},
                               {"01", "? something follows the value at byte 2"},
                               {"-", "? no value of JSON at byte 2"},
                               {"1.", "? digits are missing at byte 3"},
                               {"1e", "? digits are missing at byte 3"},
                               {"1e999", "? a number is too large at byte 6"},
                               {"\"a", "? a text has no end at byte 3"},
                               {"\"\\x\"", "? no such escape at byte 4"},
                               {"\"\\u12\"", "? four digits are missing after \\u at byte 4"},
                               {"\"\x01\"", "? a control character in a text at byte 2"}})
    CHECK(again(text) == problem);
  std::string deep(65, '[');
  CHECK(again(deep + std::string(65, ']')) == "? too many values within each other at byte 65");
  CHECK(again(std::string(64, '[') + std::string(64, ']')) == std::string(64, '[') + std::string(64, ']'));
}

TEST_CASE("an object of many members is read in time that grows with its length, and none is there twice") {
  // Compared one with the other, 300'000 names take minutes.
  std::string many = "{";
  for (int i = 0; i < 300'000; ++i)
    many += "\"" + std::to_string(i) + "\":0,";
  std::string problem;
  auto read = parse_json(many + "\"x\":0}", problem);
  REQUIRE(read);
  CHECK(read->get_if<json_value::object>()->size() == 300'001);
  // The first and the last of those that are compared, and ones beyond.
  for (auto twice : {"0", "15", "16", "17", "299999"})
    CHECK(again(many + "\"" + twice + "\":0}").starts_with("? a name is there twice at byte "));
}

TEST_CASE("members are found by name, and set in their place") {
  json_value value;
  value.set("a", 1);
  value.set("b", "x");
  value.set("a", true);
  CHECK(to_json(value) == "{\"a\":true,\"b\":\"x\"}");
  CHECK(value["b"] == "x");
  CHECK(value["c"].is_null());
  CHECK(value.find("c") == nullptr);
  CHECK(json_value{3}["a"].is_null());
  CHECK(value.kind() == "an object");
}
