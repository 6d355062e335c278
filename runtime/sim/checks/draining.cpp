#include "runtime/sim/checks/history.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <utility>

// Nodes on their way out.

namespace astra::sim {
namespace {

/// The drain of a node begins when its log says so, or at the latest when a heartbeat does.  From then on it takes
/// nothing new: what it granted or confirmed before may be granted or confirmed again, because messages repeat.
class no_grant_while_draining : public named_check<no_grant_while_draining> {
public:
  static constexpr const char* label = "no-grant-while-draining";
  static constexpr const char* about =
      "A draining node grants no slot and confirms no claim, and all of its heartbeats say that it drains.";
  static constexpr nanoseconds default_bound{0};

  using named_check::named_check;

  topics wants() const override {
    return topics{}
        .said({message_kind::heartbeat, message_kind::reserve_reply, message_kind::claim_reply})
        .add(event_kind::log)
        .add(event_kind::boot);
  }

  void on_event(const event& what, const world_facts& facts) override {
    if (what.kind == event_kind::boot) {
      draining_[what.machine] = {};
    } else if (what.kind == event_kind::log) {
      if (first_word(what.text) == "node.drain")
        begin(draining_[what.machine], what.number);
    } else if (auto beat = content_as<heartbeat>(what)) {
      if (said(what))
        on_beat(**beat, what, facts);
    } else if (auto slot = content_as<reserve_reply>(what)) {
      if (said(what) && (*slot)->outcome() == pb::RESERVE_GRANTED)
        on_grant(what, (*slot)->attempt(), "grants attempt", facts);
    } else if (auto reply = content_as<claim_reply>(what); reply && said(what)) {
      if (roles_.of(what.sender, facts) == actor_role::node)
        for (auto& result : (*reply)->results())
          if (result.outcome() == pb::CLAIM_CONFIRMED)
            on_grant(what, result.token(), "confirms token", facts);
    }
  }

private:
  struct drain_record {
    /// Number of the event; 0: it does not drain.
    std::uint64_t since = 0;
    /// Of the node that drains; a later one on the same machine is a new life.
    std::uint64_t incarnation = 0;
    bool told = false;
  };

  static void begin(drain_record& state, std::uint64_t number) {
    if (state.since == 0)
      state = {number, 0, false};
  }

  /// Where the node lives that said it.
  static machine_id home_of(const event& what) { return what.machine; }

  void on_beat(const pb::Heartbeat& beat, const event& what, const world_facts& facts) {
    if (facts_of(what.machine, facts).node.value() != beat.node())
      return;
    auto& state = draining_[what.machine];
    if (state.since != 0 && state.incarnation == 0 && (beat.draining() || said_in(what) > state.since))
      state.incarnation = beat.incarnation();
    if (state.since != 0 && state.incarnation != 0 && state.incarnation != beat.incarnation()) {
      if (beat.incarnation() > state.incarnation)
        state = {};
      return;
    }
    if (beat.draining())
      begin(state, what.number);
    else if (state.since != 0 && said_in(what) > state.since)
      fail(fmt::format("node {} drains, and its heartbeat {} does not say so", facts_of(what.machine, facts).name,
                       beat.sequence()));
  }

  void on_grant(const event& what, std::uint64_t id, const char* deed, const world_facts& facts) {
    auto& before = granted_[joint_id(what.sender, id)];
    auto& state = draining_[home_of(what)];
    if (!before && state.since != 0 && said_in(what) > state.since)
      fail(fmt::format("node {} {} {} although it drains", facts_of(home_of(what), facts).name, deed, to_hex(id)));
    before = true;
  }

  actor_roles roles_;
  per_machine<drain_record> draining_;
  /// By (node actor, attempt or token).
  id_table<bool> granted_;
};

/// A node that leaves ends its work first, and goes when it has.  Only the limit of an orderly stop may cut it short.
class drain_finishes : public named_check<drain_finishes> {
public:
  static constexpr const char* label = "drain-finishes";
  static constexpr const char* about = "A draining node leaves no work unfinished, unless the drain took its whole "
                                       "wait, and a node that stops leaves as soon as nothing is left to do.";
  /// On top of the time that a granted slot is held.
  static constexpr nanoseconds default_bound{std::chrono::milliseconds{500}};

  using named_check::named_check;

  topics wants() const override {
    return topics{}
        .add(event_kind::log)
        .add(event_kind::boot)
        .add(event_kind::stall)
        .add(event_kind::go_on)
        .add(event_kind::crash)
        .add(event_kind::stop)
        .add(event_kind::step, {message_kind::invoke})
        .said({message_kind::invoke_reply, message_kind::reserve_reply})
        .add(event_kind::drop, {message_kind::invoke_reply});
  }

  void on_event(const event& what, const world_facts& facts) override {
    auto& here = drains_[what.machine];
    switch (what.kind) {
    case event_kind::boot:
    case event_kind::crash:
    case event_kind::stop:
      here = {};
      break;
    case event_kind::stall:
    case event_kind::go_on:
      here.busy_until = what.at;
      break;
    case event_kind::log:
      on_log(what, facts);
      break;
    default:
      if (auto work = content_as<invoke>(what)) {
        if (roles_.of(what.actor, facts) == actor_role::node)
          here.running.insert((*work)->attempt());
      } else if (roles_.of(what.sender, facts) == actor_role::node) {
        if (auto reply = content_as<invoke_reply>(what))
          here.running.erase((*reply)->attempt());
        here.busy_until = what.at;
      }
    }
    if (stopping_ > 0 && what.at >= next_look_)
      look(what.at, facts);
  }

private:
  struct drain_record {
    instant began{-1};
    /// An orderly stop, and it has not left yet.
    bool stops = false;
    std::set<std::uint64_t> running;
    instant busy_until{0};
  };

  void on_log(const event& what, const world_facts& facts) {
    auto& here = drains_[what.machine];
    auto word = first_word(what.text);
    if (word == "node.drain") {
      here.began = here.busy_until = what.at;
      here.stops = what.text.find("the process stops") != std::string_view::npos;
      stopping_ += here.stops ? 1 : 0;
    } else if (word == "node.leave") {
      here.stops = false;
      auto left = number(field(what.text, "unfinished="));
      // A stop may come long after an operator's drain; the wait of the stop is what counts, so this is a lower bound.
      auto waited = here.began < instant{0} ? nanoseconds{0} : what.at - here.began;
      // Clocks may drift by some per cent.
      if (left && *left > 0 && waited < facts.what().options.node.drain_wait * 9 / 10)
        fail(fmt::format("node {} leaves {} requests unfinished after a drain of {}",
                         facts_of(what.machine, facts).name, *left, seconds_text(waited)));
    }
  }

  void look(instant now, const world_facts& facts) {
    next_look_ = now + std::chrono::milliseconds{100};
    stopping_ = 0;
    for (std::size_t i = 1; i < drains_.size(); ++i) {
      machine_id machine{static_cast<std::uint32_t>(i)};
      auto& node = drains_[machine];
      if (!node.stops)
        continue;
      ++stopping_;
      if (healthy(machine, facts) && node.running.empty()
          && now - node.busy_until > facts.what().options.node.slot_hold * 11 / 10 + bound())
        fail(fmt::format("node {} stops since {}, has nothing to do since {} and has not left",
                         facts_of(machine, facts).name, seconds_text(node.began), seconds_text(node.busy_until)));
    }
  }

  actor_roles roles_;
  per_machine<drain_record> drains_;
  /// How many nodes stop.
  int stopping_ = 0;
  instant next_look_{0};
};

/// The drain is news that goes out at once: routers must hear of it before they send more.
class drain_told : public named_check<drain_told> {
public:
  static constexpr const char* label = "drain-told";
  static constexpr const char* about =
      "A node that has a home tells it of its drain and of its end at once, not with the next heartbeat.";
  static constexpr nanoseconds default_bound{std::chrono::milliseconds{100}};

  using named_check::named_check;

  topics wants() const override {
    return topics{}
        .said({message_kind::heartbeat})
        .add(event_kind::step, {message_kind::heartbeat_ack, message_kind::error})
        .add(event_kind::drop, {message_kind::heartbeat})
        .add(event_kind::log)
        .add(event_kind::boot)
        .add(event_kind::crash)
        .add(event_kind::stop)
        .add(event_kind::stall)
        .add(event_kind::disconnect);
  }

  void on_event(const event& what, const world_facts& facts) override {
    auto& here = nodes_[what.machine];
    switch (what.kind) {
    case event_kind::log:
      if (first_word(what.text) == "node.drain" && here.has_home)
        expect(here, what.at);
      else if (first_word(what.text) == "node.leave" && here.has_home)
        expect_goodbye(here, what.at);
      else if (first_word(what.text) == "node.rehome")
        here = {};
      break;
    case event_kind::drop:
      // It was said, and its connection had just ended.
      here = {};
      break;
    case event_kind::step:
    case event_kind::send:
      if (content_as<heartbeat_ack>(what)) {
        here.has_home = here.has_home || roles_.of(what.actor, facts) == actor_role::node;
      } else if (auto beat = content_as<heartbeat>(what)) {
        look(what.at, facts);
        if (said(what) && (*beat)->draining())
          here.due = instant{-1};
        if (said(what) && (*beat)->leaving())
          here.goodbye_due = instant{-1};
      } else if (roles_.of(what.actor, facts) == actor_role::node) {
        here = {};
      }
      break;
    default:
      if (what.kind == event_kind::stop && here.goodbye_due >= instant{0})
        fail(fmt::format("node {} ended in order and without a goodbye", facts_of(what.machine, facts).name));
      here = {};
    }
  }

  void at_quiet(const final_state&, const world_facts& facts) override { look(facts.now(), facts); }

private:
  struct node_record {
    /// Its last message was acknowledged, and nothing speaks against its home since.
    bool has_home = false;
    instant due{-1};
    instant goodbye_due{-1};
  };

  void expect_goodbye(node_record& node, instant at) {
    node.goodbye_due = at + bound();
    expecting_ = true;
  }

  void expect(node_record& node, instant at) {
    node.due = at + bound();
    expecting_ = true;
  }

  void look(instant now, const world_facts& facts) {
    // Thousands of nodes beat while none drains.
    if (!std::exchange(expecting_, false))
      return;
    for (std::size_t i = 1; i < nodes_.size(); ++i) {
      machine_id machine{static_cast<std::uint32_t>(i)};
      auto& node = nodes_[machine];
      expecting_ = expecting_ || node.due >= instant{0} || node.goodbye_due >= instant{0};
      if (node.goodbye_due >= instant{0} && now > node.goodbye_due)
        fail(fmt::format("node {} left at {} without a goodbye", facts_of(machine, facts).name,
                         seconds_text(node.goodbye_due - bound())));
      if (node.due >= instant{0} && now > node.due)
        fail(fmt::format("node {} began to drain at {} and has told nobody", facts_of(machine, facts).name,
                         seconds_text(node.due - bound())));
    }
  }

  actor_roles roles_;
  per_machine<node_record> nodes_;
  /// Some node may owe a beat.
  bool expecting_ = false;
};

} // namespace

void add_draining_checks(std::vector<check_kind>& all) {
  all.push_back(kind_of_check<no_grant_while_draining>());
  all.push_back(kind_of_check<drain_finishes>());
  all.push_back(kind_of_check<drain_told>());
}

} // namespace astra::sim
