#pragma once

#include "messages/ids.hpp"
#include "messages/platform_protocol.hpp"
#include "messages/wire/app.pb.h"
#include "messages/wire/control.pb.h"

#include <caf/actor_control_block.hpp>
#include <caf/expected.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace astra {

/// Counters of the machine (or cgroup) that the process runs in.  They only grow; rates are the caller's business,
/// with the caller's clock.
struct machine_sample {
  /// Core-seconds that were busy, whoever used them.
  double host_busy_core_s = 0.0;
  /// Core-seconds used by processes that the launcher of this process started, ended ones included.
  double own_busy_core_s = 0.0;
  /// Memory in use now, file cache excluded.
  std::uint64_t memory_used_bytes = 0;
};

/// Machine metrics.
class machine_probe {
public:
  virtual ~machine_probe() = default;
  /// Takes well below a millisecond.  A counter that cannot be read stays at its last value.
  virtual machine_sample sample() = 0;
};

/// What a revision of an app says beside the spec.
struct change_note {
  /// Who wished it.
  std::string origin;
  /// Such as "rollback to 3"; empty: a plain apply or delete.
  std::string text;
  /// When, by platform::wall_time().
  std::chrono::milliseconds wall_time{0};
};

/// Where a scheduler process keeps the app specs that came over the API, and what they were before.  Each save is a
/// revision; the last `revisions_kept` of an app are kept, also when the app is gone, which is so for the
/// `gone_apps_kept` apps that changed last.  Fails with io_failed, what is wrong and the cure; nothing is changed then.
class app_store {
public:
  static constexpr std::size_t revisions_kept = 50;
  static constexpr std::size_t gone_apps_kept = 256;

  virtual ~app_store() = default;
  /// Sorted by name.
  virtual caf::expected<std::vector<pb::AppSpec>> load() = 0;
  /// On disk when it returns, with the revision.  Returns its number.
  virtual caf::expected<std::uint64_t> save(const pb::AppSpec& spec, const change_note& note) = 0;
  /// On disk when it returns.  The history stays.
  virtual caf::expected<void> remove(const std::string& name) = 0;
  /// The oldest first; `change` is empty.
  virtual caf::expected<std::vector<pb::AppRevision>> history(const std::string& name) = 0;
};

/// Every door of an actor to the outside.  There is a live and a simulated one; no actor calls a system clock, a
/// random device, the file system or a socket itself, nor reads its actor system's configuration or registry.
/// Actors take the time from their actor clock.
/// One platform belongs to one process (live) or one virtual machine (simulated) and outlives its actors.
class platform {
public:
  virtual ~platform() = default;

  /// "host:port" under which other processes reach this one; empty before it listens.
  virtual std::string address() const = 0;

  /// Makes `target` the answer to dials of (address(), service), in place of an earlier one.  The platform holds a
  /// strong reference until it is withdrawn.
  virtual void publish(std::string_view service, caf::strong_actor_ptr target) = 0;
  virtual void withdraw(std::string_view service) = 0;

  /// Seed of an actor's random generator: different for each stream name and each process.
  virtual std::uint64_t seed(std::string_view stream) = 0;

  /// Time of day, since 1970 in UTC: for people to read.  It may jump either way; what is measured or decided goes by
  /// the actor clock.
  virtual std::chrono::milliseconds wall_time() = 0;

  /// Larger than every one returned before on this machine, also by earlier processes.
  incarnation next_incarnation() { return next_incarnation_after({}); }

  /// The same, and larger than one of another machine, whose clock may be ahead.
  virtual incarnation next_incarnation_after(incarnation other) = 0;

  virtual dialer_actor dialer() = 0;
  virtual launcher_actor launcher() = 0;
  virtual http_client_actor http() = 0;

  /// A TCP port on the loopback interface that nobody listens on, for a replica; 0 when there is none left.
  virtual std::uint16_t reserve_port() = 0;
  virtual void release_port(std::uint16_t port) = 0;

  /// How long what other processes sent may have been waiting to be read.  Ask at regular intervals.
  virtual std::chrono::nanoseconds unread() { return {}; }

  /// Path of Astra's own program, which also runs workers (docs/actors.md).
  virtual std::string program() const = 0;

  virtual machine_probe& machine() = 0;
  /// @pre the process hosts app schedulers.
  virtual app_store& apps() = 0;
};

} // namespace astra
