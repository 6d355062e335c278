#include "p2p/stripes.hpp"

#include <doctest/doctest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <cmath>
#include <numeric>

using namespace astra::p2p;
using phase = stripe_plan::phase;

namespace {

std::size_t slots(const stripe_plan& plan, std::uint64_t who) {
  auto own = plan.stripe_of(who);
  return own ? static_cast<std::size_t>(std::ranges::count(own->slots, true)) : 0;
}

void has_all(stripe_plan& plan, std::uint64_t who, std::uint32_t pieces) {
  for (std::uint32_t piece = 0; piece < pieces; ++piece)
    plan.has(who, piece);
}

} // namespace

TEST_CASE("a stripe has priority and the rest is wanted too") {
  stripe own{{false, true, false}};
  CHECK(piece_priorities(own, 7) == std::vector<std::uint8_t>{4, 7, 4, 4, 7, 4, 4});
  CHECK(piece_priorities(std::nullopt, 2) == std::vector<std::uint8_t>{4, 4});
  CHECK(piece_priorities(stripe{}, 2) == std::vector<std::uint8_t>{4, 4});
}

TEST_CASE("a shuffled order is another one for each seed, and wants everything") {
  auto one = shuffled_priorities(1, 4000);
  CHECK(one == shuffled_priorities(1, 4000));
  CHECK(one != shuffled_priorities(2, 4000));
  for (std::uint8_t priority = 1; priority <= 7; ++priority) {
    auto count = std::ranges::count(one, priority);
    CHECK(count > 4000 / 7 - 120);
    CHECK(count < 4000 / 7 + 120);
  }
}

TEST_CASE("stripes go by weight") {
  stripe_plan plan{400};
  plan.join(1, 3.0);
  plan.join(2, 1.0);
  plan.join(3, 4.0);
  CHECK(slots(plan, 1) == 150);
  CHECK(slots(plan, 2) == 50);
  CHECK(slots(plan, 3) == 200);
}

TEST_CASE("a stripe is scattered: no member has half of its pieces as neighbours") {
  stripe_plan plan{800};
  for (std::uint64_t who = 1; who <= 8; ++who)
    plan.join(who, 1.0);
  for (std::uint64_t who = 1; who <= 8; ++who) {
    auto own = plan.stripe_of(who);
    REQUIRE(own);
    auto neighbours = 0;
    for (std::uint32_t piece = 1; piece < 800; ++piece)
      neighbours += own->has(piece) && own->has(piece - 1);
    CHECK(neighbours < 50);
  }
}

TEST_CASE("who comes when stripes would be too thin has none, until a seat is free") {
  stripe_plan plan{32};
  for (std::uint64_t who = 1; who <= 5; ++who)
    plan.join(who, 1.0);
  CHECK(slots(plan, 4) == 8);
  CHECK_FALSE(plan.stripe_of(5));
  plan.take_changed();
  plan.leave(2);
  CHECK(slots(plan, 5) == 8);
  CHECK(plan.take_changed() == std::vector<std::uint64_t>{5});
}

TEST_CASE("pieces of a member that leaves fall to others, who keep what they had") {
  stripe_plan plan{300};
  for (std::uint64_t who = 1; who <= 3; ++who)
    plan.join(who, 1.0);
  auto before = *plan.stripe_of(1);
  plan.take_changed();
  plan.leave(3);
  CHECK(plan.take_changed() == std::vector<std::uint64_t>{1, 2});
  auto after = *plan.stripe_of(1);
  for (std::uint32_t piece = 0; piece < 300; ++piece)
    CHECK((!before.has(piece) || after.has(piece)));
  CHECK(slots(plan, 1) == 150);
}

TEST_CASE("a member that joins takes what is still to be fetched") {
  stripe_plan plan{100};
  plan.join(1, 1.0);
  for (std::uint32_t piece = 0; piece < 50; ++piece)
    plan.has(1, piece * 2);
  plan.join(2, 1.0);
  auto own = *plan.stripe_of(2);
  for (std::uint32_t piece = 0; piece < 100; ++piece)
    CHECK(own.has(piece) == (piece % 2 == 1));
}

TEST_CASE("stripes are released when each piece has two holders besides the seeder; it is steady when all have all") {
  stripe_plan plan{16};
  plan.join_seeder(9);
  plan.join(1, 1.0);
  plan.join(2, 1.0);
  plan.join(3, 1.0);
  CHECK_FALSE(plan.stripe_of(9));
  has_all(plan, 9, 16);
  CHECK(plan.uncovered() == 16);
  has_all(plan, 1, 16);
  CHECK(plan.uncovered() == 0);
  CHECK(plan.now() == phase::scattered);
  plan.take_changed();
  for (std::uint32_t piece = 0; piece < 15; ++piece)
    plan.has(piece % 2 + 2, piece);
  plan.has(2, 0);
  CHECK(plan.now() == phase::scattered);
  CHECK(plan.take_changed().empty());
  plan.has(2, 15);
  CHECK(plan.now() == phase::covered);
  CHECK(plan.take_changed() == std::vector<std::uint64_t>{1, 2});
  CHECK_FALSE(plan.stripe_of(1));
  plan.join(4, 1.0);
  CHECK_FALSE(plan.stripe_of(4));
  has_all(plan, 2, 16);
  CHECK(plan.now() == phase::steady);
}

TEST_CASE("one member alone is covered when it has everything") {
  stripe_plan plan{20};
  plan.join_seeder(9);
  plan.join(1, 1.0);
  has_all(plan, 1, 19);
  CHECK(plan.now() == phase::scattered);
  plan.has(1, 19);
  CHECK(plan.now() == phase::steady);
}

TEST_CASE("whatever joins, leaves and arrives, stripes are disjoint, complete, and by weight to within a slot") {
  CHECK(rc::check("", [] {
    auto pieces = *rc::gen::inRange<std::uint32_t>(1, 3000);
    stripe_plan plan{pieces};
    std::map<std::uint64_t, double> weights;
    std::map<std::uint64_t, std::optional<stripe>> known;
    auto steps = *rc::gen::inRange(1, 40);
    for (auto step = 0; step < steps; ++step) {
      auto who = *rc::gen::inRange<std::uint64_t>(1, 12);
      switch (*rc::gen::inRange(0, 4)) {
      case 0:
      case 1:
        weights[who] = 0.5 * *rc::gen::inRange(1, 20);
        plan.join(who, weights[who]);
        break;
      case 2:
        weights.erase(who);
        known.erase(who);
        plan.leave(who);
        break;
      case 3:
        for (auto i = 0; i < 5; ++i)
          plan.has(who, *rc::gen::inRange<std::uint32_t>(0, pieces));
        break;
      }
      // Nobody's stripe changes without it being said.
      for (auto changed : plan.take_changed())
        known[changed] = plan.stripe_of(changed);
      for (auto& [member, weight] : weights)
        RC_ASSERT(known[member] == plan.stripe_of(member));
      if (plan.now() != phase::scattered || weights.empty())
        continue;
      auto total = 0.0;
      std::size_t seated = 0;
      for (auto& [member, weight] : weights)
        if (plan.stripe_of(member)) {
          total += weight;
          ++seated;
        }
      RC_ASSERT(seated == std::min<std::size_t>(weights.size(), std::max(1U, pieces / 8)));
      std::vector<int> owners(std::min(pieces, stripe_plan::slots_max));
      for (auto& [member, weight] : weights)
        if (auto own = plan.stripe_of(member)) {
          RC_ASSERT(own->slots.size() == owners.size());
          for (std::size_t slot = 0; slot < owners.size(); ++slot)
            owners[slot] += own->slots[slot];
          auto exact = static_cast<double>(owners.size()) * weight / total;
          RC_ASSERT(std::abs(static_cast<double>(slots(plan, member)) - exact) < 1.0);
        }
      RC_ASSERT(std::ranges::count(owners, 1) == std::ssize(owners));
    }
  }));
}

TEST_CASE("one early finisher does not switch stripes off for those that come later") {
  stripe_plan plan{64};
  plan.join_seeder(1);
  plan.join(2, 1.0);
  has_all(plan, 2, 64);
  REQUIRE(plan.now() == phase::steady);
  for (std::uint64_t who = 10; who < 14; ++who)
    plan.join(who, 1.0);
  CHECK(plan.now() == phase::scattered);
  std::size_t owned = 0;
  for (std::uint64_t who = 10; who < 14; ++who)
    owned += slots(plan, who);
  CHECK(owned == 64);
  CHECK(plan.uncovered() == 64);
  for (std::uint64_t who = 10; who < 14; ++who)
    has_all(plan, who, 64);
  CHECK(plan.now() == phase::steady);
}
