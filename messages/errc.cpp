#include "messages/errc.hpp"

#include "messages/type_ids.hpp"

#include <caf/exit_reason.hpp>
#include <caf/message.hpp>
#include <caf/sec.hpp>

#include <array>
#include <cstddef>
#include <iterator>
#include <string_view>

namespace astra {
namespace {

constexpr std::string_view names[] = {
    "none",       "unknown_node", "unknown_app", "unknown_name",    "unreachable",      "timed_out",
    "fenced",     "conflict",     "draining",    "saturated",       "invalid_argument", "spawn_failed",
    "app_failed", "io_failed",    "cancelled",   "output_exceeded",
};
static_assert(std::size(names) == static_cast<std::size_t>(errc::count_));

} // namespace

std::string to_string(errc code) {
  auto index = static_cast<std::size_t>(code);
  return index < std::size(names) ? std::string{names[index]} : "errc(" + std::to_string(index) + ")";
}

bool from_string(caf::string_view name, errc& code) {
  for (std::size_t i = 0; i < std::size(names); ++i) {
    if (names[i] == std::string_view{name.data(), name.size()}) {
      code = static_cast<errc>(i);
      return true;
    }
  }
  return false;
}

bool from_integer(std::underlying_type_t<errc> value, errc& code) {
  if (value >= static_cast<std::underlying_type_t<errc>>(errc::count_))
    return false;
  code = static_cast<errc>(value);
  return true;
}

std::string error_text(const caf::error& reason) {
  auto context = reason.context();
  if (reason.category() == caf::type_id_v<errc>) {
    if (context.match_element<std::string>(0))
      return context.get_as<std::string>(0);
    return to_string(static_cast<errc>(reason.code()));
  }
  if (reason.category() == caf::type_id_v<caf::exit_reason>) {
    switch (static_cast<caf::exit_reason>(reason.code())) {
    case caf::exit_reason::normal:
      return "it ended by itself";
    case caf::exit_reason::remote_link_unreachable:
    case caf::exit_reason::unreachable:
      return "its process is gone or out of reach";
    case caf::exit_reason::user_shutdown:
      return "it was shut down";
    case caf::exit_reason::kill:
      return "it was killed";
    case caf::exit_reason::out_of_workers:
      return "no worker was left for it";
    case caf::exit_reason::unknown:
      return "it ended for an unknown reason";
    }
  }
  if (reason.category() == caf::type_id_v<caf::sec>) {
    switch (static_cast<caf::sec>(reason.code())) {
    case caf::sec::request_timeout:
      return "no answer in time";
    case caf::sec::request_receiver_down:
    case caf::sec::remote_lookup_failed:
      return "its process is gone or out of reach";
    case caf::sec::cannot_connect_to_node:
      return "connection refused";
    case caf::sec::cannot_open_port:
      return "the port is in use or not allowed";
    case caf::sec::broken_promise:
      return "it ended without an answer";
    case caf::sec::unexpected_message:
      return "the peer does not know this message; is it of another version?";
    case caf::sec::runtime_error:
      if (context.match_element<std::string>(0))
        return context.get_as<std::string>(0);
      return "it ended by an exception";
    default:
      return "the connection failed";
    }
  }
  return reason ? "an unknown error" : "no error";
}

} // namespace astra
