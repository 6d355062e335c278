#include "runtime/transfer/origin_reader.hpp"
#include "test/p2p/files.hpp"
#include "test/runtime/security/test_authority.hpp"
#include "test/support/file_origin.hpp"
#include "test/support/tcp_peer.hpp"

#include <doctest/doctest.h>

#include <condition_variable>
#include <map>
#include <mutex>

using namespace astra;
using namespace std::chrono_literals;
using p2p::file_bytes;
using p2p::temporary_directory;
using test::file_origin;

namespace {

/// Long enough for a machine that has other things to do.
constexpr auto patience = 60s;

struct fixture {
  fixture() {
    p2p::write_file(source / "config.json", "{}");
    p2p::write_file(source / "deep er" / "weights.bin", p2p::random_bytes(3'000'001, 1));
    p2p::write_file(source / "tokens", p2p::random_bytes(700'000, 2));
    auto made = p2p::make_content(source.path());
    REQUIRE(made);
    what = std::make_shared<const p2p::content>(std::move(*made));
    have.resize(what->piece_hashes.size());
  }

  void lease(const std::string& url, std::uint32_t first = 0, std::uint64_t bytes_per_s = 0) {
    reader->read({what, url, have, 300s, bytes_per_s, first});
  }

  /// Takes what comes until all is there, or it has failed.
  void take_all() {
    std::unique_lock lock{mutex};
    while (failure.empty() && std::ranges::find(have, false) != have.end()) {
      lock.unlock();
      for (auto& news : reader->drain())
        if (auto* piece = std::get_if<origin_piece>(&news))
          take(*piece);
        else
          failure = std::get<origin_failed>(news).reason;
      lock.lock();
      if (failure.empty() && std::ranges::find(have, false) != have.end())
        REQUIRE(told.wait_for(lock, patience, [this] { return std::exchange(news_there, false); }));
    }
  }

  void take(const origin_piece& piece) {
    CHECK_FALSE(have[piece.piece]);
    for (auto& file : what->files)
      if (piece.piece >= file.first_piece && piece.piece < file.first_piece + file.pieces) {
        auto bytes = file_bytes(source / file.path);
        auto begin = std::size_t{piece.piece - file.first_piece} * what->piece_size;
        auto right = std::string_view{bytes}.substr(begin, what->piece_size)
                     == std::string_view{piece.data.data(), piece.data.size()};
        have[piece.piece] = right;
        reader->took(what->address, piece.piece, right);
      }
  }

  temporary_directory source;
  std::shared_ptr<const p2p::content> what;
  std::vector<bool> have;
  std::string failure;
  std::mutex mutex;
  std::condition_variable told;
  bool news_there = false;
  /// Last: its thread uses the others.
  std::unique_ptr<origin_reader> reader = make();

  std::unique_ptr<origin_reader> make() {
    return make_http_origin_reader([this] {
      std::scoped_lock guard{mutex};
      news_there = true;
      told.notify_all();
    });
  }
};

} // namespace

TEST_CASE_FIXTURE(fixture, "an origin is read once, from wherever one begins, and only what is missing") {
  file_origin origin{source.path()};
  have[2] = have[5] = true;
  lease(origin.url(), 4);
  take_all();
  CHECK(failure == "");
  CHECK(origin.each_byte_once());
  CHECK(origin.bytes() == what->size - 2 * what->piece_size);
}

TEST_CASE_FIXTURE(fixture, "a server that knows no ranges is read file by file") {
  file_origin origin{source.path(), false};
  have[2] = true;
  lease(origin.url(), 4);
  take_all();
  CHECK(failure == "");
}

TEST_CASE_FIXTURE(fixture, "redirects are followed, and an only file is where the URL says") {
  auto made = p2p::make_content(source / "tokens");
  REQUIRE(made);
  what = std::make_shared<const p2p::content>(std::move(*made));
  have.assign(what->piece_hashes.size(), false);
  file_origin origin{source.path()};
  origin.instead([&](const std::string& path) -> std::optional<http_response> {
    if (path == "tokens")
      return std::nullopt;
    http_response answer;
    answer.status = path == "one" ? 302 : 307;
    answer.headers.emplace_back("Location", path == "one" ? "two?x" : origin.url() + "tokens");
    return answer;
  });
  lease(origin.url() + "one");
  take_all();
  CHECK(failure == "");
}

TEST_CASE_FIXTURE(fixture, "why an origin cannot be read is told") {
  file_origin origin{source.path()};
  auto tells = [&](std::function<std::optional<http_response>(const std::string&)> instead) {
    origin.instead(std::move(instead));
    failure.clear();
    have.assign(have.size(), false);
    lease(origin.url());
    take_all();
    return failure;
  };
  auto always = [](http_response answer) { return [answer](const std::string&) { return std::optional{answer}; }; };
  auto status = [&](std::uint16_t code, http_headers headers = {}, std::string body = {}) {
    http_response answer;
    answer.status = code;
    answer.headers = std::move(headers);
    answer.body = std::move(body);
    return always(answer);
  };
  CHECK(tells(status(404)) == origin.url() + "config.json answers 404");
  CHECK(tells(status(503)) == origin.url() + "config.json answers 503");
  CHECK(tells(status(302, {{"Location", "/again"}})) == origin.url() + "again sends on more than 5 times");
  CHECK(tells(status(302, {{"Location", "ftp://x/"}}))
        == origin.url() + "config.json sends on to 'ftp://x/', which is no http:// or https:// URL");
  CHECK(tells(status(302)) == origin.url() + "config.json answers 302 without saying where to go");
  CHECK(tells(status(200, {}, "too long"))
        == origin.url() + "config.json has 8 bytes there, not the 2 of 'config.json' as it was published");
  // The others are read meanwhile.
  CHECK(tells([](const std::string& path) -> std::optional<http_response> {
          if (path != "config.json")
            return std::nullopt;
          http_response answer;
          answer.body = "[]";
          return answer;
        })
        == origin.url() + "config.json has other bytes than 'config.json' as it was published");
  CHECK(tells(status(200, {{"Content-Encoding", "gzip"}}, "[]"))
        == origin.url() + "config.json sends the file encoded as 'gzip'");
}

TEST_CASE_FIXTURE(fixture, "over HTTPS a server must have a certificate for its host of an authority of this machine") {
  test::test_authority ours;
  certificate_wish wish;
  wish.name = "web";
  wish.roles = {peer_role::gateway};
  wish.lifetime = 24h;
  wish.hosts = {"127.0.0.1"};
  auto files = ours.issue("web", {peer_role::gateway});
  auto made = test::need(ours.ca.issue(wish, test::unix_now(), "issue"));
  p2p::write_file(files.certificate, made.certificate_pem);
  p2p::write_file(files.key, made.key_pem);
  file_origin origin{source.path(), true, test::need(tls_context::load(files))};
  file_origin other{source.path(), true, test::need(tls_context::load(ours.issue("other", {peer_role::gateway})))};
  ::setenv("SSL_CERT_FILE", files.ca.c_str(), 1);
  lease(origin.url(), 4);
  take_all();
  CHECK(failure == "");
  CHECK(origin.bytes() == what->size);
  have.assign(have.size(), false);
  lease(other.url());
  take_all();
  CHECK(failure.find("its certificate is not good for '127.0.0.1': IP address mismatch") != std::string::npos);
  failure.clear();
  // A new reader reads the authorities anew.
  ::setenv("SSL_CERT_FILE", "/dev/null", 1);
  reader = make();
  lease(origin.url());
  take_all();
  CHECK(failure.find("its certificate is not good for '127.0.0.1'") != std::string::npos);
  ::unsetenv("SSL_CERT_FILE");
}

TEST_CASE_FIXTURE(fixture, "nobody there is told too, after a few tries") {
  std::uint16_t port = 0;
  {
    test::tcp_listener listener;
    port = listener.port();
  }
  auto url = "http://127.0.0.1:" + std::to_string(port) + "/";
  lease(url);
  take_all();
  CHECK(failure == url + "config.json: Connection refused");
}

TEST_CASE_FIXTURE(fixture, "no more is read than is taken, and nothing when the lease has ended") {
  p2p::write_file(source / "large", p2p::random_bytes(40'000'000, 3));
  auto made = p2p::make_content(source / "large");
  REQUIRE(made);
  what = std::make_shared<const p2p::content>(std::move(*made));
  have.assign(what->piece_hashes.size(), false);
  file_origin origin{source.path()};
  lease(origin.url());
  // Nobody takes: news stop before all is read.
  std::uint64_t bytes = 0;
  for (auto quiet = 0; quiet < 10;) {
    auto more = reader->drain();
    quiet = more.empty() && bytes > 0 ? quiet + 1 : 0;
    for (auto& news : more)
      bytes += std::get<origin_piece>(news).data.size();
    std::this_thread::sleep_for(100ms);
  }
  CHECK(bytes <= 17'000'000);
  reader->stop(what->address);
  // Ends at once, however much of it is on its way.
  reader.reset();
}
