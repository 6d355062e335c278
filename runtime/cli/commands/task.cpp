#include "runtime/cli/commands/commands.hpp"

#include "config/units.hpp"
#include "messages/errc.hpp"
#include "messages/type_ids.hpp"
#include "runtime/cli/human.hpp"
#include "runtime/cli/table.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <limits>
#include <optional>
#include <utility>

namespace astra {
namespace {

using namespace std::chrono_literals;

/// One question to the gateway, which holds it until the task has ended.
constexpr auto wait_at_once = 30s;
constexpr auto answer_grace = 10s;
/// A gateway that is gone for longer is not just being restarted.
constexpr auto gone_max = 60s;
constexpr auto ask_again = 500ms;
/// The gateway's own limit for one answer.
constexpr std::size_t tasks_page = 1000;
/// Without --limit, where nothing asks for all.
constexpr std::size_t tasks_usual = 100;

std::string path_of(const std::string& id) {
  return "/v1/tasks/" + percent_encoded(id);
}

/// The exit code that a refusal of the routes of tasks means.
exit_code code_of(const http_answer& answer, const caf::error& reason) {
  auto name = text_in(list_in(json::parse(answer.body, nullptr, false), "error"), "code");
  if (name == "not_finished" || name == "expired")
    return exit_unreachable;
  if (name == "failed" || name == "cancelled")
    return exit_failed;
  if (name == "dropped" || name == "unknown_task" || name == "other_gateway")
    return exit_not_found;
  return exit_code_of(reason);
}

int refuse(command_context& context, const http_answer& answer) {
  auto reason = to_error(answer, gateway_address(context.options));
  return context.fail(code_of(answer, reason), error_text(reason));
}

bool is_good(const http_answer& answer) {
  return answer.status >= 200 && answer.status <= 299;
}

/// What a task's end means for a script.
exit_code code_of_end(const std::string& state) {
  if (state == "done")
    return exit_ok;
  return state == "expired" ? exit_unreachable : exit_failed;
}

bool has_ended(const std::string& state) {
  return !state.empty() && state != "queued" && state != "running";
}

caf::expected<http_answer> ask(command_context& context, std::string method, std::string target) {
  http_call call;
  call.method = std::move(method);
  call.target = std::move(target);
  return context.call(std::move(call));
}

/// Asks until the task has ended.  A gateway that is being restarted goes on with it.
/// Fails with timed_out when the time is over.
caf::expected<json> wait_for_end(command_context& context, const std::string& id, milliseconds limit) {
  auto& environment = context.environment;
  auto until = environment.now() + limit;
  std::optional<std::chrono::steady_clock::time_point> gone_since;
  std::string state = "queued";
  for (;;) {
    auto left = std::chrono::duration_cast<milliseconds>(until - environment.now());
    if (left <= 0ms)
      return caf::make_error(errc::timed_out, fmt::format("task {} is still {} after {}; astra task show {}", id, state,
                                                          human_duration(limit), id));
    http_call call;
    call.method = "GET";
    auto wait = std::min<milliseconds>(left, wait_at_once);
    call.target = fmt::format("{}?wait={}", path_of(id), format_duration(wait));
    call.timeout = wait + answer_grace;
    auto asked = environment.now();
    auto answer = context.call(std::move(call));
    if (answer && is_good(*answer)) {
      gone_since.reset();
      auto task = json::parse(answer->body, nullptr, false);
      state = text_in(task, "state");
      if (has_ended(state))
        return task;
      // A gateway that shuts down answers at once.
      if (environment.now() - asked < wait / 2)
        environment.sleep(ask_again);
      continue;
    }
    auto reason = answer ? to_error(*answer, gateway_address(context.options)) : std::move(answer.error());
    auto code = exit_code_of(reason);
    if (answer && answer->status != 503 && code != exit_unreachable)
      return reason;
    auto now = environment.now();
    if (now - gone_since.value_or(now) > gone_max)
      return reason;
    gone_since = gone_since.value_or(now);
    if (context.options.verbose)
      context.say(error_text(reason));
    environment.sleep(ask_again);
  }
}

int print_result(command_context& context, const std::string& id, const std::string& file) {
  auto answer = ask(context, "GET", path_of(id) + "/result");
  if (!answer)
    return context.fail(answer.error());
  if (!is_good(*answer))
    return refuse(context, *answer);
  if (file.empty() || file == "-") {
    context.out() << answer->body;
    return exit_ok;
  }
  std::ofstream out{file, std::ios::binary | std::ios::trunc};
  out << answer->body;
  out.close();
  if (!out)
    return context.fail(exit_failed, fmt::format("cannot write {}: {}", file, std::strerror(errno)));
  return exit_ok;
}

tone tone_of(const std::string& state) {
  if (state == "done")
    return tone::good;
  if (state == "failed" || state == "expired")
    return tone::bad;
  return state == "cancelled" ? tone::warning : tone::plain;
}

/// "2026-11-26 19:10:03" of "2026-11-26T19:10:03.123Z".
std::string readable(std::string time) {
  if (time.size() > 19)
    time.resize(19);
  std::replace(time.begin(), time.end(), 'T', ' ');
  return time;
}

} // namespace

const command_text task_text = {
    "Work that is taken now and done when there is room: submit it, follow it, fetch its result", {}, {}};

const command_text task_submit_text = {
    "Hand a task to an app and print its id",
    "When the id is printed the task is on the gateway's disk: it is worked on, at least once, whatever is killed, "
    "until "
    "it is done, its deadline passes, or the app itself has failed at it three times.  With --key it is safe to send "
    "again after a failure.  With --wait its result goes to stdout, and the exit code is 0 done, 1 failed or "
    "cancelled, "
    "5 not done in time.",
    "astra task submit ocr page.png\nastra task submit ocr page.png --key page-17 --deadline 2h\n"
    "astra task submit ocr --wait < page.png > page.txt",
};

const command_text task_list_text = {
    "List the tasks of the gateway, the newest first",
    "With --where and --sort all of them are looked at, else the 100 newest, or as many as --limit says.",
    "astra task list\nastra task list --app ocr --state failed\nastra task list --where 'attempts > 1' --sort "
    "-attempts",
};

const command_text task_show_text = {
    "Show one task: its state, why, its attempts, its times",
    "",
    "astra task show gateway-1.42.9f8e7d6c5b4a3921",
};

const command_text task_result_text = {
    "Fetch the result of a task that is done",
    "The app's bytes go to stdout, or to a file, unchanged.  Exit code 1: the task failed or was cancelled; 4: there "
    "is "
    "none, or it was dropped; 5: it is not done.",
    "astra task result gateway-1.42.9f8e7d6c5b4a3921 -f page.txt",
};

const command_text task_cancel_text = {
    "Cancel a task, down to the process that works on it",
    "One that has ended is left as it is, with exit code 6; --drop forgets it and its result then.",
    "astra task cancel gateway-1.42.9f8e7d6c5b4a3921",
};

int submit_task(command_context& context, const task_submit_options& options) {
  auto body = read_body(context, options.file);
  if (!body)
    return context.fail(body.error());
  http_call call;
  call.method = "POST";
  call.target = fmt::format("/v1/apps/{}/tasks", percent_encoded(options.app));
  call.body = std::make_shared<const std::string>(std::move(*body));
  call.content_type = options.content_type;
  if (!options.key.empty())
    call.headers.emplace_back("Idempotency-Key", options.key);
  if (options.priority)
    call.headers.emplace_back("Astra-Priority", std::to_string(*options.priority));
  if (options.deadline)
    call.headers.emplace_back("Astra-Deadline", format_duration(*options.deadline));
  if (options.keep)
    call.headers.emplace_back("Astra-Keep", format_duration(*options.keep));
  auto answer = context.call(std::move(call));
  if (!answer)
    return context.fail(answer.error());
  if (!is_good(*answer))
    return refuse(context, *answer);
  auto task = json::parse(answer->body, nullptr, false);
  auto id = text_in(task, "id");
  if (id.empty())
    return context.fail(exit_failed, fmt::format("{} answered {} without the id of a task; is it an Astra gateway?",
                                                 gateway_address(context.options), answer->status));
  auto as_json = context.options.format == output_format::json;
  if (!options.wait) {
    context.out() << (as_json ? pretty(task) : printable(id) + "\n");
    return exit_ok;
  }
  context.say(fmt::format("task {}", printable(id)));
  auto ended = wait_for_end(context, id, *options.wait);
  if (!ended)
    return context.fail(ended.error());
  auto state = text_in(*ended, "state");
  if (as_json) {
    context.out() << pretty(*ended);
    return code_of_end(state);
  }
  if (state == "done")
    return print_result(context, id, {});
  return context.fail(code_of_end(state), fmt::format("task {} is {}: {}", printable(id), printable(state),
                                                      printable(text_in(*ended, "reason"))));
}

const listing& task_listing() {
  static const listing what{"tasks",
                            "task",
                            "id",
                            {"id",       "app",      "state", "reason",     "key",          "priority",   "attempts",
                             "failures", "node",     "code",  "stderr",     "body_bytes",   "created",    "started",
                             "next_try", "deadline", "ended", "kept_until", "result_bytes", "result_type"},
                            render_tasks};
  return what;
}

int list_tasks(command_context& context, const task_list_options& options, const list_options& list) {
  // What is chosen or put in order here needs all of them, and the gateway hands out a page at a time.
  auto needs_all = !list.where.empty() || !list.sort.empty();
  auto wanted = needs_all ? std::numeric_limits<std::size_t>::max() : list.limit != 0 ? list.limit : tasks_usual;
  return print_list(context, task_listing(), list, [&]() -> caf::expected<json> {
    json all;
    std::string before;
    do {
      auto have = all.is_null() ? std::size_t{0} : all["tasks"].size();
      auto target = fmt::format("/v1/tasks?limit={}", std::min(wanted - have, tasks_page));
      for (auto [name, value] : {std::pair{"app", &options.app}, {"state", &options.state}, {"before", &before}})
        if (!value->empty())
          target += fmt::format("&{}={}", name, percent_encoded(*value));
      auto page = context.ask("GET", target);
      if (!page)
        return page;
      before = text_in(*page, "next");
      if (all.is_null()) {
        all = std::move(*page);
        if (!all.contains("tasks") || !all["tasks"].is_array())
          all["tasks"] = json::array();
      } else {
        for (auto& task : list_in(*page, "tasks"))
          all["tasks"].push_back(task);
        all.erase("next");
        if (!before.empty())
          all["next"] = before;
      }
    } while (!before.empty() && all["tasks"].size() < wanted);
    return all;
  });
}

int show_task(command_context& context, const task_options& options) {
  auto answer = ask(context, "GET", path_of(options.id));
  if (!answer)
    return context.fail(answer.error());
  if (!is_good(*answer))
    return refuse(context, *answer);
  return context.print(json::parse(answer->body, nullptr, false), render_task);
}

int fetch_task_result(command_context& context, const task_options& options) {
  return print_result(context, options.id, options.file);
}

int cancel_task(command_context& context, const task_options& options) {
  auto answer = ask(context, "DELETE", path_of(options.id) + (options.drop ? "?drop=1" : ""));
  if (!answer)
    return context.fail(answer.error());
  if (!is_good(*answer))
    return refuse(context, *answer);
  auto task = json::parse(answer->body, nullptr, false);
  if (context.options.format == output_format::json)
    context.out() << pretty(task);
  else
    context.out() << fmt::format("task {}: {}{}\n", printable(options.id), printable(text_in(task, "state")),
                                 text_in(task, "state") == "cancelled" ? "" : ", dropped");
  return exit_ok;
}

std::string render_tasks(const json& answer, bool colour) {
  text_table table{{{"ID"},
                    {"APP"},
                    {"STATE"},
                    {"PRIO", align::right},
                    {"TRIES", align::right},
                    {"CREATED (UTC)"},
                    {"NODE"},
                    {"REASON"}}};
  for (const auto& task : list_in(answer, "tasks")) {
    auto state = printable(text_in(task, "state"));
    table.add({printable(text_in(task, "id")),
               printable(text_in(task, "app")),
               {state, tone_of(state)},
               std::to_string(count_in(task, "priority")),
               std::to_string(count_in(task, "attempts")),
               readable(printable(text_in(task, "created"))),
               printable(text_in(task, "node")),
               printable(text_in(task, "reason"))});
  }
  return table.empty() ? "no tasks\n" : table.render(colour);
}

std::string render_task(const json& task, bool colour) {
  std::string out;
  auto add = [&](std::string_view title, const std::string& value) {
    if (!value.empty())
      out += fmt::format("{:<12} {}\n", title, value);
  };
  auto state = printable(text_in(task, "state"));
  out += fmt::format("task {}   {}\n", printable(text_in(task, "id")), paint(state, tone_of(state), colour));
  add("reason", printable(text_in(task, "reason")));
  add("app", printable(text_in(task, "app")));
  add("key", printable(text_in(task, "key")));
  add("priority", std::to_string(count_in(task, "priority")));
  auto failures = count_in(task, "failures");
  add("attempts", std::to_string(count_in(task, "attempts"))
                      + (failures > 0 ? fmt::format(", {} of them failed by the app", failures) : ""));
  add("node", printable(text_in(task, "node")));
  add("body", human_bytes(count_in(task, "body_bytes")));
  for (auto key : {"created", "started", "next_try", "deadline", "ended", "kept_until"}) {
    std::string title = key;
    std::replace(title.begin(), title.end(), '_', ' ');
    add(title, readable(printable(text_in(task, key))));
  }
  auto type = printable(text_in(task, "result_type"));
  if (state == "done")
    add("result", human_bytes(count_in(task, "result_bytes")) + (type.empty() ? "" : ", " + type));
  auto tail = text_in(task, "stderr");
  for (std::size_t begin = 0; begin < tail.size();) {
    auto end = std::min(tail.find('\n', begin), tail.size());
    out += "  | " + printable(tail.substr(begin, end - begin)) + "\n";
    begin = end + 1;
  }
  return out;
}

} // namespace astra
