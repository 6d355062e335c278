#include "actors/router/outlier_detector.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace astra {
namespace {

/// After so long an answer counts a third: requests are few.
constexpr double memory_s = 600.0;
/// Share of the nodes that may be out at a time; one may be in any case.
constexpr double share_max = 0.1;
/// Of the newest service time in the mean.
constexpr double newest = 0.1;
/// Where others fail more often, five failures in a row happen by chance.
constexpr double others_bad_max = 0.2;
/// After so many good answers the last ejection is forgotten.
constexpr std::uint32_t good_again = 20;

double median_of(std::vector<double> values) {
  auto middle = values.begin() + static_cast<std::ptrdiff_t>((values.size() - 1) / 2);
  std::ranges::nth_element(values, middle);
  return *middle;
}

} // namespace

void outlier_detector::outcomes::fade(time_point now) {
  auto keep = std::exp(-std::max(0.0, std::chrono::duration<double>(now - at).count()) / memory_s);
  ok *= keep;
  bad *= keep;
  at = now;
}

void outlier_detector::served(node_id node, time_point now) {
  auto& what = nodes_[node];
  for (auto* counted : {&what.recent, &all_}) {
    counted->fade(now);
    counted->ok += 1.0;
  }
  what.streak = 0;
  what.last_who.clear();
  what.proven = true;
  if (++what.good >= good_again && what.times > 0) {
    --what.times;
    what.good = 0;
  }
}

void outlier_detector::took(node_id node, microseconds time, double hardware) {
  if (!std::isfinite(hardware) || hardware <= 0.0)
    return;
  auto& what = nodes_[node];
  auto latency = std::log(std::chrono::duration<double>(std::max(time, latency_min)).count());
  // The first ones count alike.
  auto weight = std::max(newest, 1.0 / (what.latencies + 1.0));
  what.latency.add(latency, weight);
  what.relative.add(latency + std::log(hardware), weight);
  ++what.latencies;
}

std::optional<outlier_detector::ejection> outlier_detector::failed(node_id node, const std::string& why,
                                                                   const std::string& who, std::size_t nodes,
                                                                   time_point now) {
  auto& what = nodes_[node];
  for (auto* counted : {&what.recent, &all_}) {
    counted->fade(now);
    counted->bad += 1.0;
  }
  what.good = 0;
  if (who.empty() || who != what.last_who)
    ++what.streak;
  what.last_who = who;
  // What had been sent before is no news.
  if (is_out(node, now))
    return std::nullopt;
  // One that comes back and fails at once is known.
  auto enough = what.times > 0 && !what.proven ? 1 : policy_.errors;
  if (policy_.errors == 0 || what.streak < enough)
    return std::nullopt;
  auto others_ok = all_.ok - what.recent.ok;
  auto others_bad = all_.bad - what.recent.bad;
  if (others_ok < 0.5 || others_bad > others_bad_max * (others_ok + others_bad) || !may_eject(nodes, now))
    return std::nullopt;
  auto reason = fmt::format("{} error{} one after the other, at last: {}; other nodes have fewer", what.streak,
                            what.streak == 1 ? "" : "s", why);
  return ejection{node, std::move(reason), eject(node, what, now)};
}

std::vector<outlier_detector::ejection> outlier_detector::too_slow(std::size_t nodes, time_point now) {
  std::vector<ejection> result;
  if (policy_.latency <= 0.0)
    return result;
  std::vector<double> latencies;
  std::vector<double> relatives;
  for (auto& [node, what] : nodes_) {
    if (what.latencies < latencies_min || is_out(node, now))
      continue;
    latencies.push_back(what.latency.value);
    relatives.push_back(what.relative.value);
  }
  if (latencies.size() < compared_min)
    return result;
  // By itself: a machine with many cores is no faster for an app that uses one.  Relative to its hardware: a small
  // machine may be slow.
  auto latency = median_of(std::move(latencies));
  auto relative = median_of(std::move(relatives));
  std::vector<std::pair<double, node_id>> slow;
  for (auto& [node, what] : nodes_) {
    if (what.latencies < latencies_min || is_out(node, now))
      continue;
    auto times = std::exp(std::min(what.latency.value - latency, what.relative.value - relative));
    if (times >= policy_.latency)
      slow.emplace_back(times, node);
  }
  std::ranges::sort(slow, std::greater<>{});
  for (auto& [times, node] : slow) {
    if (!may_eject(nodes, now))
      break;
    auto length = eject(node, nodes_.at(node), now);
    result.push_back(
        {node, fmt::format("{:.1f} times slower than the other nodes, by itself and for its hardware", times), length});
  }
  return result;
}

void outlier_detector::forget(node_id node) {
  out_.erase(node);
  auto found = nodes_.find(node);
  if (found == nodes_.end())
    return;
  auto& recent = found->second.recent;
  recent.fade(all_.at);
  all_.ok = std::max(0.0, all_.ok - recent.ok);
  all_.bad = std::max(0.0, all_.bad - recent.bad);
  nodes_.erase(found);
}

bool outlier_detector::is_out(node_id node, time_point now) const {
  auto found = out_.find(node);
  return found != out_.end() && found->second > now;
}

bool outlier_detector::may_eject(std::size_t nodes, time_point now) {
  std::erase_if(out_, [now](auto& entry) { return entry.second <= now; });
  // Those that are out are not in rotation.
  auto all = static_cast<double>(nodes + out_.size());
  return nodes > 1 && out_.size() < std::max<std::size_t>(1, static_cast<std::size_t>(share_max * all));
}

outlier_detector::milliseconds outlier_detector::eject(node_id node, record& what, time_point now) {
  auto length = policy_.first;
  for (std::uint32_t i = 0; i < what.times && length < longest; ++i)
    length *= 2;
  length = std::min(length, longest);
  ++what.times;
  what.good = 0;
  what.proven = false;
  what.streak = 0;
  what.last_who.clear();
  what.latency = what.relative = {};
  what.latencies = 0;
  out_[node] = now + length;
  return length;
}

} // namespace astra
