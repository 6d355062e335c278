#include "config/options.hpp"

#include "config/endpoint.hpp"
#include "config/naming.hpp"
#include "config/toml_tree.hpp"
#include "config/units.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>
#include <set>
#include <system_error>

#include <fmt/format.h>

namespace astra {

namespace {

using std::chrono::hours;

/// Longer than any timer here has a use for; a number with a wrong unit is caught.
constexpr milliseconds longest = hours{24};

std::string show(milliseconds value) {
  return value.count() < 0 ? "a negative duration" : "\"" + format_duration(value) + "\"";
}

/// Collects the rules that are not kept.
class rule_book {
public:
  void add(std::string key, std::string message, std::vector<std::string> related = {}) {
    broken_.push_back({std::move(key), std::move(message), std::move(related)});
  }

  void add_all(std::vector<broken_rule> rules) {
    for (auto& rule : rules)
      broken_.push_back(std::move(rule));
  }

  void positive(const std::string& key, milliseconds value) {
    if (value < milliseconds{1} || value > longest)
      add(key, "must be between \"1ms\" and \"24h\", not " + show(value));
  }

  void between(const std::string& key, std::uint64_t value, std::uint64_t least, std::uint64_t most) {
    if (value < least || value > most)
      add(key, fmt::format("must be between {} and {}, not {}", least, most, value));
  }

  void size_between(const std::string& key, std::uint64_t value, std::uint64_t least, std::uint64_t most) {
    if (value < least || value > most)
      add(key, fmt::format("must be between \"{}\" and \"{}\", not \"{}\"", format_size(least), format_size(most),
                           format_size(value)));
  }

  /// `value` >= `times` x `other`; `what` names one of the latter.
  void at_least(const std::string& key, milliseconds value, int times, const std::string& other_key, milliseconds other,
                const std::string& what) {
    if (value >= other * times || other <= milliseconds{0} || value <= milliseconds{0})
      return;
    auto rule = times == 1 ? other_key + " = " + show(other) : fmt::format("{} {}s of {}", times, what, show(other));
    add(key, show(value) + " is shorter than " + rule + "; make it at least " + show(other * times), {other_key});
  }

  void address(const std::string& key, const std::string& text, bool port_zero) {
    auto parsed = parse_endpoint(text);
    if (!parsed)
      add(key, "\"" + text + "\" is not an address; write \"host:port\", such as \"127.0.0.1:9700\"");
    else if (parsed->port == 0 && !port_zero)
      add(key, "\"" + text + "\" has port 0; write the port that the Resource listens on");
  }

  /// Plain text may leave the machine only where the file says so in words.
  void private_or_secured(const std::string& key, const std::string& text, const process_options& all) {
    auto parsed = parse_endpoint(text);
    if (!parsed || is_loopback(*parsed) || all.tls.enabled() || all.net.insecure == insecure_sentence)
      return;
    add(key, fmt::format(
                 "\"{}\" can be reached from other machines and nothing protects it; name certificates in [tls] (see "
                 "astra ca --help), listen on loopback, such as \"127.0.0.1:{}\", or write net.insecure = \"{}\"",
                 text, parsed->port, insecure_sentence));
  }

  std::vector<broken_rule> take() { return std::move(broken_); }

private:
  std::vector<broken_rule> broken_;
};

/// Other Resource groups than the home group.
void check_groups(const process_options& options, rule_book& rules) {
  auto& groups = options.scheduler.groups;
  std::map<std::string, std::string> known;
  for (auto& address : options.node.resources)
    known.emplace(address, "resources");
  std::set<std::string> names;
  for (std::size_t i = 0; i < groups.size(); ++i) {
    auto key = fmt::format("groups[{}]", i);
    auto& [name, resources] = groups[i];
    if (name.empty())
      rules.add(key + ".name", "missing; write the group of these Resources, as their files say it", {key});
    else if (auto problem = name_problem(name); !problem.empty())
      rules.add(key + ".name", problem);
    else if (!names.insert(name).second)
      rules.add(key + ".name", "\"" + name + "\" is given twice; list all Resources of a group in one place");
    if (resources.empty())
      rules.add(key + ".resources", "missing; write resources = [\"10.1.0.1:9700\"]", {key});
    for (std::size_t j = 0; j < resources.size(); ++j) {
      auto place = fmt::format("{}.resources[{}]", key, j);
      rules.address(place, resources[j], false);
      if (auto [other, fresh] = known.emplace(resources[j], key); !fresh && other->second != key)
        rules.add(place, fmt::format("\"{}\" is in {} too; a Resource is in one group", resources[j], other->second));
    }
  }
  if (!groups.empty() && !options.roles.empty() && !options.has(process_role::scheduler)
      && !options.has(process_role::gateway))
    rules.add("groups",
              "says nothing for this process: schedulers and gateways follow other groups; remove it, and list the "
              "Resources of its own group under resources",
              {"roles"});
}

} // namespace

std::vector<std::string> all_resources(const std::vector<std::string>& home,
                                       const std::vector<resource_group>& others) {
  auto result = home;
  for (auto& group : others)
    result.insert(result.end(), group.resources.begin(), group.resources.end());
  return result;
}

std::string to_string(process_role role) {
  switch (role) {
  case process_role::node:
    return "node";
  case process_role::resource:
    return "resource";
  case process_role::scheduler:
    return "scheduler";
  case process_role::gateway:
    return "gateway";
  case process_role::aggregator:
    return "aggregator";
  }
  return "invalid";
}

bool process_options::has(process_role role) const {
  return std::find(roles.begin(), roles.end(), role) != roles.end();
}

std::vector<broken_rule> validate(const node_options& options) {
  rule_book rules;
  rules.positive("node.heartbeat", options.heartbeat);
  rules.positive("node.home_silence", options.home_silence);
  rules.at_least("node.home_silence", options.home_silence, 2, "node.heartbeat", options.heartbeat, "heartbeat");
  rules.positive("node.slot_hold", options.slot_hold);
  rules.between("node.queue_per_slot", options.queue_per_slot, 0, 1000);
  rules.positive("drain.wait", options.drain_wait);
  for (auto& [key, value] : options.labels) {
    auto place = "node.labels." + key_part(key);
    if (auto problem = label_problem(key, value); !problem.empty())
      rules.add(place, problem, {"node.labels"});
  }
  for (std::size_t i = 0; i < options.taints.size(); ++i)
    if (auto problem = taint_problem(options.taints[i]); !problem.empty())
      rules.add(fmt::format("node.taints[{}]", i), problem, {"node.taints"});
  std::set<std::string> kinds;
  for (std::size_t i = 0; i < options.accelerators.size(); ++i) {
    auto& accelerator = options.accelerators[i];
    auto key = fmt::format("capacity.accelerators[{}]", i);
    if (accelerator.kind.empty())
      rules.add(key + ".kind", "missing; name the device, such as kind = \"t4\"", {key});
    else if (auto problem = name_problem(accelerator.kind); !problem.empty())
      rules.add(key + ".kind", problem);
    else if (!kinds.insert(accelerator.kind).second)
      rules.add(key + ".kind", "\"" + accelerator.kind + "\" is listed twice; join both and add their counts");
    rules.between(key + ".count", accelerator.count, 1, 1024);
    if (!std::isfinite(accelerator.coefficient) || accelerator.coefficient <= 0 || accelerator.coefficient > 1000)
      rules.add(key + ".coefficient", fmt::format("must be above 0 and at most 1000, not {}; 1 is the reference device",
                                                  accelerator.coefficient));
  }
  return rules.take();
}

namespace {

void check_quotas(const std::vector<quota_options>& quotas, rule_book& rules) {
  std::set<std::string> seen;
  for (std::size_t i = 0; i < quotas.size(); ++i) {
    auto key = fmt::format("resource.quotas[{}]", i);
    auto& quota = quotas[i];
    if (quota.business.empty())
      rules.add(key + ".business", "missing; name whose quota it is, such as business = \"search\"", {key});
    else if (auto problem = name_problem(quota.business); !problem.empty())
      rules.add(key + ".business", problem);
    else if (!seen.insert(quota.business).second)
      rules.add(key + ".business", "\"" + quota.business + "\" is listed twice; keep one");
    if (!quota.cpu_milli && !quota.memory_bytes && quota.accelerators.empty())
      rules.add(key, "limits nothing; give it cpu, memory or accelerators");
    for (auto& [kind, count] : quota.accelerators)
      if (auto problem = name_problem(kind); !problem.empty())
        rules.add(key + ".accelerators." + key_part(kind), problem, {key + ".accelerators"});
  }
}

} // namespace

std::vector<broken_rule> validate(const resource_options& options) {
  rule_book rules;
  rules.positive("resource.suspect_after", options.suspect_after);
  rules.at_least("resource.suspect_after", options.suspect_after, 1, "node.heartbeat", options.heartbeat, "heartbeat");
  rules.positive("resource.evict_after", options.evict_after);
  rules.at_least("resource.evict_after", options.evict_after, 1, "resource.suspect_after", options.suspect_after,
                 "suspect_after");
  rules.at_least("resource.evict_after", options.evict_after, 2, "resource.sweep", options.sweep, "sweep");
  rules.at_least("resource.evict_after", options.evict_after, 2, "node.heartbeat", options.heartbeat, "heartbeat");
  rules.positive("resource.sweep", options.sweep);
  rules.positive("resource.liveness_tick", options.liveness_tick);
  rules.positive("resource.claims_tick", options.claims_tick);
  rules.positive("resource.load_tick", options.load_tick);
  rules.positive("resource.forget_after", options.forget_after);
  rules.positive("resource.orphan_grace", options.orphan_grace);
  rules.positive("resource.claim_timeout", options.claim_timeout);
  rules.positive("resource.peer_timeout", options.peer_timeout);
  rules.at_least("resource.peer_timeout", options.peer_timeout, 2, "resource.load_tick", options.load_tick,
                 "load_tick");
  // Subscriptions are renewed at the pace of heartbeats.
  rules.at_least("resource.peer_timeout", options.peer_timeout, 2, "node.heartbeat", options.heartbeat, "heartbeat");
  rules.size_between("resource.view_chunk", options.view_chunk_bytes, 1024, 1ull << 20);
  rules.between("resource.events", options.events_kept, 1, 1'000'000);
  check_quotas(options.quotas, rules);
  if (auto problem = name_problem(options.group); !problem.empty())
    rules.add("resource.group", problem);
  return rules.take();
}

std::vector<broken_rule> validate(const aggregator_options& options) {
  rule_book rules;
  rules.positive("aggregator.tick", options.tick);
  rules.at_least("node.heartbeat", options.heartbeat, 1, "aggregator.tick", options.tick, "aggregator.tick");
  return rules.take();
}

std::vector<broken_rule> validate(const scheduler_options& options) {
  rule_book rules;
  rules.positive("scheduler.plan", options.plan);
  rules.positive("scheduler.claim_timeout", options.claim_timeout);
  rules.between("scheduler.replace_per_s", options.replace_per_s, 1, 1'000'000);
  rules.positive("scheduler.takeover_after", options.takeover_after);
  if (options.claim_log_bytes != 0)
    rules.size_between("scheduler.claim_log", options.claim_log_bytes, 4096, 1ull << 40);
  return rules.take();
}

std::optional<router_share> parse_router_share(std::string_view text) {
  router_share result;
  auto end = text.data() + text.size();
  auto number = std::from_chars(text.data(), end, result.number);
  if (number.ec != std::errc{} || number.ptr == end || *number.ptr != '/')
    return std::nullopt;
  auto of = std::from_chars(number.ptr + 1, end, result.of);
  if (of.ec != std::errc{} || of.ptr != end || result.number == 0 || result.number > result.of || result.of > 10'000)
    return std::nullopt;
  return result;
}

std::vector<broken_rule> validate(const router_options& options) {
  rule_book rules;
  rules.positive("router.refresh", options.refresh);
  rules.between("router.tries", options.tries, 1, 64);
  rules.positive("router.admission_timeout", options.admission_timeout);
  if (options.no_replica_wait < milliseconds{0} || options.no_replica_wait > longest)
    rules.add("router.no_replica_wait", "must be between \"0s\" and \"24h\", not " + show(options.no_replica_wait));
  rules.positive("router.ejection", options.ejection);
  if (options.slow_start < milliseconds{0} || options.slow_start > longest)
    rules.add("router.slow_start", "must be between \"0s\" and \"24h\", not " + show(options.slow_start));
  rules.between("router.outlier_errors", options.outlier_errors, 0, 1'000'000);
  if (!(options.outlier_latency == 0 || (options.outlier_latency >= 1.5 && options.outlier_latency <= 1e6)))
    rules.add("router.outlier_latency",
              fmt::format("must be 0 or between 1.5 and 1000000, not {}; it is how many times as long as others a node "
                          "may need",
                          options.outlier_latency));
  rules.positive("router.outlier_ejection", options.outlier_ejection);
  if (!std::isfinite(options.retry_budget) || options.retry_budget < 0 || options.retry_budget > 1)
    rules.add("router.retry_budget",
              fmt::format("must be between 0 and 1, not {}; it is a share of all starts", options.retry_budget));
  rules.between("router.retry_budget_min", options.retry_budget_min, 0, 1'000'000);
  for (std::size_t i = 0; i < options.near.size(); ++i) {
    auto place = fmt::format("router.near[{}]", i);
    auto [key, value] = split_taint(options.near[i]);
    if (options.near[i].find('=') == std::string::npos)
      rules.add(place, "needs the label and its value, such as \"zone=a\", not " + quote(options.near[i]));
    else if (auto problem = label_problem(key, value); !problem.empty())
      rules.add(place, problem);
  }
  if (!options.share.empty() && !parse_router_share(options.share))
    rules.add("router.share",
              "must be which of how many routers this one is, such as \"3/16\", not " + quote(options.share));
  return rules.take();
}

std::vector<broken_rule> validate(const gateway_options& options) {
  rule_book rules;
  rules.address("gateway.listen", options.listen, true);
  // What a session between processes carries in one frame; see runtime/net/frame_guard.hpp.
  rules.size_between("gateway.body_limit", options.body_limit_bytes, 1024, 64ull << 20);
  rules.size_between("gateway.header_limit", options.header_limit_bytes, 1024, 1ull << 20);
  rules.between("gateway.connections_max", options.connections_max, 1, 1'000'000);
  rules.positive("gateway.idle_timeout", options.idle_timeout);
  rules.positive("gateway.task_keep", options.task_keep);
  rules.size_between("gateway.task_bytes", options.task_bytes, 1ull << 20, 1ull << 50);
  rules.between("gateway.task_limit", options.task_limit, 0, 100'000'000);
  for (std::size_t i = 0; i < options.apps.size(); ++i)
    if (auto problem = app_name_problem(options.apps[i]); !problem.empty())
      rules.add(fmt::format("gateway.apps[{}]", i), problem);
  return rules.take();
}

std::vector<broken_rule> validate(const metrics_options& options) {
  rule_book rules;
  if (!options.listen.empty())
    rules.address("metrics.listen", options.listen, true);
  return rules.take();
}

std::vector<broken_rule> validate(const store_options& options) {
  rule_book rules;
  constexpr std::uint64_t mebibyte = 1ull << 20;
  if (options.bytes_max != 0)
    rules.size_between("store.size", options.bytes_max, mebibyte, 1ull << 60);
  if (!options.listen.empty()) {
    rules.address("store.listen", options.listen, true);
    auto digits = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || c == '.' || c == ':'; };
    if (auto parsed = parse_endpoint(options.listen);
        parsed && (!std::all_of(parsed->host.begin(), parsed->host.end(), digits) || parsed->host.empty()))
      rules.add("store.listen", "\"" + options.listen
                                    + "\" does not begin with an address in digits, which other "
                                      "nodes are told; write such as \"10.0.0.7:6881\"");
    else if (parsed && is_wildcard(*parsed))
      rules.add("store.listen", "\"" + options.listen + "\" tells other nodes no address; write the one they reach");
  }
  auto limit = [&](const char* key, std::uint64_t value) {
    if (value != 0)
      rules.size_between(key, value, 1024, 1ull << 40);
  };
  limit("store.upload_limit", options.upload_bytes_per_s);
  limit("store.download_limit", options.download_bytes_per_s);
  if (!(options.link_share == 0 || (options.link_share >= 0.05 && options.link_share <= 1)))
    rules.add("store.link_share",
              fmt::format("must be 0.0 (the link is not measured) or between 0.05 and 1, not {}", options.link_share));
  if (options.order != "planned" && options.order != "rarest" && options.order != "shuffled")
    rules.add("store.order", "unknown value \"" + options.order + "\"; use one of planned, rarest, shuffled");
  rules.size_between("store.upload_floor", options.upload_floor_bytes_per_s, 1024, 1ull << 40);
  return rules.take();
}

std::vector<broken_rule> validate(const log_options& options) {
  rule_book rules;
  auto known = [](const std::string& text, std::initializer_list<const char*> words) {
    return std::find(words.begin(), words.end(), text) != words.end();
  };
  if (!known(options.level, {"trace", "debug", "info", "warn", "error", "off"}))
    rules.add("log.level", "unknown value \"" + options.level + "\"; use one of trace, debug, info, warn, error, off");
  if (!known(options.format, {"text", "json"}))
    rules.add("log.format", "unknown value \"" + options.format + "\"; use one of text, json");
  return rules.take();
}

std::vector<broken_rule> validate(const net_options& options) {
  rule_book rules;
  if (auto problem = name_problem(options.cluster); !problem.empty())
    rules.add("net.cluster", problem);
  rules.address("net.listen", options.listen, true);
  if (!options.advertise.empty())
    rules.address("net.advertise", options.advertise, false);
  else if (auto where = parse_endpoint(options.listen); where && is_wildcard(*where))
    rules.add("net.listen", "\"" + options.listen + "\" is not an address that others can dial; write theirs as "
                                + "net.advertise = \"host:port\"");
  if (!options.edge_listen.empty())
    rules.address("net.edge_listen", options.edge_listen, false);
  if (!options.insecure.empty() && options.insecure != insecure_sentence)
    rules.add("net.insecure", fmt::format("must be exactly \"{}\", or left out", insecure_sentence));
  rules.positive("net.heartbeat", options.heartbeat);
  rules.positive("net.timeout", options.timeout);
  rules.at_least("net.timeout", options.timeout, 2, "net.heartbeat", options.heartbeat, "heartbeat");
  rules.positive("net.dial_timeout", options.dial_timeout);
  rules.positive("net.edge_timeout", options.edge_timeout);
  rules.between("net.sessions_max", options.sessions_max, 1, 1'000'000);
  rules.between("net.admissions_per_s", options.admissions_per_s, 1, 1'000'000);
  return rules.take();
}

std::vector<broken_rule> validate(const tls_options& options) {
  rule_book rules;
  if (options.certificate.empty() && options.key.empty() && options.ca.empty() && options.revoked.empty())
    return {};
  for (auto [key, value] : {std::pair{"tls.certificate", &options.certificate}, std::pair{"tls.key", &options.key},
                            std::pair{"tls.ca", &options.ca}})
    if (value->empty())
      rules.add(key, "missing; TLS needs certificate, key and ca together, or nothing would be protected",
                {"tls.certificate", "tls.key", "tls.ca", "tls.revoked"});
  return rules.take();
}

std::vector<broken_rule> validate(const process_options& options) {
  rule_book rules;
  if (options.name.empty())
    rules.add("name", "missing; give the process a name of its own, such as name = \"node-1\"");
  else if (auto problem = name_problem(options.name); !problem.empty())
    rules.add("name", problem);
  if (options.roles.empty())
    rules.add("roles", "missing; say what this process is, such as roles = [\"node\"]; there are: node, resource, "
                       "scheduler, gateway, aggregator");
  if (options.state_dir.empty() && !options.name.empty())
    rules.add("state_dir", "is empty; name a directory that this process may write");
  for (std::size_t i = 0; i < options.node.resources.size(); ++i)
    rules.address(fmt::format("resources[{}]", i), options.node.resources[i], false);
  for (std::size_t i = 0; i < options.node.aggregators.size(); ++i)
    rules.address(fmt::format("node.aggregators[{}]", i), options.node.aggregators[i], false);
  check_groups(options, rules);
  for (auto role : options.roles)
    if (role != process_role::resource && options.node.resources.empty()) {
      auto cure = options.has(process_role::resource)
                      ? "give net.listen a fixed port, so that this process can join its own Resource"
                      : "write resources = [\"127.0.0.1:9700\"]";
      rules.add("resources", "a " + to_string(role) + " needs a Resource to join; " + cure, {"roles"});
      break;
    }
  rules.positive("shutdown.timeout", options.shutdown_timeout);
  rules.add_all(validate(options.net));
  rules.add_all(validate(options.tls));
  rules.private_or_secured("net.listen", options.net.listen, options);
  if (!options.net.edge_listen.empty())
    rules.private_or_secured("net.edge_listen", options.net.edge_listen, options);
  if (options.has(process_role::gateway))
    rules.private_or_secured("gateway.listen", options.gateway.listen, options);
  if (!options.metrics.listen.empty())
    rules.private_or_secured("metrics.listen", options.metrics.listen, options);
  if (options.tls.enabled() && !options.net.insecure.empty())
    rules.add("net.insecure", "contradicts [tls]; remove one of them", {"tls.certificate"});
  if (!options.tls.enabled() && !options.gateway.ca_dir.empty())
    rules.add("gateway.ca_dir",
              "needs [tls]: a certificate that was asked for in plain text could be anybody's; name "
              "this gateway's own certificate, key and ca there",
              {"tls.certificate"});
  rules.add_all(validate(options.node));
  rules.add_all(validate(options.resource));
  rules.at_least("resource.orphan_grace", options.resource.orphan_grace, 1, "node.home_silence",
                 options.node.home_silence, "home_silence");
  rules.add_all(validate(options.aggregator));
  rules.add_all(validate(options.scheduler));
  if (options.scheduler.claim_timeout <= options.resource.claim_timeout
      && options.scheduler.claim_timeout > milliseconds{0})
    rules.add("scheduler.claim_timeout",
              show(options.scheduler.claim_timeout) + " is over before a Resource gives up on a node after "
                  + show(options.resource.claim_timeout) + "; make it longer than resource.claim_timeout",
              {"resource.claim_timeout"});
  rules.add_all(validate(options.router));
  rules.add_all(validate(options.gateway));
  rules.add_all(validate(options.metrics));
  rules.add_all(validate(options.store));
  rules.add_all(validate(options.log));
  return rules.take();
}

} // namespace astra
