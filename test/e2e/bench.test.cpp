#include "test/e2e/cluster.hpp"

#include <doctest/doctest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

using namespace astra::test;
namespace fs = std::filesystem;

TEST_CASE("bench view of 400 nodes of which 40 die: all come into every view, the dead leave it, nothing stays") {
  temporary_directory own;
  ::setenv("TMPDIR", own.path().c_str(), 1);
  auto ran = run_astra({"bench", "view", "--nodes", "400", "--resources", "2", "--subscribers", "2", "--swarms", "2",
                        "--seconds", "4", "--die", "10%", "-o", "json"});
  ::unsetenv("TMPDIR");
  INFO(ran.out, ran.err);
  REQUIRE(ran.code == 0);
  auto result = nlohmann::json::parse(ran.out);
  CHECK(result["nodes"] == 400);
  CHECK(result["resources"] == 2);
  CHECK(result["joined_s"].is_number());
  CHECK(result["described_s"] >= result["joined_s"]);
  CHECK(result["beats_recorded_per_s"] > 0);
  CHECK(result["processes"].size() == 6);
  for (auto& process : result["processes"])
    CHECK(process["memory_bytes"] > 0);
  REQUIRE(result["streams"].size() == 4);
  for (auto& stream : result["streams"])
    CHECK(stream["samples"] > 0);
  CHECK(result["died"]["nodes"] > 0);
  CHECK(result["died"]["all_offline_s"].is_number());
  CHECK(result["healthy_seen_offline"].is_number()); // a machine without CPU time silences the swarm, too
  CHECK(result["shards_diverged"] == 0);
  CHECK(fs::is_empty(own.path()));
  CHECK(processes_with(own.path().string()).empty());
}

TEST_CASE("bench view measures the Resources of a cluster that is there, and leaves them as they were") {
  cluster up{{"--nodes", "1", "--resources", "2"}};
  std::string addresses;
  for (auto name : {"resource-1", "resource-2"}) {
    auto run = nlohmann::json::parse(std::ifstream{up.directory() / name / "run.json"});
    addresses += (addresses.empty() ? "" : ",") + run["address"].get<std::string>();
  }
  auto ran = run_astra({"bench", "view", "--nodes", "50", "--resources", addresses, "--subscribers", "1", "--seconds",
                        "2", "-o", "json"});
  INFO(ran.out, ran.err);
  CHECK(ran.code == 0);
  CHECK(up.node("node-1")["state"] == "online");
}
