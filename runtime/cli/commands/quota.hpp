#pragma once

#include "runtime/cli/commands/commands.hpp"

#include <string>

namespace astra {

extern const command_text quota_text, quota_list_text;
int list_quotas(command_context& context, const list_options& options);
const listing& quota_listing();
std::string render_quotas(const json& answer, bool colour);
/// The line of `status`: "3 businesses, 1 used up: media (cpu 16 of 16, 4 replicas wait)".
std::string quota_summary(const json& quotas, bool colour);

} // namespace astra
