#pragma once

#include <caf/error.hpp>
#include <caf/expected.hpp>

#include <chrono>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

// How a shell asks the `astra dev` that runs a cluster to break something in it: over a socket in the cluster's
// directory, so that whoever may read the directory may do it, and nobody else.

namespace astra {

/// Something that happens to processes of a laptop cluster.
struct dev_fault {
  enum class kind {
    /// SIGKILL.
    kill,
    /// SIGTERM: the process ends in order.
    stop,
    /// SIGSTOP.
    stall,
  };

  kind what = kind::kill;
  /// Names of processes, such as node-2.
  std::vector<std::string> targets;
  /// Until a process that ended is started again, or one that was stalled goes on.
  std::chrono::milliseconds duration{2000};
};

/// "kill", "stop", "stall".
std::string to_string(dev_fault::kind what);

/// Reads "kill node-2 2s", "stall node-1,node-2 500ms".  Fails with invalid_argument, in words for the user.
caf::expected<dev_fault> read_dev_fault(const std::vector<std::string>& words);

/// Has the owner of the cluster do it; when this returns, it is done.  Fails with unreachable when nobody runs the
/// cluster any more, and with what the owner says.
caf::error ask_for_fault(const std::filesystem::path& directory, const dev_fault& what);

/// The owner's side.
class dev_fault_door {
public:
  /// Does it, or tells why not, in words for the user.
  using doer = std::function<std::string(const dev_fault& what)>;

  /// Without a door when the directory takes no socket.
  explicit dev_fault_door(const std::filesystem::path& directory);
  ~dev_fault_door();
  dev_fault_door(const dev_fault_door&) = delete;
  dev_fault_door& operator=(const dev_fault_door&) = delete;

  /// To wait on until somebody asks; -1: there is no door.
  int descriptor() const { return listener_; }

  /// Serves whoever waits.
  void serve(const doer& act);

private:
  std::filesystem::path directory_;
  int listener_ = -1;
};

/// Where the gateway of the cluster in a directory listens: "127.0.0.1:9750".  Fails with io_failed, in words for the
/// user, when there is no cluster.
caf::expected<std::string> dev_gateway(const std::filesystem::path& directory);

} // namespace astra
