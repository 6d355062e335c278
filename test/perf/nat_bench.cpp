// Who meets whom behind which NAT, and how soon: `perf_nat --runs 5`.
//
// Two libtorrent engines, each in a network namespace behind a NAT of its own, and three in a public one.  A has a
// content, B wants it.  Each asks two of the public nodes where it is seen and is tried by the third; from that alone
// a punch_plan decides how the two meet, and both do what it says, once more every second until a piece has come.
// Every run has a new network: NATs remember.
//
//   open              no NAT
//   full_cone         UDP to one port of the NAT goes to the node, whoever sends it, and leaves from that port
//   port_restricted   masqueraded, ports kept
//   symmetric         masqueraded, a random port per peer
//
// NATs drop what comes to themselves and what nobody behind them began.  One that answers instead makes what comes too
// early its own, and gives the node another port afterwards.
//
//   --any 1           nodes listen at 0.0.0.0
//
// Needs root, iproute2 and nftables.  Exit code 1 when a pair did not meet that should, or the other way round.

#include "p2p/libtorrent_engine.hpp"
#include "p2p/punch_plan.hpp"
#include "test/p2p/files.hpp"
#include "test/perf/network_space.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

using namespace astra;
using namespace astra::p2p;
using perf::network_space;
using namespace std::chrono_literals;
namespace fs = std::filesystem;
using steady = std::chrono::steady_clock;

namespace {

constexpr reachability kinds[] = {reachability::open, reachability::full_cone, reachability::port_restricted,
                                  reachability::symmetric};
constexpr std::uint16_t port = 6881;
constexpr std::size_t public_nodes = 3;

/// An engine and what it has told.
struct node {
  std::unique_ptr<engine> running;
  std::optional<peer_endpoint> where;
  std::vector<event::mapped> mapped;
  bool checked = false;
  bool piece = false;
  bool finished = false;
  std::vector<std::string> failures;

  void drain() {
    for (auto& event : running->drain()) {
      if (auto* opened = std::get_if<event::listening>(&event); opened && !opened->where.address.starts_with("127."))
        where = opened->where;
      else if (auto* seen = std::get_if<event::mapped>(&event))
        mapped.push_back(*seen);
      else if (std::holds_alternative<event::checked>(event))
        checked = true;
      else if (std::holds_alternative<event::piece_finished>(event))
        piece = true;
      else if (std::holds_alternative<event::content_finished>(event))
        finished = true;
      else if (auto* failed = std::get_if<event::failed>(&event))
        failures.push_back(failed->problem.text);
      else if (auto* wrong = std::get_if<event::engine_failed>(&event))
        failures.push_back(wrong->problem.text);
    }
  }
};

/// A public network with three nodes and the outer sides of two NATs, and what is behind them.
class network {
public:
  network(reachability a, reachability b) {
    std::string hub = "link set lo up\nlink add br0 type bridge\n";
    for (std::size_t i = 0; i < public_nodes; ++i)
      hub += fmt::format("addr add {}/24 dev br0\n", public_address(i));
    hub_.ip(hub + "link set br0 up\n");
    attach(0, a);
    attach(1, b);
  }

  static std::string public_address(std::size_t i) { return fmt::format("203.0.113.{}", i + 1); }
  std::string address(std::size_t side) const { return addresses_[side]; }
  const network_space& hub() const { return hub_; }
  const network_space& inside(std::size_t side) const { return inside_[side]; }

private:
  void attach(std::size_t side, reachability kind) {
    auto outer = fmt::format("203.0.113.{}", 11 + side);
    auto& edge = kind == reachability::open ? inside_[side] : nat_[side];
    hub_.ip(fmt::format("link add v{0} type veth peer name out netns {1}\nlink set v{0} master br0 up\n", side,
                        edge.path()));
    edge.ip(fmt::format("link set lo up\naddr add {}/24 dev out\nlink set out up\n", outer));
    if (kind == reachability::open) {
      addresses_[side] = outer;
      return;
    }
    auto net = fmt::format("10.{}.0", side + 1);
    edge.ip(fmt::format("link add in type veth peer name e0 netns {}\naddr add {}.1/24 dev in\nlink set in up\n",
                        inside_[side].path(), net));
    addresses_[side] = net + ".2";
    inside_[side].ip(fmt::format("link set lo up\naddr add {0}.2/24 dev e0\nlink set e0 up\n"
                                 "route add default via {0}.1\n",
                                 net));
    edge.on([] { write_file("/proc/sys/net/ipv4/ip_forward", "1"); });
    std::string incoming;
    std::string outgoing = "oifname out masquerade";
    if (kind == reachability::full_cone) {
      incoming = fmt::format("iifname out udp dport 17000 dnat to {}:{}", addresses_[side], port);
      outgoing = fmt::format("oifname out udp sport {} snat to {}:17000\n    {}", port, outer, outgoing);
    } else if (kind == reachability::symmetric) {
      outgoing += " fully-random";
    }
    edge.command("nft -f -", "nftables",
                 fmt::format(R"(
table ip nat {{
  chain incoming {{
    type nat hook prerouting priority -100
    {}
  }}
  chain outgoing {{
    type nat hook postrouting priority 100
    {}
  }}
  chain own {{
    type filter hook input priority 0
    iifname out ct state new drop
  }}
  chain passing {{
    type filter hook forward priority 0
    iifname out ct state new ct status dnat accept
    iifname out ct state new drop
  }}
}}
)",
                             incoming, outgoing));
  }

  network_space hub_;
  network_space nat_[2];
  network_space inside_[2];
  std::string addresses_[2];
};

struct result {
  bool known = true;
  meeting met;
  /// How long it took to learn where both are seen, and from then until B had a piece, seconds.
  double learned = 0.0;
  std::optional<double> met_after;
  /// They came together, and everything arrived.
  bool whole = false;
  std::vector<std::string> failures;
};

double seconds_since(steady::time_point began) {
  return std::chrono::duration<double>(steady::now() - began).count();
}

class run {
public:
  run(reachability a, reachability b, const std::shared_ptr<const content>& what, const fs::path& place, bool any)
    : kinds_{a, b}, network_(a, b), what_(what), place_(place) {
    for (std::size_t i = 0; i < public_nodes; ++i)
      nodes_.push_back(start(network_.hub(), network::public_address(i)));
    for (std::size_t side = 0; side < 2; ++side)
      nodes_.push_back(start(network_.inside(side), any ? "0.0.0.0" : network_.address(side)));
  }

  /// @param offset How many milliseconds after the plan was made they begin.
  result go(unsigned offset) {
    until(10s, [&] { return std::ranges::all_of(nodes_, [](auto& each) { return each.where.has_value(); }); });
    for (std::size_t side = 0; side < 2; ++side) {
      add_request request;
      request.what = what_;
      request.place = place_ / std::to_string(side);
      request.complete = side == 0;
      at(side).running->add(request);
    }
    until(10s, [&] { return at(0).checked && at(1).checked; });
    result told;
    auto began = steady::now();
    vantage seen[2] = {look(0), look(1)};
    told.learned = seconds_since(began);
    for (std::size_t side = 0; side < 2; ++side)
      told.known = told.known && reachability_of(seen[side]) == kinds_[side];
    told.met = meet(seen[0], seen[1]);
    // libtorrent dials once per second: at no time in particular of its second.
    until(std::chrono::milliseconds{offset}, [] { return false; });
    if (told.met.by != meeting::means::relay)
      come_together(seen, told);
    for (auto& each : nodes_)
      told.failures.insert(told.failures.end(), each.failures.begin(), each.failures.end());
    return told;
  }

private:
  static node start(const network_space& where, const std::string& address) {
    libtorrent_options options;
    options.listen_address = address;
    options.listen_port = port;
    options.utp = true;
    node result;
    result.running = where.on([&] { return make_libtorrent_engine(options); });
    return result;
  }

  node& at(std::size_t side) { return nodes_[public_nodes + side]; }

  template <class Condition>
  bool until(std::chrono::milliseconds most, Condition condition) {
    for (auto end = steady::now() + most; steady::now() < end; std::this_thread::sleep_for(2ms)) {
      for (auto& each : nodes_)
        each.drain();
      if (condition())
        return true;
    }
    return false;
  }

  std::optional<peer_endpoint> ask(node& who, const peer_endpoint& whom, int times) {
    for (auto i = 0; i < times; ++i) {
      who.mapped.clear();
      who.running->probe(whom);
      auto answered = [&] { return std::ranges::find(who.mapped, whom, &event::mapped::by) != who.mapped.end(); };
      if (until(300ms, answered))
        return std::ranges::find(who.mapped, whom, &event::mapped::by)->where;
    }
    return std::nullopt;
  }

  vantage look(std::size_t side) {
    auto& me = at(side);
    vantage result{me.where.value(), {}, {}};
    auto first = ask(me, nodes_[0].where.value(), 5);
    if (!first)
      return result;
    result.mapped.push_back(*first);
    result.reached = ask(nodes_[2], *first, 1).has_value();
    if (auto second = ask(me, nodes_[1].where.value(), 5))
      result.mapped.push_back(*second);
    return result;
  }

  void come_together(const vantage (&seen)[2], result& told) {
    for (std::size_t side = 0; side < 2; ++side) {
      auto& other = seen[1 - side];
      auto allowed = other.mapped;
      allowed.push_back(other.local);
      at(side).running->set_peers(allowed);
    }
    auto& met = told.met;
    auto& dialler = *at(met.first_dials ? 0 : 1).running;
    auto& other = *at(met.first_dials ? 1 : 0).running;
    auto here = [&] { return at(1).piece; };
    auto began = steady::now();
    for (auto end = began + 20s; !here() && steady::now() < end;) {
      if (met.by == meeting::means::tcp) {
        dialler.inject(what_->address, {met.dials});
      } else {
        other.open_hole(met.hole);
        until(met.after, here);
        dialler.punch(what_->address, met.dials);
      }
      if (until(1s, here))
        told.met_after = seconds_since(began);
    }
    if (here() && !told.met_after)
      told.met_after = seconds_since(began);
    told.whole = told.met_after && until(20s, [&] { return at(1).finished; });
  }

  reachability kinds_[2];
  network network_;
  std::shared_ptr<const content> what_;
  fs::path place_;
  /// The public ones, A, B.
  std::vector<node> nodes_;
};

/// Of each pair as it must be, whatever punch_plan says.
bool can_meet(reachability a, reachability b) {
  auto hard = [](reachability kind) { return kind == reachability::symmetric; };
  auto easy = [](reachability kind) { return kind == reachability::open || kind == reachability::full_cone; };
  return (!hard(a) || easy(b)) && (!hard(b) || easy(a));
}

std::string text(const meeting& met) {
  if (met.by == meeting::means::relay)
    return "relay";
  return fmt::format("{} dials, {}", met.first_dials ? "A" : "B", met.by == meeting::means::tcp ? "TCP" : "uTP");
}

bool measure(reachability a, reachability b, unsigned runs, bool any, const std::shared_ptr<const content>& what,
             const fs::path& place) {
  std::vector<double> times;
  std::vector<double> learned;
  std::map<std::string, unsigned> ways;
  std::vector<std::string> failures;
  unsigned good = 0;
  for (unsigned i = 0; i < runs; ++i) {
    fs::remove_all(place / "1");
    auto told = run{a, b, what, place, any}.go(1000 * i / runs);
    learned.push_back(told.learned);
    ++ways[text(told.met) + (told.known ? "" : " (taken for something else)")];
    if (told.met_after)
      times.push_back(*told.met_after);
    auto right = can_meet(a, b) ? told.whole : told.met.by == meeting::means::relay;
    good += right && told.known;
    failures.insert(failures.end(), told.failures.begin(), told.failures.end());
  }
  std::string how;
  for (auto& [way, count] : ways)
    how += fmt::format("{}{}{}", how.empty() ? "" : "; ", way, count == runs ? "" : fmt::format(" x{}", count));
  std::ranges::sort(times);
  std::ranges::sort(learned);
  auto within = std::ranges::count_if(times, [](double time) { return time <= 1.0; });
  fmt::print("{:15} {:15} {:22} {}/{} right, seen after {:.2f} s", to_string(a), to_string(b), how, good, runs,
             learned[learned.size() / 2]);
  if (!times.empty())
    fmt::print(", first piece after {:.2f} / {:.2f} / {:.2f} s, {} within 1 s", times.front(), times[times.size() / 2],
               times.back(), within);
  fmt::print("\n");
  for (auto& failure : failures)
    fmt::print("  {}\n", failure);
  return good == runs;
}

int run_all(unsigned runs, bool any) {
  temporary_directory place;
  auto file = place / "0/tree/weights.bin";
  write_file(file, random_bytes(2U << 20U, 1));
  auto made = make_content(place / "0/tree");
  if (!made)
    throw std::runtime_error{made.problem().text};
  fs::rename(place / "0/tree", place.path() / "0" / made->name);
  auto what = std::make_shared<const content>(*made);
  fmt::print("{:15} {:15} {}\n", "A has it", "B wants it", "what the plan says; least, median and most of the times");
  auto good = true;
  for (auto a : kinds)
    for (auto b : kinds)
      good = measure(a, b, runs, any, what, place.path()) && good;
  return good ? 0 : 1;
}

} // namespace

int main(int argc, char** argv) {
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  unsigned runs = 5;
  unsigned any = 0;
  for (auto i = 1; i < argc; i += 2) {
    auto* to = std::strcmp(argv[i], "--runs") == 0 ? &runs : std::strcmp(argv[i], "--any") == 0 ? &any : nullptr;
    if (!to || i + 1 == argc || std::sscanf(argv[i + 1], "%u", to) != 1) {
      std::fprintf(stderr, "usage: perf_nat [--runs 5] [--any 0]\n");
      return 2;
    }
  }
  try {
    return run_all(std::max(runs, 1U), any != 0);
  } catch (const std::exception& problem) {
    std::fprintf(stderr, "perf_nat: %s\n", problem.what());
    return 1;
  }
}
