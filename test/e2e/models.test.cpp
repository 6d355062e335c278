#include "p2p/merkle.hpp"
#include "test/e2e/cluster.hpp"
#include "test/p2p/files.hpp"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <future>
#include <span>

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

/// How much of a model's only version a node has.
double bytes_done(const cluster& all, const std::string& model, const std::string& node) {
  auto shown = nlohmann::json::parse(all.cli({"model", "show", model, "-o", "json"}).out, nullptr, false);
  for (auto& version : shown.value("versions", nlohmann::json::array()))
    for (auto& holder : version.value("holders", nlohmann::json::array()))
      if (holder.value("node", "") == node)
        return holder.value("bytes_done", 0.0);
  return 0.0;
}

/// An app whose answer tells what it finds in its content.
std::string reader(const std::string& content, unsigned replicas) {
  auto name = content.substr(0, content.find('@'));
  return fmt::format("name = \"reader\"\nreplicas = {}\ncontent = [\"{}\"]\ncommand = [\"sh\", \"-c\", \"cat "
                     "{{content.{}}}/config.json; sha256sum < $ASTRA_CONTENT_OCR/weights.bin\"]\n"
                     "[resources]\ncpu = 0.1\nmemory = \"16MiB\"\n",
                     replicas, content, name);
}

/// An app on node-2 that reads of its content over HTTP what the request names, by path and range, and answers with the
/// status, how much came, and its hash or what the server says.
std::string streaming_reader(const fs::path& script) {
  std::ofstream{script} << R"(
import hashlib, http.client, os, sys, urllib.error, urllib.request
path, wanted = sys.stdin.read().split()
request = urllib.request.Request(os.environ["ASTRA_CONTENT_BIG_URL"] + path, headers={"Range": "bytes=" + wanted})
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
count, digest = 0, hashlib.sha256()
try:
    with opener.open(request) as answer:
        if path == "/":
            print(answer.status, answer.read().decode())
            sys.exit()
        while part := answer.read(1 << 16):
            count += len(part)
            digest.update(part)
        print(answer.status, count, digest.hexdigest())
except urllib.error.HTTPError as refusal:
    print(refusal.code, refusal.headers.get("Content-Range"), refusal.read().decode())
except (OSError, http.client.HTTPException) as problem:
    print("cut", count, problem)
)";
  return fmt::format("name = \"reader\"\ncontent = [\"big@1\"]\nstream_content = true\ntimeout = \"120s\"\n"
                     "concurrency = 4\ncommand = [\"python3\", \"{}\"]\n[resources]\ncpu = 0.1\n"
                     "memory = \"64MiB\"\n[require]\nlabels = {{ zone = \"b\" }}\n",
                     script.string());
}

std::string sha256_of(const std::string& bytes) {
  astra::p2p::sha256 hash;
  std::string result;
  for (auto byte : hash(std::as_bytes(std::span{bytes})))
    result += fmt::format("{:02x}", byte);
  return result;
}

} // namespace

TEST_CASE("a replica that streams is ready before its content is, and reads right bytes in the order it wants them") {
  cluster all{{"--nodes", "2", "--cores", "2"}};
  temporary_directory source;
  constexpr std::size_t size = 64 << 20U;
  auto bytes = astra::p2p::random_bytes(size, 3);
  astra::p2p::write_file(source.path() / "m" / "weights.bin", bytes);
  REQUIRE(all.cli({"model", "publish", "big", (source.path() / "m").string(), "--node", "node-1"}).code == 0);
  // A minute's work.
  REQUIRE(all.cli({"model", "limit", "1MB/s"}).code == 0);
  auto app = source.path() / "reader.toml";
  std::ofstream{app} << streaming_reader(source.path() / "read.py");
  auto applied = all.cli({"app", "apply", app.string()});
  REQUIRE_MESSAGE(applied.code == 0, applied.err);
  auto incomplete = [&] { return visible(all, "node-2", "weights.bin").empty(); };
  auto read = [&](const std::string& what) { return all.call("POST", "/v1/apps/reader/invoke", what, 120s).body; };
  REQUIRE(eventually(40s, [&] { return all.ready("reader", 1); }));
  CHECK(incomplete());

  // The end of the file, before nearly all of it has come.
  auto last = fmt::format("206 {} {}\n", 1 << 20U, sha256_of(bytes.substr(size - (1 << 20U))));
  CHECK(read("/weights.bin -1048576") == last);
  CHECK(incomplete());
  CHECK(contains(read("/weights.bin 67108864-"), "416 bytes */67108864"));
  auto missing = read("/wheights.bin 0-");
  CHECK(contains(missing, "404"));
  CHECK(contains(missing, "unknown_name"));
  CHECK(contains(read("/ 0-"), "\"files\":[{\"path\":\"weights.bin\",\"size\":67108864}]"));
  CHECK(incomplete());

  // Whoever has the rest is killed while somebody waits for it; the reader goes on when it is back.
  auto whole = std::async(std::launch::async, [&] { return read("/weights.bin 0-"); });
  CHECK(eventually(20s, [&] { return !all.cli({"model", "show", "big", "-o", "json"}).out.empty(); }));
  all.signal("node-1", SIGKILL);
  CHECK(eventually(20s, [&] { return contains(all.cli({"model", "show", "big"}).out, "on no node"); }));
  CHECK(whole.wait_for(0s) == std::future_status::timeout);
  CHECK(incomplete());
  all.start_again("node-1");
  CHECK(eventually(20s, [&] { return all.cli({"model", "limit", "none"}).code == 0; }));
  CHECK(whole.get() == fmt::format("206 {} {}\n", size, sha256_of(bytes)));

  // And complete it is as any other.
  CHECK(eventually(30s, [&] { return !incomplete(); }));
  CHECK(read("/weights.bin -1048576") == last);
}

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
  auto share = [&] { return bytes_done(all, "big", "node-2") / 24e6; };
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
  write_random(source.path() / "urgent" / "weights.bin", 12'000'000, 3);
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

  // What is urgent has most of what both could have, from when it is known a few seconds later: so slow that those do
  // not count.
  publish("urgent", source.path() / "urgent");
  auto done = [&] { return bytes_done(all, "other", "node-2"); };
  auto before = done();
  auto fetched = all.cli({"model", "fetch", "urgent", "--node", "node-2", "--priority", "high"});
  REQUIRE_MESSAGE(fetched.code == 0, fetched.err);
  CHECK(done() - before < 6e6);
  REQUIRE(all.cli({"model", "limit", "none"}).code == 0);
  CHECK(eventually(30s, [&] { return visible(all, "node-2", "weights.bin").size() == 2; }));
}
