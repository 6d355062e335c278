#pragma once

#include "messages/http_exchange.hpp"

#include <caf/timespan.hpp>

#include <cstdint>
#include <string>
#include <string_view>

// Answers as every part of the gateway gives them.

namespace astra {

/// @param body JSON
http_response reply(std::uint16_t status, std::string body);

/// @param code of the error, see docs/http.md
http_response refusal(std::uint16_t status, std::string_view code, std::string_view message);

/// HTTP status of a refusal by another process, by the name of its errc.
std::uint16_t status_of_refusal(const std::string& code);

/// Whole seconds, at least one: finer ones do not exist in HTTP.
http_response with_retry_after(http_response response, caf::timespan wait);

} // namespace astra
