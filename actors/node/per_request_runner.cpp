#include "actors/node/replica_runner.hpp"

#include <caf/send.hpp>
#include <caf/typed_event_based_actor.hpp>

#include <algorithm>
#include <map>
#include <utility>

namespace astra {
namespace {

class per_request_runner : public replica_runner {
public:
  using replica_runner::replica_runner;

  ~per_request_runner() override {
    for (auto& entry : running_)
      caf::anon_send(host_.world().launcher(), kill_process{entry.first, caf::timespan{0}, "the node ends"});
  }

  void start() override {
    auto& app = spec_->per_request();
    auto& command = app.command();
    if (command.empty()) {
      host_.replica_failed(token_, "the app has no command");
      return;
    }
    auto weak = weak_from_this();
    host_.self()
        ->request(host_.world().launcher(), launcher_wait,
                  resolve_command{command[0], {app.env().begin(), app.env().end()}})
        .then(
            [this, weak](const std::string&) {
              auto alive = weak.lock();
              if (!alive || stopping_)
                return;
              ready_ = true;
              host_.replica_ready(token_);
            },
            [this, weak](const caf::error& reason) {
              auto alive = weak.lock();
              if (!alive || stopping_)
                return;
              if (reason == errc::unknown_name)
                host_.replica_failed(token_, error_text(reason));
              else
                host_.replica_crashed(token_, "the launcher does not answer: " + error_text(reason));
            });
  }

  void invoke(work request) override {
    auto& app = spec_->per_request();
    launch_process launch;
    launch.key = host_.new_process(token_);
    launch.command.assign(app.command().begin(), app.command().end());
    launch.environment.assign(app.env().begin(), app.env().end());
    launch.input = std::move(request.body);
    launch.time_limit = request.limit;
    launch.memory_limit_bytes = spec_->per_replica().memory_bytes() / std::max(1U, spec_->concurrency());
    launch.output_limit_bytes = app.output_limit_bytes();
    auto key = launch.key;
    running_[key] = {request.attempt, pb::INVOKE_REPLICA_LOST};
    auto weak = weak_from_this();
    host_.self()
        ->request(host_.world().launcher(), launcher_wait, std::move(launch))
        .then(
            [](const process_started&) {},
            [this, weak, key](const caf::error& reason) {
              // A process that could not be started is reported by its process_exited.
              auto alive = weak.lock();
              if (!alive || reason == errc::spawn_failed)
                return;
              // It may start yet, and would then be nobody's.
              host_.self()->send(host_.world().launcher(), kill_process{key, caf::timespan{0}, "nobody waits for it"});
              finish(key, pb::INVOKE_REPLICA_LOST, "the launcher does not answer: " + error_text(reason));
            });
  }

  void cancel(attempt_id attempt, const std::string& reason) override {
    for (auto& [key, job] : running_) {
      if (job.attempt != attempt)
        continue;
      job.when_killed = pb::INVOKE_CANCELLED;
      host_.self()->send(host_.world().launcher(), kill_process{key, caf::timespan{0}, reason});
    }
  }

  void stop(caf::timespan grace, const std::string& reason) override {
    stopping_ = true;
    for (auto& entry : running_)
      host_.self()->send(host_.world().launcher(), kill_process{entry.first, grace, reason});
    if (running_.empty())
      host_.replica_stopped(token_);
  }

  void on_exited(const process_exited& event) override {
    auto found = running_.find(event.key);
    if (found == running_.end())
      return;
    pb::InvokeReply result;
    result.set_outcome(outcome_of(event, found->second.when_killed));
    result.set_code(event.code);
    if (result.outcome() == pb::INVOKE_OK)
      result.set_body(event.output);
    else
      result.set_reason(event.reason.empty() ? "the process ended: " + to_string(event.end) : event.reason);
    result.set_stderr_tail(event.log_tail);
    // A replica whose command does not run must not attract requests by failing fast.  The first of several that
    // failed together speaks for all.
    if (event.end == process_end::spawn_failed && !stopping_ && std::exchange(ready_, false))
      host_.replica_crashed(token_, result.reason());
    finish(event.key, std::move(result));
  }

private:
  struct job {
    attempt_id attempt;
    pb::InvokeOutcome when_killed = pb::INVOKE_REPLICA_LOST;
  };

  static pb::InvokeOutcome outcome_of(const process_exited& event, pb::InvokeOutcome when_killed) {
    switch (event.end) {
    case process_end::exited:
      return event.code == 0 ? pb::INVOKE_OK : pb::INVOKE_APP_FAILED;
    case process_end::signalled:
      return pb::INVOKE_APP_FAILED;
    case process_end::time_limit:
      return pb::INVOKE_TIMED_OUT;
    case process_end::memory_limit:
      return pb::INVOKE_MEMORY_EXCEEDED;
    case process_end::output_limit:
      return pb::INVOKE_OUTPUT_EXCEEDED;
    case process_end::killed:
      return when_killed;
    case process_end::spawn_failed:
    case process_end::refused:
      return pb::INVOKE_NOT_STARTED;
    case process_end::launcher_lost:
      return pb::INVOKE_REPLICA_LOST;
    }
    return pb::INVOKE_REPLICA_LOST;
  }

  void finish(process_key key, pb::InvokeOutcome outcome, std::string reason) {
    pb::InvokeReply result;
    result.set_outcome(outcome);
    result.set_reason(std::move(reason));
    finish(key, std::move(result));
  }

  void finish(process_key key, pb::InvokeReply result) {
    auto found = running_.find(key);
    if (found == running_.end())
      return;
    auto attempt = found->second.attempt;
    running_.erase(found);
    host_.work_done(attempt, std::move(result));
    if (stopping_ && running_.empty())
      host_.replica_stopped(token_);
  }

  std::map<process_key, job> running_;
  /// Until a command could not be started.
  bool ready_ = false;
  bool stopping_ = false;
};

} // namespace

std::shared_ptr<replica_runner> make_per_request_runner(replica_host& host, const replica& what) {
  return std::make_shared<per_request_runner>(host, what.token, what.spec);
}

} // namespace astra
