#include <astra/actor.hpp>

/// Adds up what it is sent: an actor with a state.
class tally : public astra::actor {
  std::int64_t sum_ = 0;

  std::int64_t add(std::int64_t amount) {
    // Who asks may send any amount.
    if (__builtin_add_overflow(sum_, amount, &amount))
      throw astra::refused{"the sum would be too large"};
    return sum_ = amount;
  }

public:
  explicit tally(astra::setup& setup) {
    setup.argument("init", sum_, "what it begins with");
    setup.on(
        "add", "Adds and tells the sum.", [this](std::int64_t amount) { return add(amount); },
        astra::field("amount", "how much", 1));
    setup.on("get", "Tells the sum.", [this] { return sum_; });
    setup.state("sum", sum_);
  }
};
ASTRA_ACTOR("tally", tally, "Adds up what it is sent.");
