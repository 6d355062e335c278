#include "runtime/sim/mutants.hpp"

#include <string_view>

namespace astra::mutants {

// There only in a program that is linked with astra_actors_mutants.
[[gnu::weak]] bool select(std::string_view name);
[[gnu::weak]] std::uint64_t reached();

} // namespace astra::mutants

namespace astra::sim {

std::string select_mutant(const std::string& name) {
  if (name.empty())
    return {};
  if (!mutants::select)
    return "--mutant " + name + ": this program has no mutants; scripts/mutants builds one that has";
  if (!mutants::select(name))
    return "--mutant " + name + ": no such mutant; scripts/mutants --list names them";
  return {};
}

std::uint64_t mutant_reached() {
  return mutants::reached ? mutants::reached() : 0;
}

} // namespace astra::sim
