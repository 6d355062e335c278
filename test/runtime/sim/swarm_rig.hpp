#pragma once

#include "p2p/limits.hpp"
#include "p2p/swarm_table.hpp"
#include "runtime/sim/sim_store.hpp"
#include "runtime/sim/sim_swarm_network.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <variant>
#include <vector>

namespace astra::test {

using namespace std::chrono_literals;

/// Machines with simulated engines, and a tracker's thinking that every one of them reports to once per second: what
/// keepers and trackers do, without actors.
class swarm_rig {
public:
  struct options {
    std::size_t nodes = 8;
    std::string content = "sim:64MiB";
    std::uint64_t seed = 1;
    sim::sim_swarm_options network;
    /// 0: as the network's.
    std::uint64_t seeder_uplink = 0;
    std::uint64_t seeder_downlink = 0;
    /// Bytes per second; the rest as the network has it.
    std::map<std::size_t, std::uint64_t> uplinks;
    bool stripes = true;
  };

  struct node {
    sim::sim_disk disk;
    std::unique_ptr<sim::sim_store> store;
    std::unique_ptr<p2p::engine> engine;
    std::uint16_t port = 6881;
    p2p::peer_endpoint where;
    std::vector<p2p::peer_endpoint> allowed;
    std::optional<p2p::stripe> preferred;
    std::set<p2p::swarm_table::member> dialled;
    std::vector<bool> have;
    bool known = false;
    std::optional<sim::instant> finished;
    std::uint64_t in_force = 0;
    std::optional<p2p::leased_limit> limit;
    p2p::event::progress newest;
    std::vector<p2p::problem> failures;
    std::vector<p2p::peer_endpoint> refused;
    std::vector<std::string> left;
    bool damaged = false;
    std::uint64_t rejected = 0;
  };

  explicit swarm_rig(options given)
    : given_(std::move(given)), table_({}, given_.seed), network_(given_.network, sim::draws{given_.seed},
                                                                  {[this] { return now_; }, nullptr,
                                                                   [this](std::uint32_t from, std::uint32_t to) {
                                                                     return !cut_.contains({from, to});
                                                                   }}) {
    auto made = sim::make_sim_content(given_.content);
    REQUIRE(made);
    what_ = std::make_shared<const p2p::content>(std::move(*made));
    for (std::size_t i = 0; i <= given_.nodes; ++i)
      start(nodes_.emplace_back(), i);
    auto& seeder = nodes_[0];
    REQUIRE(seeder.store->import(*what_, given_.content, {}, {}));
    add(0);
    for (std::size_t i = 1; i < nodes_.size(); ++i)
      add(i);
  }

  /// Kills the engine of a node; its disk stays.
  void kill(std::size_t i, bool silently = false) {
    if (silently)
      network_.lose(machine(i));
    nodes_[i].engine.reset();
    nodes_[i].dialled.clear();
    nodes_[i].allowed.clear();
    nodes_[i].preferred.reset();
    nodes_[i].known = false;
  }

  /// Another process of the node, with what its store says.
  void restart(std::size_t i) {
    start(nodes_[i], i);
    add(i);
  }

  void cut(std::size_t a, std::size_t b, bool cuts = true) {
    for (auto way : {std::pair{machine(a), machine(b)}, std::pair{machine(b), machine(a)}})
      if (cuts)
        cut_.insert(way);
      else
        cut_.erase(way);
  }

  /// Lives on until then, or until `done`; `look` is called every 10 ms.
  void run(sim::instant until, const std::function<bool()>& done = nullptr,
           const std::function<void()>& look = nullptr) {
    while (now_ < until && !(done && done())) {
      auto next = std::min({until, network_.next_due().value_or(until), next_report()});
      if (look)
        next = std::min(next, next_look_);
      now_ = std::max(now_, next);
      auto began = std::clock();
      network_.advance();
      moved_ += std::clock() - began;
      while (!awake_.empty())
        for (auto i : std::exchange(awake_, {}))
          drain(i);
      if (now_ >= next_report())
        report();
      if (look && now_ >= next_look_) {
        look();
        next_look_ = now_ + 10ms;
      }
    }
  }

  /// Pieces that no disk of a node that runs has.
  std::size_t gone() const {
    std::size_t result = 0;
    for (std::size_t piece = 0; piece < what_->piece_hashes.size(); ++piece)
      result += std::ranges::none_of(
          nodes_, [&](auto& node) { return node.engine && node.disk.contents.all.at(what_->address).right[piece]; });
    return result;
  }

  bool all_finished() const { return finished_ == given_.nodes; }

  /// When the last one had everything, in seconds.
  double seconds() const {
    sim::instant last{0};
    for (std::size_t i = 1; i < nodes_.size(); ++i)
      last = std::max(last, nodes_[i].finished.value_or(sim::instant::max()));
    return std::chrono::duration<double>(last).count();
  }

  static std::uint32_t machine(std::size_t i) { return static_cast<std::uint32_t>(i + 1); }

  node& operator[](std::size_t i) { return nodes_[i]; }
  const p2p::content& what() const { return *what_; }
  double size() const { return static_cast<double>(what_->size); }
  sim::instant now() const { return now_; }
  sim::sim_swarm_network& network() { return network_; }
  p2p::swarm_table& table() { return table_; }
  /// Of all that engines told, in its order.
  std::uint64_t trace_hash() const { return hash_; }
  std::uint64_t told() const { return told_; }
  /// CPU time of the model, and of the tracker's thinking.
  double moved_seconds() const { return static_cast<double>(moved_) / CLOCKS_PER_SEC; }
  double thought_seconds() const { return static_cast<double>(thought_) / CLOCKS_PER_SEC; }

private:
  static constexpr std::uint64_t limit_floor = 16 * 1024;

  void start(node& one, std::size_t i) {
    one.store = std::make_unique<sim::sim_store>(one.disk, sim::sim_store::options{});
    // Never the same twice, as with ports that the kernel chooses.
    one.where = {"10." + std::to_string(i >> 16) + "." + std::to_string(i >> 8 & 255) + "." + std::to_string(i & 255),
                 one.port++};
    sim::sim_swarm_network::place place;
    place.machine = machine(i);
    place.where = one.where;
    place.disk = &one.disk;
    place.notify = [this, i] { awake_.push_back(i); };
    if (i == 0) {
      place.uplink_bytes_per_s = given_.seeder_uplink;
      place.downlink_bytes_per_s = given_.seeder_downlink;
    }
    if (auto found = given_.uplinks.find(i); found != given_.uplinks.end())
      place.uplink_bytes_per_s = found->second;
    one.limit.emplace(limit_floor);
    one.in_force = 0;
    one.engine = network_.open(std::move(place));
  }

  void add(std::size_t i) {
    auto& one = nodes_[i];
    p2p::add_request request;
    request.what = what_;
    request.place = one.store->place(what_->address);
    request.complete = one.store->state(what_->address) == p2p::content_state::ready;
    if (!request.complete) {
      auto fetched = one.store->fetch(*what_, {});
      REQUIRE(fetched);
      request.resume = one.store->resume(what_->address);
      request.good_pieces = one.store->good_pieces(what_->address);
      request.blocks = one.store->noted_blocks(what_->address);
    }
    one.known = request.complete;
    one.have.assign(what_->piece_hashes.size(), request.complete);
    one.engine->add(std::move(request));
  }

  /// Reports are spread over each second.
  sim::instant next_report() const {
    auto n = static_cast<std::int64_t>(nodes_.size());
    return sim::instant{reports_ / n * 1'000'000'000 + reports_ % n * 1'000'000'000 / n};
  }

  void report() {
    auto i = static_cast<std::size_t>(reports_) % nodes_.size();
    ++reports_;
    std::chrono::steady_clock::time_point now{now_};
    if (i == 0) {
      table_.expire(now);
      table_.divide();
    }
    auto& one = nodes_[i];
    if (!one.engine)
      return;
    one.engine->request_progress();
    drain(i);
    p2p::swarm_table::report told;
    told.where = one.where;
    told.at = {"zone", "rack", ""};
    told.upload = {given_.network.uplink_bytes_per_s, limit_floor};
    if (auto found = given_.uplinks.find(i); found != given_.uplinks.end())
      told.uplink = static_cast<double>(found->second) / static_cast<double>(given_.network.uplink_bytes_per_s);
    if (one.known)
      told.holdings = {{what_->address,
                        one.have,
                        !std::ranges::all_of(one.have, std::identity{}),
                        false,
                        false,
                        {one.dialled.begin(), one.dialled.end()}}};
    auto began = std::clock();
    auto answer = table_.on_report(i, told, now);
    thought_ += std::clock() - began;
    if (answer.allowed != one.allowed)
      one.engine->set_peers(one.allowed = answer.allowed);
    for (auto& errand : answer.errands) {
      std::vector<p2p::peer_endpoint> peers;
      for (auto& [other, where] : errand.connect) {
        peers.push_back(where);
        one.dialled.insert(other);
        member_at_[where] = other;
      }
      if (!peers.empty())
        one.engine->inject(what_->address, peers);
      if (given_.stripes && errand.preferred != one.preferred)
        one.engine->prefer(what_->address, one.preferred = errand.preferred);
    }
    if (answer.upload)
      one.limit->grant(answer.upload->first, now + answer.upload->second);
    if (auto share = one.limit->value(now); answer.upload && share != one.in_force)
      one.engine->set_limits({one.in_force = share, 0});
    if (!one.finished) {
      one.engine->request_resume(what_->address);
      drain(i);
    }
  }

  void drain(std::size_t i) {
    if (!nodes_[i].engine)
      return;
    for (auto& event : nodes_[i].engine->drain()) {
      ++told_;
      note(i, event.index());
      std::visit([&](auto& what) { on(i, what); }, event);
    }
  }

  void note(std::uint64_t a, std::uint64_t b) {
    for (auto value : {static_cast<std::uint64_t>(now_.count()), a, b})
      hash_ = (hash_ ^ value) * 0x9E3779B97F4A7C15ULL ^ hash_ >> 29U;
  }

  void on(std::size_t, p2p::event::listening&) {}
  void on(std::size_t, p2p::event::mapped&) {}
  void on(std::size_t i, p2p::event::engine_failed& what) { nodes_[i].failures.push_back(what.problem); }
  void on(std::size_t i, p2p::event::checked&) { nodes_[i].engine->request_progress(); }
  void on(std::size_t i, p2p::event::blocks_written& what) {
    CHECK(static_cast<bool>(nodes_[i].store->note_blocks(what_->address, what.blocks)) != nodes_[i].disk.full);
  }
  void on(std::size_t i, p2p::event::piece_finished& what) {
    note(i, what.piece);
    nodes_[i].have[what.piece] = true;
  }
  void on(std::size_t i, p2p::event::piece_rejected&) { ++nodes_[i].rejected; }
  void on(std::size_t i, p2p::event::content_finished&) {
    if (i > 0 && !nodes_[i].finished) {
      nodes_[i].finished = now_;
      ++finished_;
    }
    if (i > 0)
      CHECK(nodes_[i].store->make_ready(what_->address, {}));
    nodes_[i].have.assign(nodes_[i].have.size(), true);
  }
  void on(std::size_t i, p2p::event::damaged& what) {
    nodes_[i].damaged = true;
    nodes_[i].have = what.good;
  }
  void on(std::size_t i, p2p::event::progress& what) {
    auto& one = nodes_[i];
    one.known = true;
    one.have = what.have;
    one.newest = std::move(what);
  }
  void on(std::size_t i, p2p::event::failed& what) { nodes_[i].failures.push_back(what.problem); }
  void on(std::size_t i, p2p::event::resume_ready& what) {
    if (!what.data.empty())
      CHECK(static_cast<bool>(nodes_[i].store->save_resume(what_->address, what.data)) != nodes_[i].disk.full);
  }
  void on(std::size_t, p2p::event::removed&) {}
  void on(std::size_t i, p2p::event::peer_refused& what) { nodes_[i].refused.push_back(what.who); }
  void on(std::size_t, p2p::event::peer_banned&) {}
  void on(std::size_t i, p2p::event::peer_left& what) {
    nodes_[i].left.push_back(what.reason);
    if (auto found = member_at_.find(what.who); found != member_at_.end())
      nodes_[i].dialled.erase(found->second);
  }
  void on(std::size_t, p2p::event::events_lost&) {}

  options given_;
  sim::instant now_{0};
  sim::instant next_look_{0};
  std::int64_t reports_ = 0;
  std::uint64_t hash_ = 0;
  std::uint64_t told_ = 0;
  std::size_t finished_ = 0;
  std::clock_t thought_ = 0;
  std::clock_t moved_ = 0;
  p2p::swarm_table table_;
  std::shared_ptr<const p2p::content> what_;
  std::set<std::pair<std::uint32_t, std::uint32_t>> cut_;
  std::map<p2p::peer_endpoint, p2p::swarm_table::member> member_at_;
  std::vector<std::size_t> awake_;
  sim::sim_swarm_network network_;
  /// After the network: engines go first.
  std::deque<node> nodes_;
};

} // namespace astra::test
