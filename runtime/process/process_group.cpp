#include "runtime/process/process_group.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstring>
#include <memory>
#include <string_view>

namespace astra {
namespace {

std::vector<std::string> subdirectories(const std::string& directory) {
  std::vector<std::string> result;
  std::unique_ptr<DIR, int (*)(DIR*)> dir{::opendir(directory.c_str()), ::closedir};
  while (auto* entry = dir ? ::readdir(dir.get()) : nullptr)
    if (entry->d_type == DT_DIR && entry->d_name[0] != '.')
      result.emplace_back(entry->d_name);
  return result;
}

/// Pids mean something within one pid namespace only, and groups may be seen from several.
std::string name_prefix() {
  struct stat info {};
  auto inode = ::stat("/proc/self/ns/pid", &info) == 0 ? info.st_ino : 0;
  return "astra-" + std::to_string(inode) + "-";
}

std::string own_name() {
  auto stat = read_process_stat("/proc", ::getpid());
  return name_prefix() + std::to_string(::getpid()) + "-" + std::to_string(stat ? stat->start_ticks : 0);
}

/// Ends what launchers that are no more left behind.
void sweep(const std::string& parent) {
  auto prefix = name_prefix();
  for (auto& name : subdirectories(parent)) {
    if (!name.starts_with(prefix))
      continue;
    pid_t pid = 0;
    std::uint64_t start = 0;
    auto* end = name.data() + name.size();
    auto parsed = std::from_chars(name.data() + prefix.size(), end, pid);
    if (parsed.ec != std::errc{} || parsed.ptr == end || std::from_chars(parsed.ptr + 1, end, start).ec != std::errc{})
      continue;
    auto stat = read_process_stat("/proc", pid);
    if (!stat || stat->start_ticks != start)
      end_group(parent + "/" + name);
  }
}

bool has_word(const std::string& path, std::string_view word) {
  auto text = read_file(path).value_or("");
  for (auto at = text.find(word); at != std::string::npos; at = text.find(word, at + 1)) {
    auto end = at + word.size();
    if ((at == 0 || text[at - 1] == ' ') && (end == text.size() || text[end] == ' ' || text[end] == '\n'))
      return true;
  }
  return false;
}

/// Makes the memory controller available to children of `group`.
/// @returns why not; empty when it is.
std::string enable_memory(const std::string& group) {
  if (!has_word(group + "/cgroup.controllers", "memory"))
    return "no memory controller in version 2 at " + group;
  if (has_word(group + "/cgroup.subtree_control", "memory"))
    return {};
  int code = write_file(group + "/cgroup.subtree_control", "+memory");
  if (code == EBUSY)
    return "memory controller not delegated: " + group + " holds processes itself";
  return code == 0 ? std::string{} : "memory controller of " + group + ": " + std::strerror(code);
}

std::string try_create(const std::string& parent, const std::string& directory) {
  sweep(parent);
  if (::mkdir(directory.c_str(), 0755) != 0)
    return parent + ": " + std::strerror(errno);
  if (::access((directory + "/cgroup.procs").c_str(), W_OK) != 0) {
    auto reason = parent + ": " + std::strerror(errno);
    ::rmdir(directory.c_str());
    return reason;
  }
  return {};
}

} // namespace

std::vector<std::string> group_backend::groups() const {
  std::vector<std::string> result;
  for (auto& directory : {unified, memory})
    if (!directory.empty())
      result.push_back(directory);
  return result;
}

group_backend probe_group_backend(const std::string& wanted, const cgroup_dirs& dirs) {
  group_backend result;
  std::string unified_reason = "not mounted";
  std::string memory_reason = "not mounted";
  auto name = own_name();
  if (wanted == "polling") {
    unified_reason = memory_reason = "switched off";
  } else {
    if (wanted == "cgroup1") {
      unified_reason = "switched off";
    } else if (!dirs.unified.empty()) {
      auto directory = dirs.unified + "/" + name;
      unified_reason = try_create(dirs.unified, directory);
      if (unified_reason.empty()) {
        result.unified = directory;
        memory_reason = enable_memory(dirs.unified);
        if (memory_reason.empty())
          memory_reason = enable_memory(directory);
        result.unified_memory = memory_reason.empty();
      }
    }
    if (!result.unified_memory && !dirs.memory.empty() && wanted != "cgroup2") {
      auto directory = dirs.memory + "/" + name;
      memory_reason = try_create(dirs.memory, directory);
      if (memory_reason.empty())
        result.memory = directory;
    }
  }
  if (result.unified_memory)
    result.name = "cgroup2";
  else if (!result.memory.empty())
    result.name = "cgroup1";
  result.detail = "trees: ";
  if (!result.unified.empty())
    result.detail += "cgroup2";
  else
    result.detail += (result.memory.empty() ? "polling" : "cgroup1") + (" (cgroup2 " + unified_reason) + ")";
  result.detail += "; memory: " + result.name;
  if (result.name == "polling")
    result.detail += " (" + memory_reason + ")";
  return result;
}

bool end_group(const std::string& directory) {
  if (write_file(directory + "/cgroup.kill", "1") != 0)
    for (auto pid : parse_pids(read_file(directory + "/cgroup.procs").value_or("")))
      ::kill(pid, SIGKILL);
  bool gone = true;
  for (auto& name : subdirectories(directory))
    gone = end_group(directory + "/" + name) && gone;
  return (::rmdir(directory.c_str()) == 0 || errno == ENOENT) && gone;
}

process_group::process_group(const group_backend& backend, process_key key, std::uint64_t memory_limit,
                             std::string& error) {
  auto name = "/" + to_hex(key.value());
  if (!backend.unified.empty() && ::mkdir((backend.unified + name).c_str(), 0755) == 0) {
    directories_.push_back(backend.unified + name);
    unified_dir_.reset(::open(directories_.back().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (backend.unified_memory && memory_limit != 0)
      memory_ = directories_.back();
    memory_v2_ = true;
  }
  // A version 1 group costs a migration of the child, so it is made only for what needs it.
  if (!backend.memory.empty() && (memory_limit != 0 || directories_.empty())
      && ::mkdir((backend.memory + name).c_str(), 0755) == 0) {
    directories_.push_back(backend.memory + name);
    procs_.emplace_back(::open((directories_.back() + "/cgroup.procs").c_str(), O_WRONLY | O_CLOEXEC));
    if (memory_limit != 0) {
      memory_ = directories_.back();
      memory_v2_ = false;
    }
  }
  if (memory_.empty())
    return;
  auto limit = std::to_string(memory_limit);
  int code = 0;
  if (memory_v2_) {
    code = write_file(memory_ + "/memory.max", limit);
    // Absent without swap; without a limit of its own, swap would hide what is over.
    write_file(memory_ + "/memory.swap.max", "0");
    write_file(memory_ + "/memory.oom.group", "1");
  } else {
    code = write_file(memory_ + "/memory.limit_in_bytes", limit);
    write_file(memory_ + "/memory.memsw.limit_in_bytes", limit);
  }
  if (code != 0)
    error = "memory limit of " + limit + " bytes: " + std::strerror(code);
}

process_group::~process_group() {
  release();
}

void process_group::place(child_plan& plan) const {
  plan.group = unified_dir_.get();
  for (auto& file : procs_)
    if (file)
      plan.joins.push_back(file.get());
}

std::vector<pid_t> process_group::members() const {
  if (directories_.empty())
    return {};
  return parse_pids(read_file(directories_.front() + "/cgroup.procs").value_or(""));
}

bool process_group::empty() const {
  if (directories_.empty())
    return true;
  if (auto events = read_file(directories_.front() + "/cgroup.events"))
    return find_number(*events, "populated") == std::uint64_t{0};
  return members().empty();
}

void process_group::kill() const {
  if (directories_.empty() || write_file(directories_.front() + "/cgroup.kill", "1") == 0)
    return;
  for (auto pid : members())
    ::kill(pid, SIGKILL);
}

std::uint64_t process_group::out_of_memory_kills() const {
  if (memory_.empty())
    return 0;
  auto text = read_file(memory_ + (memory_v2_ ? "/memory.events" : "/memory.oom_control"));
  return find_number(text.value_or(""), "oom_kill").value_or(0);
}

std::uint64_t process_group::memory_peak() const {
  if (memory_.empty())
    return 0;
  return read_number(memory_ + (memory_v2_ ? "/memory.peak" : "/memory.max_usage_in_bytes")).value_or(0);
}

std::vector<std::string> process_group::release() {
  unified_dir_.reset();
  procs_.clear();
  std::vector<std::string> left;
  for (auto& directory : directories_)
    if (::rmdir(directory.c_str()) != 0 && errno != ENOENT)
      left.push_back(directory);
  directories_.clear();
  memory_.clear();
  return left;
}

} // namespace astra
