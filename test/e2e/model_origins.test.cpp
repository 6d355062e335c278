#include "test/e2e/cluster.hpp"
#include "test/p2p/files.hpp"
#include "test/support/file_origin.hpp"

#include <doctest/doctest.h>

#include <csignal>
#include <filesystem>
#include <fstream>

// Contents that are on a server outside of the cluster, too.

using namespace astra::test;
using namespace std::chrono_literals;
namespace fs = std::filesystem;

namespace {

using astra::p2p::file_bytes;

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

/// Whether apps of a node see a file with these bytes.
bool has(const cluster& all, const std::string& node, const std::string& file, const std::string& bytes) {
  std::error_code error;
  for (auto& link : fs::directory_iterator{all.directory() / node / "store" / "contents", error})
    if (auto path = link.path() / file; fs::exists(path))
      return file_bytes(path) == bytes;
  return false;
}

/// Waits until a tracker knows what the content consists of.
bool kept(const cluster& all) {
  return eventually(30s, [&] { return contains(all.log_of("resource-1"), "tracker.manifest"); });
}

} // namespace

TEST_CASE("when nobody has a content any more, one node of the zone reads its origin, once") {
  cluster all{{"--nodes", "5", "--cores", "2"}};
  temporary_directory source;
  auto weights = astra::p2p::random_bytes(20'000'001, 1);
  auto config = std::string{"{\"classes\": 7}\n"};
  for (auto copy : {"m", "www"}) {
    astra::p2p::write_file(source.path() / copy / "deep er" / "weights.bin", weights);
    astra::p2p::write_file(source.path() / copy / "config.json", config);
  }
  file_origin origin{source.path() / "www"};
  auto bad = all.cli({"model", "publish", "ocr", (source.path() / "m").string(), "--origin", "ftp://x/"});
  CHECK(contains(bad.err, "must begin with http:// or https://"));
  auto published = all.cli(
      {"model", "publish", "ocr", (source.path() / "m").string(), "--node", "node-1", "--origin", origin.url()});
  REQUIRE_MESSAGE(published.code == 0, published.err);
  CHECK(contains(all.cli({"model", "show", "ocr"}).out, "origin       " + origin.url()));

  // As long as nodes have it nobody else is asked.
  REQUIRE(all.cli({"model", "fetch", "ocr", "--node", "node-3"}).code == 0);
  CHECK(origin.requests().empty());
  REQUIRE(kept(all));
  for (auto node : {"node-1", "node-3"})
    all.signal(node, SIGKILL);
  // Both in one zone.
  auto fetched = all.cli({"model", "fetch", "ocr", "--node", "node-2", "--node", "node-5"});
  CHECK_MESSAGE(fetched.code == 0, (fetched.out + fetched.err));
  for (auto node : {"node-2", "node-5"}) {
    CHECK(has(all, node, "config.json", config));
    CHECK(has(all, node, "deep er/weights.bin", weights));
  }
  CHECK(origin.each_byte_once());
  CHECK(origin.bytes() == weights.size() + config.size());
}

TEST_CASE("when the one that reads an origin is killed, another one goes on with what is missing") {
  cluster all{{"--nodes", "5", "--cores", "2"}};
  temporary_directory source;
  // To read them takes longer than to see that somebody does.
  auto weights = astra::p2p::random_bytes(100'000'001, 2);
  for (auto copy : {"m", "www"})
    astra::p2p::write_file(source.path() / copy / "weights.bin", weights);
  file_origin origin{source.path() / "www"};
  auto published = all.cli(
      {"model", "publish", "ocr", (source.path() / "m").string(), "--node", "node-1", "--origin", origin.url()});
  REQUIRE_MESSAGE(published.code == 0, published.err);
  REQUIRE(kept(all));
  all.signal("node-1", SIGKILL);
  // Both in one zone.
  const std::vector<std::string> both{"node-2", "node-5"};
  for (auto& node : both)
    REQUIRE(all.cli({"model", "fetch", "ocr", "--node", node, "--no-wait"}).code == 0);
  auto reads = [&](const std::string& node) { return contains(all.log_of(node), "contents.origin"); };
  REQUIRE(eventually(60s, [&] { return !origin.requests().empty(); }));
  auto killed = reads(both[0]) ? both[0] : both[1];
  auto left = killed == both[0] ? both[1] : both[0];
  all.signal(killed, SIGKILL);
  REQUIRE(reads(killed));
  REQUIRE_FALSE(reads(left));
  REQUIRE_FALSE(contains(all.log_of(killed), "contents.ready"));
  CHECK_MESSAGE(eventually(60s, [&] { return has(all, left, "weights.bin", weights); }), all.log_of(left));
  CHECK(reads(left));
}

TEST_CASE("why an origin cannot be read is shown, and when it can be again the fetch goes on") {
  cluster all{{"--nodes", "2", "--cores", "2"}};
  temporary_directory source;
  auto weights = astra::p2p::random_bytes(3'000'000, 1);
  for (auto copy : {"m", "www"})
    astra::p2p::write_file(source.path() / copy / "weights.bin", weights);
  file_origin origin{source.path() / "www", false};
  REQUIRE(all.cli({"model", "publish", "ocr", (source.path() / "m" / "weights.bin").string(), "--node", "node-1",
                   "--origin", origin.url() + "weights.bin"})
              .code
          == 0);
  REQUIRE(kept(all));
  all.signal("node-1", SIGKILL);
  // Damaged there.
  auto wrong = weights;
  wrong[2'000'000] = static_cast<char>(wrong[2'000'000] + 1);
  astra::p2p::write_file(source.path() / "www" / "weights.bin", wrong);
  REQUIRE(all.cli({"model", "fetch", "ocr", "--node", "node-2", "--no-wait"}).code == 0);
  CHECK(eventually(60s, [&] {
    return contains(all.cli({"model", "show", "ocr"}).out,
                    origin.url() + "weights.bin has other bytes than 'weights.bin' as it was published");
  }));
  astra::p2p::write_file(source.path() / "www" / "weights.bin", weights);
  CHECK(eventually(90s, [&] { return has(all, "node-2", "weights.bin", weights); }));
}
