#include "actors/scheduler/claim_memory.hpp"

#include "messages/errc.hpp"
#include "messages/type_ids.hpp"

#include <algorithm>

namespace astra {

caf::expected<pb::ClaimRecord> claim_memory::last(const std::string& app) {
  auto& log = logs[app];
  return log.empty() ? pb::ClaimRecord{} : log.back();
}

caf::expected<void> claim_memory::append(const std::string& app, const std::vector<pb::ClaimRecord>& records) {
  auto& log = logs[app];
  auto next = log.empty() ? 1 : log.back().number() + 1;
  if (!records.empty() && records.front().number() != next)
    return caf::make_error(errc::io_failed, "does not follow what is there");
  auto count = full ? std::min(torn, records.size()) : records.size();
  log.insert(log.end(), records.begin(), records.begin() + static_cast<std::ptrdiff_t>(count));
  if (full)
    return caf::make_error(errc::io_failed, "no space left on device");
  return {};
}

caf::expected<pb::ClaimLogPage> claim_memory::read(const std::string& app, std::uint64_t from, std::uint32_t limit) {
  pb::ClaimLogPage page;
  auto& log = logs[app];
  page.set_last(log.size());
  std::uint64_t begin = from != 0 ? from - 1 : log.size() - std::min<std::uint64_t>(limit, log.size());
  for (auto i = begin; i < log.size() && i - begin < limit; ++i)
    *page.add_records() = log[i];
  return page;
}

} // namespace astra
