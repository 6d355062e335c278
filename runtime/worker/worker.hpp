#pragma once

#include "actors/apps/app_registry.hpp"

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

struct astra_actor_type;

namespace astra {

struct worker_options {
  app_arguments arguments;
  /// On the loopback interface; 0: chosen by the kernel.
  std::uint16_t port = 0;
  /// Messages that wait beside the one that is worked on; more are answered 503.  A node lets in as many as the app's
  /// concurrency, which is at most this.
  std::uint32_t mailbox = 10'000;
};

/// How a worker ended.
struct worker_outcome {
  /// What went wrong before it listened; empty: it ran to its end.
  std::string problem;
  /// It would go wrong the next time, too.
  bool hopeless = false;
};

/// SIGTERM and SIGINT reach no thread of this process any more, nor threads that begin later: run_worker waits for
/// them.  Before a library is loaded, whose threads would end the process else.
void block_ending_signals();

/// Runs one actor behind loopback HTTP until SIGTERM or SIGINT, after which it finishes the messages that it has taken:
/// POST / hands it a message, one after the other; GET /ready answers 200.  Answers: 200 with the actor's own, 400 when
/// the message is none of its messages, 422 when it refuses, 500 when it fails, 503 when the mailbox is full or closed;
/// the body says why.
/// @param type Stays loaded.
/// @param ready Called with the address once it listens.
worker_outcome run_worker(const astra_actor_type& type, const worker_options& options,
                          const std::function<void(std::string_view address)>& ready);

} // namespace astra
