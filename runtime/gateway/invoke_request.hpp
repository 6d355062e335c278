#pragma once

#include "messages/http_exchange.hpp"
#include "messages/route.hpp"

#include <string>
#include <variant>

namespace astra {

/// POST /v1/apps/{app}/invoke: everything that the client says of its request, its id included.
/// @returns what is wrong, with the cure, when something is.
std::variant<route_request, std::string> read_invoke(const http_request& request);

} // namespace astra
