#include "p2p/peer_tls.hpp"

#include "p2p/file_io.hpp"
#include "p2p/libtorrent_engine.hpp"
#include "test/p2p/certificates.hpp"
#include "test/p2p/files.hpp"

#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <openssl/ssl.h>
#include <sys/socket.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <set>
#include <thread>
#include <vector>

using namespace astra::p2p;
using namespace std::chrono_literals;
namespace fs = std::filesystem;
using steady = std::chrono::steady_clock;

namespace {

/// Long enough for a machine that has other things to do.
constexpr auto patience = 60s;

constexpr std::size_t piece_bytes = 256 * 1024;

std::shared_ptr<peer_tls> loaded(const tls_files& files) {
  auto result = peer_tls::load(files);
  if (!result)
    FAIL(result.problem().text);
  return *result;
}

/// An engine at an address of its own on the loopback device, and a directory for its files.
class node {
public:
  /// @param tls null: in the clear.
  node(int number, std::shared_ptr<peer_tls> tls) : address_("127.0.0." + std::to_string(number)) {
    start(std::move(tls));
  }

  void start(std::shared_ptr<peer_tls> tls) {
    libtorrent_options options;
    options.listen_address = address_;
    options.tls = std::move(tls);
    engine_ = make_libtorrent_engine(options);
    port_ = 0;
    REQUIRE(wait([&] { return port_ != 0; }));
  }

  void stop() {
    engine_.reset();
    finished = checked = false;
    pieces.clear();
  }

  peer_endpoint where() const { return {address_, port_}; }
  engine& to() { return *engine_; }
  fs::path place() const { return directory_ / "place"; }

  void pump() {
    for (auto& event : engine_->drain())
      std::visit([this](auto& what) { on(what); }, event);
  }

  template <class Condition>
  bool wait(Condition condition) {
    for (auto end = steady::now() + patience; steady::now() < end; std::this_thread::sleep_for(10ms)) {
      pump();
      if (condition())
        return true;
    }
    return false;
  }

  /// Serves a file's content, without having it checked first.
  void seed(const content& what, const fs::path& source) {
    fs::create_directories(place() / what.name);
    fs::copy_file(source, place() / what.name / what.files[0].path);
    engine_->add({std::make_shared<content>(what), place(), true, {}, {}, {}, {}});
    REQUIRE(wait([&] { return checked || finished; }));
  }

  void fetch(const content& what, const std::vector<peer_endpoint>& from, std::vector<char> resume = {}) {
    fs::create_directories(place());
    engine_->set_peers(from);
    engine_->add({std::make_shared<content>(what), place(), false, std::move(resume), {}, {}, from});
  }

  /// Told of a peer again and again, as by a tracker, until something is so.
  template <class Condition>
  bool inject_until(const content& what, const peer_endpoint& peer, Condition condition) {
    auto next = steady::now();
    return wait([&] {
      if (steady::now() >= next) {
        engine_->inject(what.address, {peer});
        engine_->request_progress();
        next = steady::now() + 500ms;
      }
      return condition();
    });
  }

  event::progress now() {
    progress.reset();
    engine_->request_progress();
    REQUIRE(wait([&] { return progress.has_value(); }));
    return *progress;
  }

  std::vector<char> resume_data(const content& what) {
    resume.reset();
    engine_->request_resume(what.address);
    REQUIRE(wait([&] { return resume.has_value(); }));
    return *resume;
  }

  bool finished = false;
  bool checked = false;
  std::set<std::uint32_t> pieces;
  std::optional<event::progress> progress;
  std::optional<std::vector<char>> resume;
  std::vector<std::string> failures;
  std::size_t left = 0;

private:
  void on(event::listening& what) { port_ = what.where.port; }
  void on(event::engine_failed& what) { failures.push_back(what.problem.text); }
  void on(event::failed& what) { failures.push_back(what.problem.text); }
  void on(event::checked&) { checked = true; }
  void on(event::piece_finished& what) { pieces.insert(what.piece); }
  void on(event::content_finished&) { finished = true; }
  void on(event::progress& what) { progress = what; }
  void on(event::resume_ready& what) { resume = what.data; }
  void on(event::peer_left&) { ++left; }
  template <class Other>
  void on(Other&) {}

  temporary_directory directory_;
  std::string address_;
  std::uint16_t port_ = 0;
  std::unique_ptr<engine> engine_;
};

struct fixture {
  content blob(std::size_t bytes) {
    write_file(source(), random_bytes(bytes, 1));
    auto made = make_content(source());
    REQUIRE(made);
    return *made;
  }
  fs::path source() const { return directory / "model"; }

  temporary_directory directory;
  test_authority ours{directory / "ours"};
  test_authority theirs{directory / "theirs"};
};

/// A peer that is not libtorrent: says what it likes.
class raw_peer {
public:
  explicit raw_peer(const std::string& address) : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    timeval limit{60, 0};
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    auto own = at(address, 0);
    REQUIRE(::bind(fd_.get(), reinterpret_cast<sockaddr*>(&own), sizeof(own)) == 0);
    SSL_CTX_set_verify(context_.get(), SSL_VERIFY_NONE, nullptr);
  }

  void show(const tls_files& files) {
    REQUIRE(SSL_CTX_use_certificate_file(context_.get(), files.certificate.c_str(), SSL_FILETYPE_PEM) == 1);
    REQUIRE(SSL_CTX_use_PrivateKey_file(context_.get(), files.key.c_str(), SSL_FILETYPE_PEM) == 1);
  }

  void speak_no_newer_than(int version) { SSL_CTX_set_max_proto_version(context_.get(), version); }

  std::uint16_t listen() {
    REQUIRE(::listen(fd_.get(), 8) == 0);
    sockaddr_in own{};
    socklen_t size = sizeof(own);
    ::getsockname(fd_.get(), reinterpret_cast<sockaddr*>(&own), &size);
    return ntohs(own.sin_port);
  }

  struct visit {
    /// The info-hash that the client asks for, in hexadecimal.
    std::string name;
    /// What it says after the handshake.
    std::string said;
  };

  visit receive() {
    astra::p2p::file_handle peer{::accept4(fd_.get(), nullptr, nullptr, SOCK_CLOEXEC)};
    REQUIRE(peer);
    ssl connection{SSL_new(context_.get())};
    SSL_set_fd(connection.get(), peer.get());
    auto accepted = SSL_accept(connection.get()) == 1;
    visit result;
    if (auto* name = SSL_get_servername(connection.get(), TLSEXT_NAMETYPE_host_name))
      result.name = name;
    if (accepted)
      result.said = all_of([&](char* into, int size) { return SSL_read(connection.get(), into, size); });
    return result;
  }

  void dial(const peer_endpoint& where) {
    auto other = at(where.address, where.port);
    REQUIRE(::connect(fd_.get(), reinterpret_cast<sockaddr*>(&other), sizeof(other)) == 0);
  }

  /// The first bytes of what is answered to BitTorrent's first message.
  /// @param name as in `visit`; empty: none is asked for.
  std::string answer_over_tls(const std::string& name, const std::string& hash) {
    ssl connection{SSL_new(context_.get())};
    SSL_set_fd(connection.get(), fd_.get());
    // Not the macro: it casts.
    if (auto asked = name; !name.empty())
      SSL_ctrl(connection.get(), SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name, asked.data());
    auto hello = first_message(hash);
    if (SSL_connect(connection.get()) != 1
        || SSL_write(connection.get(), hello.data(), static_cast<int>(hello.size())) <= 0)
      return "";
    return all_of([&](char* into, int size) { return SSL_read(connection.get(), into, size); });
  }

  std::string answer_in_the_clear(const std::string& hash) {
    auto hello = first_message(hash);
    ::send(fd_.get(), hello.data(), hello.size(), MSG_NOSIGNAL);
    return all_of([&](char* into, int size) {
      return static_cast<int>(::recv(fd_.get(), into, static_cast<std::size_t>(size), 0));
    });
  }

private:
  struct deleter {
    void operator()(SSL* x) const { SSL_free(x); }
    void operator()(SSL_CTX* x) const { SSL_CTX_free(x); }
  };
  using ssl = std::unique_ptr<SSL, deleter>;

  static sockaddr_in at(const std::string& address, std::uint16_t port) {
    sockaddr_in result{};
    result.sin_family = AF_INET;
    result.sin_port = htons(port);
    ::inet_pton(AF_INET, address.c_str(), &result.sin_addr);
    return result;
  }

  static std::string first_message(const std::string& hash) {
    std::string result = "\x13"
                         "BitTorrent protocol"
                         + std::string(8, '\0');
    for (std::size_t i = 0; i + 1 < hash.size(); i += 2)
      result += static_cast<char>(std::stoi(hash.substr(i, 2), nullptr, 16));
    return result + "-XX0000-abcdefghijkl";
  }

  /// Until the other one ends it, or has said enough.
  template <class Read>
  static std::string all_of(Read read) {
    std::string result;
    char part[4096];
    for (auto count = 0; result.size() < 68 && (count = read(part, sizeof(part))) > 0;)
      result.append(part, static_cast<std::size_t>(count));
    return result;
  }

  astra::p2p::file_handle fd_;
  std::unique_ptr<SSL_CTX, deleter> context_{SSL_CTX_new(TLS_method())};
};

} // namespace

TEST_CASE_FIXTURE(fixture, "with TLS members get a content from each other, under the address that it has without") {
  auto what = blob(3'000'000);
  auto address = what.address;
  node first{2, loaded(ours.issue("m1"))};
  node second{3, loaded(ours.issue("m2"))};
  node third{4, loaded(ours.issue("another-name"))};
  first.to().set_peers({second.where()});
  first.seed(what, source());
  second.fetch(what, {first.where()});
  REQUIRE(second.wait([&] { return second.finished; }));
  CHECK(file_bytes(second.place() / what.name / what.files[0].path) == file_bytes(source()));
  CHECK(second.now().address == address);
  CHECK(second.pieces.size() == what.piece_hashes.size());
  // And on, the other way of dialling: from who fetched it.
  third.fetch(what, {});
  REQUIRE(third.wait([&] { return third.checked; }));
  third.to().set_peers({second.where()});
  second.to().set_peers({third.where()});
  REQUIRE(second.inject_until(what, third.where(), [&] {
    third.pump();
    return third.finished;
  }));
  CHECK(file_bytes(third.place() / what.name / what.files[0].path) == file_bytes(source()));
  CHECK(first.failures.empty());
  CHECK(second.failures.empty());
  CHECK(third.failures.empty());
}

TEST_CASE_FIXTURE(fixture, "with TLS, too, pieces from elsewhere make a content complete") {
  auto what = blob(3 * piece_bytes + 5);
  node alone{3, loaded(ours.issue("alone"))};
  alone.fetch(what, {});
  REQUIRE(alone.wait([&] { return alone.checked; }));
  auto bytes = file_bytes(source());
  for (std::uint32_t piece = 0; piece < 4; ++piece) {
    auto part = bytes.substr(piece * piece_bytes, piece_bytes);
    alone.to().add_piece(what.address, piece, {part.begin(), part.end()});
  }
  CHECK(alone.wait([&] { return alone.finished; }));
  CHECK(file_bytes(alone.place() / what.name / what.files[0].path) == bytes);
}

TEST_CASE_FIXTURE(fixture, "a stranger gets no byte, though its address is named and it knows the content") {
  auto what = blob(1'000'000);
  auto files = ours.issue("m1");
  files.is_member = [](const std::vector<std::string>& uris) {
    return uris.size() == 1 && uris[0].ends_with("?role=node");
  };
  node member{2, loaded(files)};
  std::shared_ptr<peer_tls> tls;
  SUBCASE("with a certificate of another authority") {
    tls = loaded(theirs.issue("m2"));
  }
  SUBCASE("with a certificate of another authority that it does not say") {
    auto strange = theirs.issue("m2");
    strange.ca = files.ca;
    tls = loaded(strange);
  }
  SUBCASE("with a certificate that it signed itself") {
    tls = loaded(ours.issue_self_signed("m2"));
  }
  SUBCASE("with a certificate of a person") {
    tls = loaded(ours.issue("alice", "viewer"));
  }
  SUBCASE("without TLS") {}
  node stranger{3, tls};
  member.seed(what, source());
  member.to().set_peers({stranger.where()});
  stranger.fetch(what, {member.where()});
  REQUIRE(stranger.inject_until(what, member.where(), [&] { return stranger.left >= 2; }));
  CHECK(stranger.pieces.empty());
  CHECK(stranger.now().downloaded_bytes == 0);
  CHECK(member.now().uploaded_bytes == 0);
  // Nor when it is the member that dials.
  auto left = member.left;
  REQUIRE(member.inject_until(what, stranger.where(), [&] { return member.left >= left + 2; }));
  stranger.pump();
  CHECK(stranger.pieces.empty());
  CHECK(member.now().uploaded_bytes == 0);
  // A member gets it all the while.
  node second{4, loaded(ours.issue("m3"))};
  member.to().set_peers({stranger.where(), second.where()});
  second.fetch(what, {member.where()});
  CHECK(second.inject_until(what, member.where(), [&] { return second.finished; }));
}

TEST_CASE_FIXTURE(fixture, "nothing is taken from a stranger") {
  auto what = blob(1'000'000);
  node stranger{2, loaded(theirs.issue("m2"))};
  node member{3, loaded(ours.issue("m1"))};
  stranger.seed(what, source());
  stranger.to().set_peers({member.where()});
  member.fetch(what, {stranger.where()});
  REQUIRE(member.inject_until(what, stranger.where(), [&] { return member.left >= 2; }));
  CHECK(member.pieces.empty());
  CHECK(member.now().downloaded_bytes == 0);
}

TEST_CASE_FIXTURE(fixture, "only a peer with a certificate of the authority, over TLS 1.3, is answered") {
  auto what = blob(300'000);
  auto taken_back = ours.issue("m4");
  auto files = ours.issue("m1");
  files.revoked = ours.revoke({taken_back});
  node member{2, loaded(files)};
  member.seed(what, source());
  // What the content is called on the wire, a dialled peer hears; and with a strange certificate nothing else.
  raw_peer listener{"127.0.0.9"};
  listener.show(theirs.issue("listener"));
  peer_endpoint there{"127.0.0.9", listener.listen()};
  member.to().set_peers({there});
  node fetching{3, loaded(ours.issue("m2"))};
  fetching.fetch(what, {there});
  auto visit = listener.receive();
  CHECK(visit.said.empty());
  REQUIRE(visit.name.size() == 40);
  CHECK_FALSE(to_string(what.address).starts_with(visit.name));
  auto hash = visit.name;
  raw_peer dialling{"127.0.0.9"};
  dialling.dial(member.where());
  SUBCASE("with all that") {
    dialling.show(ours.issue("m3"));
    CHECK(dialling.answer_over_tls(hash, hash).substr(1, 19) == "BitTorrent protocol");
  }
  SUBCASE("not without a certificate") {
    CHECK(dialling.answer_over_tls(hash, hash).empty());
  }
  SUBCASE("not with another authority's") {
    dialling.show(theirs.issue("m3"));
    CHECK(dialling.answer_over_tls(hash, hash).empty());
  }
  SUBCASE("not with one that says \"*\" and is another authority's") {
    dialling.show(theirs.issue("*"));
    CHECK(dialling.answer_over_tls(hash, hash).empty());
  }
  SUBCASE("not with one that it signed itself") {
    dialling.show(ours.issue_self_signed("m3"));
    CHECK(dialling.answer_over_tls(hash, hash).empty());
  }
  SUBCASE("not with one that was taken back") {
    dialling.show(taken_back);
    CHECK(dialling.answer_over_tls(hash, hash).empty());
  }
  SUBCASE("not with one whose time is over") {
    dialling.show(ours.issue_expired("m5"));
    CHECK(dialling.answer_over_tls(hash, hash).empty());
  }
  SUBCASE("not over TLS 1.2") {
    dialling.show(ours.issue("m3"));
    dialling.speak_no_newer_than(TLS1_2_VERSION);
    CHECK(dialling.answer_over_tls(hash, hash).empty());
  }
  SUBCASE("not when it asks for no content in the handshake") {
    dialling.show(ours.issue("m3"));
    CHECK(dialling.answer_over_tls("", hash).empty());
  }
  SUBCASE("not when it asks for one that is not there") {
    dialling.show(ours.issue("m3"));
    CHECK(dialling.answer_over_tls(to_string(what.address).substr(0, 40), hash).empty());
  }
  SUBCASE("not in the clear") {
    CHECK(dialling.answer_in_the_clear(hash).find("BitTorrent") == std::string::npos);
  }
}

TEST_CASE_FIXTURE(fixture, "what was fetched in the clear is gone on with over TLS, and the other way round") {
  auto what = blob(16 * piece_bytes);
  auto before = std::shared_ptr<peer_tls>{};
  auto after = std::shared_ptr<peer_tls>{};
  auto first_before = before;
  auto first_after = before;
  SUBCASE("TLS is switched on") {
    after = loaded(ours.issue("m2"));
    first_after = loaded(ours.issue("m1"));
  }
  SUBCASE("TLS is switched off") {
    before = loaded(ours.issue("m2"));
    first_before = loaded(ours.issue("m1"));
  }
  SUBCASE("TLS throughout") {
    before = after = loaded(ours.issue("m2"));
    first_before = first_after = loaded(ours.issue("m1"));
  }
  node first{2, first_before};
  node second{3, before};
  first.to().set_peers({second.where()});
  first.seed(what, source());
  second.to().set_limits({0, 1 << 20U});
  second.fetch(what, {first.where()});
  REQUIRE(second.wait([&] { return second.pieces.size() >= 4; }));
  second.to().set_peers({});
  auto resume = second.resume_data(what);
  REQUIRE_FALSE(resume.empty());
  second.pump();
  auto have = second.pieces;
  REQUIRE(have.size() < what.piece_hashes.size());
  first.stop();
  second.stop();
  // A check would find it.
  flip_bit(second.place() / what.name / what.files[0].path, *have.begin() * piece_bytes + 5);
  second.start(after);
  second.fetch(what, {}, resume);
  REQUIRE(second.wait([&] { return second.checked; }));
  auto known = second.now().have;
  CHECK(static_cast<std::size_t>(std::ranges::count(known, true)) >= have.size());
  CHECK(known[*have.begin()]);
  flip_bit(second.place() / what.name / what.files[0].path, *have.begin() * piece_bytes + 5);
  fs::remove_all(first.place());
  first.start(first_after);
  first.to().set_peers({second.where()});
  first.seed(what, source());
  second.to().set_peers({first.where()});
  REQUIRE(second.inject_until(what, first.where(), [&] { return second.finished; }));
  CHECK(second.now().downloaded_bytes <= (what.piece_hashes.size() - have.size()) * piece_bytes);
  CHECK(file_bytes(second.place() / what.name / what.files[0].path) == file_bytes(source()));
}

TEST_CASE_FIXTURE(fixture, "limits hold over TLS") {
  auto what = blob(3 << 20U);
  node first{2, loaded(ours.issue("m1"))};
  node second{3, loaded(ours.issue("m2"))};
  first.to().set_peers({second.where()});
  SUBCASE("of the sender") {
    first.to().set_limits({1 << 20U, 0});
  }
  SUBCASE("of the receiver") {
    second.to().set_limits({0, 1 << 20U});
  }
  first.seed(what, source());
  auto began = steady::now();
  second.fetch(what, {first.where()});
  REQUIRE(second.wait([&] { return second.finished; }));
  // A second's worth may come at once.  A machine that is busy only takes longer.
  CHECK(steady::now() - began >= 1800ms);
}

TEST_CASE_FIXTURE(fixture, "new certificates, of a new authority too, count from the next connection on") {
  auto what = blob(1'000'000);
  auto files = theirs.issue("m2");
  node first{2, loaded(ours.issue("m1"))};
  node second{3, loaded(files)};
  first.to().set_peers({second.where()});
  first.seed(what, source());
  second.fetch(what, {first.where()});
  REQUIRE(second.inject_until(what, first.where(), [&] { return second.left >= 1; }));
  CHECK(second.pieces.empty());
  // One after the other, as a copy does it: what does not fit together changes nothing.
  auto next = ours.issue("m2-renewed");
  fs::rename(next.certificate, files.certificate);
  second.to().request_progress();
  fs::rename(next.key, files.key);
  second.to().request_progress();
  fs::copy_file(next.ca, files.ca, fs::copy_options::overwrite_existing);
  CHECK(second.inject_until(what, first.where(), [&] { return second.finished; }));
}

TEST_CASE_FIXTURE(fixture, "files that cannot be used are named, with the cure") {
  auto files = ours.issue("m1");
  REQUIRE(peer_tls::load(files));
  auto refused = [](const tls_files& with, fault kind, const fs::path& culprit, std::string_view why) {
    auto result = peer_tls::load(with);
    REQUIRE_FALSE(result);
    CHECK(result.problem().kind == kind);
    CHECK(result.problem().text.find(culprit.string()) != std::string::npos);
    CHECK_MESSAGE(result.problem().text.find(why) != std::string::npos, result.problem().text);
  };
  auto wrong = files;
  wrong.ca = directory / "nothing.pem";
  refused(wrong, fault::missing, wrong.ca, "astra ca issue");
  wrong = files;
  wrong.certificate = directory / "empty.pem";
  write_file(wrong.certificate, "");
  refused(wrong, fault::unfit, wrong.certificate, "holds no certificate");
  wrong = files;
  wrong.key = ours.issue("m2").key;
  refused(wrong, fault::unfit, wrong.key, "is not the key of " + files.certificate.string());
  wrong = files;
  wrong.key = files.certificate;
  refused(wrong, fault::unfit, wrong.key, "holds no key");
  wrong = files;
  wrong.revoked = files.ca;
  refused(wrong, fault::unfit, wrong.revoked, "revoked certificates");
}
