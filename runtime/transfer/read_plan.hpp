#pragma once

#include "p2p/content.hpp"
#include "p2p/engine.hpp"

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

namespace astra {

/// Who reads a content that is on its way: which of its pieces are to come first for them, and how much each may read.
///
/// Whoever reads is expected to go on where it stopped.  So the pieces behind those that it waits for have deadlines
/// too, later ones, and keep them for a while after it was answered: it asks again when it has used what it got.
class read_plan {
public:
  using time_point = std::chrono::steady_clock::time_point;
  using ticket = std::uint64_t;

  struct answer {
    ticket who = 0;
    /// Bytes that are there, from where it wanted to read.
    std::uint64_t length = 0;
  };

  explicit read_plan(std::shared_ptr<const p2p::content> what) : what_(std::move(what)) {}

  /// Somebody waits for bytes of a file, until then.  Who asks for what follows on an earlier question, or for the same
  /// again, is taken for the same reader.
  /// @pre the file is one of the content's, `offset` lies in it, and `length` > 0.
  ticket ask(const p2p::content_file& file, std::uint64_t offset, std::uint64_t length, time_point until);

  /// Those who wait for a piece that is there; they wait no more.  In the order they came.
  /// @param have per piece
  std::vector<answer> take_answers(const std::vector<bool>& have, time_point now);
  /// Those who have waited as long as they wanted to; they wait no more.
  std::vector<ticket> take_impatient(time_point now);

  /// What an engine is to bring first; nothing: what was told last still does.  A new list for each piece would cost
  /// more than it gains, so one is due when somebody would wait, or the reading ahead has used up half of the last.
  std::optional<std::vector<p2p::piece_deadline>> changed_deadlines(const std::vector<bool>& have, time_point now);
  /// An engine that knows no deadline has it now.
  void engine_is_new() { told_.clear(); }

  /// Nobody waits, and nobody is expected to read on.
  bool idle() const { return readers_.empty(); }

private:
  struct reader {
    ticket who = 0;
    const p2p::content_file* file = nullptr;
    /// Where it reads, or will.
    std::uint64_t offset = 0;
    /// What it waits for; 0: nothing now.
    std::uint64_t length = 0;
    /// Until then it waits, or is expected to read on.
    time_point until;
  };

  /// By piece.
  using urgency = std::map<std::uint32_t, p2p::piece_deadline>;

  urgency wanted(const std::vector<bool>& have) const;
  void forget_gone(time_point now);

  std::shared_ptr<const p2p::content> what_;
  std::vector<reader> readers_;
  /// As told last.
  urgency told_;
  ticket last_ = 0;
};

/// Bytes of a file that are there without a gap from `offset` on.
/// @param have per piece of the content
std::uint64_t readable_bytes(const p2p::content& what, const p2p::content_file& file, const std::vector<bool>& have,
                             std::uint64_t offset);

/// A file by its path; null: there is none.
const p2p::content_file* find_file(const p2p::content& what, std::string_view path);

} // namespace astra
