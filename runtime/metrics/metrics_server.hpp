#pragma once

#include "config/options.hpp"
#include "messages/http_exchange.hpp"
#include "runtime/http/server.hpp"

#include <caf/actor_system.hpp>
#include <caf/expected.hpp>

#include <memory>
#include <string>

namespace astra {

class tls_context;

/// Every metric of this process: those of the registry, those of the operating system, and astra_build_info.
std::string metrics_page(const caf::actor_system& sys);

/// Answers a request for the metrics, to whoever may read (runtime/gateway/access.hpp).
void answer_metrics(const http_exchange_ptr& exchange, const caf::actor_system& sys);

/// Serves /metrics, and nothing else, at `options.listen`.  Fails with io_failed when it cannot listen.
/// @param tls set: HTTPS
/// @pre `sys` outlives the server; `options.listen` is not empty.
caf::expected<std::unique_ptr<http_server>>
start_metrics_server(const caf::actor_system& sys, const metrics_options& options, std::shared_ptr<tls_context> tls);

} // namespace astra
