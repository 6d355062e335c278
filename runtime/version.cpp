#include "runtime/version.hpp"

#include "p2p/version.hpp"

#include <caf/config.hpp>
#include <fmt/format.h>
#include <google/protobuf/stubs/common.h>

namespace astra {

std::string version_line() {
  return fmt::format("astra {} (CAF {}.{}.{}, libtorrent {}, Protobuf {})", ASTRA_VERSION, CAF_MAJOR_VERSION,
                     CAF_MINOR_VERSION, CAF_PATCH_VERSION, p2p::library_version(),
                     google::protobuf::internal::VersionString(GOOGLE_PROTOBUF_VERSION));
}

} // namespace astra
