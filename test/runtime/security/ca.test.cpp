#include "runtime/security/ca.hpp"

#include "messages/type_ids.hpp"
#include "runtime/security/x509.hpp"
#include "test/runtime/security/test_authority.hpp"

#include <doctest/doctest.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>

#include <atomic>
#include <fstream>
#include <thread>
#include <vector>

using namespace astra;
using namespace astra::test;
using namespace std::chrono_literals;

namespace {

constexpr std::int64_t noon = 1'800'000'000;

bool contains(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

template <class T>
std::string problem_of(const caf::expected<T>& result) {
  return result ? "" : error_text(result.error());
}

certificate_wish node_wish(const std::string& name = "n17") {
  certificate_wish wish;
  wish.name = name;
  wish.roles = {peer_role::node};
  return wish;
}

int mode_of(const std::filesystem::path& path) {
  struct ::stat status {};
  REQUIRE(::stat(path.c_str(), &status) == 0);
  return status.st_mode & 0777;
}

struct fixture {
  scratch_directory scratch;
  std::filesystem::path directory = scratch / "ca";
  certificate_authority ca = need(certificate_authority::init(directory, "prod", noon));
};

} // namespace

TEST_CASE_FIXTURE(fixture, "an authority's key is its owner's alone, and it is never overwritten") {
  CHECK(mode_of(directory) == 0700);
  CHECK(mode_of(directory / "ca.key") == 0600);
  CHECK(mode_of(directory / "ca.pem") == 0644);
  auto again = certificate_authority::init(directory, "prod", noon);
  REQUIRE_FALSE(again);
  CHECK(again.error() == errc::conflict);
  CHECK(need(certificate_authority::open(directory)).fingerprint() == ca.fingerprint());
  CHECK(ca.expires_at() > noon + 3650 * 86400ll);
  auto missing = certificate_authority::open(scratch / "nothing");
  REQUIRE_FALSE(missing);
  CHECK(missing.error() == errc::unknown_name);
  CHECK(contains(problem_of(certificate_authority::init(scratch / "b", "a b", noon)), "cluster: "));
  // The longest name that a cluster may have.
  CHECK(certificate_authority::init(scratch / "c", std::string(63, 'c'), noon));
}

TEST_CASE_FIXTURE(fixture, "a certificate says who its holder is and how long it is good") {
  certificate_wish wish;
  wish.name = "s1";
  wish.roles = {peer_role::scheduler, peer_role::resource};
  wish.apps = {"ocr*"};
  wish.hosts = {"s1.example", "192.0.2.7", "2001:db8::1"};
  auto made = need(ca.issue(wish, noon, "issue"));
  auto certificates = x509::read_certificates(made.certificate_pem);
  REQUIRE(certificates.size() == 1);
  auto& x = *certificates.front();
  CHECK(need(x509::identity_of(x)) == peer_identity{"prod", "s1", wish.roles, {"ocr*"}});
  CHECK(x509::not_before(x) == noon - 300);
  CHECK(x509::not_after(x) == noon + 86400);
  CHECK(x509::serial(x) == made.entry.serial);
  CHECK(x509::issuer(x) == "prod");
  CHECK(X509_check_host(&x, "s1.example", 0, 0, nullptr) == 1);
  CHECK(X509_check_ip_asc(&x, "2001:db8::1", 0) == 1);
  auto key = x509::read_key(made.key_pem);
  REQUIRE(key);
  CHECK(X509_check_private_key(&x, key.get()) == 1);
}

TEST_CASE_FIXTURE(fixture, "wishes that cannot be are refused, and leave nothing in the index") {
  auto refuses = [&](auto change, std::string_view words) {
    auto wish = node_wish();
    change(wish);
    auto problem = problem_of(ca.issue(wish, noon, "issue"));
    CHECK_MESSAGE(contains(problem, words), problem);
  };
  refuses([](auto& w) { w.name = "a/b"; }, "name: ");
  refuses([](auto& w) { w.name = ""; }, "name: is empty");
  refuses([](auto& w) { w.roles = {}; }, "no role");
  refuses([](auto& w) { w.apps = {"ocr"}; }, "is no scheduler");
  refuses([](auto& w) { w.lifetime = 59s; }, "1 minute to 397 days");
  refuses([](auto& w) { w.lifetime = std::chrono::hours{24 * 398}; }, "1 minute to 397 days");
  refuses([](auto& w) { w.hosts = {"a,DNS:evil"}; }, "neither a DNS name nor an address");
  refuses([](auto& w) { w.hosts.assign(17, "a"); }, "at most 16");
  CHECK(need(ca.list()).empty());
  CHECK(contains(problem_of(ca.issue(node_wish(), ca.expires_at(), "issue")), "the authority itself has expired"));
}

TEST_CASE_FIXTURE(fixture, "only the key counts of a signing request, and it must be proven and strong") {
  auto request = make_request("somebody-else");
  auto made = need(ca.sign(request.request_pem, node_wish(), noon, "join"));
  CHECK(made.key_pem == "");
  CHECK(made.entry.identity.name == "n17");
  auto x = std::move(x509::read_certificates(made.certificate_pem).front());
  CHECK(X509_check_private_key(x.get(), x509::read_key(request.key_pem).get()) == 1);
  CHECK(contains(problem_of(ca.sign("", node_wish(), noon, "join")), "not one in PEM"));
  CHECK(contains(problem_of(ca.sign(made.certificate_pem, node_wish(), noon, "join")), "not one in PEM"));
  CHECK(contains(problem_of(ca.sign(std::string(1 << 20, 'x'), node_wish(), noon, "join")), "not one in PEM"));
  // Another key put into a request that somebody else has signed.
  auto parsed = x509::read_request(request.request_pem);
  auto other = x509::make_key();
  X509_REQ_set_pubkey(parsed.get(), other.get());
  CHECK(contains(problem_of(ca.sign(x509::to_pem(*parsed), node_wish(), noon, "join")), "does not have the key"));
  x509::key weak{EVP_RSA_gen(1024)};
  x509::request weak_request{X509_REQ_new()};
  X509_REQ_set_pubkey(weak_request.get(), weak.get());
  X509_REQ_sign(weak_request.get(), weak.get(), EVP_sha256());
  CHECK(contains(problem_of(ca.sign(x509::to_pem(*weak_request), node_wish(), noon, "join")), "RSA of 2048"));
}

TEST_CASE_FIXTURE(fixture, "what is revoked stands in the index and in a list that the authority has signed") {
  auto first = need(ca.issue(node_wish("a"), noon, "issue")).entry;
  auto second = need(ca.issue(node_wish("b"), noon, "issue")).entry;
  CHECK(need(ca.revoke(second.serial, noon + 60)).identity.name == "b");
  auto again = ca.revoke(second.fingerprint, noon + 61);
  REQUIRE_FALSE(again);
  CHECK(again.error() == errc::conflict);
  auto unknown = ca.revoke("00ff", noon);
  REQUIRE_FALSE(unknown);
  CHECK(unknown.error() == errc::unknown_name);
  auto all = need(ca.list());
  REQUIRE(all.size() == 2);
  CHECK_FALSE(all[0].revoked_at);
  CHECK(all[1].revoked_at == noon + 60);
  auto list = x509::read_crl(need(x509::read_pem_file((directory / "revoked.pem").string())));
  REQUIRE(list);
  auto authority = std::move(x509::read_certificates(ca.certificate_pem()).front());
  CHECK(X509_CRL_verify(list.get(), X509_get0_pubkey(authority.get())) == 1);
  auto* rows = X509_CRL_get_REVOKED(list.get());
  REQUIRE(sk_X509_REVOKED_num(rows) == 1);
  CHECK(x509::to_hex(*X509_REVOKED_get0_serialNumber(sk_X509_REVOKED_value(rows, 0))) == second.serial);
  CHECK(first.serial != second.serial);
}

TEST_CASE_FIXTURE(fixture, "half a line that a crash has left in the index loses nothing else") {
  need(ca.issue(node_wish("a"), noon, "issue"));
  std::ofstream{directory / "index", std::ios::app} << R"({"what":"issued","serial":"12)";
  need(ca.issue(node_wish("b"), noon, "issue"));
  auto all = need(ca.list());
  REQUIRE(all.size() == 2);
  CHECK(all[1].identity.name == "b");
}

TEST_CASE_FIXTURE(fixture, "a token is good once, within its time, and for what it says") {
  auto wish = node_wish();
  auto token = need(ca.make_token(wish, 600s, noon));
  auto read = need(read_join_token(token));
  CHECK(read.cluster == "prod");
  CHECK(read.name == "n17");
  CHECK(read.roles == wish.roles);
  CHECK(read.authority == ca.fingerprint());
  CHECK(read.expires_at == noon + 600);
  CHECK(contains(problem_of(ca.spend_token(token, noon + 600)), "the token has expired on 2027-"));
  CHECK(need(ca.spend_token(token, noon + 599)).name == "n17");
  // Also for another process with the same directory.
  auto other = need(certificate_authority::open(directory));
  auto again = other.spend_token(token, noon + 1);
  REQUIRE_FALSE(again);
  CHECK(again.error() == errc::conflict);
  CHECK(contains(problem_of(ca.make_token(wish, 59s, noon)), "1 minute to 7 days"));
}

TEST_CASE_FIXTURE(fixture, "a token that anybody has touched is refused") {
  auto token = need(ca.make_token(node_wish(), 600s, noon));
  for (std::size_t i = 0; i <= token.size(); ++i) {
    auto changed = token;
    if (i < token.size())
      changed[i] = changed[i] == 'A' ? 'B' : 'A';
    else
      changed += 'A';
    CHECK_MESSAGE(!ca.spend_token(changed, noon), i);
  }
  for (auto text : {std::string{}, std::string{"astra1."}, std::string{"astra1.e30.e30"}, token.substr(0, 100),
                    std::string(100'000, 'A'), "astra1." + std::string(4000, '.')})
    CHECK(contains(problem_of(ca.spend_token(text, noon)), "no join token"));
  scratch_directory elsewhere;
  auto stranger = need(certificate_authority::init(elsewhere / "ca", "prod", noon));
  auto foreign = need(stranger.make_token(node_wish(), 600s, noon));
  CHECK(contains(problem_of(ca.spend_token(foreign, noon)), "not made by this cluster's authority"));
}

TEST_CASE_FIXTURE(fixture, "of many who use one token at the same time, one gets through") {
  auto token = need(ca.make_token(node_wish(), 600s, noon));
  std::atomic<int> good = 0;
  std::vector<std::thread> threads;
  for (auto i = 0; i < 8; ++i)
    threads.emplace_back([&] {
      auto mine = need(certificate_authority::open(directory));
      if (mine.spend_token(token, noon))
        ++good;
    });
  for (auto& thread : threads)
    thread.join();
  CHECK(good == 1);
}

TEST_CASE("a file is replaced whole, with the mode that its content needs") {
  scratch_directory scratch;
  std::ofstream{scratch / "key"} << "old";
  ::chmod((scratch / "key").c_str(), 0644);
  CHECK(write_file_atomically(scratch / "key", "new", true));
  CHECK(mode_of(scratch / "key") == 0600);
  auto failed = write_file_atomically("/nowhere/at/all", "x", false);
  REQUIRE_FALSE(failed);
  CHECK(contains(error_text(failed.error()), "/nowhere/at/all: cannot be written: "));
}
