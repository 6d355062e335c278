#pragma once

#include "runtime/net/identity.hpp"

#include <caf/expected.hpp>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

// The certificate authority of a cluster: a directory of files.
//
//   ca.key       its key, mode 0600: who has it is the cluster
//   ca.pem       its certificate, for everybody
//   revoked.pem  the certificates it has taken back (a CRL), for everybody
//   index        one line of JSON for each certificate issued or revoked and each token used; only ever appended to
//
// Commands and a gateway may use one directory at the same time: whatever changes it holds its lock.  All times are
// seconds of the system clock.

namespace astra {

/// A certificate that was issued.
struct issued_certificate {
  std::string serial;
  peer_identity identity;
  /// SHA-256 in hexadecimal.
  std::string fingerprint;
  std::int64_t issued_at = 0;
  std::int64_t expires_at = 0;
  /// Unset: it was not taken back.
  std::optional<std::int64_t> revoked_at;
  /// How it came about: "issue", "join" or "renew".
  std::string origin;
  /// As in certificate_wish.
  std::vector<std::string> hosts;
};

/// What a new certificate is to say.
struct certificate_wish {
  std::string name;
  peer_roles roles;
  std::vector<std::string> apps;
  /// What an aggregator speaks for.
  std::vector<std::string> nodes;
  /// DNS names and addresses under which its holder is reached, for clients such as curl that check them.
  std::vector<std::string> hosts;
  std::chrono::seconds lifetime{std::chrono::hours{24}};
};

/// A certificate with the key that was made for it.
struct key_and_certificate {
  std::string key_pem;
  std::string certificate_pem;
  issued_certificate entry;
};

/// What a join token says.  Its holder may have one certificate of this kind.
struct join_token {
  std::string cluster;
  std::string name;
  peer_roles roles;
  std::vector<std::string> apps;
  /// What an aggregator speaks for.
  std::vector<std::string> nodes;
  std::int64_t expires_at = 0;
  std::string nonce;
  /// Of the authority, SHA-256 in hexadecimal: how the joiner knows the right gateway.
  std::string authority;
};

/// Reads a token without checking its signature: what its holder may do before it knows the authority.  Fails with
/// invalid_argument.
caf::expected<join_token> read_join_token(std::string_view text);

class certificate_authority {
public:
  /// Makes the directory and the files.  Fails with conflict when there is an authority already.
  static caf::expected<certificate_authority> init(const std::filesystem::path& directory, const std::string& cluster,
                                                   std::int64_t now);
  /// Fails with unknown_name when there is none, with invalid_argument when its files do not fit together.
  static caf::expected<certificate_authority> open(const std::filesystem::path& directory);

  const std::string& cluster() const { return cluster_; }
  const std::string& certificate_pem() const { return certificate_pem_; }
  const std::string& fingerprint() const { return fingerprint_; }
  std::int64_t expires_at() const { return expires_at_; }

  /// Makes a key and a certificate for it.  Fails with invalid_argument.
  caf::expected<key_and_certificate> issue(const certificate_wish& wish, std::int64_t now, std::string_view origin);

  /// A certificate for the key of a signing request (PEM); all else that the request says is ignored.  Fails with
  /// invalid_argument: it is none, its signature is bad, or its key is too weak.
  caf::expected<key_and_certificate> sign(std::string_view request_pem, const certificate_wish& wish, std::int64_t now,
                                          std::string_view origin);

  /// Takes a certificate back, by its serial number or fingerprint, and writes revoked.pem.  Fails with unknown_name
  /// when it was not issued here, with conflict when it was taken back before.
  caf::expected<issued_certificate> revoke(const std::string& serial_or_fingerprint, std::int64_t now);

  /// In the order in which they were issued.
  caf::expected<std::vector<issued_certificate>> list() const;

  /// Fails with invalid_argument.
  caf::expected<std::string> make_token(const certificate_wish& wish, std::chrono::seconds lifetime, std::int64_t now);

  /// Checks a token and marks it as used.  Fails with invalid_argument (not a token, of another authority, expired)
  /// and with conflict (used before).
  caf::expected<join_token> spend_token(std::string_view text, std::int64_t now);

private:
  certificate_authority() = default;

  std::filesystem::path directory_;
  std::string cluster_;
  std::string certificate_pem_;
  std::string key_pem_;
  std::string fingerprint_;
  std::int64_t expires_at_ = 0;
};

/// Whether a certificate of these roles is that of a process, and not of a person.
bool is_of_process(peer_roles roles);

/// How long a certificate of these roles is good when nobody says: a day for processes, which renew it themselves, and
/// 90 days for people.
std::chrono::seconds default_lifetime(peer_roles roles);

/// A new key and a request to sign its public half.
struct key_and_request {
  std::string key_pem;
  std::string request_pem;
};
key_and_request make_request(const std::string& name);

/// What a certificate's file says, whoever has issued it.
struct certificate_facts {
  std::string subject;
  std::string issuer;
  std::string serial;
  std::string fingerprint;
  std::int64_t valid_from = 0;
  std::int64_t expires_at = 0;
  bool authority = false;
  /// Empty for an authority's.
  std::string identity;
};
/// Of the first certificate in a file.  Fails with io_failed or invalid_argument.
caf::expected<certificate_facts> read_facts(const std::string& path);

/// Why a signing request (PEM) is none that the authority would sign; empty: it is one.
std::string request_problem(std::string_view request_pem);

/// SHA-256 in hexadecimal of the first certificate of a PEM text; empty: there is none.
std::string fingerprint_of_pem(std::string_view pem);

/// Replaces a file as a whole: a reader sees the old one or the new one.  Fails with io_failed.
caf::expected<void> write_file_atomically(const std::filesystem::path& path, std::string_view content, bool secret);

} // namespace astra
