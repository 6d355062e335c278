#pragma once

#include "messages/type_ids.hpp"

#include <caf/result.hpp>
#include <caf/typed_actor.hpp>

namespace astra {

/// Whoever has contents, and hands out what they consist of.
using manifest_source = caf::typed_actor<
    // A part of a content's .torrent of at most manifest_part_max bytes.  A total of 0: it does not have it.
    caf::result<manifest_part>(manifest_query)>;

/// What a node may say to a tracker.
using swarm_desk = manifest_source::extend<
    // Takes the newest word of a member (the sender is asked for manifests) and tells what it is to do.
    caf::result<swarm_answer>(swarm_report),
    // Gives the next version of a name; for a content that has one already under this name, that one.
    caf::result<name_grant>(name_claim),
    // What is known of names, contents and members.
    caf::result<swarm_page>(swarm_query)>;

/// The whole tracker: who holds and wants what.
using tracker_actor = swarm_desk::extend<
    // Limits what all members together send; the newest one counts.
    caf::result<swarm_page>(set_swarm_limit)>;

/// What the node beside it may ask the keeper of contents.
using content_source = caf::typed_actor<caf::result<content_status>(hold_content), caf::result<void>(release_contents),
                                        caf::result<void>(prefetch_contents), caf::result<content_extent>(read_content),
                                        // What is ready.  The number is that of requests the node works on: while
                                        // there are some, transfers give way where the machine is short of anything.
                                        caf::result<held_contents>(report_atom, std::uint32_t)>;

/// The whole keeper of a node's contents: its store, its engine, and its word to the trackers.
using content_keeper_actor = manifest_source::extend_with<content_source>::extend<
    // Begins what an operator wants, or tells how it goes.
    caf::result<content_reply>(content_order),
    // Something happened at its doors.
    caf::result<void>(refresh_atom)>;

/// Service name of a process's tracker.
inline constexpr const char* tracker_service = "tracker";

/// Service name of the keeper of a node's contents.
inline std::string content_service(std::string_view node_name) {
  return "content/" + std::string{node_name};
}

/// Bytes of a manifest in one message: it fits what a node may send.
inline constexpr std::size_t manifest_part_max = 48 * 1024;

} // namespace astra
