#include "actors/router/router_metrics.hpp"

#include <caf/telemetry/label_view.hpp>

#include <chrono>
#include <initializer_list>

namespace astra {
namespace {

/// Upper bounds in seconds.
constexpr std::array<double, 14> buckets{0.005, 0.01, 0.025, 0.05, 0.1,  0.25, 0.5,
                                         1.0,   2.5,  5.0,   10.0, 25.0, 60.0, 300.0};

} // namespace

router_metrics::router_metrics(caf::telemetry::metric_registry& registry, const std::string& app) {
  const std::initializer_list<caf::telemetry::label_view> labels{{"app", app}};
  auto counter = [&](caf::string_view what, caf::string_view help) {
    return registry.counter_instance("astra.router", what, labels, help, "1", true);
  };
  waiting = registry.gauge_instance("astra.router", "waiting", labels, "Requests that wait for a slot.");
  retries = counter("retries", "Second starts of work that was lost.");
  hedges = counter("hedges", "Second starts of work that took long.");
  expelled = counter("nodes-expelled", "Nodes that were ejected because they answered badly.");
  for (std::size_t i = 0; i < outcomes; ++i) {
    auto outcome = to_string(static_cast<route_outcome>(i));
    answers_[i] = registry.counter_instance("astra.router", "answers", {{"app", app}, {"outcome", outcome}},
                                            "Requests that were answered, by what became of them.", "1", true);
  }
  // histogram_instance of CAF 0.18.7 does not compile for doubles.
  const caf::string_view names[] = {"app"};
  seconds_ =
      registry
          .histogram_family<double>("astra.router", "request-duration", {names, 1}, {buckets.data(), buckets.size()},
                                    "From the arrival of a request at the router to its answer.", "seconds")
          ->get_or_add({{"app", app}});
}

void router_metrics::answered(route_outcome outcome, caf::timespan took) {
  answers_[static_cast<std::size_t>(outcome)]->inc();
  seconds_->observe(std::chrono::duration<double>(took).count());
}

} // namespace astra
