#include "actors/node/replica_runner.hpp"

namespace astra {

std::shared_ptr<replica_runner> make_runner(replica_host& host, const app_registry& apps, const replica& what) {
  if (what.spec->has_federation())
    return what.member ? make_cluster_runner(host, what) : nullptr;
  switch (what.spec->kind_case()) {
  case pb::AppSpec::kPerRequest:
    return make_per_request_runner(host, what);
  case pb::AppSpec::kServer:
    return make_server_runner(host, what);
  case pb::AppSpec::kActor:
    if (!what.spec->actor().library().empty())
      return make_worker_runner(host, what);
    return make_actor_runner(host, apps, what);
  case pb::AppSpec::KIND_NOT_SET:
    break;
  }
  return nullptr;
}

} // namespace astra
