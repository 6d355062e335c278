#include "runtime/transfer/read_plan.hpp"

#include <algorithm>
#include <cassert>
#include <utility>

namespace astra {
namespace {

using std::chrono::milliseconds;

/// Of one question at most so many pieces have deadlines.
constexpr std::uint64_t near_pieces_max = 32;
/// What is read ahead: so many bytes, within these bounds.
constexpr std::uint64_t ahead_bytes = 8 * 1024 * 1024;
constexpr std::uint64_t ahead_pieces_min = 4;
constexpr std::uint64_t ahead_pieces_max = 16;
/// Of the pieces that somebody waits for each next one may come so much later.
constexpr milliseconds near_step{50};
/// What is read ahead comes after everything that somebody waits for.
constexpr milliseconds ahead_first{near_step * near_pieces_max};
constexpr milliseconds ahead_step{250};
/// Who was answered, or waited in vain, is expected to ask again for so long.
constexpr milliseconds reads_on{10'000};

/// How soon the engine is told to have it, when somebody waits.
bool is_near(const p2p::piece_deadline& deadline) {
  return deadline.within < ahead_first;
}

std::uint64_t pieces_ahead(const p2p::content& what) {
  return std::clamp(ahead_bytes / what.piece_size, ahead_pieces_min, ahead_pieces_max);
}

} // namespace

read_plan::ticket read_plan::ask(const p2p::content_file& file, std::uint64_t offset, std::uint64_t length,
                                 time_point until) {
  assert(offset < file.size && length > 0);
  auto same = std::ranges::find_if(
      readers_, [&](const reader& one) { return one.length == 0 && one.file == &file && one.offset == offset; });
  if (same != readers_.end())
    readers_.erase(same);
  readers_.push_back({++last_, &file, offset, std::min(length, file.size - offset), until});
  return last_;
}

std::vector<read_plan::answer> read_plan::take_answers(const std::vector<bool>& have, time_point now) {
  std::vector<answer> result;
  for (auto& one : readers_) {
    if (one.length == 0)
      continue;
    auto there = std::min(one.length, readable_bytes(*what_, *one.file, have, one.offset));
    if (there == 0)
      continue;
    result.push_back({one.who, there});
    one.offset += there;
    one.length = 0;
    one.until = now + reads_on;
  }
  forget_gone(now);
  return result;
}

std::vector<read_plan::ticket> read_plan::take_impatient(time_point now) {
  std::vector<ticket> result;
  for (auto& one : readers_)
    if (one.length > 0 && now >= one.until) {
      result.push_back(one.who);
      one.length = 0;
      one.until = now + reads_on;
    }
  forget_gone(now);
  return result;
}

void read_plan::forget_gone(time_point now) {
  std::erase_if(readers_, [&](const reader& one) {
    return one.length == 0 && (now >= one.until || one.offset >= one.file->size);
  });
}

read_plan::urgency read_plan::wanted(const std::vector<bool>& have) const {
  urgency result;
  auto want = [&](const p2p::content_file& file, std::uint64_t piece, milliseconds within) {
    auto number = file.first_piece + static_cast<std::uint32_t>(piece);
    if (number < have.size() && have[number])
      return;
    auto [known, fresh] = result.try_emplace(number, p2p::piece_deadline{number, within});
    known->second.within = std::min(known->second.within, within);
  };
  for (auto& one : readers_) {
    auto first = one.offset / what_->piece_size;
    auto behind = (one.offset + one.length + what_->piece_size - 1) / what_->piece_size;
    auto near_end = std::clamp<std::uint64_t>(behind, first, first + near_pieces_max);
    if (one.length == 0)
      near_end = first;
    auto step = milliseconds{0};
    for (auto piece = first; piece < near_end; ++piece, step += near_step)
      want(*one.file, piece, step);
    step = ahead_first;
    auto end = std::min<std::uint64_t>(near_end + pieces_ahead(*what_), one.file->pieces);
    for (auto piece = near_end; piece < end; ++piece, step += ahead_step)
      want(*one.file, piece, step);
  }
  return result;
}

std::optional<std::vector<p2p::piece_deadline>> read_plan::changed_deadlines(const std::vector<bool>& have,
                                                                             time_point now) {
  forget_gone(now);
  std::erase_if(told_, [&](auto& entry) { return entry.first < have.size() && have[entry.first]; });
  auto wish = wanted(have);
  auto known =
      static_cast<std::size_t>(std::ranges::count_if(wish, [&](auto& entry) { return told_.count(entry.first) > 0; }));
  auto held_up = std::ranges::any_of(readers_, [&](const reader& one) {
    if (one.length == 0)
      return false;
    auto told = told_.find(one.file->first_piece + static_cast<std::uint32_t>(one.offset / what_->piece_size));
    return told == told_.end() || !is_near(told->second);
  });
  auto is_stale = wish.empty() && !told_.empty();
  if (!held_up && !is_stale && 2 * known >= wish.size())
    return std::nullopt;
  std::vector<p2p::piece_deadline> result;
  result.reserve(wish.size());
  for (auto& [piece, deadline] : wish)
    result.push_back(deadline);
  std::ranges::stable_sort(result, {}, &p2p::piece_deadline::within);
  told_ = std::move(wish);
  return result;
}

std::uint64_t readable_bytes(const p2p::content& what, const p2p::content_file& file, const std::vector<bool>& have,
                             std::uint64_t offset) {
  if (offset >= file.size)
    return 0;
  auto piece = offset / what.piece_size;
  while (piece < file.pieces && file.first_piece + piece < have.size() && have[file.first_piece + piece])
    ++piece;
  auto end = std::min<std::uint64_t>(piece * what.piece_size, file.size);
  return end > offset ? end - offset : 0;
}

const p2p::content_file* find_file(const p2p::content& what, std::string_view path) {
  auto found = std::ranges::find(what.files, path, &p2p::content_file::path);
  return found == what.files.end() ? nullptr : &*found;
}

} // namespace astra
