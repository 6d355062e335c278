#include "runtime/net/tls.hpp"

#include "test/runtime/security/test_authority.hpp"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <array>
#include <fstream>
#include <optional>

using namespace astra;
using namespace astra::test;
using namespace std::chrono_literals;

namespace {

bool contains(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

/// Two connected sockets.
struct socket_pair {
  socket_pair() { REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds.data()) == 0); }
  ~socket_pair() {
    for (auto fd : fds)
      if (fd >= 0)
        ::close(fd);
  }
  std::array<int, 2> fds;
};

/// Server and client on two ends, driven by turns.
struct two_ends {
  two_ends(tls_context& server_files, tls_context& client_files, bool for_anyone = false)
    : server(for_anyone ? server_files.accept_anyone(sockets.fds[0]) : server_files.accept(sockets.fds[0])),
      client(client_files.connect(sockets.fds[1], "somewhere:1")) {}

  /// Until both are done or one has failed; whoever has failed closes, as an owner does.
  bool shake() {
    auto at_server = tls_step::want_read, at_client = tls_step::want_read;
    for (auto i = 0; i < 20 && (at_server != tls_step::done || at_client != tls_step::done); ++i) {
      at_client = client->handshake();
      at_server = server->handshake();
      if (at_server == tls_step::failed || at_client == tls_step::failed)
        return false;
    }
    return at_server == tls_step::done && at_client == tls_step::done;
  }

  /// Says something from one end to the other; what has arrived.
  static std::string say(tls_session& from, tls_session& to, const std::string& text) {
    std::size_t written = 0;
    if (from.write(text.data(), text.size(), written) != tls_step::done)
      return "not written: " + from.error();
    std::string received(text.size(), '\0');
    std::size_t count = 0;
    if (to.read(received.data(), received.size(), count) != tls_step::done)
      return "not read: " + to.error();
    received.resize(count);
    return received;
  }

  /// Lets the client take the ticket that the server has sent.
  void take_ticket() {
    char byte = 0;
    std::size_t count = 0;
    CHECK(client->read(&byte, 1, count) == tls_step::want_read);
  }

  socket_pair sockets;
  std::unique_ptr<tls_session> server;
  std::unique_ptr<tls_session> client;
};

struct fixture : test_authority {
  std::shared_ptr<tls_context> load(const tls_options& files) { return need(tls_context::load(files)); }
  std::string problem(const tls_options& files) {
    auto loaded = tls_context::load(files);
    return loaded ? "" : error_text(loaded.error());
  }
};

} // namespace

TEST_CASE_FIXTURE(fixture, "both ends know each other's verified identity, and bytes travel both ways") {
  auto resource = load(issue("r1", {peer_role::resource}));
  auto node = load(issue("n17", {peer_role::node}));
  two_ends ends{*resource, *node};
  REQUIRE(ends.shake());
  CHECK(ends.server->peer() == peer_identity{"prod", "n17", {peer_role::node}, {}});
  CHECK(ends.client->peer() == peer_identity{"prod", "r1", {peer_role::resource}, {}});
  CHECK(ends.server->fingerprint() == need(ca.list()).at(1).fingerprint);
  CHECK_FALSE(ends.server->resumed());
  CHECK(two_ends::say(*ends.client, *ends.server, "beat") == "beat");
  CHECK(two_ends::say(*ends.server, *ends.client, "welcome") == "welcome");
  CHECK(node->own().name == "n17");
  CHECK(node->expires_at() > unix_now() + 23 * 3600);
}

TEST_CASE_FIXTURE(fixture, "a node's certificate is not an operator's") {
  auto gateway = load(issue("g1", {peer_role::gateway}));
  auto node = load(issue("n17", {peer_role::node}));
  two_ends ends{*gateway, *node};
  REQUIRE(ends.shake());
  CHECK_FALSE(ends.server->peer().roles.has_any({peer_role::operator_, peer_role::viewer, peer_role::resource}));
}

TEST_CASE_FIXTURE(fixture, "a server of another authority is refused, also of one with the same name") {
  test_authority other{"prod"};
  auto server = load(issue("r1", {peer_role::resource}));
  auto stranger = load(other.issue("n17", {peer_role::node}));
  two_ends ends{*server, *stranger};
  CHECK_FALSE(ends.shake());
  CHECK(contains(ends.client->error(), "the certificate of 'r1' is signed by another authority"));
}

TEST_CASE_FIXTURE(fixture, "the server says what is wrong with a client's certificate, and the client learns of it") {
  test_authority other{"prod"};
  auto server = load(issue("r1", {peer_role::resource}));
  // Signed by another authority, but trusting ours.
  auto files = other.issue("n17", {peer_role::node});
  std::ofstream{directory / "both.pem"} << ca.certificate_pem() << other.ca.certificate_pem();
  files.ca = (directory / "both.pem").string();
  auto stranger = load(files);
  two_ends ends{*server, *stranger};
  CHECK_FALSE(ends.shake());
  CHECK(contains(ends.server->error(), "the certificate of 'n17' is signed by another authority ('prod')"));
  char byte = 0;
  std::size_t count = 0;
  CHECK(ends.client->read(&byte, 1, count) == tls_step::failed);
  CHECK(contains(ends.client->error(), "the peer refuses this process's certificate: it is signed by another"));
}

TEST_CASE_FIXTURE(fixture, "a certificate that expires between loading and handshake is refused") {
  auto server = load(issue("r1", {peer_role::resource}));
  auto brief = load(issue("n17", {peer_role::node}, 58, 60s));
  while (brief->expires_at() >= unix_now())
    ::usleep(100'000);
  two_ends ends{*server, *brief};
  CHECK_FALSE(ends.shake());
  CHECK(contains(ends.server->error(), "the certificate of 'n17' has expired on "));
  CHECK(contains(ends.server->error(), "UTC; issue a new one"));
}

TEST_CASE_FIXTURE(fixture, "a revoked certificate is refused, and an open session's is known to be revoked") {
  auto files = issue("r1", {peer_role::resource});
  files.revoked = revoked_file();
  auto server = load(files);
  auto node = load(issue("n17", {peer_role::node}));
  two_ends before{*server, *node};
  REQUIRE(before.shake());
  auto fingerprint = before.server->fingerprint();
  need(ca.revoke(fingerprint, unix_now()));
  CHECK_FALSE(server->revoked(fingerprint));
  CHECK(server->reload());
  CHECK(server->revoked(fingerprint));
  // The session itself goes on until its owner ends it.
  CHECK(two_ends::say(*before.client, *before.server, "still here") == "still here");
  two_ends after{*server, *node};
  CHECK_FALSE(after.shake());
  CHECK(after.server->error() == "the certificate of 'n17' is revoked");
  before.server.reset();
  CHECK_FALSE(server->revoked(fingerprint));
}

TEST_CASE_FIXTURE(fixture, "a client that does not speak TLS, and a server that does not, are named as such") {
  auto files = load(issue("r1", {peer_role::resource}));
  for (auto text : {"GET / HTTP/1.1\r\n\r\n", "\x00\x00\x00\x05hello", "SSH-2.0-OpenSSH_9.2\r\n"}) {
    socket_pair sockets;
    REQUIRE(::send(sockets.fds[1], text, 16, MSG_NOSIGNAL) > 0);
    auto server = files->accept(sockets.fds[0]);
    CHECK(server->handshake() == tls_step::failed);
    CHECK(contains(server->error(), "the peer speaks without TLS"));
    CHECK(server->handshake() == tls_step::failed);
  }
  socket_pair sockets;
  auto client = files->connect(sockets.fds[1], "somewhere:1");
  CHECK(client->handshake() == tls_step::want_read);
  REQUIRE(::send(sockets.fds[0], "HTTP/1.1 400 Bad Request\r\n", 26, MSG_NOSIGNAL) > 0);
  CHECK(client->handshake() == tls_step::failed);
  CHECK(contains(client->error(), "the peer answers without TLS"));
}

TEST_CASE_FIXTURE(fixture, "a peer that vanishes is an error and not a signal") {
  auto files = load(issue("r1", {peer_role::resource}));
  {
    socket_pair sockets;
    auto client = files->connect(sockets.fds[1], "somewhere:1");
    ::close(std::exchange(sockets.fds[0], -1));
    CHECK(client->handshake() == tls_step::failed);
    CHECK_FALSE(client->error().empty());
  }
  two_ends ends{*files, *files};
  REQUIRE(ends.shake());
  ::close(std::exchange(ends.sockets.fds[1], -1));
  std::string text(1 << 20, 'x');
  std::size_t count = 0;
  CHECK(ends.server->write(text.data(), text.size(), count) == tls_step::failed);
  CHECK(contains(ends.server->error(), "Broken pipe"));
}

TEST_CASE_FIXTURE(fixture, "an orderly end is told from a cut") {
  auto files = load(issue("r1", {peer_role::resource}));
  char byte = 0;
  std::size_t count = 0;
  two_ends orderly{*files, *files};
  REQUIRE(orderly.shake());
  CHECK(orderly.client->shut_down() == tls_step::closed);
  CHECK(orderly.server->read(&byte, 1, count) == tls_step::closed);
  two_ends cut{*files, *files};
  REQUIRE(cut.shake());
  cut.take_ticket(); // Unread bytes would make it a reset.
  ::close(std::exchange(cut.sockets.fds[1], -1));
  CHECK(cut.server->read(&byte, 1, count) == tls_step::failed);
  CHECK(contains(cut.server->error(), "cut the connection off"));
}

TEST_CASE_FIXTURE(fixture, "a second session to the same target resumes the first, with the same verified identity") {
  auto server = load(issue("r1", {peer_role::resource}));
  auto node = load(issue("n17", {peer_role::node}));
  std::string fingerprint;
  for (auto round = 0; round < 3; ++round) {
    two_ends ends{*server, *node};
    REQUIRE(ends.shake());
    CHECK(ends.server->resumed() == (round > 0));
    CHECK(ends.client->resumed() == (round > 0));
    CHECK(ends.server->peer().name == "n17");
    CHECK(ends.client->peer().name == "r1");
    CHECK((round == 0 || ends.server->fingerprint() == fingerprint));
    fingerprint = ends.server->fingerprint();
    CHECK(two_ends::say(*ends.client, *ends.server, "beat") == "beat");
    ends.take_ticket();
  }
}

TEST_CASE_FIXTURE(fixture, "a session is not resumed with a certificate that has expired or was revoked since") {
  auto files = issue("r1", {peer_role::resource});
  files.revoked = revoked_file();
  auto server = load(files);
  auto brief = load(issue("n17", {peer_role::node}, 56, 60s));
  {
    two_ends ends{*server, *brief};
    REQUIRE(ends.shake());
    ends.take_ticket();
  }
  while (brief->expires_at() >= unix_now())
    ::usleep(100'000);
  {
    two_ends ends{*server, *brief};
    CHECK_FALSE(ends.shake());
    CHECK(contains(ends.server->error(), "has expired"));
  }
  auto node = load(issue("n18", {peer_role::node}));
  {
    two_ends ends{*server, *node};
    REQUIRE(ends.shake());
    ends.take_ticket();
  }
  need(ca.revoke(need(ca.list()).back().serial, unix_now()));
  CHECK(server->reload());
  two_ends ends{*server, *node};
  CHECK_FALSE(ends.shake());
  CHECK(contains(ends.server->error(), "is revoked"));
}

TEST_CASE_FIXTURE(fixture, "certificates rotate by reload while sessions go on") {
  auto files = issue("r1", {peer_role::resource});
  auto server = load(files);
  auto node = load(issue("n17", {peer_role::node}));
  two_ends old_session{*server, *node};
  REQUIRE(old_session.shake());
  auto old_fingerprint = old_session.client->fingerprint();
  issue("r1", {peer_role::resource}, 0, 48h);
  CHECK(server->reload());
  CHECK(server->expires_at() > unix_now() + 47 * 3600);
  two_ends new_session{*server, *node};
  REQUIRE(new_session.shake());
  CHECK(new_session.client->fingerprint() != old_fingerprint);
  CHECK(two_ends::say(*old_session.server, *old_session.client, "old") == "old");
  // A reload that fails changes nothing.
  std::ofstream{files.certificate} << "no certificate";
  auto failed = server->reload();
  REQUIRE_FALSE(failed);
  CHECK(contains(error_text(failed.error()), files.certificate));
  two_ends after{*server, *node};
  CHECK(after.shake());
}

TEST_CASE_FIXTURE(fixture,
                  "a server for anyone takes a client without a certificate and still verifies one that has one") {
  auto files = issue("g1", {peer_role::gateway});
  // So that a client that only knows its fingerprint trusts the server without asking for it.
  std::ofstream{files.certificate, std::ios::app} << ca.certificate_pem();
  auto gateway = load(files);
  auto nobody = tls_context::pin(ca.fingerprint());
  for (auto round = 0; round < 2; ++round) {
    two_ends ends{*gateway, *nobody, true};
    REQUIRE(ends.shake());
    CHECK(ends.server->peer().roles.empty());
    CHECK(ends.server->fingerprint() == "");
    CHECK(ends.client->peer().name == "g1");
    CHECK(two_ends::say(*ends.client, *ends.server, "join") == "join");
    ends.take_ticket();
  }
  {
    // What was agreed on without a certificate is worth nothing where one is needed.
    two_ends ends{*gateway, *nobody};
    CHECK_FALSE(ends.shake());
    CHECK(ends.server->error() == "the peer shows no certificate");
    char byte = 0;
    std::size_t count = 0;
    CHECK(ends.client->read(&byte, 1, count) == tls_step::failed);
    CHECK(contains(ends.client->error(), "there is none; name one in [tls]"));
  }
  auto viewer = load(issue("v", {peer_role::viewer}));
  two_ends ends{*gateway, *viewer, true};
  REQUIRE(ends.shake());
  CHECK(ends.server->peer().roles == peer_roles{peer_role::viewer});
  test_authority other;
  auto pinned_elsewhere = tls_context::pin(other.ca.fingerprint());
  two_ends wrong{*gateway, *pinned_elsewhere, true};
  CHECK_FALSE(wrong.shake());
  CHECK(contains(wrong.client->error(), "does not show the authority that the token names"));
}

TEST_CASE_FIXTURE(fixture, "a peer of another cluster is refused even when the authority is the same") {
  // Only by hand: an authority has one cluster.
  test_authority other{"test"};
  auto server_files = issue("r1", {peer_role::resource});
  auto node_files = other.issue("n17", {peer_role::node});
  std::ofstream{directory / "both.pem"} << ca.certificate_pem() << other.ca.certificate_pem();
  server_files.ca = node_files.ca = (directory / "both.pem").string();
  auto server = load(server_files);
  auto node = load(node_files);
  two_ends ends{*server, *node};
  CHECK_FALSE(ends.shake());
  CHECK(contains(ends.client->error(), "'r1' is of cluster 'prod', not of 'test'"));
}

TEST_CASE_FIXTURE(fixture, "files that do not fit together are refused with key, path and cure") {
  auto files = issue("n17", {peer_role::node});
  auto other = issue("n18", {peer_role::node});
  CHECK(problem(files) == "");
  auto with = [&](auto change) {
    auto changed = files;
    change(changed);
    return problem(changed);
  };
  CHECK(contains(with([](auto& f) { f.key = ""; }), "tls.key: missing; TLS needs certificate, key and ca together"));
  CHECK(contains(with([](auto& f) { f.ca = ""; }), "tls.ca: missing"));
  CHECK(contains(with([&](auto& f) { f.key = other.key; }), "tls.key = \"" + other.key + "\": is not the key of"));
  CHECK(contains(with([](auto& f) { f.certificate = "/nowhere.pem"; }),
                 "tls.certificate = \"/nowhere.pem\": cannot be read: No such file or directory"));
  CHECK(contains(with([](auto& f) { f.certificate = f.key; }), "holds no certificate"));
  CHECK(contains(with([](auto& f) { f.key = f.certificate; }), "holds no key"));
  CHECK(contains(with([](auto& f) { f.ca = f.certificate; }), "is no authority's"));
  CHECK(contains(with([](auto& f) { f.revoked = f.ca; }), "holds no list of revoked certificates"));
  test_authority stranger;
  CHECK(contains(with([&](auto& f) { f.ca = stranger.issue("x", {peer_role::node}).ca; }),
                 "signed by another authority"));
  CHECK(contains(with([&](auto& f) { f.revoked = stranger.revoked_file(); }), "is not signed by the authority"));
  CHECK(contains(problem(issue("old", {peer_role::node}, 7200, 3600s)), "'old' has expired on "));
  CHECK(contains(with([&](auto& f) { f.certificate = f.ca, f.key = (directory / "ca" / "ca.key").string(); }),
                 "says no role"));
  need(ca.revoke(need(ca.list()).front().serial, unix_now()));
  CHECK(contains(with([&](auto& f) { f.revoked = revoked_file(); }), "'n17' is revoked"));
  ::chmod(files.key.c_str(), 0644);
  CHECK(contains(problem(files), "everybody on this machine may read it; chmod 600"));
}
