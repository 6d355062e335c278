#include "p2p/cache_plan.hpp"

#include <algorithm>
#include <tuple>

namespace astra::p2p {

eviction_plan plan_eviction(std::vector<cached_content> contents, std::uint64_t cap_bytes, std::uint64_t needed_bytes,
                            std::chrono::system_clock::time_point used_since) {
  std::uint64_t used = 0;
  for (auto& what : contents)
    used += what.size;
  auto room = cap_bytes > used ? cap_bytes - used : 0;
  auto over = used > cap_bytes ? used - cap_bytes : 0;
  // Bytes that have to go.
  auto wanted = over + (needed_bytes > room ? needed_bytes - room : 0);
  std::erase_if(contents, [&](const cached_content& what) {
    return what.pinned || what.in_use || what.last_copy || (!what.condemned && what.last_use > used_since);
  });
  std::ranges::sort(contents, {}, [](const cached_content& what) {
    // Of several that were used at the same time the largest goes: fewer have to be fetched again.
    return std::tuple{!what.condemned, what.last_use, ~what.size, what.address};
  });
  std::uint64_t freed = 0;
  std::vector<cached_content> chosen;
  for (auto& what : contents) {
    if (freed >= wanted)
      break;
    if (what.size == 0)
      continue;
    freed += what.size;
    chosen.push_back(what);
  }
  eviction_plan result;
  if (freed < wanted) {
    result.missing_bytes = wanted - freed;
    return result;
  }
  // A large one at the end may make small ones before it unnecessary; those used last are kept first.
  for (auto i = chosen.size(); i-- > 0;)
    if (freed - chosen[i].size >= wanted) {
      freed -= chosen[i].size;
      chosen.erase(chosen.begin() + static_cast<std::ptrdiff_t>(i));
    }
  for (auto& what : chosen)
    result.evict.push_back(what.address);
  return result;
}

} // namespace astra::p2p
