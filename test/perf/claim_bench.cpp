// What optimistic claims cost, and how often they meet: the cores of schedulers (claim_book, planner) and Resources
// (claim_table) with messages that take simulated milliseconds, on one core.
//   cmake --build build/release --target perf_claims && build/release/test/perf_claims conflicts [PERCENT] [SECONDS]
//   build/release/test/perf_claims place [NODES] [REPLICAS] [APPS]
//   build/release/test/perf_claims idle [REPLICAS]
//
// conflicts: 32 apps, one of which is 70 % of the load, on 2,000 nodes that are so full, while 2 % of the replicas end
// every second and are placed anew.  Beside it the same with every app taking the node that its view ranks best.
// place: apps that have nothing yet place REPLICAS in all on empty nodes.  Claims, answers and deltas are encoded and
// decoded as on the wire; what carries them is not measured.
// idle: what one tick of a scheduler and its record cost an app of which all replicas are ready, then while one of them
// is away, and while one more is wanted for which there is no room.

#include "actors/random.hpp"
#include "actors/resource/claim_table.hpp"
#include "actors/resource/cluster_view.hpp"
#include "actors/scheduler/claim_book.hpp"
#include "actors/scheduler/placement_rules.hpp"
#include "messages/ids.hpp"
#include "messages/wire.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

using namespace astra;
using std::chrono::milliseconds;

namespace {

constexpr std::uint64_t gibibyte = 1ULL << 30;
constexpr std::size_t resources = 8;
constexpr std::uint32_t node_cores = 16;

double cpu_s() {
  timespec used{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
  return static_cast<double>(used.tv_sec) + static_cast<double>(used.tv_nsec) * 1e-9;
}

struct setup {
  std::size_t nodes = 2000;
  std::vector<pb::AppSpec> apps;
  /// Share of the replicas that end in a second.
  double churn = 0.0;
  bool best_ranked = false;
  std::uint64_t seed = 1;
};

/// An app that takes the node which everybody thinks best: the control.
class greedy_book {
public:
  explicit greedy_book(pb::AppSpec spec) : spec_(std::move(spec)) {}

  void lose(std::uint32_t index) { missing_.insert(index); }

  std::vector<pb::Claim> tick(const cluster_view& view) {
    std::vector<pb::Claim> result;
    if (missing_.empty())
      return result;
    demand need{spec_.per_replica()};
    std::vector<std::pair<std::int64_t, node_id>> ranked;
    for (auto& [id, entry] : view.nodes())
      if (auto free = free_on(entry.row, need, 0); free.fits(need))
        ranked.emplace_back(-free.cpu_milli, id);
    std::sort(ranked.begin(), ranked.end());
    auto next = ranked.begin();
    for (auto index : std::exchange(missing_, {})) {
      if (next == ranked.end()) {
        missing_.insert(index);
        continue;
      }
      auto& claim = result.emplace_back();
      claim.set_sequence(++sequence_);
      claim.set_token(name_hash(fmt::format("{}/{}", spec_.name(), sequence_)));
      claim.set_node(next->second.value());
      claim.set_node_incarnation(1);
      claim.set_replica_index(index);
      open_[claim.token()] = index;
      ++next;
    }
    return result;
  }

  void on_result(const pb::ClaimResult& result) {
    auto found = open_.find(result.token());
    if (result.outcome() != pb::CLAIM_CONFIRMED)
      missing_.insert(found->second);
    open_.erase(found);
  }

private:
  pb::AppSpec spec_;
  std::set<std::uint32_t> missing_;
  std::map<std::uint64_t, std::uint32_t> open_;
  std::uint64_t sequence_ = 0;
};

class rig {
public:
  explicit rig(setup what) : what_(std::move(what)), random_(what_.seed) {
    for (std::size_t i = 0; i < resources; ++i) {
      tables_.emplace_back(milliseconds{2000});
      homes_.emplace_back(i + 1);
      reachable_.insert(homes_.back());
    }
    for (std::size_t i = 0; i < what_.nodes; ++i)
      add_node(i);
    for (auto& spec : what_.apps) {
      claim_book_options options;
      options.replace_per_s = 1'000'000;
      books_.push_back(std::make_unique<claim_book>(1, options));
      books_.back()->want(spec);
      greedy_.emplace_back(spec);
    }
  }

  /// Starts as many replicas of each app as it wants, without asking anybody.
  void fill() {
    for (std::size_t app = 0; app < what_.apps.size(); ++app)
      for (std::uint32_t index = 0; index < what_.apps[app].replicas(); ++index) {
        demand need{what_.apps[app].per_replica()};
        std::size_t at = 0;
        for (int i = 0;; ++i) {
          at = random_.below(nodes_.size());
          if (free_on(nodes_[at].known, need, 0).fits(need))
            break;
          if (i == 100'000)
            std::abort(); // too full to begin with
        }
        start(at, app, index, name_hash(fmt::format("{}:{}", app, index)));
        nodes_[at].known = node_row{nodes_[at].row};
      }
  }

  void begin() {
    for (std::size_t home = 0; home < resources; ++home) {
      pb::ViewDelta snapshot;
      snapshot.set_origin(homes_[home].value());
      snapshot.set_epoch(1);
      snapshot.set_version(++versions_[home]);
      for (auto& node : nodes_) {
        node.known = node_row{node.row};
        if (node.home == home)
          *snapshot.add_nodes() = node.row;
      }
      if (home == 0)
        for (auto& book : books_)
          *snapshot.add_apps() = book->record({});
      take(snapshot);
    }
    dirty_.clear();
  }

  /// One simulated millisecond.
  void step() {
    ++now_;
    while (!events_.empty() && events_.begin()->first <= now_) {
      auto event = std::move(events_.begin()->second);
      events_.erase(events_.begin());
      event();
    }
    churn();
    for (std::size_t app = 0; app < books_.size(); ++app)
      if ((now_ + 17 * app) % 100 == 0)
        plan(app);
    if (now_ % 25 == 0)
      publish();
  }

  std::uint64_t now() const { return now_; }
  std::size_t running() const { return running_.size(); }

  /// So many run, and the schedulers have heard of all of them.
  bool all_know(std::size_t wanted) const {
    return running_.size() >= wanted && dirty_.empty() && events_.empty()
           && std::all_of(books_.begin(), books_.end(), [](auto& book) { return book->claims_in_flight() == 0; });
  }

  std::uint64_t confirmed = 0;
  std::uint64_t refused = 0;
  std::uint64_t waited_ms = 0;
  /// CPU by what it went into.  Of a cluster's processes each stage is on one side: a scheduler's or a Resource's.
  struct stages {
    double plan = 0.0;
    double observe = 0.0;
    double answers = 0.0;
    double view = 0.0;
    double scheduler_codec = 0.0;
    double table = 0.0;
    double rows = 0.0;
    double resource_codec = 0.0;

    double scheduler() const { return plan + observe + answers + view + scheduler_codec; }
    double resource() const { return table + rows + resource_codec; }
  } spent;

private:
  struct node_state {
    pb::NodeRow row;
    /// As its Resource has it.
    node_row known;
    std::size_t home = 0;
    bool dirty = false;
  };
  struct place {
    std::size_t node = 0;
    std::size_t app = 0;
    std::uint32_t index = 0;
    std::uint64_t token = 0;
  };

  claim_book::time_point time() const { return claim_book::time_point{milliseconds{now_}}; }

  template <class Work>
  static void timed(double& sum, Work work) {
    auto began = cpu_s();
    work();
    sum += cpu_s() - began;
  }

  void after(std::uint64_t ms, std::function<void()> what) { events_.emplace(now_ + ms, std::move(what)); }

  void add_node(std::size_t i) {
    auto& node = nodes_.emplace_back();
    auto name = "node-" + std::to_string(i);
    auto id = make_node_id(name);
    node.home = id.value() % resources;
    auto& row = node.row;
    row.set_node(id.value());
    row.set_incarnation(1);
    row.set_home_epoch(1);
    row.set_liveness(pb::LIVENESS_ONLINE);
    auto& profile = *row.mutable_profile();
    profile.set_node(row.node());
    profile.set_incarnation(1);
    profile.set_version(1);
    profile.set_name(name);
    profile.mutable_capacity()->set_cpu_milli(node_cores * 1000);
    profile.mutable_capacity()->set_memory_bytes(64 * gibibyte);
    node.known = node_row{row};
    places_[id] = i;
  }

  void start(std::size_t node, std::size_t app, std::uint32_t index, std::uint64_t token) {
    auto& profile = *nodes_[node].row.mutable_profile();
    profile.set_version(profile.version() + 1);
    auto& spec = what_.apps[app];
    auto& replica = *profile.add_replicas();
    replica.set_app(spec.name());
    replica.set_index(index);
    replica.set_token(token);
    replica.set_epoch(1);
    replica.set_spec_hash(books_[app]->spec_hash());
    replica.set_state(pb::REPLICA_READY);
    *replica.mutable_resources() = spec.per_replica();
    replica.set_concurrency(1);
    running_.push_back({node, app, index, token});
    if (auto since = lost_.find({app, index}); since != lost_.end()) {
      waited_ms += now_ - since->second;
      lost_.erase(since);
    }
  }

  void touch(std::size_t node) {
    auto& state = nodes_[node];
    state.known = node_row{state.row};
    state.known.set_held(tables_[state.home].held(node_id{state.row.node()}));
    if (!std::exchange(state.dirty, true))
      dirty_.push_back(node);
  }

  void churn() {
    due_ += what_.churn * static_cast<double>(running_.size()) / 1000.0;
    for (; due_ >= 1.0 && !running_.empty(); due_ -= 1.0) {
      auto& victim = running_[random_.below(running_.size())];
      auto& profile = *nodes_[victim.node].row.mutable_profile();
      auto& replicas = *profile.mutable_replicas();
      replicas.erase(
          std::find_if(replicas.begin(), replicas.end(), [&](auto& one) { return one.token() == victim.token; }));
      profile.set_version(profile.version() + 1);
      lost_[{victim.app, victim.index}] = now_;
      // Half a tick on average until the news is out.
      if (what_.best_ranked)
        after(17, [this, app = victim.app, index = victim.index] { greedy_[app].lose(index); });
      touch(victim.node);
      victim = running_.back();
      running_.pop_back();
    }
  }

  void plan(std::size_t app) {
    std::vector<pb::Claim> made;
    timed(spent.plan, [&] {
      made = what_.best_ranked ? greedy_[app].tick(view_)
                               : std::move(books_[app]->tick(view_, reachable_, time(), random_).claims);
    });
    std::vector<pb::ClaimBatch> batches(resources);
    timed(spent.scheduler_codec, [&] {
      for (auto& claim : made)
        *batches[view_.find(node_id{claim.node()})->origin.value() - 1].add_claims() = std::move(claim);
    });
    for (std::size_t home = 0; home < resources; ++home) {
      auto& batch = batches[home];
      if (batch.claims().empty())
        continue;
      std::string bytes;
      timed(spent.scheduler_codec, [&] {
        batch.set_epoch(1);
        *batch.mutable_spec() = what_.apps[app];
        batch.set_spec_hash(books_[app]->spec_hash());
        bytes = encode(batch);
      });
      after(1 + random_.below(2), [this, app, home, bytes = std::move(bytes)] { arbitrate(app, home, bytes); });
    }
  }

  template <class Body>
  static Body decoded(double& sum, const std::string& bytes) {
    Body result;
    timed(sum, [&] {
      if (!result.ParseFromString(bytes))
        std::abort();
    });
    return result;
  }

  void arbitrate(std::size_t app, std::size_t home, const std::string& bytes) {
    auto batch = decoded<pb::ClaimBatch>(spent.resource_codec, bytes);
    pb::ClaimReply reply;
    std::vector<place> granted;
    for (auto& claim : batch.claims())
      granted.push_back({places_.at(node_id{claim.node()}), app, claim.replica_index(), claim.token()});
    timed(spent.table, [&] {
      for (int i = 0; i < batch.claims_size(); ++i) {
        auto node = granted[static_cast<std::size_t>(i)].node;
        *reply.add_results() = tables_[home].arbitrate(batch, batch.claims(i), &nodes_[node].known, time());
      }
    });
    std::string answer;
    timed(spent.resource_codec, [&] { answer = encode(reply); });
    std::size_t kept = 0;
    for (int i = 0; i < reply.results_size(); ++i)
      if (reply.results(i).outcome() == pb::CLAIM_CONFIRMED)
        granted[kept++] = granted[static_cast<std::size_t>(i)];
    granted.resize(kept);
    touch_all(granted);
    // The nodes say yes, and their profiles follow.
    after(2, [this, home, granted] {
      for (auto& one : granted)
        start(one.node, one.app, one.index, one.token);
      timed(spent.table, [&] {
        for (auto& one : granted) {
          auto& row = nodes_[one.node].row;
          tables_[home].settle(node_id{row.node()}, row.profile());
        }
      });
      touch_all(granted);
    });
    after(3 + random_.below(2), [this, app, answer = std::move(answer)] {
      auto told = decoded<pb::ClaimReply>(spent.scheduler_codec, answer);
      timed(spent.answers, [&] {
        for (auto& result : told.results()) {
          ++(result.outcome() == pb::CLAIM_CONFIRMED ? confirmed : refused);
          if (what_.best_ranked)
            greedy_[app].on_result(result);
          else
            books_[app]->on_result(result, time(), random_);
        }
      });
    });
  }

  void touch_all(const std::vector<place>& places) {
    timed(spent.rows, [&] {
      for (auto& one : places)
        touch(one.node);
    });
  }

  void publish() {
    std::vector<pb::ViewDelta> deltas(resources);
    for (auto at : dirty_) {
      auto& node = nodes_[at];
      node.dirty = false;
      auto& delta = deltas[node.home];
      if (delta.nodes().empty()) {
        delta.set_origin(homes_[node.home].value());
        delta.set_epoch(1);
        delta.set_base(versions_[node.home]);
        delta.set_version(++versions_[node.home]);
      }
      auto& row = *delta.add_nodes();
      row = node.row;
      *row.mutable_held() = tables_[node.home].held(node_id{node.row.node()});
    }
    dirty_.clear();
    for (auto& delta : deltas) {
      if (delta.nodes().empty())
        continue;
      std::string bytes;
      timed(spent.resource_codec, [&] { bytes = encode(delta); });
      after(4, [this, bytes = std::move(bytes)] { take(decoded<pb::ViewDelta>(spent.scheduler_codec, bytes)); });
    }
  }

  void take(const pb::ViewDelta& delta) {
    view_changes changes;
    timed(spent.view, [&] { view_.apply(delta, time(), changes); });
    if (what_.best_ranked)
      return;
    timed(spent.observe, [&] {
      for (auto& book : books_)
        for (auto id : changes.nodes)
          book->observe(*view_.find(id), time());
    });
  }

  setup what_;
  random_source random_;
  std::vector<claim_table> tables_;
  std::vector<resource_id> homes_;
  std::set<resource_id> reachable_;
  std::vector<node_state> nodes_;
  std::map<node_id, std::size_t> places_;
  std::vector<std::unique_ptr<claim_book>> books_;
  std::vector<greedy_book> greedy_;
  cluster_view view_;
  std::map<std::size_t, std::uint64_t> versions_;
  std::vector<std::size_t> dirty_;
  std::vector<place> running_;
  std::map<std::pair<std::size_t, std::uint32_t>, std::uint64_t> lost_;
  std::multimap<std::uint64_t, std::function<void()>> events_;
  std::uint64_t now_ = 0;
  double due_ = 0.0;
};

pb::AppSpec app_of(std::size_t number, std::uint32_t replicas, std::uint32_t cores) {
  pb::AppSpec spec;
  spec.set_name(fmt::format("app-{:02}", number));
  spec.set_replicas(replicas);
  spec.mutable_per_replica()->set_cpu_milli(cores * 1000);
  spec.mutable_per_replica()->set_memory_bytes(gibibyte);
  spec.set_concurrency(1);
  return spec;
}

void conflicts(double full, std::uint64_t seconds) {
  for (auto best_ranked : {false, true}) {
    setup what;
    what.best_ranked = best_ranked;
    what.churn = 0.02;
    auto cores = static_cast<double>(what.nodes * node_cores) * full;
    constexpr std::size_t apps = 32;
    for (std::size_t i = 0; i < apps; ++i) {
      auto size = static_cast<std::uint32_t>(1 + i % 4);
      auto share = i == 0 ? 0.7 : 0.3 / (apps - 1);
      what.apps.push_back(app_of(i, static_cast<std::uint32_t>(cores * share) / size, size));
    }
    rig world{std::move(what)};
    world.fill();
    world.begin();
    while (world.now() < 1000 * seconds)
      world.step();
    auto name = best_ranked ? "best-ranked node" : "astra";
    fmt::print("{:<18} {:.0f} % full, {} s: {} placed, {} refused, {:.4f} refused per placed, {:.0f} ms from loss to "
               "running, {} running at the end\n",
               name, 100 * full, seconds, world.confirmed, world.refused,
               static_cast<double>(world.refused) / static_cast<double>(std::max<std::uint64_t>(world.confirmed, 1)),
               static_cast<double>(world.waited_ms) / static_cast<double>(std::max<std::uint64_t>(world.confirmed, 1)),
               world.running());
  }
}

void place(std::size_t nodes, std::uint32_t replicas, std::uint32_t apps) {
  setup what;
  what.nodes = nodes;
  for (std::uint32_t i = 0; i < apps; ++i)
    what.apps.push_back(app_of(i, replicas / apps, 1));
  auto wanted = static_cast<std::size_t>(replicas / apps) * apps;
  rig world{std::move(what)};
  world.begin();
  world.spent = {};
  auto began = cpu_s();
  while (!world.all_know(wanted)) {
    world.step();
    if (world.now() % 1000 == 0)
      fmt::print("{:6} ms simulated, {:7.1f} s of CPU: {} of {} run\n", world.now(), cpu_s() - began, world.running(),
                 wanted);
    if (world.now() > 600'000)
      std::exit(1);
  }
  auto count = static_cast<double>(wanted);
  auto all = cpu_s() - began;
  auto us = [&](double seconds) { return 1e6 * seconds / count; };
  auto& spent = world.spent;
  auto astra = spent.scheduler() + spent.resource();
  fmt::print("{} replicas of {} apps on {} nodes: {} ms simulated, {} refused\n", wanted, apps, nodes, world.now(),
             world.refused);
  fmt::print("us of CPU per committed claim:\n"
             "  schedulers {:6.2f}: plan {:.2f}, observe {:.2f}, answers {:.2f}, view {:.2f}, messages {:.2f}\n"
             "  Resources  {:6.2f}: claim table {:.2f}, rows {:.2f}, messages {:.2f}\n"
             "  this bench {:6.2f}: what nodes would do, copies\n",
             us(spent.scheduler()), us(spent.plan), us(spent.observe), us(spent.answers), us(spent.view),
             us(spent.scheduler_codec), us(spent.resource()), us(spent.table), us(spent.rows), us(spent.resource_codec),
             us(all - astra));
  fmt::print("claims per second of CPU: {:.0f} with the bench, {:.0f} without it; of two cores, one for schedulers and "
             "one for Resources, {:.0f}\n",
             count / all, count / astra, count / std::max(spent.scheduler(), spent.resource()));
}

void idle(std::uint32_t replicas) {
  auto spec = app_of(0, replicas, 1);
  claim_book book{1, {}};
  book.want(spec);
  cluster_view view;
  pb::ViewDelta snapshot;
  snapshot.set_origin(1);
  snapshot.set_epoch(1);
  snapshot.set_version(1);
  for (std::uint32_t i = 0; i < replicas; ++i) {
    auto& row = *snapshot.add_nodes();
    auto name = "node-" + std::to_string(i);
    row.set_node(make_node_id(name).value());
    row.set_incarnation(1);
    row.set_home_epoch(1);
    row.set_liveness(pb::LIVENESS_ONLINE);
    auto& profile = *row.mutable_profile();
    profile.set_node(row.node());
    profile.set_incarnation(1);
    profile.set_version(1);
    profile.set_name(name);
    profile.mutable_capacity()->set_cpu_milli(1000);
    profile.mutable_capacity()->set_memory_bytes(64 * gibibyte);
    auto& replica = *profile.add_replicas();
    replica.set_app(spec.name());
    replica.set_index(i);
    replica.set_token(name_hash(name));
    replica.set_epoch(1);
    replica.set_spec_hash(book.spec_hash());
    replica.set_state(pb::REPLICA_READY);
    *replica.mutable_resources() = spec.per_replica();
  }
  view_changes changes;
  view.apply(snapshot, {}, changes);
  claim_book::time_point now{};
  auto began = cpu_s();
  for (auto id : changes.nodes)
    book.observe(*view.find(id), now);
  fmt::print("{} replicas: {:.2f} us for each that is observed first\n", replicas, 1e6 * (cpu_s() - began) / replicas);
  random_source random{1};
  auto ticks = [&](const char* what) {
    constexpr int count = 10;
    std::size_t ready = 0;
    for (auto warm : {true, false}) {
      began = cpu_s();
      for (int i = 0; i < (warm ? 1 : count); ++i) {
        now += milliseconds{100};
        book.tick(view, {resource_id{1}}, now, random);
        ready = book.record(now).ready();
      }
    }
    fmt::print("{:<32} {:9.3f} ms per tick and record, {} ready\n", what, 1e3 * (cpu_s() - began) / count, ready);
  };
  ticks("all ready");
  auto away = snapshot.nodes(0);
  away.mutable_profile()->mutable_replicas(0)->set_state(pb::REPLICA_WARMING);
  node_entry entry;
  entry.row = node_row{away};
  entry.origin = resource_id{1};
  book.observe(entry, now);
  ticks("one is not ready");
  spec.set_replicas(replicas + 1);
  book.want(spec);
  ticks("one more has no room");
}

} // namespace

int main(int argc, char** argv) {
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  auto number = [&](int at, unsigned long otherwise) {
    return argc > at ? std::strtoul(argv[at], nullptr, 10) : otherwise;
  };
  std::string_view verb = argc > 1 ? argv[1] : "";
  if (verb == "conflicts") {
    conflicts(static_cast<double>(number(2, 95)) / 100.0, number(3, 20));
    return 0;
  }
  if (verb == "place") {
    place(number(2, 1'000'000), static_cast<std::uint32_t>(number(3, 1'000'000)),
          static_cast<std::uint32_t>(number(4, 1)));
    return 0;
  }
  if (verb == "idle") {
    idle(static_cast<std::uint32_t>(number(2, 1'000'000)));
    return 0;
  }
  std::fprintf(
      stderr, "usage: perf_claims conflicts [PERCENT] [SECONDS] | place [NODES] [REPLICAS] [APPS] | idle [REPLICAS]\n");
  return 2;
}
