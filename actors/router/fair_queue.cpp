#include "actors/router/fair_queue.hpp"

#include <algorithm>
#include <tuple>

namespace astra {

void fair_queue::take_place(const std::string& client, request who) {
  auto& account = clients_[client];
  // Whoever was away has saved nothing up.
  if (account.waiting.empty())
    account.served = std::max(account.served, now_);
  account.waiting.insert(who);
  ++places_;
}

void fair_queue::give_back(const std::string& client, request who, bool served) {
  auto found = clients_.find(client);
  if (found == clients_.end() || found->second.waiting.erase(who) == 0)
    return;
  auto& account = found->second;
  --places_;
  parked_ -= account.parked.erase(who);
  if (served) {
    now_ = std::max(now_, account.served);
    ++account.served;
  }
  if (account.waiting.empty())
    forget_idle();
}

/// What clients were served counts until the others were served as much.
void fair_queue::forget_idle() {
  if (places_ == 0)
    clients_.clear();
  else
    std::erase_if(clients_,
                  [this](auto& entry) { return entry.second.waiting.empty() && entry.second.served <= now_; });
}

std::size_t fair_queue::places_of(const std::string& client) const {
  auto found = clients_.find(client);
  return found == clients_.end() ? 0 : found->second.waiting.size();
}

void fair_queue::park(const std::string& client, request who) {
  auto found = clients_.find(client);
  if (found != clients_.end() && found->second.waiting.contains(who))
    parked_ += found->second.parked.insert(who).second ? 1 : 0;
}

bool fair_queue::is_parked(const std::string& client, request who) const {
  auto found = clients_.find(client);
  return found != clients_.end() && found->second.parked.contains(who);
}

std::set<fair_queue::request> fair_queue::all_parked() const {
  std::set<request> result;
  for (auto& [client, account] : clients_)
    result.insert(account.parked.begin(), account.parked.end());
  return result;
}

std::optional<fair_queue::request> fair_queue::next() {
  if (parked_ == 0)
    return std::nullopt;
  account* best = nullptr;
  std::tuple<std::uint64_t, request> best_rank;
  for (auto& [client, account] : clients_) {
    if (account.parked.empty())
      continue;
    if (account.round != round_) {
      account.round = round_;
      account.up_to = account.let_go = 0;
    }
    auto first = account.parked.upper_bound(account.up_to);
    if (first == account.parked.end())
      continue;
    std::tuple rank{account.served + account.let_go, *first};
    if (best == nullptr || rank < best_rank) {
      best = &account;
      best_rank = rank;
    }
  }
  if (best == nullptr)
    return std::nullopt;
  auto who = std::get<1>(best_rank);
  best->parked.erase(who);
  --parked_;
  best->up_to = who;
  ++best->let_go;
  return who;
}

std::optional<fair_queue::request> fair_queue::to_give_way(const std::string& client,
                                                           const std::function<bool(request)>& can) const {
  auto mine = places_of(client);
  std::optional<request> result;
  std::size_t most = mine + 1;
  for (auto& [name, account] : clients_) {
    if (account.waiting.size() <= most)
      continue;
    auto youngest = std::find_if(account.waiting.rbegin(), account.waiting.rend(), can);
    if (youngest == account.waiting.rend())
      continue;
    result = *youngest;
    most = account.waiting.size();
  }
  return result;
}

} // namespace astra
