#include "runtime/sim/snapshot.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <exception>
#include <optional>
#include <stdexcept>
#include <thread>
#include <utility>

namespace astra::sim {
namespace {

using json = nlohmann::json;
using steady = std::chrono::steady_clock;

std::string dump(const json& what) {
  return what.dump(-1, ' ', false, json::error_handler_t::replace);
}

json parse(std::string_view bytes) {
  auto result = json::parse(bytes, nullptr, false);
  if (result.is_discarded())
    throw std::runtime_error{"another process of the simulator sent what cannot be read"};
  return result;
}

bool write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    auto n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR)
      continue;
    if (n <= 0)
      return false;
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
  return true;
}

int wait_for(int pid) {
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0)
    if (errno != EINTR)
      return 0;
  return status;
}

/// The last lines of a file, as one.
std::string tail_of(int fd) {
  constexpr off_t most = 600;
  auto size = ::lseek(fd, 0, SEEK_END);
  std::string text(static_cast<std::size_t>(std::min(std::max<off_t>(size, 0), most)), '\0');
  auto n = ::pread(fd, text.data(), text.size(), std::max<off_t>(size - most, 0));
  text.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
  while (!text.empty() && (text.back() == '\n' || text.back() == ' '))
    text.pop_back();
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text;
}

struct apart {
  std::size_t index = 0;
  int pid = -1;
  int fd = -1;
  int complaints = -1;
  steady::time_point began;
  std::string bytes;
};

apart start_apart(std::size_t index, const std::function<std::string()>& work) {
  apart result;
  result.index = index;
  int ends[2];
  if (::pipe(ends) != 0)
    throw std::runtime_error{"no pipe for another process"};
  if (auto file = std::tmpfile()) {
    result.complaints = ::dup(::fileno(file));
    std::fclose(file);
  }
  result.began = steady::now();
  result.pid = ::fork();
  if (result.pid < 0) {
    ::close(ends[0]);
    ::close(ends[1]);
    throw std::runtime_error{"no other process can be started"};
  }
  if (result.pid == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    reset_signals();
    ::close(ends[0]);
    if (result.complaints >= 0)
      ::dup2(result.complaints, STDERR_FILENO);
    auto status = 0;
    try {
      // A byte in front tells the end of the work from the end of the process.
      status = write_all(ends[1], "+" + work()) ? 0 : 1;
    } catch (const std::exception& reason) {
      ::dprintf(STDERR_FILENO, "%s\n", reason.what());
      status = 1;
    }
    ::_exit(status);
  }
  ::close(ends[1]);
  result.fd = ends[0];
  return result;
}

apart_end end_apart(apart& one, bool hangs) {
  if (hangs)
    ::kill(one.pid, SIGKILL);
  auto status = wait_for(one.pid);
  apart_end result;
  if (hangs) {
    result.how = apart_end::way::hung;
    result.complaint = "the run took too long";
  } else if (WIFEXITED(status) && WEXITSTATUS(status) == 0 && !one.bytes.empty()) {
    result.how = apart_end::way::finished;
    result.bytes = one.bytes.substr(1);
  } else {
    result.complaint = fmt::format("the process ended with {} {}: {}", WIFSIGNALED(status) ? "signal" : "status",
                                   WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status),
                                   one.complaints >= 0 ? tail_of(one.complaints) : "");
  }
  ::close(one.fd);
  if (one.complaints >= 0)
    ::close(one.complaints);
  return result;
}

std::uint64_t branch_seed(std::uint64_t seed, std::uint64_t event, std::uint64_t number) {
  return draws{seed}.bits(draw_kind::swarm, event ^ (std::uint64_t{1} << 63), number);
}

} // namespace

void reset_signals() {
  for (auto signal : {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGINT, SIGTERM})
    ::signal(signal, SIG_DFL);
}

std::vector<apart_end> run_apart(const std::vector<std::function<std::string()>>& work, std::uint32_t jobs,
                                 std::chrono::milliseconds limit, const std::function<void(std::size_t)>& done) {
  std::vector<apart_end> result(work.size());
  std::vector<apart> running;
  std::size_t next = 0;
  while (next < work.size() || !running.empty()) {
    while (next < work.size() && running.size() < std::max(1U, jobs)) {
      running.push_back(start_apart(next, work[next]));
      ++next;
    }
    std::vector<pollfd> fds;
    for (auto& one : running)
      fds.push_back({one.fd, POLLIN, 0});
    ::poll(fds.data(), fds.size(), 100);
    auto now = steady::now();
    for (std::size_t i = running.size(); i-- > 0;) {
      auto& one = running[i];
      auto ended = false;
      if ((fds[i].revents & (POLLIN | POLLHUP)) != 0) {
        char chunk[65536];
        auto n = ::read(one.fd, chunk, sizeof chunk);
        if (n > 0)
          one.bytes.append(chunk, static_cast<std::size_t>(n));
        ended = n == 0;
      }
      auto hangs = !ended && now - one.began > limit;
      if (!ended && !hangs)
        continue;
      auto index = one.index;
      result[index] = end_apart(one, hangs);
      running.erase(running.begin() + static_cast<std::ptrdiff_t>(i));
      fds.erase(fds.begin() + static_cast<std::ptrdiff_t>(i));
      if (done)
        done(index);
    }
  }
  return result;
}

std::string encode_result(const run_result& what) {
  return dump(json{{"passed", what.passed},
                   {"check", what.check},
                   {"failure", what.failure},
                   {"at", what.at.count()},
                   {"failed_event", what.failed_event},
                   {"trace_hash", what.trace_hash},
                   {"events", what.events},
                   {"steps", what.steps}});
}

run_result decode_result(std::string_view bytes) {
  auto from = parse(bytes);
  run_result result;
  try {
    result.passed = from.at("passed").get<bool>();
    result.check = from.at("check").get<std::string>();
    result.failure = from.at("failure").get<std::string>();
    result.at = instant{from.at("at").get<std::int64_t>()};
    result.failed_event = from.at("failed_event").get<std::uint64_t>();
    result.trace_hash = from.at("trace_hash").get<std::uint64_t>();
    result.events = from.at("events").get<std::uint64_t>();
    result.steps = from.at("steps").get<std::uint64_t>();
  } catch (const json::exception& reason) {
    throw std::runtime_error{reason.what()};
  }
  return result;
}

run_result to_result(const apart_end& end) {
  if (end.how == apart_end::way::finished)
    return decode_result(end.bytes);
  run_result result;
  result.check = end.how == apart_end::way::hung ? "hang" : "crash";
  result.failure = end.complaint;
  return result;
}

run_result run_world_apart(const std::shared_ptr<const scenario>& what, std::uint64_t seed,
                           std::chrono::milliseconds limit) {
  auto work = [&] {
    world run{what, seed, {}};
    return encode_result(run.run());
  };
  return to_result(run_apart({work}, 1, limit).front());
}

branch_report branch(world& from, const branch_options& options) {
  auto seed = from.core().options().seed;
  auto event = from.core().events();
  std::vector<std::function<std::string()>> work;
  for (std::uint64_t i = 0; i < options.branches; ++i)
    work.emplace_back([&from, seed, event, i] {
      from.reseed(branch_seed(seed, event, i));
      return encode_result(from.run());
    });
  branch_report report;
  for (auto& end : run_apart(work, options.jobs, options.run_limit)) {
    auto result = to_result(end);
    ++report.branches;
    if (result.passed)
      continue;
    ++report.failed;
    ++report.by_check[result.check];
    if (report.failed == 1 || result.at < report.first.at)
      report.first = result;
  }
  return report;
}

timeline_report timeline(const std::shared_ptr<const scenario>& what, std::uint64_t seed, std::uint32_t points,
                         const branch_options& options, const std::function<void(const timeline_point&)>& progress) {
  timeline_report report;
  points = std::max(1U, points);
  auto to_json = [](const timeline_point& point) {
    return json{{"at", point.at.count()}, {"branches", point.branches}, {"failed", point.failed}};
  };
  auto measure = [&]() -> std::string {
    auto run = run_world_apart(what, seed, options.run_limit);
    auto list = json::array();
    world path{what, seed, {}};
    // The moment just before the failure is the last one.
    auto last = std::max<std::int64_t>((run.passed ? path.end() : run.at).count() - 1, 0);
    for (std::uint32_t i = 1; i <= points; ++i) {
      path.run_until(instant{last / points * i + last % points * i / points});
      auto futures = branch(path, options);
      timeline_point point;
      point.at = path.now();
      point.branches = futures.branches;
      point.failed = run.passed ? futures.failed : futures.by_check[run.check];
      if (progress)
        progress(point);
      list.push_back(to_json(point));
    }
    return dump(json{{"run", encode_result(run)}, {"points", std::move(list)}});
  };
  // In a thread of a process of its own: there is one engine per thread, and this one's caller may have one already.
  auto work = [&] {
    std::string bytes;
    std::exception_ptr problem;
    std::thread apart{[&] {
      try {
        bytes = measure();
      } catch (...) {
        problem = std::current_exception();
      }
    }};
    apart.join();
    if (problem)
      std::rethrow_exception(problem);
    return bytes;
  };
  auto runs = static_cast<std::int64_t>(points) * static_cast<std::int64_t>(options.branches) + 2;
  auto end = run_apart({work}, 1, options.run_limit * runs).front();
  if (end.how != apart_end::way::finished)
    throw std::runtime_error{end.complaint};
  auto from = parse(end.bytes);
  report.run = decode_result(from.at("run").get<std::string>());
  for (auto& point : from.at("points"))
    report.points.push_back({instant{point.at("at").get<std::int64_t>()}, point.at("branches").get<std::uint64_t>(),
                             point.at("failed").get<std::uint64_t>()});
  return report;
}

std::string to_text(const timeline_report& what) {
  auto seconds = [](instant at) { return std::chrono::duration<double>(at).count(); };
  std::optional<std::size_t> steepest;
  auto rise = 0.0;
  auto before = 0.0;
  for (std::size_t i = 0; i < what.points.size(); ++i) {
    if (auto more = what.points[i].probability() - before; more > rise) {
      rise = more;
      steepest = i;
    }
    before = what.points[i].probability();
  }
  std::string result;
  if (what.run.passed)
    result += fmt::format("The run passes; share of futures that fail at all:\n");
  else
    result +=
        fmt::format("The run fails {} at {:.3f}s; share of futures that do:\n", what.run.check, seconds(what.run.at));
  for (std::size_t i = 0; i < what.points.size(); ++i) {
    auto& point = what.points[i];
    auto share = point.probability();
    auto line = fmt::format("{:>10.3f}s  {:.2f}  {:<40}{}", seconds(point.at), share,
                            std::string(static_cast<std::size_t>(share * 40.0 + 0.5), '#'),
                            steepest == i ? "  <- the largest rise" : "");
    line.erase(line.find_last_not_of(' ') + 1);
    result += line + '\n';
  }
  return result;
}

// -- words between processes ----------------------------------------------------------------------------------------

bool send_message(int socket, std::string_view bytes, int attached) {
  std::uint64_t size = bytes.size();
  iovec part{&size, sizeof size};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))]{};
  if (attached >= 0) {
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    auto header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(header), &attached, sizeof attached);
  }
  ssize_t n = 0;
  while ((n = ::sendmsg(socket, &message, MSG_NOSIGNAL)) < 0 && errno == EINTR)
    ;
  if (n != static_cast<ssize_t>(sizeof size))
    return false;
  while (!bytes.empty()) {
    n = ::send(socket, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR)
      continue;
    if (n <= 0)
      return false;
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
  return true;
}

bool receive_message(int socket, std::string& bytes, int* attached) {
  std::uint64_t size = 0;
  iovec part{&size, sizeof size};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))]{};
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  ssize_t n = 0;
  while ((n = ::recvmsg(socket, &message, MSG_WAITALL)) < 0 && errno == EINTR)
    ;
  if (n != static_cast<ssize_t>(sizeof size))
    return false;
  for (auto header = CMSG_FIRSTHDR(&message); header; header = CMSG_NXTHDR(&message, header))
    if (header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(header), sizeof fd);
      if (attached)
        *attached = fd;
      else
        ::close(fd);
    }
  bytes.resize(size);
  for (std::size_t got = 0; got < size;) {
    n = ::recv(socket, bytes.data() + got, size - got, 0);
    if (n < 0 && errno == EINTR)
      continue;
    if (n <= 0)
      return false;
    got += static_cast<std::size_t>(n);
  }
  return true;
}

// -- snapshots ------------------------------------------------------------------------------------------------------

bool snapshot_ring::take(instant at, std::uint64_t events, int front,
                         const std::function<void(const std::string&, int)>& resume) {
  while (entries_.size() >= std::max<std::size_t>(capacity_, 2)) {
    end(entries_[1]);
    entries_.erase(entries_.begin() + 1);
  }
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
    return false;
  auto pid = ::fork();
  if (pid < 0) {
    ::close(ends[0]);
    ::close(ends[1]);
    return false;
  }
  entries_.push_back({pid, ends[0], at, events});
  if (pid > 0) {
    ::close(ends[1]);
    return true;
  }
  entries_.back().pid = ::getpid();
  ::close(front);
  for (;;) {
    std::string words;
    int given = -1;
    if (!receive_message(ends[1], words, &given) || given < 0)
      ::_exit(0);
    // Those that went on from here before and have ended since.
    while (::waitpid(-1, nullptr, WNOHANG) > 0)
      ;
    if (::fork() == 0) {
      ::close(ends[1]);
      resume(words, given);
      ::_exit(1);
    }
    ::close(given);
  }
}

const snapshot_ring::entry* snapshot_ring::latest(const std::function<bool(const entry&)>& fits) const {
  for (auto i = entries_.size(); i-- > 0;)
    if (fits(entries_[i]))
      return &entries_[i];
  return nullptr;
}

void snapshot_ring::go_back(const entry& where, int front, std::string_view words) {
  auto place = static_cast<std::size_t>(&where - entries_.data());
  assert(place < entries_.size());
  // The later ones first: nobody but this process knows them.
  for (auto i = entries_.size(); --i > place;) {
    end(entries_[i]);
    entries_.pop_back();
  }
  if (send_message(entries_[place].socket, words, front))
    ::_exit(0);
  end(entries_[place]);
  entries_.pop_back();
}

void snapshot_ring::clear() {
  for (auto& one : entries_)
    end(one);
  entries_.clear();
}

void snapshot_ring::end(const entry& which) {
  // Words without a front.
  send_message(which.socket, {});
  ::close(which.socket);
  // It is this process's child, or an older one's, whose children are somebody else's to wait for.
  ::waitpid(which.pid, nullptr, 0);
}

} // namespace astra::sim
