#include "runtime/sim/checks/history.hpp"
#include "runtime/sim/checks/node_profiles.hpp"

#include "messages/wire/app.pb.h"

#include <fmt/format.h>

#include <algorithm>
#include <deque>

// What is counted must add up.

namespace astra::sim {
namespace {

class conservation : public named_check<conservation> {
public:
  static constexpr const char* label = "conservation";
  static constexpr const char* about = "At quiet routers, nodes and launchers have no more work than clients wait for, "
                                       "and no room is held without a claim.";
  /// Work of a request may outlive the request by this, until the node has told of its end.
  static constexpr nanoseconds default_bound{std::chrono::seconds{6}};

  using named_check::named_check;

  topics wants() const override {
    return node_profiles::wants()
        .add(event_kind::request)
        .add(event_kind::answer)
        .add(event_kind::step, {message_kind::claim_batch});
  }

  void on_event(const event& what, const world_facts& facts) override {
    nodes_.observe(what, facts);
    if (what.kind == event_kind::request) {
      auto gateway = facts.find(field(what.text, "gateway=")).value_or(what.machine);
      auto flow = joint_id(static_cast<std::uint64_t>(gateway), name_hash(field(what.text, "app=")));
      flow_of_[name_hash(first_word(what.text))] = flow;
      ++flows_[flow].open;
      ++all_.open;
    } else if (what.kind == event_kind::answer) {
      auto flow = flow_of_.find(name_hash(first_word(what.text)));
      if (flow == nullptr || *flow == 0)
        return; // one-answer judges it
      close(flows_[std::exchange(*flow, 0)], what.at);
      close(all_, what.at);
    } else if (auto batch = content_as<claim_batch>(what); batch && !(*batch)->claims().empty()) {
      last_claim_ = what.at;
    }
  }

  void at_quiet(const final_state& state, const world_facts& facts) override {
    for (auto& [gateway, tables] : state.tables)
      for (auto& [app, table] : tables)
        look_at_router(facts_of(gateway, facts), table,
                       flows_[joint_id(static_cast<std::uint64_t>(gateway), name_hash(app))], state.asked, facts.now());
    look_at_nodes(facts);
    look_at_processes(facts);
    if (facts.now() - last_claim_ < bound() && last_claim_ >= instant{0})
      return;
    for (auto& [resource, view] : state.views)
      for (auto& [id, entry] : view.nodes()) {
        auto& held = entry.row.held();
        auto accelerators =
            std::any_of(held.accelerators().begin(), held.accelerators().end(), [](auto& x) { return x.count() > 0; });
        if (entry.row.liveness() != pb::LIVENESS_OFFLINE
            && (held.cpu_milli() > 0 || held.memory_bytes() > 0 || accelerators))
          fail(fmt::format("in the view of {} claims hold {} thousandths of a core of node {}, and the last claim was "
                           "at {}",
                           facts_of(resource, facts).name, held.cpu_milli(), entry.name(), seconds_text(last_claim_)));
      }
  }

private:
  /// Requests of one gateway and app.
  struct flow_record {
    std::int64_t open = 0;
    /// When those ended that ended of late.
    std::deque<instant> closed;
  };

  void close(flow_record& flow, instant at) {
    --flow.open;
    while (!flow.closed.empty() && at - flow.closed.front() > 2 * bound())
      flow.closed.pop_front();
    flow.closed.push_back(at);
  }

  static std::int64_t open_within(const flow_record& flow, nanoseconds span, instant now) {
    return flow.open + std::count_if(flow.closed.begin(), flow.closed.end(), [&](auto at) { return now - at <= span; });
  }

  void look_at_router(const machine_facts& gateway, const router_table& table, const flow_record& flow, instant asked,
                      instant now) {
    // A client that went away is taken back at once, the message only has to be handled.
    auto open = open_within(flow, std::chrono::seconds{1} + (now - asked), now);
    auto inside = static_cast<std::int64_t>(table.requests) - static_cast<std::int64_t>(table.answered);
    std::int64_t in_flight = 0;
    for (auto& row : table.rows)
      in_flight += row.in_flight;
    if (inside < 0 || inside > open)
      fail(fmt::format("the router of app {} on {} took {} requests and answered {}, and {} clients wait", table.app,
                       gateway.name, table.requests, table.answered, open));
    else if (table.waiting > inside || in_flight > inside)
      fail(fmt::format("the router of app {} on {} has {} requests, {} of them waiting and {} at nodes", table.app,
                       gateway.name, inside, table.waiting, in_flight));
  }

  void look_at_nodes(const world_facts& facts) {
    std::int64_t running = 0;
    std::int64_t queued = 0;
    for (std::uint32_t i = 1; i < facts.machines().size(); ++i) {
      machine_id machine{i};
      auto& node = nodes_[machine];
      if (!facts.machines()[i].node || !healthy(machine, facts) || facts.machines()[i].since > node.beat_at)
        continue;
      running += node.running;
      queued += node.queued;
    }
    auto open = open_within(all_, bound(), facts.now());
    if (running + queued > open)
      fail(fmt::format("nodes say that {} requests run and {} wait, and there were {} of late", running, queued, open));
  }

  /// One process per replica of a server or of an actor with a library, and one per request.
  void look_at_processes(const world_facts& facts) {
    auto processes = facts.processes();
    std::int64_t servers = 0;
    for (std::uint32_t i = 1; i < facts.machines().size(); ++i) {
      auto profile = nodes_.profile_of(machine_id{i});
      if (!profile || !facts.machines()[i].up)
        continue;
      if (facts.now() - nodes_[machine_id{i}].changed < bound())
        return; // replicas come and go
      servers += std::count_if(profile->replicas().begin(), profile->replicas().end(), [&](auto& replica) {
        return is_server(replica.app(), facts.what()) && replica.state() != pb::REPLICA_FAILED
               && replica.state() != pb::REPLICA_BACKING_OFF;
      });
    }
    auto open = open_within(all_, bound(), facts.now());
    if (static_cast<std::int64_t>(processes.size()) > servers + open)
      fail(fmt::format("{} processes run for {} servers and {} requests", processes.size(), servers, open));
  }

  static bool is_server(const std::string& app, const scenario& script) {
    return std::any_of(script.apps.begin(), script.apps.end(), [&](auto& entry) {
      return entry.spec && entry.spec->name() == app
             && (entry.spec->has_server() || entry.spec->has_federation() || !entry.spec->actor().library().empty());
    });
  }

  node_profiles nodes_;
  /// By request id.
  id_table<std::uint64_t> flow_of_;
  /// By (gateway, app).
  id_table<flow_record> flows_;
  flow_record all_;
  instant last_claim_{-1};
};

} // namespace

void add_counter_checks(std::vector<check_kind>& all) {
  all.push_back(kind_of_check<conservation>());
}

} // namespace astra::sim
