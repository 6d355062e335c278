#include "runtime/worker/actor_library.hpp"

#include "config/spelling.hpp"
#include "messages/errc.hpp"
#include "messages/type_ids.hpp"

#include <dlfcn.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <set>
#include <system_error>

namespace astra {
namespace {

namespace fs = std::filesystem;

constexpr const char* entry_name = "astra_actor_library";
constexpr const char* how_to_build = "build it with astra_add_actor_library of find_package(Astra)";

caf::error problem(std::string text) {
  return caf::make_error(errc::invalid_argument, std::move(text));
}

/// The library in a directory, as a content is one.
caf::expected<fs::path> only_library_in(const fs::path& directory) {
  std::vector<fs::path> found;
  std::error_code error;
  for (fs::directory_iterator i{directory, error}, end; !error && i != end; i.increment(error))
    if (i->path().extension() == ".so")
      found.push_back(i->path());
  if (error)
    return problem(fmt::format("{}: {}", directory.string(), error.message()));
  std::sort(found.begin(), found.end());
  if (found.empty())
    return problem(fmt::format("{} holds no file that ends in .so", directory.string()));
  if (found.size() > 1)
    return problem(
        fmt::format("{} holds {} files that end in .so, such as {} and {}; name the one that is meant, as in "
                    "library = \"{{content.NAME}}/{}\"",
                    directory.string(), found.size(), found[0].filename().string(), found[1].filename().string(),
                    found[0].filename().string()));
  return found.front();
}

} // namespace

std::string text_of(astra_bytes bytes) {
  return {bytes.data, static_cast<std::size_t>(bytes.size)};
}

caf::expected<actor_library> actor_library::load(const std::string& path) {
  std::error_code error;
  fs::path file = path;
  if (fs::is_directory(file, error)) {
    auto only = only_library_in(file);
    if (!only)
      return only.error();
    file = std::move(*only);
  } else if (!fs::exists(file, error)) {
    return problem(fmt::format("{}: no such file on this machine", path));
  }
  // Without a '/' the loader would look for it elsewhere.
  file = fs::absolute(file, error);
  ::dlerror();
  auto* handle = ::dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    auto* why = ::dlerror();
    std::string text = why == nullptr ? "unknown reason" : why;
    return problem(
        fmt::format("it cannot be loaded: {}{}", text.starts_with(file.string()) ? "" : file.string() + ": ", text));
  }
  auto* symbol = ::dlsym(handle, entry_name);
  if (symbol == nullptr)
    return problem(
        fmt::format("{} is a library, but none of actors: it has no {}; {}", file.string(), entry_name, how_to_build));
  auto* list = reinterpret_cast<astra_actor_entry>(symbol)();
  if (list == nullptr || list->abi != astra_actor_abi)
    return problem(
        fmt::format("{} was built for version {} of the actor interface, and this Astra ({}) has version {}; "
                    "{} of this Astra",
                    file.string(), list == nullptr ? 0 : list->abi, ASTRA_VERSION, astra_actor_abi, how_to_build));
  if (list->count == 0)
    return problem(fmt::format("{} has no actors; name them with ASTRA_ACTOR", file.string()));
  actor_library result{file.string(), list};
  std::set<std::string> names;
  for (auto* type : result.types())
    if (!names.insert(text_of(type->name)).second)
      return problem(fmt::format("{} has two actors called '{}'; ASTRA_ACTOR gives each a name of its own",
                                 file.string(), text_of(type->name)));
  return result;
}

std::vector<const astra_actor_type*> actor_library::types() const {
  std::vector<const astra_actor_type*> result;
  for (std::uint64_t i = 0; i < list_->count; ++i)
    result.push_back(list_->types + i);
  return result;
}

caf::expected<const astra_actor_type*> actor_library::find(std::string_view name) const {
  std::vector<std::string> names;
  for (auto* type : types()) {
    names.push_back(text_of(type->name));
    if (names.back() == name)
      return type;
  }
  auto meant = closest(name, names);
  return caf::make_error(errc::unknown_name, fmt::format("{} has no actor '{}'{}", file_, name,
                                                         meant ? fmt::format("; did you mean '{}'?", *meant)
                                                               : fmt::format("; it has {}", fmt::join(names, ", "))));
}

} // namespace astra
