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

namespace astra {
struct peer_identity;
} // namespace astra

namespace astra::sim {

/// What a run of the engine depends on.
struct engine_options {
  std::uint64_t seed = 1;
  schedule_policy policy = schedule_policy::mixed;
  std::uint32_t depth = 3;
  /// Each step of an actor takes up to this long; 0: none.
  std::chrono::nanoseconds step_max{0};
  scenario_network network;
  /// In datagram mode: from this time on no message is lost, doubled, overtaken or late.
  std::chrono::nanoseconds lossy_until = std::chrono::nanoseconds::max();
  /// A connection on which nothing came for this long is closed by its receiver; as net.timeout.
  std::chrono::nanoseconds connection_timeout{std::chrono::seconds{1}};
  /// As net.heartbeat: how much later than that it may be noticed.
  std::chrono::nanoseconds connection_heartbeat{std::chrono::milliseconds{200}};
  /// Step time of a machine's clock against the world's at its first boot is drawn below this.
  std::chrono::nanoseconds clock_offset_max{std::chrono::hours{1000}};
};

/// How closely the network between machines is that of a live cluster.
enum class fidelity : std::uint8_t {
  /// One actor system with proxies of ours: messages travel as messages.  Fast; a million machines.
  wire,
  /// One actor system per process, and between them the bytes of CAF's own protocol.  Up to about 50 machines.
  basp,
};

/// Many virtual machines in virtual time.
///
/// The scheduler module of CAF's actor systems is replaced by one of ours, which owns the run queue, the clock and the
/// network of all machines.  Every message between machines is serialised, delayed, held, lost or cut, and
/// deserialised.  Nothing but the seed decides what happens when.
///
/// One engine at a time per thread.
class engine {
public:
  using observer = std::function<void(const event&)>;

  virtual ~engine();
  engine(const engine&) = delete;
  engine& operator=(const engine&) = delete;

  /// That of the machine whose turn it is.
  virtual caf::actor_system& system() = 0;
  /// What connects the process whose turn it is to others: it answers as CAF's middleman does.  For
  /// spawn_dialer_over_middleman.
  virtual caf::actor connector() = 0;
  virtual const engine_options& options() const = 0;
  virtual const draws& random() const = 0;

  // -- machines ----------------------------------------------------------------

  /// A machine without a process.
  virtual machine_id add_machine(std::string name, std::string address) = 0;

  /// Starts a process: `start` runs on the machine and spawns its actors.  @pre the machine is down.
  virtual void boot(machine_id where, const std::function<void()>& start) = 0;

  /// Runs something on a machine that is up, as if an actor there did it.
  virtual void on(machine_id where, const std::function<void()>& what) = 0;

  enum class death {
    /// The process is gone, its host says so to everybody who is connected.
    killed,
    /// The process ended in order.
    ended,
    /// The whole machine is gone and says nothing.
    silent,
  };

  virtual void kill(machine_id where, death how, std::string_view why) = 0;

  /// Nothing happens on the machine until go_on.
  virtual void stall(machine_id where) = 0;
  virtual void go_on(machine_id where) = 0;

  /// From now on its clock runs this many millionths faster.
  virtual void set_drift(machine_id where, double ppm) = 0;

  virtual bool up(machine_id where) const = 0;
  virtual bool stalled(machine_id where) const = 0;
  virtual std::uint32_t boots(machine_id where) const = 0;
  virtual std::size_t machine_count() const = 0;
  virtual const std::string& machine_name(machine_id where) const = 0;
  /// The machine whose turn it is; 0: nobody's.
  virtual machine_id current() const = 0;
  /// Time of the machine's own clock.
  virtual std::chrono::steady_clock::time_point local_time(machine_id where) const = 0;

  /// Actors that live on a machine, in the order of their numbers.
  virtual std::vector<caf::strong_actor_ptr> actors(machine_id where) = 0;
  /// "resource-1/astra.resource#12"
  virtual std::string actor_name(std::uint64_t actor) const = 0;
  virtual machine_id machine_of(std::uint64_t actor) const = 0;
  /// Messages that wait for an actor of `actors`.  Looking may move some within its mailbox, which changes no order.
  static std::size_t mailbox_size(const caf::strong_actor_ptr& actor);
  /// Machines with which one has a connection that is open as it sees it.
  virtual std::vector<machine_id> peers(machine_id where) const = 0;

  // -- network -----------------------------------------------------------------

  /// Who answers to connections with this machine.
  virtual void set_directory(machine_id where, caf::strong_actor_ptr directory) = 0;

  /// Who its processes are to others, as a certificate would say: nobody accepts more of them than that allows. Without
  /// it they have the machine's name and every role of a process.  Ignored where messages do not travel as bytes.
  virtual void set_identity(machine_id where, const peer_identity& identity);

  using rule_id = std::uint64_t;

  /// Nothing passes from one set of machines to the other until the rule is lifted.
  virtual rule_id cut(std::vector<machine_id> from, std::vector<machine_id> to) = 0;
  /// Messages take `factor` times as long.
  virtual rule_id slow(std::vector<machine_id> from, std::vector<machine_id> to, double factor) = 0;
  virtual void lift(rule_id rule) = 0;
  virtual bool passes(machine_id from, machine_id to) const = 0;

  // -- time --------------------------------------------------------------------

  virtual instant now() const = 0;

  /// Runs `what` as nobody, before everything else that is due then.
  virtual void at(instant when, std::function<void()> what) = 0;

  /// The same, before everything that `at` runs then; the lower rank first.
  /// @pre `rank` is below 2^62 and unique among those of this time
  virtual void first_at(instant when, std::uint64_t rank, std::function<void()> what) = 0;

  /// Draws from now on with another seed.  What was drawn before stays: latencies of what is on its way, and so on.
  virtual void reseed(std::uint64_t seed) = 0;

  /// Runs `what` on a machine, in its present boot: later while it is stalled, never when it dies before.
  virtual void at(machine_id where, instant when, std::function<void()> what) = 0;

  /// Runs until nothing is left that is due by `end`, or until stop().
  virtual void run_until(instant end) = 0;

  /// One event more.  @returns false when there is none by `end`.
  virtual bool step(instant end) = 0;

  /// Ends run_until after the present event.
  virtual void stop() = 0;
  virtual bool stopped() const = 0;

  virtual std::uint64_t events() const = 0;
  /// Steps of actors.
  virtual std::uint64_t steps() const = 0;
  /// Over every event so far: equal for equal runs, on every machine and build.
  virtual std::uint64_t trace_hash() const = 0;

  /// Tells the observer something of the caller's making.
  /// @param cause number of the event that it follows from; 0: the one that is happening.
  virtual void tell(event_kind kind, machine_id where, machine_id peer, std::string_view text,
                    std::uint64_t cause = 0) = 0;

  /// Tells observers and the trace that something was logged; called by the log's sink.
  virtual void log_line(std::string_view text) = 0;

  /// The engine of this thread; null when there is none.
  static engine* present();

protected:
  engine();
};

/// @param watch sees every event; may be null.
std::unique_ptr<engine> make_engine(const engine_options& options, engine::observer watch,
                                    fidelity how = fidelity::wire);

} // namespace astra::sim
