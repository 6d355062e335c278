#pragma once

#include "config/load.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace astra {

struct expansion {
  std::string text;
  /// Names of the variables that were put in, in order.
  std::vector<std::string> variables;
  /// What is wrong with a reference, and the cure; empty: all is well.
  std::string problem;
};

/// Puts in environment variables: ${NAME} (unset is an error), ${NAME:-default} (when unset or empty), and $$ for one
/// '$'.  A '$' before anything else stands for itself, so that a shell command keeps its $1.  Without an
/// `environment` every reference is an error.
expansion expand(std::string_view text, const environment_lookup& environment);

} // namespace astra
