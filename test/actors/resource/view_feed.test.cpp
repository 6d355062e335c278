#include "actors/resource/view_feed.hpp"

#include "actors/resource/part_collector.hpp"
#include "actors/resource/view_client.hpp"
#include "test/actors/resource/resource_fixture.hpp"

#include <caf/result.hpp>
#include <caf/typed_response_promise.hpp>
#include <doctest/doctest.h>

using namespace astra;
using namespace astra::test;

namespace {

constexpr std::size_t chunk = 2048;

/// A subscriber that acknowledges when the test lets it, as one that is slow.
struct slow_subscriber {
  bool takes_parts = true;
  bool acknowledges = true;
  /// Answers are lost on their way.
  bool loses_answers = false;
  /// Only nodes with this zone; empty: all.
  std::string zone;
  cluster_view view;
  std::size_t messages = 0;
  std::size_t parts = 0;
  std::size_t rows_ahead = 0;
  std::size_t bytes = 0;
  std::size_t largest = 0;
  std::size_t gaps = 0;
  /// The fewest nodes that the view showed since it first had some.
  std::size_t fewest = 0;
  view_subscriber handle;

  std::string state(const std::string& node) const {
    auto entry = view.find(make_node_id(node));
    return entry ? pb::Liveness_Name(entry->row.liveness()).substr(9) : "gone";
  }

  /// Every beat tells its number as load.
  std::uint64_t last_beat(const std::string& node) const {
    auto entry = view.find(make_node_id(node));
    return entry ? view.load(*entry).running() : 0;
  }
};

class slow_subscriber_state {
public:
  static constexpr const char* name = "slow-subscriber";

  slow_subscriber_state(view_subscriber::pointer self, std::shared_ptr<slow_subscriber> seen, view_source source)
    : self_(self), seen_(std::move(seen)), source_(std::move(source)) {}

  view_subscriber::behavior_type make_behavior() {
    ask(false);
    tick();
    acknowledge();
    return {
        [this](const view_delta& delta) { return on_delta(*delta); },
    };
  }

private:
  void tick() {
    self_->run_delayed(std::chrono::seconds{1}, [this] { tick(); });
    ask(false);
  }

  void acknowledge() {
    self_->run_delayed(std::chrono::milliseconds{10}, [this] { acknowledge(); });
    if (seen_->acknowledges)
      for (auto& promise : std::exchange(owed_, {}))
        promise.deliver();
  }

  void ask(bool resync) {
    pb::Subscribe request;
    request.set_subscriber("slow");
    request.set_resync(resync);
    request.set_takes_parts(seen_->takes_parts);
    if (!seen_->zone.empty()) {
      auto& label = *request.mutable_filter()->add_labels();
      label.set_key("zone");
      label.set_value(seen_->zone);
    }
    for (auto& have : seen_->view.versions())
      *request.add_have() = have;
    self_->request(source_, std::chrono::seconds{1}, subscribe{request})
        .then([](const subscribe_ack&) {}, [](const caf::error&) {});
  }

  caf::result<void> on_delta(const pb::ViewDelta& received) {
    auto& seen = *seen_;
    ++seen.messages;
    seen.bytes += received.ByteSizeLong();
    seen.largest = std::max(seen.largest, received.ByteSizeLong());
    if (received.more() || received.part() > 0)
      ++seen.parts;
    if (received.ahead())
      seen.rows_ahead += static_cast<std::size_t>(received.nodes_size());
    std::vector<pb::ViewDelta> ready;
    auto gap = parts_.add(received, ready) == part_collector::outcome::gap;
    view_changes changes;
    for (auto& delta : ready)
      gap = gap || seen.view.apply(delta, self_->clock().now(), changes) == cluster_view::apply_outcome::gap;
    if (gap) {
      ++seen.gaps;
      ask(true);
    }
    if (!seen.view.nodes().empty())
      seen.fewest = std::min(seen.fewest == 0 ? seen.view.nodes().size() : seen.fewest, seen.view.nodes().size());
    if (seen.acknowledges && !seen.loses_answers)
      return caf::unit;
    auto promise = self_->make_response_promise<void>();
    (seen.loses_answers ? lost_ : owed_).push_back(promise);
    return promise;
  }

  view_subscriber::pointer self_;
  std::shared_ptr<slow_subscriber> seen_;
  view_source source_;
  part_collector parts_;
  std::vector<caf::typed_response_promise<void>> owed_;
  std::vector<caf::typed_response_promise<void>> lost_;
};

struct fixture : resource_fixture {
  fixture() {
    addresses = {"r1:1"};
    view_chunk_bytes = chunk;
    home = start("r1");
  }

  std::shared_ptr<slow_subscriber> subscribe_slowly(bool takes_parts = true, bool acknowledges = true,
                                                    const std::string& zone = {}) {
    auto seen = std::make_shared<slow_subscriber>();
    seen->zone = zone;
    seen->takes_parts = takes_parts;
    seen->acknowledges = acknowledges;
    seen->handle =
        own(sys.spawn<view_subscriber::stateful_impl<slow_subscriber_state>>(seen, caf::actor_cast<view_source>(home)));
    run();
    return seen;
  }

  static std::string name_of(int number) { return "node" + std::to_string(number); }

  /// Each of `count` nodes sends a beat; with its profile when it is the first.
  void beat(int count, bool draining = false) {
    ++sequence_;
    for (auto i = 0; i < count; ++i)
      beat_one(i, draining);
    run();
  }

  void drain(int number) {
    ++sequence_;
    beat_one(number, true);
    run();
  }

  void beat_one(int number, bool draining) {
    pb::Heartbeat beat;
    beat.set_node(make_node_id(name_of(number)).value());
    beat.set_incarnation(1);
    beat.set_home_epoch(1);
    beat.set_sequence(sequence_);
    beat.set_draining(draining);
    beat.set_profile_version(1);
    beat.mutable_load()->set_running(static_cast<std::uint32_t>(sequence_));
    caf::anon_send(home, heartbeat{beat});
    if (sequence_ > 1)
      return;
    pb::ProfileUpdate update;
    update.set_home_epoch(1);
    auto& profile = *update.mutable_profile();
    profile.set_node(beat.node());
    profile.set_incarnation(1);
    profile.set_version(1);
    profile.set_name(name_of(number));
    profile.mutable_capacity()->set_cpu_milli(4000);
    if (number % 10 == 0) {
      auto& label = *profile.add_labels();
      label.set_key("zone");
      label.set_value("a");
    }
    caf::anon_send(home, profile_update{update});
  }

  /// Lets time pass in which all nodes beat.
  void live(int count, std::chrono::seconds time, bool draining = false) {
    for (auto i = 0; i < time.count(); ++i) {
      beat(count, draining);
      advance(1s);
    }
  }

  resource_actor home;

private:
  std::uint64_t sequence_ = 0;
};

} // namespace

TEST_CASE_FIXTURE(fixture, "a shard of 200 nodes comes in parts of at most a chunk and is shown when it is complete") {
  beat(200);
  advance(500ms);
  auto seen = subscribe_slowly();
  advance(100ms);
  CHECK(seen->parts > 4);
  CHECK(seen->largest <= chunk);
  CHECK(seen->view.nodes().size() == 200);
  CHECK(seen->fewest == 200);
  CHECK(seen->view.find(make_node_id(name_of(199)))->usable());
  // From here on it is in step.
  auto parts = seen->parts;
  live(200, 3s);
  CHECK(seen->parts == parts);
  CHECK(seen->gaps == 0);
  CHECK(seen->last_beat(name_of(7)) == 4);
}

TEST_CASE_FIXTURE(fixture, "a subscriber that does not acknowledge has four chunks under way, however long it takes") {
  beat(200);
  advance(500ms);
  auto seen = subscribe_slowly(true, false);
  live(200, 20s);
  CHECK(seen->bytes <= 5 * chunk);
  CHECK(seen->view.nodes().empty());
  auto before = seen->messages;
  seen->acknowledges = true;
  live(200, 1s);
  // It gets the latest, and not what it missed.
  CHECK(seen->messages - before < 60);
  CHECK(seen->view.nodes().size() == 200);
  CHECK(seen->last_beat(name_of(7)) == 22);
  CHECK(seen->view.find(make_node_id(name_of(7)))->usable());
}

TEST_CASE_FIXTURE(fixture, "who was in step and falls behind gets one delta from what it has, and nothing vanishes") {
  beat(200);
  auto seen = subscribe_slowly();
  live(200, 2s);
  REQUIRE(seen->view.nodes().size() == 200);
  seen->acknowledges = false;
  live(200, 20s);
  auto bytes = seen->bytes;
  live(200, 10s);
  // It was asked whether it is there.
  CHECK(seen->bytes - bytes < 1000);
  seen->fewest = 0;
  seen->acknowledges = true;
  live(200, 1s);
  CHECK(seen->fewest == 200);
  CHECK(seen->gaps == 0);
  CHECK(seen->last_beat(name_of(50)) == 34);
}

TEST_CASE_FIXTURE(fixture, "a drain is told within 100 ms to somebody who has no credit for anything else") {
  beat(200);
  auto seen = subscribe_slowly();
  live(200, 2s);
  seen->acknowledges = false;
  live(200, 20s);
  auto version = seen->view.versions().front().version();
  drain(42);
  advance(100ms);
  CHECK(seen->rows_ahead == 1);
  CHECK(seen->state(name_of(42)) == "DRAINING");
  CHECK(seen->view.versions().front().version() == version);
  CHECK(seen->view.find(make_node_id(name_of(42)))->usable() == false);
  seen->acknowledges = true;
  advance(100ms);
  CHECK(seen->state(name_of(42)) == "DRAINING");
  CHECK(seen->view.find(make_node_id(name_of(42)))->name() == name_of(42));
}

TEST_CASE_FIXTURE(fixture, "what cannot wait is bounded as well") {
  beat(200);
  auto seen = subscribe_slowly();
  live(200, 2s);
  seen->acknowledges = false;
  live(200, 20s);
  auto bytes = seen->bytes;
  for (auto i = 0; i < 10; ++i)
    live(200, 1s, i % 2 == 0);
  CHECK(seen->rows_ahead > 0);
  CHECK(seen->bytes - bytes <= chunk);
  seen->acknowledges = true;
  advance(1s);
  for (auto i = 0; i < 200; ++i)
    REQUIRE(seen->last_beat(name_of(i)) == 33);
}

TEST_CASE_FIXTURE(fixture, "lost acknowledgements cost a few seconds and nothing else") {
  beat(200);
  advance(500ms);
  auto seen = subscribe_slowly(true, false);
  seen->loses_answers = true;
  live(200, 5s);
  CHECK(seen->view.nodes().empty());
  seen->loses_answers = false;
  seen->acknowledges = true;
  live(200, 7s);
  CHECK(seen->view.nodes().size() == 200);
  CHECK(seen->last_beat(name_of(7)) == 13);
}

TEST_CASE_FIXTURE(fixture, "a subscriber of the last version gets whole deltas") {
  beat(200);
  advance(500ms);
  auto seen = subscribe_slowly(false);
  CHECK(seen->messages == 1);
  CHECK(seen->view.nodes().size() == 200);
  live(200, 3s);
  CHECK(seen->parts == 0);
  CHECK(seen->gaps == 0);
  CHECK(seen->last_beat(name_of(7)) == 4);
}

TEST_CASE_FIXTURE(fixture, "what comes in parts goes on to the other Resources and their view clients") {
  kill(home);
  addresses = {"r1:1", "r2:1"};
  home = start("r1");
  start("r2");
  live(60, 2s);
  view_client_options options;
  options.name = "gateway";
  options.resources = {"r2:1"};
  auto seen = watch(own(spawn_view_client(sys, process("gateway:1"), options)));
  live(60, 3s);
  CHECK(seen->view.nodes().size() == 60);
  CHECK(seen->gaps == 0);
  CHECK(seen->state(name_of(59)) == "ONLINE");
}

TEST_CASE_FIXTURE(fixture,
                  "a subscriber with a filter gets its twentieth of 200 nodes and of their loads, and no more") {
  beat(200);
  advance(500ms);
  auto all = subscribe_slowly();
  auto some = subscribe_slowly(true, true, "a");
  advance(100ms);
  CHECK(some->view.nodes().size() == 20);
  CHECK(some->view.find(make_node_id(name_of(40)))->usable());
  CHECK(some->state(name_of(41)) == "gone");
  CHECK(some->largest <= chunk);
  CHECK(some->bytes * 5 < all->bytes);
  live(200, 3s);
  CHECK(some->last_beat(name_of(40)) == 4);
  CHECK(some->gaps == 0);
  drain(41);
  drain(50);
  advance(100ms);
  CHECK(some->state(name_of(41)) == "gone");
  CHECK(some->state(name_of(50)) == "DRAINING");
}

TEST_CASE_FIXTURE(fixture,
                  "a subscriber with a filter that falls behind hears of ends in time and gets the rest later") {
  beat(200);
  advance(500ms);
  auto some = subscribe_slowly(true, true, "a");
  live(200, 2s);
  REQUIRE(some->view.nodes().size() == 20);
  some->acknowledges = false;
  live(200, 40s);
  drain(50);
  drain(51);
  advance(100ms);
  CHECK(some->state(name_of(50)) == "DRAINING");
  some->fewest = 0;
  some->acknowledges = true;
  live(200, 1s);
  CHECK(some->fewest == 20);
  CHECK(some->view.nodes().size() == 20);
  CHECK(some->gaps == 0);
}
