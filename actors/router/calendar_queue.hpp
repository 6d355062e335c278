#pragma once

#include "actors/router/order.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

namespace astra {

/// Earliest deadline first on a calendar (R. Brown, "Calendar queues", CACM 1988), for very large pools: a node's
/// deadline is when its next turn is due, and each turn moves it on by the node's period, the sum of all weights by its
/// own.  Time counts turns: in a pool of weights that do not change one turn is due per unit of time, and the calendar
/// has a day for each, with all that are due in it in no order.  A pick looks at one or two days.
///
/// Each node begins at a random point of its period, so routers that start together do not begin with the same nodes,
/// and nodes of equal weight do not stay bunched.
///
/// Turns of a node are spaced more evenly than in smooth weighted round robin, and counts deviate by less than three
/// turns, where two are enough there (see the tests); so these are other sequences.  A node that refused and is passed
/// over has had its turn, as there; unlike there, its next one does not come later by the picks that passed it over,
/// one at most for each.
///
/// As a credit, a turn that is due now counts half a round, and one that lies a whole period ahead minus half a round.
class calendar_queue final : public order {
public:
  using order::pick;

  void assign(std::span<const entry> pool, random_source* phase) override;
  void adopt(std::span<const entry> pool, std::span<const turn> turns, random_source* phase) override;
  void insert(const entry& who, random_source* phase) override;
  /// Changes nothing as long as the weight is within 2.2 % of the one that decided the period.
  void update(const entry& who) override;
  void remove(seat who) override;
  std::optional<seat> pick(std::span<const seat> passed_over) override;
  std::size_t size() const override { return size_; }
  std::vector<turn> turns() const override;
  std::unique_ptr<order> copy() const override { return std::make_unique<calendar_queue>(*this); }

private:
  /// Days, with 20 bits after the point.
  using instant = std::uint64_t;
  static constexpr int day_bits = 20;
  static constexpr seat none = 0xffffffff;

  struct sitting {
    instant deadline = 0;
    /// 0: the seat is free.
    instant period = 0;
    /// The next one of the same day of the calendar; there is no order among them.
    seat next = none;
    std::uint32_t rank = 0;
  };

  static std::uint64_t day_of(instant when) { return when >> day_bits; }
  static instant period_of(double share);
  double share_of(double weight) const { return scale_ > 0.0 ? weight / scale_ : 0.0; }
  instant now() const { return today_ << day_bits; }
  bool taken(seat who) const { return who < seats_.size() && seats_[who].period != 0; }
  void make_room(seat who);
  void join(const entry& who, double part_of_period);
  void change(const entry& who);
  void link(seat who);
  void unlink(seat who);
  void keep_scale();
  void rebuild();

  std::vector<sitting> seats_;
  /// By seat: the share that decided the period, in turns per day.
  std::vector<double> weighed_;
  /// The first one of each day, modulo their number, which is a power of two.
  std::vector<seat> days_;
  /// No deadline is before it.
  std::uint64_t today_ = 0;
  std::size_t size_ = 0;
  std::uint32_t next_rank_ = 0;
  /// Of those that are taken.
  double share_sum_ = 0.0;
  /// Weight that makes one turn a day.
  double scale_ = 0.0;
};

} // namespace astra
