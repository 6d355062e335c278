#pragma once

#include "actors/platform.hpp"

#include <caf/expected.hpp>

#include <chrono>
#include <filesystem>
#include <memory>

namespace astra {

/// Opens the app store of a live process: the SQLite database `apps.db` in `state_dir`, which is made when it is not
/// there.  What is saved survives the death of the process and the loss of power from the moment that save returns.
/// For one actor at a time.
///
/// Fails with io_failed, what is wrong and the cure, when the file is no database, another program's, damaged, written
/// by a newer version, or cannot be read or written.  Such a file stays as it is.
///
/// Earlier versions kept one JSON file per app in `state_dir`/apps.  Those are taken over, each as the first revision
/// of its app, and then renamed to NAME.json.taken-over; one that cannot be read is set aside as NAME.json.broken with
/// a line in the log, and the other apps still start.
/// @param now wall time of the revisions of what is taken over
caf::expected<std::unique_ptr<app_store>> open_app_db(const std::filesystem::path& state_dir,
                                                      std::chrono::milliseconds now);

} // namespace astra
