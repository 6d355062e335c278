#include "runtime/shell/actor_words.hpp"
#include "messages/type_ids.hpp"

#include <doctest/doctest.h>

#include <utility>

using namespace astra;
using namespace astra::shell;

namespace {

const json schema = json::parse(R"({
  "actor": "tally",
  "messages": [
    {"name": "add", "fields": [{"name": "amount", "type": "int64", "default": 1},
                               {"name": "note", "type": "text or null", "default": null}]},
    {"name": "get", "fields": []}
  ]})");

request::word bare(json what) {
  auto text = what.is_string() ? what.get<std::string>() : what.dump();
  return {"", std::move(what), std::move(text), false};
}

request::word named(std::string name, json what) {
  auto word = bare(std::move(what));
  word.name = std::move(name);
  return word;
}

/// The body, "-" for a text, or "? " and why not.
std::string message(std::vector<request::word> words, const json& of = schema) {
  words.insert(words.begin(), bare("tally"));
  auto result = message_of(words, 1, of);
  if (!result)
    return "? " + error_text(result.error());
  return result->value_or("-");
}

json with_texts() {
  auto result = schema;
  result["text"] = "Anything.";
  return result;
}

} // namespace

TEST_CASE("a message is its name with fields, by name or in their order") {
  CHECK(message({bare("get")}) == R"({"get":{}})");
  CHECK(message({bare("add"), named("amount", 2)}) == R"({"add":{"amount":2}})");
  CHECK(message({bare("add"), bare(2), bare("for tea")}) == R"({"add":{"amount":2,"note":"for tea"}})");
  CHECK(message({bare("add"), bare(2), named("note", nullptr)}) == R"({"add":{"amount":2,"note":null}})");
  CHECK(message({bare("info")}) == R"({"info":{}})");
  // A field of texts takes 17 as one.
  CHECK(message({bare("add"), named("note", 17)}) == R"({"add":{"note":"17"}})");
}

TEST_CASE("what is no message of the actor is a text, or told with what was probably meant") {
  CHECK(message({bare("ad")}) == "? tally has no message 'ad'; did you mean 'add'?");
  CHECK(message({bare("xyzzy"), named("a", 1)})
        == "? tally has no message 'xyzzy'; there are add, get, describe, info");
  CHECK(message({bare("add"), named("amout", 2)}) == "? add has no field 'amout'; did you mean 'amount'?");
  CHECK(message({bare("get"), named("x", 2)}) == "? get has no field 'x'; it has none");
  CHECK(message({bare("get"), bare(2)}) == "? get has 0 fields, and '2' is one too many");
  CHECK(message({bare("info"), named("x", 2)}) == "? info has no field 'x'; it has none");
  CHECK(message({bare("add"), bare(2), named("amount", 2)}) == "? the field 'amount' is there twice");
  CHECK(message({bare("hello world")}) == "-");
  CHECK(message({bare(2)}) == "-");
  CHECK(message({named("amount", 2)}) == "-");
  CHECK(message({}) == "-");
  CHECK(message({bare("hello")}, with_texts()) == "-");
  CHECK(message({bare("ad"), named("amount", 2)}, with_texts()) == "? tally has no message 'ad'; did you mean 'add'?");
}

TEST_CASE("completion gets the names of messages and fields") {
  CHECK(message_names(schema) == std::vector<std::string>{"add", "get", "describe", "info"});
  CHECK(field_words(schema, "add") == std::vector<std::string>{"amount=", "note="});
  CHECK(field_words(schema, "nothing").empty());
  CHECK(message_names(json{}) == std::vector<std::string>{"describe", "info"});
}
