#include "actors/node/home_link.hpp"

#include "actors/mutant.hpp"
#include "actors/node/profile_fit.hpp"
#include "messages/aggregator_protocol.hpp"

#include <caf/actor_cast.hpp>
#include <caf/sec.hpp>
#include <caf/typed_event_based_actor.hpp>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

namespace astra {

home_link::home_link(node_actor::pointer self, platform& world, const node_options& options, node_id node,
                     incarnation started, hooks to_node)
  : self_(self), world_(world), options_(options), node_(node), incarnation_(started), to_node_(std::move(to_node)),
    selector_(options.name, options.resources, options.home_silence, self->clock().now(), options.aggregators),
    heard_(self->clock().now()) {}

void home_link::start() {
  dial();
  self_->run_delayed(options_.heartbeat, [this] { tick(); });
}

void home_link::tick() {
  if (left_)
    return;
  self_->run_delayed(options_.heartbeat, [this] { tick(); });
  auto home = selector_.home();
  if (selector_.check_silence(self_->clock().now()))
    moved(home, "silent for " + std::to_string(options_.home_silence.count()) + " ms");
  if (home_)
    beat();
  else
    dial();
  look_for_aggregator();
}

const char* home_link::service() const {
  return selector_.aggregated() ? aggregator_service : resource_service;
}

void home_link::dial() {
  if (dialing_)
    return;
  dialing_ = true;
  auto epoch = selector_.epoch();
  self_
      ->request(world_.dialer(), caf::timespan{options_.home_silence}, dial_atom_v, selector_.home(),
                std::string{service()})
      .then(
          [this, epoch](const caf::strong_actor_ptr& found) {
            if (epoch != selector_.epoch() || left_)
              return;
            dialing_ = false;
            come_home(found);
          },
          [this, epoch](const caf::error& reason) {
            if (epoch != selector_.epoch() || left_)
              return;
            on_failure(error_text(reason));
          });
}

void home_link::come_home(const caf::strong_actor_ptr& found) {
  home_ = caf::actor_cast<heartbeat_sink>(found);
  // A request to an actor whose session is gone is never answered, not even with an error.
  self_->monitor(home_);
  beat();
  if (!MUTANT(profile_not_sent_after_rehome))
    send_profile();
}

/// Keeps the home until an aggregator is found.
void home_link::look_for_aggregator() {
  auto whom = looking_ || !joined_ ? nullptr : selector_.check_return(self_->clock().now());
  if (!whom)
    return;
  looking_ = true;
  auto epoch = selector_.epoch();
  self_
      ->request(world_.dialer(), caf::timespan{options_.home_silence}, dial_atom_v, *whom,
                std::string{aggregator_service})
      .then(
          [this, whom, epoch](const caf::strong_actor_ptr& found) {
            looking_ = false;
            if (epoch != selector_.epoch() || left_)
              return;
            auto from = selector_.home();
            selector_.return_to(*whom, self_->clock().now());
            moved(from, "an aggregator is there again");
            come_home(found);
          },
          [this](const caf::error&) { looking_ = false; });
}

heartbeat home_link::make_beat() {
  heartbeat message;
  message->set_node(node_.value());
  message->set_incarnation(incarnation_.value());
  message->set_sequence(++sequence_);
  message->set_home_epoch(selector_.epoch());
  message->set_profile_version(profile_version_);
  if (!joined_)
    message->set_name(options_.name);
  to_node_.describe_beat(*message);
  return message;
}

void home_link::beat() {
  if (!home_ || left_)
    return;
  auto epoch = selector_.epoch();
  self_->request(home_, caf::timespan{options_.heartbeat}, make_beat())
      .then([this, epoch](const heartbeat_ack& ack) { on_ack(*ack, epoch); },
            [this, epoch](const caf::error& reason) { on_no_ack(reason, epoch); });
}

void home_link::profile_changed() {
  if (profile_due_ || left_)
    return;
  profile_due_ = true;
  auto wait = profile_sent_ + profile_interval - self_->clock().now();
  auto flush = [this] {
    profile_due_ = false;
    ++profile_version_;
    send_profile();
  };
  if (wait.count() <= 0)
    flush();
  else
    self_->run_delayed(wait, flush);
}

void home_link::send_profile() {
  profile_sent_ = self_->clock().now();
  if (!home_ || left_)
    return;
  profile_update message;
  message->set_home_epoch(selector_.epoch());
  auto& profile = *message->mutable_profile();
  profile.set_node(node_.value());
  profile.set_incarnation(incarnation_.value());
  profile.set_version(profile_version_);
  to_node_.describe_node(profile);
  // A larger one would cost the session.
  if (!fit(profile, profile_bytes_max)) {
    if (!std::exchange(too_large_told_, true))
      spdlog::error(
          "node.profile_too_large node={} bytes={} bytes_max={} labels={} replicas={} reason=\"nobody hears of "
          "what this node has; give it fewer or shorter labels\"",
          options_.name, profile.ByteSizeLong(), profile_bytes_max, profile.labels_size(), profile.replicas_size());
    return;
  }
  profile_under_way_ = true;
  auto epoch = selector_.epoch();
  self_->request(home_, caf::timespan{options_.heartbeat}, std::move(message))
      .then(
          [this, epoch](const heartbeat_ack& ack) {
            if (epoch == selector_.epoch())
              profile_under_way_ = false;
            on_ack(*ack, epoch);
          },
          [this, epoch](const caf::error& reason) {
            if (epoch == selector_.epoch() && !MUTANT(lost_profile_not_resent))
              profile_under_way_ = false;
            on_no_ack(reason, epoch);
          });
}

void home_link::on_ack(const pb::HeartbeatAck& ack, std::uint64_t epoch) {
  if (ack.fenced() && !MUTANT(fence_ignored_by_node)) {
    to_node_.fenced(selector_.home());
    return;
  }
  if (epoch != selector_.epoch())
    return;
  heard_ = self_->clock().now();
  selector_.on_ack(heard_);
  if (!std::exchange(joined_, true))
    spdlog::info("node.join node={} home={} aggregated={} home_epoch={} incarnation={}", options_.name,
                 selector_.home(), selector_.aggregated(), epoch, incarnation_.value());
  auto before = std::exchange(resource_, resource_id{ack.resource()});
  // Of two Resources that have a row of this node, the later home is right.
  if (before && before != resource_ && selector_.aggregated() && !MUTANT(fed_elsewhere_unnoticed)) {
    selector_.fed_elsewhere();
    profile_under_way_ = false;
  }
  // A Resource that restarted, or lost the update, holds an older profile or none.
  if (ack.profile_version() < profile_version_ && !profile_under_way_ && !MUTANT(profile_not_sent_after_rehome))
    send_profile();
}

void home_link::on_no_ack(const caf::error& reason, std::uint64_t epoch) {
  // A late answer is silence, which is counted; everything else says that the home is gone.
  if (epoch != selector_.epoch() || left_ || reason == caf::sec::request_timeout)
    return;
  on_failure(error_text(reason));
}

bool home_link::on_down(const caf::actor_addr& source) {
  if (!home_ || home_.address() != source)
    return false;
  if (!left_ && !MUTANT(silent_home_kept))
    on_failure("connection closed");
  return true;
}

void home_link::on_failure(const std::string& reason) {
  auto home = selector_.home();
  auto at_once = selector_.on_error(self_->clock().now());
  moved(home, reason);
  if (at_once)
    dial();
}

void home_link::moved(const std::string& from, const std::string& reason) {
  // While nobody answers this happens every second: it is news only when a home was lost.
  auto level = joined_ || !warned_ ? spdlog::level::warn : spdlog::level::debug;
  warned_ = true;
  spdlog::log(level, "node.rehome node={} from={} to={} reason=\"{}\"", options_.name, from, selector_.home(), reason);
  if (home_)
    self_->demonitor(home_.address());
  home_ = nullptr;
  resource_ = {};
  dialing_ = joined_ = profile_under_way_ = false;
}

void home_link::leave(std::function<void()> done) {
  if (!home_ || MUTANT(goodbye_not_sent)) {
    left_ = true;
    done();
    return;
  }
  auto message = make_beat();
  message->set_leaving(true);
  left_ = true;
  self_->request(home_, caf::timespan{goodbye_wait}, std::move(message))
      .then([done](const heartbeat_ack&) { done(); },
            [this, done](const caf::error& reason) {
              spdlog::warn("node.goodbye node={} reason=\"no answer: {}\"", options_.name, error_text(reason));
              done();
            });
}

} // namespace astra
