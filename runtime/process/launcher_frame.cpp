#include "runtime/process/launcher_frame.hpp"

#include <sys/socket.h>
#include <sys/uio.h>

#include <cassert>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <utility>

namespace astra {
namespace {

constexpr std::size_t prefix_size = 2 * sizeof(std::uint32_t);

} // namespace

void frame_reader::append(const char* data, std::size_t size) {
  if (!broken_)
    buffer_.append(data, size);
}

std::optional<launcher_frame> frame_reader::next() {
  if (broken_ || buffer_.size() - begin_ < prefix_size)
    return std::nullopt;
  std::uint32_t sizes[2];
  std::memcpy(sizes, buffer_.data() + begin_, prefix_size);
  if (sizes[0] > launcher_head_max || sizes[1] > launcher_body_max) {
    broken_ = true;
    return std::nullopt;
  }
  auto total = prefix_size + sizes[0] + sizes[1];
  if (buffer_.size() - begin_ < total) {
    // Once per large frame, so that it does not grow by doubling.
    if (buffer_.capacity() < begin_ + total)
      buffer_.reserve(begin_ + total);
    return std::nullopt;
  }
  launcher_frame frame;
  auto* head = buffer_.data() + begin_ + prefix_size;
  if (!frame.head.ParseFromArray(head, static_cast<int>(sizes[0]))) {
    broken_ = true;
    return std::nullopt;
  }
  frame.body.assign(head + sizes[0], sizes[1]);
  begin_ += total;
  if (begin_ == buffer_.size()) {
    // Gives the memory of a large frame back.
    if (buffer_.capacity() > launcher_head_max)
      buffer_ = std::string{};
    buffer_.clear();
    begin_ = 0;
  } else if (begin_ > launcher_head_max) {
    buffer_.erase(0, begin_);
    begin_ = 0;
  }
  return frame;
}

void frame_writer::push(const launcher_pb::Frame& head, std::shared_ptr<const std::string> body) {
  assert(!body || body->size() <= launcher_body_max);
  entry item;
  auto bytes = head.SerializeAsString();
  std::uint32_t sizes[2] = {static_cast<std::uint32_t>(bytes.size()),
                            static_cast<std::uint32_t>(body ? body->size() : 0)};
  item.head.resize(prefix_size);
  std::memcpy(item.head.data(), sizes, prefix_size);
  item.head += bytes;
  item.body = std::move(body);
  bytes_ += item.head.size() + sizes[1];
  queue_.push_back(std::move(item));
}

bool frame_writer::flush(int socket) {
  while (!queue_.empty()) {
    auto& item = queue_.front();
    iovec parts[2];
    std::size_t count = 0;
    auto add = [&](const std::string& text, std::size_t skip) {
      if (skip < text.size())
        parts[count++] = {const_cast<char*>(text.data()) + skip, text.size() - skip};
    };
    add(item.head, item.written);
    if (item.body)
      add(*item.body, item.written > item.head.size() ? item.written - item.head.size() : 0);
    msghdr message{};
    message.msg_iov = parts;
    message.msg_iovlen = count;
    auto sent = ::sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0) {
      if (errno == EINTR)
        continue;
      return errno == EAGAIN || errno == EWOULDBLOCK;
    }
    item.written += static_cast<std::size_t>(sent);
    bytes_ -= static_cast<std::size_t>(sent);
    if (item.written == item.head.size() + (item.body ? item.body->size() : 0))
      queue_.pop_front();
  }
  return true;
}

void frame_writer::clear() {
  queue_.clear();
  bytes_ = 0;
}

} // namespace astra
