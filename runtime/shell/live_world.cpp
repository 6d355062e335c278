#include "runtime/shell/live_world.hpp"

#include "actors/apps/app_registry.hpp"
#include "config/load.hpp"
#include "config/spelling.hpp"
#include "config/toml_tree.hpp"
#include "config/units.hpp"
#include "messages/errc.hpp"
#include "messages/type_ids.hpp"
#include "messages/wire/app.pb.h"
#include "runtime/cli/commands/actor_schema.hpp"
#include "runtime/cli/commands/commands.hpp"
#include "runtime/cli/human.hpp"
#include "runtime/cli/spec_json.hpp"
#include "runtime/cli/table.hpp"
#include "runtime/gateway/access.hpp"
#include "runtime/gateway/routes.hpp"
#include "runtime/shell/actor_words.hpp"
#include "runtime/shell/cluster_shape.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <filesystem>
#include <iterator>
#include <map>
#include <memory>
#include <sstream>
#include <streambuf>
#include <utility>

#include <fmt/format.h>

namespace astra::shell {
namespace {

using namespace std::chrono_literals;

constexpr auto watch_poll = 500ms;
constexpr milliseconds completion_wait = 300ms;
constexpr auto completion_keeps = 2s;
/// In place of a schema: why it is not known.
constexpr const char* no_schema = "problem";
/// Of an answer that is shown as it comes, so much is kept as the statement's result.
constexpr std::size_t heard_max_bytes = 16 << 20;

/// What help says about a verb of the shell's own.
struct verb_text {
  std::string_view name;
  std::string_view usage;
  std::string_view summary;
  std::string_view examples;
};

const std::vector<verb_text> verbs{
    {"ps", "ps [APP]", "Every replica of every app as a row: app, index, state, node, restarts, reason",
     "ps | where state != ready | sort -restarts | select app, index, node, reason"},
    {"spawn",
     "spawn TYPE|FILE.toml [library=L] [name=N] [replicas=3] [cpu=2] [memory=64MiB] [ARGUMENT=VALUE...] [as NAME]",
     "Start an app: of an actor that comes with Astra (echo, counter, burn) or of a library, or as its file says",
     "spawn counter init=40 as c\nspawn burn replicas=3 cpu=0.5 name=load\nspawn tally library=tally-actor@1 init=40"},
    {"ask", "ask APP [MESSAGE [FIELD=VALUE...]|TEXT|JSON|KEY=VALUE...]",
     "Send an app a request and print its answer, who gave it and in what time",
     "ask @c add amount=2\nask @c 2\nask ocr lang=eng dpi=300"},
    {"send", "send APP [MESSAGE [FIELD=VALUE...]|TEXT|JSON|KEY=VALUE...]",
     "Hand in a request as a task and do not wait for its answer; task result ID fetches it", "send @c 2 as t"},
    {"info", "info APP", "Show one app, as app show does, and of an actor its mailbox, last messages and state",
     "info @c"},
    {"kill", "kill APP", "Stop an app and forget it, as app delete does", "kill @c"},
    {"scale", "scale APP N", "Change the number of an app's replicas", "scale @c 5"},
    {"drain", "drain NODE", "No new work for a node, as node drain does", "drain node-2"},
    {"watch", "watch APP|node/NAME [DURATION]",
     "Tell what becomes of an app's replicas, or what happens to a node, until ^C or for so long", "watch @c"},
    {"cluster", "cluster [nodes=5] [resources=1] [cores=2] [memory=4GiB]",
     "As the first statement of a script: the cluster that astra dev -f and astra sim run make for it; a cluster that "
     "is there must have at least that",
     "cluster nodes=5 cores=2"},
    {"fault", "fault KIND MACHINE... [DURATION]",
     "Break something in a cluster of astra dev (kill, stop, stall) or of the simulator (crash, partition, slow_link "
     "and more)",
     "fault kill node-2 2s\nfault partition node-1 <-> resource-1 5s"},
    {"sleep", "sleep DURATION", "Wait; await waits for something", "sleep 500ms"},
    {"help", "help [VERB|@APP|ACTOR]", "List the verbs, explain one, or tell what an actor takes",
     "help spawn\nhelp @c\nhelp counter"},
    {":mode", ":mode table|json|ndjson|csv|line", "How results are shown from now on", ":mode json"},
    {":rw", ":rw REASON", "Allow changes; the reason stands in the gateway's log with each", ":rw \"ticket 4711\""},
    {":ro", ":ro", "Allow no changes any more", ""},
    {":record", ":record [FILE|stop]",
     "Write what is typed from now on and succeeds as a script; end that; alone: tell what is recorded",
     ":record check.astra\n:record stop"},
    {"quit", "quit", "Leave; so does ^D", ""},
};

constexpr std::string_view language_help =
    "  VERB ... | where KEY == VALUE | sort -KEY | top N | limit N | select KEY, KEY | count\n"
    "  ... as NAME; then $NAME is the result and @NAME the app;  $1 $2 ... are results, $ is the last one\n"
    "  for i in 1..10 { ask @c $i }     every 1s 5 times { ps | count }\n"
    "  await @c ready 10s               expect @c.ready == 3\n";

caf::error problem(const std::string& message) {
  return caf::make_error(errc::invalid_argument, message);
}

caf::error read_only() {
  return problem("this would change the cluster, and the shell may only read; say ':rw REASON', or begin it with "
                 "astra shell --rw REASON");
}

/// Passes lines on, and keeps those in which a command says why it failed.
class narration final : public std::streambuf {
public:
  explicit narration(std::ostream& to) : to_(to) {}
  ~narration() override { end(); }

  std::string take_failure() {
    end();
    return std::exchange(failure_, {});
  }

protected:
  int_type overflow(int_type c) override {
    if (c == traits_type::eof())
      return 0;
    line_ += static_cast<char>(c);
    if (c == '\n')
      end();
    else if (!line_.starts_with(frame.substr(0, line_.size())) && !line_.starts_with(frame) && failure_.empty())
      // Progress goes without line ends.
      pass();
    return c;
  }

  int sync() override {
    to_.flush();
    return 0;
  }

private:
  static constexpr std::string_view frame = "astra: ";

  void pass() {
    to_ << line_;
    line_.clear();
  }

  void end() {
    if (line_.starts_with(frame) || (!failure_.empty() && !line_.empty())) {
      auto text = std::string_view{line_};
      if (text.starts_with(frame))
        text.remove_prefix(frame.size());
      if (text.ends_with('\n'))
        text.remove_suffix(1);
      failure_ += (failure_.empty() ? "" : "\n  ") + std::string{text};
      line_.clear();
    } else {
      pass();
    }
  }

  std::ostream& to_;
  std::string line_;
  std::string failure_;
};

/// Passes bytes on and remembers the last one.
class last_byte final : public std::streambuf {
public:
  explicit last_byte(std::ostream& to) : to_(to) {}

  char value = '\n';

protected:
  int_type overflow(int_type c) override {
    if (c == traits_type::eof())
      return 0;
    value = static_cast<char>(c);
    return to_.put(value) ? c : traits_type::eof();
  }
  std::streamsize xsputn(const char* bytes, std::streamsize length) override {
    if (length > 0)
      value = bytes[length - 1];
    return to_.write(bytes, length) ? length : 0;
  }
  int sync() override { return to_.flush() ? 0 : -1; }

private:
  std::ostream& to_;
};

errc code_of_exit(int code) {
  switch (code) {
  case exit_not_found:
    return errc::unknown_name;
  case exit_unreachable:
    return errc::timed_out;
  case exit_conflict:
    return errc::conflict;
  default:
    return errc::invalid_argument;
  }
}

/// What an app answered, as a value: JSON when it is some, else its text.
json value_of(const http_answer& answer) {
  auto parsed = json::parse(answer.body, nullptr, false);
  if (!parsed.is_discarded())
    return parsed;
  auto text = answer.body;
  if (text.ends_with('\n'))
    text.pop_back();
  return text;
}

std::string human_time(std::chrono::steady_clock::duration took) {
  return took < 1ms ? fmt::format("{} us", std::chrono::duration_cast<std::chrono::microseconds>(took).count())
                    : human_duration(std::chrono::duration_cast<milliseconds>(took));
}

json builtin_schema(const std::string& type) {
  app_registry registry;
  add_builtin_apps(registry);
  auto schema = registry.schema(type);
  return schema.empty() ? json{} : json::parse(schema, nullptr, false);
}

global_options options_of(const command_context& outer) {
  auto result = outer.options;
  // Failures are told by the shell.
  result.colour_err = false;
  return result;
}

std::vector<command_node> all_below(const command_node& node) {
  std::vector<command_node> result;
  for (auto& one : node.below) {
    result.push_back(one);
    auto below = all_below(one);
    result.insert(result.end(), std::make_move_iterator(below.begin()), std::make_move_iterator(below.end()));
  }
  return result;
}

} // namespace

live_world::live_world(command_context& outer, std::string reason, std::function<bool()> interrupted)
  : environment_(outer.environment), context_(environment_, options_of(outer)), reason_(std::move(reason)),
    interrupted_(std::move(interrupted)), commands_(all_below(command_tree())) {
  auto inner = outer.environment;
  auto hear = [this](const caf::expected<http_answer>& answer) {
    if (hears_ && answer && answer->status >= 200 && answer->status < 300)
      if (auto parsed = json::parse(answer->body, nullptr, false); !parsed.is_discarded())
        heard_ = std::move(parsed);
  };
  environment_.fetch = [this, inner, hear](const http_call& call) {
    fetch_door door;
    door.given_up = interrupted_;
    auto answer = interrupted_ ? inner.fetch_through(call, door) : inner.fetch(call);
    hear(answer);
    return answer;
  };
  environment_.fetch_through = [this, inner, hear](const http_call& call, const fetch_door& through) {
    auto door = through;
    door.given_up = interrupted_;
    auto answer = inner.fetch_through(call, door);
    hear(answer);
    return answer;
  };
  environment_.fetch_pieces = [this, inner](const http_call& call, const fetch_door& through, const body_sink& sink) {
    auto door = through;
    door.given_up = interrupted_;
    std::string text;
    auto answer = inner.fetch_pieces(call, door, [&](std::string_view piece) {
      if (hears_ && text.size() < heard_max_bytes)
        text += piece;
      return sink(piece);
    });
    if (hears_) {
      heard_ = json::array();
      for (std::size_t begin = 0; begin < text.size();) {
        auto end = std::min(text.find('\n', begin), text.size());
        auto line = json::parse(std::string_view{text}.substr(begin, end - begin), nullptr, false);
        if (line.is_object() && !line.contains("end") && !line.contains("note"))
          heard_.push_back(std::move(line));
        begin = end + 1;
      }
    }
    return answer;
  };
  if (interrupted_)
    environment_.interrupted = interrupted_;
  environment_.in_is_terminal = false;
  environment_.before_call = [this, before = inner.before_call](http_call& call) -> caf::error {
    if (before)
      if (auto refused = before(call))
        return refused;
    auto route = find_route(call.method, call.target);
    if (needed_for(route.what) != access_right::change)
      return {};
    if (!may_change())
      return read_only();
    call.headers.emplace_back("Astra-Reason", reason_);
    return {};
  };
  // The commands ask whom the shell asks.
  environment_.variables = [inner, options = context_.options](const std::string& name) -> std::optional<std::string> {
    if (name == "ASTRA_GATEWAY")
      return gateway_address(options);
    if (name == "ASTRA_CERT")
      return options.certificate;
    if (name == "ASTRA_KEY")
      return options.key;
    if (name == "ASTRA_CA")
      return options.ca;
    return inner.variables(name);
  };
}

caf::expected<reply> live_world::call(const request& what) {
  auto& words = what.words;
  auto verb = std::string_view{what.verb};
  auto needs = [&](std::size_t least, std::size_t most) -> caf::error {
    if (words.size() >= least && words.size() <= most)
      return {};
    auto known = std::find_if(verbs.begin(), verbs.end(), [&](auto& one) { return one.name == verb; });
    return problem(fmt::format("write it as {}", known->usage));
  };
  if (verb == "quit" || verb == "exit") {
    ended = true;
    return reply{{}, {}, true};
  }
  if (verb == "help")
    return help(words);
  if (verb == ":mode")
    return set_mode(words);
  if (verb == ":rw")
    return allow_changes(words);
  if (verb == ":ro") {
    reason_.clear();
    return reply{};
  }
  if (verb == ":record") {
    if (!record)
      return problem("only what is typed at a terminal is recorded; this is a script already");
    if (auto wrong = needs(0, 1))
      return wrong;
    return record(words);
  }
  if (verb == "ps") {
    if (auto wrong = needs(0, 1))
      return wrong;
    return list_replicas(words);
  }
  if (verb == "spawn") {
    if (auto wrong = needs(1, 1000))
      return wrong;
    return spawn(words, what.only_shown);
  }
  if (verb == "ask" || verb == "send") {
    if (auto wrong = needs(1, 1000))
      return wrong;
    return verb == "ask" ? ask(words) : submit(words);
  }
  if (verb == "info") {
    if (auto wrong = needs(1, 1))
      return wrong;
    return info(words, what.only_shown);
  }
  if (verb == "scale") {
    if (auto wrong = needs(2, 2))
      return wrong;
    return scale(words);
  }
  if (verb == "watch") {
    if (auto wrong = needs(1, 2))
      return wrong;
    return watch(words);
  }
  if (verb == "cluster")
    return compare_shape(words);
  if (verb == "sleep") {
    if (auto wrong = needs(1, 1))
      return wrong;
    auto length = parse_fine_duration(words.front().text);
    if (!length.value)
      return problem(fmt::format("'{}' is no duration: {}", words.front().text, length.problem));
    sleep(*length.value);
    if (interrupted())
      return caf::make_error(errc::cancelled, "interrupted");
    return reply{{}, {}, true};
  }
  if (verb == "fault") {
    if (!faults)
      return problem("a live cluster takes no faults; run the script with astra dev -f or astra sim run, or name the "
                     "directory of a cluster of astra dev with astra shell --dev DIRECTORY");
    if (!may_change())
      return read_only();
    return faults(words);
  }
  static const std::map<std::string_view, std::vector<std::string>> same_as{{"kill", {"app", "delete"}},
                                                                            {"drain", {"node", "drain"}}};
  std::vector<std::string> line;
  if (auto other = same_as.find(verb); other != same_as.end()) {
    if (auto wrong = needs(1, 1))
      return wrong;
    line = other->second;
    if (verb == "kill")
      made_.erase(words.front().text);
  } else {
    static constexpr std::array elsewhere{"run", "dev", "shell", "join", "bench", "worker"};
    auto known = std::find_if(commands_.begin(), commands_.end(), [&](auto& one) { return one.path == verb; });
    if (known == commands_.end()) {
      std::vector<std::string> all;
      for (auto& one : verbs)
        all.emplace_back(one.name);
      for (auto& one : commands_)
        if (one.path.find(' ') == std::string::npos)
          all.push_back(one.path);
      auto meant = closest(what.verb, all);
      return problem(fmt::format("no verb '{}'{}", what.verb,
                                 meant ? fmt::format("; did you mean '{}'?", *meant) : "; 'help' lists them"));
    }
    if (std::find(elsewhere.begin(), elsewhere.end(), verb) != elsewhere.end()
        || (verb == "sim" && !words.empty() && words.front().text == "shell"))
      return problem(fmt::format("'{}' is not for the shell; type astra {} in another terminal", verb, verb));
    if (setting == world_setting::simulated && verb == "sim")
      return problem("the simulator runs this script already; type astra sim in a terminal");
    line = {what.verb};
  }
  for (auto& word : words) {
    auto text = word.name.empty() ? word.text : word.name + "=" + word.text;
    line.push_back(verb == "why" && word.is_app ? "app/" + text : std::move(text));
  }
  return run_command(std::move(line), what.only_shown);
}

caf::expected<reply> live_world::run_command(std::vector<std::string> words, bool only_shown) {
  auto has_format = std::any_of(words.begin(), words.end(), [](auto& word) { return word.starts_with("-o"); });
  // What is only to be looked at is shown by the command in its own way.
  auto natively = only_shown && (mode == output_mode::table || mode == output_mode::json || has_format);
  if (!has_format && (!natively || mode == output_mode::json) && words.front() != "help") {
    words.insert(words.begin(), {"-o", "json"});
  }
  if (!context_.options.colour_out)
    words.insert(words.begin(), "--no-color");
  if (context_.options.timeout)
    words.insert(words.begin(), {"--timeout", format_duration(*context_.options.timeout)});
  std::vector<const char*> argv{"astra"};
  for (auto& word : words)
    argv.push_back(word.c_str());
  narration told{*context_.environment.err};
  std::ostream err{&told};
  std::ostringstream captured;
  std::istringstream nothing;
  auto inner = environment_;
  inner.in = &nothing;
  inner.err = &err;
  inner.err_is_terminal = false;
  last_byte passed{*environment_.out};
  std::ostream shown{&passed};
  inner.out = natively ? &shown : &captured;
  // Of a list what is shown, and not all that the gateway said.
  std::optional<json> chosen;
  inner.on_shown = [&](const json& what) { chosen = what; };
  heard_ = nullptr;
  hears_ = natively;
  auto code = run_command_line(static_cast<int>(argv.size()), argv.data(), inner);
  hears_ = false;
  if (chosen)
    heard_ = std::move(*chosen);
  // What an app answers need not end its line, and the prompt begins one.
  if (environment_.out_is_terminal && passed.value != '\n')
    *environment_.out << std::endl;
  auto failure = told.take_failure();
  if (code != exit_ok && code != exit_plan_changes)
    return caf::make_error(code_of_exit(code), failure.empty() ? fmt::format("ended with code {}", code) : failure);
  if (natively) {
    environment_.out->flush();
    return reply{std::exchange(heard_, nullptr), {}, true};
  }
  auto text = captured.str();
  auto parsed = json::parse(text, nullptr, false);
  if (!parsed.is_discarded())
    return reply{std::move(parsed), {}, false};
  if (text.ends_with('\n'))
    text.pop_back();
  return reply{std::move(text), {}, false};
}

caf::expected<reply> live_world::help(const words_of& words) {
  if (!words.empty()) {
    auto own = std::find_if(verbs.begin(), verbs.end(), [&](auto& one) { return one.name == words.front().text; });
    if (own == verbs.end() && words.size() == 1)
      if (auto schema = words.front().is_app ? schema_of(words.front().text) : builtin_schema(words.front().text);
          !schema.is_null()) {
        *environment_.out << render_actor_schema(schema) << std::flush;
        return reply{std::move(schema), {}, true};
      }
    if (own == verbs.end() && words.front().is_app)
      return problem(fmt::format("{} is no app of an actor that answers; astra app show {} tells what it is",
                                 words.front().text, words.front().text));
    if (own == verbs.end()) {
      std::vector<std::string> line{"help"};
      for (auto& word : words)
        line.push_back(word.text);
      auto before = std::exchange(mode, output_mode::table);
      auto result = run_command(std::move(line), true);
      mode = before;
      return result;
    }
    auto out = fmt::format("{}\n{}.\n", own->usage, own->summary);
    if (!own->examples.empty())
      out += fmt::format("\n{}\n", own->examples);
    *environment_.out << out << std::flush;
    return reply{{}, {}, true};
  }
  std::string out = "verbs of the shell\n";
  for (auto& one : verbs)
    out += fmt::format("  {:<10}{}\n", one.name, one.summary);
  out +=
      "statements\n" + std::string{language_help} + "commands, as on the command line; 'help node list' explains one\n";
  for (auto& one : commands_)
    if (one.below.empty() && one.path != "run" && one.path != "dev" && one.path != "shell" && one.path != "help")
      out += fmt::format("  {:<18}{}\n", one.path, one.summary);
  *environment_.out << out << std::flush;
  return reply{{}, {}, true};
}

caf::expected<reply> live_world::set_mode(const words_of& words) {
  auto wanted = words.size() == 1 ? parse_output_mode(words.front().text) : std::nullopt;
  if (!wanted)
    return problem("write it as :mode table|json|ndjson|csv|line");
  mode = *wanted;
  return reply{};
}

caf::expected<reply> live_world::allow_changes(const words_of& words) {
  std::string reason;
  for (auto& word : words)
    reason += (reason.empty() ? "" : " ") + word.text;
  if (reason.find_first_not_of(' ') == std::string::npos)
    return problem("say why, such as :rw \"ticket 4711\"; it stands in the gateway's log with every change");
  if (reason.find_first_of("\r\n") != std::string::npos)
    return problem("the reason must fit on one line");
  reason_ = reason;
  return reply{};
}

caf::expected<json> live_world::get_app(const std::string& name) {
  return context_.ask("GET", "/v1/apps/" + percent_encoded(name));
}

/// The schema; null when it is no app of an actor; else no_schema with what else tells whether to ask again.
json live_world::ask_schema(command_context& context, const std::string& app) {
  auto in_a_hurry = &context != &context_;
  auto failure = [&](const caf::error& why) {
    return json{{no_schema, error_text(why)}, {"code", static_cast<int>(code_of(why))}, {"in_a_hurry", in_a_hurry}};
  };
  auto known = context.ask("GET", "/v1/apps/" + percent_encoded(app));
  if (!known)
    return failure(known.error());
  if (!list_in(*known, "spec").contains("actor"))
    return {};
  auto actor = list_in(*known, "spec")["actor"];
  if (text_in(actor, "library").empty())
    return builtin_schema(text_in(actor, "type"));
  auto ready = count_in(*known, "ready");
  // An actor that did not answer may keep one waiting again; with a replica more or less it is another matter.
  if (auto before = schemas_.find(app);
      before != schemas_.end() && environment_.now() - before->second.asked < completion_keeps
      && before->second.what.contains("ready") && before->second.what["ready"] == ready
      && before->second.what["in_a_hurry"] == in_a_hurry)
    return before->second.what;
  invoke_options options;
  options.app = app;
  options.content_type = "application/json";
  auto answer = call_app(context, options, R"({"describe":{}})");
  if (!answer || answer->status != 200) {
    auto problem = failure(answer ? to_error(*answer, gateway_address(context.options)) : answer.error());
    problem["ready"] = ready;
    return problem;
  }
  auto parsed = json::parse(answer->body, nullptr, false);
  return parsed.is_object() ? parsed : json{};
}

json live_world::schema_of(const std::string& app) {
  auto known = schemas_.find(app);
  auto is_old = known == schemas_.end() || known->second.what.is_null() || known->second.what.contains(no_schema)
                || environment_.now() - known->second.asked >= completion_keeps;
  if (is_old) {
    auto before = known == schemas_.end() ? json{} : known->second.what;
    auto what = ask_schema(context_, app);
    // From when the answer came: an actor that hangs takes longer than the time for which this is kept.  A failure
    // that was not asked for again does not become younger.
    if (known == schemas_.end() || what.is_null() || what != before || !what.contains("ready"))
      known = schemas_.insert_or_assign(app, known_schema{std::move(what), environment_.now()}).first;
  }
  return known->second.what.contains(no_schema) ? json{} : known->second.what;
}

json live_world::schema_soon(const std::string& word) {
  auto app = word.starts_with('@') ? word.substr(1) : word;
  if (word.starts_with('@') && app_named)
    app = app_named(app);
  auto now = environment_.now();
  if (auto known = schemas_.find(app); known != schemas_.end() && now - known->second.asked < completion_keeps)
    return known->second.what.contains(no_schema) ? json{} : known->second.what;
  command_context quick{environment_, context_.options};
  quick.options.timeout = completion_wait;
  auto what = ask_schema(quick, app);
  auto kept = schemas_.insert_or_assign(app, known_schema{std::move(what), now}).first;
  return kept->second.what.contains(no_schema) ? json{} : kept->second.what;
}

caf::expected<reply> live_world::info(const words_of& words, bool only_shown) {
  auto& app = words.front().text;
  auto shown = run_command({"app", "show", app}, only_shown);
  if (!shown)
    return shown;
  auto known = get_app(app);
  // Of several, the one that happened to answer would say nothing about the others.
  if (!known || count_in(*known, "replicas") != 1 || count_in(*known, "ready") != 1
      || !list_in(*known, "spec").contains("actor"))
    return shown;
  invoke_options options;
  options.app = app;
  options.content_type = "application/json";
  auto answer = call_app(context_, options, R"({"info":{}})");
  auto parsed = answer && answer->status == 200 ? json::parse(answer->body, nullptr, false) : json{};
  if (!parsed.is_object())
    return shown;
  if (!shown->shown && shown->what.is_object())
    shown->what["actor"] = std::move(parsed);
  else if (shown->shown && mode == output_mode::table)
    *environment_.out << "actor     " << render_actor_info(parsed, context_.options.colour_out) << std::flush;
  return shown;
}

/// The newest version of a content called so, or so with "-actor" at its end; null when there is none.
caf::expected<json> live_world::newest_content(const std::string& name) {
  auto all = context_.ask("GET", "/v1/models");
  if (!all)
    return std::move(all.error());
  for (auto& wanted : {name, name + "-actor", name + "-actors"})
    for (auto& one : list_in(*all, "models"))
      if (text_in(one, "name") == wanted && flag_in(one, "newest"))
        return json(fmt::format("{}@{}", wanted, count_in(one, "version")));
  return json{};
}

caf::expected<json> live_world::look(const std::string& app) {
  auto known = get_app(app);
  if (known)
    (*known)["state"] = state_of_app(*known);
  return known;
}

caf::expected<reply> live_world::list_replicas(const words_of& words) {
  std::vector<std::string> apps;
  if (!words.empty()) {
    apps.push_back(words.front().text);
  } else {
    auto all = context_.ask("GET", "/v1/apps");
    if (!all)
      return std::move(all.error());
    for (auto& app : list_in(*all, "apps"))
      apps.push_back(text_in(app, "name"));
  }
  json rows = json::array();
  for (auto& name : apps) {
    auto app = get_app(name);
    if (!app && words.empty() && exit_code_of(app.error()) == exit_not_found)
      // It went between the two questions.
      continue;
    if (!app)
      return std::move(app.error());
    for (auto& replica : list_in(*app, "replicas_detail")) {
      json row = {{"app", name}};
      for (auto key : {"index", "state", "node", "restarts", "in_state_ms", "cluster", "slot", "reason"})
        if (replica.contains(key))
          row[key] = replica[key];
      rows.push_back(std::move(row));
    }
  }
  return reply{std::move(rows), {}, false};
}

caf::expected<reply> live_world::spawn(const words_of& words, bool only_shown) {
  auto type = words.front().text;
  if (type.ends_with(".toml")) {
    if (words.size() > 1)
      return problem("what an app of a file is stands in the file; nothing can follow its name");
    auto config = load_app_config(type, environment_.variables);
    if (!config.spec) {
      std::string all;
      for (auto& one : config.problems)
        all += (all.empty() ? "" : "\n  ") + to_string(one);
      return problem(all);
    }
    auto applied = run_command({"app", "apply", type}, only_shown);
    if (!applied)
      return applied;
    made_.insert(config.spec->name());
    applied->what = {{"app", config.spec->name()}, {"file", type}, {"replicas", config.spec->replicas()}};
    return applied;
  }
  app_registry registry;
  add_builtin_apps(registry);
  auto known = registry.names();
  std::string library;
  for (auto& word : words)
    if (word.name == "library")
      library = word.text;
  if (library.empty() && std::find(known.begin(), known.end(), type) == known.end()) {
    // A library that was published under the actor's name.
    auto published = newest_content(type);
    if (published && published->is_string()) {
      library = published->get<std::string>();
    } else {
      auto meant = closest(type, known);
      return problem(fmt::format(
          "no actor '{}'{}; one of a library: spawn {} library=NAME@VERSION, or a path; an app of "
          "another kind is spawned by its file, spawn FILE.toml",
          type,
          meant ? fmt::format("; did you mean '{}'?", *meant) : fmt::format("; there are {}", fmt::join(known, ", ")),
          type));
    }
  }
  // As text of an app file, so that the same rules and defaults hold.
  static const std::map<std::string_view, std::string_view> of_app{{"replicas", ""},    {"concurrency", ""},
                                                                   {"timeout", ""},     {"idempotent", ""},
                                                                   {"queue_limit", ""}, {"priority", ""}};
  std::string name, top, arguments;
  std::string cpu = "0.1", memory = library.empty() ? "\"64MiB\"" : "\"128MiB\"";
  for (std::size_t i = 1; i < words.size(); ++i) {
    auto& word = words[i];
    auto written = word.what.is_number() || word.what.is_boolean() ? word.text : quote(word.text);
    if (word.name.empty())
      return problem(fmt::format("'{}' has no name; write ARGUMENT=VALUE, such as replicas=3", word.text));
    if (word.name == "name")
      name = word.text;
    else if (word.name == "library")
      continue;
    else if (word.name == "cpu")
      cpu = written;
    else if (word.name == "memory")
      memory = written;
    else if (of_app.count(word.name) != 0)
      top += fmt::format("{} = {}\n", word.name, written);
    else
      arguments += fmt::format("{} = {}\n", key_part(word.name), quote(word.text));
  }
  auto all = context_.ask("GET", "/v1/apps");
  if (!all)
    return std::move(all.error());
  auto taken = made_;
  for (auto& app : list_in(*all, "apps"))
    taken.insert(text_in(app, "name"));
  if (name.empty()) {
    name = type;
    for (auto i = 2; taken.count(name) != 0; ++i)
      name = fmt::format("{}-{}", type, i);
  } else if (taken.count(name) != 0) {
    return caf::make_error(
        errc::conflict,
        fmt::format("there is an app '{}' already; take another name, or change it with scale or app apply", name));
  }
  auto text = fmt::format("name = {}\nkind = \"actor\"\n{}[actor]\ntype = {}\n{}[actor.args]\n{}[resources]\ncpu = {}\n"
                          "memory = {}\n",
                          quote(name), top, quote(type),
                          library.empty() ? "" : fmt::format("library = {}\n", quote(library)), arguments, cpu, memory);
  auto config = parse_app_config(text, "spawn");
  if (!config.spec) {
    std::string message;
    for (auto& one : config.problems)
      message += (message.empty() ? "" : "\n  ") + (one.key.empty() ? one.message : one.key + ": " + one.message);
    return problem(message);
  }
  auto answer =
      context_.ask("PUT", "/v1/apps/" + percent_encoded(name), spec_to_json(*config.spec).dump(), "application/json");
  if (!answer)
    return std::move(answer.error());
  made_.insert(name);
  schemas_.erase(name);
  json result = {{"app", name}, {"type", type}};
  if (!library.empty())
    result["library"] = library;
  result["replicas"] = config.spec->replicas();
  return reply{std::move(result), {}, false};
}

/// The body of a request: a message of the app's actor, JSON of KEY=VALUE and of literals, else the words as text.
struct live_world::request_body {
  std::string text;
  std::string content_type = "text/plain";
};

caf::expected<live_world::request_body> live_world::body_of(const words_of& words) {
  constexpr std::size_t from = 1;
  // Only a bare word can name a message: who adds numbers asks nobody what they mean.
  if (words.size() > from && words[from].name.empty() && words[from].what.is_string()) {
    if (auto schema = schema_of(words.front().text); !schema.is_null()) {
      auto message = message_of(words, from, schema);
      if (!message)
        return std::move(message.error());
      if (*message)
        return request_body{std::move(**message), "application/json"};
    }
  }
  request_body result;
  json fields = json::object();
  for (auto i = from; i < words.size(); ++i) {
    auto& word = words[i];
    if (!word.name.empty()) {
      fields[word.name] = word.what;
      continue;
    }
    if (word.what.is_structured() && words.size() == from + 1)
      result.content_type = "application/json";
    result.text += (i == from ? "" : " ") + word.text;
  }
  if (fields.empty())
    return result;
  if (!result.text.empty()) {
    // It could only be a message, and whether there is such a one could not be found out.
    if (auto known = schemas_.find(words.front().text);
        known != schemas_.end() && known->second.what.contains(no_schema))
      return caf::make_error(static_cast<errc>(known->second.what["code"].get<int>()),
                             text_in(known->second.what, no_schema));
    return problem("a request is either a text or KEY=VALUE fields, not both; put the text in quotes");
  }
  return request_body{fields.dump(-1, ' ', false, json::error_handler_t::replace), "application/json"};
}

caf::expected<reply> live_world::ask(const words_of& words) {
  auto body = body_of(words);
  if (!body)
    return std::move(body.error());
  invoke_options options;
  options.app = words.front().text;
  options.content_type = body->content_type;
  auto start = environment_.now();
  auto answer = call_app(context_, options, std::move(body->text));
  if (!answer)
    return std::move(answer.error());
  auto took = environment_.now() - start;
  if (answer->status < 200 || answer->status > 299)
    return refusal_of(context_, *answer);
  auto note = human_time(took);
  if (auto node = header_of(*answer, "Astra-Node"); !node.empty())
    note += ", " + node;
  if (auto replica = header_of(*answer, "Astra-Replica"); !replica.empty())
    note += ", replica " + replica;
  return reply{value_of(*answer), std::move(note), false};
}

caf::expected<reply> live_world::submit(const words_of& words) {
  auto body = body_of(words);
  if (!body)
    return std::move(body.error());
  auto answer = context_.ask("POST", fmt::format("/v1/apps/{}/tasks", percent_encoded(words.front().text)),
                             std::move(body->text), body->content_type);
  if (!answer)
    return std::move(answer.error());
  return reply{
      {{"task", text_in(*answer, "id")}, {"app", words.front().text}, {"state", text_in(*answer, "state")}}, {}, false};
}

caf::expected<reply> live_world::scale(const words_of& words) {
  auto& name = words.front().text;
  auto& wanted = words[1].what;
  if (!wanted.is_number_unsigned())
    return problem(fmt::format("'{}' is no number of replicas", words[1].text));
  auto app = get_app(name);
  if (!app)
    return std::move(app.error());
  auto spec = list_in(*app, "spec");
  if (spec.contains("scale"))
    return caf::make_error(errc::conflict, fmt::format("the number of {}'s replicas follows its load ([scale] of its "
                                                       "file); change min and max there",
                                                       name));
  auto before = count_in(spec, "replicas");
  spec["replicas"] = wanted;
  auto answer = context_.ask("PUT", "/v1/apps/" + percent_encoded(name), spec.dump(), "application/json");
  if (!answer)
    return std::move(answer.error());
  return reply{{{"app", name}, {"replicas", wanted}, {"before", before}}, {}, false};
}

caf::expected<reply> live_world::watch(const words_of& words) {
  auto name = words.front().text;
  std::optional<std::chrono::nanoseconds> limit;
  if (words.size() > 1) {
    auto read = parse_fine_duration(words[1].text);
    if (!read.value)
      return problem(fmt::format("'{}' is no duration: {}", words[1].text, read.problem));
    limit = *read.value;
  }
  if (name.starts_with("node/")) {
    if (limit)
      return problem("a node is watched until ^C; leave the duration out");
    auto result = run_command({"events", "-f", "--node", name.substr(5)}, true);
    // ^C is the way it ends.
    if (!result && interrupted())
      return reply{{}, {}, true};
    return result;
  }
  // The gateway tells of nodes as it happens, and of apps when it is asked.
  std::map<std::string, std::string> standing;
  auto begun = now();
  auto seen = false;
  while (!interrupted()) {
    auto app = get_app(name);
    if (!app && seen && exit_code_of(app.error()) == exit_not_found) {
      *environment_.out << fmt::format("app {}: gone\n", printable(name)) << std::flush;
      break;
    }
    if (!app) {
      if (interrupted())
        break;
      return std::move(app.error());
    }
    seen = true;
    std::map<std::string, std::string> current;
    auto& own = current["app " + name];
    own = fmt::format("{}, {}/{} ready", state_of_app(*app), count_in(*app, "ready"), count_in(*app, "replicas"));
    for (auto& replica : list_in(*app, "replicas_detail")) {
      auto reason = text_in(replica, "reason");
      auto node = text_in(replica, "node");
      current[fmt::format("replica {}{}", text_in(replica, "cluster").empty() ? "" : text_in(replica, "cluster") + "/",
                          count_in(replica, "index"))] =
          text_in(replica, "state") + (node.empty() ? "" : " on " + node) + (reason.empty() ? "" : ": " + reason);
    }
    for (auto& [what, state] : current)
      if (auto before = standing.find(what); before == standing.end() || before->second != state)
        *environment_.out << printable(what + ": " + state) << '\n';
    for (auto& [what, state] : standing)
      if (current.count(what) == 0)
        *environment_.out << printable(what + ": gone") << '\n';
    environment_.out->flush();
    standing = std::move(current);
    if (limit && now() - begun >= *limit)
      break;
    sleep(limit ? std::min<std::chrono::nanoseconds>(watch_poll, begun + *limit - now()) : watch_poll);
  }
  return reply{{}, {}, true};
}

caf::expected<reply> live_world::compare_shape(const words_of& words) {
  auto wanted = read_shape(words);
  if (!wanted)
    return std::move(wanted.error());
  auto status = context_.ask("GET", "/v1/status");
  if (!status)
    return std::move(status.error());
  auto cure = setting == world_setting::live
                  ? "start a larger one, or run the script with astra dev -f or astra sim run, which make their own"
                  : "state it in the first statement of the script";
  auto check = [&](const char* one, const char* many, std::uint64_t has, std::uint64_t least) -> caf::error {
    if (has >= least)
      return {};
    return caf::make_error(errc::conflict, fmt::format("this cluster has {} {}, and the script is for {}; {}", has,
                                                       has == 1 ? one : many, least, cure));
  };
  std::uint64_t online = count_in(list_in(*status, "nodes"), "online");
  std::uint64_t resources = list_in(*status, "resources").size();
  if (auto wrong = check("node", "nodes", online, wanted->nodes.value_or(1)))
    return wrong;
  if (auto wrong = check("Resource", "Resources", resources, wanted->resources.value_or(1)))
    return wrong;
  if (wanted->cpu_milli || wanted->memory_bytes) {
    auto listed = run_command({"node", "list"}, false);
    if (!listed)
      return listed;
    std::uint64_t large = 0;
    for (auto& node : list_in(listed->what, "nodes"))
      large += number_in(node, "cores") * 1000.0 + 0.5 >= wanted->cpu_milli.value_or(0)
               && count_in(node, "memory_bytes") >= wanted->memory_bytes.value_or(0);
    if (auto wrong = check("node of that size", "nodes of that size", large, wanted->nodes.value_or(1)))
      return wrong;
  }
  return reply{{{"nodes", online}, {"resources", resources}}, {}, false};
}

void live_world::sleep(std::chrono::nanoseconds duration) {
  constexpr std::chrono::nanoseconds slice = 20ms;
  auto end = now() + duration;
  for (auto left = duration; left > 0ns && !interrupted(); left = end - now())
    environment_.sleep(std::chrono::ceil<milliseconds>(std::min(left, slice)));
}

std::chrono::nanoseconds live_world::now() {
  return environment_.now().time_since_epoch();
}

std::vector<std::string> live_world::names(std::string_view target, const char* list, std::vector<std::string>& kept,
                                           std::chrono::steady_clock::time_point& asked) {
  auto now = environment_.now();
  if (asked.time_since_epoch().count() != 0 && now - asked < completion_keeps)
    return kept;
  command_context quick{environment_, context_.options};
  quick.options.timeout = completion_wait;
  if (auto answer = quick.ask("GET", std::string{target})) {
    kept.clear();
    for (auto& one : list_in(*answer, list))
      kept.push_back(text_in(one, "name"));
  }
  asked = now;
  return kept;
}

vocabulary live_world::words(std::function<std::vector<std::string>()> variables) {
  auto outline_of = [this](const std::vector<std::string>& before) {
    const command_node* found = nullptr;
    std::string path;
    for (auto& word : before) {
      path += (path.empty() ? "" : " ") + word;
      for (auto& one : commands_)
        if (one.path == path)
          found = &one;
    }
    return found;
  };
  vocabulary result;
  result.subcommands = [this](const std::vector<std::string>& before) {
    std::vector<std::string> words;
    auto asked = before;
    if (!asked.empty() && asked.front() == "help")
      asked.erase(asked.begin());
    if (asked.empty()) {
      for (auto& one : verbs)
        words.emplace_back(one.name);
      if (before.empty())
        for (auto word : {"for", "every", "await", "expect"})
          words.emplace_back(word);
    }
    auto path = std::string{};
    for (auto& word : asked)
      path += word + " ";
    for (auto& one : commands_)
      if (one.path.starts_with(path) && one.path.find(' ', path.size()) == std::string::npos)
        words.push_back(one.path.substr(path.size()));
    return words;
  };
  result.options = [outline_of](const std::vector<std::string>& before) {
    auto* found = outline_of(before);
    std::vector<std::string> names;
    if (found != nullptr)
      for (auto& option : found->options)
        std::copy_if(option.names.begin(), option.names.end(), std::back_inserter(names),
                     [](const std::string& name) { return name.starts_with("--"); });
    return names;
  };
  result.keys = [this, outline_of](const std::vector<std::string>& source) -> std::vector<std::string> {
    if (source.empty())
      return {};
    if (source.front() == "ps")
      return {"app", "index", "state", "node", "restarts", "in_state_ms", "cluster", "slot", "reason"};
    // `node list` sorts by columns of its own, and its rows are as the gateway has them.
    if (source.size() > 1 && source[0] == "node" && source[1] == "list")
      return {"name",
              "id",
              "state",
              "reason",
              "age_ms",
              "home",
              "group",
              "address",
              "incarnation",
              "cores",
              "labels",
              "running",
              "utilisation",
              "cores_reserved",
              "memory_bytes",
              "queued",
              "done",
              "accelerators",
              "failed",
              "memory_reserved_bytes",
              "beat",
              "taints",
              "replicas",
              "home_epoch",
              "accelerators_reserved",
              "capacity_origin",
              "limits_backend",
              "profile_version"};
    if (auto* found = outline_of(source))
      for (auto& option : found->options)
        if (option.names.front() == "--sort")
          return option.choices;
    return {};
  };
  result.apps = [this] { return names("/v1/apps", "apps", known_apps_, apps_asked_); };
  result.nodes = [this] { return names("/v1/nodes?limit=1000", "nodes", known_nodes_, nodes_asked_); };
  result.messages = [this](const std::string& app) { return message_names(schema_soon(app)); };
  result.fields = [this](const std::string& app, const std::string& message) {
    return field_words(schema_soon(app), message);
  };
  result.variables = std::move(variables);
  result.files = [](const std::string& begin) {
    std::vector<std::string> found;
    auto slash = begin.rfind('/');
    auto directory = slash == std::string::npos ? std::string{} : begin.substr(0, slash + 1);
    std::error_code error;
    for (std::filesystem::directory_iterator i{directory.empty() ? "." : directory, error}, end; !error && i != end;
         i.increment(error)) {
      auto name = directory + i->path().filename().string();
      auto hidden = i->path().filename().string().starts_with('.');
      std::error_code ignored;
      if (name.starts_with(begin) && (!hidden || begin.size() > directory.size()))
        found.push_back(name + (i->is_directory(ignored) ? "/" : ""));
    }
    return found;
  };
  return result;
}

} // namespace astra::shell
