#include "runtime/shell/cluster_shape.hpp"
#include "runtime/shell/parse.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

using namespace astra::shell;

// Scripts that people could have meant, changed a little: whatever comes out is read to a tree that is written and read
// again the same, or refused with a place within it.

namespace {

/// Every script of the repository, and what they do not use of the grammar.
std::vector<std::string> seeds() {
  std::vector<std::string> result{
      "ps | where state != ready and restarts > 3 | sort -restarts, app | top 3 | select app, index, node, reason\n",
      "spawn counter init=40 as c; ask @c 2 as answer\nexpect $answer == 42 and not $1.app =~ \"c*\"\n",
      "for i in -3..$n { every 100ms 10 times { ps | count } }\nawait @c ready 10s\n",
      "ask c {\"a\": [1, 2.5e-3, {\"b\": \"\\u00e9\\n\"}], \"c\": null}\nask c 'raw text' \"quoted ${c.x} \\$5\"\n",
      "ps | where memory_bytes >= 8GiB or (age_ms > 10s and not node in (node-1, \"node 2\")) | limit 7\n",
      "app apply \\\n  x.toml # a comment\n$c.replicas.0 | count as n\n",
      "cluster nodes=5 resources=2 cores=0.5 memory=256MiB\nfault partition node-1,node-2 <-> resource-1 5s\n",
      "expect @c.ready == 3 && $2 != true || ! $x.y in (1, 2)\n:mode ndjson\n:record check.astra\n"};
  for (auto& entry : std::filesystem::recursive_directory_iterator{ASTRA_SOURCE_DIR "/config"})
    if (entry.path().extension() == ".astra") {
      std::ifstream in{entry.path()};
      std::stringstream text;
      text << in.rdbuf();
      result.push_back(text.str());
    }
  // Their order is the directory's.
  std::sort(result.begin(), result.end());
  return result;
}

/// Pieces that mean something to the grammar.
constexpr std::string_view tokens[] = {"|",
                                       "||",
                                       "{",
                                       "}",
                                       "(",
                                       ")",
                                       "[",
                                       "]",
                                       "\"",
                                       "'",
                                       "$",
                                       "${",
                                       "@",
                                       "..",
                                       "=",
                                       "==",
                                       "!=",
                                       "<=",
                                       "=~",
                                       "\n",
                                       ";",
                                       "#",
                                       "\\",
                                       "\\\n",
                                       "as",
                                       " as ",
                                       "for ",
                                       "in",
                                       "every",
                                       "times",
                                       "await ",
                                       "where",
                                       "sort -",
                                       "top",
                                       "select",
                                       "count",
                                       "limit",
                                       "10s",
                                       "-1",
                                       "1e999",
                                       "99999999999999999999",
                                       "\xff",
                                       "\xe6\xa8\xa1",
                                       "\0x",
                                       "\r\n",
                                       "\t",
                                       "not ",
                                       "and",
                                       "null",
                                       "{\"a\":",
                                       "\\u12",
                                       ",",
                                       "$1.0",
                                       "expect ",
                                       "cluster nodes="};

class mutator {
public:
  explicit mutator(std::uint64_t seed, const std::vector<std::string>& corpus) : random_(seed), corpus_(corpus) {}

  std::string next() {
    auto text = pick_text();
    for (auto rounds = 1 + below(4); rounds > 0; --rounds)
      change(text);
    return text;
  }

private:
  std::size_t below(std::size_t n) { return n == 0 ? 0 : static_cast<std::size_t>(random_() % n); }
  std::string pick_text() { return corpus_[below(corpus_.size())]; }
  std::string pick_token() { return std::string{tokens[below(std::size(tokens))]}; }

  void change(std::string& text) {
    auto at = below(text.size() + 1);
    auto length = std::min(below(12) + 1, text.size() - at);
    switch (below(8)) {
    case 0:
      text.erase(at, length);
      break;
    case 1:
      text.insert(at, pick_token());
      break;
    case 2:
      text.replace(at, length, pick_token());
      break;
    case 3:
      if (at < text.size())
        text[at] = static_cast<char>(random_());
      break;
    case 4:
      text.resize(at);
      break;
    case 5:
      text.insert(below(text.size() + 1), text.substr(at, length));
      break;
    case 6: {
      auto other = pick_text();
      text = text.substr(0, at) + other.substr(below(other.size() + 1));
      break;
    }
    default:
      // Nesting.
      text.insert(at, std::string(1 + below(100), "({[!"[below(4)]));
      break;
    }
  }

  std::mt19937_64 random_;
  const std::vector<std::string>& corpus_;
};

/// Lines of a text and the characters of each, as a place counts them.
bool is_within(place at, std::string_view text) {
  auto lines = 1 + std::count(text.begin(), text.end(), '\n');
  if (at.line < 1 || at.line > lines || at.column < 1)
    return false;
  std::size_t begin = 0;
  for (auto line = 1; line < at.line; ++line)
    begin = text.find('\n', begin) + 1;
  auto end = std::min(text.find('\n', begin), text.size());
  // One behind the last character is where something is missing.
  return static_cast<std::size_t>(at.column) <= end - begin + 2;
}

} // namespace

TEST_CASE("scripts that were changed at random are read or refused with a place, and what is read survives writing") {
  auto corpus = seeds();
  REQUIRE(corpus.size() > 8);
  std::size_t read = 0, refused = 0;
  for (std::uint64_t seed = 1; seed <= 40'000; ++seed) {
    mutator source{seed, corpus};
    auto text = source.next();
    auto parsed = parse(text);
    INFO("seed ", seed, ": ", text);
    if (parsed.error) {
      ++refused;
      REQUIRE(!parsed.error->message.empty());
      REQUIRE_MESSAGE(is_within(parsed.error->at, text), parsed.error->at.line, ":", parsed.error->at.column);
    } else {
      ++read;
      auto again = parse(to_text(parsed.statements));
      INFO("written: ", to_text(parsed.statements));
      REQUIRE_MESSAGE(!again.error, again.error->message);
      REQUIRE(again.statements == parsed.statements);
      for (auto& one : parsed.statements)
        REQUIRE(is_within(one.at, text));
    }
    auto shaped = parse_shaped(text);
    REQUIRE((!parsed.error || shaped.error));
    if (shaped.error)
      REQUIRE(is_within(shaped.error->at, text));
    // Line by line, as it is typed: as many lines are wanted as belong together, and no crash.
    line_collector lines;
    for (std::size_t begin = 0; begin < text.size();) {
      auto end = std::min(text.find('\n', begin), text.size());
      lines.add(std::string_view{text}.substr(begin, end - begin));
      begin = end + 1;
    }
  }
  // Both are met often, or the mutations say nothing.
  CHECK(read > 4000);
  CHECK(refused > 4000);
}
