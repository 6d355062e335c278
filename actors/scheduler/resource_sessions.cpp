#include "actors/scheduler/resource_sessions.hpp"

#include <algorithm>
#include <utility>

namespace astra {
namespace {

constexpr std::chrono::milliseconds pause_min{100};
constexpr std::chrono::milliseconds pause_max{2000};

} // namespace

resource_sessions::resource_sessions(const std::vector<std::string>& addresses) {
  for (auto& address : addresses)
    sessions_[address];
}

std::vector<std::string> resource_sessions::due(time_point now) {
  std::vector<std::string> result;
  for (auto& [address, session] : sessions_) {
    if (session.handle || session.dialling || now < session.next_dial)
      continue;
    session.dialling = true;
    result.push_back(address);
  }
  return result;
}

void resource_sessions::on_identified(const std::string& address, resource_id id, claim_target handle) {
  auto& session = sessions_[address];
  session.handle = std::move(handle);
  session.id = id;
  session.dialling = false;
  session.pause = std::chrono::milliseconds{0};
}

void resource_sessions::on_broken(const std::string& address, time_point now, random_source& random) {
  auto& session = sessions_[address];
  session.handle = nullptr;
  session.dialling = false;
  session.pause = std::clamp(session.pause * 2, pause_min, pause_max);
  auto share = 0.5 + 0.5 * random.unit();
  session.next_dial = now + std::chrono::duration_cast<std::chrono::milliseconds>(session.pause * share);
}

const claim_target* resource_sessions::find(resource_id id) const {
  for (auto& [address, session] : sessions_)
    if (session.handle && session.id == id)
      return &session.handle;
  return nullptr;
}

std::optional<std::string> resource_sessions::address_of(const caf::actor_addr& peer) const {
  for (auto& [address, session] : sessions_)
    if (session.handle && session.handle.address() == peer)
      return address;
  return std::nullopt;
}

std::set<resource_id> resource_sessions::reachable() const {
  std::set<resource_id> result;
  for (auto& [address, session] : sessions_)
    if (session.handle)
      result.insert(session.id);
  return result;
}

} // namespace astra
