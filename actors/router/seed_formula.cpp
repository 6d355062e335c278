#include "actors/router/seed_formula.hpp"

#include "actors/router/weight_bounds.hpp"

#include <algorithm>
#include <cassert>
#include <cmath>

namespace astra {
namespace {

/// How much a node's own numbers must outweigh the cluster mean, in requests.
constexpr double prior_requests = 1.0;
constexpr double floor_share = 1e-3;

struct parts {
  double cores;
  double coefficient;
  double remaining;
  double log_remaining;
  double busy;
  double requests;
  double cores_per_request;
  double weight;
};

double busy_cores(const weight_input& node) {
  return bounded(node.own_busy_cores, 0.0, bounded(node.cores, least_reported, most_reported));
}

double requests(const weight_input& node) {
  return bounded(node.concurrency, 0.0, most_reported);
}

parts compute(const weight_input& node, double mean) {
  parts result{};
  result.cores = bounded(node.cores, least_reported, most_reported);
  result.coefficient = bounded(node.coefficient, least_reported, most_reported);
  result.remaining = 1.0 - bounded(node.host_utilisation, 0.0, 1.0);
  result.log_remaining = std::log1p(100.0 * result.remaining) / std::log(101.0);
  result.busy = busy_cores(node);
  result.requests = requests(node);
  auto coef = result.cores * result.coefficient;
  result.cores_per_request = (result.busy + prior_requests * mean) / (result.requests + prior_requests);
  result.weight = std::max(floor_share * coef * mean, coef * result.log_remaining * result.cores_per_request);
  return result;
}

} // namespace

void seed_formula::weigh(std::span<const weight_input> nodes, std::span<double> weights) {
  assert(nodes.size() == weights.size());
  auto busy = 0.0;
  auto in_progress = 0.0;
  for (auto& node : nodes) {
    busy += busy_cores(node);
    in_progress += requests(node);
  }
  // With no request or no busy core anywhere there is no mean to take; any constant treats all nodes alike.
  mean_ = busy > 0.0 && in_progress > 0.0 ? bounded(busy / in_progress, least_reported, most_reported) : 1.0;
  for (std::size_t i = 0; i < nodes.size(); ++i)
    weights[i] = weight(nodes[i]);
}

double seed_formula::weight(const weight_input& node) const {
  return compute(node, mean_).weight;
}

weight_terms seed_formula::terms(const weight_input& node) const {
  auto of = compute(node, mean_);
  return {{"cores", of.cores}, {"coefficient", of.coefficient},
          {"r", of.remaining}, {"L", of.log_remaining},
          {"U", of.busy},      {"C", of.requests},
          {"e0", mean_},       {"e", of.cores_per_request}};
}

} // namespace astra
