#include "runtime/process/machine_probe.hpp"

#include "runtime/process/capacity.hpp"
#include "runtime/process/proc_files.hpp"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <iterator>
#include <utility>

namespace astra {
namespace {

class live_probe : public machine_probe {
public:
  live_probe(std::function<pid_t()> launcher_pid, const std::string& root)
    : launcher_pid_(std::move(launcher_pid)), root_(root), dirs_(own_cgroup_dirs(root)) {
    if (auto limit = find_cpu_limit(dirs_))
      cpu_dir_ = limit->file == "cpu.max" ? limit->directory : dirs_.cpuacct;
    if (auto limit = find_memory_limit(dirs_))
      memory_dir_ = limit->directory;
  }

  machine_sample sample() override {
    if (auto busy = host_busy())
      last_.host_busy_core_s = std::max(last_.host_busy_core_s, *busy);
    if (auto memory = memory_used())
      last_.memory_used_bytes = *memory;
    own_busy();
    return last_;
  }

private:
  std::optional<double> host_busy() const {
    if (!cpu_dir_.empty()) {
      if (auto text = read_file(cpu_dir_ + "/cpu.stat"))
        if (auto usage = find_number(*text, "usage_usec"))
          return static_cast<double>(*usage) * 1e-6;
      if (auto usage = read_number(cpu_dir_ + "/cpuacct.usage"))
        return static_cast<double>(*usage) * 1e-9;
    }
    auto ticks = parse_busy_ticks(read_file(root_ + "/proc/stat").value_or(""));
    return ticks ? std::optional{static_cast<double>(*ticks) / ticks_per_s_} : std::nullopt;
  }

  std::optional<std::uint64_t> memory_used() const {
    if (!memory_dir_.empty()) {
      auto used = read_number(memory_dir_ + "/memory.current");
      auto prefix = std::string{};
      if (!used) {
        used = read_number(memory_dir_ + "/memory.usage_in_bytes");
        prefix = "total_";
      }
      if (used) {
        auto text = read_file(memory_dir_ + "/memory.stat").value_or("");
        auto cache = find_number(text, prefix + "active_file").value_or(0)
                     + find_number(text, prefix + "inactive_file").value_or(0);
        return *used - std::min(*used, cache);
      }
    }
    auto text = read_file(root_ + "/proc/meminfo").value_or("");
    auto total = find_number(text, "MemTotal");
    auto available = find_number(text, "MemAvailable");
    if (!total || !available)
      return std::nullopt;
    return (*total - std::min(*total, *available)) * 1024;
  }

  void own_busy() {
    auto pid = launcher_pid_();
    if (pid <= 0)
      return;
    if (pid != tree_pid_) {
      // A new launcher counts from zero; what the old one used stays used.
      tree_base_ = last_.own_busy_core_s;
      tree_pid_ = pid;
    }
    auto used = tree_base_ + static_cast<double>(tree_ticks(root_ + "/proc", pid)) / ticks_per_s_;
    last_.own_busy_core_s = std::max(last_.own_busy_core_s, used);
  }

  std::function<pid_t()> launcher_pid_;
  std::string root_;
  cgroup_dirs dirs_;
  /// Groups that are measured; empty: the machine.
  std::string cpu_dir_;
  std::string memory_dir_;
  double ticks_per_s_ = static_cast<double>(::sysconf(_SC_CLK_TCK));
  pid_t tree_pid_ = 0;
  double tree_base_ = 0.0;
  machine_sample last_;
};

} // namespace

std::unique_ptr<machine_probe> make_machine_probe(std::function<pid_t()> launcher_pid, const std::string& root) {
  return std::make_unique<live_probe>(std::move(launcher_pid), root);
}

std::optional<std::uint64_t> parse_busy_ticks(std::string_view proc_stat) {
  // cpu user nice system idle iowait irq softirq steal guest guest_nice; guest time is part of user time.
  auto line = proc_stat.substr(0, proc_stat.find('\n'));
  if (!line.starts_with("cpu "))
    return std::nullopt;
  line.remove_prefix(4);
  std::uint64_t fields[8] = {};
  std::size_t count = 0;
  for (; count < std::size(fields); ++count) {
    line.remove_prefix(std::min(line.find_first_not_of(' '), line.size()));
    auto parsed = std::from_chars(line.data(), line.data() + line.size(), fields[count]);
    if (parsed.ec != std::errc{})
      break;
    line.remove_prefix(static_cast<std::size_t>(parsed.ptr - line.data()));
  }
  if (count < 4)
    return std::nullopt;
  return fields[0] + fields[1] + fields[2] + fields[5] + fields[6] + fields[7];
}

std::uint64_t tree_ticks(const std::string& proc, pid_t first) {
  auto stat = read_process_stat(proc, first);
  if (!stat)
    return 0;
  // Parents were read before children: one that ends in between is missed now, not counted twice.
  auto total = stat->own_ticks + stat->children_ticks;
  for (auto& process : scan_descendants(proc, *stat))
    total += process.own_ticks + process.children_ticks;
  return total;
}

} // namespace astra
