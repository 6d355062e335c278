#pragma once

#include <string>

namespace astra {

/// "astra 0.1.0 (CAF 0.18.7, libtorrent 2.0.8, Protobuf 3.21.12)".
std::string version_line();

} // namespace astra
