#include "actors/resource/subscriber_watch.hpp"

#include "actors/resource/subscriber_list.hpp"

#include <algorithm>
#include <tuple>
#include <utility>

namespace astra {
namespace {

/// Some seconds of the fastest stream; what is older counts as old as the oldest.
constexpr std::size_t steps_max = 1024;
/// A stranger with many names costs no more than this.
constexpr std::size_t subscribers_max = 16 * 1024;

using std::chrono::milliseconds;

milliseconds between(subscriber_watch::time_point from, subscriber_watch::time_point to) {
  return std::max(milliseconds{0}, std::chrono::duration_cast<milliseconds>(to - from));
}

} // namespace

void subscriber_watch::published(std::uint64_t version, time_point now) {
  if (!steps_.empty() && steps_.back().version >= version)
    return; // A keep-alive.
  if (steps_.size() == steps_max)
    steps_.pop_front();
  steps_.push_back({version, now});
}

void subscriber_watch::renewed(const pb::Subscribe& request, time_point now) {
  if (subscribers_.size() >= subscribers_max && subscribers_.count(request.subscriber()) == 0)
    return;
  auto& who = subscribers_[request.subscriber()];
  who = {};
  who.renewed = now;
  if (steps_.empty())
    return;
  auto has = version_held(request, own_, epoch_);
  auto newest = steps_.back().version;
  if (has >= newest)
    return;
  who.behind = newest - has;
  // It lacks what began right after what it has.
  auto missing = std::find_if(steps_.begin(), steps_.end(), [&](auto& step) { return step.version > has; });
  who.behind_for = between(missing->when, now);
}

std::vector<pb::ResourceReport::Subscriber> subscriber_watch::slowest(std::size_t most, time_point now) {
  std::vector<pb::ResourceReport::Subscriber> result;
  for (auto entry = subscribers_.begin(); entry != subscribers_.end();) {
    auto& [name, who] = *entry;
    auto ago = between(who.renewed, now);
    if (ago >= forget_after_) {
      entry = subscribers_.erase(entry);
      continue;
    }
    pb::ResourceReport::Subscriber one;
    one.set_name(name);
    one.set_versions_behind(who.behind);
    one.set_behind_ms(static_cast<std::uint64_t>(who.behind_for.count()));
    one.set_renewed_ms_ago(static_cast<std::uint64_t>(ago.count()));
    result.push_back(std::move(one));
    ++entry;
  }
  // They are in the order of their names so far.
  std::stable_sort(result.begin(), result.end(), [](auto& a, auto& b) {
    return std::tuple{b.behind_ms(), b.versions_behind()} < std::tuple{a.behind_ms(), a.versions_behind()};
  });
  if (result.size() > most)
    result.resize(most);
  return result;
}

} // namespace astra
