#include "runtime/shell/actor_words.hpp"

#include "config/spelling.hpp"
#include "messages/errc.hpp"
#include "messages/type_ids.hpp"
#include "runtime/cli/command_context.hpp"

#include <algorithm>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

namespace astra::shell {
namespace {

/// Answered for every actor.
constexpr const char* own_messages[] = {"describe", "info"};

const json* find_message(const json& schema, const std::string& name) {
  for (auto& one : list_in(schema, "messages"))
    if (text_in(one, "name") == name)
      return &one;
  return nullptr;
}

std::vector<std::string> names_in(const json& list) {
  std::vector<std::string> result;
  for (auto& one : list)
    result.push_back(text_in(one, "name"));
  return result;
}

bool could_be_a_name(const std::string& text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](unsigned char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
  });
}

caf::error unknown(const std::string& what, const std::string& kind, const std::string& word,
                   const std::vector<std::string>& known) {
  auto meant = closest(word, known);
  return caf::make_error(errc::invalid_argument,
                         fmt::format("{} has no {} '{}'{}", what, kind, word,
                                     meant           ? fmt::format("; did you mean '{}'?", *meant)
                                     : known.empty() ? std::string{"; it has none"}
                                                     : fmt::format("; there are {}", fmt::join(known, ", "))));
}

/// Where a text is wanted, 17 is one.
json value_for(const json& field, const request::word& word) {
  return text_in(field, "type").starts_with("text") && !word.what.is_null() ? json(word.text) : word.what;
}

} // namespace

std::vector<std::string> message_names(const json& schema) {
  auto result = names_in(list_in(schema, "messages"));
  result.insert(result.end(), std::begin(own_messages), std::end(own_messages));
  return result;
}

std::vector<std::string> field_words(const json& schema, const std::string& message) {
  auto* found = find_message(schema, message);
  if (found == nullptr)
    return {};
  auto result = names_in(list_in(*found, "fields"));
  for (auto& one : result)
    one += "=";
  return result;
}

caf::expected<std::optional<std::string>> message_of(const std::vector<request::word>& words, std::size_t from,
                                                     const json& schema) {
  if (from >= words.size() || !words[from].name.empty() || words[from].is_app || !words[from].what.is_string())
    return std::optional<std::string>{};
  auto& name = words[from].text;
  auto own = std::find(std::begin(own_messages), std::end(own_messages), name) != std::end(own_messages);
  auto* found = find_message(schema, name);
  if (found == nullptr && !own) {
    auto has_fields = std::any_of(words.begin() + static_cast<std::ptrdiff_t>(from), words.end(),
                                  [](auto& word) { return !word.name.empty(); });
    auto takes_texts = schema.contains("text");
    if (could_be_a_name(name) && (has_fields || !takes_texts))
      return unknown(text_in(schema, "actor"), "message", name, message_names(schema));
    return std::optional<std::string>{};
  }
  static const json none = json::array();
  auto& fields = own ? none : list_in(*found, "fields");
  auto known = names_in(fields);
  json given = json::object();
  std::size_t next = 0;
  for (auto i = from + 1; i < words.size(); ++i) {
    auto& word = words[i];
    if (word.name.empty() && next >= fields.size())
      return caf::make_error(errc::invalid_argument,
                             fmt::format("{} has {} {}, and '{}' is one too many", name, fields.size(),
                                         fields.size() == 1 ? "field" : "fields", word.text));
    auto field = word.name.empty() ? known[next++] : word.name;
    auto which = std::find(known.begin(), known.end(), field);
    if (which == known.end())
      return unknown(name, "field", field, known);
    if (given.contains(field))
      return caf::make_error(errc::invalid_argument, fmt::format("the field '{}' is there twice", field));
    given[field] = value_for(fields[static_cast<std::size_t>(which - known.begin())], word);
  }
  json body = json::object();
  body[name] = std::move(given);
  return std::optional{body.dump(-1, ' ', false, json::error_handler_t::replace)};
}

} // namespace astra::shell
