#include "messages/errc.hpp"
#include "messages/type_ids.hpp"
#include "messages/wire/app.pb.h"
#include "runtime/cli/commands/commands.hpp"
#include "runtime/cli/spec_json.hpp"
#include "runtime/cli/table.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <map>
#include <string>

namespace astra {
namespace {

tone tone_of_action(const std::string& action) {
  if (action == "keep")
    return tone::faint;
  return action == "create" ? tone::good : tone::warning;
}

// "2 to create, 1 to stop, 3 stay"
std::string plan_counts(const json& plan) {
  std::map<std::string, std::size_t> counts;
  std::size_t unplaced = 0;
  for (const auto& replica : list_in(plan, "replicas")) {
    ++counts[text_in(replica, "action")];
    unplaced += flag_in(replica, "unplaced") ? 1 : 0;
  }
  std::string text;
  for (auto action : {"create", "replace", "move", "stop"})
    if (auto count = counts[action]; count > 0)
      text += fmt::format("{}{} to {}", text.empty() ? "" : ", ", count, action);
  if (auto count = counts["keep"]; count > 0)
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", count, count == 1 ? "stays" : "stay");
  if (unplaced > 0)
    text += fmt::format("; {} of them without a place", unplaced);
  return text.empty() ? "no replicas" : text;
}

} // namespace

const command_text app_plan_text = {
    "Show what applying an app's file would do now",
    "Asks the app's scheduler, which plans on a copy of what it knows and changes nothing. Exit code 10 when the app "
    "would change, 0 when not. The plan has an index: 'astra app apply FILE --plan INDEX' refuses with exit code 6 "
    "when "
    "the cluster has moved on. Between equally good nodes the scheduler may then choose another one.",
    "astra app plan ocr.toml\nastra app plan ocr.toml -o json",
};

int plan_app_file(command_context& context, const std::string& file) {
  pb::AppSpec spec;
  if (auto code = read_app_file(context, file, spec); code != exit_ok)
    return code;
  auto answer = context.ask("POST", "/v1/apps/" + percent_encoded(spec.name()) + "/plan", spec_to_json(spec).dump(),
                            "application/json");
  if (!answer) {
    // The gateway knows rules that this version does not.
    auto refused = answer.error() == errc::invalid_argument;
    return context.fail(refused ? exit_bad_config : exit_code_of(answer.error()), error_text(answer.error()));
  }
  auto changes = flag_in(*answer, "changes");
  if (context.options.format == output_format::json) {
    context.out() << pretty(*answer);
  } else {
    context.out() << render_app_plan(*answer, context.options.colour_out);
    if (changes)
      context.out() << fmt::format("\nto apply exactly this: astra app apply {} --plan {}\n", file,
                                   printable(text_in(*answer, "index")));
  }
  context.out().flush();
  return changes ? exit_plan_changes : exit_ok;
}

std::string render_app_plan(const json& plan, bool colour) {
  auto out = fmt::format("app {}: {}\n  {}\n", printable(text_in(plan, "name")), printable(text_in(plan, "change")),
                         plan_counts(plan));
  const auto& replicas = list_in(plan, "replicas");
  auto federated =
      std::any_of(replicas.begin(), replicas.end(), [](auto& row) { return !text_in(row, "role").empty(); });
  text_table table{{{federated ? "MEMBER" : "REPLICA", federated ? align::left : align::right},
                    {"ACTION"},
                    {"FROM"},
                    {"TO"},
                    {"REASON"}}};
  for (const auto& replica : replicas) {
    auto action = text_in(replica, "action");
    auto unplaced = flag_in(replica, "unplaced");
    table.add({federated ? text_in(replica, "role") : std::to_string(count_in(replica, "index")),
               {action, tone_of_action(action)},
               text_in(replica, "from"),
               {unplaced ? "no place" : text_in(replica, "to"), unplaced ? tone::bad : tone::plain},
               text_in(replica, "reason")});
  }
  if (!table.empty())
    out += "\n" + table.render(colour);
  return out;
}

} // namespace astra
