#include "actors/resource/node_load.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>

namespace astra {
namespace {

using column = node_load::column;

/// A whole per cent is a whole number of steps.
constexpr double utilisation_steps = 200.0;
/// 2^(1/12).
constexpr double log_step = 1.0594630943592953;
constexpr double core_unit = 0.01;
constexpr double request_unit = 0.01;
constexpr double memory_unit = 1024.0 * 1024.0;
/// Counts below this are exact.
constexpr unsigned exact_counts = 128;

/// Value of each logarithmic code, in units: 0 is 0, 1 is one unit.  Made by multiplication alone, so that it is the
/// same in every build.
constexpr auto log_values = [] {
  std::array<double, 256> result{};
  auto value = 1.0;
  for (std::size_t code = 1; code < result.size(); ++code) {
    result[code] = value;
    value *= log_step;
  }
  return result;
}();

/// Counts: exact up to 127, then logarithmic with 8 steps per octave.
constexpr auto count_values = [] {
  constexpr auto step = 1.0905077326652577; // 2^(1/8)
  std::array<double, 256> result{};
  auto value = static_cast<double>(exact_counts);
  for (std::size_t code = 0; code < result.size(); ++code) {
    result[code] = code < exact_counts ? static_cast<double>(code) : value;
    if (code >= exact_counts)
      value *= step;
  }
  return result;
}();

/// The code whose value is nearest.
std::uint8_t nearest(const std::array<double, 256>& values, double value) {
  if (!(value > 0.0))
    return 0;
  auto above = std::lower_bound(values.begin(), values.end(), value);
  if (above == values.end())
    return 255;
  if (above == values.begin())
    return 0;
  auto below = above - 1;
  auto nearer = value - *below < *above - value ? below : above;
  return static_cast<std::uint8_t>(nearer - values.begin());
}

std::uint8_t& at(node_load& load, column which) {
  return load.bytes[static_cast<std::size_t>(which)];
}

std::uint8_t at(const node_load& load, column which) {
  return load.bytes[static_cast<std::size_t>(which)];
}

double log_value(const node_load& load, column which) {
  return log_values[at(load, which)];
}

constexpr std::uint8_t bit(std::size_t i) {
  return static_cast<std::uint8_t>(1U << i);
}

} // namespace

node_load::node_load(const pb::NodeLoad& exact) : done(exact.requests_done()), failed(exact.requests_failed()) {
  auto utilisation = exact.host_utilisation();
  auto share = utilisation > 0.0 ? std::min(utilisation, 1.0) : 0.0;
  at(*this, column::utilisation) = static_cast<std::uint8_t>(std::lround(share * utilisation_steps));
  at(*this, column::own_busy) = nearest(log_values, exact.own_busy_cores() / core_unit);
  at(*this, column::concurrency) = nearest(log_values, exact.concurrency() / request_unit);
  at(*this, column::memory) = nearest(log_values, static_cast<double>(exact.memory_used_bytes()) / memory_unit);
  at(*this, column::running) = nearest(count_values, exact.running());
  at(*this, column::queued) = nearest(count_values, exact.queued());
}

double node_load::host_utilisation() const {
  return at(*this, column::utilisation) / utilisation_steps;
}

double node_load::own_busy_cores() const {
  return log_value(*this, column::own_busy) * core_unit;
}

double node_load::concurrency() const {
  return log_value(*this, column::concurrency) * request_unit;
}

std::uint64_t node_load::memory_used_bytes() const {
  return static_cast<std::uint64_t>(log_value(*this, column::memory) * memory_unit);
}

std::uint32_t node_load::running() const {
  return static_cast<std::uint32_t>(count_values[at(*this, column::running)]);
}

std::uint32_t node_load::queued() const {
  return static_cast<std::uint32_t>(count_values[at(*this, column::queued)]);
}

pb::NodeLoad node_load::to_pb() const {
  pb::NodeLoad result;
  result.set_host_utilisation(host_utilisation());
  result.set_own_busy_cores(own_busy_cores());
  result.set_concurrency(concurrency());
  result.set_memory_used_bytes(memory_used_bytes());
  result.set_running(running());
  result.set_queued(queued());
  result.set_requests_done(done);
  result.set_requests_failed(failed);
  return result;
}

std::uint8_t columns_changed(const node_load& before, const node_load& after) {
  std::uint8_t result = 0;
  for (std::size_t i = 0; i < node_load::byte_columns; ++i)
    if (before.bytes[i] != after.bytes[i])
      result |= bit(i);
  if (before.done != after.done)
    result |= bit(static_cast<std::size_t>(column::done));
  if (before.failed != after.failed)
    result |= bit(static_cast<std::size_t>(column::failed));
  return result;
}

std::uint8_t columns_worth_telling(const node_load& told, const node_load& now) {
  constexpr auto noise = 1;
  std::uint8_t result = 0;
  for (std::size_t i = 0; i < node_load::byte_columns; ++i) {
    auto before = told.bytes[i];
    auto after = now.bytes[i];
    auto small = i == static_cast<std::size_t>(column::running) || i == static_cast<std::size_t>(column::queued);
    if (before != after && (small || before == 0 || after == 0 || std::abs(int{before} - int{after}) > noise))
      result |= bit(i);
  }
  return result;
}

} // namespace astra
