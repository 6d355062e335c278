#include "actors/resource/quota_book.hpp"

#include "actors/mutant.hpp"
#include "actors/rendezvous.hpp"
#include "actors/resource/cluster_view.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <utility>

namespace astra {
namespace {

using std::chrono::milliseconds;
using time_point = quota_book::time_point;

constexpr milliseconds renewal{1000};
/// Claims that are refused within this time ask for their sum.
constexpr milliseconds demand_window{400};
/// Nobody has come back for what was refused.
constexpr milliseconds demand_memory{2500};
/// Who was refused asks again within a second, and if not, does not wait any more.
constexpr milliseconds refusal_memory{3000};
/// Between countings of what is in use.
constexpr milliseconds count_again{200};

/// What a borrower counts on of what it got: clocks differ in speed.
constexpr milliseconds surely(milliseconds lent) {
  return lent * 7 / 8;
}

bool runs(const pb::ReplicaStatus& replica) {
  return replica.state() != pb::REPLICA_STOPPED && replica.state() != pb::REPLICA_FAILED;
}

void add(pb::Resources& sum, const pb::Resources& part) {
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

template <class Amount>
void add(Amount& sum, const Amount& part) {
  for (std::size_t i = 0; i < sum.size(); ++i)
    sum[i] += part[i];
}

template <class Amount>
void subtract(Amount& from, const Amount& part) {
  for (std::size_t i = 0; i < from.size(); ++i)
    from[i] -= std::min(from[i], part[i]);
}

template <class Amount>
Amount least_of(Amount a, const Amount& b) {
  for (std::size_t i = 0; i < a.size(); ++i)
    a[i] = std::min(a[i], b[i]);
  return a;
}

template <class Amount>
Amount most_of(Amount a, const Amount& b) {
  for (std::size_t i = 0; i < a.size(); ++i)
    a[i] = std::max(a[i], b[i]);
  return a;
}

template <class Amount>
bool within(const Amount& what, const Amount& limit) {
  for (std::size_t i = 0; i < what.size(); ++i)
    if (what[i] > limit[i])
      return false;
  return true;
}

template <class Amount>
bool nothing(const Amount& what) {
  return std::all_of(what.begin(), what.end(), [](auto one) { return one == 0; });
}

/// "96", of a quota that is counted in "cores".
std::string number_text(const std::string& dimension, std::uint64_t value) {
  if (dimension == "cpu")
    return fmt::format("{:g}", static_cast<double>(value) / 1000.0);
  if (dimension == "memory")
    return fmt::format("{:.1f}", static_cast<double>(value) / (1024.0 * 1024.0 * 1024.0));
  return std::to_string(value);
}

std::string unit_text(const std::string& dimension) {
  return dimension == "cpu" ? "cores" : dimension == "memory" ? "GiB of memory" : dimension;
}

} // namespace

// -- what a view shows -----------------------------------------------------------

std::vector<quota_evidence::use> view_evidence::used(const std::string& business) const {
  std::vector<use> result;
  for (auto& [id, entry] : view_.nodes()) {
    auto& row = entry.row;
    if (row.liveness() == pb::LIVENESS_OFFLINE)
      continue;
    auto fresh = true;
    for (auto& replica : row.shape().replicas()) {
      if (replica.business() != business || !runs(replica))
        continue;
      if (std::exchange(fresh, false))
        result.push_back({id, {}});
      add(result.back().amount, replica.resources());
    }
  }
  return result;
}

bool view_evidence::knows(node_id node) const {
  return view_.find(node) != nullptr;
}

std::uint32_t view_evidence::running(const std::string& app) const {
  std::uint32_t result = 0;
  for (auto& [id, entry] : view_.nodes()) {
    if (entry.row.liveness() == pb::LIVENESS_OFFLINE)
      continue;
    for (auto& replica : entry.row.shape().replicas())
      if (replica.app() == app && runs(replica))
        ++result;
  }
  return result;
}

quota_evidence::sighting view_evidence::look(node_id node, std::uint64_t incarnation, claim_token token) const {
  auto entry = view_.find(node);
  if (!entry || entry->origin != self_ || entry->row.incarnation() < incarnation)
    return sighting::unseen;
  if (entry->row.incarnation() > incarnation)
    return sighting::gone;
  auto& replicas = entry->row.shape().replicas();
  auto shown = std::any_of(replicas.begin(), replicas.end(),
                           [token](auto& replica) { return replica.token() == token.value(); });
  return shown ? sighting::shown : sighting::unseen;
}

std::uint64_t view_evidence::version() const {
  auto own = view_.shards().find(self_);
  return own == view_.shards().end() ? 0 : own->second.version;
}

// -- the book --------------------------------------------------------------------

quota_book::quota_book(resource_id self, std::string name, std::uint64_t incarnation,
                       const std::vector<quota_options>& quotas, time_point now, limits how)
  : self_(self), name_(std::move(name)), incarnation_(incarnation), limits_(how), started_(now) {
  for (auto& quota : quotas) {
    auto& of = ledgers_.emplace_back();
    of.business = quota.business;
    auto limit = [&](std::string what, std::uint64_t most) {
      of.dimensions.push_back(std::move(what));
      of.quota.push_back(most);
    };
    if (quota.cpu_milli)
      limit("cpu", *quota.cpu_milli);
    if (quota.memory_bytes)
      limit("memory", *quota.memory_bytes);
    for (auto& [kind, count] : quota.accelerators)
      limit(kind, count);
    of.lease = of.given = of.unseen = of.retired = of.demand = of.least = of.in_use = amount(of.quota.size());
    of.renewed = now;
    of.preferred = self_;
  }
}

std::size_t quota_book::find(const std::string& business) const {
  auto found = std::find_if(ledgers_.begin(), ledgers_.end(), [&](auto& of) { return of.business == business; });
  return static_cast<std::size_t>(found - ledgers_.begin());
}

quota_book::amount quota_book::amount_of(const ledger& of, const pb::Resources& resources) const {
  amount result;
  for (auto& dimension : of.dimensions) {
    std::uint64_t value = 0;
    if (dimension == "cpu")
      value = resources.cpu_milli();
    else if (dimension == "memory")
      value = resources.memory_bytes();
    else
      for (auto& entry : resources.accelerators())
        if (entry.kind() == dimension)
          value += entry.count();
    result.push_back(value);
  }
  return result;
}

pb::Resources quota_book::resources_of(const ledger& of, const amount& what) const {
  pb::Resources result;
  for (std::size_t i = 0; i < what.size(); ++i) {
    if (of.dimensions[i] == "cpu") {
      result.set_cpu_milli(static_cast<std::uint32_t>(what[i]));
    } else if (of.dimensions[i] == "memory") {
      result.set_memory_bytes(what[i]);
    } else {
      auto& entry = *result.add_accelerators();
      entry.set_kind(of.dimensions[i]);
      entry.set_count(static_cast<std::uint32_t>(what[i]));
    }
  }
  return result;
}

void quota_book::set_mesh(std::map<resource_id, std::string> heard, std::size_t all) {
  all_ = std::max<std::size_t>(all, 1);
  if (heard == heard_)
    return;
  heard_ = std::move(heard);
  std::erase_if(has_version_, [&](auto& entry) { return heard_.count(entry.first) == 0; });
  std::vector<std::string> names{name_};
  for (auto& [id, name] : heard_)
    names.push_back(name);
  for (auto& of : ledgers_)
    of.preferred = make_resource_id(rendezvous_order(of.business, names).front());
}

void quota_book::tick(const quota_evidence& evidence, time_point now) {
  if (none())
    return;
  retire(evidence, now);
  for (auto& of : ledgers_)
    std::erase_if(of.refusals, [now](auto& entry) { return now - entry.second.last >= refusal_memory; });
  for (std::size_t i = 0; i < ledgers_.size(); ++i) {
    auto& of = ledgers_[i];
    if (now - started_ >= limits_.quiet && of.preferred == self_
        && (of.voted_for == self_ || !of.promised_until || *of.promised_until <= now)) {
      of.voted_for = self_;
      of.promised_until = now + limits_.lease;
      add_vote(of, self_, *of.promised_until, now);
    }
    review(of, now);
    if (of.elected && (of.hurry || now - of.renewed >= renewal))
      serve_self(i, evidence, now);
  }
}

bool quota_book::urgent(resource_id peer, time_point now) const {
  return std::any_of(ledgers_.begin(), ledgers_.end(), [&](auto& of) {
    return of.hurry && of.voted_for == peer && of.promised_until && *of.promised_until > now;
  });
}

// -- giving out ------------------------------------------------------------------

quota_book::amount quota_book::wanted(std::size_t index, time_point now) {
  auto& of = ledgers_[index];
  auto result = of.given;
  if (of.demand_since && now - of.demand_last >= demand_memory) {
    of.demand_since.reset();
    of.demand.assign(of.demand.size(), 0);
  }
  add(result, of.demand);
  // More than the quota is not to be had; what was given out stays in any case.
  return most_of(least_of(std::move(result), of.quota), of.given);
}

/// What is left of the lease, and what was given out at least.
quota_book::amount quota_book::held(std::size_t index, time_point now) const {
  auto& of = ledgers_[index];
  auto result = of.given;
  return of.lease_until && *of.lease_until > now ? most_of(std::move(result), of.lease) : result;
}

/// Whether this much more may be given out.
bool quota_book::covered(std::size_t index, const amount& need, time_point now) const {
  auto& of = ledgers_[index];
  if (!of.lease_until || (*of.lease_until <= now && !MUTANT(quota_lease_never_ends)))
    return false;
  auto sum = of.given;
  add(sum, need);
  return within(sum, of.lease);
}

void quota_book::demand(ledger& of, const amount& need, time_point now) const {
  if (!of.demand_since || now - *of.demand_since >= demand_window) {
    of.demand_since = now;
    of.demand.assign(of.demand.size(), 0);
    of.least = need;
  }
  add(of.demand, need);
  of.least = least_of(of.least, need);
  of.demand_last = now;
  of.hurry = true;
}

std::string quota_book::claim(const pb::AppSpec& spec, const pb::Claim& claim, const quota_evidence& evidence,
                              time_point now) {
  auto index = find(spec.business());
  claim_token token{claim.token()};
  node_id node{claim.node()};
  if (auto known = tokens_.find(token); known != tokens_.end()) {
    // A node may be asked only now about what was reserved long ago.
    known->second.since = now;
    return {};
  }
  if (spec.business().empty() || index == ledgers_.size()
      || evidence.look(node, claim.node_incarnation(), token) == quota_evidence::sighting::shown)
    return {};
  auto& of = ledgers_[index];
  auto need = amount_of(of, spec.per_replica());
  if (!covered(index, need, now)) {
    demand(of, need, now);
    review(of, now);
    if (of.elected)
      serve_self(index, evidence, now);
    if (!covered(index, need, now) && !MUTANT(quota_ignored)) {
      of.refusals[{spec.name(), claim.replica_index()}] = {need, now};
      return why_not(index, need, evidence, now);
    }
  }
  of.refusals.erase({spec.name(), claim.replica_index()});
  subtract(of.demand, need);
  add(of.given, need);
  add(of.unseen, need);
  tokens_[token] = {spec.name(), index, std::move(need), node, claim.node_incarnation(), now, std::nullopt};
  return {};
}

void quota_book::refused(claim_token token) {
  if (auto found = tokens_.find(token); found != tokens_.end()) {
    forget(found->second);
    tokens_.erase(found);
  }
}

void quota_book::forget(const token_record& record) {
  auto& of = ledgers_[record.ledger];
  subtract(of.given, record.takes);
  if (!record.shown_in)
    subtract(of.unseen, record.takes);
}

/// Forgets what was given out and is in everybody's view by now, or will never be.
void quota_book::retire(const quota_evidence& evidence, time_point now) {
  for (auto& [token, record] : tokens_)
    if (!record.shown_in && evidence.look(record.node, record.incarnation, token) == quota_evidence::sighting::shown) {
      record.shown_in = evidence.version();
      subtract(ledgers_[record.ledger].unseen, record.takes);
    }
  std::erase_if(tokens_, [&](auto& entry) {
    auto& [token, record] = entry;
    if (evidence.look(record.node, record.incarnation, token) == quota_evidence::sighting::gone) {
      forget(record);
      return true;
    }
    auto all_have_it = record.shown_in && std::all_of(heard_.begin(), heard_.end(), [&](auto& peer) {
                         auto has = has_version_.find(peer.first);
                         return has != has_version_.end() && has->second >= *record.shown_in;
                       });
    if ((!all_have_it && now - record.since < limits_.settle) || MUTANT(quota_given_out_for_ever))
      return false;
    if (record.shown_in)
      retired_in_ = std::max(retired_in_, *record.shown_in);
    forget(record);
    auto& of = ledgers_[record.ledger];
    subtract(of.lease, record.takes);
    add(of.retired, record.takes);
    of.used_at.reset();
    return true;
  });
}

std::string quota_book::gang_misfit(const pb::AppSpec& spec, const quota_evidence& evidence, time_point now) {
  auto index = find(spec.business());
  // How many replicas an app with [scale] has in the end, its file does not say.
  if (spec.business().empty() || index == ledgers_.size() || spec.has_scale() || spec.has_federation())
    return {};
  auto& of = ledgers_[index];
  auto missing = spec.replicas() - std::min(spec.replicas(), evidence.running(spec.name()));
  auto need = amount_of(of, spec.per_replica());
  for (auto& value : need)
    value *= missing;
  // What it holds here counts as given out.
  for (auto& [token, record] : tokens_)
    if (record.ledger == index && !record.shown_in && record.app == spec.name())
      subtract(need, record.takes);
  of.counted.reset();
  return used_up(index, need, evidence, now);
}

quota_book::amount quota_book::in_use(const ledger& of, const quota_evidence& evidence) const {
  amount result(of.quota.size());
  for (auto& use : evidence.used(of.business))
    add(result, amount_of(of, use.amount));
  return result;
}

std::string quota_book::used_up(std::size_t index, const amount& need, const quota_evidence& evidence, time_point now) {
  auto& of = ledgers_[index];
  if (!of.counted || now - *of.counted >= count_again) {
    of.counted = now;
    of.in_use = in_use(of, evidence);
  }
  auto used = of.in_use;
  add(used, of.unseen);
  for (std::size_t i = 0; i < need.size(); ++i)
    if (used[i] + need[i] > of.quota[i])
      return fmt::format("business {} has {} of {} {} in use, and {} {} needed; quota of {}", of.business,
                         number_text(of.dimensions[i], used[i]), number_text(of.dimensions[i], of.quota[i]),
                         unit_text(of.dimensions[i]), number_text(of.dimensions[i], need[i]),
                         number_text(of.dimensions[i], need[i]) == "1" ? "is" : "are", quota_key);
  return {};
}

std::string quota_book::why_not(std::size_t index, const amount& need, const quota_evidence& evidence, time_point now) {
  auto& of = ledgers_[index];
  if (auto reason = used_up(index, need, evidence, now); !reason.empty())
    return reason;
  if (heard_.size() + 1 < all_ / 2 + 1)
    return fmt::format("business {} gets no more of its quota ({}) at {} for now: it hears {} of {} Resources, and a "
                       "majority decides",
                       of.business, quota_key, name_, heard_.size() + 1, all_);
  return fmt::format("business {} has a quota ({}), and {}'s lease of it is being renewed", of.business, quota_key,
                     name_);
}

// -- for operators ---------------------------------------------------------------

std::string quota_book::keeper_name(const ledger& of, time_point now) const {
  if (!of.lease_until || *of.lease_until <= now)
    return {};
  if (of.keeper == self_)
    return name_;
  auto heard = heard_.find(of.keeper);
  return heard == heard_.end() ? to_string(of.keeper) : heard->second;
}

std::vector<pb::QuotaReport> quota_book::report(const quota_evidence& evidence, time_point now) const {
  std::vector<pb::QuotaReport> result;
  for (std::size_t i = 0; i < ledgers_.size(); ++i) {
    auto& of = ledgers_[i];
    auto& entry = result.emplace_back();
    entry.set_business(of.business);
    *entry.mutable_limit() = resources_of(of, of.quota);
    *entry.mutable_in_use() = resources_of(of, in_use(of, evidence));
    *entry.mutable_given_out() = resources_of(of, of.given);
    *entry.mutable_lease() = resources_of(of, held(i, now));
    entry.set_keeper(keeper_name(of, now));
    amount refused(of.quota.size());
    std::optional<time_point> last;
    for (auto& [who, one] : of.refusals)
      if (now - one.last < refusal_memory) {
        add(refused, one.need);
        last = std::max(last.value_or(one.last), one.last);
      }
    *entry.mutable_refused() = resources_of(of, refused);
    if (last)
      entry.set_refused_ms_ago(
          static_cast<std::uint64_t>(std::chrono::duration_cast<milliseconds>(now - *last).count()));
  }
  std::sort(result.begin(), result.end(), [](auto& a, auto& b) { return a.business() < b.business(); });
  return result;
}

// -- as a keeper -----------------------------------------------------------------

/// Until when this Resource is the keeper, as things are; none: it is not.
std::optional<time_point> quota_book::keeper_until(const ledger& of, time_point now) const {
  std::vector<time_point> ends;
  for (auto& [who, until] : of.votes)
    if (until > now)
      ends.push_back(until);
  auto majority = all_ / 2 + 1;
  if (ends.size() < majority && (ends.empty() || !MUTANT(quota_kept_by_minority)))
    return std::nullopt;
  std::sort(ends.begin(), ends.end(), std::greater<>{});
  return ends[std::min(majority, ends.size()) - 1];
}

/// Begins or ends the time as keeper.
void quota_book::review(ledger& of, time_point now) const {
  if (!keeper_until(of, now))
    of.elected.reset();
  else if (!of.elected)
    of.elected = now;
}

void quota_book::add_vote(ledger& of, resource_id who, time_point until, time_point now) const {
  // First, so that an end of the time before is seen.
  review(of, now);
  auto& vote = of.votes[who];
  vote = std::max(vote, until);
  review(of, now);
}

/// Knows what others gave out before.
bool quota_book::ready(const ledger& of, time_point now) const {
  if (now - *of.elected >= limits_.settle)
    return true;
  auto told = std::count_if(of.holders.begin(), of.holders.end(),
                            [&](auto& entry) { return entry.first != self_ && entry.second.reported >= *of.elected; });
  return static_cast<std::size_t>(told) + 1 >= all_ || MUTANT(quota_keeper_forgets);
}

quota_book::amount quota_book::count_used(ledger& of, const quota_evidence& evidence, time_point now) const {
  amount sum(of.quota.size());
  std::map<node_id, lingering> seen;
  for (auto& use : evidence.used(of.business)) {
    auto takes = amount_of(of, use.amount);
    add(sum, takes);
    seen[use.node] = {std::move(takes), std::nullopt};
  }
  for (auto& [node, before] : of.seen) {
    if (seen.count(node) != 0 || evidence.knows(node))
      continue;
    auto since = before.since.value_or(now);
    if (now - since >= limits_.linger)
      continue;
    add(sum, before.used);
    seen[node] = {before.used, since};
  }
  of.seen = std::move(seen);
  return sum;
}

/// The same, counted not long ago.  Whatever became visible since is still in somebody's lease: the count is not older
/// than any change that takes something out of one unseen.
const quota_book::amount& quota_book::used(ledger& of, const quota_evidence& evidence, time_point now) const {
  auto counts = [&](const holder& one, time_point when) { return when - one.until < limits_.settle; };
  auto holds = of.used_at && *of.used_at >= *of.elected && now - *of.used_at < count_again
               && std::none_of(of.holders.begin(), of.holders.end(), [&](auto& entry) {
                    return counts(entry.second, *of.used_at) && !counts(entry.second, now);
                  });
  if (!holds) {
    of.used = count_used(of, evidence, now);
    of.used_at = now;
  }
  return of.used;
}

std::optional<quota_book::grant> quota_book::serve(ledger& of, resource_id who, const amount& held,
                                                   const amount& wanted, const quota_evidence& evidence,
                                                   time_point now) {
  review(of, now);
  auto until = keeper_until(of, now);
  if (!until)
    return std::nullopt;
  auto lasts = std::min(limits_.lease, std::chrono::duration_cast<milliseconds>(*until - now));
  if (lasts.count() <= 0)
    return std::nullopt;
  auto& entry = of.holders[who];
  entry.reported = now;
  // What it has seen to be in everybody's view, it holds no more.
  if (who != self_)
    of.used_at.reset();
  auto what = held;
  if (!within(wanted, what) && ready(of, now)) {
    auto taken = used(of, evidence, now);
    add(taken, what);
    for (auto& [other, has] : of.holders)
      if (other != who && now - has.until < limits_.settle)
        add(taken, has.granted);
    auto room = of.quota;
    subtract(room, taken);
    auto more = wanted;
    subtract(more, what);
    add(what, least_of(std::move(more), room));
  }
  entry.granted = what;
  entry.until = now + lasts;
  return grant{std::move(what), lasts};
}

void quota_book::serve_self(std::size_t index, const quota_evidence& evidence, time_point now) {
  auto& of = ledgers_[index];
  auto again = true;
  while (again) {
    auto want = wanted(index, now);
    of.hurry = false;
    of.renewed = now;
    auto got = serve(of, self_, most_of(of.given, least_of(held(index, now), want)), want, evidence, now);
    if (!got)
      return;
    of.keeper = self_;
    of.lease = std::move(got->what);
    of.lease_until = now + got->lasts;
    again = give_back_useless(index);
  }
}

// -- as a holder -----------------------------------------------------------------

/// A lease with room for less than the smallest claim only keeps it from others.
/// @returns true when something is to be given back.
bool quota_book::give_back_useless(std::size_t index) {
  auto& of = ledgers_[index];
  if (nothing(of.demand))
    return false;
  auto left = of.lease;
  subtract(left, of.given);
  if (within(of.least, left))
    return false;
  of.demand_since.reset();
  of.demand.assign(of.demand.size(), 0);
  return !nothing(left);
}

std::uint64_t quota_book::ask(resource_id peer, time_point now, pb::Subscribe& request) {
  auto number = ++last_asked_[peer];
  if (!peer || now - started_ < limits_.quiet)
    return number;
  for (std::size_t i = 0; i < ledgers_.size(); ++i) {
    auto& of = ledgers_[i];
    if (of.preferred == self_ && of.voted_for == self_) {
      auto& vote = *request.add_quota_wants();
      vote.set_business(of.business);
      vote.set_for_ms(static_cast<std::uint64_t>(limits_.lease.count()));
    }
    auto has = has_version_.find(peer);
    if (of.voted_for != peer || !of.promised_until || *of.promised_until <= now || has == has_version_.end()
        || has->second < retired_in_)
      continue;
    of.hurry = false;
    auto want = wanted(i, now);
    // What is not wanted any more is not to be used, from this word on.
    of.lease = least_of(of.lease, want);
    of.retired.assign(of.retired.size(), 0);
    for (auto& what : {held(i, now), want}) {
      auto& entry = *request.add_quota_wants();
      entry.set_business(of.business);
      *entry.mutable_amount() = resources_of(of, what);
    }
  }
  return number;
}

void quota_book::answer(resource_id peer, const pb::Subscribe& request, const quota_evidence& evidence, time_point now,
                        pb::SubscribeAck& ack) {
  if (none() || heard_.count(peer) == 0)
    return;
  for (auto& have : request.have())
    if (resource_id{have.origin()} == self_ && have.epoch() == incarnation_)
      has_version_[peer] = have.version();
  std::map<std::size_t, amount> told;
  for (auto& entry : request.quota_wants()) {
    auto index = find(entry.business());
    if (index == ledgers_.size())
      continue;
    auto& of = ledgers_[index];
    if (!entry.has_amount()) {
      auto free = of.voted_for == peer || !of.promised_until || *of.promised_until <= now;
      if (of.preferred != peer || !free || now - started_ < limits_.quiet)
        continue;
      of.voted_for = peer;
      of.promised_until = now + limits_.lease;
      auto& vote = *ack.add_quota_grants();
      vote.set_business(of.business);
      vote.set_for_ms(static_cast<std::uint64_t>(limits_.lease.count()));
      continue;
    }
    auto what = amount_of(of, entry.amount());
    auto [held, first] = told.try_emplace(index, what);
    if (first)
      continue;
    auto got = serve(of, peer, held->second, what, evidence, now);
    if (!got)
      continue;
    auto& lease = *ack.add_quota_grants();
    lease.set_business(of.business);
    *lease.mutable_amount() = resources_of(of, got->what);
    lease.set_for_ms(static_cast<std::uint64_t>(got->lasts.count()));
  }
}

void quota_book::take(resource_id peer, std::uint64_t number, time_point asked, const pb::SubscribeAck& ack,
                      time_point now) {
  for (auto& entry : ack.quota_grants()) {
    auto index = find(entry.business());
    if (index == ledgers_.size())
      continue;
    auto& of = ledgers_[index];
    auto until = asked + surely(milliseconds{std::min<std::uint64_t>(entry.for_ms(), 600'000)});
    if (!entry.has_amount()) {
      add_vote(of, peer, until, now);
      continue;
    }
    // An answer to an earlier question may give what was given back since.
    if (number != last_asked_[peer] || of.voted_for != peer)
      continue;
    of.keeper = peer;
    of.lease = amount_of(of, entry.amount());
    subtract(of.lease, of.retired);
    of.lease_until = until;
    if (give_back_useless(index))
      of.hurry = true;
  }
}

} // namespace astra
