#include "runtime/transfer/content_request.hpp"

#include <doctest/doctest.h>

using namespace astra;
using kind = byte_range::kind;

TEST_CASE("a target names a content and a file, for who knows the token") {
  auto target = read_content_target("/t0k/contents/llama@3/a/w%20x.bin?x=/", "t0k");
  REQUIRE(target);
  CHECK(target->content == "llama@3");
  CHECK(target->file == "a/w x.bin");
  for (auto list : {"/t0k/contents/llama%403/", "/t0k/contents/llama@3"}) {
    target = read_content_target(list, "t0k");
    REQUIRE(target);
    CHECK(target->content == "llama@3");
    CHECK(target->file.empty());
  }
  for (auto wrong :
       {"/t0K/contents/llama@3/a", "/t0k1/contents/llama@3/a", "/t0/contents/llama@3/a", "/contents/llama@3",
        "/t0k/contents/", "/t0k/contents", "/t0k/llama@3/a", "/t0k/contents/llama@3/%4", "t0k/contents/a@1/", ""})
    CHECK_FALSE(read_content_target(wrong, "t0k"));
}

TEST_CASE("a range is a part, the whole where it says nothing clear, or none") {
  struct row {
    const char* header;
    std::uint64_t size;
    kind what;
    std::uint64_t offset = 0;
    std::uint64_t length = 0;
  };
  for (auto& one : {row{"", 10, kind::whole, 0, 10},
                    row{"bytes=0-0", 10, kind::part, 0, 1},
                    row{"bytes=2-", 10, kind::part, 2, 8},
                    row{"bytes=2-100", 10, kind::part, 2, 8},
                    row{"bytes=9-18446744073709551615", 10, kind::part, 9, 1},
                    row{"bytes=9-99999999999999999999999", 10, kind::part, 9, 1},
                    row{"bytes=-3", 10, kind::part, 7, 3},
                    row{"bytes=-30", 10, kind::part, 0, 10},
                    row{"bytes=10-", 10, kind::none},
                    row{"bytes=10-12", 10, kind::none},
                    row{"bytes=99999999999999999999999-", 10, kind::none},
                    row{"bytes=-0", 10, kind::none},
                    row{"bytes=0-", 0, kind::none},
                    row{"bytes=-1", 0, kind::none},
                    row{"bytes=3-2", 10, kind::whole, 0, 10},
                    row{"bytes=a-2", 10, kind::whole, 0, 10},
                    row{"bytes=1-b", 10, kind::whole, 0, 10},
                    row{"bytes=-", 10, kind::whole, 0, 10},
                    row{"bytes=1", 10, kind::whole, 0, 10},
                    row{"bytes=1-2,4-5", 10, kind::whole, 0, 10},
                    row{"lines=1-2", 10, kind::whole, 0, 10},
                    row{"bytes=+1-2", 10, kind::whole, 0, 10}}) {
    CAPTURE(one.header);
    auto range = read_range(one.header, one.size);
    CHECK(range.what == one.what);
    CHECK(range.offset == one.offset);
    CHECK(range.length == one.length);
  }
}
