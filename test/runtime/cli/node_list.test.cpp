#include "test/runtime/cli/command_fixture.hpp"

#include <doctest/doctest.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>

using namespace astra;
using test::command_fixture;

namespace {

const std::string all = "GET /v1/nodes?format=ndjson";
const std::string good_end = R"({"end":true,"listed":2,"more":0})"
                             "\n";
const std::string two_nodes =
    R"({"name":"node-2","state":"suspect","reason":"a \"quoted\", reason","age_ms":1600,"home":"r1","cores":4,)"
    R"("cores_reserved":0.5,"utilisation":0.25,"memory_bytes":1024,"running":3,"labels":{"zone":"b"}})"
    "\n\n"
    R"({"name":"node-1","state":"online","reason":"","age_ms":340,"home":"r1","cores":2,"utilisation":0.9,)"
    R"("replicas":[{"app":"ocr"},{"app":"ocr"},{"app":"web"}]})"
    "\n";

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

} // namespace

TEST_CASE_FIXTURE(command_fixture, "a small list is a table sorted by name; blank lines are nothing") {
  answer(all, 200, two_nodes + good_end);
  auto result = run({"node", "list"});
  CHECK(result.code == exit_ok);
  CHECK(result.err == "");
  CHECK(result.out
        == "NAME    STATE    CORES       MEMORY  UTIL  RUN  QUEUE  REPLICAS    AGE  HOME  REASON\n"
           "node-1  online     0/2    0 B / 0 B  90 %    0      0         3  340ms  r1\n"
           "node-2  suspect  0.5/4  0 B / 1 KiB  25 %    3      0         0   1.6s  r1    a \"quoted\", reason\n");
}

TEST_CASE_FIXTURE(command_fixture, "csv is exact and quoted as RFC 4180 says") {
  answer(all, 200, two_nodes + good_end);
  CHECK(run({"node", "list", "-o", "csv", "--columns", "name,util,reason,memory,apps"}).out
        == "name,util,reason,memory,apps\r\n"
           "node-1,0.9,,0,\"ocrx2,web\"\r\n"
           "node-2,0.25,\"a \"\"quoted\"\", reason\",1024,\r\n");
  answer(all, 200,
         R"({"end":true,"listed":0,"more":0})"
         "\n");
  CHECK(run({"node", "list", "-o", "csv", "--columns", "name,util"}).out == "name,util\r\n");
}

TEST_CASE_FIXTURE(command_fixture, "ndjson is a line per node without the end line, json one object") {
  answer(all, 200, two_nodes + good_end);
  auto lines = run({"node", "list", "-o", "ndjson"}).out;
  CHECK(std::count(lines.begin(), lines.end(), '\n') == 2);
  CHECK_FALSE(contains(lines, "\"end\""));
  auto object = nlohmann::json::parse(run({"node", "list", "-o", "json"}).out);
  CHECK(object["nodes"].size() == 2);
  CHECK(object["nodes"][0]["name"] == "node-1");
  answer(all, 200,
         R"({"zeta":1,"alpha":18446744073709551615})"
         "\n" + good_end);
  CHECK(run({"node", "list", "-o", "json"}).out
        == "{\n  \"nodes\": [\n    {\n      \"zeta\": 1,\n      \"alpha\": 18446744073709551615\n    }\n  ]\n}\n");
  answer(all, 200,
         R"({"end":true,"listed":0,"more":0})"
         "\n");
  CHECK(run({"node", "list", "-o", "json"}).out == "{\n  \"nodes\": []\n}\n");
}

TEST_CASE_FIXTURE(command_fixture, "a filter goes to the gateway; a bad one does not, and its place is shown") {
  answer("GET /v1/nodes?format=ndjson&where=util%3E0.8%20and%20zone%3D%3D%22a%22&limit=1", 200,
         R"({"name":"node-1"})"
         "\n"
         R"({"end":true,"listed":1,"more":41})"
         "\n");
  auto result = run({"node", "list", "--where", "util>0.8 and zone==\"a\"", "--limit", "1"});
  CHECK(result.code == exit_ok);
  CHECK(result.err == "1 of 42 nodes is shown\n");
  calls.clear();
  auto bad = run({"node", "list", "--where", "util>0.8 and zone=\"a\""});
  CHECK(bad.code == exit_usage);
  CHECK(bad.out == "");
  CHECK(bad.err
        == "astra: --where, column 18: '=' is no comparison; write ==\n"
           "  util>0.8 and zone=\"a\"\n"
           "                   ^\n");
  CHECK(calls.empty());
  answer("GET /v1/nodes?format=ndjson&where=utl%3E%27a%27", 400,
         R"({"error":{"code":"invalid_argument","message":"no field 'utl'","column":1}})");
  auto unknown = run({"node", "list", "--where", "utl>'a'"});
  CHECK(unknown.code == exit_usage);
  CHECK(unknown.err == "astra: --where, column 1: no field 'utl'\n  utl>'a'\n  ^\n");
}

TEST_CASE_FIXTURE(command_fixture, "a list that breaks off is an error and never looks complete") {
  answer(all, 200, two_nodes);
  auto no_end = run({"node", "list"});
  CHECK(no_end.code == exit_unreachable);
  CHECK(contains(no_end.out, "node-1"));
  CHECK(contains(no_end.err, "it is not complete"));
  cut_pieces = true;
  auto cut = run({"node", "list", "-o", "json"});
  CHECK(cut.code == exit_unreachable);
  CHECK(contains(cut.err, "ended its answer before it was complete"));
  CHECK_FALSE(contains(cut.out, "]"));
  cut_pieces = false;
  answer(all, 200,
         two_nodes + R"({"error":{"code":"unavailable","message":"the Resource at r1:1 does not answer"}})" + "\n");
  auto failed = run({"node", "list", "-o", "csv"});
  CHECK(failed.code == exit_unreachable);
  CHECK(failed.err == "astra: the Resource at r1:1 does not answer\n");
}

TEST_CASE_FIXTURE(command_fixture, "a long list is printed as it comes, every row of it, below one title") {
  std::string body;
  for (auto i = 0; i < 2500; ++i)
    body += fmt::format("{{\"name\":\"node-{}\",\"state\":\"online\"}}\n", 2500 - i);
  answer(all, 200, body + R"({"end":true,"listed":2500,"more":0})" + "\n");
  auto table = run({"node", "list"}).out;
  CHECK(std::count(table.begin(), table.end(), '\n') == 2501);
  CHECK(contains(table, "node-2500 ")); // In the order they came.
  CHECK(table.find("node-2500 ") < table.find("node-1 "));
  CHECK(table.find("NAME") == 0);
  CHECK(table.find("NAME", 1) == std::string::npos);
  auto json = nlohmann::json::parse(run({"node", "list", "-o", "json"}).out);
  CHECK(json["nodes"].size() == 2500);
  auto sorted = run({"node", "list", "--sort", "-name", "--columns", "name", "-o", "csv", "--limit", "2"});
  CHECK(sorted.out == "name\r\nnode-999\r\nnode-998\r\n");
  CHECK(sorted.err == "2 of 2500 nodes are shown\n");
}

TEST_CASE_FIXTURE(command_fixture, "columns and formats that are not there are told with what is meant") {
  auto column = run({"node", "list", "--columns", "name,utl"});
  CHECK(column.code == exit_usage);
  CHECK(contains(column.err, "no column 'utl'; did you mean 'util'?"));
  CHECK(run({"node", "list", "--sort", "-name,memry"}).err
        == "astra: --sort: no column 'memry'; did you mean 'memory'?\nsee 'astra help node list'\n");
  CHECK(contains(run({"node", "list", "-o", "xml"}).err, "write table, json, or for lists ndjson, csv, line or name"));
  auto format = run({"app", "show", "ocr", "-o", "csv"});
  CHECK(format.code == exit_usage);
  CHECK(contains(format.err, "'astra app show' has no csv; write table or json"));
  CHECK(contains(run({"shell", "-o", "name"}).err, "has no name; write table, ndjson, csv, line or json"));
  CHECK(run({"node", "list", "-o", "json", "--columns", "name"}).code == exit_usage);
}
