#include "runtime/sim/recorder.hpp"

#include "runtime/sim/causality.hpp"
#include "runtime/sim/space_time.hpp"
#include "runtime/version.hpp"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <ostream>
#include <utility>

namespace astra::sim {
namespace {

trace_machine lane_of(const machine_facts& machine) {
  std::string role;
  for (auto one : machine.roles)
    role += (role.empty() ? "" : "+") + to_string(one);
  return {machine.name, std::move(role), machine.zone};
}

trace about(const world& run, std::uint64_t seed) {
  trace result;
  result.scenario = run.what().name;
  result.seed = seed;
  result.build = version_line();
  for (auto& machine : run.machines())
    result.machines.push_back(lane_of(machine));
  return result;
}

} // namespace

recorder::recorder(world& run, std::uint64_t seed)
  : run_(run), inner_(about(run, seed), [&run](std::uint64_t actor) { return run.actor_name(actor); }) {}

void recorder::add(const event& what) {
  // Machines of twins are made when they are first needed.
  for (auto all = run_.machines(); inner_.so_far().machines.size() < all.size();)
    inner_.add_machine(lane_of(all[inner_.so_far().machines.size()]));
  inner_.record(what);
}

trace recorder::finished() {
  auto result = inner_.so_far();
  result.hash = run_.core().trace_hash();
  return result;
}

void recorder::write_text(std::ostream& out) {
  out << to_text(inner_.so_far());
}

std::string recorder::write_file(const std::string& path) {
  return save_trace(finished(), path);
}

std::string recorder::write_html(const std::string& path, const run_result& result) {
  auto whole = finished();
  if (!result.check.empty())
    whole.failures.push_back({result.failed_event, result.at, result.check, result.failure});
  std::ofstream out{path, std::ios::trunc};
  out << space_time_page(whole);
  out.flush();
  return out ? std::string{} : path + ": cannot be written: " + std::strerror(errno);
}

std::string recorder::explain(std::uint64_t number) {
  std::string text = "why, newest first:\n";
  for (auto& line : sim::explain(inner_.so_far(), number))
    text += "  " + line + '\n';
  text += "what led to it:\n";
  for (auto& line : message_sequence(inner_.so_far(), number))
    text += "  " + line + '\n';
  return text;
}

} // namespace astra::sim
