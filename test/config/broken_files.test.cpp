#include "test/config/config_files.hpp"

#include <doctest/doctest.h>

#include <string>
#include <vector>

using namespace astra;
using namespace astra::test;

namespace {

struct broken_file {
  std::string text;
  /// "line:column: key: " and what follows, as far as it matters.
  std::string place;
  std::string words;
};

const std::string good = minimal;

// The place of what is appended to the minimal file starts at line 4.
const std::vector<broken_file> broken_process_files = {
    // Misspelt and misplaced keys.
    {"nmae = \"n1\"\nroles = [\"node\"]\nresources = [\"a:1\"]\n", "1:1: nmae: ", "did you mean 'name'?"},
    {good + "[node]\nhearbeat = \"1s\"\n", "5:1: node.hearbeat: ", "unknown key; did you mean 'heartbeat'?"},
    {good + "[nodes]\nheartbeat = \"1s\"\n", "4:2: nodes: ", "did you mean 'node'?"},
    {good + "[node]\nsweep = \"1s\"\n", "5:1: node.sweep: ", "it belongs in [resource]"},
    {good + "heartbeat = \"1s\"\n", "4:1: heartbeat: ", "it belongs in [net] or [node]"},
    {good + "[node]\nstate_dir = \"/x\"\n", "5:1: node.state_dir: ", "at the top of the file"},
    {good + "[node]\nqueue-per-slot = 2\n", "5:1: node.queue-per-slot: ", "did you mean 'queue_per_slot'?"},
    {good + "[log]\nLevel = \"info\"\n", "5:1: log.Level: ", "did you mean 'level'?"},
    {good + "[drain]\nqqq = 1\n", "5:1: drain.qqq: ", "there are: wait"},
    {good + "[capacity]\ncores_auto = true\n", "5:1: capacity.cores_auto: ", "did you mean 'cores'?"},
    // Wrong types.
    {good + "[node]\nheartbeat = 1\n",
     "5:13: node.heartbeat: ", "a duration in quotes, such as \"200ms\", not the number 1"},
    {good + "[net]\nlisten = 9700\n", "5:10: net.listen: ", "must be text in quotes, not the number 9700"},
    {good + "[node]\nqueue_per_slot = \"2\"\n", "5:18: node.queue_per_slot: ", "a whole number, not the text \"2\""},
    {good + "[node]\nqueue_per_slot = 2.5\n", "5:18: node.queue_per_slot: ", "a whole number, not the number 2.5"},
    {good + "[router]\nretry_budget = \"10%\"\n", "5:16: router.retry_budget: ", "must be a number"},
    {good + "[router]\nretry_budget = nan\n", "5:16: router.retry_budget: ", "finite"},
    {good + "node = 3\n", "4:8: node: ", "must be a table, [node], not the number 3"},
    {good + "[[node]]\nheartbeat = \"1s\"\n", "4:1: node: ", "must be a table, [node], not a list"},
    {"name = \"n\"\nroles = \"node\"\nresources = [\"a:1\"]\n", "2:9: roles: ", "must be a list in brackets"},
    {"name = \"n\"\nroles = [1]\nresources = [\"a:1\"]\n", "2:10: roles[0]: ", "must be text in quotes"},
    {"name = true\nroles = [\"node\"]\nresources = [\"a:1\"]\n", "1:8: name: ", "must be text in quotes, not true"},
    {good + "[node]\nlabels = [\"zone\"]\n", "5:10: node.labels: ", "must be a table, not a list"},
    {good + "[node]\nlabels = { zone = 3 }\n", "5:19: node.labels.zone: ", "must be text in quotes"},
    {good + "[capacity]\naccelerators = [\"t4\"]\n", "5:17: capacity.accelerators[0]: ", "must be a table"},
    {good + "[capacity]\ncores = \"all\"\n", "5:9: capacity.cores: ", "4 or 0.5, or \"auto\", not the text \"all\""},
    {good + "[net]\nheartbeat = 2020-01-01\n", "5:13: net.heartbeat: ", "not a date or time"},
    // Units.
    {good + "[node]\nheartbeat = \"1\"\n", "5:13: node.heartbeat: ", "has no unit; write \"1s\""},
    {good + "[node]\nheartbeat = \"1S\"\n", "5:13: node.heartbeat: ", "did you mean '1s'?"},
    {good + "[node]\nheartbeat = \"-1s\"\n", "5:13: node.heartbeat: ", "negative"},
    {good + "[gateway]\nbody_limit = \"8gb\"\n", "5:14: gateway.body_limit: ", "did you mean '8GB'?"},
    {good + "[gateway]\nbody_limit = 8\n", "5:14: gateway.body_limit: ", "a size in quotes"},
    // Out of range.
    {good + "[node]\nqueue_per_slot = -1\n", "5:18: node.queue_per_slot: ", "at least 0, not -1"},
    {good + "[node]\nqueue_per_slot = 5000000000\n", "5:18: node.queue_per_slot: ", "at most 4294967295"},
    {good + "[router]\ntries = 0\n", "5:9: router.tries: ", "between 1 and 64, not 0"},
    {good + "[router]\nretry_budget = 1.5\n", "5:16: router.retry_budget: ", "between 0 and 1"},
    {good + "[router]\nnear = [\"zone=a\", \"zone\"]\n", "5:19: router.near[1]: ", "such as \"zone=a\""},
    {good + "[router]\nnear = [\"=a\"]\n", "5:9: router.near[0]: ", "key"},
    {good + "[router]\nshare = \"17/16\"\n", "5:9: router.share: ", "such as \"3/16\""},
    {good + "[router]\nshare = \"1/2/3\"\n", "5:9: router.share: ", "which of how many"},
    {good + "[gateway]\nbody_limit = \"1B\"\n", "5:14: gateway.body_limit: ", "between \"1KiB\" and \"64MiB\""},
    {good + "[drain]\nwait = \"0s\"\n", "5:8: drain.wait: ", "between \"1ms\" and \"24h\", not \"0s\""},
    {good + "[drain]\nwait = \"2d\"\n", "5:8: drain.wait: ", "not \"2d\""},
    {good + "[capacity]\ncores = 0\n", "5:9: capacity.cores: ", "between 0.001 and 100000 cores"},
    {good + "[[capacity.accelerators]]\nkind = \"t4\"\ncount = 0\n",
     "6:9: capacity.accelerators[0].count: ", "between 1"},
    {good + "[[capacity.accelerators]]\ncount = 1\n", "4:1: capacity.accelerators[0].kind: ", "missing"},
    {good + "[[capacity.accelerators]]\nkind = \"t4\"\ncoefficient = -1\n",
     "6:15: capacity.accelerators[0].coefficient: ", "above 0"},
    // Words and names.
    {"name = \"n\"\nroles = [\"nod\"]\nresources = [\"a:1\"]\n", "2:10: roles[0]: ", "did you mean 'node'?"},
    {"name = \"n\"\nroles = [\"worker\"]\nresources = [\"a:1\"]\n", "2:10: roles[0]: ", "use one of node, resource"},
    {"name = \"n\"\nroles = [\"node\", \"node\"]\nresources = [\"a:1\"]\n", "2:18: roles[1]: ", "listed twice"},
    {"name = \"n 1\"\nroles = [\"node\"]\nresources = [\"a:1\"]\n", "1:8: name: ", "at position 2"},
    {"name = \"\"\nroles = [\"node\"]\nresources = [\"a:1\"]\n", "1:8: name: ", "missing; give the process a name"},
    {good + "[log]\nlevel = \"warning\"\n", "5:9: log.level: ", "did you mean 'warn'?"},
    {good + "[node]\ntaints = [\"spot\", \"a b=c\"]\n",
     "5:19: node.taints[1]: ", "the taint's key \"a b\" holds a character"},
    {good + "[node.labels]\n\"a b\" = \"x\"\n", "5:9: node.labels.\"a b\": ", "at position 2"},
    // Addresses.
    {"name = \"n\"\nroles = [\"node\"]\nresources = [\"here\"]\n", "3:14: resources[0]: ", "write \"host:port\""},
    {"name = \"n\"\nroles = [\"node\"]\nresources = [\"a:0\"]\n", "3:14: resources[0]: ", "port 0"},
    {"name = \"n\"\nroles = [\"node\"]\nresources = [\"a:1\", \"a:1\"]\n", "3:21: resources[1]: ", "listed twice"},
    {good + "[net]\nlisten = \"0.0.0.0:9700\"\n",
     "5:10: net.listen: ", "write theirs as net.advertise = \"host:port\""},
    {good + "[net]\nlisten = \"10.1.2.3:9700\"\n",
     "5:10: net.listen: ", "nothing protects it; name certificates in [tls] (see astra ca --help), listen on loopback"},
    {good + "[net]\nedge_listen = \"10.1.2.3:9700\"\n",
     "5:15: net.edge_listen: ", "or write net.insecure = \"anyone who can connect may command this cluster\""},
    {good + "[net]\nadvertise = \"example.org\"\n", "5:13: net.advertise: ", "is not an address"},
    {good + "[net]\nadvertise = \"example.org:0\"\n", "5:13: net.advertise: ", "has port 0"},
    {good + "[net]\ninsecure = \"yes\"\n",
     "5:12: net.insecure: ", "must be exactly \"anyone who can connect may command this cluster\", or left out"},
    {good + "[net]\ncluster = \"a b\"\n", "5:11: net.cluster: ", "at position 2"},
    {good + "[net]\nsessions_max = 0\n", "5:16: net.sessions_max: ", "between 1 and 1000000"},
    {"name = \"g\"\nroles = [\"gateway\"]\nresources = [\"a:1\"]\n[gateway]\nlisten = \"10.1.2.3:80\"\n",
     "5:10: gateway.listen: ", "nothing protects it; name certificates in [tls]"},
    {good + "[store]\nsize = \"12B\"\n", "5:8: store.size: ", "must be between \"1MiB\""},
    {good + "[store]\nlisten = \"node-7:6881\"\n", "5:10: store.listen: ", "an address in digits"},
    {good + "[store]\nlisten = \"0.0.0.0:6881\"\n", "5:10: store.listen: ", "tells other nodes no address"},
    {good + "[store]\norder = \"random\"\n", "5:9: store.order: ", "use one of planned, rarest, shuffled"},
    {good + "[store]\nlink_share = 1.5\n", "5:14: store.link_share: ", "between 0.05 and 1"},
    {good + "[store]\nupload_limit = \"10B\"\n", "5:16: store.upload_limit: ", "must be between \"1KiB\""},
    {good + "[metrics]\nlisten = \"10.1.2.3:9760\"\n",
     "5:10: metrics.listen: ", "nothing protects it; name certificates in [tls]"},
    {good + "[metrics]\nlisten = \"9760\"\n", "5:10: metrics.listen: ", "is not an address; write \"host:port\""},
    {good + "[metrics]\nport = 9760\n", "5:1: metrics.port: ", "unknown key"},
    // Certificates.
    {good + "[tls]\ncertificate = \"n.pem\"\nca = \"ca.pem\"\n",
     "5:15: tls.key: ", "missing; TLS needs certificate, key and ca together"},
    {good + "[tls]\nrevoked = \"r.pem\"\n", "5:11: tls.ca: ", "missing; TLS needs certificate, key and ca together"},
    {good
         + "[net]\ninsecure = \"anyone who can connect may command this cluster\"\n"
           "[tls]\ncertificate = \"n.pem\"\nkey = \"n.key\"\nca = \"ca.pem\"\n",
     "5:12: net.insecure: ", "contradicts [tls]; remove one of them"},
    {good + "[gateway]\nca_dir = \"ca\"\n", "5:10: gateway.ca_dir: ", "needs [tls]"},
    {good + "[gateway]\napps = [\"ocr\", \"no/app\"]\n", "5:16: gateway.apps[1]: ", "at position 3"},
    {good + "[gateway]\napps = [\"ocr\", \"ocr\"]\n", "5:16: gateway.apps[1]: ", "listed twice"},
    // Impossible combinations.
    {good + "[resource]\nevict_after = \"200ms\"\nsweep = \"500ms\"\n",
     "5:15: resource.evict_after: ", "\"200ms\" is shorter than 2 sweeps of \"500ms\"; make it at least \"1s\""},
    {good + "[resource]\nsweep = \"2s\"\n", "5:9: resource.evict_after: ", "shorter than 2 sweeps of \"2s\""},
    {good + "[resource]\nevict_after = \"1s\"\n",
     "5:15: resource.evict_after: ", "shorter than resource.suspect_after = \"1500ms\""},
    {good + "[node]\nheartbeat = \"2s\"\n", "5:13: resource.suspect_after: ", "shorter than node.heartbeat = \"2s\""},
    {good + "[node]\nhome_silence = \"1s\"\n", "5:16: node.home_silence: ", "shorter than 2 heartbeats"},
    {good + "[net]\ntimeout = \"300ms\"\n", "5:11: net.timeout: ", "shorter than 2 heartbeats of \"200ms\""},
    {good + "[scheduler]\nclaim_timeout = \"1s\"\n",
     "5:17: scheduler.claim_timeout: ", "longer than resource.claim_timeout"},
    {good + "[resource]\norphan_grace = \"1s\"\n", "5:16: resource.orphan_grace: ", "shorter than node.home_silence"},
    {"name = \"n\"\nroles = [\"node\"]\n", "2:9: resources: ", "a node needs a Resource to join"},
    {"name = \"n\"\nroles = [\"resource\", \"gateway\"]\n", "2:9: resources: ", "give net.listen a fixed port"},
    {"resources = [\"a:1\"]\n", "1:1: name: ", "missing"},
    {"name = \"n\"\n", "1:1: roles: ", "missing; say what this process is"},
    {"name = \"n\"\nroles = []\n", "2:9: roles: ", "missing; say what this process is"},
    // CAF.
    {good + "[caf.scheduler]\nmax-thread = 2\n", "5:1: caf.scheduler.max-thread: ", "did you mean 'max-threads'?"},
    {good + "[caf.scheduler]\nmax-threads = 0\n", "5:15: caf.scheduler.max-threads: ", "at least 1"},
    {good + "[caf.scheduler]\npolicy = \"fair\"\n", "5:10: caf.scheduler.policy: ", "use one of sharing, stealing"},
    {good + "[caf.middleman]\nheartbeat-interval = \"1s\"\n",
     "5:1: caf.middleman.heartbeat-interval: ", "write net.heartbeat instead"},
    {good + "[caf.middleman.prometheus-http]\nport = 1\n", "4:16: caf.middleman.prometheus-http: ", "remove it"},
    // References.
    {good + "state_dir = \"${NOT_SET}\"\n",
     "4:13: state_dir: ", "NOT_SET is not set; set it or write ${NOT_SET:-default}"},
    {good + "state_dir = \"${\"\n", "4:13: state_dir: ", "not closed"},
    {good + "include = [\"other.toml\"]\n", "4:12: include: ", "cannot be opened"},
    {good + "[scheduler]\napps = [\"other.toml\"]\n", "5:9: scheduler.apps[0]: ", "cannot be opened"},
    {good + "[log]\nfile = \"a\\u0000b\"\n", "5:8: log.file: ", "\\u0000"},
    // Syntax.
    {good + "name = \"n2\"\n", "4:8: ", "key 'name' is given twice; keep one"},
    {good + "[net]\n[net]\n", "5:1: ", "table 'net' is opened twice; join both into one"},
    {good + "[net\n", "4:5: ", "not TOML"},
    {good + "state_dir = \"/x\n", "4:16: ", "the text is not closed on its line"},
    {good + "resources2 = [\"a\",\n", "4:20: ", "the file ends inside an array"},
    {good + "state_dir = \n", "4:13: ", "a value is missing"},
    {good + "state_dir = /var\n", "4:13: ", "text stands in quotes"},
    {good + "[net]\nheartbeat = 1s\n", "5:14: ", "in quotes, such as \"5s\""},
    {good + "a\n", "4:2: ", "not TOML"},
    {good + "[[[a]]]\n[log]\n", "4:1: ", "this line is malformed"},
    {good + "[net]\na.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a = 1\n", "5:32: ", "too many parts"},
    {good + "state_dir = \"\xff\"\n", "4:13: ", "not UTF-8"},
};

const std::string good_actor = "name = \"a\"\nkind = \"actor\"\n[actor]\ntype = \"tally\"\n";
const std::string good_app = "name = \"a\"\ncommand = [\"cat\"]\n";

// The place of what is appended starts at line 3.
const std::vector<broken_file> broken_app_files = {
    {"name = \"OCR\"\ncommand = [\"cat\"]\n", "1:8: name: ", "lower-case letters"},
    {"name = \"-a\"\ncommand = [\"cat\"]\n", "1:8: name: ", "start and end with"},
    {"name = \"" + std::string(64, 'a') + "\"\ncommand = [\"cat\"]\n", "1:8: name: ", "at most 63"},
    {"command = [\"cat\"]\n", "1:1: name: ", "missing"},
    {"name = \"a\"\n", "1:1: command: ", "missing; name the program"},
    {"name = \"a\"\ncommand = \"cat -n\"\n", "2:11: command: ", "must be a list"},
    {"name = \"a\"\ncommand = [\"\"]\n", "2:12: command[0]: ", "is empty"},
    {good_app + "replica = 3\n", "3:1: replica: ", "did you mean 'replicas'?"},
    {good_app + "replicas = -3\n", "3:12: replicas: ", "at least 0"},
    {good_app + "concurrency = 0\n", "3:15: concurrency: ", "between 1 and 10000"},
    {good_app + "timeout = 30\n", "3:11: timeout: ", "a duration in quotes"},
    {good_app + "timeout = \"0s\"\n", "3:11: timeout: ", "between"},
    {good_app + "idempotent = \"yes\"\n", "3:14: idempotent: ", "true or false"},
    {good_app + "content = [\"ocr\"]\n", "3:12: content[0]: ", "names no version"},
    {good_app + "content = [\"ocr@0\"]\n", "3:12: content[0]: ", "no version that is a number from 1"},
    {good_app + "content = [\"o cr@1\"]\n", "3:12: content[0]: ", "at position 2"},
    {good_app + "content = [\"ocr@1\", \"ocr@2\"]\n", "3:21: content[1]: ", "is named twice"},
    {good_app + "content = [\"ocr@1\"]\nenv = { M = \"{content.ocd}\" }\n", "4:", "\"ocd\" is not in content"},
    {good_app + "content = [\"ocr@1\"]\nenv = { M = \"{content.ocd.url}\" }\n", "4:", "\"ocd\" is not in content"},
    {good_app + "kind = \"proces\"\n", "3:8: kind: ", "did you mean 'process'?"},
    {good_app + "mode = \"daemon\"\n", "3:8: mode: ", "per-request, server"},
    {good_app + "cpu = 1\n", "3:1: cpu: ", "it belongs in [resources]"},
    {good_app + "[resources]\ncpu = 0\n", "4:7: resources.cpu: ", "between 0.001"},
    {good_app + "[resources]\nmemory = \"8G\"\n", "4:10: resources.memory: ", "did you mean '8GB'?"},
    {good_app + "[resources]\nmemory = \"1KiB\"\n", "4:10: resources.memory: ", "between \"1MiB\""},
    {good_app + "[resources]\naccelerators = { t4 = 0 }\n", "4:23: resources.accelerators.t4: ", "between 1"},
    {good_app + "[restart]\nbackoff_min = \"1m\"\n", "4:15: restart.backoff_max: ", "shorter than restart.backoff_min"},
    {good_app + "[server]\npath = \"/\"\n", "3:1: server: ", "mode = \"server\""},
    {good_app + "[actor]\ntype = \"echo\"\n", "3:1: actor: ", "kind = \"actor\""},
    {good_app + "mode = \"server\"\n[output]\nlimit = \"1MiB\"\n", "4:1: output: ", "mode = \"per-request\""},
    {good_app + "mode = \"server\"\n[server]\npath = \"invoke\"\n", "5:8: server.path: ", "start it with '/'"},
    {"name = \"a\"\nkind = \"actor\"\n", "2:8: actor.type: ", "missing; name the registered actor"},
    {"name = \"a\"\nkind = \"actor\"\ncommand = [\"x\"]\n[actor]\ntype = \"echo\"\n",
     "3:11: command: ", "kind = \"process\""},
    {good_actor + "library = \"tally\"\n", "5:11: actor.library: ", "write such as \"tally@1\" for a content"},
    {good_actor + "library = \"tally@0\"\n", "5:11: actor.library: ", "no version that is a number from 1"},
    {good_actor + "library = \"ta lly@1\"\n", "5:11: actor.library: ", "at position 3"},
    {good_actor + "library = \"{tally}\"\n", "5:11: actor.library: ", "neither a content"},
    {good_actor + "library = \"{content.tally}\"\n", "5:11: actor.library: ", "\"tally\" is not in content"},
    {good_actor + "librery = \"tally@1\"\n", "5:1: actor.librery: ", "did you mean 'library'?"},
    {"content = [\"tally@1\"]\n" + good_actor + "library = \"tally@2\"\n",
     "6:11: actor.library: ", "is not the version that content names, \"tally@1\""},
    {good_app + "env = { \"1X\" = \"y\" }\n", "3:16: env.1X: ", "cannot name a variable"},
    {good_app + "env = { X = [] }\n", "3:13: env.X: ", "must be text"},
    {good_app + "include = [\"x\"]\n", "3:1: include: ", "unknown key"},
};

} // namespace

TEST_CASE("broken process files are each refused with the place and the cure") {
  REQUIRE(broken_process_files.size() >= 30);
  for (auto& [text, place, words] : broken_process_files) {
    CAPTURE(text);
    auto problems = show(load_text(text).problems);
    CAPTURE(problems);
    auto at = problems.find("node.toml:" + place);
    CHECK(at != std::string::npos);
    CHECK(problems.find(words, at) != std::string::npos);
  }
}

TEST_CASE("with certificates, or the sentence for going without, a process may listen beyond loopback") {
  auto open = std::string{"name = \"g\"\nroles = [\"gateway\"]\nresources = [\"a:1\"]\n"
                          "[gateway]\nlisten = \"0.0.0.0:443\"\n"};
  auto net = std::string{"[net]\nlisten = \"0.0.0.0:9700\"\nadvertise = \"g.example:9700\"\n"};
  CHECK(show(load_text(open + net + "[tls]\ncertificate = \"g.pem\"\nkey = \"g.key\"\nca = \"ca.pem\"\n").problems)
        == "");
  CHECK(show(load_text(open + net + "insecure = \"anyone who can connect may command this cluster\"\n").problems)
        == "");
}

TEST_CASE("broken app files are each refused with the place and the cure, and give no spec") {
  for (auto& [text, place, words] : broken_app_files) {
    CAPTURE(text);
    auto app = parse_app_config(text, "app.toml");
    auto problems = show(app.problems);
    CAPTURE(problems);
    CHECK_FALSE(app.spec);
    auto at = problems.find("app.toml:" + place);
    CHECK(at != std::string::npos);
    CHECK(problems.find(words, at) != std::string::npos);
  }
}

TEST_CASE("a broken file is complained about once per mistake, not for what follows from it") {
  for (auto& [text, place, words] : broken_process_files) {
    CAPTURE(text);
    auto problems = load_text(text).problems;
    CAPTURE(show(problems));
    // Rules that share a value may break together: a slow heartbeat is too slow for four of them.
    CHECK(problems.size() <= 4);
  }
}

TEST_CASE("all mistakes of a file are shown at once, in the order of their places") {
  auto config = load_text("name = \"n1\"\nroles = [\"nod\"]\n[node]\nhearbeat = \"1s\"\nhome_silence = 3\n"
                          "[router]\ntries = 99\n");
  CHECK(show(config.problems)
        == "node.toml:2:10: roles[0]: unknown value \"nod\"; did you mean 'node'?\n"
           "node.toml:4:1: node.hearbeat: unknown key; did you mean 'heartbeat'?\n"
           "node.toml:5:16: node.home_silence: must be a duration in quotes, such as \"200ms\", not the number 3\n"
           "node.toml:7:9: router.tries: must be between 1 and 64, not 99\n");
}

TEST_CASE("what stands before a syntax error is checked too") {
  auto config = load_text(minimal + "[node]\nhearbeat = \"1s\"\n[net\n");
  CHECK(show(config.problems)
        == "node.toml:5:1: node.hearbeat: unknown key; did you mean 'heartbeat'?\n"
           "node.toml:6:5: not TOML (table header): expected ']', saw '\\n'\n");
}

TEST_CASE("a file that is not there, a folder and an endless file are refused") {
  config_files files;
  auto missing = load_process_config(files.path("none.toml"), no_environment);
  REQUIRE(missing.problems.size() == 1);
  CHECK(to_string(missing.problems[0]) == files.path("none.toml") + ": cannot be opened: No such file or directory");
  CHECK(show(load_process_config(files.path("."), no_environment).problems).find("is a directory")
        != std::string::npos);
  CHECK(show(load_process_config("/dev/zero", no_environment).problems)
        == "zero: is larger than 4 MiB; this is no configuration\n");
  CHECK(show(load_app_config("/dev/zero", no_environment).problems).find("larger") != std::string::npos);
}
