#pragma once

#include <cstdint>
#include <string>

namespace astra::sim {

/// Switches one protocol mutant on, in a program that is linked with astra_actors_mutants (actors/mutant.hpp).
/// @returns what is wrong; empty: done, or `name` is empty.
std::string select_mutant(const std::string& name);

/// How often the selected mutant changed a decision, in this process and those that it forked.
std::uint64_t mutant_reached();

} // namespace astra::sim
