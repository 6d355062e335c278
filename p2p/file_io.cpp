#include "p2p/file_io.hpp"

#include <fmt/format.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace astra::p2p {
namespace {

fault kind_of(int error) {
  switch (error) {
  case ENOENT:
  case ENOTDIR:
    return fault::missing;
  case ENOSPC:
  case EDQUOT:
    return fault::no_space;
  default:
    return fault::io;
  }
}

int write_fully(int fd, std::string_view content) {
  while (!content.empty()) {
    auto count = ::write(fd, content.data(), content.size());
    if (count < 0 && errno == EINTR)
      continue;
    if (count < 0)
      return errno;
    content.remove_prefix(static_cast<std::size_t>(count));
  }
  return 0;
}

} // namespace

file_handle::~file_handle() {
  if (fd_ >= 0)
    ::close(fd_);
}

problem io_problem(const std::filesystem::path& path, std::string_view what, int error) {
  return {kind_of(error), fmt::format("{} cannot be {}: {}", path.string(), what, std::strerror(error))};
}

std::int64_t read_fully(int fd, std::span<std::byte> buffer) {
  std::size_t have = 0;
  while (have < buffer.size()) {
    auto count = ::read(fd, buffer.data() + have, buffer.size() - have);
    if (count < 0 && errno == EINTR)
      continue;
    if (count < 0)
      return -1;
    if (count == 0)
      break;
    have += static_cast<std::size_t>(count);
  }
  return static_cast<std::int64_t>(have);
}

outcome<std::vector<char>> read_file(const std::filesystem::path& path, std::uint64_t bytes_max) {
  file_handle file{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  struct ::stat status {};
  if (!file || ::fstat(file.get(), &status) != 0)
    return io_problem(path, "read", errno);
  if (!S_ISREG(status.st_mode))
    return problem{fault::unfit, fmt::format("{} is no regular file", path.string())};
  if (static_cast<std::uint64_t>(status.st_size) > bytes_max)
    return problem{fault::unfit,
                   fmt::format("{} has {} bytes; at most {} are read", path.string(), status.st_size, bytes_max)};
  std::vector<char> result(static_cast<std::size_t>(status.st_size));
  auto count = read_fully(file.get(), std::as_writable_bytes(std::span{result}));
  if (count < 0)
    return io_problem(path, "read", errno);
  result.resize(static_cast<std::size_t>(count));
  return result;
}

done write_atomically(const std::filesystem::path& path, std::string_view content) {
  auto temporary = path;
  temporary += ".new";
  auto fail = [&](const std::filesystem::path& where, int error) -> done {
    ::unlink(temporary.c_str());
    return io_problem(where, "written", error);
  };
  {
    file_handle file{::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644)};
    if (!file)
      return io_problem(path, "written", errno);
    if (auto error = write_fully(file.get(), content))
      return fail(path, error);
    if (::fsync(file.get()) != 0)
      return fail(path, errno);
  }
  if (::rename(temporary.c_str(), path.c_str()) != 0)
    return fail(path, errno);
  return sync_directory(path.parent_path());
}

done sync_directory(const std::filesystem::path& directory) {
  file_handle handle{::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (!handle || ::fsync(handle.get()) != 0)
    return io_problem(directory, "synced", errno);
  return nothing{};
}

done sync_file(const std::filesystem::path& path) {
  file_handle handle{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (!handle || ::fsync(handle.get()) != 0)
    return io_problem(path, "synced", errno);
  return nothing{};
}

std::filesystem::path obstacle(const std::filesystem::path& root, const std::filesystem::path& path) {
  auto at = root;
  for (auto& part : path) {
    struct ::stat status {};
    if (::lstat(at.c_str(), &status) != 0)
      return {};
    if (!S_ISDIR(status.st_mode))
      return at;
    at /= part;
  }
  return {};
}

std::string current_boot() {
  file_handle file{::open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC)};
  std::array<char, 36> text{};
  auto count = file ? read_fully(file.get(), std::as_writable_bytes(std::span{text})) : -1;
  return count == static_cast<std::int64_t>(text.size()) ? std::string{text.begin(), text.end()} : std::string{};
}

} // namespace astra::p2p
