#include "p2p/dial_turns.hpp"

#include <utility>

namespace astra::p2p {

dial_turns::step dial_turns::ask(way how, dial what, time_point now) {
  auto first = waiting_.empty();
  if (!first || how != turn_) {
    waiting_.push_back({how, std::move(what)});
    return go_on(now);
  }
  dialled_.insert(what.peer);
  ends_ = now + dial_takes;
  return {std::nullopt, {std::move(what)}};
}

dial_turns::step dial_turns::begun(const peer_endpoint& peer, time_point now) {
  dialled_.erase(peer);
  return go_on(now);
}

dial_turns::step dial_turns::go_on(time_point now) {
  step result;
  if (!dialled_.empty() && now < ends_)
    return result;
  dialled_.clear();
  auto next = waiting_.empty() ? way::tcp : waiting_.front().how;
  if (next != turn_)
    result.turn = turn_ = next;
  std::vector<waiter> others;
  for (auto& each : std::exchange(waiting_, {}))
    if (each.how == turn_) {
      dialled_.insert(each.what.peer);
      result.dials.push_back(std::move(each.what));
    } else {
      others.push_back(std::move(each));
    }
  waiting_ = std::move(others);
  ends_ = now + dial_takes;
  return result;
}

std::optional<dial_turns::time_point> dial_turns::due() const {
  if (at_rest())
    return std::nullopt;
  return ends_;
}

} // namespace astra::p2p
