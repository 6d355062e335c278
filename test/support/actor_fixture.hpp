#pragma once

#include "messages/type_ids.hpp"
#include "test/support/fake_platform.hpp"

#include <caf/actor_system.hpp>
#include <caf/actor_system_config.hpp>
#include <caf/expected.hpp>
#include <caf/scheduler/test_coordinator.hpp>
#include <caf/scoped_actor.hpp>
#include <caf/send.hpp>

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace astra::test {

using namespace std::chrono_literals;

/// Actor system on CAF's test coordinator: nothing runs and no time passes but when the test says so.
class actor_fixture {
public:
  actor_fixture();
  ~actor_fixture();

  /// A world for one process; owned by the fixture.
  fake_platform& process(const std::string& address);

  /// Ends the actor when the fixture ends: a ticking actor would keep the system alive.
  template <class Handle>
  Handle own(Handle handle) {
    owned_.push_back(caf::actor_cast<caf::strong_actor_ptr>(handle));
    return handle;
  }

  /// Handles all messages that are due now.
  void run();

  /// Lets time pass, from one timer to the next.  CAF's own advance_time jumps to the end first and shows every
  /// timer on the way that late time.
  void advance(caf::timespan duration);

  std::chrono::steady_clock::time_point now() const;

  /// Ends an actor at once, as a crash would: its monitors fire, it says no goodbye.
  template <class Handle>
  void kill(const Handle& handle) {
    caf::anon_send_exit(handle, caf::exit_reason::kill);
    run();
  }

  /// Sends a request and lets time pass until the reply is there, at most `patience`.
  template <class Result, class Handle, class... Args>
  caf::expected<Result> ask_for(caf::timespan patience, const Handle& handle, Args&&... args) {
    std::optional<caf::expected<Result>> result;
    caf::scoped_actor self{sys};
    auto pending = self->request(handle, caf::infinite, std::forward<Args>(args)...);
    run();
    auto end = now() + patience;
    auto poll = [&] {
      if (self->has_next_message())
        pending.receive([&](Result& value) { result.emplace(std::move(value)); },
                        [&](caf::error& reason) { result.emplace(std::move(reason)); });
      return result.has_value();
    };
    while (!poll() && now() < end)
      advance(std::min<caf::timespan>(10ms, end - now()));
    if (!result)
      return caf::make_error(errc::timed_out, "no reply");
    return std::move(*result);
  }

  template <class Result, class Handle, class... Args>
  caf::expected<Result> ask(const Handle& handle, Args&&... args) {
    return ask_for<Result>(30s, handle, std::forward<Args>(args)...);
  }

private:
  struct config : caf::actor_system_config {
    config();
  };
  config config_;

public:
  caf::actor_system sys{config_};
  caf::scheduler::test_coordinator& scheduler;
  fake_network network;

private:
  std::vector<caf::strong_actor_ptr> owned_;
  std::vector<std::unique_ptr<fake_platform>> processes_;
};

} // namespace astra::test
