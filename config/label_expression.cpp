#include "config/label_expression.hpp"

#include "config/naming.hpp"

#include "messages/wire/app.pb.h"

#include <algorithm>
#include <cstddef>
#include <optional>
#include <utility>

#include <fmt/format.h>

namespace astra {

namespace {

constexpr std::size_t longest_text = 4096;
constexpr int values_max = 64;

bool is_word(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9')
         || std::string_view{"._-/:@+"}.find(c) != std::string_view::npos;
}

class parser {
public:
  parser(std::string_view text, pb::LabelExpression& out) : text_(text), out_(out) {}

  std::string run() {
    out_.Clear();
    if (text_.size() > longest_text)
      return fmt::format("has {} characters; use at most {}", text_.size(), longest_text);
    skip_blanks();
    auto key = word();
    if (key.empty())
      return wrong("a label is missing", "begin with its key, such as zone == a");
    out_.set_key(key);
    skip_blanks();
    read_operator();
    skip_blanks();
    if (problem_.empty() && at_ < text_.size())
      problem_ = wrong("this is too much", "write each condition as a text of its own in the list");
    return problem_.empty() ? problem_of(out_) : problem_;
  }

private:
  void read_operator() {
    if (take("==")) {
      out_.set_operation(pb::LABEL_EQUALS);
      read_value();
    } else if (take("!=")) {
      out_.set_operation(pb::LABEL_NOT_EQUALS);
      read_value();
    } else if (at_ < text_.size() && text_[at_] == '=') {
      problem_ = wrong("'=' compares nothing", "write ==");
    } else {
      read_word_operator();
    }
  }

  void read_word_operator() {
    auto start = at_;
    auto name = word();
    auto negated = name == "not";
    if (negated) {
      skip_blanks();
      name = word();
    }
    if (name == "exists") {
      out_.set_operation(negated ? pb::LABEL_NOT_EXISTS : pb::LABEL_EXISTS);
    } else if (name == "in") {
      out_.set_operation(negated ? pb::LABEL_NOT_IN : pb::LABEL_IN);
      read_list();
    } else {
      at_ = start;
      problem_ = wrong(name.empty() && at_ == text_.size() ? "an operator is missing" : "this is no operator",
                       "there are ==, !=, in, not in, exists and not exists");
    }
  }

  void read_list() {
    skip_blanks();
    if (!take("(")) {
      problem_ = wrong("a list is missing", "write the values in parentheses, such as zone in (a, b)");
      return;
    }
    do {
      read_value();
      skip_blanks();
    } while (problem_.empty() && take(","));
    if (problem_.empty() && !take(")"))
      problem_ = wrong("the list does not end", "put a comma between values and ')' behind the last one");
  }

  void read_value() {
    skip_blanks();
    auto quoted = at_ < text_.size() && (text_[at_] == '"' || text_[at_] == '\'');
    auto value = quoted ? quoted_text() : word();
    if (!problem_.empty())
      return;
    if (!quoted && value.empty())
      problem_ = wrong("a value is missing", "write a word, or any text in quotes");
    else
      out_.add_values(value);
  }

  std::string quoted_text() {
    auto start = at_;
    auto mark = text_[at_++];
    std::string result;
    for (; at_ < text_.size() && text_[at_] != mark; ++at_) {
      if (text_[at_] == '\\' && at_ + 1 < text_.size())
        ++at_;
      result += text_[at_];
    }
    if (at_ == text_.size()) {
      at_ = start;
      problem_ = wrong("the text does not end", "close it with the quotation mark that it begins with");
      return result;
    }
    ++at_;
    return result;
  }

  std::string word() {
    auto start = at_;
    while (at_ < text_.size() && is_word(text_[at_]))
      ++at_;
    return std::string{text_.substr(start, at_ - start)};
  }

  bool take(std::string_view what) {
    if (!text_.substr(at_).starts_with(what))
      return false;
    at_ += what.size();
    return true;
  }

  void skip_blanks() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\t'))
      ++at_;
  }

  std::string wrong(std::string_view what, std::string_view cure) const {
    return fmt::format("\"{}\", character {}: {}; {}", text_, at_ + 1, what, cure);
  }

  std::string_view text_;
  pb::LabelExpression& out_;
  std::size_t at_ = 0;
  std::string problem_;
};

std::string value_text(const std::string& value) {
  if (!value.empty() && std::all_of(value.begin(), value.end(), is_word))
    return value;
  std::string result = "\"";
  for (auto c : value) {
    if (c == '"' || c == '\\')
      result += '\\';
    result += c;
  }
  return result + '"';
}

} // namespace

std::string parse_label_expression(std::string_view text, pb::LabelExpression& out) {
  return parser{text, out}.run();
}

std::string to_text(const pb::LabelExpression& expression) {
  auto list = [&] {
    std::string result;
    for (auto& value : expression.values())
      result += (result.empty() ? "" : ", ") + value_text(value);
    return "(" + result + ")";
  };
  auto first = [&] { return expression.values().empty() ? std::string{"\"\""} : value_text(expression.values(0)); };
  switch (expression.operation()) {
  case pb::LABEL_EQUALS:
    return expression.key() + " == " + first();
  case pb::LABEL_NOT_EQUALS:
    return expression.key() + " != " + first();
  case pb::LABEL_IN:
    return expression.key() + " in " + list();
  case pb::LABEL_NOT_IN:
    return expression.key() + " not in " + list();
  case pb::LABEL_EXISTS:
    return expression.key() + " exists";
  case pb::LABEL_NOT_EXISTS:
    return expression.key() + " not exists";
  default:
    return expression.key() + " ?";
  }
}

std::string problem_of(const pb::LabelExpression& expression) {
  if (auto problem = label_problem(expression.key(), {}); !problem.empty())
    return problem;
  for (auto& value : expression.values())
    if (auto problem = label_problem(expression.key(), value); !problem.empty())
      return problem;
  auto count = expression.values_size();
  switch (expression.operation()) {
  case pb::LABEL_EQUALS:
  case pb::LABEL_NOT_EQUALS:
    return count == 1 ? "" : fmt::format("== and != have one value, not {}", count);
  case pb::LABEL_IN:
  case pb::LABEL_NOT_IN:
    return count >= 1 && count <= values_max
               ? ""
               : fmt::format("in and not in have between 1 and {} values, not {}", values_max, count);
  case pb::LABEL_EXISTS:
  case pb::LABEL_NOT_EXISTS:
    return count == 0 ? "" : "exists has no value";
  default:
    return "unknown operator; there are ==, !=, in, not in, exists and not exists";
  }
}

std::string parse_toleration(std::string_view text, pb::Toleration& out) {
  out.Clear();
  if (auto problem = taint_problem(text); !problem.empty())
    return problem;
  auto [key, value] = split_taint(text);
  out.set_key(std::move(key));
  if (text.find('=') != std::string_view::npos)
    out.set_value(std::move(value));
  return {};
}

std::string to_text(const pb::Toleration& toleration) {
  return toleration.key() + (toleration.has_value() ? "=" + toleration.value() : "");
}

} // namespace astra
