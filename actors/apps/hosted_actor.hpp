#pragma once

#include "actors/apps/app_registry.hpp"

#include <astra/actor_abi.hpp>
#include <caf/expected.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace astra {

/// Time and chance of a hosted actor.
struct hosted_world {
  /// Since the actor began.
  std::function<std::chrono::nanoseconds()> now;
  std::function<std::uint64_t()> random;
  /// One line.
  std::function<void(std::string_view)> log;
};

/// What became of a body that an actor was sent.
struct hosted_answer {
  astra_actor_status status = ASTRA_ACTOR_OK;
  /// What went wrong when the status says so.
  std::string body;
  /// "application/json" or "text/plain".
  std::string content_type;
};

/// One actor of the message layer (docs/actors.md), in this process: the plain half that a node, a worker and the
/// simulator share.  It hands messages on, answers {"describe":{}} and {"info":{}} itself, and remembers what came
/// last. A body is a message when it is a JSON object with one member, whose value is an object or null.
class hosted_actor {
public:
  /// Messages that `info` lists.
  static constexpr std::size_t remembered_max = 20;

  /// Fails with errc::invalid_argument and a sentence when the arguments are wrong or the actor does not want to live.
  /// @param type Outlives the actor, as does the library that it is of.
  static caf::expected<std::unique_ptr<hosted_actor>> make(const astra_actor_type& type, const app_arguments& args,
                                                           hosted_world world);

  ~hosted_actor();
  hosted_actor(const hosted_actor&) = delete;
  hosted_actor& operator=(const hosted_actor&) = delete;

  /// @param waiting Messages that wait behind this one.
  hosted_answer handle(std::string_view body, std::size_t waiting);

private:
  struct remembered {
    /// Empty: no message.
    std::string name;
    std::chrono::nanoseconds at;
    std::chrono::nanoseconds took;
    /// Empty: it was answered.
    std::string problem;
  };

  hosted_actor(const astra_actor_type& type, hosted_world world);

  std::string info(std::size_t waiting) const;
  void remember(remembered what);

  const astra_actor_type& type_;
  hosted_world world_;
  astra_actor_host host_;
  void* actor_ = nullptr;
  std::uint64_t handled_ = 0;
  std::uint64_t failed_ = 0;
  std::deque<remembered> last_;
};

/// As which an answer goes out over HTTP: 200, 400 for what is none of its messages, 422 when it refuses, 500 else.
std::uint16_t http_status_of(astra_actor_status status);

/// What an actor takes, as JSON: name, doc, arguments and messages with their fields, types and defaults.
std::string describe_actor(const astra_actor_type& type);

} // namespace astra
