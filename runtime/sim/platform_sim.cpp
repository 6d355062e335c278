#include "runtime/sim/platform_sim.hpp"

#include "messages/errc.hpp"
#include "runtime/sim/sim_http.hpp"

#include <caf/send.hpp>

#include <algorithm>
#include <cassert>
#include <utility>

namespace astra::sim {
namespace {

/// Wall time of a machine whose clock stands at 0: 2026-01-01 in nanoseconds.  Incarnations look as they do live.
constexpr std::uint64_t wall_base_ns = 1'767'225'600'000'000'000U;

class sim_probe : public machine_probe {
public:
  sim_probe(std::shared_ptr<machine_processes> processes, std::function<std::chrono::steady_clock::time_point()> clock)
    : processes_(std::move(processes)), clock_(std::move(clock)) {}

  machine_sample sample() override {
    auto result = processes_->model.sample(clock_());
    processes_->settle();
    return result;
  }

private:
  std::shared_ptr<machine_processes> processes_;
  std::function<std::chrono::steady_clock::time_point()> clock_;
};

class sim_app_store : public app_store {
public:
  sim_app_store(sim_disk& disk, std::function<void(std::chrono::nanoseconds)> spend)
    : disk_(disk), spend_(std::move(spend)) {}

  caf::expected<std::vector<pb::AppSpec>> load() override {
    std::vector<pb::AppSpec> result;
    for (auto& entry : disk_.apps.specs())
      result.push_back(entry.second);
    return result;
  }

  caf::expected<std::uint64_t> save(const pb::AppSpec& spec, const change_note& note) override {
    if (auto error = write())
      return error;
    return disk_.apps.save(spec, note);
  }

  caf::expected<void> remove(const std::string& name) override {
    if (auto error = write())
      return error;
    disk_.apps.remove(name);
    return {};
  }

  caf::expected<std::vector<pb::AppRevision>> history(const std::string& name) override {
    return disk_.apps.history(name);
  }

private:
  caf::error write() {
    if (spend_ && disk_.store_time.count() > 0)
      spend_(disk_.store_time);
    if (disk_.full)
      return caf::make_error(errc::io_failed, "no space left on device");
    return {};
  }

  sim_disk& disk_;
  std::function<void(std::chrono::nanoseconds)> spend_;
};

} // namespace

sim_platform::sim_platform(caf::actor_system& sys, sim_machine_parts parts) : sys_(sys), parts_(std::move(parts)) {
  assert(parts_.services && parts_.dialer && parts_.clock && parts_.disk != nullptr);
  processes_ = std::make_shared<machine_processes>(
      process_model{parts_.chance, parts_.machine, parts_.boot, parts_.processes, parts_.clock()});
  probe_ = std::make_unique<sim_probe>(processes_, parts_.clock);
  apps_ = std::make_unique<sim_app_store>(*parts_.disk, parts_.spend);
}

sim_platform::~sim_platform() = default;

void sim_platform::end_actors() {
  caf::anon_send_exit(parts_.dialer, caf::exit_reason::user_shutdown);
  if (launcher_)
    caf::anon_send_exit(launcher_, caf::exit_reason::user_shutdown);
  if (http_)
    caf::anon_send_exit(http_, caf::exit_reason::user_shutdown);
}

void sim_platform::publish(std::string_view service, caf::strong_actor_ptr target) {
  parts_.services->put(service, std::move(target));
}

void sim_platform::withdraw(std::string_view service) {
  parts_.services->erase(service);
}

std::uint64_t sim_platform::seed(std::string_view stream) {
  auto process = (std::uint64_t{parts_.machine} << 32) | parts_.boot;
  return parts_.chance.bits(draw_kind::platform, process, name_hash(stream));
}

std::chrono::milliseconds sim_platform::wall_time() {
  auto local = std::chrono::duration_cast<std::chrono::nanoseconds>(parts_.clock().time_since_epoch());
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::nanoseconds{wall_base_ns} + local);
}

incarnation sim_platform::next_incarnation_after(incarnation other) {
  auto local = std::chrono::duration_cast<std::chrono::nanoseconds>(parts_.clock().time_since_epoch());
  auto& last = parts_.disk->last_incarnation;
  last = std::max({last + 1, other.value() + 1, wall_base_ns + static_cast<std::uint64_t>(local.count())});
  return incarnation{last};
}

launcher_actor sim_platform::launcher() {
  if (!launcher_)
    launcher_ = spawn_sim_launcher(sys_, processes_);
  return launcher_;
}

http_client_actor sim_platform::http() {
  if (!http_)
    http_ = spawn_sim_http(sys_, processes_);
  return http_;
}

std::uint16_t sim_platform::reserve_port() {
  auto process = (std::uint64_t{parts_.machine} << 32) | parts_.boot;
  auto draw = parts_.chance.below(port_count, draw_kind::platform, ~process, ++port_draws_);
  for (std::uint64_t tries = 0; tries < port_count; ++tries) {
    auto port = static_cast<std::uint16_t>(port_first + (draw + tries) % port_count);
    if (!processes_->model.port_in_use(port) && ports_.insert(port).second)
      return port;
  }
  return 0;
}

void sim_platform::reseed(const draws& chance) {
  parts_.chance = chance;
  processes_->model.reseed(chance);
}

void sim_platform::crash_processes() {
  processes_->model.crash_all(parts_.clock());
  processes_->settle();
}

void sim_platform::hang_processes(std::chrono::nanoseconds length) {
  processes_->model.hang_all(length, parts_.clock());
  processes_->settle();
}

void sim_platform::refuse_processes(std::chrono::nanoseconds length) {
  processes_->model.refuse_all(length, parts_.clock());
  processes_->settle();
}

void sim_platform::slow_processes(double factor) {
  processes_->model.set_slowdown(factor, parts_.clock());
  processes_->settle();
}

void sim_platform::take_cores(double cores) {
  processes_->model.set_extra_cores(cores, parts_.clock());
  processes_->settle();
}

void sim_platform::lose_launcher() {
  processes_->model.lose_launcher(parts_.clock());
  processes_->settle();
}

} // namespace astra::sim
