#include "runtime/net/network_thread.hpp"

#include <caf/actor_system.hpp>
#include <caf/actor_system_config.hpp>
#include <caf/io/middleman.hpp>
#include <doctest/doctest.h>

#include <chrono>
#include <future>
#include <memory>
#include <numeric>
#include <vector>

using namespace astra;
using namespace std::chrono_literals;

TEST_CASE("more tasks wait for a busy network thread than its pipe holds, and nobody waits for that") {
  caf::actor_system_config config;
  config.load<caf::io::middleman>();
  config.set("caf.logger.file.verbosity", "quiet");
  config.set("caf.logger.console.verbosity", "quiet");
  caf::actor_system sys{config};
  network_thread network{sys.middleman().backend()};
  std::promise<void> release;
  network.post([wait = release.get_future().share()] { wait.wait(); });

  constexpr int count = 50'000;
  std::vector<int> ran;
  std::promise<void> done;
  auto posting = std::async(std::launch::async, [&] {
    for (int i = 0; i < count; ++i)
      network.post([&ran, i] { ran.push_back(i); });
    network.post([&done] { done.set_value(); });
  });
  auto posted = posting.wait_for(20s) == std::future_status::ready;
  release.set_value();
  CHECK(posted);
  REQUIRE(done.get_future().wait_for(20s) == std::future_status::ready);
  std::vector<int> in_order(count);
  std::iota(in_order.begin(), in_order.end(), 0);
  CHECK(ran == in_order);
}
