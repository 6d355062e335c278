#pragma once

#include "messages/ids.hpp"
#include "runtime/net/identity.hpp"

#include <caf/expected.hpp>
#include <caf/node_id.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <variant>

// The words of a new connection before CAF's protocol, as plain functions over bytes.

namespace astra {

/// Versions of the messages in messages/wire that this build understands; a peer one version away is fine.
inline constexpr std::uint32_t protocol_min = 1;
inline constexpr std::uint32_t protocol_max = 1;

/// What a process says of itself.
struct hello {
  peer_identity self;
  std::uint32_t protocol_min = astra::protocol_min;
  std::uint32_t protocol_max = astra::protocol_max;
  incarnation life;
  /// "host:port"
  std::string address;
  std::uint64_t directory = 0;
};

/// CAF's id of a process.  It follows from who the process is, so that nobody can take that of another: the host part
/// from cluster and name, the process part from its life.
caf::node_id caf_node(const peer_identity& who, incarnation life);

inline caf::node_id caf_node(const hello& who) {
  return caf_node(who.self, who.life);
}

/// Why a listener does not want a session.
struct refusal {
  std::string code;
  std::string reason;
  std::uint32_t retry_after_ms = 0;
};

struct go_ahead {};

using hello_frame = std::variant<hello, refusal, go_ahead>;

/// A frame is "AST", a version byte (1), its body's length in 4 bytes (big endian) and a Protobuf body of at most
/// `max_hello` bytes.
inline constexpr std::size_t hello_header = 8;
inline constexpr std::size_t max_hello = 2048;

std::string encode(const hello_frame& frame);

/// Length of the body that follows.  Fails with invalid_argument when these bytes cannot begin a frame.
/// @pre header.size() == hello_header
caf::expected<std::size_t> hello_body_size(std::span<const char> header);

/// Fails with invalid_argument, naming what is wrong, for anything but a complete, sensible frame.
caf::expected<hello_frame> decode_hello(std::span<const char> body);

/// Whether a process may have a session with the peer that says this; the text says why not, for both operators.
/// @param certified who the peer's certificate says it is; nullptr: there is no TLS.
std::optional<refusal> objection(const hello& own, const hello& peer, const peer_identity* certified);

} // namespace astra
