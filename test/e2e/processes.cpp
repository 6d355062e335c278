#include "test/e2e/processes.hpp"

#include <doctest/doctest.h>
#include <signal.h>

#include <fstream>

namespace astra::test {

processes::~processes() {
  for (auto& [name, pid] : pids_) {
    ::kill(pid, SIGKILL);
    wait_for_end(pid, 10s);
  }
}

nlohmann::json processes::start(const std::string& name, const std::string& text) {
  auto file = home_.path() / (name + ".toml");
  auto run_file = home_.path() / name / "run.json";
  // That of its former life.
  std::filesystem::remove(run_file);
  std::ofstream{file} << "name = \"" << name << "\"\nstate_dir = \"" << (home_.path() / name).string() << "\"\n"
                      << text;
  pids_[name] = start_astra({"run", "-c", file.string()}, home_.path() / (name + ".log"));
  nlohmann::json run;
  CHECK_MESSAGE(eventually(20s,
                           [&] {
                             std::ifstream in{run_file};
                             run = nlohmann::json::parse(in, nullptr, false);
                             return !run.is_discarded() && run.contains("address");
                           }),
                name);
  return run;
}

void processes::signal(const std::string& name, int signal) {
  ::kill(pids_.at(name), signal);
}

int processes::end(const std::string& name) {
  signal(name, SIGTERM);
  auto code = wait_for_end(pids_.at(name), 20s).value_or(-1);
  pids_.erase(name);
  return code;
}

} // namespace astra::test
