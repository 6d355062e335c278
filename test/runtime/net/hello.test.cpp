#include "runtime/net/hello.hpp"

#include "messages/type_ids.hpp"

#include <doctest/doctest.h>

#include <random>

using namespace astra;

namespace {

hello process(const std::string& name, peer_roles roles = {peer_role::node}) {
  hello out;
  out.self = {"test", name, roles, {}};
  out.life = incarnation{7};
  out.address = "127.0.0.1:9700";
  out.directory = 12;
  return out;
}

caf::expected<hello_frame> through_bytes(const hello_frame& frame) {
  auto bytes = encode(frame);
  auto size = hello_body_size(std::span{bytes}.first(hello_header));
  REQUIRE(size);
  REQUIRE(*size == bytes.size() - hello_header);
  return decode_hello(std::span{bytes}.subspan(hello_header));
}

std::string hex(const std::string& bytes) {
  std::string out;
  for (auto c : bytes)
    for (auto half : {(c >> 4) & 15, c & 15})
      out += "0123456789abcdef"[half];
  return out;
}

std::string why_bad(const std::string& body) {
  auto frame = decode_hello(body);
  return frame ? "good" : error_text(frame.error());
}

} // namespace

TEST_CASE("what a process says of itself arrives as it was said") {
  auto said = process("n1", {peer_role::node, peer_role::gateway});
  auto frame = through_bytes(said);
  REQUIRE(frame);
  auto& heard = std::get<hello>(*frame);
  CHECK(heard.self == said.self);
  CHECK(heard.life == said.life);
  CHECK(heard.address == said.address);
  CHECK(heard.directory == said.directory);
  CHECK(heard.protocol_min == protocol_min);
  CHECK(heard.protocol_max == protocol_max);
  auto no = through_bytes(refusal{"saturated", "has 5 sessions", 250});
  REQUIRE(no);
  CHECK(std::get<refusal>(*no).reason == "has 5 sessions");
  CHECK(std::get<refusal>(*no).retry_after_ms == 250);
  auto go = through_bytes(go_ahead{});
  REQUIRE(go);
  CHECK(std::holds_alternative<go_ahead>(*go));
}

TEST_CASE("a greeting of the last version is still understood, byte by byte") {
  // Captured from version 1: cluster "test", node n1, life 7, 127.0.0.1:9700, directory 12, and a number of the session
  // in a field that is no more.
  std::string golden{"AST\x01\0\0\0\x2c\x0a\x2a\x0a\x04test\x10\x01\x18\x01\x22\x02n1\x2a\x04node\x30\x07\x3a\x0e"
                     "127.0.0.1:9700\x40\x0c\x48\x03",
                     8 + 0x2c};
  auto old = decode_hello(std::span{golden}.subspan(hello_header));
  REQUIRE_MESSAGE(old, error_text(old.error()));
  CHECK(std::get<hello>(*old).self == process("n1").self);
  CHECK(std::get<hello>(*old).life == incarnation{7});
  CHECK(std::get<hello>(*old).directory == 12);
  auto now = golden.substr(0, golden.size() - 2);
  now[7] = 0x2a;
  now[9] = 0x28;
  CHECK(hex(encode(process("n1"))) == hex(now));
  // One of a later version says more, and has roles that this one does not know.
  std::string later{"\x0a\x36\x0a\x04test\x10\x01\x18\x02\x22\x02n1\x2a\x04node\x2a\x07tracker\x30\x07\x3a\x0e"
                    "127.0.0.1:9700\x40\x0c\x48\x03\xa0\x06\x05",
                    56};
  later[1] = static_cast<char>(later.size() - 2);
  auto frame = decode_hello(later);
  REQUIRE_MESSAGE(frame, error_text(frame.error()));
  CHECK(std::get<hello>(*frame).self.roles == peer_roles{peer_role::node});
}

TEST_CASE("what does not begin like a greeting is refused by its first bytes") {
  auto problem = [](const std::string& header) {
    auto size = hello_body_size(header);
    return size ? "good" : error_text(size.error());
  };
  CHECK(problem({"AST\x01\0\0\0\x10", 8}) == "good");
  CHECK(problem("GET / HT") == "does not speak Astra's protocol");
  CHECK(problem({"AST\x02\0\0\0\x10", 8}).find("version 2") != std::string::npos);
  CHECK(problem({"AST\x01\x7f\xff\xff\xff", 8}).find("at most 2048") != std::string::npos);
  CHECK(problem({"AST\x01\0\0\0\0", 8}).find("0 bytes") != std::string::npos);
}

TEST_CASE("a greeting that lacks something says what") {
  auto with = [](auto change) {
    auto said = process("n1");
    change(said);
    auto bytes = encode(said);
    return why_bad(bytes.substr(hello_header));
  };
  CHECK(with([](hello&) {}) == "good");
  CHECK(with([](hello& x) { x.self.name = "a b"; }).find("hello: name") == 0);
  CHECK(with([](hello& x) { x.self.cluster = ""; }).find("hello: cluster") == 0);
  CHECK(with([](hello& x) { x.self.roles = {}; }) == "hello: no role of a process");
  CHECK(with([](hello& x) { x.self.roles = {peer_role::operator_}; }) == "hello: no role of a process");
  CHECK(with([](hello& x) { x.address = "nowhere"; }) == "hello: no address");
  CHECK(with([](hello& x) { x.directory = 0; }) == "hello: no directory");
  CHECK(with([](hello& x) { x.protocol_min = 2; }) == "hello: no protocol version");
  CHECK(why_bad("") == "hello: an empty frame");
  CHECK(why_bad("\xff\xff\xff") == "hello: the frame is malformed");
}

TEST_CASE("bytes of any kind are an error at worst") {
  std::mt19937 random{7};
  auto good = encode(process("n1")).substr(hello_header);
  for (int i = 0; i < 20'000; ++i) {
    auto body = good;
    for (auto edits = random() % 8; edits > 0; --edits)
      body[random() % body.size()] = static_cast<char>(random());
    body.resize(random() % 3 == 0 ? random() % (body.size() + 1) : body.size());
    if (auto frame = decode_hello(body); frame && std::holds_alternative<hello>(*frame))
      CHECK(!std::get<hello>(*frame).self.roles.empty());
  }
}

TEST_CASE("CAF's id of a process follows from who it is and which life it lives") {
  auto one = process("n1");
  CHECK(caf_node(one) == caf_node(one));
  auto other = process("n2");
  CHECK(caf_node(one) != caf_node(other));
  auto later = one;
  later.life = incarnation{8};
  CHECK(caf_node(one) != caf_node(later));
  auto elsewhere = one;
  elsewhere.self.cluster = "other";
  CHECK(caf_node(one) != caf_node(elsewhere));
}

TEST_CASE("a process objects to peers of other clusters, versions, names and roles") {
  auto own = process("r1", {peer_role::resource});
  auto text = [&](const hello& peer, const peer_identity* certified = nullptr) {
    auto no = objection(own, peer, certified);
    return no ? no->reason : "fine";
  };
  auto peer = process("n1");
  CHECK(text(peer) == "fine");
  peer.self.cluster = "prod";
  CHECK(text(peer).find("'prod'") != std::string::npos);
  peer = process("n1");
  peer.protocol_min = peer.protocol_max = protocol_max + 1;
  CHECK(text(peer).find("upgrade the older") != std::string::npos);
  CHECK(text(own) == "that is this process itself");
  auto twin = own;
  twin.life = incarnation{9};
  CHECK(text(twin).find("names are unique") != std::string::npos);
  peer = process("n1", {peer_role::node, peer_role::scheduler});
  peer_identity certified{"test", "n1", {peer_role::node}, {}};
  CHECK(text(peer, &certified).find("its certificate only node") != std::string::npos);
  certified.roles.add(peer_role::scheduler);
  CHECK(text(peer, &certified) == "fine");
  certified.name = "n2";
  CHECK(text(peer, &certified).find("the certificate of 'n2'") != std::string::npos);
  certified.name = "n1";
  certified.cluster = "prod";
  CHECK(text(peer, &certified).find("of 'prod'") != std::string::npos);
}
