#include "runtime/shell/completion.hpp"

#include <algorithm>
#include <array>
#include <utility>

namespace astra::shell {
namespace {

constexpr std::array stages{"where", "sort", "top", "limit", "select", "count"};
constexpr std::array node_verbs{"drain", "node"};
constexpr std::array app_verbs{"ask",    "send", "info", "kill",  "scale",  "watch", "ps",
                               "invoke", "app",  "why",  "await", "router", "task",  "claims"};
constexpr std::array file_verbs{"spawn", "model", "config"};

template <class List>
bool contains(const List& list, std::string_view word) {
  return std::find(list.begin(), list.end(), word) != list.end();
}

/// The statement that the line ends in, cut into words; the last one, which may be empty, is at the cursor.
struct last_statement {
  std::vector<std::string> words;
  /// What stands before the first pipe.
  std::vector<std::string> source;
  std::size_t begin_of_last = 0;
  bool behind_pipe = false;
  /// The cursor is inside quotes or a comment.
  bool closed_to_us = false;
};

last_statement cut(std::string_view line) {
  last_statement result;
  char quote = 0;
  std::string word;
  std::size_t begin = 0;
  auto end_word = [&](std::size_t next) {
    if (!word.empty())
      result.words.push_back(std::exchange(word, {}));
    begin = next;
  };
  for (std::size_t i = 0; i < line.size(); ++i) {
    auto c = line[i];
    if (quote != 0) {
      quote = c == quote ? 0 : quote;
      word += c;
    } else if (c == '"' || c == '\'') {
      quote = c;
      word += c;
    } else if (c == '#' && word.empty()) {
      result.closed_to_us = true;
      return result;
    } else if (c == ' ' || c == '\t') {
      end_word(i + 1);
    } else if (c == '|' || c == ';' || c == '{' || c == '}') {
      end_word(i + 1);
      if (c == '|' && !result.behind_pipe)
        result.source = result.words;
      result.words.clear();
      result.behind_pipe = c == '|';
      begin = i + 1;
    } else {
      word += c;
    }
  }
  result.closed_to_us = quote != 0;
  result.begin_of_last = begin;
  result.words.push_back(word);
  return result;
}

/// Whether a key of the rows can stand behind these words of a stage.
bool takes_key(const std::vector<std::string>& before) {
  static constexpr std::array joins{"where", "and", "or", "not", "&&", "||"};
  auto& stage = before.front();
  auto& last = before.back();
  if (stage == "where")
    return contains(joins, last);
  if (stage == "top")
    return before.size() == 2;
  return (stage == "sort" || stage == "select") && (before.size() == 1 || last.ends_with(','));
}

} // namespace

std::string completion::common() const {
  if (candidates.empty())
    return {};
  auto result = candidates.front();
  for (auto& one : candidates) {
    auto same = std::mismatch(result.begin(), result.end(), one.begin(), one.end()).first;
    result.erase(same, result.end());
  }
  // Never half a character.
  while (!result.empty() && result.size() < candidates.front().size()
         && (static_cast<unsigned char>(candidates.front()[result.size()]) & 0xc0) == 0x80)
    result.pop_back();
  return result;
}

completion complete(std::string_view line, const vocabulary& known) {
  auto at = cut(line);
  completion result;
  result.begin = at.begin_of_last;
  if (at.closed_to_us)
    return result;
  auto word = at.words.back();
  at.words.pop_back();
  auto add = [&](const std::vector<std::string>& words, const std::string& before = {}) {
    for (auto& one : words)
      if ((before + one).starts_with(word))
        result.candidates.push_back(before + one);
  };
  auto& before = at.words;
  if (word.starts_with('@')) {
    add(known.apps(), "@");
    add(known.variables(), "@");
  } else if (word.starts_with('$')) {
    add(known.variables(), "$");
  } else if (at.behind_pipe) {
    if (before.empty()) {
      add({stages.begin(), stages.end()});
    } else if (known.keys && takes_key(before)) {
      // Behind a comma without a blank another one begins.
      auto lists = before.front() == "sort" || before.front() == "select";
      if (auto comma = word.rfind(','); lists && comma != std::string::npos) {
        result.begin += comma + 1;
        word.erase(0, comma + 1);
      }
      add(known.keys(at.source), before.front() == "sort" && word.starts_with('-') ? "-" : "");
    }
  } else if (word.starts_with('-')) {
    add(known.options(before));
  } else {
    auto below = known.subcommands(before);
    add(below);
    if (!before.empty() && below.empty()) {
      auto& verb = before.front();
      auto after_option = before.back().starts_with("--");
      if (word.starts_with('.') || word.starts_with('/') || word.starts_with('~') || contains(file_verbs, verb)
          || before.back() == "apply" || before.back() == "plan" || before.back() == "--in")
        add(known.files(word));
      else if (verb == "why") {
        if (word.starts_with("node/"))
          add(known.nodes(), "node/");
        else if (word.starts_with("app/"))
          add(known.apps(), "app/");
        else
          add({"app/", "node/", "replica/"});
      } else if (contains(node_verbs, verb) || before.back() == "--node") {
        add(known.nodes());
      } else if ((verb == "ask" || verb == "send") && before.size() == 2) {
        if (known.messages)
          add(known.messages(before[1]));
      } else if ((verb == "ask" || verb == "send") && before.size() > 2) {
        if (known.fields)
          add(known.fields(before[1], before[2]));
      } else if (contains(app_verbs, verb) && !after_option && before.size() <= 2) {
        add(known.apps());
      }
    }
  }
  std::sort(result.candidates.begin(), result.candidates.end());
  result.candidates.erase(std::unique(result.candidates.begin(), result.candidates.end()), result.candidates.end());
  return result;
}

} // namespace astra::shell
