#pragma once

#include "actors/apps/app_registry.hpp"
#include "actors/node/node.hpp"
#include "actors/rendezvous.hpp"
#include "messages/membership.hpp"
#include "messages/resource_protocol.hpp"
#include "test/support/actor_fixture.hpp"

#include <caf/abstract_actor.hpp>
#include <caf/action.hpp>
#include <caf/actor.hpp>
#include <caf/actor_cast.hpp>
#include <caf/behavior.hpp>
#include <caf/event_based_actor.hpp>
#include <caf/typed_event_based_actor.hpp>
#include <caf/typed_response_promise.hpp>
#include <doctest/doctest.h>

#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace astra::test {

/// A Resource that only listens: what a node told it, and how it shall answer.
struct fake_resource {
  std::vector<pb::Heartbeat> beats;
  std::vector<std::chrono::steady_clock::time_point> beat_times;
  std::vector<pb::NodeProfile> profiles;
  bool silent = false;
  bool refuses = false;
  bool fences = false;
  heartbeat_sink handle;
  std::vector<caf::typed_response_promise<heartbeat_ack>> unanswered;

  std::uint64_t held_version() const { return profiles.empty() ? 0 : profiles.back().version(); }
};

/// A reply that is under way.
template <class Reply>
struct pending {
  bool done() const { return result.has_value(); }
  const auto& body() const { return **result; }
  std::optional<Reply> result;
  caf::error error;
};

/// One node among three Resources "r0:1", "r1:1", "r2:1", on a platform of its own.
class node_fixture : public actor_fixture {
public:
  node_fixture() : world(process("node:1")) {
    add_builtin_apps(registry);
    options.name = "n1";
    options.cpu_milli = 4000;
    options.memory_bytes = 4ULL << 30;
    options.labels = {{"zone", "a"}};
    for (auto i = 0; i < 3; ++i) {
      auto address = "r" + std::to_string(i) + ":1";
      options.resources.push_back(address);
      process(address);
      start_resource(address);
    }
    order = rendezvous_order(options.name, options.resources);
  }

  ~node_fixture() {
    // Requests of the driver must not outlive the records that they point to.
    if (driver)
      caf::anon_send_exit(driver, caf::exit_reason::kill);
    for (auto& entry : resources)
      entry.second.unanswered.clear();
    run();
  }

  void start_resource(const std::string& address) {
    auto& record = resources[address];
    record.handle = own(sys.spawn([this, &record](heartbeat_sink::pointer self) -> heartbeat_sink::behavior_type {
      auto answer = [&record, self]() -> caf::result<heartbeat_ack> {
        if (record.refuses)
          return caf::make_error(errc::unreachable, "connection closed");
        auto promise = self->make_response_promise<heartbeat_ack>();
        if (record.silent) {
          record.unanswered.push_back(promise);
          return promise;
        }
        heartbeat_ack ack;
        ack->set_resource(1);
        ack->set_profile_version(record.held_version());
        ack->set_fenced(record.fences);
        promise.deliver(ack);
        return promise;
      };
      return {
          [this, &record, answer](const heartbeat& beat) {
            record.beats.push_back(*beat);
            record.beat_times.push_back(now());
            return answer();
          },
          [&record, answer](const profile_update& update) {
            record.profiles.push_back(update->profile());
            return answer();
          },
      };
    }));
    network.services[{address, resource_service}] = caf::actor_cast<caf::strong_actor_ptr>(record.handle);
  }

  void start_node() {
    node = own(spawn_node(sys, world, options, registry));
    driver = sys.spawn([](caf::event_based_actor*) -> caf::behavior { return {[](caf::get_atom) {}}; });
    run();
  }

  fake_resource& home() { return resources.at(order[0]); }

  /// The profile that the home holds.
  const pb::NodeProfile& profile() { return home().profiles.back(); }

  /// The only replica, as the home knows it.
  const pb::ReplicaStatus& status() {
    REQUIRE(profile().replicas_size() == 1);
    return profile().replicas(0);
  }

  static pb::AppSpec echo_spec(std::uint32_t concurrency = 1) {
    pb::AppSpec spec;
    spec.set_name("echo");
    spec.mutable_per_replica()->set_cpu_milli(1000);
    spec.mutable_per_replica()->set_memory_bytes(1 << 20);
    spec.set_concurrency(concurrency);
    spec.set_request_timeout_ms(30000);
    spec.mutable_actor()->set_type("echo");
    return spec;
  }

  static pb::AppSpec command_spec(std::uint32_t concurrency = 1) {
    auto spec = echo_spec(concurrency);
    spec.set_name("ocr");
    auto& app = *spec.mutable_per_request();
    app.add_command("tesseract");
    app.add_command("-");
    app.add_env("OMP_THREAD_LIMIT=1");
    app.set_output_limit_bytes(1000);
    return spec;
  }

  static pb::AppSpec server_spec(const std::string& ready_path) {
    auto spec = echo_spec(2);
    spec.set_name("web");
    auto& app = *spec.mutable_server();
    app.add_command("server");
    app.add_command("--port={port}");
    app.set_path("/infer");
    app.set_ready_path(ready_path);
    app.set_ready_timeout_ms(5000);
    app.set_stop_grace_ms(2000);
    return spec;
  }

  /// An actor of a library.
  static pb::AppSpec worker_spec() {
    auto spec = echo_spec();
    spec.set_name("tally");
    auto& app = *spec.mutable_actor();
    app.set_type("tally");
    app.set_library("/lib/libtally.so");
    app.add_args("init=40");
    return spec;
  }

  /// At most so many restarts, each after 1 s.
  static void set_restarts(pb::AppSpec& spec, std::uint32_t budget) {
    auto& policy = *spec.mutable_restart();
    policy.set_backoff_min_ms(1000);
    policy.set_backoff_max_ms(1000);
    policy.set_healthy_after_ms(60000);
    policy.set_budget(budget);
    policy.set_budget_window_ms(600000);
  }

  pb::ClaimResult claim(const pb::AppSpec& spec, std::uint64_t token, std::uint64_t epoch = 1) {
    claim_batch batch;
    batch->set_epoch(epoch);
    *batch->mutable_spec() = spec;
    auto& wanted = *batch->add_claims();
    wanted.set_sequence(token);
    wanted.set_token(token);
    wanted.set_node(make_node_id(options.name).value());
    wanted.set_node_incarnation(world.last_incarnation);
    wanted.set_replica_index(static_cast<std::uint32_t>(token));
    auto reply = ask<claim_reply>(node, batch);
    REQUIRE(reply);
    REQUIRE((*reply)->results_size() == 1);
    return (*reply)->results(0);
  }

  /// Claims one replica and waits until the home knows its state.
  void place(const pb::AppSpec& spec, std::uint64_t token = 1) {
    REQUIRE(claim(spec, token).outcome() == pb::CLAIM_CONFIRMED);
    advance(50ms);
  }

  void release(const std::string& app, std::uint64_t token, std::uint64_t grace_ms) {
    release_batch batch;
    auto& gone = *batch->add_releases();
    gone.set_app(app);
    gone.set_epoch(1);
    gone.set_token(token);
    gone.set_grace_ms(grace_ms);
    gone.set_reason("scaled down");
    caf::anon_send(node, batch);
    advance(50ms);
  }

  /// Runs `f` as a message handler of one long-living router.
  template <class F>
  void in_driver(F f) {
    auto self = static_cast<caf::event_based_actor*>(caf::actor_cast<caf::abstract_actor*>(driver));
    caf::anon_send(driver, caf::make_action([self, f] { f(self); }));
    run();
  }

  /// Sends a request on behalf of the router.
  template <class Reply, class... Args>
  pending<Reply>& post(Args... args) {
    auto& slot = replies<Reply>().emplace_back();
    in_driver([this, &slot, args...](caf::event_based_actor* self) {
      self->request(node, caf::infinite, args...)
          .then([&slot](const Reply& reply) { slot.result = reply; }, [&slot](const caf::error& e) { slot.error = e; });
    });
    return slot;
  }

  pending<reserve_reply>& post_reserve(const std::string& app, std::uint64_t attempt, std::uint64_t may_wait_ms = 0) {
    reserve request;
    request->set_app(app);
    request->set_attempt(attempt);
    request->set_may_wait_ms(may_wait_ms);
    return post<reserve_reply>(request);
  }

  pb::ReserveReply reserve_now(const std::string& app, std::uint64_t attempt) {
    auto& reply = post_reserve(app, attempt);
    REQUIRE(reply.done());
    return reply.body();
  }

  pending<invoke_reply>& post_invoke(const std::string& app, std::uint64_t attempt, const std::string& body = "in",
                                     std::uint64_t deadline_ms = 10000) {
    invoke request;
    request->set_app(app);
    request->set_attempt(attempt);
    request->set_deadline_ms(deadline_ms);
    request->set_body(body);
    return post<invoke_reply>(request);
  }

  /// Reserves and invokes in one go.
  pending<invoke_reply>& work_on(const std::string& app, std::uint64_t attempt, const std::string& body = "in",
                                 std::uint64_t deadline_ms = 10000) {
    REQUIRE(reserve_now(app, attempt).outcome() == pb::RESERVE_GRANTED);
    return post_invoke(app, attempt, body, deadline_ms);
  }

  void send_cancel(std::uint64_t attempt) {
    cancel request;
    request->set_attempt(attempt);
    caf::anon_send(node, request);
    run();
  }

  /// Ends the process that was launched last, or the one given.
  void end_process(process_exited event, std::size_t which = 0) {
    auto& launched = world.processes.launched;
    REQUIRE_FALSE(launched.empty());
    event.key = which == 0 ? launched.back().key : launched[which - 1].key;
    world.processes.exit(std::move(event));
    advance(30ms);
  }

  static process_exited exit_with(std::int32_t code, const std::string& output = "") {
    process_exited event;
    event.end = process_end::exited;
    event.code = code;
    event.output = output;
    if (code != 0) {
      event.reason = "exited with code " + std::to_string(code);
      event.log_tail = "first line\nno such file\n";
    }
    return event;
  }

  fake_platform& world;
  app_registry registry;
  node_options options;
  std::map<std::string, fake_resource> resources;
  std::vector<std::string> order;
  node_actor node;
  caf::actor driver;

private:
  template <class Reply>
  std::deque<pending<Reply>>& replies() {
    if constexpr (std::is_same_v<Reply, reserve_reply>)
      return reserves_;
    else
      return invokes_;
  }

  std::deque<pending<reserve_reply>> reserves_;
  std::deque<pending<invoke_reply>> invokes_;
};

} // namespace astra::test
