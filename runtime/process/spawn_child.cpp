#include "runtime/process/spawn_child.hpp"

#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/sched.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string_view>

namespace astra {
namespace {

std::vector<char*> to_pointers(const std::vector<std::string>& strings) {
  std::vector<char*> result;
  for (auto& string : strings)
    result.push_back(const_cast<char*>(string.c_str()));
  result.push_back(nullptr);
  return result;
}

pid_t clone_child(int group, int& pidfd) {
  clone_args args{};
  args.flags = CLONE_PIDFD;
  args.pidfd = reinterpret_cast<std::uintptr_t>(&pidfd);
  args.exit_signal = SIGCHLD;
  if (group >= 0) {
    args.flags |= CLONE_INTO_CGROUP;
    args.cgroup = static_cast<std::uint64_t>(group);
  }
  return static_cast<pid_t>(::syscall(SYS_clone3, &args, sizeof args));
}

[[noreturn]] void fail_child(int channel) {
  int error = errno;
  // Nobody can be told when even this fails; the exit code says so.
  if (::write(channel, &error, sizeof error) != static_cast<ssize_t>(sizeof error))
    ::_exit(126);
  ::_exit(127);
}

/// Runs in the child, between clone and exec: system calls only.
[[noreturn]] void become(const child_plan& plan, int late_group, char* const* arguments, char* const* environment,
                         pid_t parent) {
  ::setsid();
  // By the system call: posix_spawn leaves two signals of glibc's own ignored, and signal() refuses to touch them.
  constexpr int signal_count = 64;
  const unsigned long defaults[4] = {};
  for (int number = 1; number <= signal_count; ++number)
    ::syscall(SYS_rt_sigaction, number, defaults, nullptr, std::size_t{signal_count / 8});
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent)
    ::_exit(127);
  if (late_group >= 0 && ::write(late_group, "0", 1) != 1)
    fail_child(plan.failure);
  for (int file : plan.joins)
    if (::write(file, "0", 1) != 1)
      fail_child(plan.failure);
  if (::dup2(plan.input, 0) < 0 || ::dup2(plan.output, 1) < 0 || ::dup2(plan.log, 2) < 0)
    fail_child(plan.failure);
  if (plan.open_files.rlim_max != 0)
    ::setrlimit(RLIMIT_NOFILE, &plan.open_files);
  // Everything of the launcher's is close-on-exec already; this covers what a library may have opened.
  ::syscall(SYS_close_range, 3u, ~0u, CLOSE_RANGE_CLOEXEC);
  ::execve(plan.program.c_str(), arguments, environment);
  fail_child(plan.failure);
}

} // namespace

child_handle spawn_child(const child_plan& plan) {
  auto arguments = to_pointers(plan.arguments);
  auto environment = to_pointers(plan.environment);
  auto parent = ::getpid();
  child_handle result;
  int pidfd = -1;
  auto pid = clone_child(plan.group, pidfd);
  unique_fd late_group;
  if (pid < 0 && plan.group >= 0) {
    // Kernels before 5.7, and groups that only take members from within: the child joins by itself.
    late_group.reset(::openat(plan.group, "cgroup.procs", O_WRONLY | O_CLOEXEC));
    pid = clone_child(-1, pidfd);
  }
  if (pid < 0 && (errno == ENOSYS || errno == EPERM || errno == EINVAL)) {
    // Old kernels, and containers whose filter does not know clone3.
    pid = ::fork();
    if (pid > 0)
      pidfd = static_cast<int>(::syscall(SYS_pidfd_open, pid, 0));
  }
  if (pid == 0)
    become(plan, late_group.get(), arguments.data(), environment.data(), parent);
  if (pid < 0)
    result.error = errno;
  result.pid = pid;
  result.pidfd.reset(pidfd);
  return result;
}

std::string find_command(const std::string& name, const std::string& search_path, std::string& error) {
  auto check = [](const std::string& path) {
    struct stat info {};
    if (::stat(path.c_str(), &info) != 0)
      return errno;
    if (S_ISDIR(info.st_mode))
      return EISDIR;
    return ::access(path.c_str(), X_OK) == 0 ? 0 : errno;
  };
  if (name.empty()) {
    error = "the command is empty";
    return {};
  }
  if (name.find('/') != std::string::npos) {
    if (int code = check(name); code != 0) {
      error = name + ": " + (code == EACCES ? "not executable (permission denied)" : std::strerror(code));
      return {};
    }
    return name;
  }
  std::string_view rest = search_path;
  std::string refused;
  while (!rest.empty()) {
    auto directory = rest.substr(0, rest.find(':'));
    rest.remove_prefix(std::min(directory.size() + 1, rest.size()));
    auto path = (directory.empty() ? std::string{"."} : std::string{directory}) + "/" + name;
    int code = check(path);
    if (code == 0)
      return path;
    if (code == EACCES && refused.empty())
      refused = path;
  }
  error = refused.empty() ? name + ": command not found in PATH (" + search_path + ")"
                          : refused + ": not executable (permission denied)";
  return {};
}

std::vector<std::string> make_environment(const std::vector<std::string>& extra) {
  std::vector<std::string> result;
  auto set = [&](std::string entry) {
    auto name_size = entry.find('=');
    if (name_size == std::string::npos)
      return;
    for (auto& old : result) {
      if (old.compare(0, name_size + 1, entry, 0, name_size + 1) == 0) {
        old = std::move(entry);
        return;
      }
    }
    result.push_back(std::move(entry));
  };
  auto inherit = [&](const char* name, const char* fallback) {
    auto* value = std::getenv(name);
    set(std::string{name} + "=" + (value != nullptr && *value != '\0' ? value : fallback));
  };
  inherit("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
  inherit("HOME", "/");
  inherit("LANG", "C.UTF-8");
  inherit("TMPDIR", "/tmp");
  for (auto& entry : extra)
    set(entry);
  return result;
}

std::string find_in_environment(const std::vector<std::string>& environment, const std::string& name) {
  for (auto& entry : environment)
    if (entry.size() > name.size() && entry.starts_with(name) && entry[name.size()] == '=')
      return entry.substr(name.size() + 1);
  return {};
}

} // namespace astra
