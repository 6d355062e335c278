#pragma once

#include <span>
#include <string_view>

namespace astra {

struct cheat_line {
  /// Whom it is for: "operator", "developer", "tester".
  std::string_view who;
  std::string_view command;
  std::string_view what;
};

std::span<const cheat_line> cheat_lines();

} // namespace astra
