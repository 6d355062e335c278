#pragma once

#include "messages/errc.hpp"
#include "messages/type_ids.hpp"
#include "runtime/net/tls.hpp"
#include "runtime/security/ca.hpp"

#include <ctime>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <unistd.h>

namespace astra::test {

/// Takes the value or throws what the error says.
template <class T>
T need(caf::expected<T> value) {
  if (!value)
    throw std::runtime_error{error_text(value.error())};
  return std::move(*value);
}

inline std::int64_t unix_now() {
  return static_cast<std::int64_t>(std::time(nullptr));
}

/// A directory that goes with the test.
class scratch_directory {
public:
  scratch_directory() {
    auto pattern = (std::filesystem::temp_directory_path() / "astra-test-XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
  }
  ~scratch_directory() { std::filesystem::remove_all(path_); }
  scratch_directory(const scratch_directory&) = delete;
  scratch_directory& operator=(const scratch_directory&) = delete;

  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }

private:
  std::filesystem::path path_;
};

/// An authority and the files of those it has certified.
class test_authority {
public:
  explicit test_authority(const std::string& cluster = "prod")
    : ca(need(certificate_authority::init(directory / "ca", cluster, unix_now()))) {}

  /// The files of a new certificate.
  /// @param age_s seconds since it was issued.
  tls_options issue(const std::string& name, peer_roles roles, std::int64_t age_s = 0,
                    std::chrono::seconds lifetime = std::chrono::hours{24}) {
    certificate_wish wish;
    wish.name = name;
    wish.roles = roles;
    wish.lifetime = lifetime;
    auto made = need(ca.issue(wish, unix_now() - age_s, "issue"));
    tls_options files{(directory / (name + ".pem")).string(),
                      (directory / (name + ".key")).string(),
                      (directory / "ca" / "ca.pem").string(),
                      {}};
    need_written(files.certificate, made.certificate_pem, false);
    need_written(files.key, made.key_pem, true);
    return files;
  }

  std::string revoked_file() const { return (directory / "ca" / "revoked.pem").string(); }

  static void need_written(const std::string& path, const std::string& content, bool secret) {
    if (auto done = write_file_atomically(path, content, secret); !done)
      throw std::runtime_error{error_text(done.error())};
  }

  scratch_directory directory;
  certificate_authority ca;
};

} // namespace astra::test
