#pragma once

#include "messages/errc.hpp"
#include "runtime/cli/command_line.hpp"
#include "runtime/cli/exit_code.hpp"
#include "runtime/http/fetch.hpp"
#include "runtime/http/percent.hpp"

#include <caf/error.hpp>
#include <caf/expected.hpp>
#include <nlohmann/json_fwd.hpp>

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <ostream>
#include <string>
#include <string_view>

namespace astra {

/// Keeps the order in which the gateway wrote the keys.
using json = nlohmann::ordered_json;

enum class output_format {
  /// For people.
  table,
  /// The gateway's answer.
  json,
  // Of lists only: one row after the other.
  /// An object per line.
  ndjson,
  /// RFC 4180, the keys in the first line.
  csv,
  /// A key per line, an empty line between rows.
  line,
  /// The row's name and nothing else.
  name,
};

/// What may be said with every command.
struct global_options {
  std::string gateway_host = "127.0.0.1";
  std::uint16_t gateway_port = 9750;
  /// With TLS.
  bool https = false;
  /// Path of the gateway's Unix socket, instead of host and port; empty: none.
  std::string gateway_socket;
  /// PEM files for HTTPS: who asks, and whom to trust.
  std::string certificate;
  std::string key;
  std::string ca;
  /// Name of the context (config/contexts.hpp) that the gateway comes from; empty: none.
  std::string context;
  /// Why it cannot be told which gateway is meant; empty: it can.
  std::string context_problem;
  output_format format = output_format::table;
  /// Wait for the gateway's answer; unset: each command's own default.
  std::optional<std::chrono::milliseconds> timeout;
  bool verbose = false;
  /// Colours on the two streams.
  bool colour_out = false;
  bool colour_err = false;
};

/// "127.0.0.1:9750", "[::1]:9750", "https://gateway.example:9750", "unix:/run/gateway.sock".
std::string gateway_address(const global_options& options);

/// What a command works with: the world, the global options, and the few things that all commands do alike.
class command_context {
public:
  command_context(command_environment& environment, global_options options)
    : environment(environment), options(std::move(options)) {}

  std::ostream& out() { return *environment.out; }

  /// One line of narration.
  void say(std::string_view line);

  /// Tells what went wrong as "astra: ..." and returns the exit code that belongs to it.
  int fail(const caf::error& reason);
  int fail(exit_code code, std::string_view message);

  /// Asks the gateway.  An answer of any status is a value.
  /// Fails with unreachable, timed_out or io_failed, in words for the user.
  /// @param through instead of what the options say; may be null.
  caf::expected<http_answer> call(http_call call, const fetch_door* through = nullptr);

  /// GETs lines of JSON and hands on each as it comes, until one is refused.  Blank lines, which only say that the
  /// gateway lives, are left out.  The timeout is for each piece.  Fails as `ask`, with what a line {"error": ...}
  /// says, and when the answer ends before its end.
  /// @param refusal gets the body of an answer that is not 2xx; may be null.
  caf::error read_lines(std::string target, const std::function<bool(const json&)>& on_line, json* refusal = nullptr);

  /// The way to the gateway by the options.  Fails with invalid_argument when certificates are missing or bad.
  caf::expected<fetch_door> door() const;

  /// Asks the gateway for JSON.  Fails as `call`, and with what the gateway said when its status is not 2xx.
  caf::expected<json> ask(std::string_view method, std::string target, std::string body = {},
                          std::string content_type = {});

  using renderer = std::function<std::string(const json& answer, bool colour)>;

  /// Prints an answer, as JSON or rendered, or tells why there is none.  Returns the exit code.
  int print(const caf::expected<json>& answer, const renderer& render);

  /// GETs `target` and prints it.
  int show(std::string target, const renderer& render);

  command_environment& environment;
  global_options options;

private:
  caf::expected<http_answer> call(http_call call, const fetch_door* through, const body_sink& sink);
};

/// What an answer that is not 2xx says, as an error whose code is the gateway's own where that is known.
caf::error to_error(const http_answer& answer, const std::string& gateway);

/// io_failed for what is none of ours.
errc code_of(const caf::error& reason);

exit_code exit_code_of(const caf::error& reason);

/// The bytes of a file.  Fails with io_failed and the reason.
caf::expected<std::string> read_input_file(const std::string& path);

/// Indented, ended by a newline.
std::string pretty(const json& value);

// Fields of the gateway's answers.  A field that is missing or of another type reads as the fallback, because the
// gateway may be one version older or newer.

std::string text_in(const json& object, const char* key);

/// Also takes numbers in quotes, which is how Protobuf writes 64-bit ones.
double number_in(const json& object, const char* key);

std::uint64_t count_in(const json& object, const char* key);

bool flag_in(const json& object, const char* key);

/// The list or object at `key`; an empty list when there is none.
const json& list_in(const json& object, const char* key);

} // namespace astra
