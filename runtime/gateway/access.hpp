#pragma once

#include "runtime/gateway/routes.hpp"
#include "runtime/http/client_info.hpp"

#include <optional>
#include <string>
#include <string_view>

// Who may ask the gateway for what.
//
//   through                      health, join   reads   apps' requests   changes
//   plain TCP                    yes            yes     yes              yes        on loopback, when there is no [tls]
//   Unix socket                  yes            yes     yes              yes        its file's mode says who may
//   connect TLS, no certificate          yes            no      if configured    no TLS, operator                yes
//   yes     yes              yes TLS, viewer                  yes            yes     yes              no TLS, gateway
//   yes            no      yes              no TLS, node, resource, ...     yes            no      if configured    no

namespace astra {

/// What a route needs.
enum class access_right { nothing, read, invoke, change };
access_right needed_for(gateway_route route);

struct access_refusal {
  /// 401: a certificate would help; 403: another one would.
  std::uint16_t status = 403;
  std::string code;
  /// Names the role that is missing, and the cure.
  std::string message;
};

/// Nothing: the client may.
std::optional<access_refusal> refuse_access(const http_client_info& client, access_right right, bool anonymous_invoke);

/// The client in an audit line: a certificate's name, "uid=1000 pid=4711" or "anyone".
std::string name_of(const http_client_info& client);

/// The verb of a route in an audit line: "apply", "delete", "drain", "publish_model", "join"; empty for routes that
/// change nothing.
std::string_view audit_verb(gateway_route route);

/// Header with which a client says why it changes something; put into the audit line.
constexpr std::string_view reason_header = "astra-reason";

/// An exchange that leaves one audit line with its answer, whatever that is.
http_exchange_ptr audited(http_exchange_ptr exchange, const http_client_info& client, std::string_view verb,
                          std::string_view object);

} // namespace astra
