#include "actors/mutant.hpp"
#include "actors/node/replica_runner.hpp"
#include "actors/node/server_words.hpp"

#include <caf/sec.hpp>
#include <caf/send.hpp>
#include <caf/typed_event_based_actor.hpp>

#include <algorithm>
#include <chrono>
#include <set>
#include <string>
#include <utility>

namespace astra {
namespace {

using std::chrono::milliseconds;

constexpr const char* loopback = "127.0.0.1";
constexpr milliseconds probe_interval{100};
constexpr milliseconds probe_timeout{1000};
constexpr milliseconds ready_timeout_default{30000};
/// Between SIGTERM and SIGKILL of a server that never became ready.
constexpr milliseconds unready_grace{1000};
/// A server that was ready and accepts no connection for this long is restarted.
constexpr milliseconds refusal_patience{3000};

void replace_all(std::string& text, const std::string& from, const std::string& to) {
  for (auto at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size()))
    text.replace(at, from.size(), to);
}

class server_runner : public replica_runner {
public:
  using replica_runner::replica_runner;

  ~server_runner() override {
    if (process_)
      caf::anon_send(host_.world().launcher(), kill_process{process_, caf::timespan{0}, "the node ends"});
    give_port_back();
  }

  void start() override {
    auto& app = spec_->server();
    if (app.command().empty()) {
      host_.replica_failed(token_, "the app has no command");
      return;
    }
    port_ = host_.world().reserve_port();
    if (port_ == 0) {
      host_.replica_crashed(token_, "no free port on the loopback interface");
      return;
    }
    process_ = host_.new_process(token_);
    end_reason_.clear();
    doubted_ = false;
    launch_process launch;
    launch.key = process_;
    auto port = std::to_string(port_);
    for (auto word : app.command()) {
      replace_all(word, "{port}", port);
      launch.command.push_back(std::move(word));
    }
    launch.environment.assign(app.env().begin(), app.env().end());
    launch.environment.push_back("PORT=" + port);
    launch.memory_limit_bytes = spec_->per_replica().memory_bytes();
    launch.output_is_log = true;
    auto patience = app.ready_timeout_ms() > 0 ? milliseconds{app.ready_timeout_ms()} : ready_timeout_default;
    ready_deadline_ = host_.self()->clock().now() + patience;
    auto weak = weak_from_this();
    auto key = process_;
    host_.self()
        ->request(host_.world().launcher(), launcher_wait, std::move(launch))
        .then(
            [this, weak, key](const process_started&) {
              auto alive = weak.lock();
              if (!alive || key != process_ || stopping_)
                return;
              host_.replica_warming(token_, "waits for an answer on port " + std::to_string(port_));
              probe(key);
            },
            [this, weak, key](const caf::error& reason) {
              // A command that could not be started is reported by its process_exited.
              auto alive = weak.lock();
              if (!alive || key != process_ || reason == errc::spawn_failed)
                return;
              // It may start yet, and would then be nobody's.
              kill(caf::timespan{0}, "nobody waits for it");
              on_end("the launcher does not answer: " + error_text(reason));
            });
  }

  void invoke(work request) override {
    http_call call;
    call.host = loopback;
    call.port = port_;
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
        ->request(host_.world().http(), request.limit + probe_timeout, std::move(call))
        .then(
            [this, weak, attempt](http_answer& answer) {
              if (auto alive = weak.lock())
                on_answer(attempt, answer);
            },
            [this, weak, attempt](const caf::error& reason) {
              if (auto alive = weak.lock())
                on_error(attempt, reason);
            });
  }

  void cancel(attempt_id attempt, const std::string&) override {
    if (calls_.count(attempt) == 0)
      return;
    host_.self()->send(host_.world().http(), http_abort{attempt.value()});
    pb::InvokeReply result;
    result.set_outcome(pb::INVOKE_CANCELLED);
    result.set_reason("taken back");
    finish(attempt, std::move(result));
  }

  void stop(caf::timespan grace, const std::string& reason) override {
    stopping_ = true;
    if (!process_) {
      host_.replica_stopped(token_);
      return;
    }
    caf::timespan own_grace = milliseconds{spec_->server().stop_grace_ms()};
    kill(std::min(own_grace, grace), reason);
  }

  void on_exited(const process_exited& event) override {
    if (event.key != process_)
      return;
    auto reason = end_reason_.empty() ? event.reason : end_reason_;
    if (reason.empty())
      reason = "the server ended: " + to_string(event.end);
    if (auto words = last_words(event.log_tail); !words.empty())
      reason += "; its last words: " + words;
    on_end(reason);
  }

private:
  void kill(caf::timespan grace, const std::string& reason) {
    host_.self()->send(host_.world().launcher(), kill_process{process_, grace, reason});
  }

  void give_port_back() {
    if (port_ != 0)
      host_.world().release_port(std::exchange(port_, 0));
  }

  /// Asks whether the server answers, again and again until it does or its time is over.
  void probe(process_key key) {
    http_call call;
    call.host = loopback;
    call.port = port_;
    call.target = spec_->server().ready_path().empty() ? "/" : spec_->server().ready_path();
    call.timeout = probe_timeout;
    call.response_limit_bytes = response_limit_bytes;
    auto weak = weak_from_this();
    host_.self()
        ->request(host_.world().http(), 2 * probe_timeout, std::move(call))
        .then(
            [this, weak, key](const http_answer& answer) {
              auto alive = weak.lock();
              if (!alive || key != process_ || stopping_)
                return;
              auto good = answer.status >= 200 && answer.status < 300;
              if (spec_->server().ready_path().empty() || good)
                on_probed();
              else
                probe_later(key, "answers " + std::to_string(answer.status));
            },
            [this, weak, key](const caf::error& reason) {
              auto alive = weak.lock();
              if (!alive || key != process_ || stopping_)
                return;
              // Without a path to ask for, whoever accepts a connection is ready, whatever it makes of our question.
              if ((spec_->server().ready_path().empty() && was_connected(reason)) || MUTANT(unready_replica_opened))
                on_probed();
              else
                probe_later(key, error_text(reason));
            });
  }

  void on_probed() {
    doubted_ = false;
    host_.replica_ready(token_);
  }

  /// A ready server refused a connection: it gets no requests until it answers again, and is restarted when it does
  /// not.
  void doubt(const std::string& problem) {
    if (!process_ || stopping_ || std::exchange(doubted_, true))
      return;
    ready_deadline_ = host_.self()->clock().now() + refusal_patience;
    host_.replica_warming(token_, "accepts no requests any more: " + problem);
    probe_later(process_, problem);
  }

  void probe_later(process_key key, const std::string& problem) {
    if (host_.self()->clock().now() >= ready_deadline_) {
      end_reason_ = (doubted_ ? "accepts no requests any more: " : "not ready in time: ") + problem;
      kill(unready_grace, end_reason_);
      return;
    }
    host_.self()->run_delayed(probe_interval, [this, weak = weak_from_this(), key] {
      if (auto alive = weak.lock(); alive && key == process_ && !stopping_)
        probe(key);
    });
  }

  /// The process is gone, or was never there.
  void on_end(const std::string& reason) {
    process_ = process_key{};
    give_port_back();
    auto lost = std::exchange(calls_, {});
    if (!stopping_)
      host_.replica_crashed(token_, reason);
    for (auto attempt : lost) {
      pb::InvokeReply result;
      result.set_outcome(MUTANT(lost_work_called_not_started) ? pb::INVOKE_NOT_STARTED : pb::INVOKE_REPLICA_LOST);
      result.set_reason("the server died while it worked on the request: " + reason);
      host_.work_done(attempt, std::move(result));
    }
    if (stopping_)
      host_.replica_stopped(token_);
  }

  void on_answer(attempt_id attempt, http_answer& answer) { finish(attempt, reply_of(answer)); }

  void on_error(attempt_id attempt, const caf::error& reason) {
    auto result = reply_of(reason);
    // Before the slot is free again: nobody shall be granted it.
    if (result.outcome() == pb::INVOKE_NOT_STARTED && calls_.count(attempt) > 0)
      doubt(result.reason());
    finish(attempt, std::move(result));
  }

  void finish(attempt_id attempt, pb::InvokeReply result) {
    if (calls_.erase(attempt) > 0)
      host_.work_done(attempt, std::move(result));
  }

  /// 0: no process.
  process_key process_;
  std::uint16_t port_ = 0;
  bool stopping_ = false;
  std::chrono::steady_clock::time_point ready_deadline_;
  /// It was ready and refused a connection; it is being probed again.
  bool doubted_ = false;
  /// Why we killed it ourselves; empty when we did not.
  std::string end_reason_;
  std::set<attempt_id> calls_;
};

} // namespace

std::shared_ptr<replica_runner> make_server_runner(replica_host& host, const replica& what) {
  return std::make_shared<server_runner>(host, what.token, what.spec);
}

} // namespace astra
