#pragma once

#include <string>

namespace astra::p2p {

/// Version of the libtorrent library that is linked, such as "2.0.8".
std::string library_version();

} // namespace astra::p2p
