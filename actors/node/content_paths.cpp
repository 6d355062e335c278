#include "actors/node/content_paths.hpp"

#include "actors/node/replace_all.hpp"

#include <cctype>

namespace astra {
namespace {

void replace_in(std::string& text, const content_paths& paths) {
  // Names may have dots: where one is "x.url" that is what {content.x.url} means.
  for (auto& [name, place] : paths)
    replace_all(text, "{content." + name + "}", place.directory);
  for (auto& [name, place] : paths)
    replace_all(text, "{content." + name + ".url}", place.url);
}

template <class Texts>
void replace_in_all(Texts* texts, const content_paths& paths) {
  for (auto& text : *texts)
    replace_in(text, paths);
}

template <class Texts>
void add_variables(Texts* env, const content_paths& paths) {
  for (auto& [name, place] : paths) {
    std::string variable = "ASTRA_CONTENT_";
    for (auto c : name)
      variable += std::isalnum(static_cast<unsigned char>(c)) != 0
                      ? static_cast<char>(std::toupper(static_cast<unsigned char>(c)))
                      : '_';
    env->Add(variable + "=" + place.directory);
    if (!place.url.empty())
      env->Add(variable + "_URL=" + place.url);
  }
}

template <class Process>
void fill(Process* process, const content_paths& paths) {
  replace_in_all(process->mutable_command(), paths);
  replace_in_all(process->mutable_env(), paths);
  add_variables(process->mutable_env(), paths);
}

} // namespace

std::shared_ptr<const pb::AppSpec> with_contents(const pb::AppSpec& spec, const content_paths& paths) {
  auto result = std::make_shared<pb::AppSpec>(spec);
  if (result->has_per_request())
    fill(result->mutable_per_request(), paths);
  if (result->has_server())
    fill(result->mutable_server(), paths);
  if (result->has_actor()) {
    replace_in_all(result->mutable_actor()->mutable_args(), paths);
    replace_in(*result->mutable_actor()->mutable_library(), paths);
  }
  if (result->has_federation()) {
    fill(result->mutable_federation()->mutable_head(), paths);
    fill(result->mutable_federation()->mutable_worker(), paths);
  }
  return result;
}

} // namespace astra
