#include "runtime/cli/table.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <cwchar>
#include <iterator>
#include <locale.h>
#include <utility>

namespace astra {
namespace {

// wcwidth() and mbrtowc() follow the thread's locale, and a daemon or a container has "C".
class utf8_locale {
public:
  utf8_locale() : previous_(locale() != nullptr ? uselocale(locale()) : nullptr) {}
  ~utf8_locale() {
    if (previous_ != nullptr)
      uselocale(previous_);
  }
  utf8_locale(const utf8_locale&) = delete;
  utf8_locale& operator=(const utf8_locale&) = delete;

private:
  /// Made once: it reads a file, and a list of a million nodes has ten million cells.
  static locale_t locale() {
    static const auto made = newlocale(LC_CTYPE_MASK, "C.UTF-8", nullptr);
    return made;
  }

  locale_t previous_;
};

bool is_plain(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c >= ' ' && c < '\x7f'; });
}

// Calls f(bytes, columns) for each character; columns is -1 for what is not printable.
template <class F>
void for_each_character(std::string_view text, F f) {
  utf8_locale locale;
  std::mbstate_t state{};
  while (!text.empty()) {
    wchar_t character = 0;
    auto length = std::mbrtowc(&character, text.data(), text.size(), &state);
    if (length == static_cast<std::size_t>(-1) || length == static_cast<std::size_t>(-2)) {
      state = {};
      f(text.substr(0, 1), -1);
      text.remove_prefix(1);
      continue;
    }
    length = std::max<std::size_t>(length, 1);
    f(text.substr(0, length), character == 0 ? -1 : wcwidth(character));
    text.remove_prefix(length);
  }
}

std::string_view escape_of(tone t) {
  switch (t) {
  case tone::plain:
    return "";
  case tone::title:
    return "\033[1m";
  case tone::good:
    return "\033[32m";
  case tone::warning:
    return "\033[33m";
  case tone::bad:
    return "\033[31m";
  case tone::faint:
    return "\033[2m";
  }
  return "";
}

} // namespace

std::string paint(std::string_view text, tone t, bool colour) {
  if (!colour || t == tone::plain || text.empty())
    return std::string{text};
  return fmt::format("{}{}\033[0m", escape_of(t), text);
}

tone tone_of_state(std::string_view state) {
  constexpr std::pair<std::string_view, tone> tones[] = {
      {"serving", tone::good},     {"filling", tone::warning},
      {"dead", tone::bad},         {"head starting", tone::warning},
      {"online", tone::good},      {"ready", tone::good},
      {"suspect", tone::warning},  {"draining", tone::warning},
      {"planned", tone::warning},  {"claimed", tone::warning},
      {"starting", tone::warning}, {"warming", tone::warning},
      {"pending", tone::warning},  {"deleting", tone::warning},
      {"degraded", tone::warning}, {"backing_off", tone::bad},
      {"offline", tone::bad},      {"failed", tone::bad},
      {"lost", tone::bad},         {"stopped", tone::faint},
  };
  auto i = std::find_if(std::begin(tones), std::end(tones), [&](const auto& entry) { return entry.first == state; });
  return i == std::end(tones) ? tone::plain : i->second;
}

std::size_t display_width(std::string_view text) {
  if (is_plain(text))
    return text.size();
  std::size_t width = 0;
  for_each_character(text, [&](std::string_view, int columns) { width += columns < 0 ? 1u : unsigned(columns); });
  return width;
}

std::string printable(std::string_view text) {
  if (is_plain(text))
    return std::string{text};
  std::string out;
  out.reserve(text.size());
  for_each_character(text, [&](std::string_view bytes, int columns) {
    if (columns >= 0)
      out += bytes;
    else if (bytes == "\n")
      out += "\\n";
    else if (bytes == "\t")
      out += ' ';
    else
      for (auto byte : bytes)
        out += fmt::format("\\x{:02x}", static_cast<unsigned char>(byte));
  });
  return out;
}

void text_table::add(std::vector<table_cell> row) {
  assert(row.size() == columns_.size());
  for (auto& cell : row)
    cell.text = printable(cell.text);
  rows_.push_back(std::move(row));
}

std::string text_table::render(bool colour) const {
  std::vector<std::size_t> widths(columns_.size(), 0);
  for (const auto& row : rows_)
    for (std::size_t i = 0; i < row.size(); ++i)
      widths[i] = std::max(widths[i], display_width(row[i].text));
  std::vector<std::size_t> shown;
  for (std::size_t i = 0; i < columns_.size(); ++i)
    if (widths[i] > 0 || rows_.empty()) {
      widths[i] = std::max(widths[i], display_width(columns_[i].title));
      shown.push_back(i);
    }
  return lines(widths, shown, true, colour);
}

std::string text_table::render_next(bool colour) {
  auto first = widths_.empty();
  widths_.resize(columns_.size(), 0);
  std::vector<std::size_t> shown;
  for (std::size_t i = 0; i < columns_.size(); ++i) {
    shown.push_back(i);
    if (first)
      widths_[i] = display_width(columns_[i].title);
    for (const auto& row : rows_)
      widths_[i] = std::max(widths_[i], display_width(row[i].text));
  }
  auto result = lines(widths_, shown, first, colour);
  rows_.clear();
  return result;
}

std::string text_table::lines(const std::vector<std::size_t>& widths, const std::vector<std::size_t>& shown,
                              bool with_titles, bool colour) const {
  std::string out;
  auto add_line = [&](auto&& cell_at) {
    // Spaces are written only in front of the next text, so that no line ends in them.
    std::size_t owed = 0;
    for (auto i : shown) {
      const table_cell& cell = cell_at(i);
      auto padding = widths[i] - display_width(cell.text);
      if (columns_[i].side == align::right)
        owed += std::exchange(padding, 0);
      if (!cell.text.empty()) {
        out.append(owed, ' ');
        out += paint(cell.text, cell.look, colour);
        owed = 0;
      }
      owed += padding + 2;
    }
    out += '\n';
  };
  std::vector<table_cell> titles;
  for (const auto& column : columns_)
    titles.emplace_back(column.title, tone::title);
  if (with_titles)
    add_line([&](std::size_t i) -> const table_cell& { return titles[i]; });
  for (const auto& row : rows_)
    add_line([&](std::size_t i) -> const table_cell& { return row[i]; });
  return out;
}

std::string counted(std::size_t n, std::string_view noun) {
  return fmt::format("{} {}{}", n, noun, n == 1 ? "" : "s");
}

std::string csv_field(const std::string& text) {
  if (text.find_first_of("\",\r\n") == std::string::npos)
    return text;
  std::string out = "\"";
  for (auto c : text)
    out += c == '"' ? "\"\"" : std::string(1, c);
  return out + "\"";
}

} // namespace astra
