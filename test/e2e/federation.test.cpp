#include "test/e2e/cluster.hpp"

#include <doctest/doctest.h>
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <fstream>
#include <thread>

using namespace astra::test;
using namespace std::chrono_literals;

namespace {

using clock_type = std::chrono::steady_clock;

std::string text_of(const std::string& path) {
  std::ifstream in{path};
  return {std::istreambuf_iterator<char>{in}, {}};
}

void replace_in(std::string& text, const std::string& from, const std::string& to) {
  auto at = text.find(from);
  REQUIRE(at != std::string::npos);
  for (; at != std::string::npos; at = text.find(from, at + to.size()))
    text.replace(at, from.size(), to);
}

bool serves(const nlohmann::json& cluster) {
  return cluster["state"] == "serving" || cluster["state"] == "degraded";
}

/// The clusters of an app that serve.
std::vector<nlohmann::json> serving(const cluster& up, const std::string& app) {
  std::vector<nlohmann::json> result;
  auto shown = up.get("/v1/apps/" + app);
  for (auto& one : shown["clusters"])
    if (serves(one))
      result.push_back(one);
  return result;
}

nlohmann::json full(const cluster& up, const std::string& app) {
  nlohmann::json result;
  REQUIRE(eventually(60s, [&] {
    auto all = serving(up, app);
    if (all.size() != 1 || all[0]["state"] != "serving")
      return false;
    result = all[0];
    return true;
  }));
  return result;
}

/// Between the words of a command line in /proc.
const std::string between(1, '\0');

std::string port_of(const nlohmann::json& cluster) {
  return std::to_string(cluster["head_ports"]["s"].get<int>());
}

std::vector<pid_t> dask_workers(const nlohmann::json& cluster) {
  return processes_with("tcp://127.0.0.1:" + port_of(cluster) + between + "--host");
}

std::vector<pid_t> dask_heads(const nlohmann::json& cluster) {
  return processes_with("--port" + between + port_of(cluster) + between + "--no-dashboard");
}

double seconds_since(clock_type::time_point begin) {
  return std::chrono::duration<double>(clock_type::now() - begin).count();
}

/// The sum of the squares below `limit`.
std::string sum_of_squares(unsigned long long limit) {
  return std::to_string((limit - 1) * limit * (2 * limit - 1) / 6) + "\n";
}

} // namespace

TEST_CASE("a Dask cluster outlives its workers, dies with its head, and moves when the node of its head drains") {
  cluster up{{"--nodes", "4", "--cores", "4"}};
  up.apply(text_of(ASTRA_SOURCE_DIR "/config/examples/apps/dask.toml"));
  auto first = full(up, "dask");
  CHECK(up.cli({"invoke", "dask"}, "2000").out == sum_of_squares(2000));

  SUBCASE("a worker that is killed is back in the same cluster within a second") {
    auto workers = dask_workers(first);
    REQUIRE(workers.size() == 2);
    auto began = clock_type::now();
    ::kill(workers[0], SIGKILL);
    CHECK(eventually(20s, [&] {
      auto now = dask_workers(first);
      return now.size() == 2 && std::count(now.begin(), now.end(), workers[0]) == 0;
    }));
    MESSAGE("a worker process is back after " << seconds_since(began) << " s");
    auto again = full(up, "dask");
    MESSAGE("and registered after " << seconds_since(began) << " s");
    CHECK(again["cluster"] == first["cluster"]);
    CHECK(again["head_ports"] == first["head_ports"]);
  }
  SUBCASE("when the head is killed, its workers go and exactly one new cluster serves") {
    auto heads = dask_heads(first);
    REQUIRE(heads.size() == 1);
    auto began = clock_type::now();
    ::kill(heads[0], SIGKILL);
    CHECK(eventually(10s, [&] { return dask_workers(first).empty(); }));
    MESSAGE("the old workers are gone after " << seconds_since(began) << " s");
    nlohmann::json second;
    CHECK(eventually(30s, [&] {
      auto all = serving(up, "dask");
      if (all.size() != 1 || all[0]["cluster"] == first["cluster"])
        return false;
      second = all[0];
      return true;
    }));
    MESSAGE("a new cluster serves after " << seconds_since(began) << " s");
    full(up, "dask");
    CHECK(dask_heads(second).size() == 1);
    CHECK(up.cli({"invoke", "dask"}, "3000").out == sum_of_squares(3000));
  }
  SUBCASE("a drain of the head's node fails no job") {
    load jobs{up, "dask", "1000", 2};
    std::this_thread::sleep_for(3s);
    auto node = first["head_node"].get<std::string>();
    CHECK(up.cli({"node", "drain", node}).code == 0);
    CHECK(eventually(60s, [&] {
      auto all = serving(up, "dask");
      return all.size() == 1 && all[0]["cluster"] != first["cluster"] && dask_heads(first).empty();
    }));
    std::this_thread::sleep_for(3s);
    auto answers = jobs.stop();
    CHECK(answers.size() >= 5);
    auto failed = std::count_if(answers.begin(), answers.end(), [](auto& answer) {
      return answer.status != 200 || answer.body != sum_of_squares(1000);
    });
    CHECK(failed == 0);
    MESSAGE(answers.size() << " jobs");
  }
  SUBCASE("a long computation is right although workers are killed") {
    std::atomic<bool> done{false};
    std::thread killer{[&] {
      std::this_thread::sleep_for(2s);
      for (int i = 0; i < 4 && !done; ++i) {
        if (auto workers = dask_workers(first); !workers.empty())
          ::kill(workers[static_cast<std::size_t>(i) % workers.size()], SIGKILL);
        std::this_thread::sleep_for(3s);
      }
    }};
    auto answer = up.cli({"invoke", "dask"}, "20000000");
    done = true;
    killer.join();
    CHECK(answer.code == 0);
    CHECK(answer.out == "2666666466666670000000\n");
  }
  CHECK(up.end() == 0);
}

TEST_CASE("the Ray example gives its commands the flags that they need") {
  cluster up{{"--nodes", "2", "--cores", "4"}};
  auto text = text_of(ASTRA_SOURCE_DIR "/config/examples/apps/ray.toml");
  replace_in(text, "[\"ray\", \"start\"", "[\"python3\", \"" ASTRA_SOURCE_DIR "/test/e2e/fake_ray.py\", \"start\"");
  replace_in(text, "1GiB", "64MiB");
  auto job = text.find("import os, sys");
  auto end = text.find("'''", job);
  text.replace(job, end - job, R"(
import os, socket
host, port = os.environ["RAY_ADDRESS"].rsplit(":", 1)
peer = socket.create_connection((host, int(port)))
peer.sendall(b"count?")
print(peer.recv(10).decode())
)");
  up.apply(text);
  full(up, "ray");
  CHECK(up.cli({"invoke", "ray"}, "x").out == "2\n");
  CHECK(up.cli({"app", "show", "ray"}).out.find("serving") != std::string::npos);
  CHECK(up.end() == 0);
}
