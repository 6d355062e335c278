#include "runtime/process/proc_files.hpp"

#include "runtime/process/unique_fd.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <map>
#include <memory>
#include <set>

namespace astra {
namespace {

/// Cuts the next field off; fields are separated by one or more of `separators`.
std::string_view cut(std::string_view& text, std::string_view separators) {
  text.remove_prefix(std::min(text.find_first_not_of(separators), text.size()));
  auto field = text.substr(0, text.find_first_of(separators));
  text.remove_prefix(field.size());
  return field;
}

std::optional<std::uint64_t> to_number(std::string_view text) {
  std::uint64_t value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end == text.data())
    return std::nullopt;
  return value;
}

bool lists(std::string_view comma_separated, std::string_view name) {
  while (!comma_separated.empty())
    if (cut(comma_separated, ",") == name)
      return true;
  return false;
}

/// mountinfo writes blanks, tabs, newlines and backslashes as three octal digits.
std::string unescape(std::string_view text) {
  std::string result;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size()) {
      result += static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + (text[i + 3] - '0'));
      i += 3;
    } else {
      result += text[i];
    }
  }
  return result;
}

} // namespace

std::optional<std::string> read_file(const std::string& path) {
  unique_fd file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (!file)
    return std::nullopt;
  std::string text;
  char buffer[8192];
  for (;;) {
    auto count = ::read(file.get(), buffer, sizeof buffer);
    if (count == 0)
      return text;
    if (count < 0 && errno != EINTR)
      return std::nullopt;
    if (count > 0)
      text.append(buffer, static_cast<std::size_t>(count));
  }
}

int write_file(const std::string& path, std::string_view text) {
  unique_fd file{::open(path.c_str(), O_WRONLY | O_CLOEXEC)};
  if (!file)
    return errno;
  return ::write(file.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size()) ? 0 : errno;
}

std::optional<std::uint64_t> read_number(const std::string& path) {
  auto text = read_file(path);
  return text ? to_number(*text) : std::nullopt;
}

std::optional<std::uint64_t> find_number(std::string_view text, std::string_view key) {
  while (!text.empty()) {
    auto line = cut(text, "\n");
    auto name = cut(line, " :\t");
    if (name == key)
      return to_number(cut(line, " :\t"));
  }
  return std::nullopt;
}

std::optional<process_stat> parse_process_stat(std::string_view line) {
  // The name in parentheses may hold blanks and parentheses itself.
  auto name_end = line.rfind(')');
  auto pid = to_number(line);
  if (!pid || name_end == std::string_view::npos)
    return std::nullopt;
  auto rest = line.substr(name_end + 1);
  // Fields from number 3 (state) on, numbered as in proc(5).
  std::string_view fields[25];
  for (std::size_t i = 3; i < std::size(fields); ++i)
    fields[i] = cut(rest, " \n");
  auto number = [&](std::size_t i) { return to_number(fields[i]).value_or(0); };
  if (fields[24].empty() || fields[3].empty())
    return std::nullopt;
  process_stat result;
  result.pid = static_cast<pid_t>(*pid);
  result.state = fields[3].front();
  result.parent = static_cast<pid_t>(number(4));
  result.session = static_cast<pid_t>(number(6));
  result.own_ticks = number(14) + number(15);
  result.children_ticks = number(16) + number(17);
  result.threads = static_cast<std::uint32_t>(number(20));
  result.start_ticks = number(22);
  result.resident_pages = number(24);
  return result;
}

std::optional<process_stat> read_process_stat(const std::string& proc, pid_t pid) {
  auto line = read_file(proc + "/" + std::to_string(pid) + "/stat");
  return line ? parse_process_stat(*line) : std::nullopt;
}

std::vector<process_stat> scan_processes(const std::string& proc) {
  std::vector<process_stat> result;
  std::unique_ptr<DIR, int (*)(DIR*)> dir{::opendir(proc.c_str()), ::closedir};
  if (!dir)
    return result;
  while (auto* entry = ::readdir(dir.get())) {
    auto pid = to_number(entry->d_name);
    if (!pid)
      continue;
    if (auto stat = read_process_stat(proc, static_cast<pid_t>(*pid)))
      result.push_back(*stat);
  }
  std::sort(result.begin(), result.end(), [](auto& a, auto& b) { return a.pid < b.pid; });
  return result;
}

std::optional<std::vector<pid_t>> read_children(const std::string& proc, const process_stat& parent) {
  auto name = std::to_string(parent.pid);
  auto tasks = proc + "/" + name + "/task/";
  std::vector<pid_t> result;
  auto add = [&](const std::string& thread) {
    auto text = read_file(tasks + thread + "/children");
    if (!text)
      return false;
    for (std::string_view rest = *text; !rest.empty();)
      if (auto pid = to_number(cut(rest, " \n")))
        result.push_back(static_cast<pid_t>(*pid));
    return true;
  };
  if (parent.threads <= 1)
    return add(name) ? std::optional{result} : std::nullopt;
  std::unique_ptr<DIR, int (*)(DIR*)> dir{::opendir(tasks.c_str()), ::closedir};
  bool told = false;
  while (auto* entry = dir ? ::readdir(dir.get()) : nullptr)
    if (entry->d_name[0] != '.')
      told = add(entry->d_name) || told;
  return told ? std::optional{result} : std::nullopt;
}

std::vector<process_stat> scan_descendants(const std::string& proc, const process_stat& first) {
  std::vector<process_stat> result;
  std::set<pid_t> seen{first.pid};
  if (auto children = read_children(proc, first)) {
    auto add = [&](const std::vector<pid_t>& pids) {
      for (auto pid : pids)
        if (seen.insert(pid).second)
          if (auto stat = read_process_stat(proc, pid))
            result.push_back(*stat);
    };
    add(*children);
    for (std::size_t i = 0; i < result.size(); ++i)
      // Copied: `result` grows.
      if (auto stat = result[i]; !stat.ended())
        add(read_children(proc, stat).value_or(std::vector<pid_t>{}));
    return result;
  }
  // Kernels without these files: the whole machine has to be looked at.
  std::multimap<pid_t, process_stat> all;
  for (auto& process : scan_processes(proc))
    all.emplace(process.parent, process);
  auto add = [&](pid_t parent) {
    auto [begin, end] = all.equal_range(parent);
    for (auto child = begin; child != end; ++child)
      if (seen.insert(child->second.pid).second)
        result.push_back(child->second);
  };
  add(first.pid);
  for (std::size_t i = 0; i < result.size(); ++i)
    add(result[i].pid);
  return result;
}

std::optional<std::string> find_variable(std::string_view block, std::string_view name) {
  while (!block.empty()) {
    auto entry = block.substr(0, block.find('\0'));
    block.remove_prefix(std::min(entry.size() + 1, block.size()));
    if (entry.size() > name.size() && entry.starts_with(name) && entry[name.size()] == '=')
      return std::string{entry.substr(name.size() + 1)};
  }
  return std::nullopt;
}

std::vector<pid_t> parse_pids(std::string_view text) {
  std::vector<pid_t> result;
  while (!text.empty())
    if (auto pid = to_number(cut(text, "\n")); pid && *pid != 0)
      result.push_back(static_cast<pid_t>(*pid));
  return result;
}

cgroup_dirs parse_cgroup_dirs(std::string_view groups, std::string_view mounts, const std::string& root) {
  std::string unified_group, memory_group, cpu_group, cpuacct_group;
  while (!groups.empty()) {
    // number:controllers:path
    auto line = cut(groups, "\n");
    auto first = line.find(':');
    auto second = first == std::string_view::npos ? first : line.find(':', first + 1);
    if (second == std::string_view::npos)
      continue;
    auto controllers = line.substr(first + 1, second - first - 1);
    std::string path{line.substr(second + 1)};
    if (controllers.empty())
      unified_group = path;
    if (lists(controllers, "memory"))
      memory_group = path;
    if (lists(controllers, "cpu"))
      cpu_group = path;
    if (lists(controllers, "cpuacct"))
      cpuacct_group = path;
  }
  cgroup_dirs result;
  auto fill = [&](const std::string& group, const std::string& mount_root, const std::string& mount_point,
                  std::string* dir, std::string* top) {
    if (group.empty() || !dir->empty())
      return;
    // In a container the mount shows a part of the hierarchy; without a namespace of its own, the group's path is
    // still that of the host.
    auto path = group;
    if (mount_root != "/" && path.starts_with(mount_root))
      path = path.substr(mount_root.size());
    if (path == "/" || path.starts_with("/.."))
      path.clear();
    *dir = root + mount_point + path;
    if (top != nullptr)
      *top = root + mount_point;
  };
  while (!mounts.empty()) {
    // id parent device root point options [optional...] - type source super-options
    auto line = cut(mounts, "\n");
    auto dash = line.find(" - ");
    if (dash == std::string_view::npos)
      continue;
    auto tail = line.substr(dash + 3);
    for (int i = 0; i < 3; ++i)
      cut(line, " ");
    auto mount_root = unescape(cut(line, " "));
    auto mount_point = unescape(cut(line, " "));
    auto type = cut(tail, " ");
    cut(tail, " ");
    auto options = cut(tail, " ");
    if (type == "cgroup2")
      fill(unified_group, mount_root, mount_point, &result.unified, &result.unified_top);
    if (type != "cgroup")
      continue;
    if (lists(options, "memory"))
      fill(memory_group, mount_root, mount_point, &result.memory, &result.memory_top);
    if (lists(options, "cpu"))
      fill(cpu_group, mount_root, mount_point, &result.cpu, &result.cpu_top);
    if (lists(options, "cpuacct"))
      fill(cpuacct_group, mount_root, mount_point, &result.cpuacct, nullptr);
  }
  return result;
}

cgroup_dirs own_cgroup_dirs(const std::string& root) {
  return parse_cgroup_dirs(read_file(root + "/proc/self/cgroup").value_or(""),
                           read_file(root + "/proc/self/mountinfo").value_or(""), root);
}

} // namespace astra
