#include "runtime/sim/checks/history.hpp"
#include "runtime/sim/checks/node_profiles.hpp"

#include "actors/router/smooth_wrr.hpp"
#include "messages/wire/app.pb.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <map>
#include <set>
#include <tuple>

// Whom routers send work to.

namespace astra::sim {
namespace {

/// How long a router may still send to a node that it knows to be gone.
constexpr nanoseconds known_bound{std::chrono::seconds{1}};

/// Routers know of nodes by the deltas that they handle.  A node counts as known to be gone when the latest of its
/// rows that a router has ever handled says so: of several the one with the larger (incarnation, home epoch, sequence),
/// of equal ones the last.  Deltas that the router ignored make this knowledge less, never more, than what it has.
class no_route_to_dead : public named_check<no_route_to_dead> {
public:
  static constexpr const char* label = "no-route-to-dead";
  static constexpr const char* about = "No router sends a request to a node that is down for longer than the bound, "
                                       "nor, for longer than a second, to one "
                                       "that its view shows as offline or draining.";
  /// Eviction takes 4 s at most, and the news one more.
  static constexpr nanoseconds default_bound{std::chrono::seconds{5}};

  using named_check::named_check;

  topics wants() const override {
    return topics{}
        .add(event_kind::step, {message_kind::view_delta, message_kind::reserve, message_kind::invoke})
        .add(event_kind::send, {message_kind::reserve, message_kind::invoke});
  }

  void on_event(const event& what, const world_facts& facts) override {
    if (auto delta = content_as<view_delta>(what)) {
      if (roles_.of(what.actor, facts) != actor_role::router)
        return;
      for (auto& row : (*delta)->nodes())
        on_row(row, what);
      // Another shard may show the node in another light.
      for (auto node : (*delta)->removed_nodes())
        known_[joint_id(what.actor, node)].gone_since = instant{-1};
      return;
    }
    if (!said(what))
      return;
    auto target = what.kind == event_kind::send ? what.peer : what.machine;
    if (target == machine_id{})
      return;
    auto& machine = facts_of(target, facts);
    if (!machine.up && what.at - machine.since > bound())
      return fail(
          fmt::format("a request is sent to {}, which is down since {}", machine.name, seconds_text(machine.since)));
    auto known = known_.find(joint_id(what.sender, machine.node.value()));
    if (known != nullptr && known->gone_since >= instant{0} && what.at - known->gone_since > known_bound)
      fail(fmt::format("a router sends a request to node {}, which it knows to be {} since {}", machine.name,
                       known->draining ? "draining" : "offline", seconds_text(known->gone_since)));
  }

private:
  using rank = std::tuple<std::uint64_t, std::uint64_t, std::uint64_t>;

  struct knowledge {
    rank latest{};
    /// Negative: it is not.
    instant gone_since{-1};
    bool draining = false;
  };

  void on_row(const pb::NodeRow& row, const event& what) {
    auto& known = known_[joint_id(what.actor, row.node())];
    rank now{row.incarnation(), row.home_epoch(), row.sequence()};
    auto draining = row.liveness() == pb::LIVENESS_DRAINING;
    auto gone = draining || row.liveness() == pb::LIVENESS_OFFLINE;
    if (now < known.latest) {
      // If it was ignored, nothing has changed; if not, the router knows less than we do.
      if (!gone)
        known.gone_since = instant{-1};
      return;
    }
    known.latest = now;
    known.draining = draining;
    if (!gone)
      known.gone_since = instant{-1};
    else if (known.gone_since < instant{0})
      known.gone_since = what.at;
  }

  actor_roles roles_;
  /// By (router, node).
  id_table<knowledge> known_;
};

/// At quiet every table is what the nodes are.
class tables_agree : public named_check<tables_agree> {
public:
  static constexpr const char* label = "tables-agree";
  static constexpr const char* about = "At quiet every routing table holds exactly the nodes with replicas of its app, "
                                       "and those that are ready get work.";
  /// What changed within this time before the end may still be under way.
  static constexpr nanoseconds default_bound{std::chrono::seconds{5}};

  using named_check::named_check;

  topics wants() const override { return node_profiles::wants().add(event_kind::log); }

  void on_event(const event& what, const world_facts& facts) override {
    nodes_.observe(what, facts);
    if (what.kind == event_kind::log && first_word(what.text) == "router.expel")
      expelled_until_[{what.machine, std::string{field(what.text, "app=")}, std::string{field(what.text, "node=")}}] =
          what.at + std::chrono::milliseconds{std::strtoll(std::string{field(what.text, "ms=")}.c_str(), nullptr, 10)};
  }

  void at_quiet(const final_state& state, const world_facts& facts) override {
    for (auto& [gateway, tables] : state.tables) {
      auto& machine = facts_of(gateway, facts);
      if (!healthy(gateway, facts) || facts.now() - machine.since < bound())
        continue;
      for (auto& [app, table] : tables)
        compare(gateway, machine, app, table, state, facts);
      auto& served = facts.what().options.gateway.apps;
      for (auto& [scheduler, details] : state.apps)
        for (auto& [app, detail] : details)
          if (tables.count(app) == 0 && (served.empty() || std::count(served.begin(), served.end(), app) > 0)
              && exists(app, state) && long_ready(app, facts))
            fail(fmt::format("app {} has ready replicas and {} has no router for it", app, machine.name));
    }
  }

private:
  void compare(machine_id at, const machine_facts& gateway, const std::string& app, const router_table& table,
               const final_state& state, const world_facts& facts) {
    // Which heads of a federated app count depends on their clusters.
    if (!exists(app, state) || is_federated(app, facts.what()))
      return;
    auto machines = facts.machines();
    for (std::uint32_t i = 1; i < machines.size(); ++i) {
      auto& machine = machines[i];
      machine_id id{i};
      if (!machine.node)
        continue;
      auto& node = nodes_[id];
      if (facts.now() - machine.since < bound() || machine.stalled
          || (node.changed >= instant{0} && facts.now() - node.changed < bound()))
        continue;
      std::uint32_t replicas = 0;
      std::uint32_t slots = 0;
      if (auto profile = nodes_.profile_of(id); profile && machine.up) {
        for (auto& replica : profile->replicas()) {
          if (replica.app() != app)
            continue;
          ++replicas;
          if (replica.state() == pb::REPLICA_READY)
            slots += std::max(1U, replica.concurrency());
        }
      }
      auto row =
          std::find_if(table.rows.begin(), table.rows.end(), [&](auto& entry) { return entry.node == machine.node; });
      // A node that flapped must stay for a while, and so must one that answered badly.
      auto until = expelled_until_.find({at, app, machine.name});
      auto waits = until != expelled_until_.end() && facts.now() < until->second + bound();
      auto in_rotation = row != table.rows.end()
                         && (row->out_reason.empty() || waits || row->out_reason.find("flapping") != std::string::npos);
      if (replicas > 0 && row == table.rows.end())
        fail(fmt::format("node {} holds {} replicas of app {} and is not in the table of {}", machine.name, replicas,
                         app, gateway.name));
      else if (slots > 0 && !node.draining && !in_rotation)
        fail(fmt::format("node {} has ready replicas of app {} and is out of the table of {}: {}", machine.name, app,
                         gateway.name, row->out_reason));
      else if (slots > 0 && !node.draining && row->slots != slots)
        fail(fmt::format("node {} has {} slots for app {} and {} in the table of {}", machine.name, slots, app,
                         row->slots, gateway.name));
      else if ((slots == 0 || node.draining) && in_rotation)
        fail(fmt::format("the table of {} sends requests of app {} to node {}, which has no ready replica for them",
                         gateway.name, app, machine.name));
      else if (replicas == 0 && machine.up && row != table.rows.end())
        fail(fmt::format("the table of {} lists node {}, which has no replica of app {}", gateway.name, machine.name,
                         app));
    }
  }

  static bool is_federated(const std::string& app, const scenario& script) {
    return std::any_of(script.apps.begin(), script.apps.end(), [&](auto& entry) {
      return entry.spec && entry.spec->name() == app && entry.spec->has_federation();
    });
  }

  /// A node has told long ago of a ready replica.
  bool long_ready(const std::string& app, const world_facts& facts) {
    for (std::uint32_t i = 1; i < facts.machines().size(); ++i) {
      machine_id machine{i};
      auto profile = nodes_.profile_of(machine);
      if (profile == nullptr || !healthy(machine, facts) || facts.now() - nodes_[machine].changed < bound())
        continue;
      for (auto& replica : profile->replicas())
        if (replica.app() == app && replica.state() == pb::REPLICA_READY)
          return true;
    }
    return false;
  }

  static bool exists(const std::string& app, const final_state& state) {
    return std::any_of(state.apps.begin(), state.apps.end(), [&](auto& entry) {
      auto detail = entry.second.find(app);
      return detail != entry.second.end() && detail->second.found() && !detail->second.record().deleting();
    });
  }

  node_profiles nodes_;
  /// By gateway, app and node.
  std::map<std::tuple<machine_id, std::string, std::string>, instant> expelled_until_;
};

/// Smooth weighted round robin keeps the sum of credits at zero, whatever joins, leaves or refuses.
class swrr : public named_check<swrr> {
public:
  static constexpr const char* label = "swrr";
  static constexpr const char* about =
      "Weights and credits are finite, no weight is negative, those in rotation have one, and credits sum up to zero.";
  static constexpr nanoseconds default_bound{0};

  using named_check::named_check;

  topics wants() const override { return topics{}.add(event_kind::step, {message_kind::router_table}); }

  void on_event(const event& what, const world_facts&) override {
    if (auto table = content_as<router_table>(what))
      look(*table);
  }

  void at_quiet(const final_state& state, const world_facts&) override {
    for (auto& [gateway, tables] : state.tables)
      for (auto& [app, table] : tables)
        look(table);
  }

private:
  void look(const router_table& table) {
    look(table, true);
    look(table, false);
  }

  /// Near nodes and others take turns among themselves.
  void look(const router_table& table, bool near) {
    // As shown, a credit is a share of the weight; its rounding is that of the ticks behind it.
    std::vector<double> weights;
    for (auto& row : table.rows) {
      if (row.near != near)
        continue;
      if (!std::isfinite(row.weight) || !std::isfinite(row.credit) || row.weight < 0.0)
        return fail(fmt::format("in the table of app {} node {} has weight {} and credit {}", table.app, row.name,
                                row.weight, row.credit));
      if (row.out_reason.empty() != (row.weight > 0.0))
        return fail(fmt::format("in the table of app {} node {} has weight {} and is out for \"{}\"", table.app,
                                row.name, row.weight, row.out_reason));
      if (!row.out_reason.empty() && row.credit != 0.0)
        return fail(fmt::format("in the table of app {} node {} is out of rotation and has credit {}", table.app,
                                row.name, row.credit));
      if (row.out_reason.empty())
        weights.push_back(row.weight);
    }
    auto ticks = to_ticks(weights);
    auto credit_sum = 0.0;
    std::size_t next = 0;
    for (auto& row : table.rows)
      if (row.near == near && row.out_reason.empty()) {
        credit_sum += row.credit / row.weight * static_cast<double>(ticks[next]);
        ++next;
      }
    // Each of them is exact up to the precision of a double.
    if (std::abs(credit_sum) > 1.0 + static_cast<double>(weights.size()))
      fail(fmt::format("in the table of app {} the credits sum up to {} ticks of 2^32", table.app, credit_sum));
  }
};

} // namespace

void add_routing_checks(std::vector<check_kind>& all) {
  all.push_back(kind_of_check<no_route_to_dead>());
  all.push_back(kind_of_check<tables_agree>());
  all.push_back(kind_of_check<swrr>());
}

} // namespace astra::sim
