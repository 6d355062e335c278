#include "actors/router/dispatch.hpp"

#include "actors/mutant.hpp"

#include <algorithm>
#include <cassert>

namespace astra {

dispatch::step dispatch::next(const picker& pick) {
  if (asked_.size() < tries_max_)
    if (auto node = pick(asked_))
      return {step::kind::ask, *node};
  if (offers_.empty())
    return {step::kind::park, node_id{}};
  // The first of equals: the one whose turn it was.
  auto best =
      std::min_element(offers_.begin(), offers_.end(), [](const offer& a, const offer& b) { return a.eta < b.eta; });
  auto node = best->node;
  offers_.erase(best);
  return {step::kind::queue, node};
}

void dispatch::ask(node_id node, attempt_id attempt) {
  phase_ = phase::asking;
  node_ = node;
  attempt_ = attempt;
  asked_.push_back(node);
  ++tries_;
}

void dispatch::queue(node_id node, attempt_id attempt) {
  phase_ = phase::queued;
  node_ = node;
  attempt_ = attempt;
}

void dispatch::park() {
  phase_ = phase::parked;
  node_ = node_id{};
  attempt_ = attempt_id{};
  new_walk();
}

bool dispatch::start() {
  assert(phase_ == phase::asking || phase_ == phase::queued);
  phase_ = phase::running;
  return ++starts_ == 1;
}

void dispatch::offered(milliseconds eta) {
  offers_.push_back({node_, eta});
}

void dispatch::not_started() {
  assert(phase_ == phase::running && starts_ > 0);
  if (!MUTANT(not_started_counts_as_started))
    --starts_;
}

void dispatch::new_walk() {
  asked_.clear();
  offers_.clear();
}

dispatch::verdict dispatch::lost(retry_budget& budget, time_point now) const {
  assert(starts_ > 0);
  if (!idempotent_ && !MUTANT(lost_work_started_again))
    return verdict::not_idempotent;
  if (starts_ >= starts_max && !MUTANT(lost_work_started_endlessly))
    return verdict::too_often;
  return budget.take(now) ? verdict::again : verdict::budget_spent;
}

} // namespace astra
