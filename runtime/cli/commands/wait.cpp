#include "runtime/cli/commands/wait.hpp"

#include "config/naming.hpp"
#include "config/spelling.hpp"
#include "config/units.hpp"
#include "messages/errc.hpp"
#include "messages/type_ids.hpp"
#include "runtime/cli/human.hpp"
#include "runtime/cli/table.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <set>
#include <string_view>
#include <utility>

// A task's answer comes when the task has ended; the rest is asked for again and again, soon at first and then once a
// second.  ^C ends the process at once, because nothing here has to be put right.

namespace astra {
namespace {

using namespace std::chrono_literals;

constexpr auto patience = 60s;
constexpr auto first_pause = 100ms;
constexpr auto longest_pause = 1s;
constexpr auto answer_limit = 10s;
/// The gateway holds a question about a task so long.
constexpr auto task_hold = 5s;
/// What was made a moment ago may not have come to the gateway yet.
constexpr auto absence_grace = 2s;

constexpr std::string_view forms = "write app/NAME, node/NAME, model/NAME@VERSION or task/ID";

struct kind_row {
  std::string_view kind;
  /// The usual one first.
  std::vector<std::string> states;
};

const std::vector<kind_row>& kinds() {
  static const std::vector<kind_row> rows = {
      {"app", {"ready", "gone"}},
      {"node", {"online", "offline", "drained", "gone"}},
      {"model", {"complete", "gone"}},
      {"task", {"done", "gone"}},
  };
  return rows;
}

/// How it stands with what is waited for.
struct standing {
  bool holds = false;
  /// It will never be so.
  std::optional<exit_code> never;
  /// For the line that tells of the end.
  std::string brief;
  /// Lines that tell why it is not so yet.
  std::string why;
};

standing app_ready(const json& app) {
  standing result;
  const auto& replicas = list_in(app, "replicas_detail");
  auto outdated = std::any_of(replicas.begin(), replicas.end(), [](const auto& replica) {
    return flag_in(replica, "outdated") && text_in(replica, "state") == "ready";
  });
  const auto& rollout = list_in(app, "rollout");
  auto phase = text_in(rollout, "phase");
  auto updating = rollout.is_object() && !rollout.empty() && phase != "none";
  result.brief = fmt::format("{} of {} replicas", count_in(app, "ready"), count_in(app, "replicas"));
  result.holds =
      !flag_in(app, "deleting") && !updating && !outdated && count_in(app, "ready") >= count_in(app, "replicas");
  result.why = render_why_app(app, std::nullopt, false);
  if (flag_in(app, "deleting"))
    result.why = "it is being deleted\n" + result.why;
  else if (updating)
    result.why += fmt::format("update {}: {} of {} replaced\n", printable(phase), count_in(rollout, "updated"),
                              count_in(rollout, "total"));
  // A halted update goes on only when somebody does something about it.
  if (phase == "halted")
    result.never = exit_unreachable;
  return result;
}

standing node_state(const json& node, const std::string& wanted) {
  standing result;
  auto state = text_in(node, "state");
  auto reason = text_in(node, "reason");
  const auto& replicas = list_in(node, "replicas");
  auto busy = std::count_if(replicas.begin(), replicas.end(), [](const auto& replica) {
    auto its = text_in(replica, "state");
    return its != "stopped" && its != "failed";
  });
  auto running = count_in(node, "running");
  auto queued = count_in(node, "queued");
  result.why = render_why_node(node, false);
  if (wanted != "drained") {
    result.holds = state == wanted;
    result.brief = printable(reason);
    return result;
  }
  // One that has drained and ended says so with its goodbye.
  result.holds =
      (state == "draining" && busy == 0 && running == 0 && queued == 0) || (state == "offline" && reason == "drained");
  if (state == "draining" || state == "offline")
    result.why += fmt::format("{}, {} running, {} queued\n", counted(static_cast<std::size_t>(busy), "replica"),
                              counted(running, "request"), queued);
  else
    result.why += fmt::format("nobody drains it; 'astra node drain {}' does\n", printable(text_in(node, "name")));
  return result;
}

/// The version that is meant; null: there is none.
const json* version_in(const json& model, std::uint64_t version) {
  const json* newest = nullptr;
  for (const auto& one : list_in(model, "versions")) {
    if (flag_in(one, "removed"))
      continue;
    if (version != 0 && count_in(one, "version") == version)
      return &one;
    if (version == 0 && (newest == nullptr || count_in(one, "version") > count_in(*newest, "version")))
      newest = &one;
  }
  return newest;
}

standing model_complete(const json& version, std::optional<std::uint32_t> count) {
  standing result;
  auto complete = count_in(version, "complete");
  auto fetching = count_in(version, "fetching");
  result.holds = count ? complete >= *count : complete > 0 && fetching == 0;
  result.brief = "on " + counted(complete, "node");
  result.why = fmt::format("complete on {}, {} at it\n", counted(complete, "node"), fetching);
  for (const auto& holder : list_in(version, "holders"))
    if (auto state = text_in(holder, "state"); state != "ready") {
      auto reason = text_in(holder, "reason");
      result.why +=
          printable(fmt::format("{}: {} {} %{}", text_in(holder, "node"), state,
                                human_number(number_in(holder, "percent")), reason.empty() ? "" : ": " + reason))
          + "\n";
    }
  if (count && complete + fetching < *count)
    result.why += fmt::format("no more nodes are at it; 'astra model fetch {}@{} --count {}' has them begin\n",
                              printable(text_in(version, "name")), count_in(version, "version"), *count);
  return result;
}

standing task_done(const json& task) {
  standing result;
  auto state = text_in(task, "state");
  auto reason = printable(text_in(task, "reason"));
  result.holds = state == "done";
  if (state == "expired")
    result.never = exit_unreachable;
  else if (state == "failed" || state == "cancelled")
    result.never = exit_failed;
  auto attempts = count_in(task, "attempts");
  result.brief = attempts > 1 ? counted(attempts, "attempt") : "";
  result.why = fmt::format("{}{}\n", printable(state), reason.empty() ? "" : ": " + reason);
  return result;
}

class waiter {
public:
  waiter(command_context& context, const wait_options& options, std::string kind, std::string name, std::string state)
    : context_(context), options_(options), kind_(std::move(kind)), name_(std::move(name)), state_(std::move(state)) {
    if (kind_ == "model")
      parse_content_reference(name_, reference_);
  }

  int run() {
    auto& environment = context_.environment;
    auto began = environment.now();
    auto limit = context_.options.timeout.value_or(patience);
    auto since_began = [&] { return std::chrono::duration_cast<milliseconds>(environment.now() - began); };
    auto pause = std::chrono::duration_cast<milliseconds>(first_pause);
    std::optional<std::chrono::steady_clock::time_point> absent_since;
    std::string why;
    std::string told;
    for (;;) {
      auto left = limit - since_began();
      auto answer = left > 0ms ? context_.call(question(left)) : caf::expected<http_answer>{errc::timed_out};
      auto passed = since_began();
      if (left <= 0ms || (!answer && passed >= limit))
        return too_late(limit, why.empty() && !answer && left > 0ms ? error_text(answer.error()) : why);
      if (!answer || answer->status == 503 || answer->status == 504 || answer->status == 429) {
        auto reason = answer ? to_error(*answer, gateway_address(context_.options)) : std::move(answer.error());
        if (exit_code_of(reason) != exit_unreachable && !answer)
          return context_.fail(reason);
        why = error_text(reason);
        // A gateway that is just being started, or anew.
        if (told != why)
          context_.say(why + "; trying again");
        told = why;
      } else if (is_absent(*answer)) {
        if (state_ == "gone")
          return succeed(passed, {});
        absent_since = absent_since.value_or(environment.now());
        why = error_text(to_error(*answer, gateway_address(context_.options)));
        if (environment.now() - *absent_since >= absence_grace)
          return context_.fail(exit_not_found, why);
      } else if (answer->status < 200 || answer->status > 299) {
        return context_.fail(to_error(*answer, gateway_address(context_.options)));
      } else {
        auto parsed = json::parse(answer->body, nullptr, false);
        if (!parsed.is_object())
          return context_.fail(exit_failed, fmt::format("{} answered what is no JSON object; is it an Astra gateway?",
                                                        gateway_address(context_.options)));
        auto now = judge(parsed);
        if (!now) {
          if (state_ == "gone")
            return succeed(passed, {});
          absent_since = absent_since.value_or(environment.now());
          why = fmt::format("there is no model '{}'", printable(name_));
          if (environment.now() - *absent_since >= absence_grace)
            return context_.fail(exit_not_found, why);
        } else {
          absent_since.reset();
          if (now->holds)
            return succeed(passed, now->brief);
          if (now->never)
            return context_.fail(*now->never,
                                 fmt::format("{} will not be {}: {}", subject(), state_, trimmed(now->why)));
          why = now->why;
        }
      }
      left = limit - since_began();
      if (left <= 0ms)
        return too_late(limit, why);
      environment.sleep(std::min<milliseconds>(pause, left));
      pause = std::min<milliseconds>(pause * 3 / 2, longest_pause);
    }
  }

private:
  std::string subject() const { return fmt::format("{} {}", kind_, printable(name_)); }

  static std::string trimmed(std::string text) {
    while (text.ends_with('\n'))
      text.pop_back();
    return text;
  }

  http_call question(milliseconds left) const {
    http_call call;
    call.timeout = std::min<milliseconds>(left, answer_limit);
    if (kind_ == "app")
      call.target = "/v1/apps/" + percent_encoded(name_);
    else if (kind_ == "node")
      call.target = "/v1/nodes/" + percent_encoded(name_);
    else if (kind_ == "model")
      call.target = "/v1/models/" + percent_encoded(reference_.name);
    else
      call.target = "/v1/tasks/" + percent_encoded(name_);
    // It answers before this side gives up.
    if (kind_ == "task" && state_ == "done" && left > 1s)
      call.target += fmt::format("?wait={}", format_duration(std::min<milliseconds>(left - 500ms, task_hold)));
    return call;
  }

  static bool is_absent(const http_answer& answer) {
    // 410: a task that was dropped; 421: it is another gateway's.
    return answer.status == 404 || answer.status == 410 || answer.status == 421;
  }

  /// Nothing: there is no such version.
  std::optional<standing> judge(const json& answer) const {
    auto result = standing{};
    if (kind_ == "app") {
      result = app_ready(answer);
    } else if (kind_ == "node") {
      result = node_state(answer, state_);
    } else if (kind_ == "task") {
      result = task_done(answer);
    } else {
      const auto* version = version_in(answer, reference_.version);
      if (version == nullptr)
        return std::nullopt;
      result = model_complete(*version, options_.count);
    }
    if (state_ == "gone") {
      result.holds = false;
      result.never.reset();
    }
    return result;
  }

  int succeed(milliseconds after, const std::string& brief) {
    if (context_.options.format == output_format::json)
      context_.out() << pretty({{"what", options_.what}, {"state", state_}, {"after_ms", after.count()}});
    else
      context_.out() << fmt::format("{} is {}{}, after {}\n", subject(), state_, brief.empty() ? "" : ": " + brief,
                                    human_duration(after));
    return exit_ok;
  }

  int too_late(milliseconds limit, const std::string& why) {
    return context_.fail(exit_unreachable,
                         fmt::format("{} is not {} after {}\n{}", subject(), state_, human_duration(limit),
                                     why.empty() ? "the gateway did not answer" : trimmed(why)));
  }

  command_context& context_;
  const wait_options& options_;
  std::string kind_;
  std::string name_;
  std::string state_;
  /// Of a model.
  content_reference reference_;
};

} // namespace

const command_text wait_text = {
    "Wait until an app, a node, a model or a task is as it should be",
    "An app is ready when all its replicas are and no update is going on; a node is drained when nothing runs there "
    "any more; a model is complete when all nodes that are at it have it, or as many as --count says. --timeout is the "
    "time for all of it (default: 60s): when it is over the exit code is 5, and stderr tells why, as astra why does. "
    "What does not exist ends it with 4.",
    "astra wait app/ocr\nastra wait node/node-7 --for drained --timeout 10m\n"
    "astra wait model/llama@3 --for complete --count 8\nastra wait task/gateway-1.42.9f8e7d6c5b4a3921 --for done",
};

std::vector<std::string> wait_states() {
  std::vector<std::string> result;
  for (const auto& row : kinds())
    for (const auto& state : row.states)
      if (std::find(result.begin(), result.end(), state) == result.end())
        result.push_back(state);
  return result;
}

int wait_for(command_context& context, const wait_options& options) {
  auto slash = options.what.find('/');
  auto kind = options.what.substr(0, slash);
  auto name = slash == std::string::npos ? std::string{} : options.what.substr(slash + 1);
  auto row = std::find_if(kinds().begin(), kinds().end(), [&](const auto& one) { return one.kind == kind; });
  if (row == kinds().end() || name.empty())
    return context.fail(exit_usage,
                        fmt::format("'{}' names nothing that can be waited for; {}", printable(options.what), forms));
  auto state = options.state.empty() ? row->states.front() : options.state;
  if (std::find(row->states.begin(), row->states.end(), state) == row->states.end()) {
    auto meant = closest(state, row->states);
    return context.fail(exit_usage, fmt::format("--for: no {} is ever '{}'; {}", kind, printable(state),
                                                meant ? fmt::format("did you mean '{}'?", *meant)
                                                      : fmt::format("there are {}", fmt::join(row->states, ", "))));
  }
  if (options.count && (kind != "model" || state != "complete"))
    return context.fail(exit_usage, "--count is for models that are to be complete");
  if (kind == "model") {
    content_reference reference;
    if (auto problem = parse_content_reference(name, reference); !problem.empty())
      return context.fail(exit_usage, problem);
  }
  return waiter{context, options, kind, name, state}.run();
}

} // namespace astra
