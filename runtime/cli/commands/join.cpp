#include "messages/errc.hpp"
#include "messages/type_ids.hpp"
#include "runtime/cli/commands/commands.hpp"
#include "runtime/cli/human.hpp"
#include "runtime/cli/table.hpp"
#include "runtime/net/tls.hpp"
#include "runtime/security/ca.hpp"
#include "runtime/security/x509.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <ctime>
#include <filesystem>
#include <istream>

namespace astra {
namespace {

/// POSTs to the gateway through a door of its own; what it hands out.
caf::expected<json> ask_desk(command_context& context, const fetch_door& door, std::string target, const json& body) {
  http_call call;
  call.method = "POST";
  call.target = std::move(target);
  call.body = std::make_shared<const std::string>(body.dump());
  call.content_type = "application/json";
  auto answer = context.call(std::move(call), &door);
  if (!answer)
    return std::move(answer.error());
  if (answer->status != 200)
    return to_error(*answer, gateway_address(context.options));
  auto parsed = json::parse(answer->body, nullptr, false);
  if (text_in(parsed, "certificate").empty() || text_in(parsed, "ca").empty())
    return caf::make_error(errc::io_failed, fmt::format("{} answered without a certificate; is it an Astra gateway?",
                                                        gateway_address(context.options)));
  return parsed;
}

int tell(command_context& context, const std::string& certificate_file) {
  auto facts = read_facts(certificate_file);
  if (!facts)
    return context.fail(facts.error());
  if (context.options.format == output_format::json)
    context.out() << pretty(json{{"identity", facts->identity},
                                 {"serial", facts->serial},
                                 {"expires", x509::show_time(facts->expires_at)},
                                 {"certificate", certificate_file}});
  else
    context.out() << fmt::format("{}, good until {}\n  {}\n", facts->identity, x509::show_time(facts->expires_at),
                                 certificate_file);
  return exit_ok;
}

int renew(command_context& context) {
  auto& options = context.options;
  if (options.certificate.empty() || options.key.empty() || options.ca.empty())
    return context.fail(exit_usage, "'astra join --renew' needs --cert, --key and --ca of the certificate to renew");
  auto facts = read_facts(options.certificate);
  if (!facts)
    return context.fail(facts.error());
  auto door = context.door();
  if (!door)
    return context.fail(door.error());
  auto made = make_request(facts->subject);
  auto answer = ask_desk(context, *door, "/v1/renew", json{{"csr", made.request_pem}});
  if (!answer)
    return context.fail(answer.error());
  // A process that reloads between the two keeps what it has, as they do not fit together.
  for (auto [path, content, secret] : {std::tuple{options.key, made.key_pem, true},
                                       std::tuple{options.certificate, text_in(*answer, "certificate"), false}})
    if (auto written = write_file_atomically(path, content, secret); !written)
      return context.fail(written.error());
  return tell(context, options.certificate);
}

} // namespace

const command_text join_text = {
    "Get this machine its certificate, with a token, or renew it",
    "The key is made here and never leaves the machine.  The gateway is known by the authority that the token names, "
    "so that nothing else has to be there before.  Writes NAME.key, NAME.pem and ca.pem.  With --renew the files of "
    "--cert and --key are replaced while the certificate is still good; send the process SIGHUP after that.",
    "astra join --gateway https://g1.example:9750 --token - --out /etc/astra/tls < token\n"
    "astra join --renew --gateway https://g1.example:9750 --cert n17.pem --key n17.key --ca ca.pem",
};

int join_cluster(command_context& context, const join_options& options) {
  if (!context.options.https)
    return context.fail(exit_usage, "'astra join' needs a gateway with TLS: --gateway https://HOST:PORT");
  if (options.renew)
    return renew(context);
  if (options.token.empty() || options.out.empty())
    return context.fail(exit_usage, "'astra join' needs --token TOKEN and --out DIR, or --renew");
  auto text = options.token;
  if (text == "-")
    *context.environment.in >> text;
  auto token = read_join_token(text);
  if (!token)
    return context.fail(token.error());
  auto path = [&](const std::string& suffix) { return std::filesystem::path{options.out} / (token->name + suffix); };
  // Before the token is spent.
  for (auto file : {path(".key"), path(".pem")})
    if (!options.replace && std::filesystem::exists(file))
      return context.fail(exit_conflict,
                          fmt::format("{}: exists; say --replace to put the new one in its place", file.string()));
  auto made = make_request(token->name);
  fetch_door door;
  door.tls = tls_context::pin(token->authority);
  auto answer = ask_desk(context, door, "/v1/join", json{{"token", text}, {"csr", made.request_pem}});
  if (!answer)
    return context.fail(answer.error());
  auto ca = text_in(*answer, "ca");
  if (fingerprint_of_pem(ca) != token->authority)
    return context.fail(exit_failed, "the gateway handed out another authority than the token names; nothing was "
                                     "written");
  if (auto written = write_credentials(options.out, token->name, made.key_pem, text_in(*answer, "certificate"), ca,
                                       options.replace);
      !written)
    return context.fail(written.error());
  return tell(context, path(".pem").string());
}

} // namespace astra
