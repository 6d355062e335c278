#include "actors/node/profile_fit.hpp"

#include "actors/node/replica_set.hpp"
#include "messages/text.hpp"

namespace astra {
namespace {

template <class Message, class Parts>
bool shorten_reasons(Message& message, Parts& parts, std::size_t bytes_max) {
  for (auto most : {std::size_t{1024}, std::size_t{256}, replica_set::reason_bytes_min}) {
    if (message.ByteSizeLong() <= bytes_max)
      return true;
    for (auto& part : parts)
      part.set_reason(shorten(part.reason(), most));
  }
  return message.ByteSizeLong() <= bytes_max;
}

} // namespace

bool fit(pb::NodeProfile& profile, std::size_t bytes_max) {
  return shorten_reasons(profile, *profile.mutable_replicas(), bytes_max);
}

bool fit(pb::ClaimReply& reply, std::size_t bytes_max) {
  return shorten_reasons(reply, *reply.mutable_results(), bytes_max);
}

} // namespace astra
