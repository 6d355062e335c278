#pragma once

#include "actors/platform.hpp"
#include "actors/resource/cluster_view.hpp"
#include "actors/resource/event_log.hpp"
#include "actors/resource/member_table.hpp"
#include "messages/ids.hpp"
#include "messages/resource_protocol.hpp"
#include "messages/wire/membership.pb.h"

#include <caf/fwd.hpp>
#include <caf/telemetry/counter.hpp>
#include <caf/typed_response_promise.hpp>

#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>

namespace astra {

/// The events of one Resource: what its tables decide becomes a line that an operator can read, once, with its cause
/// and witness.  Part of the Resource's actor: questions that wait for news are held here.
class event_desk {
public:
  /// Events of a node are told by its id; 4096 of them are about 1 MB.
  event_desk(caf::scheduled_actor* self, platform& world, resource_id own, std::string own_name, std::uint64_t epoch,
             std::size_t kept);
  // Timers find their way back to it.
  event_desk(const event_desk&) = delete;
  event_desk& operator=(const event_desk&) = delete;
  ~event_desk() = default;

  /// The Resource begins.
  void started();

  /// A beat was accepted of a node that the view shows in the shard of another Resource.
  void arrived(const pb::Heartbeat& beat, const node_entry& elsewhere, std::string_view elsewhere_home);
  /// The first profile of a node.
  void joined(const pb::NodeProfile& profile);
  void fenced(node_id node, std::string name, std::uint64_t incarnation, std::uint64_t newer);
  void changed(const transition& change, std::string name);
  /// Nodes that an edit of a lost or restarted Resource's shard takes offline.
  void orphaned(const pb::ViewDelta& edit, const cluster_view& view);
  void peer_found(resource_id peer, const std::string& name, const std::string& address);
  void peer_lost(resource_id peer, const std::string& name, const std::string& reason);

  caf::result<event_page> answer(const pb::EventQuery& query);

  std::uint64_t last() const { return log_.last(); }

private:
  struct question {
    pb::EventQuery query;
    caf::typed_response_promise<event_page> promise;
  };

  void add(pb::EventKind kind, std::uint64_t object, std::string name, std::string cause, pb::EventWitness witness);
  pb::EventPage read(const pb::EventQuery& query) const;
  void answer_waiting();
  void count(pb::EventKind kind);

  caf::scheduled_actor* self_;
  platform& world_;
  resource_id own_;
  std::string own_name_;
  event_log log_;
  /// By kind, each made when there is the first of it.
  std::map<pb::EventKind, caf::telemetry::int_counter*> counters_;
  /// Incarnations and home epochs with which nodes came from another home.
  std::map<node_id, std::pair<std::uint64_t, std::uint64_t>> arrived_;
  /// Incarnations that were refused: each is told once, however often it beats.
  std::map<node_id, std::uint64_t> refused_;
  std::set<resource_id> peers_;
  /// By number.
  std::map<std::uint64_t, question> waiting_;
  std::uint64_t last_question_ = 0;
  bool answering_ = false;
};

} // namespace astra
