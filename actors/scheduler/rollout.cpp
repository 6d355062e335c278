#include "actors/scheduler/rollout.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace astra {
namespace {

std::chrono::milliseconds ms(std::uint64_t value) {
  return std::chrono::milliseconds{static_cast<std::int64_t>(value)};
}

} // namespace

void rollout::restart(std::optional<pb::UpdatePolicy> policy, std::uint32_t total, bool begun) {
  policy_ = std::move(policy);
  active_ = policy_ && begun;
  canary_passed_ = !policy_ || policy_->canary() == 0;
  total_ = total;
  updated_ = 0;
  best_ = 0;
  moved_.reset();
  unavailable_ = 0;
  evidence_.clear();
  failure_.clear();
}

void rollout::on_failure(std::string evidence) {
  if (policy_ && evidence_.empty())
    evidence_ = std::move(evidence);
}

void rollout::halt(std::string reason) {
  if (!policy_)
    return;
  active_ = true;
  failure_ = std::move(reason);
}

bool rollout::good(std::optional<time_point> ready_since, time_point now) const {
  return !policy_ || (ready_since && now - *ready_since >= ms(policy_->ready_for_ms()));
}

bool rollout::seasoned(std::optional<time_point> ready_since, time_point now) const {
  return !policy_
         || (ready_since && now - *ready_since >= ms(std::max(policy_->canary_for_ms(), policy_->ready_for_ms())));
}

bool rollout::may_release() const {
  return !policy_ || (!failed() && unavailable_ < policy_->max_unavailable());
}

rollout::step rollout::tick(const std::vector<index_state>& indices, const settled_indices& rest, time_point now) {
  step result;
  if (!policy_)
    return result;
  auto old_ones = rest.outdated ? rest.outdated->size() : 0;
  total_ = static_cast<std::uint32_t>(indices.size() + rest.current + old_ones);
  updated_ = rest.current;
  unavailable_ = 0;
  auto gone_over = rest.current;
  std::uint32_t beside = 0;
  auto seasoned_ones = rest.current;
  auto outdated = old_ones > 0;
  for (auto& index : indices) {
    auto is_good = good(index.ready_since, now);
    updated_ += is_good;
    unavailable_ += !is_good && !index.old_ready;
    outdated |= index.outdated;
    // What has no replica, or one on a node that drains, gets one of the new spec in any case.
    gone_over += index.current || index.chosen || !index.outdated;
    beside += index.outdated && (index.current || index.chosen);
    seasoned_ones += seasoned(index.ready_since, now);
  }
  if (!active_ && !outdated) {
    evidence_.clear();
    return result;
  }
  if (!outdated && updated_ == total_) {
    restart(std::move(policy_), total_, false);
    return result;
  }
  active_ = true;
  if (!moved_ || updated_ > best_) {
    best_ = updated_;
    moved_ = now;
  }
  auto canaries = std::min(policy_->canary(), total_);
  if (!canary_passed_ && seasoned_ones >= canaries) {
    canary_passed_ = true;
    moved_ = now;
  }
  if (!failed() && !evidence_.empty()) {
    failure_ = std::move(evidence_);
  } else if (!failed() && policy_->progress_ms() != 0 && now - *moved_ >= ms(policy_->progress_ms())) {
    failure_ = fmt::format("nothing became good for {} s", policy_->progress_ms() / 1000.0);
    auto stuck = std::find_if(indices.begin(), indices.end(), [](auto& index) { return !index.trouble.empty(); });
    if (stuck != indices.end())
      failure_ += fmt::format(" (replica {}: {})", stuck->index, stuck->trouble);
  }
  evidence_.clear();
  if (failed())
    return result;
  auto limit = canary_passed_ ? total_ : canaries;
  auto listed = indices.begin();
  auto other = rest.outdated ? rest.outdated->next(0) : std::nullopt;
  while (gone_over < limit) {
    listed = std::find_if(listed, indices.end(),
                          [](auto& index) { return index.outdated && !index.current && !index.chosen; });
    // What takes requests stays where it is when both are used up.
    if (beside >= policy_->max_surge() && unavailable_ >= policy_->max_unavailable())
      other.reset();
    if (listed == indices.end() && !other)
      break;
    auto from_list = listed != indices.end() && (!other || listed->index < *other);
    auto index = from_list ? listed->index : *other;
    auto old_ready = !from_list || listed->old_ready;
    if (from_list)
      ++listed;
    else
      other = rest.outdated->next(std::uint64_t{index} + 1);
    if (!old_ready) {
      // It costs nothing to go without it.
      result.release.push_back(index);
    } else if (beside < policy_->max_surge()) {
      result.beside.push_back(index);
      ++beside;
    } else if (unavailable_ < policy_->max_unavailable()) {
      result.release.push_back(index);
      ++unavailable_;
    } else {
      continue;
    }
    ++gone_over;
  }
  return result;
}

pb::RolloutStatus rollout::status() const {
  pb::RolloutStatus result;
  if (failed())
    result.set_phase(policy_->on_failure() == pb::UPDATE_ROLLBACK ? pb::ROLLOUT_ROLLING_BACK : pb::ROLLOUT_HALTED);
  else
    result.set_phase(canary_passed_ ? pb::ROLLOUT_RUNNING : pb::ROLLOUT_CANARY);
  result.set_updated(updated_);
  result.set_total(total_);
  result.set_reason(failure_);
  return result;
}

std::string update_text(const pb::AppSpec& spec) {
  if (spec.has_federation())
    return "its clusters are replaced one after the other, each when its successor serves";
  if (!spec.has_update())
    return "its replicas are replaced one at a time";
  auto& update = spec.update();
  std::string text = "its replicas are replaced, ";
  if (update.canary() > 0)
    text += fmt::format("{} as {} first and then ", update.canary(), update.canary() == 1 ? "a canary" : "canaries");
  if (update.max_surge() > 0)
    text += fmt::format("up to {} at once beside the old ones", update.max_surge());
  if (update.max_unavailable() > 0)
    text += fmt::format("{}up to {} at once after the old {} stopped", update.max_surge() > 0 ? " and " : "",
                        update.max_unavailable(), update.max_unavailable() == 1 ? "one has" : "ones have");
  return text;
}

std::string failure_text(const pb::RolloutStatus& status) {
  switch (status.phase()) {
  case pb::ROLLOUT_HALTED:
    return fmt::format("the update is halted with {} of {} replaced: {}", status.updated(), status.total(),
                       status.reason());
  case pb::ROLLOUT_ROLLING_BACK:
    return fmt::format("the update has failed with {} of {} replaced and is rolled back: {}", status.updated(),
                       status.total(), status.reason());
  default:
    return {};
  }
}

} // namespace astra
