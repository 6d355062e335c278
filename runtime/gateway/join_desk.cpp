#include "runtime/gateway/join_desk.hpp"

#include "messages/errc.hpp"
#include "messages/type_ids.hpp"
#include "runtime/gateway/json.hpp"
#include "runtime/security/ca.hpp"
#include "runtime/security/x509.hpp"

#include <caf/error.hpp>
#include <nlohmann/json.hpp>
#include <spdlog/spdlog.h>

#include <algorithm>

namespace astra {
namespace {

http_response reply(std::uint16_t status, std::string body) {
  http_response result;
  result.status = status;
  result.body = std::move(body);
  return result;
}

http_response refusal(const caf::error& reason) {
  if (reason == errc::invalid_argument)
    return reply(400, error_json("invalid_argument", error_text(reason)));
  if (reason == errc::conflict)
    return reply(409, error_json("conflict", error_text(reason)));
  // Paths and the like are for the operator, not for whoever asks.
  spdlog::error("gateway.authority_failed reason=\"{}\"", error_text(reason));
  return reply(500, error_json("internal", "the authority cannot issue certificates now; the gateway's log says why"));
}

std::string text_at(const nlohmann::json& body, const char* key) {
  auto field = body.is_object() ? body.find(key) : body.end();
  return body.is_object() && field != body.end() && field->is_string() ? field->get<std::string>() : std::string{};
}

http_response issued(const certificate_authority& authority, const key_and_certificate& made) {
  spdlog::info("gateway.certificate_issued name={} roles={} origin={} serial={} expires=\"{}\"",
               made.entry.identity.name, to_string(made.entry.identity.roles), made.entry.origin, made.entry.serial,
               x509::show_time(made.entry.expires_at));
  return reply(200, nlohmann::json{{"certificate", made.certificate_pem},
                                   {"ca", authority.certificate_pem()},
                                   {"expires", made.entry.expires_at}}
                        .dump());
}

} // namespace

http_response join_desk::join(const http_request& request, std::int64_t now) const {
  auto body = nlohmann::json::parse(*request.body, nullptr, false);
  auto token_text = text_at(body, "token");
  auto csr = text_at(body, "csr");
  if (token_text.empty() || csr.empty())
    return reply(400, error_json("invalid_argument", "the body must be JSON with \"token\" and \"csr\""));
  auto authority = certificate_authority::open(directory_);
  if (!authority)
    return refusal(authority.error());
  // Before the token is spent: a request that is malformed should not cost the token.
  if (auto problem = request_problem(csr); !problem.empty())
    return reply(400, error_json("invalid_argument", problem));
  auto token = authority->spend_token(token_text, now);
  if (!token)
    return refusal(token.error());
  certificate_wish wish;
  wish.name = token->name;
  wish.roles = token->roles;
  wish.apps = token->apps;
  wish.nodes = token->nodes;
  wish.lifetime = default_lifetime(token->roles);
  auto made = authority->sign(csr, wish, now, "join");
  return made ? issued(*authority, *made) : refusal(made.error());
}

http_response join_desk::renew(const http_request& request, const http_client_info& client, std::int64_t now) const {
  if (client.door != http_door::tls || !client.identity)
    return reply(401, error_json("no_certificate", "only the holder of a certificate can renew it; show it with --cert "
                                                   "and --key, or join anew with a token"));
  auto csr = text_at(nlohmann::json::parse(*request.body, nullptr, false), "csr");
  if (csr.empty())
    return reply(400, error_json("invalid_argument", "the body must be JSON with \"csr\""));
  auto authority = certificate_authority::open(directory_);
  if (!authority)
    return refusal(authority.error());
  auto all = authority->list();
  if (!all)
    return refusal(all.error());
  auto old = std::find_if(all->begin(), all->end(), [&](auto& one) { return one.fingerprint == client.fingerprint; });
  // The list that TLS goes by may be an older copy.
  if (old == all->end() || old->revoked_at)
    return reply(403, error_json("forbidden", old == all->end()
                                                  ? "this authority has not issued the certificate; join with a token"
                                                  : "the certificate is revoked; join with a token"));
  certificate_wish wish;
  wish.name = old->identity.name;
  wish.roles = old->identity.roles;
  wish.apps = old->identity.apps;
  wish.nodes = old->identity.nodes;
  wish.hosts = old->hosts;
  wish.lifetime = std::chrono::seconds{old->expires_at - old->issued_at};
  auto made = authority->sign(csr, wish, now, "renew");
  return made ? issued(*authority, *made) : refusal(made.error());
}

} // namespace astra
