#pragma once

#include "messages/wire.hpp"
#include "messages/wire/aggregate.pb.h"

namespace astra {

using beat_batch = wire<pb::BeatBatch>;
using beat_batch_ack = wire<pb::BeatBatchAck>;

} // namespace astra
