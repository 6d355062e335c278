#include "runtime/transfer/job_book.hpp"

#include <utility>

namespace astra {
namespace {

/// A rate over less than this says nothing.
constexpr std::chrono::milliseconds measure_interval{200};

} // namespace

void job_book::job::measure(time_point now) {
  if (!running())
    return;
  auto done = meter->done.load();
  told.set_bytes_done(done);
  told.set_bytes_total(meter->total.load());
  auto since = now - measured;
  if (since < measure_interval)
    return;
  auto more = static_cast<double>(done < done_before ? 0 : done - done_before);
  rate.add(static_cast<std::uint64_t>(more / std::chrono::duration<double>(since).count()));
  done_before = done;
  measured = now;
  told.set_bytes_per_s(rate.value());
  fetch_progress how;
  how.bytes_done = done;
  how.bytes_total = told.bytes_total();
  how.bytes_per_s = rate.value();
  auto left = time_left(how);
  told.set_eta_ms(left ? static_cast<std::uint64_t>(left->count()) : 0);
}

void job_book::job::end(pb::JobState state, std::string reason) {
  if (!running())
    return;
  told.set_state(state);
  told.set_reason(std::move(reason));
}

job_book::job_ptr job_book::begin(const pb::ContentOrder& order, time_point now) {
  auto result = std::make_shared<job>();
  result->told.set_id(++last_);
  result->told.set_verb(order.verb());
  *result->told.mutable_name() = order.name();
  result->told.set_node(node_);
  result->measured = now;
  jobs_[last_] = result;
  if (jobs_.size() > jobs_max)
    jobs_.erase(jobs_.begin());
  return result;
}

job_book::job_ptr job_book::find(std::uint64_t id) const {
  auto found = jobs_.find(id);
  return found == jobs_.end() ? nullptr : found->second;
}

} // namespace astra
