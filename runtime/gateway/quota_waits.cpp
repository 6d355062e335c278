#include "runtime/gateway/quota_waits.hpp"

#include "actors/resource/cluster_view.hpp"
#include "actors/resource/quota_book.hpp"

namespace astra {
namespace {

/// A scheduler asks again within a second; while it does, its replicas count as claimed.
constexpr std::chrono::milliseconds asking_again{2000};

} // namespace

void quota_waits::note(const std::string& app, const app_entry* entry, time_point now) {
  if (entry == nullptr || entry->record.deleting() || entry->record.spec().business().empty()) {
    apps_.erase(app);
    return;
  }
  auto known = apps_.find(app);
  if (known != apps_.end() && known->second.over_since && now - *known->second.over_since >= asking_again) {
    apps_.erase(known);
    known = apps_.end();
  }
  auto& told = entry->record;
  auto waits = told.pending() > 0 && told.reason().find(quota_key) != std::string::npos;
  if (!waits && known != apps_.end() && !known->second.over_since)
    known->second.over_since = now;
  if (!waits)
    return;
  if (known == apps_.end())
    known = apps_.emplace(app, record{.since = now}).first;
  auto& record = known->second;
  record.business = told.spec().business();
  record.replicas = told.pending();
  record.reason = told.reason();
  record.over_since.reset();
}

std::map<std::string, std::vector<quota_wait>> quota_waits::waiting(time_point now) const {
  std::map<std::string, std::vector<quota_wait>> result;
  for (auto& [app, record] : apps_)
    if (!record.over_since || now - *record.over_since < asking_again)
      result[record.business].push_back({app, record.replicas,
                                         std::chrono::duration_cast<std::chrono::milliseconds>(now - record.since),
                                         record.reason});
  return result;
}

} // namespace astra
