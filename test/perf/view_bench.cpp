// What the view of N nodes costs: heartbeats into a shard, deltas out of it and into a view, a snapshot, a late joiner.
//   cmake --build build/release --target perf_view && build/release/test/perf_view [NODES]
//
// One Resource's shard through the plain classes that its actor uses, without actors and sockets.  Every line is one
// pass over all nodes.

#include "actors/resource/cluster_view.hpp"
#include "actors/resource/member_table.hpp"
#include "actors/resource/shard_log.hpp"
#include "messages/ids.hpp"
#include "messages/wire.hpp"

#include <fmt/format.h>
#include <sys/resource.h>

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

using namespace astra;
using namespace std::chrono_literals;

namespace {

constexpr resource_id origin{1};
constexpr std::size_t chunk = 256 * 1024;

double cpu_now() {
  rusage used{};
  ::getrusage(RUSAGE_SELF, &used);
  auto seconds = [](const timeval& t) { return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) * 1e-6; };
  return seconds(used.ru_utime) + seconds(used.ru_stime);
}

double resident_mib() {
  std::ifstream in{"/proc/self/statm"};
  long pages = 0;
  in >> pages >> pages;
  return static_cast<double>(pages) * 4096.0 / 1048576.0;
}

struct lap {
  double began = cpu_now();
  double ms() const { return (cpu_now() - began) * 1e3; }
};

void line(const std::string& what, double ms, std::size_t nodes, std::size_t bytes = 0) {
  fmt::print("{:<52} {:9.1f} ms  {:7.0f} ns/node", what, ms, ms * 1e6 / static_cast<double>(nodes));
  if (bytes > 0)
    fmt::print("  {:8.2f} bytes/node", static_cast<double>(bytes) / static_cast<double>(nodes));
  fmt::print("\n");
}

struct bench {
  explicit bench(std::size_t count) : count_(count) {
    for (std::size_t i = 0; i < count_; ++i)
      ids_.push_back(make_node_id("node-" + std::to_string(i)));
  }

  void run() {
    auto before = resident_mib();
    join();
    fmt::print("{:<52} {:9.0f} bytes/node\n", "memory of the shard and its view, per node",
               (resident_mib() - before) * 1048576.0 / static_cast<double>(count_));
    for (auto share : {1.0, 0.3, 0.05})
      beats(share);
    snapshot();
    die(0.1);
  }

private:
  std::vector<pb::ViewDelta> flush(stream which) {
    std::vector<pb::ViewDelta> result;
    while (auto delta = log_.flush(which, now_, chunk))
      result.push_back(std::move(*delta));
    return result;
  }

  static std::size_t bytes_of(const std::vector<pb::ViewDelta>& deltas) {
    std::size_t result = 0;
    for (auto& delta : deltas)
      result += delta.ByteSizeLong();
    return result;
  }

  void apply(cluster_view& view, const std::vector<pb::ViewDelta>& deltas) {
    for (auto& delta : deltas) {
      view_changes changes;
      if (view.apply(delta, now_, changes) != cluster_view::apply_outcome::applied)
        std::abort();
    }
  }

  pb::Heartbeat beat_of(std::size_t i) {
    pb::Heartbeat beat;
    beat.set_node(ids_[i].value());
    beat.set_incarnation(1);
    beat.set_home_epoch(1);
    beat.set_sequence(++sequence_);
    auto& load = *beat.mutable_load();
    // Of a node whose turn it was, utilisation, busy cores, concurrency and memory have moved; running mostly.
    load.set_host_utilisation(static_cast<double>(draw() % 1000) / 1000.0);
    load.set_own_busy_cores(static_cast<double>(draw() % 16000) / 1000.0);
    load.set_concurrency(static_cast<double>(draw() % 32000) / 1000.0);
    load.set_memory_used_bytes((draw() % 65536) << 20U);
    return beat;
  }

  std::uint64_t draw() {
    random_ = random_ * 6364136223846793005U + 1442695040888963407U;
    return random_ >> 33U;
  }

  void join() {
    auto first = log_.beginning();
    apply(own_, {first});
    lap joins;
    for (std::size_t i = 0; i < count_; ++i) {
      members_.record(beat_of(i), now_);
      pb::ProfileUpdate update;
      update.set_home_epoch(1);
      auto& profile = *update.mutable_profile();
      profile.set_node(ids_[i].value());
      profile.set_incarnation(1);
      profile.set_version(1);
      profile.set_name("node-" + std::to_string(i));
      profile.set_address(fmt::format("10.{}.{}.{}:9700", i >> 16U & 255U, i >> 8U & 255U, i & 255U));
      profile.mutable_capacity()->set_cpu_milli(16000);
      profile.mutable_capacity()->set_memory_bytes(std::uint64_t{64} << 30U);
      auto& label = *profile.add_labels();
      label.set_key("zone");
      label.set_value(i % 2 == 0 ? "a" : "b");
      members_.record(update, now_);
    }
    line("join: first beat and profile", joins.ms(), count_);
    lap out;
    auto deltas = flush(stream::liveness);
    line("join: deltas made", out.ms(), count_, bytes_of(deltas));
    lap in;
    apply(own_, deltas);
    line("join: deltas applied", in.ms(), count_);
  }

  void beats(double share) {
    now_ += 1s;
    std::vector<pb::Heartbeat> beats;
    std::vector<pb::Heartbeat> same;
    for (std::size_t i = 0; i < count_; ++i) {
      auto moved = static_cast<double>(draw() % 10000) / 10000.0 < share;
      auto beat = beat_of(i);
      if (!moved)
        *beat.mutable_load() = log_.load(ids_[i])->to_pb();
      beats.push_back(std::move(beat));
    }
    lap in;
    for (auto& beat : beats)
      members_.record(beat, now_);
    line(fmt::format("beats, {:.0f} % of the loads changed: recorded", share * 100), in.ms(), count_);
    lap out;
    auto deltas = flush(stream::load);
    auto bytes = bytes_of(deltas);
    line(fmt::format("beats, {:.0f} % of the loads changed: deltas made", share * 100), out.ms(), count_, bytes);
    lap apply_time;
    apply(own_, deltas);
    line(fmt::format("beats, {:.0f} % of the loads changed: deltas applied", share * 100), apply_time.ms(), count_);
  }

  void snapshot() {
    std::vector<pb::ViewDelta> parts;
    lap out;
    auto cursor = own_.cursor(origin, 0, 0);
    std::size_t rows = 0;
    std::size_t loads = 0;
    while (cursor.at != shard_cursor::section::done) {
      parts.push_back(own_.next_part(cursor, chunk, now_, true));
      for (auto& columns : parts.back().loads())
        loads += columns.ByteSizeLong();
    }
    for (auto& part : parts)
      rows += part.ByteSizeLong();
    line("snapshot in parts: made", out.ms(), count_, rows);
    fmt::print("{:<52} {:34.2f} bytes/node\n", "snapshot in parts: loads alone",
               static_cast<double>(loads) / static_cast<double>(count_));
    lap wire;
    std::vector<std::string> sealed;
    for (auto& part : parts)
      sealed.push_back(encode(part));
    line("snapshot in parts: serialised", wire.ms(), count_);
    lap in;
    pb::ViewDelta whole;
    for (auto& bytes : sealed) {
      pb::ViewDelta part;
      if (!decode(part, bytes))
        std::abort();
      whole.MergeFrom(part);
    }
    line("late joiner: parsed", in.ms(), count_);
    whole.clear_more();
    std::vector<pb::ViewDelta> collected;
    collected.push_back(std::move(whole));
    lap taken;
    apply(late_, collected);
    line("late joiner: applied", taken.ms(), count_);
    if (late_.digest(origin) != own_.digest(origin))
      std::abort();
  }

  void die(double share) {
    auto alive = static_cast<std::size_t>(static_cast<double>(count_) * (1.0 - share));
    now_ += 1s;
    for (std::size_t i = 0; i < alive; ++i)
      members_.record(beat_of(i), now_ + 1500ms);
    apply(own_, flush(stream::load));
    now_ += 2100ms;
    lap sweep;
    auto gone = members_.sweep(now_).size();
    line(fmt::format("{:.0f} % fall silent at once: sweep", share * 100), sweep.ms(), count_);
    lap out;
    auto deltas = flush(stream::liveness);
    auto bytes = bytes_of(deltas);
    line(fmt::format("{:.0f} % fall silent at once: {} rows told", share * 100, gone), out.ms(), count_, bytes);
    lap in;
    apply(own_, deltas);
    line(fmt::format("{:.0f} % fall silent at once: applied", share * 100), in.ms(), count_);
  }

  std::size_t count_;
  std::vector<node_id> ids_;
  shard_log log_{origin, "r1", 1, 1600ms};
  member_table members_{log_, {1500ms, 3000ms}, 60s};
  cluster_view own_;
  cluster_view late_;
  shard_log::time_point now_{1000s};
  std::uint64_t sequence_ = 0;
  std::uint64_t random_ = 1;
};

} // namespace

int main(int argc, char** argv) {
  auto nodes = argc > 1 ? std::strtoul(argv[1], nullptr, 10) : 1'000'000UL;
  if (nodes == 0) {
    std::fprintf(stderr, "usage: perf_view [NODES]\n");
    return 2;
  }
  fmt::print("{} nodes, one core, CPU time\n", nodes);
  bench{nodes}.run();
}
