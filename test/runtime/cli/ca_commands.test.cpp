#include "test/runtime/cli/command_fixture.hpp"

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>
#include <sys/stat.h>

#include <algorithm>
#include <sstream>

using namespace astra;
using test::command_fixture;
using test::command_result;

namespace {

bool contains(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

struct ca_fixture : command_fixture {
  std::string path(const std::string& name) { return (directory / name).string(); }

  std::string ca = path("ca");

  command_result init() { return run({"ca", "init", "--dir", ca.c_str(), "--cluster", "prod"}); }
  command_result issue(const char* role, const char* name, const std::string& out) {
    return run({"ca", "issue", "--dir", ca.c_str(), "--role", role, "--name", name, "--out", out.c_str()});
  }
  std::string text(const std::string& file) {
    std::ostringstream all;
    all << std::ifstream{file}.rdbuf();
    return all.str();
  }
};

} // namespace

TEST_CASE_FIXTURE(ca_fixture, "an authority is made, issues, lists, shows and revokes") {
  auto made = init();
  CHECK(made.code == exit_ok);
  CHECK(contains(made.out, "authority of cluster prod in "));
  auto issued = issue("node", "n17", path("tls"));
  CHECK_MESSAGE(issued.code == exit_ok, issued.err);
  CHECK(contains(issued.out, "for n17 (node), good until "));
  CHECK(contains(issued.out, "key = \"" + path("tls/n17.key") + "\""));
  CHECK(text(path("tls/ca.pem")) == text(ca + "/ca.pem"));
  struct ::stat status {};
  REQUIRE(::stat(path("tls/n17.key").c_str(), &status) == 0);
  CHECK((status.st_mode & 0777) == 0600);
  auto shown = run({"ca", "show", path("tls/n17.pem").c_str()});
  CHECK(contains(shown.out, "identity     astra://prod/n17?role=node\n"));
  auto revoked = run({"ca", "revoke", "--dir", ca.c_str(), "--certificate", path("tls/n17.pem").c_str()});
  CHECK_MESSAGE(revoked.code == exit_ok, revoked.err);
  auto listed = run({"ca", "list", "--dir", ca.c_str(), "-o", "json"});
  auto answer = nlohmann::json::parse(listed.out);
  CHECK(answer["certificates"][0]["state"] == "revoked");
  CHECK(answer["certificates"][0]["identity"] == "astra://prod/n17?role=node");
}

TEST_CASE_FIXTURE(ca_fixture, "exit codes tell a missing authority, a conflict and a wrong command line apart") {
  CHECK(issue("node", "n17", path("tls")).code == exit_not_found);
  init();
  CHECK(init().code == exit_conflict);
  CHECK(issue("node", "n17", path("tls")).code == exit_ok);
  auto again = issue("node", "n17", path("tls"));
  CHECK(again.code == exit_conflict);
  CHECK(contains(again.err, "n17.key: exists; say --replace"));
  CHECK(run({"ca", "issue", "--dir", ca.c_str(), "--role", "node", "--name", "n17", "--out", path("tls").c_str(),
             "--replace"})
            .code
        == exit_ok);
  auto unknown = issue("admin", "a", path("tls"));
  CHECK(unknown.code == exit_usage);
  CHECK(contains(unknown.err, "'admin' is not a role; there are: node, resource"));
  CHECK(run({"ca", "revoke", "--dir", ca.c_str()}).code == exit_usage);
  CHECK(run({"ca", "revoke", "--dir", ca.c_str(), "--serial", "77"}).code == exit_not_found);
  CHECK(issue("node", "a/b", path("tls")).code == exit_failed);
  CHECK(run({"ca", "show", path("nothing.pem").c_str()}).code == exit_failed);
  CHECK(run({"ca"}).code == exit_usage);
}

TEST_CASE_FIXTURE(ca_fixture, "a token alone goes to stdout, and no command shows a key") {
  init();
  auto token = run({"ca", "join-token", "--dir", ca.c_str(), "--role", "node", "--name", "n17", "--ttl", "10m"});
  CHECK(token.code == exit_ok);
  CHECK(token.out.starts_with("astra1."));
  CHECK(std::count(token.out.begin(), token.out.end(), '\n') == 1);
  CHECK_FALSE(contains(token.err, token.out.substr(0, 20)));
  CHECK(contains(token.err, "good for one use within 10m"));
  for (auto format : {"table", "json"}) {
    auto issued = run({"ca", "issue", "--dir", ca.c_str(), "--role", "operator", "--role", "viewer", "--name", format,
                       "--out", path("tls").c_str(), "-o", format, "-v"});
    CHECK_MESSAGE(issued.code == exit_ok, issued.err);
    CHECK_FALSE(contains(issued.out + issued.err, "PRIVATE"));
  }
}
