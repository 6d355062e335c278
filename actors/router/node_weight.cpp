#include "actors/router/node_weight.hpp"

#include <algorithm>
#include <cmath>

namespace astra {
namespace {

/// Bounds for what is reported, far outside of what machines are, so that no product or sum below can overflow or
/// vanish.
constexpr double least = 1e-3;
constexpr double most = 1e6;
/// How much a node's own numbers must outweigh the cluster mean, in requests.
constexpr double prior_requests = 1.0;
constexpr double floor_share = 1e-3;

/// What is no number says nothing: it counts as `low`.
double bounded(double value, double low, double high) {
  return std::isnan(value) ? low : std::clamp(value, low, high);
}

weight_input sane(const weight_input& raw) {
  weight_input result;
  result.cores = bounded(raw.cores, least, most);
  result.coefficient = bounded(raw.coefficient, least, most);
  result.host_utilisation = bounded(raw.host_utilisation, 0.0, 1.0);
  result.own_busy_cores = bounded(raw.own_busy_cores, 0.0, result.cores);
  result.concurrency = bounded(raw.concurrency, 0.0, most);
  return result;
}

} // namespace

std::vector<node_weight> seed_weights(const std::vector<weight_input>& nodes) {
  auto busy = 0.0;
  auto requests = 0.0;
  for (auto& node : nodes) {
    auto input = sane(node);
    busy += input.own_busy_cores;
    requests += input.concurrency;
  }
  // With no request or no busy core anywhere there is no mean to take; any constant treats all nodes alike.
  auto mean = busy > 0.0 && requests > 0.0 ? bounded(busy / requests, least, most) : 1.0;

  std::vector<node_weight> result;
  result.reserve(nodes.size());
  for (auto& node : nodes) {
    auto input = sane(node);
    auto coef = input.cores * input.coefficient;
    auto remaining = 1.0 - input.host_utilisation;
    auto log_remaining = std::log1p(100.0 * remaining) / std::log(101.0);
    auto cores_per_request = (input.own_busy_cores + prior_requests * mean) / (input.concurrency + prior_requests);
    auto weight = std::max(floor_share * coef * mean, coef * log_remaining * cores_per_request);
    result.push_back({weight,
                      {{"cores", input.cores},
                       {"coefficient", input.coefficient},
                       {"r", remaining},
                       {"L", log_remaining},
                       {"U", input.own_busy_cores},
                       {"C", input.concurrency},
                       {"e0", mean},
                       {"e", cores_per_request}}});
  }
  return result;
}

} // namespace astra
