#include "runtime/tasks/task.hpp"

#include "runtime/tasks/task_request.hpp"

#include <doctest/doctest.h>

using namespace astra;
using namespace std::chrono_literals;

namespace {

constexpr task_time today{1'767'225'600'000};

std::variant<task_record, std::string> read(http_headers headers, std::string body = "page") {
  http_request request;
  request.method = "POST";
  request.headers = std::move(headers);
  request.body = std::make_shared<const std::string>(std::move(body));
  return read_task(request, "ocr", today, 7 * 24h);
}

std::string problem_of(http_headers headers) {
  auto result = read(std::move(headers));
  return std::holds_alternative<std::string>(result) ? std::get<std::string>(result) : "";
}

} // namespace

TEST_CASE("an id is read back whole, also when the gateway's name has dots") {
  for (auto name : {"gw", "gateway-1", "rack.7.gw"}) {
    auto text = to_string(task_id{name, 42, task_word("secret", 42)});
    auto id = parse_task_id(text);
    REQUIRE(id);
    CHECK(id->gateway == name);
    CHECK(id->number == 42);
    CHECK(id->word == task_word("secret", 42));
  }
}

TEST_CASE("what is no id is none") {
  for (auto text : {"", ".", "..", "gw", "gw.42", "gw.42.", "gw.42.short", ".42.9f8e7d6c5b4a3921",
                    "gw..9f8e7d6c5b4a3921", "gw.x.9f8e7d6c5b4a3921", "gw.0.9f8e7d6c5b4a3921", "gw.42.9F8E7D6C5B4A3921",
                    "gw.42.9f8e7d6c5b4a39210", "gw.-1.9f8e7d6c5b4a3921", "gw.99999999999999999999.9f8e7d6c5b4a3921"}) {
    CAPTURE(text);
    CHECK_FALSE(parse_task_id(text));
  }
}

TEST_CASE("the word of an id follows from number and secret, and from neither alone") {
  CHECK(task_word("a", 1) == task_word("a", 1));
  CHECK(task_word("a", 1) != task_word("a", 2));
  CHECK(task_word("a", 1) != task_word("b", 1));
  CHECK(task_word("a", 1).size() == 16);
}

TEST_CASE("states are read by the names that they have") {
  for (auto state : {task_state::queued, task_state::running, task_state::done, task_state::failed,
                     task_state::cancelled, task_state::expired})
    CHECK(parse_task_state(to_string(state)) == state);
  CHECK_FALSE(parse_task_state("lost"));
  CHECK_FALSE(has_ended(task_state::running));
  CHECK(has_ended(task_state::done));
}

TEST_CASE("a request without headers is a task with the defaults, one with them is as they say") {
  auto plain = std::get<task_record>(read({}));
  CHECK(plain.app == "ocr");
  CHECK(plain.priority == 5);
  CHECK(plain.created == today);
  CHECK(plain.deadline == today + 24h);
  CHECK(plain.keep == 7 * 24h);
  CHECK(plain.key.empty());
  CHECK(plain.body_bytes == 4);
  auto full = std::get<task_record>(read({{"content-type", "image/png"},
                                          {"idempotency-key", "page-17"},
                                          {"astra-priority", "9"},
                                          {"astra-deadline", "90s"},
                                          {"astra-keep", "1h"}}));
  CHECK(full.content_type == "image/png");
  CHECK(full.key == "page-17");
  CHECK(full.priority == 9);
  CHECK(full.deadline == today + 90s);
  CHECK(full.keep == 1h);
  CHECK(std::get<task_record>(read({{"idempotency-key", "\"page-17\""}})).key == "page-17");
}

TEST_CASE("each header that is wrong is named with its rule") {
  CHECK(problem_of({{"astra-priority", "10"}}).find("Astra-Priority: must be a number from 0 to 9") == 0);
  CHECK(problem_of({{"astra-priority", "-1"}}) != "");
  CHECK(problem_of({{"astra-deadline", "soon"}}).find("Astra-Deadline: ") == 0);
  CHECK(problem_of({{"astra-deadline", "0s"}}) == "Astra-Deadline: must be more than 0 and at most 30d");
  CHECK(problem_of({{"astra-keep", "8d"}}) == "Astra-Keep: must be more than 0 and at most 7d");
  CHECK(problem_of({{"idempotency-key", "a b"}}).find("Idempotency-Key: ") == 0);
  CHECK(problem_of({{"idempotency-key", std::string(256, 'x')}}) != "");
  CHECK(problem_of({{"idempotency-key", std::string(255, 'x')}}) == "");
}

TEST_CASE("queries are read, and what is unknown in them gets a suggestion") {
  auto query = std::get<task_query>(read_task_query("/v1/tasks?app=ocr&state=failed&limit=7"));
  CHECK(query.app == "ocr");
  CHECK(query.state == task_state::failed);
  CHECK(query.limit == 7);
  CHECK(std::get<task_query>(read_task_query("/v1/tasks")).limit == 100);
  CHECK(std::get<task_query>(read_task_query("/v1/tasks?before=gw.42.9f8e7d6c5b4a3921")).before == 42);
  CHECK(std::get<std::string>(read_task_query("/v1/tasks?before=42")) == "before=42: must be the id of a task");
  CHECK(std::get<std::string>(read_task_query("/v1/tasks?state=lost")).find("must be queued, running")
        != std::string::npos);
  CHECK(std::get<std::string>(read_task_query("/v1/tasks?limit=0")).find("from 1 to 1000") != std::string::npos);
  CHECK(std::get<std::string>(read_task_query("/v1/tasks?stat=done")).find("did you mean 'state'")
        != std::string::npos);
  CHECK(std::get<task_question>(read_task_question("/v1/tasks/x?wait=30s")).wait == 30s);
  CHECK(std::get<task_question>(read_task_question("/v1/tasks/x?drop=1")).drop);
  CHECK(std::get<std::string>(read_task_question("/v1/tasks/x?wait=11m")).find("at most 10m") != std::string::npos);
  CHECK(std::get<std::string>(read_task_question("/v1/tasks/x?wait=soon")).find("wait=soon: ") == 0);
}
