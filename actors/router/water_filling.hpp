#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace astra {

/// How many requests each node should get until the next weights work, so that all of them come to stand equally high,
/// like water in vessels that are connected.  From the present state straight to the wanted one: a node that is above
/// the common level gets nothing for now, and nobody gets more than once what brings it there.
///
/// A node has k slots, c requests in flight, and completes mu per second and busy slot; rel = mu / mean mu.  For a
/// common level L, 1 when all slots are busy and nothing is queued,
///
///     s      = rel^beta                                        how much fuller fast nodes shall be
///     N(L)   = k min(1, L s) + k rel max(0, L s - 1)           in flight at the end of the horizon H
///     A      = mu / (1 - e^(-mu H))
///     occ    = clamp((A (N - c e^(-mu H)) - (N - c) / H) / mu, 0, k)     slots busy meanwhile
///     a(L)   = max(0, (N - c) / H + mu occ)                    arrivals per second that lead from c to N
///
/// and L is such that the sum of a(L) is what arrives in all, lambda.  The weights describe how all requests should be
/// split, not those of one router: any number of routers that see the same add up to what is right.
///
/// Everything is finite for idle and saturated nodes, and no node counts less than 1 % of its share of the capacity, so
/// that it is asked now and then.
///
/// The sum of a(L) consists of straight pieces and grows with L, so a few Newton steps from the last level find the new
/// one; each is a pass over five numbers per node, without a transcendental function.
class water_filling {
public:
  /// All finite: slots and rate positive, in_flight not negative.
  struct node {
    double slots = 1.0;
    /// Completions per second of a busy slot.
    double rate = 1.0;
    double in_flight = 0.0;
  };

  struct setting {
    /// Positive.
    double horizon_s = 3.7;
    /// beta = min(2, 6 (1 - load)) instead of 0: fast nodes are preferred while there is room, which makes requests
    /// faster and utilisation uneven.
    bool prefer_fast = false;
  };

  /// Of one node.
  struct share {
    double relative_rate = 0.0;
    double preference = 0.0;
    /// N.
    double target = 0.0;
    /// a, without the floor.
    double arrivals = 0.0;
    double weight = 0.0;
  };

  /// @param arrival_rate lambda, per second; whatever it is, at least 1 % of the capacity and at most ten times that is
  /// meant: with less than that the capacities decide, with more the slots are full in any case.
  void solve(std::span<const node> nodes, double arrival_rate, const setting& how, std::span<double> weights);

  /// Of one more node, or one of those, at the level of the last solution.
  share of(const node& who) const;

  // Of the last solution.
  double level() const { return level_; }
  double beta() const { return beta_; }
  /// lambda / capacity, as given.
  double load() const { return load_; }
  double arrival_rate() const { return arrival_rate_; }
  double mean_rate() const { return mean_rate_; }
  double horizon_s() const { return horizon_s_; }
  /// Passes that it took to find the level.
  int passes() const { return passes_; }

private:
  struct sum {
    double arrivals = 0.0;
    double slope = 0.0;
  };

  void prepare(std::span<const node> nodes, const setting& how);
  sum at(double level) const;
  void find_level(double wanted);

  // By node, in floats: half the memory to go through, and a weight that is off by 1e-6 is good enough.
  std::vector<float> slots_;
  std::vector<float> in_flight_;
  /// mu H.
  std::vector<float> decay_;
  /// A H - 1.
  std::vector<float> growth_;
  std::vector<float> preference_;

  double level_ = 0.0;
  double beta_ = 0.0;
  double load_ = 0.0;
  double arrival_rate_ = 0.0;
  double capacity_ = 1.0;
  double mean_rate_ = 1.0;
  double horizon_s_ = 1.0;
  int passes_ = 0;
};

} // namespace astra
