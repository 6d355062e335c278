#include "runtime/cli/commands/completion.hpp"
#include "test/p2p/files.hpp"
#include "test/runtime/cli/command_fixture.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <sys/stat.h>

using namespace astra;
using namespace std::chrono_literals;
using test::command_fixture;

namespace {

void for_each(const command_node& node, const std::function<void(const command_node&)>& what) {
  what(node);
  for (const auto& below : node.below)
    for_each(below, what);
}

/// The words that are offered for the last one of `words`.
std::vector<std::string> offered(const std::vector<std::string>& words, const live_names& names = {}) {
  std::vector<std::string> result;
  for (const auto& candidate : complete(command_tree(), words, names).candidates)
    result.push_back(candidate.word);
  return result;
}

bool has(const std::vector<std::string>& words, const std::string& word) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

using words = std::vector<std::string>;

bool installed(const std::string& program) {
  return std::system(("command -v " + program + " > /dev/null 2>&1").c_str()) == 0;
}

/// What a shell command prints.
std::string output_of(const std::string& command) {
  std::string out;
  auto* pipe = popen(command.c_str(), "r");
  REQUIRE(pipe != nullptr);
  std::array<char, 4096> block{};
  while (auto length = std::fread(block.data(), 1, block.size(), pipe))
    out.append(block.data(), length);
  CHECK(pclose(pipe) == 0);
  return out;
}

} // namespace

TEST_CASE("every argument of every command stands for something that completion knows") {
  for_each(command_tree(), [](const command_node& command) {
    for (const auto& argument : command.arguments) {
      INFO(command.path, ": ", argument.name);
      CHECK_FALSE(argument.unknown);
    }
  });
}

TEST_CASE("commands are completed at every depth, and __complete is none") {
  auto first = offered({""});
  CHECK(has(first, "node"));
  CHECK(has(first, "wait"));
  CHECK_FALSE(has(first, "__complete"));
  CHECK(offered({"stat"}) == words{"status"});
  CHECK(offered({"node", "d"}) == words{"drain"});
  CHECK(offered({"-v", "node", "l"}) == words{"list"});
  CHECK(offered({"--gateway", "node", "stat"}) == words{"status"});
  CHECK(offered({"help", "app", "app"}) == words{"apply"});
  CHECK(offered({"nonsense", "x"}).empty());
}

TEST_CASE("options: those of the command and the global ones, each once unless it may be repeated") {
  auto options = offered({"node", "list", "--"});
  CHECK(has(options, "--where"));
  CHECK(has(options, "--gateway"));
  CHECK_FALSE(has(options, "--wait"));
  CHECK_FALSE(has(offered({"node", "list", "--where", "x", "--"}), "--where"));
  CHECK_FALSE(has(offered({"node", "list", "--limit=3", "--"}), "--limit"));
  CHECK(has(offered({"model", "fetch", "m", "--node", "a", "--"}), "--node"));
  CHECK(offered({"app", "apply", "--", "--w"}).empty());
  // Where nothing else can follow.
  CHECK(has(offered({"status", ""}), "--gateway"));
}

TEST_CASE("values of options: words that there are, files, and what stands behind '='") {
  CHECK(offered({"node", "list", "-o", ""}) == words{"table", "json", "ndjson", "csv", "line", "name"});
  CHECK(offered({"model", "fetch", "m", "--priority", "h"}) == words{"high"});
  CHECK(offered({"model", "fetch", "m", "--priority=l"}) == words{"--priority=low"});
  CHECK(offered({"task", "list", "--state", "q"}) == words{"queued"});
  CHECK(offered({"sim", "run", "--fidelity", ""}) == words{"wire", "basp"});
  CHECK(offered({"node", "list", "--columns", "name,sta"}) == words{"name,state"});
  CHECK(offered({"completion", ""}) == words{"bash", "zsh", "fish"});
  CHECK(complete(command_tree(), {"run", "-c", "x"}, {}).files);
  CHECK(complete(command_tree(), {"app", "apply", ""}, {}).files);
  CHECK(complete(command_tree(), {"dev", "--dir", ""}, {}).directories);
  CHECK(complete(command_tree(), {"sim", "explore", "a", "b"}, {}).files);
  // A flag whose value follows "=" only.
  CHECK(complete(command_tree(), {"app", "apply", "--wait", ""}, {}).files);
  CHECK(has(offered({"explain", "sat"}), "saturated"));
}

TEST_CASE("live names are asked for by what the argument stands for") {
  std::vector<value_kind> asked;
  live_names names = [&](value_kind kind, std::string_view) {
    asked.push_back(kind);
    return std::vector<completion::candidate>{{"n1", "online"}, {"n2", ""}, {"other", ""}};
  };
  CHECK(offered({"node", "show", "n"}, names) == words{"n1", "n2"});
  CHECK(offered({"app", "show", ""}, names).size() == 3);
  CHECK(offered({"model", "show", "o"}, names) == words{"other"});
  CHECK(offered({"task", "show", "o"}, names) == words{"other"});
  CHECK(offered({"model", "fetch", "m", "--node", "n2"}, names) == words{"n2"});
  CHECK(offered({"events", "--node=n1"}, names) == words{"--node=n1"});
  CHECK(asked
        == std::vector{value_kind::node, value_kind::app, value_kind::model, value_kind::task, value_kind::node,
                       value_kind::node});
  CHECK(offered({"why", ""}, names) == words{"app/", "node/", "replica/"});
  CHECK(offered({"why", "node/n"}, names) == words{"node/n1", "node/n2"});
  CHECK(offered({"why", "replica/o"}, names) == words{"replica/other/"});
  CHECK(offered({"wait", "mo"}, names) == words{"model/"});
  // It has its argument already.
  CHECK_FALSE(has(offered({"node", "show", "n1", ""}, names), "n2"));
}

TEST_CASE_FIXTURE(command_fixture, "__complete asks the gateway that the line names, for 300 ms at most") {
  answer("GET /v1/apps", 200, R"({"apps":[{"name":"ocr"},{"name":"echo"},{"name":"a b"}]})");
  auto result = run({"__complete", "--", "--gateway", "10.0.0.7:80", "app", "show", ""});
  CHECK(result.code == exit_ok);
  CHECK(result.out == "ocr\necho\n");
  CHECK(calls.back().host == "10.0.0.7");
  CHECK(calls.back().timeout <= 300ms);
  answer("GET /v1/models", 200, R"({"models":[{"name":"llama","version":3},{"name":"llama","version":2}]})");
  CHECK(run({"__complete", "--", "model", "show", "lla"}).out == "llama@3\nllama@2\n");
  CHECK(run({"__complete", "--", "model", "publish", "lla"}).out == "llama\n");
}

TEST_CASE_FIXTURE(command_fixture, "__complete asks the cluster that the line names") {
  p2p::temporary_directory config;
  std::filesystem::create_directory(config / "astra");
  std::ofstream{config / "astra" / "contexts.toml"}
      << "current = \"prod\"\n[contexts.prod]\ngateway = \"10.0.0.1:80\"\n[contexts.lab]\ngateway = \"10.0.0.9:80\"\n";
  variables["XDG_CONFIG_HOME"] = config.path().string();
  run({"__complete", "--", "node", "show", ""});
  REQUIRE(calls.size() == 1);
  CHECK(calls.back().host == "10.0.0.1");
  run({"__complete", "--", "--context", "lab", "node", "show", ""});
  REQUIRE(calls.size() == 2);
  CHECK(calls.back().host == "10.0.0.9");
}

TEST_CASE_FIXTURE(command_fixture, "__complete says nothing when no gateway answers, or nobody has an idea") {
  auto silent = run({"__complete", "--", "node", "show", ""});
  CHECK(silent.code == exit_ok);
  CHECK(silent.out.empty());
  CHECK(silent.err.empty());
  variables["ASTRA_GATEWAY"] = "nonsense";
  CHECK(run({"__complete", "--", "node", "dr"}).out.starts_with("drain\t"));
  CHECK(run({"__complete"}).code == exit_ok);
}

TEST_CASE_FIXTURE(command_fixture, "completion of an unknown shell exits 2 and names the likely one") {
  auto result = run({"completion", "fihs"});
  CHECK(result.code == exit_usage);
  CHECK(result.err.find("did you mean 'fish'?") != std::string::npos);
}

TEST_CASE_FIXTURE(command_fixture, "the script works in bash, which takes '@', '=' and ':' for ends of words") {
  auto script = file("astra.bash", run({"completion", "bash"}).out);
  // Stands for the program: it shows what it was asked, and answers.
  auto program = file("astra", "#!/bin/bash\nshift 2\nprintf '%s|' \"$@\" >> \"$ASKED\"\necho >> \"$ASKED\"\n"
                               "case ${@: -1} in\n  llama@*) printf 'llama@3\\thelp me\\nllama@31\\n' ;;\n"
                               "  --state=*) echo --state=queued ;;\n  sce*) echo :file ;;\n  *) printf "
                               "'node\\tNodes\\nnone\\n' ;;\nesac\n");
  chmod(program.c_str(), 0755);
  file("scenario one.toml", "");
  auto asked = (directory / "asked").string();
  auto complete_in_bash = [&](const std::string& line_words, int current) {
    return output_of("cd '" + directory.string() + "' && ASKED='" + asked + "' bash --norc -c 'source \"" + script
                     + "\"; COMP_WORDS=(" + line_words + "); COMP_CWORD=" + std::to_string(current) + "; _astra \""
                     + program + "\"; printf \"<%s>\" \"${COMPREPLY[@]}\"'");
  };
  CHECK(complete_in_bash("astra no", 1) == "<node><none>");
  CHECK(complete_in_bash("astra model show llama @ 3", 5) == "<3><31>");
  CHECK(complete_in_bash("astra model show llama @", 4) == "<3><31>");
  CHECK(complete_in_bash("astra task list --state = q", 5) == "<queued>");
  CHECK(complete_in_bash("astra --gateway h : 1 node \"\"", 6) == "<node><none>");
  CHECK(complete_in_bash("astra sim run sce", 3) == "<scenario one.toml>");
  std::ifstream in{asked};
  std::string text{std::istreambuf_iterator<char>{in}, {}};
  CHECK(text
        == "no|\nmodel|show|llama@3|\nmodel|show|llama@|\ntask|list|--state=q|\n--gateway|h:1|node||\nsim|run|sce|\n");
}

TEST_CASE_FIXTURE(command_fixture, "the scripts are good zsh and fish, where these are installed") {
  for (std::string shell : {"bash", "zsh", "fish"}) {
    if (!installed(shell)) {
      MESSAGE(shell, " is not installed: its script is not checked");
      continue;
    }
    auto script = file("script." + shell, run({"completion", shell.c_str()}).out);
    CHECK(output_of(shell + " -n '" + script + "' 2>&1").empty());
  }
}
