#pragma once

#include "config/endpoint.hpp"
#include "runtime/net/hello.hpp"
#include "runtime/net/tls.hpp"
#include "runtime/process/unique_fd.hpp"

#include <caf/error.hpp>
#include <caf/expected.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

namespace astra {

/// Opens and takes connections, on a thread of its own: everything that happens on a socket until CAF may have it.
/// Nothing here blocks: not on a name, not on a peer that is silent, and not on CAF's threads.
class greeter {
public:
  struct limits {
    /// From accept to the last word; a socket that has not made it by then is closed within 100 ms more.
    std::chrono::milliseconds greeting{1800};
    /// From a dial's begin to the last word.
    std::chrono::milliseconds dial{2000};
    /// Connections taken per second, and how many at once.
    double admissions_per_s = 1000;
    /// Sockets that are still strangers.  When there are more, those of the address with most of them go first.
    std::size_t strangers = 1024;
  };

  /// A connection whose peer is known.
  struct ready {
    std::uint64_t id = 0;
    unique_fd fd;
    /// Null: plain TCP.
    std::unique_ptr<tls_session> tls;
    hello peer;
    /// From the certificate; without TLS what the peer says.
    peer_identity identity;
    bool dialled = false;
    /// Number that `dial` returned.
    std::uint64_t dial = 0;
  };

  /// Why a stranger was turned away; the label of a metric.
  enum class turned_away : std::uint8_t { silent, not_tls, tls, hello, refused, crowded };

  /// All are called on the greeter's thread.
  struct callbacks {
    /// Whether a session with this peer is wanted.  Asked before a listener's answer (`last_word` false) and again when
    /// the session is complete.
    std::function<std::optional<refusal>(const ready&, bool edge_port, bool last_word)> judge;
    std::function<void(ready)> deliver;
    /// @param retry_after what the peer asked for; 0: nothing.
    std::function<void(std::uint64_t dial, caf::error, std::chrono::milliseconds retry_after)> dial_failed;
    std::function<void(turned_away, const std::string& from, const std::string& reason)> strangers;
  };

  greeter(hello own, std::shared_ptr<tls_context> tls, limits bounds, callbacks told);
  ~greeter();

  /// Port that the kernel chose or the given one.  Call before `start`.
  /// @param edge nodes connect here, and nobody else.
  caf::expected<std::uint16_t> listen(const endpoint& where, bool edge);

  /// What is said from now on; call before `start`.
  void introduce_as(hello own);

  void start();

  /// Begins a dial; `deliver` or `dial_failed` follows.  From any thread.
  void dial(std::uint64_t number, const endpoint& where);

  /// Runs `task` on the greeter's thread, after `delay`.  From any thread.
  void run(std::function<void()> task, std::chrono::milliseconds delay = {});

  /// Closes what is not a session yet and ends the thread.
  void stop();

  /// Sockets that are not sessions yet.
  std::size_t strangers() const;

private:
  class impl;
  std::unique_ptr<impl> impl_;
};

std::string to_string(greeter::turned_away why);

} // namespace astra
