#pragma once

#include "runtime/gateway/gateway.hpp"
#include "runtime/gateway/gateway_actor.hpp"
#include "test/support/fake_platform.hpp"
#include "test/support/tcp_peer.hpp"

#include <caf/actor_system.hpp>
#include <caf/actor_system_config.hpp>
#include <caf/send.hpp>
#include <caf/typed_event_based_actor.hpp>
#include <caf/typed_response_promise.hpp>
#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>

namespace astra::test {

using namespace std::chrono_literals;

/// Answers bodies with themselves; "hold" is kept until it is cancelled.
struct router_state {
  static constexpr const char* name = "test.router";

  router_state(router_actor::pointer self, std::atomic<int>& held, std::atomic<int>& cancelled)
    : self(self), held(held), cancelled(cancelled) {}

  router_actor::behavior_type make_behavior() {
    return {
        [](const view_delta&) {},
        [this](const route_request& request) -> caf::result<route_result> {
          if (*request.body == "hold") {
            auto promise = self->make_response_promise<route_result>();
            pending.emplace(request.request_id, promise);
            ++held;
            return promise;
          }
          route_result result;
          result.outcome = route_outcome::ok;
          result.body = *request.body;
          return result;
        },
        [this](const route_cancel& what) {
          ++cancelled;
          route_result result;
          result.outcome = route_outcome::cancelled;
          auto entry = pending.extract(what.request_id);
          if (!entry.empty())
            entry.mapped().deliver(result);
        },
        [](report_atom) { return router_table{}; },
        [](report_atom, std::uint32_t) { return router_picks{}; },
    };
  }

  router_actor::pointer self;
  std::atomic<int>& held;
  std::atomic<int>& cancelled;
  std::map<std::string, caf::typed_response_promise<route_result>> pending;
};

/// A gateway on real sockets and threads, with one app "echo" in its view.
struct live_gateway {
  explicit live_gateway(gateway_options options = {}, gateway_doors doors = {},
                        std::shared_ptr<const join_desk> desk = {}) {
    options.listen = "127.0.0.1:0";
    view = sys.spawn([](view_source::pointer) -> view_source::behavior_type {
      return {[](const subscribe&) { return subscribe_ack{}; }};
    });
    gateway_setup setup;
    setup.name = "gw";
    setup.view = view;
    setup.anonymous_invoke = options.anonymous_invoke;
    setup.desk = std::move(desk);
    setup.start_router = [this](const std::string&) -> router_actor {
      return sys.spawn<router_actor::stateful_impl<router_state>>(std::ref(held), std::ref(cancelled));
    };
    auto actor = spawn_gateway_actor(sys, *world, std::move(setup));
    pb::ViewDelta delta;
    delta.set_origin(1);
    delta.set_epoch(1);
    delta.set_version(1);
    auto& app = *delta.add_apps();
    app.mutable_spec()->set_name("echo");
    app.mutable_spec()->set_request_timeout_ms(60000);
    caf::anon_send(actor, view_delta{delta});
    auto started = gateway::start(sys, options, std::move(actor), std::move(doors));
    REQUIRE(started);
    front.emplace(std::move(*started));
  }

  ~live_gateway() {
    front.reset();
    caf::anon_send_exit(view, caf::exit_reason::kill);
    world.reset();
  }

  tcp_peer connect() { return tcp_peer::connect(front->port()); }

  static std::string invoke(const std::string& body) {
    return "POST /v1/apps/echo/invoke HTTP/1.1\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
  }

  /// Sends a request that stays with the router.
  tcp_peer hold() {
    auto client = connect();
    auto before = held.load();
    client.send(invoke("hold"));
    for (auto i = 0; i < 500 && held == before; ++i)
      std::this_thread::sleep_for(10ms);
    REQUIRE(held == before + 1);
    return client;
  }

  caf::actor_system_config config;
  caf::actor_system sys{config};
  fake_network network;
  std::unique_ptr<fake_platform> world = std::make_unique<fake_platform>(sys, network, "127.0.0.1:1");
  view_source view;
  std::atomic<int> held = 0;
  std::atomic<int> cancelled = 0;
  std::optional<gateway> front;
};

} // namespace astra::test
