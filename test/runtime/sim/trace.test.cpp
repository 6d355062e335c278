#define XXH_INLINE_ALL
#include "runtime/sim/trace.hpp"

#include "messages/type_ids.hpp"
#include "test/runtime/sim/made_trace.hpp"

#include <caf/message.hpp>
#include <doctest/doctest.h>
#include <xxhash.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <unistd.h>
#include <utility>
#include <vector>

using namespace astra;
using namespace astra::sim;
using namespace std::chrono_literals;

namespace {

event sample() {
  event result;
  result.number = 4812;
  result.cause = 4799;
  result.at = instant{12'003'417'221};
  result.machine = machine_id{2};
  result.peer = machine_id{1};
  result.actor = 12;
  result.sender = 31;
  result.message_id = 99;
  result.text = "hello";
  return result;
}

std::uint64_t hash_of(const event& what, std::uint64_t payload = 5) {
  trace_hash hash;
  hash.feed(what, payload);
  return hash.value();
}

std::string checked(const std::string& bytes) {
  auto got = decode_trace(bytes);
  auto problem = std::get_if<trace_problem>(&got);
  return problem ? to_string(*problem) : std::string{};
}

// Puts right the checksum of the block that `offset` is in, so that what is behind the checksums is reached.
bool seal(std::string& bytes, std::size_t offset) {
  auto place = std::string_view{"astratrace\x01\n"}.size();
  while (place < bytes.size()) {
    auto start = place++;
    std::size_t size = 0;
    for (auto shift = 0;; shift += 7) {
      auto byte = static_cast<unsigned char>(bytes[place++]);
      size |= static_cast<std::size_t>(byte & 0x7f) << shift;
      if (byte < 0x80)
        break;
    }
    if (offset < place)
      return false;
    place += size;
    if (offset < place) {
      auto sum = XXH64(bytes.data() + start, place - start, 0);
      for (auto i = std::size_t{0}; i < 8; ++i)
        bytes[place + i] = static_cast<char>(sum >> (8 * i));
      return true;
    }
    place += 8;
  }
  return false;
}

} // namespace

TEST_CASE("the hash of a trace is the same in every build") {
  trace_hash hash;
  CHECK(hash.value() == 0);
  auto x = sample();
  auto content = caf::make_message(std::string{"text"}, std::int32_t{7});
  hash.feed(x, 5);
  x.number = 4813;
  x.content = &content;
  hash.feed(x, 6);
  CHECK(hash.value() == 18226559311737843693U);
}

TEST_CASE("every field of an event changes the hash, and so does the order") {
  auto change = [](auto&& edit) {
    auto x = sample();
    edit(x);
    return hash_of(x);
  };
  auto content = caf::make_message(std::int32_t{7});
  auto other = caf::make_message(std::uint32_t{7});
  std::vector<std::uint64_t> hashes{
      hash_of(sample()),
      hash_of(sample(), 6),
      change([](event& x) { x.number++; }),
      change([](event& x) { x.cause++; }),
      change([](event& x) { x.at++; }),
      change([](event& x) { x.kind = event_kind::send; }),
      change([](event& x) { x.machine = machine_id{3}; }),
      change([](event& x) { x.peer = machine_id{3}; }),
      change([](event& x) { std::swap(x.peer, x.machine); }),
      change([](event& x) { x.actor++; }),
      change([](event& x) { x.sender++; }),
      change([](event& x) { x.message_id++; }),
      change([](event& x) { x.text = "hallo"; }),
      change([](event& x) { x.text = {}; }),
      change([&](event& x) { x.content = &content; }),
      change([&](event& x) { x.content = &other; }),
  };
  auto size = hashes.size();
  std::sort(hashes.begin(), hashes.end());
  CHECK(std::unique(hashes.begin(), hashes.end()) - hashes.begin() == static_cast<std::ptrdiff_t>(size));
  auto a = sample();
  auto b = sample();
  b.actor = 13;
  trace_hash ab, ba;
  ab.feed(a, 0);
  ab.feed(b, 0);
  ba.feed(b, 0);
  ba.feed(a, 0);
  CHECK(ab.value() != ba.value());
}

TEST_CASE("a text at another address has the same hash") {
  std::string one = "hello", two = "xhello";
  auto a = sample(), b = sample();
  a.text = one;
  b.text = std::string_view{two}.substr(1);
  CHECK(hash_of(a) == hash_of(b));
}

TEST_CASE("a recorder names actors once, and messages by their types") {
  trace about;
  about.scenario = "smoke";
  about.machines = {{"", "", ""}, {"node-3", "node", "a"}, {"resource-1", "resource", "a"}};
  auto asked = 0;
  trace_recorder recorder{about, [&](std::uint64_t actor) {
                            ++asked;
                            return actor == 12 ? "resource-1/astra.resource#12" : "node-3/astra.node#31";
                          }};
  auto content = caf::make_message(lookup_atom_v, std::string{"router"});
  auto x = sample();
  x.content = &content;
  x.text = {};
  recorder.record(x);
  x.number = 4813;
  recorder.record(x);
  auto got = recorder.finish(77);
  CHECK(asked == 2);
  CHECK(got.hash == 77);
  REQUIRE(got.records.size() == 2);
  CHECK(got.text(got.records[0].message) == "lookup_atom, string");
  CHECK(to_line(got, got.records[0])
        == "  12.003417221s #004812 <-#004799 step       resource-1/resource#12       lookup_atom, string from "
           "node-3/node#31");
}

TEST_CASE("what an actor logs stays one line") {
  test::trace_maker maker;
  auto where = maker.machine("node-1", "node");
  maker.happen(1s, event_kind::log, where, "node.start\nerror=\"a\tb\"", 0, maker.actor(where, "node"));
  auto lines = to_text(maker.result);
  CHECK(std::count(lines.begin(), lines.end(), '\n') == 1);
  CHECK(lines.find("node.start\\nerror=\"a b\"") != std::string::npos);
}

TEST_CASE("columns keep their places") {
  auto got = test::busy_cluster(5'000);
  for (auto& record : got.records) {
    auto line = to_line(got, record);
    CHECK_MESSAGE(line[14] == 's', line);
    CHECK_MESSAGE(line[16] == '#', line);
    CHECK_MESSAGE((line.substr(24, 3) == "<-#" || line.substr(24, 9) == std::string(9, ' ')), line);
    CHECK_MESSAGE(line.substr(34, to_string(record.kind).size()) == to_string(record.kind), line);
  }
}

TEST_CASE("filters choose by machine, actor, message, kind and time") {
  auto got = test::busy_cluster(20'000);
  auto count = [&](const trace_filter& filter) {
    auto lines = to_text(got, filter);
    return std::count(lines.begin(), lines.end(), '\n');
  };
  auto expect = [&](const trace_filter& filter, auto&& wanted) {
    auto n = std::count_if(got.records.begin(), got.records.end(), wanted);
    CHECK(n > 0);
    CHECK(static_cast<std::size_t>(n) < got.records.size());
    CHECK(count(filter) == n);
  };
  expect({.machine = "node-3"},
         [&](auto& x) { return got.machine_name(x.machine) == "node-3" || got.machine_name(x.peer) == "node-3"; });
  expect({.machine = "gateway-*"}, [&](auto& x) {
    return got.machine_name(x.machine).starts_with("gateway-") || got.machine_name(x.peer).starts_with("gateway-");
  });
  expect({.actor = "resource-1/"}, [&](auto& x) {
    return got.actor_name(x.actor).starts_with("resource-1/") || got.actor_name(x.sender).starts_with("resource-1/");
  });
  expect({.message = "claim"}, [&](auto& x) { return got.text(x.message).starts_with("claim"); });
  expect({.kinds = {event_kind::drop, event_kind::fault}},
         [&](auto& x) { return x.kind == event_kind::drop || x.kind == event_kind::fault; });
  expect({.from = 2s, .until = 3s}, [&](auto& x) { return x.at >= 2s && x.at < 3s; });
  CHECK(static_cast<std::size_t>(count({})) == got.records.size());
  CHECK(find_event_kind("go_on") == event_kind::go_on);
  CHECK(!find_event_kind("gone"));
}

TEST_CASE("a trace of 100,000 events survives its file, in at most 14 bytes per event") {
  auto got = test::busy_cluster(100'000);
  REQUIRE(got.records.size() >= 100'000);
  auto path = std::filesystem::temp_directory_path() / ("astra-trace-" + std::to_string(::getpid()));
  REQUIRE(save_trace(got, path) == "");
  auto size = std::filesystem::file_size(path);
  CHECK_MESSAGE(size < 14 * got.records.size(), size);
  auto read = load_trace(path);
  std::filesystem::remove(path);
  REQUIRE(std::holds_alternative<trace>(read));
  CHECK(std::get<trace>(read) == got);
  CHECK(std::holds_alternative<trace_problem>(load_trace(path)));
  CHECK(save_trace(got, "/nowhere/at/all") == "/nowhere/at/all: cannot be written");
}

TEST_CASE("extreme values survive a file") {
  trace got;
  got.seed = ~std::uint64_t{0};
  got.hash = ~std::uint64_t{0};
  got.machines = {{"", "", ""}};
  got.actors[~std::uint64_t{0}] = "last";
  got.records.push_back({.number = std::uint64_t{1} << 63,
                         .cause = 1,
                         .at = instant::max() - 1ns,
                         .kind = event_kind::answer,
                         .actor = ~std::uint64_t{0},
                         .message_id = ~std::uint64_t{0} - 3});
  got.failures.push_back({0, instant::max(), "check", std::string("a\0b", 3)});
  auto read = decode_trace(encode_trace(got));
  REQUIRE(std::holds_alternative<trace>(read));
  CHECK(std::get<trace>(read) == got);
}

TEST_CASE("a file that ends early is refused wherever it ends") {
  auto bytes = encode_trace(test::busy_cluster(300));
  REQUIRE(checked(bytes) == "");
  for (auto size = std::size_t{0}; size < bytes.size(); ++size)
    CHECK(checked(bytes.substr(0, size)) != "");
  CHECK(checked(bytes + "x") == "at byte " + std::to_string(bytes.size()) + ": more than belongs into a trace");
  CHECK(checked("") == "at byte 0: not a trace of this version");
}

TEST_CASE("every flipped bit is found, and told where") {
  auto bytes = encode_trace(test::busy_cluster(120));
  for (auto i = std::size_t{0}; i < bytes.size(); ++i)
    for (auto bit = 0; bit < 8; ++bit) {
      auto damaged = bytes;
      damaged[i] = static_cast<char>(damaged[i] ^ (1 << bit));
      auto got = decode_trace(damaged);
      auto problem = std::get_if<trace_problem>(&got);
      REQUIRE_MESSAGE(problem, i);
      CHECK(problem->offset <= bytes.size());
    }
}

TEST_CASE("damage behind right checksums never goes further than a refusal or another trace") {
  auto bytes = encode_trace(test::busy_cluster(400));
  draws random{3};
  auto refused = 0, sealed = 0;
  for (auto n = std::uint64_t{0}; n < 6'000; ++n) {
    auto damaged = bytes;
    auto at = random.below(bytes.size(), draw_kind::platform, 0, n);
    damaged[at] = static_cast<char>(random.bits(draw_kind::platform, 1, n));
    if (!seal(damaged, at))
      continue;
    ++sealed;
    auto got = decode_trace(damaged);
    if (auto problem = std::get_if<trace_problem>(&got)) {
      ++refused;
      CHECK(problem->offset <= damaged.size());
    } else {
      // Whatever was accepted can be printed.
      CHECK(!to_text(std::get<trace>(got)).empty());
    }
  }
  CHECK(sealed > 3'000);
  CHECK(refused > 300);
}
