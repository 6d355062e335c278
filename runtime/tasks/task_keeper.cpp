#include "runtime/tasks/task_keeper.hpp"

#include <algorithm>
#include <utility>

namespace astra {
namespace {

constexpr std::size_t batch_jobs_max = 512;
constexpr std::uint64_t batch_bytes_max = 32ull << 20;

} // namespace

task_keeper::task_keeper(std::unique_ptr<task_store> store, mode how)
  : store_(std::move(store)), secret_(store_->secret()) {
  if (auto usage = store_->usage())
    usage_ = *usage;
  if (how == mode::thread)
    thread_ = std::thread{[this] { run(); }};
}

task_keeper::~task_keeper() {
  {
    std::lock_guard guard{mutex_};
    stopping_ = true;
    poke_ = nullptr;
  }
  wake_.notify_one();
  if (thread_.joinable())
    thread_.join();
  else
    while (step()) {
    }
}

void task_keeper::attach(std::function<void()> poke) {
  std::lock_guard guard{mutex_};
  ++generation_;
  done_.clear();
  poke_ = std::move(poke);
}

void task_keeper::post(job what) {
  {
    std::lock_guard guard{mutex_};
    what.generation = generation_;
    jobs_.push_back(std::move(what));
  }
  wake_.notify_one();
}

std::vector<std::function<void()>> task_keeper::take_done() {
  std::lock_guard guard{mutex_};
  return std::exchange(done_, {});
}

task_usage task_keeper::usage() const {
  std::lock_guard guard{mutex_};
  return usage_;
}

void task_keeper::run() {
  for (;;) {
    {
      std::unique_lock guard{mutex_};
      wake_.wait(guard, [this] { return stopping_ || !jobs_.empty(); });
      if (jobs_.empty())
        return;
    }
    step();
  }
}

bool task_keeper::step() {
  std::vector<job> batch;
  {
    std::lock_guard guard{mutex_};
    std::uint64_t bytes = 0;
    while (!jobs_.empty() && batch.size() < batch_jobs_max && (batch.empty() || bytes <= batch_bytes_max)) {
      bytes += jobs_.front().bytes;
      batch.push_back(std::move(jobs_.front()));
      jobs_.pop_front();
    }
  }
  if (batch.empty())
    return false;
  auto errors = perform(batch);
  auto usage = store_->usage();
  std::function<void()> poke;
  {
    std::lock_guard guard{mutex_};
    if (usage)
      usage_ = *usage;
    for (std::size_t i = 0; i < batch.size(); ++i)
      if (batch[i].generation == generation_ && batch[i].then)
        done_.push_back([then = std::move(batch[i].then), error = std::move(errors[i])] { then(error); });
    if (!done_.empty())
      poke = poke_;
  }
  if (poke)
    poke();
  return true;
}

std::vector<caf::error> task_keeper::perform(const std::vector<job>& batch) {
  std::vector<caf::error> errors(batch.size());
  if (!perform_all(batch))
    return errors;
  // Something was too much, or the disk is full: what fits by itself must not fail for the company that it was in.
  for (std::size_t i = 0; i < batch.size(); ++i)
    errors[i] = perform_all({batch[i]});
  return errors;
}

caf::error task_keeper::perform_all(const std::vector<job>& batch) {
  auto writes = std::any_of(batch.begin(), batch.end(), [](auto& one) { return one.writes; });
  if (writes)
    if (auto error = store_->begin())
      return error;
  for (auto& one : batch)
    if (auto error = one.what(*store_)) {
      if (writes)
        store_->roll_back();
      return error;
    }
  return writes ? store_->commit() : caf::error{};
}

} // namespace astra
