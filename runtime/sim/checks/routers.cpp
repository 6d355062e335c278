#include "messages/route.hpp"
#include "messages/wire/app.pb.h"
#include "messages/wire/route.pb.h"
#include "runtime/sim/checks/placements.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <string>
#include <tuple>

// What routers do with requests, as far as their messages tell.

namespace astra::sim {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

/// What each router has been told of nodes, by all Resources together.
class told_liveness {
public:
  void observe(const pb::ViewDelta& delta, std::uint64_t listener) {
    for (auto id : delta.removed_nodes())
      if (auto found = nodes_.find({listener, id}); found != nodes_.end())
        found->second.erase(delta.origin());
    for (auto& row : delta.nodes())
      nodes_[{listener, row.node()}][delta.origin()] = {{row.incarnation(), row.home_epoch(), row.sequence()},
                                                        row.liveness() == pb::LIVENESS_OFFLINE};
  }

  bool offline(std::uint64_t listener, std::uint64_t node) const {
    auto found = nodes_.find({listener, node});
    if (found == nodes_.end() || found->second.empty())
      return false;
    auto best = std::max_element(found->second.begin(), found->second.end(),
                                 [](auto& a, auto& b) { return a.second.rank < b.second.rank; });
    return best->second.offline;
  }

private:
  struct row {
    std::tuple<std::uint64_t, std::uint64_t, std::uint64_t> rank;
    bool offline = false;
  };

  /// By (listener, node) and origin.
  std::map<std::pair<std::uint64_t, std::uint64_t>, std::map<std::uint64_t, row>> nodes_;
};

class router_requests : public named_check<router_requests> {
public:
  static constexpr const char* label = "router-requests";
  static constexpr const char* about =
      "A router counts the starts that nodes made, tells a node when it no longer waits for its work, and waits for "
      "nothing at a node that it sees offline.";
  /// How long it may take until it has acted, on top of router.admission_timeout for the last words of a node.
  static constexpr nanoseconds default_bound{milliseconds{200}};

  using named_check::named_check;

  topics wants() const override {
    return disturbances::wants()
        .said({message_kind::invoke, message_kind::cancel})
        .add(event_kind::drop, {message_kind::invoke, message_kind::cancel})
        .add(event_kind::step, {message_kind::invoke_reply, message_kind::route_request, message_kind::route_result,
                                message_kind::view_delta});
  }

  void on_event(const event& what, const world_facts& facts) override {
    disturbed_.observe(what);
    if (what.kind == event_kind::boot) {
      std::erase_if(routers_, [&](auto& entry) { return entry.second.machine == what.machine; });
    } else if (auto request = content_as<route_request>(what)) {
      auto& router = routers_[what.actor];
      router.machine = what.machine;
      router.open[exchange_id(what.sender, what.message_id)].request_id = request->request_id;
    } else if (auto result = content_as<route_result>(what)) {
      on_result(*result, what, facts);
    } else if (auto delta = content_as<view_delta>(what)) {
      if (roles_.of(what.actor, facts) == actor_role::router)
        on_delta(**delta, what, facts);
    } else if (auto work = content_as<invoke>(what)) {
      if (is_said(what))
        on_invoke(**work, what);
    } else if (auto withdrawn = content_as<cancel>(what)) {
      if (is_said(what))
        end_of((*withdrawn)->attempt(), what.sender, false);
    } else if (auto reply = content_as<invoke_reply>(what)) {
      end_of((*reply)->attempt(), what.actor, (*reply)->outcome() == pb::INVOKE_NOT_STARTED);
    }
    if (!owed_.empty() && what.at >= next_look_)
      look(what.at, facts);
  }

private:
  struct open_request {
    std::string request_id;
    std::uint32_t starts = 0;
    /// The attempt that runs at a node; 0: none.
    std::uint64_t attempt = 0;
    machine_id at{};
  };

  struct router_record {
    machine_id machine{};
    std::map<std::uint64_t, open_request> open;
  };

  struct debt {
    std::uint64_t router = 0;
    std::uint64_t attempt = 0;
    instant since{0};
  };

  /// What is said into a closed connection is lost at once, and said all the same.
  static bool is_said(const event& what) {
    return said(what) || (what.kind == event_kind::drop && what.text == "the connection is closed");
  }

  void on_invoke(const pb::Invoke& work, const event& what) {
    auto router = routers_.find(what.sender);
    if (router == routers_.end())
      return;
    for (auto& [id, open] : router->second.open)
      if (open.request_id == work.request_id()) {
        ++open.starts;
        open.attempt = work.attempt();
        open.at = what.peer;
      }
  }

  void end_of(std::uint64_t attempt, std::uint64_t router, bool not_started) {
    auto known = routers_.find(router);
    if (known == routers_.end())
      return;
    for (auto& [id, open] : known->second.open)
      if (open.attempt == attempt) {
        open.attempt = 0;
        open.starts -= not_started ? 1 : 0;
      }
  }

  void on_result(const route_result& result, const event& what, const world_facts& facts) {
    auto router = routers_.find(what.sender);
    if (router == routers_.end())
      return;
    auto entry = router->second.open.extract(exchange_id(what.actor, what.message_id));
    if (entry.empty())
      return;
    auto& open = entry.mapped();
    // Fewer it may count: that nothing was started may be said of an attempt that was taken back meanwhile.
    if (result.starts > open.starts)
      fail(fmt::format("{} says that request {} was started {} times, nodes have started it {} times",
                       facts.actor_name(what.sender), open.request_id, result.starts, open.starts));
    auto gives_up = result.outcome == route_outcome::timed_out || result.outcome == route_outcome::cancelled;
    if (gives_up && open.attempt != 0 && well(open.at, facts) && well(what.machine, facts)
        && disturbed_.network_calm(settled, facts))
      fail(fmt::format("{} no longer waits for request {} and has not told node {}, which works on it",
                       facts.actor_name(what.sender), open.request_id, facts_of(open.at, facts).name));
  }

  void on_delta(const pb::ViewDelta& delta, const event& what, const world_facts& facts) {
    told_.observe(delta, what.actor);
    auto router = routers_.find(what.actor);
    // Where messages are lost, it may have come after a gap and not been taken in.
    if (router == routers_.end() || lossy(facts.what()))
      return;
    for (auto& row : delta.nodes()) {
      if (row.liveness() != pb::LIVENESS_OFFLINE || !told_.offline(what.actor, row.node()))
        continue;
      auto machine = nodes_.of(row.node(), facts);
      for (auto& [id, open] : router->second.open)
        if (open.attempt != 0 && open.at == machine)
          owed_.push_back({what.actor, open.attempt, what.at});
    }
  }

  void look(instant now, const world_facts& facts) {
    next_look_ = now + milliseconds{50};
    std::erase_if(owed_, [&](const debt& entry) {
      auto router = routers_.find(entry.router);
      if (router == routers_.end() || !healthy(router->second.machine, facts)
          || disturbed_.last_touched(router->second.machine) >= entry.since)
        return true;
      if (now - entry.since < facts.what().options.router.admission_timeout + bound())
        return false;
      for (auto& [id, open] : router->second.open)
        if (open.attempt == entry.attempt)
          fail(fmt::format("{} waits for request {} at node {}, which it sees offline since {}",
                           facts.actor_name(entry.router), open.request_id, facts_of(open.at, facts).name,
                           seconds_text(entry.since)));
      return true;
    });
  }

  bool well(machine_id machine, const world_facts& facts) const {
    return machine != machine_id{} && healthy(machine, facts) && disturbed_.calm(machine, settled, facts);
  }

  static constexpr nanoseconds settled{seconds{3}};

  actor_roles roles_;
  node_machines nodes_;
  disturbances disturbed_;
  told_liveness told_;
  std::map<std::uint64_t, router_record> routers_;
  std::vector<debt> owed_;
  instant next_look_{0};
};

/// Doubt alone is no reason to refuse.
class needless_refusal : public named_check<needless_refusal> {
public:
  static constexpr const char* label = "needless-refusal";
  static constexpr const char* about =
      "No request is refused for want of a ready replica while a node with one is well "
      "and in reach of the gateway, and nobody has given it up.";
  /// For how long all that must have been so.
  static constexpr nanoseconds default_bound{seconds{8}};

  using named_check::named_check;

  topics wants() const override {
    return placements::wants()
               .add(event_kind::step, {message_kind::route_result, message_kind::reserve, message_kind::view_delta})
               .said({message_kind::reserve})
               .add(event_kind::disconnect) |= disturbances::wants();
  }

  void on_event(const event& what, const world_facts& facts) override {
    disturbed_.observe(what);
    placed_.observe(what, facts);
    if (what.kind == event_kind::disconnect) {
      parted_[joint_id(static_cast<std::uint64_t>(what.machine), static_cast<std::uint64_t>(what.peer))] = what.at;
    } else if (auto delta = content_as<view_delta>(what)) {
      if (roles_.of(what.actor, facts) != actor_role::router)
        return;
      on_told(**delta, what);
    } else if (auto slot = content_as<reserve>(what)) {
      if (said(what))
        apps_[what.sender] = (*slot)->app();
    } else if (auto result = content_as<route_result>(what)) {
      if (result->outcome == route_outcome::unavailable && result->reason.starts_with("no replica of app"))
        on_refusal(*result, what, facts);
    }
  }

private:
  void on_told(const pb::ViewDelta& delta, const event& what) {
    // With a shard, everybody in it.
    if (delta.origin_removed())
      dropped_[what.actor] = what.at;
    for (auto& row : delta.nodes()) {
      auto& since = usable_since_.try_emplace({what.actor, row.node()}, -1).first->second;
      auto usable = row.liveness() == pb::LIVENESS_ONLINE || row.liveness() == pb::LIVENESS_SUSPECT;
      if (!usable && row.liveness() != pb::LIVENESS_UNKNOWN)
        since = instant{-1};
      else if (usable && since < instant{0})
        since = what.at;
    }
    for (auto node : delta.removed_nodes())
      usable_since_[{what.actor, node}] = instant{-1};
  }

  bool long_usable(std::uint64_t router, std::uint64_t node, instant now) const {
    auto found = usable_since_.find({router, node});
    return found != usable_since_.end() && found->second >= instant{0} && now - found->second > bound();
  }

  void on_refusal(const route_result& result, const event& what, const world_facts& facts) {
    auto app = apps_.find(what.sender);
    if (recently(dropped_.find(what.sender), what.at))
      return;
    if (app == apps_.end() || lossy(facts.what()) || !disturbed_.calm_itself(what.machine, bound(), facts))
      return;
    for (std::uint32_t i = 1; i < placed_.size(); ++i) {
      machine_id machine{i};
      auto& node = placed_.at(machine);
      auto& here = facts_of(machine, facts);
      if (!here.node || node.draining || !healthy(machine, facts) || !disturbed_.calm_itself(machine, bound(), facts)
          || recently(parted(what.machine, machine), what.at) || recently(parted(machine, what.machine), what.at)
          || !facts.passes(what.machine, machine) || !facts.passes(machine, what.machine)
          || !long_usable(what.sender, here.node.value(), what.at))
        continue;
      for (auto& [token, replica] : node.replicas)
        if (replica.app == app->second && replica.is == placements::condition::ready
            && what.at - replica.since > bound())
          fail(fmt::format("a request for app {} is refused at {} ({}), and node {} is well, in reach and ready since "
                           "{}",
                           app->second, facts_of(what.machine, facts).name, result.reason, here.name,
                           seconds_text(replica.since)));
    }
  }

  const instant* parted(machine_id one, machine_id other) const {
    return parted_.find(joint_id(static_cast<std::uint64_t>(one), static_cast<std::uint64_t>(other)));
  }

  bool recently(const instant* when, instant now) const { return when != nullptr && *when > now - bound(); }

  actor_roles roles_;
  disturbances disturbed_;
  placements placed_;
  /// Apps by router actor.
  std::map<std::uint64_t, std::string> apps_;
  /// When connections ended, by (machine, peer).
  id_table<instant> parted_;
  /// When a router heard that a shard is gone.
  id_table<instant> dropped_;
  /// Since when a router has heard nothing against a node, by (router, node); negative: it has.
  std::map<std::pair<std::uint64_t, std::uint64_t>, instant> usable_since_;
};

} // namespace

void add_router_checks(std::vector<check_kind>& all) {
  all.push_back(kind_of_check<router_requests>());
  all.push_back(kind_of_check<needless_refusal>());
}

} // namespace astra::sim
