#pragma once

#include "runtime/sim/event.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <variant>
#include <vector>

namespace astra::sim {

/// Running hash of all events of a run: two runs are the same run exactly if it is equal.  It depends on the values
/// of events alone, so it is the same on every machine, in every build and in every process.
class trace_hash {
public:
  /// `payload` is a hash of the serialised content of the event's message; 0 where there is none.
  void feed(const event& what, std::uint64_t payload);

  std::uint64_t value() const { return state_; }

private:
  std::uint64_t state_ = 0;
};

/// Place of a text in a trace's table; 0 is the empty text.
enum class text_id : std::uint32_t {};

/// An event that a trace owns.
struct trace_record {
  std::uint64_t number = 0;
  /// Less than `number`; 0: none is known.
  std::uint64_t cause = 0;
  instant at{0};
  event_kind kind = event_kind::step;
  machine_id machine{};
  machine_id peer{};
  std::uint64_t actor = 0;
  std::uint64_t sender = 0;
  std::uint64_t message_id = 0;
  /// Type of the message: "heartbeat"; "lookup_atom, string" where it has several parts.
  text_id message{};
  text_id text{};

  bool operator==(const trace_record&) const = default;
};

struct trace_machine {
  std::string name;
  /// What its lane is grouped by: "node", "resource".
  std::string role;
  std::string zone;

  bool operator==(const trace_machine&) const = default;
};

/// What a check found.
struct trace_failure {
  /// The event it was found at; 0: at the end of the quiet phase.
  std::uint64_t number = 0;
  instant at{0};
  std::string check;
  std::string text;

  bool operator==(const trace_failure&) const = default;
};

/// A recorded run, or a part of one.
struct trace {
  std::string scenario;
  std::uint64_t seed = 0;
  /// Which program ran it: a trace explains a run of the same build only.
  std::string build;
  /// By machine_id; the first is nobody.
  std::vector<trace_machine> machines;
  /// Names of the actors in `records`: "resource-1/resource#12".
  std::map<std::uint64_t, std::string> actors;
  /// By text_id.
  std::vector<std::string> texts{""};
  /// Numbers grow, but events may be missing; times never go back.
  std::vector<trace_record> records;
  std::vector<trace_failure> failures;
  /// Of the whole run, also of what is not in `records`.
  std::uint64_t hash = 0;

  bool operator==(const trace&) const = default;

  std::string_view text(text_id id) const { return texts[static_cast<std::size_t>(id)]; }
  /// "-" for nobody.
  std::string_view machine_name(machine_id id) const;
  /// "-" for none.
  std::string_view actor_name(std::uint64_t actor) const;
  /// Null when it is not in the trace.
  const trace_record* find(std::uint64_t number) const;
};

/// Makes a trace from the events of a run.
class trace_recorder {
public:
  /// The name of an actor, such as "resource-1/astra.resource#12".  Asked once per actor.
  using actor_namer = std::function<std::string(std::uint64_t)>;

  /// `about` has everything but records, actors, texts and hash.
  trace_recorder(trace about, actor_namer namer);

  /// A machine that was not there at the beginning; ids go on with the next one.
  void add_machine(trace_machine what) { result_.machines.push_back(std::move(what)); }

  /// @pre numbers grow and times do not go back, and the machines of the event are known
  void record(const event& what);

  void fail(trace_failure what) { result_.failures.push_back(std::move(what)); }

  const trace& so_far() const { return result_; }

  /// The trace; the recorder is empty afterwards.
  trace finish(std::uint64_t hash);

private:
  text_id intern(std::string_view text);
  text_id message_name(const caf::message& content);
  void name_actor(std::uint64_t actor);

  trace result_;
  actor_namer namer_;
  // Looked up only, never iterated: their order cannot reach a result.
  std::unordered_map<std::string, text_id> interned_;
  std::unordered_map<std::u16string, text_id> message_names_;
};

// -- files --------------------------------------------------------------------------------------------------------

struct trace_problem {
  /// In bytes from the start of the file.
  std::size_t offset = 0;
  std::string what;
};

/// "at byte 4711: the block's checksum is wrong".
std::string to_string(const trace_problem& problem);

/// The compact form: about 10 bytes per event.
std::string encode_trace(const trace& what);

/// Accepts nothing but what encode_trace made: whatever else comes is refused with the place of the damage.
std::variant<trace, trace_problem> decode_trace(std::string_view bytes);

/// Writes a file anew.  Returns what went wrong, or an empty text.
std::string save_trace(const trace& what, const std::string& path);

/// A problem of the file system has the offset 0.
std::variant<trace, trace_problem> load_trace(const std::string& path);

// -- text ---------------------------------------------------------------------------------------------------------

/// One line, without its end:
/// "  12.003417221s #004812 <-#004799 step       resource-1/resource#12        heartbeat from node-3/node#31".
/// Columns keep their places whatever the trace, as long as numbers have six digits and places 28 characters.
std::string to_line(const trace& what, const trace_record& record);

/// A time as traces print it: "12.003417221s".
std::string to_text(instant at);

/// "heartbeat from node-3/node#31": what to_line says after the place.
std::string describe(const trace& what, const trace_record& record);

/// Where an event happens: an actor, a machine, or "-".
std::string_view place_of(const trace& what, const trace_record& record);

/// Which events to show.  What is empty lets everything pass.
struct trace_filter {
  /// A machine on either side: "node-3", or "node-*" for all whose name begins so.
  std::string machine;
  /// Part of the name of the actor or the sender.
  std::string actor;
  /// Part of the name of the message's type.
  std::string message;
  std::vector<event_kind> kinds;
  instant from{0};
  /// Exclusive.
  instant until = instant::max();

  bool passes(const trace& what, const trace_record& record) const;
};

/// Lines with their ends, of all events that pass.
std::string to_text(const trace& what, const trace_filter& filter = {});

/// The kind of that name.
std::optional<event_kind> find_event_kind(std::string_view name);

} // namespace astra::sim
