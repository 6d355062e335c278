#include "actors/scheduler/standby.hpp"

#include "actors/resource/scheduler_table.hpp"
#include "actors/scheduler/apps.hpp"
#include "actors/scheduler/claim_chain.hpp"
#include "actors/scheduler/claim_memory.hpp"
#include "test/actors/scheduler/fake_shard.hpp"
#include "test/support/actor_fixture.hpp"

#include <doctest/doctest.h>

#include <algorithm>

using namespace astra;
using namespace astra::test;

namespace {

pb::SchedulerRow process_row(const std::string& name, pb::Liveness liveness, bool standby = false) {
  pb::SchedulerRow row;
  row.set_scheduler(make_scheduler_id(name).value());
  row.set_name(name);
  row.set_address(name + ":1");
  row.set_liveness(liveness);
  row.set_standby(standby);
  return row;
}

pb::AppRecord record_of(const std::string& app, const std::string& process, std::uint64_t epoch = 7) {
  pb::AppRecord record;
  *record.mutable_spec() = small_app(app, 1);
  record.set_scheduler(make_scheduler_id(process).value());
  record.set_epoch(epoch);
  return record;
}

/// A view of these processes and apps.
class board {
public:
  std::map<std::string, pb::SchedulerRow> processes;
  std::vector<pb::AppRecord> apps;
  cluster_view view;

  const cluster_view& show() {
    pb::ViewDelta delta;
    delta.set_origin(1);
    delta.set_epoch(1);
    delta.set_version(++version_);
    for (auto& [name, row] : processes)
      *delta.add_schedulers() = row;
    for (auto& record : apps)
      *delta.add_apps() = record;
    view_changes changes;
    view.apply(delta, {}, changes);
    return view;
  }

private:
  std::uint64_t version_ = 0;
};

const std::chrono::steady_clock::time_point t0{1h};

/// Asks every 200 ms until `end`; when the first app was due.
std::optional<std::chrono::milliseconds> first_due(standby_watch& watch, const cluster_view& view,
                                                   std::chrono::milliseconds begin, std::chrono::milliseconds end) {
  for (auto at = begin; at <= end; at += 200ms)
    if (!watch.due(view, t0 + at).empty())
      return at;
  return std::nullopt;
}

/// Revisions with these notes.
std::vector<pb::AppRevision> history_of(const std::vector<std::string>& notes) {
  std::vector<pb::AppRevision> result;
  for (auto& note : notes)
    result.emplace_back().set_note(note);
  return result;
}

} // namespace

TEST_CASE("the apps of a process that is gone for takeover_after are due, those of others never") {
  board shown;
  shown.processes["s1"] = process_row("s1", pb::LIVENESS_ONLINE);
  shown.processes["s2"] = process_row("s2", pb::LIVENESS_ONLINE, true);
  shown.processes["s3"] = process_row("s3", pb::LIVENESS_SUSPECT);
  shown.apps = {record_of("ocr", "s1"), record_of("echo", "s3"), record_of("own", "s2")};
  standby_watch watch{"s2", 1s};
  CHECK_FALSE(first_due(watch, shown.show(), 0ms, 10s));
  shown.processes["s1"] = process_row("s1", pb::LIVENESS_OFFLINE);
  CHECK(first_due(watch, shown.show(), 10s, 20s) == 11s);
  auto due = watch.due(shown.view, t0 + 11200ms);
  REQUIRE(due.size() == 1);
  CHECK(due[0].spec().name() == "ocr");
}

TEST_CASE("a process that comes back in time, or flaps, keeps its apps; one that left the view loses them") {
  board shown;
  shown.processes["s2"] = process_row("s2", pb::LIVENESS_ONLINE, true);
  shown.apps = {record_of("ocr", "s1")};
  standby_watch watch{"s2", 1s};
  for (int i = 0; i < 10; ++i) {
    auto begin = i * 1000ms;
    shown.processes["s1"] = process_row("s1", pb::LIVENESS_OFFLINE);
    CHECK_FALSE(first_due(watch, shown.show(), begin, begin + 600ms));
    shown.processes["s1"] = process_row("s1", pb::LIVENESS_ONLINE);
    CHECK_FALSE(first_due(watch, shown.show(), begin + 800ms, begin + 800ms));
  }
  shown.processes.erase("s1");
  CHECK(first_due(watch, shown.show(), 10s, 20s) == 11s);
}

TEST_CASE("of several standbys one takes each app, and the next one when it does not") {
  board shown;
  for (auto name : {"a", "b", "c"})
    shown.processes[name] = process_row(name, pb::LIVENESS_ONLINE, true);
  shown.processes["plain"] = process_row("plain", pb::LIVENESS_ONLINE);
  for (int i = 0; i < 60; ++i)
    shown.apps.push_back(record_of("app-" + std::to_string(i), "s1"));
  shown.show();
  std::map<std::string, standby_watch> watches;
  for (auto name : {"a", "b", "c"})
    watches.emplace(name, standby_watch{name, 1s});
  auto taken = [&](std::chrono::milliseconds at) {
    std::map<std::string, std::size_t> result;
    for (auto& [name, watch] : watches)
      for (auto& record : watch.due(shown.view, t0 + at))
        ++result[record.spec().name()];
    return result;
  };
  for (auto at = 0ms; at < 1s; at += 200ms)
    CHECK(taken(at).empty());
  auto first = taken(1s);
  CHECK(first.size() == 60);
  CHECK(std::all_of(first.begin(), first.end(), [](auto& entry) { return entry.second == 1; }));
  std::set<std::size_t> shares;
  for (auto& [name, watch] : watches)
    CHECK(watch.due(shown.view, t0 + 1s).size() > 5);
  for (auto at = 1200ms; at < 3s; at += 200ms)
    CHECK(taken(at) == first);
  auto second = taken(3s);
  CHECK(std::all_of(second.begin(), second.end(), [](auto& entry) { return entry.second == 2; }));
}

TEST_CASE("a standby that was frozen gives processes their time again") {
  board shown;
  shown.processes["s1"] = process_row("s1", pb::LIVENESS_OFFLINE);
  shown.apps = {record_of("ocr", "s1")};
  shown.show();
  standby_watch watch{"s2", 1s};
  CHECK_FALSE(first_due(watch, shown.view, 0ms, 600ms));
  // Its view is that of 9 s ago until it has read what came since.
  CHECK(watch.due(shown.view, t0 + 10s).empty());
  shown.processes["s1"] = process_row("s1", pb::LIVENESS_ONLINE);
  CHECK_FALSE(first_due(watch, shown.show(), 10200ms, 20s));
}

TEST_CASE("who has an app is who took it last, whatever the clocks say") {
  auto nothing = history_of({});
  auto answer = [](bool found, const std::vector<pb::AppRevision>& revisions) {
    pb::AppDetail detail;
    detail.set_found(found);
    for (auto& revision : revisions)
      *detail.mutable_history()->add_revisions() = revision;
    return detail;
  };
  auto taken = history_of({taken_over_note("s1", 100)});
  CHECK(whose_app(nothing, answer(false, {}), "s1") == app_claim::mine);
  CHECK(whose_app(nothing, answer(true, taken), "s1") == app_claim::theirs);
  CHECK(whose_app(nothing, answer(true, history_of({""})), "s1") == app_claim::mine);
  // Taken back, and both have started anew.
  auto back = history_of({"", given_up_note("s2", 200), taken_over_note("s2", 200)});
  CHECK(whose_app(back, answer(true, taken), "s1") == app_claim::mine);
  CHECK(whose_app(taken, answer(true, back), "s2") == app_claim::theirs);
  CHECK(whose_app(back, answer(true, history_of({taken_over_note("s1", 100), given_up_note("s1", 300)})), "s1")
        == app_claim::mine);
  CHECK(whose_app(back, answer(true, history_of({taken_over_note("s1", 100), taken_over_note("s1", 300)})), "s1")
        == app_claim::theirs);
  // A rollback that took the app.
  CHECK(whose_app(nothing, answer(true, history_of({"rollback to 3; " + taken_over_note("s1", 100)})), "s1")
        == app_claim::theirs);
  auto deleted = history_of({taken_over_note("s1", 100), ""});
  deleted.back().mutable_spec()->set_deleting(true);
  CHECK(whose_app(nothing, answer(false, deleted), "s1") == app_claim::deleted);
  CHECK(whose_app(nothing, answer(true, deleted), "s1") == app_claim::theirs);
  // What it was told of already, and apps of this name that were never the asker's.
  CHECK(whose_app(history_of({deleted_note("s2", 100), ""}), answer(false, deleted), "s1") == app_claim::mine);
  CHECK(whose_app(nothing, answer(false, deleted), "s11") == app_claim::mine);
}

TEST_CASE("a Resource takes no record of an app that a living standby has from a process that has just started") {
  board shown;
  shown.processes["s2"] = process_row("s2", pb::LIVENESS_ONLINE, true);
  shown.processes["s3"] = process_row("s3", pb::LIVENESS_ONLINE);
  shown.apps = {record_of("ocr", "s2"), record_of("echo", "s3"), record_of("own", "s1")};
  shown.show();
  pb::SchedulerBeat beat;
  beat.set_scheduler(make_scheduler_id("s1").value());
  beat.set_settling(true);
  for (auto app : {"ocr", "echo", "own", "new"})
    *beat.add_apps() = record_of(app, "s1", 1000);
  CHECK(without_taken_apps(beat, shown.view).apps_size() == 3);
  beat.set_standby(true);
  CHECK(without_taken_apps(beat, shown.view).apps_size() == 2);
  beat.set_settling(false);
  CHECK(without_taken_apps(beat, shown.view).apps_size() == 4);
  beat.set_settling(true);
  shown.processes["s2"] = process_row("s2", pb::LIVENESS_OFFLINE, true);
  shown.processes["s3"] = process_row("s3", pb::LIVENESS_OFFLINE);
  CHECK(without_taken_apps(beat, shown.show()).apps_size() == 4);
}

namespace {

/// Two processes with schedulers, s1 and the standby s2, and what the view shows of them.
class two_processes : public actor_fixture {
public:
  two_processes() {
    for (auto name : {"n1", "n2", "n3"})
      nodes.rows[name] = make_row(name, 4, 64);
    resource = own(nodes.spawn(sys));
    run();
    home.publish(resource_service, caf::actor_cast<caf::strong_actor_ptr>(resource));
  }

  ~two_processes() {
    for (auto& [name, handle] : fronts)
      kill(handle);
    kill(resource);
  }

  void start(const std::string& name, std::vector<pb::AppSpec> files = {}) {
    scheduler_options options;
    options.name = name;
    options.resources = {"r1:1"};
    options.standby = name == standby;
    fronts[name] = own(spawn_apps(sys, name == "s1" ? first : second, options, std::move(files), resource,
                                  name == "s1" ? nullptr : &claims));
    show(name, pb::LIVENESS_ONLINE);
    advance(100ms);
  }

  void stop(const std::string& name) {
    kill(fronts.at(name));
    fronts.erase(name);
    show(name, pb::LIVENESS_OFFLINE);
  }

  void show(const std::string& name, pb::Liveness liveness) {
    std::erase_if(nodes.schedulers, [&](auto& row) { return row.name() == name; });
    nodes.schedulers.push_back(process_row(name, liveness, name == standby));
    nodes.publish();
    run();
  }

  /// Lets time pass, and the view follow the beats as a Resource would have it.
  void pass(std::chrono::milliseconds length) {
    for (auto at = 0ms; at < length; at += 100ms) {
      advance(100ms);
      for (; seen < nodes.beats.size(); ++seen) {
        auto beat = nodes.beats[seen];
        if (fronts.count(beat.name()) == 0)
          continue;
        cluster_view now = view();
        auto taken = without_taken_apps(beat, now);
        for (auto& record : taken.apps()) {
          auto known = std::find_if(nodes.apps.begin(), nodes.apps.end(),
                                    [&](auto& app) { return app.spec().name() == record.spec().name(); });
          if (known == nodes.apps.end())
            nodes.apps.push_back(record);
          else if (std::pair{known->epoch(), known->version()} < std::pair{record.epoch(), record.version()})
            *known = record;
        }
        if (!beat.settling())
          std::erase_if(nodes.apps, [&](auto& app) {
            return app.scheduler() == beat.scheduler()
                   && std::none_of(beat.apps().begin(), beat.apps().end(),
                                   [&](auto& named) { return named.spec().name() == app.spec().name(); });
          });
        nodes.publish();
      }
    }
  }

  cluster_view view() {
    board now;
    for (auto& row : nodes.schedulers)
      now.processes[row.name()] = row;
    now.apps = nodes.apps;
    now.show();
    return std::move(now.view);
  }

  std::string owner(const std::string& app) {
    for (auto& record : nodes.apps)
      if (record.spec().name() == app)
        for (auto name : {"s1", "s2"})
          if (record.scheduler() == make_scheduler_id(name).value())
            return name;
    return {};
  }

  pb::AppDetail describe(const std::string& process, const std::string& app, bool history = false) {
    pb::DescribeApp question;
    question.set_app(app);
    question.set_history(history);
    auto reply = ask<app_detail>(fronts.at(process), describe_app{question});
    REQUIRE(reply);
    return **reply;
  }

  bool apply(const std::string& process, const pb::AppSpec& spec) {
    pb::ApplyApp wish;
    *wish.mutable_spec() = spec;
    auto reply = ask<control_reply>(fronts.at(process), apply_app{wish});
    return reply && (*reply)->ok();
  }

  bool each_index_once(std::uint32_t replicas) {
    auto found = nodes.replicas();
    for (std::uint32_t index = 0; index < replicas; ++index)
      if (found.count(index) != 1)
        return false;
    return found.size() == replicas;
  }

  std::string standby = "s2";
  fake_shard nodes;
  fake_platform& home = process("r1:1");
  fake_platform& first = process("s1:1");
  fake_platform& second = process("s2:1");
  claim_memory claims;
  resource_actor resource;
  std::map<std::string, apps_actor> fronts;
  std::size_t seen = 0;
};

} // namespace

TEST_CASE_FIXTURE(two_processes,
                  "a standby takes an app over, keeps it, and the process that returns says who has it") {
  start("s1");
  start("s2");
  pass(4s);
  CHECK(apply("s1", small_app("ocr", 3)));
  pass(2s);
  REQUIRE(each_index_once(3));
  REQUIRE(owner("ocr") == "s1");
  auto batches = nodes.batches.size();
  stop("s1");
  pass(800ms);
  CHECK(owner("ocr") == "s1");
  pass(700ms);
  CHECK(owner("ocr") == "s2");
  auto history = describe("s2", "ocr", true).history();
  REQUIRE(history.revisions_size() == 1);
  CHECK(history.revisions(0).note().find("taken over from s1 (epoch ") == 0);
  CHECK(second.store.specs.count("ocr") == 1);
  pass(3s);
  CHECK(each_index_once(3));
  CHECK(nodes.batches.size() == batches);
  // What was applied meanwhile counts.
  CHECK(apply("s2", small_app("ocr", 2)));
  pass(2s);
  CHECK(each_index_once(2));
  for (int restarts = 0; restarts < 3; ++restarts) {
    start("s1");
    pass(6s);
    CHECK(owner("ocr") == "s2");
    CHECK(first.store.specs.empty());
    CHECK(each_index_once(2));
    if (restarts == 0)
      CHECK(describe("s1", "ocr").record().reason().find("has taken the app over") != std::string::npos);
    stop("s1");
  }
  start("s1");
  pass(4s);
  // Whoever wants it back applies it there.
  CHECK(apply("s1", small_app("ocr", 4)));
  pass(3s);
  CHECK(owner("ocr") == "s1");
  CHECK(each_index_once(4));
  CHECK(second.store.specs.empty());
  CHECK(describe("s2", "ocr", true).history().revisions().rbegin()->note().find("given up to s1") == 0);
}

TEST_CASE_FIXTURE(two_processes, "an app that was deleted at the standby does not come back with its former process") {
  start("s1");
  start("s2");
  pass(4s);
  CHECK(apply("s1", small_app("ocr", 2)));
  pass(1s);
  stop("s1");
  pass(2s);
  REQUIRE(owner("ocr") == "s2");
  pb::DeleteApp wish;
  wish.set_app("ocr");
  REQUIRE(ask<control_reply>(fronts.at("s2"), delete_app{wish}));
  pass(3s);
  REQUIRE(nodes.replicas().empty());
  REQUIRE(owner("ocr").empty());
  for (int restarts = 0; restarts < 2; ++restarts) {
    start("s1");
    pass(8s);
    CHECK(nodes.replicas().empty());
    CHECK(owner("ocr").empty());
    CHECK(first.store.specs.empty());
    stop("s1");
  }
  // A new one of that name is nobody else's business.
  start("s1");
  pass(4s);
  CHECK(apply("s1", small_app("ocr", 1)));
  pass(1s);
  stop("s1");
  start("s1");
  pass(6s);
  CHECK(owner("ocr") == "s1");
  CHECK(each_index_once(1));
}

TEST_CASE_FIXTURE(two_processes,
                  "an app of a file that was taken over stays where it is, also after a restart of both") {
  start("s1", {small_app("ocr", 2)});
  start("s2");
  pass(5s);
  REQUIRE(owner("ocr") == "s1");
  stop("s1");
  pass(2s);
  REQUIRE(owner("ocr") == "s2");
  start("s1", {small_app("ocr", 2)});
  pass(6s);
  CHECK(owner("ocr") == "s2");
  stop("s1");
  stop("s2");
  start("s1", {small_app("ocr", 2)});
  start("s2");
  pass(6s);
  CHECK(owner("ocr") == "s2");
  CHECK(describe("s1", "ocr").record().reason().find("given up to s2") != std::string::npos);
  CHECK(each_index_once(2));
}

TEST_CASE_FIXTURE(two_processes,
                  "a process that comes back waits for the word of the one that has its app, while that lives") {
  start("s1");
  start("s2");
  pass(4s);
  CHECK(apply("s1", small_app("ocr", 3)));
  pass(1s);
  stop("s1");
  pass(2s);
  REQUIRE(owner("ocr") == "s2");
  CHECK(apply("s2", small_app("ocr", 2)));
  pass(2s);
  network.cut.insert("s2:1");
  start("s1");
  pass(10s);
  CHECK(owner("ocr") == "s2");
  CHECK(each_index_once(2));
  CHECK(describe("s1", "ocr").record().reason().find("s2 has the app now and does not answer") == 0);
  SUBCASE("the word comes") {
    network.cut.clear();
    pass(4s);
    CHECK(owner("ocr") == "s2");
    CHECK(each_index_once(2));
    CHECK(first.store.specs.empty());
  }
  SUBCASE("it is gone: the app goes on where it was") {
    stop("s2");
    pass(8s);
    CHECK(owner("ocr") == "s1");
    CHECK(each_index_once(3));
  }
  SUBCASE("somebody applies the app: that counts") {
    CHECK(apply("s1", small_app("ocr", 4)));
    pass(6s);
    CHECK(owner("ocr") == "s1");
    CHECK(each_index_once(4));
  }
}

TEST_CASE_FIXTURE(two_processes,
                  "an app that was applied elsewhere while its process was away stays there, without standbys") {
  standby.clear();
  start("s1");
  start("s2");
  pass(4s);
  CHECK(apply("s1", small_app("ocr", 3)));
  pass(1s);
  stop("s1");
  pass(2s);
  REQUIRE(owner("ocr") == "s1");
  SUBCASE("long before it comes back") {
    CHECK(apply("s2", small_app("ocr", 2)));
    pass(2s);
    REQUIRE(owner("ocr") == "s2");
    start("s1");
  }
  SUBCASE("just before") {
    CHECK(apply("s2", small_app("ocr", 2)));
    start("s1");
  }
  SUBCASE("just after") {
    start("s1");
    CHECK(apply("s2", small_app("ocr", 2)));
  }
  SUBCASE("when they cannot reach each other at first") {
    CHECK(apply("s2", small_app("ocr", 2)));
    pass(2s);
    network.cut.insert("s1:1");
    start("s1");
    pass(4s);
    network.cut.clear();
  }
  pass(8s);
  for (auto restarts = 0; restarts < 2; ++restarts) {
    CHECK(owner("ocr") == "s2");
    CHECK(each_index_once(2));
    CHECK(first.store.specs.empty());
    stop("s1");
    start("s1");
    pass(6s);
  }
}

TEST_CASE_FIXTURE(two_processes, "a frozen process wakes up fenced and leaves its app for good") {
  start("s1");
  start("s2");
  pass(4s);
  CHECK(apply("s1", small_app("ocr", 2)));
  pass(1s);
  // Silent, not dead: nothing of its beats is heard.
  show("s1", pb::LIVENESS_OFFLINE);
  pass(3s);
  CHECK(owner("ocr") == "s2");
  show("s1", pb::LIVENESS_ONLINE);
  pass(3s);
  CHECK(owner("ocr") == "s2");
  CHECK(first.store.specs.empty());
  CHECK(each_index_once(2));
}

TEST_CASE_FIXTURE(two_processes, "a standby whose disk is full takes nothing over, until it is not") {
  start("s1");
  start("s2");
  pass(4s);
  CHECK(apply("s1", small_app("ocr", 2)));
  pass(1s);
  second.store.full = true;
  stop("s1");
  pass(5s);
  CHECK(owner("ocr") == "s1");
  second.store.full = false;
  pass(500ms);
  CHECK(owner("ocr") == "s2");
}

TEST_CASE_FIXTURE(two_processes,
                  "a takeover of many apps writes at most 16 of them in one go, and one while the disk is full") {
  nodes.decide = [](auto&) {
    pb::ClaimResult result;
    result.set_outcome(pb::CLAIM_NO_ROOM);
    return result;
  };
  for (auto i = 0; i < 40; ++i)
    nodes.apps.push_back(record_of("app-" + std::to_string(i), "s1"));
  show("s1", pb::LIVENESS_OFFLINE);
  second.store.full = true;
  start("s2");
  pass(4s);
  auto before = second.store.writes;
  REQUIRE(before > 0);
  pass(1s);
  CHECK(second.store.writes - before <= 6);
  second.store.full = false;
  for (auto i = 0; i < 20; ++i) {
    before = second.store.writes;
    pass(100ms);
    CHECK(second.store.writes - before <= 16);
  }
  CHECK(second.store.specs.size() == 40);
  for (auto i = 0; i < 40; ++i)
    CHECK(owner("app-" + std::to_string(i)) == "s2");
}

TEST_CASE_FIXTURE(two_processes, "an app whose spec in the view is not valid is neither taken over nor adopted") {
  nodes.apps = {record_of("../ocr", "s1"), record_of("echo", "s1"), record_of("good", "s1"), record_of("own/", "s2")};
  nodes.apps[1].mutable_spec()->set_replicas(4294967295);
  show("s1", pb::LIVENESS_OFFLINE);
  start("s2");
  pass(8s);
  CHECK(owner("../ocr") == "s1");
  CHECK(owner("echo") == "s1");
  CHECK(owner("good") == "s2");
  REQUIRE(second.store.specs.size() == 1);
  CHECK(second.store.specs.begin()->first == "good");
  CHECK_FALSE(describe("s2", "own/").found());
}

TEST_CASE_FIXTURE(two_processes, "what is known when a scheduler ends is in the claim log") {
  start("s2");
  pass(4s);
  // Its answer comes, and the process ends before the next planning step.
  CHECK(apply("s2", small_app("ocr", 1)));
  while (nodes.batches.empty())
    advance(1ms);
  run();
  REQUIRE(claims.logs["ocr"].empty());
  caf::anon_send_exit(fronts.at("s2"), caf::exit_reason::user_shutdown);
  run();
  REQUIRE(claims.logs["ocr"].size() == 1);
  CHECK(claims.logs["ocr"][0].outcome() == pb::CLAIM_CONFIRMED);
}

TEST_CASE_FIXTURE(two_processes, "claims and releases are logged with the view they were made on, over two epochs") {
  start("s2");
  pass(4s);
  CHECK(apply("s2", small_app("ocr", 2)));
  pass(1s);
  CHECK(apply("s2", small_app("ocr", 1)));
  pass(1s);
  stop("s2");
  start("s2");
  pass(5s);
  CHECK(apply("s2", small_app("ocr", 2)));
  pass(1s);
  auto& log = claims.logs["ocr"];
  REQUIRE(log.size() == 4);
  claim_checker checker;
  for (auto& record : log)
    CHECK(checker.next(record).empty());
  CHECK(checker.last() == 4);
  CHECK(log[0].action() == pb::CLAIM_ACTION_CLAIM);
  CHECK(log[0].outcome() == pb::CLAIM_CONFIRMED);
  CHECK_FALSE(log[0].node_name().empty());
  CHECK(log[0].view_version() > 0);
  CHECK(log[0].origin() == model_home.value());
  CHECK(log[2].action() == pb::CLAIM_ACTION_RELEASE);
  CHECK(log[2].reason() == "fewer replicas are wanted");
  CHECK(log[3].epoch() > log[2].epoch());
  pb::DescribeApp question;
  question.set_app("ocr");
  question.mutable_claims()->set_limit(2);
  auto page = ask<app_detail>(fronts.at("s2"), describe_app{question});
  REQUIRE(page);
  CHECK((*page)->claims().last() == 4);
  REQUIRE((*page)->claims().records_size() == 2);
  CHECK((*page)->claims().records(1).hash() == checker.hash());
  // Of an app that is gone the log is there, and at hand only as long as somebody reads it.
  CHECK(claims.closed.empty());
  pb::DeleteApp wish;
  wish.set_app("ocr");
  CHECK(ask<control_reply>(fronts.at("s2"), delete_app{wish}));
  pass(5s);
  CHECK(claims.closed == std::vector<std::string>{"ocr"});
  page = ask<app_detail>(fronts.at("s2"), describe_app{question});
  REQUIRE(page);
  CHECK((*page)->claims().records_size() == 2);
  CHECK(claims.closed.size() == 2);
}
