#include "runtime/transfer/origin_plan.hpp"

#include <doctest/doctest.h>

using namespace astra;
using namespace std::chrono_literals;

namespace {

constexpr std::uint32_t piece = p2p::piece_size_min;
const origin_plan::time_point start{1h};

/// Pieces: a 0, b 1 to 4 (the last one short), c none, d 5.
std::shared_ptr<const p2p::content> sample() {
  std::vector<p2p::content_file> files{{.path = "a", .size = 10},
                                       {.path = "b", .size = 3 * std::uint64_t{piece} + 7},
                                       {.path = "c", .size = 0},
                                       {.path = "d", .size = piece}};
  std::uint8_t number = 0;
  auto made = p2p::assemble_content(files, [&](auto&, auto) { return p2p::digest{++number}; });
  REQUIRE(made);
  REQUIRE(made->piece_hashes.size() == 6);
  return std::make_shared<const p2p::content>(std::move(*made));
}

struct row {
  std::size_t file;
  std::uint64_t offset;
  std::uint64_t length;
  std::uint32_t first;
  std::uint32_t pieces;
  bool whole;
  bool operator==(const row&) const = default;
};

row next(const origin_plan& plan) {
  auto range = plan.next();
  REQUIRE(range);
  return {range->file, range->offset, range->length, range->first_piece, range->pieces, range->whole};
}

} // namespace

TEST_CASE("files are read one by one, and of each what is missing") {
  origin_plan plan{sample(), 0};
  CHECK(next(plan) == row{0, 0, 10, 0, 1, true});
  plan.gave(0, start);
  CHECK(next(plan) == row{1, 0, 3 * std::uint64_t{piece} + 7, 1, 4, true});
  // A peer has sent one in the middle.
  plan.took(2, true);
  CHECK(next(plan) == row{1, 0, piece, 1, 1, false});
  plan.gave(1, start);
  CHECK(next(plan) == row{1, 2 * std::uint64_t{piece}, piece + 7, 3, 2, false});
  auto rest = *plan.next();
  CHECK(plan.needs_any(rest, 3));
  plan.took(4, true);
  CHECK(plan.needs_any(rest, 3));
  CHECK_FALSE(plan.needs_any(rest, 4));
  plan.gave(3, start);
  CHECK(next(plan) == row{3, 0, piece, 5, 1, true});
  plan.gave(5, start);
  CHECK_FALSE(plan.next());
  CHECK(plan.given_bytes() == 4 * std::uint64_t{piece});
}

TEST_CASE("what was given and not taken is read again, at once when its hash was wrong") {
  origin_plan plan{sample(), 0};
  std::vector<bool> have(6, true);
  have[0] = have[5] = false;
  plan.have(have, start);
  plan.gave(0, start);
  plan.gave(5, start + 1s);
  CHECK_FALSE(plan.next());
  plan.took(5, false);
  CHECK(next(plan).first == 5);
  plan.have(have, start + origin_plan::patience);
  CHECK(next(plan).first == 0);
  plan.have(std::vector<bool>(6, true), start);
  CHECK_FALSE(plan.next());
}

TEST_CASE("zones begin at pieces of their own, and go round") {
  CHECK(first_to_read("", 100) == 0);
  CHECK(first_to_read("a", 1000) != first_to_read("b", 1000));
  CHECK(first_to_read("a", 7) < 7);
  origin_plan plan{sample(), 3};
  CHECK(next(plan) == row{1, 2 * std::uint64_t{piece}, piece + 7, 3, 2, false});
  for (std::uint32_t i = 3; i < 6; ++i)
    plan.gave(i, start);
  CHECK(next(plan).first == 0);
}

TEST_CASE("where a server knows no ranges files are read from their beginning") {
  origin_plan plan{sample(), 3};
  plan.took(1, true);
  plan.read_whole_files();
  CHECK(next(plan) == row{1, 0, 3 * std::uint64_t{piece} + 7, 1, 4, true});
}
