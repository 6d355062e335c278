#include "runtime/process/tail_buffer.hpp"

#include <doctest/doctest.h>
#include <rapidcheck.h>

#include <string>
#include <vector>

using namespace astra;

TEST_CASE("a tail buffer keeps everything up to its capacity") {
  tail_buffer tail{8};
  tail.append("ab\ncd");
  tail.append("efg");
  CHECK(tail.text() == "ab\ncdefg");
  CHECK(tail.total() == 8);
}

TEST_CASE("a tail that lost its front begins at a line") {
  tail_buffer tail{16};
  tail.append("first line\nsecond\nthird\n");
  CHECK(tail.text() == "second\nthird\n");
  CHECK(tail.total() == 24);
}

TEST_CASE("a tail of one long line keeps the last 4 bytes of it") {
  tail_buffer tail{4};
  tail.append("abcdefgh");
  CHECK(tail.text() == "efgh");
  tail.append("ij");
  CHECK(tail.text() == "ghij");
  tail_buffer line{4};
  line.append("abcdefg\n");
  CHECK(line.text() == "efg\n");
}

TEST_CASE("a tail that was cut within a character begins with the next one") {
  tail_buffer tail{6};
  tail.append("\xE2\x82\xAC\xE2\x82\xAC"
              "ab");
  CHECK(tail.text()
        == "\xE2\x82\xAC"
           "ab");
  tail_buffer binary{5};
  binary.append("\x80\x80\x80\x80\x80\x80");
  CHECK(binary.text() == "\x80\x80");
}

TEST_CASE("whatever the pieces, a tail is the end of the stream") {
  CHECK(rc::check("", [](const std::vector<std::string>& pieces) {
    tail_buffer tail{10};
    std::string all;
    for (auto& piece : pieces) {
      tail.append(piece);
      all += piece;
    }
    auto text = tail.text();
    RC_ASSERT(tail.total() == all.size());
    RC_ASSERT(text.size() <= 10u);
    RC_ASSERT(all.ends_with(text));
    RC_ASSERT(all.empty() || !text.empty());
    if (all.size() <= 10)
      RC_ASSERT(text == all);
  }));
}
