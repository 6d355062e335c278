#pragma once

#include "messages/wire/claim.pb.h"
#include "messages/wire/membership.pb.h"

#include <cstddef>

namespace astra {

/// Shortens the reasons of replicas, all of them to the same length, until the message has at most `bytes_max` bytes.
/// @returns false when reasons of `replica_set::reason_bytes_min` are not short enough.
bool fit(pb::NodeProfile& profile, std::size_t bytes_max);

/// The same for the reasons of claims that are refused.
bool fit(pb::ClaimReply& reply, std::size_t bytes_max);

} // namespace astra
