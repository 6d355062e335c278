#include "runtime/cli/commands/commands.hpp"
#include "runtime/cli/table.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <string>

namespace astra {

const command_text app_history_text = {
    "List what an app was, revision by revision",
    "Every apply, delete and rollback is a revision; the last 50 are kept, also when the app is deleted. The current "
    "one "
    "is marked with *.",
    "astra app history ocr\nastra app history ocr --where 'by == alice' --limit 5",
};

const command_text app_rollback_text = {
    "Make an app what it was at an earlier revision",
    "Without --to: at the one before the current one, so that a second rollback undoes the first. The rollback is a "
    "new "
    "revision. A deleted app comes back.",
    "astra app rollback ocr\nastra app rollback ocr --to 3",
};

const listing& history_listing() {
  static const listing what{"revisions",
                            "revision",
                            "revision",
                            {"revision", "when", "by", "change", "note", "current", "deleted", "spec"},
                            render_app_history};
  return what;
}

int show_app_history(command_context& context, const std::string& name, const list_options& options) {
  return print_list(context, history_listing(), options, [&] {
    auto answer = context.ask("GET", "/v1/apps/" + percent_encoded(name) + "/history");
    // The newest first.
    if (answer && answer->contains("revisions") && (*answer)["revisions"].is_array())
      std::reverse((*answer)["revisions"].begin(), (*answer)["revisions"].end());
    return answer;
  });
}

int roll_back_app(command_context& context, const rollback_options& options) {
  auto target = "/v1/apps/" + percent_encoded(options.app) + "/rollback";
  if (options.to)
    target += fmt::format("?to={}", *options.to);
  auto answer = context.ask("POST", target);
  if (!answer)
    return context.fail(answer.error());
  context.out() << (context.options.format == output_format::json
                        ? pretty(*answer)
                        : fmt::format("app {}: {}\n", options.app, printable(text_in(*answer, "message"))));
  return exit_ok;
}

std::string render_app_history(const json& history, bool colour) {
  text_table table{{{"REVISION", align::right}, {""}, {"WHEN"}, {"BY"}, {"CHANGE"}}};
  for (const auto& revision : list_in(history, "revisions")) {
    auto current = flag_in(revision, "current");
    table.add({std::to_string(count_in(revision, "revision")),
               {current ? "*" : "", tone::good},
               text_in(revision, "when"),
               text_in(revision, "by"),
               {text_in(revision, "change"), flag_in(revision, "deleted") ? tone::warning : tone::plain}});
  }
  auto out = table.empty() ? std::string{"no revisions\n"} : table.render(colour);
  if (auto note = printable(text_in(history, "note")); !note.empty())
    out += note + "\n";
  return out;
}

} // namespace astra
