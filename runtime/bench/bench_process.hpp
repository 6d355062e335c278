#pragma once

#include "actors/platform.hpp"
#include "runtime/net/identity.hpp"

#include <caf/actor_system.hpp>
#include <caf/expected.hpp>

#include <filesystem>
#include <memory>

namespace astra::bench {

/// A process of a benchmark as others see it: a name, roles, sessions.  It has a live platform for the actors that the
/// benchmark spawns, and no role of its own runs in it.
class bench_process {
public:
  /// Listens on the loopback interface without TLS.  Fails with io_failed.
  /// @param who it says it is; the cluster is the one that files have by default
  /// @param directory for its state; made when it is not there
  static caf::expected<std::unique_ptr<bench_process>> start(peer_identity who, const std::filesystem::path& directory);

  /// Ends its sessions.  @pre its actors were told to end.
  ~bench_process();
  bench_process(const bench_process&) = delete;
  bench_process& operator=(const bench_process&) = delete;

  caf::actor_system& system();
  platform& world();

private:
  struct parts;
  explicit bench_process(std::unique_ptr<parts> of);

  std::unique_ptr<parts> parts_;
};

} // namespace astra::bench
