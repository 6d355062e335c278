#include "runtime/cli/commands/commands.hpp"

#include "config/units.hpp"
#include "messages/errc.hpp"
#include "messages/type_ids.hpp"
#include "runtime/cli/human.hpp"
#include "runtime/cli/table.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cctype>
#include <istream>
#include <iterator>
#include <memory>

namespace astra {
namespace {

using namespace std::chrono_literals;

// The gateway answers at the latest shortly after the request's deadline: time for that answer to travel.
constexpr auto answer_grace = 2s;

// Without --timeout the app's own deadline counts, which only the gateway knows.  This one is for a gateway that
// died without closing its connections.
constexpr auto longest_wait = 24h;

// "node node-2  replica 1  tries 1  starts 1  service 120ms  total 132ms  request 7f01"
std::string describe_route(const http_answer& answer, milliseconds total) {
  std::string line;
  auto add = [&](std::string_view title, const std::string& value) {
    if (!value.empty())
      line += fmt::format("{}{} {}", line.empty() ? "" : "  ", title, value);
  };
  add("node", header_of(answer, "Astra-Node"));
  add("replica", header_of(answer, "Astra-Replica"));
  add("tries", header_of(answer, "Astra-Tries"));
  add("starts", header_of(answer, "Astra-Starts"));
  if (auto service = header_of(answer, "Astra-Service-Ms"); !service.empty())
    add("service", service + "ms");
  add("total", human_duration(total));
  add("request", header_of(answer, "Astra-Request-Id"));
  return line;
}

} // namespace

std::string header_of(const http_answer& answer, std::string_view name) {
  auto same = [](char a, char b) {
    return std::tolower(static_cast<unsigned char>(a)) == std::tolower(static_cast<unsigned char>(b));
  };
  for (const auto& [key, value] : answer.headers)
    if (std::equal(key.begin(), key.end(), name.begin(), name.end(), same))
      return printable(value);
  return {};
}

caf::expected<std::string> read_body(command_context& context, const std::string& file) {
  if (file.empty() || file == "-") {
    if (context.environment.in_is_terminal)
      context.say("reading the request from the terminal; Ctrl-D ends it");
    return std::string{std::istreambuf_iterator<char>{*context.environment.in}, {}};
  }
  return read_input_file(file);
}

const command_text invoke_text = {
    "Send one request to an app and print its answer",
    "The request's body comes from stdin or --in; the answer's bytes go to stdout unchanged.  --timeout is the "
    "request's "
    "deadline, at most the app's own.  -v tells on stderr which node answered, after how many tries and in what time.",
    "astra invoke ocr < page.png\nastra invoke ocr --in page.png --timeout 5s -v > page.txt",
};

caf::expected<http_answer> call_app(command_context& context, const invoke_options& options, std::string body) {
  http_call request;
  request.method = "POST";
  request.target = fmt::format("/v1/apps/{}/invoke", percent_encoded(options.app));
  request.body = std::make_shared<const std::string>(std::move(body));
  request.content_type = options.content_type;
  request.timeout = longest_wait;
  for (auto& [header, value] : {std::pair{"Astra-Client", &options.client},
                                {"Astra-Affinity", &options.affinity},
                                {"Astra-Size", &options.size}})
    if (!value->empty())
      request.headers.emplace_back(header, *value);
  if (auto deadline = context.options.timeout) {
    request.headers.emplace_back("Astra-Timeout", format_duration(*deadline));
    request.timeout = *deadline + answer_grace;
  }
  return context.call(std::move(request));
}

caf::error refusal_of(command_context& context, const http_answer& answer) {
  auto reason = to_error(answer, gateway_address(context.options));
  auto message = error_text(reason);
  if (auto wait = header_of(answer, "Retry-After"); !wait.empty())
    message += fmt::format("; try again in {} s", wait);
  // What the app itself wrote, as it wrote it but for escape sequences.
  auto parsed = json::parse(answer.body, nullptr, false);
  auto tail = text_in(list_in(parsed, "error"), "stderr");
  for (std::size_t begin = 0; begin < tail.size();) {
    auto end = std::min(tail.find('\n', begin), tail.size());
    context.say("  | " + printable(tail.substr(begin, end - begin)));
    begin = end + 1;
  }
  return caf::make_error(code_of(reason), message);
}

int invoke_app(command_context& context, const invoke_options& options) {
  auto body = read_body(context, options.file);
  if (!body)
    return context.fail(body.error());
  auto start = context.environment.now();
  auto answer = call_app(context, options, std::move(*body));
  if (!answer)
    return context.fail(answer.error());
  auto total = std::chrono::duration_cast<milliseconds>(context.environment.now() - start);
  if (context.options.verbose)
    context.say(describe_route(*answer, total));
  if (answer->status >= 200 && answer->status <= 299) {
    context.out() << answer->body;
    return exit_ok;
  }
  return context.fail(refusal_of(context, *answer));
}

} // namespace astra
