#include "runtime/sim/checks/history.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <string>

// Heartbeats of nodes and of scheduler processes.

namespace astra::sim {
namespace {

/// A bound, and where messages are lost or late the time of several tries.
nanoseconds with_losses(const scenario& what, nanoseconds bound) {
  return lossy(what) ? 4 * bound + 2 * what.network.tail_max : bound;
}

/// Nodes may have their home there.
bool is_home(const machine_facts& machine) {
  return has_role(machine, process_role::resource) || has_role(machine, process_role::aggregator);
}

/// Numbers in heartbeats are what everybody else orders news by.
class heartbeat_order : public named_check<heartbeat_order> {
public:
  static constexpr const char* label = "heartbeat-order";
  static constexpr const char* about = "Incarnations grow with every start, sequences with every beat, home epochs "
                                       "with every move, profile versions with "
                                       "every change, and nobody beats after its goodbye.";
  static constexpr nanoseconds default_bound{0};

  using named_check::named_check;

  topics wants() const override {
    // Within a machine one cannot see in which order messages to different actors were said.
    return topics{}.add(event_kind::send,
                        {message_kind::heartbeat, message_kind::profile_update, message_kind::scheduler_beat});
  }

  void on_event(const event& what, const world_facts& facts) override {
    // What an aggregator passes on was said before.
    auto& speaker = facts_of(what.machine, facts);
    if (what.kind != event_kind::send || is_home(speaker))
      return;
    if (auto beat = content_as<heartbeat>(what))
      on_beat(**beat, what);
    else if (auto update = content_as<profile_update>(what))
      on_profile((*update)->profile());
    else if (auto processes = content_as<scheduler_beat>(what))
      on_scheduler(**processes, what);
  }

private:
  struct node_record {
    std::uint64_t incarnation = 0;
    std::uint64_t sequence = 0;
    std::uint64_t home_epoch = 0;
    std::uint64_t profile_version = 0;
    /// The Resource that the last beat went to.
    machine_id home{};
    /// The node actor.
    std::uint64_t actor = 0;
    bool left = false;
  };

  struct scheduler_record {
    std::uint64_t incarnation = 0;
    std::uint64_t sequence = 0;
    std::uint64_t actor = 0;
  };

  void on_beat(const pb::Heartbeat& beat, const event& what) {
    // Two processes of one name each count for themselves; `one-life` judges which of them may.
    auto& last = nodes_[joint_id(beat.node(), static_cast<std::uint64_t>(what.machine))];
    auto home = what.peer;
    auto complain = [&](std::string_view text) {
      fail(fmt::format("node {}, beat {} of incarnation {} (home epoch {}): {}", to_hex(beat.node()), beat.sequence(),
                       beat.incarnation(), beat.home_epoch(), text));
    };
    if (beat.incarnation() == last.incarnation) {
      if (last.actor != what.sender)
        complain("another actor has used this incarnation before");
      if (last.left)
        complain("it had said goodbye");
      if (beat.sequence() <= last.sequence)
        complain(fmt::format("the beat before had sequence {}", last.sequence));
      if (beat.home_epoch() < last.home_epoch)
        complain(fmt::format("the beat before had home epoch {}", last.home_epoch));
      if (home != last.home && beat.home_epoch() == last.home_epoch)
        complain("it goes to another Resource under the same home epoch");
      if (beat.profile_version() < last.profile_version)
        complain(fmt::format("the beat before told of profile {}", last.profile_version));
    } else if (beat.incarnation() < last.incarnation) {
      complain(fmt::format("incarnation {} has spoken before", last.incarnation));
    }
    last = {beat.incarnation(), beat.sequence(), beat.home_epoch(), beat.profile_version(), home,
            what.sender,        beat.leaving()};
  }

  void on_profile(const pb::NodeProfile& profile) {
    auto& version = profiles_[joint_id(profile.node(), profile.incarnation())];
    if (profile.version() < version)
      fail(fmt::format("node {} tells of profile {} after profile {}", profile.name(), profile.version(), version));
    version = profile.version();
  }

  void on_scheduler(const pb::SchedulerBeat& beat, const event& what) {
    auto& last = schedulers_[joint_id(beat.scheduler(), static_cast<std::uint64_t>(what.machine))];
    auto newer = beat.incarnation() > last.incarnation;
    auto next = beat.incarnation() == last.incarnation && beat.sequence() > last.sequence && last.actor == what.sender;
    if (!newer && !next)
      fail(fmt::format("scheduler process {} beats with incarnation {} and sequence {} after {} and {}", beat.name(),
                       beat.incarnation(), beat.sequence(), last.incarnation, last.sequence));
    auto& apps = beat.apps();
    if (!std::is_sorted(apps.begin(), apps.end(), [](auto& a, auto& b) { return a.spec().name() < b.spec().name(); }))
      fail(fmt::format("the apps in a beat of scheduler process {} are not sorted", beat.name()));
    last = {beat.incarnation(), beat.sequence(), what.sender};
  }

  /// By (node, machine), as are the scheduler processes.
  id_table<node_record> nodes_;
  /// Version by (node, incarnation).
  id_table<std::uint64_t> profiles_;
  id_table<scheduler_record> schedulers_;
};

/// The chain of ticks of whoever beats never breaks.
class heartbeat_cadence : public named_check<heartbeat_cadence> {
public:
  static constexpr const char* label = "heartbeat-cadence";
  static constexpr const char* about =
      "Nodes and scheduler processes that are well, with a network that is well, beat at least every interval.";
  /// On top of the interval.
  static constexpr nanoseconds default_bound{std::chrono::seconds{1}};

  using named_check::named_check;

  topics wants() const override {
    return disturbances::wants()
        .said({message_kind::heartbeat, message_kind::scheduler_beat, message_kind::subscribe})
        .add(event_kind::log);
  }

  void on_event(const event& what, const world_facts& facts) override {
    disturbed_.observe(what);
    if (what.content != nullptr && said(what)) {
      if (content_as<heartbeat>(what))
        last_[what.machine].node = what.at;
      else if (content_as<scheduler_beat>(what))
        last_[what.machine].scheduler = what.at;
    } else if (what.kind == event_kind::boot) {
      last_[what.machine].ends = false;
    } else if (what.kind == event_kind::log && first_word(what.text) == "node.leave") {
      last_[what.machine].ends = true;
    } else if (what.kind == event_kind::fault && first_word(what.text) == "stop") {
      // An orderly end takes its time, and whoever has said goodbye is silent.  A pattern may mean anybody.
      auto pattern = what.text.find_first_of("*:") != std::string_view::npos;
      for (std::uint32_t i = 1; i < facts.machines().size(); ++i)
        if (pattern || what.text.find(facts.machines()[i].name) != std::string_view::npos)
          last_[machine_id{i}].ends = true;
    }
    if (what.at >= next_look_)
      look(what.at, facts);
  }

  void at_quiet(const final_state&, const world_facts& facts) override { look(facts.now(), facts); }

private:
  struct beats {
    instant node{0};
    instant scheduler{0};
    bool ends = false;
  };

  void look(instant now, const world_facts& facts) {
    next_look_ = now + std::chrono::milliseconds{250};
    auto machines = facts.machines();
    auto& options = facts.what().options;
    // A lost acknowledgement makes a node look for another home.
    auto slack = with_losses(facts.what(), bound());
    if (!disturbed_.network_calm(settled, facts))
      return;
    for (std::uint32_t i = 1; i < machines.size(); ++i)
      if (is_home(machines[i]) && !disturbed_.calm(machine_id{i}, settled, facts))
        return; // homes were lost, and each has its own time to be found again
    for (std::uint32_t i = 1; i < machines.size(); ++i) {
      machine_id machine{i};
      if (!healthy(machine, facts) || !disturbed_.calm(machine, settled, facts) || now - machines[i].since < settled)
        continue;
      auto& last = last_[machine];
      if (last.ends)
        continue;
      if (has_role(machines[i], process_role::node) && now - last.node > options.node.heartbeat + slack)
        fail(fmt::format("node {} is well and has not beaten since {}", machines[i].name, seconds_text(last.node)));
      if (has_role(machines[i], process_role::scheduler) && now - last.scheduler > options.scheduler.heartbeat + slack)
        fail(fmt::format("scheduler process {} is well and has not beaten since {}", machines[i].name,
                         seconds_text(last.scheduler)));
    }
  }

  /// Long enough to find a home anew, however many are tried.
  static constexpr nanoseconds settled{std::chrono::seconds{8}};

  disturbances disturbed_;
  per_machine<beats> last_;
  instant next_look_{0};
};

/// Whose home is gone for long is at home with a Resource that is there.
class home_found : public named_check<home_found> {
public:
  static constexpr const char* label = "home-found";
  static constexpr const char* about =
      "Nodes that are well are heard by a Resource at least every interval, also while others are gone for long.";
  /// On top of the interval.
  static constexpr nanoseconds default_bound{std::chrono::seconds{1}};

  using named_check::named_check;

  topics wants() const override {
    return disturbances::wants().add(event_kind::step, {message_kind::heartbeat}).add(event_kind::log);
  }

  void on_event(const event& what, const world_facts& facts) override {
    disturbed_.observe(what);
    if (auto beat = content_as<heartbeat>(what)) {
      auto from = what.peer == machine_id{} ? what.machine : what.peer;
      if (facts_of(from, facts).node.value() == (*beat)->node())
        heard_[from] = {what.at, (*beat)->leaving()};
    } else if (what.kind == event_kind::boot) {
      heard_[what.machine] = {};
    } else if (what.kind == event_kind::log && first_word(what.text) == "node.leave") {
      heard_[what.machine].ends = true;
    } else if (what.kind == event_kind::fault && first_word(what.text) == "stop") {
      // An orderly end takes its time.  A pattern may mean anybody.
      auto pattern = what.text.find_first_of("*:") != std::string_view::npos;
      for (std::uint32_t i = 1; i < facts.machines().size(); ++i)
        if (pattern || what.text.find(facts.machines()[i].name) != std::string_view::npos)
          heard_[machine_id{i}].ends = true;
    }
    if (what.at >= next_look_)
      look(what.at, facts);
  }

private:
  struct hearing {
    instant at{0};
    bool ends = false;
  };

  void look(instant now, const world_facts& facts) {
    next_look_ = now + std::chrono::milliseconds{250};
    if (!disturbed_.network_calm(settled, facts))
      return;
    auto machines = facts.machines();
    // By Resource group.
    std::map<std::string, int> homes;
    for (std::uint32_t i = 1; i < machines.size(); ++i) {
      if (!is_home(machines[i]))
        continue;
      if (now - machines[i].since < settled || (machines[i].up && !disturbed_.calm(machine_id{i}, settled, facts)))
        return; // each has its own time to be found missing
      if (!has_role(machines[i], process_role::resource))
        continue;
      homes[machines[i].resource_group] += machines[i].up && !machines[i].stalled ? 1 : 0;
    }
    auto& options = facts.what().options;
    auto slack = with_losses(facts.what(), bound());
    for (std::uint32_t i = 1; i < machines.size(); ++i) {
      machine_id machine{i};
      if (!machines[i].node || !healthy(machine, facts) || !disturbed_.calm(machine, settled, facts)
          || now - machines[i].since < settled || homes[machines[i].resource_group] == 0)
        continue;
      auto& last = heard_[machine];
      if (!last.ends && now - last.at > options.node.heartbeat + slack)
        fail(fmt::format("node {} is well and no Resource has heard it since {}", machines[i].name,
                         seconds_text(last.at)));
    }
  }

  /// Long enough to find a home anew, however many are tried.
  static constexpr nanoseconds settled{std::chrono::seconds{8}};

  disturbances disturbed_;
  per_machine<hearing> heard_;
  instant next_look_{0};
};

} // namespace

void add_heartbeat_checks(std::vector<check_kind>& all) {
  all.push_back(kind_of_check<heartbeat_order>());
  all.push_back(kind_of_check<heartbeat_cadence>());
  all.push_back(kind_of_check<home_found>());
}

} // namespace astra::sim
