#pragma once

#include <string>

// Resource groups, by name.

namespace astra {

/// The group of a Resource whose file names none.  Messages leave it out.
inline constexpr const char* main_group = "main";

inline std::string group_from_wire(const std::string& told) {
  return told.empty() ? main_group : told;
}

inline std::string group_on_wire(const std::string& name) {
  return name == main_group ? std::string{} : name;
}

} // namespace astra
