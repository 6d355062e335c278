#include "runtime/shell/sim_world.hpp"

#include "config/units.hpp"
#include "messages/errc.hpp"
#include "messages/type_ids.hpp"
#include "runtime/gateway/routes.hpp"
#include "runtime/shell/script_runner.hpp"
#include "runtime/sim/fault_words.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <cctype>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace astra::shell {
namespace {

using namespace std::chrono_literals;

constexpr std::uint32_t usual_nodes = 3;
constexpr std::uint32_t usual_resources = 1;
constexpr std::uint32_t usual_cpu_milli = 4000;
constexpr std::uint64_t usual_memory_bytes = std::uint64_t{8} << 30;

/// For every node to be seen; virtual.
constexpr auto start_timeout = 60s;
constexpr auto start_poll = 100ms;

/// Longer than any script: when a run ends says its script.
constexpr auto horizon = std::chrono::hours{24 * 365 * 20};

global_options options_of(const global_options& outer) {
  global_options result;
  result.gateway_host = "gateway-1";
  result.context = "sim";
  result.format = outer.format;
  result.timeout = outer.timeout;
  result.verbose = outer.verbose;
  result.colour_out = outer.colour_out;
  result.colour_err = outer.colour_err;
  return result;
}

/// Nobody knows how the process of an app would behave, nor that of an actor with a library.
caf::error refuse_processes(http_call& call) {
  auto route = find_route(call.method, call.target);
  if (route.what != gateway_route::apply_app && route.what != gateway_route::plan_app)
    return {};
  auto spec = call.body ? json::parse(*call.body, nullptr, false) : json();
  if (!spec.is_object())
    return {};
  if (spec.contains("actor") && text_in(spec["actor"], "library").empty())
    return {};
  return caf::make_error(
      errc::invalid_argument,
      fmt::format("a simulated cluster runs actors{}, and {} is {}; a scenario can say how it behaves "
                  "(docs/simulation.md)",
                  spec.contains("actor") ? " that come with Astra" : "", route.name,
                  spec.contains("actor")    ? "one of a library"
                  : spec.contains("server") ? "a server"
                                            : "a command"));
}

sim::world_options with_tasks(sim::world_options options) {
  options.tasks = true;
  return options;
}

} // namespace

scenario scenario_of(const cluster_shape& shape) {
  // As the text of a scenario, so that the same rules and defaults hold.
  auto machines = [](std::string_view role, std::uint32_t count, const std::string& more = {}) {
    return fmt::format("[[machines]]\nname = \"{0}\"\nroles = [\"{0}\"]\ncount = {1}\n{2}\n", role, count, more);
  };
  auto text = std::string{"name = \"script\"\nabout = \"A script decides what happens.\"\nstep_max = \"200us\"\n\n"};
  text += machines("resource", shape.resources.value_or(usual_resources));
  text += machines("scheduler", 1);
  text += machines("gateway", 1);
  text += machines("node", shape.nodes.value_or(usual_nodes),
                   fmt::format("cores = {}\nmemory = \"{}\"\nzones = [\"a\", \"b\", \"c\"]\n",
                               format_cores(shape.cpu_milli.value_or(usual_cpu_milli)),
                               format_size(shape.memory_bytes.value_or(usual_memory_bytes))));
  auto read = parse_scenario(text, "script");
  assert(read.value);
  read.value->horizon = horizon;
  read.value->options.node.drain_wait = 10s;
  return std::move(*read.value);
}

sim_world::sim_world(command_context& outer, const cluster_shape& shape, std::uint64_t seed, sim::world_options options)
  : nodes_(shape.nodes.value_or(usual_nodes)), what_(std::make_shared<const scenario>(scenario_of(shape))),
    run_(what_, seed, with_tasks(std::move(options))), environment_(outer.environment),
    context_(environment_, options_of(outer.options)) {
  environment_.fetch = [this](const http_call& call) { return fetch(call, {}); };
  environment_.fetch_through = [this](const http_call& call, const fetch_door&) { return fetch(call, {}); };
  environment_.fetch_pieces = [this](const http_call& call, const fetch_door&, const body_sink& sink) {
    return fetch(call, sink);
  };
  environment_.before_call = refuse_processes;
  environment_.now = [this] { return std::chrono::steady_clock::time_point{now()}; };
  environment_.sleep = [this](std::chrono::milliseconds duration) { sleep(duration); };
  environment_.interrupted = [] { return false; };
  environment_.in_is_terminal = false;
  cluster_ = std::make_unique<live_world>(context_, "a script that is simulated", nullptr);
  cluster_->faults = [this](const std::vector<request::word>& words) { return fault(words); };
  cluster_->setting = world_setting::simulated;
  cluster_->mode = mode_of(context_.options.format);
}

caf::error sim_world::broken_promise() const {
  auto result = run_.result();
  if (result.check.empty())
    return {};
  return caf::make_error(errc::conflict,
                         fmt::format("the invariant {} does not hold: {}", result.check, result.failure));
}

caf::error sim_world::start() {
  auto limit = run_.now() + start_timeout;
  std::string seen = "no gateway answers";
  while (run_.now() < limit) {
    auto status = context_.ask("GET", "/v1/status");
    if (auto broken = broken_promise())
      return broken;
    if (status) {
      auto online = count_in(list_in(*status, "nodes"), "online");
      if (online == nodes_ && !list_in(*status, "schedulers").empty())
        return {};
      seen = fmt::format("{} of {} nodes online", online, nodes_);
    }
    sleep(start_poll);
  }
  return caf::make_error(errc::timed_out, fmt::format("the simulated cluster was not ready within {}: {}",
                                                      format_fine_duration(start_timeout), seen));
}

caf::expected<http_answer> sim_world::fetch(const http_call& call, const body_sink& sink) {
  http_request request;
  request.method = call.method;
  request.target = call.target;
  for (auto& [name, text] : call.headers) {
    auto lower = name;
    std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) { return std::tolower(c); });
    request.headers.emplace_back(std::move(lower), text);
  }
  if (!call.content_type.empty())
    request.headers.emplace_back("content-type", call.content_type);
  request.body = call.body ? call.body : std::make_shared<const std::string>();
  auto open = run_.call(std::move(request));
  auto limit = run_.now() + call.timeout;
  std::size_t taken = 0;
  auto running = true;
  while (running && !open->over() && run_.now() < limit) {
    running = run_.step_until(limit);
    if (!sink || !open->answer || open->answer->status != 200 || open->answer->body.size() == taken)
      continue;
    auto piece = std::string_view{open->answer->body}.substr(taken);
    taken += piece.size();
    // As with a live one, the limit is for each piece.
    limit = run_.now() + call.timeout;
    if (!sink(piece)) {
      run_.hang_up(open);
      return caf::make_error(errc::cancelled, "no more of it is wanted");
    }
  }
  if (auto broken = broken_promise())
    return broken;
  if (!open->complete) {
    run_.hang_up(open);
    if (open->broken.empty())
      return caf::make_error(errc::timed_out, "no answer in time");
    return caf::make_error(open->answer ? errc::io_failed : errc::unreachable, open->broken);
  }
  auto& answer = *open->answer;
  http_answer result;
  result.status = answer.status;
  result.content_type = answer.content_type;
  result.headers = answer.headers;
  result.headers.emplace_back("Content-Type", answer.content_type);
  if (sink && answer.status == 200) {
    if (answer.body.size() > taken && !sink(std::string_view{answer.body}.substr(taken)))
      return caf::make_error(errc::cancelled, "no more of it is wanted");
  } else {
    result.body = answer.body;
  }
  return result;
}

caf::expected<reply> sim_world::call(const request& what) {
  auto result = cluster_->call(what);
  if (auto broken = broken_promise())
    return broken;
  return result;
}

caf::expected<json> sim_world::look(const std::string& app) {
  auto result = cluster_->look(app);
  if (!result)
    if (auto broken = broken_promise())
      return broken;
  return result;
}

void sim_world::sleep(std::chrono::nanoseconds duration) {
  auto until = run_.now() + duration;
  run_.run_until(until);
  // A run that has failed stands still: whoever waits for a time must not wait for ever.
  if (!run_.result().check.empty() && run_.now() < until)
    idled_ += until - run_.now();
}

caf::expected<reply> sim_world::fault(const std::vector<request::word>& words) {
  std::vector<std::string> line;
  for (auto& word : words)
    line.push_back(word.name.empty() ? word.text : word.name + "=" + word.text);
  // As it is called where processes are real.
  if (!line.empty() && line.front() == "kill")
    line.front() = "crash";
  auto read = sim::read_fault(line, *what_, run_.now() + 1ns);
  if (!read)
    return std::move(read.error());
  run_.inject(*read);
  // It is there when the next statement is done.
  run_.run_until(read->at);
  json result = {{"fault", read->kind}, {"targets", read->targets}};
  if (!read->others.empty())
    result["others"] = read->others;
  if (read->duration.count() > 0)
    result["for"] = format_fine_duration(read->duration);
  return reply{std::move(result), {}, false};
}

} // namespace astra::shell
