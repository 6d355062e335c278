#include "actors/apps/app_registry.hpp"
#include "actors/apps/hosted_actor.hpp"
#include "actors/random.hpp"
#include "messages/ids.hpp"

#include <astra/actor.hpp>
#include <caf/actor_clock.hpp>
#include <caf/typed_event_based_actor.hpp>
#include <caf/typed_response_promise.hpp>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace astra {
namespace {

using namespace std::chrono_literals;

/// A decimal integer with blanks around it; nothing for anything else.
std::optional<std::int64_t> parse_integer(std::string_view text) {
  constexpr std::string_view blanks = " \t\r\n";
  auto begin = text.find_first_not_of(blanks);
  if (begin == std::string_view::npos)
    return std::nullopt;
  text = text.substr(begin, text.find_last_not_of(blanks) + 1 - begin);
  std::int64_t value = 0;
  auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (code != std::errc{} || end != text.data() + text.size())
    return std::nullopt;
  return value;
}

bool blank(std::string_view text) {
  return text.find_first_not_of(" \t\r\n") == std::string_view::npos;
}

/// The start of a body, for an error message.
std::string excerpt(std::string_view body) {
  constexpr std::size_t excerpt_max = 40;
  std::string result;
  for (auto c : body.substr(0, excerpt_max))
    result += c >= ' ' && c <= '~' ? c : '?';
  return body.size() > excerpt_max ? result + "..." : result;
}

std::string_view body_of(const work_request& request) {
  return request.body ? std::string_view{*request.body} : std::string_view{};
}

// -- what is hosted as it is ---------------------------------------------------

class echo : public actor {
public:
  explicit echo(setup& setup) {
    setup.on_text(
        "Answered as it is, content type included.", [](std::string body) { return body; }, true);
  }
};

class counter : public actor {
public:
  explicit counter(setup& setup) {
    setup.argument("init", value_, "what it begins with");
    setup.on(
        "add", "Adds and tells the sum.", [this](std::int64_t amount) { return add(amount); },
        field("amount", "how much", 1));
    setup.on("get", "Tells the sum.", [this] { return value_; });
    setup.on_text("An integer is added, nothing only reads; the answer is the sum.", [this](std::string body) {
      if (blank(body))
        return std::to_string(value_);
      auto step = parse_integer(body);
      if (!step)
        throw refused{"counter takes an integer to add, or nothing to read; got '" + excerpt(body) + "'"};
      return std::to_string(add(*step));
    });
    setup.state("value", value_);
  }

private:
  std::int64_t add(std::int64_t step) {
    std::int64_t sum = 0;
    if (__builtin_add_overflow(value_, step, &sum))
      throw refused{"counter would overflow: " + std::to_string(value_) + " + " + std::to_string(step)};
    return value_ = sum;
  }

  std::int64_t value_ = 0;
};

caf::error error_of(hosted_answer& answer) {
  return caf::make_error(answer.status == ASTRA_ACTOR_BROKEN ? errc::app_failed : errc::invalid_argument,
                         std::move(answer.body));
}

/// The clock that a hosted actor asks is that of the CAF actor around it, which comes after it.
struct late_clock {
  const caf::actor_clock* clock = nullptr;
  caf::actor_clock::time_point began;

  std::chrono::nanoseconds now() const {
    return clock == nullptr ? 0ns : std::chrono::nanoseconds{clock->now() - began};
  }

  void start(const caf::actor_clock& what) {
    clock = &what;
    began = what.now();
  }
};

hosted_world world_with(const std::shared_ptr<late_clock>& clock) {
  // None of the actors that come with Astra leaves anything to chance.
  return {[clock] { return clock->now(); }, [random = random_source{1}]() mutable { return random.next(); },
          [](std::string_view line) { spdlog::info("actor.log line=\"{}\"", excerpt(line)); }};
}

class hosted_state {
public:
  static constexpr const char* name = "astra.hosted";

  hosted_state(app_actor::pointer self, std::shared_ptr<hosted_actor> actor, std::shared_ptr<late_clock> clock,
               bool keeps_content_type)
    : self_(self), actor_(std::move(actor)), keeps_content_type_(keeps_content_type) {
    clock->start(self->clock());
  }

  app_actor::behavior_type make_behavior() {
    return {
        [this](const work_request& request) -> caf::result<work_result> {
          auto answer = actor_->handle(body_of(request), self_->mailbox().size());
          if (answer.status != ASTRA_ACTOR_OK)
            return error_of(answer);
          auto is_text = answer.content_type == "text/plain";
          return work_result{std::move(answer.body),
                             is_text && keeps_content_type_ ? request.content_type : std::move(answer.content_type)};
        },
    };
  }

private:
  app_actor::pointer self_;
  std::shared_ptr<hosted_actor> actor_;
  bool keeps_content_type_;
};

void add_hosted(app_registry& registry, const astra_actor_type& type, bool keeps_content_type) {
  registry.add(
      std::string{type.name.data, type.name.size},
      [&type, keeps_content_type](caf::actor_system& sys, const app_arguments& args) -> caf::expected<app_actor> {
        auto clock = std::make_shared<late_clock>();
        auto made = hosted_actor::make(type, args, world_with(clock));
        if (!made)
          return made.error();
        return app_actor{sys.spawn<app_actor::stateful_impl<hosted_state>>(
            std::shared_ptr<hosted_actor>{std::move(*made)}, clock, keeps_content_type)};
      },
      describe_actor(type));
}

// -- burn ---------------------------------------------------------------------

constexpr std::int64_t burn_max_ms = 3'600'000;

/// Work, not time, is what a request asks for: an actor must not look at a system clock.  So many rounds of SplitMix64
/// take about a millisecond on a core of 2020.
constexpr std::uint64_t rounds_per_ms = 600'000;

/// The longest the actor keeps a thread that others wait for, in milliseconds of work.
constexpr std::int64_t slice_ms = 2;

/// What burn understands; how long it is to compute is the answer, and begins the work.
class burn_messages : public actor {
public:
  explicit burn_messages(setup& setup) {
    setup.argument("cpu_ms", cpu_ms_, "milliseconds of work when a request does not say");
    setup.on(
        "burn", "Computes for milliseconds of a core and tells the result.",
        [this](std::optional<std::int64_t> cpu_ms) { return checked(cpu_ms.value_or(cpu_ms_)); },
        field("cpu_ms", "milliseconds of work; null: as many as the argument says"));
    setup.on_text("Milliseconds of work, or nothing for as many as the argument says.", [this](std::string body) {
      auto wanted = blank(body) ? std::optional{cpu_ms_} : parse_integer(body);
      if (!wanted)
        throw refused{refusal(body)};
      return checked(*wanted);
    });
    if (cpu_ms_ < 0 || cpu_ms_ > burn_max_ms)
      throw refused{"the argument 'cpu_ms' = " + std::to_string(cpu_ms_) + " is not from 0 to "
                    + std::to_string(burn_max_ms)};
  }

private:
  std::string refusal(std::string_view got) const {
    return "burn takes milliseconds of CPU from 0 to " + std::to_string(burn_max_ms)
           + ", or nothing for the default of " + std::to_string(cpu_ms_) + "; got '" + excerpt(got) + "'";
  }

  std::string checked(std::int64_t cpu_ms) const {
    auto text = std::to_string(cpu_ms);
    if (cpu_ms < 0 || cpu_ms > burn_max_ms)
      throw refused{refusal(text)};
    return text;
  }

  std::int64_t cpu_ms_ = 100;
};

using burn_actor = app_actor::extend<caf::result<void>(retry_atom)>;

class burn_state {
public:
  static constexpr const char* name = "astra.burn";

  burn_state(burn_actor::pointer self, std::shared_ptr<hosted_actor> actor, std::shared_ptr<late_clock> clock)
    : self_(self), actor_(std::move(actor)) {
    clock->start(self->clock());
  }

  burn_actor::behavior_type make_behavior() {
    return {
        [this](const work_request& request) { return take(request); },
        [this](retry_atom) { work_a_slice(); },
    };
  }

private:
  struct job {
    caf::typed_response_promise<work_result> promise;
    std::int64_t left_ms = 0;
    /// It answers JSON, as it was asked in JSON.
    bool is_json = false;
    random_source rounds{1};
    std::uint64_t sum = 0;
  };

  caf::result<work_result> take(const work_request& request) {
    auto answer = actor_->handle(body_of(request), jobs_.size());
    if (answer.status != ASTRA_ACTOR_OK)
      return error_of(answer);
    auto is_json = answer.content_type != "text/plain";
    auto digits = std::string_view{answer.body};
    if (is_json && digits.size() > 2 && digits.front() == '"') {
      digits.remove_prefix(1);
      digits.remove_suffix(1);
    }
    auto wanted = parse_integer(digits);
    if (!wanted) // what it says of itself
      return work_result{std::move(answer.body), std::move(answer.content_type)};
    auto promise = self_->make_response_promise<work_result>();
    jobs_.push_back({promise, *wanted, is_json});
    if (jobs_.size() == 1)
      self_->send(self_, retry_atom_v);
    return promise;
  }

  /// Works on the oldest job for a slice and puts it at the end of the line, so that all advance alike.
  void work_a_slice() {
    auto current = std::move(jobs_.front());
    jobs_.pop_front();
    auto now_ms = std::min(current.left_ms, slice_ms);
    for (auto left = static_cast<std::uint64_t>(now_ms) * rounds_per_ms; left > 0; --left)
      current.sum += current.rounds.next();
    current.left_ms -= now_ms;
    if (current.left_ms > 0)
      jobs_.push_back(std::move(current));
    else if (current.is_json)
      current.promise.deliver(work_result{"\"" + to_hex(current.sum) + "\"", "application/json"});
    else
      current.promise.deliver(work_result{to_hex(current.sum), "text/plain"});
    if (!jobs_.empty())
      self_->send(self_, retry_atom_v);
  }

  burn_actor::pointer self_;
  std::shared_ptr<hosted_actor> actor_;
  std::deque<job> jobs_;
};

} // namespace

void add_builtin_apps(app_registry& registry) {
  static const auto echo_type = actor_type<echo>("echo", "Answers with what it is sent.");
  static const auto counter_type = actor_type<counter>("counter", "Adds up what it is sent.");
  static const auto burn_type = actor_type<burn_messages>("burn", "Computes, to keep cores busy.");
  add_hosted(registry, echo_type, true);
  add_hosted(registry, counter_type, false);
  registry.add(
      "burn",
      [](caf::actor_system& sys, const app_arguments& args) -> caf::expected<app_actor> {
        auto clock = std::make_shared<late_clock>();
        auto made = hosted_actor::make(burn_type, args, world_with(clock));
        if (!made)
          return made.error();
        return app_actor{
            sys.spawn<burn_actor::stateful_impl<burn_state>>(std::shared_ptr<hosted_actor>{std::move(*made)}, clock)};
      },
      describe_actor(burn_type));
}

} // namespace astra
