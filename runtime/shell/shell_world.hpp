#pragma once

#include "runtime/shell/syntax.hpp"

#include <caf/expected.hpp>

#include <chrono>
#include <string>
#include <vector>

namespace astra::shell {

/// A verb with the values that were worked out for its arguments.
struct request {
  struct word {
    /// Empty: it has none.
    std::string name;
    json what;
    /// As it was written, such as 1.50 or app/ocr; what a command gets to read.
    std::string text;
    /// Was written with an @.
    bool is_app = false;
  };

  std::string verb;
  std::vector<word> words;
  /// Nothing more is done with the result than to show it: whoever can do that in its own way may.
  bool only_shown = false;
};

struct reply {
  json what;
  /// For people, such as who answered; may be empty.
  std::string note;
  /// It was shown already.
  bool shown = false;
};

/// What a script acts on.  The interpreter has no clock and does no I/O of its own, so the same script can run in a
/// live cluster and in a simulated one.
class shell_world {
public:
  virtual ~shell_world() = default;

  /// Does what a verb says.  Fails in words for the user; with errc::unknown_app, unknown_node or unknown_name when
  /// what it is about is not there.
  virtual caf::expected<reply> call(const request& what) = 0;

  /// What is known of @name, for conditions and `await`: an object with the key "state".
  virtual caf::expected<json> look(const std::string& app) = 0;

  /// Returns early once `interrupted`.
  virtual void sleep(std::chrono::nanoseconds duration) = 0;
  virtual std::chrono::nanoseconds now() = 0;

  /// Somebody wants to have what runs stopped.
  virtual bool interrupted() = 0;
};

} // namespace astra::shell
