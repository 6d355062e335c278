#include "runtime/metrics/metrics_server.hpp"

#include "runtime/http/client_info.hpp"
#include "runtime/http/fetch.hpp"
#include "test/support/actor_fixture.hpp"
#include "test/support/prometheus_text.hpp"

#include <caf/telemetry/counter.hpp>
#include <caf/telemetry/metric_registry.hpp>
#include <doctest/doctest.h>

using namespace astra;
using namespace std::chrono_literals;

namespace {

struct fixture : test::actor_fixture {
  http_answer get(std::uint16_t port, std::string method, std::string target) {
    http_call call;
    call.host = "127.0.0.1";
    call.port = port;
    call.method = std::move(method);
    call.target = std::move(target);
    call.timeout = 10s;
    auto answer = fetch(call);
    REQUIRE(answer);
    return *answer;
  }
};

class kept_exchange : public http_exchange {
public:
  explicit kept_exchange(const http_client_info& client) { put_client_info(request_.headers, client); }
  const http_request& request() const override { return request_; }
  bool answer(http_response response) override {
    status = response.status;
    return true;
  }
  http_stream_ptr begin(http_response) override { return nullptr; }
  void on_gone(std::function<void()>) override {}
  std::uint16_t status = 0;

private:
  http_request request_;
};

} // namespace

TEST_CASE_FIXTURE(fixture, "a process serves its metrics, and nothing else, at its metrics listener") {
  sys.metrics().counter_singleton("astra", "tests", "Tests.", "1", true)->inc(5);
  auto server = start_metrics_server(sys, {.listen = "127.0.0.1:0"}, nullptr);
  REQUIRE(server);
  auto port = (*server)->port();
  auto page = get(port, "GET", "/metrics?x=1");
  CHECK(page.status == 200);
  CHECK(page.content_type == "text/plain; version=0.0.4; charset=utf-8");
  test::prometheus_text read{page.body};
  CHECK_MESSAGE(read.problems.empty(), read.all_problems());
  CHECK(read.value("astra_tests_total") == "5");
  CHECK(read.value("process_cpu_seconds_total") != "");
  CHECK(read.families.count("astra_build_info") == 1);
  // CAF's own are in the same registry.
  CHECK(read.families.count("caf_system_running_actors") == 1);
  CHECK(get(port, "POST", "/metrics").status == 405);
  CHECK(get(port, "GET", "/v1/nodes").status == 404);
  CHECK(get(port, "POST", "/v1/nodes").status == 404);
}

TEST_CASE_FIXTURE(fixture, "metrics are for those who may read") {
  http_client_info stranger{http_door::tls, "192.0.2.1:1", {}, {}};
  auto refused = std::make_shared<kept_exchange>(stranger);
  answer_metrics(refused, sys);
  CHECK(refused->status == 401);
  stranger.identity = peer_identity{"prod", "prometheus", {peer_role::viewer}, {}};
  auto allowed = std::make_shared<kept_exchange>(stranger);
  answer_metrics(allowed, sys);
  CHECK(allowed->status == 200);
}
