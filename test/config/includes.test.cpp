#include "test/config/config_files.hpp"

#include <doctest/doctest.h>

using namespace astra;
using namespace astra::test;
using namespace std::chrono_literals;

TEST_CASE("included files come first in the order of their names, the file's own keys last") {
  config_files files;
  auto a = files.write("conf.d/10-a.toml", "[node]\nheartbeat = \"300ms\"\nqueue_per_slot = 5\nslot_hold = \"7s\"\n");
  auto b = files.write("conf.d/20-b.toml", "[node]\nheartbeat = \"400ms\"\nqueue_per_slot = 6\n");
  auto main = files.write("node.toml", minimal + "include = [\"conf.d/*.toml\"]\n[node]\nheartbeat = \"500ms\"\n");
  auto config = load_process_config(main, no_environment);
  CHECK(show(config.problems) == "");
  CHECK(config.options.node.heartbeat == 500ms);
  CHECK(config.options.node.queue_per_slot == 6);
  CHECK(config.options.node.slot_hold == 7s);
  CHECK(find_value(config, "node.heartbeat")->origin == main + ":6");
  CHECK(find_value(config, "node.queue_per_slot")->origin == b + ":3");
  CHECK(find_value(config, "node.slot_hold")->origin == a + ":4");
}

TEST_CASE("lists are replaced and tables are joined") {
  config_files files;
  files.write("base.toml",
              "resources = [\"127.0.0.1:1\", \"127.0.0.1:2\"]\n[node.labels]\nzone = \"a\"\ntier = \"x\"\n");
  auto main = files.write("node.toml", minimal + "include = [\"base.toml\"]\n[node.labels]\nzone = \"b\"\n");
  auto config = load_process_config(main, no_environment);
  CHECK(show(config.problems) == "");
  CHECK(config.options.node.resources == std::vector<std::string>{"127.0.0.1:9700"});
  CHECK(config.options.node.labels == std::vector<std::pair<std::string, std::string>>{{"tier", "x"}, {"zone", "b"}});
}

TEST_CASE("an included file includes from its own folder, and its paths start there too") {
  config_files files;
  files.write("site/site.toml", "include = [\"logs.toml\"]\n");
  files.write("site/logs.toml", "[log]\nfile = \"astra.log\"\n");
  auto main = files.write("node.toml", minimal + "include = [\"${DIR}/site.toml\"]\nstate_dir = \"state\"\n");
  auto config = load_process_config(main, fixed_environment({{"DIR", "site"}}));
  CHECK(show(config.problems) == "");
  CHECK(config.options.log.file == files.path("site/astra.log"));
  CHECK(config.options.state_dir == files.path("state"));
}

TEST_CASE("a pattern without a match is fine, a missing file is not") {
  config_files files;
  CHECK(show(load_process_config(files.write("a.toml", minimal + "include = [\"conf.d/*.toml\"]\n"), no_environment)
                 .problems)
        == "");
  auto problems = show(
      load_process_config(files.write("b.toml", minimal + "include = [\"none.toml\"]\n"), no_environment).problems);
  CHECK(problems.find("b.toml:4:12: include: ") == 0);
  CHECK(problems.find("none.toml cannot be opened") != std::string::npos);
}

TEST_CASE("files that include each other are refused at the place that closes the circle") {
  config_files files;
  files.write("b.toml", "include = [\"c.toml\"]\n");
  files.write("c.toml", "include = [\"a.toml\"]\n");
  auto main = files.write("a.toml", minimal + "include = [\"b.toml\"]\n");
  auto problems = show(load_process_config(main, no_environment).problems);
  CHECK(problems.find("c.toml:1:12: include: ") == 0);
  CHECK(problems.find("a.toml includes itself by way of") != std::string::npos);
  auto own = files.write("own.toml", minimal + "include = [\"*.toml\"]\n");
  CHECK(show(load_process_config(own, no_environment).problems).find("own.toml includes itself; break the circle")
        != std::string::npos);
}

TEST_CASE("mistakes of all files are shown, also of values that another file overrides") {
  config_files files;
  files.write("a.toml", "[node]\nheartbeat = 5\n");
  files.write("b.toml", "[nod]\n");
  auto main = files.write("node.toml", minimal
                                           + "include = [\"a.toml\", \"b.toml\"]\n[node]\nheartbeat = \"1s\"\n"
                                             "[log]\nlevel = 3\n");
  auto problems = show(load_process_config(main, no_environment).problems);
  CHECK(problems
        == "node.toml:8:9: log.level: must be text in quotes, not the number 3\n"
           "a.toml:2:13: node.heartbeat: must be a duration in quotes, such as \"200ms\", not the number 5\n"
           "b.toml:1:2: nod: unknown key; did you mean 'node'?\n");
}

TEST_CASE("a rule broken between two files is shown at the key it is about") {
  config_files files;
  files.write("a.toml", "[resource]\nsweep = \"4s\"\n");
  auto main = files.write("node.toml", minimal + "include = [\"a.toml\"]\n[resource]\nevict_after = \"5s\"\n");
  CHECK(
      show(load_process_config(main, no_environment).problems)
      == "node.toml:6:15: resource.evict_after: \"5s\" is shorter than 2 sweeps of \"4s\"; make it at least \"8s\"\n");
}

TEST_CASE("app files are found from the file that names them, and checked with it") {
  config_files files;
  auto a = files.write("etc/apps/a.toml", "name = \"a\"\ncommand = [\"cat\"]\n");
  auto b = files.write("etc/apps/b.toml", "name = \"b\"\ncommand = [\"cat\"]\n");
  auto head = "name = \"s\"\nroles = [\"scheduler\"]\nresources = [\"127.0.0.1:9700\"]\n[scheduler]\n";
  auto main = files.write("etc/s.toml", std::string{head} + "apps = [\"apps/*.toml\"]\n");
  auto config = load_process_config(main, no_environment);
  CHECK(show(config.problems) == "");
  CHECK(config.options.scheduler.app_files == std::vector<std::string>{a, b});

  files.write("etc/apps/b.toml", "name = \"a\"\ncommand = [\"cat\"]\n");
  CHECK(show(load_process_config(main, no_environment).problems)
            .find("s.toml:5:9: scheduler.apps[0]: app \"a\" stands in")
        == 0);
  files.write("etc/apps/b.toml", "name = \"b\"\ncommand = [\"cat\"]\ntimout = \"1s\"\n");
  CHECK(show(load_process_config(main, no_environment).problems)
        == "b.toml:3:1: timout: unknown key; did you mean 'timeout'?\n");
}
