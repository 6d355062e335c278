#pragma once

#include "actors/random.hpp"
#include "actors/resource/node_load.hpp"
#include "actors/resource/node_row.hpp"
#include "actors/router/order.hpp"
#include "actors/router/service_meter.hpp"
#include "actors/router/weight_formula.hpp"
#include "config/options.hpp"
#include "messages/ids.hpp"
#include "messages/wire/view.pb.h"

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace astra {

/// Which nodes are asked first, and which are asked at all.
struct pool_reach {
  /// A node is near that carries all of these; empty: none is.
  std::vector<std::pair<std::string, std::string>> near;
  /// So many near ones are asked before the others.
  std::size_t near_tries = 2;
  router_share share;
};

/// The nodes that hold replicas of one app, and the order in which they get its requests.
///
/// The cluster view says which of them can serve: alive, not draining, with a ready replica.  Of these, some are out
/// of rotation because nothing good is expected from them now: those the view suspects and those that failed a
/// dispatch of ours (ejected).  Both are guesses.  When they hit more than half of the nodes, the fault is more likely
/// on this side, and guesses are ignored (panic rule, as in Envoy).  A node's own refusal is no guess and is always
/// kept.
///
/// Pools of up to `scan_max` nodes are settled as a whole: any change computes all weights anew.  In larger ones a
/// change moves the nodes that it is about, and all weights follow at the next refresh.
///
/// Nodes that are near, as their labels say, have turns of their own: a request is offered to them first, and spills
/// over to the others when they have refused it.  Of apps on very many nodes each of several routers takes its part
/// only: a slice of the ring of their ids, such that every node is in the slices of two (deterministic aperture, as in
/// Finagle).
///
/// A plain class: the time is an argument.
class node_pool {
public:
  using time_point = std::chrono::steady_clock::time_point;
  using milliseconds = std::chrono::milliseconds;

  /// Apps on more nodes than this are shared by their routers.
  static constexpr std::size_t shared_above = 10'000;

  /// Where a node takes turns.
  struct place {
    std::size_t rank = 0;
    seat at = 0;
  };

  struct member {
    std::string name;
    std::string address;
    incarnation life;
    /// Number of the last word about it.
    std::uint64_t word = 0;
    weight_input load;
    /// What its counters have told.
    service_meter service;
    service_meter::sample counters;
    /// Requests its ready replicas take at once.
    std::uint32_t slots = 0;
    /// Why the view says that it cannot serve; empty when it can.
    std::string cannot_serve;
    /// Why the view suspects it; empty when it does not.
    std::string suspected;
    /// What we hold against it, until `held_until` or until there is a later word about it than `held_at`.
    std::string held;
    /// `held` is the node's own word.
    bool refused = false;
    time_point held_until;
    std::pair<incarnation, std::uint64_t> held_at;
    double weight = 0.0;
    /// What the weight was made of.
    weight_input weighed;
    /// Its replicas were seen not to be ready, and nothing was sent to them since.
    bool fresh = false;
    /// Since when its share grows, and how much of it it has, in (0, 1].
    std::optional<time_point> joined;
    double ramp = 1.0;
    /// Until a slot is free, as it last said.
    milliseconds eta{0};
    std::uint64_t picked = 0;
    std::uint64_t served = 0;
    /// Near ones are of rank 0, others of rank 1.
    std::size_t rank = 1;
    /// While in rotation.
    std::optional<place> at;
    /// As counted when the pool was settled last.
    bool able = false;
    bool doubted = false;
    bool unsettled = false;
  };

  /// @param ejection how long something is held against a node that is not seen again.
  /// @param horizon how far water filling looks ahead; its `refresh` is how often refresh is called.
  /// @param slow_start how long the share of a node whose replicas become ready while others work takes to grow from a
  ///        tenth to the whole.
  node_pool(std::string app, milliseconds ejection, random_source phase, const weight_horizon& horizon = {},
            milliseconds slow_start = milliseconds{0}, pool_reach reach = {});

  /// Which formula makes the weights.  Takes effect with `settle`.
  void use(pb::WeightFormula formula);

  /// Takes over what the view says now; `row` must be complete.  Takes effect with `settle`.
  /// @param word grows with every word about the node, see cluster_view::last_word.
  /// @returns true when everything that ran at the node is lost: it is offline, or has moved
  /// to another address.
  bool observe(const node_row& row, const node_load& load, std::uint64_t word);
  /// Clusters of a federated app that take requests: their heads count, and nothing else of the app.
  /// @returns whether that is news: then every node is to be observed again.
  bool set_serving(std::set<std::uint64_t> clusters) { return clusters != std::exchange(serving_, clusters); }

  /// The same, of its load alone.  Takes effect with `settle`, and for the weights with `refresh`.
  void observe_load(node_id node, const node_load& load, std::uint64_t word);
  /// The view has no such row any more.  Takes effect with `settle`.
  void forget(node_id node);
  /// A dispatch to the node failed: it gets nothing for a while, or until it is seen alive.  Takes effect with
  /// `settle`.
  void eject(node_id node, std::string reason, time_point now);
  /// The same, and being seen alive does not end it: it answers, and answers badly.  A restart of the node ends it.
  void expel(node_id node, std::string reason, milliseconds length, time_point now);
  /// The node itself said that it takes no work of this app, for example because it drains.  Takes effect with
  /// `settle`.
  void refuse(node_id node, std::string reason, time_point now);

  /// Brings rotation and weights in line with all that was said since.
  /// @returns the nodes that left the rotation, in ascending order: what waits there must go elsewhere.
  std::vector<node_id> settle(time_point now);

  /// Computes the weights anew from the newest loads, and learns from the counters in them.
  void refresh(time_point now);

  /// The next node in turn that is not among `asked`: a near one until so many were asked, others then.
  std::optional<node_id> pick(std::span<const node_id> asked, time_point now) { return pick(asked, asked.size(), now); }
  /// @param tries How many of those passed over count as asked.
  std::optional<node_id> pick(std::span<const node_id> passed_over, std::size_t tries, time_point now);

  /// The node at which requests with this key are at home and that is not among `asked`: the same for the same nodes in
  /// rotation, and with shares by slots (rendezvous hashing with weights; in large pools among those that follow the
  /// key on a ring).  Its turn in the order stays what it was.  A router's share does not matter here, nor what is
  /// near.
  std::optional<node_id> pick_by_key(std::string_view key, std::span<const node_id> asked, time_point now);

  /// The walk of a request of known size: of the next nodes in turn a large one is offered to the fastest first, a
  /// small one to the slowest.
  struct sized_walk {
    /// Expected work relative to the mean, positive.
    double size = 1.0;
    /// How many turns it takes.
    std::size_t count = 4;
    /// Whom to ask, in this order.
    std::vector<node_id> in_turn;
  };

  /// The next node of the walk that is not among `asked`; a new walk when nobody was.
  std::optional<node_id> pick(sized_walk& walk, std::span<const node_id> asked, time_point now);

  /// Whose turn the next picks are.  Nothing changes.
  std::vector<std::string> preview(std::size_t count, time_point now);

  /// No node can serve.
  bool empty(time_point now);

  void set_eta(node_id node, milliseconds eta);
  void count_served(node_id node);

  bool in_rotation(node_id node) const;
  std::size_t nodes_in_rotation() const { return in_rotation_; }
  /// Why it is out of rotation; empty when it is in.
  std::string out_reason(node_id node) const;
  /// Cores times coefficient, for each of its slots.
  static double hardware_of_slot(const member& who);
  /// The shortest that a node in rotation gave; zero when none is known.
  milliseconds best_eta(time_point now);
  /// Null when it holds no replica of the app.
  const member* find(node_id node) const;
  const std::map<node_id, member>& members() const { return members_; }
  std::string_view formula() const { return ranks_[0].formula->name(); }
  /// Of the rank with the most nodes.
  order_kind turns_by() const;
  /// What the weight of a node is made of; empty when it is out of rotation.
  weight_terms terms(const member& who) const;
  /// Of those in rotation, in the unit of the weights.
  std::map<node_id, double> credits() const;
  /// Nodes against which something may be held.
  const std::set<node_id>& held() const { return held_; }

private:
  struct sitting {
    node_id node;
    /// Null: the seat is free.
    member* who = nullptr;
  };

  /// Nodes that take turns with each other.
  struct turn_list {
    order_kind kind = order_kind::scan;
    std::unique_ptr<order> turns = make_order(order_kind::scan);
    std::vector<sitting> seats;
    std::vector<seat> free;
    std::size_t nodes = 0;
    /// Each list has requests of its own, and so a level of its own.
    std::unique_ptr<weight_formula> formula;
    // Kept for their memory.
    std::vector<member*> weighed;
    std::vector<weight_input> inputs;
    std::vector<double> weights;
    std::vector<order::entry> entries;
  };

  static void heard(member& who, std::uint64_t word);
  void touch(node_id node, member& who);
  member* hold(node_id node, std::string reason, bool refused, milliseconds length, time_point now);
  void expire(time_point now);
  bool is_able(node_id node, const member& who) const {
    return who.cannot_serve.empty() && (who.held.empty() || !who.refused) && in_share(node);
  }
  static bool is_doubted(const member& who) { return who.able && (!who.suspected.empty() || !who.held.empty()); }
  bool in_share(node_id node) const;
  void share_or_not();
  void bring_in_line(time_point now);
  /// Takes everybody in or out who has to go, and leaves weights to the caller.
  /// @returns who joined, in ascending order.
  std::vector<node_id> move_in_and_out(time_point now);
  void touch_all();
  void make_formulas();
  bool may_get_by_key(const member& who) const;
  void take_seat(node_id node, member& who);
  void vacate(place where);
  static std::vector<order::turn> turns_of(const turn_list& list);
  void assign(turn_list& list);
  void use_entries(turn_list& list);
  void set_input(member& who) const;
  void set_ramp(member& who, time_point now) const;
  void weigh_all(time_point now);
  void weigh_joined(const std::vector<node_id>& joined, time_point now);

  std::string app_;
  std::set<std::uint64_t> serving_;
  milliseconds ejection_;
  milliseconds slow_start_;
  random_source phase_;
  weight_horizon horizon_;
  pool_reach reach_;
  /// There are so many nodes that routers share them.
  bool shared_ = false;
  std::map<node_id, member> members_;
  pb::WeightFormula formula_kind_ = pb::WEIGHT_SEED;
  service_prior prior_;
  std::array<turn_list, 2> ranks_;
  std::size_t in_rotation_ = 0;
  /// Of all members.
  std::size_t able_ = 0;
  std::size_t doubted_ = 0;
  /// Doubts were heeded when the pool was settled last.
  bool heeded_ = true;
  /// Those of which something was said since.
  std::vector<node_id> touched_;
  /// Those that were forgotten since, with the seats they had.
  std::map<node_id, place> forgotten_;
  std::set<node_id> held_;
  /// Who left and was not told of yet.
  std::vector<node_id> left_;
  milliseconds best_eta_{0};
  time_point best_eta_until_ = time_point::min();
  /// The earliest `held_until`, or later.
  time_point next_expiry_ = time_point::max();
  /// Something was said since the last `settle`.
  bool unsettled_ = false;
  /// All weights are to be computed anew then.
  bool reweigh_ = false;
};

} // namespace astra
