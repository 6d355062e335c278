#include "actors/node/cluster_places.hpp"
#include "actors/node/member_fence.hpp"
#include "test/actors/node/node_fixture.hpp"

#include <algorithm>

using namespace astra;
using namespace astra::test;

namespace {

/// A node that gets members of clusters.
class cluster_fixture : public node_fixture {
public:
  static pb::AppSpec spec(bool server = false) {
    auto result = echo_spec(2);
    result.set_name("dask");
    if (server) {
      result.mutable_server()->set_path("/run");
    } else {
      auto& job = *result.mutable_per_request();
      job.add_command("job");
      job.add_command("{head_ip}:{port.http}");
      job.add_env("AT={cluster}");
      job.set_output_limit_bytes(1000);
    }
    auto& federation = *result.mutable_federation();
    federation.set_clusters(1);
    federation.set_workers(2);
    federation.add_ports("http");
    federation.add_ports("data");
    federation.set_head_lease_ms(5000);
    auto& head = *federation.mutable_head();
    head.add_command("head");
    head.add_command("--at={node_ip}:{port.http}");
    head.add_command("{scratch}");
    head.add_env("SLOT={slot}");
    head.set_ready_port("http");
    head.set_ready_timeout_ms(5000);
    head.set_stop_grace_ms(2000);
    *head.mutable_resources() = result.per_replica();
    auto& worker = *federation.mutable_worker();
    *worker.mutable_resources() = result.per_replica();
    worker.add_command("worker");
    worker.add_command("{head_ip}:{head.port.http}");
    worker.add_command("{cpus}");
    worker.set_ready_line("Registered");
    worker.set_stop_grace_ms(2000);
    set_restarts(result, 3);
    return result;
  }

  pb::ClaimResult claim_member(const pb::AppSpec& app, std::uint64_t token, std::uint32_t slot,
                               std::uint32_t member_incarnation = 1, std::uint64_t epoch = 1) {
    claim_batch batch;
    batch->set_epoch(epoch);
    *batch->mutable_spec() = app;
    auto& wanted = *batch->add_claims();
    wanted.set_token(token);
    wanted.set_node(make_node_id(options.name).value());
    wanted.set_node_incarnation(world.last_incarnation);
    wanted.set_replica_index(slot);
    auto& member = *wanted.mutable_member();
    member.set_cluster(0xabc);
    member.set_slot(slot);
    member.set_incarnation(member_incarnation);
    if (slot != 0) {
      member.set_head_host("10.0.0.7");
      auto& port = *member.add_head_ports();
      port.set_name("http");
      port.set_port(8786);
    }
    auto reply = ask<claim_reply>(node, batch);
    REQUIRE(reply);
    REQUIRE((*reply)->results_size() == 1);
    advance(50ms);
    return (*reply)->results(0);
  }

  const launch_process& launched(std::size_t i) { return world.processes.launched.at(i); }

  static bool has(const std::vector<std::string>& list, const std::string& text) {
    return std::find(list.begin(), list.end(), text) != list.end();
  }
};

} // namespace

TEST_CASE("placeholders of a head are its own, those of a worker name its head") {
  cluster_place place;
  place.node_ip = "10.0.0.1";
  place.scratch = "/tmp/x";
  auto& port = place.ports.emplace_back();
  port.set_name("s");
  port.set_port(9001);
  place.member.set_cluster(0xab);
  pb::Resources resources;
  resources.set_cpu_milli(1500);
  resources.set_memory_bytes(1000);
  auto& card = *resources.add_accelerators();
  card.set_kind("t4");
  card.set_count(2);
  auto head = placeholder_values(place, resources);
  CHECK(head.at("head_ip") == "10.0.0.1");
  CHECK(head.at("head.port.s") == "9001");
  CHECK(head.at("cpus") == "2");
  CHECK(head.at("gpus") == "2");
  CHECK(head.at("memory") == "1000");
  CHECK(head.at("cluster") == "00000000000000ab");
  place.member.set_slot(3);
  place.member.set_head_host("10.0.0.9");
  auto& head_port = *place.member.add_head_ports();
  head_port.set_name("s");
  head_port.set_port(9002);
  auto worker = placeholder_values(place, resources);
  CHECK(worker.at("head_ip") == "10.0.0.9");
  CHECK(worker.at("port.s") == "9001");
  CHECK(worker.at("head.port.s") == "9002");
  CHECK(worker.at("slot") == "3");
}

TEST_CASE("a claim of an older incarnation of a slot counts no more, unless its scheduler is a newer one") {
  member_fence fence;
  pb::ClusterMember member;
  member.set_cluster(1);
  member.set_slot(2);
  member.set_incarnation(3);
  fence.remember(5, member);
  CHECK(fence.misfit(5, member).empty());
  member.set_incarnation(2);
  CHECK(fence.misfit(5, member) == "incarnation 2 of slot 2 of its cluster is overtaken by incarnation 3");
  CHECK(fence.misfit(6, member).empty());
  member.set_slot(1);
  CHECK(fence.misfit(5, member).empty());
}

TEST_CASE_FIXTURE(cluster_fixture,
                  "a head gets ports and a directory, is ready when its port answers, and is located") {
  start_node();
  world.http_log.answer = [](const http_call&) -> caf::result<http_answer> {
    return caf::make_error(errc::unreachable, "connection refused");
  };
  REQUIRE(claim_member(spec(), 1, 0).outcome() == pb::CLAIM_CONFIRMED);
  REQUIRE(world.processes.launched.size() == 1);
  CHECK(status().state() == pb::REPLICA_WARMING);
  CHECK(status().member().cluster() == 0xabc);
  CHECK(status().host() == "node");
  REQUIRE(status().ports_size() == 2);
  auto http = std::to_string(status().ports(0).port());
  CHECK(launched(0).command[1] == "--at=node:" + http);
  CHECK(launched(0).command[2] == launched(0).scratch);
  CHECK_FALSE(launched(0).scratch.empty());
  CHECK(has(launched(0).environment, "SLOT=0"));
  CHECK(has(launched(0).environment, "PORT=" + http));
  world.http_log.answer = {};
  advance(200ms);
  CHECK(status().state() == pb::REPLICA_READY);

  // A request runs beside it.
  auto& reply = work_on("dask", 7, "1 2 3");
  REQUIRE(world.processes.launched.size() == 2);
  CHECK(launched(1).command[0] == "job");
  CHECK(launched(1).command[1] == "node:" + http);
  CHECK(has(launched(1).environment, "AT=0000000000000abc"));
  end_process(exit_with(0, "6"));
  REQUIRE(reply.done());
  CHECK(reply.body().outcome() == pb::INVOKE_OK);
  CHECK(reply.body().body() == "6");
}

TEST_CASE_FIXTURE(cluster_fixture,
                  "a head that ends has failed at once, with the work beside it, and is not restarted") {
  start_node();
  claim_member(spec(), 1, 0);
  auto& reply = work_on("dask", 7);
  end_process(exit_with(3), 1);
  CHECK(status().state() == pb::REPLICA_FAILED);
  CHECK(status().reason() == "exited with code 3; its last words: no such file");
  REQUIRE(world.processes.killed.size() == 1);
  CHECK(world.processes.killed[0].key == launched(1).key);
  process_exited killed;
  killed.end = process_end::killed;
  end_process(killed);
  REQUIRE(reply.done());
  CHECK(reply.body().outcome() == pb::INVOKE_REPLICA_LOST);
  advance(10s);
  CHECK(world.processes.launched.size() == 2);
  release("dask", 1, 0);
  CHECK(profile().replicas_size() == 0);
  CHECK(world.ports.empty());
}

TEST_CASE_FIXTURE(cluster_fixture,
                  "a worker knows its head, takes no requests, and is restarted in its place at once") {
  start_node();
  REQUIRE(claim_member(spec(), 1, 1).outcome() == pb::CLAIM_CONFIRMED);
  REQUIRE(world.processes.launched.size() == 1);
  CHECK(launched(0).command == std::vector<std::string>{"worker", "10.0.0.7:8786", "1"});
  CHECK(launched(0).ready_line == "Registered");
  CHECK(status().state() == pb::REPLICA_READY);
  CHECK(reserve_now("dask", 1).outcome() == pb::RESERVE_NO_REPLICA);
  end_process(exit_with(1));
  REQUIRE(world.processes.launched.size() == 2);
  CHECK(launched(1).command == launched(0).command);
  CHECK(status().state() == pb::REPLICA_READY);
  CHECK(status().token() == 1);
  CHECK(status().restarts() == 1);
}

TEST_CASE_FIXTURE(cluster_fixture, "a release without grace kills a member, even one that was asked to stop before") {
  start_node();
  claim_member(spec(), 1, 1);
  // The process does not heed what it is told.
  world.processes.owners.clear();
  release("dask", 1, 1000);
  REQUIRE(world.processes.killed.size() == 1);
  CHECK(world.processes.killed[0].grace == 2s);
  release("dask", 1, 0);
  REQUIRE(world.processes.killed.size() == 2);
  CHECK(world.processes.killed[1].grace == 0s);
}

TEST_CASE_FIXTURE(cluster_fixture, "an older incarnation of a slot is refused") {
  start_node();
  CHECK(claim_member(spec(), 1, 1, 2).outcome() == pb::CLAIM_CONFIRMED);
  auto refused = claim_member(spec(), 2, 1, 1);
  CHECK(refused.outcome() == pb::CLAIM_NO_ROOM);
  CHECK(claim_member(spec(), 3, 1, 1, 2).outcome() == pb::CLAIM_CONFIRMED);
}

TEST_CASE_FIXTURE(cluster_fixture, "a head whose node hears from no Resource is stopped when its lease is over") {
  start_node();
  claim_member(spec(), 1, 0);
  claim_member(spec(), 2, 1);
  advance(10s);
  CHECK(world.processes.killed.empty());
  for (auto& entry : resources)
    entry.second.silent = true;
  advance(4s);
  CHECK(world.processes.killed.empty());
  advance(2s);
  REQUIRE(world.processes.killed.size() == 1);
  CHECK(world.processes.killed[0].key == launched(0).key);
  CHECK(world.processes.killed[0].grace == 0s);
}

TEST_CASE_FIXTURE(cluster_fixture, "a head goes on with requests while its node drains, until it is released") {
  start_node();
  claim_member(spec(), 1, 0);
  place(command_spec(), 9);
  drain request;
  request->set_reason("test");
  REQUIRE(ask<drain_reply>(node, request));
  CHECK(reserve_now("ocr", 1).outcome() == pb::RESERVE_DRAINING);
  CHECK(reserve_now("dask", 2).outcome() == pb::RESERVE_GRANTED);
  send_cancel(2);
  release("dask", 1, 1000);
  CHECK(reserve_now("dask", 3).outcome() == pb::RESERVE_DRAINING);
}

TEST_CASE_FIXTURE(cluster_fixture,
                  "a head without a successor takes nothing more 20 s after its node was asked to stop") {
  start_node();
  claim_member(spec(), 1, 0);
  in_driver([this](caf::event_based_actor* self) {
    self->request(node, caf::infinite, stop_atom_v, caf::timespan{60s}).then([] {}, [](const caf::error&) {});
  });
  advance(15s);
  CHECK(reserve_now("dask", 1).outcome() == pb::RESERVE_GRANTED);
  advance(1s);
  auto& work = post_invoke("dask", 1);
  advance(6s);
  CHECK(reserve_now("dask", 2).outcome() == pb::RESERVE_DRAINING);
  CHECK_FALSE(work.done());
  end_process(exit_with(0, "6"));
  REQUIRE(work.done());
  CHECK(work.body().outcome() == pb::INVOKE_OK);
}

TEST_CASE_FIXTURE(cluster_fixture,
                  "a head has the memory of its role, and the commands beside it the rest of the claim") {
  start_node();
  auto app = spec();
  app.mutable_federation()->mutable_head()->mutable_resources()->set_memory_bytes(1 << 20);
  app.mutable_per_replica()->set_memory_bytes(7 << 20);
  app.set_concurrency(2);
  claim_member(app, 1, 0);
  work_on("dask", 7, "1 2 3");
  REQUIRE(world.processes.launched.size() == 2);
  CHECK(launched(0).memory_limit_bytes == 1 << 20);
  CHECK(launched(1).memory_limit_bytes == 3 << 20);
}

TEST_CASE_FIXTURE(cluster_fixture, "a head with mode server answers on its port 'http'") {
  start_node();
  claim_member(spec(true), 1, 0);
  CHECK(status().state() == pb::REPLICA_READY);
  auto& reply = work_on("dask", 7, "body");
  advance(50ms);
  REQUIRE(reply.done());
  CHECK(reply.body().outcome() == pb::INVOKE_OK);
  auto& call = world.http_log.calls.back();
  CHECK(call.host == "node");
  CHECK(call.port == status().ports(0).port());
  CHECK(call.target == "/run");
}
