#include "runtime/bench/swarm_script.hpp"

#include "actors/random.hpp"
#include "actors/resource/node_load.hpp"

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
    for (std::uint32_t i = 0; i < count; ++i) {
      loads_[i] = draw_load();
      lives_[i] = board_.place_of(first_ + i) ? followed : 0;
    }
    if (manner_.goodbyes_per_s > 0)
      goodbye_interval_ns_ = static_cast<std::int64_t>(1e9 / manner_.goodbyes_per_s);
  }

  void begin_turns() override {
    now_ns_ = now_ns();
    begin_ns_ = board_.begin_ns().load(std::memory_order_relaxed);
    joined_ = begin_ns_ == 0 || now_ns_ < begin_ns_ ? 0 : joined(now_ns_ - begin_ns_);
    dying_ = board_.die_ns().load(std::memory_order_relaxed) != 0;
    measuring_ = board_.measuring().load(std::memory_order_relaxed);
  }

  bool speak(std::uint32_t i, std::uint32_t sequence, sim::crowd_word& word) override {
    if (i >= joined_ || (dying_ && board_.doomed(first_ + i)))
      return false;
    auto& life = lives_[i];
    if ((life & away) != 0) {
      if (now_ns_ < board_.member(first_ + i).left_ns.load(std::memory_order_relaxed) + away_ns)
        return false;
      // It has started anew.
      life = static_cast<std::uint8_t>((life & ~away) + 1U);
    }
    word.restarts = life & restarts;
    if ((life & followed) != 0) {
      auto step = sequence * stride % view_board::load_steps;
      word.load.bytes[static_cast<std::size_t>(node_load::column::utilisation)] = static_cast<std::uint8_t>(step);
      word.profile_version = followed_profile(i);
      board_.followed(*board_.place_of(first_ + i)).beat_ns[step].store(now_ns_, std::memory_order_relaxed);
      return true;
    }
    if (static_cast<double>(random_.below(1'000'000)) < manner_.changing * 1e6)
      loads_[i] = draw_load();
    word.load = loads_[i];
    if (says_goodbye(i)) {
      word.leaving = true;
      life |= away;
      board_.member(first_ + i).told_ns = 0;
      board_.member(first_ + i).left_ns = now_ns_;
    }
    return true;
  }

  void end_turns(std::uint32_t beats) override { board_.beats_sent().fetch_add(beats, std::memory_order_relaxed); }

  void describe(std::uint32_t i, pb::NodeProfile& profile) override {
    auto& zone = *profile.add_labels();
    zone.set_key("zone");
    zone.set_value(i % 2 == 0 ? "a" : "b");
    if (auto place = board_.place_of(first_ + i))
      board_.followed(*place).profile_ns[profile.version() % view_board::profiles_kept] = now_ns();
  }

  void answered(std::uint32_t beats) override { board_.beats_answered().fetch_add(beats, std::memory_order_relaxed); }

  void goodbye_answered(std::uint32_t i) override { board_.member(first_ + i).told_ns = now_ns(); }

private:
  // What `lives_` is made of: whether it is away, whether it is followed, how often it started anew.
  static constexpr std::uint8_t away = 0x80;
  static constexpr std::uint8_t followed = 0x40;
  static constexpr std::uint8_t restarts = 0x3f;

  /// Of a node whose load changed, most measures have.
  node_load draw_load() {
    auto bits = static_cast<std::uint32_t>(random_.below(1U << 31U));
    pb::NodeLoad exact;
    exact.set_host_utilisation(static_cast<double>(bits % 1000) / 1000.0);
    exact.set_own_busy_cores(static_cast<double>(bits / 7 % 16'000) / 1000.0);
    exact.set_concurrency(static_cast<double>(bits / 11 % 32'000) / 1000.0);
    exact.set_memory_used_bytes(std::uint64_t{bits / 13 % 65'536} << 20U);
    return node_load{exact};
  }

  std::uint32_t followed_profile(std::uint32_t i) const {
    // Each at a moment of its own.
    auto shift = std::int64_t{first_ + i} * 104'729'000'000 % profile_every_ns;
    return static_cast<std::uint32_t>(1 + (now_ns_ - begin_ns_ + shift) / profile_every_ns);
  }

  std::uint32_t joined(std::int64_t since_ns) const {
    auto over = std::chrono::nanoseconds{manner_.join_over}.count();
    if (since_ns >= over)
      return count_;
    return static_cast<std::uint32_t>(static_cast<double>(count_) * static_cast<double>(since_ns)
                                      / static_cast<double>(over));
  }

  bool says_goodbye(std::uint32_t i) {
    if (!measuring_ || goodbye_interval_ns_ == 0 || now_ns_ < next_goodbye_ns_)
      return false;
    // One that comes and goes too often is damped; those that die have another end.
    if ((lives_[i] & restarts) >= 3 || board_.doomed(first_ + i))
      return false;
    next_goodbye_ns_ = now_ns_ + goodbye_interval_ns_ / 2
                       + static_cast<std::int64_t>(random_.below(static_cast<std::uint64_t>(goodbye_interval_ns_)));
    return true;
  }

  view_board& board_;
  std::uint32_t first_;
  std::uint32_t count_;
  swarm_manner manner_;
  random_source random_;
  std::vector<node_load> loads_;
  std::vector<std::uint8_t> lives_;
  // As these turns found it.
  std::int64_t now_ns_ = 0;
  std::int64_t begin_ns_ = 0;
  std::uint32_t joined_ = 0;
  bool dying_ = false;
  bool measuring_ = false;
  std::int64_t goodbye_interval_ns_ = 0;
  std::int64_t next_goodbye_ns_ = 0;
};

} // namespace

std::shared_ptr<sim::crowd_script> make_swarm_script(view_board& board, std::uint32_t first, std::uint32_t count,
                                                     swarm_manner manner) {
  return std::make_shared<swarm_script>(board, first, count, manner);
}

} // namespace astra::bench
