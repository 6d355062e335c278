#pragma once

#include "p2p/merkle.hpp"
#include "p2p/outcome.hpp"

#include <compare>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

namespace astra::p2p {

/// What a content is called everywhere: the v2 info-hash of its torrent, a SHA-256.  It covers the files' bytes, paths
/// and executable bits, and the piece size.
struct content_address {
  digest bytes{};
  auto operator<=>(const content_address&) const = default;
};

/// 64 lower-case hexadecimal digits.
std::string to_string(const content_address& address);
std::optional<content_address> parse_address(std::string_view text);

struct content_file {
  /// Relative, parts separated by '/'.
  std::string path;
  std::uint64_t size = 0;
  /// All zero for an empty file.
  digest root{};
  bool executable = false;
  /// The first of its pieces; no piece spans two files, and an empty file has none.
  std::uint32_t first_piece = 0;
  std::uint32_t pieces = 0;
};

/// Neighbouring blocks of 16 KiB of one piece.
struct block_run {
  std::uint32_t piece = 0;
  /// In its piece.
  std::uint32_t first = 0;
  std::uint32_t count = 0;
  bool operator==(const block_run&) const = default;
};

/// An immutable directory of files, and what is needed to know each of its pieces.
struct content {
  content_address address;
  /// The directory its files lie in on disk, beneath whatever place they are kept: SHA-256 of the file tree in
  /// hexadecimal.
  std::string name;
  /// A power of two.
  std::uint32_t piece_size = 0;
  std::uint64_t size = 0;
  /// In the order of their pieces: by the parts of their paths, bytewise.
  std::vector<content_file> files;
  /// One per piece.
  std::vector<digest> piece_hashes;
  /// The .torrent: the same bytes for the same tree.
  std::vector<char> torrent;
};

/// Where libtorrent is to save the files so that they lie at `place`/name/path: in the directory that it makes of the
/// name, which it does not make for a file that is all there is.
std::filesystem::path save_path(const content& what, const std::filesystem::path& place);

/// Bytes of a piece; the last one of a file may be short.
/// @param piece counted from the file's first.
std::uint32_t piece_length(const content& what, const content_file& file, std::uint32_t piece);

/// The file that a piece is of.
/// @param piece counted from the content's first.
const content_file& file_of(const content& what, std::uint32_t piece);

/// Leaves of the tree over a piece.
std::uint64_t piece_width(const content& what, const content_file& file);

/// How long work on many bytes goes on, and who hears of it.
struct work_control {
  /// Called after each piece, from the thread that works; may be empty.
  std::function<void(std::uint64_t bytes_done, std::uint64_t bytes_total)> progress;
  std::stop_token stop;
};

// Bounds on a content.  What is beyond them is refused both when one is made and when one is read.
inline constexpr std::uint32_t piece_size_min = 256 * 1024;
inline constexpr std::uint32_t piece_size_max = 4 * 1024 * 1024;
/// 1 TiB in the largest pieces; one bit for each fits a message.
inline constexpr std::uint32_t pieces_max = 1U << 18U;
inline constexpr std::size_t files_max = 250'000;
inline constexpr std::size_t torrent_bytes_max = 64 * 1024 * 1024;
inline constexpr std::size_t path_bytes_max = 1024;
inline constexpr std::size_t path_part_bytes_max = 240;
inline constexpr std::size_t path_parts_max = 32;

// What a parser of any .torrent within them has to take, libtorrent's included, whose own bounds are lower.
/// Three dictionaries around the directories, and two within a file.
inline constexpr int torrent_depth_max = static_cast<int>(path_parts_max) + 6;
/// A file has twelve tokens at most, and each directory three more.
inline constexpr int torrent_tokens_max = static_cast<int>(files_max) * 16;

/// The power of two between 256 KiB and 4 MiB that makes 1,000 to 4,000 pieces where one does.
std::uint32_t choose_piece_size(std::uint64_t bytes);

/// Makes a content of a directory, or of a single file under its own name.
///
/// Modes but the owner's executable bit, times, owners and the root's own name are no part of it, nor are directories
/// without files.  Links to files inside the tree are read as the files they name.
/// @returns fault::missing, fault::unfit (names the entry and the rule), fault::changed, fault::cancelled, fault::io.
outcome<content> make_content(const std::filesystem::path& root, const work_control& control = {});

/// Makes a content of files that nobody has to have: those of a simulation.
/// @param files with path, size and executable bit, in any order; the rest is filled in.
/// @param piece_hash of a piece, counted from the first of its file.
/// @returns what make_content would, for files with such hashes; fault::unfit.
outcome<content> assemble_content(std::vector<content_file> files,
                                  const std::function<digest(const content_file&, std::uint32_t piece)>& piece_hash);

/// Reads a .torrent from anybody.  Good is exactly what make_content writes, to the byte: what is more (v1 hashes, pad
/// files, links, trackers, unknown keys) is refused rather than ignored.
outcome<content> read_content(std::span<const char> torrent);

/// What is wrong with a file's path in a content and the cure, or an empty text.
std::string path_problem(std::string_view path);

} // namespace astra::p2p
