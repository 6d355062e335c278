#include "actors/node/cluster_places.hpp"
#include "actors/node/replica_runner.hpp"
#include "actors/node/server_words.hpp"
#include "config/endpoint.hpp"
#include "config/placeholders.hpp"
#include "messages/http_call.hpp"

#include <caf/send.hpp>
#include <caf/typed_event_based_actor.hpp>

#include <algorithm>
#include <chrono>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace astra {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds probe_interval{50};
/// A port that takes the connection and says nothing is ready, too.
constexpr milliseconds probe_timeout{250};
constexpr milliseconds ready_timeout_default{30000};
/// Between SIGTERM and SIGKILL of a member that never became ready.
constexpr milliseconds unready_grace{1000};
/// Beyond the time of a request, for an HTTP client that does not answer.
constexpr milliseconds call_patience{1000};
constexpr const char* http_port = "http";

class cluster_runner : public replica_runner, private replica_host {
public:
  cluster_runner(replica_host& host, const replica& what)
    : replica_runner(host, what.token, what.spec),
      role_(what.head() ? spec_->federation().head() : spec_->federation().worker()) {
    place_.member = *what.member;
  }

  ~cluster_runner() override {
    requests_.reset();
    if (process_)
      caf::anon_send(host_.world().launcher(), kill_process{process_, caf::timespan{0}, "the node ends"});
    give_ports_back();
  }

  void start() override {
    auto here = parse_endpoint(host_.world().address());
    place_.node_ip = here ? here->host : "127.0.0.1";
    if (!take_ports()) {
      ended("no free port on this machine");
      return;
    }
    process_ = host_.new_process(token_);
    end_reason_.clear();
    place_.scratch = uses("scratch") ? "/tmp/astra-" + to_hex(token_.value()) + "-" + to_hex(process_.value()) : "";
    values_ = placeholder_values(place_, spec_->per_replica());
    host_.replica_located(token_, place_.node_ip, place_.ports);
    launch_process launch;
    launch.key = process_;
    for (auto& word : role_.command())
      launch.command.push_back(expand_placeholders(word, values_));
    for (auto& entry : role_.env())
      launch.environment.push_back(expand_placeholders(entry, values_));
    if (auto port = main_port(); port != 0)
      launch.environment.push_back("PORT=" + std::to_string(port));
    launch.memory_limit_bytes = spec_->per_replica().memory_bytes();
    launch.output_is_log = true;
    launch.ready_line = role_.ready_line();
    launch.scratch = place_.scratch;
    auto patience = role_.ready_timeout_ms() > 0 ? milliseconds{role_.ready_timeout_ms()} : ready_timeout_default;
    ready_deadline_ = host_.self()->clock().now() + patience;
    auto weak = weak_from_this();
    auto key = process_;
    // The answer comes when the line was seen.
    auto wait = launch.ready_line.empty() ? launcher_wait : std::max<caf::timespan>(launcher_wait, patience);
    if (!launch.ready_line.empty())
      host_.self()->run_delayed(patience, [this, weak, key] {
        if (auto alive = weak.lock(); alive && key == process_ && !stopping_ && !started_)
          not_ready("has not written \"" + role_.ready_line() + "\"");
      });
    started_ = false;
    host_.self()
        ->request(host_.world().launcher(), wait + launcher_wait, std::move(launch))
        .then(
            [this, weak, key](const process_started&) {
              auto alive = weak.lock();
              if (!alive || key != process_ || stopping_)
                return;
              started_ = true;
              if (role_.ready_port().empty()) {
                on_ready();
                return;
              }
              host_.replica_warming(token_, "waits for an answer on port " + role_.ready_port());
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
    if (requests_) {
      requests_->invoke(std::move(request));
      return;
    }
    http_call call;
    call.host = place_.node_ip;
    call.port = port_of(http_port);
    call.method = "POST";
    call.target = spec_->server().path().empty() ? "/" : spec_->server().path();
    call.body = std::move(request.body);
    call.content_type = std::move(request.content_type);
    call.timeout = request.limit;
    call.response_limit_bytes = response_limit_bytes;
    call.id = request.attempt.value();
    calls_.insert(request.attempt);
    auto weak = weak_from_this();
    auto attempt = request.attempt;
    host_.self()
        ->request(host_.world().http(), request.limit + call_patience, std::move(call))
        .then(
            [this, weak, attempt](http_answer& answer) {
              if (auto alive = weak.lock())
                finish(attempt, reply_of(answer));
            },
            [this, weak, attempt](const caf::error& reason) {
              if (auto alive = weak.lock())
                finish(attempt, reply_of(reason));
            });
  }

  void cancel(attempt_id attempt, const std::string& reason) override {
    if (requests_) {
      requests_->cancel(attempt, reason);
      return;
    }
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
    if (process_) {
      caf::timespan own_grace = milliseconds{role_.stop_grace_ms()};
      kill(std::min(own_grace, grace), reason);
    }
    if (requests_)
      requests_->stop(grace, reason);
    check_stopped();
  }

  void on_exited(const process_exited& event) override {
    if (event.key != process_) {
      // It may end this runner.
      auto self = shared_from_this();
      if (requests_)
        requests_->on_exited(event);
      return;
    }
    auto reason = end_reason_.empty() ? event.reason : end_reason_;
    if (reason.empty())
      reason = "its process ended: " + to_string(event.end);
    if (auto words = last_words(event.log_tail); !words.empty())
      reason += "; its last words: " + words;
    on_end(reason);
  }

private:
  bool is_head() const { return place_.member.slot() == 0; }

  // -- what the runner of the requests beside a head tells ----------------------

  node_actor::pointer self() override { return host_.self(); }
  platform& world() override { return host_.world(); }
  process_key new_process(claim_token token) override { return host_.new_process(token); }
  void replica_located(claim_token, std::string, std::vector<pb::NamedPort>) override {}
  void replica_warming(claim_token token, std::string reason) override {
    host_.replica_warming(token, std::move(reason));
  }
  void replica_ready(claim_token token) override {
    if (process_ && !stopping_)
      host_.replica_ready(token);
  }
  void replica_crashed(claim_token, std::string reason) override { give_up(std::move(reason)); }
  void replica_failed(claim_token, std::string reason) override { give_up(std::move(reason)); }
  void replica_stopped(claim_token) override {
    requests_over_ = true;
    check_stopped();
  }
  void work_done(attempt_id attempt, pb::InvokeReply result) override { host_.work_done(attempt, std::move(result)); }

  /// The command of the requests does not run: the head is of no use.
  void give_up(std::string reason) {
    if (!process_ || stopping_)
      return;
    end_reason_ = "the command for requests does not run: " + reason;
    kill(unready_grace, end_reason_);
  }

  // -- ports and placeholders ---------------------------------------------------

  bool take_ports() {
    give_ports_back();
    for (auto& name : spec_->federation().ports()) {
      auto number = host_.world().reserve_port();
      if (number == 0) {
        give_ports_back();
        return false;
      }
      auto& port = place_.ports.emplace_back();
      port.set_name(name);
      port.set_port(number);
    }
    return true;
  }

  void give_ports_back() {
    for (auto& port : std::exchange(place_.ports, {}))
      host_.world().release_port(static_cast<std::uint16_t>(port.port()));
  }

  std::uint16_t port_of(const std::string& name) const {
    for (auto& port : place_.ports)
      if (port.name() == name)
        return static_cast<std::uint16_t>(port.port());
    return 0;
  }

  /// What PORT in the environment is.
  std::uint16_t main_port() const {
    if (!role_.ready_port().empty())
      return port_of(role_.ready_port());
    return place_.ports.empty() ? 0 : static_cast<std::uint16_t>(place_.ports.front().port());
  }

  bool uses(const std::string& name) const {
    auto mentions = [&](auto& texts) {
      return std::any_of(texts.begin(), texts.end(), [&](auto& text) {
        auto names = placeholders_in(text);
        return std::find(names.begin(), names.end(), name) != names.end();
      });
    };
    return mentions(role_.command()) || mentions(role_.env())
           || (is_head() && (mentions(spec_->per_request().command()) || mentions(spec_->per_request().env())));
  }

  // -- getting ready ------------------------------------------------------------

  /// Asks whether the port accepts a connection, again and again until it does or its time is over.
  void probe(process_key key) {
    http_call call;
    call.host = place_.node_ip;
    call.port = port_of(role_.ready_port());
    call.target = "/";
    call.timeout = probe_timeout;
    call.response_limit_bytes = response_limit_bytes;
    auto weak = weak_from_this();
    host_.self()
        ->request(host_.world().http(), probe_timeout + call_patience, std::move(call))
        .then(
            [this, weak, key](const http_answer&) {
              if (auto alive = weak.lock(); alive && key == process_ && !stopping_)
                on_ready();
            },
            [this, weak, key](const caf::error& reason) {
              auto alive = weak.lock();
              if (!alive || key != process_ || stopping_)
                return;
              if (was_connected(reason))
                on_ready();
              else
                probe_later(key, error_text(reason));
            });
  }

  void probe_later(process_key key, const std::string& problem) {
    if (host_.self()->clock().now() >= ready_deadline_) {
      not_ready("port " + role_.ready_port() + ": " + problem);
      return;
    }
    host_.self()->run_delayed(probe_interval, [this, weak = weak_from_this(), key] {
      if (auto alive = weak.lock(); alive && key == process_ && !stopping_)
        probe(key);
    });
  }

  void not_ready(const std::string& problem) {
    end_reason_ = "not ready in time: " + problem;
    kill(unready_grace, end_reason_);
  }

  void on_ready() {
    if (!is_head() || !spec_->has_per_request()) {
      host_.replica_ready(token_);
      return;
    }
    auto beside = std::make_shared<pb::AppSpec>(*spec_);
    auto& app = *beside->mutable_per_request();
    for (auto& word : *app.mutable_command())
      word = expand_placeholders(word, values_);
    for (auto& entry : *app.mutable_env())
      entry = expand_placeholders(entry, values_);
    // The head's own process has the memory of the role; what runs beside it gets what the app says.
    *beside->mutable_per_replica() = spec_->per_replica();
    replica what;
    what.token = token_;
    what.spec = std::move(beside);
    requests_over_ = false;
    requests_ = make_per_request_runner(*this, what);
    requests_->start();
  }

  // -- the end ------------------------------------------------------------------

  void kill(caf::timespan grace, const std::string& reason) {
    host_.self()->send(host_.world().launcher(), kill_process{process_, grace, reason});
  }

  /// The process is gone, or was never there.
  void on_end(const std::string& reason) {
    auto self = shared_from_this();
    process_ = process_key{};
    give_ports_back();
    auto lost = std::exchange(calls_, {});
    auto was_stopping = stopping_;
    if (!was_stopping)
      ended(reason);
    for (auto attempt : lost) {
      pb::InvokeReply result;
      result.set_outcome(pb::INVOKE_REPLICA_LOST);
      result.set_reason("the head died while it worked on the request: " + reason);
      host_.work_done(attempt, std::move(result));
    }
    // Without the head, what runs beside it has nobody to ask.
    if (!was_stopping && requests_)
      requests_->stop(caf::timespan{0}, "the head of its cluster ended");
    if (was_stopping)
      check_stopped();
  }

  void ended(const std::string& reason) {
    if (is_head())
      host_.replica_failed(token_, reason);
    else
      host_.replica_crashed(token_, reason);
  }

  void check_stopped() {
    if (!stopping_ || process_ || (requests_ && !requests_over_) || std::exchange(stopped_told_, true))
      return;
    // The node forgets this runner.
    auto self = shared_from_this();
    host_.replica_stopped(token_);
  }

  void finish(attempt_id attempt, pb::InvokeReply result) {
    if (calls_.erase(attempt) > 0)
      host_.work_done(attempt, std::move(result));
  }

  const pb::ClusterRole& role_;
  cluster_place place_;
  std::map<std::string, std::string> values_;
  /// 0: no process.
  process_key process_;
  /// Of this process: it has written its line, or simply runs.
  bool started_ = false;
  bool stopping_ = false;
  bool stopped_told_ = false;
  std::chrono::steady_clock::time_point ready_deadline_;
  /// Why we killed it ourselves; empty when we did not.
  std::string end_reason_;
  /// Of a head whose app starts a command per request.
  std::shared_ptr<replica_runner> requests_;
  bool requests_over_ = false;
  /// Requests at a head's own server.
  std::set<attempt_id> calls_;
};

} // namespace

std::shared_ptr<replica_runner> make_cluster_runner(replica_host& host, const replica& what) {
  return std::make_shared<cluster_runner>(host, what);
}

} // namespace astra
