#include "runtime/cli/commands/commands.hpp"

#include "messages/errc.hpp"
#include "runtime/cli/table.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <ostream>
#include <utility>

namespace astra {
namespace {

tone tone_of_event(std::string_view kind) {
  if (kind == "offline" || kind == "orphaned" || kind == "fenced" || kind == "peer_lost")
    return tone::bad;
  if (kind == "suspect" || kind == "draining")
    return tone::warning;
  return kind == "online" || kind == "joined" || kind == "peer_found" ? tone::good : tone::plain;
}

/// "2026-11-26 19:10:03.123" of "2026-11-26T19:10:03.123Z".
std::string readable(std::string time) {
  if (time.ends_with('Z'))
    time.pop_back();
  std::replace(time.begin(), time.end(), 'T', ' ');
  return time;
}

std::string padded(std::string text, std::size_t width) {
  auto has = display_width(text);
  return has < width ? text + std::string(width - has, ' ') : text;
}

std::string line(const std::string& time, const std::string& kind, tone look, const std::string& object,
                 const std::string& witness, const std::string& cause, bool colour) {
  auto kind_text = paint(kind, look, colour) + std::string(kind.size() < 10 ? 10 - kind.size() : 0, ' ');
  return fmt::format("{}  {}  {}  {}  {}\n", padded(time, 23), kind_text, padded(object, 16), padded(witness, 30),
                     cause);
}

} // namespace

const command_text events_text = {
    "Show what happened to nodes and Resources, and go on with -f",
    "Each Resource remembers the last events that it saw (resource.events of its file); here they are merged by time, "
    "in "
    "UTC.  SEEN BY is the Resource and by what it knew.  Several Resources may tell of the same loss, each by its own "
    "word.  What is missing is said on stderr: a Resource that does not answer, began anew, or has forgotten some.",
    "astra events\nastra events -f\nastra events --node node-1 --since 10m\nastra events -f -o ndjson",
};

std::string render_event(const json& event, bool colour) {
  auto kind = printable(text_in(event, "kind"));
  std::replace(kind.begin(), kind.end(), '_', ' ');
  auto witness = printable(text_in(event, "witness"));
  auto seen_by = printable(text_in(event, "resource")) + (witness.empty() ? "" : " (" + witness + ")");
  return line(readable(printable(text_in(event, "time"))), kind, tone_of_event(text_in(event, "kind")),
              printable(text_in(event, "object")), seen_by, printable(text_in(event, "cause")), colour);
}

int show_events(command_context& context, const events_options& options) {
  auto format = context.options.format;
  if (options.follow && format == output_format::json)
    return context.fail(exit_usage, "-f has no end, and one JSON object has; write -o ndjson");
  std::string target = fmt::format("/v1/events?follow={}", options.follow ? 1 : 0);
  if (!options.node.empty())
    target += "&node=" + percent_encoded(options.node);
  if (options.since)
    target += fmt::format("&since={}ms", options.since->count());
  if (options.last)
    target += fmt::format("&last={}", *options.last);
  auto& out = context.out();
  auto colour = context.options.colour_out;
  json all = {{"events", json::array()}, {"notes", json::array()}};
  auto shown = false;
  auto ended = false;
  auto tell = [&](const json& note) {
    auto resource = printable(text_in(note, "resource"));
    context.say(fmt::format("-- {}{}", resource.empty() ? "" : resource + ": ", printable(text_in(note, "message"))));
  };
  auto failed = context.read_lines(std::move(target), [&](const json& entry) {
    auto is_note = entry.contains("note");
    ended = ended || text_in(entry, "note") == "end";
    switch (format) {
    case output_format::json:
      all[is_note ? "notes" : "events"].push_back(entry);
      break;
    case output_format::ndjson:
      out << entry.dump(-1, ' ', false, json::error_handler_t::replace) << '\n';
      break;
    default:
      if (is_note) {
        tell(entry);
        break;
      }
      if (!std::exchange(shown, true))
        out << line("TIME (UTC)", "EVENT", tone::title, "OBJECT", "SEEN BY", "CAUSE", colour);
      out << render_event(entry, colour);
    }
    if (options.follow)
      out.flush();
    return static_cast<bool>(out);
  });
  if (failed)
    return context.fail(failed);
  if (format == output_format::json) {
    out << pretty(all);
    for (const auto& note : all["notes"])
      tell(note);
  } else if (!shown && format == output_format::table && !options.follow) {
    context.say("no events");
  }
  return ended ? exit_unreachable : exit_ok;
}

} // namespace astra
