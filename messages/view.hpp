#pragma once

#include "messages/wire.hpp"
#include "messages/wire/view.pb.h"

namespace astra {

using view_delta = wire<pb::ViewDelta>;
using subscribe = wire<pb::Subscribe>;
using subscribe_ack = wire<pb::SubscribeAck>;

} // namespace astra
