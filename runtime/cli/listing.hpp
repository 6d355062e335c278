#pragma once

#include "runtime/cli/command_context.hpp"
#include "runtime/shell/syntax.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

// What all commands have in common that list something: which rows, in what order, how many, in which format, and again
// and again.  Filters and orders are those of the shell's stages.

namespace astra {

struct list_options {
  /// A condition on the keys of a row, as behind `where` in the shell; empty: all rows.
  std::string where;
  /// Keys with commas between them, each with "-" in front for the largest first; empty: as they come.
  std::string sort;
  /// 0: all.
  std::uint32_t limit = 0;
  /// How often the list is made anew; unset: it is made once.
  std::optional<std::chrono::milliseconds> watch;
};

/// One list: what it is called and what its rows are.
struct listing {
  /// Where the rows are in the answer.
  const char* rows = "";
  /// Of one row: "task".
  std::string_view noun;
  /// The key that -o name prints; "name@version" is written for names with versions.
  const char* name = "name";
  /// Keys that rows may have, even when none of them has it now.
  std::vector<std::string> keys;
  /// The answer as a table for people.
  command_context::renderer render;
  /// The rows of an answer, and the answer with other rows; null: they stand at `rows` as they are.
  std::function<json(const json& answer)> take = nullptr;
  std::function<void(json& answer, json rows)> put = nullptr;
  /// A limit keeps the last rows, not the first, unless they are sorted.
  bool keeps_last = false;
};

/// Which rows and in what order, read from the options.
struct row_selection {
  std::optional<shell::stage> where;
  std::optional<shell::stage> sort;
  std::uint32_t limit = 0;
};

/// Reads the options; tells what is wrong with them, and where, and returns exit_usage.
exit_code read_selection(command_context& context, const list_options& options, row_selection& to);

/// Whether a row is wanted.  Fails for a value that cannot be compared.
/// @pre check_selection
caf::expected<bool> is_wanted(const row_selection& selection, const json& row);

/// Fails for a key that is in neither, with what is meant.
caf::error check_selection(const row_selection& selection, const json& rows, const std::vector<std::string>& keys);

/// The rows in their order; all of them.
caf::expected<json> in_order(const row_selection& selection, json rows, const std::vector<std::string>& keys);

/// Asks, selects and prints.  Nothing is asked when the options are wrong.
/// An answer may say in "more" how many rows it leaves out, or in "next" that it leaves out some.
int print_list(command_context& context, const listing& what, const list_options& options,
               const std::function<caf::expected<json>()>& ask);

/// Rows as csv, ndjson, lines or names.
/// @param name, keys as in listing; csv has all of those keys, whatever the rows have
std::string rows_in(output_format format, const json& rows, const char* name,
                    const std::vector<std::string>& keys = {});

/// "20 of 45 tasks are shown"
std::string shown_of(std::size_t shown, std::size_t all, std::string_view noun);

/// What is wrong with a condition of --where, with its place.  @param column from 1, in characters
exit_code fail_where(command_context& context, const std::string& where, std::size_t column, std::string_view message);

/// Does it now and once in each period until ^C.  On a terminal each time is drawn over the one before.  A gateway that
/// does not answer any more is asked again.
int repeat(command_context& context, std::chrono::milliseconds period,
           const std::function<int(command_context&)>& what);

} // namespace astra
