#include "runtime/shell/script_runner.hpp"

#include "messages/errc.hpp"
#include "runtime/cli/table.hpp"
#include "runtime/shell/render.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace astra::shell {

namespace {

void tell_at(command_context& context, place at, const std::string& message, bool with_column, const std::string& name,
             int first_line) {
  // What was typed stands right above.
  auto where = name.empty()  ? with_column ? fmt::format("{}:{}: ", at.line - first_line + 1, at.column) : ""
               : with_column ? fmt::format("{}:{}:{}: ", name, at.line, at.column)
                             : fmt::format("{}:{}: ", name, at.line);
  std::string clean;
  for (std::size_t begin = 0; begin <= message.size();) {
    auto end = std::min(message.find('\n', begin), message.size());
    clean += (begin == 0 ? "" : "\n") + printable(std::string_view{message}.substr(begin, end - begin));
    begin = end + 1;
  }
  context.say(where + paint(clean, tone::bad, context.options.colour_err));
}

} // namespace

void tell(command_context& context, const syntax_error& error, const std::string& name, int first_line) {
  tell_at(context, error.at, error.message, true, name, first_line);
}

output_mode mode_of(output_format format) {
  switch (format) {
  case output_format::json:
    return output_mode::json;
  case output_format::ndjson:
    return output_mode::ndjson;
  case output_format::csv:
    return output_mode::csv;
  case output_format::line:
    return output_mode::line;
  case output_format::table:
  case output_format::name:
    break;
  }
  return output_mode::table;
}

bool script_runner::run(std::string_view text, const std::string& name, int first_line) {
  auto parsed = parse(text, first_line);
  if (parsed.error) {
    tell(context_, *parsed.error, name, first_line);
    return false;
  }
  return run(parsed.statements, name, first_line);
}

bool script_runner::run(const script& statements, const std::string& name, int first_line) {
  for (auto& statement : statements) {
    auto failed = interpreter_.run({statement});
    context_.out().flush();
    if (observe)
      observe(statement, failed ? &*failed : nullptr);
    if (failed) {
      tell_at(context_, failed->at, error_text(failed->why), false, name, first_line);
      return false;
    }
    if (cluster_.ended)
      break;
  }
  return true;
}

void script_runner::show(const reply& result) {
  auto colour = context_.options.colour_out;
  auto text = render(result.what, cluster_.mode, colour);
  auto in_table = cluster_.mode == output_mode::table;
  if (in_table && at_terminal_ && !result.note.empty() && text.ends_with('\n')) {
    text.pop_back();
    text += paint(fmt::format("   ({})", result.note), tone::faint, colour) + "\n";
  }
  context_.out() << text << std::flush;
  if (in_table && !at_terminal_ && !result.note.empty())
    context_.say(fmt::format("({})", result.note));
}

} // namespace astra::shell
