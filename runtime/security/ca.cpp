#include "runtime/security/ca.hpp"

#include "config/naming.hpp"
#include "messages/errc.hpp"
#include "messages/type_ids.hpp"
#include "runtime/process/unique_fd.hpp"
#include "runtime/security/x509.hpp"

#include <caf/error.hpp>
#include <fcntl.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <set>
#include <utility>

namespace astra {
namespace {

using json = nlohmann::ordered_json;
using std::chrono::hours;
using std::chrono::seconds;

constexpr seconds authority_lifetime = hours{24 * 3653}; // ten years
constexpr seconds shortest_lifetime{60};
constexpr seconds longest_lifetime = hours{24 * 397}; // more than a year, less than anybody forgets it for
constexpr seconds longest_token_lifetime = hours{24 * 7};
/// Clocks of machines differ: a certificate is good from this long before it was made.
constexpr seconds clock_skew{300};
constexpr std::size_t hosts_max = 16;
constexpr std::size_t request_max_bytes = 16 * 1024;
constexpr std::size_t token_max_bytes = 8 * 1024;
constexpr const char* authority_organisation = "Astra cluster";
constexpr std::string_view token_prefix = "astra1.";
/// Signed in front of a token's content, so that no signature of one kind can pass for another.
constexpr std::string_view token_domain = "astra join token 1\n";

caf::error bad(std::string text) {
  return caf::make_error(errc::invalid_argument, std::move(text));
}

caf::error io_error(const std::filesystem::path& path, std::string_view verb, int reason) {
  return caf::make_error(errc::io_failed,
                         fmt::format("{}: cannot be {}: {}", path.string(), verb, std::strerror(reason)));
}

/// Holds the directory's lock for as long as it lives.
class directory_lock {
public:
  explicit directory_lock(const std::filesystem::path& directory)
    : fd_(::open((directory / "lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)) {
    held_ = fd_ && ::flock(fd_.get(), LOCK_EX) == 0;
    reason_ = held_ ? 0 : errno;
  }
  bool held() const { return held_; }
  int reason() const { return reason_; }

private:
  unique_fd fd_;
  bool held_ = false;
  int reason_ = 0;
};

bool write_all(int fd, std::string_view content) {
  while (!content.empty()) {
    auto count = ::write(fd, content.data(), content.size());
    if (count < 0 && errno == EINTR)
      continue;
    if (count <= 0)
      return false;
    content.remove_prefix(static_cast<std::size_t>(count));
  }
  return true;
}

void sync_directory(const std::filesystem::path& directory) {
  unique_fd fd{::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (fd)
    ::fsync(fd.get());
}

/// Adds a line that is on the disk when this returns.
caf::expected<void> append_line(const std::filesystem::path& path, const json& line) {
  unique_fd fd{::open(path.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600)};
  if (!fd)
    return io_error(path, "opened", errno);
  // A crash may have left half a line behind; it must not swallow this one.
  struct ::stat status {};
  char last = '\n';
  if (::fstat(fd.get(), &status) == 0 && status.st_size > 0)
    if (::pread(fd.get(), &last, 1, status.st_size - 1) != 1)
      return io_error(path, "read", errno);
  auto text = (last == '\n' ? "" : "\n") + line.dump() + "\n";
  if (!write_all(fd.get(), text) || ::fsync(fd.get()) != 0)
    return io_error(path, "written", errno);
  return {};
}

/// What the index says.
struct index_content {
  std::vector<issued_certificate> certificates;
  std::set<std::string> spent;
};

std::string text_at(const json& object, const char* key) {
  auto i = object.find(key);
  return i != object.end() && i->is_string() ? i->get<std::string>() : std::string{};
}

std::vector<std::string> texts_at(const json& object, const char* key) {
  std::vector<std::string> result;
  if (auto i = object.find(key); i != object.end() && i->is_array())
    for (auto& text : *i)
      if (text.is_string())
        result.push_back(text.get<std::string>());
  return result;
}

std::int64_t number_at(const json& object, const char* key) {
  auto i = object.find(key);
  return i != object.end() && i->is_number_integer() ? i->get<std::int64_t>() : 0;
}

caf::expected<index_content> read_index(const std::filesystem::path& path) {
  index_content result;
  std::ifstream in{path, std::ios::binary};
  if (!in) {
    if (!std::filesystem::exists(path))
      return result;
    return io_error(path, "read", errno);
  }
  std::size_t number = 0;
  for (std::string line; std::getline(in, line);) {
    ++number;
    auto entry = json::parse(line, nullptr, false);
    if (line.empty() || !entry.is_object()) {
      // Half a line is what a crash leaves: nothing had come of it yet.
      continue;
    }
    auto what = text_at(entry, "what");
    auto serial = text_at(entry, "serial");
    if (what == "issued") {
      auto identity = parse_identity(text_at(entry, "identity"));
      if (!identity)
        return bad(fmt::format("{}:{}: {}", path.string(), number, error_text(identity.error())));
      result.certificates.push_back({serial, std::move(*identity), text_at(entry, "fingerprint"),
                                     number_at(entry, "at"), number_at(entry, "expires"), std::nullopt,
                                     text_at(entry, "origin"), texts_at(entry, "hosts")});
    } else if (what == "revoked") {
      for (auto& certificate : result.certificates)
        if (certificate.serial == serial)
          certificate.revoked_at = number_at(entry, "at");
    } else if (what == "spent") {
      result.spent.insert(text_at(entry, "nonce"));
    }
  }
  return result;
}

std::string random_hex(std::size_t bytes) {
  std::string raw(bytes, '\0');
  auto good = RAND_bytes(reinterpret_cast<unsigned char*>(raw.data()), static_cast<int>(bytes)) == 1;
  assert(good);
  std::string out;
  for (unsigned char c : raw)
    out += fmt::format("{:02x}", c);
  return out;
}

// -- base64url without padding ---------------------------------------------------------------------------------------

constexpr std::string_view alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

std::string encode(std::string_view bytes) {
  std::string out;
  std::uint32_t bits = 0;
  int count = 0;
  for (unsigned char c : bytes) {
    bits = (bits << 8) | c;
    count += 8;
    while (count >= 6) {
      count -= 6;
      out += alphabet[(bits >> count) & 63];
    }
  }
  if (count > 0)
    out += alphabet[(bits << (6 - count)) & 63];
  return out;
}

std::optional<std::string> decode(std::string_view text) {
  std::string out;
  std::uint32_t bits = 0;
  int count = 0;
  for (auto c : text) {
    auto value = alphabet.find(c);
    if (value == std::string_view::npos)
      return std::nullopt;
    bits = (bits << 6) | static_cast<std::uint32_t>(value);
    count += 6;
    if (count >= 8) {
      count -= 8;
      out += static_cast<char>((bits >> count) & 0xff);
    }
  }
  // What is left over must be nothing: one content has one text.
  if (count >= 6 || (bits & ((1u << count) - 1)) != 0)
    return std::nullopt;
  return out;
}

// -- making certificates ---------------------------------------------------------------------------------------------

/// @pre `text` has at most 64 characters.
void set_name(X509_NAME* name, const char* field, const std::string& text) {
  auto good =
      X509_NAME_add_entry_by_txt(name, field, MBSTRING_UTF8, reinterpret_cast<const unsigned char*>(text.data()),
                                 static_cast<int>(text.size()), -1, 0);
  assert(good == 1);
}

void set_time(ASN1_TIME* time, std::int64_t unix_s) {
  // Not ASN1_TIME_set on the caller's object, which may not be there yet.
  ASN1_TIME_set(time, static_cast<std::time_t>(unix_s));
}

/// @param value as in openssl.cnf; all that is put there was checked before.
void add_extension(X509& x, X509* issuer, int kind, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer, &x, nullptr, nullptr, 0);
  auto* extension = X509V3_EXT_conf_nid(nullptr, &context, kind, value.c_str());
  assert(extension != nullptr);
  X509_add_ext(&x, extension, -1);
  X509_EXTENSION_free(extension);
}

void set_serial(X509& x) {
  // 127 bits: positive, and never the same twice.
  std::array<unsigned char, 16> bytes;
  auto good = RAND_bytes(bytes.data(), static_cast<int>(bytes.size())) == 1;
  assert(good);
  bytes[0] = static_cast<unsigned char>((bytes[0] & 0x7f) | 0x40);
  auto* number = BN_bin2bn(bytes.data(), static_cast<int>(bytes.size()), nullptr);
  BN_to_ASN1_INTEGER(number, X509_get_serialNumber(&x));
  BN_free(number);
}

/// "IP:192.0.2.1" or "DNS:gateway.example"; nothing when it is neither.
std::optional<std::string> alternative_name(const std::string& host) {
  auto* address = a2i_IPADDRESS(host.c_str());
  ERR_clear_error();
  if (address != nullptr) {
    ASN1_OCTET_STRING_free(address);
    return "IP:" + host;
  }
  auto good = !host.empty() && host.size() <= 253 && std::all_of(host.begin(), host.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.';
  });
  return good ? std::optional{"DNS:" + host} : std::nullopt;
}

caf::expected<std::string> alternative_names(const peer_identity& identity, const std::vector<std::string>& hosts) {
  if (hosts.size() > hosts_max)
    return bad(fmt::format("{} hosts; name at most {}", hosts.size(), hosts_max));
  auto names = "URI:" + to_uri(identity);
  for (auto& host : hosts) {
    auto name = alternative_name(host);
    if (!name)
      return bad(fmt::format("host \"{}\" is neither a DNS name nor an address", host));
    names += "," + *name;
  }
  return names;
}

std::string lifetime_problem(seconds lifetime, seconds longest) {
  if (lifetime < shortest_lifetime || lifetime > longest)
    return fmt::format("must be good for 1 minute to {} days", longest / hours{24});
  return {};
}

/// Whether a key from outside is one that we sign: on P-256 or P-384, Ed25519, or RSA of 2048 to 4096 bits.
bool is_good_key(EVP_PKEY* key) {
  if (key == nullptr)
    return false;
  if (EVP_PKEY_is_a(key, "ED25519"))
    return true;
  auto bits = EVP_PKEY_get_bits(key);
  if (EVP_PKEY_is_a(key, "RSA"))
    return bits >= 2048 && bits <= 4096;
  std::array<char, 64> group{};
  std::size_t size = 0;
  if (!EVP_PKEY_is_a(key, "EC") || EVP_PKEY_get_group_name(key, group.data(), group.size(), &size) != 1)
    return false;
  std::string_view name{group.data(), size};
  return name == "prime256v1" || name == "secp384r1" || name == "P-256" || name == "P-384";
}

struct authority_parts {
  x509::certificate certificate;
  x509::key key;
};

authority_parts parse_authority(const std::string& certificate_pem, const std::string& key_pem) {
  auto certificates = x509::read_certificates(certificate_pem);
  return {certificates.empty() ? nullptr : std::move(certificates.front()), x509::read_key(key_pem)};
}

caf::expected<x509::certificate> make_certificate(const authority_parts& authority, EVP_PKEY* key,
                                                  const peer_identity& identity, const certificate_wish& wish,
                                                  std::int64_t now) {
  if (auto problem = identity_problem(identity); !problem.empty())
    return bad(problem);
  if (auto problem = lifetime_problem(wish.lifetime, longest_lifetime); !problem.empty())
    return bad("a certificate " + problem);
  auto names = alternative_names(identity, wish.hosts);
  if (!names)
    return std::move(names.error());
  auto end = std::min(now + wish.lifetime.count(), x509::not_after(*authority.certificate));
  if (end <= now)
    return bad(fmt::format("the authority itself has expired on {}; make a new one with astra ca init",
                           x509::show_time(x509::not_after(*authority.certificate))));
  x509::certificate x{X509_new()};
  X509_set_version(x.get(), X509_VERSION_3);
  set_serial(*x);
  set_name(X509_get_subject_name(x.get()), "CN", identity.name);
  X509_set_issuer_name(x.get(), X509_get_subject_name(authority.certificate.get()));
  set_time(X509_getm_notBefore(x.get()), std::max(now - clock_skew.count(), x509::not_before(*authority.certificate)));
  set_time(X509_getm_notAfter(x.get()), end);
  X509_set_pubkey(x.get(), key);
  auto* issuer = authority.certificate.get();
  add_extension(*x, issuer, NID_basic_constraints, "critical,CA:FALSE");
  add_extension(*x, issuer, NID_key_usage, "critical,digitalSignature");
  add_extension(*x, issuer, NID_ext_key_usage, "serverAuth,clientAuth");
  add_extension(*x, issuer, NID_subject_key_identifier, "hash");
  add_extension(*x, issuer, NID_authority_key_identifier, "keyid");
  add_extension(*x, issuer, NID_subject_alt_name, *names);
  if (X509_sign(x.get(), authority.key.get(), EVP_sha256()) == 0)
    return caf::make_error(errc::io_failed, "the certificate could not be signed: " + x509::take_reason());
  return x;
}

caf::expected<std::string> make_crl(const authority_parts& authority, const std::vector<issued_certificate>& index,
                                    std::int64_t now) {
  x509::crl list{X509_CRL_new()};
  X509_CRL_set_version(list.get(), X509_CRL_VERSION_2);
  X509_CRL_set_issuer_name(list.get(), X509_get_subject_name(authority.certificate.get()));
  struct time_deleter {
    void operator()(ASN1_TIME* x) const { ASN1_TIME_free(x); }
  };
  std::unique_ptr<ASN1_TIME, time_deleter> time{ASN1_TIME_new()};
  set_time(time.get(), now - clock_skew.count());
  X509_CRL_set1_lastUpdate(list.get(), time.get());
  // A list that runs out would lock the whole cluster out; who gets the newest one is up to the operator.
  X509_CRL_set1_nextUpdate(list.get(), X509_get0_notAfter(authority.certificate.get()));
  for (auto& entry : index) {
    if (!entry.revoked_at)
      continue;
    auto* row = X509_REVOKED_new();
    BIGNUM* number = nullptr;
    BN_hex2bn(&number, entry.serial.c_str());
    auto* serial = BN_to_ASN1_INTEGER(number, nullptr);
    set_time(time.get(), *entry.revoked_at);
    X509_REVOKED_set_serialNumber(row, serial);
    X509_REVOKED_set_revocationDate(row, time.get());
    ASN1_INTEGER_free(serial);
    BN_free(number);
    X509_CRL_add0_revoked(list.get(), row);
  }
  X509_CRL_sort(list.get());
  if (X509_CRL_sign(list.get(), authority.key.get(), EVP_sha256()) == 0)
    return caf::make_error(errc::io_failed, "the list could not be signed: " + x509::take_reason());
  return x509::to_pem(*list);
}

// -- tokens ----------------------------------------------------------------------------------------------------------

struct context_deleter {
  void operator()(EVP_MD_CTX* x) const { EVP_MD_CTX_free(x); }
};

const unsigned char* bytes_of(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}

std::string sign_text(EVP_PKEY* key, const std::string& text) {
  std::unique_ptr<EVP_MD_CTX, context_deleter> context{EVP_MD_CTX_new()};
  std::size_t size = 0;
  auto good = EVP_DigestSignInit(context.get(), nullptr, EVP_sha256(), nullptr, key) == 1
              && EVP_DigestSign(context.get(), nullptr, &size, bytes_of(text), text.size()) == 1;
  std::string signature(size, '\0');
  good = good
         && EVP_DigestSign(context.get(), reinterpret_cast<unsigned char*>(signature.data()), &size, bytes_of(text),
                           text.size())
                == 1;
  assert(good);
  signature.resize(size);
  return signature;
}

bool is_signed(EVP_PKEY* key, const std::string& text, std::string_view signature) {
  std::unique_ptr<EVP_MD_CTX, context_deleter> context{EVP_MD_CTX_new()};
  auto good =
      EVP_DigestVerifyInit(context.get(), nullptr, EVP_sha256(), nullptr, key) == 1
      && EVP_DigestVerify(context.get(), bytes_of(signature), signature.size(), bytes_of(text), text.size()) == 1;
  ERR_clear_error();
  return good;
}

struct token_parts {
  join_token token;
  std::string content;
  std::string signature;
};

caf::expected<token_parts> take_apart(std::string_view text) {
  auto no_token = [] { return bad("this is no join token; make one with astra ca join-token and copy all of it"); };
  if (text.size() > token_max_bytes || !text.starts_with(token_prefix))
    return no_token();
  text.remove_prefix(token_prefix.size());
  auto dot = text.find('.');
  if (dot == std::string_view::npos)
    return no_token();
  auto content = decode(text.substr(0, dot));
  auto signature = decode(text.substr(dot + 1));
  if (!content || !signature)
    return no_token();
  auto fields = json::parse(*content, nullptr, false);
  if (!fields.is_object())
    return no_token();
  auto identity = parse_identity(text_at(fields, "identity"));
  if (!identity)
    return no_token();
  token_parts result;
  result.token = {identity->cluster,        identity->name,
                  identity->roles,          identity->apps,
                  identity->nodes,          number_at(fields, "expires"),
                  text_at(fields, "nonce"), text_at(fields, "authority")};
  if (result.token.nonce.empty() || result.token.authority.empty())
    return no_token();
  result.content = std::move(*content);
  result.signature = std::move(*signature);
  return result;
}

} // namespace

bool is_of_process(peer_roles roles) {
  return std::any_of(process_peer_roles.begin(), process_peer_roles.end(), [&](auto role) { return roles.has(role); });
}

std::chrono::seconds default_lifetime(peer_roles roles) {
  return is_of_process(roles) ? seconds{hours{24}} : seconds{hours{24 * 90}};
}

caf::expected<void> write_file_atomically(const std::filesystem::path& path, std::string_view content, bool secret) {
  auto temporary = path;
  temporary += fmt::format(".{}.new", random_hex(4));
  unique_fd fd{::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, secret ? 0600 : 0644)};
  if (!fd)
    return io_error(path, "written", errno);
  auto reason = !write_all(fd.get(), content) || ::fsync(fd.get()) != 0 ? errno : 0;
  fd.reset();
  if (reason == 0 && ::rename(temporary.c_str(), path.c_str()) != 0)
    reason = errno;
  if (reason != 0) {
    ::unlink(temporary.c_str());
    return io_error(path, "written", reason);
  }
  sync_directory(path.parent_path().empty() ? std::filesystem::path{"."} : path.parent_path());
  return {};
}

caf::expected<certificate_authority> certificate_authority::init(const std::filesystem::path& directory,
                                                                 const std::string& cluster, std::int64_t now) {
  if (auto problem = name_problem(cluster); !problem.empty())
    return bad("cluster: " + problem);
  std::error_code error;
  auto fresh = std::filesystem::create_directories(directory, error);
  if (error)
    return caf::make_error(errc::io_failed,
                           fmt::format("{}: cannot be created: {}", directory.string(), error.message()));
  if (fresh)
    ::chmod(directory.c_str(), 0700);
  directory_lock lock{directory};
  if (!lock.held())
    return io_error(directory, "locked", lock.reason());
  for (auto name : {"ca.key", "ca.pem", "index"})
    if (std::filesystem::exists(directory / name))
      return caf::make_error(errc::conflict,
                             fmt::format("{}: exists; an authority is never overwritten, as every certificate it has "
                                         "issued would be void: name another directory",
                                         (directory / name).string()));
  authority_parts parts;
  parts.key = x509::make_key();
  parts.certificate.reset(X509_new());
  auto& x = *parts.certificate;
  X509_set_version(&x, X509_VERSION_3);
  set_serial(x);
  set_name(X509_get_subject_name(&x), "O", authority_organisation);
  set_name(X509_get_subject_name(&x), "CN", cluster);
  X509_set_issuer_name(&x, X509_get_subject_name(&x));
  set_time(X509_getm_notBefore(&x), now - clock_skew.count());
  set_time(X509_getm_notAfter(&x), now + authority_lifetime.count());
  X509_set_pubkey(&x, parts.key.get());
  add_extension(x, &x, NID_basic_constraints, "critical,CA:TRUE,pathlen:0");
  add_extension(x, &x, NID_key_usage, "critical,keyCertSign,cRLSign");
  add_extension(x, &x, NID_subject_key_identifier, "hash");
  if (X509_sign(&x, parts.key.get(), EVP_sha256()) == 0)
    return caf::make_error(errc::io_failed, "the authority could not be signed: " + x509::take_reason());
  auto revoked = make_crl(parts, {}, now);
  if (!revoked)
    return std::move(revoked.error());
  // The certificate goes last: without it there is no authority yet.
  for (auto [name, content, secret] :
       {std::tuple{"ca.key", x509::to_pem(*parts.key), true}, std::tuple{"revoked.pem", *revoked, false},
        std::tuple{"ca.pem", x509::to_pem(x), false}})
    if (auto done = write_file_atomically(directory / name, content, secret); !done)
      return std::move(done.error());
  return open(directory);
}

caf::expected<certificate_authority> certificate_authority::open(const std::filesystem::path& directory) {
  if (!std::filesystem::exists(directory / "ca.pem"))
    return caf::make_error(errc::unknown_name,
                           fmt::format("{}: there is no authority; make one with astra ca init --dir {} --cluster NAME",
                                       directory.string(), directory.string()));
  auto certificate_pem = x509::read_pem_file((directory / "ca.pem").string());
  if (!certificate_pem)
    return std::move(certificate_pem.error());
  auto key_pem = x509::read_pem_file((directory / "ca.key").string());
  if (!key_pem)
    return std::move(key_pem.error());
  auto parts = parse_authority(*certificate_pem, *key_pem);
  if (!parts.certificate || !parts.key || X509_check_private_key(parts.certificate.get(), parts.key.get()) != 1) {
    ERR_clear_error();
    return bad(fmt::format("{}: ca.pem and ca.key do not belong together; restore both from the same backup",
                           directory.string()));
  }
  auto cluster = x509::subject(*parts.certificate);
  if (X509_check_ca(parts.certificate.get()) != 1 || !name_problem(cluster).empty())
    return bad(fmt::format("{}: ca.pem is not an authority that astra ca init has made", directory.string()));
  certificate_authority result;
  result.directory_ = directory;
  result.cluster_ = std::move(cluster);
  result.certificate_pem_ = std::move(*certificate_pem);
  result.key_pem_ = std::move(*key_pem);
  result.fingerprint_ = x509::fingerprint(*parts.certificate);
  result.expires_at_ = x509::not_after(*parts.certificate);
  return result;
}

caf::expected<key_and_certificate> certificate_authority::issue(const certificate_wish& wish, std::int64_t now,
                                                                std::string_view origin) {
  auto made = make_request(wish.name);
  auto result = sign(made.request_pem, wish, now, origin);
  if (result)
    result->key_pem = std::move(made.key_pem);
  return result;
}

caf::expected<key_and_certificate> certificate_authority::sign(std::string_view request_pem,
                                                               const certificate_wish& wish, std::int64_t now,
                                                               std::string_view origin) {
  if (auto problem = request_problem(request_pem); !problem.empty())
    return bad(problem);
  auto request = x509::read_request(request_pem);
  auto* key = X509_REQ_get0_pubkey(request.get());
  peer_identity identity{cluster_, wish.name, wish.roles, wish.apps, wish.nodes};
  auto parts = parse_authority(certificate_pem_, key_pem_);
  auto x = make_certificate(parts, key, identity, wish, now);
  if (!x)
    return std::move(x.error());
  key_and_certificate result;
  result.certificate_pem = x509::to_pem(**x);
  result.entry = {x509::serial(**x),    std::move(identity), x509::fingerprint(**x), now,
                  x509::not_after(**x), std::nullopt,        std::string{origin},    wish.hosts};
  directory_lock lock{directory_};
  if (!lock.held())
    return io_error(directory_, "locked", lock.reason());
  // Before anybody gets it: what is not in the index could not be taken back.
  auto noted = append_line(directory_ / "index", json{{"what", "issued"},
                                                      {"serial", result.entry.serial},
                                                      {"identity", to_uri(result.entry.identity)},
                                                      {"fingerprint", result.entry.fingerprint},
                                                      {"at", now},
                                                      {"expires", result.entry.expires_at},
                                                      {"origin", result.entry.origin},
                                                      {"hosts", result.entry.hosts}});
  if (!noted)
    return std::move(noted.error());
  return result;
}

caf::expected<issued_certificate> certificate_authority::revoke(const std::string& serial_or_fingerprint,
                                                                std::int64_t now) {
  directory_lock lock{directory_};
  if (!lock.held())
    return io_error(directory_, "locked", lock.reason());
  auto index = read_index(directory_ / "index");
  if (!index)
    return std::move(index.error());
  auto& all = index->certificates;
  auto entry = std::find_if(all.begin(), all.end(), [&](auto& one) {
    return one.serial == serial_or_fingerprint || one.fingerprint == serial_or_fingerprint;
  });
  if (entry == all.end())
    return caf::make_error(errc::unknown_name, fmt::format("no certificate {} in {}; see astra ca list",
                                                           serial_or_fingerprint, (directory_ / "index").string()));
  auto before = entry->revoked_at.has_value();
  if (!before) {
    entry->revoked_at = now;
    if (auto noted =
            append_line(directory_ / "index", json{{"what", "revoked"}, {"serial", entry->serial}, {"at", now}});
        !noted)
      return std::move(noted.error());
  }
  // Written also when it is nothing new: a crash may have come between the two.
  auto list = make_crl(parse_authority(certificate_pem_, key_pem_), all, now);
  if (!list)
    return std::move(list.error());
  if (auto written = write_file_atomically(directory_ / "revoked.pem", *list, false); !written)
    return std::move(written.error());
  if (before)
    return caf::make_error(errc::conflict, fmt::format("certificate {} was revoked on {} already", entry->serial,
                                                       x509::show_time(*entry->revoked_at)));
  return *entry;
}

caf::expected<std::vector<issued_certificate>> certificate_authority::list() const {
  auto index = read_index(directory_ / "index");
  if (!index)
    return std::move(index.error());
  return std::move(index->certificates);
}

caf::expected<std::string> certificate_authority::make_token(const certificate_wish& wish, seconds lifetime,
                                                             std::int64_t now) {
  peer_identity identity{cluster_, wish.name, wish.roles, wish.apps, wish.nodes};
  if (auto problem = identity_problem(identity); !problem.empty())
    return bad(problem);
  if (auto problem = lifetime_problem(lifetime, longest_token_lifetime); !problem.empty())
    return bad("a token " + problem);
  auto content = json{
      {"identity", to_uri(identity)},
      {"expires", now + lifetime.count()},
      {"nonce", random_hex(16)},
      {"authority",
       fingerprint_}}.dump();
  auto key = x509::read_key(key_pem_);
  return fmt::format("{}{}.{}", token_prefix, encode(content),
                     encode(sign_text(key.get(), std::string{token_domain} + content)));
}

caf::expected<join_token> read_join_token(std::string_view text) {
  auto parts = take_apart(text);
  if (!parts)
    return std::move(parts.error());
  return std::move(parts->token);
}

caf::expected<join_token> certificate_authority::spend_token(std::string_view text, std::int64_t now) {
  auto parts = take_apart(text);
  if (!parts)
    return std::move(parts.error());
  auto& token = parts->token;
  auto authority = parse_authority(certificate_pem_, key_pem_);
  if (!is_signed(X509_get0_pubkey(authority.certificate.get()), std::string{token_domain} + parts->content,
                 parts->signature)
      || token.authority != fingerprint_ || token.cluster != cluster_)
    return bad("the token was not made by this cluster's authority; make one with astra ca join-token");
  if (token.expires_at <= now)
    return bad(fmt::format("the token has expired on {}; make a new one with astra ca join-token",
                           x509::show_time(token.expires_at)));
  directory_lock lock{directory_};
  if (!lock.held())
    return io_error(directory_, "locked", lock.reason());
  auto index = read_index(directory_ / "index");
  if (!index)
    return std::move(index.error());
  if (index->spent.contains(token.nonce))
    return caf::make_error(errc::conflict, "the token was used before; make a new one with astra ca join-token");
  if (auto noted = append_line(directory_ / "index",
                               json{{"what", "spent"}, {"nonce", token.nonce}, {"name", token.name}, {"at", now}});
      !noted)
    return std::move(noted.error());
  return std::move(token);
}

std::string request_problem(std::string_view request_pem) {
  auto request = request_pem.size() <= request_max_bytes ? x509::read_request(request_pem) : nullptr;
  if (!request)
    return "the signing request is not one in PEM";
  auto* key = X509_REQ_get0_pubkey(request.get());
  if (!is_good_key(key))
    return "the signing request's key must be on P-256 or P-384, Ed25519, or RSA of 2048 to 4096 bits";
  auto proven = X509_REQ_verify(request.get(), key) == 1;
  ERR_clear_error();
  return proven ? "" : "the signing request's signature is bad: whoever sent it does not have the key";
}

key_and_request make_request(const std::string& name) {
  auto key = x509::make_key();
  x509::request request{X509_REQ_new()};
  X509_REQ_set_version(request.get(), X509_REQ_VERSION_1);
  set_name(X509_REQ_get_subject_name(request.get()), "CN", name.empty() ? "unnamed" : name.substr(0, 64));
  X509_REQ_set_pubkey(request.get(), key.get());
  auto good = X509_REQ_sign(request.get(), key.get(), EVP_sha256()) != 0;
  assert(good);
  return {x509::to_pem(*key), x509::to_pem(*request)};
}

caf::expected<certificate_facts> read_facts(const std::string& path) {
  auto pem = x509::read_pem_file(path);
  if (!pem)
    return std::move(pem.error());
  auto certificates = x509::read_certificates(*pem);
  if (certificates.empty())
    return bad(fmt::format("{}: holds no certificate in PEM", path));
  auto& x = *certificates.front();
  certificate_facts result{x509::subject(x),    x509::issuer(x),    x509::serial(x),        x509::fingerprint(x),
                           x509::not_before(x), x509::not_after(x), X509_check_ca(&x) != 0, {}};
  if (auto identity = x509::identity_of(x))
    result.identity = to_uri(*identity);
  return result;
}

std::string fingerprint_of_pem(std::string_view pem) {
  auto certificates = x509::read_certificates(pem);
  return certificates.empty() ? "" : x509::fingerprint(*certificates.front());
}

} // namespace astra
