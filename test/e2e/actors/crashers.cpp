#include <astra/actor.hpp>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <thread>

namespace {

/// Dies of SIGSEGV when it is told to, and right away when it was started so.
class crasher : public astra::actor {
public:
  explicit crasher(astra::setup& setup) {
    setup.argument("at_once", at_once_, "dies before it takes a message");
    setup.on("die", "Dies of SIGSEGV.", [this] { die(); });
    setup.on("live", "Answers.", [] { return "alive"; });
    setup.on("throw", "Fails in a way that it did not foresee.", []() -> int { throw std::logic_error{"a bug"}; });
    setup.on(
        "nap", "Sleeps so long, while others wait.",
        [](std::int64_t ms) {
          std::this_thread::sleep_for(std::chrono::milliseconds{ms});
          return ms;
        },
        astra::field("ms", "milliseconds", 100));
    if (at_once_)
      die();
  }

private:
  static void die() {
    std::signal(SIGSEGV, SIG_DFL);
    std::raise(SIGSEGV);
  }

  bool at_once_ = false;
};

} // namespace

ASTRA_ACTOR("crasher", crasher, "Dies when it is told to.");
