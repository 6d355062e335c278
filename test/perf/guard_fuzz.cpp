#include "messages/type_ids.hpp"
#include "test/support/guard_fuzzer.hpp"

#include <caf/init_global_meta_objects.hpp>
#include <caf/io/middleman.hpp>
#include <google/protobuf/stubs/logging.h>
#include <malloc.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <string>
#include <vector>

using namespace astra;
using namespace astra::test;

// guard_fuzz FRAMES [SEED]    mutated frames: counts, and the first problem, which is a failure
// guard_fuzz --cost           what an honest heartbeat and an idle session cost

namespace {

/// Of this process's own time: others may keep the machine busy.
double seconds_since(std::clock_t began) {
  return static_cast<double>(std::clock() - began) / CLOCKS_PER_SEC;
}

int fuzz(std::uint64_t frames, std::uint64_t seed) {
  guard_fuzzer fuzzer{seed};
  auto began = std::clock();
  auto problem = fuzzer.run(frames);
  auto took = seconds_since(began);
  std::printf("%llu frames in %.1f s of CPU, %.0f per second; passed %llu (decoded %llu), dropped %llu\n",
              static_cast<unsigned long long>(frames), took, static_cast<double>(frames) / took,
              static_cast<unsigned long long>(fuzzer.passed()), static_cast<unsigned long long>(fuzzer.decoded()),
              static_cast<unsigned long long>(fuzzer.dropped()));
  for (auto i = 1; i < static_cast<int>(violation::count_); ++i)
    std::printf("  %-20s %llu\n", to_string(static_cast<violation>(i)).c_str(),
                static_cast<unsigned long long>(fuzzer.refused(static_cast<violation>(i))));
  if (problem.empty())
    return EXIT_SUCCESS;
  std::printf("PROBLEM: %s\n", problem.c_str());
  return EXIT_FAILURE;
}

int cost() {
  guarded_end end{"node-1", {peer_role::node}, {peer_role::resource}};
  auto beat = direct(5, guarded_end::stranger, guarded_end::service, sample_requests("node-1").front()).bytes();
  constexpr auto rounds = 2'000'000;
  auto began = std::clock();
  for (auto i = 0; i < rounds; ++i) {
    end.now += std::chrono::milliseconds{20};
    if (end.receive(beat).what != verdict::action::pass)
      return EXIT_FAILURE;
  }
  std::printf("heartbeat of %zu bytes: %.0f ns\n", beat.size(), seconds_since(began) / rounds * 1e9);
  auto ack = direct(answer_to(5), guarded_end::speaker, guarded_end::stranger, sample_answers().front()).bytes();
  began = std::clock();
  for (auto i = 0; i < rounds; ++i)
    end.guard.on_sent(ack);
  std::printf("its answer: %.0f ns\n", seconds_since(began) / rounds * 1e9);
  std::vector<guarded_end> sessions;
  constexpr std::size_t count = 10'000;
  sessions.reserve(count);
  auto reserved = mallinfo2().uordblks;
  for (std::size_t i = 0; i < count; ++i) {
    auto& one =
        sessions.emplace_back(guarded_end{"node-" + std::to_string(i), {peer_role::node}, {peer_role::resource}});
    one.receive(
        direct(5, guarded_end::stranger, guarded_end::service, sample_requests("node-" + std::to_string(i)).front()));
  }
  // The two node ids are the fixture's, not the guard's.
  std::printf("idle session: %zu bytes, and %zu for the handle\n", (mallinfo2().uordblks - reserved) / count,
              sizeof(frame_guard));
  return EXIT_SUCCESS;
}

} // namespace

int main(int argc, char** argv) {
  caf::init_global_meta_objects<caf::id_block::astra_wire>();
  caf::init_global_meta_objects<caf::id_block::astra_local>();
  caf::io::middleman::init_global_meta_objects();
  caf::core::init_global_meta_objects();
  // It would tell of every text that is not UTF-8.
  google::protobuf::SetLogHandler(nullptr);
  if (argc == 2 && std::string{argv[1]} == "--cost")
    return cost();
  if (argc < 2) {
    std::fprintf(stderr, "usage: guard_fuzz FRAMES [SEED] | --cost\n");
    return 2;
  }
  return fuzz(std::strtoull(argv[1], nullptr, 10), argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1);
}
