#pragma once

#include "actors/resource/cluster_view.hpp"
#include "messages/ids.hpp"
#include "messages/wire/app.pb.h"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

namespace astra {

struct plan_input;
class view_columns;

/// What one replica takes.
struct demand {
  explicit demand(const pb::Resources& resources);

  std::int64_t cpu_milli = 0;
  std::int64_t memory_bytes = 0;
  /// Accelerators by kind, sorted; none of them 0.
  std::vector<std::pair<std::string, std::int64_t>> cards;
};

/// What is free on a node for one app; less than nothing when more is taken than there is.
struct free_amounts {
  std::int64_t cpu_milli = 0;
  std::int64_t memory_bytes = 0;
  /// As the demand's.
  std::vector<std::int64_t> cards;
  /// Accelerators free here that the app has no use for.
  std::int64_t idle_cards = 0;

  bool fits(const demand& need) const;
  void take(const demand& need);
};

/// @param claimed Replicas of the app that are claimed there and not yet in the profile.
free_amounts free_on(const node_row& row, const demand& need, std::uint32_t claimed);

/// The same for one kind of accelerator, all claims being those in `held`.
std::int64_t cards_free_in(const pb::NodeProfile& shape, const pb::Resources& held, const std::string& kind);

/// Neither stopped nor failed.
bool works(const pb::ReplicaStatus& replica);

/// Why a node of that Resource group is none.
std::string elsewhere_text(const std::string& group);

/// Why a node is no candidate, whatever it is and has free; empty: it may be one.
std::string unusable_because(const plan_input& input, const node_entry& entry);

/// The newest row of a node that the plan knows of.
const node_row& newest_row(const plan_input& input, const node_entry& entry);

/// What an app asks of nodes apart from room, checked against one view: labels, taints, spread and affinity.
///
/// Hard rules, with the meaning that they have in Kubernetes, but for this: a value of a label is part of a spread when
/// a node with it could take a replica if it had room, be it as to labels, taints or kinds of accelerator; so nothing
/// waits for a zone where no replica can ever go.
/// A plain class.
class placement_rules {
public:
  /// Reads who is where.
  explicit placement_rules(const plan_input& input);
  /// Of the nodes of other apps, which the columns of the input's nodes know, it reads only the values of labels.
  placement_rules(const plan_input& input, const view_columns& columns);

  /// What nodes must have or must not have, whatever runs on them.
  struct condition {
    enum class what : std::uint8_t { card, label, expression, spread_label, taint };

    what type = what::label;
    /// In the list of the spec; of a card, in the demand's.
    int position = 0;
    /// As a reader knows it.
    std::string text;
  };

  struct affinity_rule {
    std::string app;
    std::string label;
    bool anti = false;
    /// In the list of the spec.
    int position = 0;
    /// Where replicas of the app are: nodes, or values of the label.  The order of the nodes decides nothing.
    std::unordered_set<node_id> nodes;
    std::map<std::string, std::uint32_t, std::less<>> values;
  };

  struct spread_rule {
    std::string label;
    std::uint32_t max_skew = 1;
    /// Replicas by value of the label.
    std::map<std::string, std::uint32_t, std::less<>> counts;
  };

  /// All that can be said of a node from its labels, taints and capacity.
  struct verdict {
    /// Numbers of conditions that it does not meet, ascending; cards that it has none of are the first ones.
    std::vector<std::uint32_t> failing;
    /// Its value of the label of each spread rule, and of each affinity rule; null: it has none.
    std::vector<const std::string*> spread_values;
    std::vector<const std::string*> affinity_values;
    /// Probability that it is still there in an hour.
    double survival = 1.0;
  };

  /// Points into the profile.
  verdict judge(const pb::NodeProfile& profile);

  const demand& need() const { return need_; }
  const std::vector<condition>& conditions() const { return conditions_; }
  const std::vector<affinity_rule>& affinities() const { return affinities_; }
  const std::vector<spread_rule>& spreads() const { return spreads_; }

  /// @param value Null: the node has no such label.
  static bool broken_by_value(const affinity_rule& rule, const std::string* value);
  static bool broken_on_node(const affinity_rule& rule, node_id node);
  bool any_affinity_broken(const verdict& about, node_id node) const;

  /// One more replica is on a node of this kind.
  void place(const verdict& about, node_id node);

private:
  bool tolerates(const pb::Label& taint) const;
  std::uint32_t taint_condition(const pb::Label& taint);
  void read_spec();
  void count_own(const plan_input& input);
  static void find_values(const view_columns& columns, affinity_rule& rule);
  void find_others(const plan_input& input, affinity_rule& rule);

  const plan_input& input_;
  const pb::AppSpec& spec_;
  demand need_;
  std::vector<condition> conditions_;
  std::map<std::string, std::uint32_t> taints_;
  std::vector<affinity_rule> affinities_;
  std::vector<spread_rule> spreads_;
};

} // namespace astra
