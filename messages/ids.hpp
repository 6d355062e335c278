#pragma once

#include "messages/strong_id.hpp"

#include <cstdint>
#include <string>
#include <string_view>

namespace astra {

/// A machine that runs replicas.  Stable for a node name across restarts.  Not CAF's `caf::node_id`, which names
/// an actor system.
using node_id = strong_id<struct node_tag>;
/// A Resource, stable for its name across restarts.
using resource_id = strong_id<struct resource_tag>;
/// A process that hosts app schedulers, stable for its name across restarts.
using scheduler_id = strong_id<struct scheduler_tag>;
/// Grows at every start of what it belongs to.  Whatever comes from an older incarnation is refused.
using incarnation = strong_id<struct incarnation_tag>;
/// One attempt to claim a place for a replica; never reused.
using claim_token = strong_id<struct claim_token_tag>;
/// One attempt to get a slot for a request; never reused.
using attempt_id = strong_id<struct attempt_tag>;
/// One process that a launcher started; chosen by the caller, unique within its launcher.
using process_key = strong_id<struct process_key_tag>;

/// xxHash (XXH3, 64 bit, seed 0) of a name; 0 is mapped to 1 because 0 means "none".
std::uint64_t name_hash(std::string_view name);

inline node_id make_node_id(std::string_view name) {
  return node_id{name_hash(name)};
}

inline resource_id make_resource_id(std::string_view name) {
  return resource_id{name_hash(name)};
}

inline scheduler_id make_scheduler_id(std::string_view name) {
  return scheduler_id{name_hash(name)};
}

/// Sixteen hexadecimal digits, for logs of ids whose name is not known.
std::string to_hex(std::uint64_t value);

template <class Tag>
std::string to_string(strong_id<Tag> id) {
  return to_hex(id.value());
}

} // namespace astra
