#include "runtime/cli/commands/cheat.hpp"

#include "runtime/cli/commands/commands.hpp"
#include "runtime/cli/table.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>

namespace astra {
namespace {

constexpr std::string_view operators = "operator", developers = "developer", testers = "tester";

// What fits one screen; 'astra help' has the rest.
constexpr cheat_line lines[] = {
    {operators, "astra config check node.toml", "every problem of a file, before anything starts"},
    {operators, "astra run -c node.toml", "one process with the roles of its file"},
    {operators, "astra status", "the cluster on one screen"},
    {operators, "astra node list --where 'state != \"online\"'", "the nodes that are not well, with the reason"},
    {operators, "astra why node/NAME", "why it is not as it should be"},
    {operators, "astra events -f", "what happens, as it happens"},
    {operators, "astra node drain NAME", "no new work for it; it finishes what it has"},
    {operators, "astra quota list", "who has used what"},
    {developers, "astra dev --nodes 3", "a whole cluster on this machine"},
    {developers, "astra app plan app.toml", "what applying it would do"},
    {developers, "astra app apply app.toml --wait", "make it so, and wait until it is ready"},
    {developers, "astra why app/NAME", "what its replicas wait for, and the smallest cure"},
    {developers, "astra invoke NAME --in FILE", "one request"},
    {developers, "astra task submit NAME FILE --wait", "work that may take its time"},
    {developers, "astra model publish NAME PATH", "a model for all nodes to fetch"},
    {developers, "astra app rollback NAME", "what it was before"},
    {developers, "astra explain saturated", "what a code or a state means"},
    {testers, "astra sim run FILE --seed 7", "the real actors in virtual time, with faults"},
    {testers, "astra sim explore FILE --seeds 1..1000", "many runs, and each failure's own line"},
    {testers, "astra sim shrink FILE --seed 7", "the smallest scenario that still fails"},
    {testers, "astra wait app/NAME --for ready", "for scripts; 5 and why when it is late"},
    {testers, "astra node list -o json", "every list and answer for programs"},
};

} // namespace

const command_text cheat_text = {"Show the commands that people need, on one screen", "", "astra cheat"};

std::span<const cheat_line> cheat_lines() {
  return lines;
}

int show_cheat_sheet(command_context& context) {
  auto& out = context.out();
  if (context.options.format == output_format::json) {
    json all = json::array();
    for (const auto& line : lines)
      all.push_back({{"who", line.who}, {"command", line.command}, {"what", line.what}});
    out << pretty({{"commands", std::move(all)}});
    return exit_ok;
  }
  std::size_t width = 0;
  for (const auto& line : lines)
    width = std::max(width, line.command.size());
  std::string_view who;
  for (const auto& line : lines) {
    if (line.who != who)
      out << paint(line.who, tone::title, context.options.colour_out) << '\n';
    who = line.who;
    out << fmt::format("  {:<{}}  {}\n", line.command, width, line.what);
  }
  return exit_ok;
}

} // namespace astra
