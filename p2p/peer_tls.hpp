#pragma once

#include "p2p/outcome.hpp"

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

// Contents between members alone: TLS 1.3 with certificates on both sides.

/// OpenSSL's SSL_CTX.
struct ssl_ctx_st;

namespace astra::p2p {

/// PEM files.
struct tls_files {
  /// The authorities: who has no certificate of theirs is a stranger.
  std::filesystem::path ca;
  /// This node's own, with its chain if there is one, and the key for it.
  std::filesystem::path certificate;
  std::filesystem::path key;
  /// Certificates that the authority has taken back; empty: none.
  std::filesystem::path revoked;
  /// Whether the holder of a good certificate with these URIs among its alternative names takes part; empty: all do.
  /// Called from the thread of the handshake.
  std::function<bool(const std::vector<std::string>& uris)> is_member;
};

/// Who this node is to its peers, and whom it trusts.  Safe for use from several threads.
class peer_tls {
public:
  /// Fails with fault::missing, fault::io or fault::unfit, naming the file and the cure.
  static outcome<std::shared_ptr<peer_tls>> load(tls_files files);

  virtual ~peer_tls() = default;

  /// Reads the files again if one of them changed; handshakes after that use them.  Those that do not fit together
  /// change nothing.
  virtual done refresh() = 0;

  /// Makes every handshake from the context on as said here, whatever it would have had verified.  The context uses
  /// this as long as it is there.
  virtual void secure(ssl_ctx_st& context) = 0;
};

} // namespace astra::p2p
