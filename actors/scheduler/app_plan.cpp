#include "actors/scheduler/app_plan.hpp"

#include "actors/random.hpp"
#include "actors/scheduler/claim_book.hpp"
#include "actors/scheduler/federation.hpp"
#include "actors/scheduler/planner.hpp"
#include "actors/scheduler/spec_change.hpp"
#include "messages/wire.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <memory>
#include <optional>
#include <string_view>
#include <tuple>
#include <utility>

namespace astra {
namespace {

/// Replicas whose replacement is planned one after the other; each takes a look at every node.
constexpr std::size_t singly_max = 100;

/// Steps of a federated app's clusters that a plan follows.
constexpr std::size_t rounds_max = 400;

/// A replica that counts.
struct holder {
  pb::ReplicaStatus status;
  node_id node;
  bool outdated = false;
  bool leaving = false;

  claim_token token() const { return claim_token{status.token()}; }
  auto rank() const {
    return std::tuple{outdated, leaving, status.state() != pb::REPLICA_READY, status.epoch(), status.token()};
  }
};

std::string short_hex(std::uint64_t value) {
  return fmt::format("{:06x}", value & 0xffffff);
}

/// The four words of an index.
struct index_words {
  std::string revision;
  std::string spec;
  std::string replicas;
  std::string nodes;
};

std::optional<index_words> words_of(std::string_view index) {
  std::array<std::string, 4> words;
  for (std::size_t i = 0; i < words.size(); ++i) {
    auto end = index.find('-');
    if ((end == std::string_view::npos) != (i + 1 == words.size()))
      return std::nullopt;
    words[i] = index.substr(0, end);
    if (words[i].empty() || words[i].size() > 16 || words[i].find_first_not_of("0123456789abcdef") != std::string::npos)
      return std::nullopt;
    index.remove_prefix(end == std::string_view::npos ? index.size() : end + 1);
  }
  return index_words{words[0], words[1], words[2], words[3]};
}

/// The work of one make_app_plan.
class plan_making {
public:
  explicit plan_making(const app_plan_input& input)
    : in_(input), hash_(hash_of(input.wanted)),
      random_(name_hash(fmt::format("{}\n{}\n{}", input.wanted.name(), input.revision, encode(input.wanted)))),
      plan_input_{in_.wanted, in_.view.nodes()} {
    plan_input_.reachable = in_.reachable;
    plan_input_.corrections = in_.corrections;
    // What failed before may do better with another spec.
    if (in_.current && hash_of(*in_.current) == hash_)
      plan_input_.excluded = in_.excluded;
    plan_input_.elsewhere = elsewhere_for(in_.wanted, in_.home_group, in_.view);
    std::tie(plan_input_.partition, plan_input_.partitions) = home_partition(in_.wanted.name(), in_.view.apps());
    plan_input_.index = &in_.view.index();
  }

  pb::AppPlan make() {
    sort_replicas();
    if (in_.wanted.has_federation()) {
      plan_members();
      return summary();
    }
    for (auto found = holders_.lower_bound(replicas()); found != holders_.end(); ++found)
      for (auto& surplus : found->second) {
        note(found->first, pb::PLAN_STOP, name_of(surplus.node), "", "fewer replicas are wanted");
        take_off(surplus);
      }
    std::vector<std::uint32_t> replaced;
    for (std::uint32_t index = 0; index < replicas(); ++index)
      review(index, replaced);
    place(replaced);
    return summary();
  }

private:
  pb::AppPlan summary() {
    pb::AppPlan result;
    auto created = in_.wanted;
    created.set_replicas(replicas());
    result.set_change(in_.current ? describe_change(*in_.current, in_.wanted) : "created with " + size_text(created));
    result.set_changes(!in_.current || encode(*in_.current) != encode(in_.wanted));
    result.set_index(index_text());
    for (auto& [index, rows] : rows_)
      for (auto& row : rows)
        *result.add_replicas() = row;
    return result;
  }

  /// With a scale policy the number goes on from where it is, within the bounds.
  std::uint32_t replicas() const {
    if (!in_.wanted.has_scale())
      return in_.wanted.replicas();
    auto& scale = in_.wanted.scale();
    auto begin = in_.scaled_to.value_or(in_.current ? in_.current->replicas() : in_.wanted.replicas());
    return std::clamp(begin, std::max(scale.min(), 1U), std::max({scale.min(), scale.max(), 1U}));
  }

  const std::string& name_of(node_id id) const {
    static const std::string unknown = "a node that is not in the view";
    auto entry = in_.view.find(id);
    return entry ? entry->name() : unknown;
  }

  pb::PlannedReplica& note(std::uint32_t index, pb::PlanAction action, std::string from, std::string to,
                           std::string reason) {
    auto& row = rows_[index].emplace_back();
    row.set_index(index);
    row.set_action(action);
    row.set_from(std::move(from));
    row.set_to(std::move(to));
    row.set_reason(std::move(reason));
    return row;
  }

  void sort_replicas() {
    for (auto& status : in_.replicas) {
      switch (status.state()) {
      case pb::REPLICA_PLANNED:
      case pb::REPLICA_STOPPED:
      case pb::REPLICA_FAILED:
        continue;
      default:
        break;
      }
      node_id id{status.node()};
      auto entry = in_.view.find(id);
      if (status.state() == pb::REPLICA_UNKNOWN || !entry || entry->row.liveness() == pb::LIVENESS_OFFLINE) {
        lost_[status.index()] = id;
        continue;
      }
      holder one{status, id, status.spec_hash() != hash_,
                 status.state() == pb::REPLICA_DRAINING || entry->row.liveness() == pb::LIVENESS_DRAINING};
      ++plan_input_.placed[id];
      if (status.state() == pb::REPLICA_CLAIMED)
        ++plan_input_.claimed[id];
      holders_[status.index()].push_back(std::move(one));
    }
    for (auto& [index, found] : holders_) {
      std::sort(found.begin(), found.end(), [](auto& a, auto& b) { return a.rank() < b.rank(); });
      for (auto& one : found) {
        where_ += fmt::format("{} {} {}\n", index, one.node.value(), one.status.token());
        used_.insert(one.node);
      }
    }
  }

  /// Finds out what becomes of one index, apart from where.
  void review(std::uint32_t index, std::vector<std::uint32_t>& replaced) {
    auto found = holders_.find(index);
    if (found == holders_.end()) {
      auto lost = lost_.find(index);
      note(index, pb::PLAN_CREATE, "", "", lost == lost_.end() ? "" : name_of(lost->second) + " is offline");
      plan_input_.missing.push_back(index);
      return;
    }
    auto& best = found->second.front();
    auto& from = name_of(best.node);
    if (best.leaving) {
      note(index, pb::PLAN_MOVE, from, "",
           best.status.state() == pb::REPLICA_DRAINING && !best.status.reason().empty() ? best.status.reason()
                                                                                        : from + " is draining");
      plan_input_.missing.push_back(index);
    } else if (best.outdated) {
      note(index, pb::PLAN_REPLACE, from, "", "the spec has changed");
      replaced.push_back(index);
    } else {
      note(index, pb::PLAN_KEEP, from, from, "");
    }
    for (std::size_t i = 1; i < found->second.size(); ++i)
      note(index, pb::PLAN_STOP, name_of(found->second[i].node), "", "another replica has this index");
  }

  void place(const std::vector<std::uint32_t>& replaced) {
    // All at once, as long as there is room beside what runs.
    plan_input_.missing.insert(plan_input_.missing.end(), replaced.begin(), replaced.end());
    auto planned = plan(plan_input_, random_);
    for (auto& placement : planned.placements)
      settle(placement);
    std::size_t singly = 0;
    for (auto index : planned.unplaced) {
      auto& row = rows_[index].front();
      if (row.action() != pb::PLAN_REPLACE) {
        refuse(row, planned.reason);
        continue;
      }
      if (++singly > singly_max) {
        refuse(row, fmt::format("where is seen when the {} before it have been replaced", singly_max));
        continue;
      }
      // One at a time, each on what the ones before it have left.
      auto reason = place_singly(index);
      if (reason.empty())
        continue;
      auto before = plan_input_.corrections;
      auto placed = plan_input_.placed;
      take_off(holders_.at(index).front());
      if (place_singly(index).empty()) {
        row.set_reason("the spec has changed; the old one stops first, there is no room for both");
      } else {
        plan_input_.corrections = std::move(before);
        plan_input_.placed = std::move(placed);
        refuse(row, reason + "; the old one goes on");
      }
    }
  }

  /// @returns why there is no place; empty when there is.
  std::string place_singly(std::uint32_t index) {
    plan_input_.missing = {index};
    auto planned = plan(plan_input_, random_);
    if (planned.placements.empty())
      return planned.reason;
    settle(planned.placements.front());
    return {};
  }

  static void refuse(pb::PlannedReplica& row, const std::string& reason) {
    row.set_unplaced(true);
    row.set_reason(row.reason().empty() ? reason : row.reason() + "; " + reason);
  }

  // -- a federated app ---------------------------------------------------------

  /// Runs the app's clusters ahead, with members that are ready as soon as they are placed.
  void plan_members() {
    for (auto& [index, found] : holders_)
      for (auto& one : found)
        sights_.push_back(sight_of(one));
    auto before = sights_;
    federation clusters{in_.wanted.name(), 0};
    federation::time_point now;
    std::size_t rounds = 0;
    for (std::size_t idle = 0; idle < 3 && rounds < rounds_max; ++rounds) {
      auto waiting = unplaced_;
      auto step = clusters.review(in_.wanted.federation(), in_.wanted.federation().clusters(), sights_, waiting, now,
                                  [this](auto& gone, auto index) { return has_room_without(gone, index); });
      // What a cluster waits for has come by then, or does not come.
      now += federation::room_patience;
      unplaced_.clear();
      auto moved = stop_members(step.stops);
      moved |= place_members(step.places, true);
      moved |= place_members(step.places, false);
      idle = moved ? 0 : idle + 1;
    }
    note_members(before, rounds == rounds_max);
  }

  member_sight sight_of(const holder& what) const {
    member_sight result;
    result.token = what.token();
    result.node = what.node;
    result.node_name = name_of(what.node);
    result.index = what.status.index();
    result.member = what.status.member();
    result.state = pb::REPLICA_READY;
    result.host = what.status.host();
    result.outdated = what.outdated;
    result.leaving = what.leaving;
    return result;
  }

  bool stop_members(const std::vector<federation::stop>& stops) {
    for (auto& stop : stops) {
      stopped_.emplace(stop.token, stop.reason);
      std::erase_if(sights_, [&](auto& sight) { return sight.token == stop.token; });
      take_off_member(stop.index, stop.token);
    }
    return !stops.empty();
  }

  void take_off_member(std::uint32_t index, claim_token token) {
    if (auto found = holders_.find(index); found != holders_.end())
      for (auto& one : found->second)
        if (one.token() == token)
          take_off(one);
    if (auto made = made_.find(token); made != made_.end())
      take_off(made->second);
  }

  bool has_room_without(const std::vector<const member_sight*>& gone, std::uint32_t index) {
    auto corrections = plan_input_.corrections;
    auto placed = plan_input_.placed;
    auto claimed = plan_input_.claimed;
    auto taken_off = taken_off_;
    for (auto member : gone)
      take_off_member(member->index, member->token);
    auto spec = role_spec(in_.wanted, index % cluster_stride == 0);
    auto input = member_input(spec, false);
    input.missing = {index};
    auto found = !plan(input, random_).placements.empty();
    plan_input_.corrections = std::move(corrections);
    plan_input_.placed = std::move(placed);
    plan_input_.claimed = std::move(claimed);
    taken_off_ = std::move(taken_off);
    return found;
  }

  /// For members with this spec.
  plan_input member_input(const pb::AppSpec& spec, bool heads) const {
    plan_input input{spec, in_.view.nodes()};
    input.placed = plan_input_.placed;
    input.claimed = plan_input_.claimed;
    input.corrections = plan_input_.corrections;
    input.excluded = plan_input_.excluded;
    input.reachable = plan_input_.reachable;
    input.elsewhere = plan_input_.elsewhere;
    input.partition = plan_input_.partition;
    input.partitions = plan_input_.partitions;
    input.index = plan_input_.index;
    // As the scheduler does it: heads keep away from heads.
    if (heads) {
      input.placed.clear();
      for (auto& sight : sights_)
        if (sight.head())
          ++input.placed[sight.node];
    }
    return input;
  }

  /// @returns whether one has found a place.
  bool place_members(const std::vector<federation::place_wish>& wishes, bool heads) {
    auto spec = role_spec(in_.wanted, heads);
    auto input = member_input(spec, heads);
    std::map<std::uint32_t, const pb::ClusterMember*> members;
    for (auto& wish : wishes)
      if ((wish.member.slot() == 0) == heads) {
        input.missing.push_back(wish.index);
        members[wish.index] = &wish.member;
      }
    if (members.empty())
      return false;
    auto planned = plan(input, random_);
    for (auto& where : planned.placements)
      settle_member(where, *members.at(where.replica_index), spec.per_replica());
    for (auto index : planned.unplaced)
      unplaced_[index] = planned.reason;
    return !planned.placements.empty();
  }

  void settle_member(const placement& where, const pb::ClusterMember& member, const pb::Resources& resources) {
    auto status =
        occupy(where, resources,
               name_hash(fmt::format("{} {} {}", member.cluster(), where.replica_index, member.incarnation())));
    *status.mutable_member() = member;
    holder made{status, where.node};
    made_.emplace(made.token(), made);
    sights_.push_back(sight_of(made));
  }

  static std::string role_of(std::uint32_t index) {
    auto place = index / cluster_stride + 1;
    auto slot = index % cluster_stride;
    return slot == 0 ? fmt::format("head of cluster {}", place) : fmt::format("worker {} of cluster {}", slot, place);
  }

  /// @param cut there would be more to come.
  void note_members(const std::vector<member_sight>& before, bool cut) {
    std::map<std::uint32_t, std::vector<const member_sight*>> old;
    std::map<std::uint32_t, const member_sight*> fresh;
    for (auto& sight : before)
      old[sight.index].push_back(&sight);
    for (auto& sight : sights_)
      if (made_.count(sight.token) != 0)
        fresh[sight.index] = &sight;
    for (std::uint32_t place = 0; place < in_.wanted.federation().clusters(); ++place)
      for (std::uint32_t slot = 0; slot <= in_.wanted.federation().workers(); ++slot)
        note_member(place * cluster_stride + slot, old, fresh, cut);
    for (auto& [index, sights] : old)
      if (rows_.count(index) == 0)
        for (auto sight : sights)
          note(index, pb::PLAN_STOP, sight->node_name, "", reason_of(*sight));
    for (auto& [index, rows] : rows_)
      for (auto& row : rows)
        row.set_role(role_of(index));
  }

  std::string reason_of(const member_sight& stopped) const {
    auto found = stopped_.find(stopped.token);
    return found == stopped_.end() ? std::string{} : found->second;
  }

  void note_member(std::uint32_t index, const std::map<std::uint32_t, std::vector<const member_sight*>>& old,
                   const std::map<std::uint32_t, const member_sight*>& fresh, bool cut) {
    auto here = old.find(index);
    const member_sight* predecessor = nullptr;
    if (here != old.end())
      for (auto sight : here->second) {
        if (stopped_.count(sight->token) == 0 && !sight->outdated && !sight->leaving)
          note(index, pb::PLAN_KEEP, sight->node_name, sight->node_name, "");
        else if (!predecessor)
          predecessor = sight;
        else
          note(index, pb::PLAN_STOP, sight->node_name, "", reason_of(*sight));
      }
    auto made = fresh.find(index);
    auto to = made == fresh.end() ? std::string{} : made->second->node_name;
    if (predecessor == nullptr) {
      if (made == fresh.end() && rows_.count(index) != 0)
        return;
      auto lost = lost_.find(index);
      auto& row =
          note(index, pb::PLAN_CREATE, "", to, lost == lost_.end() ? "" : name_of(lost->second) + " is offline");
      if (made == fresh.end())
        refuse(row, why_no_place(index, cut));
      return;
    }
    if (made == fresh.end() && rows_.count(index) != 0) {
      note(index, pb::PLAN_STOP, predecessor->node_name, "", reason_of(*predecessor));
      return;
    }
    auto reason = reason_of(*predecessor);
    if (reason.empty())
      reason = predecessor->outdated ? "the spec has changed" : predecessor->node_name + " is draining";
    auto& row =
        note(index, predecessor->leaving ? pb::PLAN_MOVE : pb::PLAN_REPLACE, predecessor->node_name, to, reason);
    if (made == fresh.end())
      refuse(row, why_no_place(index, cut) + (stopped_.count(predecessor->token) != 0 ? "" : "; the old one goes on"));
  }

  std::string why_no_place(std::uint32_t index, bool cut) const {
    if (auto found = unplaced_.find(index); found != unplaced_.end())
      return found->second;
    if (cut)
      return "where is seen when the clusters before it have been replaced";
    return index % cluster_stride == 0 ? "its cluster waits for the one before it" : "its head has no place yet";
  }

  /// The node runs one more.
  pb::ReplicaStatus occupy(const placement& where, const pb::Resources& resources, std::uint64_t token = 0) {
    used_.insert(where.node);
    ++plan_input_.placed[where.node];
    pb::ReplicaStatus status;
    status.set_app(in_.wanted.name());
    status.set_index(where.replica_index);
    status.set_token(token);
    status.set_spec_hash(hash_);
    status.set_state(pb::REPLICA_STARTING);
    *status.mutable_resources() = resources;
    change_shape(where.node, [&](pb::NodeProfile& shape) { *shape.add_replicas() = status; });
    return status;
  }

  /// The replica has its place, and what it follows is gone.
  void settle(const placement& where) {
    auto& row = rows_[where.replica_index].front();
    row.set_to(name_of(where.node));
    occupy(where, in_.wanted.per_replica());
    if (row.action() == pb::PLAN_REPLACE || row.action() == pb::PLAN_MOVE)
      take_off(holders_.at(where.replica_index).front());
  }

  /// Once for each replica; a second time changes nothing.
  void take_off(const holder& what) {
    if (!taken_off_.insert({what.status.index(), what.status.token()}).second)
      return;
    auto lower = [&](std::map<node_id, std::uint32_t>& counts) {
      if (auto found = counts.find(what.node); found != counts.end() && found->second > 0)
        --found->second;
    };
    lower(plan_input_.placed);
    if (what.status.state() == pb::REPLICA_CLAIMED)
      return lower(plan_input_.claimed);
    change_shape(what.node, [&](pb::NodeProfile& shape) {
      auto& all = *shape.mutable_replicas();
      all.erase(std::remove_if(all.begin(), all.end(), [&](auto& one) { return one.token() == what.status.token(); }),
                all.end());
    });
  }

  template <class Change>
  void change_shape(node_id id, Change change) {
    auto entry = in_.view.find(id);
    if (!entry)
      return;
    auto& row = plan_input_.corrections.try_emplace(id, entry->row).first->second;
    auto shape = std::make_shared<pb::NodeProfile>(row.shape());
    change(*shape);
    row.set_profile(row.name(), row.address(), row.profile_version(), std::move(shape));
  }

  std::string index_text() const {
    std::string nodes;
    for (auto id : used_)
      if (auto entry = in_.view.find(id))
        nodes += fmt::format("{} {} {} {}\n", id.value(), entry->row.incarnation(), entry->row.profile_version(),
                             static_cast<int>(entry->row.liveness()));
    for (auto& [index, rows] : rows_)
      for (auto& row : rows)
        nodes += fmt::format("{} {} {} {}\n", index, static_cast<int>(row.action()), row.to(), row.unplaced());
    return fmt::format("{:x}-{}-{}-{}", in_.revision, short_hex(name_hash(encode(in_.wanted))),
                       short_hex(name_hash(where_)), short_hex(name_hash(nodes)));
  }

  const app_plan_input& in_;
  const std::uint64_t hash_;
  random_source random_;
  plan_input plan_input_;
  std::map<std::uint32_t, std::vector<holder>> holders_;
  /// Indices whose node is gone, and that node.
  std::map<std::uint32_t, node_id> lost_;
  /// By index; the first one is what becomes of the index.
  std::map<std::uint32_t, std::vector<pb::PlannedReplica>> rows_;
  std::set<std::pair<std::uint32_t, std::uint64_t>> taken_off_;
  // Of a federated app: its members as they are at this point of the plan, those that the plan has placed, why members
  // were stopped, and why others found no place in the last step.
  std::vector<member_sight> sights_;
  std::map<claim_token, holder> made_;
  std::map<claim_token, std::string> stopped_;
  std::map<std::uint32_t, std::string> unplaced_;
  /// Where the replicas are, as a text to be hashed.
  std::string where_;
  std::set<node_id> used_;
};

/// "n1, n2, n3 and 4 more"
std::string nodes_of(const pb::AppPlan& plan) {
  std::set<std::string> names;
  for (auto& row : plan.replicas())
    for (auto& name : {row.from(), row.to()})
      if (!name.empty())
        names.insert(name);
  constexpr std::size_t listed_max = 8;
  std::string text;
  std::size_t listed = 0;
  for (auto& name : names)
    if (++listed <= listed_max)
      text += (listed == 1 ? "" : ", ") + name;
  return names.size() > listed_max ? text + fmt::format(" and {} more", names.size() - listed_max) : text;
}

} // namespace

pb::AppPlan make_app_plan(const app_plan_input& input) {
  return plan_making{input}.make();
}

std::vector<pb::ReplicaStatus> replicas_in(const cluster_view& view, const std::string& app) {
  std::vector<pb::ReplicaStatus> result;
  view_index::list(view.index().apps(), app).each([&](node_id id) {
    auto& node = *view.find(id);
    for (auto& replica : node.row.shape().replicas())
      if (replica.app() == app) {
        result.push_back(replica);
        result.back().set_node(id.value());
        result.back().set_node_name(node.name());
      }
  });
  return result;
}

std::string why_plan_moved(const std::string& index, const pb::AppPlan& now) {
  if (index == now.index())
    return {};
  auto asked = words_of(index);
  auto made = words_of(now.index());
  if (!asked || !made)
    return fmt::format("'{}' is not the index of a plan, which looks like {}", index, now.index());
  std::string text;
  auto say = [&](const std::string& what) { text += (text.empty() ? "" : "; ") + what; };
  if (asked->revision != made->revision)
    say(fmt::format("the app was at revision {} and is at {} now", std::stoull(asked->revision, nullptr, 16),
                    std::stoull(made->revision, nullptr, 16)));
  if (asked->spec != made->spec)
    say("the file says something else than when the plan was made");
  if (asked->replicas != made->replicas)
    say("its replicas are not where they were");
  if (asked->nodes != made->nodes)
    say("the nodes have changed on which it runs or would run"
        + (nodes_of(now).empty() ? std::string{} : " (now " + nodes_of(now) + ")"));
  return text;
}

} // namespace astra
