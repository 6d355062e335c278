#include "actors/node/process_runner.hpp"

#include "actors/mutant.hpp"
#include "actors/node/server_words.hpp"

#include <caf/send.hpp>
#include <caf/typed_event_based_actor.hpp>

#include <utility>

namespace astra {
namespace {

/// Beyond the time of a call, for an HTTP client that does not answer.
constexpr std::chrono::milliseconds call_patience{1000};

} // namespace

process_runner::~process_runner() {
  if (process_)
    caf::anon_send(host_.world().launcher(), kill_process{process_, caf::timespan{0}, "the node ends"});
}

void process_runner::launch(launch_process what, caf::timespan wait) {
  auto weak = weak_from_this();
  auto key = process_;
  host_.self()
      ->request(host_.world().launcher(), wait, std::move(what))
      .then(
          [this, weak, key](const process_started&) {
            if (auto alive = weak.lock(); alive && is_current(key))
              on_started();
          },
          [this, weak, key](const caf::error& reason) {
            // A command that could not be started is reported by its process_exited.
            auto alive = weak.lock();
            if (!alive || key != process_ || reason == errc::spawn_failed)
              return;
            // It may start yet, and would then be nobody's.
            kill(caf::timespan{0}, "nobody waits for it");
            end("the launcher does not answer: " + error_text(reason));
          });
}

void process_runner::kill(caf::timespan grace, const std::string& reason) {
  host_.self()->send(host_.world().launcher(), kill_process{process_, grace, reason});
}

void process_runner::put_down(std::string reason) {
  end_reason_ = std::move(reason);
  kill(unready_grace, end_reason_);
}

void process_runner::probe() {
  auto call = question();
  call.response_limit_bytes = response_limit_bytes;
  auto weak = weak_from_this();
  auto key = process_;
  auto wait = call.timeout + call_patience;
  host_.self()
      ->request(host_.world().http(), wait, std::move(call))
      .then(
          [this, weak, key](const http_answer& answer) {
            auto alive = weak.lock();
            if (!alive || !is_current(key))
              return;
            if (auto problem = problem_with(answer); problem.empty())
              on_ready();
            else
              probe_later(problem);
          },
          [this, weak, key](const caf::error& reason) {
            auto alive = weak.lock();
            if (!alive || !is_current(key))
              return;
            if (is_ready_despite(reason))
              on_ready();
            else
              probe_later(error_text(reason));
          });
}

void process_runner::probe_later(const std::string& problem) {
  if (host_.self()->clock().now() >= ready_deadline_) {
    on_unready(problem);
    return;
  }
  host_.self()->run_delayed(question_interval(), [this, weak = weak_from_this(), key = process_] {
    if (auto alive = weak.lock(); alive && is_current(key))
      probe();
  });
}

void process_runner::post(work request, std::string host, std::uint16_t port) {
  http_call call;
  call.host = std::move(host);
  call.port = port;
  call.method = "POST";
  call.target = spec_->server().path().empty() ? "/" : spec_->server().path();
  call.body = std::move(request.body);
  call.content_type = std::move(request.content_type);
  call.timeout = request.limit;
  call.response_limit_bytes = response_limit_bytes;
  // The client of a process serves all its replicas: attempts are unique among them.
  call.id = request.attempt.value();
  calls_.insert(request.attempt);
  auto weak = weak_from_this();
  auto attempt = request.attempt;
  // The client keeps the time; ours only guards against a client that does not answer.
  host_.self()
      ->request(host_.world().http(), request.limit + call_patience, std::move(call))
      .then(
          [this, weak, attempt](http_answer& answer) {
            if (auto alive = weak.lock())
              finish(attempt, reply_to(answer));
          },
          [this, weak, attempt](const caf::error& reason) {
            auto alive = weak.lock();
            if (!alive)
              return;
            auto result = reply_of(reason);
            // Before the slot is free again: nobody shall be granted it.
            if (result.outcome() == pb::INVOKE_NOT_STARTED && calls_.count(attempt) > 0)
              on_refused(result.reason());
            finish(attempt, std::move(result));
          });
}

pb::InvokeReply process_runner::reply_to(http_answer& answer) const {
  return reply_of(answer);
}

void process_runner::cancel(attempt_id attempt, const std::string&) {
  if (calls_.count(attempt) == 0)
    return;
  host_.self()->send(host_.world().http(), http_abort{attempt.value()});
  pb::InvokeReply result;
  result.set_outcome(pb::INVOKE_CANCELLED);
  result.set_reason("taken back");
  finish(attempt, std::move(result));
}

void process_runner::on_exited(const process_exited& event) {
  if (event.key != process_)
    return;
  auto reason = end_reason_.empty() ? event.reason : end_reason_;
  if (reason.empty())
    reason = noun() + " ended: " + to_string(event.end);
  if (auto words = last_words(event.log_tail); !words.empty())
    reason += "; its last words: " + words;
  end(reason);
}

void process_runner::end(const std::string& reason) {
  // Its node may forget it.
  auto self = shared_from_this();
  process_ = process_key{};
  auto lost = std::exchange(calls_, {});
  auto asked_for = stopping_;
  on_gone(reason);
  for (auto attempt : lost) {
    pb::InvokeReply result;
    result.set_outcome(MUTANT(lost_work_called_not_started) ? pb::INVOKE_NOT_STARTED : pb::INVOKE_REPLICA_LOST);
    result.set_reason(noun() + " died while it worked on the request: " + reason);
    host_.work_done(attempt, std::move(result));
  }
  if (asked_for)
    on_stopped();
}

void process_runner::finish(attempt_id attempt, pb::InvokeReply result) {
  if (calls_.erase(attempt) > 0)
    host_.work_done(attempt, std::move(result));
}

} // namespace astra
