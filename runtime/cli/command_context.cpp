#include "runtime/cli/command_context.hpp"

#include "messages/errc.hpp"
#include "messages/type_ids.hpp"
#include "runtime/cli/human.hpp"
#include "runtime/cli/table.hpp"
#include "runtime/net/tls.hpp"
#include "runtime/security/ca.hpp"

#include <caf/message.hpp>
#include <caf/sec.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <memory>
#include <utility>

namespace astra {
namespace {

using namespace std::chrono_literals;

constexpr auto default_timeout = 10s;

// More than any listing; an answer beyond it is not the gateway's.
constexpr std::uint64_t response_limit_bytes = 1ull << 32;

errc code_of_status(std::uint16_t status) {
  switch (status) {
  case 400:
    return errc::invalid_argument;
  case 404:
    return errc::unknown_name;
  case 409:
    return errc::conflict;
  case 429:
    return errc::saturated;
  case 503:
    return errc::unreachable;
  case 504:
    return errc::timed_out;
  default:
    return errc::io_failed;
  }
}

} // namespace

errc code_of(const caf::error& reason) {
  return reason.category() == caf::type_id_v<errc> ? static_cast<errc>(reason.code()) : errc::io_failed;
}

std::string gateway_address(const global_options& options) {
  if (!options.gateway_socket.empty())
    return "unix:" + options.gateway_socket;
  std::string scheme = options.https ? "https://" : "";
  auto bare_ipv6 = options.gateway_host.find(':') != std::string::npos;
  return scheme
         + (bare_ipv6 ? fmt::format("[{}]:{}", options.gateway_host, options.gateway_port)
                      : fmt::format("{}:{}", options.gateway_host, options.gateway_port));
}

void command_context::say(std::string_view line) {
  *environment.err << line << std::endl;
}

int command_context::fail(const caf::error& reason) {
  return fail(exit_code_of(reason), error_text(reason));
}

int command_context::fail(exit_code code, std::string_view message) {
  say(fmt::format("{} {}", paint("astra:", tone::bad, options.colour_err), message));
  return code;
}

caf::expected<fetch_door> command_context::door() const {
  fetch_door result;
  result.unix_path = options.gateway_socket;
  if (!options.https)
    return result;
  if (options.ca.empty())
    return caf::make_error(errc::invalid_argument,
                           "https:// needs the cluster's authority to trust: name its file with "
                           "--ca or ASTRA_CA");
  if (options.certificate.empty() != options.key.empty())
    return caf::make_error(errc::invalid_argument,
                           "--cert and --key belong together; name both, or none to ask without "
                           "a certificate");
  if (!options.certificate.empty()) {
    auto loaded = tls_context::load({options.certificate, options.key, options.ca, {}});
    if (!loaded) {
      // The keys of a process's file are not what was written here.
      auto text = error_text(loaded.error());
      for (auto [key, option] : {std::pair{"tls.certificate = ", "--cert "}, std::pair{"tls.key = ", "--key "},
                                 std::pair{"tls.ca = ", "--ca "}})
        for (auto at = text.find(key); at != std::string::npos; at = text.find(key))
          text.replace(at, std::strlen(key), option);
      return caf::make_error(errc::invalid_argument, text);
    }
    result.tls = std::move(*loaded);
    return result;
  }
  auto facts = read_facts(options.ca);
  if (!facts)
    return caf::make_error(errc::invalid_argument, "--ca " + error_text(facts.error()));
  result.tls = tls_context::pin(facts->fingerprint);
  return result;
}

caf::expected<http_answer> command_context::call(http_call call, const fetch_door* through) {
  return this->call(std::move(call), through, {});
}

caf::expected<http_answer> command_context::call(http_call call, const fetch_door* through, const body_sink& sink) {
  if (!options.context_problem.empty())
    return caf::make_error(errc::invalid_argument, options.context_problem);
  if (environment.before_call)
    if (auto refused = environment.before_call(call))
      return refused;
  fetch_door own;
  if (through == nullptr && (options.https || !options.gateway_socket.empty())) {
    auto door = this->door();
    if (!door)
      return std::move(door.error());
    own = std::move(*door);
    through = &own;
  }
  call.host = options.gateway_host;
  call.port = options.gateway_port;
  if (call.timeout.count() == 0)
    call.timeout = options.timeout.value_or(default_timeout);
  call.response_limit_bytes = response_limit_bytes;
  auto answer = sink ? environment.fetch_pieces(call, through != nullptr ? *through : fetch_door{}, sink)
                : through != nullptr ? environment.fetch_through(call, *through)
                                     : environment.fetch(call);
  if (answer)
    return answer;
  auto gateway = gateway_address(options);
  auto why = error_text(answer.error());
  // fetch() names method and address, as a log needs it; here the sentence names them already.
  auto bare = options;
  bare.https = false;
  bare.gateway_socket.clear();
  if (auto prefix = fmt::format("{} {}: ", call.method, gateway_address(bare)); why.starts_with(prefix))
    why.erase(0, prefix.size());
  switch (auto code = code_of(answer.error()); code) {
  case errc::unreachable:
    // Somebody is there; what is wrong with it the reason says.
    if (through != nullptr && through->tls
        && (why.find("certificate") != std::string::npos || why.find("TLS") != std::string::npos
            || why.find("authority") != std::string::npos))
      return caf::make_error(
          code, fmt::format("the gateway at {} and this command do not trust each other: {}", gateway, why));
    return caf::make_error(code, fmt::format("cannot reach the gateway at {}: {}; is it running? start one with 'astra "
                                             "dev', or name it with --gateway HOST:PORT",
                                             gateway, why));
  case errc::timed_out:
    return caf::make_error(code,
                           fmt::format("the gateway at {} did not answer within {}; allow more with --timeout", gateway,
                                       human_duration(std::chrono::duration_cast<milliseconds>(call.timeout))));
  default:
    return caf::make_error(
        code, fmt::format("the call to the gateway at {} failed: {}{}", gateway, why,
                          through == nullptr ? "; if it has [tls], write --gateway https://" + gateway : ""));
  }
}

caf::expected<json> command_context::ask(std::string_view method, std::string target, std::string body,
                                         std::string content_type) {
  http_call request;
  request.method = method;
  request.target = std::move(target);
  request.body = std::make_shared<const std::string>(std::move(body));
  request.content_type = std::move(content_type);
  auto answer = call(std::move(request));
  if (!answer)
    return std::move(answer.error());
  auto gateway = gateway_address(options);
  if (answer->status < 200 || answer->status > 299)
    return to_error(*answer, gateway);
  auto parsed = json::parse(answer->body, nullptr, false);
  if (!parsed.is_object())
    return caf::make_error(
        errc::io_failed,
        fmt::format("{} answered {} with {}, which is not an Astra gateway's answer; "
                    "is the address right?",
                    gateway, answer->status,
                    answer->content_type.empty() ? "no content type" : printable(answer->content_type)));
  return parsed;
}

caf::error command_context::read_lines(std::string target, const std::function<bool(const json&)>& on_line,
                                       json* refusal) {
  http_call request;
  request.target = std::move(target);
  auto gateway = gateway_address(options);
  std::string pending;
  caf::error told;
  auto wanted = true;
  auto begun = false;
  auto answer = call(std::move(request), nullptr, [&](std::string_view piece) {
    begun = true;
    pending += piece;
    std::size_t begin = 0;
    for (auto end = pending.find('\n'); wanted && end != std::string::npos; end = pending.find('\n', begin)) {
      auto line = std::string_view{pending}.substr(begin, end - begin);
      begin = end + 1;
      if (line.empty())
        continue;
      auto parsed = json::parse(line, nullptr, false);
      if (!parsed.is_object())
        told = caf::make_error(errc::io_failed,
                               fmt::format("{} sent a line that is no JSON object; is it an Astra gateway?", gateway));
      else if (parsed.contains("error"))
        told = caf::make_error(errc::unreachable, printable(text_in(parsed["error"], "message")));
      wanted = !told && on_line(parsed);
    }
    pending.erase(0, begin);
    return wanted;
  });
  if (told)
    return told;
  if (!answer) {
    if (code_of(answer.error()) == errc::cancelled && !wanted)
      return {};
    if (begun && code_of(answer.error()) != errc::timed_out)
      return caf::make_error(errc::unreachable,
                             fmt::format("the gateway at {} ended its answer before it was complete", gateway));
    return std::move(answer.error());
  }
  if (answer->status < 200 || answer->status > 299) {
    if (refusal != nullptr)
      *refusal = json::parse(answer->body, nullptr, false);
    return to_error(*answer, gateway);
  }
  if (!pending.empty())
    return caf::make_error(errc::io_failed, fmt::format("{} ended its answer in the middle of a line", gateway));
  return {};
}

int command_context::print(const caf::expected<json>& answer, const renderer& render) {
  if (!answer)
    return fail(answer.error());
  out() << (options.format == output_format::json ? pretty(*answer) : render(*answer, options.colour_out));
  return exit_ok;
}

int command_context::show(std::string target, const renderer& render) {
  return print(ask("GET", std::move(target)), render);
}

caf::error to_error(const http_answer& answer, const std::string& gateway) {
  auto code = code_of_status(answer.status);
  auto parsed = json::parse(answer.body, nullptr, false);
  if (!parsed.is_object() || !parsed.contains("error"))
    return caf::make_error(
        code, fmt::format("{} answered HTTP {} without a reason; is it an Astra gateway?", gateway, answer.status));
  const auto& error = parsed["error"];
  auto name = text_in(error, "code");
  errc named = errc::none;
  if (from_string({name.data(), name.size()}, named) && named != errc::none)
    code = named;
  else if (name == "unavailable")
    code = errc::unreachable;
  else if (name == "lost")
    code = errc::app_failed;
  auto message = printable(text_in(error, "message"));
  for (const auto& problem : list_in(error, "problems"))
    message += fmt::format("\n  {}: {}", printable(text_in(problem, "key")), printable(text_in(problem, "message")));
  return caf::make_error(code, message.empty() ? fmt::format("{} answered HTTP {} ({})", gateway, answer.status, name)
                                               : message);
}

exit_code exit_code_of(const caf::error& reason) {
  switch (code_of(reason)) {
  case errc::unknown_node:
  case errc::unknown_app:
  case errc::unknown_name:
    return exit_not_found;
  case errc::unreachable:
  case errc::timed_out:
    return exit_unreachable;
  case errc::conflict:
  case errc::fenced:
    return exit_conflict;
  default:
    return exit_failed;
  }
}

caf::expected<std::string> read_input_file(const std::string& path) {
  auto fail = [&] {
    return caf::make_error(errc::io_failed, fmt::format("cannot read {}: {}", path, std::strerror(errno)));
  };
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> in{std::fopen(path.c_str(), "rb"), std::fclose};
  if (!in)
    return fail();
  std::string bytes;
  std::array<char, 64 * 1024> block{};
  while (auto length = std::fread(block.data(), 1, block.size(), in.get()))
    bytes.append(block.data(), length);
  if (std::ferror(in.get()) != 0)
    return fail();
  return bytes;
}

std::string pretty(const json& value) {
  return value.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
}

std::string text_in(const json& object, const char* key) {
  if (!object.is_object())
    return {};
  auto i = object.find(key);
  return i != object.end() && i->is_string() ? i->get<std::string>() : std::string{};
}

double number_in(const json& object, const char* key) {
  if (!object.is_object())
    return 0.0;
  auto i = object.find(key);
  if (i == object.end())
    return 0.0;
  if (i->is_number())
    return i->get<double>();
  double value = 0.0;
  if (i->is_string()) {
    const auto& text = i->get_ref<const std::string&>();
    std::from_chars(text.data(), text.data() + text.size(), value);
  }
  return value;
}

std::uint64_t count_in(const json& object, const char* key) {
  auto value = number_in(object, key);
  return value > 0.0 ? static_cast<std::uint64_t>(std::llround(std::min(value, 9.0e18))) : 0;
}

bool flag_in(const json& object, const char* key) {
  if (!object.is_object())
    return false;
  auto i = object.find(key);
  return i != object.end() && i->is_boolean() && i->get<bool>();
}

const json& list_in(const json& object, const char* key) {
  static const json empty = json::array();
  if (!object.is_object())
    return empty;
  auto i = object.find(key);
  return i != object.end() && i->is_structured() ? *i : empty;
}

} // namespace astra
