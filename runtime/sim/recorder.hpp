#pragma once

#include "runtime/sim/event.hpp"
#include "runtime/sim/trace.hpp"
#include "runtime/sim/world.hpp"

#include <cstdint>
#include <iosfwd>
#include <string>

namespace astra::sim {

/// Keeps what happens in one run of a world, for people: as text, as a file, as a space-time diagram, as the causes of
/// a failure.
class recorder {
public:
  /// @pre `run` outlives the recorder.
  recorder(world& run, std::uint64_t seed);

  void add(const event& what);

  /// One line per event.
  void write_text(std::ostream& out);

  /// These return what went wrong; empty: it is written.
  std::string write_file(const std::string& path);
  std::string write_html(const std::string& path, const run_result& result);

  /// The causes of an event, newest first, and the messages that led to it.
  std::string explain(std::uint64_t number);

  /// What was recorded so far.
  const trace& so_far() const { return inner_.so_far(); }

private:
  trace finished();

  world& run_;
  trace_recorder inner_;
};

} // namespace astra::sim
