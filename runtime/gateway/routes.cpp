#include "runtime/gateway/route_table.hpp"

#include "runtime/http/percent.hpp"

#include <algorithm>
#include <iterator>
#include <map>
#include <optional>
#include <utility>
#include <vector>

namespace astra {
namespace {

constexpr route_row rows[] = {
    {"GET", "/livez", gateway_route::livez},
    {"GET", "/readyz", gateway_route::readyz},
    {"GET", "/metrics", gateway_route::metrics},
    {"GET", "/v1/status", gateway_route::status},
    {"GET", "/v1/nodes", gateway_route::nodes},
    {"GET", "/v1/nodes/*", gateway_route::node},
    {"POST", "/v1/nodes/*/drain", gateway_route::drain_node},
    {"GET", "/v1/events", gateway_route::events},
    {"GET", "/v1/quotas", gateway_route::quotas},
    {"GET", "/v1/apps", gateway_route::apps},
    {"GET", "/v1/apps/*", gateway_route::app},
    {"PUT", "/v1/apps/*", gateway_route::apply_app},
    {"DELETE", "/v1/apps/*", gateway_route::delete_app},
    {"POST", "/v1/apps/*/invoke", gateway_route::invoke},
    {"GET", "/v1/apps/*/history", gateway_route::app_history},
    {"GET", "/v1/apps/*/claims", gateway_route::app_claims},
    {"POST", "/v1/apps/*/rollback", gateway_route::rollback_app},
    {"POST", "/v1/apps/*/plan", gateway_route::plan_app},
    {"POST", "/v1/apps/*/tasks", gateway_route::submit_task},
    {"GET", "/v1/tasks", gateway_route::tasks},
    {"GET", "/v1/tasks/*", gateway_route::task},
    {"DELETE", "/v1/tasks/*", gateway_route::cancel_task},
    {"GET", "/v1/tasks/*/result", gateway_route::task_result},
    {"GET", "/v1/tasks/*/events", gateway_route::task_events},
    {"GET", "/v1/routers/*", gateway_route::router},
    {"GET", "/v1/routers/*/picks", gateway_route::router_picks},
    {"GET", "/v1/models", gateway_route::models},
    {"GET", "/v1/models/*", gateway_route::model},
    {"POST", "/v1/models/*", gateway_route::publish_model},
    {"DELETE", "/v1/models/*", gateway_route::delete_model},
    {"POST", "/v1/models/*/fetch", gateway_route::fetch_model},
    {"POST", "/v1/models/*/verify", gateway_route::verify_model},
    {"POST", "/v1/models/*/pin", gateway_route::pin_model},
    {"GET", "/v1/model-jobs", gateway_route::model_jobs},
    {"GET", "/v1/model-jobs/*", gateway_route::model_job},
    {"GET", "/v1/model-nodes", gateway_route::model_nodes},
    {"GET", "/v1/model-limit", gateway_route::model_limit},
    {"PUT", "/v1/model-limit", gateway_route::limit_models},
    {"POST", "/v1/join", gateway_route::join},
    {"POST", "/v1/renew", gateway_route::renew},
};

std::vector<std::string_view> split_path(std::string_view path) {
  std::vector<std::string_view> parts;
  while (!path.empty()) {
    path.remove_prefix(1); // the slash
    auto end = std::min(path.find('/'), path.size());
    parts.push_back(path.substr(0, end));
    path.remove_prefix(end);
  }
  return parts;
}

/// The paths of the rows, split: every request looks at them.
const std::vector<std::vector<std::string_view>>& patterns() {
  static const auto all = [] {
    std::vector<std::vector<std::string_view>> result;
    for (auto& row : rows)
      result.push_back(split_path(row.path));
    return result;
  }();
  return all;
}

} // namespace

std::span<const route_row> all_routes() {
  return rows;
}

route_match find_route(std::string_view method, std::string_view target) {
  route_match result;
  auto path = target.substr(0, target.find_first_of("?#"));
  if (path.empty() || path.front() != '/')
    return result;
  if (method == "HEAD")
    method = "GET";
  auto parts = split_path(path);
  for (std::size_t place = 0; place < std::size(rows); ++place) {
    auto& row = rows[place];
    auto& pattern = patterns()[place];
    if (pattern.size() != parts.size())
      continue;
    auto fits = true;
    std::string_view name;
    for (std::size_t i = 0; i < parts.size(); ++i) {
      if (pattern[i] == "*")
        name = parts[i];
      else if (pattern[i] != parts[i])
        fits = false;
    }
    if (!fits)
      continue;
    auto decoded = percent_decode(name);
    if (!decoded)
      return {};
    if (row.method == method)
      return {row.what, std::move(*decoded), {}};
    result.what = gateway_route::wrong_method;
    result.allow += (result.allow.empty() ? "" : ", ") + std::string{row.method == "GET" ? "GET, HEAD" : row.method};
  }
  return result;
}

std::optional<std::map<std::string, std::string>> find_query(std::string_view target) {
  std::map<std::string, std::string> result;
  auto begin = target.find('?');
  if (begin == std::string_view::npos)
    return result;
  auto query = target.substr(begin + 1, target.find('#') - begin - 1);
  while (!query.empty()) {
    auto pair = query.substr(0, query.find('&'));
    query.remove_prefix(std::min(query.size(), pair.size() + 1));
    if (pair.empty())
      continue;
    auto decode = [](std::string_view text) {
      std::string blanks{text};
      std::replace(blanks.begin(), blanks.end(), '+', ' ');
      return percent_decode(blanks);
    };
    auto name = decode(pair.substr(0, pair.find('=')));
    auto equals = pair.find('=');
    auto value = decode(equals == std::string_view::npos ? std::string_view{} : pair.substr(equals + 1));
    if (!name || !value)
      return std::nullopt;
    result[*name] = std::move(*value);
  }
  return result;
}

} // namespace astra
