#include "runtime/sim/platform_sim.hpp"

#include "messages/errc.hpp"
#include "test/runtime/sim/process_fixture.hpp"

#include <doctest/doctest.h>

#include <set>

using namespace astra;
using namespace astra::sim;
using namespace astra::test;

namespace {

struct platform_fixture : actor_fixture {
  platform_fixture() {
    auto& peer = process("host:1");
    dialer = peer.dialer();
    sim_app cat;
    cat.command = "cat";
    cat.behaviour.start_min = cat.behaviour.start_max = 9ms;
    cat.behaviour.service_min = cat.behaviour.service_max = 90ms;
    auto web = cat;
    web.command = "web";
    web.serves = true;
    apps = std::make_shared<const sim_app_table>(sim_app_table{cat, web});
  }

  ~platform_fixture() {
    for (auto& platform : platforms)
      platform->end_actors();
    run();
  }

  sim_platform& boot(std::uint32_t machine = 1, std::uint32_t number = 1) {
    sim_machine_parts parts;
    parts.chance = draws{5};
    parts.machine = machine;
    parts.boot = number;
    parts.clock = [this] { return now() + drift; };
    parts.disk = &disk;
    parts.processes.apps = apps;
    parts.address = "host:1";
    parts.services = services;
    parts.dialer = dialer;
    parts.spend = [this](std::chrono::nanoseconds time) { spent += time; };
    platforms.push_back(std::make_unique<sim_platform>(sys, std::move(parts)));
    return *platforms.back();
  }

  launch_process command(std::string name, std::uint64_t key, std::uint16_t port = 0) {
    launch_process what;
    what.key = process_key{key};
    what.command = {std::move(name)};
    if (port != 0)
      what.environment = {"PORT=" + std::to_string(port)};
    what.output_is_log = true;
    return what;
  }

  owner_actor owner_of(sim_platform& world) { return own(spawn_owner(sys, world.launcher(), log)); }

  sim_disk disk;
  std::shared_ptr<service_table> services = std::make_shared<service_table>();
  std::shared_ptr<const sim_app_table> apps;
  dialer_actor dialer;
  std::chrono::nanoseconds drift{0};
  std::chrono::nanoseconds spent{0};
  std::shared_ptr<owner_log> log = std::make_shared<owner_log>();
  std::vector<std::unique_ptr<sim_platform>> platforms;
};

pb::AppSpec spec(const std::string& name) {
  pb::AppSpec result;
  result.set_name(name);
  return result;
}

} // namespace

TEST_CASE_FIXTURE(platform_fixture, "services are put into the table of the directory and taken out again") {
  auto& world = boot();
  CHECK(world.address() == "host:1");
  world.publish("resource", caf::actor_cast<caf::strong_actor_ptr>(dialer));
  auto found = services->find("resource");
  REQUIRE(found);
  CHECK(*found == caf::actor_cast<caf::strong_actor_ptr>(dialer));
  world.withdraw("resource");
  CHECK(services->find("resource").error() == errc::unknown_name);
  CHECK(world.dialer() == dialer);
}

TEST_CASE_FIXTURE(platform_fixture, "seeds differ by machine, boot and stream, and are the same every time") {
  std::set<std::uint64_t> seeds;
  for (std::uint32_t machine = 1; machine <= 10; ++machine)
    for (std::uint32_t number = 1; number <= 3; ++number)
      for (auto stream : {"node", "router", "scheduler"})
        seeds.insert(boot(machine, number).seed(stream));
  CHECK(seeds.size() == 90);
  CHECK(boot(3, 2).seed("node") == boot(3, 2).seed("node"));
}

TEST_CASE_FIXTURE(platform_fixture, "incarnations grow within a boot, over boots, and when the clock was set back") {
  auto first = boot(1, 1).next_incarnation();
  auto second = boot(1, 1).next_incarnation();
  CHECK(second > first);
  CHECK(first.value() > 1'700'000'000'000'000'000U);
  advance(5s);
  auto third = boot(1, 2).next_incarnation();
  CHECK(third.value() >= second.value() + 4'999'999'999U);
  drift = -1h;
  CHECK(boot(1, 3).next_incarnation().value() == third.value() + 1);
}

TEST_CASE_FIXTURE(platform_fixture, "an incarnation after one of another machine is kept over boots") {
  incarnation other{4'000'000'000'000'000'000U};
  auto after = boot(1, 1).next_incarnation_after(other);
  CHECK(after > other);
  CHECK(boot(1, 2).next_incarnation() > after);
}

TEST_CASE_FIXTURE(platform_fixture, "a machine without replicas has no launcher and no http client") {
  auto before = sys.registry().running();
  auto& world = boot();
  world.machine().sample();
  world.apps().load();
  world.crash_processes();
  run();
  CHECK(sys.registry().running() == before);
  CHECK(world.launcher() == world.launcher());
  CHECK(world.http() == world.http());
  CHECK(sys.registry().running() == before + 2);
}

TEST_CASE_FIXTURE(platform_fixture, "ports are reserved once, free after release, and never one in use") {
  auto& world = boot();
  std::set<std::uint16_t> ports;
  for (int i = 0; i < sim_platform::port_count; ++i) {
    auto port = world.reserve_port();
    CHECK(port >= sim_platform::port_first);
    ports.insert(port);
  }
  CHECK(ports.size() == sim_platform::port_count);
  CHECK(world.reserve_port() == 0);
  auto owner = owner_of(world);
  caf::anon_send(owner, command("web", 1, 11000));
  advance(1s);
  world.release_port(11000);
  CHECK(world.reserve_port() == 0);
  world.crash_processes();
  run();
  CHECK(log->ends.at(1).end == process_end::signalled);
  CHECK(world.reserve_port() == 11000);
  CHECK(boot(2, 1).reserve_port() == boot(2, 1).reserve_port());
}

TEST_CASE_FIXTURE(platform_fixture, "the probe measures what the processes use, by the machine's own clock") {
  auto& world = boot();
  auto owner = owner_of(world);
  world.take_cores(0.5);
  auto idle = world.machine().sample();
  caf::anon_send(owner, command("cat", 1));
  advance(50ms);
  auto busy = world.machine().sample();
  CHECK(busy.own_busy_core_s - idle.own_busy_core_s == doctest::Approx(0.049));
  CHECK(busy.host_busy_core_s - idle.host_busy_core_s == doctest::Approx(0.049 + 0.025));
  CHECK(busy.memory_used_bytes > idle.memory_used_bytes);
  REQUIRE(world.running().size() == 1);
  CHECK(world.running()[0].command == "cat");
}

TEST_CASE_FIXTURE(platform_fixture, "an end that a sample comes upon first reaches its owner all the same") {
  auto& world = boot();
  auto owner = owner_of(world);
  caf::anon_send(owner, command("cat", 1));
  run();
  // The sampling actor's clock is a step ahead of the launcher's timer.
  drift = 200ms;
  world.machine().sample();
  run();
  CHECK(log->ends.at(1).end == process_end::exited);
}

TEST_CASE_FIXTURE(platform_fixture, "the faults of processes reach the actors in front of them") {
  auto& world = boot();
  auto owner = owner_of(world);
  caf::anon_send(owner, command("cat", 1));
  run();
  world.slow_processes(10.0);
  advance(500ms);
  CHECK(log->ends.empty());
  world.slow_processes(1.0);
  run();
  advance(50ms);
  CHECK(log->ends.at(1).end == process_end::exited);
  caf::anon_send(owner, command("cat", 2));
  advance(50ms);
  world.hang_processes(1s);
  run();
  advance(1049ms);
  CHECK(log->ends.count(2) == 0);
  advance(1ms);
  CHECK(log->ends.at(2).end == process_end::exited);
  caf::anon_send(owner, command("cat", 3));
  advance(5ms);
  world.lose_launcher();
  run();
  CHECK(log->ends.at(3).end == process_end::launcher_lost);
}

TEST_CASE_FIXTURE(platform_fixture,
                  "stored apps survive a boot; a full disk fails with the reason and changes nothing") {
  {
    auto& store = boot(1, 1).apps();
    CHECK(store.save(spec("b"), {}));
    CHECK(store.save(spec("a"), {}));
    CHECK(store.save(spec("c"), {}));
    CHECK(store.remove("c"));
    CHECK(store.remove("never-there"));
  }
  platforms.pop_back();
  auto& store = boot(1, 2).apps();
  auto names = [&] {
    std::string result;
    auto loaded = store.load();
    REQUIRE(loaded);
    for (auto& app : *loaded)
      result += app.name();
    return result;
  };
  CHECK(names() == "ab");
  disk.full = true;
  auto saved = store.save(spec("d"), {});
  REQUIRE_FALSE(saved);
  CHECK(saved.error() == errc::io_failed);
  CHECK(error_text(saved.error()) == "no space left on device");
  CHECK(store.remove("a").error() == errc::io_failed);
  CHECK(names() == "ab");
  disk.full = false;
  CHECK(store.remove("a"));
  CHECK(names() == "b");
  auto history = store.history("a");
  REQUIRE(history);
  REQUIRE(history->size() == 1);
  CHECK(history->front().number() == 1);
}

TEST_CASE_FIXTURE(platform_fixture, "a slow disk takes its time from whoever stores") {
  auto& store = boot().apps();
  CHECK(store.save(spec("a"), {}));
  CHECK(spent == 0ns);
  disk.store_time = 300ms;
  CHECK(store.save(spec("a"), {}));
  CHECK(store.remove("a"));
  CHECK(spent == 600ms);
  CHECK(store.load());
  CHECK(spent == 600ms);
}

TEST_CASE_FIXTURE(platform_fixture, "the end of the actors ends every process") {
  auto& world = boot();
  auto owner = owner_of(world);
  world.http();
  caf::anon_send(owner, command("web", 1, 11000));
  advance(1s);
  CHECK(world.running().size() == 1);
  world.end_actors();
  run();
  CHECK(world.running().empty());
}
