#include "messages/type_ids.hpp"
#include "test/support/guard_fuzzer.hpp"

#include <caf/init_global_meta_objects.hpp>
#include <caf/io/middleman.hpp>
#include <google/protobuf/stubs/logging.h>

#include <cstdio>
#include <cstdlib>
#include <span>

// A stream of frames to the guard of some session; what passes is decoded.  The first three bytes choose the session.

using namespace astra;
using namespace astra::test;

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  caf::init_global_meta_objects<caf::id_block::astra_wire>();
  caf::init_global_meta_objects<caf::id_block::astra_local>();
  caf::io::middleman::init_global_meta_objects();
  caf::core::init_global_meta_objects();
  google::protobuf::SetLogHandler(nullptr);
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // Never destroyed: an actor system must not end after main, when what it is made of has gone.
  static auto& decoder = *new frame_decoder;
  if (size < 3)
    return 0;
  peer_identity peer;
  auto end = make_fuzzed_end(std::uint64_t{data[0]} | std::uint64_t{data[1]} << 8 | std::uint64_t{data[2]} << 16, peer);
  auto left = std::as_bytes(std::span{data, size}).subspan(3);
  while (left.size() >= frame_guard::header_size) {
    end.now += std::chrono::milliseconds{10};
    auto judged = end.guard.on_header(left.first(frame_guard::header_size), end.now);
    if (judged.what != verdict::action::pass)
      return 0;
    auto whole = frame_guard::header_size + end.guard.payload_size();
    if (left.size() < whole)
      return 0;
    judged = end.guard.on_payload(left.subspan(frame_guard::header_size, end.guard.payload_size()));
    if (judged.what == verdict::action::close)
      return 0;
    auto decoded = false;
    if (judged.what == verdict::action::pass)
      if (auto problem = decoder.problem(left.first(whole), peer, decoded); !problem.empty()) {
        std::fprintf(stderr, "%s: %s\n", problem.c_str(), to_hex_text(left.first(whole)).c_str());
        std::abort();
      }
    left = left.subspan(whole);
  }
  return 0;
}
