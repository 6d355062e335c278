#include "runtime/sim/trace.hpp"

#define XXH_INLINE_ALL
#include <caf/message.hpp>
#include <caf/type_id.hpp>
#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cassert>
#include <fstream>
#include <iterator>
#include <utility>

// A file is a signature and blocks: one of head, actors, texts, then one per few thousand records, then the end.  A
// block is its kind (one byte), the size of its body, the body, and XXH64 of all of these.  Integers are varints of
// seven bits per byte, lowest first; only checksums and hashes, which do not shrink, have eight bytes, lowest first.
// Records hold differences to the record before.  Checksums are verified before a body is looked at, and bodies are
// still read with every bound checked: a file may come from anybody.

namespace astra::sim {

namespace {

constexpr std::string_view signature = "astratrace\x01\n";
constexpr std::size_t records_per_block = 4096;

enum class block_kind : std::uint8_t { head = 1, actors, texts, records, end };

// Bits of the byte that says which fields of a record follow.
enum field : unsigned {
  has_cause = 1,
  has_peer = 2,
  has_actor = 4,
  has_sender = 8,
  has_message_id = 16,
  has_message = 32,
  has_text = 64,
};

std::uint64_t hash_of(std::string_view bytes) {
  return XXH64(bytes.data(), bytes.size(), 0);
}

class writer {
public:
  void byte(unsigned value) { bytes_.push_back(static_cast<char>(value)); }

  void number(std::uint64_t value) {
    for (; value >= 0x80; value >>= 7)
      byte(static_cast<unsigned>(value & 0x7f) | 0x80);
    byte(static_cast<unsigned>(value));
  }

  void fixed(std::uint64_t value) {
    for (auto i = 0; i < 8; ++i, value >>= 8)
      byte(static_cast<unsigned>(value & 0xff));
  }

  void text(std::string_view value) {
    number(value.size());
    bytes_ += value;
  }

  void block(block_kind kind, const writer& body) {
    auto start = bytes_.size();
    byte(static_cast<unsigned>(kind));
    text(body.bytes_);
    fixed(hash_of(std::string_view{bytes_}.substr(start)));
  }

  std::string bytes_;
};

// Reads up to the first problem; after it every answer is 0 or empty.
class reader {
public:
  reader(std::string_view bytes, std::size_t offset) : bytes_(bytes), base_(offset) {}

  bool failed() const { return problem_.has_value(); }
  bool done() const { return failed() || place_ == bytes_.size(); }
  const std::optional<trace_problem>& problem() const { return problem_; }
  std::size_t offset() const { return base_ + place_; }
  std::size_t left() const { return bytes_.size() - place_; }

  void fail(std::string what) { fail_at(offset(), std::move(what)); }

  void fail_at(std::size_t offset, std::string what) {
    if (!problem_)
      problem_ = trace_problem{offset, std::move(what)};
  }

  std::string_view raw(std::size_t size) {
    if (failed())
      return {};
    if (size > left()) {
      fail(fmt::format("ends {} bytes too early", size - left()));
      return {};
    }
    place_ += size;
    return bytes_.substr(place_ - size, size);
  }

  unsigned byte() {
    auto got = raw(1);
    return got.empty() ? 0U : static_cast<unsigned char>(got.front());
  }

  std::uint64_t number() {
    auto start = offset();
    std::uint64_t result = 0;
    for (auto shift = 0U; shift < 64; shift += 7) {
      auto got = std::uint64_t{byte()};
      if (failed())
        return 0;
      // The tenth byte has room for one bit, and a last byte of 0 would be a second way to write the same number.
      if ((shift == 63 && got > 1) || (shift > 0 && got == 0))
        break;
      result |= (got & 0x7f) << shift;
      if (got < 0x80)
        return result;
    }
    fail_at(start, "not a number");
    return 0;
  }

  // A number below `bound`.
  std::uint64_t below(std::uint64_t bound, std::string_view what) {
    auto start = offset();
    auto result = number();
    if (!failed() && result >= bound) {
      fail_at(start, fmt::format("{} {} is out of range", what, result));
      return 0;
    }
    return result;
  }

  // How many things follow, each of which takes at least `least` bytes.
  std::size_t count(std::size_t least) {
    auto start = offset();
    auto result = number();
    if (!failed() && result > left() / least) {
      fail_at(start, fmt::format("{} entries do not fit into the rest", result));
      return 0;
    }
    return static_cast<std::size_t>(result);
  }

  std::uint64_t fixed() {
    auto got = raw(8);
    std::uint64_t result = 0;
    for (auto i = got.size(); i-- > 0;)
      result = result << 8 | static_cast<unsigned char>(got[i]);
    return result;
  }

  std::string text() { return std::string{raw(count(1))}; }

private:
  std::string_view bytes_;
  std::size_t base_;
  std::size_t place_ = 0;
  std::optional<trace_problem> problem_;
};

void put_record(writer& out, const trace_record& x, const trace_record& before) {
  auto fields = (x.cause != 0 ? has_cause : 0U) | (x.peer != machine_id{} ? has_peer : 0U)
                | (x.actor != 0 ? has_actor : 0U) | (x.sender != 0 ? has_sender : 0U)
                | (x.message_id != 0 ? has_message_id : 0U) | (x.message != text_id{} ? has_message : 0U)
                | (x.text != text_id{} ? has_text : 0U);
  out.byte(static_cast<unsigned>(x.kind));
  out.byte(fields);
  out.number(x.number - before.number);
  out.number(static_cast<std::uint64_t>((x.at - before.at).count()));
  out.number(static_cast<std::uint64_t>(x.machine));
  if (fields & has_cause)
    out.number(x.number - x.cause);
  if (fields & has_peer)
    out.number(static_cast<std::uint64_t>(x.peer));
  if (fields & has_actor)
    out.number(x.actor);
  if (fields & has_sender)
    out.number(x.sender);
  // The highest bits tell responses and priorities, the lowest count: turned round, most of them are short.
  if (fields & has_message_id)
    out.number(std::rotl(x.message_id, 4));
  if (fields & has_message)
    out.number(static_cast<std::uint64_t>(x.message));
  if (fields & has_text)
    out.number(static_cast<std::uint64_t>(x.text));
}

std::uint64_t get_actor(reader& in, const trace& target) {
  auto start = in.offset();
  auto result = in.number();
  if (!in.failed() && (result == 0 || !target.actors.contains(result)))
    in.fail_at(start, fmt::format("actor {} has no name", result));
  return result;
}

trace_record get_record(reader& in, const trace& target, const trace_record& before) {
  trace_record x;
  auto start = in.offset();
  auto kind = in.byte();
  if (kind >= static_cast<unsigned>(event_kind::count_)) {
    in.fail_at(start, fmt::format("event of unknown kind {}", kind));
    return x;
  }
  x.kind = static_cast<event_kind>(kind);
  start = in.offset();
  auto fields = in.byte();
  if (fields >= 128)
    in.fail_at(start, "event with unknown fields");
  start = in.offset();
  auto step = in.number();
  x.number = before.number + step;
  if (!in.failed() && x.number <= before.number)
    in.fail_at(start, "numbers of events do not grow");
  auto passed = in.below(static_cast<std::uint64_t>((instant::max() - before.at).count()), "time");
  x.at = before.at + instant{static_cast<std::int64_t>(passed)};
  x.machine = static_cast<machine_id>(in.below(target.machines.size(), "machine"));
  if (fields & has_cause) {
    start = in.offset();
    auto distance = in.number();
    if (!in.failed() && (distance == 0 || distance >= x.number))
      in.fail_at(start, "an event that is caused by a later one");
    x.cause = x.number - distance;
  }
  if (fields & has_peer)
    x.peer = static_cast<machine_id>(in.below(target.machines.size(), "machine"));
  if (fields & has_actor)
    x.actor = get_actor(in, target);
  if (fields & has_sender)
    x.sender = get_actor(in, target);
  if (fields & has_message_id)
    x.message_id = std::rotr(in.number(), 4);
  if (fields & has_message)
    x.message = static_cast<text_id>(in.below(target.texts.size(), "text"));
  if (fields & has_text)
    x.text = static_cast<text_id>(in.below(target.texts.size(), "text"));
  return x;
}

void get_head(reader& in, trace& target) {
  target.scenario = in.text();
  target.seed = in.number();
  target.build = in.text();
  for (auto n = in.count(3); n-- > 0 && !in.failed();) {
    auto name = in.text();
    auto role = in.text();
    target.machines.push_back({std::move(name), std::move(role), in.text()});
  }
  for (auto n = in.count(4); n-- > 0 && !in.failed();) {
    trace_failure failure;
    failure.number = in.number();
    failure.at = instant{static_cast<std::int64_t>(in.below(std::uint64_t{1} << 63, "time"))};
    failure.check = in.text();
    failure.text = in.text();
    target.failures.push_back(std::move(failure));
  }
}

void get_actors(reader& in, trace& target) {
  std::uint64_t last = 0;
  for (auto n = in.count(2); n-- > 0 && !in.failed();) {
    auto start = in.offset();
    auto id = last + in.number();
    if (!in.failed() && id <= last)
      in.fail_at(start, "actors are not in order");
    target.actors.emplace_hint(target.actors.end(), id, in.text());
    last = id;
  }
}

void get_texts(reader& in, trace& target) {
  for (auto n = in.count(1); n-- > 0 && !in.failed();)
    target.texts.push_back(in.text());
}

void get_records(reader& in, trace& target) {
  auto n = in.count(5);
  target.records.reserve(target.records.size() + n);
  while (n-- > 0 && !in.failed())
    target.records.push_back(get_record(in, target, target.records.empty() ? trace_record{} : target.records.back()));
}

// Type names without their namespaces, and without what CAF makes of standard types.
std::string short_name(caf::type_id_t type) {
  auto got = caf::query_type_name(type);
  std::string_view name{got.data(), got.size()};
  if (name.starts_with("std::") && name.find("basic_string") != std::string_view::npos)
    return "string";
  auto arguments = name.find('<');
  auto last = name.substr(0, arguments).rfind("::");
  return std::string{last == std::string_view::npos ? name : name.substr(last + 2)};
}

bool name_matches(std::string_view pattern, std::string_view name) {
  if (!pattern.empty() && pattern.back() == '*')
    return name.starts_with(pattern.substr(0, pattern.size() - 1));
  return pattern == name;
}

// A record is one line whatever an actor logged.
std::string one_line(std::string_view text) {
  std::string result;
  result.reserve(text.size());
  for (auto c : text) {
    if (c == '\n')
      result += "\\n";
    else
      result += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? ' ' : c;
  }
  return result;
}

} // namespace

// -- hash -----------------------------------------------------------------------------------------------------------

void trace_hash::feed(const event& what, std::uint64_t payload) {
  // Type ids are pinned by the wire protocol; names of types depend on the compiler.
  std::uint64_t types = 0;
  if (what.content) {
    auto list = what.content->types();
    types = list.size() + 1;
    for (auto type : list)
      types = types * 0x9e3779b97f4a7c15U + type;
  }
  std::array<std::uint64_t, 11> words{
      what.number,
      what.cause,
      static_cast<std::uint64_t>(what.at.count()),
      static_cast<std::uint64_t>(what.kind),
      static_cast<std::uint64_t>(what.machine) << 32 | static_cast<std::uint64_t>(what.peer),
      what.actor,
      what.sender,
      what.message_id,
      types,
      payload,
      what.text.empty() ? 0 : XXH3_64bits(what.text.data(), what.text.size()),
  };
  if constexpr (std::endian::native == std::endian::big) {
    for (auto& word : words)
      word = __builtin_bswap64(word);
  }
  // Each link of the chain has the state before as its seed: the same events in another order hash to another value.
  state_ = XXH3_64bits_withSeed(words.data(), sizeof(words), state_);
}

// -- trace ----------------------------------------------------------------------------------------------------------

std::string_view trace::machine_name(machine_id id) const {
  auto i = static_cast<std::size_t>(id);
  return i == 0 || i >= machines.size() ? "-" : std::string_view{machines[i].name};
}

std::string_view trace::actor_name(std::uint64_t actor) const {
  auto found = actors.find(actor);
  return found == actors.end() ? "-" : std::string_view{found->second};
}

const trace_record* trace::find(std::uint64_t number) const {
  auto found = std::lower_bound(records.begin(), records.end(), number,
                                [](const trace_record& x, std::uint64_t wanted) { return x.number < wanted; });
  return found == records.end() || found->number != number ? nullptr : &*found;
}

trace_recorder::trace_recorder(trace about, actor_namer namer) : result_(std::move(about)), namer_(std::move(namer)) {
  result_.actors.clear();
  result_.texts.assign(1, "");
  result_.records.clear();
  interned_.emplace("", text_id{});
}

void trace_recorder::record(const event& what) {
  auto& records = result_.records;
  assert(what.number > (records.empty() ? 0 : records.back().number) && what.cause < what.number);
  assert(what.at >= (records.empty() ? instant{0} : records.back().at));
  assert(static_cast<std::size_t>(what.machine) < result_.machines.size()
         && static_cast<std::size_t>(what.peer) < result_.machines.size());
  name_actor(what.actor);
  name_actor(what.sender);
  records.push_back({
      .number = what.number,
      .cause = what.cause,
      .at = what.at,
      .kind = what.kind,
      .machine = what.machine,
      .peer = what.peer,
      .actor = what.actor,
      .sender = what.sender,
      .message_id = what.message_id,
      .message = what.content ? message_name(*what.content) : text_id{},
      .text = intern(what.text),
  });
}

trace trace_recorder::finish(std::uint64_t hash) {
  result_.hash = hash;
  interned_.clear();
  message_names_.clear();
  return std::exchange(result_, {});
}

text_id trace_recorder::intern(std::string_view text) {
  if (text.empty())
    return {};
  auto [place, added] = interned_.try_emplace(std::string{text}, static_cast<text_id>(result_.texts.size()));
  if (added)
    result_.texts.emplace_back(text);
  return place->second;
}

text_id trace_recorder::message_name(const caf::message& content) {
  std::u16string key;
  for (auto type : content.types())
    key.push_back(static_cast<char16_t>(type));
  auto [place, added] = message_names_.try_emplace(key);
  if (added) {
    std::string name;
    for (auto type : content.types())
      name += (name.empty() ? "" : ", ") + short_name(type);
    place->second = intern(name.empty() ? "unit" : name);
  }
  return place->second;
}

void trace_recorder::name_actor(std::uint64_t actor) {
  if (actor == 0)
    return;
  auto [place, added] = result_.actors.try_emplace(actor);
  if (!added)
    return;
  auto name = namer_ ? namer_(actor) : std::string{};
  // All our actors have this in front; without it more fits into a line.
  if (auto at = name.find("/astra."); at != std::string::npos)
    name.erase(at + 1, 6);
  place->second = name.empty() ? fmt::format("#{}", actor) : std::move(name);
}

// -- files ------------------------------------------------------------------------------------------------------------

std::string to_string(const trace_problem& problem) {
  return fmt::format("at byte {}: {}", problem.offset, problem.what);
}

std::string encode_trace(const trace& what) {
  writer out;
  out.bytes_ += signature;
  writer head;
  head.text(what.scenario);
  head.number(what.seed);
  head.text(what.build);
  head.number(what.machines.size());
  for (auto& machine : what.machines) {
    head.text(machine.name);
    head.text(machine.role);
    head.text(machine.zone);
  }
  head.number(what.failures.size());
  for (auto& failure : what.failures) {
    head.number(failure.number);
    head.number(static_cast<std::uint64_t>(failure.at.count()));
    head.text(failure.check);
    head.text(failure.text);
  }
  out.block(block_kind::head, head);
  writer actors;
  actors.number(what.actors.size());
  std::uint64_t last = 0;
  for (auto& [id, name] : what.actors) {
    actors.number(id - std::exchange(last, id));
    actors.text(name);
  }
  out.block(block_kind::actors, actors);
  writer texts;
  texts.number(what.texts.size() - 1);
  for (auto i = std::size_t{1}; i < what.texts.size(); ++i)
    texts.text(what.texts[i]);
  out.block(block_kind::texts, texts);
  trace_record before;
  for (auto i = std::size_t{0}; i < what.records.size(); i += records_per_block) {
    auto end = std::min(what.records.size(), i + records_per_block);
    writer records;
    records.number(end - i);
    for (auto j = i; j < end; ++j) {
      put_record(records, what.records[j], before);
      before = what.records[j];
    }
    out.block(block_kind::records, records);
  }
  writer end;
  end.number(what.records.size());
  end.fixed(what.hash);
  out.block(block_kind::end, end);
  return std::move(out.bytes_);
}

std::variant<trace, trace_problem> decode_trace(std::string_view bytes) {
  if (!bytes.starts_with(signature))
    return trace_problem{0, "not a trace of this version"};
  trace result;
  reader file{bytes.substr(signature.size()), signature.size()};
  auto expected = block_kind::head;
  for (;;) {
    auto start = file.offset();
    auto kind = static_cast<block_kind>(file.byte());
    auto size = file.count(1);
    auto body_at = file.offset();
    auto body = file.raw(size);
    auto checked = bytes.substr(start, file.offset() - start);
    auto sum = file.fixed();
    if (file.failed())
      return *file.problem();
    if (sum != hash_of(checked))
      return trace_problem{start, "the block that begins here is damaged"};
    // Records may take any number of blocks, the others exactly one.
    if (expected == block_kind::records && kind == block_kind::end)
      expected = kind;
    if (kind != expected)
      return trace_problem{start, fmt::format("block of unexpected kind {}", static_cast<unsigned>(kind))};
    reader in{body, body_at};
    switch (kind) {
    case block_kind::head:
      get_head(in, result);
      expected = block_kind::actors;
      break;
    case block_kind::actors:
      get_actors(in, result);
      expected = block_kind::texts;
      break;
    case block_kind::texts:
      get_texts(in, result);
      expected = block_kind::records;
      break;
    case block_kind::records:
      get_records(in, result);
      break;
    case block_kind::end:
      if (in.number() != result.records.size())
        in.fail_at(body_at, "events are missing");
      result.hash = in.fixed();
      break;
    }
    if (!in.failed() && !in.done())
      in.fail("more than belongs into this block");
    if (in.failed())
      return *in.problem();
    if (kind == block_kind::end)
      break;
  }
  if (!file.done())
    return trace_problem{file.offset(), "more than belongs into a trace"};
  return result;
}

std::string save_trace(const trace& what, const std::string& path) {
  std::ofstream out{path, std::ios::binary | std::ios::trunc};
  out << encode_trace(what);
  out.close();
  return out ? std::string{} : fmt::format("{}: cannot be written", path);
}

std::variant<trace, trace_problem> load_trace(const std::string& path) {
  std::ifstream in{path, std::ios::binary};
  if (!in)
    return trace_problem{0, fmt::format("{}: cannot be read", path)};
  std::string bytes{std::istreambuf_iterator<char>{in}, {}};
  if (in.bad())
    return trace_problem{0, fmt::format("{}: cannot be read", path)};
  return decode_trace(bytes);
}

// -- text -------------------------------------------------------------------------------------------------------------

std::string to_text(instant at) {
  auto ns = at.count();
  auto sign = ns < 0 ? "-" : "";
  auto size = ns < 0 ? -ns : ns;
  return fmt::format("{}{}.{:09}s", sign, size / 1'000'000'000, size % 1'000'000'000);
}

std::string_view place_of(const trace& what, const trace_record& x) {
  switch (x.kind) {
  case event_kind::step:
  case event_kind::arrive:
  case event_kind::log:
    if (x.actor != 0)
      return what.actor_name(x.actor);
    break;
  case event_kind::send:
  case event_kind::drop:
    if (x.sender != 0)
      return what.actor_name(x.sender);
    break;
  default:
    break;
  }
  return what.machine_name(x.machine);
}

std::string describe(const trace& what, const trace_record& x) {
  std::string result{what.text(x.message)};
  auto add = [&](std::string_view word, std::string_view name) {
    if (!result.empty())
      result += ' ';
    result += word;
    result += name;
  };
  switch (x.kind) {
  case event_kind::step:
  case event_kind::arrive:
    if (x.sender != 0 && x.sender != x.actor)
      add("from ", what.actor_name(x.sender));
    else if (x.peer != machine_id{})
      add("from ", what.machine_name(x.peer));
    break;
  case event_kind::send:
  case event_kind::drop:
    if (x.actor != 0)
      add("to ", what.actor_name(x.actor));
    else if (x.peer != machine_id{})
      add("to ", what.machine_name(x.peer));
    break;
  default:
    if (x.peer != machine_id{})
      add("with ", what.machine_name(x.peer));
    break;
  }
  if (x.text != text_id{}) {
    result += result.empty() ? "" : ": ";
    result += one_line(what.text(x.text));
  }
  return result;
}

std::string to_line(const trace& what, const trace_record& x) {
  auto cause = x.cause == 0 ? std::string(9, ' ') : fmt::format("<-#{:06}", x.cause);
  auto line = fmt::format("{:>15} #{:06} {:9} {:<10} {:<28} {}", to_text(x.at), x.number, cause, to_string(x.kind),
                          place_of(what, x), describe(what, x));
  line.erase(line.find_last_not_of(' ') + 1);
  return line;
}

bool trace_filter::passes(const trace& what, const trace_record& x) const {
  auto contains = [](std::string_view name, std::string_view part) {
    return name.find(part) != std::string_view::npos;
  };
  if (x.at < from || x.at >= until)
    return false;
  if (!kinds.empty() && std::find(kinds.begin(), kinds.end(), x.kind) == kinds.end())
    return false;
  if (!machine.empty() && !name_matches(machine, what.machine_name(x.machine))
      && !name_matches(machine, what.machine_name(x.peer)))
    return false;
  if (!message.empty() && !contains(what.text(x.message), message))
    return false;
  return actor.empty() || contains(what.actor_name(x.actor), actor) || contains(what.actor_name(x.sender), actor);
}

std::string to_text(const trace& what, const trace_filter& filter) {
  std::string result;
  for (auto& record : what.records)
    if (filter.passes(what, record))
      result += to_line(what, record) + '\n';
  return result;
}

std::optional<event_kind> find_event_kind(std::string_view name) {
  for (auto i = 0; i < static_cast<int>(event_kind::count_); ++i)
    if (auto kind = static_cast<event_kind>(i); to_string(kind) == name)
      return kind;
  return std::nullopt;
}

} // namespace astra::sim
