#include "actors/node/cluster_places.hpp"
#include "actors/node/process_runner.hpp"
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
constexpr const char* http_port = "http";

class cluster_runner : public process_runner, private replica_host {
public:
  cluster_runner(replica_host& host, const replica& what)
    : process_runner(host, what.token, what.spec),
      role_(what.head() ? spec_->federation().head() : spec_->federation().worker()) {
    place_.member = *what.member;
  }

  ~cluster_runner() override {
    requests_.reset();
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
    values_ = placeholder_values(place_, role_.resources());
    host_.replica_located(token_, place_.node_ip, place_.ports);
    launch_process what;
    what.key = process_;
    for (auto& word : role_.command())
      what.command.push_back(expand_placeholders(word, values_));
    for (auto& entry : role_.env())
      what.environment.push_back(expand_placeholders(entry, values_));
    if (auto port = main_port(); port != 0)
      what.environment.push_back("PORT=" + std::to_string(port));
    what.memory_limit_bytes = role_.resources().memory_bytes();
    what.output_is_log = true;
    what.ready_line = role_.ready_line();
    what.scratch = place_.scratch;
    auto patience = role_.ready_timeout_ms() > 0 ? milliseconds{role_.ready_timeout_ms()} : ready_timeout_default;
    ready_deadline_ = host_.self()->clock().now() + patience;
    // The answer comes when the line was seen.
    auto wait = what.ready_line.empty() ? launcher_wait : std::max<caf::timespan>(launcher_wait, patience);
    if (!what.ready_line.empty())
      host_.self()->run_delayed(patience, [this, weak = weak_from_this(), key = process_] {
        if (auto alive = weak.lock(); alive && is_current(key) && !started_)
          on_unready("has not written \"" + role_.ready_line() + "\"");
      });
    started_ = false;
    launch(std::move(what), wait + launcher_wait);
  }

  void invoke(work request) override {
    if (requests_) {
      requests_->invoke(std::move(request));
      return;
    }
    post(std::move(request), place_.node_ip, port_of(http_port));
  }

  void cancel(attempt_id attempt, const std::string& reason) override {
    if (requests_) {
      requests_->cancel(attempt, reason);
      return;
    }
    process_runner::cancel(attempt, reason);
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
    process_runner::on_exited(event);
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
    put_down("the command for requests does not run: " + reason);
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

  std::string noun() const override { return is_head() ? "the head" : "the worker"; }

  void on_started() override {
    started_ = true;
    if (role_.ready_port().empty()) {
      on_ready();
      return;
    }
    host_.replica_warming(token_, "waits for an answer on port " + role_.ready_port());
    probe();
  }

  http_call question() const override {
    http_call call;
    call.host = place_.node_ip;
    call.port = port_of(role_.ready_port());
    call.target = "/";
    call.timeout = probe_timeout;
    return call;
  }

  milliseconds question_interval() const override { return probe_interval; }
  std::string problem_with(const http_answer&) const override { return {}; }
  bool is_ready_despite(const caf::error& reason) const override { return was_connected(reason); }

  void on_unready(const std::string& problem) override {
    put_down("not ready in time: " + (started_ ? "port " + role_.ready_port() + ": " : "") + problem);
  }

  void on_ready() override {
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
    // The head's own process has what its role says, the commands have the rest of what was claimed.
    if (auto memory = spec_->per_replica().memory_bytes(); memory > role_.resources().memory_bytes())
      beside->mutable_per_replica()->set_memory_bytes(memory - role_.resources().memory_bytes());
    replica what;
    what.token = token_;
    what.spec = std::move(beside);
    requests_over_ = false;
    requests_ = make_per_request_runner(*this, what);
    requests_->start();
  }

  // -- the end ------------------------------------------------------------------

  void on_gone(const std::string& reason) override {
    give_ports_back();
    if (stopping_)
      return;
    ended(reason);
    // Without the head, what runs beside it has nobody to ask.
    if (requests_)
      requests_->stop(caf::timespan{0}, "the head of its cluster ended");
  }

  void on_stopped() override { check_stopped(); }

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

  const pb::ClusterRole& role_;
  cluster_place place_;
  std::map<std::string, std::string> values_;
  /// Of this process: it has written its line, or simply runs.
  bool started_ = false;
  bool stopped_told_ = false;
  /// Of a head whose app starts a command per request.
  std::shared_ptr<replica_runner> requests_;
  bool requests_over_ = false;
};

} // namespace

std::shared_ptr<replica_runner> make_cluster_runner(replica_host& host, const replica& what) {
  return std::make_shared<cluster_runner>(host, what);
}

} // namespace astra
