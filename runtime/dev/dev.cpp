#include "runtime/dev/dev.hpp"

#include "config/endpoint.hpp"
#include "config/spelling.hpp"
#include "runtime/dev/cluster_plan.hpp"
#include "runtime/dev/dev_faults.hpp"
#include "runtime/dev/port_holder.hpp"
#include "runtime/http/fetch.hpp"
#include "runtime/process/capacity.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>
#include <poll.h>
#include <spawn.h>
#include <sys/file.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

extern char** environ;

namespace astra {
namespace {

using namespace std::chrono_literals;
namespace fs = std::filesystem;
using steady = std::chrono::steady_clock;

constexpr const char* directory_prefix = "astra-dev-";
constexpr const char* usual_gateway = "127.0.0.1:9750";
/// For every process to be up and every node to be seen.
constexpr auto start_timeout = 60s;
/// For the nodes to finish what they work on; they are told to within 10 s.
constexpr auto node_stop_timeout = 16s;

struct child {
  planned_process plan;
  pid_t pid = -1;
  bool running = false;
  /// A fault ended it, or is about to: it comes back so long after its end.
  std::optional<std::chrono::milliseconds> back_after;
  /// When it is to be started again, or to go on.
  std::optional<steady::time_point> back_at;
  bool stalled = false;
};

/// For a process that a fault stops in order; one that takes longer is killed.
constexpr auto stop_patience = node_stop_timeout;

/// Gives the terminal back as it was.
class terminal_state {
public:
  terminal_state() : known_(::tcgetattr(STDIN_FILENO, &before_) == 0) {}
  void restore() const {
    if (known_)
      ::tcsetattr(STDIN_FILENO, TCSADRAIN, &before_);
  }

private:
  termios before_{};
  bool known_;
};

/// Held locked in a temporary directory for as long as its cluster lives.  A directory without it is not ours.
constexpr const char* marker_name = "temporary.lock";

/// Takes the marker of a directory, or nothing when another process holds it.
int lock_marker(const fs::path& directory, int flags) {
  int fd = ::open((directory / marker_name).c_str(), flags | O_CLOEXEC, 0644);
  if (fd >= 0 && ::flock(fd, LOCK_EX | LOCK_NB) == 0)
    return fd;
  if (fd >= 0)
    ::close(fd);
  return -1;
}

/// Removes what clusters left behind that were killed: their marker is there, and nobody holds it.
void sweep_stale_directories(const fs::path& parent) {
  std::error_code error;
  for (auto& entry : fs::directory_iterator{parent, error}) {
    if (!entry.path().filename().string().starts_with(directory_prefix))
      continue;
    auto fd = lock_marker(entry.path(), O_RDWR);
    if (fd < 0)
      continue;
    std::error_code ignored;
    fs::remove_all(entry.path(), ignored);
    ::close(fd);
  }
}

/// The last lines of a child's log, for a start that failed.
std::string log_end(const fs::path& file) {
  std::ifstream in{file};
  std::vector<std::string> lines;
  for (std::string line; std::getline(in, line);) {
    lines.push_back(line);
    if (lines.size() > 5)
      lines.erase(lines.begin());
  }
  std::string result;
  for (auto& line : lines)
    result += "    " + line + '\n';
  return result;
}

std::string describe_end(int status) {
  if (WIFEXITED(status))
    return fmt::format("ended with exit code {}", WEXITSTATUS(status));
  return fmt::format("was killed by signal {} ({})", WTERMSIG(status), ::strsignal(WTERMSIG(status)));
}

/// Starts this program once more, to end with this one.
/// @param arrange gets the spawn's file actions and attributes; no signal is blocked in the child
/// @returns 0, or why it did not start
template <class Arrange>
int start_astra(std::vector<std::string> arguments, pid_t& pid, Arrange arrange) {
  std::vector<char*> argv;
  for (auto& argument : arguments)
    argv.push_back(argument.data());
  argv.push_back(nullptr);
  // The child asks the kernel to end it with us.
  auto parent = fmt::format("ASTRA_PARENT={}", ::getpid());
  std::vector<char*> env;
  for (auto entry = environ; *entry != nullptr; ++entry)
    env.push_back(*entry);
  env.push_back(parent.data());
  env.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t none;
  sigemptyset(&none);
  posix_spawnattr_setsigmask(&attributes, &none);
  arrange(actions, attributes);
  auto error = ::posix_spawn(&pid, "/proc/self/exe", &actions, &attributes, argv.data(), env.data());
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  return error;
}

class laptop_cluster {
public:
  explicit laptop_cluster(const dev_options& options);
  ~laptop_cluster() { end(); }
  laptop_cluster(const laptop_cluster&) = delete;
  laptop_cluster& operator=(const laptop_cluster&) = delete;

  int run();

private:
  bool prepare_directory();
  bool choose_ports();
  bool spawn(child& which);
  /// Waits until every node is online, the view is there and a scheduler is known.
  bool await_ready();
  void write_list() const;
  void print_banner(steady::duration took) const;
  void watch();
  bool start_session();
  /// Ends the session that is still there.
  void end_session();
  std::string make_happen(const dev_fault& fault);
  /// Starts again, or lets go on, what it is time for.
  void bring_back();
  void read_signals(std::chrono::milliseconds patience, bool narrate);
  void take_signals();
  /// Collects children that ended; says so, at once or after the session.
  void reap(bool narrate);
  void end();
  void keep_directory();
  fs::path log_of(const child& which) const { return directory_ / (which.plan.name + ".log"); }
  int fail(const std::string& text) const {
    std::fprintf(stderr, "astra dev: %s\n", text.c_str());
    return EXIT_FAILURE;
  }

  dev_options options_;
  fs::path directory_;
  bool remove_directory_ = false;
  /// Descriptor of the locked marker of a directory that is to be removed.
  int marker_ = -1;
  std::vector<port_holder> holders_;
  std::vector<std::uint16_t> resource_ports_;
  std::string gateway_listen_;
  std::vector<child> children_;
  int signal_fd_ = -1;
  bool stop_ = false;
  std::unique_ptr<dev_fault_door> door_;
  /// -1: there is none.
  pid_t session_ = -1;
  int session_code_ = EXIT_SUCCESS;
  /// What ended unasked during the session, which has the terminal.
  std::string obituaries_;
  terminal_state terminal_;
};

laptop_cluster::laptop_cluster(const dev_options& options) : options_(options) {
  auto machine = detect_capacity();
  auto nodes = std::max(1U, options_.nodes);
  if (options_.cores.empty())
    options_.cores.push_back(std::max(0.1, std::floor(machine.cpu_milli / 100.0 / nodes) / 10.0));
  if (options_.memory_per_node_bytes == 0)
    options_.memory_per_node_bytes = machine.memory_bytes / 2 / nodes;
  for (auto& file : options_.app_files)
    file = fs::absolute(file).string();
}

bool laptop_cluster::prepare_directory() {
  std::error_code error;
  if (!options_.directory.empty()) {
    directory_ = fs::absolute(options_.directory);
    fs::create_directories(directory_, error);
    if (!error && !fs::is_empty(directory_, error)) {
      fail(fmt::format("--dir {}: is not empty; name a new directory", directory_.string()));
      return false;
    }
  } else {
    auto parent = fs::temp_directory_path();
    sweep_stale_directories(parent);
    auto pattern = (parent / fmt::format("{}XXXXXX", directory_prefix)).string();
    if (!::mkdtemp(pattern.data())) {
      fail(fmt::format("{}: {}", pattern, std::strerror(errno)));
      return false;
    }
    directory_ = pattern;
    remove_directory_ = !options_.keep;
    if (remove_directory_)
      marker_ = lock_marker(directory_, O_RDWR | O_CREAT);
  }
  if (error) {
    fail(fmt::format("{}: {}", directory_.string(), error.message()));
    return false;
  }
  return true;
}

bool laptop_cluster::choose_ports() {
  for (std::uint32_t i = 0; i < options_.resources; ++i) {
    auto& holder = holders_.emplace_back();
    if (holder.port() == 0) {
      fail("no free TCP port on the loopback interface");
      return false;
    }
    resource_ports_.push_back(holder.port());
  }
  auto wanted = parse_endpoint(options_.listen.empty() ? usual_gateway : options_.listen);
  if (!wanted) {
    fail(fmt::format("--listen {}: not of the form host:port", options_.listen));
    return false;
  }
  port_holder gateway{wanted->port};
  if (gateway.port() == 0 && !options_.listen.empty()) {
    fail(fmt::format("--listen {}: the port is in use; leave --listen out for a free one", options_.listen));
    return false;
  }
  // Another cluster has the usual port: any other will do.
  holders_.push_back(gateway.port() != 0 ? std::move(gateway) : port_holder{});
  gateway_listen_ = to_string(endpoint{wanted->host, holders_.back().port()});
  return true;
}

bool laptop_cluster::spawn(child& which) {
  auto config = directory_ / (which.plan.name + ".toml");
  std::ofstream{config} << which.plan.config;
  auto log = log_of(which).string();
  auto error = start_astra({"astra", "run", "-c", config.string()}, which.pid, [&log](auto& actions, auto& attributes) {
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 1, log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644);
    posix_spawn_file_actions_adddup2(&actions, 1, 2);
    // ^C at the terminal is for us; the children are then told in order.
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK);
  });
  which.running = error == 0;
  if (error != 0)
    fail(fmt::format("{}: cannot be started: {}", which.plan.name, std::strerror(error)));
  return error == 0;
}

bool laptop_cluster::await_ready() {
  auto deadline = steady::now() + start_timeout;
  auto where = parse_endpoint(gateway_listen_);
  auto tty = ::isatty(STDERR_FILENO) != 0;
  std::string missing = "the gateway";
  while (steady::now() < deadline) {
    read_signals(20ms, false);
    if (stop_)
      return false;
    for (auto& which : children_) {
      if (!which.running) {
        fail(fmt::format("{} did not start:\n{}", which.plan.name, log_end(log_of(which))));
        return false;
      }
    }
    http_call call;
    call.host = where->host;
    call.port = where->port;
    call.target = "/v1/status";
    call.timeout = 1s;
    call.response_limit_bytes = 1 << 20;
    auto answer = fetch(call);
    if (answer && answer->status == 200) {
      auto status = nlohmann::json::parse(answer->body, nullptr, false);
      auto online = status.is_discarded() ? 0U : status["nodes"].value("online", 0U);
      auto resources = status.is_discarded() ? 0U : static_cast<unsigned>(status["resources"].size());
      auto schedulers = status.is_discarded() ? 0U : static_cast<unsigned>(status["schedulers"].size());
      if (online == options_.nodes && resources == options_.resources && schedulers > 0)
        return true;
      missing =
          fmt::format("{} of {} nodes, {} of {} Resources", online, options_.nodes, resources, options_.resources);
    }
    if (tty)
      std::fprintf(stderr, "\rstarting: %s online   ", missing.c_str());
  }
  fail(fmt::format("the cluster was not ready within {} s: {} online; logs are in {}",
                   std::chrono::duration_cast<std::chrono::seconds>(start_timeout).count(), missing,
                   directory_.string()));
  keep_directory();
  return false;
}

void laptop_cluster::write_list() const {
  nlohmann::json list = {{"gateway", gateway_listen_}, {"pid", ::getpid()}, {"directory", directory_.string()}};
  for (auto& which : children_)
    list["processes"].push_back({{"name", which.plan.name},
                                 {"pid", which.pid},
                                 {"node", which.plan.is_node},
                                 {"config", (directory_ / (which.plan.name + ".toml")).string()},
                                 {"log", log_of(which).string()}});
  auto temporary = directory_ / "cluster.json.new";
  std::ofstream{temporary} << list.dump(2) << '\n';
  std::error_code ignored;
  fs::rename(temporary, directory_ / "cluster.json", ignored);
}

void laptop_cluster::print_banner(steady::duration took) const {
  if (::isatty(STDERR_FILENO) != 0)
    std::fprintf(stderr, "\r\033[K");
  auto flag = gateway_listen_ == usual_gateway ? std::string{} : fmt::format(" --gateway {}", gateway_listen_);
  auto what_to_try = options_.session.empty()
                         ? fmt::format("try:\n"
                                       "  astra{0} status\n"
                                       "  astra{0} app apply config/examples/apps/echo.toml\n"
                                       "  echo hello | astra{0} invoke echo\n"
                                       "^C ends the cluster\n",
                                       flag)
                         : std::string{"'spawn counter as c' starts an actor, 'help' lists what else can be said; ^D "
                                       "ends the cluster\n"};
  fmt::print("astra dev: {} node{}, {} Resource{}, 1 scheduler, 1 gateway, {} processes, ready in {:.1f} s\n"
             "  gateway    http://{}\n"
             "  directory  {}  (configuration, log and state of each process{})\n"
             "{}",
             options_.nodes, options_.nodes == 1 ? "" : "s", options_.resources, options_.resources == 1 ? "" : "s",
             children_.size(), std::chrono::duration<double>(took).count(), gateway_listen_, directory_.string(),
             remove_directory_ ? "; removed at the end" : "", what_to_try);
  std::fflush(stdout);
}

void laptop_cluster::reap(bool narrate) {
  int status = 0;
  if (session_ > 0 && ::waitpid(session_, &status, WNOHANG) == session_) {
    session_ = -1;
    session_code_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
  for (auto& which : children_) {
    if (!which.running || ::waitpid(which.pid, &status, WNOHANG) != which.pid)
      continue;
    which.running = false;
    which.stalled = false;
    if (which.back_after) {
      which.back_at = steady::now() + *std::exchange(which.back_after, std::nullopt);
    } else if (narrate) {
      auto line = fmt::format("{} (pid {}) {}; log: {}\n", which.plan.name, which.pid, describe_end(status),
                              log_of(which).string());
      if (options_.session.empty()) {
        fmt::print("{}", line);
        std::fflush(stdout);
      } else {
        obituaries_ += line;
      }
    }
  }
}

void laptop_cluster::watch() {
  while (!stop_ && (options_.session.empty() || session_ > 0)) {
    auto patience = std::chrono::milliseconds{1min};
    for (auto& which : children_)
      if (which.back_at)
        patience = std::clamp(std::chrono::ceil<std::chrono::milliseconds>(*which.back_at - steady::now()),
                              std::chrono::milliseconds{0}, patience);
    read_signals(patience, true);
    if (!stop_)
      bring_back();
  }
}

bool laptop_cluster::start_session() {
  std::vector<std::string> arguments{"astra"};
  arguments.insert(arguments.end(), options_.session.begin(), options_.session.end());
  arguments.insert(arguments.end(), {"--dev", directory_.string()});
  auto error = start_astra(arguments, session_, [](auto&, auto& attributes) {
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    sigset_t ignored_here;
    sigemptyset(&ignored_here);
    sigaddset(&ignored_here, SIGPIPE);
    posix_spawnattr_setsigdefault(&attributes, &ignored_here);
  });
  if (error != 0) {
    session_ = -1;
    fail(fmt::format("the shell cannot be started: {}", std::strerror(error)));
  }
  return error == 0;
}

void laptop_cluster::end_session() {
  if (session_ > 0)
    ::kill(session_, SIGTERM);
  for (auto deadline = steady::now() + 2s; session_ > 0 && steady::now() < deadline; ::poll(nullptr, 0, 10))
    reap(false);
  if (session_ > 0) {
    ::kill(session_, SIGKILL);
    ::waitpid(session_, nullptr, 0);
    session_ = -1;
  }
  if (options_.session_at_terminal)
    terminal_.restore();
}

std::string laptop_cluster::make_happen(const dev_fault& fault) {
  std::vector<child*> hit;
  std::vector<std::string> names;
  for (auto& which : children_)
    names.push_back(which.plan.name);
  for (auto& target : fault.targets) {
    auto which = std::find_if(children_.begin(), children_.end(), [&](auto& one) { return one.plan.name == target; });
    if (which == children_.end()) {
      auto meant = closest(target, names);
      return fmt::format("no process '{}'{}", target,
                         meant ? fmt::format("; did you mean '{}'?", *meant)
                               : fmt::format("; there are {}", fmt::join(names, ", ")));
    }
    if (!which->running)
      return fmt::format("{} is not running{}", target, which->back_at ? "; it comes back by itself" : "");
    hit.push_back(&*which);
  }
  for (auto which : hit) {
    if (fault.what == dev_fault::kind::stall) {
      ::kill(which->pid, SIGSTOP);
      which->stalled = true;
      which->back_at = steady::now() + fault.duration;
      continue;
    }
    which->back_after = fault.duration;
    ::kill(which->pid, fault.what == dev_fault::kind::kill ? SIGKILL : SIGTERM);
    if (which->stalled)
      ::kill(which->pid, SIGCONT);
  }
  if (fault.what == dev_fault::kind::stall)
    return {};
  auto running = [&] { return std::any_of(hit.begin(), hit.end(), [](auto which) { return which->running; }); };
  for (auto deadline = steady::now() + stop_patience; running() && !stop_ && steady::now() < deadline;
       ::poll(nullptr, 0, 5)) {
    take_signals();
    reap(true);
    // Others are not to wait for this one.
    bring_back();
  }
  for (auto which : hit)
    if (which->running && !stop_)
      ::kill(which->pid, SIGKILL);
  return {};
}

void laptop_cluster::bring_back() {
  auto changed = false;
  for (auto& which : children_) {
    if (!which.back_at || *which.back_at > steady::now())
      continue;
    which.back_at.reset();
    if (which.stalled)
      ::kill(which.pid, SIGCONT);
    else if (!which.running)
      changed |= spawn(which);
    which.stalled = false;
  }
  if (changed)
    write_list();
}

void laptop_cluster::read_signals(std::chrono::milliseconds patience, bool narrate) {
  pollfd fds[] = {{signal_fd_, POLLIN, 0}, {door_ ? door_->descriptor() : -1, POLLIN, 0}};
  ::poll(fds, 2, static_cast<int>(patience.count()));
  take_signals();
  reap(narrate);
  if ((fds[1].revents & POLLIN) != 0)
    door_->serve([this](const dev_fault& fault) { return make_happen(fault); });
}

void laptop_cluster::take_signals() {
  signalfd_siginfo info;
  while (::read(signal_fd_, &info, sizeof(info)) == static_cast<ssize_t>(sizeof(info))) {
    // ^C at the shell's prompt comes to everybody at the terminal.
    auto for_session = info.ssi_signo == SIGINT && options_.session_at_terminal && session_ > 0;
    if (info.ssi_signo != SIGCHLD && !for_session)
      stop_ = true;
  }
}

void laptop_cluster::end() {
  end_session();
  door_.reset();
  // Nodes first: they say goodbye to Resources that are still there.
  auto tell = [this](bool nodes, int signal) {
    for (auto& which : children_)
      if (which.running && which.plan.is_node == nodes) {
        ::kill(which.pid, signal);
        ::kill(which.pid, SIGCONT); // a frozen process hears nothing else
      }
  };
  auto alive = [this](bool nodes) {
    reap(false);
    return std::any_of(children_.begin(), children_.end(),
                       [nodes](auto& which) { return which.running && which.plan.is_node == nodes; });
  };
  for (auto nodes : {true, false}) {
    tell(nodes, SIGTERM);
    auto deadline = steady::now() + (nodes ? node_stop_timeout : 6s);
    while (alive(nodes) && steady::now() < deadline)
      ::poll(nullptr, 0, 20);
    tell(nodes, SIGKILL);
    for (auto& which : children_) {
      int status = 0;
      if (which.running && which.plan.is_node == nodes) {
        ::waitpid(which.pid, &status, 0);
        which.running = false;
      }
    }
  }
  children_.clear();
  if (signal_fd_ >= 0)
    ::close(signal_fd_);
  signal_fd_ = -1;
  if (remove_directory_) {
    std::error_code ignored;
    fs::remove_all(directory_, ignored);
    remove_directory_ = false;
  }
  if (marker_ >= 0)
    ::close(marker_);
  marker_ = -1;
}

void laptop_cluster::keep_directory() {
  remove_directory_ = false;
  std::error_code ignored;
  fs::remove(directory_ / marker_name, ignored);
}

int laptop_cluster::run() {
  // ^C may end a reader of our output, such as tee, first; the children are still to be ended in order.
  std::signal(SIGPIPE, SIG_IGN);
  auto began = steady::now();
  sigset_t signals;
  sigemptyset(&signals);
  for (auto signal : {SIGTERM, SIGINT, SIGHUP, SIGCHLD})
    sigaddset(&signals, signal);
  ::sigprocmask(SIG_BLOCK, &signals, nullptr);
  signal_fd_ = ::signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
  if (!prepare_directory() || !choose_ports())
    return EXIT_FAILURE;
  for (auto& plan : plan_cluster(options_, directory_.string(), resource_ports_, gateway_listen_)) {
    children_.push_back({std::move(plan)});
    if (!spawn(children_.back()))
      return EXIT_FAILURE;
  }
  if (!await_ready())
    return stop_ ? EXIT_SUCCESS : EXIT_FAILURE;
  write_list();
  door_ = std::make_unique<dev_fault_door>(directory_);
  // Output of a script is its results and nothing else.
  auto narrates = options_.session.empty() || options_.session_at_terminal;
  if (narrates)
    print_banner(steady::now() - began);
  else if (::isatty(STDERR_FILENO) != 0)
    std::fprintf(stderr, "\r\033[K");
  if (!options_.session.empty() && !start_session())
    return EXIT_FAILURE;
  watch();
  auto cut_off = session_ > 0;
  end_session();
  std::fprintf(stderr, "%s", obituaries_.c_str());
  if (narrates)
    fmt::print("ending the cluster\n");
  std::fflush(stdout);
  end();
  if (options_.session.empty() || (options_.session_at_terminal && cut_off))
    return EXIT_SUCCESS;
  return session_code_;
}

} // namespace

int run_dev(const dev_options& options) {
  return laptop_cluster{options}.run();
}

} // namespace astra
