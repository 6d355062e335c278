#pragma once

#include "actors/platform.hpp"
#include "messages/http_exchange.hpp"
#include "messages/type_ids.hpp"
#include "runtime/tasks/task_book.hpp"
#include "runtime/tasks/task_keeper.hpp"

#include <caf/actor_control_block.hpp>
#include <caf/actor_system.hpp>
#include <caf/typed_actor.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

namespace astra {

/// Answers for the tasks of a gateway.  Never leaves the process.
using task_desk_actor = caf::typed_actor<
    // A request of the routes of tasks.  Answers the exchange, now or later, exactly once.
    caf::result<void>(http_exchange_ptr),
    // The router of an app; null: it has none now.
    caf::result<void>(std::string, caf::strong_actor_ptr),
    // The keeper has done something.
    caf::result<void>(refresh_atom),
    // A client has taken what its stream of this number had last.
    caf::result<void>(refresh_atom, std::uint64_t),
    // The client that waited under this number is gone.
    caf::result<void>(deadline_atom, std::uint64_t),
    // Starts no more; answered when nothing is in progress any more.
    caf::result<void>(stop_atom)>;

struct task_desk_setup {
  /// Name of the process.
  std::string gateway;
  std::shared_ptr<task_keeper> keeper;
  task_limits limits;
  /// Bodies on their way to the store, all together.
  std::uint64_t intake_bytes_max = 64ull << 20;
  /// Clients that wait for a task or follow one.
  std::size_t waiting_max = 4096;
  /// Between two looks for what is to be forgotten.
  std::chrono::milliseconds sweep{5000};
  /// What a router may take beyond a task's deadline.
  std::chrono::milliseconds answer_grace{5000};
  /// Before a write that failed is tried again; doubles up to the second.
  std::chrono::milliseconds store_retry_min{500};
  std::chrono::milliseconds store_retry_max{30'000};
  std::chrono::milliseconds keep_alive{3000};
};

/// Spawns a task desk: it takes tasks into the store, has them worked on through their apps' routers, and tells what
/// became of them.  What was in the store and had not ended begins anew.  Runs until its owner sends it an exit
/// message; clients that wait are then answered 503.
task_desk_actor spawn_task_desk(caf::actor_system& sys, platform& world, task_desk_setup setup);

} // namespace astra
