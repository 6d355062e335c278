#include "test/support/sim_fixture.hpp"

#include "messages/http_exchange.hpp"
#include "messages/type_ids.hpp"
#include "runtime/http/client_info.hpp"
#include "runtime/http/collected_stream.hpp"
#include "runtime/sim/engine.hpp"

#include <caf/actor_cast.hpp>
#include <caf/local_actor.hpp>
#include <caf/send.hpp>
#include <doctest/doctest.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <utility>

namespace astra::test {
namespace {

/// A client's request; what it got is shared with the client.
class exchange : public http_exchange {
public:
  exchange(http_request request, std::shared_ptr<std::optional<http_response>> answer)
    : request_(std::move(request)), answer_(std::move(answer)) {}
  ~exchange() override {
    if (!*answer_)
      answer_->emplace().status = 500;
  }

  const http_request& request() const override { return request_; }
  bool answer(http_response response) override {
    if (*answer_)
      return false;
    *answer_ = std::move(response);
    return true;
  }
  http_stream_ptr begin(http_response head) override {
    return std::make_shared<collected_stream>(std::move(head), [answer = answer_](http_response whole) {
      if (!*answer)
        *answer = std::move(whole);
    });
  }
  /// This client waits.
  void on_gone(std::function<void()>) override {}

private:
  http_request request_;
  std::shared_ptr<std::optional<http_response>> answer_;
};

} // namespace

std::shared_ptr<const scenario> read_scenario(const std::string& text) {
  auto config = parse_scenario(text, std::string{ASTRA_SOURCE_DIR} + "/test.toml");
  std::string problems;
  for (auto& problem : config.problems)
    problems += to_string(problem) + '\n';
  REQUIRE_MESSAGE(config.value, problems);
  return std::move(config.value);
}

std::string plain_cluster(int resources, int nodes, int replicas, const std::string& more) {
  return fmt::format(R"(
name = "test"
about = "A cluster of a test."
seeds = 1
horizon = "10m"

[[machines]]
name = "resource"
roles = ["resource"]
count = {}
zones = ["a", "b", "c"]

[[machines]]
name = "node"
roles = ["node"]
count = {}
zones = ["a", "b", "c"]

[[machines]]
name = "scheduler"
roles = ["scheduler"]
zones = ["a"]

[[machines]]
name = "gateway"
roles = ["gateway"]
zones = ["a"]

[[apps]]
file = "config/examples/apps/echo.toml"
replicas = {}
{})",
                     resources, nodes, replicas, more);
}

class sim_world::impl {
public:
  impl(const std::string& toml, std::uint64_t seed) : seed_(seed), world_(read_scenario(toml), seed, options()) {}

  sim::world_options options() {
    sim::world_options result;
    result.faults.emplace();
    result.watch = [this](const sim::event& seen) { note(seen); };
    return result;
  }

  void note(const sim::event& seen) {
    if (seen.kind == sim::event_kind::log)
      ++logged_[std::string{seen.text.substr(0, seen.text.find(' '))}];
    else if (seen.kind == sim::event_kind::request)
      ++load_.sent;
    else if (seen.kind == sim::event_kind::answer) {
      ++load_.answered;
      load_.failed += seen.text.find(" status=200 body_ok=1 ") == std::string_view::npos ? 1 : 0;
    }
  }

  void advance(std::chrono::nanoseconds length) {
    world_.run_until(world_.now() + length);
    auto result = world_.result();
    REQUIRE_MESSAGE(result.check.empty(),
                    fmt::format("seed {}  t={:.3f}s  {}: {}", seed_, std::chrono::duration<double>(result.at).count(),
                                result.check, result.failure));
  }

  /// On a machine that is up; null when there is none.
  caf::strong_actor_ptr gateway(sim::machine_id& where) {
    auto machines = world_.machines();
    for (std::size_t i = 1; i < machines.size(); ++i) {
      auto& roles = machines[i].roles;
      if (!machines[i].up || std::find(roles.begin(), roles.end(), process_role::gateway) == roles.end())
        continue;
      where = sim::machine_id{static_cast<std::uint32_t>(i)};
      for (auto& actor : world_.core().actors(where))
        if (std::string_view{static_cast<caf::local_actor*>(caf::actor_cast<caf::abstract_actor*>(actor))->name()}
            == "astra.gateway")
          return actor;
    }
    return nullptr;
  }

  std::uint64_t seed_;
  std::map<std::string, std::size_t, std::less<>> logged_;
  load_outcomes load_;
  sim::world world_;
};

sim_world::sim_world(const std::string& toml, std::uint64_t seed) : impl_(std::make_unique<impl>(toml, seed)) {}

sim_world::~sim_world() = default;

void sim_world::advance(std::chrono::nanoseconds length) {
  impl_->advance(length);
}

void sim_world::fault(std::string kind, std::vector<std::string> targets, std::chrono::nanoseconds length,
                      std::vector<std::string> others) {
  scenario_fault what;
  what.kind = std::move(kind);
  what.targets = std::move(targets);
  what.duration = length;
  what.others = std::move(others);
  fault(std::move(what));
}

void sim_world::fault(scenario_fault what) {
  what.at = impl_->world_.now();
  impl_->world_.inject(std::move(what));
}

std::chrono::nanoseconds sim_world::now() const {
  return impl_->world_.now();
}

sim_world::answer sim_world::call(const std::string& method, const std::string& target, std::string body,
                                  std::chrono::nanoseconds patience) {
  sim::machine_id where{};
  auto gateway = impl_->gateway(where);
  if (!gateway)
    return {};
  http_request request;
  request.method = method;
  request.target = target;
  request.headers = {{"content-type", "application/json"}};
  put_client_info(request.headers, {http_door::plain, "test", {}, {}});
  request.body = std::make_shared<const std::string>(std::move(body));
  auto got = std::make_shared<std::optional<http_response>>();
  {
    auto& core = impl_->world_.core();
    http_exchange_ptr open = std::make_shared<exchange>(std::move(request), got);
    core.at(where, core.now(), [gateway, open] { caf::anon_send(caf::actor_cast<caf::actor>(gateway), open); });
  }
  gateway = nullptr;
  for (auto began = now(); !*got && now() - began < patience;)
    advance(1ms);
  if (!*got)
    return {};
  answer result;
  result.status = (*got)->status;
  result.body = (*got)->body;
  for (auto& [name, value] : (*got)->headers)
    if (name == "Astra-Node")
      result.node = value;
  return result;
}

sim_world::answer sim_world::request(const std::string& app, std::string body) {
  return call("POST", "/v1/apps/" + app + "/invoke", std::move(body));
}

sim_world::app_status sim_world::app(const std::string& name) {
  auto got = call("GET", "/v1/apps/" + name);
  app_status result;
  result.detail = nlohmann::json::parse(got.body, nullptr, false);
  REQUIRE_MESSAGE(got.status == 200, got.body);
  auto& app = result.detail.contains("app") ? result.detail["app"] : result.detail;
  result.replicas = app.value("replicas", 0U);
  result.ready = app.value("ready", 0U);
  return result;
}

sim_world::node_status sim_world::node(const std::string& name) {
  auto got = call("GET", "/v1/nodes/" + name);
  REQUIRE_MESSAGE(got.status == 200, got.body);
  auto parsed = nlohmann::json::parse(got.body);
  auto& node = parsed.contains("node") ? parsed["node"] : parsed;
  return {node.value("state", ""), node.value("home", ""), node.value("incarnation", std::uint64_t{0}),
          node.value("reason", "")};
}

std::size_t sim_world::logged(std::string_view event) const {
  auto found = impl_->logged_.find(event);
  return found == impl_->logged_.end() ? 0 : found->second;
}

sim_world::load_outcomes sim_world::load() const {
  return impl_->load_;
}

sim::world& sim_world::world() {
  return impl_->world_;
}

} // namespace astra::test
