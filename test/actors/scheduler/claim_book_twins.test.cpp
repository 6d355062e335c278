#include "actors/scheduler/claim_book.hpp"
#include "messages/wire.hpp"
#include "test/actors/scheduler/model_cluster.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <vector>

// A book looks only where something has changed.  Here one such book and one that looks everywhere at every tick live
// through the same: views, answers, other specs, restarts.  What they decide and tell must never differ.

using namespace astra;
using namespace astra::test;
using namespace std::chrono_literals;

namespace {

/// What an app of a run may have, as bits.
enum trait : std::uint32_t { with_updates = 1, with_gang = 2, with_clusters = 4, with_priority = 8, with_spread = 16 };

class twins {
public:
  twins(std::uint64_t seed, std::uint32_t traits)
    : draw_(seed), traits_(traits), left_random_(seed), right_random_(seed) {
    for (std::size_t i = 0; i < 3 + draw_.below(6); ++i) {
      auto name = "n" + std::to_string(i);
      auto& row = cluster_.rows[name] = make_row(name, 2 + static_cast<std::uint32_t>(draw_.below(3)), 64);
      auto& zone = *row.mutable_profile()->add_labels();
      zone.set_key("zone");
      zone.set_value(draw_.below(2) == 0 ? "a" : "b");
    }
    spec_ = small_app("ocr", 1 + static_cast<std::uint32_t>(draw_.below(9)));
    change_spec();
    restart();
  }

  void step() {
    now_ += 50ms * (1 + draw_.below(3));
    for (auto n = draw_.below(3); n > 0; --n)
      happen();
    publish();
    answer();
    compare();
    right_->look_everywhere();
    std::set<resource_id> reachable;
    if (!one_in(15))
      reachable.insert(model_home);
    auto left = left_->tick(cluster_.view, reachable, now_, left_random_, 1000);
    auto right = right_->tick(cluster_.view, reachable, now_, right_random_, 1000);
    REQUIRE(text_of(left) == text_of(right));
    REQUIRE(left_->gone(now_) == right_->gone(now_));
    REQUIRE(left_->impatient(now_) == right_->impatient(now_));
    auto report = left_->placement(cluster_.view, reachable, now_);
    auto other = right_->placement(cluster_.view, reachable, now_);
    REQUIRE(report.has_value() == other.has_value());
    if (report)
      REQUIRE(encode(*report) == encode(*other));
    compare();
    for (auto& claim : left.claims)
      asked_.push_back({claim, false, left_->spec_hash()});
    for (auto& claim : left.holds)
      asked_.push_back({claim, true, left_->spec_hash()});
    for (auto& release : left.releases)
      if (!one_in(4))
        stop(release);
    claims += left.claims.size();
    releases += left.releases.size();
    holds += left.holds.size();
    settled += left_->record(now_).reason().empty();
  }

  // What happened, so that a test can tell that it tested something.
  std::size_t claims = 0;
  std::size_t releases = 0;
  std::size_t holds = 0;
  std::size_t settled = 0;

private:
  struct question {
    pb::Claim claim;
    bool hold = false;
    std::uint64_t spec_hash = 0;
  };

  bool one_in(std::uint64_t n) { return draw_.below(n) == 0; }

  template <class Work>
  void both(Work work) {
    work(*left_, left_random_);
    work(*right_, right_random_);
  }

  void restart() {
    ++epoch_;
    claim_book_options options;
    options.claim_timeout = 1s;
    options.vanish_grace = 300ms;
    options.failure_exclusion = 1s;
    options.quota_patience = 600ms;
    options.release_retry = 500ms;
    options.replace_per_s = 1 + static_cast<std::uint32_t>(draw_.below(4));
    left_ = std::make_unique<claim_book>(epoch_, options);
    right_ = std::make_unique<claim_book>(epoch_, options);
    asked_.clear();
    both([&](auto& book, auto&) {
      book.want(spec_);
      for (auto& [id, entry] : cluster_.view.nodes())
        book.observe(entry, now_);
    });
  }

  void change_spec() {
    spec_.set_replicas(1 + static_cast<std::uint32_t>(draw_.below(9)));
    if (one_in(2)) {
      spec_.mutable_actor()->clear_args();
      spec_.mutable_actor()->add_args("version=" + std::to_string(draw_.below(3)));
    }
    if ((traits_ & with_updates) != 0) {
      auto& update = *spec_.mutable_update();
      update.set_max_surge(static_cast<std::uint32_t>(draw_.below(3)));
      update.set_max_unavailable(update.max_surge() == 0 ? 1 : static_cast<std::uint32_t>(draw_.below(2)));
      update.set_canary(static_cast<std::uint32_t>(draw_.below(2)));
      update.set_canary_for_ms(100 * draw_.below(5));
      update.set_ready_for_ms(100 * draw_.below(4));
      update.set_progress_ms(one_in(2) ? 0 : 3000);
    }
    if ((traits_ & with_gang) != 0)
      spec_.set_gang(true);
    if ((traits_ & with_priority) != 0)
      spec_.set_priority(5);
    if ((traits_ & with_spread) != 0 && spec_.placement().spread_size() == 0) {
      auto& rule = *spec_.mutable_placement()->add_spread();
      rule.set_label("zone");
      rule.set_max_skew(1);
      spec_.mutable_placement()->add_anti_affinity()->set_app("db");
    }
    if ((traits_ & with_clusters) != 0) {
      auto& federation = *spec_.mutable_federation();
      federation.set_clusters(1 + static_cast<std::uint32_t>(draw_.below(3)));
      federation.set_workers(1 + static_cast<std::uint32_t>(draw_.below(2)));
      federation.set_min_workers(1);
      federation.mutable_head()->mutable_resources()->set_cpu_milli(500);
      federation.mutable_worker()->mutable_resources()->set_cpu_milli(1000);
    }
  }

  pb::NodeRow* any_row() {
    if (cluster_.rows.empty())
      return nullptr;
    auto place = cluster_.rows.begin();
    std::advance(place, draw_.below(cluster_.rows.size()));
    return &place->second;
  }

  pb::ReplicaState any_state() {
    static constexpr pb::ReplicaState states[] = {pb::REPLICA_READY,       pb::REPLICA_READY,  pb::REPLICA_STARTING,
                                                  pb::REPLICA_WARMING,     pb::REPLICA_FAILED, pb::REPLICA_DRAINING,
                                                  pb::REPLICA_BACKING_OFF, pb::REPLICA_STOPPED};
    return states[draw_.below(std::size(states))];
  }

  void happen() {
    auto row = any_row();
    switch (draw_.below(24)) {
    case 0:
      change_spec();
      both([&](auto& book, auto&) { book.want(spec_); });
      return;
    case 1:
      if (one_in(3))
        restart();
      return;
    case 2:
      if ((traits_ & with_clusters) == 0 && one_in(3)) {
        auto wanted = static_cast<std::uint32_t>(draw_.below(9));
        both([&](auto& book, auto&) { book.scale_to(wanted, "for a test"); });
      }
      return;
    case 3:
      if (one_in(12))
        both([&](auto& book, auto&) { book.remove(); });
      return;
    case 4:
      if (!away_.empty()) {
        cluster_.rows.insert(*away_.begin());
        away_.erase(away_.begin());
      }
      return;
    default:
      break;
    }
    if (!row)
      return;
    auto& profile = *row->mutable_profile();
    auto replica = profile.replicas().empty() ? nullptr
                                              : profile.mutable_replicas(static_cast<int>(
                                                  draw_.below(static_cast<std::uint64_t>(profile.replicas_size()))));
    switch (draw_.below(9)) {
    case 0:
      away_.insert(*cluster_.rows.find(profile.name()));
      cluster_.rows.erase(std::string{profile.name()});
      break;
    case 1:
      row->set_incarnation(row->incarnation() + 1);
      profile.set_incarnation(row->incarnation());
      profile.clear_replicas();
      break;
    case 2: {
      static constexpr pb::Liveness states[] = {pb::LIVENESS_ONLINE, pb::LIVENESS_ONLINE, pb::LIVENESS_SUSPECT,
                                                pb::LIVENESS_DRAINING, pb::LIVENESS_OFFLINE};
      row->set_liveness(states[draw_.below(std::size(states))]);
      break;
    }
    case 3:
      row->set_liveness(pb::LIVENESS_ONLINE);
      break;
    case 4:
      if (one_in(2))
        add(*row, one_in(2) ? "db" : "cache", static_cast<std::uint32_t>(draw_.below(5)), draw_.next(), 1);
      else
        add(*row, "ocr", static_cast<std::uint32_t>(draw_.below(11)), draw_.next(), epoch_ - one_in(2));
      break;
    case 5:
      if (replica)
        profile.mutable_replicas()->erase(
            profile.replicas().begin()
            + static_cast<int>(draw_.below(static_cast<std::uint64_t>(profile.replicas_size()))));
      break;
    default:
      if (replica) {
        replica->set_state(any_state());
        replica->set_reason(replica->state() == pb::REPLICA_READY ? "" : "so it is");
        replica->set_in_state_ms(100 * draw_.below(8));
      }
    }
  }

  pb::ReplicaStatus& add(pb::NodeRow& row, const std::string& app, std::uint32_t index, std::uint64_t token,
                         std::uint64_t epoch) {
    auto& replica = *row.mutable_profile()->add_replicas();
    replica.set_app(app);
    replica.set_index(index);
    replica.set_token(token);
    replica.set_epoch(epoch);
    replica.set_spec_hash(one_in(4) ? 1 : left_->spec_hash());
    replica.set_state(any_state());
    replica.mutable_resources()->set_cpu_milli(1000);
    return replica;
  }

  void publish() {
    for (auto& [name, row] : cluster_.rows) {
      for (auto& replica : *row.mutable_profile()->mutable_replicas())
        if (replica.state() == pb::REPLICA_STARTING && !one_in(3)) {
          replica.set_state(one_in(12) ? pb::REPLICA_FAILED : pb::REPLICA_READY);
          replica.set_reason(replica.state() == pb::REPLICA_FAILED ? "exit code 3" : "");
        }
      row.mutable_profile()->set_version(++versions_);
    }
    std::vector<node_id> before;
    for (auto& [id, entry] : cluster_.view.nodes())
      before.push_back(id);
    cluster_.publish(now_);
    both([&](auto& book, auto&) {
      for (auto& [id, entry] : cluster_.view.nodes())
        book.observe(entry, now_);
      for (auto id : before)
        if (!cluster_.view.find(id))
          book.forget(id, now_);
    });
  }

  void answer() {
    for (auto& [claim, hold, spec_hash] : std::exchange(asked_, {})) {
      if (one_in(5)) {
        asked_.push_back({claim, hold, spec_hash});
        continue;
      }
      pb::NodeRow* row = nullptr;
      for (auto& [name, one] : cluster_.rows)
        if (one.node() == claim.node())
          row = &one;
      pb::ClaimResult result;
      result.set_sequence(claim.sequence());
      result.set_token(claim.token());
      result.set_outcome(hold ? pb::CLAIM_HELD : pb::CLAIM_CONFIRMED);
      if (!row) {
        result.set_outcome(pb::CLAIM_NODE_GONE);
      } else if (one_in(4)) {
        static constexpr pb::ClaimOutcome outcomes[] = {pb::CLAIM_NO_ROOM, pb::CLAIM_OVER_QUOTA, pb::CLAIM_TIMED_OUT,
                                                        pb::CLAIM_NODE_DRAINING, pb::CLAIM_FENCED};
        result.set_outcome(outcomes[draw_.below(std::size(outcomes))]);
        result.set_reason("so it is");
        if (result.outcome() == pb::CLAIM_NO_ROOM) {
          *result.mutable_row() = *row;
          result.mutable_row()->mutable_held()->set_cpu_milli(1000);
        }
      } else if (!hold && !one_in(8)) {
        auto& replica = add(*row, "ocr", claim.replica_index(), claim.token(), epoch_);
        replica.set_spec_hash(spec_hash);
        replica.set_state(pb::REPLICA_STARTING);
        if (claim.has_member())
          *replica.mutable_member() = claim.member();
      }
      if (one_in(8))
        both([&](auto& book, auto&) { book.on_no_answer({claim_token{claim.token()}}, "no answer", now_); });
      else
        both([&](auto& book, auto& random) { book.on_result(result, now_, random); });
    }
  }

  void stop(const pb::Release& release) {
    for (auto& [name, row] : cluster_.rows) {
      auto& replicas = *row.mutable_profile()->mutable_replicas();
      if (row.node() == release.node())
        replicas.erase(std::remove_if(replicas.begin(), replicas.end(),
                                      [&](auto& replica) { return replica.token() == release.token(); }),
                       replicas.end());
    }
  }

  static std::string text_of(const claim_book::decision& what) {
    std::string result = std::to_string(what.hold.count()) + (what.gang ? encode(*what.gang) : "");
    for (auto& claim : what.claims)
      result += "\nclaim " + claim.ShortDebugString();
    for (auto& claim : what.holds)
      result += "\nhold " + claim.ShortDebugString();
    for (auto& release : what.releases)
      result += "\nrelease " + release.ShortDebugString();
    return result;
  }

  void compare() {
    REQUIRE(left_->keeps_count());
    REQUIRE(right_->keeps_count());
    auto left = left_->describe(now_);
    auto right = right_->describe(now_);
    REQUIRE(left.ShortDebugString() == right.ShortDebugString());
    REQUIRE(left_->exclusions() == right_->exclusions());
    REQUIRE(left_->claims_in_flight() == right_->claims_in_flight());
    if ((traits_ & with_clusters) == 0)
      check_record(left);
  }

  /// The numbers of the record follow from the rows.
  void check_record(const pb::AppDetail& detail) {
    auto& record = detail.record();
    std::map<std::uint32_t, std::set<pb::ReplicaState>> states;
    for (auto& row : detail.replicas())
      states[row.index()].insert(row.state());
    auto wanted = record.deleting() ? 0 : record.has_scaled_to() ? record.scaled_to() : record.spec().replicas();
    std::uint32_t ready = 0;
    std::uint32_t pending = 0;
    std::uint32_t failed = 0;
    for (std::uint32_t index = 0; index < wanted; ++index) {
      auto has = [&](pb::ReplicaState state) { return states[index].count(state) != 0; };
      if (has(pb::REPLICA_READY))
        ++ready;
      else if (has(pb::REPLICA_PLANNED))
        ++pending;
      else if (has(pb::REPLICA_FAILED) && !has(pb::REPLICA_CLAIMED) && !has(pb::REPLICA_STARTING)
               && !has(pb::REPLICA_WARMING) && !has(pb::REPLICA_BACKING_OFF))
        ++failed;
    }
    REQUIRE(record.ready() == ready);
    REQUIRE(record.pending() == pending);
    REQUIRE(record.failed() == failed);
    REQUIRE(record.starting() == wanted - ready - pending - failed);
  }

  random_source draw_;
  std::uint32_t traits_;
  random_source left_random_;
  random_source right_random_;
  pb::AppSpec spec_;
  model_view cluster_;
  std::map<std::string, pb::NodeRow> away_;
  std::unique_ptr<claim_book> left_;
  std::unique_ptr<claim_book> right_;
  std::uint64_t epoch_ = 1;
  std::uint64_t versions_ = 1;
  claim_book::time_point now_ = claim_book::time_point{} + 1h;
  std::vector<question> asked_;
};

} // namespace

TEST_CASE("a book that looks only where something changed decides and tells as one that looks everywhere") {
  static constexpr std::uint32_t kinds[] = {0,
                                            with_updates,
                                            with_gang,
                                            with_clusters,
                                            with_priority,
                                            with_updates | with_spread,
                                            with_gang | with_priority,
                                            with_priority | with_spread | with_updates};
  for (auto traits : kinds) {
    CAPTURE(traits);
    std::size_t claims = 0;
    std::size_t releases = 0;
    std::size_t holds = 0;
    std::size_t settled = 0;
    for (std::uint64_t seed = 1; seed <= 25; ++seed) {
      CAPTURE(seed);
      twins world{seed, traits};
      for (int i = 0; i < 150; ++i)
        world.step();
      claims += world.claims;
      releases += world.releases;
      holds += world.holds;
      settled += world.settled;
    }
    CHECK(claims > 100);
    CHECK(releases > 100);
    CHECK((holds > 100) == ((traits & with_gang) != 0));
    CHECK(settled > 20);
  }
}
