#include "p2p/dial_turns.hpp"

#include <doctest/doctest.h>

#include <string>

using namespace astra::p2p;
using namespace std::chrono_literals;
using enum dial_turns::way;

namespace {

struct fixture {
  dial_turns::time_point now{1h};
  dial_turns turns;

  static peer_endpoint peer(int number) { return {"10.0.0." + std::to_string(number), 6881}; }
  static dial_turns::dial to(int number) { return {{}, peer(number)}; }
  /// "utp: 1 2": changes to uTP, and dials both.
  static std::string text(const dial_turns::step& what) {
    std::string result = what.turn ? *what.turn == tcp ? "tcp:" : "utp:" : "";
    for (auto& dial : what.dials)
      result += " " + dial.peer.address.substr(7);
    return result;
  }
  std::string ask(dial_turns::way how, int number) { return text(turns.ask(how, to(number), now)); }
  std::string begun(int number) { return text(turns.begun(peer(number), now)); }
};

} // namespace

TEST_CASE_FIXTURE(fixture, "over TCP everybody is dialled at once while nobody is to be dialled by uTP") {
  CHECK(ask(tcp, 1) == " 1");
  CHECK(ask(tcp, 2) == " 2");
  CHECK(turns.at_rest());
  CHECK_FALSE(turns.due());
  CHECK(begun(1) == "");
}

TEST_CASE_FIXTURE(fixture, "a turn of uTP begins at once, and ends when all of its dials have begun") {
  CHECK(ask(utp, 1) == "utp: 1");
  CHECK(ask(utp, 2) == " 2");
  CHECK(begun(1) == "");
  CHECK_FALSE(turns.at_rest());
  CHECK(begun(2) == "tcp:");
  CHECK(turns.at_rest());
  CHECK(begun(2) == "");
}

TEST_CASE_FIXTURE(fixture, "a dial waits until those of the other kind have begun, and others wait behind it") {
  CHECK(ask(tcp, 1) == " 1");
  CHECK(ask(utp, 2) == "");
  CHECK(ask(tcp, 3) == "");
  CHECK(ask(utp, 4) == "");
  CHECK(begun(1) == "utp: 2 4");
  CHECK(ask(utp, 5) == "");
  CHECK(begun(2) == "");
  CHECK(begun(4) == "tcp: 3");
  CHECK(begun(3) == "utp: 5");
  CHECK(begun(5) == "tcp:");
  CHECK(turns.at_rest());
}

TEST_CASE_FIXTURE(fixture, "what does not begin holds the other kind up for 1.5 s and no longer") {
  CHECK(ask(tcp, 1) == " 1");
  CHECK(ask(utp, 2) == "");
  REQUIRE(turns.due() == now + 1500ms);
  now += 1499ms;
  CHECK(text(turns.go_on(now)) == "");
  now += 1ms;
  CHECK(text(turns.go_on(now)) == "utp: 2");
  REQUIRE(turns.due() == now + 1500ms);
  now += 1500ms;
  CHECK(text(turns.go_on(now)) == "tcp:");
  CHECK_FALSE(turns.due());
}
