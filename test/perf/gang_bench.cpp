// How gangs fare: `perf_gangs contend [SEEDS] [LOSE_PERCENT]` lets eight of them contend for too little, `perf_gangs
// latency [SEEDS] [REPLICAS] [PERCENT_FULL] [CHURN_PER_S]` places one among others.  Simulated time.

#include "test/actors/scheduler/gang_arena.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <vector>

namespace {

using namespace astra::test;

double at_share(std::vector<double> sorted, double share) {
  std::sort(sorted.begin(), sorted.end());
  return sorted[std::min(sorted.size() - 1, static_cast<std::size_t>(share * static_cast<double>(sorted.size())))];
}

int contend(unsigned long seeds, unsigned long lose_percent) {
  unsigned long bad = 0;
  std::vector<double> waits;
  std::vector<double> ends;
  for (unsigned long seed = 1; seed <= seeds; ++seed) {
    contention world{seed, lose_percent};
    auto began = world.arena.now;
    auto done = world.run(std::chrono::minutes{10});
    if (!done || !world.arena.sound()) {
      ++bad;
      fmt::print("seed {}: {}\n", seed, done ? "a node has more than it has room for" : "not all finished in 600 s");
      continue;
    }
    for (auto& app : world.arena.apps)
      waits.push_back(std::chrono::duration<double>(*app->placed - app->began).count());
    ends.push_back(std::chrono::duration<double>(world.arena.now - began).count());
  }
  fmt::print("{} seeds, 8 gangs, {} % of messages lost: {} bad\n", seeds, lose_percent, bad);
  if (!ends.empty())
    fmt::print(
        "all finished after: p50 {:.1f} s, max {:.1f} s; a gang waits: p50 {:.1f} s, p99 {:.1f} s, max {:.1f} s\n",
        at_share(ends, 0.5), at_share(ends, 1.0), at_share(waits, 0.5), at_share(waits, 0.99), at_share(waits, 1.0));
  return bad == 0 ? 0 : 1;
}

int latency(unsigned long seeds, std::uint32_t replicas, double full, unsigned long churn_per_s) {
  std::vector<double> times;
  std::uint64_t refused = 0;
  unsigned long never = 0;
  for (unsigned long seed = 1; seed <= seeds; ++seed) {
    if (auto took = gang_latency_ms(seed, replicas, 5 * replicas, full, churn_per_s, &refused))
      times.push_back(*took);
    else
      ++never;
  }
  if (!times.empty())
    fmt::print(
        "gang of {} on {} nodes of 8 cores, {:.0f} % full, {} others per s: placed after p50 {:.1f} ms, p99 {:.1f} "
        "ms, max {:.1f} ms; {:.1f} refused per gang\n",
        replicas, 5 * replicas, 100 * full, churn_per_s, at_share(times, 0.5), at_share(times, 0.99),
        at_share(times, 1.0), static_cast<double>(refused) / static_cast<double>(seeds));
  fmt::print("{} of {} seeds not placed in 10 s\n", never, seeds);
  return never == 0 ? 0 : 1;
}

} // namespace

int main(int argc, char** argv) {
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  auto number = [&](int at, unsigned long otherwise) {
    return argc > at ? std::strtoul(argv[at], nullptr, 10) : otherwise;
  };
  std::string_view verb = argc > 1 ? argv[1] : "";
  if (verb == "contend")
    return contend(number(2, 1000), number(3, 0));
  if (verb == "latency")
    return latency(number(2, 100), static_cast<std::uint32_t>(number(3, 1000)),
                   static_cast<double>(number(4, 95)) / 100.0, number(5, 1000));
  std::fprintf(stderr, "usage: perf_gangs contend [SEEDS] [LOSE_PERCENT] | latency [SEEDS] [REPLICAS] [PERCENT_FULL] "
                       "[CHURN_PER_S]\n");
  return 2;
}
