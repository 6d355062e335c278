#include "runtime/bench/bench_process.hpp"

#include "config/options.hpp"
#include "messages/errc.hpp"
#include "runtime/http/client.hpp"
#include "runtime/incarnation_file.hpp"
#include "runtime/net/dialer.hpp"
#include "runtime/net/directory.hpp"
#include "runtime/net/session_layer.hpp"
#include "runtime/platform_live.hpp"
#include "runtime/process/machine_probe.hpp"

#include <caf/actor_system_config.hpp>
#include <caf/io/middleman.hpp>
#include <caf/send.hpp>

#include <system_error>
#include <utility>

namespace astra::bench {
namespace {

struct caf_config : caf::actor_system_config {
  caf_config(const peer_identity& self, incarnation life) {
    load<caf::io::middleman>();
    session_layer::prepare(*this, self, life);
    set("caf.scheduler.policy", "sharing");
    set("caf.scheduler.max-threads", 2);
    set("caf.logger.file.verbosity", "quiet");
    set("caf.logger.console.verbosity", "quiet");
  }
};

} // namespace

struct bench_process::parts {
  std::shared_ptr<incarnation_file> incarnations;
  std::unique_ptr<caf_config> config;
  std::unique_ptr<caf::actor_system> sys;
  std::shared_ptr<service_table> services = std::make_shared<service_table>();
  directory_actor directory;
  std::unique_ptr<session_layer> sessions;
  std::unique_ptr<live_platform> world;
};

caf::expected<std::unique_ptr<bench_process>> bench_process::start(peer_identity who,
                                                                   const std::filesystem::path& directory) {
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  if (error)
    return caf::make_error(errc::io_failed, directory.string() + ": " + error.message());
  auto made = std::make_unique<parts>();
  session_layer::options how;
  how.self = std::move(who);
  how.self.cluster = how.net.cluster;
  made->incarnations = std::make_shared<incarnation_file>(directory);
  how.life = made->incarnations->next_after();
  auto dial_timeout = how.net.dial_timeout;
  made->config = std::make_unique<caf_config>(how.self, how.life);
  made->sys = std::make_unique<caf::actor_system>(*made->config);
  made->directory = spawn_directory(*made->sys, made->services);
  made->sessions = std::make_unique<session_layer>(*made->sys, std::move(how), made->services);
  auto result = std::unique_ptr<bench_process>{new bench_process{std::move(made)}};
  auto& is = *result->parts_;
  if (auto listening = is.sessions->start(is.directory); !listening)
    return std::move(listening.error());
  live_parts of;
  of.address = is.sessions->address();
  of.services = is.services;
  of.dialer = spawn_dialer(*is.sys, is.sessions->connector(), of.address, is.services, dial_timeout);
  of.incarnations = is.incarnations;
  of.http = spawn_http_client(*is.sys);
  of.reading = std::make_unique<reading_lag>(is.sys->middleman().backend());
  of.machine = make_machine_probe([] { return 0; });
  is.world = std::make_unique<live_platform>(std::move(of));
  return result;
}

bench_process::bench_process(std::unique_ptr<parts> of) : parts_(std::move(of)) {}

bench_process::~bench_process() {
  auto& is = *parts_;
  if (is.directory)
    caf::anon_send_exit(is.directory, caf::exit_reason::user_shutdown);
  is.directory = nullptr;
  if (is.world)
    is.world->end_actors();
  is.sessions->stop(std::chrono::milliseconds{200});
  is.sys->await_all_actors_done();
  is.world.reset();
  is.services->clear();
  is.sessions.reset();
  is.sys.reset();
}

caf::actor_system& bench_process::system() {
  return *parts_->sys;
}

platform& bench_process::world() {
  return *parts_->world;
}

} // namespace astra::bench
