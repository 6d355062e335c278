#include "runtime/process/spawn_child.hpp"

#include "test/runtime/process/fake_tree.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

using namespace astra;

namespace {

struct programs : test::fake_tree {
  programs() {
    write("/a/tool", "#!/bin/sh\n");
    write("/b/tool", "#!/bin/sh\n");
    write("/a/plain", "text");
    std::filesystem::create_directories(root() + "/a/dir");
    std::filesystem::permissions(root() + "/b/tool", std::filesystem::perms{0755});
  }
  std::string path = root() + "/a:" + root() + "/b";
  std::string error;
};

} // namespace

TEST_CASE_FIXTURE(programs, "the first executable file in PATH is the command") {
  CHECK(find_command("tool", path, error) == root() + "/b/tool");
  CHECK(error.empty());
}

TEST_CASE_FIXTURE(programs, "a path is taken as it is") {
  CHECK(find_command(root() + "/b/tool", "", error) == root() + "/b/tool");
}

TEST_CASE_FIXTURE(programs, "what cannot be run says why") {
  CHECK(find_command("tesseract", "/x:/y", error).empty());
  CHECK(error == "tesseract: command not found in PATH (/x:/y)");
  CHECK(find_command("plain", path, error).empty());
  CHECK(error == root() + "/a/plain: not executable (permission denied)");
  CHECK(find_command(root() + "/a/none", path, error).empty());
  CHECK(error == root() + "/a/none: No such file or directory");
  CHECK(find_command(root() + "/a/dir", path, error).empty());
  CHECK(error == root() + "/a/dir: Is a directory");
  CHECK(find_command("dir", path, error).empty());
  CHECK(find_command("", path, error).empty());
  CHECK(error == "the command is empty");
}

TEST_CASE("the environment is the small default and what is given, which wins") {
  ::setenv("ASTRA_TEST_SECRET", "1", 1);
  auto environment = make_environment({"LANG=de_DE.UTF-8", "A=1", "A=2", "nonsense"});
  ::unsetenv("ASTRA_TEST_SECRET");
  CHECK(environment.size() == 5);
  CHECK(find_in_environment(environment, "LANG") == "de_DE.UTF-8");
  CHECK(find_in_environment(environment, "A") == "2");
  CHECK_FALSE(find_in_environment(environment, "PATH").empty());
  CHECK_FALSE(find_in_environment(environment, "HOME").empty());
  CHECK_FALSE(find_in_environment(environment, "TMPDIR").empty());
  CHECK(find_in_environment(environment, "ASTRA_TEST_SECRET").empty());
}
