#pragma once

#include "messages/wire.hpp"
#include "messages/wire/claim.pb.h"

namespace astra {

using claim_batch = wire<pb::ClaimBatch>;
using claim_reply = wire<pb::ClaimReply>;
using release_batch = wire<pb::ReleaseBatch>;

} // namespace astra
