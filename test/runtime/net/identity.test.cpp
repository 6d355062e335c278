#include "runtime/net/identity.hpp"

#include "messages/errc.hpp"

#include <doctest/doctest.h>

#include <string>

using namespace astra;

namespace {

std::string problem_of(std::string_view uri) {
  auto identity = parse_identity(uri);
  return identity ? "" : error_text(identity.error());
}

bool contains(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

} // namespace

TEST_CASE("an identity is what its URI says, and is written as it is read") {
  auto text = "astra://prod/s-1?role=resource&role=scheduler&app=ocr&app=speech-*";
  auto identity = parse_identity(text);
  REQUIRE(identity);
  CHECK(identity->cluster == "prod");
  CHECK(identity->name == "s-1");
  CHECK(identity->roles == peer_roles{peer_role::resource, peer_role::scheduler});
  CHECK(identity->apps == std::vector<std::string>{"ocr", "speech-*"});
  CHECK(to_uri(*identity) == text);
  CHECK(to_string(identity->roles) == "resource,scheduler");
}

TEST_CASE("roles are words, and every process role is one of them") {
  for (auto role : {peer_role::node, peer_role::resource, peer_role::scheduler, peer_role::gateway,
                    peer_role::aggregator, peer_role::operator_, peer_role::viewer})
    CHECK(parse_peer_role(to_string(role)) == role);
  CHECK_FALSE(parse_peer_role("Operator"));
  CHECK_FALSE(parse_peer_role(""));
  for (auto role : all_process_roles)
    CHECK(to_string(to_peer_role(role)) == to_string(role));
}

TEST_CASE("whatever is not exactly an identity is refused with the reason") {
  struct bad_uri {
    std::string text;
    std::string words;
  };
  std::string long_name(64, 'n');
  std::string many_apps = "astra://c/n?role=scheduler";
  for (int i = 0; i < 65; ++i)
    many_apps += "&app=a" + std::to_string(i);
  const bad_uri all[] = {
      {"", "not of the form"},
      {"http://prod/n?role=node", "not of the form"},
      {"astra:prod/n?role=node", "not of the form"},
      {"astra://prod?role=node", "not of the form"},
      {"astra://prod/n", "not of the form"},
      {"astra:///n?role=node", "cluster: is empty"},
      {"astra://prod/?role=node", "name: is empty"},
      {"astra://prod/a/b?role=node", "name: \"a/b\""},
      {"astra://prod/a%2fb?role=node", "name: \"a%2fb\""},
      {"astra://prod/" + long_name + "?role=node", "64 characters"},
      {std::string{"astra://prod/n\0x?role=node", 26}, "name: "},
      {"astra://prod/n?", "unknown field \"\""},
      {"astra://prod/n?role=", "unknown role \"\""},
      {"astra://prod/n?role=root", "unknown role \"root\""},
      {"astra://prod/n?role=Node", "unknown role \"Node\""},
      {"astra://prod/n?role=node&role=node", "twice"},
      {"astra://prod/n?role=node&", "unknown field \"\""},
      {"astra://prod/n?role=node#x", "unknown role \"node#x\""},
      {"astra://prod/n?role=node&admin=1", "unknown field \"admin\""},
      {"astra://prod/n?app=ocr", "no role"},
      {"astra://prod/n?role=node&app=ocr", "is no scheduler"},
      {"astra://prod/n?role=scheduler&app=*", "stands for every app"},
      {"astra://prod/n?role=scheduler&app=", "app: is empty"},
      {"astra://prod/n?role=scheduler&app=OCR", "app: \"OCR\""},
      {"astra://prod/n?role=scheduler&app=o*r", "app: \"o*r\""},
      {"astra://prod/n?role=scheduler&app=o**", "app: "},
      {many_apps, "65 apps"},
      {"astra://prod/n?role=aggregator", "must say for which nodes"},
      {"astra://prod/n?role=node&node=n1", "is no aggregator"},
      {"astra://prod/n?role=aggregator&node=", "node: is empty"},
      {"astra://prod/n?role=aggregator&node=r*1", "node: \"r*1\""},
      {"astra://prod/n?role=node&role=" + std::string(5000, 'x'), "bytes; at most 4096"},
  };
  for (auto& [text, words] : all) {
    auto problem = problem_of(text);
    CHECK_MESSAGE(contains(problem, words), text << " gives: " << problem);
  }
}

TEST_CASE("a refusal shows nothing that could move a terminal's cursor or fill a log") {
  auto problem = problem_of("astra://prod/n\x1b[2J\n\"x?role=node&" + std::string(3000, 'y'));
  CHECK(problem.size() < 400);
  for (unsigned char c : problem)
    CHECK(c >= 0x20);
}

TEST_CASE("a scheduler may claim for the apps it names, or for all when it names none") {
  peer_identity identity{"c", "s", {peer_role::scheduler}, {}};
  CHECK(identity.may_claim_for("anything"));
  identity.apps = {"ocr", "speech-*"};
  CHECK(identity.may_claim_for("ocr"));
  CHECK_FALSE(identity.may_claim_for("ocr-2"));
  CHECK(identity.may_claim_for("speech-en"));
  CHECK(identity.may_claim_for("speech-"));
  CHECK_FALSE(identity.may_claim_for("speech"));
  CHECK_FALSE(identity.may_claim_for(""));
}

TEST_CASE("an aggregator speaks for the nodes it names, and for all only when it says so") {
  auto identity = parse_identity("astra://c/rack1?role=aggregator&node=rack1-*&node=spare");
  REQUIRE(identity);
  CHECK(identity->may_speak_for("rack1-"));
  CHECK(identity->may_speak_for("rack1-17"));
  CHECK(identity->may_speak_for("spare"));
  CHECK_FALSE(identity->may_speak_for("spare2"));
  CHECK_FALSE(identity->may_speak_for("rack2-1"));
  CHECK_FALSE(identity->may_speak_for(""));
  CHECK(to_uri(*identity) == "astra://c/rack1?role=aggregator&node=rack1-*&node=spare");
  identity->nodes = {"*"};
  CHECK(identity_problem(*identity).empty());
  CHECK(identity->may_speak_for("rack2-1"));
  CHECK_FALSE(peer_identity{"c", "n", {peer_role::node}, {}}.may_speak_for("n"));
}

TEST_CASE("sets of roles") {
  peer_roles none;
  CHECK(none.empty());
  CHECK(to_string(none) == "");
  peer_roles some{peer_role::node, peer_role::viewer};
  CHECK(some.has(peer_role::viewer));
  CHECK_FALSE(some.has(peer_role::operator_));
  CHECK(some.has_all({peer_role::node}));
  CHECK_FALSE(some.has_all({peer_role::node, peer_role::operator_}));
  CHECK(some.has_any({peer_role::node, peer_role::operator_}));
  CHECK_FALSE(some.has_any({}));
}
