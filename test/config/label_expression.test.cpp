#include "config/label_expression.hpp"

#include "messages/wire/app.pb.h"

#include <doctest/doctest.h>
#include <rapidcheck.h>

using namespace astra;

namespace {

/// As it is written back, or what is wrong.
std::string read(const std::string& text) {
  pb::LabelExpression expression;
  auto problem = parse_label_expression(text, expression);
  return problem.empty() ? to_text(expression) : problem;
}

} // namespace

TEST_CASE("a label expression compares, looks into a list, or asks for the label") {
  pb::LabelExpression expression;
  CHECK(parse_label_expression("zone in (a, \"b c\",'d')", expression).empty());
  CHECK(expression.key() == "zone");
  CHECK(expression.operation() == pb::LABEL_IN);
  CHECK(std::vector<std::string>{expression.values().begin(), expression.values().end()}
        == std::vector<std::string>{"a", "b c", "d"});
  CHECK(read("disk!=hdd") == "disk != hdd");
  CHECK(read("  disk == \"\" ") == "disk == \"\"");
  CHECK(read("gpu exists") == "gpu exists");
  CHECK(read("gpu not  exists") == "gpu not exists");
  CHECK(read("zone not in(a)") == "zone not in (a)");
  CHECK(read("not in (in, not)") == "not in (in, not)");
  CHECK(read(R"(a == "say \"hi\" \\ 'x'")") == R"(a == "say \"hi\" \\ 'x'")");
}

TEST_CASE("what is wrong with a label expression is said with its place and a cure") {
  CHECK(read("zone = a") == "\"zone = a\", character 6: '=' compares nothing; write ==");
  CHECK(read("zone")
        == "\"zone\", character 5: an operator is missing; there are ==, !=, in, not in, exists and not exists");
  CHECK(read("zone like a").find("character 6: this is no operator") != std::string::npos);
  CHECK(read("zone in a").find("character 9: a list is missing; write the values in parentheses") != std::string::npos);
  CHECK(read("zone in (a b)").find("character 12: the list does not end") != std::string::npos);
  CHECK(read("zone in (a").find("the list does not end") != std::string::npos);
  CHECK(read("zone in ()").find("character 10: a value is missing") != std::string::npos);
  CHECK(read("zone == \"a").find("character 9: the text does not end") != std::string::npos);
  CHECK(read("zone == a, disk == b").find("character 10: this is too much") != std::string::npos);
  CHECK(read("").find("a label is missing") != std::string::npos);
  CHECK(read("-zone == a").find("must start with a letter or a digit") != std::string::npos);
  CHECK(read("zone == " + std::string(300, 'x')).find("use at most 255") != std::string::npos);
  CHECK(read(std::string(5000, 'x')).find("has 5000 characters") != std::string::npos);
}

TEST_CASE("an expression that is written is read back as it was") {
  CHECK(rc::check([] {
    pb::LabelExpression expression;
    expression.set_key("k" + std::to_string(*rc::gen::inRange(0, 100)));
    auto operation = static_cast<pb::LabelOperator>(*rc::gen::inRange(1, 7));
    expression.set_operation(operation);
    auto values = operation >= pb::LABEL_EXISTS ? 0 : operation >= pb::LABEL_IN ? *rc::gen::inRange(1, 5) : 1;
    static const std::vector<std::string> letters{"a",  "b", " ", ",", "(", ")", "\"", "'",
                                                  "\\", "=", "!", ".", "-", "/", "é"};
    for (int i = 0; i < values; ++i) {
      std::string value;
      for (auto place : *rc::gen::container<std::vector<std::size_t>>(rc::gen::inRange<std::size_t>(0, letters.size())))
        value += letters[place];
      expression.add_values(value.size() > 255 ? "long" : value);
    }
    pb::LabelExpression back;
    RC_ASSERT(parse_label_expression(to_text(expression), back) == "");
    RC_ASSERT(back.SerializeAsString() == expression.SerializeAsString());
  }));
}

TEST_CASE("any text is an expression that can be written back, or has a problem") {
  CHECK(rc::check([] {
    static const std::vector<std::string> pieces{
        "zone", "in", "not", "exists", "(",  ")", ",",    "==", "!=", "=",
        "\"",   "'",  "\\",  " ",      "\t", "a", "\xff", "!",  "<",  std::string(1, '\0')};
    std::string text;
    for (auto place : *rc::gen::container<std::vector<std::size_t>>(rc::gen::inRange<std::size_t>(0, pieces.size())))
      text += pieces[place];
    pb::LabelExpression expression;
    if (!parse_label_expression(text, expression).empty())
      return;
    pb::LabelExpression back;
    RC_ASSERT(parse_label_expression(to_text(expression), back) == "");
    RC_ASSERT(to_text(back) == to_text(expression));
  }));
}

TEST_CASE("a toleration is of a taint with any value, or with one") {
  pb::Toleration toleration;
  CHECK(parse_toleration("spot", toleration).empty());
  CHECK_FALSE(toleration.has_value());
  CHECK(to_text(toleration) == "spot");
  CHECK(parse_toleration("dedicated=a=b", toleration).empty());
  CHECK(toleration.key() == "dedicated");
  CHECK(toleration.value() == "a=b");
  CHECK(to_text(toleration) == "dedicated=a=b");
  CHECK(parse_toleration("spot=", toleration).empty());
  CHECK(toleration.has_value());
  CHECK(parse_toleration("a b", toleration)
        == "the taint's key \"a b\" holds a character that a name cannot have, at "
           "position 2; use letters, digits, '-', '_' and '.'");
}
