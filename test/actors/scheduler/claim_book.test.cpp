#include "actors/scheduler/claim_book.hpp"

#include "messages/wire.hpp"
#include "test/actors/scheduler/model_cluster.hpp"

#include <doctest/doctest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <set>

using namespace astra;
using namespace astra::test;
using namespace std::chrono_literals;

namespace {

/// Nodes with their Resource in front, a book that claims on them, and time in ticks of 100 ms.
class model {
public:
  explicit model(pb::AppSpec spec, std::size_t nodes = 3, std::uint32_t cores = 4) : spec_(std::move(spec)) {
    for (std::size_t i = 1; i <= nodes; ++i)
      cluster.rows["n" + std::to_string(i)] = make_row("n" + std::to_string(i), cores, 64);
    restart_scheduler();
  }

  void restart_scheduler() {
    claim_book_options options;
    options.claim_timeout = 1s;
    options.failure_exclusion = 5s;
    options.replace_per_s = replace_per_s;
    book = std::make_unique<claim_book>(++epoch_, options);
    book->want(spec_);
    if (deleting_)
      book->remove();
    for (auto& [id, entry] : cluster.view.nodes())
      book->observe(entry, now);
    unanswered_.clear();
  }

  void want(pb::AppSpec spec) {
    spec_ = std::move(spec);
    book->want(spec_);
  }

  void remove() {
    deleting_ = true;
    book->remove();
  }

  pb::NodeRow& node(const std::string& name) { return cluster.rows.at(name); }

  /// Changes a node's row and lets the book know.
  template <class Change>
  void change(const std::string& name, Change what) {
    what(node(name));
    cluster.publish(now, book.get());
  }

  void crash(const std::string& name) {
    change(name, [](auto& row) {
      row.mutable_profile()->clear_replicas();
      row.set_incarnation(row.incarnation() + 1);
      row.set_liveness(pb::LIVENESS_OFFLINE);
    });
  }

  void set_liveness(const std::string& name, pb::Liveness liveness) {
    change(name, [=](auto& row) { row.set_liveness(liveness); });
  }

  void tick(bool replicas_start = true) {
    now += 100ms;
    auto wishes = book->tick(cluster.view, {model_home}, now, random);
    last = wishes;
    for (auto& claim : wishes.claims)
      messages_.push_back({now + delay(), claim, std::nullopt, epoch_, book->spec_hash()});
    for (auto& release : wishes.releases)
      messages_.push_back({now + delay(), std::nullopt, release, epoch_, 0});
    deliver();
    if (replicas_start)
      for (auto& [name, row] : cluster.rows)
        for (auto& replica : *row.mutable_profile()->mutable_replicas())
          if (replica.state() == pb::REPLICA_STARTING) {
            auto fails = replica.spec_hash() == failing_hash;
            replica.set_state(fails ? pb::REPLICA_FAILED : pb::REPLICA_READY);
            replica.set_reason(fails ? "exit code 3" : "");
          }
    cluster.publish(now, book.get());
    give_up();
    record();
  }

  void ticks(int count) {
    for (int i = 0; i < count; ++i)
      tick();
  }

  /// Ready replicas per index over all nodes that live.
  std::map<std::uint32_t, int> ready() const {
    std::map<std::uint32_t, int> result;
    for (auto& [name, row] : cluster.rows)
      if (row.liveness() != pb::LIVENESS_OFFLINE)
        for (auto& replica : row.profile().replicas())
          if (replica.state() == pb::REPLICA_READY)
            ++result[replica.index()];
    return result;
  }

  std::size_t running() const {
    std::size_t result = 0;
    for (auto& [name, row] : cluster.rows)
      result += static_cast<std::size_t>(row.profile().replicas_size());
    return result;
  }

  /// Every index once, and nothing else.
  bool exact() const {
    auto found = ready();
    return running() == spec_.replicas() && found.size() == spec_.replicas()
           && std::all_of(found.begin(), found.end(), [](auto& entry) { return entry.second == 1; });
  }

  /// The book has a quick way to the record, which must lead to the same one.
  pb::AppRecord record() const {
    auto quick = book->record(now);
    CHECK(encode(quick) == encode(book->describe(now).record()));
    return quick;
  }

  model_view cluster;
  std::unique_ptr<claim_book> book;
  claim_book::time_point now{};
  claim_book::decision last;
  random_source random{11};
  std::uint32_t replace_per_s = 100;
  /// Replicas of this spec fail for good instead of getting ready.
  std::uint64_t failing_hash = 0;
  /// Faults, drawn for each message.
  std::uint64_t delay_ticks_max = 0;
  std::uint64_t lose_percent = 0;
  std::uint64_t refuse_percent = 0;

private:
  struct message {
    claim_book::time_point due;
    std::optional<pb::Claim> claim;
    std::optional<pb::Release> release;
    std::uint64_t epoch = 0;
    std::uint64_t spec_hash = 0;
  };

  std::chrono::milliseconds delay() { return 100ms * (delay_ticks_max == 0 ? 0 : random.below(delay_ticks_max + 1)); }
  bool draw(std::uint64_t percent) { return random.below(100) < percent; }

  void deliver() {
    auto pending = std::exchange(messages_, {});
    for (auto& message : pending) {
      if (message.due > now)
        messages_.push_back(message);
      else if (message.claim)
        arbitrate(message);
      else if (!draw(lose_percent))
        stop(*message.release);
    }
  }

  void arbitrate(const message& what) {
    auto& claim = *what.claim;
    pb::ClaimResult result;
    result.set_sequence(claim.sequence());
    result.set_token(claim.token());
    auto lost_on_the_way = draw(lose_percent);
    auto lost_on_the_way_back = draw(lose_percent);
    if (!lost_on_the_way)
      result.set_outcome(decide(what));
    if (lost_on_the_way || lost_on_the_way_back) {
      if (what.epoch == epoch_)
        unanswered_.emplace_back(now + 1s, claim_token{claim.token()});
    } else if (what.epoch == epoch_) {
      book->on_result(result, now, random);
    }
  }

  pb::ClaimOutcome decide(const message& what) {
    auto& claim = *what.claim;
    for (auto& [name, row] : cluster.rows) {
      if (row.node() != claim.node())
        continue;
      if (row.liveness() == pb::LIVENESS_OFFLINE || row.incarnation() != claim.node_incarnation())
        return pb::CLAIM_NODE_GONE;
      if (row.liveness() == pb::LIVENESS_DRAINING)
        return pb::CLAIM_NODE_DRAINING;
      if (what.epoch < fences_[name])
        return pb::CLAIM_FENCED;
      fences_[name] = what.epoch;
      if (draw(refuse_percent) || room_for(spec_, row, 0) == 0)
        return pb::CLAIM_NO_ROOM;
      auto& replica = *row.mutable_profile()->add_replicas();
      replica.set_app(spec_.name());
      replica.set_index(claim.replica_index());
      replica.set_token(claim.token());
      replica.set_epoch(what.epoch);
      replica.set_spec_hash(what.spec_hash);
      replica.set_state(pb::REPLICA_STARTING);
      replica.set_reason("starting");
      *replica.mutable_resources() = spec_.per_replica();
      return pb::CLAIM_CONFIRMED;
    }
    return pb::CLAIM_NODE_GONE;
  }

  void stop(const pb::Release& release) {
    for (auto& [name, row] : cluster.rows) {
      if (row.node() != release.node() || row.liveness() == pb::LIVENESS_OFFLINE)
        continue;
      auto& replicas = *row.mutable_profile()->mutable_replicas();
      replicas.erase(std::remove_if(replicas.begin(), replicas.end(),
                                    [&](auto& replica) { return replica.token() == release.token(); }),
                     replicas.end());
    }
  }

  void give_up() {
    std::erase_if(unanswered_, [&](auto& entry) {
      if (entry.first > now)
        return false;
      book->on_no_answer({entry.second}, "no answer", now);
      return true;
    });
  }

  pb::AppSpec spec_;
  bool deleting_ = false;
  std::uint64_t epoch_ = 0;
  std::vector<message> messages_;
  std::vector<std::pair<claim_book::time_point, claim_token>> unanswered_;
  std::map<std::string, std::uint64_t> fences_;
};

pb::AppSpec other_version(pb::AppSpec spec) {
  spec.mutable_actor()->add_args("version=2");
  return spec;
}

} // namespace

TEST_CASE("scaling changes no hash, another command does") {
  auto spec = small_app("ocr", 3);
  auto scaled = spec;
  scaled.set_replicas(7);
  CHECK(hash_of(spec) == hash_of(scaled));
  CHECK(hash_of(spec) != hash_of(other_version(spec)));
}

TEST_CASE("3 wanted replicas are claimed in one tick, on 3 nodes, and then no more") {
  model world{small_app("ocr", 3)};
  world.cluster.publish(world.now, world.book.get());
  world.tick();
  CHECK(world.last.claims.size() == 3);
  for (auto& [name, row] : world.cluster.rows)
    CHECK(row.profile().replicas_size() == 1);
  world.ticks(20);
  CHECK(world.last.claims.empty());
  CHECK(world.exact());
  CHECK(world.record().ready() == 3);
  CHECK(world.record().reason().empty());
}

TEST_CASE("a restarted scheduler adopts what runs, whatever epoch claimed it, and claims nothing") {
  model world{small_app("ocr", 3)};
  world.cluster.publish(world.now, world.book.get());
  world.ticks(3);
  world.restart_scheduler();
  for (int i = 0; i < 20; ++i) {
    world.tick();
    CHECK(world.last.claims.empty());
    CHECK(world.last.releases.empty());
  }
  CHECK(world.record().ready() == 3);
}

TEST_CASE("scaling down releases the highest indices, scaling up adds, and what stays is left alone") {
  model world{small_app("ocr", 4)};
  world.cluster.publish(world.now, world.book.get());
  world.ticks(3);
  world.want(small_app("ocr", 2));
  world.tick();
  CHECK(world.last.claims.empty());
  REQUIRE(world.last.releases.size() == 2);
  CHECK(std::min(world.last.releases[0].replica_index(), world.last.releases[1].replica_index()) == 2);
  CHECK(world.last.releases[0].grace_ms() == 10000);
  world.want(small_app("ocr", 5));
  world.tick();
  CHECK(world.last.claims.size() == 3);
  CHECK(world.last.releases.empty());
  world.ticks(3);
  CHECK(world.exact());
}

TEST_CASE("of two replicas with one index the ready one stays, then the older one") {
  model world{small_app("ocr", 1), 3};
  auto add = [&](const std::string& node, std::uint64_t epoch, pb::ReplicaState state) {
    auto& replica = *world.node(node).mutable_profile()->add_replicas();
    replica.set_app("ocr");
    replica.set_token(make_node_id(node).value());
    replica.set_epoch(epoch);
    replica.set_spec_hash(world.book->spec_hash());
    replica.set_state(state);
  };
  add("n1", 1, pb::REPLICA_BACKING_OFF);
  add("n2", 3, pb::REPLICA_READY);
  add("n3", 2, pb::REPLICA_READY);
  world.cluster.publish(world.now, world.book.get());
  world.tick();
  CHECK(world.last.claims.empty());
  CHECK(world.last.releases.size() == 2);
  world.tick();
  CHECK(world.node("n3").profile().replicas_size() == 1);
  CHECK(world.running() == 1);
}

TEST_CASE("a draining node's replica is released only when its replacement is ready") {
  model world{small_app("ocr", 1), 2};
  world.cluster.publish(world.now, world.book.get());
  world.ticks(3);
  auto first = world.node("n1").profile().replicas_size() == 1 ? "n1" : "n2";
  auto second = first == std::string{"n1"} ? "n2" : "n1";
  world.set_liveness(first, pb::LIVENESS_DRAINING);
  world.tick(false);
  CHECK(world.last.claims.size() == 1);
  CHECK(world.last.releases.empty());
  world.tick(false);
  CHECK(world.last.releases.empty());
  CHECK(world.record().ready() == 1);
  world.tick();
  world.tick();
  CHECK(world.last.releases.size() == 1);
  CHECK(world.node(first).profile().replicas_size() == 0);
  CHECK(world.node(second).profile().replicas_size() == 1);
}

TEST_CASE("without room elsewhere a draining node keeps its replica, and the reason says so") {
  model world{small_app("ocr", 1), 1};
  world.cluster.publish(world.now, world.book.get());
  world.ticks(3);
  world.set_liveness("n1", pb::LIVENESS_DRAINING);
  world.ticks(10);
  CHECK(world.running() == 1);
  CHECK(world.record().ready() == 1);
}

TEST_CASE("a new spec replaces one replica at a time, the new one ready before the old one goes") {
  model world{small_app("ocr", 3)};
  world.cluster.publish(world.now, world.book.get());
  world.ticks(3);
  world.want(other_version(small_app("ocr", 3)));
  for (int i = 0; i < 20; ++i) {
    world.tick();
    CHECK(world.ready().size() == 3);
    CHECK(world.running() <= 4);
  }
  CHECK(world.exact());
  for (auto& [name, row] : world.cluster.rows)
    for (auto& replica : row.profile().replicas())
      CHECK(replica.spec_hash() == world.book->spec_hash());
}

TEST_CASE("a new spec without room for both stops one old replica at a time first") {
  model world{small_app("ocr", 3), 3, 1};
  world.cluster.publish(world.now, world.book.get());
  world.ticks(3);
  world.want(other_version(small_app("ocr", 3)));
  for (int i = 0; i < 30; ++i) {
    world.tick();
    CHECK(world.ready().size() >= 2);
    CHECK(world.running() <= 3);
  }
  CHECK(world.exact());
  CHECK(world.record().reason().empty());
}

TEST_CASE("a new spec of an app with one replica per node stops one old replica at a time first") {
  auto alone = small_app("ocr", 3);
  alone.mutable_placement()->add_anti_affinity()->set_app("ocr");
  model world{alone};
  world.cluster.publish(world.now, world.book.get());
  world.ticks(3);
  CHECK(world.ready().size() == 3);
  world.want(other_version(alone));
  for (int i = 0; i < 30; ++i) {
    world.tick();
    CHECK(world.ready().size() >= 2);
    CHECK(world.running() <= 3);
  }
  CHECK(world.exact());
  CHECK(world.record().reason().empty());
}

TEST_CASE("an app whose replicas wait tells by how much its demand is too large, until all are placed") {
  auto large = small_app("ocr", 2);
  large.mutable_per_replica()->set_cpu_milli(6000);
  model world{large, 2};
  world.cluster.publish(world.now, world.book.get());
  CHECK_FALSE(world.book->placement(world.cluster.view, {model_home}, world.now));
  world.ticks(3);
  auto report = world.book->placement(world.cluster.view, {model_home}, world.now);
  REQUIRE(report);
  CHECK(report->nodes() == 2);
  CHECK(report->fitting() == 0);
  REQUIRE(report->changes_size() == 1);
  CHECK(report->changes(0).text() == "resources.cpu down to 4 cores");
  // What is kept of the nodes between ticks follows them.
  world.change("n1", [](auto& row) { row.mutable_profile()->mutable_capacity()->set_cpu_milli(5000); });
  report = world.book->placement(world.cluster.view, {model_home}, world.now);
  REQUIRE(report);
  CHECK(report->changes(0).text() == "resources.cpu down to 5 cores");
  CHECK(report->node_name() == "n1");
  for (auto name : {"n1", "n2"})
    world.change(name, [](auto& row) { row.mutable_profile()->mutable_capacity()->set_cpu_milli(8000); });
  world.ticks(5);
  CHECK(world.ready().size() == 2);
  CHECK_FALSE(world.book->placement(world.cluster.view, {model_home}, world.now));
}

TEST_CASE("a new spec that fits nowhere stops nothing") {
  model world{small_app("ocr", 3), 3, 1};
  world.cluster.publish(world.now, world.book.get());
  world.ticks(3);
  auto huge = small_app("ocr", 3);
  huge.mutable_per_replica()->set_cpu_milli(64000);
  world.want(huge);
  world.ticks(20);
  CHECK(world.ready().size() == 3);
  auto detail = world.book->describe(world.now);
  CHECK(detail.replicas(0).reason().find("its successor waits: 0 of 3 nodes fit: 3 lack cores (64 cores needed")
        != std::string::npos);
}

TEST_CASE("an update whose first new replica fails for good goes no further") {
  model world{small_app("ocr", 3)};
  world.cluster.publish(world.now, world.book.get());
  world.ticks(3);
  auto before = world.book->spec_hash();
  world.want(other_version(small_app("ocr", 3)));
  for (int i = 0; i < 100; ++i) {
    world.tick(false);
    for (auto& [name, row] : world.cluster.rows)
      for (auto& replica : *row.mutable_profile()->mutable_replicas())
        if (replica.state() == pb::REPLICA_STARTING) {
          replica.set_state(pb::REPLICA_FAILED);
          replica.set_reason("exit code 1");
        }
    world.cluster.publish(world.now, world.book.get());
  }
  CHECK(world.ready().size() == 3);
  for (auto& [name, row] : world.cluster.rows)
    for (auto& replica : row.profile().replicas())
      if (replica.state() == pb::REPLICA_READY)
        CHECK(replica.spec_hash() == before);
}

TEST_CASE("replicas of a lost node come back at most 2 per second, the others at once") {
  model world{small_app("ocr", 12), 4, 12};
  world.replace_per_s = 2;
  world.restart_scheduler();
  world.cluster.publish(world.now, world.book.get());
  world.tick();
  CHECK(world.last.claims.size() == 12);
  world.ticks(3);
  auto lost = static_cast<std::size_t>(world.node("n1").profile().replicas_size());
  REQUIRE(lost == 3);
  world.crash("n1");
  std::size_t claims = 0;
  for (int i = 0; i < 10; ++i) {
    world.tick();
    claims += world.last.claims.size();
  }
  CHECK(claims == 2);
  CHECK(world.record().reason().find("at most 2 replicas are replaced per second") != std::string::npos);
  world.ticks(5);
  CHECK(world.exact());
}

TEST_CASE("a frozen node that comes back with its replicas is relieved of those that were replaced") {
  model world{small_app("ocr", 3)};
  world.cluster.publish(world.now, world.book.get());
  world.ticks(3);
  world.set_liveness("n1", pb::LIVENESS_OFFLINE);
  world.ticks(5);
  CHECK(world.ready().size() == 3);
  world.set_liveness("n1", pb::LIVENESS_ONLINE);
  world.ticks(5);
  CHECK(world.exact());
}

TEST_CASE("a node that leaves the view for less than 2 s, to another Resource, loses nothing") {
  model world{small_app("ocr", 3)};
  world.cluster.publish(world.now, world.book.get());
  world.ticks(3);
  auto row = world.node("n1");
  world.cluster.rows.erase("n1");
  world.cluster.publish(world.now, world.book.get());
  for (int i = 0; i < 15; ++i) {
    world.tick();
    CHECK(world.last.claims.empty());
  }
  world.cluster.rows["n1"] = row;
  world.cluster.publish(world.now, world.book.get());
  world.ticks(5);
  CHECK(world.exact());
}

TEST_CASE("a replica that failed for good is released and goes to another node, which the reason tells") {
  model world{small_app("ocr", 1), 2};
  world.cluster.publish(world.now, world.book.get());
  world.ticks(2);
  auto first = world.node("n1").profile().replicas_size() == 1 ? "n1" : "n2";
  auto second = first == std::string{"n1"} ? "n2" : "n1";
  auto fail = [&](const std::string& node) {
    world.change(node, [](auto& row) {
      auto& replica = *row.mutable_profile()->mutable_replicas(0);
      replica.set_state(pb::REPLICA_FAILED);
      replica.set_reason("exit code 3, 5 times");
    });
  };
  fail(first);
  world.tick();
  CHECK(world.last.releases.size() == 1);
  world.ticks(2);
  REQUIRE(world.node(second).profile().replicas_size() == 1);
  CHECK(world.record().ready() == 1);
  fail(second);
  world.ticks(3);
  CHECK(world.running() == 0);
  CHECK(world.record().failed() == 1);
  CHECK(world.record().reason().find("exit code 3, 5 times") != std::string::npos);
  CHECK(world.record().reason().find("0 of 2 nodes fit: 2 failed there a moment ago") != std::string::npos);
  world.ticks(60);
  CHECK(world.record().ready() == 1);
}

TEST_CASE("a refused claim is tried elsewhere at the next tick, not at the node that refused") {
  model world{small_app("ocr", 1), 2};
  world.cluster.publish(world.now, world.book.get());
  auto wishes = world.book->tick(world.cluster.view, {model_home}, world.now, world.random);
  REQUIRE(wishes.claims.size() == 1);
  pb::ClaimResult result;
  result.set_sequence(wishes.claims[0].sequence());
  result.set_token(wishes.claims[0].token());
  result.set_outcome(pb::CLAIM_NO_ROOM);
  result.set_reason("needs 1 core, 0.5 free");
  world.book->on_result(result, world.now, world.random);
  auto again = world.book->tick(world.cluster.view, {model_home}, world.now, world.random);
  REQUIRE(again.claims.size() == 1);
  CHECK(again.claims[0].node() != wishes.claims[0].node());
  CHECK(again.claims[0].token() != wishes.claims[0].token());
}

TEST_CASE("an app whose business has used up its quota waits for up to a second, says so, and excludes no node") {
  model world{small_app("ocr", 2), 2};
  world.cluster.publish(world.now, world.book.get());
  auto wishes = world.book->tick(world.cluster.view, {model_home}, world.now, world.random);
  REQUIRE(wishes.claims.size() == 2);
  std::string reason = "business search has 4 of 4 cores in use, and 1 is needed; quota of [[resource.quotas]]";
  for (auto& claim : wishes.claims) {
    pb::ClaimResult result;
    result.set_token(claim.token());
    result.set_outcome(pb::CLAIM_OVER_QUOTA);
    result.set_reason(reason);
    world.book->on_result(result, world.now, world.random);
  }
  CHECK(world.book->exclusions().empty());
  CHECK(world.book->tick(world.cluster.view, {model_home}, world.now, world.random).claims.empty());
  CHECK(world.record().reason() == "0 of 2 ready; 2 not placed: " + reason);
  auto placement = world.book->placement(world.cluster.view, {model_home}, world.now);
  REQUIRE(placement);
  REQUIRE(placement->reasons_size() > 0);
  CHECK(placement->reasons(0).text() == reason);
  world.now += 1s;
  CHECK(world.book->tick(world.cluster.view, {model_home}, world.now, world.random).claims.size() == 2);
}

TEST_CASE("without room in the quota for old and new side by side no more old ones stop than may be missing") {
  auto spec = small_app("ocr", 6);
  spec.mutable_update()->set_max_surge(6);
  spec.mutable_update()->set_progress_ms(600'000);
  auto stopped_of = [](pb::AppSpec app) {
    model world{app, 6};
    world.cluster.publish(world.now, world.book.get());
    world.ticks(3);
    REQUIRE(world.running() == 6);
    app.mutable_actor()->add_args("version=2");
    world.book->want(app);
    std::set<std::uint64_t> stopped;
    for (int i = 0; i < 80; ++i) {
      world.now += 100ms;
      auto wishes = world.book->tick(world.cluster.view, {model_home}, world.now, world.random);
      for (auto& release : wishes.releases)
        stopped.insert(release.token());
      for (auto& claim : wishes.claims) {
        pb::ClaimResult result;
        result.set_token(claim.token());
        result.set_outcome(pb::CLAIM_OVER_QUOTA);
        result.set_reason("used up");
        world.book->on_result(result, world.now, world.random);
      }
    }
    return stopped.size();
  };
  CHECK(stopped_of(spec) == 0);
  spec.mutable_update()->set_max_unavailable(2);
  CHECK(stopped_of(spec) == 2);
}

TEST_CASE("the row that comes with a refusal corrects the view until the view is newer") {
  model world{small_app("ocr", 1), 1};
  world.cluster.publish(world.now, world.book.get());
  auto wishes = world.book->tick(world.cluster.view, {model_home}, world.now, world.random);
  pb::ClaimResult result;
  result.set_token(wishes.claims.at(0).token());
  result.set_outcome(pb::CLAIM_NO_ROOM);
  *result.mutable_row() = world.node("n1");
  result.mutable_row()->mutable_held()->set_cpu_milli(3500);
  world.book->on_result(result, world.now, world.random);
  world.now += 2s; // the pause after a refusal is over
  CHECK(world.book->tick(world.cluster.view, {model_home}, world.now, world.random).claims.empty());
  CHECK(world.record().reason().find("at most 0.5 cores free, on n1") != std::string::npos);
  world.cluster.publish(world.now, world.book.get());
  CHECK(world.book->tick(world.cluster.view, {model_home}, world.now, world.random).claims.size() == 1);
}

TEST_CASE("a claim without an answer is released by its token, also when it turns up later") {
  model world{small_app("ocr", 1), 2};
  world.cluster.publish(world.now, world.book.get());
  auto wishes = world.book->tick(world.cluster.view, {model_home}, world.now, world.random);
  claim_token token{wishes.claims.at(0).token()};
  world.book->on_no_answer({token}, "timed out", world.now);
  auto next = world.book->tick(world.cluster.view, {model_home}, world.now, world.random);
  REQUIRE(next.releases.size() == 1);
  CHECK(next.releases[0].token() == token.value());
  CHECK(next.claims.size() == 1);
  auto claimed = wishes.claims[0].node() == make_node_id("n1").value() ? "n1" : "n2";
  auto& late = *world.node(claimed).mutable_profile()->add_replicas();
  late.set_app("ocr");
  late.set_token(token.value());
  late.set_state(pb::REPLICA_READY);
  late.set_spec_hash(world.book->spec_hash());
  world.now += 5s;
  world.cluster.publish(world.now, world.book.get());
  auto last = world.book->tick(world.cluster.view, {model_home}, world.now, world.random);
  CHECK(std::any_of(last.releases.begin(), last.releases.end(),
                    [&](auto& release) { return release.token() == token.value(); }));
}

TEST_CASE("a deleted app is gone when its last replica is, and not while an offline node may still run one") {
  model world{small_app("ocr", 3)};
  world.cluster.publish(world.now, world.book.get());
  world.ticks(3);
  world.set_liveness("n1", pb::LIVENESS_OFFLINE);
  world.remove();
  world.ticks(20);
  CHECK_FALSE(world.book->gone(world.now));
  CHECK(world.record().deleting());
  CHECK(world.record().reason().find("n1 is offline") != std::string::npos);
  world.set_liveness("n1", pb::LIVENESS_ONLINE);
  world.ticks(2);
  CHECK(world.running() == 0);
  CHECK(world.book->gone(world.now));
}

TEST_CASE("whatever is lost, delayed, refused, crashed or restarted: at rest every index runs exactly once") {
  CHECK(rc::check([] {
    auto replicas = static_cast<std::uint32_t>(*rc::gen::inRange(1, 8));
    model world{small_app("ocr", replicas), 4, 4};
    world.random = random_source{*rc::gen::arbitrary<std::uint64_t>()};
    world.delay_ticks_max = static_cast<std::uint64_t>(*rc::gen::inRange(0, 8));
    world.lose_percent = static_cast<std::uint64_t>(*rc::gen::inRange(0, 50));
    world.refuse_percent = static_cast<std::uint64_t>(*rc::gen::inRange(0, 50));
    world.cluster.publish(world.now, world.book.get());
    for (auto fault : *rc::gen::container<std::vector<int>>(40, rc::gen::inRange(0, 20))) {
      auto name = "n" + std::to_string(1 + world.random.below(4));
      switch (fault) {
      case 0:
        world.crash(name);
        break;
      case 1:
        world.set_liveness(name, pb::LIVENESS_OFFLINE);
        break;
      case 2:
        world.set_liveness(name, pb::LIVENESS_ONLINE);
        break;
      case 3:
        world.set_liveness(name, pb::LIVENESS_DRAINING);
        break;
      case 4:
        world.set_liveness(name, pb::LIVENESS_SUSPECT);
        break;
      case 5:
        world.restart_scheduler();
        break;
      case 6:
        world.want(small_app("ocr", replicas = static_cast<std::uint32_t>(1 + world.random.below(8))));
        break;
      case 7:
        world.want(other_version(small_app("ocr", replicas)));
        break;
      case 8:
        world.change(name, [](auto& row) {
          for (auto& replica : *row.mutable_profile()->mutable_replicas())
            replica.set_state(pb::REPLICA_FAILED);
        });
        break;
      default:
        break;
      }
      world.ticks(1 + static_cast<int>(world.random.below(5)));
    }
    world.delay_ticks_max = 0;
    world.lose_percent = 0;
    world.refuse_percent = 0;
    for (auto name : {"n1", "n2", "n3", "n4"})
      world.set_liveness(name, pb::LIVENESS_ONLINE);
    world.ticks(200);
    RC_ASSERT(world.exact());
    RC_ASSERT(world.record().ready() == replicas);
    world.remove();
    world.ticks(50);
    RC_ASSERT(world.running() == 0u);
    RC_ASSERT(world.book->gone(world.now));
  }));
}

namespace {

pb::AppSpec with_update(pb::AppSpec spec, std::uint32_t surge, std::uint32_t unavailable) {
  spec.mutable_update()->set_max_surge(surge);
  spec.mutable_update()->set_max_unavailable(unavailable);
  spec.mutable_update()->set_progress_ms(60'000);
  return spec;
}

/// Replicas of each index that run and are not ready elsewhere: of the old spec, of the new one.
std::size_t replicas_of(model& world, std::uint64_t hash) {
  std::size_t result = 0;
  for (auto& [name, row] : world.cluster.rows)
    for (auto& replica : row.profile().replicas())
      result += replica.spec_hash() == hash && replica.state() == pb::REPLICA_READY;
  return result;
}

} // namespace

TEST_CASE("the way a spec is updated and scaled is no part of its hash") {
  auto spec = small_app("ocr", 3);
  auto other = with_update(spec, 3, 1);
  other.mutable_scale()->set_max(9);
  CHECK(hash_of(spec) == hash_of(other));
}

TEST_CASE("surge 3 and unavailable 1: never more than 3 beyond or 1 missing, and the record tells how far it is") {
  auto spec = with_update(small_app("ocr", 9), 3, 1);
  model world{spec, 5, 4};
  world.cluster.publish(world.now, world.book.get());
  world.ticks(5);
  REQUIRE(world.exact());
  world.want(other_version(spec));
  CHECK(world.record().rollout().phase() == pb::ROLLOUT_RUNNING);
  CHECK(world.record().rollout().total() == 9);
  int ticks = 0;
  std::size_t most = 0;
  std::uint32_t told = 0;
  do {
    world.tick();
    most = std::max(most, world.running());
    CHECK(world.running() <= 9 + 3);
    CHECK(world.ready().size() >= 9 - 1);
    auto record = world.record();
    if (record.has_rollout()) {
      CHECK(record.rollout().updated() >= told);
      told = record.rollout().updated();
    }
    REQUIRE(++ticks < 60);
  } while (!world.exact() || world.record().has_rollout());
  CHECK(most > 10);
  CHECK(told > 3);
  CHECK(replicas_of(world, world.book->spec_hash()) == 9);
}

TEST_CASE("with no room for a successor the old one goes first, if one may be missing, and never otherwise") {
  for (auto unavailable : {0U, 1U}) {
    CAPTURE(unavailable);
    auto spec = with_update(small_app("ocr", 4), 1, unavailable);
    model world{spec, 1, 4};
    world.cluster.publish(world.now, world.book.get());
    world.ticks(5);
    world.want(other_version(spec));
    for (int i = 0; i < 50; ++i) {
      world.tick();
      CHECK(world.ready().size() >= 4 - unavailable);
    }
    CHECK((replicas_of(world, world.book->spec_hash()) == 4) == (unavailable == 1));
  }
}

TEST_CASE("a spec that fails halts its update, what is old goes on, and the one after that is not halted") {
  auto spec = with_update(small_app("ocr", 4), 2, 0);
  model world{spec, 4, 4};
  world.cluster.publish(world.now, world.book.get());
  world.ticks(5);
  auto broken = other_version(spec);
  world.failing_hash = hash_of(broken);
  world.want(broken);
  world.ticks(100);
  CHECK(replicas_of(world, hash_of(spec)) == 4);
  CHECK(world.running() == 4);
  auto record = world.record();
  CHECK(record.ready() == 4);
  CHECK(record.rollout().phase() == pb::ROLLOUT_HALTED);
  CHECK(record.rollout().reason().find("exit code 3") != std::string::npos);
  CHECK(record.reason().starts_with("the update is halted with 0 of 4 replaced: replica "));
  auto cured = other_version(broken);
  world.want(cured);
  world.ticks(30);
  CHECK(replicas_of(world, hash_of(cured)) == 4);
  CHECK_FALSE(world.record().has_rollout());
}

TEST_CASE("an old replica that restarts while its update is halted is left to do so") {
  auto spec = with_update(small_app("ocr", 2), 1, 0);
  model world{spec, 3, 4};
  world.cluster.publish(world.now, world.book.get());
  world.ticks(5);
  auto broken = other_version(spec);
  world.failing_hash = hash_of(broken);
  world.want(broken);
  world.ticks(10);
  REQUIRE(world.record().rollout().phase() == pb::ROLLOUT_HALTED);
  for (auto& [name, row] : world.cluster.rows)
    for (auto& replica : *row.mutable_profile()->mutable_replicas())
      replica.set_state(pb::REPLICA_BACKING_OFF);
  world.cluster.publish(world.now, world.book.get());
  for (int i = 0; i < 10; ++i) {
    world.tick();
    CHECK(world.last.claims.empty());
    CHECK(world.last.releases.empty());
  }
}

TEST_CASE("2 canaries of 6 are all that changes until they have been ready for canary_for") {
  auto spec = with_update(small_app("ocr", 6), 6, 0);
  spec.mutable_update()->set_canary(2);
  spec.mutable_update()->set_canary_for_ms(3000);
  model world{spec, 4, 4};
  world.cluster.publish(world.now, world.book.get());
  world.ticks(5);
  auto next = other_version(spec);
  world.want(next);
  world.ticks(5);
  for (int i = 0; i < 20; ++i) {
    world.tick();
    CHECK(replicas_of(world, hash_of(next)) == 2);
    CHECK(world.record().rollout().phase() == pb::ROLLOUT_CANARY);
  }
  world.ticks(20);
  CHECK(replicas_of(world, hash_of(next)) == 6);
  CHECK_FALSE(world.record().has_rollout());
}

TEST_CASE("updates amid lost nodes, lost messages and restarts of the scheduler get through") {
  CHECK(rc::check([] {
    auto surge = *rc::gen::inRange<std::uint32_t>(0, 4);
    auto spec = with_update(small_app("ocr", *rc::gen::inRange<std::uint32_t>(1, 8)), surge,
                            *rc::gen::inRange<std::uint32_t>(surge == 0 ? 1 : 0, 3));
    spec.mutable_update()->set_progress_ms(0);
    spec.mutable_update()->set_canary(*rc::gen::inRange<std::uint32_t>(0, 3));
    spec.mutable_update()->set_canary_for_ms(500);
    model world{spec, 6, 4};
    world.random = random_source{*rc::gen::inRange<std::uint64_t>(0, 1'000'000)};
    world.delay_ticks_max = 2;
    world.lose_percent = *rc::gen::inRange<std::uint64_t>(0, 20);
    world.cluster.publish(world.now, world.book.get());
    world.ticks(5);
    for (int round = 0; round < 3; ++round) {
      spec = other_version(spec);
      world.want(spec);
      for (int i = 0; i < 15; ++i) {
        world.tick();
        auto name = "n" + std::to_string(1 + world.random.below(6));
        if (world.random.below(6) == 0)
          world.crash(name);
        else if (world.random.below(3) == 0)
          world.set_liveness(name, pb::LIVENESS_ONLINE);
        if (world.random.below(20) == 0)
          world.restart_scheduler();
      }
    }
    world.lose_percent = 0;
    for (int i = 1; i <= 6; ++i)
      world.set_liveness("n" + std::to_string(i), pb::LIVENESS_ONLINE);
    world.ticks(300);
    RC_ASSERT(world.exact());
    RC_ASSERT(replicas_of(world, hash_of(spec)) == spec.replicas());
    RC_ASSERT(!world.record().has_rollout());
  }));
}

TEST_CASE("a scaled app has as many replicas as it was scaled to, whatever its spec says") {
  auto spec = small_app("ocr", 2);
  spec.mutable_scale()->set_max(9);
  model world{spec};
  world.book->scale_to(5, "5: so");
  world.cluster.publish(world.now, world.book.get());
  world.ticks(5);
  CHECK(world.running() == 5);
  CHECK(world.record().scaled_to() == 5);
  CHECK(world.record().scale_reason() == "5: so");
  CHECK(world.record().ready() == 5);
  CHECK(world.book->observed() == 5);
  world.book->scale_to(3, "3: so");
  world.ticks(5);
  CHECK(world.running() == 3);
  spec.clear_scale();
  world.want(spec);
  world.ticks(5);
  CHECK(world.running() == 2);
  CHECK_FALSE(world.record().has_scaled_to());
}

TEST_CASE("the load of a node that two apps share is told with the slots of both") {
  model world{small_app("ocr", 1), 1};
  world.cluster.publish(world.now, world.book.get());
  world.ticks(3);
  world.change("n1", [](auto& row) {
    row.mutable_profile()->mutable_replicas(0)->set_concurrency(2);
    auto& other = *row.mutable_profile()->add_replicas();
    other.set_app("web");
    other.set_token(7);
    other.set_state(pb::REPLICA_READY);
    other.set_concurrency(6);
    row.mutable_load()->set_concurrency(4);
    row.mutable_load()->set_queued(3);
    row.mutable_load()->set_requests_done(10);
    row.mutable_load()->set_requests_failed(1);
  });
  auto loads = world.book->loads(world.cluster.view);
  REQUIRE(loads.size() == 1);
  CHECK(loads[0].ready == 1);
  CHECK(loads[0].slots == 2);
  CHECK(loads[0].all_slots == 8);
  CHECK(loads[0].running == doctest::Approx(4).epsilon(0.04));
  CHECK(loads[0].done == 11);
}
