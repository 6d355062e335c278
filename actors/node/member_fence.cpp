#include "actors/node/member_fence.hpp"

#include <spdlog/fmt/fmt.h>

#include <algorithm>

namespace astra {

void member_fence::remember(std::uint64_t epoch, const pb::ClusterMember& member) {
  slot_key key{member.cluster(), member.slot()};
  auto [place, fresh] = newest_.try_emplace(key, epoch, member.incarnation());
  place->second = std::max(place->second, std::pair{epoch, member.incarnation()});
  if (!fresh)
    return;
  order_.push_back(key);
  if (order_.size() > members_max) {
    newest_.erase(order_.front());
    order_.pop_front();
  }
}

std::string member_fence::misfit(std::uint64_t epoch, const pb::ClusterMember& member) const {
  auto found = newest_.find({member.cluster(), member.slot()});
  if (found == newest_.end() || std::pair{epoch, member.incarnation()} >= found->second)
    return {};
  return fmt::format("incarnation {} of slot {} of its cluster is overtaken by incarnation {}", member.incarnation(),
                     member.slot(), found->second.second);
}

} // namespace astra
