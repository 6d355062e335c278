#include "runtime/transfer/transfer_text.hpp"

#include "runtime/transfer/fetch_text.hpp"
#include "runtime/transfer/tracker_choice.hpp"

#include <doctest/doctest.h>

#include <map>
#include <random>

using namespace astra;
using namespace std::chrono_literals;

TEST_CASE("bits survive the way through a text, and a text of another length is refused") {
  std::mt19937 chance{7};
  for (std::size_t count : {0, 1, 7, 8, 9, 1000, 4095}) {
    std::vector<bool> flags(count);
    for (std::size_t i = 0; i < count; ++i)
      flags[i] = (chance() & 1U) != 0;
    auto bits = to_bits(flags);
    CHECK(bits.size() == (count + 7) / 8);
    CHECK(from_bits(bits, count) == flags);
    CHECK_FALSE(from_bits(bits + "x", count));
  }
  CHECK(to_bits({true, false, false, true}) == "\x09");
}

TEST_CASE("a report that is not well-formed loses what is not, and keeps the rest") {
  pb::SwarmReport report;
  report.mutable_where()->set_address("10.0.0.7");
  report.mutable_where()->set_port(6881);
  report.set_zone("a");
  auto add = [&](const std::string& address, std::uint32_t pieces) {
    auto& one = *report.add_holdings();
    one.set_address(address);
    one.set_pieces(pieces);
    return &one;
  };
  add(std::string(32, 'a'), 9)->set_have("\xff\x01");
  add(std::string(32, 'b'), 9)->set_have("\xff");
  add("short", 9)->set_complete(true);
  add(std::string(32, 'c'), 0)->set_complete(true);
  add(std::string(32, 'd'), 4'000'000'000)->set_complete(true);
  add(std::string(32, 'e'), 3)->set_complete(true);
  add(std::string(32, 'f'), 3);
  auto read = to_report(report);
  REQUIRE(read.holdings.size() == 3);
  CHECK(read.holdings[0].have == std::vector<bool>(9, true));
  CHECK(read.holdings[1].have == std::vector<bool>(3, true));
  CHECK(read.holdings[2].have == std::vector<bool>(3, false));
  CHECK(read.where == p2p::peer_endpoint{"10.0.0.7", 6881});
  CHECK(read.at.zone == "a");
}

TEST_CASE("how urgent a content is survives the way to the tracker and back") {
  for (auto how : {p2p::urgency::low, p2p::urgency::normal, p2p::urgency::high})
    CHECK(to_urgency(to_pb(how)) == how);
  pb::SwarmReport report;
  auto& one = *report.add_holdings();
  one.set_address(std::string(32, 'a'));
  one.set_pieces(3);
  one.set_priority(pb::CONTENT_HIGH);
  CHECK(to_report(report).holdings.at(0).how == p2p::urgency::high);
  p2p::swarm_table::status status;
  status.how = p2p::urgency::high;
  CHECK(to_pb(p2p::swarm_table::errand{}, status).priority() == pb::CONTENT_HIGH);
}

TEST_CASE("a stripe survives the way through an errand") {
  p2p::swarm_table::errand errand;
  errand.preferred = p2p::stripe{{true, false, true, false, false, false, false, false, true}};
  errand.connect.push_back({7, {"fd00::1", 1}});
  auto sent = to_pb(errand, p2p::swarm_table::status{2, 3, 0.5, 4});
  CHECK(to_stripe(sent) == errand.preferred);
  CHECK(sent.complete() == 2);
  CHECK(sent.fetching() == 3);
  CHECK(sent.missing() == 4);
  CHECK(sent.connect(0).member() == 7);
  sent.set_stripe("x");
  CHECK_FALSE(to_stripe(sent));
  sent.set_slots(1'000'000);
  CHECK_FALSE(to_stripe(sent));
}

TEST_CASE("what a fetch says names how far it is, how long it takes and what holds it up") {
  fetch_progress how;
  how.bytes_total = 1'000'000'000;
  how.bytes_done = 620'000'000;
  how.bytes_per_s = 9'300'000;
  how.peers = 4;
  how.complete = 1;
  CHECK(fetch_text(how) == "62 %, 41 s left at 9.3 MB/s from 4 peers, limited by the uplinks of its peers");
  how.download_limit = 10'000'000;
  CHECK(limited_by(how) == "store.download_limit of this node");
  how.download_limit = 0;
  how.link_cap = 9'000'000;
  CHECK(limited_by(how) == "store.link_share of this node's link");
  how.share = how.bytes_per_s;
  CHECK(limited_by(how) == "more urgent contents of this node");
  how.share = 0;
  how.link_cap = 90'000'000;
  how.swarm_limited = true;
  CHECK(limited_by(how) == "the limit over all nodes (astra model limit)");
  how.peers = 0;
  how.bytes_per_s = 0;
  CHECK(fetch_text(how) == "62 %, limited by no connection to the node that has it yet");
  how.complete = 0;
  how.missing = 3;
  CHECK(limited_by(how) == "3 of its pieces, which no node has that answers");
  CHECK_FALSE(time_left(how));
  how.has_origin = true;
  CHECK(limited_by(how) == "3 of its pieces, which a node of this zone is to read from its origin");
  how.origin_problem = "http://x/y answers 404";
  CHECK(limited_by(how)
        == "3 of its pieces, which no node has that answers, and its origin does not give: http://x/y answers 404");
  how.origin_problem.clear();
  how.reads_origin = true;
  CHECK(limited_by(how) == "its origin, which this node has begun to read");
  how.swarm_limited = false;
  how.bytes_per_s = 9'300'000;
  CHECK(fetch_text(how) == "62 %, 41 s left at 9.3 MB/s from its origin, limited by its origin, which this node reads");
  how.peers = 2;
  CHECK(fetch_text(how)
        == "62 %, 41 s left at 9.3 MB/s from its origin and 2 peers, limited by its origin, which this node reads");
}

TEST_CASE("every key has its tracker; one that fails is left for its heirs and asked again later") {
  std::vector<std::string> all = {"a:1", "b:1", "c:1"};
  tracker_choice choice{all};
  tracker_choice other{{"c:1", "a:1", "b:1"}};
  tracker_choice::time_point now{};
  std::map<std::string, int> keys;
  std::map<std::string, std::string> of;
  for (int i = 0; i < 300; ++i) {
    auto key = "content-" + std::to_string(i);
    of[key] = choice.tracker_of(key, now).value();
    ++keys[of[key]];
    CHECK(other.tracker_of(key, now) == of[key]);
  }
  for (auto& tracker : all)
    CHECK(keys[tracker] > 50);
  choice.failed("b:1", now);
  for (auto& [key, tracker] : of) {
    auto heir = choice.tracker_of(key, now).value();
    CHECK(heir != "b:1");
    CHECK((tracker == "b:1" || heir == tracker));
  }
  choice.failed("a:1", now);
  choice.failed("c:1", now);
  CHECK_FALSE(choice.tracker_of("x", now));
  choice.answered("a:1");
  CHECK(choice.tracker_of("x", now) == "a:1");
  // The others come back when they have answered a dial, or when there is nobody else.
  CHECK(choice.due(now).empty());
  CHECK(choice.due(now + tracker_choice::pause) == std::vector<std::string>{"b:1", "c:1"});
  for (auto& [key, tracker] : of)
    CHECK(choice.tracker_of(key, now + tracker_choice::pause) == "a:1");
  choice.answered("b:1");
  choice.answered("c:1");
  for (auto& [key, tracker] : of)
    CHECK(choice.tracker_of(key, now) == tracker);
  for (auto& tracker : all)
    choice.failed(tracker, now);
  for (auto& [key, tracker] : of)
    CHECK(choice.tracker_of(key, now + tracker_choice::pause) == tracker);
}

TEST_CASE("a rate counts in full when it begins, and changes by and by") {
  smooth_rate rate;
  rate.add(0);
  rate.add(1000);
  CHECK(rate.value() == 1000);
  rate.add(2000);
  CHECK(rate.value() == 1300);
  for (auto second = 0; second < 30; ++second)
    rate.add(0);
  CHECK(rate.value() == 0);
}
