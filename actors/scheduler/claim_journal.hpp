#pragma once

#include "actors/scheduler/claim_chain.hpp"
#include "actors/scheduler/claim_store.hpp"
#include "messages/ids.hpp"
#include "messages/wire/claim.pb.h"
#include "messages/wire/control.pb.h"

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace astra {

/// Writes one app's claim log for its scheduler: a claim once its outcome is known, a release when it is sent.  What a
/// tick and the answers since have brought is written together.  What cannot be written is dropped and counted: the
/// next record that can be written is preceded by one without an action that says how many are missing, and why. A
/// plain class: the store, which does the I/O, and the time are arguments.
class claim_journal {
public:
  claim_journal(std::string app, std::uint64_t epoch) : app_(std::move(app)), epoch_(epoch) {}

  /// @param what action, token, replica, node and what was known of it.
  void claimed(pb::ClaimRecord what);

  /// The outcome of a claim; one that is not known here, or has one already, is ignored.
  void settled(claim_token token, pb::ClaimOutcome outcome, const std::string& reason, std::uint64_t wall_ms);

  void released(pb::ClaimRecord what, std::uint64_t wall_ms);

  /// Writes what there is.  Logs when writing begins to fail and when it goes on.
  void flush(claim_store& store, std::uint64_t wall_ms);

private:
  std::string app_;
  std::uint64_t epoch_;
  std::map<claim_token, pb::ClaimRecord> open_;
  std::vector<pb::ClaimRecord> ready_;
  /// Where the log ends; none: the store has not been asked yet.
  std::optional<claim_chain> chain_;
  std::size_t lost_ = 0;
  std::string why_lost_;
};

} // namespace astra
