#include "runtime/sim/checks/history.hpp"

#include <caf/error.hpp>
#include <caf/sec.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <array>

// What should never be heard.

namespace astra::sim {
namespace {

/// Log events that tell of broken promises.  Some may follow from a freeze: timers and messages of that time then come
/// at once, in any order.
struct never {
  std::string_view event;
  /// When not empty: only with this text.
  std::string_view with;
  /// May follow from a freeze of the machine.
  bool after_freeze = false;
  /// Is right for one of two processes of one name.
  bool for_twins = false;
};

constexpr std::array nevers{
    never{"node.replica_stuck", "", true},
    never{"node.overdue", "", true},
    // Only somebody with a twin has to give way.
    never{"node.fenced", "", false, true},
    never{"apps.fenced", "", false, true},
    never{"supervisor.restart", "", false},
    never{"supervisor.give_up", "", false, true},
    never{"supervisor.kill", "", true},
    never{"apps.scheduler_down", "died", false},
    never{"gateway.router_died", "", false},
    never{"resource.peer", "names must differ", false},
    never{"launcher.lost", "", false},
    never{"launcher.restart_failed", "", false},
    never{"apps.unreadable", "", false},
    never{"process.stop_timeout", "", true},
    never{"process.role_failed", "", false},
};

class clean_log : public named_check<clean_log> {
public:
  static constexpr const char* label = "clean-log";
  static constexpr const char* about =
      "No actor dies of an error, gets a message that it does not know, or logs what must never happen.";
  /// After a freeze, for what may follow from one.
  static constexpr nanoseconds default_bound{std::chrono::seconds{10}};

  using named_check::named_check;

  topics wants() const override {
    return disturbances::wants().add(event_kind::log).add(event_kind::step, {message_kind::error});
  }

  void on_event(const event& what, const world_facts& facts) override {
    disturbed_.observe(what);
    if (what.kind == event_kind::log)
      on_log(what, facts);
    else if (auto reason = content_as<caf::error>(what))
      on_error(*reason, what, facts);
  }

private:
  void on_log(const event& what, const world_facts& facts) {
    auto word = first_word(what.text);
    auto found = std::find_if(nevers.begin(), nevers.end(), [&](auto& entry) { return entry.event == word; });
    if (found != nevers.end()) {
      if (!found->with.empty() && what.text.find(found->with) == std::string_view::npos)
        return;
      if (found->after_freeze && disturbed_.frozen_since(what.machine, what.at - bound(), what.at) > nanoseconds{0})
        return;
      if (found->for_twins && facts_of(what.machine, facts).twin != machine_id{})
        return;
      fail(fmt::format("{} logged: {}", facts_of(what.machine, facts).name, what.text));
    } else if (word.find('.') == std::string_view::npos || word.starts_with("caf")) {
      // Not one of ours.
      for (auto text : {"unexpected message", "unexpected response", "unhandled exception", "unhandled error"})
        if (what.text.find(text) != std::string_view::npos)
          fail(fmt::format("{} logged: {}", facts_of(what.machine, facts).name, what.text));
    }
  }

  void on_error(const caf::error& reason, const event& what, const world_facts& facts) {
    for (auto code : {caf::sec::unexpected_message, caf::sec::unexpected_response, caf::sec::runtime_error})
      if (reason == code)
        fail(fmt::format("{} was answered with {}", facts.actor_name(what.actor), to_string(reason)));
  }

  disturbances disturbed_;
};

class silent : public named_check<silent> {
public:
  static constexpr const char* label = "silent";
  static constexpr const char* about = "At quiet everybody who is up answers.";
  static constexpr nanoseconds default_bound{0};

  using named_check::named_check;

  topics wants() const override { return {}; }

  void at_quiet(const final_state& state, const world_facts&) override {
    if (!state.silent.empty())
      fail(fmt::format("{} does not answer, nor do {} others", state.silent.front(), state.silent.size() - 1));
  }
};

} // namespace

void add_log_checks(std::vector<check_kind>& all) {
  all.push_back(kind_of_check<clean_log>());
  all.push_back(kind_of_check<silent>());
}

} // namespace astra::sim
