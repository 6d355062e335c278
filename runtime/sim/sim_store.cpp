#include "runtime/sim/sim_store.hpp"

#include "config/units.hpp"
#include "p2p/cache_plan.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <functional>
#include <utility>

namespace astra::sim {
namespace {

using p2p::content;
using p2p::content_address;
using p2p::content_state;
using p2p::done;
using p2p::fault;
using p2p::nothing;
using p2p::outcome;
using p2p::problem;

constexpr std::uint64_t small_file_bytes = 1024;

problem absent(const content_address& address) {
  return {fault::missing, fmt::format("content {} is not in the store", to_string(address))};
}

problem full() {
  return {fault::no_space, "the store cannot be written: No space left on device"};
}

problem cancelled() {
  return {fault::cancelled, "the work was cancelled"};
}

bool all_of(const std::vector<bool>& flags) {
  return std::ranges::find(flags, false) == flags.end();
}

} // namespace

bool sim_contents::kept::whole() const {
  return all_of(right);
}

void sim_contents::lose_power(const draws& chance, std::uint32_t machine) {
  auto subject = std::uint64_t{machine} << 32 | boot;
  std::uint64_t number = 0;
  ++boot;
  for (auto& [address, what] : all)
    if (!what.lasting)
      for (std::size_t piece = 0; piece < what.right.size(); ++piece)
        if (chance.unit(draw_kind::content, subject, ++number) < 0.5)
          what.right[piece] = false;
}

outcome<content> make_sim_content(const std::filesystem::path& path) {
  auto text = path.filename().string();
  auto missing = [&] {
    return problem{fault::missing, fmt::format("{} cannot be read: a simulated machine has contents such as "
                                               "sim:64MiB or sim:64MiB:seed=7",
                                               path.string())};
  };
  if (!text.starts_with("sim:"))
    return missing();
  auto rest = std::string_view{text}.substr(4);
  auto size = parse_size(rest.substr(0, rest.find(':'))).value;
  if (!size)
    return missing();
  if (*size < 2 * small_file_bytes)
    return problem{fault::unfit, fmt::format("{} is too small: at least 2KiB", path.string())};
  p2p::sha256 hash;
  return p2p::assemble_content(
      {{"config.json", small_file_bytes, {}, false, 0, 0}, {"weights.bin", *size - small_file_bytes, {}, false, 0, 0}},
      [&](const p2p::content_file& file, std::uint32_t piece) {
        auto seed = fmt::format("{}/{}/{}", text, file.path, piece);
        return hash(std::as_bytes(std::span{seed}));
      });
}

std::filesystem::path sim_content_path(const std::string& name, std::uint64_t bytes) {
  return fmt::format("/sim:{}:{}", format_size(bytes), name);
}

content_state sim_store::state(const content_address& address) const {
  auto* what = find(address);
  return what ? what->state : content_state::absent;
}

std::vector<p2p::stored_content> sim_store::list() const {
  std::vector<p2p::stored_content> result;
  for (auto& [address, what] : disk_.contents.all)
    result.push_back({address, what.state, what.what->size, what.last_use, what.pinned, what.reason});
  return result;
}

std::uint64_t sim_store::bytes() const {
  std::uint64_t result = 0;
  for (auto& [address, what] : disk_.contents.all)
    result += what.what->size;
  return result;
}

outcome<content> sim_store::manifest(const content_address& address) const {
  auto* what = find(address);
  if (!what)
    return absent(address);
  return *what->what;
}

std::filesystem::path sim_store::place(const content_address& address) const {
  return std::filesystem::path{"/store/data"} / to_string(address);
}

std::filesystem::path sim_store::visible(const content_address& address) const {
  return std::filesystem::path{"/store/contents"} / to_string(address);
}

outcome<content> sim_store::make(const std::filesystem::path& root, const p2p::work_control& control) const {
  if (control.stop.stop_requested())
    return cancelled();
  auto made = make_sim_content(root);
  if (!made)
    return made;
  spend(made->size, options_.hash_bytes_per_s);
  if (control.progress)
    control.progress(made->size, made->size);
  return made;
}

done sim_store::fetch(const content& what, time_point now) {
  auto* known = find(what.address);
  if (known && known->state == content_state::ready)
    return problem{fault::busy, fmt::format("content {} is ready", to_string(what.address))};
  if (known) {
    if (auto written = write(); !written)
      return written;
    if (known->state != content_state::fetching) {
      known->state = content_state::fetching;
      known->last_use = now;
      known->reason.clear();
      known->resume.clear();
      known->blocks.clear();
      known->all_blocks = false;
      known->lasting = false;
    }
    return nothing{};
  }
  if (options_.bytes_max > 0 && bytes() + what.size > options_.bytes_max)
    return problem{fault::no_space,
                   fmt::format("content {} has {} bytes, and of the {} bytes of the store {} are taken",
                               to_string(what.address), what.size, options_.bytes_max, bytes())};
  if (auto written = write(); !written)
    return written;
  kept fresh;
  fresh.what = std::make_shared<const content>(what);
  fresh.last_use = now;
  fresh.right.resize(what.piece_hashes.size());
  fresh.blocks_boot = disk_.contents.boot;
  fresh.all_blocks = true;
  disk_.contents.all.emplace(what.address, std::move(fresh));
  return nothing{};
}

std::vector<bool> sim_store::good_pieces(const content_address& address) const {
  auto* what = find(address);
  if (!what)
    return {};
  if (what->state == content_state::fetching && what->all_blocks && what->blocks_boot == disk_.contents.boot)
    return std::vector<bool>(what->right.size(), false);
  return what->good_boot == disk_.contents.boot ? what->good : std::vector<bool>{};
}

done sim_store::save_resume(const content_address& address, std::span<const char> data) {
  auto* what = find(address);
  if (!what)
    return absent(address);
  if (auto written = write(); !written)
    return written;
  what->resume.assign(data.begin(), data.end());
  what->resume_boot = disk_.contents.boot;
  what->blocks.clear();
  what->all_blocks = false;
  return nothing{};
}

std::vector<char> sim_store::resume(const content_address& address) const {
  auto* what = find(address);
  return what && what->resume_boot == disk_.contents.boot ? what->resume : std::vector<char>{};
}

done sim_store::note_blocks(const content_address& address, std::span<const p2p::block_run> blocks) {
  auto* what = find(address);
  if (!what)
    return absent(address);
  if (disk_.full)
    return full();
  if (std::exchange(what->blocks_boot, disk_.contents.boot) != disk_.contents.boot) {
    what->blocks.clear();
    what->all_blocks = false;
  }
  what->blocks.insert(what->blocks.end(), blocks.begin(), blocks.end());
  return nothing{};
}

std::vector<p2p::block_run> sim_store::noted_blocks(const content_address& address) const {
  auto* what = find(address);
  return what && what->blocks_boot == disk_.contents.boot ? what->blocks : std::vector<p2p::block_run>{};
}

done sim_store::make_ready(const content_address& address, time_point now) {
  auto* known = find(address);
  if (!known)
    return absent(address);
  if (known->state == content_state::ready)
    return nothing{};
  if (known->state == content_state::condemned)
    return problem{fault::busy, fmt::format("content {} is condemned: {}", to_string(address), known->reason)};
  if (known->state == content_state::verifying)
    return problem{fault::busy, fmt::format("content {} has to be verified", to_string(address))};
  for (auto& file : known->what->files)
    if (file.pieces > 0 && !known->right[file.first_piece + file.pieces - 1])
      return problem{fault::unfit, fmt::format("{} should have {} bytes and has less", file.path, file.size)};
  if (auto written = write(); !written)
    return written;
  known->state = content_state::ready;
  known->last_use = now;
  known->good.clear();
  known->lasting = true;
  return nothing{};
}

outcome<p2p::verification> sim_store::verify(const content_address& address, time_point now,
                                             const p2p::work_control& control) {
  auto* known = find(address);
  if (!known)
    return absent(address);
  if (control.stop.stop_requested())
    return cancelled();
  auto& what = *known->what;
  spend(what.size, options_.hash_bytes_per_s);
  if (control.progress)
    control.progress(what.size, what.size);
  p2p::verification found;
  found.good = known->right;
  for (auto& file : what.files) {
    auto first = known->right.begin() + file.first_piece;
    auto good = static_cast<std::uint32_t>(std::count(first, first + file.pieces, true));
    if (good < file.pieces)
      found.damaged.push_back({file.path, good == 0 ? p2p::damage::missing : p2p::damage::flipped});
  }
  if (!found.whole()) {
    if (auto condemned = condemn(address, found.text(), found.good); !condemned)
      return condemned.problem();
  } else if (known->state != content_state::ready) {
    known->state = content_state::fetching;
    if (auto ready = make_ready(address, now); !ready) {
      known->state = content_state::verifying;
      return ready.problem();
    }
  }
  return found;
}

done sim_store::condemn(const content_address& address, std::string reason, const std::vector<bool>& good) {
  auto* known = find(address);
  if (!known)
    return absent(address);
  known->state = content_state::condemned;
  known->reason = std::move(reason);
  known->good = good.size() == known->right.size() ? good : std::vector<bool>{};
  known->good_boot = disk_.contents.boot;
  spent_ += options_.write_time;
  return nothing{};
}

done sim_store::import(const content& what, const std::filesystem::path& source, time_point now,
                       const p2p::work_control& control) {
  auto before = state(what.address);
  if (before == content_state::ready)
    return nothing{};
  auto made = make_sim_content(source);
  if (!made)
    return made.problem();
  if (made->address != what.address)
    return problem{fault::changed, fmt::format("{} changed since it was hashed", source.string())};
  if (auto fetching = fetch(what, now); !fetching)
    return fetching;
  auto* known = find(what.address);
  spend(what.size, options_.copy_bytes_per_s);
  if (control.stop.stop_requested()) {
    if (before == content_state::absent)
      disk_.contents.all.erase(what.address);
    else
      known->state = content_state::verifying;
    return cancelled();
  }
  known->right.assign(known->right.size(), true);
  auto found = verify(what.address, now, control);
  if (!found)
    return found.problem();
  return nothing{};
}

done sim_store::pin(const content_address& address, bool pinned) {
  auto* known = find(address);
  if (!known)
    return absent(address);
  if (auto written = write(); !written)
    return written;
  known->pinned = pinned;
  return nothing{};
}

void sim_store::touch(const content_address& address, time_point now) {
  if (auto* known = find(address))
    known->last_use = std::max(known->last_use, now);
}

done sim_store::evict(const content_address& address) {
  auto* known = find(address);
  if (!known)
    return absent(address);
  if (auto kept = kept_because(address, known->pinned))
    return *kept;
  // Removing needs no room.
  spent_ += options_.write_time;
  disk_.contents.all.erase(address);
  return nothing{};
}

done sim_store::save_notes(std::string_view notes) {
  if (auto written = write(); !written)
    return written;
  disk_.contents.notes = notes;
  return nothing{};
}

std::string sim_store::notes() const {
  return disk_.contents.notes;
}

sim_store::kept* sim_store::find(const content_address& address) const {
  auto found = disk_.contents.all.find(address);
  return found == disk_.contents.all.end() ? nullptr : &found->second;
}

done sim_store::write() {
  spent_ += options_.write_time + disk_.store_time;
  if (disk_.full)
    return full();
  return nothing{};
}

void sim_store::spend(std::uint64_t bytes, std::uint64_t bytes_per_s) const {
  // Whole megabytes per second and no more than petabytes: no product leaves 64 bits.
  auto per_ms = std::max<std::uint64_t>(1, bytes_per_s / 1000);
  spent_ += std::chrono::milliseconds{bytes / per_ms};
}

} // namespace astra::sim
