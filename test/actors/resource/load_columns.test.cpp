#include "actors/resource/load_columns.hpp"

#include <doctest/doctest.h>
#include <rapidcheck.h>

#include <cmath>
#include <limits>
#include <map>

using namespace astra;

TEST_CASE(
    "a quantised load is within 3 % of the exact one, a quarter of a per cent of the utilisation, and zero is zero") {
  CHECK(rc::check([] {
    auto share = *rc::gen::inRange(0, 1001) / 1000.0;
    auto cores = std::pow(10.0, *rc::gen::inRange(-200, 220) / 100.0);
    pb::NodeLoad exact;
    exact.set_host_utilisation(share);
    exact.set_own_busy_cores(cores);
    exact.set_concurrency(cores);
    exact.set_memory_used_bytes(static_cast<std::uint64_t>(cores * (1U << 30U)));
    auto count = static_cast<std::uint32_t>(*rc::gen::inRange(0, 100'000));
    exact.set_running(count);
    node_load load{exact};
    RC_ASSERT(std::abs(load.host_utilisation() - share) <= 0.0026);
    RC_ASSERT(std::abs(load.own_busy_cores() / cores - 1.0) <= 0.03);
    RC_ASSERT(std::abs(load.concurrency() / cores - 1.0) <= 0.03);
    auto memory = static_cast<double>(load.memory_used_bytes());
    RC_ASSERT(std::abs(memory / static_cast<double>(exact.memory_used_bytes()) - 1.0) <= 0.03);
    RC_ASSERT(std::abs(load.running() - static_cast<double>(count)) <= (count < 128 ? 0.0 : 0.05 * count));
    RC_ASSERT(node_load{load.to_pb()} == load);
  }));
  CHECK(node_load{pb::NodeLoad{}} == node_load{});
}

TEST_CASE("a report that makes no sense becomes a load that does") {
  pb::NodeLoad wrong;
  for (auto value : {std::numeric_limits<double>::quiet_NaN(), -1.0, -std::numeric_limits<double>::infinity()}) {
    wrong.set_host_utilisation(value);
    wrong.set_own_busy_cores(value);
    wrong.set_concurrency(value);
    CHECK(node_load{wrong} == node_load{});
  }
  wrong.set_host_utilisation(std::numeric_limits<double>::infinity());
  wrong.set_concurrency(1e300);
  CHECK(node_load{wrong}.host_utilisation() == 1.0);
  CHECK(std::isfinite(node_load{wrong}.concurrency()));
}

TEST_CASE("columns bring every load to its slot, however they are named") {
  CHECK(rc::check([] {
    // From nearly all to nearly none.
    auto distance = *rc::gen::inRange(1, 40);
    auto steps = *rc::gen::container<std::vector<std::pair<int, int>>>(
        rc::gen::pair(rc::gen::inRange(1, distance + 1), rc::gen::inRange(1, 256)));
    std::map<std::uint32_t, std::pair<node_load, std::uint8_t>> expected;
    load_columns_writer writer;
    std::uint32_t slot = 0;
    for (auto [gap, columns] : steps) {
      slot += static_cast<std::uint32_t>(gap);
      node_load load;
      for (std::size_t i = 0; i < load.bytes.size(); ++i)
        load.bytes[i] = static_cast<std::uint8_t>(slot * 31 + i);
      load.done = slot * 1000;
      load.failed = slot;
      auto bits = static_cast<std::uint8_t>(columns);
      writer.add(slot, load, bits);
      expected[slot] = {load, bits};
    }
    if (expected.empty())
      return;
    auto bound = writer.bytes();
    auto columns = writer.finish();
    RC_ASSERT(columns.ByteSizeLong() <= bound);
    RC_ASSERT(writer.size() == 0U);
    load_columns_reader reader{columns};
    RC_ASSERT(reader.valid());
    told_load told;
    for (auto& [number, entry] : expected) {
      RC_ASSERT(reader.next(told));
      RC_ASSERT(told.slot == number);
      RC_ASSERT(told.columns == entry.second);
      node_load before;
      before.bytes.fill(7);
      before.done = before.failed = 7;
      auto after = before;
      told.apply_to(after);
      RC_ASSERT((columns_changed(after, entry.first) & entry.second) == 0);
      RC_ASSERT((columns_changed(after, before) & static_cast<std::uint8_t>(~entry.second)) == 0);
    }
    RC_ASSERT(!reader.next(told));
  }));
}

TEST_CASE("columns that do not fit together are not believed") {
  node_load load;
  load.bytes[0] = 9;
  load_columns_writer writer;
  for (std::uint32_t slot : {3U, 4U, 900U})
    writer.add(slot, load, 3);
  auto good = writer.finish();
  REQUIRE(load_columns_reader{good}.valid());
  auto short_column = good;
  short_column.mutable_utilisation()->pop_back();
  CHECK_FALSE(load_columns_reader{short_column}.valid());
  auto long_column = good;
  long_column.mutable_memory()->push_back('x');
  CHECK_FALSE(load_columns_reader{long_column}.valid());
  auto more_slots = good;
  more_slots.add_gaps(1);
  CHECK_FALSE(load_columns_reader{more_slots}.valid());
  auto both = good;
  both.set_present("\x01");
  CHECK_FALSE(load_columns_reader{both}.valid());
  CHECK(load_columns_reader{pb::LoadColumns{}}.valid());
}

TEST_CASE("a node of which everything changed costs 5.6 bytes in a shard that changed whole, 1.7 where 30 % did") {
  constexpr std::uint32_t nodes = 100'000;
  for (auto [share, limit] : {std::pair{1.0, 5.6}, std::pair{0.3, 1.7}}) {
    load_columns_writer writer;
    std::uint64_t random = 1;
    for (std::uint32_t slot = 1; slot <= nodes; ++slot) {
      random = random * 6364136223846793005U + 1442695040888963407U;
      if (static_cast<double>(random >> 40U) / static_cast<double>(1U << 24U) >= share)
        continue;
      node_load load;
      // Utilisation, busy cores, concurrency, memory.
      writer.add(slot, load, 0x0f);
    }
    auto bytes = static_cast<double>(writer.finish().ByteSizeLong()) / nodes;
    CHECK(bytes <= limit);
  }
}
