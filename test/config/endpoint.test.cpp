#include "config/endpoint.hpp"

#include <doctest/doctest.h>

using namespace astra;

TEST_CASE("addresses are host and port, IPv6 in brackets") {
  CHECK(parse_endpoint("127.0.0.1:9700")->port == 9700);
  CHECK(parse_endpoint("res-0.example:1")->host == "res-0.example");
  CHECK(parse_endpoint("[::1]:80")->host == "::1");
  for (auto bad : {"", "host", ":80", "host:", "host:70000", "host:-1", "host:8o", "ho st:80", "::1:80", "[]:80",
                   "[1.2.3.4]:80", "http://host:80", "host:80/x"})
    CHECK_MESSAGE(!parse_endpoint(bad), bad);
}

TEST_CASE("only this machine's own addresses are loopback") {
  for (auto near : {"127.0.0.1:1", "127.8.9.10:1", "localhost:1", "[::1]:1"})
    CHECK_MESSAGE(is_loopback(*parse_endpoint(near)), near);
  for (auto far : {"0.0.0.0:1", "10.0.0.1:1", "127.evil.example:1", "127.0.0.1.example:1", "127.1:1", "[::]:1",
                   "localhost.example:1"})
    CHECK_MESSAGE(!is_loopback(*parse_endpoint(far)), far);
}
