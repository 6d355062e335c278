#include "runtime/sim/checks/history.hpp"

#include <fmt/format.h>

#include <algorithm>

// Claims: one token is one replica at one node, and the node has the last word.

namespace astra::sim {
namespace {

/// A token belongs to one claim (app, node, incarnation, index) for ever, and only that incarnation ever runs it.
class one_holder : public named_check<one_holder> {
public:
  static constexpr const char* label = "one-holder";
  static constexpr const char* about =
      "A claim token names one claim and is held by at most one incarnation of one node.";
  static constexpr nanoseconds default_bound{0};

  using named_check::named_check;

  topics wants() const override {
    return topics{}
        .said({message_kind::claim_batch, message_kind::profile_update})
        .add(event_kind::step, {message_kind::claim_batch});
  }

  void on_event(const event& what, const world_facts& facts) override {
    if (auto batch = content_as<claim_batch>(what)) {
      if (said(what))
        for (auto& claim : (*batch)->claims())
          on_claim(**batch, claim);
    } else if (auto update = content_as<profile_update>(what); update && said(what)) {
      on_profile((*update)->profile(), facts);
    }
  }

private:
  struct claim_record {
    std::uint64_t app = 0;
    std::uint64_t node = 0;
    std::uint64_t incarnation = 0;
    std::uint64_t epoch = 0;
    std::uint64_t sequence = 0;
    std::uint32_t index = 0;

    bool operator==(const claim_record&) const = default;
  };

  void on_claim(const pb::ClaimBatch& batch, const pb::Claim& claim) {
    claim_record fresh{
        name_hash(batch.spec().name()), claim.node(), claim.node_incarnation(), batch.epoch(), claim.sequence(),
        claim.replica_index()};
    auto& known = claims_[claim.token()];
    if (known.node == 0)
      known = fresh;
    else if (known != fresh)
      fail(fmt::format("token {} of app {} names two claims: replica {} on node {} (incarnation {}) and replica {} on "
                       "node {} (incarnation {})",
                       to_hex(claim.token()), batch.spec().name(), known.index, to_hex(known.node), known.incarnation,
                       fresh.index, to_hex(fresh.node), fresh.incarnation));
  }

  void on_profile(const pb::NodeProfile& profile, const world_facts&) {
    for (auto& replica : profile.replicas()) {
      auto claim = claims_.find(replica.token());
      if (claim == nullptr) {
        fail(fmt::format("node {} runs replica {} of app {} under token {}, which nobody has claimed", profile.name(),
                         replica.index(), replica.app(), to_hex(replica.token())));
      } else if (claim->node != profile.node() || claim->incarnation != profile.incarnation()) {
        fail(
            fmt::format("token {} of app {} was claimed for incarnation {} of node {} and is held by incarnation {} of "
                        "node {}",
                        to_hex(replica.token()), replica.app(), claim->incarnation, to_hex(claim->node),
                        profile.incarnation(), profile.name()));
      } else if (claim->index != replica.index() || claim->epoch != replica.epoch()
                 || claim->app != name_hash(replica.app())) {
        fail(fmt::format("token {} was claimed as replica {} in epoch {} and node {} holds it as replica {} of app {} "
                         "in epoch {}",
                         to_hex(replica.token()), claim->index, claim->epoch, profile.name(), replica.index(),
                         replica.app(), replica.epoch()));
      }
    }
  }

  id_table<claim_record> claims_;
};

/// What a node knew when it decided on a claim, followed on the node's own messages.
///
/// Both checks below judge at the moment when the node handles a batch, and read the verdict from its reply: what it
/// learns in between changes nothing.
class fenced_epoch : public named_check<fenced_epoch> {
public:
  static constexpr const char* label = "fenced-epoch";
  static constexpr const char* about =
      "Who has heard of a newer epoch of an app's scheduler confirms, forwards and releases nothing for an older one.";
  static constexpr nanoseconds default_bound{0};

  using named_check::named_check;

  topics wants() const override {
    return topics{}
        .add(event_kind::step, {message_kind::claim_batch, message_kind::release_batch, message_kind::claim_reply})
        .add(event_kind::send, {message_kind::claim_batch, message_kind::claim_reply})
        .add(event_kind::log);
  }

  void on_event(const event& what, const world_facts& facts) override {
    if (what.kind == event_kind::log) {
      on_log(what);
    } else if (auto batch = content_as<claim_batch>(what)) {
      if (what.kind == event_kind::step)
        on_batch(**batch, what, facts);
      if (said(what) && roles_.of(what.sender, facts) == actor_role::resource)
        on_forward(**batch, what);
    } else if (auto releases = content_as<release_batch>(what)) {
      if (roles_.of(what.actor, facts) == actor_role::node)
        on_releases(**releases, what);
    } else if (auto reply = content_as<claim_reply>(what); reply && said(what)) {
      if (roles_.of(what.sender, facts) == actor_role::node)
        on_reply(**reply, what);
    }
  }

private:
  std::uint64_t& newest(std::uint64_t actor, const std::string& app) {
    return newest_[joint_id(actor, name_hash(app))];
  }

  void on_batch(const pb::ClaimBatch& batch, const event& what, const world_facts& facts) {
    auto role = roles_.of(what.actor, facts);
    if (role != actor_role::node && role != actor_role::resource)
      return;
    auto& heard = newest(what.actor, batch.spec().name());
    if (role == actor_role::node)
      for (auto& claim : batch.claims())
        fenced_[joint_id(what.actor, claim.token())] = batch.epoch() < heard ? heard : 0;
    heard = std::max(heard, batch.epoch());
  }

  /// @pre said by a Resource.
  void on_forward(const pb::ClaimBatch& batch, const event& what) {
    auto heard = newest(what.sender, batch.spec().name());
    // Within a machine it may have been said before the newer epoch was heard of.
    if (what.kind == event_kind::send && batch.epoch() < heard)
      fail(fmt::format("a Resource forwards a claim of epoch {} of app {} although it has heard of epoch {}",
                       batch.epoch(), batch.spec().name(), heard));
  }

  void on_releases(const pb::ReleaseBatch& batch, const event& what) {
    stale_.clear();
    stale_at_ = what.machine;
    for (auto& release : batch.releases()) {
      auto& heard = newest(what.actor, release.app());
      if (release.epoch() < heard)
        stale_.push_back(release.token());
      heard = std::max(heard, release.epoch());
    }
  }

  void on_reply(const pb::ClaimReply& reply, const event& what) {
    for (auto& result : reply.results()) {
      auto fenced_by = fenced_.find(joint_id(what.sender, result.token()));
      if (result.outcome() == pb::CLAIM_CONFIRMED && fenced_by != nullptr && *fenced_by != 0)
        fail(fmt::format("a node confirms token {} of an epoch that epoch {} had fenced", to_hex(result.token()),
                         *fenced_by));
    }
  }

  /// A node says which releases it obeys.
  void on_log(const event& what) {
    if (stale_.empty() || what.machine != stale_at_ || first_word(what.text) != "node.release")
      return;
    auto token = hex_number(field(what.text, "token="));
    if (token && field(what.text, "known=") == "true"
        && std::find(stale_.begin(), stale_.end(), *token) != stale_.end())
      fail(fmt::format("a node obeys the release of token {} by a fenced epoch", to_hex(*token)));
  }

  actor_roles roles_;
  /// Newest epoch by (actor, app).
  id_table<std::uint64_t> newest_;
  /// By (node actor, token): the epoch that had fenced the claim when it was last handled; 0: none.
  id_table<std::uint64_t> fenced_;
  /// Tokens of the batch of releases handled last that a fenced epoch wants gone.
  std::vector<std::uint64_t> stale_;
  machine_id stale_at_{};
};

/// A token that was released is never started again, even when the release overtook the claim.
class released_token : public named_check<released_token> {
public:
  static constexpr const char* label = "released-token";
  static constexpr const char* about = "A node never confirms a claim whose token was released at it before.";
  static constexpr nanoseconds default_bound{0};

  using named_check::named_check;

  topics wants() const override {
    return topics{}
        .add(event_kind::step, {message_kind::claim_batch, message_kind::release_batch, message_kind::claim_reply})
        .add(event_kind::send, {message_kind::claim_reply});
  }

  void on_event(const event& what, const world_facts& facts) override {
    if (auto batch = content_as<claim_batch>(what)) {
      if (roles_.of(what.actor, facts) != actor_role::node)
        return;
      auto& heard = newest_[joint_id(what.actor, name_hash((*batch)->spec().name()))];
      heard = std::max(heard, (*batch)->epoch());
      for (auto& claim : (*batch)->claims())
        if (auto known = tokens_.find(joint_id(what.actor, claim.token())))
          known->asked_again = true;
    } else if (auto releases = content_as<release_batch>(what)) {
      if (roles_.of(what.actor, facts) != actor_role::node)
        return;
      for (auto& release : (*releases)->releases()) {
        auto& heard = newest_[joint_id(what.actor, name_hash(release.app()))];
        if (release.epoch() >= heard)
          tokens_[joint_id(what.actor, release.token())];
        heard = std::max(heard, release.epoch());
      }
    } else if (auto reply = content_as<claim_reply>(what); reply && said(what)) {
      if (roles_.of(what.sender, facts) != actor_role::node)
        return;
      for (auto& result : (*reply)->results()) {
        auto released = tokens_.find(joint_id(what.sender, result.token()));
        if (released != nullptr && released->asked_again && result.outcome() == pb::CLAIM_CONFIRMED)
          fail(fmt::format("token {} is confirmed after it was released", to_hex(result.token())));
      }
    }
  }

private:
  struct token_record {
    bool asked_again = false;
  };

  actor_roles roles_;
  id_table<std::uint64_t> newest_;
  /// Released, by (node actor, token).
  id_table<token_record> tokens_;
};

/// What a node was asked and what it answers.
class claims_answered : public named_check<claims_answered> {
public:
  static constexpr const char* label = "claims-answered";
  static constexpr const char* about = "A node's reply to a batch decides on each of its claims, and on nothing else.";
  static constexpr nanoseconds default_bound{0};

  using named_check::named_check;

  topics wants() const override {
    return topics{}
        .add(event_kind::step, {message_kind::claim_batch})
        .add(event_kind::send, {message_kind::claim_reply});
  }

  void on_event(const event& what, const world_facts& facts) override {
    if (auto batch = content_as<claim_batch>(what)) {
      if (roles_.of(what.actor, facts) != actor_role::node)
        return;
      asked_by_ = what.actor;
      asked_in_ = what.number;
      asked_.clear();
      for (auto& claim : (*batch)->claims())
        asked_.push_back(claim.token());
    } else if (auto reply = content_as<claim_reply>(what)) {
      // The node answers while it handles the batch.
      if (what.sender != asked_by_ || asked_in_ == 0)
        return;
      asked_in_ = 0;
      auto& results = (*reply)->results();
      auto same = std::equal(results.begin(), results.end(), asked_.begin(), asked_.end(),
                             [](auto& result, auto token) { return result.token() == token; });
      auto decided = std::all_of(results.begin(), results.end(),
                                 [](auto& result) { return result.outcome() != pb::CLAIM_UNKNOWN; });
      if (!same || !decided)
        fail(fmt::format("a node was asked about {} claims and its reply has {} results that are not theirs",
                         asked_.size(), results.size()));
    }
  }

private:
  actor_roles roles_;
  std::uint64_t asked_by_ = 0;
  std::uint64_t asked_in_ = 0;
  std::vector<std::uint64_t> asked_;
};

} // namespace

void add_claim_checks(std::vector<check_kind>& all) {
  all.push_back(kind_of_check<one_holder>());
  all.push_back(kind_of_check<fenced_epoch>());
  all.push_back(kind_of_check<released_token>());
  all.push_back(kind_of_check<claims_answered>());
}

} // namespace astra::sim
