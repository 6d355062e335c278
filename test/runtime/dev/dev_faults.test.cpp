#include "runtime/dev/dev_faults.hpp"

#include "messages/errc.hpp"
#include "messages/type_ids.hpp"

#include <doctest/doctest.h>
#include <poll.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>

using namespace astra;
using namespace std::chrono_literals;

namespace {

std::string error_of(const std::vector<std::string>& words) {
  auto read = read_dev_fault(words);
  return read ? "none" : error_text(read.error());
}

struct fixture {
  fixture() {
    static std::atomic<int> number{0};
    // Longer than the address of a socket can be.
    directory =
        std::filesystem::temp_directory_path()
        / ("astra-faults-" + std::to_string(::getpid()) + "-" + std::to_string(++number) + std::string(120, 'x'));
    std::filesystem::create_directories(directory);
  }
  ~fixture() { std::filesystem::remove_all(directory); }

  std::filesystem::path directory;
};

} // namespace

TEST_CASE("a fault of a laptop cluster is read from words") {
  auto one = read_dev_fault({"kill", "node-2"});
  REQUIRE(one);
  CHECK(one->what == dev_fault::kind::kill);
  CHECK(one->targets == std::vector<std::string>{"node-2"});
  CHECK(one->duration == 2s);
  auto two = read_dev_fault({"stall", "node-1,node-3", "resource-1", "500ms"});
  REQUIRE(two);
  CHECK(two->what == dev_fault::kind::stall);
  CHECK(two->targets == std::vector<std::string>{"node-1", "node-3", "resource-1"});
  CHECK(two->duration == 500ms);
  CHECK(read_dev_fault({"crash", "node-1", "for", "3s"})->what == dev_fault::kind::kill);
  CHECK(error_of({}).starts_with("write it as fault kill|stop|stall"));
  CHECK(error_of({"kil", "node-1"}).starts_with("astra dev has no fault 'kil'; did you mean 'kill'?"));
  CHECK(error_of({"partition", "node-1"})
        == "astra dev has no fault 'partition'; it can kill, stop, stall a process, astra sim run can do more");
  CHECK(error_of({"kill", "2s"}) == "fault kill: name a process, such as node-2");
  CHECK(error_of({"kill", "node-1", "2x"}).starts_with("fault: '2x': "));
}

TEST_CASE_FIXTURE(fixture, "the owner of a cluster hears of a fault, and its answer comes back") {
  dev_fault_door door{directory};
  REQUIRE(door.descriptor() >= 0);
  CHECK((std::filesystem::status(directory / "faults.sock").permissions()
         & (std::filesystem::perms::group_all | std::filesystem::perms::others_all))
        == std::filesystem::perms::none);
  std::vector<dev_fault> heard;
  caf::error first, second;
  std::thread asker{[&] {
    first = ask_for_fault(directory, {dev_fault::kind::kill, {"node-2"}, 1500ms});
    second = ask_for_fault(directory, {dev_fault::kind::stall, {"nobody"}, 1s});
  }};
  while (heard.size() < 2) {
    pollfd ready{door.descriptor(), POLLIN, 0};
    ::poll(&ready, 1, 60'000);
    door.serve([&](const dev_fault& what) -> std::string {
      heard.push_back(what);
      return what.targets.front() == "nobody" ? "no process 'nobody'" : "";
    });
  }
  asker.join();
  CHECK(!first);
  REQUIRE(second);
  CHECK(error_text(second) == "no process 'nobody'");
  CHECK(heard[0].what == dev_fault::kind::kill);
  CHECK(heard[0].targets == std::vector<std::string>{"node-2"});
  CHECK(heard[0].duration == 1500ms);
  CHECK(heard[1].what == dev_fault::kind::stall);
}

TEST_CASE_FIXTURE(fixture, "a cluster that nobody runs any more takes no fault") {
  { dev_fault_door door{directory}; }
  CHECK(ask_for_fault(directory, {dev_fault::kind::kill, {"node-2"}, 1s}) == errc::unreachable);
  CHECK(ask_for_fault(directory / "nowhere", {dev_fault::kind::kill, {"node-2"}, 1s}) == errc::unreachable);
}

TEST_CASE_FIXTURE(fixture, "the gateway of a cluster is found by its directory") {
  auto missing = dev_gateway(directory);
  REQUIRE(!missing);
  CHECK(error_text(missing.error())
            .ends_with("is not the directory of a cluster of astra dev, which prints it when it "
                       "starts"));
  std::ofstream{directory / "cluster.json"} << R"({"gateway": "127.0.0.1:4711", "pid": 1})";
  auto found = dev_gateway(directory);
  REQUIRE(found);
  CHECK(*found == "127.0.0.1:4711");
}
