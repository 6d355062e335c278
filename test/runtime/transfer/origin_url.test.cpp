#include "runtime/transfer/origin_url.hpp"

#include <doctest/doctest.h>

using namespace astra;

namespace {

p2p::content content_of(std::vector<std::string> paths) {
  p2p::content result;
  for (auto& path : paths)
    result.files.push_back({path, 1, {}, false, 0, 1});
  return result;
}

std::string url_of(const std::string& origin, const std::vector<std::string>& paths) {
  auto what = content_of(paths);
  auto url = file_url(*parse_origin(origin), what, what.files.front());
  return to_string(url) + url.query;
}

} // namespace

TEST_CASE("an origin is an http or https URL") {
  CHECK(origin_problem("http://files.example").empty());
  CHECK(origin_problem("HTTPS://files.example:8443/a/b%20c/?key=v").empty());
  CHECK(origin_problem("http://[fd00::1]:80/x").empty());
  auto url = parse_origin("https://files.example/a/?key=v");
  REQUIRE(url);
  CHECK(*url == origin_url{true, "files.example", 443, "/a/", "?key=v"});
  CHECK(parse_origin("http://[::1]:81")->host == "::1");
  CHECK(parse_origin("http://[::1]:81")->port == 81);
  // A query may hold a key.
  CHECK(to_string(*url) == "https://files.example/a/");
  CHECK(to_string(*parse_origin("http://[::1]:81/x")) == "http://[::1]:81/x");
}

TEST_CASE("what is wrong with an origin is named with its cure") {
  CHECK(origin_problem("") == "origin '' must begin with http:// or https://");
  CHECK(origin_problem("ftp://a/b") == "origin 'ftp://a/b' must begin with http:// or https://");
  CHECK(origin_problem("files.example/x") == "origin 'files.example/x' must begin with http:// or https://");
  for (auto [url, problem] : std::initializer_list<std::pair<const char*, const char*>>{
           {"http://me:secret@a/b", "has a user or password"},
           {"http://me@a/b", "has a user or password"},
           {"http://a/b#c", "has a fragment"},
           {"http:///b", "has no good host"},
           {"http://a b/c", "has a space"},
           {"http://a/b\r\nX: y", "has a space or another character"},
           {"http://a/\xc3\xa4", "has a space or another character"},
           {"http://a:0/", "has no good port"},
           {"http://a:65536/", "has no good port"},
           {"http://a:8x/", "has no good port"},
           {"http://[::1/", "has no ]"},
           {"http://[::1]80/", "has no good port"},
           {"http://a/100%", "has a % without"}})
    CHECK_MESSAGE(origin_problem(url).find(problem) != std::string::npos, url, ": ", origin_problem(url));
  CHECK(origin_problem("http://a/" + std::string(2000, 'x')).find("has 2009 bytes") != std::string::npos);
  CHECK_FALSE(parse_origin("http://a/b#c"));
}

TEST_CASE("files of a directory are beneath the URL, and an only file is the URL unless that ends with '/'") {
  CHECK(url_of("http://a/m", {"x.bin", "y"}) == "http://a/m/x.bin");
  CHECK(url_of("http://a/m/", {"x.bin", "y"}) == "http://a/m/x.bin");
  CHECK(url_of("http://a", {"deep/er/x y%+#?.bin", "z"}) == "http://a/deep/er/x%20y%25%2B%23%3F.bin");
  CHECK(url_of("http://a/m?k=1", {"\xc3\xa4", "z"}) == "http://a/m/%C3%A4?k=1");
  CHECK(url_of("http://a/m.bin", {"x.bin"}) == "http://a/m.bin");
  CHECK(url_of("http://a/m/", {"x.bin"}) == "http://a/m/x.bin");
}

TEST_CASE("a server may send on to another URL, to another path, or to a file beside it") {
  auto from = *parse_origin("https://a:444/m/x?k=1");
  CHECK(redirected(from, "http://b/y?z=http://c")->host == "b");
  CHECK(to_string(*redirected(from, "/y")) == "https://a:444/y");
  CHECK(to_string(*redirected(from, "y#part")) == "https://a:444/m/y");
  CHECK(to_string(*redirected(from, "//b/y")) == "https://b/y");
  CHECK(redirected(from, "/y?z=2")->query == "?z=2");
  CHECK_FALSE(redirected(from, "ftp://b/y"));
  CHECK_FALSE(redirected(from, "http://me@b/y"));
}
