#pragma once

#include "messages/ids.hpp"

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace astra {

/// Finds nodes that answer, and answer badly: with errors at once (a black hole, which looks idle and so draws work),
/// or much slower than is expected of them.  What is bad everywhere is the app's doing and not a node's.
///
/// After Envoy's outlier detection: consecutive errors, a bound on how many nodes are out at a time, and times that
/// grow with each ejection.
///
/// A plain class: the time is an argument.
class outlier_detector {
public:
  using time_point = std::chrono::steady_clock::time_point;
  using milliseconds = std::chrono::milliseconds;
  using microseconds = std::chrono::microseconds;

  struct policy {
    /// Errors one after the other; 0: none are too many.
    std::uint32_t errors = 5;
    /// Times as long as the median of the nodes, by itself and relative to the hardware; 0: nothing is too long.
    double latency = 8.0;
    /// Out for so long the first time, and twice as long each time after that.
    milliseconds first{10'000};
  };

  static constexpr milliseconds longest{300'000};
  /// Latencies before a node is compared with others, and nodes that can be compared.
  static constexpr std::uint32_t latencies_min = 10;
  static constexpr std::size_t compared_min = 3;
  /// Shorter answers are as good as this: they say more of the messages' way than of the node.
  static constexpr microseconds latency_min{50'000};

  struct ejection {
    node_id node;
    std::string reason;
    milliseconds length;
  };

  explicit outlier_detector(const policy& what) : policy_(what) {}

  /// The app answered.
  void served(node_id node, time_point now);

  /// So long it took, or has taken until somebody lost patience.
  /// @param hardware of a slot, in any unit, the same for all nodes.
  void took(node_id node, microseconds time, double hardware);

  /// The app failed at it, or its replica was lost.
  /// @param who Failures with the same cause on the side of the request count as one as long as no others come between
  ///        them; empty: unknown.
  /// @param nodes in rotation, the node included.
  /// @returns what is to be done about it.
  std::optional<ejection> failed(node_id node, const std::string& why, const std::string& who, std::size_t nodes,
                                 time_point now);

  /// The nodes that are much slower than the others; to be asked every few seconds.
  std::vector<ejection> too_slow(std::size_t nodes, time_point now);

  /// It is no longer there, or is another one.
  void forget(node_id node);

private:
  /// Answers of late.
  struct outcomes {
    double ok = 0.0;
    double bad = 0.0;
    time_point at;

    void fade(time_point now);
  };

  /// Mean of the logarithms.
  struct mean {
    double value = 0.0;
    void add(double sample, double weight) { value += weight * (sample - value); }
  };

  struct record {
    outcomes recent;
    /// Errors since the last good answer, and on whose side the last one had its cause.
    std::uint32_t streak = 0;
    std::string last_who;
    /// Good answers in a row since it was ejected last.
    std::uint32_t good = 0;
    /// There was one since then.
    bool proven = false;
    /// Ejections that count.
    std::uint32_t times = 0;
    // Since it was ejected last.
    mean latency;
    mean relative;
    std::uint32_t latencies = 0;
  };

  bool is_out(node_id node, time_point now) const;
  /// Whether one more may be out.
  bool may_eject(std::size_t nodes, time_point now);
  milliseconds eject(node_id node, record& what, time_point now);

  policy policy_;
  std::map<node_id, record> nodes_;
  outcomes all_;
  /// Those that are out, and until when.
  std::map<node_id, time_point> out_;
};

} // namespace astra
