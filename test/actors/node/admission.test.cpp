#include "actors/node/admission.hpp"

#include <doctest/doctest.h>
#include <rapidcheck.h>

#include <cstdint>
#include <map>
#include <set>
#include <tuple>
#include <vector>

using namespace astra;
using namespace std::chrono_literals;

namespace {

const admission::time_point start{1h};
const claim_token first{1};
const claim_token second{2};

attempt_id attempt(std::uint64_t number) {
  return attempt_id{number};
}

/// The outcome of the only answer since the last call.
pb::ReserveOutcome outcome(admission& app) {
  auto answers = app.take_answers();
  return answers.size() == 1 ? answers[0].outcome : pb::RESERVE_UNKNOWN;
}

} // namespace

TEST_CASE("slots are granted up to the concurrency, then the app is busy") {
  admission app{{}};
  app.reserve(attempt(1), 0s, start);
  CHECK(outcome(app) == pb::RESERVE_NO_REPLICA);
  app.open(first, 2, start);
  app.reserve(attempt(2), 0s, start);
  CHECK(outcome(app) == pb::RESERVE_GRANTED);
  app.reserve(attempt(3), 0s, start);
  CHECK(outcome(app) == pb::RESERVE_GRANTED);
  app.reserve(attempt(4), 0s, start);
  CHECK(outcome(app) == pb::RESERVE_BUSY);
  CHECK(app.held() == 2);
}

TEST_CASE("a slot that becomes free goes to whoever waits longest") {
  admission app{{}};
  app.open(first, 1, start);
  app.reserve(attempt(1), 0s, start);
  CHECK(app.use(attempt(1), start) == first);
  app.take_answers();
  app.reserve(attempt(2), 10s, start);
  app.reserve(attempt(3), 10s, start);
  app.reserve(attempt(4), 10s, start);
  CHECK(outcome(app) == pb::RESERVE_QUEUE_FULL);
  app.finish(attempt(1), true, start + 1s);
  auto answers = app.take_answers();
  REQUIRE(answers.size() == 1);
  CHECK(answers[0].attempt == attempt(2));
  CHECK(answers[0].outcome == pb::RESERVE_GRANTED);
  CHECK(app.queued() == 1);
}

TEST_CASE("a wait ends with its time, a hold after 2 s, and the freed slot goes to the queue") {
  admission app{{}};
  app.open(first, 1, start);
  app.reserve(attempt(1), 0s, start);
  app.reserve(attempt(2), 1s, start);
  app.reserve(attempt(3), 5s, start);
  app.take_answers();
  CHECK(app.next_expiry() == start + 1s);
  app.expire(start + 1s);
  CHECK(outcome(app) == pb::RESERVE_BUSY);
  CHECK(app.next_expiry() == start + 2s);
  app.expire(start + 2s);
  CHECK(outcome(app) == pb::RESERVE_GRANTED);
  CHECK_FALSE(app.use(attempt(1), start + 2s));
  CHECK(app.use(attempt(3), start + 2s) == first);
}

TEST_CASE("requests go to the replica with the smaller busy share") {
  admission app{{}};
  app.open(first, 1, start);
  app.open(second, 3, start);
  std::map<claim_token, int> chosen;
  for (auto i = 1; i <= 4; ++i) {
    app.reserve(attempt(static_cast<std::uint64_t>(i)), 0s, start);
    ++chosen[*app.use(attempt(static_cast<std::uint64_t>(i)), start)];
  }
  CHECK(chosen[first] == 1);
  CHECK(chosen[second] == 3);
}

TEST_CASE("a slot held at a replica that closes moves to another one, or is lost") {
  admission app{{}};
  app.open(first, 1, start);
  app.reserve(attempt(1), 0s, start);
  app.open(second, 1, start);
  app.close(first, start);
  CHECK(app.use(attempt(1), start) == second);
  app.open(first, 1, start);
  app.reserve(attempt(2), 0s, start);
  app.remove(first, start);
  CHECK_FALSE(app.use(attempt(2), start));
}

TEST_CASE("a replica that closes and opens again has only the slots that its former work leaves") {
  admission app{{}};
  app.open(first, 2, start);
  app.reserve(attempt(1), 0s, start);
  REQUIRE(outcome(app) == pb::RESERVE_GRANTED);
  REQUIRE(app.use(attempt(1), start) == first);
  app.close(first, start);
  app.open(first, 2, start);
  app.reserve(attempt(2), 0s, start);
  CHECK(outcome(app) == pb::RESERVE_GRANTED);
  app.reserve(attempt(3), 0s, start);
  CHECK(outcome(app) == pb::RESERVE_BUSY);
  app.finish(attempt(1), true, start);
  app.reserve(attempt(4), 0s, start);
  CHECK(outcome(app) == pb::RESERVE_GRANTED);
}

TEST_CASE("the last replica takes the queue with it") {
  admission app{{}};
  app.open(first, 1, start);
  app.reserve(attempt(1), 0s, start);
  app.use(attempt(1), start);
  app.reserve(attempt(2), 5s, start);
  app.take_answers();
  app.remove(first, start);
  CHECK(outcome(app) == pb::RESERVE_NO_REPLICA);
  CHECK(app.idle());
}

TEST_CASE("a drain answers the queue at once, refuses the next, and lets held slots be used") {
  admission app{{}};
  app.open(first, 1, start);
  app.reserve(attempt(1), 0s, start);
  app.reserve(attempt(2), 5s, start);
  app.take_answers();
  app.drain();
  CHECK(outcome(app) == pb::RESERVE_DRAINING);
  app.reserve(attempt(3), 5s, start);
  CHECK(outcome(app) == pb::RESERVE_DRAINING);
  CHECK(app.use(attempt(1), start) == first);
  CHECK_FALSE(app.idle());
  app.finish(attempt(1), true, start + 1s);
  CHECK(app.idle());
}

TEST_CASE("a cancelled wait is answered, a cancelled hold frees its slot") {
  admission app{{}};
  app.open(first, 1, start);
  app.reserve(attempt(1), 0s, start);
  app.reserve(attempt(2), 5s, start);
  app.reserve(attempt(3), 5s, start);
  app.take_answers();
  CHECK(app.cancel(attempt(2), start));
  CHECK(outcome(app) == pb::RESERVE_CANCELLED);
  CHECK(app.cancel(attempt(1), start));
  CHECK(outcome(app) == pb::RESERVE_GRANTED);
  CHECK_FALSE(app.cancel(attempt(9), start));
}

TEST_CASE("the expected wait follows service times and the queue: 2 s each, 1 slot, 1 waiting: 4 s") {
  admission app{{}};
  app.open(first, 1, start);
  CHECK(app.eta() == 0ms);
  app.reserve(attempt(1), 0s, start);
  app.use(attempt(1), start);
  app.finish(attempt(1), true, start + 2s);
  CHECK(app.eta() == 0ms);
  app.reserve(attempt(2), 0s, start + 2s);
  CHECK(app.eta() == 2000ms);
  app.reserve(attempt(3), 5s, start + 2s);
  CHECK(app.eta() == 4000ms);
}

TEST_CASE("never more held and used than slots, and each reserve is answered exactly once") {
  CHECK(rc::check([](const std::vector<std::tuple<std::uint8_t, std::uint8_t, std::uint16_t>>& steps) {
    admission app{{.queue_per_slot = 2, .hold = 500ms}};
    auto now = start;
    std::uint64_t asked = 0;
    std::set<attempt_id> open;
    std::map<attempt_id, claim_token> used;
    std::map<claim_token, std::uint32_t> concurrency;
    auto answered = [&] {
      for (auto& answer : app.take_answers())
        RC_ASSERT(open.erase(answer.attempt) == 1U);
    };
    for (auto& [what, which, delay_ms] : steps) {
      now += std::chrono::milliseconds{delay_ms % 300};
      claim_token replica{1 + which % 4U};
      attempt_id some{asked == 0 ? 1 : 1 + which % asked};
      switch (what % 12) {
      case 0:
        concurrency[replica] = 1 + which % 4U % 3U;
        app.open(replica, concurrency[replica], now);
        break;
      case 1:
        if (which % 3 == 0) {
          app.close(replica, now);
          concurrency.erase(replica);
        }
        break;
      case 2:
        if (which % 3 == 0) {
          app.remove(replica, now);
          concurrency.erase(replica);
          std::erase_if(used, [replica](auto& entry) { return entry.second == replica; });
        }
        break;
      case 3:
        app.cancel(some, now);
        break;
      case 4:
        app.finish(some, true, now);
        used.erase(some);
        break;
      case 5:
      case 6:
      case 7:
        if (auto at = app.use(some, now)) {
          RC_ASSERT(used.emplace(some, *at).second);
          RC_ASSERT(concurrency.count(*at) == 1U);
        }
        break;
      case 8:
        app.expire(now);
        break;
      case 9:
        if (which == 7)
          app.drain();
        break;
      default:
        ++asked;
        open.insert(attempt(asked));
        app.reserve(attempt(asked), std::chrono::milliseconds{which % 2 == 0 ? 0 : delay_ms}, now);
      }
      answered();
      std::map<claim_token, std::uint32_t> load;
      for (auto& entry : used)
        ++load[entry.second];
      RC_ASSERT(app.running() == used.size());
      RC_ASSERT(app.queued() == open.size());
      std::uint32_t slots = 0;
      std::uint32_t busy = app.held();
      for (auto& [token, limit] : concurrency) {
        slots += limit;
        busy += load[token];
        RC_ASSERT(load[token] == app.running(token));
      }
      RC_ASSERT(app.slots() == slots);
      RC_ASSERT(busy <= slots);
      RC_ASSERT(app.eta().count() >= 0);
    }
    app.expire(now + 24h);
    answered();
    RC_ASSERT(open.empty());
    RC_ASSERT(app.held() == 0U);
  }));
}
