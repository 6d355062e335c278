#include "runtime/gateway/event_stream.hpp"

#include "config/spelling.hpp"
#include "config/units.hpp"
#include "messages/errc.hpp"
#include "messages/ids.hpp"
#include "messages/type_ids.hpp"
#include "runtime/gateway/json.hpp"
#include "runtime/gateway/routes.hpp"

#include <caf/actor_addr.hpp>
#include <caf/local_actor.hpp>
#include <caf/send.hpp>
#include <caf/stateful_actor.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <deque>
#include <utility>

namespace astra {
namespace {

using std::chrono::milliseconds;

/// A Resource holds a question this long when nothing happens.
constexpr milliseconds question_wait{10'000};
constexpr milliseconds keep_alive{3'000};
constexpr milliseconds redial_min{250};
constexpr milliseconds redial_max{3'000};
/// With this many Resources of this many events the beginning of a stream is some tens of megabytes.
constexpr std::uint32_t last_max = 10'000;

/// One Resource.
struct source {
  std::string address;
  /// Empty until it said so.
  std::string name;
  /// Who answered last: its end is known at once, and that of a question to it only when its time is over.
  caf::actor_addr peer;
  /// Of the question under way; what comes of an older one means nothing.
  std::uint64_t question = 0;
  std::uint64_t epoch = 0;
  std::uint64_t after = 0;
  /// All that had happened is here.
  bool gathered = false;
  /// Does not answer, and that was told.
  bool silent = false;
  bool asking = false;
  milliseconds backoff = redial_min;
  /// While gathering, oldest first, at most as many as are wanted.
  std::deque<pb::Event> events;
  /// Of its events, those that it has forgotten or that were left out for others.
  std::uint64_t lost = 0;
  bool left_out = false;
  std::string problem;

  const std::string& called() const { return name.empty() ? address : name; }
};

class event_stream_state {
public:
  static constexpr const char* name = "astra.gateway.events";

  event_stream_state(caf::event_based_actor* self, resource_links links, std::vector<std::string> resources,
                     event_request request, milliseconds now_ms, http_exchange_ptr exchange)
    : self_(self), links_(std::move(links)), request_(std::move(request)), exchange_(std::move(exchange)) {
    if (request_.since.count() > 0)
      since_ms_ = static_cast<std::uint64_t>(std::max<std::int64_t>(0, (now_ms - request_.since).count()));
    for (auto& address : resources)
      sources_.emplace_back().address = std::move(address);
  }

  caf::behavior make_behavior() {
    exchange_->on_gone([address = self_->address()] {
      if (auto stream = caf::actor_cast<caf::actor>(address))
        caf::anon_send_exit(stream, caf::exit_reason::user_shutdown);
    });
    self_->set_down_handler([this](const caf::down_msg& down) { on_down(down); });
    if (sources_.empty())
      refuse("no Resource is named in this gateway's file");
    for (std::size_t i = 0; i < sources_.size(); ++i)
      ask(i);
    return {
        // The client has taken what the source of this place had last.
        [this](refresh_atom, std::uint64_t place) { ask(static_cast<std::size_t>(place)); },
        [this](stop_atom) {
          if (stream_) {
            write(note_line("end", "", "this gateway shuts down; ask another one"));
            stream_->end();
          }
          self_->quit();
        },
    };
  }

private:
  void ask(std::size_t place) {
    auto& from = sources_[place];
    pb::EventQuery query;
    query.set_epoch(from.epoch);
    query.set_after(from.after);
    query.set_since_wall_ms(since_ms_);
    if (!request_.node.empty())
      query.set_node(make_node_id(request_.node).value());
    auto wait = following_ && !from.silent ? question_wait : milliseconds{0};
    query.set_wait_ms(static_cast<std::uint32_t>(wait.count()));
    auto question = ++from.question;
    from.asking = true;
    ask_resource<event_page>(
        self_, links_, from.address, event_query{std::move(query)}, wait,
        [this, place, question](const pb::EventPage& page) {
          if (sources_[place].question == question)
            on_page(place, page);
        },
        [this, place, question](const caf::error& reason) {
          if (sources_[place].question == question)
            on_failure(place, reason);
        });
  }

  /// The handler runs for the answer of a Resource.
  void watch(source& from) {
    auto peer = caf::actor_cast<caf::actor_addr>(self_->current_sender());
    if (!peer || peer == from.peer)
      return;
    if (from.peer)
      self_->demonitor(from.peer);
    from.peer = peer;
    self_->monitor(self_->current_sender());
  }

  void on_down(const caf::down_msg& down) {
    for (std::size_t place = 0; place < sources_.size(); ++place) {
      auto& from = sources_[place];
      if (from.peer != down.source)
        continue;
      from.peer = {};
      // While nothing is asked, the client takes what it got; the next question finds out.
      if (following_ && !from.silent && from.asking) {
        ++from.question;
        on_failure(place, caf::make_error(errc::unreachable, "connection closed"));
      }
    }
  }

  void on_page(std::size_t place, const pb::EventPage& page) {
    auto& from = sources_[place];
    from.asking = false;
    watch(from);
    auto again = from.epoch != 0 && from.epoch != page.epoch();
    std::string text;
    if (following_) {
      if (again)
        text += note_line("restarted", page.resource_name(),
                          "it began anew; what happened before, and was not shown here, is not known any more");
      else if (std::exchange(from.silent, false))
        text += note_line("reached", page.resource_name(), "it answers again");
      if (page.lost() > 0 && !again)
        text += lost_note(page.resource_name(), page.lost());
    } else if (again) {
      from.events.clear();
    }
    from.silent = false;
    from.backoff = redial_min;
    from.name = page.resource_name();
    from.epoch = page.epoch();
    from.after = page.next();
    if (following_) {
      for (auto& event : page.events())
        text += event_line(from.name, event);
      // The next question when the client has taken this: a slow one gets less often, not ever more.
      write(std::move(text), [address = self_->address(), place] {
        if (auto stream = caf::actor_cast<caf::actor>(address))
          caf::anon_send(stream, refresh_atom_v, static_cast<std::uint64_t>(place));
      });
      return;
    }
    from.lost += page.lost();
    for (auto& event : page.events()) {
      from.events.push_back(event);
      if (from.events.size() > request_.last) {
        from.events.pop_front();
        from.left_out = true;
      }
    }
    if (page.more())
      ask(place);
    else
      gathered(from);
  }

  static std::string lost_note(const std::string& resource, std::uint64_t count) {
    return note_line(
        "lost", resource,
        fmt::format("{} event{} lost: its memory of them is bounded (resource.events)", count, count == 1 ? "" : "s"),
        count);
  }

  void on_failure(std::size_t place, const caf::error& reason) {
    auto& from = sources_[place];
    from.asking = false;
    auto text = error_text(reason);
    if (!following_) {
      from.problem = text;
      from.silent = true;
      gathered(from);
      return;
    }
    if (!std::exchange(from.silent, true))
      write(note_line("unreachable", from.called(), "its events are missing until it answers: " + text));
    ask_later(place);
  }

  void ask_later(std::size_t place) {
    auto& from = sources_[place];
    self_->run_delayed(from.backoff, [this, place] { ask(place); });
    from.backoff = std::min(from.backoff * 2, redial_max);
  }

  void gathered(source& from) {
    from.gathered = true;
    if (!std::all_of(sources_.begin(), sources_.end(), [](auto& one) { return one.gathered; }))
      return;
    auto all_silent = std::all_of(sources_.begin(), sources_.end(), [](auto& one) { return one.silent; });
    if (all_silent && !request_.follow) {
      refuse(fmt::format("no Resource answers; {}: {}", sources_.front().address, sources_.front().problem));
      return;
    }
    http_response head;
    head.content_type = "application/x-ndjson";
    stream_ = exchange_->begin(std::move(head));
    if (!stream_) {
      self_->quit();
      return;
    }
    tell_history();
    if (!request_.follow) {
      stream_->end();
      self_->quit();
      return;
    }
    following_ = true;
    for (std::size_t i = 0; i < sources_.size(); ++i) {
      if (sources_[i].silent)
        ask_later(i);
      else
        ask(i);
    }
    stay_alive();
  }

  /// What has happened, by time; what one Resource saw stays in its order, however its clock jumps.
  void tell_history() {
    struct entry {
      source* from;
      pb::Event event;
    };
    std::deque<entry> merged;
    auto cut = false;
    for (;;) {
      source* next = nullptr;
      for (auto& one : sources_)
        if (!one.events.empty() && (next == nullptr || one.events.front().wall_ms() < next->events.front().wall_ms()))
          next = &one;
      if (next == nullptr)
        break;
      merged.push_back({next, std::move(next->events.front())});
      next->events.pop_front();
      if (merged.size() > request_.last) {
        merged.pop_front();
        cut = true;
      }
    }
    std::string text;
    for (auto& one : sources_) {
      cut = cut || one.left_out;
      if (one.silent)
        text += note_line("unreachable", one.address, "its events are missing: " + one.problem);
    }
    for (auto& one : sources_) {
      // Only of interest when all that is kept is shown.
      if (!cut && one.lost > 0)
        text += lost_note(one.name, one.lost);
    }
    if (cut)
      text += note_line("cut", "", fmt::format("earlier events are left out; these are the last {}", request_.last));
    for (auto& one : merged)
      text += event_line(one.from->name, one.event);
    write(std::move(text));
  }

  void stay_alive() {
    self_->run_delayed(keep_alive, [this] {
      stream_->write("\n", nullptr);
      stay_alive();
    });
  }

  void write(std::string text, std::function<void()> taken = nullptr) {
    stream_->write(std::move(text), std::move(taken));
  }

  void refuse(const std::string& text) {
    http_response response;
    response.status = 503;
    response.body = error_json("unavailable", text);
    response.headers.emplace_back("Retry-After", "1");
    exchange_->answer(std::move(response));
    self_->quit();
  }

  caf::event_based_actor* self_;
  const resource_links links_;
  const event_request request_;
  http_exchange_ptr exchange_;
  std::uint64_t since_ms_ = 0;
  std::vector<source> sources_;
  http_stream_ptr stream_;
  bool following_ = false;
};

} // namespace

std::variant<event_request, std::string> read_event_request(const std::string& target) {
  auto query = find_query(target);
  if (!query)
    return std::string{"the query has a broken % escape"};
  event_request result;
  auto last_said = false;
  for (auto& [name, value] : *query) {
    if (name == "node") {
      result.node = value;
    } else if (name == "since") {
      auto parsed = parse_duration(value);
      if (!parsed.value)
        return fmt::format("since={}: {}", value, parsed.problem);
      result.since = *parsed.value;
    } else if (name == "last") {
      auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), result.last);
      if (error != std::errc{} || end != value.data() + value.size() || result.last > last_max)
        return fmt::format("last={}: must be a number of events, at most {}", value, last_max);
      last_said = true;
    } else if (name == "follow") {
      if (value != "1" && value != "0")
        return fmt::format("follow={}: must be 1 or 0", value);
      result.follow = value == "1";
    } else {
      auto meant = closest(name, {"node", "since", "last", "follow"});
      return fmt::format("no parameter '{}'{}", name,
                         meant ? fmt::format("; did you mean '{}'?", *meant) : "; there are node, since, last, follow");
    }
  }
  // Who names a time wants all since then.
  if (result.since.count() > 0 && !last_said)
    result.last = last_max;
  return result;
}

caf::actor spawn_event_stream(caf::local_actor* parent, resource_links links, std::vector<std::string> resources,
                              event_request request, std::chrono::milliseconds now_ms, http_exchange_ptr exchange) {
  return parent->spawn<caf::stateful_actor<event_stream_state>>(std::move(links), std::move(resources),
                                                                std::move(request), now_ms, std::move(exchange));
}

} // namespace astra
