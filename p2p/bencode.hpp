#pragma once

#include "p2p/content.hpp"

#include <string>

// How a content is written down: BEP 52, and nothing that a reader could do without.

namespace astra::p2p {

/// Fills in the name, the address and the torrent from the other fields.
void encode_torrent(content& what);

} // namespace astra::p2p
