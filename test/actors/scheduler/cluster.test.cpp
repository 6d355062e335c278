#include "actors/apps/app_registry.hpp"
#include "actors/node/node.hpp"
#include "actors/resource/resource.hpp"
#include "actors/resource/view_client.hpp"
#include "actors/scheduler/apps.hpp"
#include "test/actors/scheduler/model_cluster.hpp"
#include "test/support/actor_fixture.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

using namespace astra;
using namespace astra::test;

namespace {

/// Two Resources, four nodes and one scheduler process, all of them the real actors.
class fixture : public actor_fixture {
public:
  fixture() {
    add_builtin_apps(registry);
    for (auto& address : addresses) {
      resource_options options;
      options.name = address;
      options.peers = addresses;
      resources[address] = own(spawn_resource(sys, process(address), options));
    }
    for (auto name : {"n1", "n2", "n3", "n4"})
      start_node(name);
    advance(2s);
    view_client_options view_options;
    view_options.name = "s1";
    view_options.resources = addresses;
    view = own(spawn_view_client(sys, world, view_options));
    advance(1s);
    scheduler_options options;
    options.name = "s1";
    options.resources = addresses;
    apps = own(spawn_apps(sys, world, options, {}, view));
    advance(3s);
  }

  void start_node(const std::string& name) {
    node_options options;
    options.name = name;
    options.resources = addresses;
    options.cpu_milli = 4000;
    options.memory_bytes = 8 * gibibyte;
    auto known = worlds.find(name);
    auto& there = known == worlds.end() ? process(name + ":1") : *known->second;
    worlds[name] = &there;
    nodes[name] = own(spawn_node(sys, there, options, registry));
  }

  pb::ControlReply apply(const pb::AppSpec& spec) {
    pb::ApplyApp wish;
    *wish.mutable_spec() = spec;
    auto reply = ask<control_reply>(apps, apply_app{wish});
    REQUIRE(reply);
    return **reply;
  }

  pb::AppDetail describe(const std::string& name) {
    pb::DescribeApp question;
    question.set_app(name);
    auto reply = ask<app_detail>(apps, describe_app{question});
    REQUIRE(reply);
    return **reply;
  }

  std::string node_of(const pb::AppDetail& detail, std::uint32_t index) {
    for (auto& replica : detail.replicas())
      if (replica.index() == index && replica.state() == pb::REPLICA_READY)
        return replica.node_name();
    return {};
  }

  /// Which claim put each replica where it is.
  std::multimap<std::uint32_t, std::uint64_t> tokens_of(const pb::AppDetail& detail) {
    std::multimap<std::uint32_t, std::uint64_t> result;
    for (auto& replica : detail.replicas())
      result.emplace(replica.index(), replica.token());
    return result;
  }

  /// As many ready replicas as wanted, each index once.
  bool exact(const pb::AppDetail& detail) {
    std::vector<std::uint32_t> indices;
    for (auto& replica : detail.replicas())
      if (replica.state() == pb::REPLICA_READY)
        indices.push_back(replica.index());
    auto wanted = detail.record().spec().replicas();
    return indices.size() == wanted && static_cast<std::uint32_t>(detail.replicas_size()) == wanted
           && std::adjacent_find(indices.begin(), indices.end()) == indices.end();
  }

  const std::vector<std::string> addresses{"r1:1", "r2:1"};
  app_registry registry;
  std::map<std::string, resource_actor> resources;
  std::map<std::string, node_actor> nodes;
  std::map<std::string, fake_platform*> worlds;
  fake_platform& world = process("s1:1");
  view_source view;
  apps_actor apps;
};

} // namespace

TEST_CASE_FIXTURE(fixture, "real nodes: an applied app is ready within 1 s, on as many nodes as it has replicas") {
  CHECK(apply(small_app("echo", 4)).ok());
  advance(1s);
  auto detail = describe("echo");
  CHECK(detail.record().reason() == "");
  CHECK(detail.record().ready() == 4);
  CHECK(exact(detail));
  std::map<std::string, int> per_node;
  for (auto& replica : detail.replicas())
    ++per_node[replica.node_name()];
  CHECK(per_node.size() == 4);
}

TEST_CASE_FIXTURE(fixture, "real nodes: replicas of a killed node are ready elsewhere within 4 s") {
  apply(small_app("echo", 4));
  advance(1s);
  auto lost = node_of(describe("echo"), 0);
  REQUIRE_FALSE(lost.empty());
  kill(nodes[lost]);
  advance(4s);
  auto detail = describe("echo");
  CHECK(detail.record().ready() == 4);
  CHECK(node_of(detail, 0) != lost);
}

TEST_CASE_FIXTURE(fixture,
                  "real nodes: a drained node's replica is replaced before it goes, never fewer than 2 ready") {
  apply(small_app("echo", 2));
  advance(1s);
  auto drained = node_of(describe("echo"), 0);
  REQUIRE_FALSE(drained.empty());
  pb::Drain wish;
  wish.set_reason("maintenance");
  REQUIRE(ask<drain_reply>(nodes[drained], drain{wish}));
  for (int i = 0; i < 20; ++i) {
    advance(100ms);
    CHECK(describe("echo").record().ready() == 2);
  }
  auto detail = describe("echo");
  CHECK(exact(detail));
  CHECK(node_of(detail, 0) != drained);
}

TEST_CASE_FIXTURE(fixture, "real nodes: after the scheduler process was killed the next one adopts every replica") {
  apply(small_app("echo", 4));
  advance(1s);
  auto tokens = tokens_of(describe("echo"));
  kill(apps);
  scheduler_options options;
  options.name = "s1";
  options.resources = addresses;
  apps = own(spawn_apps(sys, world, options, {}, view));
  advance(6s);
  auto detail = describe("echo");
  CHECK(exact(detail));
  CHECK(tokens_of(detail) == tokens);
}

TEST_CASE_FIXTURE(fixture, "real nodes: killing a Resource loses no replica, and scaling works through the other") {
  apply(small_app("echo", 4));
  advance(1s);
  auto tokens = tokens_of(describe("echo"));
  network.cut.insert("r1:1");
  kill(resources["r1:1"]);
  advance(5s);
  auto detail = describe("echo");
  CHECK(exact(detail));
  CHECK(tokens_of(detail) == tokens);
  apply(small_app("echo", 8));
  advance(3s);
  detail = describe("echo");
  CHECK(detail.record().reason() == "");
  CHECK(exact(detail));
}

TEST_CASE_FIXTURE(fixture, "real nodes: a deleted app is gone within 2 s, and its place is free") {
  auto spec = small_app("echo", 4);
  spec.mutable_per_replica()->set_cpu_milli(4000);
  apply(spec);
  advance(1s);
  pb::DeleteApp wish;
  wish.set_app("echo");
  REQUIRE(ask<control_reply>(apps, delete_app{wish}));
  advance(2s);
  CHECK_FALSE(describe("echo").found());
  spec.set_name("counter");
  spec.mutable_actor()->set_type("counter");
  apply(spec);
  advance(1s);
  CHECK(exact(describe("counter")));
}
