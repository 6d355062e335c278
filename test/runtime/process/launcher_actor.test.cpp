#include "messages/errc.hpp"
#include "runtime/process/launcher_client.hpp"

#include <caf/actor_system.hpp>
#include <caf/actor_system_config.hpp>
#include <caf/scoped_actor.hpp>
#include <caf/send.hpp>
#include <caf/typed_event_based_actor.hpp>
#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

using namespace astra;
using namespace std::chrono_literals;

namespace {

struct fixture {
  fixture() {
    launcher_options options;
    options.program = ASTRA_BINARY_DIR "/test/launcher_host";
    auto started = start_launcher(options);
    REQUIRE(started);
    client = std::move(*started);
    config.set("caf.scheduler.max-threads", 2u);
    sys = std::make_unique<caf::actor_system>(config);
    launcher = spawn_launcher_actor(*sys, *client);
    self = std::make_unique<caf::scoped_actor>(*sys);
  }

  ~fixture() {
    self.reset();
    caf::anon_send_exit(launcher, caf::exit_reason::user_shutdown);
    launcher = nullptr;
    sys.reset();
    client->close();
  }

  launch_process command(std::vector<std::string> words, std::uint64_t key = 1) {
    launch_process what;
    what.key = process_key{key};
    what.command = std::move(words);
    what.output_limit_bytes = 1 << 20;
    return what;
  }

  caf::expected<process_started> launch(const launch_process& what) {
    caf::expected<process_started> result{caf::error{}};
    (*self)
        ->request(launcher, 60s, what)
        .receive([&](const process_started& event) { result = event; }, [&](caf::error& error) { result = error; });
    return result;
  }

  std::optional<process_exited> next_exit() {
    std::optional<process_exited> result;
    (*self)->receive([&](process_exited& event) { result = std::move(event); }, caf::after(60s) >> [] {});
    return result;
  }

  std::unique_ptr<launcher_client> client;
  caf::actor_system_config config;
  std::unique_ptr<caf::actor_system> sys;
  launcher_actor launcher;
  std::unique_ptr<caf::scoped_actor> self;
};

} // namespace

TEST_CASE_FIXTURE(fixture, "a launch is answered with the pid, and its end goes to who asked") {
  auto what = command({"sh", "-c", "cat; exit 4"});
  what.input = std::make_shared<const std::string>("body");
  auto started = launch(what);
  REQUIRE(started);
  CHECK(started->key == what.key);
  CHECK(started->pid > 0);
  auto end = next_exit();
  REQUIRE(end);
  CHECK(end->key == what.key);
  CHECK(end->code == 4);
  CHECK(end->output == "body");
}

TEST_CASE_FIXTURE(fixture, "a command that does not exist fails the request, and a process_exited follows") {
  auto started = launch(command({"no-such-command"}));
  REQUIRE_FALSE(started);
  CHECK(started.error() == errc::spawn_failed);
  auto end = next_exit();
  REQUIRE(end);
  CHECK(end->end == process_end::spawn_failed);
  CHECK(end->reason.starts_with("no-such-command: command not found in PATH ("));
}

TEST_CASE_FIXTURE(fixture, "a key in use fails the request only") {
  REQUIRE(launch(command({"sleep", "1000"})));
  auto second = launch(command({"true"}));
  REQUIRE_FALSE(second);
  CHECK(second.error() == errc::conflict);
  (*self)->send(launcher, kill_process{process_key{1}, caf::timespan{0}, "test"});
  auto end = next_exit();
  REQUIRE(end);
  CHECK(end->end == process_end::killed);
  CHECK(end->reason == "killed: test");
}

TEST_CASE_FIXTURE(fixture, "commands are resolved to their path") {
  caf::expected<std::string> result{caf::error{}};
  auto resolve = [&](const char* name, std::vector<std::string> environment = {}) {
    (*self)
        ->request(launcher, 60s, resolve_command{name, environment})
        .receive([&](const std::string& path) { result = path; }, [&](caf::error& error) { result = error; });
  };
  resolve("sh");
  REQUIRE(result);
  CHECK(result->ends_with("/sh"));
  resolve("no-such-command");
  CHECK(result.error() == errc::unknown_name);
  resolve("launcher_host", {"PATH=" ASTRA_BINARY_DIR "/test"});
  REQUIRE(result);
  CHECK(*result == ASTRA_BINARY_DIR "/test/launcher_host");
  resolve("sh", {"PATH=/nowhere"});
  CHECK(result.error() == errc::unknown_name);
}

TEST_CASE_FIXTURE(fixture, "after the client is closed a launch fails with a reason") {
  client->close();
  auto started = launch(command({"true"}));
  REQUIRE_FALSE(started);
  CHECK(started.error() == errc::spawn_failed);
  auto end = next_exit();
  REQUIRE(end);
  CHECK(end->end == process_end::refused);
  CHECK_FALSE(end->reason.empty());
}

TEST_CASE_FIXTURE(fixture, "the processes of an actor that ends are killed") {
  std::atomic<bool> running{false};
  auto owner = sys->spawn([this, &running](process_owner::pointer actor) -> process_owner::behavior_type {
    actor->request(launcher, 60s, command({"sleep", "1000"}, 7))
        .then([&running](const process_started&) { running = true; }, [](caf::error&) {});
    return {[](const process_exited&) {}};
  });
  auto taken = [this] {
    auto second = launch(command({"true"}, 7));
    if (second)
      next_exit();
    return !second;
  };
  auto wait = [](auto condition) {
    auto end = std::chrono::steady_clock::now() + 60s;
    while (!condition() && std::chrono::steady_clock::now() < end)
      std::this_thread::sleep_for(5ms);
    return condition();
  };
  REQUIRE(wait([&] { return running.load(); }));
  CHECK(taken());
  caf::anon_send_exit(owner, caf::exit_reason::kill);
  owner = nullptr;
  CHECK(wait([&] { return !taken(); }));
}

TEST_CASE_FIXTURE(fixture, "200 launches of /bin/true all end") {
  for (std::uint64_t key = 1; key <= 200; ++key)
    (*self)->send(launcher, command({"/bin/true"}, key));
  std::size_t ends = 0;
  bool late = false;
  (*self)->receive_while([&] { return ends < 200 && !late; })(
      [&](const process_exited& event) { ends += event.code == 0 ? 1u : 0u; }, [](const process_started&) {},
      caf::after(60s) >> [&] { late = true; });
  CHECK(ends == 200);
}
