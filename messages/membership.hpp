#pragma once

#include "messages/wire.hpp"
#include "messages/wire/membership.pb.h"

namespace astra {

using heartbeat = wire<pb::Heartbeat>;
using heartbeat_ack = wire<pb::HeartbeatAck>;
using profile_update = wire<pb::ProfileUpdate>;
using scheduler_beat = wire<pb::SchedulerBeat>;

} // namespace astra
