#include "runtime/process/launcher_client.hpp"
#include "runtime/process/proc_files.hpp"
#include "runtime/process/process_group.hpp"
#include "runtime/process/unique_fd.hpp"
#include "test/runtime/process/fake_tree.hpp"

#include <doctest/doctest.h>

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <csignal>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

// Real processes.  Nothing here depends on how fast the machine is: the patience is long, and what is bounded is
// bounded by a factor.

using namespace astra;
using namespace std::chrono_literals;

namespace {

constexpr auto patience = 60s;

const std::string host_program = ASTRA_BINARY_DIR "/test/launcher_host";

std::string groups_of(pid_t launcher) {
  return "-" + std::to_string(launcher) + "-";
}

bool eventually(const std::function<bool()>& condition, std::chrono::milliseconds limit = patience) {
  auto end = std::chrono::steady_clock::now() + limit;
  while (!condition()) {
    if (std::chrono::steady_clock::now() >= end)
      return false;
    std::this_thread::sleep_for(2ms);
  }
  return true;
}

/// Running processes that have this word in their command line.
std::vector<pid_t> running_with(const std::string& word) {
  std::vector<pid_t> result;
  for (auto& process : scan_processes("/proc")) {
    auto text = read_file("/proc/" + std::to_string(process.pid) + "/cmdline").value_or("");
    if (!process.ended() && process.pid != ::getpid() && text.find(word) != std::string::npos)
      result.push_back(process.pid);
  }
  return result;
}

/// A number of seconds that no other process sleeps.
std::string unique_seconds() {
  static int count = 0;
  return std::to_string(100'000 + ::getpid() % 50'000) + "." + std::to_string(++count) + "7531";
}

std::vector<std::string> leftover_groups(pid_t launcher) {
  std::vector<std::string> result;
  auto dirs = own_cgroup_dirs();
  for (auto& parent : {dirs.unified, dirs.memory})
    if (std::error_code none; !parent.empty())
      for (auto& entry : std::filesystem::directory_iterator{parent, none})
        if (auto name = entry.path().filename().string();
            name.starts_with("astra-") && name.find(groups_of(launcher)) != std::string::npos)
          result.push_back(entry.path());
  return result;
}

class recorder : public launcher_listener {
public:
  void on_started(const process_started& event) override {
    std::lock_guard guard{mutex_};
    started_[event.key] = event.pid;
    changed_.notify_all();
  }
  void on_exited(process_exited event) override {
    std::lock_guard guard{mutex_};
    ++ends_;
    auto key = event.key;
    exited_[key] = std::move(event);
    changed_.notify_all();
  }
  process_exited wait(process_key key) {
    std::unique_lock guard{mutex_};
    if (!changed_.wait_for(guard, patience, [&] { return exited_.count(key) != 0; }))
      FAIL("no process_exited");
    return exited_.at(key);
  }
  pid_t wait_started(process_key key) {
    std::unique_lock guard{mutex_};
    if (!changed_.wait_for(guard, patience, [&] { return started_.count(key) != 0; }))
      FAIL("no process_started");
    return started_.at(key);
  }
  bool was_started(process_key key) {
    std::lock_guard guard{mutex_};
    return started_.count(key) != 0;
  }
  std::size_t ends() {
    std::lock_guard guard{mutex_};
    return ends_;
  }

private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<process_key, pid_t> started_;
  std::map<process_key, process_exited> exited_;
  std::size_t ends_ = 0;
};

launch_process shell(const std::string& script, std::uint64_t key = 1) {
  launch_process what;
  what.key = process_key{key};
  what.command = {"sh", "-c", script};
  what.output_limit_bytes = 1 << 20;
  return what;
}

std::shared_ptr<const std::string> text(std::string value) {
  return std::make_shared<const std::string>(std::move(value));
}

struct harness {
  explicit harness(const std::string& backend = "auto") {
    launcher_options options;
    options.program = host_program;
    options.backend = backend;
    auto started = start_launcher(options);
    REQUIRE(started);
    client = std::move(*started);
    client->listen(events);
    pid = client->pid();
  }

  ~harness() {
    client->close();
    CHECK(eventually([this] { return leftover_groups(pid).empty(); }));
  }

  process_exited run(const launch_process& what) {
    REQUIRE(client->launch(what));
    return events->wait(what.key);
  }

  /// No child of the launcher is left, not even a zombie.  One that was killed as a stray may take a moment to go.
  bool childless() const {
    for (int tries = 0; tries < 100; ++tries) {
      auto all = scan_processes("/proc");
      if (std::none_of(all.begin(), all.end(), [this](auto& process) { return process.parent == pid; }))
        return true;
      std::this_thread::sleep_for(20ms);
    }
    return false;
  }

  std::shared_ptr<recorder> events = std::make_shared<recorder>();
  std::unique_ptr<launcher_client> client;
  pid_t pid = 0;
};

/// Runs the body once per way to end and limit trees.
template <class Body>
void with_each_backend(Body body) {
  for (auto* backend : {"auto", "cgroup1", "polling"}) {
    CAPTURE(backend);
    harness world{backend};
    body(world);
    CHECK(world.childless());
  }
}

} // namespace

TEST_CASE("a process gets its input and answers with output, exit code and the end of stderr") {
  with_each_backend([](harness& world) {
    auto what = shell("tr a-z A-Z; echo trouble >&2; exit 3");
    what.input = text("hello");
    auto end = world.run(what);
    CHECK(end.end == process_end::exited);
    CHECK(end.code == 3);
    CHECK(end.reason == "exited with code 3");
    CHECK(end.output == "HELLO");
    CHECK(end.log_tail == "trouble\n");
    CHECK(end.log_bytes == 8);
    CHECK(end.wall_time > 0s);
    CHECK(world.events->was_started(what.key));
  });
}

TEST_CASE("an output and an input of 8 MB arrive whole") {
  harness world;
  std::string body(8'000'000, 'a');
  for (std::size_t i = 0; i < body.size(); i += 1000)
    body[i] = '\n';
  auto what = shell("cat");
  what.input = text(body);
  what.output_limit_bytes = body.size();
  auto end = world.run(what);
  CHECK(end.end == process_end::exited);
  CHECK((end.output == body));
}

TEST_CASE("without input stdin is empty, and so it is with an empty one") {
  harness world;
  CHECK(world.run(shell("cat; echo done", 1)).output == "done\n");
  auto what = shell("cat; echo done", 2);
  what.input = text("");
  CHECK(world.run(what).output == "done\n");
}

TEST_CASE("a process that hangs is killed at its time limit") {
  with_each_backend([](harness& world) {
    auto what = shell("sleep 1000 & sleep 1000");
    what.time_limit = 200ms;
    auto end = world.run(what);
    CHECK(end.end == process_end::time_limit);
    CHECK(end.reason == "killed after 200 ms (time limit)");
    CHECK(end.wall_time >= 200ms);
  });
}

TEST_CASE("a crash is reported with its signal") {
  with_each_backend([](harness& world) {
    auto end = world.run(shell("kill -SEGV $$"));
    CHECK(end.end == process_end::signalled);
    CHECK(end.code == -SIGSEGV);
  });
}

TEST_CASE("children, daemons and whoever keeps stdout open are gone when the end is reported") {
  with_each_backend([](harness& world) {
    auto seconds = unique_seconds();
    auto end = world.run(shell("sleep " + seconds + " & (setsid sh -c 'setsid sleep " + seconds + " & sleep " + seconds
                               + "' &) ; env -i setsid sleep " + seconds + " & sleep 0.2; echo parent"));
    CHECK(end.end == process_end::exited);
    CHECK(end.output == "parent\n");
    CHECK(running_with(seconds).empty());
  });
}

TEST_CASE("a daemon that clears its environment and leaves its session is gone by the end of its launcher") {
  harness world{"polling"};
  auto seconds = unique_seconds();
  // Nothing connects it with its tree but its ancestors, who are gone before anybody looks.
  world.run(shell("(env -i setsid sleep " + seconds + " &) ; exit 0"));
  world.run(shell("true", 2));
  world.client->close();
  CHECK(eventually([&] { return running_with(seconds).empty(); }));
}

TEST_CASE("a tree that forks all the time is killed whole") {
  with_each_backend([](harness& world) {
    auto seconds = unique_seconds();
    auto what = shell("for i in 1 2 3; do (while :; do sleep " + seconds + " & sleep 0.02; done) & done; wait");
    what.time_limit = 300ms;
    CHECK(world.run(what).end == process_end::time_limit);
    CHECK(running_with(seconds).empty());
  });
}

TEST_CASE("200 MB of stderr cost 4 KiB and are counted") {
  harness world;
  auto end = world.run(shell("head -c 200000000 /dev/zero | tr '\\0' x >&2; echo >&2; echo last line >&2"));
  CHECK(end.end == process_end::exited);
  CHECK(end.log_bytes == 200'000'011);
  CHECK(end.log_tail.size() <= 4096);
  CHECK(end.log_tail.ends_with("last line\n"));
  auto resident = find_number(read_file("/proc/" + std::to_string(world.pid) + "/status").value_or(""), "VmHWM");
  REQUIRE(resident);
  // Far below what passed through, also with a sanitizer's own memory.
  CHECK(*resident * 1024 < 190'000'000);
}

TEST_CASE("output of a long-running command is log") {
  harness world;
  auto what = shell("echo out; echo err >&2; head -c 3000000 /dev/zero");
  what.output_is_log = true;
  what.output_limit_bytes = 0;
  auto end = world.run(what);
  CHECK(end.end == process_end::exited);
  CHECK(end.output.empty());
  CHECK(end.log_bytes == 3'000'008);
}

TEST_CASE("a process that ignores SIGTERM is killed after the grace") {
  with_each_backend([](harness& world) {
    auto what = shell("trap '' TERM; while :; do sleep 0.05; done");
    REQUIRE(world.client->launch(what));
    world.events->wait_started(what.key);
    std::this_thread::sleep_for(100ms);
    world.client->kill({what.key, 300ms, "released"});
    auto end = world.events->wait(what.key);
    CHECK(end.end == process_end::killed);
    CHECK(end.code == -SIGKILL);
    CHECK(end.reason == "killed: released");
    CHECK(end.wall_time >= 300ms);
  });
}

TEST_CASE("a process that obeys SIGTERM ends in its own way, within the grace") {
  with_each_backend([](harness& world) {
    auto what = shell("trap 'echo bye; exit 7' TERM; echo up >&2; while :; do sleep 0.05; done");
    REQUIRE(world.client->launch(what));
    world.events->wait_started(what.key);
    // Until the trap is set.
    std::this_thread::sleep_for(500ms);
    world.client->kill({what.key, 50s, "released"});
    auto end = world.events->wait(what.key);
    CHECK(end.end == process_end::killed);
    CHECK(end.code == 7);
    CHECK(end.output == "bye\n");
  });
}

TEST_CASE("a kill right behind the launch ends it, and one of an unknown key does nothing") {
  with_each_backend([](harness& world) {
    auto what = shell("sleep 1000");
    world.client->kill({process_key{99}, 0s, "nobody"});
    REQUIRE(world.client->launch(what));
    world.client->kill({what.key, 0s, "changed my mind"});
    auto end = world.events->wait(what.key);
    CHECK(end.end == process_end::killed);
    CHECK(end.reason == "killed: changed my mind");
  });
}

TEST_CASE("a tree that exceeds its memory is killed, also when its parent does not care") {
  with_each_backend([](harness& world) {
    auto what = shell("head -c 400000000 /dev/zero | tail | cat >/dev/null; sleep 1000");
    what.memory_limit_bytes = 64 << 20;
    auto end = world.run(what);
    CHECK(end.end == process_end::memory_limit);
    CHECK(end.reason.find("memory limit 64 MiB") != std::string::npos);
    CHECK(end.memory_peak_bytes > 32 << 20);
  });
}

TEST_CASE("a tree within its memory limit is left alone") {
  with_each_backend([](harness& world) {
    auto what = shell("head -c 20000000 /dev/zero | tail | wc -c");
    what.memory_limit_bytes = 256 << 20;
    auto end = world.run(what);
    CHECK(end.end == process_end::exited);
    CHECK(end.output == "20000000\n");
  });
}

TEST_CASE("a process that exceeds its output is killed, and what fits is kept") {
  with_each_backend([](harness& world) {
    auto what = shell("yes; sleep 1000");
    what.output_limit_bytes = 1001;
    auto end = world.run(what);
    CHECK(end.end == process_end::output_limit);
    CHECK(end.output.size() == 1001);
  });
}

TEST_CASE("output up to the limit is fine, and one byte more is not, even when the process has ended") {
  harness world;
  auto what = shell("printf 12345", 1);
  what.output_limit_bytes = 5;
  CHECK(world.run(what).end == process_end::exited);
  what = shell("printf 123456", 2);
  what.output_limit_bytes = 5;
  auto end = world.run(what);
  CHECK(end.end == process_end::output_limit);
  CHECK(end.output == "12345");
}

TEST_CASE("64 MB of input that nobody reads block nothing") {
  harness world;
  auto what = shell("sleep 1000", 1);
  what.input = text(std::string(64'000'000, 'x'));
  what.time_limit = 50s;
  REQUIRE(world.client->launch(what));
  CHECK(world.run(shell("echo hi", 2)).output == "hi\n");
  world.client->kill({what.key, 0s, "enough"});
  CHECK(world.events->wait(what.key).end == process_end::killed);
}

TEST_CASE("a process that ends or closes stdin without reading it is fine") {
  harness world;
  auto what = shell("exit 0", 1);
  what.input = text(std::string(8'000'000, 'x'));
  CHECK(world.run(what).code == 0);
  what = shell("head -c 3; exec <&-; sleep 0.1; echo done", 2);
  what.input = text(std::string(8'000'000, 'x'));
  CHECK(world.run(what).output == "xxxdone\n");
}

TEST_CASE("100 processes at once all end, each with its own output") {
  with_each_backend([](harness& world) {
    for (std::uint64_t key = 1; key <= 100; ++key) {
      auto what = shell("read line; sleep 0.05; echo $line", key);
      what.input = text(std::to_string(key) + "\n");
      REQUIRE(world.client->launch(what));
    }
    for (std::uint64_t key = 1; key <= 100; ++key)
      CHECK(world.events->wait(process_key{key}).output == std::to_string(key) + "\n");
    CHECK(world.events->ends() == 100);
  });
}

TEST_CASE("what cannot be started says why") {
  with_each_backend([](harness& world) {
    test::fake_tree files;
    files.write("/plain", "text");
    files.write("/nonsense", "text");
    files.write("/orphan", "#!/no/such/interpreter\n");
    for (auto* name : {"/nonsense", "/orphan"})
      std::filesystem::permissions(files.root() + name, std::filesystem::perms{0755});
    auto reason = [&](std::uint64_t key, const std::string& command) {
      auto what = shell("", key);
      what.command = {command};
      auto end = world.run(what);
      CHECK(end.end == process_end::spawn_failed);
      CHECK_FALSE(world.events->was_started(what.key));
      return end.reason;
    };
    CHECK(reason(1, "no-such-command").starts_with("no-such-command: command not found in PATH ("));
    CHECK(reason(2, files.root() + "/plain") == files.root() + "/plain: not executable (permission denied)");
    CHECK(reason(3, files.root() + "/nonsense").find("not a program") != std::string::npos);
    CHECK(reason(4, files.root() + "/orphan") == "cannot execute the command: No such file or directory");
    CHECK(reason(5, "/tmp") == "/tmp: Is a directory");
  });
}

TEST_CASE("a key in use is refused, and free again after the end") {
  harness world;
  REQUIRE(world.client->launch(shell("sleep 1000")));
  CHECK(world.client->launch(shell("true")).error() == errc::conflict);
  world.client->kill({process_key{1}, 0s, {}});
  world.events->wait(process_key{1});
  CHECK(world.client->launch(shell("true")));
}

TEST_CASE("a child sees no file but 0, 1 and 2") {
  unique_fd leak{::open("/dev/null", O_RDONLY)};
  with_each_backend([](harness& world) {
    auto what = shell("");
    what.command = {"ls", "/proc/self/fd"};
    what.input = text("x");
    // The fourth is the directory that ls reads.
    CHECK(world.run(what).output == "0\n1\n2\n3\n");
  });
}

TEST_CASE("a child's environment is the small default and what it was given") {
  harness world;
  ::setenv("ASTRA_TEST_SECRET", "1", 1);
  auto what = shell("");
  what.command = {"env"};
  what.environment = {"COLOUR=blue"};
  auto lines = std::istringstream{world.run(what).output};
  ::unsetenv("ASTRA_TEST_SECRET");
  std::vector<std::string> names;
  for (std::string line; std::getline(lines, line);)
    names.push_back(line.substr(0, line.find('=')));
  std::sort(names.begin(), names.end());
  CHECK(names == std::vector<std::string>{"ASTRA_TASK", "COLOUR", "HOME", "LANG", "PATH", "TMPDIR"});
}

TEST_CASE("a child has default signals, an own session and no way to the agent's terminal signals") {
  harness world;
  auto what = shell("grep -E '^Sig(Blk|Ign)' /proc/self/status; ps -o sid= -p $$; echo $$");
  std::istringstream words{world.run(what).output};
  std::string blocked, ignored, skip;
  pid_t session = 0, pid = 0;
  words >> skip >> blocked >> skip >> ignored >> session >> pid;
  CHECK(blocked == "0000000000000000");
  CHECK(ignored == "0000000000000000");
  CHECK(session == pid);
}

TEST_CASE("a launcher that is killed takes everything with it, says so, and is replaced") {
  with_each_backend([](harness& world) {
    auto seconds = unique_seconds();
    for (std::uint64_t key = 1; key <= 3; ++key)
      REQUIRE(world.client->launch(
          shell("(setsid sleep " + seconds + " &) ; sleep " + seconds + " & sleep " + seconds, key)));
    CHECK(eventually([&] { return running_with(seconds).size() == 12; }));
    ::kill(world.pid, SIGKILL);
    for (std::uint64_t key = 1; key <= 3; ++key) {
      auto end = world.events->wait(process_key{key});
      CHECK(end.end == process_end::launcher_lost);
      CHECK_FALSE(end.reason.empty());
    }
    CHECK(running_with(seconds).empty());
    auto refused = world.client->launch(shell("echo too early", 4));
    CHECK((refused || refused.error() == errc::spawn_failed));
    CHECK(eventually([&] { return static_cast<bool>(world.client->launch(shell("echo again", 5))); }));
    CHECK(world.events->wait(process_key{5}).output == "again\n");
    CHECK(leftover_groups(world.pid).empty());
    CHECK(world.client->pid() != world.pid);
    world.pid = world.client->pid();
  });
}

TEST_CASE("closing ends every tree and reports it") {
  with_each_backend([](harness& world) {
    auto seconds = unique_seconds();
    for (std::uint64_t key = 1; key <= 10; ++key)
      REQUIRE(world.client->launch(shell("trap '' TERM; (setsid sleep " + seconds + " &) ; sleep " + seconds, key)));
    CHECK(eventually([&] { return running_with(seconds).size() == 30; }));
    auto begin = std::chrono::steady_clock::now();
    world.client->close();
    auto took = std::chrono::steady_clock::now() - begin;
    // One second, and some for a machine that does other things.
    CHECK(took < 5s);
    CHECK(running_with(seconds).empty());
    for (std::uint64_t key = 1; key <= 10; ++key)
      CHECK(world.events->wait(process_key{key}).end == process_end::killed);
    CHECK_FALSE(world.client->launch(shell("true", 11)));
  });
}

TEST_CASE("an agent that is killed leaves no process and no control group behind") {
  for (std::string backend : {"auto", "cgroup1", "polling"}) {
    CAPTURE(backend);
    auto seconds = unique_seconds();
    int ends[2];
    REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
    unique_fd output{ends[0]};
    unique_fd theirs{ends[1]};
    posix_spawn_file_actions_t files;
    ::posix_spawn_file_actions_init(&files);
    ::posix_spawn_file_actions_adddup2(&files, theirs.get(), 1);
    std::vector<std::string> words{host_program, "agent", backend, seconds};
    std::vector<char*> arguments;
    for (auto& word : words)
      arguments.push_back(word.data());
    arguments.push_back(nullptr);
    pid_t agent = 0;
    REQUIRE(::posix_spawn(&agent, host_program.c_str(), &files, nullptr, arguments.data(), ::environ) == 0);
    ::posix_spawn_file_actions_destroy(&files);
    theirs.reset();
    pid_t launcher = 0;
    char buffer[256] = {};
    REQUIRE(::read(output.get(), buffer, sizeof buffer - 1) > 0);
    REQUIRE(std::sscanf(buffer, "launcher %d", &launcher) == 1);
    // Three of each tree (the shell became one), and the agent itself.
    CHECK(eventually([&] { return running_with(seconds).size() == 10; }));
    ::kill(agent, SIGKILL);
    ::waitpid(agent, nullptr, 0);
    auto begin = std::chrono::steady_clock::now();
    CHECK(eventually([&] { return running_with(seconds).empty(); }));
    CHECK(std::chrono::steady_clock::now() - begin < 5s);
    CHECK(eventually(
        [&] { return !read_process_stat("/proc", launcher) || read_process_stat("/proc", launcher)->ended(); }));
    CHECK(leftover_groups(launcher).empty());
  }
}

TEST_CASE("a launcher cleans up after one that could not") {
  auto dirs = own_cgroup_dirs();
  harness world;
  if (world.client->backend() == "polling")
    return;
  auto mine = leftover_groups(world.pid);
  REQUIRE_FALSE(mine.empty());
  // The same name with the pid of a process that cannot be.
  auto stale = std::filesystem::path{mine.front()}.filename().string();
  stale.replace(stale.find(groups_of(world.pid)), groups_of(world.pid).size(), "-999999999-");
  auto path = std::filesystem::path{mine.front()}.parent_path() / stale;
  REQUIRE(std::filesystem::create_directory(path));
  harness second;
  CHECK_FALSE(std::filesystem::exists(path));
  CHECK(leftover_groups(world.pid).size() == mine.size());
}

TEST_CASE("where nothing is writable the back end is polling, with the reason") {
  cgroup_dirs none;
  auto backend = probe_group_backend("auto", none);
  CHECK(backend.name == "polling");
  CHECK(backend.detail == "trees: polling (cgroup2 not mounted); memory: polling (not mounted)");
  test::fake_tree files;
  files.write("/cg/placeholder", "");
  none.unified = files.root() + "/cg";
  none.memory = files.root() + "/absent";
  backend = probe_group_backend("auto", none);
  CHECK(backend.name == "polling");
  CHECK(backend.detail.find("No such file or directory") != std::string::npos);
  CHECK(backend.groups().empty());
}

TEST_CASE("a launcher that cannot be started is an error") {
  launcher_options options;
  options.program = "/no/such/program";
  auto client = start_launcher(options);
  REQUIRE_FALSE(client);
  CHECK(client.error() == errc::spawn_failed);
  options.program = "/bin/true";
  client = start_launcher(options);
  REQUIRE_FALSE(client);
  CHECK(client.error() == errc::spawn_failed);
}
