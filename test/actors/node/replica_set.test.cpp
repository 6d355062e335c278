#include "actors/node/replica_set.hpp"

#include "actors/node/profile_fit.hpp"

#include <doctest/doctest.h>

#include <string>

using namespace astra;
using namespace std::chrono_literals;

namespace {

const replica_set::time_point start{1h};

struct fixture {
  fixture() {
    capacity.set_cpu_milli(2000);
    capacity.set_memory_bytes(1ULL << 30);
    batch.set_epoch(5);
    batch.set_spec_hash(77);
    auto& spec = *batch.mutable_spec();
    spec.set_name("ocr");
    spec.mutable_per_replica()->set_cpu_milli(1000);
    spec.set_concurrency(2);
  }

  pb::Claim claim(std::uint64_t token) const {
    pb::Claim result;
    result.set_sequence(token * 10);
    result.set_token(token);
    result.set_node(make_node_id("n1").value());
    result.set_node_incarnation(3);
    result.set_replica_index(static_cast<std::uint32_t>(token));
    return result;
  }

  pb::Release release(std::uint64_t token, std::uint64_t epoch = 5) const {
    pb::Release result;
    result.set_app("ocr");
    result.set_epoch(epoch);
    result.set_token(token);
    return result;
  }

  replica_set make() const { return {make_node_id("n1"), incarnation{3}, capacity, {{"zone", "a"}}}; }

  pb::Resources capacity;
  pb::ClaimBatch batch;
};

} // namespace

TEST_CASE_FIXTURE(fixture, "claims are confirmed until the node is full, and the reason says what is missing") {
  auto set = make();
  auto decision = set.claim(batch, claim(1), start);
  CHECK(decision.fresh);
  CHECK(decision.result.outcome() == pb::CLAIM_CONFIRMED);
  CHECK(decision.result.sequence() == 10);
  CHECK(decision.result.token() == 1);
  CHECK(set.claim(batch, claim(2), start).fresh);
  decision = set.claim(batch, claim(3), start);
  CHECK(decision.result.outcome() == pb::CLAIM_NO_ROOM);
  CHECK(decision.result.reason() == "needs 1 cores, 0 free");
  set.erase(claim_token{1});
  CHECK(set.claim(batch, claim(4), start).result.outcome() == pb::CLAIM_CONFIRMED);
}

TEST_CASE_FIXTURE(fixture, "a claim told twice is confirmed twice and starts one replica") {
  auto set = make();
  CHECK(set.claim(batch, claim(1), start).fresh);
  auto again = set.claim(batch, claim(1), start);
  CHECK_FALSE(again.fresh);
  CHECK(again.result.outcome() == pb::CLAIM_CONFIRMED);
  CHECK(set.tokens().size() == 1);
}

TEST_CASE_FIXTURE(fixture, "a release that overtakes its claim keeps the replica from ever starting") {
  auto set = make();
  CHECK_FALSE(set.release(release(1)));
  auto late = set.claim(batch, claim(1), start);
  CHECK_FALSE(late.fresh);
  CHECK(late.result.outcome() == pb::CLAIM_NO_ROOM);
  CHECK(set.empty());
}

TEST_CASE_FIXTURE(fixture, "an older epoch is fenced, for claims and for releases") {
  auto set = make();
  set.claim(batch, claim(1), start);
  auto older = batch;
  older.set_epoch(4);
  auto decision = set.claim(older, claim(2), start);
  CHECK(decision.result.outcome() == pb::CLAIM_FENCED);
  CHECK(decision.result.reason() == "epoch 4 of the scheduler of app 'ocr' is fenced by epoch 5");
  CHECK(set.newest_epoch("ocr") == 5);
  CHECK_FALSE(set.release(release(1, 4)));
  CHECK(set.release(release(1, 6)));
  CHECK(set.newest_epoch("ocr") == 6);
}

TEST_CASE_FIXTURE(fixture, "another incarnation, a missing label and a drain are refused, each with its outcome") {
  auto set = make();
  auto wrong = claim(1);
  wrong.set_node_incarnation(2);
  CHECK(set.claim(batch, wrong, start).result.outcome() == pb::CLAIM_NODE_GONE);
  auto picky = batch;
  auto& label = *picky.mutable_spec()->add_require();
  label.set_key("zone");
  label.set_value("b");
  auto decision = set.claim(picky, claim(1), start);
  CHECK(decision.result.outcome() == pb::CLAIM_LABEL_MISMATCH);
  CHECK(decision.result.reason() == "needs label zone=b, the node has a");
  picky.mutable_spec()->mutable_require(0)->set_value("a");
  CHECK(set.claim(picky, claim(1), start).result.outcome() == pb::CLAIM_CONFIRMED);
  set.drain("upgrade");
  CHECK(set.claim(batch, claim(2), start).result.outcome() == pb::CLAIM_NODE_DRAINING);
  CHECK(set.claim(batch, claim(1), start).result.outcome() == pb::CLAIM_CONFIRMED);
}

TEST_CASE_FIXTURE(fixture, "a crash loop backs off with the reason and is failed after 2 restarts, keeping its place") {
  auto& restart = *batch.mutable_spec()->mutable_restart();
  restart.set_backoff_min_ms(100);
  restart.set_backoff_max_ms(1000);
  restart.set_healthy_after_ms(60000);
  restart.set_budget(2);
  restart.set_budget_window_ms(60000);
  auto set = make();
  set.claim(batch, claim(1), start);
  random_source random{1};
  claim_token token{1};
  CHECK(set.crashed(token, "exited with code 1", start, random) == 0ms);
  CHECK(set.find(token)->state == pb::REPLICA_BACKING_OFF);
  CHECK(set.find(token)->reason == "exited with code 1; restart 1 of at most 2 in 60 s, in 0 ms");
  CHECK(set.crashed(token, "exited with code 1", start, random));
  CHECK_FALSE(set.crashed(token, "exited with code 1", start, random));
  CHECK(set.find(token)->state == pb::REPLICA_FAILED);
  CHECK(set.find(token)->reason == "exited with code 1; given up after 2 restarts in 60 s");
  CHECK(set.why_none_ready("ocr") == "replica 1: failed, exited with code 1; given up after 2 restarts in 60 s");
  set.claim(batch, claim(2), start);
  CHECK(set.claim(batch, claim(3), start).result.outcome() == pb::CLAIM_NO_ROOM);
}

TEST_CASE_FIXTURE(fixture, "the description is sorted and complete") {
  auto set = make();
  set.claim(batch, claim(2), start);
  set.claim(batch, claim(1), start);
  set.set_state(claim_token{2}, pb::REPLICA_READY, "", start + 1s);
  auto list = set.describe(start + 3s);
  REQUIRE(list.size() == 2);
  CHECK(list[0].index() == 1);
  CHECK(list[0].state() == pb::REPLICA_STARTING);
  CHECK_FALSE(list[0].reason().empty());
  CHECK(list[1].state() == pb::REPLICA_READY);
  CHECK(list[1].reason().empty());
  CHECK(list[1].in_state_ms() == 2000);
  CHECK(list[1].epoch() == 5);
  CHECK(list[1].spec_hash() == 77);
  CHECK(list[1].concurrency() == 2);
  CHECK(list[1].resources().cpu_milli() == 1000);
}

TEST_CASE_FIXTURE(fixture, "claims are refused before the node's profile has grown too large to be sent") {
  constexpr std::size_t room = 20'000;
  auto set = make();
  set.limit_profile(room);
  auto& per_replica = *batch.mutable_spec()->mutable_per_replica();
  per_replica.set_cpu_milli(1);
  per_replica.set_memory_bytes(1);
  batch.mutable_spec()->set_name(std::string(63, 'a'));
  std::uint64_t taken = 0;
  pb::ClaimResult last;
  do {
    last = set.claim(batch, claim(0xFFFF'FFFF'0000'0000 + ++taken), start).result;
    if (last.outcome() == pb::CLAIM_CONFIRMED)
      set.set_state(claim_token{last.token()}, pb::REPLICA_FAILED, std::string(100'000, '\xFF'), start);
  } while (last.outcome() == pb::CLAIM_CONFIRMED && taken < 1000);
  CHECK(last.outcome() == pb::CLAIM_NO_ROOM);
  CHECK(last.reason().find("its profile has no room for more") != std::string::npos);
  CHECK(taken > 50);
  // Whatever the replicas have to tell, it can be made to fit.
  pb::NodeProfile profile;
  for (auto& status : set.describe(start + 24h * 365))
    *profile.add_replicas() = std::move(status);
  CHECK(profile.ByteSizeLong() > room);
  CHECK(fit(profile, room));
  CHECK(profile.ByteSizeLong() <= room);
  CHECK(profile.replicas(0).reason().size() <= replica_set::reason_bytes_min);
  // A replica that goes makes room.
  set.erase(claim_token{0xFFFF'FFFF'0000'0001});
  CHECK(set.claim(batch, claim(5000), start).result.outcome() == pb::CLAIM_CONFIRMED);
}

TEST_CASE_FIXTURE(fixture, "one long reason is told in full as long as there is room") {
  pb::NodeProfile profile;
  profile.add_replicas()->set_reason(std::string(2000, 'x'));
  profile.add_replicas()->set_reason("short");
  CHECK(fit(profile, 3000));
  CHECK(profile.replicas(0).reason().size() == 2000);
  CHECK(fit(profile, 1500));
  CHECK(profile.replicas(0).reason().size() == 1024);
  CHECK(profile.replicas(1).reason() == "short");
}

TEST_CASE_FIXTURE(fixture, "a claim that preempts holds its place from now on and waits for its victims") {
  auto set = make();
  batch.mutable_spec()->set_preempt_notice_ms(2000);
  set.claim(batch, claim(1), start);
  set.claim(batch, claim(2), start);
  auto strong = batch;
  strong.mutable_spec()->set_name("urgent");
  auto wanted = claim(3);
  wanted.add_preempt(1);
  CHECK(set.claim(strong, wanted, start).result.reason() == "replica ocr/1 has priority 0, which is not below 0");
  strong.mutable_spec()->set_priority(5);
  auto decision = set.claim(strong, wanted, start);
  CHECK(decision.fresh);
  CHECK(decision.preempted == std::vector{claim_token{1}});
  CHECK(set.find(claim_token{3})->state == pb::REPLICA_CLAIMED);
  CHECK(set.find(claim_token{3})->reason == "waits for replica ocr/1 to go, at most 2 s");
  CHECK(set.startable().empty());
  // What the victim frees is given away once.
  auto second = claim(4);
  second.add_preempt(1);
  CHECK(set.claim(strong, second, start).result.outcome() == pb::CLAIM_NO_ROOM);
  CHECK(set.claim(batch, claim(5), start).result.reason() == "needs 1 cores, 0 free");
  set.erase(claim_token{1});
  CHECK(set.startable() == std::vector{claim_token{3}});
  CHECK(set.claim(batch, claim(5), start).result.outcome() == pb::CLAIM_NO_ROOM);
  CHECK(set.describe(start)[1].priority() == 5);
  second.clear_preempt();
  second.add_preempt(7);
  CHECK(set.claim(strong, second, start).result.reason() == "a replica that was to make room is gone");
}
