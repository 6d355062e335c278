#include "runtime/net/identity.hpp"

#include "config/naming.hpp"
#include "messages/errc.hpp"
#include "messages/type_ids.hpp"

#include <caf/error.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <utility>

namespace astra {
namespace {

constexpr std::string_view scheme = "astra://";

/// Longer ones are nobody's; what is shown of a bad one is shorter still, because it may come from anybody.
constexpr std::size_t uri_length_max = 4096;
constexpr std::size_t shown_length_max = 80;
constexpr std::size_t apps_max = 64;
constexpr std::size_t nodes_max = 64;

constexpr std::array all_roles{peer_role::node,       peer_role::resource,  peer_role::scheduler, peer_role::gateway,
                               peer_role::aggregator, peer_role::operator_, peer_role::viewer};

std::string shown(std::string_view text) {
  std::string out;
  for (auto c : text.substr(0, shown_length_max))
    out += c > ' ' && c < '\x7f' && c != '"' ? c : '?';
  return text.size() > shown_length_max ? out + "..." : out;
}

caf::error bad(std::string_view uri, std::string_view why) {
  return caf::make_error(errc::invalid_argument, fmt::format("identity \"{}\": {}", shown(uri), why));
}

/// What is wrong with an entry of `peer_identity::apps`.
std::string app_pattern_problem(std::string_view pattern) {
  if (!pattern.ends_with('*'))
    return app_name_problem(pattern);
  pattern.remove_suffix(1);
  if (pattern.empty())
    return "\"*\" stands for every app; leave it out to say so";
  // A beginning may end in '-', which a whole name may not.
  return app_name_problem(std::string{pattern} + "x");
}

/// The same of `peer_identity::nodes`.
std::string node_pattern_problem(std::string_view pattern) {
  if (!pattern.ends_with('*'))
    return name_problem(pattern);
  pattern.remove_suffix(1);
  return pattern.empty() ? std::string{} : name_problem(std::string{pattern} + "x");
}

} // namespace

std::string to_string(peer_role role) {
  switch (role) {
  case peer_role::node:
    return "node";
  case peer_role::resource:
    return "resource";
  case peer_role::scheduler:
    return "scheduler";
  case peer_role::gateway:
    return "gateway";
  case peer_role::operator_:
    return "operator";
  case peer_role::viewer:
    return "viewer";
  case peer_role::aggregator:
    return "aggregator";
  }
  return "invalid";
}

std::optional<peer_role> parse_peer_role(std::string_view word) {
  for (auto role : all_roles)
    if (to_string(role) == word)
      return role;
  return std::nullopt;
}

peer_role to_peer_role(process_role role) {
  switch (role) {
  case process_role::node:
    return peer_role::node;
  case process_role::resource:
    return peer_role::resource;
  case process_role::scheduler:
    return peer_role::scheduler;
  case process_role::gateway:
    return peer_role::gateway;
  case process_role::aggregator:
    return peer_role::aggregator;
  }
  // A wrong value must not turn into a right.
  return peer_role::viewer;
}

std::string to_string(peer_roles roles) {
  std::string out;
  for (auto role : all_roles)
    if (roles.has(role))
      out += (out.empty() ? "" : ",") + to_string(role);
  return out;
}

bool peer_identity::may_claim_for(std::string_view app) const {
  return apps.empty() || matches_any(apps, app);
}

bool peer_identity::may_speak_for(std::string_view node) const {
  return matches_any(nodes, node);
}

std::string identity_problem(const peer_identity& identity) {
  if (auto problem = name_problem(identity.cluster); !problem.empty())
    return "cluster: " + problem;
  if (auto problem = name_problem(identity.name); !problem.empty())
    return "name: " + problem;
  if (identity.roles.empty())
    return "no role; there are: node, resource, scheduler, gateway, aggregator, operator, viewer";
  if (identity.apps.size() > apps_max)
    return fmt::format("{} apps; name at most {}, or beginnings that end in '*'", identity.apps.size(), apps_max);
  for (auto& app : identity.apps)
    if (auto problem = app_pattern_problem(app); !problem.empty())
      return "app: " + problem;
  if (!identity.apps.empty() && !identity.roles.has(peer_role::scheduler))
    return "names apps but is no scheduler; leave the apps out or add the role";
  if (identity.nodes.size() > nodes_max)
    return fmt::format("{} nodes; name at most {}, or beginnings that end in '*'", identity.nodes.size(), nodes_max);
  for (auto& node : identity.nodes)
    if (auto problem = node_pattern_problem(node); !problem.empty())
      return "node: " + problem;
  if (!identity.nodes.empty() && !identity.roles.has(peer_role::aggregator))
    return "names nodes but is no aggregator; leave the nodes out or add the role";
  if (identity.nodes.empty() && identity.roles.has(peer_role::aggregator))
    return "an aggregator must say for which nodes it speaks, such as rack1-*, or * for all";
  return {};
}

std::string to_uri(const peer_identity& identity) {
  auto uri = fmt::format("{}{}/{}", scheme, identity.cluster, identity.name);
  auto separator = '?';
  auto add = [&](std::string_view key, std::string_view value) {
    uri += fmt::format("{}{}={}", std::exchange(separator, '&'), key, value);
  };
  for (auto role : all_roles)
    if (identity.roles.has(role))
      add("role", to_string(role));
  for (auto& app : identity.apps)
    add("app", app);
  for (auto& node : identity.nodes)
    add("node", node);
  return uri;
}

caf::expected<peer_identity> parse_identity(std::string_view uri) {
  if (uri.size() > uri_length_max)
    return bad(uri, fmt::format("has {} bytes; at most {} are allowed", uri.size(), uri_length_max));
  if (!uri.starts_with(scheme))
    return bad(uri, "is not of the form astra://CLUSTER/NAME?role=ROLE");
  auto rest = uri.substr(scheme.size());
  auto query = rest.find('?');
  auto path = rest.substr(0, query);
  auto slash = path.find('/');
  if (slash == std::string_view::npos || query == std::string_view::npos)
    return bad(uri, "is not of the form astra://CLUSTER/NAME?role=ROLE");
  peer_identity result;
  result.cluster = path.substr(0, slash);
  result.name = path.substr(slash + 1);
  for (auto fields = rest.substr(query + 1);;) {
    auto end = std::min(fields.find('&'), fields.size());
    auto field = fields.substr(0, end);
    auto equals = std::min(field.find('='), field.size());
    auto key = field.substr(0, equals);
    auto value = field.substr(std::min(field.size(), equals + 1));
    if (key == "role") {
      auto role = parse_peer_role(value);
      if (!role)
        return bad(uri, fmt::format("unknown role \"{}\"", shown(value)));
      if (result.roles.has(*role))
        return bad(uri, fmt::format("role \"{}\" stands there twice", to_string(*role)));
      result.roles.add(*role);
    } else if (key == "app") {
      result.apps.emplace_back(value);
    } else if (key == "node") {
      result.nodes.emplace_back(value);
    } else {
      // A right or a limit that this version does not know must not be passed over.
      return bad(uri, fmt::format("unknown field \"{}\"; is the certificate made by a newer version?", shown(key)));
    }
    if (end == fields.size())
      break;
    fields.remove_prefix(end + 1);
  }
  if (auto problem = identity_problem(result); !problem.empty()) {
    // It repeats the name, which may hold anything.
    std::replace_if(
        problem.begin(), problem.end(), [](unsigned char c) { return c < 0x20 || c >= 0x7f; }, '?');
    return bad(uri, problem);
  }
  return result;
}

} // namespace astra
