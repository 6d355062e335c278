#include "test/runtime/sim/checks/staged_history.hpp"

namespace astra::sim::test {
namespace {

struct claims_fixture : staged_history {
  using staged_history::staged_history;

  machine_id scheduling = machine("scheduler-1", {process_role::scheduler});
  machine_id arbiter = machine("resource-1", {process_role::resource});
  machine_id worker = machine("node-1", {process_role::node});
  machine_id other_worker = machine("node-2", {process_role::node});
  std::uint64_t scheduler = actor(scheduling, "scheduler");
  std::uint64_t resource = actor(arbiter, "resource");
  std::uint64_t node = actor(worker, "node");
  std::uint64_t other_node = actor(other_worker, "node");

  /// From the scheduler to the node, as the Resource passes it on.
  void claim(std::uint64_t epoch, std::uint64_t token, pb::ClaimOutcome outcome = pb::CLAIM_CONFIRMED) {
    auto batch = claims_of("ocr", epoch, facts(worker), {token});
    tell(scheduler, resource, batch);
    tell(resource, node, batch);
    tell(node, resource, answer_of({token}, outcome));
  }
};

struct one_holder_fixture : claims_fixture {
  one_holder_fixture() : claims_fixture("one-holder") {}
};

TEST_CASE_FIXTURE(one_holder_fixture, "one-holder: a token that its node holds is well, told twice too") {
  claim(1, 7);
  claim(1, 7);
  tell(node, resource, profile_of(facts(worker), 1, {{"ocr", 7}}));
  CHECK(failure() == "");
}

TEST_CASE_FIXTURE(one_holder_fixture, "one-holder: a token at another node is a second holder") {
  claim(1, 7);
  tell(other_node, resource, profile_of(facts(other_worker), 1, {{"ocr", 7}}));
  CHECK(!good());
}

TEST_CASE_FIXTURE(one_holder_fixture, "one-holder: a token that survives its node's incarnation is a second holder") {
  claim(1, 7);
  tell(node, resource, profile_of(facts(worker), 1, {{"ocr", 7}}, 2));
  CHECK(!good());
}

TEST_CASE_FIXTURE(one_holder_fixture, "one-holder: a token is never used for two claims") {
  claim(1, 7);
  tell(scheduler, resource, claims_of("ocr", 1, facts(other_worker), {7}));
  CHECK(!good());
}

TEST_CASE_FIXTURE(one_holder_fixture, "one-holder: nobody runs what was not claimed") {
  tell(node, resource, profile_of(facts(worker), 1, {{"ocr", 9}}));
  CHECK(!good());
}

struct fenced_fixture : claims_fixture {
  fenced_fixture() : claims_fixture("fenced-epoch") {}
};

TEST_CASE_FIXTURE(fenced_fixture, "fenced-epoch: a newer epoch goes on, an older one is refused") {
  claim(2, 7);
  tell(resource, node, claims_of("ocr", 1, facts(worker), {5}));
  CHECK(!good()); // the Resource passes it on although it knows better
}

TEST_CASE_FIXTURE(fenced_fixture, "fenced-epoch: a node that refuses the older epoch is well") {
  tell(resource, node, claims_of("ocr", 2, facts(worker), {7}));
  tell(node, resource, answer_of({7}));
  tell(resource, node, claims_of("ocr", 1, facts(worker), {5}));
  tell(node, resource, answer_of({5}, pb::CLAIM_FENCED));
  tell(resource, node, claims_of("burn", 1, facts(worker), {6}));
  tell(node, resource, answer_of({6}));
  CHECK(failure() == "");
}

TEST_CASE_FIXTURE(fenced_fixture, "fenced-epoch: a node that confirms the older epoch is not") {
  tell(resource, node, claims_of("ocr", 2, facts(worker), {7}));
  tell(node, resource, answer_of({7}));
  tell(resource, node, claims_of("ocr", 1, facts(worker), {5}));
  CHECK(good());
  tell(node, resource, answer_of({5}));
  CHECK(!good());
}

TEST_CASE_FIXTURE(fenced_fixture, "fenced-epoch: a release fences too, and a stale one is not obeyed") {
  tell(resource, node, release_of("ocr", 3, 1));
  tell(resource, node, release_of("ocr", 2, 7));
  log(worker, "node.release node=node-1 app=ocr replica=7 token=0000000000000007 known=false reason=\"\"");
  CHECK(failure() == "");
  tell(resource, node, release_of("ocr", 2, 7));
  log(worker, "node.release node=node-1 app=ocr replica=7 token=0000000000000007 known=true reason=\"\"");
  CHECK(!good());
}

struct released_fixture : claims_fixture {
  released_fixture() : claims_fixture("released-token") {}
};

TEST_CASE_FIXTURE(released_fixture, "released-token: a release that overtook its claim buries it") {
  tell(resource, node, release_of("ocr", 1, 7));
  claim(1, 7, pb::CLAIM_NO_ROOM);
  claim(1, 8);
  CHECK(failure() == "");
  claim(1, 7);
  CHECK(!good());
}

TEST_CASE_FIXTURE(released_fixture, "released-token: a release of a fenced epoch buries nothing") {
  claim(2, 7);
  tell(resource, node, release_of("ocr", 1, 7));
  claim(2, 7);
  CHECK(failure() == "");
}

struct answered_fixture : claims_fixture {
  answered_fixture() : claims_fixture("claims-answered") {}
};

TEST_CASE_FIXTURE(answered_fixture, "claims-answered: each claim of a batch has its result") {
  tell(resource, node, claims_of("ocr", 1, facts(worker), {7, 8}));
  tell(node, resource, answer_of({7, 8}));
  CHECK(failure() == "");
  tell(resource, node, claims_of("ocr", 1, facts(worker), {9, 10}));
  tell(node, resource, answer_of({9}));
  CHECK(!good());
}

} // namespace
} // namespace astra::sim::test
