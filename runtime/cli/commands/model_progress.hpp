#pragma once

#include "runtime/cli/command_context.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace astra {

/// Where several jobs of nodes stand together.
struct job_progress {
  std::size_t jobs = 0;
  std::size_t done = 0;
  std::size_t failed = 0;
  /// Of all that have not failed.
  std::uint64_t bytes_done = 0;
  std::uint64_t bytes_total = 0;
  /// Of those that run.
  std::uint64_t bytes_per_s = 0;
  std::uint64_t peers = 0;
  /// Until the last one is done; nothing when of one nobody knows.
  std::optional<std::chrono::milliseconds> eta;
  /// The one that is furthest behind of those that run, its share in [0, 1], and what holds it up.
  std::string slowest;
  double slowest_share = 0.0;
  std::string reason;

  double share() const;
  bool ended() const { return done + failed == jobs; }
};

/// @param jobs as GET /v1/model-jobs tells them.
job_progress summarise_jobs(const std::vector<json>& jobs);

/// "[#####---------------]  25 %  1.1 GiB of 4.6 GiB  112 MiB/s  14 peers  ETA 23s  2 of 8 nodes  n3 12 %: no peer".
std::string progress_text(const job_progress& progress, bool bar);

/// The beginning of a text that takes at most so many columns.
std::string clipped(std::string_view text, std::size_t columns);

/// What a reason says beside the share, rate and time that are shown anyway.
std::string bare_reason(std::string_view reason);

/// Jobs of nodes that belong together.
struct job_order {
  /// "fetch"
  std::string verb;
  /// "llama@3", or "llama" while its version is not known.
  std::string content;
  /// "node:id"
  std::vector<std::string> ids;
  /// Has a node that was started anew begin again, and returns the new job's id; may be null.
  std::function<caf::expected<std::string>(const std::string& node)> again;
};

struct followed_jobs {
  /// As they were told last, in the order of the ids; of those that nobody tells of any more, "failed" with the reason.
  std::vector<json> jobs;
  /// The user does not want to see the end.
  bool left = false;
};

/// Tells on stderr how jobs of nodes go, until all have ended or ^C is pressed; the jobs go on then.  A gateway or node
/// that is gone for a while is waited for.  Fails as `ask`.
caf::expected<followed_jobs> follow_jobs(command_context& context, const job_order& order);

} // namespace astra
