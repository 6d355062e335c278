#pragma once

#include <caf/default_enum_inspect.hpp>
#include <caf/error.hpp>
#include <caf/is_error_code_enum.hpp>
#include <caf/string_view.hpp>

#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>

namespace astra {

/// What went wrong, as something a caller can act on.  Append only: the numbers cross processes.
enum class errc : std::uint8_t {
  /// Not an error.
  none = 0,
  /// No node of this id in the view.
  unknown_node,
  /// No app of this name.
  unknown_app,
  /// No actor type, service or command of this name.
  unknown_name,
  /// The peer does not answer or cannot be dialled.
  unreachable,
  /// The deadline passed.
  timed_out,
  /// A newer incarnation or epoch of the sender exists; the sender must stop.
  fenced,
  /// It does not fit, or somebody else was first.
  conflict,
  /// Refused because the receiver is draining.
  draining,
  /// All slots and queue places are taken; try later.
  saturated,
  /// The request itself is malformed or breaks a rule.
  invalid_argument,
  /// A process could not be started.
  spawn_failed,
  /// The app failed at its work.
  app_failed,
  /// Local input or output failed (disk, socket, pipe).
  io_failed,
  /// The caller took the request back.
  cancelled,
  /// An answer or an output is larger than allowed.
  output_exceeded,
  /// Number of codes, not a code.
  count_
};

/// The code's name as users see it, such as "unknown_app".
std::string to_string(errc code);

bool from_string(caf::string_view name, errc& code);

bool from_integer(std::underlying_type_t<errc> value, errc& code);

template <class Inspector>
bool inspect(Inspector& f, errc& x) {
  return caf::default_enum_inspect(f, x);
}

/// An error as a user may read it: the sentence that it was made with, or what its code means; never CAF's own names.
std::string error_text(const caf::error& reason);

} // namespace astra

CAF_ERROR_CODE_ENUM(astra::errc)
