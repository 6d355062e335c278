#include "runtime/sim/process_model.hpp"

#include "actors/node/replica_runner.hpp"
#include "actors/random.hpp"
#include "messages/errc.hpp"
#include "messages/wire/app.pb.h"
#include "runtime/process/spawn_child.hpp"
#include "runtime/worker/actor_library.hpp"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <charconv>
#include <csignal>
#include <string_view>

namespace astra::sim {
namespace {

using duration = process_model::duration;
using std::chrono::milliseconds;

constexpr const char* program_directory = "/usr/bin";
constexpr const char* default_path = "/usr/local/bin:/usr/bin:/bin";
constexpr std::uint64_t default_response_limit = std::uint64_t{64} << 20;
constexpr std::int32_t first_pid = 1000;
/// Strangers come and go at this pace, and a slower swell of this many of it lies below.
constexpr duration swing_time{std::chrono::seconds{1}};
constexpr std::int64_t swell = 10;
constexpr double swell_share = 0.6;
/// Draws of the same counter that mean something else.
constexpr std::uint64_t second_draw = std::uint64_t{1} << 63;

__extension__ using wide = __int128;

std::string join(const std::vector<std::string>& words) {
  std::string result;
  for (auto& word : words)
    result += (result.empty() ? "" : " ") + word;
  return result;
}

std::string_view first_word(std::string_view command) {
  return command.substr(0, command.find(' '));
}

std::string replace_all(std::string text, std::string_view from, std::string_view to) {
  for (auto at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size()))
    text.replace(at, from.size(), to);
  return text;
}

std::uint16_t parse_port(const std::string& text) {
  std::uint16_t port = 0;
  auto end = text.data() + text.size();
  auto parsed = std::from_chars(text.data(), end, port);
  return parsed.ec == std::errc{} && parsed.ptr == end ? port : 0;
}

bool is_token_line(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](unsigned char c) { return c > 0x20 && c != 0x7f; });
}

bool is_loopback(const std::string& host) {
  return host == "localhost" || host == "::1" || host.starts_with("127.");
}

std::uint64_t to_milli(double cores) {
  return cores > 0.0 ? static_cast<std::uint64_t>(cores * 1000.0 + 0.5) : 0;
}

duration part_of(duration whole, double share) {
  return std::max(duration{1}, duration{static_cast<std::int64_t>(static_cast<double>(whole.count()) * share)});
}

/// sim_platform::program().
constexpr const char* worker_program = "astra";

void load_actor(const pb::ActorApp& app, sim_app& into) {
  for (auto& argument : app.args())
    into.arguments[argument.substr(0, argument.find('='))] = argument.substr(argument.find('=') + 1);
  auto library = actor_library::load(app.library());
  auto type = library ? library->find(app.type()) : caf::expected<const astra_actor_type*>{library.error()};
  if (type)
    into.actor = *type;
  else
    into.actor_problem = error_text(type.error());
}

} // namespace

std::optional<sim_app> make_sim_app(const scenario_app& app) {
  auto& spec = *app.spec;
  auto is_worker = spec.has_actor() && !spec.actor().library().empty();
  if (!spec.has_server() && !spec.has_per_request() && !is_worker)
    return std::nullopt;
  sim_app result;
  result.behaviour = app.behaviour;
  result.serves = spec.has_server() || is_worker;
  if (is_worker)
    load_actor(spec.actor(), result);
  if (spec.has_federation() && result.serves)
    return std::nullopt;
  auto worker = is_worker ? worker_server(worker_program, spec.actor()) : pb::ProcessServer{};
  auto& words = is_worker           ? worker.command()
                : spec.has_server() ? spec.server().command()
                                    : spec.per_request().command();
  result.command = join({words.begin(), words.end()});
  auto slots = std::max(1U, spec.concurrency());
  if (auto milli = spec.per_replica().cpu_milli())
    result.work_milli = std::max(1U, milli / slots);
  if (auto memory = spec.per_replica().memory_bytes())
    result.memory_bytes = (result.serves ? memory : memory / slots) / 2;
  return result;
}

std::vector<sim_app> make_sim_members(const scenario_app& app) {
  auto& spec = *app.spec;
  std::vector<sim_app> result;
  if (!spec.has_federation())
    return result;
  for (auto role : {&spec.federation().head(), &spec.federation().worker()}) {
    auto& made = result.emplace_back();
    made.behaviour = app.behaviour;
    made.serves = true;
    made.command = join({role->command().begin(), role->command().end()});
    if (auto milli = role->resources().cpu_milli())
      made.work_milli = milli;
    if (auto memory = role->resources().memory_bytes())
      made.memory_bytes = memory / 2;
  }
  return result;
}

process_model::process_model(const draws& chance, std::uint32_t machine, std::uint32_t boot,
                             process_model_options options, time_point now)
  : chance_(chance), machine_(machine), boot_(boot), options_(std::move(options)), now_(now), anchor_(now),
    integrated_(now) {
  assert(options_.cpu_milli > 0);
  update_strangers();
  update_rate();
}

// -- as the launcher sees it ----------------------------------------------------------------------------------------

caf::expected<void> process_model::launch(const launch_process& what, time_point now) {
  advance(now);
  if (launcher_back_ && now_ < *launcher_back_)
    return caf::make_error(errc::spawn_failed, "the process launcher is being restarted; try again in a second");
  if (numbers_.count(what.key) != 0)
    return caf::make_error(errc::conflict, "a process of this key is running");
  process_fate::limits limits{std::max(duration{0}, duration{what.time_limit}), what.memory_limit_bytes,
                              what.output_limit_bytes};
  process fresh{what, limits, now_};
  fresh.number = ++last_process_;
  fresh.command = join(what.command);
  fresh.exec_at = now_ + exec_time;
  fresh.input = what.input;
  fresh.output_is_log = what.output_is_log;
  fresh.has_ready_line = !what.ready_line.empty();
  auto path = resolve(what.command.empty() ? std::string{} : what.command.front(), what.environment);
  if (path) {
    auto port = parse_port(find_in_environment(what.environment, "PORT"));
    fresh.app = find_app(what, port);
    if (fresh.app->serves)
      fresh.port = port;
  } else {
    fresh.spawn_error = error_text(path.error());
  }
  numbers_.emplace(what.key, fresh.number);
  processes_.emplace(fresh.number, std::move(fresh));
  return {};
}

void process_model::kill(const kill_process& what, time_point now) {
  advance(now);
  if (auto* target = find(what.key))
    apply(*target, target->fate.on_kill(what.grace, what.reason, now_));
}

caf::expected<std::string> process_model::resolve(const std::string& name,
                                                  const std::vector<std::string>& environment) const {
  if (name.empty())
    return caf::make_error(errc::unknown_name, "the command is empty");
  if (name.find('/') != std::string::npos) {
    if (has_command(name))
      return name;
    return caf::make_error(errc::unknown_name, name + ": No such file or directory");
  }
  auto path = find_in_environment(environment, "PATH");
  if (path.empty())
    path = default_path;
  if (has_command(name) && (":" + path + ":").find(fmt::format(":{}:", program_directory)) != std::string::npos)
    return fmt::format("{}/{}", program_directory, name);
  return caf::make_error(errc::unknown_name, name + ": command not found in PATH (" + path + ")");
}

bool process_model::has_command(const std::string& name) const {
  return options_.apps && std::any_of(options_.apps->begin(), options_.apps->end(), [&](auto& app) {
           return first_word(app.command) == name;
         });
}

/// @pre the first word is the name of a command.
const sim_app* process_model::find_app(const launch_process& what, std::uint16_t port) const {
  auto words = what.command;
  auto given = join(words);
  if (port != 0)
    for (auto& word : words)
      word = replace_all(std::move(word), std::to_string(port), "{port}");
  auto generic = join(words);
  const sim_app* same_program = nullptr;
  for (auto& app : *options_.apps) {
    if (app.command == given || app.command == generic)
      return &app;
    if (same_program == nullptr && first_word(app.command) == what.command.front())
      same_program = &app;
  }
  return same_program;
}

// -- as the HTTP client sees it -------------------------------------------------------------------------------------

void process_model::call(std::uint64_t ticket, const http_call& what, time_point now) {
  assert(ticket != 0 && calls_.count(ticket) == 0);
  advance(now);
  auto limit = std::chrono::duration_cast<milliseconds>(what.timeout);
  if (limit <= milliseconds{0})
    return refuse(ticket, what, errc::timed_out, "no time was left for it");
  if (!is_token_line(what.method) || !is_token_line(what.target) || what.host.empty())
    return refuse(ticket, what, errc::io_failed, "method, target or host is not valid");
  auto server = std::find_if(processes_.begin(), processes_.end(),
                             [&](auto& entry) { return entry.second.listening && entry.second.port == what.port; });
  if (!is_loopback(what.host) || server == processes_.end())
    return refuse(ticket, what, errc::unreachable, "Connection refused");
  auto& target = server->second;
  job work;
  work.ticket = ticket;
  if (what.method == "GET" || what.method == "HEAD") {
    work.kind = job_kind::health;
    work.work = health_work;
  } else {
    auto request = ++target.requests;
    work.kind = job_kind::call;
    work.end = draw_outcome(*target.app, target.number, request);
    work.work = draw_service(*target.app, target.number, request, work.end);
  }
  auto id = begin(target, std::move(work));
  calls_.emplace(ticket, pending_call{what, id, target.number, now_ + limit, limit});
}

void process_model::abort(std::uint64_t ticket, time_point now) {
  advance(now);
  fail_call(ticket, errc::cancelled, "taken back");
}

void process_model::forget_calls() {
  for (auto& [ticket, call] : calls_)
    if (auto found = jobs_.find(call.job); found != jobs_.end())
      found->second.ticket = 0;
  calls_.clear();
  call_results_.clear();
}

void process_model::refuse(std::uint64_t ticket, const http_call& what, errc code, const std::string& why) {
  auto place = what.host.find(':') == std::string::npos ? what.host : "[" + what.host + "]";
  call_results_.push_back(
      {ticket, caf::make_error(code, fmt::format("{} {}:{}: {}", what.method, place, what.port, why))});
}

void process_model::fail_call(std::uint64_t ticket, errc code, const std::string& why) {
  auto entry = calls_.extract(ticket);
  if (entry.empty())
    return;
  // The server does not know: it works on.
  if (auto found = jobs_.find(entry.mapped().job); found != jobs_.end())
    found->second.ticket = 0;
  refuse(ticket, entry.mapped().what, code, why);
}

void process_model::answer_call(std::uint64_t ticket) {
  auto entry = calls_.extract(ticket);
  if (entry.empty())
    return;
  auto& what = entry.mapped().what;
  http_answer answer;
  answer.status = 200;
  answer.content_type = what.content_type.empty() ? "text/plain" : what.content_type;
  if (what.method != "GET" && what.method != "HEAD") {
    auto& server = processes_.at(entry.mapped().process);
    if (server.actor) {
      auto said =
          server.actor->handle(what.body ? std::string_view{*what.body} : std::string_view{}, server.jobs.size());
      answer.status = http_status_of(said.status);
      answer.body = std::move(said.body);
      answer.content_type = std::move(said.content_type);
    } else if (what.body) {
      answer.body = *what.body;
    }
  }
  answer.headers = {{"Content-Type", answer.content_type}, {"Content-Length", std::to_string(answer.body.size())}};
  auto limit = what.response_limit_bytes != 0 ? what.response_limit_bytes : default_response_limit;
  if (answer.body.size() > limit)
    return refuse(ticket, what, errc::output_exceeded, fmt::format("the answer is larger than {} bytes", limit));
  call_results_.push_back({ticket, std::move(answer)});
}

// -- draws ----------------------------------------------------------------------------------------------------------

process_model::outcome process_model::draw_outcome(const sim_app& app, std::uint64_t process,
                                                   std::uint64_t request) const {
  auto& shares = app.behaviour;
  auto u = chance_.unit(draw_kind::process_fate, subject(), counter(process, request));
  if (u < shares.crash)
    return outcome::crash;
  if (u < shares.crash + shares.hang)
    return outcome::hang;
  return u < shares.crash + shares.hang + shares.outgrow ? outcome::outgrow : outcome::good;
}

/// Work until the end, which for a bad one lies somewhere within what the request would have taken.
duration process_model::draw_service(const sim_app& app, std::uint64_t process, std::uint64_t request,
                                     outcome end) const {
  auto place = counter(process, request);
  auto whole = log_uniform(std::max(duration{1}, app.behaviour.service_min), app.behaviour.service_max,
                           chance_.unit(draw_kind::process_service, subject(), place));
  return end == outcome::good ? whole
                              : part_of(whole, chance_.unit(draw_kind::process_fate, subject(), place ^ second_draw));
}

// -- time -----------------------------------------------------------------------------------------------------------

void process_model::advance(time_point now) {
  now = std::max(now, now_);
  for (auto next = next_event(true); next && *next <= now; next = next_event(true))
    step(std::max(*next, now_));
  integrate(now);
  now_ = now;
}

std::optional<process_model::time_point> process_model::next_due() const {
  return next_event(false);
}

/// @param every_swing also those changes of the strangers' share that nobody's work can feel.
std::optional<process_model::time_point> process_model::next_event(bool every_swing) const {
  std::optional<time_point> result;
  auto consider = [&](const std::optional<time_point>& at) {
    if (at && (!result || *at < *result))
      result = at;
  };
  for (auto& [number, what] : processes_) {
    consider(what.exec_at);
    consider(what.frozen_until);
    consider(what.fate.next_deadline());
  }
  for (auto& [ticket, call] : calls_)
    consider(call.deadline);
  if (!queue_.empty())
    consider(work_time(queue_.begin()->first));
  auto strangers_max = to_milli(options_.interference_cores + options_.interference_swing);
  auto contended = !queue_.empty() && own_milli_ + extra_milli_ + strangers_max > options_.cpu_milli;
  if (every_swing || contended)
    consider(next_swing_);
  return result;
}

void process_model::step(time_point at) {
  integrate(at);
  now_ = at;
  if (next_swing_ && *next_swing_ <= at) {
    update_strangers();
    update_rate();
  }
  // Each of these may end processes, this one and others.
  std::vector<std::uint64_t> numbers;
  for (auto& entry : processes_)
    numbers.push_back(entry.first);
  for (auto number : numbers) {
    auto found = processes_.find(number);
    if (found == processes_.end())
      continue;
    auto& what = found->second;
    if (what.exec_at && *what.exec_at <= at) {
      what.exec_at.reset();
      on_exec(what);
    } else if (what.frozen_until && *what.frozen_until <= at) {
      what.frozen_until.reset();
      thaw(what);
    } else {
      apply(what, what.fate.on_time(at));
    }
  }
  while (!queue_.empty() && queue_.begin()->first <= work_clock(at))
    complete(queue_.begin()->second);
  std::vector<std::pair<std::uint64_t, duration>> late;
  for (auto& [ticket, call] : calls_)
    if (call.deadline <= at)
      late.emplace_back(ticket, call.limit);
  for (auto& [ticket, limit] : late)
    fail_call(ticket, errc::timed_out,
              fmt::format("no answer within {}", std::chrono::duration_cast<milliseconds>(limit)));
}

void process_model::integrate(time_point at) {
  auto passed = static_cast<std::uint64_t>((at - integrated_).count());
  integrated_ = at;
  if (passed == 0)
    return;
  auto wanted = wanted_milli();
  auto cores = std::min<std::uint64_t>(wanted, options_.cpu_milli);
  host_milli_ns_ += cores * passed;
  if (own_milli_ == 0)
    return;
  auto granted = [&](std::uint64_t milli) {
    return static_cast<std::uint64_t>(static_cast<wide>(milli) * cores * passed / wanted);
  };
  own_milli_ns_ += granted(own_milli_);
  for (auto& entry : queue_) {
    auto& owner = processes_.at(jobs_.at(entry.second).process);
    owner.busy_milli_ns += granted(owner.app->work_milli);
  }
}

duration process_model::work_clock(time_point at) const {
  auto passed = static_cast<wide>((at - anchor_).count());
  return anchor_reading_ + duration{static_cast<std::int64_t>(passed * rate_num_ / rate_den_)};
}

process_model::time_point process_model::work_time(duration reading) const {
  auto work = static_cast<wide>((reading - anchor_reading_).count());
  if (work <= 0)
    return anchor_;
  // Rounded up: at that time the clock has reached the reading.
  return anchor_ + duration{static_cast<std::int64_t>((work * rate_den_ + rate_num_ - 1) / rate_num_)};
}

/// Call after every change of what is wanted.
/// The anchor moves only when the rate does, so that asking (which advances) shifts no end by a rounding.
void process_model::update_rate() {
  auto wanted = std::max<std::uint64_t>(wanted_milli(), 1);
  auto cores = std::min<std::uint64_t>(wanted, options_.cpu_milli);
  auto whole = wanted == cores;
  auto num = whole ? 1000 : static_cast<std::int64_t>(cores) * 1000;
  auto den = whole ? slowdown_milli_ : static_cast<std::int64_t>(wanted) * slowdown_milli_;
  if (num == rate_num_ && den == rate_den_)
    return;
  anchor_reading_ = work_clock(now_);
  anchor_ = now_;
  rate_num_ = num;
  rate_den_ = den;
}

void process_model::update_strangers() {
  auto average = options_.interference_cores;
  auto swing = options_.interference_swing;
  if (swing <= 0.0) {
    strangers_milli_ = to_milli(average);
    return;
  }
  auto slot = now_.time_since_epoch() / swing_time;
  auto place = [&](std::int64_t number, std::uint64_t which) {
    return 2.0 * chance_.unit(draw_kind::interference, machine_, static_cast<std::uint64_t>(number) ^ which) - 1.0;
  };
  auto now = swell_share * place(slot / swell, second_draw) + (1.0 - swell_share) * place(slot, 0);
  strangers_milli_ = to_milli(average + swing * now);
  next_swing_ = time_point{(slot + 1) * swing_time};
}

// -- work -----------------------------------------------------------------------------------------------------------

std::uint64_t process_model::begin(process& owner, job what) {
  auto id = ++last_job_;
  what.process = owner.number;
  what.left = what.work;
  owner.jobs.insert(id);
  auto& place = jobs_.emplace(id, std::move(what)).first->second;
  if (!owner.frozen_until && place.end != outcome::hang)
    resume(id, place);
  return id;
}

void process_model::resume(std::uint64_t id, job& what) {
  if (what.finish)
    return;
  what.finish = work_clock(now_) + what.left;
  queue_.emplace(*what.finish, id);
  own_milli_ += processes_.at(what.process).app->work_milli;
  update_rate();
}

void process_model::halt(std::uint64_t id, job& what) {
  if (!what.finish)
    return;
  what.left = std::max(duration{0}, *what.finish - work_clock(now_));
  queue_.erase({*what.finish, id});
  what.finish.reset();
  own_milli_ -= processes_.at(what.process).app->work_milli;
  update_rate();
}

void process_model::drop(std::uint64_t id) {
  auto& what = jobs_.at(id);
  halt(id, what);
  processes_.at(what.process).jobs.erase(id);
  jobs_.erase(id);
}

void process_model::complete(std::uint64_t id) {
  auto done = jobs_.at(id);
  auto& owner = processes_.at(done.process);
  drop(id);
  switch (done.kind) {
  case job_kind::start:
    on_started_up(owner);
    return;
  case job_kind::request:
    on_request_done(owner, done.end);
    return;
  case job_kind::call:
  case job_kind::health:
    break;
  }
  if (done.end == outcome::crash)
    return crash(owner);
  if (done.end == outcome::outgrow)
    return outgrow(owner);
  if (done.ticket != 0)
    answer_call(done.ticket);
  // It was told to stop and only had this to do.
  if (owner.draining && owner.jobs.empty())
    apply(owner, owner.fate.on_exit(0));
}

// -- lives of processes ---------------------------------------------------------------------------------------------

process_model::process* process_model::find(process_key key) {
  auto found = numbers_.find(key);
  return found == numbers_.end() ? nullptr : &processes_.at(found->second);
}

void process_model::on_exec(process& what) {
  if (what.spawn_error.empty() && refuses_until_ && now_ < *refuses_until_)
    what.spawn_error = what.command + ": Resource temporarily unavailable";
  if (!what.spawn_error.empty()) {
    apply(what, what.fate.on_spawn_failed(what.spawn_error));
    return;
  }
  if (!what.has_ready_line)
    tell_started(what);
  what.memory_peak = memory_of(what);
  if (auto action = what.fate.on_memory(what.memory_peak); action != process_fate::action::none) {
    apply(what, action);
    return;
  }
  job work;
  work.kind = job_kind::start;
  auto& behaviour = what.app->behaviour;
  work.work = log_uniform(std::max(duration{1}, behaviour.start_min), behaviour.start_max,
                          chance_.unit(draw_kind::process_start, subject(), counter(what.number, 0)));
  begin(what, std::move(work));
}

void process_model::tell_started(const process& what) {
  process_events_.push_back(process_started{what.key, first_pid + static_cast<std::int32_t>(what.number)});
}

void process_model::on_started_up(process& what) {
  if (what.has_ready_line && !what.app->serves)
    tell_started(what);
  if (what.app->serves) {
    auto taken = std::any_of(processes_.begin(), processes_.end(),
                             [&](auto& entry) { return entry.second.listening && entry.second.port == what.port; });
    if (what.port == 0 || taken) {
      log(what, what.port == 0 ? "PORT is not set" : "bind: Address already in use");
      apply(what, what.fate.on_exit(1));
      return;
    }
    if (auto problem = start_actor(what); !problem.empty()) {
      log(what, "astra: " + problem);
      apply(what, what.fate.on_exit(worker_exit_hopeless));
      return;
    }
    what.listening = true;
    log(what, "listening on port " + std::to_string(what.port));
    if (what.has_ready_line)
      tell_started(what);
    return;
  }
  job work;
  work.kind = job_kind::request;
  work.end = draw_outcome(*what.app, what.number, 0);
  work.work = draw_service(*what.app, what.number, 0, work.end);
  begin(what, std::move(work));
}

std::string process_model::start_actor(process& what) {
  if (!what.app->actor_problem.empty())
    return what.app->actor_problem;
  if (what.app->actor == nullptr)
    return {};
  // Of the whole world it sees the virtual clock of this machine, and draws of this process.
  random_source random{chance_.bits(draw_kind::process_service, subject(), counter(what.number, 0) ^ second_draw)};
  auto actor =
      hosted_actor::make(*what.app->actor, what.app->arguments,
                         {[this, began = now_] { return now_ - began; }, [random]() mutable { return random.next(); },
                          [this, &what](std::string_view line) { log(what, std::string{line}); }});
  if (!actor)
    return error_text(actor.error());
  what.actor = std::move(*actor);
  return {};
}

void process_model::on_request_done(process& what, outcome end) {
  if (end == outcome::crash)
    return crash(what);
  if (end == outcome::outgrow)
    return outgrow(what);
  auto output = what.input ? *what.input : std::string{};
  if (what.output_is_log) {
    what.log.append(output);
  } else {
    auto written = output.size();
    what.output = written > what.limits.output_bytes ? output.substr(0, what.limits.output_bytes) : std::move(output);
    if (auto action = what.fate.on_output(written); action != process_fate::action::none) {
      apply(what, action);
      return;
    }
  }
  apply(what, what.fate.on_exit(0));
}

/// Half of the crashes are noticed by the program itself.
void process_model::crash(process& what) {
  auto u = chance_.unit(draw_kind::process_fate, subject(), counter(what.number, what.requests) ^ (second_draw >> 1));
  if (u < 0.5) {
    log(what, "fatal: assertion failed");
    apply(what, what.fate.on_exit(1));
  } else {
    apply(what, what.fate.on_exit(-SIGSEGV));
  }
}

/// Without a limit it grows until the machine has nothing left, and the kernel picks it.
void process_model::outgrow(process& what) {
  auto limit = what.limits.memory_bytes;
  what.memory_peak = std::max(what.memory_peak, limit != 0 ? limit : options_.memory_bytes);
  apply(what, limit != 0 ? what.fate.on_out_of_memory() : what.fate.on_exit(-SIGKILL));
}

void process_model::terminate(process& what) {
  if (what.frozen_until) {
    what.terminate_at_thaw = true;
    return;
  }
  if (!what.listening) {
    apply(what, what.fate.on_exit(-SIGTERM));
    return;
  }
  what.listening = false;
  what.draining = true;
  if (what.jobs.empty())
    apply(what, what.fate.on_exit(0));
}

void process_model::thaw(process& what) {
  for (auto id : what.jobs)
    if (auto& work = jobs_.at(id); work.end != outcome::hang)
      resume(id, work);
  if (std::exchange(what.terminate_at_thaw, false))
    terminate(what);
}

void process_model::apply(process& what, process_fate::action action) {
  switch (action) {
  case process_fate::action::none:
    return;
  case process_fate::action::terminate:
    terminate(what);
    return;
  case process_fate::action::kill:
    finish(what);
    return;
  }
}

void process_model::finish(process& what) {
  if (!what.fate.exited())
    what.fate.on_exit(-SIGKILL);
  process_exited event;
  event.key = what.key;
  event.end = what.fate.end();
  event.code = what.fate.code();
  event.reason = what.fate.reason();
  event.output = std::move(what.output);
  event.log_tail = what.log.text();
  event.log_bytes = what.log.total();
  event.cpu_time = duration{static_cast<std::int64_t>(what.busy_milli_ns / 1000)};
  event.wall_time = now_ - what.started;
  event.memory_peak_bytes = std::max(what.memory_peak, memory_of(what));
  // Whoever calls the server learns of it first: its connection closes before the whole tree is gone.
  remove(what, "the server closed the connection before its answer was complete");
  process_events_.push_back(std::move(event));
}

void process_model::remove(process& what, const std::string& call_error) {
  std::vector<std::uint64_t> lost;
  for (auto& [ticket, call] : calls_)
    if (call.process == what.number)
      lost.push_back(ticket);
  for (auto ticket : lost)
    fail_call(ticket, errc::io_failed, call_error);
  while (!what.jobs.empty())
    drop(*what.jobs.begin());
  numbers_.erase(what.key);
  processes_.erase(what.number);
}

void process_model::log(process& what, const std::string& line) {
  what.log.append(line + "\n");
}

std::uint64_t process_model::memory_of(const process& what) const {
  if (what.exec_at || what.app == nullptr)
    return 0;
  auto result = what.app->memory_bytes;
  for (auto id : what.jobs) {
    auto& work = jobs_.at(id);
    auto limit = what.limits.memory_bytes != 0 ? what.limits.memory_bytes : options_.memory_bytes;
    if (work.end != outcome::outgrow || limit <= what.app->memory_bytes)
      continue;
    auto left = work.finish ? *work.finish - work_clock(now_) : work.left;
    auto done = std::clamp(work.work - left, duration{0}, work.work);
    auto growth = static_cast<wide>(limit - what.app->memory_bytes) * done.count() / work.work.count();
    result = std::max(result, what.app->memory_bytes + static_cast<std::uint64_t>(growth));
  }
  return result;
}

machine_sample process_model::sample(time_point now) {
  advance(now);
  machine_sample result;
  result.host_busy_core_s = static_cast<double>(host_milli_ns_) * 1e-12;
  result.own_busy_core_s = static_cast<double>(own_milli_ns_) * 1e-12;
  result.memory_used_bytes = options_.idle_memory_bytes;
  for (auto& [number, what] : processes_)
    result.memory_used_bytes += memory_of(what);
  result.memory_used_bytes = std::min(result.memory_used_bytes, options_.memory_bytes);
  return result;
}

std::vector<process_model::running_process> process_model::running() const {
  std::vector<running_process> result;
  for (auto& [number, what] : processes_)
    result.push_back({what.key, first_pid + static_cast<std::int32_t>(number), what.command});
  return result;
}

bool process_model::port_in_use(std::uint16_t port) const {
  return std::any_of(processes_.begin(), processes_.end(), [port](auto& entry) { return entry.second.port == port; });
}

// -- faults ---------------------------------------------------------------------------------------------------------

void process_model::crash_all(time_point now) {
  advance(now);
  while (!processes_.empty()) {
    auto& what = processes_.begin()->second;
    apply(what, what.fate.on_exit(-SIGKILL));
  }
}

void process_model::hang_all(duration length, time_point now) {
  advance(now);
  for (auto& [number, what] : processes_) {
    if (what.exec_at)
      continue;
    auto until = now_ + length;
    what.frozen_until = std::max(what.frozen_until.value_or(until), until);
    for (auto id : what.jobs)
      halt(id, jobs_.at(id));
  }
}

void process_model::refuse_all(duration length, time_point now) {
  advance(now);
  refuses_until_ = std::max(refuses_until_.value_or(now_), now_ + length);
}

void process_model::set_slowdown(double factor, time_point now) {
  assert(factor > 0.0);
  advance(now);
  slowdown_milli_ = std::max<std::int64_t>(1, static_cast<std::int64_t>(factor * 1000.0 + 0.5));
  update_rate();
}

void process_model::set_extra_cores(double cores, time_point now) {
  advance(now);
  extra_milli_ = to_milli(cores);
  update_rate();
}

void process_model::lose_launcher(time_point now) {
  advance(now);
  launcher_back_ = now_ + launcher_restart;
  while (!processes_.empty()) {
    auto& what = processes_.begin()->second;
    process_exited event;
    event.key = what.key;
    event.end = process_end::launcher_lost;
    event.reason = "the process launcher died, and everything it ran was killed";
    remove(what, "the server closed the connection before its answer was complete");
    process_events_.push_back(std::move(event));
  }
}

void process_model::end_all() {
  while (!processes_.empty())
    remove(processes_.begin()->second, "the server closed the connection before its answer was complete");
  process_events_.clear();
}

} // namespace astra::sim
