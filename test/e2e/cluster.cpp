#include "test/e2e/cluster.hpp"

#include "config/endpoint.hpp"
#include "runtime/http/fetch.hpp"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <mutex>
#include <stdexcept>

extern char** environ;

namespace astra::test {
namespace fs = std::filesystem;
namespace {

using steady = std::chrono::steady_clock;

pid_t spawn(const std::vector<std::string>& arguments, const std::string& in, const std::string& out,
            const std::string& err) {
  std::vector<std::string> copy = arguments;
  copy.insert(copy.begin(), ASTRA_PROGRAM);
  std::vector<char*> argv;
  for (auto& argument : copy)
    argv.push_back(argument.data());
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, in.c_str(), O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, 1, out.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644);
  if (err == out)
    posix_spawn_file_actions_adddup2(&actions, 1, 2);
  else
    posix_spawn_file_actions_addopen(&actions, 2, err.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644);
  pid_t pid = -1;
  auto error = ::posix_spawn(&pid, ASTRA_PROGRAM, &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0)
    throw std::runtime_error("cannot start " ASTRA_PROGRAM);
  return pid;
}

std::string slurp(const fs::path& file) {
  std::ifstream in{file, std::ios::binary};
  return {std::istreambuf_iterator<char>{in}, {}};
}

} // namespace

temporary_directory::temporary_directory() {
  std::string pattern = (fs::temp_directory_path() / "astra-test-XXXXXX").string();
  if (!::mkdtemp(pattern.data()))
    throw std::runtime_error("mkdtemp failed");
  path_ = pattern;
}

temporary_directory::~temporary_directory() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

finished run_astra(const std::vector<std::string>& arguments, const std::string& input) {
  temporary_directory directory;
  auto in = directory.path() / "in";
  auto out = directory.path() / "out";
  auto err = directory.path() / "err";
  std::ofstream{in, std::ios::binary} << input;
  auto pid = spawn(arguments, in, out, err);
  auto code = wait_for_end(pid, 60s);
  if (!code) {
    ::kill(pid, SIGKILL);
    ::waitpid(pid, nullptr, 0);
    code = -1;
  }
  return {*code, slurp(out), slurp(err)};
}

pid_t start_astra(const std::vector<std::string>& arguments, const fs::path& log) {
  return spawn(arguments, "/dev/null", log, log);
}

std::optional<int> wait_for_end(pid_t pid, std::chrono::milliseconds patience) {
  std::optional<int> result;
  eventually(patience, [&] {
    int status = 0;
    if (::waitpid(pid, &status, WNOHANG) != pid)
      return false;
    result = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
    return true;
  });
  return result;
}

bool eventually(std::chrono::milliseconds patience, const std::function<bool()>& condition) {
  auto deadline = steady::now() + patience;
  for (;;) {
    if (condition())
      return true;
    if (steady::now() >= deadline)
      return false;
    ::poll(nullptr, 0, 20);
  }
}

bool alive(pid_t pid) {
  return ::kill(pid, 0) == 0 || errno != ESRCH;
}

std::vector<pid_t> processes_with(const std::string& text) {
  std::vector<pid_t> result;
  for (auto& entry : fs::directory_iterator{"/proc"}) {
    auto pid = std::atoi(entry.path().filename().c_str());
    if (pid > 0 && pid != ::getpid() && slurp(entry.path() / "cmdline").find(text) != std::string::npos)
      result.push_back(pid);
  }
  return result;
}

cluster::cluster(std::vector<std::string> arguments) : directory_(home_.path() / "cluster") {
  arguments.insert(arguments.begin(), {"dev", "--dir", directory_.string(), "--listen", "127.0.0.1:0"});
  auto log = home_.path() / "dev.log";
  dev_ = start_astra(arguments, log);
  auto up = eventually(60s, [&] { return fs::exists(directory_ / "cluster.json") || wait_for_end(dev_, 0ms); });
  if (!up || !fs::exists(directory_ / "cluster.json")) {
    auto text = slurp(log);
    end();
    throw std::runtime_error("the cluster did not come up:\n" + text);
  }
  auto list = nlohmann::json::parse(slurp(directory_ / "cluster.json"));
  gateway_ = list["gateway"];
  for (auto& process : list["processes"])
    pids_[process["name"]] = process["pid"];
}

cluster::~cluster() {
  end();
}

std::vector<std::string> cluster::names() const {
  std::vector<std::string> result;
  for (auto& entry : pids_)
    result.push_back(entry.first);
  return result;
}

std::string cluster::log_of(const std::string& name) const {
  return slurp(directory_ / (name + ".log"));
}

void cluster::start_again(const std::string& name) {
  auto pid = start_astra({"run", "-c", (directory_ / (name + ".toml")).string()}, directory_ / (name + ".log"));
  pids_[name] = pid;
  restarted_[name] = pid;
}

void cluster::signal(const std::string& name, int signal) const {
  ::kill(pid(name), signal);
}

finished cluster::cli(std::vector<std::string> arguments, const std::string& input) const {
  arguments.insert(arguments.begin(), {"--gateway", gateway_});
  return run_astra(arguments, input);
}

http_answer cluster::call(const std::string& method, const std::string& target, const std::string& body,
                          std::chrono::milliseconds timeout, const std::string& content_type) const {
  auto where = parse_endpoint(gateway_);
  http_call call;
  call.host = where->host;
  call.port = where->port;
  call.method = method;
  call.target = target;
  call.body = std::make_shared<const std::string>(body);
  call.content_type = content_type;
  call.timeout = timeout;
  call.response_limit_bytes = 64 << 20;
  auto answer = fetch(call);
  if (!answer)
    return {0, to_string(answer.error()), ""};
  return std::move(*answer);
}

nlohmann::json cluster::get(const std::string& target) const {
  return nlohmann::json::parse(call("GET", target).body, nullptr, false);
}

nlohmann::json cluster::node(const std::string& name) const {
  auto answer = call("GET", "/v1/nodes/" + name);
  return answer.status == 200 ? nlohmann::json::parse(answer.body) : nlohmann::json{};
}

void cluster::apply(const std::string& toml) {
  auto file = home_.path() / "app.toml";
  std::ofstream{file} << toml;
  auto applied = cli({"app", "apply", file.string(), "--wait", "30s"});
  INFO(applied.out, applied.err);
  REQUIRE(applied.code == 0);
}

bool cluster::ready(const std::string& app, unsigned replicas) const {
  auto answer = get("/v1/apps/" + app);
  return answer.is_object() && answer.value("ready", 0U) == replicas;
}

int cluster::end() {
  if (dev_ < 0)
    return 0;
  ::kill(dev_, SIGTERM);
  auto code = wait_for_end(dev_, 60s);
  if (!code) {
    ::kill(dev_, SIGKILL);
    ::waitpid(dev_, nullptr, 0);
  }
  dev_ = -1;
  for (auto& [name, pid] : restarted_) {
    if (wait_for_end(pid, 0ms))
      continue;
    ::kill(pid, SIGTERM);
    if (!wait_for_end(pid, 20s)) {
      ::kill(pid, SIGKILL);
      ::waitpid(pid, nullptr, 0);
    }
  }
  restarted_.clear();
  return code.value_or(-SIGKILL);
}

struct load::shared {
  const cluster& target;
  std::string app;
  std::string body;
  std::atomic<bool> stop = false;
  mutable std::mutex mutex;
  std::vector<answer> answers;
};

load::load(const cluster& target, std::string app, std::string body, unsigned clients)
  : shared_(new shared{target, std::move(app), std::move(body), false, {}, {}}) {
  for (unsigned i = 0; i < clients; ++i)
    threads_.emplace_back([state = shared_] {
      while (!state->stop) {
        answer one;
        one.began = steady::now();
        auto reply = state->target.call("POST", "/v1/apps/" + state->app + "/invoke", state->body);
        one.end = steady::now();
        one.status = reply.status;
        one.body = reply.body;
        for (auto& [name, value] : reply.headers) {
          if (name == "Astra-Node")
            one.node = value;
          if (name == "Astra-Starts")
            one.starts = std::atoi(value.c_str());
        }
        std::lock_guard guard{state->mutex};
        state->answers.push_back(std::move(one));
      }
    });
}

load::~load() {
  stop();
}

std::size_t load::count() const {
  std::lock_guard guard{shared_->mutex};
  return shared_->answers.size();
}

std::vector<load::answer> load::stop() {
  shared_->stop = true;
  for (auto& thread : threads_)
    thread.join();
  threads_.clear();
  return shared_->answers;
}

} // namespace astra::test
