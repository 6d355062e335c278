#include "actors/router/order.hpp"

#include "actors/router/calendar_queue.hpp"
#include "actors/router/class_swrr.hpp"
#include "actors/router/smooth_wrr.hpp"

namespace astra {

std::string_view to_string(order_kind kind) {
  switch (kind) {
  case order_kind::classes:
    return "classes";
  case order_kind::calendar:
    return "calendar";
  case order_kind::scan:
    break;
  }
  return "scan";
}

order_kind kind_for(std::size_t nodes, order_kind now) {
  if (nodes <= scan_max)
    return order_kind::scan;
  // An eighth below the boundary it goes back.
  if (nodes > classes_max || (now == order_kind::calendar && nodes > classes_max - classes_max / 8))
    return order_kind::calendar;
  return order_kind::classes;
}

std::unique_ptr<order> make_order(order_kind which) {
  switch (which) {
  case order_kind::classes:
    return std::make_unique<class_swrr>();
  case order_kind::calendar:
    return std::make_unique<calendar_queue>();
  case order_kind::scan:
    break;
  }
  return std::make_unique<smooth_wrr>();
}

} // namespace astra
