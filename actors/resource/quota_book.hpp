#pragma once

#include "config/options.hpp"
#include "messages/ids.hpp"
#include "messages/wire/app.pb.h"
#include "messages/wire/claim.pb.h"
#include "messages/wire/inspection.pb.h"
#include "messages/wire/view.pb.h"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace astra {

class cluster_view;

/// Where quotas stand in a file.  Every reason that a quota gives has this in it, and no other reason has.
inline constexpr std::string_view quota_key = "[[resource.quotas]]";

/// What a Resource knows of running replicas, as far as quotas ask.
class quota_evidence {
public:
  virtual ~quota_evidence() = default;

  struct use {
    node_id node;
    pb::Resources amount;
  };
  /// What runs for a business, by node, on nodes that are not offline.
  virtual std::vector<use> used(const std::string& business) const = 0;
  /// Whether anything is known of the node, be it that it is offline.
  virtual bool knows(node_id node) const = 0;
  /// Replicas of an app that run, on nodes that are not offline.
  virtual std::uint32_t running(const std::string& app) const = 0;

  enum class sighting {
    unseen,
    /// The node, which is at home here, tells of the replica, whatever has become of it.
    shown,
    /// The node has restarted since.
    gone,
  };
  virtual sighting look(node_id node, std::uint64_t incarnation, claim_token token) const = 0;

  /// Version of the own shard that all of this is in.
  virtual std::uint64_t version() const = 0;
};

/// The evidence of a view.
class view_evidence : public quota_evidence {
public:
  view_evidence(const cluster_view& view, resource_id self) : view_(view), self_(self) {}
  std::vector<use> used(const std::string& business) const override;
  bool knows(node_id node) const override;
  std::uint32_t running(const std::string& app) const override;
  sighting look(node_id node, std::uint64_t incarnation, claim_token token) const override;
  std::uint64_t version() const override;

private:
  const cluster_view& view_;
  resource_id self_;
};

/// Quotas of businesses, kept by all Resources of a group together.
///
/// What counts against a quota is what the view shows to run, plus what Resources have given out to claims and may not
/// be in everybody's view yet.  Only the second part needs care, and is leased: a Resource gives out a claim only while
/// that and all else of its own that is not surely visible (`given`) stays within its lease.  So running replicas move
/// between Resources without any lease moving with them, and the death of a Resource costs little.
///
/// One Resource keeps a business's quota, and grants a lease as long as what it sees in use and all leases together,
/// those included that have run out not long ago, stay within the quota.  The keeper is the first of those that hear
/// each other in the rendezvous order of the business, and is so by a lease, too (Gray and Cheriton, "Leases: an
/// efficient fault-tolerant mechanism for distributed file cache consistency", 1989): each Resource lends its vote to
/// one keeper at a time, a majority of all makes one, and no lease outlives the votes that its keeper had when it
/// granted it.  So there are never two keepers whose grants count, and when one comes those of the one before are over.
/// Who has no majority grants nothing: quotas grow only on the side of a split that has one.
/// Whoever borrows counts from when it asked, and a little less than it got; whoever lends, from when it answered:
/// clocks may differ as they like, and in speed by a tenth.
///
/// A new keeper knows nothing of what others gave out: it grants nothing new before all of them have told it, or their
/// time (`settle`) is over.  A Resource that has just started has forgotten what it lent and gave out, and takes part
/// only after a while (`quiet`).
///
/// What was given out and has become visible leaves `given` and the lease alike: from then on the view counts it.
///
/// On the wire, for each business, in requests: an entry without amount asks for the vote; with an amount, the first
/// one is what is left of the lease, and what was given out at least, the second one what is wanted in all.  In
/// answers: without amount, the vote; with, a lease. A plain class: time and view are arguments.
class quota_book {
public:
  using time_point = std::chrono::steady_clock::time_point;
  using milliseconds = std::chrono::milliseconds;

  struct limits {
    /// Of votes and grants.
    milliseconds lease{3000};
    /// How long what somebody was granted counts who does not speak any more, and what was given out and never seen.
    milliseconds settle{10000};
    /// After a start.
    milliseconds quiet{5000};
    /// What ran on a node that left the view counts this long: it may be on its way to another Resource.
    milliseconds linger{10000};
  };

  quota_book(resource_id self, std::string name, std::uint64_t incarnation, const std::vector<quota_options>& quotas,
             time_point now, limits how);
  quota_book(resource_id self, std::string name, std::uint64_t incarnation, const std::vector<quota_options>& quotas,
             time_point now)
    : quota_book(self, std::move(name), incarnation, quotas, now, limits{}) {}

  /// No business has a quota.
  bool none() const { return ledgers_.empty(); }

  /// The other Resources that are heard, by id, and how many there are in all, this one included.
  void set_mesh(std::map<resource_id, std::string> heard, std::size_t all);

  /// To be called several times per second.
  void tick(const quota_evidence& evidence, time_point now);

  /// A claim waits for what only this peer can grant: ask it now.
  bool urgent(resource_id peer, time_point now) const;

  /// Gives out what the claim takes.  What was given out already or runs takes nothing more.
  /// @returns why not; empty when it was given out or is nobody's quota.
  std::string claim(const pb::AppSpec& spec, const pb::Claim& claim, const quota_evidence& evidence, time_point now);

  /// Why the quota has no room for all of a gang, some of whose places may be held already; empty: it has, as far as is
  /// known here.
  std::string gang_misfit(const pb::AppSpec& spec, const quota_evidence& evidence, time_point now);

  /// The node did not take it, or was not asked.
  void refused(claim_token token);

  /// Fills in what is asked of a peer in a renewal.
  /// @returns a number for `take`.
  std::uint64_t ask(resource_id peer, time_point now, pb::Subscribe& request);

  /// Answers a peer's renewal.
  void answer(resource_id peer, const pb::Subscribe& request, const quota_evidence& evidence, time_point now,
              pb::SubscribeAck& ack);

  /// Takes an answer in.
  /// @param asked when.
  void take(resource_id peer, std::uint64_t number, time_point asked, const pb::SubscribeAck& ack, time_point now);

  /// Not visible to all yet, of what was given out.
  std::size_t given_out() const { return tokens_.size(); }

  /// How each quota looks from here, sorted by business.  For about a second what has begun to run counts as in use and
  /// as given out.
  std::vector<pb::QuotaReport> report(const quota_evidence& evidence, time_point now) const;

private:
  /// By dimension of the quota.
  using amount = std::vector<std::uint64_t>;

  /// What a keeper knows of one that it grants leases to, itself included.
  struct holder {
    amount granted;
    time_point until;
    time_point reported;
  };

  struct lingering {
    amount used;
    std::optional<time_point> since;
  };

  struct refusal {
    amount need;
    time_point last;
  };

  struct ledger {
    std::string business;
    /// "cpu", "memory" or a kind of card: what has a limit.
    std::vector<std::string> dimensions;
    amount quota;
    /// Of those heard, the one that should keep it.
    resource_id preferred;
    // As a voter.
    resource_id voted_for;
    std::optional<time_point> promised_until;
    // As a keeper.
    std::map<resource_id, time_point> votes;
    std::optional<time_point> elected;
    std::map<resource_id, holder> holders;
    std::map<node_id, lingering> seen;
    /// What is in use, as counted last.
    std::optional<time_point> used_at;
    amount used;
    // As a holder.
    resource_id keeper;
    amount lease;
    std::optional<time_point> lease_until;
    /// Sums over `tokens_`: of all, and of those that are not seen yet.
    amount given;
    amount unseen;
    /// Became visible since the keeper was asked last.
    amount retired;
    time_point renewed;
    /// Of claims refused not long ago: in all, and the smallest one.
    amount demand;
    amount least;
    std::optional<time_point> demand_since;
    time_point demand_last;
    bool hurry = false;
    /// For texts.
    std::optional<time_point> counted;
    amount in_use;
    /// By app and index: what was wanted last and not given out.
    std::map<std::pair<std::string, std::uint32_t>, refusal> refusals;
  };

  struct token_record {
    std::string app;
    std::size_t ledger = 0;
    amount takes;
    node_id node;
    std::uint64_t incarnation = 0;
    time_point since;
    /// Version of the own shard that is sure to tell of it; none: not seen yet.
    std::optional<std::uint64_t> shown_in;
  };

  struct grant {
    amount what;
    milliseconds lasts{0};
  };

  std::size_t find(const std::string& business) const;
  amount amount_of(const ledger& of, const pb::Resources& resources) const;
  pb::Resources resources_of(const ledger& of, const amount& what) const;
  amount wanted(std::size_t index, time_point now);
  amount held(std::size_t index, time_point now) const;
  bool covered(std::size_t index, const amount& need, time_point now) const;
  std::optional<time_point> keeper_until(const ledger& of, time_point now) const;
  void review(ledger& of, time_point now) const;
  void add_vote(ledger& of, resource_id who, time_point until, time_point now) const;
  bool ready(const ledger& of, time_point now) const;
  amount count_used(ledger& of, const quota_evidence& evidence, time_point now) const;
  const amount& used(ledger& of, const quota_evidence& evidence, time_point now) const;
  std::optional<grant> serve(ledger& of, resource_id who, const amount& held, const amount& wanted,
                             const quota_evidence& evidence, time_point now);
  void serve_self(std::size_t index, const quota_evidence& evidence, time_point now);
  bool give_back_useless(std::size_t index);
  void demand(ledger& of, const amount& need, time_point now) const;
  void retire(const quota_evidence& evidence, time_point now);
  void forget(const token_record& record);
  amount in_use(const ledger& of, const quota_evidence& evidence) const;
  std::string keeper_name(const ledger& of, time_point now) const;
  /// Why there is no room beside what runs and was given out; empty: there is.
  std::string used_up(std::size_t index, const amount& need, const quota_evidence& evidence, time_point now);
  std::string why_not(std::size_t index, const amount& need, const quota_evidence& evidence, time_point now);

  resource_id self_;
  std::string name_;
  std::uint64_t incarnation_;
  limits limits_;
  time_point started_;
  std::vector<ledger> ledgers_;
  std::map<resource_id, std::string> heard_;
  std::size_t all_ = 1;
  /// The version of the own shard that each peer has.
  std::map<resource_id, std::uint64_t> has_version_;
  std::map<claim_token, token_record> tokens_;
  std::map<resource_id, std::uint64_t> last_asked_;
  /// What was given out and is forgotten is in this version of the own shard: who has less is told nothing yet.
  std::uint64_t retired_in_ = 0;
};

} // namespace astra
