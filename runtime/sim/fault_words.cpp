#include "runtime/sim/fault_words.hpp"

#include "config/spelling.hpp"
#include "config/units.hpp"
#include "messages/errc.hpp"
#include "messages/type_ids.hpp"
#include "runtime/sim/swarm.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <locale>
#include <optional>
#include <sstream>
#include <utility>

namespace astra::sim {
namespace {

caf::error problem(const std::string& text) {
  return caf::make_error(errc::invalid_argument, text);
}

std::optional<double> to_real(const std::string& text) {
  std::istringstream in{text};
  in.imbue(std::locale::classic());
  double value = 0.0;
  in >> value;
  return !in.fail() && in.eof() ? std::optional{value} : std::nullopt;
}

void add_names(std::vector<std::string>& names, const std::string& list) {
  for (std::size_t from = 0; from <= list.size();) {
    auto to = std::min(list.find(',', from), list.size());
    if (to > from)
      names.push_back(list.substr(from, to - from));
    from = to + 1;
  }
}

} // namespace

caf::expected<scenario_fault> read_fault(const std::vector<std::string>& words, const scenario& what, instant at) {
  auto& kinds = fault_kinds();
  if (words.empty())
    return problem(fmt::format("fault: say what happens; there are {}", fmt::join(kinds, ", ")));
  scenario_fault fault;
  fault.kind = words.front();
  fault.at = at;
  if (std::find(kinds.begin(), kinds.end(), fault.kind) == kinds.end()) {
    auto meant = closest(fault.kind, kinds);
    return problem(fmt::format("fault: no kind '{}'{}  There are: {}.", fault.kind,
                               meant ? fmt::format("; did you mean '{}'?", *meant) : "", fmt::join(kinds, ", ")));
  }
  auto machines = machines_of(what);
  auto of_app = fault.kind == "scale" || fault.kind == "update" || fault.kind == "delete";
  auto side = &fault.targets;
  auto sided = false;
  for (std::size_t i = 1; i < words.size(); ++i) {
    auto& word = words[i];
    auto is_machine =
        std::any_of(machines.begin(), machines.end(), [&](auto& machine) { return machine.name == word; });
    if (word == "->" || word == "<->" || word == "|") {
      side = &fault.others;
      sided = true;
      fault.both_ways = word == "<->";
    } else if (word == "for" || word == "amount" || word == "app") {
      if (i + 1 >= words.size())
        return problem(fmt::format("{}: something must follow '{}'", fault.kind, word));
      auto& value = words[++i];
      if (word == "app") {
        fault.app = value;
      } else if (word == "for") {
        auto length = parse_fine_duration(value);
        if (!length.value)
          return problem(fmt::format("fault: {}", length.problem));
        fault.duration = *length.value;
      } else {
        auto amount = to_real(value);
        if (!amount)
          return problem(fmt::format("{}: amount '{}' is not a number", fault.kind, value));
        fault.amount = *amount;
      }
    } else if (auto amount = to_real(word)) {
      fault.amount = *amount;
    } else if (auto length = parse_fine_duration(word);
               length.value && !is_machine && word[0] >= '0' && word[0] <= '9') {
      fault.duration = *length.value;
    } else if (of_app && fault.app.empty()) {
      fault.app = word;
    } else {
      add_names(*side, word);
    }
  }
  // "cut a b 8s": whoever says no direction means both.
  if (!sided && fault.targets.size() == 2 && (fault.kind == "cut" || fault.kind == "slow_link")) {
    fault.others = {fault.targets[1]};
    fault.targets.pop_back();
    fault.both_ways = true;
  }
  auto alone = what;
  alone.faults = {fault};
  for (auto& rule : validate(alone))
    if (rule.key.starts_with("faults[0]")) {
      auto key = rule.key.size() > 10 ? rule.key.substr(10) : std::string{"fault"};
      return problem(fmt::format("{}: {}: {}", fault.kind, key, rule.message));
    }
  return fault;
}

std::string fault_text(const scenario_fault& fault) {
  auto text = fault.kind;
  auto list = [&](const std::vector<std::string>& names) {
    for (std::size_t i = 0; i < names.size(); ++i)
      text += (i == 0 ? " " : ",") + names[i];
  };
  list(fault.targets);
  if (!fault.others.empty()) {
    text += fault.kind == "partition" ? " |" : fault.both_ways ? " <->" : " ->";
    list(fault.others);
  }
  if (!fault.app.empty())
    text += " app " + fault.app;
  if (fault.amount != 0.0)
    text += fmt::format(" amount {}", fault.amount);
  if (fault.duration.count() > 0)
    text += " for " + format_fine_duration(fault.duration);
  return text;
}

} // namespace astra::sim
