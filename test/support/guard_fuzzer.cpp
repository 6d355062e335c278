#include "test/support/guard_fuzzer.hpp"

#include "messages/ids.hpp"
#include "messages/type_ids.hpp"

#include <caf/actor_system.hpp>
#include <caf/actor_system_config.hpp>
#include <caf/binary_deserializer.hpp>
#include <caf/error.hpp>
#include <caf/proxy_registry.hpp>
#include <caf/scoped_execution_unit.hpp>

#include <algorithm>
#include <optional>
#include <set>

namespace astra::test {
namespace {

/// Notes whose handles are made.
class noting_backend : public caf::proxy_registry::backend {
public:
  explicit noting_backend(caf::actor_system& sys) : sys_(sys) {}

  caf::strong_actor_ptr make_proxy(caf::node_id node, caf::actor_id) override {
    foreign = foreign || node != test_node(2);
    return nullptr;
  }
  void set_last_hop(caf::node_id*) override {}

  bool foreign = false;

private:
  caf::actor_system& sys_;
};

caf::byte_buffer to_caf(std::span<const std::byte> bytes) {
  caf::byte_buffer result(bytes.size());
  std::transform(bytes.begin(), bytes.end(), result.begin(),
                 [](std::byte byte) { return static_cast<caf::byte>(byte); });
  return result;
}

std::string foreign_words(const caf::message& content, const peer_identity& peer) {
  auto own = name_hash(peer.name);
  auto relays = peer.roles.has_any({peer_role::resource, peer_role::aggregator});
  if (content.match_elements<beat_batch>())
    for (auto& member : content.get_as<beat_batch>(0)->members())
      if (!peer.may_speak_for(member.name()) || member.beat().node() != name_hash(member.name()))
        return "a batch with a foreign node";
  if (content.match_elements<heartbeat>() && content.get_as<heartbeat>(0)->node() != own)
    return "a heartbeat of another node";
  if (content.match_elements<swarm_report>()) {
    auto& report = *content.get_as<swarm_report>(0);
    if (report.member() != own || report.name() != peer.name)
      return "a report of another node";
  }
  if (content.match_elements<profile_update>()) {
    auto& profile = content.get_as<profile_update>(0)->profile();
    auto of_its_nodes = peer.may_speak_for(profile.name()) && profile.node() == name_hash(profile.name());
    if ((profile.node() != own || profile.name() != peer.name) && !of_its_nodes)
      return "a profile of another node";
  }
  if (content.match_elements<scheduler_beat>()) {
    auto& beat = *content.get_as<scheduler_beat>(0);
    if (beat.scheduler() != own || beat.name() != peer.name)
      return "a beat of another scheduler";
    for (auto& app : beat.apps())
      if (!peer.may_claim_for(app.spec().name()))
        return "a beat for a foreign app";
  }
  if (content.match_elements<claim_batch>() && !relays) {
    auto& batch = *content.get_as<claim_batch>(0);
    if (batch.scheduler() != own || !peer.may_claim_for(batch.spec().name()))
      return "foreign claims";
  }
  if (content.match_elements<release_batch>() && !relays)
    for (auto& release : content.get_as<release_batch>(0)->releases())
      if (!peer.may_claim_for(release.app()))
        return "a foreign release";
  if (content.match_elements<prefetch_batch>() && !relays
      && !peer.may_claim_for(content.get_as<prefetch_batch>(0)->app()))
    return "a foreign prefetch";
  return {};
}

} // namespace

struct frame_decoder::impl {
  impl() : system(config), unit(&system), backend(system), proxies(system, backend) {
    unit.proxy_registry_ptr(&proxies);
    for (auto& one : sample_requests("x"))
      types.insert(one.type_at(0));
    for (auto& one : sample_answers())
      types.insert(one.type_at(0));
    types.insert(caf::type_id_v<caf::strong_actor_ptr>);
  }

  caf::actor_system_config config;
  caf::actor_system system;
  caf::scoped_execution_unit unit;
  noting_backend backend;
  caf::proxy_registry proxies;
  std::set<caf::type_id_t> types;
  std::size_t printed = 0;
};

frame_decoder::frame_decoder() : impl_(std::make_unique<impl>()) {}
frame_decoder::~frame_decoder() = default;

std::string frame_decoder::problem(std::span<const std::byte> frame, const peer_identity& peer, bool& decoded) {
  auto& s = *impl_;
  decoded = true;
  auto payload = to_caf(frame.subspan(frame_guard::header_size));
  caf::binary_deserializer source{&s.unit, payload};
  switch (static_cast<operation>(frame[0])) {
  case operation::direct_message: {
    std::vector<caf::strong_actor_ptr> stages;
    caf::message content;
    s.backend.foreign = false;
    if (!source.apply(stages) || !source.apply(content)) {
      decoded = false;
      return s.backend.foreign ? "a handle of another node" : "";
    }
    // As logs and unexpected-message handlers do.
    s.printed += caf::to_string(content).size();
    if (source.remaining() != 0)
      return "bytes behind the message";
    if (!stages.empty())
      return "a forwarding stack";
    if (s.backend.foreign)
      return "a handle of another node";
    if (!content.empty() && s.types.count(content.type_at(0)) == 0)
      return "a message of type " + std::to_string(content.type_at(0));
    return foreign_words(content, peer);
  }
  case operation::down_message:
  case operation::monitor_message: {
    caf::node_id from;
    caf::node_id to;
    caf::error reason;
    auto down = static_cast<operation>(frame[0]) == operation::down_message;
    if (!source.apply(from) || !source.apply(to) || (down && !source.apply(reason)) || source.remaining() != 0)
      return "CAF cannot read what passed";
    s.printed += to_string(reason).size();
    return from == test_node(2) && to == test_node(1) ? "" : "a word about another node";
  }
  default:
    return {};
  }
}

guarded_end make_fuzzed_end(std::uint64_t choice, peer_identity& peer) {
  constexpr auto node = peer_role::node;
  constexpr auto resource = peer_role::resource;
  constexpr auto scheduler = peer_role::scheduler;
  constexpr auto gateway = peer_role::gateway;
  static const struct {
    const char* name;
    peer_roles roles;
    peer_roles own;
    std::vector<std::string> apps;
  } kinds[] = {
      {"fuzz-1", {node}, {resource}, {}},
      {"fuzz-1", {node}, {gateway}, {}},
      {"fuzz-1", {resource}, {node}, {}},
      {"fuzz-1", {resource}, {resource, scheduler, gateway}, {}},
      {"fuzz-1", {scheduler}, {resource}, {"speech-*"}},
      {"fuzz-1", {scheduler}, {resource}, {"ocr"}},
      {"fuzz-1", {gateway}, {node, scheduler}, {}},
      {"fuzz-1", {node, scheduler, gateway}, {}, {}},
  };
  auto& kind = kinds[choice % std::size(kinds)];
  peer.name = kind.name;
  peer.roles = kind.roles;
  peer.apps = kind.apps;
  auto dialled = (choice >> 8) % 2 == 1;
  auto fresh = (choice >> 16) % 8 == 0;
  guarded_end result{kind.name, kind.roles, kind.own, kind.apps, dialled, !fresh};
  if (fresh)
    return result;
  static const auto asked = [] {
    std::vector<basp_frame> frames;
    auto requests = sample_requests("x");
    for (std::uint64_t request = 1; request < 19; ++request)
      frames.push_back(
          direct(request, guarded_end::speaker, guarded_end::stranger, requests[(request - 1) % requests.size()]));
    return frames;
  }();
  for (auto& one : asked)
    result.send(one);
  return result;
}

std::string guard_fuzzer::run(std::uint64_t frames) {
  auto samples = sample_frames("fuzz-1", test_node(2), test_node(1));
  peer_identity peer;
  std::optional<guarded_end> end;
  std::uint64_t left = 0;
  for (; frames > 0; --frames) {
    // A session lives until it is closed, or for a while: most floods are stopped by their rate otherwise.
    if (!end || left-- == 0) {
      end.emplace(make_fuzzed_end(mutator_.below(1u << 24), peer));
      left = 64 + mutator_.below(1024);
    }
    end->now += std::chrono::milliseconds{mutator_.below(40)};
    auto bytes = mutator_.mutate(samples).bytes();
    // Some come again and again, from ever more actors.
    auto others = mutator_.below(2) == 0;
    for (auto times = mutator_.below(128) == 0 ? (mutator_.below(8) == 0 ? 300 : 40) : 1; times > 0 && end; --times) {
      if (times > 1 && others)
        bytes[23] = static_cast<std::byte>(times);
      if (auto problem = offer(*end, peer, bytes); !problem.empty())
        return problem + ": " + to_hex_text(bytes);
      if (closed_ && mutator_.below(16) == 0)
        end.reset(); // Mostly it goes on, which no scribe would do: the guard must bear it.
    }
  }
  return {};
}

std::string guard_fuzzer::offer(guarded_end& end, const peer_identity& peer, std::span<const std::byte> bytes) {
  auto judged = end.receive(bytes);
  closed_ = judged.what == verdict::action::close;
  if (judged.detail.size() > 400
      || std::any_of(judged.detail.begin(), judged.detail.end(), [](char c) { return c < 0x20 || c > 0x7e; }))
    return "a detail that is no log line";
  if (judged.what == verdict::action::pass) {
    ++passed_;
    auto decoded = false;
    auto problem = decoder_.problem(bytes, peer, decoded);
    decoded_ += decoded ? 1 : 0;
    return problem;
  }
  if (closed_)
    ++refused_[static_cast<std::size_t>(judged.why)];
  else
    ++dropped_;
  return {};
}

} // namespace astra::test
