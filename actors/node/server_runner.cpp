#include "actors/mutant.hpp"
#include "actors/node/process_runner.hpp"
#include "actors/node/replace_all.hpp"
#include "actors/node/server_words.hpp"
#include "messages/text.hpp"

#include <caf/typed_event_based_actor.hpp>

#include <algorithm>
#include <chrono>
#include <string>
#include <utility>

namespace astra {
namespace {

using std::chrono::milliseconds;

constexpr const char* loopback = "127.0.0.1";
constexpr milliseconds probe_interval{100};
constexpr milliseconds probe_timeout{1000};
constexpr milliseconds ready_timeout_default{30000};
/// A server that was ready and accepts no connection for this long is restarted.
constexpr milliseconds refusal_patience{3000};
/// Of a worker that did not take the message.
constexpr std::uint16_t worker_status_busy = 503;
/// Between SIGTERM and SIGKILL of a worker.
constexpr milliseconds worker_grace{5000};

class server_runner : public process_runner {
public:
  server_runner(replica_host& host, claim_token token, std::shared_ptr<const pb::AppSpec> spec)
    : process_runner(host, token, std::move(spec)), server_(spec_->server()) {}

  /// A server that the spec does not name, such as a worker.
  server_runner(replica_host& host, claim_token token, std::shared_ptr<const pb::AppSpec> spec,
                pb::ProcessServer server)
    : process_runner(host, token, std::move(spec)), server_(std::move(server)) {}

  ~server_runner() override { give_port_back(); }

  void start() override {
    auto& app = server_;
    if (app.command().empty()) {
      host_.replica_failed(token_, "the app has no command");
      return;
    }
    port_ = host_.world().reserve_port();
    if (port_ == 0) {
      host_.replica_crashed(token_, "no free port on this machine");
      return;
    }
    process_ = host_.new_process(token_);
    end_reason_.clear();
    doubted_ = false;
    launch_process what;
    what.key = process_;
    auto port = std::to_string(port_);
    for (auto word : app.command()) {
      replace_all(word, "{port}", port);
      what.command.push_back(std::move(word));
    }
    what.environment.assign(app.env().begin(), app.env().end());
    what.environment.push_back("PORT=" + port);
    what.memory_limit_bytes = spec_->per_replica().memory_bytes();
    what.output_is_log = true;
    auto patience = app.ready_timeout_ms() > 0 ? milliseconds{app.ready_timeout_ms()} : ready_timeout_default;
    ready_deadline_ = host_.self()->clock().now() + patience;
    launch(std::move(what), launcher_wait);
  }

  void invoke(work request) override { post(std::move(request), loopback, port_); }

  void stop(caf::timespan grace, const std::string& reason) override {
    stopping_ = true;
    if (!process_) {
      host_.replica_stopped(token_);
      return;
    }
    caf::timespan own_grace = milliseconds{server_.stop_grace_ms()};
    kill(std::min(own_grace, grace), reason);
  }

protected:
  std::string noun() const override { return "the server"; }

  void on_gone(const std::string& reason) override {
    give_port_back();
    if (!stopping_)
      tell_end(reason);
  }

  /// It ended although nobody asked it to.
  virtual void tell_end(const std::string& reason) { host_.replica_crashed(token_, reason); }

private:
  void on_started() override {
    host_.replica_warming(token_, "waits for an answer on port " + std::to_string(port_));
    probe();
  }

  http_call question() const override {
    http_call call;
    call.host = loopback;
    call.port = port_;
    call.target = server_.ready_path().empty() ? "/" : server_.ready_path();
    call.timeout = probe_timeout;
    return call;
  }

  milliseconds question_interval() const override { return probe_interval; }

  std::string problem_with(const http_answer& answer) const override {
    auto good = answer.status >= 200 && answer.status < 300;
    return server_.ready_path().empty() || good ? std::string{} : "answers " + std::to_string(answer.status);
  }

  /// Without a path to ask for, whoever accepts a connection is ready, whatever it makes of our question.
  bool is_ready_despite(const caf::error& reason) const override {
    return (server_.ready_path().empty() && was_connected(reason)) || MUTANT(unready_replica_opened);
  }

  void on_ready() override {
    doubted_ = false;
    host_.replica_ready(token_);
  }

  void on_unready(const std::string& problem) override {
    put_down((doubted_ ? "accepts no requests any more: " : "not ready in time: ") + problem);
  }

  /// A ready server refused a connection: it gets no requests until it answers again, and is restarted when it does
  /// not.
  void on_refused(const std::string& problem) override {
    if (!process_ || stopping_ || std::exchange(doubted_, true))
      return;
    ready_deadline_ = host_.self()->clock().now() + refusal_patience;
    host_.replica_warming(token_, "accepts no requests any more: " + problem);
    probe_later(problem);
  }

  void on_stopped() override { host_.replica_stopped(token_); }

  void give_port_back() {
    if (port_ != 0)
      host_.world().release_port(std::exchange(port_, 0));
  }

  pb::ProcessServer server_;
  std::uint16_t port_ = 0;
  /// It was ready and refused a connection; it is being probed again.
  bool doubted_ = false;
};

/// The actor of a library.  What it says when it cannot start at all, by its exit code, no restart cures.
class worker_runner : public server_runner {
public:
  using server_runner::server_runner;

  void on_exited(const process_exited& event) override {
    hopeless_ = event.end == process_end::exited && event.code == worker_exit_hopeless;
    server_runner::on_exited(event);
  }

private:
  std::string noun() const override { return "the actor"; }

  /// What an actor says against a message is the reason, as it is for the actors in the node's own process.
  pb::InvokeReply reply_to(http_answer& answer) const override {
    auto result = reply_of(answer);
    if (result.outcome() == pb::INVOKE_OK)
      return result;
    if (answer.status == worker_status_busy)
      result.set_outcome(pb::INVOKE_NOT_STARTED);
    result.set_reason(shorten(to_utf8(std::move(*result.mutable_body())), replica_set::reason_bytes_max));
    result.clear_body();
    result.clear_content_type();
    return result;
  }

  void tell_end(const std::string& reason) override {
    if (std::exchange(hopeless_, false))
      host_.replica_failed(token_, reason);
    else
      server_runner::tell_end(reason);
  }

  bool hopeless_ = false;
};

} // namespace

pb::ProcessServer worker_server(const std::string& program, const pb::ActorApp& actor) {
  pb::ProcessServer result;
  for (auto word : {program.c_str(), "worker", "--library", actor.library().c_str(), "--actor", actor.type().c_str()})
    result.add_command(word);
  if (actor.args_size() > 0)
    result.add_command("--"); // an argument may begin with '-'
  result.mutable_command()->MergeFrom(actor.args());
  result.set_ready_path("/ready");
  result.set_ready_timeout_ms(static_cast<std::uint64_t>(ready_timeout_default.count()));
  result.set_stop_grace_ms(static_cast<std::uint64_t>(worker_grace.count()));
  return result;
}

std::shared_ptr<replica_runner> make_worker_runner(replica_host& host, const replica& what) {
  auto server = worker_server(host.world().program(), what.spec->actor());
  return std::make_shared<worker_runner>(host, what.token, what.spec, std::move(server));
}

std::shared_ptr<replica_runner> make_server_runner(replica_host& host, const replica& what) {
  return std::make_shared<server_runner>(host, what.token, what.spec);
}

} // namespace astra
