#include "runtime/sim/session.hpp"

#include "config/spelling.hpp"
#include "config/units.hpp"
#include "messages/errc.hpp"
#include "runtime/sim/causality.hpp"
#include "runtime/sim/fault_words.hpp"
#include "runtime/sim/shrink.hpp"
#include "runtime/sim/snapshot.hpp"
#include "runtime/sim/swarm.hpp"
#include "runtime/sim/trace.hpp"
#include "runtime/sim/world.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <fstream>
#include <optional>
#include <stdexcept>
#include <utility>

namespace astra::sim {
namespace {

using json = nlohmann::json;
using steady = std::chrono::steady_clock;
using words = std::vector<std::string>;

constexpr instant second{std::chrono::seconds{1}};
/// Lines of a list, unless one asks for another number.
constexpr std::size_t lines_usual = 20;

/// What a command could not do, in words for the user.
class refusal : public std::runtime_error {
public:
  using runtime_error::runtime_error;
};

words split(std::string_view line) {
  words result;
  std::string word;
  for (auto c : line) {
    if (c == ' ' || c == '\t' || c == '\r') {
      if (!word.empty())
        result.push_back(std::exchange(word, {}));
    } else {
      word += c;
    }
  }
  if (!word.empty())
    result.push_back(std::move(word));
  return result;
}

std::optional<std::uint64_t> to_number(std::string_view text) {
  std::uint64_t value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc{} && end == text.data() + text.size() && !text.empty() ? std::optional{value}
                                                                                   : std::nullopt;
}

std::string meant(const std::string& word, const words& candidates) {
  auto near = closest(word, candidates);
  return near ? fmt::format("; did you mean '{}'?", *near) : std::string{};
}

json to_json(const scenario_fault& fault) {
  return {{"kind", fault.kind},       {"at", fault.at.count()}, {"duration", fault.duration.count()},
          {"targets", fault.targets}, {"others", fault.others}, {"amount", fault.amount},
          {"both", fault.both_ways},  {"app", fault.app}};
}

scenario_fault to_fault(const json& from) {
  scenario_fault fault;
  fault.kind = from.at("kind").get<std::string>();
  fault.at = nanoseconds{from.at("at").get<std::int64_t>()};
  fault.duration = nanoseconds{from.at("duration").get<std::int64_t>()};
  fault.targets = from.at("targets").get<words>();
  fault.others = from.at("others").get<words>();
  fault.amount = from.at("amount").get<double>();
  fault.both_ways = from.at("both").get<bool>();
  fault.app = from.at("app").get<std::string>();
  return fault;
}

// -- the run in its process -----------------------------------------------------------------------------------------

/// The session's inside: the world, what was seen of it, and the copies to go back to.
class run_host {
public:
  run_host(std::shared_ptr<const scenario> what, std::uint64_t seed, const session_options& options, int front)
    : what_(std::move(what)), seed_(seed), options_(options), front_(front), ring_(options.snapshots),
      world_(what_, seed_, watching()), drawn_(world_.faults().size()) {
    start_recording();
    snapshot();
  }

  /// Answers the front until it goes away.
  [[noreturn]] void serve() {
    std::string line;
    while (receive_message(front_, line)) {
      auto answer = execute(line);
      if (!send_answer(answer) || answer.ended)
        break;
    }
    leave();
  }

private:
  using handler = void (run_host::*)(const words& arguments);

  struct command {
    const char* name;
    const char* usage;
    const char* about;
    handler act;
  };

  friend const std::vector<session_command>& astra::sim::session_commands();

  static const std::vector<command>& commands();

  // -- words and answers -------------------------------------------------------

  session_answer execute(const std::string& line) {
    session_answer answer;
    text_.clear();
    ended_ = false;
    try {
      auto arguments = split(line);
      if (!arguments.empty() && !arguments.front().starts_with('#')) {
        auto name = arguments.front();
        arguments.erase(arguments.begin());
        dispatch(name, arguments);
      }
    } catch (const std::exception& reason) {
      answer.good = false;
      text_ += reason.what();
      text_ += '\n';
    }
    answer.text = std::exchange(text_, {});
    answer.ended = ended_;
    answer.now = world_.now();
    return answer;
  }

  bool send_answer(const session_answer& answer) {
    json bytes{{"text", answer.text}, {"good", answer.good}, {"ended", answer.ended}, {"now", answer.now.count()}};
    return send_message(front_, bytes.dump(-1, ' ', false, json::error_handler_t::replace));
  }

  [[noreturn]] void leave() {
    ring_.clear();
    // Nothing is torn down: this may be a copy.
    ::_exit(0);
  }

  void dispatch(const std::string& name, const words& arguments) {
    for (auto& one : commands())
      if (name == one.name) {
        (this->*one.act)(arguments);
        return;
      }
    // Every kind of fault is a command: "crash node-3 2s".
    auto& kinds = fault_kinds();
    if (std::find(kinds.begin(), kinds.end(), name) != kinds.end()) {
      auto all = arguments;
      all.insert(all.begin(), name);
      do_fault(all);
      return;
    }
    words known = kinds;
    for (auto& one : commands())
      known.emplace_back(one.name);
    throw refusal{fmt::format("no command '{}'{}  'help' lists them.", name, meant(name, known))};
  }

  template <class... Args>
  void say(fmt::format_string<Args...> format, Args&&... args) {
    text_ += fmt::format(format, std::forward<Args>(args)...);
    text_ += '\n';
  }

  [[noreturn]] static void wrong_use(const char* name, const std::string& why) {
    for (auto& one : commands())
      if (std::string_view{one.name} == name)
        throw refusal{fmt::format("{}: {}.  Usage: {} {}", name, why, one.name, one.usage)};
    throw refusal{why};
  }

  static void need(const char* name, const words& arguments, std::size_t least, std::size_t most) {
    if (arguments.size() < least)
      wrong_use(name, "something is missing");
    if (arguments.size() > most)
      wrong_use(name, fmt::format("'{}' is too much", arguments[most]));
  }

  static std::uint64_t number_of(const char* name, const words& arguments, std::size_t place, std::uint64_t usual,
                                 std::uint64_t most) {
    if (place >= arguments.size())
      return usual;
    auto value = to_number(arguments[place]);
    if (!value || *value == 0 || *value > most)
      wrong_use(name, fmt::format("'{}' is not a number from 1 to {}", arguments[place], most));
    return *value;
  }

  nanoseconds duration_of(const char* name, const std::string& text) const {
    auto value = parse_fine_duration(text);
    if (!value.value)
      wrong_use(name, fmt::format("'{}' {}", text, value.problem));
    return *value.value;
  }

  machine_id machine_of(const char* name, const std::string& text) const {
    if (auto found = world_.find(text))
      return *found;
    throw refusal{
        fmt::format("{}: no machine '{}'{}  'machines' lists them.", name, text, meant(text, machine_names()))};
  }

  words machine_names() const {
    words names;
    for (auto& machine : world_.machines().subspan(1))
      names.push_back(machine.name);
    return names;
  }

  // -- recording ---------------------------------------------------------------

  world_options watching() {
    world_options result;
    result.debug_log = options_.debug_log;
    result.watch = [this](const event& seen) { on_event(seen); };
    return result;
  }

  void start_recording() {
    trace about;
    about.scenario = what_->name;
    about.seed = seed_;
    recorder_.emplace(std::move(about), [this](std::uint64_t actor) { return world_.actor_name(actor); });
    add_machines();
  }

  /// Some are made during the run: those of twins.
  void add_machines() {
    for (auto all = world_.machines(); seen().machines.size() < all.size();) {
      auto& machine = all[seen().machines.size()];
      recorder_->add_machine(
          {machine.name, machine.roles.empty() ? std::string{} : to_string(machine.roles.front()), machine.zone});
    }
  }

  void on_event(const event& seen) {
    if (!recorder_)
      return;
    if (recorder_->so_far().records.size() >= options_.events_max)
      start_recording();
    add_machines();
    recorder_->record(seen);
    if (stop_when_ && stop_when_(seen))
      world_.core().stop();
  }

  const trace& seen() const { return recorder_->so_far(); }

  // -- going forward -----------------------------------------------------------

  bool over() const { return failed() || finished_; }
  bool failed() const { return !world_.result().check.empty(); }

  void note(bool more) { finished_ = !more; }

  /// Runs to a time, or until `stop` says so after an event.  Takes a snapshot at each whole second.
  /// @returns whether it was stopped
  bool advance(instant until, std::function<bool(const event&)> stop) {
    auto stopped = false;
    if (stop)
      stop_when_ = [&](const event& event_seen) {
        if (!stopped)
          stopped = stop(event_seen);
        return stopped;
      };
    until = std::min(until, world_.end());
    while (!over() && !stopped) {
      auto next = std::min(until, (world_.now() / second + 1) * second);
      note(world_.run_until(next));
      if (!over() && !stopped && world_.now() % second == instant{0})
        snapshot();
      if (world_.now() >= until)
        break;
    }
    stop_when_ = nullptr;
    return stopped;
  }

  /// Every run command ends with where one is and what mattered on the way.
  void tell_progress(std::uint64_t events_before) {
    auto& trace = seen();
    auto first = std::lower_bound(trace.records.begin(), trace.records.end(), events_before + 1,
                                  [](auto& record, std::uint64_t number) { return record.number < number; });
    std::vector<const trace_record*> notable;
    for (auto record = first; record != trace.records.end(); ++record)
      switch (record->kind) {
      case event_kind::boot:
      case event_kind::crash:
      case event_kind::stop:
      case event_kind::stall:
      case event_kind::go_on:
      case event_kind::fault:
      case event_kind::heal:
        notable.push_back(&*record);
        break;
      default:
        break;
      }
    if (notable.size() > lines_usual)
      say("  ... {} faults and starts before these", notable.size() - lines_usual);
    for (auto i = notable.size() > lines_usual ? notable.size() - lines_usual : 0; i < notable.size(); ++i)
      say("{}", to_line(trace, *notable[i]));
    say("{}: {} events, {} in all", to_text(world_.now()), world_.core().events() - events_before,
        world_.core().events());
    tell_end();
  }

  void tell_end() {
    auto result = world_.result();
    if (!result.check.empty())
      say("FAILED {} at {}, event {}: {}", result.check, to_text(result.at), result.failed_event, result.failure);
    else if (finished_)
      say("The run is over and passed.");
  }

  void refuse_when_over() {
    if (failed())
      throw refusal{fmt::format("The run has failed {}: nothing follows.  'why' explains it, 'back 1s' goes back.",
                                world_.result().check)};
    if (finished_)
      throw refusal{"The run is over.  'back 1s' goes back."};
  }

  // -- going back --------------------------------------------------------------

  void snapshot() {
    auto at = world_.now();
    auto events = world_.core().events();
    if (auto& taken = ring_.entries(); !taken.empty() && taken.back().at == at && taken.back().events == events)
      return;
    ring_.take(at, events, front_, [this](const std::string& orders, int front) { resume(orders, front); });
  }

  /// In a copy: goes on from here as the one who went back wants it.
  [[noreturn]] void resume(const std::string& orders, int front) {
    front_ = front;
    text_.clear();
    stop_when_ = nullptr;
    session_answer answer;
    auto from = world_.now();
    try {
      auto wish = json::parse(orders);
      auto target = instant{wish.at("time").get<std::int64_t>()};
      auto event = wish.at("event").get<std::uint64_t>();
      auto injected = wish.at("injected").size();
      for (auto i = injected_at_.size(); i < injected; ++i) {
        auto& entry = wish.at("injected").at(i);
        auto fault = to_fault(entry.at("fault"));
        auto number = entry.at("event").get<std::uint64_t>();
        if (event != 0 ? number >= event : fault.at > target)
          break;
        world_.inject(std::move(fault));
        injected_at_.push_back(number);
      }
      if (event != 0) {
        if (world_.core().events() < event)
          advance(instant::max(), [event](const sim::event& seen_event) { return seen_event.number >= event; });
      } else if (world_.now() < target) {
        advance(target, nullptr);
      }
      auto undone = injected - injected_at_.size();
      auto took = steady::now().time_since_epoch().count() - wish.at("began").get<std::int64_t>();
      say("Back at {}, event {}: from the snapshot of {} in {:.1f} ms{}", to_text(world_.now()), world_.core().events(),
          to_text(from), static_cast<double>(took) * 1e-6,
          undone == 0 ? "" : fmt::format("; {} of your faults not yet there", undone));
      tell_end();
    } catch (const std::exception& reason) {
      answer.good = false;
      text_ += fmt::format("back: {}\n", reason.what());
    }
    answer.text = std::exchange(text_, {});
    answer.now = world_.now();
    if (!send_answer(answer))
      leave();
    serve();
  }

  void go_back(instant target, std::uint64_t event) {
    auto injected = json::array();
    for (std::size_t i = 0; i < injected_at_.size(); ++i)
      injected.push_back({{"fault", to_json(world_.faults()[drawn_ + i])}, {"event", injected_at_[i]}});
    json orders{{"time", target.count()},
                {"event", event},
                {"injected", std::move(injected)},
                {"began", steady::now().time_since_epoch().count()}};
    auto bytes = orders.dump();
    // The first snapshot is of the beginning: going on from it is running the whole way again.
    while (auto from =
               ring_.latest([&](auto& entry) { return event != 0 ? entry.events <= event : entry.at <= target; }))
      ring_.go_back(*from, front_, bytes);
    throw refusal{"back: there is no snapshot left; the system may be short of memory."};
  }

  // -- commands ----------------------------------------------------------------

  void do_step(const words& arguments) {
    need("step", arguments, 0, 1);
    auto count = number_of("step", arguments, 0, 1, 1'000'000);
    refuse_when_over();
    auto before = world_.core().events();
    for (std::uint64_t i = 0; i < count && !over(); ++i) {
      if (ring_.entries().empty() || world_.now() / second > ring_.entries().back().at / second)
        snapshot();
      // What leaves no event, such as a timer that was cancelled, is no step to a reader.
      for (auto events = world_.core().events(); !over() && world_.core().events() == events;)
        note(world_.step());
    }
    tell_events(before, lines_usual);
    tell_end();
  }

  void tell_events(std::uint64_t after, std::size_t most) {
    auto& trace = seen();
    auto first = std::lower_bound(trace.records.begin(), trace.records.end(), after + 1,
                                  [](auto& record, std::uint64_t number) { return record.number < number; });
    auto count = static_cast<std::size_t>(trace.records.end() - first);
    if (count > most)
      say("  ... {} events before these", count - most);
    for (auto i = trace.records.size() - std::min(count, most); i < trace.records.size(); ++i)
      say("{}", to_line(trace, trace.records[i]));
  }

  void do_next(const words& arguments) {
    need("next", arguments, 1, 1);
    auto where = machine_of("next", arguments[0]);
    refuse_when_over();
    auto before = world_.core().events();
    std::uint64_t number = 0;
    auto found = advance(instant::max(), [&](const event& now_seen) {
      number = now_seen.number;
      return now_seen.machine == where && now_seen.kind == event_kind::step;
    });
    if (found) {
      if (auto record = seen().find(number))
        say("{}", to_line(seen(), *record));
    } else {
      say("{} does nothing more.", arguments[0]);
      tell_progress(before);
    }
  }

  void do_run(const words& arguments) {
    need("run", arguments, 0, 1);
    refuse_when_over();
    auto before = world_.core().events();
    auto left = world_.end() - world_.now();
    auto length = arguments.empty() ? left : std::min(left, duration_of("run", arguments[0]));
    advance(world_.now() + length, nullptr);
    tell_progress(before);
  }

  void do_until(const words& arguments) {
    if (arguments.empty())
      wrong_use("until", "something is missing");
    refuse_when_over();
    auto before = world_.core().events();
    if (arguments == words{"fail"}) {
      advance(instant::max(), nullptr);
      tell_progress(before);
      return;
    }
    if (arguments.size() == 1 && !arguments[0].empty() && arguments[0][0] >= '0' && arguments[0][0] <= '9')
      if (auto at = parse_fine_duration(arguments[0]); at.value) {
        if (*at.value < world_.now())
          throw refusal{fmt::format("until: {} is over; 'back' goes back.", arguments[0])};
        advance(*at.value, nullptr);
        tell_progress(before);
        return;
      }
    std::string wanted;
    for (auto& word : arguments)
      wanted += (wanted.empty() ? "" : " ") + word;
    std::uint64_t number = 0;
    auto found = advance(instant::max(), [&](const event& now_seen) {
      number = now_seen.number;
      return matches(seen().records.back(), wanted);
    });
    if (found) {
      if (auto record = seen().find(number))
        say("{}", to_line(seen(), *record));
    } else {
      say("No event with '{}' came.", wanted);
      tell_progress(before);
    }
  }

  bool matches(const trace_record& record, const std::string& wanted) const {
    // The cheap parts first: most events do not match.
    auto& trace = seen();
    return std::string_view{to_string(record.kind)}.find(wanted) != std::string_view::npos
           || trace.text(record.text).find(wanted) != std::string_view::npos
           || to_line(trace, record).find(wanted) != std::string::npos;
  }

  void do_back(const words& arguments) {
    need("back", arguments, 1, 2);
    auto count = to_number(arguments[0]);
    if (arguments.size() == 2 && (!count || (arguments[1] != "events" && arguments[1] != "event")))
      wrong_use("back", fmt::format("'{}' is not understood", arguments[1]));
    if (count) {
      auto events = world_.core().events();
      if (*count >= events)
        go_back(instant{0}, 0);
      go_back(instant{0}, events - *count);
    }
    auto length = duration_of("back", arguments[0]);
    go_back(std::max(instant{0}, world_.now() - length), 0);
  }

  void do_branch(const words& arguments) {
    need("branch", arguments, 0, 1);
    branch_options how;
    how.branches = number_of("branch", arguments, 0, how.branches, 100'000);
    how.jobs = options_.jobs;
    refuse_when_over();
    auto began = steady::now();
    auto report = branch(world_, how);
    say("{} of {} futures fail ({:.2f}), in {:.2f} s", report.failed, report.branches,
        static_cast<double>(report.failed) / static_cast<double>(report.branches),
        std::chrono::duration<double>(steady::now() - began).count());
    for (auto& [check, times] : report.by_check)
      say("  {:>6} {}", times, check);
    if (report.failed > 0)
      say("The earliest, at {}: {}: {}", to_text(report.first.at), report.first.check, report.first.failure);
  }

  void do_timeline(const words& arguments) {
    need("timeline", arguments, 0, 2);
    auto points = number_of("timeline", arguments, 0, 20, 1000);
    branch_options how;
    how.branches = number_of("timeline", arguments, 1, 20, 10'000);
    how.jobs = options_.jobs;
    auto what = std::make_shared<const scenario>(saved());
    text_ += to_text(timeline(what, seed_, static_cast<std::uint32_t>(points), how));
  }

  void do_fault(const words& arguments) {
    if (arguments.empty())
      wrong_use("fault", "something is missing");
    refuse_when_over();
    auto at = world_.now() + nanoseconds{1};
    if (at >= what_->horizon)
      throw refusal{fmt::format("The quiet phase has begun at {}: no fault happens in it.  'back' goes back.",
                                to_text(what_->horizon))};
    auto read = read_fault(arguments, *what_, at);
    if (!read)
      throw refusal{error_text(read.error())};
    auto& fault = *read;
    injected_at_.push_back(world_.core().events());
    world_.inject(fault);
    say("{} begins with the next event.", fault_text(fault));
  }

  void do_peek(const words& arguments) {
    need("peek", arguments, 1, 1);
    auto where = machine_of("peek", arguments[0]);
    auto& core = world_.core();
    tell_machine(where);
    std::string peers;
    for (auto peer : core.peers(where))
      peers += (peers.empty() ? "" : ", ") + core.machine_name(peer);
    say("  connections: {}", peers.empty() ? "none" : peers);
    for (auto& process : world_.processes())
      if (process.machine == where)
        say("  process {:016x}: {}", process.key, process.command);
    for (auto& actor : core.actors(where)) {
      auto waiting = engine::mailbox_size(actor);
      auto name = core.actor_name(actor->id());
      say("  {}{}", name.substr(name.find('/') + 1), waiting == 0 ? "" : fmt::format(": {} waiting", waiting));
    }
  }

  void tell_machine(machine_id where) {
    auto& machine = world_.machines()[static_cast<std::size_t>(where)];
    std::string roles;
    for (auto role : machine.roles)
      roles += (roles.empty() ? "" : ",") + to_string(role);
    say("{:<16} {:<8} since {:>15}  boot {:<3} {:<24} {:<22} {}", machine.name,
        !machine.up       ? "down"
        : machine.stalled ? "stalled"
                          : "up",
        to_text(machine.since), machine.boot, roles, machine.address, machine.zone);
  }

  void do_machines(const words& arguments) {
    need("machines", arguments, 0, 1);
    auto named = machines_of(*what_);
    auto shown = std::size_t{0};
    for (std::size_t i = 1; i < world_.machines().size(); ++i) {
      if (!arguments.empty()) {
        auto hit = resolve_target(arguments[0], named);
        if (!std::binary_search(hit.begin(), hit.end(), i - 1))
          continue;
      }
      tell_machine(machine_id{static_cast<std::uint32_t>(i)});
      ++shown;
    }
    if (shown == 0)
      throw refusal{fmt::format("machines: no machine '{}'{}", arguments[0], meant(arguments[0], machine_names()))};
  }

  template <class Wanted>
  void tell_last(std::size_t most, Wanted wanted) {
    std::vector<const trace_record*> found;
    auto& records = seen().records;
    for (auto i = records.size(); i-- > 0 && found.size() < most;)
      if (wanted(records[i]))
        found.push_back(&records[i]);
    for (auto i = found.size(); i-- > 0;)
      say("{}", to_line(seen(), *found[i]));
    if (found.empty())
      say("None so far.");
  }

  void do_log(const words& arguments) {
    need("log", arguments, 0, 1);
    tell_last(number_of("log", arguments, 0, lines_usual, 100'000),
              [](const trace_record& record) { return record.kind == event_kind::log; });
  }

  void do_events(const words& arguments) {
    auto rest = arguments;
    std::size_t most = lines_usual;
    if (!rest.empty() && to_number(rest[0])) {
      most = number_of("events", rest, 0, lines_usual, 100'000);
      rest.erase(rest.begin());
    }
    std::string wanted;
    for (auto& word : rest)
      wanted += (wanted.empty() ? "" : " ") + word;
    tell_last(most, [&](const trace_record& record) { return wanted.empty() || matches(record, wanted); });
  }

  void do_why(const words& arguments) {
    need("why", arguments, 0, 1);
    std::uint64_t number = failed() ? world_.result().failed_event : world_.core().events();
    if (!arguments.empty()) {
      auto text = arguments[0].starts_with('#') ? arguments[0].substr(1) : arguments[0];
      auto value = to_number(text);
      if (!value)
        wrong_use("why", fmt::format("'{}' is not the number of an event", arguments[0]));
      number = *value;
    }
    auto& records = seen().records;
    if (records.empty())
      throw refusal{"why: nothing has happened yet.  'run 1s' runs a second."};
    auto lines = explain(seen(), number);
    if (lines.empty())
      throw refusal{
          fmt::format("why: no event {}; known are {} to {}", number, records.front().number, records.back().number)};
    if (failed() && arguments.empty())
      say("{}: {}", world_.result().check, world_.result().failure);
    for (auto& line : lines)
      say("{}", line);
  }

  scenario saved() const {
    auto result = make_explicit(*what_, seed_);
    result.faults = world_.faults();
    std::stable_sort(result.faults.begin(), result.faults.end(), [](auto& a, auto& b) { return a.at < b.at; });
    return result;
  }

  void do_save(const words& arguments) {
    need("save", arguments, 1, 1);
    auto what = saved();
    std::ofstream file{arguments[0], std::ios::binary | std::ios::trunc};
    file << write_scenario(what);
    file.close();
    if (!file)
      throw refusal{fmt::format("save: {} cannot be written", arguments[0])};
    say("{} has the run with its {} faults; seed {} repeats it.", arguments[0], what.faults.size(), seed_);
  }

  void do_seed(const words& arguments) {
    need("seed", arguments, 0, 0);
    say("{}", seed_);
  }

  void do_time(const words& arguments) {
    need("time", arguments, 0, 0);
    auto result = world_.result();
    say("{} of {}, event {}, hash {:016x}, {} snapshots", to_text(world_.now()), to_text(world_.end()), result.events,
        result.trace_hash, ring_.entries().size());
    tell_end();
  }

  void do_help(const words& arguments) {
    need("help", arguments, 0, 1);
    if (arguments.empty()) {
      for (auto& one : commands()) {
        std::string_view about{one.about};
        say("  {:<36} {}", fmt::format("{} {}", one.name, one.usage), about.substr(0, about.find(".  ")));
      }
      say("Every kind of fault is a command too: crash node-1 2s, cut node-1 resource-1 8s, drift node-2 200 5s.");
      return;
    }
    words known;
    for (auto& one : commands()) {
      known.emplace_back(one.name);
      if (arguments[0] == one.name) {
        say("{} {}", one.name, one.usage);
        say("{}", one.about);
        return;
      }
    }
    throw refusal{fmt::format("help: no command '{}'{}", arguments[0], meant(arguments[0], known))};
  }

  void do_quit(const words&) { ended_ = true; }

  std::shared_ptr<const scenario> what_;
  std::uint64_t seed_;
  session_options options_;
  int front_;
  snapshot_ring ring_;
  std::optional<trace_recorder> recorder_;
  std::function<bool(const event&)> stop_when_;
  world world_;
  /// Faults that the scenario has of its own, and for each that was added the event after which it was.
  std::size_t drawn_;
  std::vector<std::uint64_t> injected_at_;
  std::string text_;
  bool finished_ = false;
  bool ended_ = false;
};

const std::vector<run_host::command>& run_host::commands() {
  static const std::vector<command> all{
      {"step", "[n]", "Does the next n (1) steps: an actor handles a message, a message arrives, a timer fires.",
       &run_host::do_step},
      {"next", "<machine>", "Runs until an actor of that machine handles a message.", &run_host::do_next},
      {"run", "[duration]", "Runs that much virtual time, or to the end.  Ends at the first failure.",
       &run_host::do_run},
      {"until", "<text>|fail|<time>",
       "Runs until an event has that text in its line, an invariant fails, or a time is reached.", &run_host::do_until},
      {"back", "<duration>|<n events>",
       "Goes back.  The nearest snapshot before that point runs forward to it; faults you injected before that point "
       "happen again, later ones are undone.",
       &run_host::do_back},
      {"branch", "[n]", "Tells how likely a failure is from here: n (20) copies of the run go on with other draws.",
       &run_host::do_branch},
      {"timeline", "[points] [branches]",
       "Tells when the failure became likely.  At that many (20) moments of the whole run, copies (20) go on with "
       "other "
       "draws.",
       &run_host::do_timeline},
      {"fault", "<kind> <targets> [-> <others>] [for D] [amount X]",
       "Lets a fault happen now.  Targets are machines, groups (node-*), role:node, zone:a or *; <-> is both ways; "
       "scale, update and delete take the name of an app.",
       &run_host::do_fault},
      {"peek", "<machine>", "Shows a machine: its state, connections, processes, and actors with their mailboxes.",
       &run_host::do_peek},
      {"machines", "[targets]", "Lists the machines.", &run_host::do_machines},
      {"log", "[n]", "Shows the last n (20) lines that actors logged.", &run_host::do_log},
      {"events", "[n] [text]", "Shows the last n (20) events, of those whose line has that text.",
       &run_host::do_events},
      {"why", "[event]", "Explains the failure, the last event, or the one of that number: what caused it, backwards.",
       &run_host::do_why},
      {"save", "<file>", "Saves the run as a scenario with all its faults.", &run_host::do_save},
      {"seed", "", "Shows the seed.", &run_host::do_seed},
      {"time", "", "Shows the time, the number of the last event, and the hash of all so far.", &run_host::do_time},
      {"help", "[command]", "Explains a command, or lists them.", &run_host::do_help},
      {"quit", "", "Ends the session.", &run_host::do_quit},
  };
  return all;
}

/// The parent of the first run, which never ends before the session: copies whose makers have left are its children.
[[noreturn]] void keep(int life) {
  for (;;) {
    pollfd end{life, POLLIN, 0};
    if (::poll(&end, 1, 1000) > 0)
      ::kill(0, SIGKILL); // the whole group, which is this session's alone
    while (::waitpid(-1, nullptr, WNOHANG) > 0)
      ;
  }
}

} // namespace

const std::vector<session_command>& session_commands() {
  static const auto all = [] {
    std::vector<session_command> result;
    for (auto& one : run_host::commands())
      result.push_back({one.name, one.usage, one.about});
    return result;
  }();
  return all;
}

session::session(std::shared_ptr<const scenario> what, std::uint64_t seed, const session_options& options) {
  int talk[2];
  int life[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, talk) != 0)
    throw std::runtime_error{"no socket for the session"};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, life) != 0) {
    ::close(talk[0]);
    ::close(talk[1]);
    throw std::runtime_error{"no socket for the session"};
  }
  keeper_ = ::fork();
  if (keeper_ == 0) {
    ::close(talk[0]);
    ::close(life[0]);
    ::setpgid(0, 0);
    reset_signals();
    ::prctl(PR_SET_CHILD_SUBREAPER, 1);
    if (::fork() == 0) {
      ::close(life[1]);
      try {
        run_host host{std::move(what), seed, options, talk[1]};
        host.serve();
      } catch (const std::exception& reason) {
        ::dprintf(STDERR_FILENO, "astra sim: %s\n", reason.what());
      }
      ::_exit(1);
    }
    ::close(talk[1]);
    keep(life[1]);
  }
  ::close(talk[1]);
  ::close(life[1]);
  front_ = talk[0];
  life_ = life[0];
  if (keeper_ < 0) {
    ::close(front_);
    ::close(life_);
    throw std::runtime_error{"no process for the session"};
  }
}

session::~session() {
  ::close(front_);
  // A word, not only the end: another child of this process may hold a copy of the socket.
  [[maybe_unused]] auto n = ::send(life_, "q", 1, MSG_NOSIGNAL);
  ::close(life_);
  while (::waitpid(keeper_, nullptr, 0) < 0 && errno == EINTR)
    ;
}

session_answer session::execute(std::string_view line) {
  session_answer answer;
  answer.now = now_;
  std::string bytes;
  if (!send_message(front_, line) || !receive_message(front_, bytes)) {
    answer.good = false;
    answer.ended = true;
    answer.text = "The run's process has ended: an actor, a check or the simulator itself crashed.\n";
    return answer;
  }
  auto from = json::parse(bytes, nullptr, false);
  answer.text = from.value("text", std::string{});
  answer.good = from.value("good", false);
  answer.ended = from.value("ended", false);
  answer.now = now_ = instant{from.value("now", std::int64_t{0})};
  return answer;
}

} // namespace astra::sim
