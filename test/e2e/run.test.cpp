#include "test/e2e/cluster.hpp"

#include <doctest/doctest.h>
#include <signal.h>

#include <fstream>

using namespace astra::test;
using namespace std::chrono_literals;

TEST_CASE("a bad file is refused with place and cure before anything starts, with exit code 78") {
  temporary_directory home;
  auto file = home.path() / "node.toml";
  std::ofstream{file} << "name = \"n1\"\nroles = [\"node\"]\nresources = [\"127.0.0.1:1\"]\nstate_dir = \""
                      << (home.path() / "state").string() << "\"\n[node]\nhearbeat = \"1s\"\n";
  auto run = run_astra({"run", "-c", file.string()});
  CHECK(run.code == 78);
  CHECK(run.err.find("node.toml:6:1") != std::string::npos);
  CHECK(run.err.find("did you mean 'heartbeat'") != std::string::npos);
  CHECK_FALSE(std::filesystem::exists(home.path() / "state"));
}

TEST_CASE("a scheduler whose app store is no database does not start, says so, and leaves the file alone") {
  temporary_directory home;
  auto state = home.path() / "state";
  std::filesystem::create_directories(state);
  std::ofstream{state / "apps.db"} << "not a database";
  auto file = home.path() / "s1.toml";
  std::ofstream{file} << "name = \"s1\"\nroles = [\"scheduler\"]\nresources = [\"127.0.0.1:1\"]\nstate_dir = \""
                      << state.string() << "\"\n[net]\nlisten = \"127.0.0.1:0\"\n";
  auto run = run_astra({"run", "-c", file.string()});
  CHECK(run.code == 1);
  CHECK(run.err.find("apps.db: cannot open: not an SQLite database; it is left as it is") != std::string::npos);
  std::ifstream in{state / "apps.db"};
  std::string text;
  std::getline(in, text);
  CHECK(text == "not a database");
}

TEST_CASE("two processes cannot share a state directory or a port") {
  temporary_directory home;
  auto write = [&](const std::string& name, const std::string& state, const std::string& listen) {
    auto file = home.path() / (name + ".toml");
    std::ofstream{file} << "name = \"" << name << "\"\nroles = [\"resource\"]\nstate_dir = \""
                        << (home.path() / state).string() << "\"\n[net]\nlisten = \"" << listen << "\"\n";
    return file.string();
  };
  auto first = start_astra({"run", "-c", write("r1", "s1", "127.0.0.1:0")}, home.path() / "log");
  auto run_file = home.path() / "s1" / "run.json";
  REQUIRE(eventually(20s, [&] { return std::filesystem::exists(run_file); }));
  auto same_directory = run_astra({"run", "-c", write("r2", "s1", "127.0.0.1:0")});
  CHECK(same_directory.code == 1);
  CHECK(same_directory.err.find("in use by another astra process") != std::string::npos);
  std::ifstream in{run_file};
  auto address = nlohmann::json::parse(in)["address"].get<std::string>();
  auto same_port = run_astra({"run", "-c", write("r3", "s3", address)});
  CHECK(same_port.code == 1);
  CHECK(same_port.err.find("cannot listen") != std::string::npos);
  ::kill(first, SIGTERM);
  CHECK(wait_for_end(first, 10s).value_or(-1) == 0);
  CHECK_FALSE(std::filesystem::exists(run_file));
}

TEST_CASE("a node without any Resource waits for one and joins it when it comes") {
  temporary_directory home;
  auto resource_file = home.path() / "r.toml";
  auto node_file = home.path() / "n.toml";
  std::ofstream{resource_file} << "name = \"r\"\nroles = [\"resource\", \"gateway\"]\nresources = [\"127.0.0.1:9\"]\n"
                               << "state_dir = \"" << (home.path() / "r").string()
                               << "\"\n[gateway]\nlisten = \"127.0.0.1:0\"\n";
  // The port of the Resource is known only after its first start.
  auto resource = start_astra({"run", "-c", resource_file.string()}, home.path() / "log");
  auto run_file = home.path() / "r" / "run.json";
  REQUIRE(eventually(20s, [&] { return std::filesystem::exists(run_file); }));
  std::ifstream in{run_file};
  auto address = nlohmann::json::parse(in)["address"].get<std::string>();
  ::kill(resource, SIGTERM);
  CHECK(wait_for_end(resource, 10s).value_or(-1) == 0);

  std::ofstream{node_file} << "name = \"n\"\nroles = [\"node\"]\nresources = [\"" << address << "\"]\nstate_dir = \""
                           << (home.path() / "n").string() << "\"\n";
  auto node = start_astra({"run", "-c", node_file.string()}, home.path() / "node.log");
  std::this_thread::sleep_for(1500ms);
  CHECK_FALSE(wait_for_end(node, 0ms).has_value());
  std::ofstream{resource_file} << "name = \"r\"\nroles = [\"resource\", \"gateway\"]\nresources = [\"" << address
                               << "\"]\nstate_dir = \"" << (home.path() / "r").string() << "\"\n[net]\nlisten = \""
                               << address << "\"\n[gateway]\nlisten = \"127.0.0.1:0\"\n";
  resource = start_astra({"run", "-c", resource_file.string()}, home.path() / "log");
  std::string gateway;
  REQUIRE(eventually(20s, [&] {
    std::ifstream again{run_file};
    auto run = nlohmann::json::parse(again, nullptr, false);
    if (run.is_discarded() || !run.contains("gateway"))
      return false;
    gateway = run["gateway"];
    return true;
  }));
  CHECK(eventually(10s, [&] {
    auto list = run_astra({"--gateway", gateway, "node", "list", "-o", "json"});
    return list.code == 0 && nlohmann::json::parse(list.out)["nodes"].size() == 1;
  }));
  for (auto pid : {node, resource}) {
    ::kill(pid, SIGTERM);
    CHECK(wait_for_end(pid, 20s).value_or(-1) == 0);
  }
}
