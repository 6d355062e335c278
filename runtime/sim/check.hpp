#pragma once

#include "actors/resource/cluster_view.hpp"
#include "config/scenario.hpp"
#include "messages/ids.hpp"
#include "messages/local.hpp"
#include "messages/wire/control.pb.h"
#include "runtime/sim/checks/topics.hpp"
#include "runtime/sim/event.hpp"

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace astra::sim {

/// A machine as checks see it.
struct machine_facts {
  std::string name;
  std::string address;
  std::string zone;
  /// The Resource group that it is at home in.
  std::string resource_group;
  std::vector<process_role> roles;
  /// Its node, if it has that role, is no crowd, and no later process has the node's name.
  node_id node;
  /// The machine of the other process of its name; nobody: there has been none.
  machine_id twin{};
  bool up = false;
  bool stalled = false;
  /// Grows with every start of its process.
  std::uint32_t boot = 0;
  /// Since when it has been up, or down.
  instant since{0};
};

/// A process of an app that runs on a machine.
struct process_facts {
  machine_id machine{};
  std::uint64_t key = 0;
  std::string command;
};

/// A content on a machine's disk.
struct content_facts {
  machine_id machine{};
  /// Hexadecimal.
  std::string address;
  std::uint64_t bytes = 0;
  /// As its store shows it to apps.
  bool visible = false;
  /// Every piece is there and right.
  bool whole = false;
};

/// What everybody believes at the end of the quiet phase, asked of the actors themselves.
struct final_state {
  /// When everybody was asked; the answers came within two seconds.
  instant asked{0};
  /// By Resource machine: its merged view.
  std::map<machine_id, cluster_view> views;
  /// By scheduler machine and app.
  std::map<machine_id, std::map<std::string, pb::AppDetail>> apps;
  /// By gateway machine: the routing table of each of its apps.
  std::map<machine_id, std::map<std::string, router_table>> tables;
  /// Who did not answer.
  std::vector<std::string> silent;
};

/// What checks may ask at any time.
class world_facts {
public:
  virtual ~world_facts() = default;
  virtual instant now() const = 0;
  virtual const scenario& what() const = 0;
  /// By machine_id; the first is nobody.
  virtual std::span<const machine_facts> machines() const = 0;
  virtual std::optional<machine_id> find(std::string_view name) const = 0;
  /// Of the actor, by its number in events: "resource-1/astra.resource#12".
  virtual std::string actor_name(std::uint64_t actor) const = 0;
  /// Whether messages pass from one to the other now.
  virtual bool passes(machine_id from, machine_id to) const = 0;
  /// Since when neither a fault nor its after-effects (a cut, a stall, a machine down or just started) were there.
  virtual instant calm_since() const = 0;
  virtual std::vector<process_facts> processes() const = 0;
  /// By machine.
  virtual std::vector<content_facts> contents() const { return {}; }
  /// Of contents, that left all machines so far.
  virtual std::uint64_t sent_bytes() const { return 0; }
};

/// One thing that must always hold.  A new object per run.
class check {
public:
  virtual ~check() = default;

  /// As a scenario names it: "one-holder".
  virtual std::string_view name() const = 0;

  /// The events that it wants to see.
  virtual topics wants() const { return topics::all(); }

  /// Sees, in order, every event of its topics.
  virtual void on_event(const event&, const world_facts&) {}

  /// Sees the end of the quiet phase.
  virtual void at_quiet(const final_state&, const world_facts&) {}

  /// What was wrong; empty: all is well.  The first finding stays.
  const std::string& failure() const { return failure_; }

protected:
  void fail(std::string what) {
    if (failure_.empty())
      failure_ = std::move(what);
  }

private:
  std::string failure_;
};

/// What a scenario's author can know of an invariant.
struct check_info {
  std::string name;
  /// A sentence.
  std::string about;
  /// Its default bound; 0: it has none.
  std::chrono::nanoseconds bound{0};
};

/// All invariants, sorted by name.
const std::vector<check_info>& all_checks();

/// The invariants of one run: all of them but those that the scenario turns off, with the scenario's bounds.
std::vector<std::unique_ptr<check>> make_checks(const scenario& what);

/// The checks of one run.  An event is classified once and reaches only those that want it, so that most events cost a
/// table look-up whatever the number of checks.
class check_set {
public:
  explicit check_set(std::vector<std::unique_ptr<check>> checks);

  /// @returns false from the first failure on; later events change nothing any more.
  bool on_event(const event& what, const world_facts& facts);
  bool at_quiet(const final_state& state, const world_facts& facts);

  /// The check that failed; null while all is well.
  const check* failed() const { return failed_; }

private:
  void learn(const event& what);
  bool tell(const event& what, const world_facts& facts);

  std::vector<std::unique_ptr<check>> checks_;
  /// By event kind and message kind: where its listeners begin; those of the next one begin where they end.
  std::vector<std::uint32_t> begin_;
  std::vector<check*> listeners_;
  /// Machines by actor, as far as it has been seen at work.
  std::vector<machine_id> places_;
  const check* failed_ = nullptr;
};

} // namespace astra::sim
