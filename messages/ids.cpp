#include "messages/ids.hpp"

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace astra {

std::uint64_t name_hash(std::string_view name) {
  auto hash = XXH3_64bits(name.data(), name.size());
  return hash == 0 ? 1 : hash;
}

std::string to_hex(std::uint64_t value) {
  static constexpr char digits[] = "0123456789abcdef";
  std::string result(16, '0');
  for (auto i = 16; i-- > 0; value >>= 4)
    result[static_cast<std::size_t>(i)] = digits[value & 0xf];
  return result;
}

} // namespace astra
