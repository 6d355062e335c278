#include "actors/scheduler/federation.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>
#include <utility>

namespace astra {
namespace {

/// How long the number of a dead cluster is remembered: longer than a node may be away and come back with its members.
constexpr std::chrono::minutes dead_memory{10};

bool gone(const member_sight& sight) {
  return sight.state == pb::REPLICA_FAILED || sight.state == pb::REPLICA_STOPPED;
}

bool can_be_stopped(const member_sight& sight) {
  return sight.state != pb::REPLICA_CLAIMED;
}

} // namespace

federation::decision federation::review(const pb::Federation& wanted, std::uint32_t clusters,
                                        const std::vector<member_sight>& sights,
                                        const std::map<std::uint32_t, std::string>& unplaced, time_point now,
                                        const room_test& room) {
  decision result;
  sights_by_cluster by_cluster;
  for (auto& sight : sights)
    by_cluster[sight.member.cluster()].push_back(&sight);
  take_over(by_cluster, now);
  static const std::vector<const member_sight*> nobody;
  auto members_of = [&](std::uint64_t id) -> auto& {
    auto found = by_cluster.find(id);
    return found == by_cluster.end() ? nobody : found->second;
  };
  for (auto& [id, known] : clusters_)
    look(known, members_of(id), wanted);
  bury(by_cluster, now, result);
  for (auto& [id, known] : clusters_)
    if (known.place >= clusters && !std::exchange(known.dissolving, true))
      known.why = clusters == 0 ? "the app is being deleted" : "fewer clusters are wanted";
  // One place at a time gets its new spec.  One that waits for a node may wait for ever, and holds nobody up.
  auto places = by_place();
  auto updating = false;
  for (auto& [place, here] : places) {
    auto serves = std::any_of(here.begin(), here.end(), [&](auto known) { return known->serves(wanted); });
    auto comes_up = std::any_of(here.begin(), here.end(), [](auto known) { return known->head != nullptr; });
    updating = updating || here.size() > 1 || (!serves && comes_up);
  }
  for (std::uint32_t place = 0; place < clusters; ++place) {
    auto here = places.find(place);
    arrange(place, here == places.end() ? std::vector<cluster*>{} : std::move(here->second), wanted, by_cluster,
            unplaced, updating, now, room);
  }
  stop_strangers(members_of(0), wanted, clusters, unplaced, now, result);

  for (auto& [id, known] : clusters_) {
    if (!known.fresh() || known.head != nullptr || now < known.not_before)
      continue;
    auto& wish = result.places.emplace_back();
    wish.index = known.place * cluster_stride;
    wish.member.set_cluster(id);
    wish.member.set_incarnation(known.incarnations[0] = 1);
  }
  for (auto& [id, known] : clusters_) {
    if (known.dissolving) {
      if (known.head != nullptr && can_be_stopped(*known.head) && !known.head->released)
        result.stops.push_back({known.head->token, known.head->node, known.head->index, known.why, false});
    } else {
      fill(known, members_of(id), wanted, result);
    }
  }
  // Without a head a dissolving cluster has nothing left to wait for.
  std::erase_if(clusters_, [&](auto& entry) {
    auto& known = entry.second;
    if (!known.dissolving || known.head != nullptr)
      return false;
    dead_[entry.first] = {now, known.place, known.why};
    return true;
  });
  for (auto& [id, dead] : dead_)
    for (auto member : members_of(id))
      if (can_be_stopped(*member)) {
        dead.since = now;
        result.stops.push_back({member->token, member->node, member->index, dead.reason, true});
      }
  std::erase_if(dead_, [&](auto& entry) { return now - entry.second.since >= dead_memory; });
  write_records(wanted, clusters, by_cluster, unplaced);
  return result;
}

/// Makes known what runs already.
void federation::take_over(const sights_by_cluster& sights, time_point now) {
  for (auto& [id, members] : sights) {
    if (id == 0 || clusters_.count(id) != 0 || dead_.count(id) != 0)
      continue;
    auto head = std::find_if(members.begin(), members.end(),
                             [](auto member) { return member->head() && !member->released && !gone(*member); });
    auto place = members.front()->index / cluster_stride;
    if (head != members.end()) {
      auto& known = clusters_[id];
      known.id = id;
      known.place = place;
      known.since = now;
      orphans_.erase(id);
    } else if (now - orphans_.try_emplace(id, now).first->second >= orphan_grace
               || std::any_of(members.begin(), members.end(), [](auto member) { return member->head(); })) {
      orphans_.erase(id);
      dead_[id] = {now, place, "its cluster has no head"};
    }
  }
  std::erase_if(orphans_, [&](auto& entry) { return sights.count(entry.first) == 0; });
}

/// Notes how a cluster is.
void federation::look(cluster& known, const std::vector<const member_sight*>& members,
                      const pb::Federation& wanted) const {
  known.head = nullptr;
  known.outdated = known.leaving = false;
  std::map<std::uint32_t, bool> ready;
  for (auto member : members) {
    auto& last = known.incarnations[member->member.slot()];
    last = std::max(last, member->member.incarnation());
    if (!member->head()) {
      if (member->state == pb::REPLICA_READY && !member->released && member->member.slot() <= wanted.workers())
        ready[member->member.slot()] = true;
      continue;
    }
    known.head_claimed = true;
    known.head_ran = known.head_ran || member->state != pb::REPLICA_CLAIMED;
    if (gone(*member) || (member->released && !known.dissolving))
      continue;
    known.head = member;
    known.outdated = member->outdated;
    known.leaving = member->leaving;
  }
  known.workers_ready = static_cast<std::uint32_t>(ready.size());
}

/// Gives up the clusters whose head is gone.
void federation::bury(const sights_by_cluster& sights, time_point now, decision& out) {
  std::erase_if(clusters_, [&](auto& entry) {
    auto& [id, known] = entry;
    if (known.head != nullptr || !known.head_claimed || known.dissolving)
      return false;
    std::string reason = known.head_ran ? "the node of its head was lost" : "its head was claimed and did not start";
    auto by_itself = false;
    auto members = sights.find(id);
    static const std::vector<const member_sight*> nobody;
    for (auto member : members == sights.end() ? nobody : members->second) {
      if (!member->head())
        continue;
      by_itself = by_itself || gone(*member);
      // Where one head ended the next one need not go, as long as there is another node.
      if (gone(*member))
        out.failures.push_back({member->node, member->reason});
      reason = gone(*member) ? fmt::format("its head on {} ended: {}", member->node_name, member->reason)
                             : std::string{"its head was told to stop"};
    }
    if (by_itself)
      deaths_[known.place].push_back(now);
    if (known.head_ran)
      last_words_[known.place] = reason;
    dead_[id] = {now, known.place, reason};
    return true;
  });
  for (auto& [place, times] : deaths_)
    while (!times.empty() && now - times.front() >= death_window)
      times.pop_front();
}

/// Clusters that are not on their way out.
std::map<std::uint32_t, std::vector<federation::cluster*>> federation::by_place() {
  std::map<std::uint32_t, std::vector<cluster*>> result;
  for (auto& [id, known] : clusters_)
    if (!known.dissolving)
      result[known.place].push_back(&known);
  return result;
}

/// Replicas from before the app was federated serve until a cluster does, or stand in the way of the first one.
void federation::stop_strangers(const std::vector<const member_sight*>& strangers, const pb::Federation& wanted,
                                std::uint32_t clusters, const std::map<std::uint32_t, std::string>& unplaced,
                                time_point now, decision& out) {
  if (unplaced.empty() || strangers.empty())
    crowded_.reset();
  else if (!crowded_)
    crowded_ = now;
  auto serves =
      std::any_of(clusters_.begin(), clusters_.end(), [&](auto& entry) { return entry.second.serves(wanted); });
  if (clusters > 0 && !serves && !(crowded_ && now - *crowded_ >= room_patience))
    return;
  for (auto stranger : strangers)
    if (can_be_stopped(*stranger) && !stranger->released)
      out.stops.push_back({stranger->token, stranger->node, stranger->index,
                           clusters == 0 ? "the app is being deleted" : "the app consists of clusters now", false});
}

federation::cluster& federation::create(std::uint32_t place, time_point now) {
  auto id = name_hash(fmt::format("{}\n{}\ncluster {}", app_, epoch_, ++made_));
  auto& made = clusters_[id];
  made.id = id;
  made.place = place;
  made.since = now;
  made.not_before = now;
  auto deaths = deaths_.find(place);
  if (deaths != deaths_.end() && deaths->second.size() >= deaths_max) {
    auto doublings = std::min<std::size_t>(deaths->second.size() - deaths_max, 10);
    auto pause = std::min<std::chrono::seconds>(pause_min * (1 << doublings), pause_max);
    made.not_before = now + pause;
    made.pause = fmt::format("heads ended {} times in {} s, the next one starts after {} s; is federation.head.command "
                             "or its environment wrong? the last one: {}",
                             deaths->second.size(), death_window.count(), pause.count(), last_words_[place]);
  }
  return made;
}

/// Sees to it that a place has one cluster as wanted, and another one only until that one serves.
void federation::arrange(std::uint32_t place, std::vector<cluster*> here, const pb::Federation& wanted,
                         const sights_by_cluster& sights, const std::map<std::uint32_t, std::string>& unplaced,
                         bool& updating, time_point now, const room_test& room) {
  auto better = [&](cluster* a, cluster* b) {
    auto rank = [&](cluster* x) {
      return std::tuple{!x->fresh(), !x->serves(wanted), !x->head_ready(), x->since, x->id};
    };
    return rank(a) < rank(b);
  };
  std::sort(here.begin(), here.end(), better);
  auto dissolve = [](cluster& what, std::string why) {
    what.dissolving = true;
    what.why = std::move(why);
  };
  cluster* fresh = nullptr;
  cluster* old = nullptr;
  for (auto known : here) {
    auto& one = known->fresh() ? fresh : old;
    if (one == nullptr)
      one = known;
    else
      dissolve(*known, "another cluster has its place");
  }
  if (fresh == nullptr) {
    if (old == nullptr) {
      create(place, now);
    } else if (old->leaving || !old->serves(wanted) || !updating) {
      updating = updating || !old->leaving;
      create(place, now);
    }
    return;
  }
  if (old == nullptr)
    return;
  auto why = old->outdated ? "the app's spec has changed" : "replaced: the node of its head is draining";
  // What no node could take, with the old one gone or not, is no reason to stop it.
  auto no_room = [&] {
    auto first = unplaced.lower_bound(place * cluster_stride);
    auto members = sights.find(old->id);
    return first != unplaced.end() && first->first < (place + 1) * cluster_stride && now - fresh->since >= room_patience
           && members != sights.end() && room(members->second, first->first);
  };
  if (fresh->serves(wanted))
    dissolve(*old, why);
  else if (old->outdated && !old->leaving && now >= fresh->not_before && no_room())
    dissolve(*old, fmt::format("{} and there is no room for old and new side by side", why));
}

/// Places missing workers and stops those that are too many.
void federation::fill(cluster& known, const std::vector<const member_sight*>& members, const pb::Federation& wanted,
                      decision& out) {
  known.missing.clear();
  auto stop_one = [&](const member_sight& member, std::string reason, bool at_once) {
    if (can_be_stopped(member) && !member.released)
      out.stops.push_back({member.token, member.node, member.index, std::move(reason), at_once});
  };
  std::map<std::uint32_t, std::vector<const member_sight*>> by_slot;
  for (auto member : members) {
    if (member->head() || member->released)
      continue;
    if (gone(*member)) {
      known.missing = fmt::format("worker {} on {}: {}", member->member.slot(), member->node_name, member->reason);
      out.failures.push_back({member->node, member->reason});
      stop_one(*member, "failed for good: " + member->reason, true);
    } else if (member->member.slot() > wanted.workers()) {
      stop_one(*member, "fewer workers are wanted", false);
    } else {
      by_slot[member->member.slot()].push_back(member);
    }
  }
  for (std::uint32_t slot = 1; slot <= wanted.workers(); ++slot) {
    auto& here = by_slot[slot];
    std::sort(here.begin(), here.end(), [](auto a, auto b) {
      auto rank = [](auto x) {
        return std::tuple{x->leaving, x->state != pb::REPLICA_READY, ~x->member.incarnation(), x->token};
      };
      return rank(a) < rank(b);
    });
    auto stays = !here.empty() && !here.front()->leaving;
    auto ready = stays && here.front()->state == pb::REPLICA_READY;
    auto kept = false;
    for (std::size_t i = stays ? 1 : 0; i < here.size(); ++i) {
      // One that works stays until its successor is ready.
      if (!ready && !kept && here[i]->state == pb::REPLICA_READY)
        kept = true;
      else
        stop_one(*here[i], here[i]->leaving ? "replaced: its node is draining" : "another one has its slot", false);
    }
    if (stays)
      continue;
    if (known.missing.empty())
      known.missing = fmt::format("worker {} is not placed yet", slot);
    // It would get what the new spec says, from a head of the old one.
    if (!known.head_ready() || known.outdated)
      continue;
    auto& wish = out.places.emplace_back();
    wish.index = known.place * cluster_stride + slot;
    wish.member.set_cluster(known.id);
    wish.member.set_slot(slot);
    wish.member.set_incarnation(known.incarnations[slot] + 1);
    wish.member.set_head_host(known.head->host);
    for (auto& port : known.head->ports)
      *wish.member.add_head_ports() = port;
  }
}

void federation::write_records(const pb::Federation& wanted, std::uint32_t clusters, const sights_by_cluster& sights,
                               const std::map<std::uint32_t, std::string>& unplaced) {
  records_.clear();
  std::map<std::uint32_t, int> best;
  auto why_unplaced = [&](std::uint32_t from, std::uint32_t to) {
    auto found = unplaced.lower_bound(from);
    return found != unplaced.end() && found->first < to && !found->second.empty()
               ? fmt::format("{} has no place: {}",
                             found->first % cluster_stride == 0
                                 ? std::string{"its head"}
                                 : fmt::format("worker {}", found->first % cluster_stride),
                             found->second)
               : std::string{};
  };
  for (auto& [id, known] : clusters_) {
    auto& record = records_.emplace_back();
    record.set_cluster(id);
    record.set_workers(wanted.workers());
    record.set_workers_ready(known.workers_ready);
    if (known.head != nullptr) {
      record.set_head_node(known.head->node_name);
      record.set_head_host(known.head->host);
      for (auto& port : known.head->ports)
        *record.add_head_ports() = port;
    }
    auto first = known.place * cluster_stride;
    auto lacks = [&] {
      auto reason = why_unplaced(first + 1, first + cluster_stride);
      return reason.empty() ? known.missing : reason;
    };
    if (known.dissolving) {
      record.set_state(pb::CLUSTER_DRAINING);
      record.set_reason(known.why);
    } else if (known.head == nullptr) {
      record.set_state(pb::CLUSTER_PENDING);
      auto reason = known.pause.empty() ? why_unplaced(first, first + 1) : known.pause;
      record.set_reason(reason.empty() ? "its head is not placed yet" : reason);
    } else if (known.head->state == pb::REPLICA_CLAIMED) {
      record.set_state(pb::CLUSTER_CLAIMED);
      record.set_reason("its head is claimed");
    } else if (!known.head_ready()) {
      record.set_state(pb::CLUSTER_HEAD_STARTING);
      record.set_reason("its head " + (known.head->reason.empty() ? "starts" : known.head->reason));
    } else {
      auto missing = wanted.workers() - std::min(wanted.workers(), known.workers_ready);
      record.set_state(!known.serves(wanted) ? pb::CLUSTER_FILLING
                       : missing > 0         ? pb::CLUSTER_DEGRADED
                                             : pb::CLUSTER_SERVING);
      if (known.leaving)
        record.set_reason("the node of its head is draining; serves until another cluster does");
      else if (known.outdated)
        record.set_reason("runs the previous spec; serves until another cluster does");
      else if (missing > 0) {
        auto reason = lacks();
        record.set_reason(reason.empty() ? "waits for its workers" : reason);
      }
    }
    if (known.dissolving || known.place >= clusters)
      continue;
    auto rank = known.serves(wanted) ? 3 : known.head != nullptr ? 2 : 1;
    auto& here = best[known.place];
    here = std::max(here, rank);
    if (rank == 3)
      last_words_.erase(known.place);
    else if (auto words = last_words_.find(known.place); words != last_words_.end() && known.pause.empty())
      record.set_reason(fmt::format("{}; the one before it: {}", record.reason(), words->second));
  }
  for (auto& [id, dead] : dead_) {
    auto members = sights.find(id);
    if (members == sights.end())
      continue;
    auto& record = records_.emplace_back();
    record.set_cluster(id);
    record.set_state(pb::CLUSTER_DEAD);
    record.set_workers(wanted.workers());
    record.set_reason(fmt::format("{}; {} of it to go", dead.reason, members->second.size()));
  }
  std::sort(records_.begin(), records_.end(), [](auto& a, auto& b) { return a.cluster() < b.cluster(); });
  serving_ = starting_ = pending_ = 0;
  for (auto& [place, rank] : best)
    ++(rank == 3 ? serving_ : rank == 2 ? starting_ : pending_);
}

std::string federation_summary(const federation& what, std::uint32_t clusters) {
  auto worst = std::find_if(what.records().begin(), what.records().end(), [](auto& record) {
    return record.state() != pb::CLUSTER_SERVING && record.state() != pb::CLUSTER_DEAD
           && record.state() != pb::CLUSTER_DRAINING;
  });
  if (what.serving() >= clusters && worst == what.records().end())
    return {};
  auto result = fmt::format("{} of {} clusters serve", what.serving(), clusters);
  if (worst != what.records().end() && !worst->reason().empty())
    result += fmt::format("; cluster {}: {}", to_hex(worst->cluster()), worst->reason());
  return result;
}

pb::AppSpec role_spec(const pb::AppSpec& app, bool head) {
  auto result = app;
  auto& room = *result.mutable_per_replica();
  room = head ? app.federation().head().resources() : app.federation().worker().resources();
  // The commands of requests run beside it; cards are the cluster's.
  if (head && app.has_per_request()) {
    room.set_cpu_milli(room.cpu_milli() + app.per_replica().cpu_milli());
    room.set_memory_bytes(room.memory_bytes() + app.per_replica().memory_bytes());
  }
  return result;
}

} // namespace astra
