#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace astra {

/// What a text is about, shown as a colour on a terminal that has them.
enum class tone {
  plain,
  title,
  good,
  warning,
  bad,
  faint,
};

/// `text` in its tone: with escape sequences when `colour`, as it is otherwise.
std::string paint(std::string_view text, tone t, bool colour);

/// The tone of a node's, replica's or app's state as the API names it, such as "online" or "backing_off".
tone tone_of_state(std::string_view state);

/// Columns that `text` takes on a terminal: 2 for a CJK character, 0 for a combining one.
std::size_t display_width(std::string_view text);

/// `text` without anything that could move the cursor or recolour the terminal: control characters and invalid UTF-8
/// become \xNN, line ends \n.
std::string printable(std::string_view text);

struct table_cell {
  table_cell(std::string content, tone colour = tone::plain) : text(std::move(content)), look(colour) {}
  table_cell(const char* content) : text(content) {}

  std::string text;
  tone look = tone::plain;
};

enum class align { left, right };

struct table_column {
  std::string title;
  align side = align::left;
};

/// Rows in columns, two spaces apart.  Nothing is ever clipped: a terminal wraps what is too long for it, a pipe gets
/// it whole.
class text_table {
public:
  explicit text_table(std::vector<table_column> columns) : columns_(std::move(columns)) {}

  /// @pre one cell per column.
  void add(std::vector<table_cell> row);

  bool empty() const { return rows_.empty(); }

  /// Title line and rows, each ended by a newline and without spaces at its end.  Columns without content are left
  /// out.
  std::string render(bool colour) const;

  /// The rows that were added since the last call, below one title line: for a list that is printed as it comes.  Every
  /// column stays, and its width only grows.
  std::string render_next(bool colour);

private:
  std::string lines(const std::vector<std::size_t>& widths, const std::vector<std::size_t>& shown, bool with_titles,
                    bool colour) const;

  /// Of the rows that are rendered already; empty: none are.
  std::vector<std::size_t> widths_;
  std::vector<table_column> columns_;
  std::vector<std::vector<table_cell>> rows_;
};

/// "1 replica", "3 replicas".
std::string counted(std::size_t n, std::string_view noun);

/// As RFC 4180 says: in quotes when it must be, quotes in it twice.
std::string csv_field(const std::string& text);

} // namespace astra
