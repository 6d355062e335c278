#include "runtime/shell/parse.hpp"

#include "config/units.hpp"

#include <doctest/doctest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <random>
#include <string>
#include <utility>
#include <vector>

using namespace astra;
using namespace astra::shell;

namespace {

statement only(std::string_view text) {
  auto parsed = parse(text);
  INFO(text);
  REQUIRE_MESSAGE(!parsed.error, parsed.error->message);
  REQUIRE(parsed.statements.size() == 1);
  return parsed.statements.front();
}

std::string error_of(std::string_view text) {
  auto parsed = parse(text);
  if (!parsed.error)
    return "none";
  return std::to_string(parsed.error->at.line) + ":" + std::to_string(parsed.error->at.column) + ": "
         + parsed.error->message;
}

value text_value(const std::string& text) {
  value result;
  if (!text.empty())
    result.pieces.push_back({text, std::nullopt});
  return result;
}

// Any tree that can be written.

using rc::gen::element;

std::string any_name() {
  auto result = *element<std::string>("a", "b2", "state", "in_state_ms", "node", "_x", "C");
  return result;
}

std::vector<std::string> any_path(int least) {
  std::vector<std::string> result;
  for (auto i = *rc::gen::inRange(least, 3); i > 0; --i)
    result.push_back(result.empty() && least > 0 ? any_name() : *element<std::string>("a", "b2", "0", "17", "x-y"));
  return result;
}

reference any_reference() {
  reference result;
  result.sigil = *element('$', '@');
  result.name = result.sigil == '@' ? *element<std::string>("c", "ocr-2", "9x")
                                    : *element<std::string>("", "1", "23", "c", "x_1");
  result.path = any_path(0);
  return result;
}

value any_value(bool in_condition) {
  value result;
  switch (*rc::gen::inRange(0, in_condition ? 5 : 4)) {
  case 0:
    result.what = value::kind::number;
    result.written = *element<std::string>("0", "-7", "1.50", "3e5", "18446744073709551615");
    return result;
  case 1:
    result.what = value::kind::literal;
    result.literal = in_condition
                         ? *element<json>(json(true), json(false), json())
                         : *element<json>(json(true), json(), json::array(), json{{"a", json::array({1, "x}"})}},
                                          json::array({json::object(), "\"]\n"}));
    return result;
  case 2:
    result.what = value::kind::reference;
    result.source = any_reference();
    return result;
  case 3:
    break;
  default:
    result.what = value::kind::quantity;
    result.written = *element<std::string>("10s", "8GiB", "80%", "1.5ms");
    return result;
  }
  // Text, with values put into it where that is possible.
  auto last_was_text = false;
  for (auto i = *rc::gen::inRange(0, 4); i > 0; --i) {
    if (!in_condition && last_was_text && *rc::gen::arbitrary<bool>()) {
      reference inserted;
      inserted.name = *element<std::string>("i", "3", "c");
      inserted.path = any_path(0);
      result.pieces.push_back({{}, inserted});
      last_was_text = false;
    } else if (!last_was_text) {
      result.pieces.push_back({*element<std::string>("x", "a b", "as", "true", "7", "a=b", "\"q\" 'r'", "$i ${j}",
                                                     "\\n\n\t", "Grüße 你好", "#", "{", "--where", "@c", "|;"),
                               std::nullopt});
      last_was_text = true;
    }
  }
  return result;
}

condition any_condition(int depth) {
  condition result;
  if (depth > 0 && *rc::gen::inRange(0, 3) == 0) {
    result.what = *element(condition::kind::all_of, condition::kind::any_of, condition::kind::negation);
    auto parts = result.what == condition::kind::negation ? 1 : *rc::gen::inRange(2, 4);
    for (auto i = 0; i < parts; ++i)
      result.parts.push_back(any_condition(depth - 1));
    return result;
  }
  result.operand = *rc::gen::arbitrary<bool>() ? any_reference() : reference{0, {}, any_path(1), {}};
  result.how = static_cast<comparison>(*rc::gen::inRange(0, 9));
  auto many = result.how == comparison::in || result.how == comparison::not_in;
  for (auto i = many ? *rc::gen::inRange(1, 4) : 1; i > 0; --i)
    result.values.push_back(any_value(true));
  return result;
}

stage any_stage() {
  stage result;
  result.what = static_cast<stage::kind>(*rc::gen::inRange(0, 6));
  auto add_fields = [&](int least, int most, bool may_fall) {
    for (auto i = *rc::gen::inRange(least, most + 1); i > 0; --i)
      result.fields.push_back({any_path(1), may_fall && *rc::gen::arbitrary<bool>(), {}});
  };
  switch (result.what) {
  case stage::kind::where:
    result.filter = any_condition(2);
    break;
  case stage::kind::sort:
    add_fields(1, 3, true);
    break;
  case stage::kind::top:
    add_fields(0, 1, false);
    [[fallthrough]];
  case stage::kind::limit:
    result.most = *rc::gen::arbitrary<std::uint64_t>();
    break;
  case stage::kind::select:
    add_fields(1, 3, false);
    break;
  case stage::kind::count:
    break;
  }
  return result;
}

statement any_statement(int depth) {
  statement result;
  result.what = static_cast<statement::kind>(*rc::gen::inRange(0, depth > 0 ? 5 : 1));
  auto fill_body = [&] {
    for (auto i = *rc::gen::inRange(0, 3); i > 0; --i)
      result.body.push_back(any_statement(depth - 1));
  };
  switch (result.what) {
  case statement::kind::pipeline:
    if (*rc::gen::arbitrary<bool>()) {
      call made;
      made.verb = *element<std::string>("ps", "node", "ask", ":mode", "app");
      for (auto i = *rc::gen::inRange(0, 4); i > 0; --i)
        made.arguments.push_back({*element<std::string>("", "", "name", "a.b-c"), any_value(false)});
      result.source_call = std::move(made);
    } else {
      result.source_value = any_reference();
    }
    for (auto i = *rc::gen::inRange(0, 3); i > 0; --i)
      result.stages.push_back(any_stage());
    result.bind = *element<std::string>("", "c", "x_1");
    break;
  case statement::kind::loop:
    result.variable = *element<std::string>("i", "n2");
    for (auto bound : {&result.from, &result.to}) {
      bound->what = value::kind::number;
      bound->written = *element<std::string>("1", "-5", "1000");
    }
    fill_body();
    break;
  case statement::kind::every:
    result.period = std::chrono::nanoseconds{*rc::gen::inRange(1, 1'000'000'000)};
    if (*rc::gen::arbitrary<bool>())
      result.times = *rc::gen::arbitrary<std::uint64_t>();
    fill_body();
    break;
  case statement::kind::await:
    result.awaited = any_value(false);
    result.state = *element<std::string>("ready", "gone");
    if (*rc::gen::arbitrary<bool>())
      result.patience = std::chrono::nanoseconds{*rc::gen::inRange(1, 1'000'000'000)};
    break;
  case statement::kind::expect:
    result.expected = any_condition(3);
    break;
  }
  return result;
}

} // namespace

TEST_CASE("a call is a verb with words, numbers, named values and references") {
  auto made =
      only("spawn counter name=c1 init=40 cpu=0.5 at=$2.node to=@c 'a b' \"x ${i}\" e-$i --where 'util > 0.8' as c");
  REQUIRE(made.source_call);
  CHECK(made.bind == "c");
  auto& words = made.source_call->arguments;
  CHECK(made.source_call->verb == "spawn");
  REQUIRE(words.size() == 11);
  CHECK(words[0].what == text_value("counter"));
  CHECK(words[1].name == "name");
  CHECK(words[2].what.what == value::kind::number);
  CHECK(words[2].what.written == "40");
  CHECK(words[4].what.source.path == std::vector<std::string>{"node"});
  CHECK(words[5].what.source.sigil == '@');
  CHECK(words[6].what == text_value("a b"));
  REQUIRE(words[7].what.pieces.size() == 2);
  CHECK(words[7].what.pieces[1].inserted->name == "i");
  REQUIRE(words[8].what.pieces.size() == 2);
  CHECK(words[8].what.pieces[0].text == "e-");
  CHECK(words[10].what == text_value("util > 0.8"));
}

TEST_CASE("what looks like a number, a constant or JSON is one, unless it is quoted") {
  auto made = only(R"(ask c 007 7 "7" true "true" {"a": [1, "}"]} a#b)");
  auto& words = made.source_call->arguments;
  CHECK(words[1].what == text_value("007"));
  CHECK(words[2].what.what == value::kind::number);
  CHECK(words[3].what == text_value("7"));
  CHECK(words[4].what.literal == true);
  CHECK(words[5].what == text_value("true"));
  CHECK(words[6].what.literal == json::parse(R"({"a": [1, "}"]})"));
  CHECK(words[7].what == text_value("a#b"));
}

TEST_CASE("a pipeline goes over several lines after a |") {
  auto made = only("ps | where restarts > 0 and (state != ready or age_ms > 10s) |\n  sort -restarts, app | top 3 | "
                   "select app, node | count # all\n");
  REQUIRE(made.stages.size() == 5);
  CHECK(made.stages[0].filter.parts.size() == 2);
  CHECK(made.stages[1].fields[0].falling);
  CHECK_FALSE(made.stages[1].fields[1].falling);
  CHECK(made.stages[2].most == 3);
}

TEST_CASE("blocks go over several lines, and statements end with their line or ;") {
  auto parsed = parse("# setup\nps; status\n\nfor i in 1..3 {\n  ask @c $i; ps\n  every 100ms 2 times { ps | count "
                      "}\n}\nawait @c ready 10s\n");
  REQUIRE_MESSAGE(!parsed.error, parsed.error->message);
  REQUIRE(parsed.statements.size() == 4);
  auto& loop = parsed.statements[2];
  CHECK(loop.variable == "i");
  CHECK(loop.at.line == 4);
  REQUIRE(loop.body.size() == 3);
  CHECK(loop.body[2].times == 2);
  CHECK(parsed.statements[3].patience == std::chrono::seconds{10});
}

TEST_CASE("an error names line, column and what was expected") {
  CHECK(error_of("ask @c amount=") == "1:15: expected a value after =");
  CHECK(error_of("ask @c amount= 3") == "1:15: expected a value after =");
  CHECK(error_of("ps | whree x > 1") == "1:6: expected where, sort, top, limit, select or count");
  CHECK(error_of("ps | where restarts") == "1:20: expected one of == != < <= > >= =~ in");
  CHECK(error_of("ps | where restarts > ")
        == "1:23: expected a value: a number, a word, a text in quotes, $result or @app");
  CHECK(error_of("ps | where restarts = 1") == "1:21: expected one of == != < <= > >= =~ in");
  CHECK(error_of("ps\nps | where (a > 1\n") == "3:1: expected and, or, or )");
  CHECK(error_of("ps | top x") == "1:10: expected a number, such as top 3");
  CHECK(error_of("ps as 3") == "1:7: expected a name after as");
  CHECK(error_of("ps as c d") == "1:9: expected the end of the statement");
  CHECK(error_of("for i in 1..3 ps") == "1:15: expected { and the statements");
  CHECK(error_of("for i in 1..3 { ps\n") == "2:1: expected a statement or }");
  CHECK(error_of("for i of 1..3 {}") == "1:7: expected in and a range, such as in 1..3");
  CHECK(error_of("every soon { ps }") == "1:7: expected a duration, such as 100ms");
  CHECK(error_of("every 3x { ps }").starts_with("1:7: expected a duration, such as 100ms: "));
  CHECK(error_of("await @c ready 10").starts_with("1:16: expected a duration"));
  CHECK(error_of("}") == "1:1: expected a statement, such as ps or help");
  CHECK(error_of("ask c \"open") == "1:12: expected the closing \" of the text that begins before");
  CHECK(error_of("ask c {\"a\": 1") == "1:14: expected the closing } of the JSON value");
  CHECK(error_of("ask c {\"a\" 1}") == "1:7: expected JSON, such as {\"a\": 1} or [1, 2]");
  CHECK(error_of("ask c \"\\q\"").starts_with("1:9: expected one of"));
}

TEST_CASE("columns count characters, not bytes") {
  CHECK(error_of("ask 你好 a=") == "1:10: expected a value after =");
}

TEST_CASE("what nests too deep is refused") {
  auto deep = [](const std::string& open, int times) {
    std::string text = "expect ";
    for (auto i = 0; i < times; ++i)
      text += open;
    return error_of(text);
  };
  CHECK(deep("(", 100'000).find("more than 64 levels") != std::string::npos);
  CHECK(deep("not ", 100'000).find("expected a condition behind not") != std::string::npos);
  std::string lists(100'000, '[');
  CHECK(error_of("ask c " + lists).find("more than 64 levels") != std::string::npos);
  std::string blocks;
  for (auto i = 0; i < 10'000; ++i)
    blocks += "for i in 1..2 {";
  CHECK(error_of(blocks).find("more than 64 levels") != std::string::npos);
}

TEST_CASE("every tree reads back from its text") {
  CHECK(rc::check([] {
    script written;
    for (auto i = *rc::gen::inRange(0, 4); i > 0; --i)
      written.push_back(any_statement(2));
    auto text = to_text(written);
    auto read = parse(text);
    if (read.error)
      RC_FAIL(text + read.error->message);
    if (!(read.statements == written))
      RC_FAIL(text + to_text(read.statements));
  }));
}

TEST_CASE("no bytes crash the parser, and what it takes it takes again from its own text") {
  std::mt19937 random{7};
  const std::vector<std::string> words{"ps",    "ask",   "@c",     "$1",  "|",     "where",  "==",   "x",     "(",
                                       ")",     "{",     "}",      "for", "i",     "in",     "1..3", "every", "10ms",
                                       "await", "ready", "expect", "as",  "\"a${", "}\"",    "'",    "\"",    "\\",
                                       "\n",    ";",     "#",      "a=",  "[1,",   "]",      "not",  "and",   "or",
                                       "0.5",   "-",     ",",      "top", "sort",  "select", "\xff", "\xc3"};
  auto good = 0;
  for (auto round = 0; round < 20'000; ++round) {
    std::string text;
    for (auto n = random() % 12; n > 0; --n)
      if (random() % 8 == 0)
        text += static_cast<char>(random());
      else
        text += words[random() % words.size()] + (random() % 4 == 0 ? "" : " ");
    auto parsed = parse(text);
    if (parsed.error) {
      CHECK_FALSE(parsed.error->message.empty());
      CHECK(parsed.error->at.line >= 1);
      CHECK(parsed.error->at.column >= 1);
      continue;
    }
    ++good;
    auto again = parse(to_text(parsed.statements));
    INFO(text);
    INFO(to_text(parsed.statements));
    REQUIRE_MESSAGE(!again.error, again.error->message);
    CHECK(again.statements == parsed.statements);
  }
  CHECK(good > 100);
}

TEST_CASE("lines belong together while a bracket is open or a | waits") {
  line_collector lines;
  auto wants_more = [&](std::string_view line) {
    lines.add(line);
    return lines.wants_more();
  };
  CHECK_FALSE(wants_more("ps"));
  CHECK(wants_more("for i in 1..3 { # begin {"));
  CHECK(wants_more("  ask @c \"}\" '}'"));
  CHECK_FALSE(wants_more("}"));
  CHECK(wants_more("ps |"));
  CHECK_FALSE(wants_more("count"));
  CHECK(wants_more("ps | # and"));
  CHECK_FALSE(wants_more("count"));
  CHECK(wants_more("ask c \\"));
  CHECK_FALSE(wants_more("more"));
  CHECK(wants_more("ask c {\"a\":"));
  CHECK_FALSE(wants_more("1}"));
}
