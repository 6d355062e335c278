#include "messages/route.hpp"
#include "messages/wire/app.pb.h"
#include "messages/wire/claim.pb.h"
#include "messages/wire/route.pb.h"
#include "runtime/sim/checks/history.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <map>
#include <string>

// What may happen only so often, or to so many at once.

namespace astra::sim {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

void forget_before(std::deque<instant>& times, instant limit) {
  while (!times.empty() && times.front() <= limit)
    times.pop_front();
}

std::size_t count_after(const std::deque<instant>& times, instant limit) {
  return static_cast<std::size_t>(times.end() - std::upper_bound(times.begin(), times.end(), limit));
}

/// Clocks may run up to 5 % wrong (swarm), and windows are measured on them.
nanoseconds shorter(nanoseconds window) {
  return window * 94 / 100;
}
nanoseconds longer(nanoseconds window) {
  return window * 106 / 100;
}

class restart_budget_kept : public named_check<restart_budget_kept> {
public:
  static constexpr const char* label = "restart-budget";
  static constexpr const char* about = "A replica is started again at most as often within restart.budget_window as "
                                       "restart.budget says, and given up only then.";
  static constexpr nanoseconds default_bound{0};

  using named_check::named_check;

  topics wants() const override { return topics{}.add(event_kind::log); }

  void on_event(const event& what, const world_facts& facts) override {
    if (first_word(what.text) != "node.replica_crash")
      return;
    auto spec = spec_of(field(what.text, "app="), facts.what());
    auto token = hex_number(field(what.text, "token="));
    if (spec == nullptr || !token)
      return;
    auto& policy = spec->restart();
    nanoseconds window = milliseconds{policy.budget_window_ms()};
    // A token is one replica at one life of a node.
    auto& restarts = restarts_[*token];
    auto describe = [&](std::size_t count) {
      return fmt::format("replica {} of app {} at {} has crashed after {} restarts in {} ms, {} are allowed",
                         field(what.text, "replica="), spec->name(), facts_of(what.machine, facts).name, count,
                         policy.budget_window_ms(), policy.budget());
    };
    if (field(what.text, "state=") == "failed") {
      if (auto count = count_after(restarts, what.at - longer(window)); count < policy.budget())
        fail(describe(count) + ", and it is given up");
      return;
    }
    if (auto count = count_after(restarts, what.at - shorter(window)); count >= policy.budget())
      fail(describe(count) + ", and it starts again");
    restarts.push_back(what.at);
  }

private:
  std::map<std::uint64_t, std::deque<instant>> restarts_;
};

class retry_budget_kept : public named_check<retry_budget_kept> {
public:
  static constexpr const char* label = "retry-budget";
  static constexpr const char* about = "A router starts lost work again no more often in ten seconds than its share of "
                                       "first starts and the number that is always allowed.";
  static constexpr nanoseconds default_bound{0};

  using named_check::named_check;

  topics wants() const override {
    return topics{}.said({message_kind::invoke}).add(event_kind::step, {message_kind::invoke_reply});
  }

  void on_event(const event& what, const world_facts& facts) override {
    if (auto work = content_as<invoke>(what)) {
      if (said(what))
        on_start(**work, what, facts);
    } else if (auto reply = content_as<invoke_reply>(what)) {
      if ((*reply)->outcome() == pb::INVOKE_NOT_STARTED)
        if (auto request = request_of_.find((*reply)->attempt()))
          started_[*request] = false;
    }
  }

private:
  struct router_record {
    std::deque<instant> first;
    std::deque<instant> again;
  };

  void on_start(const pb::Invoke& work, const event& what, const world_facts& facts) {
    auto spec = spec_of(work.app(), facts.what());
    if (spec == nullptr)
      return;
    auto request = joint_id(what.sender, name_hash(work.request_id()));
    request_of_[work.attempt()] = request;
    auto& known = routers_[what.sender];
    auto& started = started_[request];
    (started ? known.again : known.first).push_back(what.at);
    if (!std::exchange(started, true))
      return;
    // A second start is taken out of the budget up to a timeout before it is made.
    nanoseconds delay = milliseconds{spec->request_timeout_ms()};
    auto window = shorter(seconds{9}) - delay;
    if (window < seconds{1})
      return;
    forget_before(known.first, what.at - longer(seconds{10}) - delay);
    forget_before(known.again, what.at - window);
    auto& options = facts.what().options.router;
    auto allowed = options.retry_budget * static_cast<double>(known.first.size())
                   + 10.0 * static_cast<double>(options.retry_budget_min);
    if (static_cast<double>(known.again.size()) > allowed)
      fail(fmt::format("{} has started work of app {} again {} times in {}, at most {:g} are allowed",
                       facts.actor_name(what.sender), work.app(), known.again.size(), seconds_text(window), allowed));
  }

  /// By router actor.
  std::map<std::uint64_t, router_record> routers_;
  id_table<std::uint64_t> request_of_;
  /// By (router, request): whether it may have been started.
  id_table<bool> started_;
};

/// Requests between a gateway and its routers, as they come and are answered.
class queue_limit_kept : public named_check<queue_limit_kept> {
public:
  static constexpr const char* label = "queue-limit";
  static constexpr const char* about =
      "No more than queue_limit requests wait at a router, and none is sent away while fewer are there.";
  static constexpr nanoseconds default_bound{0};

  using named_check::named_check;

  topics wants() const override {
    return disturbances::wants()
        .said({message_kind::reserve, message_kind::invoke})
        .add(event_kind::step, {message_kind::route_request, message_kind::route_result});
  }

  void on_event(const event& what, const world_facts& facts) override {
    disturbed_.observe(what);
    if (what.kind == event_kind::boot) {
      std::erase_if(routers_, [&](auto& entry) { return entry.second.machine == what.machine; });
    } else if (auto request = content_as<route_request>(what)) {
      auto& known = routers_[what.actor];
      known.machine = what.machine;
      known.open[exchange_id(what.sender, what.message_id)] = {what.at, request->request_id};
    } else if (auto result = content_as<route_result>(what)) {
      auto known = routers_.find(what.sender);
      if (known == routers_.end())
        return;
      known->second.open.erase(exchange_id(what.actor, what.message_id));
      if (result->outcome == route_outcome::saturated)
        on_saturated(known->second, what, facts);
    } else if (auto slot = content_as<reserve>(what)) {
      auto known = said(what) ? routers_.find(what.sender) : routers_.end();
      if (known != routers_.end())
        known->second.app = (*slot)->app();
    } else if (auto work = content_as<invoke>(what)) {
      auto known = said(what) ? routers_.find(what.sender) : routers_.end();
      if (known != routers_.end())
        for (auto& [id, open] : known->second.open)
          open.started |= open.request_id == (*work)->request_id();
    }
    if (what.at >= next_look_)
      look(what.at, facts);
  }

private:
  struct open_request {
    instant since{0};
    std::string request_id;
    bool started = false;
  };

  struct router_record {
    machine_id machine{};
    std::string app;
    std::map<std::uint64_t, open_request> open;
  };

  void on_saturated(const router_record& router, const event& what, const world_facts& facts) {
    auto spec = spec_of(router.app, facts.what());
    // The answer to one that was told before this may still be under way within the process.
    if (spec != nullptr && router.open.size() + 2 < spec->queue_limit())
      fail(fmt::format("{} sends a request for app {} away as one too many, with {} there and a limit of {}",
                       facts.actor_name(what.sender), router.app, router.open.size(), spec->queue_limit()));
  }

  void look(instant now, const world_facts& facts) {
    next_look_ = now + milliseconds{50};
    auto& options = facts.what().options.router;
    // Whoever has asked all nodes that it may ask waits from then on.
    nanoseconds walk = options.tries * options.admission_timeout + milliseconds{100};
    for (auto& [actor, router] : routers_) {
      auto spec = spec_of(router.app, facts.what());
      if (spec == nullptr || !disturbed_.calm(router.machine, 2 * walk, facts))
        continue;
      auto waiting = std::count_if(router.open.begin(), router.open.end(), [&](auto& entry) {
        return !entry.second.started && now - entry.second.since > walk;
      });
      if (static_cast<std::uint64_t>(waiting) > spec->queue_limit())
        fail(fmt::format("{} requests wait at {} for app {}, at most {} may", waiting, facts.actor_name(actor),
                         router.app, spec->queue_limit()));
    }
  }

  disturbances disturbed_;
  std::map<std::uint64_t, router_record> routers_;
  instant next_look_{0};
};

/// After a power cut in half of a cluster its replicas come back one by one.
class replacement_rate : public named_check<replacement_rate> {
public:
  static constexpr const char* label = "replacement-rate";
  static constexpr const char* about =
      "A scheduler claims new places for at most scheduler.replace_per_s replicas of lost nodes in a second.";
  static constexpr nanoseconds default_bound{0};

  using named_check::named_check;

  topics wants() const override {
    return topics{}
        .said({message_kind::claim_batch, message_kind::release_batch})
        .add(event_kind::step, {message_kind::claim_reply});
  }

  void on_event(const event& what, const world_facts& facts) override {
    if (auto reply = content_as<claim_reply>(what)) {
      auto known = schedulers_.find(what.actor);
      if (known == schedulers_.end())
        return;
      for (auto& result : (*reply)->results())
        if (result.outcome() == pb::CLAIM_CONFIRMED)
          if (auto asked = known->second.asked.find(result.token()); asked != known->second.asked.end())
            known->second.held[asked->second.index] = {result.token(), asked->second.node};
    } else if (auto releases = content_as<release_batch>(what)) {
      if (said(what))
        for (auto& release : (*releases)->releases())
          on_release(release, what.sender);
    } else if (auto batch = content_as<claim_batch>(what)) {
      if (said(what))
        on_claims(**batch, what, facts);
    }
  }

private:
  struct claim_record {
    std::uint32_t index = 0;
    std::uint64_t node = 0;
  };

  struct holder {
    std::uint64_t token = 0;
    std::uint64_t node = 0;
  };

  struct scheduler_record {
    std::map<std::uint64_t, claim_record> asked;
    /// By index.
    std::map<std::uint32_t, holder> held;
    std::deque<instant> replaced;
  };

  void on_release(const pb::Release& release, std::uint64_t scheduler) {
    auto known = schedulers_.find(scheduler);
    if (known != schedulers_.end())
      std::erase_if(known->second.held, [&](auto& entry) { return entry.second.token == release.token(); });
  }

  void on_claims(const pb::ClaimBatch& batch, const event& what, const world_facts& facts) {
    // A Resource passes claims on to nodes.
    if (roles_.of(what.sender, facts) != actor_role::scheduler)
      return;
    auto& known = schedulers_[what.sender];
    for (auto& claim : batch.claims()) {
      known.asked[claim.token()] = {claim.replica_index(), claim.node()};
      auto before = known.held.find(claim.replica_index());
      if (before == known.held.end())
        continue;
      auto machine = nodes_.of(before->second.node, facts);
      if (machine == machine_id{} || facts_of(machine, facts).up)
        continue;
      known.replaced.push_back(what.at);
      // When this claim is refused, the next one is for the same lost replica.
      known.held.erase(before);
    }
    forget_before(known.replaced, what.at - shorter(seconds{1}));
    auto allowed = facts.what().options.scheduler.replace_per_s;
    if (known.replaced.size() > allowed)
      fail(fmt::format("{} has claimed places for {} lost replicas of app {} within a second, at most {} are allowed",
                       facts.actor_name(what.sender), known.replaced.size(), batch.spec().name(), allowed));
  }

  actor_roles roles_;
  node_machines nodes_;
  std::map<std::uint64_t, scheduler_record> schedulers_;
};

} // namespace

void add_budget_checks(std::vector<check_kind>& all) {
  all.push_back(kind_of_check<restart_budget_kept>());
  all.push_back(kind_of_check<retry_budget_kept>());
  all.push_back(kind_of_check<queue_limit_kept>());
  all.push_back(kind_of_check<replacement_rate>());
}

} // namespace astra::sim
