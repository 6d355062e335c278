#pragma once

#include "messages/aggregate.hpp"
#include "messages/claim.hpp"
#include "messages/control.hpp"
#include "messages/errc.hpp"
#include "messages/http_call.hpp"
#include "messages/http_exchange.hpp"
#include "messages/ids.hpp"
#include "messages/inspection.hpp"
#include "messages/local.hpp"
#include "messages/membership.hpp"
#include "messages/process.hpp"
#include "messages/route.hpp"
#include "messages/transfer.hpp"
#include "messages/view.hpp"

#include <caf/allowed_unsafe_message_type.hpp>
#include <caf/type_id.hpp>

// Ids of every type that travels in a CAF message.  Append only: they are part of the wire protocol (test/wire
// pins them).  First the types that cross processes, in a block of their own.

CAF_BEGIN_TYPE_ID_BLOCK(astra_wire, first_custom_type_id)
CAF_ADD_TYPE_ID(astra_wire, (astra::errc))
CAF_ADD_TYPE_ID(astra_wire, (astra::heartbeat))
CAF_ADD_TYPE_ID(astra_wire, (astra::heartbeat_ack))
CAF_ADD_TYPE_ID(astra_wire, (astra::profile_update))
CAF_ADD_TYPE_ID(astra_wire, (astra::scheduler_beat))
CAF_ADD_TYPE_ID(astra_wire, (astra::view_delta))
CAF_ADD_TYPE_ID(astra_wire, (astra::subscribe))
CAF_ADD_TYPE_ID(astra_wire, (astra::subscribe_ack))
CAF_ADD_TYPE_ID(astra_wire, (astra::claim_batch))
CAF_ADD_TYPE_ID(astra_wire, (astra::claim_reply))
CAF_ADD_TYPE_ID(astra_wire, (astra::release_batch))
CAF_ADD_TYPE_ID(astra_wire, (astra::reserve))
CAF_ADD_TYPE_ID(astra_wire, (astra::reserve_reply))
CAF_ADD_TYPE_ID(astra_wire, (astra::cancel))
CAF_ADD_TYPE_ID(astra_wire, (astra::invoke))
CAF_ADD_TYPE_ID(astra_wire, (astra::invoke_reply))
CAF_ADD_TYPE_ID(astra_wire, (astra::apply_app))
CAF_ADD_TYPE_ID(astra_wire, (astra::delete_app))
CAF_ADD_TYPE_ID(astra_wire, (astra::describe_app))
CAF_ADD_TYPE_ID(astra_wire, (astra::control_reply))
CAF_ADD_TYPE_ID(astra_wire, (astra::app_detail))
CAF_ADD_TYPE_ID(astra_wire, (astra::drain))
CAF_ADD_TYPE_ID(astra_wire, (astra::drain_reply))
/// Asks a process for the actor behind a service name: (lookup_atom, name) -> strong_actor_ptr.
CAF_ADD_ATOM(astra_wire, astra, lookup_atom)
CAF_ADD_TYPE_ID(astra_wire, (astra::event_query))
CAF_ADD_TYPE_ID(astra_wire, (astra::event_page))
CAF_ADD_TYPE_ID(astra_wire, (astra::node_query))
CAF_ADD_TYPE_ID(astra_wire, (astra::node_page))
CAF_ADD_TYPE_ID(astra_wire, (astra::report_query))
CAF_ADD_TYPE_ID(astra_wire, (astra::resource_report))
CAF_ADD_TYPE_ID(astra_wire, (astra::beat_batch))
CAF_ADD_TYPE_ID(astra_wire, (astra::beat_batch_ack))
CAF_ADD_TYPE_ID(astra_wire, (astra::swarm_report))
CAF_ADD_TYPE_ID(astra_wire, (astra::swarm_answer))
CAF_ADD_TYPE_ID(astra_wire, (astra::manifest_query))
CAF_ADD_TYPE_ID(astra_wire, (astra::manifest_part))
CAF_ADD_TYPE_ID(astra_wire, (astra::name_claim))
CAF_ADD_TYPE_ID(astra_wire, (astra::name_grant))
CAF_ADD_TYPE_ID(astra_wire, (astra::swarm_query))
CAF_ADD_TYPE_ID(astra_wire, (astra::swarm_page))
CAF_ADD_TYPE_ID(astra_wire, (astra::set_swarm_limit))
CAF_ADD_TYPE_ID(astra_wire, (astra::content_order))
CAF_ADD_TYPE_ID(astra_wire, (astra::content_reply))
CAF_ADD_TYPE_ID(astra_wire, (astra::prefetch_batch))
CAF_END_TYPE_ID_BLOCK(astra_wire)

// Types that never leave their process.
CAF_BEGIN_TYPE_ID_BLOCK(astra_local, first_custom_type_id + 100)
CAF_ADD_TYPE_ID(astra_local, (astra::route_request))
CAF_ADD_TYPE_ID(astra_local, (astra::route_result))
CAF_ADD_TYPE_ID(astra_local, (astra::route_cancel))
CAF_ADD_TYPE_ID(astra_local, (astra::launch_process))
CAF_ADD_TYPE_ID(astra_local, (astra::process_started))
CAF_ADD_TYPE_ID(astra_local, (astra::process_exited))
CAF_ADD_TYPE_ID(astra_local, (astra::kill_process))
CAF_ADD_TYPE_ID(astra_local, (astra::resolve_command))
CAF_ADD_TYPE_ID(astra_local, (astra::http_call))
CAF_ADD_TYPE_ID(astra_local, (astra::http_answer))
CAF_ADD_TYPE_ID(astra_local, (astra::http_abort))
CAF_ADD_TYPE_ID(astra_local, (astra::work_request))
CAF_ADD_TYPE_ID(astra_local, (astra::work_result))
CAF_ADD_TYPE_ID(astra_local, (astra::router_table))
CAF_ADD_TYPE_ID(astra_local, (astra::children_report))
/// (dial_atom, "host:port", service) -> strong_actor_ptr.
CAF_ADD_ATOM(astra_local, astra, dial_atom)
/// A timer of the receiver's own.
CAF_ADD_ATOM(astra_local, astra, beat_atom)
CAF_ADD_ATOM(astra_local, astra, sweep_atom)
CAF_ADD_ATOM(astra_local, astra, retry_atom)
CAF_ADD_ATOM(astra_local, astra, refresh_atom)
CAF_ADD_ATOM(astra_local, astra, deadline_atom)
/// Asks for a report about the receiver, for operators.
CAF_ADD_ATOM(astra_local, astra, report_atom)
/// Begins an orderly stop; answered when it is complete.
CAF_ADD_ATOM(astra_local, astra, stop_atom)
CAF_ADD_TYPE_ID(astra_local, (astra::http_exchange_ptr))
CAF_ADD_TYPE_ID(astra_local, (astra::router_picks))
CAF_ADD_TYPE_ID(astra_local, (astra::hold_content))
CAF_ADD_TYPE_ID(astra_local, (astra::content_status))
CAF_ADD_TYPE_ID(astra_local, (astra::release_contents))
CAF_ADD_TYPE_ID(astra_local, (astra::held_contents))
CAF_ADD_TYPE_ID(astra_local, (astra::prefetch_contents))
CAF_ADD_TYPE_ID(astra_local, (astra::read_content))
CAF_ADD_TYPE_ID(astra_local, (astra::content_extent))
CAF_END_TYPE_ID_BLOCK(astra_local)

CAF_ALLOW_UNSAFE_MESSAGE_TYPE(astra::route_request)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(astra::route_result)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(astra::route_cancel)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(astra::launch_process)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(astra::process_started)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(astra::process_exited)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(astra::kill_process)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(astra::resolve_command)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(astra::http_call)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(astra::http_answer)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(astra::http_abort)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(astra::http_exchange_ptr)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(astra::work_request)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(astra::work_result)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(astra::router_table)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(astra::router_picks)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(astra::children_report)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(astra::hold_content)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(astra::content_status)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(astra::release_contents)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(astra::held_contents)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(astra::prefetch_contents)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(astra::read_content)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(astra::content_extent)
