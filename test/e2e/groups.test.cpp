#include "test/e2e/cluster.hpp"
#include "test/e2e/processes.hpp"

#include <doctest/doctest.h>
#include <fmt/format.h>
#include <signal.h>

#include <fstream>

using namespace astra::test;
using namespace std::chrono_literals;

namespace {

std::string node_text(const std::string& resource) {
  return fmt::format("roles = [\"node\"]\nresources = [\"{}\"]\n[capacity]\ncores = 2\nmemory = \"1GiB\"\n", resource);
}

} // namespace

TEST_CASE("two Resource groups share a scheduler and a gateway, and one takes no harm from the other") {
  processes all;
  std::string main_one = all.start("r1", "roles = [\"resource\"]\n")["address"];
  std::string vision = all.start("v1", "roles = [\"resource\"]\n[resource]\ngroup = \"vision\"\n")["address"];
  all.start("n1", node_text(main_one));
  all.start("c1", node_text(vision));
  auto front = all.start("front", fmt::format("roles = [\"scheduler\", \"gateway\"]\nresources = [\"{}\"]\n[[groups]]\n"
                                              "name = \"vision\"\nresources = [\"{}\"]\n[gateway]\nlisten = "
                                              "\"127.0.0.1:0\"\n",
                                              main_one, vision));
  std::string gateway = front["gateway"];
  auto astra = [&](std::vector<std::string> arguments, const std::string& input = {}) {
    arguments.insert(arguments.begin(), {"--gateway", gateway});
    return run_astra(arguments, input);
  };
  auto nodes = [&](const std::string& columns) {
    return astra({"node", "list", "-o", "csv", "--sort", "name", "--columns", columns});
  };
  REQUIRE(eventually(20s, [&] { return nodes("name,group").out == "name,group\r\nc1,vision\r\nn1,main\r\n"; }));
  auto apply = [&](const std::string& name, const std::string& more, bool wait) {
    auto file = all.path() / (name + ".toml");
    std::ofstream{file} << "name = \"" << name << "\"\nkind = \"actor\"\n"
                        << more << "[actor]\ntype = \"echo\"\n[resources]\ncpu = 0.1\nmemory = \"16MiB\"\n";
    std::vector<std::string> arguments{"app", "apply", file.string()};
    if (wait)
      arguments.emplace_back("--wait");
    return astra(arguments);
  };
  CHECK(apply("seer", "groups = [\"vision\"]\n", true).code == 0);
  CHECK(apply("plain", "", true).code == 0);
  CHECK(nodes("name,apps").out == "name,apps\r\nc1,seer\r\nn1,plain\r\n");
  // A group that nobody knows is a reason, not a mystery.
  CHECK(apply("lost", "groups = [\"visoin\"]\n", false).code == 0);
  CHECK(eventually(10s, [&] {
    return astra({"app", "show", "lost"}).out.find("of the Resource group main, which is not the app's")
           != std::string::npos;
  }));
  // All Resources of one group are gone: its replicas serve, and the list says that it is not whole.
  all.signal("v1", SIGKILL);
  CHECK(eventually(10s, [&] { return nodes("name").code == 5; }));
  CHECK(nodes("name").out == "name\r\nn1\r\n");
  CHECK(astra({"invoke", "seer"}, "hello").out == "hello");
  CHECK(astra({"invoke", "plain"}, "hello").out == "hello");
  for (auto name : {"front", "n1", "r1"})
    CHECK(all.end(name) == 0);
}
