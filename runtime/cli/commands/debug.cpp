#include "runtime/cli/commands/debug.hpp"

#include "messages/errc.hpp"
#include "messages/type_ids.hpp"
#include "runtime/cli/human.hpp"
#include "runtime/cli/redact.hpp"
#include "runtime/cli/table.hpp"
#include "runtime/cli/tar.hpp"
#include "runtime/version.hpp"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <ctime>
#include <fcntl.h>
#include <map>
#include <optional>
#include <unistd.h>
#include <utility>

namespace astra {
namespace {

// A bundle is read by people and sent by mail.
constexpr std::size_t nodes_max = 10'000;
constexpr std::size_t apps_max = 500;
constexpr std::size_t events_max = 10'000;
constexpr std::size_t tasks_max = 1000;

/// Gathers the parts, and what is missing and why.
class bundle {
public:
  bundle(command_context& context, std::int64_t seconds) : context_(context), seconds_(seconds) {}

  void add(const std::string& name, const json& part) { write(name, pretty(redacted(part, redactions_))); }

  void add_text(const std::string& name, std::string_view part) { write(name, redacted(part, redactions_)); }

  /// Of what is redacted already.
  void write(const std::string& name, const std::string& content) {
    auto path = fmt::format("astra-bundle/{}", name);
    if (!archive_.add(path, content, seconds_))
      return lacks(name, "its name is too long for the archive");
    files_.push_back({{"file", name}, {"bytes", content.size()}});
    context_.say(fmt::format("{:<32} {}", printable(name), human_bytes(content.size())));
  }

  void lacks(const std::string& name, const std::string& reason) {
    std::size_t ignored = 0;
    auto clean = redacted(std::string_view{reason}, ignored);
    missing_.push_back({{"file", name}, {"reason", clean}});
    context_.say(fmt::format("{:<32} missing: {}", printable(name), printable(clean)));
  }

  /// What one GET answers.  Nothing: it is told as missing.
  std::optional<json> get(const std::string& name, const std::string& target) {
    auto answer = context_.ask("GET", target);
    if (!answer) {
      lacks(name, error_text(answer.error()));
      return std::nullopt;
    }
    add(name, *answer);
    return std::move(*answer);
  }

  /// What comes line by line, without its end line.
  void get_lines(const std::string& name, const std::string& target) {
    std::string text;
    std::optional<std::uint64_t> more;
    auto failed = context_.read_lines(target, [&](const json& line) {
      if (flag_in(line, "end"))
        more = count_in(line, "more");
      else if (line.contains("note"))
        lacks(name, fmt::format("{}: {}", text_in(line, "resource"), text_in(line, "message")));
      else
        text += redacted(line, redactions_).dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
      return true;
    });
    if (text.empty() && failed)
      return lacks(name, error_text(failed));
    write(name, text);
    if (failed)
      lacks(name, "only a part: " + error_text(failed));
    else if (more.value_or(0) > 0)
      lacks(name, fmt::format("only a part: {} more", *more));
  }

  std::string finish(json about) && {
    about["redacted"] = redactions_;
    about["files"] = files_;
    about["missing"] = missing_;
    archive_.add("astra-bundle/manifest.json", pretty(about), seconds_);
    return std::move(archive_).finish();
  }

  const json& files() const { return files_; }
  const json& missing() const { return missing_; }
  std::size_t redactions() const { return redactions_; }

private:
  command_context& context_;
  std::int64_t seconds_;
  tar_archive archive_;
  std::size_t redactions_ = 0;
  json files_ = json::array();
  json missing_ = json::array();
};

/// A name as one part of a path.
std::string file_part(const std::string& name) {
  auto out = percent_encoded(name);
  return out == "." || out == ".." ? "_" + out : out;
}

std::int64_t now_s() {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

void add_apps(bundle& to, command_context& context) {
  auto apps = to.get("apps.json", "/v1/apps");
  if (!apps)
    return;
  std::size_t count = 0;
  for (const auto& entry : list_in(*apps, "apps")) {
    auto name = text_in(entry, "name");
    if (++count > apps_max) {
      to.lacks("apps/", fmt::format("only the first {} of {}", apps_max, list_in(*apps, "apps").size()));
      break;
    }
    auto path = "/v1/apps/" + percent_encoded(name);
    auto in = "apps/" + file_part(name) + "/";
    if (auto app = to.get(in + "app.json", path))
      to.add_text(in + "why.txt", render_why_app(*app, std::nullopt, false));
    to.get(in + "history.json", path + "/history");
    to.get(in + "router.json", "/v1/routers/" + percent_encoded(name));
    if (context.environment.interrupted())
      return;
  }
}

void add_tasks(bundle& to, command_context& context) {
  auto answer = context.ask("GET", fmt::format("/v1/tasks?limit={}", tasks_max));
  if (!answer)
    return to.lacks("tasks.json", error_text(answer.error()));
  // What clients sent and what apps wrote is theirs: only where each stands.
  std::map<std::string, std::map<std::string, std::size_t>> counts;
  for (const auto& task : list_in(*answer, "tasks"))
    ++counts[text_in(task, "app")][text_in(task, "state")];
  json summary = json::object();
  for (const auto& [app, states] : counts)
    for (const auto& [state, count] : states)
      summary[app][state] = count;
  to.add("tasks.json", {{"tasks", list_in(*answer, "tasks").size()},
                        {"complete", !answer->contains("next")},
                        {"states_by_app", std::move(summary)}});
  if (answer->contains("next"))
    to.lacks("tasks.json", fmt::format("only the newest {} are counted", tasks_max));
}

void add_metrics(bundle& to, command_context& context) {
  http_call call;
  call.target = "/metrics";
  auto answer = context.call(std::move(call));
  if (!answer)
    to.lacks("metrics.txt", error_text(answer.error()));
  else if (answer->status != 200)
    to.lacks("metrics.txt", error_text(to_error(*answer, gateway_address(context.options))));
  else
    to.add_text("metrics.txt", answer->body);
}

/// Only for its owner, and never over another file.  Empty: written.
std::string write_new_file(const std::string& path, std::string_view bytes) {
  auto file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (file < 0)
    return std::strerror(errno);
  std::string problem;
  while (!bytes.empty() && problem.empty()) {
    auto written = ::write(file, bytes.data(), bytes.size());
    if (written >= 0)
      bytes.remove_prefix(static_cast<std::size_t>(written));
    else if (errno != EINTR)
      problem = std::strerror(errno);
  }
  if (::close(file) != 0 && problem.empty())
    problem = std::strerror(errno);
  if (!problem.empty())
    ::unlink(path.c_str());
  return problem;
}

} // namespace

const command_text debug_text = {"Gather what helps to find out what is wrong", "", ""};

const command_text debug_bundle_text = {
    "Write what there is to know of the cluster into one tar file",
    "Status, nodes, events, apps with their specs, reasons, histories and routers, quotas, models, a summary of tasks, "
    "the gateway's metrics and the versions.  What looks like a secret is taken out: values of environments, tokens, "
    "passwords, keys, users and passwords in URLs; look through it all the same before you hand it on.  manifest.json "
    "in "
    "it lists the files and names what could not be had, with the reason.  FILE is readable by you alone, and one that "
    "is there is never overwritten.",
    "astra debug bundle\nastra debug bundle /tmp/ticket-4711.tar",
};

int write_debug_bundle(command_context& context, const std::string& file) {
  auto begun = now_s();
  auto time = fmt::gmtime(static_cast<std::time_t>(begun));
  auto path = file.empty() ? fmt::format("astra-bundle-{:%Y%m%dT%H%M%SZ}.tar", time) : file;
  // Before the cluster is asked a hundred questions for nothing.
  auto refuse = [&] {
    return context.fail(exit_conflict,
                        fmt::format("{} is there already and is not overwritten; name another file", printable(path)));
  };
  if (::access(path.c_str(), F_OK) == 0)
    return refuse();
  bundle all{context, begun};
  all.write("version.txt", version_line() + "\n");
  auto status = context.ask("GET", "/v1/status");
  if (!status)
    return context.fail(status.error());
  all.add("status.json", *status);
  auto go_on = [&] { return !context.environment.interrupted(); };
  if (go_on())
    all.get_lines("nodes.ndjson", fmt::format("/v1/nodes?format=ndjson&limit={}", nodes_max));
  if (go_on())
    all.get_lines("events.ndjson", fmt::format("/v1/events?follow=0&last={}", events_max));
  if (go_on())
    add_apps(all, context);
  for (auto [name, target] : {std::pair{"quotas.json", "/v1/quotas"},
                              {"models.json", "/v1/models"},
                              {"model-nodes.json", "/v1/model-nodes"},
                              {"model-limit.json", "/v1/model-limit"}})
    if (go_on())
      all.get(name, target);
  if (go_on())
    add_tasks(all, context);
  if (go_on())
    add_metrics(all, context);
  if (!go_on())
    return context.fail(exit_failed, "interrupted; nothing was written");
  auto missing = all.missing();
  json told = {{"file", path}, {"files", all.files()}, {"missing", missing}, {"redacted", all.redactions()}};
  auto bytes = std::move(all).finish({{"made", fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", time)},
                                      {"client", version_line()},
                                      {"gateway", text_in(*status, "gateway")}});
  if (auto problem = write_new_file(path, bytes); !problem.empty())
    return ::access(path.c_str(), F_OK) == 0
               ? refuse()
               : context.fail(exit_failed, fmt::format("cannot write {}: {}", printable(path), problem));
  if (context.options.format == output_format::json)
    context.out() << pretty(told);
  else
    context.out() << fmt::format("{}: {}{}, {} taken out\n", printable(path), human_bytes(bytes.size()),
                                 missing.empty() ? "" : fmt::format(", {} missing", counted(missing.size(), "part")),
                                 counted(told["redacted"].get<std::size_t>(), "secret"));
  return exit_ok;
}

} // namespace astra
