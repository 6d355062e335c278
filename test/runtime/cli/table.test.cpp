#include "runtime/cli/table.hpp"

#include <doctest/doctest.h>

using namespace astra;

TEST_CASE("a CJK character is 2 columns wide, a combining accent 0, an invalid byte 1") {
  CHECK(display_width("node") == 4);
  CHECK(display_width("模型") == 4);
  CHECK(display_width("e\u0301") == 1);
  CHECK(display_width("\xff") == 1);
  CHECK(display_width("") == 0);
}

TEST_CASE("columns line up by display width and no line ends in spaces") {
  text_table table{{{"NAME"}, {"N", align::right}, {"REASON"}}};
  table.add({"模型", "7", "needs 4 cores, 1.5 free"});
  table.add({"plain-name", "12", ""});
  CHECK(table.render(false)
        == "NAME         N  REASON\n"
           "模型         7  needs 4 cores, 1.5 free\n"
           "plain-name  12\n");
}

TEST_CASE("a column without content is left out") {
  text_table table{{{"NAME"}, {"REASON"}, {"AGE"}}};
  table.add({"a", "", "1s"});
  CHECK(table.render(false) == "NAME  AGE\na     1s\n");
}

TEST_CASE("a cell of 1000 characters is printed whole") {
  text_table table{{{"REASON"}}};
  table.add({std::string(1000, 'x')});
  CHECK(table.render(false).find(std::string(1000, 'x')) != std::string::npos);
}

TEST_CASE("colours appear only when asked for and do not move columns") {
  text_table table{{{"STATE"}, {"AGE"}}};
  table.add({{"online", tone::good}, "1s"});
  CHECK(table.render(false) == "STATE   AGE\nonline  1s\n");
  CHECK(table.render(true) == "\033[1mSTATE\033[0m   \033[1mAGE\033[0m\n\033[32monline\033[0m  1s\n");
}

TEST_CASE("escape sequences and line ends in data do not reach the terminal") {
  CHECK(printable("a\033[31mb\nc\td\xff") == "a\\x1b[31mb\\nc d\\xff");
  CHECK(printable("模型 ok") == "模型 ok");
  text_table table{{{"REASON"}}};
  table.add({"\033[2J"});
  CHECK(table.render(false).find('\033') == std::string::npos);
}

TEST_CASE("one is singular, everything else plural") {
  CHECK(counted(0, "node") == "0 nodes");
  CHECK(counted(1, "node") == "1 node");
  CHECK(counted(2, "node") == "2 nodes");
}
