#pragma once

#include "messages/wire/control.pb.h"

#include <caf/expected.hpp>

#include <cstdint>
#include <string>
#include <vector>

namespace astra {

/// Where the claim logs of a scheduler process's apps are kept.  The writer seals the records (claim_chain.hpp); a
/// store keeps them in order, the oldest being dropped for room, and never changes one.  Each app's log has one writer;
/// different ones may be written at the same time, and be read meanwhile.
class claim_store {
public:
  virtual ~claim_store() = default;

  /// The last record of an app's log, to go on from; number 0: there is none.
  virtual caf::expected<pb::ClaimRecord> last(const std::string& app) = 0;

  /// All of them survive the death of the process when it returns, or, with io_failed, none is there.
  virtual caf::expected<void> append(const std::string& app, const std::vector<pb::ClaimRecord>& records) = 0;

  /// @param from number of the first one; 0: the last `limit` ones.
  virtual caf::expected<pb::ClaimLogPage> read(const std::string& app, std::uint64_t from, std::uint32_t limit) = 0;

  /// Lets go of what it takes to have an app's log at hand.  The log stays, and whoever needs it opens it again.
  virtual void close(const std::string& app) = 0;
};

} // namespace astra
