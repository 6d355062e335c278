#include "runtime/sim/basp_engine.hpp"

#include "config/endpoint.hpp"
#include "messages/type_ids.hpp"
#include "runtime/net/frame_guard.hpp"
#include "runtime/sim/event_queue.hpp"
#include "runtime/sim/fiber.hpp"
#include "runtime/sim/link_rules.hpp"
#include "runtime/sim/machine_clock.hpp"
#include "runtime/sim/run_queue.hpp"
#include "runtime/system_node.hpp"

#include <caf/action.hpp>
#include <caf/actor_cast.hpp>
#include <caf/actor_clock.hpp>
#include <caf/actor_registry.hpp>
#include <caf/actor_system_config.hpp>
#include <caf/execution_unit.hpp>
#include <caf/io/basp_broker.hpp>
#include <caf/io/doorman.hpp>
#include <caf/io/middleman.hpp>
#include <caf/io/middleman_actor.hpp>
#include <caf/io/network/datagram_manager.hpp>
#include <caf/io/network/multiplexer.hpp>
#include <caf/io/network/native_socket.hpp>
#include <caf/io/network/operation.hpp>
#include <caf/io/scribe.hpp>
#include <caf/scheduled_actor.hpp>
#include <caf/scheduler/abstract_coordinator.hpp>
#include <caf/send.hpp>
#include <caf/typed_message_view.hpp>
#include <xxhash.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cassert>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <unordered_map>
#include <utility>
#include <variant>

namespace astra::sim {
namespace {

/// The counter of actor ids, for which CAF's actor system has no setter; how it is reached: see system_node.cpp.
template <class Tag, typename Tag::type Member>
struct member_of {
  friend typename Tag::type reach(Tag) { return Member; }
};
struct ids_member {
  using type = std::atomic<std::size_t> caf::actor_system::*;
  friend type reach(ids_member);
};
template struct member_of<ids_member, &caf::actor_system::ids_>;

[[noreturn]] void give_up(const std::string& what) {
  std::fprintf(stderr, "astra sim: %s\n", what.c_str());
  std::abort();
}

constexpr std::uint32_t nobody = 0;

/// Actors' numbers are unique in the run: processes draw them from blocks of their own.  Checks keep tables by number,
/// so that the blocks must not be large.
constexpr std::uint64_t id_block = 8192;
/// A process that has only so many left at the end of a turn gets the next block: it may spawn so many in one turn.
constexpr std::uint64_t id_margin = 4096;

/// Linux sends a SYN this often again, after 1, 2, 4 ... s, and has given up when the next would be due: 127 s.
constexpr int syn_retries = 6;
constexpr std::int64_t syn_wait = 1'000'000'000;

/// One write in so many reaches the peer in two pieces.
constexpr double split_share = 0.125;

std::uint32_t index(machine_id where) {
  return static_cast<std::uint32_t>(where);
}

class basp_engine final : public engine {
public:
  basp_engine(const engine_options& options, observer watch);
  ~basp_engine() override;

  // -- engine ------------------------------------------------------------------

  caf::actor_system& system() override;
  caf::actor connector() override;
  const engine_options& options() const override { return options_; }
  const draws& random() const override { return random_; }

  machine_id add_machine(std::string name, std::string address) override;
  void boot(machine_id where, const std::function<void()>& start) override;
  void on(machine_id where, const std::function<void()>& what) override;
  void kill(machine_id where, death how, std::string_view why) override;
  void stall(machine_id where) override;
  void go_on(machine_id where) override;
  void set_drift(machine_id where, double ppm) override { machines_[index(where)].clock.set_drift(ppm, now_); }
  bool up(machine_id where) const override { return machines_[index(where)].up; }
  bool stalled(machine_id where) const override { return machines_[index(where)].stalled; }
  std::uint32_t boots(machine_id where) const override { return machines_[index(where)].boot; }
  std::size_t machine_count() const override { return machines_.size(); }
  const std::string& machine_name(machine_id where) const override { return machines_[index(where)].name; }
  machine_id current() const override { return machine_id{current_}; }
  std::chrono::steady_clock::time_point local_time(machine_id where) const override { return local_time(index(where)); }
  std::vector<caf::strong_actor_ptr> actors(machine_id where) override;
  std::string actor_name(std::uint64_t actor) const override;
  machine_id machine_of(std::uint64_t actor) const override { return machine_id{owner(actor)}; }

  void set_directory(machine_id where, caf::strong_actor_ptr directory) override;
  void set_identity(machine_id where, const peer_identity& identity) override {
    machines_[index(where)].identity = identity;
  }
  rule_id cut(std::vector<machine_id> from, std::vector<machine_id> to) override;
  rule_id slow(std::vector<machine_id> from, std::vector<machine_id> to, double factor) override;
  void lift(rule_id rule) override;
  bool passes(machine_id from, machine_id to) const override { return rules_.passes(index(from), index(to)); }

  instant now() const override { return instant{now_}; }
  void at(instant when, std::function<void()> what) override;
  void first_at(instant when, std::uint64_t rank, std::function<void()> what) override;
  void reseed(std::uint64_t seed) override;
  std::vector<machine_id> peers(machine_id where) const override;
  void at(machine_id where, instant when, std::function<void()> what) override;
  void run_until(instant end) override;
  bool step(instant end) override;
  void stop() override { stopped_ = true; }
  bool stopped() const override { return stopped_; }
  std::uint64_t events() const override { return events_; }
  std::uint64_t steps() const override { return steps_; }
  std::uint64_t trace_hash() const override { return hash_; }
  void tell(event_kind kind, machine_id where, machine_id peer, std::string_view text, std::uint64_t cause) override {
    emit(kind, index(where), index(peer), text, cause);
  }
  void log_line(std::string_view text) override {
    if (!silent_)
      emit(event_kind::log, current_, nobody, text);
  }

private:
  class clock_type;
  class printer_actor;
  class worker;
  class coordinator;
  class loop;
  class socket;
  class listener;
  class broker;
  class middleman;
  struct process;
  struct connection;

  using connection_ptr = std::shared_ptr<connection>;
  using socket_ptr = caf::intrusive_ptr<socket>;
  using listener_ptr = caf::intrusive_ptr<listener>;

  enum class packet_kind : std::uint8_t {
    /// The first of its stream: the peer accepts.
    open,
    bytes,
    /// Nothing more comes from this side, or what came was for a socket that does not exist.
    fin,
  };

  struct packet {
    packet_kind kind = packet_kind::bytes;
    connection_ptr way;
    /// Index of the end that sent it.
    std::size_t side = 0;
    caf::byte_buffer bytes;
  };

  using packet_ptr = std::unique_ptr<packet>;

  /// A message in a stream: what its events tell.
  struct frame {
    /// Place of its end in the stream, in bytes.
    std::uint64_t end = 0;
    std::uint32_t destination = 0;
    caf::actor_id sender = 0;
    caf::actor_id target = 0;
    std::uint64_t message_id = 0;
    caf::message content;
    std::uint64_t cause = 0;
    std::uint64_t chain = 0;
  };

  /// A connect call that has not returned.
  struct dial {
    process* by = nullptr;
    std::uint32_t to = 0;
    std::uint16_t port = 0;
    int tries = 0;
    bool over = false;
    /// Null when it failed.
    socket_ptr result;
  };

  using dial_ptr = std::shared_ptr<dial>;

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

  struct machine {
    std::string name;
    peer_identity identity;
    endpoint address;
    std::uint32_t boot = 0;
    bool up = false;
    bool stalled = false;
    /// Down, and its host does not answer either.
    bool host_gone = false;
    machine_clock clock;
    process* running = nullptr;
    /// What happened to it while it was stalled.
    std::vector<happening> held;
  };

  // -- actors ------------------------------------------------------------------

  static caf::node_id make_id(std::uint32_t number, std::uint32_t boot);
  static bool terminated(const caf::strong_actor_ptr& handle) {
    return handle->get()->getf(caf::abstract_actor::is_terminated_flag);
  }
  static void release(caf::resumable* what) { caf::intrusive_ptr_release(what); }
  static void release(const job& what) {
    if (what.what)
      release(static_cast<caf::resumable*>(what.what));
  }

  process* process_of(std::uint64_t actor) const;
  std::uint32_t owner(std::uint64_t actor) const;
  void enter(std::uint32_t number);
  void take_block(process& where, caf::actor_system& sys);
  void push(process& where, caf::resumable* what);
  void push_loop(process& where, caf::resumable* what);
  void put_job(process& where, const job& next);
  void run(const job& what);
  void run_loop(process& where, const job& what);
  void run_broker(process& where, caf::resumable* what, std::uint64_t cause);
  void note_send(process& where, const caf::message& order);
  void run_actor(process& where, const job& what);
  void after(process& where, const job& what, caf::resumable::resume_result outcome);
  void end_process(process& where);
  void finish(process& where);
  void emit_step(process& where, caf::scheduled_actor* actor, std::uint64_t cause);

  // -- sockets -----------------------------------------------------------------

  caf::expected<caf::io::scribe_ptr> open(process& by, const std::string& host, std::uint16_t port);
  void send_syn(const dial_ptr& what);
  void syn_arrives(const dial_ptr& what);
  void finish_dial(const dial_ptr& what, process* peer);
  socket_ptr establish(process& by, process& peer, std::uint16_t port);
  socket_ptr add_socket(process& where, const connection_ptr& way, std::size_t side);
  void accept(const connection_ptr& way);
  void flush(socket& from);
  void read(socket& here);
  void read_soon(socket& here);
  void arrivals(const connection_ptr& way, std::size_t here);
  std::unique_ptr<frame_guard> make_guard(process& own, process& peer, bool dialled);
  [[noreturn]] void refuse(const socket& here, std::span<const std::byte> frame, const verdict& why);
  void shut(socket& here, std::string_view why);
  void drop_frames(connection& way, std::size_t side, std::string_view why);
  void dispatch(const connection_ptr& way, std::size_t side, packet_ptr what);
  void drop(std::uint32_t from, const frame& lost, std::string_view why);
  void send_fin(const connection_ptr& way, std::size_t side);
  void deliver(packet_ptr what);
  void update_cut(const connection_ptr& way, std::size_t side);
  void refresh_cuts(const link_rules::rule& changed);
  rule_id add_rule(const std::vector<machine_id>& from, const std::vector<machine_id>& to, bool cuts, double factor);
  std::int64_t latency(std::uint32_t from, std::uint32_t to, std::uint64_t generation, std::uint64_t number) const;
  std::uint64_t generation(std::uint32_t a, std::uint32_t b) const;
  static std::uint64_t link_key(std::uint32_t a, std::uint32_t b) {
    return std::uint64_t{std::min(a, b)} << 32 | std::max(a, b);
  }
  static std::uint64_t link_subject(std::uint32_t from, std::uint32_t to, std::uint64_t generation) {
    return (std::uint64_t{from} << 32 | to) ^ generation * 0x9e3779b97f4a7c15U;
  }

  // -- time --------------------------------------------------------------------

  std::chrono::steady_clock::time_point local_time(std::uint32_t number) const {
    return std::chrono::steady_clock::time_point{std::chrono::nanoseconds{machines_[number].clock.local(now_)}};
  }
  void schedule_timer(process& where, std::chrono::steady_clock::time_point when, const caf::action& what,
                      std::chrono::nanoseconds period);
  void schedule(std::int64_t when, std::uint32_t where, std::uint32_t boot, std::function<void()> what);
  std::uint64_t tie();
  void happen(happening entry);
  static void discard(happening& entry);
  void emit(event_kind kind, std::uint32_t where, std::uint32_t peer, std::string_view text, std::uint64_t cause = 0);
  void emit(event& what, std::uint64_t payload);

  engine_options options_;
  draws random_;
  observer watch_;
  schedule_policy policy_;
  run_queue ready_;
  event_queue<happening> queue_;
  std::vector<machine> machines_;
  /// Processes by block of actors' numbers.
  std::vector<process*> blocks_{nullptr};
  /// By number of actor.
  std::vector<const char*> names_;
  /// All that ever ran: an actor system ends with the engine, since much may hold handles of its actors.
  std::vector<std::unique_ptr<process>> processes_;
  std::map<std::string, std::uint32_t> by_address_;
  /// For look-ups only.
  std::unordered_map<caf::node_id, std::uint32_t> node_index_;
  std::unordered_map<std::uint64_t, std::uint64_t> generations_;
  link_rules rules_;
  std::uint32_t current_ = nobody;
  std::int64_t now_ = 0;
  bool stopped_ = false;
  /// Nobody reads what is logged now: a process that is dead already ends its actors.
  bool silent_ = false;
  std::uint64_t events_ = 0;
  std::uint64_t steps_ = 0;
  std::uint64_t hash_ = 0;
  std::uint64_t last_connection_ = 0;
  std::uint64_t dials_ = 0;
  std::uint64_t waits_ = 0;
  /// Ties: what first_at schedules, then what at does, then machines.
  static constexpr auto behind_first = std::uint64_t{1} << 62;
  std::uint64_t sequence_ = 0;
  /// Counted apart from what actors schedule, so that one fault more or less shifts no tie of theirs.
  std::uint64_t calls_ = 0;
  /// The event that is being handled, and its causal chain; the first that comes of it inherits the chain.
  std::uint64_t present_event_ = 0;
  std::uint64_t present_actor_ = 0;
  std::uint64_t chain_ = 0;
  std::uint64_t last_chain_ = 0;
  bool heir_ = false;
};

// -- modules of an actor system --------------------------------------------------

class basp_engine::clock_type : public caf::actor_clock {
public:
  explicit clock_type(process& owner) : owner_(owner) {}

  time_point now() const noexcept override;
  caf::disposable schedule_periodically(time_point first, caf::action what, duration_type period) override;

private:
  process& owner_;
};

/// Where CAF prints: unexpected messages, unhandled errors.
class basp_engine::printer_actor : public caf::monitorable_actor {
public:
  printer_actor(caf::actor_config& cfg, basp_engine& owner) : monitorable_actor(cfg), owner_(owner) {}

  bool enqueue(caf::mailbox_element_ptr what, caf::execution_unit*) override {
    if (auto view = caf::make_const_typed_message_view<caf::add_atom, caf::actor_id, std::string>(what->payload))
      owner_.log_line("caf.print actor=" + owner_.actor_name(caf::get<1>(view)) + " text=\"" + caf::get<2>(view)
                      + "\"");
    return true;
  }

  void setup_metrics() {}

private:
  basp_engine& owner_;
};

class basp_engine::worker : public caf::execution_unit {
public:
  explicit worker(process& owner) : owner_(owner) {}
  void connect(caf::actor_system& sys) { system_ = &sys; }
  void exec_later(caf::resumable* what) override;

private:
  process& owner_;
};

class basp_engine::coordinator : public caf::scheduler::abstract_coordinator {
public:
  coordinator(caf::actor_system& sys, process& owner) : abstract_coordinator(sys), owner_(owner), clock_(owner) {}

  void enqueue(caf::resumable* what) override;
  bool detaches_utility_actors() const override { return false; }
  caf::actor_clock& clock() noexcept override { return clock_; }
  void start() override;
  void stop() override;

private:
  process& owner_;
  clock_type clock_;
};

/// The event loop of a process's brokers.  The engine runs it; nothing here waits.
class basp_engine::loop : public caf::io::network::multiplexer {
public:
  loop(caf::actor_system& sys, process& owner) : multiplexer(&sys), owner_(owner) {}

  caf::expected<caf::io::scribe_ptr> new_tcp_scribe(const std::string& host, std::uint16_t port) override;
  caf::expected<caf::io::doorman_ptr> new_tcp_doorman(std::uint16_t port, const char* in, bool reuse) override;
  void exec_later(caf::resumable* what) override;
  /// For the end of an actor system, which runs what is left.
  bool try_run_once() override;
  void run_once() override { try_run_once(); }
  void run() override {}
  supervisor_ptr make_supervisor() override { return nullptr; }

  caf::io::scribe_ptr new_scribe(caf::io::network::native_socket) override { no_such_thing(); }
  caf::io::doorman_ptr new_doorman(caf::io::network::native_socket) override { no_such_thing(); }
  caf::io::datagram_servant_ptr new_datagram_servant(caf::io::network::native_socket) override { no_such_thing(); }
  caf::io::datagram_servant_ptr new_datagram_servant_for_endpoint(caf::io::network::native_socket,
                                                                  const caf::io::network::ip_endpoint&) override {
    no_such_thing();
  }
  caf::expected<caf::io::datagram_servant_ptr> new_remote_udp_endpoint(const std::string&, std::uint16_t) override {
    no_such_thing();
  }
  caf::expected<caf::io::datagram_servant_ptr> new_local_udp_endpoint(std::uint16_t, const char*, bool) override {
    no_such_thing();
  }

private:
  [[noreturn]] static void no_such_thing() { give_up("a process asked for a socket that the simulator does not have"); }

  process& owner_;
};

/// CAF's broker for BASP, which tells when it is told to send something.
class basp_engine::broker : public caf::io::basp_broker {
public:
  explicit broker(caf::actor_config& cfg);

  using basp_broker::enqueue;
  bool enqueue(caf::mailbox_element_ptr what, caf::execution_unit* unit) override;

private:
  process& owner_;
};

class basp_engine::middleman : public caf::io::middleman {
public:
  middleman(caf::actor_system& sys, process& owner) : caf::io::middleman(sys), owner_(owner), loop_(sys, owner) {}

  caf::io::network::multiplexer& backend() override { return loop_; }

  /// Instead of CAF's, which makes the node's id of the network card's address and the number of the real process.
  void init(caf::actor_system_config&) override;
  void start() override;
  process& owner() const { return owner_; }

private:
  process& owner_;
  loop loop_;
};

basp_engine::broker::broker(caf::actor_config& cfg)
  : basp_broker(cfg), owner_(static_cast<basp_engine::middleman&>(system().middleman()).owner()) {}

/// One start of a machine's process.
struct basp_engine::process {
  process(basp_engine& all, std::uint32_t on, std::uint32_t which);

  void start();

  basp_engine& engine;
  std::uint32_t machine;
  std::uint32_t boot;
  /// First of its actors' numbers: no actor has it, it stands for the loop in which the process's brokers run.
  caf::actor_id first = 0;
  /// End of its present block of them.
  caf::actor_id ids_end = 0;
  caf::node_id id;
  caf::actor_system_config config;
  worker unit;
  std::unique_ptr<caf::actor_system> system;
  basp_engine::loop* loop = nullptr;
  caf::actor_id directory = 0;
  /// The middleman's actor: it runs on a stack of its own, because it blocks.
  caf::actor_id connector = 0;
  fiber waiting;
  dial_ptr dialing;
  job blocked;
  caf::resumable::resume_result outcome = caf::resumable::done;
  bool over = false;

  struct resident {
    caf::actor_id id = 0;
    caf::weak_actor_ptr handle;
  };
  std::vector<resident> residents;
  std::size_t compact_at = 64;

  struct loop_job {
    caf::resumable* what = nullptr;
    std::uint64_t cause = 0;
    std::uint64_t chain = 0;
  };
  std::deque<loop_job> loop_jobs;
  /// What the broker has been asked to write, in its mailbox's order.
  std::deque<frame> sends;
  /// Whether the run queue knows of them.
  bool loop_ready = false;
  /// What became ready after the end.
  std::deque<caf::resumable*> orphans;

  std::map<std::uint16_t, listener_ptr> listeners;
  /// Open ones, by handle.
  std::map<std::int64_t, socket_ptr> sockets;
  std::int64_t last_handle = 0;
};

struct basp_engine::connection {
  struct direction {
    std::int64_t last_arrival = 0;
    /// Negative: it is not cut.
    std::int64_t cut_since = -1;
    std::uint64_t sent = 0;
    std::uint64_t written = 0;
    std::uint64_t consumed = 0;
    std::deque<packet_ptr> held;
    std::deque<frame> frames;
  };

  std::uint64_t number = 0;
  std::uint16_t port = 0;
  std::array<process*, 2> ends{};
  std::array<socket_ptr, 2> sockets;
  /// By sending end.
  std::array<direction, 2> ways;
  /// By receiving end.
  std::array<std::unique_ptr<frame_guard>, 2> guards;
  std::uint64_t generation = 0;
};

/// One end of a connection, as the broker of its process has it.
class basp_engine::socket : public caf::io::scribe {
public:
  socket(caf::io::connection_handle handle, process& owner, connection_ptr way, std::size_t side)
    : scribe(handle), owner_(owner), way_(std::move(way)), side_(side) {}

  void configure_read(caf::io::receive_policy::config config) override {
    policy_ = config;
    configured_ = true;
    owner_.engine.read_soon(*this);
  }
  void ack_writes(bool enable) override {
    if (enable)
      give_up("a broker asks for acknowledgements of writes, which the simulator does not have");
  }
  caf::byte_buffer& wr_buf() override { return out_; }
  caf::byte_buffer& rd_buf() override { return in_; }
  void flush() override { owner_.engine.flush(*this); }
  std::string addr() const override { return owner_.engine.machines_[peer().machine].address.host; }
  std::uint16_t port() const override { return way_->port; }
  void graceful_shutdown() override {
    socket_ptr keep{this};
    owner_.engine.flush(*this);
    owner_.engine.shut(*this, "closed by its own side");
    detach(owner_.loop, false);
  }
  void add_to_loop() override {
    passive_ = false;
    owner_.engine.read_soon(*this);
  }
  void remove_from_loop() override { passive_ = true; }

  process& owner() const { return owner_; }
  process& peer() const { return *way_->ends[1 - side_]; }
  const connection_ptr& way() const { return way_; }
  std::size_t side() const { return side_; }

  void receive(const caf::byte_buffer& bytes) { buffer_.insert(buffer_.end(), bytes.begin(), bytes.end()); }
  void end() { ended_ = true; }

  /// Checks the next frame, if all of it is there: the broker sees none before.
  /// @returns the size of a frame that is to be skipped instead
  std::size_t admit() {
    auto& guard = *way_->guards[side_];
    while (admitted_ == 0 && buffer_.size() - taken_ >= frame_guard::header_size) {
      auto left = std::as_bytes(std::span{buffer_}).subspan(taken_);
      if (!header_checked_) {
        auto judged = guard.on_header(left.first(frame_guard::header_size), owner_.engine.local_time(owner_.machine));
        if (judged.what != verdict::action::pass)
          owner_.engine.refuse(*this, left.first(frame_guard::header_size), judged);
        header_checked_ = true;
      }
      auto size = frame_guard::header_size + guard.payload_size();
      if (left.size() < size)
        return 0;
      header_checked_ = false;
      auto judged = guard.on_payload(left.subspan(frame_guard::header_size, guard.payload_size()));
      if (judged.what == verdict::action::close)
        owner_.engine.refuse(*this, left.first(size), judged);
      if (judged.what == verdict::action::drop)
        return size;
      admitted_ = size;
    }
    return 0;
  }

  void skip(std::size_t bytes) {
    taken_ += bytes;
    if (taken_ == buffer_.size()) {
      buffer_.clear();
      taken_ = 0;
    }
  }

  /// How much the broker takes next; 0: not now.
  std::size_t takes() {
    auto there = admitted_;
    auto wanted = policy_.second;
    if (passive_ || !configured_ || there == 0 || !parent()
        || !parent()->getf(caf::abstract_actor::is_initialized_flag))
      return 0;
    switch (policy_.first) {
    case caf::io::receive_policy_flag::exactly:
      return there >= wanted ? wanted : 0;
    case caf::io::receive_policy_flag::at_least:
      return there >= wanted ? there : 0;
    case caf::io::receive_policy_flag::at_most:
      return std::min(there, wanted);
    }
    return 0;
  }

  void take(std::size_t bytes) {
    auto first = buffer_.begin() + static_cast<std::ptrdiff_t>(taken_);
    in_.assign(first, first + static_cast<std::ptrdiff_t>(bytes));
    admitted_ -= bytes;
    skip(bytes);
    if (!consume(owner_.loop, in_.data(), in_.size()))
      passive_ = true;
  }

  /// Whether its peer has closed it and its broker has to be told.
  bool broken() { return ended_ && configured_ && parent(); }
  bool has_news() const { return ended_ || taken_ < buffer_.size(); }

  void fail() { io_failure(owner_.loop, caf::io::network::operation::read); }

  /// Guards read() against itself.
  bool reading = false;
  bool open = true;

private:
  process& owner_;
  connection_ptr way_;
  std::size_t side_;
  caf::io::receive_policy::config policy_{caf::io::receive_policy_flag::exactly, 0};
  bool configured_ = false;
  bool passive_ = false;
  bool ended_ = false;
  caf::byte_buffer out_;
  caf::byte_buffer in_;
  caf::byte_buffer buffer_;
  std::size_t taken_ = 0;
  /// Of what is there and not taken, so much has passed the guard.
  std::size_t admitted_ = 0;
  bool header_checked_ = false;
};

class basp_engine::listener : public caf::io::doorman {
public:
  listener(caf::io::accept_handle handle, process& owner, std::uint16_t port)
    : doorman(handle), owner_(owner), port_(port) {}

  void launch() override {
    // The broker that launches it knows only afterwards which actor it publishes on this port.
    owner_.engine.schedule(owner_.engine.now_, owner_.machine, owner_.boot, [self = listener_ptr{this}] {
      self->launched_ = true;
      for (auto& one : std::exchange(self->backlog_, {}))
        self->take(one);
    });
  }
  bool new_connection() override { return false; }
  std::string addr() const override { return owner_.engine.machines_[owner_.machine].address.host; }
  std::uint16_t port() const override { return port_; }
  void graceful_shutdown() override {
    listener_ptr keep{this};
    owner_.listeners.erase(port_);
    detach(owner_.loop, false);
  }
  void add_to_loop() override {}
  void remove_from_loop() override {}

  void take(const socket_ptr& one) {
    if (!launched_) {
      backlog_.push_back(one);
      return;
    }
    if (!one->open || !parent())
      return;
    parent()->add_scribe(one);
    doorman::new_connection(owner_.loop, one->hdl());
  }

  void forget() { backlog_.clear(); }

private:
  process& owner_;
  std::uint16_t port_;
  bool launched_ = false;
  std::vector<socket_ptr> backlog_;
};

basp_engine::clock_type::time_point basp_engine::clock_type::now() const noexcept {
  return owner_.engine.local_time(owner_.machine);
}

caf::disposable basp_engine::clock_type::schedule_periodically(time_point first, caf::action what,
                                                               duration_type period) {
  owner_.engine.schedule_timer(owner_, first, what, period);
  return std::move(what).as_disposable();
}

void basp_engine::worker::exec_later(caf::resumable* what) {
  owner_.engine.push(owner_, what);
}

void basp_engine::coordinator::enqueue(caf::resumable* what) {
  owner_.engine.push(owner_, what);
}

void basp_engine::coordinator::start() {
  caf::actor_config cfg{&owner_.unit};
  utility_actors_[printer_id] = caf::make_actor<printer_actor, caf::actor>(system().next_actor_id(), system().node(),
                                                                           &system(), cfg, owner_.engine);
}

void basp_engine::coordinator::stop() {
  owner_.engine.finish(owner_);
}

caf::expected<caf::io::scribe_ptr> basp_engine::loop::new_tcp_scribe(const std::string& host, std::uint16_t port) {
  return owner_.engine.open(owner_, host, port);
}

caf::expected<caf::io::doorman_ptr> basp_engine::loop::new_tcp_doorman(std::uint16_t port, const char*, bool) {
  auto& slot = owner_.listeners[port];
  if (slot)
    return caf::make_error(caf::sec::cannot_open_port);
  slot = caf::make_counted<listener>(caf::io::accept_handle::from_int(++owner_.last_handle), owner_, port);
  return caf::io::doorman_ptr{slot};
}

void basp_engine::loop::exec_later(caf::resumable* what) {
  switch (what->subtype()) {
  case caf::resumable::io_actor:
  case caf::resumable::function_object:
    owner_.engine.push_loop(owner_, what);
    break;
  default:
    owner_.engine.push(owner_, what);
  }
}

bool basp_engine::loop::try_run_once() {
  if (owner_.loop_jobs.empty())
    return false;
  auto next = owner_.loop_jobs.front().what;
  owner_.loop_jobs.pop_front();
  if (next->resume(this, 1) == caf::resumable::resume_later)
    owner_.loop_jobs.push_back({next, 0, 0});
  else
    release(next);
  return true;
}

bool basp_engine::broker::enqueue(caf::mailbox_element_ptr what, caf::execution_unit* unit) {
  owner_.engine.note_send(owner_, what->payload);
  return basp_broker::enqueue(std::move(what), unit);
}

void basp_engine::middleman::init(caf::actor_system_config&) {
  system_node(system()) = owner_.id;
  owner_.loop = &loop_;
}

void basp_engine::middleman::start() {
  // CAF's start() takes the broker of this name that it finds.
  named_broker<broker>("BASP");
  caf::io::middleman::start();
  owner_.connector = actor_handle().id();
}

basp_engine::process::process(basp_engine& all, std::uint32_t on, std::uint32_t which)
  : engine(all), machine(on), boot(which), id(make_id(on, which)), unit(*this) {
  auto& options = all.options_;
  caf::io::middleman::add_module_options(config);
  // As the live host sets them.
  config.set("caf.middleman.heartbeat-interval", caf::timespan{options.connection_heartbeat});
  config.set("caf.middleman.connection-timeout", caf::timespan{options.connection_timeout});
  config.set("caf.middleman.enable-automatic-connections", false);
  // No threads.
  config.set("caf.middleman.attach-utility-actors", true);
  config.set("caf.middleman.manual-multiplexing", true);
  config.set("caf.middleman.workers", std::size_t{0});
  config.set("caf.scheduler.max-threads", std::size_t{1});
  config.set("caf.logger.file.verbosity", "quiet");
  config.set("caf.logger.console.verbosity", "quiet");
  config.module_factories.push_back([this](caf::actor_system& sys) -> caf::actor_system::module* {
    engine.take_block(*this, sys);
    first = sys.latest_actor_id();
    unit.connect(sys);
    return new coordinator(sys, *this);
  });
  config.module_factories.push_back(
      [this](caf::actor_system& sys) -> caf::actor_system::module* { return new basp_engine::middleman(sys, *this); });
}

void basp_engine::process::start() {
  system = std::make_unique<caf::actor_system>(config);
  system->await_actors_before_shutdown(false);
}

// -- life ------------------------------------------------------------------------

basp_engine::basp_engine(const engine_options& options, observer watch)
  : options_(options), random_(options.seed), watch_(std::move(watch)),
    policy_(run_queue::choose(options.policy, random_)), ready_(policy_, options.depth, 20'000, random_) {
  auto& outside = machines_.emplace_back();
  outside.name = "outside";
  outside.up = true;
  outside.boot = 1;
}

basp_engine::~basp_engine() {
  watch_ = nullptr;
  silent_ = true;
  for (auto& where : machines_)
    if (where.running && where.up) {
      where.up = false;
      end_process(*where.running);
    }
  for (auto& what : ready_.drain())
    release(what);
  while (!queue_.empty()) {
    auto left = queue_.pop();
    discard(left.payload);
  }
  for (auto& where : machines_) {
    for (auto& what : where.held)
      discard(what);
    where.held.clear();
  }
  for (auto& one : processes_)
    one->system.reset();
}

caf::actor_system& basp_engine::system() {
  auto running = machines_[current_].running;
  if (!running)
    give_up("an actor system is asked for while no machine has its turn");
  return *running->system;
}

caf::actor basp_engine::connector() {
  return caf::actor_cast<caf::actor>(system().middleman().actor_handle());
}

machine_id basp_engine::add_machine(std::string name, std::string address) {
  auto number = static_cast<std::uint32_t>(machines_.size());
  auto& added = machines_.emplace_back();
  added.name = std::move(name);
  added.identity.cluster = "simulated";
  added.identity.name = added.name;
  added.identity.roles = {peer_role::node, peer_role::resource, peer_role::scheduler, peer_role::gateway};
  auto parsed = parse_endpoint(address);
  assert(parsed);
  added.address = *parsed;
  auto span = static_cast<std::uint64_t>(std::max<std::int64_t>(options_.clock_offset_max.count(), 1));
  added.clock = machine_clock{static_cast<std::int64_t>(random_.below(span, draw_kind::clock, number, 0)) + 1};
  by_address_[to_string(*parsed)] = number;
  return machine_id{number};
}

void basp_engine::boot(machine_id id, const std::function<void()>& start) {
  auto number = index(id);
  auto& where = machines_[number];
  assert(!where.up);
  where.up = true;
  where.stalled = false;
  where.host_gone = false;
  ++where.boot;
  emit(event_kind::boot, number, nobody, {});
  processes_.push_back(std::make_unique<process>(*this, number, where.boot));
  where.running = processes_.back().get();
  node_index_[where.running->id] = number;
  on(id, [&] {
    where.running->start();
    start();
  });
}

void basp_engine::on(machine_id where, const std::function<void()>& what) {
  auto before = current_;
  enter(index(where));
  what();
  enter(before);
}

void basp_engine::kill(machine_id id, death how, std::string_view why) {
  auto number = index(id);
  auto& where = machines_[number];
  assert(where.up && current_ == nobody);
  emit(how == death::ended ? event_kind::stop : event_kind::crash, number, nobody, why);
  auto& gone = *where.running;
  where.up = false;
  where.host_gone = how == death::silent;
  for (auto& [handle, one] : gone.sockets) {
    auto& way = one->way();
    if (how == death::silent) {
      way->ways[one->side()].held.clear();
      drop_frames(*way, one->side(), "its machine is gone");
    } else {
      send_fin(way, one->side());
    }
  }
  end_process(gone);
  for (auto& what : where.held)
    discard(what);
  where.held.clear();
  where.stalled = false;
}

void basp_engine::stall(machine_id id) {
  auto number = index(id);
  auto& where = machines_[number];
  if (!where.up || where.stalled)
    return;
  where.stalled = true;
  emit(event_kind::stall, number, nobody, {});
  for (auto& what : ready_.drain()) {
    if (owner(what.actor) == number)
      put_job(*where.running, what);
    else
      ready_.push(what);
  }
}

void basp_engine::go_on(machine_id id) {
  auto number = index(id);
  auto& where = machines_[number];
  if (!where.up || !where.stalled)
    return;
  where.stalled = false;
  emit(event_kind::go_on, number, nobody, {});
  // A process that comes back reads what has come before it handles its timers: so no connection is given up whose
  // peer has kept talking.
  auto held = std::exchange(where.held, {});
  std::stable_partition(held.begin(), held.end(),
                        [](auto& entry) { return std::holds_alternative<packet_ptr>(entry.what); });
  for (auto& what : held) {
    if (!where.up)
      discard(what);
    else
      happen(std::move(what));
  }
}

std::vector<caf::strong_actor_ptr> basp_engine::actors(machine_id where) {
  std::vector<caf::strong_actor_ptr> result;
  auto& running = machines_[index(where)].running;
  if (!running)
    return result;
  for (auto& entry : running->residents)
    if (auto handle = caf::actor_cast<caf::strong_actor_ptr>(entry.handle); handle && !terminated(handle))
      result.push_back(std::move(handle));
  return result;
}

std::string basp_engine::actor_name(std::uint64_t actor) const {
  auto where = process_of(actor);
  if (!where)
    return machines_[nobody].name + "/actor#" + std::to_string(actor);
  std::string result = machines_[where->machine].name + '/';
  result += actor < names_.size() && names_[actor] ? names_[actor] : "actor";
  return result + '#' + std::to_string(actor);
}

caf::node_id basp_engine::make_id(std::uint32_t number, std::uint32_t boot) {
  caf::hashed_node_id::host_id_type host{};
  for (std::size_t i = 0; i < 4; ++i)
    host[i] = static_cast<std::uint8_t>(number >> (8 * i));
  host[19] = 1;
  return caf::make_node_id(boot, host);
}

basp_engine::process* basp_engine::process_of(std::uint64_t actor) const {
  auto block = actor / id_block;
  return block < blocks_.size() ? blocks_[block] : nullptr;
}

std::uint32_t basp_engine::owner(std::uint64_t actor) const {
  auto where = process_of(actor);
  return where ? where->machine : nobody;
}

// -- actors ------------------------------------------------------------------------

/// The machine's turn.
void basp_engine::enter(std::uint32_t number) {
  if (auto leaves = machines_[current_].running;
      leaves && leaves->system && leaves->system->latest_actor_id() + id_margin >= leaves->ids_end)
    take_block(*leaves, *leaves->system);
  current_ = number;
}

void basp_engine::take_block(process& where, caf::actor_system& sys) {
  if (sys.latest_actor_id() >= where.ids_end && where.ids_end > 0)
    give_up(machines_[where.machine].name
            + " spawned thousands of actors in one turn: more than this tier has numbers");
  sys.*reach(ids_member{}) = blocks_.size() * id_block;
  blocks_.push_back(&where);
  where.ids_end = blocks_.size() * id_block;
}

void basp_engine::push(process& where, caf::resumable* what) {
  if (what->subtype() != caf::resumable::scheduled_actor)
    give_up("actor on " + machines_[where.machine].name
            + " runs in a thread of its own, which no seed decides; actors must be event-based");
  auto actor = static_cast<caf::scheduled_actor*>(what);
  if (where.over) {
    where.orphans.push_back(what);
    return;
  }
  auto id = actor->id();
  if (names_.size() <= id)
    names_.resize(id + 1, nullptr);
  if (!names_[id]) {
    names_[id] = actor->name();
    where.residents.push_back({id, caf::weak_actor_ptr{actor->ctrl(), true}});
    if (where.residents.size() >= where.compact_at) {
      std::erase_if(where.residents, [](auto& entry) {
        auto handle = caf::actor_cast<caf::strong_actor_ptr>(entry.handle);
        return !handle || terminated(handle);
      });
      where.compact_at = std::max<std::size_t>(64, where.residents.size() * 2);
    }
  }
  job next;
  next.actor = id;
  next.cause = present_event_;
  next.chain = std::exchange(heir_, false) ? chain_ : ++last_chain_;
  next.what = what;
  put_job(where, next);
}

void basp_engine::push_loop(process& where, caf::resumable* what) {
  where.loop_jobs.push_back({what, present_event_, std::exchange(heir_, false) ? chain_ : ++last_chain_});
  if (where.over || std::exchange(where.loop_ready, true))
    return;
  job next;
  next.actor = where.first;
  next.cause = present_event_;
  next.chain = where.loop_jobs.back().chain;
  put_job(where, next);
}

void basp_engine::put_job(process& where, const job& next) {
  happening later;
  later.machine = where.machine;
  later.boot = where.boot;
  later.cause = present_event_;
  later.what = wake{next};
  if (machines_[where.machine].stalled) {
    machines_[where.machine].held.push_back(std::move(later));
  } else if (options_.step_max.count() > 0) {
    auto wait = random_.below(static_cast<std::uint64_t>(options_.step_max.count()), draw_kind::step_time, next.actor,
                              ++waits_);
    queue_.push(now_ + static_cast<std::int64_t>(wait), tie(), std::move(later));
  } else {
    ready_.push(next);
  }
}

void basp_engine::run(const job& what) {
  auto& where = *process_of(what.actor);
  enter(where.machine);
  chain_ = what.chain;
  heir_ = true;
  if (what.what)
    run_actor(where, what);
  else
    run_loop(where, what);
  heir_ = false;
  if (where.system->detached_actors() > 0)
    give_up(actor_name(what.actor)
            + " spawned a detached or blocking actor: a thread, which no seed decides; actors must be event-based");
  present_event_ = 0;
  present_actor_ = 0;
  enter(nobody);
}

void basp_engine::run_loop(process& where, const job& what) {
  where.loop_ready = false;
  auto next = where.loop_jobs.front();
  where.loop_jobs.pop_front();
  chain_ = next.chain;
  if (next.what->subtype() == caf::resumable::io_actor) {
    run_broker(where, next.what, next.cause);
  } else {
    present_event_ = next.cause;
    next.what->resume(where.loop, 1);
    release(next.what);
  }
  if (where.loop_jobs.empty() || std::exchange(where.loop_ready, true))
    return;
  job again = what;
  again.cause = where.loop_jobs.front().cause;
  again.chain = where.loop_jobs.front().chain;
  put_job(where, again);
}

void basp_engine::emit_step(process& where, caf::scheduled_actor* actor, std::uint64_t cause) {
  ++steps_;
  event seen;
  seen.kind = event_kind::step;
  seen.machine = machine_id{where.machine};
  seen.actor = actor->id();
  seen.cause = cause;
  if (auto next = actor->peek_at_next_mailbox_element()) {
    if (next->sender) {
      seen.sender = next->sender->id();
      if (auto from = owner(seen.sender); from != where.machine)
        seen.peer = machine_id{from};
    }
    seen.message_id = next->mid.integer_value();
    seen.content = &next->payload;
  }
  emit(seen, 0);
  present_event_ = events_;
  present_actor_ = seen.actor;
}

/// What a proxy asks the broker to do: sender, stages, target, message.
auto read_order(const caf::message& order) {
  return caf::make_const_typed_message_view<caf::forward_atom, caf::strong_actor_ptr,
                                            std::vector<caf::strong_actor_ptr>, caf::strong_actor_ptr, caf::message_id,
                                            caf::message>(order);
}

/// An actor sends to another machine: BASP writes it when its broker has its turn.
void basp_engine::note_send(process& where, const caf::message& order) {
  auto view = read_order(order);
  if (!view || !caf::get<3>(view) || where.over)
    return;
  frame sent;
  sent.destination = owner(caf::get<3>(view)->id());
  sent.sender = caf::get<1>(view) ? caf::get<1>(view)->id() : 0;
  sent.target = caf::get<3>(view)->id();
  sent.message_id = caf::get<4>(view).integer_value();
  sent.content = caf::get<5>(view);
  event seen;
  seen.kind = event_kind::send;
  seen.machine = machine_id{where.machine};
  seen.peer = machine_id{sent.destination};
  seen.actor = sent.target;
  seen.sender = sent.sender;
  seen.message_id = sent.message_id;
  seen.content = &sent.content;
  seen.cause = present_event_;
  emit(seen, 0);
  sent.cause = events_;
  sent.chain = heir_ ? chain_ : last_chain_ + 1;
  where.sends.push_back(std::move(sent));
}

void basp_engine::run_broker(process& where, caf::resumable* what, std::uint64_t cause) {
  auto broker = static_cast<caf::io::basp_broker*>(what);
  std::optional<frame> sent;
  connection_ptr way;
  std::size_t side = 0;
  if (auto next = broker->peek_at_next_mailbox_element()) {
    auto view = read_order(next->payload);
    if (view && caf::get<3>(view)) {
      auto& target = caf::get<3>(view);
      assert(!where.sends.empty() && where.sends.front().target == target->id());
      sent = std::move(where.sends.front());
      where.sends.pop_front();
      cause = sent->cause;
      if (auto route = broker->instance.tbl().lookup(target->node()))
        if (auto open = where.sockets.find(route->hdl.id()); open != where.sockets.end()) {
          way = open->second->way();
          side = open->second->side();
        }
    }
  }
  emit_step(where, broker, cause);
  auto before = way ? way->ways[side].written : 0;
  switch (what->resume(where.loop, 1)) {
  case caf::resumable::resume_later:
    where.loop_jobs.push_back({what, present_event_, chain_});
    break;
  default:
    release(what);
  }
  if (!sent)
    return;
  if (way && way->ways[side].written > before) {
    sent->end = way->ways[side].written;
    way->ways[side].frames.push_back(std::move(*sent));
  } else {
    drop(where.machine, *sent, "the connection is closed");
  }
}

void basp_engine::run_actor(process& where, const job& what) {
  auto actor = static_cast<caf::scheduled_actor*>(static_cast<caf::resumable*>(what.what));
  emit_step(where, actor, what.cause);
  if (what.actor != where.connector) {
    after(where, what, actor->resume(&where.unit, 1));
    return;
  }
  where.blocked = what;
  where.waiting.run([&where, actor] { where.outcome = actor->resume(&where.unit, 1); });
  if (!where.waiting.blocked())
    after(where, what, where.outcome);
}

void basp_engine::after(process& where, const job& what, caf::resumable::resume_result outcome) {
  switch (outcome) {
  case caf::resumable::resume_later: {
    // It has more to do: the chain goes on with it.
    heir_ = false;
    job again = what;
    again.cause = present_event_;
    if (machines_[where.machine].stalled)
      put_job(where, again);
    else
      ready_.push(again);
    break;
  }
  case caf::resumable::done:
  case caf::resumable::awaiting_message:
    release(what);
    break;
  case caf::resumable::shutdown_execution_unit:
    break;
  }
}

/// Ends every actor of a process without letting it say anything.
void basp_engine::end_process(process& where) {
  where.over = true;
  auto before = current_;
  enter(where.machine);
  auto was_silent = std::exchange(silent_, true);
  if (where.waiting.blocked()) {
    where.dialing->over = true;
    where.waiting.go_on();
    release(where.blocked);
  }
  for (std::size_t i = 0; i < where.residents.size(); ++i) {
    auto handle = caf::actor_cast<caf::strong_actor_ptr>(where.residents[i].handle);
    for (auto tries = 0; handle && !terminated(handle) && tries < 8; ++tries) {
      if (tries == 0)
        handle->enqueue(caf::make_mailbox_element(nullptr, caf::make_message_id(caf::message_priority::high), {},
                                                  caf::exit_msg{handle->address(), caf::exit_reason::kill}),
                        &where.unit);
      static_cast<caf::scheduled_actor*>(caf::actor_cast<caf::abstract_actor*>(handle))->resume(&where.unit, 1);
    }
    assert(!handle || terminated(handle));
  }
  for (auto& what : ready_.drain()) {
    if (process_of(what.actor) == &where)
      release(what);
    else
      ready_.push(what);
  }
  for (auto what : std::exchange(where.orphans, {}))
    release(what);
  for (auto& what : std::exchange(where.loop_jobs, {}))
    release(what.what);
  where.residents.clear();
  for (auto& lost : std::exchange(where.sends, {}))
    drop(where.machine, lost, "its machine is gone");
  for (auto& [port, one] : where.listeners)
    one->forget();
  where.listeners.clear();
  for (auto& [handle, one] : std::exchange(where.sockets, {})) {
    one->open = false;
    auto& way = *one->way();
    drop_frames(way, 1 - one->side(), "the receiver is down");
    way.sockets[one->side()] = nullptr;
  }
  silent_ = was_silent;
  enter(before);
}

/// An actor system ends: what is left of its own actors runs to its end.
void basp_engine::finish(process& where) {
  while (!where.orphans.empty()) {
    auto what = where.orphans.front();
    where.orphans.pop_front();
    if (what->resume(&where.unit, 1) == caf::resumable::resume_later)
      where.orphans.push_back(what);
    else
      release(what);
  }
}

// -- connections -------------------------------------------------------------------

void basp_engine::set_directory(machine_id id, caf::strong_actor_ptr directory) {
  auto& where = machines_[index(id)];
  auto signatures = directory->get()->message_types();
  where.running->directory = directory->id();
  caf::anon_send(where.running->system->middleman().actor_handle(), caf::publish_atom_v, where.address.port,
                 std::move(directory), std::move(signatures), where.address.host, true);
}

/// Runs on the stack of the middleman's actor, which blocks as connect(2) does.
caf::expected<caf::io::scribe_ptr> basp_engine::open(process& by, const std::string& host, std::uint16_t port) {
  auto found = by_address_.find(to_string(endpoint{host, port}));
  if (by.over || found == by_address_.end())
    return caf::make_error(caf::sec::cannot_connect_to_node, "no such host", host, port);
  if (!by.waiting.inside())
    give_up("something else than the middleman's actor opens a connection on " + machines_[by.machine].name);
  auto call = std::make_shared<dial>();
  call->by = &by;
  call->to = found->second;
  call->port = port;
  by.dialing = call;
  send_syn(call);
  while (!call->over)
    by.waiting.block();
  by.dialing = nullptr;
  if (!call->result)
    return caf::make_error(caf::sec::cannot_connect_to_node, "connection failed", host, port);
  return caf::io::scribe_ptr{call->result};
}

void basp_engine::send_syn(const dial_ptr& what) {
  if (what->over)
    return;
  auto from = what->by->machine;
  if (rules_.passes(from, what->to))
    schedule(now_ + latency(from, what->to, generation(from, what->to), ++dials_), nobody, 0,
             [this, what] { syn_arrives(what); });
  auto wait = syn_wait << what->tries;
  if (what->tries++ < syn_retries)
    schedule(now_ + wait, nobody, 0, [this, what] { send_syn(what); });
  else
    schedule(now_ + wait, from, what->by->boot, [this, what] { finish_dial(what, nullptr); });
}

void basp_engine::syn_arrives(const dial_ptr& what) {
  auto from = what->by->machine;
  auto& target = machines_[what->to];
  if (what->over || target.host_gone || !rules_.passes(what->to, from))
    return;
  // The host answers, also for a process that is frozen.
  auto peer = target.up && target.running->listeners.contains(what->port) ? target.running : nullptr;
  schedule(now_ + latency(what->to, from, generation(from, what->to), ++dials_), from, what->by->boot,
           [this, what, peer] { finish_dial(what, peer); });
}

void basp_engine::finish_dial(const dial_ptr& what, process* peer) {
  if (what->over)
    return;
  auto& by = *what->by;
  what->over = true;
  if (peer)
    what->result = establish(by, *peer, what->port);
  by.waiting.go_on();
  if (!by.waiting.blocked())
    after(by, by.blocked, by.outcome);
}

basp_engine::socket_ptr basp_engine::establish(process& by, process& peer, std::uint16_t port) {
  auto way = std::make_shared<connection>();
  way->number = ++last_connection_;
  way->port = port;
  way->ends = {&by, &peer};
  way->generation = ++generations_[link_key(by.machine, peer.machine)];
  way->guards = {make_guard(by, peer, true), make_guard(peer, by, false)};
  auto result = add_socket(by, way, 0);
  for (std::size_t side = 0; side < 2; ++side)
    update_cut(way, side);
  auto first = std::make_unique<packet>();
  first->kind = packet_kind::open;
  dispatch(way, 0, std::move(first));
  return result;
}

basp_engine::socket_ptr basp_engine::add_socket(process& where, const connection_ptr& way, std::size_t side) {
  auto handle = ++where.last_handle;
  auto result = caf::make_counted<socket>(caf::io::connection_handle::from_int(handle), where, way, side);
  where.sockets.emplace(handle, result);
  way->sockets[side] = result;
  emit(event_kind::connect, where.machine, way->ends[1 - side]->machine, {});
  return result;
}

/// Between the bytes that come from `peer` and the broker of `own`, as in a live process.
std::unique_ptr<frame_guard> basp_engine::make_guard(process& own, process& peer, bool dialled) {
  frame_guard::session about;
  about.peer = machines_[peer.machine].identity;
  about.own_roles = machines_[own.machine].identity.roles;
  about.own_node = own.id;
  about.peer_node = peer.id;
  about.dialled = dialled;
  about.is_service = [&own](caf::actor_id id) { return id == own.directory; };
  return std::make_unique<frame_guard>(std::move(about));
}

/// Everybody here is honest: a frame that the guard refuses is a bug of the guard, or of who sent it.
void basp_engine::refuse(const socket& here, std::span<const std::byte> frame, const verdict& why) {
  std::string bytes;
  for (auto byte : frame.first(std::min<std::size_t>(frame.size(), 256)))
    for (auto digit : {std::to_integer<int>(byte) >> 4, std::to_integer<int>(byte) & 15})
      bytes += "0123456789abcdef"[digit];
  auto name = [this](process& one) { return machines_[one.machine].name + "#" + std::to_string(one.boot); };
  give_up("seed " + std::to_string(random_.seed()) + ", " + std::to_string(now_) + " ns: " + name(here.owner())
          + " refuses a frame of " + name(here.peer()) + ": " + to_string(why.why) + ": " + why.detail + ": " + bytes);
}

void basp_engine::accept(const connection_ptr& way) {
  auto& here = *way->ends[1];
  auto listening = here.listeners.find(way->port);
  if (listening == here.listeners.end()) {
    send_fin(way, 1);
    return;
  }
  auto added = add_socket(here, way, 1);
  auto keep = listening->second;
  keep->take(added);
}

void basp_engine::flush(socket& from) {
  auto& out = from.wr_buf();
  if (out.empty() || !from.open) {
    out.clear();
    return;
  }
  auto& way = *from.way();
  auto& direction = way.ways[from.side()];
  auto bytes = std::exchange(out, {});
  auto cuts = way.guards[from.side()]->on_sent(std::as_bytes(std::span{bytes}));
  for (auto cut = cuts.rbegin(); cut != cuts.rend(); ++cut) {
    auto first = bytes.begin() + static_cast<std::ptrdiff_t>(cut->offset);
    bytes.erase(first, first + static_cast<std::ptrdiff_t>(cut->size));
  }
  if (bytes.empty())
    return;
  struct {
    std::uint64_t at, way, side, size, content;
  } line{static_cast<std::uint64_t>(now_), way.number, from.side(), bytes.size(), XXH64(bytes.data(), bytes.size(), 0)};
  hash_ = XXH3_64bits_withSeed(&line, sizeof line, hash_);
  direction.written += bytes.size();
  auto subject = link_subject(from.owner().machine, from.peer().machine, way.generation);
  auto cut = bytes.size();
  if (cut > 1 && random_.unit(draw_kind::split, subject, direction.written) < split_share)
    cut = 1 + random_.below(cut - 1, draw_kind::split, ~subject, direction.written);
  auto middle = bytes.begin() + static_cast<std::ptrdiff_t>(cut);
  for (auto [first, last] : {std::pair{bytes.begin(), middle}, std::pair{middle, bytes.end()}}) {
    if (first == last)
      continue;
    auto piece = std::make_unique<packet>();
    piece->bytes.assign(first, last);
    dispatch(from.way(), from.side(), std::move(piece));
  }
}

/// Gives a broker what has come for it.
void basp_engine::read(socket& here) {
  if (here.reading || !here.open)
    return;
  socket_ptr keep{&here};
  here.reading = true;
  while (here.open) {
    while (auto refused = here.admit()) {
      here.skip(refused);
      auto& way = *here.way();
      auto& from = way.ways[1 - here.side()];
      from.consumed += refused;
      while (!from.frames.empty() && from.frames.front().end <= from.consumed) {
        drop(way.ends[1 - here.side()]->machine, from.frames.front(), "nobody waits for the answer");
        from.frames.pop_front();
      }
    }
    auto bytes = here.takes();
    if (bytes == 0)
      break;
    here.way()->ways[1 - here.side()].consumed += bytes;
    arrivals(here.way(), here.side());
    here.take(bytes);
    heir_ = false;
  }
  here.reading = false;
  if (here.open && here.broken()) {
    shut(here, "closed by its peer");
    here.fail();
  }
}

void basp_engine::read_soon(socket& here) {
  if (here.reading || !here.open || !here.has_news())
    return;
  schedule(now_, here.owner().machine, here.owner().boot, [this, one = socket_ptr{&here}] { read(*one); });
}

/// Tells of the messages that the broker is about to have read.
void basp_engine::arrivals(const connection_ptr& way, std::size_t here) {
  auto& from = way->ways[1 - here];
  while (!from.frames.empty() && from.frames.front().end <= from.consumed) {
    auto came = std::move(from.frames.front());
    from.frames.pop_front();
    auto& where = *way->ends[here];
    if (came.destination != where.machine)
      continue; // for somebody else: it is passed on
    event seen;
    seen.kind = where.system->registry().get(came.target) ? event_kind::arrive : event_kind::drop;
    seen.machine = machine_id{where.machine};
    seen.peer = machine_id{way->ends[1 - here]->machine};
    seen.actor = came.target;
    seen.sender = came.sender;
    seen.message_id = came.message_id;
    seen.content = &came.content;
    seen.cause = came.cause;
    if (seen.kind == event_kind::drop)
      seen.text = "the receiver has ended";
    emit(seen, 0);
    present_event_ = events_;
    chain_ = came.chain;
    heir_ = true;
  }
}

/// This side gives the connection up.
void basp_engine::shut(socket& here, std::string_view why) {
  if (!std::exchange(here.open, false))
    return;
  auto way = here.way();
  auto side = here.side();
  emit(event_kind::disconnect, here.owner().machine, here.peer().machine, why);
  drop_frames(*way, 1 - side, "the receiver has closed the connection");
  here.owner().sockets.erase(here.hdl().id());
  way->sockets[side] = nullptr;
  send_fin(way, side);
}

/// What one side has sent will never be read.
void basp_engine::drop_frames(connection& way, std::size_t side, std::string_view why) {
  for (auto& lost : std::exchange(way.ways[side].frames, {}))
    drop(way.ends[side]->machine, lost, why);
}

void basp_engine::drop(std::uint32_t from, const frame& lost, std::string_view why) {
  event seen;
  seen.kind = event_kind::drop;
  seen.machine = machine_id{from};
  seen.peer = machine_id{lost.destination};
  seen.actor = lost.target;
  seen.sender = lost.sender;
  seen.message_id = lost.message_id;
  seen.cause = lost.cause;
  seen.text = why;
  emit(seen, 0);
}

void basp_engine::send_fin(const connection_ptr& way, std::size_t side) {
  auto word = std::make_unique<packet>();
  word->kind = packet_kind::fin;
  dispatch(way, side, std::move(word));
}

void basp_engine::dispatch(const connection_ptr& way, std::size_t side, packet_ptr what) {
  auto& direction = way->ways[side];
  what->way = way;
  what->side = side;
  if (direction.cut_since >= 0) {
    direction.held.push_back(std::move(what));
    return;
  }
  auto from = way->ends[side]->machine;
  auto to = way->ends[1 - side]->machine;
  auto arrival = now_ + latency(from, to, way->generation, ++direction.sent);
  arrival = direction.last_arrival = std::max(arrival, direction.last_arrival + 1);
  happening entry;
  entry.machine = to;
  entry.cause = present_event_;
  entry.what = std::move(what);
  queue_.push(arrival, tie(), std::move(entry));
}

void basp_engine::deliver(packet_ptr what) {
  auto way = what->way;
  auto here = 1 - what->side;
  auto& end = *way->ends[here];
  auto& where = machines_[end.machine];
  if (end.over) {
    drop_frames(*way, what->side, "the receiver is down");
    // Its host answers with a reset.
    if (!where.host_gone && what->kind != packet_kind::fin)
      send_fin(way, here);
    return;
  }
  enter(end.machine);
  auto one = way->sockets[here];
  switch (what->kind) {
  case packet_kind::open:
    accept(way);
    break;
  case packet_kind::bytes:
    if (one) {
      one->receive(what->bytes);
      read(*one);
    } else {
      drop_frames(*way, what->side, "the receiver has closed the connection");
      send_fin(way, here);
    }
    break;
  case packet_kind::fin:
    if (one) {
      one->end();
      read(*one);
    }
    break;
  }
}

/// Brings a direction in line with the rules.
void basp_engine::update_cut(const connection_ptr& way, std::size_t side) {
  auto& direction = way->ways[side];
  auto from = way->ends[side]->machine;
  auto to = way->ends[1 - side]->machine;
  auto cut = !rules_.passes(from, to);
  if (cut && direction.cut_since < 0) {
    direction.cut_since = now_;
  } else if (!cut && direction.cut_since >= 0) {
    // What was lost is sent again after a wait that has doubled with each failure: up to as long as it was away.
    auto away = std::min<std::int64_t>(now_ - std::exchange(direction.cut_since, -1), 3'000'000'000);
    auto wait = random_.below(static_cast<std::uint64_t>(away) + 1, draw_kind::retransmit,
                              link_subject(from, to, way->generation), ++direction.sent);
    direction.last_arrival = std::max(direction.last_arrival, now_ + static_cast<std::int64_t>(wait));
    for (auto& what : std::exchange(direction.held, {}))
      dispatch(way, side, std::move(what));
  }
}

void basp_engine::refresh_cuts(const link_rules::rule& changed) {
  // Whatever is open between the two sets, either way round, at the one end or the other.
  for (auto list : {&changed.from, &changed.to})
    for (auto number : *list) {
      if (!machines_[number].up)
        continue;
      for (auto& [handle, one] : machines_[number].running->sockets)
        for (std::size_t side = 0; side < 2; ++side)
          update_cut(one->way(), side);
    }
}

engine::rule_id basp_engine::add_rule(const std::vector<machine_id>& from, const std::vector<machine_id>& to, bool cuts,
                                      double factor) {
  link_rules::rule added;
  for (auto one : from)
    added.from.push_back(index(one));
  for (auto one : to)
    added.to.push_back(index(one));
  added.cuts = cuts;
  added.factor = factor;
  auto id = rules_.add(added);
  if (cuts)
    refresh_cuts(added);
  return id;
}

engine::rule_id basp_engine::cut(std::vector<machine_id> from, std::vector<machine_id> to) {
  return add_rule(from, to, true, 1.0);
}

engine::rule_id basp_engine::slow(std::vector<machine_id> from, std::vector<machine_id> to, double factor) {
  return add_rule(from, to, false, factor);
}

void basp_engine::lift(rule_id id) {
  if (auto lifted = rules_.lift(id); lifted && lifted->cuts)
    refresh_cuts(*lifted);
}

std::uint64_t basp_engine::generation(std::uint32_t a, std::uint32_t b) const {
  auto found = generations_.find(link_key(a, b));
  return found == generations_.end() ? 0 : found->second;
}

std::int64_t basp_engine::latency(std::uint32_t from, std::uint32_t to, std::uint64_t generation,
                                  std::uint64_t number) const {
  return rules_.latency(options_.network, random_, from, to, link_subject(from, to, generation), number);
}

// -- time --------------------------------------------------------------------------

void basp_engine::at(instant when, std::function<void()> what) {
  happening entry;
  entry.what = std::move(what);
  queue_.push(std::max(when.count(), now_), behind_first | ++calls_, std::move(entry));
}

void basp_engine::first_at(instant when, std::uint64_t rank, std::function<void()> what) {
  assert(rank < behind_first);
  happening entry;
  entry.what = std::move(what);
  queue_.push(std::max(when.count(), now_), rank, std::move(entry));
}

std::vector<machine_id> basp_engine::peers(machine_id where) const {
  std::set<machine_id> result;
  if (auto running = machines_[index(where)].running)
    for (auto& [handle, one] : running->sockets)
      result.insert(machine_id{one->peer().machine});
  return {result.begin(), result.end()};
}

void basp_engine::reseed(std::uint64_t seed) {
  options_.seed = seed;
  random_ = draws{seed};
  auto waiting = ready_.drain();
  ready_ = run_queue{policy_, options_.depth, 20'000, random_};
  for (auto& what : waiting)
    ready_.push(what);
}

void basp_engine::at(machine_id where, instant when, std::function<void()> what) {
  schedule(std::max(when.count(), now_), index(where), machines_[index(where)].boot, std::move(what));
}

bool basp_engine::step(instant end) {
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

void basp_engine::run_until(instant end) {
  stopped_ = false;
  while (!stopped_ && step(end))
    ;
  if (!stopped_ && now_ < end.count())
    now_ = end.count();
}

void basp_engine::schedule_timer(process& where, std::chrono::steady_clock::time_point when, const caf::action& what,
                                 std::chrono::nanoseconds period) {
  if (where.over)
    return;
  happening entry;
  entry.machine = where.machine;
  entry.boot = where.boot;
  entry.cause = present_event_;
  entry.what = timer{what, period};
  queue_.push(machines_[where.machine].clock.due(when.time_since_epoch().count(), now_), tie(), std::move(entry));
}

void basp_engine::schedule(std::int64_t when, std::uint32_t where, std::uint32_t boot, std::function<void()> what) {
  happening entry;
  entry.machine = where;
  entry.boot = boot;
  entry.cause = present_event_;
  entry.what = std::move(what);
  queue_.push(when, tie(), std::move(entry));
}

/// Decides between what is due at the same time: the order of scheduling, or chance.
std::uint64_t basp_engine::tie() {
  ++sequence_;
  constexpr auto behind = std::uint64_t{1} << 63;
  if (policy_ == schedule_policy::fifo)
    return behind | sequence_;
  return behind | (random_source{random_.seed() ^ sequence_}.next() >> 1);
}

void basp_engine::happen(happening entry) {
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
      schedule_timer(*where.running, local_time(entry.machine) + clock->period, clock->what, clock->period);
  } else if (auto bytes = std::get_if<packet_ptr>(&entry.what)) {
    deliver(std::move(*bytes));
  } else if (auto call = std::get_if<std::function<void()>>(&entry.what)) {
    enter(entry.machine);
    (*call)();
  } else if (auto ready = std::get_if<wake>(&entry.what)) {
    ready_.push(ready->what);
  }
  present_event_ = 0;
  heir_ = false;
  enter(nobody);
}

void basp_engine::discard(happening& entry) {
  if (auto ready = std::get_if<wake>(&entry.what))
    release(ready->what);
  entry.what = std::monostate{};
}

void basp_engine::emit(event_kind kind, std::uint32_t where, std::uint32_t peer, std::string_view text,
                       std::uint64_t cause) {
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

void basp_engine::emit(event& what, std::uint64_t payload) {
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

} // namespace

std::unique_ptr<engine> make_basp_engine(const engine_options& options, engine::observer watch) {
  return std::make_unique<basp_engine>(options, std::move(watch));
}

} // namespace astra::sim
