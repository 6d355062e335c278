#include "messages/ids.hpp"
#include "messages/type_ids.hpp"

#include <caf/actor_system.hpp>
#include <caf/actor_system_config.hpp>
#include <caf/binary_deserializer.hpp>
#include <caf/binary_serializer.hpp>
#include <doctest/doctest.h>

#include <string>

using namespace astra;

namespace {

std::string hex(const std::string& bytes) {
  static constexpr char digits[] = "0123456789abcdef";
  std::string result;
  for (auto c : bytes) {
    auto byte = static_cast<unsigned char>(c);
    result += digits[byte >> 4];
    result += digits[byte & 0xf];
  }
  return result;
}

} // namespace

// A number or a byte that changes here breaks a cluster of two versions: append instead.

TEST_CASE("the type ids that cross processes are pinned") {
  auto first = caf::first_custom_type_id;
  CHECK(caf::type_id_v<errc> == first);
  CHECK(caf::type_id_v<heartbeat> == first + 1);
  CHECK(caf::type_id_v<heartbeat_ack> == first + 2);
  CHECK(caf::type_id_v<profile_update> == first + 3);
  CHECK(caf::type_id_v<scheduler_beat> == first + 4);
  CHECK(caf::type_id_v<view_delta> == first + 5);
  CHECK(caf::type_id_v<subscribe> == first + 6);
  CHECK(caf::type_id_v<subscribe_ack> == first + 7);
  CHECK(caf::type_id_v<claim_batch> == first + 8);
  CHECK(caf::type_id_v<claim_reply> == first + 9);
  CHECK(caf::type_id_v<release_batch> == first + 10);
  CHECK(caf::type_id_v<reserve> == first + 11);
  CHECK(caf::type_id_v<reserve_reply> == first + 12);
  CHECK(caf::type_id_v<cancel> == first + 13);
  CHECK(caf::type_id_v<invoke> == first + 14);
  CHECK(caf::type_id_v<invoke_reply> == first + 15);
  CHECK(caf::type_id_v<apply_app> == first + 16);
  CHECK(caf::type_id_v<delete_app> == first + 17);
  CHECK(caf::type_id_v<describe_app> == first + 18);
  CHECK(caf::type_id_v<control_reply> == first + 19);
  CHECK(caf::type_id_v<app_detail> == first + 20);
  CHECK(caf::type_id_v<drain> == first + 21);
  CHECK(caf::type_id_v<drain_reply> == first + 22);
  CHECK(caf::type_id_v<lookup_atom> == first + 23);
  CHECK(caf::type_id_v<event_query> == first + 24);
  CHECK(caf::type_id_v<event_page> == first + 25);
  CHECK(caf::type_id_v<node_query> == first + 26);
  CHECK(caf::type_id_v<node_page> == first + 27);
  CHECK(caf::type_id_v<report_query> == first + 28);
  CHECK(caf::type_id_v<resource_report> == first + 29);
  CHECK(caf::type_id_v<beat_batch> == first + 30);
  CHECK(caf::type_id_v<beat_batch_ack> == first + 31);
  CHECK(caf::type_id_v<swarm_report> == first + 32);
  CHECK(caf::type_id_v<swarm_answer> == first + 33);
  CHECK(caf::type_id_v<manifest_query> == first + 34);
  CHECK(caf::type_id_v<manifest_part> == first + 35);
  CHECK(caf::type_id_v<name_claim> == first + 36);
  CHECK(caf::type_id_v<name_grant> == first + 37);
  CHECK(caf::type_id_v<swarm_query> == first + 38);
  CHECK(caf::type_id_v<swarm_page> == first + 39);
  CHECK(caf::type_id_v<set_swarm_limit> == first + 40);
  CHECK(caf::type_id_v<content_order> == first + 41);
  CHECK(caf::type_id_v<content_reply> == first + 42);
  CHECK(caf::type_id_v<prefetch_batch> == first + 43);
}

TEST_CASE("node ids are XXH3 of the name, and none is 0") {
  CHECK(to_string(make_node_id("n1")) == "d733a26dd4b49b94");
  CHECK(make_node_id("").value() != 0);
}

TEST_CASE("the bytes of a heartbeat and of a request for a slot are pinned") {
  pb::Heartbeat beat;
  beat.set_node(0x0102030405060708);
  beat.set_incarnation(3);
  beat.set_sequence(4);
  beat.set_home_epoch(5);
  beat.mutable_load()->set_host_utilisation(0.5);
  beat.mutable_load()->set_running(2);
  beat.set_draining(true);
  beat.set_profile_version(6);
  CHECK(hex(encode(beat)) == "0908070605040302011003180420052a0b09000000000000e03f280230014006");
  pb::Reserve wanted;
  wanted.set_app("ocr");
  wanted.set_attempt(0x0102030405060708);
  wanted.set_may_wait_ms(300);
  CHECK(hex(encode(wanted)) == "0a036f637211080706050403020118ac02");
}

TEST_CASE("a message survives CAF's serialisation, unknown fields of a newer version included") {
  caf::actor_system_config config;
  config.set("caf.scheduler.policy", "testing");
  caf::actor_system sys{config};
  pb::Reserve body;
  body.set_app("ocr");
  body.set_attempt(9);
  // Field 99, as the next version might add it.
  auto bytes = encode(body) + std::string{"\x9a\x06\x03new", 6};
  REQUIRE(decode(body, bytes));
  caf::byte_buffer buffer;
  caf::binary_serializer sink{sys, buffer};
  REQUIRE(sink.apply(caf::make_message(reserve{body})));
  caf::binary_deserializer source{sys, buffer};
  caf::message copy;
  REQUIRE(source.apply(copy));
  REQUIRE(copy.match_elements<reserve>());
  CHECK(encode(*copy.get_as<reserve>(0)) == bytes);
}

TEST_CASE("bytes that are no message are refused and leave it empty") {
  pb::Reserve body;
  body.set_app("ocr");
  CHECK_FALSE(decode(body, "\xff\xff\xff\xff"));
  CHECK(body.app().empty());
}
