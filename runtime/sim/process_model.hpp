#pragma once

#include "actors/apps/hosted_actor.hpp"
#include "actors/platform.hpp"
#include "config/scenario.hpp"
#include "messages/http_call.hpp"
#include "messages/process.hpp"
#include "runtime/process/process_fate.hpp"
#include "runtime/process/tail_buffer.hpp"
#include "runtime/sim/draw.hpp"

#include <caf/error.hpp>
#include <caf/expected.hpp>

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace astra::sim {

/// The program behind a command.
struct sim_app {
  /// Words joined by spaces, "{port}" as in the app's spec.  A launch that equals no command belongs to the first
  /// program of the same first word.
  std::string command;
  scenario_behaviour behaviour;
  /// Listens on the port in its environment (PORT) and echoes the body of every POST; otherwise it reads its input to
  /// the end, works, and writes it out again.
  bool serves = false;
  /// Thousandths of a core that its start-up, and each request it works on, keeps busy.
  std::uint32_t work_milli = 1000;
  /// Resident memory of one process.
  std::uint64_t memory_bytes = std::uint64_t{64} << 20;
  /// Set for a worker: this one answers in place of the echo, in the time that the behaviour says.  Outlives the model.
  const astra_actor_type* actor = nullptr;
  app_arguments arguments;
  /// Why the worker's library cannot be had; empty: it can.
  std::string actor_problem;
};

using sim_app_table = std::vector<sim_app>;

/// The program of a scenario's app; nothing for an app of actors that come with Astra.  A library of actors is loaded
/// into this process.  Each request keeps its slot's share of the replica's cores busy, and a process uses half of the
/// memory that it may.
std::optional<sim_app> make_sim_app(const scenario_app& app);

/// The programs of a federated app's heads and workers, which listen on their ports; none for any other app.
std::vector<sim_app> make_sim_members(const scenario_app& app);

struct process_model_options {
  /// Null: no command is installed.
  std::shared_ptr<const sim_app_table> apps;
  std::uint32_t cpu_milli = 4000;
  std::uint64_t memory_bytes = std::uint64_t{8} << 30;
  /// Used by strangers.
  std::uint64_t idle_memory_bytes = std::uint64_t{512} << 20;
  /// Cores that strangers keep busy: average, and how far it swings to either side.
  double interference_cores = 0.0;
  double interference_swing = 0.0;
};

/// The processes of one boot of one machine: their lives, their servers' ports, the cores and the memory they use.
///
/// Cores are shared in proportion to what everybody wants.  While more is wanted than there is, all work advances at
/// the same reduced rate, so one clock of work done, which runs at that rate, is all it takes: work of length w that
/// starts at reading v ends at reading v + w.  This is exact processor sharing, not a factor drawn at the start.
///
/// A pure state machine: no actor, no clock of its own.  Every function that takes the time first lives through all
/// that was due before, in order; a time that goes back counts as no time passed.  Decisions are drawn per machine,
/// boot, process and request, so that a process that lives longer changes nobody else's fate.
class process_model {
public:
  using time_point = std::chrono::steady_clock::time_point;
  using duration = std::chrono::nanoseconds;

  /// From launch to exec.
  static constexpr duration exec_time{std::chrono::milliseconds{1}};
  /// Work of a question about a server's health (GET, HEAD).
  static constexpr duration health_work{std::chrono::microseconds{500}};
  /// A launcher that died is back after this.
  static constexpr duration launcher_restart{std::chrono::seconds{1}};

  using process_event = std::variant<process_started, process_exited>;

  struct call_result {
    std::uint64_t ticket = 0;
    caf::expected<http_answer> answer;
  };

  struct running_process {
    process_key key;
    std::int32_t pid = 0;
    /// Words joined by spaces.
    std::string command;
  };

  process_model(const draws& chance, std::uint32_t machine, std::uint32_t boot, process_model_options options,
                time_point now);

  /// What is drawn from now on comes from these draws.
  void reseed(const draws& chance) { chance_ = chance; }

  // -- as the launcher sees it --------------------------------------------------------------------------------------

  /// Fails with conflict (the key is in use) or spawn_failed (the launcher is being restarted); then no event follows.
  caf::expected<void> launch(const launch_process& what, time_point now);
  /// Does nothing when the key is not running.
  void kill(const kill_process& what, time_point now);
  /// Path of a command: they are all in /usr/bin.  Fails with unknown_name and a sentence.
  caf::expected<std::string> resolve(const std::string& name, const std::vector<std::string>& environment) const;

  // -- as the HTTP client sees it -----------------------------------------------------------------------------------

  /// Starts a call; its result comes with take_call_results.
  /// @pre `ticket` is not 0 and was never used.
  void call(std::uint64_t ticket, const http_call& what, time_point now);
  /// Ends a call as cancelled; its server works on.  Nothing happens when the call is over.
  void abort(std::uint64_t ticket, time_point now);
  /// The client is gone: no call gets a result any more.
  void forget_calls();

  // -- as time sees it ----------------------------------------------------------------------------------------------

  void advance(time_point now);
  /// When advance has something to do for whoever waits; nothing: never, unless somebody asks for more.
  std::optional<time_point> next_due() const;
  bool has_process_events() const { return !process_events_.empty(); }
  bool has_call_results() const { return !call_results_.empty(); }
  /// In the order of happening.
  std::vector<process_event> take_process_events() { return std::exchange(process_events_, {}); }
  std::vector<call_result> take_call_results() { return std::exchange(call_results_, {}); }

  machine_sample sample(time_point now);
  /// In the order of their launches.
  std::vector<running_process> running() const;
  /// Whether a process that runs was given this port.
  bool port_in_use(std::uint16_t port) const;

  // -- faults -------------------------------------------------------------------------------------------------------

  /// Every process dies of SIGKILL.
  void crash_all(time_point now);
  /// No process that runs now makes progress for this long: servers accept calls and do not answer, SIGTERM has to
  /// wait.
  void hang_all(duration length, time_point now);

  /// For this long no command can be executed, as on a machine with too many processes.
  void refuse_all(duration length, time_point now);
  /// All work takes this many times as long; 1: as usual.
  /// @pre `factor` is positive.
  void set_slowdown(double factor, time_point now);
  /// Cores that strangers keep busy on top of the interference.
  void set_extra_cores(double cores, time_point now);
  /// The launcher dies, and with it everything it ran.
  void lose_launcher(time_point now);
  /// The agent is gone, and takes everything it ran along: nobody is told but those who wait for an answer of a server.
  /// Takes no time, because a machine that has just died has none to tell.
  void end_all();

private:
  /// What becomes of one request, or of one launch of a process per request.
  enum class outcome : std::uint8_t { good, crash, hang, outgrow };

  struct process {
    process(const launch_process& what, const process_fate::limits& limits, time_point now)
      : key(what.key), limits(limits), fate(now, limits), started(now) {}

    process_key key;
    /// From 1 in this boot.
    std::uint64_t number = 0;
    /// Null: the command does not exist.
    const sim_app* app = nullptr;
    std::string command;
    std::string spawn_error;
    process_fate::limits limits;
    process_fate fate;
    time_point started;
    std::optional<time_point> exec_at;
    std::optional<time_point> frozen_until;
    std::shared_ptr<const std::string> input;
    bool output_is_log = false;
    /// It counts as started when it has started up.
    bool has_ready_line = false;
    std::string output;
    tail_buffer log{4096};
    std::uint16_t port = 0;
    bool listening = false;
    /// Of a worker that listens.
    std::shared_ptr<hosted_actor> actor;
    /// SIGTERM came while it was frozen.
    bool terminate_at_thaw = false;
    /// A server that got SIGTERM: it ends when it has answered what it works on.
    bool draining = false;
    std::uint64_t requests = 0;
    /// Its work that is not done, also what hangs.
    std::set<std::uint64_t> jobs;
    std::uint64_t busy_milli_ns = 0;
    std::uint64_t memory_peak = 0;
  };

  enum class job_kind : std::uint8_t { start, request, call, health };

  struct job {
    /// Number of its process.
    std::uint64_t process = 0;
    job_kind kind = job_kind::start;
    outcome end = outcome::good;
    /// Ticket of the call that waits for it; 0: nobody does.
    std::uint64_t ticket = 0;
    duration work{0};
    /// Work still to do when it was halted.
    duration left{0};
    /// Reading of the work clock at its end; nothing: it is halted.
    std::optional<duration> finish;
  };

  struct pending_call {
    http_call what;
    std::uint64_t job = 0;
    std::uint64_t process = 0;
    time_point deadline;
    duration limit{0};
  };

  using process_map = std::map<std::uint64_t, process>;

  // Draws.
  std::uint64_t subject() const { return (std::uint64_t{machine_} << 32) | boot_; }
  static std::uint64_t counter(std::uint64_t process, std::uint64_t request) { return (process << 24) + request; }
  outcome draw_outcome(const sim_app& app, std::uint64_t process, std::uint64_t request) const;
  duration draw_service(const sim_app& app, std::uint64_t process, std::uint64_t request, outcome end) const;

  const sim_app* find_app(const launch_process& what, std::uint16_t port) const;
  bool has_command(const std::string& name) const;

  // Time.
  std::optional<time_point> next_event(bool every_swing) const;
  void step(time_point at);
  void integrate(time_point at);
  duration work_clock(time_point at) const;
  time_point work_time(duration reading) const;
  void update_rate();
  void update_strangers();
  std::uint64_t wanted_milli() const { return own_milli_ + strangers_milli_ + extra_milli_; }

  // Work.
  std::uint64_t begin(process& owner, job what);
  void resume(std::uint64_t id, job& what);
  void halt(std::uint64_t id, job& what);
  void drop(std::uint64_t id);
  void complete(std::uint64_t id);

  // Lives of processes.
  void on_exec(process& what);
  void tell_started(const process& what);
  void on_started_up(process& what);
  void on_request_done(process& what, outcome end);
  /// @returns why the worker cannot start; empty: it has started.
  std::string start_actor(process& what);
  void crash(process& what);
  void outgrow(process& what);
  void terminate(process& what);
  void thaw(process& what);
  void apply(process& what, process_fate::action action);
  void finish(process& what);
  void remove(process& what, const std::string& call_error);
  void log(process& what, const std::string& line);
  std::uint64_t memory_of(const process& what) const;
  process* find(process_key key);

  // Calls.
  void answer_call(std::uint64_t ticket);
  void fail_call(std::uint64_t ticket, errc code, const std::string& why);
  void refuse(std::uint64_t ticket, const http_call& what, errc code, const std::string& why);

  draws chance_;
  std::uint32_t machine_;
  std::uint32_t boot_;
  process_model_options options_;

  time_point now_;
  process_map processes_;
  std::map<process_key, std::uint64_t> numbers_;
  std::uint64_t last_process_ = 0;
  std::optional<time_point> launcher_back_;
  /// No command can be executed before this.
  std::optional<time_point> refuses_until_;

  std::map<std::uint64_t, job> jobs_;
  std::uint64_t last_job_ = 0;
  /// Work under way, by its end.
  std::set<std::pair<duration, std::uint64_t>> queue_;
  std::map<std::uint64_t, pending_call> calls_;

  /// The work clock read `anchor_reading_` at `anchor_`, and runs at rate_num_ / rate_den_ since.
  time_point anchor_;
  duration anchor_reading_{0};
  std::int64_t rate_num_ = 1;
  std::int64_t rate_den_ = 1;
  std::uint64_t own_milli_ = 0;
  std::uint64_t strangers_milli_ = 0;
  std::uint64_t extra_milli_ = 0;
  std::int64_t slowdown_milli_ = 1000;
  /// When the strangers' share changes next; nothing: never.
  std::optional<time_point> next_swing_;

  time_point integrated_;
  /// Thousandths of a core times nanoseconds: whole numbers, the same in every build; enough for 18 million
  /// core-seconds.
  std::uint64_t host_milli_ns_ = 0;
  std::uint64_t own_milli_ns_ = 0;

  std::vector<process_event> process_events_;
  std::vector<call_result> call_results_;
};

} // namespace astra::sim
