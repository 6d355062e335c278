#pragma once

#include "messages/ids.hpp"
#include "runtime/process/proc_files.hpp"

#include <functional>
#include <map>
#include <optional>
#include <utility>
#include <vector>

namespace astra {

/// Says which process belongs to which launched tree, from what /proc shows.
///
/// The launcher is subreaper, so whatever its children start stays below it.  A process belongs to the tree of its
/// parent; one whose parent ended has become a child of the launcher and is recognised by what it was before, by its
/// session, or by the marker in its environment.  One that hid all three is a stray.
class tree_census {
public:
  /// Reads the key in the marker of a process; nothing when it has none.
  using marker_reader = std::function<std::optional<process_key>(pid_t)>;

  void add(process_key key, pid_t first);
  void remove(process_key key);

  /// @param all at least every descendant of the launcher
  void update(const std::vector<process_stat>& all, pid_t launcher, const marker_reader& marker);

  /// Running processes of the tree at the last update, in ascending order of pid.
  const std::vector<process_stat>& members(process_key key) const;
  const std::vector<process_stat>& strays() const { return strays_; }

private:
  using identity = std::pair<pid_t, std::uint64_t>;

  std::map<process_key, pid_t> first_;
  std::map<process_key, std::vector<process_stat>> members_;
  std::vector<process_stat> strays_;
  /// Trees of the processes seen at the last update.
  std::map<identity, process_key> known_;
};

} // namespace astra
