#pragma once

#include "actors/scheduler/claim_store.hpp"

#include <cstddef>
#include <map>
#include <string>
#include <vector>

namespace astra {

/// Claim logs in memory, for simulated machines and tests: all of every log.
class claim_memory : public claim_store {
public:
  caf::expected<pb::ClaimRecord> last(const std::string& app) override;
  caf::expected<void> append(const std::string& app, const std::vector<pb::ClaimRecord>& records) override;
  caf::expected<pb::ClaimLogPage> read(const std::string& app, std::uint64_t from, std::uint32_t limit) override;
  void close(const std::string& app) override { closed.push_back(app); }

  std::map<std::string, std::vector<pb::ClaimRecord>> logs;
  /// append fails with io_failed while set.
  bool full = false;
  /// Of what append was given, so many are there although it has failed.
  std::size_t torn = 0;
  std::vector<std::string> closed;
};

} // namespace astra
