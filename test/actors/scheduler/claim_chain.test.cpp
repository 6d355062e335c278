#include "actors/scheduler/claim_chain.hpp"

#include "actors/scheduler/claim_journal.hpp"
#include "actors/scheduler/claim_memory.hpp"

#include <doctest/doctest.h>

using namespace astra;

namespace {

std::vector<pb::ClaimRecord> some_records(int count) {
  claim_chain chain;
  std::vector<pb::ClaimRecord> result(static_cast<std::size_t>(count));
  for (auto& record : result) {
    record.set_action(pb::CLAIM_ACTION_CLAIM);
    record.set_token(chain.number() + 100);
    record.set_outcome(pb::CLAIM_CONFIRMED);
    chain.seal(record);
  }
  return result;
}

/// Number of the first record that does not pass, and 0 when all do.
std::size_t first_broken(const std::vector<pb::ClaimRecord>& records) {
  claim_checker checker;
  for (std::size_t i = 0; i < records.size(); ++i)
    if (!checker.next(records[i]).empty())
      return i + 1;
  return 0;
}

pb::ClaimRecord claim(std::uint64_t token) {
  pb::ClaimRecord record;
  record.set_action(pb::CLAIM_ACTION_CLAIM);
  record.set_token(token);
  return record;
}

} // namespace

TEST_CASE("a chain that was written passes, and each change of it is found where it is") {
  auto records = some_records(5);
  CHECK(first_broken(records) == 0);
  CHECK(records[0].number() == 1);
  CHECK(records[0].hash().size() == 32);
  auto changed = records;
  changed[2].set_outcome(pb::CLAIM_NO_ROOM);
  CHECK(first_broken(changed) == 3);
  auto forged = changed;
  forged[2].set_hash(claim_hash(forged[1].hash(), forged[2]));
  CHECK(first_broken(forged) == 4);
  auto shorter = records;
  shorter.erase(shorter.begin() + 1);
  CHECK(first_broken(shorter) == 2);
  auto swapped = records;
  std::swap(swapped[3], swapped[4]);
  CHECK(first_broken(swapped) == 4);
}

TEST_CASE("a log that lost its beginning to rotation passes from its first record on, and must fit its anchor") {
  auto records = some_records(5);
  std::vector<pb::ClaimRecord> rest{records.begin() + 2, records.end()};
  CHECK(first_broken(rest) == 0);
  claim_checker checker;
  CHECK(checker.anchor(records[1]).empty());
  CHECK(checker.next(records[2]).empty());
  CHECK_FALSE(checker.anchor(records[3]).empty());
  claim_checker wrong;
  CHECK(wrong.anchor(records[0]).empty());
  CHECK_FALSE(wrong.next(records[2]).empty());
}

TEST_CASE("a claim is written once, when its outcome is known") {
  claim_memory store;
  claim_journal journal{"ocr", 7};
  journal.claimed(claim(1));
  journal.claimed(claim(2));
  journal.flush(store, 10);
  CHECK(store.logs["ocr"].empty());
  journal.settled(claim_token{1}, pb::CLAIM_NO_ROOM, "needs 4 cores, 1.5 free", 20);
  journal.settled(claim_token{1}, pb::CLAIM_CONFIRMED, "", 21);
  journal.released(claim(3), 22);
  journal.flush(store, 30);
  journal.flush(store, 31);
  auto& log = store.logs["ocr"];
  REQUIRE(log.size() == 2);
  CHECK(log[0].outcome() == pb::CLAIM_NO_ROOM);
  CHECK(log[0].reason() == "needs 4 cores, 1.5 free");
  CHECK(log[0].epoch() == 7);
  CHECK(log[0].wall_ms() == 20);
  CHECK(log[1].action() == pb::CLAIM_ACTION_RELEASE);
  CHECK(first_broken(log) == 0);
}

TEST_CASE("a full disk loses records, says how many in the chain, and the next scheduler goes on from there") {
  claim_memory store;
  claim_journal journal{"ocr", 7};
  journal.released(claim(1), 1);
  journal.flush(store, 1);
  store.full = true;
  for (std::uint64_t token = 2; token < 5; ++token) {
    journal.released(claim(token), token);
    journal.flush(store, token);
  }
  store.full = false;
  journal.flush(store, 5);
  journal.released(claim(5), 6);
  journal.flush(store, 6);
  claim_journal successor{"ocr", 8};
  successor.released(claim(6), 7);
  successor.flush(store, 7);
  auto& log = store.logs["ocr"];
  REQUIRE(log.size() == 4);
  CHECK(log[1].action() == pb::CLAIM_ACTION_UNKNOWN);
  CHECK(log[1].reason().find("3 records are missing here: ") == 0);
  CHECK(log[1].reason().find("no space left on device") != std::string::npos);
  CHECK(log[2].token() == 5);
  CHECK(log[3].number() == 4);
  CHECK(log[3].epoch() == 8);
  CHECK(first_broken(log) == 0);
}
