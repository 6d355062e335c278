#include "runtime/cli/tar.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <utility>

#include <fmt/format.h>

// IEEE Std 1003.1-1988, 10.1.1: a header of 512 bytes with numbers as octal text, the content padded to 512, and two
// empty blocks at the end.

namespace astra {
namespace {

constexpr std::size_t block = 512;
constexpr std::size_t name_max = 100;
constexpr std::size_t prefix_max = 155;
constexpr std::size_t checksum_at = 148;
/// What eleven octal digits hold.
constexpr std::uint64_t size_max = (1ull << 33) - 1;

} // namespace

bool tar_archive::add(std::string_view path, std::string_view content, std::int64_t seconds) {
  auto name = path;
  std::string_view prefix;
  if (path.size() > name_max) {
    // The first slash behind which the rest fits leaves the shortest prefix.
    auto slash = path.find('/', path.size() - name_max - 1);
    if (slash == std::string_view::npos || slash > prefix_max || slash + 1 == path.size())
      return false;
    prefix = path.substr(0, slash);
    name = path.substr(slash + 1);
  }
  if (name.empty() || content.size() > size_max)
    return false;
  std::array<char, block> header{};
  auto put = [&](std::size_t at, std::string_view text) { std::copy(text.begin(), text.end(), header.begin() + at); };
  put(0, name);
  put(100, "0000600");
  put(108, "0000000"); // owner and group: nobody's business
  put(116, "0000000");
  put(124, fmt::format("{:011o}", content.size()));
  put(136, fmt::format("{:011o}", std::clamp<std::int64_t>(seconds, 0, static_cast<std::int64_t>(size_max))));
  put(checksum_at, "        ");
  put(156, "0"); // a regular file
  put(257, std::string_view{"ustar\0"
                            "00",
                            8});
  put(345, prefix);
  // Over the header with blanks in its own place.
  std::uint32_t sum = 0;
  for (auto c : header)
    sum += static_cast<unsigned char>(c);
  put(checksum_at, fmt::format("{:06o}", sum));
  header[checksum_at + 6] = '\0';
  bytes_.append(header.data(), header.size());
  bytes_ += content;
  bytes_.append((block - content.size() % block) % block, '\0');
  return true;
}

std::string tar_archive::finish() && {
  bytes_.append(2 * block, '\0');
  return std::move(bytes_);
}

} // namespace astra
