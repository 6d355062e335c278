#pragma once

#include <cassert>
#include <string>
#include <utility>
#include <variant>

namespace astra::p2p {

/// What a caller can act on.
enum class fault {
  /// What was named is not there.
  missing,
  /// It is there and no content can be made of it, or it is none.
  unfit,
  /// The files changed while they were read.
  changed,
  /// The caller asked to stop.
  cancelled,
  /// The disk, or the store's share of it, is full.
  no_space,
  /// Somebody else has it, or its state does not allow this.
  busy,
  /// The operating system refused: permissions, a read-only or failing disk.
  io,
};

/// Why something failed: what to act on, and a sentence for people that names the place.
struct problem {
  fault kind = fault::io;
  std::string text;
};

/// A value, or the problem that kept it from coming about.
template <class T>
class [[nodiscard]] outcome {
public:
  outcome(T value) : content_(std::in_place_index<0>, std::move(value)) {}
  outcome(p2p::problem what) : content_(std::in_place_index<1>, std::move(what)) {}

  explicit operator bool() const { return content_.index() == 0; }
  T& operator*() {
    assert(*this);
    return *std::get_if<0>(&content_);
  }
  const T& operator*() const {
    assert(*this);
    return *std::get_if<0>(&content_);
  }
  T* operator->() { return &**this; }
  const T* operator->() const { return &**this; }
  /// @pre there is no value.
  const p2p::problem& problem() const {
    assert(!*this);
    return *std::get_if<1>(&content_);
  }

private:
  std::variant<T, p2p::problem> content_;
};

struct nothing {};

/// What comes of an action without a result.
using done = outcome<nothing>;

} // namespace astra::p2p
