#pragma once

#include "messages/route.hpp"

#include <caf/telemetry/counter.hpp>
#include <caf/telemetry/gauge.hpp>
#include <caf/telemetry/histogram.hpp>
#include <caf/telemetry/metric_registry.hpp>

#include <array>
#include <string>

namespace astra {

/// What a router counts for those who watch it.
class router_metrics {
public:
  router_metrics(caf::telemetry::metric_registry& registry, const std::string& app);

  void answered(route_outcome outcome, caf::timespan took);

  caf::telemetry::int_gauge* waiting;
  caf::telemetry::int_counter* retries;
  caf::telemetry::int_counter* hedges;
  caf::telemetry::int_counter* expelled;

private:
  static constexpr auto outcomes = static_cast<std::size_t>(route_outcome::cancelled) + 1;

  /// By outcome.
  std::array<caf::telemetry::int_counter*, outcomes> answers_;
  caf::telemetry::dbl_histogram* seconds_;
};

} // namespace astra
