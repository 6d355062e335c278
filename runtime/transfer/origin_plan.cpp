#include "runtime/transfer/origin_plan.hpp"

#include <algorithm>
#include <cassert>
#include <utility>

namespace astra {

std::uint32_t first_to_read(std::string_view zone, std::uint32_t pieces) {
  // FNV-1a; std::hash is another one in each library.
  std::uint32_t hash = 2166136261U;
  for (unsigned char c : zone)
    hash = (hash ^ c) * 16777619U;
  return zone.empty() || pieces == 0 ? 0 : hash % pieces;
}

origin_plan::origin_plan(std::shared_ptr<const p2p::content> what, std::uint32_t first)
  : what_(std::move(what)), first_(first), have_(what_->piece_hashes.size()) {}

void origin_plan::have(std::vector<bool> pieces, time_point now) {
  assert(pieces.size() == what_->piece_hashes.size());
  have_ = std::move(pieces);
  std::erase_if(given_, [&](auto& entry) { return have_[entry.first] || now - entry.second >= patience; });
}

void origin_plan::gave(std::uint32_t piece, time_point now) {
  given_[piece] = now;
}

void origin_plan::took(std::uint32_t piece, bool good) {
  given_.erase(piece);
  if (good && piece < have_.size())
    have_[piece] = true;
}

bool origin_plan::needs_any(const origin_range& range, std::uint32_t from) const {
  for (auto piece = from; piece < range.first_piece + range.pieces; ++piece)
    if (needs(piece))
      return true;
  return false;
}

std::optional<origin_range> origin_plan::next() const {
  auto count = static_cast<std::uint32_t>(have_.size());
  std::uint32_t turn = 0;
  while (turn < count && !needs((first_ + turn) % count))
    ++turn;
  if (turn == count)
    return std::nullopt;
  auto begin = (first_ + turn) % count;
  auto& file = p2p::file_of(*what_, begin);
  auto end = begin;
  while (end < file.first_piece + file.pieces && needs(end))
    ++end;
  if (whole_files_) {
    begin = file.first_piece;
    end = begin + file.pieces;
  }
  origin_range result;
  result.file = static_cast<std::size_t>(&file - what_->files.data());
  result.first_piece = begin;
  result.pieces = end - begin;
  result.offset = std::uint64_t{begin - file.first_piece} * what_->piece_size;
  result.length = std::min(file.size, std::uint64_t{end - file.first_piece} * what_->piece_size) - result.offset;
  result.whole = result.length == file.size;
  return result;
}

} // namespace astra
