#include "actors/resource/event_desk.hpp"

#include "actors/resource/node_facts.hpp"
#include "messages/type_ids.hpp"

#include <caf/actor_system.hpp>
#include <caf/scheduled_actor.hpp>
#include <caf/telemetry/label_view.hpp>
#include <caf/telemetry/metric_registry.hpp>

#include <algorithm>
#include <chrono>
#include <string>
#include <string_view>
#include <utility>

namespace astra {
namespace {

/// An answer of this length is encoded in well below a millisecond.
constexpr std::size_t page_bytes = 64 * 1024;
/// A question that waits is answered, empty, after this at the latest.
constexpr std::chrono::milliseconds longest_wait{30000};
/// Gateways that follow, several commands each.
constexpr std::size_t questions_max = 256;
/// Entries of what was told already; when there are more, something is told twice.
constexpr std::size_t told_max = 16 * 1024;

template <class Map, class Key, class Value>
bool note(Map& told, const Key& key, const Value& value) {
  if (told.size() >= told_max)
    told.clear();
  auto [entry, fresh] = told.try_emplace(key, value);
  return fresh || std::exchange(entry->second, value) != value;
}

pb::EventWitness witness_of(const transition& change) {
  switch (change.after) {
  case pb::LIVENESS_ONLINE:
  case pb::LIVENESS_DRAINING:
    return pb::WITNESS_BEAT;
  default:
    // As member_table writes them.
    if (change.reason.starts_with("connection closed"))
      return pb::WITNESS_CLOSED_CONNECTION;
    return change.after == pb::LIVENESS_OFFLINE && !change.reason.starts_with("no heartbeat") ? pb::WITNESS_GOODBYE
                                                                                              : pb::WITNESS_SILENCE;
  }
}

pb::EventKind kind_of(pb::Liveness after) {
  switch (after) {
  case pb::LIVENESS_OFFLINE:
    return pb::EVENT_OFFLINE;
  case pb::LIVENESS_SUSPECT:
    return pb::EVENT_SUSPECT;
  case pb::LIVENESS_DRAINING:
    return pb::EVENT_DRAINING;
  default:
    return pb::EVENT_ONLINE;
  }
}

std::string was(pb::Liveness before) {
  switch (before) {
  case pb::LIVENESS_OFFLINE:
    return "was offline, beats again";
  case pb::LIVENESS_SUSPECT:
    return "was suspect, beats again";
  case pb::LIVENESS_DRAINING:
    return "was draining, takes work again";
  default:
    return "beats";
  }
}

} // namespace

event_desk::event_desk(caf::scheduled_actor* self, platform& world, resource_id own, std::string own_name,
                       std::uint64_t epoch, std::size_t kept)
  : self_(self), world_(world), own_(own), own_name_(std::move(own_name)), log_(epoch, kept) {}

void event_desk::started() {
  add(pb::EVENT_STARTED, own_.value(), own_name_, "what happened before is not known to it", pb::WITNESS_UNKNOWN);
}

void event_desk::arrived(const pb::Heartbeat& beat, const node_entry& elsewhere, std::string_view elsewhere_home) {
  node_id node{beat.node()};
  // Its rows stay there until the next delta, and it beats again before that.
  if (elsewhere.row.incarnation() != beat.incarnation()
      || !note(arrived_, node, std::pair{beat.incarnation(), beat.home_epoch()}))
    return;
  add(pb::EVENT_MOVED, node.value(), name_of(elsewhere), "from " + std::string{elsewhere_home} + " to " + own_name_,
      pb::WITNESS_BEAT);
}

void event_desk::joined(const pb::NodeProfile& profile) {
  // It is new here, but not in the cluster.
  auto came = arrived_.find(node_id{profile.node()});
  if (came != arrived_.end() && came->second.first == profile.incarnation())
    return;
  add(pb::EVENT_JOINED, profile.node(), profile.name(), "at " + profile.address(), pb::WITNESS_BEAT);
}

void event_desk::fenced(node_id node, std::string name, std::uint64_t incarnation, std::uint64_t newer) {
  if (note(refused_, node, incarnation))
    add(pb::EVENT_FENCED, node.value(), std::move(name),
        "an older process of it still beats (incarnation " + std::to_string(incarnation) + ", the newer one is "
            + std::to_string(newer) + ")",
        pb::WITNESS_BEAT);
}

void event_desk::changed(const transition& change, std::string name) {
  // Its first profile is the join that operators see, by name.
  if (change.before == pb::LIVENESS_UNKNOWN && change.after == pb::LIVENESS_ONLINE)
    return;
  add(kind_of(change.after), change.node.value(), std::move(name),
      change.after == pb::LIVENESS_ONLINE ? was(change.before) : change.reason, witness_of(change));
}

void event_desk::orphaned(const pb::ViewDelta& edit, const cluster_view& view) {
  for (auto& row : edit.nodes()) {
    auto shown = view.find(node_id{row.node()});
    add(pb::EVENT_ORPHANED, row.node(), shown ? name_of(*shown) : to_string(node_id{row.node()}), row.reason(),
        pb::WITNESS_TIMER);
  }
}

void event_desk::peer_found(resource_id peer, const std::string& name, const std::string& address) {
  if (peers_.insert(peer).second)
    add(pb::EVENT_PEER_FOUND, peer.value(), name, "at " + address, pb::WITNESS_BEAT);
}

void event_desk::peer_lost(resource_id peer, const std::string& name, const std::string& reason) {
  if (peers_.erase(peer) == 0)
    return;
  auto closed = reason.starts_with("connection closed");
  add(pb::EVENT_PEER_LOST, peer.value(), name, reason, closed ? pb::WITNESS_CLOSED_CONNECTION : pb::WITNESS_SILENCE);
}

void event_desk::add(pb::EventKind kind, std::uint64_t object, std::string name, std::string cause,
                     pb::EventWitness witness) {
  pb::Event event;
  event.set_wall_ms(static_cast<std::uint64_t>(std::max<std::int64_t>(0, world_.wall_time().count())));
  event.set_kind(kind);
  event.set_object(object);
  event.set_name(std::move(name));
  event.set_cause(std::move(cause));
  event.set_witness(witness);
  log_.add(std::move(event));
  count(kind);
  if (waiting_.empty() || std::exchange(answering_, true))
    return;
  // Many happen at the same time: they leave in one answer.
  self_->run_delayed(std::chrono::milliseconds{20}, [this] {
    answering_ = false;
    answer_waiting();
  });
}

void event_desk::count(pb::EventKind kind) {
  auto& counter = counters_[kind];
  if (!counter) {
    auto name = pb::EventKind_Name(kind).substr(std::string_view{"EVENT_"}.size());
    std::transform(name.begin(), name.end(), name.begin(),
                   [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
    counter = self_->system().metrics().counter_instance(
        "astra.resource", "events", {{"resource", own_name_}, {"kind", name}},
        "What happened to nodes and Resources, as seen here.", "1", true);
  }
  counter->inc();
}

caf::result<event_page> event_desk::answer(const pb::EventQuery& query) {
  auto page = read(query);
  auto silent = page.events_size() == 0 && page.lost() == 0 && !page.more();
  if (!silent || query.wait_ms() == 0 || waiting_.size() >= questions_max)
    return event_page{std::move(page)};
  auto number = ++last_question_;
  auto promise = self_->make_response_promise<event_page>();
  waiting_.emplace(number, question{query, promise});
  auto wait = std::min(longest_wait, std::chrono::milliseconds{query.wait_ms()});
  self_->run_delayed(wait, [this, number] {
    auto late = waiting_.extract(number);
    if (!late.empty())
      late.mapped().promise.deliver(event_page{read(late.mapped().query)});
  });
  return promise;
}

pb::EventPage event_desk::read(const pb::EventQuery& query) const {
  auto limit = query.limit_bytes() == 0 ? page_bytes : std::min<std::size_t>(query.limit_bytes(), page_bytes);
  auto page = log_.read(query, limit);
  page.set_resource(own_.value());
  page.set_resource_name(own_name_);
  return page;
}

void event_desk::answer_waiting() {
  for (auto entry = waiting_.begin(); entry != waiting_.end();) {
    auto page = read(entry->second.query);
    if (page.events_size() == 0 && page.lost() == 0) {
      ++entry;
      continue;
    }
    entry->second.promise.deliver(event_page{std::move(page)});
    entry = waiting_.erase(entry);
  }
}

} // namespace astra
