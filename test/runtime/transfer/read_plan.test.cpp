#include "runtime/transfer/read_plan.hpp"

#include <doctest/doctest.h>

#include <algorithm>

using namespace astra;
using namespace std::chrono_literals;
using time_point = read_plan::time_point;

namespace {

constexpr std::uint64_t piece = p2p::piece_size_min;
constexpr time_point start{};

/// A file of 100 pieces and a half, behind one of 3 pieces.
std::shared_ptr<const p2p::content> sample() {
  auto made = p2p::assemble_content({{"a", 3 * piece}, {"b", 100 * piece + piece / 2}},
                                    [](const p2p::content_file& file, std::uint32_t number) {
                                      p2p::digest hash{};
                                      hash[0] = static_cast<std::uint8_t>(file.path[0]);
                                      hash[1] = static_cast<std::uint8_t>(number + 1);
                                      return hash;
                                    });
  REQUIRE(made);
  REQUIRE(made->piece_size == piece);
  return std::make_shared<const p2p::content>(std::move(*made));
}

struct fixture {
  fixture() : what(sample()), have(what->piece_hashes.size()), plan(what) {}

  const p2p::content_file& file(std::string_view name) const { return *find_file(*what, name); }
  std::uint32_t number(std::uint32_t in_b) const { return file("b").first_piece + in_b; }
  void comes(std::uint32_t in_b) { have[number(in_b)] = true; }

  std::shared_ptr<const p2p::content> what;
  std::vector<bool> have;
  read_plan plan;
};

std::vector<std::uint32_t> pieces_of(const std::vector<p2p::piece_deadline>& deadlines) {
  std::vector<std::uint32_t> result;
  for (auto& one : deadlines)
    result.push_back(one.piece);
  return result;
}

} // namespace

TEST_CASE_FIXTURE(fixture, "what a reader waits for comes first, then what is behind it, and nothing else") {
  auto& b = file("b");
  plan.ask(b, 10 * piece + 7, 2 * piece, start + 5s);
  auto deadlines = plan.changed_deadlines(have, start);
  REQUIRE(deadlines);
  // Two pieces and the beginning of a third, and 16 more.
  REQUIRE(deadlines->size() == 3 + 16);
  for (std::uint32_t i = 0; i < deadlines->size(); ++i)
    CHECK((*deadlines)[i].piece == number(10 + i));
  CHECK(std::ranges::is_sorted(*deadlines, {}, &p2p::piece_deadline::within));
  CHECK((*deadlines)[0].within == 0ms);
  CHECK((*deadlines)[2].within < 1s);
  CHECK((*deadlines)[3].within > 1s);
  CHECK_FALSE(plan.changed_deadlines(have, start));
}

TEST_CASE_FIXTURE(fixture, "a reader is answered when its first piece is there, with all there is without a gap") {
  auto& b = file("b");
  auto who = plan.ask(b, 10 * piece + 100, 3 * piece, start + 5s);
  comes(11);
  CHECK(plan.take_answers(have, start).empty());
  comes(10);
  comes(13);
  auto answers = plan.take_answers(have, start);
  REQUIRE(answers.size() == 1);
  CHECK(answers[0].who == who);
  CHECK(answers[0].length == 2 * piece - 100);
  CHECK(plan.take_answers(have, start).empty());

  // Not more than it asked for, and at the end of the file not more than there is.
  plan.ask(b, 10 * piece, 10, start + 5s);
  comes(100);
  plan.ask(b, 100 * piece + 1, 10 * piece, start + 5s);
  answers = plan.take_answers(have, start);
  REQUIRE(answers.size() == 2);
  CHECK(answers[0].length == 10);
  CHECK(answers[1].length == piece / 2 - 1);
}

TEST_CASE_FIXTURE(fixture, "deadlines of several readers are merged, the sooner one counting") {
  auto& b = file("b");
  plan.ask(b, 0, piece, start + 5s);
  plan.ask(b, 5 * piece, piece, start + 5s);
  plan.ask(file("a"), 0, piece, start + 5s);
  auto deadlines = plan.changed_deadlines(have, start);
  REQUIRE(deadlines);
  auto pieces = pieces_of(*deadlines);
  std::ranges::sort(pieces);
  CHECK(std::ranges::adjacent_find(pieces) == pieces.end());
  // The other file has only three pieces to read ahead.
  CHECK(pieces.size() == 3 + 5 + 17);
  for (auto wanted : {file("a").first_piece, number(0), number(5)})
    CHECK(std::ranges::find(*deadlines, wanted, &p2p::piece_deadline::piece)->within == 0ms);
}

TEST_CASE_FIXTURE(fixture, "who reads on is led, with a new list once it has what it waited for, not for each piece") {
  auto& b = file("b");
  auto lists = 0;
  for (std::uint32_t i = 0; i < 101; ++i) {
    plan.ask(b, i * piece, 4 * piece, start + 5s);
    if (auto deadlines = plan.changed_deadlines(have, start)) {
      ++lists;
      CHECK(deadlines->front().piece == number(i));
    }
    // Nobody else: it is one reader all along.
    comes(i);
    REQUIRE(plan.take_answers(have, start).size() == 1);
  }
  CHECK(lists >= 5); // Of 101 pieces, four at a time.
  CHECK(lists <= 27);
  CHECK(plan.idle());
}

TEST_CASE_FIXTURE(fixture, "a reader that jumps is not kept waiting by what was read ahead before") {
  auto& b = file("b");
  plan.ask(b, 0, piece, start + 5s);
  REQUIRE(plan.changed_deadlines(have, start));
  plan.ask(b, 10 * piece, piece, start + 5s); // It had a deadline, but a late one.
  auto deadlines = plan.changed_deadlines(have, start);
  REQUIRE(deadlines);
  CHECK(std::ranges::find(*deadlines, number(10), &p2p::piece_deadline::piece)->within == 0ms);
}

TEST_CASE_FIXTURE(fixture, "who has waited long enough hears so, and who does not come back is forgotten") {
  auto& b = file("b");
  auto who = plan.ask(b, 0, piece, start + 5s);
  REQUIRE(plan.changed_deadlines(have, start));
  CHECK(plan.take_impatient(start + 4s).empty());
  CHECK(plan.take_impatient(start + 5s) == std::vector{who});
  CHECK(plan.take_impatient(start + 6s).empty());
  CHECK_FALSE(plan.changed_deadlines(have, start + 6s));
  // The same again: no second reader.
  plan.ask(b, 0, piece, start + 11s);
  CHECK_FALSE(plan.changed_deadlines(have, start + 6s));
  CHECK(plan.take_impatient(start + 11s).size() == 1);
  CHECK_FALSE(plan.idle());
  auto none = plan.changed_deadlines(have, start + 21s);
  REQUIRE(none);
  CHECK(none->empty());
  CHECK(plan.idle());
  CHECK_FALSE(plan.changed_deadlines(have, start + 22s));
}

TEST_CASE_FIXTURE(fixture, "an engine that is new is told again") {
  plan.ask(file("b"), 0, piece, start + 5s);
  REQUIRE(plan.changed_deadlines(have, start));
  plan.engine_is_new();
  CHECK(plan.changed_deadlines(have, start));
}

TEST_CASE_FIXTURE(fixture, "what can be read ends at the first gap and at the end of the file") {
  auto& a = file("a");
  CHECK(readable_bytes(*what, a, have, 0) == 0);
  have[a.first_piece + 1] = true;
  CHECK(readable_bytes(*what, a, have, 0) == 0);
  CHECK(readable_bytes(*what, a, have, piece) == piece);
  CHECK(readable_bytes(*what, a, have, 2 * piece - 1) == 1);
  CHECK(readable_bytes(*what, a, have, 2 * piece) == 0);
  have.assign(have.size(), true);
  CHECK(readable_bytes(*what, a, have, 0) == a.size);
  CHECK(readable_bytes(*what, a, have, a.size) == 0);
  // Nobody knows yet what is there.
  CHECK(readable_bytes(*what, a, {}, 0) == 0);
  CHECK(find_file(*what, "c") == nullptr);
}
