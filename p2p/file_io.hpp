#pragma once

#include "p2p/outcome.hpp"

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

// What the layer asks of files, with problems that name the file and say what went wrong with it.

namespace astra::p2p {

/// Owns a file descriptor.
class file_handle {
public:
  file_handle() = default;
  explicit file_handle(int fd) : fd_(fd) {}
  file_handle(file_handle&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  file_handle& operator=(file_handle&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~file_handle();

  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }

private:
  int fd_ = -1;
};

/// "/a/b cannot be written: No space left on device", of the kind that goes with the error number.
problem io_problem(const std::filesystem::path& path, std::string_view what, int error);

/// Reads as many bytes as there are, but not more than fit.
/// @returns their number, or -1 with errno set.
std::int64_t read_fully(int fd, std::span<std::byte> buffer);

outcome<std::vector<char>> read_file(const std::filesystem::path& path, std::uint64_t bytes_max);

/// Puts a file there whole or not at all, and returns when it is on the disk.
done write_atomically(const std::filesystem::path& path, std::string_view content);

/// Makes what was created, renamed and removed in a directory last.
done sync_directory(const std::filesystem::path& directory);

/// Makes a file's bytes last.
done sync_file(const std::filesystem::path& path);

/// The uppermost of the directories that a file lies in, from `root` down, that is none: a link, even to a directory,
/// or a file.  Empty: all are, or are not there.
std::filesystem::path obstacle(const std::filesystem::path& root, const std::filesystem::path& path);

/// Which start of the machine this is, as the kernel calls it; empty where it does not say.
std::string current_boot();

} // namespace astra::p2p
