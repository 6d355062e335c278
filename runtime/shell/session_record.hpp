#pragma once

#include "runtime/shell/syntax.hpp"

#include <caf/error.hpp>

#include <cstdint>
#include <deque>
#include <fstream>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>

namespace astra::shell {

/// Makes a script of what was typed, so that it does the same again: statements that succeeded, in their order, with
/// numbers of results as they are in the script.  What one of them refers to and was typed before the recording began
/// is written before it; what failed is written as a comment.
class session_record {
public:
  /// As many earlier statements can still be written when something refers to them.
  static constexpr std::size_t kept_max = 1000;

  /// Told of every statement that was typed, once it was run.
  /// @param failure why it failed; empty: it did not
  void note(const statement& what, const std::string& failure);

  /// From the next statement on all goes into a new file.  Fails with conflict when there is one already, with
  /// io_failed when it cannot be made.
  caf::error start(const std::string& path);

  /// Fails with invalid_argument when nothing is recorded, with io_failed when not all of it could be written.
  caf::error stop();

  bool recording() const { return out_ != nullptr; }
  const std::string& path() const { return path_; }
  /// In the file so far.
  std::uint64_t statements() const { return written_; }

private:
  struct entry {
    statement what;
    /// Of its result in the session; 0: it has none.
    std::uint64_t number = 0;
    /// In the script; 0: it is not there.
    std::uint64_t number_there = 0;
    /// Statements that had set `$` before it; null: none.
    std::shared_ptr<entry> before;
    /// What it refers to, by the names of variables.
    std::map<std::string, std::shared_ptr<entry>> uses;
    /// By the numbers of results.
    std::map<std::string, std::shared_ptr<entry>> results;
    bool uses_last = false;
  };
  using entry_ptr = std::shared_ptr<entry>;

  static std::set<std::string> names_made(const statement& what);
  void look_up(entry& one) const;
  void write(const entry_ptr& one);

  std::deque<entry_ptr> kept_;
  std::uint64_t results_seen_ = 0;
  /// Who has set a variable last.
  std::map<std::string, entry_ptr> makers_;
  /// Who has set `$` last.
  entry_ptr last_;

  std::string path_;
  std::unique_ptr<std::ofstream> out_;
  std::uint64_t written_ = 0;
  std::uint64_t results_there_ = 0;
  std::map<std::string, entry_ptr> makers_there_;
  entry_ptr last_there_;
};

} // namespace astra::shell
