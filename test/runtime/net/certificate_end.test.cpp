#include "runtime/net/session_layer.hpp"

#include "test/runtime/net/net_process.hpp"
#include "test/runtime/security/test_authority.hpp"

#include <caf/telemetry/counter.hpp>
#include <caf/telemetry/metric_registry.hpp>
#include <doctest/doctest.h>

#include <string>

using namespace astra;
using namespace astra::test;

namespace {

/// A process with a certificate that is good for so many seconds more.
struct secured_process {
  secured_process(test_authority& authority, const std::string& name, peer_roles roles, std::int64_t seconds_left)
    : files(authority.issue(name, roles, 60 - seconds_left, 60s)), tls(need(tls_context::load(files))),
      at(name, roles, 1, [this](session_layer::options& how) { how.tls = tls; }) {}

  std::int64_t ended(const std::string& whose) {
    return at.sys.metrics()
        .counter_family("astra.net", "certificates_expired", {"whose"}, "")
        ->get_or_add({{"whose", whose}})
        ->value();
  }

  tls_options files;
  std::shared_ptr<tls_context> tls;
  process at;
};

/// Both ends see the same clock: either may be the one that ends it.
std::int64_t ended_by(secured_process& owner, secured_process& other) {
  return owner.ended("own") + other.ended("peer");
}

} // namespace

TEST_CASE("a session ends with the node's certificate and comes back with the new one") {
  test_authority authority{"test"};
  secured_process resource{authority, "r1", {peer_role::resource}, 60};
  resource.at.offer_echo();
  secured_process node{authority, "n1", {peer_role::node}, 3};
  auto echo = node.at.dial(resource.at.net->address());
  REQUIRE_MESSAGE(echo, error_text(echo.error()));
  CHECK(node.at.ask(*echo, 1) == 1);
  CHECK(soon([&] { return node.at.net->sessions().empty() && resource.at.net->sessions().empty(); }, 8s));
  CHECK(unix_now() > node.tls->expires_at());
  CHECK(ended_by(node, resource) >= 1);
  CHECK(ended_by(resource, node) == 0);
  // A reset may overtake the peer's word, so not every dial hears why.
  std::string told;
  CHECK(soon(
      [&] {
        auto refused = node.at.dial(resource.at.net->address());
        told = refused ? "connected" : error_text(refused.error());
        return refused || told.find("expired") != std::string::npos;
      },
      20s));
  CHECK_MESSAGE(told.find("expired") != std::string::npos, told);
  // As after a renewal and SIGHUP.
  authority.issue("n1", {peer_role::node});
  REQUIRE(node.tls->reload());
  caf::expected<caf::strong_actor_ptr> again{caf::error{}};
  CHECK(soon([&] { return bool(again = node.at.dial(resource.at.net->address())); }));
  REQUIRE(again);
  CHECK(node.at.ask(*again, 2) == 2);
}

TEST_CASE("a session ends with the Resource's certificate, at the latest, and moves over to a new one before") {
  test_authority authority{"test"};
  secured_process resource{authority, "r1", {peer_role::resource}, 4};
  resource.at.offer_echo();
  secured_process node{authority, "n1", {peer_role::node}, 60};
  SUBCASE("nobody has renewed it") {
    REQUIRE(node.at.dial(resource.at.net->address()));
    CHECK(soon([&] { return node.at.net->sessions().empty() && resource.at.net->sessions().empty(); }, 9s));
    CHECK(ended_by(resource, node) >= 1);
    CHECK(ended_by(node, resource) == 0);
  }
  SUBCASE("it was renewed in time") {
    REQUIRE(node.at.dial(resource.at.net->address()));
    authority.issue("r1", {peer_role::resource});
    REQUIRE(resource.tls->reload());
    CHECK(soon([&] { return node.at.net->sessions().empty(); }, 9s));
    CHECK(ended_by(resource, node) <= 1);
    auto echo = node.at.dial(resource.at.net->address());
    REQUIRE_MESSAGE(echo, error_text(echo.error()));
    CHECK(node.at.ask(*echo, 1) == 1);
  }
}
