#include "runtime/bench/swarm_script.hpp"

#include <doctest/doctest.h>

#include <vector>

using namespace astra;
using namespace astra::bench;

namespace {

struct script_fixture {
  static constexpr std::uint32_t members = 20'000;
  view_board board{members, 0.1};
  swarm_manner manner;
  std::shared_ptr<sim::crowd_script> script;
  std::vector<sim::crowd_word> words = std::vector<sim::crowd_word>(members);
  std::uint32_t sequence = 0;

  void begin() {
    script = make_swarm_script(board, 0, members, manner);
    board.begin_ns() = now_ns() - 3'600'000'000'000;
  }

  /// Everybody's turn.  @returns who spoke
  std::vector<bool> turns() {
    std::vector<bool> result;
    ++sequence;
    script->begin_turns();
    for (std::uint32_t i = 0; i < members; ++i) {
      sim::crowd_word word;
      result.push_back(script->speak(i, sequence, word));
      if (result.back())
        words[i] = word;
    }
    return result;
  }
};

} // namespace

TEST_CASE_FIXTURE(script_fixture, "each member has a load of its own, and three in ten change from beat to beat") {
  begin();
  turns();
  std::uint32_t alike = 0;
  for (std::uint32_t i = 1; i < members; ++i)
    alike += words[i].load == words[i - 1].load ? 1 : 0;
  CHECK(alike < members / 100);
  for (int beat = 0; beat < 5; ++beat) {
    auto before = words;
    turns();
    std::uint32_t changed = 0;
    for (std::uint32_t i = 0; i < members; ++i)
      changed += words[i].load == before[i].load ? 0 : 1;
    CHECK(changed > members * 28 / 100);
    CHECK(changed < members * 32 / 100 + board.followed());
  }
}

TEST_CASE_FIXTURE(script_fixture, "a member that is followed has another utilisation in each of 200 beats") {
  begin();
  std::vector<bool> seen(view_board::load_steps, false);
  for (std::size_t beat = 0; beat < view_board::load_steps; ++beat) {
    turns();
    auto step = words[0].load.bytes[0];
    CHECK_FALSE(seen[step]);
    seen[step] = true;
    CHECK(board.followed(0).beat_ns[step] != 0);
  }
}

TEST_CASE_FIXTURE(script_fixture, "nobody speaks before the beginning, and the doomed not after their death") {
  script = make_swarm_script(board, 0, members, manner);
  for (auto spoke : turns())
    CHECK_FALSE(spoke);
  begin();
  for (auto spoke : turns())
    CHECK(spoke);
  board.die_ns() = now_ns();
  auto spoke = turns();
  for (std::uint32_t i = 0; i < members; ++i)
    CHECK(spoke[i] != board.doomed(i));
}

TEST_CASE_FIXTURE(script_fixture, "who said goodbye is away for two seconds and starts anew") {
  manner.goodbyes_per_s = 1e6;
  begin();
  board.measuring() = true;
  turns();
  std::uint32_t gone = 0;
  while (gone < members && !words[gone].leaving)
    ++gone;
  REQUIRE(gone < members);
  CHECK_FALSE(turns()[gone]);
  board.member(gone).left_ns = now_ns() - 3'000'000'000;
  board.measuring() = false;
  CHECK(turns()[gone]);
  CHECK(words[gone].restarts == 1);
  CHECK_FALSE(words[gone].leaving);
}
