#pragma once

#include "messages/ids.hpp"

#include <caf/timespan.hpp>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

// Small conversations inside one process.

namespace astra {

/// A request as an app actor (kind = "actor") receives it.
struct work_request {
  std::shared_ptr<const std::string> body;
  std::string content_type;
};

struct work_result {
  std::string body;
  std::string content_type;
};

/// One node as a router sees it, every term of its weight included.
struct router_table_row {
  node_id node;
  std::string name;
  std::string address;
  double weight = 0.0;
  double credit = 0.0;
  /// Terms of the weight, named as in the formula.
  std::vector<std::pair<std::string, double>> terms;
  std::uint32_t slots = 0;
  std::uint32_t in_flight = 0;
  std::uint64_t picked = 0;
  std::uint64_t served = 0;
  /// Why it gets nothing now; empty: it is in rotation.
  std::string out_reason;
  /// It is asked before those that are not.
  bool near = false;
};

/// Answer of a router to (report_atom).
struct router_table {
  std::string app;
  std::string formula;
  std::vector<router_table_row> rows;
  /// How turns are kept: scan, classes, calendar.
  std::string order;
  std::uint64_t requests = 0;
  std::uint64_t answered = 0;
  std::uint32_t waiting = 0;
  /// Second starts of work that was lost, and of work that took long.
  std::uint64_t retries = 0;
  std::uint64_t hedges = 0;
};

/// Answer of a router to (report_atom, count): whose turn the next requests would be.  Changes nothing.
struct router_picks {
  std::string app;
  std::string formula;
  std::string order;
  /// Of nodes; fewer than asked for when no node can serve.
  std::vector<std::string> picks;
  /// Why there are none.
  std::string reason;
};

struct child_report {
  std::string name;
  /// running, backing off, failed.
  std::string state;
  std::string reason;
  std::uint32_t restarts = 0;
};

/// Answer of a supervisor to (report_atom).
struct children_report {
  std::vector<child_report> children;
};

} // namespace astra
