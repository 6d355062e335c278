#pragma once

#include "runtime/sim/checks/history.hpp"

#include <cstdint>
#include <map>
#include <string>

namespace astra::sim {

/// What nodes hold, as they log it and as the claims that reached them said.
class placements {
public:
  enum class condition : std::uint8_t {
    /// Confirmed, and neither ready nor given up.
    starting,
    ready,
    backing_off,
    failed,
    released,
  };

  struct replica {
    std::string app;
    std::uint32_t index = 0;
    std::uint64_t cpu_milli = 0;
    std::uint64_t memory = 0;
    condition is = condition::starting;
    /// Since when it is so.
    instant since{0};
  };

  struct node_record {
    /// By token.
    std::map<std::uint64_t, replica> replicas;
    bool draining = false;
    /// When something last left it: since then at least as much room as now has been there.
    instant roomy_since{0};
  };

  static topics wants() {
    return topics{}.add(event_kind::log).add(event_kind::boot).add(event_kind::step, {message_kind::claim_batch});
  }

  void observe(const event& what, const world_facts& facts);

  node_record& at(machine_id machine) { return nodes_[machine]; }
  std::size_t size() const { return nodes_.size(); }

  /// Whether one more replica of this size fits, as far as cores and memory go.
  bool has_room(machine_id machine, std::uint64_t cpu_milli, std::uint64_t memory, const world_facts& facts);
  /// The same for what was claimed under a token; false when no claim of it has been seen.
  bool has_room(machine_id machine, std::uint64_t token, const world_facts& facts);

private:
  struct asked {
    std::uint64_t cpu_milli = 0;
    std::uint64_t memory = 0;
  };

  void on_log(const event& what, const world_facts& facts);

  per_machine<node_record> nodes_;
  /// Sizes by token.
  id_table<asked> asked_;
};

} // namespace astra::sim
