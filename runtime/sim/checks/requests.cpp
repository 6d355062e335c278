#include "messages/wire/app.pb.h"
#include "runtime/sim/checks/history.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>

// Requests as clients see them.

namespace astra::sim {
namespace {

struct request_text {
  std::string_view id;
  std::string_view app;
  std::string_view gateway;
  std::chrono::milliseconds deadline{0};
};

/// "<id> app=<app> gateway=<machine> deadline_ms=<n>"
request_text read_request(std::string_view text) {
  request_text result;
  result.id = first_word(text);
  result.app = field(text, "app=");
  result.gateway = field(text, "gateway=");
  result.deadline =
      std::chrono::milliseconds{static_cast<std::int64_t>(number(field(text, "deadline_ms=")).value_or(0))};
  return result;
}

struct answer_text {
  std::string_view id;
  std::uint64_t status = 0;
  bool body_ok = false;
  /// The client did not wait for it.
  bool left = false;
};

/// "<id> status=<http status> body_ok=<0|1> node=<name>"; status 0: the client got none.
answer_text read_answer(std::string_view text) {
  return {first_word(text), number(field(text, "status=")).value_or(0), field(text, "body_ok=") == "1",
          field(text, "left=") == "1"};
}

/// Of a gateway that slept, the time it slept is added; one that died owes nothing any more.
class one_answer : public named_check<one_answer> {
public:
  static constexpr const char* label = "one-answer";
  static constexpr const char* about =
      "Every request gets exactly one answer, within its deadline and the bound, and the right body when it is 200.";
  static constexpr nanoseconds default_bound{std::chrono::seconds{2}};

  using named_check::named_check;

  topics wants() const override {
    return disturbances::wants()
        .add(event_kind::request)
        .add(event_kind::answer)
        .add(event_kind::send, {message_kind::subscribe, message_kind::heartbeat});
  }

  void on_event(const event& what, const world_facts& facts) override {
    disturbed_.observe(what);
    if (what.kind == event_kind::request)
      on_request(what, facts);
    else if (what.kind == event_kind::answer)
      on_answer(what);
    if (!open_.empty() && open_.front().due < what.at)
      look(what.at, facts);
  }

  void at_quiet(const final_state&, const world_facts& facts) override { look(facts.now(), facts); }

private:
  struct request_record {
    instant at{0};
    machine_id gateway{};
    std::uint32_t answers = 0;
  };

  struct open_request {
    instant due{0};
    /// Without the time that its gateway slept.
    instant first_due{0};
    std::uint64_t id = 0;
    /// For a report.
    std::string name;

    bool operator<(const open_request& other) const { return std::tie(other.due, other.id) < std::tie(due, id); }
  };

  void on_request(const event& what, const world_facts& facts) {
    auto text = read_request(what.text);
    auto id = name_hash(text.id);
    auto& known = requests_[id];
    if (known.gateway != machine_id{})
      return fail(fmt::format("two requests have the id {}", text.id));
    known.at = what.at;
    known.gateway = facts.find(text.gateway).value_or(what.machine);
    auto due = what.at + text.deadline + bound();
    open_.push_back({due, due, id, std::string{text.id}});
    std::push_heap(open_.begin(), open_.end());
  }

  void on_answer(const event& what) {
    auto text = read_answer(what.text);
    auto known = requests_.find(name_hash(text.id));
    if (known == nullptr)
      return fail(fmt::format("an answer to {}, which nobody asked", text.id));
    if (++known->answers > 1)
      return fail(fmt::format("request {} got a second answer: {}", text.id, what.text));
    if (text.status == 200 && !text.body_ok)
      fail(fmt::format("request {} was answered with the wrong body: {}", text.id, what.text));
    if (text.status == 0 && !text.left && disturbed_.last_touched(known->gateway) < known->at)
      fail(fmt::format("request {} got no answer although its gateway lived on", text.id));
  }

  void look(instant now, const world_facts& facts) {
    while (!open_.empty() && open_.front().due < now) {
      std::pop_heap(open_.begin(), open_.end());
      auto overdue = std::move(open_.back());
      open_.pop_back();
      auto& request = *requests_.find(overdue.id);
      if (request.answers > 0 || !facts_of(request.gateway, facts).up)
        continue;
      if (facts_of(request.gateway, facts).since > request.at)
        continue; // the gateway of this request was another process
      // The time that the gateway slept does not count.
      auto slept = disturbed_.frozen_since(request.gateway, request.at, now);
      auto stalled = facts_of(request.gateway, facts).stalled;
      auto due = overdue.first_due + slept + (stalled ? bound() : nanoseconds{0});
      if (slept > nanoseconds{0} && due >= now) {
        overdue.due = due;
        open_.push_back(std::move(overdue));
        std::push_heap(open_.begin(), open_.end());
        continue;
      }
      fail(fmt::format("request {} of {} has no answer at {}", overdue.name, seconds_text(request.at),
                       seconds_text(now)));
    }
  }

  disturbances disturbed_;
  id_table<request_record> requests_;
  /// A heap, the first due at the front.
  std::vector<open_request> open_;
};

/// When all faults are healed and everything had time to find itself again, requests succeed.
class quiet_answers : public named_check<quiet_answers> {
public:
  static constexpr const char* label = "quiet-answers";
  static constexpr const char* about = "At the end of the quiet phase every request is answered with success.";
  /// How long before the end it begins.
  static constexpr nanoseconds default_bound{std::chrono::seconds{5}};

  using named_check::named_check;

  topics wants() const override {
    return topics{}
        .add(event_kind::request)
        .add(event_kind::answer)
        .add(event_kind::step, {message_kind::apply_app, message_kind::delete_app});
  }

  void on_event(const event& what, const world_facts& facts) override {
    if (what.kind == event_kind::step) {
      changed_ = what.at;
    } else if (what.kind == event_kind::request) {
      auto& script = facts.what();
      if (what.at < script.horizon + script.quiet - bound())
        return;
      auto text = read_request(what.text);
      if (counts(text, script))
        late_[name_hash(text.id)] = std::string{text.app};
    } else if (what.kind == event_kind::answer) {
      auto text = read_answer(what.text);
      auto app = late_.find(name_hash(text.id));
      if (app != nullptr && text.status != 200 && !text.left)
        failed_.try_emplace(*app, what.text);
    }
  }

  void at_quiet(const final_state& state, const world_facts& facts) override {
    // An operator who changes apps to the last leaves them no time.
    if (facts.now() - changed_ < 2 * bound() && changed_ >= instant{0})
      return;
    for (auto& [app, what] : failed_) {
      for (auto& [machine, details] : state.apps) {
        auto detail = details.find(app);
        if (detail == details.end() || !detail->second.found())
          continue;
        auto& record = detail->second.record();
        if (!record.deleting() && record.ready() > 0 && record.ready() >= record.spec().replicas())
          fail(fmt::format("all is quiet and all {} replicas of app {} are ready, and still: request {}",
                           record.ready(), app, what));
      }
    }
  }

private:
  /// Requests that have every reason to succeed: of an app that does not fail by itself, and with enough time.
  static bool counts(const request_text& text, const scenario& script) {
    auto app = std::find_if(script.apps.begin(), script.apps.end(),
                            [&](auto& entry) { return entry.spec && entry.spec->name() == text.app; });
    if (app == script.apps.end())
      return false;
    // Clients that leave before their answer get one that is no success.
    if (std::any_of(script.load.begin(), script.load.end(),
                    [&](auto& load) { return load.app == text.app && load.impatient > 0.0; }))
      return false;
    auto& behaviour = app->behaviour;
    return behaviour.crash == 0.0 && behaviour.hang == 0.0 && behaviour.outgrow == 0.0
           && text.deadline >= 4 * behaviour.service_max;
  }

  instant changed_{-1};
  id_table<std::string> late_;
  /// By app: its first request that failed.
  std::map<std::string, std::string> failed_;
};

} // namespace

void add_request_checks(std::vector<check_kind>& all) {
  all.push_back(kind_of_check<one_answer>());
  all.push_back(kind_of_check<quiet_answers>());
}

} // namespace astra::sim
