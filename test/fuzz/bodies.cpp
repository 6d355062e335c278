#include "messages/type_ids.hpp"

#include <google/protobuf/stubs/logging.h>

#include <cstdint>
#include <cstdlib>
#include <string>
#include <tuple>

// The bodies of all messages that cross processes: the first byte chooses which.  What can be decoded is encoded and
// decoded again, and must then be equal.

using namespace astra;

namespace {

using bodies =
    std::tuple<pb::Heartbeat, pb::HeartbeatAck, pb::ProfileUpdate, pb::SchedulerBeat, pb::ViewDelta, pb::Subscribe,
               pb::SubscribeAck, pb::ClaimBatch, pb::ClaimReply, pb::ReleaseBatch, pb::Reserve, pb::ReserveReply,
               pb::Cancel, pb::Invoke, pb::InvokeReply, pb::ApplyApp, pb::DeleteApp, pb::DescribeApp, pb::ControlReply,
               pb::AppDetail, pb::Drain, pb::DrainReply, pb::EventQuery, pb::EventPage, pb::NodeQuery, pb::NodePage,
               pb::ReportQuery, pb::ResourceReport, pb::BeatBatch, pb::BeatBatchAck, pb::SwarmReport, pb::SwarmAnswer,
               pb::ManifestQuery, pb::ManifestPart, pb::NameClaim, pb::NameGrant, pb::SwarmQuery, pb::SwarmPage,
               pb::SetSwarmLimit, pb::ContentOrder, pb::ContentReply>;

template <class Body>
void check(const std::string& bytes) {
  Body body;
  if (!decode(body, bytes))
    return;
  auto again = encode(body);
  Body copy;
  if (!decode(copy, again) || encode(copy) != again)
    std::abort();
}

template <std::size_t... Is>
void check_one(std::size_t which, const std::string& bytes, std::index_sequence<Is...>) {
  ((which == Is ? check<std::tuple_element_t<Is, bodies>>(bytes) : void()), ...);
}

} // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  google::protobuf::SetLogHandler(nullptr);
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  constexpr auto count = std::tuple_size_v<bodies>;
  if (size > 0)
    check_one(data[0] % count, std::string{reinterpret_cast<const char*>(data) + 1, size - 1},
              std::make_index_sequence<count>{});
  return 0;
}
