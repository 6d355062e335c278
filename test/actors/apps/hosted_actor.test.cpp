#include "actors/apps/hosted_actor.hpp"
#include "messages/type_ids.hpp"

#include <astra/actor.hpp>
#include <astra/json.hpp>
#include <doctest/doctest.h>

using namespace astra;
using namespace std::chrono_literals;

namespace {

class parrot : public actor {
public:
  explicit parrot(setup& setup) {
    setup.argument("word", word_, "what it says");
    setup.on("say", "Says it.", [this] { return word_; });
    setup.on("nap", "Takes a second.", [](context& world) {
      world.log("zzz");
      return world.random();
    });
    setup.on("bite", "", []() -> bool { throw refused{"it bites"}; });
    setup.state("word", word_);
  }

private:
  std::string word_ = "hello";
};

struct fixture {
  fixture() : type(actor_type<parrot>("parrot", "Repeats itself.")) {}

  caf::expected<std::unique_ptr<hosted_actor>> make(const app_arguments& args = {}) {
    // Every look at the clock takes a second.
    return hosted_actor::make(type, args,
                              {[this] { return now += 1s; }, [] { return std::uint64_t{4}; },
                               [this](std::string_view line) { log += std::string{line} + ";"; }});
  }

  astra_actor_type type;
  std::chrono::nanoseconds now{0};
  std::string log;
};

json_value parsed(const std::string& text) {
  std::string problem;
  auto value = parse_json(text, problem);
  REQUIRE_MESSAGE(value, problem);
  return *value;
}

} // namespace

TEST_CASE_FIXTURE(fixture, "messages reach the actor, and what goes wrong is told by who is to blame") {
  auto actor = make({{"word", "ahoy"}});
  REQUIRE(actor);
  auto said = (*actor)->handle(R"({"say":{}})", 0);
  CHECK(said.status == ASTRA_ACTOR_OK);
  CHECK(said.body == "\"ahoy\"");
  CHECK(said.content_type == "application/json");
  CHECK((*actor)->handle(R"({"nap":{}})", 0).body == "4");
  CHECK(log == "zzz;");
  auto bitten = (*actor)->handle(R"({"bite":{}})", 0);
  CHECK(bitten.status == ASTRA_ACTOR_REFUSED);
  CHECK(bitten.body == "it bites");
  CHECK(bitten.content_type == "text/plain");
  CHECK((*actor)->handle(R"({"sai":{}})", 0).status == ASTRA_ACTOR_INVALID);
}

TEST_CASE_FIXTURE(fixture, "describe and info are answered by the host, and are not counted") {
  auto actor = make();
  REQUIRE(actor);
  CHECK(parsed((*actor)->handle(R"({"describe":{}})", 0).body)["messages"].get_if<json_value::list>()->size() == 3);
  (*actor)->handle(R"({"say":{}})", 0);
  (*actor)->handle(R"({"bite":{}})", 0);
  (*actor)->handle("tweet", 0);
  auto info = parsed((*actor)->handle(" {\"info\" : null} ", 7).body);
  CHECK(info["actor"] == "parrot");
  CHECK(info["mailbox"] == 7);
  CHECK(info["handled"] == 3);
  CHECK(info["failed"] == 2);
  CHECK(to_json(info["state"]) == R"({"word":"hello"})");
  auto& last = *info["last"].get_if<json_value::list>();
  REQUIRE(last.size() == 3);
  CHECK(to_json(last[0]) == R"({"message":"say","at_ms":1000.0,"took_ms":1000.0,"result":"ok"})");
  CHECK(to_json(last[1])
        == R"({"message":"bite","at_ms":3000.0,"took_ms":1000.0,"result":"error","reason":"it bites"})");
  CHECK(last[2]["message"] == "");
  // With fields it is not one of the host's.
  CHECK((*actor)->handle(R"({"info":{"a":1}})", 0).status == ASTRA_ACTOR_INVALID);
}

TEST_CASE_FIXTURE(fixture, "info lists the last twenty messages") {
  auto actor = make();
  REQUIRE(actor);
  for (int i = 0; i < 30; ++i)
    (*actor)->handle(i < 11 ? R"({"bite":{}})" : R"({"say":{}})", 0);
  auto info = parsed((*actor)->handle(R"({"info":{}})", 0).body);
  CHECK(info["handled"] == 30);
  auto& last = *info["last"].get_if<json_value::list>();
  REQUIRE(last.size() == hosted_actor::remembered_max);
  CHECK(last[0]["message"] == "bite");
  CHECK(last[1]["message"] == "say");
}

TEST_CASE_FIXTURE(fixture, "wrong arguments are told with the actor's name, and its schema needs no actor") {
  auto wrong = make({{"wrd", "x"}});
  REQUIRE_FALSE(wrong);
  CHECK(wrong.error() == errc::invalid_argument);
  CHECK(error_text(wrong.error()) == "parrot: it has no argument 'wrd'; did you mean 'word'?");
  auto schema = parsed(describe_actor(type));
  CHECK(schema["doc"] == "Repeats itself.");
  CHECK(to_json(schema["arguments"]) == R"([{"name":"word","type":"text","default":"hello","doc":"what it says"}])");
}
