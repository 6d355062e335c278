#include "runtime/security/x509.hpp"

#include "messages/errc.hpp"
#include "messages/type_ids.hpp"

#include <caf/error.hpp>
#include <fcntl.h>
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cassert>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <ctime>

namespace astra::x509 {
namespace {

constexpr std::size_t file_size_max = 1024 * 1024;
constexpr std::size_t shown_name_max = 64;

struct bio_deleter {
  void operator()(BIO* x) const { BIO_free(x); }
};
using bio = std::unique_ptr<BIO, bio_deleter>;

bio reading(std::string_view text) {
  return bio{BIO_new_mem_buf(text.data(), static_cast<int>(text.size()))};
}

template <class Write>
std::string written(Write write) {
  bio out{BIO_new(BIO_s_mem())};
  auto good = write(out.get()) == 1;
  assert(good); // memory alone
  char* data = nullptr;
  auto size = BIO_get_mem_data(out.get(), &data);
  return {data, static_cast<std::size_t>(size)};
}

/// Never ask on the terminal for a passphrase.
int no_passphrase(char*, int, int, void*) {
  return -1;
}

/// What a PEM reader left in the queue is no error of the next call.
template <class T>
T quietly(T value) {
  ERR_clear_error();
  return value;
}

std::string common_name(const X509_NAME* name) {
  if (name == nullptr)
    return "?";
  auto place = X509_NAME_get_index_by_NID(name, NID_commonName, -1);
  if (place < 0)
    return "?";
  auto* text = X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, place));
  std::string out;
  for (auto i = 0; i < ASN1_STRING_length(text) && out.size() < shown_name_max; ++i) {
    auto c = static_cast<char>(ASN1_STRING_get0_data(text)[i]);
    out += c >= ' ' && c < '\x7f' && c != '\'' ? c : '?';
  }
  return out;
}

std::int64_t seconds(const ASN1_TIME* time) {
  std::tm parts{};
  if (time == nullptr || ASN1_TIME_to_tm(time, &parts) != 1)
    return 0;
  return static_cast<std::int64_t>(::timegm(&parts));
}

} // namespace

std::string take_reason() {
  auto code = ERR_get_error();
  ERR_clear_error();
  if (code == 0)
    return {};
  const char* reason = ERR_reason_error_string(code);
  return reason != nullptr ? reason : fmt::format("OpenSSL error {:x}", code);
}

caf::expected<std::string> read_pem_file(const std::string& path) {
  auto fail = [&](std::string_view why) {
    return caf::make_error(errc::invalid_argument, fmt::format("{}: cannot be read: {}", path, why));
  };
  auto fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0)
    return fail(std::strerror(errno));
  std::string text;
  std::array<char, 16 * 1024> block;
  ssize_t count = 0;
  while (text.size() <= file_size_max && (count = ::read(fd, block.data(), block.size())) > 0)
    text.append(block.data(), static_cast<std::size_t>(count));
  auto reason = count < 0 ? errno : 0;
  ::close(fd);
  if (reason != 0)
    return fail(std::strerror(reason));
  if (text.size() > file_size_max)
    return fail("it is larger than 1 MiB");
  return text;
}

std::vector<certificate> read_certificates(std::string_view pem) {
  std::vector<certificate> result;
  auto in = reading(pem);
  while (auto* x = PEM_read_bio_X509(in.get(), nullptr, no_passphrase, nullptr))
    result.emplace_back(x);
  return quietly(std::move(result));
}

key read_key(std::string_view pem) {
  return quietly(key{PEM_read_bio_PrivateKey(reading(pem).get(), nullptr, no_passphrase, nullptr)});
}

crl read_crl(std::string_view pem) {
  return quietly(crl{PEM_read_bio_X509_CRL(reading(pem).get(), nullptr, no_passphrase, nullptr)});
}

request read_request(std::string_view pem) {
  return quietly(request{PEM_read_bio_X509_REQ(reading(pem).get(), nullptr, no_passphrase, nullptr)});
}

std::string to_pem(X509& x) {
  return written([&](BIO* out) { return PEM_write_bio_X509(out, &x); });
}

std::string to_pem(X509_CRL& x) {
  return written([&](BIO* out) { return PEM_write_bio_X509_CRL(out, &x); });
}

std::string to_pem(X509_REQ& x) {
  return written([&](BIO* out) { return PEM_write_bio_X509_REQ(out, &x); });
}

std::string to_pem(EVP_PKEY& x) {
  return written(
      [&](BIO* out) { return PEM_write_bio_PKCS8PrivateKey(out, &x, nullptr, nullptr, 0, nullptr, nullptr); });
}

key make_key() {
  key result{EVP_EC_gen("P-256")};
  assert(result);
  return result;
}

std::string fingerprint(X509& x) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> hash;
  unsigned int size = 0;
  auto good = X509_digest(&x, EVP_sha256(), hash.data(), &size) == 1;
  assert(good);
  std::string out;
  for (unsigned int i = 0; i < size; ++i)
    out += fmt::format("{:02x}", hash[i]);
  return out;
}

std::string serial(X509& x) {
  return to_hex(*X509_get0_serialNumber(&x));
}

std::string to_hex(const ASN1_INTEGER& serial) {
  std::string out;
  for (auto i = 0; i < ASN1_STRING_length(&serial); ++i)
    out += fmt::format("{:02x}", ASN1_STRING_get0_data(&serial)[i]);
  return out;
}

std::string subject(X509& x) {
  return common_name(X509_get_subject_name(&x));
}

std::string issuer(X509& x) {
  return common_name(X509_get_issuer_name(&x));
}

std::int64_t not_before(X509& x) {
  return seconds(X509_get0_notBefore(&x));
}

std::int64_t not_after(X509& x) {
  return seconds(X509_get0_notAfter(&x));
}

std::string show_time(std::int64_t unix_s) {
  return fmt::format("{:%Y-%m-%d %H:%M:%S} UTC", fmt::gmtime(static_cast<std::time_t>(unix_s)));
}

caf::expected<peer_identity> identity_of(X509& x) {
  struct names_deleter {
    void operator()(GENERAL_NAMES* names) const { GENERAL_NAMES_free(names); }
  };
  std::unique_ptr<GENERAL_NAMES, names_deleter> names{
      static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(&x, NID_subject_alt_name, nullptr, nullptr))};
  ERR_clear_error();
  std::string found;
  auto count = 0;
  for (auto i = 0; names && i < sk_GENERAL_NAME_num(names.get()); ++i) {
    auto* name = sk_GENERAL_NAME_value(names.get(), i);
    if (name->type != GEN_URI)
      continue;
    auto* uri = name->d.uniformResourceIdentifier;
    std::string_view text{reinterpret_cast<const char*>(ASN1_STRING_get0_data(uri)),
                          static_cast<std::size_t>(ASN1_STRING_length(uri))};
    if (!text.starts_with("astra:"))
      continue;
    found = text;
    ++count;
  }
  if (count == 0)
    return caf::make_error(
        errc::invalid_argument,
        fmt::format("the certificate of '{}' says no role; make it with astra ca issue", subject(x)));
  if (count > 1)
    return caf::make_error(
        errc::invalid_argument,
        fmt::format("the certificate of '{}' holds {} identities; make it with astra ca issue", subject(x), count));
  return parse_identity(found);
}

} // namespace astra::x509
