#pragma once

#include "messages/ids.hpp"
#include "runtime/net/hello.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <list>
#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

namespace astra {

/// Which sessions a process has, and which of two it keeps.  Plain: time is an argument.
///
/// One session per pair of processes.  CAF ignores the handshake of a process that it has a connection with already: a
/// second one would live on as a zombie that nobody answers.
class session_table {
public:
  using time_point = std::chrono::steady_clock::time_point;

  struct entry {
    std::uint64_t id = 0;
    hello peer;
    bool dialled = false;
    time_point since{};
  };

  struct decision {
    /// Absent: the new session is wanted.
    std::optional<refusal> no;
    /// Sessions that must be closed before the new one starts: the same process over an older connection, or an older
    /// life of the process.
    std::vector<std::uint64_t> close;
  };

  /// @param young an existing session of at most this age, dialled from the other side, was made at the same time: the
  /// one that the process with the smaller id dialled is kept.
  session_table(caf::node_id own, std::size_t most, std::chrono::milliseconds young)
    : own_(std::move(own)), most_(most), young_(young) {}

  /// What would become of a session with `peer` if it were complete now.
  decision judge(const hello& peer, bool dialled, time_point now) const;

  /// The same for one that is complete but for its last word: if it is wanted, it is entered as `id`, and those that it
  /// replaces are out of the table.
  decision add(std::uint64_t id, const hello& peer, bool dialled, time_point now);

  void remove(std::uint64_t id);

  /// The session with a process that says it listens at `address`; nullptr: none.  Anybody may say so: who matters has
  /// to look at what the certificate says.
  const entry* at(const std::string& address) const;

  bool has(std::uint64_t id) const { return by_id_.count(id) != 0; }
  std::size_t size() const { return by_id_.size(); }
  std::vector<entry> entries() const;

private:
  /// Lives of this many processes are remembered after their sessions.
  static constexpr std::size_t lives_kept = 65'536;

  void remember(const std::string& name, incarnation life);

  caf::node_id own_;
  std::size_t most_;
  std::chrono::milliseconds young_;
  std::map<std::uint64_t, entry> by_id_;
  std::map<caf::node_id, std::uint64_t> by_node_;
  std::map<std::string, std::uint64_t> by_address_;
  std::map<std::string, std::uint64_t> by_name_;
  std::list<std::pair<std::string, incarnation>> lives_;
  std::unordered_map<std::string, std::list<std::pair<std::string, incarnation>>::iterator> life_of_;
};

} // namespace astra
