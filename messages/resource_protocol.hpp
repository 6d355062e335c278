#pragma once

#include "messages/type_ids.hpp"

#include <caf/result.hpp>
#include <caf/typed_actor.hpp>

namespace astra {

/// Whoever wants the cluster view.
using view_subscriber = caf::typed_actor<
    // One shard's changes.  Deltas of one origin arrive in order over one session; a gap is answered by subscribing
    // again with `resync`.
    caf::result<void>(view_delta)>;

/// Whoever hands out the cluster view: a Resource, or the view client of a process for the actors in it.
using view_source = caf::typed_actor<
    // Subscribes the sender (a view_subscriber) or renews its subscription.
    caf::result<subscribe_ack>(subscribe)>;

/// What a node may say to a Resource.
using heartbeat_sink = caf::typed_actor<
    // Records that the sender is alive and makes this Resource its home.
    caf::result<heartbeat_ack>(heartbeat), caf::result<heartbeat_ack>(profile_update)>;

/// What an aggregator may say to a Resource.
using aggregate_sink = heartbeat_sink::extend<
    // Records all that have beaten.  The sender is the way to these nodes, claims included.
    caf::result<beat_batch_ack>(beat_batch)>;

/// What a scheduler process may say to a Resource.
using claim_sink = caf::typed_actor<caf::result<heartbeat_ack>(scheduler_beat),
                                    // Arbitrates at once, asks the nodes, and answers every claim of the batch.
                                    caf::result<claim_reply>(claim_batch), caf::result<void>(release_batch),
                                    // Passed on to those of the nodes that are connected.
                                    caf::result<void>(prefetch_batch)>;

/// What operators may ask a Resource, through a gateway.
using inspection_desk = caf::typed_actor<
    // What happened, from the bounded memory of this Resource.
    caf::result<event_page>(event_query),
    // Nodes of the whole view, page by page.  A bad filter is an answer, not an error.
    caf::result<node_page>(node_query),
    // How this Resource sees the cluster.
    caf::result<resource_report>(report_query)>;

/// The whole Resource interface.
using resource_actor = view_source::extend_with<aggregate_sink>::extend_with<claim_sink>::extend_with<
    view_subscriber>::extend_with<inspection_desk>;

/// Service name of a process's Resource.
inline constexpr const char* resource_service = "resource";

} // namespace astra
