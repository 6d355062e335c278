#include "actors/resource/event_log.hpp"

#include <algorithm>
#include <cassert>
#include <utility>

namespace astra {

event_log::event_log(std::uint64_t epoch, std::size_t most) : epoch_(epoch), most_(most) {
  assert(most > 0);
}

std::uint64_t event_log::add(pb::Event event) {
  event.set_sequence(++last_);
  if (events_.size() == most_)
    events_.pop_front();
  events_.push_back(std::move(event));
  return last_;
}

pb::EventPage event_log::read(const pb::EventQuery& query, std::size_t limit_bytes) const {
  pb::EventPage page;
  page.set_epoch(epoch_);
  // A number that was not given yet is as good as none: it is not this life's.
  auto after = query.epoch() == epoch_ && query.after() <= last_ ? query.after() : 0;
  auto oldest = last_ - events_.size() + 1;
  if (after + 1 < oldest) {
    page.set_lost(oldest - after - 1);
    after = oldest - 1;
  }
  page.set_next(after);
  std::size_t bytes = 0;
  for (auto event = events_.begin() + static_cast<std::ptrdiff_t>(after + 1 - oldest); event != events_.end();
       ++event) {
    auto wanted = event->wall_ms() >= query.since_wall_ms() && (query.node() == 0 || event->object() == query.node());
    if (wanted) {
      bytes += event->ByteSizeLong() + 4;
      if (bytes > limit_bytes && page.events_size() > 0) {
        page.set_more(true);
        break;
      }
      *page.add_events() = *event;
    }
    page.set_next(event->sequence());
  }
  return page;
}

} // namespace astra
