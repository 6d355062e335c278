#include "runtime/sim/world.hpp"
#include "runtime/http/client_info.hpp"
#include "runtime/http/collected_stream.hpp"

#include "actors/scheduler/claim_memory.hpp"
#include "messages/scheduler_protocol.hpp"
#include "messages/wire/app.pb.h"
#include "runtime/cli/spec_json.hpp"
#include "runtime/gateway/routes.hpp"
#include "runtime/net/dialer.hpp"
#include "runtime/net/directory.hpp"
#include "runtime/net/identity.hpp"
#include "runtime/roles.hpp"
#include "runtime/sim/crowd.hpp"
#include "runtime/sim/log_capture.hpp"
#include "runtime/sim/platform_sim.hpp"
#include "runtime/sim/sim_content_port.hpp"
#include "runtime/sim/sim_swarm_network.hpp"
#include "runtime/sim/swarm.hpp"
#include "runtime/tasks/task_keeper.hpp"
#include "runtime/tasks/task_memory.hpp"

#include <caf/actor_cast.hpp>
#include <caf/event_based_actor.hpp>
#include <caf/send.hpp>
#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cassert>
#include <deque>
#include <set>
#include <utility>

namespace astra::sim {
namespace {

/// For the answers of actors to the questions at the end.
constexpr std::chrono::seconds question_time{2};

/// How often routing tables are looked at while there is load.
constexpr std::chrono::milliseconds look_interval{2700};

constexpr std::uint16_t process_port = 9700;
constexpr std::uint16_t content_port_number = 9710;

std::uint32_t index(machine_id where) {
  return static_cast<std::uint32_t>(where);
}

/// A client that waits for its answer.
struct client {
  std::uint64_t id = 0;
  std::string app;
  machine_id gateway{};
  std::uint32_t boot = 0;
  std::shared_ptr<const std::string> body;
};

/// An exchange whose client may go away before it has its answer.
class leaving_exchange : public http_exchange {
public:
  explicit leaving_exchange(http_request request) : request_(std::move(request)) {
    put_client_info(request_.headers, {http_door::plain, "sim", {}, {}});
  }

  const http_request& request() const override { return request_; }

  void on_gone(std::function<void()> what) override {
    if (gone_)
      what();
    else
      on_gone_ = std::move(what);
  }

  void go_away() {
    gone_ = true;
    if (on_gone_)
      std::exchange(on_gone_, nullptr)();
  }

private:
  http_request request_;
  std::function<void()> on_gone_;
  bool gone_ = false;
};

/// What a client and the gateway's actor share.
class sim_exchange : public leaving_exchange {
public:
  using on_answer = std::function<void(http_response)>;

  sim_exchange(http_request request, on_answer answered)
    : leaving_exchange(std::move(request)), answered_(std::move(answered)) {}
  ~sim_exchange() override {
    if (answered_) {
      http_response dropped;
      dropped.status = 500;
      answered_(std::move(dropped));
    }
  }

  bool answer(http_response response) override {
    if (!answered_)
      return false;
    std::exchange(answered_, nullptr)(std::move(response));
    return true;
  }

  http_stream_ptr begin(http_response head) override {
    if (!answered_)
      return nullptr;
    return std::make_shared<collected_stream>(std::move(head), std::exchange(answered_, nullptr));
  }

  /// The client's connection broke: nobody hears an answer.
  void forget() { answered_ = nullptr; }

private:
  on_answer answered_;
};

/// What an operator and the gateway's actor share.  Pieces of an answer are seen as they come.
class operator_exchange : public leaving_exchange {
public:
  operator_exchange(http_request request, std::shared_ptr<open_call> told)
    : leaving_exchange(std::move(request)), told_(std::move(told)) {}
  ~operator_exchange() override {
    http_response dropped;
    dropped.status = 500;
    answer(std::move(dropped));
  }

  bool answer(http_response response) override {
    if (told_->answer || told_->over())
      return false;
    told_->answer = std::move(response);
    told_->complete = true;
    return true;
  }

  http_stream_ptr begin(http_response head) override {
    if (told_->answer || told_->over())
      return nullptr;
    head.body.clear();
    told_->answer = std::move(head);
    return std::make_shared<stream>(told_);
  }

  static void lose(open_call& which) {
    if (!which.over())
      which.broken = "the connection was closed";
  }

private:
  class stream final : public http_stream {
  public:
    explicit stream(std::shared_ptr<open_call> told) : told_(std::move(told)) {}
    ~stream() override { lose(*told_); }

    void write(std::string piece, std::function<void()> taken) override {
      if (told_->over())
        return;
      told_->answer->body += piece;
      if (taken)
        taken();
    }
    void end() override {
      if (!told_->over())
        told_->complete = true;
    }

  private:
    std::shared_ptr<open_call> told_;
  };

  std::shared_ptr<open_call> told_;
};

/// Between two looks of a gateway's task keeper at what is to be done: its disk.
constexpr std::chrono::milliseconds task_disk_time{2};

/// The actors of one start of a machine's process.
struct process {
  /// Last to go: actors have it too.
  std::shared_ptr<content_port> contents;
  std::shared_ptr<service_table> services = std::make_shared<service_table>();
  std::unique_ptr<sim_platform> platform;
  std::unique_ptr<role_set> roles;
};

struct site {
  named_machine named;
  machine_id id{};
  process_options options;
  std::vector<pb::AppSpec> files;
  sim_disk disk;
  claim_memory claims;
  /// Null: no tasks are kept here.
  std::shared_ptr<task_keeper> tasks;
  std::unique_ptr<process> running;
  double extra_cores = 0.0;
  bool stopping = false;
  /// Stalls that overlap: it goes on when the last one ends.
  int stalls = 0;
  /// A restart is due; a later one replaces it.
  std::uint64_t restart_ticket = 0;
  /// The machine of the second process of its names, once there was one, and on that machine the one of the first.
  site* twin = nullptr;
  site* first = nullptr;
  /// The other process of its names was started after it.
  bool elder = false;
  /// It ended while its twin was there, and starts again when that one is gone.
  bool waits_for_twin = false;
};

} // namespace

class world::impl {
public:
  impl(world& facade, std::shared_ptr<const scenario> what, std::uint64_t seed, world_options options)
    : facade_(facade), what_(std::move(what)), options_(std::move(options)), log_(options_.debug_log),
      owned_engine_(make_engine(
          settings(*what_, seed), [this](const event& seen) { on_event(seen); }, options_.how)),
      engine_(*owned_engine_) {
    add_builtin_apps(registry_);
    if (options_.checks)
      checks_ = std::make_unique<check_set>(make_checks(*what_));
    auto table = std::make_shared<sim_app_table>();
    for (auto& app : what_->apps)
      if (auto program = make_sim_app(app))
        table->push_back(std::move(*program));
    for (auto& app : what_->apps)
      for (auto& program : make_sim_members(app))
        table->push_back(std::move(program));
    programs_ = std::move(table);
    if (!what_->contents.empty())
      contents_ = std::make_unique<sim_swarm_network>(link_speeds(*what_), engine_.random(), links());
    build();
    faults_ = options_.faults ? *options_.faults : draw_faults(*what_, engine_.random());
    for (std::size_t i = 0; i < faults_.size(); ++i)
      schedule(i);
    for (std::size_t i = 0; i < what_->load.size(); ++i)
      next_arrival(i, 0, what_->load[i].from);
    for (auto& app : what_->apps)
      if (!app.from_file)
        engine_.at(app.apply_at, [this, &app] { apply(*app.spec); });
    for (auto& content : what_->contents)
      engine_.at(content.at, [this, &content] { publish(content, 0); });
    if (auto limit = what_->network.content_limit_bytes_per_s; contents_ && limit > 0)
      engine_.at(what_->contents.front().at, [this, limit] { limit_contents(limit, 0); });
    engine_.at(what_->horizon, [this] { calm_down(); });
    if (!gateways_.empty())
      look_at_tables(look_interval);
  }

  ~impl() {
    checks_.reset();
    options_.watch = nullptr;
    closing_ = true;
    for (auto& [id, open] : exchanges_)
      open.second->forget();
    for (auto& where : sites_)
      if (engine_.up(where.id))
        engine_.kill(where.id, engine::death::silent, "the end");
    exchanges_.clear();
    for (auto& where : sites_)
      where.running.reset();
  }

  static engine_options settings(const scenario& what, std::uint64_t seed) {
    engine_options result;
    result.seed = seed;
    result.policy = what.policy;
    result.depth = what.depth;
    result.step_max = what.step_max;
    result.network = what.network;
    result.lossy_until = what.horizon;
    result.connection_timeout = what.options.net.timeout;
    result.connection_heartbeat = what.options.net.heartbeat;
    return result;
  }

  // -- contents ----------------------------------------------------------------

  static sim_swarm_options link_speeds(const scenario& what) {
    sim_swarm_options result;
    result.uplink_bytes_per_s = what.network.uplink_bytes_per_s;
    result.downlink_bytes_per_s = what.network.downlink_bytes_per_s;
    result.latency_min = what.network.latency_min;
    result.latency_max = what.network.latency_max;
    return result;
  }

  sim_swarm_network::hooks links() {
    sim_swarm_network::hooks result;
    result.now = [this] { return engine_.now(); };
    result.wake = [this](instant when) {
      if (!closing_)
        engine_.at(when, [this] { contents_->advance(); });
    };
    result.passes = [this](std::uint32_t from, std::uint32_t to) {
      machine_id a{from};
      machine_id b{to};
      return !engine_.stalled(a) && !engine_.stalled(b) && engine_.passes(a, b);
    };
    return result;
  }

  void links_changed() {
    if (contents_)
      contents_->links_changed();
  }

  std::shared_ptr<content_port> make_doors(site& where, sim_disk& disk) {
    auto& host = where.options.net.listen;
    sim_content_parts parts;
    parts.network = contents_.get();
    parts.where.machine = index(where.id);
    parts.where.where = {host.substr(0, host.rfind(':')), content_port_number};
    parts.where.disk = &disk;
    parts.store.bytes_max = where.options.store.bytes_max;
    parts.machine = fmt::format("{}/{}", where.named.name, disk.contents.boot);
    parts.now = [this] { return engine_.now(); };
    parts.at = [this, id = where.id](instant when, std::function<void()> what) {
      if (!closing_ && engine_.up(id))
        engine_.at(id, when, std::move(what));
    };
    parts.wall_time = [&where] { return p2p::content_store::time_point{where.running->platform->wall_time()}; };
    return make_sim_content_port(std::move(parts));
  }

  /// An operator publishes it, as often as it takes, and then has others fetch it.
  void publish(const scenario_content& content, int tries) {
    if (tries > 60 || closing_ || published_.contains(content.name))
      return;
    auto node =
        content.node.empty()
            ? std::find_if(sites_.begin(), sites_.end(),
                           [](auto& one) { return one.options.has(process_role::node) && one.named.group->crowd == 0; })
                  ->options.name
            : content.node;
    nlohmann::json body{{"path", sim_content_path(content.name, content.bytes).string()}, {"node", node}};
    call("POST", "/v1/models/" + content.name, body.dump(), [this, &content, tries](int status) {
      auto again = std::chrono::seconds{1};
      if (status == 202) {
        published_.insert(content.name);
        engine_.at(engine_.now() + again, [this, &content] { fetch(content, 0); });
      } else {
        engine_.at(engine_.now() + again, [this, &content, tries] { publish(content, tries + 1); });
      }
    });
  }

  void fetch(const scenario_content& content, int tries) {
    auto nodes = nlohmann::json::array();
    for (auto place : places(content.fetch))
      if (auto& where = sites_[place]; where.options.has(process_role::node) && where.named.group->crowd == 0)
        nodes.push_back(where.options.name);
    if (tries > 60 || closing_ || nodes.empty())
      return;
    call("POST", "/v1/models/" + content.name + "/fetch", nlohmann::json{{"nodes", nodes}}.dump(),
         [this, &content, tries](int status) {
           if (status == 202)
             return;
           engine_.at(engine_.now() + std::chrono::seconds{1}, [this, &content, tries, status] {
             // Its publisher may have died before it had a name.
             if (status == 404 && published_.erase(content.name) > 0)
               publish(content, tries + 1);
             else
               fetch(content, tries + 1);
           });
         });
  }

  void limit_contents(std::uint64_t bytes_per_s, int tries) {
    call("PUT", "/v1/model-limit", nlohmann::json{{"bytes_per_s", bytes_per_s}}.dump(),
         [this, bytes_per_s, tries](int status) {
           if (status != 200 && tries < 60)
             engine_.at(engine_.now() + std::chrono::seconds{1},
                        [this, bytes_per_s, tries] { limit_contents(bytes_per_s, tries + 1); });
         });
  }

  // -- machines ----------------------------------------------------------------

  static std::string address(std::size_t place) {
    auto n = place + 1;
    return fmt::format("10.{}.{}.{}:{}", (n >> 16) & 255, (n >> 8) & 255, n & 255, process_port);
  }

  void build() {
    auto named = machines_of(*what_);
    facts_.reserve(named.size() + 1);
    facts_.emplace_back().name = "outside";
    // By Resource group.
    std::map<std::string, std::vector<std::string>> resources;
    std::map<std::string, std::vector<std::string>> aggregators;
    for (std::size_t i = 0; i < named.size(); ++i)
      for (auto role : named[i].group->roles) {
        if (role == process_role::resource)
          resources[named[i].group->resource_group].push_back(address(i));
        if (role == process_role::aggregator)
          aggregators[named[i].group->resource_group].push_back(address(i));
      }
    for (std::size_t i = 0; i < named.size(); ++i) {
      auto& where = sites_.emplace_back();
      where.named = named[i];
      where.id = engine_.add_machine(named[i].name, address(i));
      where.options = what_->options;
      auto& o = where.options;
      auto& group = *named[i].group;
      o.name = named[i].name;
      o.roles = group.roles;
      o.net.listen = address(i);
      o.node.name = o.resource.name = o.aggregator.name = o.scheduler.name = o.name;
      auto& home = group.resource_group;
      o.resource.group = home;
      o.node.resources = o.resource.peers = o.aggregator.resources = resources[home];
      o.scheduler.resources = o.router.resources = resources[home];
      for (auto& [name, others] : resources)
        if (name != home)
          o.scheduler.groups.push_back({name, others});
      o.router.groups = o.scheduler.groups;
      o.node.aggregators = aggregators[home];
      o.node.cpu_milli = group.cpu_milli;
      o.node.memory_bytes = group.memory_bytes;
      o.node.capacity_origin = "simulated";
      o.node.limits_backend = "simulated";
      o.node.labels = group.labels;
      o.node.taints = group.taints;
      if (!named[i].zone.empty()) {
        std::erase_if(o.node.labels, [](auto& label) { return label.first == "zone"; });
        o.node.labels.emplace_back("zone", named[i].zone);
        std::sort(o.node.labels.begin(), o.node.labels.end());
      }
      machine_facts facts;
      facts.name = o.name;
      facts.address = o.net.listen;
      facts.zone = named[i].zone;
      facts.resource_group = home;
      facts.roles = o.roles;
      if (o.has(process_role::node) && group.crowd == 0)
        facts.node = make_node_id(o.name);
      by_name_[o.name] = where.id;
      facts_.push_back(std::move(facts));
      if (o.has(process_role::gateway)) {
        gateways_.push_back(i);
        if (options_.tasks)
          where.tasks = std::make_shared<task_keeper>(std::make_unique<task_memory>(), task_keeper::mode::by_hand);
      }
      identify(where);
    }
    for (auto& app : what_->apps) {
      auto where = std::find_if(sites_.begin(), sites_.end(), [&](auto& one) {
        return one.options.has(process_role::scheduler) && (app.scheduler.empty() || app.scheduler == one.options.name);
      });
      if (where != sites_.end() && app.from_file)
        where->files.push_back(*app.spec);
      wanted_[app.spec->name()] = *app.spec;
    }
    // A cluster is switched on machine by machine, within its first half second.
    for (std::size_t i = 0; i < sites_.size(); ++i) {
      auto when = instant{static_cast<std::int64_t>(engine_.random().below(500'000'000, draw_kind::platform, i, 0))};
      engine_.at(when, [this, i] { boot(sites_[i]); });
    }
  }

  site& site_of(machine_id id) { return sites_[index(id) - 1]; }

  void boot(site& where) {
    if (engine_.up(where.id))
      return;
    ++where.restart_ticket;
    where.stopping = false;
    where.stalls = 0;
    where.waits_for_twin = false;
    if (auto other = where.first ? where.first : where.twin)
      succeed(where, *other);
    where.running = std::make_unique<process>();
    auto& now_running = *where.running;
    engine_.boot(where.id, [&] {
      auto& sys = engine_.system();
      auto connect = engine_.connector();
      sim_machine_parts parts;
      parts.chance = engine_.random();
      parts.machine = index(where.id);
      parts.boot = engine_.boots(where.id);
      parts.clock = [this, id = where.id] { return engine_.local_time(id); };
      parts.disk = where.first ? &where.first->disk : &where.disk;
      parts.processes.apps = programs_;
      parts.processes.cpu_milli = where.options.node.cpu_milli;
      parts.processes.memory_bytes = where.options.node.memory_bytes;
      parts.processes.interference_cores = where.named.group->interference_cores;
      parts.processes.interference_swing = where.named.group->interference_swing;
      parts.address = where.options.net.listen;
      parts.services = now_running.services;
      parts.dialer = spawn_dialer_over_middleman(sys, connect, where.options.net.listen, now_running.services,
                                                 where.options.net.dial_timeout);
      parts.spend = [this, &where](std::chrono::nanoseconds length) { stall(where, length); };
      now_running.platform = std::make_unique<sim_platform>(sys, std::move(parts));
      auto directory = spawn_directory(sys, now_running.services);
      engine_.set_directory(where.id, caf::actor_cast<caf::strong_actor_ptr>(directory));
      if (where.named.group->crowd > 0) {
        spawn_crowd(sys, *now_running.platform, where.options.node, where.named.group->crowd);
        return;
      }
      if (contents_ && where.options.has(process_role::node))
        now_running.contents = make_doors(where, where.first ? where.first->disk : where.disk);
      auto boot_number = engine_.boots(where.id);
      now_running.roles = std::make_unique<role_set>(
          sys, *now_running.platform, where.options, where.files, registry_,
          [this, &where, boot_number](const std::string& role, const std::string& reason) {
            engine_.at(engine_.now(), [this, &where, boot_number, why = role + " gave up: " + reason] {
              if (engine_.up(where.id) && engine_.boots(where.id) == boot_number) {
                kill(where, engine::death::ended, why);
                serve_again(where);
              }
            });
          },
          std::vector<std::string>{}, &where.claims, gateway_tasks{where.tasks, {}}, now_running.contents);
    });
    if (where.tasks)
      keep_tasks(where);
    if (where.extra_cores > 0.0)
      engine_.on(where.id, [&] { now_running.platform->take_cores(where.extra_cores); });
  }

  void keep_tasks(site& where) {
    engine_.at(where.id, engine_.now() + task_disk_time, [this, &where] {
      while (where.tasks->step())
        ;
      keep_tasks(where);
    });
  }

  void kill(site& where, engine::death how, const std::string& why) {
    if (!engine_.up(where.id))
      return;
    // A client of a machine that vanishes hears nothing of it; one that waits here is told, or it would for long.
    for (auto& [exchange, call] : calls_)
      if (call.gateway == where.id)
        operator_exchange::lose(*call.told);
    if (contents_ && how == engine::death::silent)
      contents_->lose(index(where.id));
    engine_.kill(where.id, how, why);
    where.running.reset();
    if (contents_ && how == engine::death::silent)
      (where.first ? where.first->disk : where.disk).contents.lose_power(engine_.random(), index(where.id));
    // Their connections broke.
    std::vector<std::uint64_t> lost;
    for (auto& [id, open] : exchanges_)
      if (open.first.gateway == where.id)
        lost.push_back(id);
    for (auto id : lost) {
      auto open = exchanges_.extract(id);
      open.mapped().second->forget();
      tell_answer(open.mapped().first, 0, false, {});
    }
    where.disk.full = false;
    where.disk.store_time = {};
  }

  void restart_in(site& where, nanoseconds after) {
    auto ticket = ++where.restart_ticket;
    engine_.at(engine_.now() + after, [this, &where, ticket] {
      if (where.restart_ticket == ticket)
        boot(where);
    });
  }

  /// What a service manager does about a process that ended by itself.  Whoever set up two of one name set this up so
  /// that the one which had to give way does not come back while the other one is there.
  void serve_again(site& where) {
    if (where.twin && engine_.up(where.twin->id))
      where.waits_for_twin = true;
    else if (!where.first)
      restart_in(where, restart_after());
    else if (where.first->waits_for_twin)
      restart_in(*where.first, restart_after());
  }

  // -- twins -------------------------------------------------------------------

  static bool has_names(const site& where) {
    return where.options.has(process_role::scheduler)
           || (where.options.has(process_role::node) && where.named.group->crowd == 0);
  }

  /// The machine for a second process of this one's names: its own clock and address, the same files, as when a
  /// supervisor starts a process anew whose old machine was only out of reach.  Made when it is first needed.
  site& twin_of(site& where) {
    if (where.twin)
      return *where.twin;
    auto place = sites_.size();
    auto& twin = sites_.emplace_back();
    where.twin = &twin;
    twin.first = &where;
    twin.named = where.named;
    twin.named.name += "+twin";
    twin.id = engine_.add_machine(twin.named.name, address(place));
    twin.files = where.files;
    twin.options = where.options;
    twin.options.net.listen = address(place);
    // Resources are known by their addresses, and gateways have no name to fight for.
    std::erase_if(twin.options.roles,
                  [](auto role) { return role == process_role::resource || role == process_role::gateway; });
    machine_facts facts;
    facts.name = twin.named.name;
    facts.address = twin.options.net.listen;
    facts.zone = where.named.zone;
    facts.roles = twin.options.roles;
    facts.twin = where.id;
    facts_[index(where.id)].twin = twin.id;
    by_name_[facts.name] = twin.id;
    facts_.push_back(std::move(facts));
    identify(twin);
    return twin;
  }

  /// The names of a machine are those of its certificate.
  void identify(const site& where) {
    peer_identity identity;
    identity.cluster = what_->name;
    identity.name = where.options.name;
    for (auto role : where.options.roles)
      identity.roles.add(to_peer_role(role));
    engine_.set_identity(where.id, identity);
  }

  /// From now on the names are those of this process, whoever else has them too.
  void succeed(site& where, site& other) {
    where.elder = false;
    other.elder = true;
    auto& earlier = facts_[index(other.id)];
    if (earlier.node)
      facts_[index(where.id)].node = std::exchange(earlier.node, node_id{});
  }

  void end_twin(site& where) {
    if (!where.twin || !engine_.up(where.twin->id))
      return;
    kill(*where.twin, engine::death::killed, "the twin is stopped");
    if (where.waits_for_twin)
      restart_in(where, nanoseconds{0});
  }

  /// When a process that ended comes back without anybody's doing; a time after the end of the run: never.
  nanoseconds restart_after() const { return what_->restart_after.count() > 0 ? what_->restart_after : 2 * end(); }

  void stall(site& where, nanoseconds length) {
    if (!engine_.up(where.id))
      return;
    ++where.stalls;
    engine_.stall(where.id);
    links_changed();
    auto boot_number = engine_.boots(where.id);
    engine_.at(engine_.now() + length, [this, &where, boot_number] {
      if (engine_.up(where.id) && engine_.boots(where.id) == boot_number && --where.stalls == 0) {
        engine_.go_on(where.id);
        links_changed();
      }
    });
  }

  // -- faults ------------------------------------------------------------------

  static std::string describe(const scenario_fault& fault) {
    std::string text = fault.kind;
    auto list = [&](const std::vector<std::string>& names) {
      for (std::size_t i = 0; i < names.size(); ++i)
        text += (i == 0 ? " " : ",") + names[i];
    };
    list(fault.targets);
    if (!fault.others.empty()) {
      text += fault.both_ways ? " <->" : " ->";
      list(fault.others);
    }
    if (!fault.app.empty())
      text += " app=" + fault.app;
    if (fault.amount != 0.0)
      text += fmt::format(" amount={}", fault.amount);
    if (fault.duration.count() > 0)
      text += fmt::format(" for={:.6f}s", std::chrono::duration<double>(fault.duration).count());
    return text;
  }

  std::vector<std::size_t> places(const std::vector<std::string>& targets) const {
    std::set<std::size_t> result;
    auto named = machines_of(*what_);
    for (auto& target : targets)
      for (auto place : resolve_target(target, named))
        result.insert(place);
    return {result.begin(), result.end()};
  }

  std::vector<machine_id> ids(const std::vector<std::string>& targets) const {
    std::vector<machine_id> result;
    for (auto place : places(targets))
      result.push_back(sites_[place].id);
    return result;
  }

  /// Faults come before all else of their time and in their order, also when one is added during the run: so a run
  /// with an injected fault and one that had it from its start are the same.
  void schedule(std::size_t fault) {
    engine_.first_at(faults_[fault].at, fault, [this, fault] { begin(scenario_fault{faults_[fault]}); });
  }

  void begin(const scenario_fault& fault) {
    if (calm_)
      return;
    auto text = describe(fault);
    auto hit = places(fault.targets);
    engine_.tell(event_kind::fault, hit.empty() ? machine_id{} : sites_[hit.front()].id, machine_id{}, text);
    ++active_;
    auto number = engine_.events();
    auto& kind = fault.kind;
    auto end = [this, text, number](nanoseconds after, std::function<void()> heal) {
      engine_.at(engine_.now() + after, [this, text, number, heal = std::move(heal)] {
        heal();
        engine_.tell(event_kind::heal, machine_id{}, machine_id{}, text, number);
        --active_;
        calm_since_ = engine_.now();
      });
    };
    auto away = fault.duration.count() > 0 ? fault.duration : restart_after();
    auto each = [&](auto act) {
      for (auto place : hit)
        act(sites_[place]);
    };
    std::function<void()> heal = [] {};
    if (kind == "crash" || kind == "power") {
      each([&](site& where) {
        kill(where, kind == "crash" ? engine::death::killed : engine::death::silent, kind);
        restart_in(where, away);
      });
    } else if (kind == "stop") {
      each([&](site& where) { terminate(where, away); });
    } else if (kind == "stall") {
      each([&](site& where) { stall(where, fault.duration); });
    } else if (kind == "cut" || kind == "partition" || kind == "slow_link") {
      auto from = ids(fault.targets);
      auto to = ids(fault.others);
      if (fault.others.empty())
        for (auto& where : sites_)
          if (std::find(from.begin(), from.end(), where.id) == from.end())
            to.push_back(where.id);
      auto both = fault.both_ways || kind == "partition";
      std::vector<engine::rule_id> rules;
      auto add = [&](auto& a, auto& b) {
        rules.push_back(kind == "slow_link" ? engine_.slow(a, b, fault.amount) : engine_.cut(a, b));
      };
      add(from, to);
      if (both)
        add(to, from);
      rules_.insert(rules.begin(), rules.end());
      links_changed();
      heal = [this, rules] {
        for (auto rule : rules) {
          engine_.lift(rule);
          rules_.erase(rule);
        }
        links_changed();
      };
    } else if (kind == "drift") {
      each([&](site& where) { engine_.set_drift(where.id, fault.amount); });
      heal = [this, hit] {
        for (auto place : hit)
          engine_.set_drift(sites_[place].id, 0.0);
      };
    } else if (kind == "slow_disk" || kind == "full_disk") {
      each([&](site& where) {
        if (kind == "full_disk")
          where.disk.full = true;
        else
          where.disk.store_time = nanoseconds{static_cast<std::int64_t>(fault.amount * 1e6)};
      });
      heal = [this, hit, full = kind == "full_disk"] {
        for (auto place : hit) {
          if (full)
            sites_[place].disk.full = false;
          else
            sites_[place].disk.store_time = {};
        }
      };
    } else if (kind == "process_crash" || kind == "process_hang" || kind == "no_spawn") {
      each([&](site& where) {
        if (engine_.up(where.id))
          engine_.on(where.id, [&] {
            if (kind == "process_crash")
              where.running->platform->crash_processes();
            else if (kind == "no_spawn")
              where.running->platform->refuse_processes(fault.duration);
            else
              where.running->platform->hang_processes(fault.duration);
          });
      });
    } else if (kind == "interference") {
      auto add = [this](site& where, double cores) {
        where.extra_cores = std::max(0.0, where.extra_cores + cores);
        if (engine_.up(where.id))
          engine_.on(where.id, [&] { where.running->platform->take_cores(where.extra_cores); });
      };
      each([&](site& where) { add(where, fault.amount); });
      heal = [this, hit, add, amount = fault.amount] {
        for (auto place : hit)
          add(sites_[place], -amount);
      };
    } else if (kind == "drain") {
      each([&](site& where) {
        call("POST", "/v1/nodes/" + where.options.name + "/drain", {}, {});
        drained_.insert(where.id);
      });
      heal = [this, hit] {
        for (auto place : hit)
          if (drained_.erase(sites_[place].id) > 0) {
            kill(sites_[place], engine::death::ended, "restarted after its drain");
            restart_in(sites_[place], nanoseconds{0});
          }
      };
      end(away, heal);
      return;
    } else if (kind == "twin") {
      std::erase_if(hit, [this](auto place) { return !has_names(sites_[place]); });
      each([&](site& where) { boot(twin_of(where)); });
      heal = [this, hit] {
        for (auto place : hit)
          end_twin(sites_[place]);
      };
      end(fault.duration.count() > 0 ? fault.duration : what_->horizon - engine_.now(), heal);
      return;
    } else if (kind == "scale" || kind == "update") {
      if (auto found = wanted_.find(fault.app); found != wanted_.end()) {
        auto spec = found->second;
        if (kind == "scale")
          spec.set_replicas(static_cast<std::uint32_t>(std::max(0.0, fault.amount)));
        else
          spec.set_request_timeout_ms(spec.request_timeout_ms() + 1);
        if (kind == "update" && fault.amount > 0 && spec.has_server())
          spec.mutable_server()->set_ready_timeout_ms(1);
        if (kind == "update" && spec.has_per_request())
          spec.mutable_per_request()->set_output_limit_bytes(spec.per_request().output_limit_bytes() + 1);
        apply(spec);
      }
    } else if (kind == "delete") {
      call("DELETE", "/v1/apps/" + fault.app, {}, {});
      if (fault.duration.count() > 0)
        heal = [this, app = fault.app] {
          if (auto found = wanted_.find(app); found != wanted_.end())
            apply(found->second);
        };
    }
    end(fault.duration, std::move(heal));
  }

  /// SIGTERM.
  void terminate(site& where, nanoseconds away) {
    if (!engine_.up(where.id) || where.stopping || !where.running->roles)
      return;
    where.stopping = true;
    auto boot_number = engine_.boots(where.id);
    auto gone = [this, &where, boot_number, away](engine::death how, const std::string& why) {
      if (!engine_.up(where.id) || engine_.boots(where.id) != boot_number)
        return;
      kill(where, how, why);
      restart_in(where, away);
    };
    auto wait = where.options.node.drain_wait;
    auto limit = wait + where.options.shutdown_timeout;
    engine_.on(where.id, [&] {
      where.running->roles->stop(wait, limit, [this, gone] {
        engine_.at(engine_.now(), [gone] { gone(engine::death::ended, "stopped in order"); });
      });
    });
    engine_.at(engine_.now() + limit, [gone] { gone(engine::death::killed, "did not stop in time"); });
  }

  /// Everything is put right; from now on only what heals by itself is left.
  void calm_down() {
    calm_ = true;
    engine_.tell(event_kind::heal, machine_id{}, machine_id{}, "everything: the quiet phase begins");
    for (auto rule : std::exchange(rules_, {}))
      engine_.lift(rule);
    for (auto& where : sites_)
      end_twin(where);
    for (auto& where : sites_) {
      if (where.first)
        continue;
      where.disk.full = false;
      where.disk.store_time = {};
      engine_.set_drift(where.id, 0.0);
      if (where.extra_cores > 0.0) {
        where.extra_cores = 0.0;
        if (engine_.up(where.id))
          engine_.on(where.id, [&] { where.running->platform->take_cores(0.0); });
      }
      if (drained_.erase(where.id) > 0) {
        kill(where, engine::death::ended, "restarted after its drain");
        restart_in(where, nanoseconds{0});
      } else if (!engine_.up(where.id)) {
        // What nobody starts again stays away.
        if (what_->restart_after.count() > 0)
          restart_in(where, nanoseconds{0});
      } else if (where.elder) {
        kill(where, engine::death::ended, "restarted after its twin");
        restart_in(where, nanoseconds{0});
      } else if (where.stalls > 0) {
        where.stalls = 0;
        engine_.go_on(where.id);
      }
    }
    links_changed();
    for (auto& content : what_->contents)
      if (published_.contains(content.name))
        fetch(content, 0);
    // The operator's last word: every app as the scenario has it.  Repeated until it is taken.
    for (auto& [name, spec] : wanted_)
      insist(name, 0);
    calm_since_ = engine_.now();
  }

  void insist(const std::string& app, int tries) {
    if (tries > 20 || closing_)
      return;
    call("PUT", "/v1/apps/" + app, spec_to_json(wanted_.at(app)).dump(), [this, app, tries](int status) {
      if (status == 200 || status == 202)
        return;
      engine_.at(engine_.now() + std::chrono::milliseconds{500}, [this, app, tries] { insist(app, tries + 1); });
    });
  }

  void apply(const pb::AppSpec& spec) { call("PUT", "/v1/apps/" + spec.name(), spec_to_json(spec).dump(), {}); }

  // -- clients -----------------------------------------------------------------

  void next_arrival(std::size_t load, std::uint64_t number, instant after) {
    auto& what = what_->load[load];
    auto mean = static_cast<double>(std::chrono::nanoseconds{std::chrono::seconds{1}}.count()) / what.per_s;
    auto unit = engine_.random().unit(draw_kind::load, load, number);
    // A mean of 1.0 times the interval, from a tenth to 3.76 times: bursts and pauses.
    auto gap = log_uniform(nanoseconds{static_cast<std::int64_t>(mean * 0.1) + 1},
                           nanoseconds{static_cast<std::int64_t>(mean * 3.76) + 2}, unit);
    auto when = after + gap;
    // What comes last can still be answered before the end.
    auto until =
        what.until.count() > 0 ? what.until : end() - std::min(what_->quiet / 4, nanoseconds{std::chrono::seconds{3}});
    if (when >= until)
      return;
    engine_.at(when, [this, load, number, when] {
      arrive(load, number);
      next_arrival(load, number + 1, when);
    });
  }

  void arrive(std::size_t load, std::uint64_t number) {
    auto& what = what_->load[load];
    auto subject = load << 40 | number;
    std::vector<std::size_t> up;
    for (auto place : gateways_)
      if (engine_.up(sites_[place].id) && !sites_[place].stopping)
        up.push_back(place);
    if (up.empty())
      return;
    auto& where = sites_[up[engine_.random().below(up.size(), draw_kind::client, subject, 0)]];
    client who;
    who.id = ++last_request_;
    who.app = what.app;
    who.gateway = where.id;
    who.boot = engine_.boots(where.id);
    who.body = std::make_shared<const std::string>(fmt::format("request {} of {}", who.id, what.app));
    auto deadline = what.deadline;
    if (auto found = wanted_.find(what.app); found != wanted_.end()) {
      nanoseconds timeout = std::chrono::milliseconds{found->second.request_timeout_ms()};
      if (timeout.count() > 0 && (deadline.count() == 0 || timeout < deadline))
        deadline = timeout;
    }
    http_request request;
    request.method = "POST";
    request.target = "/v1/apps/" + what.app + "/invoke";
    request.headers = {{"content-type", "text/plain"}, {"astra-request-id", fmt::format("c{}", who.id)}};
    if (what.deadline.count() > 0)
      request.headers.emplace_back(
          "astra-timeout",
          fmt::format("{}ms", std::chrono::duration_cast<std::chrono::milliseconds>(what.deadline).count()));
    request.body = who.body;
    auto id = who.id;
    auto text = fmt::format("{} app={} gateway={} deadline_ms={}", id, who.app, where.options.name,
                            std::chrono::duration_cast<std::chrono::milliseconds>(deadline).count());
    auto exchange = std::make_shared<sim_exchange>(std::move(request), [this, id](http_response response) {
      auto open = exchanges_.extract(id);
      if (open.empty())
        return;
      std::string node;
      for (auto& [name, value] : response.headers)
        if (name == "Astra-Node")
          node = value;
      tell_answer(open.mapped().first, response.status, response.body == *open.mapped().first.body, node);
    });
    exchanges_.emplace(id, std::pair{who, exchange});
    engine_.tell(event_kind::request, where.id, machine_id{}, text);
    hand_over(where, exchange);
    if (what.impatient > 0.0 && engine_.random().unit(draw_kind::client, subject, 1) < what.impatient) {
      auto patience = log_uniform(std::chrono::milliseconds{5}, std::chrono::seconds{5},
                                  engine_.random().unit(draw_kind::client, subject, 2));
      engine_.at(where.id, engine_.now() + patience, [exchange] { exchange->go_away(); });
    }
  }

  void hand_over(site& where, const std::shared_ptr<sim_exchange>& exchange) {
    engine_.at(where.id, engine_.now(),
               [&where, exchange] { caf::anon_send(where.running->roles->gateway(), http_exchange_ptr{exchange}); });
  }

  void tell_answer(const client& who, int status, bool body_ok, const std::string& node) {
    if (closing_)
      return;
    auto text = fmt::format("{} status={} body_ok={} node={}", who.id, status, body_ok ? 1 : 0, node);
    engine_.tell(event_kind::answer, who.gateway, machine_id{}, text);
  }

  /// An operator's call to the first gateway that is up.
  void call(const std::string& method, const std::string& target, std::string body, std::function<void(int)> done) {
    for (auto place : gateways_) {
      auto& where = sites_[place];
      if (!engine_.up(where.id) || engine_.stalled(where.id))
        continue;
      http_request request;
      request.method = method;
      request.target = target;
      request.headers = {{"content-type", "application/json"}};
      request.body = std::make_shared<const std::string>(std::move(body));
      auto exchange = std::make_shared<sim_exchange>(std::move(request), [this, done](http_response response) {
        if (done && !closing_)
          done(response.status);
      });
      hand_over(where, exchange);
      return;
    }
    if (done)
      engine_.at(engine_.now(), [done] { done(0); });
  }

  std::shared_ptr<const open_call> call(http_request request) {
    std::erase_if(calls_, [](auto& entry) { return entry.second.told->over(); });
    if (auto route = find_route(request.method, request.target); route.what == gateway_route::apply_app)
      applied_.insert(route.name);
    auto told = std::make_shared<open_call>();
    auto where =
        std::find_if(gateways_.begin(), gateways_.end(), [this](auto place) { return engine_.up(sites_[place].id); });
    if (where == gateways_.end()) {
      told->broken = "Connection refused";
      return told;
    }
    auto& gateway = sites_[*where];
    auto exchange = std::make_shared<operator_exchange>(std::move(request), told);
    calls_.emplace(told.get(), waiting_call{gateway.id, told, exchange});
    engine_.at(gateway.id, engine_.now(), [&gateway, exchange] {
      caf::anon_send(gateway.running->roles->gateway(), http_exchange_ptr{exchange});
    });
    return told;
  }

  void hang_up(const open_call* which) {
    auto found = calls_.extract(which);
    if (found.empty())
      return;
    if (auto exchange = found.mapped().exchange.lock(); exchange && engine_.up(found.mapped().gateway))
      engine_.at(found.mapped().gateway, engine_.now(), [exchange] { exchange->go_away(); });
  }

  // -- the end -----------------------------------------------------------------

  void settle() {
    if (calm_ || failed_ || finished_)
      return;
    auto shorter = std::make_shared<scenario>(*what_);
    shorter->horizon = engine_.now();
    // Machines and checks refer to the first one.
    begun_with_ = std::exchange(what_, std::move(shorter));
    engine_.at(engine_.now(), [this] { calm_down(); });
  }

  /// Asks everybody what they believe.  Answers come within `question_time`.
  void ask_all() {
    for (auto& where : sites_) {
      if (!engine_.up(where.id) || !where.running->roles)
        continue;
      engine_.on(where.id, [&] {
        auto& sys = engine_.system();
        if (where.options.has(process_role::resource))
          ask_view(sys, where);
        if (where.options.has(process_role::scheduler))
          ask_apps(sys, where);
        if (where.options.has(process_role::gateway))
          ask_tables(sys, where);
      });
    }
  }

  void ask_view(caf::actor_system& sys, site& where) {
    auto resource = where.running->services->find(resource_service);
    if (!resource) {
      final_.silent.push_back(where.options.name + ": no Resource is published");
      return;
    }
    auto& view = final_.views[where.id];
    auto name = where.options.name;
    sys.spawn([this, &view, name, target = *resource](view_subscriber::pointer self) -> view_subscriber::behavior_type {
      pb::Subscribe wish;
      wish.set_scope(pb::Subscribe::ALL_SHARDS);
      wish.set_subscriber("simulator");
      self->request(caf::actor_cast<view_source>(target), question_time, subscribe{std::move(wish)})
          .then([](const subscribe_ack&) {},
                [this, name](const caf::error&) { final_.silent.push_back(name + ": the Resource did not answer"); });
      return {
          [self, &view](const view_delta& delta) {
            view_changes changes;
            view.apply(*delta, self->clock().now(), changes);
          },
      };
    });
  }

  void ask_apps(caf::actor_system& sys, site& where) {
    auto apps = where.running->services->find(apps_service);
    if (!apps) {
      final_.silent.push_back(where.options.name + ": no schedulers are published");
      return;
    }
    auto& details = final_.apps[where.id];
    auto name = where.options.name;
    auto known = applied_;
    for (auto& [app, spec] : wanted_)
      known.insert(app);
    sys.spawn([this, &details, name, known, target = *apps](caf::event_based_actor* self) {
      for (auto& app : known) {
        pb::DescribeApp question;
        question.set_app(app);
        self->request(caf::actor_cast<apps_actor>(target), question_time, describe_app{std::move(question)})
            .then(
                [&details, app = app](const app_detail& detail) {
                  if (detail->found())
                    details[app] = *detail;
                },
                [this, name, app = app](const caf::error&) {
                  final_.silent.push_back(name + ": no answer about app " + app);
                });
      }
    });
  }

  /// Operators look at routing tables now and then; so checks see them while there is load.
  void look_at_tables(instant when) {
    if (when >= what_->horizon)
      return;
    engine_.at(when, [this, when] {
      for (auto place : gateways_)
        if (auto& where = sites_[place]; engine_.up(where.id))
          engine_.on(where.id, [&] {
            for (auto& router : routers(where))
              engine_.system().spawn([router](caf::event_based_actor* self) {
                self->request(router, question_time, report_atom_v)
                    .then([](const router_table&) {}, [](const caf::error&) {});
              });
          });
      look_at_tables(when + look_interval);
    });
  }

  std::vector<router_actor> routers(const site& where) {
    std::vector<router_actor> result;
    for (auto& actor : engine_.actors(where.id)) {
      auto local = caf::actor_cast<caf::abstract_actor*>(actor);
      if (std::string_view{static_cast<caf::local_actor*>(local)->name()} == "astra.router")
        result.push_back(caf::actor_cast<router_actor>(actor));
    }
    return result;
  }

  void ask_tables(caf::actor_system& sys, site& where) {
    auto& tables = final_.tables[where.id];
    auto name = where.options.name;
    for (auto& router : routers(where)) {
      sys.spawn([this, &tables, name, router](caf::event_based_actor* self) {
        self->request(router, question_time, report_atom_v)
            .then([&tables](const router_table& table) { tables[table.app] = table; },
                  [this, name](const caf::error&) { final_.silent.push_back(name + ": a router did not answer"); });
      });
    }
  }

  // -- events ------------------------------------------------------------------

  void on_event(const event& seen) {
    if (closing_)
      return;
    switch (seen.kind) {
    case event_kind::boot:
    case event_kind::crash:
    case event_kind::stop: {
      auto& facts = facts_[index(seen.machine)];
      facts.up = seen.kind == event_kind::boot;
      facts.stalled = false;
      facts.since = seen.at;
      if (facts.up)
        ++facts.boot;
      calm_since_ = seen.at;
      break;
    }
    case event_kind::stall:
    case event_kind::go_on:
      facts_[index(seen.machine)].stalled = seen.kind == event_kind::stall;
      calm_since_ = seen.at;
      break;
    default:
      break;
    }
    if (checks_ && !failed_ && !checks_->on_event(seen, facade_))
      note_failure(*checks_->failed(), seen.number);
    if (options_.watch)
      options_.watch(seen);
  }

  void note_failure(const check& which, std::uint64_t number) {
    if (failed_)
      return;
    failed_ = true;
    result_.check = std::string{which.name()};
    result_.failure = which.failure();
    result_.failed_event = number;
    result_.at = engine_.now();
    engine_.stop();
  }

  instant end() const { return what_->horizon + what_->quiet; }

  bool run_until(instant until) {
    if (failed_ || finished_)
      return false;
    engine_.run_until(std::min(until, end()));
    return more();
  }

  bool more() {
    if (failed_)
      return false;
    // Who stopped it at the very end may find more that is due then.
    if (engine_.now() < end() || engine_.stopped() || finished_)
      return !finished_;
    // Questions and answers are part of the run: its end is deterministic too.
    finished_ = true;
    final_.asked = engine_.now();
    ask_all();
    engine_.run_until(end() + question_time);
    if (checks_ && !failed_ && !checks_->at_quiet(final_, facade_))
      note_failure(*checks_->failed(), engine_.events());
    return false;
  }

  run_result result() const {
    auto result = result_;
    result.passed = finished_ && !failed_;
    if (!failed_)
      result.at = engine_.now();
    result.trace_hash = engine_.trace_hash();
    result.events = engine_.events();
    result.steps = engine_.steps();
    return result;
  }

  struct waiting_call {
    machine_id gateway{};
    std::shared_ptr<open_call> told;
    std::weak_ptr<operator_exchange> exchange;
  };

  world& facade_;
  std::shared_ptr<const scenario> what_;
  std::shared_ptr<const scenario> begun_with_;
  world_options options_;
  log_capture log_;
  app_registry registry_;
  std::shared_ptr<const sim_app_table> programs_;
  std::vector<machine_facts> facts_;
  /// Null: nodes have no contents.
  std::unique_ptr<sim_swarm_network> contents_;
  /// Those of the scenario, and behind them the machines of twins.  None ever moves.
  std::deque<site> sites_;
  std::map<std::string, machine_id, std::less<>> by_name_;
  std::vector<std::size_t> gateways_;
  /// Apps as the operator wants them.
  std::map<std::string, pb::AppSpec> wanted_;
  /// Those that calls from outside have made or changed.
  std::set<std::string> applied_;
  std::vector<scenario_fault> faults_;
  /// Contents that a node has begun to publish.
  std::set<std::string> published_;
  std::set<engine::rule_id> rules_;
  std::set<machine_id> drained_;
  int active_ = 0;
  bool calm_ = false;
  bool closing_ = false;
  bool failed_ = false;
  bool finished_ = false;
  instant calm_since_{0};
  std::uint64_t last_request_ = 0;
  final_state final_;
  run_result result_;
  std::unique_ptr<check_set> checks_;
  std::map<std::uint64_t, std::pair<client, std::shared_ptr<sim_exchange>>> exchanges_;
  /// Looked up only, never iterated in an order that matters.
  std::map<const open_call*, waiting_call> calls_;
  std::unique_ptr<engine> owned_engine_;
  engine& engine_;
};

world::world(std::shared_ptr<const scenario> what, std::uint64_t seed, world_options options)
  : impl_(std::make_unique<impl>(*this, std::move(what), seed, std::move(options))) {}

world::~world() = default;

bool world::run_until(instant until) {
  return impl_->run_until(until);
}
bool world::step() {
  if (impl_->failed_ || impl_->finished_)
    return false;
  if (!impl_->engine_.step(impl_->end()))
    impl_->engine_.run_until(impl_->end());
  return impl_->more();
}
bool world::step_until(instant limit) {
  if (impl_->failed_ || impl_->finished_)
    return false;
  limit = std::min(limit, impl_->end());
  if (!impl_->engine_.step(limit))
    impl_->engine_.run_until(limit);
  return impl_->more();
}
std::shared_ptr<const open_call> world::call(http_request request) {
  return impl_->call(std::move(request));
}
void world::hang_up(const std::shared_ptr<const open_call>& which) {
  impl_->hang_up(which.get());
}
void world::settle() {
  impl_->settle();
}
run_result world::run() {
  while (impl_->run_until(impl_->end()))
    ;
  return impl_->result();
}
run_result world::result() const {
  return impl_->result();
}
instant world::end() const {
  return impl_->end();
}
engine& world::core() {
  return impl_->engine_;
}
const std::vector<scenario_fault>& world::faults() const {
  return impl_->faults_;
}
void world::inject(scenario_fault fault) {
  fault.at = std::max(fault.at, now() + std::chrono::nanoseconds{1});
  impl_->faults_.push_back(std::move(fault));
  impl_->schedule(impl_->faults_.size() - 1);
}
void world::reseed(std::uint64_t seed) {
  impl_->engine_.reseed(seed);
  if (impl_->contents_)
    impl_->contents_->reseed(draws{seed});
  for (auto& where : impl_->sites_)
    if (where.running && where.running->platform)
      where.running->platform->reseed(draws{seed});
}
instant world::now() const {
  return impl_->engine_.now();
}
const scenario& world::what() const {
  return *impl_->what_;
}
std::span<const machine_facts> world::machines() const {
  return impl_->facts_;
}
std::optional<machine_id> world::find(std::string_view name) const {
  auto found = impl_->by_name_.find(name);
  return found == impl_->by_name_.end() ? std::nullopt : std::optional{found->second};
}
std::string world::actor_name(std::uint64_t actor) const {
  return impl_->engine_.actor_name(actor);
}
bool world::passes(machine_id from, machine_id to) const {
  return impl_->engine_.passes(from, to);
}
instant world::calm_since() const {
  return impl_->active_ > 0 ? impl_->engine_.now() : impl_->calm_since_;
}
std::vector<process_facts> world::processes() const {
  std::vector<process_facts> result;
  for (auto& where : impl_->sites_)
    if (where.running && where.running->platform)
      for (auto& one : where.running->platform->running())
        result.push_back({where.id, one.key.value(), one.command});
  return result;
}
std::vector<content_facts> world::contents() const {
  std::vector<content_facts> result;
  for (auto& where : impl_->sites_)
    for (auto& [address, kept] : where.disk.contents.all)
      result.push_back(
          {where.id, p2p::to_string(address), kept.what->size, kept.state == p2p::content_state::ready, kept.whole()});
  return result;
}
std::uint64_t world::sent_bytes() const {
  return impl_->contents_ ? impl_->contents_->sent_bytes() : 0;
}

} // namespace astra::sim
