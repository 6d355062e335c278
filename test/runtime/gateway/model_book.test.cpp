#include "runtime/gateway/model_book.hpp"

#include "runtime/gateway/model_json.hpp"
#include "runtime/transfer/transfer_text.hpp"

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

using namespace astra;
using nlohmann::json;
using nodes = std::vector<std::string>;

namespace {

const std::string address_a(32, '\x0a');
const std::string address_b(32, '\x0b');

pb::ContentName name_of(const std::string& name, std::uint32_t version, const std::string& address) {
  pb::ContentName result;
  result.set_name(name);
  result.set_version(version);
  result.set_address(address);
  result.set_size(1000);
  result.set_published_ms(1'700'000'000'000);
  result.set_publisher("n1");
  return result;
}

pb::SwarmContent& add_content(pb::SwarmPage& page, const std::string& address, std::uint32_t complete,
                              std::uint32_t fetching) {
  auto& content = *page.add_contents();
  content.set_address(address);
  content.set_size(1000);
  content.set_pieces(10);
  content.set_complete(complete);
  content.set_fetching(fetching);
  content.set_progress(0.25);
  return content;
}

pb::Holding& add_holder(pb::SwarmContent& content, const std::string& node, std::uint64_t bytes_done) {
  auto& holder = *content.add_holders();
  holder.set_node(node);
  holder.set_zone("z");
  auto& held = *holder.mutable_holding();
  held.set_bytes_done(bytes_done);
  held.set_complete(bytes_done == 1000);
  held.set_wants(bytes_done < 1000);
  held.set_state(bytes_done == 1000 ? pb::CONTENT_READY : pb::CONTENT_FETCHING);
  return held;
}

pb::SwarmMember& add_member(pb::SwarmPage& page, const std::string& name, const std::string& machine,
                            std::uint64_t store_used, const std::string& zone = "z") {
  auto& member = *page.add_members();
  member.set_name(name);
  member.set_process(name + ":1");
  member.set_machine(machine);
  member.set_store_used(store_used);
  member.set_zone(zone);
  return member;
}

template <class T>
std::string refusal_of(const model_result<T>& result) {
  auto refused = std::get_if<model_refusal>(&result);
  return refused == nullptr ? "" : refused->code + ": " + refused->message;
}

model_nodes counted(std::uint32_t count) {
  model_nodes result;
  result.which = model_nodes::kind::counted;
  result.count = count;
  return result;
}

} // namespace

TEST_CASE("pages of 2 trackers become one: names united, removed wins, the page with more holders counts") {
  pb::SwarmPage first;
  pb::SwarmPage second;
  *first.add_names() = name_of("llama", 1, address_a);
  *first.add_names() = name_of("llama", 2, address_b);
  auto gone = name_of("llama", 2, address_b);
  gone.set_removed(true);
  *second.add_names() = gone;
  *second.add_names() = name_of("ocr", 1, address_b);
  auto& few = add_content(first, address_a, 1, 0);
  add_holder(few, "n1", 1000);
  add_holder(few, "n2", 100);
  auto& many = add_content(second, address_a, 1, 2);
  many.set_missing(3);
  add_holder(many, "n2", 400);
  add_holder(many, "n3", 0);
  first.mutable_limit()->set_revision(7);
  first.mutable_limit()->set_bytes_per_s(70);
  second.mutable_limit()->set_revision(9);
  second.mutable_limit()->set_bytes_per_s(90);
  add_member(first, "n1", "m1", 5);
  add_member(second, "n1", "m1", 5);
  add_member(second, "n2", "m2", 5);
  for (auto swapped : {false, true}) {
    model_book book;
    book.add(swapped ? second : first);
    book.add(swapped ? first : second);
    CHECK(book.names().size() == 3);
    CHECK(std::get<pb::ContentName>(book.find({"llama", 0})).version() == 1);
    CHECK(book.is_newest(name_of("llama", 1, address_a)));
    CHECK(refusal_of(book.find({"llama", 2})) == "unknown_name: model 'llama@2' was removed");
    auto content = book.content(address_a);
    REQUIRE(content != nullptr);
    CHECK(content->complete == 1);
    CHECK(content->fetching == 2);
    CHECK(content->missing == 3);
    REQUIRE(content->holders.size() == 3);
    CHECK(content->holders.at("n2").holding().bytes_done() == 400);
    CHECK(book.limit().bytes_per_s() == 90);
    CHECK(book.member_count() == 2);
    auto listed = json::parse(models_json(book));
    REQUIRE(listed["models"].size() == 2);
    CHECK(listed["models"][0]["name"] == "llama");
    CHECK(listed["models"][0]["address"] == hex(address_a));
    CHECK(listed["models"][0]["newest"] == true);
    CHECK(listed["models"][0]["published"] == "2023-11-14T22:13:20.000Z");
    CHECK(listed["limit"]["bytes_per_s"] == 90);
    CHECK(listed["members"] == 2);
  }
}

TEST_CASE("a name that nobody knows is a misspelling, or nobody can tell while a tracker is silent or new") {
  pb::SwarmPage page;
  *page.add_names() = name_of("llama", 1, address_a);
  *page.add_names() = name_of("llama", 3, address_b);
  model_book book;
  book.add(page);
  CHECK(refusal_of(book.find({"lama", 0})) == "unknown_name: no model 'lama'; did you mean 'llama'?");
  CHECK(refusal_of(book.find({"llama", 2})) == "unknown_name: model 'llama' has no version 2; there are 1, 3");
  book.add_silent("r2:1", "refused");
  CHECK(refusal_of(book.find({"lama", 0}))
        == "unavailable: no model 'lama'; did you mean 'llama'?, but not all trackers answer (r2:1: refused); try "
           "again");
  CHECK(refusal_of(book.find({"llama", 0})).empty());
  model_book young;
  page.set_settling(true);
  young.add(page);
  CHECK(refusal_of(young.find({"x", 0}))
        == "unavailable: no model 'x', but a tracker has just started and may not have heard of it yet; try again");
}

TEST_CASE("the publisher is the node that is named, else the one on the caller's machine with the least stored") {
  pb::SwarmPage page;
  add_member(page, "n1", "m1", 500);
  add_member(page, "n2", "m1", 100);
  add_member(page, "n3", "m2", 1);
  add_member(page, "n4", "m1", 0).set_problem("no disk");
  model_book book;
  book.add(page);
  model_wish wish;
  wish.path = "/data/llama";
  wish.machine = "m1";
  CHECK(std::get<pb::SwarmMember>(book.publisher(wish)).name() == "n2");
  wish.node = "n3";
  CHECK(std::get<pb::SwarmMember>(book.publisher(wish)).name() == "n3");
  wish.node = "n33";
  CHECK(refusal_of(book.publisher(wish)) == "unknown_node: no node 'n33' that keeps models; did you mean 'n3'?");
  wish.node.clear();
  for (auto machine : {"m9", ""}) {
    wish.machine = machine;
    CHECK(refusal_of(book.publisher(wish))
          == "conflict: no node of the cluster runs on this machine, so none can read /data/llama; copy it to the "
             "machine of one and name that node with --node");
  }
}

TEST_CASE("a count of nodes takes those that have it, then those that fetch it, then of each zone the emptiest") {
  pb::SwarmPage page;
  auto& content = add_content(page, address_a, 1, 1);
  add_holder(content, "a3", 1000);
  add_holder(content, "b1", 10);
  add_member(page, "a1", "m", 5, "a");
  add_member(page, "a2", "m", 1, "a");
  add_member(page, "a3", "m", 9, "a");
  add_member(page, "b1", "m", 9, "b");
  add_member(page, "b2", "m", 7, "b");
  add_member(page, "c1", "m", 9, "c");
  add_member(page, "c2", "m", 0, "c").set_problem("no disk");
  model_book book;
  book.add(page);
  auto name = name_of("llama", 1, address_a);
  auto chosen = [&](std::uint32_t count) { return std::get<nodes>(book.fetchers(counted(count), name)); };
  CHECK(chosen(1) == nodes{"a3"});
  CHECK(chosen(2) == nodes{"a3", "b1"});
  CHECK(chosen(3) == nodes{"a3", "b1", "c1"});
  CHECK(chosen(4) == nodes{"a2", "a3", "b1", "c1"});
  CHECK(chosen(6) == nodes{"a1", "a2", "a3", "b1", "b2", "c1"});
  CHECK(refusal_of(book.fetchers(counted(7), name))
        == "conflict: 7 nodes are wanted, and 6 of the cluster can have models");
  model_nodes all;
  all.which = model_nodes::kind::all;
  CHECK(std::get<nodes>(book.fetchers(all, name)).size() == 7);
  CHECK(std::get<nodes>(book.holders({}, name)) == nodes{"a3", "b1"});
  CHECK(refusal_of(book.holders({}, name_of("ocr", 2, address_b))) == "conflict: no node has anything of ocr@2");
  CHECK(book.witnesses(name_of("ocr", 2, address_b), 2) == nodes{"a1", "a2"});
  CHECK(book.witnesses(name, 3) == nodes{"a3", "b1", "a1"});
}

TEST_CASE("one model's JSON has every version with its holders, what is not all is not 100 %, and the time left") {
  pb::SwarmPage page;
  *page.add_names() = name_of("llama", 1, address_a);
  auto& content = add_content(page, address_a, 1, 1);
  add_holder(content, "n1", 1000).set_users(2);
  auto& late = add_holder(content, "n2", 999);
  late.set_download_bytes_per_s(2);
  late.set_reason("waits for a piece");
  model_book book;
  book.add(page);
  auto versions = std::get<std::vector<pb::ContentName>>(book.versions("llama"));
  auto told = json::parse(model_json(book, "llama", versions));
  REQUIRE(told["versions"].size() == 1);
  auto& holders = told["versions"][0]["holders"];
  REQUIRE(holders.size() == 2);
  CHECK(holders[0]["state"] == "ready");
  CHECK(holders[0]["percent"] == 100.0);
  CHECK(holders[0]["users"] == 2);
  CHECK_FALSE(holders[0].contains("eta_ms"));
  CHECK(holders[1]["state"] == "fetching");
  CHECK(holders[1]["percent"] == 99.9);
  CHECK(holders[1]["eta_ms"] == 500);
  CHECK(holders[1]["reason"] == "waits for a piece");
}
