#pragma once

#include "runtime/sim/world.hpp"

#include <nlohmann/json.hpp>

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace astra::test {

using namespace std::chrono_literals;

/// The scenario of a text.  A relative `file` of an app starts at the root of the source tree.  Fails the test, with
/// every problem, when the text has some.
std::shared_ptr<const scenario> read_scenario(const std::string& text);

/// Resources, nodes (in the zones a, b and c in turn), one scheduler and one gateway, with `replicas` of the app echo;
/// `more` is TOML that is added at the end.
std::string plain_cluster(int resources, int nodes, int replicas, const std::string& more = {});

/// A cluster of production actors in virtual time, for tests: nothing happens and no time passes but when the test says
/// so.  All invariants are on: one that fails fails the test, with its finding.
///
///     sim_world world{plain_cluster(3, 6, 6)};
///     world.advance(10s);
///     world.fault("crash", {"node-1"}, 2s);
///     CHECK(world.app("echo").ready == 6);
class sim_world {
public:
  explicit sim_world(const std::string& toml, std::uint64_t seed = 1);
  ~sim_world();

  void advance(std::chrono::nanoseconds length);

  /// Advances until `what()` holds.  @returns how long that took; nothing: longer than `patience`.
  template <class What>
  std::optional<std::chrono::nanoseconds> advance_until(What what, std::chrono::nanoseconds patience = 30s,
                                                        std::chrono::nanoseconds step = 50ms) {
    for (auto began = now(); now() - began <= patience; advance(step))
      if (what())
        return now() - began;
    return std::nullopt;
  }

  /// Begins now.
  void fault(std::string kind, std::vector<std::string> targets, std::chrono::nanoseconds length,
             std::vector<std::string> others = {});
  /// Of the whole description, for faults with more to say.
  void fault(scenario_fault what);

  std::chrono::nanoseconds now() const;

  struct answer {
    /// 0: none within the patience.
    int status = 0;
    std::string body;
    /// Name of the node that served it.
    std::string node;
  };

  /// What a client of the first gateway gets.  Advances until the answer is there, at most `patience`.
  answer call(const std::string& method, const std::string& target, std::string body = {},
              std::chrono::nanoseconds patience = 10s);
  answer request(const std::string& app, std::string body = "hello");

  struct app_status {
    std::uint32_t replicas = 0;
    std::uint32_t ready = 0;
    nlohmann::json detail;
  };
  app_status app(const std::string& name);

  struct node_status {
    /// "online", "suspect", "draining", "offline".
    std::string state;
    std::string home;
    std::uint64_t incarnation = 0;
    std::string reason;
  };
  node_status node(const std::string& name);

  /// How often something was logged since the beginning: by the event's name ("resource.evict").
  std::size_t logged(std::string_view event) const;

  /// Outcomes of the requests of the scenario's load.
  struct load_outcomes {
    std::uint64_t sent = 0;
    std::uint64_t answered = 0;
    /// Answered with anything but 200.
    std::uint64_t failed = 0;
  };
  load_outcomes load() const;

  sim::world& world();

private:
  class impl;
  std::unique_ptr<impl> impl_;
};

} // namespace astra::test
