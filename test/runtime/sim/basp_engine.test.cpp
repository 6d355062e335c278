#include "config/scenario.hpp"
#include "messages/type_ids.hpp"
#include "runtime/net/dialer.hpp"
#include "runtime/net/directory.hpp"
#include "runtime/sim/engine.hpp"
#include "runtime/sim/world.hpp"

#include <caf/actor_cast.hpp>
#include <caf/event_based_actor.hpp>
#include <caf/send.hpp>
#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace astra::sim {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr caf::timespan dial_timeout = seconds{3};

/// Three processes with their dialers and directories, and an echo in each.  It speaks the words of the product: the
/// guards of the sessions know no others.
struct cluster {
  explicit cluster(std::uint64_t seed = 1) {
    engine_options options;
    options.seed = seed;
    run = make_engine(
        options, [this](const event& seen) { watch(seen); }, fidelity::basp);
    server = run->add_machine("server", "10.0.0.1:9700");
    client = run->add_machine("client", "10.0.0.2:9700");
    other = run->add_machine("other", "10.0.0.3:9700");
    start(server);
    start(client);
    start(other);
    run->run_until(milliseconds{500});
  }

  void start(machine_id where) {
    auto address = "10.0.0." + std::to_string(static_cast<std::uint32_t>(where)) + ":9700";
    run->boot(where, [&] {
      auto& sys = run->system();
      auto services = std::make_shared<service_table>();
      auto echo = sys.spawn([](caf::event_based_actor*) -> caf::behavior {
        return {[](const describe_app& asked) { return echo_of(asked); }};
      });
      services->put("echo", caf::actor_cast<caf::strong_actor_ptr>(echo));
      auto dialer = spawn_dialer_over_middleman(sys, run->connector(), address, services, dial_timeout);
      run->set_directory(where, caf::actor_cast<caf::strong_actor_ptr>(spawn_directory(sys, services)));
      dialers[where] = dialer;
    });
  }

  /// Dials from the client, asks once, and keeps an eye on the echo.
  void dial(machine_id to) {
    run->on(client, [&] {
      auto name = run->machine_name(to);
      auto address = "10.0.0." + std::to_string(static_cast<std::uint32_t>(to)) + ":9700";
      run->system().spawn(
          [this, name, address, dialer = dialers[client]](caf::event_based_actor* self) -> caf::behavior {
            self->set_down_handler([this, name](const caf::down_msg&) { tell(name + " down"); });
            self->request(dialer, caf::infinite, dial_atom_v, address, std::string{"echo"})
                .then(
                    [this, self, name](const caf::strong_actor_ptr& found) {
                      tell(name + " dialed");
                      echo = caf::actor_cast<caf::actor>(found);
                      self->monitor(echo);
                      ask(self, name);
                    },
                    [this, name](const caf::error& reason) { tell(name + " failed: " + to_string(reason)); });
            // It stays to hear of the end of what it monitors.
            return {[](caf::ok_atom) {}};
          });
    });
  }

  void ask(caf::event_based_actor* self, const std::string& name) {
    describe_app question;
    question->set_app("hello");
    self->request(echo, caf::infinite, question)
        .then([this, name](const app_detail& answer) { tell(name + " answered " + answer->record().reason()); },
              [this, name](const caf::error&) { tell(name + " does not answer"); });
  }

  void ask_again() {
    run->on(client, [&] { run->system().spawn([this](caf::event_based_actor* self) { ask(self, "later"); }); });
  }

  static app_detail echo_of(const describe_app& asked) {
    app_detail result;
    result->mutable_record()->set_reason(asked->app());
    return result;
  }

  void tell(const std::string& what) {
    lines.push_back(what);
    times.push_back(run->now());
  }

  void watch(const event& seen) {
    if (seen.kind < event_kind::count_)
      ++counts[seen.kind];
  }

  bool told(const std::string& what) const { return std::find(lines.begin(), lines.end(), what) != lines.end(); }

  instant when(const std::string& what) const {
    auto found = std::find(lines.begin(), lines.end(), what);
    REQUIRE(found != lines.end());
    return times[static_cast<std::size_t>(found - lines.begin())];
  }

  void run_for(instant length) { run->run_until(run->now() + length); }

  ~cluster() {
    echo = nullptr;
    dialers.clear();
  }

  std::map<event_kind, int> counts;
  std::vector<std::string> lines;
  std::vector<instant> times;
  machine_id server{};
  machine_id client{};
  machine_id other{};
  std::map<machine_id, dialer_actor> dialers;
  caf::actor echo;
  std::unique_ptr<engine> run;
};

TEST_CASE("basp_engine: a dial, a request and its answer") {
  cluster here;
  here.dial(here.server);
  here.run_for(seconds{1});
  CHECK(here.lines == std::vector<std::string>{"server dialed", "server answered hello"});
  // The look-up in the directory and the question, and both answers: each is told of at both ends.
  CHECK(here.counts[event_kind::send] >= 4);
  CHECK(here.counts[event_kind::arrive] == here.counts[event_kind::send]);
  CHECK(here.counts[event_kind::connect] == 2);
  // The heartbeats keep the connection.
  here.run_for(seconds{30});
  CHECK_FALSE(here.told("server down"));
  CHECK(here.counts[event_kind::disconnect] == 0);
}

TEST_CASE("basp_engine: who monitors an actor of a killed process hears of it at once") {
  cluster here;
  here.dial(here.server);
  here.run_for(seconds{1});
  auto then = here.run->now();
  here.run->kill(here.server, engine::death::killed, "test");
  here.run_for(seconds{5});
  CHECK(here.when("server down") - then < milliseconds{150});
  // Its next start is another process: the old handle is dead, a new dial finds the new one.
  here.start(here.server);
  here.run_for(milliseconds{200});
  here.lines.clear();
  here.times.clear();
  here.dial(here.server);
  here.run_for(seconds{1});
  CHECK(here.lines == std::vector<std::string>{"server dialed", "server answered hello"});
}

TEST_CASE("basp_engine: CAF's heartbeats notice a machine that says nothing") {
  cluster here;
  here.dial(here.server);
  here.run_for(seconds{1});
  auto then = here.run->now();
  SUBCASE("it lost its power") {
    here.run->kill(here.server, engine::death::silent, "test");
    here.run_for(seconds{5});
  }
  SUBCASE("it is frozen") {
    here.run->stall(here.server);
    here.run_for(seconds{5});
    here.run->go_on(here.server);
    here.run_for(seconds{2});
  }
  SUBCASE("what it says is lost") {
    here.run->cut({here.server}, {here.client});
    here.run_for(seconds{5});
  }
  // The timeout is 1 s, checked every 200 ms.
  auto noticed = here.when("server down") - then;
  CHECK(noticed > milliseconds{700});
  CHECK(noticed <= milliseconds{1300});
}

TEST_CASE("basp_engine: a short freeze and a short cut lose nothing") {
  cluster here;
  here.dial(here.server);
  here.run_for(seconds{1});
  auto then = here.run->now();
  SUBCASE("freeze") {
    here.run->stall(here.server);
    here.ask_again();
    here.run_for(milliseconds{500});
    CHECK_FALSE(here.told("later answered hello"));
    here.run->go_on(here.server);
  }
  SUBCASE("cut") {
    auto rule = here.run->cut({here.client}, {here.server});
    here.ask_again();
    here.run_for(milliseconds{300});
    CHECK_FALSE(here.told("later answered hello"));
    here.run->lift(rule);
  }
  here.run_for(seconds{10});
  CHECK(here.when("later answered hello") - then >= milliseconds{300});
  CHECK_FALSE(here.told("server down"));
}

TEST_CASE("basp_engine: a process that was frozen reads before it gives connections up") {
  cluster here;
  here.dial(here.server);
  here.run_for(seconds{1});
  // Frozen for twice the timeout while its peer keeps talking: the peer notices, and the server hears of that.
  here.run->stall(here.client);
  here.run_for(milliseconds{800});
  here.run->go_on(here.client);
  here.run_for(seconds{5});
  CHECK_FALSE(here.told("server down"));
}

TEST_CASE("basp_engine: a host without a process refuses") {
  cluster here;
  here.run->kill(here.server, engine::death::ended, "test");
  here.dial(here.server);
  here.run_for(seconds{1});
  REQUIRE(here.lines.size() == 1);
  CHECK(here.lines.front().starts_with("server failed: unreachable"));
}

TEST_CASE("basp_engine: a dial that nobody answers keeps the others waiting, as a blocking connect does") {
  cluster here;
  here.run->kill(here.server, engine::death::silent, "test");
  auto then = here.run->now();
  here.dial(here.server);
  here.run_for(milliseconds{100});
  here.dial(here.other);
  here.run_for(seconds{2});
  CHECK(here.lines.empty());
  here.run_for(seconds{10});
  // Dialers do not wait longer than this for either of them.
  CHECK(here.lines.size() == 2);
  CHECK_FALSE(here.told("other dialed"));
  SUBCASE("until the host is back") {
    here.start(here.server);
    // The SYN of 15 s is the next.
    here.run_for(seconds{5});
    here.lines.clear();
    here.dial(here.other);
    here.run_for(seconds{1});
    CHECK(here.told("other answered hello"));
  }
  SUBCASE("until the kernel gives up") {
    here.run->run_until(then + seconds{126});
    here.lines.clear();
    here.times.clear();
    here.dial(here.other);
    here.run_for(seconds{2});
    CHECK(here.when("other answered hello") > then + seconds{127});
  }
}

TEST_CASE("basp_engine: a process ends in the middle of a dial") {
  cluster here;
  here.run->kill(here.server, engine::death::silent, "test");
  here.dial(here.server);
  here.run_for(milliseconds{100});
  here.run->kill(here.client, engine::death::killed, "test");
  here.run_for(seconds{200});
  CHECK(here.lines.empty());
}

std::uint64_t busy_run(std::uint64_t seed) {
  cluster here{seed};
  here.dial(here.server);
  here.dial(here.other);
  here.run_for(seconds{1});
  auto rule = here.run->cut({here.client}, {here.other});
  here.run_for(milliseconds{400});
  here.run->lift(rule);
  here.run->stall(here.other);
  here.run_for(seconds{2});
  here.run->go_on(here.other);
  here.run->kill(here.server, engine::death::killed, "test");
  here.run_for(seconds{1});
  here.start(here.server);
  here.run_for(milliseconds{300});
  here.dial(here.server);
  here.run_for(seconds{3});
  return here.run->trace_hash();
}

/// What `work` returns in a process of its own.
template <class Work>
std::uint64_t forked(Work work) {
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  auto child = ::fork();
  if (child == 0) {
    auto result = work();
    auto written = ::write(ends[1], &result, sizeof result);
    ::_exit(written == sizeof result ? 0 : 1);
  }
  std::uint64_t result = 0;
  CHECK(::read(ends[0], &result, sizeof result) == sizeof result);
  ::close(ends[0]);
  ::close(ends[1]);
  int status = 0;
  ::waitpid(child, &status, 0);
  CHECK(status == 0);
  return result;
}

TEST_CASE("basp_engine: a seed is one run, in this process and in another") {
  auto once = busy_run(7);
  CHECK(busy_run(7) == once);
  CHECK(forked([] { return busy_run(7); }) == once);
  CHECK(busy_run(8) != once);
}

TEST_CASE("basp_engine: the smoke scenario passes in both tiers") {
  auto config =
      load_scenario(ASTRA_SOURCE_DIR "/config/scenarios/smoke.toml", [](std::string_view) { return std::nullopt; });
  REQUIRE(config.value);
  auto what = std::shared_ptr<const scenario>{std::move(config.value)};
  auto play = [&](std::uint64_t seed, fidelity how) {
    world_options options;
    options.how = how;
    return world{what, seed, options}.run();
  };
  for (std::uint64_t seed = 1; seed <= 3; ++seed) {
    CAPTURE(seed);
    auto wire = play(seed, fidelity::wire);
    CHECK(wire.check == "");
    auto basp = play(seed, fidelity::basp);
    CHECK(basp.check == "");
    CHECK(basp.failure == "");
    if (seed == 1)
      CHECK(forked([&] { return play(seed, fidelity::basp).trace_hash; }) == basp.trace_hash);
  }
}

} // namespace
} // namespace astra::sim
