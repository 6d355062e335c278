#include "runtime/transfer/content_server.hpp"

#include "messages/errc.hpp"
#include "p2p/content.hpp"
#include "runtime/gateway/json.hpp"
#include "runtime/gateway/replies.hpp"
#include "runtime/process/unique_fd.hpp"
#include "runtime/transfer/content_request.hpp"
#include "runtime/transfer/transfer_text.hpp"

#include <caf/actor_cast.hpp>
#include <caf/event_based_actor.hpp>
#include <caf/sec.hpp>
#include <caf/send.hpp>
#include <caf/stateful_actor.hpp>
#include <fcntl.h>
#include <nlohmann/json.hpp>
#include <openssl/rand.h>
#include <spdlog/fmt/fmt.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <optional>
#include <utility>

namespace astra {
namespace {

using namespace std::chrono_literals;

/// Each is a thread while it reads.
constexpr std::uint32_t readers_max = 64;
constexpr std::uint64_t body_limit_bytes = 16 * 1024;
/// Of a file in memory, for each reader.
constexpr std::uint64_t part_bytes = 1024 * 1024;
/// The keeper is asked for so much at once: what is behind it is read ahead.
constexpr std::uint64_t question_bytes = 4 * part_bytes;
/// The keeper answers sooner, if only that it has not come yet.
constexpr auto answer_timeout = 15s;
constexpr auto retry_interval = 250ms;
/// Who gets nothing for so long is told that it is not coming.  A reader may take its time for what it got, too.
constexpr auto patience = 10min;

/// Answers one request.  It has a thread of its own: disks may be slow.
class content_reader_state {
public:
  static constexpr const char* name = "astra.contents.reader";

  content_reader_state(caf::event_based_actor* self, std::function<content_keeper_actor()> keeper,
                       content_target target, http_exchange_ptr exchange)
    : self_(self), keeper_(std::move(keeper)), target_(std::move(target)), exchange_(std::move(exchange)),
      progress_(self->clock().now()) {}

  caf::behavior make_behavior() {
    ask(0, 0);
    return {
        // The client has taken what was sent last.
        [this](refresh_atom) { go_on(); },
    };
  }

private:
  using time_point = std::chrono::steady_clock::time_point;

  void ask(std::uint64_t offset, std::uint64_t length) {
    auto keeper = keeper_();
    if (!keeper)
      return not_yet("the keeper of contents is being started");
    self_->request(keeper, caf::timespan{answer_timeout}, read_content{target_.content, target_.file, offset, length})
        .then([this](const content_extent& extent) { on_extent(extent); },
              [this](const caf::error& reason) { on_error(reason); });
  }

  void on_error(const caf::error& reason) {
    if (reason == errc::unknown_name)
      fail(404, to_string(errc::unknown_name), error_text(reason));
    else if (reason == errc::io_failed)
      fail(503, "unavailable", error_text(reason));
    else
      not_yet(reason == caf::sec::request_timeout ? "the keeper of contents does not answer" : error_text(reason));
  }

  void not_yet(const std::string& why) {
    if (self_->clock().now() - progress_ >= patience)
      return fail(503, to_string(errc::timed_out), "nothing came for 10 min: " + why);
    self_->run_delayed(retry_interval, [this] { ask_again(); });
  }

  void ask_again() {
    if (!size_)
      ask(0, 0);
    else if (!address_.empty())
      ask_for_list();
    else
      ask(offset_, std::min(end_ - offset_, question_bytes));
  }

  void on_extent(const content_extent& extent) {
    if (!size_) {
      size_ = extent.size;
      if (target_.file.empty()) {
        address_ = extent.path;
        return ask_for_list();
      }
      return begin();
    }
    file_.reset(::open(extent.path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!file_)
      return fail(503, "unavailable", target_.file + ": " + std::strerror(errno));
    readable_ = offset_ + extent.length;
    progress_ = self_->clock().now();
    if (!stream_ && !begin_stream())
      return;
    go_on();
  }

  /// The size is known.
  void begin() {
    auto& request = exchange_->request();
    // There are no validators that If-Range could name.
    auto header = request.header("if-range").empty() ? request.header("range") : std::string_view{};
    range_ = read_range(header, *size_);
    if (range_.what == byte_range::kind::none) {
      auto response = refusal(416, "no_such_range", fmt::format("{} has {} bytes", target_.file, *size_));
      response.headers.emplace_back("Content-Range", fmt::format("bytes */{}", *size_));
      return answer(std::move(response));
    }
    offset_ = range_.offset;
    end_ = range_.offset + range_.length;
    if (request.method == "HEAD" || offset_ == end_) {
      if (begin_stream())
        stream_->end();
      return self_->quit();
    }
    // The first bytes before the head: when there are none, the answer can still say why.
    ask(offset_, std::min(end_ - offset_, question_bytes));
  }

  /// @returns false when nobody waits any more.
  bool begin_stream() {
    http_response head;
    head.content_type = "application/octet-stream";
    head.headers.emplace_back("Content-Length", std::to_string(range_.length));
    head.headers.emplace_back("Accept-Ranges", "bytes");
    if (range_.what == byte_range::kind::part) {
      head.status = 206;
      head.headers.emplace_back("Content-Range",
                                fmt::format("bytes {}-{}/{}", range_.offset, end_ - 1, size_.value_or(0)));
    }
    stream_ = exchange_->begin(std::move(head));
    if (!stream_)
      self_->quit();
    return stream_ != nullptr;
  }

  /// Sends the next part, when it is there.
  void go_on() {
    progress_ = self_->clock().now();
    if (offset_ == end_) {
      stream_->end();
      return self_->quit();
    }
    if (offset_ == readable_)
      return ask(offset_, std::min(end_ - offset_, question_bytes));
    std::string part(static_cast<std::size_t>(std::min({end_ - offset_, readable_ - offset_, part_bytes})), '\0');
    std::size_t got = 0;
    while (got < part.size()) {
      auto count = ::pread(file_.get(), part.data() + got, part.size() - got, static_cast<off_t>(offset_ + got));
      if (count < 0 && errno == EINTR)
        continue;
      if (count <= 0)
        return fail(503, "unavailable",
                    target_.file + ": " + (count < 0 ? std::strerror(errno) : "it is shorter than it should be"));
      got += static_cast<std::size_t>(count);
    }
    offset_ += part.size();
    // Nobody else refers to this actor while it waits, and without a reference it would end.
    stream_->write(std::move(part), [reader = caf::actor{self_}] { caf::anon_send(reader, refresh_atom_v); });
  }

  void ask_for_list() {
    auto keeper = keeper_();
    auto address = p2p::parse_address(address_);
    assert(address);
    if (!keeper)
      return not_yet("the keeper of contents is being started");
    pb::ManifestQuery query;
    query.set_address(to_bytes(*address));
    query.set_offset(torrent_.size());
    self_->request(keeper, caf::timespan{answer_timeout}, manifest_query{std::move(query)})
        .then(
            [this](const manifest_part& part) {
              torrent_ += part->data();
              if (part->data().empty())
                fail(404, to_string(errc::unknown_name), target_.content + " was removed");
              else if (torrent_.size() < part->total())
                ask_for_list();
              else
                answer_list();
            },
            [this](const caf::error& reason) { on_error(reason); });
  }

  void answer_list() {
    auto what = p2p::read_content(torrent_);
    if (!what)
      return fail(503, "unavailable", what.problem().text);
    nlohmann::ordered_json list = {{"content", target_.content}, {"address", address_}, {"size", what->size}};
    auto& files = list["files"] = nlohmann::ordered_json::array();
    for (auto& file : what->files)
      files.push_back({{"path", file.path}, {"size", file.size}});
    answer(reply(200, dump(list) + "\n"));
  }

  void answer(http_response response) {
    exchange_->answer(std::move(response));
    self_->quit();
  }

  void fail(std::uint16_t status, const std::string& code, const std::string& why) {
    if (stream_) {
      // The client is told by the end of its connection, and the reason is here.
      spdlog::warn("contents.read_cut content={} file=\"{}\" offset={} reason=\"{}\"", target_.content, target_.file,
                   offset_, why);
      stream_.reset();
      return self_->quit();
    }
    auto response = refusal(status, code, why);
    answer(status == 503 ? with_retry_after(std::move(response), 1s) : std::move(response));
  }

  caf::event_based_actor* self_;
  const std::function<content_keeper_actor()> keeper_;
  const content_target target_;
  http_exchange_ptr exchange_;
  /// When something came last.
  time_point progress_;
  /// Of the file, or of all files; nothing: not known yet.
  std::optional<std::uint64_t> size_;
  byte_range range_;
  std::uint64_t offset_ = 0;
  std::uint64_t end_ = 0;
  /// Up to there the file has what it should have.
  std::uint64_t readable_ = 0;
  unique_fd file_;
  http_stream_ptr stream_;
  // For a list.
  std::string address_;
  std::string torrent_;
};

std::string make_token() {
  std::array<unsigned char, 16> bytes{};
  [[maybe_unused]] auto good = RAND_bytes(bytes.data(), static_cast<int>(bytes.size())) == 1;
  assert(good);
  std::string result;
  for (auto byte : bytes)
    result += fmt::format("{:02x}", byte);
  return result;
}

} // namespace

caf::expected<content_server> start_content_server(caf::actor_system& sys,
                                                   std::function<content_keeper_actor()> keeper) {
  auto token = make_token();
  http_server_options how;
  how.listen = "127.0.0.1:0";
  how.body_limit_bytes = body_limit_bytes;
  how.connections_max = readers_max;
  // Who loads a model may be busy with what it has got.
  how.idle_timeout = patience;
  auto http = http_server::start(how, [&sys, keeper, token](const http_exchange_ptr& exchange) {
    auto refuse = [&](std::uint16_t status, std::string_view code, std::string_view why) {
      auto response = refusal(status, code, why);
      if (status == 405)
        response.headers.emplace_back("Allow", "GET, HEAD");
      exchange->answer(std::move(response));
    };
    auto& request = exchange->request();
    auto target = read_content_target(request.target, token);
    if (!target)
      return refuse(404, "unknown_route", "nothing can be read here; the URL is in ASTRA_CONTENT_NAME_URL");
    if (request.method != "GET" && request.method != "HEAD")
      return refuse(405, "wrong_method", "this path takes GET, HEAD");
    auto reader =
        sys.spawn<caf::stateful_actor<content_reader_state>, caf::detached>(keeper, std::move(*target), exchange);
    exchange->on_gone([address = reader.address()] {
      if (auto alive = caf::actor_cast<caf::actor>(address))
        caf::anon_send_exit(alive, caf::exit_reason::user_shutdown);
    });
  });
  if (!http)
    return std::move(http.error());
  spdlog::info("contents.serve address={}", (*http)->address());
  auto url = fmt::format("http://{}/{}", (*http)->address(), token);
  return content_server{std::move(*http), std::move(url)};
}

} // namespace astra
