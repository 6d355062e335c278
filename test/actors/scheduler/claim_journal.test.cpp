#include "actors/scheduler/claim_journal.hpp"

#include "actors/scheduler/claim_chain.hpp"
#include "actors/scheduler/claim_memory.hpp"

#include <doctest/doctest.h>

using namespace astra;

TEST_CASE("a log goes on behind a batch of which a part was written, and says what is missing") {
  claim_memory store;
  claim_journal journal{"ocr", 7};
  auto release = [&](std::uint64_t token) {
    pb::ClaimRecord record;
    record.set_token(token);
    journal.released(record, 1000);
  };
  release(1);
  journal.flush(store, 1000);
  store.full = true;
  store.torn = 2;
  for (std::uint64_t token : {2, 3, 4})
    release(token);
  journal.flush(store, 2000);
  store.full = false;
  release(5);
  journal.flush(store, 3000);
  release(6);
  journal.flush(store, 4000);
  auto& log = store.logs["ocr"];
  REQUIRE(log.size() == 6);
  CHECK(log[3].action() == pb::CLAIM_ACTION_UNKNOWN);
  CHECK(log[3].reason() == "3 records are missing here: no space left on device");
  CHECK(log[4].token() == 5);
  CHECK(log[5].token() == 6);
  claim_checker checker;
  for (auto& record : log)
    CHECK(checker.next(record) == "");
}
