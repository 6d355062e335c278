#pragma once

#include "runtime/cli/command_context.hpp"
#include "runtime/cli/command_tree.hpp"
#include "runtime/shell/completion.hpp"
#include "runtime/shell/interpreter.hpp"
#include "runtime/shell/render.hpp"
#include "runtime/shell/shell_world.hpp"

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace astra::shell {

/// What a cluster is made of.
enum class world_setting : std::uint8_t {
  /// Processes that somebody else answers for.
  live,
  /// Child processes of `astra dev` on this machine.
  laptop,
  /// Virtual machines.
  simulated,
};

/// A cluster behind its gateway.  Commands of the command line are run by the command line itself; what the shell
/// has of its own asks the gateway as they do.  Nothing is changed without a reason: the gateway's own table of routes
/// says what is a change.
class live_world final : public shell_world {
public:
  /// @param interrupted whether ^C was pressed; null: nobody can press it
  live_world(command_context& outer, std::string reason, std::function<bool()> interrupted);

  caf::expected<reply> call(const request& what) override;
  caf::expected<json> look(const std::string& app) override;
  void sleep(std::chrono::nanoseconds duration) override;
  std::chrono::nanoseconds now() override;
  bool interrupted() override { return interrupted_ && interrupted_(); }

  output_mode mode = output_mode::table;
  world_setting setting = world_setting::live;
  /// Makes a fault happen, as the words behind "fault" say; null: nobody can.
  std::function<caf::expected<reply>(const std::vector<request::word>& words)> faults;
  /// Does what follows :record; null: nothing is typed here.
  std::function<caf::expected<reply>(const std::vector<request::word>& words)> record;
  /// `quit` was said.
  bool ended = false;

  /// The app that @name means; null: the name itself.
  std::function<std::string(const std::string& name)> app_named;

  bool may_change() const { return !reason_.empty(); }

  /// For completion; the gateway is asked for at most 300 ms, and not again within 2 s.
  /// @param variables names that `as` has made
  vocabulary words(std::function<std::vector<std::string>()> variables);

private:
  using words_of = std::vector<request::word>;

  caf::expected<reply> run_command(std::vector<std::string> words, bool only_shown);
  caf::expected<reply> help(const words_of& words);
  caf::expected<reply> set_mode(const words_of& words);
  caf::expected<reply> allow_changes(const words_of& words);
  caf::expected<reply> list_replicas(const words_of& words);
  caf::expected<reply> spawn(const words_of& words, bool only_shown);
  caf::expected<reply> ask(const words_of& words);
  caf::expected<reply> submit(const words_of& words);
  caf::expected<reply> scale(const words_of& words);
  caf::expected<reply> watch(const words_of& words);
  caf::expected<reply> compare_shape(const words_of& words);

  caf::expected<reply> info(const words_of& words, bool only_shown);
  caf::expected<json> newest_content(const std::string& name);

  caf::expected<json> get_app(const std::string& name);
  /// What an app's actor takes; null when it is none, or does not answer.
  json schema_of(const std::string& app);
  /// The same for completion: kept for 2 s, and asked for at most 300 ms.
  json schema_soon(const std::string& word);
  json ask_schema(command_context& context, const std::string& app);
  struct request_body;
  caf::expected<request_body> body_of(const words_of& words);
  std::vector<std::string> names(std::string_view target, const char* list, std::vector<std::string>& kept,
                                 std::chrono::steady_clock::time_point& asked);

  /// The world of the commands: that of the shell, but calls end with ^C, and what they may do is limited.
  command_environment environment_;
  command_context context_;
  std::string reason_;
  std::function<bool()> interrupted_;
  /// Of the command line, each group before its own.
  const std::vector<command_node> commands_;
  /// The last answer of the gateway, for commands that print it in their own way.
  json heard_;
  bool hears_ = false;
  /// Apps that this shell has made: the gateway may not know them yet.
  std::set<std::string> made_;
  struct known_schema {
    json what;
    std::chrono::steady_clock::time_point asked;
  };
  std::map<std::string, known_schema> schemas_;
  std::vector<std::string> known_apps_, known_nodes_;
  std::chrono::steady_clock::time_point apps_asked_, nodes_asked_;
};

} // namespace astra::shell
