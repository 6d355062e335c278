#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

struct evp_md_ctx_st;
struct evp_md_st;

// The hash trees of BitTorrent v2 (BEP 52): SHA-256 over blocks of 16 KiB, the tree's width a power of two, absent
// leaves all zero.

namespace astra::p2p {

using digest = std::array<std::uint8_t, 32>;

/// Bytes under one leaf.
inline constexpr std::uint32_t block_size = 16 * 1024;

/// SHA-256.  Looking the algorithm up costs as much as hashing a kilobyte, so one is kept for many calls.
class sha256 {
public:
  sha256();
  ~sha256();
  sha256(const sha256&) = delete;
  sha256& operator=(const sha256&) = delete;

  digest operator()(std::span<const std::byte> data);

private:
  evp_md_st* algorithm_;
  evp_md_ctx_st* context_;
};

/// The root over some leaves of a tree.
/// @param width leaves of the whole tree; the absent ones are `padding`.
/// @pre `width` is a power of two and not less than the number of leaves.
digest merkle_root(sha256& hash, std::vector<digest> leaves, std::uint64_t width, const digest& padding = {});

/// The root over one piece, or over a whole file that is no longer than one.
/// @param width leaves of its tree.
digest hash_piece(sha256& hash, std::span<const std::byte> data, std::uint64_t width);

/// Leaves of the tree over a file that is no longer than one piece.
std::uint64_t small_file_width(std::uint64_t size);

/// The root of a file from those of its pieces.
/// @param piece_width leaves under each.
digest file_root(sha256& hash, const std::vector<digest>& pieces, std::uint64_t piece_width);

} // namespace astra::p2p
