#include "messages/type_ids.hpp"
#include "runtime/http/fetch.hpp"
#include "runtime/net/tls.hpp"
#include "runtime/transfer/origin_plan.hpp"
#include "runtime/transfer/origin_reader.hpp"
#include "runtime/transfer/origin_url.hpp"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <condition_variable>
#include <map>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string_view>
#include <thread>
#include <utility>

namespace astra {
namespace {

using p2p::content_address;
using steady = std::chrono::steady_clock;
using std::chrono::milliseconds;

/// The longest wait for a connection and for the next bytes.
constexpr milliseconds silence_max{15'000};
constexpr milliseconds retry_pause{1'000};
/// So often something that may pass is tried again before it is told.
constexpr int tries_max = 3;
constexpr int redirects_max = 5;
/// Of pieces that were read and not taken; one more is on its way.
constexpr std::uint64_t given_bytes_max = 16 * 1024 * 1024;
constexpr milliseconds look_interval{250};

std::string_view header(const http_answer& answer, std::string_view name) {
  auto same = [&](const std::string& other) {
    return std::ranges::equal(
        other, name, {}, [](unsigned char c) { return std::tolower(c); },
        [](unsigned char c) { return std::tolower(c); });
  };
  auto found = std::ranges::find_if(answer.headers, [&](auto& one) { return same(one.first); });
  return found == answer.headers.end() ? std::string_view{} : std::string_view{found->second};
}

std::optional<std::uint64_t> number(std::string_view text) {
  std::uint64_t result = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), result);
  if (text.empty() || error != std::errc{} || end != text.data() + text.size())
    return std::nullopt;
  return result;
}

/// "bytes 100-199/1000": where it begins, and the size of all.
struct content_range {
  std::optional<std::uint64_t> begin;
  std::optional<std::uint64_t> size;
};

content_range read_content_range(std::string_view text) {
  content_range result;
  if (!text.starts_with("bytes "))
    return result;
  text.remove_prefix(6);
  result.begin = number(text.substr(0, text.find('-')));
  if (auto slash = text.find('/'); slash != std::string_view::npos)
    result.size = number(text.substr(slash + 1));
  return result;
}

class http_origin_reader final : public origin_reader {
public:
  explicit http_origin_reader(std::function<void()> notify)
    : notify_(std::move(notify)), thread_([this](std::stop_token stop) { run(stop); }) {}

  void read(origin_lease lease) override {
    auto now = steady::now();
    auto url = parse_origin(lease.url);
    if (!url)
      return;
    std::scoped_lock guard{mutex_};
    auto address = lease.what->address;
    auto found = tasks_.find(address);
    if (found != tasks_.end() && found->second.url != *url) {
      tasks_.erase(found);
      found = tasks_.end();
    }
    if (found == tasks_.end())
      found =
          tasks_.emplace(address, task{++last_, std::move(*url), {lease.what, lease.first_piece}, {}, 0, {}, 0}).first;
    auto& known = found->second;
    known.plan.have(std::move(lease.have), now);
    known.until = now + lease.lasts;
    known.bytes_per_s = lease.bytes_per_s;
    wake();
  }

  void stop(const content_address& address) override {
    std::scoped_lock guard{mutex_};
    tasks_.erase(address);
    wake();
  }

  void took(const content_address& address, std::uint32_t piece, bool good) override {
    std::scoped_lock guard{mutex_};
    auto found = tasks_.find(address);
    if (found == tasks_.end())
      return;
    auto& known = found->second;
    // A peer may have sent it.
    auto ours = known.plan.is_given(piece);
    known.plan.took(piece, good);
    if (good)
      known.failures = 0;
    else if (ours)
      fail(found, wrong_bytes(known, piece));
    wake();
  }

  std::vector<origin_news> drain() override {
    std::scoped_lock guard{mutex_};
    return std::exchange(news_, {});
  }

private:
  struct task {
    /// Another one of the same content has another.
    std::uint64_t id = 0;
    origin_url url;
    origin_plan plan;
    steady::time_point until;
    std::uint64_t bytes_per_s = 0;
    steady::time_point retry_at;
    int failures = 0;
  };
  using tasks = std::map<content_address, task>;

  /// One range on its way.
  struct reading {
    content_address address;
    std::uint64_t id = 0;
    std::shared_ptr<const p2p::content> what;
    origin_range range;
    origin_url url;
    std::stop_token stop;
    /// Of the piece that comes now.
    std::vector<char> buffer;
    std::uint32_t done = 0;
    std::string redirect;
    /// Why there is no point in trying it again, and what may pass; said of the URL.  Empty: nothing is known.
    std::string wrong;
    std::string passing;
    /// It ended because no more of it is wanted.
    bool enough = false;

    const p2p::content_file& file() const { return what->files[range.file]; }
    std::uint32_t piece() const { return range.first_piece + done; }
    std::size_t piece_length() const { return p2p::piece_length(*what, file(), piece() - file().first_piece); }
  };

  void run(const std::stop_token& stop) {
    std::unique_lock lock{mutex_};
    while (!stop.stop_requested()) {
      std::erase_if(tasks_, [now = steady::now()](auto& entry) { return entry.second.until <= now; });
      if (auto next = choose()) {
        next->stop = stop;
        lock.unlock();
        auto problem = read(*next);
        lock.lock();
        conclude(*next, problem);
        continue;
      }
      auto news = [this] { return std::exchange(changed_, false); };
      if (tasks_.empty())
        changed_cv_.wait(lock, stop, news);
      else
        changed_cv_.wait_for(lock, stop, look_interval, news);
    }
  }

  void wake() {
    changed_ = true;
    changed_cv_.notify_all();
  }

  /// Contents have their turns.
  std::optional<reading> choose() {
    auto now = steady::now();
    auto next = tasks_.upper_bound(turn_);
    for (std::size_t looked = 0; looked < tasks_.size(); ++looked, ++next) {
      if (next == tasks_.end())
        next = tasks_.begin();
      auto& [address, one] = *next;
      if (now < one.retry_at || one.plan.given_bytes() >= given_bytes_max)
        continue;
      auto range = one.plan.next();
      if (!range)
        continue;
      turn_ = address;
      reading result;
      result.address = address;
      result.id = one.id;
      result.what = one.plan.what();
      result.range = *range;
      result.url = file_url(one.url, *one.plan.what(), one.plan.what()->files[range->file]);
      return result;
    }
    return std::nullopt;
  }

  /// The task that it is for; the end when that is no more.
  tasks::iterator task_of(const reading& what) {
    auto found = tasks_.find(what.address);
    return found != tasks_.end() && found->second.id == what.id && steady::now() < found->second.until ? found
                                                                                                       : tasks_.end();
  }

  /// @returns why it failed, to be put behind the URL; empty: it did not.
  std::string read(reading& what) {
    for (auto redirects = 0;; ++redirects) {
      what.redirect.clear();
      what.passing.clear();
      http_call call;
      call.host = what.url.host;
      call.port = what.url.port;
      call.target = what.url.path + what.url.query;
      call.timeout = silence_max;
      call.headers = {{"User-Agent", "astra"}, {"Accept-Encoding", "identity"}};
      auto end = what.range.offset + what.range.length - 1;
      if (!what.range.whole)
        call.headers.emplace_back("Range", fmt::format("bytes={}-{}", what.range.offset, end));
      fetch_door door;
      door.any_server = true;
      if (what.url.tls) {
        if (!web_)
          web_ = tls_context::web();
        door.tls = web_;
      }
      auto answer = fetch(call, door,
                          body_reader{[&](const http_answer& head) { return on_head(what, head); },
                                      [&](std::string_view bytes) { return on_bytes(what, bytes); }, what.stop});
      if (!what.redirect.empty()) {
        auto next = redirected(what.url, what.redirect);
        if (!next || redirects == redirects_max) {
          what.wrong =
              !next ? fmt::format("sends on to '{}', which is no http:// or https:// URL", what.redirect.substr(0, 200))
                    : fmt::format("sends on more than {} times", redirects_max);
          return " " + what.wrong;
        }
        what.url = std::move(*next);
        continue;
      }
      if (what.enough || what.stop.stop_requested())
        return {};
      if (what.wrong.empty() && answer && what.done < what.range.pieces)
        what.wrong = fmt::format("has less of '{}' than was published", what.file().path);
      if (!what.wrong.empty() || !what.passing.empty())
        return " " + what.wrong + what.passing;
      if (answer)
        return {};
      // The URL tells already whom it has called.
      auto text = error_text(answer.error());
      auto names = text.find(": ");
      return names == std::string::npos ? ": " + text : text.substr(names);
    }
  }

  bool on_head(reading& what, const http_answer& head) {
    auto size = what.file().size;
    auto other_size = [&](std::uint64_t there) {
      what.wrong =
          fmt::format("has {} bytes there, not the {} of '{}' as it was published", there, size, what.file().path);
      return false;
    };
    switch (head.status) {
    case 301:
    case 302:
    case 303:
    case 307:
    case 308:
      what.redirect = header(head, "Location");
      if (what.redirect.empty())
        what.wrong = fmt::format("answers {} without saying where to go", head.status);
      return false;
    case 200:
    case 206:
      break;
    case 416:
      what.wrong = fmt::format("has less of '{}' than was published", what.file().path);
      return false;
    default:
      // What may pass is tried again.
      if (head.status < 500 && head.status != 408 && head.status != 429)
        what.wrong = fmt::format("answers {}", head.status);
      else
        what.passing = fmt::format("answers {}", head.status);
      return false;
    }
    if (auto coding = header(head, "Content-Encoding"); !coding.empty() && coding != "identity") {
      what.wrong = fmt::format("sends the file encoded as '{}'", coding);
      return false;
    }
    if (head.status == 200) {
      if (auto length = number(header(head, "Content-Length")); length && *length != size)
        return other_size(*length);
      if (what.range.whole)
        return true;
      std::scoped_lock guard{mutex_};
      spdlog::info("contents.origin_parts url={} reason=\"it knows no ranges: files are read from their beginning\"",
                   to_string(what.url));
      if (auto known = task_of(what); known != tasks_.end())
        known->second.plan.read_whole_files();
      what.enough = true;
      return false;
    }
    auto range = read_content_range(header(head, "Content-Range"));
    if (range.size && *range.size != size)
      return other_size(*range.size);
    if (range.begin != what.range.offset)
      what.wrong = "answers with another part of the file than it was asked for";
    return what.wrong.empty();
  }

  bool on_bytes(reading& what, std::string_view bytes) {
    if (!pace(what, bytes.size()))
      return false;
    while (!bytes.empty()) {
      if (what.done == what.range.pieces) {
        what.wrong = fmt::format("has more of '{}' than was published", what.file().path);
        return false;
      }
      auto length = what.piece_length();
      auto part = bytes.substr(0, length - what.buffer.size());
      what.buffer.insert(what.buffer.end(), part.begin(), part.end());
      bytes.remove_prefix(part.size());
      if (what.buffer.size() == length && !hand_on(what))
        return false;
    }
    return true;
  }

  /// Waits as long as a limit says.  @returns whether it goes on.
  bool pace(reading& what, std::size_t bytes) {
    std::unique_lock lock{mutex_};
    for (auto first = true;; first = false) {
      auto known = task_of(what);
      if (known == tasks_.end() || what.stop.stop_requested()) {
        what.enough = true;
        return false;
      }
      auto now = steady::now();
      auto rate = known->second.bytes_per_s;
      if (rate == 0)
        return true;
      if (first)
        paced_ = std::max(paced_, now)
                 + std::chrono::duration_cast<steady::duration>(
                     std::chrono::duration<double>(static_cast<double>(bytes) / static_cast<double>(rate)));
      if (paced_ <= now)
        return true;
      changed_cv_.wait_for(lock, what.stop, std::min<steady::duration>(paced_ - now, look_interval),
                           [] { return false; });
    }
  }

  /// Gives a complete piece to whoever drains, when there is room.  @returns whether more is wanted.
  bool hand_on(reading& what) {
    auto piece = what.piece();
    auto data = std::exchange(what.buffer, {});
    ++what.done;
    std::unique_lock lock{mutex_};
    auto room = [&] {
      auto known = task_of(what);
      return known == tasks_.end() || known->second.plan.given_bytes() < given_bytes_max;
    };
    while (!room() && !what.stop.stop_requested())
      changed_cv_.wait_for(lock, what.stop, look_interval, room);
    auto known = task_of(what);
    if (known == tasks_.end() || what.stop.stop_requested()) {
      what.enough = true;
      return false;
    }
    auto& plan = known->second.plan;
    auto gives = plan.needs(piece);
    if (gives) {
      plan.gave(piece, steady::now());
      news_.emplace_back(origin_piece{what.address, piece, std::move(data)});
    }
    // Pieces may have come from peers meanwhile.
    what.enough = what.done < what.range.pieces && !plan.needs_any(what.range, what.piece());
    auto goes_on = !what.enough;
    lock.unlock();
    if (gives)
      notify_();
    return goes_on;
  }

  void conclude(const reading& what, const std::string& problem) {
    auto known = task_of(what);
    if (known == tasks_.end() || problem.empty())
      return;
    auto& one = known->second;
    if (what.wrong.empty() && ++one.failures < tries_max) {
      one.retry_at = steady::now() + retry_pause;
      return;
    }
    fail(known, to_string(what.url) + problem);
  }

  static std::string wrong_bytes(const task& known, std::uint32_t piece) {
    auto& file = p2p::file_of(*known.plan.what(), piece);
    return fmt::format("{} has other bytes than '{}' as it was published",
                       to_string(file_url(known.url, *known.plan.what(), file)), file.path);
  }

  void fail(tasks::iterator known, std::string reason) {
    news_.emplace_back(origin_failed{known->first, std::move(reason)});
    tasks_.erase(known);
    notify_();
  }

  const std::function<void()> notify_;
  std::shared_ptr<tls_context> web_;
  std::mutex mutex_;
  std::condition_variable_any changed_cv_;
  bool changed_ = false;
  tasks tasks_;
  std::uint64_t last_ = 0;
  content_address turn_;
  /// Until when what was read so far would have taken at the limit.
  steady::time_point paced_{};
  std::vector<origin_news> news_;
  /// Last: it uses the others.
  std::jthread thread_;
};

} // namespace

std::unique_ptr<origin_reader> make_http_origin_reader(std::function<void()> notify) {
  return std::make_unique<http_origin_reader>(std::move(notify));
}

} // namespace astra
