#include "actors/scheduler/claim_journal.hpp"

#include "messages/errc.hpp"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <utility>

namespace astra {

void claim_journal::claimed(pb::ClaimRecord what) {
  claim_token token{what.token()};
  open_[token] = std::move(what);
}

void claim_journal::settled(claim_token token, pb::ClaimOutcome outcome, const std::string& reason,
                            std::uint64_t wall_ms) {
  auto found = open_.find(token);
  if (found == open_.end())
    return;
  auto record = std::move(found->second);
  open_.erase(found);
  record.set_wall_ms(wall_ms);
  record.set_epoch(epoch_);
  record.set_outcome(outcome);
  record.set_reason(reason);
  ready_.push_back(std::move(record));
}

void claim_journal::released(pb::ClaimRecord what, std::uint64_t wall_ms) {
  what.set_action(pb::CLAIM_ACTION_RELEASE);
  what.set_wall_ms(wall_ms);
  what.set_epoch(epoch_);
  ready_.push_back(std::move(what));
}

void claim_journal::flush(claim_store& store, std::uint64_t wall_ms) {
  if (ready_.empty())
    return;
  auto fail = [&](const caf::error& reason) {
    if (lost_ == 0)
      spdlog::error("scheduler.claim_log app={} reason=\"claims go on and are not logged: {}\"", app_,
                    error_text(reason));
    lost_ += ready_.size();
    why_lost_ = error_text(reason);
    ready_.clear();
    // Some of it may be there for all that: the store says where the log goes on.
    chain_.reset();
  };
  if (!chain_) {
    auto last = store.last(app_);
    if (!last)
      return fail(last.error());
    chain_.emplace(*last);
  }
  auto chain = *chain_;
  auto records = ready_;
  if (lost_ > 0) {
    pb::ClaimRecord gap;
    gap.set_wall_ms(wall_ms);
    gap.set_epoch(epoch_);
    gap.set_reason(fmt::format("{} {} missing here: {}", lost_, lost_ == 1 ? "record is" : "records are", why_lost_));
    records.insert(records.begin(), std::move(gap));
  }
  for (auto& record : records)
    chain.seal(record);
  if (auto written = store.append(app_, records); !written)
    return fail(written.error());
  if (lost_ > 0)
    spdlog::warn("scheduler.claim_log app={} missing={} reason=\"claims are logged again\"", app_, lost_);
  lost_ = 0;
  chain_ = chain;
  ready_.clear();
}

} // namespace astra
