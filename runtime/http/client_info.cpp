#include "runtime/http/client_info.hpp"

namespace astra {
namespace {

constexpr const char* door_key = ":door";
constexpr const char* from_key = ":from";
constexpr const char* identity_key = ":identity";
constexpr const char* fingerprint_key = ":fingerprint";

} // namespace

void put_client_info(http_headers& headers, const http_client_info& info) {
  auto door = info.door == http_door::plain         ? "plain"
              : info.door == http_door::tls         ? "tls"
              : info.door == http_door::unix_socket ? "unix"
                                                    : "none";
  headers.emplace_back(door_key, door);
  headers.emplace_back(from_key, info.from);
  if (info.identity) {
    headers.emplace_back(identity_key, to_uri(*info.identity));
    headers.emplace_back(fingerprint_key, info.fingerprint);
  }
}

http_client_info client_info_of(const http_request& request) {
  http_client_info info;
  auto door = request.header(door_key);
  if (door == "plain")
    info.door = http_door::plain;
  else if (door == "tls")
    info.door = http_door::tls;
  else if (door == "unix")
    info.door = http_door::unix_socket;
  info.from = request.header(from_key);
  if (auto uri = request.header(identity_key); !uri.empty())
    if (auto identity = parse_identity(uri))
      info.identity = std::move(*identity);
  info.fingerprint = request.header(fingerprint_key);
  return info;
}

} // namespace astra
