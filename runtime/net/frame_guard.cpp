#include "runtime/net/frame_guard.hpp"

#include "messages/aggregator_protocol.hpp"
#include "messages/ids.hpp"
#include "messages/profile_limits.hpp"
#include "messages/resource_protocol.hpp"
#include "messages/text.hpp"
#include "messages/transfer_protocol.hpp"
#include "messages/type_ids.hpp"
#include "runtime/net/byte_reader.hpp"

#include <caf/exit_reason.hpp>
#include <caf/io/basp/message_type.hpp>
#include <caf/io/basp/version.hpp>
#include <caf/sec.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <cstring>
#include <iterator>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <utility>

// The layout of frames is that of CAF 0.18: basp/header.hpp, basp/instance.cpp and binary_serializer.cpp.

namespace astra {
namespace {

using operation = caf::io::basp::message_type;

constexpr std::string_view names[] = {
    "none",
    "frame_too_large",
    "malformed",
    "handshake_expected",
    "second_handshake",
    "foreign_node",
    "operation",
    "named_receiver",
    "destination",
    "type",
    "body",
    "forwarding",
    "identity",
    "rate",
    "proxies",
    "unsolicited",
};
static_assert(std::size(names) == static_cast<std::size_t>(violation::count_));

// -- limits --------------------------------------------------------------------

/// A profile of a node with some hundred replicas is the largest message of the edge; nodes keep theirs small enough.
constexpr std::size_t edge_frame = 64 * 1024;
static_assert(edge_frame >= edge_body_max + 1024);
/// A snapshot of a shard of 10,000 nodes travels in one frame wherever it is not yet sent in chunks.
constexpr std::size_t core_frame = 8 * 1024 * 1024;
/// The default of gateway.body_limit, and the fields around the body.
constexpr std::size_t body_frame = 64 * 1024 * 1024 + 64 * 1024;
/// A server_handshake names the interface of one actor.
constexpr std::size_t handshake_frame = 4 * 1024;
constexpr std::size_t signatures_max = 64;
constexpr std::size_t app_ids_max = 16;
constexpr std::size_t word_max = 1024;
/// An error with its details.
constexpr std::size_t error_frame = 64 * 1024;
constexpr std::size_t error_details_max = 8;
constexpr std::size_t error_text_max = 4 * 1024;
constexpr std::size_t service_name_max = 256;
/// Of our actors that spoke last, half as many are remembered in any case.
constexpr std::size_t speakers_max = 4096;
/// Of our requests that have no answer yet, half as many are remembered in any case.
constexpr std::size_t requests_max = 16 * 1024;
/// Answers that nobody waits for, one after another: late ones never come in such numbers.
constexpr std::uint32_t unsolicited_max = 256;
constexpr std::size_t detail_text_max = 48;

/// A node id of CAF's default kind as it is written: which kind, the process's number, the host's hash.
constexpr std::size_t node_size = 1 + 4 + 20;
using node_bytes = std::array<std::byte, node_size>;
constexpr auto hashed_kind = std::byte{1};

// -- messages ------------------------------------------------------------------

constexpr auto no_type = caf::invalid_type_id;

enum class inspection : std::uint8_t {
  none,
  heartbeat,
  profile,
  beat_batch,
  scheduler_beat,
  claims,
  releases,
  prefetch,
  swarm_report
};

/// Whose messages of a type are taken.
struct way {
  peer_role from;
  /// The role whose actor is spoken to.
  peer_role to;
};

struct rule {
  caf::type_id_t type = no_type;
  /// What the answer to it is, if not an error.
  caf::type_id_t answer = no_type;
  inspection body = inspection::none;
  std::array<std::optional<way>, 4> ways;
};

constexpr auto node_role = peer_role::node;
constexpr auto resource_role = peer_role::resource;
constexpr auto scheduler_role = peer_role::scheduler;
constexpr auto gateway_role = peer_role::gateway;
constexpr auto aggregator_role = peer_role::aggregator;

template <class Message, class Answer = void>
constexpr rule make_rule(inspection body, std::optional<way> first, std::optional<way> second = {},
                         std::optional<way> third = {}, std::optional<way> fourth = {}) {
  rule result;
  result.type = caf::type_id_v<Message>;
  if constexpr (!std::is_void_v<Answer>)
    result.answer = caf::type_id_v<Answer>;
  result.body = body;
  result.ways = {first, second, third, fourth};
  return result;
}

/// Every message of the product that crosses processes and is no answer, but for the look-up.  Resources pass on what
/// schedulers ask of nodes.
constexpr rule rules[] = {
    make_rule<heartbeat, heartbeat_ack>(inspection::heartbeat, way{node_role, resource_role},
                                        way{node_role, aggregator_role}),
    make_rule<profile_update, heartbeat_ack>(inspection::profile, way{node_role, resource_role},
                                             way{node_role, aggregator_role}, way{aggregator_role, resource_role}),
    make_rule<beat_batch, beat_batch_ack>(inspection::beat_batch, way{aggregator_role, resource_role}),
    make_rule<reserve, reserve_reply>(inspection::none, way{gateway_role, node_role}),
    make_rule<invoke, invoke_reply>(inspection::none, way{gateway_role, node_role}),
    make_rule<cancel>(inspection::none, way{gateway_role, node_role}),
    make_rule<view_delta>(inspection::none, way{resource_role, resource_role}, way{resource_role, scheduler_role},
                          way{resource_role, gateway_role}),
    make_rule<subscribe, subscribe_ack>(inspection::none, way{resource_role, resource_role},
                                        way{scheduler_role, resource_role}, way{gateway_role, resource_role}),
    make_rule<scheduler_beat, heartbeat_ack>(inspection::scheduler_beat, way{scheduler_role, resource_role}),
    make_rule<claim_batch, claim_reply>(inspection::claims, way{scheduler_role, resource_role},
                                        way{resource_role, node_role}, way{resource_role, aggregator_role},
                                        way{aggregator_role, node_role}),
    make_rule<release_batch>(inspection::releases, way{scheduler_role, resource_role}, way{resource_role, node_role},
                             way{resource_role, aggregator_role}, way{aggregator_role, node_role}),
    make_rule<prefetch_batch>(inspection::prefetch, way{scheduler_role, resource_role}, way{resource_role, node_role},
                              way{resource_role, aggregator_role}, way{aggregator_role, node_role}),
    make_rule<apply_app, control_reply>(inspection::none, way{gateway_role, scheduler_role}),
    make_rule<delete_app, control_reply>(inspection::none, way{gateway_role, scheduler_role}),
    make_rule<describe_app, app_detail>(inspection::none, way{gateway_role, scheduler_role}),
    make_rule<drain, drain_reply>(inspection::none, way{gateway_role, node_role}),
    make_rule<event_query, event_page>(inspection::none, way{gateway_role, resource_role}),
    make_rule<node_query, node_page>(inspection::none, way{gateway_role, resource_role}),
    make_rule<report_query, resource_report>(inspection::none, way{gateway_role, resource_role}),
    make_rule<swarm_report, swarm_answer>(inspection::swarm_report, way{node_role, resource_role}),
    make_rule<manifest_query, manifest_part>(inspection::none, way{node_role, resource_role},
                                             way{resource_role, node_role}),
    make_rule<name_claim, name_grant>(inspection::none, way{node_role, resource_role}),
    make_rule<swarm_query, swarm_page>(inspection::none, way{node_role, resource_role},
                                       way{gateway_role, resource_role}),
    make_rule<set_swarm_limit, swarm_page>(inspection::none, way{gateway_role, resource_role}),
    make_rule<content_order, content_reply>(inspection::none, way{gateway_role, node_role}),
};

constexpr auto lookup_type = caf::type_id_v<lookup_atom>;
constexpr auto text_type = caf::type_id_v<std::string>;
constexpr auto error_type = caf::type_id_v<caf::error>;
constexpr auto handle_type = caf::type_id_v<caf::strong_actor_ptr>;

const rule* find_rule(caf::type_id_t type) {
  auto found = std::find_if(std::begin(rules), std::end(rules), [type](auto& one) { return one.type == type; });
  return found == std::end(rules) ? nullptr : found;
}

bool has(const std::vector<caf::type_id_t>& types, caf::type_id_t wanted) {
  return std::find(types.begin(), types.end(), wanted) != types.end();
}

guard_profile make_edge() {
  guard_profile result;
  result.name = "edge";
  result.max_frame = edge_frame;
  result.max_body = body_frame;
  // A node sends its profile at most each 20 ms while replicas come up, and a beat per second.
  result.frames_per_s = 60;
  result.burst = 240;
  // A node and its dialer, and what a supervisor starts anew; those that end are forgotten.
  result.max_proxies = 32;
  result.requests = {caf::type_id_v<heartbeat>,
                     caf::type_id_v<profile_update>,
                     caf::type_id_v<swarm_report>,
                     caf::type_id_v<manifest_query>,
                     caf::type_id_v<name_claim>,
                     caf::type_id_v<swarm_query>,
                     lookup_type};
  result.responses = {error_type,
                      handle_type,
                      caf::type_id_v<claim_reply>,
                      caf::type_id_v<reserve_reply>,
                      caf::type_id_v<invoke_reply>,
                      caf::type_id_v<drain_reply>,
                      caf::type_id_v<manifest_part>,
                      caf::type_id_v<content_reply>};
  return result;
}

guard_profile make_core() {
  guard_profile result;
  result.name = "core";
  result.max_frame = core_frame;
  result.max_body = body_frame;
  // A gateway's requests are three frames each.
  result.frames_per_s = 100'000;
  result.burst = 200'000;
  // A router per app.
  result.max_proxies = 8192;
  result.requests = {lookup_type};
  result.responses = {error_type, handle_type};
  for (auto& one : rules) {
    result.requests.push_back(one.type);
    if (one.answer != no_type && !has(result.responses, one.answer))
      result.responses.push_back(one.answer);
  }
  return result;
}

// -- small helpers ---------------------------------------------------------------

std::optional<node_bytes> write_node(const caf::node_id& node) {
  node_bytes result{};
  if (!node || !caf::holds_alternative<caf::hashed_node_id>(node->content))
    return std::nullopt;
  auto& id = caf::get<caf::hashed_node_id>(node->content);
  result[0] = hashed_kind;
  for (std::size_t i = 0; i < 4; ++i)
    result[1 + i] = static_cast<std::byte>(id.process_id >> (24 - 8 * i));
  static_assert(sizeof id.host == 20);
  std::memcpy(result.data() + 5, id.host.data(), id.host.size());
  return result;
}

/// Bytes of an integer; 0: the type is none.
std::size_t size_of_number(caf::type_id_t type) {
  switch (type) {
  case caf::type_id_v<std::int8_t>:
  case caf::type_id_v<std::uint8_t>:
    return 1;
  case caf::type_id_v<std::int16_t>:
  case caf::type_id_v<std::uint16_t>:
    return 2;
  case caf::type_id_v<std::int32_t>:
  case caf::type_id_v<std::uint32_t>:
    return 4;
  case caf::type_id_v<std::int64_t>:
  case caf::type_id_v<std::uint64_t>:
    return 8;
  default:
    return 0;
  }
}

verdict closed(violation why, std::string detail) {
  return {verdict::action::close, why, std::move(detail)};
}

/// A set of actors that is small as a rule.
class actor_set {
public:
  bool contains(caf::actor_id id) const { return std::binary_search(ids_.begin(), ids_.end(), id); }
  std::size_t size() const { return ids_.size(); }

  void insert(caf::actor_id id) {
    auto place = std::lower_bound(ids_.begin(), ids_.end(), id);
    if (place == ids_.end() || *place != id)
      ids_.insert(place, id);
  }

  void erase(caf::actor_id id) {
    auto place = std::lower_bound(ids_.begin(), ids_.end(), id);
    if (place != ids_.end() && *place == id)
      ids_.erase(place);
  }

private:
  std::vector<caf::actor_id> ids_;
};

/// The actors that were inserted last: in two generations, of which the older one is forgotten when the younger one is
/// full.
class recent_actors {
public:
  bool contains(caf::actor_id id) const { return young_.contains(id) || old_.contains(id); }

  void insert(caf::actor_id id) {
    young_.insert(id);
    if (young_.size() >= speakers_max / 2)
      old_ = std::exchange(young_, {});
  }

private:
  actor_set young_;
  actor_set old_;
};

/// Our requests that have no answer yet, in two generations as well.
class open_requests {
public:
  void insert(caf::actor_id from, std::uint64_t id, caf::type_id_t type) {
    young_[{from, id}] = type;
    if (young_.size() >= requests_max / 2)
      old_ = std::exchange(young_, {});
  }

  /// The type of the request; nothing when there is none of this name.
  std::optional<caf::type_id_t> find(caf::actor_id from, std::uint64_t id) const {
    for (auto generation : {&young_, &old_})
      if (auto found = generation->find({from, id}); found != generation->end())
        return found->second;
    return std::nullopt;
  }

  void erase(caf::actor_id from, std::uint64_t id) {
    if (young_.erase({from, id}) == 0)
      old_.erase({from, id});
  }

private:
  using name = std::pair<caf::actor_id, std::uint64_t>;
  struct hash {
    std::size_t operator()(const name& x) const {
      return static_cast<std::size_t>((x.first * 0x9e3779b97f4a7c15U) ^ x.second);
    }
  };
  using generation = std::unordered_map<name, caf::type_id_t, hash>;

  generation young_;
  generation old_;
};

// -- headers ---------------------------------------------------------------------

struct header {
  std::uint8_t operation_code = 0;
  std::uint8_t padding1 = 0;
  std::uint8_t padding2 = 0;
  std::uint8_t flags = 0;
  std::uint32_t payload_size = 0;
  std::uint64_t operation_data = 0;
  std::uint64_t source = 0;
  std::uint64_t destination = 0;

  bool is(operation what) const { return operation_code == static_cast<std::uint8_t>(what); }
};

std::optional<header> read_header(std::span<const std::byte> bytes) {
  byte_reader reader{bytes};
  header result;
  if (!reader.number(result.operation_code) || !reader.number(result.padding1) || !reader.number(result.padding2)
      || !reader.number(result.flags) || !reader.number(result.payload_size) || !reader.number(result.operation_data)
      || !reader.number(result.source) || !reader.number(result.destination))
    return std::nullopt;
  return result;
}

// The operation data of a direct message is CAF's message id.
constexpr std::uint64_t response_bit = std::uint64_t{1} << 63;
constexpr std::uint64_t answered_bit = std::uint64_t{1} << 62;
/// Set in messages of streams.
constexpr std::uint64_t stream_bit = std::uint64_t{1} << 61;
constexpr std::uint64_t request_mask = (std::uint64_t{1} << 60) - 1;

bool is_response(std::uint64_t message_id) {
  return (message_id & response_bit) != 0;
}

} // namespace

std::string to_string(violation what) {
  auto index = static_cast<std::size_t>(what);
  return std::string{index < std::size(names) ? names[index] : "?"};
}

const guard_profile& profile_of(const peer_identity& identity) {
  static const auto edge = make_edge();
  static const auto core = make_core();
  return identity.roles.has_any({resource_role, scheduler_role, gateway_role, aggregator_role}) ? core : edge;
}

// -- the guard ---------------------------------------------------------------------

struct frame_guard::state {
  explicit state(session&& s)
    : peer(std::move(s.peer)), own_name(std::move(s.own_name)), own_roles(s.own_roles), dialled(s.dialled),
      directory(s.directory), is_service(std::move(s.is_service)), profile(profile_of(peer)),
      name_id(name_hash(peer.name)), tokens(profile.burst) {
    auto own = write_node(s.own_node);
    auto other = write_node(s.peer_node);
    assert(own && other);
    own_node = *own;
    peer_node = *other;
  }

  verdict check_header(time_point now);
  verdict check_direct_header();
  verdict check_rate(time_point now);
  verdict check_handshake(std::span<const std::byte> payload);
  verdict check_direct(std::span<const std::byte> payload);
  verdict check_request(byte_reader& reader, caf::type_id_t first, std::size_t count);
  verdict check_lookup(byte_reader& reader, std::size_t count);
  verdict check_response(byte_reader& reader, std::size_t count);
  verdict check_monitor(std::span<const std::byte> payload);
  verdict check_down(std::span<const std::byte> payload);
  verdict check_nodes(byte_reader& reader) const;
  std::optional<std::string> check_error(byte_reader& reader) const;
  verdict inspect(inspection how, std::string_view body) const;
  verdict add_proxy(caf::actor_id id);
  bool may_address(caf::actor_id id) const;
  bool relays_claims() const;
  void note_sent(const header& sent, std::span<const std::byte> payload);

  peer_identity peer;
  std::string own_name;
  peer_roles own_roles;
  bool dialled = false;
  bool handshake_seen = false;
  bool handshake_sent = false;
  caf::actor_id directory = 0;
  std::function<bool(caf::actor_id)> is_service;
  const guard_profile& profile;
  /// What the peer must call itself where a number stands for its name.
  std::uint64_t name_id;
  node_bytes own_node{};
  node_bytes peer_node{};
  header current;
  recent_actors speakers;
  actor_set proxies;
  open_requests requests;
  std::uint32_t unsolicited = 0;
  double tokens;
  time_point filled{};
};

frame_guard::frame_guard(session about) : state_(std::make_unique<state>(std::move(about))) {}
frame_guard::~frame_guard() = default;
frame_guard::frame_guard(frame_guard&&) noexcept = default;

verdict frame_guard::on_header(std::span<const std::byte> bytes, time_point now) {
  auto header = read_header(bytes);
  if (!header || bytes.size() != header_size)
    return closed(violation::malformed, fmt::format("a header of {} bytes", bytes.size()));
  state_->current = *header;
  return state_->check_header(now);
}

std::size_t frame_guard::payload_size() const {
  return state_->current.payload_size;
}

verdict frame_guard::on_payload(std::span<const std::byte> payload) {
  auto& s = *state_;
  if (payload.size() != s.current.payload_size)
    return closed(violation::malformed,
                  fmt::format("{} bytes of payload, {} were announced", payload.size(), s.current.payload_size));
  switch (static_cast<operation>(s.current.operation_code)) {
  case operation::server_handshake:
  case operation::client_handshake:
    return s.check_handshake(payload);
  case operation::direct_message:
    return s.check_direct(payload);
  case operation::monitor_message:
    return s.check_monitor(payload);
  case operation::down_message:
    return s.check_down(payload);
  case operation::heartbeat:
    return {};
  default:
    return closed(violation::operation, fmt::format("operation {}", s.current.operation_code));
  }
}

bool frame_guard::established() const {
  return state_->handshake_seen && state_->handshake_sent;
}

// -- headers ---------------------------------------------------------------------

verdict frame_guard::state::check_header(time_point now) {
  auto& h = current;
  if (h.padding1 != 0 || h.padding2 != 0)
    return closed(violation::malformed, "bytes that CAF leaves zero are not");
  if ((h.flags & 1) != 0)
    return closed(violation::named_receiver, fmt::format("addresses the server of number {}", h.destination));
  if (h.flags != 0)
    return closed(violation::malformed, fmt::format("flags {}", h.flags));
  auto handshake = h.is(operation::server_handshake) || h.is(operation::client_handshake);
  if (!handshake_seen) {
    if (!h.is(dialled ? operation::server_handshake : operation::client_handshake))
      return closed(violation::handshake_expected, fmt::format("operation {} comes first", h.operation_code));
  } else if (handshake) {
    return closed(violation::second_handshake, fmt::format("operation {}", h.operation_code));
  }
  if (auto refused = check_rate(now); refused.what != verdict::action::pass)
    return refused;
  auto malformed = [&h] {
    return closed(violation::malformed,
                  fmt::format("operation {} with payload {}, data {}, source {}, destination {}", h.operation_code,
                              h.payload_size, h.operation_data, h.source, h.destination));
  };
  auto too_large = [&h](std::size_t limit) {
    return closed(violation::frame_too_large,
                  fmt::format("{} bytes in operation {}, at most {}", h.payload_size, h.operation_code, limit));
  };
  switch (static_cast<operation>(h.operation_code)) {
  case operation::server_handshake:
    if (h.payload_size > handshake_frame)
      return too_large(handshake_frame);
    if (h.payload_size < node_size || h.operation_data != caf::io::basp::version || h.source != 0 || h.destination != 0)
      return malformed();
    return {};
  case operation::client_handshake:
    if (h.payload_size != node_size || h.operation_data != 0 || h.source != 0 || h.destination != 0)
      return malformed();
    return {};
  case operation::direct_message:
    return check_direct_header();
  case operation::monitor_message:
    if (h.payload_size != 2 * node_size || h.operation_data != 0 || h.source != 0 || h.destination == 0)
      return malformed();
    return {};
  case operation::down_message:
    if (h.payload_size > error_frame)
      return too_large(error_frame);
    if (h.payload_size <= 2 * node_size || h.operation_data != 0 || h.source == 0 || h.destination != 0)
      return malformed();
    return {};
  case operation::heartbeat:
    if (h.payload_size != 0 || h.operation_data != 0 || h.source != 0 || h.destination != 0)
      return malformed();
    return {};
  default:
    return closed(violation::operation, fmt::format("operation {}", h.operation_code));
  }
}

verdict frame_guard::state::check_direct_header() {
  auto& h = current;
  auto limit = profile.max_frame;
  if (is_response(h.operation_data)) {
    if (requests.find(h.destination, h.operation_data & request_mask) == caf::type_id_v<invoke>)
      limit = profile.max_body;
  } else if (peer.roles.has(gateway_role)) {
    limit = profile.max_body;
  }
  if (h.payload_size > limit)
    return closed(violation::frame_too_large, fmt::format("a message of {} bytes, at most {}", h.payload_size, limit));
  // The smallest message: no forwarding stack, no elements.
  if (h.payload_size < 2 || h.destination == 0)
    return closed(violation::malformed,
                  fmt::format("a message of {} bytes to actor {}", h.payload_size, h.destination));
  if ((h.operation_data & (answered_bit | stream_bit)) != 0
      || (is_response(h.operation_data) && (h.operation_data & request_mask) == 0))
    return closed(violation::malformed, fmt::format("message id {:#x}", h.operation_data));
  return {};
}

verdict frame_guard::state::check_rate(time_point now) {
  if (filled != time_point{} && now > filled)
    tokens =
        std::min(profile.burst, tokens + profile.frames_per_s * std::chrono::duration<double>(now - filled).count());
  filled = std::max(filled, now);
  // We asked for it.
  if (current.is(operation::direct_message) && is_response(current.operation_data)
      && requests.find(current.destination, current.operation_data & request_mask))
    return {};
  if (tokens < 1)
    return closed(violation::rate, fmt::format("more than {} frames per second", profile.frames_per_s));
  tokens -= 1;
  return {};
}

// -- handshakes --------------------------------------------------------------------

verdict frame_guard::state::check_handshake(std::span<const std::byte> payload) {
  byte_reader reader{payload};
  std::span<const std::byte> node;
  if (!reader.bytes(node, node_size) || node[0] != hashed_kind)
    return closed(violation::malformed, "a node id that is not of the default kind");
  if (std::equal(node.begin(), node.end(), own_node.begin()))
    return closed(violation::foreign_node, "it claims to be this process");
  if (!std::equal(node.begin(), node.end(), peer_node.begin()))
    return closed(violation::foreign_node, "another node than its hello said");
  if (current.is(operation::server_handshake)) {
    auto bad = [](const char* what) { return closed(violation::malformed, what); };
    std::size_t count = 0;
    std::string_view word;
    if (!reader.length(count) || count > app_ids_max)
      return bad("app identifiers");
    for (std::size_t i = 0; i < count; ++i)
      if (!reader.text(word, word_max))
        return bad("app identifiers");
    std::uint64_t published = 0;
    if (!reader.number(published))
      return bad("no number of an actor");
    if (!reader.length(count) || count > signatures_max)
      return bad("signatures");
    for (std::size_t i = 0; i < count; ++i)
      if (!reader.text(word, word_max))
        return bad("signatures");
    if (published != 0)
      proxies.insert(published);
  }
  if (!reader.done())
    return closed(violation::malformed, fmt::format("{} bytes after the handshake", reader.left()));
  handshake_seen = true;
  return {};
}

// -- messages ----------------------------------------------------------------------

verdict frame_guard::state::check_direct(std::span<const std::byte> payload) {
  byte_reader reader{payload};
  std::size_t stack = 0;
  if (!reader.length(stack))
    return closed(violation::malformed, "no forwarding stack");
  if (stack != 0)
    return closed(violation::forwarding, fmt::format("a forwarding stack of {} actors", stack));
  std::size_t count = 0;
  if (!reader.length(count))
    return closed(violation::malformed, "no list of types");
  if (is_response(current.operation_data))
    return check_response(reader, count);
  if (!may_address(current.destination))
    return closed(violation::destination, fmt::format("actor {} is none that it may address", current.destination));
  caf::type_id_t first = no_type;
  if (count == 0 || !reader.number(first))
    return closed(violation::type, "an empty message");
  if (auto refused = check_request(reader, first, count); refused.what != verdict::action::pass)
    return refused;
  unsolicited = 0;
  return add_proxy(current.source);
}

verdict frame_guard::state::check_request(byte_reader& reader, caf::type_id_t first, std::size_t count) {
  if (!has(profile.requests, first))
    return closed(violation::type, fmt::format("type {}", first));
  if (current.payload_size > profile.max_frame && first != caf::type_id_v<invoke>)
    return closed(violation::frame_too_large,
                  fmt::format("{} bytes of type {}, at most {}", current.payload_size, first, profile.max_frame));
  if (first == lookup_type)
    return check_lookup(reader, count);
  if (count != 1)
    return closed(violation::type, fmt::format("{} elements, the first of type {}", count, first));
  auto found = find_rule(first);
  assert(found != nullptr);
  auto passes = [this](auto& one) {
    return one && peer.roles.has(one->from) && (own_roles.empty() || own_roles.has(one->to));
  };
  if (std::none_of(found->ways.begin(), found->ways.end(), passes))
    return closed(violation::identity, fmt::format("type {} is not for its roles", first));
  std::string_view body;
  if (!reader.text(body, current.payload_size) || !reader.done())
    return closed(violation::body, fmt::format("the length of type {} does not fit", first));
  return inspect(found->body, body);
}

verdict frame_guard::state::check_lookup(byte_reader& reader, std::size_t count) {
  caf::type_id_t second = no_type;
  if (count != 2 || !reader.number(second) || second != text_type)
    return closed(violation::type, fmt::format("a look-up of {} elements, the second of type {}", count, second));
  std::string_view service;
  if (!reader.text(service, service_name_max) || !reader.done())
    return closed(violation::body, "the name of a service");
  if (!peer.roles.has_any({resource_role, scheduler_role, gateway_role}) && service != resource_service
      && service != aggregator_service && service != tracker_service)
    return closed(violation::identity, fmt::format("looks up \"{}\"", printable(service, detail_text_max)));
  return {};
}

verdict frame_guard::state::check_response(byte_reader& reader, std::size_t count) {
  auto id = current.operation_data & request_mask;
  auto asked = requests.find(current.destination, id);
  if (!asked) {
    if (++unsolicited >= unsolicited_max)
      return closed(violation::unsolicited, fmt::format("{} answers that nobody waits for", unsolicited));
    return {verdict::action::drop, violation::unsolicited,
            fmt::format("actor {} waits for no answer to {}", current.destination, id)};
  }
  requests.erase(current.destination, id);
  unsolicited = 0;
  auto wanted = no_type;
  if (*asked == lookup_type)
    wanted = handle_type;
  else if (auto found = find_rule(*asked))
    wanted = found->answer;
  if (auto refused = add_proxy(current.source); refused.what != verdict::action::pass)
    return refused;
  if (count == 0 && wanted == no_type && reader.done())
    return {};
  caf::type_id_t first = no_type;
  if (count != 1 || !reader.number(first) || (first != wanted && first != error_type) || !has(profile.responses, first))
    return closed(violation::type,
                  fmt::format("an answer of {} elements, the first of type {}, to type {}", count, first, *asked));
  if (first == error_type) {
    if (auto problem = check_error(reader))
      return closed(violation::body, *problem);
    if (!reader.done())
      return closed(violation::body, "bytes after an error");
    return {};
  }
  if (first == handle_type) {
    std::uint64_t found = 0;
    std::span<const std::byte> node;
    if (!reader.number(found) || found == 0 || !reader.bytes(node, node_size) || !reader.done())
      return closed(violation::body, "not the handle of an actor");
    if (!std::equal(node.begin(), node.end(), peer_node.begin()))
      return closed(violation::foreign_node, "a handle of another node");
    return add_proxy(found);
  }
  std::string_view body;
  if (!reader.text(body, current.payload_size) || !reader.done())
    return closed(violation::body, fmt::format("the length of type {} does not fit", first));
  return {};
}

/// What is wrong with an error, if anything.  CAF decodes whatever types an error says it holds, to any depth, and
/// crashes when one of an unknown category is printed.
std::optional<std::string> frame_guard::state::check_error(byte_reader& reader) const {
  std::uint8_t present = 0;
  if (!reader.number(present) || present > 1)
    return "not an error";
  if (present == 0)
    return std::nullopt;
  std::uint8_t code = 0;
  caf::type_id_t category = no_type;
  if (!reader.number(code) || !reader.number(category))
    return "half an error";
  caf::sec system_code{};
  caf::exit_reason exit_code{};
  // A code of ours may be new.
  auto known =
      category == caf::type_id_v<errc> || (category == caf::type_id_v<caf::sec> && caf::from_integer(code, system_code))
      || (category == caf::type_id_v<caf::exit_reason> && caf::from_integer(code, exit_code));
  if (!known)
    return fmt::format("an error {} of category {}", code, category);
  std::size_t count = 0;
  if (!reader.length(count) || count > error_details_max)
    return "the context of an error";
  std::array<caf::type_id_t, error_details_max> types{};
  for (auto& type : std::span{types}.first(count))
    if (!reader.number(type) || (type != text_type && size_of_number(type) == 0))
      return fmt::format("type {} in the context of an error", type);
  for (auto type : std::span{types}.first(count)) {
    std::string_view text;
    std::span<const std::byte> number;
    if (type == text_type ? !reader.text(text, error_text_max) : !reader.bytes(number, size_of_number(type)))
      return "a detail in the context of an error";
  }
  return std::nullopt;
}

// -- proxies -----------------------------------------------------------------------

verdict frame_guard::state::check_nodes(byte_reader& reader) const {
  std::span<const std::byte> from;
  std::span<const std::byte> to;
  if (!reader.bytes(from, node_size) || !reader.bytes(to, node_size))
    return closed(violation::malformed, "no node ids");
  if (!std::equal(from.begin(), from.end(), peer_node.begin()))
    return closed(violation::foreign_node, "speaks for another node");
  if (!std::equal(to.begin(), to.end(), own_node.begin()))
    return closed(violation::foreign_node, "means another node");
  return {};
}

verdict frame_guard::state::check_monitor(std::span<const std::byte> payload) {
  byte_reader reader{payload};
  if (auto refused = check_nodes(reader); refused.what != verdict::action::pass)
    return refused;
  if (!reader.done())
    return closed(violation::malformed, fmt::format("{} bytes too many", reader.left()));
  if (!may_address(current.destination))
    return closed(violation::destination, fmt::format("actor {} is none that it may monitor", current.destination));
  return {};
}

verdict frame_guard::state::check_down(std::span<const std::byte> payload) {
  byte_reader reader{payload};
  if (auto refused = check_nodes(reader); refused.what != verdict::action::pass)
    return refused;
  if (auto problem = check_error(reader))
    return closed(violation::body, *problem);
  if (!reader.done())
    return closed(violation::body, "bytes after an error");
  // CAF lets go of its proxy.
  proxies.erase(current.source);
  return {};
}

verdict frame_guard::state::add_proxy(caf::actor_id id) {
  if (id == 0)
    return {};
  proxies.insert(id);
  if (proxies.size() > profile.max_proxies)
    return closed(violation::proxies, fmt::format("speaks for more than {} actors", profile.max_proxies));
  return {};
}

bool frame_guard::state::may_address(caf::actor_id id) const {
  return id == directory || speakers.contains(id) || (is_service && is_service(id));
}

// -- bodies ------------------------------------------------------------------------

using kind = field_reader::kind;

/// A Resource passes on to its nodes what any scheduler claims.
bool frame_guard::state::relays_claims() const {
  if (peer.roles.has(resource_role))
    return own_roles.empty() || own_roles.has_any({node_role, aggregator_role});
  return peer.roles.has(aggregator_role) && (own_roles.empty() || own_roles.has(node_role))
         && peer.may_speak_for(own_name);
}

/// Who says it, and for which app.  Within a Protobuf message the last of several values counts, and parts of the same
/// message within it are merged.
verdict frame_guard::state::inspect(inspection how, std::string_view body) const {
  auto broken = [] { return closed(violation::body, "not a Protobuf message"); };
  auto foreign = [](const char* what) { return closed(violation::identity, fmt::format("{} of another", what)); };
  auto not_its_app = [](std::string_view app) {
    return closed(violation::identity, fmt::format("speaks for the app \"{}\"", printable(app, detail_text_max)));
  };
  /// The text of field `number` in parts of one message.
  auto text_in = [](std::string_view part, std::uint32_t number, std::string_view& text) {
    field_reader inner{part};
    while (inner.next())
      if (inner.is(number, kind::bytes))
        text = inner.content;
    return !inner.failed();
  };
  field_reader fields{body};
  switch (how) {
  case inspection::none:
    return {};
  case inspection::heartbeat: {
    std::uint64_t node = 0;
    while (fields.next())
      if (fields.is(1, kind::fixed64))
        node = fields.value;
    if (fields.failed())
      return broken();
    return node == name_id ? verdict{} : foreign("the heartbeat");
  }
  case inspection::profile: {
    std::uint64_t node = 0;
    std::string_view name;
    while (fields.next()) {
      if (!fields.is(1, kind::bytes))
        continue;
      field_reader inner{fields.content};
      while (inner.next()) {
        if (inner.is(1, kind::fixed64))
          node = inner.value;
        else if (inner.is(4, kind::bytes))
          name = inner.content;
      }
      if (inner.failed())
        return broken();
    }
    if (fields.failed())
      return broken();
    auto own = node == name_id && name == peer.name && peer.roles.has(node_role);
    auto of_its_nodes = peer.may_speak_for(name) && node == name_hash(name);
    return own || of_its_nodes ? verdict{} : foreign("the profile");
  }
  case inspection::beat_batch:
    while (fields.next()) {
      if (!fields.is(1, kind::bytes))
        continue;
      std::string_view name;
      std::uint64_t node = 0;
      field_reader member{fields.content};
      while (member.next()) {
        if (member.is(2, kind::bytes)) {
          name = member.content;
        } else if (member.is(3, kind::bytes)) {
          field_reader beat{member.content};
          while (beat.next())
            if (beat.is(1, kind::fixed64))
              node = beat.value;
          if (beat.failed())
            return broken();
        }
      }
      if (member.failed())
        return broken();
      if (!peer.may_speak_for(name) || node != name_hash(name))
        return closed(violation::identity, fmt::format("speaks for the node \"{}\"", printable(name, detail_text_max)));
    }
    return fields.failed() ? broken() : verdict{};
  case inspection::scheduler_beat: {
    std::uint64_t scheduler = 0;
    std::string_view name;
    while (fields.next()) {
      if (fields.is(1, kind::fixed64)) {
        scheduler = fields.value;
      } else if (fields.is(2, kind::bytes)) {
        name = fields.content;
      } else if (fields.is(6, kind::bytes) && !peer.apps.empty()) {
        std::string_view app;
        field_reader record{fields.content};
        while (record.next())
          if (record.is(1, kind::bytes) && !text_in(record.content, 1, app))
            return broken();
        if (record.failed())
          return broken();
        if (!peer.may_claim_for(app))
          return not_its_app(app);
      }
    }
    if (fields.failed())
      return broken();
    return scheduler == name_id && name == peer.name ? verdict{} : foreign("the beat");
  }
  case inspection::swarm_report: {
    std::uint64_t member = 0;
    std::string_view name;
    while (fields.next()) {
      if (fields.is(1, kind::fixed64))
        member = fields.value;
      else if (fields.is(3, kind::bytes))
        name = fields.content;
    }
    if (fields.failed())
      return broken();
    return member == name_id && name == peer.name ? verdict{} : foreign("the report");
  }
  case inspection::claims: {
    if (relays_claims())
      return {};
    std::uint64_t scheduler = 0;
    std::string_view app;
    while (fields.next()) {
      if (fields.is(2, kind::fixed64))
        scheduler = fields.value;
      else if (fields.is(3, kind::bytes) && !text_in(fields.content, 1, app))
        return broken();
    }
    if (fields.failed())
      return broken();
    if (scheduler != name_id)
      return foreign("claims");
    return peer.may_claim_for(app) ? verdict{} : not_its_app(app);
  }
  case inspection::releases:
    if (relays_claims() || peer.apps.empty())
      return {};
    while (fields.next()) {
      if (!fields.is(1, kind::bytes))
        continue;
      std::string_view app;
      if (!text_in(fields.content, 1, app))
        return broken();
      if (!peer.may_claim_for(app))
        return not_its_app(app);
    }
    return fields.failed() ? broken() : verdict{};
  case inspection::prefetch: {
    if (relays_claims() || peer.apps.empty())
      return {};
    std::string_view app;
    if (!text_in(body, 1, app))
      return broken();
    return peer.may_claim_for(app) ? verdict{} : not_its_app(app);
  }
  }
  return {};
}

// -- what we send --------------------------------------------------------------------

std::vector<frame_guard::cut> frame_guard::on_sent(std::span<const std::byte> frames) {
  std::vector<cut> result;
  for (std::size_t offset = 0; offset < frames.size();) {
    auto left = frames.subspan(offset);
    auto sent = read_header(left);
    assert(sent && left.size() - header_size >= sent->payload_size);
    auto size = header_size + sent->payload_size;
    if (sent->flags != 0)
      result.push_back({offset, size});
    else
      state_->note_sent(*sent, left.subspan(header_size, sent->payload_size));
    offset += size;
  }
  return result;
}

void frame_guard::state::note_sent(const header& sent, std::span<const std::byte> payload) {
  if (sent.is(dialled ? operation::client_handshake : operation::server_handshake)) {
    handshake_sent = true;
    return;
  }
  if (!sent.is(operation::direct_message))
    return;
  if (sent.source != 0)
    speakers.insert(sent.source);
  byte_reader reader{payload};
  std::size_t stack = 0;
  std::size_t count = 0;
  caf::type_id_t first = no_type;
  if (!reader.length(stack) || stack != 0 || !reader.length(count) || count == 0 || !reader.number(first))
    return;
  auto request = sent.operation_data & request_mask;
  if (!is_response(sent.operation_data)) {
    if (request != 0 && sent.source != 0)
      requests.insert(sent.source, request, first);
    return;
  }
  std::uint64_t told = 0;
  std::span<const std::byte> node;
  if (first == handle_type && reader.number(told) && reader.bytes(node, node_size)
      && std::equal(node.begin(), node.end(), own_node.begin()))
    speakers.insert(told);
}

} // namespace astra
