#include "actors/resource/node_filter.hpp"

#include "test/actors/resource/node_rows.hpp"

#include <doctest/doctest.h>
#include <rapidcheck.h>

#include <string>

using namespace astra;
using namespace std::chrono_literals;
using test::staged_view;

namespace {

struct fixture {
  fixture() {
    auto& row = staged.add("node-1");
    staged_view::label(row, "topology.example/rack-2", "r7");
    staged_view::label(row, "zone", "a");
    row.mutable_load()->set_host_utilisation(0.85);
    row.mutable_load()->set_running(3);
    row.set_age_ms(1500);
    auto& card = *row.mutable_profile()->add_accelerators();
    card.set_kind("t4");
    card.set_count(2);
    for (auto index = 0u; index < 2; ++index) {
      auto& replica = *row.mutable_profile()->add_replicas();
      replica.set_app(index == 0 ? "ocr" : "web");
      replica.set_state(pb::REPLICA_READY);
      replica.mutable_resources()->set_cpu_milli(500);
      replica.mutable_resources()->set_memory_bytes(1ull << 30);
      auto& taken = *replica.mutable_resources()->add_accelerators();
      taken.set_kind("t4");
      taken.set_count(index);
    }
    node = staged.view().find(make_node_id("node-1"));
  }

  bool holds(const std::string& text) {
    auto filter = node_filter::parse(text);
    if (auto problem = std::get_if<node_filter::problem>(&filter)) {
      FAIL(text, ": ", problem->column, ": ", problem->message);
      return false;
    }
    return std::get<node_filter>(filter).matches(staged.view(), *node, "r1", staged.now);
  }

  staged_view staged;
  const node_entry* node = nullptr;
};

} // namespace

TEST_CASE_FIXTURE(fixture, "fields, labels, units and operators mean what they say") {
  for (auto text : {"",
                    "  ",
                    "util>0.8 and zone==\"a\"",
                    "util > 80%",
                    "util <= 85%",
                    "name == 'node-1'",
                    "name =~ \"node-*\"",
                    "name =~ '?ode-1'",
                    "state == \"online\"",
                    "state in ('suspect', \"online\")",
                    "state != 'offline'",
                    "not state == 'offline'",
                    "!(state == 'offline')",
                    "cores == 4",
                    "cores_free == 3",
                    "cores_reserved==1",
                    "memory == 8GiB",
                    "memory_free >= 6GiB",
                    "memory_reserved == 2048MiB",
                    "running == 3",
                    "running >= 3 && queued<1",
                    "queued == 0",
                    "age >= 1500ms",
                    "age < 2s",
                    "app == \"ocr\"",
                    "app in (\"x\", \"web\")",
                    "app =~ 'o?r'",
                    "app != 'x'",
                    "app not in ('x', 'y')",
                    "accelerator == 't4'",
                    "accelerators == 2",
                    "accelerators(\"t4\") > 1",
                    "accelerators('a10') == 0",
                    "accelerators_free == 1",
                    "resource == 'r1'",
                    "reason == ''",
                    "address =~ '10.0.0.7:*'",
                    "replicas == 2",
                    "label(\"zone\") == 'a'",
                    "label('none') != 'a'",
                    "not label('none') == 'a'",
                    "topology.example/rack-2 == 'r7'",
                    "zone < 'b'",
                    "util > 1 or cores in (2, 4)",
                    "util > 1 and util > 2 or util > 0",
                    "util > 0 or util > 1 and util > 2",
                    "not (util > 1 or zone == 'b')",
                    "zone=='a' or nothing=='b'",
                    "cores > -1",
                    "cores > 3.5e0"}) {
    CAPTURE(text);
    CHECK(holds(text));
  }
  for (auto text :
       {"util > 85%", "zone == 'b'", "zone != 'a'", "label('none') == ''", "label('none') =~ '*'", "app != 'ocr'",
        "app not in ('ocr')", "accelerator == 'T4'", "memory > 8GiB", "name == 'NODE-1'", "name =~ 'node'",
        "not util > 0", "util > 0 and util > 1", "(util > 1 or cores > 5) and zone == 'a'"}) {
    CAPTURE(text);
    CHECK_FALSE(holds(text));
  }
}

TEST_CASE("an error names the column and the cure") {
  struct row {
    const char* text;
    std::size_t column;
    const char* message;
  };
  const row rows[] = {
      {"util >", 7, "the filter ends too early; a value follows here; write it such as util > 0.8 or 80%"},
      {"util", 5, "the filter ends too early; a comparison follows here, such as util == 0.8 or 80%"},
      {"util > 0.8 and", 15, "the filter ends too early; a field follows here"},
      {"util = 0.8", 6, "'=' is no comparison; write =="},
      {"name ~ 'a'", 6, "write =~"},
      {"util > \"x\"", 8, "util is a number, and '\"x\"' is none"},
      {"zone == 'a' and utl > 0.8", 17, "no field 'utl'; did you mean 'util'?"},
      {"zone == a", 9, "zone is a text; write it in quotes, such as \"a\""},
      {"name == \"abc", 9, "no closing quote"},
      {"memory > 8", 10, "'8' has no unit; write it such as memory > 8GiB"},
      {"memory > 8GB2", 10, "'8GB2' is no size"},
      {"age > 5", 7, "'5' has no unit; write it such as age > 3s"},
      {"cores > 4GiB", 9, "cores has no unit 'GiB'"},
      {"util > 0.8.1", 8, "util has no unit '.1'"},
      {"state == 'onlin'", 10, "no state 'onlin'; did you mean 'online'?"},
      {"state in ('online', 'x')", 21, "no state 'x'; there are online, suspect, draining, offline"},
      {"(util > 0.8", 12, "the '(' of column 1 is not closed; add ')'"},
      {"util > 0.8)", 11, "')' closes nothing"},
      {"util > 0.8 zone == 'a'", 12, "nothing can follow here but 'and', 'or' or the end"},
      {"cores in 4", 10, "'in' needs a list, such as cores in (4)"},
      {"cores in (4", 12, "goes on with ',' or ends with ')'"},
      {"cores not 4", 7, "'in' must follow 'not' here"},
      {"and util > 1", 1, "a field must stand before 'and'"},
      {"app > 'a'", 5, "app has no order"},
      {"util =~ '1*'", 6, "=~ is for texts"},
      {"zone('a') == 'b'", 1, "'zone' takes nothing in parentheses"},
      {"label == 'a'", 1, "label needs its key"},
      {"label(zone) == 'a'", 7, "a text must stand here, such as label(\"zone\")"},
      {"5 > util", 1, "a field must stand here"},
      {"util @ 5", 6, "a comparison must stand here"},
  };
  for (auto& row : rows) {
    CAPTURE(row.text);
    auto parsed = node_filter::parse(row.text);
    auto problem = std::get_if<node_filter::problem>(&parsed);
    REQUIRE(problem);
    CHECK(problem->column == row.column);
    INFO(problem->message);
    CHECK(problem->message.find(row.message) != std::string::npos);
  }
}

TEST_CASE("a bare word that is no field is a label, and a suggestion when nobody has it") {
  auto parsed = node_filter::parse("zone == 'a' and utl > 'b'");
  auto& labels = std::get<node_filter>(parsed).bare_labels();
  REQUIRE(labels.size() == 2);
  CHECK(labels[1].key == "utl");
  CHECK(labels[1].column == 17);
  auto problem = node_filter::unknown_label(labels[1]);
  CHECK(problem.column == 17);
  CHECK(problem.message == "no field 'utl', and no node has a label of that name; did you mean 'util'?");
  CHECK(node_filter::unknown_label({1, "gpuzone9"}).message.ends_with("write label(\"gpuzone9\")"));
}

TEST_CASE("depth and length are bounded, and no text makes the parser crash") {
  CHECK(std::holds_alternative<node_filter::problem>(node_filter::parse(std::string(3000, '('))));
  CHECK(std::holds_alternative<node_filter::problem>(node_filter::parse(std::string(5000, ' ') + "x")));
  std::string many_nots;
  for (auto i = 0; i < 500; ++i)
    many_nots += "not ";
  CHECK(std::holds_alternative<node_filter::problem>(node_filter::parse(many_nots + "util > 1")));
  const std::vector<std::string> words{"util", ">",  "0.8", "and",  "or", "not", "(",     ")",  "in", ",",  "zone",
                                       "==",   "'a", "'a'", "8GiB", "%",  "!",   "label", "\"", "\\", "=~", "\xff"};
  CHECK(rc::check("random words", [&] {
    std::string text;
    for (auto i : *rc::gen::container<std::vector<std::size_t>>(rc::gen::inRange<std::size_t>(0, words.size())))
      text += words[i] + (i % 3 == 0 ? "" : " ");
    auto parsed = node_filter::parse(text);
    if (auto problem = std::get_if<node_filter::problem>(&parsed))
      RC_ASSERT(problem->column >= 1 && problem->column <= text.size() + 1 && !problem->message.empty());
  }));
}

TEST_CASE("a glob takes no longer than its text, whatever it looks like") {
  CHECK(glob_matches("", ""));
  CHECK(glob_matches("*", ""));
  CHECK(glob_matches("a*b*c", "axxbxxbc"));
  CHECK(glob_matches("**a**", "xxaxx"));
  CHECK_FALSE(glob_matches("?", ""));
  CHECK_FALSE(glob_matches("a*b", "acbd"));
  std::string hard;
  for (auto i = 0; i < 1000; ++i)
    hard += "a*";
  CHECK_FALSE(glob_matches(hard + "b", std::string(3000, 'a')));
}
