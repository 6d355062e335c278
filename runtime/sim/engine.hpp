#pragma once

#include "config/scenario.hpp"
#include "runtime/sim/draw.hpp"
#include "runtime/sim/event.hpp"

#include <caf/actor_control_block.hpp>
#include <caf/actor_system.hpp>
#include <caf/node_id.hpp>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace astra::sim {

/// What a run of the engine depends on.
struct engine_options {
  std::uint64_t seed = 1;
  schedule_policy policy = schedule_policy::mixed;
  std::uint32_t depth = 3;
  /// Each step of an actor takes up to this long; 0: none.
  std::chrono::nanoseconds step_max{0};
  scenario_network network;
  /// A connection on which nothing came for this long is closed by its receiver; as net.timeout.
  std::chrono::nanoseconds connection_timeout{std::chrono::seconds{1}};
  /// As net.heartbeat: how much later than that it may be noticed.
  std::chrono::nanoseconds connection_heartbeat{std::chrono::milliseconds{200}};
  /// Step time of a machine's clock against the world's at its first boot is drawn below this.
  std::chrono::nanoseconds clock_offset_max{std::chrono::hours{1000}};
};

/// Many virtual machines in one actor system, in virtual time.
///
/// The scheduler module of a CAF actor system is replaced by one of ours, which owns the run queue, the clock and the
/// network of all machines.  Actors of other machines than the current one are remote to each other: the system's node
/// id is that of the machine whose turn it is, so CAF itself hands out proxies (ours), and every message between
/// machines is serialised, delayed, held, lost or cut, and deserialised.  Nothing but the seed decides what happens
/// when.
///
/// One engine at a time per thread.
class engine {
public:
  using observer = std::function<void(const event&)>;

  /// @param watch sees every event; may be null.
  engine(const engine_options& options, observer watch);
  ~engine();
  engine(const engine&) = delete;
  engine& operator=(const engine&) = delete;

  caf::actor_system& system();
  const engine_options& options() const;
  const draws& random() const;

  // -- machines ----------------------------------------------------------------

  /// A machine without a process.
  machine_id add_machine(std::string name, std::string address);

  /// Starts a process: `start` runs on the machine and spawns its actors.  @pre the machine is down.
  void boot(machine_id where, const std::function<void()>& start);

  /// Runs something on a machine that is up, as if an actor there did it.
  void on(machine_id where, const std::function<void()>& what);

  enum class death {
    /// The process is gone, its host says so to everybody who is connected.
    killed,
    /// The process ended in order.
    ended,
    /// The whole machine is gone and says nothing.
    silent,
  };

  void kill(machine_id where, death how, std::string_view why);

  /// Nothing happens on the machine until go_on.
  void stall(machine_id where);
  void go_on(machine_id where);

  /// From now on its clock runs this many millionths faster.
  void set_drift(machine_id where, double ppm);

  bool up(machine_id where) const;
  bool stalled(machine_id where) const;
  std::uint32_t boots(machine_id where) const;
  std::size_t machine_count() const;
  const std::string& machine_name(machine_id where) const;
  /// The machine whose turn it is; 0: nobody's.
  machine_id current() const;
  /// Time of the machine's own clock.
  std::chrono::steady_clock::time_point local_time(machine_id where) const;

  /// Actors that live on a machine, in the order of their numbers.
  std::vector<caf::strong_actor_ptr> actors(machine_id where);
  /// "resource-1/astra.resource#12"
  std::string actor_name(std::uint64_t actor) const;
  machine_id machine_of(std::uint64_t actor) const;
  /// Messages that wait for an actor of `actors`.  Looking may move some within its mailbox, which changes no order.
  static std::size_t mailbox_size(const caf::strong_actor_ptr& actor);
  /// Machines with which one has a connection that is open as it sees it.
  std::vector<machine_id> peers(machine_id where) const;

  // -- network -----------------------------------------------------------------

  /// Who answers to connections with this machine.
  void set_directory(machine_id where, caf::strong_actor_ptr directory);

  using on_connected = std::function<void(caf::expected<caf::strong_actor_ptr> directory)>;

  /// Opens a connection from the current machine to the process at an address, or finds the open one.  Never calls
  /// back when nobody answers; fails with errc::unreachable when there is a host without a process.
  void connect(const std::string& address, on_connected done);

  using rule_id = std::uint64_t;

  /// Nothing passes from one set of machines to the other until the rule is lifted.
  rule_id cut(std::vector<machine_id> from, std::vector<machine_id> to);
  /// Messages take `factor` times as long.
  rule_id slow(std::vector<machine_id> from, std::vector<machine_id> to, double factor);
  void lift(rule_id rule);
  bool passes(machine_id from, machine_id to) const;

  // -- time --------------------------------------------------------------------

  instant now() const;

  /// Runs `what` as nobody, before everything else that is due then.
  void at(instant when, std::function<void()> what);

  /// The same, before everything that `at` runs then; the lower rank first.
  /// @pre `rank` is below 2^62 and unique among those of this time
  void first_at(instant when, std::uint64_t rank, std::function<void()> what);

  /// Draws from now on with another seed.  What was drawn before stays: latencies of what is on its way, and so on.
  void reseed(std::uint64_t seed);

  /// Runs `what` on a machine, in its present boot: later while it is stalled, never when it dies before.
  void at(machine_id where, instant when, std::function<void()> what);

  /// Runs until nothing is left that is due by `end`, or until stop().
  void run_until(instant end);

  /// One event more.  @returns false when there is none by `end`.
  bool step(instant end);

  /// Ends run_until after the present event.
  void stop();
  bool stopped() const;

  std::uint64_t events() const;
  /// Steps of actors.
  std::uint64_t steps() const;
  /// Over every event so far: equal for equal runs, on every machine and build.
  std::uint64_t trace_hash() const;

  /// Tells the observer something of the caller's making.
  /// @param cause number of the event that it follows from; 0: the one that is happening.
  void tell(event_kind kind, machine_id where, machine_id peer, std::string_view text, std::uint64_t cause = 0);

  /// Tells observers and the trace that something was logged; called by the log's sink.
  void log_line(std::string_view text);

  /// The engine of this thread; null when there is none.
  static engine* present();

private:
  class impl;
  std::unique_ptr<impl> impl_;
};

} // namespace astra::sim
