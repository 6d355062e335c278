#include "config/naming.hpp"
#include "runtime/cli/commands/commands.hpp"
#include "runtime/cli/table.hpp"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <system_error>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace astra {

const command_text app_new_text = {
    "Write what an app with an actor of your own begins with: its source, a test, a build file, an app file",
    "Overwrites nothing.  The README that it writes says what to do next; docs/actors.md explains it.",
    "astra app new tally\nastra app new tally ./src/tally",
};

namespace {

/// @NAME@ is the app's name, @CLASS@ the same as C++ has it.
constexpr std::string_view cmake_lists = R"(cmake_minimum_required(VERSION 3.20)
project(@CLASS@ LANGUAGES CXX)
# An Astra that is not installed in a usual place: cmake -DCMAKE_PREFIX_PATH=/where/it/is
find_package(Astra REQUIRED)

# The library that workers load: lib@CLASS@_actor.so
astra_add_actor_library(@CLASS@_actor @NAME@.cpp)

# The same source with a test, which needs no cluster.
enable_testing()
add_executable(@CLASS@_test @NAME@.cpp @NAME@_test.cpp)
target_link_libraries(@CLASS@_test PRIVATE Astra::actor)
add_test(NAME @NAME@ COMMAND @CLASS@_test)
)";

constexpr std::string_view source = R"(#include <astra/actor.hpp>

/// Adds up what it is sent.
class @CLASS@_actor : public astra::actor {
public:
  explicit @CLASS@_actor(astra::setup& setup) {
    setup.argument("init", sum_, "what it begins with");
    setup.on("add", "Adds and tells the sum.", [this](std::int64_t amount) { return add(amount); },
             astra::field("amount", "how much", 1));
    setup.on("get", "Tells the sum.", [this] { return sum_; });
    setup.state("sum", sum_);
  }

private:
  std::int64_t add(std::int64_t amount) {
    // Who asks may send any amount.
    constexpr std::int64_t most = 1'000'000'000'000;
    if (amount < -most || amount > most || sum_ + amount < -most || sum_ + amount > most)
      throw astra::refused{"amount and sum are at most 1000000000000"};
    return sum_ += amount;
  }

  std::int64_t sum_ = 0;
};

ASTRA_ACTOR("@NAME@", @CLASS@_actor, "Adds up what it is sent.");
)";

constexpr std::string_view test_source = R"(#include <astra/actor_test.hpp>

int main() {
  astra::test_actor actor{"@NAME@", {{"init", 40}}};
  ASTRA_EXPECT(actor.ask("add", {{"amount", 2}}) == 42);
  ASTRA_EXPECT(actor.ask("add") == 43);
  ASTRA_EXPECT(actor.ask("get") == 43);
  ASTRA_EXPECT(actor.refusal("add", {{"amout", 2}}) == "add has no field 'amout'; did you mean 'amount'?");
  ASTRA_EXPECT(actor.state()["sum"] == 43);
  return astra::test_result();
}
)";

constexpr std::string_view app_file = R"(name = "@NAME@"
kind = "actor"
idempotent = false # a message that was lost on its way is not sent a second time

[actor]
type = "@NAME@"
args = { init = 0 }
# On this machine.  For nodes elsewhere publish the library,
#   astra model publish @NAME@-actor build/lib@CLASS@_actor.so
# and write what it was published as: library = "@NAME@-actor@1"
library = "build/lib@CLASS@_actor.so"

[resources]
cpu = 0.1
memory = "128MiB"
)";

constexpr std::string_view readme = R"(# @NAME@

An actor for Astra. Build it and test it without a cluster:

    cmake -B build
    cmake --build build
    ctest --test-dir build --output-on-failure

See what it takes, and run it on three nodes of this machine:

    astra worker --library build/lib@CLASS@_actor.so
    astra dev --nodes 3

In the shell that this ends in, or in `astra shell --rw 'trying @NAME@'`:

    spawn @NAME@.toml
    await @@NAME@ ready 20s
    ask @@NAME@ add amount=2
    help @@NAME@
    info @@NAME@

For nodes of other machines publish the library and name it in @NAME@.toml:

    astra model publish @NAME@-actor build/lib@CLASS@_actor.so
    library = "@NAME@-actor@1"
)";

std::string filled(std::string_view text, const std::string& name) {
  auto class_name = name;
  std::replace(class_name.begin(), class_name.end(), '-', '_');
  // A name of C++ does not begin with a digit.
  if (class_name.front() >= '0' && class_name.front() <= '9')
    class_name.insert(0, "app_");
  std::string result{text};
  for (auto& [from, to] : {std::pair<std::string_view, const std::string&>{"@NAME@", name}, {"@CLASS@", class_name}})
    for (auto at = result.find(from); at != std::string::npos; at = result.find(from, at + to.size()))
      result.replace(at, from.size(), to);
  return result;
}

} // namespace

int write_new_app(command_context& context, const app_new_options& options) {
  namespace fs = std::filesystem;
  auto& name = options.name;
  if (auto problem = app_name_problem(name); !problem.empty())
    return context.fail(exit_usage, problem);
  // What the app file and the README say the library is published as.
  content_reference published;
  if (!parse_content_reference(name + "-actor@1", published).empty())
    return context.fail(exit_usage, fmt::format("'{}' is too long: its library is to be published as {}-actor, and no "
                                                "content has such a name; take a shorter one",
                                                name, name));
  fs::path directory = options.directory.empty() ? name : options.directory;
  std::pair<std::string, std::string_view> files[] = {{"CMakeLists.txt", cmake_lists},
                                                      {name + ".cpp", source},
                                                      {name + "_test.cpp", test_source},
                                                      {name + ".toml", app_file},
                                                      {"README.md", readme}};
  for (auto& [file, text] : files)
    if (fs::symlink_status(directory / file).type() != fs::file_type::not_found)
      return context.fail(exit_conflict, fmt::format("{} is there already; nothing was written, take another directory",
                                                     (directory / file).string()));
  std::error_code error;
  fs::create_directories(directory, error);
  if (error)
    return context.fail(exit_failed, fmt::format("{}: {}", directory.string(), error.message()));
  json written = json::array();
  for (auto& [file, text] : files) {
    auto path = directory / file;
    if (std::ofstream out{path, std::ios::binary}; !(out << filled(text, name)) || !out.flush())
      return context.fail(exit_failed, fmt::format("{} cannot be written", path.string()));
    written.push_back(path.string());
  }
  json answer = {{"app", name}, {"files", std::move(written)}};
  return context.print(answer, [&](const json& what, bool) {
    std::string out;
    for (auto& one : list_in(what, "files"))
      out += printable(one.get<std::string>()) + '\n';
    return out
           + fmt::format("\nnext:\n  cd {}\n  cmake -B build && cmake --build build && ctest --test-dir build\n",
                         printable(directory.string()));
  });
}

} // namespace astra
