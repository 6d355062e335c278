#include "runtime/gateway/gateway.hpp"

#include "actors/rendezvous.hpp"
#include "actors/router/router.hpp"
#include "runtime/gateway/access.hpp"
#include "runtime/gateway/join_desk.hpp"
#include "runtime/gateway/json.hpp"
#include "runtime/gateway/routes.hpp"
#include "runtime/http/server.hpp"
#include "runtime/metrics/metrics_server.hpp"

#include <caf/scoped_actor.hpp>
#include <caf/send.hpp>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

namespace astra {
namespace {

using namespace std::chrono_literals;

/// Largest body of everything but requests to apps: the spec of an app, a request for a certificate.
constexpr std::uint64_t command_bytes_max = 1024 * 1024;
/// The same for who may not do what it asks for, which is said in the answer.
constexpr std::uint64_t stranger_bytes_max = 64 * 1024;

/// For the answers of the last moment to leave, and for the actors to end.
constexpr auto flush_time = 500ms;

/// A body is taken in before the gateway looks at its request: who may not ask for anything must not fill its memory.
http_body_rule rule_for(std::string_view method, std::string_view target, const http_client_info& client,
                        const gateway_options& options) {
  auto route = find_route(method, target).what;
  if (auto refused = refuse_access(client, needed_for(route), options.anonymous_invoke)) {
    http_response response;
    response.status = refused->status;
    response.body = error_json(refused->code, refused->message);
    return {stranger_bytes_max, std::move(response)};
  }
  if (route == gateway_route::invoke || route == gateway_route::submit_task)
    return {options.body_limit_bytes, std::nullopt};
  auto known = client.door != http_door::tls || client.identity;
  return {known ? command_bytes_max : stranger_bytes_max, std::nullopt};
}

http_server_options server_options(const gateway_options& options, gateway_doors doors) {
  http_server_options result;
  result.listen = options.listen;
  result.body_limit_bytes = options.body_limit_bytes;
  result.body_rule = [options](std::string_view method, std::string_view target, const http_client_info& client) {
    return rule_for(method, target, client, options);
  };
  result.header_limit_bytes = options.header_limit_bytes;
  result.connections_max = options.connections_max;
  result.idle_timeout = options.idle_timeout;
  result.tls = std::move(doors.tls);
  result.unix_path = std::move(doors.unix_path);
  return result;
}

} // namespace

caf::expected<gateway> gateway::start(caf::actor_system& sys, const gateway_options& options, gateway_actor actor,
                                      gateway_doors doors) {
  auto https = doors.tls != nullptr;
  auto unix_path = doors.unix_path;
  auto server =
      http_server::start(server_options(options, std::move(doors)), [actor, &sys](http_exchange_ptr exchange) {
        auto& request = exchange->request();
        if (find_route(request.method, request.target).what == gateway_route::metrics)
          answer_metrics(exchange, sys);
        else
          caf::anon_send(actor, std::move(exchange));
      });
  if (!server) {
    caf::anon_send_exit(actor, caf::exit_reason::user_shutdown);
    return std::move(server.error());
  }
  spdlog::info("gateway.listen address={} https={} unix={}", (*server)->address(), https,
               unix_path.empty() ? "-" : unix_path);
  return gateway{sys, std::move(*server), std::move(actor)};
}

gateway::gateway(caf::actor_system& sys, std::unique_ptr<http_server> server, gateway_actor actor)
  : sys_(&sys), server_(std::move(server)), actor_(std::move(actor)) {}

gateway::gateway(gateway&&) noexcept = default;

gateway& gateway::operator=(gateway&& other) noexcept {
  if (this != &other) {
    stop(0ms);
    sys_ = other.sys_;
    server_ = std::move(other.server_);
    actor_ = std::move(other.actor_);
  }
  return *this;
}

gateway::~gateway() {
  stop(0ms);
}

std::uint16_t gateway::port() const {
  return server_->port();
}

std::string gateway::address() const {
  return server_->address();
}

const gateway_actor& gateway::actor() const {
  return actor_;
}

void gateway::drain() {
  caf::anon_send(actor_, stop_atom_v);
}

void gateway::stop(std::chrono::milliseconds limit) {
  if (!server_)
    return;
  drain();
  server_->close();
  auto complete = server_->wait(limit);
  if (!complete)
    spdlog::warn("gateway.stop_incomplete waited_ms={} reason=\"requests were still under way\"", limit.count());
  // The actor answers what is left, and those answers still leave.
  caf::scoped_actor self{*sys_};
  self->monitor(actor_);
  self->send_exit(actor_, caf::exit_reason::user_shutdown);
  self->receive([](const caf::down_msg&) {}, caf::after(flush_time) >> [] {});
  if (!complete)
    server_->wait(flush_time);
  server_->stop();
  server_.reset();
  actor_ = nullptr;
}

gateway_actor spawn_gateway(caf::actor_system& sys, platform& world, const router_options& routers, view_source view,
                            std::string process_name, const gateway_options& options, bool narrow_view,
                            gateway_tasks tasks) {
  gateway_setup setup;
  setup.name = std::move(process_name);
  setup.version = ASTRA_VERSION;
  setup.view = view;
  setup.groups.push_back(rendezvous_order(setup.name, routers.resources));
  for (auto& group : routers.groups)
    setup.groups.push_back(rendezvous_order(setup.name, group.resources));
  for (auto& group : setup.groups)
    setup.resources.insert(setup.resources.end(), group.begin(), group.end());
  setup.anonymous_invoke = options.anonymous_invoke;
  setup.apps = options.apps;
  std::sort(setup.apps.begin(), setup.apps.end());
  setup.narrow_view = narrow_view;
  if (!options.ca_dir.empty())
    setup.desk = std::make_shared<const join_desk>(options.ca_dir);
  if (tasks.keeper)
    setup.start_tasks = [&sys, &world, gateway = setup.name, keeper = tasks.keeper, options] {
      task_desk_setup desk;
      desk.gateway = gateway;
      desk.keeper = keeper;
      desk.limits.unfinished_per_app_max = options.task_limit;
      desk.limits.store_bytes_max = options.task_bytes;
      desk.limits.keep = options.task_keep;
      return spawn_task_desk(sys, world, std::move(desk));
    };
  else if (!tasks.problem.empty())
    setup.no_tasks = "this gateway takes no tasks: " + tasks.problem;
  setup.start_router = [&sys, &world, routers, view](const std::string& app) {
    return spawn_router(sys, world, routers, app, view);
  };
  return spawn_gateway_actor(sys, world, std::move(setup));
}

} // namespace astra
