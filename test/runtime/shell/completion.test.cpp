#include "runtime/shell/completion.hpp"

#include <doctest/doctest.h>

using namespace astra::shell;
using words = std::vector<std::string>;

namespace {

vocabulary known() {
  vocabulary result;
  result.subcommands = [](const words& before) -> words {
    if (before.empty())
      return {"node", "app", "ask", "ps", "spawn", "drain", "why"};
    if (before == words{"node"})
      return {"list", "show", "drain"};
    if (before == words{"app"})
      return {"list", "show", "apply"};
    return {};
  };
  result.options = [](const words& before) -> words {
    return before == words{"node", "list"} ? words{"--where", "--sort"} : words{};
  };
  result.apps = [] { return words{"ocr", "ocean", "über"}; };
  result.nodes = [] { return words{"node-1", "node-2"}; };
  result.messages = [](const std::string& app) { return app == "@c" ? words{"add", "get", "info"} : words{}; };
  result.fields = [](const std::string& app, const std::string& message) {
    return app == "@c" && message == "add" ? words{"amount=", "unit="} : words{};
  };
  result.variables = [] { return words{"c"}; };
  result.keys = [](const words& source) {
    return source == words{"ps"}   ? words{"restarts", "reason", "node"}
           : source == words{"$c"} ? words{"size"}
                                   : words{};
  };
  result.files = [](const std::string& begin) { return words{begin + "x.toml"}; };
  return result;
}

words at(std::string_view line) {
  return complete(line, known()).candidates;
}

} // namespace

TEST_CASE("what could stand at the cursor follows from what stands before it") {
  CHECK(at("no") == words{"node"});
  CHECK(at("node ") == words{"drain", "list", "show"});
  CHECK(at("node show ") == words{"node-1", "node-2"});
  CHECK(at("node list --w") == words{"--where"});
  CHECK(at("node list --node node-") == words{"node-1", "node-2"});
  CHECK(at("app show oc") == words{"ocean", "ocr"});
  CHECK(at("ask @") == words{"@c", "@ocean", "@ocr", "@über"});
  CHECK(at("ask @oc") == words{"@ocean", "@ocr"});
  CHECK(at("ask @c ") == words{"add", "get", "info"});
  CHECK(at("ask @c ad") == words{"add"});
  CHECK(at("ask @c add ") == words{"amount=", "unit="});
  CHECK(at("ask @c add amount=2 u") == words{"unit="});
  CHECK(at("ask ocr ").empty());
  CHECK(at("drain ") == words{"node-1", "node-2"});
  CHECK(at("ps | ") == words{"count", "limit", "select", "sort", "top", "where"});
  CHECK(at("ps | wh") == words{"where"});
  CHECK(at("ps | where res") == words{"restarts"});
  CHECK(at("ps | where restarts > 1 and no") == words{"node"});
  CHECK(at("ps | where restarts ").empty());
  CHECK(at("ps | count | sort -re") == words{"-reason", "-restarts"});
  CHECK(at("ps | select node,rea") == words{"reason"});
  CHECK(at("ps | select node, rea") == words{"reason"});
  CHECK(at("ps | select node rea").empty());
  CHECK(at("ps | top 3 n") == words{"node"});
  CHECK(at("$c | sort s") == words{"size"});
  CHECK(at("nothing | sort s").empty());
  CHECK(at("ps; nod") == words{"node"});
  CHECK(at("for i in 1..3 { as") == words{"ask"});
  CHECK(at("app apply ./") == words{"./x.toml"});
  CHECK(at("why node/") == words{"node/node-1", "node/node-2"});
  CHECK(at("echo $") == words{"$c"});
  CHECK(at("ask \"no").empty());
  CHECK(at("ps # no").empty());
}

TEST_CASE("what all candidates begin with never ends in half a character") {
  CHECK(completion{0, {"ocean", "ocr"}}.common() == "oc");
  CHECK(completion{0, {"ü", "ö"}}.common() == "");
  CHECK(completion{0, {"same"}}.common() == "same");
  CHECK(complete("node show node-", known()).begin == 10);
}
