#pragma once

#include "config/scenario.hpp"

#include <string>
#include <vector>

namespace astra::schema {
class ScenarioFile;
} // namespace astra::schema

// Between the message of a scenario's file and the structs that a simulation is told.  One list per struct pairs their
// fields, for both ways.

namespace astra {

/// What the file says; what it lacks keeps the defaults of the structs.  Rules that only the file can break (a value
/// that must be said, a table of the wrong kind) go to `broken`.
scenario to_scenario(const schema::ScenarioFile& file, std::vector<broken_rule>& broken);

/// The file, without what is a default.
schema::ScenarioFile to_file(const scenario& what);

} // namespace astra
