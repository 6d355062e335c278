#include "actors/scheduler/autoscaler.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

namespace astra {
namespace {

using std::chrono::milliseconds;

constexpr double tolerance = 0.1;
constexpr std::chrono::seconds window_max{10};
/// What a wait counts as when nothing is done at all: that many times the target.
constexpr double stuck_ratio = 2;

milliseconds ms(std::uint64_t value) {
  return milliseconds{static_cast<std::int64_t>(value)};
}

/// Rounded up, apart from what is noise of the arithmetic.
std::uint32_t up(double replicas) {
  return static_cast<std::uint32_t>(std::clamp(std::ceil(replicas - 1e-6), 0.0, 1e6));
}

} // namespace

autoscaler::autoscaler(pb::ScalePolicy policy, std::uint32_t replicas, const std::string& why, time_point now)
  : policy_(std::move(policy)), changed_(now) {
  replicas_ = bounded(replicas);
  reason_ = fmt::format("{}: {}", replicas_, why);
}

std::uint32_t autoscaler::bounded(std::uint32_t replicas) const {
  // With none there would be nothing that could ask for more.
  return std::clamp(replicas, std::max(policy_.min(), 1U), std::max({policy_.min(), policy_.max(), 1U}));
}

autoscaler::totals autoscaler::add_up(const std::vector<node_sample>& nodes, time_point now) {
  totals result;
  result.at = now;
  auto passed = sampled_ ? std::chrono::duration<double>(now - *sampled_).count() : 0.0;
  std::map<node_id, std::pair<std::uint64_t, std::uint64_t>> seen;
  for (auto& node : nodes) {
    auto share = node.all_slots > 0 ? std::min(1.0, static_cast<double>(node.slots) / node.all_slots) : 0.0;
    result.ready += node.ready;
    result.slots += node.slots;
    result.busy += std::min(node.running * share, static_cast<double>(node.slots));
    seen[node.node] = {node.incarnation, node.done};
    auto before = done_.find(node.node);
    if (passed > 0 && before != done_.end() && before->second.first == node.incarnation
        && before->second.second <= node.done) {
      result.queued += node.queued * share;
      result.done_per_s += static_cast<double>(node.done - before->second.second) * share / passed;
    }
  }
  done_ = std::move(seen);
  return result;
}

autoscaler::wish autoscaler::recommend() const {
  double slots = 0, busy = 0, queued = 0, done = 0;
  for (auto& sample : samples_) {
    slots += sample.slots;
    busy += sample.busy;
    queued += sample.queued;
    done += sample.done_per_s;
  }
  auto ready = samples_.back().ready;
  wish result{replicas_, "no replica is ready"};
  if (ready == 0 || slots <= 0)
    return result;
  auto utilisation = busy / slots;
  auto follow = [&](double ratio) { return std::abs(ratio - 1) <= tolerance ? ready : up(ready * ratio); };
  result.replicas = 0;
  if (policy_.target_utilisation() > 0) {
    result.replicas = follow(utilisation * 100 / policy_.target_utilisation());
    result.why = fmt::format("{:.0f} % of slots busy, target {} %", utilisation * 100, policy_.target_utilisation());
  }
  if (policy_.target_queue_ms() > 0) {
    auto stuck = queued > 0 && done <= 0;
    auto wait_ms = done > 0 ? queued / done * 1000 : 0.0;
    auto ratio = stuck ? stuck_ratio : wait_ms / static_cast<double>(policy_.target_queue_ms());
    // What runs must have a place, even when nothing waits.
    auto wanted = std::max(follow(ratio), up(ready * utilisation));
    if (wanted > result.replicas || result.why.empty()) {
      result.replicas = wanted;
      result.why = stuck ? fmt::format("{:.0f} requests wait and none was done, target {} ms", samples_.back().queued,
                                       policy_.target_queue_ms())
                         : fmt::format("requests wait for {:.0f} ms, target {} ms", wait_ms, policy_.target_queue_ms());
    }
  }
  // Nobody knows yet what those will take over that are not ready.
  if (ready < replicas_ && result.replicas < replicas_)
    result.replicas = replicas_;
  result.replicas = std::min(result.replicas, std::max(2 * replicas_, replicas_ + 4));
  return result;
}

void autoscaler::change_to(std::uint32_t replicas, const std::string& why, time_point now) {
  replicas_ = replicas;
  reason_ = fmt::format("{}: {}", replicas, why);
  changed_ = now;
  samples_.clear();
}

bool autoscaler::tick(const std::vector<node_sample>& nodes, bool hold, time_point now) {
  samples_.push_back(add_up(nodes, now));
  sampled_ = now;
  auto window = std::min<milliseconds>(ms(policy_.up_after_ms()), window_max);
  while (samples_.size() > 1 && now - samples_.front().at > window)
    samples_.pop_front();
  auto wanted = recommend();
  while (!wishes_.empty() && wishes_.back().second.replicas <= wanted.replicas)
    wishes_.pop_back();
  wishes_.emplace_back(now, wanted);
  while (now - wishes_.front().first > ms(policy_.down_after_ms()))
    wishes_.pop_front();
  if (auto allowed = bounded(replicas_); allowed != replicas_) {
    change_to(allowed, fmt::format("it has bounds of {} and {}", policy_.min(), policy_.max()), now);
    return true;
  }
  if (hold)
    return false;
  auto at_bound = [&](const wish& what) {
    auto replicas = bounded(what.replicas);
    return what.replicas == replicas
               ? std::string{}
               : fmt::format("; {} is the {}", replicas, what.replicas > replicas ? "most" : "least");
  };
  if (bounded(wanted.replicas) > replicas_) {
    if (now - changed_ < ms(policy_.up_after_ms()))
      return false;
    change_to(bounded(wanted.replicas), wanted.why + at_bound(wanted), now);
    return true;
  }
  auto most = wishes_.front().second;
  if (bounded(most.replicas) >= replicas_ || now - changed_ < ms(policy_.down_after_ms()))
    return false;
  change_to(bounded(most.replicas),
            fmt::format("{} at most in the last {:g} s{}", most.why,
                        static_cast<double>(policy_.down_after_ms()) / 1000, at_bound(most)),
            now);
  return true;
}

} // namespace astra
