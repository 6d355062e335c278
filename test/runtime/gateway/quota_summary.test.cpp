#include "runtime/gateway/quota_summary.hpp"

#include "actors/resource/cluster_view.hpp"
#include "runtime/gateway/quota_waits.hpp"

#include <doctest/doctest.h>

using namespace astra;
using namespace std::chrono_literals;

namespace {

pb::ResourceReport report_of(const std::string& name, const std::string& group = "main") {
  pb::ResourceReport report;
  report.set_name(name);
  report.set_resource(make_resource_id(name).value());
  report.set_group(group);
  report.add_shards()->set_name(name);
  return report;
}

pb::QuotaReport& quota_in(pb::ResourceReport& report, const std::string& keeper, std::uint32_t limit_milli,
                          std::uint32_t in_use_milli = 0, std::uint32_t given_milli = 0) {
  auto& quota = *report.add_quotas();
  quota.set_business("media");
  quota.set_keeper(keeper);
  quota.mutable_limit()->set_cpu_milli(limit_milli);
  quota.mutable_in_use()->set_cpu_milli(in_use_milli);
  quota.mutable_given_out()->set_cpu_milli(given_milli);
  quota.mutable_lease()->set_cpu_milli(given_milli);
  return quota;
}

std::string reason_of(const std::vector<pb::ResourceReport>& reports, std::size_t configured,
                      std::map<std::string, std::vector<std::string>> silent = {}) {
  auto rows = summarise_quotas({reports, {{"main", configured}}, std::move(silent)}, {});
  REQUIRE(rows.size() == 1);
  return rows.front().reason;
}

app_entry waiting_app(std::uint32_t pending) {
  app_entry entry;
  entry.record.mutable_spec()->set_name("ocr");
  entry.record.mutable_spec()->set_business("media");
  entry.record.set_pending(pending);
  entry.record.set_reason(pending > 0 ? "4 not placed: quota of [[resource.quotas]]" : "");
  return entry;
}

} // namespace

TEST_CASE("of several Resources use is the largest, what was given out and leases add up, and the rest is left") {
  auto one = report_of("main-1");
  auto two = report_of("main-2");
  auto& first = quota_in(one, "main-2", 16'000, 6000, 1000);
  auto& second = quota_in(two, "main-2", 16'000, 8000, 2000);
  first.mutable_limit()->set_memory_bytes(4096);
  second.mutable_limit()->set_memory_bytes(4096);
  auto& cards = *first.mutable_limit()->add_accelerators();
  cards.set_kind("t4");
  cards.set_count(2);
  *second.mutable_limit()->add_accelerators() = cards;
  auto rows = summarise_quotas({{one, two}, {{"main", 2}}, {}}, {});
  REQUIRE(rows.size() == 1);
  auto& row = rows.front();
  CHECK(row.business == "media");
  CHECK(row.group == "main");
  CHECK(row.keeper == "main-2");
  CHECK(row.reason.empty());
  CHECK(row.used_up().empty());
  REQUIRE(row.dimensions.size() == 3);
  auto& cpu = row.dimensions[0];
  CHECK(cpu.name == "cpu");
  CHECK(cpu.limit == 16'000);
  CHECK(cpu.in_use == 8000);
  CHECK(cpu.given_out == 3000);
  CHECK(cpu.leased == 3000);
  CHECK(cpu.left() == 5000);
  CHECK(row.dimensions[1].name == "memory");
  CHECK(row.dimensions[2].name == "t4");
  CHECK(row.dimensions[2].left() == 2);
}

TEST_CASE("a quota that is used up says who waits for it and for how long") {
  auto one = report_of("main-1");
  quota_in(one, "main-1", 16'000, 16'000);
  auto rows =
      summarise_quotas({{one}, {{"main", 1}}, {}}, {{"media", {{"ocr", 3, 32s, "why"}, {"tts", 1, 3min, "why"}}}});
  CHECK(rows.front().reason == "cpu used up: 4 replicas wait (3 of ocr for 32 s, 1 of tts for 3 min)");
  CHECK(rows.front().used_up() == std::vector<std::string>{"cpu"});
  CHECK(reason_of({one}, 1) == "cpu used up");
}

TEST_CASE("replicas that wait although something is left are told with the words of their scheduler") {
  auto one = report_of("main-1");
  quota_in(one, "main-1", 16'000, 14'000);
  auto rows = summarise_quotas({{one}, {{"main", 1}}, {}}, {{"media", {{"ocr", 1, 5s, "4 cores are needed"}}}});
  CHECK(rows.front().reason == "1 replica waits (1 of ocr for 5 s): 4 cores are needed");
}

TEST_CASE("a limit below what runs is told as that") {
  auto one = report_of("main-1");
  quota_in(one, "main-1", 8000, 12'000);
  CHECK(reason_of({one}, 1)
        == "12 of 8 cores in use, which is over the limit: what runs stays, and nothing new starts; cpu used up");
}

TEST_CASE("without a keeper the reason counts the Resources, and of two it names the cure") {
  auto one = report_of("main-1");
  quota_in(one, "", 8000);
  CHECK(reason_of({one}, 2, {{"main", {"main-2"}}})
        == "no Resource keeps it, so nothing new is given out: main-1 hears 1 of 2 Resources, and a majority of 2 "
           "decides; with two Resources quotas need both: start the other one again, or run three Resources, or one; "
           "without the word of main-2, which does not answer");
  // They answer the gateway, and do not hear each other.
  auto& lost = *one.add_shards();
  lost.set_name("main-2");
  lost.set_lost(true);
  auto two = report_of("main-2");
  quota_in(two, "", 8000);
  CHECK(reason_of({one, two}, 2).find("main-1 hears 1 of 2 Resources") != std::string::npos);
  CHECK(reason_of({one}, 3).find("with two Resources") == std::string::npos);
  // They have just started.
  auto fresh = report_of("main-1");
  quota_in(fresh, "", 8000);
  CHECK(reason_of({fresh}, 1).find("no Resource keeps it now") == 0);
}

TEST_CASE("Resources that disagree are named with what each says, and the keeper's limit counts") {
  auto one = report_of("main-1");
  auto two = report_of("main-2");
  auto three = report_of("main-3");
  auto four = report_of("main-4");
  quota_in(one, "main-1", 16'000);
  quota_in(two, "main-1", 8000);
  quota_in(three, "main-1", 16'000);
  auto rows = summarise_quotas({{one, two, three, four}, {{"main", 4}}, {}}, {});
  CHECK(rows.front().dimensions.front().limit == 16'000);
  CHECK(rows.front().reason
        == "Resources disagree: main-4 has no quota for it; main-1, main-3 say 16 cores, main-2 says 8; give all of a "
           "group the same [[resource.quotas]]");
  two.mutable_quotas(0)->mutable_limit()->Clear();
  two.mutable_quotas(0)->mutable_limit()->set_memory_bytes(1);
  CHECK(reason_of({one, two}, 2).find("main-1 says 16 cores, main-2 says no limit of cpu") != std::string::npos);
}

TEST_CASE("each Resource group has quotas of its own") {
  auto one = report_of("main-1");
  auto other = report_of("vision-1", "vision");
  quota_in(other, "vision-1", 4000);
  quota_in(one, "main-1", 8000);
  auto rows = summarise_quotas({{other, one}, {{"main", 1}, {"vision", 1}}, {{"vision", {"vision-2"}}}}, {});
  REQUIRE(rows.size() == 2);
  CHECK(rows[0].group == "main");
  CHECK(rows[0].reason.empty());
  CHECK(rows[1].group == "vision");
  CHECK(rows[1].dimensions.front().limit == 4000);
  CHECK(rows[1].reason == "without the word of vision-2, which does not answer");
}

TEST_CASE("an app waits from its first record that says so, and a moment of asking again does not end it") {
  quota_waits waits;
  auto t = quota_waits::time_point{} + 1h;
  auto waiting = waiting_app(4);
  auto asking = waiting_app(0);
  waits.note("ocr", &waiting, t);
  waits.note("ocr", &asking, t + 10s);
  auto told = waits.waiting(t + 11s);
  REQUIRE(told["media"].size() == 1);
  CHECK(told["media"].front().app == "ocr");
  CHECK(told["media"].front().replicas == 4);
  CHECK(told["media"].front().lasts == 11s);
  waits.note("ocr", &waiting, t + 11s);
  CHECK(waits.waiting(t + 20s)["media"].front().lasts == 20s);
  waits.note("ocr", &asking, t + 20s);
  CHECK(waits.waiting(t + 23s).empty());
  // It waits anew.
  waits.note("ocr", &waiting, t + 30s);
  CHECK(waits.waiting(t + 31s)["media"].front().lasts == 1s);
  waits.note("ocr", nullptr, t + 32s);
  CHECK(waits.waiting(t + 32s).empty());
}

TEST_CASE("what waits for room, and not for a quota, does not count") {
  quota_waits waits;
  auto entry = waiting_app(2);
  entry.record.set_reason("2 not placed: needs 4 cores, 1.5 free");
  waits.note("ocr", &entry, {});
  CHECK(waits.waiting({}).empty());
}
