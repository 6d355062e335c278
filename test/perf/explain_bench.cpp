// What a plan and an explanation cost on a view of N nodes.
//   cmake --build build/release --target perf_explain && build/release/test/perf_explain [NODES]
//
// Each node runs up to three replicas; there are 32 kinds of node in 4 zones.  "Cold" makes the columns of the view
// first, "warm" finds them made, as a scheduler does while something has no place.  Times are the best of three.

#include "actors/resource/cluster_view.hpp"
#include "actors/scheduler/explain.hpp"
#include "actors/scheduler/view_columns.hpp"
#include "config/label_expression.hpp"
#include "messages/ids.hpp"

#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>

using namespace astra;

namespace {

constexpr resource_id origin{1};
constexpr std::uint64_t gibibyte = 1ULL << 30;

double cpu_ms() {
  rusage used{};
  ::getrusage(RUSAGE_SELF, &used);
  auto ms = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) * 1e3 + static_cast<double>(t.tv_usec) * 1e-3;
  };
  return ms(used.ru_utime) + ms(used.ru_stime);
}

double best_ms(const std::function<void()>& work) {
  auto best = 1e300;
  for (int i = 0; i < 3; ++i) {
    auto began = cpu_ms();
    work();
    best = std::min(best, cpu_ms() - began);
  }
  return best;
}

class bench {
public:
  explicit bench(std::size_t count) : count_(count) {
    pb::ViewDelta snapshot;
    snapshot.set_origin(origin.value());
    snapshot.set_epoch(1);
    snapshot.set_version(1);
    for (std::size_t i = 0; i < count_; ++i)
      add_node(*snapshot.add_nodes(), i);
    view_changes changes;
    view_.apply(snapshot, {}, changes);
  }

  void run() {
    fmt::print("columns made: {:.1f} ms\n", best_ms([&] { view_columns made{view_.nodes()}; }));
    columns_ = view_columns{view_.nodes()};
    auto base = small_app();
    base.mutable_per_replica()->set_memory_bytes(400 * gibibyte);
    measure("memory that no node has", base);
    base.mutable_per_replica()->set_cpu_milli(100'000);
    measure("memory and cores that no node has", base);
    base = small_app();
    need(base, "t4", 9);
    measure("more cards than a node has", base);
    base = small_app();
    require(base, "zone in (x, y)");
    measure("a zone that there is not", base);
    base = small_app();
    require(base, "zone == a");
    require(base, "disk != ssd");
    base.mutable_per_replica()->set_memory_bytes(400 * gibibyte);
    auto& spread = *base.mutable_placement()->add_spread();
    spread.set_label("zone");
    spread.set_max_skew(1);
    base.mutable_placement()->add_anti_affinity()->set_app("db");
    measure("expressions, spread, anti-affinity and memory", base);
    place("a place for one, anywhere", small_app());
    auto one_zone = small_app();
    require(one_zone, "zone == a");
    place("a place for one, in a quarter of the nodes", one_zone);
    auto card = small_app();
    need(card, "a100", 1);
    place("a place for one, with a card that 1 in 100 has", card);
  }

private:
  static pb::AppSpec small_app() {
    pb::AppSpec spec;
    spec.set_name("ocr");
    spec.set_replicas(1);
    spec.mutable_per_replica()->set_cpu_milli(1000);
    spec.mutable_per_replica()->set_memory_bytes(gibibyte);
    return spec;
  }

  static void need(pb::AppSpec& spec, const std::string& kind, std::uint32_t count) {
    auto& card = *spec.mutable_per_replica()->add_accelerators();
    card.set_kind(kind);
    card.set_count(count);
  }

  static void require(pb::AppSpec& spec, const std::string& text) {
    if (!parse_label_expression(text, *spec.mutable_placement()->add_require()).empty())
      std::abort();
  }

  std::uint64_t draw(std::uint64_t below) {
    random_ = random_ * 6364136223846793005U + 1442695040888963407U;
    return (random_ >> 33U) % below;
  }

  void add_node(pb::NodeRow& row, std::size_t i) {
    auto name = "node-" + std::to_string(i);
    row.set_node(make_node_id(name).value());
    row.set_incarnation(1);
    row.set_home_epoch(1);
    row.set_liveness(draw(200) == 0 ? pb::LIVENESS_OFFLINE : pb::LIVENESS_ONLINE);
    auto& profile = *row.mutable_profile();
    profile.set_node(row.node());
    profile.set_incarnation(1);
    profile.set_version(1);
    profile.set_name(name);
    auto& capacity = *profile.mutable_capacity();
    capacity.set_cpu_milli(draw(2) == 0 ? 16'000 : 64'000);
    capacity.set_memory_bytes((draw(2) == 0 ? 64 : 256) * gibibyte);
    auto add_label = [&](const char* key, const char* value) {
      auto& label = *profile.add_labels();
      label.set_key(key);
      label.set_value(value);
    };
    static constexpr const char* zones[] = {"a", "b", "c", "d"};
    add_label("disk", draw(2) == 0 ? "hdd" : "ssd");
    add_label("zone", zones[draw(4)]);
    if (auto kind = draw(100); kind < 11) {
      auto& card = *capacity.add_accelerators();
      card.set_kind(kind == 0 ? "a100" : "t4");
      card.set_count(4);
    }
    if (draw(10) == 0)
      profile.add_taints()->set_key("spot");
    static constexpr const char* apps[] = {"web", "db", "cache"};
    for (auto n = draw(4); n > 0; --n) {
      auto& replica = *profile.add_replicas();
      replica.set_app(apps[n - 1]);
      replica.set_token(i * 4 + n);
      replica.set_index(static_cast<std::uint32_t>(i));
      replica.set_state(pb::REPLICA_READY);
      replica.mutable_resources()->set_cpu_milli(static_cast<std::uint32_t>(500 * (1 + draw(8))));
      replica.mutable_resources()->set_memory_bytes(gibibyte * (1 + draw(8)));
    }
  }

  plan_input input_for(const pb::AppSpec& spec) const {
    plan_input input{spec, view_.nodes()};
    input.missing = {0};
    input.reachable = {origin};
    input.index = &view_.index();
    return input;
  }

  void measure(const char* what, const pb::AppSpec& spec) {
    auto input = input_for(spec);
    explanation told;
    auto cold = best_ms([&] { told = explain(input); });
    input.columns = &columns_;
    auto warm = best_ms([&] { told = explain(input); });
    random_source random{1};
    auto planned = best_ms([&] { plan(input, random); });
    std::string changes;
    for (auto& change : told.changes)
      changes += (changes.empty() ? "" : " and ") + to_text(change);
    fmt::print("{:<48} explain {:7.1f} ms, cold {:7.1f} ms; plan that fails {:8.1f} ms\n  {}\n  {} on {}\n", what, warm,
               cold, planned, to_text(told), changes, told.node_name);
  }

  void place(const char* what, const pb::AppSpec& spec) {
    auto input = input_for(spec);
    random_source random{1};
    std::size_t placed = 0;
    auto ms = best_ms([&] { placed = plan(input, random).placements.size(); });
    if (placed != 1)
      std::abort();
    fmt::print("{:<48} plan {:8.1f} ms\n", what, ms);
  }

  std::size_t count_;
  std::uint64_t random_ = 1;
  cluster_view view_;
  view_columns columns_;
};

} // namespace

int main(int argc, char** argv) {
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  auto nodes = argc > 1 ? std::strtoul(argv[1], nullptr, 10) : 1'000'000UL;
  if (nodes == 0) {
    std::fprintf(stderr, "usage: perf_explain [NODES]\n");
    return 2;
  }
  fmt::print("{} nodes, one core, CPU time\n", nodes);
  bench{nodes}.run();
}
