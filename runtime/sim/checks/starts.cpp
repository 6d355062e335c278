#include "runtime/sim/checks/history.hpp"

#include "actors/node/replica_set.hpp"
#include "actors/router/dispatch.hpp"
#include "messages/wire/app.pb.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

// Starts of work.

namespace astra::sim {
namespace {

/// Follows attempts at nodes.  Work is started when a node handles an invoke; it was not when the node answers that
/// nothing was started, which it does at once when the slot is not held.  A second invoke of an attempt that is
/// running joins it and starts nothing.
class no_double_start : public named_check<no_double_start> {
public:
  static constexpr const char* label = "no-double-start";
  static constexpr const char* about =
      "Work that is not idempotent is started once, other work three times at most, and one attempt never twice.";
  static constexpr nanoseconds default_bound{0};

  using named_check::named_check;

  topics wants() const override {
    return topics{}
        .add(event_kind::step, {message_kind::invoke, message_kind::invoke_reply})
        .add(event_kind::send, {message_kind::invoke_reply, message_kind::reserve})
        .add(event_kind::drop, {message_kind::invoke_reply});
  }

  void on_event(const event& what, const world_facts& facts) override {
    if (auto reply = content_as<invoke_reply>(what)) {
      // What is said into a closed connection is lost, and said all the same.
      if (said(what) || what.kind == event_kind::drop)
        on_reply(**reply, what, facts);
      return;
    }
    if (auto slot = content_as<reserve>(what)) {
      on_reserve(**slot, what);
      return;
    }
    settle();
    if (auto work = content_as<invoke>(what))
      if (roles_.of(what.actor, facts) == actor_role::node)
        on_invoke(**work, what, facts);
  }

  void at_quiet(const final_state&, const world_facts&) override { settle(); }

private:
  struct attempt_record {
    std::uint64_t request = 0;
    /// The node actor that works on it; 0: none does.
    std::uint64_t runs_at = 0;
    std::uint32_t starts = 0;
    /// Since when, if it is work for a server or an actor: it begins at once, or not at all.
    instant began{-1};
  };

  struct request_record {
    std::uint32_t starts = 0;
    std::uint32_t allowed = 1;
  };

  void on_invoke(const pb::Invoke& work, const event& what, const world_facts& facts) {
    auto& attempt = attempts_[work.attempt()];
    if (attempt.runs_at == what.actor)
      return;
    attempt.request = joint_id(name_hash(work.app()), name_hash(work.request_id()));
    attempt.runs_at = what.actor;
    attempt.began = begins_at_once(work.app(), facts.what()) ? what.at : instant{-1};
    ++attempt.starts;
    auto& request = requests_[attempt.request];
    request.allowed = allowed_of(work.app(), facts.what());
    ++request.starts;
    if (attempt.starts > 1 || request.starts > request.allowed)
      doubtful_ = {work.attempt(), work.request_id(), what.actor};
  }

  void on_reply(const pb::InvokeReply& reply, const event& what, const world_facts& facts) {
    auto attempt = attempts_.find(reply.attempt());
    if (attempt == nullptr || attempt->runs_at != what.sender)
      return;
    attempt->runs_at = 0;
    if (reply.outcome() == pb::INVOKE_NOT_STARTED && attempt->began >= instant{0}
        && what.at - attempt->began > facts.what().step_max
        // Whom nobody lets in has started nothing.
        && reply.reason().find("refused") == std::string::npos)
      fail(fmt::format("{} says {} after attempt {} was to be started that it was not: {}",
                       facts.actor_name(what.sender), seconds_text(what.at - attempt->began), to_hex(reply.attempt()),
                       reply.reason()));
    if (reply.outcome() != pb::INVOKE_NOT_STARTED || attempt->starts == 0) {
      if (doubtful_.attempt == reply.attempt())
        settle();
      return;
    }
    --attempt->starts;
    --requests_.find(attempt->request)->starts;
  }

  /// A router asks once per attempt.
  void on_reserve(const pb::Reserve& slot, const event& what) {
    auto& asked = asked_[slot.attempt()];
    if (asked)
      fail(fmt::format("attempt {} of app {} is used for a second request for a slot (event {})",
                       to_hex(slot.attempt()), slot.app(), what.number));
    asked = true;
  }

  /// By now the node would have said that nothing was started.
  void settle() {
    if (doubtful_.attempt == 0)
      return;
    auto doubtful = std::exchange(doubtful_, {});
    auto& attempt = *attempts_.find(doubtful.attempt);
    auto& request = *requests_.find(attempt.request);
    if (attempt.starts > 1)
      fail(fmt::format("attempt {} of request {} was started {} times", to_hex(doubtful.attempt), doubtful.name,
                       attempt.starts));
    else if (request.starts > request.allowed)
      fail(fmt::format("request {} was started {} times, allowed are {}", doubtful.name, request.starts,
                       request.allowed));
  }

  static std::uint32_t allowed_of(const std::string& app, const scenario& script) {
    auto spec = spec_of(app, script);
    return spec && !spec->idempotent() ? 1 : dispatch::starts_max;
  }

  static bool begins_at_once(const std::string& app, const scenario& script) {
    auto spec = spec_of(app, script);
    return spec && !spec->has_per_request();
  }

  struct doubt {
    std::uint64_t attempt = 0;
    std::string name;
    std::uint64_t node = 0;
  };

  actor_roles roles_;
  id_table<attempt_record> attempts_;
  id_table<request_record> requests_;
  /// Attempts for which a router asked for a slot.
  id_table<bool> asked_;
  /// A start too many, unless the node says that it was none.
  doubt doubtful_;
};

/// Nothing has started until a granted slot is used, and a slot that is not used in time is free again.
class slot_before_start : public named_check<slot_before_start> {
public:
  static constexpr const char* label = "slot-before-start";
  static constexpr const char* about = "A node starts work only under a slot that it granted and still holds.";
  /// Added to the time that a slot is held.
  static constexpr nanoseconds default_bound{std::chrono::milliseconds{100}};

  using named_check::named_check;

  topics wants() const override {
    return topics{}
        .add(event_kind::step, {message_kind::reserve, message_kind::invoke, message_kind::invoke_reply})
        .said({message_kind::reserve_reply, message_kind::invoke_reply})
        .add(event_kind::drop, {message_kind::invoke_reply});
  }

  void on_event(const event& what, const world_facts& facts) override {
    if (auto slot = content_as<reserve>(what)) {
      if (what.kind == event_kind::step)
        attempts_[(*slot)->attempt()].asked_at = what.at;
    } else if (auto grant = content_as<reserve_reply>(what)) {
      if (said(what) && (*grant)->outcome() == pb::RESERVE_GRANTED)
        on_grant(**grant, what);
    } else if (auto reply = content_as<invoke_reply>(what)) {
      if (!(said(what) || what.kind == event_kind::drop) || doubtful_.attempt == 0
          || (*reply)->attempt() != doubtful_.attempt)
        return;
      if ((*reply)->outcome() == pb::INVOKE_NOT_STARTED)
        doubtful_ = {};
      else
        settle();
    } else if (auto work = content_as<invoke>(what)) {
      settle();
      if (what.kind == event_kind::step && roles_.of(what.actor, facts) == actor_role::node)
        on_invoke(**work, what);
    }
  }

  void at_quiet(const final_state&, const world_facts&) override { settle(); }

private:
  struct attempt_record {
    instant asked_at{-1};
    std::uint64_t granted_by = 0;
    /// The slot is free again after this, unless it was used.
    instant held_until{-1};
    bool used = false;
  };

  void on_grant(const pb::ReserveReply& grant, const event& what) {
    auto& attempt = attempts_[grant.attempt()];
    if (attempt.granted_by == what.sender)
      return; // the same slot, told again
    attempt.granted_by = what.sender;
    // Clocks may drift by some per cent.
    attempt.held_until = what.at + std::chrono::milliseconds{grant.hold_ms()} * 11 / 10 + bound();
  }

  void on_invoke(const pb::Invoke& work, const event& what) {
    auto& attempt = attempts_[work.attempt()];
    if (std::exchange(attempt.used, true))
      return; // no-double-start judges it
    if (attempt.granted_by != what.actor)
      doubtful_ = {work.attempt(), "without a slot that it granted"};
    else if (what.at > attempt.held_until)
      doubtful_ = {work.attempt(), "under a slot that was free again since " + seconds_text(attempt.held_until)};
  }

  void settle() {
    if (doubtful_.attempt != 0)
      fail(fmt::format("a node starts attempt {} {}", to_hex(doubtful_.attempt), doubtful_.why));
  }

  struct doubt {
    std::uint64_t attempt = 0;
    std::string why;
  };

  actor_roles roles_;
  id_table<attempt_record> attempts_;
  doubt doubtful_;
};

/// Counts work under way against the replicas that may do it: those that the node names, and those that it was asked
/// for since.
class replica_concurrency : public named_check<replica_concurrency> {
public:
  static constexpr const char* label = "replica-concurrency";
  static constexpr const char* about = "A node works on no more requests of an app than its replicas may at a time.";
  static constexpr nanoseconds default_bound{0};

  using named_check::named_check;

  topics wants() const override {
    return topics{}
        .add(event_kind::step, {message_kind::invoke, message_kind::claim_batch})
        .said({message_kind::invoke_reply, message_kind::profile_update})
        .add(event_kind::drop, {message_kind::invoke_reply});
  }

  void on_event(const event& what, const world_facts& facts) override {
    if (auto reply = content_as<invoke_reply>(what)) {
      if (said(what) || what.kind == event_kind::drop)
        on_reply((*reply)->attempt(), what.sender);
      return;
    }
    // By now the node would have said that nothing was started.
    settle();
    if (auto work = content_as<invoke>(what)) {
      if (what.kind == event_kind::step && roles_.of(what.actor, facts) == actor_role::node)
        on_invoke(**work, what);
    } else if (auto batch = content_as<claim_batch>(what)) {
      if (what.kind == event_kind::step && roles_.of(what.actor, facts) == actor_role::node)
        for (auto& claim : (*batch)->claims())
          nodes_[what.actor].replicas[claim.token()] = {(*batch)->spec().name(),
                                                        std::max(1U, (*batch)->spec().concurrency()), what.at};
    } else if (auto update = content_as<profile_update>(what)) {
      if (said(what) && roles_.of(what.sender, facts) == actor_role::node)
        on_profile((*update)->profile(), what.sender, what.at);
    }
  }

  void at_quiet(const final_state&, const world_facts&) override { settle(); }

private:
  struct place {
    std::string app;
    std::uint32_t concurrency = 1;
    /// When it was claimed.
    instant since{0};
  };

  /// A node actor: a node that restarts has another one.
  struct node_record {
    std::map<std::uint64_t, place> replicas;
    /// App by attempt.
    std::map<std::uint64_t, std::string> works_on;
  };

  void on_invoke(const pb::Invoke& work, const event& what) {
    auto& node = nodes_[what.actor];
    if (!node.works_on.emplace(work.attempt(), work.app()).second)
      return;
    std::uint32_t allowed = 0;
    for (auto& [token, one] : node.replicas)
      allowed += one.app == work.app() ? one.concurrency : 0;
    auto running = static_cast<std::uint32_t>(std::count_if(node.works_on.begin(), node.works_on.end(),
                                                            [&](auto& entry) { return entry.second == work.app(); }));
    if (running > allowed)
      doubtful_ = {work.attempt(), fmt::format("a node works on {} requests of app {} at a time, its replicas allow {}",
                                               running, work.app(), allowed)};
  }

  void on_reply(std::uint64_t attempt, std::uint64_t node) {
    auto found = nodes_.find(node);
    if (found == nodes_.end())
      return;
    found->second.works_on.erase(attempt);
    if (doubtful_.attempt == attempt)
      doubtful_ = {};
  }

  void on_profile(const pb::NodeProfile& profile, std::uint64_t node, instant now) {
    auto& replicas = nodes_[node].replicas;
    // It may be from just before a claim.
    std::erase_if(replicas, [now](auto& entry) { return now - entry.second.since > std::chrono::seconds{1}; });
    for (auto& replica : profile.replicas())
      replicas[replica.token()] = {replica.app(), std::max(1U, replica.concurrency()), instant{0}};
  }

  void settle() {
    if (doubtful_.attempt != 0)
      fail(std::exchange(doubtful_, {}).why);
  }

  struct doubt {
    std::uint64_t attempt = 0;
    std::string why;
  };

  actor_roles roles_;
  std::map<std::uint64_t, node_record> nodes_;
  /// Work too many, unless the node says that it has not started.
  doubt doubtful_;
};

/// A release has a time for work that is under way, and so has the word that a replica makes room for another one.
class release_finishes : public named_check<release_finishes> {
public:
  static constexpr const char* label = "release-finishes";
  static constexpr const char* about =
      "No work is lost to the release or preemption of its replica before the time for it is over.";
  static constexpr nanoseconds default_bound{0};

  using named_check::named_check;

  topics wants() const override {
    return topics{}
        .add(event_kind::step, {message_kind::release_batch})
        .add(event_kind::log)
        .said({message_kind::invoke_reply});
  }

  void on_event(const event& what, const world_facts& facts) override {
    if (what.kind == event_kind::log) {
      if (first_word(what.text) == "node.preempt")
        on_preemption(what, facts);
    } else if (auto releases = content_as<release_batch>(what)) {
      if (roles_.of(what.actor, facts) == actor_role::node)
        for (auto& release : (*releases)->releases())
          if (release.grace_ms() > 0 && !release.reason().empty())
            times_[{what.machine, release.reason()}] = {what.at, std::chrono::milliseconds{release.grace_ms()}};
    } else if (auto reply = content_as<invoke_reply>(what)) {
      if (!said(what) || (*reply)->outcome() != pb::INVOKE_REPLICA_LOST)
        return;
      for (auto& [key, time] : times_)
        // Clocks may drift by some per cent.
        if (key.first == what.machine && what.at - time.first < time.second * 9 / 10
            && (*reply)->reason().find(key.second) != std::string::npos)
          fail(fmt::format("{} loses attempt {} {} after a release that gave {}: {}", facts.actor_name(what.sender),
                           to_hex((*reply)->attempt()), seconds_text(what.at - time.first), seconds_text(time.second),
                           (*reply)->reason()));
    }
  }

private:
  void on_preemption(const event& what, const world_facts& facts) {
    auto victim = spec_of(field(what.text, "app="), facts.what());
    if (victim == nullptr)
      return;
    std::pair<instant, nanoseconds> fresh{what.at, preempt_notice_of(*victim)};
    auto [known, first] = times_.try_emplace({what.machine, std::string{field(what.text, "reason=")}}, fresh);
    // The time of one that makes room for the same app already is over earlier.
    if (!first && what.at - known->second.first > known->second.second)
      known->second = fresh;
  }

  actor_roles roles_;
  /// Time and length of the last release, by the node's machine and the reason.
  std::map<std::pair<machine_id, std::string>, std::pair<instant, nanoseconds>> times_;
};

/// A node that refuses because all slots are taken has work or grants for all of them.
class slots_accounted : public named_check<slots_accounted> {
public:
  static constexpr const char* label = "slots-accounted";
  static constexpr const char* about =
      "A node refuses work only while its slots are in use or held, and an unused grant ends with its hold.";
  /// On top of the time that a slot is held.
  static constexpr nanoseconds default_bound{std::chrono::milliseconds{100}};

  using named_check::named_check;

  topics wants() const override {
    return topics{}
        .add(event_kind::step, {message_kind::invoke, message_kind::cancel})
        .said({message_kind::reserve_reply})
        .add(event_kind::drop, {message_kind::reserve_reply});
  }

  void on_event(const event& what, const world_facts& facts) override {
    if (auto work = content_as<invoke>(what)) {
      if (what.kind == event_kind::step)
        held_[what.actor].erase((*work)->attempt());
    } else if (auto withdrawn = content_as<cancel>(what)) {
      if (what.kind == event_kind::step)
        held_[what.actor].erase((*withdrawn)->attempt());
    } else if (auto reply = content_as<reserve_reply>(what)) {
      if ((said(what) || what.kind == event_kind::drop) && roles_.of(what.sender, facts) == actor_role::node)
        on_reply(**reply, what, facts);
    }
  }

private:
  void on_reply(const pb::ReserveReply& reply, const event& what, const world_facts& facts) {
    auto& held = held_[what.sender];
    if (reply.outcome() == pb::RESERVE_GRANTED) {
      // Clocks may drift by some per cent.
      held[reply.attempt()] = what.at + std::chrono::milliseconds{reply.hold_ms()} * 11 / 10 + bound();
      return;
    }
    // Whoever waited in vain was refused at some time before; these are refused now.
    auto refused_now = reply.outcome() == pb::RESERVE_QUEUE_FULL
                       || (reply.outcome() == pb::RESERVE_BUSY && reply.reason().starts_with("all "));
    if (!refused_now)
      return;
    std::erase_if(held, [&](auto& entry) { return entry.second < what.at; });
    if (reply.running() + held.size() < reply.slots())
      fail(fmt::format("{} refuses a request for a slot ({}): {} of {} slots are in use and at most {} held",
                       facts.actor_name(what.sender), reply.reason(), reply.running(), reply.slots(), held.size()));
  }

  actor_roles roles_;
  /// By node actor and attempt: when a grant ends at the latest.
  std::map<std::uint64_t, std::map<std::uint64_t, instant>> held_;
};

} // namespace

void add_start_checks(std::vector<check_kind>& all) {
  all.push_back(kind_of_check<no_double_start>());
  all.push_back(kind_of_check<slot_before_start>());
  all.push_back(kind_of_check<replica_concurrency>());
  all.push_back(kind_of_check<slots_accounted>());
  all.push_back(kind_of_check<release_finishes>());
}

} // namespace astra::sim
