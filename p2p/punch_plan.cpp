#include "p2p/punch_plan.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <iterator>
#include <tuple>
#include <utility>

namespace astra::p2p {
namespace {

/// As long as the datagram may take to leave the NAT: whoever is there sooner is not let in, and dials in vain.
constexpr std::chrono::milliseconds hole_takes{100};

constexpr std::string_view names[] = {"unknown", "open", "full_cone", "port_restricted", "symmetric"};
static_assert(std::size(names) == static_cast<std::size_t>(reachability::symmetric) + 1);

struct side {
  const vantage& node;
  reachability kind;

  /// Where a datagram reaches it, if any does.
  const peer_endpoint& seen() const { return node.mapped.empty() ? node.local : node.mapped.front(); }
  auto order() const { return std::tie(seen(), node.local); }
};

/// Of two that could both dial the same one, whoever asks.
bool goes_first(const side& a, const side& b) {
  if (a.kind == b.kind)
    return a.order() < b.order();
  if (a.kind == reachability::open || b.kind == reachability::open)
    return b.kind == reachability::open;
  // The one that is harder to reach: a symmetric one cannot be dialled.
  return a.kind > b.kind;
}

bool behind_one_address(const side& a, const side& b) {
  return !a.node.mapped.empty() && !b.node.mapped.empty() && a.seen().address == b.seen().address;
}

std::string why_not(const side& dialler, const side& other) {
  for (auto* each : {&dialler, &other})
    if (each->kind == reachability::unknown)
      return fmt::format("no public node tells where {} is seen", to_string(each->node.local));
  return fmt::format("{} is seen at another port by each peer, and {} lets nobody in whose port it does not know",
                     to_string(dialler.node.local), to_string(other.node.local));
}

meeting plan(const side& dialler, const side& other) {
  meeting result;
  if (other.kind == reachability::open || behind_one_address(dialler, other)) {
    result.by = meeting::means::tcp;
    result.dials = other.node.local;
    return result;
  }
  auto known = dialler.kind != reachability::unknown && other.kind != reachability::unknown;
  if (known && (dialler.kind != reachability::symmetric || other.kind == reachability::full_cone)) {
    result.by = meeting::means::punch;
    result.dials = other.seen();
    // Also where everybody is let in: it keeps the NAT from forgetting the endpoint.
    result.hole = dialler.seen();
    result.after = hole_takes;
    return result;
  }
  result.reason = why_not(dialler, other);
  return result;
}

} // namespace

std::string_view to_string(reachability kind) {
  return names[static_cast<std::size_t>(kind)];
}

reachability reachability_of(const vantage& node) {
  auto& seen = node.mapped;
  if (seen.empty())
    return reachability::unknown;
  if (std::ranges::adjacent_find(seen, std::not_equal_to{}) != seen.end())
    return reachability::symmetric;
  auto reached = node.reached.value_or(false);
  if (seen.front() == node.local)
    // A firewall translates nothing, and lets nobody in either.
    return reached || !node.reached ? reachability::open : reachability::port_restricted;
  if (reached)
    return reachability::full_cone;
  if (seen.size() == 1 && seen.front().port != node.local.port)
    return reachability::symmetric;
  return reachability::port_restricted;
}

meeting meet(const vantage& first, const vantage& second) {
  side a{first, reachability_of(first)};
  side b{second, reachability_of(second)};
  assert(a.order() != b.order());
  auto first_dials = goes_first(a, b);
  auto result = first_dials ? plan(a, b) : plan(b, a);
  result.first_dials = first_dials;
  return result;
}

} // namespace astra::p2p
