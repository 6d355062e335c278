#include "runtime/cli/commands/commands.hpp"

#include "runtime/cli/human.hpp"
#include "runtime/cli/table.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <utility>

namespace astra {

const command_text router_text = {"Look into the routers", "", ""};

const command_text router_table_text = {
    "Show an app's nodes as its router sees them",
    "Every node with its weight and the terms that it is made of, its credit in the weighted round robin, its slots "
    "and "
    "what has been sent to it.  OUT tells why a node gets nothing now.",
    "astra router table ocr",
};

int show_router_table(command_context& context, const std::string& app) {
  return context.show("/v1/routers/" + percent_encoded(app), render_router_table);
}

std::string render_router_table(const json& table, bool colour) {
  const auto& rows = list_in(table, "rows");
  // The terms differ by formula: a column for each name, in the order in which they first appear.
  std::vector<std::string> terms;
  for (const auto& row : rows)
    for (const auto& term : list_in(row, "terms").items())
      if (std::find(terms.begin(), terms.end(), term.key()) == terms.end())
        terms.push_back(term.key());
  std::vector<table_column> columns = {{"NODE"}, {"WEIGHT", align::right}};
  for (const auto& term : terms)
    columns.push_back({term, align::right});
  for (auto title : {"CREDIT", "SLOTS", "IN FLIGHT", "PICKED", "SERVED"})
    columns.push_back({title, align::right});
  columns.push_back({"OUT"});
  text_table nodes{std::move(columns)};
  for (const auto& row : rows) {
    std::vector<table_cell> cells;
    cells.emplace_back(text_in(row, "name"));
    cells.emplace_back(human_number(number_in(row, "weight")));
    for (const auto& term : terms)
      cells.emplace_back(human_number(number_in(list_in(row, "terms"), term.c_str())));
    cells.emplace_back(human_number(number_in(row, "credit")));
    for (auto key : {"slots", "in_flight", "picked", "served"})
      cells.emplace_back(std::to_string(count_in(row, key)));
    cells.emplace_back(text_in(row, "out_reason"), tone::warning);
    nodes.add(std::move(cells));
  }
  return fmt::format("app {}   formula {}   {} taken   {} answered   {} waiting\n{}", printable(text_in(table, "app")),
                     printable(text_in(table, "formula")), counted(count_in(table, "requests"), "request"),
                     count_in(table, "answered"), count_in(table, "waiting"),
                     nodes.empty() ? "no node can serve it now\n" : nodes.render(colour));
}

} // namespace astra
