#pragma once

#include <string>
#include <utility>
#include <vector>

namespace astra {

/// What the `seed` formula reads of one node: averages over its last heartbeat interval, as reported, right or wrong.
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
};

struct node_weight {
  /// Finite and positive, whatever the input was.
  double weight = 0.0;
  /// The terms as they entered the formula, by the names used below.
  std::vector<std::pair<std::string, double>> terms;
};

/// The `seed` formula, cores x log(remaining) x utilisation / concurrency, in a form that is defined for idle, cold and
/// saturated nodes.  Per node, with averages and not instants:
///
///     r  = clamp(1 - host utilisation, 0, 1)              remaining share of the machine
///     L  = ln(1 + 100 r) / ln 101                         0 when nothing remains, 1 when all does
///     e0 = sum of U / sum of C over all nodes             busy cores per request in the cluster
///     e  = (U + k e0) / (C + k), k = 1                    the same of this node, pulled towards e0 while it has little
///                                                         to tell (C = 0, U = 0, just joined)
///     w  = max(0.001 coef e0, coef L e), coef = cores x performance coefficient
///
/// U are own busy cores, C is concurrency.  The weight of a saturated node stays above zero, so that it is still asked
/// now and then and its recovery is noticed.
///
/// @returns one weight per input, in the same order.
std::vector<node_weight> seed_weights(const std::vector<weight_input>& nodes);

} // namespace astra
