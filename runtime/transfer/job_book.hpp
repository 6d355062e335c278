#pragma once

#include "messages/wire/transfer.pb.h"
#include "runtime/transfer/fetch_text.hpp"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <string>

namespace astra {

/// What a worker tells of its progress, on its thread; read by the keeper on another.
struct work_meter {
  std::atomic<std::uint64_t> done{0};
  std::atomic<std::uint64_t> total{0};
};

/// Work on contents that operators ordered and ask about until it is done.
///
/// A plain class: the time is an argument.
class job_book {
public:
  using time_point = std::chrono::steady_clock::time_point;

  /// The oldest are forgotten beyond these.
  static constexpr std::size_t jobs_max = 1000;

  struct job {
    pb::ContentJob told;
    std::shared_ptr<work_meter> meter = std::make_shared<work_meter>();
    std::uint64_t done_before = 0;
    time_point measured{};
    smooth_rate rate;

    bool running() const { return told.state() == pb::JOB_RUNNING; }
    /// Says how far the worker is, and how fast it is.
    void measure(time_point now);
    void end(pb::JobState state, std::string reason);
  };
  using job_ptr = std::shared_ptr<job>;

  explicit job_book(std::string node) : node_(std::move(node)) {}

  job_ptr begin(const pb::ContentOrder& order, time_point now);
  /// Null: there is none of this number, or it was forgotten.
  job_ptr find(std::uint64_t id) const;
  const std::map<std::uint64_t, job_ptr>& all() const { return jobs_; }

private:
  std::string node_;
  std::map<std::uint64_t, job_ptr> jobs_;
  std::uint64_t last_ = 0;
};

} // namespace astra
