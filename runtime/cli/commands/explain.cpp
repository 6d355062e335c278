#include "config/spelling.hpp"
#include "runtime/cli/commands/commands.hpp"
#include "runtime/cli/explanations.hpp"
#include "runtime/cli/table.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cctype>

namespace astra {
namespace {

/// As the table writes it: "Backing off" and "CLAIM_NO_ROOM" are found too.
std::string folded(std::string word) {
  std::transform(word.begin(), word.end(), word.begin(),
                 [](unsigned char c) { return c == ' ' || c == '-' ? '_' : static_cast<char>(std::tolower(c)); });
  for (std::string_view prefix : {"claim_", "replica_", "liveness_", "cluster_", "rollout_", "content_", "event_",
                                  "witness_", "invoke_", "reserve_", "job_", "plan_", "errc::"})
    if (word.starts_with(prefix) && word != "replica_lost")
      return word.substr(prefix.size());
  return word;
}

json to_json(const explanation& row) {
  return {{"topic", row.topic}, {"word", row.word}, {"meaning", row.meaning}, {"cause", row.cause}, {"next", row.next}};
}

std::string text_of(const explanation& row, bool colour) {
  auto out = fmt::format("{}  ({})\n  {}\n", paint(row.word, tone::title, colour), row.topic, row.meaning);
  if (!row.cause.empty())
    out += fmt::format("  usually   {}\n", row.cause);
  if (!row.next.empty())
    out += fmt::format("  next      {}\n", row.next);
  return out;
}

/// "  online, suspect", no line longer than a narrow terminal.
std::string list_of(const std::vector<std::string_view>& words) {
  constexpr std::size_t width = 78;
  std::string out = " ";
  std::size_t column = 1;
  for (const auto& word : words) {
    if (column + word.size() + 1 > width) {
      out += "\n ";
      column = 1;
    }
    out += fmt::format(" {}", word);
    column += word.size() + 1;
  }
  return out + "\n";
}

} // namespace

const command_text explain_text = {
    "Explain an error code, an exit code or the word of a state",
    "What it means, what usually leads to it, and the command to try next. Without a word: all that there are. A word "
    "that means something for nodes and for replicas is explained for both.",
    "astra explain saturated\nastra explain 5\nastra explain backing_off\nastra explain",
};

int explain_word(command_context& context, const std::string& word) {
  auto rows = explanations();
  std::vector<explanation> found;
  auto wanted = folded(word);
  std::copy_if(rows.begin(), rows.end(), std::back_inserter(found),
               [&](const auto& row) { return word.empty() || row.word == wanted; });
  if (found.empty()) {
    auto meant = closest(wanted, explained_words());
    return context.fail(exit_not_found, fmt::format("no word '{}'{}", printable(word),
                                                    meant ? fmt::format("; did you mean '{}'?", *meant)
                                                          : "; 'astra explain' lists them all"));
  }
  if (context.options.format == output_format::json) {
    json all = json::array();
    for (const auto& row : found)
      all.push_back(to_json(row));
    context.out() << pretty({{"explanations", std::move(all)}});
    return exit_ok;
  }
  auto colour = context.options.colour_out;
  if (!word.empty()) {
    for (std::size_t i = 0; i < found.size(); ++i)
      context.out() << (i > 0 ? "\n" : "") << text_of(found[i], colour);
    return exit_ok;
  }
  for (auto i = found.begin(); i != found.end();) {
    auto topic = i->topic;
    std::vector<std::string_view> words;
    for (; i != found.end() && i->topic == topic; ++i)
      words.push_back(i->word);
    context.out() << paint(topic, tone::title, colour) << '\n' << list_of(words);
  }
  return exit_ok;
}

} // namespace astra
