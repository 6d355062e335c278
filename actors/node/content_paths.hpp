#pragma once

#include "messages/wire/app.pb.h"

#include <map>
#include <memory>
#include <string>

namespace astra {

/// Where the files of a content are.
struct content_place {
  std::string directory;
  /// Where they can be read over HTTP; empty: nowhere.
  std::string url = {};
};

/// By the names of contents, without versions.
using content_paths = std::map<std::string, content_place>;

/// The spec with {content.NAME} replaced by its directory, and {content.NAME.url} by its URL, in commands, environments
/// and arguments; processes also find them in ASTRA_CONTENT_NAME and ASTRA_CONTENT_NAME_URL, in upper case, with '_'
/// for what a variable's name cannot hold.
std::shared_ptr<const pb::AppSpec> with_contents(const pb::AppSpec& spec, const content_paths& paths);

} // namespace astra
