#include "runtime/sim/sim_content_port.hpp"

#include <algorithm>
#include <cassert>
#include <deque>
#include <optional>
#include <utility>
#include <vector>

namespace astra::sim {
namespace {

class sim_content_port final : public content_port, public std::enable_shared_from_this<sim_content_port> {
public:
  explicit sim_content_port(sim_content_parts parts) : parts_(std::move(parts)) {}

  ~sim_content_port() override { sim_content_port::close(); }

  p2p::done open(std::function<void()> notify) override {
    close();
    auto& disk = *parts_.where.disk;
    if (disk.contents.open)
      return p2p::problem{p2p::fault::busy, "the store is in use by another process"};
    if (disk.full)
      return p2p::problem{p2p::fault::no_space, "the store cannot be opened: No space left on device"};
    disk.contents.open = true;
    notify_ = std::move(notify);
    store_.emplace(disk, parts_.store);
    auto place = parts_.where;
    place.notify = [this] { call(parts_.now()); };
    engine_ = parts_.network->open(std::move(place));
    return p2p::nothing{};
  }

  void run(job what) override {
    assert(store_);
    jobs_.push_back(std::move(what));
    if (!std::exchange(working_, true))
      later(parts_.now(), [this] { begin(); });
  }

  std::vector<aftermath> drain() override { return std::exchange(finished_, {}); }

  p2p::engine& engine() override {
    assert(engine_);
    return *engine_;
  }

  /// Nothing of the outside is simulated.
  origin_reader* origins() override { return nullptr; }

  void close() override {
    // What was to happen for whoever had it open does not.
    ++opened_;
    engine_.reset();
    if (store_)
      parts_.where.disk->contents.open = false;
    store_.reset();
    jobs_.clear();
    finished_.clear();
    called_.reset();
    working_ = false;
    notify_ = nullptr;
  }

  std::string public_address() const override { return {}; }
  bool passes_nats() const override { return true; }
  /// Simulated apps read nothing.
  std::string reading_url() const override { return {}; }
  /// Simulated machines have cores and disks for everybody.
  double pressure() override { return 0.0; }
  std::string machine() const override { return parts_.machine; }
  p2p::content_store::time_point wall_time() const override { return parts_.wall_time(); }

private:
  /// Runs something for whoever has it open now.
  void later(instant when, std::function<void()> what) {
    parts_.at(when, [weak = weak_from_this(), opened = opened_, what = std::move(what)] {
      if (auto self = weak.lock(); self && self->opened_ == opened)
        what();
    });
  }

  void call(instant when) {
    if (called_ && *called_ <= when)
      return;
    called_ = when;
    later(when, [this] {
      called_.reset();
      notify_();
    });
  }

  /// @pre there is a job.
  void begin() {
    auto next = std::move(jobs_.front());
    jobs_.pop_front();
    store_->take_spent();
    auto then = std::make_shared<aftermath>(next(*store_));
    later(parts_.now() + store_->take_spent(), [this, then] {
      finished_.push_back(std::move(*then));
      working_ = !jobs_.empty();
      if (working_)
        begin();
      call(parts_.now());
    });
  }

  sim_content_parts parts_;
  std::function<void()> notify_;
  std::optional<sim_store> store_;
  std::unique_ptr<p2p::engine> engine_;
  std::deque<job> jobs_;
  std::vector<aftermath> finished_;
  bool working_ = false;
  /// How often it was opened or closed.
  std::uint64_t opened_ = 0;
  /// When somebody is told that there is something to drain.
  std::optional<instant> called_;
};

} // namespace

std::shared_ptr<content_port> make_sim_content_port(sim_content_parts parts) {
  assert(parts.network && parts.where.disk && parts.now && parts.at && parts.wall_time);
  return std::make_shared<sim_content_port>(std::move(parts));
}

} // namespace astra::sim
