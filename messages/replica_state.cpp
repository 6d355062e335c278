#include "messages/replica_state.hpp"

namespace astra {

std::string replica_state_text(pb::ReplicaState state) {
  switch (state) {
  case pb::REPLICA_PLANNED:
    return "planned";
  case pb::REPLICA_CLAIMED:
    return "claimed";
  case pb::REPLICA_STARTING:
    return "starting";
  case pb::REPLICA_FETCHING:
    return "fetching";
  case pb::REPLICA_WARMING:
    return "warming";
  case pb::REPLICA_READY:
    return "ready";
  case pb::REPLICA_DRAINING:
    return "draining";
  case pb::REPLICA_BACKING_OFF:
    return "backing off";
  case pb::REPLICA_FAILED:
    return "failed";
  case pb::REPLICA_STOPPED:
    return "stopped";
  default:
    return "unknown";
  }
}

} // namespace astra
