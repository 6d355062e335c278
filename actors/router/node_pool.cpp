#include "actors/router/node_pool.hpp"

#include "actors/mutant.hpp"
#include "actors/resource/view_filter.hpp"
#include "actors/router/smooth_wrr.hpp"
#include "actors/router/weight_bounds.hpp"
#include "messages/replica_state.hpp"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>
#include <tuple>

namespace astra {
namespace {

/// What a row says of one app.
struct replica_summary {
  bool any = false;
  std::uint32_t slots = 0;
  /// Of all apps.
  std::uint32_t node_slots = 0;
  /// It is the head of a cluster: its node may drain, and it serves on until it is told to stop itself.
  bool serves_on = false;
  /// Of the first replica that is not ready.
  std::string reason;
};

std::string with_reason(std::string what, const std::string& reason) {
  return reason.empty() ? what : what + ": " + reason;
}

replica_summary summarise(const node_row& row, const std::string& app, const std::set<std::uint64_t>& serving) {
  replica_summary result;
  for (auto& replica : row.shape().replicas()) {
    if (replica.state() == pb::REPLICA_READY)
      result.node_slots += std::max(1U, replica.concurrency());
    if (replica.app() != app || (replica.has_member() && replica.member().slot() != 0))
      continue;
    result.any = true;
    auto ready = replica.state() == pb::REPLICA_READY;
    if (ready && replica.has_member()) {
      ready = serving.count(replica.member().cluster()) != 0;
      result.serves_on = result.serves_on || ready;
      if (!ready && result.reason.empty())
        result.reason = "ready, and its cluster is not";
      if (!ready)
        continue;
    }
    if (ready)
      result.slots += std::max(1U, replica.concurrency());
    else if (result.reason.empty())
      result.reason = with_reason(replica_state_text(replica.state()), replica.reason());
  }
  return result;
}

std::string why_not_serving(const node_row& row, const replica_summary& replicas) {
  switch (row.liveness()) {
  case pb::LIVENESS_ONLINE:
  case pb::LIVENESS_SUSPECT:
    break;
  case pb::LIVENESS_DRAINING:
    if (replicas.serves_on)
      break;
    return MUTANT(draining_node_in_rotation) ? std::string{} : with_reason("draining", row.reason());
  case pb::LIVENESS_OFFLINE:
    return MUTANT(offline_node_in_rotation) ? std::string{} : with_reason("offline", row.reason());
  default:
    return "its liveness is unknown";
  }
  return replicas.slots == 0 ? "its replica is " + replicas.reason : std::string{};
}

void set_load(weight_input& input, const node_load& load) {
  input.host_utilisation = load.host_utilisation();
  input.own_busy_cores = load.own_busy_cores();
  input.concurrency = load.concurrency();
}

weight_input weight_of(const node_row& row, const node_load& load) {
  weight_input result;
  result.cores = row.shape().capacity().cpu_milli() / 1000.0;
  auto fastest = 0.0;
  for (auto& accelerator : row.shape().accelerators())
    fastest = std::max(fastest, accelerator.coefficient());
  result.coefficient = fastest > 0.0 ? fastest : 1.0;
  set_load(result, load);
  return result;
}

/// The node counts for all of its apps together; of that, this one has what it has of the slots.
void set_counters(service_meter::sample& counters, const node_load& load) {
  counters.done = load.requests_done();
  counters.failed = load.requests_failed();
  counters.in_flight = std::uint64_t{load.running()} + load.queued();
  counters.busy_slots = load.concurrency();
}

/// Nodes in a slice of the smallest pool that is shared, on average.
constexpr double slice_min = 128.0;

/// No word about a node of this life has a larger number.
constexpr auto never_heard = std::numeric_limits<std::uint64_t>::max();

double hardware_per_slot(const weight_input& load) {
  auto hardware =
      bounded(load.cores, least_reported, most_reported) * bounded(load.coefficient, least_reported, most_reported);
  return hardware / std::max(1.0, load.slots);
}

} // namespace

node_pool::node_pool(std::string app, milliseconds ejection, random_source phase, const weight_horizon& horizon,
                     milliseconds slow_start, pool_reach reach)
  : app_(std::move(app)), ejection_(ejection), slow_start_(slow_start), phase_(phase), horizon_(horizon),
    reach_(std::move(reach)) {
  make_formulas();
}

void node_pool::make_formulas() {
  for (auto& list : ranks_)
    list.formula = make_weight_formula(formula_kind_, horizon_);
}

void node_pool::use(pb::WeightFormula formula) {
  if (formula == formula_kind_)
    return;
  formula_kind_ = formula;
  make_formulas();
  reweigh_ = true;
  unsettled_ = true;
}

bool node_pool::observe(const node_row& row, const node_load& load, std::uint64_t word) {
  auto node = node_id{row.node()};
  auto life = incarnation{row.incarnation()};
  auto known = members_.find(node);
  // A new life at the same address does not count: the session with the old one has ended by itself, and what runs
  // there now may be ours already.
  auto lost = known != members_.end()
              && (row.liveness() == pb::LIVENESS_OFFLINE || row.address() != known->second.address)
              && !MUTANT(work_at_offline_node_awaited);
  auto replicas = summarise(row, app_, serving_);
  if (!replicas.any) {
    forget(node);
    return lost;
  }
  auto& member = members_[node];
  if (auto former = forgotten_.find(node); former != forgotten_.end()) {
    member.at = former->second;
    auto& list = ranks_[former->second.rank];
    list.seats[former->second.at].who = &member;
    ++list.nodes;
    ++in_rotation_;
    forgotten_.erase(former);
  }
  auto was = std::tuple{member.cannot_serve.empty(), member.suspected.empty(), member.held.empty(), member.rank};
  member.rank = !reach_.near.empty() && carries_all(row.shape(), reach_.near) ? 0 : 1;
  member.name = row.name();
  member.address = row.address();
  member.life = life;
  member.load = weight_of(row, load);
  member.slots = replicas.slots;
  member.load.slots = std::max(1U, replicas.slots);
  member.counters.life = life;
  member.counters.share = replicas.node_slots > 0 ? static_cast<double>(replicas.slots) / replicas.node_slots : 1.0;
  set_counters(member.counters, load);
  member.cannot_serve = why_not_serving(row, replicas);
  member.suspected = row.liveness() == pb::LIVENESS_SUSPECT ? with_reason("suspect", row.reason()) : std::string{};
  heard(member, word);
  member.fresh = member.fresh || replicas.slots == 0;
  auto is = std::tuple{member.cannot_serve.empty(), member.suspected.empty(), member.held.empty(), member.rank};
  if (known == members_.end() || was != is)
    touch(node, member);
  return lost;
}

void node_pool::observe_load(node_id node, const node_load& load, std::uint64_t word) {
  auto known = members_.find(node);
  if (known == members_.end())
    return;
  auto& member = known->second;
  set_load(member.load, load);
  set_counters(member.counters, load);
  auto was_held = !member.held.empty();
  heard(member, word);
  if (was_held != !member.held.empty())
    touch(node, member);
}

void node_pool::heard(member& who, std::uint64_t word) {
  who.word = word;
  if (std::pair{who.life, word} > who.held_at && !MUTANT(ejection_never_ends))
    who.held.clear();
}

void node_pool::forget(node_id node) {
  auto found = members_.find(node);
  if (found == members_.end() || MUTANT(vanished_node_keeps_weight))
    return;
  auto& member = found->second;
  able_ -= member.able ? 1 : 0;
  doubted_ -= member.doubted ? 1 : 0;
  if (member.at) {
    vacate(*member.at);
    forgotten_.emplace(node, *member.at);
  }
  members_.erase(found);
  unsettled_ = true;
}

void node_pool::touch(node_id node, member& who) {
  unsettled_ = true;
  if (!std::exchange(who.unsettled, true))
    touched_.push_back(node);
}

void node_pool::eject(node_id node, std::string reason, time_point now) {
  hold(node, std::move(reason), false, ejection_, now);
}

void node_pool::expel(node_id node, std::string reason, milliseconds length, time_point now) {
  if (auto member = hold(node, std::move(reason), false, length, now))
    member->held_at.second = never_heard;
}

void node_pool::refuse(node_id node, std::string reason, time_point now) {
  hold(node, std::move(reason), true, ejection_, now);
}

std::vector<node_id> node_pool::settle(time_point now) {
  bring_in_line(now);
  std::ranges::sort(left_);
  return std::exchange(left_, {});
}

void node_pool::touch_all() {
  for (auto& [node, member] : members_)
    touch(node, member);
}

bool node_pool::in_share(node_id node) const {
  if (!shared_)
    return true;
  // Each node in two slices: none is lost with one router, nor left to one that is busy.  And in no slice so few nodes
  // that all of them may be lost at once.
  auto wide = std::max(2.0 / reach_.share.of, slice_min / static_cast<double>(shared_above));
  auto begin = (reach_.share.number - 1.0) / reach_.share.of;
  auto where = static_cast<double>(node.value()) * 0x1.0p-64 - begin;
  return (where < 0.0 ? where + 1.0 : where) < wide;
}

/// Some below the boundary it ends, so that it does not come and go with single nodes.
void node_pool::share_or_not() {
  auto shared = reach_.share.of > 2 && members_.size() > (shared_ ? shared_above - shared_above / 8 : shared_above);
  if (shared != std::exchange(shared_, shared))
    touch_all();
}

void node_pool::bring_in_line(time_point now) {
  expire(now);
  share_or_not();
  if (!unsettled_)
    return;
  auto joined = move_in_and_out(now);
  auto other_kind = [](auto& list) { return kind_for(list.nodes, list.kind) != list.kind; };
  if (std::exchange(reweigh_, false) || in_rotation_ <= scan_max || std::ranges::any_of(ranks_, other_kind))
    return weigh_all(now);
  weigh_joined(joined, now);
  for (auto& list : ranks_)
    if (list.kind == order_kind::scan)
      assign(list);
}

void node_pool::refresh(time_point now) {
  expire(now);
  share_or_not();
  move_in_and_out(now);
  prior_ = {};
  for (auto& [node, member] : members_) {
    member.service.observe(member.counters, now);
    prior_.add(member.service, hardware_per_slot(member.load));
  }
  weigh_all(now);
}

std::vector<node_id> node_pool::move_in_and_out(time_point now) {
  std::vector<node_id> joined;
  auto others_work = in_rotation_ > 0;
  for (auto& [node, at] : forgotten_)
    left_.push_back(node);
  std::ranges::sort(touched_);
  for (auto node : touched_) {
    auto found = members_.find(node);
    if (found == members_.end())
      continue;
    auto& member = found->second;
    able_ -= member.able ? 1 : 0;
    doubted_ -= member.doubted ? 1 : 0;
    member.able = is_able(node, member);
    member.doubted = is_doubted(member);
    able_ += member.able ? 1 : 0;
    doubted_ += member.doubted ? 1 : 0;
  }
  auto heed = 2 * doubted_ <= able_ || MUTANT(mass_doubt_empties_rotation);
  if (heed != std::exchange(heeded_, heed)) {
    touched_.clear();
    for (auto& [node, member] : members_)
      touched_.push_back(node);
  }
  // Seats that become free are not given away at once: who leaves would pass his credit on.
  std::vector<place> vacated;
  for (auto& [node, at] : std::exchange(forgotten_, {}))
    vacated.push_back(at);
  for (auto node : touched_) {
    auto found = members_.find(node);
    if (found == members_.end())
      continue;
    auto& member = found->second;
    member.unsettled = false;
    auto in = member.able && !(heed && member.doubted);
    auto was_in = member.at.has_value();
    if (was_in && (!in || member.at->rank != member.rank)) {
      vacated.push_back(*member.at);
      vacate(*member.at);
      member.at.reset();
      member.weight = 0.0;
    }
    if (in && !member.at) {
      take_seat(node, member);
      if (std::exchange(member.fresh, false) && others_work)
        member.joined = now;
      joined.push_back(node);
    } else if (!in && was_in) {
      left_.push_back(node);
    }
  }
  for (auto where : vacated) {
    auto& list = ranks_[where.rank];
    // A scan is assigned as a whole.
    if (list.kind != order_kind::scan)
      list.turns->remove(where.at);
    list.free.push_back(where.at);
  }
  touched_.clear();
  unsettled_ = false;
  return joined;
}

void node_pool::take_seat(node_id node, member& who) {
  auto& list = ranks_[who.rank];
  if (list.free.empty()) {
    list.free.push_back(static_cast<seat>(list.seats.size()));
    list.seats.emplace_back();
  }
  who.at = place{who.rank, list.free.back()};
  list.free.pop_back();
  list.seats[who.at->at] = {node, &who};
  ++list.nodes;
  ++in_rotation_;
}

/// The seat is not given away yet.
void node_pool::vacate(place where) {
  auto& list = ranks_[where.rank];
  list.seats[where.at].who = nullptr;
  --list.nodes;
  --in_rotation_;
}

void node_pool::set_input(member& who) const {
  auto& load = who.load;
  load.in_flight = static_cast<double>(who.counters.in_flight) * who.counters.share;
  load.service_rate = who.service.service_rate(prior_.rate(hardware_per_slot(load)));
  load.arrival_rate = who.service.arrival_rate();
  who.weighed = load;
}

void node_pool::set_ramp(member& who, time_point now) const {
  constexpr auto least = 0.1;
  if (who.joined && now - *who.joined >= slow_start_)
    who.joined.reset();
  who.ramp = who.joined ? std::max(least, std::chrono::duration<double>(now - *who.joined) / slow_start_) : 1.0;
}

/// Computes all weights anew, and makes the orders that suit the numbers of nodes.
void node_pool::weigh_all(time_point now) {
  for (auto& list : ranks_) {
    list.weighed.clear();
    list.inputs.clear();
  }
  for (auto& [node, member] : members_) {
    if (!member.at)
      continue;
    set_input(member);
    auto& list = ranks_[member.at->rank];
    list.weighed.push_back(&member);
    list.inputs.push_back(member.weighed);
  }
  for (auto& list : ranks_) {
    list.weights.resize(list.weighed.size());
    list.formula->weigh(list.inputs, list.weights);
    list.entries.clear();
    for (std::size_t i = 0; i < list.weighed.size(); ++i) {
      auto& who = *list.weighed[i];
      set_ramp(who, now);
      who.weight = list.weights[i] * who.ramp;
      list.entries.push_back({who.at->at, who.weight});
    }
    use_entries(list);
  }
}

/// Gives the nodes of the list their turns with the weights that they have.
void node_pool::assign(turn_list& list) {
  std::vector<const sitting*> sitting;
  for (auto& one : list.seats)
    if (one.who != nullptr)
      sitting.push_back(&one);
  std::ranges::sort(sitting, {}, [](auto one) { return one->node; });
  list.entries.clear();
  for (auto one : sitting)
    list.entries.push_back({one->who->at->at, one->who->weight});
  use_entries(list);
}

void node_pool::use_entries(turn_list& list) {
  auto kind = kind_for(list.nodes, list.kind);
  if (kind == std::exchange(list.kind, kind)) {
    list.turns->assign(list.entries, &phase_);
    return;
  }
  auto former = std::exchange(list.turns, make_order(kind));
  list.turns->adopt(list.entries, former->turns(), &phase_);
}

/// Those in a list that is scanned get their turns with it.
void node_pool::weigh_joined(const std::vector<node_id>& joined, time_point now) {
  for (auto node : joined) {
    auto& member = members_.at(node);
    set_input(member);
    set_ramp(member, now);
    auto& list = ranks_[member.at->rank];
    member.weight = list.formula->weight(member.weighed) * member.ramp;
    if (list.kind != order_kind::scan)
      list.turns->insert({member.at->at, member.weight}, &phase_);
  }
}

std::optional<node_id> node_pool::pick(std::span<const node_id> passed_over, std::size_t tries, time_point now) {
  bring_in_line(now);
  std::array<std::vector<seat>, 2> seats;
  for (auto node : passed_over)
    if (auto member = find(node); member != nullptr && member->at)
      seats[member->at->rank].push_back(member->at->at);
  std::size_t first = tries < reach_.near_tries ? 0 : 1;
  for (auto rank : {first, 1 - first}) {
    auto& list = ranks_[rank];
    auto at = list.nodes > 0 ? list.turns->pick(seats[rank]) : std::nullopt;
    if (!at)
      continue;
    auto& picked = list.seats[*at];
    ++picked.who->picked;
    return picked.node;
  }
  return std::nullopt;
}

std::optional<node_id> node_pool::pick_by_key(std::string_view key, std::span<const node_id> asked, time_point now) {
  bring_in_line(now);
  constexpr auto candidates_max = 64;
  constexpr auto looked_at_max = 4 * candidates_max;
  auto hash = name_hash(key);
  member* best = nullptr;
  std::optional<node_id> result;
  auto best_score = -1.0;
  auto candidates = 0;
  auto looked_at = 0;
  // Ids are hashes of names: the members are a ring.
  auto next = members_.lower_bound(node_id{hash});
  for (std::size_t i = 0; i < members_.size() && candidates < candidates_max && looked_at < looked_at_max;
       ++i, ++next) {
    if (next == members_.end())
      next = members_.begin();
    auto& [node, who] = *next;
    ++looked_at;
    if (!may_get_by_key(who))
      continue;
    ++candidates;
    if (std::ranges::find(asked, node) != asked.end())
      continue;
    // Never 0, nor 1.
    auto draw = std::max(0x1.0p-53, random_source{hash ^ node.value()}.unit());
    auto score = std::max(1U, who.slots) / -std::log(draw);
    if (score > best_score) {
      best_score = score;
      best = &who;
      result = node;
    }
  }
  if (candidates == 0)
    return pick(asked, now);
  if (best != nullptr)
    ++best->picked;
  return result;
}

/// All routers send a key to the same node.
bool node_pool::may_get_by_key(const member& who) const {
  return who.at || (shared_ && who.cannot_serve.empty() && who.suspected.empty() && who.held.empty());
}

std::optional<node_id> node_pool::pick(sized_walk& walk, std::span<const node_id> asked, time_point now) {
  bring_in_line(now);
  auto& in_turn = walk.in_turn;
  if (asked.empty()) {
    in_turn.clear();
    while (in_turn.size() < walk.count) {
      auto next = pick(in_turn, now);
      if (!next)
        break;
      in_turn.push_back(*next);
    }
    auto sign = walk.size >= 1.0 ? -1.0 : 1.0;
    // Equals stay in turn, and near ones first.
    std::ranges::stable_sort(in_turn, {}, [this, sign](node_id node) {
      auto who = find(node);
      return std::pair{who->rank, sign * who->weighed.service_rate};
    });
  }
  auto next = std::ranges::find_if(
      in_turn, [&](node_id node) { return in_rotation(node) && std::ranges::find(asked, node) == asked.end(); });
  return next == in_turn.end() ? std::nullopt : std::optional{*next};
}

std::vector<std::string> node_pool::preview(std::size_t count, time_point now) {
  bring_in_line(now);
  auto& list = ranks_[ranks_[0].nodes > 0 ? 0 : 1];
  auto copy = list.turns->copy();
  std::vector<std::string> result;
  while (result.size() < count) {
    auto at = copy->pick();
    if (!at)
      break;
    result.push_back(list.seats[*at].who->name);
  }
  return result;
}

bool node_pool::empty(time_point now) {
  bring_in_line(now);
  return in_rotation_ == 0;
}

void node_pool::set_eta(node_id node, milliseconds eta) {
  if (auto found = members_.find(node); found != members_.end())
    found->second.eta = eta;
}

void node_pool::count_served(node_id node) {
  if (auto found = members_.find(node); found != members_.end())
    ++found->second.served;
}

bool node_pool::in_rotation(node_id node) const {
  auto member = find(node);
  return member != nullptr && member->at;
}

std::string node_pool::out_reason(node_id node) const {
  auto member = find(node);
  if (member == nullptr)
    return "it holds no replica";
  if (member->at)
    return {};
  if (!member->cannot_serve.empty())
    return member->cannot_serve;
  if (!in_share(node))
    return "not in this router's share, " + std::to_string(reach_.share.number) + "/" + std::to_string(reach_.share.of);
  return member->held.empty() ? member->suspected : member->held;
}

node_pool::milliseconds node_pool::best_eta(time_point now) {
  constexpr milliseconds good_for{100};
  if (now < best_eta_until_)
    return best_eta_;
  best_eta_until_ = now + good_for;
  best_eta_ = milliseconds{0};
  for (auto& list : ranks_)
    for (auto& sits : list.seats) {
      auto eta = sits.who != nullptr ? sits.who->eta : milliseconds{0};
      if (eta > milliseconds{0} && (best_eta_ == milliseconds{0} || eta < best_eta_))
        best_eta_ = eta;
    }
  return best_eta_;
}

double node_pool::hardware_of_slot(const member& who) {
  return hardware_per_slot(who.load);
}

weight_terms node_pool::terms(const member& who) const {
  if (!who.at)
    return {};
  auto result = ranks_[who.at->rank].formula->terms(who.weighed);
  if (who.ramp < 1.0)
    result.emplace_back("slow_start", who.ramp);
  return result;
}

order_kind node_pool::turns_by() const {
  return ranks_[ranks_[0].nodes > ranks_[1].nodes ? 0 : 1].kind;
}

/// In ticks of the weights as they are.
std::vector<order::turn> node_pool::turns_of(const turn_list& list) {
  auto turns = list.turns->turns();
  std::erase_if(turns, [&](const order::turn& x) { return list.seats[x.at].who == nullptr; });
  if (list.kind == order_kind::scan)
    return turns;
  // The same number of rounds, and not of weights that were rounded.
  std::vector<double> weights;
  auto round = 0.0;
  for (auto& turn : turns) {
    weights.push_back(list.seats[turn.at].who->weight);
    round += static_cast<double>(turn.weight);
  }
  auto ticks = to_ticks(weights);
  for (std::size_t i = 0; i < turns.size(); ++i)
    turns[i] = {turns[i].at, ticks[i], std::llround(std::ldexp(static_cast<double>(turns[i].credit) / round, 32))};
  return turns;
}

std::map<node_id, double> node_pool::credits() const {
  std::map<node_id, double> result;
  for (auto& list : ranks_)
    for (auto& turn : turns_of(list)) {
      auto& sits = list.seats[turn.at];
      result.emplace(sits.node, sits.who->weight * static_cast<double>(turn.credit) / static_cast<double>(turn.weight));
    }
  return result;
}

const node_pool::member* node_pool::find(node_id node) const {
  auto found = members_.find(node);
  return found != members_.end() ? &found->second : nullptr;
}

node_pool::member* node_pool::hold(node_id node, std::string reason, bool refused, milliseconds length,
                                   time_point now) {
  auto found = members_.find(node);
  if (found == members_.end())
    return nullptr;
  auto& member = found->second;
  // Whoever was expelled stays out that long, whatever else happens to it.
  auto expelled = !member.held.empty() && member.held_at == std::pair{member.life, never_heard};
  if (expelled && !refused && member.held_until > now + length)
    return nullptr;
  member.held = std::move(reason);
  member.refused = refused;
  member.held_until = now + length;
  member.held_at = {member.life, member.word};
  held_.insert(node);
  next_expiry_ = std::min(next_expiry_, member.held_until);
  touch(node, member);
  return &member;
}

void node_pool::expire(time_point now) {
  if (now < next_expiry_)
    return;
  next_expiry_ = time_point::max();
  std::erase_if(held_, [&](node_id node) {
    auto found = members_.find(node);
    if (found == members_.end() || found->second.held.empty())
      return true;
    auto& member = found->second;
    if (member.held_until > now || MUTANT(ejection_never_ends)) {
      next_expiry_ = std::min(next_expiry_, member.held_until);
      return false;
    }
    member.held.clear();
    touch(node, member);
    return true;
  });
}

} // namespace astra
