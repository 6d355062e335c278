#include "runtime/worker/worker.hpp"

#include "actors/apps/hosted_actor.hpp"
#include "actors/node/replica_runner.hpp"
#include "config/load.hpp"
#include "messages/errc.hpp"
#include "runtime/cli/commands/actor_schema.hpp"
#include "runtime/cli/commands/commands.hpp"
#include "runtime/cli/table.hpp"
#include "runtime/worker/actor_library.hpp"

#include <charconv>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace astra {

const command_text worker_text = {
    "Run one actor of a library, as a node does for an app with actor.library",
    "It listens on the loopback interface: POST / takes a message such as {\"add\":{\"amount\":2}}, one after the "
    "other; "
    "GET /ready tells whether it is ready.  The port is --port, else $PORT, else a free one.  SIGTERM ends it when "
    "what it "
    "has taken is done.  Without --actor it tells which actors the library has and what they take.",
    "astra worker --library build/libtally.so\n"
    "astra worker --library build/libtally.so --actor tally init=40",
};

namespace {

int describe_library(command_context& context, const actor_library& library) {
  json actors = json::array();
  for (auto* type : library.types())
    actors.push_back(json::parse(describe_actor(*type), nullptr, false));
  json answer = {{"library", library.file()}, {"actors", std::move(actors)}};
  return context.print(answer, [](const json& what, bool) {
    std::string out;
    for (auto& one : list_in(what, "actors"))
      out += (out.empty() ? "" : "\n") + render_actor_schema(one);
    return out;
  });
}

/// Port of the environment that a node gives.
caf::expected<std::uint16_t> port_of(const command_context& context, const worker_run_options& options) {
  if (options.port)
    return *options.port;
  auto text = context.environment.variables("PORT").value_or("0");
  std::uint16_t port = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (error != std::errc{} || end != text.data() + text.size())
    return caf::make_error(errc::invalid_argument, fmt::format("PORT='{}' is not a port; say --port", text));
  return port;
}

} // namespace

int run_actor_worker(command_context& context, const worker_run_options& options) {
  if (!options.actor.empty())
    block_ending_signals();
  auto library = actor_library::load(options.library);
  if (!library)
    return context.fail(exit_bad_config, error_text(library.error()));
  if (options.actor.empty())
    return describe_library(context, *library);
  auto type = library->find(options.actor);
  if (!type)
    return context.fail(exit_bad_config, error_text(type.error()));
  worker_options how;
  for (auto& word : options.arguments) {
    auto equals = word.find('=');
    if (equals == std::string::npos || equals == 0)
      return context.fail(exit_bad_config, fmt::format("'{}' is not an argument; write NAME=VALUE", word));
    how.arguments[word.substr(0, equals)] = word.substr(equals + 1);
  }
  auto port = port_of(context, options);
  if (!port)
    return context.fail(exit_usage, error_text(port.error()));
  how.port = *port;
  // A node knows the port that it gave, and takes the last line for why it ended.
  auto tells = options.port || how.port == 0;
  auto outcome = run_worker(**type, how, [&](std::string_view address) {
    if (tells)
      context.say(fmt::format("{} takes messages at http://{}/", options.actor, address));
  });
  if (outcome.problem.empty())
    return exit_ok;
  static_assert(static_cast<std::int32_t>(exit_bad_config) == worker_exit_hopeless);
  return context.fail(outcome.hopeless ? exit_bad_config : exit_failed, outcome.problem);
}

} // namespace astra
