#include "runtime/process/launcher_client.hpp"

#include "messages/errc.hpp"
#include "runtime/process/launcher.hpp"
#include "runtime/process/launcher_frame.hpp"
#include "runtime/process/proc_files.hpp"
#include "runtime/process/process_group.hpp"
#include "runtime/process/spawn_child.hpp"
#include "runtime/process/unique_fd.hpp"

#include <caf/error.hpp>
#include <spdlog/spdlog.h>

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <mutex>
#include <optional>
#include <set>
#include <thread>
#include <utility>

namespace astra {
namespace {

using namespace std::chrono_literals;
using clock_type = std::chrono::steady_clock;

/// Bytes that may wait for a launcher that does not read.
constexpr std::size_t backlog_bytes_max = 2 * launcher_body_max;
constexpr auto hello_timeout = 10s;
constexpr auto restart_interval = 1s;
constexpr auto close_timeout = 900ms;

int milliseconds_until(clock_type::time_point time) {
  auto left = std::chrono::ceil<std::chrono::milliseconds>(time - clock_type::now()).count();
  return static_cast<int>(std::max<std::int64_t>(0, left));
}

/// A running launcher process, as its agent knows it.
struct launcher_process {
  pid_t pid = -1;
  unique_fd socket;
  std::string backend;
  std::string detail;
  std::string marker;
  std::vector<std::string> groups;
};

/// @returns false when it still runs at `deadline`.
bool wait_for_exit(pid_t pid, clock_type::time_point deadline) {
  unique_fd pidfd{static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))};
  for (;;) {
    auto ended = ::waitpid(pid, nullptr, WNOHANG);
    if (ended == pid || (ended < 0 && errno == ECHILD))
      return true;
    auto left = milliseconds_until(deadline);
    if (left == 0)
      return false;
    pollfd file{pidfd.get(), POLLIN, 0};
    ::poll(&file, pidfd ? 1 : 0, pidfd ? left : std::min(left, 5));
  }
}

void kill_launcher(pid_t pid) {
  ::kill(pid, SIGKILL);
  wait_for_exit(pid, clock_type::now() + 10s);
}

/// Kills what a dead launcher's children left behind; the children themselves died with it.
void kill_remains(const launcher_process& dead, clock_type::time_point deadline) {
  for (;;) {
    bool gone = true;
    for (auto& directory : dead.groups)
      gone = end_group(directory) && gone;
    for (auto& process : scan_processes("/proc")) {
      if (process.ended() || process.pid == ::getpid())
        continue;
      auto block = read_file("/proc/" + std::to_string(process.pid) + "/environ");
      auto value = find_variable(block.value_or(""), "ASTRA_TASK");
      if (dead.marker.empty() || !value || !value->starts_with(dead.marker))
        continue;
      ::kill(process.pid, SIGKILL);
      gone = false;
    }
    if (gone || clock_type::now() >= deadline)
      return;
    ::poll(nullptr, 0, 1);
  }
}

/// Starts the program with one end of a socket pair as descriptor launcher_socket.
caf::expected<launcher_process> spawn_launcher_process(const launcher_options& options) {
  auto fail = [](const std::string& what, int code) {
    return caf::make_error(errc::spawn_failed, "launcher: " + what + ": " + std::strerror(code));
  };
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
    return fail("socketpair", errno);
  launcher_process result;
  result.socket.reset(ends[0]);
  unique_fd theirs{ends[1]};

  posix_spawn_file_actions_t files;
  ::posix_spawn_file_actions_init(&files);
  ::posix_spawn_file_actions_adddup2(&files, theirs.get(), launcher_socket);
  posix_spawnattr_t attributes;
  ::posix_spawnattr_init(&attributes);
  sigset_t none, all;
  ::sigemptyset(&none);
  ::sigfillset(&all);
  ::posix_spawnattr_setsigmask(&attributes, &none);
  ::posix_spawnattr_setsigdefault(&attributes, &all);
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSID);
  std::vector<char*> arguments;
  for (auto& argument : options.arguments)
    arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  int code = ::posix_spawn(&result.pid, options.program.c_str(), &files, &attributes, arguments.data(), ::environ);
  ::posix_spawnattr_destroy(&attributes);
  ::posix_spawn_file_actions_destroy(&files);
  if (code != 0)
    return fail(options.program, code);
  return result;
}

/// Tells a new launcher its settings and waits for its answer.
caf::error greet(launcher_process& process, const launcher_options& options) {
  auto deadline = clock_type::now() + hello_timeout;
  launcher_pb::Frame setup;
  setup.mutable_setup()->set_backend(options.backend);
  frame_writer writer;
  writer.push(setup, nullptr);
  bool sent = writer.flush(process.socket.get());
  frame_reader reader;
  while (sent) {
    pollfd file{process.socket.get(), POLLIN, 0};
    if (::poll(&file, 1, milliseconds_until(deadline)) <= 0 && clock_type::now() >= deadline)
      return caf::make_error(errc::spawn_failed,
                             "launcher: no answer for " + std::to_string(hello_timeout.count()) + " s after its start");
    char buffer[4096];
    auto count = ::recv(process.socket.get(), buffer, sizeof buffer, MSG_DONTWAIT);
    if (count < 0 && (errno == EAGAIN || errno == EINTR))
      continue;
    if (count <= 0)
      break;
    reader.append(buffer, static_cast<std::size_t>(count));
    if (auto frame = reader.next()) {
      auto& hello = frame->head.hello();
      process.backend = hello.backend();
      process.detail = hello.detail();
      process.marker = hello.marker();
      process.groups = {hello.groups().begin(), hello.groups().end()};
      return {};
    }
  }
  return caf::make_error(errc::spawn_failed, "launcher: it ended right after its start");
}

caf::expected<launcher_process> start_launcher_process(const launcher_options& options) {
  auto process = spawn_launcher_process(options);
  if (!process)
    return process;
  if (auto error = greet(*process, options)) {
    kill_launcher(process->pid);
    return error;
  }
  return process;
}

process_exited to_event(const launcher_pb::Exited& exited, std::string output) {
  process_exited event;
  event.key = process_key{exited.key()};
  event.end = static_cast<process_end>(exited.end());
  event.code = exited.code();
  event.reason = exited.reason();
  event.output = std::move(output);
  event.log_tail = exited.log_tail();
  event.log_bytes = exited.log_bytes();
  event.cpu_time = caf::timespan{static_cast<std::int64_t>(exited.cpu_ns())};
  event.wall_time = caf::timespan{static_cast<std::int64_t>(exited.wall_ns())};
  event.memory_peak_bytes = exited.memory_peak_bytes();
  return event;
}

class live_client : public launcher_client {
public:
  live_client(launcher_options options, launcher_process process)
    : options_(std::move(options)), process_(std::move(process)), last_start_(clock_type::now()),
      wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)), thread_([this] { run(); }) {}

  ~live_client() override { close(); }

  pid_t pid() const override {
    std::lock_guard guard{mutex_};
    return process_.pid;
  }

  std::string backend() const override {
    std::lock_guard guard{mutex_};
    return process_.backend;
  }

  std::string backend_detail() const override {
    std::lock_guard guard{mutex_};
    return process_.detail;
  }

  caf::expected<void> launch(const launch_process& what) override;
  void kill(const kill_process& what) override;

  void listen(std::shared_ptr<launcher_listener> listener) override {
    std::lock_guard guard{listener_mutex_};
    listener_ = std::move(listener);
  }

  void close() override;

private:
  void run();
  bool poll_once(frame_reader& reader);
  void on_frame(launcher_frame frame);
  void lose();
  bool restart();
  void report(process_exited event);
  void report_all(const std::set<process_key>& keys, process_end end, const std::string& reason);
  void push(const launcher_pb::Frame& frame, std::shared_ptr<const std::string> body);
  void wake() {
    std::uint64_t one = 1;
    // Full means that it is awake already.
    [[maybe_unused]] auto written = ::write(wake_.get(), &one, sizeof one);
  }

  const launcher_options options_;
  /// Guards everything up to listener_mutex_.
  mutable std::mutex mutex_;
  /// Its socket is closed while there is no launcher.
  launcher_process process_;
  clock_type::time_point last_start_;
  frame_writer writer_;
  std::set<process_key> running_;
  bool closing_ = false;
  /// Recursive: telling a listener may drop the last reference to it, which ends its listening.
  std::recursive_mutex listener_mutex_;
  std::shared_ptr<launcher_listener> listener_;
  unique_fd wake_;
  std::thread thread_;
};

caf::expected<void> live_client::launch(const launch_process& what) {
  auto size = what.input ? what.input->size() : 0;
  if (size > launcher_body_max)
    return caf::make_error(errc::invalid_argument, "the input is larger than 1 GiB");
  launcher_pb::Frame frame;
  auto* launch = frame.mutable_launch();
  launch->set_key(what.key.value());
  for (auto& word : what.command)
    launch->add_command(word);
  for (auto& entry : what.environment)
    launch->add_environment(entry);
  launch->set_has_input(what.input != nullptr);
  launch->set_time_limit_ns(static_cast<std::uint64_t>(std::max<std::int64_t>(0, what.time_limit.count())));
  launch->set_memory_limit_bytes(what.memory_limit_bytes);
  launch->set_output_limit_bytes(what.output_limit_bytes);
  launch->set_output_is_log(what.output_is_log);
  launch->set_ready_line(what.ready_line);
  launch->set_scratch(what.scratch);
  if (frame.ByteSizeLong() > launcher_head_max)
    return caf::make_error(errc::invalid_argument, "the command line and environment are larger than 4 MiB");
  std::lock_guard guard{mutex_};
  if (closing_)
    return caf::make_error(errc::spawn_failed, "the agent ends: it starts no more processes");
  if (!process_.socket)
    return caf::make_error(errc::spawn_failed, "the process launcher is being restarted; try again in a second");
  if (writer_.bytes() + size > backlog_bytes_max)
    return caf::make_error(errc::spawn_failed, "the process launcher is too far behind");
  if (!running_.insert(what.key).second)
    return caf::make_error(errc::conflict, "a process of this key is running");
  push(frame, what.input);
  return {};
}

void live_client::kill(const kill_process& what) {
  launcher_pb::Frame frame;
  auto* kill = frame.mutable_kill();
  kill->set_key(what.key.value());
  kill->set_grace_ns(static_cast<std::uint64_t>(std::max<std::int64_t>(0, what.grace.count())));
  kill->set_reason(what.reason);
  std::lock_guard guard{mutex_};
  if (process_.socket && running_.count(what.key) != 0)
    push(frame, nullptr);
}

/// @pre mutex_ is held.
void live_client::push(const launcher_pb::Frame& frame, std::shared_ptr<const std::string> body) {
  bool idle = writer_.empty();
  writer_.push(frame, std::move(body));
  // Usually the socket takes it at once, and the thread sleeps on.  A dead launcher shows where it is read from.
  if (idle && writer_.flush(process_.socket.get()) && !writer_.empty())
    wake();
}

void live_client::run() {
  for (;;) {
    frame_reader reader;
    while (poll_once(reader)) {
    }
    {
      std::lock_guard guard{mutex_};
      if (closing_)
        return;
    }
    lose();
    if (!restart())
      return;
  }
}

/// @returns false when the launcher is gone or the client closes.
bool live_client::poll_once(frame_reader& reader) {
  pollfd files[2] = {{wake_.get(), POLLIN, 0}, {-1, POLLIN, 0}};
  {
    std::lock_guard guard{mutex_};
    if (closing_)
      return false;
    files[1].fd = process_.socket.get();
    if (!writer_.empty())
      files[1].events |= POLLOUT;
  }
  if (::poll(files, 2, -1) <= 0)
    return true;
  if (files[0].revents != 0) {
    std::uint64_t count = 0;
    [[maybe_unused]] auto size = ::read(wake_.get(), &count, sizeof count);
  }
  if ((files[1].revents & POLLOUT) != 0) {
    std::lock_guard guard{mutex_};
    writer_.flush(files[1].fd);
  }
  if ((files[1].revents & (POLLIN | POLLHUP | POLLERR)) == 0)
    return true;
  static thread_local char buffer[256 * 1024];
  auto count = ::recv(files[1].fd, buffer, sizeof buffer, MSG_DONTWAIT);
  if (count < 0 && (errno == EAGAIN || errno == EINTR))
    return true;
  if (count <= 0)
    return false;
  reader.append(buffer, static_cast<std::size_t>(count));
  while (auto frame = reader.next())
    on_frame(std::move(*frame));
  return !reader.broken();
}

void live_client::on_frame(launcher_frame frame) {
  if (frame.head.has_started()) {
    std::lock_guard guard{listener_mutex_};
    if (auto listener = listener_)
      listener->on_started({process_key{frame.head.started().key()}, frame.head.started().pid()});
  } else if (frame.head.has_exited()) {
    auto event = to_event(frame.head.exited(), std::move(frame.body));
    {
      std::lock_guard guard{mutex_};
      running_.erase(event.key);
    }
    report(std::move(event));
  }
}

void live_client::lose() {
  launcher_process dead;
  std::set<process_key> lost;
  {
    std::lock_guard guard{mutex_};
    process_.socket.reset();
    dead.pid = process_.pid;
    dead.marker = process_.marker;
    dead.groups = process_.groups;
    writer_.clear();
    lost = std::exchange(running_, {});
  }
  spdlog::error("launcher.lost pid={} processes={}", dead.pid, lost.size());
  kill_launcher(dead.pid);
  kill_remains(dead, clock_type::now() + 10s);
  report_all(lost, process_end::launcher_lost, "the process launcher died, and everything it ran was killed");
}

/// @returns false when the client closes.
bool live_client::restart() {
  for (;;) {
    for (auto due = last_start_ + restart_interval; clock_type::now() < due;) {
      {
        std::lock_guard guard{mutex_};
        if (closing_)
          return false;
      }
      pollfd file{wake_.get(), POLLIN, 0};
      ::poll(&file, 1, milliseconds_until(due));
    }
    last_start_ = clock_type::now();
    auto process = start_launcher_process(options_);
    if (process) {
      spdlog::info("launcher.restarted pid={} limits={}", process->pid, process->backend);
      std::lock_guard guard{mutex_};
      process_ = std::move(*process);
      return true;
    }
    spdlog::error("launcher.restart_failed reason=\"{}\"", to_string(process.error()));
  }
}

void live_client::report(process_exited event) {
  std::lock_guard guard{listener_mutex_};
  if (auto listener = listener_)
    listener->on_exited(std::move(event));
}

void live_client::report_all(const std::set<process_key>& keys, process_end end, const std::string& reason) {
  for (auto key : keys) {
    process_exited event;
    event.key = key;
    event.end = end;
    event.reason = reason;
    report(std::move(event));
  }
}

void live_client::close() {
  {
    std::lock_guard guard{mutex_};
    if (std::exchange(closing_, true))
      return;
  }
  wake();
  thread_.join();
  bool alive = false;
  {
    std::lock_guard guard{mutex_};
    alive = static_cast<bool>(process_.socket);
    process_.socket.reset();
  }
  if (alive && !wait_for_exit(process_.pid, clock_type::now() + close_timeout)) {
    kill_launcher(process_.pid);
    kill_remains(process_, clock_type::now() + close_timeout);
  }
  std::set<process_key> running;
  {
    std::lock_guard guard{mutex_};
    running = std::exchange(running_, {});
  }
  report_all(running, process_end::killed, "killed: the agent ends");
}

} // namespace

caf::expected<std::unique_ptr<launcher_client>> start_launcher(const launcher_options& options) {
  auto process = start_launcher_process(options);
  if (!process)
    return process.error();
  return std::unique_ptr<launcher_client>{std::make_unique<live_client>(options, std::move(*process))};
}

} // namespace astra
