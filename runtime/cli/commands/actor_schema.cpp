#include "runtime/cli/commands/actor_schema.hpp"

#include "runtime/cli/human.hpp"
#include "runtime/cli/table.hpp"

#include <algorithm>
#include <cctype>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace astra {
namespace {

std::string upper(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return c == ' ' ? '-' : static_cast<char>(std::toupper(c)); });
  return text;
}

/// "amount: int64, default 1: how much"
std::string field_line(const json& field) {
  auto line = fmt::format("{}: {}", text_in(field, "name"), text_in(field, "type"));
  if (flag_in(field, "required"))
    line += ", must be given";
  else if (field.contains("default") && !field["default"].is_null())
    line += ", default " + field["default"].dump();
  if (auto doc = text_in(field, "doc"); !doc.empty())
    line += ": " + doc;
  return printable(line);
}

} // namespace

std::string message_usage(const json& message) {
  auto usage = text_in(message, "name");
  for (auto& field : list_in(message, "fields")) {
    if (flag_in(field, "required"))
      usage += fmt::format(" {}={}", text_in(field, "name"), upper(text_in(field, "type")));
    else
      usage += fmt::format(" [{}={}]", text_in(field, "name"),
                           field.contains("default") && !field["default"].is_null() ? field["default"].dump()
                                                                                    : upper(text_in(field, "type")));
  }
  return printable(usage);
}

std::string render_actor_schema(const json& schema) {
  auto out = fmt::format("{}: {}\n", printable(text_in(schema, "actor")), printable(text_in(schema, "doc")));
  if (auto& arguments = list_in(schema, "arguments"); !arguments.empty()) {
    out += "  arguments\n";
    for (auto& one : arguments)
      out += "    " + field_line(one) + '\n';
  }
  if (auto& messages = list_in(schema, "messages"); !messages.empty()) {
    out += "  messages\n";
    for (auto& one : messages) {
      out += fmt::format("    {} -> {}\n      {}\n", message_usage(one), printable(text_in(one, "answer")),
                         printable(text_in(one, "doc")));
      for (auto& field : list_in(one, "fields"))
        out += "      " + field_line(field) + '\n';
    }
  }
  if (auto text = text_in(schema, "text"); !text.empty())
    out += fmt::format("  any other body\n      {}\n", printable(text));
  if (auto error = text_in(schema, "error"); !error.empty())
    out += fmt::format("  it cannot be described: {}\n", printable(error));
  return out;
}

std::string render_actor_info(const json& info, bool colour) {
  auto out = fmt::format("mailbox {}, handled {}, failed {}\n", count_in(info, "mailbox"), count_in(info, "handled"),
                         count_in(info, "failed"));
  for (auto& [name, value] : list_in(info, "state").items())
    out += printable(fmt::format("  {} = {}", name, value.dump())) + '\n';
  auto& last = list_in(info, "last");
  if (last.empty())
    return out;
  text_table table{{{"MESSAGE"}, {"AT", align::right}, {"TOOK", align::right}, {"RESULT"}}};
  for (auto& one : last) {
    auto name = text_in(one, "message");
    auto reason = text_in(one, "reason");
    table.add({name.empty() ? "(text)" : name, fmt::format("{:.3f} s", number_in(one, "at_ms") / 1000.0),
               fmt::format("{:g} ms", number_in(one, "took_ms")),
               text_in(one, "result") + (reason.empty() ? "" : ": " + reason)});
  }
  return out + table.render(colour);
}

} // namespace astra
