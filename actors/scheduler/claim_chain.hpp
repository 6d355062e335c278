#pragma once

#include "messages/wire/control.pb.h"

#include <cstdint>
#include <string>

namespace astra {

/// The hash of a record: SHA-256 over the hash of the record before (none before the first one) and the record without
/// its hash.  Whoever changes a record, or leaves one out, must change all that follow, and the last hash with them.
std::string claim_hash(const std::string& before, pb::ClaimRecord record);

/// Numbers and seals the records of one app's log.
class claim_chain {
public:
  claim_chain() = default;
  /// Goes on behind this record.
  explicit claim_chain(const pb::ClaimRecord& last) : number_(last.number()), hash_(last.hash()) {}

  void seal(pb::ClaimRecord& record);

  std::uint64_t number() const { return number_; }
  const std::string& hash() const { return hash_; }

private:
  std::uint64_t number_ = 0;
  std::string hash_;
};

/// Checks a log, record by record.  A log that does not begin with number 1 has lost its beginning to rotation: then
/// the first record is only trusted if an anchor was told before.
class claim_checker {
public:
  /// What the log goes on from, as the beginning of a file says.
  /// @returns what is wrong; empty: nothing.
  std::string anchor(const pb::ClaimRecord& record);

  /// @returns what is wrong; empty: nothing.  After that the checker is of no more use.
  std::string next(const pb::ClaimRecord& record);

  std::uint64_t count() const { return count_; }
  std::uint64_t first() const { return first_; }
  std::uint64_t last() const { return number_; }
  const std::string& hash() const { return hash_; }
  /// Records that say that others could not be written.
  std::uint64_t gaps() const { return gaps_; }

private:
  bool begun_ = false;
  std::uint64_t count_ = 0;
  std::uint64_t first_ = 0;
  std::uint64_t number_ = 0;
  std::uint64_t gaps_ = 0;
  std::string hash_;
};

/// Bytes as people compare them.
std::string to_hex_text(const std::string& bytes);

} // namespace astra
