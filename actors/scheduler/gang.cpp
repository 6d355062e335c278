#include "actors/scheduler/gang.hpp"

#include "actors/mutant.hpp"

#include <algorithm>
#include <cassert>
#include <utility>

namespace astra {

void gang::begin(std::uint64_t wall_ms) {
  if (since_wall_ms_ == 0)
    since_wall_ms_ = std::max<std::uint64_t>(wall_ms, 1);
}

pb::GangOrder gang::order(const std::string& app) const {
  pb::GangOrder result;
  // What has begun to commit keeps others out until it is whole: it goes before all that only hold.
  result.set_since_wall_ms(committing_ ? 0 : since_wall_ms_);
  result.set_id(name_hash(app));
  return result;
}

void gang::set_placed() {
  assert(places_.empty());
  placed_ = true;
  holding_since_.reset();
}

void gang::ask(claim_token token, place what, time_point now) {
  if (!holding_since_)
    holding_since_ = now;
  what.asked = now;
  places_[token] = std::move(what);
}

bool gang::on_held(claim_token token) {
  auto found = places_.find(token);
  if (found == places_.end())
    return false;
  auto& what = found->second;
  if (what.asked)
    what.held_since = std::exchange(what.asked, std::nullopt);
  return true;
}

std::vector<claim_token> gang::renew(time_point now) {
  std::vector<claim_token> result;
  for (auto& [token, what] : places_) {
    if (what.asked || !what.held_since || now - *what.held_since < options_.hold / 2)
      continue;
    what.asked = now;
    result.push_back(token);
  }
  if (!result.empty() && MUTANT(gang_holds_for_ever))
    holding_since_ = now;
  return result;
}

bool gang::complete(const std::set<std::uint32_t>& missing, time_point now) const {
  std::set<std::uint32_t> held;
  for (auto& [token, what] : places_)
    if (what.held_since && !what.asked && now - *what.held_since < options_.hold)
      held.insert(what.index);
  return std::includes(held.begin(), held.end(), missing.begin(), missing.end())
         || (!held.empty() && MUTANT(gang_placed_in_part));
}

std::map<claim_token, gang::place> gang::commit(time_point now) {
  // What the nodes refuse has as long again to be found elsewhere, once: what is committed keeps others out.
  if (!std::exchange(committing_, true))
    holding_since_ = now;
  return std::exchange(places_, {});
}

void gang::pause(time_point now, random_source& random) {
  places_.clear();
  holding_since_.reset();
  committing_ = false;
  paused_until_ = now + std::chrono::duration_cast<std::chrono::milliseconds>(options_.pause * (0.5 + random.unit()));
}

std::size_t gang::held() const {
  return static_cast<std::size_t>(
      std::count_if(places_.begin(), places_.end(), [](auto& entry) { return entry.second.held_since.has_value(); }));
}

bool gang::asks() const {
  return std::any_of(places_.begin(), places_.end(), [](auto& entry) { return entry.second.asked.has_value(); });
}

} // namespace astra
