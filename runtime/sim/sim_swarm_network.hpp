#pragma once

#include "p2p/engine.hpp"
#include "runtime/sim/draw.hpp"
#include "runtime/sim/event.hpp"
#include "runtime/sim/sim_disk.hpp"

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>

namespace astra::sim {

struct sim_swarm_options {
  /// Of each machine, over all contents and peers.
  std::uint64_t uplink_bytes_per_s = 125'000'000;
  /// 0: no bound.
  std::uint64_t downlink_bytes_per_s = 125'000'000;
  /// One way, drawn log-uniformly per connection and per announcement.
  std::chrono::nanoseconds latency_min{std::chrono::microseconds{200}};
  std::chrono::nanoseconds latency_max{std::chrono::milliseconds{3}};
  /// How fast an engine looks at files of which it knows nothing.
  std::uint64_t check_bytes_per_s = 500'000'000;
  /// Pieces that one machine sends at a time; what more is asked of it waits in turn.
  std::uint32_t slots = 4;
  /// Pieces that one peer is asked for at a time.
  std::uint32_t requests_per_peer = 2;
  /// A connection on which nothing came for this long has ended.
  std::chrono::nanoseconds silence{std::chrono::seconds{5}};
  std::chrono::nanoseconds dial_timeout{std::chrono::seconds{3}};
};

/// The engines of all simulated machines, and what moves between them: a fluid model with a few events per piece.
///
/// A machine sends a few pieces at a time, at equal shares of its uplink; all that is on its way to a machine goes
/// through its downlink in the order of coming, as through a queue.  Both are exact at any time, so limits hold over
/// any second.  Connections, pieces and announcements take the latency of the network; where nothing passes nothing
/// moves, and what was on its way is lost.
///
/// A pure state machine: it has no clock, thread or bytes, and everything that is random is drawn.  One thread.
class sim_swarm_network {
public:
  struct hooks {
    /// Never goes back.
    std::function<instant()> now;
    /// `advance` is to be called then, or before.
    std::function<void(instant)> wake;
    /// Whether both machines run and messages pass from the first to the second; null: always.
    std::function<bool(std::uint32_t from, std::uint32_t to)> passes;
  };

  /// Where an engine is to run.
  struct place {
    std::uint32_t machine = 0;
    /// Its address is that of the machine.
    p2p::peer_endpoint where;
    /// Outlives the engine.
    sim_disk* disk = nullptr;
    /// When there is something to drain again.
    std::function<void()> notify;
    /// 0: as the network's options have it.
    std::uint64_t uplink_bytes_per_s = 0;
    std::uint64_t downlink_bytes_per_s = 0;
  };

  /// @pre `slots`, `requests_per_peer` and the uplink are positive.
  sim_swarm_network(sim_swarm_options options, const draws& chance, hooks world);
  ~sim_swarm_network();

  /// An engine, which may not outlive the network.
  /// @pre no other engine has the endpoint.
  std::unique_ptr<p2p::engine> open(place what);

  /// Lives through all that was due.
  void advance();
  /// When `advance` has something to do; nothing: never, unless an engine is asked for more.
  std::optional<instant> next_due();

  /// What `passes` says may be different now.
  void links_changed();
  /// The machine goes without a word: when its engine ends now, nobody is told.
  void lose(std::uint32_t machine);
  /// What is drawn from now on comes from these draws.
  void reseed(const draws& chance);

  /// Bytes of pieces that left a machine and came to one, whatever became of them; exact at any time.
  std::uint64_t sent_bytes(std::uint32_t machine);
  std::uint64_t received_bytes(std::uint32_t machine);
  /// Of all machines.
  std::uint64_t sent_bytes();
  /// What happened so far, for measuring the model.
  std::uint64_t steps() const;

private:
  class impl;
  class sim_engine;
  std::unique_ptr<impl> impl_;
};

} // namespace astra::sim
