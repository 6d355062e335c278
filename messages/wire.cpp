#include "messages/wire.hpp"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <google/protobuf/message_lite.h>

#include <cassert>
#include <limits>

namespace astra {

std::string encode(const google::protobuf::MessageLite& body) {
  std::string bytes;
  google::protobuf::io::StringOutputStream stream{&bytes};
  google::protobuf::io::CodedOutputStream output{&stream};
  // Our schemas have no map<> field; this keeps the bytes equal should one slip in.
  output.SetSerializationDeterministic(true);
  [[maybe_unused]] auto complete = body.SerializeToCodedStream(&output);
  assert(complete);
  output.Trim();
  return bytes;
}

bool decode(google::protobuf::MessageLite& body, const std::string& bytes) {
  if (bytes.size() <= static_cast<std::size_t>(std::numeric_limits<int>::max()) && body.ParseFromString(bytes))
    return true;
  body.Clear();
  return false;
}

} // namespace astra
