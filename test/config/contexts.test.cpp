#include "config/contexts.hpp"

#include <doctest/doctest.h>

using namespace astra;

namespace {

std::string first_problem(const std::string& text) {
  auto read = parse_contexts(text, "c.toml", [](auto&) { return std::nullopt; });
  return read.problems.empty() ? "" : to_string(read.problems.front());
}

} // namespace

TEST_CASE("contexts are read with their paths beside the file") {
  auto read = parse_contexts(
      "current = \"prod\"\n[contexts.prod]\ngateway = \"https://g:9750\"\ncertificate = \"me.pem\"\nkey = "
      "\"me.key\"\nca = \"/etc/ca.pem\"\n[contexts.lab]\ngateway = \"unix:/run/g.sock\"\n",
      "/home/me/astra/contexts.toml", [](auto&) { return std::nullopt; });
  CHECK(read.problems.empty());
  CHECK(read.current == "prod");
  CHECK(read.contexts.size() == 2);
  CHECK(read.contexts["prod"].certificate == "/home/me/astra/me.pem");
  CHECK(read.contexts["prod"].ca == "/etc/ca.pem");
  CHECK(read.contexts["lab"].gateway == "unix:/run/g.sock");
}

TEST_CASE("every mistake has its place") {
  CHECK(first_problem("[contexts.prod]\ngatway = \"x\"\n")
        == "c.toml:2:1: contexts.prod.gatway: unknown key; did you mean 'gateway'?");
  CHECK(first_problem("[contexts.prod]\nca = \"x\"\n")
        == "c.toml:1:11: contexts.prod: has no gateway; write gateway = \"HOST:PORT\", \"https://HOST:PORT\" or "
           "\"unix:PATH\"");
  CHECK(first_problem("curent = \"x\"\n") == "c.toml:1:1: curent: unknown key; did you mean 'current'?");
  CHECK(first_problem("current = \"prdo\"\n[contexts.prod]\ngateway = \"x:1\"\n")
        == "c.toml:1:11: current: there is no context 'prdo'; did you mean 'prod'?");
  CHECK(first_problem("contexts = 3\n").starts_with("c.toml:1:12: contexts: must be tables"));
  CHECK(first_problem("[contexts.prod\n").starts_with("c.toml:1:"));
}

TEST_CASE("another current context leaves the rest of the file alone") {
  CHECK(with_current("# a\n[contexts.b]\n", "b") == "current = \"b\"\n# a\n[contexts.b]\n");
  CHECK(with_current("# a\ncurrent = \"a\"\n[contexts.b]\n", "b") == "# a\ncurrent = \"b\"\n[contexts.b]\n");
  CHECK(with_current("current = \"a\"", "b") == "current = \"b\"\n");
}

TEST_CASE("the file is where XDG says, else below the home directory") {
  auto with = [](std::string xdg, std::string home) {
    return contexts_path([=](const std::string& name) -> std::optional<std::string> {
      return name == "HOME" ? home : name == "XDG_CONFIG_HOME" ? xdg : "";
    });
  };
  CHECK(with("/x", "/h") == "/x/astra/contexts.toml");
  CHECK(with("", "/h") == "/h/.config/astra/contexts.toml");
  CHECK(with("", "") == "");
}
