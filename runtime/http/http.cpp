// Everything that needs Asio and Beast, in one translation unit: they cost more to compile than the rest of the layer.
// Beast parses, both ways; reading, writing and deadlines are ours, because a server that waits for its handler must
// keep reading to learn that the client is gone, which Beast's composed reads cannot do.

#include "config/endpoint.hpp"
#include "messages/errc.hpp"
#include "messages/type_ids.hpp"
#include "runtime/http/caller.hpp"
#include "runtime/http/client_info.hpp"
#include "runtime/http/fetch.hpp"
#include "runtime/http/server.hpp"
#include "runtime/net/tls.hpp"

// Asio 1.74 uses std::exchange without including this, which fails under C++20.
#include <utility>

#include <boost/asio/connect.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/fields.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <caf/error.hpp>
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cassert>
#include <cerrno>
#include <condition_variable>
#include <cstdlib>
#include <ctime>
#include <limits>
#include <list>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <thread>

namespace astra {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using asio::ip::tcp;
using asio::local::stream_protocol;
using plain_socket = asio::generic::stream_protocol::socket;
using boost::system::error_code;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

/// How long a connection that was answered "close" may go on sending before it is cut.  Closing at once would reset
/// it, and the client could lose the answer.
constexpr auto linger_time = milliseconds{1000};

/// Bytes that one read takes.
constexpr std::size_t chunk_bytes = 16 * 1024;

/// "192.0.2.7" of "192.0.2.7:51234".
std::string_view machine_of(std::string_view address) {
  return address.substr(0, address.rfind(':'));
}

/// Slower than this, a body or the taking of an answer is no progress.
constexpr std::uint64_t slowest_bytes_per_s = 1024;

/// What may be on its way at once in any case.
constexpr std::uint64_t bodies_bytes_least = 64 * 1024 * 1024;

/// Over-limit connections that are being told so; those above are closed without a word.
constexpr std::size_t refusals_max = 128;

std::string join_address(const std::string& host, std::uint16_t port) {
  return host.find(':') == std::string::npos ? fmt::format("{}:{}", host, port) : fmt::format("[{}]:{}", host, port);
}

/// Text as it may stand in a header or request line: a line break in it would start a header of its own.
std::string one_line(std::string_view text) {
  std::string result{text};
  std::replace_if(
      result.begin(), result.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; }, ' ');
  return result;
}

bool is_token_line(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](unsigned char c) { return c > 0x20 && c != 0x7f; });
}

http_response plain_error(std::uint16_t status, std::string_view code, std::string_view message) {
  http_response result;
  result.status = status;
  result.body = plain_error_body(code, message);
  return result;
}

/// @param known bytes of the body; nothing: their number is not known, and the body follows in chunks
std::string render_head(const http_response& response, bool keep_alive, std::optional<std::uint64_t> known) {
  auto reason = http::obsolete_reason(http::int_to_status(response.status));
  auto length = known ? fmt::format("Content-Length: {}", *known) : std::string{"Transfer-Encoding: chunked"};
  auto head = fmt::format("HTTP/1.1 {} {}\r\nContent-Type: {}\r\n{}\r\nConnection: {}\r\n", response.status,
                          std::string_view{reason.data(), reason.size()}, one_line(response.content_type), length,
                          keep_alive ? "keep-alive" : "close");
  for (auto& [name, value] : response.headers)
    head += fmt::format("{}: {}\r\n", one_line(name), one_line(value));
  head += "\r\n";
  return head;
}

/// The length that the handler tells of a body that it will send in pieces.
std::optional<std::uint64_t> take_length(http_headers& headers) {
  auto found = std::ranges::find(headers, "Content-Length", &http_headers::value_type::first);
  if (found == headers.end())
    return std::nullopt;
  auto length = std::strtoull(found->second.c_str(), nullptr, 10);
  headers.erase(found);
  return length;
}

// -- streams ---------------------------------------------------------------------------------------------------------

/// A connected socket, with TLS on it or without, as Asio and Beast know streams.
class stream {
public:
  using executor_type = plain_socket::executor_type;

  explicit stream(plain_socket socket, std::unique_ptr<tls_session> tls = nullptr)
    : socket_(std::move(socket)), tls_(std::move(tls)) {}

  executor_type get_executor() { return socket_.get_executor(); }
  plain_socket& socket() { return socket_; }
  tls_session* tls() { return tls_.get(); }

  /// Calls done(error_code) after the handshake; error() then says why it failed.
  template <class Done>
  void async_handshake(Done done) {
    drive([this](std::size_t&) { return tls_->handshake(); },
          [done = std::move(done)](error_code ec, std::size_t) mutable { done(ec); });
  }

  template <class Buffers, class Handler>
  void async_read_some(const Buffers& buffers, Handler&& handler) {
    if (!tls_) {
      socket_.async_read_some(buffers, std::forward<Handler>(handler));
      return;
    }
    asio::mutable_buffer into;
    for (auto i = asio::buffer_sequence_begin(buffers); i != asio::buffer_sequence_end(buffers) && into.size() == 0;
         ++i)
      into = *i;
    drive([this, into](std::size_t& count) { return tls_->read(into.data(), into.size(), count); },
          std::decay_t<Handler>(std::forward<Handler>(handler)));
  }

  template <class Buffers, class Handler>
  void async_write_some(const Buffers& buffers, Handler&& handler) {
    if (!tls_) {
      socket_.async_write_some(buffers, std::forward<Handler>(handler));
      return;
    }
    asio::const_buffer from;
    for (auto i = asio::buffer_sequence_begin(buffers); i != asio::buffer_sequence_end(buffers) && from.size() == 0;
         ++i)
      from = *i;
    drive(
        [this, from](std::size_t& count) {
          return from.size() == 0 ? tls_step::done : tls_->write(from.data(), from.size(), count);
        },
        std::decay_t<Handler>(std::forward<Handler>(handler)));
  }

  void shutdown_send(error_code& ec) {
    if (tls_)
      tls_->shut_down();
    socket_.shutdown(plain_socket::shutdown_send, ec);
  }

  void close() {
    error_code ignored;
    if (tls_ && socket_.is_open())
      tls_->shut_down();
    socket_.close(ignored);
  }

  void begin_tls(std::unique_ptr<tls_session> tls) { tls_ = std::move(tls); }

  /// From now on bytes are read as they come.
  void drop_tls() { tls_.reset(); }

  std::string tls_error() const { return tls_ ? tls_->error() : std::string{}; }

private:
  /// Takes one step until it is done or has failed, waiting for the socket in between.  The handler keeps whoever owns
  /// this stream alive.
  template <class Step, class Handler>
  void drive(Step step, Handler handler) {
    auto finish = [this](Handler done, error_code ec, std::size_t count) {
      asio::post(get_executor(), [done = std::move(done), ec, count]() mutable { done(ec, count); });
    };
    if (!socket_.is_open()) { // Its number may be another's by now.
      finish(std::move(handler), asio::error::operation_aborted, 0);
      return;
    }
    std::size_t count = 0;
    switch (auto result = step(count); result) {
    case tls_step::done:
      return finish(std::move(handler), {}, count);
    case tls_step::closed:
      return finish(std::move(handler), asio::error::eof, 0);
    case tls_step::failed:
      return finish(std::move(handler), asio::error::connection_aborted, 0);
    case tls_step::want_read:
    case tls_step::want_write:
      socket_.async_wait(result == tls_step::want_read ? plain_socket::wait_read : plain_socket::wait_write,
                         [this, step, handler = std::move(handler)](error_code ec) mutable {
                           if (ec)
                             handler(ec, 0);
                           else
                             drive(step, std::move(handler));
                         });
    }
  }

  plain_socket socket_;
  std::unique_ptr<tls_session> tls_;
};

// -- server ----------------------------------------------------------------------------------------------------------

/// What an exchange and its connection both know.
struct exchange_flags {
  std::atomic<bool> answered = false;
  std::atomic<bool> gone = false;
};

using request_parser = http::request_parser<http::string_body>;

http_request take_request(request_parser& parser) {
  auto message = parser.release();
  http_request result;
  result.method = std::string{message.method_string()};
  result.target = std::string{message.target()};
  for (auto& field : message) {
    std::string name{field.name_string()};
    std::transform(name.begin(), name.end(), name.begin(),
                   [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
    result.headers.emplace_back(std::move(name), std::string{field.value()});
  }
  result.body = std::make_shared<const std::string>(std::move(message.body()));
  return result;
}

} // namespace

std::string plain_error_body(std::string_view code, std::string_view message) {
  return fmt::format(R"({{"error":{{"code":"{}","message":"{}"}}}})", code, message);
}

class http_server::core : public std::enable_shared_from_this<core> {
public:
  class connection;

  core(http_server_options options, handler handle) : options(std::move(options)), handle(std::move(handle)) {}

  caf::expected<void> listen();
  void accept();
  void close();
  void remove(const std::shared_ptr<connection>& client);

  // Only `io`, `drained` with its mutex, `open_` and `bound` are touched by other threads.
  const http_server_options options;
  const handler handle;
  asio::io_context io{1};
  tcp::endpoint bound;
  bool closing = false;
  std::thread thread;
  std::mutex mutex;
  std::condition_variable drained;
  bool closed_and_empty = false;
  /// Of bodies that are on their way.
  std::uint64_t bodies_bytes = 0;

  std::uint64_t bodies_bytes_max() const {
    return options.bodies_bytes_max != 0 ? options.bodies_bytes_max
                                         : std::max(bodies_bytes_least, 4 * options.body_limit_bytes);
  }

  /// Tells about a handshake that failed, but of many only how many: who fails them must not fill the log.
  void note_refused(const std::string& from, const std::string& why);

private:
  caf::expected<void> listen_unix();
  template <class Acceptor>
  void accept(Acceptor& acceptor, asio::steady_timer& pause);
  void admit(tcp::socket socket);
  void admit(stream_protocol::socket socket);
  void admit(plain_socket socket, http_client_info info, bool refused);
  void check_drained();
  bool make_room(std::string_view newcomer);

  tcp::acceptor acceptor_{io};
  asio::steady_timer accept_pause_{io};
  stream_protocol::acceptor unix_acceptor_{io};
  asio::steady_timer unix_accept_pause_{io};
  steady_clock::time_point refusal_noted_;
  std::size_t refusals_unsaid_ = 0;
  std::set<std::shared_ptr<connection>> connections_;
  std::size_t refused_ = 0;

  friend class http_server;
};

/// One client.  All of it runs on the server's thread.
class http_server::core::connection : public std::enable_shared_from_this<connection> {
public:
  connection(core& owner, stream socket, http_client_info info, bool refused)
    : owner_(owner), socket_(std::move(socket)), info_(std::move(info)), timer_(owner.io), refused_(refused) {}

  bool refused() const { return refused_; }

  /// The address without its port; "": not over TCP.
  std::string_view machine() const {
    return info_.door == http_door::unix_socket ? std::string_view{} : machine_of(info_.from);
  }

  /// Nothing is lost but patience when it is closed.
  bool waits_for_request() const {
    return phase_ == phase::shaking_hands || phase_ == phase::lingering
           || (phase_ == phase::reading && !(parser_ && parser_->is_header_done()));
  }

  steady_clock::time_point activity() const { return activity_; }

  void start() {
    touch();
    if (info_.door == http_door::tls) {
      await_client();
      return;
    }
    watch();
    if (refused_) {
      auto response = plain_error(
          503, "too_many_connections",
          fmt::format("this server takes {} connections at once; try again later", owner_.options.connections_max));
      response.headers.emplace_back("Retry-After", "1");
      reject(std::move(response));
      return;
    }
    read();
  }

  /// Sends the answer of the exchange that is pending.
  void answer(http_response response) {
    if (phase_ != phase::handling)
      return;
    phase_ = phase::writing;
    gone_ = nullptr;
    flags_ = nullptr;
    head_text_ = render_head(response, keep_alive_ && !owner_.closing, response.body.size());
    body_ = head_only_ ? std::string{} : std::move(response.body);
    touch();
    std::array<asio::const_buffer, 2> buffers{asio::buffer(head_text_), asio::buffer(body_)};
    // Called after every partial write: a slow reader is not an idle one.
    begin_pace();
    auto progress = [self = shared_from_this()](error_code ec, std::size_t count) -> std::size_t {
      self->touch();
      self->moved_ = count;
      return ec ? 0 : 4 * chunk_bytes;
    };
    asio::async_write(socket_, buffers, progress,
                      [self = shared_from_this()](error_code ec, std::size_t) { self->on_written(ec); });
  }

  /// Begins the answer of the exchange that is pending; write() sends its body, end_stream() is its end.
  void begin_stream(const std::shared_ptr<exchange_flags>& flags, http_response head) {
    if (phase_ != phase::handling || flags != flags_)
      return;
    left_ = take_length(head.headers);
    if (old_http_ && !left_) {
      // It could not tell a body that was cut from a whole one.
      gone();
      answer(plain_error(505, "http_version", "this answer comes in pieces: ask with HTTP/1.1"));
      return;
    }
    head_text_ = render_head(head, keep_alive_ && !owner_.closing, left_);
    touch();
    if (head_only_) {
      gone();
      flags_ = nullptr;
      phase_ = phase::writing;
      asio::async_write(socket_, asio::buffer(head_text_),
                        [self = shared_from_this()](error_code ec, std::size_t) { self->on_written(ec); });
      return;
    }
    phase_ = phase::streaming;
    waiting_ = std::move(head_text_);
    stream_end_ = stream_end::open;
    flush();
  }

  void write(const std::shared_ptr<exchange_flags>& flags, const std::string& piece, std::function<void()> taken) {
    if (phase_ != phase::streaming || flags != flags_ || stream_end_ != stream_end::open)
      return;
    if (left_) {
      assert(piece.size() <= *left_);
      *left_ -= piece.size();
      waiting_ += piece;
    } else if (!piece.empty()) { // An empty chunk would be the end.
      waiting_ += fmt::format("{:x}\r\n", piece.size());
      waiting_ += piece;
      waiting_ += "\r\n";
    }
    if (taken)
      taken_.push_back(std::move(taken));
    flush();
  }

  /// @param whole false: the client is to learn that something is missing.
  void end_stream(const std::shared_ptr<exchange_flags>& flags, bool whole) {
    if (phase_ != phase::streaming || flags != flags_ || stream_end_ != stream_end::open)
      return;
    whole = whole && left_.value_or(0) == 0;
    stream_end_ = whole ? stream_end::whole : stream_end::cut;
    if (whole && !left_)
      waiting_ += "0\r\n\r\n";
    flush();
  }

  void on_gone(const std::shared_ptr<exchange_flags>& flags, std::function<void()> what) {
    if (flags == flags_)
      gone_ = std::move(what);
    else if (flags->gone)
      what();
  }

  /// The server takes no more requests: closes now unless a request is under way.
  void finish_up() {
    auto idle = phase_ == phase::reading && pending_.empty() && (!parser_ || !parser_->got_some());
    if (idle || phase_ == phase::lingering || phase_ == phase::shaking_hands)
      close();
  }

  void close() {
    if (phase_ == phase::closed)
      return;
    phase_ = phase::closed;
    forget_body();
    socket_.close();
    timer_.cancel();
    gone();
    owner_.remove(shared_from_this());
  }

private:
  enum class phase {
    /// TLS first.
    shaking_hands,
    /// Waiting for a request or in the middle of one.
    reading,
    /// Telling the client to go on with its body.
    continuing,
    /// The handler has the request.
    handling,
    writing,
    /// The answer comes in pieces, whenever the handler has one.
    streaming,
    /// Answered for the last time, waiting for the client to close.
    lingering,
    closed,
  };

  void touch() { activity_ = steady_clock::now(); }

  /// Tells the handler that nobody waits any more.
  void gone() {
    if (!flags_)
      return;
    flags_->gone = true;
    if (auto tell = std::exchange(gone_, nullptr))
      tell();
  }

  /// Sends what waits of a stream, one write at a time.
  void flush() {
    if (stream_writing_)
      return;
    if (waiting_.empty()) {
      // In the order of the pieces; a callback may write the next at once.
      for (auto& taken : std::exchange(taken_, {}))
        taken();
      if (stream_writing_ || !waiting_.empty() || stream_end_ == stream_end::open)
        return;
      auto whole = stream_end_ == stream_end::whole;
      gone_ = nullptr;
      flags_ = nullptr;
      if (whole) {
        phase_ = phase::writing;
        on_written({});
      } else {
        linger();
      }
      return;
    }
    stream_writing_ = true;
    body_ = std::exchange(waiting_, {});
    touch();
    auto progress = [self = shared_from_this()](error_code ec, std::size_t) -> std::size_t {
      self->touch();
      return ec ? 0 : 4 * chunk_bytes;
    };
    asio::async_write(socket_, asio::buffer(body_), progress, [self = shared_from_this()](error_code ec, std::size_t) {
      self->stream_writing_ = false;
      if (self->phase_ == phase::closed)
        return;
      if (ec)
        self->close();
      else
        self->flush();
    });
  }

  /// Until a client says something it costs no TLS session and no buffer.
  void await_client() {
    phase_ = phase::shaking_hands;
    timer_.expires_after(owner_.options.handshake_timeout);
    watch_expiry();
    socket_.socket().async_wait(plain_socket::wait_read, [self = shared_from_this()](error_code ec) {
      if (self->phase_ == phase::closed)
        return;
      if (ec) {
        self->close();
        return;
      }
      auto& socket = self->socket_.socket();
      self->socket_.begin_tls(self->owner_.options.tls->accept_anyone(socket.native_handle()));
      self->shake_hands();
    });
  }

  void shake_hands() {
    socket_.async_handshake([self = shared_from_this()](error_code ec) {
      if (self->phase_ == phase::closed)
        return;
      if (ec) {
        self->owner_.note_refused(self->info_.from, self->socket_.tls_error());
        self->socket_.drop_tls();
        self->linger();
        return;
      }
      auto& tls = *self->socket_.tls();
      if (!tls.peer().roles.empty()) {
        self->info_.identity = tls.peer();
        self->info_.fingerprint = tls.fingerprint();
        self->certificate_ends_ = tls.peer_expires_at();
      }
      self->phase_ = phase::reading;
      self->touch();
      self->watch();
      // Some of the request may be decrypted already, which no poll tells of.
      self->make_chunk();
      self->read();
    });
  }

  void make_chunk() { chunk_ = std::make_unique<std::array<char, chunk_bytes>>(); }

  std::size_t pending_max() const { return owner_.options.header_limit_bytes + chunk_bytes; }

  /// Keeps one read under way, also while the handler works.  Stops when the client is too far ahead.
  void read() {
    if (read_pending_ || phase_ == phase::closed || pending_.size() >= pending_max())
      return;
    read_pending_ = true;
    if (!chunk_) {
      socket_.socket().async_wait(plain_socket::wait_read, [self = shared_from_this()](error_code ec) {
        self->read_pending_ = false;
        if (ec)
          self->on_read(ec, 0);
        else if (self->phase_ != phase::closed) {
          self->make_chunk();
          self->read();
        }
      });
      return;
    }
    socket_.async_read_some(asio::buffer(*chunk_), [self = shared_from_this()](error_code ec, std::size_t size) {
      self->read_pending_ = false;
      self->on_read(ec, size);
    });
  }

  void on_read(error_code ec, std::size_t size) {
    if (phase_ == phase::closed)
      return;
    if (ec) {
      on_end(ec);
      return;
    }
    if (phase_ == phase::lingering) {
      read();
      return;
    }
    pending_.append(chunk_->data(), size);
    if (phase_ == phase::reading)
      advance();
    else
      read();
  }

  void on_end(error_code ec) {
    auto unfinished = phase_ == phase::reading && (!pending_.empty() || (parser_ && parser_->got_some()));
    if (unfinished && ec == asio::error::eof)
      reject(plain_error(400, "bad_request", "the request ends before it is complete"));
    else if (phase_ == phase::writing)
      keep_alive_ = false; // Half closed: it may still want its answer.
    else
      close();
  }

  /// Parses what has come so far.
  void advance() {
    while (!pending_.empty()) {
      if (!parser_ && !begin_request())
        break;
      error_code ec;
      auto used = parser_->put(asio::buffer(pending_), ec);
      pending_.erase(0, used);
      if (header_seen_) {
        moved_ += used;
        body_bytes_ += used;
        owner_.bodies_bytes += used;
      }
      if (ec == http::error::need_more) {
        if (pending_.size() >= pending_max())
          ec = http::error::header_limit;
        else
          break;
      }
      if (ec) {
        reject(explain(ec));
        return;
      }
      if (parser_->is_header_done()) {
        touch(); // Not before: a header must be complete within the idle timeout.
        if (!std::exchange(header_seen_, true) && (!check_framing() || !check_body_rule() || !check_expectation()))
          return;
        if (!parser_->is_done() && owner_.bodies_bytes > owner_.bodies_bytes_max()) {
          auto response = plain_error(
              503, "too_much_at_once",
              fmt::format("this server takes {} bytes of bodies at once; try again later", owner_.bodies_bytes_max()));
          response.headers.emplace_back("Retry-After", "1");
          reject(std::move(response));
          return;
        }
      }
      if (parser_->is_done()) {
        dispatch();
        return;
      }
    }
    read();
  }

  /// False when there is nothing yet but line breaks, which some clients send after a body.
  bool begin_request() {
    pending_.erase(0, std::min(pending_.find_first_not_of("\r\n"), pending_.size()));
    if (pending_.empty())
      return false;
    parser_.emplace();
    parser_->header_limit(static_cast<std::uint32_t>(owner_.options.header_limit_bytes));
    parser_->body_limit(owner_.options.body_limit_bytes);
    header_seen_ = false;
    rule_ = {};
    touch();
    begin_pace();
    return true;
  }

  void begin_pace() {
    moved_ = 0;
    pace_began_ = steady_clock::now();
  }

  /// The body of the request is somebody else's now, or nobody's.
  void forget_body() { owner_.bodies_bytes -= std::exchange(body_bytes_, 0); }

  /// False when it is not certain where the body ends: whoever sees another end than we do takes a part of it for the
  /// next request.  Beast lets a coding that it does not know pass for none.
  bool check_framing() {
    auto codings = parser_->get().equal_range(http::field::transfer_encoding);
    if (codings.first == codings.second)
      return true;
    auto alone = std::next(codings.first) == codings.second;
    if (alone && boost::beast::iequals(codings.first->value(), "chunked") && parser_->chunked())
      return true;
    reject(plain_error(501, "bad_request", "the only Transfer-Encoding that this server takes is chunked"));
    return false;
  }

  /// False when the body that is announced is too large for this client.
  bool check_body_rule() {
    begin_pace();
    auto& options = owner_.options;
    if (!options.body_rule)
      return true;
    auto& head = parser_->get();
    rule_ = options.body_rule({head.method_string().data(), head.method_string().size()},
                              {head.target().data(), head.target().size()}, info_);
    if (rule_->limit_bytes >= options.body_limit_bytes)
      return true;
    parser_->body_limit(rule_->limit_bytes);
    if (parser_->content_length().value_or(0) <= rule_->limit_bytes)
      return true;
    reject(explain(http::error::body_limit));
    return false;
  }

  /// False when parsing must wait or has ended.
  bool check_expectation() {
    auto expectation = parser_->get()[http::field::expect];
    if (expectation.empty() || parser_->is_done())
      return true;
    if (!boost::beast::iequals(expectation, "100-continue")) {
      reject(plain_error(417, "bad_request", "the only expectation this server meets is 100-continue"));
      return false;
    }
    if (!pending_.empty())
      return true; // The client did not wait.
    static constexpr std::string_view text = "HTTP/1.1 100 Continue\r\n\r\n";
    phase_ = phase::continuing;
    asio::async_write(socket_, asio::buffer(text), [self = shared_from_this()](error_code ec, std::size_t) {
      if (self->phase_ == phase::closed)
        return;
      if (ec) {
        self->close();
        return;
      }
      self->phase_ = phase::reading;
      self->advance();
    });
    return false;
  }

  http_response explain(error_code ec) const {
    auto& options = owner_.options;
    if (ec == http::error::header_limit)
      return plain_error(431, "header_too_large",
                         fmt::format("request line and headers are limited to {} bytes", options.header_limit_bytes));
    if (ec == http::error::body_limit && rule_ && rule_->refusal)
      return *rule_->refusal;
    if (ec == http::error::body_limit)
      return plain_error(
          413, "body_too_large",
          fmt::format("the body is limited to {} bytes",
                      rule_ ? std::min(rule_->limit_bytes, options.body_limit_bytes) : options.body_limit_bytes));
    return plain_error(400, "bad_request", fmt::format("malformed HTTP request: {}", ec.message()));
  }

  void dispatch();

  /// Answers in place of the handler, for the last time on this connection.
  void reject(http_response response) {
    parser_.reset();
    forget_body();
    keep_alive_ = false;
    head_only_ = false;
    phase_ = phase::handling;
    answer(std::move(response));
  }

  void on_written(error_code ec) {
    if (phase_ == phase::closed)
      return;
    body_ = {};
    if (ec) {
      close();
      return;
    }
    touch();
    if (keep_alive_ && !owner_.closing) {
      phase_ = phase::reading;
      advance();
      return;
    }
    auto all_read = keep_alive_ && pending_.empty();
    if (all_read) {
      close(); // The server ends; nothing is under way that a reset could destroy.
      return;
    }
    linger();
  }

  /// Sends no more and waits for the client to close: to close first could destroy what it has not read yet.
  void linger() {
    phase_ = phase::lingering;
    pending_.clear();
    error_code ec;
    socket_.shutdown_send(ec);
    if (ec) {
      close();
      return;
    }
    timer_.expires_after(linger_time);
    watch_expiry();
    read();
  }

  void watch() {
    timer_.expires_after(owner_.options.idle_timeout);
    watch_expiry();
  }

  void watch_expiry() {
    timer_.async_wait([weak = weak_from_this()](error_code ec) {
      auto self = weak.lock();
      if (!ec && self)
        self->on_timer();
    });
  }

  /// One timer per connection, looked at rarely, instead of one restarted with every read.
  void on_timer() {
    if (phase_ == phase::closed)
      return;
    if (phase_ == phase::shaking_hands)
      owner_.note_refused(info_.from, "the TLS handshake was not complete in time");
    if (phase_ == phase::lingering || phase_ == phase::shaking_hands) {
      close();
      return;
    }
    if (phase_ == phase::handling || (phase_ == phase::streaming && !stream_writing_)) {
      watch();
      return;
    }
    auto limit = owner_.options.idle_timeout;
    auto due = activity_ + limit;
    auto moving = phase_ == phase::writing || (phase_ == phase::reading && parser_ && header_seen_);
    auto since = steady_clock::now() - pace_began_;
    auto least = std::chrono::duration<double>(since).count() * static_cast<double>(slowest_bytes_per_s);
    auto slow = moving && since >= limit && static_cast<double>(moved_) < least;
    if (!slow && steady_clock::now() < due) {
      timer_.expires_at(due);
      watch_expiry();
      return;
    }
    if (phase_ == phase::reading && parser_) {
      watch();
      reject(plain_error(408, "request_timeout", "the request did not arrive in time"));
      return;
    }
    close();
  }

  core& owner_;
  stream socket_;
  http_client_info info_;
  asio::steady_timer timer_;
  const bool refused_;
  /// Seconds of the system clock; of the client's certificate.
  std::int64_t certificate_ends_ = 0;
  /// What the gateway says about the body of the request that is coming.
  std::optional<http_body_rule> rule_;
  /// Bytes of that body so far.
  std::uint64_t body_bytes_ = 0;
  /// Bytes of a body or an answer, and since when.
  std::uint64_t moved_ = 0;
  steady_clock::time_point pace_began_;
  phase phase_ = phase::reading;
  steady_clock::time_point activity_;

  bool read_pending_ = false;
  /// Made when the first byte is there.
  std::unique_ptr<std::array<char, chunk_bytes>> chunk_;
  /// Received, not parsed yet.
  std::string pending_;
  std::optional<request_parser> parser_;
  bool header_seen_ = false;

  bool keep_alive_ = false;
  bool head_only_ = false;
  std::shared_ptr<exchange_flags> flags_;
  std::function<void()> gone_;
  /// The client speaks HTTP/1.0.
  bool old_http_ = false;
  std::string head_text_;
  std::string body_;

  // While streaming: what is not on its way yet, and who wants to know when it is.
  enum class stream_end { open, whole, cut };
  std::string waiting_;
  std::vector<std::function<void()>> taken_;
  bool stream_writing_ = false;
  /// Of the body, where its length was told.
  std::optional<std::uint64_t> left_;
  stream_end stream_end_ = stream_end::open;
};

namespace {

/// The body of an answer that comes in pieces.  Like its exchange it keeps neither socket nor server.
template <class Core>
class live_stream : public http_stream {
public:
  using connection = typename Core::connection;

  live_stream(const std::weak_ptr<Core>& owner, const std::weak_ptr<connection>& client,
              std::shared_ptr<exchange_flags> flags)
    : owner_(owner), client_(client), flags_(std::move(flags)) {}

  ~live_stream() override { finish(false); }

  void write(std::string piece, std::function<void()> taken) override {
    if (auto owner = owner_.lock())
      asio::post(owner->io,
                 [client = client_, flags = flags_, piece = std::move(piece), taken = std::move(taken)]() mutable {
                   if (auto live = client.lock())
                     live->write(flags, piece, std::move(taken));
                 });
  }

  void end() override { finish(true); }

private:
  void finish(bool whole) {
    if (ended_.exchange(true))
      return;
    if (auto owner = owner_.lock())
      asio::post(owner->io, [client = client_, flags = flags_, whole] {
        if (auto live = client.lock())
          live->end_stream(flags, whole);
      });
  }

  const std::weak_ptr<Core> owner_;
  const std::weak_ptr<connection> client_;
  const std::shared_ptr<exchange_flags> flags_;
  std::atomic<bool> ended_ = false;
};

/// The server's half of an exchange.  It reaches its connection by weak references only, so that whoever keeps it
/// keeps neither socket nor server.
template <class Core>
class live_exchange : public http_exchange {
public:
  using connection = typename Core::connection;

  live_exchange(http_request request, const std::shared_ptr<Core>& owner, const std::shared_ptr<connection>& client,
                std::shared_ptr<exchange_flags> flags)
    : request_(std::move(request)), owner_(owner), client_(client), flags_(std::move(flags)) {}

  ~live_exchange() override {
    if (!flags_->answered)
      answer(plain_error(500, "internal", "the request was dropped without an answer; see the log of this process"));
  }

  const http_request& request() const override { return request_; }

  bool answer(http_response response) override {
    if (flags_->answered.exchange(true))
      return false;
    // The strong reference keeps the io_context alive for the duration of the post.
    if (auto owner = owner_.lock())
      asio::post(owner->io, [client = client_, response = std::move(response)]() mutable {
        if (auto live = client.lock())
          live->answer(std::move(response));
      });
    return true;
  }

  http_stream_ptr begin(http_response head) override {
    if (flags_->answered.exchange(true))
      return nullptr;
    if (auto owner = owner_.lock())
      asio::post(owner->io, [client = client_, flags = flags_, head = std::move(head)]() mutable {
        if (auto live = client.lock())
          live->begin_stream(flags, std::move(head));
      });
    return std::make_shared<live_stream<Core>>(owner_, client_, flags_);
  }

  void on_gone(std::function<void()> what) override {
    if (auto owner = owner_.lock())
      asio::post(owner->io, [client = client_, flags = flags_, what = std::move(what)]() mutable {
        if (auto live = client.lock())
          live->on_gone(flags, std::move(what));
        else if (flags->gone)
          what();
      });
  }

private:
  const http_request request_;
  const std::weak_ptr<Core> owner_;
  const std::weak_ptr<connection> client_;
  const std::shared_ptr<exchange_flags> flags_;
};

} // namespace

void http_server::core::connection::dispatch() {
  keep_alive_ = parser_->get().keep_alive();
  head_only_ = parser_->get().method() == http::verb::head;
  old_http_ = parser_->get().version() < 11;
  auto request = take_request(*parser_);
  parser_.reset();
  forget_body();
  if (info_.identity && owner_.options.tls->revoked(info_.fingerprint)) {
    reject(plain_error(401, "revoked", "your certificate is revoked; ask whoever keeps the authority for a new one"));
    return;
  }
  if (info_.identity && certificate_ends_ < static_cast<std::int64_t>(std::time(nullptr))) {
    reject(plain_error(401, "expired", "your certificate has expired; renew it and connect again"));
    return;
  }
  put_client_info(request.headers, info_);
  phase_ = phase::handling;
  flags_ = std::make_shared<exchange_flags>();
  owner_.handle(
      std::make_shared<live_exchange<core>>(std::move(request), owner_.shared_from_this(), shared_from_this(), flags_));
  read();
}

caf::expected<void> http_server::core::listen() {
  auto fail = [this](const std::string& why) {
    return caf::make_error(errc::io_failed, fmt::format("cannot listen on {}: {}", options.listen, why));
  };
  auto place = parse_endpoint(options.listen);
  if (!place)
    return fail("it must be host:port, such as 127.0.0.1:9750");
  error_code ec;
  tcp::resolver resolver{io};
  auto found = resolver.resolve(place->host, std::to_string(place->port), tcp::resolver::passive, ec);
  if (ec || found.empty())
    return fail(ec ? ec.message() : "no such host");
  auto endpoint = found.begin()->endpoint();
  acceptor_.open(endpoint.protocol(), ec);
  if (!ec)
    acceptor_.set_option(tcp::acceptor::reuse_address{true}, ec);
  if (!ec)
    acceptor_.bind(endpoint, ec);
  if (!ec)
    acceptor_.listen(asio::socket_base::max_listen_connections, ec);
  if (!ec)
    bound = acceptor_.local_endpoint(ec);
  if (ec)
    return fail(ec.message());
  return options.unix_path.empty() ? caf::expected<void>{} : listen_unix();
}

caf::expected<void> http_server::core::listen_unix() {
  auto fail = [this](const std::string& why) {
    return caf::make_error(errc::io_failed, fmt::format("cannot listen on {}: {}", options.unix_path, why));
  };
  if (options.unix_path.size() >= sizeof(sockaddr_un::sun_path))
    return fail(fmt::format("the path has {} bytes and a socket's may have {}; choose a shorter directory",
                            options.unix_path.size(), sizeof(sockaddr_un::sun_path) - 1));
  ::unlink(options.unix_path.c_str());
  error_code ec;
  unix_acceptor_.open(stream_protocol{}, ec);
  // Before bind, which takes the mode over: there is no moment at which others could connect.
  if (!ec && ::fchmod(unix_acceptor_.native_handle(), 0600) != 0)
    ec = {errno, boost::system::system_category()};
  if (!ec)
    unix_acceptor_.bind(stream_protocol::endpoint{options.unix_path}, ec);
  if (!ec)
    unix_acceptor_.listen(asio::socket_base::max_listen_connections, ec);
  if (ec)
    return fail(ec.message());
  return {};
}

void http_server::core::accept() {
  accept(acceptor_, accept_pause_);
  if (unix_acceptor_.is_open())
    accept(unix_acceptor_, unix_accept_pause_);
}

template <class Acceptor>
void http_server::core::accept(Acceptor& acceptor, asio::steady_timer& pause) {
  acceptor.async_accept([this, &acceptor, &pause](error_code ec, typename Acceptor::protocol_type::socket socket) {
    if (!acceptor.is_open())
      return;
    if (!ec) {
      admit(std::move(socket));
      accept(acceptor, pause);
      return;
    }
    // Mostly: no file descriptor left.  Trying again at once would spin.
    spdlog::warn("http.accept_failed listen={} reason=\"{}\"", options.listen, ec.message());
    pause.expires_after(milliseconds{100});
    pause.async_wait([this, &acceptor, &pause](error_code cancelled) {
      if (!cancelled && acceptor.is_open())
        accept(acceptor, pause);
    });
  });
}

void http_server::core::admit(tcp::socket socket) {
  error_code ec;
  socket.set_option(tcp::no_delay{true}, ec);
  http_client_info info;
  info.door = options.tls ? http_door::tls : http_door::plain;
  if (auto peer = socket.remote_endpoint(ec); !ec)
    info.from = join_address(peer.address().to_string(), peer.port());
  // Those in the handshake count, too: a silent socket costs as much as another.
  auto refused = connections_.size() - refused_ >= options.connections_max && !make_room(machine_of(info.from));
  // To be told so in TLS would cost us a handshake.
  if (refused && (refused_ >= refusals_max || options.tls))
    return;
  admit(plain_socket{std::move(socket)}, std::move(info), refused);
}

void http_server::core::admit(stream_protocol::socket socket) {
  http_client_info info;
  info.door = http_door::unix_socket;
  ucred peer{};
  socklen_t size = sizeof(peer);
  if (::getsockopt(socket.native_handle(), SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0)
    return;
  info.from = fmt::format("uid={} pid={}", peer.uid, peer.pid);
  // Never refused: it is the way in when others have taken every place.
  admit(plain_socket{std::move(socket)}, std::move(info), false);
}

void http_server::core::note_refused(const std::string& from, const std::string& why) {
  ++refusals_unsaid_;
  auto now = steady_clock::now();
  if (now - refusal_noted_ < std::chrono::seconds{1})
    return;
  spdlog::warn("http.tls_refused from={} count={} reason=\"{}\"", from, std::exchange(refusals_unsaid_, 0), why);
  refusal_noted_ = now;
}

void http_server::core::admit(plain_socket socket, http_client_info info, bool refused) {
  error_code ec;
  socket.native_non_blocking(true, ec);
  auto client = std::make_shared<connection>(*this, stream{std::move(socket)}, std::move(info), refused);
  connections_.insert(client);
  refused_ += refused ? 1 : 0;
  client->start();
}

/// Closes the connection that has waited longest for its next request, of the address with most that wait, if the
/// newcomer's address has fewer connections than that.
bool http_server::core::make_room(std::string_view newcomer) {
  struct waiting {
    std::size_t count = 0;
    std::shared_ptr<connection> oldest;
  };
  std::map<std::string_view, waiting> machines;
  std::size_t newcomers = 0;
  for (auto& client : connections_) {
    newcomers += client->machine() == newcomer ? 1 : 0;
    if (client->refused() || client->machine().empty() || !client->waits_for_request())
      continue;
    auto& [count, oldest] = machines[client->machine()];
    ++count;
    if (!oldest || client->activity() < oldest->activity())
      oldest = client;
  }
  auto most = std::max_element(machines.begin(), machines.end(),
                               [](auto& a, auto& b) { return a.second.count < b.second.count; });
  if (most == machines.end() || most->second.count <= newcomers + 1)
    return false;
  auto oldest = most->second.oldest;
  oldest->close();
  return true;
}

void http_server::core::remove(const std::shared_ptr<connection>& client) {
  if (connections_.erase(client) != 0)
    refused_ -= client->refused() ? 1 : 0;
  check_drained();
}

void http_server::core::close() {
  closing = true;
  error_code ignored;
  acceptor_.close(ignored);
  accept_pause_.cancel();
  if (unix_acceptor_.is_open()) {
    unix_acceptor_.close(ignored);
    ::unlink(options.unix_path.c_str());
  }
  unix_accept_pause_.cancel();
  for (auto& client : std::vector(connections_.begin(), connections_.end()))
    client->finish_up();
  check_drained();
}

void http_server::core::check_drained() {
  if (!closing || !connections_.empty())
    return;
  std::lock_guard guard{mutex};
  closed_and_empty = true;
  drained.notify_all();
}

http_server::http_server(std::shared_ptr<core> impl) : core_(std::move(impl)) {}

caf::expected<std::unique_ptr<http_server>> http_server::start(const http_server_options& options, handler handle) {
  auto impl = std::make_shared<core>(options, std::move(handle));
  if (auto listening = impl->listen(); !listening)
    return std::move(listening.error());
  impl->accept();
  impl->thread = std::thread{[&io = impl->io] { io.run(); }};
  return std::unique_ptr<http_server>{new http_server{std::move(impl)}};
}

http_server::~http_server() {
  stop();
}

std::uint16_t http_server::port() const {
  return core_->bound.port();
}

std::string http_server::address() const {
  return join_address(core_->bound.address().to_string(), port());
}

void http_server::close() {
  asio::post(core_->io, [impl = core_.get()] { impl->close(); });
}

bool http_server::wait(milliseconds limit) {
  std::unique_lock guard{core_->mutex};
  return core_->drained.wait_for(guard, limit, [this] { return core_->closed_and_empty; });
}

void http_server::stop() {
  if (!core_->thread.joinable())
    return;
  asio::post(core_->io, [impl = core_.get()] {
    impl->close();
    for (auto& client : std::vector(impl->connections_.begin(), impl->connections_.end()))
      client->close();
  });
  // Every operation under way has been cancelled, so the io_context runs out of work.
  core_->thread.join();
}

// -- client ----------------------------------------------------------------------------------------------------------

namespace {

/// Kept connections are used again within this time: shorter than any server's own keep-alive timeout.
constexpr auto keep_time = milliseconds{1000};
constexpr std::size_t kept_max = 64;
constexpr std::uint64_t answer_limit_bytes = 64 * 1024 * 1024;
constexpr std::uint32_t answer_header_limit_bytes = 64 * 1024;

/// Whether nobody has closed a kept connection or sent something unasked.
bool still_quiet(plain_socket& socket) {
  char byte = 0;
  auto result = ::recv(socket.native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  return result < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
}

/// Connections between calls.
class connection_pool {
public:
  explicit connection_pool(asio::io_context& io) : sweeper_(io) {}

  std::optional<plain_socket> take(const std::string& host, std::uint16_t port) {
    sweep();
    for (auto entry = kept_.begin(); entry != kept_.end();) {
      if (entry->port != port || entry->host != host) {
        ++entry;
        continue;
      }
      auto socket = std::move(entry->socket);
      entry = kept_.erase(entry);
      if (still_quiet(socket))
        return socket;
    }
    return std::nullopt;
  }

  void keep(const std::string& host, std::uint16_t port, plain_socket socket) {
    if (closed_ || kept_.size() >= kept_max)
      return;
    kept_.push_front({host, port, std::move(socket), steady_clock::now() + keep_time});
    if (!std::exchange(sweeping_, true))
      schedule();
  }

  void close() {
    closed_ = true;
    kept_.clear();
    sweeper_.cancel();
  }

private:
  struct entry {
    std::string host;
    std::uint16_t port;
    plain_socket socket;
    steady_clock::time_point until;
  };

  void sweep() {
    auto now = steady_clock::now();
    while (!kept_.empty() && kept_.back().until <= now)
      kept_.pop_back();
  }

  void schedule() {
    sweeper_.expires_after(keep_time);
    sweeper_.async_wait([this](error_code ec) {
      if (ec)
        return;
      sweep();
      sweeping_ = !kept_.empty();
      if (sweeping_)
        schedule();
    });
  }

  /// Youngest first.
  std::list<entry> kept_;
  asio::steady_timer sweeper_;
  bool sweeping_ = false;
  bool closed_ = false;
};

/// One call from its start to its one answer.  Runs on one thread.
class outgoing_call : public std::enable_shared_from_this<outgoing_call> {
public:
  /// @param pool null: the connection is neither taken from one nor kept.
  /// @param reader gets the body as it comes, of an answer 200 alone when it is not asked for its head; the time limit
  /// is then for each piece.  May be empty.
  outgoing_call(asio::io_context& io, http_call what, connection_pool* pool, http_caller::callback done,
                fetch_door door = {}, body_reader reader = {})
    : what_(std::move(what)), door_(std::move(door)), pool_(pool), done_(std::move(done)), reader_(std::move(reader)),
      io_(io), deadline_(io), resolver_(io), socket_(io) {}

  void start() {
    auto limit = std::chrono::duration_cast<milliseconds>(what_.timeout);
    if (limit <= milliseconds{0}) {
      fail(errc::timed_out, "no time was left for it");
      return;
    }
    if (!is_token_line(what_.method) || !is_token_line(what_.target) || what_.host.empty()) {
      fail(errc::io_failed, "method, target or host is not valid");
      return;
    }
    restart_deadline();
    if (pool_ != nullptr) {
      if (auto kept = pool_->take(what_.host, what_.port)) {
        stream_.emplace(std::move(*kept));
        reused_ = true;
        send();
        return;
      }
    }
    connect();
  }

  void restart_deadline() {
    auto limit = std::chrono::duration_cast<milliseconds>(what_.timeout);
    deadline_.expires_after(limit);
    deadline_.async_wait([self = shared_from_this(), limit](error_code ec) {
      if (!ec)
        self->fail(errc::timed_out, fmt::format("no answer within {}", limit));
    });
  }

  void fail(errc code, const std::string& why) {
    finish(caf::make_error(code, fmt::format("{} {}: {}", what_.method, join_address(what_.host, what_.port), why)));
  }

private:
  void connect() {
    if (!door_.unix_path.empty()) {
      connect_unix();
      return;
    }
    error_code not_an_address;
    auto address = asio::ip::make_address(what_.host, not_an_address);
    if (!not_an_address) {
      socket_.async_connect(tcp::endpoint{address, what_.port},
                            [self = shared_from_this()](error_code ec) { self->on_connected(ec); });
      return;
    }
    resolver_.async_resolve(what_.host, std::to_string(what_.port), tcp::resolver::numeric_service,
                            [self = shared_from_this()](error_code ec, const tcp::resolver::results_type& found) {
                              if (self->over_)
                                return;
                              if (ec) {
                                self->fail(errc::unreachable, ec.message());
                                return;
                              }
                              asio::async_connect(
                                  self->socket_, found,
                                  [self](error_code failed, const tcp::endpoint&) { self->on_connected(failed); });
                            });
  }

  void on_connected(error_code ec) {
    if (over_) {
      // async_connect reopens the socket for its next endpoint: the deadline's close may have come too early.
      error_code ignored;
      socket_.close(ignored);
      return;
    }
    if (ec) {
      fail(errc::unreachable, ec.message());
      return;
    }
    error_code ignored;
    socket_.set_option(tcp::no_delay{true}, ignored);
    if (!door_.tls) {
      stream_.emplace(plain_socket{std::move(socket_)});
      socket_ = tcp::socket{io_};
      send();
      return;
    }
    socket_.native_non_blocking(true, ignored);
    auto session = door_.tls->connect(socket_.native_handle(), join_address(what_.host, what_.port));
    stream_.emplace(plain_socket{std::move(socket_)}, std::move(session));
    socket_ = tcp::socket{io_};
    stream_->async_handshake([self = shared_from_this()](error_code failed) {
      if (self->over_)
        return;
      if (failed)
        self->fail(errc::unreachable, self->stream_->tls_error());
      else if (auto& peer = self->stream_->tls()->peer();
               !self->door_.any_server && !peer.roles.has(peer_role::gateway))
        self->fail(errc::unreachable,
                   fmt::format("'{}' shows the certificate of a {}, not of a gateway; is the address "
                               "right?",
                               peer.name, to_string(peer.roles)));
      else
        self->send();
    });
  }

  void connect_unix() {
    if (door_.unix_path.size() >= sizeof(sockaddr_un::sun_path)) {
      fail(errc::unreachable, "the path is too long for a socket");
      return;
    }
    stream_protocol::socket socket{io_};
    error_code ec;
    socket.connect(stream_protocol::endpoint{door_.unix_path}, ec); // Local: it does not wait.
    if (ec) {
      fail(errc::unreachable, ec.message());
      return;
    }
    stream_.emplace(plain_socket{std::move(socket)});
    send();
  }

  void send() {
    // Some servers on the web know themselves by their names alone.
    auto usual_port = door_.any_server && what_.port == (door_.tls ? 443 : 80);
    auto host =
        usual_port && what_.host.find(':') == std::string::npos ? what_.host : join_address(what_.host, what_.port);
    head_ = fmt::format("{} {} HTTP/1.1\r\nHost: {}\r\nConnection: {}\r\n", what_.method, what_.target, host,
                        pool_ != nullptr ? "keep-alive" : "close");
    auto size = what_.body ? what_.body->size() : 0;
    if (size != 0 || (what_.method != "GET" && what_.method != "HEAD"))
      head_ += fmt::format("Content-Length: {}\r\n", size);
    if (!what_.content_type.empty())
      head_ += fmt::format("Content-Type: {}\r\n", one_line(what_.content_type));
    for (auto& [name, value] : what_.headers)
      head_ += fmt::format("{}: {}\r\n", one_line(name), one_line(value));
    head_ += "\r\n";
    std::array<asio::const_buffer, 2> buffers{asio::buffer(head_),
                                              what_.body ? asio::buffer(*what_.body) : asio::const_buffer{}};
    written_ = false;
    asio::async_write(*stream_, buffers, [self = shared_from_this()](error_code ec, std::size_t) {
      // A server may answer without reading the whole body (413) and close: what it said counts, so a failed write
      // is left to the read to report.
      self->written_ = !ec;
    });
    receive();
  }

  void receive() {
    parser_.emplace();
    parser_->header_limit(answer_header_limit_bytes);
    parser_->body_limit(what_.response_limit_bytes != 0 ? what_.response_limit_bytes : answer_limit_bytes);
    parser_->skip(what_.method == "HEAD");
    if (reader_.sink) {
      // Not none, which Beast takes for less than any length that the server says.
      parser_->body_limit(std::numeric_limits<std::uint64_t>::max());
      parser_->eager(true);
      receive_some();
      return;
    }
    http::async_read(*stream_, buffer_, *parser_,
                     [self = shared_from_this()](error_code ec, std::size_t) { self->on_received(ec); });
  }

  /// Reads and parses by hand: Beast's reads end when a part is complete, and hold back what has come of it until then.
  void receive_some() {
    stream_->async_read_some(asio::buffer(chunk_), [self = shared_from_this()](error_code ec, std::size_t size) {
      if (self->over_)
        return;
      self->pending_.append(self->chunk_.data(), size);
      if (ec == asio::error::eof) {
        ec = {};
        if (self->parser_->got_some())
          self->parser_->put_eof(ec);
        else
          ec = http::error::end_of_stream;
      } else if (!ec) {
        ec = self->parse_some();
      }
      if (!self->hand_on())
        return;
      if (ec || self->parser_->is_done())
        self->on_received(ec);
      else
        self->receive_some();
    });
  }

  error_code parse_some() {
    while (!pending_.empty() && !parser_->is_done()) {
      error_code ec;
      auto used = parser_->put(asio::buffer(pending_), ec);
      pending_.erase(0, used);
      if (ec == http::error::need_more)
        return {};
      if (ec)
        return ec;
    }
    return {};
  }

  /// False when the sink wants no more, which has ended the call.
  bool hand_on() {
    if (!parser_->is_header_done() || parser_->get().result_int() < 200)
      return true;
    auto wanted = true;
    if (reader_.head) {
      if (!std::exchange(head_told_, true))
        wanted = reader_.head(head_of(parser_->get()));
    } else if (parser_->get().result_int() != 200) {
      return true;
    }
    auto& body = parser_->get().body();
    wanted = wanted && (body.empty() || reader_.sink(body));
    body.clear();
    // Not before: whoever takes the body may take his time.
    restart_deadline();
    if (!wanted)
      fail(errc::cancelled, "nobody wants the rest");
    return wanted;
  }

  template <class Message>
  static http_answer head_of(const Message& message) {
    http_answer answer;
    answer.status = static_cast<std::uint16_t>(message.result_int());
    answer.content_type = std::string{message[http::field::content_type]};
    for (auto& field : message)
      answer.headers.emplace_back(std::string{field.name_string()}, std::string{field.value()});
    return answer;
  }

  void on_received(error_code ec) {
    if (over_)
      return;
    if (ec) {
      if (may_repeat())
        repeat();
      else if (auto why = stream_->tls_error(); !why.empty())
        fail(errc::unreachable, why);
      else
        fail(code_of(ec), describe(ec));
      return;
    }
    auto status = parser_->get().result_int();
    if (status < 200 && status != 101) {
      receive(); // Only a note on the way.
      return;
    }
    auto reusable =
        pool_ != nullptr && written_ && parser_->keep_alive() && !parser_->need_eof() && buffer_.size() == 0;
    auto message = parser_->release();
    auto answer = head_of(message);
    answer.body = std::move(message.body());
    if (reusable)
      pool_->keep(what_.host, what_.port, std::move(stream_->socket()));
    finish(std::move(answer));
  }

  bool may_repeat() const {
    auto repeatable =
        what_.method == "GET" || what_.method == "HEAD" || what_.method == "PUT" || what_.method == "DELETE";
    return reused_ && repeatable && !parser_->got_some();
  }

  void repeat() {
    reused_ = false;
    stream_->close();
    buffer_.clear();
    connect();
  }

  /// Whether the server is to blame for the answer it gave, or for giving none.
  static errc code_of(error_code ec) {
    if (ec == http::error::body_limit || ec == http::error::header_limit)
      return errc::output_exceeded;
    auto cut = ec == http::error::end_of_stream || ec == http::error::partial_message;
    auto malformed = ec.category() == error_code{http::error::bad_version}.category() && !cut;
    return malformed ? errc::app_failed : errc::io_failed;
  }

  std::string describe(error_code ec) const {
    if (ec == http::error::body_limit)
      return fmt::format("the answer is larger than {} bytes",
                         what_.response_limit_bytes != 0 ? what_.response_limit_bytes : answer_limit_bytes);
    if (ec == http::error::header_limit)
      return "the headers of the answer are too large";
    if (ec == http::error::end_of_stream || ec == http::error::partial_message || ec == asio::error::connection_reset
        || ec == asio::error::broken_pipe)
      return "the server closed the connection before its answer was complete";
    return fmt::format("{}: {}", code_of(ec) == errc::app_failed ? "malformed answer" : "the connection failed",
                       ec.message());
  }

  void finish(caf::expected<http_answer> result) {
    if (std::exchange(over_, true))
      return;
    deadline_.cancel();
    resolver_.cancel();
    error_code ignored;
    socket_.close(ignored);
    if (stream_)
      stream_->close();
    // Moved out first: the callback may own what owns this call.
    auto done = std::move(done_);
    done(std::move(result));
  }

  const http_call what_;
  const fetch_door door_;
  connection_pool* const pool_;
  http_caller::callback done_;
  const body_reader reader_;
  asio::io_context& io_;
  asio::steady_timer deadline_;
  tcp::resolver resolver_;
  /// Until it is connected.
  tcp::socket socket_;
  std::optional<stream> stream_;
  boost::beast::flat_buffer buffer_;
  std::optional<http::response_parser<http::string_body>> parser_;
  std::string head_;
  /// With a sink: received, not parsed yet.
  std::array<char, chunk_bytes> chunk_;
  std::string pending_;
  bool head_told_ = false;
  bool written_ = false;
  bool reused_ = false;
  bool over_ = false;
};

} // namespace

class http_caller::core {
public:
  asio::io_context io{1};
  asio::executor_work_guard<asio::io_context::executor_type> guard{io.get_executor()};
  connection_pool pool{io};
  std::map<std::uint64_t, std::shared_ptr<outgoing_call>> calls;
  bool closed = false;
  std::thread thread;
};

http_caller::http_caller() : core_(std::make_shared<core>()) {
  // The thread shares the core: when its own callback drops the last reference to the caller, it outlives it.
  core_->thread = std::thread{[impl = core_] { impl->io.run(); }};
}

http_caller::~http_caller() {
  auto& impl = *core_;
  asio::post(impl.io, [&impl] {
    impl.closed = true;
    while (!impl.calls.empty())
      impl.calls.begin()->second->fail(errc::cancelled, "the http client ends");
    impl.pool.close();
    impl.guard.reset();
  });
  if (impl.thread.get_id() == std::this_thread::get_id())
    impl.thread.detach();
  else
    impl.thread.join();
}

void http_caller::call(std::uint64_t ticket, http_call what, callback done) {
  auto& impl = *core_;
  asio::post(impl.io, [&impl, ticket, what = std::move(what), done = std::move(done)]() mutable {
    auto forget = [&impl, ticket, done = std::move(done)](caf::expected<http_answer> result) {
      impl.calls.erase(ticket);
      done(std::move(result));
    };
    auto call = std::make_shared<outgoing_call>(impl.io, std::move(what), &impl.pool, std::move(forget));
    impl.calls.emplace(ticket, call);
    call->start();
  });
}

void http_caller::abort(std::uint64_t ticket) {
  auto& impl = *core_;
  asio::post(impl.io, [&impl, ticket] {
    auto entry = impl.calls.find(ticket);
    if (entry == impl.calls.end())
      return;
    auto call = entry->second;
    call->fail(errc::cancelled, "taken back");
  });
}

caf::expected<http_answer> fetch(const http_call& call) {
  return fetch(call, {});
}

caf::expected<http_answer> fetch(const http_call& call, const fetch_door& door) {
  return fetch(call, door, body_reader{});
}

caf::expected<http_answer> fetch(const http_call& call, const fetch_door& door, const body_sink& sink) {
  return fetch(call, door, body_reader{{}, sink, {}});
}

caf::expected<http_answer> fetch(const http_call& call, const fetch_door& door, const body_reader& reader) {
  std::optional<caf::expected<http_answer>> result;
  asio::io_context io{1};
  auto exchange = std::make_shared<outgoing_call>(
      io, call, nullptr, [&result](caf::expected<http_answer> answer) { result.emplace(std::move(answer)); }, door,
      reader);
  exchange->start();
  std::stop_callback cut{
      reader.stop, [&io, exchange] { asio::post(io, [exchange] { exchange->fail(errc::cancelled, "taken back"); }); }};
  if (!door.given_up)
    while (!result && io.run_one() != 0)
      ;
  while (!result) {
    if (door.given_up())
      exchange->fail(errc::cancelled, "given up");
    else
      io.run_one_for(milliseconds{50});
  }
  assert(result);
  return std::move(*result);
}

} // namespace astra
