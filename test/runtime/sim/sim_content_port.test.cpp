#include "runtime/sim/sim_content_port.hpp"

#include <doctest/doctest.h>

#include <map>
#include <string>
#include <vector>

using namespace astra;
using namespace astra::sim;
using namespace std::chrono_literals;

namespace {

/// One machine with a clock and a list of what is to be done.
struct machine {
  machine() : network({}, draws{1}, {[this] { return now; }, nullptr, nullptr}) {}

  std::shared_ptr<content_port> port() {
    sim_content_parts parts;
    parts.network = &network;
    parts.where.machine = 1;
    parts.where.where = {"10.0.0.1", 6881};
    parts.where.disk = &disk;
    parts.store = {.hash_bytes_per_s = 1 << 20U, .copy_bytes_per_s = 1 << 20U, .write_time = 0ns};
    parts.machine = "machine-1/1";
    parts.now = [this] { return now; };
    parts.at = [this](instant when, std::function<void()> what) { todo.emplace(when, std::move(what)); };
    parts.wall_time = [this] { return p2p::content_store::time_point{} + now; };
    return make_sim_content_port(std::move(parts));
  }

  void run(instant until) {
    for (;;) {
      auto due = network.next_due().value_or(until + 1ns);
      auto next = todo.empty() ? until + 1ns : todo.begin()->first;
      if (std::min(due, next) > until)
        break;
      now = std::max(now, std::min(due, next));
      if (due <= next) {
        network.advance();
        continue;
      }
      auto what = std::move(todo.begin()->second);
      todo.erase(todo.begin());
      what();
    }
    now = until;
  }

  instant now{0};
  sim_disk disk;
  std::multimap<instant, std::function<void()>> todo;
  sim_swarm_network network;
};

} // namespace

TEST_CASE("jobs are done one after the other, and their owner hears of each when it would be done") {
  machine one;
  auto port = one.port();
  std::vector<std::string> seen;
  REQUIRE(port->open([&] {
    for (auto& then : port->drain())
      then();
  }));
  auto job = [&](std::string path) {
    port->run([&, path](p2p::content_store& store) {
      auto made = store.make(path, {});
      return content_port::aftermath{[&seen, path, good = static_cast<bool>(made)] { seen.push_back(path); }};
    });
  };
  job("sim:2MiB");
  job("sim:1MiB");
  CHECK(seen.empty());
  one.run(1900ms);
  CHECK(seen.empty());
  one.run(2100ms);
  CHECK(seen == std::vector<std::string>{"sim:2MiB"});
  one.run(3200ms);
  CHECK(seen == std::vector<std::string>{"sim:2MiB", "sim:1MiB"});
}

TEST_CASE("its engine says where it listens") {
  machine one;
  auto port = one.port();
  auto notified = 0;
  REQUIRE(port->open([&] { ++notified; }));
  one.run(1ms);
  CHECK(notified == 1);
  auto events = port->engine().drain();
  REQUIRE(events.size() == 1);
  CHECK(std::get<p2p::event::listening>(events[0]).where == p2p::peer_endpoint{"10.0.0.1", 6881});
}

TEST_CASE("nothing of a keeper that ended comes to the next one") {
  machine one;
  auto port = one.port();
  auto first = 0;
  auto second = 0;
  REQUIRE(port->open([&] { ++first; }));
  port->run([&](p2p::content_store& store) {
    [[maybe_unused]] auto made = store.make("sim:1MiB", {});
    return content_port::aftermath{[&] { ++first; }};
  });
  one.run(100ms);
  auto before = first;
  port->close();
  REQUIRE(port->open([&] { ++second; }));
  one.run(5s);
  CHECK(first == before);
  CHECK(second == 1);
  CHECK(port->drain().empty());
}

TEST_CASE("a store is open once, and not on a full disk") {
  machine one;
  auto port = one.port();
  auto other = one.port();
  REQUIRE(port->open([] {}));
  CHECK(other->open([] {}).problem().kind == p2p::fault::busy);
  port->close();
  one.disk.full = true;
  CHECK(other->open([] {}).problem().kind == p2p::fault::no_space);
  one.disk.full = false;
  CHECK(other->open([] {}));
}
