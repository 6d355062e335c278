#include "actors/router/water_formula.hpp"

#include "actors/router/weight_bounds.hpp"

#include <algorithm>
#include <cassert>

namespace astra {
namespace {

/// Rates and slots further apart than this are told apart no more: their products must fit into floats.
constexpr double rate_least = 1e-5;
constexpr double rate_most = 1e4;
constexpr double slots_most = 1e5;

water_filling::node sane(const weight_input& node) {
  return {bounded(node.slots, 1.0, slots_most), bounded(node.service_rate, rate_least, rate_most),
          bounded(node.in_flight, 0.0, most_reported)};
}

} // namespace

water_formula::water_formula(bool prefer_fast, const weight_horizon& horizon) {
  auto ahead = std::chrono::duration<double>(horizon.refresh + horizon.staleness).count();
  setting_.horizon_s = std::clamp(ahead, 0.1, 3600.0);
  setting_.prefer_fast = prefer_fast;
}

void water_formula::weigh(std::span<const weight_input> nodes, std::span<double> weights) {
  nodes_.clear();
  nodes_.reserve(nodes.size());
  auto arrivals = 0.0;
  for (auto& node : nodes) {
    nodes_.push_back(sane(node));
    arrivals += bounded(node.arrival_rate, 0.0, most_reported);
  }
  filling_.solve(nodes_, arrivals, setting_, weights);
}

double water_formula::weight(const weight_input& node) const {
  return filling_.of(sane(node)).weight;
}

weight_terms water_formula::terms(const weight_input& node) const {
  auto who = sane(node);
  auto share = filling_.of(who);
  return {{"k", who.slots},
          {"c", who.in_flight},
          {"mu", who.rate},
          {"rel", share.relative_rate},
          {"s", share.preference},
          {"N", share.target},
          {"a", share.arrivals},
          {"L", filling_.level()},
          {"lambda", filling_.arrival_rate()},
          {"load", filling_.load()},
          {"beta", filling_.beta()},
          {"H", filling_.horizon_s()}};
}

} // namespace astra
