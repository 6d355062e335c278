// How long until every node has a content, against what the links allow: `perf_swarm --nodes 8 --mib 64 --mbit 20`.
//
// Each node is a libtorrent engine in a network namespace of its own, joined to the others by a bridge; what it sends
// goes through a queue that holds its rate down.  One of them has the content.  A swarm_table decides who talks to whom
// and who asks for what first, and hears of each node every --report-ms, as it would over an actor network.
//
// The bound is max(F / u_s, F / d, n F / (u_s + sum u_i)) (Kurose and Ross) for a content of F bytes, with the links'
// raw bit rates: headers of Ethernet, IP and TCP alone are 5 % of them, acknowledgements 2 % more.
//
//   --plan rarest             no stripes: libtorrent's own order
//   --plan shuffled           each node asks in a random order of its own
//   --kill-seeder-at 1.05     the seeder ends when it has sent so much of F
//   --kill-node-every 5       every 5 s a node's engine ends and is made anew, after --down-ms, from its resume data
//   --limit-from 8 --limit-to 2   a limit over all nodes, in MB/s, lowered after --limit-after seconds
//   --tool nginx              the same bytes from nginx to one curl per node
//   --tool aria2              the same bytes by aria2 at every node, with an HTTP tracker; its egress is not counted
//
// libtorrent counts payload once per second: of what ends in the middle the last second is not in the sums, and the
// seeder ends up to a second late.
//
// At the end every node's bytes are compared with the source's.  Needs root and iproute2.  Namespaces, links and files
// have no names outside of the process and end with it, however it ends; where memory is short files go to the
// temporary directory, and stay there after a SIGKILL.  Exit code 1 when somebody did not finish or has wrong bytes.

#include "p2p/libtorrent_engine.hpp"
#include "p2p/limits.hpp"
#include "p2p/swarm_table.hpp"
#include "p2p/version.hpp"
#include "test/p2p/files.hpp"
#include "test/perf/shaped_network.hpp"

#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/utsname.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <numeric>
#include <random>
#include <set>
#include <sstream>
#include <thread>

using namespace astra;
using namespace astra::p2p;
using namespace std::chrono_literals;
namespace fs = std::filesystem;
using steady = std::chrono::steady_clock;

namespace {

constexpr double mib = 1 << 20U;

struct arguments {
  std::size_t nodes = 8;
  std::uint64_t mib = 64;
  double mbit = 20.0;
  double seeder_mbit = 0.0;
  double in_mbit = 0.0;
  unsigned runs = 3;
  std::string plan = "stripes";
  unsigned report_ms = 1000;
  double kill_seeder_at = 0.0;
  double kill_node_every = 0.0;
  unsigned down_ms = 1000;
  double limit_from = 0.0;
  double limit_to = 0.0;
  double limit_after = 8.0;
  std::string tool = "astra";
  std::uint64_t seed = 1;

  double seeder_out() const { return seeder_mbit > 0.0 ? seeder_mbit : mbit; }
};

volatile std::sig_atomic_t interrupted = 0;

void wait_for(std::chrono::milliseconds time) {
  std::this_thread::sleep_for(time);
  if (interrupted != 0)
    throw std::runtime_error{"interrupted"};
}

double seconds(steady::duration time) {
  return std::chrono::duration<double>(time).count();
}

/// The smallest value that at least this share of them does not exceed.
double at_share(std::vector<double> values, double share) {
  if (values.empty())
    return 0.0;
  std::ranges::sort(values);
  auto rank = static_cast<std::size_t>(std::ceil(share * static_cast<double>(values.size())));
  return values[std::clamp<std::size_t>(rank, 1, values.size()) - 1];
}

/// The value of a line such as "MemAvailable:  123 kB".
std::string from_file(const char* path, std::string_view key) {
  std::ifstream in{path};
  for (std::string line; std::getline(in, line);)
    if (line.starts_with(key)) {
      auto value = line.find_first_not_of(" \t:", key.size());
      return value == std::string::npos ? "" : line.substr(value);
    }
  return "";
}

/// Where the files lie: memory that nobody else sees, where there is enough.
class workspace {
public:
  explicit workspace(std::uint64_t bytes) {
    auto free = std::strtoull(from_file("/proc/meminfo", "MemAvailable").c_str(), nullptr, 10) * 1024;
    auto size = fmt::format("size={}", bytes + (64U << 20U));
    if (free > bytes + (2ULL << 30U) && ::unshare(CLONE_NEWNS) == 0
        && ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0
        && ::mount("tmpfs", "/dev/shm", "tmpfs", 0, size.c_str()) == 0)
      path_ = "/dev/shm";
    else
      path_ = on_disk_.emplace().path();
  }

  const fs::path& path() const { return path_; }
  bool in_memory() const { return !on_disk_; }

private:
  std::optional<temporary_directory> on_disk_;
  fs::path path_;
};

/// A tree of random bytes, where a seeder serves it.
content make_source(const fs::path& place, std::uint64_t bytes, std::uint64_t seed) {
  auto tree = place / "tree";
  fs::create_directories(tree);
  write_file(tree / "config.json", fmt::format("{{\"seed\": {}}}", seed));
  for (auto [name, size] : {std::pair{"weights-1.bin", bytes - bytes / 4}, std::pair{"weights-2.bin", bytes / 4}}) {
    std::ofstream out{tree / name, std::ios::binary};
    for (std::uint64_t done = 0; done < size && out; done += 1U << 20U)
      out << random_bytes(static_cast<std::size_t>(std::min<std::uint64_t>(size - done, 1U << 20U)),
                          ++seed * 1000 + done);
    if (!out.flush())
      throw std::runtime_error{"the source cannot be written"};
  }
  auto made = make_content(tree);
  if (!made)
    throw std::runtime_error{made.problem().text};
  fs::rename(tree, place / made->name);
  return *made;
}

bool same_bytes(const fs::path& a, const fs::path& b) {
  std::ifstream one{a, std::ios::binary};
  std::ifstream other{b, std::ios::binary};
  std::vector<char> left(1U << 20U);
  std::vector<char> right(left.size());
  while (one && other) {
    one.read(left.data(), static_cast<std::streamsize>(left.size()));
    other.read(right.data(), static_cast<std::streamsize>(right.size()));
    if (one.gcount() != other.gcount()
        || std::memcmp(left.data(), right.data(), static_cast<std::size_t>(one.gcount())) != 0)
      return false;
  }
  return one.eof() && other.eof();
}

/// What a machine and this process did in a time.
class cpu_meter {
public:
  cpu_meter() : busy_(machine()), own_(process()) {}

  double own() const { return process() - own_; }
  double all() const { return machine() - busy_; }

private:
  static double process() {
    double result = 0.0;
    for (auto who : {RUSAGE_SELF, RUSAGE_CHILDREN}) {
      rusage used{};
      ::getrusage(who, &used);
      for (auto& time : {used.ru_utime, used.ru_stime})
        result += static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
    }
    return result;
  }
  static double machine() {
    std::istringstream in{from_file("/proc/stat", "cpu ")};
    double result = 0.0;
    double ticks = 0.0;
    // User, nice, system, idle, waiting for a disk, interrupts, soft interrupts, stolen.
    for (auto column = 0; column < 8 && in >> ticks; ++column)
      result += column == 3 || column == 4 ? 0.0 : ticks;
    return result / static_cast<double>(::sysconf(_SC_CLK_TCK));
  }

  double busy_;
  double own_;
};

/// A node: what an agent would do with its engine, and what it would tell the tracker.
class participant {
public:
  participant(const perf::shaped_network& network, std::size_t number, const arguments& given, const fs::path& place,
              std::shared_ptr<const content> what)
    : network_(network), number_(number), rate_((number == 0 ? given.seeder_out() : given.mbit) * 125'000.0),
      obeys_stripes_(given.plan == "stripes"), shuffles_(given.plan == "shuffled"), place_(place),
      what_(std::move(what)), limit_(limit_floor), report_ms_(given.report_ms) {}

  /// Takes connections, with nothing to exchange.
  void start() {
    libtorrent_options options;
    options.listen_address = perf::shaped_network::address(number_);
    // Never the same twice: another life has none of the former one's connections.
    options.listen_port = next_port++;
    engine_ = network_.on(number_, [&] { return make_libtorrent_engine(options); });
    where_.reset();
    ++lives_;
  }

  void serve() {
    finished_ = steady::now();
    add();
  }
  void fetch() { add(); }

  /// As a process ends that is killed, but for the sockets.
  void kill() {
    // What it has moved so far; nothing may have changed since it was asked last.
    engine_->request_progress();
    auto before = last_progress_;
    for (auto end = steady::now() + 200ms; last_progress_ == before && steady::now() < end; wait_for(5ms))
      drain();
    engine_.reset();
    past_downloaded_ += std::exchange(newest_.downloaded_bytes, 0);
    past_uploaded_ += std::exchange(newest_.uploaded_bytes, 0);
    past_wasted_ += std::exchange(newest_.wasted_bytes, 0);
    known_ = checked_ = false;
    allowed_.clear();
    preferred_.reset();
    dialled_.clear();
    in_force_ = 0;
  }

  void drain() {
    if (!engine_)
      return;
    for (auto& event : engine_->drain())
      std::visit([this](auto& what) { on(what); }, event);
  }

  swarm_table::report report() {
    swarm_table::report result;
    result.where = where_.value();
    result.at = {"zone", "rack", ""};
    result.uplink = rate_ > 0.0 ? rate_ : 1.0;
    auto sent = uploaded() - std::exchange(reported_uploaded_, uploaded());
    demand_.look(sent * 1000 / report_ms_, limit_.granted(steady::now()));
    result.upload = {demand_.wanted(rate_ > 0.0 ? static_cast<std::uint64_t>(rate_) : 1'000'000'000U), limit_floor};
    if (known_)
      result.holdings = {{what_->address, have_, !finished_, false, false, {dialled_.begin(), dialled_.end()}}};
    return result;
  }

  void obey(const swarm_table::answer& answer, steady::time_point now) {
    if (answer.allowed != allowed_)
      engine_->set_peers(allowed_ = answer.allowed);
    for (auto& errand : answer.errands) {
      std::vector<peer_endpoint> peers;
      for (auto& [other, where] : errand.connect) {
        peers.push_back(where);
        dialled_.insert(other);
      }
      if (!peers.empty())
        engine_->inject(what_->address, peers);
      if (obeys_stripes_ && errand.preferred != preferred_)
        engine_->prefer(what_->address, preferred_ = errand.preferred);
    }
    if (answer.upload)
      limit_.grant(answer.upload->first, now + answer.upload->second);
    if (auto share = limit_.value(now); answer.upload && share != in_force_)
      engine_->set_limits({in_force_ = share, 0});
  }

  void ask(bool resume) {
    engine_->request_progress();
    if (resume && !finished_)
      engine_->request_resume(what_->address);
  }

  bool right() const {
    return std::ranges::all_of(what_->files, [&](auto& file) {
      auto path = fs::path{what_->name} / file.path;
      return same_bytes(place_ / path, place_.parent_path() / "0" / path);
    });
  }

  bool lives() const { return engine_ != nullptr; }
  bool listens() const { return where_.has_value(); }
  const std::vector<bool>& have() const { return have_; }
  std::optional<steady::time_point> finished() const { return finished_; }
  std::optional<steady::time_point> first_piece() const { return first_piece_; }
  steady::time_point newest_piece() const { return newest_piece_; }
  std::uint64_t downloaded() const { return past_downloaded_ + newest_.downloaded_bytes; }
  std::uint64_t uploaded() const { return past_uploaded_ + newest_.uploaded_bytes; }
  std::uint64_t wasted() const { return past_wasted_ + newest_.wasted_bytes; }
  std::uint64_t refused() const { return refused_; }
  const std::vector<std::string>& failures() const { return failures_; }

  steady::time_point next_report;
  steady::time_point next_life;

private:
  static constexpr std::uint64_t limit_floor = 16 * 1024;
  static inline std::uint16_t next_port = 7000;

  void add() {
    add_request request;
    request.what = what_;
    request.place = place_;
    request.complete = finished_.has_value();
    request.resume = resume_;
    if (shuffles_)
      request.shuffled_by = number_;
    // Nothing is there, or everything, or it takes a look at the disk to know.
    known_ = finished_ || lives_ == 1;
    if (known_)
      have_.assign(what_->piece_hashes.size(), finished_.has_value());
    engine_->add(std::move(request));
  }

  void on(event::listening& what) { where_ = what.where; }
  void on(event::mapped&) {}
  void on(event::engine_failed& what) { failures_.push_back(what.problem.text); }
  void on(event::checked&) {
    checked_ = true;
    engine_->request_progress();
  }
  void on(event::blocks_written&) {}
  void on(event::piece_finished& what) {
    newest_piece_ = steady::now();
    if (!first_piece_)
      first_piece_ = newest_piece_;
    if (what.piece < have_.size())
      have_[what.piece] = true;
  }
  void on(event::piece_rejected& what) {
    failures_.push_back(fmt::format("piece {} came with a wrong hash", what.piece));
  }
  void on(event::content_finished&) {
    if (!finished_)
      finished_ = steady::now();
    have_.assign(what_->piece_hashes.size(), true);
  }
  void on(event::damaged&) { failures_.emplace_back("what it had was damaged"); }
  void on(event::progress& what) {
    newest_ = what;
    last_progress_ = steady::now();
    if (finished_)
      return;
    have_ = what.have;
    known_ = known_ || checked_;
    if (known_ && std::ranges::all_of(have_, std::identity{}))
      finished_ = last_progress_;
  }
  void on(event::failed& what) { failures_.push_back(what.problem.text); }
  void on(event::resume_ready& what) {
    if (!what.data.empty())
      resume_ = std::move(what.data);
  }
  void on(event::removed&) {}
  void on(event::peer_refused&) { ++refused_; }
  void on(event::peer_banned& what) { failures_.push_back(to_string(what.who) + " was banned"); }
  void on(event::peer_left& what) {
    if (auto other = perf::shaped_network::machine(what.who.address))
      dialled_.erase(*other);
  }
  void on(event::events_lost&) { failures_.emplace_back("events were lost"); }

  const perf::shaped_network& network_;
  std::size_t number_;
  double rate_;
  bool obeys_stripes_;
  bool shuffles_;
  fs::path place_;
  std::shared_ptr<const content> what_;
  leased_limit limit_;
  unsigned report_ms_;
  upload_demand demand_;
  std::uint64_t reported_uploaded_ = 0;
  std::uint64_t in_force_ = 0;
  std::unique_ptr<engine> engine_;
  unsigned lives_ = 0;
  std::optional<peer_endpoint> where_;
  std::vector<peer_endpoint> allowed_;
  std::optional<stripe> preferred_;
  /// Whom it was told to connect to and has not lost since.
  std::set<swarm_table::member> dialled_;
  std::vector<bool> have_;
  /// What it has: not so while an engine looks.
  bool known_ = false;
  bool checked_ = false;
  std::vector<char> resume_;
  std::optional<steady::time_point> finished_;
  std::optional<steady::time_point> first_piece_;
  steady::time_point newest_piece_;
  steady::time_point last_progress_;
  event::progress newest_;
  std::uint64_t past_downloaded_ = 0;
  std::uint64_t past_uploaded_ = 0;
  std::uint64_t past_wasted_ = 0;
  std::uint64_t refused_ = 0;
  std::vector<std::string> failures_;
};

struct result {
  /// Until the last node had everything.
  double seconds = 0.0;
  /// Copies that the seeder sent.
  double egress = 0.0;
  /// Some did not finish, or have wrong bytes.
  bool good = true;
  /// Pieces that nobody has who is left.
  std::uint32_t gone = 0;
};

class swarm {
public:
  swarm(const perf::shaped_network& network, const arguments& given, const fs::path& root,
        const std::shared_ptr<const content>& what, unsigned run)
    : given_(given), what_(what), table_({}, given.seed + run), chance_(given.seed + run) {
    for (std::size_t i = 0; i <= given.nodes; ++i)
      members_.push_back(std::make_unique<participant>(network, i, given, root / std::to_string(i), what));
  }

  result run() {
    begin();
    cpu_meter cpu;
    watch();
    auto took = effort{cpu.own(), cpu.all(), seconds(steady::now() - began_)};
    settle();
    return tell(took);
  }

private:
  /// Seconds of this process on a core, of all processes, and of the clock.
  struct effort {
    double own;
    double all;
    double lasted;
  };
  struct sample {
    double at;
    std::uint64_t uploaded;
  };

  void begin() {
    for (auto& member : members_)
      member->start();
    until([&] { return std::ranges::all_of(members_, [](auto& member) { return member->listens(); }); });
    seeder().serve();
    wait_for(500ms);
    drain();
    if (given_.limit_from > 0.0)
      table_.limit_all(static_cast<std::uint64_t>(given_.limit_from * 1e6));
    auto interval = std::chrono::milliseconds{given_.report_ms};
    began_ = steady::now();
    report(0, began_);
    for (std::size_t i = 1; i < members_.size(); ++i) {
      members_[i]->fetch();
      report(i, began_);
    }
    for (std::size_t i = 0; i < members_.size(); ++i)
      members_[i]->next_report = began_ + interval * (i + 1) / members_.size();
    next_divide_ = began_;
    next_kill_ = began_
                 + std::chrono::duration_cast<steady::duration>(
                     std::chrono::duration<double>(std::max(given_.kill_node_every, 0.0)));
  }

  void report(std::size_t i, steady::time_point now) {
    members_[i]->obey(table_.on_report(i, members_[i]->report(), now), now);
    members_[i]->ask(given_.kill_node_every > 0.0);
  }

  void watch() {
    auto patience = began_ + 600s;
    auto fast = steady::time_point{};
    for (; !all_finished(); wait_for(5ms)) {
      drain();
      auto now = steady::now();
      if (now >= patience || hopeless(now))
        return;
      if (given_.limit_from > 0.0)
        change_limit(now);
      for (std::size_t i = 0; i < members_.size(); ++i)
        if (auto& member = *members_[i]; member.lives() && member.listens() && now >= member.next_report) {
          member.next_report += std::chrono::milliseconds{given_.report_ms};
          report(i, now);
        }
      table_.expire(now);
      if (given_.kill_seeder_at > 0.0)
        end_seeder(now);
      if (given_.kill_node_every > 0.0)
        end_nodes(now);
      if (now < fast)
        continue;
      fast = now + 50ms;
      for (auto& member : members_)
        if (member->lives() && (given_.limit_from > 0.0 || (given_.kill_seeder_at > 0.0 && member == members_[0])))
          member->ask(false);
      samples_.push_back({seconds(now - began_), sum(&participant::uploaded)});
    }
  }

  void change_limit(steady::time_point now) {
    if (!lowered_ && given_.limit_to > 0.0 && seconds(now - began_) >= given_.limit_after) {
      lowered_ = seconds(now - began_);
      table_.limit_all(static_cast<std::uint64_t>(given_.limit_to * 1e6));
      next_divide_ = now;
    }
    if (now >= next_divide_) {
      table_.divide();
      next_divide_ += 1s;
    }
  }

  void end_seeder(steady::time_point now) {
    if (!seeder().lives() || static_cast<double>(seeder().uploaded()) < given_.kill_seeder_at * size())
      return;
    seeder().kill();
    died_ = now;
    fmt::print("  the seeder ended after {:.2f} s, having sent {:.3f} F; {} of {} pieces were nowhere else\n",
               seconds(now - began_), static_cast<double>(seeder().uploaded()) / size(), gone(),
               what_->piece_hashes.size());
  }

  void end_nodes(steady::time_point now) {
    for (std::size_t i = 1; i < members_.size(); ++i)
      if (auto& member = *members_[i]; !member.lives() && now >= member.next_life) {
        member.start();
        until([&] { return member.listens(); });
        member.fetch();
        member.next_report = now;
      }
    if (now < next_kill_)
      return;
    next_kill_ += std::chrono::duration_cast<steady::duration>(std::chrono::duration<double>(given_.kill_node_every));
    auto& victim = *members_[std::uniform_int_distribution<std::size_t>{1, given_.nodes}(chance_)];
    if (!victim.lives())
      return;
    victim.kill();
    victim.next_life = steady::now() + std::chrono::milliseconds{given_.down_ms};
    ++kills_;
  }

  /// Nobody who is left has some piece, and for a while none has arrived.
  bool hopeless(steady::time_point now) const {
    if (!died_ || now - *died_ < 10s || gone() == 0)
      return false;
    return std::ranges::all_of(members_, [&](auto& member) { return now - member->newest_piece() > 10s; });
  }

  std::uint32_t gone() const {
    std::uint32_t result = 0;
    for (std::size_t piece = 0; piece < what_->piece_hashes.size(); ++piece)
      result += std::ranges::none_of(members_, [&](auto& member) {
        return (member->lives() || member->next_life != steady::time_point{}) && piece < member->have().size()
               && member->have()[piece];
      });
    return result;
  }

  /// For the last words of engines that have finished.
  void settle() {
    for (auto round = 0; round < 3; ++round) {
      for (auto& member : members_)
        if (member->lives())
          member->ask(false);
      for (auto end = steady::now() + 250ms; steady::now() < end; wait_for(10ms))
        drain();
    }
  }

  result tell(effort cpu) {
    result told;
    std::vector<double> times;
    std::vector<double> first;
    std::set<std::string> failures;
    auto wrong = 0;
    for (std::size_t i = 1; i < members_.size(); ++i) {
      auto& member = *members_[i];
      if (auto at = member.finished())
        times.push_back(seconds(*at - began_));
      if (auto at = member.first_piece())
        first.push_back(seconds(*at - began_));
      if (member.finished() && !member.right())
        ++wrong;
    }
    for (auto& member : members_)
      failures.insert(member->failures().begin(), member->failures().end());
    told.seconds = at_share(times, 1.0);
    told.egress = static_cast<double>(seeder().uploaded()) / size();
    told.gone = gone();
    auto finished = times.size() == given_.nodes;
    told.good = wrong == 0 && finished;
    auto received = static_cast<double>(sum(&participant::downloaded));
    auto due = size() * static_cast<double>(given_.nodes);
    fmt::print("  {} of {} nodes finished, {}; p50 {:.2f} s, max {:.2f} s; first piece p50 {:.2f} s, max {:.2f} s\n",
               times.size(), given_.nodes, wrong == 0 ? "every byte right" : fmt::format("{} WITH WRONG BYTES", wrong),
               at_share(times, 0.5), told.seconds, at_share(first, 0.5), at_share(first, 1.0));
    fmt::print("  the seeder sent {:.3f} F; wasted {:.2f} % of what was received; refused connections: {}\n",
               told.egress, received > 0.0 ? 100.0 * static_cast<double>(sum(&participant::wasted)) / received : 0.0,
               sum(&participant::refused));
    fmt::print("  CPU: {:.1f} s, {:.1f} s per GiB delivered; the machine was {:.0f} % busy, load average {}\n", cpu.own,
               cpu.own / (due / 1024.0 / mib),
               100.0 * cpu.all / (cpu.lasted * std::max(1U, std::thread::hardware_concurrency())),
               from_file("/proc/loadavg", "").substr(0, 4));
    if (kills_ > 0)
      fmt::print("  {} times a node ended and came back; fetched again: {:.2f} % of all, {:.2f} MiB per time\n", kills_,
                 100.0 * (received - due) / due, (received - due) / kills_ / mib);
    if (!finished)
      fmt::print("  {} of {} pieces are with nobody who is left\n", told.gone, what_->piece_hashes.size());
    if (lowered_)
      tell_limit();
    for (auto& failure : failures)
      fmt::print("  note: {}\n", failure);
    return told;
  }

  void tell_limit() const {
    auto sent_by = [&](double time) {
      auto next = std::ranges::lower_bound(samples_, time, {}, &sample::at);
      return static_cast<double>(next == samples_.end() ? samples_.back().uploaded : next->uploaded);
    };
    auto mean = [&](double from, double to) { return (sent_by(to) - sent_by(from)) / (to - from) / 1e6; };
    auto at = *lowered_;
    auto end = samples_.back().at;
    fmt::print("  limit of {} MB/s over all: sent {:.2f} MB/s in the 3 s before it became {} MB/s at {:.1f} s\n",
               given_.limit_from, mean(at - 3.0, at), given_.limit_to, at);
    fmt::print("  then, per 0.5 s:");
    for (auto step = 0; step < 8; ++step)
      fmt::print(" {:.2f}", mean(at + 0.5 * step, at + 0.5 * (step + 1)));
    auto excess = (sent_by(at + 2.0) - sent_by(at)) / 1e6 - 2.0 * given_.limit_to;
    fmt::print(" MB/s\n  in the first 2 s {:.2f} MB more than the new limit ({:.2f} s of it)", excess,
               excess / given_.limit_to);
    auto worst = 0.0;
    for (auto from = at + 1.5; from + 2.0 <= end - 1.0; from += 0.1)
      worst = std::max(worst, mean(from, from + 2.0));
    fmt::print("; from 1.5 s on at most {:.3f} of it in any 2 s, {:.3f} on average\n", worst / given_.limit_to,
               mean(at + 1.5, end - 1.0) / given_.limit_to);
  }

  void drain() {
    for (auto& member : members_)
      member->drain();
  }

  template <class Condition>
  void until(Condition condition) {
    for (auto end = steady::now() + 30s; !condition(); wait_for(5ms)) {
      if (steady::now() > end)
        throw std::runtime_error{"an engine does not listen"};
      drain();
    }
  }

  bool all_finished() const {
    return std::ranges::all_of(members_, [](auto& member) { return member->finished().has_value(); });
  }

  std::uint64_t sum(std::uint64_t (participant::*part)() const) const {
    return std::accumulate(members_.begin(), members_.end(), std::uint64_t{0},
                           [&](auto so_far, auto& member) { return so_far + (*member.*part)(); });
  }

  participant& seeder() { return *members_.front(); }
  double size() const { return static_cast<double>(what_->size); }

  const arguments& given_;
  std::shared_ptr<const content> what_;
  swarm_table table_;
  std::mt19937_64 chance_;
  /// The first one has the content.
  std::vector<std::unique_ptr<participant>> members_;
  steady::time_point began_;
  steady::time_point next_divide_;
  steady::time_point next_kill_;
  std::optional<steady::time_point> died_;
  std::optional<double> lowered_;
  unsigned kills_ = 0;
  std::vector<sample> samples_;
};

/// A program that ends with this one.
class child {
public:
  explicit child(std::vector<std::string> words) {
    std::vector<char*> argv;
    for (auto& word : words)
      argv.push_back(word.data());
    argv.push_back(nullptr);
    pid_ = ::fork();
    if (pid_ == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      ::execvp(argv[0], argv.data());
      ::_exit(127);
    }
    if (pid_ < 0)
      throw std::system_error{errno, std::generic_category(), words[0]};
  }
  child(child&& other) noexcept : pid_(std::exchange(other.pid_, -1)) {}
  child& operator=(child&&) = delete;
  ~child() {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, nullptr, 0);
    }
  }

  /// Its exit code, or -1 after a signal.
  std::optional<int> ended() {
    auto status = 0;
    if (pid_ <= 0 || ::waitpid(pid_, &status, WNOHANG) != pid_)
      return std::nullopt;
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

private:
  pid_t pid_ = -1;
};

result fetch_with_curl(const perf::shaped_network& network, const arguments& given, const fs::path& root,
                       const content& what) {
  auto scratch = root / "nginx";
  fs::create_directories(scratch);
  std::string temporary;
  for (auto kind : {"client_body", "proxy", "fastcgi", "uwsgi", "scgi"})
    temporary += fmt::format("  {}_temp_path {}/{};\n", kind, scratch.string(), kind);
  write_file(scratch / "nginx.conf",
             fmt::format("user root;\ndaemon off;\nmaster_process off;\npid {0}/pid;\nerror_log {0}/error.log;\n"
                         "events {{ worker_connections 1000; }}\nhttp {{\n  access_log off;\n  sendfile on;\n{1}"
                         "  server {{ listen 8080; root {2}; }}\n}}\n",
                         scratch.string(), temporary, (root / "0" / what.name).string()));
  auto server = network.on(0, [&] { return child{{"nginx", "-c", (scratch / "nginx.conf").string()}}; });
  wait_for(500ms);
  if (server.ended())
    throw std::runtime_error{"nginx did not start"};
  auto began = steady::now();
  std::vector<child> clients;
  for (std::size_t i = 1; i <= given.nodes; ++i) {
    std::vector<std::string> words{"curl", "-sSf", "--create-dirs"};
    for (auto& file : what.files) {
      words.insert(words.end(), {"-o", (root / std::to_string(i) / what.name / file.path).string(),
                                 fmt::format("http://{}:8080/{}", perf::shaped_network::address(0), file.path)});
    }
    clients.push_back(network.on(i, [&] { return child{words}; }));
  }
  std::vector<double> times;
  result told;
  for (; times.size() < clients.size(); wait_for(10ms))
    for (auto& client : clients)
      if (auto code = client.ended()) {
        times.push_back(seconds(steady::now() - began));
        told.good = told.good && *code == 0;
      }
  for (std::size_t i = 1; i <= given.nodes; ++i)
    for (auto& file : what.files)
      told.good =
          told.good && same_bytes(root / std::to_string(i) / what.name / file.path, root / "0" / what.name / file.path);
  told.seconds = at_share(times, 1.0);
  told.egress = static_cast<double>(given.nodes);
  fmt::print("  nginx to {} curl, {}; p50 {:.2f} s, max {:.2f} s\n", given.nodes,
             told.good ? "every byte right" : "SOME FAILED", at_share(times, 0.5), told.seconds);
  return told;
}

/// A tracker as BEP 3 has it, as far as aria2 asks.
constexpr const char* http_tracker = R"(
import http.server, socket, struct, sys, urllib.parse
peers = {}
class Tracker(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        asked = urllib.parse.parse_qs(urllib.parse.urlparse(self.path).query)
        me = (self.client_address[0], int(asked["port"][0]))
        peers[me] = True
        body = b"".join(socket.inet_aton(a) + struct.pack(">H", p) for a, p in peers if (a, p) != me)
        answer = b"d8:intervali2e12:min intervali2e5:peers%d:" % len(body) + body + b"e"
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)
    def log_message(self, *ignored):
        pass
http.server.ThreadingHTTPServer((sys.argv[1], 6969), Tracker).serve_forever()
)";

/// Every node with aria2 and its defaults, which also serve: the other kind of BitTorrent client that servers run.
result fetch_with_aria2(const perf::shaped_network& network, const arguments& given, const fs::path& root,
                        const content& what) {
  auto scratch = root / "aria2";
  fs::remove_all(scratch);
  fs::create_directories(scratch);
  auto torrent = (scratch / "content.torrent").string();
  auto home = perf::shaped_network::address(0);
  child making{{"mktorrent", "-a", fmt::format("http://{}:6969/announce", home), "-o", torrent,
                (root / "0" / what.name).string()}};
  for (auto end = steady::now() + 60s; !making.ended() && steady::now() < end;)
    wait_for(20ms);
  write_file(scratch / "tracker.py", http_tracker);
  auto tracker = network.on(0, [&] { return child{{"python3", (scratch / "tracker.py").string(), home}}; });
  write_file(scratch / "done.sh", "#!/bin/sh\ntouch \"$(dirname \"$(dirname \"$3\")\")/done\"\n");
  fs::permissions(scratch / "done.sh", fs::perms::owner_all);
  wait_for(500ms);
  auto client = [&](std::size_t i) {
    auto place = root / std::to_string(i);
    fs::create_directories(place);
    return network.on(i, [&] {
      return child{{"aria2c", "--quiet", "--enable-dht=false", "--bt-enable-lpd=false", "--enable-peer-exchange=true",
                    "--seed-ratio=0.0", "--listen-port=6881", "--bt-tracker-interval=2", "--allow-overwrite=true",
                    i == 0 ? "--check-integrity=true" : "--check-integrity=false", "--file-allocation=none",
                    "--on-bt-download-complete=" + (scratch / "done.sh").string(), "--dir=" + place.string(), torrent}};
    });
  };
  std::vector<child> clients;
  clients.push_back(client(0));
  for (auto end = steady::now() + 120s; !fs::exists(root / "0" / "done") && steady::now() < end;)
    wait_for(50ms);
  auto began = steady::now();
  for (std::size_t i = 1; i <= given.nodes; ++i)
    clients.push_back(client(i));
  std::map<std::size_t, double> times;
  for (auto end = steady::now() + 1200s; times.size() < given.nodes && steady::now() < end; wait_for(20ms))
    for (std::size_t i = 1; i <= given.nodes; ++i)
      if (!times.contains(i) && fs::exists(root / std::to_string(i) / "done"))
        times[i] = seconds(steady::now() - began);
  result told;
  told.good = times.size() == given.nodes;
  for (std::size_t i = 1; i <= given.nodes; ++i)
    for (auto& file : what.files)
      told.good =
          told.good && same_bytes(root / std::to_string(i) / what.name / file.path, root / "0" / what.name / file.path);
  fs::remove(root / "0" / "done");
  std::vector<double> all;
  for (auto& [i, time] : times)
    all.push_back(time);
  told.seconds = at_share(all, 1.0);
  fmt::print("  aria2 at {} nodes, {}; p50 {:.2f} s, max {:.2f} s\n", given.nodes,
             told.good ? "every byte right" : "SOME FAILED", at_share(all, 0.5), told.seconds);
  return told;
}

bool installed(const std::string& program) {
  auto found = std::getenv("PATH");
  std::istringstream places{found ? found : ""};
  for (std::string place; std::getline(places, place, ':');)
    if (::access((fs::path{place} / program).c_str(), X_OK) == 0)
      return true;
  return false;
}

void tell_machine(const arguments& given, const content& what, const workspace& files) {
  utsname system{};
  ::uname(&system);
  fmt::print("{} cores ({}), Linux {}, libtorrent {}, files {}, load average {}\n", std::thread::hardware_concurrency(),
             from_file("/proc/cpuinfo", "model name"), system.release, library_version(),
             files.in_memory() ? "in memory" : "on disk", from_file("/proc/loadavg", ""));
  fmt::print("F = {} MiB in {} pieces of {} KiB; {} nodes at {} Mbit/s, a seeder at {} Mbit/s{}; {}\n", given.mib,
             what.piece_hashes.size(), what.piece_size / 1024, given.nodes, given.mbit, given.seeder_out(),
             given.in_mbit > 0.0 ? fmt::format(", {} Mbit/s in", given.in_mbit) : "",
             given.tool == "astra" ? fmt::format("{}, a report every {} ms", given.plan, given.report_ms) : given.tool);
}

double bound_of(const arguments& given, const content& what) {
  auto bits = static_cast<double>(what.size) * 8.0;
  auto nodes = static_cast<double>(given.nodes);
  auto all = given.seeder_out() + nodes * given.mbit;
  return std::max({bits / (given.seeder_out() * 1e6), nodes * bits / (all * 1e6),
                   given.in_mbit > 0.0 ? bits / (given.in_mbit * 1e6) : 0.0});
}

void tell_spread(const std::vector<result>& results, double bound) {
  std::vector<double> ratios;
  std::vector<double> egress;
  for (auto& each : results) {
    if (!each.good)
      continue;
    ratios.push_back(each.seconds / bound);
    egress.push_back(each.egress);
  }
  fmt::print("{} of {} runs good", ratios.size(), results.size());
  if (!ratios.empty())
    fmt::print(
        "; time to all / bound: {:.3f} to {:.3f}, median {:.3f}; seeder's egress: {:.3f} to {:.3f} F, median {:.3f} F",
        at_share(ratios, 0.0), at_share(ratios, 1.0), at_share(ratios, 0.5), at_share(egress, 0.0),
        at_share(egress, 1.0), at_share(egress, 0.5));
  fmt::print("\n");
}

int run(const arguments& given) {
  if (given.tool == "nginx" && !(installed("nginx") && installed("curl"))) {
    fmt::print("skipped: nginx or curl is not there; apt-get install --no-install-recommends nginx-light curl\n");
    return 0;
  }
  if (given.tool == "aria2" && !(installed("aria2c") && installed("mktorrent") && installed("python3"))) {
    fmt::print("skipped: aria2 is not there; apt-get install --no-install-recommends aria2 mktorrent python3\n");
    return 0;
  }
  std::vector<perf::link_rates> links(given.nodes + 1, {given.mbit, given.in_mbit});
  links[0].out = given.seeder_out();
  auto bytes = given.mib << 20U;
  workspace files{bytes * (given.nodes + 1)};
  perf::shaped_network network{links};
  auto root = files.path() / "swarm";
  fs::create_directories(root / "0");
  auto what = std::make_shared<const content>(make_source(root / "0", bytes, given.seed));
  auto bound = bound_of(given, *what);
  tell_machine(given, *what, files);
  std::vector<result> results;
  for (unsigned number = 1; number <= given.runs; ++number) {
    fmt::print("run {}\n", number);
    results.push_back(given.tool == "nginx"   ? fetch_with_curl(network, given, root, *what)
                      : given.tool == "aria2" ? fetch_with_aria2(network, given, root, *what)
                                              : swarm{network, given, root, what, number}.run());
    if (auto& newest = results.back(); newest.good)
      fmt::print("  {:.2f} s to all, the bound {:.2f} s, ratio {:.3f}\n", newest.seconds, bound,
                 newest.seconds / bound);
    for (std::size_t i = 1; i <= given.nodes; ++i)
      fs::remove_all(root / std::to_string(i));
  }
  tell_spread(results, bound);
  return std::ranges::all_of(results, &result::good) ? 0 : 1;
}

bool take(const std::string& word, std::string& to) {
  to = word;
  return true;
}

template <class Number>
bool take(const std::string& word, Number& to) {
  std::istringstream in{word};
  return word.find('-') == std::string::npos && in >> to && in.eof();
}

bool parse(int argc, char** argv, arguments& into) {
  std::map<std::string, std::function<bool(const std::string&)>> known;
  auto option = [&](const char* name, auto& to) {
    known[name] = [&to](const std::string& word) { return take(word, to); };
  };
  option("--nodes", into.nodes);
  option("--mib", into.mib);
  option("--mbit", into.mbit);
  option("--seeder-mbit", into.seeder_mbit);
  option("--in-mbit", into.in_mbit);
  option("--runs", into.runs);
  option("--plan", into.plan);
  option("--report-ms", into.report_ms);
  option("--kill-seeder-at", into.kill_seeder_at);
  option("--kill-node-every", into.kill_node_every);
  option("--down-ms", into.down_ms);
  option("--limit-from", into.limit_from);
  option("--limit-to", into.limit_to);
  option("--limit-after", into.limit_after);
  option("--tool", into.tool);
  option("--seed", into.seed);
  auto good = argc % 2 == 1;
  for (auto i = 1; good && i < argc; i += 2) {
    auto found = known.find(argv[i]);
    good = found != known.end() && found->second(argv[i + 1]);
  }
  if (good && into.nodes > 0 && into.nodes <= 200 && into.mib > 0 && into.mbit > 0.0 && into.report_ms > 0
      && (into.plan == "stripes" || into.plan == "rarest" || into.plan == "shuffled")
      && (into.tool == "astra" || into.tool == "nginx" || into.tool == "aria2"))
    return true;
  std::fprintf(stderr, "usage: perf_swarm [option value]...; there are");
  for (auto& [name, how] : known)
    std::fprintf(stderr, " %s", name.c_str());
  std::fprintf(stderr, "\n--plan is stripes, rarest or shuffled, --tool astra or nginx, --nodes at most 200\n");
  return false;
}

} // namespace

int main(int argc, char** argv) {
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  arguments given;
  if (!parse(argc, argv, given))
    return 2;
  for (auto signal : {SIGINT, SIGTERM, SIGHUP})
    std::signal(signal, [](int) { interrupted = 1; });
  try {
    return run(given);
  } catch (const std::exception& problem) {
    std::fprintf(stderr, "perf_swarm: %s\n", problem.what());
    return 1;
  }
}
