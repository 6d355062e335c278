#include "test/config/config_files.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>

using namespace astra;
using namespace astra::test;

namespace {

std::string example(const char* name) {
  return read_text(std::filesystem::path{ASTRA_SOURCE_DIR} / "config" / "examples" / name);
}

struct key_place {
  /// Table it stands in; empty: the top.
  std::string table;
  std::string key;
  std::size_t offset;
};

/// The keys "key = value" of a file, with the tables they stand in.
std::vector<key_place> keys_of(const std::string& text) {
  std::vector<key_place> result;
  std::string table;
  for (std::size_t begin = 0; begin < text.size();) {
    auto end = std::min(text.find('\n', begin), text.size());
    auto line = text.substr(begin, end - begin);
    if (line.starts_with('['))
      table = line.substr(1, line.find(']') - 1);
    else if (auto equals = line.find(" = "); equals != std::string::npos && !line.starts_with('#'))
      result.push_back({table, line.substr(0, equals), begin});
    begin = end + 1;
  }
  return result;
}

/// Every key one edit away from `key`, of four kinds, with letters drawn from `random`.
std::vector<std::string> single_edits(const std::string& key, std::mt19937& random) {
  constexpr std::string_view letters = "abcdefghijklmnopqrstuvwxyz_";
  auto letter = [&] { return letters[random() % letters.size()]; };
  std::vector<std::string> result;
  for (std::size_t i = 0; i < key.size(); ++i) {
    auto left_out = key;
    left_out.erase(i, 1);
    result.push_back(left_out);
    auto doubled = key;
    doubled.insert(i, 1, letter());
    result.push_back(doubled);
    auto replaced = key;
    replaced[i] = letter();
    result.push_back(replaced);
    if (i > 0) {
      auto swapped = key;
      std::swap(swapped[i - 1], swapped[i]);
      result.push_back(swapped);
    }
  }
  return result;
}

} // namespace

TEST_CASE("at least 95 % of single-edit key typos get the right suggestion, and all are refused") {
  auto text = example("all-in-one.toml");
  // Outside of its folder the example finds no app files.
  text.replace(text.find("apps = ["), text.find(']', text.find("apps = [")) - text.find("apps = ["), "apps = [");
  REQUIRE(show(load_text(text).problems) == "");
  auto keys = keys_of(text);
  CHECK(keys.size() > 50);
  std::set<std::string> known;
  for (auto& place : keys)
    known.insert(place.table + "." + place.key);
  std::mt19937 random{7};
  int typos = 0;
  int right = 0;
  for (auto& [table, key, offset] : keys) {
    for (auto& typo : single_edits(key, random)) {
      if (typo.empty() || known.contains(table + "." + typo) || typo == key)
        continue;
      auto broken = text;
      broken.replace(offset, key.size(), typo);
      auto problems = load_text(broken).problems;
      CAPTURE(typo);
      REQUIRE_FALSE(problems.empty());
      ++typos;
      right += problems[0].message == "unknown key; did you mean '" + key + "'?";
    }
  }
  MESSAGE(right << " of " << typos << " typos got the right suggestion");
  CHECK(typos > 1000);
  CHECK(right * 100 >= typos * 95);
}

TEST_CASE("a file cut at any byte is refused, or says nothing that the whole file does not say") {
  for (auto name : {"node.toml", "gateway.toml"}) {
    auto text = example(name);
    config_files files;
    auto whole = load_process_config(files.write("node.toml", text), no_environment);
    REQUIRE(show(whole.problems) == "");
    std::map<std::string, effective_value> full;
    for (auto& value : whole.values)
      full[value.key] = value;
    int accepted = 0;
    for (std::size_t size = 0; size < text.size(); ++size) {
      auto cut = load_process_config(files.write("node.toml", text.substr(0, size)), no_environment);
      if (!cut.problems.empty())
        continue;
      ++accepted;
      for (auto& value : cut.values)
        if (value.origin != "default") {
          CAPTURE(text.substr(0, size));
          CHECK(value.origin == full[value.key].origin);
          // The last number of the cut file may have lost digits, which no reader can see.
          auto digits = value.value.find_first_not_of("0123456789.") == std::string::npos;
          if (digits)
            CHECK(full[value.key].value.starts_with(value.value));
          else
            CHECK(value.value == full[value.key].value);
        }
    }
    CHECK(accepted > 100);
  }
}

TEST_CASE("4000 random mutations of files neither crash nor leave a problem without a place") {
  std::mt19937 random{11};
  config_files files;
  auto process = example("all-in-one.toml");
  auto app = example("apps/web.toml");
  constexpr std::string_view bytes = "[]{}=\"'.,#\n 0123456789abcxyz$\\-_\xff";
  auto mutate = [&](std::string text) {
    for (auto edits = 1 + random() % 3; edits > 0; --edits) {
      auto at = random() % text.size();
      switch (random() % 4) {
      case 0:
        text.erase(at, 1 + random() % 8);
        break;
      case 1:
        text.insert(at, 1, bytes[random() % bytes.size()]);
        break;
      case 2:
        text[at] = bytes[random() % bytes.size()];
        break;
      default:
        text.insert(at, text.substr(random() % text.size(), random() % 40));
      }
    }
    return text;
  };
  auto check = [](const std::vector<config_problem>& problems) {
    for (auto& problem : problems) {
      CHECK(problem.line > 0);
      CHECK(problem.column > 0);
      CHECK_FALSE(problem.message.empty());
    }
  };
  for (int i = 0; i < 2'000; ++i) {
    check(load_process_config(files.write("node.toml", mutate(process)), no_environment).problems);
    auto text = mutate(app);
    auto result = parse_app_config(text, "app.toml");
    check(result.problems);
    CHECK(result.problems.empty() == (result.spec != nullptr));
  }
}
