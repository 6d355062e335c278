#pragma once

#include "actors/resource/cluster_view.hpp"
#include "messages/ids.hpp"
#include "messages/wire/control.pb.h"
#include "messages/wire/membership.pb.h"
#include "messages/wire/view.pb.h"

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace astra {

/// Finds the apps whose scheduler process is gone and that this standby process is to take over.
///
/// Of several standby processes all choose the same one, by rendezvous over the names of those that the view shows
/// alive.  Should that one not act, as its disk may be full, the next ones follow, each a while later.  That two act at
/// once is allowed for: of two schedulers of an app the one with the larger epoch goes on.
///
/// A plain class: the time is an argument.
class standby_watch {
public:
  using time_point = std::chrono::steady_clock::time_point;

  /// @param name of this process.
  /// @param takeover_after how long a process must have been gone.
  standby_watch(std::string name, std::chrono::milliseconds takeover_after);

  /// Records of the apps to take over now, sorted by name.  Ask every few hundred milliseconds: after a longer silence
  /// of the caller, which was frozen itself and may look at a view of before, processes are given that time again.
  std::vector<pb::AppRecord> due(const cluster_view& view, time_point now);

private:
  std::string name_;
  scheduler_id self_;
  std::chrono::milliseconds takeover_after_;
  std::optional<time_point> asked_;
  /// Since when processes that manage apps are not there.
  std::map<scheduler_id, time_point> gone_;
};

/// What a process that comes back is told of an app in its store by one that may have taken it over.
enum class app_claim {
  /// It knows nothing later: the app is the asker's.
  mine,
  /// It has the app.
  theirs,
  /// It had it, and it was deleted there.
  deleted,
};

/// Notes of revisions that tell who took an app from whom, with the epoch of the scheduler that lost or has it: epochs
/// of an app grow from one to the next, whatever the clocks of their machines say.
std::string taken_over_note(const std::string& from, std::uint64_t epoch);
std::string given_up_note(const std::string& to, std::uint64_t epoch);
std::string deleted_note(const std::string& at, std::uint64_t epoch);

/// In all notes that name an epoch, and in no others.  A store keeps the newest such revision of an app, however many
/// follow: without it, who has the app would be forgotten.
inline constexpr std::string_view epoch_mark = " (epoch ";

/// Whether a note says that the app was given up.
bool says_given_up(const std::string& note);

/// Who of two has the app: the one that took it last.
/// @param mine revisions that the asker keeps.
/// @param asker its name.
app_claim whose_app(const std::vector<pb::AppRevision>& mine, const pb::AppDetail& answer, const std::string& asker);

/// The largest epoch that notes of revisions name; 0: none does.
std::uint64_t noted_epoch(const std::vector<pb::AppRevision>& revisions);

} // namespace astra
