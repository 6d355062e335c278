#include "runtime/cli/commands/completion.hpp"
#include "runtime/cli/commands/man.hpp"
#include "runtime/gateway/route_table.hpp"
#include "test/runtime/cli/command_fixture.hpp"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <map>
#include <set>

// The gateway's routes, the commands, their manual pages, their completion and the verbs of the shell are one set.

using namespace astra;
using test::command_fixture;

namespace {

/// A command that asks a route, or the reason why there is none.
struct route_command {
  gateway_route what;
  std::vector<std::string> words;
  std::string_view no_command;
};

std::vector<route_command> route_commands() {
  return {
      {gateway_route::livez, {}, "for whoever restarts processes: astra status says it to people"},
      {gateway_route::readyz, {}, "for load balancers: astra status says it to people"},
      {gateway_route::task_events, {}, "server-sent events for programs: task submit --wait and wait ask for the end"},
      {gateway_route::model_job, {}, "one of what model-jobs tells, which commands ask for several at once"},
      {gateway_route::metrics, {"debug", "bundle", "NEW"}, {}},
      {gateway_route::status, {"status"}, {}},
      {gateway_route::nodes, {"node", "list"}, {}},
      {gateway_route::node, {"node", "show", "n1"}, {}},
      {gateway_route::drain_node, {"node", "drain", "n1"}, {}},
      {gateway_route::events, {"events"}, {}},
      {gateway_route::quotas, {"quota", "list"}, {}},
      {gateway_route::apps, {"app", "list"}, {}},
      {gateway_route::app, {"app", "show", "x"}, {}},
      {gateway_route::apply_app, {"app", "apply", "FILE"}, {}},
      {gateway_route::delete_app, {"app", "delete", "x"}, {}},
      {gateway_route::app_history, {"app", "history", "x"}, {}},
      {gateway_route::app_claims, {"claims", "log", "x"}, {}},
      {gateway_route::rollback_app, {"app", "rollback", "x"}, {}},
      {gateway_route::plan_app, {"app", "plan", "FILE"}, {}},
      {gateway_route::invoke, {"invoke", "x"}, {}},
      {gateway_route::submit_task, {"task", "submit", "x"}, {}},
      {gateway_route::tasks, {"task", "list"}, {}},
      {gateway_route::task, {"task", "show", "g.1.a"}, {}},
      {gateway_route::task_result, {"task", "result", "g.1.a"}, {}},
      {gateway_route::cancel_task, {"task", "cancel", "g.1.a"}, {}},
      {gateway_route::router, {"router", "table", "x"}, {}},
      {gateway_route::router_picks, {"router", "pick", "x"}, {}},
      {gateway_route::models, {"model", "list"}, {}},
      {gateway_route::model, {"model", "show", "m"}, {}},
      {gateway_route::publish_model, {"model", "publish", "m", "FILE", "--no-wait"}, {}},
      {gateway_route::fetch_model, {"model", "fetch", "m", "--all"}, {}},
      {gateway_route::verify_model, {"model", "verify", "m"}, {}},
      {gateway_route::pin_model, {"model", "pin", "m"}, {}},
      {gateway_route::delete_model, {"model", "rm", "m@1"}, {}},
      {gateway_route::model_jobs, {"model", "fetch", "m", "--all"}, {}},
      {gateway_route::model_nodes, {"model", "nodes"}, {}},
      {gateway_route::model_limit, {"model", "limit"}, {}},
      {gateway_route::limit_models, {"model", "limit", "none"}, {}},
      {gateway_route::join, {}, "astra join, over TLS to a gateway that it does not trust yet: test.e2e.security"},
      {gateway_route::renew, {}, "astra join --renew, with a certificate: test.e2e.security"},
  };
}

/// Commands that ask no gateway, or have nothing that could be typed in a shell about a cluster that runs.
const std::map<std::string_view, std::string_view> no_verb{
    {"run", "it is a process that stays"},
    {"dev", "it is a cluster that stays"},
    {"worker", "it is a process that stays"},
    {"shell", "that is where one is"},
    {"join", "it makes the certificates with which a shell is begun"},
    {"bench view", "it takes the whole machine"},
    {"sim shell", "it is a shell itself"},
};

void for_each_leaf(const command_node& node, const std::function<void(const command_node&)>& what) {
  if (node.below.empty())
    what(node);
  for (const auto& below : node.below)
    for_each_leaf(below, what);
}

std::vector<std::string> words_of(const std::string& path) {
  std::vector<std::string> words;
  for (std::size_t begin = 0, end = 0; end != std::string::npos; begin = end + 1) {
    end = path.find(' ', begin);
    words.push_back(path.substr(begin, end == std::string::npos ? end : end - begin));
  }
  return words;
}

} // namespace

TEST_CASE_FIXTURE(command_fixture, "every route of the gateway has a command that asks it, or a reason why not") {
  std::multiset<gateway_route> stated;
  for (auto& one : route_commands())
    stated.insert(one.what);
  for (auto& row : all_routes()) {
    INFO(row.method, " ", row.path);
    CHECK(stated.count(row.what) == 1);
  }
  CHECK(stated.size() == all_routes().size());
  std::vector<std::pair<std::string, std::string>> asked;
  environment.fetch = [&](const http_call& call) -> caf::expected<http_answer> {
    asked.emplace_back(call.method, call.target);
    auto route = find_route(call.method, call.target).what;
    auto body = route == gateway_route::fetch_model
                    ? R"({"name":"m","version":1,"nodes":[{"node":"n1","job":"n1:1","state":"running"}]})"
                : route == gateway_route::model_jobs  ? R"({"jobs":[{"id":"n1:1","node":"n1","state":"done"}]})"
                : route == gateway_route::submit_task ? R"({"id":"g.1.a","state":"queued"})"
                : route == gateway_route::nodes       ? "{\"end\":true,\"listed\":0,\"more\":0}\n"
                : route == gateway_route::events      ? ""
                                                      : "{}";
    return http_answer{200, body, "application/json", {}};
  };
  auto app = file("app.toml", "name = \"x\"\nkind = \"actor\"\n[actor]\ntype = \"echo\"\n[resources]\ncpu = 0.1\n"
                              "memory = \"64MiB\"\n");
  for (auto& one : route_commands()) {
    if (one.words.empty()) {
      CHECK(one.no_command != "");
      continue;
    }
    std::vector<const char*> words;
    auto bundle = (directory / "bundle.tar").string();
    for (auto& word : one.words)
      words.push_back(word == "FILE" ? app.c_str() : word == "NEW" ? bundle.c_str() : word.c_str());
    asked.clear();
    auto result = run(words);
    INFO(fmt::format("{}", fmt::join(one.words, " ")), ": ", result.err);
    CHECK(std::any_of(asked.begin(), asked.end(),
                      [&](auto& call) { return find_route(call.first, call.second).what == one.what; }));
    // Nobody asks for what is not there.
    for (auto& [method, target] : asked) {
      INFO(method, " ", target);
      auto found = find_route(method, target).what;
      CHECK(found != gateway_route::unknown);
      CHECK(found != gateway_route::wrong_method);
    }
  }
}

TEST_CASE_FIXTURE(command_fixture, "every command has a manual page, completion, an example and a verb of the shell") {
  auto root = command_tree();
  auto no_names = [](value_kind, std::string_view) { return std::vector<completion::candidate>{}; };
  std::size_t commands = 0;
  for_each_leaf(root, [&](const command_node& command) {
    ++commands;
    INFO(command.path);
    CHECK(command.summary != "");
    CHECK(manual_page(root, command).find(".SH NAME\n") != std::string::npos);
    auto words = words_of(command.path);
    auto offered = complete(root, words, no_names).candidates;
    CHECK(std::any_of(offered.begin(), offered.end(), [&](auto& one) { return one.word == words.back(); }));
    CHECK(command.examples.find("astra ") != std::string_view::npos);
    // Of itself, not of another one.
    CHECK(command.examples.find(words.back()) != std::string_view::npos);
    auto help = "help " + command.path;
    CHECK(run({"shell", "-c", help.c_str()}).code == exit_ok);
    auto verb = run({"shell", "-c", (command.path + " --no-such-option").c_str()});
    auto is_verb =
        verb.err.find("no verb") == std::string::npos && verb.err.find("not for the shell") == std::string::npos;
    CHECK(is_verb == !no_verb.contains(command.path));
  });
  CHECK(commands > 50);
}
