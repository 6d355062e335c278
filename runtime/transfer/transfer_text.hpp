#pragma once

#include "messages/wire/transfer.pb.h"
#include "p2p/engine.hpp"
#include "p2p/swarm_table.hpp"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

// Between what p2p thinks in and what crosses processes.

namespace astra {

/// Nothing when it has not 32 bytes.
std::optional<p2p::content_address> address_of(std::string_view bytes);

/// Bytes of an address as they cross processes.
std::string to_bytes(const p2p::content_address& address);

/// An address, or anything else, in hexadecimal digits.
std::string hex(std::string_view bytes);

/// One bit per entry, the first in the lowest bit of the first byte.
std::string to_bits(const std::vector<bool>& flags);
/// Nothing when the text has not exactly the bytes for so many.
std::optional<std::vector<bool>> from_bits(std::string_view bits, std::size_t count);

pb::ContentPriority to_pb(p2p::urgency how);
p2p::urgency to_urgency(pb::ContentPriority priority);

pb::PeerAddress to_pb(const p2p::peer_endpoint& peer);
p2p::peer_endpoint to_peer(const pb::PeerAddress& peer);

pb::SwarmErrand to_pb(const p2p::swarm_table::errand& errand, const std::optional<p2p::swarm_table::status>& status);
/// Empty: it has none.
std::optional<p2p::stripe> to_stripe(const pb::SwarmErrand& errand);

/// What is not well-formed is left out.
p2p::swarm_table::report to_report(const pb::SwarmReport& report);

} // namespace astra
