#pragma once

#include "runtime/cli/command_context.hpp"
#include "runtime/cli/dev_options.hpp"
#include "runtime/cli/listing.hpp"
#include "runtime/net/identity.hpp"

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

// One file per verb: what help says about it, what it does, and how its answer looks.  The command line
// (command_line.cpp) knows their options and calls them.

namespace astra::pb {
class AppSpec;
} // namespace astra::pb

namespace astra {

struct contexts_config;

/// What help says about a command beside its arguments and options.
struct command_text {
  /// One line, without a full stop.
  std::string_view summary;
  /// Sentences; may be empty.
  std::string_view details;
  /// Lines as one would type them.
  std::string_view examples;
};

extern const command_text run_text;
int run_process_file(command_context& context, const std::string& file);

extern const command_text dev_text;
/// What is done with the cluster once it is up.
struct dev_shell_options {
  /// Statements.
  std::vector<std::string> commands;
  /// A script; empty: none.
  std::string file;
  /// At a terminal, too, the cluster just runs.
  bool no_shell = false;
};
int run_dev_cluster(command_context& context, const dev_options& options, const dev_shell_options& shell);

extern const command_text status_text;
int show_status(command_context& context);
std::string render_status(const json& status, bool colour);

extern const command_text node_text, node_list_text, node_show_text, node_drain_text;
/// @param options where: a filter (actors/resource/node_filter.hpp), which the Resource evaluates; sort: a column;
/// without
///        it they come by name when they are few, else as they come
/// @param columns of a table or of csv; empty: the usual ones
int list_nodes(command_context& context, const list_options& options, const std::vector<std::string>& columns);
/// Every column of `node list`, in the order of the usual ones.
std::vector<std::string> node_columns();
int show_node(command_context& context, const std::string& name);
int drain_node(command_context& context, const std::string& name);
std::string render_nodes(const json& answer, bool colour);
std::string render_node(const json& node, bool colour);

extern const command_text events_text;
struct events_options {
  bool follow = false;
  /// Name; empty: everything.
  std::string node;
  std::optional<std::chrono::milliseconds> since;
  /// Unset: 100, or all since `since`.
  std::optional<std::uint32_t> last;
};
int show_events(command_context& context, const events_options& options, const list_options& list);
const std::vector<std::string>& event_keys();
/// One event as a line of the table, ended by a line feed.
std::string render_event(const json& event, bool colour);

extern const command_text app_text, app_list_text, app_show_text, app_apply_text, app_delete_text;
struct apply_options {
  std::string file;
  /// How long to wait until every replica is ready; unset: not at all.
  std::optional<std::chrono::milliseconds> wait;
  /// Index of the plan that must still hold; empty: in any case.
  std::string plan;
};
extern const command_text app_plan_text, app_history_text, app_rollback_text;
struct rollback_options {
  std::string app;
  /// Unset: the revision before the current one.
  std::optional<std::uint32_t> to;
};
/// One word for an app as a whole, of what the gateway says of it.
std::string state_of_app(const json& app);
int list_apps(command_context& context, const list_options& options);
const listing& app_listing();
int show_app(command_context& context, const std::string& name);
int apply_app_file(command_context& context, const apply_options& options);
int delete_app_named(command_context& context, const std::string& name);
/// Checks an app's file.  Tells what is wrong with it and returns the exit code that belongs to that.
exit_code read_app_file(command_context& context, const std::string& file, pb::AppSpec& spec);
int plan_app_file(command_context& context, const std::string& file);
int show_app_history(command_context& context, const std::string& name, const list_options& options);
const listing& history_listing();
int roll_back_app(command_context& context, const rollback_options& options);
std::string render_app_plan(const json& plan, bool colour);
std::string render_app_history(const json& history, bool colour);
std::string render_apps(const json& answer, bool colour);
std::string render_app(const json& app, bool colour);
/// What differs between two AppSpecs in Protobuf JSON, one line per field: "replicas: 3 -> 6".
std::vector<std::string> spec_changes(const json& before, const json& after);

extern const command_text app_new_text;
struct app_new_options {
  std::string name;
  /// Where the files go; empty: a directory of the app's name.
  std::string directory;
};
/// Writes what a project of an own actor begins with.
int write_new_app(command_context& context, const app_new_options& options);

extern const command_text worker_text;
struct worker_run_options {
  std::string library;
  /// Empty: tell what the library has.
  std::string actor;
  /// Unset: $PORT, else a free one.
  std::optional<std::uint16_t> port;
  /// NAME=VALUE.
  std::vector<std::string> arguments;
};
int run_actor_worker(command_context& context, const worker_run_options& options);

extern const command_text why_text;
/// @param what app/NAME, replica/APP/INDEX or node/NAME.
int tell_why(command_context& context, const std::string& what);
/// @param index unset: of all replicas that are not ready.
std::string render_why_app(const json& app, std::optional<std::uint32_t> index, bool colour);
std::string render_why_node(const json& node, bool colour);

extern const command_text invoke_text;
struct invoke_options {
  std::string app;
  /// Empty or "-": stdin.
  std::string file;
  std::string content_type = "application/octet-stream";
  std::string client;
  std::string affinity;
  std::string size;
};
int invoke_app(command_context& context, const invoke_options& options);
/// Sends one request and waits for its answer, whatever that is.
caf::expected<http_answer> call_app(command_context& context, const invoke_options& options, std::string body);
/// Value of an answer's header, printable; empty: it has none.
std::string header_of(const http_answer& answer, std::string_view name);
/// What an answer that is not 2xx says, with when to try again; what the app wrote is told.
caf::error refusal_of(command_context& context, const http_answer& answer);
/// The body of a request.  @param file empty or "-": stdin
caf::expected<std::string> read_body(command_context& context, const std::string& file);

extern const command_text task_text, task_submit_text, task_list_text, task_show_text, task_result_text,
    task_cancel_text;
struct task_submit_options {
  std::string app;
  /// Empty or "-": stdin.
  std::string file;
  std::string content_type = "application/octet-stream";
  std::string key;
  std::optional<std::uint32_t> priority;
  std::optional<std::chrono::milliseconds> deadline;
  std::optional<std::chrono::milliseconds> keep;
  /// How long to wait for its end; unset: not at all.
  std::optional<std::chrono::milliseconds> wait;
};
struct task_list_options {
  /// Empty: of all.
  std::string app;
  std::string state;
};
struct task_options {
  std::string id;
  /// Where a result goes; empty or "-": to stdout.
  std::string file;
  /// Forget one that has ended.
  bool drop = false;
};
int submit_task(command_context& context, const task_submit_options& options);
int list_tasks(command_context& context, const task_list_options& options, const list_options& list);
const listing& task_listing();
int show_task(command_context& context, const task_options& options);
int fetch_task_result(command_context& context, const task_options& options);
int cancel_task(command_context& context, const task_options& options);
std::string render_tasks(const json& answer, bool colour);
std::string render_task(const json& task, bool colour);

extern const command_text router_text, router_table_text, router_pick_text;
int show_router_table(command_context& context, const std::string& app, const list_options& options);
const listing& router_listing();
std::string render_router_table(const json& table, bool colour);
int show_router_picks(command_context& context, const std::string& app, std::uint32_t count);
std::string render_router_picks(const json& picks, bool colour);

extern const command_text config_text, config_check_text, config_show_text;
enum class file_kind { process, app };
struct config_check_options {
  std::vector<std::string> files;
  /// Unset: by content.
  std::optional<file_kind> kind;
};
struct config_show_options {
  std::string file;
  std::optional<file_kind> kind;
  /// Defaults too, not only what the file says.
  bool effective = false;
};
int check_config(command_context& context, const config_check_options& options);
int show_config(command_context& context, const config_show_options& options);
/// Whether a TOML text is a process's file or an app's, by the top-level names in it.
file_kind guess_file_kind(std::string_view text);

extern const command_text ca_text, ca_init_text, ca_issue_text, ca_revoke_text, ca_list_text, ca_show_text,
    ca_join_token_text;
struct ca_options {
  /// The authority's.
  std::string directory;
  std::string cluster;
  std::string name;
  peer_roles roles;
  std::vector<std::string> apps;
  std::vector<std::string> nodes;
  std::vector<std::string> hosts;
  /// Of the certificate or the token; unset: as each has it by itself.
  std::optional<std::chrono::milliseconds> ttl;
  /// Directory for what is issued.
  std::string out;
  /// Files that are there are overwritten.
  bool replace = false;
  std::string serial;
  /// A certificate's file.
  std::string certificate;
};
int init_ca(command_context& context, const ca_options& options);
int issue_certificate(command_context& context, const ca_options& options);
int revoke_certificate(command_context& context, const ca_options& options);
int list_certificates(command_context& context, const ca_options& options, const list_options& list);
const listing& certificate_listing();
int show_certificate(command_context& context, const ca_options& options);
int make_join_token(command_context& context, const ca_options& options);
/// Writes NAME.key, NAME.pem and ca.pem into a directory.  Fails with conflict when they exist and are not to be
/// replaced, with io_failed when they cannot be written.
caf::expected<void> write_credentials(const std::string& directory, const std::string& name, const std::string& key_pem,
                                      const std::string& certificate_pem, const std::string& ca_pem, bool replace);

extern const command_text join_text;
struct join_options {
  /// "-": stdin.
  std::string token;
  /// Directory for what the gateway hands out.
  std::string out;
  bool replace = false;
  bool renew = false;
};
int join_cluster(command_context& context, const join_options& options);

extern const command_text bench_text, bench_view_text;
int bench_view(command_context& context, view_bench_options options);

extern const command_text sim_text, sim_run_text, sim_explore_text, sim_replay_text, sim_lint_text, sim_bench_text,
    sim_checks_text;
struct sim_options {
  /// Scenario files; of run also a script.
  std::vector<std::string> files;
  /// "7", "1..1000"; empty: as the scenario says.
  std::string seeds;
  /// Worker processes; 0: one per core.
  std::uint32_t jobs = 0;
  /// Each seed runs in three processes' lives, and all that happens must be equal.
  bool twice = false;
  bool first_failure = false;
  /// Wall time for all; unset: until every seed is run.
  std::optional<std::chrono::milliseconds> limit;
  /// Name of the mutant to switch on, in a build that has them.
  std::string mutant;
  /// What happened is written here, compact; "-": as text to stdout.
  std::string trace;
  /// A space-time diagram is written here.
  std::string html;
  bool debug_log = false;
  bool coverage = false;
  /// "wire" or "basp" (runtime/sim/engine.hpp).
  std::string fidelity = "wire";
  /// bench: no invariants, only the actors and the engine.
  bool unchecked = false;
};
int run_sim(command_context& context, const sim_options& options);
/// Whether a file is a script of the shell, by its name.
bool is_script(const std::string& file);
/// Runs a script in a simulated cluster.
int run_sim_script(command_context& context, const std::string& file, std::uint64_t seed, const sim_options& options);
int explore_sim(command_context& context, const sim_options& options);
int replay_sim(command_context& context, const sim_options& options);
int lint_sim(command_context& context, const sim_options& options);
int bench_sim(command_context& context, const sim_options& options);
int list_sim_checks(command_context& context);

extern const command_text sim_shell_text;
struct sim_shell_options {
  /// The scenario.
  std::string file;
  /// Unset: the scenario's first.
  std::optional<std::uint64_t> seed;
  /// Virtual time to which the run goes before the first command.
  std::optional<std::chrono::nanoseconds> at;
  /// Done instead of what stdin says.
  std::vector<std::string> commands;
};
int run_sim_shell(command_context& context, const sim_shell_options& options);

extern const command_text sim_shrink_text;
struct sim_shrink_options {
  std::string file;
  /// One that fails.  Unset: the scenario's first.
  std::optional<std::uint64_t> seed;
  /// Where the smallest scenario goes; empty: to stdout.
  std::string output;
  std::uint64_t trials = 200;
  std::chrono::milliseconds time_limit{120'000};
  /// Name of the mutant to switch on, in a build that has them.
  std::string mutant;
};
int run_sim_shrink(command_context& context, const sim_shrink_options& options);

extern const command_text explain_text;
/// @param word empty: the list of all words.
int explain_word(command_context& context, const std::string& word);

extern const command_text cheat_text;
int show_cheat_sheet(command_context& context);

extern const command_text shell_text;
struct shell_options {
  /// Done instead of what stdin says.
  std::vector<std::string> commands;
  /// A script; empty: none.
  std::string file;
  /// Why things are to be changed; empty: nothing may be.
  std::string reason;
  /// Directory of a cluster of `astra dev`, which is asked then and takes faults; empty: none.
  std::string dev_directory;
};
int run_shell(command_context& context, const shell_options& options);

extern const command_text context_text, context_list_text, context_use_text, context_show_text;
int list_contexts(command_context& context, const list_options& options);
const listing& context_listing();
int choose_context(command_context& context, const std::string& name);
/// @param name empty: the current one.
int show_context(command_context& context, const std::string& name);
/// "no context 'prdo'; did you mean 'prod'?"
std::string unknown_context(const contexts_config& file, const std::string& name);

extern const command_text version_text;
int show_version(command_context& context);

} // namespace astra
