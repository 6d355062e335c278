#include "actors/scheduler/way_back.hpp"

#include "actors/scheduler/claim_book.hpp"

#include <fmt/format.h>

#include <charconv>
#include <optional>
#include <set>
#include <string_view>

namespace astra {
namespace {

constexpr std::string_view prefix = "rolled back by itself from revision ";
constexpr std::string_view halt_prefix = "its update is halted: ";

/// The revision that a note says has failed.
std::optional<std::uint64_t> undone_by(const std::string& note) {
  if (!note.starts_with(prefix))
    return std::nullopt;
  std::uint64_t number = 0;
  auto end = std::from_chars(note.data() + prefix.size(), note.data() + note.size(), number);
  return end.ec == std::errc{} ? std::optional{number} : std::nullopt;
}

} // namespace

std::string own_rollback_note(std::uint64_t failed, const std::string& reason) {
  return fmt::format("{}{}: {}", prefix, failed, reason);
}

std::string halt_note(const std::string& reason) {
  return fmt::format("{}{}", halt_prefix, reason);
}

std::string noted_halt(const std::vector<pb::AppRevision>& history) {
  if (history.empty() || !history.back().note().starts_with(halt_prefix))
    return {};
  return history.back().note().substr(halt_prefix.size());
}

retreat way_back(const std::vector<pb::AppRevision>& history) {
  if (history.empty())
    return {nullptr, "no revisions of it are kept"};
  auto current = hash_of(history.back().spec());
  std::set<std::uint64_t> failed_numbers;
  for (auto& revision : history)
    if (auto number = undone_by(revision.note()))
      failed_numbers.insert(*number);
  std::set<std::uint64_t> failed{current};
  for (auto& revision : history)
    if (failed_numbers.count(revision.number()) != 0)
      failed.insert(hash_of(revision.spec()));
  // Scaling makes another revision of the same.
  for (auto revision = history.rbegin(); revision != history.rend(); ++revision) {
    if (hash_of(revision->spec()) != current)
      break;
    if (auto number = undone_by(revision->note()))
      return {nullptr, fmt::format("it is what revision {} was rolled back to by itself", *number)};
  }
  for (auto revision = history.rbegin(); revision != history.rend(); ++revision)
    if (!revision->spec().deleting() && failed.count(hash_of(revision->spec())) == 0)
      return {&*revision, {}};
  return {nullptr, "there is no revision before it that is not known to fail"};
}

} // namespace astra
