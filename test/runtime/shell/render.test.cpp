#include "runtime/shell/render.hpp"

#include "runtime/shell/history_file.hpp"

#include <doctest/doctest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

using namespace astra::shell;

namespace {

const json rows = json::parse(R"([{"app":"a,b","n":1},{"app":"\u001b[31m","n":20,"why":null}])");

} // namespace

TEST_CASE("rows are shown in every mode, and nothing in them can move the cursor") {
  CHECK(render(rows, output_mode::table, false) == "APP        N\na,b        1\n\\x1b[31m  20\n");
  CHECK(render(rows, output_mode::ndjson, false)
        == "{\"app\":\"a,b\",\"n\":1}\n{\"app\":\"\\u001b[31m\",\"n\":20,\"why\":null}\n");
  CHECK(render(rows, output_mode::csv, false) == "app,n,why\r\n\"a,b\",1,\r\n\x1b[31m,20,\r\n");
  CHECK(render(rows, output_mode::line, false) == "app = a,b\nn   = 1\n\napp = \\x1b[31m\nn   = 20\nwhy = \n");
  CHECK(json::parse(render(rows, output_mode::json, false)) == rows);
}

TEST_CASE("an answer that holds a list is its list, except as JSON") {
  json answer = {{"apps", rows}, {"more", 0}};
  CHECK(render(answer, output_mode::ndjson, false) == render(rows, output_mode::ndjson, false));
  CHECK(json::parse(render(answer, output_mode::json, false)) == answer);
}

TEST_CASE("values that are no rows") {
  CHECK(render(json(), output_mode::table, false) == "");
  CHECK(render(json(42), output_mode::table, false) == "42\n");
  CHECK(render(json("two\nlines"), output_mode::table, false) == "two\nlines\n");
  CHECK(render(json::array(), output_mode::table, false) == "nothing\n");
  CHECK(render(json{{"a", 1}, {"name", "x"}}, output_mode::table, false) == "a     1\nname  x\n");
}

TEST_CASE("history is kept across sessions, private, and cut when it has grown") {
  auto directory = std::filesystem::temp_directory_path() / ("astra-history-" + std::to_string(::getpid()));
  auto path = (directory / "deep" / "history").string();
  history_file first{path};
  first.add("ps");
  history_file{path}.add("ask @c 你好");
  first.add("   ");
  CHECK(first.load(10) == std::vector<std::string>{"ps", "ask @c 你好"});
  struct stat about = {};
  REQUIRE(::stat(path.c_str(), &about) == 0);
  CHECK((about.st_mode & 0777) == 0600);
  for (auto i = 0; i < 20; ++i)
    first.add("line " + std::to_string(i));
  CHECK(first.load(10).front() == "line 10");
  CHECK(first.load(100).size() == 10);
  REQUIRE(::stat(path.c_str(), &about) == 0);
  CHECK((about.st_mode & 0777) == 0600);
  CHECK(history_file{""}.load(5).empty());
  std::filesystem::remove_all(directory);
}
