#pragma once

#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace astra {

/// Which tracker answers for what: of those that can be reached, the one that rendezvous hashing prefers for its key.
/// All that see the same trackers ask the same one.
///
/// A plain class: the time is an argument.
class tracker_choice {
public:
  using time_point = std::chrono::steady_clock::time_point;

  /// Who failed is not dialled again for so long.
  static constexpr std::chrono::milliseconds pause{3000};

  /// @param trackers "host:port" of each, the same list at all members.
  explicit tracker_choice(std::vector<std::string> trackers) : trackers_(std::move(trackers)) {}

  /// Nothing: none can be reached.
  std::optional<std::string> tracker_of(const std::string& key, time_point now);
  void failed(const std::string& tracker, time_point now) { down_until_[tracker] = now + pause; }
  /// Those that failed and should be dialled again.
  std::vector<std::string> due(time_point now) const;
  void answered(const std::string& tracker) { down_until_.erase(tracker); }

private:
  std::vector<std::string> trackers_;
  std::map<std::string, time_point> down_until_;
  /// By key; what was asked for last.
  std::map<std::string, std::vector<std::string>> ranked_;
};

} // namespace astra
