#include "actors/resource/node_pages.hpp"

#include "actors/resource/node_filter.hpp"

#include "test/actors/resource/node_rows.hpp"
#include "test/actors/resource/resource_fixture.hpp"

#include <doctest/doctest.h>

#include <set>
#include <string>
#include <vector>

using namespace astra;
using test::staged_view;

namespace {

/// Names, page by page.
std::vector<std::vector<std::string>> pages(const cluster_view& view, pb::NodeQuery query, cluster_view::time_point now,
                                            const page_limits& limits) {
  std::vector<std::vector<std::string>> result;
  for (auto more = true; more;) {
    auto page = list_nodes(view, query, now, limits);
    REQUIRE(page.problem() == "");
    result.emplace_back();
    for (auto& node : page.nodes())
      result.back().push_back(node.name());
    more = page.more();
    query.set_after(page.last());
    REQUIRE(result.size() < 10'000);
  }
  return result;
}

} // namespace

TEST_CASE("pages hold every node once, in the order of ids, each page within its size") {
  staged_view staged;
  for (auto i = 0; i < 300; ++i)
    staged.add("node-" + std::to_string(i));
  auto& view = staged.view();
  page_limits limits;
  limits.bytes = 2000;
  std::set<std::string> seen;
  for (auto& page : pages(view, {}, staged.now, limits)) {
    CHECK(page.size() <= 40);
    for (auto& name : page)
      CHECK(seen.insert(name).second);
  }
  CHECK(seen.size() == 300);
  // A node that does not fit has a page of its own.
  limits.bytes = 1;
  CHECK(pages(view, {}, staged.now, limits).size() == 300);
}

TEST_CASE("a page looks at so many rows and no more, and goes on") {
  staged_view staged;
  for (auto i = 0; i < 100; ++i)
    staged.add("node-" + std::to_string(i)).mutable_load()->set_running(i == 57 ? 1 : 0);
  auto& view = staged.view();
  page_limits limits;
  limits.rows = 10;
  pb::NodeQuery query;
  query.set_where("running > 0");
  std::vector<std::string> found;
  auto all = pages(view, query, staged.now, limits);
  CHECK(all.size() == 10);
  for (auto& page : all)
    found.insert(found.end(), page.begin(), page.end());
  CHECK(found == std::vector<std::string>{"node-57"});
}

TEST_CASE("a query may want so many nodes, or only their number") {
  staged_view staged;
  for (auto i = 0; i < 20; ++i)
    staged.add("node-" + std::to_string(i));
  auto& view = staged.view();
  pb::NodeQuery query;
  query.set_limit_nodes(5);
  auto page = list_nodes(view, query, staged.now);
  CHECK(page.nodes_size() == 5);
  CHECK(page.matched() == 5);
  CHECK(page.more());
  query.set_after(page.last());
  query.set_limit_nodes(0);
  query.set_count_only(true);
  page = list_nodes(view, query, staged.now);
  CHECK(page.nodes_size() == 0);
  CHECK(page.matched() == 15);
  CHECK_FALSE(page.more());
}

TEST_CASE("a bad filter is answered with what is wrong, a label that nobody has too, but not in an empty cluster") {
  staged_view staged;
  auto& view = staged.view();
  pb::NodeQuery query;
  query.set_where("zone == 'a'");
  CHECK(list_nodes(view, query, staged.now).problem() == "");
  staged_view other;
  staged_view::label(other.add("node-1"), "zone", "b");
  auto& labelled = other.view();
  CHECK(list_nodes(labelled, query, other.now).problem() == "");
  query.set_where("zon == 'a'");
  auto page = list_nodes(labelled, query, other.now);
  CHECK(page.problem_column() == 1);
  CHECK(page.problem() == "no field 'zon', and no node has a label of that name; did you mean 'zone'?");
  query.set_where("label('zon') == 'a'");
  CHECK(list_nodes(labelled, query, other.now).problem() == "");
  query.set_where("util >");
  CHECK(list_nodes(labelled, query, other.now).problem_column() == 7);
}

TEST_CASE_FIXTURE(test::resource_fixture, "a Resource lists the nodes of the whole cluster, not only its own") {
  auto r1 = start("r1");
  start("r2");
  auto near = join("r1");
  auto far = join("r2");
  using namespace std::chrono_literals;
  advance(3s);
  auto page = ask<node_page>(r1, node_query{});
  REQUIRE(page);
  REQUIRE((*page)->nodes_size() == 2);
  std::set<std::string> homes;
  for (auto& node : (*page)->nodes())
    homes.insert(node.name() + "@" + node.home());
  CHECK(homes == std::set<std::string>{near->name + "@r1", far->name + "@r2"});
}

TEST_CASE_FIXTURE(test::resource_fixture, "a Resource reports the shards it holds and its slowest subscribers") {
  using namespace std::chrono_literals;
  auto r1 = start("r1");
  auto r2 = start("r2");
  join("r1");
  auto seen = watch(r1);
  advance(5s);
  auto report = ask<resource_report>(r1, report_query{});
  auto other = ask<resource_report>(r2, report_query{});
  REQUIRE(report);
  REQUIRE(other);
  CHECK((*report)->name() == "r1");
  CHECK((*report)->uptime_ms() >= 5000);
  REQUIRE((*report)->shards_size() == 2);
  for (auto i = 0; i < 2; ++i) {
    CHECK((*report)->shards(i).name() == (*other)->shards(i).name());
    CHECK((*report)->shards(i).nodes() == (*other)->shards(i).nodes());
    CHECK((*report)->shards(i).age_ms() < 2000);
  }
  CHECK((*report)->subscribers() == 2); // The test and r2.
  CHECK((*report)->slowest_size() == 2);
  CHECK((*report)->slowest(0).behind_ms() < 1000);
}

TEST_CASE("a listing that an index narrows down holds what a look at every node finds") {
  staged_view staged;
  for (auto i = 0; i < 400; ++i) {
    auto& row = staged.add("node-" + std::to_string(i));
    if (i % 3 != 0)
      staged_view::label(row, "zone", std::string(1, static_cast<char>('a' + i % 5)));
    if (i % 7 == 0) {
      auto& card = *row.mutable_profile()->add_accelerators();
      card.set_kind(i % 2 == 0 ? "t4" : "a100");
      card.set_count(static_cast<std::uint32_t>(i % 4));
    }
    if (i % 10 < 2)
      row.mutable_profile()->add_replicas()->set_app(i % 10 == 0 ? "ocr" : "web");
  }
  auto& view = staged.view();
  for (auto& text : std::vector<std::string>{"zone == 'a'",
                                             "zone != 'a'",
                                             "zone in ('a', 'b')",
                                             "zone not in ('a')",
                                             "zone =~ '*'",
                                             "zone =~ '?' and app == 'ocr'",
                                             "app == 'ocr' or app == 'web'",
                                             "app == 'ocr' or util > 0.5",
                                             "not (app == 'ocr')",
                                             "accelerator == 't4'",
                                             "accelerators('a100') > 1",
                                             "accelerators('a100') >= 0",
                                             "accelerators > 0 and zone == 'c'",
                                             "replicas > 0",
                                             "replicas == 0",
                                             "zone > 'c'",
                                             "name == 'node-17'",
                                             "name in ('node-17', 'node-18', 'nobody')",
                                             "id == '" + to_string(make_node_id("node-3")) + "'",
                                             "id != '00'",
                                             "app == 'none'",
                                             "label('none') == 'x'"}) {
    CAPTURE(text);
    auto filter = std::get<node_filter>(node_filter::parse(text));
    std::vector<std::string> expected;
    for (auto& [id, node] : view.nodes())
      if (filter.matches(view, node, "r1", staged.now))
        expected.push_back(node.name());
    pb::NodeQuery query;
    query.set_where(text);
    page_limits limits;
    limits.rows = 7;
    std::vector<std::string> listed;
    for (auto& page : pages(view, query, staged.now, limits))
      listed.insert(listed.end(), page.begin(), page.end());
    CHECK(listed == expected);
  }
}

TEST_CASE("a listing of the nodes of one label looks at no other") {
  staged_view staged;
  for (auto i = 0; i < 400; ++i)
    staged_view::label(staged.add("node-" + std::to_string(i)), "zone", i == 200 ? "b" : "a");
  pb::NodeQuery query;
  query.set_where("zone == 'b' and util < 0.5");
  page_limits limits;
  limits.rows = 1;
  auto page = list_nodes(staged.view(), query, staged.now, limits);
  CHECK(page.matched() == 1);
  CHECK_FALSE(page.more());
}
