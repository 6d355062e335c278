#include "runtime/net/session_layer.hpp"

#include "messages/aggregator_protocol.hpp"
#include "messages/errc.hpp"
#include "messages/node_protocol.hpp"
#include "messages/resource_protocol.hpp"
#include "messages/scheduler_protocol.hpp"
#include "messages/transfer_protocol.hpp"
#include "runtime/net/dial_backoff.hpp"
#include "runtime/net/greeter.hpp"
#include "runtime/net/session_scribe.hpp"
#include "runtime/net/session_table.hpp"
#include "runtime/security/x509.hpp"
#include "runtime/system_node.hpp"

#include <caf/actor_cast.hpp>
#include <caf/event_based_actor.hpp>
#include <caf/io/basp_broker.hpp>
#include <caf/io/middleman.hpp>
#include <caf/response_promise.hpp>
#include <caf/send.hpp>
#include <caf/stateful_actor.hpp>
#include <caf/telemetry/counter.hpp>
#include <caf/telemetry/gauge.hpp>
#include <caf/telemetry/metric_registry.hpp>
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cassert>
#include <condition_variable>
#include <ctime>
#include <deque>
#include <future>
#include <map>
#include <mutex>
#include <random>
#include <set>
#include <utility>

namespace astra {
namespace {

using std::chrono::milliseconds;
using clock_type = session::clock;

/// What may wait for a peer of each plane.  A subscriber has at most a window of chunks in flight, so a peer that lets
/// more pile up takes nothing any more.
constexpr std::size_t edge_backlog = 1u << 20;
constexpr std::size_t core_backlog = 32u << 20;
/// Looks for silence among sessions of nodes.
constexpr milliseconds edge_tick{1000};
/// CAF's own handshake has this long.
constexpr milliseconds handshake_limit{2000};
/// An older session with the same process has this long to be cleared away.
constexpr milliseconds clearing_limit{1000};
/// A dial whose peer is there and whose session came to nothing is repeated, so often and after so long.
constexpr milliseconds redial_pause{20};
constexpr int redials_most = 4;
/// One peer's violations are told at most this often.
constexpr std::chrono::seconds quiet_after_line{10};
/// Sessions with a certificate of ours that has a successor move over to it before it ends, in this many seconds: all
/// of them at once would be a storm of handshakes.
constexpr std::int64_t moving_over_s = 600;
/// CAF knows what we publish by a port; nothing listens there.
constexpr std::uint16_t directory_port = 1;

/// Gives the system its id after the middleman has chosen one and before any broker reads it: modules are initialised
/// in the order of their numbers, and all of them before the first one starts.
class node_id_module : public caf::actor_system::module {
public:
  node_id_module(caf::actor_system& sys, caf::node_id id) : sys_(sys), id_(std::move(id)) {}
  void start() override {}
  void stop() override {}
  void init(caf::actor_system_config&) override { system_node(sys_) = id_; }
  id_t id() const override { return network_manager; }
  void* subtype_ptr() override { return this; }

private:
  caf::actor_system& sys_;
  caf::node_id id_;
};

struct net_metrics {
  explicit net_metrics(caf::telemetry::metric_registry& registry)
    : violations(
        registry.counter_family("astra.net", "violations", {"kind"}, "Sessions ended because the peer broke a rule.")),
      strangers(
          registry.counter_family("astra.net", "turned_away", {"reason"}, "Connections that never became sessions.")),
      expired(registry.counter_family("astra.net", "certificates_expired", {"whose"},
                                      "Sessions ended because a certificate ran out.")),
      opened(registry.counter_singleton("astra.net", "sessions_opened", "Sessions opened.")),
      sessions(registry.gauge_singleton("astra.net", "sessions", "Sessions now.")) {}

  caf::telemetry::metric_family_impl<caf::telemetry::int_counter>* violations;
  caf::telemetry::metric_family_impl<caf::telemetry::int_counter>* strangers;
  caf::telemetry::metric_family_impl<caf::telemetry::int_counter>* expired;
  caf::telemetry::int_counter* opened;
  caf::telemetry::int_gauge* sessions;
};

/// Says a thing about a subject at most once per `quiet_after_line`, and how often it was not said.
class line_limiter {
public:
  /// @returns nothing when the line is to be left out, else the number of lines left out before it.
  std::optional<std::uint64_t> take(const std::string& subject, clock_type::time_point now) {
    std::erase_if(subjects_, [&](auto& entry) { return now - entry.second.last > 10 * quiet_after_line; });
    // Strangers come from as many addresses as they like.
    if (subjects_.size() >= 1024 && subjects_.count(subject) == 0)
      return take("", now);
    auto [entry, fresh] = subjects_.try_emplace(subject, record{now, 0});
    if (!fresh && now - entry->second.last < quiet_after_line) {
      ++entry->second.left_out;
      return std::nullopt;
    }
    entry->second.last = now;
    return std::exchange(entry->second.left_out, 0);
  }

private:
  struct record {
    clock_type::time_point last;
    std::uint64_t left_out;
  };
  std::map<std::string, record> subjects_;
};

} // namespace

bool may_offer(const peer_identity& peer, const std::string& service) {
  if (service == resource_service || service == tracker_service)
    return peer.roles.has(peer_role::resource);
  if (service == apps_service)
    return peer.roles.has(peer_role::scheduler);
  if (service == aggregator_service)
    return peer.roles.has(peer_role::aggregator);
  return peer.roles.has(peer_role::node)
         && (service == node_service(peer.name) || service == content_service(peer.name));
}

class session_layer::impl : public std::enable_shared_from_this<session_layer::impl> {
public:
  impl(caf::actor_system& sys, options how, std::shared_ptr<service_table> services)
    : sys_(sys), how_(std::move(how)), services_(std::move(services)), metrics_(sys.metrics()),
      network_(std::make_shared<network_thread>(sys.middleman().backend())),
      broker_(sys.middleman().named_broker<caf::io::basp_broker>("BASP")),
      table_(sys.node(), how_.net.sessions_max, how_.net.dial_timeout), backoff_(std::random_device{}()) {
    own_.self = how_.self;
    own_.life = how_.life;
    assert(sys_.node() == caf_node(own_));
  }

  caf::expected<void> start(const directory_actor& directory) {
    directory_ = caf::actor_cast<caf::strong_actor_ptr>(directory);
    own_.directory = directory_->id();
    sys_.registry().put(directory_->id(), directory_);
    greeter::limits bounds;
    bounds.dial = how_.net.dial_timeout;
    bounds.admissions_per_s = how_.net.admissions_per_s;
    greeter::callbacks told;
    told.judge = [this](const greeter::ready& who, bool edge_port, bool last) { return judge(who, edge_port, last); };
    told.deliver = [this](greeter::ready who) { greeted(std::move(who)); };
    told.dial_failed = [this](std::uint64_t dial, caf::error why, milliseconds later) {
      dial_failed(dial, std::move(why), later);
    };
    told.strangers = [this](greeter::turned_away why, const std::string& from, const std::string& reason) {
      turned_away(why, from, reason);
    };
    greeter_ = std::make_unique<greeter>(own_, how_.tls, bounds, std::move(told));
    auto open = [this](const std::string& key, const std::string& text, bool edge) -> caf::expected<endpoint> {
      auto where = parse_endpoint(text);
      assert(where); // checked by the configuration layer
      auto port = greeter_->listen(*where, edge);
      if (!port)
        return caf::make_error(errc::io_failed,
                               fmt::format("{} = \"{}\": cannot listen: {}; is another process on this port?", key,
                                           text, error_text(port.error())));
      return endpoint{where->host, *port};
    };
    auto core = open("net.listen", how_.net.listen, false);
    if (!core)
      return std::move(core.error());
    if (!how_.net.edge_listen.empty())
      if (auto edge = open("net.edge_listen", how_.net.edge_listen, true); !edge)
        return std::move(edge.error());
    address_ = how_.net.advertise.empty() ? to_string(*core) : how_.net.advertise;
    own_.address = address_;
    greeter_->introduce_as(own_);
    connector_ = sys_.spawn<caf::stateful_actor<connector_state>, caf::hidden>(shared_from_this());
    greeter_->start();
    return {};
  }

  const std::string& address() const { return address_; }
  const caf::actor& connector() const { return connector_; }
  std::size_t strangers() const { return greeter_ ? greeter_->strangers() : 0; }

  std::vector<session_info> sessions() const {
    std::lock_guard guard{mutex_};
    std::vector<session_info> result;
    auto now = clock_type::now();
    for (auto& [id, one] : live_) {
      auto& about = *one.about;
      session_info info;
      info.id = id;
      info.peer = about.peer.self.name;
      info.roles = to_string(about.peer.self.roles);
      info.address = about.peer.address;
      info.dialled = about.dialled;
      info.live = about.live;
      info.tls = !about.fingerprint.empty();
      info.age = std::chrono::duration_cast<milliseconds>(now - about.since);
      info.frames_in = about.frames_in;
      info.bytes_in = about.bytes_in;
      info.bytes_out = about.bytes_out;
      info.backlog = about.backlog;
      result.push_back(std::move(info));
    }
    return result;
  }

  void certificates_changed() {
    if (!how_.tls)
      return;
    for (auto& one : all())
      if (how_.tls->revoked(one.about->fingerprint))
        one.handle->cut(violation::identity, "its certificate has been revoked");
  }

  void cut_all(const std::string& reason) {
    for (auto& one : all())
      one.handle->cut(violation::none, reason);
  }

  void stop(milliseconds limit) {
    if (!greeter_)
      return;
    {
      std::lock_guard guard{mutex_};
      if (std::exchange(stopping_, true))
        return;
    }
    greeter_->stop();
    // Whatever waits for a peer that takes nothing would hold CAF's network thread up.
    auto open = all();
    for (auto& one : open)
      one.handle->cut(violation::none, "this process ends");
    auto done = std::make_shared<std::promise<void>>();
    auto cut = done->get_future();
    network_->post([done] { done->set_value(); });
    if (cut.wait_for(limit) != std::future_status::ready)
      spdlog::warn("net.stop_late limit_ms={} reason=\"CAF's network thread does not answer\"", limit.count());
    if (connector_)
      caf::anon_send_exit(connector_, caf::exit_reason::user_shutdown);
    sys_.registry().erase(directory_->id());
    connector_ = nullptr;
    directory_ = nullptr;
    std::lock_guard guard{mutex_};
    live_.clear();
    dialled_.clear();
  }

private:
  struct live_session {
    session_ptr about;
    std::shared_ptr<session_handle> handle;
  };

  struct dial_result {
    session_ptr about;
    std::shared_ptr<session_handle> handle;
    caf::error failure;
    /// The peer is there: another try may go better, such as when both sides dialled at once.
    bool again = false;
  };

  std::vector<live_session> all() const {
    std::lock_guard guard{mutex_};
    std::vector<live_session> result;
    for (auto& [id, one] : live_)
      result.push_back(one);
    return result;
  }

  static bool only_node(const peer_identity& who) { return who.roles == peer_roles{peer_role::node}; }

  // -- the greeter's thread -----------------------------------------------------------

  std::optional<refusal> judge(const greeter::ready& who, bool edge_port, bool last_word) {
    auto refuse = [](std::string reason) { return refusal{to_string(errc::invalid_argument), std::move(reason), 0}; };
    if (!who.dialled && edge_port && !only_node(who.identity))
      return refuse("this is where nodes connect; see net.listen of " + own_.self.name);
    if (!who.dialled && !edge_port && !how_.net.edge_listen.empty() && only_node(who.identity))
      return refuse("nodes connect at net.edge_listen of " + own_.self.name + ", " + how_.net.edge_listen);
    std::vector<live_session> old;
    std::optional<refusal> no;
    {
      std::lock_guard guard{mutex_};
      if (stopping_)
        return refusal{to_string(errc::draining), own_.self.name + " is stopping", 1000};
      auto now = clock_type::now();
      if (last_word && who.dialled)
        entered_[who.dial] = who.id;
      auto word = last_word ? table_.add(who.id, who.peer, who.dialled, now) : table_.judge(who.peer, who.dialled, now);
      no = std::move(word.no);
      if (last_word)
        for (auto id : word.close)
          if (auto found = live_.find(id); found != live_.end())
            old.push_back(found->second);
    }
    for (auto& one : old)
      one.handle->cut(violation::none, "replaced by a newer session with " + one.about->peer.self.name);
    return no;
  }

  void greeted(greeter::ready who) {
    auto about = std::make_shared<session>();
    about->id = who.id;
    about->peer = who.peer;
    about->identity = who.identity;
    // For whom it speaks stands in its certificate; where there are none, everybody may do what their roles may.
    if (!who.tls && about->identity.roles.has(peer_role::aggregator))
      about->identity.nodes = {"*"};
    about->dialled = who.dialled;
    if (who.tls) {
      about->fingerprint = who.tls->fingerprint();
      about->peer_expires_at = who.tls->peer_expires_at();
      about->own_expires_at = who.tls->own_expires_at();
    }
    about->edge = only_node(who.identity) || only_node(own_.self);
    about->since = clock_type::now();
    frame_guard::session rules;
    rules.peer = about->identity;
    rules.own_roles = own_.self.roles;
    rules.own_node = sys_.node();
    rules.own_name = own_.self.name;
    rules.peer_node = caf_node(about->peer);
    rules.dialled = about->dialled;
    rules.directory = own_.directory;
    rules.is_service = [services = services_, node = only_node(about->identity)](caf::actor_id id) {
      auto name = services->name_of(id);
      return !name.empty()
             && (!node || name == resource_service || name == aggregator_service || name == tracker_service);
    };
    // Requests and answers of clients are as large as clients make them.
    auto bodies = about->identity.roles.has(peer_role::gateway) || own_.self.roles.has(peer_role::gateway)
                      ? profile_of(about->identity).max_body
                      : 0;
    auto most = (about->edge ? edge_backlog : core_backlog) + 2 * bodies;
    // It may outlive this layer by a moment.
    auto ended = [self = weak_from_this(), about] {
      if (auto layer = self.lock())
        layer->session_ended(about);
    };
    auto handle = make_session_scribe(sys_, network_,
                                      scribe_parts{about, std::move(who.fd), std::move(who.tls),
                                                   frame_guard{std::move(rules)}, most, std::move(ended)});
    auto replaced = false;
    {
      std::lock_guard guard{mutex_};
      // Another session with the same process may have been completed since.
      replaced = !table_.has(about->id);
      live_.emplace(about->id, live_session{about, handle});
      metrics_.sessions->value(static_cast<std::int64_t>(live_.size()));
      entered_.erase(who.dial);
      if (about->dialled)
        backoff_.succeeded(dial_address_[who.dial]);
    }
    metrics_.opened->inc();
    spdlog::debug("net.session_opened id={} peer={} roles={} address={} dialled={} tls={}", about->id,
                  about->peer.self.name, to_string(about->peer.self.roles), about->peer.address, about->dialled,
                  !about->fingerprint.empty());
    look_after(about->edge);
    if (replaced)
      handle->cut(violation::none, "replaced by a newer session with " + about->peer.self.name);
    hand_over(about, handle, who.dial, clock_type::now() + clearing_limit);
  }

  /// Gives the scribe to CAF, as soon as CAF has forgotten an older session with the same process.
  void hand_over(session_ptr about, std::shared_ptr<session_handle> handle, std::uint64_t dial,
                 clock_type::time_point until) {
    network_->post([self = shared_from_this(), about, handle, dial, until] {
      auto failed = [&](const std::string& reason) {
        if (about->dialled)
          self->dial_failed(dial, caf::make_error(errc::unreachable, reason), redial_pause);
      };
      if (about->ended) {
        failed(about->end_reason().second);
        return;
      }
      if (has_route(self->sys_, caf_node(about->peer))) {
        if (clock_type::now() >= until) {
          handle->cut(violation::none, "an older session with this process does not end");
          failed("an older session with this process does not end");
          return;
        }
        self->greeter_->run([self, about, handle, dial, until] { self->hand_over(about, handle, dial, until); },
                            milliseconds{5});
        return;
      }
      if (about->dialled)
        self->dial_succeeded(dial, about, handle);
      else
        caf::anon_send(self->broker_, caf::publish_atom_v, handle->take(), directory_port, self->directory_,
                       std::set<std::string>{});
    });
  }

  void turned_away(greeter::turned_away why, const std::string& from, const std::string& reason) {
    metrics_.strangers->get_or_add({{"reason", to_string(why)}})->inc();
    auto machine = from.substr(0, from.rfind(':'));
    std::optional<std::uint64_t> left_out;
    {
      std::lock_guard guard{mutex_};
      left_out = lines_.take(machine, clock_type::now());
    }
    if (left_out)
      spdlog::warn("net.turned_away from={} kind={} reason=\"{}\" similar_before={}", from, to_string(why), reason,
                   *left_out);
  }

  /// Looks after the sessions of one plane, for as long as there are any: an idle node has better things to do.
  void look_after(bool edge) {
    auto& running = edge ? edge_ticks_ : core_ticks_;
    if (std::exchange(running, true))
      return;
    schedule_tick(edge);
  }

  void schedule_tick(bool edge) {
    auto pause = edge ? edge_tick : how_.net.heartbeat;
    greeter_->run(
        [this, edge, due = clock_type::now() + pause] {
          auto any = edge ? tick(true, due, how_.net.edge_timeout / 4, how_.net.edge_timeout)
                          : tick(false, due, how_.net.heartbeat, how_.net.timeout);
          if (any)
            schedule_tick(edge);
          else
            (edge ? edge_ticks_ : core_ticks_) = false;
        },
        pause);
  }

  /// @returns whether there is any session of this plane.
  bool tick(bool edge, clock_type::time_point due, milliseconds interval, milliseconds timeout) {
    auto now = clock_type::now();
    // This process was stopped: what its peers sent meanwhile is in the sockets, and unread through no fault of theirs.
    auto frozen = now - due > interval;
    auto at = [](std::int64_t ns) { return clock_type::time_point{std::chrono::nanoseconds{ns}}; };
    auto any = false;
    for (auto& one : all()) {
      auto& about = *one.about;
      if (about.edge != edge || about.ended)
        continue;
      any = true;
      if (certificate_ended(one))
        continue;
      if (frozen) {
        about.last_in = std::chrono::duration_cast<std::chrono::nanoseconds>(now.time_since_epoch()).count();
        continue;
      }
      if (!about.live && now - about.since > handshake_limit + clearing_limit)
        one.handle->cut(violation::none, "no handshake of CAF's protocol within the time allowed");
      else if (now - at(about.last_in) > timeout)
        one.handle->cut(violation::none, fmt::format("silent for {} ms", timeout.count()));
      else if (about.live && now - at(about.last_out) > interval * 9 / 10)
        one.handle->keep_alive();
    }
    return any;
  }

  /// Ends a session whose certificates do not allow it any more.  Whoever needs it dials again, with the certificates
  /// of then.
  bool certificate_ended(const live_session& one) {
    auto& about = *one.about;
    if (about.fingerprint.empty())
      return false;
    auto now = static_cast<std::int64_t>(std::time(nullptr));
    auto peers = about.peer_expires_at < now;
    if (peers || about.own_expires_at < now) {
      auto& owner = peers ? about.peer.self.name : own_.self.name;
      auto reason = fmt::format("the certificate of {} has expired on {}", owner,
                                x509::show_time(peers ? about.peer_expires_at : about.own_expires_at));
      metrics_.expired->get_or_add({{"whose", peers ? std::string_view{"peer"} : "own"}})->inc();
      std::optional<std::uint64_t> left_out;
      {
        std::lock_guard guard{mutex_};
        left_out = lines_.take("certificate of " + owner, clock_type::now());
      }
      if (left_out)
        spdlog::warn("net.certificate_expired peer={} whose={} reason=\"{}; issue a new one and reload\" "
                     "similar_before={}",
                     about.peer.self.name, peers ? "peer" : "own", reason, *left_out);
      one.handle->cut(violation::none, reason);
      return true;
    }
    if (how_.tls->expires_at() <= about.own_expires_at)
      return false;
    auto age = std::chrono::duration_cast<std::chrono::seconds>(clock_type::now() - about.since).count();
    auto spread = std::min(moving_over_s, (about.own_expires_at - now + age) / 8);
    auto share = static_cast<std::int64_t>(about.id * 7919 % moving_over_s) * spread / moving_over_s;
    if (now < about.own_expires_at - share)
      return false;
    one.handle->cut(violation::none, "moves over to the new certificate of " + own_.self.name);
    return true;
  }

  // -- CAF's network thread ------------------------------------------------------------

  void session_ended(const session_ptr& about) {
    auto [why, reason] = about->end_reason();
    std::optional<std::uint64_t> left_out;
    {
      std::lock_guard guard{mutex_};
      table_.remove(about->id);
      live_.erase(about->id);
      metrics_.sessions->value(static_cast<std::int64_t>(live_.size()));
      if (why != violation::none)
        left_out = lines_.take(about->peer.self.name, clock_type::now());
    }
    if (why != violation::none)
      metrics_.violations->get_or_add({{"kind", to_string(why)}})->inc();
    if (left_out)
      spdlog::warn("net.violation peer={} roles={} address={} kind={} reason=\"{}\" similar_before={}",
                   about->peer.self.name, to_string(about->peer.self.roles), about->peer.address, to_string(why),
                   reason, *left_out);
    spdlog::debug("net.session_closed id={} peer={} reason=\"{}\"", about->id, about->peer.self.name, reason);
  }

  // -- dials ---------------------------------------------------------------------------

  void dial_succeeded(std::uint64_t dial, const session_ptr& about, std::shared_ptr<session_handle> handle) {
    {
      std::lock_guard guard{mutex_};
      dial_address_.erase(dial);
      dialled_[dial] = {about, std::move(handle), {}, false};
    }
    caf::anon_send(connector_, caf::ok_atom_v, dial);
  }

  void dial_failed(std::uint64_t dial, caf::error why, milliseconds later) {
    if (why == errc::fenced)
      how_.fenced(error_text(why));
    {
      std::lock_guard guard{mutex_};
      auto address = dial_address_.extract(dial);
      if (!address.empty())
        backoff_.failed(address.mapped(), clock_type::now(), later);
      // It may have failed with its very last word.
      if (auto entered = entered_.extract(dial); !entered.empty())
        table_.remove(entered.mapped());
      dialled_[dial] = {nullptr, nullptr, std::move(why), later > milliseconds{0}};
    }
    caf::anon_send(connector_, caf::ok_atom_v, dial);
  }

  /// Begins to dial; the connector hears of the end.
  std::uint64_t begin_dial(const endpoint& where) {
    std::lock_guard guard{mutex_};
    auto number = ++last_dial_;
    auto address = to_string(where);
    dial_address_[number] = address;
    auto wait = backoff_.wait(address, clock_type::now());
    if (wait > milliseconds{0})
      greeter_->run([this, number, where] { greeter_->dial(number, where); }, wait);
    else
      greeter_->dial(number, where);
    return number;
  }

  dial_result take_dial(std::uint64_t number) {
    std::lock_guard guard{mutex_};
    auto found = dialled_.extract(number);
    return found.empty() ? dial_result{} : std::move(found.mapped());
  }

  /// Whether there is a live session with a process that says it listens there.
  bool session_at(const std::string& address) const {
    std::lock_guard guard{mutex_};
    auto entry = table_.at(address);
    if (entry == nullptr)
      return false;
    auto found = live_.find(entry->id);
    return found != live_.end() && found->second.about->live;
  }

  /// A live session with the process that says it listens there and may offer the service.
  session_ptr session_at(const std::string& address, const std::string& service) const {
    std::lock_guard guard{mutex_};
    auto entry = table_.at(address);
    if (entry == nullptr)
      return nullptr;
    auto found = live_.find(entry->id);
    if (found == live_.end() || !found->second.about->live || !may_offer(found->second.about->identity, service))
      return nullptr;
    return found->second.about;
  }

  /// One is on its way: it was dialled from the other side at the same moment.
  bool session_expected_at(const std::string& address) const {
    std::lock_guard guard{mutex_};
    auto entry = table_.at(address);
    if (entry == nullptr)
      return false;
    auto found = live_.find(entry->id);
    return found != live_.end() && !found->second.about->live && !found->second.about->ended;
  }

  /// Answers the dialer.  One dial per address, whoever asks.
  class connector_state {
  public:
    static constexpr const char* name = "astra.connector";

    connector_state(caf::event_based_actor* self, std::shared_ptr<impl> layer)
      : self_(self), layer_(std::move(layer)) {}

    caf::behavior make_behavior() {
      return {
          [this](caf::connect_atom, const std::string& host, std::uint16_t port, const std::string& service) {
            return connect({host, port}, service);
          },
          [this](caf::ok_atom, std::uint64_t dial) { finish(dial); },
      };
    }

  private:
    using promise = caf::typed_response_promise<caf::node_id, caf::strong_actor_ptr, std::set<std::string>>;

    struct waiting {
      std::string service;
      promise reply;
    };

    caf::result<caf::node_id, caf::strong_actor_ptr, std::set<std::string>> connect(const endpoint& where,
                                                                                    const std::string& service) {
      auto reply = self_->make_response_promise<caf::node_id, caf::strong_actor_ptr, std::set<std::string>>();
      auto address = to_string(where);
      if (use_existing(address, service, reply))
        return reply;
      auto& queue = waiting_[address];
      queue.push_back({service, reply});
      if (queue.size() == 1)
        addresses_[layer_->begin_dial(where)] = address;
      return reply;
    }

    bool use_existing(const std::string& address, const std::string& service, promise& reply) {
      auto about = layer_->session_at(address, service);
      if (!about)
        return false;
      auto node = caf_node(about->peer);
      auto directory = proxy_of(layer_->sys_, node, about->peer.directory);
      if (!directory)
        return false;
      reply.deliver(node, std::move(directory), std::set<std::string>{});
      return true;
    }

    void finish(std::uint64_t dial) {
      auto result = layer_->take_dial(dial);
      auto address = addresses_.extract(dial);
      if (address.empty())
        return;
      if (!result.handle) {
        answer(address.mapped(), nullptr, result.failure, nullptr, result.again);
        return;
      }
      self_->request(layer_->broker_, handshake_limit, caf::connect_atom_v, result.handle->take(), directory_port)
          .then([this, address = address.mapped(),
                 about = result.about](const caf::node_id&, const caf::strong_actor_ptr& directory,
                                       const std::set<std::string>&) { answer(address, about, {}, directory); },
                [this, address = address.mapped(), about = result.about](const caf::error&) {
                  auto reason = about->end_reason().second;
                  answer(address, nullptr,
                         caf::make_error(errc::unreachable, reason.empty() ? "no handshake of CAF's protocol" : reason),
                         nullptr, true);
                });
    }

    void answer(const std::string& address, const session_ptr& about, const caf::error& failure,
                const caf::strong_actor_ptr& directory = nullptr, bool again = false, int waits = 0) {
      if (!about && waits < 25 && layer_->session_expected_at(address)) {
        self_->run_delayed(redial_pause, [this, address, failure, again, waits] {
          answer(address, nullptr, failure, nullptr, again, waits + 1);
        });
        return;
      }
      if (!about && again && !layer_->session_at(address) && ++redials_[address] <= redials_most) {
        self_->run_delayed(redial_pause, [this, address, failure] {
          if (layer_->session_at(address) || layer_->session_expected_at(address))
            answer(address, nullptr, failure, nullptr, true);
          else
            addresses_[layer_->begin_dial(*parse_endpoint(address))] = address;
        });
        return;
      }
      redials_.erase(address);
      auto queue = waiting_.extract(address);
      if (queue.empty())
        return;
      for (auto& [service, reply] : queue.mapped()) {
        // Who was dialled from the other side at the same moment may have that session now.
        if (use_existing(address, service, reply))
          continue;
        if (!about)
          reply.deliver(failure);
        else if (!may_offer(about->identity, service))
          reply.deliver(caf::make_error(errc::unreachable,
                                        fmt::format("answers as {} with the roles {}, which may not offer '{}'",
                                                    about->peer.self.name, to_string(about->identity.roles), service)));
        else
          reply.deliver(caf_node(about->peer), directory, std::set<std::string>{});
      }
    }

    caf::event_based_actor* self_;
    std::shared_ptr<impl> layer_;
    std::map<std::string, std::vector<waiting>> waiting_;
    std::map<std::uint64_t, std::string> addresses_;
    std::map<std::string, int> redials_;
  };

  caf::actor_system& sys_;
  options how_;
  std::shared_ptr<service_table> services_;
  net_metrics metrics_;
  std::shared_ptr<network_thread> network_;
  caf::actor broker_;
  hello own_;
  std::string address_;
  caf::strong_actor_ptr directory_;
  std::unique_ptr<greeter> greeter_;
  caf::actor connector_;

  /// Only the greeter's thread knows them.
  bool core_ticks_ = false;
  bool edge_ticks_ = false;

  mutable std::mutex mutex_;
  bool stopping_ = false;
  session_table table_;
  dial_backoff backoff_;
  line_limiter lines_;
  std::map<std::uint64_t, live_session> live_;
  std::uint64_t last_dial_ = 0;
  std::map<std::uint64_t, std::string> dial_address_;
  std::map<std::uint64_t, dial_result> dialled_;
  /// Sessions of dials that are in the table and not with CAF yet.
  std::map<std::uint64_t, std::uint64_t> entered_;
};

void session_layer::prepare(caf::actor_system_config& config, const peer_identity& self, incarnation life) {
  // Sessions have keep-alives of their own, which a connection that is new does not miss and a slow one does not lose.
  config.set("caf.middleman.heartbeat-interval", caf::timespan{0});
  // A handle of a third process in a message must not open connections behind our back.
  config.set("caf.middleman.enable-automatic-connections", false);
  config.module_factories.emplace_back([id = caf_node(self, life)](caf::actor_system& sys) {
    return static_cast<caf::actor_system::module*>(new node_id_module{sys, id});
  });
}

session_layer::session_layer(caf::actor_system& sys, options how, std::shared_ptr<service_table> services)
  : impl_(std::make_shared<impl>(sys, std::move(how), std::move(services))) {}

session_layer::~session_layer() {
  stop(milliseconds{500});
}

caf::expected<void> session_layer::start(const directory_actor& directory) {
  return impl_->start(directory);
}

const std::string& session_layer::address() const {
  return impl_->address();
}

caf::actor session_layer::connector() const {
  return impl_->connector();
}

std::vector<session_info> session_layer::sessions() const {
  return impl_->sessions();
}

std::size_t session_layer::strangers() const {
  return impl_->strangers();
}

void session_layer::certificates_changed() {
  impl_->certificates_changed();
}

void session_layer::cut_all(const std::string& reason) {
  impl_->cut_all(reason);
}

void session_layer::stop(milliseconds limit) {
  impl_->stop(limit);
}

} // namespace astra
