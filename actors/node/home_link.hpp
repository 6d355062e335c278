#pragma once

#include "actors/node/home_selector.hpp"
#include "actors/platform.hpp"
#include "config/options.hpp"
#include "messages/ids.hpp"
#include "messages/membership.hpp"
#include "messages/node_protocol.hpp"
#include "messages/profile_limits.hpp"
#include "messages/resource_protocol.hpp"

#include <caf/actor_addr.hpp>
#include <caf/error.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

namespace astra {

/// A node's side of the conversation with its home Resource: beats, keeps the profile there up to date, and moves to
/// the next Resource when the home is silent or gone.  Part of the node actor, whose clock and mailbox it uses.
class home_link {
public:
  /// What the link needs from its node.
  struct hooks {
    /// Fills in load and flags of a heartbeat.
    std::function<void(pb::Heartbeat&)> describe_beat;
    /// Fills in everything that may change of a profile but its version.
    std::function<void(pb::NodeProfile&)> describe_node;
    /// A Resource knows a newer incarnation of this node.
    std::function<void(const std::string& resource)> fenced;
  };

  /// A change of the profile is told at once, but at most once in this time.
  static constexpr std::chrono::milliseconds profile_interval{20};

  /// Largest profile that is sent; what is around it in its message needs little.
  static constexpr std::size_t profile_bytes_max = edge_body_max - 1024;

  /// Wait for the answer to a goodbye.
  static constexpr std::chrono::milliseconds goodbye_wait{300};

  home_link(node_actor::pointer self, platform& world, const node_options& options, node_id node, incarnation started,
            hooks to_node);

  /// Begins to beat, once per heartbeat interval.
  void start();

  /// Beats now, next to the regular beats.
  void beat();

  /// The profile changed; the home hears of it within `profile_interval`.
  void profile_changed();

  /// When a Resource last answered; the beginning when none has.
  home_selector::time_point heard() const { return heard_; }

  /// The home has answered since it was chosen.
  bool joined() const { return joined_; }

  /// Whether this was the home: its session has ended, and the node turns to the next choice.
  bool on_down(const caf::actor_addr& source);

  /// Says goodbye and stops beating; `done` is called when the home has answered, or after a short wait.
  void leave(std::function<void()> done);

private:
  const char* service() const;
  void tick();
  void dial();
  void come_home(const caf::strong_actor_ptr& found);
  void look_for_aggregator();
  void send_profile();
  void on_ack(const pb::HeartbeatAck& ack, std::uint64_t epoch);
  void on_no_ack(const caf::error& reason, std::uint64_t epoch);
  /// The home is gone: turns to the next one.
  void on_failure(const std::string& reason);
  /// Forgets the session with the former home.
  void moved(const std::string& from, const std::string& reason);
  heartbeat make_beat();

  node_actor::pointer self_;
  platform& world_;
  const node_options& options_;
  node_id node_;
  incarnation incarnation_;
  hooks to_node_;
  home_selector selector_;
  /// Empty while no session is there.
  heartbeat_sink home_;
  bool dialing_ = false;
  bool looking_ = false;
  bool left_ = false;
  /// The home answered since it was chosen.
  bool joined_ = false;
  /// Who is behind the home: itself, or the Resource that its aggregator speaks to.
  resource_id resource_;
  /// Whether the loss of the last home was told already.
  bool warned_ = false;
  bool too_large_told_ = false;
  std::uint64_t sequence_ = 0;
  std::uint64_t profile_version_ = 1;
  bool profile_due_ = false;
  bool profile_under_way_ = false;
  home_selector::time_point profile_sent_{};
  home_selector::time_point heard_;
};

} // namespace astra
