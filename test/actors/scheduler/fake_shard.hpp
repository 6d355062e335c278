#pragma once

#include "messages/resource_protocol.hpp"
#include "test/actors/scheduler/model_cluster.hpp"

#include <caf/actor_cast.hpp>
#include <caf/actor_system.hpp>
#include <caf/send.hpp>
#include <caf/typed_event_based_actor.hpp>

#include <algorithm>
#include <functional>
#include <map>
#include <string>
#include <vector>

namespace astra::test {

/// A Resource with all its nodes in one actor: it arbitrates claims, starts replicas at once and publishes the view.
class fake_shard {
public:
  std::map<std::string, pb::NodeRow> rows;
  /// Records in the view; those of beats are not added.
  std::vector<pb::AppRecord> apps;
  std::vector<pb::SchedulerRow> schedulers;
  std::vector<pb::SchedulerBeat> beats;
  std::vector<pb::PrefetchBatch> prefetches;
  std::vector<pb::ClaimBatch> batches;
  std::vector<pb::Release> releases;
  /// What a replica is right after its claim.
  pb::ReplicaState first_state = pb::REPLICA_READY;
  /// Epoch that claims must have at least.
  std::uint64_t fence = 0;
  /// Claims are answered by this when set.
  std::function<pb::ClaimResult(const pb::Claim&)> decide;
  /// Releases are recorded and not obeyed.
  bool ignore_releases = false;

  resource_actor spawn(caf::actor_system& sys) {
    handle_ = sys.spawn([this](resource_actor::pointer self) -> resource_actor::behavior_type {
      self_ = self;
      return {
          [this](const subscribe&) {
            auto who = caf::actor_cast<view_subscriber>(self_->current_sender());
            if (std::find(subscribers.begin(), subscribers.end(), who) == subscribers.end()) {
              subscribers.push_back(who);
              self_->send(who, snapshot());
            }
            pb::SubscribeAck ack;
            ack.set_resource(model_home.value());
            ack.add_shards()->set_origin(model_home.value());
            return subscribe_ack{ack};
          },
          [](const heartbeat&) { return heartbeat_ack{}; },
          [](const profile_update&) { return heartbeat_ack{}; },
          [](const beat_batch&) { return beat_batch_ack{}; },
          [](const event_query&) { return event_page{}; },
          [](const node_query&) { return node_page{}; },
          [](const report_query&) { return resource_report{}; },
          [this](const scheduler_beat& beat) {
            beats.push_back(*beat);
            pb::HeartbeatAck ack;
            ack.set_resource(model_home.value());
            return heartbeat_ack{ack};
          },
          [this](const claim_batch& batch) { return on_claims(*batch); },
          [this](const release_batch& batch) { on_releases(*batch); },
          [this](const prefetch_batch& batch) { prefetches.push_back(*batch); },
          [this](const view_delta&) { send_view(); },
      };
    });
    return handle_;
  }

  /// Tells the subscribers what the rows are now.
  void publish() { caf::anon_send(handle_, view_delta{}); }

  /// Who has subscribed, in this order.
  std::vector<view_subscriber> subscribers;

  /// Nodes and states of all replicas, by index.
  std::multimap<std::uint32_t, std::string> replicas() const {
    std::multimap<std::uint32_t, std::string> result;
    for (auto& [name, row] : rows)
      for (auto& replica : row.profile().replicas())
        result.emplace(replica.index(), name);
    return result;
  }

  void set_state(const std::string& node, pb::ReplicaState state, const std::string& reason) {
    for (auto& replica : *rows.at(node).mutable_profile()->mutable_replicas()) {
      replica.set_state(state);
      replica.set_reason(reason);
    }
    publish();
  }

private:
  void send_view() {
    ++version_;
    for (auto& who : subscribers)
      self_->send(who, snapshot());
  }

  view_delta snapshot() const {
    pb::ViewDelta result;
    result.set_origin(model_home.value());
    result.set_epoch(1);
    result.set_version(version_);
    for (auto& [name, row] : rows)
      *result.add_nodes() = row;
    for (auto& record : apps)
      *result.add_apps() = record;
    for (auto& row : schedulers)
      *result.add_schedulers() = row;
    return result;
  }

  claim_reply on_claims(const pb::ClaimBatch& batch) {
    batches.push_back(batch);
    claim_reply reply;
    for (auto& claim : batch.claims()) {
      auto result = decide ? decide(claim) : arbitrate(batch, claim);
      result.set_sequence(claim.sequence());
      result.set_token(claim.token());
      if (result.outcome() == pb::CLAIM_FENCED)
        reply->set_newer_epoch(fence);
      *reply->add_results() = std::move(result);
    }
    send_view();
    return reply;
  }

  pb::ClaimResult arbitrate(const pb::ClaimBatch& batch, const pb::Claim& claim) {
    pb::ClaimResult result;
    if (batch.epoch() < fence) {
      result.set_outcome(pb::CLAIM_FENCED);
      return result;
    }
    fence = batch.epoch();
    for (auto& [name, row] : rows) {
      if (row.node() != claim.node())
        continue;
      if (room_for(batch.spec(), row, 0) == 0) {
        result.set_outcome(pb::CLAIM_NO_ROOM);
        *result.mutable_row() = row;
        return result;
      }
      auto& replica = *row.mutable_profile()->add_replicas();
      replica.set_app(batch.spec().name());
      replica.set_index(claim.replica_index());
      replica.set_token(claim.token());
      replica.set_epoch(batch.epoch());
      replica.set_spec_hash(batch.spec_hash());
      replica.set_state(first_state);
      replica.set_concurrency(batch.spec().concurrency());
      *replica.mutable_resources() = batch.spec().per_replica();
      result.set_outcome(pb::CLAIM_CONFIRMED);
      return result;
    }
    result.set_outcome(pb::CLAIM_NODE_GONE);
    return result;
  }

  void on_releases(const pb::ReleaseBatch& batch) {
    for (auto& release : batch.releases()) {
      releases.push_back(release);
      if (ignore_releases)
        continue;
      for (auto& [name, row] : rows) {
        auto& all = *row.mutable_profile()->mutable_replicas();
        if (row.liveness() != pb::LIVENESS_OFFLINE)
          all.erase(
              std::remove_if(all.begin(), all.end(), [&](auto& replica) { return replica.token() == release.token(); }),
              all.end());
      }
    }
    send_view();
  }

  resource_actor handle_;
  resource_actor::pointer self_{nullptr};
  std::uint64_t version_ = 1;
};

} // namespace astra::test
