#include "runtime/sim/checks/sharing.hpp"

#include "messages/wire/claim.pb.h"
#include "runtime/sim/checks/node_profiles.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

// Who may have how much and who goes first: quotas, gangs, priorities.

namespace astra::sim {

const quota_options* quota_of(std::string_view business, const scenario& script) {
  for (auto& quota : script.options.resource.quotas)
    if (quota.business == business)
      return &quota;
  return nullptr;
}

void add_resources(pb::Resources& sum, const pb::Resources& part) {
  sum.set_cpu_milli(sum.cpu_milli() + part.cpu_milli());
  sum.set_memory_bytes(sum.memory_bytes() + part.memory_bytes());
  for (auto& entry : part.accelerators()) {
    auto& all = *sum.mutable_accelerators();
    auto same = std::find_if(all.begin(), all.end(), [&](auto& known) { return known.kind() == entry.kind(); });
    if (same != all.end())
      same->set_count(same->count() + entry.count());
    else
      *all.Add() = entry;
  }
}

bool within(const quota_options& quota, const pb::Resources& sum) {
  return (!quota.cpu_milli || sum.cpu_milli() <= *quota.cpu_milli)
         && (!quota.memory_bytes || sum.memory_bytes() <= *quota.memory_bytes)
         && std::all_of(quota.accelerators.begin(), quota.accelerators.end(), [&](auto& limit) {
              return std::all_of(sum.accelerators().begin(), sum.accelerators().end(), [&](auto& entry) {
                return entry.kind() != limit.first || entry.count() <= limit.second;
              });
            });
}

namespace {

using std::chrono::seconds;

bool runs(const pb::ReplicaStatus& replica) {
  return replica.state() != pb::REPLICA_STOPPED && replica.state() != pb::REPLICA_FAILED;
}

/// Forgets what a process said that has ended: nothing of it runs any more.
void forget_ended(node_profiles& nodes, const event& what) {
  if (what.kind == event_kind::boot || what.kind == event_kind::crash || what.kind == event_kind::stop)
    nodes[what.machine].profile.reset();
}

topics lives_and_profiles() {
  return node_profiles::wants().add(event_kind::boot).add(event_kind::crash).add(event_kind::stop);
}

/// What a business's replicas take, as the nodes themselves tell it, against its quota.
class quota_kept : public named_check<quota_kept> {
public:
  static constexpr const char* label = "quota-kept";
  static constexpr const char* about =
      "What runs for a business never exceeds its quota; nodes that a Resource has called offline do not count, nor do "
      "they for the bound after that.";
  static constexpr nanoseconds default_bound{seconds{20}};

  using named_check::named_check;

  topics wants() const override { return lives_and_profiles().add(event_kind::log); }

  void on_event(const event& what, const world_facts& facts) override {
    if (facts.what().options.resource.quotas.empty())
      return;
    if (what.kind == event_kind::log)
      return on_log(what, facts);
    forget_ended(nodes_, what);
    nodes_.observe(what, facts);
    if (said(what) && content_as<profile_update>(what))
      look(what.at, facts);
  }

private:
  void on_log(const event& what, const world_facts& facts) {
    auto word = first_word(what.text);
    if (word == "resource.offline") {
      if (auto node = facts.find(field(what.text, "node=")))
        given_up_[*node] = what.at;
    } else if (word == "resource.orphans") {
      // It does not say which.
      for (std::uint32_t i = 1; i < facts.machines().size(); ++i)
        if (number(field(what.text, "offline=")).value_or(0) + number(field(what.text, "removed=")).value_or(0) > 0)
          given_up_[machine_id{i}] = what.at;
    }
  }

  bool counts(machine_id machine, instant now, const world_facts& facts) {
    auto& given_up = given_up_[machine];
    return healthy(machine, facts) && (!given_up || now - *given_up > bound());
  }

  void look(instant now, const world_facts& facts) {
    for (auto& quota : facts.what().options.resource.quotas) {
      std::map<std::string, pb::Resources> in_use;
      for (std::uint32_t i = 1; i < facts.machines().size(); ++i) {
        machine_id machine{i};
        auto profile = nodes_.profile_of(machine);
        if (!profile || !counts(machine, now, facts))
          continue;
        for (auto& replica : profile->replicas())
          if (replica.business() == quota.business && runs(replica))
            add_resources(in_use[facts_of(machine, facts).resource_group], replica.resources());
      }
      for (auto& [group, sum] : in_use)
        if (!within(quota, sum))
          fail(fmt::format("business {} has more than its quota in use in the group {}: {}", quota.business, group,
                           sum.ShortDebugString()));
    }
  }

  node_profiles nodes_;
  /// When a Resource called it offline last.
  per_machine<std::optional<instant>> given_up_;
};

/// A gang has all of its replicas or none, but for the time that it takes to start them, or to give them up.
class gang_whole : public named_check<gang_whole> {
public:
  static constexpr const char* label = "gang-whole";
  static constexpr const char* about =
      "Of a gang that has never been there as a whole, no part runs for longer than the bound.";
  static constexpr nanoseconds default_bound{seconds{16}};

  using named_check::named_check;

  topics wants() const override {
    return lives_and_profiles().add(event_kind::log).add(event_kind::step, {message_kind::apply_app});
  }

  void on_event(const event& what, const world_facts& facts) override {
    if (!begun_)
      begin(facts);
    if (gangs_.empty())
      return;
    if (what.kind == event_kind::log) {
      // A scheduler that starts takes what it finds for a gang that was placed.
      if (first_word(what.text) == "apps.start")
        if (auto gang = gangs_.find(field(what.text, "app=")); gang != gangs_.end() && gang->second.since)
          gang->second.placed = true;
      return;
    }
    if (auto apply = content_as<apply_app>(what)) {
      auto gang = gangs_.find((*apply)->spec().name());
      // Whether it was granted or not: with fewer the check asks for less.
      if (gang != gangs_.end())
        gang->second.replicas = std::min(gang->second.replicas, (*apply)->spec().replicas());
      return;
    }
    forget_ended(nodes_, what);
    nodes_.observe(what, facts);
    if (!said(what))
      return;
    if (content_as<profile_update>(what))
      count(what.at, facts);
    look(what.at);
  }

  void at_quiet(const final_state&, const world_facts& facts) override {
    if (!begun_ || gangs_.empty())
      return;
    count(facts.now(), facts);
    look(facts.now());
  }

private:
  struct gang_record {
    std::uint32_t replicas = 0;
    /// All of it was there once.
    bool placed = false;
    /// Since when a part of it is.
    std::optional<instant> since;
    std::size_t part = 0;
  };

  void begin(const world_facts& facts) {
    begun_ = true;
    for (auto& app : facts.what().apps)
      if (app.spec && app.spec->gang())
        gangs_[app.spec->name()].replicas = app.spec->replicas();
  }

  void count(instant now, const world_facts& facts) {
    std::map<std::string, std::set<std::uint32_t>, std::less<>> there;
    for (std::uint32_t i = 1; i < facts.machines().size(); ++i)
      if (auto profile = nodes_.profile_of(machine_id{i}); profile && healthy(machine_id{i}, facts))
        for (auto& replica : profile->replicas())
          if (runs(replica) && replica.state() != pb::REPLICA_DRAINING && gangs_.count(replica.app()) != 0)
            there[replica.app()].insert(replica.index());
    for (auto& [app, gang] : gangs_) {
      gang.part = there[app].size();
      if (gang.part >= gang.replicas)
        gang.placed = true;
      if (gang.part == 0)
        gang.since.reset();
      else if (!gang.since)
        gang.since = now;
    }
  }

  void look(instant now) {
    for (auto& [app, gang] : gangs_)
      if (!gang.placed && gang.since && now - *gang.since > bound())
        fail(fmt::format("{} of the {} replicas of gang {} have run since {} without the others", gang.part,
                         gang.replicas, app, seconds_text(*gang.since)));
  }

  bool begun_ = false;
  node_profiles nodes_;
  std::map<std::string, gang_record, std::less<>> gangs_;
};

/// Places that are only held keep others out: a gang gives them back when it cannot be whole.
class gang_patience : public named_check<gang_patience> {
public:
  static constexpr const char* label = "gang-patience";
  static constexpr const char* about =
      "A gang holds a place for no longer than the bound before it takes it or gives it "
      "back.";
  static constexpr nanoseconds default_bound{seconds{12}};

  using named_check::named_check;

  topics wants() const override { return topics{}.said({message_kind::claim_batch}); }

  void on_event(const event& what, const world_facts&) override {
    auto batch = content_as<claim_batch>(what);
    if (batch == nullptr || !said(what) || (*batch)->hold_ms() == 0)
      return;
    for (auto& claim : (*batch)->claims()) {
      auto& first = asked_[claim.token()];
      if (first.at == instant{0})
        first.at = what.at;
      else if (what.at - first.at > bound())
        fail(fmt::format("gang {} still holds a place for replica {} that it asked for at {}", (*batch)->spec().name(),
                         claim.replica_index(), seconds_text(first.at)));
    }
  }

private:
  struct question {
    instant at{0};
  };

  /// By token.
  id_table<question> asked_;
};

class priority_order : public named_check<priority_order> {
public:
  static constexpr const char* label = "priority-order";
  static constexpr const char* about = "A replica makes room only for one of an app with a higher priority.";
  static constexpr nanoseconds default_bound{0};

  using named_check::named_check;

  topics wants() const override { return topics{}.add(event_kind::log); }

  void on_event(const event& what, const world_facts& facts) override {
    if (first_word(what.text) != "node.preempt")
      return;
    constexpr std::string_view by = "preempted by app ";
    auto reason = field(what.text, "reason=");
    auto victim = spec_of(field(what.text, "app="), facts.what());
    auto other = reason.starts_with(by) ? spec_of(first_word(reason.substr(by.size())), facts.what()) : nullptr;
    if (victim == nullptr || other == nullptr)
      fail(fmt::format("nobody knows who preempts whom: {}", what.text));
    else if (other->priority() <= victim->priority())
      fail(fmt::format("app {} with priority {} takes the place of app {}, which has {}", other->name(),
                       other->priority(), victim->name(), victim->priority()));
  }
};

} // namespace

void add_sharing_checks(std::vector<check_kind>& all) {
  all.push_back(kind_of_check<quota_kept>());
  all.push_back(kind_of_check<gang_whole>());
  all.push_back(kind_of_check<gang_patience>());
  all.push_back(kind_of_check<priority_order>());
}

} // namespace astra::sim
