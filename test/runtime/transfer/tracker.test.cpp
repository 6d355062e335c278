#include "runtime/transfer/tracker.hpp"

#include "messages/ids.hpp"
#include "test/support/actor_fixture.hpp"

#include <caf/typed_event_based_actor.hpp>
#include <caf/typed_response_promise.hpp>
#include <doctest/doctest.h>

#include <map>

using namespace astra;
using namespace astra::test;

namespace {

const std::string content_a(32, 'a');

/// What a node's keeper is to a tracker.
struct member_log {
  std::vector<pb::ManifestQuery> asked;
  /// Empty: it does not have it.
  std::string manifest;
};

using member_actor = manifest_source::extend<
    // Reports to a tracker.
    caf::result<swarm_answer>(swarm_report)>;

class fixture : public actor_fixture {
public:
  fixture() : tracker(own(spawn_tracker(sys, process("r1:1"), "r1"))) { run(); }

  member_actor add(const std::string& name, const std::string& manifest = {}) {
    auto& log = logs[name];
    log.manifest = manifest;
    auto result = sys.spawn([this, &log](member_actor::pointer self) -> member_actor::behavior_type {
      return {
          [&log](const manifest_query& query) {
            log.asked.push_back(*query);
            pb::ManifestPart part;
            if (query->offset() < log.manifest.size()) {
              part.set_total(log.manifest.size());
              part.set_data(log.manifest.substr(query->offset(), manifest_part_max));
            }
            return manifest_part{std::move(part)};
          },
          [this, self](const swarm_report& report) -> caf::result<swarm_answer> {
            // The tracker knows a member by who has sent the report.
            auto promise = self->make_response_promise<swarm_answer>();
            self->request(tracker, caf::infinite, report)
                .then([promise](const swarm_answer& answer) mutable { promise.deliver(answer); },
                      [promise](const caf::error& reason) mutable { promise.deliver(reason); });
            return promise;
          },
      };
    });
    return members[name] = own(result);
  }

  pb::SwarmReport report_of(const std::string& name, bool complete) {
    pb::SwarmReport report;
    report.set_member(make_node_id(name).value());
    report.set_incarnation(1);
    report.set_name(name);
    report.mutable_where()->set_address("10.0.0." + std::to_string(logs.size()));
    report.mutable_where()->set_port(6881);
    report.set_upload_wanted(1'000'000'000);
    auto& holding = *report.add_holdings();
    holding.set_address(content_a);
    holding.set_pieces(16);
    holding.set_complete(complete);
    holding.set_wants(!complete);
    return report;
  }

  pb::SwarmAnswer say(const std::string& name, const pb::SwarmReport& report) {
    auto answer = ask<swarm_answer>(members.at(name), swarm_report{report});
    REQUIRE(answer);
    return **answer;
  }

  std::string part(std::uint64_t offset, bool fresh = false) {
    pb::ManifestQuery query;
    query.set_address(content_a);
    query.set_offset(offset);
    query.set_fresh(fresh);
    auto answer = ask<manifest_part>(tracker, manifest_query{query});
    REQUIRE(answer);
    return (*answer)->total() == 0 ? "nobody" : (*answer)->data();
  }

  std::map<std::string, member_log> logs;
  std::map<std::string, member_actor> members;
  tracker_actor tracker;
};

pb::ContentName claim(const std::string& name, char content) {
  pb::ContentName result;
  result.set_name(name);
  result.set_address(std::string(32, content));
  return result;
}

} // namespace

TEST_CASE_FIXTURE(fixture, "a manifest is fetched once from a node that has it, in parts, whoever asks how often") {
  CHECK(part(0) == "nobody");
  std::string manifest(manifest_part_max + 100, 'm');
  manifest.back() = 'z';
  add("n1", manifest);
  say("n1", report_of("n1", true));
  CHECK(part(0) == manifest.substr(0, manifest_part_max));
  CHECK(part(manifest_part_max) == manifest.substr(manifest_part_max));
  CHECK(part(0) == manifest.substr(0, manifest_part_max));
  CHECK(logs["n1"].asked.size() == 2);
  // Somebody found it to be wrong.
  CHECK(part(0, true) == manifest.substr(0, manifest_part_max));
  CHECK(logs["n1"].asked.size() == 3);
  // An offset within a part is nobody's.
  pb::ManifestQuery odd;
  odd.set_address(content_a);
  odd.set_offset(7);
  CHECK_FALSE(ask<manifest_part>(tracker, manifest_query{odd}));
}

TEST_CASE_FIXTURE(fixture, "a node that lost the manifest is passed over for one that has it") {
  add("n1");
  add("n2", "manifest");
  add("n3");
  for (auto name : {"n1", "n2", "n3"})
    say(name, report_of(name, true));
  for (int i = 0; i < 3; ++i)
    CHECK(part(0, true) == "manifest");
  kill(members["n2"]);
  CHECK(part(0, true) == "nobody");
}

TEST_CASE_FIXTURE(fixture,
                  "versions are given once all names can be known, and a removed one is told to who missed it") {
  pb::NameClaim wish;
  *wish.mutable_name() = claim("ocr", 'a');
  auto early = ask<name_grant>(tracker, name_claim{wish});
  REQUIRE(early);
  CHECK((*early)->code() == "unreachable");
  add("n1");
  auto report = report_of("n1", true);
  *report.add_names() = claim("ocr", 'x');
  report.mutable_names(0)->set_version(4);
  say("n1", report);
  advance(3s);
  say("n1", report);
  advance(3s);
  say("n1", report);
  auto granted = ask<name_grant>(tracker, name_claim{wish});
  REQUIRE(granted);
  CHECK((*granted)->name().version() == 5);
  *wish.mutable_name() = claim("no such/name", 'a');
  CHECK((*ask<name_grant>(tracker, name_claim{wish}))->code() == "invalid_argument");

  report.mutable_names(0)->set_removed(true);
  say("n1", report);
  add("n2");
  auto missed = report_of("n2", false);
  *missed.add_names() = report.names(0);
  missed.mutable_names(0)->set_removed(false);
  auto answer = say("n2", missed);
  REQUIRE(answer.removed_size() == 1);
  CHECK(answer.removed(0).version() == 4);
}

TEST_CASE_FIXTURE(fixture,
                  "a limit over all nodes is divided, changed at once, and outlives a tracker in its members") {
  add("n1");
  add("n2");
  // Shares that another tracker has given may be in force for so long.
  advance(5s);
  say("n1", report_of("n1", true));
  CHECK(say("n2", report_of("n2", false)).upload_share() == 0);
  pb::SetSwarmLimit wish;
  wish.mutable_limit()->set_bytes_per_s(10'000'000);
  wish.mutable_limit()->set_revision(5);
  REQUIRE(ask<swarm_page>(tracker, set_swarm_limit{wish}));
  auto one = say("n1", report_of("n1", true));
  auto other = say("n2", report_of("n2", false));
  CHECK(one.upload_share() + other.upload_share() == 10'000'000);
  CHECK(one.share_lasts_ms() > 0);
  CHECK(one.limit().revision() == 5);
  // An older word changes nothing.
  wish.mutable_limit()->set_bytes_per_s(1);
  wish.mutable_limit()->set_revision(4);
  CHECK((*ask<swarm_page>(tracker, set_swarm_limit{wish}))->limit().bytes_per_s() == 10'000'000);

  auto next = own(spawn_tracker(sys, process("r2:1"), "r2"));
  run();
  auto report = report_of("n1", true);
  *report.mutable_limit() = one.limit();
  REQUIRE(ask<swarm_answer>(next, swarm_report{report}));
  CHECK((*ask<swarm_page>(next, swarm_query{}))->limit().bytes_per_s() == 10'000'000);
}

TEST_CASE_FIXTURE(fixture, "members meet each other, an older life is refused, and who is silent or leaves is gone") {
  add("n1");
  add("n2");
  say("n1", report_of("n1", true));
  auto told = say("n2", report_of("n2", false));
  CHECK(told.allowed_size() == 1);
  REQUIRE(told.errands_size() == 1);
  CHECK(told.errands(0).complete() == 1);
  // One of both connects: the one that reports when the other has been told of it.
  auto connects = told.errands(0).connect_size();
  for (auto name : {"n1", "n2"}) {
    auto answer = say(name, report_of(name, name == std::string{"n1"}));
    for (auto& errand : answer.errands())
      connects += errand.connect_size();
  }
  CHECK(connects == 1);
  auto page = **ask<swarm_page>(tracker, swarm_query{});
  REQUIRE(page.contents_size() == 1);
  CHECK(page.contents(0).holders_size() == 2);
  CHECK(page.members_size() == 2);

  auto newer = report_of("n1", true);
  newer.set_incarnation(2);
  say("n1", newer);
  CHECK_FALSE(ask<swarm_answer>(members["n1"], swarm_report{report_of("n1", true)}));

  auto goodbye = newer;
  goodbye.set_leaving(true);
  say("n1", goodbye);
  CHECK((**ask<swarm_page>(tracker, swarm_query{})).members_size() == 1);
  advance(7s);
  CHECK((**ask<swarm_page>(tracker, swarm_query{})).members_size() == 0);
}

TEST_CASE_FIXTURE(fixture, "a long text of a member is cut between characters: else nobody could read the page") {
  add("n1");
  auto report = report_of("n1", false);
  std::string reason = "x";
  while (reason.size() < 2000)
    reason += "\u00e9";
  report.mutable_holdings(0)->set_reason(reason);
  say("n1", report);
  auto page = **ask<swarm_page>(tracker, swarm_query{});
  REQUIRE(page.contents_size() == 1);
  CHECK(page.contents(0).holders(0).holding().reason().size() <= 512);
  pb::SwarmPage read;
  CHECK(decode(read, encode(page)));
}
