#include "runtime/gateway/model_wish.hpp"

#include <doctest/doctest.h>

#include <memory>

using namespace astra;

namespace {

std::variant<model_wish, std::string> read(const std::string& method, const std::string& target,
                                           const std::string& body = {}) {
  http_request request;
  request.method = method;
  request.target = target;
  request.body = std::make_shared<const std::string>(body);
  return read_model_wish(find_route(method, target), request);
}

model_wish good(const std::string& method, const std::string& target, const std::string& body = {}) {
  auto reading = read(method, target, body);
  if (auto wrong = std::get_if<std::string>(&reading))
    FAIL(*wrong);
  return std::get<model_wish>(reading);
}

std::string wrong(const std::string& method, const std::string& target, const std::string& body = {}) {
  auto reading = read(method, target, body);
  auto problem = std::get_if<std::string>(&reading);
  return problem == nullptr ? "" : *problem;
}

} // namespace

TEST_CASE("requests about models are read from path, query and body") {
  CHECK(good("GET", "/v1/models/llama%403").content.version == 3);
  CHECK(good("GET", "/v1/models/llama@3").content.name == "llama");
  auto publish = good("POST", "/v1/models/llama", R"({"path": "/data", "machine": "m1", "pin": true})");
  CHECK(publish.path == "/data");
  CHECK(publish.machine == "m1");
  CHECK(publish.pin);
  CHECK(publish.origin.empty());
  auto elsewhere = good("POST", "/v1/models/llama", R"({"path": "/data", "origin": "https://files.example/llama/"})");
  CHECK(elsewhere.origin == "https://files.example/llama/");
  auto named = good("POST", "/v1/models/llama/fetch", R"({"nodes": ["n2", "n1", "n2"]})");
  CHECK(named.nodes.which == model_nodes::kind::named);
  CHECK(named.nodes.names == std::vector<std::string>{"n1", "n2"});
  CHECK(good("POST", "/v1/models/llama/fetch", R"({"count": 3})").nodes.count == 3);
  CHECK(good("POST", "/v1/models/llama/fetch", R"({"all": true})").nodes.which == model_nodes::kind::all);
  CHECK(good("POST", "/v1/models/llama/verify").nodes.which == model_nodes::kind::usual);
  CHECK(good("POST", "/v1/models/llama/fetch", R"({"all": true})").priority == pb::CONTENT_NORMAL);
  CHECK(good("POST", "/v1/models/llama/fetch", R"({"all": true, "priority": "low"})").priority == pb::CONTENT_LOW);
  CHECK(good("POST", "/v1/models/llama/fetch", R"({"all": true, "priority": "high"})").priority == pb::CONTENT_HIGH);
  CHECK(good("POST", "/v1/models/llama/pin", "{}").pin);
  CHECK_FALSE(good("POST", "/v1/models/llama/pin", R"({"pinned": false})").pin);
  CHECK(good("PUT", "/v1/model-limit", R"({"bytes_per_s": 0})").bytes_per_s == 0);
  auto jobs = good("GET", "/v1/model-jobs?id=n1:7,n2:8").jobs;
  REQUIRE(jobs.size() == 2);
  CHECK(to_string(jobs[1]) == "n2:8");
  CHECK(good("GET", "/v1/model-jobs/n1%3A7").jobs.at(0).node == "n1");
}

TEST_CASE("what is wrong with a request about models is named with its cure") {
  struct row {
    const char* method;
    const char* target;
    const char* body;
    const char* problem;
  };
  const row rows[] = {
      {"POST", "/v1/models/llama@2", R"({"path": "/x"})", "the cluster numbers the versions; publish 'llama'"},
      {"POST", "/v1/models/llama", R"({"path": "x"})",
       "path must be that of a directory or file on the node's machine, from / on"},
      {"POST", "/v1/models/llama", R"({"path": 7})", "path must be a text"},
      {"POST", "/v1/models/llama", R"({"path": "/x", "origin": "x.example/y"})",
       "origin 'x.example/y' must begin with http:// or https://"},
      {"POST", "/v1/models/llama", R"({"path": "/x", "nod": "n1"})", "unknown field 'nod'; did you mean 'node'?"},
      {"POST", "/v1/models/llama", "[]", "the body must be a JSON object"},
      {"POST", "/v1/models/llama/fetch", "{}",
       R"(say which nodes: {"nodes": ["node-1"]}, {"count": 3} or {"all": true})"},
      {"POST", "/v1/models/llama/fetch", R"({"count": 3, "all": true})",
       R"(say which nodes: {"nodes": ["node-1"]}, {"count": 3} or {"all": true})"},
      {"POST", "/v1/models/llama/fetch", R"({"count": 0})", "count = 0 must be a number of nodes from 1 to 1000000"},
      {"POST", "/v1/models/llama/verify", R"({"nodes": []})", "nodes must be a list of at least one name"},
      {"DELETE", "/v1/models/llama", "", "name the version that is to go, such as llama@3"},
      {"PUT", "/v1/model-limit", "{}", R"(say the limit: {"bytes_per_s": 1000000000}; 0: none)"},
      {"PUT", "/v1/model-limit", R"({"bytes_per_s": -1})", "bytes_per_s must be a whole number, not negative"},
      {"GET", "/v1/model-jobs/n1", "", "'n1' is no job; one is NODE:ID, such as node-1:7"},
      {"GET", "/v1/model-jobs?id=n1:0", "", "'n1:0' is no job; one is NODE:ID, such as node-1:7"},
      {"GET", "/v1/model-jobs", "", "name 1 to 200 jobs, such as id=node-1:7,node-2:3"},
  };
  for (auto& row : rows) {
    CAPTURE(row.target);
    CAPTURE(row.body);
    CHECK(wrong(row.method, row.target, row.body) == row.problem);
  }
  CHECK_FALSE(wrong("GET", "/v1/models/llama@x").empty());
  CHECK_FALSE(wrong("GET", "/v1/models/a%20b").empty());
}
