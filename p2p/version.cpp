#include "p2p/version.hpp"

#include <libtorrent/version.hpp>

namespace astra::p2p {

std::string library_version() {
  return libtorrent::version();
}

} // namespace astra::p2p
