#include "runtime/net/hello.hpp"

#include "messages/type_ids.hpp"

#include <caf/init_global_meta_objects.hpp>
#include <google/protobuf/stubs/logging.h>

#include <cstdint>
#include <cstdlib>
#include <span>
#include <string>
#include <variant>

// What a stranger may send first: a frame's header and its body.  What is understood is said again in the same way.

using namespace astra;

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  // What is wrong is said in errors, which hold messages.
  caf::init_global_meta_objects<caf::id_block::astra_wire>();
  caf::core::init_global_meta_objects();
  google::protobuf::SetLogHandler(nullptr);
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::span<const char> bytes{reinterpret_cast<const char*>(data), size};
  if (bytes.size() < hello_header)
    return 0;
  // Most inputs would end at the header: the body is looked at in any case.
  if (auto announced = hello_body_size(bytes.first(hello_header)); announced && *announced > max_hello)
    std::abort();
  auto frame = decode_hello(bytes.subspan(hello_header));
  if (!frame || !std::holds_alternative<hello>(*frame))
    return 0;
  auto& heard = std::get<hello>(*frame);
  auto said = encode(*frame);
  auto again = decode_hello(std::span<const char>{said}.subspan(hello_header));
  if (!again || std::get<hello>(*again).self != heard.self || caf_node(heard) != caf_node(std::get<hello>(*again)))
    std::abort();
  return 0;
}
