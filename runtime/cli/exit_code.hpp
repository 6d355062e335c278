#pragma once

namespace astra {

/// What a script sees of a command; the same for every command.
enum exit_code : int {
  exit_ok = 0,
  exit_failed = 1,
  /// The command line itself is wrong.
  exit_usage = 2,
  exit_not_found = 4,
  /// The deadline passed, or the gateway or the app cannot be reached.
  exit_unreachable = 5,
  /// Somebody else was first.
  exit_conflict = 6,
  /// A plan would change something.
  exit_plan_changes = 10,
  /// A configuration or app file has problems (EX_CONFIG of sysexits.h).
  exit_bad_config = 78,
};

} // namespace astra
