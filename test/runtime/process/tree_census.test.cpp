#include "runtime/process/tree_census.hpp"

#include <doctest/doctest.h>

#include <map>

using namespace astra;

namespace {

constexpr pid_t launcher = 10;

process_stat process(pid_t pid, pid_t parent, pid_t session, char state = 'S') {
  process_stat result;
  result.pid = pid;
  result.parent = parent;
  result.session = session;
  result.state = state;
  result.start_ticks = static_cast<std::uint64_t>(pid) * 7;
  return result;
}

std::vector<pid_t> pids(const std::vector<process_stat>& list) {
  std::vector<pid_t> result;
  for (auto& entry : list)
    result.push_back(entry.pid);
  return result;
}

struct fixture {
  tree_census census;
  std::map<pid_t, process_key> markers;

  fixture() {
    census.add(process_key{1}, 20);
    census.add(process_key{2}, 30);
  }

  void update(const std::vector<process_stat>& all) {
    census.update(all, launcher, [this](pid_t pid) -> std::optional<process_key> {
      auto found = markers.find(pid);
      return found != markers.end() ? std::optional{found->second} : std::nullopt;
    });
  }
};

} // namespace

TEST_CASE_FIXTURE(fixture, "a process belongs to the tree of its parent, at any depth") {
  update({process(1, 0, 1), process(10, 1, 10), process(20, 10, 20), process(21, 20, 20), process(22, 21, 22),
          process(30, 10, 30), process(40, 1, 40)});
  CHECK(pids(census.members(process_key{1})) == std::vector<pid_t>{20, 21, 22});
  CHECK(pids(census.members(process_key{2})) == std::vector<pid_t>{30});
  CHECK(census.strays().empty());
}

TEST_CASE_FIXTURE(fixture, "an orphan is recognised by its session") {
  update({process(10, 1, 10), process(25, 10, 20)});
  CHECK(pids(census.members(process_key{1})) == std::vector<pid_t>{25});
}

TEST_CASE_FIXTURE(fixture,
                  "an orphan of its own session is recognised by what it was before, and so are its children") {
  update({process(10, 1, 10), process(20, 10, 20), process(25, 20, 25)});
  update({process(10, 1, 10), process(25, 10, 25), process(26, 25, 26)});
  CHECK(pids(census.members(process_key{1})) == std::vector<pid_t>{25, 26});
}

TEST_CASE_FIXTURE(fixture, "an orphan never seen before is recognised by its marker") {
  markers[25] = process_key{2};
  update({process(10, 1, 10), process(25, 10, 25)});
  CHECK(pids(census.members(process_key{2})) == std::vector<pid_t>{25});
}

TEST_CASE_FIXTURE(fixture, "what hides all three, or belongs to a tree that is no more, is a stray") {
  markers[26] = process_key{3};
  update({process(10, 1, 10), process(25, 10, 25), process(26, 10, 26)});
  CHECK(pids(census.strays()) == std::vector<pid_t>{25, 26});
}

TEST_CASE_FIXTURE(fixture, "a pid that was given to another process is not taken for the old one") {
  update({process(10, 1, 10), process(20, 10, 20), process(25, 20, 25)});
  auto reused = process(25, 10, 25);
  reused.start_ticks = 999999;
  update({process(10, 1, 10), reused});
  CHECK(census.members(process_key{1}).empty());
  CHECK(pids(census.strays()) == std::vector<pid_t>{25});
}

TEST_CASE_FIXTURE(fixture, "zombies are gone, but their children are not") {
  update({process(10, 1, 10), process(20, 10, 20, 'Z'), process(21, 20, 21)});
  CHECK(pids(census.members(process_key{1})) == std::vector<pid_t>{21});
}

TEST_CASE_FIXTURE(fixture, "a removed tree has no members") {
  update({process(10, 1, 10), process(20, 10, 20)});
  census.remove(process_key{1});
  CHECK(census.members(process_key{1}).empty());
}
