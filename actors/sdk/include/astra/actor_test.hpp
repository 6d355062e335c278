#pragma once

#include <astra/actor.hpp>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

// Sends messages to an actor without a cluster.  Link the test with the actor's own source:
//
//   astra::test_actor tally{"tally", {{"init", "40"}}};
//   ASTRA_EXPECT(tally.ask("add", {{"amount", 2}}) == 42);
//   ASTRA_EXPECT(tally.refusal("add", {{"amout", 2}}) == "add has no field 'amout'; did you mean 'amount'?");
//   return astra::test_result();

namespace astra {
inline namespace v1 {

/// One actor, as Astra would run it, in a world whose time goes on only when the test says so and whose chance is drawn
/// from a seed.
class test_actor {
public:
  using fields = json_value::object;

  /// @param name As in ASTRA_ACTOR.
  /// @param arguments Name and value of its start arguments.
  /// @throws std::runtime_error when there is no such actor, or it does not want to live.
  explicit test_actor(std::string_view name, fields arguments = {}, std::uint64_t seed = 1)
    : type_(find(name)), world_(std::make_unique<world>()) {
    world_->random = seed;
    world_->host = {world_.get(), [](void* self) -> std::int64_t { return static_cast<world*>(self)->now.count(); },
                    [](void* self) { return draw(static_cast<world*>(self)->random); },
                    [](void* self, astra_bytes line) {
                      static_cast<world*>(self)->lines.emplace_back(line.data, static_cast<std::size_t>(line.size));
                    }};
    std::string problem;
    auto text = to_json(std::move(arguments));
    actor_ = type_->create(&world_->host, detail::bytes_of(text), into(problem));
    if (actor_ == nullptr)
      throw std::runtime_error{std::string{name} + ": " + problem};
  }

  ~test_actor() { type_->destroy(actor_); }
  test_actor(const test_actor&) = delete;
  test_actor& operator=(const test_actor&) = delete;

  /// The answer to a message.
  /// @throws std::runtime_error with the actor's words when it fails.
  json_value ask(std::string message, fields given = {}) { return parsed(answer(call(std::move(message), given))); }

  /// The answer to a body that is sent as it is.
  std::string ask_text(std::string_view body) { return answer(handle(body)); }

  /// What it says when it refuses a message; empty: it does not.
  std::string refusal(std::string message, fields given = {}) {
    auto what = call(std::move(message), given);
    return what.status == ASTRA_ACTOR_OK ? std::string{} : what.body;
  }

  /// What it takes.
  json_value describe() const {
    std::string text;
    type_->describe(actor_, into(text));
    return parsed(text);
  }

  /// What `info` would show of it.
  json_value state() const {
    std::string text;
    type_->state(actor_, into(text));
    return parsed(text);
  }

  /// Lets time go on.
  void advance(std::chrono::nanoseconds time) { world_->now += time; }

  /// What it wrote to its log.
  const std::vector<std::string>& lines() const { return world_->lines; }

private:
  struct world {
    std::chrono::nanoseconds now{0};
    std::uint64_t random = 0;
    std::vector<std::string> lines;
    astra_actor_host host{};
  };

  struct outcome {
    std::uint32_t status = ASTRA_ACTOR_OK;
    std::string body;
  };

  static const astra_actor_type* find(std::string_view name) {
    for (auto& one : detail::types())
      if (detail::view_of(one.name) == name)
        return &one;
    throw std::runtime_error{"no actor '" + std::string{name}
                             + "' in this program; link the source that has its "
                               "ASTRA_ACTOR"};
  }

  /// SplitMix64.
  static std::uint64_t draw(std::uint64_t& state) {
    auto z = state += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }

  static astra_text_sink into(std::string& text) {
    return {&text, [](void* to, astra_bytes what) {
              static_cast<std::string*>(to)->assign(what.data, static_cast<std::size_t>(what.size));
            }};
  }

  static json_value parsed(const std::string& text) {
    std::string problem;
    auto value = parse_json(text, problem);
    if (!value)
      throw std::runtime_error{"no JSON: " + problem};
    return *value;
  }

  static std::string answer(outcome what) {
    if (what.status != ASTRA_ACTOR_OK)
      throw std::runtime_error{what.body};
    return std::move(what.body);
  }

  outcome call(std::string message, const fields& given) {
    json_value body;
    body.set(std::move(message), given);
    return handle(to_json(body));
  }

  outcome handle(std::string_view body) {
    outcome result;
    type_->handle(actor_, detail::bytes_of(body), {&result, [](void* to, const astra_actor_answer* answer) {
                                                     auto& what = *static_cast<outcome*>(to);
                                                     what.status = answer->status;
                                                     what.body = detail::view_of(answer->body);
                                                   }});
    return result;
  }

  const astra_actor_type* type_;
  std::unique_ptr<world> world_;
  void* actor_ = nullptr;
};

namespace detail {

inline int& failed_expectations() {
  static int count = 0;
  return count;
}

inline void expect(bool holds, const char* file, int line, const char* text) {
  if (holds)
    return;
  ++failed_expectations();
  std::fprintf(stderr, "%s:%d: expected %s\n", file, line, text);
}

} // namespace detail

/// Exit code of a test: 0 when everything held that was expected.
inline int test_result() {
  return detail::failed_expectations() == 0 ? 0 : 1;
}

} // namespace v1
} // namespace astra

/// Says where it does not hold, and goes on.
#define ASTRA_EXPECT(...) ::astra::detail::expect(static_cast<bool>(__VA_ARGS__), __FILE__, __LINE__, #__VA_ARGS__)
