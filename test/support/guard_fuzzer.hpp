#pragma once

#include "test/support/basp_frames.hpp"

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace astra::test {

/// Does with a frame that has passed a guard what CAF does: decodes it, content and all, and prints it.
class frame_decoder {
public:
  frame_decoder();
  ~frame_decoder();

  /// What a guard should not have let through, if anything: a type that is not ours, a handle of another node, words in
  /// somebody else's name.
  /// @param decoded set when CAF could decode the frame; when it cannot it drops the message, which is no problem
  std::string problem(std::span<const std::byte> frame, const peer_identity& peer, bool& decoded);

private:
  struct impl;
  std::unique_ptr<impl> impl_;
};

/// A session of some peer: which kind, and how far it is, are drawn from `choice`.
guarded_end make_fuzzed_end(std::uint64_t choice, peer_identity& peer);

/// Sends mutated frames to guards of all kinds of sessions, and decodes what passes.  Equal seeds, equal frames.
class guard_fuzzer {
public:
  explicit guard_fuzzer(std::uint64_t seed) : mutator_(seed) {}

  /// @returns the first problem, with the frame in hexadecimal; empty: none.
  std::string run(std::uint64_t frames);

  std::uint64_t passed() const { return passed_; }
  std::uint64_t decoded() const { return decoded_; }
  std::uint64_t dropped() const { return dropped_; }
  std::uint64_t refused(violation why) const { return refused_[static_cast<std::size_t>(why)]; }

private:
  std::string offer(guarded_end& end, const peer_identity& peer, std::span<const std::byte> bytes);

  frame_mutator mutator_;
  frame_decoder decoder_;
  std::uint64_t passed_ = 0;
  std::uint64_t decoded_ = 0;
  std::uint64_t dropped_ = 0;
  /// The last frame closed its session.
  bool closed_ = false;
  std::array<std::uint64_t, static_cast<std::size_t>(violation::count_)> refused_{};
};

} // namespace astra::test
