#pragma once

#include <compare>
#include <cstdint>
#include <functional>

namespace astra {

/// An integer that cannot be mistaken for another kind of integer.  `Tag` is never defined.
/// The value 0 means "none".
template <class Tag, class Value = std::uint64_t>
class strong_id {
public:
  using value_type = Value;

  constexpr strong_id() = default;
  constexpr explicit strong_id(Value value) : value_(value) {}

  constexpr Value value() const { return value_; }
  constexpr explicit operator bool() const { return value_ != Value{}; }
  constexpr auto operator<=>(const strong_id&) const = default;

  template <class Inspector>
  friend bool inspect(Inspector& f, strong_id& x) {
    return f.apply(x.value_);
  }

private:
  Value value_{};
};

} // namespace astra

template <class Tag, class Value>
struct std::hash<astra::strong_id<Tag, Value>> {
  std::size_t operator()(astra::strong_id<Tag, Value> id) const noexcept { return std::hash<Value>{}(id.value()); }
};
