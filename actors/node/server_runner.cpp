#include "actors/mutant.hpp"
#include "actors/node/process_runner.hpp"
#include "actors/node/replace_all.hpp"
#include "actors/node/server_words.hpp"

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

class server_runner : public process_runner {
public:
  using process_runner::process_runner;

  ~server_runner() override { give_port_back(); }

  void start() override {
    auto& app = spec_->server();
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
    caf::timespan own_grace = milliseconds{spec_->server().stop_grace_ms()};
    kill(std::min(own_grace, grace), reason);
  }

private:
  std::string noun() const override { return "the server"; }

  void on_started() override {
    host_.replica_warming(token_, "waits for an answer on port " + std::to_string(port_));
    probe();
  }

  http_call question() const override {
    http_call call;
    call.host = loopback;
    call.port = port_;
    call.target = spec_->server().ready_path().empty() ? "/" : spec_->server().ready_path();
    call.timeout = probe_timeout;
    return call;
  }

  milliseconds question_interval() const override { return probe_interval; }

  std::string problem_with(const http_answer& answer) const override {
    auto good = answer.status >= 200 && answer.status < 300;
    return spec_->server().ready_path().empty() || good ? std::string{} : "answers " + std::to_string(answer.status);
  }

  /// Without a path to ask for, whoever accepts a connection is ready, whatever it makes of our question.
  bool is_ready_despite(const caf::error& reason) const override {
    return (spec_->server().ready_path().empty() && was_connected(reason)) || MUTANT(unready_replica_opened);
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

  void on_gone(const std::string& reason) override {
    give_port_back();
    if (!stopping_)
      host_.replica_crashed(token_, reason);
  }

  void on_stopped() override { host_.replica_stopped(token_); }

  void give_port_back() {
    if (port_ != 0)
      host_.world().release_port(std::exchange(port_, 0));
  }

  std::uint16_t port_ = 0;
  /// It was ready and refused a connection; it is being probed again.
  bool doubted_ = false;
};

} // namespace

std::shared_ptr<replica_runner> make_server_runner(replica_host& host, const replica& what) {
  return std::make_shared<server_runner>(host, what.token, what.spec);
}

} // namespace astra
