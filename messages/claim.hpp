#pragma once

#include "messages/wire.hpp"
#include "messages/wire/claim.pb.h"

namespace astra {

using claim_batch = wire<pb::ClaimBatch>;
using claim_reply = wire<pb::ClaimReply>;
using release_batch = wire<pb::ReleaseBatch>;
using prefetch_batch = wire<pb::PrefetchBatch>;

/// Of a batch, what is passed on to one of its nodes.
inline pb::PrefetchBatch part_for(pb::PrefetchBatch batch, std::uint64_t node) {
  batch.clear_nodes();
  batch.add_nodes(node);
  return batch;
}

} // namespace astra
