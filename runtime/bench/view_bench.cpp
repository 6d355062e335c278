#include "runtime/bench/view_bench.hpp"

#include "actors/resource/aggregated_members.hpp"
#include "actors/resource/view_client.hpp"
#include "config/endpoint.hpp"
#include "runtime/bench/bench_process.hpp"
#include "runtime/bench/swarm_script.hpp"
#include "runtime/bench/view_board.hpp"
#include "runtime/bench/view_watcher.hpp"
#include "runtime/cli/exit_code.hpp"
#include "runtime/cli/human.hpp"
#include "runtime/cli/table.hpp"
#include "runtime/dev/port_holder.hpp"
#include "runtime/http/fetch.hpp"
#include "runtime/log.hpp"

#include <caf/actor_cast.hpp>
#include <caf/send.hpp>
#include <fcntl.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <thread>
#include <vector>

namespace astra {
namespace {

using namespace std::chrono_literals;
using bench::view_board;
using std::chrono::milliseconds;
namespace fs = std::filesystem;
using steady = std::chrono::steady_clock;

/// For the processes to be up, and for the nodes to be in every view once the last one may have joined.
constexpr auto start_timeout = 30s;
constexpr auto join_timeout = 120s;
/// It is measured without those that are missing then, which the result says.
constexpr auto profiles_timeout = 30s;
constexpr auto progress_interval = 2s;
/// The dead are looked for until then, at most.
constexpr auto death_timeout = 20s;
/// What this is to reach, in ms (docs/view.md).
constexpr double liveness_aim_ms = 250.0;
constexpr double claims_aim_ms = 50.0;
constexpr double load_aim_ms = 1500.0;
constexpr double death_aim_s = 4.0;

double seconds(steady::duration d) {
  return std::chrono::duration<double>(d).count();
}

std::string slurp(const fs::path& file) {
  std::ifstream in{file, std::ios::binary};
  return {std::istreambuf_iterator<char>{in}, {}};
}

/// CPU time that a process has used, in seconds; 0 when it is gone.
double cpu_of(pid_t pid) {
  auto text = slurp(fmt::format("/proc/{}/stat", pid));
  auto rest = text.rfind(") ");
  unsigned long user = 0;
  unsigned long system = 0;
  if (rest != std::string::npos)
    std::sscanf(text.c_str() + rest + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system);
  return static_cast<double>(user + system) / static_cast<double>(::sysconf(_SC_CLK_TCK));
}

/// Memory of a process that it shares with no other, in bytes.
std::uint64_t memory_of(pid_t pid) {
  auto text = slurp(fmt::format("/proc/{}/status", pid));
  auto line = text.find("RssAnon:");
  return line == std::string::npos ? 0 : std::strtoull(text.c_str() + line + 8, nullptr, 10) * 1024;
}

enum class kind { resource, swarm, subscriber };

struct child {
  std::string name;
  kind what = kind::resource;
  pid_t pid = -1;
  bool running = false;
  /// "host:port" of its metrics; of Resources.
  std::string metrics;
  double cpu_before = 0.0;
  double cpu_s = 0.0;
  std::uint64_t memory_bytes = 0;
};

/// A stream of the view, as the subscribers had it.
struct stream_line {
  std::string name;
  std::string about;
  bench::summary seen;
  double aim_ms = 0.0;
};

/// A Resource takes only so many nodes from one of them, and all may have the same home.
std::uint32_t swarms_needed(std::uint32_t nodes) {
  return (nodes - 1) / aggregated_members::slots_max + 1;
}

class view_bench {
public:
  explicit view_bench(const view_bench_options& options)
    : options_(options), board_(options.nodes, options.die),
      swarms_(std::clamp(std::max(options.swarms, swarms_needed(options.nodes)), 1U, options.nodes)) {}
  ~view_bench() { end(); }
  view_bench(const view_bench&) = delete;
  view_bench& operator=(const view_bench&) = delete;

  int run();

private:
  bool prepare();
  bool start_resources();
  void start_others();
  /// Forks; the child does `body`, which ends with SIGTERM, and nothing else.
  void fork_child(const std::string& name, kind what, const std::function<void()>& body);
  bool exec_resource(child& which, const std::string& config);
  void be_swarm(std::uint32_t number);
  void be_subscriber(std::uint32_t number);
  node_options swarm_options(std::uint32_t number) const;
  milliseconds heartbeat() const { return milliseconds{1000 / options_.hertz}; }
  milliseconds join_over() const;

  /// Waits until `done` holds, telling how it goes.  @returns false at the end of the patience, on ^C, and when a child
  /// has ended.
  bool watch(const char* what, steady::duration patience, const std::function<bool()>& done);
  bool pause(milliseconds length);
  void reap();
  void tell_progress(const char* what);
  /// In whichever view has the fewest.
  std::uint32_t fewest(std::atomic<std::uint32_t> bench::subscriber_report::*count);
  double metric(const child& of, const std::string& name) const;
  double metrics(const std::string& name) const;
  void mark();
  void measure(steady::duration length);
  bench::summary summarise(bench::histogram bench::subscriber_report::*which);
  void end();
  void print_result();
  void print_json();
  int fail(const std::string& text) const {
    std::fprintf(stderr, "astra bench view: %s\n", text.c_str());
    return exit_failed;
  }

  view_bench_options options_;
  view_board board_;
  std::uint32_t swarms_;
  fs::path directory_;
  std::vector<port_holder> holders_;
  std::vector<std::string> addresses_;
  std::vector<child> children_;
  int signal_fd_ = -1;
  bool stop_ = false;
  std::string ended_;

  steady::time_point began_ = steady::now();
  steady::time_point told_ = steady::now();
  std::uint64_t sent_then_ = 0;
  std::uint64_t answered_then_ = 0;

  // The result.
  /// Until every view had every node, and its profile.
  double joined_s_ = 0.0;
  double described_s_ = -1.0;
  std::uint32_t undescribed_ = 0;
  double measured_s_ = 0.0;
  std::uint64_t sent_before_ = 0;
  std::uint64_t answered_before_ = 0;
  double recorded_before_ = 0.0;
  double offered_per_s_ = 0.0;
  double answered_per_s_ = 0.0;
  double recorded_per_s_ = 0.0;
  std::vector<stream_line> streams_;
  /// Seconds until the last of the dead was out of routing, and out, in the slowest view; negative: it never was.
  double doubted_s_ = -1.0;
  double out_s_ = -1.0;
  std::uint32_t wronged_ = 0;
  double diverged_ = 0.0;
};

milliseconds view_bench::join_over() const {
  if (options_.join_at_once)
    return heartbeat();
  return std::max(heartbeat(), milliseconds{std::int64_t{options_.nodes} * 1000 / options_.joins_per_s});
}

bool view_bench::prepare() {
  auto pattern = (fs::temp_directory_path() / "astra-bench-XXXXXX").string();
  if (!::mkdtemp(pattern.data())) {
    fail(fmt::format("{}: {}", pattern, std::strerror(errno)));
    return false;
  }
  directory_ = pattern;
  std::signal(SIGPIPE, SIG_IGN);
  sigset_t signals;
  sigemptyset(&signals);
  for (auto signal : {SIGTERM, SIGINT, SIGHUP, SIGCHLD})
    sigaddset(&signals, signal);
  ::sigprocmask(SIG_BLOCK, &signals, nullptr);
  signal_fd_ = ::signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
  return true;
}

// -- the processes -------------------------------------------------------------------

bool view_bench::start_resources() {
  addresses_ = options_.addresses;
  if (!addresses_.empty())
    return true;
  for (std::uint32_t i = 0; i < options_.resources; ++i) {
    if (holders_.emplace_back().port() == 0) {
      fail("no free TCP port on the loopback interface");
      return false;
    }
    addresses_.push_back(fmt::format("127.0.0.1:{}", holders_.back().port()));
  }
  for (std::uint32_t i = 0; i < options_.resources; ++i) {
    child one;
    one.name = fmt::format("resource-{}", i + 1);
    auto config =
        fmt::format("name = \"{0}\"\nroles = [\"resource\"]\nstate_dir = \"{1}/{0}\"\nresources = [\"{2}\"]\n"
                    "[net]\nlisten = \"{3}\"\n[node]\nheartbeat = \"{4}ms\"\n"
                    "[metrics]\nlisten = \"127.0.0.1:0\"\n[log]\nlevel = \"warn\"\n",
                    one.name, directory_.string(), fmt::join(addresses_, "\", \""), addresses_[i], heartbeat().count());
    if (!exec_resource(one, config))
      return false;
    children_.push_back(std::move(one));
  }
  auto ready = [this] {
    for (auto& one : children_) {
      auto run = nlohmann::json::parse(slurp(directory_ / one.name / "run.json"), nullptr, false);
      if (!run.is_object())
        return false;
      one.metrics = run.value("metrics", "");
    }
    return true;
  };
  return watch(nullptr, start_timeout, ready);
}

bool view_bench::exec_resource(child& which, const std::string& config) {
  auto file = directory_ / (which.name + ".toml");
  std::ofstream{file} << config;
  auto log = directory_ / (which.name + ".log");
  auto parent = std::to_string(::getpid());
  which.pid = ::fork();
  if (which.pid < 0) {
    fail(fmt::format("{}: cannot be started: {}", which.name, std::strerror(errno)));
    return false;
  }
  if (which.pid == 0) {
    ::setpgid(0, 0); // ^C at the terminal is for the bench
    // The child asks the kernel to end it with us.
    ::setenv("ASTRA_PARENT", parent.c_str(), 1);
    sigset_t none;
    sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    int out = ::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644);
    ::dup2(out, STDOUT_FILENO);
    ::dup2(out, STDERR_FILENO);
    ::execl("/proc/self/exe", "astra", "run", "-c", file.c_str(), nullptr);
    ::_exit(127);
  }
  which.running = true;
  return true;
}

void view_bench::fork_child(const std::string& name, kind what, const std::function<void()>& body) {
  child one;
  one.name = name;
  one.what = what;
  auto parent = ::getpid();
  one.pid = ::fork();
  if (one.pid == 0) {
    ::setpgid(0, 0);
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent)
      ::_exit(1);
    log_options log;
    log.level = "warn";
    log.file = (directory_ / (name + ".log")).string();
    start_log(log, name);
    body();
    ::_exit(0);
  }
  one.running = one.pid > 0;
  if (!one.running)
    fail(fmt::format("{}: cannot be started: {}", name, std::strerror(errno)));
  children_.push_back(std::move(one));
}

/// SIGTERM has been blocked since before the first thread.
void await_end() {
  sigset_t end;
  sigemptyset(&end);
  sigaddset(&end, SIGTERM);
  int signal = 0;
  ::sigwait(&end, &signal);
}

node_options view_bench::swarm_options(std::uint32_t number) const {
  node_options result;
  result.name = bench::crowd_name(number);
  result.resources = addresses_;
  result.heartbeat = heartbeat();
  result.cpu_milli = 16'000;
  result.memory_bytes = std::uint64_t{64} << 30U;
  return result;
}

void view_bench::be_swarm(std::uint32_t number) {
  auto options = swarm_options(number);
  peer_identity who;
  who.name = options.name;
  who.roles = {peer_role::aggregator};
  who.nodes = {options.name + "*"};
  auto process = bench::bench_process::start(std::move(who), directory_ / options.name);
  if (!process) {
    spdlog::error("bench.swarm name={} reason=\"{}\"", options.name, error_text(process.error()));
    ::_exit(1);
  }
  auto range = bench::members_of(number, swarms_, options_.nodes);
  bench::swarm_manner manner;
  manner.changing = options_.changing;
  manner.join_over = join_over();
  auto crowd = sim::spawn_crowd((*process)->system(), (*process)->world(), options, range.count,
                                make_swarm_script(board_, range.first, range.count, manner), sim::crowd_voice::batches);
  ++board_.ready();
  await_end();
  caf::anon_send_exit(crowd, caf::exit_reason::user_shutdown);
  crowd = nullptr;
  process->reset();
}

void view_bench::be_subscriber(std::uint32_t number) {
  view_client_options options;
  options.name = fmt::format("subscriber-{}", number + 1);
  options.resources = addresses_;
  peer_identity who;
  who.name = options.name;
  who.roles = {peer_role::gateway};
  auto process = bench::bench_process::start(std::move(who), directory_ / options.name);
  if (!process) {
    spdlog::error("bench.subscriber name={} reason=\"{}\"", options.name, error_text(process.error()));
    ::_exit(1);
  }
  auto& sys = (*process)->system();
  auto view = spawn_view_client(sys, (*process)->world(), options);
  auto watcher = spawn_view_watcher(sys, view, board_, swarms_, number);
  ++board_.ready();
  await_end();
  caf::anon_send_exit(watcher, caf::exit_reason::user_shutdown);
  caf::anon_send_exit(view, caf::exit_reason::user_shutdown);
  watcher = nullptr;
  view = nullptr;
  process->reset();
}

void view_bench::start_others() {
  for (std::uint32_t i = 0; i < options_.subscribers; ++i)
    fork_child(fmt::format("subscriber-{}", i + 1), kind::subscriber, [this, i] { be_subscriber(i); });
  for (std::uint32_t i = 0; i < swarms_; ++i)
    fork_child(bench::crowd_name(i), kind::swarm, [this, i] { be_swarm(i); });
}

void view_bench::reap() {
  for (auto& which : children_) {
    int status = 0;
    if (!which.running || ::waitpid(which.pid, &status, WNOHANG) != which.pid)
      continue;
    which.running = false;
    if (ended_.empty())
      ended_ = which.name;
  }
}

bool view_bench::pause(milliseconds length) {
  pollfd fds{signal_fd_, POLLIN, 0};
  ::poll(&fds, 1, static_cast<int>(length.count()));
  signalfd_siginfo info;
  while (::read(signal_fd_, &info, sizeof(info)) == static_cast<ssize_t>(sizeof(info)))
    if (info.ssi_signo != SIGCHLD)
      stop_ = true;
  reap();
  return !stop_ && ended_.empty();
}

bool view_bench::watch(const char* what, steady::duration patience, const std::function<bool()>& done) {
  auto until = steady::now() + patience;
  while (!done()) {
    if (steady::now() >= until || !pause(5ms))
      return false;
    if (what != nullptr && steady::now() - told_ >= progress_interval)
      tell_progress(what);
  }
  return true;
}

std::uint32_t view_bench::fewest(std::atomic<std::uint32_t> bench::subscriber_report::*count) {
  auto result = options_.nodes;
  for (std::uint32_t i = 0; i < options_.subscribers; ++i)
    result = std::min(result, (board_.subscriber(i).*count).load());
  return result;
}

void view_bench::tell_progress(const char* what) {
  auto now = steady::now();
  auto passed = seconds(now - told_);
  auto sent = board_.beats_sent().load();
  auto answered = board_.beats_answered().load();
  fmt::print(stderr, "{:6.1f} s  {}: {} of {} nodes online in every view; {:.0f} beats/s, {:.0f} answered\n",
             seconds(now - began_), what, fewest(&bench::subscriber_report::online), options_.nodes,
             static_cast<double>(sent - sent_then_) / passed, static_cast<double>(answered - answered_then_) / passed);
  told_ = now;
  sent_then_ = sent;
  answered_then_ = answered;
}

void view_bench::end() {
  // The swarm first: it is a lot of nodes whose loss nobody needs to hear of.
  for (auto what : {kind::swarm, kind::subscriber, kind::resource}) {
    auto each = [&](auto&& act) {
      for (auto& which : children_)
        if (which.running && which.what == what)
          act(which);
    };
    each([](child& which) { ::kill(which.pid, SIGTERM); });
    auto deadline = steady::now() + 6s;
    auto alive = [&] {
      auto result = false;
      reap();
      each([&](child&) { result = true; });
      return result;
    };
    while (alive() && steady::now() < deadline)
      ::poll(nullptr, 0, 10);
    each([](child& which) {
      ::kill(which.pid, SIGKILL);
      ::waitpid(which.pid, nullptr, 0);
      which.running = false;
    });
  }
  if (signal_fd_ >= 0)
    ::close(signal_fd_);
  signal_fd_ = -1;
  if (directory_.empty())
    return;
  std::error_code ignored;
  if (options_.keep)
    fmt::print(stderr, "files and logs: {}\n", directory_.string());
  else
    fs::remove_all(directory_, ignored);
  directory_.clear();
}

// -- the figures -----------------------------------------------------------------------

double view_bench::metric(const child& of, const std::string& name) const {
  auto where = parse_endpoint(of.metrics);
  if (!where)
    return 0.0;
  http_call call;
  call.host = where->host;
  call.port = where->port;
  call.target = "/metrics";
  call.timeout = 2s;
  auto answer = fetch(call);
  if (!answer || answer->status != 200)
    return 0.0;
  auto result = 0.0;
  for (std::size_t at = 0; (at = answer->body.find('\n' + name, at)) != std::string::npos;) {
    at += name.size() + 1;
    auto line_end = answer->body.find('\n', at);
    auto value = answer->body.rfind(' ', line_end);
    if (answer->body[at] == '{' || answer->body[at] == ' ')
      result += std::strtod(answer->body.c_str() + value, nullptr);
  }
  return result;
}

double view_bench::metrics(const std::string& name) const {
  auto result = 0.0;
  for (auto& one : children_)
    if (one.what == kind::resource)
      result += metric(one, name);
  return result;
}

void view_bench::mark() {
  sent_before_ = board_.beats_sent();
  answered_before_ = board_.beats_answered();
  recorded_before_ = metrics("astra_resource_heartbeats_total");
  for (auto& one : children_)
    one.cpu_before = cpu_of(one.pid);
}

void view_bench::measure(steady::duration length) {
  measured_s_ = seconds(length);
  for (auto& one : children_) {
    one.cpu_s = cpu_of(one.pid) - one.cpu_before;
    one.memory_bytes = memory_of(one.pid);
  }
  offered_per_s_ = static_cast<double>(board_.beats_sent() - sent_before_) / measured_s_;
  answered_per_s_ = static_cast<double>(board_.beats_answered() - answered_before_) / measured_s_;
  recorded_per_s_ = (metrics("astra_resource_heartbeats_total") - recorded_before_) / measured_s_;
  diverged_ = metrics("astra_resource_shards_diverged_total");
  using report = bench::subscriber_report;
  streams_ = {{"liveness", "from a goodbye's being sent to the row offline", summarise(&report::liveness), 0.0},
              {"", "from the Resource's having answered it", summarise(&report::liveness_known), liveness_aim_ms},
              {"claims", "from a profile's being sent to the row with it", summarise(&report::claims), claims_aim_ms},
              {"load", "age of the load that is known of a node", summarise(&report::load_age), load_aim_ms}};
}

bench::summary view_bench::summarise(bench::histogram bench::subscriber_report::*which) {
  std::vector<std::uint64_t> counts(bench::histogram::buckets);
  bench::summary result;
  for (std::size_t bucket = 0; bucket < counts.size(); ++bucket) {
    for (std::uint32_t i = 0; i < options_.subscribers; ++i)
      counts[bucket] += (board_.subscriber(i).*which).count(bucket);
    result.samples += counts[bucket];
  }
  auto at = [&](double share) {
    std::uint64_t passed = 0;
    for (std::size_t bucket = 0; bucket < counts.size(); ++bucket) {
      passed += counts[bucket];
      if (passed > 0 && static_cast<double>(passed) >= share * static_cast<double>(result.samples))
        return static_cast<double>(bucket + 1) * bench::histogram::step_ns / 1e6;
    }
    return 0.0;
  };
  result.p50 = at(0.5);
  result.p99 = at(0.99);
  result.max = at(1.0);
  return result;
}

int view_bench::run() {
  if (!prepare())
    return exit_failed;
  auto why = [&](const std::string& text) {
    options_.keep = options_.keep || !stop_;
    return stop_            ? exit_failed
           : ended_.empty() ? fail(text)
                            : fail(fmt::format("{} ended: {}", ended_, slurp(directory_ / (ended_ + ".log"))));
  };
  if (!start_resources())
    return why("the Resources did not come up");
  start_others();
  if (!watch(nullptr, start_timeout, [this] { return board_.ready() == swarms_ + options_.subscribers; }))
    return why("swarms and subscribers did not come up");
  board_.begin_ns() = bench::now_ns() + 300'000'000;
  auto begin = steady::now() + 300ms;
  auto have = [this](std::atomic<std::uint32_t> bench::subscriber_report::*what) {
    return fewest(what) == options_.nodes;
  };
  using report = bench::subscriber_report;
  if (!watch("joining", join_over() + join_timeout, [&] { return have(&report::online); }))
    return why(fmt::format("only {} of {} nodes came into every view", fewest(&report::online), options_.nodes));
  joined_s_ = seconds(steady::now() - begin);
  if (watch("waiting for profiles", profiles_timeout, [&] { return have(&report::described); }))
    described_s_ = seconds(steady::now() - begin);
  else if (stop_ || !ended_.empty())
    return why("");
  undescribed_ = options_.nodes - fewest(&report::described);
  // What joining left to do is no part of what follows.
  auto settled = steady::now() + 2 * heartbeat() + 500ms;
  watch("settling", 10s, [&] { return steady::now() >= settled; });
  for (std::uint32_t i = 0; i < options_.subscribers; ++i) {
    auto& one = board_.subscriber(i);
    one.wronged = 0;
  }
  board_.measuring() = true;
  mark();
  auto from = steady::now();
  auto half = from + options_.length / 2;
  auto over = from + options_.length;
  if (options_.die > 0) {
    if (!watch("measuring", options_.length, [&] { return steady::now() >= half; }))
      return why("");
    board_.die_ns() = bench::now_ns();
  }
  if (!watch("measuring", options_.length + 1s, [&] { return steady::now() >= over; }))
    return why("");
  measure(steady::now() - from);
  board_.measuring() = false;
  if (options_.die > 0) {
    auto all = [this](std::atomic<std::uint32_t> bench::subscriber_report::*count) {
      for (std::uint32_t i = 0; i < options_.subscribers; ++i)
        if ((board_.subscriber(i).*count) < board_.doomed_count())
          return false;
      return true;
    };
    watch("waiting for the dead to be out", death_timeout, [&] { return all(&bench::subscriber_report::dead_out); });
    auto last = [this](std::atomic<std::int64_t> bench::subscriber_report::*when) {
      auto result = 0.0;
      for (std::uint32_t i = 0; i < options_.subscribers; ++i)
        result = std::max(result, static_cast<double>(board_.subscriber(i).*when - board_.die_ns()) / 1e9);
      return result;
    };
    if (all(&bench::subscriber_report::dead_doubted))
      doubted_s_ = last(&bench::subscriber_report::last_doubted_ns);
    if (all(&bench::subscriber_report::dead_out))
      out_s_ = last(&bench::subscriber_report::last_out_ns);
  }
  for (std::uint32_t i = 0; i < options_.subscribers; ++i)
    wronged_ = std::max<std::uint32_t>(wronged_, board_.subscriber(i).wronged);
  end();
  if (options_.json)
    print_json();
  else
    print_result();
  return exit_ok;
}

void view_bench::print_result() {
  fmt::print("{} at {} Hz, {} of the loads change from beat to beat; {}, {}, {}; measured for {:.1f} s on {}\n\n",
             counted(options_.nodes, "node"), options_.hertz, human_share(options_.changing),
             counted(addresses_.size(), "Resource"), counted(options_.subscribers, "subscriber"),
             counted(swarms_, "swarm"), measured_s_, counted(std::thread::hardware_concurrency(), "core"));
  text_table processes{{{"PROCESS"},
                        {"CORES", align::right},
                        {"CPU PER BEAT", align::right},
                        {"MEMORY", align::right},
                        {"PER NODE", align::right}}};
  auto beats = std::max(1.0, answered_per_s_ * measured_s_);
  auto resources = 0.0;
  for (auto& one : children_) {
    auto of_all = one.what == kind::subscriber ? 1.0 : one.what == kind::swarm ? swarms_ : options_.resources;
    resources += one.what == kind::resource ? one.cpu_s : 0.0;
    processes.add({one.name, fmt::format("{:.3f}", one.cpu_s / measured_s_),
                   fmt::format("{:.2f} us", one.cpu_s * 1e6 / (beats / of_all)), human_bytes(one.memory_bytes),
                   human_bytes(one.memory_bytes / options_.nodes)});
  }
  std::fputs(processes.render(options_.colour).c_str(), stdout);
  fmt::print("\nbeats     {:.0f}/s offered, {:.0f}/s answered, {:.0f}/s recorded", offered_per_s_, answered_per_s_,
             recorded_per_s_);
  if (resources > 0)
    fmt::print("; all Resources together {:.2f} us of CPU per beat: {:.0f} per second and core",
               resources * 1e6 / beats, beats / resources);
  auto profiles = described_s_ < 0 ? fmt::format("{} profiles missing in some view", undescribed_)
                                   : fmt::format("its profile after {:.2f} s", described_s_);
  fmt::print("\njoined    every node in every view {:.2f} s after the first began, {} ({} for joining)\n", joined_s_,
             profiles, human_duration(join_over()));
  text_table streams{{{"STREAM"},
                      {"WHAT"},
                      {"SAMPLES", align::right},
                      {"P50", align::right},
                      {"P99", align::right},
                      {"MAX", align::right},
                      {"AIM P99", align::right}}};
  for (auto& line : streams_) {
    auto in_ms = [](double value) { return fmt::format("{:.1f} ms", value); };
    auto missed = line.aim_ms > 0 && line.seen.p99 > line.aim_ms;
    streams.add({line.name,
                 line.about,
                 std::to_string(line.seen.samples),
                 in_ms(line.seen.p50),
                 {in_ms(line.seen.p99), missed ? tone::bad : tone::plain},
                 in_ms(line.seen.max),
                 line.aim_ms > 0 ? in_ms(line.aim_ms) : ""});
  }
  fmt::print("\n{}", streams.render(options_.colour));
  if (options_.die > 0) {
    auto when = [](double s) { return s < 0 ? std::string{"never"} : fmt::format("{:.2f} s", s); };
    fmt::print(
        "\ndeath     {} fell silent: none of them online in any view after {}, all offline in every view after {} "
        "(aim {:.0f} s)\n",
        counted(board_.doomed_count(), "node"), when(doubted_s_), when(out_s_), death_aim_s);
  }
  fmt::print("healthy   {} seen offline in any view\nviews     {:.0f} shards differed from what their Resource said\n",
             counted(wronged_, "node"), diverged_);
}

void view_bench::print_json() {
  nlohmann::ordered_json result = {
      {"nodes", options_.nodes},
      {"resources", addresses_.size()},
      {"subscribers", options_.subscribers},
      {"swarms", swarms_},
      {"hertz", options_.hertz},
      {"changing", options_.changing},
      {"seconds", measured_s_},
      {"joined_s", joined_s_},
      {"described_s", described_s_ < 0 ? nlohmann::ordered_json() : nlohmann::ordered_json(described_s_)},
      {"beats_offered_per_s", offered_per_s_},
      {"beats_answered_per_s", answered_per_s_},
      {"beats_recorded_per_s", recorded_per_s_}};
  for (auto& one : children_)
    result["processes"].push_back({{"name", one.name}, {"cpu_s", one.cpu_s}, {"memory_bytes", one.memory_bytes}});
  for (auto& line : streams_)
    result["streams"].push_back({{"stream", line.name.empty() ? streams_.front().name + "_known" : line.name},
                                 {"samples", line.seen.samples},
                                 {"p50_ms", line.seen.p50},
                                 {"p99_ms", line.seen.p99},
                                 {"max_ms", line.seen.max}});
  if (options_.die > 0) {
    auto when = [](double s) { return s < 0 ? nlohmann::ordered_json() : nlohmann::ordered_json(s); };
    result["died"] = {
        {"nodes", board_.doomed_count()}, {"none_online_s", when(doubted_s_)}, {"all_offline_s", when(out_s_)}};
  }
  result["healthy_seen_offline"] = wronged_;
  result["shards_diverged"] = diverged_;
  fmt::print("{}\n", result.dump(2));
}

} // namespace

int run_view_bench(const view_bench_options& options) {
  return view_bench{options}.run();
}

} // namespace astra
