#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace astra {

/// What `astra dev` is to start: a whole cluster of child processes on this machine.
struct dev_options {
  std::uint32_t nodes = 3;
  std::uint32_t resources = 1;
  /// Whether these were asked for, rather than left as they are.
  bool nodes_stated = false;
  bool resources_stated = false;
  /// Cores that the nodes offer: the first node the first number, and round again; empty: each its share of the
  /// machine, at least 0.1.
  std::vector<double> cores;
  /// Memory that each node offers; 0: half of the machine's divided by the nodes.
  std::uint64_t memory_per_node_bytes = 0;
  /// "host:port" of the gateway; empty: 127.0.0.1:9750 when that is free, else a port chosen by the kernel.
  std::string listen;
  /// App files to run from the start.
  std::vector<std::string> app_files;
  /// Where configuration files, logs and state go; empty: a new temporary directory, removed at the end.  One that is
  /// named here is not removed.
  std::string directory;
  /// Leave the temporary directory behind at the end.
  bool keep = false;
  /// Arguments of the astra that works with the cluster once it is up; "--dev DIRECTORY" is added.  The cluster ends
  /// when that one does, with its exit code.  Empty: there is none, and the cluster goes on until a signal ends it.
  std::vector<std::string> session;
  /// The session has the terminal, and ^C is for it alone.
  bool session_at_terminal = false;
};

} // namespace astra
