#pragma once

#include "p2p/content.hpp"

#include <string>
#include <string_view>
#include <vector>

// How a content is written down: BEP 52, and nothing that a reader could do without.

namespace astra::p2p {

/// Fills in the name, the address and the torrent from the other fields.
void encode_torrent(content& what);

/// The torrent with a certificate (PEM) in it, which makes an SSL torrent of it to libtorrent, of another info-hash.
/// @pre `encode_torrent` was, or `what` is from whom it was.
std::vector<char> encode_ssl_torrent(const content& what, std::string_view certificate);

} // namespace astra::p2p
