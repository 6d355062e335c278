#pragma once

#include <cstddef>

namespace astra {

/// Largest body of a message that a node sends but for answers to requests, in bytes.  Sessions with nodes carry frames
/// of 64 KiB; whoever sends a larger one loses the session.
inline constexpr std::size_t edge_body_max = 60 * 1024;

} // namespace astra
