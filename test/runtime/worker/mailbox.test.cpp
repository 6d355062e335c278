#include "runtime/worker/mailbox.hpp"

#include <doctest/doctest.h>

#include <memory>
#include <thread>

using namespace astra;

namespace {

using box = mailbox<std::unique_ptr<int>>;

box::verdict put(box& to, int what) {
  return to.put(std::make_unique<int>(what));
}

} // namespace

TEST_CASE("a mailbox gives what it took in order, with how many wait behind it, and refuses more than its room") {
  box messages{2};
  CHECK(put(messages, 1) == box::verdict::taken);
  CHECK(put(messages, 2) == box::verdict::taken);
  auto third = std::make_unique<int>(3);
  CHECK(messages.put(std::move(third)) == box::verdict::full);
  CHECK(third != nullptr); // it is still the caller's, who answers it
  auto first = messages.take();
  REQUIRE(first);
  CHECK(*first->first == 1);
  CHECK(first->second == 1);
  CHECK(messages.put(std::move(third)) == box::verdict::taken);
  CHECK(*messages.take()->first == 2);
  auto last = messages.take();
  CHECK(*last->first == 3);
  CHECK(last->second == 0);
}

TEST_CASE("a mailbox that is closed takes nothing more, and gives what it has") {
  box messages{2};
  put(messages, 1);
  messages.close();
  CHECK(put(messages, 2) == box::verdict::closed);
  CHECK(*messages.take()->first == 1);
  CHECK_FALSE(messages.take());
  CHECK_FALSE(messages.take());
}

TEST_CASE("who waits at a mailbox wakes up for a message, and for its end") {
  box messages{1};
  int sum = 0;
  std::thread reader{[&] {
    while (auto next = messages.take())
      sum += *next->first;
  }};
  for (int i = 1; i <= 100; ++i)
    while (put(messages, i) == box::verdict::full)
      std::this_thread::yield();
  messages.close();
  reader.join();
  CHECK(sum == 5050);
}
