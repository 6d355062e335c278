#pragma once

#include "runtime/gateway/routes.hpp"

#include <span>
#include <string_view>

namespace astra {

struct route_row {
  std::string_view method;
  /// "*" stands for a name.
  std::string_view path;
  gateway_route what;
};

/// Every route of the gateway, for whoever compares them with what else there is.
std::span<const route_row> all_routes();

} // namespace astra
