#pragma once

#include "actors/node/replica_runner.hpp"
#include "messages/http_call.hpp"

#include <caf/error.hpp>

#include <chrono>
#include <cstdint>
#include <functional>
#include <set>
#include <string>

namespace astra {

/// A replica that is one long-lived process, which may answer requests over HTTP: its launch, the question whether it
/// is ready, its calls, and its end.
class process_runner : public replica_runner {
public:
  using replica_runner::replica_runner;
  ~process_runner() override;

  void cancel(attempt_id attempt, const std::string& reason) override;
  void on_exited(const process_exited& event) override;

protected:
  using milliseconds = std::chrono::milliseconds;

  /// Between SIGTERM and SIGKILL of a process that never became ready.
  static constexpr milliseconds unready_grace{1000};

  // -- what the kinds of processes do in their own way ---------------------------

  /// What it is called in reasons, such as "the server".
  virtual std::string noun() const = 0;
  /// It runs, and has written the line that it was to write.
  virtual void on_started() = 0;
  /// Where and what to ask, and how long to wait for it.
  virtual http_call question() const = 0;
  virtual milliseconds question_interval() const = 0;
  /// Why an answer to the question does not mean that it is ready; empty: it is.
  virtual std::string problem_with(const http_answer& answer) const = 0;
  /// Whether no answer means that it is ready.
  virtual bool is_ready_despite(const caf::error& reason) const = 0;
  virtual void on_ready() = 0;
  /// Its time is over.
  virtual void on_unready(const std::string& problem) = 0;
  /// What an answer to a call means.
  virtual pb::InvokeReply reply_to(http_answer& answer) const;
  /// A call was not taken.
  virtual void on_refused(const std::string&) {}
  /// The process is gone, or was never there; what was lost with it is answered next.
  virtual void on_gone(const std::string& reason) = 0;
  /// And this was asked for.
  virtual void on_stopped() = 0;

  // -- what they have in common --------------------------------------------------

  /// Launches the process of `process_`.
  /// @param wait For the launcher's word.
  void launch(launch_process what, caf::timespan wait);

  void kill(caf::timespan grace, const std::string& reason);

  /// Kills it for a reason of ours, which is the one that operators hear.
  void put_down(std::string reason);

  /// Asks `question` again and again until it is ready or `ready_deadline_` is over.
  void probe();
  void probe_later(const std::string& problem);

  /// Sends a request to its server.
  void post(work request, std::string host, std::uint16_t port);

  /// Whether what was begun for a process is about the one that runs now.
  bool is_current(process_key key) const { return key == process_ && !stopping_; }

  /// 0: no process.
  process_key process_;
  bool stopping_ = false;
  std::chrono::steady_clock::time_point ready_deadline_;
  /// Why we killed it ourselves; empty when we did not.
  std::string end_reason_;
  std::set<attempt_id> calls_;

private:
  void end(const std::string& reason);
  void finish(attempt_id attempt, pb::InvokeReply result);
};

} // namespace astra
