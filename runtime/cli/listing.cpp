#include "runtime/cli/listing.hpp"

#include "messages/errc.hpp"
#include "messages/type_ids.hpp"
#include "runtime/cli/table.hpp"
#include "runtime/shell/parse.hpp"
#include "runtime/shell/render.hpp"
#include "runtime/shell/stages.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <sstream>
#include <utility>

namespace astra {
namespace {

using namespace std::chrono_literals;

/// $ and @ are the shell's.
caf::expected<json> resolve_nothing(const shell::reference& what) {
  return caf::make_error(
      errc::invalid_argument,
      fmt::format("{} is known in the shell only; write a value, or the text in quotes", shell::to_text(what)));
}

std::vector<std::string> split(std::string_view text, char by) {
  std::vector<std::string> parts;
  for (std::size_t begin = 0, end = 0; end != std::string_view::npos; begin = end + 1) {
    end = text.find(by, begin);
    parts.emplace_back(text.substr(begin, end == std::string_view::npos ? end : end - begin));
  }
  return parts;
}

/// "llama@3" for what has a version.
std::string name_of(const json& row, const char* key) {
  auto field = row.find(key);
  if (field == row.end())
    return {};
  auto name = shell::plain_text(*field);
  return std::string_view{key} == "name" && row.contains("version")
             ? fmt::format("{}@{}", name, shell::plain_text(row["version"]))
             : name;
}

/// The plural of what a list has.
std::string plural(std::string_view noun) {
  return noun.ends_with('s') ? std::string{noun} : std::string{noun} + "s";
}

} // namespace

std::string shown_of(std::size_t shown, std::size_t all, std::string_view noun) {
  return fmt::format("{} of {} {} {} shown", shown, all, all == 1 ? std::string{noun} : plural(noun),
                     shown == 1 ? "is" : "are");
}

exit_code fail_where(command_context& context, const std::string& where, std::size_t column, std::string_view message) {
  context.fail(exit_usage, fmt::format("--where, column {}: {}", column, message));
  if (where.find('\n') == std::string::npos) {
    context.say("  " + printable(where));
    // The column counts characters.
    std::size_t end = 0;
    for (std::size_t i = 1; i < column && end < where.size(); ++i)
      do
        ++end;
      while (end < where.size() && (static_cast<unsigned char>(where[end]) & 0xc0) == 0x80);
    context.say(std::string(2 + display_width(printable(where.substr(0, end))), ' ') + "^");
  }
  return exit_usage;
}

exit_code read_selection(command_context& context, const list_options& options, row_selection& to) {
  to.limit = options.limit;
  if (options.where.find_first_not_of(" \t\n") != std::string::npos) {
    auto parsed = shell::parse_condition(options.where);
    if (parsed.error)
      return fail_where(context, options.where, static_cast<std::size_t>(parsed.error->at.column),
                        parsed.error->message);
    to.where.emplace();
    to.where->what = shell::stage::kind::where;
    to.where->filter = std::move(parsed.what);
  }
  if (options.sort.empty())
    return exit_ok;
  to.sort.emplace();
  to.sort->what = shell::stage::kind::sort;
  for (auto& key : split(options.sort, ',')) {
    shell::field_choice field;
    field.falling = key.starts_with('-');
    field.path = split(std::string_view{key}.substr(field.falling ? 1 : 0), '.');
    if (std::any_of(field.path.begin(), field.path.end(), [](auto& part) { return part.empty(); })) {
      context.fail(exit_usage, fmt::format("--sort: '{}' is no list of keys; write them as KEY or -KEY with commas "
                                           "between, such as -restarts,name",
                                           printable(options.sort)));
      return exit_usage;
    }
    to.sort->fields.push_back(std::move(field));
  }
  return exit_ok;
}

caf::expected<bool> is_wanted(const row_selection& selection, const json& row) {
  return selection.where ? shell::holds(selection.where->filter, row, resolve_nothing) : true;
}

caf::error check_selection(const row_selection& selection, const json& rows, const std::vector<std::string>& keys) {
  if (selection.where)
    if (auto wrong = shell::check_keys(selection.where->filter, rows, keys))
      return caf::make_error(errc::invalid_argument, "--where: " + error_text(wrong));
  if (selection.sort)
    for (auto& field : selection.sort->fields)
      if (auto wrong = shell::check_key(field.path, rows, keys))
        return caf::make_error(errc::invalid_argument, "--sort: " + error_text(wrong));
  return {};
}

caf::expected<json> in_order(const row_selection& selection, json rows, const std::vector<std::string>& keys) {
  return selection.sort ? shell::apply(*selection.sort, rows, resolve_nothing, keys) : rows;
}

std::string rows_in(output_format format, const json& rows, const char* name, const std::vector<std::string>& keys) {
  switch (format) {
  case output_format::csv:
    return shell::csv_of(rows, keys);
  case output_format::ndjson:
    return shell::render(rows, shell::output_mode::ndjson, false);
  case output_format::line:
    return shell::render(rows, shell::output_mode::line, false);
  case output_format::name: {
    std::string out;
    for (auto& row : rows)
      out += printable(name_of(row, name)) + "\n";
    return out;
  }
  case output_format::table:
  case output_format::json:
    break;
  }
  return pretty(rows);
}

int print_list(command_context& context, const listing& what, const list_options& options,
               const std::function<caf::expected<json>()>& ask) {
  row_selection selection;
  if (auto code = read_selection(context, options, selection); code != exit_ok)
    return code;
  auto answer = ask();
  if (!answer)
    return context.fail(answer.error());
  json rows = what.take ? what.take(*answer) : list_in(*answer, what.rows);
  auto in_answer = rows.size();
  if (auto wrong = check_selection(selection, rows, what.keys))
    return context.fail(exit_usage, error_text(wrong));
  if (selection.where) {
    auto wanted = shell::apply(*selection.where, rows, resolve_nothing, what.keys);
    if (!wanted)
      return context.fail(exit_usage, "--where: " + error_text(wanted.error()));
    rows = std::move(*wanted);
  }
  auto sorted = in_order(selection, std::move(rows), what.keys);
  if (!sorted)
    return context.fail(exit_usage, "--sort: " + error_text(sorted.error()));
  rows = std::move(*sorted);
  auto matching = rows.size();
  if (selection.limit != 0 && rows.size() > selection.limit) {
    if (what.keeps_last && !selection.sort)
      rows.erase(rows.begin(), rows.end() - selection.limit);
    else
      rows.erase(rows.begin() + selection.limit, rows.end());
  }
  auto left_out = matching - rows.size() + count_in(*answer, "more");
  auto unknown_rest = answer->contains("next");
  auto changed = selection.where || selection.sort || left_out > 0;
  auto shown = rows.size();
  auto format = context.options.format;
  auto as_rows = format != output_format::table && format != output_format::json;
  auto text = as_rows ? rows_in(format, rows, what.name, what.keys) : std::string{};
  if (changed && what.put)
    what.put(*answer, std::move(rows));
  else if (changed)
    (*answer)[what.rows] = std::move(rows);
  if (left_out > 0)
    (*answer)["more"] = left_out;
  if (context.environment.on_shown)
    context.environment.on_shown(*answer);
  if (format == output_format::json)
    text = pretty(*answer);
  else if (format == output_format::table && (shown > 0 || in_answer == 0))
    text = what.render(*answer, context.options.colour_out);
  context.out() << text;
  if (shown == 0 && in_answer > 0)
    context.say(fmt::format("no {} matches", what.noun));
  if (left_out > 0)
    context.say(shown_of(shown, shown + left_out, what.noun));
  else if (unknown_rest)
    context.say(fmt::format("{} {} shown, and there are more; --limit says how many are wanted", shown,
                            shown == 1 ? std::string{what.noun} : plural(what.noun)));
  return exit_ok;
}

int repeat(command_context& context, std::chrono::milliseconds period,
           const std::function<int(command_context&)>& what) {
  auto& environment = context.environment;
  auto& real = *environment.out;
  auto& notes = *environment.err;
  auto code = int{exit_ok};
  for (auto first = true; !environment.interrupted(); first = false) {
    auto begun = environment.now();
    if (environment.out_is_terminal) {
      // All at once, over what was there: line by line it would flicker.
      std::ostringstream drawn;
      environment.out = &drawn;
      // What is said of the rows would be drawn over.
      std::ostringstream said;
      environment.err = &said;
      code = what(context);
      environment.out = &real;
      environment.err = &notes;
      if (code == exit_ok)
        drawn << said.str();
      else
        notes << said.str() << std::flush;
      std::string text;
      for (auto& line : split(drawn.str(), '\n'))
        text += (text.empty() ? "\033[H" : "\033[K\r\n") + line;
      if (code == exit_ok || first)
        real << (first ? "\033[2J" : "") << text << "\033[J";
    } else {
      if (!first && (context.options.format == output_format::table || context.options.format == output_format::line))
        real << '\n';
      code = what(context);
    }
    real.flush();
    if (!real)
      return exit_failed;
    // Who watches wants to see it come back; what was wrong from the start stays so.
    if (code != exit_ok && (first || code != exit_unreachable))
      return code;
    constexpr auto slice = 50ms;
    for (auto left = period - std::chrono::duration_cast<std::chrono::milliseconds>(environment.now() - begun);
         left > 0ms && !environment.interrupted();
         left = period - std::chrono::duration_cast<std::chrono::milliseconds>(environment.now() - begun))
      environment.sleep(std::min<std::chrono::milliseconds>(slice, left));
  }
  // ^C is the way it ends.
  return exit_ok;
}

} // namespace astra
