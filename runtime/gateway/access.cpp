#include "runtime/gateway/access.hpp"

#include "messages/text.hpp"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <atomic>
#include <cstddef>
#include <utility>

namespace astra {
namespace {

/// Text from a client as one word of a log line.
std::string word(std::string_view text) {
  constexpr std::size_t longest = 128;
  std::string out;
  for (auto c : text.substr(0, longest))
    out += c > ' ' && c < '\x7f' && c != '"' ? c : '?';
  return text.size() > longest ? out + "..." : out.empty() ? "-" : out;
}

/// Text from a client between the quotes of a log line: valid UTF-8, and nothing that ends the line or the quotes or
/// that a terminal obeys.
std::string phrase(std::string_view text) {
  constexpr std::size_t longest = 200;
  std::string out;
  for (auto c : to_utf8(std::string{text.substr(0, longest)})) {
    // U+0080 to U+009F are control characters, too.
    auto second_of_control = !out.empty() && out.back() == '\xc2' && static_cast<unsigned char>(c) < 0xa0;
    if (second_of_control)
      out.back() = '?';
    else if (c == '"')
      out += '\'';
    else
      out += (c >= 0 && c < ' ') || c == '\x7f' ? '?' : c;
  }
  return text.size() > longest ? out + "..." : out;
}

class audited_exchange final : public http_exchange {
public:
  audited_exchange(http_exchange_ptr inner, std::string line) : inner_(std::move(inner)), line_(std::move(line)) {}

  ~audited_exchange() override {
    if (!told_.exchange(true))
      spdlog::warn("{} result=dropped status=500", line_);
  }

  const http_request& request() const override { return inner_->request(); }

  http_stream_ptr begin(http_response head) override {
    tell(head.status);
    return inner_->begin(std::move(head));
  }

  bool answer(http_response response) override {
    tell(response.status);
    return inner_->answer(std::move(response));
  }

  void on_gone(std::function<void()> what) override { inner_->on_gone(std::move(what)); }

private:
  void tell(std::uint16_t status) {
    if (!told_.exchange(true)) {
      auto result = status < 300 ? "ok" : status == 401 || status == 403 ? "refused" : "failed";
      spdlog::log(status < 300 ? spdlog::level::info : spdlog::level::warn, "{} result={} status={}", line_, result,
                  status);
    }
  }

  const http_exchange_ptr inner_;
  const std::string line_;
  std::atomic<bool> told_ = false;
};

} // namespace

access_right needed_for(gateway_route route) {
  switch (route) {
  case gateway_route::livez:
  case gateway_route::readyz:
  // They say themselves whom they let in: by token, and by certificate.
  case gateway_route::join:
  case gateway_route::renew:
  // What is not there may be said to anybody.
  case gateway_route::unknown:
  case gateway_route::wrong_method:
    return access_right::nothing;
  case gateway_route::metrics:
  case gateway_route::status:
  case gateway_route::nodes:
  case gateway_route::node:
  case gateway_route::events:
  case gateway_route::quotas:
  case gateway_route::apps:
  case gateway_route::app:
  case gateway_route::app_history:
  case gateway_route::app_claims:
  // Tells what would change, and changes nothing.
  case gateway_route::plan_app:
  case gateway_route::router:
  case gateway_route::router_picks:
  case gateway_route::models:
  case gateway_route::model:
  case gateway_route::model_jobs:
  case gateway_route::model_job:
  case gateway_route::model_nodes:
  case gateway_route::model_limit:
  // Names every task, and who has a name has the task.
  case gateway_route::tasks:
    return access_right::read;
  case gateway_route::invoke:
  // Whoever sent a task in knows its name, which nobody can guess.
  case gateway_route::submit_task:
  case gateway_route::task:
  case gateway_route::task_result:
  case gateway_route::task_events:
  case gateway_route::cancel_task:
    return access_right::invoke;
  case gateway_route::drain_node:
  case gateway_route::apply_app:
  case gateway_route::delete_app:
  case gateway_route::rollback_app:
  case gateway_route::publish_model:
  case gateway_route::fetch_model:
  case gateway_route::verify_model:
  case gateway_route::pin_model:
  case gateway_route::delete_model:
  case gateway_route::limit_models:
    return access_right::change;
  }
  return access_right::change;
}

std::optional<access_refusal> refuse_access(const http_client_info& client, access_right right, bool anonymous_invoke) {
  if (right == access_right::nothing || client.door == http_door::plain || client.door == http_door::unix_socket)
    return std::nullopt;
  auto roles = client.door == http_door::tls && client.identity ? client.identity->roles : peer_roles{};
  peer_roles good;
  std::string_view what;
  switch (right) {
  case access_right::nothing:
    break;
  case access_right::read:
    good = {peer_role::operator_, peer_role::viewer};
    what = "reading";
    break;
  case access_right::invoke:
    if (anonymous_invoke && client.door == http_door::tls)
      return std::nullopt;
    good = {peer_role::operator_, peer_role::viewer, peer_role::gateway};
    what = "sending requests to apps";
    break;
  case access_right::change:
    good = {peer_role::operator_};
    what = "changing anything";
    break;
  }
  if (roles.has_any(good))
    return std::nullopt;
  auto needed = right == access_right::change ? "the role operator"
                : right == access_right::read ? "the role operator or viewer"
                                              : "the role operator, viewer or gateway";
  if (!client.identity)
    return access_refusal{401, "no_certificate",
                          fmt::format("{} needs a certificate with {}, and none was shown; name one with --cert and "
                                      "--key (it is made with astra ca issue)",
                                      what, needed)};
  return access_refusal{403, "forbidden",
                        fmt::format("{} needs a certificate with {}, and '{}' has only {}; have one issued with astra "
                                    "ca issue --role {}",
                                    what, needed, client.identity->name, to_string(roles),
                                    right == access_right::change ? "operator" : "viewer")};
}

std::string name_of(const http_client_info& client) {
  if (client.identity)
    return client.identity->name;
  return client.door == http_door::unix_socket ? client.from.substr(0, client.from.find(' ')) : "anyone";
}

std::string_view audit_verb(gateway_route route) {
  switch (route) {
  case gateway_route::drain_node:
    return "drain";
  case gateway_route::apply_app:
    return "apply";
  case gateway_route::delete_app:
    return "delete";
  case gateway_route::rollback_app:
    return "rollback";
  case gateway_route::publish_model:
    return "publish_model";
  case gateway_route::fetch_model:
    return "fetch_model";
  case gateway_route::verify_model:
    return "verify_model";
  case gateway_route::pin_model:
    return "pin_model";
  case gateway_route::delete_model:
    return "delete_model";
  case gateway_route::limit_models:
    return "limit_models";
  case gateway_route::join:
    return "join";
  case gateway_route::renew:
    return "renew";
  default:
    return {};
  }
}

http_exchange_ptr audited(http_exchange_ptr exchange, const http_client_info& client, std::string_view verb,
                          std::string_view object) {
  auto roles = client.identity ? fmt::format(" roles={}", to_string(client.identity->roles)) : "";
  auto line = fmt::format("audit.mutation who={}{} from=\"{}\" what={} object={}", name_of(client), roles, client.from,
                          verb, word(object));
  if (auto reason = exchange->request().header(reason_header); !reason.empty())
    line += fmt::format(" reason=\"{}\"", phrase(reason));
  return std::make_shared<audited_exchange>(std::move(exchange), std::move(line));
}

} // namespace astra
