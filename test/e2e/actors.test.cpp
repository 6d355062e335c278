#include "test/e2e/cluster.hpp"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

// Actors of a user's own: built against an installed Astra, run by a cluster of real processes.

using namespace astra::test;
using namespace std::chrono_literals;
namespace fs = std::filesystem;

namespace {

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

std::string text_of(const fs::path& file) {
  std::ifstream in{file};
  std::stringstream all;
  all << in.rdbuf();
  return all.str();
}

/// Runs a line in a shell; what it printed is told when it fails.
void run(const std::string& line, const fs::path& directory) {
  auto log = directory / "output.txt";
  auto code =
      std::system(fmt::format("cd '{}' && {{ {}\n}} > '{}' 2>&1", directory.string(), line, log.string()).c_str());
  REQUIRE_MESSAGE(code == 0, line, "\n", text_of(log));
}

/// An installed Astra, and a directory to work in.
struct workshop {
  workshop() {
    run(fmt::format("cmake --install '{}' --prefix '{}' --component actor", ASTRA_BINARY_DIR, prefix.string()),
        root.path());
    REQUIRE(fs::exists(prefix / "bin" / "astra"));
  }

  /// Configures and builds a project with nothing of this build but what was installed.
  void build(const fs::path& source, const fs::path& to) const {
    run(fmt::format("cmake -S '{}' -B '{}' -DCMAKE_PREFIX_PATH='{}' -DCMAKE_BUILD_TYPE=Debug && cmake --build '{}'",
                    source.string(), to.string(), prefix.string(), to.string()),
        root.path());
  }

  std::string write(const std::string& name, const std::string& text) const {
    std::ofstream{root.path() / name} << text;
    return (root.path() / name).string();
  }

  temporary_directory root;
  fs::path prefix = root.path() / "prefix";
};

const fs::path sources = ASTRA_SOURCE_DIR;

std::string app_of(const std::string& name, const std::string& type, const fs::path& library,
                   const std::string& more = {}) {
  return fmt::format("name = \"{}\"\nkind = \"actor\"\n{}\n[actor]\ntype = \"{}\"\nlibrary = \"{}\"\n"
                     "[resources]\ncpu = 0.1\nmemory = \"128MiB\"\n",
                     name, more, type, library.string());
}

} // namespace

TEST_CASE("the example is built against an installed Astra and answers on three nodes, as file and as content") {
  workshop shop;
  auto tally = shop.root.path() / "tally";
  fs::copy(sources / "config" / "examples" / "actors" / "tally", tally, fs::copy_options::recursive);
  shop.build(tally, tally / "build");
  auto library = tally / "build" / "libtally.so";
  // The installed program runs, and says what is in it.
  run(fmt::format("'{}' worker --library '{}' > described", (shop.prefix / "bin" / "astra").string(), library.string()),
      shop.root.path());
  CHECK(contains(text_of(shop.root.path() / "described"), "add [amount=1] -> int64"));

  cluster all{{"--nodes", "3", "--cores", "4"}};
  CHECK(all.cli({"app", "apply", (tally / "tally.toml").string(), "--wait=60s"}).code == 0);
  auto shell = [&](std::vector<std::string> statements) {
    std::vector<std::string> words{"shell", "--rw", "test"};
    for (auto& one : statements) {
      words.push_back("-c");
      words.push_back(one);
    }
    return all.cli(std::move(words));
  };
  auto answers = shell({"ask @tally add amount=2", "expect $ == 42", "ask @tally get", "expect $ == 42"});
  CHECK_MESSAGE(answers.code == 0, answers.err);
  CHECK(contains(shell({"ask @tally add amout=2"}).err, "add has no field 'amout'; did you mean 'amount'?"));
  CHECK(contains(shell({"help @tally"}).out, "Adds and tells the sum."));
  // The actor itself refuses it, too.
  auto refused = all.cli({"invoke", "tally"}, R"({"add":{"amout":2}})");
  CHECK(refused.code != 0);
  CHECK(contains(refused.err, "did you mean 'amount'?"));
  auto info = shell({"info @tally"});
  CHECK(contains(info.out, "mailbox 0, handled 3, failed 1"));
  CHECK(contains(info.out, "sum = 42"));

  // Published, it is found by its name, on whatever node.
  auto published = all.cli({"model", "publish", "tally-actor", library.string(), "--node", "node-1"});
  REQUIRE_MESSAGE(published.code == 0, published.err);
  auto everywhere =
      shell({"spawn tally replicas=3 name=sums init=1 as s", "await @s ready 60s",
             "ps sums | where state == ready | count", "expect $ == 3", "ask @s add amount=2", "expect $ == 3"});
  CHECK_MESSAGE(everywhere.code == 0, everywhere.err);
  CHECK(contains(everywhere.out, "tally-actor@1"));

  // What is wrong with the arguments stands with the replica, and is not tried again and again.
  auto wrong = shell({"spawn tally name=wrong int=1"});
  CHECK_MESSAGE(wrong.code == 0, wrong.err);
  CHECK(eventually(20s, [&] {
    return contains(all.cli({"why", "app/wrong"}).out, "it has no argument 'int'; did you mean 'init'?");
  }));
  CHECK(all.end() == 0);
}

TEST_CASE(
    "an actor that dies of SIGSEGV is started again with the reason, until its budget ends it, and all else goes on") {
  workshop shop;
  shop.build(sources / "test" / "e2e" / "actors", shop.root.path() / "build");
  auto library = shop.root.path() / "build" / "libcrashers.so";
  cluster all{{"--nodes", "2", "--cores", "4"}};
  all.apply("name = \"counter\"\nkind = \"actor\"\nreplicas = 2\n[actor]\ntype = \"counter\"\n[resources]\ncpu = 0.1\n"
            "memory = \"64MiB\"\n");
  auto file = shop.write("crasher.toml", app_of("crasher", "crasher", library, "replicas = 1"));
  CHECK(all.cli({"app", "apply", file, "--wait=60s"}).code == 0);
  CHECK(contains(all.cli({"invoke", "crasher"}, R"({"live":{}})").out, "alive"));
  auto broken = all.cli({"invoke", "crasher"}, R"({"throw":{}})");
  CHECK(contains(broken.err, "a bug"));

  auto died = all.cli({"invoke", "crasher"}, R"({"die":{}})");
  CHECK(died.code != 0);
  CHECK(contains(died.err, "closed the connection before its answer was complete"));
  // It is back, and has forgotten nothing but its state.
  CHECK(eventually(30s, [&] { return contains(all.cli({"invoke", "crasher"}, R"({"live":{}})").out, "alive"); }));
  auto restarts = all.get("/v1/apps/crasher")["replicas_detail"][0]["restarts"].get<int>();
  CHECK(restarts == 1);

  // In a loop: it ends failed, with the reason, on whichever node.
  auto loop =
      shop.write("loop.toml", app_of("loop", "crasher", library, "")
                                  + "[actor.args]\nat_once = true\n[restart]\nbudget = 2\nbackoff_min = \"10ms\"\n");
  CHECK(all.cli({"app", "apply", loop}).code == 0);
  CHECK(eventually(60s, [&] { return contains(all.cli({"why", "app/loop"}).out, "given up after 2 restarts"); }));
  CHECK(contains(all.cli({"why", "app/loop"}).out, "Segmentation fault"));
  CHECK(eventually(30s, [&] { return contains(all.cli({"shell", "-c", "ps loop"}).out, "Segmentation fault"); }));

  // Nobody else has noticed.
  for (auto node : {"node-1", "node-2"})
    CHECK(all.node(node)["state"] == "online");
  CHECK(all.ready("counter", 2));
  CHECK(all.cli({"invoke", "counter"}, "5").code == 0);
  CHECK(contains(all.cli({"invoke", "crasher"}, R"({"live":{}})").out, "alive"));

  // Requests of others wait while it is busy, one after the other, and a lost one is told as such.
  CHECK(contains(all.cli({"invoke", "crasher"}, R"({"nap":{"ms":50}})").out, "50"));
  CHECK(all.end() == 0);
}

TEST_CASE("a library that cannot be loaded is told as what it is") {
  workshop shop;
  shop.build(sources / "test" / "e2e" / "actors", shop.root.path() / "build");
  auto built = shop.root.path() / "build";
  auto worker = [&](const fs::path& library, const std::string& actor) {
    auto result = run_astra({"worker", "--library", library.string(), "--actor", actor});
    CHECK(result.code == 78);
    return result.err;
  };
  CHECK(contains(worker(built / "libfuture.so", "x"),
                 "was built for version 999 of the actor interface, and this Astra"));
  CHECK(contains(worker(built / "libstranger.so", "x"), "is a library, but none of actors"));
  CHECK(contains(worker(built / "libnothing.so", "x"), "no such file on this machine"));
  CHECK(contains(worker(built / "CMakeCache.txt", "x"), "it cannot be loaded"));
  CHECK(contains(worker(built, "x"), "files that end in .so, such as libcrashers.so and libfuture.so"));
  CHECK(contains(worker(built / "CMakeFiles", "x"), "holds no file that ends in .so"));
  CHECK(contains(worker(built / "libcrashers.so", "crashe"), "has no actor 'crashe'; did you mean 'crasher'?"));
  auto listed = run_astra({"worker", "--library", (built / "libcrashers.so").string()});
  CHECK(listed.code == 0);
  CHECK(contains(listed.out, "crasher: Dies when it is told to."));
}

TEST_CASE("a new app is written once, and what was written builds and passes its test") {
  workshop shop;
  auto directory = shop.root.path() / "my-sum";
  auto written = run_astra({"app", "new", "my-sum", directory.string()});
  REQUIRE_MESSAGE(written.code == 0, written.err);
  CHECK(contains(written.out, "my-sum.cpp"));
  auto again = run_astra({"app", "new", "my-sum", directory.string()});
  CHECK(again.code == 6);
  CHECK(contains(again.err, "CMakeLists.txt is there already; nothing was written"));
  CHECK(contains(run_astra({"app", "new", "My Sum"}).err, "at position 1"));
  CHECK(contains(run_astra({"app", "new", std::string(60, 'a')}).err, "is too long: its library"));
  CHECK(run_astra({"config", "check", "--app", (directory / "my-sum.toml").string()}).code == 0);
  shop.build(directory, directory / "build");
  run(fmt::format("ctest --test-dir '{}' --output-on-failure", (directory / "build").string()), shop.root.path());
  // The test is one that can fail.
  auto source = text_of(directory / "my-sum.cpp");
  auto at = source.find("sum_ += amount");
  REQUIRE(at != std::string::npos);
  std::ofstream{directory / "my-sum.cpp"} << source.replace(at, 14, "sum_ -= amount");
  auto build = (directory / "build").string();
  run(fmt::format("cmake --build '{}' && ! ctest --test-dir '{}'", build, build), shop.root.path());
}

TEST_CASE("the same library runs in a simulation, and a seed brings the same run again") {
  workshop shop;
  auto tally = shop.root.path() / "tally";
  fs::copy(sources / "config" / "examples" / "actors" / "tally", tally, fs::copy_options::recursive);
  auto scenario = [](const std::string& library) {
    return "name = \"tally\"\nabout = \"An actor of one's own under crashes.\"\nhorizon = \"20s\"\nquiet = \"20s\"\n"
           "swarm = [\"crash\", \"process_crash\", \"process_hang\"]\nswarm_faults = 4\n"
           "[[machines]]\nname = \"resource\"\nroles = [\"resource\"]\n"
           "[[machines]]\nname = \"node\"\nroles = [\"node\"]\ncount = 3\n"
           "[[machines]]\nname = \"scheduler\"\nroles = [\"scheduler\"]\n"
           "[[machines]]\nname = \"gateway\"\nroles = [\"gateway\"]\n"
           "[[apps]]\nname = \"tally\"\nkind = \"actor\"\nreplicas = 2\n"
           "actor = { type = \"tally\", library = \""
           + library
           + "\" }\nresources = { cpu = 0.5, memory = \"128MiB\" }\n"
             "[apps.behaviour]\nservice_min = \"1ms\"\nservice_max = \"20ms\"\ncrash = 0.01\n"
             "[[load]]\napp = \"tally\"\nper_s = 5\ndeadline = \"5s\"\n";
  };
  auto missing = run_astra({"sim", "run", shop.write("missing.toml", scenario("tally/build/libtally.so"))});
  CHECK(missing.code == 78);
  CHECK(contains(missing.err, "libtally.so: no such file on this machine"));
  shop.build(tally, tally / "build");
  auto file = shop.write("tally.toml", scenario("tally/build/libtally.so"));
  auto twice = run_astra({"sim", "explore", file, "--seeds", "1..5", "--twice", "--jobs", "1"});
  CHECK_MESSAGE(twice.code == 0, twice.out, twice.err);
  auto content = run_astra({"sim", "run", shop.write("content.toml", scenario("tally-actor@1"))});
  CHECK(content.code == 78);
  CHECK(contains(content.err, "those of a simulation have no files"));
}
