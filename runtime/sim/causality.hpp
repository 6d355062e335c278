#pragma once

#include "runtime/sim/trace.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace astra::sim {

/// Index in `trace::records` of what caused a record.  Where the event names no cause, the latest arrival of the same
/// message explains a step, and the latest sending of it an arrival or a loss.
std::optional<std::size_t> cause_of(const trace& what, std::size_t record);

/// One move of a causal chain: an event, and how its message came there.
struct causal_hop {
  /// Indices in `trace::records`; the sending where the message came from another machine.
  std::size_t record = 0;
  std::optional<std::size_t> sent;
};

/// From an event backwards to its first cause; the sending, arrival and handling of a message are one hop.  Empty when
/// the trace has no such event.
std::vector<causal_hop> causal_chain(const trace& what, std::uint64_t number);

/// Why an event happened: one line per hop of its chain, newest first, `lines_max` lines at most.  Rounds that repeat
/// themselves (a timer that starts itself again, a poll and its answer) are told once.
std::vector<std::string> explain(const trace& what, std::uint64_t number, std::size_t lines_max = 30);

/// Everything that led to an event, oldest first, as a message sequence "who -> whom: what" with the faults in between:
/// its causal chain, and what those on it had been told before.  Of these the `lines_max` that tell most: near to
/// the event, and of a kind that is rare in the trace.  The last line says how many were left out, if any.
std::vector<std::string> message_sequence(const trace& what, std::uint64_t number, std::size_t lines_max = 30);

} // namespace astra::sim
