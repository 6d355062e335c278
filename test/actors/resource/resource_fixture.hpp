#pragma once

#include "actors/rendezvous.hpp"
#include "actors/resource/cluster_view.hpp"
#include "actors/resource/resource.hpp"
#include "messages/node_protocol.hpp"
#include "test/support/actor_fixture.hpp"

#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>
#include <caf/typed_response_promise.hpp>

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace astra::test {

/// What a test sees of a stand-in node, and how it steers it.
struct fake_node {
  std::string name;
  std::vector<std::string> resources;
  /// What it dials there.
  std::string service = resource_service;
  std::uint64_t incarnation = 1;
  pb::NodeProfile profile;
  /// Frozen: neither beats nor answers claims.
  bool silent = false;
  bool draining = false;
  bool leaving = false;
  /// Refuses every claim with this outcome, unless unknown.
  pb::ClaimOutcome refusal = pb::CLAIM_UNKNOWN;

  std::uint64_t home_epoch = 0;
  std::uint64_t sequence = 0;
  bool fenced = false;
  std::vector<pb::ClaimBatch> asked;
  std::vector<pb::Release> released;
  std::vector<pb::PrefetchBatch> prefetched;
  node_actor handle;
};

/// A node as Resources know it: beats once per second to a home that it leaves when it gets no answer.
class fake_node_state {
public:
  static constexpr const char* name = "fake-node";

  fake_node_state(node_actor::pointer self, std::shared_ptr<fake_node> node, platform* world)
    : self_(self), node_(std::move(node)), world_(world), order_(rendezvous_order(node_->name, node_->resources)) {}

  node_actor::behavior_type make_behavior() {
    dial();
    tick();
    return {
        [](const reserve&) { return reserve_reply{}; },
        [](const invoke&) { return invoke_reply{}; },
        [](const cancel&) {},
        [this](const claim_batch& batch) { return on_claims(*batch); },
        [this](const release_batch& batch) {
          for (auto& release : batch->releases())
            node_->released.push_back(release);
        },
        [this](const prefetch_batch& batch) { node_->prefetched.push_back(*batch); },
        [](const process_exited&) {},
        [](const drain&) { return drain_reply{}; },
        [](stop_atom, caf::timespan) {},
    };
  }

private:
  void tick() {
    self_->run_delayed(std::chrono::seconds{1}, [this] { tick(); });
    beat();
  }

  void dial() {
    if (order_.empty())
      return;
    ++node_->home_epoch;
    self_->request(world_->dialer(), std::chrono::seconds{1}, dial_atom_v, order_[choice_], node_->service)
        .then(
            [this](const caf::strong_actor_ptr& home) {
              home_ = home;
              beat();
            },
            [this](const caf::error&) { move_on(); });
  }

  void move_on() {
    home_ = nullptr;
    choice_ = (choice_ + 1) % order_.size();
    self_->run_delayed(std::chrono::milliseconds{20}, [this] { dial(); });
  }

  void beat() {
    if (!home_ || node_->silent)
      return;
    pb::Heartbeat body;
    body.set_node(make_node_id(node_->name).value());
    body.set_name(node_->name);
    body.set_incarnation(node_->incarnation);
    body.set_sequence(++node_->sequence);
    body.set_home_epoch(node_->home_epoch);
    body.set_draining(node_->draining);
    body.set_leaving(node_->leaving);
    body.set_profile_version(node_->profile.version());
    auto home = home_;
    self_->request(caf::actor_cast<heartbeat_sink>(home), std::chrono::seconds{1}, heartbeat{body})
        .then(
            [this](const heartbeat_ack& ack) {
              node_->fenced = ack->fenced();
              if (ack->profile_version() < node_->profile.version())
                send_profile();
            },
            [this, home](const caf::error&) {
              if (home_ == home && !node_->silent)
                move_on();
            });
  }

  void send_profile() {
    pb::ProfileUpdate update;
    *update.mutable_profile() = node_->profile;
    update.set_home_epoch(node_->home_epoch);
    self_->request(caf::actor_cast<heartbeat_sink>(home_), std::chrono::seconds{1}, profile_update{update})
        .then([](const heartbeat_ack&) {}, [](const caf::error&) {});
  }

  caf::result<claim_reply> on_claims(const pb::ClaimBatch& batch) {
    node_->asked.push_back(batch);
    if (node_->silent) {
      unanswered_.push_back(self_->make_response_promise<claim_reply>());
      return unanswered_.back();
    }
    pb::ClaimReply reply;
    for (auto& claim : batch.claims()) {
      auto& result = *reply.add_results();
      result.set_token(claim.token());
      result.set_outcome(node_->refusal == pb::CLAIM_UNKNOWN ? pb::CLAIM_CONFIRMED : node_->refusal);
      if (node_->refusal != pb::CLAIM_UNKNOWN) {
        result.set_reason("the node says no");
        continue;
      }
      auto& replica = *node_->profile.add_replicas();
      replica.set_app(batch.spec().name());
      replica.set_token(claim.token());
      replica.set_state(pb::REPLICA_STARTING);
      *replica.mutable_resources() = batch.spec().per_replica();
      replica.set_business(batch.spec().business());
    }
    if (node_->refusal == pb::CLAIM_UNKNOWN) {
      node_->profile.set_version(node_->profile.version() + 1);
      send_profile();
    }
    return claim_reply{reply};
  }

  node_actor::pointer self_;
  std::shared_ptr<fake_node> node_;
  platform* world_;
  std::vector<std::string> order_;
  std::size_t choice_ = 0;
  caf::strong_actor_ptr home_;
  std::vector<caf::typed_response_promise<claim_reply>> unanswered_;
};

/// What a subscriber saw.
struct fake_subscriber {
  cluster_view view;
  /// Every liveness that each node went through, by name; "gone" when it left the view.
  std::map<std::string, std::vector<std::string>> history;
  std::size_t gaps = 0;
  std::size_t deltas = 0;
  /// The last one.
  pb::SubscribeAck ack;
  /// Throws the next deltas away, as a broken link would.
  std::size_t lose_deltas = 0;
  bool renews = true;
  view_subscriber handle;

  std::string state(const std::string& node) const {
    auto entry = view.find(make_node_id(node));
    return entry ? pb::Liveness_Name(entry->row.liveness()).substr(9) : "gone";
  }

  bool ever(const std::string& node, const std::string& state) const {
    auto found = history.find(node);
    return found != history.end()
           && std::find(found->second.begin(), found->second.end(), state) != found->second.end();
  }
};

class fake_subscriber_state {
public:
  static constexpr const char* name = "fake-subscriber";

  fake_subscriber_state(view_subscriber::pointer self, std::shared_ptr<fake_subscriber> seen, view_source source)
    : self_(self), seen_(std::move(seen)), source_(std::move(source)) {}

  view_subscriber::behavior_type make_behavior() {
    ask(false);
    tick();
    return {
        [this](const view_delta& delta) { on_delta(*delta); },
    };
  }

private:
  void tick() {
    self_->run_delayed(std::chrono::seconds{1}, [this] { tick(); });
    if (seen_->renews)
      ask(false);
  }

  void ask(bool resync) {
    pb::Subscribe request;
    request.set_subscriber("test");
    request.set_resync(resync);
    for (auto& have : seen_->view.versions())
      *request.add_have() = have;
    self_->request(source_, std::chrono::seconds{1}, subscribe{request})
        .then([this](const subscribe_ack& ack) { seen_->ack = *ack; }, [](const caf::error&) {});
  }

  void on_delta(const pb::ViewDelta& delta) {
    ++seen_->deltas;
    if (seen_->lose_deltas > 0) {
      --seen_->lose_deltas;
      return;
    }
    view_changes changes;
    if (seen_->view.apply(delta, self_->clock().now(), changes) == cluster_view::apply_outcome::gap) {
      ++seen_->gaps;
      ask(true);
    }
    for (auto id : changes.nodes) {
      auto entry = seen_->view.find(id);
      if (entry && !entry->name().empty())
        names_[id] = entry->name();
      auto& states = seen_->history[names_[id]];
      auto state = seen_->state(names_[id]);
      if (states.empty() || states.back() != state)
        states.push_back(state);
    }
  }

  view_subscriber::pointer self_;
  std::shared_ptr<fake_subscriber> seen_;
  view_source source_;
  std::map<node_id, std::string> names_;
};

/// Three Resources that know each other, and whatever nodes and subscribers a test adds.
class resource_fixture : public actor_fixture {
public:
  /// Starts a Resource, or starts it again.
  resource_actor start(const std::string& name) {
    auto& world = world_of(name);
    resource_options options;
    options.name = name;
    options.peers = addresses;
    options.group = group;
    options.view_chunk_bytes = view_chunk_bytes;
    options.events_kept = events_kept;
    options.quotas = quotas;
    auto result = own(spawn_resource(sys, world, options));
    run();
    return result;
  }

  fake_platform& world_of(const std::string& name) {
    auto& world = worlds_[name];
    if (!world)
      world = &process(name + ":1");
    return *world;
  }

  /// A node that prefers `home` and goes to the others in their order.
  std::shared_ptr<fake_node> join(const std::string& home, std::uint32_t cpu_milli = 4000) {
    auto node = std::make_shared<fake_node>();
    // Rendezvous hashing is not asked what it thinks: the name is chosen to fit.
    do
      node->name = "n" + std::to_string(++last_node_);
    while (rendezvous_order(node->name, addresses).front() != home + ":1");
    return join_as(node, cpu_milli);
  }

  std::shared_ptr<fake_node> join_as(std::shared_ptr<fake_node> node, std::uint32_t cpu_milli = 4000) {
    node->resources = addresses;
    node->profile.set_node(make_node_id(node->name).value());
    node->profile.set_incarnation(node->incarnation);
    node->profile.set_version(1);
    node->profile.set_name(node->name);
    node->profile.mutable_capacity()->set_cpu_milli(cpu_milli);
    node->handle = own(sys.spawn<node_actor::stateful_impl<fake_node_state>>(node, &world_of("nodes")));
    run();
    return node;
  }

  std::shared_ptr<fake_subscriber> watch(const view_source& source) {
    auto seen = std::make_shared<fake_subscriber>();
    seen->handle = own(sys.spawn<view_subscriber::stateful_impl<fake_subscriber_state>>(seen, source));
    run();
    return seen;
  }

  std::vector<std::string> addresses{"r1:1", "r2:1", "r3:1"};
  /// Of Resources that are started.
  std::string group = "main";
  /// Of Resources that are started.
  std::uint64_t view_chunk_bytes = 256 * 1024;
  std::uint32_t events_kept = 4096;
  /// Of Resources that are started.
  std::vector<quota_options> quotas;

private:
  std::map<std::string, fake_platform*> worlds_;
  std::uint64_t last_node_ = 0;
};

} // namespace astra::test
