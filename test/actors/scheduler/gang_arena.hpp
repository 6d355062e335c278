#pragma once

#include "actors/resource/claim_table.hpp"
#include "actors/resource/cluster_view.hpp"
#include "actors/scheduler/claim_book.hpp"
#include "test/actors/scheduler/model_cluster.hpp"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace astra::test {

/// Schedulers' books and Resources' tables with messages between them that take 1 to 5 ms and may be lost, in simulated
/// time.  Every node confirms what its Resource asks it; replicas are ready at once.
class gang_arena {
public:
  using time_point = claim_book::time_point;
  using milliseconds = std::chrono::milliseconds;

  struct setup {
    std::uint64_t seed = 1;
    std::size_t nodes = 10;
    std::size_t resources = 2;
    std::uint32_t cores = 1;
    std::uint64_t lose_percent = 0;
    milliseconds plan{100};
    milliseconds view{50};
    milliseconds timeout{5000};
  };

  explicit gang_arena(const setup& what) : setup_(what), random_(what.seed), tables_() {
    for (std::size_t r = 0; r < what.resources; ++r) {
      auto id = make_resource_id("r" + std::to_string(r));
      homes_.push_back(id);
      tables_.emplace(id, claim_table{milliseconds{5000}});
    }
    for (std::size_t n = 0; n < what.nodes; ++n) {
      auto row = make_row("n" + std::to_string(n), what.cores, 1024);
      home_of_[row.node()] = homes_[n % homes_.size()];
      rows_[row.node()] = std::move(row);
    }
  }

  struct app {
    std::string name;
    std::unique_ptr<claim_book> book;
    time_point began;
    std::optional<time_point> placed;
    std::optional<time_point> removed;
    bool finished = false;
    milliseconds runs_for{0};
    std::uint64_t epoch = 1;
  };

  /// Fills a node with something that stays.
  void occupy(std::size_t node, std::uint32_t cores) {
    auto& row = rows_.at(make_node_id("n" + std::to_string(node)).value());
    auto& replica = *row.mutable_profile()->add_replicas();
    replica.set_app("others");
    replica.set_token(random_.next());
    replica.set_state(pb::REPLICA_READY);
    replica.mutable_resources()->set_cpu_milli(1000 * cores);
  }

  void publish() {
    for (auto home : homes_) {
      pb::ViewDelta delta;
      delta.set_origin(home.value());
      delta.set_epoch(1);
      delta.set_base(version_);
      delta.set_version(version_ + 1);
      for (auto& [id, row] : rows_)
        if (home_of_.at(id) == home && (version_ == 0 || changed_.count(id) != 0))
          *delta.add_nodes() = row;
      view_changes changes;
      view_.apply(delta, now, changes);
      for (auto& one : apps)
        for (auto id : changes.nodes)
          if (auto entry = view_.find(id))
            one->book->observe(*entry, now);
    }
    ++version_;
    changed_.clear();
  }

  /// @param runs_for From when it is placed until it is deleted; 0: for ever.
  app& add(pb::AppSpec spec, milliseconds delay, milliseconds runs_for) {
    auto& result = *apps.emplace_back(std::make_unique<app>());
    result.name = spec.name();
    result.runs_for = runs_for;
    result.began = now + delay;
    claim_book_options options;
    options.claim_timeout = setup_.timeout;
    result.book = std::make_unique<claim_book>(result.epoch, options);
    result.book->want(std::move(spec));
    for (auto& [id, entry] : view_.nodes())
      result.book->observe(entry, now);
    at(delay, [this, &result] { tick(result); });
    return result;
  }

  /// Until `done`, or for so long.
  bool run(milliseconds limit, const std::function<bool()>& done) {
    auto end = now + limit;
    if (!std::exchange(started_, true))
      every(setup_.view, [this] { publish(); });
    for (auto home : homes_)
      if (!std::exchange(sweeping_[home], true))
        every(milliseconds{100}, [this, home] {
          for (auto node : tables_.at(home).expire(now))
            touch(node.value());
        });
    while (now < end && !done() && !events_.empty()) {
      auto next = events_.begin();
      now = next->first;
      auto what = std::move(next->second);
      events_.erase(next);
      what();
    }
    return done();
  }

  void every(milliseconds interval, std::function<void()> what) {
    at(interval, [this, interval, what] {
      what();
      every(interval, what);
    });
  }

  void at(std::chrono::microseconds delay, std::function<void()> what) {
    events_.emplace(now + delay, std::move(what));
  }

  /// What one app's replicas number, as nodes have it.
  std::size_t running(const std::string& name) const {
    std::size_t result = 0;
    for (auto& [id, row] : rows_)
      for (auto& replica : row.profile().replicas())
        result += replica.app() == name ? 1 : 0;
    return result;
  }

  /// No node has more than it has room for.
  bool sound() const {
    return std::all_of(rows_.begin(), rows_.end(), [](auto& entry) {
      std::uint64_t used = 0;
      for (auto& replica : entry.second.profile().replicas())
        used += replica.resources().cpu_milli();
      return used <= entry.second.profile().capacity().cpu_milli();
    });
  }

  /// Somebody else takes a core on a node at random, or gives one back, at the Resource and the node at once.
  void churn() {
    auto found = rows_.begin();
    std::advance(found, static_cast<std::ptrdiff_t>(random_.below(rows_.size())));
    auto& [id, row] = *found;
    auto& replicas = *row.mutable_profile()->mutable_replicas();
    auto others = std::find_if(replicas.begin(), replicas.end(), [](auto& one) { return one.app() == "churn"; });
    if (others != replicas.end()) {
      replicas.erase(others);
    } else {
      auto& table = tables_.at(home_of_.at(id));
      pb::Resources one;
      one.set_cpu_milli(1000);
      if (!why_no_room(one, free_resources(row.profile(), table.held(node_id{id}))).empty())
        return;
      auto& replica = *row.mutable_profile()->add_replicas();
      replica.set_app("churn");
      replica.set_token(random_.next());
      replica.set_state(pb::REPLICA_READY);
      *replica.mutable_resources() = one;
    }
    touch(id);
  }

  time_point now{std::chrono::hours{1}};
  std::vector<std::unique_ptr<app>> apps;
  std::uint64_t refused = 0;
  std::uint64_t asked = 0;

private:
  std::chrono::microseconds latency() { return std::chrono::microseconds{1000 + random_.below(4000)}; }
  bool lost() { return random_.below(100) < setup_.lose_percent; }

  void touch(std::uint64_t node) {
    auto& row = rows_.at(node);
    row.clear_held();
    *row.mutable_held() = tables_.at(home_of_.at(node)).held(node_id{node});
    row.mutable_profile()->set_version(row.profile().version() + 1);
    changed_.insert(node);
  }

  void tick(app& who) {
    step(who);
    if (!who.finished)
      at(setup_.plan, [this, &who] { tick(who); });
  }

  void step(app& who) {
    auto& book = *who.book;
    auto wanted = book.spec().replicas();
    if (!who.placed && running(who.name) == wanted) {
      who.placed = now;
      if (who.runs_for.count() > 0)
        at(who.runs_for, [this, &who] {
          who.removed = now;
          who.book->remove();
        });
    }
    if (book.gone(now)) {
      who.finished = true;
      return;
    }
    auto wall_ms = std::chrono::duration_cast<milliseconds>(now.time_since_epoch()).count();
    auto wishes = book.tick(view_, {homes_.begin(), homes_.end()}, now, random_, static_cast<std::uint64_t>(wall_ms));
    pb::ClaimBatch kind;
    kind.set_epoch(who.epoch);
    *kind.mutable_spec() = book.spec();
    kind.set_spec_hash(book.spec_hash());
    if (wishes.gang)
      *kind.mutable_gang() = *wishes.gang;
    send(who, wishes.claims, kind);
    kind.set_hold_ms(static_cast<std::uint64_t>(wishes.hold.count()));
    send(who, wishes.holds, kind);
    for (auto& release : wishes.releases)
      if (!lost())
        at(latency(), [this, release] { stop(release); });
  }

  void send(app& who, const std::vector<pb::Claim>& claims, const pb::ClaimBatch& kind) {
    std::map<resource_id, pb::ClaimBatch> batches;
    for (auto& claim : claims) {
      auto [batch, fresh] = batches.try_emplace(home_of_.at(claim.node()), kind);
      *batch->second.add_claims() = claim;
    }
    for (auto& [home, batch] : batches) {
      std::vector<claim_token> tokens;
      for (auto& claim : batch.claims())
        tokens.emplace_back(claim.token());
      asked += tokens.size();
      auto answered = std::make_shared<bool>(false);
      at(setup_.timeout, [this, &who, tokens, answered] {
        if (!std::exchange(*answered, true))
          who.book->on_no_answer(tokens, "no answer", now);
      });
      if (!lost())
        at(latency(),
           [this, &who, target = home, asked_of = batch, answered] { arbitrate(who, target, asked_of, answered); });
    }
  }

  void arbitrate(app& who, resource_id home, const pb::ClaimBatch& batch, const std::shared_ptr<bool>& answered) {
    auto& table = tables_.at(home);
    auto results = std::make_shared<std::vector<pb::ClaimResult>>();
    std::vector<pb::Claim> forward;
    for (auto& claim : batch.claims()) {
      node_row row{rows_.at(claim.node())};
      auto result = table.arbitrate(batch, claim, &row, now);
      if (result.outcome() == pb::CLAIM_CONFIRMED)
        forward.push_back(claim);
      refused += result.outcome() != pb::CLAIM_CONFIRMED && result.outcome() != pb::CLAIM_HELD ? 1 : 0;
      results->push_back(std::move(result));
      touch(claim.node());
    }
    auto back = latency();
    if (!forward.empty()) {
      // To the nodes and back.
      auto there = latency();
      back += there + latency();
      at(there, [this, forward, spec = batch.spec(), hash = batch.spec_hash(), epoch = batch.epoch(), home] {
        for (auto& claim : forward)
          start(claim, spec, hash, epoch, home);
      });
    }
    if (lost())
      return;
    at(back, [this, &who, results, answered] {
      if (std::exchange(*answered, true))
        return;
      for (auto& result : *results)
        who.book->on_result(result, now, random_);
      if (!who.finished && who.book->impatient(now))
        step(who);
    });
  }

  void start(const pb::Claim& claim, const pb::AppSpec& spec, std::uint64_t hash, std::uint64_t epoch,
             resource_id home) {
    auto& row = rows_.at(claim.node());
    auto& replicas = row.profile().replicas();
    if (buried_.count(claim.token()) != 0
        || std::any_of(replicas.begin(), replicas.end(), [&](auto& one) { return one.token() == claim.token(); }))
      return;
    auto& replica = *row.mutable_profile()->add_replicas();
    replica.set_app(spec.name());
    replica.set_index(claim.replica_index());
    replica.set_token(claim.token());
    replica.set_epoch(epoch);
    replica.set_spec_hash(hash);
    replica.set_state(pb::REPLICA_READY);
    *replica.mutable_resources() = spec.per_replica();
    tables_.at(home).settle(node_id{claim.node()}, row.profile());
    touch(claim.node());
  }

  void stop(const pb::Release& release) {
    tables_.at(home_of_.at(release.node())).release(claim_token{release.token()});
    buried_.insert(release.token());
    auto& replicas = *rows_.at(release.node()).mutable_profile()->mutable_replicas();
    replicas.erase(
        std::remove_if(replicas.begin(), replicas.end(), [&](auto& one) { return one.token() == release.token(); }),
        replicas.end());
    touch(release.node());
  }

  setup setup_;
  random_source random_;
  std::vector<resource_id> homes_;
  std::map<resource_id, claim_table> tables_;
  std::map<resource_id, bool> sweeping_;
  std::map<std::uint64_t, pb::NodeRow> rows_;
  std::map<std::uint64_t, resource_id> home_of_;
  std::set<std::uint64_t> changed_;
  std::set<std::uint64_t> buried_;
  std::uint64_t version_ = 0;
  cluster_view view_;
  bool started_ = false;
  std::multimap<time_point, std::function<void()>> events_;
};

/// A gang whose replicas take a core each.
inline pb::AppSpec gang_app(const std::string& name, std::uint32_t replicas) {
  auto spec = small_app(name, replicas);
  spec.mutable_per_replica()->set_memory_bytes(0);
  spec.set_gang(true);
  return spec;
}

/// Eight gangs that each need more than half of what there is; each runs for two seconds and is deleted.
struct contention {
  explicit contention(std::uint64_t seed, std::uint64_t lose_percent = 0)
    : arena({.seed = seed, .lose_percent = lose_percent}) {
    random_source draw{seed * 7919 + 1};
    arena.publish();
    for (int i = 0; i < 8; ++i)
      arena.add(gang_app("gang" + std::to_string(i), 6 + static_cast<std::uint32_t>(draw.below(5))),
                std::chrono::milliseconds{draw.below(500)}, std::chrono::milliseconds{2000});
  }

  bool run(std::chrono::milliseconds limit) {
    return arena.run(limit, [this] {
      return std::all_of(arena.apps.begin(), arena.apps.end(), [](auto& one) { return one->finished; });
    });
  }

  gang_arena arena;
};

/// One gang on nodes of eight cores of which so many are taken, while others come and go.
/// @returns from the wish to the last replica; none: not within ten seconds.
inline std::optional<double> gang_latency_ms(std::uint64_t seed, std::uint32_t replicas, std::size_t nodes, double full,
                                             std::size_t churn_per_s, std::uint64_t* refused = nullptr) {
  gang_arena arena{{.seed = seed, .nodes = nodes, .resources = 4, .cores = 8}};
  random_source draw{seed * 104729 + 3};
  std::vector<std::uint32_t> taken(nodes, 8);
  for (auto left = static_cast<std::size_t>(static_cast<double>(8 * nodes) * (1.0 - full)); left > 0; --left) {
    auto node = draw.below(nodes);
    while (taken[node] == 0)
      node = draw.below(nodes);
    --taken[node];
  }
  for (std::size_t i = 0; i < nodes; ++i)
    if (taken[i] > 0)
      arena.occupy(i, taken[i]);
  arena.publish();
  if (churn_per_s > 0)
    arena.every(std::chrono::milliseconds{1}, [&] {
      for (std::size_t i = 0; i < churn_per_s / 1000; ++i)
        arena.churn();
    });
  arena.run(std::chrono::milliseconds{static_cast<std::int64_t>(200 + draw.below(100))}, [] { return false; });
  auto& app = arena.add(gang_app("big", replicas), std::chrono::milliseconds{0}, std::chrono::milliseconds{0});
  auto done = arena.run(std::chrono::seconds{10}, [&] { return arena.running("big") == replicas; });
  if (refused)
    *refused += arena.refused;
  if (!done)
    return std::nullopt;
  return std::chrono::duration<double, std::milli>(arena.now - app.began).count();
}

} // namespace astra::test
