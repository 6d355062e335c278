#include "p2p/content.hpp"

#include "p2p/bencode.hpp"
#include "p2p/file_io.hpp"

#include <fmt/format.h>
#include <libtorrent/error_code.hpp>
#include <libtorrent/torrent_info.hpp>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <map>
#include <sys/stat.h>
#include <tuple>

namespace astra::p2p {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t pieces_wanted_max = 4000;

problem unfit(std::string text) {
  return {fault::unfit, std::move(text)};
}

/// Foreign text in an error: printable.
std::string shown(std::string_view text) {
  std::string result;
  for (unsigned char c : text)
    if (c >= 0x20 && c < 0x7F)
      result += static_cast<char>(c);
    else
      result += fmt::format("\\x{:02x}", c);
  return result;
}

bool is_utf8(std::string_view text) {
  for (std::size_t at = 0; at < text.size();) {
    auto byte = [&](std::size_t i) -> std::uint32_t {
      return at + i < text.size() ? static_cast<unsigned char>(text[at + i]) : 0U;
    };
    auto first = byte(0);
    auto length = first < 0x80 ? 1U : first >> 5U == 0x6 ? 2U : first >> 4U == 0xE ? 3U : first >> 3U == 0x1E ? 4U : 0U;
    if (length == 0)
      return false;
    auto code = length == 1 ? first : first & (0xFFU >> (length + 1));
    for (std::size_t i = 1; i < length; ++i) {
      if (byte(i) >> 6U != 0x2)
        return false;
      code = code << 6U | (byte(i) & 0x3FU);
    }
    // Longer than needed, half of a surrogate pair, or beyond the last character.
    if ((length == 2 && code < 0x80) || (length == 3 && code < 0x800) || (length == 4 && code < 0x10000)
        || (code >= 0xD800 && code < 0xE000) || code > 0x10FFFF)
      return false;
    at += length;
  }
  return true;
}

/// By the parts of the paths: "a/b" comes before "a-b".
bool path_less(std::string_view left, std::string_view right) {
  auto key = [](char c) { return c == '/' ? 0 : static_cast<unsigned char>(c) + 1; };
  return std::ranges::lexicographical_compare(left, right, {}, key, key);
}

/// A file as it was listed.
struct entry {
  std::string path;
  fs::path where;
  std::uint64_t size = 0;
  bool executable = false;
  /// Changes whenever the file does.
  std::tuple<dev_t, ino_t, std::int64_t, std::int64_t, std::int64_t, std::int64_t> identity;

  bool operator==(const entry&) const = default;

  void take(const struct ::stat& status) {
    size = static_cast<std::uint64_t>(status.st_size);
    executable = (status.st_mode & S_IXUSR) != 0;
    identity = {status.st_dev,          status.st_ino,         status.st_mtim.tv_sec,
                status.st_mtim.tv_nsec, status.st_ctim.tv_sec, status.st_ctim.tv_nsec};
  }
};

class lister {
public:
  lister(fs::path root, const std::stop_token& stop) : root_(std::move(root)), stop_(stop) {}

  /// All files, in the order of a content.
  outcome<std::vector<entry>> list(const std::string& single_name) {
    struct ::stat status {};
    if (::stat(root_.c_str(), &status) != 0)
      return io_problem(root_, "read", errno);
    done result = nothing{};
    if (S_ISREG(status.st_mode))
      result = add(single_name, root_, status);
    else if (S_ISDIR(status.st_mode))
      result = walk(root_, {}, 0);
    else
      return unfit(fmt::format("{} is neither a file nor a directory", root_.string()));
    if (!result)
      return result.problem();
    std::ranges::sort(entries_, path_less, &entry::path);
    return std::move(entries_);
  }

private:
  done walk(const fs::path& directory, const std::string& prefix, std::size_t depth) {
    std::error_code error;
    fs::directory_iterator i{directory, error};
    for (; !error && i != fs::directory_iterator{}; i.increment(error)) {
      if (stop_.stop_requested())
        return problem{fault::cancelled, fmt::format("reading {} was cancelled", root_.string())};
      auto result = visit(i->path(), prefix + i->path().filename().string(), depth);
      if (!result)
        return result;
    }
    if (error)
      return io_problem(directory, "read", error.value());
    return nothing{};
  }

  done visit(const fs::path& where, const std::string& path, std::size_t depth) {
    if (auto wrong = path_problem(path); !wrong.empty())
      return unfit(fmt::format("{}: {}", shown(where.string()), wrong));
    struct ::stat status {};
    if (::lstat(where.c_str(), &status) != 0)
      return io_problem(where, "read", errno);
    if (S_ISDIR(status.st_mode))
      return depth + 1 < path_parts_max
                 ? walk(where, path + "/", depth + 1)
                 : unfit(fmt::format("{}: more than {} directories deep", where.string(), path_parts_max));
    if (!S_ISLNK(status.st_mode))
      return add(path, where, status);
    std::error_code error;
    auto target = fs::canonical(where, error);
    if (error)
      return unfit(fmt::format("{} is a link to what is not there; remove it", where.string()));
    auto [root_end, ignored] = std::ranges::mismatch(root_, target);
    if (root_end != root_.end())
      return unfit(fmt::format("{} links to {}, outside of {}; copy the file into the tree", where.string(),
                               target.string(), root_.string()));
    if (::lstat(target.c_str(), &status) != 0)
      return io_problem(target, "read", errno);
    if (S_ISDIR(status.st_mode))
      return unfit(fmt::format("{} links to a directory; copy it, or remove the link", where.string()));
    return add(path, target, status);
  }

  done add(std::string path, const fs::path& where, const struct ::stat& status) {
    if (auto wrong = path_problem(path); !wrong.empty())
      return unfit(fmt::format("{}: {}", shown(where.string()), wrong));
    if (!S_ISREG(status.st_mode))
      return unfit(fmt::format("{} is a socket, pipe or device; only files can be distributed", where.string()));
    if (entries_.size() >= files_max)
      return unfit(fmt::format("{} has more than {} files; pack them into an archive", root_.string(), files_max));
    auto& added = entries_.emplace_back();
    added.path = std::move(path);
    added.where = where;
    added.take(status);
    return nothing{};
  }

  fs::path root_;
  std::stop_token stop_;
  std::vector<entry> entries_;
};

std::string lower(std::string_view text) {
  std::string result{text};
  for (auto& c : result)
    if (c >= 'A' && c <= 'Z')
      c = static_cast<char>(c - 'A' + 'a');
  return result;
}

/// Numbers the pieces of files whose sizes are known.
outcome<std::uint32_t> number_pieces(content& what) {
  std::uint64_t next = 0;
  what.size = 0;
  for (auto& file : what.files) {
    auto pieces = file.size / what.piece_size + (file.size % what.piece_size != 0);
    if (next + pieces > pieces_max)
      return unfit(fmt::format("has more than {} pieces; split it into several contents", pieces_max));
    file.first_piece = static_cast<std::uint32_t>(next);
    file.pieces = static_cast<std::uint32_t>(pieces);
    next += pieces;
    what.size += file.size;
  }
  return static_cast<std::uint32_t>(next);
}

/// Hashes files one after the other.
class tree_hasher {
public:
  tree_hasher(content& what, const work_control& control) : what_(what), control_(control) {
    buffer_.resize(what.piece_size);
  }

  done hash(content_file& file, const entry& listed) {
    auto changed = [&] {
      return problem{fault::changed, fmt::format("{} changed while it was read", listed.where.string())};
    };
    // Not blocking: what was a file may have become a pipe.
    file_handle handle{::open(listed.where.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)};
    struct ::stat status {};
    if (!handle || ::fstat(handle.get(), &status) != 0)
      return errno == ENOENT || errno == ELOOP ? changed() : io_problem(listed.where, "read", errno);
    auto opened = listed;
    opened.take(status);
    if (opened != listed)
      return changed();
    ::posix_fadvise(handle.get(), 0, 0, POSIX_FADV_SEQUENTIAL);
    std::vector<digest> pieces;
    for (std::uint32_t piece = 0; piece < file.pieces; ++piece) {
      if (control_.stop.stop_requested())
        return problem{fault::cancelled, "hashing was cancelled"};
      auto part = std::span{buffer_}.first(piece_length(what_, file, piece));
      auto count = read_fully(handle.get(), part);
      if (count < 0)
        return io_problem(listed.where, "read", errno);
      if (count != static_cast<std::int64_t>(part.size()))
        return changed();
      pieces.push_back(hash_piece(hash_, part, piece_width(what_, file)));
      bytes_ += part.size();
      if (control_.progress)
        control_.progress(bytes_, what_.size);
    }
    if (file.pieces > 0)
      file.root = file.pieces == 1 ? pieces[0] : file_root(hash_, pieces, piece_width(what_, file));
    what_.piece_hashes.insert(what_.piece_hashes.end(), pieces.begin(), pieces.end());
    return nothing{};
  }

private:
  content& what_;
  const work_control& control_;
  sha256 hash_;
  std::vector<std::byte> buffer_;
  std::uint64_t bytes_ = 0;
};

digest as_digest(const char* bytes) {
  digest result;
  std::memcpy(result.data(), bytes, result.size());
  return result;
}

/// Refuses names that libtorrent would write otherwise, before it sees them: of two that differ in nothing but case it
/// renames one, and for many that takes the square of their number.
class name_check {
public:
  done walk(const lt::bdecode_node& directory) { return walk(directory, {}, 0, 1); }

private:
  struct known {
    std::string name;
    std::uint32_t id = 0;
    bool file = false;
  };

  done walk(const lt::bdecode_node& directory, const std::string& prefix, std::uint32_t id, std::size_t depth) {
    if (depth > path_parts_max)
      return unfit(fmt::format("names files more than {} directories deep", path_parts_max));
    if (directory.dict_size() == 0)
      return unfit(fmt::format("has a directory {} without files", shown(prefix)));
    for (auto i = 0; i < directory.dict_size(); ++i) {
      auto [key, node] = directory.dict_at(i);
      std::string_view name{key.data(), key.size()};
      auto path = prefix + std::string{name};
      if (auto wrong = name.empty() ? "an entry is neither a file nor a directory" : wrong_name(name, path);
          !wrong.empty())
        return unfit(fmt::format("names a file {}: {}", shown(path), wrong));
      if (node.type() != lt::bdecode_node::dict_t)
        return unfit(fmt::format("has something else than a file or a directory at {}", shown(path)));
      auto file = node.dict_size() == 1 && node.dict_at(0).first.empty();
      if (file && ++files_ > files_max)
        return unfit(fmt::format("has more than {} files", files_max));
      // Directories that differ in case alone are one here: what is in them must not meet either.
      auto [found, fresh] = seen_.try_emplace({id, lower(name)}, known{std::string{name}, next_, file});
      if (!fresh && (file || found->second.file))
        return unfit(fmt::format("cannot be laid down: {} and {} differ in nothing but case; rename one",
                                 shown(prefix + found->second.name), shown(path)));
      next_ += fresh ? 1 : 0;
      if (file)
        continue;
      if (auto walked = walk(node, path + "/", found->second.id, depth + 1); !walked)
        return walked;
    }
    return nothing{};
  }

  static std::string wrong_name(std::string_view name, std::string_view path) {
    if (name.find('/') != std::string_view::npos)
      return "a name has a slash";
    return path.size() > path_bytes_max ? path_problem(path) : path_problem(name);
  }

  /// By directory, and name in lower case.
  std::map<std::pair<std::uint32_t, std::string>, known> seen_;
  std::uint32_t next_ = 1;
  std::size_t files_ = 0;
};

/// What libtorrent makes of a .torrent, as a content that is still to be written down again.
outcome<content> parse(std::span<const char> torrent) {
  lt::load_torrent_limits limits;
  limits.max_buffer_size = static_cast<int>(torrent_bytes_max);
  limits.max_pieces = static_cast<int>(pieces_max);
  limits.max_decode_depth = torrent_depth_max;
  limits.max_decode_tokens = torrent_tokens_max;
  lt::error_code error;
  auto node = lt::bdecode({torrent.data(), static_cast<std::ptrdiff_t>(torrent.size())}, error, nullptr,
                          limits.max_decode_depth, limits.max_decode_tokens);
  if (error)
    return unfit("is no torrent: " + error.message());
  // The parser takes time for what is no content of ours: only what can be one reaches it.
  auto info = node.type() == lt::bdecode_node::dict_t ? node.dict_find_dict("info") : lt::bdecode_node{};
  if (!info)
    return unfit("is no torrent: it has no info dictionary");
  if (info.dict_find("pieces") || info.dict_find("files") || info.dict_find("length"))
    return unfit("has the hashes of BitTorrent v1; contents have those of v2 alone");
  auto piece_size = info.dict_find_int_value("piece length", 0);
  if (piece_size < piece_size_min || piece_size > piece_size_max
      || !std::has_single_bit(static_cast<std::uint64_t>(piece_size)))
    return unfit(fmt::format("has pieces of {} bytes; contents have powers of two from {} to {}", piece_size,
                             piece_size_min, piece_size_max));
  auto tree = info.dict_find_dict("file tree");
  if (!tree)
    return unfit("has no files");
  if (auto checked = name_check{}.walk(tree); !checked)
    return checked.problem();
  lt::torrent_info parsed{node, limits};
  if (!parsed.v2() || parsed.v1())
    return unfit("is no torrent of BitTorrent v2 alone");
  if (!parsed.v2_piece_hashes_verified())
    return unfit("lacks the hashes of its pieces");
  content result;
  result.piece_size = static_cast<std::uint32_t>(piece_size);
  auto& files = parsed.files();
  auto prefix = parsed.name() + "/";
  std::vector<lt::file_index_t> indices;
  for (auto i : files.file_range()) {
    if (files.pad_file_at(i))
      continue;
    auto path = files.file_path(i);
    // libtorrent puts a file that is the only one, and in no directory, beside the others' directory.
    if (path.starts_with(prefix))
      path.erase(0, prefix.size());
    if (auto wrong = path_problem(path); !wrong.empty())
      return unfit(fmt::format("names a file {}: {}", shown(path), wrong));
    if (result.files.size() >= files_max)
      return unfit(fmt::format("has more than {} files", files_max));
    auto& file = result.files.emplace_back();
    file.path = std::move(path);
    file.size = static_cast<std::uint64_t>(files.file_size(i));
    file.executable = static_cast<bool>(files.file_flags(i) & lt::file_storage::flag_executable);
    if (file.size > 0)
      file.root = as_digest(files.root(i).data());
    indices.push_back(i);
  }
  auto pieces = number_pieces(result);
  if (!pieces)
    return pieces.problem();
  sha256 hash;
  for (std::size_t i = 0; i < result.files.size(); ++i) {
    auto& file = result.files[i];
    if (file.pieces == 1)
      result.piece_hashes.push_back(file.root);
    if (file.pieces <= 1)
      continue;
    auto layer = parsed.piece_layer(indices[i]);
    if (static_cast<std::size_t>(layer.size()) != file.pieces * sizeof(digest))
      return unfit(fmt::format("lacks the hashes of {}'s pieces", file.path));
    std::vector<digest> hashes;
    for (std::uint32_t piece = 0; piece < file.pieces; ++piece)
      hashes.push_back(as_digest(layer.data() + piece * sizeof(digest)));
    if (file_root(hash, hashes, piece_width(result, file)) != file.root)
      return unfit(fmt::format("has hashes of {}'s pieces that do not belong to its root", file.path));
    result.piece_hashes.insert(result.piece_hashes.end(), hashes.begin(), hashes.end());
  }
  return result;
}

} // namespace

std::string to_string(const content_address& address) {
  std::string result;
  for (auto byte : address.bytes)
    result += fmt::format("{:02x}", byte);
  return result;
}

std::optional<content_address> parse_address(std::string_view text) {
  content_address result;
  if (text.size() != 2 * result.bytes.size())
    return std::nullopt;
  for (std::size_t i = 0; i < text.size(); ++i) {
    constexpr std::string_view digits = "0123456789abcdef";
    auto value = digits.find(text[i]);
    if (value == std::string_view::npos)
      return std::nullopt;
    auto& byte = result.bytes[i / 2];
    byte = static_cast<std::uint8_t>(byte << 4U | value);
  }
  return result;
}

fs::path save_path(const content& what, const fs::path& place) {
  auto alone = what.files.size() == 1 && what.files[0].path.find('/') == std::string::npos;
  return alone ? place / what.name : place;
}

std::uint32_t piece_length(const content& what, const content_file& file, std::uint32_t piece) {
  auto left = file.size - std::uint64_t{piece} * what.piece_size;
  return static_cast<std::uint32_t>(std::min<std::uint64_t>(left, what.piece_size));
}

const content_file& file_of(const content& what, std::uint32_t piece) {
  auto file = std::ranges::upper_bound(what.files, piece, {}, &content_file::first_piece);
  // Empty files have no piece, and the first piece of whatever comes after them.
  do
    --file;
  while (file->pieces == 0);
  return *file;
}

std::uint64_t piece_width(const content& what, const content_file& file) {
  return file.size <= what.piece_size ? small_file_width(file.size) : what.piece_size / block_size;
}

std::uint32_t choose_piece_size(std::uint64_t bytes) {
  auto result = piece_size_min;
  while (result < piece_size_max && bytes / result >= pieces_wanted_max)
    result *= 2;
  return result;
}

std::string path_problem(std::string_view path) {
  if (path.empty() || path.size() > path_bytes_max)
    return fmt::format("a path has 1 to {} bytes", path_bytes_max);
  if (!is_utf8(path))
    return "the name is not UTF-8; rename it";
  std::size_t parts = 0;
  for (std::size_t at = 0; at <= path.size();) {
    auto end = std::min(path.find('/', at), path.size());
    auto part = path.substr(at, end - at);
    if (part.empty() || part == "." || part == "..")
      return "a path has no empty parts, no \".\" and no \"..\"";
    if (part.size() > path_part_bytes_max)
      return fmt::format("a name has at most {} bytes; rename it", path_part_bytes_max);
    // U+200E, U+200F and U+202A to U+202E: libtorrent leaves them out.
    for (std::size_t i = 0; i + 2 < part.size(); ++i)
      if (auto mark = part.substr(i, 3);
          (mark >= "\xE2\x80\x8E" && mark <= "\xE2\x80\x8F") || (mark >= "\xE2\x80\xAA" && mark <= "\xE2\x80\xAE"))
        return "the name has a mark for the direction of writing; rename it";
    for (unsigned char c : part)
      if (c < 0x20 || c == 0x7F || c == '\\')
        return "the name has a control character or a backslash; rename it";
    at = end + 1;
    ++parts;
  }
  return parts > path_parts_max ? fmt::format("more than {} directories deep", path_parts_max) : std::string{};
}

outcome<content> make_content(const fs::path& root, const work_control& control) {
  std::error_code error;
  auto place = fs::canonical(root, error);
  if (error)
    return io_problem(root, "read", error.value());
  // "dir/" has no last part.
  auto single_name = root.filename().string();
  auto listed = lister{place, control.stop}.list(single_name);
  if (!listed)
    return listed.problem();
  content result;
  std::map<std::string, std::string> seen;
  for (auto& file : *listed) {
    // libtorrent renames one of two files that some file systems could not tell apart.
    if (auto [other, fresh] = seen.emplace(lower(file.path), file.path); !fresh)
      return unfit(fmt::format("{}: {} and {} differ in nothing but case; rename one", place.string(), other->second,
                               file.path));
    result.files.push_back({file.path, file.size, {}, file.executable, 0, 0});
    result.size += file.size;
  }
  if (result.size == 0)
    return unfit(fmt::format("{} is empty: there is nothing to distribute", place.string()));
  result.piece_size = choose_piece_size(result.size);
  if (auto pieces = number_pieces(result); !pieces)
    return unfit(place.string() + " " + pieces.problem().text);
  tree_hasher hasher{result, control};
  for (std::size_t i = 0; i < result.files.size(); ++i) {
    auto hashed = hasher.hash(result.files[i], (*listed)[i]);
    if (!hashed)
      return hashed.problem();
  }
  // What changed after it was read, and what is new.
  auto again = lister{place, control.stop}.list(single_name);
  if (!again)
    return again.problem().kind == fault::cancelled
               ? again.problem()
               : problem{fault::changed,
                         fmt::format("{} changed while it was read: {}", place.string(), again.problem().text)};
  if (*again != *listed) {
    auto [left, right] = std::ranges::mismatch(*listed, *again);
    return problem{fault::changed, fmt::format("{} changed while it was read: {}", place.string(),
                                               left != listed->end() ? left->path : right->path)};
  }
  encode_torrent(result);
  // What no node could read is not to leave this one: libtorrent changes some names.
  if (auto same = read_content(result.torrent); !same)
    return unfit(fmt::format("{} cannot be distributed: its torrent {}", place.string(), same.problem().text));
  return result;
}

outcome<content> assemble_content(std::vector<content_file> files,
                                  const std::function<digest(const content_file&, std::uint32_t piece)>& piece_hash) {
  std::ranges::sort(files, path_less, &content_file::path);
  content result;
  result.files = std::move(files);
  for (auto& file : result.files)
    result.size += file.size;
  if (result.size == 0)
    return unfit("is empty: there is nothing to distribute");
  result.piece_size = choose_piece_size(result.size);
  if (auto pieces = number_pieces(result); !pieces)
    return pieces.problem();
  sha256 hash;
  for (auto& file : result.files) {
    std::vector<digest> hashes;
    for (std::uint32_t piece = 0; piece < file.pieces; ++piece)
      hashes.push_back(piece_hash(file, piece));
    if (!hashes.empty())
      file.root = hashes.size() == 1 ? hashes[0] : file_root(hash, hashes, piece_width(result, file));
    result.piece_hashes.insert(result.piece_hashes.end(), hashes.begin(), hashes.end());
  }
  encode_torrent(result);
  if (auto same = read_content(result.torrent); !same)
    return unfit(fmt::format("its torrent {}", same.problem().text));
  return result;
}

outcome<content> read_content(std::span<const char> torrent) {
  if (torrent.size() > torrent_bytes_max)
    return unfit(fmt::format("has {} bytes; at most {} are read", torrent.size(), torrent_bytes_max));
  try {
    auto result = parse(torrent);
    if (!result)
      return result;
    encode_torrent(*result);
    if (!std::ranges::equal(result->torrent, torrent))
      return unfit("is not written as contents are: it has something more, or something else");
    return result;
  } catch (const std::exception& wrong) {
    // libtorrent's own refusals.
    return unfit(fmt::format("is no torrent: {}", wrong.what()));
  }
}

} // namespace astra::p2p
