#include "runtime/metrics/process_metrics.hpp"

#include "runtime/process/proc_files.hpp"

#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <sstream>
#include <system_error>

namespace astra {
namespace {

/// Soft limit of the line "Max open files            1024                 524288               files"; nothing for
/// "unlimited".
std::optional<std::uint64_t> max_open_files(const std::string& limits) {
  constexpr std::string_view title = "Max open files";
  auto at = limits.find(title);
  if (at == std::string::npos)
    return std::nullopt;
  std::istringstream rest{limits.substr(at + title.size())};
  std::uint64_t soft = 0;
  return rest >> soft ? std::optional{soft} : std::nullopt;
}

} // namespace

void add_process_metrics(metrics_text& out, const std::string& root) {
  auto proc = root + "/proc";
  auto own = proc + "/self";
  auto ticks_per_s = static_cast<double>(::sysconf(_SC_CLK_TCK));
  auto page_bytes = static_cast<std::int64_t>(::sysconf(_SC_PAGESIZE));
  auto gauge = [&](std::string_view name, std::string_view unit, std::string_view help, metric_value value) {
    out.describe(name, unit, metric_kind::gauge, help);
    out.add({}, value);
  };
  if (auto text = read_file(own + "/stat")) {
    if (auto stat = parse_process_stat(*text)) {
      out.describe("process_cpu", "seconds", metric_kind::counter, "User and system CPU time of this process.");
      out.add({}, static_cast<double>(stat->own_ticks) / ticks_per_s);
      gauge("process_resident_memory", "bytes", "Memory of this process that is in RAM.",
            static_cast<std::int64_t>(stat->resident_pages) * page_bytes);
      gauge("process_threads", "", "Threads of this process.", std::int64_t{stat->threads});
      auto boot = read_file(proc + "/stat");
      if (auto booted_at_s = boot ? find_number(*boot, "btime") : std::nullopt)
        gauge("process_start_time", "seconds", "When this process started, as seconds since 1970.",
              static_cast<double>(*booted_at_s) + static_cast<double>(stat->start_ticks) / ticks_per_s);
    }
  }
  if (auto text = read_file(own + "/statm")) {
    std::istringstream in{*text};
    if (std::int64_t pages = 0; in >> pages)
      gauge("process_virtual_memory", "bytes", "Address space of this process.", pages * page_bytes);
  }
  std::error_code error;
  std::int64_t open = 0;
  for (std::filesystem::directory_iterator entry{own + "/fd", error}, end; !error && entry != end;
       entry.increment(error))
    ++open;
  // The directory itself is open while it is read.
  if (!error)
    gauge("process_open_fds", "", "Open file descriptors of this process.", open - (root.empty() ? 1 : 0));
  if (auto text = read_file(own + "/limits"))
    if (auto most = max_open_files(*text))
      gauge("process_max_fds", "", "File descriptors that this process may have open.",
            static_cast<std::int64_t>(*most));
}

} // namespace astra
