// Everything that needs OpenSSL's SSL, in one translation unit.
//
// A context is a row of snapshots: each holds one SSL_CTX, made from the files as they were at one moment and never
// changed after that.  A session keeps its snapshot alive, so a reload cannot pull anything away from under it.  The
// keys of session tickets belong to the snapshot: what was resumable before a reload is not after it, and every peer
// is looked at anew, with the authority and the list of revoked certificates of now.

#include "runtime/net/tls.hpp"

#include "messages/errc.hpp"
#include "messages/type_ids.hpp"
#include "runtime/security/x509.hpp"

#include <caf/error.hpp>
#include <fmt/format.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <list>
#include <map>
#include <mutex>
#include <utility>

namespace astra {
namespace {

/// Targets of which a session is remembered.
constexpr std::size_t remembered_max = 4096;
/// How long a session may be resumed, in seconds.
constexpr long resumable_s = 3600;
constexpr std::size_t chain_max_bytes = 16 * 1024;

constexpr unsigned char record_alert = 0x15;
constexpr unsigned char record_handshake = 0x16;

std::int64_t now_s() {
  return static_cast<std::int64_t>(std::time(nullptr));
}

struct ssl_deleter {
  void operator()(SSL* x) const { SSL_free(x); }
  void operator()(SSL_CTX* x) const { SSL_CTX_free(x); }
  void operator()(SSL_SESSION* x) const { SSL_SESSION_free(x); }
};
using ssl_ptr = std::unique_ptr<SSL, ssl_deleter>;
using ssl_ctx_ptr = std::unique_ptr<SSL_CTX, ssl_deleter>;
using ssl_session_ptr = std::unique_ptr<SSL_SESSION, ssl_deleter>;

caf::error bad(std::string text) {
  return caf::make_error(errc::invalid_argument, std::move(text));
}

// -- the socket ------------------------------------------------------------------------------------------------------

/// Like OpenSSL's own BIO for sockets, but a peer that is gone is an error and not a SIGPIPE, and the first byte is
/// kept, which tells TLS from anything else.
struct socket_state {
  int fd;
  int first_byte = -1;
};

bool would_block(int reason) {
  return reason == EAGAIN || reason == EWOULDBLOCK || reason == EINTR;
}

int socket_write(BIO* bio, const char* data, int size) {
  auto& state = *static_cast<socket_state*>(BIO_get_data(bio));
  BIO_clear_retry_flags(bio);
  auto count = ::send(state.fd, data, static_cast<std::size_t>(size), MSG_NOSIGNAL | MSG_DONTWAIT);
  if (count < 0 && would_block(errno))
    BIO_set_retry_write(bio);
  return static_cast<int>(count);
}

int socket_read(BIO* bio, char* data, int size) {
  auto& state = *static_cast<socket_state*>(BIO_get_data(bio));
  BIO_clear_retry_flags(bio);
  auto count = ::recv(state.fd, data, static_cast<std::size_t>(size), MSG_DONTWAIT);
  if (count < 0 && would_block(errno))
    BIO_set_retry_read(bio);
  if (count == 0)
    BIO_set_flags(bio, BIO_FLAGS_IN_EOF);
  if (count > 0 && state.first_byte < 0)
    state.first_byte = static_cast<unsigned char>(data[0]);
  return static_cast<int>(count);
}

long socket_control(BIO* bio, int command, long, void*) {
  if (command == BIO_CTRL_EOF)
    return BIO_test_flags(bio, BIO_FLAGS_IN_EOF) != 0 ? 1 : 0;
  return command == BIO_CTRL_FLUSH || command == BIO_CTRL_DUP ? 1 : 0;
}

BIO_METHOD* socket_method() {
  static BIO_METHOD* const method = [] {
    auto* result = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "astra socket");
    assert(result != nullptr);
    BIO_meth_set_write(result, socket_write);
    BIO_meth_set_read(result, socket_read);
    BIO_meth_set_ctrl(result, socket_control);
    return result;
  }();
  return method;
}

// -- certificates ----------------------------------------------------------------------------------------------------

/// What is wrong with a certificate, for an operator.
std::string describe(int code, X509* subject) {
  auto name = subject != nullptr ? fmt::format("the certificate of '{}'", x509::subject(*subject)) : "the certificate";
  switch (code) {
  case X509_V_ERR_CERT_HAS_EXPIRED:
    return fmt::format("{} has expired on {}; issue a new one and reload", name,
                       subject != nullptr ? x509::show_time(x509::not_after(*subject)) : "an unknown day");
  case X509_V_ERR_CERT_NOT_YET_VALID:
    return fmt::format("{} is valid from {} on only; is the clock right on both machines?", name,
                       subject != nullptr ? x509::show_time(x509::not_before(*subject)) : "an unknown day");
  case X509_V_ERR_CERT_REVOKED:
    return fmt::format("{} is revoked", name);
  case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
  case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
  case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
  case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
  case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
  case X509_V_ERR_CERT_SIGNATURE_FAILURE:
  case X509_V_ERR_CERT_UNTRUSTED:
    return fmt::format("{} is signed by another authority ('{}'); use one that this cluster's astra ca has issued",
                       name, subject != nullptr ? x509::issuer(*subject) : "?");
  case X509_V_ERR_UNABLE_TO_GET_CRL:
    return fmt::format("{} is of an authority that tls.revoked has no list of", name);
  case X509_V_ERR_CRL_HAS_EXPIRED:
    return "the list in tls.revoked is out of date; write it anew with astra ca revoke or your authority's tool";
  default:
    return fmt::format("{} is not good: {}", name, X509_verify_cert_error_string(code));
  }
}

/// What the peer says of our certificate, by the alert it sent; "" for other alerts.
std::string_view refusal_of(int reason) {
  switch (reason) {
  case SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED:
    return "it has expired, or the peer's clock is wrong; issue a new one and reload";
  case SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED:
    return "it is revoked";
  case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
    return "it is signed by another authority than the one that the peer trusts";
  case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
  case SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN:
  case SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE:
  case SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE:
  case SSL_R_TLSV1_ALERT_ACCESS_DENIED:
    return "the peer's log says why";
  case SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED:
    return "there is none; name one in [tls], or with --cert and --key";
  default:
    return {};
  }
}

// -- one snapshot ----------------------------------------------------------------------------------------------------

class session_impl;

/// Sessions of servers that may be resumed, by the address that was dialled; the least recent one goes first.
class session_memory {
public:
  void put(const std::string& target, ssl_session_ptr session) {
    std::lock_guard guard{mutex_};
    drop(target);
    order_.push_front(target);
    sessions_[target] = {std::move(session), order_.begin()};
    if (order_.size() > remembered_max)
      drop(std::string{order_.back()});
  }

  /// A ticket is used once: two sessions with the same one could be told to belong together.
  ssl_session_ptr take(const std::string& target) {
    std::lock_guard guard{mutex_};
    auto entry = sessions_.find(target);
    if (entry == sessions_.end())
      return nullptr;
    auto session = std::move(entry->second.session);
    drop(target);
    return session;
  }

private:
  struct remembered {
    ssl_session_ptr session;
    std::list<std::string>::iterator place;
  };

  void drop(const std::string& target) {
    auto entry = sessions_.find(target);
    if (entry == sessions_.end())
      return;
    order_.erase(entry->second.place);
    sessions_.erase(entry);
  }

  std::mutex mutex_;
  std::list<std::string> order_;
  std::map<std::string, remembered> sessions_;
};

/// The files of one moment.
struct snapshot {
  ssl_ctx_ptr ctx;
  /// Trusts the authority; not the SSL_CTX's own one, but with the same content.
  x509::store store;
  x509::crl revoked;
  /// Of the authority; servers show it to clients that only know its fingerprint.
  x509::certificate authority;
  /// Set: trusted is whoever can show a chain to the authority with this fingerprint.
  std::string pinned;
  peer_identity own;
  std::int64_t expires_at = 0;
  mutable session_memory memory;

  bool is_revoked(X509& x) const {
    X509_REVOKED* entry = nullptr;
    return revoked && X509_CRL_get0_by_cert(revoked.get(), &entry, &x) == 1;
  }

  /// What has changed about a certificate since it was verified: time alone, as all else is part of the snapshot.
  int still_good(X509& x) const {
    if (x509::not_after(x) < now_s())
      return X509_V_ERR_CERT_HAS_EXPIRED;
    return is_revoked(x) ? X509_V_ERR_CERT_REVOKED : X509_V_OK;
  }
};

/// Serial numbers of the certificates at the other end of sessions that exist: a list of revoked certificates speaks
/// of serial numbers, our callers of fingerprints.
class peer_registry {
public:
  void add(const std::string& fingerprint, X509& x) {
    std::lock_guard guard{mutex_};
    auto& entry = peers_[fingerprint];
    if (entry.sessions++ == 0) {
      X509_up_ref(&x);
      entry.certificate.reset(&x);
    }
  }
  void remove(const std::string& fingerprint) {
    std::lock_guard guard{mutex_};
    auto entry = peers_.find(fingerprint);
    if (entry != peers_.end() && --entry->second.sessions == 0)
      peers_.erase(entry);
  }
  bool is_revoked(const std::string& fingerprint, const snapshot& now) {
    std::lock_guard guard{mutex_};
    auto entry = peers_.find(fingerprint);
    return entry != peers_.end() && now.is_revoked(*entry->second.certificate);
  }

private:
  struct peer {
    x509::certificate certificate;
    std::size_t sessions = 0;
  };
  std::mutex mutex_;
  std::map<std::string, peer> peers_;
};

// -- sessions --------------------------------------------------------------------------------------------------------

enum class side { server, server_for_anyone, client };

/// Where OpenSSL's callbacks find the session of an SSL.
int session_index() {
  static const int index = SSL_get_ex_new_index(0, nullptr, nullptr, nullptr, nullptr);
  return index;
}

session_impl* session_of(const SSL* ssl) {
  return static_cast<session_impl*>(SSL_get_ex_data(ssl, session_index()));
}

/// An SSL on a socket: what every session has, whoever the other side is.
class ssl_session : public tls_session {
public:
  ssl_session(SSL_CTX& ctx, int fd) : socket_{fd}, ssl_(SSL_new(&ctx)) {
    assert(ssl_); // out of memory otherwise
    auto* bio = BIO_new(socket_method());
    assert(bio != nullptr);
    BIO_set_data(bio, &socket_);
    BIO_set_init(bio, 1);
    SSL_set_bio(ssl_.get(), bio, bio);
  }

  tls_step read(void* into, std::size_t size, std::size_t& count) override {
    count = 0;
    if (broken_)
      return tls_step::failed;
    ERR_clear_error();
    errno = 0;
    return SSL_read_ex(ssl_.get(), into, size, &count) == 1 ? tls_step::done : explain(0);
  }

  tls_step write(const void* from, std::size_t size, std::size_t& count) override {
    count = 0;
    if (broken_)
      return tls_step::failed;
    ERR_clear_error();
    errno = 0;
    return SSL_write_ex(ssl_.get(), from, size, &count) == 1 ? tls_step::done : explain(0);
  }

  std::size_t pending() const override { return static_cast<std::size_t>(SSL_pending(ssl_.get())); }
  const peer_identity& peer() const override { return peer_; }
  const std::string& fingerprint() const override { return fingerprint_; }
  const std::string& error() const override { return error_; }

protected:
  tls_step fail(std::string why) {
    broken_ = true;
    error_ = std::move(why);
    return tls_step::failed;
  }

  /// What to do after a call of OpenSSL that did not succeed.
  tls_step explain(int result) {
    auto reason = errno;
    switch (SSL_get_error(ssl_.get(), result)) {
    case SSL_ERROR_WANT_READ:
      return tls_step::want_read;
    case SSL_ERROR_WANT_WRITE:
      return tls_step::want_write;
    case SSL_ERROR_ZERO_RETURN:
      return tls_step::closed;
    case SSL_ERROR_SYSCALL:
      return fail(reason != 0 ? fmt::format("the connection failed: {}", std::strerror(reason)) : cut_off());
    default:
      return fail(why());
    }
  }

  /// What it means that the connection ended without a word.
  virtual std::string cut_off() const = 0;
  /// What OpenSSL's queue of errors means; takes it.
  virtual std::string why() = 0;

  static std::string reason_text(unsigned long code) {
    const char* text = ERR_reason_error_string(code);
    return fmt::format("TLS failed: {}", text != nullptr ? text : "no reason is known");
  }

  socket_state socket_;
  ssl_ptr ssl_;
  peer_identity peer_;
  std::string fingerprint_;
  std::string error_;
  bool broken_ = false;
};

class session_impl final : public ssl_session {
public:
  session_impl(std::shared_ptr<const snapshot> files, std::shared_ptr<peer_registry> peers, int fd, side which,
               std::string target)
    : ssl_session(*files->ctx, fd), files_(std::move(files)), peers_(std::move(peers)), side_(which),
      target_(std::move(target)) {
    SSL_set_ex_data(ssl_.get(), session_index(), this);
    if (side_ == side::client) {
      SSL_set_connect_state(ssl_.get());
      offer_remembered();
      return;
    }
    SSL_set_accept_state(ssl_.get());
    if (side_ == side::server_for_anyone) {
      SSL_set_verify(ssl_.get(), SSL_VERIFY_PEER, SSL_get_verify_callback(ssl_.get()));
      if (files_->authority)
        SSL_add1_chain_cert(ssl_.get(), files_->authority.get());
    }
  }

  ~session_impl() override {
    if (!fingerprint_.empty())
      peers_->remove(fingerprint_);
    // Without this, freeing it would spoil the session that is remembered.  Nothing is sent: the socket may be closed.
    SSL_set_shutdown(ssl_.get(), SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
  }

  tls_step handshake() override {
    if (done_)
      return tls_step::done;
    if (broken_)
      return tls_step::failed;
    ERR_clear_error();
    errno = 0;
    auto result = SSL_do_handshake(ssl_.get());
    if (result != 1) {
      auto step = explain(result);
      if (step == tls_step::closed)
        return fail("the peer closed the connection during the handshake");
      return step;
    }
    return admit();
  }

  tls_step shut_down() override {
    if (!done_ || broken_)
      return tls_step::closed;
    ERR_clear_error();
    errno = 0;
    auto result = SSL_shutdown(ssl_.get());
    return result >= 0 ? tls_step::closed : explain(result);
  }

  bool resumed() const override { return SSL_session_reused(ssl_.get()) == 1; }
  std::int64_t peer_expires_at() const override { return peer_expires_at_; }
  std::int64_t own_expires_at() const override { return files_->expires_at; }

  // -- called by OpenSSL ---------------------------------------------------------------------------------------------

  /// Whether a certificate that OpenSSL holds for good, or not, is good to us.
  bool check(bool good, X509_STORE_CTX* context) {
    auto* x = X509_STORE_CTX_get_current_cert(context);
    if (!good) {
      auto code = X509_STORE_CTX_get_error(context);
      // The peer has shown its authority, too; of interest is whom it has signed.
      verdict_ = describe(code, code == X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN ? X509_STORE_CTX_get0_cert(context) : x);
      return false;
    }
    if (X509_STORE_CTX_get_error_depth(context) != 0 || x == nullptr)
      return true;
    auto identity = x509::identity_of(*x);
    if (!identity)
      verdict_ = error_text(identity.error());
    else if (!files_->own.cluster.empty() && identity->cluster != files_->own.cluster)
      verdict_ = fmt::format("the certificate of '{}' is of cluster '{}', not of '{}'", identity->name,
                             identity->cluster, files_->own.cluster);
    else
      return true;
    X509_STORE_CTX_set_error(context, X509_V_ERR_APPLICATION_VERIFICATION);
    return false;
  }

  /// Instead of OpenSSL's own search for an issuer: the authority comes with the chain, and its fingerprint counts.
  bool check_pinned(X509_STORE_CTX* context) {
    auto* leaf = X509_STORE_CTX_get0_cert(context);
    auto* chain = X509_STORE_CTX_get0_untrusted(context);
    auto refuse = [&](int code, std::string why) {
      X509_STORE_CTX_set_error(context, code);
      verdict_ = std::move(why);
      return false;
    };
    for (auto i = 0; leaf != nullptr && i < sk_X509_num(chain); ++i) {
      auto* x = sk_X509_value(chain, i);
      if (x509::fingerprint(*x) != files_->pinned)
        continue;
      x509::store store{X509_STORE_new()};
      X509_STORE_add_cert(store.get(), x);
      x509::store_context inner{X509_STORE_CTX_new()};
      X509_STORE_CTX_init(inner.get(), store.get(), leaf, chain);
      X509_STORE_CTX_set_default(inner.get(), "ssl_server");
      if (X509_verify_cert(inner.get()) != 1) {
        auto code = X509_STORE_CTX_get_error(inner.get());
        return refuse(code, describe(code, X509_STORE_CTX_get_current_cert(inner.get())));
      }
      auto identity = x509::identity_of(*leaf);
      if (!identity)
        return refuse(X509_V_ERR_APPLICATION_VERIFICATION, error_text(identity.error()));
      X509_STORE_CTX_set_error(context, X509_V_OK);
      return true;
    }
    return refuse(X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN,
                  "the server does not show the authority that the token names; is it the right gateway, and the right "
                  "token?");
  }

  void remember(SSL_SESSION* session) {
    if (side_ == side::client)
      files_->memory.put(target_, ssl_session_ptr{session});
    else
      SSL_SESSION_free(session);
  }

  /// Whether the client of a ticket may resume: its certificate is still good.
  bool may_resume(SSL_SESSION* session) const {
    auto* x = SSL_SESSION_get0_peer(session);
    if (x == nullptr)
      return side_ == side::server_for_anyone;
    return files_->still_good(*x) == X509_V_OK;
  }

private:
  void offer_remembered() {
    if (target_.empty())
      return;
    auto session = files_->memory.take(target_);
    if (!session || SSL_SESSION_is_resumable(session.get()) != 1)
      return;
    auto* x = SSL_SESSION_get0_peer(session.get());
    if (x != nullptr && files_->still_good(*x) == X509_V_OK)
      SSL_set_session(ssl_.get(), session.get());
  }

  /// Looks at whom the handshake was with.  A resumed session comes without a certificate; its SSL_SESSION has it.
  tls_step admit() {
    x509::certificate x{SSL_get1_peer_certificate(ssl_.get())};
    if (!x) {
      if (side_ != side::server_for_anyone)
        return fail("the peer shows no certificate");
      done_ = true;
      return tls_step::done;
    }
    if (auto code = SSL_get_verify_result(ssl_.get()); code != X509_V_OK)
      return fail(describe(static_cast<int>(code), x.get()));
    if (auto code = files_->still_good(*x); code != X509_V_OK)
      return fail(describe(code, x.get()));
    auto identity = x509::identity_of(*x);
    if (!identity)
      return fail(error_text(identity.error()));
    peer_ = std::move(*identity);
    fingerprint_ = x509::fingerprint(*x);
    peer_expires_at_ = x509::not_after(*x);
    peers_->add(fingerprint_, *x);
    done_ = true;
    return tls_step::done;
  }

  std::string cut_off() const override {
    return done_ ? "the peer cut the connection off without closing it"
                 : "the peer cut the connection off during the "
                   "handshake";
  }

  bool peer_speaks_tls() const {
    return socket_.first_byte < 0 || socket_.first_byte == record_alert || socket_.first_byte == record_handshake;
  }

  std::string why() override {
    auto code = ERR_get_error();
    ERR_clear_error();
    if (!done_ && !peer_speaks_tls())
      return side_ == side::client ? "the peer answers without TLS; is it configured with [tls]?"
                                   : "the peer speaks without TLS; is it configured with [tls]?";
    auto reason = ERR_GET_LIB(code) == ERR_LIB_SSL ? ERR_GET_REASON(code) : 0;
    if (auto refusal = refusal_of(reason); !refusal.empty())
      return fmt::format("the peer refuses this process's certificate: {}", refusal);
    switch (reason) {
    case SSL_R_CERTIFICATE_VERIFY_FAILED:
      return verdict_.empty() ? "the peer's certificate is not good" : verdict_;
    case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
      return "the peer shows no certificate";
    case SSL_R_UNEXPECTED_EOF_WHILE_READING:
      return cut_off();
    case SSL_R_UNSUPPORTED_PROTOCOL:
    case SSL_R_TLSV1_ALERT_PROTOCOL_VERSION:
    case SSL_R_WRONG_SSL_VERSION:
      return "the peer does not speak TLS 1.3";
    default:
      break;
    }
    return reason_text(code);
  }

  const std::shared_ptr<const snapshot> files_;
  const std::shared_ptr<peer_registry> peers_;
  const side side_;
  const std::string target_;
  std::int64_t peer_expires_at_ = 0;
  /// What was wrong with the peer's certificate.
  std::string verdict_;
  bool done_ = false;
};

// -- callbacks -------------------------------------------------------------------------------------------------------

int verify_callback(int good, X509_STORE_CTX* context) {
  auto* ssl = static_cast<SSL*>(X509_STORE_CTX_get_ex_data(context, SSL_get_ex_data_X509_STORE_CTX_idx()));
  return session_of(ssl)->check(good == 1, context) ? 1 : 0;
}

int verify_pinned_callback(X509_STORE_CTX* context, void*) {
  auto* ssl = static_cast<SSL*>(X509_STORE_CTX_get_ex_data(context, SSL_get_ex_data_X509_STORE_CTX_idx()));
  return session_of(ssl)->check_pinned(context) ? 1 : 0;
}

int new_session_callback(SSL* ssl, SSL_SESSION* session) {
  session_of(ssl)->remember(session);
  return 1; // the reference is ours
}

int ticket_made_callback(SSL*, void*) {
  return 1;
}

SSL_TICKET_RETURN ticket_read_callback(SSL* ssl, SSL_SESSION* session, const unsigned char*, std::size_t,
                                       SSL_TICKET_STATUS status, void*) {
  switch (status) {
  case SSL_TICKET_SUCCESS:
  case SSL_TICKET_SUCCESS_RENEW:
    return session_of(ssl)->may_resume(session) ? SSL_TICKET_RETURN_USE_RENEW : SSL_TICKET_RETURN_IGNORE_RENEW;
  case SSL_TICKET_EMPTY:
  case SSL_TICKET_NO_DECRYPT:
    return SSL_TICKET_RETURN_IGNORE_RENEW;
  default:
    return SSL_TICKET_RETURN_IGNORE;
  }
}

// -- reading the files -----------------------------------------------------------------------------------------------

/// TLS 1.3 with our ways, and no certificate and no trust yet.
ssl_ctx_ptr make_ctx() {
  ssl_ctx_ptr ctx{SSL_CTX_new(TLS_method())};
  assert(ctx);
  auto good = SSL_CTX_set_min_proto_version(ctx.get(), TLS1_3_VERSION) == 1
              && SSL_CTX_set_max_proto_version(ctx.get(), TLS1_3_VERSION) == 1
              && SSL_CTX_set_ciphersuites(ctx.get(), "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:"
                                                     "TLS_CHACHA20_POLY1305_SHA256")
                     == 1
              && SSL_CTX_set1_groups_list(ctx.get(), "X25519:P-256") == 1;
  assert(good);
  SSL_CTX_set_options(ctx.get(), SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE);
  SSL_CTX_set_mode(ctx.get(),
                   SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_CTX_set_max_cert_list(ctx.get(), chain_max_bytes);
  SSL_CTX_set_verify_depth(ctx.get(), 4);
  // What a server knows of a session is in the ticket; what a client knows is in our memory.
  SSL_CTX_set_session_cache_mode(ctx.get(), SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
  SSL_CTX_sess_set_new_cb(ctx.get(), new_session_callback);
  SSL_CTX_set_session_ticket_cb(ctx.get(), ticket_made_callback, ticket_read_callback, nullptr);
  SSL_CTX_set_num_tickets(ctx.get(), 1);
  SSL_CTX_set_timeout(ctx.get(), resumable_s);
  static constexpr unsigned char id[] = "astra";
  SSL_CTX_set_session_id_context(ctx.get(), id, sizeof(id) - 1);
  return ctx;
}

caf::error in_file(const std::string& key, const std::string& path, std::string_view why) {
  return bad(fmt::format("{} = \"{}\": {}", key, path, why));
}

caf::expected<std::string> read(const std::string& key, const std::string& path) {
  auto text = x509::read_pem_file(path);
  if (!text)
    return bad(fmt::format("{} = \"{}\": {}; name a PEM file that this process may read (see astra ca --help)", key,
                           path, error_text(text.error()).substr(path.size() + 2)));
  return text;
}

caf::expected<void> add_authorities(snapshot& to, const std::string& path) {
  auto pem = read("tls.ca", path);
  if (!pem)
    return std::move(pem.error());
  auto authorities = x509::read_certificates(*pem);
  if (authorities.empty())
    return in_file("tls.ca", path, "holds no certificate; name the ca.pem that astra ca init has made");
  for (auto& x : authorities) {
    if (X509_check_ca(x.get()) == 0)
      return in_file(
          "tls.ca", path,
          fmt::format("the certificate of '{}' is no authority's; name the ca.pem that astra ca init has made",
                      x509::subject(*x)));
    X509_STORE_add_cert(to.store.get(), x.get());
  }
  to.authority = std::move(authorities.front());
  return {};
}

caf::expected<void> add_revoked(snapshot& to, const std::string& path) {
  auto pem = read("tls.revoked", path);
  if (!pem)
    return std::move(pem.error());
  to.revoked = x509::read_crl(*pem);
  if (!to.revoked)
    return in_file("tls.revoked", path,
                   "holds no list of revoked certificates; name the revoked.pem of astra ca revoke");
  auto* key = X509_get0_pubkey(to.authority.get());
  auto good = X509_CRL_verify(to.revoked.get(), key) == 1;
  ERR_clear_error();
  if (!good)
    return in_file("tls.revoked", path, "is not signed by the authority of tls.ca; copy both from the same place");
  X509_STORE_add_crl(to.store.get(), to.revoked.get());
  X509_STORE_set_flags(to.store.get(), X509_V_FLAG_CRL_CHECK);
  return {};
}

caf::expected<void> add_own(snapshot& to, const tls_options& files) {
  auto pem = read("tls.certificate", files.certificate);
  if (!pem)
    return std::move(pem.error());
  auto chain = x509::read_certificates(*pem);
  if (chain.empty())
    return in_file("tls.certificate", files.certificate, "holds no certificate; make one with astra ca issue");
  auto& own = *chain.front();
  auto key_pem = read("tls.key", files.key);
  if (!key_pem)
    return std::move(key_pem.error());
  auto key = x509::read_key(*key_pem);
  if (!key)
    return in_file("tls.key", files.key, "holds no key without a passphrase; make one with astra ca issue");
  struct ::stat status {};
  if (::stat(files.key.c_str(), &status) == 0 && (status.st_mode & (S_IROTH | S_IWOTH)) != 0)
    return in_file("tls.key", files.key,
                   fmt::format("everybody on this machine may read it; chmod 600 '{}'", files.key));
  auto fits = X509_check_private_key(&own, key.get()) == 1;
  ERR_clear_error();
  if (!fits)
    return in_file("tls.key", files.key,
                   fmt::format("is not the key of tls.certificate = \"{}\"; name the two that were made together",
                               files.certificate));
  x509::store_context context{X509_STORE_CTX_new()};
  auto* rest = sk_X509_new_null();
  for (std::size_t i = 1; i < chain.size(); ++i)
    sk_X509_push(rest, chain[i].get());
  X509_STORE_CTX_init(context.get(), to.store.get(), &own, rest);
  auto verified = X509_verify_cert(context.get()) == 1;
  auto code = X509_STORE_CTX_get_error(context.get());
  auto what = verified ? "" : describe(code, X509_STORE_CTX_get_current_cert(context.get()));
  context.reset();
  sk_X509_free(rest);
  ERR_clear_error();
  if (!verified)
    return in_file("tls.certificate", files.certificate, what);
  auto identity = x509::identity_of(own);
  if (!identity)
    return in_file("tls.certificate", files.certificate, error_text(identity.error()));
  to.own = std::move(*identity);
  to.expires_at = x509::not_after(own);
  auto taken = SSL_CTX_use_certificate(to.ctx.get(), &own) == 1 && SSL_CTX_use_PrivateKey(to.ctx.get(), key.get()) == 1;
  for (std::size_t i = 1; taken && i < chain.size(); ++i)
    taken = SSL_CTX_add1_chain_cert(to.ctx.get(), chain[i].get()) == 1;
  if (!taken)
    return in_file("tls.certificate", files.certificate,
                   fmt::format("cannot be used: {}; make one with astra ca issue", x509::take_reason()));
  return {};
}

caf::expected<std::shared_ptr<const snapshot>> read_files(const tls_options& files) {
  for (auto [key, path] : {std::pair{"tls.certificate", &files.certificate}, std::pair{"tls.key", &files.key},
                           std::pair{"tls.ca", &files.ca}})
    if (path->empty())
      return bad(fmt::format("{}: missing; TLS needs certificate, key and ca together", key));
  auto result = std::make_shared<snapshot>();
  result->ctx = make_ctx();
  result->store.reset(X509_STORE_new());
  if (auto done = add_authorities(*result, files.ca); !done)
    return std::move(done.error());
  if (!files.revoked.empty())
    if (auto done = add_revoked(*result, files.revoked); !done)
      return std::move(done.error());
  if (auto done = add_own(*result, files); !done)
    return std::move(done.error());
  SSL_CTX_set1_cert_store(result->ctx.get(), result->store.get());
  SSL_CTX_set_verify(result->ctx.get(), SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, verify_callback);
  // Never an issuer that only the chain's sender knows, never more of a chain than the file has.
  SSL_CTX_set_mode(result->ctx.get(), SSL_MODE_NO_AUTO_CHAIN);
  return std::shared_ptr<const snapshot>{std::move(result)};
}

// -- the context -----------------------------------------------------------------------------------------------------

class context_impl final : public tls_context {
public:
  context_impl(tls_options files, std::shared_ptr<const snapshot> first)
    : files_(std::move(files)), current_(std::move(first)) {}

  caf::expected<void> reload() override {
    if (!files_.enabled())
      return {};
    auto next = read_files(files_);
    if (!next)
      return std::move(next.error());
    std::lock_guard guard{mutex_};
    current_ = std::move(*next);
    return {};
  }

  std::unique_ptr<tls_session> accept(int fd) override { return make(fd, side::server, {}); }
  std::unique_ptr<tls_session> accept_anyone(int fd) override { return make(fd, side::server_for_anyone, {}); }
  std::unique_ptr<tls_session> connect(int fd, const std::string& target) override {
    return make(fd, side::client, target);
  }
  peer_identity own() const override { return current()->own; }
  std::int64_t expires_at() const override { return current()->expires_at; }
  bool revoked(const std::string& fingerprint) const override { return peers_->is_revoked(fingerprint, *current()); }

private:
  std::shared_ptr<const snapshot> current() const {
    std::lock_guard guard{mutex_};
    return current_;
  }

  std::unique_ptr<tls_session> make(int fd, side which, std::string target) {
    return std::make_unique<session_impl>(current(), peers_, fd, which, std::move(target));
  }

  const tls_options files_;
  const std::shared_ptr<peer_registry> peers_ = std::make_shared<peer_registry>();
  mutable std::mutex mutex_;
  std::shared_ptr<const snapshot> current_;
};

// -- servers of others -----------------------------------------------------------------------------------------------

/// A connection to a server that is none of the cluster's.
class web_session final : public ssl_session {
public:
  web_session(SSL_CTX& ctx, int fd, const std::string& host) : ssl_session(ctx, fd), host_(host) {
    SSL_set_connect_state(ssl_.get());
    auto* wanted = SSL_get0_param(ssl_.get());
    if (X509_VERIFY_PARAM_set1_ip_asc(wanted, host.c_str()) == 1)
      return;
    ERR_clear_error();
    // As SSL_set_tlsext_host_name does, with a cast of its own.
    if (SSL_set1_host(ssl_.get(), host.c_str()) != 1
        || SSL_ctrl(ssl_.get(), SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name,
                    const_cast<char*>(host.c_str()))
               != 1)
      fail(fmt::format("'{}' is no name that a certificate could have", host_));
  }

  tls_step handshake() override {
    if (broken_)
      return tls_step::failed;
    ERR_clear_error();
    errno = 0;
    auto result = SSL_do_handshake(ssl_.get());
    return result == 1 ? tls_step::done : explain(result);
  }

  bool resumed() const override { return false; }
  std::int64_t peer_expires_at() const override { return 0; }
  std::int64_t own_expires_at() const override { return 0; }

private:
  std::string cut_off() const override { return "the connection failed: it was cut off"; }

  std::string why() override {
    auto code = ERR_get_error();
    ERR_clear_error();
    if (ERR_GET_LIB(code) == ERR_LIB_SSL && ERR_GET_REASON(code) == SSL_R_CERTIFICATE_VERIFY_FAILED)
      return fmt::format("its certificate is not good for '{}': {}; the authorities of this machine count", host_,
                         X509_verify_cert_error_string(SSL_get_verify_result(ssl_.get())));
    return reason_text(code);
  }

  const std::string host_;
};

class web_context final : public tls_context {
public:
  web_context() : ctx_(SSL_CTX_new(TLS_client_method())) {
    assert(ctx_);
    SSL_CTX_set_min_proto_version(ctx_.get(), TLS1_2_VERSION);
    SSL_CTX_set_mode(ctx_.get(), SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_verify(ctx_.get(), SSL_VERIFY_PEER, nullptr);
    // Where there are none nobody is trusted.
    SSL_CTX_set_default_verify_paths(ctx_.get());
    ERR_clear_error();
  }

  caf::expected<void> reload() override { return {}; }
  std::unique_ptr<tls_session> accept(int) override {
    assert(!"it only connects");
    return nullptr;
  }
  std::unique_ptr<tls_session> connect(int fd, const std::string& target) override {
    auto host = target.substr(0, target.rfind(':'));
    if (host.starts_with('[') && host.ends_with(']'))
      host = host.substr(1, host.size() - 2);
    return std::make_unique<web_session>(*ctx_, fd, host);
  }
  peer_identity own() const override { return {}; }
  std::int64_t expires_at() const override { return 0; }
  bool revoked(const std::string&) const override { return false; }

private:
  ssl_ctx_ptr ctx_;
};

} // namespace

std::shared_ptr<tls_context> tls_context::web() {
  return std::make_shared<web_context>();
}

caf::expected<std::shared_ptr<tls_context>> tls_context::load(const tls_options& files) {
  auto first = read_files(files);
  if (!first)
    return std::move(first.error());
  return std::shared_ptr<tls_context>{std::make_shared<context_impl>(files, std::move(*first))};
}

std::shared_ptr<tls_context> tls_context::pin(const std::string& authority_fingerprint) {
  auto files = std::make_shared<snapshot>();
  files->ctx = make_ctx();
  files->pinned = authority_fingerprint;
  SSL_CTX_set_verify(files->ctx.get(), SSL_VERIFY_PEER, nullptr);
  SSL_CTX_set_cert_verify_callback(files->ctx.get(), verify_pinned_callback, nullptr);
  return std::make_shared<context_impl>(tls_options{}, std::move(files));
}

} // namespace astra
