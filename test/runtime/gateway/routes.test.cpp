#include "runtime/gateway/routes.hpp"

#include <doctest/doctest.h>

using namespace astra;

TEST_CASE("every route of the API is found by method and path, with its name decoded") {
  struct row {
    const char* method;
    const char* target;
    gateway_route what;
    const char* name;
  };
  const row rows[] = {
      {"GET", "/livez", gateway_route::livez, ""},
      {"HEAD", "/readyz?verbose", gateway_route::readyz, ""},
      {"GET", "/metrics", gateway_route::metrics, ""},
      {"GET", "/v1/events?follow=1", gateway_route::events, ""},
      {"GET", "/v1/status", gateway_route::status, ""},
      {"GET", "/v1/quotas", gateway_route::quotas, ""},
      {"GET", "/v1/nodes", gateway_route::nodes, ""},
      {"GET", "/v1/nodes/n1.example", gateway_route::node, "n1.example"},
      {"POST", "/v1/nodes/n1/drain", gateway_route::drain_node, "n1"},
      {"GET", "/v1/apps", gateway_route::apps, ""},
      {"GET", "/v1/apps/a%20b%2Fc", gateway_route::app, "a b/c"},
      {"PUT", "/v1/apps/ocr", gateway_route::apply_app, "ocr"},
      {"DELETE", "/v1/apps/ocr", gateway_route::delete_app, "ocr"},
      {"POST", "/v1/apps/ocr/invoke?x=/y", gateway_route::invoke, "ocr"},
      {"GET", "/v1/apps/ocr/history", gateway_route::app_history, "ocr"},
      {"GET", "/v1/apps/ocr/claims", gateway_route::app_claims, "ocr"},
      {"POST", "/v1/apps/ocr/rollback?to=3", gateway_route::rollback_app, "ocr"},
      {"POST", "/v1/apps/ocr/plan", gateway_route::plan_app, "ocr"},
      {"GET", "/v1/routers/ocr", gateway_route::router, "ocr"},
      {"GET", "/v1/routers/ocr/picks?n=5", gateway_route::router_picks, "ocr"},
      {"POST", "/v1/apps/ocr/tasks", gateway_route::submit_task, "ocr"},
      {"GET", "/v1/tasks?app=ocr", gateway_route::tasks, ""},
      {"GET", "/v1/tasks/gw.1.ab?wait=30s", gateway_route::task, "gw.1.ab"},
      {"DELETE", "/v1/tasks/gw.1.ab", gateway_route::cancel_task, "gw.1.ab"},
      {"GET", "/v1/tasks/gw.1.ab/result", gateway_route::task_result, "gw.1.ab"},
      {"GET", "/v1/tasks/gw.1.ab/events", gateway_route::task_events, "gw.1.ab"},
      {"GET", "/v1/models", gateway_route::models, ""},
      {"GET", "/v1/models/llama%403", gateway_route::model, "llama@3"},
      {"POST", "/v1/models/llama", gateway_route::publish_model, "llama"},
      {"DELETE", "/v1/models/llama@3", gateway_route::delete_model, "llama@3"},
      {"POST", "/v1/models/llama/fetch", gateway_route::fetch_model, "llama"},
      {"POST", "/v1/models/llama/verify", gateway_route::verify_model, "llama"},
      {"POST", "/v1/models/llama/pin", gateway_route::pin_model, "llama"},
      {"GET", "/v1/model-jobs?id=n1:7", gateway_route::model_jobs, ""},
      {"GET", "/v1/model-jobs/n1:7", gateway_route::model_job, "n1:7"},
      {"GET", "/v1/model-nodes", gateway_route::model_nodes, ""},
      {"GET", "/v1/model-limit", gateway_route::model_limit, ""},
      {"PUT", "/v1/model-limit", gateway_route::limit_models, ""},
  };
  for (auto& row : rows) {
    CAPTURE(row.target);
    auto match = find_route(row.method, row.target);
    CHECK(match.what == row.what);
    CHECK(match.name == row.name);
  }
}

TEST_CASE("a path that exists for other methods only names them") {
  CHECK(find_route("POST", "/livez").what == gateway_route::wrong_method);
  CHECK(find_route("POST", "/livez").allow == "GET, HEAD");
  CHECK(find_route("PATCH", "/v1/apps/x").allow == "GET, HEAD, PUT, DELETE");
  CHECK(find_route("GET", "/v1/apps/x/invoke").allow == "POST");
}

TEST_CASE("any other target is unknown") {
  for (auto target : {"", "*", "livez", "/", "/v1", "/v1/", "/v1/apps/", "/v1/apps//invoke", "/v1/apps/a/b/c",
                      "/v1/apps/%", "/v1/apps/%4", "/v1/apps/%zz", "/V1/apps", "http://host/livez", "?/livez"}) {
    CAPTURE(target);
    auto match = find_route("GET", target);
    auto empty_name = std::string_view{target} == "/v1/apps/" || std::string_view{target} == "/v1/apps//invoke";
    CHECK(match.what == (empty_name ? match.what : gateway_route::unknown));
    CHECK(match.name.empty());
  }
}

TEST_CASE("a query is taken apart and decoded") {
  using parameters = std::map<std::string, std::string>;
  CHECK(*find_query("/v1/nodes") == parameters{});
  CHECK(*find_query("/v1/nodes?") == parameters{});
  CHECK(*find_query("/x?where=util%3E0.8+and%20zone==%22a%22&limit=3&&empty#f=1")
        == parameters{{"where", "util>0.8 and zone==\"a\""}, {"limit", "3"}, {"empty", ""}});
  CHECK(*find_query("/x?a=1&a=2&b=c=d") == parameters{{"a", "2"}, {"b", "c=d"}});
  CHECK_FALSE(find_query("/x?a=%4"));
  CHECK_FALSE(find_query("/x?%zz=1"));
}
