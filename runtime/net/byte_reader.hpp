#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <type_traits>

namespace astra {

/// Reads foreign bytes in CAF's binary format (big endian, lengths as varbyte numbers) without copying or allocating.
/// Every function returns false, and reads nothing more, when the bytes are too few or not as CAF writes them.
class byte_reader {
public:
  explicit byte_reader(std::span<const std::byte> bytes) : left_(bytes) {}

  template <class T>
  bool number(T& x) {
    static_assert(std::is_unsigned_v<T>);
    if (left_.size() < sizeof(T))
      return false;
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < sizeof(T); ++i)
      value = value << 8 | std::to_integer<std::uint64_t>(left_[i]);
    x = static_cast<T>(value);
    left_ = left_.subspan(sizeof(T));
    return true;
  }

  /// A length as CAF's serializer writes it: at most 32 bits, and no byte more than needed.
  bool length(std::size_t& x) {
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < 5 && i < left_.size(); ++i) {
      auto byte = std::to_integer<std::uint64_t>(left_[i]);
      value |= (byte & 0x7f) << (7 * i);
      if ((byte & 0x80) != 0)
        continue;
      if ((i > 0 && byte == 0) || value > UINT32_MAX)
        return false;
      x = static_cast<std::size_t>(value);
      left_ = left_.subspan(i + 1);
      return true;
    }
    return false;
  }

  bool bytes(std::span<const std::byte>& x, std::size_t size) {
    if (left_.size() < size)
      return false;
    x = left_.first(size);
    left_ = left_.subspan(size);
    return true;
  }

  /// A string of at most `max` bytes.
  bool text(std::string_view& x, std::size_t max) {
    std::size_t size = 0;
    std::span<const std::byte> found;
    if (!length(size) || size > max || !bytes(found, size))
      return false;
    x = {reinterpret_cast<const char*>(found.data()), found.size()};
    return true;
  }

  bool done() const { return left_.empty(); }
  std::size_t left() const { return left_.size(); }

private:
  std::span<const std::byte> left_;
};

/// Walks over the fields of a Protobuf message without decoding it.
class field_reader {
public:
  enum class kind : std::uint8_t { varint = 0, fixed64 = 1, bytes = 2, fixed32 = 5 };

  explicit field_reader(std::string_view message) : left_(message) {}

  /// The next field is in the members below.  @returns false at the end, and when the rest is not well-formed: see
  /// failed().  Groups, which proto3 does not have, are not.
  bool next() {
    std::uint64_t tag = 0;
    if (left_.empty() || failed_)
      return false;
    if (!varint(tag) || tag > UINT32_MAX || tag >> 3 == 0)
      return fail();
    number = static_cast<std::uint32_t>(tag >> 3);
    type = static_cast<kind>(tag & 7);
    value = 0;
    content = {};
    switch (type) {
    case kind::varint:
      return varint(value) || fail();
    case kind::fixed64:
      return fixed(8) || fail();
    case kind::fixed32:
      return fixed(4) || fail();
    case kind::bytes:
      if (!varint(value) || value > left_.size())
        return fail();
      content = left_.substr(0, static_cast<std::size_t>(value));
      left_.remove_prefix(content.size());
      return true;
    }
    return fail();
  }

  bool failed() const { return failed_; }
  bool is(std::uint32_t wanted, kind as) const { return number == wanted && type == as; }

  std::uint32_t number = 0;
  kind type = kind::varint;
  /// Of a number.
  std::uint64_t value = 0;
  /// Of a string, or of a message within the message.
  std::string_view content;

private:
  bool fail() {
    failed_ = true;
    return false;
  }

  bool varint(std::uint64_t& x) {
    x = 0;
    for (std::size_t i = 0; i < 10 && i < left_.size(); ++i) {
      auto byte = static_cast<std::uint8_t>(left_[i]);
      x |= std::uint64_t{byte & 0x7fu} << (7 * i);
      if ((byte & 0x80) == 0) {
        left_.remove_prefix(i + 1);
        return true;
      }
    }
    return false;
  }

  bool fixed(std::size_t size) {
    if (left_.size() < size)
      return false;
    for (std::size_t i = 0; i < size; ++i)
      value |= std::uint64_t{static_cast<std::uint8_t>(left_[i])} << (8 * i);
    left_.remove_prefix(size);
    return true;
  }

  std::string_view left_;
  bool failed_ = false;
};

} // namespace astra
