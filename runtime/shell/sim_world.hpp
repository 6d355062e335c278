#pragma once

#include "config/scenario.hpp"
#include "runtime/cli/command_context.hpp"
#include "runtime/shell/cluster_shape.hpp"
#include "runtime/shell/live_world.hpp"
#include "runtime/shell/shell_world.hpp"
#include "runtime/sim/world.hpp"

#include <caf/error.hpp>

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

namespace astra::shell {

/// The cluster that a script runs in when it states no other: named and laid out as that of `astra dev`.
scenario scenario_of(const cluster_shape& shape);

/// A simulated cluster: the production actors on virtual machines, in virtual time.  The script talks to the
/// production gateway's actor, in the words that a live gateway is asked in, so all that does not depend on processes
/// outside of actors is answered by the same code.  Time passes while something is waited for, and at no other time.
class sim_world final : public shell_world {
public:
  /// @param options their checks, watch and so on; what a script needs is set here
  sim_world(command_context& outer, const cluster_shape& shape, std::uint64_t seed, sim::world_options options);

  /// Waits until every node is online and a scheduler is known.
  caf::error start();

  caf::expected<reply> call(const request& what) override;
  caf::expected<json> look(const std::string& app) override;
  void sleep(std::chrono::nanoseconds duration) override;
  std::chrono::nanoseconds now() override { return run_.now() + idled_; }
  bool interrupted() override { return false; }

  /// The cluster as its gateway shows it.
  live_world& cluster() { return *cluster_; }

  sim::world& run() { return run_; }

private:
  caf::expected<http_answer> fetch(const http_call& call, const body_sink& sink);
  caf::expected<reply> fault(const std::vector<request::word>& words);
  /// What stands in the way of all that follows: a check that failed.
  caf::error broken_promise() const;
  std::chrono::nanoseconds idled_{0};

  const std::uint32_t nodes_;
  std::shared_ptr<const scenario> what_;
  sim::world run_;
  command_environment environment_;
  command_context context_;
  std::unique_ptr<live_world> cluster_;
};

} // namespace astra::shell
