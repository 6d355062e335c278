#include "test/e2e/cluster.hpp"
#include "test/p2p/files.hpp"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>

// Contents on their way through a cluster of real processes, real engines and real files.

using namespace astra::test;
using namespace std::chrono_literals;
namespace fs = std::filesystem;

namespace {

using astra::p2p::file_bytes;

void write_random(const fs::path& path, std::size_t bytes, unsigned seed) {
  astra::p2p::write_file(path, astra::p2p::random_bytes(bytes, seed));
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

/// Files that apps of a node can see, of all its contents.
std::vector<fs::path> visible(const cluster& all, const std::string& node, const std::string& file) {
  std::vector<fs::path> result;
  std::error_code error;
  for (auto& link : fs::directory_iterator{all.directory() / node / "store" / "contents", error})
    if (auto path = link.path() / file; fs::exists(path))
      result.push_back(path);
  return result;
}

/// An app whose answer tells what it finds in its content.
std::string reader(const std::string& content, unsigned replicas) {
  auto name = content.substr(0, content.find('@'));
  return fmt::format("name = \"reader\"\nreplicas = {}\ncontent = [\"{}\"]\ncommand = [\"sh\", \"-c\", \"cat "
                     "{{content.{}}}/config.json; sha256sum < $ASTRA_CONTENT_OCR/weights.bin\"]\n"
                     "[resources]\ncpu = 0.1\nmemory = \"16MiB\"\n",
                     replicas, content, name);
}

} // namespace

TEST_CASE("a content is published once, reaches the nodes that need it, and outlives whoever published it") {
  cluster all{{"--nodes", "3", "--cores", "2"}};
  temporary_directory source;
  write_random(source.path() / "m" / "weights.bin", 6'000'000, 1);
  std::ofstream{source.path() / "m" / "config.json"} << "{\"classes\": 7}\n";

  // Not there yet: the reason says so, and the replicas wait.
  auto app = source.path() / "reader.toml";
  std::ofstream{app} << reader("ocr@1", 3);
  CHECK(all.cli({"app", "apply", app.string()}).code == 0);
  CHECK(eventually(10s, [&] {
    return contains(all.cli({"why", "app/reader"}).out, "no node has a content of this name");
  }));

  auto published = all.cli({"model", "publish", "ocr", (source.path() / "m").string(), "--node", "node-1"});
  REQUIRE_MESSAGE(published.code == 0, published.err);
  CHECK(contains(published.out, "published ocr@1"));
  REQUIRE(eventually(40s, [&] { return all.ready("reader", 3); }));
  for (auto node : {"node-1", "node-2", "node-3"}) {
    auto files = visible(all, node, "weights.bin");
    REQUIRE(files.size() == 1);
    CHECK(file_bytes(files[0]) == file_bytes(source.path() / "m" / "weights.bin"));
  }
  auto answer = all.cli({"invoke", "reader"}, "x");
  CHECK(answer.code == 0);
  CHECK(contains(answer.out, "\"classes\": 7"));

  // The same again is no new version, other bytes are.
  CHECK(
      contains(all.cli({"model", "publish", "ocr", (source.path() / "m").string(), "--node", "node-2"}).out, "ocr@1"));
  std::ofstream{source.path() / "m" / "config.json"} << "{\"classes\": 8}\n";
  CHECK(
      contains(all.cli({"model", "publish", "ocr", (source.path() / "m").string(), "--node", "node-2"}).out, "ocr@2"));

  // Whoever published it is killed, and so is the tracker: the others have it, and know its name.
  all.signal("node-1", SIGKILL);
  all.signal("resource-1", SIGKILL);
  all.start_again("resource-1");
  auto fetched = [&] { return all.cli({"model", "show", "ocr", "-o", "json"}).out; };
  CHECK(eventually(20s, [&] { return contains(fetched(), "\"version\": 2") || contains(fetched(), "\"version\":2"); }));
  // Until every node has found the tracker again the answer is to try again.
  finished more;
  CHECK(eventually(20s, [&] {
    more = all.cli({"model", "fetch", "ocr@2", "--node", "node-3"});
    return more.code == 0;
  }));
  CHECK_MESSAGE(more.code == 0, more.err);
  CHECK(visible(all, "node-3", "weights.bin").size() == 2);
  // What both versions have is on the disk once.
  auto both = visible(all, "node-3", "weights.bin");
  REQUIRE(both.size() == 2);
  CHECK(fs::equivalent(both[0], both[1]));

  // A removed version is gone everywhere, and its app says so.
  CHECK(all.cli({"model", "rm", "ocr@2"}).code == 0);
  CHECK(eventually(15s, [&] { return visible(all, "node-3", "weights.bin").size() == 1; }));
  CHECK(all.cli({"model", "fetch", "ocr@2", "--node", "node-3"}).code != 0);
}

TEST_CASE("a node killed while it fetches goes on where it was, and a flipped bit is found and repaired") {
  cluster all{{"--nodes", "2", "--cores", "2"}};
  temporary_directory source;
  write_random(source.path() / "m" / "weights.bin", 24'000'000, 2);
  REQUIRE(all.cli({"model", "publish", "big", (source.path() / "m").string(), "--node", "node-1"}).code == 0);
  // So slow that there is time to kill it.
  REQUIRE(all.cli({"model", "limit", "8MB/s"}).code == 0);
  REQUIRE(all.cli({"model", "fetch", "big", "--node", "node-2", "--no-wait"}).code == 0);
  auto share = [&] {
    auto shown = nlohmann::json::parse(all.cli({"model", "show", "big", "-o", "json"}).out, nullptr, false);
    for (auto& version : shown.value("versions", nlohmann::json::array()))
      for (auto& holder : version.value("holders", nlohmann::json::array()))
        if (holder.value("node", "") == "node-2")
          return holder.value("bytes_done", 0.0) / 24e6;
    return 0.0;
  };
  REQUIRE(eventually(30s, [&] { return share() > 0.3; }));
  CHECK(visible(all, "node-2", "weights.bin").empty());
  all.signal("node-2", SIGKILL);
  all.start_again("node-2");
  // What it had it still has; nobody ordered it anew.
  CHECK(eventually(10s, [&] { return share() > 0.25; }));
  REQUIRE(all.cli({"model", "limit", "none"}).code == 0);
  REQUIRE(eventually(30s, [&] { return visible(all, "node-2", "weights.bin").size() == 1; }));
  auto file = fs::canonical(visible(all, "node-2", "weights.bin")[0]);
  CHECK(file_bytes(file) == file_bytes(source.path() / "m" / "weights.bin"));

  fs::permissions(file, fs::perms::owner_write, fs::perm_options::add);
  {
    std::fstream damage{file, std::ios::in | std::ios::out | std::ios::binary};
    damage.seekp(7'000'000);
    damage.put('\0').put('\0').put('\0');
  }
  auto verified = all.cli({"model", "verify", "big", "--node", "node-2"});
  CHECK(verified.code != 0);
  CHECK(contains(verified.out + verified.err, "weights.bin has other bytes"));
  CHECK(eventually(30s, [&] {
    auto files = visible(all, "node-2", "weights.bin");
    return files.size() == 1 && file_bytes(files[0]) == file_bytes(source.path() / "m" / "weights.bin");
  }));
}

TEST_CASE("an app's contents come to the node where its next replica would go, and a fetch has a priority") {
  cluster all{{"--nodes", "3", "--cores", "2"}};
  temporary_directory source;
  write_random(source.path() / "m" / "weights.bin", 12'000'000, 1);
  write_random(source.path() / "other" / "weights.bin", 12'000'000, 2);
  std::ofstream{source.path() / "m" / "config.json"} << "{\"classes\": 7}\n";
  auto publish = [&](const std::string& name, const fs::path& path) {
    auto done = all.cli({"model", "publish", name, path.string(), "--node", "node-1"});
    REQUIRE_MESSAGE(done.code == 0, done.err);
  };
  publish("ocr", source.path() / "m");
  publish("other", source.path() / "other");
  auto app = source.path() / "reader.toml";
  std::ofstream{app} << "prefetch = 1\n" << reader("ocr@1", 1);
  REQUIRE(all.cli({"app", "apply", app.string()}).code == 0);
  REQUIRE(eventually(40s, [&] { return all.ready("reader", 1); }));
  // The replica is where it was published; one more node has it, though nobody asked for it there.
  auto holders = [&] {
    auto count = 0;
    for (auto node : {"node-1", "node-2", "node-3"})
      count += static_cast<int>(visible(all, node, "config.json").size());
    return count;
  };
  CHECK(eventually(40s, [&] { return holders() == 2; }));

  // How urgent a fetch is its nodes tell.
  REQUIRE(all.cli({"model", "limit", "1MB/s"}).code == 0);
  auto begun =
      all.cli({"model", "fetch", "other", "--node", "node-2", "--node", "node-3", "--priority", "low", "--no-wait"});
  REQUIRE_MESSAGE(begun.code == 0, begun.err);
  CHECK(eventually(10s, [&] {
    return contains(all.cli({"model", "show", "other", "-o", "json"}).out, "\"priority\": \"low\"");
  }));
  CHECK(all.cli({"model", "fetch", "other", "--all", "--priority", "soon"}).code == 2);
}
