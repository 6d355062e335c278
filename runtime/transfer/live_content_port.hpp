#pragma once

#include "config/options.hpp"
#include "runtime/transfer/content_port.hpp"

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

namespace astra {

struct live_content_options {
  std::filesystem::path directory;
  /// 0: as many as the disk holds.
  std::uint64_t bytes_max = 0;
  /// An address of this machine in digits, and a port; 0: any.
  std::string listen_address = "0.0.0.0";
  std::uint16_t listen_port = 0;
  /// As content_port has it.
  std::string public_address;
  std::string reading_url;
  /// Meets others through NATs.
  bool nat = true;
  /// When enabled contents go over TLS alone, between nodes of `cluster`.
  tls_options tls;
  std::string cluster;
};

/// A store on the disk, worked on by a thread of its own, and libtorrent.
std::shared_ptr<content_port> make_live_content_port(live_content_options options);

} // namespace astra
