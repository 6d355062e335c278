#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace astra {

/// Keeps the last bytes of a stream and counts all of them, in bounded memory.
class tail_buffer {
public:
  explicit tail_buffer(std::size_t capacity) : capacity_(capacity) {}

  void append(std::string_view data);
  /// Bytes appended in all.
  std::uint64_t total() const { return total_; }
  /// The last bytes, at most the capacity; when something was dropped, from the start of a line if there is one,
  /// else from the start of a character.
  std::string text() const;

private:
  std::size_t capacity_;
  std::uint64_t total_ = 0;
  /// At most twice the capacity, so that the front is dropped rarely.
  std::string data_;
};

} // namespace astra
