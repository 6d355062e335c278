#include "runtime/sim/sim_swarm_network.hpp"

#include "test/runtime/sim/swarm_rig.hpp"

#include <cstdlib>
#include <ctime>
#include <numeric>

using namespace astra;
using namespace astra::test;

namespace {

constexpr std::uint64_t mega = 1'000'000;

/// Kurose and Ross: no way of distributing a content to n nodes takes less time.
double bound(const swarm_rig& rig, double nodes, double seeder, double up, double down) {
  auto size = rig.size();
  return std::max({size / seeder, size / down, nodes * size / (seeder + nodes * up)});
}

sim::sim_swarm_options links(std::uint64_t up, std::uint64_t down) {
  sim::sim_swarm_options result;
  result.uplink_bytes_per_s = up;
  result.downlink_bytes_per_s = down;
  return result;
}

/// How much of something happened within each second up to now, looked at every 10 ms.
class second_window {
public:
  void add(std::uint64_t total) {
    totals_.push_back(total);
    if (totals_.size() > 101)
      totals_.pop_front();
    most_ = std::max(most_, totals_.back() - totals_.front());
  }
  std::uint64_t most() const { return most_; }

private:
  std::deque<std::uint64_t> totals_;
  std::uint64_t most_ = 0;
};

double cpu_seconds() {
  return static_cast<double>(std::clock()) / CLOCKS_PER_SEC;
}

} // namespace

TEST_CASE("everybody gets a content, within a quarter of the bound of the links") {
  struct given {
    const char* what;
    std::size_t nodes;
    std::uint64_t up;
    std::uint64_t down;
    std::uint64_t seeder;
    double most;
  };
  for (auto& one : std::vector<given>{{"8 nodes, links of 20 Mbit/s", 8, 2'500'000, 0, 2'500'000, 1.2},
                                      {"both ways alike", 8, 2'500'000, 2'500'000, 2'500'000, 1.25},
                                      {"30 nodes", 30, 2'500'000, 0, 2'500'000, 1.25},
                                      {"a slow seeder", 8, 4 * mega, 0, 2 * mega, 1.25},
                                      {"a fast seeder", 8, 2 * mega, 0, 16 * mega, 1.35},
                                      {"slow downlinks", 8, 20 * mega, 2 * mega, 20 * mega, 1.15},
                                      {"one node", 1, 2 * mega, 0, 2 * mega, 1.1}}) {
    CAPTURE(std::string{one.what});
    swarm_rig::options options;
    options.nodes = one.nodes;
    options.network = links(one.up, one.down);
    options.seeder_uplink = one.seeder;
    swarm_rig rig{options};
    rig.run(600s, [&] { return rig.all_finished(); });
    REQUIRE(rig.all_finished());
    auto least = bound(rig, static_cast<double>(one.nodes), static_cast<double>(one.seeder),
                       static_cast<double>(one.up), one.down > 0 ? static_cast<double>(one.down) : 1e18);
    MESSAGE(std::string{one.what} << ": " << rig.seconds() / least << " of the bound, the seeder sent "
                                  << static_cast<double>(rig.network().sent_bytes(swarm_rig::machine(0))) / rig.size()
                                  << " F");
    CHECK(rig.seconds() >= least);
    CHECK(rig.seconds() <= one.most * least);
  }
}

TEST_CASE("no link ever carries more than it can within a second") {
  swarm_rig::options options;
  options.network = links(3 * mega, 2 * mega);
  swarm_rig rig{options};
  std::map<std::uint32_t, std::pair<second_window, second_window>> windows;
  rig.run(
      600s, [&] { return rig.all_finished(); },
      [&] {
        for (std::size_t i = 0; i <= options.nodes; ++i) {
          auto machine = swarm_rig::machine(i);
          windows[machine].first.add(rig.network().sent_bytes(machine));
          windows[machine].second.add(rig.network().received_bytes(machine));
        }
      });
  REQUIRE(rig.all_finished());
  for (auto& [machine, window] : windows) {
    CHECK(window.first.most() <= 3 * mega + 1);
    CHECK(window.second.most() <= 2 * mega + 1);
  }
}

TEST_CASE("a limit that falls and rises is obeyed from the moment it is set, over any second") {
  swarm_rig::options options;
  options.nodes = 4;
  options.network = links(8 * mega, 0);
  swarm_rig rig{options};
  auto before = 0.0;
  for (auto limit : {8 * mega, 1 * mega, std::uint64_t{4096}, 3 * mega}) {
    std::vector<second_window> up(5);
    std::vector<second_window> down(5);
    for (std::size_t i = 0; i < 5; ++i)
      rig[i].engine->set_limits({limit, limit});
    auto until = rig.now() + 4s;
    rig.run(until, nullptr, [&] {
      for (std::size_t i = 0; i < 5; ++i) {
        up[i].add(rig.network().sent_bytes(swarm_rig::machine(i)));
        down[i].add(rig.network().received_bytes(swarm_rig::machine(i)));
      }
    });
    for (std::size_t i = 0; i < 5; ++i) {
      CHECK(up[i].most() <= limit + 1);
      CHECK(down[i].most() <= limit + 1);
    }
    before += static_cast<double>(limit);
  }
  CHECK(rig.network().sent_bytes() > 0);
}

TEST_CASE("what a tracker allows all nodes together is never exceeded within a second, once its shares are known") {
  swarm_rig::options options;
  options.nodes = 12;
  options.network = links(2 * mega, 0);
  swarm_rig rig{options};
  rig.table().limit_all(4 * mega);
  rig.run(8s);
  second_window all;
  rig.run(
      30s, [&] { return rig.all_finished(); }, [&] { all.add(rig.network().sent_bytes()); });
  CHECK(all.most() <= 4 * mega + 13);
  CHECK(all.most() > 2 * mega);
}

TEST_CASE("when the seeder dies having sent 1.05 of the content, everybody gets what is left, as good as all of it") {
  std::size_t gone = 0;
  for (std::uint64_t seed = 1; seed <= 10; ++seed) {
    swarm_rig::options options;
    options.seed = seed;
    options.network = links(2'500'000, 0);
    swarm_rig rig{options};
    auto sent = [&] { return static_cast<double>(rig.network().sent_bytes(swarm_rig::machine(0))) / rig.size(); };
    rig.run(600s, [&] { return sent() >= 1.05 || rig.all_finished(); });
    rig.kill(0, seed % 2 == 0);
    gone += rig.gone();
    auto died = rig.now();
    rig.run(died + 30s, [&] { return rig.all_finished(); });
    CHECK(rig.all_finished() == (rig.gone() == 0));
    for (std::size_t i = 1; i <= options.nodes; ++i)
      CHECK(std::ranges::count(rig[i].have, false) == static_cast<std::ptrdiff_t>(rig.gone()));
    MESSAGE("seed " << seed << ": died after " << std::chrono::duration<double>(died).count() << " s, " << rig.gone()
                    << " pieces were nowhere else");
  }
  // Of 2570: what was being sent when it died.
  CHECK(gone <= 5);
}

TEST_CASE("the same seed brings the same events, another one others") {
  auto hash = [](std::uint64_t seed) {
    swarm_rig::options options;
    options.nodes = 12;
    options.seed = seed;
    options.content = "sim:16MiB";
    options.network = links(2 * mega, 3 * mega);
    swarm_rig rig{options};
    rig.run(3s);
    rig.kill(3);
    rig.kill(5, true);
    rig.run(4s);
    rig.restart(3);
    rig.run(100s, [&] { return rig.all_finished(); });
    return rig.trace_hash();
  };
  CHECK(hash(1) == hash(1));
  CHECK(hash(1) != hash(2));
}

TEST_CASE("nobody is talked to who was not named by both") {
  swarm_rig::options options;
  options.nodes = 2;
  swarm_rig rig{options};
  rig.run(1ms);
  auto& address = rig.what().address;
  // Named by one side.
  rig[1].engine->set_peers({rig[0].where});
  rig[1].engine->inject(address, {rig[0].where, rig[2].where});
  rig[0].engine->set_peers({});
  rig.run(100ms);
  REQUIRE(rig[1].refused.size() == 1);
  CHECK(rig[1].refused[0] == rig[2].where);
  REQUIRE(rig[0].refused.size() == 1);
  CHECK(rig[0].refused[0].address == rig[1].where.address);
  CHECK(rig[1].left == std::vector<std::string>{"connection reset"});
  CHECK(rig.network().sent_bytes() == 0);
}

TEST_CASE("nothing passes where a link is cut, and the connection ends after a silence") {
  swarm_rig::options options;
  options.nodes = 1;
  options.network = links(2 * mega, 0);
  swarm_rig rig{options};
  rig.run(5s);
  auto before = rig.network().sent_bytes();
  CHECK(before > 2 * mega);
  rig.cut(0, 1);
  rig.network().links_changed();
  rig.run(8s);
  CHECK(rig.network().sent_bytes() == before);
  CHECK(rig[1].left.empty());
  rig.cut(0, 1, false);
  rig.network().links_changed();
  rig.run(9s);
  CHECK(rig.network().sent_bytes() > before + mega);
  rig.cut(0, 1);
  rig.network().links_changed();
  rig.run(15s);
  auto& left = rig[0].left.empty() ? rig[1].left : rig[0].left;
  REQUIRE_FALSE(left.empty());
  CHECK(left[0] == "timed out");
  rig.cut(0, 1, false);
  rig.network().links_changed();
  rig.run(600s, [&] { return rig.all_finished(); });
  CHECK(rig.all_finished());
}

TEST_CASE("a node that comes back goes on with what it had") {
  swarm_rig::options options;
  options.nodes = 3;
  options.network = links(2 * mega, 0);
  swarm_rig rig{options};
  rig.run(20s);
  auto had = std::ranges::count(rig[2].have, true);
  CHECK(had > 20);
  rig.kill(2);
  auto by_blocks = false;
  SUBCASE("of its process: from its resume data, and the blocks since") {
    REQUIRE_FALSE(rig[2].store->resume(rig.what().address).empty());
    by_blocks = true;
  }
  SUBCASE("of its machine: what it finds on the disk") {
    rig[2].disk.contents.lose_power(sim::draws{1}, 3);
    rig[2].disk.contents.open = false;
    CHECK(rig[2].store->resume(rig.what().address).empty());
  }
  rig.restart(2);
  rig.run(600s, [&] { return rig.all_finished(); });
  CHECK(rig.all_finished());
  CHECK(rig[2].rejected == 0);
  CHECK(rig[2].disk.contents.all.at(rig.what().address).whole());
  if (by_blocks)
    CHECK(rig[2].newest.downloaded_bytes <= rig.what().size - static_cast<std::uint64_t>(had) * rig.what().piece_size);
}

TEST_CASE("a full disk stops a fetch and says so") {
  swarm_rig::options options;
  options.nodes = 1;
  options.network = links(2 * mega, 0);
  swarm_rig rig{options};
  rig.run(5s);
  rig[1].disk.full = true;
  rig.run(7s);
  REQUIRE(rig[1].failures.size() == 1);
  CHECK(rig[1].failures[0].kind == p2p::fault::no_space);
}

TEST_CASE("a piece that is damaged on the disk is noticed when somebody asks for it, and not passed on") {
  swarm_rig::options options;
  options.nodes = 2;
  options.network = links(2 * mega, 0);
  options.content = "sim:4MiB";
  swarm_rig rig{options};
  rig[0].disk.contents.all.at(rig.what().address).right[5] = false;
  rig.run(30s);
  CHECK(rig[0].damaged);
  CHECK_FALSE(rig[0].have[5]);
  CHECK(rig[1].rejected + rig[2].rejected == 0);
  CHECK_FALSE(rig[1].have[5]);
}

TEST_CASE("a thousand nodes fetch a content with a few steps per piece") {
  swarm_rig::options options;
  // As many as one likes, by hand.
  auto* more = std::getenv("ASTRA_SWARM_NODES");
  options.nodes = more ? std::strtoul(more, nullptr, 10) : 1000;
  options.content = "sim:16MiB";
  options.network = links(2'500'000, 0);
  auto began = cpu_seconds();
  swarm_rig rig{options};
  rig.run(300s, [&] { return rig.all_finished(); });
  REQUIRE(rig.all_finished());
  auto pieces = static_cast<double>(options.nodes * rig.what().piece_hashes.size());
  auto per_piece = static_cast<double>(rig.network().steps()) / pieces;
  MESSAGE(options.nodes << " nodes, " << rig.what().piece_hashes.size() << " pieces: " << rig.seconds()
                        << " s of virtual time, bound "
                        << bound(rig, static_cast<double>(options.nodes), 2.5e6, 2.5e6, 1e18) << " s, "
                        << cpu_seconds() - began << " s of CPU, " << rig.moved_seconds()
                        << " s of these in the model and " << rig.thought_seconds() << " s in the tracker, "
                        << per_piece << " steps per piece");
  CHECK(per_piece < 6.0);
}
