#pragma once

#include "runtime/cli/commands/commands.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace astra {

extern const command_text claims_text, claims_log_text, claims_verify_text;
struct claims_options {
  std::string app;
  /// Number of the first record; unset: the last ones.
  std::optional<std::uint32_t> from;
  /// Files of logs, or names of apps.
  std::vector<std::string> what;
};
int show_claims(command_context& context, const claims_options& options, const list_options& list);
const listing& claim_listing();
int verify_claims(command_context& context, const claims_options& options);
std::string render_claims(const json& answer, bool colour);

} // namespace astra
