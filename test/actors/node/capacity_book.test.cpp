#include "actors/node/capacity_book.hpp"

#include <doctest/doctest.h>
#include <rapidcheck.h>

#include <cstdint>
#include <map>
#include <tuple>
#include <vector>

using namespace astra;

namespace {

pb::Resources resources(std::uint32_t cpu_milli, std::uint64_t memory_bytes, std::uint32_t t4 = 0) {
  pb::Resources result;
  result.set_cpu_milli(cpu_milli);
  result.set_memory_bytes(memory_bytes);
  if (t4 > 0) {
    auto& accelerator = *result.add_accelerators();
    accelerator.set_kind("t4");
    accelerator.set_count(t4);
  }
  return result;
}

constexpr std::uint64_t gib = 1024ULL * 1024 * 1024;

} // namespace

TEST_CASE("a misfit says what is needed and what is free") {
  capacity_book book{resources(5500, 4 * gib, 1)};
  book.take(claim_token{1}, resources(4000, 3 * gib, 1));
  CHECK(book.misfit(resources(4000, 0)) == "needs 4 cores, 1.5 free");
  CHECK(book.misfit(resources(1000, 2 * gib)) == "needs 2 GiB of memory, 1 GiB free");
  CHECK(book.misfit(resources(1000, 512 * 1024 * 1024, 1)) == "needs 1 t4, 0 free");
  auto a100 = resources(0, 0, 2);
  a100.mutable_accelerators(0)->set_kind("a100");
  CHECK(book.misfit(a100) == "needs 2 a100, the node has none");
  CHECK_FALSE(book.misfit(resources(1500, gib)));
}

TEST_CASE("what is given back can be taken again, once") {
  capacity_book book{resources(1000, gib, 2)};
  book.take(claim_token{1}, resources(1000, gib, 2));
  book.give_back(claim_token{1});
  book.give_back(claim_token{1});
  CHECK(book.free().cpu_milli() == 1000);
  CHECK(book.free().memory_bytes() == gib);
  CHECK(book.free().accelerators(0).count() == 2);
}

TEST_CASE("free and taken always add up to the capacity") {
  CHECK(rc::check([](const std::vector<std::tuple<bool, std::uint8_t, std::uint16_t, std::uint16_t>>& steps) {
    capacity_book book{resources(60000, 60000, 3)};
    std::map<claim_token, pb::Resources> held;
    for (auto& [take, id, cpu, memory] : steps) {
      claim_token token{id};
      auto wanted = resources(cpu, memory, id % 3);
      if (!take) {
        book.give_back(token);
        held.erase(token);
      } else if (held.count(token) == 0 && !book.misfit(wanted)) {
        book.take(token, wanted);
        held[token] = wanted;
      }
      std::uint64_t cpu_held = 0;
      std::uint64_t t4_held = 0;
      for (auto& entry : held) {
        cpu_held += entry.second.cpu_milli();
        t4_held += entry.second.accelerators_size() > 0 ? entry.second.accelerators(0).count() : 0;
      }
      RC_ASSERT(book.free().cpu_milli() + cpu_held == 60000U);
      RC_ASSERT(book.free().accelerators(0).count() + t4_held == 3U);
    }
  }));
}
