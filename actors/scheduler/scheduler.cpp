#include "actors/scheduler/scheduler.hpp"

#include "actors/mutant.hpp"
#include "actors/random.hpp"
#include "actors/resource/cluster_view.hpp"
#include "actors/scheduler/app_plan.hpp"
#include "actors/scheduler/autoscaler.hpp"
#include "actors/scheduler/claim_book.hpp"
#include "actors/scheduler/claim_journal.hpp"
#include "actors/scheduler/planner.hpp"
#include "actors/scheduler/resource_sessions.hpp"
#include "messages/group.hpp"
#include "messages/wire.hpp"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <caf/actor_cast.hpp>
#include <caf/error.hpp>
#include <caf/exit_reason.hpp>
#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace astra {
namespace {

using std::chrono::milliseconds;

constexpr std::chrono::seconds dial_limit{5};

/// Claims in one message: its Resource answers with the rows of those it refuses.
constexpr int claim_batch_max = 128;
/// Between two looks at where contents are to be fetched ahead.
constexpr std::chrono::seconds prefetch_interval{10};

/// The scheduler with its own timers.
using scheduler_impl = scheduler_actor::extend<
    // Time to plan.
    caf::result<void>(sweep_atom),
    // Time to renew the subscription.
    caf::result<void>(refresh_atom)>;

std::uint32_t wanted_in(const pb::AppRecord& record) {
  if (record.spec().has_federation())
    return record.spec().federation().clusters();
  return record.has_scaled_to() ? record.scaled_to() : record.spec().replicas();
}

claim_book_options book_options(const scheduler_options& options) {
  claim_book_options result;
  result.claim_timeout = options.claim_timeout;
  result.vanish_grace = 2 * options.heartbeat;
  result.replace_per_s = options.replace_per_s;
  return result;
}

class scheduler_state {
public:
  static constexpr const char* name = "astra.scheduler";

  scheduler_state(scheduler_impl::pointer self, platform* world, const scheduler_options& options,
                  scheduler_start start, view_source view, app_report_sink parent, claim_store* claims)
    : self_(self), world_(*world), options_(options), app_(start.spec.name()), epoch_(start.epoch),
      process_(start.process), settle_(start.settle), source_(std::move(view)), parent_(std::move(parent)),
      random_(world->seed("scheduler/" + app_)), sessions_(all_resources(options.resources, options.groups)),
      book_(start.epoch.value(), book_options(options)), claims_(claims), journal_(app_, start.epoch.value()) {
    if (start.spec.deleting())
      book_.remove();
    book_.want(std::move(start.spec));
    if (!start.halted.empty())
      book_.halt_update(std::move(start.halted));
  }

  scheduler_impl::behavior_type make_behavior() {
    self_->set_down_handler([this](const caf::down_msg& down) { on_down(down); });
    self_->set_exit_handler([this](const caf::exit_msg& exit) { end(exit.reason); });
    self_->monitor(parent_);
    self_->monitor(source_);
    renew(false);
    self_->delayed_send(self_, options_.heartbeat, refresh_atom_v);
    self_->send(self_, sweep_atom_v);
    return {
        [this](const view_delta& delta) { on_delta(*delta); },
        [this](const apply_app& wish) {
          book_.want(wish->spec());
          report();
          if (book_.spec().gang())
            tick();
        },
        [this](const delete_app&) {
          book_.remove();
          report();
        },
        [this](const describe_app& question) {
          auto result = describe();
          if (question->has_plan())
            *result.mutable_plan() = plan_for(question->plan(), result);
          return app_detail{std::move(result)};
        },
        [this](sweep_atom) {
          self_->delayed_send(self_, options_.plan, sweep_atom_v);
          open_sessions();
          tick();
        },
        [this](refresh_atom) {
          self_->delayed_send(self_, options_.heartbeat, refresh_atom_v);
          renew(std::exchange(resyncing_, false));
        },
    };
  }

private:
  void renew(bool resync) {
    pb::Subscribe wish;
    wish.set_scope(pb::Subscribe::ALL_SHARDS);
    wish.set_subscriber(options_.name + "/" + app_);
    wish.set_resync(resync);
    for (auto& version : view_.versions())
      *wish.add_have() = std::move(version);
    self_->request(source_, 2 * options_.heartbeat, subscribe{std::move(wish)})
        .then(
            [this](const subscribe_ack& ack) {
              book_.set_home_group(group_from_wire(ack->group()));
              auto groups = groups_of(book_.spec(), group_from_wire(ack->group()));
              shards_.clear();
              for (auto& shard : ack->shards())
                if (groups.count(group_from_wire(shard.group())) != 0)
                  shards_.insert(resource_id{shard.origin()});
              heard_ = !ack->shards().empty();
              auto missing = std::find_if(ack->missing_groups().begin(), ack->missing_groups().end(),
                                          [&](auto& group) { return groups.count(group) != 0; });
              missing_group_ = missing == ack->missing_groups().end() ? std::string{} : *missing;
              check_view();
            },
            [this](const caf::error& reason) {
              spdlog::warn("scheduler.no_view app={} reason=\"{}\"", app_, error_text(reason));
            });
  }

  /// The view is there when no shard is missing that its source has: to plan on a part of it would double what runs
  /// in the other parts.
  void check_view() {
    auto& held = view_.shards();
    if (!view_since_ && heard_ && missing_group_.empty()
        && (std::all_of(shards_.begin(), shards_.end(), [&](auto id) { return held.count(id) != 0; })
            || MUTANT(planned_on_part_of_view)))
      view_since_ = self_->clock().now();
  }

  void on_delta(const pb::ViewDelta& delta) {
    // A Resource that was asked for its id sends some, too.
    if (self_->current_sender() != source_)
      return;
    auto now = self_->clock().now();
    view_changes changes;
    switch (view_.apply(delta, now, changes)) {
    case cluster_view::apply_outcome::applied:
      resyncing_ = false;
      break;
    case cluster_view::apply_outcome::gap:
      if (!std::exchange(resyncing_, true))
        renew(true);
      return;
    case cluster_view::apply_outcome::stale:
      return;
    }
    check_view();
    for (auto id : changes.nodes) {
      if (auto entry = view_.find(id))
        book_.observe(*entry, now);
      else
        book_.forget(id, now);
    }
    auto record = view_.find_app(app_);
    if (record && record->record.epoch() > epoch_.value() && !MUTANT(newer_scheduler_ignored))
      stop_fenced(record->record.epoch());
  }

  void on_down(const caf::down_msg& down) {
    if (down.source == parent_.address()) {
      end(caf::exit_reason::user_shutdown);
    } else if (down.source == source_.address()) {
      end(caf::make_error(errc::unreachable, "the view client of this process ended"));
    } else if (auto address = sessions_.address_of(down.source)) {
      spdlog::info("scheduler.resource_lost app={} resource={} reason=\"{}\"", app_, *address, error_text(down.reason));
      sessions_.on_broken(*address, self_->clock().now(), random_);
    }
  }

  /// Dials Resources without a session and asks who they are.
  void open_sessions() {
    for (auto& address : sessions_.due(self_->clock().now())) {
      auto broken = [this, address](const caf::error& reason) {
        spdlog::debug("scheduler.dial app={} resource={} reason=\"{}\"", app_, address, error_text(reason));
        sessions_.on_broken(address, self_->clock().now(), random_);
      };
      self_->request(world_.dialer(), dial_limit, dial_atom_v, address, std::string{resource_service})
          .then(
              [this, address, broken](const caf::strong_actor_ptr& peer) {
                auto target = caf::actor_cast<claim_target>(peer);
                // The ack tells the id.  The subscription that comes with it is not renewed and ends by itself; until
                // then its deltas are as good as those of the view client.
                pb::Subscribe question;
                question.set_scope(pb::Subscribe::OWN_SHARD);
                question.set_subscriber(options_.name + "/" + app_);
                question.set_takes_parts(true);
                question.mutable_filter()->add_apps(app_);
                for (auto& version : view_.versions())
                  *question.add_have() = std::move(version);
                self_->request(target, 2 * options_.heartbeat, subscribe{std::move(question)})
                    .then(
                        [this, address, target](const subscribe_ack& ack) {
                          self_->monitor(target);
                          sessions_.on_identified(address, resource_id{ack->resource()}, target);
                        },
                        broken);
              },
              broken);
    }
  }

  void tick() {
    auto now = self_->clock().now();
    if (!view_since_ || (now - *view_since_ < settle_ && !MUTANT(settling_skipped))) {
      report();
      return;
    }
    if (book_.gone(now)) {
      spdlog::info("scheduler.gone app={}", app_);
      end(caf::exit_reason::normal);
      return;
    }
    scale(now);
    auto wishes = book_.tick(view_, sessions_.reachable(), now, random_, wall_ms());
    pb::ClaimBatch kind;
    if (wishes.gang)
      *kind.mutable_gang() = *wishes.gang;
    send_claims(std::move(wishes.claims), kind);
    kind.set_hold_ms(static_cast<std::uint64_t>(wishes.hold.count()));
    send_claims(std::move(wishes.holds), kind);
    send_releases(std::move(wishes.releases));
    if (book_.spec().prefetch() > 0 && now >= prefetch_due_) {
      prefetch_due_ = now + prefetch_interval;
      send_prefetches(book_.prefetch(view_, sessions_.reachable(), now, random_));
    }
    if (claims_)
      journal_.flush(*claims_, wall_ms());
    report();
  }

  /// Lets the number of replicas follow the load.
  void scale(std::chrono::steady_clock::time_point now) {
    if (!book_.spec().has_scale()) {
      scaler_.reset();
      return;
    }
    auto& policy = book_.spec().scale();
    if (!scaler_) {
      // What runs goes on: another number is a decision, and for that the load must have been seen.
      auto found = book_.observed();
      scaler_.emplace(policy, found > 0 ? found : book_.spec().replicas(),
                      found > 0 ? "as many as were running" : "as in its spec", now);
      book_.scale_to(scaler_->replicas(), scaler_->reason());
      return;
    }
    if (!scaler_->due(now))
      return;
    scaler_->set_policy(policy);
    // Another number while few replicas try another spec would have more of them try it, or fewer.
    if (!scaler_->tick(book_.loads(view_), book_.update().frozen(), now))
      return;
    spdlog::info("scheduler.scale app={} reason=\"{}\"", app_, scaler_->reason());
    book_.scale_to(scaler_->replicas(), scaler_->reason());
  }

  /// @param kind What all batches have in common.
  void send_claims(std::vector<pb::Claim> claims, const pb::ClaimBatch& kind) {
    std::vector<std::pair<resource_id, pb::ClaimBatch>> batches;
    // Those of one batch ask for the same: heads and workers of a federated app do not.
    std::map<std::pair<resource_id, bool>, std::size_t> filling;
    for (auto& claim : claims) {
      auto home = view_.find(node_id{claim.node()})->origin;
      auto [last, fresh] = filling.try_emplace({home, claim.member().slot() != 0}, batches.size());
      if (fresh || batches[last->second].second.claims_size() == claim_batch_max) {
        last->second = batches.size();
        batches.emplace_back(home, kind);
      }
      *batches[last->second].second.add_claims() = std::move(claim);
    }
    std::stable_sort(batches.begin(), batches.end(), [](auto& a, auto& b) { return a.first < b.first; });
    for (auto& [home, batch] : batches) {
      batch.set_epoch(epoch_.value());
      batch.set_scheduler(process_.value());
      *batch.mutable_spec() = book_.spec_for(batch.claims(0));
      batch.set_spec_hash(book_.spec_hash());
      std::vector<claim_token> tokens;
      for (auto& claim : batch.claims())
        tokens.emplace_back(claim.token());
      auto session = sessions_.find(home);
      if (!session) {
        // A gang asks again for what it holds, also when the session has gone.
        book_.on_no_answer(tokens, "there is no session with its Resource", self_->clock().now());
        continue;
      }
      if (claims_)
        for (auto& claim : batch.claims())
          journal_.claimed(log_entry(batch.hold_ms() == 0 ? pb::CLAIM_ACTION_CLAIM : pb::CLAIM_ACTION_HOLD,
                                     claim.token(), claim.replica_index(), node_id{claim.node()}));
      self_->request(*session, options_.claim_timeout, claim_batch{std::move(batch)})
          .then([this, tokens](const claim_reply& reply) { on_reply(*reply, tokens); },
                [this, tokens](const caf::error& reason) {
                  spdlog::warn("scheduler.no_answer app={} claims={} reason=\"{}\"", app_, tokens.size(),
                               error_text(reason));
                  for (auto token : tokens)
                    journal_.settled(token, pb::CLAIM_TIMED_OUT, "its Resource did not answer", wall_ms());
                  book_.on_no_answer(tokens, "its Resource did not answer", self_->clock().now());
                });
    }
  }

  void on_reply(const pb::ClaimReply& reply, const std::vector<claim_token>& tokens) {
    auto now = self_->clock().now();
    auto fenced = reply.newer_epoch() > epoch_.value();
    std::set<claim_token> open{tokens.begin(), tokens.end()};
    for (auto& result : reply.results()) {
      open.erase(claim_token{result.token()});
      journal_.settled(claim_token{result.token()}, result.outcome(), result.reason(), wall_ms());
      fenced |= result.outcome() == pb::CLAIM_FENCED;
      if (result.outcome() != pb::CLAIM_CONFIRMED && result.outcome() != pb::CLAIM_HELD)
        spdlog::debug("scheduler.refused app={} outcome={} reason=\"{}\"", app_,
                      pb::ClaimOutcome_Name(result.outcome()), result.reason());
      book_.on_result(result, now, random_);
    }
    for (auto token : open)
      journal_.settled(token, pb::CLAIM_TIMED_OUT, "its Resource said nothing about it", wall_ms());
    book_.on_no_answer({open.begin(), open.end()}, "its Resource said nothing about it", now);
    if (fenced && !MUTANT(newer_scheduler_ignored))
      stop_fenced(reply.newer_epoch());
    else if (book_.impatient(now))
      tick();
  }

  void send_releases(std::vector<pb::Release> releases) {
    std::map<resource_id, pb::ReleaseBatch> batches;
    for (auto& release : releases) {
      spdlog::info("scheduler.release app={} replica={} node={} reason=\"{}\"", app_, release.replica_index(),
                   to_hex(release.node()), release.reason());
      if (claims_) {
        auto entry =
            log_entry(pb::CLAIM_ACTION_RELEASE, release.token(), release.replica_index(), node_id{release.node()});
        entry.set_reason(release.reason());
        journal_.released(std::move(entry), wall_ms());
      }
      *batches[view_.find(node_id{release.node()})->origin].add_releases() = std::move(release);
    }
    for (auto& [home, batch] : batches)
      self_->send(*sessions_.find(home), release_batch{std::move(batch)});
  }

  void send_prefetches(const std::vector<node_id>& nodes) {
    std::map<resource_id, pb::PrefetchBatch> batches;
    for (auto node : nodes)
      batches[view_.find(node)->origin].add_nodes(node.value());
    for (auto& [home, batch] : batches) {
      spdlog::debug("scheduler.prefetch app={} nodes={}", app_, batch.nodes_size());
      batch.set_app(app_);
      batch.set_epoch(epoch_.value());
      *batch.mutable_contents() = book_.spec().contents();
      self_->send(*sessions_.find(home), prefetch_batch{std::move(batch)});
    }
  }

  std::uint64_t wall_ms() { return static_cast<std::uint64_t>(std::max<std::int64_t>(0, world_.wall_time().count())); }

  /// A line of the claim log, with what the view says of the node now.
  pb::ClaimRecord log_entry(pb::ClaimAction action, std::uint64_t token, std::uint32_t index, node_id node) const {
    pb::ClaimRecord result;
    result.set_action(action);
    result.set_token(token);
    result.set_replica_index(index);
    result.set_node(node.value());
    auto entry = view_.find(node);
    if (!entry)
      return result;
    result.set_node_name(entry->name());
    result.set_origin(entry->origin.value());
    auto shard = view_.shards().find(entry->origin);
    if (shard == view_.shards().end())
      return result;
    result.set_view_version(shard->second.version);
    auto age = self_->clock().now() - shard->second.last_word;
    result.set_view_age_ms(
        static_cast<std::uint64_t>(std::max<std::int64_t>(std::chrono::duration_cast<milliseconds>(age).count(), 0)));
    return result;
  }

  void stop_fenced(std::uint64_t newer_epoch) {
    spdlog::error("scheduler.fenced app={} epoch={} newer_epoch={}", app_, epoch_.value(), newer_epoch);
    end(caf::make_error(errc::fenced, newer_epoch));
  }

  /// Ends it with all in the claim log that is known.
  void end(caf::error reason) {
    if (claims_)
      journal_.flush(*claims_, wall_ms());
    self_->quit(std::move(reason));
  }

  pb::AppDetail describe() {
    auto now = self_->clock().now();
    auto result = book_.describe(now);
    sign(*result.mutable_record());
    if (auto report = book_.placement(view_, sessions_.reachable(), now))
      *result.mutable_placement() = std::move(*report);
    return result;
  }

  /// What applying a spec would do, now.
  pb::AppPlan plan_for(const pb::PlanWish& wish, const pb::AppDetail& now) const {
    if (!view_since_) {
      pb::AppPlan none;
      none.mutable_refused()->set_code(to_string(errc::unreachable));
      none.mutable_refused()->set_message("its scheduler has no view of the cluster yet; try again in a moment");
      return none;
    }
    app_plan_input input{view_, wish.spec()};
    input.current = &book_.spec();
    input.revision = wish.revision();
    input.replicas.assign(now.replicas().begin(), now.replicas().end());
    input.home_group = book_.home_group();
    input.reachable = sessions_.reachable();
    input.excluded = book_.exclusions();
    input.corrections = book_.corrections();
    if (scaler_)
      input.scaled_to = scaler_->replicas();
    return make_app_plan(input);
  }

  /// Adds to a record what the book does not know.
  void sign(pb::AppRecord& record) const {
    record.set_scheduler(process_.value());
    record.set_version(version_);
    if (view_since_ || record.ready() >= wanted_in(record))
      return;
    if (!missing_group_.empty())
      record.set_reason(
          fmt::format("waits for the Resource group {}: none of its Resources has answered", missing_group_));
    else if (!heard_)
      record.set_reason("no view of the cluster yet: no Resource has answered");
  }

  /// Tells the parent when the record is another one.
  void report() {
    auto record = book_.record(self_->clock().now());
    sign(record);
    if (encode(record) == reported_)
      return;
    record.set_version(++version_);
    reported_ = encode(record);
    pb::AppDetail detail;
    detail.set_found(true);
    *detail.mutable_record() = std::move(record);
    self_->send(parent_, app_detail{std::move(detail)});
  }

  scheduler_impl::pointer self_;
  platform& world_;
  scheduler_options options_;
  std::string app_;
  incarnation epoch_;
  scheduler_id process_;
  milliseconds settle_;
  view_source source_;
  app_report_sink parent_;
  random_source random_;
  resource_sessions sessions_;
  cluster_view view_;
  /// A delta was missing, and what is missing has been asked for.
  bool resyncing_ = false;
  /// Shards that the source has, of the app's groups.
  std::set<resource_id> shards_;
  /// The source has heard of any.
  bool heard_ = false;
  /// A group that the app names and of which nothing is known yet; empty: there is none.
  std::string missing_group_;
  std::optional<std::chrono::steady_clock::time_point> view_since_;
  claim_book book_;
  /// With a scale policy, from the first step on.
  std::optional<autoscaler> scaler_;
  std::chrono::steady_clock::time_point prefetch_due_{};
  /// May be null.
  claim_store* claims_;
  claim_journal journal_;
  /// Of the record; grows with each change.
  std::uint64_t version_ = 0;
  /// The record as the parent has it.
  std::string reported_;
};

} // namespace

scheduler_actor spawn_scheduler(caf::actor_system& sys, platform& world, const scheduler_options& options,
                                scheduler_start start, view_source view, app_report_sink parent, claim_store* claims) {
  return sys.spawn<scheduler_impl::stateful_impl<scheduler_state>>(&world, options, std::move(start), std::move(view),
                                                                   std::move(parent), claims);
}

} // namespace astra
