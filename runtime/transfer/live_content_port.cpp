#include "runtime/transfer/live_content_port.hpp"

#include "p2p/libtorrent_engine.hpp"
#include "p2p/peer_tls.hpp"
#include "runtime/net/identity.hpp"

#include <algorithm>
#include <cassert>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <fstream>
#include <iterator>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace astra {
namespace {

/// How long somebody waited so far, of "some avg10=12.34 ... total=5678" of pressure stall information, in
/// microseconds; 0 where the kernel has none.
std::uint64_t waited_us(const char* file) {
  std::ifstream in{file};
  std::string word;
  while (in >> word)
    if (constexpr std::string_view key = "total="; word.starts_with(key))
      return std::strtoull(word.c_str() + key.size(), nullptr, 10);
  return 0;
}

/// As the sessions of the actor network have it: exactly one identity, of the same cluster; and of a node.
bool is_node_of(const std::string& cluster, const std::vector<std::string>& uris) {
  std::vector<std::string> identities;
  std::ranges::copy_if(uris, std::back_inserter(identities),
                       [](const std::string& uri) { return uri.starts_with("astra:"); });
  if (identities.size() != 1)
    return false;
  auto identity = parse_identity(identities.front());
  return identity && identity->cluster == cluster && identity->roles.has(peer_role::node);
}

class live_content_port final : public content_port {
public:
  explicit live_content_port(live_content_options options) : options_(std::move(options)) {}

  ~live_content_port() override { live_content_port::close(); }

  p2p::done open(std::function<void()> notify) override {
    close();
    std::shared_ptr<p2p::peer_tls> tls;
    if (options_.tls.enabled()) {
      auto& files = options_.tls;
      auto loaded = p2p::peer_tls::load(
          {files.ca, files.certificate, files.key, files.revoked,
           [cluster = options_.cluster](const std::vector<std::string>& uris) { return is_node_of(cluster, uris); }});
      if (!loaded)
        return loaded.problem();
      tls = std::move(*loaded);
    }
    auto opened = p2p::store::open({options_.directory, options_.bytes_max});
    if (!opened)
      return opened.problem();
    store_ = std::move(*opened);
    notify_ = notify;
    worker_ = std::jthread{[this](std::stop_token stop) { work(stop); }};
    p2p::libtorrent_options how;
    how.listen_address = options_.listen_address;
    how.listen_port = options_.listen_port;
    how.utp = passes_nats();
    how.tls = std::move(tls);
    how.notify = std::move(notify);
    engine_ = p2p::make_libtorrent_engine(std::move(how));
    origins_ = make_http_origin_reader(notify_);
    return p2p::nothing{};
  }

  void run(job what) override {
    {
      std::lock_guard guard{mutex_};
      jobs_.push_back(std::move(what));
    }
    wake_.notify_one();
  }

  std::vector<aftermath> drain() override {
    std::lock_guard guard{mutex_};
    return std::exchange(finished_, {});
  }

  p2p::engine& engine() override {
    assert(engine_);
    return *engine_;
  }

  origin_reader* origins() override { return origins_.get(); }

  void close() override {
    origins_.reset();
    engine_.reset();
    if (worker_.joinable()) {
      worker_.request_stop();
      wake_.notify_all();
      worker_.join();
    }
    store_.reset();
    jobs_.clear();
    finished_.clear();
  }

  std::string public_address() const override { return options_.public_address; }
  /// libtorrent answers pings of strangers at its port without TLS alone, and with TLS there is none.
  bool passes_nats() const override { return options_.nat && !options_.tls.enabled(); }
  std::string reading_url() const override { return options_.reading_url; }
  double pressure() override {
    auto now = std::chrono::steady_clock::now();
    // Of the first look all that was before would count.
    auto first = pressed_at_ == std::chrono::steady_clock::time_point{};
    auto elapsed = std::chrono::duration<double, std::micro>(now - std::exchange(pressed_at_, now)).count();
    auto worst = 0.0;
    for (auto& [file, before] : waited_) {
      auto waited = waited_us(file);
      worst = std::max(worst, static_cast<double>(waited - std::exchange(before, waited)) / elapsed);
    }
    return first ? 0.0 : std::clamp(worst, 0.0, 1.0);
  }
  std::string machine() const override { return p2p::current_boot(); }
  p2p::content_store::time_point wall_time() const override { return std::chrono::system_clock::now(); }

private:
  void work(const std::stop_token& stop) {
    std::unique_lock lock{mutex_};
    while (wake_.wait(lock, stop, [this] { return !jobs_.empty(); }) && !stop.stop_requested()) {
      auto next = std::move(jobs_.front());
      jobs_.pop_front();
      lock.unlock();
      auto then = next(*store_);
      // What it captured may be large.
      next = nullptr;
      lock.lock();
      finished_.push_back(std::move(then));
      lock.unlock();
      notify_();
      lock.lock();
    }
  }

  live_content_options options_;
  std::unique_ptr<p2p::store> store_;
  std::unique_ptr<p2p::engine> engine_;
  std::unique_ptr<origin_reader> origins_;
  std::function<void()> notify_;
  std::mutex mutex_;
  std::condition_variable_any wake_;
  std::deque<job> jobs_;
  std::vector<aftermath> finished_;
  /// What the kernel said at the last look at the pressure.
  std::pair<const char*, std::uint64_t> waited_[2] = {{"/proc/pressure/cpu", 0}, {"/proc/pressure/io", 0}};
  std::chrono::steady_clock::time_point pressed_at_{};
  /// Last: it uses the others.
  std::jthread worker_;
};

} // namespace

std::shared_ptr<content_port> make_live_content_port(live_content_options options) {
  return std::make_shared<live_content_port>(std::move(options));
}

} // namespace astra
