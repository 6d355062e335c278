// What a pick costs, by kind of order and size of the pool, and what it costs to keep the order and the weights.
//   cmake --build build/release --target perf_picks && build/release/test/perf_picks [LARGEST POOL]
//
// Weights over a range of 28 to 1, as cores times load give them.  CPU time of the thread, best of five; the columns of
// ratios are against the plain scan (nginx's loop) in the same run.  "After 3 refusals" is the fourth node of a walk,
// with the three picks before it.

#include "actors/router/calendar_queue.hpp"
#include "actors/router/class_swrr.hpp"
#include "actors/router/smooth_wrr.hpp"
#include "actors/router/water_filling.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <ctime>
#include <functional>
#include <memory>
#include <vector>

using namespace astra;

namespace {

double cpu_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e9 + static_cast<double>(now.tv_nsec);
}

double best_ns(const std::function<void()>& work, int times = 5) {
  auto best = 1e300;
  for (int i = 0; i < times; ++i) {
    auto began = cpu_ns();
    work();
    best = std::min(best, cpu_ns() - began);
  }
  return best;
}

std::uint64_t sink = 0;

std::vector<order::entry> pool_of(std::size_t nodes, random_source& random) {
  std::vector<order::entry> pool;
  pool.reserve(nodes);
  for (std::size_t i = 0; i < nodes; ++i)
    pool.push_back({static_cast<seat>(i), 1.0 + 27.0 * random.unit()});
  return pool;
}

struct costs {
  double pick = 0.0;
  double walk = 0.0;
  double build = 0.0;
  double same = 0.0;
  double changed = 0.0;
  double update = 0.0;
};

costs measure(order_kind kind, std::size_t nodes) {
  random_source random{7};
  auto pool = pool_of(nodes, random);
  costs result;
  std::unique_ptr<order> of;
  result.build = best_ns(
      [&] {
        of = make_order(kind);
        of->assign(pool, &random);
      },
      3);
  auto linear = kind == order_kind::scan;
  auto picks = linear ? std::max<std::size_t>(20, 4'000'000 / nodes) : std::size_t{1'000'000};
  // One round first: the order as it is after a while.
  for (std::size_t i = 0; i < (linear ? picks : std::max(nodes, picks)); ++i)
    sink += *of->pick();
  result.pick = best_ns([&] {
                  for (std::size_t i = 0; i < picks; ++i)
                    sink += *of->pick();
                })
                / static_cast<double>(picks);
  auto walks = picks / 8 + 1;
  result.walk = best_ns([&] {
                  std::array<seat, 3> asked{};
                  for (std::size_t i = 0; i < walks; ++i) {
                    for (std::size_t refused = 0; refused <= asked.size(); ++refused) {
                      auto next = *of->pick(std::span{asked}.first(refused));
                      if (refused < asked.size())
                        asked[refused] = next;
                      sink += next;
                    }
                  }
                })
                / static_cast<double>(walks);
  result.same = best_ns([&] { of->assign(pool, &random); }, 3) / static_cast<double>(nodes);
  result.changed = best_ns(
                       [&] {
                         for (auto& who : pool)
                           who.weight = 1.0 + 27.0 * random.unit();
                         of->assign(pool, &random);
                       },
                       3)
                   / static_cast<double>(nodes);
  if (!linear) {
    constexpr std::size_t updates = 200'000;
    std::vector<order::entry> news;
    for (std::size_t i = 0; i < updates; ++i)
      news.push_back({static_cast<seat>(random.below(nodes)), 1.0 + 27.0 * random.unit()});
    result.update = best_ns([&] {
                      for (auto& who : news)
                        of->update(who);
                      for (auto& who : news)
                        of->update({who.at, 29.0 - who.weight});
                    })
                    / (2.0 * updates);
  }
  return result;
}

void measure_orders(std::size_t nodes) {
  fmt::print("\n{} nodes, ns             per pick    ratio  per walk, 3 refused  refresh/node  all changed/node  "
             "update  build, ms\n",
             nodes);
  auto scan = measure(order_kind::scan, nodes);
  auto print = [&](const char* name, const costs& of) {
    fmt::print("  {:16} {:16.1f} {:8.0f} {:20.1f} {:13.1f} {:17.1f} {:7.0f} {:10.2f}\n", name, of.pick,
               scan.pick / of.pick, of.walk, of.same, of.changed, of.update, of.build * 1e-6);
  };
  print("scan (nginx)", scan);
  print("class SWRR", measure(order_kind::classes, nodes));
  print("calendar", measure(order_kind::calendar, nodes));
}

void measure_filling(std::size_t count) {
  random_source random{3};
  std::vector<water_filling::node> nodes;
  auto capacity = 0.0;
  for (std::size_t i = 0; i < count; ++i) {
    auto slots = 1.0 + static_cast<double>(random.below(16));
    nodes.push_back({slots, std::exp2(3.0 * random.unit() - 1.0), static_cast<double>(random.below(16))});
    capacity += nodes.back().slots * nodes.back().rate;
  }
  std::vector<double> weights(count);
  for (auto fast : {false, true}) {
    water_filling filling;
    auto first = best_ns([&] { filling.solve(nodes, 0.7 * capacity, {.prefer_fast = fast}, weights); }, 1);
    auto passes_first = filling.passes();
    // A refresh: the load has moved a little since.
    auto at = 0;
    auto passes = 0;
    auto again = best_ns([&] {
      filling.solve(nodes, (0.7 + 0.01 * (++at % 2)) * capacity, {.prefer_fast = fast}, weights);
      passes = filling.passes();
    });
    fmt::print(
        "water filling, {:8} nodes, {}: {:.2f} ms ({} passes) the first time, {:.2f} ms ({} passes) at a refresh\n",
        count, fast ? "fast" : "flat", first * 1e-6, passes_first, again * 1e-6, passes);
  }
}

} // namespace

int main(int argc, char** argv) {
  auto largest = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 1'000'000ULL;
  for (auto nodes : {10ULL, 1'000ULL, 100'000ULL, 1'000'000ULL})
    if (nodes <= largest)
      measure_orders(nodes);
  fmt::print("\n");
  for (auto nodes : {1'000ULL, 100'000ULL, 1'000'000ULL})
    if (nodes <= largest)
      measure_filling(nodes);
  return sink == 42 ? 1 : 0;
}
