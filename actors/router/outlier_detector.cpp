#include "actors/router/outlier_detector.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace astra {
namespace {

/// After so long an answer counts a third.
constexpr double memory_s = 30.0;
/// Share of the nodes that may be out at a time; one may be in any case.
constexpr double share_max = 0.1;
/// Of the newest relative service time in the mean.
constexpr double newest = 0.1;
/// Where others fail more often, five failures in a row happen by chance.
constexpr double others_bad_max = 0.2;
/// After so many good answers the last ejection is forgotten.
constexpr std::uint32_t good_again = 20;

} // namespace

void outlier_detector::outcomes::fade(time_point now) {
  auto keep = std::exp(-std::max(0.0, std::chrono::duration<double>(now - at).count()) / memory_s);
  ok *= keep;
  bad *= keep;
  at = now;
}

void outlier_detector::served(node_id node, std::chrono::microseconds service_time, double expected, time_point now) {
  auto& what = nodes_[node];
  for (auto* counted : {&what.recent, &all_}) {
    counted->fade(now);
    counted->ok += 1.0;
  }
  what.streak = 0;
  what.proven = true;
  if (++what.good >= good_again && what.times > 0) {
    --what.times;
    what.good = 0;
  }
  auto relative = std::chrono::duration<double>(service_time).count() * expected;
  if (service_time < latency_min || !std::isfinite(relative) || relative <= 0.0)
    return;
  // The first ones count alike.
  auto weight = std::max(newest, 1.0 / (what.latencies + 1.0));
  what.log_latency += weight * (std::log(relative) - what.log_latency);
  ++what.latencies;
}

std::optional<outlier_detector::ejection> outlier_detector::failed(node_id node, const std::string& why,
                                                                   std::size_t nodes, time_point now) {
  auto& what = nodes_[node];
  for (auto* counted : {&what.recent, &all_}) {
    counted->fade(now);
    counted->bad += 1.0;
  }
  what.good = 0;
  ++what.streak;
  // One that comes back and fails at once is known.
  auto enough = what.times > 0 && !what.proven ? 1 : policy_.errors;
  if (policy_.errors == 0 || what.streak < enough)
    return std::nullopt;
  auto others_ok = all_.ok - what.recent.ok;
  auto others_bad = all_.bad - what.recent.bad;
  if (others_ok < 1.0 || others_bad > others_bad_max * (others_ok + others_bad) || !may_eject(nodes, now))
    return std::nullopt;
  auto reason = fmt::format("{} error{} one after the other, at last: {}; other nodes have fewer", what.streak,
                            what.streak == 1 ? "" : "s", why);
  return ejection{node, std::move(reason), eject(what, now)};
}

std::vector<outlier_detector::ejection> outlier_detector::too_slow(std::size_t nodes, time_point now) {
  std::vector<ejection> result;
  if (policy_.latency <= 0.0)
    return result;
  std::vector<std::pair<double, node_id>> known;
  for (auto& [node, what] : nodes_)
    if (what.latencies >= latencies_min && what.out_until <= now)
      known.emplace_back(what.log_latency, node);
  if (known.size() < compared_min)
    return result;
  std::ranges::sort(known, std::greater<>{});
  auto median = known[known.size() / 2].first;
  for (auto& [log_latency, node] : known) {
    auto times = std::exp(log_latency - median);
    if (times < policy_.latency || !may_eject(nodes, now))
      break;
    auto length = eject(nodes_.at(node), now);
    result.push_back({node, fmt::format("{:.1f} times slower than expected of its hardware and the other nodes", times),
                      length});
  }
  return result;
}

void outlier_detector::forget(node_id node) {
  auto found = nodes_.find(node);
  if (found == nodes_.end())
    return;
  all_.ok = std::max(0.0, all_.ok - found->second.recent.ok);
  all_.bad = std::max(0.0, all_.bad - found->second.recent.bad);
  nodes_.erase(found);
}

bool outlier_detector::may_eject(std::size_t nodes, time_point now) const {
  auto out = std::ranges::count_if(nodes_, [now](auto& entry) { return entry.second.out_until > now; });
  // Those that are out are not in rotation.
  auto all = nodes + static_cast<std::size_t>(out);
  return nodes > 1 && static_cast<std::size_t>(out) < std::max<std::size_t>(1, static_cast<std::size_t>(share_max * static_cast<double>(all)));
}

outlier_detector::milliseconds outlier_detector::eject(record& what, time_point now) {
  auto length = policy_.first;
  for (std::uint32_t i = 0; i < what.times && length < longest; ++i)
    length *= 2;
  length = std::min(length, longest);
  ++what.times;
  what.good = 0;
  what.proven = false;
  what.streak = 0;
  what.latencies = 0;
  what.log_latency = 0.0;
  what.out_until = now + length;
  return length;
}

} // namespace astra
