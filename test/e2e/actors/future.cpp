#include <cstdint>

namespace {
struct list_of_the_future {
  std::uint32_t abi = 999;
} future;
} // namespace

extern "C" __attribute__((visibility("default"))) const void* astra_actor_library() {
  return &future;
}
