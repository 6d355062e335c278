#pragma once

#include "runtime/net/identity.hpp"

#include <caf/expected.hpp>
#include <openssl/evp.h>
#include <openssl/x509.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

// Certificates, keys and lists of revoked certificates as values, for the two that work with them: TLS and the
// authority.

namespace astra::x509 {

struct deleter {
  void operator()(X509* x) const { X509_free(x); }
  void operator()(X509_CRL* x) const { X509_CRL_free(x); }
  void operator()(X509_REQ* x) const { X509_REQ_free(x); }
  void operator()(X509_STORE* x) const { X509_STORE_free(x); }
  void operator()(X509_STORE_CTX* x) const { X509_STORE_CTX_free(x); }
  void operator()(EVP_PKEY* x) const { EVP_PKEY_free(x); }
};

using certificate = std::unique_ptr<X509, deleter>;
using crl = std::unique_ptr<X509_CRL, deleter>;
using request = std::unique_ptr<X509_REQ, deleter>;
using store = std::unique_ptr<X509_STORE, deleter>;
using store_context = std::unique_ptr<X509_STORE_CTX, deleter>;
using key = std::unique_ptr<EVP_PKEY, deleter>;

/// The oldest reason in OpenSSL's queue, which is emptied; "" when there is none.
std::string take_reason();

/// A file of at most 1 MiB.  Fails with invalid_argument: "PATH: cannot be read: REASON".
caf::expected<std::string> read_pem_file(const std::string& path);

/// Every certificate of a PEM text; other blocks are passed over.
std::vector<certificate> read_certificates(std::string_view pem);
/// A key without a passphrase; null: there is none.
key read_key(std::string_view pem);
crl read_crl(std::string_view pem);
request read_request(std::string_view pem);

std::string to_pem(X509& x);
std::string to_pem(X509_CRL& x);
std::string to_pem(X509_REQ& x);
/// PKCS#8, not encrypted.
std::string to_pem(EVP_PKEY& x);

/// A key on the curve P-256.
key make_key();

/// SHA-256 of the whole certificate, in hexadecimal.
std::string fingerprint(X509& x);

/// In hexadecimal.
std::string serial(X509& x);
std::string to_hex(const ASN1_INTEGER& serial);

/// Common name of subject and issuer, made printable: it may come from anybody.
std::string subject(X509& x);
std::string issuer(X509& x);

/// Seconds of the system clock.
std::int64_t not_before(X509& x);
std::int64_t not_after(X509& x);

/// "2026-11-26 15:43:35 UTC".
std::string show_time(std::int64_t unix_s);

/// From the one astra:// URI among the alternative names.  Fails with invalid_argument: there is none, or several, or
/// one that is no identity.
caf::expected<peer_identity> identity_of(X509& x);

} // namespace astra::x509
