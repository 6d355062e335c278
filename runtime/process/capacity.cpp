#include "runtime/process/capacity.hpp"

#include "runtime/process/proc_files.hpp"

#include <dirent.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <functional>
#include <map>
#include <memory>
#include <sstream>

namespace astra {
namespace {

/// Version 1 writes "no limit" as the largest multiple of a page.
constexpr double memory_unlimited = 4.0e18;

/// Smallest limit from a group up to the top of its hierarchy.
std::optional<cgroup_limit> smallest(std::string directory, const std::string& top, const std::string& file,
                                     const std::function<std::optional<double>(const std::string&)>& read) {
  std::optional<cgroup_limit> result;
  while (!directory.empty() && directory.size() >= top.size()) {
    if (auto value = read(directory); value && (!result || *value < result->value))
      result = cgroup_limit{*value, directory, file};
    auto slash = directory.rfind('/');
    if (slash == std::string::npos)
      break;
    directory.resize(slash);
  }
  return result;
}

std::optional<cgroup_limit> smaller(std::optional<cgroup_limit> a, std::optional<cgroup_limit> b) {
  if (!a || (b && b->value < a->value))
    return b;
  return a;
}

/// The value of "NAME: value" or "NAME:\tvalue" in a text of lines.
std::string find_text(const std::string& text, const std::string& name) {
  std::istringstream lines{text};
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with(name + ":"))
      continue;
    auto begin = line.find_first_not_of(" \t", name.size() + 1);
    return begin == std::string::npos ? std::string{} : line.substr(begin);
  }
  return {};
}

std::string to_kind(const std::string& model) {
  std::string result;
  for (char c : model) {
    if (std::isalnum(static_cast<unsigned char>(c)) != 0)
      result += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    else if (!result.empty() && result.back() != '-')
      result += '-';
  }
  while (!result.empty() && result.back() == '-')
    result.pop_back();
  return result;
}

} // namespace

std::string machine_capacity::origin() const {
  return "cpu: " + cpu_origin + "; memory: " + memory_origin;
}

std::optional<cgroup_limit> find_cpu_limit(const cgroup_dirs& dirs) {
  auto version2 = smallest(dirs.unified, dirs.unified_top, "cpu.max", [](auto& dir) -> std::optional<double> {
    // "max 100000" or "QUOTA PERIOD".
    std::istringstream text{read_file(dir + "/cpu.max").value_or("")};
    double quota = 0.0;
    double period = 0.0;
    if (!(text >> quota >> period) || quota <= 0.0 || period <= 0.0)
      return std::nullopt;
    return quota / period;
  });
  auto version1 = smallest(dirs.cpu, dirs.cpu_top, "cpu.cfs_quota_us", [](auto& dir) -> std::optional<double> {
    auto quota = read_number(dir + "/cpu.cfs_quota_us");
    auto period = read_number(dir + "/cpu.cfs_period_us");
    if (!quota || !period || *quota == 0 || *period == 0)
      return std::nullopt;
    return static_cast<double>(*quota) / static_cast<double>(*period);
  });
  return smaller(version2, version1);
}

std::optional<cgroup_limit> find_memory_limit(const cgroup_dirs& dirs) {
  auto version2 = smallest(dirs.unified, dirs.unified_top, "memory.max", [](auto& dir) -> std::optional<double> {
    auto limit = read_number(dir + "/memory.max");
    return limit ? std::optional{static_cast<double>(*limit)} : std::nullopt;
  });
  auto version1 =
      smallest(dirs.memory, dirs.memory_top, "memory.limit_in_bytes", [](auto& dir) -> std::optional<double> {
        auto limit = read_number(dir + "/memory.limit_in_bytes");
        if (!limit || static_cast<double>(*limit) > memory_unlimited)
          return std::nullopt;
        return static_cast<double>(*limit);
      });
  return smaller(version2, version1);
}

std::uint32_t count_cores(const std::string& list) {
  std::uint32_t result = 0;
  std::istringstream ranges{list};
  for (std::string range; std::getline(ranges, range, ',');) {
    unsigned first = 0;
    unsigned last = 0;
    auto* end = range.data() + range.size();
    auto parsed = std::from_chars(range.data(), end, first);
    if (parsed.ec != std::errc{})
      return 0;
    last = first;
    if (parsed.ptr != end && *parsed.ptr == '-' && std::from_chars(parsed.ptr + 1, end, last).ec != std::errc{})
      return 0;
    if (last < first)
      return 0;
    result += last - first + 1;
  }
  return result;
}

machine_capacity detect_capacity(const std::string& root) {
  machine_capacity result;
  auto dirs = own_cgroup_dirs(root);

  auto hardware = count_cores(read_file(root + "/sys/devices/system/cpu/online").value_or(""));
  if (hardware == 0)
    hardware = static_cast<std::uint32_t>(std::max(1L, ::sysconf(_SC_NPROCESSORS_ONLN)));
  result.cpu_milli = hardware * 1000;
  result.cpu_origin = "hardware";
  auto allowed = count_cores(find_text(read_file(root + "/proc/self/status").value_or(""), "Cpus_allowed_list"));
  if (allowed != 0 && allowed < hardware) {
    result.cpu_milli = allowed * 1000;
    result.cpu_origin = "affinity (" + std::to_string(allowed) + " of " + std::to_string(hardware) + " cores)";
  }
  if (auto limit = find_cpu_limit(dirs); limit && limit->value * 1000.0 < result.cpu_milli) {
    // A quota below a thousandth of a core still is one.
    result.cpu_milli = static_cast<std::uint32_t>(std::max(1.0, std::floor(limit->value * 1000.0)));
    result.cpu_origin = limit->file + " of " + limit->directory;
  }

  auto total = find_number(read_file(root + "/proc/meminfo").value_or(""), "MemTotal");
  result.memory_bytes = total.value_or(0) * 1024;
  result.memory_origin = "hardware";
  if (auto limit = find_memory_limit(dirs);
      limit && (!total || limit->value < static_cast<double>(result.memory_bytes))) {
    result.memory_bytes = static_cast<std::uint64_t>(limit->value);
    result.memory_origin = limit->file + " of " + limit->directory;
  }
  return result;
}

std::vector<accelerator_options> detect_accelerators(const std::string& root) {
  auto cards = root + "/proc/driver/nvidia/gpus";
  std::map<std::string, std::uint32_t> counts;
  std::unique_ptr<DIR, int (*)(DIR*)> dir{::opendir(cards.c_str()), ::closedir};
  while (auto* entry = dir ? ::readdir(dir.get()) : nullptr) {
    auto text = read_file(cards + "/" + entry->d_name + "/information").value_or("");
    auto minor = find_text(text, "Device Minor");
    auto kind = to_kind(find_text(text, "Model"));
    // A container sees all cards of the host here, but may use only those whose device it was given.
    if (!kind.empty() && !minor.empty() && ::access((root + "/dev/nvidia" + minor).c_str(), F_OK) == 0)
      ++counts[kind];
  }
  std::vector<accelerator_options> result;
  for (auto& [kind, count] : counts) {
    accelerator_options card;
    card.kind = kind;
    card.count = count;
    result.push_back(std::move(card));
  }
  return result;
}

} // namespace astra
