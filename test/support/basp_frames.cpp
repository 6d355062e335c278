#include "test/support/basp_frames.hpp"

#include "messages/ids.hpp"
#include "messages/type_ids.hpp"

#include <caf/binary_serializer.hpp>
#include <caf/error.hpp>
#include <caf/exit_reason.hpp>
#include <caf/io/basp/version.hpp>
#include <caf/make_message.hpp>
#include <caf/sec.hpp>
#include <caf/system_messages.hpp>

#include <algorithm>
#include <cassert>
#include <set>

namespace astra::test {
namespace {

template <class... Ts>
byte_buffer serialize(const Ts&... values) {
  caf::byte_buffer written;
  caf::binary_serializer sink{nullptr, written};
  [[maybe_unused]] auto ok = (sink.apply(values) && ...);
  assert(ok);
  auto bytes = std::as_bytes(std::span{written});
  return {bytes.begin(), bytes.end()};
}

pb::AppSpec sample_spec() {
  pb::AppSpec result;
  result.set_name("speech-en");
  result.set_replicas(3);
  result.mutable_per_replica()->set_cpu_milli(500);
  result.set_concurrency(2);
  result.mutable_per_request()->add_command("/usr/bin/tr");
  auto& label = *result.add_require();
  label.set_key("zone");
  label.set_value("a");
  return result;
}

pb::ContentName sample_name() {
  pb::ContentName result;
  result.set_name("ocr-det");
  result.set_version(3);
  result.set_address(std::string(32, 'a'));
  return result;
}

pb::NodeProfile sample_profile(const std::string& name) {
  pb::NodeProfile result;
  result.set_node(name_hash(name));
  result.set_incarnation(3);
  result.set_version(4);
  result.set_name(name);
  result.set_address("10.0.0.1:9700");
  result.mutable_capacity()->set_cpu_milli(8000);
  auto& replica = *result.add_replicas();
  replica.set_app("speech-en");
  replica.set_state(pb::REPLICA_READY);
  return result;
}

} // namespace

byte_buffer basp_frame::bytes() const {
  auto size = announced >= 0 ? static_cast<std::uint32_t>(announced) : static_cast<std::uint32_t>(payload.size());
  auto result = serialize(code, padding1, padding2, flags, size, data, source, destination);
  result.insert(result.end(), payload.begin(), payload.end());
  return result;
}

caf::node_id test_node(std::uint32_t number) {
  caf::hashed_node_id::host_id_type host{};
  host[0] = static_cast<std::uint8_t>(number);
  host[19] = 1;
  return caf::make_node_id(number, host);
}

byte_buffer message_payload(const caf::message& content) {
  return serialize(std::vector<caf::strong_actor_ptr>{}, content);
}

byte_buffer handle_payload(std::uint64_t actor, const caf::node_id& node) {
  byte_buffer result{std::byte{0}, std::byte{1}};
  auto rest = serialize(caf::type_id_v<caf::strong_actor_ptr>, actor, node);
  result.insert(result.end(), rest.begin(), rest.end());
  return result;
}

byte_buffer raw_payload(const std::vector<caf::type_id_t>& types, const byte_buffer& content) {
  auto result = serialize(std::vector<caf::strong_actor_ptr>{}, types);
  result.insert(result.end(), content.begin(), content.end());
  return result;
}

basp_frame make_frame(operation what, std::uint64_t data, std::uint64_t source, std::uint64_t destination,
                      byte_buffer payload) {
  basp_frame result;
  result.code = static_cast<std::uint8_t>(what);
  result.data = data;
  result.source = source;
  result.destination = destination;
  result.payload = std::move(payload);
  return result;
}

basp_frame direct(std::uint64_t id, std::uint64_t source, std::uint64_t destination, const caf::message& content) {
  return make_frame(operation::direct_message, id, source, destination, message_payload(content));
}

basp_frame client_handshake(const caf::node_id& own) {
  return make_frame(operation::client_handshake, 0, 0, 0, serialize(own));
}

basp_frame server_handshake(const caf::node_id& own, std::uint64_t published) {
  return make_frame(operation::server_handshake, caf::io::basp::version, 0, 0,
                    serialize(own, std::vector<std::string>{"generic-caf-app"}, published,
                              std::set<std::string>{"(astra::lookup_atom, std::string) -> caf::strong_actor_ptr"}));
}

basp_frame monitor_frame(const caf::node_id& from, const caf::node_id& to, std::uint64_t actor) {
  return make_frame(operation::monitor_message, 0, 0, actor, serialize(from, to));
}

basp_frame down_frame(const caf::node_id& from, const caf::node_id& to, std::uint64_t actor, const caf::error& reason) {
  return make_frame(operation::down_message, 0, actor, 0, serialize(from, to, reason));
}

std::vector<caf::message> sample_requests(const std::string& name) {
  std::vector<caf::message> result;
  heartbeat beat;
  beat->set_node(name_hash(name));
  beat->set_incarnation(1'767'225'600'000'000'001U);
  beat->set_sequence(12);
  beat->mutable_load()->set_host_utilisation(0.25);
  beat->mutable_load()->set_running(3);
  result.push_back(caf::make_message(beat));
  profile_update update;
  *update->mutable_profile() = sample_profile(name);
  update->set_home_epoch(2);
  result.push_back(caf::make_message(update));
  scheduler_beat apps;
  apps->set_scheduler(name_hash(name));
  apps->set_name(name);
  apps->set_address("10.0.0.3:9700");
  *apps->add_apps()->mutable_spec() = sample_spec();
  result.push_back(caf::make_message(apps));
  subscribe wish;
  wish->set_subscriber(name);
  auto& have = *wish->add_have();
  have.set_origin(9);
  have.set_epoch(1);
  have.set_version(77);
  result.push_back(caf::make_message(wish));
  view_delta delta;
  delta->set_origin(9);
  delta->set_version(78);
  auto& row = *delta->add_nodes();
  row.set_node(name_hash("node-1"));
  *row.mutable_profile() = sample_profile("node-1");
  result.push_back(caf::make_message(delta));
  claim_batch claims;
  claims->set_epoch(5);
  claims->set_scheduler(name_hash(name));
  *claims->mutable_spec() = sample_spec();
  claims->add_claims()->set_token(4711);
  result.push_back(caf::make_message(claims));
  release_batch releases;
  auto& release = *releases->add_releases();
  release.set_app("speech-en");
  release.set_token(4711);
  result.push_back(caf::make_message(releases));
  reserve slot;
  slot->set_app("speech-en");
  slot->set_attempt(99);
  result.push_back(caf::make_message(slot));
  invoke work;
  work->set_app("speech-en");
  work->set_attempt(99);
  work->set_body(std::string("\x00\xff\x80 a body", 10));
  work->set_content_type("application/octet-stream");
  result.push_back(caf::make_message(work));
  cancel stop;
  stop->set_attempt(99);
  stop->set_reason("nobody waits");
  result.push_back(caf::make_message(stop));
  apply_app wanted;
  *wanted->mutable_spec() = sample_spec();
  wanted->set_origin("test");
  result.push_back(caf::make_message(wanted));
  delete_app unwanted;
  unwanted->set_app("speech-en");
  result.push_back(caf::make_message(unwanted));
  describe_app question;
  question->set_app("speech-en");
  result.push_back(caf::make_message(question));
  drain empty;
  empty->set_reason("maintenance");
  result.push_back(caf::make_message(empty));
  event_query events;
  events->set_after(12);
  events->set_wait_ms(10'000);
  result.push_back(caf::make_message(events));
  node_query nodes;
  nodes->set_where("util > 0.8 and zone == 'a'");
  result.push_back(caf::make_message(nodes));
  result.push_back(caf::make_message(report_query{}));
  beat_batch batch;
  auto& member = *batch->add_members();
  member.set_slot(1);
  member.set_name(name);
  *member.mutable_beat() = *beat;
  batch->set_heard("\x0e");
  batch->set_aggregator("rack1");
  result.push_back(caf::make_message(batch));
  swarm_report held;
  held->set_member(name_hash(name));
  held->set_name(name);
  held->mutable_where()->set_address("10.0.0.7");
  auto& holding = *held->add_holdings();
  holding.set_address(std::string(32, 'a'));
  holding.set_pieces(9);
  holding.set_have("\xff\x01");
  *held->add_names() = sample_name();
  result.push_back(caf::make_message(held));
  manifest_query manifest;
  manifest->set_address(std::string(32, 'a'));
  result.push_back(caf::make_message(manifest));
  name_claim claimed;
  *claimed->mutable_name() = sample_name();
  result.push_back(caf::make_message(claimed));
  swarm_query names;
  names->set_name("ocr-det");
  names->set_names_only(true);
  result.push_back(caf::make_message(names));
  set_swarm_limit limit;
  limit->mutable_limit()->set_bytes_per_s(10'000'000);
  result.push_back(caf::make_message(limit));
  content_order order;
  order->set_verb(pb::CONTENT_FETCH);
  *order->mutable_name() = sample_name();
  result.push_back(caf::make_message(order));
  prefetch_batch ahead;
  ahead->set_app("speech-en");
  ahead->add_contents("ocr-det@1");
  ahead->add_nodes(name_hash("node-1"));
  result.push_back(caf::make_message(ahead));
  result.push_back(caf::make_message(lookup_atom_v, std::string{"resource"}));
  return result;
}

std::vector<caf::message> sample_answers() {
  std::vector<caf::message> result;
  heartbeat_ack ack;
  ack->set_resource(9);
  ack->set_profile_version(4);
  result.push_back(caf::make_message(ack));
  subscribe_ack subscribed;
  subscribed->set_resource_name("resource-1");
  subscribed->add_shards()->set_origin(9);
  result.push_back(caf::make_message(subscribed));
  claim_reply claimed;
  auto& outcome = *claimed->add_results();
  outcome.set_token(4711);
  outcome.set_outcome(pb::CLAIM_NO_ROOM);
  outcome.set_reason("needs 4 cores, 1.5 free");
  result.push_back(caf::make_message(claimed));
  reserve_reply slot;
  slot->set_attempt(99);
  slot->set_outcome(pb::RESERVE_GRANTED);
  result.push_back(caf::make_message(slot));
  invoke_reply done;
  done->set_attempt(99);
  done->set_outcome(pb::INVOKE_OK);
  done->set_body("an answer");
  result.push_back(caf::make_message(done));
  control_reply applied;
  applied->set_ok(true);
  applied->set_message("created");
  result.push_back(caf::make_message(applied));
  app_detail detail;
  detail->set_found(true);
  *detail->mutable_record()->mutable_spec() = sample_spec();
  result.push_back(caf::make_message(detail));
  drain_reply draining;
  draining->set_running(2);
  result.push_back(caf::make_message(draining));
  event_page events;
  events->set_resource_name("resource-1");
  events->add_events()->set_cause("no heartbeat for 3.1 s");
  result.push_back(caf::make_message(events));
  node_page nodes;
  nodes->add_nodes()->set_name("node-1");
  nodes->set_more(true);
  result.push_back(caf::make_message(nodes));
  resource_report report;
  report->add_shards()->set_version(78);
  result.push_back(caf::make_message(report));
  beat_batch_ack heard;
  heard->set_resource(9);
  heard->add_words()->set_slot(1);
  result.push_back(caf::make_message(heard));
  swarm_answer told;
  told->add_errands()->set_address(std::string(32, 'a'));
  told->add_allowed()->set_port(6881);
  result.push_back(caf::make_message(told));
  manifest_part part;
  part->set_total(3);
  part->set_data("d1e");
  result.push_back(caf::make_message(part));
  name_grant granted;
  *granted->mutable_name() = sample_name();
  result.push_back(caf::make_message(granted));
  swarm_page page;
  *page->add_names() = sample_name();
  result.push_back(caf::make_message(page));
  content_reply begun;
  begun->mutable_job()->set_id(7);
  result.push_back(caf::make_message(begun));
  result.push_back(caf::make_message(caf::make_error(errc::unknown_name, "no service 'x' in this process")));
  result.push_back(caf::make_message(caf::make_error(caf::sec::request_receiver_down)));
  return result;
}

std::string to_hex_text(std::span<const std::byte> bytes) {
  std::string result;
  for (auto byte : bytes)
    for (auto digit : {std::to_integer<unsigned>(byte) >> 4, std::to_integer<unsigned>(byte) & 15})
      result += "0123456789abcdef"[digit];
  return result;
}

byte_buffer from_hex_text(std::string_view text) {
  byte_buffer result;
  for (std::size_t i = 0; i + 1 < text.size(); i += 2)
    result.push_back(static_cast<std::byte>(std::stoi(std::string{text.substr(i, 2)}, nullptr, 16)));
  return result;
}

// -- a session -------------------------------------------------------------------

namespace {

frame_guard::session make_session(std::string name, peer_roles roles, peer_roles own_roles,
                                  std::vector<std::string> apps, bool dialled) {
  frame_guard::session result;
  result.peer.cluster = "test";
  result.peer.name = std::move(name);
  result.peer.roles = roles;
  result.peer.apps = std::move(apps);
  if (roles.has(peer_role::aggregator))
    result.peer.nodes = {"p", "rack1-*", "all-*"};
  result.own_roles = own_roles;
  result.own_node = test_node(1);
  result.own_name = "p";
  result.peer_node = test_node(2);
  result.dialled = dialled;
  result.directory = guarded_end::directory;
  result.is_service = [](caf::actor_id id) { return id == guarded_end::service; };
  return result;
}

} // namespace

guarded_end::guarded_end(std::string name, peer_roles roles, peer_roles own_roles, std::vector<std::string> apps,
                         bool dialled, bool shake_hands)
  : guard(make_session(std::move(name), roles, own_roles, std::move(apps), dialled)) {
  if (!shake_hands)
    return;
  send(dialled ? client_handshake(own) : server_handshake(own, directory));
  [[maybe_unused]] auto judged = receive(dialled ? server_handshake(peer, 3) : client_handshake(peer));
  assert(judged.what == verdict::action::pass);
  send(direct(async_id, speaker, stranger, sample_answers().front()));
}

verdict guarded_end::receive(const basp_frame& frame) {
  return receive(frame.bytes());
}

verdict guarded_end::receive(std::span<const std::byte> bytes) {
  auto size = std::min(bytes.size(), frame_guard::header_size);
  auto judged = guard.on_header(bytes.first(size), now);
  return judged.what == verdict::action::pass ? guard.on_payload(bytes.subspan(size)) : judged;
}

void guarded_end::ask(const caf::message& content, std::uint64_t request) {
  send(direct(request, speaker, stranger, content));
}

void guarded_end::send(const basp_frame& frame) {
  guard.on_sent(frame.bytes());
}

// -- harm --------------------------------------------------------------------------

std::vector<basp_frame> sample_frames(const std::string& name, const caf::node_id& from, const caf::node_id& to) {
  std::vector<basp_frame> result;
  std::uint64_t request = 100;
  for (auto& one : sample_requests(name)) {
    result.push_back(direct(++request, guarded_end::stranger, guarded_end::service, one));
    result.push_back(direct(async_id, guarded_end::stranger, guarded_end::directory, one));
  }
  for (auto& one : sample_answers())
    for (std::uint64_t asked = 1; asked < 19; ++asked)
      result.push_back(direct(answer_to(asked), guarded_end::stranger, guarded_end::speaker, one));
  for (std::uint64_t asked = 1; asked < 19; ++asked)
    result.push_back(make_frame(operation::direct_message, answer_to(asked), guarded_end::stranger,
                                guarded_end::speaker, handle_payload(31, from)));
  result.push_back(client_handshake(from));
  result.push_back(server_handshake(from, 3));
  result.push_back(monitor_frame(from, to, guarded_end::directory));
  result.push_back(down_frame(from, to, guarded_end::stranger, caf::exit_reason::user_shutdown));
  result.push_back(down_frame(from, to, guarded_end::stranger, caf::make_error(errc::fenced, "a newer one runs")));
  result.push_back(make_frame(operation::heartbeat, 0, 0, 0));
  // What only somebody sends who means harm.
  for (auto type : {caf::type_id_v<caf::exit_msg>, caf::type_id_v<caf::down_msg>, caf::type_id_v<caf::spawn_atom>})
    result.push_back(make_frame(operation::direct_message, async_id, guarded_end::stranger, guarded_end::service,
                                raw_payload({type}, byte_buffer(32))));
  for (auto& one : {caf::make_message(caf::link_atom_v), caf::make_message(caf::make_message(caf::make_message(1))),
                    caf::make_message(std::string{"text"}),
                    caf::make_message(caf::sys_atom_v, caf::get_atom_v, std::string{"info"}),
                    caf::make_message(caf::error{caf::sec::runtime_error, caf::make_message(caf::make_message(2))})}) {
    result.push_back(direct(async_id, guarded_end::stranger, guarded_end::service, one));
    result.push_back(direct(answer_to(3), guarded_end::stranger, guarded_end::speaker, one));
  }
  return result;
}

basp_frame frame_mutator::mutate(const std::vector<basp_frame>& samples) {
  auto result = samples[below(samples.size())];
  for (auto left = below(4); left > 0; --left) {
    if (below(3) == 0)
      mutate_header(result);
    else
      mutate_payload(result, samples);
  }
  return result;
}

void frame_mutator::mutate_header(basp_frame& frame) {
  static constexpr std::uint64_t ids[] = {0, 1, 2, 7, 8, 20, 30, 31, ~std::uint64_t{0}};
  auto any = [this] { return below(4) == 0 ? random_() : ids[below(std::size(ids))]; };
  switch (below(8)) {
  case 0:
    frame.code = static_cast<std::uint8_t>(below(9));
    break;
  case 1:
    frame.flags = static_cast<std::uint8_t>(below(4));
    break;
  case 2:
    frame.data = any() | (below(2) << 63);
    break;
  case 3:
    frame.data = answer_to(1 + below(16));
    break;
  case 4:
    frame.source = any();
    break;
  case 5:
    frame.destination = any();
    break;
  case 6:
    frame.announced = static_cast<std::int64_t>(below(2) == 0 ? below(1 << 17) : random_() & 0xffffffff);
    break;
  default:
    frame.padding1 = static_cast<std::uint8_t>(below(2));
  }
}

void frame_mutator::mutate_payload(basp_frame& frame, const std::vector<basp_frame>& samples) {
  auto& bytes = frame.payload;
  if (bytes.empty()) {
    bytes.resize(below(64));
    return;
  }
  auto place = below(bytes.size());
  auto at = [&bytes](std::size_t i) { return bytes.begin() + static_cast<std::ptrdiff_t>(i); };
  switch (below(9)) {
  case 0: // a bit
    bytes[place] ^= static_cast<std::byte>(1 << below(8));
    break;
  case 1: // a byte that means much: lengths, tags, continuation bits
    bytes[place] = std::array{std::byte{0}, std::byte{1}, std::byte{0x7f}, std::byte{0x80}, std::byte{0xff}}[below(5)];
    break;
  case 2: // an end
    bytes.resize(place);
    break;
  case 3: // more
    bytes.insert(at(place), 1 + below(16), static_cast<std::byte>(random_()));
    break;
  case 4: // less
    bytes.erase(at(place), at(place + below(bytes.size() - place)));
    break;
  case 5: { // another type
    static const caf::type_id_t types[] = {
        caf::type_id_v<caf::message>,          caf::type_id_v<caf::error>,
        caf::type_id_v<caf::exit_msg>,         caf::type_id_v<caf::down_msg>,
        caf::type_id_v<caf::link_atom>,        caf::type_id_v<caf::config_value>,
        caf::type_id_v<std::string>,           caf::type_id_v<heartbeat>,
        caf::type_id_v<claim_batch>,           caf::type_id_v<caf::put_atom>,
        caf::type_id_v<caf::strong_actor_ptr>, caf::type_id_v<caf::node_id>,
        caf::type_id_v<invoke_reply>,          static_cast<caf::type_id_t>(random_())};
    auto type = types[below(std::size(types))];
    if (bytes.size() >= 4) {
      bytes[2] = static_cast<std::byte>(type >> 8);
      bytes[3] = static_cast<std::byte>(type & 0xff);
    }
    break;
  }
  case 6: { // the end of another frame
    auto& other = samples[below(samples.size())].payload;
    auto from = other.empty() ? 0 : below(other.size());
    bytes.resize(place);
    bytes.insert(bytes.end(), other.begin() + static_cast<std::ptrdiff_t>(from), other.end());
    break;
  }
  case 7: { // deeper and deeper
    static const auto level = serialize(std::uint8_t{1}, caf::type_id_v<caf::message>);
    byte_buffer nest;
    for (auto depth = 1 + (below(16) == 0 ? below(20'000) : below(8)); depth > 0; --depth)
      nest.insert(nest.end(), level.begin(), level.end());
    bytes.insert(at(std::min<std::size_t>(1, bytes.size())), nest.begin(), nest.end());
    break;
  }
  default: { // a node id elsewhere
    auto id = serialize(test_node(static_cast<std::uint32_t>(below(4))));
    for (std::size_t i = 0; i < id.size() && place + i < bytes.size(); ++i)
      bytes[place + i] = id[i];
  }
  }
}

} // namespace astra::test
