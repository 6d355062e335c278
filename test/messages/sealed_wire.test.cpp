#include "messages/type_ids.hpp"

#include <caf/binary_deserializer.hpp>
#include <caf/binary_serializer.hpp>
#include <caf/byte_buffer.hpp>
#include <doctest/doctest.h>

#include <utility>

using namespace astra;

namespace {

caf::byte_buffer bytes_of(const view_delta& message) {
  caf::byte_buffer result;
  caf::binary_serializer sink{nullptr, result};
  REQUIRE(sink.apply(message));
  return result;
}

} // namespace

TEST_CASE("a sealed message has the bytes of an unsealed one, and a change of its body undoes the seal") {
  view_delta message;
  message->set_origin(7);
  auto plain = bytes_of(message);
  message.seal();
  CHECK(bytes_of(message) == plain);
  message->set_origin(8);
  auto changed = bytes_of(message);
  CHECK(changed != plain);
  view_delta received;
  received.seal();
  caf::binary_deserializer source{nullptr, changed};
  REQUIRE(source.apply(received));
  CHECK(std::as_const(received)->origin() == 8);
  CHECK(bytes_of(received) == changed);
}
