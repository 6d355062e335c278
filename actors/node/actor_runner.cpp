#include "actors/mutant.hpp"
#include "actors/node/replica_runner.hpp"

#include <caf/exit_reason.hpp>
#include <caf/sec.hpp>
#include <caf/send.hpp>
#include <caf/typed_event_based_actor.hpp>

#include <chrono>
#include <set>
#include <utility>

namespace astra {
namespace {

/// An actor that ended breaks its promises too, and its monitor follows at once.  One that lives on has dropped the
/// request.
constexpr std::chrono::milliseconds broken_promise_wait{100};

/// Whether the error says that the actor ended, not that it answered with an error.
bool says_gone(const caf::error& reason) {
  return reason == caf::sec::request_receiver_down || reason == caf::sec::broken_promise
         || reason.category() == caf::type_id_v<caf::exit_reason>;
}

class actor_runner : public replica_runner {
public:
  actor_runner(replica_host& host, const app_registry& apps, claim_token token, std::shared_ptr<const pb::AppSpec> spec)
    : replica_runner(host, token, std::move(spec)), apps_(apps) {}

  ~actor_runner() override {
    if (actor_)
      caf::anon_send_exit(actor_, caf::exit_reason::kill);
  }

  void start() override {
    auto& app = spec_->actor();
    app_arguments args;
    for (auto& arg : app.args()) {
      auto split = arg.find('=');
      if (split == std::string::npos) {
        host_.replica_failed(token_, "argument '" + arg + "' is not of the form name=value");
        return;
      }
      args[arg.substr(0, split)] = arg.substr(split + 1);
    }
    auto spawned = apps_.spawn(host_.self()->system(), app.type(), args);
    if (!spawned) {
      host_.replica_failed(token_, error_text(spawned.error()));
      return;
    }
    actor_ = std::move(*spawned);
    host_.self()->monitor(actor_);
    host_.replica_ready(token_);
  }

  void invoke(work request) override {
    running_.insert(request.attempt);
    auto weak = weak_from_this();
    auto attempt = request.attempt;
    host_.self()
        ->request(actor_, request.limit, work_request{std::move(request.body), std::move(request.content_type)})
        .then(
            [this, weak, attempt](work_result& answer) {
              auto alive = weak.lock();
              if (!alive)
                return;
              pb::InvokeReply result;
              result.set_outcome(pb::INVOKE_OK);
              result.set_body(std::move(answer.body));
              result.set_content_type(std::move(answer.content_type));
              finish(attempt, std::move(result));
            },
            [this, weak, attempt](const caf::error& reason) {
              auto alive = weak.lock();
              // An actor that ended is told by its monitor, together with why.
              if (!alive)
                return;
              if (reason == caf::sec::broken_promise) {
                host_.self()->run_delayed(broken_promise_wait, [this, weak, attempt] {
                  if (auto lives = weak.lock())
                    finish(attempt, pb::INVOKE_APP_FAILED, "the actor dropped the request without an answer");
                });
                return;
              }
              if (actor_ && says_gone(reason))
                return;
              auto late = reason == caf::sec::request_timeout;
              finish(attempt, late ? pb::INVOKE_TIMED_OUT : pb::INVOKE_APP_FAILED,
                     late ? "the actor did not answer in time" : error_text(reason));
            });
  }

  /// An actor cannot be interrupted: the slot is free, what it does comes to nothing.
  void cancel(attempt_id attempt, const std::string&) override { finish(attempt, pb::INVOKE_CANCELLED, "taken back"); }

  void stop(caf::timespan, const std::string&) override {
    stopping_ = true;
    if (actor_)
      host_.self()->send_exit(actor_, caf::exit_reason::user_shutdown);
    else
      host_.replica_stopped(token_);
  }

  void on_down(const caf::down_msg& event) override {
    if (!actor_ || event.source != actor_.address())
      return;
    actor_ = nullptr;
    auto lost = std::exchange(running_, {});
    auto reason = event.reason ? "the actor ended: " + error_text(event.reason) : "the actor ended by itself";
    if (!stopping_)
      host_.replica_crashed(token_, reason);
    for (auto attempt : lost) {
      pb::InvokeReply result;
      result.set_outcome(MUTANT(lost_work_called_not_started) ? pb::INVOKE_NOT_STARTED : pb::INVOKE_REPLICA_LOST);
      result.set_reason(reason);
      host_.work_done(attempt, std::move(result));
    }
    if (stopping_)
      host_.replica_stopped(token_);
  }

private:
  void finish(attempt_id attempt, pb::InvokeOutcome outcome, std::string reason) {
    pb::InvokeReply result;
    result.set_outcome(outcome);
    result.set_reason(std::move(reason));
    finish(attempt, std::move(result));
  }

  void finish(attempt_id attempt, pb::InvokeReply result) {
    if (running_.erase(attempt) > 0)
      host_.work_done(attempt, std::move(result));
  }

  const app_registry& apps_;
  app_actor actor_;
  std::set<attempt_id> running_;
  bool stopping_ = false;
};

} // namespace

std::shared_ptr<replica_runner> make_actor_runner(replica_host& host, const app_registry& apps, const replica& what) {
  return std::make_shared<actor_runner>(host, apps, what.token, what.spec);
}

} // namespace astra
