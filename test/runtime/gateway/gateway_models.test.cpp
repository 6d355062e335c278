#include "messages/transfer.hpp"
#include "messages/transfer_protocol.hpp"
#include "runtime/gateway/gateway_actor.hpp"
#include "runtime/http/client_info.hpp"
#include "test/runtime/gateway/recorded_exchange.hpp"
#include "test/support/actor_fixture.hpp"

#include <caf/event_based_actor.hpp>
#include <caf/typed_event_based_actor.hpp>
#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

using namespace astra;
using namespace std::chrono_literals;
using nlohmann::json;
using test::recorded_exchange;
using exchange_ptr = std::shared_ptr<recorded_exchange>;

namespace {

const std::string address(32, '\x0a');

/// A gateway of two Resources with a tracker beside each, and nodes n1, n2, n3 with keepers of contents.
struct fixture : test::actor_fixture {
  fixture() : world(process("127.0.0.1:1")) {
    view = own(sys.spawn([this](view_source::pointer self) -> view_source::behavior_type {
      return {[this, self](const subscribe&) {
        subscriber = caf::actor_cast<view_subscriber>(self->current_sender());
        return subscribe_ack{};
      }};
    }));
    gateway_setup setup;
    setup.name = "gw";
    setup.view = view;
    setup.resources = {"r1:1", "r2:1"};
    setup.start_router = [](const std::string&) { return router_actor{}; };
    gateway = own(spawn_gateway_actor(sys, world, std::move(setup)));
    run();
    for (auto tracker : {"r1", "r2"})
      serve_tracker(tracker);
    for (auto node : {"n1", "n2", "n3"}) {
      serve_keeper(node);
      auto& member = *pages["r1"].add_members();
      member.set_name(node);
      member.set_process(std::string{node} + ":1");
      member.set_machine(std::string{"m-"} + node);
    }
    auto& name = *pages["r2"].add_names();
    name.set_name("llama");
    name.set_version(3);
    name.set_address(address);
    name.set_size(1000);
    auto& content = *pages["r1"].add_contents();
    content.set_address(address);
    content.set_complete(1);
    for (auto node : {"n1", "n2"}) {
      auto& holder = *content.add_holders();
      holder.set_node(node);
      holder.mutable_holding()->set_bytes_done(1000);
      holder.mutable_holding()->set_complete(true);
      holder.mutable_holding()->set_state(pb::CONTENT_READY);
    }
  }

  void serve_tracker(const std::string& name) {
    auto tracker = own(sys.spawn([this, name](tracker_actor::pointer) -> tracker_actor::behavior_type {
      return {
          [](const manifest_query&) { return manifest_part{}; },
          [](const swarm_report&) { return swarm_answer{}; },
          [](const name_claim&) { return name_grant{}; },
          [this, name](const swarm_query& query) {
            queries.push_back(*query);
            return swarm_page{pages[name]};
          },
          [this, name](const set_swarm_limit& wish) {
            limits.push_back(*wish);
            *pages[name].mutable_limit() = wish->limit();
            return swarm_page{pages[name]};
          },
      };
    }));
    network.services[{name + ":1", tracker_service}] = caf::actor_cast<caf::strong_actor_ptr>(tracker);
  }

  void serve_keeper(const std::string& node) {
    auto keeper = own(sys.spawn([this, node](caf::event_based_actor*) -> caf::behavior {
      return {
          [this, node](const content_order& order) {
            orders.emplace_back(node, *order);
            return content_reply{replies[node]};
          },
      };
    }));
    network.services[{node + ":1", content_service(node)}] = caf::actor_cast<caf::strong_actor_ptr>(keeper);
  }

  exchange_ptr call(std::string method, std::string target, std::string body = {}) {
    http_request request;
    request.method = std::move(method);
    request.target = std::move(target);
    request.body = std::make_shared<const std::string>(std::move(body));
    put_client_info(request.headers, client);
    auto exchange = std::make_shared<recorded_exchange>(std::move(request));
    caf::anon_send(gateway, http_exchange_ptr{exchange});
    run();
    for (int i = 0; i < 100 && exchange->answers.empty(); ++i)
      advance(100ms);
    REQUIRE(exchange->answers.size() == 1);
    return exchange;
  }

  int status_of(const exchange_ptr& exchange) { return exchange->answers.at(0).status; }

  pb::ContentJob& job_of(const std::string& node, std::uint64_t id) {
    auto& job = *replies[node].mutable_job();
    job.set_id(id);
    return job;
  }

  test::fake_platform& world;
  view_source view;
  view_subscriber subscriber;
  http_client_info client{http_door::plain, "127.0.0.1:1", {}, {}};
  gateway_actor gateway;
  std::map<std::string, pb::SwarmPage> pages;
  std::map<std::string, pb::ContentReply> replies;
  std::vector<pb::SwarmQuery> queries;
  std::vector<pb::SetSwarmLimit> limits;
  std::vector<std::pair<std::string, pb::ContentOrder>> orders;
};

} // namespace

TEST_CASE_FIXTURE(fixture, "models are listed from all trackers; one that is silent is named, and none is 503") {
  auto all = call("GET", "/v1/models");
  CHECK(status_of(all) == 200);
  CHECK(queries.size() == 2);
  CHECK(all->body()["models"][0]["name"] == "llama");
  CHECK(all->body()["models"][0]["complete"] == 1);
  CHECK(all->body()["members"] == 3);
  CHECK(all->body()["unreachable"].empty());
  network.cut.insert("r1:1");
  auto part = call("GET", "/v1/models");
  CHECK(status_of(part) == 200);
  REQUIRE(part->body()["unreachable"].size() == 1);
  CHECK(part->body()["unreachable"][0]["address"] == "r1:1");
  network.cut.insert("r2:1");
  auto none = call("GET", "/v1/models");
  CHECK(status_of(none) == 503);
  CHECK(none->code() == "unavailable");
  CHECK(none->header("Retry-After") == "1");
  CHECK(none->message().find("r2:1") != std::string::npos);
}

TEST_CASE_FIXTURE(fixture, "one model is shown with its holders, a misspelt one is 404 with what was meant") {
  auto shown = call("GET", "/v1/models/llama%403");
  CHECK(status_of(shown) == 200);
  CHECK(shown->body()["versions"][0]["holders"].size() == 2);
  auto missing = call("GET", "/v1/models/lama");
  CHECK(status_of(missing) == 404);
  CHECK(missing->code() == "unknown_name");
  CHECK(missing->message() == "no model 'lama'; did you mean 'llama'?");
  CHECK(status_of(call("GET", "/v1/models/llama@x")) == 400);
}

TEST_CASE_FIXTURE(fixture, "publishing goes to the node on the caller's machine, and answers with the job to follow") {
  job_of("n2", 7);
  auto begun =
      call("POST", "/v1/models/llama", R"({"path": "/data", "machine": "m-n2", "pin": true, "origin": "http://x/y"})");
  CHECK(status_of(begun) == 202);
  CHECK(begun->body() == json{{"node", "n2"}, {"job", "n2:7"}});
  CHECK(begun->header("Location") == "/v1/model-jobs/n2:7");
  REQUIRE(orders.size() == 1);
  CHECK(orders[0].first == "n2");
  CHECK(orders[0].second.verb() == pb::CONTENT_PUBLISH);
  CHECK(orders[0].second.name().name() == "llama");
  CHECK(orders[0].second.name().origin() == "http://x/y");
  CHECK(orders[0].second.path() == "/data");
  CHECK(orders[0].second.pin());
  CHECK(orders[0].second.origin() == "anyone (127.0.0.1:1) at gateway gw");
  auto nowhere = call("POST", "/v1/models/llama", R"({"path": "/data", "machine": "other"})");
  CHECK(status_of(nowhere) == 409);
  CHECK(nowhere->message().find("name that node with --node") != std::string::npos);
  auto unknown = call("POST", "/v1/models/llama", R"({"path": "/data", "node": "n22"})");
  CHECK(status_of(unknown) == 404);
  CHECK(unknown->code() == "unknown_node");
  replies["n1"].set_code("invalid_argument");
  replies["n1"].set_reason("no such directory");
  auto refused = call("POST", "/v1/models/llama", R"({"path": "/data", "node": "n1"})");
  CHECK(status_of(refused) == 400);
  CHECK(refused->message() == "node 'n1' does not publish it: no such directory");
  network.cut.insert("n3:1");
  auto away = call("POST", "/v1/models/llama", R"({"path": "/data", "node": "n3"})");
  CHECK(status_of(away) == 503);
  CHECK(away->code() == "unreachable");
}

TEST_CASE_FIXTURE(fixture, "a fetch names the job of each node or why it refuses, and fails when all refuse") {
  job_of("n1", 4).set_state(pb::JOB_DONE);
  job_of("n3", 5);
  replies["n2"].set_code("conflict");
  replies["n2"].set_reason("no room");
  auto begun = call("POST", "/v1/models/llama/fetch", R"({"all": true, "pin": true})");
  CHECK(status_of(begun) == 202);
  REQUIRE(begun->body()["nodes"].size() == 3);
  CHECK(begun->body()["version"] == 3);
  CHECK(begun->body()["nodes"][0] == json{{"node", "n1"}, {"state", "done"}, {"job", "n1:4"}, {"reason", ""}});
  CHECK(begun->body()["nodes"][1]
        == json{{"node", "n2"}, {"state", "failed"}, {"code", "conflict"}, {"reason", "no room"}});
  CHECK(begun->body()["nodes"][2]["job"] == "n3:5");
  REQUIRE(orders.size() == 3);
  CHECK(orders[2].second.verb() == pb::CONTENT_FETCH);
  CHECK(orders[2].second.name().address() == address);
  CHECK(orders[2].second.pin());
  auto refused = call("POST", "/v1/models/llama@3/fetch", R"({"nodes": ["n2"]})");
  CHECK(status_of(refused) == 409);
  CHECK(refused->message() == "no node begins to fetch it; node 'n2': no room");
  CHECK(status_of(call("POST", "/v1/models/llama/fetch", R"({"nodes": ["n9"]})")) == 404);
  CHECK(status_of(call("POST", "/v1/models/llama/fetch", R"({"count": 4})")) == 409);
}

TEST_CASE_FIXTURE(fixture, "verify and pin go to all holders, or to those that are named") {
  job_of("n1", 1);
  job_of("n2", 2);
  CHECK(status_of(call("POST", "/v1/models/llama/verify")) == 202);
  CHECK(orders.size() == 2);
  CHECK(orders[0].second.verb() == pb::CONTENT_VERIFY);
  orders.clear();
  replies.clear();
  auto pinned = call("POST", "/v1/models/llama/pin", R"({"pinned": false, "nodes": ["n2"]})");
  CHECK(status_of(pinned) == 200);
  CHECK(pinned->body()["nodes"] == json::array({{{"node", "n2"}, {"state", "done"}, {"reason", ""}}}));
  REQUIRE(orders.size() == 1);
  CHECK(orders[0].second.verb() == pb::CONTENT_UNPIN);
}

TEST_CASE_FIXTURE(fixture, "a removal goes to all holders, and tells what each freed or why its files stay") {
  replies["n2"].set_reason("2 replicas use it");
  auto gone = call("DELETE", "/v1/models/llama@3");
  CHECK(status_of(gone) == 200);
  CHECK(gone->body()["nodes"][0] == json{{"node", "n1"}, {"state", "freed"}, {"freed_bytes", 1000}, {"reason", ""}});
  CHECK(gone->body()["nodes"][1]
        == json{{"node", "n2"}, {"state", "stays"}, {"freed_bytes", 0}, {"reason", "2 replicas use it"}});
  CHECK(orders.size() == 2);
  CHECK(orders[0].second.verb() == pb::CONTENT_REMOVE);
  CHECK(orders[0].second.name().version() == 3);
  CHECK(status_of(call("DELETE", "/v1/models/llama")) == 400);
  // Nobody holds it: two are told nevertheless.
  pages["r1"].clear_contents();
  orders.clear();
  CHECK(call("DELETE", "/v1/models/llama@3")->body()["nodes"].empty());
  CHECK(orders.size() == 2);
  network.cut = {"n1:1", "n2:1"};
  CHECK(status_of(call("DELETE", "/v1/models/llama@3")) == 503);
}

TEST_CASE_FIXTURE(fixture, "a job is asked for at its node, and of many each tells or says why it cannot") {
  auto& job = job_of("n1", 7);
  job.set_verb(pb::CONTENT_FETCH);
  job.set_bytes_done(250);
  job.set_bytes_total(1000);
  job.set_eta_ms(3000);
  auto one = call("GET", "/v1/model-jobs/n1:7");
  CHECK(status_of(one) == 200);
  CHECK(one->body()["id"] == "n1:7");
  CHECK(one->body()["state"] == "running");
  CHECK(one->body()["verb"] == "fetch");
  CHECK(one->body()["eta_ms"] == 3000);
  REQUIRE(orders.size() == 1);
  CHECK(orders[0].second.verb() == pb::CONTENT_JOB);
  CHECK(orders[0].second.job() == 7);
  replies["n2"].set_code("unknown_name");
  replies["n2"].set_reason("no such job");
  auto unknown = call("GET", "/v1/model-jobs/n2:1");
  CHECK(status_of(unknown) == 404);
  network.cut.insert("n3:1");
  auto many = call("GET", "/v1/model-jobs?id=n1:7,n2:1,n3:1,n9:1")->body()["jobs"];
  REQUIRE(many.size() == 4);
  CHECK(many[0]["bytes_done"] == 250);
  CHECK(many[1]["state"] == "unknown");
  CHECK(many[1]["code"] == "unknown_name");
  CHECK(many[2]["code"] == "unreachable");
  CHECK(many[3]["reason"] == "no tracker knows where its process is");
}

TEST_CASE_FIXTURE(fixture, "the address of a node in view is known without asking the trackers") {
  pb::ViewDelta delta;
  delta.set_origin(make_resource_id("r1").value());
  delta.set_origin_name("r1");
  delta.set_epoch(1);
  delta.set_version(1);
  auto& node = *delta.add_nodes();
  node.set_node(make_node_id("n1").value());
  node.set_incarnation(1);
  node.set_liveness(pb::LIVENESS_ONLINE);
  node.mutable_profile()->set_name("n1");
  node.mutable_profile()->set_address("n1:1");
  caf::anon_send(gateway, view_delta{std::move(delta)});
  run();
  job_of("n1", 7);
  CHECK(status_of(call("GET", "/v1/model-jobs/n1:7")) == 200);
  CHECK(queries.empty());
}

TEST_CASE_FIXTURE(fixture, "a limit goes to every tracker with the time of day as its revision") {
  auto set = call("PUT", "/v1/model-limit", R"({"bytes_per_s": 1000000})");
  CHECK(status_of(set) == 200);
  CHECK(set->body()["bytes_per_s"] == 1000000);
  REQUIRE(limits.size() == 2);
  CHECK(limits[0].limit().revision() == limits[1].limit().revision());
  CHECK(limits[0].limit().revision() >= 1'700'000'000'000);
  auto shown = call("GET", "/v1/model-limit");
  CHECK(shown->body()["bytes_per_s"] == 1000000);
  CHECK(queries.back().names_only());
  auto nodes = call("GET", "/v1/model-nodes");
  CHECK(status_of(nodes) == 200);
  CHECK(nodes->body()["nodes"].size() == 3);
}

TEST_CASE_FIXTURE(fixture, "a viewer reads models and changes none") {
  client = {http_door::tls, "192.0.2.7:5", peer_identity{"prod", "wall", {peer_role::viewer}, {}}, "ab"};
  CHECK(status_of(call("GET", "/v1/models")) == 200);
  CHECK(status_of(call("GET", "/v1/model-limit")) == 200);
  for (auto [method, target] : {std::pair{"POST", "/v1/models/llama"}, std::pair{"POST", "/v1/models/llama/fetch"},
                                std::pair{"POST", "/v1/models/llama/verify"}, std::pair{"POST", "/v1/models/llama/pin"},
                                std::pair{"DELETE", "/v1/models/llama@3"}, std::pair{"PUT", "/v1/model-limit"}}) {
    CAPTURE(target);
    CHECK(status_of(call(method, target)) == 403);
  }
  CHECK(orders.empty());
}
