#include "runtime/sim/fiber.hpp"

#include <array>
#include <cassert>
#include <cstddef>
#include <utility>

namespace astra::sim {
namespace {

constexpr std::size_t stack_bytes = 256 * 1024;

/// What main() is to run: makecontext passes nothing but integers.
thread_local fiber* entered = nullptr;

} // namespace

struct fiber::stack {
  alignas(16) std::array<std::byte, stack_bytes> bytes;
};

fiber::fiber() = default;

fiber::~fiber() {
  assert(!blocked_ && !inside_);
}

void fiber::run(std::function<void()> what) {
  assert(!blocked_ && !inside_);
  // Not value-initialised: its pages cost nothing until they are used.
  if (!stack_)
    stack_.reset(new stack);
  what_ = std::move(what);
  ::getcontext(&own_);
  own_.uc_stack.ss_sp = stack_->bytes.data();
  own_.uc_stack.ss_size = stack_->bytes.size();
  own_.uc_link = &caller_;
  ::makecontext(&own_, &fiber::main, 0);
  enter();
}

void fiber::go_on() {
  assert(blocked_ && !inside_);
  blocked_ = false;
  enter();
}

void fiber::block() {
  assert(inside_);
  blocked_ = true;
  ::swapcontext(&own_, &caller_);
}

void fiber::enter() {
  auto before = std::exchange(entered, this);
  inside_ = true;
  ::swapcontext(&caller_, &own_);
  inside_ = false;
  entered = before;
  if (!blocked_)
    what_ = nullptr;
}

void fiber::main() {
  entered->what_();
}

} // namespace astra::sim
