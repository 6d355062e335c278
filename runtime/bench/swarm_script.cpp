#include "runtime/bench/swarm_script.hpp"

#include "actors/random.hpp"

#include <algorithm>
#include <optional>
#include <vector>

namespace astra::bench {
namespace {

constexpr std::int64_t profile_every_ns = 2'000'000'000;
constexpr std::int64_t away_ns = 2'000'000'000;
/// From one utilisation of a followed member to the next, in steps: far more than noise, and every step has its turn.
constexpr std::uint64_t stride = 37;

class swarm_script final : public sim::crowd_script {
public:
  swarm_script(view_board& board, std::uint32_t first, std::uint32_t count, swarm_manner manner)
    : board_(board), first_(first), count_(count), manner_(manner), random_(first + 1), loads_(count), lives_(count) {
    for (auto& load : loads_)
      load = static_cast<std::uint32_t>(random_.below(1U << 31U));
    if (manner_.goodbyes_per_s > 0)
      goodbye_interval_ns_ = static_cast<std::int64_t>(1e9 / manner_.goodbyes_per_s);
  }

  bool speaks(std::uint32_t i) override {
    auto now = now_ns();
    auto begin = board_.begin_ns().load(std::memory_order_relaxed);
    if (begin == 0 || now < begin || i >= joined(now - begin))
      return false;
    auto member = first_ + i;
    if (board_.die_ns().load(std::memory_order_relaxed) != 0 && board_.doomed(member))
      return false;
    if ((lives_[i] & away) == 0)
      return true;
    if (now < board_.member(member).left_ns.load(std::memory_order_relaxed) + away_ns)
      return false;
    // It has started anew.
    lives_[i] = static_cast<std::uint8_t>((lives_[i] & ~away) + 1U);
    return true;
  }

  void describe(std::uint32_t i, pb::Heartbeat& beat) override {
    board_.beats_sent().fetch_add(1, std::memory_order_relaxed);
    beat.set_incarnation(beat.incarnation() + (lives_[i] & ~away));
    auto now = now_ns();
    auto& load = *beat.mutable_load();
    if (auto place = board_.place_of(first_ + i)) {
      auto step = beat.sequence() * stride % view_board::load_steps;
      load.set_host_utilisation(static_cast<double>(step) / view_board::load_steps);
      board_.followed(*place).beat_ns[step].store(now, std::memory_order_relaxed);
      return;
    }
    if (static_cast<double>(random_.below(1'000'000)) < manner_.changing * 1e6)
      loads_[i] = static_cast<std::uint32_t>(random_.below(1U << 31U));
    // Of a node whose load changed, most measures have.
    auto bits = loads_[i];
    load.set_host_utilisation(static_cast<double>(bits % 1000) / 1000.0);
    load.set_own_busy_cores(static_cast<double>(bits / 7 % 16'000) / 1000.0);
    load.set_concurrency(static_cast<double>(bits / 11 % 32'000) / 1000.0);
    load.set_memory_used_bytes(std::uint64_t{bits / 13 % 65'536} << 20U);
    if (says_goodbye(i, now)) {
      beat.set_leaving(true);
      lives_[i] |= away;
      board_.member(first_ + i).told_ns = 0;
      board_.member(first_ + i).left_ns = now;
    }
  }

  std::uint32_t profile_version(std::uint32_t i) override {
    if (!board_.place_of(first_ + i))
      return 1;
    // Each at a moment of its own.
    auto shift = std::int64_t{first_ + i} * 104'729'000'000 % profile_every_ns;
    return static_cast<std::uint32_t>(1 + (now_ns() - board_.begin_ns().load() + shift) / profile_every_ns);
  }

  void describe(std::uint32_t i, pb::NodeProfile& profile) override {
    profile.set_incarnation(profile.incarnation() + (lives_[i] & ~away));
    auto& zone = *profile.add_labels();
    zone.set_key("zone");
    zone.set_value(i % 2 == 0 ? "a" : "b");
    if (auto place = board_.place_of(first_ + i))
      board_.followed(*place).profile_ns[profile.version() % view_board::profiles_kept] = now_ns();
  }

  void answered(std::uint32_t beats) override { board_.beats_answered().fetch_add(beats, std::memory_order_relaxed); }

  void goodbye_answered(std::uint32_t i) override { board_.member(first_ + i).told_ns = now_ns(); }

private:
  /// In `lives_`, next to how often it started anew.
  static constexpr std::uint8_t away = 0x80;

  std::uint32_t joined(std::int64_t since_ns) const {
    auto over = std::chrono::nanoseconds{manner_.join_over}.count();
    if (since_ns >= over)
      return count_;
    return static_cast<std::uint32_t>(static_cast<double>(count_) * static_cast<double>(since_ns)
                                      / static_cast<double>(over));
  }

  bool says_goodbye(std::uint32_t i, std::int64_t now) {
    if (goodbye_interval_ns_ == 0 || !board_.measuring().load(std::memory_order_relaxed) || now < next_goodbye_ns_)
      return false;
    // One that comes and goes too often is damped; those that die have another end.
    if ((lives_[i] & ~away) >= 3 || board_.doomed(first_ + i))
      return false;
    next_goodbye_ns_ = now + goodbye_interval_ns_ / 2
                       + static_cast<std::int64_t>(random_.below(static_cast<std::uint64_t>(goodbye_interval_ns_)));
    return true;
  }

  view_board& board_;
  std::uint32_t first_;
  std::uint32_t count_;
  swarm_manner manner_;
  random_source random_;
  /// What each member's load is made of.
  std::vector<std::uint32_t> loads_;
  std::vector<std::uint8_t> lives_;
  std::int64_t goodbye_interval_ns_ = 0;
  std::int64_t next_goodbye_ns_ = 0;
};

} // namespace

std::shared_ptr<sim::crowd_script> make_swarm_script(view_board& board, std::uint32_t first, std::uint32_t count,
                                                     swarm_manner manner) {
  return std::make_shared<swarm_script>(board, first, count, manner);
}

} // namespace astra::bench
