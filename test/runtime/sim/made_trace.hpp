#pragma once

#include "runtime/sim/draw.hpp"
#include "runtime/sim/trace.hpp"

#include <algorithm>
#include <map>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

// Traces without a simulation, for the tests of what reads traces.

namespace astra::sim::test {

/// Builds a trace event by event; names become actors, machines and texts as they come.
class trace_maker {
public:
  trace_maker() {
    result.scenario = "made";
    result.seed = 7;
    result.build = "test";
    result.machines.push_back({"", "", ""});
  }

  machine_id machine(const std::string& name, const std::string& role, const std::string& zone = "") {
    result.machines.push_back({name, role, zone});
    return static_cast<machine_id>(result.machines.size() - 1);
  }

  /// An actor "machine/name#id".
  std::uint64_t actor(machine_id where, const std::string& name) {
    auto id = result.actors.size() + 1;
    result.actors[id] = std::string{result.machine_name(where)} + "/" + name + "#" + std::to_string(id);
    home[id] = where;
    return id;
  }

  text_id text(std::string_view what) {
    auto found = std::find(result.texts.begin(), result.texts.end(), what);
    if (found == result.texts.end())
      found = result.texts.insert(found, std::string{what});
    return static_cast<text_id>(found - result.texts.begin());
  }

  /// Returns the number of the event.
  std::uint64_t add(trace_record what) {
    what.number = result.records.size() + 1;
    result.records.push_back(what);
    return what.number;
  }

  std::uint64_t happen(instant at, event_kind kind, machine_id where, std::string_view what = {},
                       std::uint64_t cause = 0, std::uint64_t actor = 0) {
    return add({.cause = cause, .at = at, .kind = kind, .machine = where, .actor = actor, .text = text(what)});
  }

  std::uint64_t step(instant at, std::uint64_t actor, std::uint64_t sender, std::string_view message,
                     std::uint64_t cause) {
    return add({.cause = cause,
                .at = at,
                .kind = event_kind::step,
                .machine = home[actor],
                .actor = actor,
                .sender = sender,
                .message = text(message)});
  }

  std::uint64_t cross(instant at, event_kind kind, std::uint64_t sender, std::uint64_t actor, std::string_view message,
                      std::uint64_t cause, std::string_view why = {}) {
    auto here = kind == event_kind::arrive ? actor : sender;
    auto there = kind == event_kind::arrive ? sender : actor;
    return add({.cause = cause,
                .at = at,
                .kind = kind,
                .machine = home[here],
                .peer = home[there],
                .actor = actor,
                .sender = sender,
                .message = text(message),
                .text = text(why)});
  }

  trace result;
  std::map<std::uint64_t, machine_id> home;
};

/// A cluster of 50 machines: nodes beat every second, Resources exchange views, schedulers claim, gateways send
/// requests, a zone is cut off, nodes crash, one stalls, and a check fails.
inline trace busy_cluster(std::size_t events, std::uint64_t seed = 1) {
  using namespace std::chrono_literals;
  trace_maker maker;
  draws random{seed};
  std::uint64_t drawn = 0;
  auto below = [&](std::uint64_t bound) { return random.below(bound, draw_kind::latency, 0, drawn++); };
  std::vector<std::uint64_t> resources, schedulers, gateways, nodes;
  const char* zones[] = {"a", "b", "c"};
  auto build = [&](int count, const std::string& role, std::vector<std::uint64_t>& into) {
    for (auto i = 1; i <= count; ++i)
      into.push_back(maker.actor(maker.machine(role + "-" + std::to_string(i), role, zones[i % 3]), role));
  };
  build(3, "resource", resources);
  build(2, "scheduler", schedulers);
  build(2, "gateway", gateways);
  build(43, "node", nodes);
  // What will happen, by time; the second orders what happens at once.
  enum class act { tick, arrive };
  struct planned {
    act what;
    std::uint64_t actor;
    std::uint64_t sender;
    std::string message;
    std::uint64_t cause;
  };
  std::map<std::pair<instant, std::uint64_t>, planned> plan;
  std::uint64_t planned_count = 0;
  auto later = [&](instant at, planned what) { plan.emplace(std::pair{at, planned_count++}, std::move(what)); };
  for (auto& [actor, where] : maker.home) {
    maker.happen(0ns, event_kind::boot, where);
    later(instant{static_cast<std::int64_t>(below(1'000'000'000))}, {act::tick, actor, actor, "beat_atom", 0});
  }
  instant now{0};
  auto in_zone_b = [&](std::uint64_t actor) {
    return maker.result.machines[static_cast<std::size_t>(maker.home[actor])].zone == "b";
  };
  std::map<machine_id, bool> down;
  std::map<machine_id, instant> stalled_until;
  auto cut = false;
  auto send = [&](std::uint64_t from, std::uint64_t to, const std::string& message, std::uint64_t cause) {
    auto sent = maker.cross(now, event_kind::send, from, to, message, cause);
    if (down[maker.home[to]] || (cut && in_zone_b(from) != in_zone_b(to))) {
      maker.cross(now, event_kind::drop, from, to, message, sent, cut ? "cut" : "machine is down");
      return;
    }
    auto at = now + 200us + instant{static_cast<std::int64_t>(below(below(100) == 0 ? 150'000'000 : 3'000'000))};
    later(std::max(at, stalled_until[maker.home[to]]), {act::arrive, to, from, message, sent});
  };
  auto replied = [](const std::string& message) -> std::string {
    static const std::map<std::string, std::string> replies{{"heartbeat", "heartbeat_ack"},
                                                            {"subscribe", "subscribe_ack"},
                                                            {"claim_batch", "claim_reply"},
                                                            {"reserve", "reserve_reply"},
                                                            {"invoke", "invoke_reply"}};
    auto found = replies.find(message);
    return found == replies.end() ? std::string{} : found->second;
  };
  // Faults at fixed times: the cut, two crashes, a stall.
  std::vector<std::tuple<instant, int>> script{{6s, 0}, {9s, 1}, {11s, 2}, {12s, 3}, {13s, 4}, {15s, 5}, {16s, 6}};
  std::size_t next_fault = 0;
  std::uint64_t cut_event = 0, stall_event = 0, crash_event = 0;
  auto node_machine = [&](std::size_t i) { return maker.home[nodes[i]]; };
  while (maker.result.records.size() < events && !plan.empty()) {
    auto entry = plan.extract(plan.begin());
    if (next_fault < script.size() && std::get<0>(script[next_fault]) <= entry.key().first) {
      auto [at, what] = script[next_fault++];
      now = at;
      plan.insert(std::move(entry));
      switch (what) {
      case 0:
        cut_event = maker.happen(now, event_kind::fault, {}, "partition zone:b for 5 s");
        cut = true;
        break;
      case 1:
        stall_event = maker.happen(now, event_kind::fault, node_machine(4), "stall node-5 for 3 s");
        maker.happen(now, event_kind::stall, node_machine(4), "", stall_event);
        stalled_until[node_machine(4)] = now + 3s;
        break;
      case 2:
        maker.happen(now, event_kind::heal, {}, "partition zone:b for 5 s", cut_event);
        cut = false;
        break;
      case 3:
        maker.happen(now, event_kind::go_on, node_machine(4), "", stall_event);
        maker.happen(now, event_kind::heal, node_machine(4), "stall node-5 for 3 s", stall_event);
        break;
      case 4:
        crash_event = maker.happen(now, event_kind::fault, node_machine(20), "crash node-21");
        maker.happen(now, event_kind::crash, node_machine(20), "", crash_event);
        maker.happen(now, event_kind::crash, node_machine(21), "", crash_event);
        down[node_machine(20)] = down[node_machine(21)] = true;
        break;
      case 5:
        maker.happen(now, event_kind::boot, node_machine(20), "", crash_event);
        maker.happen(now, event_kind::heal, node_machine(20), "crash node-21", crash_event);
        down[node_machine(20)] = false;
        break;
      default:
        maker.happen(now, event_kind::log, maker.home[resources[0]], "resource.evict node=node-22 silent_ms=3000", 0,
                     resources[0]);
      }
      continue;
    }
    now = entry.key().first;
    auto& x = entry.mapped();
    auto where = maker.home[x.actor];
    if (x.what == act::tick) {
      later(now + 1s, {act::tick, x.actor, x.actor, "beat_atom", 0});
      if (down[where] || stalled_until[where] > now)
        continue;
      auto cause = maker.step(now, x.actor, x.actor, "beat_atom", x.cause);
      plan.rbegin()->second.cause = plan.rbegin()->second.actor == x.actor ? cause : 0;
      auto home = resources[x.actor % resources.size()];
      auto role = maker.result.machines[static_cast<std::size_t>(where)].role;
      if (role == "node") {
        send(x.actor, home, "heartbeat", cause);
      } else if (role == "resource") {
        for (auto other : resources)
          if (other != x.actor)
            send(x.actor, other, "subscribe", cause);
        for (auto sink : schedulers)
          send(x.actor, sink, "view_delta", cause);
        for (auto sink : gateways)
          send(x.actor, sink, "view_delta", cause);
      } else if (role == "scheduler") {
        send(x.actor, home, "scheduler_beat", cause);
        send(x.actor, home, "claim_batch", cause);
      } else {
        for (auto i = 0; i < 60; ++i) {
          auto taken = maker.happen(now, event_kind::request, where, "app-1", cause);
          send(x.actor, nodes[below(nodes.size())], "reserve", taken);
        }
      }
      continue;
    }
    if (down[where])
      continue;
    auto arrived = maker.cross(now, event_kind::arrive, x.sender, x.actor, x.message, x.cause);
    auto step = maker.step(now, x.actor, x.sender, x.message, arrived);
    if (auto reply = replied(x.message); !reply.empty())
      send(x.actor, x.sender, reply, step);
    if (x.message == "reserve_reply")
      send(x.actor, x.sender, "invoke", step);
    if (x.message == "invoke_reply")
      maker.happen(now, event_kind::answer, where, below(40) == 0 ? "503 no node" : "200", step);
    if (x.message == "claim_batch" && below(3) == 0)
      send(x.actor, nodes[below(nodes.size())], "claim_batch", step);
    if (x.message == "view_delta" && below(200) == 0)
      maker.happen(now, event_kind::log, where, "view.gap shard=resource-2", step, x.actor);
  }
  auto& trace = maker.result;
  for (auto i = trace.records.size(); i-- > 0;)
    if (trace.records[i].kind == event_kind::step && trace.text(trace.records[i].message) == "invoke"
        && trace.records[i].at <= now * 2 / 3) {
      trace.failures.push_back(
          {trace.records[i].number, trace.records[i].at, "one-holder", "two schedulers hold node-7 with one token"});
      break;
    }
  trace.hash = 0x15f77dad7a5ca957;
  return std::move(trace);
}

} // namespace astra::sim::test
