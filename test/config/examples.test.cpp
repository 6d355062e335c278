#include "messages/wire/app.pb.h"
#include "test/config/config_files.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <set>
#include <sstream>

using namespace astra;
using namespace astra::test;

namespace {

const std::filesystem::path examples = std::filesystem::path{ASTRA_SOURCE_DIR} / "config" / "examples";

std::vector<std::filesystem::path> toml_files(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> result;
  for (auto& entry : std::filesystem::directory_iterator{folder})
    if (entry.path().extension() == ".toml")
      result.push_back(entry.path());
  std::sort(result.begin(), result.end());
  return result;
}

std::vector<std::string> lines_of(const std::filesystem::path& path) {
  std::istringstream text{read_text(path)};
  std::vector<std::string> result;
  for (std::string line; std::getline(text, line);)
    result.push_back(line);
  return result;
}

/// Line of an origin such as "path/node.toml:14"; 0 for "default".
std::size_t line_of(const effective_value& value) {
  auto colon = value.origin.rfind(':');
  return colon == std::string::npos ? 0 : std::stoul(value.origin.substr(colon + 1));
}

} // namespace

TEST_CASE("all example files are good") {
  CHECK(toml_files(examples).size() == 6);
  for (auto& path : toml_files(examples))
    CHECK(show(load_process_config(path.string(), no_environment).problems) == "");
  CHECK(toml_files(examples / "apps").size() == 7);
  auto apps = toml_files(examples / "apps");
  for (auto& path : toml_files(examples / "actors" / "tally"))
    apps.push_back(path);
  CHECK(apps.size() == 8);
  for (auto& path : apps) {
    auto app = load_app_config(path.string(), no_environment);
    CHECK(show(app.problems) == "");
    REQUIRE(app.spec);
    CHECK(app.spec->name() == path.stem().string());
  }
}

TEST_CASE("every value that an example shows as a default is the default") {
  for (auto& path : toml_files(examples)) {
    CAPTURE(path.string());
    auto lines = lines_of(path);
    auto example = load_process_config(path.string(), no_environment);
    // The empty file of a process with the same name, roles and address.
    std::string head;
    for (auto& line : lines)
      if (line.starts_with("name = ") || line.starts_with("roles = "))
        head += line + "\n";
    head += "resources = [\"127.0.0.1:9700\"]\n";
    auto empty = load_text(head);
    CHECK(show(empty.problems) == "");
    int compared = 0;
    for (auto& value : example.values) {
      auto line = line_of(value);
      if (line == 0 || lines.at(line - 1).find("(yours)") != std::string::npos)
        continue;
      CAPTURE(value.key);
      auto other = find_value(empty, value.key);
      REQUIRE(other);
      CHECK(value.value == other->value);
      if (value.key != "resources")
        CHECK(other->origin == "default");
      ++compared;
    }
    CHECK(compared >= 10);
  }
}

TEST_CASE("the example with all roles shows every key of the schema, and each role's shows all of its tables") {
  auto missing = [](const char* name, auto relevant) {
    std::string result;
    for (auto& value : load_process_config((examples / name).string(), no_environment).values)
      if (relevant(value.key) && line_of(value) == 0)
        result += value.key + " ";
    return result;
  };
  auto in = [](std::set<std::string> tables) {
    return [tables](const std::string& key) {
      auto dot = key.find('.');
      // Top-level keys, but for a list of tables.
      return (dot == std::string::npos && key != "groups") || tables.contains(key.substr(0, dot));
    };
  };
  CHECK(missing("all-in-one.toml", [](const std::string&) { return true; }) == "");
  CHECK(missing("node.toml", in({"net", "tls", "node", "capacity", "drain", "log", "shutdown"})) == "");
  CHECK(missing("resource.toml", in({"net", "tls", "resource", "log", "shutdown"})) == "");
  CHECK(missing("aggregator.toml", in({"net", "tls", "aggregator", "log", "shutdown"})) == "");
  CHECK(missing("scheduler.toml", in({"groups", "net", "tls", "scheduler", "log", "shutdown"})) == "");
  CHECK(missing("gateway.toml", in({"groups", "net", "tls", "gateway", "router", "log", "shutdown"})) == "");
}

TEST_CASE("the actor app's documented defaults are the real ones") {
  auto text = read_text(examples / "apps" / "echo.toml");
  auto full = parse_app_config(text, "echo.toml");
  // Without the lines that it does not call its own.
  std::string own;
  for (auto& line : lines_of(examples / "apps" / "echo.toml"))
    if (line.find("(yours)") != std::string::npos || line.starts_with("["))
      own += line + "\n";
  auto bare = parse_app_config(own, "own.toml");
  CHECK(show(bare.problems) == "");
  REQUIRE(full.spec);
  REQUIRE(bare.spec);
  CHECK(full.spec->SerializeAsString() == bare.spec->SerializeAsString());
}

TEST_CASE("every key that the documentation must explain is in it") {
  auto text = read_text(std::filesystem::path{ASTRA_SOURCE_DIR} / "docs" / "configuration.md");
  for (auto& value : load_text(minimal).values) {
    auto dot = value.key.rfind('.');
    auto key = dot == std::string::npos ? value.key : value.key.substr(dot + 1);
    CHECK_MESSAGE(text.find("`" + key + "`") != std::string::npos, value.key);
  }
}
