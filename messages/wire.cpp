#include "messages/wire.hpp"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <google/protobuf/message_lite.h>

#include <cassert>
#include <limits>

namespace astra {

std::string encode(const google::protobuf::MessageLite& body) {
  assert(body.IsInitialized());
  auto size = body.ByteSizeLong();
  assert(size <= static_cast<std::size_t>(std::numeric_limits<int>::max()));
  std::string bytes(size, '\0');
  google::protobuf::io::ArrayOutputStream stream{bytes.data(), static_cast<int>(size)};
  google::protobuf::io::CodedOutputStream output{&stream};
  // Our schemas have no map<> field; this keeps the bytes equal should one slip in.
  output.SetSerializationDeterministic(true);
  body.SerializeWithCachedSizes(&output);
  output.Trim();
  assert(!output.HadError());
  return bytes;
}

bool decode(google::protobuf::MessageLite& body, const std::string& bytes) {
  if (bytes.size() <= static_cast<std::size_t>(std::numeric_limits<int>::max()) && body.ParseFromString(bytes))
    return true;
  body.Clear();
  return false;
}

} // namespace astra
