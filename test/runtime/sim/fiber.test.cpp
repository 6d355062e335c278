#include "runtime/sim/fiber.hpp"

#include <doctest/doctest.h>

#include <string>

namespace astra::sim {
namespace {

TEST_CASE("fiber: what blocks goes on where it was") {
  fiber own;
  std::string trace;
  own.run([&] {
    CHECK(own.inside());
    trace += 'a';
    own.block();
    trace += 'c';
    own.block();
    trace += 'e';
  });
  CHECK(own.blocked());
  CHECK_FALSE(own.inside());
  trace += 'b';
  own.go_on();
  trace += 'd';
  own.go_on();
  CHECK_FALSE(own.blocked());
  CHECK(trace == "abcde");
  // And is free for the next.
  own.run([&] { trace += 'f'; });
  CHECK(trace == "abcdef");
}

TEST_CASE("fiber: one runs while another is blocked") {
  fiber first;
  fiber second;
  std::string trace;
  first.run([&] {
    trace += '1';
    first.block();
    trace += '3';
  });
  second.run([&] {
    trace += '2';
    second.block();
    trace += '4';
  });
  first.go_on();
  second.go_on();
  CHECK(trace == "1234");
}

} // namespace
} // namespace astra::sim
