#include "runtime/cli/command_line.hpp"

#include "config/contexts.hpp"
#include "config/endpoint.hpp"
#include "config/naming.hpp"
#include "config/spelling.hpp"
#include "config/units.hpp"
#include "p2p/file_io.hpp"
#include "runtime/cli/command_context.hpp"
#include "runtime/cli/commands/claims.hpp"
#include "runtime/cli/commands/commands.hpp"
#include "runtime/cli/commands/completion.hpp"
#include "runtime/cli/commands/debug.hpp"
#include "runtime/cli/commands/man.hpp"
#include "runtime/cli/commands/model.hpp"
#include "runtime/cli/commands/quota.hpp"
#include "runtime/cli/commands/wait.hpp"
#include "runtime/cli/rate.hpp"
#include "runtime/cli/table.hpp"
#include "runtime/http/fetch.hpp"
#include "runtime/transfer/origin_url.hpp"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <csignal>
#include <cstddef>
#include <iostream>
#include <map>
#include <string>
#include <string_view>
#include <sys/ioctl.h>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

// The only translation unit that knows CLI11.  CLI11 takes the arguments apart; what the user reads about them, help
// and errors, is written here, because its own exit codes (105 to 109) and messages name neither cause nor cure.

namespace astra {
namespace {

constexpr std::size_t help_width = 96;

constexpr std::string_view gateway_forms = "write HOST:PORT, such as 127.0.0.1:9750, https://HOST:PORT or unix:PATH";

// Breaks text between words so that no line is longer than help_width.
std::string wrapped(std::string_view text, std::size_t indent) {
  std::string out;
  std::size_t column = 0;
  while (!text.empty()) {
    auto length = std::min(text.find(' '), text.size());
    auto word = text.substr(0, length);
    text.remove_prefix(std::min(text.size(), length + 1));
    if (word.empty())
      continue;
    if (column > 0 && indent + column + 1 + word.size() > help_width) {
      out += '\n' + std::string(indent, ' ');
      column = 0;
    } else if (column > 0) {
      out += ' ';
      ++column;
    }
    out += word;
    column += word.size();
  }
  return out;
}

[[noreturn]] void reject(const std::string& option, const std::string& problem) {
  throw CLI::ValidationError(option, problem);
}

milliseconds read_duration(const std::string& option, const std::string& text) {
  auto duration = parse_duration(text);
  if (!duration.value)
    reject(option, duration.problem);
  if (duration.value->count() == 0)
    reject(option, "must be more than 0");
  return *duration.value;
}

std::uint32_t read_count(const std::string& option, const std::string& text, std::uint32_t most) {
  std::uint32_t value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || value < 1 || value > most)
    reject(option, fmt::format("'{}' is not a number from 1 to {}", text, most));
  return value;
}

double read_cores(const std::string& option, const std::string& text) {
  double value = 0.0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size())
    reject(option, fmt::format("'{}' is not a number of cores, such as 2 or 0.5", text));
  if (auto cores = parse_cores(value); !cores.value)
    reject(option, cores.problem);
  return value;
}

/// "30%" or "0.3".
double read_share(const std::string& option, const std::string& text) {
  double value = 0.0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc{} && end != text.data() + text.size() && *end == '%') {
    value /= 100.0;
    ++end;
  }
  if (error != std::errc{} || end != text.data() + text.size() || !(value >= 0.0 && value <= 1.0))
    reject(option, fmt::format("'{}' is not a share, such as 30% or 0.3", text));
  return value;
}

constexpr std::array output_formats{std::pair{"table", output_format::table},   std::pair{"json", output_format::json},
                                    std::pair{"ndjson", output_format::ndjson}, std::pair{"csv", output_format::csv},
                                    std::pair{"line", output_format::line},     std::pair{"name", output_format::name}};

volatile std::sig_atomic_t interrupt_seen = 0;

bool was_interrupted() {
  static const auto listens = [] {
    struct sigaction action = {};
    action.sa_handler = [](int) { interrupt_seen = 1; };
    // A second one ends the process, as if nobody had listened.
    action.sa_flags = SA_RESTART | static_cast<int>(SA_RESETHAND);
    return sigaction(SIGINT, &action, nullptr) == 0;
  }();
  return listens && interrupt_seen != 0;
}

std::size_t columns_of_stderr() {
  winsize size = {};
  return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

std::string path_of(const CLI::App* app);

/// One of the columns of `node list`.
/// @returns what is wrong; empty: nothing.
std::string column_problem(const std::string& name) {
  auto known = node_columns();
  if (std::find(known.begin(), known.end(), name) != known.end())
    return {};
  auto meant = closest(name, known);
  return fmt::format("no column '{}'{}", name,
                     meant ? fmt::format("; did you mean '{}'?", *meant)
                           : fmt::format("; there are {}", fmt::join(known, ", ")));
}

std::vector<std::string> split_at_commas(const std::string& text) {
  std::vector<std::string> parts;
  for (std::size_t begin = 0, end = 0; end != std::string::npos; begin = end + 1) {
    end = text.find(',', begin);
    parts.push_back(text.substr(begin, end == std::string::npos ? end : end - begin));
  }
  return parts;
}

class command_line {
public:
  explicit command_line(command_environment& environment);

  int run(int argc, const char* const* argv);

  /// What `run` would do is not done.
  void only_check() { only_check_ = true; }

  command_node tree() const { return describe(&root_); }

private:
  using action = std::function<int(command_context&)>;

  CLI::App* add(CLI::App* parent, const std::string& name, const command_text& text, action what = {});
  CLI::App* lists(CLI::App* command, std::vector<std::string> keys);
  void add_global_options();
  void add_run_and_dev();
  void add_node();
  void add_events();
  void add_quota();
  void add_worker();
  void add_app();
  void add_claims();
  void add_invoke_and_router();
  void add_task();
  void add_model();
  void add_config();
  void add_ca();
  void add_bench();
  void add_sim();
  void add_manual();

  int complete_words(std::vector<std::string> words);
  void choose_from(const CLI::Option* option, std::vector<std::string> choices);
  command_node describe(const CLI::App* app) const;
  void add_shell();

  bool set_gateway(const std::string& text);
  bool use_context(const std::string& name, std::string& problem);
  const CLI::App* deepest() const;
  std::vector<std::string> commands_below(const CLI::App* app) const;

  int fail_usage(const std::string& message, const CLI::App* app);
  int explain(const CLI::ParseError& error);
  int explain_leftover(const std::string& word);
  int print_help(const std::vector<std::string>& words);
  std::string help_of(const CLI::App* app) const;
  std::string overview() const;

  command_environment& environment_;
  global_options options_;
  bool no_colour_ = false;
  /// As -o says it.
  std::string format_name_;
  CLI::App root_{"", "astra"};
  std::map<const CLI::App*, command_text> texts_;
  /// Of the commands that know more formats than table and json.
  std::map<const CLI::App*, std::vector<output_format>> formats_;
  /// Of the options and arguments that take one of a few words.
  std::map<const CLI::Option*, std::vector<std::string>> choices_;
  action action_;
  bool only_check_ = false;

  // What the options of the commands are read into.
  std::string process_file_;
  dev_options dev_;
  dev_shell_options dev_shell_;
  std::string name_;
  list_options list_;
  std::string watch_;
  std::vector<std::string> node_columns_;
  events_options events_;
  apply_options apply_;
  app_new_options app_new_;
  worker_run_options worker_;
  rollback_options rollback_;
  claims_options claims_;
  std::string wait_;
  invoke_options invoke_;
  std::uint32_t picks_ = 20;
  task_submit_options task_submit_;
  task_list_options task_list_;
  task_options task_;
  std::string task_wait_;
  model_options model_;
  config_check_options config_check_;
  config_show_options config_show_;
  ca_options ca_;
  join_options join_;
  view_bench_options bench_;
  sim_options sim_;
  sim_shell_options sim_shell_;
  sim_shrink_options sim_shrink_;
  std::string completed_shell_;
  man_options man_;
  std::string code_;
  std::string bundle_file_;
  wait_options wait_for_;
  std::vector<std::string> help_words_;
  shell_options shell_;
};

command_line::command_line(command_environment& environment) : environment_(environment) {
  root_.require_subcommand(0, 1);
  root_.set_help_flag("-h,--help", "Show this help");
  texts_[&root_] = {};
  add_global_options();
  add_run_and_dev();
  add(&root_, "status", status_text, show_status);
  add_node();
  add_events();
  add_quota();
  add_app();
  add_worker();
  add_claims();
  add_invoke_and_router();
  add_task();
  add_model();
  add_config();
  add_ca();
  add_bench();
  add_sim();
  add_manual();
  add_shell();
  add(&root_, "version", version_text, show_version);
  add(&root_, "help", {"Show the help of a command", "", "astra help app apply"})
      ->add_option("COMMAND", help_words_, "The command's words");
}

CLI::App* command_line::add(CLI::App* parent, const std::string& name, const command_text& text, action what) {
  auto* app = parent->add_subcommand(name, std::string{text.summary});
  // Global options may stand behind the command, too.
  app->fallthrough();
  app->require_subcommand(0, 1);
  if (what)
    app->callback([this, what = std::move(what)] { action_ = what; });
  texts_[app] = text;
  return app;
}

/// Gives a command what every list takes.
/// @param keys to sort by
CLI::App* command_line::lists(CLI::App* command, std::vector<std::string> keys) {
  formats_[command] = {output_format::ndjson, output_format::csv, output_format::line, output_format::name};
  command
      ->add_option("--where", list_.where,
                   fmt::format("Only rows for which this holds, such as '{} == \"a\" and not {} == \"b\"'",
                               keys.front(), keys.back()))
      ->type_name("FILTER");
  auto* sort = command->add_option("--sort", list_.sort, "Sort by these keys; -KEY: the largest first");
  sort->type_name("KEY[,KEY...]");
  choose_from(sort, std::move(keys));
  command
      ->add_option_function<std::string>(
          "--limit", [this](const std::string& text) { list_.limit = read_count("--limit", text, 1'000'000'000); },
          "At most so many; how many there are is told")
      ->type_name("N");
  command->add_flag("--watch{1s}", watch_, "Show it again and again, until ^C (default: once in 1s)")
      ->type_name("[DURATION]");
  return command;
}

void command_line::add_global_options() {
  // Before the others: what they say counts more.
  root_
      .add_option_function<std::string>(
          "--context",
          [this](const std::string& text) {
            if (std::string problem; !use_context(text, problem))
              reject("--context", problem);
          },
          "Cluster by its name in contexts.toml; see 'astra help context list' (default: the current one)")
      ->type_name("NAME");
  root_
      .add_option_function<std::string>(
          "--gateway",
          [this](const std::string& text) {
            if (!set_gateway(text))
              reject("--gateway", fmt::format("'{}' is not an address; {}", text, gateway_forms));
          },
          "Gateway to ask: HOST:PORT, https://HOST:PORT or unix:PATH (default: $ASTRA_GATEWAY, else 127.0.0.1:9750)")
      ->type_name("ADDRESS");
  root_.add_option("--cert", options_.certificate, "Your certificate, for https:// (default: $ASTRA_CERT)")
      ->type_name("FILE");
  root_.add_option("--key", options_.key, "The key for it (default: $ASTRA_KEY)")->type_name("FILE");
  root_.add_option("--ca", options_.ca, "The cluster's authority, for https:// (default: $ASTRA_CA)")
      ->type_name("FILE");
  auto* format = root_.add_option_function<std::string>(
      "-o",
      [this](const std::string& text) {
        auto known =
            std::find_if(output_formats.begin(), output_formats.end(), [&](auto& one) { return text == one.first; });
        if (known == output_formats.end())
          reject("-o",
                 fmt::format("'{}' is not a format; write table, json, or for lists ndjson, csv, line or name", text));
        options_.format = known->second;
        format_name_ = text;
      },
      "table (default) for people, json for programs: exact and complete; lists also: ndjson, csv, line, name");
  format->type_name("FORMAT");
  choose_from(format, {"table", "json", "ndjson", "csv", "line", "name"});
  root_
      .add_option_function<std::string>(
          "--timeout", [this](const std::string& text) { options_.timeout = read_duration("--timeout", text); },
          "Wait for the gateway's answer (default: 10s; for invoke: the app's deadline; for wait: 60s in all)")
      ->type_name("DURATION");
  root_.add_flag("-v,--verbose", options_.verbose, "Tell more on stderr");
  root_.add_flag("--no-color", no_colour_, "No colours; so does NO_COLOR in the environment");
  root_.add_flag_callback(
      "--version", [this] { action_ = show_version; }, "Print the versions");
}

void command_line::add_run_and_dev() {
  auto* run = add(&root_, "run", run_text,
                  [this](command_context& context) { return run_process_file(context, process_file_); });
  run->add_option("-c", process_file_, "The process's configuration file")->required()->type_name("FILE");

  auto* dev = add(&root_, "dev", dev_text,
                  [this](command_context& context) { return run_dev_cluster(context, dev_, dev_shell_); });
  dev->add_option_function<std::string>(
         "--nodes",
         [this](const std::string& text) {
           dev_.nodes = read_count("--nodes", text, 64);
           dev_.nodes_stated = true;
         },
         "Nodes to start (default: 3)")
      ->type_name("N");
  dev->add_option_function<std::string>(
         "--resources",
         [this](const std::string& text) {
           dev_.resources = read_count("--resources", text, 16);
           dev_.resources_stated = true;
         },
         "Resources to start (default: 1)")
      ->type_name("N");
  dev->add_option_function<std::string>(
         "--cores",
         [this](const std::string& text) {
           dev_.cores.clear();
           for (std::size_t begin = 0, end = 0; end != std::string::npos; begin = end + 1) {
             end = text.find(',', begin);
             dev_.cores.push_back(read_cores("--cores", text.substr(begin, end - begin)));
           }
         },
         "Cores that each node offers, one number for all or a list (default: its share of the machine)")
      ->type_name("CORES[,CORES...]");
  dev->add_option_function<std::string>(
         "--memory",
         [this](const std::string& text) {
           auto size = parse_size(text);
           if (!size.value)
             reject("--memory", size.problem);
           dev_.memory_per_node_bytes = *size.value;
         },
         "Memory that each node offers (default: its share of half the machine)")
      ->type_name("SIZE");
  dev->add_option_function<std::string>(
         "--listen",
         [this](const std::string& text) {
           if (!parse_endpoint(text))
             reject("--listen", fmt::format("'{}' is not an address; write HOST:PORT, such as 127.0.0.1:9750", text));
           dev_.listen = text;
         },
         "Where the gateway listens (default: 127.0.0.1:9750 when free, else a free port)")
      ->type_name("HOST:PORT");
  dev->add_option("--app", dev_.app_files, "App file to run from the start; may be repeated")
      ->type_name("FILE")
      ->allow_extra_args(false);
  dev->add_option("--dir", dev_.directory, "New or empty directory for files, logs and state; stays behind")
      ->type_name("DIRECTORY");
  dev->add_flag("--keep", dev_.keep, "Leave the temporary directory with files and logs behind");
  dev->add_option("-c", dev_shell_.commands, "Do this with the cluster, then end it; may be repeated")
      ->type_name("STATEMENTS")
      ->allow_extra_args(false);
  dev->add_option("-f,--file", dev_shell_.file, "Run this script with the cluster, then end it")->type_name("FILE");
  dev->add_flag("--no-shell", dev_shell_.no_shell, "No shell at a terminal: the cluster runs until ^C");
  formats_[dev] = {output_format::ndjson, output_format::csv, output_format::line};
}

void command_line::add_worker() {
  auto* worker = add(&root_, "worker", worker_text,
                     [this](command_context& context) { return run_actor_worker(context, worker_); });
  worker->add_option("--library", worker_.library, "The library, or a directory with one file that ends in .so")
      ->required()
      ->type_name("FILE");
  worker->add_option("--actor", worker_.actor, "Name of the actor to run")->type_name("ACTOR");
  worker
      ->add_option_function<std::string>(
          "--port",
          [this](const std::string& text) {
            worker_.port = static_cast<std::uint16_t>(read_count("--port", text, 65535));
          },
          "Where it listens (default: $PORT, else a free one)")
      ->type_name("PORT");
  worker->add_option("ARGUMENT", worker_.arguments, "NAME=VALUE of a start argument of the actor; may be repeated");
}

void command_line::add_node() {
  auto* node = add(&root_, "node", node_text);
  auto* list = lists(add(node, "list", node_list_text,
                         [this](command_context& context) { return astra::list_nodes(context, list_, node_columns_); }),
                     node_columns());
  list->get_option("--where")->description("Only nodes for which this holds, such as 'util>0.8 and zone==\"a\"'");
  list->get_option("--sort")->check([](const std::string& text) {
    std::string problem;
    for (auto& key : split_at_commas(text))
      if (problem.empty())
        problem = column_problem(key.starts_with('-') ? key.substr(1) : key);
    return problem;
  });
  auto* shown = list->add_option_function<std::string>(
      "--columns",
      [this](const std::string& text) {
        node_columns_ = split_at_commas(text);
        for (auto& name : node_columns_)
          if (auto problem = column_problem(name); !problem.empty())
            reject("--columns", problem);
      },
      "These columns of a table or of csv: " + fmt::format("{}", fmt::join(node_columns(), ",")));
  shown->type_name("COLUMN[,COLUMN...]");
  choose_from(shown, node_columns());
  auto named = [&](const char* verb, const command_text& text, int (*what)(command_context&, const std::string&)) {
    add(node, verb, text, [this, what](command_context& context) { return what(context, name_); })
        ->add_option("NAME", name_, "The node's name")
        ->required();
  };
  named("show", node_show_text, show_node);
  named("drain", node_drain_text, drain_node);
}

void command_line::add_events() {
  auto* events = lists(add(&root_, "events", events_text,
                           [this](command_context& context) { return show_events(context, events_, list_); }),
                       event_keys());
  events->add_flag("-f,--follow", events_.follow, "Go on with what happens, until ^C");
  events->add_option("--node", events_.node, "Only of this node")->type_name("NAME");
  events
      ->add_option_function<std::string>(
          "--since", [this](const std::string& text) { events_.since = read_duration("--since", text); },
          "Only of this last time, such as 10m")
      ->type_name("DURATION");
  events
      ->add_option_function<std::string>(
          "--last", [this](const std::string& text) { events_.last = read_count("--last", text, 10'000); },
          "At most so many that have happened already (default: 100, with --since all)")
      ->type_name("N");
}

void command_line::add_quota() {
  auto* quota = add(&root_, "quota", quota_text);
  lists(add(quota, "list", quota_list_text, [this](command_context& context) { return list_quotas(context, list_); }),
        quota_listing().keys);
}

void command_line::add_app() {
  auto* app = add(&root_, "app", app_text);
  lists(add(app, "list", app_list_text, [this](command_context& context) { return list_apps(context, list_); }),
        app_listing().keys);
  auto named = [&](const char* verb, const command_text& text, int (*what)(command_context&, const std::string&)) {
    add(app, verb, text, [this, what](command_context& context) { return what(context, name_); })
        ->add_option("NAME", name_, "The app's name")
        ->required();
  };
  named("show", app_show_text, show_app);
  auto* apply =
      add(app, "apply", app_apply_text, [this](command_context& context) { return apply_app_file(context, apply_); });
  apply->add_option("FILE", apply_.file, "The app's file")->required();
  apply->add_flag("--wait{30s}", wait_, "Wait until every replica is ready (default: 30s)")->type_name("[DURATION]");
  apply->add_option("--plan", apply_.plan, "Only if the plan of this index still holds")->type_name("INDEX");
  add(app, "plan", app_plan_text, [this](command_context& context) { return plan_app_file(context, apply_.file); })
      ->add_option("FILE", apply_.file, "The app's file")
      ->required();
  auto* made =
      add(app, "new", app_new_text, [this](command_context& context) { return write_new_app(context, app_new_); });
  made->add_option("NAME", app_new_.name, "What the app and its actor are called")->required();
  made->add_option("DIR", app_new_.directory, "Where the files go (default: a new directory of the app's name)");
  lists(add(app, "history", app_history_text,
            [this](command_context& context) { return show_app_history(context, name_, list_); }),
        history_listing().keys)
      ->add_option("NAME", name_, "The app's name")
      ->required();
  auto* rollback = add(app, "rollback", app_rollback_text,
                       [this](command_context& context) { return roll_back_app(context, rollback_); });
  rollback->add_option("NAME", rollback_.app, "The app's name")->required();
  rollback
      ->add_option_function<std::string>(
          "--to", [this](const std::string& text) { rollback_.to = read_count("--to", text, 4'000'000'000); },
          "Number of the revision (default: the one before the current one)")
      ->type_name("N");
  named("delete", app_delete_text, delete_app_named);
}

void command_line::add_claims() {
  auto* claims = add(&root_, "claims", claims_text);
  auto* log = lists(add(claims, "log", claims_log_text,
                        [this](command_context& context) { return show_claims(context, claims_, list_); }),
                    claim_listing().keys);
  log->add_option("APP", claims_.app, "The app's name")->required();
  log->get_option("--limit")->description("At most so many, the last ones (default: 100; with --where or --sort all)");
  log->add_option_function<std::string>(
         "--from", [this](const std::string& text) { claims_.from = read_count("--from", text, 4'000'000'000); },
         "Number of the first one (default: the last ones)")
      ->type_name("N");
  add(claims, "verify", claims_verify_text,
      [this](command_context& context) { return verify_claims(context, claims_); })
      ->add_option("APP|FILE", claims_.what, "An app, or the files of a log, the oldest first")
      ->required();
}

void command_line::add_invoke_and_router() {
  add(&root_, "why", why_text, [this](command_context& context) { return tell_why(context, name_); })
      ->add_option("WHAT", name_, "app/NAME, replica/APP/INDEX or node/NAME")
      ->required();
  auto* invoke =
      add(&root_, "invoke", invoke_text, [this](command_context& context) { return invoke_app(context, invoke_); });
  invoke->add_option("APP", invoke_.app, "The app's name")->required();
  invoke->add_option("--in", invoke_.file, "The request's body (default: stdin)")->type_name("FILE");
  invoke->add_option("--content-type", invoke_.content_type, "Type of the body (default: application/octet-stream)")
      ->type_name("TYPE");

  invoke->add_option("--client", invoke_.client, "Whose request it is: places in a full queue are shared by client")
      ->type_name("NAME");
  invoke->add_option("--affinity", invoke_.affinity, "Requests with the same key go to the same node while it has room")
      ->type_name("KEY");
  invoke->add_option("--size", invoke_.size, "Expected work relative to the app's mean, such as 4 or 0.2")
      ->type_name("FACTOR");

  auto* router = add(&root_, "router", router_text);
  lists(add(router, "table", router_table_text,
            [this](command_context& context) { return show_router_table(context, name_, list_); }),
        router_listing().keys)
      ->add_option("APP", name_, "The app's name")
      ->required();
  auto* pick = add(router, "pick", router_pick_text,
                   [this](command_context& context) { return show_router_picks(context, name_, picks_); });
  pick->add_option("APP", name_, "The app's name")->required();
  pick->add_option("--n", picks_, "How many (default: 20)")->type_name("N")->check(CLI::Range(1, 10'000));
}

void command_line::add_task() {
  auto* task = add(&root_, "task", task_text);
  auto* submit = add(task, "submit", task_submit_text,
                     [this](command_context& context) { return submit_task(context, task_submit_); });
  submit->add_option("APP", task_submit_.app, "The app's name")->required();
  submit->add_option("FILE", task_submit_.file, "The task's body; -: stdin (default)");
  submit
      ->add_option("--content-type", task_submit_.content_type, "Type of the body (default: application/octet-stream)")
      ->type_name("TYPE");
  submit->add_option("--key", task_submit_.key, "Your own name for it: sent twice, it is taken once")->type_name("KEY");
  submit
      ->add_option_function<std::string>(
          "--priority",
          [this](const std::string& text) {
            if (text.size() != 1 || text.front() < '0' || text.front() > '9')
              reject("--priority", fmt::format("'{}' is not a number from 0 to 9, the highest first", text));
            task_submit_.priority = static_cast<std::uint32_t>(text.front() - '0');
          },
          "0 to 9, the highest first (default: 5)")
      ->type_name("N");
  auto duration = [submit](const std::string& name, std::optional<milliseconds>& to, const std::string& what) {
    submit
        ->add_option_function<std::string>(
            name, [name, &to](const std::string& text) { to = read_duration(name, text); }, what)
        ->type_name("DURATION");
  };
  duration("--deadline", task_submit_.deadline, "It is given up this long from now (default: 24h)");
  duration("--keep", task_submit_.keep,
           "Its result is kept this long after its end (default: as the gateway's file says, 24h)");
  submit->add_flag("--wait{30d}", task_wait_, "Wait for its end, and print its result (default: however long it takes)")
      ->type_name("[DURATION]");

  auto* list = lists(add(task, "list", task_list_text,
                         [this](command_context& context) { return list_tasks(context, task_list_, list_); }),
                     task_listing().keys);
  list->add_option("--app", task_list_.app, "Only of this app")->type_name("APP");
  static const std::vector<std::string> states = {"queued", "running", "done", "failed", "cancelled", "expired"};
  auto* state = list->add_option_function<std::string>(
      "--state",
      [this](const std::string& text) {
        if (std::find(states.begin(), states.end(), text) == states.end()) {
          auto meant = closest(text, states);
          reject("--state", fmt::format("no state '{}'{}", text,
                                        meant ? fmt::format("; did you mean '{}'?", *meant)
                                              : fmt::format("; there are {}", fmt::join(states, ", "))));
        }
        task_list_.state = text;
      },
      "Only those that are queued, running, done, failed, cancelled or expired");
  state->type_name("STATE");
  choose_from(state, states);
  list->get_option("--limit")->description(
      "At most so many, the newest first (default: 100; with --where or --sort all)");
  auto with_id = [&](const char* verb, const command_text& text, int (*what)(command_context&, const task_options&)) {
    auto* made = add(task, verb, text, [this, what](command_context& context) { return what(context, task_); });
    made->add_option("ID", task_.id, "The task's id")->required();
    return made;
  };
  with_id("show", task_show_text, show_task);
  with_id("result", task_result_text, fetch_task_result)
      ->add_option("-f,--file", task_.file, "Write it here (default: stdout)")
      ->type_name("FILE");
  with_id("cancel", task_cancel_text, cancel_task)
      ->add_flag("--drop", task_.drop, "If it has ended, forget it and its result");
}

void command_line::add_model() {
  auto* model = add(&root_, "model", model_text);
  enum class version { none, any, needed };
  auto named = [this](CLI::App* to, version wanted) {
    to->add_option_function<std::string>(
          "NAME",
          [this, wanted](const std::string& text) {
            content_reference reference;
            if (auto problem = parse_content_reference(text, reference); !problem.empty())
              reject("NAME", problem);
            if (wanted == version::none && reference.version != 0)
              reject("NAME", fmt::format("the cluster numbers the versions; write '{}'", reference.name));
            if (wanted == version::needed && reference.version == 0)
              reject("NAME", fmt::format("name the version that is to go, such as {}@3", reference.name));
            model_.name = text;
          },
          wanted == version::none ? "The model's name" : "The model's name, or NAME@VERSION")
        ->required();
    return to;
  };
  auto on_nodes = [this](CLI::App* to, const std::string& what) {
    to->add_option("--node", model_.nodes, what)->type_name("NAME")->allow_extra_args(false);
  };
  auto no_wait = [this](CLI::App* to) {
    to->add_flag("--no-wait", model_.no_wait, "Only begin it, and print the jobs");
  };
  auto* publish = named(add(model, "publish", model_publish_text,
                            [this](command_context& context) { return publish_model(context, model_); }),
                        version::none);
  publish->add_option("PATH", model_.path, "The directory or file")->required();
  publish->add_option("--node", model_.node, "The node that reads PATH (default: one on this machine)")
      ->type_name("NAME");
  publish
      ->add_option_function<std::string>(
          "--origin",
          [this](const std::string& text) {
            if (auto problem = origin_problem(text); !problem.empty())
              reject("--origin", problem);
            model_.origin = text;
          },
          "Where the files are, too: http://HOST/PATH/ or https://HOST/PATH/")
      ->type_name("URL");
  publish->add_flag("--pin", model_.pin, "Keep it on that node when room is needed for others");
  no_wait(publish);
  lists(add(model, "list", model_list_text, [this](command_context& context) { return list_models(context, list_); }),
        model_listing().keys);
  named(add(model, "show", model_show_text,
            [this](command_context& context) { return show_model(context, model_.name); }),
        version::any);
  auto* fetch = named(
      add(model, "fetch", model_fetch_text, [this](command_context& context) { return fetch_model(context, model_); }),
      version::any);
  on_nodes(fetch, "This node; may be repeated");
  fetch
      ->add_option_function<std::string>(
          "--count", [this](const std::string& text) { model_.count = read_count("--count", text, 1'000'000); },
          "So many nodes, those that have it counted")
      ->type_name("N");
  fetch->add_flag("--all", model_.all, "All nodes that keep models");
  fetch->add_flag("--pin", model_.pin, "Keep it on them when room is needed for others");
  auto* priority = fetch->add_option("--priority", model_.priority, "low, normal or high (default: normal)")
                       ->type_name("WORD")
                       ->check(CLI::IsMember({"low", "normal", "high"}));
  choose_from(priority, {"low", "normal", "high"});
  no_wait(fetch);
  auto* verify = named(add(model, "verify", model_verify_text,
                           [this](command_context& context) { return verify_model(context, model_); }),
                       version::any);
  on_nodes(verify, "This node; may be repeated (default: all that have it)");
  no_wait(verify);
  named(
      add(model, "rm", model_rm_text, [this](command_context& context) { return remove_model(context, model_.name); }),
      version::needed);
  for (auto pinned : {true, false})
    on_nodes(named(add(model, pinned ? "pin" : "unpin", pinned ? model_pin_text : model_unpin_text,
                       [this, pinned](command_context& context) { return pin_model(context, model_, pinned); }),
                   version::any),
             "This node; may be repeated (default: all that have it)");
  lists(add(model, "nodes", model_nodes_text,
            [this](command_context& context) { return list_model_nodes(context, list_); }),
        model_node_listing().keys);
  add(model, "limit", model_limit_text, [this](command_context& context) { return limit_models(context, model_); })
      ->add_option_function<std::string>(
          "RATE",
          [this](const std::string& text) {
            auto rate = parse_rate(text);
            if (!rate.value)
              reject("RATE", rate.problem);
            model_.limit = *rate.value;
          },
          "Such as 10GB/s, 800Mbit/s, 1.5GiB/s, or none (default: show the limit)");
}

void command_line::add_config() {
  auto* config = add(&root_, "config", config_text);
  auto add_kind = [](CLI::App* to, std::optional<file_kind>& kind) {
    to->add_flag_callback(
        "--app", [&kind] { kind = file_kind::app; }, "The file is an app's (default: by its content)");
    to->add_flag_callback(
        "--process", [&kind] { kind = file_kind::process; }, "The file is a process's (default: by its content)");
  };
  auto* check = add(config, "check", config_check_text,
                    [this](command_context& context) { return check_config(context, config_check_); });
  check->add_option("FILE", config_check_.files, "Files to check")->required();
  add_kind(check, config_check_.kind);
  auto* show = add(config, "show", config_show_text,
                   [this](command_context& context) { return show_config(context, config_show_); });
  show->add_option("FILE", config_show_.file, "The file")->required();
  add_kind(show, config_show_.kind);
  show->add_flag("--effective", config_show_.effective, "Defaults too");
}

void command_line::add_ca() {
  auto* ca = add(&root_, "ca", ca_text);
  auto verb = [&](const char* name, const command_text& text, int (*what)(command_context&, const ca_options&)) {
    return add(ca, name, text, [this, what](command_context& context) { return what(context, ca_); });
  };
  auto in_directory = [&](CLI::App* to) {
    to->add_option("--dir", ca_.directory, "The authority's directory")->required()->type_name("DIR");
    return to;
  };
  auto add_identity = [&](CLI::App* to) {
    auto* roles = to->add_option_function<std::vector<std::string>>(
        "--role",
        [this](const std::vector<std::string>& words) {
          for (auto& word : words) {
            auto role = parse_peer_role(word);
            if (!role)
              reject("--role", fmt::format("'{}' is not a role; there are: node, resource, scheduler, gateway, "
                                           "aggregator, operator, viewer",
                                           word));
            ca_.roles.add(*role);
          }
        },
        "What its holder may be: node, resource, scheduler, gateway, aggregator, operator, viewer; may be repeated");
    roles->required()->type_name("ROLE")->allow_extra_args(false);
    choose_from(roles, {"node", "resource", "scheduler", "gateway", "aggregator", "operator", "viewer"});
    to->add_option("--name", ca_.name, "The process's name, or the person's")->required()->type_name("NAME");
    to->add_option("--app", ca_.apps, "App that a scheduler may run, such as 'ocr*' (default: all); may be repeated")
        ->type_name("APP")
        ->allow_extra_args(false);
    to->add_option("--nodes", ca_.nodes, "Nodes that an aggregator speaks for, such as 'rack1-*'; may be repeated")
        ->type_name("NODES")
        ->allow_extra_args(false);
  };
  auto add_ttl = [&](CLI::App* to, const char* description) {
    to->add_option_function<std::string>(
          "--ttl", [this](const std::string& text) { ca_.ttl = read_duration("--ttl", text); }, description)
        ->type_name("DURATION");
  };
  auto* init = in_directory(verb("init", ca_init_text, init_ca));
  init->add_option("--cluster", ca_.cluster, "The cluster's name, as net.cluster says it")
      ->required()
      ->type_name("NAME");
  auto* issue = in_directory(verb("issue", ca_issue_text, issue_certificate));
  add_identity(issue);
  issue->add_option("--host", ca_.hosts, "DNS name or address of a gateway, for clients such as curl; may be repeated")
      ->type_name("HOST")
      ->allow_extra_args(false);
  add_ttl(issue, "How long it is good (default: 24h, for operators and viewers 90d)");
  issue->add_option("--out", ca_.out, "Directory for the files")->required()->type_name("DIR");
  issue->add_flag("--replace", ca_.replace, "Overwrite the files of an earlier certificate");
  auto* revoke = in_directory(verb("revoke", ca_revoke_text, revoke_certificate));
  revoke->add_option("--serial", ca_.serial, "Its serial number or fingerprint")->type_name("HEX");
  revoke->add_option("--certificate", ca_.certificate, "Its file")->type_name("FILE");
  in_directory(lists(add(ca, "list", ca_list_text,
                         [this](command_context& context) { return list_certificates(context, ca_, list_); }),
                     certificate_listing().keys));
  verb("show", ca_show_text, show_certificate)
      ->add_option("FILE", ca_.certificate, "The certificate's file")
      ->required();
  auto* token = in_directory(verb("join-token", ca_join_token_text, make_join_token));
  add_identity(token);
  add_ttl(token, "How long it may be used (default: 10m)");

  auto* join =
      add(&root_, "join", join_text, [this](command_context& context) { return join_cluster(context, join_); });
  join->add_option("--token", join_.token, "The token of astra ca join-token; -: from stdin, where nobody else sees it")
      ->type_name("TOKEN");
  join->add_option("--out", join_.out, "Directory for the files")->type_name("DIR");
  join->add_flag("--replace", join_.replace, "Overwrite the files of an earlier certificate");
  join->add_flag("--renew", join_.renew, "Renew the certificate of --cert and --key");
}

void command_line::add_bench() {
  auto* bench = add(&root_, "bench", bench_text);
  auto* view =
      add(bench, "view", bench_view_text, [this](command_context& context) { return bench_view(context, bench_); });
  auto count = [view](const std::string& name, std::uint32_t& to, std::uint32_t most, const std::string& what) {
    view->add_option_function<std::string>(
            name, [name, &to, most](const std::string& text) { to = read_count(name, text, most); }, what)
        ->type_name("N");
  };
  auto share = [view](const std::string& name, double& to, const std::string& what) {
    view->add_option_function<std::string>(
            name, [name, &to](const std::string& text) { to = read_share(name, text); }, what)
        ->type_name("SHARE");
  };
  count("--nodes", bench_.nodes, 10'000'000, "Nodes that beat (default: 10000)");
  view->add_option_function<std::string>(
          "--resources",
          [this](const std::string& text) {
            if (text.find(':') == std::string::npos) {
              bench_.resources = read_count("--resources", text, 64);
              return;
            }
            bench_.addresses.clear();
            for (std::size_t begin = 0, end = 0; end != std::string::npos; begin = end + 1) {
              end = text.find(',', begin);
              bench_.addresses.push_back(text.substr(begin, end - begin));
              if (!parse_endpoint(bench_.addresses.back()))
                reject("--resources", fmt::format("'{}' is not an address; write HOST:PORT, such as 127.0.0.1:9700",
                                                  bench_.addresses.back()));
            }
          },
          "How many to start (default: 3), or the addresses of those of a cluster that is there")
      ->type_name("N|HOST:PORT[,HOST:PORT...]");
  count("--subscribers", bench_.subscribers, 32, "Processes that get the view (default: 2)");
  count("--swarms", bench_.swarms, 64, "Processes that speak for the nodes (default: 1)");
  view->add_option_function<std::string>(
          "--seconds",
          [this](const std::string& text) {
            bench_.length = std::chrono::seconds{read_count("--seconds", text, 86'400)};
          },
          "How long it is measured, once every node is in every view (default: 30)")
      ->type_name("N");
  count("--hertz", bench_.hertz, 50, "Beats of each node per second (default: 1)");
  share("--changing", bench_.changing, "Share of the beats that tell another load (default: 30%)");
  share("--die", bench_.die, "Share of the nodes that falls silent at half time (default: none)");
  count("--join-rate", bench_.joins_per_s, 10'000'000, "Nodes that join per second (default: 10000)");
  view->add_flag("--join-at-once", bench_.join_at_once, "All nodes join within one heartbeat")
      ->excludes(view->get_option("--join-rate"));
  view->add_flag("--keep", bench_.keep, "Leave the temporary directory with files and logs behind");
}

void command_line::add_sim() {
  auto* sim = add(&root_, "sim", sim_text);
  auto add_fidelity = [this](CLI::App* to) {
    auto* fidelity = to->add_option_function<std::string>(
        "--fidelity",
        [this](const std::string& text) {
          if (text != "wire" && text != "basp")
            reject("--fidelity",
                   fmt::format("'{}' is neither wire (our messages) nor basp (CAF's bytes, slower)", text));
          sim_.fidelity = text;
        },
        "wire: our messages; basp: the bytes of CAF's protocol, up to 50 machines");
    choose_from(fidelity, {"wire", "basp"});
  };
  auto one_file = [this, add_fidelity](CLI::App* to) {
    add_fidelity(to);
    to->add_option("FILE", sim_.files, "The scenario; of run also a script")->required()->expected(1);
    to->add_option("--seed", sim_.seeds, "Which run (default: the scenario's first)");
    to->add_option("--mutant", sim_.mutant, "Break this rule of a protocol (only in astra_mutants)");
    to->add_option("--trace", sim_.trace, "Write what happened here; -: as text to stdout");
    to->add_option("--html", sim_.html, "Write a space-time diagram here");
    to->add_flag("--debug-log", sim_.debug_log, "Hear what actors log at level debug too");
  };
  auto* run = add(sim, "run", sim_run_text, [this](command_context& context) { return run_sim(context, sim_); });
  one_file(run);
  formats_[run] = {output_format::ndjson, output_format::csv, output_format::line};
  one_file(add(sim, "replay", sim_replay_text, [this](command_context& context) { return replay_sim(context, sim_); }));
  auto* explore =
      add(sim, "explore", sim_explore_text, [this](command_context& context) { return explore_sim(context, sim_); });
  explore->add_option("FILE", sim_.files, "Scenarios")->required();
  add_fidelity(explore);
  explore->add_option("--seeds", sim_.seeds, "Which runs, such as 1..1000 (default: the scenario's)");
  explore->add_option_function<std::string>(
      "--jobs", [this](const std::string& text) { sim_.jobs = read_count("--jobs", text, 256); },
      "Processes at work (default: one per core)");
  explore->add_option_function<std::string>(
      "--limit", [this](const std::string& text) { sim_.limit = read_duration("--limit", text); },
      "End after this much time, such as 60s");
  explore->add_flag("--twice", sim_.twice, "Run each seed three times and compare all that happens");
  explore->add_flag("--first-failure", sim_.first_failure, "End at the first failure");
  explore->add_flag("--coverage", sim_.coverage, "Show which faults met which states");
  explore->add_option("--mutant", sim_.mutant, "Break this rule of a protocol (only in astra_mutants)");
  auto* lint = add(sim, "lint", sim_lint_text, [this](command_context& context) { return lint_sim(context, sim_); });
  lint->add_option("FILE", sim_.files, "Scenarios")->required();
  auto* bench =
      add(sim, "bench", sim_bench_text, [this](command_context& context) { return bench_sim(context, sim_); });
  bench->add_option("FILE", sim_.files, "Scenarios")->required();
  add_fidelity(bench);
  bench->add_flag("--unchecked", sim_.unchecked, "Without invariants: the actors and the engine alone");
  bench->add_option("--seeds", sim_.seeds, "Which runs, such as 1..10 (default: 1)");
  add(sim, "checks", sim_checks_text, list_sim_checks);
  auto read_seed = [](const std::string& text) -> std::uint64_t {
    std::uint64_t value = 0;
    auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || end != text.data() + text.size())
      reject("--seed", fmt::format("'{}' is not a number", text));
    return value;
  };
  auto* shrink = add(sim, "shrink", sim_shrink_text,
                     [this](command_context& context) { return run_sim_shrink(context, sim_shrink_); });
  shrink->add_option("FILE", sim_shrink_.file, "The scenario")->required();
  shrink->add_option_function<std::string>(
      "--seed", [this, read_seed](const std::string& text) { sim_shrink_.seed = read_seed(text); },
      "The run that fails (default: the scenario's first)");
  shrink->add_option("--output", sim_shrink_.output, "Write the smallest scenario here (default: stdout)");
  shrink->add_option_function<std::string>(
      "--trials", [this](const std::string& text) { sim_shrink_.trials = read_count("--trials", text, 1'000'000); },
      "Runs at most (default: 200)");
  shrink->add_option_function<std::string>(
      "--limit", [this](const std::string& text) { sim_shrink_.time_limit = read_duration("--limit", text); },
      "Time at most (default: 2m)");
  shrink->add_option("--mutant", sim_shrink_.mutant, "Break this rule of a protocol (only in astra_mutants)");
  auto* shell = add(sim, "shell", sim_shell_text,
                    [this](command_context& context) { return run_sim_shell(context, sim_shell_); });
  shell->add_option("FILE", sim_shell_.file, "The scenario")->required();
  shell->add_option_function<std::string>(
      "--seed", [this, read_seed](const std::string& text) { sim_shell_.seed = read_seed(text); },
      "Which run (default: the scenario's first)");
  shell->add_option_function<std::string>(
      "--at",
      [this](const std::string& text) {
        auto when = parse_fine_duration(text);
        if (!when.value)
          reject("--at", when.problem);
        sim_shell_.at = *when.value;
      },
      "Run to this moment first, such as 9.2s");
  shell->add_option("-c", sim_shell_.commands, "Do this instead of what stdin says; may be repeated");
}

void command_line::add_manual() {
  auto* waits =
      add(&root_, "wait", wait_text, [this](command_context& context) { return wait_for(context, wait_for_); });
  waits->add_option("WHAT", wait_for_.what, "app/NAME, node/NAME, model/NAME@VERSION or task/ID")->required();
  auto* state = waits->add_option("--for", wait_for_.state,
                                  "ready or gone (app), online, offline, drained or gone (node), complete or gone "
                                  "(model), done or gone (task); default: the first of them");
  state->type_name("STATE");
  choose_from(state, wait_states());
  waits
      ->add_option_function<std::string>(
          "--count", [this](const std::string& text) { wait_for_.count = read_count("--count", text, 1'000'000); },
          "Of a model: complete on so many nodes (default: on all that are at it)")
      ->type_name("N");

  add(&root_, "explain", explain_text, [this](command_context& context) {
    return explain_word(context, code_);
  })->add_option("CODE", code_, "An error code, an exit code or the word of a state (default: list them)");
  add(&root_, "cheat", cheat_text, show_cheat_sheet);
  add(add(&root_, "debug", debug_text), "bundle", debug_bundle_text, [this](command_context& context) {
    return write_debug_bundle(context, bundle_file_);
  })->add_option("FILE", bundle_file_, "The new file (default: astra-bundle-TIME.tar here)");
  auto* shell = add(&root_, "completion", completion_text,
                    [this](command_context& context) { return print_completion(context, completed_shell_); })
                    ->add_option_function<std::string>(
                        "SHELL",
                        [this](const std::string& text) {
                          const auto& shells = completion_shells();
                          if (std::find(shells.begin(), shells.end(), text) == shells.end()) {
                            auto meant = closest(text, shells);
                            reject("SHELL", fmt::format("no completion for '{}'; {}", text,
                                                        meant ? fmt::format("did you mean '{}'?", *meant)
                                                              : fmt::format("there are {}", fmt::join(shells, ", "))));
                          }
                          completed_shell_ = text;
                        },
                        "bash, zsh or fish");
  shell->required();
  choose_from(shell, completion_shells());
  auto* man =
      add(&root_, "man", man_text, [this](command_context& context) { return write_manual(context, tree(), man_); });
  man->add_option("COMMAND", man_.words, "The command's words (default: astra itself)");
  man->add_option("--all", man_.directory, "Write the pages of all commands into this directory")->type_name("DIR");
}

void command_line::choose_from(const CLI::Option* option, std::vector<std::string> choices) {
  choices_[option] = std::move(choices);
}

command_node command_line::describe(const CLI::App* app) const {
  const auto& text = texts_.at(app);
  command_node result;
  result.name = app == &root_ ? "astra" : app->get_name();
  result.path = path_of(app);
  result.summary = text.summary;
  result.details = text.details;
  result.examples = text.examples;
  for (const auto* option : app->get_options()) {
    auto known = choices_.find(option);
    auto choices = known == choices_.end() ? std::vector<std::string>{} : known->second;
    auto many = option->get_items_expected_max() > 1;
    if (option->get_positional()) {
      auto name = option->get_name(true);
      const auto* kind = kind_of_argument(result.path, name);
      result.arguments.push_back({name, option->get_description(), option->get_required(), many,
                                  kind != nullptr ? *kind : value_kind::any, std::move(choices), kind == nullptr});
      continue;
    }
    // The root's stands for all.
    if (app != &root_ && option == app->get_help_ptr())
      continue;
    command_option one;
    for (const auto& name : option->get_snames())
      one.names.push_back("-" + name);
    for (const auto& name : option->get_lnames())
      one.names.push_back("--" + name);
    // Checks stand behind the type's name: "WORD:{low,high}", "N:INT in [1 - 10]".
    one.value = option->get_type_name();
    for (const auto* check : {":{", ":INT in"})
      one.value = one.value.substr(0, one.value.find(check));
    one.value_optional = one.value.starts_with('[');
    // A flag has none, and what has no name for its value is a text.
    if (option->get_items_expected_max() == 0 && !one.value_optional)
      one.value.clear();
    one.help = option->get_description();
    one.required = option->get_required();
    one.repeatable = many;
    one.kind = kind_of_option(one.names, one.value);
    one.choices = std::move(choices);
    result.options.push_back(std::move(one));
  }
  for (const auto* below : app->get_subcommands(nullptr))
    result.below.push_back(describe(below));
  return result;
}

int command_line::complete_words(std::vector<std::string> words) {
  if (!words.empty() && words.front() == "--")
    words.erase(words.begin());
  auto root = tree();
  // Who completes a line that names a gateway wants that one's names.
  auto given = root_options_in(root, words);
  for (const auto& [option, value] : given)
    if (std::string problem; option == "--context")
      use_context(value, problem);
  for (const auto& [option, value] : given) {
    if (option == "--gateway")
      set_gateway(value);
    else if (option == "--cert")
      options_.certificate = value;
    else if (option == "--key")
      options_.key = value;
    else if (option == "--ca")
      options_.ca = value;
  }
  command_context context{environment_, options_};
  return print_candidates(context, complete(root, words, names_of_gateway(context)));
}

void command_line::add_shell() {
  auto* shell =
      add(&root_, "shell", shell_text, [this](command_context& context) { return run_shell(context, shell_); });
  formats_[shell] = {output_format::ndjson, output_format::csv, output_format::line};
  shell->add_option("-c", shell_.commands, "Do this instead of what stdin says; may be repeated")
      ->type_name("STATEMENTS")
      ->allow_extra_args(false);
  shell->add_option("-f,--file", shell_.file, "Run this script")->type_name("FILE");
  shell->add_option("--rw", shell_.reason, "Allow changes; the reason stands in the gateway's log")
      ->type_name("REASON");
  shell
      ->add_option("--dev", shell_.dev_directory,
                   "Ask the cluster of astra dev whose directory this is; it takes faults")
      ->type_name("DIRECTORY");

  auto* group = add(&root_, "context", context_text);
  lists(
      add(group, "list", context_list_text, [this](command_context& context) { return list_contexts(context, list_); }),
      context_listing().keys);
  add(group, "use", context_use_text, [this](command_context& context) { return choose_context(context, name_); })
      ->add_option("NAME", name_, "The context's name")
      ->required();
  add(group, "show", context_show_text, [this](command_context& context) {
    return show_context(context, name_);
  })->add_option("NAME", name_, "The context's name (default: the current one)");
}

/// Takes gateway and certificates from a context; empty name: from the current one, if any.
bool command_line::use_context(const std::string& name, std::string& problem) {
  auto file = load_contexts(contexts_path(environment_.variables), environment_.variables);
  if (!file.problems.empty()) {
    problem = to_string(file.problems.front());
    return false;
  }
  auto wanted = name.empty() ? file.current : name;
  if (wanted.empty())
    return true;
  auto found = file.contexts.find(wanted);
  if (found == file.contexts.end()) {
    problem = unknown_context(file, wanted);
    return false;
  }
  if (!set_gateway(found->second.gateway)) {
    problem =
        fmt::format("{}:{}: contexts.{}.gateway: '{}' is not an address; {}", contexts_path(environment_.variables),
                    found->second.line, wanted, found->second.gateway, gateway_forms);
    return false;
  }
  options_.context = wanted;
  options_.certificate = found->second.certificate;
  options_.key = found->second.key;
  options_.ca = found->second.ca;
  return true;
}

bool command_line::set_gateway(const std::string& text) {
  constexpr std::string_view unix_scheme = "unix:";
  constexpr std::string_view https_scheme = "https://";
  options_.gateway_socket = text.starts_with(unix_scheme) ? text.substr(unix_scheme.size()) : "";
  options_.https = text.starts_with(https_scheme);
  if (text.starts_with(unix_scheme)) {
    options_.context.clear();
    options_.context_problem.clear();
    return !options_.gateway_socket.empty();
  }
  std::string_view rest = text;
  if (options_.https)
    rest.remove_prefix(https_scheme.size());
  else if (rest.starts_with("http://"))
    rest.remove_prefix(std::string_view{"http://"}.size());
  if (rest.ends_with('/'))
    rest.remove_suffix(1);
  auto address = parse_endpoint(rest);
  if (!address || address->port == 0)
    return false;
  options_.context.clear();
  options_.context_problem.clear();
  options_.gateway_host = address->host;
  options_.gateway_port = address->port;
  return true;
}

int command_line::run(int argc, const char* const* argv) {
  auto variable = [&](const char* name) { return environment_.variables(name).value_or(""); };
  std::vector<std::string> words{argv + std::min(argc, 1), argv + argc};
  // "--wait 60s": CLI11 would take any next word, the file's name too, or none.
  for (std::size_t i = 0; i + 1 < words.size(); ++i)
    if ((words[i] == "--wait" || words[i] == "--watch") && parse_duration(words[i + 1]).value) {
      words[i] += "=" + words[i + 1];
      words.erase(words.begin() + static_cast<std::ptrdiff_t>(i) + 1);
    }
  auto settle_colours = [&] {
    auto wanted = !no_colour_ && variable("NO_COLOR").empty() && variable("TERM") != "dumb";
    options_.colour_out = wanted && environment_.out_is_terminal;
    options_.colour_err = wanted && environment_.err_is_terminal;
  };
  settle_colours();
  auto completes = !words.empty() && words.front() == "__complete";
  // Only what needs a gateway fails when the file of contexts is broken.
  if (variable("ASTRA_GATEWAY").empty() && !use_context("", options_.context_problem))
    options_.context.clear();
  if (auto gateway = variable("ASTRA_GATEWAY"); !gateway.empty() && !set_gateway(gateway) && !completes)
    return fail_usage(fmt::format("ASTRA_GATEWAY: '{}' is not an address; {}", gateway, gateway_forms), nullptr);
  for (auto& [name, to] :
       {std::pair{"ASTRA_CERT", &options_.certificate}, {"ASTRA_KEY", &options_.key}, {"ASTRA_CA", &options_.ca}})
    if (auto file = variable(name); !file.empty())
      *to = file;
  // What the scripts of `astra completion` call.  No command: its words are those of another one, and not all there.
  if (completes)
    return complete_words({words.begin() + 1, words.end()});
  try {
    // CLI11 takes its arguments from the back.
    std::reverse(words.begin(), words.end());
    root_.parse(words);
    if (!wait_.empty())
      apply_.wait = read_duration("--wait", wait_);
    if (!task_wait_.empty())
      task_submit_.wait = read_duration("--wait", task_wait_);
    if (!watch_.empty())
      list_.watch = read_duration("--watch", watch_);
  } catch (const CLI::CallForHelp&) {
    *environment_.out << help_of(deepest());
    return exit_ok;
  } catch (const CLI::ParseError& error) {
    settle_colours();
    return explain(error);
  }
  settle_colours();
  auto result = int{exit_ok};
  const auto* asked = deepest();
  if (options_.format != output_format::table && options_.format != output_format::json) {
    auto more = formats_.find(asked);
    auto known = more != formats_.end()
                 && std::find(more->second.begin(), more->second.end(), options_.format) != more->second.end();
    if (!known) {
      std::string others;
      for (auto& [name, format] : output_formats)
        if (more != formats_.end() && std::find(more->second.begin(), more->second.end(), format) != more->second.end())
          others += fmt::format(", {}", name);
      return fail_usage(
          fmt::format("-o: 'astra {}' has no {}; write table{} or json", path_of(asked), format_name_, others), asked);
    }
  }
  if (only_check_ && action_)
    return exit_ok;
  if (action_) {
    command_context context{environment_, options_};
    result = list_.watch && !events_.follow ? repeat(context, *list_.watch, action_) : action_(context);
  } else if (asked == &root_) {
    *environment_.out << overview();
  } else if (asked->get_name() == "help") {
    result = print_help(help_words_);
  } else {
    return fail_usage(
        fmt::format("'astra {}' needs one of: {}", asked->get_name(), fmt::join(commands_below(asked), ", ")), asked);
  }
  environment_.out->flush();
  if (!*environment_.out)
    return command_context{environment_, options_}.fail(exit_failed, "cannot write the output; is the disk full?");
  return result;
}

const CLI::App* command_line::deepest() const {
  const CLI::App* app = &root_;
  for (auto below = app->get_subcommands(); !below.empty(); below = app->get_subcommands())
    app = below.front();
  return app;
}

std::vector<std::string> command_line::commands_below(const CLI::App* app) const {
  std::vector<std::string> names;
  for (const auto* below : app->get_subcommands(nullptr))
    names.push_back(below->get_name());
  return names;
}

// "node list" for the App of "astra node list", "" for the root.
std::string path_of(const CLI::App* app) {
  if (app == nullptr || app->get_parent() == nullptr)
    return {};
  auto above = path_of(app->get_parent());
  return above.empty() ? app->get_name() : above + " " + app->get_name();
}

int command_line::fail_usage(const std::string& message, const CLI::App* app) {
  command_context context{environment_, options_};
  context.fail(exit_usage, message);
  auto path = path_of(app);
  context.say(fmt::format("see 'astra help{}{}'", path.empty() ? "" : " ", path));
  return exit_usage;
}

int command_line::explain(const CLI::ParseError& error) {
  // A word that nobody knows is the cause of whatever else is missing: an unknown option first, for the value behind
  // it was left over only because of it.
  auto leftovers = root_.remaining(true);
  auto option = std::find_if(leftovers.begin(), leftovers.end(),
                             [](const auto& word) { return word.size() > 1 && word.front() == '-'; });
  if (option != leftovers.end())
    return explain_leftover(*option);
  if (!leftovers.empty())
    return explain_leftover(leftovers.front());
  const auto* app = deepest();
  std::string message = error.what();
  if (dynamic_cast<const CLI::RequiredError*>(&error) != nullptr) {
    for (const auto* argument : app->get_options())
      if (argument->get_required() && argument->count() == 0) {
        message =
            argument->get_positional()
                ? fmt::format("'astra {}' needs {}", path_of(app), argument->get_name(true))
                : fmt::format("'astra {}' needs {} {}", path_of(app), argument->get_name(), argument->get_type_name());
        break;
      }
  } else if (dynamic_cast<const CLI::ArgumentMismatch*>(&error) != nullptr) {
    // CLI11's text begins with the option's name.
    message = fmt::format("{} needs a value", message.substr(0, message.find_first_of(": ")));
  }
  return fail_usage(message, app);
}

int command_line::explain_leftover(const std::string& word) {
  const auto* app = deepest();
  auto path = path_of(app);
  if (word.size() > 1 && word.front() == '-') {
    auto name = word.substr(0, word.find('='));
    std::vector<std::string> known;
    for (const auto* level = app; level != nullptr; level = level->get_parent())
      for (const auto* option : level->get_options())
        for (const auto& long_name : option->get_lnames())
          known.push_back("--" + long_name);
    auto meant = closest(name, known);
    return fail_usage(
        fmt::format("unknown option '{}'{}", name, meant ? fmt::format("; did you mean '{}'?", *meant) : ""), app);
  }
  auto commands = commands_below(app);
  if (commands.empty())
    return fail_usage(fmt::format("'astra {}' does not take '{}'", path, word), app);
  std::string meant;
  // "astra apply" for "astra app apply".
  for (const auto* group : app->get_subcommands(nullptr))
    for (const auto* below : group->get_subcommands(nullptr))
      if (meant.empty() && below->get_name() == word)
        meant = path_of(below);
  if (meant.empty())
    meant = closest(word, commands).value_or("");
  auto hint = meant.empty() ? "" : fmt::format("; did you mean '{}'?", meant);
  return fail_usage(fmt::format("unknown command '{}{}{}'{}", path, path.empty() ? "" : " ", word, hint), app);
}

int command_line::print_help(const std::vector<std::string>& words) {
  const CLI::App* app = &root_;
  for (const auto& word : words) {
    auto below = app->get_subcommands(nullptr);
    auto i = std::find_if(below.begin(), below.end(), [&](const auto* one) { return one->get_name() == word; });
    if (i == below.end()) {
      auto meant = closest(word, commands_below(app));
      return fail_usage(
          fmt::format("no command '{}'{}", word, meant ? fmt::format("; did you mean '{}'?", *meant) : ""), app);
    }
    app = *i;
  }
  *environment_.out << help_of(app);
  return exit_ok;
}

std::string command_line::help_of(const CLI::App* app) const {
  auto title = [&](std::string_view text) { return paint(text, tone::title, options_.colour_out) + "\n"; };
  constexpr std::size_t indent = 26;
  auto entry = [&](const std::string& name, const std::string& text) {
    auto gap = name.size() + 4 > indent ? "\n" + std::string(indent, ' ') : std::string(indent - 2 - name.size(), ' ');
    return fmt::format("  {}{}{}\n", name, gap, wrapped(text, indent));
  };
  std::string arguments, options, global, commands, usage;
  auto option_entry = [&](const CLI::Option* option) {
    auto name = option->get_name(false, true);
    // CLI11 writes "-h,--help", and a flag's value as "--wait{30s}".
    name = name.substr(0, name.find('{'));
    if (auto comma = name.find(','); comma != std::string::npos)
      name.insert(comma + 1, " ");
    auto type = option->get_type_name();
    return entry(type.empty() ? name : name + " " + type, option->get_description());
  };
  for (const auto* option : app->get_options()) {
    if (option->get_positional()) {
      auto name = option->get_name(true);
      auto many = option->get_items_expected_max() > 1 ? "..." : "";
      usage += option->get_required() ? fmt::format(" {}{}", name, many) : fmt::format(" [{}{}]", name, many);
      arguments += entry(name, option->get_description());
    } else if (app != &root_ && option->get_required()) {
      usage += fmt::format(" {} {}", option->get_name(), option->get_type_name());
      options += option_entry(option);
    } else if (app != &root_ && option != app->get_help_ptr()) {
      options += option_entry(option);
    }
  }
  for (const auto* option : root_.get_options())
    global += option_entry(option);
  auto add_commands = [&](const CLI::App* group, auto& self) -> void {
    for (const auto* below : group->get_subcommands(nullptr))
      if (below->get_subcommands(nullptr).empty())
        commands += entry(path_of(below), below->get_description());
      else
        self(below, self);
  };
  add_commands(app, add_commands);
  const auto& text = texts_.at(app);
  auto path = path_of(app);
  auto out = fmt::format("usage: astra{}{}{}{} [options]\n", path.empty() ? "" : " ", path,
                         commands.empty() ? "" : " COMMAND", usage);
  if (!text.summary.empty())
    out += fmt::format("\n{}.\n", text.summary);
  if (!text.details.empty())
    out += wrapped(text.details, 0) + "\n";
  auto section = [&](std::string_view name, const std::string& content) {
    if (!content.empty())
      out += "\n" + title(name) + content;
  };
  section("commands", commands);
  section("arguments", arguments);
  section("options", options);
  section(app == &root_ ? "options of every command" : "global options", global);
  if (!text.examples.empty()) {
    std::string examples;
    for (std::string_view rest = text.examples; !rest.empty();) {
      auto line = rest.substr(0, rest.find('\n'));
      rest.remove_prefix(std::min(rest.size(), line.size() + 1));
      examples += fmt::format("  {}\n", line);
    }
    section("examples", examples);
  }
  if (app == &root_)
    out += "\nexit codes: 0 ok, 1 failed, 2 usage, 4 not found, 5 timeout or unreachable, 6 conflict,\n"
           "            10 the plan has changes, 78 bad config\n";
  return out;
}

std::string command_line::overview() const {
  auto bold = [&](std::string_view text) { return paint(text, tone::title, options_.colour_out); };
  return fmt::format("Astra runs apps on unstable machines as one cluster.\n\n"
                     "  {}           a whole cluster on this machine, to try things out\n"
                     "  {}        the cluster behind {} on one screen\n"
                     "  {}          all commands; 'astra help COMMAND' explains one\n",
                     bold("astra dev"), bold("astra status"), gateway_address(options_), bold("astra help"));
}

} // namespace

command_environment::command_environment()
  : fetch([](const http_call& call) { return astra::fetch(call); }),
    fetch_through([](const http_call& call, const fetch_door& door) { return astra::fetch(call, door); }),
    fetch_pieces([](const http_call& call, const fetch_door& door, const body_sink& sink) {
      return astra::fetch(call, door, sink);
    }),
    variables(process_environment()), now(std::chrono::steady_clock::now),
    sleep([](milliseconds duration) { std::this_thread::sleep_for(duration); }), interrupted(was_interrupted),
    machine(p2p::current_boot), in(&std::cin), out(&std::cout), err(&std::cerr),
    in_is_terminal(isatty(STDIN_FILENO) == 1), out_is_terminal(isatty(STDOUT_FILENO) == 1),
    err_is_terminal(isatty(STDERR_FILENO) == 1), err_columns(columns_of_stderr) {
  // Request bodies may be large: no lock step with C's stdio.
  std::ios::sync_with_stdio(false);
}

int run_command_line(int argc, const char* const* argv, command_environment& environment) {
  return command_line{environment}.run(argc, argv);
}

int check_command_line(int argc, const char* const* argv, command_environment& environment) {
  command_line line{environment};
  line.only_check();
  return line.run(argc, argv);
}

command_node command_tree() {
  command_environment environment;
  return command_line{environment}.tree();
}

} // namespace astra
