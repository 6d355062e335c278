#include "runtime/sim/engine.hpp"

#include "messages/type_ids.hpp"

#include <caf/actor_cast.hpp>
#include <caf/event_based_actor.hpp>
#include <caf/exit_reason.hpp>
#include <caf/sec.hpp>
#include <caf/stateful_actor.hpp>
#include <doctest/doctest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace astra::sim {
namespace {

using namespace std::chrono_literals;

/// Every message takes exactly one millisecond.
engine_options even_network(std::uint64_t seed = 1) {
  engine_options result;
  result.seed = seed;
  result.policy = schedule_policy::fifo;
  result.network.latency_min = result.network.latency_max = 1ms;
  result.network.tail = 0.0;
  return result;
}

/// What a question came to.
struct outcome {
  std::optional<std::int32_t> value;
  caf::error failure;
  instant at{-1};
};

struct server_state {
  std::vector<std::int32_t> seen;
  std::int32_t sum = 0;
  caf::response_promise forever;
  std::shared_ptr<int> token;
  caf::actor connector;
};

using server = caf::stateful_actor<server_state>;

/// Machines with one server each, which adds up what it gets.
class cluster {
public:
  explicit cluster(const engine_options& options = even_network())
    : inner_(make_engine(options, [this](const event& seen) { note(seen); })) {}

  machine_id add(const std::string& name) { return core.add_machine(name, name + ":1"); }

  machine_id start(const std::string& name) {
    auto where = add(name);
    boot(where);
    return where;
  }

  void boot(machine_id where) {
    core.boot(where, [&] {
      auto log = seen[where] = std::make_shared<std::vector<std::int32_t>>();
      // Held by the server, as a dialer holds it in a cluster.
      auto connect = core.connector();
      connectors[where] = caf::actor_cast<caf::actor_addr>(connect);
      auto handle = core.system().spawn([this, log, connect](server* self) -> caf::behavior {
        self->state.token = token;
        self->state.connector = connect;
        return {
            [self, log](caf::add_atom, std::int32_t n) {
              log->push_back(n);
              return self->state.sum += n;
            },
            // Never answered.
            [self](caf::get_atom) {
              self->state.forever = self->make_response_promise();
              return self->state.forever;
            },
            [self](caf::close_atom) { self->quit(caf::exit_reason::user_shutdown); },
        };
      });
      servers[where] = handle.address();
      core.set_directory(where, caf::actor_cast<caf::strong_actor_ptr>(handle));
    });
  }

  /// The machine's server, as its neighbours on the machine have it; null when it has ended.
  caf::actor local(machine_id where) { return caf::actor_cast<caf::actor>(servers[where]); }

  bool server_lives(machine_id where) {
    for (auto& one : core.actors(where))
      if (one->address() == servers[where])
        return true;
    return false;
  }

  void run(std::chrono::nanoseconds length) { core.run_until(core.now() + length); }

  struct dialled {
    std::optional<caf::strong_actor_ptr> handle;
    caf::error failure;
    instant at{-1};
  };

  /// The other machine's server as the first one sees it.
  std::shared_ptr<dialled> dial_later(machine_id from, const std::string& address) {
    auto result = std::make_shared<dialled>();
    core.on(from, [&] {
      core.system().spawn([this, result, address,
                           connect = caf::actor_cast<caf::actor>(connectors[from])](caf::event_based_actor* self) {
        auto host = address.substr(0, address.find(':'));
        self->request(connect, caf::infinite, caf::connect_atom_v, host, std::uint16_t{1})
            .then(
                [this, result](const caf::node_id&, const caf::strong_actor_ptr& directory,
                               const std::set<std::string>&) {
                  result->at = core.now();
                  result->handle = directory;
                },
                [this, result](const caf::error& reason) {
                  result->at = core.now();
                  result->failure = reason;
                });
      });
    });
    return result;
  }

  caf::actor dial(machine_id from, machine_id to) {
    auto result = dial_later(from, core.machine_name(to) + ":1");
    for (auto tries = 0; tries < 100 && result->at < instant{0}; ++tries)
      run(10ms);
    REQUIRE_MESSAGE(result->handle, caf::to_string(result->failure));
    return caf::actor_cast<caf::actor>(*result->handle);
  }

  template <class... Args>
  std::shared_ptr<outcome> ask(machine_id from, const caf::actor& target, caf::timespan patience, Args... args) {
    auto result = std::make_shared<outcome>();
    core.on(from, [&] {
      core.system().spawn([this, result, target, patience, args...](caf::event_based_actor* self) {
        self->request(target, patience, args...)
            .then(
                [this, result](std::int32_t value) {
                  result->value = value;
                  result->at = core.now();
                },
                [this, result](const caf::error& reason) {
                  result->failure = reason;
                  result->at = core.now();
                });
      });
    });
    return result;
  }

  /// Sends numbers, one every `pause`.
  void stream(machine_id from, const caf::actor& target, std::int32_t count, caf::timespan pause) {
    core.on(from, [&] {
      core.system().spawn([target, count, pause](caf::event_based_actor* self) -> caf::behavior {
        self->send(self, caf::tick_atom_v, std::int32_t{1});
        return {
            [self, target, count, pause](caf::tick_atom, std::int32_t n) {
              self->send(target, caf::add_atom_v, n);
              if (n < count)
                self->delayed_send(self, pause, caf::tick_atom_v, n + 1);
              else
                self->quit();
            },
            [](std::int32_t) {}, // the server's sums
        };
      });
    });
  }

  /// When and why a monitor hears of the end of an actor.
  std::shared_ptr<outcome> watch(machine_id from, const caf::actor& target) {
    auto result = std::make_shared<outcome>();
    core.on(from, [&] {
      auto monitor = core.system().spawn([this, result, target](caf::event_based_actor* self) -> caf::behavior {
        self->set_down_handler([this, result](const caf::down_msg& down) {
          result->failure = down.reason;
          result->at = core.now();
        });
        self->monitor(target);
        return {[](caf::ok_atom) {}};
      });
      // An actor that nobody knows ends.
      kept.push_back(monitor);
    });
    return result;
  }

  std::size_t count(event_kind kind, std::string_view text = {}) const {
    std::size_t result = 0;
    for (auto& [one, said] : happened)
      result += one == kind && said.find(text) != std::string::npos ? 1 : 0;
    return result;
  }

  /// Held by every server.
  std::shared_ptr<int> token = std::make_shared<int>(0);
  std::map<machine_id, std::shared_ptr<std::vector<std::int32_t>>> seen;
  std::vector<std::pair<event_kind, std::string>> happened;
  std::map<machine_id, caf::actor_addr> connectors;
  std::map<machine_id, caf::actor_addr> servers;

private:
  void note(const event& what) { happened.emplace_back(what.kind, what.text); }

  std::unique_ptr<engine> inner_;

public:
  engine& core = *inner_;
  /// Goes before the engine.
  std::vector<caf::actor> kept;
};

std::vector<std::int32_t> numbers(std::int32_t count) {
  std::vector<std::int32_t> result;
  for (std::int32_t i = 1; i <= count; ++i)
    result.push_back(i);
  return result;
}

/// Four machines that talk at random through a cut, a stall, a crash and a restart.
std::uint64_t storm(std::uint64_t seed) {
  engine_options options;
  options.seed = seed;
  options.step_max = 200us;
  cluster world{options};
  std::vector<machine_id> all;
  for (auto name : {"a", "b", "c", "d"})
    all.push_back(world.start(name));
  for (auto from : all)
    for (auto to : all)
      if (from != to)
        world.stream(from, world.dial(from, to), 200, 7ms);
  auto rule = world.core.cut({all[0]}, {all[1], all[2]});
  world.core.stall(all[3]);
  world.run(300ms);
  world.core.lift(rule);
  world.core.go_on(all[3]);
  world.core.kill(all[1], engine::death::killed, "test");
  world.run(300ms);
  world.boot(all[1]);
  world.stream(all[0], world.dial(all[0], all[1]), 50, 3ms);
  world.run(3s);
  return world.core.trace_hash();
}

struct child_end {
  int status = 0;
  std::string printed;
};

/// Runs something in a process of its own; what it writes to stderr comes back.
template <class What>
child_end in_child(What what) {
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  auto pid = ::fork();
  REQUIRE(pid >= 0);
  if (pid == 0) {
    ::dup2(ends[1], STDERR_FILENO);
    ::close(ends[0]);
    ::signal(SIGABRT, SIG_DFL);
    what();
    ::_exit(0);
  }
  ::close(ends[1]);
  child_end result;
  char buffer[512];
  for (ssize_t got = 0; (got = ::read(ends[0], buffer, sizeof buffer)) > 0;)
    result.printed.append(buffer, static_cast<std::size_t>(got));
  ::close(ends[0]);
  ::waitpid(pid, &result.status, 0);
  return result;
}

TEST_CASE("a request to another machine is answered after one latency each way") {
  cluster world;
  auto a = world.start("a");
  auto b = world.start("b");
  auto remote = world.dial(a, b);
  world.core.on(a, [&] { CHECK(remote.node() != world.core.system().node()); });
  auto began = world.core.now();
  auto answer = world.ask(a, remote, 1s, caf::add_atom_v, std::int32_t{7});
  world.run(100ms);
  REQUIRE(answer->value == 7);
  CHECK(answer->at - began >= 2ms);
  CHECK(answer->at - began < 2ms + 1us);
  CHECK(world.count(event_kind::send) == 2);
  CHECK(world.count(event_kind::arrive) == 2);
}

TEST_CASE("messages within a machine cross no network and take no time") {
  cluster world;
  auto a = world.start("a");
  auto local = world.local(a);
  auto answer = world.ask(a, local, 1s, caf::add_atom_v, std::int32_t{3});
  auto began = world.core.now();
  world.run(1ms);
  CHECK(answer->value == 3);
  CHECK(answer->at == began);
  CHECK(world.count(event_kind::send) == 0);
}

TEST_CASE("a request that nobody answers fails at its timeout in virtual time") {
  cluster world;
  auto a = world.start("a");
  auto b = world.start("b");
  auto remote = world.dial(a, b);
  auto began = world.core.now();
  auto answer = world.ask(a, remote, 1h, caf::get_atom_v);
  world.run(1h - 1ms);
  CHECK(answer->at == instant{-1});
  world.run(2ms);
  CHECK(answer->failure == caf::sec::request_timeout);
  CHECK(answer->at - began == 1h);
}

TEST_CASE("every machine has a clock of its own, and timers follow it") {
  cluster world;
  auto a = world.start("a");
  auto b = world.start("b");
  CHECK(world.core.local_time(a) != world.core.local_time(b));
  world.core.set_drift(a, 50'000.0);  // 5 % fast
  world.core.set_drift(b, -50'000.0); // 5 % slow
  std::map<machine_id, instant> fired;
  for (auto where : {a, b})
    world.core.on(where, [&] {
      world.core.system().spawn([&world, &fired, where](caf::event_based_actor* self) -> caf::behavior {
        self->delayed_send(self, 21s, caf::tick_atom_v);
        return {[&world, &fired, where](caf::tick_atom) { fired[where] = world.core.now(); }};
      });
    });
  auto began = world.core.now();
  auto local = world.core.local_time(a);
  world.run(30s);
  CHECK(fired[a] - began == 20s);
  CHECK(fired[b] - began > 22s);
  CHECK(fired[b] - began < 22106ms);
  CHECK(world.core.local_time(a) - local == 31500ms);
}

TEST_CASE("a monitor hears of an orderly end after one latency") {
  cluster world;
  auto a = world.start("a");
  auto b = world.start("b");
  auto remote = world.dial(a, b);
  auto heard = world.watch(a, remote);
  world.run(10ms);
  auto local = world.local(b);
  auto began = world.core.now();
  world.core.on(b, [&] { caf::anon_send(local, caf::close_atom_v); });
  world.run(10ms);
  CHECK(heard->failure == caf::exit_reason::user_shutdown);
  CHECK(heard->at - began >= 1ms);
  CHECK(heard->at - began < 1ms + 1us);
  // Who asks for something that has ended is told at once.
  auto late = world.watch(a, remote);
  world.run(10ms);
  CHECK(late->at >= instant{0});
}

TEST_CASE("a monitor hears of a killed process after one latency, of a silent death after the connection timeout") {
  for (auto how : {engine::death::killed, engine::death::ended, engine::death::silent}) {
    CAPTURE(static_cast<int>(how));
    cluster world;
    auto a = world.start("a");
    auto b = world.start("b");
    auto heard = world.watch(a, world.dial(a, b));
    auto question = world.ask(a, world.dial(a, b), 1h, caf::get_atom_v);
    world.run(10ms);
    auto began = world.core.now();
    world.core.kill(b, how, "test");
    world.run(3s);
    CHECK(heard->failure == caf::exit_reason::remote_link_unreachable);
    CHECK(question->at == instant{-1}); // as with CAF: a request knows its timeout only
    auto& options = world.core.options();
    if (how == engine::death::silent) {
      CHECK(heard->at - began >= options.connection_timeout);
      CHECK(heard->at - began <= options.connection_timeout + options.connection_heartbeat);
    } else {
      CHECK(heard->at - began >= 1ms);
      CHECK(heard->at - began < 1ms + 1us);
    }
  }
}

TEST_CASE("links reach across machines, both ways") {
  for (auto remote_ends : {false, true}) {
    CAPTURE(remote_ends);
    cluster world;
    auto a = world.start("a");
    auto b = world.start("b");
    auto remote = world.dial(a, b);
    auto told = false;
    caf::actor linked;
    world.core.on(a, [&] {
      linked = world.core.system().spawn([&, remote](caf::event_based_actor* self) -> caf::behavior {
        self->link_to(remote);
        if (remote_ends)
          self->set_exit_handler(
              [&](const caf::exit_msg& end) { told = end.reason == caf::exit_reason::user_shutdown; });
        return {[self](caf::close_atom) { self->quit(caf::exit_reason::user_shutdown); }};
      });
    });
    world.run(10ms);
    CHECK(world.server_lives(b));
    if (remote_ends) {
      auto local = world.local(b);
      world.core.on(b, [&] { caf::anon_send(local, caf::close_atom_v); });
      world.run(10ms);
      CHECK(told);
    } else {
      world.core.on(a, [&] { caf::anon_send(linked, caf::close_atom_v); });
      world.run(10ms);
      CHECK_FALSE(world.server_lives(b));
    }
  }
}

TEST_CASE("a cut that is shorter than the connection timeout holds messages back and loses none") {
  for (auto both : {false, true}) {
    CAPTURE(both);
    cluster world;
    auto a = world.start("a");
    auto b = world.start("b");
    auto remote = world.dial(a, b);
    std::vector<engine::rule_id> rules{world.core.cut({a}, {b})};
    if (both)
      rules.push_back(world.core.cut({b}, {a}));
    CHECK_FALSE(world.core.passes(a, b));
    CHECK(world.core.passes(b, a) == !both);
    world.stream(a, remote, 20, 10ms);
    world.run(400ms); // what is lost is sent again at most as long after the cut as that lasted
    CHECK(world.seen[b]->empty());
    for (auto rule : rules)
      world.core.lift(rule);
    world.run(3s);
    CHECK(*world.seen[b] == numbers(20));
    CHECK(world.count(event_kind::disconnect) == 0);
  }
}

TEST_CASE("a cut that outlasts the connection timeout closes the connection for good") {
  for (auto both : {false, true}) {
    CAPTURE(both);
    cluster world;
    auto a = world.start("a");
    auto b = world.start("b");
    auto remote = world.dial(a, b);
    auto heard = world.watch(a, remote);
    world.run(10ms);
    auto began = world.core.now();
    std::vector<engine::rule_id> rules{world.core.cut({a}, {b})};
    if (both)
      rules.push_back(world.core.cut({b}, {a}));
    world.run(5s);
    // One way: b hears nothing, gives up, and its last word still reaches a.
    CHECK(heard->failure == caf::exit_reason::remote_link_unreachable);
    CHECK(heard->at - began >= 1s);
    CHECK(heard->at - began <= 1202ms);
    CHECK(world.count(event_kind::disconnect) == 2);
    for (auto rule : rules)
      world.core.lift(rule);
    world.run(5s);
    // The old handle stays dead beside the new connection.
    auto fresh = world.dial(a, b);
    CHECK(caf::actor_cast<caf::abstract_actor*>(fresh) != caf::actor_cast<caf::abstract_actor*>(remote));
    auto old_answer = world.ask(a, remote, 1s, caf::add_atom_v, std::int32_t{1});
    auto new_answer = world.ask(a, fresh, 1s, caf::add_atom_v, std::int32_t{2});
    world.run(2s);
    CHECK_FALSE(old_answer->value);
    CHECK(old_answer->failure);
    CHECK(new_answer->value == 2);
  }
}

TEST_CASE("a stalled machine does nothing, and then everything in order") {
  engine_options options;
  options.seed = 5;
  cluster world{options};
  auto a = world.start("a");
  auto b = world.start("b");
  world.stream(a, world.dial(a, b), 100, 10ms);
  world.run(300ms);
  world.core.stall(b);
  auto before = world.seen[b]->size();
  CHECK(before > 0);
  CHECK(before < 100);
  world.run(600ms);
  CHECK(world.core.stalled(b));
  CHECK(world.seen[b]->size() == before);
  world.core.go_on(b);
  world.run(3s);
  CHECK(*world.seen[b] == numbers(100));
}

TEST_CASE("a restarted process is somebody else") {
  cluster world;
  auto a = world.start("a");
  auto b = world.start("b");
  auto old = world.dial(a, b);
  world.core.kill(b, engine::death::killed, "test");
  CHECK_FALSE(world.core.up(b));
  CHECK(world.core.actors(b).empty());
  world.run(100ms);
  world.boot(b);
  CHECK(world.core.boots(b) == 2);
  auto fresh = world.dial(a, b);
  CHECK(fresh.node() != old.node());
  auto old_answer = world.ask(a, old, 1s, caf::add_atom_v, std::int32_t{1});
  auto new_answer = world.ask(a, fresh, 1s, caf::add_atom_v, std::int32_t{2});
  world.run(2s);
  CHECK_FALSE(old_answer->value);
  CHECK(new_answer->value == 2);
  CHECK(*world.seen[b] == std::vector<std::int32_t>{2});
}

TEST_CASE("dialling is refused by a host without a process, and unanswered by one that is gone") {
  cluster world;
  auto a = world.start("a");
  auto b = world.start("b");
  world.core.kill(b, engine::death::killed, "test");
  auto began = world.core.now();
  auto refused = world.dial_later(a, "b:1");
  auto unknown = world.dial_later(a, "nowhere:1");
  world.run(1s);
  CHECK(refused->failure == errc::unreachable);
  CHECK(refused->at - began == 2ms);
  CHECK(unknown->failure == errc::unreachable);
  world.boot(b);
  world.core.kill(b, engine::death::silent, "test");
  auto unanswered = world.dial_later(a, "b:1");
  world.run(100ms);
  world.boot(b);
  auto rule = world.core.cut({a}, {b});
  auto cut_off = world.dial_later(a, "b:1");
  world.run(60s);
  world.core.lift(rule);
  world.run(60s);
  CHECK(unanswered->at == instant{-1});
  CHECK(cut_off->at == instant{-1});
  // At last the operating system gives up.
  world.run(60s);
  CHECK(unanswered->failure == errc::unreachable);
  CHECK(cut_off->failure == errc::unreachable);
}

TEST_CASE("dialling again finds the open connection") {
  cluster world;
  auto a = world.start("a");
  auto b = world.start("b");
  auto first = world.dial(a, b);
  CHECK(world.count(event_kind::connect) == 2); // one per side
  CHECK(world.dial(a, b) == first);
  // The other way round too: a connection has no direction.
  world.dial(b, a);
  CHECK(world.count(event_kind::connect) == 2);
}

TEST_CASE("a process that comes back before its peers noticed its death leaves its old connection to time out") {
  cluster world;
  auto a = world.start("a");
  auto b = world.start("b");
  auto old = world.dial(b, a);
  auto heard = world.watch(b, old);
  world.run(10ms);
  world.core.kill(a, engine::death::silent, "test");
  world.run(100ms);
  CHECK(heard->at == instant{-1});
  world.boot(a);
  world.dial(a, b);
  // What the former process sent last may still come: its connection ends by itself.
  CHECK(world.count(event_kind::disconnect) == 0);
  world.run(2s);
  CHECK(world.count(event_kind::disconnect, "nothing was heard") == 1);
  CHECK(heard->failure == caf::exit_reason::remote_link_unreachable);
}

TEST_CASE("a detached actor aborts the run with the name of who spawned it") {
  auto child = in_child([] {
    cluster world;
    auto a = world.start("a");
    world.core.on(a, [&] {
      world.core.system().spawn([](caf::event_based_actor* self) -> caf::behavior {
        self->send(self, caf::tick_atom_v);
        return {[self](caf::tick_atom) {
          self->spawn<caf::detached>([](caf::event_based_actor* thread) -> caf::behavior {
            thread->delayed_send(thread, 1h, caf::ok_atom_v);
            return {[](caf::ok_atom) {}};
          });
        }};
      });
    });
    world.run(1s);
  });
  CHECK(WIFSIGNALED(child.status));
  CHECK(WTERMSIG(child.status) == SIGABRT);
  CHECK_MESSAGE(child.printed.find("a/user.scheduled-actor#") != std::string::npos, child.printed);
  CHECK_MESSAGE(child.printed.find("detached") != std::string::npos, child.printed);
}

TEST_CASE("a message that cannot be serialised aborts the run with its sender's name") {
  auto child = in_child([] {
    cluster world;
    auto a = world.start("a");
    auto b = world.start("b");
    auto remote = world.dial(a, b);
    world.core.on(a, [&] {
      world.core.system().spawn([remote](caf::event_based_actor* self) {
        self->send(remote, work_request{std::make_shared<const std::string>("x"), "text/plain"});
      });
    });
    world.run(1s);
  });
  CHECK(WIFSIGNALED(child.status));
  CHECK(WTERMSIG(child.status) == SIGABRT);
  CHECK_MESSAGE(child.printed.find("a/user.scheduled-actor#") != std::string::npos, child.printed);
  CHECK_MESSAGE(child.printed.find("cannot be serialised") != std::string::npos, child.printed);
}

TEST_CASE("an engine that ends with everything in flight leaves nothing behind") {
  std::weak_ptr<int> left;
  {
    cluster world;
    left = world.token;
    auto a = world.start("a");
    auto b = world.start("b");
    auto c = world.start("c");
    auto to_b = world.dial(a, b);
    auto to_c = world.dial(a, c);
    world.watch(a, to_b);
    world.stream(a, to_b, 1000, 1ms);
    world.stream(a, to_c, 1000, 1ms);
    world.ask(a, to_b, 1h, caf::get_atom_v);
    world.ask(a, to_c, 1h, caf::get_atom_v);
    world.run(50ms);
    world.core.cut({a}, {b}); // held messages
    world.core.stall(c);      // held steps
    world.dial_later(b, "c:1");
    world.run(20ms);
  }
  CHECK(left.expired());
}

TEST_CASE("the seed decides everything: equal seeds, equal hashes, in another process too") {
  auto first = storm(11);
  CHECK(storm(11) == first);
  CHECK(storm(12) != first);
  auto child = in_child([&] {
    // A heap that looks different.
    std::vector<std::unique_ptr<char[]>> dirt;
    for (std::size_t i = 1; i < 2000; ++i)
      dirt.push_back(std::make_unique<char[]>(i));
    std::fprintf(stderr, "%d", storm(11) == first ? 1 : 0);
  });
  CHECK(child.printed == "1");
}

} // namespace
} // namespace astra::sim
