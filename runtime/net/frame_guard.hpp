#pragma once

#include "runtime/net/identity.hpp"

#include <caf/actor_control_block.hpp>
#include <caf/node_id.hpp>
#include <caf/type_id.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

// Every frame of CAF's protocol (BASP) passes here before CAF sees it.  CAF trusts its peers: one frame of 32 bytes
// from anybody can crash a process.  What is not expected is refused.

namespace astra {

/// What a frame did wrong; the name is the label of the metric.
enum class violation : std::uint8_t {
  none,
  frame_too_large,
  malformed,
  handshake_expected,
  second_handshake,
  foreign_node,
  operation,
  named_receiver,
  destination,
  type,
  body,
  forwarding,
  identity,
  rate,
  proxies,
  /// Answers that nobody waits for, again and again.
  unsolicited,
  /// Number of violations, not one.
  count_,
};

std::string to_string(violation what);

/// What peers of one plane may do.
struct guard_profile {
  /// "edge", "core"
  std::string name;
  /// Largest payload of one frame, in bytes.
  std::size_t max_frame = 0;
  /// The same for what a client sends to an app, and for the app's answer.
  std::size_t max_body = 0;
  /// Frames per second over time, and how many at once.
  double frames_per_s = 0;
  double burst = 0;
  /// Different actors of the peer that it may speak for.
  std::size_t max_proxies = 0;
  /// Types that its requests and messages, and its responses, may have as their first element.
  std::vector<caf::type_id_t> requests;
  std::vector<caf::type_id_t> responses;
};

/// The profile for a peer with this identity.  A node's is the edge profile unless it has another role too.
const guard_profile& profile_of(const peer_identity& identity);

/// What becomes of a frame.
struct verdict {
  enum class action : std::uint8_t {
    pass,
    /// Not meant for CAF, or late: goes no further, the session lives on.
    drop,
    /// The session is to be closed.
    close,
  };
  action what = action::pass;
  violation why = violation::none;
  /// For the log line: bounded in length, printable.
  std::string detail;
};

/// Checks the frames of one session, in both directions.  Plain: time and bytes are arguments.
class frame_guard {
public:
  using time_point = std::chrono::steady_clock::time_point;

  struct session {
    peer_identity peer;
    /// Roles of this process: a message is taken only for an actor of a role that it is meant for.  Empty: any.
    peer_roles own_roles;
    caf::node_id own_node;
    /// Of this process: an aggregator commands only the nodes that it may speak for.
    std::string own_name{};
    /// As the peer's hello said.
    caf::node_id peer_node;
    /// We dialled: a server_handshake comes first.  Else a client_handshake does.
    bool dialled = false;
    /// The published actor that anybody may ask: the directory.
    caf::actor_id directory = 0;
    /// Whether the peer may address this actor of ours without having heard from it: the services that are open to its
    /// roles.  Called on the thread that reads.
    std::function<bool(caf::actor_id)> is_service;
  };

  static constexpr std::size_t header_size = 32;

  explicit frame_guard(session about);
  ~frame_guard();
  frame_guard(frame_guard&&) noexcept;

  /// The first 32 bytes of a frame.  Its payload may be read only after `pass`; `drop` is never the answer here.
  verdict on_header(std::span<const std::byte> header, time_point now);

  /// Length of the payload that the last header announced.
  std::size_t payload_size() const;

  /// The payload after the last header; called for an empty one too.  After anything but `pass` CAF gets neither.
  verdict on_payload(std::span<const std::byte> payload);

  /// Whole frames that CAF is about to send, in order.  Whoever of ours speaks to the peer may be answered; so may the
  /// actors that we tell it of.
  /// @returns the parts of `frames` that must not leave: CAF's own inquiries after the peer's services.
  struct cut {
    std::size_t offset = 0;
    std::size_t size = 0;
  };
  std::vector<cut> on_sent(std::span<const std::byte> frames);

  /// Both handshakes were seen.
  bool established() const;

private:
  struct state;
  std::unique_ptr<state> state_;
};

} // namespace astra
