#pragma once

#include <caf/fwd.hpp>

#include <chrono>
#include <cstdint>
#include <string_view>

namespace astra::sim {

/// Virtual time since the start of the run.
using instant = std::chrono::nanoseconds;

/// Place of a machine in the world; 0 is nobody: clients and the simulator itself.
enum class machine_id : std::uint32_t {};

enum class event_kind : std::uint8_t {
  /// An actor handles one message.
  step,
  /// A message leaves its machine.
  send,
  /// A message from another machine reaches its actor's mailbox.
  arrive,
  /// A message is lost; `text` says why.
  drop,
  /// A connection between two machines opens or closes (as `machine` sees it).
  connect,
  disconnect,
  /// A process starts, dies, ends in order, freezes, goes on.
  boot,
  crash,
  stop,
  stall,
  go_on,
  /// A fault or an operator's act begins or ends; `text` describes it.
  fault,
  heal,
  /// An actor logged `text`, which begins with the event's name.
  log,
  /// A client's request was taken by a gateway, or got its answer; `text` has the outcome.
  request,
  answer,
  count_,
};

std::string_view to_string(event_kind kind);

/// One line of a trace.  What it points to lives as long as the call it is passed to.
struct event {
  /// From 1, in the order of happening.
  std::uint64_t number = 0;
  /// Number of the event that this one follows from; 0: none is known.
  std::uint64_t cause = 0;
  instant at{0};
  event_kind kind = event_kind::step;
  /// Where it happens, and the other side of what crosses machines.
  machine_id machine{};
  machine_id peer{};
  /// The actor that handles or gets the message, and the one that sent it; 0: none.
  std::uint64_t actor = 0;
  std::uint64_t sender = 0;
  /// CAF's message id; links a response to its request.
  std::uint64_t message_id = 0;
  /// Null when the event is about no message.
  const caf::message* content = nullptr;
  std::string_view text;
};

} // namespace astra::sim
