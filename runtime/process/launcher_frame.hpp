#pragma once

#include "runtime/process/launcher.pb.h"

#include <cstddef>
#include <deque>
#include <memory>
#include <optional>
#include <string>

namespace astra {

/// What travels between an agent and its launcher: a small Protobuf head and a body of raw bytes, such as a process's
/// input, that is never copied into the head.
struct launcher_frame {
  launcher_pb::Frame head;
  std::string body;
};

/// Largest head and body that are sent or accepted.
inline constexpr std::size_t launcher_head_max = 4 * 1024 * 1024;
inline constexpr std::size_t launcher_body_max = 1024 * 1024 * 1024;

/// Cuts a stream of bytes into frames: length of head, length of body (each 32 bit, of this machine), head, body.
class frame_reader {
public:
  void append(const char* data, std::size_t size);
  /// The next complete frame.
  std::optional<launcher_frame> next();
  /// The stream is not one of frames; nothing more comes out of it.
  bool broken() const { return broken_; }

private:
  std::string buffer_;
  std::size_t begin_ = 0;
  bool broken_ = false;
};

/// Frames that wait to be written to a socket.  Not thread-safe.
class frame_writer {
public:
  /// `body` may be null.
  /// @pre the body is at most launcher_body_max.
  void push(const launcher_pb::Frame& head, std::shared_ptr<const std::string> body);
  /// Writes as much as the socket takes without blocking.
  /// @returns false when the peer is gone.
  bool flush(int socket);
  bool empty() const { return queue_.empty(); }
  std::size_t bytes() const { return bytes_; }
  void clear();

private:
  struct entry {
    std::string head;
    std::shared_ptr<const std::string> body;
    std::size_t written = 0;
  };
  std::deque<entry> queue_;
  std::size_t bytes_ = 0;
};

} // namespace astra
