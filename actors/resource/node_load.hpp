#pragma once

#include "messages/wire/membership.pb.h"

#include <array>
#include <cstddef>
#include <cstdint>

namespace astra {

/// The load of a node as views carry it: a byte per measure.
///
/// Utilisation has 200 steps, half a per cent each.  What has no upper bound is logarithmic with 12 steps per octave,
/// which is within 3 % of the value, and zero is zero.  Both are finer than what the weights of routers make of them
/// and coarse enough that most of the noise between two heartbeats changes nothing.
struct node_load {
  /// A measure, as a column of pb::LoadColumns.  The counters are not quantised.
  enum class column : std::uint8_t { utilisation, own_busy, concurrency, memory, running, queued, done, failed };

  static constexpr std::size_t columns = 8;
  /// Those of one byte.
  static constexpr std::size_t byte_columns = 6;

  /// As in column.
  std::array<std::uint8_t, byte_columns> bytes{};
  std::uint64_t done = 0;
  std::uint64_t failed = 0;

  node_load() = default;
  /// Values that make no sense (negative, not a number) count as 0.
  explicit node_load(const pb::NodeLoad& exact);

  double host_utilisation() const;
  double own_busy_cores() const;
  double concurrency() const;
  std::uint64_t memory_used_bytes() const;
  std::uint32_t running() const;
  std::uint32_t queued() const;
  std::uint64_t requests_done() const { return done; }
  std::uint64_t requests_failed() const { return failed; }

  pb::NodeLoad to_pb() const;

  bool operator==(const node_load&) const = default;
};

/// Columns in which the two differ, bit i for column i.
std::uint8_t columns_changed(const node_load& before, const node_load& after);

/// Columns in which they differ by more than the noise of a step: two steps, or any step from or to zero.  The counters
/// are not among them.
std::uint8_t columns_worth_telling(const node_load& told, const node_load& now);

} // namespace astra
