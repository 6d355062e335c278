#pragma once

#include "config/options.hpp"
#include "messages/wire/app.pb.h"
#include "runtime/sim/checks/history.hpp"

#include <string_view>
#include <vector>

// Quotas, as checks ask about them.

namespace astra::sim {

/// The quota of a business; null when it has none.
const quota_options* quota_of(std::string_view business, const scenario& script);

/// Adds up what replicas take.
void add_resources(pb::Resources& sum, const pb::Resources& part);

/// Whether the quota allows so much in all.
bool within(const quota_options& quota, const pb::Resources& sum);

void add_sharing_checks(std::vector<check_kind>& all);

} // namespace astra::sim
