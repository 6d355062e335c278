// Nanoseconds per pick of the plain scan, by size of the pool: the router's cost of choosing a node.
//   cmake --build build/release --target perf_swrr && build/release/test/perf_swrr

#include "actors/router/smooth_wrr.hpp"

#include <benchmark/benchmark.h>

#include <array>
#include <cstdint>
#include <vector>

namespace {

using namespace astra;

/// Weights over a range of 28 to 1, as cores times load give them.
smooth_wrr pool_of(std::int64_t nodes) {
  random_source random{7};
  std::vector<double> weights;
  for (std::int64_t i = 0; i < nodes; ++i)
    weights.push_back(1.0 + 27.0 * random.unit());
  auto ticks = to_ticks(weights);
  std::vector<smooth_wrr::member> pool;
  for (std::size_t i = 0; i < ticks.size(); ++i)
    pool.push_back({node_id{i + 1}, ticks[i]});
  smooth_wrr order;
  order.assign(std::move(pool), &random);
  return order;
}

void pick(benchmark::State& state) {
  auto order = pool_of(state.range(0));
  for (auto _ : state)
    benchmark::DoNotOptimize(order.pick());
}
BENCHMARK(pick)->Arg(10)->Arg(64)->Arg(1000);

/// The fourth node of a walk, after three refusals.
void pick_after_three_refusals(benchmark::State& state) {
  auto order = pool_of(state.range(0));
  const std::array passed_over{node_id{1}, node_id{5}, node_id{9}};
  for (auto _ : state)
    benchmark::DoNotOptimize(order.pick(passed_over));
}
BENCHMARK(pick_after_three_refusals)->Arg(10)->Arg(1000);

/// A refresh of the weights: every node stays.
void assign(benchmark::State& state) {
  auto order = pool_of(state.range(0));
  for (auto _ : state)
    order.assign(order.members());
}
BENCHMARK(assign)->Arg(10)->Arg(1000);

} // namespace

BENCHMARK_MAIN();
