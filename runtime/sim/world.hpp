#pragma once

#include "config/scenario.hpp"
#include "messages/http_exchange.hpp"
#include "runtime/sim/check.hpp"
#include "runtime/sim/engine.hpp"
#include "runtime/sim/event.hpp"

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace astra::sim {

struct world_options {
  fidelity how = fidelity::wire;
  /// Sees every event, after the checks.
  std::function<void(const event&)> watch;
  /// Whether the scenario's invariants are checked.
  bool checks = true;
  /// Faults of the run; nothing: those that the scenario and the seed draw.
  std::optional<std::vector<scenario_fault>> faults;
  /// Whether what the actors log at level debug is heard too.
  bool debug_log = false;
  /// Whether gateways keep tasks, as those of a live cluster with a state directory do.
  bool tasks = false;
};

/// What has become of an operator's call to a gateway.
struct open_call {
  /// Unset until the answer begins; its body grows with every piece.
  std::optional<http_response> answer;
  /// The answer is all there.
  bool complete = false;
  /// Why there is no answer, or no more of it; empty while nothing is wrong.
  std::string broken;

  bool over() const { return complete || !broken.empty(); }
};

/// How a run ended.
struct run_result {
  bool passed = false;
  /// The invariant that failed, and how; empty when none did.
  std::string check;
  std::string failure;
  /// When it failed, or the end of the run.
  instant at{0};
  std::uint64_t failed_event = 0;
  std::uint64_t trace_hash = 0;
  std::uint64_t events = 0;
  std::uint64_t steps = 0;
};

/// One run of a scenario: its machines with their production actors, clients, faults and invariants.
class world : public world_facts {
public:
  /// @pre `what` has no problems.
  world(std::shared_ptr<const scenario> what, std::uint64_t seed, world_options options);
  ~world() override;

  /// Runs until `until`, the end of the run, or the first failure.  @returns whether there is more to run.
  bool run_until(instant until);

  /// One event.  @returns whether there is more to run.
  bool step();

  /// One event if one is due by `limit`, else only the time passes.  @returns whether there is more to run.
  bool step_until(instant limit);

  /// Runs to the end.
  run_result run();

  /// Calls the first gateway whose process is up, as over HTTP without TLS.  What comes of it is seen as the run goes
  /// on.
  std::shared_ptr<const open_call> call(http_request request);

  /// The caller goes away.
  void hang_up(const std::shared_ptr<const open_call>& which);

  /// The horizon is now: everything is put right, and the quiet phase begins with the next event.  For runs whose
  /// length nobody knew before.
  void settle();

  /// What is known now.
  run_result result() const;

  /// End of the horizon and of the quiet phase.
  instant end() const;

  engine& core();

  /// What happens in this run that is no actor's doing, by start.
  const std::vector<scenario_fault>& faults() const;

  /// One more of them: at its time, or a nanosecond from now if that is over.
  void inject(scenario_fault fault);

  /// From now on all draws of the simulator come from another seed.  What is drawn already stays: the faults to come,
  /// the machines' clocks, the actors' own seeds.
  void reseed(std::uint64_t seed);

  // -- world_facts -------------------------------------------------------------
  instant now() const override;
  const scenario& what() const override;
  std::span<const machine_facts> machines() const override;
  std::optional<machine_id> find(std::string_view name) const override;
  std::string actor_name(std::uint64_t actor) const override;
  bool passes(machine_id from, machine_id to) const override;
  instant calm_since() const override;
  std::vector<process_facts> processes() const override;
  std::vector<content_facts> contents() const override;
  std::uint64_t sent_bytes() const override;

private:
  class impl;
  std::unique_ptr<impl> impl_;
};

} // namespace astra::sim
