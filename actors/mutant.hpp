#pragma once

/// Protocol mutants: deliberate errors at places where a protocol has a rule, which show whether the tests would notice
/// that the rule is gone.  They are named in test/sim/mutants.def and exist only in the library astra_actors_mutants,
/// which is compiled with ASTRA_MUTANTS; everywhere else MUTANT(id) is the constant false.
///
///     if (beat.incarnation() < known->incarnation() && !MUTANT(incarnation_ignored))
///
/// Written last in a condition, it is reached only when the mutant makes a difference.  Only in .cpp files: what is
/// inline in a header would differ between the translation units of a program.
#ifndef ASTRA_MUTANTS
#define MUTANT(id) false
#else
#define MUTANT(id) (::astra::mutants::active(::astra::mutants::mutant::id))

#include <atomic>
#include <cstdint>
#include <span>
#include <string_view>

namespace astra::mutants {

enum class mutant : std::uint32_t {
#define M(id, breaks, rule) id,
#include "test/sim/mutants.def"
#undef M
  none,
};

struct mutant_info {
  std::string_view name;
  /// What it breaks, in a sentence.
  std::string_view breaks;
  /// The rule of the protocol that should catch it.
  std::string_view rule;
};

/// All mutants, in the order of the list.
std::span<const mutant_info> all();

/// Makes `name` the one mutant of this process and of those that it forks, and sets its count to zero.
/// @returns false when there is no such mutant; nothing has changed then.
bool select(std::string_view name);

/// How often the selected mutant changed a decision, in this process and in those forked after its selection.
std::uint64_t reached();

inline std::atomic<mutant> selected{mutant::none};

void count();

/// Whether the selected mutant is `which`.
inline bool active(mutant which) {
  if (selected.load(std::memory_order_relaxed) != which)
    return false;
  count();
  return true;
}

} // namespace astra::mutants
#endif
