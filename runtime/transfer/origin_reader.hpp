#pragma once

#include "p2p/content.hpp"

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <variant>
#include <vector>

namespace astra {

/// The right to read a content from its origin.
struct origin_lease {
  std::shared_ptr<const p2p::content> what;
  /// @pre origin_problem() finds nothing.
  std::string url;
  /// Per piece: what is there is not read.
  std::vector<bool> have;
  /// From now on.
  std::chrono::milliseconds lasts{0};
  /// 0: no limit.
  std::uint64_t bytes_per_s = 0;
  /// Where to begin.
  std::uint32_t first_piece = 0;
};

/// A piece as the origin has it; nobody has looked at its hash.
struct origin_piece {
  p2p::content_address address;
  std::uint32_t piece = 0;
  std::vector<char> data;
};

/// It is read no more.
struct origin_failed {
  p2p::content_address address;
  std::string reason;
};

using origin_news = std::variant<origin_piece, origin_failed>;

/// Reads contents from where they came from.  No call waits; what comes of it is drained, a few pieces at a time: more
/// is not read before these were taken.
class origin_reader {
public:
  virtual ~origin_reader() = default;

  /// Begins, or goes on: the newest lease of a content counts.
  virtual void read(origin_lease lease) = 0;
  virtual void stop(const p2p::content_address& address) = 0;
  /// What became of a piece.  When its hash was wrong the reading ends with origin_failed.
  virtual void took(const p2p::content_address& address, std::uint32_t piece, bool good) = 0;

  virtual std::vector<origin_news> drain() = 0;
};

/// Over HTTP, with a thread of its own, one content after the other.
/// @param notify Called from any thread when there is something to drain.
std::unique_ptr<origin_reader> make_http_origin_reader(std::function<void()> notify);

} // namespace astra
