#include "runtime/sim/shrink.hpp"

#include "messages/wire/app.pb.h"
#include "runtime/sim/snapshot.hpp"
#include "runtime/sim/swarm.hpp"

#include <algorithm>
#include <memory>
#include <set>
#include <utility>
#include <vector>

namespace astra::sim {
namespace {

using namespace std::chrono_literals;
using steady = std::chrono::steady_clock;

nanoseconds rounded_up(nanoseconds value, nanoseconds unit) {
  return (value + unit - nanoseconds{1}) / unit * unit;
}

/// Drops from faults what is no longer there: machines, apps, and faults with nothing left to hit.
void drop_dangling(scenario& what) {
  auto machines = machines_of(what);
  auto gone = [&](const std::string& target) { return resolve_target(target, machines).empty(); };
  auto known = [&](const std::string& app) {
    return std::any_of(what.apps.begin(), what.apps.end(), [&](auto& one) { return one.spec->name() == app; });
  };
  std::erase_if(what.load, [&](auto& load) { return !known(load.app); });
  std::erase_if(what.faults, [&](auto& fault) {
    auto had_targets = !fault.targets.empty();
    auto had_others = !fault.others.empty();
    std::erase_if(fault.targets, gone);
    std::erase_if(fault.others, gone);
    return (had_targets && fault.targets.empty()) || (had_others && fault.others.empty())
           || (!fault.app.empty() && !known(fault.app));
  });
}

class shrinker {
public:
  shrinker(const scenario& what, std::uint64_t seed, const shrink_options& options)
    : options_(options), began_(steady::now()) {
    result_.seed = seed;
    result_.smallest = make_explicit(what, seed);
    result_.before = result_.after = size_of(result_.smallest);
  }

  shrink_result run() {
    phase_ = "first run";
    ++result_.trials;
    seen_.insert(write_scenario(best()));
    result_.failure = run_once(best());
    if (!result_.failure.passed) {
      cut_short(true);
      auto smaller = true;
      while (smaller && !spent()) {
        smaller = faults();
        smaller = loads() || smaller;
        smaller = apps() || smaller;
        smaller = machines() || smaller;
        smaller = targets() || smaller;
        smaller = lengths() || smaller;
        smaller = chance() || smaller;
        smaller = shorter() || smaller;
      }
      cut_short(false);
      rounding();
      result_.minimal = !spent();
    }
    result_.after = size_of(best());
    result_.wall = steady::now() - began_;
    return std::move(result_);
  }

private:
  const scenario& best() const { return result_.smallest; }

  bool spent() const { return result_.trials >= options_.trials || steady::now() - began_ >= options_.time_limit; }

  run_result run_once(const scenario& candidate) {
    if (options_.run)
      return options_.run(candidate, result_.seed);
    return run_world_apart(std::make_shared<const scenario>(candidate), result_.seed, options_.run_limit);
  }

  /// Takes a candidate over if it still fails in the same way.
  bool try_it(scenario candidate) {
    if (spent() || !validate(candidate).empty() || !seen_.insert(write_scenario(candidate)).second)
      return false;
    ++result_.trials;
    auto run = run_once(candidate);
    if (run.passed || run.check != result_.failure.check)
      return false;
    result_.smallest = std::move(candidate);
    result_.failure = std::move(run);
    if (options_.progress)
      options_.progress({result_.trials, phase_, size_of(best())});
    return true;
  }

  /// ddmin: leaves out ever smaller parts of a list, until no single one can go.
  template <class T>
  bool minimise(std::vector<T> scenario::*list, const char* phase) {
    phase_ = phase;
    auto start = (best().*list).size();
    if (start == 0)
      return false;
    auto without = [&](std::size_t from, std::size_t to) {
      auto candidate = best();
      auto& items = candidate.*list;
      items.erase(items.begin() + static_cast<std::ptrdiff_t>(from), items.begin() + static_cast<std::ptrdiff_t>(to));
      return try_it(std::move(candidate));
    };
    // Often the fault is not in the faults at all.
    if (without(0, start))
      return true;
    for (std::size_t parts = 2; (best().*list).size() > 1 && !spent();) {
      auto size = (best().*list).size();
      parts = std::min(parts, size);
      auto reduced = false;
      // Only one part, then all but one.
      for (std::size_t i = 0; parts > 2 && i < parts && !reduced; ++i) {
        auto candidate = best();
        auto& items = candidate.*list;
        items.assign((best().*list).begin() + static_cast<std::ptrdiff_t>(size * i / parts),
                     (best().*list).begin() + static_cast<std::ptrdiff_t>(size * (i + 1) / parts));
        if (try_it(std::move(candidate))) {
          reduced = true;
          parts = 2;
        }
      }
      for (std::size_t i = 0; i < parts && !reduced; ++i)
        if (without(size * i / parts, size * (i + 1) / parts)) {
          reduced = true;
          parts = std::max<std::size_t>(parts - 1, 2);
        }
      if (reduced)
        continue;
      if (parts >= size)
        break;
      parts *= 2;
    }
    return (best().*list).size() < start;
  }

  bool faults() { return minimise(&scenario::faults, "faults"); }

  bool loads() { return minimise(&scenario::load, "loads"); }

  bool apps() {
    phase_ = "apps";
    auto smaller = false;
    for (auto i = best().apps.size(); i-- > 0;) {
      auto candidate = best();
      candidate.apps.erase(candidate.apps.begin() + static_cast<std::ptrdiff_t>(i));
      drop_dangling(candidate);
      smaller = try_it(std::move(candidate)) || smaller;
    }
    return smaller;
  }

  /// From the last group to the first: a machine's draws hang on its place, which only those before it decide.
  bool machines() {
    phase_ = "machines";
    auto smaller = false;
    for (auto i = best().machines.size(); i-- > 0;) {
      if (best().machines.size() > 1) {
        auto candidate = best();
        candidate.machines.erase(candidate.machines.begin() + static_cast<std::ptrdiff_t>(i));
        drop_dangling(candidate);
        if (try_it(std::move(candidate))) {
          smaller = true;
          continue;
        }
      }
      auto fewer = [&](std::uint32_t count) {
        auto candidate = best();
        candidate.machines[i].count = count;
        drop_dangling(candidate);
        return try_it(std::move(candidate));
      };
      // The smallest count that fails, if more machines never hide the failure.
      std::uint32_t low = 1;
      while (low < best().machines[i].count && !spent()) {
        auto middle = low + (best().machines[i].count - low) / 2;
        if (fewer(middle))
          smaller = true;
        else
          low = middle + 1;
      }
    }
    return smaller;
  }

  bool targets() {
    phase_ = "targets";
    auto smaller = false;
    for (auto list : {&scenario_fault::targets, &scenario_fault::others})
      for (std::size_t i = 0; i < best().faults.size(); ++i)
        for (auto j = (best().faults[i].*list).size(); j-- > 0 && (best().faults[i].*list).size() > 1;) {
          auto candidate = best();
          auto& names = candidate.faults[i].*list;
          names.erase(names.begin() + static_cast<std::ptrdiff_t>(j));
          smaller = try_it(std::move(candidate)) || smaller;
        }
    return smaller;
  }

  bool lengths() {
    phase_ = "lengths of faults";
    auto smaller = false;
    for (std::size_t i = 0; i < best().faults.size(); ++i)
      while (best().faults[i].duration > 1ms) {
        auto candidate = best();
        candidate.faults[i].duration /= 2;
        if (!try_it(std::move(candidate)))
          break;
        smaller = true;
      }
    return smaller;
  }

  /// Sources of chance that the failure may not need.
  bool chance() {
    phase_ = "chance";
    auto smaller = false;
    auto set = [&](auto change) {
      auto candidate = best();
      change(candidate);
      smaller = try_it(std::move(candidate)) || smaller;
    };
    set([](scenario& x) { x.policy = schedule_policy::fifo; });
    set([](scenario& x) { x.step_max = 0ns; });
    set([](scenario& x) {
      x.network.mode = network_mode::stream;
      x.network.loss = x.network.duplicate = x.network.overtake = 0.0;
    });
    set([](scenario& x) { x.network.loss = 0.0; });
    set([](scenario& x) { x.network.duplicate = 0.0; });
    set([](scenario& x) { x.network.overtake = 0.0; });
    set([](scenario& x) { x.network.tail = 0.0; });
    return smaller;
  }

  /// Nothing after the failure matters.  Loosely at first: a smaller scenario may fail a little later.
  void cut_short(bool loosely) {
    phase_ = "length";
    auto needed = rounded_up(result_.failure.at + 1ns, 1ms);
    if (loosely)
      needed = rounded_up(needed + needed / 4 + 2s, 1s);
    auto candidate = best();
    if (needed < candidate.horizon) {
      candidate.horizon = needed;
      std::erase_if(candidate.faults, [&](auto& fault) { return fault.at >= needed; });
      for (auto& load : candidate.load) {
        if (load.until > needed)
          load.until = 0ns;
      }
      std::erase_if(candidate.load, [&](auto& load) { return load.from >= needed; });
      candidate.quiet = 1ms;
    } else if (needed < candidate.horizon + candidate.quiet) {
      candidate.quiet = needed - candidate.horizon;
    } else {
      return;
    }
    if (validate(candidate).empty()) {
      try_it(std::move(candidate));
      return;
    }
    // A quiet phase may have to be longer than that.
    candidate.quiet = best().quiet;
    try_it(std::move(candidate));
  }

  /// For failures that show only at the end: less time before it.
  bool shorter() {
    phase_ = "length";
    auto smaller = false;
    auto halve = [&](nanoseconds scenario::*length, nanoseconds least) {
      while (best().*length > least) {
        auto candidate = best();
        candidate.*length = std::max(rounded_up(best().*length / 2, 100ms), least);
        if (candidate.*length >= best().*length || !try_it(std::move(candidate)))
          return;
        smaller = true;
      }
    };
    if (result_.failure.at < best().horizon + best().quiet)
      return false; // cut_short does that
    auto last = nanoseconds{0};
    for (auto& fault : best().faults)
      last = std::max(last, fault.at);
    halve(&scenario::horizon, rounded_up(last + 1ns, 100ms));
    halve(&scenario::quiet, 100ms);
    return smaller;
  }

  /// Times that a reader can remember.
  void rounding() {
    phase_ = "rounding";
    for (std::size_t i = 0; i < best().faults.size(); ++i)
      for (auto time : {&scenario_fault::at, &scenario_fault::duration})
        for (nanoseconds unit : {nanoseconds{1s}, nanoseconds{100ms}, nanoseconds{10ms}, nanoseconds{1ms}}) {
          auto value = best().faults[i].*time;
          if (value % unit == 0ns)
            break;
          auto candidate = best();
          candidate.faults[i].*time = (value + unit / 2) / unit * unit;
          std::stable_sort(candidate.faults.begin(), candidate.faults.end(),
                           [](auto& a, auto& b) { return a.at < b.at; });
          if (try_it(std::move(candidate)))
            break;
        }
  }

  const shrink_options& options_;
  steady::time_point began_;
  std::string phase_;
  shrink_result result_;
  /// What was tried already.
  std::set<std::string> seen_;
};

} // namespace

scenario_size size_of(const scenario& what) {
  scenario_size result;
  result.faults = what.faults.size();
  for (auto& fault : what.faults)
    result.fault_time += fault.duration;
  for (auto& group : what.machines)
    result.machines += group.count;
  result.apps = what.apps.size();
  result.loads = what.load.size();
  result.length = what.horizon + what.quiet;
  return result;
}

scenario make_explicit(const scenario& what, std::uint64_t seed) {
  auto result = what;
  result.faults = draw_faults(what, draws{seed});
  result.swarm.clear();
  result.first_seed = seed;
  result.seeds = 1;
  // One seed need not reach everything.
  result.sometimes.clear();
  return result;
}

shrink_result shrink(const scenario& what, std::uint64_t seed, const shrink_options& options) {
  return shrinker{what, seed, options}.run();
}

} // namespace astra::sim
