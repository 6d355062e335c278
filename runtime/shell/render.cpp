#include "runtime/shell/render.hpp"

#include "runtime/cli/table.hpp"
#include "runtime/shell/stages.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <utility>
#include <vector>

#include <fmt/format.h>

namespace astra::shell {
namespace {

constexpr std::array modes{std::pair{"table", output_mode::table}, std::pair{"json", output_mode::json},
                           std::pair{"ndjson", output_mode::ndjson}, std::pair{"csv", output_mode::csv},
                           std::pair{"line", output_mode::line}};

std::string cell(const json& what) {
  return what.is_null() ? std::string{} : plain_text(what);
}

bool are_objects(const json& rows) {
  return rows.is_array() && !rows.empty()
         && std::all_of(rows.begin(), rows.end(), [](auto& row) { return row.is_object(); });
}

/// "in_state_ms" as the title of a column.
std::string title_of(std::string key) {
  for (auto& c : key)
    c = c == '_' ? ' ' : c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
  return key;
}

std::string table_of(const json& rows, bool colour) {
  auto keys = keys_of(rows);
  std::vector<table_column> columns;
  for (auto& key : keys) {
    auto is_number = std::all_of(rows.begin(), rows.end(), [&](auto& row) {
      auto field = row.find(key);
      return field == row.end() || field->is_number() || field->is_null();
    });
    columns.push_back({title_of(key), is_number ? align::right : align::left});
  }
  text_table table{std::move(columns)};
  for (auto& row : rows) {
    std::vector<table_cell> cells;
    for (auto& key : keys) {
      auto field = row.find(key);
      auto text = field == row.end() ? std::string{} : cell(*field);
      cells.emplace_back(text, key == "state" ? tone_of_state(text) : tone::plain);
    }
    table.add(std::move(cells));
  }
  return table.render(colour);
}

std::string lines_of(const json& object, std::string_view between, bool colour) {
  std::size_t width = 0;
  for (auto& [key, field] : object.items())
    width = std::max(width, display_width(key));
  std::string out;
  for (auto& [key, field] : object.items())
    out += fmt::format("{}{}{}{}\n", paint(printable(key), tone::title, colour),
                       std::string(width - display_width(key), ' '), between, printable(cell(field)));
  return out;
}

} // namespace

std::string csv_of(const json& rows, std::vector<std::string> keys) {
  std::string out;
  for (auto& key : keys_of(rows))
    if (std::find(keys.begin(), keys.end(), key) == keys.end())
      keys.push_back(key);
  for (auto& key : keys)
    out += (&key == keys.data() ? "" : ",") + csv_field(key);
  out += "\r\n";
  for (auto& row : rows) {
    for (auto& key : keys) {
      auto field = row.find(key);
      out += (&key == keys.data() ? "" : ",") + (field == row.end() ? std::string{} : csv_field(cell(*field)));
    }
    out += "\r\n";
  }
  return out;
}

std::optional<output_mode> parse_output_mode(std::string_view name) {
  for (auto& [known, mode] : modes)
    if (name == known)
      return mode;
  return std::nullopt;
}

std::string render(const json& what, output_mode mode, bool colour) {
  if (what.is_null())
    return {};
  auto compact = [](const json& one) { return one.dump(-1, ' ', false, json::error_handler_t::replace) + "\n"; };
  if (mode == output_mode::json)
    return what.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
  // In the other modes an answer such as {"apps": [...]} is its list.
  auto listed = mode != output_mode::table && what.is_object() ? rows_of(what) : caf::expected<json>{what};
  auto& rows = listed ? *listed : what;
  if (mode == output_mode::ndjson) {
    if (!rows.is_array())
      return compact(rows);
    std::string out;
    for (auto& row : rows)
      out += compact(row);
    return out;
  }
  if (rows.is_array() && rows.empty())
    return mode == output_mode::table ? "nothing\n" : "";
  if (are_objects(rows)) {
    if (mode == output_mode::csv)
      return csv_of(rows, {});
    if (mode == output_mode::table)
      return table_of(rows, colour);
    std::string out;
    for (auto& row : rows)
      out += (out.empty() ? "" : "\n") + lines_of(row, " = ", false);
    return out;
  }
  if (rows.is_array()) {
    std::string out;
    for (auto& row : rows)
      out += printable(cell(row)) + "\n";
    return out;
  }
  if (rows.is_object())
    return lines_of(rows, "  ", colour);
  auto text = cell(rows);
  // A text of several lines is shown as such, each without what could move the cursor.
  std::string out;
  for (std::size_t begin = 0; begin < text.size();) {
    auto end = std::min(text.find('\n', begin), text.size());
    out += printable(std::string_view{text}.substr(begin, end - begin)) + "\n";
    begin = end + 1;
  }
  return text.empty() ? "\n" : out;
}

} // namespace astra::shell
