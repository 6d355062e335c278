#include "runtime/security/ca.hpp"
#include "messages/errc.hpp"
#include "messages/type_ids.hpp"
#include "runtime/cli/commands/commands.hpp"
#include "runtime/cli/human.hpp"
#include "runtime/cli/table.hpp"
#include "runtime/security/x509.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <sys/stat.h>

#include <ctime>
#include <filesystem>

namespace astra {
namespace {

std::int64_t now_s() {
  return static_cast<std::int64_t>(std::time(nullptr));
}

std::chrono::seconds to_seconds(std::chrono::milliseconds duration) {
  return std::chrono::duration_cast<std::chrono::seconds>(duration);
}

certificate_wish to_wish(const ca_options& options) {
  certificate_wish wish;
  wish.name = options.name;
  wish.roles = options.roles;
  wish.apps = options.apps;
  wish.nodes = options.nodes;
  wish.hosts = options.hosts;
  wish.lifetime = options.ttl ? to_seconds(*options.ttl) : default_lifetime(options.roles);
  return wish;
}

std::string_view state_of(const issued_certificate& entry, std::int64_t now) {
  if (entry.revoked_at)
    return "revoked";
  return entry.expires_at <= now ? "expired" : "valid";
}

json to_json(const issued_certificate& entry, std::int64_t now) {
  json result{{"serial", entry.serial},
              {"name", entry.identity.name},
              {"roles", to_string(entry.identity.roles)},
              {"identity", to_uri(entry.identity)},
              {"fingerprint", entry.fingerprint},
              {"issued", x509::show_time(entry.issued_at)},
              {"expires", x509::show_time(entry.expires_at)},
              {"left_s", state_of(entry, now) == "valid" ? std::max<std::int64_t>(0, entry.expires_at - now) : 0},
              {"state", state_of(entry, now)},
              {"origin", entry.origin}};
  if (entry.revoked_at)
    result["revoked"] = x509::show_time(*entry.revoked_at);
  return result;
}

} // namespace

const command_text ca_text = {"Keep the cluster's certificate authority", "", ""};

const command_text ca_init_text = {
    "Make the authority of a cluster",
    "Makes a key (ca.key, readable by you alone), its certificate (ca.pem, good for ten years) and an empty list of "
    "revoked certificates (revoked.pem).  Whoever has the key can be anybody in the cluster: keep the directory on a "
    "machine that runs nothing else, and a copy off-line.  An authority that exists is never overwritten.",
    "astra ca init --dir ca --cluster prod",
};

const command_text ca_issue_text = {
    "Issue a certificate with a new key",
    "Writes NAME.key (readable by you alone), NAME.pem and ca.pem for [tls] of a process, or for --cert, --key and "
    "--ca "
    "of a person's commands.  A certificate is good for a day for processes and for 90 days for operators and viewers, "
    "unless --ttl says otherwise.",
    "astra ca issue --dir ca --role node --name n17 --out n17-tls\n"
    "astra ca issue --dir ca --role scheduler --name s1 --app 'ocr*' --out s1-tls\n"
    "astra ca issue --dir ca --role aggregator --name rack1 --nodes 'rack1-*' --out rack1-tls\n"
    "astra ca issue --dir ca --role gateway --name g1 --host g1.example --out g1-tls --ttl 30d\n"
    "astra ca issue --dir ca --role operator --name alice --out ~/.astra",
};

const command_text ca_revoke_text = {
    "Take a certificate back",
    "Writes revoked.pem anew.  It takes effect where tls.revoked names a copy of it, once that process was told to "
    "reload (SIGHUP).",
    "astra ca revoke --dir ca --certificate n17-tls/n17.pem\nastra ca revoke --dir ca --serial 4f0c...",
};

const command_text ca_list_text = {
    "List the certificates that were issued",
    "With the state of each: valid, expired or revoked.  With -o json fingerprints and identities too.",
    "astra ca list --dir ca",
};

const command_text ca_show_text = {
    "Show what a certificate's file says",
    "",
    "astra ca show n17-tls/n17.pem",
};

const command_text ca_join_token_text = {
    "Make a token with which one machine gets one certificate",
    "The token goes to stdout and is a secret until it is used: whoever has it can join in its place.  It is good for "
    "one use and for as long as --ttl says.  The machine uses it with astra join.",
    "astra ca join-token --dir ca --role node --name n17\n"
    "astra ca join-token --dir ca --role node --name n17 --ttl 10m | ssh n17 'astra join --token - --gateway "
    "https://g1.example:9750 --out /etc/astra/tls'",
};

int init_ca(command_context& context, const ca_options& options) {
  auto made = certificate_authority::init(options.directory, options.cluster, now_s());
  if (!made)
    return context.fail(made.error());
  if (context.options.format == output_format::json)
    context.out() << pretty(json{{"cluster", made->cluster()},
                                 {"directory", options.directory},
                                 {"fingerprint", made->fingerprint()},
                                 {"expires", x509::show_time(made->expires_at())}});
  else
    context.out() << fmt::format("authority of cluster {} in {}, good until {}\n  fingerprint {}\n  keep {} secret\n",
                                 made->cluster(), options.directory, x509::show_time(made->expires_at()),
                                 made->fingerprint(), (std::filesystem::path{options.directory} / "ca.key").string());
  return exit_ok;
}

caf::expected<void> write_credentials(const std::string& directory, const std::string& name, const std::string& key_pem,
                                      const std::string& certificate_pem, const std::string& ca_pem, bool replace) {
  std::filesystem::path out{directory};
  std::error_code error;
  if (std::filesystem::create_directories(out, error))
    ::chmod(out.c_str(), 0700);
  if (error)
    return caf::make_error(errc::io_failed, fmt::format("{}: cannot be created: {}", directory, error.message()));
  for (auto file : {name + ".key", name + ".pem"})
    if (!replace && std::filesystem::exists(out / file))
      return caf::make_error(errc::conflict, fmt::format("{}: exists; say --replace to put the new one in its place",
                                                         (out / file).string()));
  if (auto there = read_input_file((out / "ca.pem").string()); there && *there != ca_pem && !replace)
    return caf::make_error(errc::conflict, fmt::format("{}: is another authority's; name another directory, or say "
                                                       "--replace",
                                                       (out / "ca.pem").string()));
  if (auto done = write_file_atomically(out / "ca.pem", ca_pem, false); !done)
    return std::move(done.error());
  if (auto done = write_file_atomically(out / (name + ".key"), key_pem, true); !done)
    return std::move(done.error());
  return write_file_atomically(out / (name + ".pem"), certificate_pem, false);
}

/// What to do with the files: lines of TOML for a process, variables for a person's commands.
std::string advice(const std::string& directory, const std::string& name, peer_roles roles) {
  auto path = [&](const std::string& file) { return (std::filesystem::path{directory} / file).string(); };
  if (!is_of_process(roles))
    return fmt::format("  export ASTRA_CERT={} ASTRA_KEY={} ASTRA_CA={}\n", path(name + ".pem"), path(name + ".key"),
                       path("ca.pem"));
  return fmt::format("  [tls]\n  certificate = \"{}\"\n  key = \"{}\"\n  ca = \"{}\"\n", path(name + ".pem"),
                     path(name + ".key"), path("ca.pem"));
}

int issue_certificate(command_context& context, const ca_options& options) {
  auto authority = certificate_authority::open(options.directory);
  if (!authority)
    return context.fail(authority.error());
  // Before anything is issued: what cannot be written must not stand in the index as valid.
  for (auto file : {options.name + ".key", options.name + ".pem"})
    if (auto path = std::filesystem::path{options.out} / file; !options.replace && std::filesystem::exists(path))
      return context.fail(exit_conflict,
                          fmt::format("{}: exists; say --replace to put the new one in its place", path.string()));
  auto made = authority->issue(to_wish(options), now_s(), "issue");
  if (!made)
    return context.fail(made.error());
  if (auto written = write_credentials(options.out, options.name, made->key_pem, made->certificate_pem,
                                       authority->certificate_pem(), options.replace);
      !written)
    return context.fail(written.error());
  auto& entry = made->entry;
  if (context.options.format == output_format::json)
    context.out() << pretty(to_json(entry, now_s()));
  else
    context.out() << fmt::format("certificate {} for {} ({}), good until {}\n{}", entry.serial, entry.identity.name,
                                 to_string(entry.identity.roles), x509::show_time(entry.expires_at),
                                 advice(options.out, options.name, entry.identity.roles));
  return exit_ok;
}

int revoke_certificate(command_context& context, const ca_options& options) {
  if (options.serial.empty() == options.certificate.empty())
    return context.fail(exit_usage, "'astra ca revoke' needs either --serial HEX or --certificate FILE");
  auto which = options.serial;
  if (!options.certificate.empty()) {
    auto facts = read_facts(options.certificate);
    if (!facts)
      return context.fail(facts.error());
    which = facts->serial;
  }
  auto authority = certificate_authority::open(options.directory);
  if (!authority)
    return context.fail(authority.error());
  auto done = authority->revoke(which, now_s());
  if (!done)
    return context.fail(done.error());
  auto list = (std::filesystem::path{options.directory} / "revoked.pem").string();
  if (context.options.format == output_format::json)
    context.out() << pretty(to_json(*done, now_s()));
  else
    context.out() << fmt::format("certificate {} of {} is revoked\n  copy {} to where tls.revoked of each process "
                                 "names it and send them SIGHUP\n",
                                 done->serial, done->identity.name, list);
  return exit_ok;
}

const listing& certificate_listing() {
  static const listing what{
      "certificates",
      "certificate",
      "name",
      {"serial", "name", "roles", "identity", "fingerprint", "issued", "expires", "left_s", "state", "origin",
       "revoked"},
      [](const json& answer, bool colour) {
        text_table table{{{"NAME"}, {"ROLES"}, {"STATE"}, {"EXPIRES"}, {"LEFT", align::right}, {"ORIGIN"}, {"SERIAL"}}};
        for (const auto& entry : list_in(answer, "certificates")) {
          auto state = text_in(entry, "state");
          auto left = std::chrono::seconds{static_cast<std::int64_t>(count_in(entry, "left_s"))};
          table.add({text_in(entry, "name"),
                     text_in(entry, "roles"),
                     {state, state == "valid" ? tone::good : tone::bad},
                     text_in(entry, "expires"),
                     state == "valid" ? human_duration(left) : "",
                     text_in(entry, "origin"),
                     text_in(entry, "serial")});
        }
        return table.empty() ? "nothing was issued yet; see 'astra help ca issue'\n" : table.render(colour);
      }};
  return what;
}

int list_certificates(command_context& context, const ca_options& options, const list_options& list) {
  return print_list(context, certificate_listing(), list, [&]() -> caf::expected<json> {
    auto authority = certificate_authority::open(options.directory);
    if (!authority)
      return std::move(authority.error());
    auto all = authority->list();
    if (!all)
      return std::move(all.error());
    auto now = now_s();
    auto certificates = json::array();
    for (auto& entry : *all)
      certificates.push_back(to_json(entry, now));
    return json{{"cluster", authority->cluster()}, {"certificates", std::move(certificates)}};
  });
}

int show_certificate(command_context& context, const ca_options& options) {
  auto facts = read_facts(options.certificate);
  if (!facts)
    return context.fail(facts.error());
  auto now = now_s();
  auto state = facts->expires_at <= now ? "expired" : facts->valid_from > now ? "not valid yet" : "in its time";
  if (context.options.format == output_format::json) {
    context.out() << pretty(json{{"subject", facts->subject},
                                 {"issuer", facts->issuer},
                                 {"kind", facts->authority ? "authority" : "certificate"},
                                 {"identity", facts->identity},
                                 {"serial", facts->serial},
                                 {"fingerprint", facts->fingerprint},
                                 {"valid_from", x509::show_time(facts->valid_from)},
                                 {"expires", x509::show_time(facts->expires_at)},
                                 {"state", state}});
    return exit_ok;
  }
  auto identity = facts->identity.empty() ? facts->authority ? "none: it is an authority" : "none" : facts->identity;
  context.out() << fmt::format("subject      {}\nissuer       {}\nidentity     {}\nserial       {}\nfingerprint  {}\n"
                               "valid        {} to {} ({})\n",
                               facts->subject, facts->issuer, identity, facts->serial, facts->fingerprint,
                               x509::show_time(facts->valid_from), x509::show_time(facts->expires_at), state);
  return exit_ok;
}

int make_join_token(command_context& context, const ca_options& options) {
  auto authority = certificate_authority::open(options.directory);
  if (!authority)
    return context.fail(authority.error());
  auto lifetime = to_seconds(options.ttl.value_or(std::chrono::minutes{10}));
  auto token = authority->make_token(to_wish(options), lifetime, now_s());
  if (!token)
    return context.fail(token.error());
  if (context.options.format == output_format::json)
    context.out() << pretty(json{{"token", *token}, {"expires", x509::show_time(now_s() + lifetime.count())}});
  else
    context.out() << *token << '\n';
  context.say(fmt::format("good for one use within {}; on the machine: astra join --gateway https://HOST:PORT --token "
                          "TOKEN --out DIR",
                          human_duration(lifetime)));
  return exit_ok;
}

} // namespace astra
