#include "actors/resource/claim_table.hpp"

#include <doctest/doctest.h>
#include <rapidcheck.h>

#include <chrono>
#include <map>
#include <utility>
#include <vector>

using namespace astra;
using namespace std::chrono_literals;

namespace {

struct desk {
  claim_table claims{2000ms};
  std::chrono::steady_clock::time_point now{1000s};
  pb::NodeRow row;
  pb::ClaimBatch batch;
  std::uint64_t last_token = 0;
  claim_table::refusal last_word;

  desk() {
    row.set_node(7);
    row.set_incarnation(3);
    row.set_liveness(pb::LIVENESS_ONLINE);
    auto& capacity = *row.mutable_profile()->mutable_capacity();
    capacity.set_cpu_milli(4000);
    capacity.set_memory_bytes(std::uint64_t{8} << 30);
    auto& card = *capacity.add_accelerators();
    card.set_kind("t4");
    card.set_count(1);
    auto& label = *row.mutable_profile()->add_labels();
    label.set_key("zone");
    label.set_value("b");
    batch.mutable_spec()->set_name("ocr");
    batch.mutable_spec()->mutable_per_replica()->set_cpu_milli(1500);
  }

  pb::ClaimResult claim(std::uint64_t token) {
    pb::Claim wanted;
    wanted.set_sequence(token);
    wanted.set_token(token);
    wanted.set_node(7);
    wanted.set_node_incarnation(3);
    node_row known{row};
    return claims.arbitrate(batch, wanted, &known, now, [this] { return last_word; });
  }

  pb::ReplicaStatus& replica(std::uint64_t token, pb::ReplicaState state) {
    auto& result = *row.mutable_profile()->add_replicas();
    result.set_token(token);
    result.set_state(state);
    *result.mutable_resources() = batch.spec().per_replica();
    return result;
  }
};

} // namespace

TEST_CASE_FIXTURE(desk, "claims are granted while they fit, and a refusal says what is missing") {
  CHECK(claim(1).outcome() == pb::CLAIM_CONFIRMED);
  CHECK(claim(2).outcome() == pb::CLAIM_CONFIRMED);
  auto refused = claim(3);
  CHECK(refused.outcome() == pb::CLAIM_NO_ROOM);
  CHECK(refused.reason() == "needs 1.5 cores, 1 free");
  CHECK(refused.row().node() == 7);
  CHECK(claims.held(node_id{7}).cpu_milli() == 3000);
}

TEST_CASE_FIXTURE(desk, "the same token takes its place once") {
  CHECK(claim(1).outcome() == pb::CLAIM_CONFIRMED);
  CHECK(claim(1).outcome() == pb::CLAIM_CONFIRMED);
  CHECK(claims.held(node_id{7}).cpu_milli() == 1500);
  replica(1, pb::REPLICA_STARTING);
  CHECK(claims.settle(node_id{7}, row.profile()));
  CHECK(claim(1).outcome() == pb::CLAIM_CONFIRMED);
  CHECK(claims.size() == 0);
}

TEST_CASE_FIXTURE(desk, "replicas in the profile count until they have ended") {
  replica(1, pb::REPLICA_READY);
  replica(2, pb::REPLICA_BACKING_OFF);
  replica(3, pb::REPLICA_STOPPED);
  replica(4, pb::REPLICA_FAILED);
  CHECK(free_resources(row.profile(), {}).cpu_milli() == 1000);
  CHECK(claim(9).outcome() == pb::CLAIM_NO_ROOM);
}

TEST_CASE_FIXTURE(desk, "memory, accelerators and labels are checked, each with its reason") {
  batch.mutable_spec()->mutable_per_replica()->set_memory_bytes(std::uint64_t{9} << 30);
  CHECK(claim(1).reason() == "needs 9.0 GiB of memory, 8.0 GiB free");
  batch.mutable_spec()->mutable_per_replica()->set_memory_bytes(0);
  auto& card = *batch.mutable_spec()->mutable_per_replica()->add_accelerators();
  card.set_kind("t4");
  card.set_count(1);
  CHECK(claim(2).outcome() == pb::CLAIM_CONFIRMED);
  CHECK(claim(3).reason() == "needs 1 t4, 0 free");
  auto& label = *batch.mutable_spec()->add_require();
  label.set_key("zone");
  label.set_value("a");
  CHECK(claim(4).outcome() == pb::CLAIM_LABEL_MISMATCH);
  CHECK(claim(4).reason() == "needs label zone=a, the node has b");
  label.set_key("rack");
  CHECK(claim(4).reason() == "needs label rack=a, the node has no rack");
}

TEST_CASE_FIXTURE(desk, "draining, offline, restarted and undescribed nodes get nothing") {
  row.set_liveness(pb::LIVENESS_DRAINING);
  CHECK(claim(1).outcome() == pb::CLAIM_NODE_DRAINING);
  row.set_liveness(pb::LIVENESS_OFFLINE);
  row.set_reason("no heartbeat for 3.0 s");
  CHECK(claim(1).outcome() == pb::CLAIM_NODE_GONE);
  CHECK(claim(1).reason() == "offline: no heartbeat for 3.0 s");
  row.set_liveness(pb::LIVENESS_ONLINE);
  row.set_incarnation(4);
  CHECK(claim(1).reason() == "the node restarted: incarnation 4, claimed was 3");
  row.set_incarnation(3);
  row.clear_profile();
  CHECK(claim(1).outcome() == pb::CLAIM_NODE_GONE);
  CHECK(claims.size() == 0);
}

TEST_CASE_FIXTURE(desk, "a hold ends after 2 s without word, later when the node confirmed") {
  claim(1);
  claim(2);
  now += 1s;
  claims.confirmed(claim_token{2}, now);
  now += 1s;
  CHECK(claims.expire(now) == std::vector{node_id{7}});
  CHECK(claims.held(node_id{7}).cpu_milli() == 1500);
  now += 1s;
  CHECK(claims.expire(now).size() == 1);
  CHECK(claims.size() == 0);
}

TEST_CASE_FIXTURE(desk, "a release frees its own token only") {
  claim(1);
  claim(2);
  CHECK(claims.release(claim_token{1}) == node_id{7});
  CHECK_FALSE(claims.release(claim_token{1}));
  CHECK(claims.held(node_id{7}).cpu_milli() == 1500);
  CHECK(claims.drop(node_id{7}));
  CHECK_FALSE(claims.drop(node_id{7}));
  CHECK(claims.size() == 0);
}

TEST_CASE_FIXTURE(desk, "a newer epoch fences the older ones of the same app") {
  CHECK(claims.fence("ocr", 4, now) == 0);
  CHECK(claims.fence("ocr", 5, now) == 0);
  CHECK(claims.fence("ocr", 4, now) == 5);
  CHECK(claims.fence("echo", 1, now) == 0);
}

TEST_CASE("holds and replicas together never exceed the capacity, whatever happens to them") {
  CHECK(rc::check([] {
    desk d;
    // Tokens that hold a place, and until when.
    std::map<std::uint64_t, std::chrono::steady_clock::time_point> granted;
    auto steps = *rc::gen::container<std::vector<std::pair<int, int>>>(
        rc::gen::pair(rc::gen::inRange(0, 6), rc::gen::inRange(1, 8)));
    for (auto [what, draw] : steps) {
      auto token = static_cast<std::uint64_t>(draw);
      auto& profile = *d.row.mutable_profile();
      auto in_profile = [&](std::uint64_t wanted) {
        for (auto& entry : profile.replicas())
          if (entry.token() == wanted)
            return true;
        return false;
      };
      switch (what) {
      case 0:
      case 1:
        if (d.claim(token).outcome() == pb::CLAIM_CONFIRMED && !in_profile(token))
          granted.emplace(token, d.now + 2000ms);
        break;
      case 2:
        if (granted.erase(token) > 0) {
          d.replica(token, pb::REPLICA_STARTING);
          d.claims.settle(node_id{7}, profile);
        }
        break;
      case 3:
        d.claims.release(claim_token{token});
        granted.erase(token);
        break;
      case 4:
        d.now += 500ms;
        d.claims.expire(d.now);
        std::erase_if(granted, [&](auto& hold) { return hold.second <= d.now; });
        break;
      default:
        profile.clear_replicas();
      }
      std::uint64_t used = d.claims.held(node_id{7}).cpu_milli();
      for (auto& entry : profile.replicas())
        used += entry.resources().cpu_milli();
      RC_ASSERT(used <= 4000U);
    }
  }));
}

TEST_CASE_FIXTURE(desk, "a hold asks no node, is extended by the same token, and is committed by it") {
  batch.set_hold_ms(500);
  CHECK(claim(1).outcome() == pb::CLAIM_HELD);
  now += 400ms;
  CHECK(claim(1).outcome() == pb::CLAIM_HELD);
  CHECK(claims.held(node_id{7}).cpu_milli() == 1500);
  now += 400ms;
  CHECK(claims.expire(now).empty());
  now += 100ms;
  CHECK(claims.expire(now) == std::vector{node_id{7}});
  CHECK(claim(2).outcome() == pb::CLAIM_HELD);
  batch.set_hold_ms(0);
  CHECK(claim(2).outcome() == pb::CLAIM_CONFIRMED);
  CHECK(claims.held(node_id{7}).cpu_milli() == 1500);
  now += 1900ms;
  CHECK(claims.expire(now).empty());
}

TEST_CASE_FIXTURE(desk, "a hold of what the app was before is decided on anew") {
  batch.set_hold_ms(5000);
  CHECK(claim(1).outcome() == pb::CLAIM_HELD);
  batch.mutable_spec()->mutable_per_replica()->set_cpu_milli(2500);
  CHECK(claim(1).outcome() == pb::CLAIM_HELD);
  CHECK(claims.held(node_id{7}).cpu_milli() == 2500);
  batch.mutable_spec()->mutable_per_replica()->set_cpu_milli(5000);
  batch.set_hold_ms(0);
  CHECK(claim(1).reason() == "needs 5 cores, 4 free");
  CHECK(claims.size() == 0);
  // What is committed is its node's business.
  batch.mutable_spec()->mutable_per_replica()->set_cpu_milli(1500);
  CHECK(claim(2).outcome() == pb::CLAIM_CONFIRMED);
  batch.mutable_spec()->mutable_per_replica()->set_cpu_milli(2500);
  CHECK(claim(2).outcome() == pb::CLAIM_CONFIRMED);
  CHECK(claims.held(node_id{7}).cpu_milli() == 1500);
}

TEST_CASE_FIXTURE(desk, "an older gang takes what a younger one only holds, the youngest first") {
  auto gang = [&](std::uint64_t since, std::uint64_t id, std::uint64_t hold_ms) {
    batch.set_hold_ms(hold_ms);
    batch.mutable_gang()->set_since_wall_ms(since);
    batch.mutable_gang()->set_id(id);
  };
  gang(20, 1, 5000);
  CHECK(claim(1).outcome() == pb::CLAIM_HELD);
  gang(20, 2, 5000);
  CHECK(claim(2).outcome() == pb::CLAIM_HELD);
  gang(30, 1, 5000);
  CHECK(claim(3).reason() == "needs 1.5 cores, 1 free");
  gang(10, 9, 5000);
  CHECK(claim(4).outcome() == pb::CLAIM_HELD);
  CHECK(claims.held(node_id{7}).cpu_milli() == 3000);
  // The younger one learns of it once, whether it renews or commits, and then it is as any other.
  gang(20, 2, 0);
  CHECK(claim(2).outcome() == pb::CLAIM_NO_ROOM);
  gang(20, 1, 0);
  CHECK(claim(1).outcome() == pb::CLAIM_CONFIRMED);
  // What is committed stays.
  gang(5, 1, 5000);
  batch.mutable_spec()->mutable_per_replica()->set_cpu_milli(3000);
  CHECK(claim(5).outcome() == pb::CLAIM_NO_ROOM);
  CHECK(claims.size() == 2);
}

TEST_CASE_FIXTURE(desk, "a hold that an older gang took is refused with that reason") {
  batch.set_hold_ms(5000);
  batch.mutable_gang()->set_since_wall_ms(20);
  batch.mutable_spec()->mutable_per_replica()->set_cpu_milli(4000);
  CHECK(claim(1).outcome() == pb::CLAIM_HELD);
  batch.mutable_gang()->set_since_wall_ms(10);
  CHECK(claim(2).outcome() == pb::CLAIM_HELD);
  batch.mutable_gang()->set_since_wall_ms(20);
  CHECK(claim(1).reason() == "its hold went to an older gang");
  CHECK(claim(1).reason() == "needs 4 cores, 0 free");
  // Claims without a gang take nothing from anybody.
  batch.clear_gang();
  CHECK(claim(3).outcome() == pb::CLAIM_NO_ROOM);
}

TEST_CASE_FIXTURE(desk, "a claim without the last word takes nothing from anybody, and loses what it held") {
  batch.set_hold_ms(5000);
  batch.mutable_gang()->set_since_wall_ms(20);
  CHECK(claim(1).outcome() == pb::CLAIM_HELD);
  CHECK(claim(2).outcome() == pb::CLAIM_HELD);
  batch.mutable_gang()->set_since_wall_ms(10);
  last_word = {pb::CLAIM_OVER_QUOTA, "no more"};
  CHECK(claim(3).outcome() == pb::CLAIM_OVER_QUOTA);
  CHECK(claim(3).reason() == "no more");
  CHECK_FALSE(claim(3).has_row());
  CHECK(claims.size() == 2);
  CHECK(claim(1).outcome() == pb::CLAIM_OVER_QUOTA);
  CHECK(claims.size() == 1);
  // What does not fit anyway needs no last word.
  batch.clear_gang();
  batch.mutable_spec()->mutable_per_replica()->set_cpu_milli(3000);
  CHECK(claim(4).outcome() == pb::CLAIM_NO_ROOM);
}

TEST_CASE_FIXTURE(desk, "reservations that end without a word to the node are told, once, and committed ones are not") {
  auto unused = [&] {
    std::vector<std::uint64_t> result;
    for (auto token : claims.take_unused())
      result.push_back(token.value());
    return result;
  };
  using tokens = std::vector<std::uint64_t>;
  batch.set_hold_ms(500);
  batch.mutable_gang()->set_since_wall_ms(20);
  claim(1);
  claim(2);
  claims.release(claim_token{2});
  CHECK(unused() == tokens{2});
  CHECK(unused().empty());
  claim(3);
  batch.mutable_gang()->set_since_wall_ms(10);
  claim(4);
  CHECK(unused() == tokens{3});
  now += 500ms;
  claims.expire(now);
  CHECK(unused() == tokens{1, 4});
  claim(5);
  claims.drop(node_id{7});
  CHECK(unused() == tokens{5});
  claim(6);
  batch.set_hold_ms(0);
  CHECK(claim(6).outcome() == pb::CLAIM_CONFIRMED);
  claim(7);
  claims.release(claim_token{6});
  claims.drop(node_id{7});
  CHECK(unused().empty());
}

TEST_CASE_FIXTURE(desk, "a claim that preempts counts its victims as gone, once") {
  replica(1, pb::REPLICA_READY).set_priority(1);
  replica(2, pb::REPLICA_READY).set_priority(3);
  batch.mutable_spec()->set_priority(2);
  auto preempt = [&](std::uint64_t token, std::uint64_t victim) {
    pb::Claim wanted;
    wanted.set_token(token);
    wanted.set_node(7);
    wanted.set_node_incarnation(3);
    wanted.add_preempt(victim);
    node_row known{row};
    return claims.arbitrate(batch, wanted, &known, now);
  };
  CHECK(preempt(10, 2).reason() == "replica /0 has priority 3, which is not below 2");
  CHECK(preempt(10, 9).reason() == "a replica that was to make room is gone");
  batch.mutable_spec()->mutable_per_replica()->set_cpu_milli(3000);
  CHECK(preempt(10, 1).reason() == "needs 3 cores, 2.5 free");
  batch.mutable_spec()->mutable_per_replica()->set_cpu_milli(1500);
  CHECK(preempt(10, 1).outcome() == pb::CLAIM_CONFIRMED);
  CHECK(preempt(11, 1).reason() == "needs 1.5 cores, 1 free");
  // While the old and the new one are both in the profile, nothing is free, not less.
  replica(10, pb::REPLICA_CLAIMED).set_priority(2);
  CHECK(claims.settle(node_id{7}, row.profile()));
  CHECK(free_resources(row.profile(), claims.held(node_id{7})).cpu_milli() == 0);
}
