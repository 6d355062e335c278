#include "runtime/process/launcher_frame.hpp"
#include "runtime/process/unique_fd.hpp"

#include <doctest/doctest.h>
#include <rapidcheck.h>

#include <sys/socket.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

using namespace astra;

namespace {

launcher_pb::Frame kill_frame(std::uint64_t key) {
  launcher_pb::Frame frame;
  frame.mutable_kill()->set_key(key);
  return frame;
}

/// What a writer puts on a socket, read from its other end.
std::string bytes_of(const std::vector<std::string>& bodies) {
  int ends[2];
  REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
  unique_fd ours{ends[0]};
  unique_fd theirs{ends[1]};
  frame_writer writer;
  std::uint64_t key = 0;
  for (auto& body : bodies)
    writer.push(kill_frame(++key), std::make_shared<const std::string>(body));
  std::string result;
  char buffer[4096];
  do {
    REQUIRE(writer.flush(ours.get()));
    for (ssize_t count = 0; (count = ::recv(theirs.get(), buffer, sizeof buffer, MSG_DONTWAIT)) > 0;)
      result.append(buffer, static_cast<std::size_t>(count));
  } while (!writer.empty());
  CHECK(writer.bytes() == 0);
  return result;
}

} // namespace

TEST_CASE("frames survive any cut of the stream") {
  CHECK(rc::check("", [](const std::vector<std::string>& bodies, std::vector<std::uint8_t> cuts) {
    auto stream = bytes_of(bodies);
    frame_reader reader;
    std::vector<launcher_frame> frames;
    std::size_t at = 0;
    std::size_t next = 0;
    while (at < stream.size()) {
      std::size_t size = cuts.empty() ? 7 : 1 + cuts[next++ % cuts.size()];
      size = std::min(size, stream.size() - at);
      reader.append(stream.data() + at, size);
      at += size;
      while (auto frame = reader.next())
        frames.push_back(std::move(*frame));
    }
    RC_ASSERT(!reader.broken());
    RC_ASSERT(frames.size() == bodies.size());
    for (std::size_t i = 0; i < frames.size(); ++i) {
      RC_ASSERT(frames[i].head.kill().key() == i + 1);
      RC_ASSERT(frames[i].body == bodies[i]);
    }
  }));
}

TEST_CASE("a body of 20 MB passes a socket that takes a little at a time") {
  std::string body(20'000'000, 'x');
  auto stream = bytes_of({body, "tail"});
  frame_reader reader;
  reader.append(stream.data(), stream.size());
  auto first = reader.next();
  REQUIRE(first);
  CHECK(first->body == body);
  auto second = reader.next();
  REQUIRE(second);
  CHECK(second->body == "tail");
  CHECK_FALSE(reader.next());
}

TEST_CASE("a length beyond the limit breaks the stream instead of reserving 4 GiB") {
  for (std::size_t field : {0u, 1u}) {
    std::uint32_t sizes[2] = {0, 0};
    sizes[field] = 0xffffffff;
    char bytes[sizeof sizes];
    std::memcpy(bytes, sizes, sizeof sizes);
    frame_reader reader;
    reader.append(bytes, sizeof bytes);
    CHECK_FALSE(reader.next());
    CHECK(reader.broken());
  }
}

TEST_CASE("a head that is no message breaks the stream") {
  std::uint32_t sizes[2] = {4, 0};
  std::string bytes(sizeof sizes, '\0');
  std::memcpy(bytes.data(), sizes, sizeof sizes);
  bytes += "\xff\xff\xff\xff";
  frame_reader reader;
  reader.append(bytes.data(), bytes.size());
  CHECK_FALSE(reader.next());
  CHECK(reader.broken());
}

TEST_CASE("a writer notices that its peer is gone") {
  int ends[2];
  REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
  unique_fd ours{ends[0]};
  unique_fd{ends[1]}.reset();
  frame_writer writer;
  writer.push(kill_frame(1), nullptr);
  CHECK_FALSE(writer.flush(ours.get()));
}
