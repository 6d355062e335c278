#pragma once

#include "actors/scheduler/revision_log.hpp"
#include "p2p/store.hpp"
#include "runtime/sim/draw.hpp"

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace astra::sim {

/// Contents on a simulated disk: what is known of them, and which pieces have the right bytes.
struct sim_contents {
  struct kept {
    std::shared_ptr<const p2p::content> what;
    p2p::content_state state = p2p::content_state::fetching;
    p2p::content_store::time_point last_use;
    bool pinned = false;
    std::string reason;
    /// Per piece: what is on the disk, whoever knows of it.
    std::vector<bool> right;
    /// No loss of power takes any of it.
    bool lasting = false;
    /// What a verification told, and at which start of the machine; empty: none did.
    std::vector<bool> good;
    std::uint32_t good_boot = 0;
    std::vector<char> resume;
    std::uint32_t resume_boot = 0;
    /// Noted since, and at which start of the machine.
    std::vector<p2p::block_run> blocks;
    std::uint32_t blocks_boot = 0;
    /// Nothing else is there.
    bool all_blocks = false;

    bool whole() const;
  };

  std::map<p2p::content_address, kept> all;
  std::string notes;
  /// Starts of the machine; those of its processes do not count.
  std::uint32_t boot = 1;
  /// A process has the store open.
  bool open = false;

  /// The machine stops without a word: of what was written and never made to last, half is gone.
  void lose_power(const draws& chance, std::uint32_t machine);
};

/// What a machine keeps when its process or its power fails: whatever was stored is there after the next boot.
struct sim_disk {
  revision_log apps;
  std::uint64_t last_incarnation = 0;
  /// Storing fails with io_failed.
  bool full = false;
  /// Storing takes this long.
  std::chrono::nanoseconds store_time{0};
  sim_contents contents;
};

} // namespace astra::sim
