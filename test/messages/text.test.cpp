#include "messages/text.hpp"

#include "messages/wire.hpp"
#include "messages/wire/membership.pb.h"
#include "messages/wire/route.pb.h"

#include <doctest/doctest.h>
#include <rapidcheck.h>

#include <string>

using namespace astra;

TEST_CASE("text that is UTF-8 stays as it is") {
  for (std::string text : {"", "plain\n", "h\xC3\xA9", "\xE2\x82\xAC", "\xF0\x9F\x98\x80", "\xF4\x8F\xBF\xBF"})
    CHECK(to_utf8(text) == text);
  CHECK(to_utf8(std::string(1, '\0')).size() == 1);
}

TEST_CASE("each byte that belongs to no character becomes U+FFFD") {
  const std::string mark = "\xEF\xBF\xBD";
  CHECK(to_utf8("a\xFFz") == "a" + mark + "z");
  CHECK(to_utf8("cut \xE2\x82") == "cut " + mark + mark);
  CHECK(to_utf8("\x82\xAC cut") == mark + mark + " cut");
  CHECK(to_utf8("\xC0\x80") == mark + mark);
  CHECK(to_utf8("\xED\xA0\x80") == mark + mark + mark);
  CHECK(to_utf8("\xF4\x90\x80\x80") == mark + mark + mark + mark);
}

TEST_CASE("a long text keeps its beginning and its end, and whole characters") {
  CHECK(shorten("short", 16) == "short");
  auto cut = shorten("exited with code 1: " + std::string(5000, 'x') + " no such file", 64);
  CHECK(cut.size() <= 64);
  CHECK(cut.starts_with("exited with co ... x"));
  CHECK(cut.ends_with(" no such file"));
  rc::check([](const std::string& bytes) {
    auto text = to_utf8(bytes + bytes + "\xE2\x82\xAC\xF0\x9F\x98\x80" + bytes);
    for (std::size_t most = 16; most < text.size(); ++most) {
      auto part = shorten(text, most);
      RC_ASSERT(part.size() <= most);
      RC_ASSERT(to_utf8(part) == part);
    }
  });
}

TEST_CASE("foreign text in a log line is printable and bounded") {
  CHECK(printable("plain text", 48) == "plain text");
  CHECK(printable("a\n\"b\\\xff", 48) == "a\\x0a\\x22b\\x5c\\xff");
  CHECK(printable(std::string(100, 'a'), 3) == "aaa...");
}

TEST_CASE("whatever the bytes, an answer and a profile that hold them as text survive the wire") {
  CHECK(rc::check("", [](const std::string& bytes) {
    pb::InvokeReply reply, received;
    reply.set_reason(to_utf8("\xFF" + bytes));
    reply.set_stderr_tail(to_utf8(bytes));
    reply.set_content_type(to_utf8(bytes));
    RC_ASSERT(decode(received, encode(reply)));
    RC_ASSERT(received.reason() == reply.reason());
    pb::NodeProfile profile, same;
    profile.add_replicas()->set_reason(to_utf8(bytes + "\xFF"));
    RC_ASSERT(decode(same, encode(profile)));
  }));
}
