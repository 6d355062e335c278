#include "runtime/gateway/access.hpp"

#include <doctest/doctest.h>
#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>

#include <sstream>

using namespace astra;

namespace {

class silent_exchange : public http_exchange {
public:
  const http_request& request() const override { return request_; }
  bool answer(http_response) override { return ++answers == 1; }
  http_stream_ptr begin(http_response) override { return nullptr; }
  void on_gone(std::function<void()>) override {}
  int answers = 0;
  http_request request_;
};

/// Collects what is logged.
struct log_fixture {
  log_fixture() {
    auto logger = std::make_shared<spdlog::logger>("test", std::make_shared<spdlog::sinks::ostream_sink_mt>(text));
    logger->set_pattern("%v");
    spdlog::set_default_logger(logger);
  }
  ~log_fixture() { spdlog::set_default_logger(before); }

  std::shared_ptr<spdlog::logger> before = spdlog::default_logger();
  std::ostringstream text;
};

const http_client_info alice{http_door::tls, "192.0.2.7:5", peer_identity{"prod", "alice", {peer_role::operator_}, {}},
                             "ab"};

} // namespace

TEST_CASE_FIXTURE(log_fixture, "every change leaves one audit line, with who, from where, what and how it ended") {
  auto inner = std::make_shared<silent_exchange>();
  {
    auto exchange = audited(inner, alice, "apply", "ocr");
    http_response response;
    CHECK(exchange->answer(response));
    CHECK_FALSE(exchange->answer(response));
  }
  CHECK(text.str()
        == "audit.mutation who=alice roles=operator from=\"192.0.2.7:5\" what=apply object=ocr result=ok status=200\n");
}

TEST_CASE_FIXTURE(log_fixture, "the audit line has the reason that a client gives, and no more than one line of it") {
  auto inner = std::make_shared<silent_exchange>();
  inner->request_.headers = {{"astra-reason", "ticket 4711: \"du\xc3\x9f\"\n\x1b[31m\xff\xc2\x9b"}};
  audited(inner, alice, "apply", "ocr")->answer({});
  CHECK(text.str()
        == "audit.mutation who=alice roles=operator from=\"192.0.2.7:5\" what=apply object=ocr "
           "reason=\"ticket 4711: 'du\xc3\x9f'??[31m\xef\xbf\xbd?\" result=ok status=200\n");
}

TEST_CASE_FIXTURE(log_fixture, "a change that is refused, fails or is forgotten is in the audit log, too") {
  auto inner = std::make_shared<silent_exchange>();
  for (auto status : {403, 503}) {
    http_response response;
    response.status = static_cast<std::uint16_t>(status);
    audited(inner, {http_door::unix_socket, "uid=1000 pid=7", {}, {}}, "drain", "n1")->answer(response);
  }
  audited(inner, {http_door::plain, "127.0.0.1:5", {}, {}}, "delete", "x y\n\"z\" audit.mutation who=root");
  CHECK(text.str()
        == "audit.mutation who=uid=1000 from=\"uid=1000 pid=7\" what=drain object=n1 result=refused status=403\n"
           "audit.mutation who=uid=1000 from=\"uid=1000 pid=7\" what=drain object=n1 result=failed status=503\n"
           "audit.mutation who=anyone from=\"127.0.0.1:5\" what=delete object=x?y??z??audit.mutation?who=root "
           "result=dropped status=500\n");
}

TEST_CASE("who has sent a request travels with it and cannot be said by a client") {
  http_request request;
  put_client_info(request.headers, alice);
  auto read = client_info_of(request);
  CHECK(read.door == http_door::tls);
  CHECK(read.from == alice.from);
  CHECK(read.identity == alice.identity);
  CHECK(read.fingerprint == "ab");
  CHECK(client_info_of({}).door == http_door::none);
}

TEST_CASE("who may send requests may send and fetch tasks, and only who may read sees the ids of all") {
  for (auto route : {gateway_route::submit_task, gateway_route::task, gateway_route::task_result,
                     gateway_route::task_events, gateway_route::cancel_task})
    CHECK(needed_for(route) == access_right::invoke);
  CHECK(needed_for(gateway_route::tasks) == access_right::read);
  http_client_info stranger{http_door::tls, "192.0.2.7:5", {}, {}};
  CHECK_FALSE(refuse_access(stranger, needed_for(gateway_route::submit_task), true));
  CHECK(refuse_access(stranger, needed_for(gateway_route::tasks), true)->status == 401);
}
