#include "messages/process.hpp"
#include "messages/route.hpp"

namespace astra {

std::string to_string(route_outcome outcome) {
  switch (outcome) {
  case route_outcome::ok:
    return "ok";
  case route_outcome::app_failed:
    return "app_failed";
  case route_outcome::timed_out:
    return "timed_out";
  case route_outcome::saturated:
    return "saturated";
  case route_outcome::unavailable:
    return "unavailable";
  case route_outcome::lost:
    return "lost";
  case route_outcome::cancelled:
    return "cancelled";
  }
  return "invalid";
}

std::string to_string(process_end end) {
  switch (end) {
  case process_end::exited:
    return "exited";
  case process_end::signalled:
    return "signalled";
  case process_end::time_limit:
    return "time_limit";
  case process_end::memory_limit:
    return "memory_limit";
  case process_end::output_limit:
    return "output_limit";
  case process_end::killed:
    return "killed";
  case process_end::spawn_failed:
    return "spawn_failed";
  case process_end::launcher_lost:
    return "launcher_lost";
  case process_end::refused:
    return "refused";
  }
  return "invalid";
}

} // namespace astra
