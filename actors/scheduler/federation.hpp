#pragma once

#include "messages/ids.hpp"
#include "messages/wire/app.pb.h"
#include "messages/wire/claim.pb.h"
#include "messages/wire/membership.pb.h"

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace astra {

// A federated app is many clusters of a head and its workers.  A cluster is as mortal as its head: a head that is gone
// is not replaced but its cluster given up, its workers stopped, and a new cluster with a new number built in its
// place. So nobody ever has to find out whether a worker still belongs to the head that it speaks to.
//
// Places are numbered from 0, and a place has one cluster, but while it is replaced: when the node of its head drains,
// or the app's spec has changed, the new one serves before the old one goes.  A cluster's worker that is lost is placed
// anew in the same cluster, as the next incarnation of its slot.

/// Replica indices: the place of the cluster times this, plus the slot in the cluster.
inline constexpr std::uint32_t cluster_stride = 4096;

/// One member of a cluster, as its node or a claim under way tells it.
struct member_sight {
  claim_token token;
  node_id node;
  std::string node_name;
  /// As a replica.
  std::uint32_t index = 0;
  pb::ClusterMember member;
  /// REPLICA_CLAIMED: only claimed.
  pb::ReplicaState state = pb::REPLICA_UNKNOWN;
  std::string reason;
  std::string host;
  std::vector<pb::NamedPort> ports;
  /// Runs another spec than the wanted one.
  bool outdated = false;
  /// Its node drains.
  bool leaving = false;
  /// It was told to stop.
  bool released = false;

  bool head() const { return member.slot() == 0; }
};

/// The clusters of one app: what is there, what is wanted, and what leads from one to the other.
/// A plain class: what is seen and the time are arguments.  It keeps nothing that must survive: clusters that run are
/// taken over.
class federation {
public:
  using time_point = std::chrono::steady_clock::time_point;

  /// A head that ends by itself this often in `death_window` is started again only after a pause, which doubles from
  /// `pause_min` to `pause_max`.
  static constexpr std::size_t deaths_max = 3;
  static constexpr std::chrono::seconds death_window{60};
  static constexpr std::chrono::seconds pause_min{1};
  static constexpr std::chrono::seconds pause_max{30};
  /// Workers without a head may be those of one that has not been heard of yet.
  static constexpr std::chrono::seconds orphan_grace{2};
  /// A cluster with a new spec that finds no room beside the old one waits this long for it.
  static constexpr std::chrono::seconds room_patience{5};

  /// Numbers of clusters are made of these: nobody else uses them.
  /// @param life How often the app was federated under this scheduler before.
  federation(std::string app, std::uint64_t epoch, std::uint32_t life = 0)
    : app_(std::move(app)), epoch_(epoch), made_(std::uint64_t{life} << 32) {}

  /// Whether a member with this index would have a place if these were gone.
  using room_test = std::function<bool(const std::vector<const member_sight*>& gone, std::uint32_t index)>;

  struct place_wish {
    std::uint32_t index = 0;
    pb::ClusterMember member;
  };

  struct stop {
    claim_token token;
    node_id node;
    std::uint32_t index = 0;
    std::string reason;
    /// Kill it; otherwise it may finish what it does.
    bool at_once = false;
  };

  struct failure {
    node_id node;
    std::string reason;
  };

  struct decision {
    /// Heads first.
    std::vector<place_wish> places;
    std::vector<stop> stops;
    /// Nodes where a head or a worker failed for good.
    std::vector<failure> failures;
  };

  /// What to do now.
  /// @param clusters Places that there are to be; 0: the app is being deleted.
  /// @param unplaced Why the last wish for an index found no place.
  /// @param room Asked before a cluster that serves is stopped to make room.
  decision review(const pb::Federation& wanted, std::uint32_t clusters, const std::vector<member_sight>& sights,
                  const std::map<std::uint32_t, std::string>& unplaced, time_point now, const room_test& room);

  /// As of the last review, sorted by cluster.
  const std::vector<pb::ClusterRecord>& records() const { return records_; }

  /// Places whose cluster serves, comes up, or waits for a node, as of the last review.
  std::uint32_t serving() const { return serving_; }
  std::uint32_t starting() const { return starting_; }
  std::uint32_t pending() const { return pending_; }

private:
  struct cluster {
    std::uint64_t id = 0;
    std::uint32_t place = 0;
    time_point since;
    /// Not before this, after heads have ended too often.
    time_point not_before;
    std::string pause;
    /// A head was seen, if only as a claim; or was more than a claim.
    bool head_claimed = false;
    bool head_ran = false;
    /// On its way out: the head first, its workers when it is gone.
    bool dissolving = false;
    std::string why;
    /// The last one, by slot.
    std::map<std::uint32_t, std::uint32_t> incarnations;

    // As of this review.
    const member_sight* head = nullptr;
    bool outdated = false;
    bool leaving = false;
    std::uint32_t workers_ready = 0;
    /// Why a worker is missing.
    std::string missing;

    bool head_ready() const { return head != nullptr && head->state == pb::REPLICA_READY; }
    /// As it is wanted for the time to come.
    bool fresh() const { return !outdated && !leaving && !dissolving; }
    bool serves(const pb::Federation& wanted) const {
      return head_ready() && !dissolving && workers_ready >= wanted.min_workers();
    }
  };

  struct dead_cluster {
    time_point since;
    std::uint32_t place = 0;
    std::string reason;
  };

  using sights_by_cluster = std::map<std::uint64_t, std::vector<const member_sight*>>;

  void take_over(const sights_by_cluster& sights, time_point now);
  void look(cluster& known, const std::vector<const member_sight*>& members, const pb::Federation& wanted) const;
  void bury(const sights_by_cluster& sights, time_point now, decision& out);
  void arrange(std::uint32_t place, std::vector<cluster*> here, const pb::Federation& wanted,
               const sights_by_cluster& sights, const std::map<std::uint32_t, std::string>& unplaced, bool& updating,
               time_point now, const room_test& room);
  void stop_strangers(const std::vector<const member_sight*>& strangers, const pb::Federation& wanted,
                      std::uint32_t clusters, const std::map<std::uint32_t, std::string>& unplaced, time_point now,
                      decision& out);
  cluster& create(std::uint32_t place, time_point now);
  void fill(cluster& known, const std::vector<const member_sight*>& members, const pb::Federation& wanted,
            decision& out);
  void write_records(const pb::Federation& wanted, std::uint32_t clusters, const sights_by_cluster& sights,
                     const std::map<std::uint32_t, std::string>& unplaced);
  std::map<std::uint32_t, std::vector<cluster*>> by_place();

  std::string app_;
  std::uint64_t epoch_;
  std::uint64_t made_;
  std::map<std::uint64_t, cluster> clusters_;
  /// Whatever is seen of these is to be stopped.
  std::map<std::uint64_t, dead_cluster> dead_;
  /// Since when clusters find no room beside replicas from before the app was federated.
  std::optional<time_point> crowded_;
  /// Clusters of which only workers are known, since when.
  std::map<std::uint64_t, time_point> orphans_;
  /// When heads ended by themselves, by place.
  std::map<std::uint32_t, std::deque<time_point>> deaths_;
  /// Why the last cluster of a place died; until one serves.
  std::map<std::uint32_t, std::string> last_words_;
  std::vector<pb::ClusterRecord> records_;
  std::uint32_t serving_ = 0;
  std::uint32_t starting_ = 0;
  std::uint32_t pending_ = 0;
};

/// One sentence on why not all clusters serve; empty when they do.
std::string federation_summary(const federation& what, std::uint32_t clusters);

/// The spec that a node is to run for one role: its resources are those of the role and, beside a head, those of the
/// commands that are started for requests.
pb::AppSpec role_spec(const pb::AppSpec& app, bool head);

} // namespace astra
