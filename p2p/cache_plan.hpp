#pragma once

#include "p2p/content.hpp"

#include <chrono>
#include <cstdint>
#include <optional>
#include <vector>

namespace astra::p2p {

/// A content in the store, as far as making room is concerned.
struct cached_content {
  content_address address;
  std::uint64_t size = 0;
  std::chrono::system_clock::time_point last_use;
  /// It can serve nobody as it is: it goes before all others.
  bool condemned = false;
  bool pinned = false;
  /// It is fetched, verified or read by somebody on this machine.
  bool in_use = false;
  /// An app refers to it, and nobody else is known to have it.
  bool last_copy = false;
};

struct eviction_plan {
  /// In the order in which they are to go.
  std::vector<content_address> evict;
  /// What is missing even when all of them are gone; then none is to go, as it would be of no use.
  std::uint64_t missing_bytes = 0;
};

/// What has to go so that so many more bytes fit beneath a cap: the least recently used first, never what is pinned,
/// in use or a last copy, and nothing that turns out not to be needed.
/// @param used_since What was used after that stays: whoever fetched it is about to use it again.
eviction_plan plan_eviction(std::vector<cached_content> contents, std::uint64_t cap_bytes, std::uint64_t needed_bytes,
                            std::chrono::system_clock::time_point used_since);

} // namespace astra::p2p
