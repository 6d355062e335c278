#include "config/expand.hpp"

#include "test/config/config_files.hpp"

#include <doctest/doctest.h>
#include <rapidcheck.h>

using namespace astra;
using namespace astra::test;

TEST_CASE("variables are put in, with defaults, and $$ is one dollar") {
  auto environment = fixed_environment({{"HOST", "h7"}, {"EMPTY", ""}});
  CHECK(expand("node-${HOST}", environment).text == "node-h7");
  CHECK(expand("${HOST}${HOST}", environment).variables.size() == 2);
  CHECK(expand("${ZONE:-sz3}", environment).text == "sz3");
  CHECK(expand("${EMPTY:-sz3}", environment).text == "sz3");
  CHECK(expand("${EMPTY}", environment).text.empty());
  CHECK(expand("${HOST:-other}", environment).text == "h7");
  CHECK(expand("$${HOST}", environment).text == "${HOST}");
  CHECK(expand("a$$b", environment).text == "a$b");
  CHECK(expand("echo $1 $HOME $", environment).text == "echo $1 $HOME $");
}

TEST_CASE("a reference that cannot be put in says why and the cure") {
  CHECK(expand("${ZONE}", no_environment).problem
        == "environment variable ZONE is not set; set it or write ${ZONE:-default}");
  CHECK(expand("${ZONE}", fixed_environment({{"ZONE", "\xff"}})).problem
        == "environment variable ZONE is not UTF-8 text; set it to some");
  CHECK(expand("${ZONE", no_environment).problem.find("not closed") != std::string::npos);
  CHECK(expand("${a-b}", no_environment).problem.find("names no variable") != std::string::npos);
  CHECK(expand("${}", no_environment).problem.find("names no variable") != std::string::npos);
  CHECK(expand("${HOST}", {}).problem.find("only a file is expanded") != std::string::npos);
}

TEST_CASE("a text without dollars stays as it is, and doubled dollars come back single") {
  CHECK(rc::check([](const std::string& text) {
    std::string doubled;
    for (auto c : text)
      doubled += c == '$' ? std::string{"$$"} : std::string{c};
    auto result = expand(doubled, no_environment);
    RC_ASSERT(result.problem.empty());
    RC_ASSERT(result.text == text);
  }));
}
