#pragma once

#include "p2p/peer_tls.hpp"
#include "test/p2p/files.hpp"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <cstdio>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

// An authority and certificates like those of a cluster, for tests of p2p.

namespace astra::p2p {

class test_authority {
public:
  explicit test_authority(const std::filesystem::path& directory) : directory_(directory) {
    std::filesystem::create_directories(directory_);
    certificate_ = make("authority", *key_, "critical,CA:TRUE,pathlen:0", "critical,keyCertSign,cRLSign", {});
    write(directory_ / "ca.pem", *certificate_);
  }

  /// Of one with a name of its own, and the role in a URI.
  tls_files issue(const std::string& name, const std::string& role = "node") { return issue(name, role, false); }

  /// The same, of one whose time is over.
  tls_files issue_expired(const std::string& name) {
    ends_in_s_ = -1800;
    auto result = issue(name);
    ends_in_s_ = 3600;
    return result;
  }

  /// The list with nobody but these on it.
  std::filesystem::path revoke(const std::vector<tls_files>& all) {
    std::unique_ptr<X509_CRL, deleter> list{X509_CRL_new()};
    X509_CRL_set_version(list.get(), X509_CRL_VERSION_2);
    X509_CRL_set_issuer_name(list.get(), X509_get_subject_name(certificate_.get()));
    std::unique_ptr<ASN1_TIME, deleter> time{X509_gmtime_adj(nullptr, -60)};
    X509_CRL_set1_lastUpdate(list.get(), time.get());
    for (auto& files : all) {
      auto* in = std::fopen(files.certificate.c_str(), "r");
      certificate x{PEM_read_X509(in, nullptr, nullptr, nullptr)};
      std::fclose(in);
      auto* entry = X509_REVOKED_new();
      X509_REVOKED_set_serialNumber(entry, X509_get_serialNumber(x.get()));
      X509_REVOKED_set_revocationDate(entry, time.get());
      X509_CRL_add0_revoked(list.get(), entry);
    }
    X509_gmtime_adj(time.get(), 3600);
    X509_CRL_set1_nextUpdate(list.get(), time.get());
    X509_CRL_sign(list.get(), key_.get(), EVP_sha256());
    auto path = directory_ / "revoked.pem";
    auto* out = std::fopen(path.c_str(), "w");
    PEM_write_X509_CRL(out, list.get());
    std::fclose(out);
    return path;
  }

  /// The same, signed by its own key.
  tls_files issue_self_signed(const std::string& name) { return issue(name, "node", true); }

private:
  struct deleter {
    void operator()(X509* x) const { X509_free(x); }
    void operator()(X509_CRL* x) const { X509_CRL_free(x); }
    void operator()(ASN1_TIME* x) const { ASN1_TIME_free(x); }
    void operator()(EVP_PKEY* x) const { EVP_PKEY_free(x); }
  };
  using certificate = std::unique_ptr<X509, deleter>;
  using private_key = std::unique_ptr<EVP_PKEY, deleter>;

  tls_files issue(const std::string& name, const std::string& role, bool self_signed) {
    private_key key{EVP_EC_gen("P-256")};
    auto made = make(name, *key, "critical,CA:FALSE", "critical,digitalSignature",
                     "URI:astra://prod/" + name + "?role=" + role, self_signed);
    tls_files files;
    files.ca = directory_ / "ca.pem";
    files.certificate = directory_ / (name + ".pem");
    files.key = directory_ / (name + ".key");
    write(files.certificate, *made);
    auto* out = std::fopen(files.key.c_str(), "w");
    PEM_write_PrivateKey(out, key.get(), nullptr, nullptr, 0, nullptr, nullptr);
    std::fclose(out);
    return files;
  }

  certificate make(const std::string& name, EVP_PKEY& key, const char* constraints, const char* usage,
                   const std::string& uri, bool self_signed = false) {
    certificate result{X509_new()};
    auto& x = *result;
    auto* issuer = certificate_ && !self_signed ? certificate_.get() : &x;
    X509_set_version(&x, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(&x), ++serial_);
    X509_gmtime_adj(X509_getm_notBefore(&x), -3600);
    X509_gmtime_adj(X509_getm_notAfter(&x), ends_in_s_);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(&x), "CN", MBSTRING_ASC,
                               reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1, 0);
    X509_set_issuer_name(&x, X509_get_subject_name(issuer));
    X509_set_pubkey(&x, &key);
    extend(x, *issuer, NID_basic_constraints, constraints);
    extend(x, *issuer, NID_key_usage, usage);
    if (!uri.empty()) {
      extend(x, *issuer, NID_ext_key_usage, "serverAuth,clientAuth");
      extend(x, *issuer, NID_subject_alt_name, uri.c_str());
    }
    if (X509_sign(&x, issuer == &x ? &key : key_.get(), EVP_sha256()) == 0)
      throw std::runtime_error{"a test's certificate cannot be signed"};
    return result;
  }

  static void extend(X509& x, X509& issuer, int kind, const char* value) {
    X509V3_CTX context;
    X509V3_set_ctx(&context, &issuer, &x, nullptr, nullptr, 0);
    auto* extension = X509V3_EXT_conf_nid(nullptr, &context, kind, value);
    X509_add_ext(&x, extension, -1);
    X509_EXTENSION_free(extension);
  }

  static void write(const std::filesystem::path& path, X509& x) {
    auto* out = std::fopen(path.c_str(), "w");
    PEM_write_X509(out, &x);
    std::fclose(out);
  }

  std::filesystem::path directory_;
  private_key key_{EVP_EC_gen("P-256")};
  certificate certificate_;
  long serial_ = 0;
  long ends_in_s_ = 3600;
};

} // namespace astra::p2p
