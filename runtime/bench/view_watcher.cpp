#include "runtime/bench/view_watcher.hpp"

#include "actors/resource/load_columns.hpp"
#include "messages/ids.hpp"

#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

#include <chrono>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

namespace astra::bench {
namespace {

constexpr std::chrono::milliseconds renew_interval{1000};
/// How often the ages of loads are looked at.
constexpr std::chrono::milliseconds look_interval{50};
/// A member that said goodbye is back by then, and offline rows that come later are no news of that goodbye.
constexpr std::int64_t goodbye_counts_ns = 10'000'000'000;
constexpr std::uint8_t utilisation_bit = 1U << static_cast<unsigned>(node_load::column::utilisation);

class view_watcher_state {
public:
  static constexpr const char* name = "astra.view-watcher";

  view_watcher_state(view_subscriber::pointer self, view_source source, view_board* board, std::uint32_t swarms,
                     std::size_t number)
    : self_(self), source_(std::move(source)), board_(*board), report_(board->subscriber(number)) {
    states_.resize(board_.members(), pb::LIVENESS_UNKNOWN);
    doubted_.resize(board_.members(), false);
    described_.resize(board_.members(), false);
    members_.reserve(board_.members());
    for (std::uint32_t swarm = 0; swarm < swarms; ++swarm) {
      auto range = members_of(swarm, swarms, board_.members());
      auto prefix = crowd_name(swarm) + '/';
      for (std::uint32_t i = 0; i < range.count; ++i)
        members_.emplace(make_node_id(prefix + std::to_string(i + 1)), range.first + i);
    }
    followed_.resize(board_.followed());
  }

  view_subscriber::behavior_type make_behavior() {
    renew();
    self_->run_delayed(look_interval, [this] { look(); });
    return {[this](const view_delta& delta) { on_delta(*delta); }};
  }

private:
  struct followed {
    std::uint64_t profile = 0;
    /// When the beat was sent whose load is known; 0: none.
    std::int64_t beat_ns = 0;
  };

  void renew() {
    self_->run_delayed(renew_interval, [this] { renew(); });
    pb::Subscribe wish;
    wish.set_scope(pb::Subscribe::ALL_SHARDS);
    wish.set_subscriber("watcher");
    self_->request(source_, renew_interval, subscribe{std::move(wish)})
        .then([](const subscribe_ack&) {}, [](const caf::error&) {}); // the next renewal is never far
  }

  void look() {
    self_->run_delayed(look_interval, [this] { look(); });
    if (!board_.measuring())
      return;
    auto now = now_ns();
    for (auto& one : followed_)
      if (one.beat_ns != 0)
        report_.load_age.add(now - one.beat_ns);
  }

  void on_delta(const pb::ViewDelta& delta) {
    auto now = now_ns();
    report_.deltas.fetch_add(1, std::memory_order_relaxed);
    auto& places = places_[delta.origin()];
    for (auto& row : delta.nodes()) {
      auto known = members_.find(node_id{row.node()});
      auto place = known == members_.end() ? std::nullopt : board_.place_of(known->second);
      if (row.slot() != 0) {
        if (places.size() < row.slot())
          places.resize(row.slot(), nowhere);
        places[row.slot() - 1] = place.value_or(nowhere);
      }
      if (known == members_.end())
        continue;
      take_liveness(known->second, row.liveness(), now);
      if (!row.has_profile() && row.shape() == 0)
        continue;
      if (!described_[known->second]) {
        described_[known->second] = true;
        ++described_count_;
      }
      if (place && row.has_profile())
        take_profile(*place, row.profile().version(), now);
    }
    for (auto& columns : delta.loads()) {
      load_columns_reader reader{columns};
      if (!reader.valid())
        continue;
      told_load told;
      while (reader.next(told)) {
        auto place = told.slot > 0 && told.slot <= places.size() ? places[told.slot - 1] : nowhere;
        if (place != nowhere && (told.columns & utilisation_bit) != 0)
          followed_[place].beat_ns = board_.followed(place).beat_ns[told.values.bytes[0] % view_board::load_steps];
      }
    }
    report_.online = online_;
    report_.suspect = suspect_;
    report_.offline = offline_;
    report_.described = described_count_;
  }

  std::uint32_t* count_of(pb::Liveness state) {
    switch (state) {
    case pb::LIVENESS_ONLINE:
      return &online_;
    case pb::LIVENESS_SUSPECT:
      return &suspect_;
    case pb::LIVENESS_OFFLINE:
      return &offline_;
    default:
      return nullptr;
    }
  }

  void take_liveness(std::uint32_t member, pb::Liveness state, std::int64_t now) {
    auto before = std::exchange(states_[member], state);
    if (before == state)
      return;
    if (auto count = count_of(before))
      --*count;
    if (auto count = count_of(state))
      ++*count;
    auto died = board_.die_ns().load();
    auto dead = died != 0 && now > died && board_.doomed(member);
    if (dead && state != pb::LIVENESS_ONLINE && !doubted_[member]) {
      doubted_[member] = true;
      report_.last_doubted_ns = now;
      ++report_.dead_doubted;
    }
    if (state != pb::LIVENESS_OFFLINE)
      return;
    auto left = board_.member(member).left_ns.load();
    if (dead) {
      report_.last_out_ns = now;
      ++report_.dead_out;
    } else if (left != 0 && now - left < goodbye_counts_ns) {
      if (board_.measuring()) {
        report_.liveness.add(now - left);
        auto told = board_.member(member).told_ns.load();
        report_.liveness_known.add(told == 0 ? 0 : now - told);
      }
    } else {
      ++report_.wronged;
    }
  }

  void take_profile(std::uint32_t place, std::uint64_t version, std::int64_t now) {
    auto& known = followed_[place];
    if (version <= known.profile)
      return;
    known.profile = version;
    auto sent = board_.followed(place).profile_ns[version % view_board::profiles_kept].load();
    if (board_.measuring() && sent != 0)
      report_.claims.add(now - sent);
  }

  static constexpr std::uint32_t nowhere = ~std::uint32_t{0};

  view_subscriber::pointer self_;
  view_source source_;
  view_board& board_;
  subscriber_report& report_;
  std::unordered_map<node_id, std::uint32_t> members_;
  std::vector<pb::Liveness> states_;
  std::vector<bool> doubted_;
  std::vector<bool> described_;
  std::vector<followed> followed_;
  /// By origin and slot less 1: who is followed there.
  std::unordered_map<std::uint64_t, std::vector<std::uint32_t>> places_;
  std::uint32_t online_ = 0;
  std::uint32_t suspect_ = 0;
  std::uint32_t offline_ = 0;
  std::uint32_t described_count_ = 0;
};

} // namespace

view_subscriber spawn_view_watcher(caf::actor_system& sys, view_source source, view_board& board, std::uint32_t swarms,
                                   std::size_t number) {
  return sys.spawn<view_subscriber::stateful_impl<view_watcher_state>>(std::move(source), &board, swarms, number);
}

member_range members_of(std::uint32_t swarm, std::uint32_t swarms, std::uint32_t members) {
  auto begin = static_cast<std::uint32_t>(std::uint64_t{members} * swarm / swarms);
  auto end = static_cast<std::uint32_t>(std::uint64_t{members} * (swarm + 1) / swarms);
  return {begin, end - begin};
}

} // namespace astra::bench
