#include "runtime/sim/engine.hpp"

#include "messages/type_ids.hpp"
#include "runtime/sim/basp_engine.hpp"
#include "runtime/sim/event_queue.hpp"
#include "runtime/sim/machine_clock.hpp"
#include "runtime/sim/run_queue.hpp"
#include "runtime/system_node.hpp"

#include <caf/action.hpp>
#include <caf/actor_cast.hpp>
#include <caf/actor_clock.hpp>
#include <caf/actor_proxy.hpp>
#include <caf/actor_registry.hpp>
#include <caf/actor_system_config.hpp>
#include <caf/binary_deserializer.hpp>
#include <caf/binary_serializer.hpp>
#include <caf/event_based_actor.hpp>
#include <caf/execution_unit.hpp>
#include <caf/proxy_registry.hpp>
#include <caf/scheduled_actor.hpp>
#include <caf/scheduler/abstract_coordinator.hpp>
#include <caf/typed_message_view.hpp>
#include <xxhash.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <map>
#include <set>
#include <unordered_map>
#include <utility>
#include <variant>

namespace astra::sim {
namespace {

thread_local engine* present_engine = nullptr;

[[noreturn]] void give_up(const std::string& what) {
  std::fprintf(stderr, "astra sim: %s\n", what.c_str());
  std::abort();
}

constexpr auto nobody = std::uint32_t{0};

struct connection;

enum class packet_kind : std::uint8_t {
  message,
  /// Tell me when this actor ends.
  monitor,
  /// This actor has ended.
  down,
  /// Nothing more comes from this side.
  fin,
};

struct packet {
  packet_kind kind = packet_kind::message;
  std::shared_ptr<connection> way;
  /// Index of the end that sent it.
  std::size_t side = 0;
  caf::actor_id sender = 0;
  caf::actor_id target = 0;
  caf::message_id id;
  caf::byte_buffer bytes;
  caf::error reason;
  std::uint64_t cause = 0;
  std::uint64_t chain = 0;
};

using packet_ptr = std::unique_ptr<packet>;

struct connection {
  struct direction {
    std::int64_t last_arrival = 0;
    /// The same, with what others overtake.
    std::int64_t latest_arrival = 0;
    /// Since when the receiver has heard nothing; negative: it hears.
    std::int64_t silent_since = -1;
    bool cut = false;
    /// The sender's machine is gone without a word.
    bool dead = false;
    std::uint64_t sent = 0;
    std::deque<packet_ptr> held;
    /// Who sent what arrived last, as the receiver knows it: a short way to its proxy, for it often speaks again.
    caf::strong_actor_ptr speaker;
  };

  std::uint64_t number = 0;
  /// Machines, and which start of their processes.
  std::array<std::uint32_t, 2> ends{};
  std::array<std::uint32_t, 2> boots{};
  std::array<bool, 2> open{};
  /// By sending end.
  std::array<direction, 2> ways;
  std::uint64_t generation = 0;
};

struct timer {
  caf::action what;
  std::chrono::nanoseconds period{0};
};

struct wake {
  job what;
};

/// What an entry of the event queue does.
struct happening {
  std::uint32_t machine = 0;
  /// Of the machine, at the time of scheduling; 0: any.
  std::uint32_t boot = 0;
  std::uint64_t cause = 0;
  std::variant<std::monostate, timer, packet_ptr, wake, std::function<void()>> what;
};

struct resident {
  caf::actor_id id = 0;
  caf::weak_actor_ptr handle;
};

struct machine {
  std::string name;
  std::string address;
  caf::node_id id;
  std::uint32_t boot = 0;
  bool up = false;
  bool stalled = false;
  /// Down, and its host does not answer either.
  bool host_gone = false;
  machine_clock clock;
  std::unique_ptr<caf::proxy_registry> proxies;
  caf::strong_actor_ptr directory;
  /// Connections that are open as this machine sees them, by peer.
  std::map<std::uint32_t, std::shared_ptr<connection>> peers;
  std::vector<resident> residents;
  std::size_t compact_at = 64;
  /// What happened to it while it was stalled.
  std::vector<happening> held;
};

struct rule {
  std::vector<bool> from;
  std::vector<bool> to;
  std::vector<std::uint32_t> list_from;
  std::vector<std::uint32_t> list_to;
  bool cuts = false;
  double factor = 1.0;
};

/// fidelity::wire: all machines in one actor system.  Actors of other machines than the current one are remote to each
/// other: the system's node id is that of the machine whose turn it is, so CAF itself hands out proxies (ours).
class wire_engine final : public engine {
public:
  class impl;

  wire_engine(const engine_options& options, observer watch);
  ~wire_engine() override;

  caf::actor_system& system() override;
  caf::actor connector() override;
  const engine_options& options() const override;
  const draws& random() const override;
  machine_id add_machine(std::string name, std::string address) override;
  void boot(machine_id where, const std::function<void()>& start) override;
  void on(machine_id where, const std::function<void()>& what) override;
  void kill(machine_id where, death how, std::string_view why) override;
  void stall(machine_id where) override;
  void go_on(machine_id where) override;
  void set_drift(machine_id where, double ppm) override;
  bool up(machine_id where) const override;
  bool stalled(machine_id where) const override;
  std::uint32_t boots(machine_id where) const override;
  std::size_t machine_count() const override;
  const std::string& machine_name(machine_id where) const override;
  machine_id current() const override;
  std::chrono::steady_clock::time_point local_time(machine_id where) const override;
  std::vector<caf::strong_actor_ptr> actors(machine_id where) override;
  std::string actor_name(std::uint64_t actor) const override;
  machine_id machine_of(std::uint64_t actor) const override;
  std::vector<machine_id> peers(machine_id where) const override;
  void set_directory(machine_id where, caf::strong_actor_ptr directory) override;
  rule_id cut(std::vector<machine_id> from, std::vector<machine_id> to) override;
  rule_id slow(std::vector<machine_id> from, std::vector<machine_id> to, double factor) override;
  void lift(rule_id rule) override;
  bool passes(machine_id from, machine_id to) const override;
  instant now() const override;
  void at(instant when, std::function<void()> what) override;
  void first_at(instant when, std::uint64_t rank, std::function<void()> what) override;
  void reseed(std::uint64_t seed) override;
  void at(machine_id where, instant when, std::function<void()> what) override;
  void run_until(instant end) override;
  bool step(instant end) override;
  void stop() override;
  bool stopped() const override;
  std::uint64_t events() const override;
  std::uint64_t steps() const override;
  std::uint64_t trace_hash() const override;
  void tell(event_kind kind, machine_id where, machine_id peer, std::string_view text, std::uint64_t cause) override;
  void log_line(std::string_view text) override;

private:
  std::unique_ptr<impl> impl_;
};

using on_connected = std::function<void(caf::expected<caf::strong_actor_ptr> directory)>;

} // namespace

class wire_engine::impl : public caf::proxy_registry::backend {
public:
  impl(const engine_options& options, observer watch)
    : options_(options), random_(options.seed), watch_(std::move(watch)),
      policy_(run_queue::choose(options.policy, random_)), ready_(policy_, options.depth, 20'000, random_),
      unit_(*this) {
    machines_.emplace_back();
    machines_[nobody].name = "outside";
    machines_[nobody].up = true;
    machines_[nobody].boot = 1;
    config_.set("caf.logger.file.verbosity", "quiet");
    config_.set("caf.logger.console.verbosity", "quiet");
    config_.set("caf.scheduler.max-threads", 1);
    config_.module_factories.push_back(
        [this](caf::actor_system& sys) -> caf::actor_system::module* { return new coordinator(sys, *this); });
    system_ = std::make_unique<caf::actor_system>(config_);
    system_->await_actors_before_shutdown(false);
    unit_.connect(*system_);
    know(nobody);
    system_node(*system_) = machines_[nobody].id;
    unit_.proxy_registry_ptr(machines_[nobody].proxies.get());
    enter(nobody);
  }

  ~impl() override {
    watch_ = nullptr;
    closing_ = true;
    for (std::uint32_t i = 0; i < machines_.size(); ++i)
      if (machines_[i].up)
        end_actors(i);
    for (auto& what : ready_.drain())
      release(what);
    while (!queue_.empty()) {
      auto left = queue_.pop();
      discard(left.payload);
    }
    for (auto& where : machines_)
      for (auto& what : where.held)
        discard(what);
    for (auto& where : machines_) {
      where.held.clear();
      where.directory = nullptr;
      where.peers.clear();
      where.residents.clear();
    }
    for (auto& where : machines_)
      where.proxies.reset();
    enter(nobody);
    system_.reset();
  }

  // -- coordinator, clock and execution unit -----------------------------------

  class clock_type : public caf::actor_clock {
  public:
    explicit clock_type(impl& owner) : owner_(owner) {}

    time_point now() const noexcept override { return owner_.local_time(owner_.current_); }

    caf::disposable schedule_periodically(time_point first, caf::action what, duration_type period) override {
      owner_.schedule_timer(first, what, period);
      return std::move(what).as_disposable();
    }

  private:
    impl& owner_;
  };

  /// Where CAF prints: unexpected messages, unhandled errors.
  class printer_actor : public caf::monitorable_actor {
  public:
    printer_actor(caf::actor_config& cfg, impl& owner) : monitorable_actor(cfg), owner_(owner) {}

    bool enqueue(caf::mailbox_element_ptr what, caf::execution_unit*) override {
      if (auto view = caf::make_const_typed_message_view<caf::add_atom, caf::actor_id, std::string>(what->payload))
        owner_.log_line("caf.print actor=" + owner_.actor_name(caf::get<1>(view)) + " text=\"" + caf::get<2>(view)
                        + "\"");
      return true;
    }

    void setup_metrics() {}

  private:
    impl& owner_;
  };

  class worker : public caf::execution_unit {
  public:
    explicit worker(impl& owner) : owner_(owner) {}
    void connect(caf::actor_system& sys) { system_ = &sys; }
    void exec_later(caf::resumable* what) override { owner_.push(what); }

  private:
    impl& owner_;
  };

  class coordinator : public caf::scheduler::abstract_coordinator {
  public:
    coordinator(caf::actor_system& sys, impl& owner) : abstract_coordinator(sys), owner_(owner), clock_(owner) {}

    void enqueue(caf::resumable* what) override { owner_.push(what); }
    bool detaches_utility_actors() const override { return false; }
    caf::actor_clock& clock() noexcept override { return clock_; }

    void start() override {
      owner_.unit_.connect(system());
      caf::actor_config cfg{&owner_.unit_};
      utility_actors_[printer_id] =
          caf::make_actor<printer_actor, caf::actor>(system().next_actor_id(), system().node(), &system(), cfg, owner_);
    }

    void stop() override { owner_.finish(); }

  private:
    impl& owner_;
    clock_type clock_;
  };

  // -- proxies -----------------------------------------------------------------

  /// An actor of another machine.
  class proxy : public caf::actor_proxy {
  public:
    proxy(caf::actor_config& cfg, impl& owner, std::uint32_t holder, std::shared_ptr<connection> way, std::size_t side)
      : actor_proxy(cfg), owner_(owner), holder_(holder), way_(std::move(way)), side_(side) {}

    bool enqueue(caf::mailbox_element_ptr what, caf::execution_unit*) override {
      if (what->payload.match_elements<caf::exit_msg>())
        unlink_from(what->payload.get_as<caf::exit_msg>(0).source);
      return owner_.send(*this, std::move(what));
    }

    bool add_backlink(caf::abstract_actor* other) override {
      if (!monitorable_actor::add_backlink(other))
        return false;
      say_later(caf::make_message(caf::link_atom_v, caf::strong_actor_ptr{other->ctrl()}));
      return true;
    }

    bool remove_backlink(caf::abstract_actor* other) override {
      if (!monitorable_actor::remove_backlink(other))
        return false;
      say_later(caf::make_message(caf::unlink_atom_v, caf::strong_actor_ptr{other->ctrl()}));
      return true;
    }

    void kill_proxy(caf::execution_unit* context, caf::error reason) override {
      way_ = nullptr;
      cleanup(std::move(reason), context);
    }

    std::uint32_t holder() const { return holder_; }
    /// Null once the connection is lost: a proxy never revives.
    const std::shared_ptr<connection>& way() const { return way_; }
    std::size_t side() const { return side_; }

  private:
    /// Whoever links holds the lock of its actor, which writing the actor's name into a message takes too.
    void say_later(caf::message what) {
      if (owner_.closing_)
        return;
      owner_.schedule(owner_.now_, holder_, owner_.machines_[holder_].boot,
                      [me = caf::strong_actor_ptr{ctrl()}, what = std::move(what)] {
                        me->enqueue(caf::make_mailbox_element(me, caf::make_message_id(), {}, what), nullptr);
                      });
    }

    impl& owner_;
    std::uint32_t holder_;
    std::shared_ptr<connection> way_;
    std::size_t side_;
  };

  caf::strong_actor_ptr make_proxy(caf::node_id where, caf::actor_id actor) override {
    std::shared_ptr<connection> way;
    std::size_t side = 0;
    if (auto found = node_index_.find(where); found != node_index_.end()) {
      auto& peers = machines_[current_].peers;
      if (auto open = peers.find(found->second); open != peers.end() && machines_[found->second].id == where) {
        way = open->second;
        side = way->ends[0] == current_ ? 0 : 1;
      }
    }
    caf::actor_config cfg{&unit_};
    auto result =
        caf::make_actor<proxy, caf::strong_actor_ptr>(actor, where, system_.get(), cfg, *this, current_, way, side);
    if (way) {
      auto ask = std::make_unique<packet>();
      ask->kind = packet_kind::monitor;
      ask->target = actor;
      dispatch(way, side, std::move(ask));
    }
    return result;
  }

  void set_last_hop(caf::node_id*) override {}

  // -- machines ----------------------------------------------------------------

  std::uint32_t add_machine(std::string name, std::string address) {
    auto number = static_cast<std::uint32_t>(machines_.size());
    auto& added = machines_.emplace_back();
    added.name = std::move(name);
    added.address = std::move(address);
    auto span = static_cast<std::uint64_t>(std::max<std::int64_t>(options_.clock_offset_max.count(), 1));
    added.clock = machine_clock{static_cast<std::int64_t>(random_.below(span, draw_kind::clock, number, 0)) + 1};
    by_address_[added.address] = number;
    return number;
  }

  void boot(std::uint32_t number, const std::function<void()>& start) {
    auto& where = machines_[number];
    assert(!where.up);
    where.up = true;
    where.stalled = false;
    where.host_gone = false;
    ++where.boot;
    know(number);
    emit(event_kind::boot, number, nobody, {});
    on(number, start);
  }

  void on(std::uint32_t number, const std::function<void()>& what) {
    auto before = current_;
    enter(number);
    what();
    enter(before);
  }

  void kill(std::uint32_t number, death how, std::string_view why) {
    auto& where = machines_[number];
    assert(where.up && current_ == nobody);
    emit(how == death::ended ? event_kind::stop : event_kind::crash, number, nobody, why);
    auto peers = std::exchange(where.peers, {});
    where.up = false;
    where.host_gone = how == death::silent;
    for (auto& [peer, way] : peers) {
      auto side = way->ends[0] == number ? std::size_t{0} : std::size_t{1};
      way->open[side] = false;
      if (how == death::silent) {
        way->ways[side].dead = true;
        for (auto& lost : way->ways[side].held)
          discard_packet(*lost, "its machine is gone");
        way->ways[side].held.clear();
        update_silence(way, side);
      } else if (way->open[1 - side]) {
        send_fin(way, side);
      }
    }
    end_actors(number);
    where.proxies.reset();
    where.directory = nullptr;
    for (auto& what : where.held)
      discard(what);
    where.held.clear();
    where.stalled = false;
    where.residents.clear();
    where.compact_at = 64;
  }

  void stall(std::uint32_t number) {
    auto& where = machines_[number];
    if (!where.up || where.stalled)
      return;
    where.stalled = true;
    emit(event_kind::stall, number, nobody, {});
    for (auto& what : ready_.drain()) {
      if (owner(what.actor) != number) {
        ready_.push(what);
        continue;
      }
      happening later;
      later.machine = number;
      later.boot = where.boot;
      later.what = wake{what};
      where.held.push_back(std::move(later));
    }
    for (auto& [peer, way] : where.peers)
      update_silence(way, way->ends[0] == number ? 0 : 1);
  }

  void go_on(std::uint32_t number) {
    auto& where = machines_[number];
    if (!where.up || !where.stalled)
      return;
    where.stalled = false;
    emit(event_kind::go_on, number, nobody, {});
    for (auto& [peer, way] : where.peers)
      update_silence(way, way->ends[0] == number ? 0 : 1);
    // In the order in which it came: a connection does not let what is new overtake what waits.
    for (auto& what : std::exchange(where.held, {})) {
      if (where.stalled || !where.up)
        discard(what);
      else
        happen(std::move(what));
    }
  }

  void set_drift(std::uint32_t number, double ppm) { machines_[number].clock.set_drift(ppm, now_); }

  std::chrono::steady_clock::time_point local_time(std::uint32_t number) const {
    return std::chrono::steady_clock::time_point{std::chrono::nanoseconds{machines_[number].clock.local(now_)}};
  }

  std::vector<caf::strong_actor_ptr> actors(std::uint32_t number) {
    std::vector<caf::strong_actor_ptr> result;
    for (auto& entry : machines_[number].residents)
      if (auto handle = caf::actor_cast<caf::strong_actor_ptr>(entry.handle); handle && !terminated(handle))
        result.push_back(std::move(handle));
    return result;
  }

  std::string actor_name(std::uint64_t actor) const {
    auto number = owner(actor);
    std::string result = machines_[number].name + '/';
    if (actor < names_.size() && names_[actor])
      result += names_[actor];
    else
      result += "actor";
    return result + '#' + std::to_string(actor);
  }

  std::uint32_t owner(std::uint64_t actor) const { return actor < owners_.size() ? owners_[actor] : current_; }

  // -- network -----------------------------------------------------------------

  void connect(const std::string& address, on_connected answered) {
    auto from = current_;
    auto found = by_address_.find(address);
    auto boot = machines_[from].boot;
    // Whatever becomes of the attempt, it is waited for, as long as Linux does (net.ipv4.tcp_syn_retries = 6): a
    // promise that is dropped would be told at once to whoever waits for it.
    auto once = std::make_shared<on_connected>(std::move(answered));
    on_connected done = [once](caf::expected<caf::strong_actor_ptr> directory) {
      if (*once)
        std::exchange(*once, nullptr)(std::move(directory));
    };
    schedule(now_ + 127'000'000'000, from, boot,
             [done, address] { done(caf::make_error(errc::unreachable, address + ": no answer")); });
    auto refuse = [this, from, boot, done](std::int64_t after, std::string why) {
      schedule(now_ + after, from, boot,
               [done, why = std::move(why)] { done(caf::make_error(errc::unreachable, why)); });
    };
    if (found == by_address_.end()) {
      refuse(1'000'000, address + ": no such host");
      return;
    }
    auto to = found->second;
    auto first = latency(from, to, generation(from, to), ++dials_);
    if (!passes(from, to))
      return; // nobody answers
    auto& target = machines_[to];
    if (!target.up) {
      if (!target.host_gone && passes(to, from))
        refuse(first + latency(to, from, generation(from, to), ++dials_), address + ": connection refused");
      return;
    }
    auto& peers = machines_[from].peers;
    if (auto known = peers.find(to); known != peers.end() && known->second->open[0] && known->second->open[1]) {
      auto way = known->second;
      auto round = first + latency(to, from, way->generation, ++dials_);
      schedule(now_ + round, from, boot, [this, way, to, address, done] {
        if (way->open[0] && way->open[1])
          done(directory_of(to, address));
        else
          done(caf::make_error(errc::unreachable, address + ": connection closed"));
      });
      return;
    }
    schedule(now_ + first, to, target.boot,
             [this, from, to, boot, address, done] { accept(from, to, boot, address, done); });
  }

  rule_id add_rule(std::vector<machine_id> from, std::vector<machine_id> to, bool cuts, double factor) {
    rule added;
    added.cuts = cuts;
    added.factor = factor;
    auto fill = [this](const std::vector<machine_id>& list, std::vector<bool>& mask, std::vector<std::uint32_t>& out) {
      mask.assign(machines_.size(), false);
      for (auto one : list) {
        mask[static_cast<std::uint32_t>(one)] = true;
        out.push_back(static_cast<std::uint32_t>(one));
      }
    };
    fill(from, added.from, added.list_from);
    fill(to, added.to, added.list_to);
    auto id = ++last_rule_;
    auto& entry = rules_.emplace(id, std::move(added)).first->second;
    if (cuts)
      refresh_cuts(entry);
    return id;
  }

  void lift(rule_id id) {
    auto found = rules_.find(id);
    if (found == rules_.end())
      return;
    auto lifted = std::move(found->second);
    rules_.erase(found);
    if (lifted.cuts)
      refresh_cuts(lifted);
  }

  bool passes(std::uint32_t from, std::uint32_t to) const {
    for (auto& [id, one] : rules_)
      if (one.cuts && from < one.from.size() && to < one.to.size() && one.from[from] && one.to[to])
        return false;
    return true;
  }

  // -- time --------------------------------------------------------------------

  void at(instant when, std::function<void()> what) {
    happening entry;
    entry.what = std::move(what);
    queue_.push(std::max(when.count(), now_), behind_first | ++calls_, std::move(entry));
  }

  void first_at(instant when, std::uint64_t rank, std::function<void()> what) {
    assert(rank < behind_first);
    happening entry;
    entry.what = std::move(what);
    queue_.push(std::max(when.count(), now_), rank, std::move(entry));
  }

  void reseed(std::uint64_t seed) {
    options_.seed = seed;
    random_ = draws{seed};
    auto waiting = ready_.drain();
    ready_ = run_queue{policy_, options_.depth, 20'000, random_};
    for (auto& what : waiting)
      ready_.push(what);
  }

  void at_machine(std::uint32_t where, instant when, std::function<void()> what) {
    schedule(std::max(when.count(), now_), where, machines_[where].boot, std::move(what));
  }

  bool step(instant end) {
    if (!ready_.empty()) {
      run(ready_.pop());
      return true;
    }
    if (queue_.next_time() > end.count())
      return false;
    auto entry = queue_.pop();
    assert(entry.time >= now_);
    now_ = entry.time;
    happen(std::move(entry.payload));
    return true;
  }

  void run_until(instant end) {
    stopped_ = false;
    while (!stopped_ && step(end))
      ;
    if (!stopped_ && now_ < end.count())
      now_ = end.count();
  }

  void emit(event_kind kind, std::uint32_t where, std::uint32_t peer, std::string_view text, std::uint64_t cause = 0) {
    event what;
    what.kind = kind;
    what.machine = machine_id{where};
    what.peer = machine_id{peer};
    what.text = text;
    what.cause = cause != 0 ? cause : present_event_;
    if (kind == event_kind::log)
      what.actor = present_actor_;
    emit(what, text.empty() ? 0 : XXH64(text.data(), text.size(), 0));
  }

  void log_line(std::string_view text) {
    if (!closing_)
      emit(event_kind::log, current_, nobody, text);
  }

  // -- members that the engine's own functions look at --------------------------

  engine_options options_;
  draws random_;
  observer watch_;
  std::unique_ptr<caf::actor_system> system_;
  std::vector<machine> machines_;
  std::uint32_t current_ = nobody;
  std::int64_t now_ = 0;
  bool stopped_ = false;
  std::uint64_t events_ = 0;
  std::uint64_t steps_ = 0;
  std::uint64_t hash_ = 0;

private:
  static caf::node_id make_id(std::uint32_t number, std::uint32_t boot) {
    caf::hashed_node_id::host_id_type host{};
    for (std::size_t i = 0; i < 4; ++i)
      host[i] = static_cast<std::uint8_t>(number >> (8 * i));
    host[19] = 1;
    return caf::make_node_id(boot, host);
  }

  /// The machine's turn.
  void enter(std::uint32_t number) {
    // Whatever was spawned since the last change of turn lives on the machine whose turn it was.
    auto latest = system_->latest_actor_id() + 1;
    if (owners_.size() < latest)
      owners_.resize(latest, current_);
    if (number == current_)
      return;
    current_ = number;
    system_node(*system_) = machines_[number].id;
    unit_.proxy_registry_ptr(machines_[number].proxies.get());
  }

  /// Makes a machine's present process known, and its turn true to it should it be its turn.
  void know(std::uint32_t number) {
    auto& where = machines_[number];
    where.id = make_id(number, where.boot);
    where.proxies = std::make_unique<caf::proxy_registry>(*system_, *this);
    node_index_[where.id] = number;
  }

  caf::node_id id_of(std::uint32_t number, std::uint32_t boot) const {
    auto& where = machines_[number];
    return where.boot == boot ? where.id : make_id(number, boot);
  }

  static bool terminated(const caf::strong_actor_ptr& handle) {
    return handle->get()->getf(caf::abstract_actor::is_terminated_flag);
  }

  void push(caf::resumable* what) {
    if (what->subtype() != caf::resumable::scheduled_actor)
      give_up(
          "actor on " + machines_[current_].name
          + " runs in a thread of its own or does I/O of its own, which no seed decides; actors must be event-based");
    auto actor = static_cast<caf::scheduled_actor*>(what);
    auto id = actor->id();
    if (names_.size() <= id)
      names_.resize(id + 1, nullptr);
    if (!names_[id]) {
      names_[id] = actor->name();
      auto& residents = machines_[current_].residents;
      residents.push_back({id, caf::weak_actor_ptr{actor->ctrl(), true}});
      if (residents.size() >= machines_[current_].compact_at)
        compact(machines_[current_]);
    }
    job next;
    next.actor = id;
    next.cause = present_event_;
    next.chain = std::exchange(heir_, false) ? chain_ : ++last_chain_;
    next.what = what;
    if (ending_) {
      orphans_.push_back(next);
      return;
    }
    if (machines_[current_].stalled) {
      happening later;
      later.machine = current_;
      later.boot = machines_[current_].boot;
      later.what = wake{next};
      machines_[current_].held.push_back(std::move(later));
    } else if (options_.step_max.count() > 0 && !closing_) {
      auto wait =
          random_.below(static_cast<std::uint64_t>(options_.step_max.count()), draw_kind::step_time, id, ++waits_);
      happening later;
      later.machine = current_;
      later.boot = machines_[current_].boot;
      later.cause = present_event_;
      later.what = wake{next};
      queue_.push(now_ + static_cast<std::int64_t>(wait), tie(), std::move(later));
    } else {
      ready_.push(next);
    }
  }

  static void compact(machine& where) {
    std::erase_if(where.residents, [](auto& entry) {
      auto handle = caf::actor_cast<caf::strong_actor_ptr>(entry.handle);
      return !handle || terminated(handle);
    });
    where.compact_at = std::max<std::size_t>(64, where.residents.size() * 2);
  }

  static void release(job& what) { caf::intrusive_ptr_release(static_cast<caf::resumable*>(what.what)); }

  /// One message of one actor.
  void run(job what) {
    auto where = owner(what.actor);
    enter(where);
    auto actor = static_cast<caf::scheduled_actor*>(static_cast<caf::resumable*>(what.what));
    ++steps_;
    event seen;
    seen.kind = event_kind::step;
    seen.machine = machine_id{where};
    seen.actor = what.actor;
    seen.cause = what.cause;
    if (auto next = actor->peek_at_next_mailbox_element()) {
      seen.sender = next->sender ? next->sender->id() : 0;
      seen.message_id = next->mid.integer_value();
      seen.content = &next->payload;
      if (auto from = owner(seen.sender); seen.sender != 0 && from != where)
        seen.peer = machine_id{from};
    }
    emit(seen, 0);
    present_event_ = events_;
    present_actor_ = what.actor;
    chain_ = what.chain;
    heir_ = true;
    switch (actor->resume(&unit_, 1)) {
    case caf::resumable::resume_later: {
      // It has more to do: the chain goes on with it.
      heir_ = false;
      job again = what;
      again.cause = present_event_;
      again.chain = what.chain;
      if (!machines_[where].up) {
        release(again);
      } else if (machines_[where].stalled) {
        happening later;
        later.machine = where;
        later.boot = machines_[where].boot;
        later.what = wake{again};
        machines_[where].held.push_back(std::move(later));
      } else {
        ready_.push(again);
      }
      break;
    }
    case caf::resumable::done:
    case caf::resumable::awaiting_message:
      release(what);
      break;
    case caf::resumable::shutdown_execution_unit:
      break;
    }
    heir_ = false;
    // Counting takes a lock, and nobody is detached without being spawned.
    if (auto spawned = system_->latest_actor_id();
        std::exchange(last_spawned_, spawned) != spawned && system_->detached_actors() > 0)
      give_up(actor_name(what.actor)
              + " spawned a detached or blocking actor: a thread, which no seed decides; actors must be event-based");
    present_event_ = 0;
    present_actor_ = 0;
    enter(nobody);
  }

  void happen(happening&& entry) {
    auto& where = machines_[entry.machine];
    if (entry.boot != 0 && (entry.boot != where.boot || !where.up)) {
      discard(entry);
      return;
    }
    if (where.stalled && entry.machine != nobody) {
      where.held.push_back(std::move(entry));
      return;
    }
    present_event_ = entry.cause;
    if (auto clock = std::get_if<timer>(&entry.what)) {
      enter(entry.machine);
      clock->what.run();
      if (clock->period.count() > 0 && !clock->what.disposed())
        schedule_timer(local_time(entry.machine) + clock->period, clock->what, clock->period);
    } else if (auto message = std::get_if<packet_ptr>(&entry.what)) {
      deliver(std::move(*message));
    } else if (auto call = std::get_if<std::function<void()>>(&entry.what)) {
      enter(entry.machine);
      (*call)();
    } else if (auto ready = std::get_if<wake>(&entry.what)) {
      ready_.push(ready->what);
    }
    present_event_ = 0;
    enter(nobody);
  }

  void discard(happening& entry) {
    if (auto ready = std::get_if<wake>(&entry.what))
      release(ready->what);
    entry.what = std::monostate{};
  }

  /// Ends every actor of a machine without letting it say anything.
  void end_actors(std::uint32_t number) {
    auto& where = machines_[number];
    auto was_up = std::exchange(where.up, false);
    (void)was_up;
    auto before = current_;
    enter(number);
    ending_ = true;
    auto was_closing = std::exchange(closing_, true); // nobody reads a dead process's log
    for (std::size_t i = 0; i < where.residents.size(); ++i) {
      auto handle = caf::actor_cast<caf::strong_actor_ptr>(where.residents[i].handle);
      for (auto tries = 0; handle && !terminated(handle) && tries < 8; ++tries) {
        if (tries == 0)
          handle->enqueue(caf::make_mailbox_element(nullptr, caf::make_message_id(caf::message_priority::high), {},
                                                    caf::exit_msg{handle->address(), caf::exit_reason::kill}),
                          &unit_);
        static_cast<caf::scheduled_actor*>(caf::actor_cast<caf::abstract_actor*>(handle))->resume(&unit_, 1);
      }
      assert(!handle || terminated(handle));
    }
    ending_ = false;
    for (auto& what : ready_.drain()) {
      if (owner(what.actor) == number)
        release(what);
      else
        ready_.push(what);
    }
    for (auto& what : std::exchange(orphans_, {}))
      release(what);
    closing_ = was_closing;
    enter(before);
  }

  /// The actor system ends: what is left of its own actors runs to its end.
  void finish() {
    while (!ready_.empty()) {
      auto what = ready_.pop();
      auto actor = static_cast<caf::scheduled_actor*>(static_cast<caf::resumable*>(what.what));
      switch (actor->resume(&unit_, 1)) {
      case caf::resumable::resume_later:
        ready_.push(what);
        break;
      default:
        release(what);
      }
    }
  }

  // -- sending -----------------------------------------------------------------

  bool send(const proxy& target, caf::mailbox_element_ptr what) {
    auto from = target.holder();
    auto& way = target.way();
    if (!machines_[from].up || closing_)
      return false;
    auto to = way ? way->ends[1 - target.side()] : nobody;
    event seen;
    seen.kind = event_kind::send;
    seen.machine = machine_id{from};
    seen.peer = machine_id{to};
    seen.actor = target.id();
    seen.sender = what->sender ? what->sender->id() : 0;
    seen.message_id = what->mid.integer_value();
    seen.content = &what->payload;
    seen.cause = present_event_;
    if (!way || !way->open[target.side()]) {
      // As with a proxy of CAF's own whose connection is lost: nobody is told.
      seen.kind = event_kind::drop;
      seen.text = "the connection is closed";
      emit(seen, 0);
      return false;
    }
    auto message = std::make_unique<packet>();
    if (what->sender && what->sender->node() == system_->node()) {
      message->sender = what->sender->id();
      export_actor(what->sender);
    } else if (what->sender) {
      message->sender = what->sender->id(); // a proxy that links
    }
    message->target = target.id();
    message->id = what->mid;
    written_.clear();
    caf::binary_serializer sink{&unit_, written_};
    if (!sink.apply(what->payload))
      give_up(actor_name(message->sender)
              + " sends to another machine what cannot be serialised: " + caf::to_string(what->payload.types()));
    message->bytes = written_;
    emit(seen, XXH64(message->bytes.data(), message->bytes.size(), 0));
    message->cause = events_;
    message->chain = std::exchange(heir_, false) ? chain_ : ++last_chain_;
    dispatch(way, target.side(), std::move(message));
    return true;
  }

  void export_actor(const caf::strong_actor_ptr& who) {
    auto id = who->id();
    if (exported_.size() <= id)
      exported_.resize(id + 1, false);
    if (exported_[id])
      return;
    exported_[id] = true;
    system_->registry().put(id, who);
  }

  /// Sends a packet from one end of a connection to the other.
  void dispatch(const std::shared_ptr<connection>& way, std::size_t side, packet_ptr what) {
    auto& direction = way->ways[side];
    what->way = way;
    what->side = side;
    if (direction.cut) {
      direction.held.push_back(std::move(what));
      return;
    }
    auto from = way->ends[side];
    auto to = way->ends[1 - side];
    auto number = ++direction.sent;
    auto arrival = now_ + latency(from, to, way->generation, number);
    auto patience = options_.connection_timeout.count() + options_.connection_heartbeat.count();
    if (options_.network.mode == network_mode::datagram && now_ < options_.lossy_until.count()
        && what->kind == packet_kind::message) {
      auto subject = link_subject(from, to, way->generation);
      if (random_.unit(draw_kind::loss, subject, number) < options_.network.loss) {
        discard_packet(*what, "lost");
        return;
      }
      if (random_.unit(draw_kind::duplicate, subject, number) < options_.network.duplicate) {
        auto twin = std::make_unique<packet>(*what);
        put(now_ + 2 * latency(from, to, way->generation, number + (std::uint64_t{1} << 40)), to, std::move(twin));
      }
      // Stragglers hold nobody up: with connections that would be their end.
      if (random_.unit(draw_kind::overtake, subject, number) >= options_.network.overtake && arrival - now_ <= patience)
        arrival = direction.last_arrival = std::max(arrival, direction.last_arrival + 1);
    } else {
      auto hears_last = std::max(now_, direction.last_arrival);
      arrival = direction.last_arrival = std::max(arrival, direction.last_arrival + 1);
      // Keep-alives come no sooner than what was sent before them.
      if (arrival - hears_last > patience)
        schedule(hears_last + patience, to, machines_[to].boot,
                 [this, way, side] { close(way, 1 - side, "nothing was heard for the connection timeout"); });
    }
    // The end of a connection overtakes nothing: what a former life has said comes before it, also after the first
    // words of the next life.  What is later than the longest tail does not keep it.
    if (what->kind == packet_kind::fin)
      arrival = std::max(arrival, std::min(direction.latest_arrival + 1, now_ + options_.network.tail_max.count()));
    direction.latest_arrival = std::max(direction.latest_arrival, arrival);
    put(arrival, to, std::move(what));
  }

  void put(std::int64_t when, std::uint32_t to, packet_ptr what) {
    happening entry;
    entry.machine = to;
    entry.what = std::move(what);
    queue_.push(when, tie(), std::move(entry));
  }

  void discard_packet(const packet& what, std::string_view why) {
    if (what.kind != packet_kind::message)
      return;
    event seen;
    seen.kind = event_kind::drop;
    seen.machine = machine_id{what.way->ends[what.side]};
    seen.peer = machine_id{what.way->ends[1 - what.side]};
    seen.actor = what.target;
    seen.sender = what.sender;
    seen.message_id = what.id.integer_value();
    seen.cause = what.cause;
    seen.text = why;
    emit(seen, 0);
  }

  void deliver(packet_ptr what) {
    auto& way = *what->way;
    auto from = way.ends[what->side];
    auto to = way.ends[1 - what->side];
    auto& where = machines_[to];
    auto here = 1 - what->side;
    if (!way.open[here] || where.boot != way.boots[here] || !where.up) {
      discard_packet(*what, where.up ? "the receiver has closed the connection" : "the receiver is down");
      // Its host answers with a reset.
      if (!where.host_gone && way.open[what->side] && what->kind != packet_kind::fin && !way.ways[here].dead)
        send_fin(what->way, here);
      return;
    }
    enter(to);
    switch (what->kind) {
    case packet_kind::fin:
      close(what->way, here, "closed by its peer");
      return;
    case packet_kind::down:
      where.proxies->erase(id_of(from, way.boots[what->side]), what->target, what->reason);
      return;
    case packet_kind::monitor:
      on_monitor(what->way, here, what->target);
      return;
    case packet_kind::message:
      break;
    }
    caf::strong_actor_ptr sender;
    if (what->sender != 0)
      sender = speaker(way, what->side, what->sender);
    auto target = system_->registry().get(what->target);
    caf::message content;
    caf::binary_deserializer source{&unit_, what->bytes};
    if (!source.apply(content) || source.remaining() != 0)
      give_up("a message for " + actor_name(what->target) + " does not read as it was written");
    event seen;
    seen.kind = target ? event_kind::arrive : event_kind::drop;
    seen.machine = machine_id{to};
    seen.peer = machine_id{from};
    seen.actor = what->target;
    seen.sender = what->sender;
    seen.message_id = what->id.integer_value();
    seen.content = &content;
    seen.cause = what->cause;
    if (!target)
      seen.text = "the receiver has ended";
    emit(seen, 0);
    present_event_ = events_;
    chain_ = what->chain;
    heir_ = true;
    if (!target) {
      if (what->id.is_request() && sender)
        sender->enqueue(nullptr, what->id.response_id(),
                        caf::make_message(caf::make_error(caf::sec::request_receiver_down)), nullptr);
    } else if (auto link = caf::make_const_typed_message_view<caf::link_atom, caf::strong_actor_ptr>(content)) {
      if (auto& other = caf::get<1>(link))
        static_cast<caf::actor_proxy*>(other->get())->add_link(target->get());
    } else if (auto unlink = caf::make_const_typed_message_view<caf::unlink_atom, caf::strong_actor_ptr>(content)) {
      if (auto& other = caf::get<1>(unlink))
        static_cast<caf::actor_proxy*>(other->get())->remove_link(target->get());
    } else {
      target->enqueue(caf::make_mailbox_element(std::move(sender), what->id, {}, std::move(content)), &unit_);
    }
    heir_ = false;
  }

  /// The proxy of an actor at one end of a connection, for the machine at the other.
  const caf::strong_actor_ptr& speaker(connection& way, std::size_t side, caf::actor_id actor) {
    auto& last = way.ways[side].speaker;
    // One that the registry has dropped meanwhile has no connection any more.
    if (!last || last->id() != actor || !static_cast<proxy*>(caf::actor_cast<caf::abstract_actor*>(last))->way())
      last = machines_[way.ends[1 - side]].proxies->get_or_put(id_of(way.ends[side], way.boots[side]), actor);
    return last;
  }

  void on_monitor(const std::shared_ptr<connection>& way, std::size_t here, caf::actor_id actor) {
    auto tell = [this, way, here, actor](const caf::error& reason) {
      if (closing_ || !way->open[here] || !machines_[way->ends[here]].up)
        return;
      auto news = std::make_unique<packet>();
      news->kind = packet_kind::down;
      news->target = actor;
      news->reason = reason;
      dispatch(way, here, std::move(news));
    };
    if (auto target = system_->registry().get(actor))
      target->get()->attach_functor(tell);
    else
      tell(caf::exit_reason::unknown);
  }

  // -- connections -------------------------------------------------------------

  void accept(std::uint32_t from, std::uint32_t to, std::uint32_t boot, const std::string& address,
              const on_connected& done) {
    if (!passes(to, from))
      return;
    auto& here = machines_[to];
    // Long under way, and its process has died meanwhile: a connection that its host resets at once.  It must not stand
    // in for the one with the present process.
    if (auto known = here.peers.find(from); known != here.peers.end()) {
      auto& present = *known->second;
      if (present.boots[present.ends[0] == from ? 0 : 1] > boot)
        return;
    }
    replace(to, from, boot);
    auto way = std::make_shared<connection>();
    way->number = ++last_connection_;
    way->ends = {from, to};
    way->boots = {boot, here.boot};
    way->open = {false, true};
    way->generation = ++generations_[link_key(from, to)];
    here.peers[from] = way;
    emit(event_kind::connect, to, from, {});
    for (std::size_t side = 0; side < 2; ++side)
      update_silence(way, side);
    auto back = latency(to, from, way->generation, ++dials_);
    schedule(now_ + back, nobody, 0, [this, way, address, done] { complete(way, address, done); });
  }

  void complete(const std::shared_ptr<connection>& way, const std::string& address, const on_connected& done) {
    auto from = way->ends[0];
    auto to = way->ends[1];
    auto& here = machines_[from];
    if (!here.up || here.boot != way->boots[0]) {
      if (here.host_gone) {
        way->ways[0].dead = true;
        update_silence(way, 0);
      } else if (way->open[1]) {
        send_fin(way, 0);
      }
      return;
    }
    if (here.stalled) {
      happening later;
      later.machine = from;
      later.boot = here.boot;
      later.what = std::function<void()>{[this, way, address, done] { complete(way, address, done); }};
      here.held.push_back(std::move(later));
      return;
    }
    enter(from);
    if (!way->open[1]) {
      done(caf::make_error(errc::unreachable, address + ": connection closed"));
      return;
    }
    replace(from, to, way->boots[1]);
    way->open[0] = true;
    here.peers[to] = way;
    emit(event_kind::connect, from, to, {});
    enter(from);
    done(directory_of(to, address));
  }

  caf::expected<caf::strong_actor_ptr> directory_of(std::uint32_t to, const std::string& address) {
    auto& target = machines_[to];
    if (!target.directory)
      return caf::make_error(errc::unreachable, address + ": answers, but is no Astra process");
    export_actor(target.directory);
    return machines_[current_].proxies->get_or_put(target.id, target.directory->id());
  }

  /// Makes room for a connection with a process of `peer`.  One with the same process is closed.  One with a former
  /// process there is nobody's business: what that process sent last still arrives, maybe after words of the new one.
  void replace(std::uint32_t number, std::uint32_t peer, std::uint32_t boot) {
    auto& peers = machines_[number].peers;
    auto found = peers.find(peer);
    if (found == peers.end())
      return;
    auto stale = found->second;
    auto side = stale->ends[0] == number ? std::size_t{0} : std::size_t{1};
    if (stale->boots[1 - side] == boot) {
      close(stale, side, "replaced by a new connection");
      return;
    }
    peers.erase(found);
    for (auto& direction : stale->ways)
      for (auto& lost : std::exchange(direction.held, {}))
        discard_packet(*lost, "its process is gone");
  }

  /// One end gives a connection up.
  void close(const std::shared_ptr<connection>& way, std::size_t side, std::string_view why) {
    if (!std::exchange(way->open[side], false))
      return;
    auto number = way->ends[side];
    auto peer = way->ends[1 - side];
    auto& where = machines_[number];
    if (auto found = where.peers.find(peer); found != where.peers.end() && found->second == way)
      where.peers.erase(found);
    emit(event_kind::disconnect, number, peer, why);
    if (way->open[1 - side])
      send_fin(way, side);
    auto before = current_;
    enter(number);
    present_event_ = events_;
    where.proxies->erase(id_of(peer, way->boots[1 - side]));
    enter(before);
  }

  void send_fin(const std::shared_ptr<connection>& way, std::size_t side) {
    auto word = std::make_unique<packet>();
    word->kind = packet_kind::fin;
    dispatch(way, side, std::move(word));
  }

  /// Brings a direction in line with what stops it: a cut, a sender that is frozen or gone.
  void update_silence(const std::shared_ptr<connection>& way, std::size_t side) {
    auto& direction = way->ways[side];
    auto from = way->ends[side];
    auto to = way->ends[1 - side];
    auto cut = !passes(from, to);
    auto opened = direction.cut && !cut;
    direction.cut = cut;
    auto silent = cut || direction.dead || (machines_[from].stalled && machines_[from].boot == way->boots[side]);
    if (silent && direction.silent_since < 0) {
      direction.silent_since = now_;
      auto subject = link_subject(from, to, way->generation);
      auto late =
          random_.below(static_cast<std::uint64_t>(std::max<std::int64_t>(options_.connection_heartbeat.count(), 1)),
                        draw_kind::retransmit, subject, ++direction.sent);
      auto since = now_;
      schedule(now_ + options_.connection_timeout.count() + static_cast<std::int64_t>(late), to, machines_[to].boot,
               [this, way, side, since] {
                 if (way->ways[side].silent_since == since)
                   close(way, 1 - side, "nothing was heard for the connection timeout");
               });
    } else if (!silent && direction.silent_since >= 0) {
      // What was lost is sent again after a wait that has doubled with each failure: up to as long as it was away.
      auto away = std::min<std::int64_t>(now_ - direction.silent_since, 3'000'000'000);
      std::int64_t wait = 0;
      if (opened)
        wait = static_cast<std::int64_t>(random_.below(static_cast<std::uint64_t>(away) + 1, draw_kind::retransmit,
                                                       link_subject(from, to, way->generation), ++direction.sent));
      auto since = direction.silent_since;
      direction.last_arrival = std::max(direction.last_arrival, now_ + wait);
      auto held = std::exchange(direction.held, {});
      for (auto& what : held)
        dispatch(way, side, std::move(what));
      schedule(now_ + wait, nobody, 0, [this, way, side, since] {
        auto& healed = way->ways[side];
        auto sender = way->ends[side];
        if (healed.silent_since != since || healed.cut || healed.dead || machines_[sender].stalled)
          return;
        healed.silent_since = -1;
      });
    }
  }

  void refresh_cuts(const rule& changed) {
    // Whatever is open between the two sets, either way round.
    auto& fewer = changed.list_from.size() <= changed.list_to.size() ? changed.list_from : changed.list_to;
    auto& others = changed.list_from.size() <= changed.list_to.size() ? changed.to : changed.from;
    for (auto number : fewer) {
      auto peers = machines_[number].peers;
      for (auto& [peer, way] : peers)
        if (peer < others.size() && others[peer])
          for (std::size_t side = 0; side < 2; ++side)
            update_silence(way, side);
    }
  }

  static std::uint64_t link_key(std::uint32_t a, std::uint32_t b) {
    return std::uint64_t{std::min(a, b)} << 32 | std::max(a, b);
  }

  static std::uint64_t link_subject(std::uint32_t from, std::uint32_t to, std::uint64_t generation) {
    return (std::uint64_t{from} << 32 | to) ^ generation * 0x9e3779b97f4a7c15U;
  }

  std::uint64_t generation(std::uint32_t a, std::uint32_t b) const {
    auto found = generations_.find(link_key(a, b));
    return found == generations_.end() ? 0 : found->second;
  }

  std::int64_t latency(std::uint32_t from, std::uint32_t to, std::uint64_t generation, std::uint64_t number) const {
    auto& net = options_.network;
    auto subject = link_subject(from, to, generation);
    auto result = log_uniform(net.latency_min, net.latency_max, random_.unit(draw_kind::latency, subject, number));
    auto tail = net.mode == network_mode::stream || now_ < options_.lossy_until.count() ? net.tail : 0.0;
    if (tail > 0.0 && random_.unit(draw_kind::tail, subject, number) < tail && net.tail_max > net.latency_max)
      result = log_uniform(net.latency_max, net.tail_max, random_.unit(draw_kind::tail, ~subject, number));
    auto factor = 1.0;
    for (auto& [id, one] : rules_)
      if (!one.cuts && from < one.from.size() && to < one.to.size() && one.from[from] && one.to[to])
        factor *= one.factor;
    return factor == 1.0 ? result.count() : static_cast<std::int64_t>(static_cast<double>(result.count()) * factor);
  }

  // -- scheduling --------------------------------------------------------------

  void schedule_timer(std::chrono::steady_clock::time_point when, const caf::action& what,
                      std::chrono::nanoseconds period) {
    happening entry;
    entry.machine = current_;
    entry.boot = machines_[current_].boot;
    entry.cause = present_event_;
    entry.what = timer{what, period};
    queue_.push(machines_[current_].clock.due(when.time_since_epoch().count(), now_), tie(), std::move(entry));
  }

  void schedule(std::int64_t when, std::uint32_t where, std::uint32_t boot, std::function<void()> what) {
    happening entry;
    entry.machine = where;
    entry.boot = boot;
    entry.cause = present_event_;
    entry.what = std::move(what);
    queue_.push(when, tie(), std::move(entry));
  }

  /// Decides between what is due at the same time: the order of scheduling, or chance.
  std::uint64_t tie() {
    ++sequence_;
    constexpr auto behind = std::uint64_t{1} << 63;
    if (policy_ == schedule_policy::fifo)
      return behind | sequence_;
    return behind | (random_source{random_.seed() ^ sequence_}.next() >> 1);
  }

  void emit(event& what, std::uint64_t payload) {
    what.number = ++events_;
    what.at = instant{now_};
    struct {
      std::uint64_t at, cause, actor, sender, message, payload, types;
      std::uint32_t kind, machine, peer, pad;
    } line{static_cast<std::uint64_t>(now_),
           what.cause,
           what.actor,
           what.sender,
           what.message_id,
           payload,
           0,
           static_cast<std::uint32_t>(what.kind),
           static_cast<std::uint32_t>(what.machine),
           static_cast<std::uint32_t>(what.peer),
           0};
    if (what.content)
      for (auto type : what.content->types())
        line.types = line.types * 65599 + type;
    hash_ = XXH3_64bits_withSeed(&line, sizeof line, hash_);
    if (watch_)
      watch_(what);
  }

  caf::actor_system_config config_;
  schedule_policy policy_;
  run_queue ready_;
  event_queue<happening> queue_;
  worker unit_;
  std::map<std::string, std::uint32_t> by_address_;
  /// For look-ups only.
  std::unordered_map<caf::node_id, std::uint32_t> node_index_;
  std::unordered_map<std::uint64_t, std::uint64_t> generations_;
  std::map<rule_id, rule> rules_;
  rule_id last_rule_ = 0;
  std::uint64_t last_connection_ = 0;
  std::uint64_t dials_ = 0;
  std::uint64_t waits_ = 0;
  std::uint64_t sequence_ = 0;
  /// Counted apart from what actors schedule, so that one fault more or less shifts no tie of theirs.
  std::uint64_t calls_ = 0;
  static constexpr auto behind_first = std::uint64_t{1} << 62;
  /// By number of actor.
  std::vector<std::uint32_t> owners_;
  std::vector<const char*> names_;
  std::vector<bool> exported_;
  /// The event that is being handled, and its causal chain; the first that comes of it inherits the chain.
  std::uint64_t present_event_ = 0;
  std::uint64_t present_actor_ = 0;
  std::uint64_t chain_ = 0;
  std::uint64_t last_chain_ = 0;
  bool heir_ = false;
  /// The latest number of an actor when it was last seen to that none is detached.
  caf::actor_id last_spawned_ = 0;
  bool ending_ = false;
  bool closing_ = false;
  std::vector<job> orphans_;
  /// Of the message that is being sent; kept because it grows in many small steps.
  caf::byte_buffer written_;
};

engine::engine() {
  assert(!present_engine);
  present_engine = this;
}

void engine::set_identity(machine_id, const peer_identity&) {}

engine::~engine() {
  present_engine = nullptr;
}

engine* engine::present() {
  return present_engine;
}

std::unique_ptr<engine> make_engine(const engine_options& options, engine::observer watch, fidelity how) {
  if (how == fidelity::basp)
    return make_basp_engine(options, std::move(watch));
  return std::make_unique<wire_engine>(options, std::move(watch));
}

wire_engine::wire_engine(const engine_options& options, observer watch)
  : impl_(std::make_unique<impl>(options, std::move(watch))) {}

wire_engine::~wire_engine() = default;

caf::actor_system& wire_engine::system() {
  return *impl_->system_;
}
caf::actor wire_engine::connector() {
  // CAF's middleman as far as a dialer needs it.
  return impl_->system_->spawn([own = impl_.get()](caf::event_based_actor* self) -> caf::behavior {
    return {
        [own, self](caf::connect_atom, const std::string& host,
                    std::uint16_t port) -> caf::result<caf::node_id, caf::strong_actor_ptr, std::set<std::string>> {
          auto promise = self->make_response_promise<caf::node_id, caf::strong_actor_ptr, std::set<std::string>>();
          // A promise does not keep its actor alive, and nobody else may.
          own->connect(host + ':' + std::to_string(port), [promise, alive = caf::strong_actor_ptr{self->ctrl()}](
                                                              caf::expected<caf::strong_actor_ptr> directory) mutable {
            if (directory)
              promise.deliver((*directory)->node(), *directory, std::set<std::string>{});
            else
              promise.deliver(std::move(directory.error()));
          });
          return promise;
        },
    };
  });
}
const engine_options& wire_engine::options() const {
  return impl_->options_;
}
const draws& wire_engine::random() const {
  return impl_->random_;
}

namespace {
std::uint32_t index(machine_id where) {
  return static_cast<std::uint32_t>(where);
}
} // namespace

machine_id wire_engine::add_machine(std::string name, std::string address) {
  return machine_id{impl_->add_machine(std::move(name), std::move(address))};
}
void wire_engine::boot(machine_id where, const std::function<void()>& start) {
  impl_->boot(index(where), start);
}
void wire_engine::on(machine_id where, const std::function<void()>& what) {
  impl_->on(index(where), what);
}
void wire_engine::kill(machine_id where, death how, std::string_view why) {
  impl_->kill(index(where), how, why);
}
void wire_engine::stall(machine_id where) {
  impl_->stall(index(where));
}
void wire_engine::go_on(machine_id where) {
  impl_->go_on(index(where));
}
void wire_engine::set_drift(machine_id where, double ppm) {
  impl_->set_drift(index(where), ppm);
}
bool wire_engine::up(machine_id where) const {
  return impl_->machines_[index(where)].up;
}
bool wire_engine::stalled(machine_id where) const {
  return impl_->machines_[index(where)].stalled;
}
std::uint32_t wire_engine::boots(machine_id where) const {
  return impl_->machines_[index(where)].boot;
}
std::size_t wire_engine::machine_count() const {
  return impl_->machines_.size();
}
const std::string& wire_engine::machine_name(machine_id where) const {
  return impl_->machines_[index(where)].name;
}
machine_id wire_engine::current() const {
  return machine_id{impl_->current_};
}
std::chrono::steady_clock::time_point wire_engine::local_time(machine_id where) const {
  return impl_->local_time(index(where));
}
std::vector<caf::strong_actor_ptr> wire_engine::actors(machine_id where) {
  return impl_->actors(index(where));
}
std::string wire_engine::actor_name(std::uint64_t actor) const {
  return impl_->actor_name(actor);
}
std::size_t engine::mailbox_size(const caf::strong_actor_ptr& actor) {
  auto& mailbox = static_cast<caf::scheduled_actor*>(caf::actor_cast<caf::abstract_actor*>(actor))->mailbox();
  return mailbox.closed() || mailbox.blocked() ? 0 : mailbox.size();
}
std::vector<machine_id> wire_engine::peers(machine_id where) const {
  std::vector<machine_id> result;
  for (auto& [peer, way] : impl_->machines_[index(where)].peers)
    result.push_back(machine_id{peer});
  return result;
}
machine_id wire_engine::machine_of(std::uint64_t actor) const {
  return machine_id{impl_->owner(actor)};
}
void wire_engine::set_directory(machine_id where, caf::strong_actor_ptr directory) {
  impl_->machines_[index(where)].directory = std::move(directory);
}
engine::rule_id wire_engine::cut(std::vector<machine_id> from, std::vector<machine_id> to) {
  return impl_->add_rule(std::move(from), std::move(to), true, 1.0);
}
engine::rule_id wire_engine::slow(std::vector<machine_id> from, std::vector<machine_id> to, double factor) {
  return impl_->add_rule(std::move(from), std::move(to), false, factor);
}
void wire_engine::lift(rule_id rule) {
  impl_->lift(rule);
}
bool wire_engine::passes(machine_id from, machine_id to) const {
  return impl_->passes(index(from), index(to));
}
instant wire_engine::now() const {
  return instant{impl_->now_};
}
void wire_engine::at(instant when, std::function<void()> what) {
  impl_->at(when, std::move(what));
}
void wire_engine::first_at(instant when, std::uint64_t rank, std::function<void()> what) {
  impl_->first_at(when, rank, std::move(what));
}
void wire_engine::reseed(std::uint64_t seed) {
  impl_->reseed(seed);
}
void wire_engine::at(machine_id where, instant when, std::function<void()> what) {
  impl_->at_machine(index(where), when, std::move(what));
}
void wire_engine::run_until(instant end) {
  impl_->run_until(end);
}
bool wire_engine::step(instant end) {
  return impl_->step(end);
}
void wire_engine::stop() {
  impl_->stopped_ = true;
}
bool wire_engine::stopped() const {
  return impl_->stopped_;
}
std::uint64_t wire_engine::events() const {
  return impl_->events_;
}
std::uint64_t wire_engine::steps() const {
  return impl_->steps_;
}
std::uint64_t wire_engine::trace_hash() const {
  return impl_->hash_;
}
void wire_engine::tell(event_kind kind, machine_id where, machine_id peer, std::string_view text, std::uint64_t cause) {
  impl_->emit(kind, index(where), index(peer), text, cause);
}
void wire_engine::log_line(std::string_view text) {
  impl_->log_line(text);
}

} // namespace astra::sim
