#include "runtime/host.hpp"

#include "actors/apps/app_registry.hpp"
#include "config/endpoint.hpp"
#include "config/load.hpp"
#include "messages/wire/app.pb.h"
#include "runtime/app_db.hpp"
#include "runtime/claim_files.hpp"
#include "runtime/gateway/gateway.hpp"
#include "runtime/http/client.hpp"
#include "runtime/incarnation_file.hpp"
#include "runtime/log.hpp"
#include "runtime/metrics/metrics_server.hpp"
#include "runtime/net/dialer.hpp"
#include "runtime/net/directory.hpp"
#include "runtime/net/session_layer.hpp"
#include "runtime/net/tls.hpp"
#include "runtime/platform_live.hpp"
#include "runtime/process/capacity.hpp"
#include "runtime/process/launcher_client.hpp"
#include "runtime/process/machine_probe.hpp"
#include "runtime/roles.hpp"
#include "runtime/tasks/task_db.hpp"
#include "runtime/transfer/content_server.hpp"
#include "runtime/transfer/live_content_port.hpp"

#include <caf/actor_cast.hpp>
#include <caf/actor_system.hpp>
#include <caf/actor_system_config.hpp>
#include <caf/io/middleman.hpp>
#include <caf/send.hpp>
#include <fcntl.h>
#include <fmt/format.h>
#include <netdb.h>
#include <nlohmann/json.hpp>
#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <atomic>
#include <cassert>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace astra {
namespace {

constexpr int exit_bad_config = 78;
/// How often the files of certificates are looked at.
constexpr int certificate_check_ms = 30'000;

/// Options that every process needs, whatever its file says; then those of the file.
struct caf_config : caf::actor_system_config {
  caf_config(const process_options& options, const peer_identity& self, incarnation life) {
    load<caf::io::middleman>();
    // Its options exist only once the middleman is loaded.
    session_layer::prepare(*this, self, life);
    // Idle agents cost 34 times less than with work stealing, which polls.
    set("caf.scheduler.policy", "sharing");
    set("caf.scheduler.max-threads", 2);
    set("caf.logger.file.verbosity", "quiet");
    set("caf.logger.console.verbosity", "quiet");
    for (auto& [key, literal] : options.caf) {
      // Checked by the configuration layer already.
      if (auto value = caf::config_value::parse(literal))
        put(content, key, std::move(*value));
    }
  }
};

/// Becomes readable when somebody, on any thread, wants the main thread's attention.
class wake_up {
public:
  wake_up() : fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) { assert(fd_ >= 0); }
  ~wake_up() { ::close(fd_); }
  wake_up(const wake_up&) = delete;
  wake_up& operator=(const wake_up&) = delete;

  int fd() const { return fd_; }

  void notify() const {
    std::uint64_t one = 1;
    [[maybe_unused]] auto n = ::write(fd_, &one, sizeof(one)); // full means notified already
  }

private:
  int fd_;
};

/// Ends the process for good when an orderly stop takes too long, whatever the threads are stuck in.
class watchdog {
public:
  explicit watchdog(std::chrono::milliseconds limit) {
    std::thread{[limit, over = over_] {
      std::this_thread::sleep_for(limit);
      if (!over->load()) {
        spdlog::error("process.stop_timeout limit_ms={} reason=\"leaving without an orderly end\"", limit.count());
        std::_Exit(EXIT_FAILURE);
      }
    }}.detach();
  }
  ~watchdog() { over_->store(true); }
  watchdog(const watchdog&) = delete;
  watchdog& operator=(const watchdog&) = delete;

private:
  std::shared_ptr<std::atomic<bool>> over_ = std::make_shared<std::atomic<bool>>(false);
};

/// Takes the state directory for this process; a second process with the same one is refused.
class state_lock {
public:
  explicit state_lock(const std::filesystem::path& directory) {
    fd_ = ::open((directory / "lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    held_ = fd_ >= 0 && ::flock(fd_, LOCK_EX | LOCK_NB) == 0;
  }
  ~state_lock() {
    if (fd_ >= 0)
      ::close(fd_);
  }
  state_lock(const state_lock&) = delete;
  state_lock& operator=(const state_lock&) = delete;
  bool held() const { return held_; }

private:
  int fd_ = -1;
  bool held_ = false;
};

/// Everything between start and stop of one process.
class host {
public:
  explicit host(process_options options) : options_(std::move(options)) {}

  int run();

private:
  /// From listening to the order to stop; what it started is ended by end_children.
  int run_roles();
  bool prepare();
  void detect();
  bool load_apps();
  bool load_certificates();
  bool listen();
  bool serve_metrics();
  /// The doors of contents; null: this process keeps none.
  std::shared_ptr<content_port> open_contents();
  void write_run_file();
  /// Certificates, from their files.
  void reload();
  /// When they were last written: whoever renews them need not tell us.
  std::vector<std::filesystem::file_time_type> certificate_times() const;
  /// Waits for a signal, a failed role or a finished stop.
  int serve();
  void begin_stop();
  /// Whether a stop waits for work in progress.
  bool drains() const { return options_.has(process_role::node) || options_.has(process_role::gateway); }
  void end_children();

  process_options options_;
  std::filesystem::path state_dir_;
  std::vector<pb::AppSpec> app_specs_;
  app_registry app_actors_;
  wake_up wake_;
  std::atomic<bool> failed_ = false;
  std::atomic<bool> drained_ = false;
  std::unique_ptr<watchdog> deadline_;

  std::unique_ptr<state_lock> lock_;
  /// Null without [tls].
  std::shared_ptr<tls_context> tls_;
  std::shared_ptr<incarnation_file> incarnations_;
  /// Null in processes that host no app schedulers.
  std::unique_ptr<claim_store> claims_;
  /// Empty in processes without the role gateway.
  gateway_tasks tasks_;
  peer_identity self_;
  incarnation life_;
  std::unique_ptr<launcher_client> launcher_;
  std::unique_ptr<caf_config> config_;
  std::unique_ptr<caf::actor_system> sys_;
  std::shared_ptr<service_table> services_ = std::make_shared<service_table>();
  directory_actor directory_;
  std::unique_ptr<session_layer> sessions_;
  /// Null when metrics.listen is empty.
  std::unique_ptr<http_server> metrics_;
  content_server reading_;
  std::unique_ptr<live_platform> world_;
  std::unique_ptr<role_set> roles_;
  std::optional<gateway> gateway_;
};

/// An address of a host in digits; the host itself when it has none.
std::string digits_of(const std::string& host) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  for (auto family : {AF_INET, AF_INET6}) {
    hints.ai_family = family;
    if (::getaddrinfo(host.c_str(), nullptr, &hints, &found) == 0 && found)
      break;
    found = nullptr;
  }
  if (!found)
    return host;
  char digits[NI_MAXHOST] = {};
  auto known = ::getnameinfo(found->ai_addr, found->ai_addrlen, digits, sizeof digits, nullptr, 0, NI_NUMERICHOST);
  ::freeaddrinfo(found);
  return known == 0 ? digits : host;
}

/// Whether one of this machine's interfaces has the address.
bool is_own_address(const std::string& digits) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICHOST;
  addrinfo* found = nullptr;
  if (::getaddrinfo(digits.c_str(), "0", &hints, &found) != 0 || !found)
    return false;
  int fd = ::socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  auto own = fd >= 0 && ::bind(fd, found->ai_addr, found->ai_addrlen) == 0;
  ::freeaddrinfo(found);
  if (fd >= 0)
    ::close(fd);
  return own;
}

/// @param reached "host:port" under which other processes reach this one.
live_content_options content_doors(const process_options& options, const std::filesystem::path& state_dir,
                                   const std::string& reached) {
  auto& store = options.store;
  live_content_options result;
  result.directory = store.directory.empty() ? state_dir / "store" : std::filesystem::path{store.directory};
  result.bytes_max = store.bytes_max;
  result.nat = store.nat;
  result.tls = options.tls;
  result.cluster = options.net.cluster;
  if (auto own = parse_endpoint(store.listen)) {
    result.listen_address = result.public_address = own->host;
    result.listen_port = own->port;
    return result;
  }
  if (auto host = parse_endpoint(reached))
    result.public_address = digits_of(host->host);
  // One address, so that it is clear which port goes with it: on all of them each has its own.
  auto listen = parse_endpoint(options.net.listen);
  if (listen && !is_wildcard(*listen))
    result.listen_address = digits_of(listen->host);
  else if (is_own_address(result.public_address))
    result.listen_address = result.public_address;
  else
    spdlog::warn(
        "contents.address advertised={} reason=\"no interface of this machine has it; name one, and a port that "
        "leads here, in store.listen\"",
        reached);
  return result;
}

int complain(const std::string& text) {
  std::fprintf(stderr, "astra: %s\n", text.c_str());
  return EXIT_FAILURE;
}

bool host::prepare() {
  state_dir_ = options_.state_dir;
  std::error_code error;
  std::filesystem::create_directories(state_dir_, error);
  if (error) {
    complain(fmt::format("state_dir {}: cannot be created: {}", state_dir_.string(), error.message()));
    return false;
  }
  lock_ = std::make_unique<state_lock>(state_dir_);
  if (!lock_->held()) {
    complain(fmt::format("state_dir {}: in use by another astra process; give each process a directory of its own",
                         state_dir_.string()));
    return false;
  }
  return true;
}

void host::detect() {
  if (!options_.has(process_role::node))
    return;
  auto& node = options_.node;
  auto found = detect_capacity();
  if (options_.cpu_auto)
    node.cpu_milli = found.cpu_milli;
  if (options_.memory_auto)
    node.memory_bytes = found.memory_bytes;
  node.capacity_origin = fmt::format("cores {}, memory {}", options_.cpu_auto ? found.cpu_origin : "stated",
                                     options_.memory_auto ? found.memory_origin : "stated");
  if (options_.accelerators_auto)
    node.accelerators = detect_accelerators();
}

bool host::load_apps() {
  auto good = true;
  for (auto& file : options_.scheduler.app_files) {
    auto app = load_app_config(file, process_environment());
    for (auto& problem : app.problems)
      std::fprintf(stderr, "%s\n", to_string(problem).c_str());
    if (app.spec)
      app_specs_.push_back(*app.spec);
    else
      good = false;
  }
  if (!good)
    std::fprintf(stderr, "astra: nothing was started\n");
  return good;
}

bool host::load_certificates() {
  self_.cluster = options_.net.cluster;
  self_.name = options_.name;
  for (auto role : options_.roles)
    self_.roles.add(to_peer_role(role));
  if (!options_.tls.enabled()) {
    if (!options_.net.insecure.empty())
      spdlog::warn("net.insecure listen={} reason=\"net.insecure allows it: {}\"", options_.net.listen,
                   options_.net.insecure);
    return true;
  }
  auto loaded = tls_context::load(options_.tls);
  if (!loaded) {
    complain(error_text(loaded.error()));
    return false;
  }
  tls_ = std::move(*loaded);
  auto own = tls_->own();
  auto refuse = [this](const std::string& what) {
    complain(fmt::format("tls.certificate {}: {}; issue one with: astra ca issue", options_.tls.certificate, what));
    return false;
  };
  if (own.cluster != self_.cluster)
    return refuse(fmt::format("is for cluster '{}', and net.cluster is '{}'", own.cluster, self_.cluster));
  if (own.name != self_.name)
    return refuse(fmt::format("is for '{}', and this process is '{}'", own.name, self_.name));
  if (!own.roles.has_all(self_.roles))
    return refuse(fmt::format("has the roles {}, and this process {}", to_string(own.roles), to_string(self_.roles)));
  self_.apps = own.apps;
  self_.nodes = own.nodes;
  return true;
}

bool host::listen() {
  directory_ = spawn_directory(*sys_, services_);
  session_layer::options how;
  how.net = options_.net;
  how.self = self_;
  how.life = life_;
  how.tls = tls_;
  how.fenced = [this](const std::string& reason) {
    if (!failed_.exchange(true))
      spdlog::critical("process.fenced name={} reason=\"{}\"", options_.name, reason);
    wake_.notify();
  };
  sessions_ = std::make_unique<session_layer>(*sys_, std::move(how), services_);
  if (auto listening = sessions_->start(directory_); !listening) {
    complain(error_text(listening.error()));
    return false;
  }
  return true;
}

bool host::serve_metrics() {
  if (options_.metrics.listen.empty())
    return true;
  auto server = start_metrics_server(*sys_, options_.metrics, tls_);
  if (!server) {
    complain(fmt::format("metrics.listen = \"{}\": {}", options_.metrics.listen, error_text(server.error())));
    return false;
  }
  metrics_ = std::move(*server);
  return true;
}

std::shared_ptr<content_port> host::open_contents() {
  if (!options_.has(process_role::node) || !options_.store.enabled)
    return nullptr;
  auto doors = content_doors(options_, state_dir_, sessions_->address());
  auto find = [services = services_, service = content_service(options_.node.name)] {
    auto found = services->find(service);
    return found ? caf::actor_cast<content_keeper_actor>(*found) : content_keeper_actor{};
  };
  // Without it apps wait for all of a content, as those do that do not stream.
  if (auto server = start_content_server(*sys_, std::move(find)))
    reading_ = std::move(*server);
  else
    spdlog::error("contents.not_served reason=\"{}\"", error_text(server.error()));
  doors.reading_url = reading_.url;
  return make_live_content_port(std::move(doors));
}

void host::write_run_file() {
  nlohmann::json run = {
      {"name", options_.name}, {"pid", ::getpid()}, {"address", sessions_->address()}, {"ready", true}};
  for (auto role : options_.roles)
    run["roles"].push_back(to_string(role));
  if (gateway_)
    run["gateway"] = gateway_->address();
  if (metrics_)
    run["metrics"] = metrics_->address();
  auto path = state_dir_ / "run.json";
  auto temporary = state_dir_ / "run.json.new";
  std::ofstream{temporary} << run.dump(2) << '\n';
  std::error_code error;
  std::filesystem::rename(temporary, path, error);
  if (error)
    spdlog::warn("process.run_file file={} reason=\"{}\"", path.string(), error.message());
}

/// A child of `astra dev` ends with it, also when it is killed.  @returns false when it is gone already.
bool follow_parent() {
  auto parent = std::getenv("ASTRA_PARENT");
  if (!parent)
    return true;
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  return ::getppid() == std::atoi(parent);
}

int host::run() {
  std::signal(SIGPIPE, SIG_IGN);
  if (!follow_parent())
    return EXIT_FAILURE;
  if (!start_log(options_.log, options_.name))
    return complain(fmt::format("log.file {}: cannot be opened for writing", options_.log.file));
  if (!prepare())
    return EXIT_FAILURE;
  if (!load_certificates())
    return exit_bad_config;
  if (!load_apps())
    return exit_bad_config;
  detect();
  // Before the first thread, which the launcher's client has: signals are for serve() alone.
  sigset_t signals;
  sigemptyset(&signals);
  for (auto signal : {SIGTERM, SIGINT, SIGHUP})
    sigaddset(&signals, signal);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  if (options_.has(process_role::node)) {
    auto launcher = start_launcher();
    if (!launcher)
      return complain(fmt::format("the process launcher did not start: {}", error_text(launcher.error())));
    launcher_ = std::move(*launcher);
    options_.node.limits_backend = launcher_->backend();
    spdlog::info("process.launcher pid={} limits=\"{}\"", launcher_->pid(), launcher_->backend_detail());
  }
  add_builtin_apps(app_actors_);
  incarnations_ = std::make_shared<incarnation_file>(state_dir_);
  life_ = incarnations_->next_after();
  config_ = std::make_unique<caf_config>(options_, self_, life_);
  sys_ = std::make_unique<caf::actor_system>(*config_);
  auto code = run_roles();
  if (!deadline_)
    deadline_ = std::make_unique<watchdog>(options_.shutdown_timeout);
  end_children();
  std::error_code ignored;
  std::filesystem::remove(state_dir_ / "run.json", ignored);
  spdlog::info("process.end name={} failed={}", options_.name, failed_.load());
  return code;
}

int host::run_roles() {
  live_parts parts;
  if (options_.has(process_role::scheduler)) {
    auto now = std::chrono::system_clock::now().time_since_epoch();
    auto store = open_app_db(state_dir_, std::chrono::duration_cast<std::chrono::milliseconds>(now));
    if (!store)
      return complain(error_text(store.error()));
    parts.apps = std::move(*store);
    if (options_.scheduler.claim_log_bytes != 0)
      claims_ = open_claim_files(state_dir_, options_.scheduler.claim_log_bytes);
  }
  if (options_.has(process_role::gateway)) {
    // A gateway whose tasks cannot be read still has requests to answer.
    if (auto store = open_task_db(state_dir_))
      tasks_.keeper = std::make_shared<task_keeper>(std::move(*store));
    else
      spdlog::error("gateway.no_tasks reason=\"{}\"", tasks_.problem = error_text(store.error()));
  }
  if (!listen() || !serve_metrics())
    return EXIT_FAILURE;

  parts.address = sessions_->address();
  parts.services = services_;
  parts.dialer =
      spawn_dialer(*sys_, sessions_->connector(), sessions_->address(), services_, options_.net.dial_timeout);
  parts.incarnations = incarnations_;
  if (launcher_)
    parts.launcher = spawn_launcher_actor(*sys_, *launcher_);
  parts.http = spawn_http_client(*sys_);
  parts.reading = std::make_unique<reading_lag>(sys_->middleman().backend());
  parts.machine = make_machine_probe([this] { return launcher_ ? launcher_->pid() : 0; });
  world_ = std::make_unique<live_platform>(std::move(parts));

  auto contents = open_contents();
  roles_ = std::make_unique<role_set>(
      *sys_, *world_, options_, app_specs_, app_actors_,
      [this](const std::string& role, const std::string& reason) {
        spdlog::critical("process.role_failed role={} reason=\"{}\"", role, reason);
        failed_ = true;
        wake_.notify();
      },
      self_.nodes, claims_.get(), tasks_, contents);
  if (options_.has(process_role::gateway)) {
    gateway_doors doors{tls_, (state_dir_ / "gateway.sock").string()};
    // A socket's path is short; one that does not fit is no reason not to run.
    if (doors.unix_path.size() > 100) {
      spdlog::warn("gateway.no_unix_socket path={} reason=\"the path is longer than 100 bytes\"", doors.unix_path);
      doors.unix_path.clear();
    }
    auto started = gateway::start(*sys_, options_.gateway, roles_->gateway(), std::move(doors));
    if (!started)
      return complain(fmt::format("gateway.listen = \"{}\": {}", options_.gateway.listen, error_text(started.error())));
    gateway_.emplace(std::move(*started));
  }
  write_run_file();
  std::string roles;
  for (auto role : options_.roles)
    roles += (roles.empty() ? "" : ",") + to_string(role);
  spdlog::info("process.ready name={} roles={} address={} tls={} gateway={} pid={}", options_.name, roles,
               sessions_->address(), tls_ != nullptr, gateway_ ? gateway_->address() : "-", ::getpid());
  return serve();
}

void host::reload() {
  if (!tls_) {
    spdlog::info("process.sighup reason=\"nothing to reload: no certificates\"");
    return;
  }
  if (auto read = tls_->reload(); !read) {
    spdlog::error("process.reload_failed reason=\"{}; the old certificates stay in use\"", error_text(read.error()));
    return;
  }
  sessions_->certificates_changed();
  spdlog::info("process.reload certificate={} expires_in_s={}", tls_->own().name,
               tls_->expires_at() - static_cast<std::int64_t>(std::time(nullptr)));
}

std::vector<std::filesystem::file_time_type> host::certificate_times() const {
  std::vector<std::filesystem::file_time_type> result;
  for (auto& file : {options_.tls.certificate, options_.tls.key, options_.tls.ca, options_.tls.revoked}) {
    std::error_code missing;
    result.push_back(file.empty() ? std::filesystem::file_time_type{}
                                  : std::filesystem::last_write_time(file, missing));
  }
  return result;
}

int host::serve() {
  sigset_t signals;
  sigemptyset(&signals);
  for (auto signal : {SIGTERM, SIGINT, SIGHUP})
    sigaddset(&signals, signal);
  int signal_fd = ::signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
  assert(signal_fd >= 0);
  auto stopping = false;
  auto known = certificate_times();
  while (!failed_ && !drained_) {
    pollfd fds[] = {{signal_fd, POLLIN, 0}, {wake_.fd(), POLLIN, 0}};
    if (::poll(fds, 2, tls_ ? certificate_check_ms : -1) < 0)
      continue;
    if (auto now = tls_ ? certificate_times() : known; now != known) {
      known = now;
      reload();
    }
    signalfd_siginfo info;
    while (::read(signal_fd, &info, sizeof(info)) == static_cast<ssize_t>(sizeof(info))) {
      if (info.ssi_signo == SIGHUP) {
        reload();
        continue;
      }
      if (stopping) {
        spdlog::warn("process.stop_now reason=\"second signal\"");
        std::_Exit(128 + static_cast<int>(info.ssi_signo));
      }
      stopping = true;
      auto limit = options_.shutdown_timeout + (drains() ? options_.node.drain_wait : std::chrono::milliseconds{0});
      spdlog::info("process.stop signal={} limit_ms={}", info.ssi_signo, limit.count());
      deadline_ = std::make_unique<watchdog>(limit);
      begin_stop();
    }
  }
  ::close(signal_fd);
  return failed_ ? EXIT_FAILURE : EXIT_SUCCESS;
}

void host::begin_stop() {
  // The gateway refuses new requests from now on; those it has go on while the node drains.
  if (gateway_)
    gateway_->drain();
  auto wait = caf::timespan{options_.node.drain_wait};
  // The node keeps to `wait`; the rest is for stopping replicas and saying goodbye.
  roles_->stop(wait, wait + options_.shutdown_timeout, [this] {
    drained_ = true;
    wake_.notify();
  });
}

void host::end_children() {
  // Nobody reads signals any more: from here on one more of them ends the process at once.
  sigset_t signals;
  sigemptyset(&signals);
  for (auto signal : {SIGTERM, SIGINT})
    sigaddset(&signals, signal);
  pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);
  // A part of the deadline is for what follows.
  if (gateway_)
    gateway_->stop(failed_ ? std::chrono::milliseconds{0} : options_.shutdown_timeout / 2);
  gateway_.reset();
  metrics_.reset();
  reading_.http.reset();
  if (roles_)
    roles_->end();
  if (directory_)
    caf::anon_send_exit(directory_, caf::exit_reason::user_shutdown);
  directory_ = nullptr;
  if (world_)
    world_->end_actors();
  // What waits for a frozen peer would hold the system's end up.
  if (sessions_)
    sessions_->stop(std::chrono::milliseconds{200});
  // The world outlives those who hold a reference to it, and no handle outlives the system.
  sys_->await_all_actors_done();
  roles_.reset();
  world_.reset();
  services_->clear();
  sessions_.reset();
  sys_.reset();
  if (launcher_)
    launcher_->close();
}

} // namespace

int run_process(process_options options) {
  host process{std::move(options)};
  return process.run();
}

} // namespace astra
