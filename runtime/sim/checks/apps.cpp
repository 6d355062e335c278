#include "runtime/sim/checks/history.hpp"
#include "runtime/sim/checks/node_profiles.hpp"
#include "runtime/sim/checks/sharing.hpp"

#include "actors/scheduler/claim_book.hpp"
#include "messages/replica_state.hpp"
#include "messages/wire/app.pb.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>

// Apps: at quiet they are what operators wanted, and nothing else runs.

namespace astra::sim {
namespace {

/// What operators want, from app files and from what schedulers acknowledged.
struct app_wish {
  pb::AppSpec spec;
  bool exists = false;
  /// Nobody can say: its file and its store contradict each other.
  bool ambiguous = false;
  instant changed{0};
  /// Whose scheduler has it, and which machine has a file of it, if any.
  machine_id scheduler{};
  machine_id file{};
  /// What another spec replaced last: where a failed update goes back to by itself.
  std::optional<pb::AppSpec> before{};
  /// Its last crash or final failure of a replica.
  instant failed{-1};
};

bool is_alive(pb::ReplicaState state) {
  return state == pb::REPLICA_READY || state == pb::REPLICA_FETCHING || state == pb::REPLICA_STARTING
         || state == pb::REPLICA_WARMING || state == pb::REPLICA_BACKING_OFF || state == pb::REPLICA_CLAIMED;
}

bool carries(const pb::NodeProfile& profile, const pb::AppSpec& spec) {
  return std::all_of(spec.require().begin(), spec.require().end(), [&](auto& wanted) {
    return std::any_of(profile.labels().begin(), profile.labels().end(),
                       [&](auto& label) { return label.key() == wanted.key() && label.value() == wanted.value(); });
  });
}

std::uint64_t accelerators_of(const pb::Resources& resources, const std::string& kind) {
  std::uint64_t sum = 0;
  for (auto& entry : resources.accelerators())
    if (entry.kind() == kind)
      sum += entry.count();
  return sum;
}

/// Whether so many more replicas fit beside those that the node holds.
bool has_room(const pb::NodeProfile& profile, const pb::Resources& wanted, std::uint64_t replicas = 1) {
  auto fits = [&](auto of) {
    auto used = of(wanted) * replicas;
    for (auto& replica : profile.replicas())
      used += of(replica.resources());
    return used <= of(profile.capacity());
  };
  if (!fits([](const pb::Resources& x) { return std::uint64_t{x.cpu_milli()}; })
      || !fits([](const pb::Resources& x) { return std::uint64_t{x.memory_bytes()}; }))
    return false;
  return std::all_of(wanted.accelerators().begin(), wanted.accelerators().end(), [&](auto& entry) {
    return fits([&](const pb::Resources& x) { return accelerators_of(x, entry.kind()); });
  });
}

class apps_converge : public named_check<apps_converge> {
public:
  static constexpr const char* label = "apps-converge";
  static constexpr const char* about =
      "At quiet every app is as it was wanted last: all replicas that fit are ready, none is doubled or unknown to its "
      "scheduler, and nothing is left of deleted apps and of earlier lives of a node.";
  /// What was changed within this time before the end may still be under way.
  static constexpr nanoseconds default_bound{std::chrono::seconds{10}};

  using named_check::named_check;

  topics wants() const override {
    return node_profiles::wants()
        .said({message_kind::control_reply})
        .add(event_kind::step, {message_kind::apply_app, message_kind::delete_app})
        .add(event_kind::log)
        .add(event_kind::boot);
  }

  void on_event(const event& what, const world_facts& facts) override {
    begin(facts);
    nodes_.observe(what, facts);
    if (what.kind == event_kind::boot)
      on_boot(what, facts);
    else if (what.kind == event_kind::log)
      on_log(what);
    else if (auto apply = content_as<apply_app>(what))
      on_wish(what, (*apply)->spec(), true, facts);
    else if (auto removal = content_as<delete_app>(what))
      on_wish(what, named((*removal)->app()), false, facts);
    else if (auto reply = content_as<control_reply>(what); reply && said(what))
      on_reply(what, (*reply)->ok());
  }

  void at_quiet(const final_state& state, const world_facts& facts) override {
    begin(facts);
    for (auto& [name, wish] : wishes_) {
      if (wish.ambiguous || !settled(wish.scheduler, facts) || state.apps.count(wish.scheduler) == 0)
        continue;
      if (wish.exists)
        look_at_app(name, wish, state, facts);
      else
        look_at_deleted(name, wish, state, facts);
    }
    for (std::uint32_t i = 1; i < facts.machines().size(); ++i)
      look_at_node(machine_id{i}, state, facts);
    for (auto& process : facts.processes())
      look_at_process(process, facts);
  }

private:
  struct open_wish {
    pb::AppSpec spec;
    bool exists = false;
  };

  static pb::AppSpec named(const std::string& app) {
    pb::AppSpec spec;
    spec.set_name(app);
    return spec;
  }

  void begin(const world_facts& facts) {
    if (std::exchange(begun_, true))
      return;
    machine_id first{};
    for (std::uint32_t i = 1; i < facts.machines().size() && first == machine_id{}; ++i)
      if (has_role(facts.machines()[i], process_role::scheduler))
        first = machine_id{i};
    for (auto& app : facts.what().apps) {
      if (!app.spec || !app.from_file)
        continue;
      auto& wish = wishes_[app.spec->name()];
      wish.spec = *app.spec;
      wish.exists = true;
      wish.scheduler = wish.file = app.scheduler.empty() ? first : facts.find(app.scheduler).value_or(first);
    }
  }

  /// A process that starts again follows its files, whatever became of their apps elsewhere.
  void on_boot(const event& what, const world_facts& facts) {
    for (auto& [name, wish] : wishes_)
      if (same_name(wish.file, what.machine, facts) && (!wish.exists || !same_name(wish.scheduler, wish.file, facts)))
        wish.ambiguous = true;
  }

  void on_log(const event& what) {
    auto word = first_word(what.text);
    if (word == "apps.rollback" && field(what.text, "code=") == "none") {
      auto wish = wishes_.find(std::string{field(what.text, "app=")});
      if (wish == wishes_.end() || !wish->second.before)
        return;
      wish->second.spec = *wish->second.before;
      wish->second.changed = what.at;
    }
    if (word == "apps.taken_over") {
      auto wish = wishes_.find(std::string{field(what.text, "app=")});
      if (wish != wishes_.end())
        wish->second.scheduler = what.machine;
      return;
    }
    if (word != "node.replica_crash" && word != "node.replica_failed" && word != "apps.scheduler_down")
      return;
    if (auto wish = wishes_.find(std::string{field(what.text, "app=")}); wish != wishes_.end())
      wish->second.failed = what.at;
  }

  /// Handled by the front of a scheduler process, which answers at once, or passed on by it.
  void on_wish(const event& what, pb::AppSpec spec, bool exists, const world_facts& facts) {
    if (roles_.of(what.actor, facts) != actor_role::apps)
      return;
    if (auto before = open_.find(what.actor); before != open_.end())
      wishes_[before->second.spec.name()].ambiguous = true;
    open_[what.actor] = {std::move(spec), exists};
  }

  void on_reply(const event& what, bool ok) {
    auto found = open_.find(what.sender);
    if (found == open_.end())
      return;
    auto open = std::move(found->second);
    open_.erase(found);
    if (!ok)
      return;
    auto& wish = wishes_[open.spec.name()];
    wish.exists = open.exists;
    wish.ambiguous = false;
    wish.changed = what.at;
    wish.scheduler = what.machine;
    if (open.exists) {
      if (hash_of(wish.spec) != hash_of(open.spec))
        wish.before = wish.spec;
      wish.spec = std::move(open.spec);
      wish.spec.clear_deleting();
    }
  }

  bool settled(machine_id machine, const world_facts& facts) const {
    return machine != machine_id{} && healthy(machine, facts)
           && facts.now() - facts_of(machine, facts).since >= bound();
  }

  bool recent(machine_id machine, const world_facts& facts) {
    auto changed = nodes_[machine].changed;
    return changed >= instant{0} && facts.now() - changed < std::chrono::seconds{3};
  }

  static const pb::AppDetail* detail_of(const std::string& app, machine_id scheduler, const final_state& state) {
    auto details = state.apps.find(scheduler);
    if (details == state.apps.end())
      return nullptr;
    auto detail = details->second.find(app);
    return detail == details->second.end() || !detail->second.found() ? nullptr : &detail->second;
  }

  void look_at_app(const std::string& name, const app_wish& wish, const final_state& state, const world_facts& facts) {
    if (facts.now() - wish.changed < bound())
      return;
    auto detail = detail_of(name, wish.scheduler, state);
    if (!detail)
      return fail(fmt::format("app {} is wanted, and {} does not know it", name, facts_of(wish.scheduler, facts).name));
    auto& record = detail->record();
    if (record.deleting())
      return fail(fmt::format("app {} is wanted and is being deleted: {}", name, record.reason()));
    if (encode(record.spec()) != encode(wish.spec))
      return fail(fmt::format("app {} is not as it was applied: {} replicas, wanted are {}", name,
                              record.spec().replicas(), wish.spec.replicas()));
    std::map<std::pair<std::uint32_t, std::uint64_t>, int> alive;
    for (auto& replica : detail->replicas()) {
      if (replica.state() != pb::REPLICA_READY && replica.reason().empty())
        fail(fmt::format("replica {} of app {} is {} for no reason", replica.index(), name,
                         replica_state_text(replica.state())));
      if (is_alive(replica.state()) && ++alive[{replica.index(), replica.spec_hash()}] > 1)
        fail(fmt::format("app {} has two replicas {}", name, replica.index()));
      if (is_alive(replica.state()) && !wish.spec.has_federation() && replica.index() >= wish.spec.replicas())
        fail(fmt::format("app {} has replica {} and wants {}", name, replica.index(), wish.spec.replicas()));
      look_at_replica(name, replica, facts);
    }
    if (wish.spec.has_federation())
      look_at_clusters(name, *detail);
    if (record.ready() < wish.spec.replicas())
      look_at_lack(name, wish, *detail, facts);
  }

  /// A place has one cluster, each slot one member, and nothing is left of clusters that are dead.
  void look_at_clusters(const std::string& name, const pb::AppDetail& detail) {
    std::map<std::uint32_t, std::set<std::uint64_t>> by_place;
    std::set<std::uint64_t> with_head;
    for (auto& replica : detail.replicas()) {
      if (!is_alive(replica.state()))
        continue;
      auto& member = replica.member();
      by_place[replica.index() - member.slot()].insert(member.cluster());
      if (member.slot() == 0)
        with_head.insert(member.cluster());
    }
    for (auto& [place, clusters] : by_place) {
      if (clusters.size() > 1)
        fail(fmt::format("app {} has {} clusters in one place", name, clusters.size()));
      for (auto cluster : clusters)
        if (with_head.count(cluster) == 0)
          fail(fmt::format("app {} has workers of cluster {}, which has no head", name, to_hex(cluster)));
    }
  }

  /// A replica that a scheduler believes in is there.
  void look_at_replica(const std::string& app, const pb::ReplicaStatus& replica, const world_facts& facts) {
    if (replica.token() == 0 || replica.state() == pb::REPLICA_CLAIMED || replica.state() == pb::REPLICA_PLANNED
        || replica.state() == pb::REPLICA_UNKNOWN || replica.state() == pb::REPLICA_FAILED)
      return;
    auto machine = machines_.of(replica.node(), facts);
    if (!settled(machine, facts) || recent(machine, facts))
      return;
    auto profile = nodes_.profile_of(machine);
    if (!profile || std::none_of(profile->replicas().begin(), profile->replicas().end(), [&](auto& held) {
          return held.token() == replica.token();
        }))
      fail(fmt::format("the scheduler of app {} counts on replica {} at node {}, which has none", app, replica.index(),
                       facts_of(machine, facts).name));
  }

  /// Fewer replicas are ready than wanted: there must be a cause outside of the protocols.
  void look_at_lack(const std::string& name, const app_wish& wish, const pb::AppDetail& detail,
                    const world_facts& facts) {
    // Backoffs, budgets and the minute for which a node is left alone after a failure.
    if (wish.failed >= instant{0} && facts.now() - wish.failed < std::chrono::seconds{75})
      return;
    if (facts.now() - facts.calm_since() < bound())
      return;
    auto start_max = nanoseconds{std::chrono::seconds{1}};
    for (auto& app : facts.what().apps)
      if (app.spec && app.spec->name() == name)
        start_max = std::max(start_max, app.behaviour.start_max);
    for (auto& replica : detail.replicas()) {
      nanoseconds age = std::chrono::milliseconds{static_cast<std::int64_t>(replica.in_state_ms())};
      switch (replica.state()) {
      case pb::REPLICA_STARTING:
      case pb::REPLICA_WARMING:
      case pb::REPLICA_CLAIMED:
        if (age > 2 * start_max + bound())
          fail(fmt::format("replica {} of app {} is {} for {}", replica.index(), name,
                           replica_state_text(replica.state()), seconds_text(age)));
        break;
      case pb::REPLICA_PLANNED:
        look_for_room(name, wish, detail, replica, facts);
        break;
      default:
        break;
      }
    }
    if (detail.record().pending() + detail.record().starting() + detail.record().failed() + detail.record().ready()
        != wish.spec.replicas())
      fail(fmt::format("app {} has {} ready, {} starting, {} failed and {} pending replicas of {}", name,
                       detail.record().ready(), detail.record().starting(), detail.record().failed(),
                       detail.record().pending(), wish.spec.replicas()));
  }

  void look_for_room(const std::string& name, const app_wish& wish, const pb::AppDetail& detail,
                     const pb::ReplicaStatus& replica, const world_facts& facts) {
    if (!quota_has_room(wish.spec, facts))
      return;
    // A gang needs a place for each before it gets the first one.
    std::uint64_t needed = wish.spec.gang() && detail.record().ready() == 0 ? wish.spec.replicas() : 1;
    std::uint64_t places = 0;
    for (std::uint32_t i = 1; i < facts.machines().size(); ++i) {
      machine_id machine{i};
      auto profile = nodes_.profile_of(machine);
      if (!profile || !settled(machine, facts) || nodes_[machine].draining
          || facts.now() - nodes_[machine].changed < bound())
        continue;
      if (!carries(*profile, wish.spec))
        continue;
      for (std::uint64_t here = 1; places < needed && has_room(*profile, wish.spec.per_replica(), here); ++here)
        ++places;
      if (places >= needed)
        return fail(fmt::format("replica {} of app {} waits ({}), and node {} has room for it", replica.index(), name,
                                replica.reason(), facts_of(machine, facts).name));
    }
  }

  /// Of all nodes of the group that is the scheduler's own, as they tell it themselves.
  bool quota_has_room(const pb::AppSpec& spec, const world_facts& facts) {
    auto quota = quota_of(spec.business(), facts.what());
    if (quota == nullptr)
      return true;
    auto sum = spec.per_replica();
    for (std::uint32_t i = 1; i < facts.machines().size(); ++i)
      if (auto profile = nodes_.profile_of(machine_id{i}); profile && healthy(machine_id{i}, facts))
        for (auto& replica : profile->replicas())
          if (replica.business() == spec.business() && replica.state() != pb::REPLICA_STOPPED
              && replica.state() != pb::REPLICA_FAILED)
            add_resources(sum, replica.resources());
    return within(*quota, sum);
  }

  void look_at_deleted(const std::string& name, const app_wish& wish, const final_state& state,
                       const world_facts& facts) {
    if (in_grace(wish, facts))
      return;
    for (auto& [machine, details] : state.apps)
      if (auto detail = detail_of(name, machine, state))
        fail(fmt::format("app {} was deleted at {}, and {} still has it: {}", name, seconds_text(wish.changed),
                         facts_of(machine, facts).name, detail->record().reason()));
  }

  /// Replicas of a deleted app finish what they work on.
  bool in_grace(const app_wish& wish, const world_facts& facts) const {
    auto work = std::chrono::milliseconds{static_cast<std::int64_t>(wish.spec.request_timeout_ms())};
    return facts.now() - std::max(wish.changed, facts.calm_since()) < work + bound();
  }

  /// Nothing runs that its scheduler does not know.
  void look_at_node(machine_id machine, const final_state& state, const world_facts& facts) {
    auto profile = nodes_.profile_of(machine);
    if (!profile || !settled(machine, facts) || recent(machine, facts))
      return;
    for (auto& replica : profile->replicas()) {
      auto wish = wishes_.find(replica.app());
      if (wish == wishes_.end() || wish->second.ambiguous || !settled(wish->second.scheduler, facts)
          || state.apps.count(wish->second.scheduler) == 0)
        continue;
      if (!wish->second.exists && in_grace(wish->second, facts))
        continue;
      if (wish->second.exists && facts.now() - wish->second.changed < bound())
        continue;
      auto detail = detail_of(replica.app(), wish->second.scheduler, state);
      auto known = detail && std::any_of(detail->replicas().begin(), detail->replicas().end(), [&](auto& entry) {
                     return entry.token() == replica.token() && entry.node() == profile->node();
                   });
      if (!known)
        fail(
            fmt::format("node {} holds replica {} of app {} (token {}, {}), of which the app's scheduler knows nothing",
                        profile->name(), replica.index(), replica.app(), to_hex(replica.token()),
                        replica_state_text(replica.state())));
    }
  }

  /// A node numbers its processes from its incarnation, so that none is taken for one of another life.
  void look_at_process(const process_facts& process, const world_facts& facts) {
    auto& machine = facts_of(process.machine, facts);
    if (!machine.up)
      return fail(
          fmt::format("process {} ({}) runs on {}, which is down", to_hex(process.key), process.command, machine.name));
    auto& node = nodes_[process.machine];
    if (!settled(process.machine, facts) || node.incarnation == 0 || recent(process.machine, facts))
      return;
    // Keys have room for the lower bits only.
    constexpr auto room = ~std::uint64_t{0} >> 24;
    if (process.key >> 24 != (node.incarnation & room))
      fail(fmt::format("process {} ({}) runs on {}, whose node has incarnation {} and does not number its processes so",
                       to_hex(process.key), process.command, machine.name, node.incarnation));
    else if (auto profile = nodes_.profile_of(process.machine); profile && profile->replicas().empty())
      fail(fmt::format("process {} ({}) runs on {}, whose node holds no replica", to_hex(process.key), process.command,
                       machine.name));
  }

  bool begun_ = false;
  actor_roles roles_;
  node_machines machines_;
  node_profiles nodes_;
  std::map<std::string, app_wish> wishes_;
  /// By the actor that was told: a wish that it has not answered.
  std::map<std::uint64_t, open_wish> open_;
};

class one_scheduler : public named_check<one_scheduler> {
public:
  static constexpr const char* label = "one-scheduler";
  static constexpr const char* about = "At quiet an app has one scheduler, and everybody knows it by its epoch.";
  static constexpr nanoseconds default_bound{std::chrono::seconds{10}};

  using named_check::named_check;

  topics wants() const override { return topics{}.add(event_kind::log); }

  void on_event(const event& what, const world_facts&) override {
    auto word = first_word(what.text);
    if (word == "apps.start" || word == "scheduler.gone" || word == "apps.scheduler_down")
      changed_[name_hash(field(what.text, "app="))].at = what.at;
  }

  void at_quiet(const final_state& state, const world_facts& facts) override {
    std::map<std::string, machine_id> owners;
    for (auto& [machine, details] : state.apps) {
      for (auto& [app, detail] : details) {
        auto fenced = detail.record().reason().starts_with("a newer scheduler has taken the app over");
        auto changed = changed_.find(name_hash(app));
        if (!detail.found() || fenced || (changed && facts.now() - changed->at < bound()))
          continue;
        auto [owner, first] = owners.emplace(app, machine);
        if (!first)
          fail(fmt::format("app {} has a scheduler on {} and one on {}", app, facts_of(owner->second, facts).name,
                           facts_of(machine, facts).name));
        for (auto& [resource, view] : state.views) {
          auto shown = view.find_app(app);
          if (!healthy(resource, facts) || facts.now() - facts_of(resource, facts).since < bound()
              || facts.now() - facts_of(machine, facts).since < bound())
            continue;
          // Other groups than that of its scheduler hear only of apps that name them.
          auto& group = facts_of(resource, facts).resource_group;
          auto& named = detail.record().spec().groups();
          if (group != facts_of(machine, facts).resource_group
              && std::find(named.begin(), named.end(), group) == named.end())
            continue;
          if (!shown || shown->record.epoch() != detail.record().epoch())
            fail(fmt::format("the scheduler of app {} has epoch {}, and {} knows {}", app, detail.record().epoch(),
                             facts_of(resource, facts).name,
                             shown ? "epoch " + std::to_string(shown->record.epoch()) : std::string{"none"}));
        }
      }
    }
  }

private:
  struct change {
    instant at{0};
  };

  id_table<change> changed_;
};

} // namespace

void add_app_checks(std::vector<check_kind>& all) {
  all.push_back(kind_of_check<apps_converge>());
  all.push_back(kind_of_check<one_scheduler>());
}

} // namespace astra::sim
