#pragma once

#include <memory>
#include <string>
#include <utility>

namespace google::protobuf {
class MessageLite;
} // namespace google::protobuf

namespace astra {

/// Bytes of a Protobuf message, the same in every process for equal contents.
std::string encode(const google::protobuf::MessageLite& body);

/// @returns false, with `body` cleared, when the bytes are not a message of this type.
bool decode(google::protobuf::MessageLite& body, const std::string& bytes);

/// A message that crosses processes: a CAF type whose content is a Protobuf message.  On the wire it is one opaque
/// string, so CAF's generic decoder never meets its fields, and the next version can add some.
/// Within a process it travels unserialised, like any CAF message.
template <class Body>
class wire {
public:
  using body_type = Body;

  wire() = default;
  wire(Body body) : body_(std::move(body)) {} // NOLINT: a body is a message

  const Body& operator*() const { return body_; }
  Body& operator*() {
    sealed_.reset();
    return body_;
  }
  const Body* operator->() const { return &body_; }
  Body* operator->() {
    sealed_.reset();
    return &body_;
  }

  /// Encodes the body now, once, for a message that goes to many processes.  A later change of the body undoes it.
  void seal() { sealed_ = std::make_shared<const std::string>(encode(body_)); }

  template <class Inspector>
  friend bool inspect(Inspector& f, wire& x) {
    auto get = [&x] { return x.sealed_ ? *x.sealed_ : encode(x.body_); };
    auto set = [&x](std::string bytes) {
      x.sealed_.reset();
      return decode(x.body_, bytes);
    };
    return f.object(x).fields(f.field("body", get, set));
  }

private:
  Body body_;
  std::shared_ptr<const std::string> sealed_;
};

} // namespace astra
