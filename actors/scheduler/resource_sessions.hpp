#pragma once

#include "actors/random.hpp"
#include "messages/ids.hpp"
#include "messages/resource_protocol.hpp"

#include <caf/actor_addr.hpp>

#include <chrono>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace astra {

/// What a scheduler may say to a Resource: claims, and the question who it is.
using claim_target = claim_sink::extend_with<view_source>;

/// Sessions of a scheduler with every Resource of its configuration: which id lives at which address.  Dialling,
/// asking and waiting are the caller's; here is only what to do next.  A session that breaks is opened again after a
/// pause that doubles up to two seconds.
class resource_sessions {
public:
  using time_point = std::chrono::steady_clock::time_point;

  explicit resource_sessions(const std::vector<std::string>& addresses);

  /// Addresses to be dialled now.  They count as being dialled until on_identified or on_broken is called.
  std::vector<std::string> due(time_point now);

  void on_identified(const std::string& address, resource_id id, claim_target handle);

  void on_broken(const std::string& address, time_point now, random_source& random);

  /// Null when there is no session with this Resource.
  const claim_target* find(resource_id id) const;

  /// Address of the session whose peer this was.
  std::optional<std::string> address_of(const caf::actor_addr& peer) const;

  std::set<resource_id> reachable() const;

private:
  struct session {
    claim_target handle;
    resource_id id;
    bool dialling = false;
    time_point next_dial;
    std::chrono::milliseconds pause{0};
  };
  std::map<std::string, session> sessions_;
};

} // namespace astra
