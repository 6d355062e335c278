#include "runtime/gateway/node_listing.hpp"

#include "test/actors/resource/resource_fixture.hpp"
#include "test/runtime/gateway/recorded_exchange.hpp"

#include <caf/scoped_actor.hpp>
#include <doctest/doctest.h>

#include <set>

using namespace astra;
using namespace std::chrono_literals;

namespace {

struct fixture : test::resource_fixture {
  std::shared_ptr<test::recorded_exchange> list(const std::string& query, std::vector<std::string> resources) {
    return list_groups(query, {std::move(resources)});
  }

  std::shared_ptr<test::recorded_exchange> list_groups(const std::string& query,
                                                       std::vector<std::vector<std::string>> groups) {
    http_request request;
    request.target = "/v1/nodes" + query;
    auto exchange = std::make_shared<test::recorded_exchange>(std::move(request));
    auto wish = read_node_listing(exchange->request().target);
    if (auto wrong = std::get_if<std::string>(&wish)) {
      FAIL(*wrong);
      return exchange;
    }
    resource_links links;
    links.dialer = world_of("gateway").dialer();
    caf::scoped_actor parent{sys};
    listing =
        own(spawn_node_listing(parent.ptr(), links, std::move(groups), std::get<node_listing_request>(wish), exchange));
    advance(1s);
    return exchange;
  }

  /// Publishes a desk with so many pages of one node each, of which those after `good` are never answered.
  void serve_pages(const std::string& address, std::uint64_t pages, std::uint64_t good) {
    auto desk = own(sys.spawn([this, pages, good](inspection_desk::pointer) -> inspection_desk::behavior_type {
      return {
          [](const event_query&) { return event_page{}; },
          [this, pages, good](const node_query& query) -> caf::result<node_page> {
            asked.push_back(*query);
            if (query->after() >= good)
              return caf::make_error(errc::io_failed, "out of order");
            pb::NodePage page;
            page.set_matched(1);
            auto& node = *page.add_nodes();
            node.set_node(query->after() + 1);
            node.set_name("node-" + std::to_string(query->after() + 1));
            page.set_last(query->after() + 1);
            page.set_more(query->after() + 1 < pages);
            return node_page{std::move(page)};
          },
          [](const report_query&) { return resource_report{}; },
      };
    }));
    network.services[{address, resource_service}] = caf::actor_cast<caf::strong_actor_ptr>(desk);
  }

  caf::actor listing;
  std::vector<pb::NodeQuery> asked;
};

} // namespace

TEST_CASE_FIXTURE(fixture,
                  "a listing is what a Resource knows, filtered there, as lines with an end or as one object") {
  start("r1");
  start("r2");
  std::set<std::string> names{join("r1")->name, join("r2")->name};
  auto big = join("r2", 16000);
  advance(3s);
  auto lines = list("?format=ndjson", {"r1:1"});
  CHECK(lines->answers.at(0).content_type == "application/x-ndjson");
  CHECK(lines->stream->ended);
  REQUIRE(lines->stream->lines().size() == 4);
  CHECK(lines->stream->lines().back() == nlohmann::json::parse(R"({"end": true, "listed": 3, "more": 0})"));
  auto one = list("?where=cores%3E4", {"r1:1"});
  auto object = nlohmann::json::parse(one->stream->text);
  REQUIRE(object["nodes"].size() == 1);
  CHECK(object["nodes"][0]["name"] == big->name);
  CHECK(object["nodes"][0]["home"] == "r2");
  auto none = nlohmann::json::parse(list("?where=cores%3E99", {"r1:1"})->stream->text);
  CHECK(none["nodes"] == nlohmann::json::array());
}

TEST_CASE_FIXTURE(fixture, "the next page is asked for when the client has taken the last one") {
  serve_pages("r1:1", 3, 99);
  auto exchange = list("?format=ndjson", {"r1:1"});
  CHECK(asked.size() == 1);
  CHECK_FALSE(exchange->stream->ended);
  advance(5s);
  CHECK(asked.size() == 1);
  CHECK(exchange->stream->take());
  run();
  CHECK(asked.size() == 2);
  CHECK(asked.back().after() == 1);
  CHECK(exchange->stream->take());
  run();
  CHECK(asked.size() == 3);
  CHECK(exchange->stream->ended);
  CHECK(exchange->stream->lines().size() == 4);
}

TEST_CASE_FIXTURE(fixture, "a page that fails ends the listing with an error line, and the answer is cut") {
  serve_pages("r1:1", 3, 1);
  auto lines = list("?format=ndjson", {"r1:1", "r2:1"});
  lines->stream->take();
  advance(1s);
  CHECK(lines->stream->cut);
  REQUIRE(lines->stream->lines().size() == 2);
  std::string message = lines->stream->lines()[1]["error"]["message"];
  CHECK(message.find("after 1 nodes, and is not complete") != std::string::npos);
  auto object = list("", {"r1:1"});
  object->stream->take();
  advance(1s);
  CHECK(object->stream->cut);
  CHECK(nlohmann::json::parse(object->stream->text, nullptr, false).is_discarded());
}

TEST_CASE_FIXTURE(fixture, "when the first Resource is gone another one is asked, and when all are, that is said") {
  serve_pages("r2:1", 1, 99);
  CHECK(list("?format=ndjson", {"r1:1", "r2:1"})->stream->ended);
  auto refused = list("", {"r1:1", "r3:1"});
  CHECK(refused->answers.at(0).status == 503);
  CHECK(refused->message().find("r3:1 does not answer") != std::string::npos);
}

TEST_CASE_FIXTURE(fixture, "a limit stops the list and counts the rest") {
  start("r1");
  for (auto i = 0; i < 5; ++i)
    join("r1");
  advance(3s);
  auto exchange = list("?format=ndjson&limit=2", {"r1:1"});
  exchange->stream->take();
  advance(1s);
  CHECK(exchange->stream->lines().size() == 3);
  CHECK(exchange->stream->lines().back() == nlohmann::json::parse(R"({"end": true, "listed": 2, "more": 3})"));
}

TEST_CASE_FIXTURE(fixture, "a bad filter is 400 with its column, and a client that leaves ends its listing") {
  start("r1");
  join("r1");
  advance(2s);
  auto bad = list("?where=utl%3E1", {"r1:1"});
  CHECK(bad->answers.at(0).status == 400);
  CHECK(bad->body()["error"]["column"] == 1);
  serve_pages("r9:1", 3, 99);
  auto left = list("", {"r9:1"});
  left->gone();
  run();
  CHECK(left->stream->cut);
  CHECK(asked.size() == 1);
}

TEST_CASE_FIXTURE(fixture, "one Resource of each group is asked, and the list is whole or says that it is not") {
  addresses = {"r1:1"};
  start("r1");
  auto one = join("r1");
  addresses = {"r2:1"};
  group = "vision";
  start("r2");
  auto two = join("r2");
  auto three = join("r2", 16000);
  three->profile.add_labels()->set_key("zone");
  three->profile.mutable_labels(0)->set_value("a");
  three->profile.set_version(2);
  advance(3s);
  auto names = [](const nlohmann::json& object) {
    std::set<std::string> result;
    for (auto& node : object["nodes"])
      result.insert(node["name"].get<std::string>() + " of " + node["group"].get<std::string>());
    return result;
  };
  auto whole = list_groups("", {{"r1:1"}, {"r2:1"}});
  whole->stream->take();
  advance(1s);
  CHECK(whole->stream->ended);
  CHECK(names(nlohmann::json::parse(whole->stream->text))
        == std::set<std::string>{one->name + " of main", two->name + " of vision", three->name + " of vision"});
  // By group, and by a label that only one of them knows.
  for (auto where : {"group%3D%3D%22vision%22", "zone%3D%3D%22a%22"}) {
    auto some = list_groups(std::string{"?where="} + where, {{"r1:1"}, {"r2:1"}});
    some->stream->take();
    advance(1s);
    CHECK(some->stream->ended);
    CHECK(names(nlohmann::json::parse(some->stream->text)).count(three->name + " of vision") == 1);
    CHECK(names(nlohmann::json::parse(some->stream->text)).count(one->name + " of main") == 0);
  }
  auto first = list_groups("?limit=1", {{"r1:1"}, {"r2:1"}});
  first->stream->take();
  advance(1s);
  auto limited = nlohmann::json::parse(first->stream->text);
  CHECK(limited["nodes"].size() == 1);
  CHECK(limited["more"] == 2);
  // The nodes of the others are listed, too, when one group does not answer.
  for (auto& groups :
       std::vector<std::vector<std::vector<std::string>>>{{{"gone:1"}, {"r2:1"}}, {{"r2:1"}, {"gone:1"}}}) {
    auto part = list_groups("?format=ndjson", groups);
    part->stream->take();
    advance(3s);
    CHECK(part->stream->cut);
    CHECK(part->stream->lines().size() == 3);
    CHECK(part->stream->lines().back()["error"]["message"].get<std::string>().find("not complete")
          != std::string::npos);
  }
  auto nobody = list_groups("", {{"gone:1"}, {"gone:2"}});
  advance(3s);
  CHECK(nobody->answers.at(0).status == 503);
}
