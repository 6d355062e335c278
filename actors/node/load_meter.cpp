#include "actors/node/load_meter.hpp"

#include <algorithm>
#include <cmath>

namespace astra {
namespace {

/// Growth per second in [0, limit], or `otherwise` when the counter tells nothing.
double rate(double before, double after, double seconds, double limit, double otherwise) {
  auto growth = after - before;
  if (!std::isfinite(growth) || growth < 0.0)
    return otherwise;
  return std::min(growth / seconds, limit);
}

} // namespace

load_meter::load_meter(double cores, const machine_sample& first, time_point now)
  : cores_(std::isfinite(cores) && cores > 0.0 ? cores : 1.0), last_(first), window_start_(now), integrated_(now) {}

void load_meter::set_running(std::uint32_t running, time_point now) {
  integrate(now);
  running_ = running;
}

pb::NodeLoad load_meter::report(const machine_sample& sample, time_point now) {
  integrate(now);
  if (now - window_start_ >= interval_min) {
    auto seconds = std::chrono::duration<double>(now - window_start_).count();
    auto host =
        rate(last_.host_busy_core_s, sample.host_busy_core_s, seconds, cores_, averages_.host_utilisation() * cores_);
    auto own = rate(last_.own_busy_core_s, sample.own_busy_core_s, seconds, cores_, averages_.own_busy_cores());
    averages_.set_host_utilisation(std::min(host / cores_, 1.0));
    averages_.set_own_busy_cores(own);
    averages_.set_concurrency(request_s_ / seconds);
    last_ = sample;
    window_start_ = now;
    request_s_ = 0.0;
  } else if (now < window_start_) {
    window_start_ = now;
    request_s_ = 0.0;
  }
  averages_.set_memory_used_bytes(sample.memory_used_bytes);
  averages_.set_running(running_);
  return averages_;
}

void load_meter::integrate(time_point now) {
  if (now > integrated_)
    request_s_ += running_ * std::chrono::duration<double>(now - integrated_).count();
  integrated_ = now;
}

} // namespace astra
