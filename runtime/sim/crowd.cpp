#include "runtime/sim/crowd.hpp"

#include "actors/aggregator/beat_batcher.hpp"
#include "actors/random.hpp"
#include "actors/rendezvous.hpp"
#include "messages/resource_protocol.hpp"
#include "messages/type_ids.hpp"

#include <caf/actor_cast.hpp>
#include <caf/actor_clock.hpp>
#include <caf/event_based_actor.hpp>
#include <caf/stateful_actor.hpp>

#include <algorithm>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace astra::sim {
namespace {

/// Nodes take turns within the heartbeat interval: neighbours in memory beat one after the other.
constexpr std::uint32_t slices = 50;
/// Batches leave with each so many slices: four in an interval, as an aggregator's.
constexpr std::uint32_t slices_per_batch = 13;
/// As an aggregator's (actors/aggregator/aggregator.cpp).
constexpr std::uint32_t batches_under_way_max = 4;
/// Profiles that one home has not answered: who sends a hundred thousand at once hears of none in time, and sends all
/// of them again.
constexpr std::uint32_t profiles_under_way_max = 1000;
/// Batches in a row without an answer, after which a home is lost.
constexpr std::uint32_t batches_lost_max = 3;

class crowd_state {
public:
  static constexpr const char* name = "astra.crowd";

  crowd_state(caf::event_based_actor* self, platform& world, node_options options, std::uint32_t count,
              std::shared_ptr<crowd_script> script, crowd_voice voice)
    : self_(self), world_(world), options_(std::move(options)), script_(std::move(script)), voice_(voice),
      incarnation_(world.next_incarnation()) {
    members_.resize(count);
    for (std::uint32_t i = 0; i < count; ++i) {
      auto text = name_of(i);
      members_[i].id = make_node_id(text);
      turn(i, rendezvous_order(text, options_.resources).front());
    }
    random_source random{world.seed("crowd")};
    first_ = std::chrono::nanoseconds{static_cast<std::int64_t>(
        random.below(static_cast<std::uint64_t>(std::chrono::nanoseconds{options_.heartbeat}.count())))};
  }

  caf::behavior make_behavior() {
    self_->set_down_handler([this](const caf::down_msg& down) {
      for (auto& there : homes_)
        if (there.handle && there.handle->address() == down.source)
          lose(there);
    });
    next_ = self_->clock().now() + first_;
    self_->run_delayed(first_, [this] { tick(); });
    return {[](int) {}};
  }

private:
  /// Half a cache line: all of them are looked at in every interval.
  struct member {
    node_id id;
    std::uint32_t home_epoch = 1;
    std::uint32_t sequence = 0;
    /// Version of the profile that its last beat named.
    std::uint32_t named = 0;
    /// Version of the profile that was sent last to this home; 0: none.
    std::uint32_t described = 0;
    /// In the batches to this home; 0: not there yet.
    std::uint32_t slot = 0;
    std::uint16_t home = 0;
    /// As its last beat said, as the next.
    std::uint8_t restarts = 0;
    bool leaving = false;
  };

  struct home {
    std::string address;
    caf::strong_actor_ptr handle;
    bool dialing = false;
    std::uint16_t number = 0;
    /// Beats in a row without an answer, or batches.
    std::uint32_t silent = 0;
    /// With batches: what waits for the next one.
    std::unique_ptr<beat_batcher> batcher;
    std::uint32_t beats = 0;
    std::vector<std::uint32_t> goodbyes;
    /// Members whose profiles wait until the home knows them.
    std::deque<std::uint32_t> profiles;
    std::uint32_t profiles_under_way = 0;
    std::uint32_t under_way = 0;
    /// Grows when the home is lost: answers to what was sent before mean nothing.
    std::uint32_t session = 0;
  };

  std::string name_of(std::uint32_t i) const { return options_.name + '/' + std::to_string(i + 1); }

  home& home_of(std::uint32_t i) { return homes_[members_[i].home]; }

  void turn(std::uint32_t i, const std::string& address) {
    auto found = std::find_if(homes_.begin(), homes_.end(), [&](auto& there) { return there.address == address; });
    if (found == homes_.end()) {
      found = homes_.emplace(homes_.end());
      found->address = address;
      found->number = static_cast<std::uint16_t>(homes_.size() - 1);
    }
    members_[i].home = found->number;
  }

  void tick() {
    // As machines do, it keeps its pace when it was late; what it missed by a whole interval is lost.
    auto now = self_->clock().now();
    next_ += std::chrono::nanoseconds{options_.heartbeat} / slices;
    if (now - next_ > options_.heartbeat)
      next_ = now;
    self_->run_delayed(next_ - now, [this] { tick(); });
    auto count = static_cast<std::uint32_t>(members_.size());
    auto from = static_cast<std::uint32_t>(std::uint64_t{count} * slice_ / slices);
    auto to = static_cast<std::uint32_t>(std::uint64_t{count} * (slice_ + 1) / slices);
    slice_ = (slice_ + 1) % slices;
    if (script_)
      script_->begin_turns();
    std::uint32_t beats = 0;
    for (auto i = from; i < to; ++i)
      beats += beat(i, now) ? 1 : 0;
    if (script_)
      script_->end_turns(beats);
    if (voice_ == crowd_voice::batches)
      for (auto& there : homes_)
        if (there.handle && there.batcher) {
          if (slice_ % slices_per_batch == 0 || there.batcher->urgent())
            flush(there);
          send_profiles(there);
        }
  }

  bool beat(std::uint32_t i, caf::actor_clock::time_point now) {
    auto& who = members_[i];
    auto& there = homes_[who.home];
    if (!there.handle) {
      dial(there);
      return false;
    }
    crowd_word word;
    if (script_ && !script_->speak(i, who.sequence + 1, word))
      return false;
    ++who.sequence;
    auto as_before = std::tuple{who.named, who.restarts, who.leaving}
                     == std::tuple{word.profile_version, word.restarts, word.leaving};
    auto restarted = who.restarts != word.restarts;
    std::tie(who.named, who.restarts, who.leaving) = std::tuple{word.profile_version, word.restarts, word.leaving};
    if (voice_ == crowd_voice::single) {
      auto message = whole_beat(who, word);
      ask(i, message, word.leaving);
    } else {
      gather(i, there, word, as_before, now);
    }
    if (restarted)
      who.described = 0;
    if (who.described < word.profile_version) {
      who.described = word.profile_version;
      if (voice_ == crowd_voice::single)
        describe(i);
      else
        there.profiles.push_back(i);
    }
    return true;
  }

  heartbeat whole_beat(const member& who, const crowd_word& word) const {
    heartbeat result;
    result->set_node(who.id.value());
    result->set_incarnation(incarnation_.value() + word.restarts);
    result->set_sequence(who.sequence);
    result->set_home_epoch(who.home_epoch);
    result->set_profile_version(word.profile_version);
    if (script_)
      *result->mutable_load() = word.load.to_pb();
    result->set_leaving(word.leaving);
    return result;
  }

  void gather(std::uint32_t i, home& there, const crowd_word& word, bool as_before, caf::actor_clock::time_point now) {
    auto& who = members_[i];
    ++there.beats;
    if (as_before && who.slot != 0 && there.batcher->take_again(who.slot, who.sequence, word.load, now))
      return;
    if (!there.batcher)
      there.batcher = std::make_unique<beat_batcher>();
    auto beat = whole_beat(who, word);
    if (!there.batcher->told(who.id))
      beat->set_name(name_of(i));
    there.batcher->take(*beat, now);
    who.slot = there.batcher->slot(who.id);
    if (word.leaving)
      there.goodbyes.push_back(i);
  }

  void flush(home& there) {
    if (there.under_way >= batches_under_way_max)
      return;
    ++there.under_way;
    beat_batch batch{there.batcher->flush()};
    batch->set_tick_ms(static_cast<std::uint32_t>(options_.heartbeat.count() * slices_per_batch / slices));
    batch->set_aggregator(options_.name);
    self_
        ->request(caf::actor_cast<aggregate_sink>(there.handle), caf::timespan{options_.home_silence}, std::move(batch))
        .then(
            [this, number = there.number, session = there.session, beats = std::exchange(there.beats, 0),
             goodbyes = std::exchange(there.goodbyes, {})](const beat_batch_ack& ack) {
              auto& home = homes_[number];
              if (home.session != session)
                return;
              --home.under_way;
              home.silent = 0;
              home.batcher->take(*ack);
              if (!script_)
                return;
              script_->answered(beats);
              for (auto i : goodbyes)
                script_->goodbye_answered(i);
            },
            [this, number = there.number, session = there.session](const caf::error&) {
              auto& home = homes_[number];
              if (home.session != session)
                return;
              --home.under_way;
              if (++home.silent >= batches_lost_max)
                lose(home);
            });
  }

  /// The home takes a profile only of a node that it was told of.
  void send_profiles(home& there) {
    for (auto rest = there.profiles.size(); rest > 0 && there.profiles_under_way < profiles_under_way_max; --rest) {
      auto i = there.profiles.front();
      there.profiles.pop_front();
      if (!there.batcher->told(members_[i].id)) {
        there.profiles.push_back(i);
        continue;
      }
      ++there.profiles_under_way;
      describe(i);
    }
  }

  template <class Message>
  void ask(std::uint32_t i, Message& message, bool leaving) {
    auto& who = members_[i];
    auto epoch = who.home_epoch;
    // What was sent later may be on its way when this is answered.
    auto described = who.described;
    auto profile_answered = [this, number = who.home, session = homes_[who.home].session] {
      auto& home = homes_[number];
      if (home.batcher && home.session == session)
        --home.profiles_under_way;
    };
    self_
        ->request(caf::actor_cast<heartbeat_sink>(homes_[who.home].handle), caf::timespan{options_.heartbeat},
                  std::move(message))
        .then(
            [this, i, epoch, described, leaving, profile_answered](const heartbeat_ack& ack) {
              profile_answered();
              if (members_[i].home_epoch != epoch)
                return;
              home_of(i).silent = 0;
              if (ack->profile_version() < described)
                members_[i].described = 0;
              if (auto& batcher = home_of(i).batcher)
                batcher->profile_acknowledged(members_[i].id, *ack);
              if (!script_ || !std::is_same_v<Message, heartbeat>)
                return;
              script_->answered(1);
              if (leaving)
                script_->goodbye_answered(i);
            },
            [this, i, epoch, profile_answered](const caf::error&) {
              profile_answered();
              if (members_[i].home_epoch != epoch)
                return;
              auto& there = home_of(i);
              if (there.batcher) {
                members_[i].described = 0; // a profile was lost; its batches tell whether the home is
                return;
              }
              // Two rounds of beats without an answer.
              if (++there.silent > 2 * members_.size())
                lose(there);
            });
  }

  void describe(std::uint32_t i) {
    auto& who = members_[i];
    profile_update message;
    message->set_home_epoch(who.home_epoch);
    auto& profile = *message->mutable_profile();
    profile.set_node(who.id.value());
    profile.set_incarnation(incarnation_.value() + who.restarts);
    profile.set_version(who.described);
    profile.set_name(name_of(i));
    profile.set_address(world_.address());
    profile.mutable_capacity()->set_cpu_milli(options_.cpu_milli);
    profile.mutable_capacity()->set_memory_bytes(options_.memory_bytes);
    if (script_)
      script_->describe(i, profile);
    ask(i, message, false);
  }

  void dial(home& there) {
    if (std::exchange(there.dialing, true))
      return;
    self_
        ->request(world_.dialer(), caf::timespan{options_.home_silence}, dial_atom_v, there.address,
                  std::string{resource_service})
        .then(
            [this, number = there.number](const caf::strong_actor_ptr& found) {
              auto& home = homes_[number];
              home.dialing = false;
              home.silent = 0;
              home.handle = found;
              self_->monitor(found);
            },
            [this, number = there.number](const caf::error&) {
              homes_[number].dialing = false;
              lose(homes_[number]);
            });
  }

  /// Its nodes turn to their next choices.
  void lose(home& gone) {
    gone.handle = nullptr;
    gone.silent = 0;
    gone.batcher = nullptr;
    gone.beats = gone.under_way = gone.profiles_under_way = 0;
    gone.goodbyes.clear();
    gone.profiles.clear();
    ++gone.session;
    for (std::uint32_t i = 0; i < members_.size(); ++i) {
      auto& who = members_[i];
      if (who.home != gone.number)
        continue;
      auto order = rendezvous_order(name_of(i), options_.resources);
      auto now = std::find(order.begin(), order.end(), gone.address);
      auto next = now == order.end() || now + 1 == order.end() ? order.begin() : now + 1;
      ++who.home_epoch;
      who.described = who.slot = 0;
      turn(i, *next);
    }
  }

  caf::event_based_actor* self_;
  platform& world_;
  node_options options_;
  /// Null: none.
  std::shared_ptr<crowd_script> script_;
  crowd_voice voice_;
  incarnation incarnation_;
  std::vector<member> members_;
  /// By number.  What they are called with stays where it is when one more comes.
  std::deque<home> homes_;
  std::chrono::nanoseconds first_{0};
  /// When the next slice has its turn.
  caf::actor_clock::time_point next_;
  std::uint32_t slice_ = 0;
};

} // namespace

caf::actor spawn_crowd(caf::actor_system& sys, platform& world, const node_options& options, std::uint32_t count,
                       std::shared_ptr<crowd_script> script, crowd_voice voice) {
  return sys.spawn<caf::stateful_actor<crowd_state>>(std::ref(world), options, count, std::move(script), voice);
}

} // namespace astra::sim
