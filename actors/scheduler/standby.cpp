#include "actors/scheduler/standby.hpp"

#include "actors/rendezvous.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <utility>

namespace astra {
namespace {

/// A caller that was away for longer has been frozen.
constexpr std::chrono::seconds frozen_after{1};

/// The next one in the order waits at least so much longer, so that the first one's record gets round.
constexpr std::chrono::milliseconds turn_min{2000};

bool alive(const scheduler_entry* process) {
  return process != nullptr && process->row.liveness() != pb::LIVENESS_OFFLINE;
}

const std::string taken_over = "taken over from ";
const std::string given_up = "given up to ";

std::uint64_t epoch_in(const std::string& note) {
  auto at = note.rfind(epoch_mark);
  std::uint64_t result = 0;
  if (at != std::string::npos)
    std::from_chars(note.data() + at + epoch_mark.size(), note.data() + note.size(), result);
  return result;
}

} // namespace

standby_watch::standby_watch(std::string name, std::chrono::milliseconds takeover_after)
  : name_(std::move(name)), self_(make_scheduler_id(name_)), takeover_after_(takeover_after) {}

std::vector<pb::AppRecord> standby_watch::due(const cluster_view& view, time_point now) {
  if (asked_ && now - *asked_ >= frozen_after)
    for (auto& [id, since] : gone_)
      since += now - *asked_;
  asked_ = now;
  std::map<scheduler_id, time_point> gone;
  for (auto& [app, shown] : view.apps()) {
    scheduler_id owner{shown.record.scheduler()};
    if (owner == self_ || alive(view.find_scheduler(owner)))
      continue;
    auto before = gone_.find(owner);
    gone.emplace(owner, before == gone_.end() ? now : before->second);
  }
  gone_ = std::move(gone);
  if (gone_.empty())
    return {};
  std::vector<std::string> standbys{name_};
  for (auto& [id, entry] : view.schedulers())
    if (entry.row.standby() && id != self_ && alive(&entry))
      standbys.push_back(entry.row.name());
  std::vector<pb::AppRecord> result;
  for (auto& [app, shown] : view.apps()) {
    auto since = gone_.find(scheduler_id{shown.record.scheduler()});
    if (since == gone_.end() || now - since->second < takeover_after_)
      continue;
    auto order = rendezvous_order(app, standbys);
    auto turn = std::find(order.begin(), order.end(), name_) - order.begin();
    if (now - since->second >= takeover_after_ + turn * std::max(takeover_after_, turn_min))
      result.push_back(shown.record);
  }
  return result;
}

std::string taken_over_note(const std::string& from, std::uint64_t epoch) {
  return fmt::format("{}{}{}{})", taken_over, from, epoch_mark, epoch);
}

std::string given_up_note(const std::string& to, std::uint64_t epoch) {
  return fmt::format("{}{}{}{})", given_up, to, epoch_mark, epoch);
}

std::string deleted_note(const std::string& at, std::uint64_t epoch) {
  return fmt::format("deleted at {}{}{})", at, epoch_mark, epoch);
}

bool says_given_up(const std::string& note) {
  return note.find(given_up) != std::string::npos;
}

std::uint64_t noted_epoch(const std::vector<pb::AppRevision>& revisions) {
  std::uint64_t result = 0;
  for (auto& revision : revisions)
    result = std::max(result, epoch_in(revision.note()));
  return result;
}

app_claim whose_app(const std::vector<pb::AppRevision>& mine, const pb::AppDetail& answer, const std::string& asker) {
  std::vector<pb::AppRevision> theirs{answer.history().revisions().begin(), answer.history().revisions().end()};
  if (theirs.empty() || says_given_up(theirs.back().note()))
    return app_claim::mine;
  auto known = noted_epoch(mine);
  if (answer.found())
    return noted_epoch(theirs) > known ? app_claim::theirs : app_claim::mine;
  // That another app of this name was deleted there once is none of the asker's business.
  auto from_asker = std::any_of(theirs.begin(), theirs.end(), [&](auto& revision) {
    return revision.note().find(taken_over + asker + std::string{epoch_mark}) != std::string::npos
           && epoch_in(revision.note()) > known;
  });
  return from_asker && theirs.back().spec().deleting() ? app_claim::deleted : app_claim::mine;
}

} // namespace astra
