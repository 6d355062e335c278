#pragma once

#include <nlohmann/json_fwd.hpp>

namespace astra::pb {
class AppSpec;
} // namespace astra::pb

namespace astra {

/// An app as the API takes and gives it: Protobuf JSON with the names of the .proto file and every field written out.
nlohmann::ordered_json spec_to_json(const pb::AppSpec& spec);

/// @returns false, with `spec` cleared, when this is not an AppSpec.  Fields that a newer gateway added are ignored.
bool spec_from_json(const nlohmann::ordered_json& value, pb::AppSpec& spec);

} // namespace astra
