#include "p2p/limits.hpp"

#include <doctest/doctest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <numeric>
#include <optional>
#include <utility>
#include <vector>

using namespace astra::p2p;
using namespace std::chrono_literals;

TEST_CASE("a limit goes to whoever wants least first, and the rest is even") {
  using shares = std::vector<std::uint64_t>;
  CHECK(share_limit(90, {{10, 0}, {100, 0}, {100, 0}}) == shares{10, 40, 40});
  CHECK(share_limit(91, {{10, 0}, {100, 0}, {100, 0}}) == shares{10, 41, 40});
  // What nobody wants lets demand grow.
  CHECK(share_limit(100, {{10, 0}, {20, 0}}) == shares{45, 55});
  CHECK(share_limit(100, {{0, 20}, {500, 20}, {500, 20}}) == shares{20, 40, 40});
  CHECK(share_limit(100, {{500, 60}, {500, 10}, {500, 10}}) == shares{60, 20, 20});
  CHECK(share_limit(30, {{500, 40}, {500, 20}}) == shares{20, 10});
  CHECK(share_limit(0, {{500, 0}, {500, 10}}) == shares{0, 0});
  CHECK(share_limit(10, {}).empty());
}

TEST_CASE("shares add up, floors hold, and nobody has more than one as urgent who still wants some") {
  CHECK(rc::check("", [] {
    std::vector<rate_demand> demands(*rc::gen::inRange<std::size_t>(1, 30));
    auto size = *rc::gen::element<std::uint64_t>(10, 1000, 1ULL << 40U, ~0ULL);
    std::uint64_t floors = 0;
    for (auto& demand : demands) {
      demand.wanted_bytes_per_s = *rc::gen::inRange<std::uint64_t>(0, size);
      demand.floor_bytes_per_s = *rc::gen::inRange<std::uint64_t>(0, std::min<std::uint64_t>(size / 5, 1ULL << 40U));
      demand.how = *rc::gen::element(urgency::low, urgency::normal, urgency::high);
      floors += demand.floor_bytes_per_s;
    }
    auto total = *rc::gen::inRange<std::uint64_t>(0, std::min<std::uint64_t>(size, 1ULL << 42U) * demands.size());
    auto shares = share_limit(total, demands);
    RC_ASSERT(shares.size() == demands.size());
    RC_ASSERT(std::accumulate(shares.begin(), shares.end(), std::uint64_t{0}) == total);
    for (std::size_t i = 0; i < shares.size(); ++i) {
      if (floors <= total)
        RC_ASSERT(shares[i] >= demands[i].floor_bytes_per_s);
      else
        RC_ASSERT(shares[i] <= demands[i].floor_bytes_per_s + 1);
      // Beyond what any link carries nobody wants anything.
      if (floors > total || shares[i] >= std::min<std::uint64_t>(demands[i].wanted_bytes_per_s, 1ULL << 43U))
        continue;
      for (std::size_t other = 0; other < shares.size(); ++other)
        if (demands[other].how == demands[i].how)
          RC_ASSERT((shares[other] <= shares[i] + 1 || shares[other] == demands[other].floor_bytes_per_s));
        else if (demands[other].how < demands[i].how)
          RC_ASSERT(shares[other] - demands[other].floor_bytes_per_s <= total / 32);
    }
  }));
}

TEST_CASE("of a limit the less urgent get what the more urgent leave, and never nothing") {
  constexpr std::uint64_t much = 1'000'000;
  auto high = [](std::uint64_t wanted) { return rate_demand{wanted, 10, urgency::high}; };
  auto low = [](std::uint64_t wanted) { return rate_demand{wanted, 10, urgency::low}; };
  auto normal = [](std::uint64_t wanted) { return rate_demand{wanted, 10, urgency::normal}; };
  // A 32nd beside the floors.
  CHECK(share_limit(3200, {low(much), high(much), low(much)}) == std::vector<std::uint64_t>{60, 3080, 60});
  CHECK(share_limit(3200, {low(much), high(1000), normal(400)}) == std::vector<std::uint64_t>{1800, 1000, 400});
  // Who wants nothing keeps nothing from the others.
  CHECK(share_limit(3200, {low(10), high(much), high(0)}) == std::vector<std::uint64_t>{10, 3180, 10});
  CHECK(share_limit(3200, {low(100), high(100)}) == std::vector<std::uint64_t>{1600, 1600});
}

TEST_CASE("what some cannot use of their share of a limit others get, and they get it back when they can") {
  constexpr std::uint64_t mega = 1'000'000;
  constexpr std::uint64_t link = 100 * mega;
  constexpr std::uint64_t limit = 10 * mega;
  // What each could send; what it is told of lags by up to a second.
  std::vector<std::uint64_t> possible{link, mega, mega / 2, 0};
  std::vector<upload_demand> nodes(possible.size());
  std::vector<std::optional<std::uint64_t>> shares(possible.size());
  std::vector<std::uint64_t> told(possible.size());
  auto second = [&](bool lags) {
    std::uint64_t all = 0;
    std::vector<rate_demand> demands;
    for (std::size_t i = 0; i < nodes.size(); ++i) {
      auto sent = std::min(possible[i], shares[i].value_or(link));
      all += sent;
      nodes[i].look(lags ? std::exchange(told[i], sent) : sent, shares[i]);
      demands.push_back({nodes[i].wanted(link), 16'384});
    }
    auto given = share_limit(limit, demands);
    for (std::size_t i = 0; i < nodes.size(); ++i)
      shares[i] = given[i];
    return all;
  };
  for (auto lags : {false, true}) {
    for (auto i = 0; i < 12; ++i)
      second(lags);
    for (auto i = 0; i < 20; ++i) {
      auto all = second(lags);
      CHECK(all <= limit);
      CHECK(all >= limit * 93 / 100);
    }
    // The one that could send nothing can send everything.
    possible[3] = link;
    for (auto i = 0; i < 8; ++i)
      second(lags);
    CHECK(*shares[3] >= limit * 2 / 5);
    CHECK(*shares[3] <= *shares[0] + 1);
    possible[3] = 0;
  }
  // Where nobody limits it, it asks for everything.
  nodes[1].look(mega, std::nullopt);
  CHECK(nodes[1].wanted(link) == link);
}

TEST_CASE("what is less urgent gets what the more urgent leave, and never nothing") {
  using limits = std::vector<std::uint64_t>;
  auto low = urgency::low;
  auto normal = urgency::normal;
  auto high = urgency::high;
  // Nobody is more urgent than anybody, nothing of the more urgent comes, or nobody knows the link.
  CHECK(share_by_urgency(1000, {{low, 500}, {low, 400}}) == limits{0, 0});
  CHECK(share_by_urgency(1000, {{low, 500}, {high, 0}}) == limits{0, 0});
  CHECK(share_by_urgency(0, {{low, 500}, {high, 400}}) == limits{0, 0});
  // They may grow by a quarter.
  CHECK(share_by_urgency(1000, {{low, 600}, {high, 400}}) == limits{500, 0});
  CHECK(share_by_urgency(1000, {{low, 300}, {high, 400}, {low, 300}}) == limits{250, 0, 250});
  CHECK(share_by_urgency(1000, {{low, 100}, {normal, 300}, {high, 400}}) == limits{125, 500, 0});
  CHECK(share_by_urgency(3200, {{low, 100}, {high, 3000}}) == limits{100, 0});
  CHECK(share_by_urgency(10, {{low, 1}, {high, ~0ULL}}) == limits{1, 0});
  CHECK(share_by_urgency(10, {}).empty());
}

TEST_CASE("beside something urgent that can use the link, the other one falls to the least within seconds") {
  // Two contents from the same peers: each gets half, and what one is not allowed the other one takes.
  constexpr std::uint64_t link = 100'000'000;
  std::uint64_t low = link / 2;
  std::uint64_t high = link / 2;
  for (auto second = 0; second < 10; ++second) {
    auto limits = share_by_urgency(link, {{urgency::low, low}, {urgency::high, high}});
    low = std::min(link / 2, limits[0]);
    high = link - low;
  }
  CHECK(low == link / 32);
}

TEST_CASE("a limit is lowered in two steps, and in one where nothing was earned") {
  stepped_limit limit;
  stepped_limit::time_point now{1h};
  CHECK(limit.in_force(now) == 0);
  // Without a limit there is no bucket.
  CHECK(limit.set(8'000'000, now) == 8'000'000);
  CHECK_FALSE(limit.due());
  CHECK(limit.set(9'000'000, now) == 9'000'000);
  CHECK(limit.set(1'000'000, now) == stepped_limit::brake_bytes_per_s);
  REQUIRE(limit.due());
  CHECK(*limit.due() == now + 250ms);
  CHECK(limit.in_force(now + 249ms) == stepped_limit::brake_bytes_per_s);
  // Another value in between neither ends nor prolongs it.
  CHECK(limit.set(2'000'000, now + 100ms) == stepped_limit::brake_bytes_per_s);
  CHECK(limit.set(1'500'000, now + 200ms) == stepped_limit::brake_bytes_per_s);
  CHECK(*limit.due() == now + 250ms);
  CHECK(limit.in_force(now + 250ms) == 1'500'000);
  CHECK_FALSE(limit.due());
  CHECK(limit.set(1'500'000, now + 1s) == 1'500'000);
  CHECK(limit.set(1'000'000, now + 2s) == stepped_limit::brake_bytes_per_s);
  // Shares that change a little do not pause each time.
  CHECK(limit.in_force(now + 3s) == 1'000'000);
  CHECK(limit.set(850'000, now + 3s) == 850'000);
  CHECK(limit.set(600'000, now + 3s) == stepped_limit::brake_bytes_per_s);
  CHECK(limit.set(0, now + 3s) == 0);
  CHECK_FALSE(limit.due());
  CHECK(limit.set(2000, now + 4s) == 2000);
  CHECK(limit.set(500, now + 5s) == 500);
  CHECK_FALSE(limit.due());
}

TEST_CASE("a share that ends leaves the floor, not the sky") {
  leased_limit limit{100};
  leased_limit::time_point now{1h};
  CHECK(limit.value(now) == 100);
  limit.grant(5000, now + 5s);
  CHECK(limit.value(now) == 5000);
  CHECK(limit.value(now + 4999ms) == 5000);
  CHECK(limit.value(now + 5s) == 100);
  // 0 would be no limit at all.
  limit.grant(0, now + 10s);
  CHECK(limit.value(now + 6s) == 1);
}

TEST_CASE("transfers give way while requests wait for the machine, and come back when they do not") {
  give_way way;
  // Nobody works: whatever the pressure is, it is their own.
  CHECK_FALSE(way.look(100'000'000, 0.9, false));
  CHECK_FALSE(way.look(100'000'000, 0.1, true));
  auto limit = way.look(100'000'000, 0.5, true);
  REQUIRE(limit);
  CHECK(*limit == 40'000'000);
  for (int second = 0; second < 30; ++second) {
    auto next = way.look(*limit, 0.5, true);
    REQUIRE(next);
    CHECK(*next <= *limit);
    limit = next;
  }
  CHECK(*limit == give_way::least_bytes_per_s);
  // In between nothing changes.
  CHECK(way.look(*limit, 0.15, true) == limit);
  int seconds = 0;
  for (; way.giving() && seconds < 100; ++seconds)
    limit = way.look(*limit, 0.05, true);
  CHECK(seconds == 10);
  // The work is over: at once.
  REQUIRE(way.look(100'000'000, 0.5, true));
  CHECK_FALSE(way.look(60'000'000, 0.5, false));
  CHECK_FALSE(way.giving());
}

TEST_CASE("what begins beside work begins gently, and doubles while it harms nobody") {
  give_way way;
  CHECK(way.look(0, 0.0, true) == give_way::gentle_bytes_per_s);
  CHECK_FALSE(way.giving());
  CHECK(way.look(0, 0.0, true) == give_way::gentle_bytes_per_s);
  auto limit = way.look(give_way::gentle_bytes_per_s, 0.05, true);
  CHECK(limit == 2 * give_way::gentle_bytes_per_s);
  // In between nothing changes.
  CHECK(way.look(*limit, 0.15, true) == limit);
  CHECK(way.look(*limit, 0.4, true) == *limit / 2);
  CHECK(way.giving());
}
