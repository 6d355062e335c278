#pragma once

#include "p2p/content.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

namespace astra {

/// Part of a file that is read at one go.
struct origin_range {
  /// Of the content's files.
  std::size_t file = 0;
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  /// The pieces that it consists of, counted from the content's first.
  std::uint32_t first_piece = 0;
  std::uint32_t pieces = 0;
  /// It is all of the file.
  bool whole = false;
};

/// Where a zone begins to read: zones that have nothing begin at different pieces and get the others' from each other.
std::uint32_t first_to_read(std::string_view zone, std::uint32_t pieces);

/// What is to be read of a content from its origin, and what of that is on its way to the engine.
///
/// A plain class: the time is an argument.
class origin_plan {
public:
  using time_point = std::chrono::steady_clock::time_point;

  /// What was given and has not been taken for so long is read again.
  static constexpr std::chrono::seconds patience{15};

  origin_plan(std::shared_ptr<const p2p::content> what, std::uint32_t first);

  /// Per piece, what is there now.
  /// @pre as many as the content has pieces.
  void have(std::vector<bool> pieces, time_point now);
  /// A piece was read.
  void gave(std::uint32_t piece, time_point now);
  /// It is there, or its hash was wrong.
  void took(std::uint32_t piece, bool good);
  /// The server knows no parts: files are read from their beginning to their end.
  void read_whole_files() { whole_files_ = true; }

  bool is_given(std::uint32_t piece) const { return given_.contains(piece); }
  bool needs(std::uint32_t piece) const { return !have_[piece] && !given_.contains(piece); }
  /// Whether anything of a range is still needed from this piece on.
  bool needs_any(const origin_range& range, std::uint32_t from) const;
  /// Bytes that were given and not taken.
  std::uint64_t given_bytes() const { return given_.size() * std::uint64_t{what_->piece_size}; }
  /// The longest run of pieces in one file that are needed; nothing: none is.
  std::optional<origin_range> next() const;

  const std::shared_ptr<const p2p::content>& what() const { return what_; }

private:
  std::shared_ptr<const p2p::content> what_;
  std::uint32_t first_;
  std::vector<bool> have_;
  std::map<std::uint32_t, time_point> given_;
  bool whole_files_ = false;
};

} // namespace astra
