#include "messages/type_ids.hpp"
#include "runtime/net/frame_guard.hpp"
#include "runtime/net/hello.hpp"
#include "test/support/basp_frames.hpp"
#include "test/support/guard_fuzzer.hpp"

#include <caf/binary_serializer.hpp>
#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

// What processes of a real cluster once said to each other (see captured/README.md) is still understood by guards at
// both ends: nothing is refused that honest peers of that version say.

using namespace astra;
using namespace astra::test;

namespace {

struct captured_frame {
  std::chrono::milliseconds at{};
  bool by_dialler = false;
  bool greeting = false;
  byte_buffer bytes;
};

std::vector<captured_frame> read_capture(const std::filesystem::path& file) {
  std::vector<captured_frame> result;
  std::ifstream in{file};
  std::int64_t ms = 0;
  std::string way;
  std::string kind;
  std::string hex;
  while (in >> ms >> way >> kind >> hex)
    result.push_back({std::chrono::milliseconds{ms}, way == ">", kind == "hello", from_hex_text(hex)});
  return result;
}

byte_buffer node_bytes(const caf::node_id& node) {
  caf::byte_buffer bytes;
  caf::binary_serializer sink{nullptr, bytes};
  REQUIRE(sink.apply(node));
  byte_buffer result;
  for (auto byte : bytes)
    result.push_back(static_cast<std::byte>(byte));
  return result;
}

void replace_all(byte_buffer& in, const byte_buffer& what, const byte_buffer& by) {
  REQUIRE(what.size() == by.size());
  for (auto at = in.begin(); (at = std::search(at, in.end(), what.begin(), what.end())) != in.end(); at += 1)
    std::copy(by.begin(), by.end(), at);
}

/// One of the two processes of a session.
struct end {
  end(const hello& own, const hello& peer, bool dialled)
    : own_node(node_bytes(caf_node(own))), peer_node(node_bytes(caf_node(peer))), peer(peer.self),
      guard({peer.self, own.self.roles, caf_node(own), own.self.name, caf_node(peer), dialled, own.directory, {}}) {}

  byte_buffer own_node;
  byte_buffer peer_node;
  peer_identity peer;
  frame_guard guard;
};

struct replayed {
  std::size_t frames = 0;
  /// Names of the first elements of messages, "answer: " before those of answers.
  std::set<std::string> types;
};

replayed replay(const std::filesystem::path& file, frame_decoder& decoder) {
  replayed result;
  std::optional<hello> greetings[2];
  std::optional<end> dialler;
  std::optional<end> listener;
  for (auto& frame : read_capture(file)) {
    CAPTURE(to_hex_text(frame.bytes));
    if (frame.greeting) {
      std::string text{reinterpret_cast<const char*>(frame.bytes.data()), frame.bytes.size()};
      auto size = hello_body_size(std::span{text}.first(hello_header));
      REQUIRE(size);
      CHECK(*size == text.size() - hello_header);
      auto said = decode_hello(std::span{text}.subspan(hello_header));
      REQUIRE_MESSAGE(said, error_text(said.error()));
      if (auto greeting = std::get_if<hello>(&*said))
        greetings[frame.by_dialler ? 0 : 1] = *greeting;
      continue;
    }
    if (!dialler) {
      REQUIRE(greetings[0]);
      REQUIRE(greetings[1]);
      CHECK_FALSE(objection(*greetings[0], *greetings[1], nullptr));
      dialler.emplace(*greetings[0], *greetings[1], true);
      listener.emplace(*greetings[1], *greetings[0], false);
    }
    auto& from = frame.by_dialler ? *dialler : *listener;
    auto& to = frame.by_dialler ? *listener : *dialler;
    CHECK(from.guard.on_sent(frame.bytes).empty());
    std::span<const std::byte> bytes{frame.bytes};
    auto now = frame_guard::time_point{std::chrono::hours{1}} + frame.at;
    auto word = to.guard.on_header(bytes.first(frame_guard::header_size), now);
    REQUIRE_MESSAGE(word.what == verdict::action::pass, to_string(word.why), ": ", word.detail);
    REQUIRE(to.guard.payload_size() == bytes.size() - frame_guard::header_size);
    word = to.guard.on_payload(bytes.subspan(frame_guard::header_size));
    REQUIRE_MESSAGE(word.what == verdict::action::pass, to_string(word.why), ": ", word.detail);
    ++result.frames;
    // The decoder knows two processes by fixed names.
    auto known = frame.bytes;
    replace_all(known, to.peer_node, node_bytes(test_node(2)));
    replace_all(known, to.own_node, node_bytes(test_node(1)));
    auto decoded = false;
    auto problem = decoder.problem(known, to.peer, decoded);
    CHECK_MESSAGE(problem.empty(), problem);
    CHECK(decoded);
    if (static_cast<operation>(frame.bytes[0]) != operation::direct_message || frame.bytes.size() < 36)
      continue;
    auto type = static_cast<caf::type_id_t>(static_cast<unsigned>(frame.bytes[34]) << 8
                                            | static_cast<unsigned>(frame.bytes[35]));
    auto answer = (frame.bytes[8] & std::byte{0x80}) != std::byte{0};
    if (frame.bytes[33] != std::byte{0})
      result.types.insert((answer ? "answer: " : "") + caf::to_string(caf::query_type_name(type)));
  }
  REQUIRE(dialler);
  CHECK(dialler->guard.established());
  CHECK(listener->guard.established());
  return result;
}

} // namespace

TEST_CASE("sessions that were captured from a real cluster pass the guards of both ends and decode") {
  std::map<std::string, replayed> all;
  frame_decoder decoder;
  for (auto& file : std::filesystem::directory_iterator{ASTRA_SOURCE_DIR "/test/runtime/net/captured"}) {
    auto name = file.path().stem().string();
    if (file.path().extension() != ".txt")
      continue;
    CAPTURE(name);
    all.emplace(name, replay(file.path(), decoder));
  }
  REQUIRE(all.size() >= 9);
  auto heard = [&all](const std::string& session, std::initializer_list<const char*> types) {
    for (auto type : types)
      CHECK_MESSAGE(all[session].types.count(type) == 1, session, " without ", type);
  };
  heard("n1-to-r1",
        {"astra::lookup_atom", "answer: caf::strong_actor_ptr", "astra::heartbeat", "answer: astra::heartbeat_ack",
         "astra::profile_update", "astra::claim_batch", "answer: astra::claim_reply", "astra::release_batch"});
  heard("r2-to-r1", {"astra::subscribe", "answer: astra::subscribe_ack", "astra::view_delta"});
  heard("s1-to-r1", {"astra::scheduler_beat", "astra::claim_batch", "answer: astra::claim_reply",
                     "astra::release_batch", "astra::subscribe", "astra::view_delta"});
  heard("g1-to-r2", {"astra::subscribe", "astra::view_delta"});
  heard("g1-to-s1", {"astra::apply_app", "answer: astra::control_reply", "astra::delete_app", "astra::describe_app",
                     "answer: astra::app_detail"});
  heard("g1-to-n2", {"astra::reserve", "answer: astra::reserve_reply", "astra::invoke", "answer: astra::invoke_reply",
                     "astra::drain", "answer: astra::drain_reply"});
}
