#pragma once

#include "actors/apps/app_registry.hpp"
#include "actors/node/replica_set.hpp"
#include "actors/platform.hpp"
#include "messages/ids.hpp"
#include "messages/node_protocol.hpp"
#include "messages/process.hpp"
#include "messages/wire/route.pb.h"

#include <caf/error.hpp>
#include <caf/system_messages.hpp>
#include <caf/timespan.hpp>

#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace astra {

/// One request on its way through a replica.
struct work {
  attempt_id attempt;
  std::shared_ptr<const std::string> body;
  std::string content_type;
  /// The work is stopped after this.
  caf::timespan limit{0};
};

/// What a runner tells its node.  Every call may come from within a call to the runner.
class replica_host {
public:
  virtual ~replica_host() = default;

  virtual node_actor::pointer self() = 0;
  virtual platform& world() = 0;

  /// Key for a process of this replica; the node passes its process_exited to the runner.
  virtual process_key new_process(claim_token replica) = 0;

  /// Where the ports of a member of a cluster are; told before it is ready.
  virtual void replica_located(claim_token replica, std::string host, std::vector<pb::NamedPort> ports) = 0;

  /// Runs, but cannot take requests yet, or none at the moment after having been ready.
  virtual void replica_warming(claim_token replica, std::string reason) = 0;
  virtual void replica_ready(claim_token replica) = 0;
  /// Ended unasked; starting it again may help.  Told before the work that was lost with it.
  virtual void replica_crashed(claim_token replica, std::string reason) = 0;
  /// Starting it again would not help.
  virtual void replica_failed(claim_token replica, std::string reason) = 0;
  /// Nothing of it is left, as `stop` asked.
  virtual void replica_stopped(claim_token replica) = 0;

  /// The work ended; exactly once per invoke.  `result` holds outcome, reason and what the app said.
  virtual void work_done(attempt_id attempt, pb::InvokeReply result) = 0;
};

/// Runs one replica: one class per kind of app.  Part of the node actor, in whose handlers it is called.
/// Destruction ends at once whatever still runs.
class replica_runner : public std::enable_shared_from_this<replica_runner> {
public:
  replica_runner(replica_host& host, claim_token token, std::shared_ptr<const pb::AppSpec> spec)
    : host_(host), token_(token), spec_(std::move(spec)) {}
  virtual ~replica_runner() = default;
  replica_runner(const replica_runner&) = delete;
  replica_runner& operator=(const replica_runner&) = delete;

  /// Begins to start; also again after a crash.
  virtual void start() = 0;

  /// @pre the replica is ready.
  virtual void invoke(work request) = 0;

  /// Stops one piece of work; its work_done follows.  Unknown attempts are ignored.
  virtual void cancel(attempt_id attempt, const std::string& reason) = 0;

  /// Ends the replica; work in progress ends as lost.  replica_stopped follows.
  /// @param grace at most this long between asking and killing.
  virtual void stop(caf::timespan grace, const std::string& reason) = 0;

  /// One of its processes ended.
  virtual void on_exited(const process_exited&) {}

  /// Something that the node monitors ended; ignored when it is not part of this replica.
  virtual void on_down(const caf::down_msg&) {}

protected:
  replica_host& host_;
  claim_token token_;
  std::shared_ptr<const pb::AppSpec> spec_;
};

/// A command per request.  Ready when the command is found.  Each process may use its share of the replica's memory:
/// the whole divided by the concurrency.
std::shared_ptr<replica_runner> make_per_request_runner(replica_host& host, const replica& what);

/// A command that stays and serves HTTP.  Ready when it answers.
std::shared_ptr<replica_runner> make_server_runner(replica_host& host, const replica& what);

/// An actor of a library, in a worker process: the crash of its code is the end of that process.  Ready when the worker
/// answers; failed when it ends with worker_exit_hopeless.
std::shared_ptr<replica_runner> make_worker_runner(replica_host& host, const replica& what);

/// Exit code of a worker that cannot start and could not the next time: no such library, actor or argument.
inline constexpr std::int32_t worker_exit_hopeless = 78;

/// How a worker is started and asked.
/// @param program Astra's own.
pb::ProcessServer worker_server(const std::string& program, const pb::ActorApp& actor);

/// An actor of the registry.  Ready at once.
std::shared_ptr<replica_runner> make_actor_runner(replica_host& host, const app_registry& apps, const replica& what);

/// A head or a worker of a cluster, with ports of its own.  Ready when its port accepts, or its output says so.  A
/// head also takes requests, as the kind of the app wants it: a command beside it for each, or its own server.  A head
/// that ends has failed.
/// @pre the replica is a member.
std::shared_ptr<replica_runner> make_cluster_runner(replica_host& host, const replica& what);

/// The runner for the kind of app; nullptr when the spec names none.
std::shared_ptr<replica_runner> make_runner(replica_host& host, const app_registry& apps, const replica& what);

/// Wait for the launcher to say that it has started, found or refused something.
inline constexpr caf::timespan launcher_wait = std::chrono::seconds{10};

} // namespace astra
