#pragma once

#include <cstdint>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <stdlib.h>
#include <string>
#include <string_view>
#include <sys/mount.h>
#include <unistd.h>
#include <utility>

// Directories and files for tests of p2p.

namespace astra::p2p {

/// Removed with everything in it.
class temporary_directory {
public:
  temporary_directory() {
    std::string pattern = std::filesystem::temp_directory_path() / "astra-p2p-XXXXXX";
    path_ = ::mkdtemp(pattern.data());
  }
  ~temporary_directory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  temporary_directory(const temporary_directory&) = delete;
  temporary_directory& operator=(const temporary_directory&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path operator/(std::string_view name) const { return path_ / name; }

private:
  std::filesystem::path path_;
};

inline std::string random_bytes(std::size_t size, std::uint64_t seed) {
  std::mt19937_64 random{seed};
  std::string result(size, '\0');
  for (std::size_t i = 0; i < size; i += 8) {
    auto word = random();
    for (std::size_t k = i; k < std::min(size, i + 8); ++k, word >>= 8U)
      result[k] = static_cast<char>(word);
  }
  return result;
}

inline void write_file(const std::filesystem::path& path, std::string_view bytes) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream{path, std::ios::binary} << bytes;
}

inline std::string file_bytes(const std::filesystem::path& path) {
  std::ifstream in{path, std::ios::binary};
  return {std::istreambuf_iterator<char>{in}, {}};
}

/// Leaves not one byte on a disk.
inline void fill_disk(const std::filesystem::path& path) {
  auto fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  std::string page(4096, 'x');
  for (std::size_t size : {std::size_t{4096}, std::size_t{1}})
    while (::write(fd, page.data(), size) > 0) {
    }
  ::close(fd);
}

/// A disk of 2 MiB, where the process may mount one.
class small_disk {
public:
  explicit small_disk(std::filesystem::path path) : path_(std::move(path)) {
    std::filesystem::create_directory(path_);
    mounted_ = ::mount("tmpfs", path_.c_str(), "tmpfs", 0, "size=2m") == 0;
  }
  ~small_disk() {
    if (mounted_)
      ::umount2(path_.c_str(), MNT_DETACH);
  }
  small_disk(const small_disk&) = delete;
  small_disk& operator=(const small_disk&) = delete;

  explicit operator bool() const { return mounted_; }
  bool make_read_only() { return ::mount("tmpfs", path_.c_str(), "tmpfs", MS_REMOUNT | MS_RDONLY, "size=2m") == 0; }

private:
  std::filesystem::path path_;
  bool mounted_ = false;
};

/// Inverts one bit, in place.
inline void flip_bit(const std::filesystem::path& path, std::uint64_t offset) {
  std::fstream file{path, std::ios::binary | std::ios::in | std::ios::out};
  file.seekg(static_cast<std::streamoff>(offset));
  auto byte = static_cast<char>(file.get() ^ 1);
  file.seekp(static_cast<std::streamoff>(offset));
  file.put(byte);
}

} // namespace astra::p2p
