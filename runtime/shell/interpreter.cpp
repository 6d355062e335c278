#include "runtime/shell/interpreter.hpp"

#include "config/spelling.hpp"
#include "config/units.hpp"
#include "messages/errc.hpp"
#include "messages/type_ids.hpp"

#include <algorithm>
#include <charconv>
#include <map>
#include <utility>

#include <fmt/format.h>

namespace astra::shell {
namespace {

using namespace std::chrono_literals;

constexpr std::chrono::nanoseconds usual_patience = 30s;
constexpr std::chrono::nanoseconds await_poll = 200ms;

caf::error problem(const std::string& message) {
  return caf::make_error(errc::invalid_argument, message);
}

bool is_not_there(const caf::error& why) {
  return why == errc::unknown_app || why == errc::unknown_node || why == errc::unknown_name;
}

} // namespace

std::optional<script_failure> interpreter::run(const script& what) {
  for (auto& one : what)
    if (auto failed = run_one(one, true))
      return failed;
  return std::nullopt;
}

std::optional<script_failure> interpreter::run_body(const script& body) {
  for (auto& one : body)
    if (auto failed = run_one(one, false))
      return failed;
  return std::nullopt;
}

std::optional<script_failure> interpreter::run_one(const statement& what, bool numbered) {
  if (world_.interrupted())
    return script_failure{what.at, caf::make_error(errc::cancelled, "interrupted"), true};
  switch (what.what) {
  case statement::kind::pipeline:
    return run_pipeline(what, numbered);
  case statement::kind::loop:
    return run_loop(what);
  case statement::kind::every:
    return run_every(what);
  case statement::kind::await:
    return run_await(what);
  case statement::kind::expect:
    return run_expect(what);
  }
  return std::nullopt;
}

std::optional<script_failure> interpreter::run_pipeline(const statement& what, bool numbered) {
  auto fail = [&](place at, caf::error why) {
    auto stopped = world_.interrupted();
    return script_failure{at, stopped ? caf::make_error(errc::cancelled, "interrupted") : std::move(why), stopped};
  };
  reply result;
  if (what.source_call) {
    auto ready = prepare(*what.source_call);
    if (!ready)
      return fail(what.at, std::move(ready.error()));
    ready->only_shown = what.stages.empty() && what.bind.empty();
    auto done = world_.call(*ready);
    if (!done)
      return fail(what.source_call->at, std::move(done.error()));
    result = std::move(*done);
  } else {
    auto found = resolve(*what.source_value);
    if (!found)
      return fail(what.source_value->at, std::move(found.error()));
    result.what = std::move(*found);
  }
  for (auto& one : what.stages) {
    // A condition asks for the same at every row, and each time the cluster would be asked.
    std::map<std::string, json> known;
    auto look_up = [&](const reference& which) -> caf::expected<json> {
      auto text = to_text(which);
      if (auto found = known.find(text); found != known.end())
        return found->second;
      auto found = resolve(which);
      if (found)
        known.emplace(std::move(text), *found);
      return found;
    };
    auto next = apply(one, result.what, look_up);
    if (!next)
      return fail(one.at, std::move(next.error()));
    result.what = std::move(*next);
    result.shown = false;
    result.note.clear();
  }
  if (!what.bind.empty())
    variables_[what.bind] = result.what;
  if (!result.shown)
    show_(result);
  last_ = result.what;
  if (numbered)
    keep(std::move(result.what));
  return std::nullopt;
}

std::optional<script_failure> interpreter::run_loop(const statement& what) {
  std::int64_t bounds[2] = {};
  for (auto i : {0, 1}) {
    auto& bound = i == 0 ? what.from : what.to;
    auto read = evaluate(bound);
    if (!read)
      return script_failure{bound.at, std::move(read.error())};
    if (!read->is_number_integer())
      return script_failure{bound.at, problem(fmt::format("'{}' is no whole number", plain_text(*read)))};
    bounds[i] = read->get<std::int64_t>();
  }
  for (auto i = bounds[0]; i <= bounds[1]; ++i) {
    variables_[what.variable] = i;
    if (auto failed = run_body(what.body))
      return failed;
    // An empty body may be told to go on for long, too.
    if (world_.interrupted())
      return script_failure{what.at, caf::make_error(errc::cancelled, "interrupted"), true};
    if (i == bounds[1])
      break;
  }
  return std::nullopt;
}

std::optional<script_failure> interpreter::run_every(const statement& what) {
  auto next = world_.now();
  for (std::uint64_t round = 0; !what.times || round < *what.times; ++round) {
    if (round > 0) {
      next += what.period;
      auto now = world_.now();
      if (next > now)
        world_.sleep(next - now);
      else
        // What took longer than a period is not made up for.
        next = now;
    }
    // Without a number ^C is the way it ends.
    if (world_.interrupted())
      return what.times ? std::optional{script_failure{what.at, caf::make_error(errc::cancelled, "interrupted"), true}}
                        : std::nullopt;
    if (auto failed = run_body(what.body)) {
      if (failed->interrupted && !what.times)
        return std::nullopt;
      return failed;
    }
  }
  return std::nullopt;
}

std::optional<script_failure> interpreter::run_await(const statement& what) {
  auto target = what.awaited.what == value::kind::reference && what.awaited.source.sigil == '@'
                        && what.awaited.source.path.empty()
                    ? caf::expected<json>{json(app_of(what.awaited.source.name))}
                    : evaluate(what.awaited);
  if (!target)
    return script_failure{what.awaited.at, std::move(target.error())};
  auto name = target->is_object() ? target->value("app", std::string{}) : plain_text(*target);
  auto limit = what.patience.value_or(usual_patience);
  auto end = world_.now() + limit;
  for (;;) {
    auto known = world_.look(name);
    std::string standing;
    if (known) {
      standing = known->value("state", std::string{"unknown"});
      if (auto reason = known->value("reason", std::string{}); !reason.empty())
        standing += ": " + reason;
      if (known->value("state", std::string{}) == what.state) {
        last_ = std::move(*known);
        return std::nullopt;
      }
    } else if (world_.interrupted()) {
      return script_failure{what.at, caf::make_error(errc::cancelled, "interrupted"), true};
    } else if (!is_not_there(known.error())) {
      return script_failure{what.at, std::move(known.error())};
    } else if (what.state == "gone") {
      return std::nullopt;
    } else {
      standing = "not known";
    }
    auto now = world_.now();
    if (now >= end)
      return script_failure{
          what.at, caf::make_error(errc::timed_out, fmt::format("{} is not {} after {}: it is {}", name, what.state,
                                                                format_fine_duration(limit), standing))};
    world_.sleep(std::min(await_poll, end - now));
    if (world_.interrupted())
      return script_failure{what.at, caf::make_error(errc::cancelled, "interrupted"), true};
  }
}

std::optional<script_failure> interpreter::run_expect(const statement& what) {
  std::string seen;
  auto good = holds(what.expected, last_, [&](const reference& which) {
    auto found = resolve(which);
    if (found)
      seen += fmt::format("{}{} is {}", seen.empty() ? "" : ", ", to_text(which), plain_text(*found).substr(0, 80));
    return found;
  });
  if (!good) {
    auto stopped = world_.interrupted();
    return script_failure{what.at, std::move(good.error()), stopped};
  }
  if (*good)
    return std::nullopt;
  if (what.expected.what == condition::kind::test && what.expected.operand.sigil == 0) {
    auto* field = find(last_, what.expected.operand.path);
    seen = fmt::format("{} is {}", to_text(what.expected.operand),
                       field == nullptr ? "not there" : plain_text(*field).substr(0, 80));
  }
  return script_failure{what.at, caf::make_error(errc::conflict, fmt::format("expected {}{}", to_text(what.expected),
                                                                             seen.empty() ? "" : "; " + seen))};
}

std::string interpreter::app_of(const std::string& name) const {
  auto known = variables_.find(name);
  if (known == variables_.end())
    return name;
  if (known->second.is_string())
    return known->second.get<std::string>();
  for (auto key : {"app", "name"})
    if (known->second.is_object() && known->second.contains(key) && known->second[key].is_string())
      return known->second[key].get<std::string>();
  return name;
}

caf::expected<json> interpreter::base_of(const reference& what) {
  if (what.sigil == '@')
    return world_.look(app_of(what.name));
  if (what.name.empty())
    return last_;
  if (what.name.front() >= '0' && what.name.front() <= '9') {
    std::uint64_t number = 0;
    auto [end, error] = std::from_chars(what.name.data(), what.name.data() + what.name.size(), number);
    auto first_kept = results_seen_ - results_.size() + 1;
    if (error != std::errc{} || end != what.name.data() + what.name.size() || number == 0 || number > results_seen_)
      return problem(results_seen_ == 0
                         ? fmt::format("there is no ${}: nothing has a result yet", what.name)
                         : fmt::format("there is no ${}; the last result is ${}", what.name, results_seen_));
    if (number < first_kept)
      return problem(fmt::format("${} is not kept any more; the oldest is ${}", what.name, first_kept));
    return results_[static_cast<std::size_t>(number - first_kept)];
  }
  auto known = variables_.find(what.name);
  if (known != variables_.end())
    return known->second;
  std::vector<std::string> names;
  for (auto& [name, content] : variables_)
    names.push_back(name);
  auto meant = closest(what.name, names);
  return problem(
      fmt::format("nothing is called ${}{}", what.name,
                  meant ? fmt::format("; did you mean ${}?", *meant) : "; name a result with 'as " + what.name + "'"));
}

caf::expected<json> interpreter::resolve(const reference& what) {
  auto base = base_of(what);
  if (!base || what.path.empty())
    return base;
  auto* found = find(*base, what.path);
  if (found == nullptr) {
    std::vector<std::string> known;
    if (base->is_object())
      for (auto& [key, field] : base->items())
        known.push_back(key);
    auto meant = closest(what.path.front(), known);
    auto whole = what;
    whole.path.clear();
    return problem(
        fmt::format("{} has no '{}'{}", to_text(whole), joined(what.path),
                    meant && *meant != what.path.front() ? fmt::format("; did you mean '{}'?", *meant) : ""));
  }
  return *found;
}

caf::expected<json> interpreter::evaluate(const value& what) {
  return shell::evaluate(what, [this](const reference& source) { return resolve(source); });
}

caf::expected<request> interpreter::prepare(const call& what) {
  request result;
  result.verb = what.verb;
  for (auto& one : what.arguments) {
    request::word word;
    word.name = one.name;
    auto& source = one.what.source;
    if (one.what.what == value::kind::reference && source.sigil == '@' && source.path.empty()) {
      // The app itself, not what is known of it.
      word.is_app = true;
      word.text = app_of(source.name);
      word.what = word.text;
    } else {
      auto content = evaluate(one.what);
      if (!content)
        return std::move(content.error());
      word.text = one.what.what == value::kind::number ? one.what.written : plain_text(*content);
      word.what = std::move(*content);
    }
    result.words.push_back(std::move(word));
  }
  return result;
}

void interpreter::keep(json result) {
  results_.push_back(std::move(result));
  ++results_seen_;
  if (results_.size() > results_max)
    results_.pop_front();
}

} // namespace astra::shell
