#include "actors/resource/accusation_list.hpp"

#include <algorithm>
#include <utility>

namespace astra {

std::string accusation_list::clean(std::string reason) {
  reason.resize(std::min(reason.size(), text_max));
  for (auto& letter : reason)
    if (static_cast<unsigned char>(letter) < ' ' || letter == '"')
      letter = ' ';
  // A cut in the middle of a character would not travel.
  while (!reason.empty() && (static_cast<unsigned char>(reason.back()) & 0x80U) != 0)
    reason.pop_back();
  return reason;
}

void accusation_list::add(pb::Accusation what) {
  what.set_reason(clean(what.reason()));
  waiting_[node_id{what.node()}] = std::move(what);
}

std::optional<std::chrono::milliseconds> accusation_list::wait(time_point now) const {
  if (waiting_.empty())
    return std::nullopt;
  return std::max(std::chrono::ceil<std::chrono::milliseconds>(next_ - now), std::chrono::milliseconds{0});
}

std::optional<std::chrono::milliseconds> accusation_list::begin_to_wait(time_point now) {
  auto result = wait(now);
  return result && !std::exchange(waiting_for_turn_, true) ? result : std::nullopt;
}

void accusation_list::tell(pb::Subscribe& in, time_point now) {
  if (waiting_.empty())
    return;
  next_ = now + interval;
  for (auto i = most; i > 0 && !waiting_.empty(); --i) {
    *in.add_accusations() = std::move(waiting_.begin()->second);
    waiting_.erase(waiting_.begin());
  }
}

} // namespace astra
