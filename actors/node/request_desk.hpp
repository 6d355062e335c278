#pragma once

#include "actors/node/admission.hpp"
#include "actors/node/load_meter.hpp"
#include "actors/node/replica_runner.hpp"
#include "actors/node/replica_set.hpp"
#include "config/options.hpp"
#include "messages/ids.hpp"
#include "messages/node_protocol.hpp"
#include "messages/route.hpp"

#include <caf/actor_addr.hpp>
#include <caf/actor_control_block.hpp>
#include <caf/disposable.hpp>
#include <caf/result.hpp>
#include <caf/typed_response_promise.hpp>

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace astra {

/// Runners of a node by the token of their replica.
using runner_map = std::map<claim_token, std::shared_ptr<replica_runner>>;

/// A node's side of the conversation with routers: who waits for a slot, who holds one, what runs, and that each
/// reserve and invoke is answered exactly once.  Part of the node actor, whose clock and mailbox it uses.
class request_desk {
public:
  /// @param ended is called when work ended or was taken back: a drain may go on.  The other arguments outlive the
  /// desk.
  request_desk(node_actor::pointer self, const node_options& options, const replica_set& replicas,
               const runner_map& runners, load_meter& meter, std::function<void()> ended);

  caf::result<reserve_reply> on_reserve(const pb::Reserve& request);
  caf::result<invoke_reply> on_invoke(pb::Invoke& request);
  void on_cancel(const pb::Cancel& request);

  /// Work ended, as its runner says.
  void on_done(attempt_id attempt, pb::InvokeReply result);

  /// Takes back the requests of a router that is gone.
  /// @returns false when the message is not about a router.
  bool on_down(const caf::actor_addr& source);

  /// A replica became ready, takes no more, or is gone.
  void open(const replica& ready);
  void close(const replica& leaving);
  void remove(const replica& gone);

  /// Answers what still runs at a replica as lost.
  void give_up(claim_token replica, const std::string& reason);

  /// Refuses everything from now on, also what waits; but requests for a head of a cluster, until it goes itself.
  void drain(const std::string& reason);

  /// During a drain: refuses those for heads, too.
  void close_heads();

  /// Answers everything: the node ends.
  void answer_all(const std::string& reason);

  /// Nothing runs, waits or holds a slot.
  bool idle() const;
  std::uint32_t running() const { return static_cast<std::uint32_t>(running_.size()); }
  std::uint32_t running(claim_token replica) const;
  std::uint32_t queued() const;
  /// Since the node's start: answered with success, and otherwise.
  std::uint64_t done() const { return done_; }
  std::uint64_t failed() const { return failed_; }

private:
  using time_point = admission::time_point;

  struct reservation {
    std::string app;
    caf::typed_response_promise<reserve_reply> promise;
  };

  struct job {
    std::string app;
    claim_token replica;
    std::uint32_t replica_index = 0;
    time_point started;
    /// More than one when the network delivered the request twice.
    std::vector<caf::typed_response_promise<invoke_reply>> promises;
    caf::disposable overdue;
  };

  /// A head of this app takes requests although the node drains.
  bool serves_on(const std::string& app) const;
  time_point now() const;
  /// Sends the answers that admission has decided on, and sees to it that the next expiry is noticed.
  void settle();
  void sweep();
  void deliver(const std::string& app_name, const admission& app, const admission::answer& answer);
  /// Neither the work nor its limit ended it.
  void on_overdue(attempt_id attempt);
  void take_back(attempt_id attempt, const std::string& reason);
  void cancel_work(const job& work, attempt_id attempt, const std::string& reason);
  /// Remembers who waits for answers: work for nobody is not worth a slot.
  void watch(const caf::strong_actor_ptr& client);

  node_actor::pointer self_;
  const node_options& options_;
  const replica_set& replicas_;
  const runner_map& runners_;
  load_meter& meter_;
  std::function<void()> ended_;
  /// By app name.
  std::map<std::string, admission> apps_;
  std::map<attempt_id, reservation> waiting_;
  std::map<attempt_id, job> running_;
  /// Monitored routers.
  std::set<caf::actor_addr> clients_;
  /// Why nothing is accepted; nothing while serving.
  std::optional<std::string> drain_reason_;
  bool heads_closed_ = false;
  caf::disposable sweep_;
  std::optional<time_point> sweep_at_;
  std::uint64_t done_ = 0;
  std::uint64_t failed_ = 0;
};

/// A time from a message, at most a year: no sum of times overflows.
std::chrono::milliseconds bounded_ms(std::uint64_t value);

} // namespace astra
