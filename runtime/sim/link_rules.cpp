#include "runtime/sim/link_rules.hpp"

#include <utility>

namespace astra::sim {
namespace {

std::vector<bool> mask_of(const std::vector<std::uint32_t>& list) {
  std::vector<bool> result;
  for (auto one : list) {
    if (result.size() <= one)
      result.resize(one + 1);
    result[one] = true;
  }
  return result;
}

} // namespace

std::uint64_t link_rules::add(rule added) {
  entry one;
  one.from = mask_of(added.from);
  one.to = mask_of(added.to);
  one.what = std::move(added);
  rules_.emplace(++last_, std::move(one));
  return last_;
}

std::optional<link_rules::rule> link_rules::lift(std::uint64_t id) {
  auto found = rules_.extract(id);
  if (found.empty())
    return std::nullopt;
  return std::move(found.mapped().what);
}

bool link_rules::passes(std::uint32_t from, std::uint32_t to) const {
  for (auto& [id, one] : rules_)
    if (one.what.cuts && one.covers(from, to))
      return false;
  return true;
}

std::int64_t link_rules::latency(const scenario_network& net, const draws& random, std::uint32_t from, std::uint32_t to,
                                 std::uint64_t subject, std::uint64_t number) const {
  auto result = log_uniform(net.latency_min, net.latency_max, random.unit(draw_kind::latency, subject, number));
  if (net.tail > 0.0 && random.unit(draw_kind::tail, subject, number) < net.tail && net.tail_max > net.latency_max)
    result = log_uniform(net.latency_max, net.tail_max, random.unit(draw_kind::tail, ~subject, number));
  auto factor = 1.0;
  for (auto& [id, one] : rules_)
    if (!one.what.cuts && one.covers(from, to))
      factor *= one.what.factor;
  return factor == 1.0 ? result.count() : static_cast<std::int64_t>(static_cast<double>(result.count()) * factor);
}

} // namespace astra::sim
