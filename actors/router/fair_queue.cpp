#include "actors/router/fair_queue.hpp"

#include <algorithm>

namespace astra {

fair_queue::turn fair_queue::enter(const std::string& client, std::uint64_t arrival) {
  auto& who = clients_[client];
  turn result{std::max(now_, who.next), arrival};
  who.next = result.start + 1;
  who.waiting.insert(result);
  ++places_;
  return result;
}

void fair_queue::leave(const std::string& client, const turn& what, bool served) {
  auto found = clients_.find(client);
  if (found == clients_.end() || found->second.waiting.erase(what) == 0)
    return;
  --places_;
  if (served)
    now_ = std::max(now_, what.start);
  // What a client has had counts until the others had as much.
  std::erase_if(clients_, [this](auto& entry) { return entry.second.waiting.empty() && entry.second.next <= now_; });
  if (places_ == 0)
    clients_.clear();
}

std::size_t fair_queue::places_of(const std::string& client) const {
  auto found = clients_.find(client);
  return found == clients_.end() ? 0 : found->second.waiting.size();
}

std::optional<fair_queue::turn> fair_queue::to_give_way(const std::string& client,
                                                        const std::function<bool(const turn&)>& can) const {
  auto most = std::ranges::max_element(
      clients_, [](auto& a, auto& b) { return a.second.waiting.size() < b.second.waiting.size(); });
  if (most == clients_.end() || most->second.waiting.size() < places_of(client) + 2)
    return std::nullopt;
  auto& waiting = most->second.waiting;
  auto youngest = std::find_if(waiting.rbegin(), waiting.rend(), can);
  return youngest == waiting.rend() ? std::nullopt : std::optional{*youngest};
}

} // namespace astra
