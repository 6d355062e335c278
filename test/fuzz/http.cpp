#include "config/load.hpp"
#include "messages/type_ids.hpp"
#include "runtime/gateway/routes.hpp"
#include "runtime/net/identity.hpp"
#include "runtime/security/ca.hpp"

#include <caf/init_global_meta_objects.hpp>
#include <google/protobuf/stubs/logging.h>
#include <google/protobuf/util/json_util.h>
#include <nlohmann/json.hpp>

#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

// What of an HTTP request is ours to read once Beast has it: the path, an app in JSON or TOML, the body of a join, the
// signing request in it, an identity.  The first byte chooses which.

using namespace astra;

namespace {

void check(bool good) {
  if (!good)
    std::abort();
}

void read_path(std::string_view text) {
  auto end = text.find(' ');
  auto method = text.substr(0, end);
  auto target = end == std::string_view::npos ? std::string_view{} : text.substr(end + 1);
  auto found = find_route(method, target);
  check(found.name.size() <= target.size());
  check(found.allow.empty() || found.what == gateway_route::wrong_method);
  // The query is nobody's business.
  check(find_route(method, std::string{target.substr(0, target.find_first_of("?#"))} + "?x=%").what == found.what);
}

void read_json(const std::string& text) {
  pb::AppSpec spec;
  if (google::protobuf::util::JsonStringToMessage(text, &spec).ok())
    validate(spec);
}

void read_toml(const std::string& text) {
  auto config = parse_app_config(text, "fuzz.toml");
  check(config.spec || !config.problems.empty());
}

void read_join(const std::string& text) {
  auto body = nlohmann::json::parse(text, nullptr, false);
  if (body.is_object() && body.contains("csr") && body["csr"].is_string())
    request_problem(body["csr"].get<std::string>());
}

void read_identity(std::string_view text) {
  auto identity = parse_identity(text);
  if (!identity)
    return;
  check(identity_problem(*identity).empty());
  auto again = parse_identity(to_uri(*identity));
  check(again && *again == *identity);
}

} // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  caf::init_global_meta_objects<caf::id_block::astra_wire>();
  caf::core::init_global_meta_objects();
  google::protobuf::SetLogHandler(nullptr);
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0)
    return 0;
  std::string text{reinterpret_cast<const char*>(data) + 1, size - 1};
  switch (data[0] % 6) {
  case 0:
    read_path(text);
    break;
  case 1:
    read_json(text);
    break;
  case 2:
    read_toml(text);
    break;
  case 3:
    read_join(text);
    break;
  case 4:
    request_problem(text);
    break;
  default:
    read_identity(text);
  }
  return 0;
}
