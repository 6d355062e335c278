#include "runtime/gateway/model_wish.hpp"

#include "config/spelling.hpp"
#include "runtime/transfer/origin_url.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <charconv>
#include <optional>
#include <utility>

namespace astra {
namespace {

using nlohmann::json;

/// Reads the fields of a body one by one; the first problem stays.
class body_reader {
public:
  explicit body_reader(const std::string& text) {
    // No body is one without fields.
    if (text.find_first_not_of(" \t\r\n") == std::string::npos)
      return;
    body_ = json::parse(text, nullptr, false);
    if (!body_.is_object()) {
      problem = "the body must be a JSON object";
      body_ = json::object();
    }
  }

  bool has(const char* key) {
    known_.emplace_back(key);
    return body_.contains(key);
  }

  void read(const char* key, std::string& to) {
    if (!has(key))
      return;
    if (body_[key].is_string())
      to = body_[key].get<std::string>();
    else
      blame(key, "a text");
  }

  void read(const char* key, bool& to) {
    if (!has(key))
      return;
    if (body_[key].is_boolean())
      to = body_[key].get<bool>();
    else
      blame(key, "true or false");
  }

  void read(const char* key, std::uint64_t& to) {
    if (!has(key))
      return;
    if (body_[key].is_number_unsigned())
      to = body_[key].get<std::uint64_t>();
    else
      blame(key, "a whole number, not negative");
  }

  void read(const char* key, std::vector<std::string>& to) {
    if (!has(key))
      return;
    auto& list = body_[key];
    auto fits = list.is_array() && !list.empty()
                && std::all_of(list.begin(), list.end(), [](auto& one) { return one.is_string(); });
    if (!fits)
      return blame(key, "a list of at least one name");
    to = list.get<std::vector<std::string>>();
    std::sort(to.begin(), to.end());
    to.erase(std::unique(to.begin(), to.end()), to.end());
  }

  /// Complains of whatever was not asked for.
  void end() {
    for (auto& [key, value] : body_.items()) {
      if (std::find(known_.begin(), known_.end(), key) != known_.end() || !problem.empty())
        continue;
      auto meant = closest(key, known_);
      problem = fmt::format("unknown field '{}'; {}", key,
                            meant            ? fmt::format("did you mean '{}'?", *meant)
                            : known_.empty() ? std::string{"there are none"}
                                             : fmt::format("there are {}", fmt::join(known_, ", ")));
    }
  }

  std::string problem;

private:
  void blame(const char* key, std::string_view rule) {
    if (problem.empty())
      problem = fmt::format("{} must be {}", key, rule);
  }

  json body_ = json::object();
  std::vector<std::string> known_;
};

void read_priority(body_reader& body, pb::ContentPriority& priority) {
  std::string word = "normal";
  body.read("priority", word);
  if (word == "low")
    priority = pb::CONTENT_LOW;
  else if (word == "high")
    priority = pb::CONTENT_HIGH;
  else if (word != "normal" && body.problem.empty())
    body.problem = "priority must be \"low\", \"normal\" or \"high\"";
}

/// @param most kinds that may be said: only names, or a count and all as well.
void read_nodes(body_reader& body, bool names_only, model_nodes& to) {
  body.read("nodes", to.names);
  if (!to.names.empty())
    to.which = model_nodes::kind::named;
  if (names_only)
    return;
  std::uint64_t count = 0;
  auto counted = body.has("count");
  body.read("count", count);
  auto all = false;
  body.read("all", all);
  if (!body.problem.empty())
    return;
  if ((to.names.empty() ? 0 : 1) + (counted ? 1 : 0) + (all ? 1 : 0) != 1) {
    body.problem = R"(say which nodes: {"nodes": ["node-1"]}, {"count": 3} or {"all": true})";
  } else if (counted && (count == 0 || count > 1'000'000)) {
    body.problem = fmt::format("count = {} must be a number of nodes from 1 to 1000000", count);
  } else if (counted) {
    to.which = model_nodes::kind::counted;
    to.count = static_cast<std::uint32_t>(count);
  } else if (all) {
    to.which = model_nodes::kind::all;
  }
}

std::optional<model_job_name> read_job(std::string_view text) {
  auto colon = text.rfind(':');
  if (colon == std::string_view::npos)
    return std::nullopt;
  model_job_name job;
  job.node = text.substr(0, colon);
  auto digits = text.substr(colon + 1);
  auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), job.id);
  if (error != std::errc{} || end != digits.data() + digits.size() || job.id == 0 || !name_problem(job.node).empty())
    return std::nullopt;
  return job;
}

std::string no_job(std::string_view text) {
  return fmt::format("'{}' is no job; one is NODE:ID, such as node-1:7", text);
}

/// @returns what is wrong.
std::string read_jobs(const std::string& target, std::vector<model_job_name>& to) {
  auto query = find_query(target);
  if (!query)
    return "the query has a broken % escape";
  std::string_view rest = (*query)["id"];
  while (!rest.empty()) {
    auto one = rest.substr(0, rest.find(','));
    rest.remove_prefix(std::min(rest.size(), one.size() + 1));
    auto job = read_job(one);
    if (!job)
      return no_job(one);
    to.push_back(std::move(*job));
  }
  if (to.empty() || to.size() > model_jobs_max)
    return fmt::format("name 1 to {} jobs, such as id=node-1:7,node-2:3", model_jobs_max);
  return {};
}

} // namespace

std::string to_string(const model_job_name& job) {
  return fmt::format("{}:{}", job.node, job.id);
}

std::variant<model_wish, std::string> read_model_wish(const route_match& route, const http_request& request) {
  model_wish wish;
  wish.what = route.what;
  if (route.what == gateway_route::models || route.what == gateway_route::model_nodes
      || route.what == gateway_route::model_limit)
    return wish;
  if (route.what == gateway_route::model_job) {
    auto job = read_job(route.name);
    if (!job)
      return no_job(route.name);
    wish.jobs.push_back(std::move(*job));
    return wish;
  }
  if (route.what == gateway_route::model_jobs) {
    if (auto problem = read_jobs(request.target, wish.jobs); !problem.empty())
      return problem;
    return wish;
  }
  if (route.what != gateway_route::limit_models)
    if (auto problem = parse_content_reference(route.name, wish.content); !problem.empty())
      return problem;
  if (route.what == gateway_route::model)
    return wish;
  body_reader body{request.body ? *request.body : std::string{}};
  switch (route.what) {
  case gateway_route::publish_model:
    body.read("path", wish.path);
    body.read("node", wish.node);
    body.read("machine", wish.machine);
    body.read("pin", wish.pin);
    body.read("origin", wish.origin);
    if (!body.problem.empty())
      break;
    if (auto problem = origin_problem(wish.origin); !wish.origin.empty() && !problem.empty())
      body.problem = problem;
    else if (wish.content.version != 0)
      body.problem = fmt::format("the cluster numbers the versions; publish '{}'", wish.content.name);
    else if (!wish.path.starts_with('/') || wish.path.find('\0') != std::string::npos)
      body.problem = "path must be that of a directory or file on the node's machine, from / on";
    break;
  case gateway_route::fetch_model:
    read_nodes(body, false, wish.nodes);
    body.read("pin", wish.pin);
    read_priority(body, wish.priority);
    break;
  case gateway_route::verify_model:
    read_nodes(body, true, wish.nodes);
    break;
  case gateway_route::pin_model:
    read_nodes(body, true, wish.nodes);
    wish.pin = true;
    body.read("pinned", wish.pin);
    break;
  case gateway_route::delete_model:
    if (wish.content.version == 0)
      body.problem = fmt::format("name the version that is to go, such as {}@3", wish.content.name);
    break;
  case gateway_route::limit_models:
    if (!body.has("bytes_per_s"))
      body.problem = R"(say the limit: {"bytes_per_s": 1000000000}; 0: none)";
    body.read("bytes_per_s", wish.bytes_per_s);
    break;
  default:
    break;
  }
  body.end();
  if (!body.problem.empty())
    return std::move(body.problem);
  return wish;
}

} // namespace astra
