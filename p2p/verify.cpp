#include "p2p/verify.hpp"

#include "p2p/file_io.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <optional>
#include <sys/stat.h>

namespace astra::p2p {
namespace {

constexpr std::size_t named_max = 5;

class verifier {
public:
  verifier(const content& what, const work_control& control) : what_(what), control_(control) {
    buffer_.resize(what.piece_size);
    result_.good.resize(what.piece_hashes.size());
  }

  done check(const content_file& file, const std::filesystem::path& root) {
    auto where = root / file.path;
    auto damaged = [&](damage how) -> done {
      result_.damaged.push_back({file.path, how});
      return nothing{};
    };
    // Bytes outside are not ours, however good.
    if (!obstacle(root, file.path).empty())
      return damaged(damage::no_file);
    file_handle handle{::open(where.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)};
    struct ::stat status {};
    if (!handle || ::fstat(handle.get(), &status) != 0) {
      if (errno == ENOENT || errno == ENOTDIR)
        return damaged(damage::missing);
      return errno == ELOOP || errno == ENXIO ? damaged(damage::no_file) : done{io_problem(where, "read", errno)};
    }
    if (!S_ISREG(status.st_mode))
      return damaged(damage::no_file);
    auto size = static_cast<std::uint64_t>(status.st_size);
    ::posix_fadvise(handle.get(), 0, 0, POSIX_FADV_SEQUENTIAL);
    auto all_good = true;
    for (std::uint32_t piece = 0; piece < file.pieces; ++piece) {
      if (control_.stop.stop_requested())
        return problem{fault::cancelled, "verifying was cancelled"};
      auto part = std::span{buffer_}.first(piece_length(what_, file, piece));
      auto count = read_fully(handle.get(), part);
      // A sector that cannot be read is a damaged piece like any other.
      if (count < 0 && errno != EIO)
        return io_problem(where, "read", errno);
      if (count < 0)
        ::lseek(handle.get(), static_cast<::off_t>((piece + 1ULL) * what_.piece_size), SEEK_SET);
      auto index = file.first_piece + piece;
      result_.good[index] = count == static_cast<std::int64_t>(part.size())
                            && hash_piece(hash_, part, piece_width(what_, file)) == what_.piece_hashes[index];
      all_good = all_good && result_.good[index];
      bytes_ += part.size();
      if (control_.progress)
        control_.progress(bytes_, what_.size);
    }
    if (size != file.size)
      return damaged(size < file.size ? damage::truncated : damage::too_long);
    return all_good ? done{nothing{}} : damaged(damage::flipped);
  }

  verification take() { return std::move(result_); }

private:
  const content& what_;
  const work_control& control_;
  sha256 hash_;
  std::vector<std::byte> buffer_;
  std::uint64_t bytes_ = 0;
  verification result_;
};

} // namespace

std::string_view to_string(damage what) {
  switch (what) {
  case damage::missing:
    return "is missing";
  case damage::no_file:
    return "is no file any more";
  case damage::truncated:
    return "is truncated";
  case damage::too_long:
    return "is too long";
  case damage::flipped:
    return "has other bytes";
  }
  return "";
}

std::string verification::text() const {
  std::string result;
  for (auto& file : damaged) {
    if (&file == &damaged.front() + named_max)
      return fmt::format("{}; and {} more", result, damaged.size() - named_max);
    result += fmt::format("{}{} {}", result.empty() ? "" : "; ", file.path, to_string(file.what));
  }
  return result;
}

outcome<verification> verify_content(const content& what, const std::filesystem::path& place,
                                     const work_control& control) {
  verifier with{what, control};
  for (auto& file : what.files)
    if (auto checked = with.check(file, place / what.name); !checked)
      return checked.problem();
  return with.take();
}

} // namespace astra::p2p
