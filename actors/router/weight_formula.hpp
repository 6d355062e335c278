#pragma once

#include "messages/wire/app.pb.h"

#include <chrono>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace astra {

/// What formulas read of one node, as reported, right or wrong: averages over its last heartbeat interval, and what was
/// learned from its counters.
struct weight_input {
  double cores = 0.0;
  /// Performance relative to the reference device: the largest of its accelerators, 1 without any.
  double coefficient = 1.0;
  /// Busy share of the cores, own work and that of others together, in [0, 1].
  double host_utilisation = 0.0;
  /// Busy cores spent on Astra's replicas.
  double own_busy_cores = 0.0;
  /// Requests in progress.
  double concurrency = 0.0;

  // Of the app alone, as far as the node's counters tell.

  /// Requests that its replicas take at once.
  double slots = 1.0;
  /// Requests that run there or are queued there.
  double in_flight = 0.0;
  /// Completions per second of a busy slot, see service_meter.
  double service_rate = 1.0;
  /// Requests that came to it per second.
  double arrival_rate = 0.0;
};

/// Terms of a formula and their values, by the names of the formula's description.
using weight_terms = std::vector<std::pair<std::string, double>>;

/// How load becomes shares of requests.  Whatever the input is, weights are finite and positive.
class weight_formula {
public:
  weight_formula() = default;
  weight_formula(const weight_formula&) = delete;
  weight_formula& operator=(const weight_formula&) = delete;
  virtual ~weight_formula() = default;

  /// As in an app's file.
  virtual std::string_view name() const = 0;

  /// Computes what all nodes have in common, and then the weight of each.
  /// @pre there are as many weights as nodes.
  virtual void weigh(std::span<const weight_input> nodes, std::span<double> weights) = 0;

  /// The weight of one more node, with what the others had in common.
  virtual double weight(const weight_input& node) const = 0;
  /// What it is made of.
  virtual weight_terms terms(const weight_input& node) const = 0;
};

/// What a formula of water filling looks ahead: until weights made from the next reports work.
struct weight_horizon {
  std::chrono::milliseconds refresh{3000};
  /// Age of a report when it becomes a weight, on average: half a heartbeat interval, and its way here.
  std::chrono::milliseconds staleness{700};
};

std::unique_ptr<weight_formula> make_weight_formula(pb::WeightFormula which, const weight_horizon& horizon);

} // namespace astra
