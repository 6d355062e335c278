#pragma once

#include "runtime/sim/engine.hpp"

#include <memory>

namespace astra::sim {

/// The engine of fidelity::basp: every process of a virtual machine is an actor system of its own with CAF's middleman
/// in it, and the machines exchange the bytes of its protocol (BASP).  Handshakes, heartbeats, the loss of connections
/// and the life of proxies are CAF's own; the simulator decides when which bytes arrive, and nothing else.
///
/// What follows from that, and differs from fidelity::wire:
/// - A dial blocks the middleman's actor, as it blocks its thread live: until the peer answers, or the kernel has given
///   up after 127 s, no other dial of that process begins.
/// - A frozen peer is noticed by CAF's heartbeats, never by the simulator.
/// - Every frame passes the guard of its session, as it does live, before CAF sees it; since everybody is honest, one
///   that the guard refuses aborts the run.
/// - scenario_network's mode is always stream.  Streams are split into segments at random.
///
/// An actor's number is unique in the run: each process has a range of its own.  Events of messages are `send` when
/// an actor hands it to BASP's broker, `arrive` when the peer's has read its frame.
///
/// One caf::actor_system costs about 300 KB and an idle thread; it ends with the engine, not with its process.
/// @pre caf::io::middleman::init_global_meta_objects() was called.
std::unique_ptr<engine> make_basp_engine(const engine_options& options, engine::observer watch);

} // namespace astra::sim
