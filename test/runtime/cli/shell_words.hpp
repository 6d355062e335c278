#pragma once

#include "test/runtime/cli/command_fixture.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace astra::test {

/// The words of a line as a shell would take it apart, with quotes.
inline std::vector<std::string> shell_words(std::string_view line) {
  std::vector<std::string> words;
  std::string word;
  auto begun = false;
  char quote = 0;
  for (auto c : line) {
    if (quote != 0) {
      if (c == quote)
        quote = 0;
      else
        word += c;
    } else if (c == '\'' || c == '"') {
      quote = c;
      begun = true;
    } else if (c == ' ') {
      if (begun)
        words.push_back(std::exchange(word, {}));
      begun = false;
    } else {
      word += c;
      begun = true;
    }
  }
  if (begun)
    words.push_back(word);
  return words;
}

/// Whether "astra ..." would be taken as a command; nothing of it is done.
inline command_result check_line(command_fixture& fixture, std::string_view line) {
  auto words = shell_words(line);
  std::vector<const char*> pointers;
  for (const auto& word : words)
    pointers.push_back(word.c_str());
  std::istringstream in;
  std::ostringstream out, err;
  fixture.environment.in = &in;
  fixture.environment.out = &out;
  fixture.environment.err = &err;
  auto code = check_command_line(static_cast<int>(pointers.size()), pointers.data(), fixture.environment);
  return {code, out.str(), err.str()};
}

} // namespace astra::test
