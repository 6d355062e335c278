#include "runtime/gateway/join_desk.hpp"

#include "test/runtime/security/test_authority.hpp"

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

using namespace astra;
using namespace astra::test;
using namespace std::chrono_literals;
using nlohmann::json;

namespace {

struct fixture : test_authority {
  join_desk desk{directory / "ca"};

  static http_request post(const json& body) {
    http_request request;
    request.method = "POST";
    request.body = std::make_shared<const std::string>(body.dump());
    return request;
  }

  std::string token(std::int64_t age_s = 0) {
    certificate_wish wish;
    wish.name = "n17";
    wish.roles = {peer_role::node};
    return need(ca.make_token(wish, 600s, unix_now() - age_s));
  }

  static std::string message(const http_response& response) { return json::parse(response.body)["error"]["message"]; }
};

bool contains(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

} // namespace

TEST_CASE_FIXTURE(fixture, "a token is worth one certificate of its role and name, for the key of the request") {
  auto mine = token();
  auto made = make_request("whatever");
  auto answer = desk.join(post({{"token", mine}, {"csr", made.request_pem}}), unix_now());
  REQUIRE_MESSAGE(answer.status == 200, answer.body);
  auto body = json::parse(answer.body);
  CHECK(fingerprint_of_pem(body["ca"].get<std::string>()) == ca.fingerprint());
  auto files = tls_options{
      (directory / "n.pem").string(), (directory / "n.key").string(), (directory / "ca" / "ca.pem").string(), {}};
  need_written(files.certificate, body["certificate"], false);
  need_written(files.key, made.key_pem, true);
  CHECK(need(tls_context::load(files))->own() == peer_identity{"prod", "n17", {peer_role::node}, {}});
  auto again = desk.join(post({{"token", mine}, {"csr", made.request_pem}}), unix_now());
  CHECK(again.status == 409);
  CHECK(contains(message(again), "used before"));
}

TEST_CASE_FIXTURE(fixture, "a bad request is refused and leaves its token good") {
  auto mine = token();
  auto made = make_request("n17");
  CHECK(desk.join(post("text"), unix_now()).status == 400);
  CHECK(desk.join(post({{"token", 1}, {"csr", 2}}), unix_now()).status == 400);
  CHECK(desk.join(post({{"token", mine}}), unix_now()).status == 400);
  CHECK(desk.join(post({{"token", mine}, {"csr", "no PEM"}}), unix_now()).status == 400);
  CHECK(desk.join(post({{"token", mine + "x"}, {"csr", made.request_pem}}), unix_now()).status == 400);
  auto expired = desk.join(post({{"token", token(601)}, {"csr", made.request_pem}}), unix_now());
  CHECK(expired.status == 400);
  CHECK(contains(message(expired), "the token has expired on "));
  CHECK(desk.join(post({{"token", mine}, {"csr", made.request_pem}}), unix_now()).status == 200);
}

TEST_CASE_FIXTURE(fixture, "a certificate is renewed for its holder, unless it was taken back") {
  certificate_wish wish;
  wish.name = "g1";
  wish.roles = {peer_role::gateway};
  wish.hosts = {"g1.example"};
  wish.lifetime = 3600s;
  auto old = need(ca.issue(wish, unix_now() - 1800, "issue")).entry;
  http_client_info client{http_door::tls, "192.0.2.7:1", old.identity, old.fingerprint};
  auto request = post({{"csr", make_request("g1").request_pem}});
  auto answer = desk.renew(request, client, unix_now());
  REQUIRE_MESSAGE(answer.status == 200, answer.body);
  auto fresh = need(ca.list()).back();
  CHECK(fresh.identity == old.identity);
  CHECK(fresh.hosts == wish.hosts);
  CHECK(fresh.expires_at >= unix_now() + 3599);
  CHECK(fresh.origin == "renew");
  auto nobody = client;
  nobody.identity.reset();
  CHECK(desk.renew(request, nobody, unix_now()).status == 401);
  auto in_plain_text = client;
  in_plain_text.door = http_door::plain;
  CHECK(desk.renew(request, in_plain_text, unix_now()).status == 401);
  auto unknown = client;
  unknown.fingerprint = "00";
  CHECK(desk.renew(request, unknown, unix_now()).status == 403);
  need(ca.revoke(old.serial, unix_now()));
  auto revoked = desk.renew(request, client, unix_now());
  CHECK(revoked.status == 403);
  CHECK(contains(message(revoked), "is revoked"));
}

TEST_CASE("what is wrong with the authority's files is told to the operator alone") {
  join_desk desk{"/nowhere/secret-place"};
  auto answer = desk.join(fixture::post({{"token", "astra1.x.y"}, {"csr", "x"}}), unix_now());
  CHECK(answer.status == 500);
  CHECK_FALSE(contains(answer.body, "secret-place"));
}
