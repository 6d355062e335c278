#include "runtime/sim/event.hpp"

#include <array>
#include <cassert>

namespace astra::sim {

std::string_view to_string(event_kind kind) {
  static constexpr auto names =
      std::to_array<std::string_view>({"step", "send", "arrive", "drop", "connect", "disconnect", "boot", "crash",
                                       "stop", "stall", "go_on", "fault", "heal", "log", "request", "answer"});
  static_assert(names.size() == static_cast<std::size_t>(event_kind::count_));
  assert(kind < event_kind::count_);
  return names[static_cast<std::size_t>(kind)];
}

} // namespace astra::sim
