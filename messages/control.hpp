#pragma once

#include "messages/wire.hpp"
#include "messages/wire/control.pb.h"

namespace astra {

using apply_app = wire<pb::ApplyApp>;
using delete_app = wire<pb::DeleteApp>;
using describe_app = wire<pb::DescribeApp>;
using control_reply = wire<pb::ControlReply>;
using app_detail = wire<pb::AppDetail>;
using drain = wire<pb::Drain>;
using drain_reply = wire<pb::DrainReply>;

} // namespace astra
