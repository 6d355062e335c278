#include "actors/scheduler/apps.hpp"

#include "actors/mutant.hpp"
#include "actors/node/home_selector.hpp"
#include "actors/random.hpp"
#include "actors/resource/cluster_view.hpp"
#include "actors/scheduler/app_plan.hpp"
#include "actors/scheduler/claim_book.hpp"
#include "actors/scheduler/planner.hpp"
#include "actors/scheduler/rollout.hpp"
#include "actors/scheduler/scheduler.hpp"
#include "actors/scheduler/spec_change.hpp"
#include "actors/scheduler/standby.hpp"
#include "actors/scheduler/way_back.hpp"
#include "actors/supervisor/restart_budget.hpp"
#include "config/load.hpp"
#include "messages/errc.hpp"
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
#include <functional>
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
constexpr std::chrono::seconds describe_limit{5};
/// Changes within this time go into one beat.
constexpr milliseconds beat_delay{20};
/// How often a standby looks for apps to take over.
constexpr milliseconds standby_interval{200};
/// Records of a claim log that one answer holds at most.
constexpr std::uint32_t claims_max = 1000;

/// For a process that may have taken an app over to say so.
constexpr std::chrono::seconds question_limit{2};

/// What is written to the store in one go.  Each time waits for the disk, and who is silent for 3 s counts as dead.
constexpr std::size_t writes_max = 16;

/// Deleted apps that are remembered, in case a node that slept comes back with replicas of theirs.
constexpr std::size_t deleted_max = 256;

/// The front with its own timers.
using apps_impl = apps_actor::extend_with<app_report_sink>::extend_with<view_subscriber>::extend<
    // Time to beat.
    caf::result<void>(beat_atom),
    // Time to tell the home Resource what has changed since the last beat.
    caf::result<void>(refresh_atom),
    // Time to look for apps to take over.
    caf::result<void>(sweep_atom),
    // Time to start the app's scheduler again.
    caf::result<void>(retry_atom, std::string)>;

class apps_state {
public:
  static constexpr const char* name = "astra.apps";

  apps_state(apps_impl::pointer self, platform* world, const scheduler_options& options, std::vector<pb::AppSpec> files,
             view_source view, claim_store* claims)
    : self_(self), world_(*world), claims_(claims), options_(options), source_(std::move(view)),
      process_(make_scheduler_id(options.name)), incarnation_(world->next_incarnation()), random_(world->seed("apps")),
      standby_(options.name, options.takeover_after), homes_(homes_of(options, self->clock().now())) {
    for (auto& spec : files)
      wanted_[spec.name()] = std::move(spec);
    for (auto& [app, spec] : wanted_)
      files_.insert(app);
    files_only_ = files_;
    auto stored = world->apps().load();
    if (!stored) {
      store_error_ = std::move(stored.error());
      return;
    }
    for (auto& spec : *stored) {
      auto file = wanted_.find(spec.name());
      if (file != wanted_.end() && !spec.deleting() && encode(file->second) != encode(spec))
        spdlog::warn("apps.file_ignored app={} reason=\"its app file differs from what was applied and is in the app "
                     "store; the store counts, until the file is applied: astra app apply FILE\"",
                     spec.name());
      files_only_.erase(spec.name());
      wanted_[spec.name()] = std::move(spec);
    }
  }

  apps_impl::behavior_type make_behavior() {
    self_->set_down_handler([this](const caf::down_msg& down) { on_down(down); });
    self_->set_exit_handler([this](const caf::exit_msg& exit) { on_exit(exit); });
    if (store_error_) {
      // Whoever does not know its apps would take them for left over.
      spdlog::critical("apps.no_store name={} reason=\"{}\"", options_.name, error_text(store_error_));
      self_->quit(store_error_);
    } else {
      begin();
    }
    return {
        [this](const apply_app& wish) { return on_apply(*wish); },
        [this](const delete_app& wish) { return on_delete(*wish); },
        [this](const describe_app& question) { return on_describe(*question); },
        [this](const app_detail& report) { on_report(report->record()); },
        [this](const view_delta& delta) { on_delta(*delta); },
        [this](beat_atom) {
          self_->delayed_send(self_, options_.heartbeat, beat_atom_v);
          watch(std::exchange(resyncing_, false));
          settle();
          forget_again();
          beat();
        },
        [this](refresh_atom) {
          beat_pending_ = false;
          beat();
        },
        [this](sweep_atom) {
          self_->delayed_send(self_, standby_interval, sweep_atom_v);
          if (settled_)
            stand_by();
        },
        [this](retry_atom, const std::string& app) {
          if (auto found = apps_.find(app); found != apps_.end() && found->second.state == phase::backing_off)
            start(found->second, milliseconds{0});
        },
    };
  }

private:
  enum class phase {
    /// Its scheduler runs.
    running,
    /// Its scheduler died and will be started again.
    backing_off,
    /// Other processes are asked whether they have taken it over while this one was away.
    asking,
    /// Its scheduler is not started again; the record says why.
    down,
  };

  struct app {
    pb::AppSpec spec;
    phase state = phase::down;
    scheduler_actor scheduler;
    pb::AppRecord record;
    restart_budget budget;
    std::chrono::steady_clock::time_point started;
    /// Epoch of a scheduler elsewhere that has taken the app over; 0: none.
    std::uint64_t fenced_by = 0;
    /// Why a failed update of this spec is halted and not rolled back; empty: nothing was tried.
    std::string not_undone;
    /// Why the update to this spec is halted, as its last revision tells the next scheduler; empty: it is not.
    std::string halted;
    /// Its replicas are gone and the store could not be told: the reason.
    bool forget_failed = false;
    /// From the store or a file, and somebody else may have it by now; nobody has asked for it here since.
    bool from_before = false;
    /// The store knows that it was given up.
    bool given_up = false;
    /// Answers that are still to come.
    std::size_t questions = 0;
  };

  void begin() {
    self_->monitor(source_);
    watch(false);
    // After a cold start nodes need a beat or two to turn up.
    for (auto& [app, spec] : std::exchange(wanted_, {})) {
      if (auto note = files_only_.count(app) != 0 ? given_up_before(app) : std::string{}; !note.empty()) {
        stay_given_up(adopt(spec), note);
        continue;
      }
      auto& entry = adopt(spec);
      entry.from_before = true;
      if (auto history = world_.apps().history(app))
        entry.halted = noted_halt(*history);
      start(entry, 2 * options_.heartbeat);
    }
    if (options_.standby)
      self_->delayed_send(self_, standby_interval, sweep_atom_v);
    world_.publish(apps_service, caf::actor_cast<caf::strong_actor_ptr>(self_));
    self_->send(self_, beat_atom_v);
  }

  app& adopt(pb::AppSpec spec) {
    auto& entry = apps_[spec.name()];
    entry.spec = std::move(spec);
    return entry;
  }

  // -- the view ----------------------------------------------------------------

  /// Subscribes, or renews that.
  void watch(bool resync) {
    pb::Subscribe wish;
    wish.set_scope(pb::Subscribe::ALL_SHARDS);
    wish.set_subscriber(options_.name);
    wish.set_resync(resync);
    for (auto& version : view_.versions())
      *wish.add_have() = std::move(version);
    self_->request(source_, 2 * options_.heartbeat, subscribe{std::move(wish)})
        .then(
            [this](const subscribe_ack& ack) {
              home_group_ = group_from_wire(ack->group());
              auto& held = view_.shards();
              auto& shards = ack->shards();
              if (!view_since_ && !shards.empty() && std::all_of(shards.begin(), shards.end(), [&](auto& shard) {
                    return held.count(resource_id{shard.origin()}) != 0;
                  }))
                view_since_ = self_->clock().now();
            },
            [this](const caf::error& reason) {
              spdlog::debug("apps.no_view name={} reason=\"{}\"", options_.name, error_text(reason));
            });
  }

  void on_delta(const pb::ViewDelta& delta) {
    view_changes changes;
    switch (view_.apply(delta, self_->clock().now(), changes)) {
    case cluster_view::apply_outcome::applied:
      resyncing_ = false;
      break;
    case cluster_view::apply_outcome::gap:
      if (!std::exchange(resyncing_, true))
        watch(true);
      return;
    case cluster_view::apply_outcome::stale:
      return;
    }
    for (auto id : changes.nodes)
      if (auto entry = view_.find(id))
        look_for_deleted(*entry);
    if (!settled_ && !changes.schedulers.empty())
      ask_who_has_mine();
    look_who_took();
  }

  /// Once the view is there: apps that a forerunner of this process managed, and that neither a file nor the store
  /// names any more, would have nobody.  They go on as they were: a store that was lost must not stop what runs.
  void settle() {
    if (settled_ || !view_since_ || self_->clock().now() - *view_since_ < 2 * options_.heartbeat)
      return;
    settled_ = true;
    for (auto& [name, entry] : apps_)
      entry.from_before &= entry.state == phase::asking;
    std::vector<pb::AppRecord> left_over;
    for (auto& [name, shown] : view_.apps())
      if (scheduler_id{shown.record.scheduler()} == process_ && apps_.count(name) == 0 && deleted_.count(name) == 0)
        left_over.push_back(shown.record);
    for (auto& record : left_over)
      adopt_left_over(record);
  }

  /// A node that was frozen while an app was deleted, for longer than the view remembers it, still runs replicas.
  void look_for_deleted(const node_entry& node) {
    if (deleted_.empty() || node.row.liveness() == pb::LIVENESS_OFFLINE || MUTANT(frozen_replica_survives_deletion))
      return;
    for (auto& replica : node.row.shape().replicas()) {
      auto found = deleted_.find(replica.app());
      if (found == deleted_.end() || replica.state() == pb::REPLICA_STOPPED || replica.epoch() > found->second.epoch())
        continue;
      auto record = std::move(found->second);
      deleted_.erase(found);
      auto shown = view_.find_app(replica.app());
      if (!shown || scheduler_id{shown->record.scheduler()} == process_)
        delete_left_over(record, fmt::format("deleted, but {} has come back with a replica of it", node.name()));
    }
  }

  /// The record of an app here unknown whose scheduler process will not answer; null when there is none.
  const pb::AppRecord* abandoned(const std::string& name) const {
    auto shown = view_.find_app(name);
    if (!shown)
      return nullptr;
    scheduler_id owner{shown->record.scheduler()};
    auto process = view_.find_scheduler(owner);
    auto alive = process && process->row.liveness() != pb::LIVENESS_OFFLINE;
    return alive && owner != process_ ? nullptr : &shown->record;
  }

  void adopt_left_over(const pb::AppRecord& record) {
    auto spec = record.spec();
    spec.set_deleting(record.deleting());
    if (auto problems = problems_of(spec); !problems.empty()) {
      spdlog::error("apps.not_adopted app={} reason=\"its spec in the view is not valid: {}; its replicas run on\"",
                    spec.name(), problems);
      return;
    }
    spdlog::warn(
        "apps.adopted app={} epoch={} reason=\"it runs, but no app file and no entry of the app store names it "
        "any more; to stop it: astra app delete {}\"",
        spec.name(), record.epoch(), spec.name());
    if (auto saved = keep(spec, options_.name, "adopted: it ran, and no app file and no entry named it"); !saved)
      spdlog::warn("apps.adopted app={} reason=\"not kept for the next start: {}\"", spec.name(),
                   error_text(saved.error()));
    take_over(adopt(std::move(spec)), record.epoch());
  }

  void delete_left_over(const pb::AppRecord& record, const std::string& reason) {
    auto spec = record.spec();
    spec.set_deleting(true);
    spdlog::warn("apps.left_over app={} epoch={} reason=\"{}; its replicas are stopped\"", spec.name(), record.epoch(),
                 reason);
    if (auto saved = keep(spec, options_.name, reason); !saved)
      spdlog::warn("apps.left_over app={} reason=\"if this process ends first, its replicas stay: {}\"", spec.name(),
                   error_text(saved.error()));
    take_over(adopt(std::move(spec)), record.epoch());
  }

  /// Starts the scheduler of an app that had one of `epoch` elsewhere or before.
  void take_over(app& entry, std::uint64_t epoch) {
    entry.fenced_by = epoch;
    start(entry, milliseconds{0});
  }

  // -- standby ---------------------------------------------------------------

  std::string name_of(scheduler_id process) const {
    auto known = view_.find_scheduler(process);
    return known ? known->row.name() : to_string(process);
  }

  /// Takes over what is this process's to take; what is too much for now is due again next time.
  void stand_by() {
    std::size_t writes = 0;
    for (auto& record : standby_.due(view_, self_->clock().now())) {
      auto& name = record.spec().name();
      auto known = apps_.find(name);
      if (known != apps_.end() && (known->second.state != phase::down || known->second.fenced_by == 0))
        continue;
      auto from = name_of(scheduler_id{record.scheduler()});
      auto spec = record.spec();
      spec.set_deleting(record.deleting());
      if (auto problems = problems_of(spec); !problems.empty()) {
        if (not_taken_.insert(name).second)
          spdlog::error(
              "apps.not_taken_over app={} from={} reason=\"its spec in the view is not valid: {}; its replicas "
              "run on\"",
              name, from, problems);
        continue;
      }
      if (++writes > writes_max)
        break;
      auto saved = world_.apps().save(spec, {options_.name, taken_over_note(from, record.epoch()), world_.wall_time()});
      if (!saved) {
        if (not_taken_.insert(name).second)
          spdlog::error("apps.not_taken_over app={} from={} reason=\"{}; tried again until it can be stored\"", name,
                        from, error_text(saved.error()));
        // The next one would wait for the same.
        break;
      }
      not_taken_.erase(name);
      spdlog::warn("apps.taken_over app={} from={} epoch={} reason=\"its scheduler process is gone\"", name, from,
                   record.epoch());
      auto fenced_by = known == apps_.end() ? 0 : known->second.fenced_by;
      deleted_.erase(name);
      auto& entry = adopt(std::move(spec));
      entry.given_up = false;
      if (record.rollout().phase() == pb::ROLLOUT_HALTED)
        entry.halted = record.rollout().reason();
      entry.budget = restart_budget{entry.budget.policy()};
      take_over(entry, std::max(record.epoch(), fenced_by));
    }
  }

  /// Of processes that may have taken over, while this one was away, what it starts with.  Nothing is claimed before
  /// they have answered.
  void ask_who_has_mine() {
    for (auto& [id, shown] : view_.schedulers()) {
      auto& row = shown.row;
      if (id == process_ || row.liveness() == pb::LIVENESS_OFFLINE || !(row.standby() || options_.standby)
          || asked_.count(id) != 0)
        continue;
      std::vector<std::string> names;
      for (auto& [name, entry] : apps_)
        if (entry.from_before)
          names.push_back(name);
      if (names.empty())
        return;
      asked_.insert(id);
      for (auto& name : names)
        hold_back(apps_.at(name), row.name());
      ask(id, row, names);
    }
  }

  void ask(scheduler_id id, const pb::SchedulerRow& row, const std::vector<std::string>& names) {
    self_->request(world_.dialer(), question_limit, dial_atom_v, row.address(), std::string{apps_service})
        .then(
            [this, names, other = row.name(), id](const caf::strong_actor_ptr& peer) {
              for (auto& name : names)
                ask_about(name, other, id, caf::actor_cast<apps_actor>(peer));
            },
            [this, names, other = row.name(), id](const caf::error& reason) {
              for (auto& name : names)
                on_no_word(name, other, id, reason);
            });
  }

  void hold_back(app& entry, const std::string& other) {
    ++entry.questions;
    if (entry.scheduler) {
      self_->demonitor(entry.scheduler);
      self_->send_exit(entry.scheduler, caf::exit_reason::user_shutdown);
      entry.scheduler = nullptr;
    }
    entry.state = phase::asking;
    entry.record.set_version(entry.record.version() + 1);
    entry.record.set_reason(fmt::format("asks {} whether it has taken the app over", other));
  }

  void ask_about(const std::string& name, const std::string& other, scheduler_id id, const apps_actor& peer) {
    pb::DescribeApp question;
    question.set_app(name);
    question.set_history(true);
    self_->request(peer, question_limit, describe_app{std::move(question)})
        .then([this, name, other, id](const app_detail& answer) { on_word(name, other, id, *answer); },
              [this, name, other, id](const caf::error& reason) { on_no_word(name, other, id, reason); });
  }

  void on_word(const std::string& name, const std::string& other, scheduler_id id, const pb::AppDetail& answer) {
    auto found = apps_.find(name);
    if (found == apps_.end())
      return;
    auto& entry = found->second;
    if (entry.questions > 0)
      --entry.questions;
    if (fenced_here(entry))
      return settle_fence(entry, other, id, answer);
    if (entry.state != phase::asking)
      return;
    auto what = app_claim::mine;
    if (entry.from_before && !(answer.found() && scheduler_id{answer.record().scheduler()} != id)) {
      auto history = world_.apps().history(name);
      what = whose_app(history ? *history : std::vector<pb::AppRevision>{}, answer, options_.name);
    }
    switch (what) {
    case app_claim::theirs:
      give_up(entry, other, id, std::max(answer.record().epoch(), entry.record.epoch()));
      return;
    case app_claim::deleted:
      return forget_deleted_elsewhere(
          entry, other, noted_epoch({answer.history().revisions().begin(), answer.history().revisions().end()}));
    case app_claim::mine:
      break;
    }
    if (entry.questions == 0)
      go_on(entry);
  }

  void on_no_word(const std::string& name, const std::string& other, scheduler_id id, const caf::error& reason) {
    auto found = apps_.find(name);
    if (found == apps_.end())
      return;
    auto& entry = found->second;
    spdlog::warn("apps.no_word app={} from={} reason=\"{}\"", name, other, error_text(reason));
    if (((entry.state == phase::asking && entry.from_before) || fenced_here(entry)) && has_now(name, id)) {
      // It may be busy with taking over, and what is stored here be old.  One that is gone is not alive for long.
      entry.record.set_version(entry.record.version() + 1);
      entry.record.set_reason(
          fmt::format("{} has the app now and does not answer ({}); it is asked again", other, error_text(reason)));
      self_->run_delayed(question_limit, [this, name, other, id, reason] {
        if (has_now(name, id))
          ask(id, view_.find_scheduler(id)->row, {name});
        else
          on_no_word(name, other, id, reason);
      });
      return;
    }
    if (entry.questions > 0)
      --entry.questions;
    if (fenced_here(entry))
      settle_silence(entry, id);
    else if (entry.state == phase::asking && entry.questions == 0)
      go_on(entry);
  }

  /// The view shows the app with that process, and the process alive.
  bool has_now(const std::string& name, scheduler_id id) const {
    auto shown = view_.find_app(name);
    auto owner = view_.find_scheduler(id);
    return shown && scheduler_id{shown->record.scheduler()} == id && owner
           && owner->row.liveness() != pb::LIVENESS_OFFLINE;
  }

  /// Nobody else has it.
  void go_on(app& entry) {
    entry.from_before = false;
    // Whoever has started it meanwhile from an older store must not win by the clock of its machine.
    if (auto shown = view_.find_app(entry.spec.name()))
      entry.fenced_by = shown->record.epoch();
    start(entry, 2 * options_.heartbeat);
  }

  /// The app is another process's, also after the next start of this one.  Its replicas run on.
  void give_up(app& entry, const std::string& to, scheduler_id id, std::uint64_t epoch) {
    auto& name = entry.spec.name();
    entry.state = phase::down;
    entry.from_before = false;
    entry.fenced_by = epoch;
    entry.record.set_scheduler(id.value());
    auto saved = keep(entry.spec, options_.name, given_up_note(to, epoch));
    auto removed = saved ? world_.apps().remove(name) : caf::expected<void>{caf::error{saved.error()}};
    entry.given_up = static_cast<bool>(removed);
    spdlog::warn("apps.given_up app={} to={} epoch={}", name, to, epoch);
    auto text = fmt::format("a newer scheduler has taken the app over (epoch {}, at {}); apply the app here to take it "
                            "back",
                            epoch, to);
    if (!removed)
      text += fmt::format("; the store cannot be told: {}", error_text(removed.error()));
    trouble(entry, std::move(text));
  }

  /// Its scheduler was fenced by another process, and which of the two has the app is not settled.
  bool fenced_here(const app& entry) const {
    return entry.state == phase::down && entry.fenced_by != 0 && !entry.given_up
           && entry.record.scheduler() == process_.value();
  }

  /// Schedulers that were fenced: who has their apps now?
  void look_who_took() {
    for (auto& [name, entry] : apps_) {
      if (!fenced_here(entry) || entry.questions > 0)
        continue;
      auto shown = view_.find_app(name);
      if (!shown || shown->record.epoch() < entry.fenced_by)
        continue;
      scheduler_id owner{shown->record.scheduler()};
      auto known = view_.find_scheduler(owner);
      if (owner == process_ || !known)
        continue;
      if (noted_here(name) == 0 || MUTANT(fenced_app_given_up)) {
        give_up(entry, name_of(owner), owner, shown->record.epoch());
      } else {
        entry.questions = 1;
        ask(owner, known->row, {name});
      }
    }
  }

  /// Who fenced this one does not answer and is gone, or it is another's by now.
  void settle_silence(app& entry, scheduler_id asked) {
    auto shown = view_.find_app(entry.spec.name());
    if (shown && scheduler_id{shown->record.scheduler()} != asked)
      return look_who_took();
    spdlog::warn("apps.taken_back app={} epoch={} reason=\"who had it is gone\"", entry.spec.name(), entry.fenced_by);
    take_over(entry, std::max(entry.fenced_by, shown ? shown->record.epoch() : 0));
  }

  std::uint64_t noted_here(const std::string& name) {
    auto history = world_.apps().history(name);
    return history ? noted_epoch(*history) : 0;
  }

  /// A process that starts again publishes newer epochs for what it had before, also for an app that was applied here
  /// meanwhile.  Of two that both have an app, the one that took it last goes on.
  void settle_fence(app& entry, const std::string& other, scheduler_id id, const pb::AppDetail& answer) {
    auto& name = entry.spec.name();
    auto theirs = noted_epoch({answer.history().revisions().begin(), answer.history().revisions().end()});
    auto epoch = std::max(entry.fenced_by, answer.record().epoch());
    if (!answer.found() || noted_here(name) <= theirs)
      return give_up(entry, other, id, epoch);
    spdlog::warn("apps.taken_back app={} from={} epoch={} reason=\"it was applied here after {} had it last\"", name,
                 other, epoch, other);
    take_over(entry, epoch);
  }

  /// What the revision of an apply says beside what its sender wished, when the app is another process's.
  std::string note_of_taking(const std::string& name) const {
    auto known = apps_.find(name);
    if (known != apps_.end()) {
      auto& entry = known->second;
      if (entry.state == phase::down && entry.fenced_by != 0)
        return taken_over_note(name_of(scheduler_id{entry.record.scheduler()}), entry.fenced_by);
      if (entry.state != phase::asking && !entry.from_before)
        return {};
    }
    auto shown = view_.find_app(name);
    if (!shown || scheduler_id{shown->record.scheduler()} == process_)
      return {};
    return taken_over_note(name_of(scheduler_id{shown->record.scheduler()}), shown->record.epoch());
  }

  /// The note of the app's last revision when that is that it was given up; empty otherwise.
  std::string given_up_before(const std::string& name) {
    auto history = world_.apps().history(name);
    if (!history || history->empty() || !says_given_up(history->back().note()))
      return {};
    return history->back().note();
  }

  void stay_given_up(app& entry, const std::string& note) {
    entry.state = phase::down;
    entry.given_up = true;
    // Older than any epoch, and enough to keep it out of the beats.
    entry.fenced_by = 1;
    *entry.record.mutable_spec() = entry.spec;
    entry.record.set_spec_hash(hash_of(entry.spec));
    trouble(entry,
            fmt::format("a newer scheduler has taken the app over: it was {}, and stays there although an app file "
                        "names it here; apply the file to take it back",
                        note));
  }

  void forget_deleted_elsewhere(app& entry, const std::string& other, std::uint64_t epoch) {
    auto name = entry.spec.name();
    spdlog::warn(
        "apps.deleted_elsewhere app={} at={} reason=\"{} had taken it over while this process was away, and it "
        "was deleted there\"",
        name, other, other);
    auto spec = entry.spec;
    spec.set_deleting(true);
    auto saved = keep(spec, options_.name, deleted_note(other, epoch));
    if (!saved)
      spdlog::warn("apps.deleted_elsewhere app={} reason=\"not kept for the next start: {}\"", name,
                   error_text(saved.error()));
    forget(name);
  }

  // -- schedulers ------------------------------------------------------------

  void start(app& entry, milliseconds settle) {
    scheduler_start what;
    what.spec = entry.spec;
    // Its forerunner may have had a clock that is ahead; the next life of this process must not fall behind either.
    what.epoch = MUTANT(taken_epoch_not_kept) ? std::max(world_.next_incarnation(), incarnation{entry.fenced_by + 1})
                                              : world_.next_incarnation_after(incarnation{entry.fenced_by});
    what.process = process_;
    what.settle = settle;
    what.halted = entry.halted;
    entry.fenced_by = 0;
    entry.state = phase::running;
    entry.started = self_->clock().now();
    pb::AppRecord record;
    *record.mutable_spec() = entry.spec;
    record.mutable_spec()->clear_deleting();
    record.set_spec_hash(hash_of(entry.spec));
    record.set_epoch(what.epoch.value());
    record.set_scheduler(process_.value());
    record.set_pending(entry.spec.replicas());
    record.set_deleting(entry.spec.deleting());
    record.set_reason("its scheduler has just started");
    entry.record = std::move(record);
    spdlog::info("apps.start app={} epoch={}", entry.spec.name(), what.epoch.value());
    entry.scheduler =
        spawn_scheduler(self_->system(), world_, options_, std::move(what), source_, app_report_sink{apps_impl{self_}},
                        options_.claim_log_bytes == 0 ? nullptr : claims_);
    self_->monitor(entry.scheduler);
    beat_soon();
  }

  void on_down(const caf::down_msg& down) {
    if (down.source == source_.address()) {
      stop_schedulers();
      world_.withdraw(apps_service);
      self_->quit(caf::make_error(errc::unreachable, "the view client of this process ended"));
      return;
    }
    for (std::size_t i = 0; i < homes_.size(); ++i)
      if (homes_[i].handle && down.source == homes_[i].handle.address()) {
        leave_home(i, down.reason);
        return;
      }
    auto found = std::find_if(apps_.begin(), apps_.end(), [&](auto& entry) {
      return entry.second.scheduler && entry.second.scheduler.address() == down.source;
    });
    if (found == apps_.end())
      return;
    auto& [name, entry] = *found;
    entry.scheduler = nullptr;
    if (down.reason == caf::exit_reason::normal) {
      forget(name);
    } else if (down.reason == errc::fenced) {
      auto newer = down.reason.context();
      entry.fenced_by = newer.match_elements<std::uint64_t>() ? newer.get_as<std::uint64_t>(0) : entry.record.epoch();
      entry.state = phase::down;
      trouble(entry, fmt::format("a newer scheduler has taken the app over (epoch {}); apply the app here to take it "
                                 "back",
                                 entry.fenced_by));
      entry.given_up = false;
      look_who_took();
    } else {
      on_crash(entry, error_text(down.reason));
    }
  }

  void on_crash(app& entry, const std::string& reason) {
    auto now = self_->clock().now();
    auto delay = entry.budget.next_delay(now, now - entry.started, random_);
    if (!delay) {
      entry.state = phase::down;
      trouble(entry, fmt::format("its scheduler died {} times within {} s, at last of: {}; apply the app again to "
                                 "start it anew",
                                 entry.budget.policy().budget + 1, entry.budget.policy().budget_window.count() / 1000,
                                 reason));
      return;
    }
    entry.state = phase::backing_off;
    trouble(entry, fmt::format("its scheduler died and starts again in {} ms: {}", delay->count(), reason));
    self_->delayed_send(self_, *delay, retry_atom_v, entry.spec.name());
  }

  void trouble(app& entry, std::string reason) {
    spdlog::error("apps.scheduler_down app={} reason=\"{}\"", entry.spec.name(), reason);
    entry.record.set_version(entry.record.version() + 1);
    entry.record.set_reason(std::move(reason));
    beat_soon();
  }

  void on_report(const pb::AppRecord& record) {
    auto found = apps_.find(record.spec().name());
    if (found == apps_.end() || record.epoch() != found->second.record.epoch())
      return;
    auto& entry = found->second;
    // The numbers are ours: some changes are made here.
    auto version = entry.record.version() + 1;
    entry.record = record;
    entry.record.set_version(version);
    // The report may have been under way when the wish came.
    if (entry.spec.deleting())
      entry.record.set_deleting(true);
    undo_update(entry);
    note_halt(entry);
    beat_soon();
  }

  /// A halt holds until somebody applies something, also for the schedulers that follow.
  void note_halt(app& entry) {
    auto& rollout = entry.record.rollout();
    if (rollout.phase() != pb::ROLLOUT_HALTED || !entry.halted.empty() || entry.spec.deleting()
        || entry.record.spec_hash() != hash_of(entry.spec))
      return;
    entry.halted = rollout.reason();
    if (auto saved = keep(entry.spec, options_.name, halt_note(entry.halted)); !saved)
      spdlog::warn("apps.halt_not_kept app={} reason=\"should this process end, the update goes on: {}\"",
                   entry.spec.name(), error_text(saved.error()));
  }

  /// An update has failed whose policy says that the spec before is to be applied again.
  void undo_update(app& entry) {
    if (entry.record.rollout().phase() != pb::ROLLOUT_ROLLING_BACK || entry.spec.deleting()
        || entry.record.spec_hash() != hash_of(entry.spec))
      return;
    // Applying changes the entry.
    auto reason = entry.record.rollout().reason();
    auto name = entry.spec.name();
    auto stay = [&](const std::string& why) {
      entry.not_undone = fmt::format("{} (not rolled back: {})", reason, why);
      halt(entry, entry.record);
      spdlog::warn("apps.update_halted app={} reason=\"{}\"", name, entry.not_undone);
    };
    if (!entry.not_undone.empty())
      return halt(entry, entry.record);
    auto history = world_.apps().history(name);
    if (!history)
      return stay(error_text(history.error()));
    auto target = way_back(*history);
    if (!target.revision)
      return stay(target.why_not);
    auto reply =
        apply("rollback", target.revision->spec(), options_.name, own_rollback_note(history->back().number(), reason));
    if (!reply->ok())
      return stay(reply->message());
  }

  /// Says of an update that cannot be rolled back that it is halted: its scheduler does not know that.
  static void halt(const app& entry, pb::AppRecord& record) {
    if (entry.not_undone.empty() || record.rollout().phase() != pb::ROLLOUT_ROLLING_BACK
        || record.spec_hash() != hash_of(entry.spec))
      return;
    auto before = failure_text(record.rollout());
    record.mutable_rollout()->set_phase(pb::ROLLOUT_HALTED);
    record.mutable_rollout()->set_reason(entry.not_undone);
    auto lack = record.reason().substr(std::min(before.size(), record.reason().size()));
    record.set_reason(failure_text(record.rollout()) + lack);
  }

  // -- what operators ask for --------------------------------------------------

  /// Answers and leaves the audit line.
  control_reply answer(const char* verb, const std::string& name, const std::string& origin, errc code,
                       std::string message) {
    spdlog::info("apps.{} app={} origin=\"{}\" code={} message=\"{}\"", verb, name, origin, to_string(code), message);
    pb::ControlReply reply;
    reply.set_ok(code == errc::none);
    if (code != errc::none)
      reply.set_code(to_string(code));
    reply.set_message(std::move(message));
    return reply;
  }

  /// Stores a spec as the app's next revision and returns the number of that.  An app that has none yet gets what it
  /// was until now as the first one, so that there is a way back.
  caf::expected<std::uint64_t> keep(const pb::AppSpec& spec, const std::string& origin, std::string text) {
    auto& store = world_.apps();
    if (auto known = apps_.find(spec.name()); known != apps_.end()) {
      auto before = store.history(spec.name());
      if (!before)
        return std::move(before.error());
      if (before->empty())
        if (auto first = store.save(known->second.spec, {options_.name, "as in its app file", world_.wall_time()});
            !first)
          return first;
    }
    return store.save(spec, {origin, std::move(text), world_.wall_time()});
  }

  static std::string problems_of(const pb::AppSpec& spec) {
    std::string text;
    for (auto& problem : validate(spec))
      text += (text.empty() ? "" : "; ") + (problem.key.empty() ? "" : problem.key + ": ") + problem.message;
    return text;
  }

  static std::string being_deleted(const app& entry) {
    return fmt::format("app '{}' is being deleted ({}); apply it again when it is gone", entry.spec.name(),
                       entry.record.reason());
  }

  caf::result<control_reply> on_apply(const pb::ApplyApp& wish) {
    if (wish.has_rollback())
      return roll_back(wish.rollback(), wish.origin());
    if (!wish.plan_index().empty())
      return apply_planned(wish);
    return apply("apply", wish.spec(), wish.origin(), {});
  }

  /// Applies a spec if the plan that its sender has seen is still the one that is made now.
  caf::result<control_reply> apply_planned(const pb::ApplyApp& wish) {
    auto promise = self_->make_response_promise<control_reply>();
    auto revision = revision_of(wish.spec().name());
    make_plan(wish.spec(), [this, promise, wish, revision](const pb::AppPlan& plan) mutable {
      auto& name = wish.spec().name();
      auto refuse = [&](errc code, std::string message) {
        promise.deliver(answer("apply", name, wish.origin(), code, std::move(message)));
      };
      if (plan.has_refused()) {
        auto code = errc::io_failed;
        from_string({plan.refused().code().data(), plan.refused().code().size()}, code);
        return refuse(code, plan.refused().message());
      }
      auto moved = why_plan_moved(wish.plan_index(), plan);
      if (auto now = revision_of(name); moved.empty() && (!now || !revision || *now != *revision))
        moved = "somebody else has changed the app in this moment";
      if (!moved.empty())
        return refuse(errc::conflict, fmt::format("app '{}' was not applied, the plan does not hold any more: {}; look "
                                                  "at the new one: astra app plan FILE (its index is {})",
                                                  name, moved, plan.index()));
      promise.deliver(apply("apply", wish.spec(), wish.origin(), "as planned"));
    });
    return promise;
  }

  control_reply roll_back(const pb::Rollback& wish, const std::string& origin) {
    auto& name = wish.app();
    auto refuse = [&](errc code, std::string message) {
      return answer("rollback", name, origin, code, std::move(message));
    };
    auto history = world_.apps().history(name);
    if (!history)
      return refuse(errc::io_failed, fmt::format("app '{}' was not rolled back, its revisions cannot be read: {}", name,
                                                 error_text(history.error())));
    if (history->empty())
      return refuse(errc::unknown_app, fmt::format("no revisions of an app '{}' are kept here", name));
    auto last = history->back().number();
    // One that tells who has the app stays when those after it go.
    constexpr std::uint64_t kept = app_store::revisions_kept;
    auto first = std::max(history->front().number(), last > kept ? last - kept + 1 : 1);
    // Some revisions only tell what has happened to a spec.
    auto current = encode(history->back().spec());
    const pb::AppRevision* target = nullptr;
    for (auto& revision : *history)
      if (wish.to() == 0 ? !revision.spec().deleting() && encode(revision.spec()) != current
                         : revision.number() == wish.to())
        target = &revision;
    if (!target && wish.to() != 0)
      return refuse(errc::unknown_name, fmt::format("app '{}' has no revision {}; there {}", name, wish.to(),
                                                    first == last ? fmt::format("is only {}", last)
                                                                  : fmt::format("are {} to {}", first, last)));
    if (!target)
      return refuse(errc::unknown_name, fmt::format("app '{}' has no revision before {} to go back to", name, last));
    if (target->spec().deleting())
      return refuse(errc::invalid_argument, fmt::format("revision {} of app '{}' is its deletion; to delete it: astra "
                                                        "app delete {}",
                                                        target->number(), name, name));
    auto reply = apply("rollback", target->spec(), origin, fmt::format("rollback to {}", target->number()));
    if (reply->ok())
      reply->set_message(fmt::format("{} (rolled back to revision {})", reply->message(), target->number()));
    return reply;
  }

  /// Number of the app's current revision; 0: it has none.
  caf::expected<std::uint64_t> revision_of(const std::string& name) {
    auto history = world_.apps().history(name);
    if (!history)
      return std::move(history.error());
    return history->empty() ? 0 : history->back().number();
  }

  /// Calls `then` with what applying a spec would do now, or with why there is no plan.
  void make_plan(pb::AppSpec spec, std::function<void(const pb::AppPlan&)> then) {
    spec.clear_deleting();
    auto refuse = [then](errc code, std::string message) {
      pb::AppPlan none;
      none.mutable_refused()->set_code(to_string(code));
      none.mutable_refused()->set_message(std::move(message));
      then(none);
    };
    auto& name = spec.name();
    if (auto problems = problems_of(spec); !problems.empty())
      return refuse(errc::invalid_argument, std::move(problems));
    auto revision = revision_of(name);
    if (!revision)
      return refuse(errc::io_failed,
                    fmt::format("the revisions of app '{}' cannot be read: {}", name, error_text(revision.error())));
    auto found = apps_.find(name);
    auto known = found != apps_.end();
    if (known && found->second.spec.deleting())
      return refuse(errc::conflict, being_deleted(found->second));
    if (known && found->second.scheduler) {
      pb::DescribeApp question;
      question.set_app(name);
      *question.mutable_plan()->mutable_spec() = spec;
      question.mutable_plan()->set_revision(*revision);
      self_->request(found->second.scheduler, describe_limit, describe_app{std::move(question)})
          .then([then](const app_detail& detail) { then(detail->plan()); },
                [refuse](const caf::error& reason) {
                  refuse(errc::unreachable, "the app's scheduler has just died: " + error_text(reason));
                });
      return;
    }
    if (!view_since_)
      return refuse(errc::unreachable, "this scheduler process has no view of the cluster yet; try again in a moment");
    app_plan_input input{view_, spec};
    if (known)
      input.current = &found->second.spec;
    else if (auto shown = view_.find_app(name))
      input.current = &shown->record.spec();
    input.revision = *revision;
    input.replicas = replicas_in(view_, name);
    input.home_group = home_group_;
    for (auto& [origin, shard] : view_.shards())
      if (!shard.lost)
        input.reachable.insert(origin);
    auto plan = make_app_plan(input);
    // It has no scheduler here: to apply the same again starts one.
    plan.set_changes(true);
    then(plan);
  }

  /// @param verb For the audit line.
  /// @param note Of the revision.
  control_reply apply(const char* verb, pb::AppSpec spec, const std::string& origin, std::string note) {
    spec.clear_deleting();
    auto& name = spec.name();
    auto reply = [&](errc code, std::string message) { return answer(verb, name, origin, code, std::move(message)); };
    if (auto problems = problems_of(spec); !problems.empty())
      return reply(errc::invalid_argument, std::move(problems));
    auto found = apps_.find(name);
    auto known = found != apps_.end();
    if (known && found->second.spec.deleting())
      return reply(errc::conflict, being_deleted(found->second));
    auto running = known && found->second.state != phase::down;
    if (running && encode(found->second.spec) == encode(spec))
      return reply(errc::none, fmt::format("app '{}' is unchanged", name));
    if (auto taken = note_of_taking(name); !taken.empty())
      note += (note.empty() ? "" : "; ") + taken;
    if (auto saved = keep(spec, origin, std::move(note)); !saved)
      return reply(errc::io_failed, fmt::format("app '{}' was not applied, its spec cannot be stored: {}", name,
                                                error_text(saved.error())));
    if (!known) {
      deleted_.erase(name);
      if (auto shown = view_.find_app(name)) {
        auto epoch = shown->record.epoch();
        take_over(adopt(spec), epoch);
        return reply(errc::none, fmt::format("app '{}' is taken over from its former scheduler", name));
      }
      start(adopt(spec), milliseconds{0});
      return reply(errc::none, fmt::format("app '{}' is created with {}", name, size_text(spec)));
    }
    auto& entry = found->second;
    entry.from_before = entry.given_up = false;
    auto before = std::exchange(entry.spec, spec);
    entry.not_undone.clear();
    entry.halted.clear();
    if (!running) {
      entry.budget = restart_budget{entry.budget.policy()};
      start(entry, milliseconds{0});
      return reply(errc::none, fmt::format("app '{}' is scheduled here again", name));
    }
    if (entry.scheduler) {
      pb::ApplyApp forward;
      *forward.mutable_spec() = spec;
      self_->send(entry.scheduler, apply_app{std::move(forward)});
    }
    auto text = fmt::format("app '{}' is changed", name);
    if (before.replicas() != spec.replicas())
      text += fmt::format(": replicas {} -> {}", before.replicas(), spec.replicas());
    if (before.replicas() != spec.replicas() && spec.has_scale())
      text += fmt::format(" (only what it begins with: its [scale] decides on {} to {}; to have a fixed number, take "
                          "[scale] out)",
                          spec.scale().min(), spec.scale().max());
    if (hash_of(before) != hash_of(spec))
      text += fmt::format("{} {}", before.replicas() != spec.replicas() ? ";" : ":", update_text(spec));
    return reply(errc::none, std::move(text));
  }

  control_reply on_delete(const pb::DeleteApp& wish) {
    auto reply = [&](errc code, std::string message) {
      return answer("delete", wish.app(), wish.origin(), code, std::move(message));
    };
    auto found = apps_.find(wish.app());
    if (found == apps_.end()) {
      auto record = abandoned(wish.app());
      if (!record)
        return reply(errc::unknown_app, fmt::format("no app '{}'", wish.app()));
      delete_left_over(pb::AppRecord{*record}, "deleted here, because its scheduler process is gone");
      return reply(errc::none, fmt::format("app '{}' is being deleted; should its former scheduler process come back "
                                           "and still name it, it comes back too",
                                           wish.app()));
    }
    auto& entry = found->second;
    if (entry.spec.deleting())
      return reply(errc::none,
                   fmt::format("app '{}' is being deleted already ({})", wish.app(), entry.record.reason()));
    auto spec = entry.spec;
    spec.set_deleting(true);
    if (auto saved = keep(spec, wish.origin(), {}); !saved)
      return reply(errc::io_failed, fmt::format("app '{}' was not deleted, the wish cannot be stored: {}", wish.app(),
                                                error_text(saved.error())));
    entry.spec = std::move(spec);
    entry.from_before = entry.given_up = false;
    if (entry.scheduler)
      self_->send(entry.scheduler, delete_app{wish});
    else if (entry.state == phase::down)
      start(entry, milliseconds{0});
    entry.record.set_deleting(true);
    entry.record.set_version(entry.record.version() + 1);
    beat_soon();
    auto text = fmt::format("app '{}' is being deleted: its replicas finish what they work on and stop", wish.app());
    if (files_.count(wish.app()) != 0)
      text += "; it also stands in an app file of this scheduler and comes back when that process starts again";
    return reply(errc::none, std::move(text));
  }

  /// The app's replicas are gone: so is the app.
  /// @returns false when the store cannot be told.
  bool forget(const std::string& name) {
    if (auto removed = world_.apps().remove(name); !removed) {
      auto& entry = apps_.at(name);
      entry.forget_failed = true;
      auto reason = fmt::format("deleted, but the store cannot be told: {}; tried again until it can",
                                error_text(removed.error()));
      if (entry.record.reason() != reason)
        trouble(entry, std::move(reason));
      return false;
    }
    spdlog::info("apps.gone app={}", name);
    deleted_[name] = apps_.at(name).record;
    if (deleted_.size() > deleted_max)
      deleted_.erase(std::min_element(deleted_.begin(), deleted_.end(),
                                      [](auto& a, auto& b) { return a.second.epoch() < b.second.epoch(); }));
    apps_.erase(name);
    if (claims_)
      claims_->close(name);
    beat_soon();
    return true;
  }

  void forget_again() {
    std::vector<std::string> names;
    for (auto& [name, entry] : apps_)
      if (entry.forget_failed && names.size() < writes_max)
        names.push_back(name);
    for (auto& name : names)
      if (!forget(name))
        return;
  }

  caf::result<app_detail> on_describe(const pb::DescribeApp& asked) {
    auto& name = asked.app();
    auto found = apps_.find(name);
    pb::AppDetail known;
    known.set_found(found != apps_.end());
    if (known.found())
      *known.mutable_record() = found->second.record;
    if (asked.history()) {
      auto history = world_.apps().history(name);
      if (!history)
        return std::move(history.error());
      for (auto& revision : *history)
        *known.mutable_history()->add_revisions() = std::move(revision);
      describe_changes(*known.mutable_history());
      return app_detail{std::move(known)};
    }
    if (asked.has_claims()) {
      if (!claims_)
        return app_detail{std::move(known)};
      auto page = claims_->read(name, asked.claims().from(), std::clamp(asked.claims().limit(), 1u, claims_max));
      if (!known.found())
        claims_->close(name);
      if (!page)
        return std::move(page.error());
      *known.mutable_claims() = std::move(*page);
      return app_detail{std::move(known)};
    }
    if (asked.has_plan()) {
      auto promise = self_->make_response_promise<app_detail>();
      make_plan(asked.plan().spec(), [promise, known](const pb::AppPlan& plan) mutable {
        *known.mutable_plan() = plan;
        promise.deliver(app_detail{std::move(known)});
      });
      return promise;
    }
    if (!known.found() || !found->second.scheduler)
      return app_detail{std::move(known)};
    auto promise = self_->make_response_promise<app_detail>();
    pb::DescribeApp question;
    question.set_app(name);
    self_->request(found->second.scheduler, describe_limit, describe_app{std::move(question)})
        .then(
            [this, name = name, promise](app_detail& detail) mutable {
              if (auto entry = apps_.find(name); entry != apps_.end() && !entry->second.not_undone.empty()) {
                auto told = *detail;
                halt(entry->second, *told.mutable_record());
                return promise.deliver(app_detail{std::move(told)});
              }
              promise.deliver(std::move(detail));
            },
            // It has just died: its record is still true.
            [promise, known](const caf::error&) mutable { promise.deliver(app_detail{std::move(known)}); });
    return promise;
  }

  // -- the home Resource -------------------------------------------------------

  void beat_soon() {
    if (std::exchange(beat_pending_, true))
      return;
    self_->delayed_send(self_, beat_delay, refresh_atom_v);
  }

  /// @param group Of other groups only apps are told that name them.
  pb::SchedulerBeat make_beat(const std::string& group) {
    pb::SchedulerBeat result;
    result.set_scheduler(process_.value());
    result.set_name(options_.name);
    result.set_address(world_.address());
    result.set_incarnation(incarnation_.value());
    result.set_sequence(++sequence_);
    result.set_settling(!settled_);
    result.set_standby(options_.standby);
    for (auto& [name, entry] : apps_)
      if (entry.fenced_by == 0 && entry.state != phase::asking && (group.empty() || names(entry.record.spec(), group)))
        *result.add_apps() = entry.record;
    return result;
  }

  void beat() {
    for (std::size_t i = 0; i < homes_.size(); ++i)
      beat(i);
  }

  void beat(std::size_t i) {
    auto& home = homes_[i];
    if (!home.handle) {
      dial_home(i);
      return;
    }
    self_->request(home.handle, 2 * options_.heartbeat, scheduler_beat{make_beat(home.group)})
        .then(
            [this, i](const heartbeat_ack& ack) {
              homes_[i].choice.on_ack(self_->clock().now());
              homes_[i].lost = false;
              if (!ack->fenced())
                return;
              spdlog::error("apps.fenced name={} reason=\"a newer process of this name is running\"", options_.name);
              stop_schedulers();
              world_.withdraw(apps_service);
              self_->quit(caf::make_error(errc::fenced, "a newer scheduler process named " + options_.name + " runs"));
            },
            [this, i, asked = home.handle.address()](const caf::error& reason) {
              if (homes_[i].handle && homes_[i].handle.address() == asked)
                leave_home(i, reason);
            });
  }

  void dial_home(std::size_t i) {
    if (homes_[i].dialling)
      return;
    homes_[i].dialling = true;
    auto address = homes_[i].choice.home();
    self_->request(world_.dialer(), dial_limit, dial_atom_v, address, std::string{resource_service})
        .then(
            [this, i, address](const caf::strong_actor_ptr& peer) {
              auto& home = homes_[i];
              home.dialling = false;
              home.handle = caf::actor_cast<claim_sink>(peer);
              self_->monitor(home.handle);
              spdlog::info("apps.home name={} resource={}", options_.name, address);
              beat(i);
            },
            [this, i](const caf::error& reason) {
              homes_[i].dialling = false;
              leave_home(i, reason);
            });
  }

  /// Goes to the next choice, at once unless all of them have just failed.
  void leave_home(std::size_t i, const caf::error& reason) {
    auto& home = homes_[i];
    // While all Resources are down, one line is enough.
    auto level = std::exchange(home.lost, true) ? spdlog::level::debug : spdlog::level::warn;
    spdlog::log(level, "apps.leave_home name={} resource={} reason=\"{}\"", options_.name, home.choice.home(),
                error_text(reason));
    if (home.handle)
      self_->demonitor(home.handle);
    home.handle = nullptr;
    if (home.choice.on_error(self_->clock().now()))
      dial_home(i);
  }

  // -- the end -------------------------------------------------------------------

  void stop_schedulers() {
    for (auto& [name, entry] : apps_)
      if (entry.scheduler)
        self_->send_exit(entry.scheduler, caf::exit_reason::user_shutdown);
  }

  void on_exit(const caf::exit_msg& exit) {
    for (auto& home : homes_) {
      if (!home.handle)
        continue;
      auto goodbye = make_beat(home.group);
      goodbye.set_leaving(true);
      self_->request(home.handle, 2 * options_.heartbeat, scheduler_beat{std::move(goodbye)})
          .then([](const heartbeat_ack&) {}, [](const caf::error&) {}); // gone before the ack comes
    }
    stop_schedulers();
    world_.withdraw(apps_service);
    self_->quit(exit.reason);
  }

  apps_impl::pointer self_;
  platform& world_;
  /// May be null.
  claim_store* claims_;
  scheduler_options options_;
  view_source source_;
  scheduler_id process_;
  incarnation incarnation_;
  random_source random_;
  /// Why the store could not be read; then this actor ends.
  caf::error store_error_;
  /// Specs to start with.
  std::map<std::string, pb::AppSpec> wanted_;
  /// Apps that stand in a file of this process.
  std::set<std::string> files_;
  /// Those of them that are not in the store.
  std::set<std::string> files_only_;
  std::map<std::string, app> apps_;
  /// The last records of apps whose replicas are gone.
  std::map<std::string, pb::AppRecord> deleted_;
  cluster_view view_;
  /// A delta was missing, and what is missing has been asked for.
  bool resyncing_ = false;
  /// When all shards of the source were here for the first time.
  std::optional<std::chrono::steady_clock::time_point> view_since_;
  /// Where apps live that name no groups.
  std::string home_group_ = main_group;
  /// Apps of the forerunner have been looked for.
  bool settled_ = false;
  standby_watch standby_;
  /// Processes that were asked what they have of this one's.
  std::set<scheduler_id> asked_;
  /// Apps that could not be taken over; told of once.
  std::set<std::string> not_taken_;
  /// The Resource of one group that this process beats to.
  struct home_line {
    /// Empty: the home group.
    std::string group;
    home_selector choice;
    claim_sink handle{};
    bool dialling = false;
    /// No Resource has acknowledged a beat since the last one was left.
    bool lost = false;
  };

  static std::vector<home_line> homes_of(const scheduler_options& options, std::chrono::steady_clock::time_point now) {
    std::vector<home_line> result;
    result.push_back({{}, {options.name, options.resources, 2 * options.heartbeat, now}});
    for (auto& group : options.groups)
      result.push_back({group.name, {options.name, group.resources, 2 * options.heartbeat, now}});
    return result;
  }

  static bool names(const pb::AppSpec& spec, const std::string& group) {
    return std::find(spec.groups().begin(), spec.groups().end(), group) != spec.groups().end();
  }

  std::vector<home_line> homes_;
  std::uint64_t sequence_ = 0;
  bool beat_pending_ = false;
};

} // namespace

apps_actor spawn_apps(caf::actor_system& sys, platform& world, const scheduler_options& options,
                      std::vector<pb::AppSpec> files, view_source view, claim_store* claims) {
  return sys.spawn<apps_impl::stateful_impl<apps_state>>(&world, options, std::move(files), std::move(view), claims);
}

} // namespace astra
