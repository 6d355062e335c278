#pragma once

#include "runtime/gateway/quota_summary.hpp"

#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace astra {

struct app_entry;

/// Which apps wait for their business's quota and since when, as their records tell.  A record has no time of its own,
/// so what waited already when it was first seen has waited for longer.
/// A plain class: the time is an argument.
class quota_waits {
public:
  using time_point = std::chrono::steady_clock::time_point;

  /// Takes in an app's record that has changed.
  /// @param entry null: the app is gone.
  void note(const std::string& app, const app_entry* entry, time_point now);

  /// By business; of each the apps in the order of their names.
  std::map<std::string, std::vector<quota_wait>> waiting(time_point now) const;

private:
  struct record {
    std::string business;
    std::uint32_t replicas = 0;
    std::string reason;
    time_point since;
    /// Its last record does not say that it waits: it may just be asking again.
    std::optional<time_point> over_since;
  };

  std::map<std::string, record> apps_;
};

} // namespace astra
