#pragma once

#include "runtime/sim/check.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace astra::sim {

/// What the protocols may be busy with when a fault meets them.
enum class protocol_state : std::uint8_t {
  /// A claim or a release is under way.
  claiming,
  releasing,
  starting,
  backing_off,
  draining,
  rehoming,
  suspect,
  evicting,
  fencing,
  moving,
  orphaned,
  resyncing,
  peer_lost,
  reserving,
  queueing,
  working,
  retrying,
  ejecting,
  updating,
  deleting,
  scheduler_starting,
  count_,
};

/// "backing-off"
std::string_view to_string(protocol_state state);

/// What runs have reached: log events by name, and which kinds of fault met which states of the protocols, whichever
/// came first.  Counts of several runs can be added up.
class coverage {
public:
  coverage() = default;
  coverage(coverage&&) = default;
  coverage& operator=(coverage&&) = default;

  /// Must see every event of a run, in order.
  void observe(const event& what, const world_facts& facts);

  /// Adds what another run, which is over, has reached.
  void merge(const coverage& other);

  /// How often a log event ("resource.fence") or a pair ("partition x draining") was reached.
  std::uint64_t count(std::string_view what) const;

  /// Everything that was reached at least once, by name, as `count` knows it.
  std::map<std::string, std::uint64_t> entries() const;

  /// Adds `times` to an entry, as another process counted it.
  void add(std::string_view what, std::uint64_t times);

  /// Those of `wishes` that were not reached, in their order.
  std::vector<std::string> missing(const std::vector<std::string>& wishes) const;

  /// A table of fault kinds and states, then the log events, for people.
  std::string table() const;

private:
  static constexpr auto states = static_cast<std::size_t>(protocol_state::count_);
  using counts = std::array<std::uint64_t, states>;

  struct machine_state {
    bool draining = false;
    bool starting = false;
    bool backing_off = false;
  };

  void on_log(const event& what);
  void on_message(const event& what);
  void on_fault(std::string_view kind, instant at);
  void on_heal(std::string_view kind);
  void enter(protocol_state state, instant at);
  void hold(machine_id machine, bool machine_state::*flag, protocol_state state, bool on, instant at);

  std::map<std::string, std::uint64_t, std::less<>> logs_;
  std::map<std::string, counts, std::less<>> pairs_;
  /// Faults that are active: their row of `pairs_` and their kind.
  std::vector<std::pair<counts*, std::string>> active_;
  /// Until when a state counts as going on.
  std::array<instant, states> until_{};
  /// Machines that are in a state that lasts.
  std::array<std::uint32_t, states> lasting_{};
  std::vector<machine_state> machines_;
};

} // namespace astra::sim
