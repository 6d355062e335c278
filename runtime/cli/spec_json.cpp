#include "runtime/cli/spec_json.hpp"

#include "messages/wire/app.pb.h"

#include <google/protobuf/util/json_util.h>
#include <nlohmann/json.hpp>

#include <cassert>
#include <string>

namespace astra {

nlohmann::ordered_json spec_to_json(const pb::AppSpec& spec) {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  options.always_print_primitive_fields = true;
  std::string text;
  auto status = google::protobuf::util::MessageToJsonString(spec, &text, options);
  assert(status.ok());
  return nlohmann::ordered_json::parse(text);
}

bool spec_from_json(const nlohmann::ordered_json& value, pb::AppSpec& spec) {
  google::protobuf::util::JsonParseOptions options;
  options.ignore_unknown_fields = true;
  auto text = value.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
  if (google::protobuf::util::JsonStringToMessage(text, &spec, options).ok())
    return true;
  spec.Clear();
  return false;
}

} // namespace astra
