#include "messages/wire/claim.pb.h"
#include "messages/wire/control.pb.h"
#include "messages/wire/inspection.pb.h"
#include "messages/wire/membership.pb.h"
#include "messages/wire/route.pb.h"
#include "messages/wire/transfer.pb.h"
#include "messages/wire/view.pb.h"
#include "runtime/cli/explanations.hpp"
#include "runtime/net/frame_guard.hpp"
#include "runtime/tasks/task.hpp"
#include "test/runtime/cli/command_fixture.hpp"
#include "test/runtime/cli/shell_words.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cctype>
#include <iterator>
#include <regex>
#include <set>

using namespace astra;
using test::check_line;
using test::command_fixture;

namespace {

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

bool is_explained(std::string_view topic, std::string_view word) {
  auto rows = explanations();
  return std::any_of(rows.begin(), rows.end(), [&](const auto& row) { return row.topic == topic && row.word == word; });
}

/// Every value of a Protobuf enum, without the prefix that they have in common.
void check_enum(const google::protobuf::EnumDescriptor& which, const std::string& prefix, std::string_view topic) {
  for (int i = 0; i < which.value_count(); ++i) {
    auto name = which.value(i)->name();
    REQUIRE(name.starts_with(prefix));
    name.erase(0, prefix.size());
    std::transform(name.begin(), name.end(), name.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    INFO(topic, ": ", name);
    CHECK(is_explained(topic, name));
  }
}

std::string text_of(const std::filesystem::path& path) {
  std::ifstream in{path};
  return {std::istreambuf_iterator<char>{in}, {}};
}

} // namespace

TEST_CASE("every code of an error is explained") {
  for (int i = 0; i < static_cast<int>(errc::count_); ++i) {
    auto name = to_string(static_cast<errc>(i));
    INFO(name);
    CHECK(is_explained("error", name));
  }
}

TEST_CASE("every exit code is explained") {
  for (auto code : {exit_ok, exit_failed, exit_usage, exit_not_found, exit_unreachable, exit_conflict,
                    exit_plan_changes, exit_bad_config})
    CHECK(is_explained(exit_code_topic, std::to_string(code)));
}

TEST_CASE("every state that goes over the wire is explained") {
  check_enum(*pb::Liveness_descriptor(), "LIVENESS_", "node state");
  check_enum(*pb::ReplicaState_descriptor(), "REPLICA_", "replica state");
  check_enum(*pb::ClusterState_descriptor(), "CLUSTER_", "state of a cluster of an app");
  check_enum(*pb::RolloutPhase_descriptor(), "ROLLOUT_", "update of an app");
  check_enum(*pb::ClaimOutcome_descriptor(), "CLAIM_", "outcome of a claim");
  check_enum(*pb::PlanAction_descriptor(), "PLAN_", "step of a plan");
  check_enum(*pb::ReserveOutcome_descriptor(), "RESERVE_", "answer of a node to a router");
  check_enum(*pb::InvokeOutcome_descriptor(), "INVOKE_", "outcome of a request");
  check_enum(*pb::ContentState_descriptor(), "CONTENT_", "state of a model on a node");
  check_enum(*pb::JobState_descriptor(), "JOB_", "state of a job with a model");
  check_enum(*pb::EventKind_descriptor(), "EVENT_", "event");
  check_enum(*pb::EventWitness_descriptor(), "WITNESS_", "what an event was seen by");
}

TEST_CASE("every violation of the frame guard and every state of a task is explained") {
  for (int i = 0; i < static_cast<int>(violation::count_); ++i)
    CHECK(is_explained("violation of the rules of a session", to_string(static_cast<violation>(i))));
  for (int i = 0; i <= static_cast<int>(task_state::expired); ++i)
    CHECK(is_explained("task state", to_string(static_cast<task_state>(i))));
}

TEST_CASE("every code that a source of the gateway writes is explained") {
  std::set<std::string> codes;
  // The codes stand where the answers are made: refusal(503, "unavailable", ...), error_json("lost", ...) and
  // model_refusal{"conflict", ...}, also as one of two words.
  const std::regex calls{
      R"re((?:refusal\(\s*[^,()]*,|error_json\(|(?:return|refuse\(|model_refusal)\s*\{)\s*([^,;{}]*),)re"};
  const std::regex word{R"re("([a-z]+(?:_[a-z]+)*)")re"};
  for (auto folder : {"gateway", "tasks", "metrics"})
    for (const auto& entry :
         std::filesystem::directory_iterator{std::filesystem::path{ASTRA_SOURCE_DIR} / "runtime" / folder}) {
      auto name = entry.path().filename().string();
      // These make JSON of states, not of errors.
      if (entry.path().extension() != ".cpp" || name.find("json") != std::string::npos)
        continue;
      auto text = text_of(entry.path());
      for (std::sregex_iterator call{text.begin(), text.end(), calls}, end; call != end; ++call) {
        auto argument = (*call)[1].str();
        for (std::sregex_iterator found{argument.begin(), argument.end(), word}; found != end; ++found)
          codes.insert((*found)[1].str());
      }
    }
  CHECK(codes.size() >= 20);
  // One of each way to write them.
  for (auto code : {"unavailable", "timed_out", "store_full", "other_gateway", "conflict", "forbidden"}) {
    INFO(code);
    CHECK(codes.count(code) == 1);
  }
  for (const auto& code : codes) {
    INFO(code);
    CHECK((is_explained("error", code) || is_explained("task state", code)));
  }
}

TEST_CASE_FIXTURE(command_fixture, "what an explanation tells to do is a command") {
  for (const auto& row : explanations()) {
    if (row.next.empty())
      continue;
    auto result = check_line(*this, row.next);
    INFO(row.topic, " ", row.word, ": ", row.next, ": ", result.err);
    CHECK(result.code == exit_ok);
  }
}

TEST_CASE("each word is explained once per topic, in sentences") {
  std::set<std::pair<std::string_view, std::string_view>> seen;
  for (const auto& row : explanations()) {
    INFO(row.topic, " ", row.word);
    CHECK(seen.insert({row.topic, row.word}).second);
    CHECK(row.meaning.ends_with('.'));
    CHECK((row.cause.empty() || row.cause.ends_with('.')));
  }
}

TEST_CASE_FIXTURE(command_fixture,
                  "explain tells of a word everything that it means, and of an unknown one the nearest") {
  auto found = run({"explain", "draining"});
  CHECK(found.code == exit_ok);
  for (auto topic : {"(error)", "(node state)", "(replica state)"})
    CHECK(contains(found.out, topic));
  CHECK(contains(run({"explain", "backing off"}).out, "backing_off  (replica state)"));
  CHECK(contains(run({"explain", "CLAIM_NO_ROOM"}).out, "no_room  (outcome of a claim)"));
  CHECK(contains(run({"explain", "5"}).out, "5  (exit code)"));
  CHECK(contains(run({"explain", "replica_lost"}).out, "replica_lost"));
  auto unknown = run({"explain", "satuated"});
  CHECK(unknown.code == exit_not_found);
  CHECK(unknown.err == "astra: no word 'satuated'; did you mean 'saturated'?\n");
  CHECK(run({"explain", "xyzzy"}).code == exit_not_found);
  auto all = run({"explain"});
  CHECK(all.code == exit_ok);
  for (const auto& word : explained_words())
    CHECK(contains(all.out, " " + word));
  CHECK(contains(run({"explain", "held", "-o", "json"}).out, "\"topic\": \"outcome of a claim\""));
  CHECK(calls.empty());
}
