#include "runtime/net/hello.hpp"

#include "config/endpoint.hpp"
#include "config/naming.hpp"
#include "messages/errc.hpp"
#include "messages/type_ids.hpp"
#include "messages/wire.hpp"
#include "runtime/net/hello.pb.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <cstring>

namespace astra {
namespace {

constexpr char magic[] = {'A', 'S', 'T', 1};

net_pb::Hello to_message(const hello& x) {
  net_pb::Hello out;
  out.set_cluster(x.self.cluster);
  out.set_protocol_min(x.protocol_min);
  out.set_protocol_max(x.protocol_max);
  out.set_name(x.self.name);
  for (auto role : process_peer_roles)
    if (x.self.roles.has(role))
      out.add_roles(to_string(role));
  out.set_incarnation(x.life.value());
  out.set_address(x.address);
  out.set_directory(x.directory);
  return out;
}

caf::error bad(std::string what) {
  return caf::make_error(errc::invalid_argument, std::move(what));
}

caf::expected<hello> from_message(const net_pb::Hello& in) {
  hello out;
  if (auto problem = name_problem(in.cluster()); !problem.empty())
    return bad("hello: cluster: " + problem);
  if (auto problem = name_problem(in.name()); !problem.empty())
    return bad("hello: name: " + problem);
  out.self.cluster = in.cluster();
  out.self.name = in.name();
  if (in.roles_size() > 8)
    return bad("hello: too many roles");
  for (auto& word : in.roles()) {
    auto role = parse_peer_role(word);
    // A later version may have more roles; what this one does not know gives no rights.
    if (role && *role != peer_role::operator_ && *role != peer_role::viewer)
      out.self.roles.add(*role);
  }
  if (out.self.roles.empty())
    return bad("hello: no role of a process");
  if (in.protocol_min() == 0 || in.protocol_min() > in.protocol_max())
    return bad("hello: no protocol version");
  out.protocol_min = in.protocol_min();
  out.protocol_max = in.protocol_max();
  out.life = incarnation{in.incarnation()};
  if (in.address().size() > 300 || !parse_endpoint(in.address()))
    return bad("hello: no address");
  out.address = in.address();
  if (in.directory() == 0)
    return bad("hello: no directory");
  out.directory = in.directory();
  return out;
}

} // namespace

caf::node_id caf_node(const peer_identity& who, incarnation life) {
  caf::hashed_node_id::host_id_type host{};
  std::size_t filled = 0;
  for (char part = 'a'; filled < host.size(); ++part) {
    auto hash = name_hash(part + who.cluster + '/' + who.name);
    for (int byte = 0; byte < 8 && filled < host.size(); ++byte, hash >>= 8)
      host[filled++] = static_cast<std::uint8_t>(hash);
  }
  auto process = static_cast<std::uint32_t>(name_hash(to_string(life)));
  return caf::make_node_id(process == 0 ? 1 : process, host);
}

std::string encode(const hello_frame& frame) {
  net_pb::Frame message;
  if (auto greeting = std::get_if<hello>(&frame)) {
    *message.mutable_hello() = to_message(*greeting);
  } else if (auto no = std::get_if<refusal>(&frame)) {
    message.mutable_refusal()->set_code(no->code);
    message.mutable_refusal()->set_reason(no->reason.substr(0, max_hello / 2));
    message.mutable_refusal()->set_retry_after_ms(no->retry_after_ms);
  } else {
    message.mutable_go();
  }
  auto body = encode(static_cast<const google::protobuf::MessageLite&>(message));
  assert(body.size() <= max_hello);
  std::string out{magic, sizeof(magic)};
  for (int shift = 24; shift >= 0; shift -= 8)
    out += static_cast<char>((body.size() >> shift) & 0xff);
  return out + body;
}

caf::expected<std::size_t> hello_body_size(std::span<const char> header) {
  assert(header.size() == hello_header);
  if (std::memcmp(header.data(), magic, 3) != 0)
    return bad("does not speak Astra's protocol");
  if (header[3] != magic[3])
    return bad(fmt::format("greets in version {} of Astra's protocol, this process in {}", header[3] & 0xff,
                           static_cast<int>(magic[3])));
  std::size_t size = 0;
  for (std::size_t i = 4; i < hello_header; ++i)
    size = size << 8 | static_cast<unsigned char>(header[i]);
  if (size == 0 || size > max_hello)
    return bad(fmt::format("hello: a frame of {} bytes, at most {} are allowed", size, max_hello));
  return size;
}

caf::expected<hello_frame> decode_hello(std::span<const char> body) {
  net_pb::Frame message;
  if (!decode(message, std::string{body.data(), body.size()}))
    return bad("hello: the frame is malformed");
  switch (message.content_case()) {
  case net_pb::Frame::kHello: {
    auto greeting = from_message(message.hello());
    if (!greeting)
      return std::move(greeting.error());
    return hello_frame{std::move(*greeting)};
  }
  case net_pb::Frame::kRefusal:
    return hello_frame{
        refusal{message.refusal().code(), message.refusal().reason(), message.refusal().retry_after_ms()}};
  case net_pb::Frame::kGo:
    return hello_frame{go_ahead{}};
  case net_pb::Frame::CONTENT_NOT_SET:
    break;
  }
  return bad("hello: an empty frame");
}

std::optional<refusal> objection(const hello& own, const hello& peer, const peer_identity* certified) {
  auto refuse = [](errc code, std::string reason) { return refusal{to_string(code), std::move(reason), 0}; };
  if (peer.self.cluster != own.self.cluster)
    return refuse(errc::invalid_argument,
                  fmt::format("{} is of cluster '{}', {} of '{}'; see net.cluster", peer.self.name, peer.self.cluster,
                              own.self.name, own.self.cluster));
  if (peer.protocol_max < own.protocol_min || peer.protocol_min > own.protocol_max)
    return refuse(
        errc::invalid_argument,
        fmt::format("{} speaks versions {} to {} of Astra's messages, {} versions {} to {}; upgrade the older "
                    "in steps of one version",
                    peer.self.name, peer.protocol_min, peer.protocol_max, own.self.name, own.protocol_min,
                    own.protocol_max));
  if (peer.self.name == own.self.name)
    return refuse(errc::conflict, peer.life == own.life ? "that is this process itself"
                                                        : "another process has the name " + own.self.name
                                                              + "; names are unique in a cluster");
  if (certified) {
    if (certified->cluster != peer.self.cluster || certified->name != peer.self.name)
      return refuse(errc::invalid_argument,
                    fmt::format("'{}' of cluster '{}' came with the certificate of '{}' of '{}'", peer.self.name,
                                peer.self.cluster, certified->name, certified->cluster));
    if (!certified->roles.has_all(peer.self.roles))
      return refuse(errc::invalid_argument,
                    fmt::format("{} has the roles {}, its certificate only {}; issue one with astra ca issue",
                                peer.self.name, to_string(peer.self.roles), to_string(certified->roles)));
  }
  return std::nullopt;
}

} // namespace astra
