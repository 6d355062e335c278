#include "runtime/transfer/fetch_text.hpp"

#include "config/units.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace astra {
namespace {

/// Slower than this nobody can tell when it will be over.
constexpr std::uint64_t slowest_bytes_per_s = 1024;

std::string time_text(std::chrono::milliseconds time) {
  auto seconds = (time.count() + 999) / 1000;
  if (seconds < 100)
    return fmt::format("{} s", seconds);
  if (seconds < 6000)
    return fmt::format("{} min", (seconds + 59) / 60);
  return fmt::format("{} h", (seconds + 3599) / 3600);
}

std::string sources(const fetch_progress& how) {
  auto peers = fmt::format("{} {}", how.peers, how.peers == 1 ? "peer" : "peers");
  if (!how.reads_origin)
    return peers;
  return how.peers == 0 ? "its origin" : "its origin and " + peers;
}

} // namespace

std::optional<std::chrono::milliseconds> time_left(const fetch_progress& how) {
  if (how.bytes_done >= how.bytes_total)
    return std::chrono::milliseconds{0};
  if (how.bytes_per_s < slowest_bytes_per_s)
    return std::nullopt;
  return std::chrono::milliseconds{(how.bytes_total - how.bytes_done) * 1000 / how.bytes_per_s};
}

std::string limited_by(const fetch_progress& how) {
  if (how.reads_origin && how.bytes_per_s < slowest_bytes_per_s)
    return "its origin, which this node has begun to read";
  if (how.complete == 0 && how.missing > 0 && how.has_origin && how.bytes_per_s < slowest_bytes_per_s)
    return how.origin_problem.empty()
               ? fmt::format("{} of its pieces, which a node of this zone is to read from its origin", how.missing)
               : fmt::format("{} of its pieces, which no node has that answers, and its origin does not give: {}",
                             how.missing, how.origin_problem);
  if (how.complete == 0 && how.missing > 0 && how.bytes_per_s < slowest_bytes_per_s)
    return fmt::format("{} of its pieces, which no node has that answers", how.missing);
  if (how.peers == 0 && !how.reads_origin)
    return how.complete == 0 ? "no node that has it answers"
                             : fmt::format("no connection to the {} that {} it yet",
                                           how.complete == 1 ? "node" : "nodes", how.complete == 1 ? "has" : "have");
  if (how.gives_way)
    return "the requests that this node works on";
  auto fills = [&](std::uint64_t limit) { return limit > 0 && how.bytes_per_s * 10 >= limit * 9; };
  if (fills(how.share))
    return "more urgent contents of this node";
  if (fills(how.download_limit))
    return "store.download_limit of this node";
  if (fills(how.link_cap))
    return "store.link_share of this node's link";
  if (how.swarm_limited)
    return "the limit over all nodes (astra model limit)";
  if (how.reads_origin)
    return "its origin, which this node reads";
  return "the uplinks of its peers";
}

std::string fetch_text(const fetch_progress& how) {
  auto share = how.bytes_total == 0 ? 100 : std::min<std::uint64_t>(how.bytes_done * 100 / how.bytes_total, 100);
  auto result = fmt::format("{} %", share);
  if (auto left = time_left(how))
    result += fmt::format(", {} left at {} from {}", time_text(*left), human_rate(how.bytes_per_s), sources(how));
  return result + ", limited by " + limited_by(how);
}

} // namespace astra
