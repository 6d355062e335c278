#include "actors/node/home_selector.hpp"

#include "actors/mutant.hpp"
#include "actors/rendezvous.hpp"

#include <cassert>
#include <utility>

namespace astra {

home_selector::home_selector(std::string_view self, std::vector<std::string> resources,
                             std::chrono::milliseconds silence_max, time_point now)
  : order_(rendezvous_order(self, std::move(resources))), silence_max_(silence_max), alive_(now) {
  assert(!order_.empty());
}

void home_selector::on_ack(time_point now) {
  alive_ = now;
  failures_ = 0;
}

bool home_selector::on_error(time_point now) {
  ++failures_;
  move(now);
  return failures_ % order_.size() != 0;
}

bool home_selector::check_silence(time_point now) {
  if (now - alive_ < silence_max_ || MUTANT(silent_home_kept))
    return false;
  move(now);
  return true;
}

void home_selector::move(time_point now) {
  if (!MUTANT(home_never_changed))
    current_ = (current_ + 1) % order_.size();
  if (!MUTANT(rehome_without_epoch))
    ++epoch_;
  alive_ = now;
}

} // namespace astra
