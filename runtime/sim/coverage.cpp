#include "runtime/sim/coverage.hpp"

#include "runtime/sim/checks/history.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

namespace astra::sim {
namespace {

/// A message is under way, or something is busy because of it, for about this long.
constexpr nanoseconds moment{std::chrono::milliseconds{20}};

constexpr std::string_view names[] = {
    "claiming", "releasing", "starting", "backing-off", "draining",  "rehoming",  "suspect",
    "evicting", "fencing",   "moving",   "orphaned",    "resyncing", "peer-lost", "reserving",
    "queueing", "working",   "retrying", "ejecting",    "updating",  "deleting",  "scheduler-starting",
};
static_assert(std::size(names) == static_cast<std::size_t>(protocol_state::count_));

struct log_state {
  std::string_view event;
  protocol_state state;
};

constexpr log_state log_states[] = {
    {"node.rehome", protocol_state::rehoming},          {"resource.suspect", protocol_state::suspect},
    {"resource.offline", protocol_state::evicting},     {"resource.fence", protocol_state::fencing},
    {"scheduler.fenced", protocol_state::fencing},      {"resource.moved", protocol_state::moving},
    {"resource.orphans", protocol_state::orphaned},     {"resource.gap", protocol_state::resyncing},
    {"view_client.gap", protocol_state::resyncing},     {"resource.peer_lost", protocol_state::peer_lost},
    {"router.retry", protocol_state::retrying},         {"router.eject", protocol_state::ejecting},
    {"apps.start", protocol_state::scheduler_starting},
};

constexpr std::string_view pair_mark = " x ";

} // namespace

std::string_view to_string(protocol_state state) {
  return names[static_cast<std::size_t>(state)];
}

void coverage::observe(const event& what, const world_facts&) {
  switch (what.kind) {
  case event_kind::log:
    on_log(what);
    break;
  case event_kind::send:
  case event_kind::step:
    on_message(what);
    break;
  case event_kind::fault:
    on_fault(first_word(what.text), what.at);
    break;
  case event_kind::heal:
    on_heal(first_word(what.text));
    break;
  case event_kind::boot:
  case event_kind::crash:
  case event_kind::stop:
    hold(what.machine, &machine_state::draining, protocol_state::draining, false, what.at);
    hold(what.machine, &machine_state::starting, protocol_state::starting, false, what.at);
    hold(what.machine, &machine_state::backing_off, protocol_state::backing_off, false, what.at);
    break;
  default:
    break;
  }
}

void coverage::on_log(const event& what) {
  auto word = first_word(what.text);
  auto known = logs_.find(word);
  if (known == logs_.end())
    known = logs_.emplace(std::string{word}, 0).first;
  ++known->second;
  if (word == "node.drain")
    hold(what.machine, &machine_state::draining, protocol_state::draining, true, what.at);
  for (auto& entry : log_states)
    if (entry.event == word)
      enter(entry.state, what.at);
}

void coverage::on_message(const event& what) {
  if (what.content == nullptr || !said(what))
    return;
  switch (kind_of(what.content)) {
  case message_kind::claim_batch:
    enter(protocol_state::claiming, what.at);
    break;
  case message_kind::release_batch:
    enter(protocol_state::releasing, what.at);
    break;
  case message_kind::profile_update: {
    auto& replicas = (*content_as<profile_update>(what))->profile().replicas();
    auto any = [&](auto wanted) {
      return std::any_of(replicas.begin(), replicas.end(), [wanted](auto& x) { return x.state() == wanted; });
    };
    hold(what.machine, &machine_state::starting, protocol_state::starting,
         any(pb::REPLICA_FETCHING) || any(pb::REPLICA_STARTING) || any(pb::REPLICA_WARMING), what.at);
    hold(what.machine, &machine_state::backing_off, protocol_state::backing_off, any(pb::REPLICA_BACKING_OFF), what.at);
    break;
  }
  case message_kind::subscribe:
    if ((*content_as<subscribe>(what))->resync())
      enter(protocol_state::resyncing, what.at);
    break;
  case message_kind::reserve:
    enter((*content_as<reserve>(what))->may_wait_ms() > 0 ? protocol_state::queueing : protocol_state::reserving,
          what.at);
    break;
  case message_kind::invoke:
    enter(protocol_state::working, what.at);
    break;
  case message_kind::apply_app:
    enter(protocol_state::updating, what.at);
    break;
  case message_kind::delete_app:
    enter(protocol_state::deleting, what.at);
    break;
  default:
    break;
  }
}

void coverage::on_fault(std::string_view kind, instant at) {
  auto known = pairs_.find(kind);
  if (known == pairs_.end())
    known = pairs_.emplace(std::string{kind}, counts{}).first;
  active_.emplace_back(&known->second, known->first);
  for (std::size_t i = 0; i < states; ++i)
    if (lasting_[i] > 0 || until_[i] > at)
      ++known->second[i];
}

void coverage::on_heal(std::string_view kind) {
  if (kind.starts_with("everything"))
    active_.clear();
  auto found = std::find_if(active_.begin(), active_.end(), [kind](auto& entry) { return entry.second == kind; });
  if (found != active_.end())
    active_.erase(found);
}

void coverage::enter(protocol_state state, instant at) {
  auto place = static_cast<std::size_t>(state);
  until_[place] = at + moment;
  for (auto& entry : active_)
    ++(*entry.first)[place];
}

void coverage::hold(machine_id machine, bool machine_state::*flag, protocol_state state, bool on, instant at) {
  auto place = static_cast<std::size_t>(machine);
  if (machines_.size() <= place)
    machines_.resize(place + 1);
  auto& now = machines_[place].*flag;
  if (now == on)
    return;
  now = on;
  auto& lasting = lasting_[static_cast<std::size_t>(state)];
  lasting += on ? 1 : -1;
  if (on)
    enter(state, at);
}

void coverage::merge(const coverage& other) {
  for (auto& [name, count] : other.logs_)
    logs_[name] += count;
  for (auto& [kind, theirs] : other.pairs_) {
    auto& ours = pairs_[kind];
    for (std::size_t i = 0; i < states; ++i)
      ours[i] += theirs[i];
  }
}

std::uint64_t coverage::count(std::string_view what) const {
  auto mark = what.find(pair_mark);
  if (mark == std::string_view::npos) {
    auto found = logs_.find(what);
    return found == logs_.end() ? 0 : found->second;
  }
  auto pair = pairs_.find(what.substr(0, mark));
  auto state = std::find(std::begin(names), std::end(names), what.substr(mark + pair_mark.size()));
  return pair == pairs_.end() || state == std::end(names)
             ? 0
             : pair->second[static_cast<std::size_t>(std::distance(std::begin(names), state))];
}

std::map<std::string, std::uint64_t> coverage::entries() const {
  std::map<std::string, std::uint64_t> result{logs_.begin(), logs_.end()};
  for (auto& [kind, row] : pairs_)
    for (std::size_t i = 0; i < states; ++i)
      if (row[i] != 0)
        result[kind + std::string{pair_mark} + std::string{names[i]}] = row[i];
  return result;
}

void coverage::add(std::string_view what, std::uint64_t times) {
  auto mark = what.find(pair_mark);
  if (mark == std::string_view::npos) {
    logs_[std::string{what}] += times;
    return;
  }
  auto state = std::find(std::begin(names), std::end(names), what.substr(mark + pair_mark.size()));
  if (state != std::end(names))
    pairs_[std::string{what.substr(0, mark)}][static_cast<std::size_t>(std::distance(std::begin(names), state))] +=
        times;
}

std::vector<std::string> coverage::missing(const std::vector<std::string>& wishes) const {
  std::vector<std::string> result;
  for (auto& wish : wishes)
    if (count(wish) == 0)
      result.push_back(wish);
  return result;
}

std::string coverage::table() const {
  std::size_t width = 0;
  for (auto& [kind, row] : pairs_)
    width = std::max(width, kind.size());
  std::string text = fmt::format("{:<20}", "");
  for (auto& [kind, row] : pairs_)
    text += fmt::format(" {:>{}}", kind, std::max<std::size_t>(width, 8));
  text += '\n';
  for (std::size_t i = 0; i < states; ++i) {
    text += fmt::format("{:<20}", names[i]);
    for (auto& [kind, row] : pairs_)
      text += fmt::format(" {:>{}}", row[i] == 0 ? std::string{"-"} : std::to_string(row[i]),
                          std::max<std::size_t>(width, 8));
    text += '\n';
  }
  text += '\n';
  for (auto& [name, count] : logs_)
    text += fmt::format("{:<32} {:>10}\n", name, count);
  return text;
}

} // namespace astra::sim
