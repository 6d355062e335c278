#include "runtime/shell/session_record.hpp"

#include "messages/errc.hpp"
#include "messages/type_ids.hpp"
#include "runtime/shell/parse.hpp"

#include <doctest/doctest.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

using namespace astra;
using namespace astra::shell;

namespace {

struct fixture {
  fixture() {
    static std::atomic<int> number{0};
    path = std::filesystem::temp_directory_path()
           / ("astra-record-" + std::to_string(::getpid()) + "-" + std::to_string(++number) + ".astra");
  }
  ~fixture() { std::filesystem::remove(path); }

  void say(std::string_view text, const std::string& failure = {}) {
    auto parsed = parse(text);
    REQUIRE_MESSAGE(!parsed.error, parsed.error->message);
    for (auto& one : parsed.statements)
      record.note(one, failure);
  }

  void begin() {
    REQUIRE(!record.start(path.string()));
    // It is a statement that was typed, too.
    say(":record somewhere");
  }

  /// Without the line that says what it is.
  std::string written() const {
    std::ifstream in{path};
    std::stringstream all;
    all << in.rdbuf();
    auto text = all.str();
    return text.substr(text.find('\n') + 1);
  }

  std::filesystem::path path;
  session_record record;
};

} // namespace

TEST_CASE_FIXTURE(fixture, "what succeeded is written, what failed is a comment, and what is of the session is not") {
  say("ps");
  begin();
  say("spawn counter init=40 as c");
  say("ask @nobody 1", "no app 'nobody'\n  did you mean 'c'?");
  say(":mode json");
  say("help ask");
  say("ask @c 2\nexpect $ == 42");
  say("for i in 1..3 {\nask @c $i\n}");
  say("every 1s { ps }");
  CHECK(record.statements() == 4);
  REQUIRE(!record.stop());
  say("status");
  CHECK(written()
        == "spawn counter init=40 as c\n"
           "# failed: ask @nobody 1\n#   no app 'nobody'\n#   did you mean 'c'?\n"
           "ask @c 2\nexpect $ == 42\nfor i in 1..3 { ask @c $i }\n# goes on until ^C: every 1s { ps }\n");
}

TEST_CASE_FIXTURE(fixture, "numbers of results are those that they have in the script") {
  say("ps; status");
  begin();
  say("app list"); // $4: :record was $3
  say(":mode csv");
  say("node list | count"); // $6
  say("$4 | count; expect $6 == $7; ask a \"${6} of $4\" $4.0.name");
  REQUIRE(!record.stop());
  CHECK(written() == "app list\nnode list | count\n$1 | count\nexpect $2 == $3\nask a \"${2} of \\$4\" $1.0.name\n");
}

TEST_CASE_FIXTURE(fixture, "what was typed before and is referred to comes first, once") {
  say("spawn counter as c");
  say("spawn echo as unused");
  say("ask @c 5 as five");
  say("ps"); // $4
  begin();
  say("ask @c $five");
  say("$4 | count");
  say("expect @c.ready == $five");
  REQUIRE(!record.stop());
  CHECK(written() == "spawn counter as c\nask @c 5 as five\nask @c $five\nps\n$4 | count\nexpect @c.ready == $five\n");
}

TEST_CASE_FIXTURE(fixture, "the last result is that of the session, whatever came between") {
  say("ps");
  begin();
  say("ask a 1"); // $3
  say(":mode json");
  say("ask a 2"); // $5
  say("node nothing", "no such");
  say("expect $ == 2");
  say("$3 | count");
  say("expect $ == 1");
  REQUIRE(!record.stop());
  CHECK(written().ends_with(
      "ask a 1\nask a 2\n# failed: node nothing\n#   no such\nexpect $ == 2\n$1 | count\nexpect $ == 1\n"));
}

TEST_CASE_FIXTURE(fixture, "a loop's own names are not looked for outside of it") {
  say("for i in 1..2 { ask a $i as x }");
  begin();
  say("for i in 1..3 { ask a $i as x; expect $x == $i }");
  say("expect $x == 3");
  REQUIRE(!record.stop());
  CHECK(written() == "for i in 1..3 { ask a $i as x; expect $x == $i }\nexpect $x == 3\n");
}

TEST_CASE_FIXTURE(fixture, "no file is written over, and one recording at a time") {
  std::ofstream{path} << "mine\n";
  auto refused = record.start(path.string());
  CHECK(refused == errc::conflict);
  CHECK(error_text(refused) == path.string() + " is there already; name a new file");
  CHECK(record.stop() == errc::invalid_argument);
  std::filesystem::remove(path);
  begin();
  CHECK(record.start("/tmp/another") == errc::conflict);
  REQUIRE(!record.stop());
  CHECK(record.start("/nowhere/at/all") == errc::io_failed);
}
