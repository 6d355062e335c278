#include "runtime/cli/commands/commands.hpp"

#include "messages/errc.hpp"
#include "messages/type_ids.hpp"
#include "runtime/cli/table.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <ostream>
#include <string>

namespace astra {
namespace {

/// The gateway's own limit for what has happened already.
constexpr std::uint32_t events_max = 10'000;

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
    "astra events\nastra events -f\nastra events --node node-1 --since 10m\n"
    "astra events --where 'kind in (offline, orphaned)' --sort -wall_ms --limit 5\nastra events -f -o ndjson",
};

std::string render_event(const json& event, bool colour) {
  auto kind = printable(text_in(event, "kind"));
  std::replace(kind.begin(), kind.end(), '_', ' ');
  auto witness = printable(text_in(event, "witness"));
  auto seen_by = printable(text_in(event, "resource")) + (witness.empty() ? "" : " (" + witness + ")");
  return line(readable(printable(text_in(event, "time"))), kind, tone_of_event(text_in(event, "kind")),
              printable(text_in(event, "object")), seen_by, printable(text_in(event, "cause")), colour);
}

const std::vector<std::string>& event_keys() {
  static const std::vector<std::string> keys{"time",  "wall_ms",  "kind",    "object",  "object_kind",
                                             "cause", "resource", "witness", "sequence"};
  return keys;
}

int show_events(command_context& context, const events_options& options, const list_options& list) {
  auto format = context.options.format;
  if (options.follow && format == output_format::json)
    return context.fail(exit_usage, "-f has no end, and one JSON object has; write -o ndjson");
  if (options.follow && !list.sort.empty())
    return context.fail(exit_usage, "-f tells what happens as it happens; leave --sort out");
  if (options.follow && list.watch)
    return context.fail(exit_usage, "-f goes on by itself; leave --watch out");
  row_selection selection;
  if (auto code = read_selection(context, list, selection); code != exit_ok)
    return code;
  if (auto wrong = check_selection(selection, json::array(), event_keys()))
    return context.fail(exit_usage, error_text(wrong));
  std::string target = fmt::format("/v1/events?follow={}", options.follow ? 1 : 0);
  if (!options.node.empty())
    target += "&node=" + percent_encoded(options.node);
  if (options.since)
    target += fmt::format("&since={}ms", options.since->count());
  // What is chosen or put in order here needs all of them.
  if (options.last)
    target += fmt::format("&last={}", *options.last);
  else if (!options.since && (selection.where || selection.sort || (selection.limit != 0 && !options.follow)))
    target += fmt::format("&last={}", events_max);
  auto& out = context.out();
  auto colour = context.options.colour_out;
  json all = {{"events", json::array()}, {"notes", json::array()}};
  std::size_t shown = 0;
  std::size_t matching = 0;
  std::size_t seen = 0;
  auto ended = false;
  auto told = json::array();
  caf::error broken;
  auto tell = [&](const json& note) {
    auto resource = printable(text_in(note, "resource"));
    context.say(fmt::format("-- {}{}", resource.empty() ? "" : resource + ": ", printable(text_in(note, "message"))));
  };
  auto show = [&](const json& event) {
    switch (format) {
    case output_format::json:
      all["events"].push_back(event);
      break;
    case output_format::table:
      if (shown == 0)
        out << line("TIME (UTC)", "EVENT", tone::title, "OBJECT", "SEEN BY", "CAUSE", colour);
      out << render_event(event, colour);
      break;
    case output_format::csv: {
      auto text = rows_in(format, json::array({event}), "object", event_keys());
      out << (shown == 0 ? text : text.substr(text.find('\n') + 1));
      break;
    }
    case output_format::line:
      out << (shown == 0 ? "" : "\n") << rows_in(format, json::array({event}), "object");
      break;
    default:
      out << rows_in(format, json::array({event}), "object");
    }
    ++shown;
    // What is followed has no end.
    if (context.environment.on_shown && !options.follow)
      told.push_back(event);
  };
  auto limited = [&] { return selection.limit != 0 && shown >= selection.limit; };
  auto kept = json::array();
  auto failed = context.read_lines(std::move(target), [&](const json& entry) {
    if (entry.contains("note")) {
      ended = ended || text_in(entry, "note") == "end";
      if (format == output_format::json)
        all["notes"].push_back(entry);
      else if (format == output_format::ndjson)
        out << rows_in(format, json::array({entry}), "");
      else
        tell(entry);
      if (options.follow)
        out.flush();
      return static_cast<bool>(out);
    }
    ++seen;
    auto wanted = is_wanted(selection, entry);
    if (!wanted) {
      broken = std::move(wanted.error());
      return false;
    }
    if (!*wanted)
      return true;
    ++matching;
    if (selection.sort || (selection.limit != 0 && !options.follow))
      kept.push_back(entry);
    else if (!limited())
      show(entry);
    if (options.follow)
      out.flush();
    return static_cast<bool>(out) && !(options.follow && limited());
  });
  if (broken)
    return context.fail(exit_usage, "--where: " + error_text(broken));
  if (!kept.empty() && !failed) {
    // Without an order of its own the newest are the last.
    if (!selection.sort && kept.size() > selection.limit)
      kept.erase(kept.begin(), kept.end() - selection.limit);
    auto sorted = in_order(selection, std::move(kept), event_keys());
    if (!sorted)
      return context.fail(exit_usage, "--sort: " + error_text(sorted.error()));
    for (const auto& event : *sorted)
      if (!limited())
        show(event);
  }
  if (context.environment.on_shown)
    context.environment.on_shown(told);
  if (failed)
    return context.fail(failed);
  if (format == output_format::json) {
    if (matching > shown)
      all["more"] = matching - shown;
    out << pretty(all);
    for (const auto& note : all["notes"])
      tell(note);
  }
  if (shown == 0 && seen > 0 && !options.follow)
    context.say("no event matches");
  else if (shown == 0 && format == output_format::table && !options.follow)
    context.say("no events");
  if (matching > shown)
    context.say(shown_of(shown, matching, "event"));
  return ended ? exit_unreachable : exit_ok;
}

} // namespace astra
