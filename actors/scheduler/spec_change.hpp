#pragma once

#include "messages/wire/app.pb.h"
#include "messages/wire/control.pb.h"

#include <string>

namespace astra {

// What changed in an app, in a few words, with the names and units of app files: "replicas 3 -> 5; memory 256MiB ->
// 1GiB; env changed".  Goes by the fields of the schema, so that a new one needs nothing here.  Values of env and args
// are never said: they may be secrets.

/// "unchanged" when nothing differs.
std::string describe_change(const pb::AppSpec& before, const pb::AppSpec& after);

/// "3 replicas", or "2 clusters" of a federated app.
std::string size_text(const pb::AppSpec& spec);

/// Fills in `change` of every revision.
void describe_changes(pb::AppHistory& history);

} // namespace astra
