#pragma once

#include "messages/wire.hpp"
#include "messages/wire/inspection.pb.h"

namespace astra {

using event_query = wire<pb::EventQuery>;
using event_page = wire<pb::EventPage>;
using node_query = wire<pb::NodeQuery>;
using node_page = wire<pb::NodePage>;
using report_query = wire<pb::ReportQuery>;
using resource_report = wire<pb::ResourceReport>;

} // namespace astra
