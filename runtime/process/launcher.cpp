#include "runtime/process/launcher.hpp"

#include "messages/process.hpp"
#include "runtime/process/launcher_frame.hpp"
#include "runtime/process/process_fate.hpp"
#include "runtime/process/process_group.hpp"
#include "runtime/process/spawn_child.hpp"
#include "runtime/process/tail_buffer.hpp"
#include "runtime/process/tree_census.hpp"
#include "runtime/process/unique_fd.hpp"

#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace astra {
namespace {

using namespace std::chrono_literals;
using clock_type = std::chrono::steady_clock;
using action = process_fate::action;

constexpr std::size_t log_tail_bytes = 4096;
/// Read from one pipe before the others get their turn.
constexpr std::size_t read_turn_bytes = 256 * 1024;
constexpr auto memory_sample_interval = 50ms;
/// Between two looks at a tree that is being killed; grows while it does not go, as with a process stuck in a device.
constexpr auto kill_retry_first = 1ms;
constexpr auto kill_retry_last = 100ms;
/// How long the trees of a dead agent are waited for.
constexpr auto farewell = 10s;

constexpr const char* marker_variable = "ASTRA_TASK";

std::uint64_t to_ns(const timeval& value) {
  return static_cast<std::uint64_t>(value.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(value.tv_usec) * 1000;
}

/// One launched process and its tree.
struct task {
  task(process_key key, const process_fate::limits& limits, clock_type::time_point started)
    : key(key), started(started), fate(started, limits) {}

  process_key key;
  clock_type::time_point started;
  process_fate fate;
  process_group group;
  bool sample_memory = false;
  bool watch_out_of_memory = false;

  pid_t pid = -1;
  unique_fd pidfd;
  /// End of file: exec succeeded.
  unique_fd failure;
  unique_fd input_pipe;
  unique_fd output_pipe;
  unique_fd log_pipe;

  std::string input;
  std::size_t input_written = 0;
  bool output_is_log = false;
  /// What it must have written to count as started; empty: nothing.
  std::string ready_line;
  /// The end of what it has written, in which the ready line may have begun.
  std::string heard;
  /// The agent was told that it has started.
  bool started_told = false;
  /// The command was executed.
  bool runs = false;
  /// Its directory; empty: it has none.
  std::string scratch;
  std::uint64_t output_limit = 0;
  std::string output;
  tail_buffer log{log_tail_bytes};

  std::uint64_t cpu_ns = 0;
  std::uint64_t memory_peak = 0;

  clock_type::time_point next_kill{};
  clock_type::duration kill_retry = kill_retry_first;
  /// Members that were told to hold still while the rest is looked for.
  std::vector<pid_t> frozen;
};

class launcher {
public:
  explicit launcher(int socket) : socket_(socket) {}

  int run();

private:
  bool start();
  void poll_once();
  int timeout_ms(clock_type::time_point now) const;

  void on_socket(short events);
  void on_frame(launcher_frame frame);
  void on_setup(const launcher_pb::Setup& setup);
  void on_launch(const launcher_pb::Launch& what, std::string body);
  void on_kill(const launcher_pb::Kill& what);
  void send(const launcher_pb::Frame& frame, std::string body = {});

  std::string start_child(task& child, const launcher_pb::Launch& what);
  void read_failure(task& child);
  void tell_started(task& child);
  void hear(task& child, std::string_view data);
  void write_input(task& child);
  void read_output(task& child, bool to_end);
  void read_log(task& child, bool to_end);

  void reap();
  void on_timers(clock_type::time_point now);
  void sample(task& child);
  void apply(task& child, action what);
  void terminate(task& child);
  void kill_all(clock_type::time_point now);
  bool kill_round(task& child);
  bool no_orphans() const;
  void take_census();
  std::vector<process_stat> members(const task& child) const;
  void finish(task& child);
  void remove_groups();

  unique_fd socket_;
  unique_fd signals_;
  unique_fd null_;
  frame_reader reader_;
  frame_writer writer_;
  bool agent_gone_ = false;
  bool ready_ = false;
  group_backend backend_;
  std::string marker_;
  process_stat self_;
  long page_size_ = ::sysconf(_SC_PAGESIZE);
  /// Limit of open files that the agent runs under, and so do children; our own is raised.
  rlimit open_files_{};
  std::map<process_key, task> tasks_;
  tree_census census_;
  clock_type::time_point next_sample_{};
  std::vector<std::string> groups_to_remove_;
};

/// Sends a signal to exactly this process, not to one that got its pid since.
void signal_process(const process_stat& process, int number) {
  unique_fd pidfd{static_cast<int>(::syscall(SYS_pidfd_open, process.pid, 0))};
  auto now = read_process_stat("/proc", process.pid);
  if (!now || now->start_ticks != process.start_ticks)
    return;
  if (pidfd)
    ::syscall(SYS_pidfd_send_signal, pidfd.get(), number, nullptr, 0);
  else
    ::kill(process.pid, number);
}

bool make_pipe(unique_fd& read_end, unique_fd& write_end) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0)
    return false;
  read_end.reset(ends[0]);
  write_end.reset(ends[1]);
  return true;
}

void set_nonblocking(const unique_fd& file) {
  ::fcntl(file.get(), F_SETFL, ::fcntl(file.get(), F_GETFL) | O_NONBLOCK);
}

bool launcher::start() {
  ::prctl(PR_SET_NAME, "astra-launcher");
  // Orphans of a tree come to this process instead of escaping.
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);
  // A terminal's interrupt is for the agent, which ends us by closing the socket.
  ::setsid();
  for (int number : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE, SIGUSR1, SIGUSR2, SIGTTIN, SIGTTOU, SIGTSTP})
    ::signal(number, SIG_IGN);
  sigset_t child;
  ::sigemptyset(&child);
  ::sigaddset(&child, SIGCHLD);
  ::sigprocmask(SIG_BLOCK, &child, nullptr);
  signals_.reset(::signalfd(-1, &child, SFD_NONBLOCK | SFD_CLOEXEC));
  null_.reset(::open("/dev/null", O_RDWR | O_CLOEXEC));
  if (!signals_ || !null_)
    return false;
  ::dup2(null_.get(), 0);
  ::dup2(null_.get(), 1);
  ::fcntl(socket_.get(), F_SETFD, FD_CLOEXEC);
  set_nonblocking(socket_);
  // Up to six files per child.
  ::getrlimit(RLIMIT_NOFILE, &open_files_);
  rlimit raised{open_files_.rlim_max, open_files_.rlim_max};
  ::setrlimit(RLIMIT_NOFILE, &raised);
  self_ = read_process_stat("/proc", ::getpid()).value_or(process_stat{});
  self_.pid = ::getpid();
  marker_ = std::to_string(self_.pid) + "-" + std::to_string(self_.start_ticks) + "/";
  return true;
}

int launcher::run() {
  if (!start())
    return 1;
  while (!agent_gone_)
    poll_once();
  auto end = clock_type::now() + farewell;
  for (auto& [key, child] : tasks_)
    apply(child, child.fate.on_kill({}, "the agent is gone", clock_type::now()));
  while (!tasks_.empty() && clock_type::now() < end)
    poll_once();
  for (bool gone = false; !gone && clock_type::now() < end;) {
    gone = true;
    for (auto& directory : backend_.groups())
      gone = end_group(directory) && gone;
    if (!gone)
      ::poll(nullptr, 0, 1);
  }
  return 0;
}

int launcher::timeout_ms(clock_type::time_point now) const {
  std::optional<clock_type::time_point> next;
  auto consider = [&](clock_type::time_point time) {
    if (!next || time < *next)
      next = time;
  };
  for (auto& [key, child] : tasks_) {
    if (auto deadline = child.fate.next_deadline())
      consider(*deadline);
    if (child.fate.killing())
      consider(child.next_kill);
    else if (child.sample_memory || child.watch_out_of_memory)
      consider(next_sample_);
  }
  if (!groups_to_remove_.empty())
    consider(now + kill_retry_last);
  if (!next)
    return -1;
  return static_cast<int>(std::max<std::int64_t>(0, std::chrono::ceil<std::chrono::milliseconds>(*next - now).count()));
}

void launcher::poll_once() {
  struct watch {
    process_key key;
    void (launcher::*handle)(task&);
  };
  std::vector<pollfd> files;
  std::vector<watch> watches;
  auto add = [&](const unique_fd& file, short events, process_key key, void (launcher::*handle)(task&)) {
    if (!file)
      return;
    files.push_back({file.get(), events, 0});
    watches.push_back({key, handle});
  };
  add(signals_, POLLIN, {}, nullptr);
  if (!agent_gone_)
    add(socket_, static_cast<short>(writer_.empty() ? POLLIN : POLLIN | POLLOUT), {}, nullptr);
  for (auto& [key, child] : tasks_) {
    add(child.failure, POLLIN, key, &launcher::read_failure);
    add(child.input_pipe, POLLOUT, key, &launcher::write_input);
    add(child.output_pipe, POLLIN, key, nullptr);
    add(child.log_pipe, POLLIN, key, nullptr);
  }
  if (::poll(files.data(), files.size(), timeout_ms(clock_type::now())) > 0) {
    for (std::size_t i = 0; i < files.size(); ++i) {
      if (files[i].revents == 0 || !watches[i].key)
        continue;
      auto& child = tasks_.at(watches[i].key);
      if (watches[i].handle != nullptr)
        (this->*watches[i].handle)(child);
      else if (child.output_pipe && files[i].fd == child.output_pipe.get())
        read_output(child, false);
      else if (child.log_pipe && files[i].fd == child.log_pipe.get())
        read_log(child, false);
    }
    if (files[0].revents != 0)
      reap();
    if (!agent_gone_ && files[1].revents != 0)
      on_socket(files[1].revents);
  }
  on_timers(clock_type::now());
}

// -- conversation with the agent ------------------------------------------------------------------------------------

void launcher::on_socket(short events) {
  if ((events & POLLOUT) != 0 && !writer_.flush(socket_.get()))
    agent_gone_ = true;
  if ((events & (POLLIN | POLLHUP | POLLERR)) == 0)
    return;
  static char buffer[256 * 1024];
  auto count = ::recv(socket_.get(), buffer, sizeof buffer, MSG_DONTWAIT);
  if (count == 0 || (count < 0 && errno != EAGAIN && errno != EINTR)) {
    agent_gone_ = true;
    return;
  }
  if (count > 0)
    reader_.append(buffer, static_cast<std::size_t>(count));
  while (auto frame = reader_.next())
    on_frame(std::move(*frame));
  // Not our agent, or a broken one: there is nothing left to be told.
  if (reader_.broken())
    agent_gone_ = true;
}

void launcher::on_frame(launcher_frame frame) {
  switch (frame.head.content_case()) {
  case launcher_pb::Frame::kSetup:
    on_setup(frame.head.setup());
    break;
  case launcher_pb::Frame::kLaunch:
    on_launch(frame.head.launch(), std::move(frame.body));
    break;
  case launcher_pb::Frame::kKill:
    on_kill(frame.head.kill());
    break;
  default:
    agent_gone_ = true;
  }
}

void launcher::on_setup(const launcher_pb::Setup& setup) {
  if (!std::exchange(ready_, true))
    backend_ = probe_group_backend(setup.backend(), own_cgroup_dirs());
  launcher_pb::Frame answer;
  auto* hello = answer.mutable_hello();
  hello->set_backend(backend_.name);
  hello->set_detail(backend_.detail);
  hello->set_marker(marker_);
  for (auto& directory : backend_.groups())
    hello->add_groups(directory);
  send(answer);
}

void launcher::send(const launcher_pb::Frame& frame, std::string body) {
  if (agent_gone_)
    return;
  writer_.push(frame, body.empty() ? nullptr : std::make_shared<const std::string>(std::move(body)));
  if (!writer_.flush(socket_.get()))
    agent_gone_ = true;
}

void launcher::on_launch(const launcher_pb::Launch& what, std::string body) {
  process_key key{what.key()};
  process_fate::limits limits{std::chrono::nanoseconds{what.time_limit_ns()}, what.memory_limit_bytes(),
                              what.output_limit_bytes()};
  auto [place, inserted] = tasks_.try_emplace(key, key, limits, clock_type::now());
  if (!inserted)
    return;
  auto& child = place->second;
  child.input = std::move(body);
  child.output_is_log = what.output_is_log();
  child.ready_line = what.ready_line();
  child.output_limit = what.output_limit_bytes();
  auto error = start_child(child, what);
  if (!error.empty())
    apply(child, child.fate.on_spawn_failed(std::move(error)));
}

void launcher::on_kill(const launcher_pb::Kill& what) {
  auto found = tasks_.find(process_key{what.key()});
  if (found == tasks_.end())
    return;
  auto& child = found->second;
  apply(child, child.fate.on_kill(std::chrono::nanoseconds{what.grace_ns()}, what.reason(), clock_type::now()));
}

// -- starting and feeding -------------------------------------------------------------------------------------------

std::string launcher::start_child(task& child, const launcher_pb::Launch& what) {
  if (what.command().empty())
    return "the command is empty";
  child_plan plan;
  plan.arguments = {what.command().begin(), what.command().end()};
  plan.environment = make_environment({what.environment().begin(), what.environment().end()});
  plan.environment.push_back(std::string{marker_variable} + "=" + marker_ + to_hex(child.key.value()));
  std::string error;
  plan.program = find_command(plan.arguments.front(), find_in_environment(plan.environment, "PATH"), error);
  if (!error.empty())
    return error;
  child.group = process_group{backend_, child.key, what.memory_limit_bytes(), error};
  if (!error.empty())
    return error;
  if (!what.scratch().empty()) {
    if (::mkdir(what.scratch().c_str(), 0700) < 0)
      return "cannot make the directory " + what.scratch() + ": " + std::strerror(errno);
    child.scratch = what.scratch();
  }
  child.sample_memory = what.memory_limit_bytes() != 0 && !child.group.limits_memory();
  child.watch_out_of_memory = child.group.limits_memory();

  unique_fd input, output, log, failure;
  bool made = make_pipe(child.failure, failure) && make_pipe(child.output_pipe, output)
              && make_pipe(child.log_pipe, log) && (!what.has_input() || make_pipe(input, child.input_pipe));
  if (!made)
    return plan.program + ": " + std::strerror(errno);
  for (auto* file : {&child.failure, &child.output_pipe, &child.log_pipe, &child.input_pipe})
    if (*file)
      set_nonblocking(*file);
  plan.input = input ? input.get() : null_.get();
  plan.output = output.get();
  plan.log = log.get();
  plan.failure = failure.get();
  plan.open_files = open_files_;
  child.group.place(plan);
  auto handle = spawn_child(plan);
  if (handle.pid < 0)
    return plan.program + ": cannot start a process: " + std::strerror(handle.error);
  child.pid = handle.pid;
  child.pidfd = std::move(handle.pidfd);
  if (!child.group.follows())
    census_.add(child.key, child.pid);
  if (child.input.empty())
    child.input_pipe.reset();
  if (child.sample_memory || child.watch_out_of_memory)
    next_sample_ = std::min(next_sample_, clock_type::now() + memory_sample_interval);
  return {};
}

void launcher::read_failure(task& child) {
  int code = 0;
  auto count = ::read(child.failure.get(), &code, sizeof code);
  if (count < 0 && (errno == EAGAIN || errno == EINTR))
    return;
  child.failure.reset();
  if (count == static_cast<ssize_t>(sizeof code)) {
    auto reason = code == ENOEXEC ? std::string{"not a program (no #! line, not an executable of this machine)"}
                                  : std::string{std::strerror(code)};
    apply(child, child.fate.on_spawn_failed("cannot execute the command: " + reason));
    return;
  }
  if (child.fate.exited() && child.fate.end() == process_end::spawn_failed)
    return;
  child.runs = true;
  tell_started(child);
}

void launcher::tell_started(task& child) {
  if (!child.runs || !child.ready_line.empty() || std::exchange(child.started_told, true))
    return;
  launcher_pb::Frame frame;
  frame.mutable_started()->set_key(child.key.value());
  frame.mutable_started()->set_pid(child.pid);
  send(frame);
}

/// Takes what a child has logged, and looks for the line that says that it has started.
void launcher::hear(task& child, std::string_view data) {
  child.log.append(data);
  if (child.ready_line.empty())
    return;
  child.heard.append(data);
  if (child.heard.find(child.ready_line) != std::string::npos) {
    child.ready_line.clear();
    child.heard.clear();
    tell_started(child);
    return;
  }
  auto kept = std::min(child.heard.size(), child.ready_line.size() - 1);
  child.heard.erase(0, child.heard.size() - kept);
}

void launcher::write_input(task& child) {
  while (child.input_written < child.input.size()) {
    auto count = ::write(child.input_pipe.get(), child.input.data() + child.input_written,
                         child.input.size() - child.input_written);
    if (count < 0 && errno == EINTR)
      continue;
    if (count < 0 && errno == EAGAIN)
      return;
    // EPIPE: the child does not want the rest, which is its business.
    if (count < 0)
      break;
    child.input_written += static_cast<std::size_t>(count);
  }
  child.input_pipe.reset();
  child.input = {};
}

/// Reads what is there, in turns.
/// @param take gets each piece.
/// @returns true when the pipe is at its end.
template <class Take>
bool read_pipe(const unique_fd& file, bool to_end, Take take) {
  static char buffer[64 * 1024];
  for (std::size_t total = 0; to_end || total < read_turn_bytes;) {
    auto count = ::read(file.get(), buffer, sizeof buffer);
    if (count < 0 && errno == EINTR)
      continue;
    if (count < 0)
      return errno != EAGAIN;
    if (count == 0)
      return true;
    total += static_cast<std::size_t>(count);
    take(std::string_view{buffer, static_cast<std::size_t>(count)});
  }
  return false;
}

void launcher::read_output(task& child, bool to_end) {
  auto ended = read_pipe(child.output_pipe, to_end, [&](std::string_view data) {
    if (child.output_is_log) {
      hear(child, data);
      return;
    }
    auto room = child.output_limit - std::min<std::uint64_t>(child.output.size(), child.output_limit);
    child.output.append(data.substr(0, room));
    if (data.size() > room)
      apply(child, child.fate.on_output(child.output_limit + 1));
  });
  if (ended)
    child.output_pipe.reset();
}

void launcher::read_log(task& child, bool to_end) {
  if (read_pipe(child.log_pipe, to_end, [&](std::string_view data) { hear(child, data); }))
    child.log_pipe.reset();
}

// -- ending ---------------------------------------------------------------------------------------------------------

void launcher::reap() {
  signalfd_siginfo info;
  while (::read(signals_.get(), &info, sizeof info) > 0) {
  }
  for (;;) {
    int status = 0;
    rusage usage{};
    auto pid = ::wait4(-1, &status, WNOHANG, &usage);
    if (pid <= 0)
      return;
    auto found = std::find_if(tasks_.begin(), tasks_.end(), [pid](auto& entry) { return entry.second.pid == pid; });
    if (found == tasks_.end())
      continue;
    auto& child = found->second;
    // Before anything that could be taken for an exit: whether it ran at all, and what killed it.
    if (child.failure)
      read_failure(child);
    child.pid = -1;
    child.pidfd.reset();
    child.cpu_ns = to_ns(usage.ru_utime) + to_ns(usage.ru_stime);
    // The peak counts the moment before exec, when the child was a copy of this process.
    rusage own{};
    ::getrusage(RUSAGE_SELF, &own);
    if (usage.ru_maxrss > own.ru_maxrss)
      child.memory_peak = std::max(child.memory_peak, static_cast<std::uint64_t>(usage.ru_maxrss) * 1024);
    if (child.group.out_of_memory_kills() > 0)
      child.fate.on_out_of_memory();
    if (!child.fate.exited())
      child.fate.on_exit(WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status));
    child.next_kill = clock_type::now();
  }
}

void launcher::on_timers(clock_type::time_point now) {
  for (auto& [key, child] : tasks_)
    apply(child, child.fate.on_time(now));
  if (now >= next_sample_) {
    bool census_taken = false;
    for (auto& [key, child] : tasks_) {
      if (child.fate.killing() || !(child.sample_memory || child.watch_out_of_memory))
        continue;
      if (child.sample_memory && !child.group.follows() && !std::exchange(census_taken, true))
        take_census();
      sample(child);
    }
    next_sample_ = now + memory_sample_interval;
  }
  kill_all(now);
  remove_groups();
}

void launcher::sample(task& child) {
  if (child.watch_out_of_memory) {
    if (child.group.out_of_memory_kills() > 0)
      apply(child, child.fate.on_out_of_memory());
    return;
  }
  std::uint64_t used = 0;
  for (auto& member : members(child))
    used += member.resident_pages * static_cast<std::uint64_t>(page_size_);
  child.memory_peak = std::max(child.memory_peak, used);
  apply(child, child.fate.on_memory(used));
}

void launcher::apply(task& child, action what) {
  switch (what) {
  case action::none:
    return;
  case action::terminate:
    terminate(child);
    return;
  case action::kill:
    child.next_kill = clock_type::now();
    return;
  }
}

void launcher::terminate(task& child) {
  if (!child.group.follows())
    take_census();
  auto list = members(child);
  if (std::none_of(list.begin(), list.end(), [&](auto& member) { return member.pid == child.pid; }) && child.pidfd)
    ::syscall(SYS_pidfd_send_signal, child.pidfd.get(), SIGTERM, nullptr, 0);
  for (auto& member : list)
    signal_process(member, SIGTERM);
}

void launcher::kill_all(clock_type::time_point now) {
  bool census_taken = false;
  std::vector<process_key> gone;
  for (auto& [key, child] : tasks_) {
    if (!child.fate.killing() || child.next_kill > now)
      continue;
    if (child.pid < 0 && !child.group.follows() && no_orphans()) {
      gone.push_back(key);
      continue;
    }
    if (!child.group.follows() && !std::exchange(census_taken, true))
      take_census();
    if (kill_round(child)) {
      gone.push_back(key);
      continue;
    }
    child.next_kill = now + child.kill_retry;
    child.kill_retry = std::min<clock_type::duration>(2 * child.kill_retry, kill_retry_last);
  }
  for (auto key : gone)
    finish(tasks_.at(key));
}

/// @returns true when nothing of the tree is left.
bool launcher::kill_round(task& child) {
  if (child.group.follows()) {
    if (child.pid < 0 && child.group.empty())
      return true;
    child.group.kill();
    if (child.pidfd)
      ::syscall(SYS_pidfd_send_signal, child.pidfd.get(), SIGKILL, nullptr, 0);
    return false;
  }
  auto& list = census_.members(child.key);
  if (child.pid < 0 && list.empty())
    return true;
  // A tree that starts processes faster than they are found would get away: it has to hold still first.
  std::vector<pid_t> found;
  bool newcomers = false;
  for (auto& member : list) {
    found.push_back(member.pid);
    if (!std::binary_search(child.frozen.begin(), child.frozen.end(), member.pid)) {
      newcomers = true;
      signal_process(member, SIGSTOP);
    }
  }
  child.frozen = std::move(found);
  if (newcomers)
    return false;
  if (child.pidfd)
    ::syscall(SYS_pidfd_send_signal, child.pidfd.get(), SIGKILL, nullptr, 0);
  for (auto& member : list)
    signal_process(member, SIGKILL);
  return false;
}

/// Whatever is left of a tree whose first process was reaped hangs below an orphan, which is a child of ours.
bool launcher::no_orphans() const {
  auto children = read_children("/proc", self_);
  return children && std::all_of(children->begin(), children->end(), [this](pid_t pid) {
           return std::any_of(tasks_.begin(), tasks_.end(), [pid](auto& entry) { return entry.second.pid == pid; });
         });
}

void launcher::take_census() {
  census_.update(scan_descendants("/proc", self_), ::getpid(), [this](pid_t pid) -> std::optional<process_key> {
    auto block = read_file("/proc/" + std::to_string(pid) + "/environ");
    auto value = find_variable(block.value_or(""), marker_variable);
    if (!value || !value->starts_with(marker_))
      return std::nullopt;
    std::uint64_t key = 0;
    auto* begin = value->data() + marker_.size();
    auto parsed = std::from_chars(begin, value->data() + value->size(), key, 16);
    return parsed.ec == std::errc{} ? std::optional{process_key{key}} : std::nullopt;
  });
  // Nobody answers for what hid from its tree.
  if (!backend_.follows_groups())
    for (auto& stray : census_.strays())
      signal_process(stray, SIGKILL);
}

std::vector<process_stat> launcher::members(const task& child) const {
  if (!child.group.follows())
    return census_.members(child.key);
  std::vector<process_stat> result;
  for (auto pid : child.group.members())
    if (auto stat = read_process_stat("/proc", pid))
      result.push_back(*stat);
  return result;
}

void launcher::finish(task& child) {
  if (child.output_pipe)
    read_output(child, true);
  if (child.log_pipe)
    read_log(child, true);
  child.memory_peak = std::max(child.memory_peak, child.group.memory_peak());
  auto wall = clock_type::now() - child.started;
  launcher_pb::Frame frame;
  auto* exited = frame.mutable_exited();
  exited->set_key(child.key.value());
  exited->set_end(static_cast<std::uint32_t>(child.fate.end()));
  exited->set_code(child.fate.code());
  exited->set_reason(child.fate.reason());
  exited->set_log_tail(child.log.text());
  exited->set_log_bytes(child.log.total());
  exited->set_cpu_ns(child.cpu_ns);
  exited->set_wall_ns(static_cast<std::uint64_t>(std::chrono::nanoseconds{wall}.count()));
  exited->set_memory_peak_bytes(child.memory_peak);
  // Before the agent hears of the end: it may want a directory of this name again.
  if (std::error_code ignored; !child.scratch.empty())
    std::filesystem::remove_all(child.scratch, ignored);
  send(frame, std::move(child.output));
  for (auto& directory : child.group.release())
    groups_to_remove_.push_back(std::move(directory));
  census_.remove(child.key);
  tasks_.erase(child.key);
}

void launcher::remove_groups() {
  std::erase_if(groups_to_remove_, [](auto& directory) { return ::rmdir(directory.c_str()) == 0 || errno == ENOENT; });
}

} // namespace

int launcher_main(int socket_fd) {
  // Whatever else the agent had open stays with the agent.
  if (socket_fd > launcher_socket)
    ::syscall(SYS_close_range, static_cast<unsigned>(launcher_socket), static_cast<unsigned>(socket_fd - 1), 0u);
  ::syscall(SYS_close_range, static_cast<unsigned>(socket_fd + 1), ~0u, 0u);
  return launcher{socket_fd}.run();
}

} // namespace astra
