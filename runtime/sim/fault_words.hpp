#pragma once

#include "config/scenario.hpp"
#include "runtime/sim/event.hpp"

#include <caf/expected.hpp>

#include <string>
#include <vector>

namespace astra::sim {

/// Reads a fault as people say it: "crash node-3 2s", "cut a,b -> role:resource for 5s", "slow_link a <-> b 20 5s",
/// "scale ocr 4", "drift node-1 300 10s".  Fails with invalid_argument, in words for the user, also when the fault
/// names machines or apps that `what` does not have.
/// @param words the kind and what follows it
/// @param at when it happens
caf::expected<scenario_fault> read_fault(const std::vector<std::string>& words, const scenario& what, instant at);

/// The same way back.
std::string fault_text(const scenario_fault& fault);

} // namespace astra::sim
