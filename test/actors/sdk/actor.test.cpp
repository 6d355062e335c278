#include <astra/actor_test.hpp>

#include <doctest/doctest.h>

#include <map>
#include <optional>
#include <string>
#include <vector>

using astra::json_value;
using astra::test_actor;
using std::chrono_literals::operator""ms;

namespace {

/// One message of each kind of field, of answer and of failure.
class all_kinds : public astra::actor {
public:
  explicit all_kinds(astra::setup& setup) : world_(setup.world()) {
    setup.argument("name", name_, "whom to greet");
    setup.argument("list", list_);
    setup.required("limit", limit_, "the most");
    setup.on(
        "types", "One field of each type.",
        [](bool a, std::int32_t b, double c, std::string d, std::vector<std::int64_t> e, std::optional<std::string> f,
           std::map<std::string, double> g, json_value h) {
          json_value all;
          all.set("a", a);
          all.set("b", b);
          all.set("c", c);
          all.set("d", d);
          all.set("e", static_cast<std::int64_t>(e.size()));
          all.set("f", f.value_or("none"));
          all.set("g", static_cast<std::int64_t>(g.size()));
          all.set("h", h);
          return all;
        },
        astra::field("a", "a bool", true), astra::field("b", "a number", -1), astra::field("c", "", 0.5),
        astra::field("d", "a text", "x"), astra::field("e", "", std::vector<std::int64_t>{1, 2}),
        astra::field("f", "may be left out"), astra::field("g", "", std::map<std::string, double>{}),
        astra::field("h", "any JSON", json_value{nullptr}));
    setup.on(
        "needs", "", [](std::int64_t n) { return std::vector<std::int64_t>(static_cast<std::size_t>(n), 7); },
        astra::field("n", "how many"));
    setup.on("quiet", "Answers nothing.", [] {});
    setup.on("throws", "", []() -> std::string { throw astra::refused{"not today"}; });
    setup.on(
        "fails", "",
        [](bool really) -> astra::result<std::int64_t> {
          if (really)
            return astra::fail("as you wish");
          return 5;
        },
        astra::field("really", "", true));
    setup.on("breaks", "", []() -> int { throw std::logic_error{"oh"}; });
    setup.on(
        "chance", "",
        [](astra::context& world, std::uint64_t sides) {
          world.log("drawn");
          return std::vector<std::uint64_t>{world.random_below(sides), static_cast<std::uint64_t>(world.now().count())};
        },
        astra::field("sides", "", 6));
    setup.on("later", "Asks the world of its setup.", [this] { return world_.now().count(); });
    setup.on("counts", "A handler may have a state of its own.", [count = 0]() mutable { return ++count; });
    setup.state("name", name_);
    setup.state(
        "length", [this] { return name_.size(); }, "of the name");
  }

private:
  astra::context& world_;
  std::string name_ = "you";
  std::vector<std::int64_t> list_;
  std::int64_t limit_ = 0;
};
ASTRA_ACTOR("all_kinds", all_kinds, "One of everything.");

/// Takes texts, and what has the form of a message that it does not have, too.
class reads_all : public astra::actor {
public:
  explicit reads_all(astra::setup& setup) {
    setup.on("get", "", [] { return 1; });
    setup.on_text(
        "Anything.", [](std::string body) { return "<" + body + ">"; }, true);
  }
};
ASTRA_ACTOR("reads_all", reads_all, "");

class reads_texts : public astra::actor {
public:
  explicit reads_texts(astra::setup& setup) {
    setup.on("get", "", [] { return 1; });
    setup.on_text("A number.", [](std::string body) -> astra::result<std::int64_t> {
      if (body.empty())
        return astra::fail("nothing");
      return static_cast<std::int64_t>(body.size());
    });
  }
};
ASTRA_ACTOR("reads_texts", reads_texts, "");

/// Takes texts alone.
class reads_only_texts : public astra::actor {
public:
  explicit reads_only_texts(astra::setup& setup) {
    setup.on_text("Its length.", [](std::string body) { return static_cast<std::int64_t>(body.size()); });
  }
};
ASTRA_ACTOR("reads_only_texts", reads_only_texts, "");
ASTRA_ACTOR("known_twice", reads_only_texts, "The same class.");

/// Acts on its arguments at once.
class hasty : public astra::actor {
public:
  explicit hasty(astra::setup& setup) {
    std::string path = "nowhere";
    std::int64_t room = 0;
    setup.argument("path", path);
    setup.required("room", room);
    acted = true;
    if (path == "nowhere")
      throw std::runtime_error{"there is no " + path};
  }

  inline static bool acted = false;
};
ASTRA_ACTOR("hasty", hasty, "");

/// What is wrong with it is said when it is made.
template <int Mistake>
class wrong : public astra::actor {
public:
  explicit wrong(astra::setup& setup) {
    auto nothing = [] {};
    if (Mistake == 0)
      setup.on("describe", "", nothing);
    if (Mistake == 1)
      setup.on("a b", "", nothing);
    if (Mistake == 2) {
      setup.on("a", "", nothing);
      setup.on("a", "", nothing);
    }
    if (Mistake == 3)
      setup.on(
          "a", "", [](int, int) {}, astra::field("x", ""), astra::field("x", ""));
    if (Mistake == 4)
      setup.on(
          "a", "", [](std::string) {}, astra::field("x", "", 5));
    if (Mistake == 5)
      throw std::runtime_error{"no memory today"};
  }
};
ASTRA_ACTOR("wrong_0", wrong<0>, "");
ASTRA_ACTOR("wrong_1", wrong<1>, "");
ASTRA_ACTOR("wrong_2", wrong<2>, "");
ASTRA_ACTOR("wrong_3", wrong<3>, "");
ASTRA_ACTOR("wrong_4", wrong<4>, "");
ASTRA_ACTOR("wrong_5", wrong<5>, "");

std::string why_not(std::string_view name, test_actor::fields arguments = {}) {
  try {
    test_actor actor{name, std::move(arguments)};
    return "it lives";
  } catch (const std::runtime_error& error) {
    return error.what();
  }
}

test_actor::fields with_limit() {
  return {{"limit", 3}};
}

} // namespace

TEST_CASE("fields are read by type, and those left out have their defaults") {
  test_actor actor{"all_kinds", with_limit()};
  CHECK(to_json(actor.ask("types")) == R"({"a":true,"b":-1,"c":0.5,"d":"x","e":2,"f":"none","g":0,"h":null})");
  CHECK(to_json(actor.ask("types", {{"a", false},
                                    {"b", 7},
                                    {"c", 2},
                                    {"d", "é"},
                                    {"e", json_value::list{}},
                                    {"f", "here"},
                                    {"g", json_value::object{{"k", 1.5}}},
                                    {"h", json_value::list{1, "two"}}}))
        == R"({"a":false,"b":7,"c":2.0,"d":"é","e":0,"f":"here","g":1,"h":[1,"two"]})");
  CHECK(to_json(actor.ask("needs", {{"n", 2}})) == "[7,7]");
  CHECK(actor.ask("quiet").is_null());
  CHECK(actor.ask("fails", {{"really", false}}) == 5);
  CHECK(actor.ask("counts") == 1);
  CHECK(actor.ask("counts") == 2);
}

TEST_CASE("a message that is wrong is refused with the place and the cure") {
  test_actor actor{"all_kinds", with_limit()};
  CHECK(actor.refusal("need", {}) == "all_kinds has no message 'need'; did you mean 'needs'?");
  CHECK(actor.refusal("xyzzy", {}).find("; its messages are types, needs, quiet") != std::string::npos);
  CHECK(actor.refusal("needs", {}) == "needs: the field 'n' is missing: how many (int64)");
  CHECK(actor.refusal("fails", {{"realy", true}}) == "fails has no field 'realy'; did you mean 'really'?");
  CHECK(actor.refusal("fails", {{"x", true}}) == "fails has no field 'x'; its fields are really");
  CHECK(actor.refusal("quiet", {{"x", 1}}) == "quiet has no field 'x'; it has none");
  CHECK(actor.refusal("types", {{"b", "7"}}) == "types: 'b' must be int32, not \"7\"");
  CHECK(actor.refusal("types", {{"b", 2147483648}}) == "types: 'b' must be int32, not 2147483648");
  CHECK(actor.refusal("types", {{"e", json_value::list{1, "x"}}}) == "types: 'e' must be list of int64, not [1,\"x\"]");
  CHECK(actor.refusal("types", {{"f", 1}}) == "types: 'f' must be text or null, not 1");
  CHECK(actor.refusal("throws") == "not today");
  CHECK(actor.refusal("fails") == "as you wish");
  CHECK(actor.refusal("breaks") == "oh");
  CHECK_THROWS_WITH(actor.ask_text("hello"), "all_kinds takes messages such as {\"types\":{...}}, not 'hello'");
  CHECK_THROWS_WITH(actor.ask_text(""), "all_kinds takes messages such as {\"types\":{...}}, not nothing");
  CHECK_THROWS_WITH(actor.ask_text("{\"quiet\":{},\"fails\":{}}"),
                    "all_kinds takes messages such as {\"types\":{...}}, not '{\"quiet\":{},\"fails\":{}}'");
  CHECK(actor.ask_text("{\"quiet\":null}") == "null");
}

TEST_CASE("start arguments come as values or as texts, and are checked") {
  CHECK(test_actor{"all_kinds", {{"limit", "3"}, {"name", "17"}, {"list", "[1,2]"}}}.state()["name"] == "17");
  CHECK(why_not("all_kinds") == "all_kinds: the argument 'limit' is missing: the most (int64)");
  CHECK(why_not("all_kinds", {{"limit", "three"}}) == "all_kinds: the argument 'limit' must be int64, not 'three'");
  CHECK(why_not("all_kinds", {{"limit", true}}) == "all_kinds: the argument 'limit' must be int64, not true or false");
  CHECK(why_not("all_kinds", {{"limit", 1}, {"nme", "x"}})
        == "all_kinds: it has no argument 'nme'; did you mean 'name'?");
  CHECK(why_not("reads_all", {{"x", 1}}) == "reads_all: it has no argument 'x'; it takes none");
  CHECK(why_not("nobody").find("no actor 'nobody' in this program") != std::string::npos);
}

TEST_CASE("a constructor does not act on an argument that is missing or malformed, nor hides one that is unknown") {
  hasty::acted = false;
  CHECK(why_not("hasty", {{"path", "here"}}) == "hasty: the argument 'room' is missing (int64)");
  CHECK(why_not("hasty", {{"path", "here"}, {"room", "x"}}) == "hasty: the argument 'room' must be int64, not 'x'");
  CHECK_FALSE(hasty::acted);
  CHECK(why_not("hasty", {{"pth", "here"}, {"room", 1}})
        == "hasty: it has no argument 'pth'; did you mean 'path'? (and then: there is no nowhere)");
  CHECK(why_not("hasty", {{"room", 1}}) == "hasty: there is no nowhere");
  CHECK(why_not("hasty", {{"path", "here"}, {"room", 1}}) == "it lives");
}

TEST_CASE("a class that is known under two names has both") {
  test_actor one{"reads_only_texts"}, other{"known_twice"};
  CHECK(one.describe()["actor"] == "reads_only_texts");
  CHECK(other.describe()["actor"] == "known_twice");
  CHECK(one.describe()["doc"] == "");
  CHECK(other.describe()["doc"] == "The same class.");
  // Whoever asks for one again keeps what it was told before.
  auto first = astra::actor_type<reads_texts>("a name that is too long to be kept in place", "one");
  auto second = astra::actor_type<reads_texts>("another name", "two");
  CHECK(astra::detail::view_of(first.name) == "a name that is too long to be kept in place");
  CHECK(astra::detail::view_of(second.name) == "another name");
}

TEST_CASE("mistakes of an actor's author are told when it is made") {
  CHECK(why_not("wrong_0").find("the message 'describe' is answered by Astra") != std::string::npos);
  CHECK(why_not("wrong_1").find("the message 'a b' has a name that nobody could type") != std::string::npos);
  CHECK(why_not("wrong_2").find("the message 'a' is there twice") != std::string::npos);
  CHECK(why_not("wrong_3").find("has a field 'x' twice") != std::string::npos);
  CHECK(why_not("wrong_4").find("whose default, 5, is no text") != std::string::npos);
  CHECK(why_not("wrong_5") == "wrong_5: no memory today");
}

TEST_CASE("bodies that are no messages go to who takes them") {
  test_actor all{"reads_all"}, texts{"reads_texts"};
  CHECK(all.ask_text("hello") == "<hello>");
  CHECK(all.ask_text("{\"got\":{}}") == "<{\"got\":{}}>");
  CHECK(all.ask_text("{\"get\":{}}") == "1");
  CHECK(texts.ask_text("hello") == "5");
  CHECK(texts.ask_text("{\"get\":5}") == "9");
  CHECK_THROWS_WITH(texts.ask_text(""), "nothing");
  // It looks like a message, and a mistake in its name shall not pass for something else.
  CHECK(texts.refusal("got") == "reads_texts has no message 'got'; did you mean 'get'?");
}

TEST_CASE("a body that begins as an object and is none is refused with the place, where messages are taken") {
  test_actor all{"reads_all"}, texts{"reads_texts"}, only{"reads_only_texts"}, kinds{"all_kinds", with_limit()};
  CHECK_THROWS_WITH(kinds.ask_text("{\"needs\":{\"n\":}}"),
                    "all_kinds takes JSON, and this is none: no value of JSON at byte 15");
  CHECK_THROWS_WITH(texts.ask_text(" {get}"),
                    "reads_texts takes JSON, and this is none: a name in \"\" is missing at byte 3");
  CHECK(all.ask_text("{get}") == "<{get}>");
  CHECK(only.ask_text("{get}") == "5");
}

TEST_CASE("a message has at most a mebibyte, a text as much as it likes") {
  test_actor all{"reads_all"}, texts{"reads_texts"}, only{"reads_only_texts"}, kinds{"all_kinds", with_limit()};
  auto padded = [](std::string start, std::size_t size) {
    return start + std::string(size - start.size() - 1, ' ') + "}";
  };
  std::size_t most = 1 << 20;
  CHECK(kinds.ask_text(padded("{\"quiet\":{}", most)) == "null");
  auto too_long = "a message has at most 1048576 bytes, and this one has 1048577";
  for (auto start : {"{\"quiet\":{}", "{\"xyzzy\":{}", "{"})
    CHECK_THROWS_WITH(kinds.ask_text(padded(start, most + 1)), too_long);
  for (auto* one : {&all, &texts})
    CHECK_THROWS_WITH(one->ask_text(padded(" { \"get\":{}", most + 1)), too_long);
  CHECK(texts.ask_text(padded("{\"title\":{}", most + 1)) == "1048577");
  CHECK(only.ask_text(padded("{\"get\":{}", most + 1)) == "1048577");
  CHECK(texts.ask_text(std::string(most + 1, 'x')) == "1048577");
}

TEST_CASE("an actor says of itself all that one needs to use it") {
  test_actor actor{"all_kinds", with_limit()};
  auto schema = actor.describe();
  CHECK(schema["actor"] == "all_kinds");
  CHECK(schema["doc"] == "One of everything.");
  CHECK(to_json(schema["arguments"])
        == R"([{"name":"name","type":"text","default":"you","doc":"whom to greet"},)"
           R"({"name":"list","type":"list of int64","default":[],"doc":""},)"
           R"({"name":"limit","type":"int64","required":true,"doc":"the most"}])");
  auto& messages = *schema["messages"].get_if<json_value::list>();
  CHECK(to_json(messages[1])
        == R"({"name":"needs","doc":"","fields":[{"name":"n","type":"int64","required":true,"doc":"how many"}],)"
           R"("answer":"list of int64"})");
  CHECK(to_json((*messages[0]["fields"].get_if<json_value::list>())[5])
        == R"({"name":"f","type":"text or null","default":null,"doc":"may be left out"})");
  CHECK(messages[2]["answer"] == "null");
  CHECK(to_json(actor.state()) == R"({"name":"you","length":3})");
  CHECK(test_actor{"reads_texts"}.describe()["text"] == "A number.");
}

TEST_CASE("time and chance are those of the world: the same seed brings the same answers") {
  test_actor one{"all_kinds", with_limit(), 7}, same{"all_kinds", with_limit(), 7}, other{"all_kinds", with_limit(), 8};
  std::string first, second, third;
  for (int i = 0; i < 20; ++i) {
    first += to_json(one.ask("chance", {{"sides", 1000}}));
    second += to_json(same.ask("chance", {{"sides", 1000}}));
    third += to_json(other.ask("chance", {{"sides", 1000}}));
  }
  CHECK(first == second);
  CHECK(first != third);
  CHECK(one.lines().size() == 20);
  one.advance(5ms);
  CHECK(one.ask("later") == 5'000'000);
  CHECK(one.ask("chance", {{"sides", 0}}) == json_value::list{0, 5'000'000});
}

TEST_CASE("the list that a library gives has its version first, and every actor in the order of its source") {
  auto list = astra_actor_library();
  CHECK(list->abi == astra_actor_abi);
  REQUIRE(list->count >= 3);
  CHECK(astra::detail::view_of(list->types[0].name) == "all_kinds");
  CHECK(astra::detail::view_of(list->types[1].name) == "reads_all");
}
