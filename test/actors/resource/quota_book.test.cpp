#include "actors/resource/quota_book.hpp"

#include "actors/random.hpp"
#include "actors/resource/cluster_view.hpp"

#include <doctest/doctest.h>

#include <functional>
#include <memory>
#include <queue>
#include <set>

using namespace astra;
using namespace std::chrono_literals;

namespace {

using time_point = quota_book::time_point;
using std::chrono::milliseconds;

quota_options search_quota(std::uint32_t cpu_milli) {
  quota_options result;
  result.business = "search";
  result.cpu_milli = cpu_milli;
  return result;
}

/// Resources with clocks of their own, the links between them, nodes that move, and claims; what they send is delayed
/// and lost as a test likes.
class model {
public:
  struct node {
    std::size_t home = 0;
    std::uint64_t epoch = 1;
    std::map<std::uint64_t, std::uint32_t> replicas;
  };

  struct row {
    std::uint64_t epoch = 0;
    std::map<std::uint64_t, std::uint32_t> replicas;
  };

  struct shard {
    std::uint64_t incarnation = 0;
    std::uint64_t version = 0;
    std::map<std::uint64_t, row> rows;
  };

  struct resource : quota_evidence {
    std::string name;
    resource_id id;
    std::uint64_t incarnation = 0;
    bool up = false;
    double rate = 1.0;
    milliseconds offset{0};
    std::unique_ptr<quota_book> book;
    std::map<std::size_t, shard> view;
    std::map<std::size_t, milliseconds> heard;
    std::map<std::size_t, milliseconds> lost;
    std::size_t own = 0;

    /// Merged: the row with the latest home.
    std::map<std::uint64_t, std::pair<std::size_t, const row*>> merged() const {
      std::map<std::uint64_t, std::pair<std::size_t, const row*>> result;
      for (auto& [origin, rows] : view)
        for (auto& [node, row] : rows.rows) {
          auto& best = result[node];
          if (!best.second || best.second->epoch < row.epoch)
            best = {origin, &row};
        }
      return result;
    }

    std::vector<use> used(const std::string&) const override {
      std::vector<use> result;
      for (auto& [node, where] : merged()) {
        std::uint32_t sum = 0;
        for (auto& [token, cpu] : where.second->replicas)
          sum += cpu;
        if (sum == 0)
          continue;
        result.push_back({node_id{node}, {}});
        result.back().amount.set_cpu_milli(sum);
      }
      return result;
    }
    bool knows(node_id node) const override { return merged().count(node.value()) != 0; }
    std::uint32_t running(const std::string&) const override {
      std::size_t sum = 0;
      for (auto& [node, where] : merged())
        sum += where.second->replicas.size();
      return static_cast<std::uint32_t>(sum);
    }
    sighting look(node_id node, std::uint64_t, claim_token token) const override {
      auto& mine = view.at(own).rows;
      auto found = mine.find(node.value());
      if (found == mine.end() || found->second.replicas.count(token.value()) == 0)
        return sighting::unseen;
      for (auto& [origin, rows] : view)
        if (auto other = rows.rows.find(node.value());
            other != rows.rows.end() && other->second.epoch > found->second.epoch)
          return sighting::unseen;
      return sighting::shown;
    }
    std::uint64_t version() const override { return view.at(own).version; }
  };

  model(std::uint64_t seed, std::size_t resources, std::size_t nodes, std::uint32_t quota)
    : random_(seed), quota_(quota), resources_(resources), nodes_(nodes) {
    for (std::size_t i = 0; i < resources; ++i) {
      auto& one = resources_[i];
      one.own = i;
      one.name = "r" + std::to_string(i + 1);
      one.id = make_resource_id(one.name);
      one.rate = 0.96 + 0.08 * random_.unit();
      one.offset = milliseconds{random_.below(1'000'000)};
      start(i);
      for (std::size_t j = 0; j < i; ++j)
        cut_[{j, i}] = false;
      every(milliseconds{100}, [this, i] { sweep(i); });
      every(milliseconds{1000}, [this, i] { renew_all(i); });
      every(milliseconds{250}, [this, i] { publish(i); });
    }
    for (std::size_t n = 0; n < nodes; ++n) {
      nodes_[n].home = n % resources;
      every(milliseconds{500}, [this, n] { report(n); });
    }
  }

  void run(milliseconds time) {
    auto until = now_ + time;
    while (!events_.empty() && events_.top().at <= until) {
      auto next = events_.top();
      events_.pop();
      now_ = next.at;
      next.what();
    }
    now_ = until;
  }

  void start(std::size_t i) {
    auto& one = resources_[i];
    one.up = true;
    ++one.incarnation;
    one.view.clear();
    one.heard.clear();
    one.lost.clear();
    one.view[i].incarnation = one.incarnation;
    one.book = std::make_unique<quota_book>(one.id, one.name, one.incarnation,
                                            std::vector<quota_options>{search_quota(quota_)}, clock(i));
    one.book->set_mesh({}, resources_.size());
  }

  void kill(std::size_t i) { resources_[i].up = false; }

  void cut(std::size_t i, std::size_t j, bool off) { cut_[{std::min(i, j), std::max(i, j)}] = off; }

  /// One claim of a replica on a node.
  bool claim(std::size_t n, std::uint32_t cpu) {
    auto home = nodes_[n].home;
    auto& at = resources_[home];
    if (!at.up)
      return false;
    auto token = ++last_token_;
    pb::AppSpec spec;
    spec.set_business("search");
    spec.mutable_per_replica()->set_cpu_milli(cpu);
    pb::Claim claim;
    claim.set_token(token);
    claim.set_node(n + 1);
    last_reason = at.book->claim(spec, claim, at, clock(home));
    if (!last_reason.empty())
      return false;
    out_[token] = cpu;
    most_given = std::max(most_given, given());
    auto incarnation = at.incarnation;
    later(delay(), [this, n, token, cpu, home, incarnation] {
      if (random_.unit() < 0.1) {
        out_.erase(token);
        later(delay(), [this, home, token, incarnation] {
          if (resources_[home].incarnation == incarnation)
            resources_[home].book->refused(claim_token{token});
        });
        return;
      }
      nodes_[n].replicas[token] = cpu;
      later(delay(), [this, n] { report(n); });
    });
    return true;
  }

  void end_one(std::size_t n) {
    auto& replicas = nodes_[n].replicas;
    if (replicas.empty())
      return;
    out_.erase(replicas.begin()->first);
    replicas.erase(replicas.begin());
    later(delay(), [this, n] { report(n); });
  }

  void move(std::size_t n, std::size_t to) {
    nodes_[n].home = to;
    ++nodes_[n].epoch;
    later(delay(), [this, n] { report(n); });
  }

  std::uint64_t given() const {
    std::uint64_t sum = 0;
    for (auto& [token, cpu] : out_)
      sum += cpu;
    return sum;
  }

  void every(milliseconds interval, std::function<void()> what) {
    later(milliseconds{random_.below(static_cast<std::uint64_t>(interval.count()))}, [this, interval, what] {
      what();
      repeat(interval, what);
    });
  }

  random_source& random() { return random_; }
  resource& at(std::size_t i) { return resources_[i]; }
  time_point clock(std::size_t i) const {
    auto& one = resources_[i];
    return time_point{} + std::chrono::hours{1} + one.offset
           + std::chrono::duration_cast<time_point::duration>(
               std::chrono::duration<double, std::milli>(static_cast<double>(now_.count()) * one.rate));
  }

  std::uint64_t most_given = 0;
  std::string last_reason;
  double loss = 0.0;

private:
  struct event {
    milliseconds at;
    std::uint64_t number;
    std::function<void()> what;
    bool operator<(const event& other) const { return std::tie(at, number) > std::tie(other.at, other.number); }
  };

  void later(milliseconds after, std::function<void()> what) { events_.push({now_ + after, ++last_event_, what}); }

  void repeat(milliseconds interval, const std::function<void()>& what) {
    later(interval, [this, interval, what] {
      what();
      repeat(interval, what);
    });
  }

  milliseconds delay() { return milliseconds{1 + random_.below(60)}; }

  bool linked(std::size_t i, std::size_t j) const { return !cut_.at({std::min(i, j), std::max(i, j)}); }

  /// In order, as between two actors, or not at all.
  void send(std::size_t i, std::size_t j, std::function<void()> what) {
    if (!linked(i, j) || random_.unit() < loss)
      return;
    auto& last = in_order_[{i, j}];
    last = std::max(last, now_ + delay());
    auto to = resources_[j].incarnation;
    events_.push({last, ++last_event_, [this, j, to, what] {
                    if (resources_[j].up && resources_[j].incarnation == to)
                      what();
                  }});
  }

  void report(std::size_t n) {
    auto& from = nodes_[n];
    auto& home = resources_[from.home];
    if (!home.up) {
      // It looks for another one after a while.
      if (++silent_[n] >= 5) {
        silent_[n] = 0;
        move(n, random_.below(resources_.size()));
      }
      return;
    }
    silent_[n] = 0;
    auto& shard = home.view[from.home];
    shard.rows[n + 1] = {from.epoch, from.replicas};
    ++shard.version;
  }

  void publish(std::size_t i) {
    auto& from = resources_[i];
    if (!from.up)
      return;
    for (std::size_t j = 0; j < resources_.size(); ++j)
      if (j != i)
        send(i, j, [this, i, j, copy = from.view[i]] {
          auto& to = resources_[j];
          to.view[i] = copy;
          to.heard[i] = now_;
          for (auto& [node, row] : copy.rows) {
            auto own = to.view[j].rows.find(node);
            if (own != to.view[j].rows.end() && own->second.epoch < row.epoch) {
              to.view[j].rows.erase(own);
              ++to.view[j].version;
            }
          }
        });
  }

  void sweep(std::size_t i) {
    auto& one = resources_[i];
    if (!one.up)
      return;
    std::map<resource_id, std::string> heard;
    for (auto& [j, when] : one.heard) {
      if (now_ - when < 3000ms) {
        heard[resources_[j].id] = resources_[j].name;
        one.lost.erase(j);
        continue;
      }
      auto since = one.lost.try_emplace(j, now_).first->second;
      if (now_ - since >= 10000ms)
        one.view[j].rows.clear();
    }
    one.book->set_mesh(std::move(heard), resources_.size());
    one.book->tick(one, clock(i));
    for (std::size_t j = 0; j < resources_.size(); ++j)
      if (j != i && one.book->urgent(resources_[j].id, clock(i)))
        renew(i, j);
  }

  void renew_all(std::size_t i) {
    if (resources_[i].up)
      for (std::size_t j = 0; j < resources_.size(); ++j)
        if (j != i)
          renew(i, j);
  }

  void renew(std::size_t i, std::size_t j) {
    auto& one = resources_[i];
    pb::Subscribe request;
    auto knows = one.view.find(j);
    if (knows != one.view.end() && one.heard.count(j) != 0 && now_ - one.heard[j] < 3000ms) {
      auto& have = *request.add_have();
      have.set_origin(resources_[j].id.value());
      have.set_epoch(knows->second.incarnation);
      have.set_version(knows->second.version);
    }
    auto asked = clock(i);
    auto number = one.book->ask(resources_[j].id, asked, request);
    auto incarnation = one.incarnation;
    send(i, j, [this, i, j, request, number, asked, incarnation] {
      auto& other = resources_[j];
      pb::SubscribeAck ack;
      other.book->answer(resources_[i].id, request, other, clock(j), ack);
      send(j, i, [this, i, j, ack, number, asked, incarnation] {
        if (resources_[i].incarnation == incarnation)
          resources_[i].book->take(resources_[j].id, number, asked, ack, clock(i));
      });
    });
  }

  random_source random_;
  std::uint32_t quota_;
  std::vector<resource> resources_;
  std::vector<node> nodes_;
  std::map<std::pair<std::size_t, std::size_t>, bool> cut_;
  std::map<std::pair<std::size_t, std::size_t>, milliseconds> in_order_;
  std::map<std::size_t, int> silent_;
  /// Given out and neither refused nor ended: by token.
  std::map<std::uint64_t, std::uint32_t> out_;
  std::uint64_t last_token_ = 0;
  std::uint64_t last_event_ = 0;
  milliseconds now_{0};
  std::priority_queue<event> events_;
};

/// Claims in all places, now and then, of 1 to 3 cores.
void claim_everywhere(model& world, std::size_t nodes) {
  world.every(30ms, [&world, nodes] {
    world.claim(world.random().below(nodes), 1000 * (1 + static_cast<std::uint32_t>(world.random().below(3))));
  });
}

} // namespace

TEST_CASE("a single Resource gives out its whole quota 5 s after its start, and not a core more") {
  model world{1, 1, 2, 10'000};
  CHECK_FALSE(world.claim(0, 4000));
  CHECK(world.last_reason
        == "business search has a quota ([[resource.quotas]]), and r1's lease of it is being renewed");
  world.run(6s);
  auto granted = 0;
  for (auto i = 0; i < 40; ++i) {
    granted += world.claim(0, 4000) ? 1 : 0;
    world.run(100ms);
  }
  CHECK(world.most_given == 8000);
  CHECK(granted >= 2);
  CHECK(world.last_reason
        == "business search has 8 of 10 cores in use, and 4 are needed; quota of [[resource.quotas]]");
}

TEST_CASE("what ends is given out again within a second, at whichever Resource") {
  model world{2, 3, 6, 4000};
  world.run(10s);
  for (auto i = 0; i < 60 && world.given() < 4000; ++i) {
    world.claim(0, 4000);
    world.run(100ms);
  }
  world.run(5s);
  REQUIRE(world.given() <= 4000);
  for (std::size_t n = 0; n < 6; ++n)
    for (auto i = 0; i < 3; ++i)
      world.end_one(n);
  CHECK(world.given() == 0);
  world.run(1s);
  // Node 1 is at home at another Resource.
  auto granted = false;
  for (auto i = 0; i < 3 && !granted; ++i) {
    granted = world.claim(1, 4000);
    world.run(400ms);
  }
  CHECK(granted);
}

TEST_CASE("of two Resources that lost each other none gives out more, of three the two that hear each other do") {
  for (std::size_t size : {2, 3}) {
    CAPTURE(size);
    model world{3, size, 6, 100'000};
    world.run(10s);
    for (std::size_t j = 1; j < size; ++j)
      world.cut(0, j, true);
    world.run(20s);
    auto granted_at = [&](std::size_t home) {
      auto granted = false;
      for (auto i = 0; i < 10; ++i) {
        granted |= world.claim(home, 1000);
        world.run(300ms);
      }
      return granted;
    };
    CHECK_FALSE(granted_at(0));
    CHECK(world.last_reason.find("a majority decides") != std::string::npos);
    CHECK(granted_at(1) == (size == 3));
  }
}

TEST_CASE("a report tells limit, use, what is given out and leased, the keeper, and for 3 s what was refused") {
  model world{1, 1, 2, 10'000};
  auto report = [&](std::size_t i = 0) {
    auto all = world.at(i).book->report(world.at(i), world.clock(i));
    REQUIRE(all.size() == 1);
    return all.front();
  };
  CHECK(report().keeper().empty());
  world.run(6s);
  CHECK(report().keeper() == "r1");
  CHECK(report().refused().cpu_milli() == 0);
  while (!world.claim(0, 4000))
    world.run(100ms);
  auto given = report();
  CHECK(given.business() == "search");
  CHECK(given.limit().cpu_milli() == 10'000);
  // Memory has no limit.
  CHECK(given.limit().memory_bytes() == 0);
  CHECK(given.in_use().cpu_milli() == 0);
  CHECK(given.given_out().cpu_milli() == 4000);
  CHECK(given.lease().cpu_milli() >= 4000);
  while (world.given() < 4000 || report().in_use().cpu_milli() != 4000 || report().given_out().cpu_milli() != 0) {
    if (world.given() < 4000)
      world.claim(0, 4000); // The node may not have taken it.
    world.run(100ms);
  }
  world.claim(1, 9000);
  CHECK(report().refused().cpu_milli() == 9000);
  CHECK(report().refused_ms_ago() == 0);
  world.run(1s);
  world.claim(1, 9000);
  CHECK(report().refused().cpu_milli() == 9000);
  world.run(3500ms);
  CHECK(report().refused().cpu_milli() == 0);
}

TEST_CASE("a report of several quotas is sorted by business and has only what is limited") {
  auto t = time_point{} + 1h;
  quota_options video;
  video.business = "video";
  video.accelerators = {{"t4", 3}};
  quota_book book{make_resource_id("r1"), "r1", 1, {video, search_quota(5000)}, t};
  model nothing_runs{1, 1, 1, 1};
  auto report = book.report(nothing_runs.at(0), t);
  REQUIRE(report.size() == 2);
  CHECK(report[0].business() == "search");
  CHECK(report[1].business() == "video");
  CHECK(report[1].limit().cpu_milli() == 0);
  REQUIRE(report[1].limit().accelerators_size() == 1);
  CHECK(report[1].limit().accelerators(0).kind() == "t4");
  CHECK(report[1].limit().accelerators(0).count() == 3);
}

TEST_CASE("a report of one of two Resources that lost each other names no keeper") {
  model world{3, 2, 2, 10'000};
  auto keeper = [&](std::size_t i) { return world.at(i).book->report(world.at(i), world.clock(i)).front().keeper(); };
  world.run(12s);
  CHECK(!keeper(0).empty());
  CHECK(keeper(0) == keeper(1));
  world.cut(0, 1, true);
  world.run(10s);
  CHECK(keeper(0).empty());
  CHECK(keeper(1).empty());
}

TEST_CASE("a gang is refused as a whole when the quota has no room for all of it") {
  model world{1, 1, 2, 10'000};
  world.run(6s);
  pb::AppSpec gang;
  gang.set_name("train");
  gang.set_business("search");
  gang.set_gang(true);
  gang.mutable_per_replica()->set_cpu_milli(4000);
  auto misfit = [&](std::uint32_t replicas) {
    gang.set_replicas(replicas);
    return world.at(0).book->gang_misfit(gang, world.at(0), world.clock(0));
  };
  CHECK(misfit(2).empty());
  CHECK(misfit(3) == "business search has 0 of 10 cores in use, and 12 are needed; quota of [[resource.quotas]]");
  gang.set_business("");
  CHECK(misfit(3).empty());
}

TEST_CASE(
    "random histories with kills, cuts, losses and clocks of their own never exceed the quota, and use it in the end") {
  constexpr std::uint32_t quota = 40'000;
  constexpr std::size_t nodes = 12;
  for (std::uint64_t seed = 1; seed <= 15; ++seed) {
    CAPTURE(seed);
    auto size = 1 + seed % 5;
    model world{seed, size, nodes, quota};
    claim_everywhere(world, nodes);
    world.every(700ms, [&world] { world.end_one(world.random().below(nodes)); });
    world.loss = seed % 3 == 0 ? 0.1 : 0.0;
    for (auto step = 0; step < 30; ++step) {
      auto& random = world.random();
      auto one = random.below(size);
      auto other = random.below(size);
      // Nobody is cut off for as long as it takes until others take its nodes for lost.
      switch (random.below(4)) {
      case 0:
        if (one != other) {
          world.cut(one, other, true);
          world.run(milliseconds{random.below(8000)});
          world.cut(one, other, false);
        }
        break;
      case 1:
        for (std::size_t j = 0; j < size; ++j)
          if (j != one)
            world.cut(one, j, true);
        world.run(milliseconds{random.below(8000)});
        for (std::size_t j = 0; j < size; ++j)
          if (j != one)
            world.cut(one, j, false);
        break;
      case 2:
        world.kill(one);
        world.run(milliseconds{random.below(12'000)});
        world.start(one);
        break;
      default:
        world.move(random.below(nodes), one);
        break;
      }
      world.run(milliseconds{random.below(6000)});
      REQUIRE(world.most_given <= quota);
    }
    world.loss = 0.0;
    world.run(30s);
    REQUIRE(world.most_given <= quota);
    // The smallest claim that is made, and one that is on its way.
    auto full = false;
    for (auto i = 0; i < 50 && !full; ++i) {
      full = world.given() > quota - 3000;
      world.run(100ms);
    }
    CHECK(full);
  }
}

namespace {

/// What runs on one node of a single Resource, and how often it is counted.
struct lone_shard : quota_evidence {
  std::map<std::uint64_t, std::uint32_t> replicas;
  mutable std::size_t counts = 0;

  std::uint64_t sum() const {
    std::uint64_t result = 0;
    for (auto& [token, cpu] : replicas)
      result += cpu;
    return result;
  }
  std::vector<use> used(const std::string&) const override {
    ++counts;
    std::vector<use> result{{node_id{1}, {}}};
    result.back().amount.set_cpu_milli(static_cast<std::uint32_t>(sum()));
    return result;
  }
  std::uint32_t running(const std::string&) const override { return static_cast<std::uint32_t>(replicas.size()); }
  bool knows(node_id) const override { return true; }
  sighting look(node_id, std::uint64_t, claim_token token) const override {
    return replicas.count(token.value()) != 0 ? sighting::shown : sighting::unseen;
  }
  std::uint64_t version() const override { return 1; }
};

/// A quota of a single Resource, which is its keeper.
struct lone_book {
  explicit lone_book(std::uint32_t quota)
    : book(make_resource_id("r1"), "r1", 1, std::vector<quota_options>{search_quota(quota)}, now) {
    for (auto i = 0; i < 80; ++i)
      pass(100ms);
  }

  void pass(milliseconds time) {
    now += time;
    book.tick(shard, now);
  }

  bool claim(std::uint64_t token, std::uint32_t cpu) {
    pb::AppSpec spec;
    spec.set_business("search");
    spec.mutable_per_replica()->set_cpu_milli(cpu);
    pb::Claim claim;
    claim.set_token(token);
    claim.set_node(1);
    return book.claim(spec, claim, shard, now).empty();
  }

  time_point now = time_point{} + std::chrono::hours{1};
  lone_shard shard;
  quota_book book;
};

} // namespace

TEST_CASE("a thousand claims in the same moment count what is in use three times at most") {
  lone_book world{500'000};
  world.shard.counts = 0;
  for (std::uint64_t token = 1; token <= 1000; ++token)
    CHECK(world.claim(token, 1000) == (token <= 500));
  CHECK(world.shard.counts <= 3);
}

TEST_CASE("random claims, refusals, sightings and ends never exceed a quota, and what is free is given out") {
  constexpr std::uint64_t quota = 20'000;
  for (std::uint64_t seed = 1; seed <= 30; ++seed) {
    CAPTURE(seed);
    random_source random{seed};
    lone_book world{quota};
    // Given out, and not at its node yet.
    std::map<std::uint64_t, std::uint32_t> away;
    auto taken = [&] {
      auto result = world.shard.sum();
      for (auto& [token, cpu] : away)
        result += cpu;
      return result;
    };
    auto any_of = [&](auto& which) {
      return std::next(which.begin(), static_cast<std::ptrdiff_t>(random.below(which.size())));
    };
    std::uint64_t token = 0;
    for (auto step = 0; step < 3000; ++step) {
      switch (random.below(6)) {
      case 0:
      case 1: {
        auto cpu = 500 * (1 + static_cast<std::uint32_t>(random.below(6)));
        if (world.claim(++token, cpu))
          away[token] = cpu;
        break;
      }
      case 2:
        if (!away.empty()) {
          auto one = any_of(away);
          world.shard.replicas.insert(*one);
          away.erase(one);
        }
        break;
      case 3:
        if (!away.empty() && random.below(3) == 0) {
          auto one = any_of(away);
          world.book.refused(claim_token{one->first});
          away.erase(one);
        }
        break;
      case 4:
        if (!world.shard.replicas.empty() && random.below(2) == 0) {
          // One that ends unseen would count for a while.
          world.pass(0ms);
          world.shard.replicas.erase(any_of(world.shard.replicas));
        }
        break;
      default:
        world.pass(milliseconds{random.below(60)});
        break;
      }
      REQUIRE(taken() <= quota);
      if (step % 300 != 299)
        continue;
      // Once all of it is seen, and has been counted.
      world.shard.replicas.insert(away.begin(), away.end());
      away.clear();
      world.pass(100ms);
      world.pass(200ms);
      auto left = static_cast<std::uint32_t>(quota - taken());
      if (left > 0) {
        CHECK(world.claim(++token, left));
        away[token] = left;
      }
      CHECK_FALSE(world.claim(++token, 1));
    }
  }
}
