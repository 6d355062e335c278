#include "runtime/net/session_scribe.hpp"

#include <caf/actor_cast.hpp>
#include <caf/intrusive_ptr.hpp>
#include <caf/io/basp_broker.hpp>
#include <caf/io/middleman.hpp>
#include <caf/io/network/default_multiplexer.hpp>
#include <caf/io/network/stream_impl.hpp>
#include <caf/io/scribe.hpp>
#include <spdlog/spdlog.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <cerrno>
#include <cstring>
#include <span>
#include <utility>

namespace astra {
namespace {

namespace io = caf::io;
using io::network::operation;
using io::network::rw_state;

/// Buffer of a session that has nothing large to read.
constexpr std::size_t small_read = 1024;
constexpr std::size_t large_read = 16 * 1024;
/// Buffers that have grown beyond this are given back when they are empty.  There are many sessions with nodes, and
/// what they carry is small but for a profile now and then.
constexpr std::size_t kept_by_core = 64 * 1024;
constexpr std::size_t kept_by_edge = 4 * 1024;

std::int64_t now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(session::clock::now().time_since_epoch()).count();
}

io::network::default_multiplexer& multiplexer(caf::actor_system& sys) {
  return static_cast<io::network::default_multiplexer&>(sys.middleman().backend());
}

/// The broker of CAF's protocol.  The middleman made it when the system started.
io::basp_broker& basp(caf::actor_system& sys) {
  auto handle = sys.middleman().named_broker<io::basp_broker>("BASP");
  return *static_cast<io::basp_broker*>(caf::actor_cast<caf::abstract_actor*>(handle));
}

/// Moves bytes between a socket and CAF's stream.
struct transport {
  session* about = nullptr;
  std::unique_ptr<tls_session> tls;
  std::uint64_t written = 0;

  rw_state read_some(std::size_t& result, int fd, void* into, std::size_t size) {
    result = 0;
    if (tls) {
      switch (tls->read(into, size, result)) {
      case tls_step::done:
      case tls_step::want_read:
      case tls_step::want_write:
        return rw_state::success;
      case tls_step::closed:
        return lost("the peer has closed it");
      case tls_step::failed:
        return lost(tls->error());
      }
    }
    auto n = ::recv(fd, into, size, 0);
    if (n > 0)
      result = static_cast<std::size_t>(n);
    else if (n == 0)
      return lost("the peer has closed it");
    else if (errno != EAGAIN && errno != EINTR)
      return lost(std::strerror(errno));
    return rw_state::success;
  }

  rw_state write_some(std::size_t& result, int fd, const void* from, std::size_t size) {
    result = 0;
    if (size == 0)
      return rw_state::indeterminate;
    auto step = tls_step::done;
    if (tls) {
      step = tls->write(from, size, result);
      if (step == tls_step::closed || step == tls_step::failed)
        return lost(tls->error());
    } else {
      auto n = ::send(fd, from, size, MSG_NOSIGNAL);
      if (n >= 0)
        result = static_cast<std::size_t>(n);
      else if (errno != EAGAIN && errno != EINTR)
        return lost(std::strerror(errno));
    }
    written += result;
    about->bytes_out.fetch_add(result, std::memory_order_relaxed);
    return step == tls_step::want_read ? rw_state::want_read : rw_state::success;
  }

  bool must_read_more(int, std::size_t threshold) const { return tls && tls->pending() >= threshold; }

  rw_state lost(const std::string& reason) const {
    about->end(violation::none, reason);
    return rw_state::failure;
  }
};

/// CAF keeps its policies by value.
struct transport_policy {
  transport* to;

  rw_state read_some(std::size_t& result, int fd, void* into, std::size_t size) {
    return to->read_some(result, fd, into, size);
  }
  rw_state write_some(std::size_t& result, int fd, const void* from, std::size_t size) {
    return to->write_some(result, fd, from, size);
  }
  bool must_read_more(int fd, std::size_t threshold) const { return to->must_read_more(fd, threshold); }
};

/// Handles of closed sockets come back as those of new ones; a broker that has not yet heard of the end would take one
/// for the other.  Numbers of our own are never used twice.
io::connection_handle next_handle() {
  static std::atomic<std::int64_t> last{std::int64_t{1} << 40};
  return io::connection_handle::from_int(++last);
}

class session_scribe final : public io::scribe {
public:
  session_scribe(io::network::default_multiplexer& backend, scribe_parts parts)
    : scribe(next_handle()), about_(std::move(parts.about)), guard_(std::move(parts.guard)),
      most_backlog_(parts.most_backlog), kept_(about_->edge ? kept_by_edge : kept_by_core),
      ended_(std::move(parts.ended)), transport_{about_.get(), std::move(parts.tls)},
      stream_(backend, parts.fd.release(), transport_policy{&transport_}) {
    about_->last_in = about_->last_out = now_ns();
  }

  ~session_scribe() override { tell_end(); }

  // -- io::scribe ---------------------------------------------------------------

  void configure_read(io::receive_policy::config) override {
    // Framing is our own; the broker's wish only says that it is ready.
    if (launched_)
      return;
    launched_ = true;
    stream_.configure_read(io::receive_policy::at_most(small_read));
    stream_.start(this);
  }

  void ack_writes(bool) override {}

  caf::byte_buffer& wr_buf() override { return outgoing_; }

  caf::byte_buffer& rd_buf() override { return delivery_; }

  void flush() override {
    if (about_->ended)
      return;
    if (!outgoing_.empty())
      send_outgoing();
    stream_.flush(this);
  }

  std::string addr() const override { return about_->peer.address; }

  std::uint16_t port() const override { return 0; }

  void graceful_shutdown() override {
    about_->end(violation::none, "CAF has closed it");
    stream_.graceful_shutdown();
    detach(&stream_.backend(), false);
    tell_end();
  }

  void add_to_loop() override { stream_.activate(this); }

  void remove_from_loop() override { stream_.passivate(); }

  caf::message detach_message() override {
    tell_end();
    return scribe::detach_message();
  }

  bool consume(caf::execution_unit* ctx, const void* data, std::size_t size) override {
    if (about_->ended || detached())
      return false;
    about_->last_in.store(now_ns(), std::memory_order_relaxed);
    about_->bytes_in.fetch_add(size, std::memory_order_relaxed);
    auto from = static_cast<const std::byte*>(data);
    if (!partial_.empty()) {
      auto begin = static_cast<const caf::byte*>(data);
      partial_.insert(partial_.end(), begin, begin + size);
      caf::byte_buffer all;
      all.swap(partial_);
      return take_frames(ctx, {reinterpret_cast<const std::byte*>(all.data()), all.size()});
    }
    return take_frames(ctx, {from, size});
  }

  // -- for session_handle; on the network thread ---------------------------------

  void cut(violation why, const std::string& reason) {
    about_->end(why, reason);
    if (cut_)
      return;
    cut_ = true;
    caf::intrusive_ptr<session_scribe> hold{this};
    ::shutdown(stream_.fd(), SHUT_RDWR);
    io_failure(&stream_.backend(), operation::read);
    stream_.backend().del(operation::write, stream_.fd(), &stream_);
    tell_end();
  }

  void keep_alive() {
    if (about_->ended || detached())
      return;
    std::array<caf::byte, frame_guard::header_size> frame{};
    frame[0] = static_cast<caf::byte>(io::basp::message_type::heartbeat);
    outgoing_.insert(outgoing_.end(), frame.begin(), frame.end());
    flush();
  }

private:
  void tell_end() {
    about_->ended = true;
    if (auto told = std::exchange(ended_, nullptr))
      told();
  }

  void send_outgoing() {
    auto bytes = std::span{reinterpret_cast<const std::byte*>(outgoing_.data()), outgoing_.size()};
    auto cuts = guard_.on_sent(bytes);
    for (auto part = cuts.rbegin(); part != cuts.rend(); ++part) {
      auto begin = outgoing_.begin() + static_cast<std::ptrdiff_t>(part->offset);
      outgoing_.erase(begin, begin + static_cast<std::ptrdiff_t>(part->size));
    }
    queued_ += outgoing_.size();
    auto& out = stream_.wr_buf();
    if (out.empty())
      out.swap(outgoing_);
    else
      out.insert(out.end(), outgoing_.begin(), outgoing_.end());
    outgoing_.clear();
    if (outgoing_.capacity() > kept_)
      outgoing_.shrink_to_fit();
    about_->last_out.store(now_ns(), std::memory_order_relaxed);
    auto backlog = queued_ - transport_.written;
    about_->backlog.store(backlog, std::memory_order_relaxed);
    if (backlog > most_backlog_) {
      about_->end(violation::none,
                  "does not take what is sent to it: " + std::to_string(backlog / 1024) + " KiB are waiting");
      // The broker is in the middle of something.
      stream_.backend().post([self = caf::intrusive_ptr<session_scribe>{this}] { self->cut(violation::none, ""); });
    }
  }

  /// @returns false when the session is over.
  bool take_frames(caf::execution_unit* ctx, std::span<const std::byte> bytes) {
    while (true) {
      if (!header_known_) {
        if (bytes.size() < frame_guard::header_size)
          break;
        auto header = bytes.first(frame_guard::header_size);
        auto word = guard_.on_header(header, session::clock::now());
        if (word.what == verdict::action::close)
          return refuse(word);
        std::copy(header.begin(), header.end(), header_.begin());
        header_known_ = true;
        bytes = bytes.subspan(frame_guard::header_size);
      }
      auto size = guard_.payload_size();
      if (bytes.size() < size)
        break;
      auto payload = bytes.first(size);
      bytes = bytes.subspan(size);
      header_known_ = false;
      auto word = guard_.on_payload(payload);
      if (word.what == verdict::action::close)
        return refuse(word);
      about_->frames_in.fetch_add(1, std::memory_order_relaxed);
      if (word.what == verdict::action::pass && !deliver(ctx, payload))
        return false;
    }
    partial_.assign(reinterpret_cast<const caf::byte*>(bytes.data()),
                    reinterpret_cast<const caf::byte*>(bytes.data()) + bytes.size());
    auto missing = (header_known_ ? guard_.payload_size() : frame_guard::header_size) - bytes.size();
    stream_.configure_read(
        io::receive_policy::at_most(missing > small_read ? std::min(missing, large_read) : small_read));
    if (partial_.empty() && partial_.capacity() > kept_)
      partial_.shrink_to_fit();
    return true;
  }

  bool refuse(const verdict& word) {
    cut(word.why, word.detail);
    return false;
  }

  bool deliver(caf::execution_unit* ctx, std::span<const std::byte> payload) {
    auto first = !about_->live.load(std::memory_order_relaxed);
    // A keep-alive has done its work by arriving.
    if (static_cast<io::basp::message_type>(header_[0]) == io::basp::message_type::heartbeat)
      return true;
    if (!hand_over(ctx, header_))
      return false;
    if (!payload.empty() && !hand_over(ctx, payload))
      return false;
    if (first && guard_.established()) {
      // CAF ignores the handshake of a process that it knows over another connection.
      auto broker = static_cast<io::basp_broker*>(parent());
      if (broker == nullptr || !broker->instance.tbl().lookup_direct(hdl())) {
        cut(violation::none, "another session with this process is still there");
        return false;
      }
      about_->live = true;
    }
    return true;
  }

  bool hand_over(caf::execution_unit* ctx, std::span<const std::byte> bytes) {
    if (detached())
      return false;
    auto from = reinterpret_cast<const caf::byte*>(bytes.data());
    delivery_.assign(from, from + bytes.size());
    auto going_on = scribe::consume(ctx, nullptr, bytes.size());
    if (delivery_.capacity() > kept_) {
      delivery_.clear();
      delivery_.shrink_to_fit();
    }
    return going_on && !detached();
  }

  session_ptr about_;
  frame_guard guard_;
  std::size_t most_backlog_;
  std::size_t kept_;
  std::function<void()> ended_;
  transport transport_;
  io::network::stream_impl<transport_policy> stream_;
  bool launched_ = false;
  bool cut_ = false;
  bool header_known_ = false;
  std::array<std::byte, frame_guard::header_size> header_{};
  caf::byte_buffer partial_;
  caf::byte_buffer delivery_;
  caf::byte_buffer outgoing_;
  std::uint64_t queued_ = 0;
};

class scribe_handle final : public session_handle {
public:
  scribe_handle(std::shared_ptr<network_thread> network, caf::intrusive_ptr<session_scribe> scribe)
    : network_(std::move(network)), scribe_(std::move(scribe)) {}

  io::scribe_ptr take() override { return scribe_; }

  void cut(violation why, const std::string& reason) override {
    network_->post([scribe = scribe_, why, reason] { scribe->cut(why, reason); });
  }

  void keep_alive() override {
    network_->post([scribe = scribe_] { scribe->keep_alive(); });
  }

private:
  std::shared_ptr<network_thread> network_;
  caf::intrusive_ptr<session_scribe> scribe_;
};

} // namespace

void session::end(violation why, const std::string& reason) {
  std::lock_guard guard{mutex_};
  if (!reason_.empty())
    return;
  why_ = why;
  reason_ = reason.empty() ? "closed" : reason;
}

std::pair<violation, std::string> session::end_reason() const {
  std::lock_guard guard{mutex_};
  return {why_, reason_};
}

std::shared_ptr<session_handle> make_session_scribe(caf::actor_system& sys, std::shared_ptr<network_thread> network,
                                                    scribe_parts parts) {
  return std::make_shared<scribe_handle>(std::move(network),
                                         caf::make_counted<session_scribe>(multiplexer(sys), std::move(parts)));
}

bool has_route(caf::actor_system& sys, const caf::node_id& node) {
  auto& broker = basp(sys);
  return !broker.getf(caf::abstract_actor::is_terminated_flag)
         && broker.instance.tbl().lookup_direct(node) != caf::none;
}

caf::strong_actor_ptr proxy_of(caf::actor_system& sys, const caf::node_id& node, caf::actor_id actor) {
  return basp(sys).instance.proxies().get_or_put(node, actor);
}

} // namespace astra
