#include "config/options.hpp"

#include <algorithm>

namespace astra {

std::string to_string(process_role role) {
  switch (role) {
    case process_role::node: return "node";
    case process_role::resource: return "resource";
    case process_role::scheduler: return "scheduler";
    case process_role::gateway: return "gateway";
  }
  return "invalid";
}

bool process_options::has(process_role role) const {
  return std::find(roles.begin(), roles.end(), role) != roles.end();
}

} // namespace astra
