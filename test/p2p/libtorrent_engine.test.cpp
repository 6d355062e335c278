#include "p2p/libtorrent_engine.hpp"

#include "p2p/merkle.hpp"
#include "p2p/store.hpp"
#include "test/p2p/files.hpp"

#include <doctest/doctest.h>

#include <arpa/inet.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <functional>
#include <map>
#include <set>
#include <sstream>
#include <thread>

using namespace astra::p2p;
using namespace std::chrono_literals;
namespace fs = std::filesystem;
using steady = std::chrono::steady_clock;

namespace {

/// Long enough for a machine that has other things to do.
constexpr auto patience = 60s;

/// A store and an engine at an address of its own on the loopback device.
class node {
public:
  /// @param elsewhere Where the store is to lie; empty: in a directory of its own.
  explicit node(int number, const fs::path& elsewhere = {}, bool utp = false)
    : address_("127.0.0." + std::to_string(number)), utp_(utp) {
    auto opened = store::open({(elsewhere.empty() ? directory_.path() : elsewhere) / "store", 0});
    REQUIRE(opened);
    store_ = std::move(*opened);
    start();
  }

  /// @param port 0: any.
  void start(std::uint16_t port = 0) {
    engine_ = make_libtorrent_engine({address_, port, utp_, {}});
    port_ = 0;
    REQUIRE(wait([&] { return port_ != 0; }));
  }

  /// As a process ends that is killed, but for the sockets.
  void stop() {
    engine_.reset();
    finished.clear();
    checked.clear();
    pieces.clear();
    progress.clear();
  }

  peer_endpoint where() const { return {address_, port_}; }
  engine& to() { return *engine_; }
  store& disk() { return *store_; }

  void pump() {
    for (auto& event : engine_->drain())
      std::visit([this](auto& what) { on(what); }, event);
  }

  template <class Condition>
  bool wait(Condition condition, steady::duration most = patience) {
    for (auto end = steady::now() + most; steady::now() < end; std::this_thread::sleep_for(10ms)) {
      pump();
      if (condition())
        return true;
    }
    return false;
  }

  bool fetched(const content& what) {
    return wait([&] { return finished.contains(what.address); });
  }

  void add(const content& what, std::optional<stripe> preferred = {}, std::vector<peer_endpoint> peers = {}) {
    engine_->add({std::make_shared<content>(what), store_->place(what.address),
                  store_->state(what.address) == content_state::ready, store_->resume(what.address),
                  store_->good_pieces(what.address), std::move(preferred), std::move(peers), std::nullopt,
                  store_->noted_blocks(what.address)});
  }

  /// Serves what lies in a directory.
  void seed(const content& what, const fs::path& source) {
    auto imported = store_->import(what, source, {});
    REQUIRE(imported);
    add(what);
    REQUIRE(wait([&] { return checked.contains(what.address) || finished.contains(what.address); }));
  }

  void fetch(const content& what, const std::vector<peer_endpoint>& from, std::optional<stripe> preferred = {}) {
    auto begun = store_->fetch(what, {});
    REQUIRE(begun);
    engine_->set_peers(from);
    add(what, std::move(preferred));
    engine_->inject(what.address, from);
  }

  std::uint64_t downloaded(const content& what) {
    progress.clear();
    engine_->request_progress();
    REQUIRE(wait([&] { return progress.contains(what.address); }));
    return progress[what.address].downloaded_bytes;
  }

  std::set<content_address> finished;
  std::set<content_address> checked;
  std::vector<std::uint32_t> pieces;
  std::set<std::uint32_t> rejected;
  std::map<content_address, event::progress> progress;
  std::map<content_address, std::vector<bool>> damaged;
  std::vector<event::mapped> mapped;
  std::vector<peer_endpoint> refused;
  std::vector<peer_endpoint> banned;
  std::vector<std::string> failures;
  std::vector<char> resume;
  bool resumed = false;
  bool removed = false;
  std::size_t left = 0;

private:
  void on(event::listening& what) { port_ = what.where.port; }
  void on(event::mapped& what) { mapped.push_back(what); }
  void on(event::engine_failed& what) { failures.push_back(what.problem.text); }
  void on(event::checked& what) { checked.insert(what.address); }
  void on(event::blocks_written& what) { REQUIRE(store_->note_blocks(what.address, what.blocks)); }
  void on(event::piece_finished& what) { pieces.push_back(what.piece); }
  void on(event::piece_rejected& what) { rejected.insert(what.piece); }
  void on(event::content_finished& what) { finished.insert(what.address); }
  void on(event::damaged& what) { damaged[what.address] = what.good; }
  void on(event::progress& what) { progress[what.address] = what; }
  void on(event::failed& what) { failures.push_back(what.problem.text); }
  void on(event::resume_ready& what) {
    resume = what.data;
    resumed = true;
  }
  void on(event::removed&) { removed = true; }
  void on(event::peer_refused& what) { refused.push_back(what.who); }
  void on(event::peer_banned& what) { banned.push_back(what.who); }
  void on(event::peer_left&) { ++left; }
  void on(event::events_lost&) { FAIL("events were lost"); }

  temporary_directory directory_;
  std::string address_;
  bool utp_ = false;
  std::uint16_t port_ = 0;
  std::unique_ptr<store> store_;
  std::unique_ptr<engine> engine_;
};

struct fixture {
  content model(std::uint64_t seed = 1) {
    auto root = source(seed);
    write_file(root / "config.json", "{}" + std::to_string(seed));
    write_file(root / "empty", "");
    write_file(root / "deep" / "er" / "weights.bin", random_bytes(3'000'000, seed));
    write_file(root / "deep" / "same.bin", random_bytes(3'000'000, seed));
    write_file(root / "run", "#!/bin/sh\n");
    fs::permissions(root / "run", fs::perms::owner_exec, fs::perm_options::add);
    return make(root);
  }
  content blob(std::size_t bytes, std::uint64_t seed = 1) {
    write_file(source(seed), random_bytes(bytes, seed));
    return make(source(seed));
  }
  static content make(const fs::path& root) {
    auto made = make_content(root);
    REQUIRE(made);
    return *made;
  }
  fs::path source(std::uint64_t seed = 1) const { return directory / ("model" + std::to_string(seed)); }

  temporary_directory directory;
};

/// Each may talk to the other.
void introduce(node& one, node& other) {
  one.to().set_peers({other.where()});
  other.to().set_peers({one.where()});
}

/// Ends of TCP connections that are established at an endpoint, on either side.
int tcp_connections(const peer_endpoint& where) {
  in_addr address{};
  REQUIRE(::inet_pton(AF_INET, where.address.c_str(), &address) == 1);
  char end[16];
  // As the kernel prints it: the address as a number of this machine's byte order.
  std::snprintf(end, sizeof(end), "%08X:%04X", address.s_addr, where.port);
  std::ifstream in{"/proc/net/tcp"};
  auto result = 0;
  for (std::string line; std::getline(in, line);) {
    std::istringstream words{line};
    std::string number;
    std::string local;
    std::string remote;
    std::string state;
    words >> number >> local >> remote >> state;
    result += state == "01" && (local == end || remote == end);
  }
  return result;
}

void check_ready(node& at, const content& what, const fs::path& source) {
  auto ready = at.disk().make_ready(what.address, {});
  if (!ready)
    FAIL(ready.problem().text);
  for (auto& file : what.files) {
    auto from = what.files.size() == 1 ? source : source / file.path;
    CHECK(file_bytes(at.disk().visible(what.address) / file.path) == file_bytes(from));
  }
  CHECK(at.disk().verify(what.address, {})->whole());
}

} // namespace

TEST_CASE_FIXTURE(fixture, "a directory goes from one node to another, byte for byte, and on from there") {
  auto what = model();
  node first{2};
  node second{3};
  node third{4};
  first.to().set_peers({second.where()});
  first.seed(what, source());
  second.fetch(what, {first.where()});
  REQUIRE(second.fetched(what));
  CHECK(second.pieces.size() == what.piece_hashes.size());
  check_ready(second, what, source());
  auto mode = fs::status(second.disk().visible(what.address) / "run").permissions() & fs::perms::all;
  CHECK(mode == fs::perms{0555});
  // From what became ready without being added again.
  first.stop();
  second.to().set_peers({third.where()});
  third.fetch(what, {second.where()});
  REQUIRE(third.fetched(what));
  check_ready(third, what, source());
  CHECK(third.failures.empty());
}

TEST_CASE_FIXTURE(fixture, "a file that is all there is lies where a directory's would") {
  auto what = blob(700'000);
  node first{2};
  node second{3};
  introduce(first, second);
  first.seed(what, source());
  second.fetch(what, {first.where()});
  REQUIRE(second.fetched(what));
  check_ready(second, what, source());
}

TEST_CASE_FIXTURE(fixture, "limits hold on addresses that libtorrent takes for local") {
  auto what = blob(3 << 20U);
  node first{2};
  node second{3};
  introduce(first, second);
  constexpr std::uint64_t limit = 1 << 20U;
  SUBCASE("of the sender") {
    first.to().set_limits({limit, 0});
  }
  SUBCASE("of the receiver") {
    second.to().set_limits({0, limit});
  }
  first.seed(what, source());
  SUBCASE("of the sender, for the content alone") {
    first.to().set_limits(what.address, {limit, 0});
  }
  auto began = steady::now();
  second.fetch(what, {first.where()});
  SUBCASE("of the receiver, for the content alone") {
    second.to().set_limits(what.address, {0, limit});
  }
  REQUIRE(second.fetched(what));
  // A second's worth may come at once; without the limit it takes 0.2 s after the first tick.
  CHECK(steady::now() - began >= 1800ms);
}

TEST_CASE_FIXTURE(fixture, "a lowered limit does not spend what the old one earned") {
  auto what = blob(32 << 20U);
  node first{2};
  node second{3};
  introduce(first, second);
  first.to().set_limits({8 << 20U, 0});
  first.seed(what, source());
  second.fetch(what, {first.where()});
  constexpr std::uint64_t limit = 1 << 20U;
  auto lower = [&] {
    first.to().set_limits({8 << 20U, 0});
    auto begin = second.pieces.size();
    REQUIRE(second.wait([&] { return second.pieces.size() >= begin + 20; }));
    // In this order: a machine that is busy elsewhere in between takes from what is counted, and never adds to it.
    auto began = steady::now();
    first.to().set_limits({limit, 0});
    second.pump();
    // By pieces: libtorrent's own counts are of the last full second.
    auto before = second.pieces.size();
    second.wait([] { return false; }, 1500ms);
    auto bytes = (second.pieces.size() - before) * what.piece_size;
    auto seconds = std::chrono::duration<double>(steady::now() - began).count();
    MESSAGE("received ", bytes, " bytes in ", seconds, " s");
    // What is on the way already arrives.  In one step it is 2.6 s' worth more than it should be.
    return static_cast<double>(bytes) <= (seconds + 2.2) * limit;
  };
  // Where the receiver had no core for a while, the kernel holds megabytes that were sent before.
  CHECK((lower() || lower() || lower()));
  // It goes on, unless it is at the end.
  auto pieces = second.pieces.size();
  CHECK(second.wait([&] { return second.pieces.size() > pieces || second.finished.contains(what.address); }));
}

TEST_CASE_FIXTURE(fixture, "a content's limit is its own, and can be taken away") {
  auto slow = blob(4 << 20U, 1);
  auto quick = blob(2 << 20U, 2);
  node first{2};
  node second{3};
  introduce(first, second);
  first.seed(slow, source(1));
  first.seed(quick, source(2));
  second.fetch(slow, {first.where()});
  second.to().set_limits(slow.address, {0, 64 << 10U});
  second.fetch(quick, {first.where()});
  REQUIRE(second.fetched(quick));
  CHECK_FALSE(second.finished.contains(slow.address));
  second.to().set_limits(slow.address, {});
  CHECK(second.fetched(slow));
}

TEST_CASE_FIXTURE(fixture, "an order that is shuffled fetches everything") {
  auto what = blob(4 << 20U);
  node first{2};
  node second{3};
  introduce(first, second);
  first.seed(what, source());
  REQUIRE(second.disk().fetch(what, {}));
  add_request request;
  request.what = std::make_shared<const content>(what);
  request.place = second.disk().place(what.address);
  request.peers = {first.where()};
  request.shuffled_by = 7;
  second.to().add(std::move(request));
  CHECK(second.fetched(what));
}

TEST_CASE_FIXTURE(fixture, "who was not named gets nothing, whoever begins") {
  auto what = blob(700'000);
  auto utp = false;
  SUBCASE("over TCP alone") {}
  SUBCASE("over TCP, with uTP listening") {
    utp = true;
  }
  node first{2, {}, utp};
  node second{3, {}, utp};
  node stranger{4, {}, utp};
  first.to().set_peers({second.where()});
  first.seed(what, source());
  stranger.fetch(what, {first.where()});
  REQUIRE(first.wait([&] {
    stranger.pump();
    return !first.refused.empty();
  }));
  CHECK(first.refused[0].address == "127.0.0.4");
  // The other way round: an endpoint whose address is known and whose port is not.
  auto other_port = second.where();
  ++other_port.port;
  first.refused.clear();
  first.to().inject(what.address, {stranger.where(), other_port, {"no address", 1}, {"127.0.0.3", 0}});
  first.pump();
  // The stranger may have come again meanwhile, from some port.
  std::erase_if(first.refused, [&](const peer_endpoint& who) {
    return who.address == stranger.where().address && who.port != stranger.where().port;
  });
  CHECK(first.refused == std::vector<peer_endpoint>{stranger.where(), other_port, {"no address", 1}, {"127.0.0.3", 0}});
  // Meanwhile the one that was named has it all.
  second.fetch(what, {first.where()});
  REQUIRE(second.fetched(what));
  CHECK_FALSE(stranger.wait([&] { return !stranger.pieces.empty(); }, 2s));
  // A name that is taken back: no more.
  auto more = blob(700'000, 2);
  first.to().set_peers({});
  first.seed(more, source(2));
  second.fetch(more, {first.where()});
  CHECK_FALSE(second.wait([&] { return second.finished.contains(more.address); }, 2s));
}

TEST_CASE_FIXTURE(fixture, "after a session ends in the middle the next one fetches what is missing and no more") {
  auto what = blob(8 << 20U);
  node first{2};
  node second{3};
  introduce(first, second);
  first.seed(what, source());
  // 8 s for all of it: this test has to look once after the sixth piece and before the last.
  second.to().set_limits({0, 1 << 20U});
  second.fetch(what, {first.where()});
  REQUIRE(second.wait([&] { return second.pieces.size() >= 6; }));
  // However long what follows takes, nothing comes meanwhile.
  first.to().set_peers({});
  second.to().set_peers({});
  auto have = second.pieces.size();
  std::size_t unit = what.piece_size;
  REQUIRE(have < what.piece_hashes.size());
  SUBCASE("with resume data") {
    second.to().request_resume(what.address);
    REQUIRE(second.wait([&] { return second.resumed; }));
    REQUIRE_FALSE(second.resume.empty());
    REQUIRE(second.disk().save_resume(what.address, second.resume));
  }
  SUBCASE("without, by the blocks that were noted") {
    // Also those of pieces that are not whole.
    second.pump();
    have = 0;
    for (auto& run : second.disk().noted_blocks(what.address))
      have += run.count;
    CHECK(have > second.pieces.size() * (what.piece_size / block_size));
    unit = block_size;
  }
  SUBCASE("without, by a check") {
    fs::remove(second.disk().place(what.address) / "blocks");
  }
  SUBCASE("with resume data that is damaged") {
    REQUIRE(second.disk().save_resume(what.address, std::string_view{"d4:spam"}));
  }
  SUBCASE("with blocks noted that are not there") {
    REQUIRE(second.disk().note_blocks(what.address,
                                      std::vector<block_run>{{0, 0, 16}, {31, 0, 16}, {31, 7, 90}, {1 << 20U, 0, 1}}));
  }
  second.stop();
  second.start();
  introduce(first, second);
  second.fetch(what, {first.where()});
  REQUIRE(second.fetched(what));
  CHECK(second.failures.empty());
  auto missing = what.size - have * unit;
  // No piece is fetched again that had been verified.
  auto bytes = second.downloaded(what);
  CHECK(bytes <= missing);
  CHECK(bytes > 0);
  check_ready(second, what, source());
}

TEST_CASE_FIXTURE(fixture, "bytes that rotted on the seeder's disk become ready nowhere") {
  auto what = blob(2 << 20U);
  node bad{2};
  node good{3};
  node third{4};
  bad.to().set_peers({third.where()});
  good.to().set_peers({third.where()});
  bad.seed(what, source());
  auto file = bad.disk().place(what.address) / what.name / what.files[0].path;
  flip_bit(file, 5 * 256 * 1024 + 77);
  third.fetch(what, {bad.where(), good.where()});
  // The seeder notices first: it looks at what it sends.
  REQUIRE(third.wait([&] {
    bad.pump();
    return bad.damaged.contains(what.address);
  }));
  CHECK(std::ranges::count(bad.damaged[what.address], true) == 7);
  CHECK_FALSE(bad.damaged[what.address][5]);
  REQUIRE(bad.disk().condemn(what.address, "a wrong hash", bad.damaged[what.address]));
  CHECK_FALSE(fs::exists(bad.disk().visible(what.address)));
  REQUIRE(third.wait([&] { return third.pieces.size() >= 7; }));
  CHECK_FALSE(third.finished.contains(what.address));
  CHECK(std::ranges::count(third.pieces, 5U) == 0);
  // Whoever believed the file to be whole finds the piece missing.
  auto found = verify_content(what, third.disk().place(what.address));
  REQUIRE(found);
  CHECK_FALSE(found->good[5]);
  CHECK(third.disk().verify(what.address, {})->damaged.size() == 1);
  CHECK(third.disk().state(what.address) == content_state::condemned);
  CHECK_FALSE(fs::exists(third.disk().visible(what.address)));
  // A good copy turns up.
  good.seed(what, source());
  third.to().remove(what.address);
  REQUIRE(third.wait([&] { return third.removed; }));
  third.fetch(what, {good.where()});
  REQUIRE(third.fetched(what));
  check_ready(third, what, source());
  // And heals the one that was damaged.
  introduce(bad, third);
  bad.to().remove(what.address);
  REQUIRE(bad.wait([&] { return bad.removed; }));
  bad.finished.clear();
  bad.fetch(what, {third.where()});
  REQUIRE(bad.wait([&] {
    third.pump();
    return bad.finished.contains(what.address);
  }));
  check_ready(bad, what, source());
}

TEST_CASE_FIXTURE(fixture, "repairing a condemned content fetches the bad pieces alone") {
  auto what = blob(4 << 20U);
  node first{2};
  node second{3};
  introduce(first, second);
  first.seed(what, source());
  REQUIRE(second.disk().import(what, source(), {}));
  auto file = second.disk().place(what.address) / what.name / what.files[0].path;
  std::uint32_t pieces = 2;
  SUBCASE("flipped bits") {
    flip_bit(file, 3 * 256 * 1024 + 1);
    flip_bit(file, 9 * 256 * 1024 + 1);
  }
  SUBCASE("a cut end") {
    fs::resize_file(file, 14 * 256 * 1024);
  }
  REQUIRE_FALSE(second.disk().verify(what.address, {})->whole());
  second.fetch(what, {first.where()});
  REQUIRE(second.fetched(what));
  check_ready(second, what, source());
  CHECK(second.downloaded(what) == pieces * what.piece_size);
}

TEST_CASE_FIXTURE(fixture, "pieces of a node's stripe come before all others") {
  auto what = blob(4 << 20U);
  node first{2};
  node second{3};
  introduce(first, second);
  first.to().set_limits({2 << 20U, 0});
  first.seed(what, source());
  // 8 of 16.
  stripe own{{false, true}};
  second.fetch(what, {first.where()}, own);
  REQUIRE(second.fetched(what));
  REQUIRE(second.pieces.size() == 16);
  for (std::size_t i = 0; i < 6; ++i)
    CHECK(own.has(second.pieces[i]));
}

TEST_CASE_FIXTURE(fixture,
                  "with stripes a seeder sends a content little more than once to four nodes that start together") {
  auto what = blob(16 << 20U);
  constexpr std::uint64_t limit = 1 << 20U;
  node seeder{10};
  std::vector<std::unique_ptr<node>> nodes;
  stripe_plan plan{static_cast<std::uint32_t>(what.piece_hashes.size())};
  std::vector<peer_endpoint> all{seeder.where()};
  for (auto i = 0; i < 4; ++i) {
    nodes.push_back(std::make_unique<node>(11 + i));
    all.push_back(nodes.back()->where());
    plan.join(static_cast<std::uint64_t>(i), 1.0);
  }
  seeder.to().set_peers(all);
  seeder.to().set_limits({limit, 0});
  seeder.seed(what, source());
  auto began = steady::now();
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    auto& at = *nodes[i];
    at.to().set_peers(all);
    at.to().set_limits({limit, 0});
    REQUIRE(at.disk().fetch(what, {}));
    // Each pair once.
    at.add(what, plan.stripe_of(i), {all.begin(), all.begin() + static_cast<std::ptrdiff_t>(i) + 1});
  }
  auto every = [&] {
    seeder.pump();
    auto finished = true;
    for (std::size_t i = 0; i < nodes.size(); ++i) {
      nodes[i]->pump();
      finished = finished && nodes[i]->finished.contains(what.address);
      for (auto piece : nodes[i]->pieces)
        plan.has(i, piece);
      if (plan.now() != stripe_plan::phase::scattered)
        for (auto changed : plan.take_changed())
          nodes[changed]->to().prefer(what.address, std::nullopt);
    }
    return finished;
  };
  REQUIRE(seeder.wait(every));
  auto seconds = std::chrono::duration<double>(steady::now() - began).count();
  CHECK(plan.now() == stripe_plan::phase::steady);
  // Not what was told when it had just been checked.
  seeder.progress.clear();
  seeder.to().request_progress();
  REQUIRE(seeder.wait([&] { return seeder.progress.contains(what.address); }));
  auto copies = static_cast<double>(seeder.progress[what.address].uploaded_bytes) / static_cast<double>(what.size);
  MESSAGE("the seeder sent ", copies, " copies; all had it after ", seconds, " s, the bound being 16 s");
  // 1.07 on a quiet machine, and 1.24 without stripes; on a busy one more, as the bound is passed.
  CHECK(copies >= 0.999);
  CHECK(copies < 1.6);
}

TEST_CASE_FIXTURE(fixture, "a piece with a deadline comes first") {
  auto what = blob(8 << 20U);
  node first{2};
  node second{3};
  introduce(first, second);
  first.to().set_limits({2 << 20U, 0});
  first.seed(what, source());
  REQUIRE(second.disk().fetch(what, {}));
  second.add(what);
  second.to().set_deadlines(what.address, {{29, 1s}, {4'000'000'000U, 1s}});
  second.to().inject(what.address, {first.where()});
  REQUIRE(second.wait([&] { return second.pieces.size() >= 8; }));
  CHECK(std::ranges::find(second.pieces, 29U) - second.pieces.begin() < 4);
}

TEST_CASE_FIXTURE(fixture,
                  "a disk that fills up while pieces arrive is named, and fetching goes on when there is room") {
  auto what = blob(1'500'000);
  small_disk mounted{directory / "disk"};
  if (!mounted) {
    MESSAGE("skipped: only root can mount a small disk");
    return;
  }
  node first{2};
  node second{3, directory / "disk"};
  introduce(first, second);
  first.seed(what, source());
  REQUIRE(second.disk().fetch(what, {}));
  fill_disk(directory / "disk" / "other");
  second.fetch(what, {first.where()});
  REQUIRE(second.wait([&] { return !second.failures.empty(); }));
  CHECK(second.failures[0].find("No space left on device") != std::string::npos);
  CHECK_FALSE(second.finished.contains(what.address));
  CHECK_FALSE(second.disk().make_ready(what.address, {}));
  fs::remove(directory / "disk" / "other");
  second.to().remove(what.address);
  REQUIRE(second.wait([&] { return second.removed; }));
  second.fetch(what, {first.where()});
  REQUIRE(second.fetched(what));
  check_ready(second, what, source());
}

TEST_CASE_FIXTURE(fixture, "a peer that is not there for several dials is fetched from when it is") {
  auto what = blob(700'000);
  node first{2};
  node second{3};
  REQUIRE(first.disk().import(what, source(), {}));
  auto there = first.where();
  first.stop();
  REQUIRE(second.disk().fetch(what, {}));
  second.to().set_peers({there});
  second.add(what);
  // Told of it again and again, as by a tracker that takes it to be there.
  auto inject_until = [&](auto condition) {
    auto next = steady::now();
    return second.wait([&] {
      if (steady::now() >= next) {
        second.to().inject(what.address, {there});
        next = steady::now() + 500ms;
      }
      return condition();
    });
  };
  REQUIRE(inject_until([&] { return second.left >= 4; }));
  first.start(there.port);
  REQUIRE(first.where() == there);
  introduce(first, second);
  first.add(what);
  REQUIRE(inject_until([&] {
    first.pump();
    return second.finished.contains(what.address);
  }));
  check_ready(second, what, source());
}

TEST_CASE_FIXTURE(fixture, "a content may be added again as soon as it is removed, even before libtorrent had it") {
  auto what = blob(700'000);
  node first{2};
  auto served = [&] { return first.checked.contains(what.address) || first.finished.contains(what.address); };
  REQUIRE(first.disk().import(what, source(), {}));
  first.add(what);
  SUBCASE("at once") {}
  SUBCASE("when libtorrent has it") {
    REQUIRE(first.wait(served));
  }
  first.finished.clear();
  first.checked.clear();
  first.to().remove(what.address);
  auto ask = [&] {
    first.to().inject(what.address, {});
    first.to().inject(what.address, {first.where()});
    first.to().prefer(what.address, std::nullopt);
    first.to().set_deadlines(what.address, {{0, 1s}});
    first.to().request_resume(what.address);
  };
  // Of what leaves nothing is asked; of what comes after it, all of it.
  ask();
  first.add(what);
  ask();
  first.add(what);
  REQUIRE(first.wait([&] { return first.removed; }));
  REQUIRE(first.wait(served));
  CHECK(first.wait([&] { return first.resumed; }));
  REQUIRE(first.failures.size() == 1);
  CHECK(first.failures[0] == "it is in the engine already");
  // What was to come may be taken back.
  first.removed = false;
  first.to().remove(what.address);
  first.add(what);
  first.to().remove(what.address);
  first.to().remove(what.address);
  first.finished.clear();
  first.checked.clear();
  REQUIRE(first.wait([&] { return first.removed; }));
  CHECK_FALSE(first.wait(served, 500ms));
  first.add(what);
  REQUIRE(first.wait(served));
  CHECK(first.failures.size() == 1);
}

TEST_CASE_FIXTURE(fixture, "what happened to a content before it was removed is not told of the one that comes after") {
  auto what = blob(700'000);
  node first{2};
  node second{3};
  introduce(first, second);
  first.seed(what, source());
  REQUIRE(second.disk().fetch(what, {}));
  second.add(what);
  REQUIRE(second.wait([&] { return second.checked.contains(what.address); }));
  second.to().inject(what.address, {first.where()});
  // All of it comes, and nobody drains the events.
  REQUIRE(first.wait([&] { return verify_content(what, second.disk().place(what.address))->whole(); }));
  std::this_thread::sleep_for(500ms);
  first.to().set_peers({});
  second.to().remove(what.address);
  second.checked.clear();
  second.to().add({std::make_shared<content>(what), directory / "elsewhere", false, {}, {}, {}, {}});
  REQUIRE(second.wait([&] { return second.removed && second.checked.contains(what.address); }));
  CHECK(second.pieces.empty());
  CHECK_FALSE(second.finished.contains(what.address));
  second.progress.clear();
  second.to().request_progress();
  REQUIRE(second.wait([&] { return second.progress.contains(what.address); }));
  CHECK(std::ranges::count(second.progress[what.address].have, true) == 0);
}

TEST_CASE_FIXTURE(fixture, "a content with more to parse than libtorrent takes by default is added") {
  auto what = blob(700'000);
  // As much as 200,000 files have, which would take half a minute.
  std::string more = "1:0l";
  for (auto i = 0; i < 2'000'000; ++i)
    more += "0:";
  more += "e";
  what.torrent.insert(what.torrent.begin() + 1, more.begin(), more.end());
  node first{2};
  first.to().add({std::make_shared<content>(what), directory / "place", false, {}, {}, {}, {}});
  REQUIRE(first.wait([&] { return first.checked.contains(what.address) || !first.failures.empty(); }));
  CHECK(first.failures == std::vector<std::string>{});
}

TEST_CASE_FIXTURE(fixture, "what cannot be done is told as an event") {
  auto what = blob(700'000);
  node first{2};
  first.seed(what, source());
  first.add(what);
  first.pump();
  REQUIRE(first.failures.size() == 1);
  CHECK(first.failures[0] == "it is in the engine already");
  first.to().remove(what.address);
  first.to().remove(what.address);
  REQUIRE(first.wait([&] { return first.removed; }));
  // Removed at once: before libtorrent has it.
  first.removed = false;
  first.add(what);
  first.to().remove(what.address);
  REQUIRE(first.wait([&] { return first.removed; }));
  first.finished.clear();
  first.add(what);
  CHECK(first.fetched(what));
  libtorrent_options wrong;
  wrong.listen_address = "203.0.113.7";
  auto deaf = make_libtorrent_engine(wrong);
  auto told = false;
  for (auto end = steady::now() + patience; !told && steady::now() < end; std::this_thread::sleep_for(10ms))
    for (auto& event : deaf->drain())
      told = told || std::holds_alternative<event::engine_failed>(event);
  CHECK(told);
}

TEST_CASE_FIXTURE(fixture, "a node that is asked tells where it sees who asks, named or not") {
  node first{2, {}, true};
  node second{3, {}, true};
  // 60 of one address are not too many.
  for (auto i = 0; i < 60; ++i)
    first.to().probe(second.where());
  REQUIRE(first.wait([&] { return first.mapped.size() == 60; }));
  CHECK(first.mapped.back().by == second.where());
  CHECK(first.mapped.back().where == first.where());
  first.mapped.clear();
  // Holes are opened to those alone that are named, and nobody hears of the answers.
  first.to().open_hole(second.where());
  first.pump();
  CHECK(first.refused == std::vector<peer_endpoint>{second.where()});
  introduce(first, second);
  first.to().open_hole(second.where());
  second.to().probe(first.where());
  REQUIRE(second.wait([&] { return !second.mapped.empty(); }));
  CHECK_FALSE(first.wait([&] { return !first.mapped.empty(); }, 200ms));
  first.to().probe({"no address", 1});
  first.pump();
  CHECK(first.refused.size() == 2);
}

TEST_CASE_FIXTURE(fixture, "without uTP nobody answers a probe, and who is punched has left") {
  auto what = blob(700'000);
  node first{2};
  node second{3, {}, true};
  introduce(first, second);
  first.to().probe(second.where());
  second.to().probe(first.where());
  CHECK_FALSE(first.wait(
      [&] {
        second.pump();
        return !first.mapped.empty() || !second.mapped.empty();
      },
      500ms));
  first.add(what);
  first.to().punch(what.address, second.where());
  CHECK(first.wait([&] { return first.left == 1; }));
}

TEST_CASE_FIXTURE(fixture, "who is punched is fetched from by uTP, and who is injected over TCP") {
  auto what = blob(3'000'000);
  auto more = blob(3'000'000, 2);
  node first{2, {}, true};
  node second{3, {}, true};
  introduce(first, second);
  first.seed(what, source());
  REQUIRE(second.disk().fetch(what, {}));
  // Slow enough for their connections to be looked at.
  first.to().set_limits({1 << 20U, 0});
  auto punched = false;
  SUBCASE("punched") {
    punched = true;
  }
  SUBCASE("injected") {}
  SUBCASE("injected while somebody is punched") {
    // To where nobody answers.
    auto nobody = first.where();
    ++nobody.port;
    second.to().set_peers({first.where(), nobody});
    REQUIRE(second.disk().fetch(more, {}));
    second.add(more);
    second.to().punch(more.address, nobody);
  }
  second.add(what);
  first.to().open_hole(second.where());
  if (punched)
    second.to().punch(what.address, first.where());
  else
    second.to().inject(what.address, {first.where()});
  REQUIRE(second.wait([&] { return second.pieces.size() >= 2; }));
  CHECK(tcp_connections(first.where()) == (punched ? 0 : 2));
  REQUIRE(second.fetched(what));
  check_ready(second, what, source());
}

namespace {

/// Bytes of a piece, from the files that it was made of.
std::vector<char> bytes_of(const content& what, const fs::path& root, std::uint32_t piece) {
  for (auto& file : what.files)
    if (piece >= file.first_piece && piece < file.first_piece + file.pieces) {
      auto bytes = file_bytes(fs::is_directory(root) ? root / file.path : root);
      auto begin = static_cast<std::size_t>(piece - file.first_piece) * what.piece_size;
      auto length = piece_length(what, file, piece - file.first_piece);
      return {bytes.begin() + static_cast<std::ptrdiff_t>(begin),
              bytes.begin() + static_cast<std::ptrdiff_t>(begin + length)};
    }
  return {};
}

} // namespace

TEST_CASE_FIXTURE(fixture, "pieces from elsewhere make a content complete, and a wrong one is refused") {
  node fetcher{2};
  // Small files, empty ones, and last pieces that are short.
  auto what = model();
  fetcher.fetch(what, {});
  REQUIRE(fetcher.wait([&] { return fetcher.checked.contains(what.address); }));
  auto pieces = static_cast<std::uint32_t>(what.piece_hashes.size());
  auto wrong = bytes_of(what, source(), 3);
  wrong[7] = static_cast<char>(wrong[7] + 1);
  fetcher.to().add_piece(what.address, 3, wrong);
  CHECK(fetcher.wait([&] { return fetcher.rejected.contains(3); }));
  fetcher.to().add_piece(what.address, 0, std::vector<char>(4));
  fetcher.to().add_piece(what.address, pieces, std::vector<char>(3));
  for (std::uint32_t piece = 0; piece < pieces; ++piece)
    fetcher.to().add_piece(what.address, piece, bytes_of(what, source(), piece));
  REQUIRE(fetcher.fetched(what));
  std::ranges::sort(fetcher.pieces);
  CHECK(fetcher.pieces.size() == pieces);
  CHECK(fetcher.rejected.size() == 1);
  REQUIRE(fetcher.disk().make_ready(what.address, {}));
  for (auto& file : what.files)
    CHECK(file_bytes(fetcher.disk().visible(what.address) / file.path) == file_bytes(source() / file.path));
  CHECK(fetcher.downloaded(what) == 0);
}

TEST_CASE_FIXTURE(fixture, "pieces from elsewhere and from peers make a content complete together") {
  node seeder{2};
  node fetcher{3};
  auto what = blob(5'000'001);
  auto pieces = static_cast<std::uint32_t>(what.piece_hashes.size());
  REQUIRE(fetcher.disk().fetch(what, {}));
  fetcher.add(what);
  REQUIRE(fetcher.wait([&] { return fetcher.checked.contains(what.address); }));
  // The last one is short.
  for (auto piece = pieces / 2; piece < pieces; ++piece)
    fetcher.to().add_piece(what.address, piece, bytes_of(what, source(), piece));
  REQUIRE(fetcher.wait([&] { return fetcher.pieces.size() == pieces - pieces / 2; }));
  seeder.seed(what, source());
  introduce(seeder, fetcher);
  fetcher.to().inject(what.address, {seeder.where()});
  REQUIRE(fetcher.fetched(what));
  CHECK(fetcher.downloaded(what) < 5'000'001 / 2 + what.piece_size);
  REQUIRE(fetcher.disk().make_ready(what.address, {}));
  CHECK(file_bytes(fetcher.disk().visible(what.address) / what.files[0].path) == file_bytes(source()));
}
