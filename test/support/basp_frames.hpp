#pragma once

#include "runtime/net/frame_guard.hpp"

#include <caf/io/basp/message_type.hpp>
#include <caf/message.hpp>
#include <caf/node_id.hpp>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <vector>

// Frames of CAF's protocol as CAF itself writes them, and as somebody does who means harm.

namespace astra::test {

using byte_buffer = std::vector<std::byte>;
using operation = caf::io::basp::message_type;

/// One frame: what a header says, and the payload.
struct basp_frame {
  std::uint8_t code = 0;
  std::uint8_t padding1 = 0;
  std::uint8_t padding2 = 0;
  std::uint8_t flags = 0;
  /// What the header announces when it lies; else the size of the payload.
  std::int64_t announced = -1;
  std::uint64_t data = 0;
  std::uint64_t source = 0;
  std::uint64_t destination = 0;
  byte_buffer payload;

  byte_buffer bytes() const;
};

constexpr std::uint64_t async_id = std::uint64_t{1} << 60;
constexpr std::uint64_t answer_to(std::uint64_t request) {
  return request | std::uint64_t{1} << 63;
}

/// The node of a process that plays a part in tests.
caf::node_id test_node(std::uint32_t number);

/// Forwarding stack and content of a message, by CAF's serializer.  Without handles, for which that needs a system.
byte_buffer message_payload(const caf::message& content);
/// A message of any types with any bytes.
byte_buffer raw_payload(const std::vector<caf::type_id_t>& types, const byte_buffer& content);
/// A message whose only element is the handle of an actor.
byte_buffer handle_payload(std::uint64_t actor, const caf::node_id& node);

basp_frame make_frame(operation what, std::uint64_t data, std::uint64_t source, std::uint64_t destination,
                      byte_buffer payload = {});
basp_frame direct(std::uint64_t id, std::uint64_t source, std::uint64_t destination, const caf::message& content);
basp_frame client_handshake(const caf::node_id& own);
basp_frame server_handshake(const caf::node_id& own, std::uint64_t published);
basp_frame monitor_frame(const caf::node_id& from, const caf::node_id& to, std::uint64_t actor);
basp_frame down_frame(const caf::node_id& from, const caf::node_id& to, std::uint64_t actor, const caf::error& reason);

/// One of each request and message that crosses processes, as the process called `name` would send it.
std::vector<caf::message> sample_requests(const std::string& name);
/// One of each answer, but for handles.
std::vector<caf::message> sample_answers();

std::string to_hex_text(std::span<const std::byte> bytes);
byte_buffer from_hex_text(std::string_view text);

/// One end of a session behind a guard.  It begins with both handshakes done unless told otherwise.
struct guarded_end {
  static constexpr caf::actor_id directory = 7;
  static constexpr caf::actor_id service = 8;
  /// Spoke to the peer when the session began.
  static constexpr caf::actor_id speaker = 20;
  /// An actor of the peer.
  static constexpr caf::actor_id stranger = 30;

  guarded_end(std::string name, peer_roles roles, peer_roles own_roles = {}, std::vector<std::string> apps = {},
              bool dialled = false, bool shake_hands = true);

  /// What becomes of a whole frame.
  verdict receive(const basp_frame& frame);
  verdict receive(std::span<const std::byte> bytes);
  /// We ask: the answer may come.
  void ask(const caf::message& content, std::uint64_t request = 5);
  void send(const basp_frame& frame);

  caf::node_id own = test_node(1);
  caf::node_id peer = test_node(2);
  frame_guard::time_point now{std::chrono::seconds{1000}};
  frame_guard guard;
};

/// Makes frames from others: lengths that lie, other types, nested messages, other ids, cuts, pieces of two frames.
class frame_mutator {
public:
  explicit frame_mutator(std::uint64_t seed) : random_(seed) {}

  basp_frame mutate(const std::vector<basp_frame>& samples);
  std::uint64_t below(std::uint64_t bound) { return random_() % bound; }

private:
  void mutate_header(basp_frame& frame);
  void mutate_payload(basp_frame& frame, const std::vector<basp_frame>& samples);

  std::mt19937_64 random_;
};

/// Every kind of frame that an honest peer called `name` sends to `to`, and then some.
std::vector<basp_frame> sample_frames(const std::string& name, const caf::node_id& from, const caf::node_id& to);

} // namespace astra::test
