#include "actors/scheduler/revision_log.hpp"

#include "actors/scheduler/standby.hpp"

#include <algorithm>

namespace astra {
namespace {

/// Drops all but the last ones, and the newest that tells who has the app.
void trim(std::vector<pb::AppRevision>& all) {
  auto noted = std::find_if(all.rbegin(), all.rend(),
                            [](auto& revision) { return revision.note().find(epoch_mark) != std::string::npos; });
  auto kept = noted == all.rend() ? 0 : noted->number();
  auto last = all.back().number();
  std::erase_if(all, [&](auto& revision) {
    return revision.number() + app_store::revisions_kept <= last && revision.number() != kept;
  });
}

} // namespace

std::uint64_t revision_log::save(const pb::AppSpec& spec, const change_note& note) {
  auto& all = revisions_[spec.name()];
  pb::AppRevision revision;
  revision.set_number(all.empty() ? 1 : all.back().number() + 1);
  revision.set_wall_ms(static_cast<std::uint64_t>(note.wall_time.count()));
  revision.set_origin(note.origin);
  revision.set_note(note.text);
  *revision.mutable_spec() = spec;
  all.push_back(std::move(revision));
  trim(all);
  specs_[spec.name()] = spec;
  return all.back().number();
}

void revision_log::remove(const std::string& name) {
  specs_.erase(name);
  std::vector<std::pair<std::uint64_t, std::string>> gone;
  for (auto& [app, all] : revisions_)
    if (specs_.count(app) == 0)
      gone.emplace_back(all.back().wall_ms(), app);
  if (gone.size() <= app_store::gone_apps_kept)
    return;
  std::sort(gone.begin(), gone.end());
  gone.resize(gone.size() - app_store::gone_apps_kept);
  for (auto& [wall_ms, app] : gone)
    revisions_.erase(app);
}

std::vector<pb::AppRevision> revision_log::history(const std::string& name) const {
  auto found = revisions_.find(name);
  return found == revisions_.end() ? std::vector<pb::AppRevision>{} : found->second;
}

} // namespace astra
