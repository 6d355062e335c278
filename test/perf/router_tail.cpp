// The tail of heavy requests on uneven machines, by policy: a discrete-event simulation that asks the router's own
// classes (node_pool with its weights and orders, dispatch, and the nodes' admission) where each request goes.
//   cmake --build build/release --target perf_router_tail && build/release/test/perf_router_tail [SECONDS [SEEDS
//   [NAME]]]
//
// NAME: only policies with this in their name, beside the oracle.
//
// 200 nodes of 4 to 64 cores, speeds log-uniform in 0.5 .. 4, four cores per running task, as many slots as that gives;
// others take 0 .. 10 % of a node for about a minute, then 20 .. 70 % for about 20 s.  Work is lognormal, 8
// core-seconds on average, sigma 1.  Nodes live 10 minutes on average, 70 % of them say 30 s before that they go, and
// their successors are cold for 10 s.  Heartbeats every second are seen 0.2 s later, weights are made every 3 s,
// silence is noticed after 3 s.
//
// "JSWQ" sees everything at every instant and takes the node with the least expected work per capacity; "least work"
// knows even how long each task will take.  Both wait in the queue of the node that they chose.  The ratio is that of
// the 99th percentile to JSWQ's with the same seeds.

#include "actors/node/admission.hpp"
#include "actors/random.hpp"
#include "actors/resource/node_load.hpp"
#include "actors/resource/node_row.hpp"
#include "actors/router/dispatch.hpp"
#include "actors/router/node_pool.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <queue>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

using namespace astra;

namespace {

constexpr std::size_t machines = 200;
constexpr double cores_per_task = 4.0;
constexpr double work_mean = 8.0;
constexpr double heartbeat_s = 1.0;
constexpr double on_its_way_s = 0.2;
constexpr double refresh_s = 3.0;
constexpr double silence_s = 3.0;
constexpr double notice_s = 30.0;
constexpr double cold_s = 10.0;
constexpr double cold_speed = 0.3;
constexpr double retry_s = 0.05;
constexpr std::size_t retry_batch = 4;
constexpr double round_trip_s = 0.001;
constexpr double warm_up_s = 60.0;
constexpr double window_s = 30.0;
constexpr std::uint32_t tries = 4;
constexpr int attempt_bits = 20;

enum class policy : std::uint8_t {
  fast,
  flat,
  fast_size,
  flat_size,
  seed,
  seed_queue,
  round_robin,
  least_connections,
  two_choices,
  jswq,
  work
};

struct policy_name {
  policy which;
  const char* name;
};

constexpr std::array policies{
    policy_name{policy::jswq, "JSWQ (oracle)"},         policy_name{policy::work, "least work (oracle)"},
    policy_name{policy::fast, "fast + admission"},      policy_name{policy::flat, "flat + admission"},
    policy_name{policy::fast_size, "fast + size hint"}, policy_name{policy::flat_size, "flat + size hint"},
    policy_name{policy::seed, "seed + admission"},      policy_name{policy::seed_queue, "seed, queues at nodes"},
    policy_name{policy::two_choices, "two choices"},    policy_name{policy::least_connections, "least connections"},
    policy_name{policy::round_robin, "round robin"},
};

bool told_sizes(policy which) {
  return which == policy::fast_size || which == policy::flat_size;
}

bool asks(policy which) {
  return which == policy::fast || which == policy::flat || which == policy::seed || told_sizes(which);
}

bool has_pool(policy which) {
  return asks(which) || which == policy::seed_queue;
}

using time_point = std::chrono::steady_clock::time_point;

time_point at(double seconds) {
  return time_point{} + std::chrono::duration_cast<time_point::duration>(std::chrono::duration<double>(seconds));
}

double exponential(random_source& random, double mean) {
  return -mean * std::log(1.0 - random.unit());
}

double normal(random_source& random) {
  return std::sqrt(-2.0 * std::log(1.0 - random.unit())) * std::cos(6.283185307179586 * random.unit());
}

struct results {
  std::vector<double> seconds;
  std::size_t lost = 0;
  std::size_t sent = 0;
  /// Sum over windows of the coefficient of variation of what the machines use of what is there for them.
  double spread = 0.0;
  std::size_t windows = 0;
};

class simulation {
public:
  simulation(policy which, double load, std::size_t routers, double seconds, std::uint64_t seed)
    : policy_(which), end_(seconds), random_(seed), choices_(seed + 1) {
    auto capacity = 0.0;
    for (std::size_t i = 0; i < machines; ++i) {
      machine& made = machines_.emplace_back();
      made.cores = static_cast<double>(4U << random_.below(5));
      made.speed = 0.5 * std::exp2(3.0 * random_.unit());
      made.slots = static_cast<std::uint32_t>(made.cores / cores_per_task);
      // A minute of 5 % and 20 s of 45 %.
      capacity += made.cores * made.speed * (1.0 - 0.15);
      start(i, 0.0, false);
      later(exponential(random_, 60.0), kind::interference, i);
      later(heartbeat_s * random_.unit(), kind::heartbeat, i);
    }
    rate_ = load * capacity / work_mean;
    for (std::size_t i = 0; i < routers; ++i) {
      auto& router = routers_.emplace_back();
      router.own.resize(machines);
      router.next = random_.below(machines);
      if (!has_pool(which))
        continue;
      router.pool = std::make_unique<node_pool>("app", std::chrono::milliseconds{3000}, random_source{seed * 1000 + i},
                                                weight_horizon{}, std::chrono::milliseconds{10'000});
      auto fast = which == policy::fast || which == policy::fast_size;
      auto flat = which == policy::flat || which == policy::flat_size;
      router.pool->use(fast ? pb::WEIGHT_FAST : flat ? pb::WEIGHT_FLAT : pb::WEIGHT_SEED);
      for (std::size_t node = 0; node < machines; ++node)
        tell(router, node);
      later(refresh_s * random_.unit(), kind::refresh, i);
    }
    later(exponential(random_, 1.0 / rate_), kind::arrival, 0);
    later(window_s, kind::window, 0);
  }

  results run() {
    while (!events_.empty() && events_.top().when <= end_ + 60.0) {
      auto event = events_.top();
      events_.pop();
      now_ = event.when;
      handle(event);
    }
    // What has not ended by then counts with the time until then.
    for (auto& [key, task] : tasks_)
      if (task.arrived >= warm_up_s && task.arrived < end_)
        results_.seconds.push_back(now_ - task.arrived);
    return std::move(results_);
  }

private:
  enum class kind : std::uint8_t {
    arrival,
    completion,
    interference,
    heartbeat,
    seen,
    refresh,
    notice,
    death,
    noticed,
    retry,
    window
  };

  struct event {
    double when;
    std::uint64_t number;
    kind what;
    std::uint64_t a;
    std::uint64_t b;
    bool operator<(const event& other) const { return when != other.when ? when > other.when : number > other.number; }
  };

  struct running {
    /// The machine's progress at which it is done.
    double until;
    std::uint64_t task;
    bool operator<(const running& other) const { return until > other.until; }
  };

  struct machine {
    double cores = 0.0;
    double speed = 1.0;
    std::uint32_t slots = 1;
    double interference = 0.05;
    bool disturbed = false;
    bool alive = true;
    bool draining = false;
    double cold_until = 0.0;
    std::uint64_t life = 1;
    std::unique_ptr<admission> desk;
    std::priority_queue<running> tasks;
    /// Core-seconds of the reference speed that each running task has got so far.
    double progress = 0.0;
    double progress_at = 0.0;
    std::uint64_t plan = 0;
    // Since the last heartbeat.
    double since = 0.0;
    double task_s = 0.0;
    double busy_s = 0.0;
    pb::NodeLoad load;
    std::uint64_t done = 0;
    /// As routers see it.
    pb::NodeLoad seen;
    bool seen_alive = true;
    bool seen_draining = false;
    std::uint64_t seen_life = 1;
    std::uint64_t word = 1;
    double work_left = 0.0;
    // In the window under way, in core-seconds.
    double used = 0.0;
    double available = 0.0;
  };

  struct request {
    double arrived;
    double work;
    std::size_t router;
    std::size_t node;
    dispatch way;
    node_pool::sized_walk sized;
  };

  struct router {
    std::unique_ptr<node_pool> pool;
    std::vector<std::uint32_t> own;
    std::map<std::size_t, double> ejected;
    std::deque<std::uint64_t> parked;
    bool retry = false;
    std::size_t next = 0;
  };

  void later(double in, kind what, std::uint64_t a, std::uint64_t b = 0) {
    events_.push({now_ + in, ++numbers_, what, a, b});
  }

  void handle(const event& what) {
    switch (what.what) {
    case kind::arrival:
      return arrive();
    case kind::completion:
      if (machines_[what.a].plan == what.b)
        complete(what.a);
      return;
    case kind::interference: {
      auto& node = machines_[what.a];
      advance(node);
      node.disturbed = !node.disturbed;
      node.interference = node.disturbed ? 0.2 + 0.5 * random_.unit() : 0.1 * random_.unit();
      plan(what.a);
      return later(exponential(random_, node.disturbed ? 20.0 : 60.0), kind::interference, what.a);
    }
    case kind::heartbeat:
      beat(what.a);
      return later(heartbeat_s, kind::heartbeat, what.a);
    case kind::seen: {
      auto& node = machines_[what.a];
      node.seen = node.load;
      ++node.word;
      if (node.alive && std::exchange(node.seen_life, node.life) != node.life) {
        node.seen_alive = true;
        node.seen_draining = false;
        tell_all(what.a);
      }
      return;
    }
    case kind::refresh: {
      auto& router = routers_[what.a];
      for (std::size_t i = 0; i < machines; ++i)
        router.pool->observe_load(id(i), node_load{machines_[i].seen}, machines_[i].word);
      router.pool->refresh(at(now_));
      return later(refresh_s, kind::refresh, what.a);
    }
    case kind::notice:
      if (machines_[what.a].life != what.b)
        return;
      machines_[what.a].draining = true;
      machines_[what.a].desk->drain();
      answers(what.a);
      later(on_its_way_s, kind::noticed, what.a, what.b);
      return later(notice_s, kind::death, what.a, what.b);
    case kind::death:
      if (machines_[what.a].life == what.b)
        die(what.a);
      return;
    case kind::noticed: {
      auto& node = machines_[what.a];
      if (node.life != what.b)
        return;
      node.seen_draining = node.draining;
      node.seen_alive = node.alive;
      tell_all(what.a);
      if (!node.alive)
        start(what.a, cold_s, true);
      return;
    }
    case kind::window:
      look_at_spread();
      return later(window_s, kind::window, 0);
    case kind::retry: {
      auto& router = routers_[what.a];
      router.retry = false;
      unpark(what.a, retry_batch);
      return schedule_retry(what.a);
    }
    }
  }

  void look_at_spread() {
    auto sum = 0.0;
    auto squares = 0.0;
    for (auto& node : machines_) {
      advance(node);
      auto share = node.available > 0.0 ? node.used / node.available : 0.0;
      node.used = node.available = 0.0;
      sum += share;
      squares += share * share;
    }
    if (now_ < warm_up_s + window_s || now_ > end_)
      return;
    auto mean = sum / machines;
    results_.spread += std::sqrt(std::max(0.0, squares / machines - mean * mean)) / mean;
    ++results_.windows;
  }

  static node_id id(std::size_t i) { return node_id{i + 1}; }
  static std::size_t index(node_id id) { return static_cast<std::size_t>(id.value() - 1); }

  // -- machines -------------------------------------------------------------------------------------------------------

  void start(std::size_t i, double cold, bool again) {
    auto& node = machines_[i];
    node.alive = true;
    node.draining = false;
    node.cold_until = now_ + cold;
    node.life += again ? 1 : 0;
    node.done = 0;
    admission::limits limits;
    if (!asks(policy_))
      limits.queue_per_slot = 1'000'000;
    node.desk = std::make_unique<admission>(limits);
    node.desk->open(claim_token{1}, node.slots, at(now_));
    auto notice = random_.below(10) < 7;
    later(exponential(random_, 600.0), notice ? kind::notice : kind::death, i, node.life);
  }

  double rate(const machine& node) const {
    if (node.tasks.empty())
      return 0.0;
    auto cores =
        std::min(cores_per_task, node.cores * (1.0 - node.interference) / static_cast<double>(node.tasks.size()));
    return cores * node.speed * (now_ < node.cold_until ? cold_speed : 1.0);
  }

  void advance(machine& node) {
    auto passed = now_ - node.progress_at;
    auto step = rate(node) * passed;
    node.progress += step;
    auto tasks = static_cast<double>(node.tasks.size());
    node.work_left -= step * tasks;
    node.task_s += tasks * passed;
    auto available = node.cores * (1.0 - node.interference);
    node.busy_s += std::min(tasks * cores_per_task, available) * passed;
    node.used += std::min(tasks * cores_per_task, available) * passed;
    node.available += available * passed;
    node.progress_at = now_;
  }

  void plan(std::size_t i) {
    auto& node = machines_[i];
    ++node.plan;
    if (!node.tasks.empty() && node.alive)
      later(std::max(0.0, (node.tasks.top().until - node.progress) / rate(node)), kind::completion, i, node.plan);
  }

  void complete(std::size_t i) {
    auto& node = machines_[i];
    advance(node);
    auto key = node.tasks.top().task;
    node.tasks.pop();
    ++node.done;
    auto& task = tasks_.at(key);
    node.desk->finish(task.way.attempt(), true, at(now_));
    if (task.arrived >= warm_up_s && task.arrived < end_)
      results_.seconds.push_back(now_ - task.arrived + round_trip_s * task.way.tries());
    auto router = task.router;
    --routers_[router].own[i];
    tasks_.erase(key);
    answers(i);
    plan(i);
    unpark(router, 1);
  }

  void beat(std::size_t i) {
    auto& node = machines_[i];
    if (!node.alive)
      return;
    advance(node);
    auto span = std::max(now_ - node.since, 1e-3);
    auto own = node.busy_s / span;
    node.load.set_host_utilisation(std::min(1.0, own / node.cores + node.interference));
    node.load.set_own_busy_cores(own);
    node.load.set_concurrency(node.task_s / span);
    node.load.set_running(node.desk->running());
    node.load.set_queued(node.desk->queued());
    node.load.set_requests_done(node.done);
    node.since = now_;
    node.task_s = 0.0;
    node.busy_s = 0.0;
    later(on_its_way_s, kind::seen, i);
  }

  /// Its successor has the same hardware.
  void die(std::size_t i) {
    auto& node = machines_[i];
    advance(node);
    auto announced = node.draining;
    auto life = node.life;
    node.alive = false;
    ++node.plan;
    node.tasks = {};
    node.work_left = 0.0;
    std::vector<std::uint64_t> waiting;
    for (auto& [key, task] : tasks_) {
      if (task.way.where() == dispatch::phase::parked || task.node != i)
        continue;
      --routers_[task.router].own[i];
      // What waits there can go elsewhere; the others have sent it.
      if (task.way.where() == dispatch::phase::running || !asks(policy_))
        lost_.push_back(key);
      else
        waiting.push_back(key);
    }
    for (auto key : std::exchange(lost_, {}))
      lose(key);
    later(announced ? on_its_way_s : silence_s + on_its_way_s, kind::noticed, i, life);
    for (auto key : waiting) {
      auto& task = tasks_.at(key);
      task.way.new_walk();
      fail(task.router, i);
      walk(key);
    }
  }

  void lose(std::uint64_t key) {
    ++results_.lost;
    tasks_.erase(key);
  }

  // -- what routers know ----------------------------------------------------------------------------------------------

  void tell_all(std::size_t i) {
    for (auto& router : routers_)
      if (router.pool)
        tell(router, i);
  }

  void tell(router& router, std::size_t i) {
    auto& node = machines_[i];
    pb::NodeRow row;
    row.set_node(id(i).value());
    row.set_incarnation(node.seen_life);
    row.set_liveness(!node.seen_alive     ? pb::LIVENESS_OFFLINE
                     : node.seen_draining ? pb::LIVENESS_DRAINING
                                          : pb::LIVENESS_ONLINE);
    auto& profile = *row.mutable_profile();
    profile.set_name(std::to_string(i));
    profile.set_address(std::to_string(i));
    profile.mutable_capacity()->set_cpu_milli(static_cast<std::uint64_t>(node.cores * 1000.0));
    auto& replica = *profile.add_replicas();
    replica.set_app("app");
    replica.set_state(pb::REPLICA_READY);
    replica.set_concurrency(node.slots);
    router.pool->observe(row, node_load{node.seen}, ++node.word);
    router.pool->settle(at(now_));
  }

  bool in_use(const router& router, std::size_t i) const {
    auto& node = machines_[i];
    auto out = router.ejected.find(i);
    return node.seen_alive && !node.seen_draining && (out == router.ejected.end() || out->second <= now_);
  }

  void fail(std::size_t router, std::size_t i) {
    auto& of = routers_[router];
    if (of.pool) {
      of.pool->eject(id(i), "it does not answer", at(now_));
      of.pool->settle(at(now_));
    }
    of.ejected[i] = now_ + 3.0;
  }

  // -- requests -------------------------------------------------------------------------------------------------------

  void arrive() {
    if (now_ < end_)
      later(exponential(random_, 1.0 / rate_), kind::arrival, 0);
    auto key = ++keys_;
    auto router = random_.below(routers_.size());
    // exp(sigma^2 / 2) is the mean of a lognormal with median 1.
    auto work = work_mean * std::exp(normal(random_) - 0.5);
    if (now_ >= warm_up_s && now_ < end_)
      ++results_.sent;
    tasks_.emplace(
        key, request{now_, work, router, 0, dispatch{at(now_ + 1e6), false, tries}, {work / work_mean, tries, {}}});
    if (!asks(policy_))
      return send(key);
    if (!routers_[router].parked.empty())
      return park(key);
    walk(key);
  }

  void walk(std::uint64_t key) {
    auto& task = tasks_.at(key);
    auto& router = routers_[task.router];
    auto pick = [&](std::span<const node_id> asked) {
      return told_sizes(policy_) ? router.pool->pick(task.sized, asked, at(now_)) : router.pool->pick(asked, at(now_));
    };
    for (;;) {
      auto step = task.way.next(pick);
      if (step.what == dispatch::step::kind::park)
        return park(key);
      auto i = index(step.node);
      auto queue = step.what == dispatch::step::kind::queue;
      if (queue)
        task.way.queue(step.node, next_attempt(key));
      else
        task.way.ask(step.node, next_attempt(key));
      task.node = i;
      if (!machines_[i].alive) {
        fail(task.router, i);
        continue;
      }
      if (machines_[i].draining) {
        router.pool->refuse(step.node, "it drains", at(now_));
        router.pool->settle(at(now_));
        continue;
      }
      auto outcome = reserve(i, task.way.attempt(), queue ? 1e6 : 0.0);
      if (outcome == pb::RESERVE_GRANTED)
        return begin(key, true);
      if (outcome == pb::RESERVE_UNKNOWN) { // it waits
        ++router.own[i];
        machines_[i].work_left += task.work;
        return;
      }
      auto eta = machines_[i].desk->eta();
      router.pool->set_eta(step.node, eta);
      if (!queue)
        task.way.offered(eta);
    }
  }

  /// @returns RESERVE_UNKNOWN when it waits.
  pb::ReserveOutcome reserve(std::size_t i, attempt_id attempt, double may_wait) {
    auto& desk = *machines_[i].desk;
    desk.reserve(attempt, std::chrono::nanoseconds{static_cast<std::int64_t>(may_wait * 1e9)}, at(now_));
    auto outcome = pb::RESERVE_UNKNOWN;
    for (auto& answer : desk.take_answers())
      if (answer.attempt == attempt)
        outcome = answer.outcome;
    return outcome;
  }

  /// Those who have waited and got a slot, or not.
  void answers(std::size_t i) {
    for (auto& answer : machines_[i].desk->take_answers()) {
      auto key = answer.attempt.value() >> attempt_bits;
      auto found = tasks_.find(key);
      if (found == tasks_.end() || found->second.way.attempt() != answer.attempt)
        continue;
      if (answer.outcome == pb::RESERVE_GRANTED) {
        begin(key, false);
        continue;
      }
      --routers_[found->second.router].own[i];
      machines_[i].work_left -= found->second.work;
      found->second.way.new_walk();
      if (asks(policy_))
        walk(key);
      else
        send(key);
    }
  }

  attempt_id next_attempt(std::uint64_t key) {
    return attempt_id{key << attempt_bits | (++attempts_ & ((1U << attempt_bits) - 1))};
  }

  /// It has a slot.
  void begin(std::uint64_t key, bool counts) {
    auto& task = tasks_.at(key);
    auto& node = machines_[task.node];
    advance(node);
    node.desk->use(task.way.attempt(), at(now_));
    task.way.start();
    if (counts) {
      ++routers_[task.router].own[task.node];
      node.work_left += task.work;
    }
    node.tasks.push({node.progress + task.work, key});
    plan(task.node);
    if (counts && asks(policy_))
      unpark(task.router, 1);
  }

  /// Without asking: to a node, for better or worse.
  void send(std::uint64_t key) {
    auto& task = tasks_.at(key);
    auto chosen = choose(task);
    if (!chosen)
      return lose(key);
    auto i = *chosen;
    task.node = i;
    task.way.queue(id(i), next_attempt(key));
    if (!machines_[i].alive) {
      fail(task.router, i);
      return lose(key);
    }
    if (machines_[i].draining && policy_ != policy::jswq && policy_ != policy::work) {
      // It says no, and the next one is asked.
      fail(task.router, i);
      return send(key);
    }
    auto outcome = reserve(i, task.way.attempt(), 1e6);
    if (outcome == pb::RESERVE_GRANTED)
      return begin(key, true);
    ++routers_[task.router].own[i];
    machines_[i].work_left += task.work;
  }

  std::optional<std::size_t> choose(const request& task) {
    auto& router = routers_[task.router];
    auto least = [&](auto&& usable, auto&& cost) {
      std::optional<std::size_t> best;
      auto best_cost = std::numeric_limits<double>::infinity();
      // Of equals not always the first.
      auto first = choices_.below(machines);
      for (std::size_t n = 0; n < machines; ++n) {
        auto i = (first + n) % machines;
        if (!usable(i))
          continue;
        if (auto of = cost(i); of < best_cost) {
          best_cost = of;
          best = i;
        }
      }
      return best;
    };
    auto up = [&](std::size_t i) { return machines_[i].alive && !machines_[i].draining; };
    auto known = [&](std::size_t i) { return in_use(router, i); };
    auto per_slot = [&](std::size_t i) { return 1.0 / machines_[i].slots; };
    auto capacity = [&](std::size_t i) {
      auto& node = machines_[i];
      auto speed = node.speed * (now_ < node.cold_until ? cold_speed : 1.0);
      return speed * std::min(cores_per_task * node.slots, node.cores * (1.0 - node.interference));
    };
    switch (policy_) {
    case policy::jswq:
      return least(up, [&](std::size_t i) {
        auto in_flight = machines_[i].desk->running() + machines_[i].desk->queued();
        return (in_flight + 1.0) * work_mean / capacity(i);
      });
    case policy::work:
      return least(up, [&](std::size_t i) {
        advance(machines_[i]);
        return (machines_[i].work_left + task.work) / capacity(i);
      });
    case policy::least_connections:
      return least(known, [&](std::size_t i) { return router.own[i] * per_slot(i); });
    case policy::two_choices: {
      std::optional<std::size_t> best;
      auto load = [&](std::size_t i) {
        return (machines_[i].seen.running() + machines_[i].seen.queued() + router.own[i]) * per_slot(i);
      };
      for (int n = 0, found = 0; n < 1000 && found < 2; ++n) {
        auto i = static_cast<std::size_t>(choices_.below(machines));
        if (!known(i) || best == i)
          continue;
        ++found;
        if (!best || load(i) < load(*best))
          best = i;
      }
      return best;
    }
    case policy::round_robin:
      for (std::size_t n = 0; n < machines; ++n) {
        router.next = (router.next + 1) % machines;
        if (known(router.next))
          return router.next;
      }
      return std::nullopt;
    default: {
      auto node = router.pool->pick({}, at(now_));
      return node ? std::optional{index(*node)} : std::nullopt;
    }
    }
  }

  void park(std::uint64_t key) {
    tasks_.at(key).way.park();
    routers_[tasks_.at(key).router].parked.push_back(key);
    schedule_retry(tasks_.at(key).router);
  }

  void schedule_retry(std::size_t router) {
    auto& of = routers_[router];
    if (!of.parked.empty() && !std::exchange(of.retry, true))
      later(retry_s, kind::retry, router);
  }

  void unpark(std::size_t router, std::size_t count) {
    auto& parked = routers_[router].parked;
    for (; count > 0 && !parked.empty(); --count) { // a walk may unpark others
      auto key = parked.front();
      parked.pop_front();
      walk(key);
    }
  }

  policy policy_;
  double end_;
  random_source random_;
  random_source choices_;
  double now_ = 0.0;
  double rate_ = 1.0;
  std::uint64_t numbers_ = 0;
  std::uint64_t keys_ = 0;
  std::uint64_t attempts_ = 0;
  std::vector<machine> machines_;
  std::vector<router> routers_;
  std::map<std::uint64_t, request> tasks_;
  std::vector<std::uint64_t> lost_;
  std::priority_queue<event> events_;
  results results_;
};

double quantile(std::vector<double>& values, double q) {
  if (values.empty())
    return 0.0;
  auto at = values.begin() + static_cast<std::ptrdiff_t>(q * static_cast<double>(values.size() - 1));
  std::nth_element(values.begin(), at, values.end());
  return *at;
}

} // namespace

int main(int argc, char** argv) {
  auto seconds = argc > 1 ? std::strtod(argv[1], nullptr) : 300.0;
  auto seeds = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1ULL;
  auto only = std::string_view{argc > 3 ? argv[3] : ""};
  for (auto routers : {std::size_t{1}, std::size_t{16}}) {
    fmt::print(
        "\n{} router{}: p50 / p99 in seconds, p99 against JSWQ, spread of use (CV, 30 s), lost per 10 000\n{:24}",
        routers, routers > 1 ? "s" : "", "load");
    constexpr std::array loads{0.3, 0.6, 0.8, 0.95};
    for (auto load : loads)
      fmt::print("{:>37}", load);
    fmt::print("\n");
    std::array<double, loads.size()> oracle{};
    for (auto& [which, name] : policies) {
      if (which != policy::jswq && std::string_view{name}.find(only) == std::string_view::npos)
        continue;
      fmt::print("{:24}", name);
      for (std::size_t i = 0; i < loads.size(); ++i) {
        results all;
        for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
          auto one = simulation{which, loads[i], routers, warm_up_s + seconds, seed}.run();
          all.seconds.insert(all.seconds.end(), one.seconds.begin(), one.seconds.end());
          all.lost += one.lost;
          all.spread += one.spread;
          all.windows += one.windows;
          all.sent += one.sent;
        }
        auto p50 = quantile(all.seconds, 0.5);
        auto p99 = quantile(all.seconds, 0.99);
        if (which == policy::jswq)
          oracle[i] = p99;
        fmt::print("{:>8.2f} /{:>7.1f} {:>6.2f}x {:>4.2f} {:>6.1f}", p50, p99, p99 / oracle[i],
                   all.spread / static_cast<double>(std::max<std::size_t>(1, all.windows)),
                   1e4 * static_cast<double>(all.lost) / static_cast<double>(std::max<std::size_t>(1, all.sent)));
        std::fflush(stdout);
      }
      fmt::print("\n");
    }
  }
}
