#pragma once

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace astra::test {

/// A strict reader of Prometheus' text exposition format 0.0.4: more is refused than Prometheus itself refuses (the
/// lints of `promtool check metrics` and the order of families are rules here).
struct prometheus_text {
  struct sample {
    std::string name;
    std::map<std::string, std::string> labels;
    std::string value;
  };
  struct family {
    std::string type;
    std::string help;
    std::vector<sample> samples;
  };

  std::map<std::string, family> families;
  /// "line 3: ..."; empty: the text is good.
  std::vector<std::string> problems;

  explicit prometheus_text(std::string_view text) {
    if (!text.empty() && text.back() != '\n')
      problems.push_back("the last line has no end");
    std::size_t number = 0;
    while (!text.empty()) {
      auto line = text.substr(0, text.find('\n'));
      text.remove_prefix(std::min(text.size(), line.size() + 1));
      ++number;
      auto before = problems.size();
      if (line.starts_with("# HELP "))
        read_help(line.substr(7));
      else if (line.starts_with("# TYPE "))
        read_type(line.substr(7));
      else
        read_sample(line);
      for (auto i = before; i < problems.size(); ++i)
        problems[i] = "line " + std::to_string(number) + ": " + problems[i] + ": " + std::string{line};
    }
    close();
  }

  /// Of the one sample of this name (and these labels); empty when there is none.
  std::string value(const std::string& name, const std::map<std::string, std::string>& labels = {}) const {
    for (auto& [family_name, family] : families)
      for (auto& one : family.samples)
        if (one.name == name && one.labels == labels)
          return one.value;
    return {};
  }

  std::string all_problems() const {
    std::string result;
    for (auto& problem : problems)
      result += problem + "\n";
    return result;
  }

private:
  static bool is_name(std::string_view text, bool colon) {
    if (text.empty() || (text.front() >= '0' && text.front() <= '9'))
      return false;
    for (auto c : text)
      if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_'
            || (colon && c == ':')))
        return false;
    return true;
  }

  void read_help(std::string_view rest) {
    close();
    open_ = std::string{rest.substr(0, rest.find(' '))};
    if (!is_name(open_, true))
      problems.push_back("not a name");
    if (!last_.empty() && open_ <= last_)
      problems.push_back("families must be in order and each once");
    auto help = rest.size() > open_.size() ? rest.substr(open_.size() + 1) : std::string_view{};
    if (help.empty())
      problems.push_back("no help text");
    for (std::size_t i = 0; i < help.size(); ++i)
      if (help[i] == '\\' && (++i == help.size() || (help[i] != '\\' && help[i] != 'n')))
        problems.push_back("a broken escape");
    families[open_].help = help;
  }

  void read_type(std::string_view rest) {
    auto name = rest.substr(0, rest.find(' '));
    auto type = std::string{rest.substr(std::min(rest.size(), name.size() + 1))};
    if (name != open_ || !families[open_].samples.empty() || !families[open_].type.empty())
      problems.push_back("TYPE must follow HELP of the same family, once");
    if (type != "counter" && type != "gauge" && type != "histogram")
      problems.push_back("not a type");
    auto total = name.ends_with("_total");
    if (type == "counter" && !total)
      problems.push_back("a counter must end in _total");
    if (type != "counter" && total)
      problems.push_back("only a counter may end in _total");
    if (type != "histogram" && (name.ends_with("_bucket") || name.ends_with("_sum") || name.ends_with("_count")))
      problems.push_back("a name that only a histogram's sample may have");
    families[open_].type = type;
  }

  void read_sample(std::string_view line) {
    sample one;
    auto end = line.find_first_of("{ ");
    one.name = line.substr(0, end);
    if (!is_name(one.name, true) || end == std::string_view::npos) {
      problems.push_back("not a sample");
      return;
    }
    line.remove_prefix(end);
    if (line.front() == '{') {
      line.remove_prefix(1);
      while (!line.empty() && line.front() != '}') {
        auto name = line.substr(0, line.find('='));
        line.remove_prefix(std::min(line.size(), name.size() + 1));
        if (!is_name(name, false) || name.starts_with("__") || line.empty() || line.front() != '"') {
          problems.push_back("not a label");
          return;
        }
        std::string value;
        std::size_t i = 1;
        for (; i < line.size() && line[i] != '"'; ++i) {
          if (line[i] != '\\') {
            value += line[i];
            continue;
          }
          ++i;
          if (i == line.size() || (line[i] != '\\' && line[i] != '"' && line[i] != 'n'))
            problems.push_back("a broken escape");
          else
            value += line[i] == 'n' ? '\n' : line[i];
        }
        if (i >= line.size()) {
          problems.push_back("a label without end");
          return;
        }
        line.remove_prefix(i + 1);
        if (!one.labels.emplace(std::string{name}, value).second)
          problems.push_back("a label twice");
        if (!line.empty() && line.front() == ',')
          line.remove_prefix(1);
        else if (line.empty() || line.front() != '}')
          problems.push_back("labels need commas");
      }
      line.remove_prefix(std::min<std::size_t>(line.size(), 1));
    }
    if (line.empty() || line.front() != ' ' || line.find(' ', 1) != std::string_view::npos) {
      problems.push_back("one value and no timestamp must follow");
      return;
    }
    one.value = line.substr(1);
    auto special = one.value == "+Inf" || one.value == "-Inf" || one.value == "NaN";
    if (!special && one.value.find_first_not_of("0123456789.eE+-") != std::string::npos)
      problems.push_back("not a number");
    auto& family = families[open_];
    auto part = one.name.starts_with(open_) ? one.name.substr(open_.size()) : "?";
    auto of_histogram = part == "_bucket" || part == "_sum" || part == "_count";
    if (family.type == "histogram" ? !of_histogram : !part.empty())
      problems.push_back("not of the family that is open");
    if (!seen_.insert({one.name, one.labels}).second)
      problems.push_back("a sample twice");
    family.samples.push_back(std::move(one));
  }

  /// What only the whole family shows.
  void close() {
    if (open_.empty())
      return;
    auto& family = families[open_];
    if (family.type.empty() || family.samples.empty())
      problems.push_back(open_ + ": a family without type or samples");
    struct series {
      double last = -1.0;
      std::string last_bound;
      std::string count;
      bool has_sum = false;
    };
    std::map<std::map<std::string, std::string>, series> all;
    for (auto one : family.samples) {
      if (family.type != "histogram")
        break;
      auto bound = one.labels["le"];
      one.labels.erase("le");
      auto& row = all[one.labels];
      if (one.name.ends_with("_sum")) {
        row.has_sum = true;
      } else if (one.name.ends_with("_count")) {
        row.count = one.value;
      } else {
        if (std::stod(one.value) < row.last)
          problems.push_back(open_ + ": buckets must be cumulative");
        row.last = std::stod(one.value);
        row.last_bound = bound;
        if (bound == "+Inf")
          row.count = row.count.empty() ? one.value : row.count;
      }
    }
    for (auto& [labels, row] : all)
      if (row.last_bound != "+Inf" || !row.has_sum || row.count.empty() || std::stod(row.count) != row.last)
        problems.push_back(open_ + ": a histogram needs +Inf, _sum and an equal _count");
    last_ = open_;
    open_.clear();
  }

  std::string open_;
  std::string last_;
  std::set<std::pair<std::string, std::map<std::string, std::string>>> seen_;
};

} // namespace astra::test
