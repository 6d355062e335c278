#include "runtime/sim/explore.hpp"

#include <caf/message.hpp>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cassert>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <new>
#include <stdexcept>
#include <utility>

namespace astra::sim {
namespace {

using steady = std::chrono::steady_clock;

/// What the workers and their parent share.
struct shared_state {
  std::atomic<std::uint64_t> next{0};
  std::atomic<bool> stop{false};
};

double cpu_seconds() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  auto seconds = [](const timeval& t) { return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) * 1e-6; };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

// -- records from a worker to its parent: length-prefixed, made of numbers and texts --------------------------------

class record_writer {
public:
  void number(std::uint64_t value) { bytes_.append(reinterpret_cast<const char*>(&value), sizeof value); }
  void text(std::string_view value) {
    number(value.size());
    bytes_.append(value);
  }
  void send(int fd) const {
    std::uint64_t size = bytes_.size();
    std::string all(reinterpret_cast<const char*>(&size), sizeof size);
    all += bytes_;
    for (std::size_t done = 0; done < all.size();) {
      auto n = ::write(fd, all.data() + done, all.size() - done);
      if (n < 0 && errno == EINTR)
        continue;
      if (n <= 0)
        ::_exit(3); // the parent is gone
      done += static_cast<std::size_t>(n);
    }
  }

private:
  std::string bytes_;
};

class record_reader {
public:
  explicit record_reader(std::string_view bytes) : bytes_(bytes) {}
  std::uint64_t number() {
    std::uint64_t value = 0;
    if (bytes_.size() < sizeof value)
      throw std::runtime_error{"a worker's record is cut off"};
    std::memcpy(&value, bytes_.data(), sizeof value);
    bytes_.remove_prefix(sizeof value);
    return value;
  }
  std::string text() {
    auto size = number();
    if (bytes_.size() < size)
      throw std::runtime_error{"a worker's record is cut off"};
    std::string value{bytes_.substr(0, size)};
    bytes_.remove_prefix(size);
    return value;
  }

private:
  std::string_view bytes_;
};

enum record_kind : std::uint64_t { seed_begins = 1, seed_ends, worker_ends };

struct one_run {
  run_result result;
  std::chrono::nanoseconds virtual_time{0};
};

one_run run_seed(const std::shared_ptr<const scenario>& what, std::uint64_t seed, fidelity how, coverage* reached) {
  world_options options;
  options.how = how;
  world* present = nullptr;
  if (reached)
    options.watch = [&](const event& seen) {
      if (present)
        reached->observe(seen, *present);
    };
  // The first events come while the world is being made: nothing happens then but faults that are announced.
  world run{what, seed, std::move(options)};
  present = &run;
  one_run result;
  result.result = run.run();
  result.virtual_time = run.now();
  return result;
}

std::uint64_t hash_in_other_process(const std::shared_ptr<const scenario>& what, std::uint64_t seed, fidelity how) {
  int ends[2];
  if (::pipe(ends) != 0)
    return 0;
  auto pid = ::fork();
  if (pid == 0) {
    auto hash = run_seed(what, seed, how, nullptr).result.trace_hash;
    [[maybe_unused]] auto n = ::write(ends[1], &hash, sizeof hash);
    ::_exit(0);
  }
  ::close(ends[1]);
  std::uint64_t hash = 0;
  if (::read(ends[0], &hash, sizeof hash) != static_cast<ssize_t>(sizeof hash))
    hash = 0;
  ::close(ends[0]);
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR)
    ;
  return hash;
}

void worker(const std::shared_ptr<const scenario>& what, const explore_options& options, shared_state& shared, int fd) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  coverage reached;
  while (!shared.stop) {
    auto place = shared.next.fetch_add(1);
    if (place >= options.count)
      break;
    auto seed = options.first + place;
    record_writer begins;
    begins.number(seed_begins);
    begins.number(seed);
    begins.send(fd);
    // In the other process first, before this one's heap has seen the seed.
    auto elsewhere = options.twice ? hash_in_other_process(what, seed, options.fidelity) : 0;
    coverage of_run;
    auto run = run_seed(what, seed, options.fidelity, &of_run);
    reached.merge(of_run);
    auto& result = run.result;
    if (options.twice && result.passed) {
      auto again = run_seed(what, seed, options.fidelity, nullptr).result.trace_hash;
      if (again != result.trace_hash || elsewhere != result.trace_hash) {
        result.passed = false;
        result.check = "determinism";
        auto place_of_difference = find_divergence(what, seed);
        result.failure =
            fmt::format("hashes {:016x}, {:016x} (again) and {:016x} (another process) differ{}", result.trace_hash,
                        again, elsewhere, place_of_difference ? "; first at " + *place_of_difference : "");
      }
    }
    record_writer ends;
    ends.number(seed_ends);
    ends.number(seed);
    ends.number(result.passed ? 1 : 0);
    ends.text(result.check);
    ends.text(result.failure);
    ends.number(static_cast<std::uint64_t>(result.at.count()));
    ends.number(result.trace_hash);
    ends.number(result.events);
    ends.number(result.steps);
    ends.number(static_cast<std::uint64_t>(run.virtual_time.count()));
    ends.send(fd);
  }
  record_writer last;
  last.number(worker_ends);
  last.number(static_cast<std::uint64_t>(cpu_seconds() * 1e6));
  auto counts = reached.entries();
  last.number(counts.size());
  for (auto& [name, times] : counts) {
    last.text(name);
    last.number(times);
  }
  last.send(fd);
}

struct worker_process {
  pid_t pid = -1;
  int fd = -1;
  /// What it wrote to stderr, unread.
  int complaints = -1;
  std::string unread;
  std::optional<std::uint64_t> seed;
  steady::time_point seed_began;
  bool finished = false;
};

std::string tail_of(int fd) {
  std::string text;
  auto size = ::lseek(fd, 0, SEEK_END);
  auto from = std::max<off_t>(0, size - 600);
  text.resize(static_cast<std::size_t>(size - from));
  auto n = ::pread(fd, text.data(), text.size(), from);
  text.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
  while (!text.empty() && (text.back() == '\n' || text.back() == ' '))
    text.pop_back();
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text;
}

} // namespace

std::optional<std::string> find_divergence(const std::shared_ptr<const scenario>& what, std::uint64_t seed) {
  std::vector<std::uint64_t> hashes;
  std::optional<std::string> difference;
  auto run = [&](auto see) {
    world_options options;
    world* present = nullptr;
    options.watch = [&](const event& seen) {
      if (present)
        see(*present, seen);
    };
    world one{what, seed, std::move(options)};
    present = &one;
    one.run();
  };
  run([&](world& one, const event&) { hashes.push_back(one.core().trace_hash()); });
  std::size_t place = 0;
  run([&](world& one, const event& seen) {
    auto same = place < hashes.size() && hashes[place] == one.core().trace_hash();
    ++place;
    if (same || difference)
      return;
    std::string types;
    if (seen.content)
      for (auto type : seen.content->types()) {
        auto name = caf::query_type_name(type);
        types += ' ' + std::string{name.data(), name.size()};
      }
    difference =
        fmt::format("event {} at {:.6f} s: {} {}{} {}", seen.number, std::chrono::duration<double>(seen.at).count(),
                    to_string(seen.kind),
                    seen.actor ? one.actor_name(seen.actor) : one.core().machine_name(seen.machine), types, seen.text);
  });
  if (!difference && place != hashes.size())
    difference = fmt::format("the end: one run has {} events, the other {}", hashes.size(), place);
  return difference;
}

explore_report explore(const std::shared_ptr<const scenario>& what, const explore_options& options,
                       const explore_progress& progress) {
  auto memory = ::mmap(nullptr, sizeof(shared_state), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED)
    throw std::runtime_error{"no memory to share with worker processes"};
  auto& shared = *new (memory) shared_state;
  explore_report report;
  auto began = steady::now();
  std::vector<worker_process> workers;

  auto start = [&] {
    worker_process added;
    int ends[2];
    if (::pipe(ends) != 0)
      throw std::runtime_error{"no pipe for a worker process"};
    auto file = std::tmpfile();
    added.complaints = file ? ::dup(::fileno(file)) : -1;
    if (file)
      std::fclose(file);
    added.pid = ::fork();
    if (added.pid < 0)
      throw std::runtime_error{"no worker process can be started"};
    if (added.pid == 0) {
      ::close(ends[0]);
      for (auto& other : workers)
        ::close(other.fd);
      if (added.complaints >= 0)
        ::dup2(added.complaints, STDERR_FILENO);
      worker(what, options, shared, ends[1]);
      ::_exit(0);
    }
    ::close(ends[1]);
    added.fd = ends[0];
    workers.push_back(std::move(added));
  };

  auto failed = [&](explore_failure failure) {
    report.failures.push_back(std::move(failure));
    if (options.first_failure)
      shared.stop = true;
  };

  auto on_record = [&](worker_process& from, std::string_view bytes) {
    record_reader read{bytes};
    switch (read.number()) {
    case seed_begins:
      from.seed = read.number();
      from.seed_began = steady::now();
      break;
    case seed_ends: {
      explore_failure failure;
      failure.seed = read.number();
      auto passed = read.number() != 0;
      failure.check = read.text();
      failure.what = read.text();
      failure.at = instant{static_cast<std::int64_t>(read.number())};
      auto hash = read.number();
      // Sums do not mind the order.
      report.hash += random_source{hash ^ failure.seed * 0x9e3779b97f4a7c15U}.next();
      report.events += read.number();
      report.steps += read.number();
      report.virtual_time += std::chrono::nanoseconds{static_cast<std::int64_t>(read.number())};
      ++report.seeds_run;
      from.seed.reset();
      if (!passed)
        failed(std::move(failure));
      break;
    }
    case worker_ends: {
      report.cpu_s += static_cast<double>(read.number()) * 1e-6;
      for (auto n = read.number(); n > 0; --n) {
        auto name = read.text();
        report.reached.add(name, read.number());
      }
      from.finished = true;
      break;
    }
    }
  };

  for (std::uint32_t i = 0; i < std::max(1U, options.jobs); ++i)
    start();
  auto told = began;
  while (!workers.empty()) {
    std::vector<pollfd> fds;
    for (auto& one : workers)
      fds.push_back({one.fd, POLLIN, 0});
    ::poll(fds.data(), fds.size(), 200);
    auto now = steady::now();
    for (std::size_t i = 0; i < workers.size();) {
      auto& one = workers[i];
      auto ended = false;
      if (i < fds.size() && fds[i].fd == one.fd && (fds[i].revents & (POLLIN | POLLHUP)) != 0) {
        char chunk[65536];
        auto n = ::read(one.fd, chunk, sizeof chunk);
        if (n > 0)
          one.unread.append(chunk, static_cast<std::size_t>(n));
        ended = n == 0;
        std::uint64_t size = 0;
        while (one.unread.size() >= sizeof size) {
          std::memcpy(&size, one.unread.data(), sizeof size);
          if (one.unread.size() < sizeof size + size)
            break;
          auto record = one.unread.substr(sizeof size, size);
          one.unread.erase(0, sizeof size + size);
          on_record(one, record);
        }
      }
      auto hangs = one.seed && now - one.seed_began > options.run_limit;
      if (hangs) {
        ::kill(one.pid, SIGKILL);
        ended = true;
      }
      if (!ended) {
        ++i;
        continue;
      }
      int status = 0;
      while (::waitpid(one.pid, &status, 0) < 0 && errno == EINTR)
        ;
      if (one.seed) {
        ++report.seeds_run;
        auto complaint = one.complaints >= 0 ? tail_of(one.complaints) : std::string{};
        failed({*one.seed, hangs ? "hang" : "crash",
                hangs ? fmt::format("the run took more than {} s", options.run_limit.count() / 1000)
                      : fmt::format("the process ended with {} {}: {}", WIFSIGNALED(status) ? "signal" : "status",
                                    WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status), complaint),
                instant{0}});
      }
      auto again = !one.finished && !shared.stop;
      ::close(one.fd);
      if (one.complaints >= 0)
        ::close(one.complaints);
      workers.erase(workers.begin() + static_cast<std::ptrdiff_t>(i));
      fds.erase(fds.begin() + static_cast<std::ptrdiff_t>(i));
      if (again)
        start();
    }
    report.wall_s = std::chrono::duration<double>(now - began).count();
    if (options.time_limit.count() > 0 && now - began >= options.time_limit)
      shared.stop = true;
    if (progress && now - told >= std::chrono::milliseconds{500}) {
      told = now;
      progress(report);
    }
  }
  std::sort(report.failures.begin(), report.failures.end(), [](auto& a, auto& b) { return a.seed < b.seed; });
  report.missed = report.reached.missing(what->sometimes);
  ::munmap(memory, sizeof(shared_state));
  return report;
}

} // namespace astra::sim
