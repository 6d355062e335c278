#include "config/app_file.hpp"
#include "config/schema.pb.h"
#include "messages/wire/app.pb.h"
#include "test/config/config_files.hpp"

#include <doctest/doctest.h>

using namespace astra;
using namespace astra::test;

namespace {

pb::AppSpec spec_of(const std::string& text) {
  auto app = parse_app_config(text, "app.toml");
  REQUIRE_MESSAGE(app.spec, show(app.problems));
  CHECK(app.problems.empty());
  return *app.spec;
}

} // namespace

TEST_CASE("a file of two lines is an app with every default filled in") {
  auto spec = spec_of("name = \"a\"\ncommand = [\"cat\"]\n");
  CHECK(spec.name() == "a");
  CHECK(spec.replicas() == 1);
  CHECK(spec.per_replica().cpu_milli() == 1000);
  CHECK(spec.per_replica().memory_bytes() == 512ull << 20);
  CHECK(spec.concurrency() == 1);
  CHECK(spec.request_timeout_ms() == 30'000);
  CHECK_FALSE(spec.idempotent());
  CHECK(spec.queue_limit() == 64);
  CHECK(spec.weight() == pb::WEIGHT_FAST);
  CHECK(spec.hedge_after_ms() == 0);
  CHECK(spec.restart().backoff_min_ms() == 100);
  CHECK(spec.restart().backoff_max_ms() == 30'000);
  CHECK(spec.restart().healthy_after_ms() == 60'000);
  CHECK(spec.restart().budget() == 5);
  CHECK(spec.restart().budget_window_ms() == 60'000);
  REQUIRE(spec.has_per_request());
  CHECK(spec.per_request().output_limit_bytes() == 16ull << 20);
  CHECK(validate(spec).empty());
}

TEST_CASE("contents of an app are sorted, and come back into the file") {
  auto spec = spec_of("name = \"a\"\ncommand = [\"cat\", \"{content.voc}/en\"]\ncontent = [\"voc@2\", \"ocr@1\"]\n");
  REQUIRE(spec.contents_size() == 2);
  CHECK(spec.contents(0) == "ocr@1");
  CHECK(spec.contents(1) == "voc@2");
}

TEST_CASE("a command may be given the URL of a content, whose name may look like one") {
  auto spec = spec_of("name = \"a\"\ncommand = [\"load\", \"{content.voc.url}/w\", \"{content.x.url}\", "
                      "\"{content.x.url.url}\"]\ncontent = [\"voc@2\", \"x.url@1\"]\nstream_content = true\n");
  CHECK(spec.stream_content());
  CHECK(spec.contents_size() == 2);
}

TEST_CASE("a server app carries its command, variables and paths; lists are sorted") {
  auto spec = spec_of(R"(name = "web"
mode = "server"
command = ["serve", "--port", "{port}"]
env = { Z = "1", A = 2, B = true, C = 0.5 }
[server]
path = "/invoke"
ready_path = "/health"
ready_timeout = "2s"
stop_grace = "1s"
[resources]
cpu = 0.5
accelerators = { t4 = 1, a10 = 2 }
[require]
labels = { zone = "sz3", tier = "spot" }
)");
  REQUIRE(spec.has_server());
  auto& server = spec.server();
  CHECK(std::vector<std::string>{server.command().begin(), server.command().end()}
        == std::vector<std::string>{"serve", "--port", "{port}"});
  CHECK(std::vector<std::string>{server.env().begin(), server.env().end()}
        == std::vector<std::string>{"A=2", "B=true", "C=0.5", "Z=1"});
  CHECK(server.path() == "/invoke");
  CHECK(server.ready_path() == "/health");
  CHECK(server.ready_timeout_ms() == 2000);
  CHECK(server.stop_grace_ms() == 1000);
  CHECK(spec.per_replica().cpu_milli() == 500);
  REQUIRE(spec.per_replica().accelerators_size() == 2);
  CHECK(spec.per_replica().accelerators(0).kind() == "a10");
  CHECK(spec.per_replica().accelerators(1).count() == 1);
  REQUIRE(spec.require_size() == 2);
  CHECK(spec.require(0).key() == "tier");
  CHECK(spec.require(1).value() == "sz3");
}

TEST_CASE("a placement carries expressions, tolerations, spread, affinity and strategy") {
  auto spec = spec_of(R"toml(name = "web"
command = ["x"]
[placement]
require = ["zone in (a, b)", "disk != hdd", "gpu exists"]
tolerate = ["spot", "dedicated=db"]
strategy = "pack"
spread = [{ label = "zone" }, { label = "rack", max_skew = 2 }]
affinity = [{ app = "cache" }]
anti_affinity = [{ app = "web" }, { app = "db", label = "zone" }]
)toml");
  auto& placement = spec.placement();
  REQUIRE(placement.require_size() == 3);
  CHECK(placement.require(0).operation() == pb::LABEL_IN);
  CHECK(placement.require(0).values(1) == "b");
  CHECK(placement.require(2).operation() == pb::LABEL_EXISTS);
  REQUIRE(placement.tolerate_size() == 2);
  CHECK_FALSE(placement.tolerate(0).has_value());
  CHECK(placement.tolerate(1).value() == "db");
  CHECK(placement.strategy() == pb::PLACEMENT_PACK);
  CHECK(placement.spread(0).max_skew() == 1);
  CHECK(placement.spread(1).label() == "rack");
  CHECK(placement.affinity(0).label().empty());
  CHECK(placement.anti_affinity(1).app() == "db");
  CHECK(placement.anti_affinity(1).label() == "zone");
}

TEST_CASE("an app without a placement, or with nothing but defaults in it, has the spec that it always had") {
  auto plain = spec_of("name = \"a\"\ncommand = [\"cat\"]\n");
  auto stated = spec_of("name = \"a\"\ncommand = [\"cat\"]\n[placement]\nstrategy = \"spread\"\nspread = []\n");
  CHECK_FALSE(plain.has_placement());
  CHECK(plain.SerializeAsString() == stated.SerializeAsString());
}

TEST_CASE("what is wrong with a placement is shown where it stands") {
  auto problem_with = [](const std::string& line) {
    return show(parse_app_config("name = \"a\"\ncommand = [\"x\"]\n[placement]\n" + line + "\n", "a.toml").problems);
  };
  CHECK(problem_with("require = [\"a exists\", \"zone = b\"]")
        == "a.toml:4:24: placement.require[1]: \"zone = b\", character 6: '=' compares nothing; write ==\n");
  CHECK(problem_with("tolerate = [\"a b\"]").find("a.toml:4:13: placement.tolerate[0]: the taint's key") == 0);
  CHECK(problem_with("strategy = \"best\"").find("a.toml:4:12: placement.strategy: ") == 0);
  CHECK(problem_with("spread = [{ max_skew = 1 }]").find("a.toml:4:11: placement.spread[0].label: missing") == 0);
  CHECK(problem_with("spread = [{ label = \"zone\", max_skew = 0 }]")
        == "a.toml:4:40: placement.spread[0].max_skew: must be between 1 and 1000000, not 0\n");
  CHECK(problem_with("spread = [{ label = \"z\" }, { label = \"z\" }]").find("is spread over twice")
        != std::string::npos);
  CHECK(problem_with("affinity = [{ app = \"a\" }]").find("placement.affinity[0].app: is this app itself")
        != std::string::npos);
  CHECK(problem_with("anti_affinity = [{ label = \"zone\" }]").find("placement.anti_affinity[0].app: missing")
        != std::string::npos);
  CHECK(problem_with("anti_affinity = [{ app = \"a\", lable = \"zone\" }]").find("did you mean 'label'?")
        != std::string::npos);
  CHECK(problem_with("require = [\"a exists\", \"a exists\"]").find("is listed twice") != std::string::npos);
}

TEST_CASE("an actor app carries its type and arguments") {
  auto spec =
      spec_of("name = \"c\"\nkind = \"actor\"\nreplicas = 0\n[actor]\ntype = \"counter\"\nargs = { init = 40 }\n");
  REQUIRE(spec.has_actor());
  CHECK(spec.replicas() == 0);
  CHECK(spec.actor().type() == "counter");
  CHECK(spec.actor().args(0) == "init=40");
}

TEST_CASE("the library of an actor is a content, which the app then has, or a path that starts at its file") {
  auto file = [](const std::string& library) {
    return "name = \"c\"\nkind = \"actor\"\n[actor]\ntype = \"tally\"\nlibrary = \"" + library + "\"\n";
  };
  auto of_content = spec_of(file("tally-actors@3"));
  CHECK(of_content.actor().library() == "{content.tally-actors}");
  REQUIRE(of_content.contents_size() == 1);
  CHECK(of_content.contents(0) == "tally-actors@3");
  CHECK(spec_of("content = [\"tally-actors@3\"]\n" + file("tally-actors@3")).SerializeAsString()
        == of_content.SerializeAsString());
  CHECK(spec_of("content = [\"all@1\"]\n" + file("{content.all}/libtally.so")).actor().library()
        == "{content.all}/libtally.so");
  CHECK(spec_of(file("/opt/libtally.so")).actor().library() == "/opt/libtally.so");
  config_files files;
  files.write("apps/c.toml", file("../lib/libtally.so"));
  auto loaded = load_app_config(files.path("apps/c.toml"), {});
  REQUIRE(loaded.spec);
  CHECK(loaded.spec->actor().library() == files.path("lib/libtally.so"));
  // What it says survives being a file again.
  std::vector<broken_rule> broken;
  CHECK(to_spec(to_file(of_content), broken).SerializeAsString() == of_content.SerializeAsString());
  CHECK(broken.empty());
  of_content.mutable_actor()->set_library("libtally.so");
  auto problems = validate(of_content);
  REQUIRE(problems.size() == 1);
  CHECK(to_string(problems[0]).find("actor.library: \"libtally.so\" is neither a content") != std::string::npos);
}

TEST_CASE("a file knows the environment, a text from the API does not") {
  config_files files;
  auto text = "name = \"a\"\ncommand = [\"${TOOL}\", \"$$1\", \"$2\"]\n";
  auto app = load_app_config(files.write("a.toml", text), fixed_environment({{"TOOL", "cat"}}));
  REQUIRE(app.spec);
  CHECK(app.spec->per_request().command(0) == "cat");
  CHECK(app.spec->per_request().command(1) == "$1");
  CHECK(app.spec->per_request().command(2) == "$2");
  auto refused = parse_app_config(text, "request");
  CHECK_FALSE(refused.spec);
  CHECK(
      show(refused.problems)
      == "request:2:12: command[0]: '${TOOL}' is not known here: only a file is expanded; write the value, or $${ for "
         "a literal '${'\n");
}

TEST_CASE("a spec that came another way is checked by the same rules") {
  auto good = spec_of("name = \"a\"\ncommand = [\"cat\"]\n");
  auto problems_with = [&](auto change) {
    auto spec = good;
    change(spec);
    return show(validate(spec));
  };
  CHECK(problems_with([](auto& s) { s.set_concurrency(0); }) == "concurrency: must be between 1 and 10000, not 0\n");
  CHECK(problems_with([](auto& s) { s.clear_kind(); }).find("kind: missing") == 0);
  CHECK(problems_with([](auto& s) { s.set_name("A"); }).find("name: ") == 0);
  CHECK(problems_with([](auto& s) { s.set_weight(static_cast<pb::WeightFormula>(9)); }).find("weight: ") == 0);
  CHECK(problems_with([](auto& s) { s.mutable_per_request()->add_env("X"); }).find("env: \"X\" has no value") == 0);
  CHECK(problems_with([](auto& s) {
          s.mutable_per_request()->add_env("X=1");
          s.mutable_per_request()->add_env("X=2");
        }).find("env.X: is given twice")
        == 0);
  CHECK(
      problems_with([](auto& s) { s.mutable_per_request()->add_command(std::string("a\0b", 3)); }).find("command[1]: ")
      == 0);
  CHECK(problems_with([](auto& s) { s.mutable_per_replica()->clear_cpu_milli(); }).find("resources.cpu: ") == 0);
  CHECK(problems_with([](auto& s) {
          for (int i = 0; i < 2; ++i) {
            auto& label = *s.add_require();
            label.set_key("zone");
            label.set_value("a");
          }
        })
        == "require.labels.zone: is given twice; keep one\n");
  CHECK(problems_with([](auto& s) {
          s.mutable_actor()->set_type("echo");
          s.mutable_actor()->add_args("x");
        })
        == "actor.args: \"x\" is not NAME=value\n");
  CHECK(problems_with([](auto& s) { s.mutable_placement()->add_require()->set_key("zone"); })
        == "placement.require[0]: unknown operator; there are ==, !=, in, not in, exists and not exists\n");
  CHECK(problems_with([](auto& s) { s.mutable_placement()->add_tolerate(); }).find("placement.tolerate[0]: ") == 0);
  CHECK(problems_with([](auto& s) {
          for (int i = 0; i < 17; ++i)
            s.mutable_placement()->add_anti_affinity()->set_app("b" + std::to_string(i));
        })
        == "placement.anti_affinity: has 17 entries; use at most 16\n");
  CHECK(problems_with([](auto& s) {
          s.mutable_placement()->set_strategy(static_cast<pb::PlacementStrategy>(9));
        }).find("placement.strategy: ")
        == 0);
  CHECK(problems_with([](auto& s) { s.set_request_timeout_ms(UINT64_MAX); }).find("timeout: ") == 0);
  CHECK(validate(pb::AppSpec{}).size() > 5);
}

TEST_CASE("what says nothing or cannot work for a federated app is refused where it stands") {
  auto problems = [](const std::string& more) {
    auto app = parse_app_config(R"(name = "dask"
command = ["job"]
[federation]
workers = 1
ports = ["s"]
head = { command = ["head", "{port.s}"] }
worker = { command = ["worker"] }
)" + more,
                                "app.toml");
    return show(app.problems);
  };
  CHECK(problems("") == "");
  CHECK(problems("[update]\nmax_surge = 1\n").find("update: says nothing for a federated app: one cluster is replaced")
        != std::string::npos);
  auto twice = parse_app_config("name = \"d\"\ncommand = [\"job\"]\n[federation]\nworkers = 1\nports = [\"s\", \"s\"]\n"
                                "head = { command = [\"h\"] }\nworker = { command = [\"w\"] }\n",
                                "app.toml");
  CHECK(show(twice.problems) == "app.toml:5:15: federation.ports[1]: \"s\" is listed twice; keep one\n");
  auto cards = parse_app_config("name = \"d\"\ncommand = [\"job\"]\n[federation]\nworkers = 1\n"
                                "head = { command = [\"h\"] }\n"
                                "worker = { command = [\"w\"], resources = { accelerators = { t4 = 0 } } }\n",
                                "app.toml");
  CHECK(show(cards.problems).find("federation.worker.resources.accelerators.t4: must be between 1 and 1024")
        != std::string::npos);
}
