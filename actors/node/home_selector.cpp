#include "actors/node/home_selector.hpp"

#include "actors/mutant.hpp"
#include "actors/rendezvous.hpp"
#include "messages/ids.hpp"

#include <cassert>
#include <utility>

namespace astra {

home_selector::home_selector(std::string_view self, std::vector<std::string> resources,
                             std::chrono::milliseconds silence_max, time_point now,
                             std::vector<std::string> aggregators)
  : order_(rendezvous_order(self, std::move(aggregators))), aggregators_(order_.size()), silence_max_(silence_max),
    // From the name: another time for each node, the same one in every run.
    return_wait_(return_after + std::chrono::nanoseconds{return_after} * (name_hash(self) % 1024) / 1024), alive_(now) {
  for (auto& address : rendezvous_order(self, std::move(resources)))
    order_.push_back(address);
  assert(order_.size() > aggregators_);
}

void home_selector::on_ack(time_point now) {
  alive_ = now;
  failures_ = 0;
}

bool home_selector::on_error(time_point now) {
  ++failures_;
  move_on(now);
  return failures_ % order_.size() != 0;
}

bool home_selector::check_silence(time_point now) {
  if (now - alive_ < silence_max_ || MUTANT(silent_home_kept))
    return false;
  move_on(now);
  return true;
}

void home_selector::fed_elsewhere() {
  ++epoch_;
}

const std::string* home_selector::check_return(time_point now) {
  if (aggregators_ == 0 || aggregated() || now < return_at_)
    return nullptr;
  return_at_ = now + return_wait_;
  return &order_[return_to_++ % aggregators_];
}

void home_selector::return_to(const std::string& aggregator, time_point now) {
  move(static_cast<std::size_t>(&aggregator - order_.data()), now);
}

void home_selector::move_on(time_point now) {
  move((current_ + 1) % order_.size(), now);
}

void home_selector::move(std::size_t to, time_point now) {
  if (!MUTANT(home_never_changed))
    current_ = to;
  if (!MUTANT(rehome_without_epoch))
    ++epoch_;
  alive_ = now;
  return_at_ = now + return_wait_;
}

} // namespace astra
