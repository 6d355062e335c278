#include "p2p/peer_tls.hpp"

#include "p2p/file_io.hpp"

#include <fmt/format.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <array>
#include <mutex>
#include <sys/stat.h>
#include <tuple>
#include <utility>

namespace astra::p2p {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t pem_bytes_max = 1U << 20U;
constexpr int chain_length_max = 4;

struct deleter {
  void operator()(BIO* x) const { BIO_free(x); }
  void operator()(X509* x) const { X509_free(x); }
  void operator()(X509_CRL* x) const { X509_CRL_free(x); }
  void operator()(X509_STORE* x) const { X509_STORE_free(x); }
  void operator()(X509_STORE_CTX* x) const { X509_STORE_CTX_free(x); }
  void operator()(EVP_PKEY* x) const { EVP_PKEY_free(x); }
  void operator()(GENERAL_NAMES* x) const { GENERAL_NAMES_free(x); }
  void operator()(STACK_OF(X509) * x) const { sk_X509_pop_free(x, X509_free); }
};

template <class T>
using owned = std::unique_ptr<T, deleter>;

/// What one reading of the files brought.
struct credentials {
  owned<X509_STORE> trusted{X509_STORE_new()};
  owned<X509> certificate;
  owned<STACK_OF(X509)> chain{sk_X509_new_null()};
  owned<EVP_PKEY> key;
};

problem unfit(const fs::path& path, std::string_view why) {
  ERR_clear_error();
  return {fault::unfit, fmt::format("{} {}: contents go over TLS with the files of [tls]", path.string(), why)};
}

/// No passphrase is asked for at a terminal.
int no_passphrase(char*, int, int, void*) {
  return 0;
}

outcome<owned<BIO>> open_pem(const fs::path& path) {
  auto bytes = read_file(path, pem_bytes_max);
  if (!bytes)
    return problem{
        bytes.problem().kind,
        fmt::format("{}: contents go over TLS with the files of [tls]; name a PEM file that this process may "
                    "read (astra ca issue makes them)",
                    bytes.problem().text)};
  owned<BIO> result{BIO_new(BIO_s_mem())};
  BIO_write(result.get(), bytes->data(), static_cast<int>(bytes->size()));
  return result;
}

/// At least one.
outcome<owned<STACK_OF(X509)>> read_certificates(const fs::path& path) {
  auto pem = open_pem(path);
  if (!pem)
    return pem.problem();
  owned<STACK_OF(X509)> result{sk_X509_new_null()};
  while (auto* next = PEM_read_bio_X509(pem->get(), nullptr, no_passphrase, nullptr))
    sk_X509_push(result.get(), next);
  ERR_clear_error();
  if (sk_X509_num(result.get()) == 0)
    return unfit(path, "holds no certificate");
  return result;
}

outcome<std::shared_ptr<const credentials>> read(const tls_files& files) {
  auto result = std::make_shared<credentials>();
  auto authorities = read_certificates(files.ca);
  if (!authorities)
    return authorities.problem();
  for (auto i = 0; i < sk_X509_num(authorities->get()); ++i)
    X509_STORE_add_cert(result->trusted.get(), sk_X509_value(authorities->get(), i));
  auto own = read_certificates(files.certificate);
  if (!own)
    return own.problem();
  result->certificate.reset(sk_X509_shift(own->get()));
  result->chain = std::move(*own);
  auto key = open_pem(files.key);
  if (!key)
    return key.problem();
  result->key.reset(PEM_read_bio_PrivateKey(key->get(), nullptr, no_passphrase, nullptr));
  if (!result->key)
    return unfit(files.key, "holds no key without a passphrase");
  if (X509_check_private_key(result->certificate.get(), result->key.get()) != 1)
    return unfit(files.key, fmt::format("is not the key of {}", files.certificate.string()));
  if (!files.revoked.empty()) {
    auto list = open_pem(files.revoked);
    if (!list)
      return list.problem();
    owned<X509_CRL> revoked{PEM_read_bio_X509_CRL(list->get(), nullptr, no_passphrase, nullptr)};
    if (!revoked)
      return unfit(files.revoked, "holds no list of revoked certificates");
    X509_STORE_add_crl(result->trusted.get(), revoked.get());
    X509_STORE_set_flags(result->trusted.get(), X509_V_FLAG_CRL_CHECK);
  }
  return std::shared_ptr<const credentials>{std::move(result)};
}

/// Of a file: another one, or written to, when it differs.
using file_version = std::tuple<ino_t, off_t, std::int64_t, std::int64_t>;

file_version version_of(const fs::path& path) {
  struct ::stat status {};
  if (path.empty() || ::stat(path.c_str(), &status) != 0)
    return {};
  return {status.st_ino, status.st_size, status.st_mtim.tv_sec, status.st_mtim.tv_nsec};
}

using versions = std::array<file_version, 4>;

versions versions_of(const tls_files& files) {
  return {version_of(files.ca), version_of(files.certificate), version_of(files.key), version_of(files.revoked)};
}

std::vector<std::string> uris_of(X509& x) {
  std::vector<std::string> result;
  owned<GENERAL_NAMES> names{static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(&x, NID_subject_alt_name, nullptr, nullptr))};
  for (auto i = 0; names && i < sk_GENERAL_NAME_num(names.get()); ++i)
    if (auto* name = sk_GENERAL_NAME_value(names.get(), i); name->type == GEN_URI) {
      auto* uri = name->d.uniformResourceIdentifier;
      result.emplace_back(reinterpret_cast<const char*>(ASN1_STRING_get0_data(uri)),
                          static_cast<std::size_t>(ASN1_STRING_length(uri)));
    }
  return result;
}

class peer_tls_impl final : public peer_tls {
public:
  peer_tls_impl(tls_files files, versions seen, std::shared_ptr<const credentials> first)
    : files_(std::move(files)), seen_(seen), current_(std::move(first)) {}

  done refresh() override {
    std::lock_guard guard{mutex_};
    // Before they are read: what changes meanwhile is read again.
    auto now = versions_of(files_);
    if (now == seen_)
      return nothing{};
    auto next = read(files_);
    if (!next)
      return next.problem();
    seen_ = now;
    current_ = std::move(*next);
    return nothing{};
  }

  void secure(SSL_CTX& context) override {
    SSL_CTX_set_min_proto_version(&context, TLS1_3_VERSION);
    SSL_CTX_set_ciphersuites(&context, "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256");
    SSL_CTX_set_verify_depth(&context, chain_length_max);
    SSL_CTX_set_cert_cb(&context, show_own, this);
    SSL_CTX_set_cert_verify_callback(&context, verify, this);
  }

private:
  std::shared_ptr<const credentials> current() const {
    std::lock_guard guard{mutex_};
    return current_;
  }

  static int show_own(SSL* ssl, void* self) {
    auto now = static_cast<peer_tls_impl*>(self)->current();
    return SSL_use_certificate(ssl, now->certificate.get()) == 1 && SSL_use_PrivateKey(ssl, now->key.get()) == 1
           && SSL_set1_chain(ssl, now->chain.get()) == 1;
  }

  /// Instead of OpenSSL's own with the context's authorities and callback.
  static int verify(X509_STORE_CTX* context, void* self) {
    auto code = static_cast<peer_tls_impl*>(self)->judge(*context);
    X509_STORE_CTX_set_error(context, code);
    return code == X509_V_OK;
  }

  /// @returns why a peer is refused, as OpenSSL numbers it.
  int judge(X509_STORE_CTX& context) const {
    auto* ssl = static_cast<SSL*>(X509_STORE_CTX_get_ex_data(&context, SSL_get_ex_data_X509_STORE_CTX_idx()));
    auto* leaf = X509_STORE_CTX_get0_cert(&context);
    // A server's least version may come from another context, which this one replaced in the handshake.
    if (!ssl || !leaf || SSL_version(ssl) < TLS1_3_VERSION)
      return X509_V_ERR_APPLICATION_VERIFICATION;
    auto now = current();
    owned<X509_STORE_CTX> own{X509_STORE_CTX_new()};
    if (X509_STORE_CTX_init(own.get(), now->trusted.get(), leaf, X509_STORE_CTX_get0_untrusted(&context)) != 1
        || X509_STORE_CTX_set_default(own.get(), SSL_is_server(ssl) ? "ssl_client" : "ssl_server") != 1)
      return X509_V_ERR_OUT_OF_MEM;
    X509_STORE_CTX_set_depth(own.get(), chain_length_max);
    if (X509_verify_cert(own.get()) != 1) {
      auto code = X509_STORE_CTX_get_error(own.get());
      return code != X509_V_OK ? code : X509_V_ERR_UNSPECIFIED;
    }
    return !files_.is_member || files_.is_member(uris_of(*leaf)) ? X509_V_OK : X509_V_ERR_APPLICATION_VERIFICATION;
  }

  const tls_files files_;
  mutable std::mutex mutex_;
  versions seen_;
  std::shared_ptr<const credentials> current_;
};

} // namespace

outcome<std::shared_ptr<peer_tls>> peer_tls::load(tls_files files) {
  auto seen = versions_of(files);
  auto first = read(files);
  if (!first)
    return first.problem();
  return std::shared_ptr<peer_tls>{std::make_shared<peer_tls_impl>(std::move(files), seen, std::move(*first))};
}

} // namespace astra::p2p
