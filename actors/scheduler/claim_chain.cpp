#include "actors/scheduler/claim_chain.hpp"

#include "messages/wire.hpp"

#include <fmt/format.h>
#include <openssl/sha.h>

#include <array>

namespace astra {

std::string claim_hash(const std::string& before, pb::ClaimRecord record) {
  record.clear_hash();
  auto bytes = before + encode(record);
  std::array<unsigned char, SHA256_DIGEST_LENGTH> digest;
  SHA256(reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(), digest.data());
  return {reinterpret_cast<const char*>(digest.data()), digest.size()};
}

void claim_chain::seal(pb::ClaimRecord& record) {
  record.set_number(++number_);
  hash_ = claim_hash(hash_, record);
  record.set_hash(hash_);
}

std::string claim_checker::anchor(const pb::ClaimRecord& record) {
  if (begun_ && (record.number() != number_ || record.hash() != hash_))
    return fmt::format("a file goes on from record {}, and what stands before it ends with record {}{}",
                       record.number(), number_, record.number() == number_ ? " of another hash" : "");
  begun_ = true;
  number_ = record.number();
  hash_ = record.hash();
  return {};
}

std::string claim_checker::next(const pb::ClaimRecord& record) {
  auto trusted = !begun_ && record.number() > 1;
  if (begun_ && record.number() != number_ + 1)
    return fmt::format("record {} follows record {}", record.number(), number_);
  if (!begun_ && record.number() == 0)
    return "a record without a number";
  if (!trusted && claim_hash(hash_, record) != record.hash())
    return fmt::format("record {} has been changed, or one before it: its hash does not fit", record.number());
  begun_ = true;
  if (count_++ == 0)
    first_ = record.number();
  gaps_ += record.action() == pb::CLAIM_ACTION_UNKNOWN ? 1 : 0;
  number_ = record.number();
  hash_ = record.hash();
  return {};
}

std::string to_hex_text(const std::string& bytes) {
  std::string result;
  for (unsigned char byte : bytes)
    result += fmt::format("{:02x}", byte);
  return result;
}

} // namespace astra
