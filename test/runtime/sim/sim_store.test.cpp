#include "runtime/sim/sim_store.hpp"

#include <doctest/doctest.h>

#include <algorithm>

using namespace astra;
using namespace astra::sim;
using namespace std::chrono_literals;
using p2p::content_state;
using p2p::fault;

namespace {

using time_point = p2p::content_store::time_point;

constexpr std::uint64_t mib = 1 << 20U;

p2p::content content_of(const std::string& path) {
  auto made = make_sim_content(path);
  REQUIRE(made);
  return *made;
}

/// Puts some pieces there, as an engine does.
void write_pieces(sim_disk& disk, const p2p::content& what, std::size_t count) {
  auto& right = disk.contents.all.at(what.address).right;
  std::fill_n(right.begin(), count, true);
}

} // namespace

TEST_CASE("a path of a simulated machine is a content with a real torrent") {
  auto made = content_of("sim:64MiB:seed=7");
  CHECK(made.size == 64 * mib);
  CHECK(made.piece_size == 256 * 1024);
  CHECK(made.piece_hashes.size() == 257);
  auto read = p2p::read_content(made.torrent);
  REQUIRE(read);
  CHECK(read->address == made.address);
  CHECK(read->piece_hashes == made.piece_hashes);
  CHECK(content_of("/models/sim:64MiB:seed=7").address == made.address);
  CHECK(content_of("sim:64MiB:seed=8").address != made.address);
  CHECK(content_of("sim:64MiB").address != made.address);
}

TEST_CASE("other paths name nothing on a simulated machine") {
  CHECK(make_sim_content("/models/llama").problem().kind == fault::missing);
  CHECK(make_sim_content("sim:").problem().kind == fault::missing);
  CHECK(make_sim_content("sim:much").problem().kind == fault::missing);
  CHECK(make_sim_content("sim:1KiB").problem().kind == fault::unfit);
  CHECK(make_sim_content("sim:8TiB").problem().kind == fault::unfit);
}

TEST_CASE("a content is fetched, ready, used and evicted") {
  sim_disk disk;
  sim_store store{disk, {}};
  auto what = content_of("sim:4MiB");
  CHECK(store.state(what.address) == content_state::absent);
  REQUIRE(store.fetch(what, time_point{}));
  CHECK(store.state(what.address) == content_state::fetching);
  CHECK(store.make_ready(what.address, time_point{}).problem().kind == fault::unfit);
  write_pieces(disk, what, what.piece_hashes.size());
  REQUIRE(store.make_ready(what.address, time_point{1s}));
  CHECK(store.state(what.address) == content_state::ready);
  CHECK(store.fetch(what, time_point{}).problem().kind == fault::busy);
  CHECK(store.bytes() == 4 * mib);
  store.hold(what.address);
  CHECK(store.evict(what.address).problem().kind == fault::busy);
  store.release(what.address);
  REQUIRE(store.evict(what.address));
  CHECK(store.list().empty());
}

TEST_CASE("whatever process opens it, a store has what the disk has") {
  sim_disk disk;
  auto what = content_of("sim:4MiB");
  {
    sim_store store{disk, {}};
    REQUIRE(store.fetch(what, time_point{}));
    REQUIRE(store.save_notes("names"));
    REQUIRE(store.save_resume(what.address, std::vector<char>{'a', 'b'}));
    REQUIRE(store.condemn(what.address, "broken", std::vector<bool>(what.piece_hashes.size(), true)));
  }
  SUBCASE("after the end of a process") {
    sim_store store{disk, {}};
    CHECK(store.notes() == "names");
    CHECK(store.resume(what.address) == std::vector<char>{'a', 'b'});
    CHECK(store.good_pieces(what.address).size() == what.piece_hashes.size());
    CHECK(store.list()[0].reason == "broken");
  }
  SUBCASE("after a loss of power, but for what was said of pieces") {
    disk.contents.lose_power(draws{1}, 1);
    sim_store store{disk, {}};
    CHECK(store.notes() == "names");
    CHECK(store.resume(what.address).empty());
    CHECK(store.good_pieces(what.address).empty());
    CHECK(store.state(what.address) == content_state::condemned);
  }
}

TEST_CASE("a loss of power takes pieces that were never made to last, and no others") {
  sim_disk disk;
  sim_store store{disk, {}};
  auto fetched = content_of("sim:64MiB");
  auto ready = content_of("sim:4MiB");
  REQUIRE(store.fetch(fetched, time_point{}));
  write_pieces(disk, fetched, 200);
  REQUIRE(store.import(ready, "sim:4MiB", time_point{}, {}));
  disk.contents.lose_power(draws{1}, 1);
  auto left = std::ranges::count(disk.contents.all.at(fetched.address).right, true);
  CHECK(left > 50);
  CHECK(left < 150);
  CHECK(disk.contents.all.at(ready.address).whole());
}

TEST_CASE("verifying finds what is damaged, and what is whole becomes ready") {
  sim_disk disk;
  sim_store store{disk, {}};
  auto what = content_of("sim:4MiB");
  REQUIRE(store.fetch(what, time_point{}));
  write_pieces(disk, what, what.piece_hashes.size());
  auto found = store.verify(what.address, time_point{}, {});
  REQUIRE(found);
  CHECK(found->whole());
  CHECK(store.state(what.address) == content_state::ready);
  disk.contents.all.at(what.address).right[3] = false;
  found = store.verify(what.address, time_point{}, {});
  REQUIRE(found);
  CHECK_FALSE(found->whole());
  CHECK_FALSE(found->good[3]);
  CHECK(store.state(what.address) == content_state::condemned);
  CHECK(std::ranges::count(store.good_pieces(what.address), false) == 1);
}

TEST_CASE("beyond its cap and on a full disk there is no space") {
  sim_disk disk;
  sim_store store{disk, {.bytes_max = 6 * mib}};
  auto first = content_of("sim:4MiB");
  auto second = content_of("sim:4MiB:seed=2");
  REQUIRE(store.import(first, "sim:4MiB", time_point{}, {}));
  CHECK(store.fetch(second, time_point{}).problem().kind == fault::no_space);
  CHECK(store.make_room(4 * mib, {first.address}, time_point{1h}).problem().kind == fault::no_space);
  auto evicted = store.make_room(4 * mib, {}, time_point{1h});
  REQUIRE(evicted);
  CHECK(*evicted == std::vector{first.address});
  disk.full = true;
  CHECK(store.fetch(second, time_point{}).problem().kind == fault::no_space);
  CHECK(store.save_notes("x").problem().kind == fault::no_space);
  disk.full = false;
  CHECK(store.fetch(second, time_point{}));
}

TEST_CASE("work takes as long as hashing and copying would") {
  sim_disk disk;
  sim_store store{disk, {.hash_bytes_per_s = 64 * mib, .copy_bytes_per_s = 32 * mib, .write_time = 0ns}};
  auto what = store.make("sim:64MiB", {});
  REQUIRE(what);
  auto spent = store.take_spent();
  CHECK(spent >= 1s);
  CHECK(spent < 1010ms);
  REQUIRE(store.import(*what, "sim:64MiB", time_point{}, {}));
  spent = store.take_spent();
  CHECK(spent >= 3s);
  CHECK(spent < 3030ms);
  CHECK(store.take_spent() == 0ns);
}
