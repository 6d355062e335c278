#include "runtime/metrics/metrics_server.hpp"

#include "runtime/gateway/access.hpp"
#include "runtime/gateway/json.hpp"
#include "runtime/gateway/routes.hpp"
#include "runtime/http/client_info.hpp"
#include "runtime/metrics/metrics_text.hpp"
#include "runtime/metrics/process_metrics.hpp"

#include <spdlog/spdlog.h>

#include <utility>

namespace astra {
namespace {

/// Scrapers are few, and each has one connection.
constexpr std::uint32_t scrapers_max = 64;
/// Nobody sends a body here.
constexpr std::uint64_t body_limit_bytes = 16 * 1024;

http_response refusal(std::uint16_t status, std::string_view code, std::string_view message) {
  http_response result;
  result.status = status;
  result.body = error_json(code, message);
  return result;
}

bool is_metrics_path(std::string_view target) {
  return find_route("GET", target).what == gateway_route::metrics;
}

} // namespace

std::string metrics_page(const caf::actor_system& sys) {
  metrics_text text;
  text.describe("astra_build_info", "", metric_kind::gauge, "Always 1; the version of this process is a label.");
  text.add({{"version", ASTRA_VERSION}}, std::int64_t{1});
  add_process_metrics(text);
  text.add_all(sys.metrics());
  return text.str();
}

void answer_metrics(const http_exchange_ptr& exchange, const caf::actor_system& sys) {
  if (auto refused = refuse_access(client_info_of(exchange->request()), needed_for(gateway_route::metrics), false)) {
    exchange->answer(refusal(refused->status, refused->code, refused->message));
    return;
  }
  http_response page;
  page.content_type = "text/plain; version=0.0.4; charset=utf-8";
  page.body = metrics_page(sys);
  exchange->answer(std::move(page));
}

caf::expected<std::unique_ptr<http_server>>
start_metrics_server(const caf::actor_system& sys, const metrics_options& options, std::shared_ptr<tls_context> tls) {
  http_server_options how;
  how.listen = options.listen;
  how.body_limit_bytes = body_limit_bytes;
  how.connections_max = scrapers_max;
  how.tls = std::move(tls);
  auto https = how.tls != nullptr;
  auto server = http_server::start(how, [&sys](const http_exchange_ptr& exchange) {
    auto& request = exchange->request();
    auto route = find_route(request.method, request.target);
    if (route.what == gateway_route::metrics) {
      answer_metrics(exchange, sys);
    } else if (route.what == gateway_route::wrong_method && is_metrics_path(request.target)) {
      auto response = refusal(405, "wrong_method", "this path takes " + route.allow);
      response.headers.emplace_back("Allow", route.allow);
      exchange->answer(std::move(response));
    } else {
      exchange->answer(refusal(404, "unknown_route", "this listener serves /metrics and nothing else"));
    }
  });
  if (server)
    spdlog::info("metrics.listen address={} https={}", (*server)->address(), https);
  return server;
}

} // namespace astra
