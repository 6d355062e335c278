#pragma once

#include "messages/wire.hpp"
#include "messages/wire/route.pb.h"

#include <caf/timespan.hpp>

#include <cstdint>
#include <memory>
#include <string>

namespace astra {

using reserve = wire<pb::Reserve>;
using reserve_reply = wire<pb::ReserveReply>;
using cancel = wire<pb::Cancel>;
using invoke = wire<pb::Invoke>;
using invoke_reply = wire<pb::InvokeReply>;

/// What a gateway asks of its router.  Never leaves the process: the body is shared, not copied.
struct route_request {
  std::shared_ptr<const std::string> body;
  std::string content_type;
  /// For logs and for cancellation, unique per client request.
  std::string request_id;
  /// Time left; zero: the app's request timeout.  Never longer than that.
  caf::timespan deadline{0};
  /// Whose request it is: requests of one client do not take the places of others.  Empty: one of those who do not say.
  std::string client;
  /// Requests with the same key go to the same node as long as that has room.  Empty: to any.
  std::string affinity;
  /// Expected work, relative to the mean of the app; 0: unknown.
  double size = 0.0;
};

enum class route_outcome : std::uint8_t {
  ok,
  /// The app failed at its work: exit code, HTTP status, actor error.
  app_failed,
  /// The deadline passed.
  timed_out,
  /// All slots and queue places are taken.
  saturated,
  /// Nothing can serve the app now.
  unavailable,
  /// Started, its node was lost, and not declared idempotent: the outcome is unknown.
  lost,
  /// The caller took it back.
  cancelled,
};

std::string to_string(route_outcome outcome);

/// Exactly one per route_request.
struct route_result {
  route_outcome outcome = route_outcome::unavailable;
  std::string body;
  std::string content_type;
  /// One sentence for the client; empty when ok.
  std::string reason;
  /// Exit code, negative signal, or HTTP status of the app.
  std::int32_t code = 0;
  std::string stderr_tail;
  /// The node that answered; empty when none did.
  std::string node;
  std::uint32_t replica = 0;
  /// Nodes asked, and how often the work was started.
  std::uint32_t tries = 0;
  std::uint32_t starts = 0;
  /// Time in the app, as its node measured it.
  caf::timespan service_time{0};
  /// When saturated or unavailable: when trying again makes sense.
  caf::timespan retry_after{0};
};

/// Takes a route_request back: its client is gone.
struct route_cancel {
  std::string request_id;
};

} // namespace astra
