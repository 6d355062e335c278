#include "runtime/transfer/name_book.hpp"

#include <doctest/doctest.h>

using namespace astra;
using verdict = name_book::verdict;

namespace {

pb::ContentName version(const std::string& name, std::uint32_t number, char content, std::uint64_t published = 1) {
  pb::ContentName result;
  result.set_name(name);
  result.set_version(number);
  result.set_address(std::string(32, content));
  result.set_published_ms(published);
  return result;
}

} // namespace

TEST_CASE("versions count from 1, and the same content keeps its version") {
  name_book names;
  CHECK(names.grant(version("ocr", 0, 'a')).version() == 1);
  CHECK(names.grant(version("ocr", 0, 'b')).version() == 2);
  CHECK(names.grant(version("ocr", 0, 'a')).version() == 1);
  CHECK(names.grant(version("asr", 0, 'a')).version() == 1);
  REQUIRE(names.find("ocr", 0) != nullptr);
  CHECK(names.find("ocr", 0)->version() == 2);
  CHECK(names.find("ocr", 3) == nullptr);
  CHECK(names.find("tts", 0) == nullptr);
  CHECK(names.names_of(std::string(32, 'a')).size() == 2);
}

TEST_CASE("a version that was removed stays so, whoever missed it, and is not given again") {
  name_book names;
  names.grant(version("ocr", 0, 'a'));
  names.grant(version("ocr", 0, 'b'));
  auto gone = version("ocr", 2, 'b');
  gone.set_removed(true);
  CHECK(names.learn(gone) == verdict::learned);
  CHECK(names.learn(gone) == verdict::known);
  CHECK(names.learn(version("ocr", 2, 'b')) == verdict::removed_elsewhere);
  CHECK(names.find("ocr", 0)->version() == 1);
  CHECK(names.find("ocr", 2)->removed());
  CHECK(names.names_of(std::string(32, 'b')).empty());
  // The same content again is another version.
  CHECK(names.grant(version("ocr", 0, 'b')).version() == 3);
}

TEST_CASE("of two contents that got one version in two parts of a cluster everybody keeps the one published first") {
  auto first = version("ocr", 1, 'a', 5);
  auto second = version("ocr", 1, 'b', 7);
  name_book one;
  CHECK(one.learn(first) == verdict::learned);
  CHECK(one.learn(second) == verdict::refused);
  name_book other;
  CHECK(other.learn(second) == verdict::learned);
  CHECK(other.learn(first) == verdict::learned);
  CHECK(one.find("ocr", 1)->address() == other.find("ocr", 1)->address());
}

TEST_CASE("what is no name is not learned") {
  name_book names;
  CHECK(names.learn(version("ocr", 0, 'a')) == verdict::refused);
  CHECK(names.learn(version("no such/name", 1, 'a')) == verdict::refused);
  auto cut = version("ocr", 1, 'a');
  cut.set_address("short");
  CHECK(names.learn(cut) == verdict::refused);
  CHECK(names.list().empty());
}

TEST_CASE(
    "the origin that a content was published with last counts, under whichever of its names, until those are gone") {
  auto with = [](pb::ContentName name, const std::string& origin) {
    name.set_origin(origin);
    return name;
  };
  std::string content(32, 'a');
  name_book names;
  CHECK(names.grant(version("ocr", 0, 'a', 5)).version() == 1);
  CHECK(names.origin_of(content).empty());
  // The same version, with an origin now, and then with another one.
  CHECK(names.grant(with(version("ocr", 0, 'a', 7), "http://x/")).version() == 1);
  auto moved = names.grant(with(version("ocr", 0, 'a', 9), "http://y/"));
  CHECK(moved.version() == 1);
  CHECK(names.origin_of(content) == "http://y/");
  CHECK(names.grant(version("ocr", 0, 'a', 11)).origin() == "http://y/");

  name_book other;
  CHECK(other.learn(with(version("ocr", 1, 'a', 7), "http://x/")) == verdict::learned);
  CHECK(other.learn(moved) == verdict::learned);
  CHECK(other.learn(with(version("ocr", 1, 'a', 7), "http://x/")) == verdict::known);
  CHECK(other.learn(version("ocr", 1, 'a', 5)) == verdict::known);
  CHECK(other.origin_of(content) == "http://y/");
  CHECK(other.learn(with(version("asr", 1, 'a', 20), "http://z/")) == verdict::learned);
  CHECK(other.origin_of(content) == "http://z/");
  for (auto name : {"asr", "ocr"}) {
    auto gone = *other.find(name, 1);
    gone.set_removed(true);
    CHECK(other.learn(gone) == verdict::learned);
    CHECK(other.origin_of(content) == (name == std::string{"asr"} ? "http://y/" : ""));
  }
  CHECK(other.learn(with(version("tts", 1, 'b'), "ftp://x/")) == verdict::refused);
}
