#pragma once

#include "messages/wire/membership.pb.h"

#include <string>

namespace astra {

/// The state as people read it, such as "backing off".
std::string replica_state_text(pb::ReplicaState state);

} // namespace astra
