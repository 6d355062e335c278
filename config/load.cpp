#include "config/load.hpp"

#include "config/app_file.hpp"
#include "config/endpoint.hpp"
#include "config/process_file.hpp"
#include "config/schema.pb.h"
#include "config/schema_reader.hpp"
#include "config/text_file.hpp"
#include "config/toml_tree.hpp"

#include "messages/wire/app.pb.h"

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <map>
#include <system_error>
#include <tuple>
#include <utility>

#include <fmt/format.h>
#include <glob.h>

namespace astra {

namespace {

struct glob_result {
  std::vector<std::string> paths;
  bool is_pattern = false;
};

/// Paths that match, sorted by their bytes.  A path without *, ? or [ stands for itself.
glob_result expand_glob(const std::string& pattern) {
  glob_result result;
  result.is_pattern = pattern.find_first_of("*?[") != std::string::npos;
  if (!result.is_pattern) {
    result.paths.push_back(pattern);
    return result;
  }
  glob_t found{};
  if (glob(pattern.c_str(), GLOB_NOSORT, nullptr, &found) == 0)
    result.paths.assign(found.gl_pathv, found.gl_pathv + found.gl_pathc);
  globfree(&found);
  std::sort(result.paths.begin(), result.paths.end());
  return result;
}

std::string canonical(const std::string& path) {
  std::error_code error;
  auto result = std::filesystem::weakly_canonical(path, error);
  return error ? path : result.string();
}

/// Reads a file and all that it includes into one tree, and checks each file on its own.
class file_reader {
public:
  explicit file_reader(const environment_lookup& environment) : environment_(environment) {}

  /// The included files first, in order, then the file itself over them.
  toml_value read(const std::string& path, const toml_place& asked_by) {
    order_.emplace(path, order_.size());
    toml_value result;
    auto file = read_text_file(path);
    if (!file.problem.empty()) {
      unreadable_ = true;
      if (asked_by.file.empty())
        problems_.push_back({path, 0, 0, {}, file.problem});
      else
        problems_.push_back({asked_by.file, asked_by.line, asked_by.column, "include", path + " " + file.problem});
      return result;
    }
    auto document = parse_toml(file.text, path);
    if (document.error) {
      unreadable_ = true;
      problems_.push_back({path, document.error->at.line, document.error->at.column, {}, document.error->message});
    }
    schema::ProcessFile scratch;
    auto findings = read_schema(scratch, document.root, environment_, reserved_keys());
    problems_.insert(problems_.end(), findings.problems.begin(), findings.problems.end());

    chain_.push_back(canonical(path));
    if (auto include = document.root.find("include"))
      for (auto& item : include->value.items)
        if (item.type == toml_value::kind::text)
          read_included(path, item, result);
    chain_.pop_back();
    overlay(result, document.root);
    return result;
  }

  void add(std::vector<config_problem> problems) {
    problems_.insert(problems_.end(), problems.begin(), problems.end());
  }

  /// Whether some file could not be read to its end, so that nothing can be said about what is missing.
  bool incomplete() const { return unreadable_; }

  /// In the order of the files and of the places in them, each problem once.
  std::vector<config_problem> take_problems() {
    auto place = [this](const config_problem& p) {
      auto i = order_.find(p.file);
      return std::tuple{i == order_.end() ? order_.size() : i->second, p.file, p.line, p.column, p.key, p.message};
    };
    std::sort(problems_.begin(), problems_.end(), [&](auto& a, auto& b) { return place(a) < place(b); });
    problems_.erase(
        std::unique(problems_.begin(), problems_.end(), [&](auto& a, auto& b) { return place(a) == place(b); }),
        problems_.end());
    return std::move(problems_);
  }

private:
  void read_included(const std::string& from, const toml_value& item, toml_value& into) {
    auto expanded = expand(item.text, environment_);
    if (!expanded.problem.empty())
      return;
    auto problem = [&](std::string message) {
      unreadable_ = true;
      problems_.push_back({item.at.file, item.at.line, item.at.column, "include", std::move(message)});
    };
    auto pattern = (std::filesystem::path{from}.parent_path() / expanded.text).lexically_normal().string();
    for (auto& path : expand_glob(pattern).paths) {
      if (std::find(chain_.begin(), chain_.end(), canonical(path)) != chain_.end()) {
        problem(path + " includes itself" + (chain_.size() > 1 ? " by way of " + from : "") + "; break the circle");
        continue;
      }
      overlay(into, read(path, item.at));
    }
  }

  const environment_lookup& environment_;
  std::vector<config_problem> problems_;
  /// Canonical paths of the files being read, outermost first.
  std::vector<std::string> chain_;
  std::map<std::string, std::size_t> order_;
  bool unreadable_ = false;
};

/// Replaces the patterns among the app files by what they match, and checks every app file.
std::vector<config_problem> check_app_files(std::vector<std::string>& app_files, const schema_findings& findings,
                                            const environment_lookup& environment) {
  std::vector<config_problem> result;
  std::vector<std::string> files;
  std::map<std::string, std::string> file_of_app;
  for (std::size_t i = 0; i < app_files.size(); ++i) {
    auto key = fmt::format("scheduler.apps[{}]", i);
    auto origin = findings.origins.find(key);
    auto at = origin == findings.origins.end() ? toml_place{} : origin->second.at;
    for (auto& path : expand_glob(app_files[i]).paths) {
      files.push_back(path);
      auto app = load_app_config(path, environment);
      for (auto& problem : app.problems) {
        if (problem.line == 0)
          result.push_back({at.file, at.line, at.column, key, path + " " + problem.message});
        else
          result.push_back(problem);
      }
      if (!app.spec)
        continue;
      auto [earlier, added] = file_of_app.emplace(app.spec->name(), path);
      if (!added)
        result.push_back({at.file, at.line, at.column, key,
                          "app " + quote(app.spec->name()) + " stands in " + earlier->second + " and in " + path
                              + "; keep one of the two"});
    }
  }
  app_files = std::move(files);
  return result;
}

/// Fills in what depends on other keys.
void derive(schema::ProcessFile& file) {
  if (!file.has_state_dir() && !file.name().empty())
    file.set_state_dir("/var/lib/astra/" + file.name());
  // A process with a Resource among its roles joins it, unless told otherwise.
  auto has_resource = std::find(file.roles().begin(), file.roles().end(), "resource") != file.roles().end();
  auto own = parse_endpoint(file.net().listen());
  if (file.resources().empty() && has_resource && file.roles_size() > 1 && own && own->port != 0)
    file.add_resources(file.net().listen());
}

app_config check_app(const toml_document& document, const std::string& name, const environment_lookup& environment) {
  app_config result;
  if (document.error)
    result.problems.push_back({name, document.error->at.line, document.error->at.column, {}, document.error->message});
  schema::AppFile file;
  auto findings = read_schema(file, document.root, environment, {});
  result.problems.insert(result.problems.end(), findings.problems.begin(), findings.problems.end());
  if (!document.error) {
    std::vector<broken_rule> broken;
    auto spec = to_spec(file, broken);
    auto rules = app_rules(spec);
    broken.insert(broken.end(), rules.begin(), rules.end());
    auto problems = to_problems(broken, findings, name);
    result.problems.insert(result.problems.end(), problems.begin(), problems.end());
    if (result.problems.empty())
      result.spec = std::make_unique<pb::AppSpec>(std::move(spec));
  }
  std::sort(result.problems.begin(), result.problems.end(),
            [](auto& a, auto& b) { return std::tie(a.line, a.column, a.key) < std::tie(b.line, b.column, b.key); });
  return result;
}

} // namespace

std::string to_string(const config_problem& problem) {
  auto result = problem.file;
  if (problem.line > 0)
    result += fmt::format(":{}:{}", problem.line, problem.column);
  result += result.empty() ? "" : ": ";
  return result + (problem.key.empty() ? "" : problem.key + ": ") + problem.message;
}

process_config load_process_config(const std::string& path, const environment_lookup& environment) {
  process_config result;
  file_reader files{environment};
  auto tree = files.read(path, {});
  schema::ProcessFile stated;
  auto findings = read_schema(stated, tree, environment, reserved_keys());
  files.add(findings.problems);

  auto effective = default_process_file();
  effective.MergeFrom(stated);
  derive(effective);
  result.options = to_options(effective);
  if (!files.incomplete())
    files.add(to_problems(validate(result.options), findings, path));
  files.add(check_app_files(result.options.scheduler.app_files, findings, environment));
  result.values = render_all(effective, findings.origins);
  result.problems = files.take_problems();
  return result;
}

app_config::app_config() = default;
app_config::app_config(app_config&&) noexcept = default;
app_config::~app_config() = default;

app_config load_app_config(const std::string& path, const environment_lookup& environment) {
  auto file = read_text_file(path);
  if (!file.problem.empty()) {
    app_config result;
    result.problems.push_back({path, 0, 0, {}, file.problem});
    return result;
  }
  return check_app(parse_toml(file.text, path), path, environment);
}

app_config parse_app_config(const std::string& text, const std::string& name) {
  return check_app(parse_toml(text, name), name, {});
}

std::vector<config_problem> validate(const pb::AppSpec& spec) {
  std::vector<config_problem> result;
  for (auto& rule : app_rules(spec))
    result.push_back({{}, 0, 0, rule.key, rule.message});
  return result;
}

} // namespace astra
