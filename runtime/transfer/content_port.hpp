#pragma once

#include "p2p/engine.hpp"
#include "p2p/store.hpp"
#include "runtime/transfer/origin_reader.hpp"

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace astra {

/// The doors of a keeper of contents: to the disk and to other nodes.  There is a live and a simulated one.
///
/// Belongs to one keeper at a time, which calls it from its own context only; it outlives the keeper.
class content_port {
public:
  /// What is to be done with its result, where the keeper is.
  using aftermath = std::function<void()>;
  /// Works on the store, where it is; must not touch the keeper.
  using job = std::function<aftermath(p2p::content_store&)>;

  virtual ~content_port() = default;

  /// Opens store and engine; what was begun for an earlier keeper ends first.
  /// @param notify Called, from any thread, when there is something to drain; it must not call the port.
  /// @returns fault::busy, fault::no_space, fault::io: the store cannot be opened; everything else may be called only
  /// after it could.
  virtual p2p::done open(std::function<void()> notify) = 0;

  /// Has the store worked on, one job after the other.
  virtual void run(job what) = 0;
  /// Aftermaths of jobs that are done, in their order.
  virtual std::vector<aftermath> drain() = 0;

  virtual p2p::engine& engine() = 0;
  /// Null: no origins are read here.
  virtual origin_reader* origins() = 0;

  /// Ends the engine; jobs that wait are dropped, the one that works is told to stop.
  virtual void close() = 0;

  /// Where other nodes reach this one's engine when it listens on any address; empty: at the address it says.
  virtual std::string public_address() const = 0;
  /// Its engine meets others through NATs.
  virtual bool passes_nats() const = 0;
  /// Where apps of this machine read contents over HTTP, such as "http://127.0.0.1:4711/SECRET"; empty: nowhere.
  virtual std::string reading_url() const = 0;
  /// The same for all processes of one machine; empty: nobody knows.
  virtual std::string machine() const = 0;
  /// Share of the time since it was asked last in which somebody on the machine waited for a core or the disk, in [0,
  /// 1].
  virtual double pressure() = 0;
  /// For what is written into the store.
  virtual p2p::content_store::time_point wall_time() const = 0;
};

} // namespace astra
