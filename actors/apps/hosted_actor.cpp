#include "actors/apps/hosted_actor.hpp"

#include "messages/errc.hpp"

#include <astra/json.hpp>

#include <algorithm>
#include <optional>
#include <utility>

namespace astra {
namespace {

/// A longer body is none of the messages that are answered here, whatever blanks it has, and is not parsed here.
constexpr std::size_t own_message_max = 256;

constexpr const char* json_type = "application/json";

astra_bytes bytes_of(std::string_view text) {
  return {text.data(), text.size()};
}

std::string text_of(astra_bytes bytes) {
  return {bytes.data, static_cast<std::size_t>(bytes.size)};
}

/// Takes what a library says into a text of ours.
astra_text_sink into(std::string& text) {
  return {&text, [](void* to, astra_bytes what) { static_cast<std::string*>(to)->assign(what.data, what.size); }};
}

/// "describe" or "info" when the body is that message.
std::optional<std::string> own_message(std::string_view body) {
  auto begin = body.find_first_not_of(" \t\r\n");
  if (body.size() > own_message_max || begin == std::string_view::npos || body[begin] != '{')
    return std::nullopt;
  std::string ignored;
  auto parsed = parse_json(body, ignored);
  auto members = parsed ? parsed->get_if<json_value::object>() : nullptr;
  if (members == nullptr || members->size() != 1)
    return std::nullopt;
  auto& [name, value] = members->front();
  auto fields = value.get_if<json_value::object>();
  if ((name != "describe" && name != "info") || (!value.is_null() && (fields == nullptr || !fields->empty())))
    return std::nullopt;
  return name;
}

double milliseconds_of(std::chrono::nanoseconds time) {
  return static_cast<double>(time.count() / 1000) / 1000.0;
}

json_value parsed(const std::string& text) {
  std::string ignored;
  return parse_json(text, ignored).value_or(json_value{});
}

} // namespace

hosted_actor::hosted_actor(const astra_actor_type& type, hosted_world world)
  : type_(type), world_(std::move(world)),
    host_{&world_, [](void* self) -> std::int64_t { return static_cast<hosted_world*>(self)->now().count(); },
          [](void* self) -> std::uint64_t { return static_cast<hosted_world*>(self)->random(); },
          [](void* self, astra_bytes line) {
            static_cast<hosted_world*>(self)->log({line.data, static_cast<std::size_t>(line.size)});
          }} {}

caf::expected<std::unique_ptr<hosted_actor>> hosted_actor::make(const astra_actor_type& type, const app_arguments& args,
                                                                hosted_world world) {
  std::unique_ptr<hosted_actor> result{new hosted_actor{type, std::move(world)}};
  json_value::object given;
  for (auto& [name, value] : args)
    given.emplace_back(name, value);
  std::string problem;
  auto arguments = to_json(std::move(given));
  result->actor_ = type.create(&result->host_, bytes_of(arguments), into(problem));
  if (result->actor_ == nullptr)
    return caf::make_error(errc::invalid_argument, text_of(type.name) + ": " + problem);
  return result;
}

hosted_actor::~hosted_actor() {
  if (actor_ != nullptr)
    type_.destroy(actor_);
}

hosted_answer hosted_actor::handle(std::string_view body, std::size_t waiting) {
  if (auto own = own_message(body)) {
    if (*own == "info")
      return {ASTRA_ACTOR_OK, info(waiting), json_type};
    std::string described;
    type_.describe(actor_, into(described));
    return {ASTRA_ACTOR_OK, std::move(described), json_type};
  }
  struct taken {
    hosted_answer answer;
    std::string message;
  } what;
  auto take = [](void* to, const astra_actor_answer* answer) {
    auto& into = *static_cast<taken*>(to);
    into.answer.status = static_cast<astra_actor_status>(std::min<std::uint32_t>(answer->status, ASTRA_ACTOR_BROKEN));
    into.answer.body = text_of(answer->body);
    into.answer.content_type = answer->is_text != 0 ? "text/plain" : json_type;
    into.message = text_of(answer->message);
  };
  auto begin = world_.now();
  type_.handle(actor_, bytes_of(body), {&what, take});
  remember({std::move(what.message), begin, world_.now() - begin,
            what.answer.status == ASTRA_ACTOR_OK ? std::string{} : what.answer.body});
  return std::move(what.answer);
}

void hosted_actor::remember(remembered what) {
  ++handled_;
  if (!what.problem.empty())
    ++failed_;
  if (last_.size() == remembered_max)
    last_.pop_front();
  last_.push_back(std::move(what));
}

std::string hosted_actor::info(std::size_t waiting) const {
  json_value result;
  result.set("actor", text_of(type_.name));
  result.set("mailbox", waiting);
  result.set("handled", handled_);
  result.set("failed", failed_);
  result.set("age_ms", milliseconds_of(world_.now()));
  std::string state;
  type_.state(actor_, into(state));
  result.set("state", parsed(state));
  json_value::list last;
  for (auto& one : last_) {
    json_value entry;
    entry.set("message", one.name);
    entry.set("at_ms", milliseconds_of(one.at));
    entry.set("took_ms", milliseconds_of(one.took));
    entry.set("result", one.problem.empty() ? "ok" : "error");
    if (!one.problem.empty())
      entry.set("reason", one.problem);
    last.push_back(std::move(entry));
  }
  result.set("last", std::move(last));
  return to_json(result);
}

std::uint16_t http_status_of(astra_actor_status status) {
  switch (status) {
  case ASTRA_ACTOR_OK:
    return 200;
  case ASTRA_ACTOR_INVALID:
    return 400;
  case ASTRA_ACTOR_REFUSED:
    return 422;
  case ASTRA_ACTOR_BROKEN:
    break;
  }
  return 500;
}

std::string describe_actor(const astra_actor_type& type) {
  std::string result;
  type.describe(nullptr, into(result));
  return result;
}

} // namespace astra
