#pragma once

#include "config/options.hpp"
#include "runtime/net/identity.hpp"

#include <caf/expected.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

// TLS 1.3 with certificates on both sides, on sockets that somebody else owns.  OpenSSL stays behind this header.

namespace astra {

/// What became of one step on a non-blocking socket.
enum class tls_step {
  done,
  want_read,
  want_write,
  /// The peer has closed the connection in an orderly way.
  closed,
  failed,
};

/// One TLS connection over a socket it does not own.  One thread at a time.
class tls_session {
public:
  virtual ~tls_session() = default;

  /// Drives the handshake until `done`; only then are read, write and peer allowed.
  virtual tls_step handshake() = 0;
  /// @param count bytes read; more than 0 exactly when `done`.
  virtual tls_step read(void* into, std::size_t size, std::size_t& count) = 0;
  virtual tls_step write(const void* from, std::size_t size, std::size_t& count) = 0;
  /// Tells the peer that nothing more comes, so that it can tell an end from a cut.  The socket must still be open.
  /// `closed`: told, or there was nobody to tell.
  virtual tls_step shut_down() { return tls_step::closed; }
  /// Bytes that are decrypted already and that no poll on the socket would tell of.
  virtual std::size_t pending() const = 0;
  /// Of the peer's certificate, which is verified against the cluster's authority and the list of revoked ones.
  virtual const peer_identity& peer() const = 0;
  /// Whether an earlier session was resumed.
  virtual bool resumed() const = 0;
  /// Hash of the peer's certificate, for logs and revocation: SHA-256 in hexadecimal.
  virtual const std::string& fingerprint() const = 0;
  /// Seconds of the system clock at which the certificates of this session end: the peer's and the one that was shown
  /// to it.  0: none was shown.
  virtual std::int64_t peer_expires_at() const = 0;
  virtual std::int64_t own_expires_at() const = 0;
  /// Why the last step failed, in words for an operator.
  virtual const std::string& error() const = 0;
};

/// The certificates of one process.  Safe for use from several threads.
class tls_context {
public:
  virtual ~tls_context() = default;

  /// Reads all files and checks that they fit together.  Fails with invalid_argument, naming file and cure: a file
  /// that cannot be read, a key that is not the certificate's, an expired certificate, one of another authority, one
  /// without an identity.
  static caf::expected<std::shared_ptr<tls_context>> load(const tls_options& files);

  /// Has no certificate and only connects; trusts who shows a chain to the authority with this fingerprint (SHA-256 in
  /// hexadecimal).  For a machine that is about to get its first certificate.
  static std::shared_ptr<tls_context> pin(const std::string& authority_fingerprint);

  /// Has no certificate and only connects, with TLS 1.2 or 1.3; trusts whom an authority of this machine's (OpenSSL's
  /// directory, or SSL_CERT_FILE) has certified for the host that is dialled.  Such peers have no identity.
  static std::shared_ptr<tls_context> web();

  /// Reads the files again; sessions that exist stay as they are.  On failure the old ones stay in use.
  virtual caf::expected<void> reload() = 0;

  virtual std::unique_ptr<tls_session> accept(int fd) = 0;
  /// The same for a server that has something to say to clients without a certificate: theirs is verified if they show
  /// one; else peer() has no role and fingerprint() is empty.  Shows the authority's certificate too.
  virtual std::unique_ptr<tls_session> accept_anyone(int fd) { return accept(fd); }
  /// @param target key under which an earlier session is resumed: the address that was dialled.
  virtual std::unique_ptr<tls_session> connect(int fd, const std::string& target) = 0;

  /// Of this process's own certificate.
  virtual peer_identity own() const = 0;
  /// Seconds of the system clock at which the certificate ends.
  virtual std::int64_t expires_at() const = 0;
  /// Whether the certificate with this fingerprint has been taken back, by the list read last.  Known of the peers of
  /// sessions that still exist: after a reload, ask for each of them and close those.
  virtual bool revoked(const std::string& fingerprint) const = 0;
};

} // namespace astra
