#pragma once

#include "runtime/tasks/task_store.hpp"

#include <filesystem>

namespace astra {

/// Opens the tasks of a live gateway: the SQLite database `tasks.db` in `state_dir`, which is made when it is not
/// there. What is committed survives the death of the process and the loss of power. Fails with io_failed, what is
/// wrong and the cure, when the file is no database, another program's, written by a newer version, or cannot be read
/// or written.  Such a file stays as it is.
caf::expected<std::unique_ptr<task_store>> open_task_db(const std::filesystem::path& state_dir);

} // namespace astra
