#include "runtime/cli/redact.hpp"
#include "runtime/cli/tar.hpp"
#include "test/runtime/cli/command_fixture.hpp"

#include <doctest/doctest.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <sys/stat.h>

using namespace astra;
using test::command_fixture;
using json = nlohmann::ordered_json;

namespace {

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

std::string read(const std::filesystem::path& path) {
  std::ifstream in{path, std::ios::binary};
  return {std::istreambuf_iterator<char>{in}, {}};
}

/// The files of an archive by their names; checks every header.
std::map<std::string, std::string> unpack(const std::string& bytes) {
  std::map<std::string, std::string> files;
  REQUIRE(bytes.size() % 512 == 0);
  std::size_t at = 0;
  auto field = [&](std::size_t begin, std::size_t length) {
    auto text = bytes.substr(at + begin, length);
    return text.substr(0, text.find('\0'));
  };
  while (bytes[at] != '\0') {
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < 512; ++i)
      sum += i >= 148 && i < 156 ? ' ' : static_cast<unsigned char>(bytes[at + i]);
    CHECK(std::stoull(field(148, 8), nullptr, 8) == sum);
    CHECK(bytes.substr(at + 257, 8)
          == std::string{"ustar\0"
                         "00",
                         8});
    CHECK(field(100, 8) == "0000600");
    CHECK(field(156, 1) == "0");
    auto size = std::stoull(field(124, 12), nullptr, 8);
    auto prefix = field(345, 155);
    files[(prefix.empty() ? "" : prefix + "/") + field(0, 100)] = bytes.substr(at + 512, size);
    at += 512 + (size + 511) / 512 * 512;
    REQUIRE(at < bytes.size());
  }
  CHECK(bytes.size() - at == 1024);
  CHECK(bytes.find_first_not_of('\0', at) == std::string::npos);
  return files;
}

std::string clean(std::string_view text) {
  std::size_t count = 0;
  return redacted(text, count);
}

} // namespace

TEST_CASE("an archive has what was put into it, names of up to 255 bytes, and tar reads it") {
  tar_archive archive;
  auto deep = std::string(120, 'd') + "/" + std::string(100, 'n');
  CHECK(archive.add("a/empty", "", 0));
  CHECK(archive.add("a/block", std::string(512, 'x'), 1'700'000'000));
  CHECK(archive.add(deep, "deep", -5));
  CHECK_FALSE(archive.add(std::string(101, 'n'), "no slash to part it at", 0));
  CHECK_FALSE(archive.add(std::string(156, 'd') + "/" + std::string(90, 'n') + "x/" + std::string(100, 'n'), "", 0));
  CHECK_FALSE(archive.add("", "", 0));
  auto bytes = std::move(archive).finish();
  auto files = unpack(bytes);
  CHECK(files.size() == 3);
  CHECK(files["a/empty"] == "");
  CHECK(files["a/block"] == std::string(512, 'x'));
  CHECK(files[deep] == "deep");
  if (std::system("command -v tar > /dev/null 2>&1") == 0) {
    auto path = std::filesystem::temp_directory_path() / fmt::format("astra-tar-test-{}.tar", getpid());
    std::ofstream{path, std::ios::binary} << bytes;
    CHECK(std::system(fmt::format("tar -tf '{}' | grep -qx '{}'", path.string(), deep).c_str()) == 0);
    std::filesystem::remove(path);
  }
}

TEST_CASE("secrets are taken out of texts by their names and forms, and the rest stays") {
  CHECK(clean("get https://user:pa55@host:1/x?a=b now") == "get https://[redacted]@host:1/x?a=b now");
  CHECK(clean("get https://host/a@b") == "get https://host/a@b");
  CHECK(clean("http://a:b@h http://c:d@i") == "http://[redacted]@h http://[redacted]@i");
  CHECK(clean("run --api-key abc --n 3") == "run --api-key [redacted] --n 3");
  CHECK(clean("run --password --n 3") == "run --password --n 3");
  CHECK(clean("DB_PASSWORD=abc,x=1") == "DB_PASSWORD=[redacted],x=1");
  CHECK(clean("?token=abc&limit=3") == "?token=[redacted]&limit=3");
  CHECK(clean("token='a b c' rest") == "token='[redacted]' rest");
  CHECK(clean("Authorization: Basic YWJjZGVm\nnext: 1") == "Authorization: [redacted]\nnext: 1");
  CHECK(clean("it said Bearer abcdefghij.k") == "it said Bearer [redacted]");
  CHECK(clean("a basic thing") == "a basic thing");
  CHECK(clean("{\"secret\": \"x\", \"n\": 1}") == "{\"secret\": \"[redacted]\", \"n\": 1}");
  CHECK(clean("a\n-----BEGIN EC PRIVATE KEY-----\nMIG\n-----END EC PRIVATE KEY-----\nb") == "a\n[redacted]\nb");
  CHECK(clean("-----BEGIN PRIVATE KEY-----\ncut off") == "[redacted]");
  CHECK(clean("-----END PRIVATE KEY-----\n-----BEGIN PRIVATE KEY-----\nMIG\n-----END PRIVATE KEY-----\nb")
        == "[redacted]\n[redacted]\nb");
  CHECK(clean("password = x y") == "password = [redacted] y");
  CHECK(clean("\"password\" : \"x\", 1") == "\"password\" : \"[redacted]\", 1");
  CHECK(clean("{'password': 'x', 'n': 1}") == "{'password': '[redacted]', 'n': 1}");
  CHECK(clean("{\"password\": 7, \"n\": 1}") == "{\"password\": [redacted], \"n\": 1}");
  CHECK(clean("DB_PASS=abc apiToken=k") == "DB_PASS=[redacted] apiToken=[redacted]");
  CHECK(clean("?sv=1&sig=ab%2F&X-Amz-Signature=9") == "?sv=1&sig=[redacted]&X-Amz-Signature=[redacted]");
  CHECK(clean("Authorization: Digest username=\"u\", response=\"r\"\nnext") == "Authorization: [redacted]\nnext");
  for (auto harmless : {"astra_tasks_accepted_total{app=\"x\"} 5", "max_tokens=7", "zone == a", "keys: 4", "",
                        "node-1 lacks cores (3 cores needed)", "http://"})
    CHECK(clean(harmless) == harmless);
}

TEST_CASE("secrets are taken out of JSON: environments, options, names and values") {
  std::size_t count = 0;
  auto in = json::parse(R"({"name":"x","spec":{"per_request":{"command":["tool","--token","abc","--fast","in"],
    "env":["A=1","B=two=3"]},"args":{"api_key":"k1","size":3},"env":{"C":"4"},
    "list":[{"name":"password","value":"p"},{"name":"zone","value":"a"}],"require":[{"key":"zone","value":"a"}],
    "credentials":{"user":"u","more":["m",7]},"token":"","origin":"https://u:p@h/x"}})");
  CHECK(redacted(in, count)
        == json::parse(R"({"name":"x","spec":{"per_request":{"command":["tool","--token","[redacted]","--fast","in"],
    "env":["A=[redacted]","B=[redacted]"]},"args":{"api_key":"[redacted]","size":3},"env":{"C":"[redacted]"},
    "list":[{"name":"password","value":"[redacted]"},{"name":"zone","value":"a"}],"require":[{"key":"zone","value":"a"}],
    "credentials":{"user":"[redacted]","more":["[redacted]","[redacted]"]},"token":"",
    "origin":"https://[redacted]@h/x"}})"));
  CHECK(count == 10);
}

TEST_CASE_FIXTURE(command_fixture, "a bundle has all that the gateway gives, no secret, and names what is missing") {
  const std::string secret = "hunter2hunter2";
  answer("GET /v1/status", 200, R"({"gateway":"gateway-1","version":"0.1.0"})");
  answer("GET /v1/nodes?format=ndjson&limit=10000", 200,
         R"({"name":"n1","labels":{"api_token":")" + secret + "\"}}\n" + R"({"end":true,"listed":1,"more":7})" + "\n");
  answer("GET /v1/events?follow=0&last=10000", 200, R"({"kind":"joined","cause":"x://u:)" + secret + "@h\"}\n");
  answer("GET /v1/apps", 200, R"({"apps":[{"name":"x"},{"name":"../y"}]})");
  auto spec = R"({"name":"x","replicas":1,"reason":"pull https://bob:)" + secret
              + R"(@hub/x failed","spec":{"server":{"env":["KEY=)" + secret + R"("],"command":["serve","--password=)"
              + secret + R"("]}}})";
  answer("GET /v1/apps/x", 200, spec);
  answer("GET /v1/apps/..%2Fy", 200, R"({"name":"../y"})");
  answer("GET /v1/apps/x/history", 200, R"({"revisions":[{"spec":{"env":["A=)" + secret + R"("]}}]})");
  answer("GET /v1/routers/x", 404, R"({"error":{"code":"unknown_app","message":"no app x; token=)" + secret + R"("}})");
  answer("GET /v1/quotas", 200, R"({"quotas":[]})");
  answer("GET /v1/models", 200, R"({"models":[{"name":"m","origin":"https://u:)" + secret + R"(@h/"}]})");
  answer("GET /v1/model-limit", 200, R"({"bytes_per_s":0})");
  answer("GET /v1/tasks?limit=1000", 200,
         R"({"tasks":[{"id":"g.1.a","app":"x","state":"done","stderr":")" + secret
             + R"("},)"
               R"({"id":"g.2.b","app":"x","state":"done"}],"next":"g.2.b"})");
  answers["GET /metrics"] = {200, "up{password=\"" + secret + "\"} 1\n", "text/plain", {}};
  auto path = (directory / "bundle.tar").string();
  auto result = run({"debug", "bundle", path.c_str()});
  INFO(result.err);
  REQUIRE(result.code == exit_ok);
  CHECK(contains(result.out, path + ": "));
  CHECK(contains(result.err, "status.json"));
  CHECK(contains(result.err, "model-nodes.json                 missing: "));
  auto bytes = read(path);
  CHECK_FALSE(contains(bytes, secret));
  CHECK_FALSE(contains(result.out + result.err, secret));
  struct stat facts = {};
  CHECK(stat(path.c_str(), &facts) == 0);
  CHECK((facts.st_mode & 0777) == 0600);
  auto files = unpack(bytes);
  auto part = [&](const std::string& name) { return files.at("astra-bundle/" + name); };
  CHECK(json::parse(part("status.json"))["gateway"] == "gateway-1");
  CHECK(part("nodes.ndjson") == "{\"name\":\"n1\",\"labels\":{\"api_token\":\"[redacted]\"}}\n");
  CHECK(contains(part("apps/x/app.json"), "\"KEY=[redacted]\""));
  CHECK(contains(part("apps/x/why.txt"), "https://[redacted]@hub/x failed"));
  CHECK(files.contains("astra-bundle/apps/..%2Fy/app.json"));
  CHECK(json::parse(part("tasks.json"))["states_by_app"]["x"]["done"] == 2);
  CHECK(part("metrics.txt") == "up{password=\"[redacted]\"} 1\n");
  CHECK(contains(part("version.txt"), "astra "));
  auto manifest = json::parse(part("manifest.json"));
  CHECK(manifest["files"].size() == files.size() - 1);
  CHECK(manifest["redacted"].get<int>() >= 9);
  std::map<std::string, std::string> missing;
  for (auto& one : manifest["missing"])
    missing[one["file"]] = one["reason"];
  CHECK(contains(missing["nodes.ndjson"], "7 more"));
  CHECK(contains(missing["apps/x/router.json"], "no app x; token=[redacted]"));
  CHECK(contains(missing["model-nodes.json"], "connection refused"));
  CHECK(contains(missing["tasks.json"], "newest 1000"));
  // Never over another file.
  auto again = run({"debug", "bundle", path.c_str()});
  CHECK(again.code == exit_conflict);
  CHECK(contains(again.err, "is there already and is not overwritten"));
  CHECK(read(path) == bytes);
  CHECK(contains(run({"debug", "bundle", (directory / "no/such.tar").c_str()}).err, "cannot write"));
}

TEST_CASE_FIXTURE(command_fixture, "without a gateway, and after ^C, there is no bundle") {
  auto path = directory / "bundle.tar";
  CHECK(run({"debug", "bundle", path.c_str()}).code == exit_unreachable);
  answer("GET /v1/status", 200, "{}");
  interrupted = true;
  CHECK(run({"debug", "bundle", path.c_str()}).code == exit_failed);
  CHECK_FALSE(std::filesystem::exists(path));
}
