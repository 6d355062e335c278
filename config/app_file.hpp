#pragma once

#include "config/options.hpp"

#include <string>
#include <vector>

namespace astra::schema {
class AppFile;
} // namespace astra::schema

namespace astra::pb {
class AppSpec;
} // namespace astra::pb

// Between the message of an app's file and the AppSpec that schedulers work with.

namespace astra {

/// The spec with every default filled in.  Rules that only the file can break (a table of the wrong kind) go to
/// `broken`.
pb::AppSpec to_spec(const schema::AppFile& file, std::vector<broken_rule>& broken);

/// The file of an app, without what is a default; to_spec() makes the same spec of it.
schema::AppFile to_file(const pb::AppSpec& spec);

/// The rules that a spec must keep, with the keys of the file.
std::vector<broken_rule> app_rules(const pb::AppSpec& spec);

} // namespace astra
