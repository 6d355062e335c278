#include "runtime/cli/commands/model_progress.hpp"

#include "messages/type_ids.hpp"
#include "runtime/cli/human.hpp"
#include "runtime/cli/rate.hpp"
#include "runtime/cli/table.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <map>
#include <ostream>
#include <utility>

namespace astra {
namespace {

using namespace std::chrono_literals;
using std::chrono::milliseconds;
using time_point = std::chrono::steady_clock::time_point;

constexpr auto ask_again = 500ms;
/// Off a terminal, between two lines.
constexpr auto tell_again = 5s;
/// Who is gone for longer is not just being restarted.
constexpr auto gone_max = 60s;
/// Jobs in one request, and the bytes of their ids: both are limited by the gateway.
constexpr std::size_t ask_at_once = 200;
constexpr std::size_t ids_bytes_max = 4000;

constexpr std::size_t bar_width = 20;

double share_of(const json& job) {
  if (text_in(job, "state") == "done")
    return 1.0;
  auto total = number_in(job, "bytes_total");
  return total > 0.0 ? std::clamp(number_in(job, "bytes_done") / total, 0.0, 1.0) : 0.0;
}

bool has_ended(const json& job) {
  auto state = text_in(job, "state");
  return state == "done" || state == "failed";
}

/// 99.6 % is not all.
std::string percent_text(double share) {
  return fmt::format("{:.0f} %", std::floor(share * 100.0));
}

std::string query_of(const std::vector<std::string>& ids, std::size_t& next) {
  std::string list;
  for (std::size_t count = 0; next < ids.size() && count < ask_at_once && list.size() < ids_bytes_max; ++count, ++next)
    list += (list.empty() ? "" : ",") + percent_encoded(ids[next]);
  return "/v1/model-jobs?id=" + list;
}

/// One line on a terminal that is written anew, else a line now and then.
class progress_line {
public:
  progress_line(command_context& context, std::string what) : context_(context), what_(std::move(what)) {}

  void show(const job_progress& progress) {
    auto& environment = context_.environment;
    if (environment.err_is_terminal) {
      auto text = fmt::format("{} {}", what_, progress_text(progress, true));
      auto columns = environment.err_columns();
      *environment.err << "\r\033[K" << clipped(text, columns > 1 ? columns - 1 : columns) << std::flush;
      shown_ = true;
    } else if (!told_ || environment.now() - *told_ >= tell_again) {
      told_ = environment.now();
      context_.say(fmt::format("{} {}", what_, progress_text(progress, false)));
    }
  }

  void end() {
    if (std::exchange(shown_, false))
      *context_.environment.err << "\r\033[K" << std::flush;
  }

private:
  command_context& context_;
  std::string what_;
  bool shown_ = false;
  std::optional<time_point> told_;
};

} // namespace

double job_progress::share() const {
  if (jobs > 0 && done == jobs)
    return 1.0;
  return bytes_total == 0 ? 0.0 : static_cast<double>(bytes_done) / static_cast<double>(bytes_total);
}

job_progress summarise_jobs(const std::vector<json>& jobs) {
  job_progress result;
  auto all_known = true;
  auto longest = 0ms;
  std::size_t running = 0;
  for (const auto& job : jobs) {
    ++result.jobs;
    auto state = text_in(job, "state");
    if (state == "failed") {
      ++result.failed;
      continue;
    }
    auto total = count_in(job, "bytes_total");
    result.bytes_total += total;
    if (state == "done") {
      ++result.done;
      result.bytes_done += total;
      continue;
    }
    ++running;
    result.bytes_done += std::min(count_in(job, "bytes_done"), total);
    result.bytes_per_s += count_in(job, "bytes_per_s");
    result.peers += count_in(job, "peers");
    auto eta = count_in(job, "eta_ms");
    all_known = all_known && eta > 0;
    longest = std::max(longest, milliseconds{static_cast<std::int64_t>(eta)});
    auto share = share_of(job);
    if (result.slowest.empty() || share < result.slowest_share) {
      result.slowest = text_in(job, "node");
      result.slowest_share = share;
      result.reason = text_in(job, "reason");
    }
  }
  if (running > 0 && all_known)
    result.eta = longest;
  return result;
}

std::string progress_text(const job_progress& progress, bool bar) {
  auto share = progress.share();
  std::string text;
  if (bar) {
    auto full = static_cast<std::size_t>(std::floor(share * bar_width));
    text = "[" + std::string(full, '#') + std::string(bar_width - full, '-') + "]  ";
  }
  text += fmt::format("{:>5}", percent_text(share));
  if (progress.bytes_total > 0)
    text += fmt::format("  {} of {}", human_bytes(progress.bytes_done), human_bytes(progress.bytes_total));
  if (progress.bytes_per_s > 0)
    text += "  " + human_rate(progress.bytes_per_s);
  if (progress.peers > 0)
    text += "  " + counted(progress.peers, "peer");
  if (progress.eta)
    text += "  ETA " + human_duration(*progress.eta);
  if (progress.jobs > 1)
    text += fmt::format("  {} of {} nodes{}", progress.done, progress.jobs,
                        progress.failed > 0 ? fmt::format(", {} failed", progress.failed) : "");
  if (!progress.slowest.empty() && progress.jobs > 1)
    text += fmt::format("  {} {}", printable(progress.slowest), percent_text(progress.slowest_share));
  if (auto reason = bare_reason(progress.reason); !reason.empty())
    text += (progress.jobs > 1 ? ": " : "  ") + printable(reason);
  return text;
}

std::string clipped(std::string_view text, std::size_t columns) {
  auto end = text.size();
  for (auto width = display_width(text); width > columns; width = display_width(text.substr(0, end))) {
    // No character has more columns than bytes.
    end -= std::min(end, width - columns);
    // Not within a character.
    while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0U) == 0x80U)
      --end;
  }
  return std::string{text.substr(0, end)};
}

std::string bare_reason(std::string_view reason) {
  constexpr std::string_view share = " %, ";
  auto after_share = reason.find(share);
  if (after_share == std::string_view::npos || reason.find_first_not_of("0123456789") != after_share)
    return std::string{reason};
  reason.remove_prefix(after_share + share.size());
  auto limited = reason.find("limited by ");
  return std::string{limited == std::string_view::npos ? reason : reason.substr(limited)};
}

namespace {

/// Follows the jobs of one order.
class job_follower {
public:
  job_follower(command_context& context, const job_order& order) : context_(context), order_(order) {
    for (const auto& id : order.ids)
      jobs_.push_back({{"id", id}, {"node", id.substr(0, id.rfind(':'))}, {"state", "running"}});
  }

  caf::expected<followed_jobs> run() {
    auto& environment = context_.environment;
    progress_line line{context_, order_.verb + " " + order_.content};
    // From here on ^C is ours.
    environment.interrupted();
    for (;;) {
      auto failed = ask();
      auto progress = summarise_jobs(jobs_);
      auto left = !failed && !progress.ended() && environment.interrupted();
      if (failed || progress.ended() || left) {
        line.end();
        if (failed)
          return failed;
        return followed_jobs{std::move(jobs_), left};
      }
      line.show(progress);
      environment.sleep(ask_again);
    }
  }

private:
  /// Of all jobs that have not ended.
  caf::error ask() {
    std::vector<std::string> open;
    std::map<std::string, json*> by_id;
    for (auto& job : jobs_)
      if (!has_ended(job)) {
        open.push_back(text_in(job, "id"));
        by_id[open.back()] = &job;
      }
    for (std::size_t next = 0; next < open.size();) {
      auto answer = context_.ask("GET", query_of(open, next));
      if (!answer)
        return on_failure(std::move(answer.error()));
      gateway_gone_.reset();
      for (const auto& told : list_in(*answer, "jobs"))
        if (auto known = by_id.find(text_in(told, "id")); known != by_id.end())
          take(*known->second, told);
    }
    return {};
  }

  caf::error on_failure(caf::error reason) {
    auto now = context_.environment.now();
    auto since = gateway_gone_.value_or(now);
    if (exit_code_of(reason) != exit_unreachable || now - since > gone_max)
      return reason;
    gateway_gone_ = since;
    if (context_.options.verbose)
      context_.say(error_text(reason));
    return {};
  }

  void take(json& known, const json& told) {
    auto node = text_in(known, "node");
    if (text_in(told, "state") != "unknown" && is_ours(told)) {
      nodes_gone_.erase(node);
      known = told;
      return;
    }
    auto code = text_in(told, "code");
    known["bytes_per_s"] = 0;
    known["peers"] = 0;
    known.erase("eta_ms");
    known["reason"] = is_ours(told) ? text_in(told, "reason") : "the node was started anew";
    auto now = context_.environment.now();
    if (code == "unreachable" || code == "timed_out") {
      if (now - nodes_gone_.try_emplace(node, now).first->second > gone_max)
        known["state"] = "failed";
      return;
    }
    if (order_.again) {
      auto id = order_.again(node);
      if (id && !id->empty()) {
        known["id"] = *id;
        return;
      }
      if (!id)
        known["reason"] = error_text(id.error());
    }
    known["state"] = "failed";
  }

  /// A node that is started anew counts its jobs from 1 again.
  bool is_ours(const json& told) const {
    auto verb = text_in(told, "verb");
    auto name = text_in(told, "name");
    return (verb.empty() || verb == order_.verb)
           && (name.empty() || name == order_.content
               || fmt::format("{}@{}", name, count_in(told, "version")) == order_.content);
  }

  command_context& context_;
  const job_order& order_;
  std::vector<json> jobs_;
  std::optional<time_point> gateway_gone_;
  /// Since when nodes do not answer.
  std::map<std::string, time_point> nodes_gone_;
};

} // namespace

caf::expected<followed_jobs> follow_jobs(command_context& context, const job_order& order) {
  return job_follower{context, order}.run();
}

} // namespace astra
