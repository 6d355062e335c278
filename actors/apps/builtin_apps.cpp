#include "actors/apps/app_registry.hpp"
#include "actors/random.hpp"
#include "messages/ids.hpp"

#include <caf/typed_event_based_actor.hpp>
#include <caf/typed_response_promise.hpp>

#include <algorithm>
#include <charconv>
#include <deque>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace astra {
namespace {

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

/// The integer argument `name`, or `otherwise`; every other argument is an error.
caf::expected<std::int64_t> only_argument(const std::string& type, const app_arguments& args, const std::string& name,
                                          std::int64_t otherwise, std::int64_t min, std::int64_t max) {
  auto result = otherwise;
  for (auto& [key, value] : args) {
    if (key != name)
      return caf::make_error(errc::invalid_argument,
                             type + " has no argument '" + key + "'; it takes '" + name + "' only");
    auto parsed = parse_integer(value);
    if (!parsed || *parsed < min || *parsed > max)
      return caf::make_error(errc::invalid_argument, type + ": argument " + name + " = '" + excerpt(value)
                                                         + "' is not an integer from " + std::to_string(min) + " to "
                                                         + std::to_string(max));
    result = *parsed;
  }
  return result;
}

// -- echo ---------------------------------------------------------------------

app_actor::behavior_type echo() {
  return {
      [](const work_request& request) {
        return work_result{std::string{body_of(request)}, request.content_type};
      },
  };
}

// -- counter ------------------------------------------------------------------

app_actor::behavior_type counter(std::int64_t init) {
  return {
      [value = init](const work_request& request) mutable -> caf::result<work_result> {
        auto body = body_of(request);
        if (!blank(body)) {
          auto step = parse_integer(body);
          if (!step)
            return caf::make_error(errc::invalid_argument,
                                   "counter takes an integer to add, or nothing to read; got '" + excerpt(body) + "'");
          std::int64_t sum = 0;
          if (__builtin_add_overflow(value, *step, &sum))
            return caf::make_error(errc::invalid_argument,
                                   "counter would overflow: " + std::to_string(value) + " + " + std::to_string(*step));
          value = sum;
        }
        return work_result{std::to_string(value), "text/plain"};
      },
  };
}

// -- burn ---------------------------------------------------------------------

constexpr std::int64_t burn_max_ms = 3'600'000;

/// Work, not time, is what a request asks for: an actor must not look at a system clock.  So many rounds of SplitMix64
/// take about a millisecond on a core of 2020.
constexpr std::uint64_t rounds_per_ms = 600'000;

/// The longest the actor keeps a thread that others wait for, in milliseconds of work.
constexpr std::int64_t slice_ms = 2;

using burn_actor = app_actor::extend<caf::result<void>(retry_atom)>;

class burn_state {
public:
  static constexpr const char* name = "astra.burn";

  burn_state(burn_actor::pointer self, std::int64_t cpu_ms) : self_(self), cpu_ms_(cpu_ms) {}

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
    random_source rounds{1};
    std::uint64_t sum = 0;
  };

  caf::result<work_result> take(const work_request& request) {
    auto body = body_of(request);
    auto wanted = blank(body) ? std::optional{cpu_ms_} : parse_integer(body);
    if (!wanted || *wanted < 0 || *wanted > burn_max_ms)
      return caf::make_error(errc::invalid_argument, "burn takes milliseconds of CPU from 0 to "
                                                         + std::to_string(burn_max_ms)
                                                         + ", or nothing for the default of " + std::to_string(cpu_ms_)
                                                         + "; got '" + excerpt(body) + "'");
    auto promise = self_->make_response_promise<work_result>();
    jobs_.push_back({promise, *wanted});
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
    else
      current.promise.deliver(work_result{to_hex(current.sum), "text/plain"});
    if (!jobs_.empty())
      self_->send(self_, retry_atom_v);
  }

  burn_actor::pointer self_;
  std::int64_t cpu_ms_;
  std::deque<job> jobs_;
};

} // namespace

void add_builtin_apps(app_registry& registry) {
  registry.add("echo", [](caf::actor_system& sys, const app_arguments& args) -> caf::expected<app_actor> {
    if (!args.empty())
      return caf::make_error(errc::invalid_argument, "echo takes no argument; got '" + args.begin()->first + "'");
    return sys.spawn(echo);
  });
  registry.add("counter", [](caf::actor_system& sys, const app_arguments& args) -> caf::expected<app_actor> {
    using limits = std::numeric_limits<std::int64_t>;
    auto init = only_argument("counter", args, "init", 0, limits::min(), limits::max());
    if (!init)
      return init.error();
    return sys.spawn(counter, *init);
  });
  registry.add("burn", [](caf::actor_system& sys, const app_arguments& args) -> caf::expected<app_actor> {
    auto cpu_ms = only_argument("burn", args, "cpu_ms", 100, 0, burn_max_ms);
    if (!cpu_ms)
      return cpu_ms.error();
    return app_actor{sys.spawn<burn_actor::stateful_impl<burn_state>>(*cpu_ms)};
  });
}

} // namespace astra
