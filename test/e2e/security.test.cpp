#include "test/e2e/cluster.hpp"

#include <doctest/doctest.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <fstream>
#include <sstream>

using namespace astra::test;
using namespace std::chrono_literals;

namespace {

bool contains(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

std::string text_of(const std::filesystem::path& file) {
  std::ostringstream all;
  all << std::ifstream{file}.rdbuf();
  return all.str();
}

std::size_t count_of(const std::string& text, std::string_view part) {
  std::size_t count = 0;
  for (auto at = text.find(part); at != std::string::npos; at = text.find(part, at + part.size()))
    ++count;
  return count;
}

/// One that nobody listens on now.
int free_port() {
  auto fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  REQUIRE(::bind(fd, reinterpret_cast<sockaddr*>(&address), size) == 0);
  REQUIRE(::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) == 0);
  ::close(fd);
  return ntohs(address.sin_port);
}

/// One process with all roles, certificates, and an authority that machines join at.
struct secured {
  secured() {
    good({"ca", "init", "--dir", path("ca"), "--cluster", "prod"});
    good({"ca", "issue", "--dir", path("ca"), "--role", "gateway", "--role", "resource", "--role", "scheduler",
          "--role", "node", "--name", "all", "--out", path("tls")});
    good({"ca", "issue", "--dir", path("ca"), "--role", "operator", "--name", "alice", "--out", path("tls")});
    good({"ca", "issue", "--dir", path("ca"), "--role", "viewer", "--name", "victor", "--out", path("tls")});
    std::filesystem::copy_file(path("ca/revoked.pem"), path("tls/revoked.pem"));
    auto listen = "127.0.0.1:" + std::to_string(free_port());
    std::ofstream{path("all.toml")} << "name = \"all\"\nroles = [\"node\", \"resource\", \"scheduler\", \"gateway\"]\n"
                                    << "resources = [\"" << listen << "\"]\nstate_dir = \"" << path("state") << "\"\n"
                                    << "[net]\ncluster = \"prod\"\nlisten = \"" << listen
                                    << "\"\n[tls]\ncertificate = \"tls/all.pem\"\n"
                                    << "key = \"tls/all.key\"\nca = \"tls/ca.pem\"\nrevoked = \"tls/revoked.pem\"\n"
                                    << "[gateway]\nlisten = \"127.0.0.1:0\"\nca_dir = \"ca\"\n";
    pid = start_astra({"run", "-c", path("all.toml")}, path("log"));
    auto up = eventually(30s, [&] { return std::filesystem::exists(path("state/run.json")); });
    INFO(text_of(path("log")));
    REQUIRE(up);
    std::ifstream in{path("state/run.json")};
    address = nlohmann::json::parse(in)["gateway"].get<std::string>();
  }

  ~secured() {
    ::kill(pid, SIGTERM);
    if (!wait_for_end(pid, 20s)) {
      ::kill(pid, SIGKILL);
      wait_for_end(pid, 5s);
    }
  }

  std::string path(const std::string& name) const { return (home.path() / name).string(); }

  static finished good(const std::vector<std::string>& arguments, const std::string& input = {}) {
    auto run = run_astra(arguments, input);
    INFO(run.out, run.err);
    REQUIRE(run.code == 0);
    return run;
  }

  /// A command over HTTPS.
  /// @param who whose certificate; empty: none.
  finished as(const std::string& who, std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), {"--gateway", "https://" + address, "--ca", path("tls/ca.pem")});
    if (!who.empty())
      arguments.insert(arguments.begin(),
                       {"--cert", path("tls/" + who + ".pem"), "--key", path("tls/" + who + ".key")});
    return run_astra(arguments);
  }

  temporary_directory home;
  std::string address;
  pid_t pid = -1;
};

} // namespace

TEST_CASE("with certificates each may do what is theirs, the Unix socket everything, and every change is in the log") {
  secured world;
  auto app = world.path("echo.toml");
  std::ofstream{app} << "name = \"echo\"\nkind = \"actor\"\nreplicas = 1\n[actor]\ntype = \"echo\"\n";
  CHECK(eventually(20s, [&] { return contains(world.as("alice", {"node", "list"}).out, "online"); }));
  // Nodes are listed by a Resource; apps the gateway knows once it has a view of its own, and until then it cannot say.
  finished refused;
  CHECK(eventually(20s, [&] {
    refused = world.as("victor", {"app", "apply", app});
    return refused.code != 5;
  }));
  CHECK(refused.code == 1);
  CHECK_MESSAGE(contains(refused.err, "needs a certificate with the role operator, and 'victor' has only viewer"),
                refused.err);
  auto nobody = world.as("", {"status"});
  CHECK(nobody.code == 1);
  CHECK_MESSAGE(contains(nobody.err, "none was shown"), nobody.err);
  CHECK(world.as("victor", {"status"}).code == 0);
  CHECK(world.as("alice", {"status"}).code == 0);
  auto applied = world.as("alice", {"app", "apply", app, "--wait", "30s"});
  CHECK_MESSAGE(applied.code == 0, applied.err);
  CHECK(world.as("victor", {"invoke", "echo", "--in", app}).out == text_of(app));
  CHECK(world.as("", {"invoke", "echo", "--in", app}).code == 1);
  auto socket = run_astra({"--gateway", "unix:" + world.path("state/gateway.sock"), "status"});
  CHECK_MESSAGE(socket.code == 0, socket.err);
  CHECK(run_astra({"--gateway", "unix:" + world.path("state/gateway.sock"), "app", "delete", "echo"}).code == 0);
  auto plain = run_astra({"--gateway", world.address, "status"});
  CHECK(plain.code == 1);
  CHECK_MESSAGE(contains(plain.err, "write --gateway https://"), plain.err);

  auto log = text_of(world.path("log"));
  CHECK(count_of(log, "audit.mutation ") == 3);
  CHECK(contains(log, "audit.mutation who=victor roles=viewer from=\"127.0.0.1:"));
  CHECK(contains(log, "what=apply object=echo result=refused status=403"));
  CHECK(contains(log, "audit.mutation who=alice roles=operator"));
  CHECK(contains(log, "audit.mutation who=uid=" + std::to_string(::getuid())));
}

TEST_CASE("a token brings one machine in once, a certificate renews itself, and a revoked one is out after a reload") {
  secured world;
  auto gateway = "https://" + world.address;
  auto token =
      secured::good({"ca", "join-token", "--dir", world.path("ca"), "--role", "operator", "--name", "bob"}).out;
  auto joined = run_astra({"join", "--gateway", gateway, "--token", "-", "--out", world.path("bob")}, token);
  INFO(joined.out, joined.err);
  REQUIRE(joined.code == 0);
  CHECK(contains(joined.out, "astra://prod/bob?role=operator, good until "));
  auto again = run_astra({"join", "--gateway", gateway, "--token", "-", "--out", world.path("eve")}, token);
  CHECK(again.code == 6);
  CHECK(contains(again.err, "the token was used before"));
  auto as_bob = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"--gateway", gateway, "--cert", world.path("bob/bob.pem"), "--key",
                                         world.path("bob/bob.key"), "--ca", world.path("bob/ca.pem")});
    return run_astra(arguments);
  };
  CHECK(as_bob({"status"}).code == 0);
  auto before = text_of(world.path("bob/bob.pem"));
  auto renewed = as_bob({"join", "--renew"});
  CHECK_MESSAGE(renewed.code == 0, renewed.err);
  CHECK(text_of(world.path("bob/bob.pem")) != before);
  CHECK(as_bob({"status"}).code == 0);

  secured::good({"ca", "revoke", "--dir", world.path("ca"), "--certificate", world.path("bob/bob.pem")});
  std::filesystem::copy_file(world.path("ca/revoked.pem"), world.path("tls/revoked.pem"),
                             std::filesystem::copy_options::overwrite_existing);
  ::kill(world.pid, SIGHUP);
  REQUIRE(eventually(10s, [&] { return contains(text_of(world.path("log")), "process.reload certificate=all"); }));
  auto out = as_bob({"status"});
  CHECK(out.code == 5);
  CHECK_MESSAGE(contains(out.err, "it is revoked"), out.err);
  CHECK(contains(text_of(world.path("log")), "the certificate of 'bob' is revoked"));
  // No key and no token is ever logged.
  CHECK_FALSE(contains(text_of(world.path("log")), token.substr(0, 40)));
  CHECK_FALSE(contains(text_of(world.path("log")), "PRIVATE"));
}
