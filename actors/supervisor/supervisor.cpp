#include "actors/supervisor/supervisor.hpp"

#include "actors/mutant.hpp"
#include "actors/random.hpp"
#include "actors/supervisor/restart_budget.hpp"

#include <spdlog/spdlog.h>

#include <caf/actor_cast.hpp>
#include <caf/error.hpp>
#include <caf/exit_reason.hpp>
#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

#include <algorithm>
#include <memory>
#include <utility>

namespace astra {
namespace {

/// A child that has not ended this long after its exit message is killed.
constexpr std::chrono::seconds stop_limit{10};

/// The supervisor with its own timers.
using supervisor_impl = supervisor_actor::extend<
    // Time to start the child of this place again.
    caf::result<void>(retry_atom, std::uint64_t),
    // Time to kill the child of this place, should it still run.
    caf::result<void>(deadline_atom, std::uint64_t)>;

class supervisor_state {
public:
  static constexpr const char* name = "astra.supervisor";

  supervisor_state(supervisor_impl::pointer self, platform* world, supervisor_options options,
                   std::vector<child_spec> children,
                   std::function<void(const std::string&, const std::string&)> on_failed)
    : self_(self), options_(options), on_failed_(std::move(on_failed)), random_(world->seed("supervisor")) {
    restart_policy policy{options.backoff_min, options.backoff_max, options.healthy_after, options.budget,
                          options.budget_window};
    for (auto& spec : children)
      children_.push_back({std::move(spec), {}, restart_budget{policy}, {}, "starting", {}});
  }

  supervisor_impl::behavior_type make_behavior() {
    self_->set_down_handler([this](const caf::down_msg& down) { on_down(down); });
    self_->set_exit_handler([this](const caf::exit_msg& exit) { on_exit(exit); });
    for (auto& child : children_)
      start(child);
    return {
        [this](report_atom) { return report(); },
        [this](retry_atom, std::uint64_t index) {
          auto& child = children_[index];
          if (!stopping_ && !child.running)
            start(child);
        },
        [this](deadline_atom, std::uint64_t index) {
          if (auto& child = children_[index]; child.running) {
            spdlog::warn("supervisor.kill child={} reason=\"did not end within {} s\"", child.spec.name,
                         stop_limit.count());
            self_->send_exit(child.running, caf::exit_reason::kill);
          }
        },
    };
  }

private:
  struct child {
    child_spec spec;
    /// Null while it is down.
    caf::actor running;
    restart_budget budget;
    std::chrono::steady_clock::time_point started;
    std::string state;
    std::string reason;
  };

  void start(child& what) {
    what.started = self_->clock().now();
    what.running = what.spec.start();
    what.state = "running";
    self_->monitor(what.running);
  }

  void on_down(const caf::down_msg& down) {
    auto found = std::find_if(children_.begin(), children_.end(),
                              [&](auto& child) { return child.running && child.running.address() == down.source; });
    if (found == children_.end())
      return;
    found->running = nullptr;
    if (stopping_) {
      stop_next();
      return;
    }
    if (down.reason == caf::exit_reason::normal || down.reason == caf::exit_reason::user_shutdown) {
      found->state = "ended";
      spdlog::info("supervisor.end child={}", found->spec.name);
      return;
    }
    found->reason = error_text(down.reason);
    if (down.reason == errc::fenced && !MUTANT(fenced_child_restarted)) {
      // A newer incarnation does its work: starting again would fence that one in turn.
      give_up(*found);
      return;
    }
    auto now = self_->clock().now();
    auto delay = found->budget.next_delay(now, now - found->started, random_);
    if (!delay) {
      found->reason = "ended " + std::to_string(options_.budget + 1) + " times within "
                      + std::to_string(options_.budget_window.count()) + " ms, at last: " + found->reason;
      give_up(*found);
      return;
    }
    found->state = "backing off";
    spdlog::warn("supervisor.restart child={} delay_ms={} reason=\"{}\"", found->spec.name, delay->count(),
                 found->reason);
    if (!MUTANT(child_not_restarted))
      self_->delayed_send(self_, *delay, retry_atom_v, static_cast<std::uint64_t>(found - children_.begin()));
  }

  void give_up(child& what) {
    what.state = "failed";
    spdlog::error("supervisor.give_up child={} reason=\"{}\"", what.spec.name, what.reason);
    if (on_failed_)
      on_failed_(what.spec.name, what.reason);
  }

  void on_exit(const caf::exit_msg& exit) {
    if (stopping_)
      return;
    stopping_ = true;
    exit_reason_ = exit.reason;
    stop_next();
  }

  /// Ends the last child that runs; the next one follows when it is down.
  void stop_next() {
    auto last = std::find_if(children_.rbegin(), children_.rend(), [](auto& child) { return child.running; });
    if (last == children_.rend()) {
      self_->quit(exit_reason_);
      return;
    }
    self_->send_exit(last->running, caf::exit_reason::user_shutdown);
    auto index = static_cast<std::uint64_t>(std::distance(last, children_.rend()) - 1);
    self_->delayed_send(self_, stop_limit, deadline_atom_v, index);
  }

  children_report report() const {
    children_report result;
    for (auto& child : children_)
      result.children.push_back({child.spec.name, child.state, child.reason, child.budget.restarts()});
    return result;
  }

  supervisor_impl::pointer self_;
  supervisor_options options_;
  std::function<void(const std::string&, const std::string&)> on_failed_;
  random_source random_;
  std::vector<child> children_;
  bool stopping_ = false;
  caf::error exit_reason_;
};

} // namespace

supervisor_actor spawn_supervisor(caf::actor_system& sys, platform& world, supervisor_options options,
                                  std::vector<child_spec> children,
                                  std::function<void(const std::string&, const std::string&)> on_failed) {
  return sys.spawn<supervisor_impl::stateful_impl<supervisor_state>>(&world, options, std::move(children),
                                                                     std::move(on_failed));
}

} // namespace astra
