#pragma once

#include "actors/random.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace astra {

/// The number under which an order knows a node.  Its owner chooses it, small and dense: tables are as long as the
/// largest one.  It may be given to another node after `remove`.
using seat = std::uint32_t;

/// Whose turn it is: gives every node its share of the picks, spread evenly.  All orders do what smooth weighted round
/// robin does, exactly or nearly, and differ in what a pick costs:
///
///     smooth_wrr       nginx's own loop, linear in the pool
///     class_swrr       the same picks on weights that are rounded to 2.2 %, nearly independent of the pool
///     calendar_queue   a neighbour of it, still cheaper in very large pools
///
/// What a node has saved up is its credit, in the unit of the weights: everybody earns his weight with each pick, and
/// who is picked pays the sum of all weights.  Credits survive every change of the weights and, with `adopt`, a change
/// of the order.
class order {
public:
  struct entry {
    seat at = 0;
    /// Finite and not negative; only its proportion to the others counts.
    double weight = 0.0;
  };

  /// Weights and credits as integers, called ticks.
  struct turn {
    seat at = 0;
    /// Positive.
    std::int64_t weight = 0;
    /// The sum of all is 0, or less than the number of nodes while nodes come and go one by one.
    std::int64_t credit = 0;
  };

  order() = default;
  order& operator=(const order&) = delete;
  virtual ~order() = default;

  /// Replaces the pool; its order decides ties.  Nodes that stay keep their credit, those that left are gone at once,
  /// those that join begin at the mean credit of those that stay, plus a random part of half a round either way when
  /// there is a `phase`: routers that start together must not all begin with the same node.
  /// @pre no seat occurs twice.
  virtual void assign(std::span<const entry> pool, random_source* phase) = 0;
  /// Takes the place of another order, whose `turns` are given: who has one there keeps its credit.
  /// @pre this order is empty.
  virtual void adopt(std::span<const entry> pool, std::span<const turn> turns, random_source* phase) = 0;

  /// Adds a node behind all others, as assign does.
  /// @pre the seat is free.
  virtual void insert(const entry& who, random_source* phase) = 0;
  /// Its credit stays.
  /// @pre the seat is taken.
  virtual void update(const entry& who) = 0;
  /// @pre the seat is taken.
  virtual void remove(seat who) = 0;

  /// The next node in turn, except those in `passed_over`: they have refused this request.
  /// Empty when nobody is left; nothing has changed then.
  virtual std::optional<seat> pick(std::span<const seat> passed_over) = 0;
  std::optional<seat> pick() { return pick({}); }

  virtual std::size_t size() const = 0;
  /// In the order of the pool.  Takes time linear in it, or more.
  virtual std::vector<turn> turns() const = 0;

  /// Another one in the same state.
  virtual std::unique_ptr<order> copy() const = 0;

protected:
  order(const order&) = default;
};

/// The kinds of order, by the size of the pools for which they are made.
enum class order_kind : std::uint8_t { scan, classes, calendar };

std::string_view to_string(order_kind kind);

/// Pools of up to this many nodes are scanned.
inline constexpr std::size_t scan_max = 64;
/// Pools of more than this many nodes have a calendar.
inline constexpr std::size_t classes_max = 100'000;

/// The kind that a pool of this size should have, given what it has: near a boundary nothing changes, so that a pool
/// does not go back and forth with every node that comes and goes.  Pools of up to `scan_max` nodes are scanned in any
/// case.
order_kind kind_for(std::size_t nodes, order_kind now);

std::unique_ptr<order> make_order(order_kind which);

} // namespace astra
