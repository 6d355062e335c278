#include "actors/resource/aggregated_members.hpp"

#include "actors/mutant.hpp"
#include "actors/resource/load_columns.hpp"

#include <optional>
#include <utility>

namespace astra {

void aggregated_members::introduce(std::uint32_t slot, const place& who) {
  if (places_.size() < slot)
    places_.resize(slot);
  places_[slot - 1] = who;
}

const aggregated_members::place* aggregated_members::find(std::uint32_t slot, const shard_log& log) const {
  if (slot == 0 || slot > places_.size())
    return nullptr;
  auto& who = places_[slot - 1];
  if (!log.holds(who.row, who.node))
    return nullptr;
  auto& row = log.row(who.row);
  return row.incarnation() == who.incarnation && row.home_epoch() == who.home_epoch ? &who : nullptr;
}

aggregated_members::outcome aggregated_members::hear(const pb::BeatBatch& batch, member_table& members,
                                                     const shard_log& log, time_point now) const {
  outcome result;
  load_columns_reader loads{batch.loads()};
  told_load told;
  auto more = loads.valid() && loads.next(told);
  auto& bits = batch.heard();
  for (std::size_t byte = 0; byte < bits.size(); ++byte)
    for (unsigned rest = static_cast<unsigned char>(bits[byte]), bit = 0; rest != 0; rest >>= 1, ++bit) {
      if ((rest & 1) == 0)
        continue;
      auto slot = static_cast<std::uint32_t>(byte * 8 + bit + 1);
      while (more && told.slot < slot)
        more = loads.next(told);
      auto who = find(slot, log);
      if (!who) {
        if (slot <= slots_max)
          result.unknown.push_back(slot);
        continue;
      }
      ++result.heard;
      auto load = log.load(who->row);
      if (more && told.slot == slot)
        told.apply_to(load);
      if (auto change = members.beat_again(who->row, load, now))
        result.changes.push_back(std::move(*change));
    }
  for (auto slot : batch.closed())
    if (auto who = find(slot, log))
      if (auto change = members.connection_closed(who->node, now))
        result.changes.push_back(std::move(*change));
  return result;
}

std::vector<aggregated_members::place> aggregated_members::all(const shard_log& log) const {
  std::vector<place> result;
  for (std::uint32_t slot = 1; slot <= places_.size(); ++slot)
    if (auto who = find(slot, log))
      result.push_back(*who);
  return result;
}

} // namespace astra
