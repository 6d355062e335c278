#include "runtime/cli/commands/cheat.hpp"
#include "runtime/cli/commands/man.hpp"
#include "runtime/cli/explanations.hpp"
#include "test/p2p/files.hpp"
#include "test/runtime/cli/command_fixture.hpp"
#include "test/runtime/cli/shell_words.hpp"

#include <doctest/doctest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>

using namespace astra;
using test::check_line;
using test::command_fixture;

namespace {

void for_each(const command_node& node, const std::function<void(const command_node&)>& what) {
  what(node);
  for (const auto& below : node.below)
    for_each(below, what);
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

} // namespace

TEST_CASE("every command has a manual page with the sections that people look for") {
  auto root = command_tree();
  for_each(root, [&](const command_node& command) {
    auto page = manual_page(root, command);
    INFO(command.path);
    for (auto section : {"NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS", "SEE ALSO"})
      CHECK(contains(page, std::string{".SH "} + section + "\n"));
    CHECK(contains(page, ".SH EXAMPLES\n") == (!command.examples.empty() || &command == &root));
    for (const auto& option : command.options)
      for (auto name : option.names) {
        for (auto at = name.find('-'); at != std::string::npos; at = name.find('-', at + 2))
          name.insert(at, 1, '\\');
        CHECK(contains(page, "\\fB" + name + "\\fR"));
      }
    for (auto code : {"0", "1", "2", "3", "4", "5", "6", "10", "78"})
      CHECK(contains(page, std::string{".B "} + code + "\n"));
  });
}

TEST_CASE_FIXTURE(command_fixture, "man prints one page, or writes all of them") {
  auto page = run({"man", "app", "apply"});
  CHECK(page.code == exit_ok);
  CHECK(page.out.starts_with(".TH ASTRA-APP-APPLY 1 "));
  CHECK(contains(page.out, "\\fB\\-\\-wait\\fR[=\\fIDURATION\\fR]"));
  CHECK(run({"man"}).out.starts_with(".TH ASTRA 1 "));
  auto unknown = run({"man", "app", "aply"});
  CHECK(unknown.code == exit_usage);
  CHECK(contains(unknown.err, "did you mean 'apply'?"));
  auto to = (directory / "man" / "man1").string();
  CHECK(run({"man", "--all", to.c_str()}).code == exit_ok);
  std::size_t commands = 0;
  for_each(command_tree(), [&](const command_node& command) {
    ++commands;
    CHECK(std::filesystem::exists(to + "/" + manual_name(command) + ".1"));
  });
  CHECK(commands > 60);
  if (std::system("command -v mandoc > /dev/null 2>&1") != 0)
    MESSAGE("mandoc is not installed: the pages are not checked with it");
  else
    CHECK(std::system(("mandoc -T lint -W warning '" + to + "'/*.1 > '" + to + "/lint' 2>&1").c_str()) == 0);
}

TEST_CASE_FIXTURE(command_fixture, "every line of the cheat sheet is a command, and the sheet is one screen") {
  for (const auto& line : cheat_lines()) {
    auto result = check_line(*this, line.command);
    INFO(line.command, ": ", result.err);
    CHECK(result.code == exit_ok);
  }
  auto sheet = run({"cheat"});
  CHECK(sheet.code == exit_ok);
  std::size_t lines = 0;
  for (std::istringstream in{sheet.out}; in;) {
    std::string line;
    if (std::getline(in, line)) {
      INFO(line);
      CHECK(line.size() <= 96);
      ++lines;
    }
  }
  CHECK(lines <= 26);
  for (auto who : {"operator\n", "developer\n", "tester\n"})
    CHECK(contains(sheet.out, who));
  CHECK(calls.empty());
}

TEST_CASE_FIXTURE(command_fixture, "every example of every help text is a command") {
  // Some name a cluster.
  p2p::temporary_directory config;
  std::filesystem::create_directory(config / "astra");
  std::ofstream{config / "astra" / "contexts.toml"} << "[contexts.prod]\ngateway = \"gateway:9750\"\n";
  variables["XDG_CONFIG_HOME"] = config.path().string();
  for_each(command_tree(), [&](const command_node& command) {
    std::istringstream in{std::string{command.examples}};
    for (std::string line; std::getline(in, line);) {
      // Of a pipe, and of what a shell does with the output, the part that is ours.
      auto begin = line.find("astra ");
      if (begin == std::string::npos)
        continue;
      auto part = line.substr(begin, line.find_first_of("|<>)", begin) - begin);
      auto result = check_line(*this, part);
      INFO(line, ": ", result.err);
      CHECK(result.code == exit_ok);
    }
  });
}
