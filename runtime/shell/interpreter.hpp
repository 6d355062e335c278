#pragma once

#include "runtime/shell/shell_world.hpp"
#include "runtime/shell/stages.hpp"
#include "runtime/shell/syntax.hpp"

#include <caf/error.hpp>
#include <caf/expected.hpp>

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace astra::shell {

/// Why a script stopped.
struct script_failure {
  place at;
  caf::error why;
  /// By ^C: nothing is wrong with it.
  bool interrupted = false;
};

/// Runs scripts on a world and keeps their results and variables.  A plain class.
class interpreter {
public:
  /// As many earlier results can be named.
  static constexpr std::size_t results_max = 1000;

  /// Gets every result that is to be shown, as it comes.
  using presenter = std::function<void(const reply&)>;

  interpreter(shell_world& world, presenter show) : world_(world), show_(std::move(show)) {}

  /// Runs the statements in order, up to the first one that fails.
  std::optional<script_failure> run(const script& what);

  /// What `as` and loops have named.
  const std::map<std::string, json>& variables() const { return variables_; }

  /// Name of the app that @name means: what a variable of that name says, else the name itself.
  std::string app_of(const std::string& name) const;

private:
  std::optional<script_failure> run_one(const statement& what, bool numbered);
  std::optional<script_failure> run_pipeline(const statement& what, bool numbered);
  std::optional<script_failure> run_loop(const statement& what);
  std::optional<script_failure> run_every(const statement& what);
  std::optional<script_failure> run_await(const statement& what);
  std::optional<script_failure> run_expect(const statement& what);
  std::optional<script_failure> run_body(const script& body);

  caf::expected<json> resolve(const reference& what);
  caf::expected<json> base_of(const reference& what);
  caf::expected<json> evaluate(const value& what);
  caf::expected<request> prepare(const call& what);
  void keep(json result);

  shell_world& world_;
  presenter show_;
  std::map<std::string, json> variables_;
  std::deque<json> results_;
  std::uint64_t results_seen_ = 0;
  /// In blocks, too.
  json last_;
};

} // namespace astra::shell
