#include "actors/resource/credit_window.hpp"

#include "actors/mutant.hpp"

#include <algorithm>
#include <iterator>
#include <utility>

namespace astra {
namespace {

constexpr std::size_t part_least = 1024;

} // namespace

bool credit_window::fits(std::size_t bytes, kind what) const {
  auto [used, limit] = what == kind::urgent ? std::pair{urgent_, chunk_} : std::pair{bulk_, chunks_max * chunk_};
  // What is larger than the window goes alone.
  return used == 0 || used + bytes + overhead_bytes <= limit || MUTANT(credit_not_waited_for);
}

std::size_t credit_window::part_bytes() const {
  return std::min(chunk_, std::max(chunk_ / 4, part_least));
}

bool credit_window::fits_part() const {
  // Of the last quarter of a chunk no acknowledgement was asked for yet.
  auto limit = std::max(chunk_, part_bytes() + chunk_ / 4);
  return bulk_ + part_bytes() <= limit || MUTANT(credit_not_waited_for);
}

std::optional<std::uint64_t> credit_window::sent(std::size_t bytes, kind what) {
  count(bytes, what);
  if (open_.bulk + open_.urgent < chunk_ / 4)
    return std::nullopt;
  return ask();
}

std::uint64_t credit_window::sent_and_asked(std::size_t bytes, kind what) {
  count(bytes, what);
  return ask();
}

void credit_window::acknowledged(std::uint64_t number) {
  while (!batches_.empty() && batches_.front().number <= number) {
    bulk_ -= batches_.front().bulk;
    urgent_ -= batches_.front().urgent;
    batches_.pop_front();
  }
  asked_.erase(asked_.begin(), asked_.upper_bound(number));
}

void credit_window::failed(std::uint64_t number) {
  asked_.erase(number);
  auto lost = std::find_if(batches_.begin(), batches_.end(), [&](auto& entry) { return entry.number == number; });
  if (lost == batches_.end())
    return;
  auto& heir = std::next(lost) == batches_.end() ? open_ : *std::next(lost);
  heir.bulk += lost->bulk;
  heir.urgent += lost->urgent;
  batches_.erase(lost);
}

void credit_window::count(std::size_t bytes, kind what) {
  auto cost = bytes + overhead_bytes;
  (what == kind::urgent ? urgent_ : bulk_) += cost;
  (what == kind::urgent ? open_.urgent : open_.bulk) += cost;
}

std::uint64_t credit_window::ask() {
  open_.number = ++last_number_;
  batches_.push_back(std::exchange(open_, {}));
  asked_.insert(last_number_);
  return last_number_;
}

} // namespace astra
