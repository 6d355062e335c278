#pragma once

#include "messages/node_protocol.hpp"
#include "messages/type_ids.hpp"

#include <caf/actor_control_block.hpp>
#include <caf/result.hpp>
#include <caf/typed_actor.hpp>

// Doors to the outside that are actors themselves: asking them is a message, so a simulated one can answer later,
// wrongly or never.

namespace astra {

/// Opens sessions to other processes.
using dialer_actor = caf::typed_actor<
    // The actor that the process at "host:port" published under the service name.  Fails with unreachable,
    // timed_out or unknown_name.  Dialling twice is cheap: one session per process is kept.
    caf::result<caf::strong_actor_ptr>(dial_atom, std::string, std::string)>;

/// Starts processes and watches them; see messages/process.hpp.
using launcher_actor = caf::typed_actor<
    // Fails with spawn_failed, and a process_exited follows in any case; with conflict when the key is in use.
    caf::result<process_started>(launch_process), caf::result<void>(kill_process),
    // Fails with unknown_name.
    caf::result<std::string>(resolve_command)>;

/// Calls HTTP servers.
using http_client_actor = caf::typed_actor<
    // Fails with unreachable (no connection: nothing was sent), timed_out, cancelled, or, when the server may have
    // worked on the request: io_failed (the connection closed before the answer was complete), output_exceeded (the
    // answer is too large) or app_failed (it is malformed).
    caf::result<http_answer>(http_call), caf::result<void>(http_abort)>;

} // namespace astra
