#pragma once

#include "p2p/store.hpp"
#include "runtime/sim/sim_disk.hpp"

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace astra::sim {

/// The content behind a path such as "sim:64MiB" or "/models/sim:1GiB:seed=7": a small file beside a large one,
/// together of that size, whose hashes are drawn from the last part of the path.  There are no bytes; the .torrent is a
/// real one.
/// @returns fault::missing: the path names no such content; fault::unfit: a size of less than 2 KiB, or too large.
p2p::outcome<p2p::content> make_sim_content(const std::filesystem::path& path);

/// The path of the content that a scenario has under a name.
std::filesystem::path sim_content_path(const std::string& name, std::uint64_t bytes);

/// A store of contents on a simulated disk.  What a real one does with bytes it does with one flag per piece.
class sim_store final : public p2p::content_store {
public:
  struct options {
    /// Of all contents together; 0: as many as one likes.
    std::uint64_t bytes_max = 0;
    std::uint64_t hash_bytes_per_s = 500'000'000;
    std::uint64_t copy_bytes_per_s = 500'000'000;
    /// Of each record that is made to last.
    std::chrono::nanoseconds write_time{std::chrono::milliseconds{2}};
  };

  /// @param disk outlives the store.
  sim_store(sim_disk& disk, options how) : disk_(disk), options_(how) {}

  /// How long all that was asked of it since the last call would have taken.
  std::chrono::nanoseconds take_spent() { return std::exchange(spent_, std::chrono::nanoseconds{0}); }

  p2p::content_state state(const p2p::content_address& address) const override;
  std::vector<p2p::stored_content> list() const override;
  std::uint64_t bytes() const override;
  p2p::outcome<p2p::content> manifest(const p2p::content_address& address) const override;
  std::filesystem::path place(const p2p::content_address& address) const override;
  std::filesystem::path visible(const p2p::content_address& address) const override;
  p2p::outcome<p2p::content> make(const std::filesystem::path& root, const p2p::work_control& control) const override;
  p2p::done fetch(const p2p::content& what, time_point now) override;
  std::vector<bool> good_pieces(const p2p::content_address& address) const override;
  p2p::done save_resume(const p2p::content_address& address, std::span<const char> data) override;
  std::vector<char> resume(const p2p::content_address& address) const override;
  p2p::done note_blocks(const p2p::content_address& address, std::span<const p2p::block_run> blocks) override;
  std::vector<p2p::block_run> noted_blocks(const p2p::content_address& address) const override;
  /// Looks at the lengths of files alone, as a real one does: for the last piece of each.
  p2p::done make_ready(const p2p::content_address& address, time_point now) override;
  p2p::outcome<p2p::verification> verify(const p2p::content_address& address, time_point now,
                                         const p2p::work_control& control) override;
  p2p::done condemn(const p2p::content_address& address, std::string reason, const std::vector<bool>& good) override;
  p2p::done import(const p2p::content& what, const std::filesystem::path& source, time_point now,
                   const p2p::work_control& control) override;
  p2p::done pin(const p2p::content_address& address, bool pinned) override;
  void touch(const p2p::content_address& address, time_point now) override;
  p2p::done evict(const p2p::content_address& address) override;
  p2p::done save_notes(std::string_view notes) override;
  std::string notes() const override;

private:
  std::uint64_t bytes_max() const override { return options_.bytes_max; }
  std::string where() const override { return "of a simulated machine"; }

  using kept = sim_contents::kept;

  kept* find(const p2p::content_address& address) const;
  /// A record or a file is written and made to last.
  p2p::done write();
  void spend(std::uint64_t bytes, std::uint64_t bytes_per_s) const;

  sim_disk& disk_;
  options options_;
  mutable std::chrono::nanoseconds spent_{0};
};

} // namespace astra::sim
