#pragma once

#include "messages/platform_protocol.hpp"
#include "runtime/net/directory.hpp"

#include <caf/actor.hpp>
#include <caf/actor_system.hpp>
#include <caf/timespan.hpp>

#include <memory>
#include <string>

namespace astra {

/// Spawns the dialer of a process.  It opens one connection per peer process through `connector`, asks the peer's
/// directory for the wanted service, and answers dials of `own_address` from `own_services` without a network.
/// @param connector answers (connect_atom, host, port, service) as CAF's middleman actor answers it without the
/// service: with the peer's node id and the handle of its directory.  It has deadlines of its own and a reason when
/// they pass.
/// @param timeout of one dial.
dialer_actor spawn_dialer(caf::actor_system& sys, caf::actor connector, std::string own_address,
                          std::shared_ptr<service_table> own_services, caf::timespan timeout);

/// The same over CAF's middleman actor, which knows no services.
dialer_actor spawn_dialer_over_middleman(caf::actor_system& sys, caf::actor middleman, std::string own_address,
                                         std::shared_ptr<service_table> own_services, caf::timespan timeout);

} // namespace astra
