#pragma once

#include "messages/wire/app.pb.h"

#include <map>
#include <memory>
#include <string>

namespace astra {

/// Where contents are, by their names without versions.
using content_paths = std::map<std::string, std::string>;

/// The spec with {content.NAME} replaced by its directory in commands, environments and arguments; processes also find
/// it in ASTRA_CONTENT_NAME, in upper case, with '_' for what a variable's name cannot hold.
std::shared_ptr<const pb::AppSpec> with_contents(const pb::AppSpec& spec, const content_paths& paths);

} // namespace astra
