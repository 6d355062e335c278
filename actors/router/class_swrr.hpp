#pragma once

#include "actors/router/order.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

namespace astra {

/// Smooth weighted round robin for large pools: weights are rounded to 16 steps per octave, and on the rounded weights
/// every pick is that of the plain scan (see smooth_wrr), with the same ties.
///
/// Between two picks of its own, a node's credit grows by its weight per pick: a line in the number of picks.  Nodes of
/// one class have the same weight, so their lines are parallel and never cross: only the first of each class, its head,
/// can have the most credit.  A pick looks at the heads of all classes, some ten per octave of difference between
/// nodes, and at one class.
///
/// A class is a queue.  Who is picked pays a whole round, which puts him behind everybody who has waited since; that is
/// the end of the queue, without a search.  Who does not fit there (he joined in the middle of a round, came from
/// another class, or was passed over) waits in a heap beside the queue until his turn has come; so in a pool at rest
/// the heaps are empty.  Both hold tickets.  Whoever moves leaves his old ticket behind, which is thrown away when it
/// turns up.
class class_swrr final : public order {
public:
  using order::pick;

  void assign(std::span<const entry> pool, random_source* phase) override;
  void adopt(std::span<const entry> pool, std::span<const turn> turns, random_source* phase) override;
  void insert(const entry& who, random_source* phase) override;
  /// Changes nothing as long as the weight is within 2.2 % of the one that decided the class.
  void update(const entry& who) override;
  void remove(seat who) override;
  std::optional<seat> pick(std::span<const seat> passed_over) override;
  std::size_t size() const override { return size_; }
  std::vector<turn> turns() const override;
  std::unique_ptr<order> copy() const override { return std::make_unique<class_swrr>(*this); }

private:
  static constexpr std::uint16_t nobody = 0xffff;

  /// A credit, less what its class has earned since the beginning.  It wraps around: two of a class are never so far
  /// apart that their difference would.
  using offset = std::uint64_t;

  struct ticket {
    offset credit = 0;
    std::uint32_t rank = 0;
    seat at = 0;
  };

  struct sitting {
    offset credit = 0;
    /// Grows with everybody who joins; of equals the lowest goes first.
    std::uint32_t rank = 0;
    /// `nobody`: the seat is free.
    std::uint16_t group = nobody;
  };

  /// A ring of tickets.
  class queue {
  public:
    bool empty() const { return size_ == 0; }
    std::size_t size() const { return size_; }
    const ticket& front() const { return ring_[begin_]; }
    const ticket& back() const { return at(size_ - 1); }
    const ticket& at(std::size_t i) const { return ring_[(begin_ + i) & (ring_.size() - 1)]; }
    void push(const ticket& what);
    void pop() {
      begin_ = (begin_ + 1) & (ring_.size() - 1);
      --size_;
    }
    void assign(const std::vector<ticket>& sorted);

  private:
    std::vector<ticket> ring_;
    std::size_t begin_ = 0;
    std::size_t size_ = 0;
  };

  /// The nodes of a class.
  struct group {
    int which = 0;
    std::uint64_t weight = 0;
    queue in_turn;
    /// The first at the front.
    std::vector<ticket> others;
    std::uint32_t members = 0;
    bool head_in_turn = false;
  };

  /// Credits of heads, by group, as a scan wants them: whole numbers far below 2^53, so these are exact.  A group
  /// without a head, and what fills up the last block, has one that never wins.
  struct head_block {
    static constexpr std::size_t size = 16;
    std::array<double, size> credit{};
    std::array<double, size> weight{};
  };

  double& head_credit(std::uint16_t which) {
    return blocks_[which / head_block::size].credit[which % head_block::size];
  }

  static bool before(const ticket& a, const ticket& b);
  static bool behind(const ticket& a, const ticket& b);
  bool valid(const ticket& what, std::uint16_t of) const;
  std::uint64_t earned(std::uint16_t which) const { return groups_[which].weight * picks_; }
  std::int64_t credit_of(const sitting& who) const;

  std::uint16_t group_of(int which);
  void join(seat who, double weight, std::int64_t credit);
  void leave(seat who);
  void pay(std::uint16_t which, seat who, std::int64_t price);
  void add_ticket(seat who);
  void find_head(std::uint16_t which);
  void set_head(std::uint16_t which, const ticket& what, bool in_turn);
  void tidy(std::uint16_t which, std::vector<ticket> more);
  std::uint16_t best_head();
  void keep_scale();
  void rebuild(int octaves);
  static std::int64_t draw_phase(random_source* phase, std::int64_t round);

  std::vector<sitting> seats_;
  /// By seat: the weight that decided the class, in ticks.
  std::vector<double> weighed_;
  std::vector<group> groups_;
  /// By class: its group, or `nobody`.
  std::vector<std::uint16_t> group_index_;

  /// By group.
  std::vector<ticket> heads_;
  std::vector<head_block> blocks_;

  std::size_t size_ = 0;
  std::uint32_t next_rank_ = 0;
  std::uint64_t picks_ = 0;
  /// Of all weights.
  std::int64_t total_ = 0;
  /// Of all credits; those that are shown are shifted so that it is 0.
  std::int64_t credit_sum_ = 0;
  /// Ticks per unit of weight.
  double scale_ = 0.0;
};

} // namespace astra
