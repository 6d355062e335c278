#pragma once

#include "actors/platform.hpp"

#include <filesystem>
#include <memory>

namespace astra {

/// App store of a live process: one JSON file per app (the AppSpec) in `directory`, which is created.  A file appears
/// under its name only when it is complete and on disk.  One that cannot be read is set aside as NAME.json.broken with
/// a line in the log: the other apps still start.
std::unique_ptr<app_store> make_app_files(std::filesystem::path directory);

} // namespace astra
