#include "messages/type_ids.hpp"
#include "runtime/process/launcher.hpp"
#include "runtime/process/launcher_client.hpp"

#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <memory>
#include <string>
#include <string_view>
#include <thread>

// What the tests start: the launcher itself ("__launcher"), and an agent with a launcher for tests that kill the
// agent ("agent BACKEND": launches a process that leaves a daemon, says "ready", and waits).

namespace {

class printing_listener : public astra::launcher_listener {
public:
  void on_started(const astra::process_started& event) override {
    std::printf("started %d\n", event.pid);
    std::fflush(stdout);
  }
  void on_exited(astra::process_exited event) override {
    std::printf("exited %s\n", event.reason.c_str());
    std::fflush(stdout);
  }
};

int run_agent(const std::string& backend, const std::string& duration) {
  astra::launcher_options options;
  options.backend = backend;
  auto client = astra::start_launcher(options);
  if (!client)
    return 1;
  (*client)->listen(std::make_shared<printing_listener>());
  std::printf("launcher %d\n", (*client)->pid());
  std::fflush(stdout);
  for (std::uint64_t key = 1; key <= 3; ++key) {
    astra::launch_process what;
    what.key = astra::process_key{key};
    what.command = {"sh", "-c", "(setsid sleep " + duration + " &) ; sleep " + duration + " & exec sleep " + duration};
    what.output_is_log = true;
    if (!(*client)->launch(what))
      return 1;
  }
  std::this_thread::sleep_for(std::chrono::minutes{5});
  return 0;
}

} // namespace

int main(int argc, char** argv) {
  std::string_view verb = argc > 1 ? argv[1] : "";
  if (verb == "__launcher")
    return astra::launcher_main(astra::launcher_socket);
  if (verb == "agent" && argc > 3)
    return run_agent(argv[2], argv[3]);
  std::fputs("launcher_host __launcher | agent BACKEND SECONDS\n", stderr);
  return 2;
}
