#include "runtime/sim/causality.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <map>
#include <queue>
#include <set>
#include <string_view>
#include <tuple>
#include <utility>

namespace astra::sim {

namespace {

// How far back the other half of a message is looked for where no cause names it.
constexpr std::size_t match_window = 20'000;
// Longest round that is recognised, in hops.
constexpr std::size_t period_max = 6;
// How many earlier messages of an actor count as what it had been told.
constexpr std::size_t memory_of_actor = 64;

std::optional<std::size_t> index_of(const trace& what, std::uint64_t number) {
  auto found = number == 0 ? nullptr : what.find(number);
  return found ? std::optional{static_cast<std::size_t>(found - what.records.data())} : std::nullopt;
}

bool same_message(const trace_record& a, const trace_record& b) {
  return std::tie(a.actor, a.sender, a.message_id, a.message) == std::tie(b.actor, b.sender, b.message_id, b.message);
}

// The latest record of that kind before `from` about the same message.
std::optional<std::size_t> match(const trace& what, std::size_t from, event_kind kind) {
  auto& x = what.records[from];
  if (x.message == text_id{} || x.actor == 0)
    return std::nullopt;
  for (auto i = from, last = from > match_window ? from - match_window : 0; i-- > last;)
    if (auto& y = what.records[i]; y.kind == kind && same_message(x, y))
      return i;
  return std::nullopt;
}

bool is_fault(event_kind kind) {
  switch (kind) {
  case event_kind::crash:
  case event_kind::stop:
  case event_kind::stall:
  case event_kind::go_on:
  case event_kind::boot:
  case event_kind::fault:
  case event_kind::heal:
  case event_kind::drop:
  case event_kind::disconnect:
    return true;
  default:
    return false;
  }
}

std::string span_text(instant span) {
  auto ns = static_cast<double>(span.count());
  if (ns < 1e6)
    return fmt::format("{:.0f} us", ns / 1e3);
  return ns < 1e9 ? fmt::format("{:.1f} ms", ns / 1e6) : fmt::format("{:.2f} s", ns / 1e9);
}

std::string hop_line(const trace& what, const causal_hop& hop) {
  auto& x = what.records[hop.record];
  auto line = to_line(what, x);
  if (hop.sent) {
    auto& sent = what.records[*hop.sent];
    line += fmt::format(" (sent #{:06}, {} on the way)", sent.number, span_text(x.at - sent.at));
  }
  return line;
}

using hop_signature = std::tuple<event_kind, std::uint64_t, std::uint64_t, machine_id, text_id>;

hop_signature signature_of(const trace& what, const causal_hop& hop) {
  auto& x = what.records[hop.record];
  return {x.kind, x.actor, x.sender, x.machine, x.message};
}

// How often the `period` hops from `from` on follow each other.
std::size_t rounds_at(const std::vector<hop_signature>& hops, std::size_t from, std::size_t period) {
  auto i = from + period;
  while (i < hops.size() && hops[i] == hops[i - period])
    ++i;
  return (i - from) / period;
}

// The steps of each actor, oldest first.
using step_index = std::map<std::uint64_t, std::vector<std::size_t>>;

step_index steps_until(const trace& what, std::size_t last) {
  step_index result;
  for (auto i = std::size_t{0}; i <= last; ++i)
    if (what.records[i].kind == event_kind::step)
      result[what.records[i].actor].push_back(i);
  return result;
}

// The handling that an event is part of: itself, or the step it followed from.
std::optional<std::size_t> step_of(const trace& what, std::size_t record) {
  for (std::optional<std::size_t> at = record; at; at = cause_of(what, *at))
    if (what.records[*at].kind == event_kind::step)
      return at;
  return std::nullopt;
}

} // namespace

std::optional<std::size_t> cause_of(const trace& what, std::size_t record) {
  auto& x = what.records[record];
  if (x.cause != 0)
    return index_of(what, x.cause);
  switch (x.kind) {
  case event_kind::step:
    // Only a message from elsewhere arrives.
    return x.sender == x.actor ? std::nullopt : match(what, record, event_kind::arrive);
  case event_kind::arrive:
  case event_kind::drop:
    return match(what, record, event_kind::send);
  default:
    return std::nullopt;
  }
}

std::vector<causal_hop> causal_chain(const trace& what, std::uint64_t number) {
  std::vector<causal_hop> result;
  for (auto at = index_of(what, number); at;) {
    causal_hop hop{*at, {}};
    auto cause = cause_of(what, *at);
    if (cause && what.records[*at].kind == event_kind::step && what.records[*cause].kind == event_kind::arrive)
      cause = cause_of(what, *cause);
    if (cause && what.records[*cause].kind == event_kind::send && what.records[*at].kind != event_kind::send) {
      hop.sent = cause;
      cause = cause_of(what, *cause);
    }
    result.push_back(hop);
    at = cause;
  }
  return result;
}

std::vector<std::string> explain(const trace& what, std::uint64_t number, std::size_t lines_max) {
  auto hops = causal_chain(what, number);
  std::vector<hop_signature> signatures;
  signatures.reserve(hops.size());
  for (auto& hop : hops)
    signatures.push_back(signature_of(what, hop));
  std::vector<std::string> lines;
  auto at_of = [&](std::size_t i) { return what.records[hops[i].record].at; };
  for (auto i = std::size_t{0}; i < hops.size();) {
    auto period = std::size_t{1};
    auto rounds = std::size_t{0};
    for (auto p = std::size_t{1}; p <= period_max; ++p)
      if (auto n = rounds_at(signatures, i, p); n >= 3 && n * p > rounds * period) {
        period = p;
        rounds = n;
      }
    if (rounds == 0) {
      lines.push_back(hop_line(what, hops[i++]));
      continue;
    }
    for (auto j = i; j < i + period; ++j)
      lines.push_back(hop_line(what, hops[j]));
    auto last = i + period * (rounds - 1);
    lines.push_back(fmt::format("{:>15} ... {} {} more times, every {} on average, back to #{:06}",
                                to_text(at_of(last)), period == 1 ? "the same" : fmt::format("these {}", period),
                                rounds - 1, span_text((at_of(i) - at_of(last)) / static_cast<int>(rounds - 1)),
                                what.records[hops[last].record].number));
    i = last + period;
  }
  if (lines_max >= 3 && lines.size() > lines_max) {
    // What began it stays: it is the fault, or the request, that the rest follows from.
    auto left_out = lines.size() - (lines_max - 1);
    lines.erase(lines.begin() + static_cast<std::ptrdiff_t>(lines_max - 2), lines.end() - 1);
    lines.insert(lines.end() - 1, fmt::format("{:>15} ... {} lines left out", "", left_out));
  } else if (lines.size() > lines_max) {
    lines.resize(lines_max);
  }
  return lines;
}

std::vector<std::string> message_sequence(const trace& what, std::uint64_t number, std::size_t lines_max) {
  auto target = index_of(what, number);
  if (!target || lines_max == 0)
    return {};
  auto steps = steps_until(what, *target);
  // How common a message is: a heartbeat tells less than a drain.
  std::map<text_id, std::size_t> frequency;
  for (auto& [actor, list] : steps)
    for (auto i : list)
      ++frequency[what.records[i].message];
  auto dullness = [&](std::size_t i) {
    auto& x = what.records[i];
    return static_cast<std::size_t>(std::bit_width(frequency[x.message]))
           + (x.sender == x.actor || x.sender == 0 ? 2 : 0);
  };
  // Nearest first: one per cause, more for what an actor had been told earlier.  Ties go to the newer record.
  using candidate = std::tuple<std::size_t, std::size_t>;
  auto later = [](const candidate& a, const candidate& b) {
    return std::get<0>(a) != std::get<0>(b) ? std::get<0>(a) > std::get<0>(b) : std::get<1>(a) < std::get<1>(b);
  };
  std::priority_queue<candidate, std::vector<candidate>, decltype(later)> queue{later};
  std::set<std::size_t> seen;
  std::set<machine_id> involved;
  std::vector<std::size_t> chosen;
  std::size_t left_out = 0;
  queue.emplace(0, *target);
  // Faults explain more than messages do: up to a third of the lines are theirs.
  auto messages_max = lines_max > 3 ? lines_max - lines_max / 3 - 1 : lines_max;
  while (!queue.empty()) {
    auto [cost, at] = queue.top();
    queue.pop();
    if (!seen.insert(at).second)
      continue;
    auto& x = what.records[at];
    auto shown = at == *target || x.kind == event_kind::step || is_fault(x.kind) || x.kind == event_kind::request;
    if (shown && chosen.size() >= messages_max) {
      left_out = queue.size() + 1;
      break;
    }
    if (shown)
      chosen.push_back(at);
    for (auto machine : {x.machine, x.peer})
      if (machine != machine_id{})
        involved.insert(machine);
    if (auto cause = cause_of(what, at)) {
      auto& y = what.records[*cause];
      // That a timer ran before, too, tells nothing.
      auto tick = y.kind == event_kind::step && x.kind == y.kind && same_message(x, y);
      queue.emplace(cost + (tick ? 4 + dullness(*cause) : y.kind == event_kind::step ? 1 : 0), *cause);
    }
    auto step = step_of(what, at);
    if (step && *step == at) {
      auto& list = steps[x.actor];
      auto place = static_cast<std::size_t>(std::lower_bound(list.begin(), list.end(), at) - list.begin());
      for (auto back = std::size_t{1}; back <= std::min(place, memory_of_actor); ++back) {
        auto earlier = list[place - back];
        queue.emplace(cost + 1 + dullness(earlier) + static_cast<std::size_t>(std::bit_width(back)), earlier);
      }
    }
  }
  // Then what befell the machines on the way, newest first.
  std::vector<std::size_t> troubles;
  for (auto i = *target; i-- > 0;) {
    auto& x = what.records[i];
    auto all = x.machine == machine_id{} && x.peer == machine_id{};
    // That everything started in the beginning is no trouble.
    if (x.kind == event_kind::boot && x.at == what.records.front().at)
      continue;
    if (is_fault(x.kind) && !seen.contains(i) && (all || involved.contains(x.machine) || involved.contains(x.peer)))
      troubles.push_back(i);
  }
  // Losses are many and follow from the others.
  std::stable_partition(troubles.begin(), troubles.end(),
                        [&](std::size_t i) { return what.records[i].kind != event_kind::drop; });
  auto room = lines_max - std::min(lines_max, chosen.size() + 1);
  left_out += troubles.size() - std::min(troubles.size(), room);
  troubles.resize(std::min(troubles.size(), room));
  chosen.insert(chosen.end(), troubles.begin(), troubles.end());
  std::sort(chosen.begin(), chosen.end());
  std::vector<std::string> lines;
  for (auto i : chosen) {
    auto& x = what.records[i];
    auto text = what.text(x.text).empty() ? std::string{} : fmt::format(" ({})", what.text(x.text));
    if (x.kind == event_kind::step) {
      auto self = x.sender == x.actor || x.sender == 0;
      auto from = self && x.peer != machine_id{} ? what.machine_name(x.peer) : what.actor_name(x.sender);
      lines.push_back(self && x.peer == machine_id{}
                          ? fmt::format("{:>15} #{:06} {}: {}{}", to_text(x.at), x.number, what.actor_name(x.actor),
                                        what.text(x.message), text)
                          : fmt::format("{:>15} #{:06} {} -> {}: {}{}", to_text(x.at), x.number, from,
                                        what.actor_name(x.actor), what.text(x.message), text));
    } else {
      auto about = describe(what, x);
      lines.push_back(fmt::format("{:>15} #{:06} {} {}{}{}", to_text(x.at), x.number, to_string(x.kind),
                                  place_of(what, x), about.empty() ? "" : ": ", about));
    }
  }
  if (left_out > 0 && lines.size() < lines_max)
    lines.push_back(fmt::format("{:>15} ... at least {} more events left out", "", left_out));
  return lines;
}

} // namespace astra::sim
